"""The ``openha`` command: select the command, and turn errors into one line and an exit code.

Errors go to stderr. Commands are imported when they are called, to keep a status quick.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from opensvc_openha.cli.streams import forgive, is_report
from opensvc_openha.errors import InterruptedAction, OpenhaError, SystemFault, UsageError
from opensvc_openha.formats.one_line import one_line

USAGE = (
    "Usage: openha COMMAND [options]\n"
    "\n"
    "Cluster:\n"
    "  service  -s | -s -c | -i NAME | -a ... | -r NAME | -A NAME ACTION    "
    "services and their states\n"
    "  hb       -s | -a ... | -r ...                                       heartbeat links\n"
    "  key      status | generate | install FILE | rotate | forget-peer    "
    "the key that authenticates heartbeats\n"
    "  fence    status [--json] | confirm NODE                             "
    "how the peer is made sure to be out\n"
    "  status                                                              both of them\n"
    "  why      SERVICE [--json]                                           "
    "why a service is where it is, and what to do\n"
    "  history  [SERVICE] [--since WHEN] [-n NUMBER] [--json]              "
    "what happened on this node\n"
    "  start | stop | restart | kill                                       "
    "the node daemon (stop also stops services)\n"
    "  ps                                                                  "
    "the node daemon and its threads\n"
    "  nmond    [-f]                                                       "
    "the node daemon itself\n"
    "\n"
    "Embedded agent:\n"
    "  svcmgr   -s SERVICES ACTION        svcmon [--service=SERVICES]\n"
    "  monitor                            "
    "watches resources of the services that run here; the node daemon runs it\n"
    "\n"
    "Installation:\n"
    "  install  [--prefix DIR] [--layout tree|fhs] [--embedded-agent]      "
    "lay out the cluster directory\n"
    "  agent    install | remove | status [--agent-root DIR] [--dry-run]   "
    "the driver for a real OpenSVC agent\n"
    "  demo     [--fast]                                                   "
    "the tutorial, on two nodes in this machine\n"
    "\n"
    "`openha COMMAND --help` tells more.\n"
)


def _service(args: list[str]) -> int:
    from opensvc_openha.cli import service

    return service.main(args)


def _hb(args: list[str]) -> int:
    from opensvc_openha.cli import hb

    return hb.main(args)


def _key(args: list[str]) -> int:
    from opensvc_openha.cli import key

    return key.main(args)


def _fence(args: list[str]) -> int:
    from opensvc_openha.cli import fence

    return fence.main(args)


def _history(args: list[str]) -> int:
    from opensvc_openha.cli import history

    return history.history(args)


def _why(args: list[str]) -> int:
    from opensvc_openha.cli import history

    return history.why(args)


def _ezha(name: str) -> Callable[[list[str]], int]:
    def run(args: list[str]) -> int:
        from opensvc_openha.cli import ezha

        return ezha.main([name, *args] if name else args)

    return run


def _nmond(args: list[str]) -> int:
    from opensvc_openha.cli import ezha

    return ezha.nmond(args)


def _ps(args: list[str]) -> int:
    from opensvc_openha.cli import ps

    return ps.main(args)


def _install(args: list[str]) -> int:
    from opensvc_openha.cli import install

    return install.main(args)


def _agent(args: list[str]) -> int:
    from opensvc_openha.cli import agent

    return agent.main(args)


def _cluster_action(args: list[str]) -> int:
    from opensvc_openha.cli import cluster_action

    return cluster_action.main(args)


def _demo(args: list[str]) -> int:
    # A program of its own, in a layer above the commands that it shows.
    from opensvc_openha.cli.self_command import self_command

    command = [*self_command("opensvc_openha.demo"), *args]
    sys.stdout.flush()
    os.execv(command[0], command)


def _svcmgr(args: list[str]) -> int:
    from opensvc_openha.cli import svcmgr

    # A launcher passes the link it was called by: that name selects the service.
    if args[:1] == ["--called-as"] and len(args) > 1:
        return svcmgr.main(args[1], args[2:])
    return svcmgr.main("svcmgr", args)


def _svcmon(args: list[str]) -> int:
    from opensvc_openha.cli import svcmon

    return svcmon.main(args)


def _monitor(args: list[str]) -> int:
    from opensvc_openha.cli import monitor

    return monitor.main(args)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "service": _service,
    "hb": _hb,
    "key": _key,
    "fence": _fence,
    "history": _history,
    "why": _why,
    "status": _ezha("status"),
    "start": _ezha("start"),
    "stop": _ezha("stop"),
    "restart": _ezha("restart"),
    "kill": _ezha("kill"),
    "ezha": _ezha(""),
    "ps": _ps,
    "nmond": _nmond,
    "install": _install,
    "agent": _agent,
    "cluster-action": _cluster_action,
    "demo": _demo,
    "svcmgr": _svcmgr,
    "svcmon": _svcmon,
    "monitor": _monitor,
}


def main(args: list[str]) -> int:
    """Run one command; return its exit code."""
    if not args:
        sys.stderr.write(USAGE)
        return UsageError.exit_code
    if args[0] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE)
        return 0
    if args[0] in ("-V", "--version"):
        return _show_version("opensvc-openha")
    command = COMMANDS.get(args[0])
    if command is None:
        raise UsageError(f"unknown command {args[0]!r} (expected one of: {', '.join(COMMANDS)})")
    # The agent's commands may be followed by other programs' words: `NAME docker ps --help`.
    if args[0] not in ("svcmgr", "svcmon"):
        if "--version" in args:
            return _show_version(args[0])
        if {"-h", "--help"}.intersection(args):
            return command(["--help"])
    return command(args[1:])


def _show_version(name: str) -> int:
    from opensvc_openha import __version__

    print(f"{name} {__version__}")
    return 0


def console() -> NoReturn:
    """Entry point of the console script."""
    run(main)


def run(command: Callable[[list[str]], int]) -> NoReturn:
    """Run a command and exit with its code: the one boundary that catches every exception."""
    _open_standard_streams()
    _take_signals_as_usual()
    forgive(is_report(sys.argv[1:]))
    try:
        code = command(sys.argv[1:])
        sys.stdout.flush()
    except OpenhaError as error:
        _flush()
        sys.stderr.write("".join(f"{one_line(line)}\n" for line in str(error).split("\n")))
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


def _take_signals_as_usual() -> None:
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
