"""``openha monitor``: the resource monitor and scheduled synchronisations.

Runs until the other end of its standard input is closed.
"""

from __future__ import annotations

import contextlib
import datetime
import glob
import os
import select
import signal
import sys

from opensvc_openha.agent.actions.action_options import ActionOptions
from opensvc_openha.agent.actions.dispatch import perform
from opensvc_openha.agent.config.service_file import service_names
from opensvc_openha.agent.monitor.monitor_loop import MonitorRounds
from opensvc_openha.agent.monitor.sync_scheduler import RETRY, SendOutcome, SyncRounds, send_due
from opensvc_openha.agent.service.loaded_service import Service, load_service
from opensvc_openha.agent.values.action_log import OUTPUT_SUFFIX, open_log
from opensvc_openha.cli import installation
from opensvc_openha.cli.agent_services import node_view
from opensvc_openha.control import client
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import InterruptedAction, OpenhaError
from opensvc_openha.formats.layout import AgentLayout
from opensvc_openha.formats.options_schema import MONITOR_INTERVAL
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.storage import configuration
from opensvc_openha.system.clock import wall
from opensvc_openha.system.script_log import bound_log

if TYPE_CHECKING:
    from opensvc_openha.cli.parsing import Parser


def build_parser() -> Parser:
    """Return the parser of ``openha monitor``."""
    from opensvc_openha.cli.parsing import Parser

    return Parser(
        "openha monitor",
        "Watch the resources with monitor = true or restart = N of the services that run here, and"
        " send their\nsynchronisations when their schedules say so, until the standard input ends.",
        epilog="The node daemon runs it. `svcmgr resource monitor` checks the resources once.",
    )


def main(args: list[str]) -> int:
    """Run the monitor; return the exit code."""
    if args:
        build_parser().read(args)
    agent = installation.agent()

    def load(name: str) -> Service:
        with open_log(agent.log_dir, name) as log:
            return load_service(agent, name, log, node_view())

    def check(name: str) -> None:
        with open_log(agent.log_dir, name) as log, contextlib.suppress(InterruptedAction):
            perform(
                load_service(agent, name, log, node_view()), "resource_monitor", ActionOptions()
            )

    def send(name: str, rids: tuple[str, ...]) -> None:
        with open_log(agent.log_dir, name) as log:
            result = send_due(load_service(agent, name, log, node_view()), rids)
            if result.outcome is SendOutcome.FAILED:
                log.warning(
                    f"scheduled sync {result.reason}: tried again in {RETRY.total_seconds() / 60:g}"
                    " minutes if it is still due"
                )

    def files() -> dict[str, str]:
        return {name: agent.service_file(name) for name in service_names(agent.etc_dir)}

    def read_status() -> NodeStatus:
        return client.fetch_status(installation.layout())

    rounds = MonitorRounds(files, load, read_status, check)
    syncs = SyncRounds(
        files, load, read_status, send, lambda: datetime.datetime.fromtimestamp(wall())
    )
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        while not _is_over(_interval_s()):
            rounds.run()
            syncs.run()
            _bound_outputs(agent)
    finally:
        rounds.end()
        syncs.end()
    return 0


def _bound_outputs(agent: AgentLayout) -> None:
    """Limit the output files of daemons that services left behind: applications and docker."""
    patterns = [f"{glob.escape(agent.log_dir)}/*{OUTPUT_SUFFIX}"]
    patterns += [f"{glob.escape(agent.var_dir)}/*/{name}.log" for name in ("docker", "containerd")]
    for path in (path for pattern in patterns for path in glob.iglob(pattern)):
        with contextlib.suppress(OSError):  # The next round tries again.
            bound_log(path)


def _is_over(wait_s: float) -> bool:
    """Wait; return True as soon as the input is closed."""
    ready, _, _ = select.select([sys.stdin.fileno()], [], [], wait_s)
    return bool(ready) and not os.read(sys.stdin.fileno(), 4096)


def _interval_s() -> float:
    """Return the interval of openha.conf as of now, in seconds.

    An error in the file is reported by the daemon.
    """
    try:
        return configuration.read_options(installation.layout()).monitor_interval_s
    except OpenhaError:
        return MONITOR_INTERVAL.default
