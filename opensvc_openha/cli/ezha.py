"""``ezha start|stop|restart|kill|status`` and ``nmond``: start and stop the node daemon."""

from __future__ import annotations

import contextlib
import glob
import os
import signal
import sys
from typing import TYPE_CHECKING

from opensvc_openha.cli import installation, render
from opensvc_openha.cli.interrupted import goes_on
from opensvc_openha.cli.self_command import self_command
from opensvc_openha.control import client
from opensvc_openha.core.events import Leaving
from opensvc_openha.core.states import LEFT_UNSTOPPED, STOPS_ON_LEAVE
from opensvc_openha.core.timing import GOODBYE_GAP_S, GOODBYE_REPEATS, LEAVE_SCRIPT_WAIT_S
from opensvc_openha.errors import ActionError, NotRunningError, OpenhaError, UsageError
from opensvc_openha.formats.layout import STATE_PREFIX, Layout
from opensvc_openha.formats.state_file import decode
from opensvc_openha.system import clock
from opensvc_openha.system.identity import node_name

if TYPE_CHECKING:
    from opensvc_openha.daemon.monitor_process import MonitorCommand

USAGE = (
    "Usage: ezha {start|stop|restart|kill|status}\n"
    "\n"
    " start    start the node daemon; done when it serves\n"
    " stop     stop the services of this node that are not frozen, say goodbye to the peer, end "
    "the daemon\n"
    " restart  check the configuration, end the daemon and start it again; services keep "
    "running where they are\n"
    " kill     end the daemon; services keep running, and the peer may take them after half a "
    "minute: freeze them first\n"
    " status   show heartbeats and services\n"
)
_LEAVE_LIMIT_S = LEAVE_SCRIPT_WAIT_S + GOODBYE_REPEATS * GOODBYE_GAP_S + 5
_KILL_LIMIT_S = 5.0
_DETACHED = "--detached"
_TELL_EVERY_S = 5.0


def main(args: list[str]) -> int:
    """Run ``ezha ACTION``; return the exit code."""
    if args[-1:] in (["-h"], ["--help"]):
        sys.stdout.write(USAGE)
        return 0
    actions = {
        "start": _start,
        "stop": _stop,
        "restart": _restart,
        "kill": _kill,
        "status": _status,
    }
    if len(args) != 1 or args[0] not in actions:
        raise UsageError("Usage: ezha {start|stop|restart|kill|status}")
    return actions[args[0]](installation.layout())


def nmond(args: list[str]) -> int:
    """Run ``nmond [-f]``: the daemon in the background, or in the foreground for systemd."""
    from opensvc_openha.daemon import launch

    if args in (["-h"], ["--help"]):
        sys.stdout.write("Usage: nmond [-f]\n\n -f  stay in the foreground, log to stderr\n")
        return 0
    if args == ["-f"]:
        return launch.run_in_foreground(installation.layout(), _monitor())
    if len(args) == 2 and args[0] == _DETACHED and args[1].isdigit():
        return launch.run_detached(installation.layout(), int(args[1]), _monitor())
    if args:
        raise UsageError(f"nmond: unexpected {' '.join(args)} (expected nothing, or -f)")
    return _start(installation.layout())


def _monitor() -> MonitorCommand:
    """Return the resource monitor's command: it runs where the embedded agent is installed.

    A real agent monitors its services itself.
    """
    from opensvc_openha.cli.install import is_made_by_us
    from opensvc_openha.daemon.monitor_process import MonitorCommand

    command = f"{installation.agent().bin_dir}/svcmgr"
    return MonitorCommand([*self_command(), "monitor"], lambda: is_made_by_us(command))


def _start(layout: Layout) -> int:
    from opensvc_openha.daemon import launch

    with goes_on("nmond goes on starting, see `ezha status`"):
        launch.run_in_background(layout, [*self_command(), "nmond", _DETACHED])
    return 0


def _stop(layout: Layout) -> int:
    """Stop the services, then the daemon.

    Waits as long as the stop scripts take, since their results must be known.
    """
    pid = client.running_pid(layout)
    if not pid:
        sys.stderr.write("nmond is not running on this node\n")
        return 0
    from opensvc_openha.cli.shell_guard import refuse_stop_from_within

    refuse_stop_from_within(layout)
    states = _own_states(layout)
    client.leave(layout, Leaving.STOP_SERVICES)
    with goes_on(
        "this node goes on stopping its services, and nmond ends then, see `service -s -c`"
    ):
        _await_end(layout)
    left = _left_behind(states)
    if left:
        raise ActionError(f"nmond has ended, but not every service was stopped: {', '.join(left)}")
    return 0


def _await_end(layout: Layout) -> None:
    told_at = clock.monotonic() + _TELL_EVERY_S
    while client.running_pid(layout):
        clock.pause(0.05)
        if clock.monotonic() >= told_at:
            told_at += _TELL_EVERY_S
            _tell_what_runs(layout)


def _own_states(layout: Layout) -> dict[str, str]:
    """Return the state in the STATE file of each service of this node.

    The configuration files are not needed: an operator may be editing them.
    """
    with contextlib.suppress(NotRunningError):
        status = client.fetch_status(layout)
        return {
            svc.name: layout.state_file(svc.name, status.node)
            for svc in status.services
            if svc.own_state is not None
        }
    found = glob.glob(f"{glob.escape(layout.services_dir)}/*/{STATE_PREFIX}*")
    own = f"{STATE_PREFIX}{node_name()}".lower()
    return {
        os.path.basename(os.path.dirname(path)): path
        for path in sorted(found)
        if os.path.basename(path).lower() == own
    }


def _left_behind(states: dict[str, str]) -> list[str]:
    """Return the services that should have stopped and did not, by their STATE files."""
    left = []
    for name, path in states.items():
        try:
            with open(path, "rb") as file:
                state = decode(file.read(64)).state
        except (OSError, ValueError):
            continue
        if state in LEFT_UNSTOPPED:
            left.append(f"{name} {state.name}")
    return left


def _tell_what_runs(layout: Layout) -> None:
    """During a long stop, print the services that it still waits for."""
    try:
        status = client.fetch_status(layout)
    except NotRunningError:
        return
    busy = [
        f"{svc.name} {svc.own_state.name}"
        for svc in status.services
        if svc.own_state in STOPS_ON_LEAVE
    ]
    if busy:
        sys.stderr.write(f"waiting for: {', '.join(busy)}\n")


def _restart(layout: Layout) -> int:
    from opensvc_openha.daemon import launch

    if client.running_pid(layout):
        try:
            launch.expect_startable(layout)
        except OpenhaError:
            sys.stderr.write("not restarted: the daemon that runs goes on as it was\n")
            raise
        with goes_on("nmond ends, and is not started again: `ezha start`"):
            _end(layout)
    return _start(layout)


def _kill(layout: Layout) -> int:
    if not client.running_pid(layout):
        raise NotRunningError("nmond is not running on this node")
    with goes_on("nmond goes on ending"):
        _end(layout)
    return 0


def _end(layout: Layout) -> None:
    """Terminate the daemon without stopping services; kill it if it does not answer."""
    pid = client.running_pid(layout)
    try:
        client.leave(layout, Leaving.KEEP_SERVICES)
    except NotRunningError:
        if pid < 0 or not _may_end(pid):
            raise  # The process belongs to another user, or only its answer can identify it.
    else:
        if _is_gone(layout, _LEAVE_LIMIT_S):
            return
    if pid > 0:
        sys.stderr.write(f"nmond (pid {pid}) does not answer: killed\n")
        os.kill(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGCONT)
    if not _is_gone(layout, _KILL_LIMIT_S):
        raise ActionError(f"nmond (pid {pid}) does not end")


def _may_end(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    except ProcessLookupError:
        pass
    return True


def _is_gone(layout: Layout, limit_s: float) -> bool:
    give_up = clock.monotonic() + limit_s
    while client.running_pid(layout):
        if clock.monotonic() > give_up:
            return False
        clock.pause(0.02)
    return True


def _status(layout: Layout) -> int:
    sys.stdout.write(render.both(client.fetch_status(layout)))
    return 0
