"""Send requests to the node daemon's control socket: one JSON object per line each way."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Sequence

from opensvc_openha.control.framing import LINE_LIMIT
from opensvc_openha.errors import (
    ActionError,
    NotAnsweringError,
    NotRunningError,
    OpenhaError,
    RefusedError,
    SystemFault,
    UsageError,
)
from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import TYPE_CHECKING, Any
from opensvc_openha.system import clock
from opensvc_openha.system.lock_file import is_locked, read_owner
from opensvc_openha.system.order_reason import VARIABLE, given_reason
from opensvc_openha.system.processes import stat_of

# Imported only when the daemon is asked: most commands find that none runs, or need no answer.
if TYPE_CHECKING:
    import socket

    from opensvc_openha.core.actions import Answer
    from opensvc_openha.core.events import Command, DrillOrder, Leaving
    from opensvc_openha.core.states import ServiceState
    from opensvc_openha.core.status import NodeStatus, PathStatus
    from opensvc_openha.storage.history_entry import Entry

_KINDS = (UsageError, RefusedError, ActionError, SystemFault, NotAnsweringError)
"""Errors that a running daemon may answer with.

The exit code for "no daemon runs" is never among them.
"""
_TYPES: dict[object, type[OpenhaError]] = {kind.exit_code: kind for kind in _KINDS}
_READING = ("status", "history")
ANSWER_LIMIT_S = 2.0
"""Seconds within which a healthy daemon answers."""
CONFIRM_LIMIT_S = 10.0
"""Seconds for an answer that may wait until the states of services are on disk."""
LOOK_LIMIT_S = 20.0
"""Seconds for a look at a fencing device, which may hang up to its own limit."""
DRILL_LIMIT_S = 600.0
"""Seconds for a drill: it ends by the limits of the path and of the links."""
_PART_BYTES = 262_144
_LOOK_S = 0.02
"""Seconds between checks whether the daemon was stopped meanwhile."""


def fetch_status(
    layout: Layout, timeout_s: float = ANSWER_LIMIT_S, is_old_fine: bool = False
) -> NodeStatus:
    """Return the status of this layout's node daemon.

    With ``is_old_fine``, for what only shows it, the newest one of an engine that hangs: its
    ``age_s`` is not 0 then. Raises NotRunningError if none runs, NotAnsweringError if it does not
    answer within ``timeout_s`` seconds.
    """
    request = {"do": "status", **({"old": True} if is_old_fine else {})}
    for message in _converse(layout, request, timeout_s):
        from opensvc_openha.control import protocol

        try:
            return protocol.status_from_json(message["status"])
        except (KeyError, TypeError, ValueError) as error:
            raise _of_another_version(error) from error
    raise NotAnsweringError("nmond ended while it was asked")


def fetch_own_states(layout: Layout) -> dict[str, ServiceState | None]:
    """Return the state of each service on this node; raises as ``fetch_status``.

    None for one that is not of this node. For callers that need nothing else: the rest of a status
    takes longer to load than to ask for.
    """
    from opensvc_openha.core.states import ServiceState

    for message in _converse(layout, {"do": "status"}, ANSWER_LIMIT_S):
        try:
            return {
                svc["name"]: None if svc["own_state"] is None else ServiceState[svc["own_state"]]
                for svc in message["status"]["services"]
            }
        except (KeyError, TypeError) as error:
            raise _of_another_version(error) from error
    raise NotAnsweringError("nmond ended while it was asked")


def _of_another_version(error: Exception) -> NotAnsweringError:
    return NotAnsweringError(f"nmond gave an answer of another version ({error!r}): restart it")


def fetch_history(layout: Layout) -> list[Entry]:
    """Return the newest history entries, oldest first, unwritten ones included.

    Without the output of scripts for users who may not read the file. Raises as ``fetch_status``.
    """
    from opensvc_openha.storage.history_entry import entry_from_json

    for message in _converse(layout, {"do": "history"}, ANSWER_LIMIT_S):
        try:
            return [entry_from_json(entry) for entry in message["history"]]
        except (KeyError, TypeError, ValueError) as error:
            raise _of_another_version(error) from error
    raise NotAnsweringError("nmond ended while it was asked")


def act(
    layout: Layout, command: Command, services: list[str] | None, by: str = ""
) -> Iterator[Answer]:
    """Submit a command for these services (None: all); yield the answers as they come.

    There is no time limit. ``by`` names the source of the command if it is not an operator.
    """
    from opensvc_openha.control import protocol

    request: dict[str, Any] = {
        "do": "act",
        "command": command.value,
        "services": services,
        **({"by": by} if by else {}),
    }
    is_done = False
    for message in _converse(layout, request, ANSWER_LIMIT_S):
        if "answer" in message:
            yield protocol.answer_from_json(message["answer"])
        is_done = is_done or bool(message.get("done"))
    if not is_done:
        raise unanswered(layout, is_late=False)


def unanswered(layout: Layout, is_late: bool) -> OpenhaError:
    """Return the error for a command that was sent and has no answer; ``is_late``: not in time."""
    if is_late:
        return _silent(layout)
    # Nothing is known of the present process: another one may have taken the action.
    return _ended(
        layout, "nmond ended before the action did: look at its log, then at `service -s`"
    )


def reload(layout: Layout) -> None:
    """Order the daemon to read its configuration again; raises the error that it found there."""
    _have_done(layout, {"do": "reload"}, 10.0)


def reload_if_running(layout: Layout) -> None:
    """Let a running daemon apply the edited files at once; none running is fine."""
    try:
        reload(layout)
    except NotAnsweringError:
        raise
    except NotRunningError:
        pass


def record_start(layout: Layout) -> None:
    """Record in the history who started the daemon, if there is a reason for it."""
    if given_reason():
        _have_done(layout, {"do": "started"}, ANSWER_LIMIT_S)


def leave(layout: Layout, leaving: Leaving) -> None:
    """Ask the daemon to end; return once it has accepted the request."""
    for _ in _converse(layout, {"do": "leave", "how": leaving.value}, ANSWER_LIMIT_S):
        pass  # One that ended before it could answer has left.


def record_observation(
    layout: Layout, service: str, word: str, reason: str, is_alarm: bool
) -> None:
    """Record in the history what the resource monitor observed or did with a service."""
    from opensvc_openha.control.requests import NOTE_CHARACTERS

    request = {
        "do": "note",
        "service": service,
        "word": word,
        "reason": reason[:NOTE_CHARACTERS],
        "is_alarm": is_alarm,
    }
    _have_done(layout, request, ANSWER_LIMIT_S)


def forget_peer(layout: Layout) -> None:
    """Let the daemon accept a lower boot counter of the peer."""
    _have_done(layout, {"do": "forget-peer"}, 10.0)


def evacuate(layout: Layout, is_on: bool, is_off_limits: bool = False) -> None:
    """Have the daemon keep services away from this node, or no longer; done when this returns."""
    _have_done(layout, {"do": "evacuate", "on": is_on, "off_limits": is_off_limits}, 10.0)


def confirm_peer_out(layout: Layout, node: str) -> list[str]:
    """Confirm to the daemon that the peer, named in full, runs nothing.

    Returns what happens to each service, line by line. Raises RefusedError while the peer is heard,
    NotAnsweringError if the result is unknown.
    """
    try:
        for message in _converse(layout, {"do": "confirm", "node": node}, CONFIRM_LIMIT_S):
            return [str(line) for line in message.get("lines", [])]
    except NotAnsweringError as error:
        unknown = f"whether {node} is confirmed, and started its services here, is not known"
        raise NotAnsweringError(
            f"{error}; {unknown}: look at `openha fence status`, then confirm again"
        ) from None
    raise _ended(
        layout,
        f"nmond ended before it answered: whether {node} is confirmed is not known; look at"
        " its log",
    )


def look_at_path(layout: Layout, path: str) -> PathStatus:
    """Have the daemon look at a path of the fence plan now; return what it knows of it then."""
    for message in _converse(layout, {"do": "fence-look", "path": path}, LOOK_LIMIT_S):
        from opensvc_openha.control import protocol

        try:
            return protocol.path_from_json(message["path"])
        except (KeyError, TypeError, ValueError) as error:
            raise _of_another_version(error) from error
    raise _ended(layout, "nmond ended before it answered")


def drill(layout: Layout, path: str, node: str) -> list[str]:
    """Have the daemon cut the power of ``node`` by a path; return what was measured.

    Raises RefusedError if nothing was done, ActionError if the power was not cut.
    """
    request = {"do": "fence-drill", "path": path, "node": node}
    return _lines(layout, request, DRILL_LIMIT_S, f": look whether {node} has power")


@contextlib.contextmanager
def cut_links(layout: Layout, links: Sequence[str], seconds: float) -> Iterator[None]:
    """Have the daemon cut these links while the context lasts, for ``seconds`` at most.

    It opens them again at the end of this process, however that ends. Raises RefusedError.
    """
    request = {"do": "cut-links", "links": list(links), "seconds": seconds}
    with contextlib.closing(_converse(layout, request, CONFIRM_LIMIT_S)) as answers:
        if not any("accepted" in message for message in answers):
            raise _ended(layout, "nmond ended before it cut a link")
        yield


def order_drill(layout: Layout, order: DrillOrder, seconds: float = 0.0) -> list[str]:
    """Have the engine do its part of a drill of a takeover; return what follows.

    Raises RefusedError, and NotAnsweringError if it is not known whether it does.
    """
    request = {"do": "drill-order", "order": order.value, "seconds": seconds}
    return _lines(layout, request, CONFIRM_LIMIT_S)


def note_drill(layout: Layout, word: str, text: str, is_alarm: bool = False) -> None:
    """Have the daemon record the beginning or the end of a drill in the history."""
    from opensvc_openha.control.requests import NOTE_CHARACTERS

    request = {"do": "drill-note", "word": word, "text": text[:NOTE_CHARACTERS]}
    _have_done(layout, {**request, "is_alarm": is_alarm}, ANSWER_LIMIT_S)


def release(layout: Layout) -> list[str]:
    """Have the daemon register this node on the arbiter again; return what follows."""
    return _lines(layout, {"do": "fence-release"}, CONFIRM_LIMIT_S, ": look at its log")


def _lines(layout: Layout, request: dict[str, Any], timeout_s: float, hint: str = "") -> list[str]:
    """Return the lines of an answer; ``hint`` is what to do if the daemon ends before it."""
    for message in _converse(layout, request, timeout_s):
        return [str(line) for line in message.get("lines", [])]
    raise _ended(layout, f"nmond ended before it answered{hint}")


def _have_done(layout: Layout, request: dict[str, Any], timeout_s: float) -> None:
    """Send a request and wait for its success.

    A connection that ends without an answer is a failure.
    """
    if not list(_converse(layout, request, timeout_s)):
        raise _ended(
            layout, "nmond ended before it confirmed that: look at its log, then try again"
        )


def running_pid(layout: Layout) -> int:
    """Return the pid of the daemon that holds this layout's lock.

    0 if none does, -1 if that cannot be determined.
    """
    try:
        handle = os.open(layout.lock_file, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return _holder_in_table(layout)
    except OSError:
        return 0
    try:
        if not is_locked(handle):
            return 0
        owner = read_owner(handle)
        return int(owner) if owner.isdigit() else -1
    finally:
        os.close(handle)


def _holder_in_table(layout: Layout) -> int:
    """Find the holder in the kernel's table of locks, which any user may read."""
    try:
        found = os.stat(layout.lock_file)
        with open("/proc/locks", encoding="utf-8", errors="replace") as table:
            rows = [line.split() for line in table]
    except OSError:
        return -1
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for row in rows:
        # 1: FLOCK  ADVISORY  WRITE 4711 fe:01:393230 0 EOF; a waiting lock has an arrow in the
        # second column.
        if row[1:4] == ["FLOCK", "ADVISORY", "WRITE"] and row[5:6] == [place] and row[4].isdigit():
            return int(row[4]) or -1  # 0: outside of this process's own pid namespace.
    return -1  # Undecidable: some file systems have other numbers there. The socket decides.


def _converse(
    layout: Layout, request: dict[str, Any], timeout_s: float
) -> Generator[dict[str, Any], None, None]:
    import json

    if request["do"] not in _READING and VARIABLE in os.environ:
        request = {**request, "order_reason": given_reason()}
    with _connected(layout) as connection:
        try:
            connection.settimeout(ANSWER_LIMIT_S)
            with contextlib.suppress(BrokenPipeError):  # The daemon's error can still be read.
                connection.sendall(json.dumps(request).encode() + b"\n")
            deadline: float | None = clock.monotonic() + timeout_s
            rest = b""
            while True:
                line, rest = _receive_line(connection, rest, deadline, layout)
                if not line:
                    return
                message = json.loads(line)
                if not isinstance(message, dict):
                    raise NotAnsweringError(
                        "nmond gave an answer of another version (no object): restart it"
                    )
                if "error" in message:
                    raise _TYPES.get(message.get("code"), OpenhaError)(str(message["error"]))
                if "accepted" in message:
                    deadline = None  # From here on scripts run, and take the time they take.
                yield message
        except TimeoutError:
            raise _silent(layout) from None
        except (OSError, ValueError, RecursionError) as error:
            raise _lost(layout, error) from error


def _connected(layout: Layout) -> socket.socket:
    """Return a connection to the daemon.

    Raises NotRunningError only if none runs, as far as this user can determine.
    """
    import socket
    import struct

    from opensvc_openha.system.unix_socket_path import ShortPath

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The kernel's own time-out: with Python's, a full queue would be an error at once, instead
        # of a wait.
        limit = struct.pack("@ll", int(ANSWER_LIMIT_S), int(ANSWER_LIMIT_S % 1 * 1_000_000))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        with ShortPath(layout.control_socket) as short:
            connection.connect(short)
        return connection
    except BlockingIOError:
        connection.close()
        raise _silent(layout) from None
    except PermissionError as error:
        connection.close()
        raise SystemFault(
            f"cannot talk to nmond: {layout.control_socket}: {error.strerror}"
        ) from error
    except OSError as error:
        connection.close()
        pid = running_pid(layout)
        if pid > 0:
            raise NotAnsweringError(
                f"{_process(layout)} holds its lock but does not answer: {error}"
            ) from error
        raise NotRunningError(
            "nmond is not running on this node (start it with: ezha start)"
        ) from None


def _silent(layout: Layout) -> NotAnsweringError:
    return NotAnsweringError(f"{_process(layout)} does not answer: stopped, or overloaded")


def _lost(layout: Layout, error: Exception) -> OpenhaError:
    """Return the error for a broken connection.

    A daemon accepted it, so one ran, and still runs unless shown otherwise.
    """
    if running_pid(layout) == 0:
        return NotRunningError("nmond is not running on this node (start it with: ezha start)")
    return NotAnsweringError(f"{_process(layout)} does not answer: {error}")


def _ended(layout: Layout, message: str) -> OpenhaError:
    """Return the error for a connection that ended early, by whether a daemon runs now."""
    if running_pid(layout) > 0:
        return NotAnsweringError(f"{message} ({_process(layout)} runs now)")
    return NotRunningError(message)


def _receive_line(
    connection: socket.socket, begun: bytes, deadline: float | None, layout: Layout
) -> tuple[bytes, bytes]:
    """Return the next line and the bytes behind it; the line is empty at the end.

    Raises socket.timeout.
    """
    parts, size = [begun], len(begun)
    while b"\n" not in parts[-1]:
        if size > LINE_LIMIT:
            raise ValueError("a line without end")
        connection.settimeout(
            None if deadline is None else max(0.001, min(_LOOK_S, deadline - clock.monotonic()))
        )
        try:
            part = connection.recv(_PART_BYTES)
        except TimeoutError:
            if _is_stopped(running_pid(layout)) or (
                deadline is not None and clock.monotonic() >= deadline
            ):
                raise
            continue
        if not part:
            break
        if deadline is not None and clock.monotonic() >= deadline:
            raise TimeoutError
        parts.append(part)
        size += len(part)
    line, _, behind = b"".join(parts).partition(b"\n")
    return line, behind


def _is_stopped(pid: int) -> bool:
    """Return True if a signal or a debugger stopped the process: waiting for it is no use."""
    found = stat_of(pid)
    return found is not None and found.state in ("T", "t")


def _process(layout: Layout) -> str:
    pid = running_pid(layout)
    return f"nmond (pid {pid})" if pid > 0 else "nmond"
