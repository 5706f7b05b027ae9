"""``ezha start``, ``stop``, ``restart``, ``reload``, ``kill``, ``status``: the node daemon."""

from __future__ import annotations

import contextlib
import glob
import os
import signal
import sys
from collections.abc import Callable, Iterator

from opensvc_openha.cli import installation, output
from opensvc_openha.cli.interrupted import after_interrupt
from opensvc_openha.cli.nmond import DETACHED
from opensvc_openha.control import client
from opensvc_openha.core.events import Leaving
from opensvc_openha.core.states import LEFT_UNSTOPPED, STOPS_ON_LEAVE
from opensvc_openha.core.timing import GOODBYE_GAP_S, GOODBYE_REPEATS, LEAVE_SCRIPT_WAIT_S
from opensvc_openha.errors import ActionError, NotRunningError, OpenhaError
from opensvc_openha.formats.layout import STATE_PREFIX, Layout
from opensvc_openha.formats.state_file import decode
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.system import clock
from opensvc_openha.system.identity import node_name
from opensvc_openha.system.self_command import self_command

if TYPE_CHECKING:
    from opensvc_openha.cli.parsing import Parser

_ACTIONS = {
    "start": "start the node daemon; done when it serves",
    "stop": "stop the services of this node that are not frozen, announce that to the peer, end the"
    " daemon",
    "restart": "check the configuration, end the daemon and start it again; services keep running",
    "try-restart": "restart the daemon if one runs; for packages",
    "reload": "check the configuration and apply it; a mistake changes nothing",
    "kill": "end the daemon; services keep running, and the peer may take them after half a minute:"
    " freeze them first",
    "status": "show heartbeats and services",
}
_LEAVE_LIMIT_S = LEAVE_SCRIPT_WAIT_S + GOODBYE_REPEATS * GOODBYE_GAP_S + 5
_KILL_LIMIT_S = 5.0
_REPORT_EVERY_S = 5.0


def build_parser() -> Parser:
    """Return the parser of ``ezha``."""
    from opensvc_openha.cli.parsing import Parser

    parser = Parser("ezha", "Start and stop the node daemon, or show its status.")
    for action, summary in _ACTIONS.items():
        verb = parser.add_verb(action, summary)
        if action != "status":
            verb.add_reason()
    return parser


def main(args: list[str]) -> int:
    """Run ``ezha ACTION``; return the exit code."""
    if len(args) != 1 or args[0] not in _ACTIONS:  # A status needs no parser.
        args = [build_parser().read(args).verb]
    actions: dict[str, Callable[[Layout], int]] = {
        "start": start,
        "stop": _stop,
        "restart": restart,
        "try-restart": lambda layout: restart(layout) if client.running_pid(layout) else 0,
        "reload": _reload,
        "kill": _kill,
        "status": lambda _: installation.show(output.both),
    }
    return actions[args[0]](installation.layout())


def start(layout: Layout) -> int:
    """Start the node daemon in the background; return 0 once it serves.

    Where systemd starts it at boot, systemd does so now, too, and watches it from then on.
    """
    from opensvc_openha.cli import boot

    return _start(layout, boot.is_enabled(layout))


def _start(layout: Layout, by_systemd: bool) -> int:
    from opensvc_openha.daemon import launch

    with after_interrupt("nmond continues to start, see `ezha status`"):
        if by_systemd:
            from opensvc_openha.cli import boot

            launch.expect_none_running(layout)
            boot.start()
        else:
            launch.run_in_background(layout, [*self_command(), "nmond", DETACHED])
        client.record_start(layout)
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
    with after_interrupt(
        "this node continues to stop its services, then nmond ends, see `service -s -c`"
    ):
        report_at = clock.monotonic() + _REPORT_EVERY_S
        while client.running_pid(layout):
            clock.pause(0.05)
            if clock.monotonic() >= report_at:
                report_at += _REPORT_EVERY_S
                _report_busy_services(layout)
    left = _left_behind(states)
    if left:
        raise ActionError(f"nmond has ended, but not every service was stopped: {', '.join(left)}")
    return 0


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


def _report_busy_services(layout: Layout) -> None:
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


def restart(layout: Layout) -> int:
    """Restart the node daemon, after a check of the configuration; services keep running."""
    from opensvc_openha.cli import boot
    from opensvc_openha.daemon import launch

    by_systemd = boot.is_enabled(layout)
    pid = client.running_pid(layout)
    if pid:
        by_systemd = by_systemd or boot.runs(pid)
        with _running_daemon_kept("not restarted"):
            launch.expect_startable(layout)
        with after_interrupt("nmond ends, and is not started again: `ezha start`"):
            _end(layout)
    return _start(layout, by_systemd)


def _reload(layout: Layout) -> int:
    """Apply the configuration; report a mistake in it, even one that the daemon has seen before."""
    from opensvc_openha.daemon import launch

    if not client.running_pid(layout):
        raise NotRunningError("nmond is not running on this node")
    with _running_daemon_kept("not reloaded"):
        launch.expect_startable(layout)
        client.reload(layout)
    return 0


@contextlib.contextmanager
def _running_daemon_kept(what: str) -> Iterator[None]:
    """Add to an error that nothing has changed."""
    try:
        yield
    except OpenhaError:
        sys.stderr.write(f"{what}: the running daemon continues as it was\n")
        raise


def _kill(layout: Layout) -> int:
    if not client.running_pid(layout):
        raise NotRunningError("nmond is not running on this node")
    with after_interrupt("nmond continues to end"):
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
    return clock.wait_until(lambda: not client.running_pid(layout), limit_s)
