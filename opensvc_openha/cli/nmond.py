"""``nmond``: the node daemon, in the background or, for systemd, in the foreground."""

from __future__ import annotations

import os

from opensvc_openha.errors import OpenhaError
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.system.self_command import self_command

if TYPE_CHECKING:
    from opensvc_openha.cli.parsing import Parser
    from opensvc_openha.control.rendering import Renderer
    from opensvc_openha.daemon.monitor_process import Children, MonitorCommand

DETACHED = "--detached"
"""Option for the start in the background; the number of a file descriptor follows."""


def build_parser() -> Parser:
    """Return the parser of ``nmond``."""
    from opensvc_openha.cli.parsing import Parser

    parser = Parser("nmond", "Run the node daemon, in the background unless -f is given.")
    parser.add_flag("-f", help="stay in the foreground, log to stderr")
    return parser


def main(args: list[str]) -> int:
    """Run ``nmond``; return the exit code."""
    from opensvc_openha.system.memory_use import keep_one_heap, use_own_digests

    # Before anything imports hashlib, and before the first thread.
    use_own_digests()
    keep_one_heap()
    from opensvc_openha.cli import installation
    from opensvc_openha.daemon import launch
    from opensvc_openha.system.order_reason import drop_reason

    if args == ["-f"] or args[:1] == [DETACHED]:
        # Scripts that the daemon runs have reasons of its own.
        drop_reason()
    # The daemon itself is spared the memory of a parser.
    if args == ["-f"]:
        return launch.run_in_foreground(installation.layout(), _children(), _renderer())
    if len(args) == 2 and args[0] == DETACHED and args[1].isdigit():
        return launch.run_detached(installation.layout(), int(args[1]), _children(), _renderer())
    if args:
        build_parser().read(args)
    from opensvc_openha.cli import ezha

    return ezha.start(installation.layout())


def _children() -> Children:
    """Return the commands of the processes that the daemon keeps running beside it."""
    from opensvc_openha.daemon.monitor_process import Children

    return Children(_monitor(), _peer_server(), _notifier())


def _renderer() -> Renderer:
    """Return what words for the lean client what its commands print."""
    from opensvc_openha.cli import installation
    from opensvc_openha.cli.rendering import CommandRenderer

    return CommandRenderer(installation.layout())


def _monitor() -> MonitorCommand:
    """Return the resource monitor's command: it runs where the embedded agent is installed.

    A real agent monitors its services itself.
    """
    from opensvc_openha.cli import installation
    from opensvc_openha.daemon.monitor_process import MonitorCommand

    command = f"{installation.agent().bin_dir}/svcmgr"
    return MonitorCommand([*self_command(), "monitor"], lambda: installation.is_made_by_us(command))


def _peer_server() -> MonitorCommand:
    """Return the peer server's command: it runs where there is a key, unless switched off."""
    from opensvc_openha.cli import installation
    from opensvc_openha.daemon.monitor_process import MonitorCommand
    from opensvc_openha.storage import configuration
    from opensvc_openha.storage.key_store import is_peer_link_on

    layout = installation.layout()

    def is_wanted() -> bool:
        if os.geteuid() != 0 or not os.path.exists(layout.key_file):
            return False
        try:
            return is_peer_link_on(layout, configuration.read_options(layout))
        except OpenhaError:
            return False  # The daemon reports the file.

    return MonitorCommand([*self_command(), "peer-server"], is_wanted)


def _notifier() -> MonitorCommand:
    """Return the notifier's command: it runs where there is a program in notify.d."""
    from opensvc_openha.cli import installation
    from opensvc_openha.daemon.monitor_process import MonitorCommand

    folder = installation.layout().notify_dir

    def is_wanted() -> bool:
        try:
            return any(not name.startswith(".") for name in os.listdir(folder))
        except OSError:
            return False

    return MonitorCommand([*self_command(), "notify", "run"], is_wanted)
