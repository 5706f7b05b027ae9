"""The daemon's end of the control socket: one thread accepts, one more serves each connection.

Everybody may read the status; only root and the daemon's own user may change anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import socket
import threading
from typing import Any, Optional, Protocol

from opensvc_openha.core.actions import Answer
from opensvc_openha.core.events import Command, Leaving
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import OpenhaError, RefusedError, SystemFault, UsageError
from opensvc_openha.runtime import clock, wire
from opensvc_openha.runtime.caller import Caller, caller_of
from opensvc_openha.runtime.short_path import ShortPath

_REQUEST_LIMIT_S = 10.0
_CONNECTIONS = 64
_ACCEPT_AGAIN_S = 0.1
_HANG_UP_EVERY_S = 1.0


class Served(Protocol):
    """What the server needs of the daemon."""

    def status(self) -> NodeStatus:
        """The present status."""

    def act(
        self, command: Command, services: "Optional[list[str]]", answers: "queue.SimpleQueue[Answer]", caller: Caller
    ) -> int:
        """Submits a command for these services (None: all of this node); returns how many will answer."""

    def reload(self) -> None:
        """Reads the configuration files again."""

    def leave(self, leaving: Leaving, who: str) -> None:
        """Asks the daemon to end; ``who`` asked is remembered."""

    def note(self, service: str, word: str, reason: str, is_alarm: bool) -> None:
        """Keeps in the history what the resource monitor saw or did with a service."""

    def forget_peer(self, caller: Caller) -> None:
        """Believes a lower boot counter of the peer from now on."""


class ControlServer:
    """Serves the control socket at ``path``."""

    def __init__(self, path: str, served: Served) -> None:
        self._path = path
        self._served = served
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Idle connections of other users must not keep root's commands out.
        self._places = {True: threading.BoundedSemaphore(_CONNECTIONS), False: threading.BoundedSemaphore(_CONNECTIONS)}
        self._is_closed = False
        self._bound: "Optional[tuple[int, int]]" = None

    def open(self) -> None:
        """Binds the socket, replacing what a dead daemon left, and starts to serve."""
        self._bind()
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def reopen_if_gone(self) -> None:
        """Binds a new socket if somebody removed the file of the present one, or put another there."""
        if _identity(self._path) == self._bound:
            return
        old, self._socket = self._socket, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        self._bind()
        # Wakes the thread that accepts on the old one; closing alone would not.
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
            self._bound = _identity(self._path)
            self._socket.listen(_CONNECTIONS)
        except OSError as error:
            raise SystemFault(f"cannot listen on {self._path}: {error.strerror or error}") from error

    def close(self) -> None:
        """Stops to listen and removes the socket."""
        self._is_closed = True
        self._socket.close()
        try:
            os.unlink(self._path)
        except OSError:
            pass

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                # Too many open files, or the socket was replaced: neither is the end.
                clock.pause(_ACCEPT_AGAIN_S)
                continue
            place = self._places[caller_of(connection).may_change]
            if not place.acquire(blocking=False):
                connection.close()
                continue
            try:
                threading.Thread(target=self._serve, args=(connection, place), name="request", daemon=True).start()
            except RuntimeError:
                connection.close()
                place.release()

    def _serve(self, connection: socket.socket, place: threading.BoundedSemaphore) -> None:
        try:
            with connection:
                connection.settimeout(_REQUEST_LIMIT_S)
                file = connection.makefile("rb")
                line = file.readline(wire.LINE_LIMIT)
                if line:
                    self._answer(connection, line)
        except OSError:
            pass  # The caller has gone: nobody to tell.
        finally:
            place.release()

    def _answer(self, connection: socket.socket, line: bytes) -> None:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise UsageError("a request is a JSON object")
            self._dispatch(connection, request)
        except ValueError as error:
            connection.sendall(wire.dump({"error": f"not a request: {error}", "code": UsageError.exit_code}))
        except OpenhaError as error:
            connection.sendall(wire.dump({"error": str(error), "code": error.exit_code}))
        except OSError:
            raise
        except Exception as error:  # The one place of this thread that catches all: the caller must hear of it.
            connection.sendall(wire.dump({"error": f"unexpected: {type(error).__name__}: {error}", "code": 1}))

    def _dispatch(self, connection: socket.socket, request: "dict[str, Any]") -> None:
        what = request.get("do")
        if what == "status":
            connection.sendall(wire.dump({"status": wire.status_to_json(self._served.status())}))
            return
        caller = caller_of(connection)
        if not caller.may_change:
            raise RefusedError("only root may change the cluster")
        if _has_gone(connection):
            return  # Given up while this daemon did not answer: what nobody waits for is not done.
        if what == "act":
            self._act(connection, request, caller)
        elif what == "reload":
            self._served.reload()
            connection.sendall(wire.dump({"done": True}))
        elif what == "note":
            service, word, reason = (str(request.get(key, "")) for key in ("service", "word", "reason"))
            self._served.note(service, word, reason, bool(request.get("is_alarm")))
            connection.sendall(wire.dump({"done": True}))
        elif what == "forget-peer":
            self._served.forget_peer(caller)
            connection.sendall(wire.dump({"done": True}))
        elif what == "leave":
            self._served.leave(Leaving(request["how"]), caller.text)
            connection.sendall(wire.dump({"done": True}))
        else:
            raise UsageError(f"unknown request {what!r}: this daemon may be older than the command")

    def _act(self, connection: socket.socket, request: "dict[str, Any]", caller: Caller) -> None:
        """Streams the answers of a command, as they come, until each service has given its last."""
        answers: "queue.SimpleQueue[Answer]" = queue.SimpleQueue()
        open_ends = self._served.act(Command(request["command"]), request.get("services"), answers, caller)
        connection.sendall(wire.dump({"accepted": True}))
        while open_ends:
            try:
                answer = answers.get(timeout=_HANG_UP_EVERY_S)
            except queue.Empty:
                if _has_gone(connection):
                    return
                continue
            open_ends -= answer.is_last
            connection.sendall(wire.dump({"answer": wire.answer_to_json(answer)}))
        connection.sendall(wire.dump({"done": True}))


def _identity(path: str) -> "Optional[tuple[int, int]]":
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _has_gone(connection: socket.socket) -> bool:
    """True if the caller has hung up."""
    try:
        waiting = select.poll()
        waiting.register(connection, select.POLLIN)
        return bool(waiting.poll(0)) and connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True
