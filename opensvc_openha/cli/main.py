"""The ``openha`` command: select the command, and turn errors into one line and an exit code.

Errors go to stderr. Commands are imported when they are called, to keep a status quick.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable

from opensvc_openha import __version__
from opensvc_openha.cli.streams import ends_soon, error_text, ignore_write_errors, is_report
from opensvc_openha.errors import InterruptedAction, OpenhaError, SystemFault, UsageError
from opensvc_openha.hints import TYPE_CHECKING, NoReturn, Protocol
from opensvc_openha.named_tuples import NamedTuple
from opensvc_openha.system.deferred_modules import defer_modules

if TYPE_CHECKING:
    from opensvc_openha.cli.parsing import Parser


class Program(Protocol):
    """What implements a command, a module in most cases."""

    def build_parser(self) -> Parser:
        """Return the parser of its words."""
        ...

    def main(self, args: list[str]) -> int:
        """Run it; return the exit code."""
        ...


class CommandEntry(NamedTuple):
    """One subcommand of ``openha``; with ``verb`` it is short for a verb of ``ezha``."""

    group: str
    summary: str
    verb: str = ""


_CLUSTER, _INSIGHT = "Cluster", "Look ahead"
_AGENT, _INSTALLATION = "Embedded agent", "Installation"
COMMANDS: dict[str, CommandEntry] = {
    "service": CommandEntry(_CLUSTER, "show, add and remove services, and act on them"),
    "hb": CommandEntry(_CLUSTER, "show, add and remove heartbeat links"),
    "key": CommandEntry(_CLUSTER, "the key that authenticates heartbeats"),
    "fence": CommandEntry(_CLUSTER, "how the peer is fenced; confirm that it runs nothing"),
    "status": CommandEntry(_CLUSTER, "heartbeat links and services", "status"),
    "why": CommandEntry(_CLUSTER, "why a service is where it is, and what to do"),
    "history": CommandEntry(_CLUSTER, "what happened on this node"),
    "start": CommandEntry(_CLUSTER, "start the node daemon", "start"),
    "stop": CommandEntry(_CLUSTER, "stop the services, then the node daemon", "stop"),
    "restart": CommandEntry(_CLUSTER, "restart the node daemon alone", "restart"),
    "reload": CommandEntry(_CLUSTER, "check the configuration, and apply it", "reload"),
    "kill": CommandEntry(_CLUSTER, "end the node daemon, leave the services", "kill"),
    "ezha": CommandEntry(_CLUSTER, "start, stop, restart, reload, kill or status: `ezha start`"),
    "ps": CommandEntry(_CLUSTER, "the node daemon and its threads"),
    "nmond": CommandEntry(_CLUSTER, "the node daemon itself"),
    "add": CommandEntry(_CLUSTER, "add a service to both nodes by its service file"),
    "remove": CommandEntry(_CLUSTER, "remove a service from both nodes"),
    "config": CommandEntry(_CLUSTER, "edit the cluster's files once for both nodes"),
    "peer-server": CommandEntry(_CLUSTER, "serve the other node, which the node daemon runs"),
    "evacuate": CommandEntry(_CLUSTER, "hand all services to the other node, for maintenance"),
    "check": CommandEntry(_INSIGHT, "check that each service could start on the other node now"),
    "whatif": CommandEntry(_INSIGHT, "what would happen if the peer died, a link failed, ..."),
    "drill": CommandEntry(_INSIGHT, "try out links, switch, takeover, power: measured, recorded"),
    "top": CommandEntry(_INSIGHT, "both nodes live on a terminal"),
    "web": CommandEntry(_INSIGHT, "a page that shows both nodes live"),
    "exporter": CommandEntry(_INSIGHT, "metrics of this node for Prometheus"),
    "advise": CommandEntry(_INSIGHT, "timeouts, links and services, from what was measured here"),
    "notify": CommandEntry(_INSIGHT, "programs that are run for a takeover, a failed start..."),
    "svcmgr": CommandEntry(_AGENT, "act on services"),
    "svcmon": CommandEntry(_AGENT, "the services of this node in a table"),
    "monitor": CommandEntry(_AGENT, "the resource monitor, which the node daemon runs"),
    "install": CommandEntry(_INSTALLATION, "lay out the cluster directory, start it at boot"),
    "uninstall": CommandEntry(_INSTALLATION, "remove what install wrote"),
    "setup": CommandEntry(_INSTALLATION, "set up a cluster with another node"),
    "join": CommandEntry(_INSTALLATION, "the second node's part of a set-up"),
    "agent": CommandEntry(_INSTALLATION, "the driver for a real OpenSVC agent"),
    "cluster-action": CommandEntry(
        _INSTALLATION, "an action of a real agent, which its driver runs"
    ),
    "demo": CommandEntry(_INSTALLATION, "the tutorial, on two nodes in this machine"),
}


def load(name: str) -> Program:
    """Import what implements a command, and nothing else: a status must be quick."""
    match name:
        case "service":
            from opensvc_openha.cli import service

            return service
        case "hb":
            from opensvc_openha.cli import hb

            return hb
        case "key":
            from opensvc_openha.cli import key

            return key
        case "fence":
            from opensvc_openha.cli import fence

            return fence
        case "history":
            from opensvc_openha.cli import history

            return history
        case "why":
            from opensvc_openha.cli import why

            return why
        case "ps":
            from opensvc_openha.cli import ps

            return ps
        case "nmond":
            from opensvc_openha.cli import nmond

            return nmond
        case "add":
            from opensvc_openha.cli import add

            return add
        case "remove":
            from opensvc_openha.cli import remove

            return remove
        case "config":
            from opensvc_openha.cli import config

            return config
        case "check":
            from opensvc_openha.cli import check

            return check
        case "evacuate":
            from opensvc_openha.cli import evacuate

            return evacuate
        case "advise":
            from opensvc_openha.cli import advise

            return advise
        case "whatif":
            from opensvc_openha.cli import whatif

            return whatif
        case "drill":
            from opensvc_openha.cli import drill

            return drill
        case "exporter":
            from opensvc_openha.cli import exporter

            return exporter
        case "notify":
            _use_own_digests()
            from opensvc_openha.cli import notify

            return notify
        case "peer-server":
            from opensvc_openha.cli import peer_server

            return peer_server
        case "top":
            from opensvc_openha.cli import top

            return top
        case "web":
            from opensvc_openha.cli import web

            return web
        case "setup":
            from opensvc_openha.cli import setup

            return setup
        case "join":
            from opensvc_openha.cli import join

            return join
        case "install":
            from opensvc_openha.cli import install

            return install
        case "uninstall":
            from opensvc_openha.cli import uninstall

            return uninstall
        case "agent":
            from opensvc_openha.cli import agent

            return agent
        case "cluster-action":
            from opensvc_openha.cli import cluster_action

            return cluster_action
        case "demo":
            from opensvc_openha.cli import demo

            return demo
        case "svcmgr":
            from opensvc_openha.cli import svcmgr

            return svcmgr
        case "svcmon":
            from opensvc_openha.cli import svcmon

            return svcmon
        case "monitor":
            _use_own_digests()
            from opensvc_openha.cli import monitor

            return monitor
    from opensvc_openha.cli import ezha

    return ezha


def _use_own_digests() -> None:
    """Do without OpenSSL in a process that runs as long as the daemon, before its imports."""
    from opensvc_openha.system.memory_use import use_own_digests

    use_own_digests()


def parser_of(name: str) -> Parser:
    """Return the parser of a command: what help, manual and completion are made from."""
    parser = load(name).build_parser()
    verb = COMMANDS[name].verb
    return parser.verbs[verb] if verb else parser


def build_parser() -> Parser:
    """Return the parser of ``openha`` itself."""
    from opensvc_openha.cli.parsing import Parser

    lines: list[str] = []
    for group in (_CLUSTER, _INSIGHT, _AGENT, _INSTALLATION):
        lines += ["", f"{group}:"] if lines else [f"{group}:"]
        lines += [
            f"  {name:14} {command.summary}"
            for name, command in COMMANDS.items()
            if command.group == group
        ]
    parser = Parser(
        "openha",
        "High availability for two nodes: one command for each part of it.",
        usage="openha COMMAND [options]",
        epilog="\n".join([*lines, "", "`openha COMMAND --help` describes each."]),
    )
    parser.add_argument("command", metavar="COMMAND", help="one of those below")
    return parser


def main(args: list[str]) -> int:
    """Run one command; return its exit code."""
    # Before anything imports dataclasses.
    defer_modules()
    name = args[0] if args else ""
    if name in COMMANDS:
        return load(name).main([name, *args[1:]] if COMMANDS[name].verb else args[1:])
    if name in ("-V", "--version"):
        print(f"opensvc-openha {__version__}")
        return 0
    if name == "help" and args[1:2] and args[1] in COMMANDS:
        return main([args[1], "--help"])
    if name in ("", "-h", "--help", "help"):
        build_parser().print_help(None if name else sys.stderr)
        return 0 if name else UsageError.exit_code
    from opensvc_openha.formats.suggestion import what_to_write

    raise UsageError(
        f"unknown command {name!r}: {what_to_write(name, COMMANDS)} (see openha --help)"
    )


def console() -> NoReturn:
    """Entry point of the console script."""
    run(main)


def run(command: Callable[[list[str]], int]) -> NoReturn:
    """Run a command and exit with its code: the one boundary that catches every exception."""
    _open_standard_streams()
    _reset_signals()
    ignore_write_errors(is_report(sys.argv[1:]))
    is_short = ends_soon(sys.argv[1:])
    if is_short:
        # To look for cycles in all that is imported takes a twentieth of the command.
        gc.disable()
    code: int | str | None
    try:
        try:
            code = command(sys.argv[1:])
        except SystemExit as ended:
            code = ended.code  # Help was shown; it is flushed below, where an error is reported.
        sys.stdout.flush()
    except OpenhaError as error:
        _flush()
        sys.stderr.write(error_text(error))
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except InterruptedAction as error:
        _flush()
        code = error.exit_code  # The action has reported its reason.
    except BrokenPipeError:
        # The reader has closed the pipe, as in `service -s | head`.
        _drop_output()
        code = 0
    except OSError as error:
        _drop_output()
        sys.stderr.write(f"cannot write the output: {error.strerror or error}\n")
        code = SystemFault.exit_code
    except Exception as error:
        if os.environ.get("EZ_DEBUG"):
            raise
        _flush()
        sys.stderr.write(
            f"unexpected {type(error).__name__}: {error} (a traceback: set EZ_DEBUG=1 and repeat)\n"
        )
        code = OpenhaError.exit_code
    if is_short and isinstance(code, int):
        _flush()
        os._exit(code)  # To take the interpreter apart takes another tenth.
    sys.exit(code)


def _open_standard_streams() -> None:
    """Open /dev/null for each closed standard stream.

    Otherwise a file or socket of ours would get its number.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - stays open
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - stays open
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 - stays open


def _reset_signals() -> None:
    """Reset signal handling inherited from the parent.

    With SIGCHLD ignored no exit code arrives, and a failed check-up counts as a success.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _drop_output() -> None:
    """Drop buffered output that could not be written, so that the exit does not try it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _flush() -> None:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
