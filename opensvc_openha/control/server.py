"""Serve the daemon's end of the control socket: one thread accepts, one serves each connection.

All users may read the status; only root and the daemon's own user may change anything. A connection
costs the engine's process almost nothing: the kernel identifies the user before a byte is read, the
request is one short line due within seconds, and each user has few connections at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from opensvc_openha import __version__
from opensvc_openha.control import protocol
from opensvc_openha.control.rendering import Rendered, Renderer
from opensvc_openha.control.requests import (
    REQUEST_BYTES,
    STRANGER_BYTES,
    ActRequest,
    ConfirmRequest,
    CutRequest,
    DrillNoteRequest,
    DrillOrderRequest,
    EvacuateRequest,
    FenceDrillRequest,
    FenceLookRequest,
    ForgetPeerRequest,
    HistoryRequest,
    LeaveRequest,
    NoteRequest,
    Order,
    ReleaseRequest,
    ReloadRequest,
    RenderRequest,
    Request,
    StartedRequest,
    StatusRequest,
    parse_request,
)
from opensvc_openha.core.actions import Answer
from opensvc_openha.core.events import Command, DrillOrder, Leaving
from opensvc_openha.core.status import NodeStatus, PathStatus
from opensvc_openha.errors import (
    NotAnsweringError,
    OpenhaError,
    RefusedError,
    SystemFault,
    UsageError,
)
from opensvc_openha.formats.script_output import without_output
from opensvc_openha.hints import TYPE_CHECKING, Any, Protocol
from opensvc_openha.storage.history_entry import Entry, entry_to_json
from opensvc_openha.system import clock
from opensvc_openha.system.atomic_files import make_dir
from opensvc_openha.system.files import identity_of
from opensvc_openha.system.peer_credentials import Caller, caller_of
from opensvc_openha.system.unix_socket_path import ShortPath

if TYPE_CHECKING:
    from opensvc_openha.control.rendering import Report, View

_REQUEST_LIMIT_S = 10.0
_STRANGER_LIMIT_S = 2.0
"""Seconds within which the whole request of a user who may only read must arrive."""
_SEND_LIMIT_S = 10.0
_CONNECTIONS = 64
"""Connections at a time: so many for privileged users, and so many for all others together."""
_OF_ONE_STRANGER = 8
_BACKLOG = 128
_ACCEPT_AGAIN_S = 0.1
_REPORT_WAIT_S = 0.5
"""Seconds that a report waits for another one: less than the lean client waits for its answer."""
_HANG_UP_EVERY_S = 1.0
_CUT_LOOK_S = 0.1
"""Seconds between looks whether links that a drill has cut are to be opened again."""
_SHARE = 0.05
"""Largest part of the time spent on one kind of answer for users who may only read."""
_KEPT_S = 1.0


class Served(Protocol):
    """Operations that the server needs from the daemon."""

    def status(self) -> NodeStatus:
        """Return the present status."""

    def newest_status(self) -> NodeStatus:
        """Return the present status, or at once the newest one of an engine that hangs."""

    def recent(self) -> list[Entry]:
        """Return the newest entries of the history, oldest first."""

    def act(
        self,
        command: Command,
        services: list[str] | None,
        answers: queue.SimpleQueue[Answer],
        caller: Caller,
    ) -> int:
        """Submit a command for these services (None: all of this node).

        Returns how many will answer.
        """

    def record_start(self, caller: Caller) -> None:
        """Record who started the daemon, and why."""

    def reload(self, caller: Caller) -> None:
        """Read the configuration files again."""

    def leave(self, leaving: Leaving, who: str) -> None:
        """Order the daemon to end; ``who`` is recorded as the source of the order."""

    def record_observation(self, service: str, word: str, reason: str, is_alarm: bool) -> None:
        """Record what the resource monitor observed or did with a service."""

    def confirm_peer_out(self, node: str, caller: Caller) -> list[str]:
        """Submit an operator's confirmation that the peer runs nothing.

        Returns what happens to each service, line by line.
        """

    def look_at_path(self, path: str) -> PathStatus:
        """Look at a path of the fence plan now; return what is known of it then."""

    def drill(self, path: str, node: str, caller: Caller) -> list[str]:
        """Cut the power of the peer, which runs nothing, by a path; return what was measured."""

    def cut_links(self, links: tuple[str, ...], seconds: float, caller: Caller) -> None:
        """Cut these links for a drill, until ``end_cut``."""

    def why_cut_ends(self, links: tuple[str, ...]) -> str:
        """Return why the links have to be opened again; empty if they do not."""

    def end_cut(self) -> None:
        """Open again what a drill has cut."""

    def order_drill(self, order: DrillOrder, seconds: float, caller: Caller) -> list[str]:
        """Have the engine do its part of a drill of a takeover; return what follows."""

    def note_drill(self, word: str, text: str, is_alarm: bool, caller: Caller) -> None:
        """Record the beginning or the end of a drill."""

    def release(self, caller: Caller) -> list[str]:
        """Register this node on the arbiter again; return what follows."""

    def forget_peer(self, caller: Caller) -> None:
        """Accept a lower boot counter of the peer from now on."""

    def evacuate(self, is_on: bool, is_off_limits: bool, caller: Caller) -> None:
        """Keep services away from this node, or no longer."""


class ControlServer:
    """Serve the control socket at ``path``."""

    def __init__(self, path: str, served: Served, renderer: Renderer | None = None) -> None:
        self._path = path
        self._served = served
        self._renderer = renderer
        self._rendering = threading.Lock()
        """Held while a text is made, so that the engine shares a processor with one such thread."""
        self._reporting = threading.Lock()
        """Held while files are read for one: a status does not wait for them."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._places = _Places()
        self._status = _Shared(lambda: self._status_for_all(served.status()))
        self._newest_status = _Shared(lambda: self._status_for_all(served.newest_status()))
        self._shared_texts = _SharedTexts(self._newest_status.line, self._rendering)
        self._history = _Shared(self._history_for_all)
        self._is_closed = False
        self._bound: tuple[int, ...] | None = None

    def open(self) -> None:
        """Bind the socket, replacing one that a dead daemon left, and start to serve."""
        self._bind()
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def reopen_if_gone(self) -> None:
        """Bind a new socket if the file of the present one was removed or replaced."""
        if identity_of(self._path, follow_symlinks=False) == self._bound:
            return
        old, self._socket = self._socket, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        make_dir(os.path.dirname(self._path))
        self._bind()
        # Wakes the thread that accepts on the old socket; closing it would not.
        with contextlib.suppress(OSError):
            old.shutdown(socket.SHUT_RDWR)
        old.close()

    def _bind(self) -> None:
        try:
            if os.path.lexists(self._path):
                os.unlink(self._path)
            with ShortPath(self._path) as short:
                self._socket.bind(short)
            os.chmod(self._path, 0o666)
            self._bound = identity_of(self._path, follow_symlinks=False)
            self._socket.listen(_BACKLOG)
        except OSError as error:
            raise SystemFault(
                f"cannot listen on {self._path}: {error.strerror or error}"
            ) from error

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # Wakes the thread that accepts.
        self._socket.close()
        if identity_of(self._path, follow_symlinks=False) == self._bound:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                # Too many open files, or the socket was replaced: neither is a reason to end.
                clock.pause(_ACCEPT_AGAIN_S)
                continue
            try:
                self._admit(connection)
            except (OSError, RuntimeError):
                connection.close()  # It has ended already, or no thread is available.

    def _admit(self, connection: socket.socket) -> None:
        caller = caller_of(connection)
        if not self._places.take(caller):
            connection.setblocking(False)
            connection.send(protocol.dump({"error": _BUSY, "code": NotAnsweringError.exit_code}))
            connection.close()
            return
        try:
            threading.Thread(
                target=self._serve, args=(connection, caller), name="request", daemon=True
            ).start()
        except RuntimeError:
            self._places.give_back(caller)
            raise

    def _serve(self, connection: socket.socket, caller: Caller) -> None:
        try:
            with connection:
                self._answer(connection, caller)
        except OSError:
            pass  # The caller has gone, or does not read.
        finally:
            self._places.give_back(caller)

    def _answer(self, connection: socket.socket, caller: Caller) -> None:
        try:
            line = _read_line(connection, caller)
            if line:
                self._dispatch(connection, parse_request(line), caller)
        except OpenhaError as error:
            _send(connection, {"error": str(error), "code": error.exit_code})
        except OSError:
            raise
        # The one place of this thread that catches all: the caller must hear of it.
        except Exception as error:
            _send(connection, {"error": f"unexpected: {type(error).__name__}: {error}", "code": 1})

    def _dispatch(self, connection: socket.socket, request: Request, caller: Caller) -> None:
        if isinstance(request, StatusRequest):
            if caller.may_change:
                ask = self._served.newest_status if request.is_old_fine else self._served.status
                _send(connection, {"status": protocol.status_to_json(ask())})
            else:
                shared = self._newest_status if request.is_old_fine else self._status
                _send_line(connection, shared.line())
            return
        if isinstance(request, HistoryRequest):
            if caller.may_change:
                entries = [entry_to_json(entry) for entry in self._served.recent()]
                _send(connection, {"history": entries})
            else:
                _send_line(connection, self._history.line())
            return
        if isinstance(request, RenderRequest):
            self._render(connection, request, caller)
            return
        self._change(connection, request, caller)

    def _change(self, connection: socket.socket, request: Request, caller: Caller) -> None:
        if not caller.may_change:
            raise RefusedError("only root may change the cluster")
        if _has_gone(connection):
            return  # The caller gave up: do not run its request.
        if isinstance(request, Order):
            caller = replace(caller, order_reason=request.order_reason)
        if isinstance(request, ActRequest):
            self._act(connection, request, caller)
            return
        if isinstance(request, CutRequest):
            self._cut(connection, request, caller)
            return
        lines = self._lines_of(request, caller)
        if lines is not None:
            _send(connection, {"done": True, **lines})
            return
        if isinstance(request, ReloadRequest):
            self._served.reload(caller)
        elif isinstance(request, NoteRequest):
            self._served.record_observation(
                request.service, request.word, request.reason, request.is_alarm
            )
        elif isinstance(request, DrillNoteRequest):
            self._served.note_drill(request.word, request.text, request.is_alarm, caller)
        elif isinstance(request, StartedRequest):
            self._served.record_start(caller)
        elif isinstance(request, EvacuateRequest):
            self._served.evacuate(request.is_on, request.is_off_limits, caller)
        elif isinstance(request, ForgetPeerRequest):
            self._served.forget_peer(caller)
        else:
            assert isinstance(request, LeaveRequest)
            self._served.leave(request.leaving, caller.text)
        _send(connection, {"done": True})

    def _render(self, connection: socket.socket, request: RenderRequest, caller: Caller) -> None:
        """Answer with what a command prints.

        For what is not to be worded here a UsageError is raised before anything is done: the
        command does it itself then, and reports what is wrong with it.
        """
        renderer = self._renderer
        if renderer is None:
            raise UsageError("not worded here")
        if request.version != __version__ or request.zone != os.environ.get("TZ"):
            raise UsageError("not worded here: of another version, or in another time zone")
        clock.follow_zone()

        view, report = renderer.view(request.words), None
        if view is None and caller.may_change:
            report = renderer.report(request.words)
        if report is not None:
            self._report(connection, report)
        elif view is None:
            self._order(connection, renderer, request, caller)
        elif caller.may_change:
            status = self._served.newest_status()
            with self._rendering:
                text = protocol.frame(renderer.show(view, status))
            _send_line(connection, text)
        else:
            _send_line(connection, self._shared_texts.of(view, renderer.show))

    def _report(self, connection: socket.socket, report: Report) -> None:
        """Answer with what files say, unless the reading of another report takes too long.

        A disk that hangs must not collect the connections that orders need.
        """
        if not self._reporting.acquire(timeout=_REPORT_WAIT_S):
            raise UsageError("not worded here: another report is being read")
        try:
            if _has_gone(connection):
                return  # The command was impatient, and reads the files itself.
            text = protocol.frame(report(self._served))
        finally:
            self._reporting.release()
        _send_line(connection, text)

    def _order(
        self,
        connection: socket.socket,
        renderer: Renderer,
        request: RenderRequest,
        caller: Caller,
    ) -> None:
        """Carry out the order of a command line; send what it prints as it comes."""
        if not caller.may_change:
            raise RefusedError("only root may change the cluster")
        order = renderer.order(request.words, caller)
        if order is None:
            raise UsageError("not worded here")
        if _has_gone(connection):
            return  # The caller gave up: do not run its order.
        services = None if order.service is None else [order.service]
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        failures = []
        try:
            open_ends = self._served.act(
                order.command, services, answers, replace(caller, order_reason=request.order_reason)
            )
            _send_line(connection, protocol.frame(Rendered(""), is_last=False))
            for answer in _last_answers(connection, answers, open_ends):
                if answer.is_ok:
                    line = Rendered(renderer.answer(answer))
                    _send_line(connection, protocol.frame(line, is_last=False))
                else:
                    failures.append(answer)
            end = renderer.outcome(failures)
        except OSError:
            raise  # The caller has gone.
        # From here on nothing may be taken for an order that was not given.
        except Exception as error:
            end = renderer.failure(error)
        _send_line(connection, protocol.frame(end))

    def _lines_of(self, request: Request, caller: Caller) -> dict[str, Any] | None:
        """Return what a request is answered with that has more than a success; None for others."""
        if isinstance(request, ConfirmRequest):
            return {"lines": self._served.confirm_peer_out(request.node, caller)}
        if isinstance(request, FenceLookRequest):
            return {"path": vars(self._served.look_at_path(request.path))}
        if isinstance(request, FenceDrillRequest):
            return {"lines": self._served.drill(request.path, request.node, caller)}
        if isinstance(request, DrillOrderRequest):
            return {"lines": self._served.order_drill(request.order, request.seconds, caller)}
        if isinstance(request, ReleaseRequest):
            return {"lines": self._served.release(caller)}
        return None

    def _status_for_all(self, whole: NodeStatus) -> dict[str, Any]:
        status = protocol.status_to_json(whole)
        for svc in status["services"]:
            for name in _TEXTS_OF_SERVICE & svc.keys():
                svc[name] = without_output(svc[name])
        for each in status.get("findings", ()):
            each["text"] = without_output(each["text"])
        status["warnings"] = [without_output(text) for text in status["warnings"]]
        status["fencing"] = _without_output(status["fencing"])
        return {"status": status}

    def _history_for_all(self) -> dict[str, Any]:
        entries = [
            entry_to_json(replace(entry, reason=without_output(entry.reason)))
            for entry in self._served.recent()
        ]
        return {"history": entries}

    def _act(self, connection: socket.socket, request: ActRequest, caller: Caller) -> None:
        """Stream the answers of a command as they come, until each service has given its last."""
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        services = None if request.services is None else list(request.services)
        open_ends = self._served.act(
            request.command, services, answers, replace(caller, by=request.by)
        )
        _send(connection, {"accepted": True})
        for answer in _last_answers(connection, answers, open_ends):
            _send(connection, {"answer": protocol.answer_to_json(answer)})
        _send(connection, {"done": True})

    def _cut(self, connection: socket.socket, request: CutRequest, caller: Caller) -> None:
        """Cut links while the connection lasts: a drill that is killed leaves nothing cut."""
        self._served.cut_links(request.links, request.seconds, caller)
        try:
            _send(connection, {"accepted": True})
            why = ""
            while not why:
                if _has_gone(connection):
                    return
                clock.pause(_CUT_LOOK_S)
                why = self._served.why_cut_ends(request.links)
        finally:
            self._served.end_cut()
        _send(connection, {"done": True, "why": why})


class _Gone(ConnectionError):
    """The caller has closed the connection."""


def _last_answers(
    connection: socket.socket, answers: queue.SimpleQueue[Answer], open_ends: int
) -> Iterator[Answer]:
    """Yield answers until so many have given their last; raise _Gone once the caller is."""
    while open_ends:
        try:
            answer = answers.get(timeout=_HANG_UP_EVERY_S)
        except queue.Empty:
            if _has_gone(connection):
                raise _Gone from None
            continue
        open_ends -= answer.is_last
        yield answer


def _without_output(fencing: dict[str, Any]) -> dict[str, Any]:
    """Return the status of fencing without what scripts and devices printed."""
    found = dict(fencing)
    for name, key in (
        ("groups", "detail"),
        ("paths", "text"),
        ("service_paths", "text"),
        ("proofs", "text"),
    ):
        if name in found:
            found[name] = [{**item, key: without_output(item[key])} for item in found[name]]
    if "hints" in found:
        found["hints"] = [without_output(hint) for hint in found["hints"]]
    return found


_TEXTS_OF_SERVICE = {"reason", "unready", "ready_text"}


class _Places:
    """Count connections, so that unprivileged users lock out neither root nor each other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0
        self._of_strangers: dict[int, int] = {}

    def take(self, caller: Caller) -> bool:
        """Reserve a place for a connection; False if none is left for this user."""
        with self._lock:
            if caller.may_change:
                if self._taken >= _CONNECTIONS:
                    return False
                self._taken += 1
                return True
            own = self._of_strangers.get(caller.uid, 0)
            if own >= _OF_ONE_STRANGER or sum(self._of_strangers.values()) >= _CONNECTIONS:
                return False
            self._of_strangers[caller.uid] = own + 1
            return True

    def give_back(self, caller: Caller) -> None:
        """Release the place that ``take`` reserved."""
        with self._lock:
            if caller.may_change:
                self._taken -= 1
                return
            own = self._of_strangers[caller.uid] - 1
            if own:
                self._of_strangers[caller.uid] = own
            else:
                del self._of_strangers[caller.uid]


class _Shared:
    """One answer, without output of scripts, for unprivileged users who ask at about the same time.

    Making it costs the engine's process time that grows with the number of services; those users
    must not control how much.
    """

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._line = b""
        self._fresh_until = clock.monotonic()

    def line(self) -> bytes:
        """Return the answer as it is sent."""
        with self._lock:
            began = clock.monotonic()
            if began >= self._fresh_until:
                self._line = self._dumped()
                ended = clock.monotonic()
                self._fresh_until = ended + min(_KEPT_S, (ended - began) / _SHARE)
            return self._line

    def _dumped(self) -> bytes:
        try:
            return protocol.dump(self._make())
        except OpenhaError as error:
            return protocol.dump({"error": str(error), "code": error.exit_code})


class _SharedTexts:
    """The texts of the shared status, for unprivileged users: each is made once for each status."""

    def __init__(self, status_line: Callable[[], bytes], rendering: threading.Lock) -> None:
        self._status_line = status_line
        self._rendering = rendering
        self._line = b""
        self._status: NodeStatus | None = None
        self._texts: dict[View, bytes] = {}

    def of(self, view: View, show: Callable[[View, NodeStatus], Rendered]) -> bytes:
        """Return the text of a view as it is sent; an error as it is."""
        line = self._status_line()
        with self._rendering:
            if line is not self._line:
                found = json.loads(line).get("status")
                self._status = None if found is None else protocol.status_from_json(found)
                self._line, self._texts = line, {}
            if self._status is None:
                return line
            if view not in self._texts:
                self._texts[view] = protocol.frame(show(view, self._status))
            return self._texts[view]


_BUSY = "nmond does not answer: this user has too many connections to it already"


def _read_line(connection: socket.socket, caller: Caller) -> bytes:
    """Read the line of a request within the caller's limits of size and time; empty without one."""
    limit = REQUEST_BYTES if caller.may_change else STRANGER_BYTES
    deadline = clock.monotonic() + (_REQUEST_LIMIT_S if caller.may_change else _STRANGER_LIMIT_S)
    line = b""
    while b"\n" not in line:
        if len(line) > limit:
            raise UsageError(f"not a request: longer than {limit} bytes")
        connection.settimeout(max(0.001, deadline - clock.monotonic()))
        part = connection.recv(limit + 1 - len(line))
        if not part:
            break
        line += part
        if clock.monotonic() >= deadline:
            raise UsageError("not a request: it took too long to come")
    return line.partition(b"\n")[0]


def _send(connection: socket.socket, message: dict[str, object]) -> None:
    _send_line(connection, protocol.dump(message))


def _send_line(connection: socket.socket, line: bytes) -> None:
    connection.settimeout(_SEND_LIMIT_S)  # For the whole of it, however slowly the caller reads.
    connection.sendall(line)


def _has_gone(connection: socket.socket) -> bool:
    """Return True if the caller has closed the connection."""
    try:
        waiting = select.poll()
        waiting.register(connection, select.POLLIN)
        return bool(waiting.poll(0)) and connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True
