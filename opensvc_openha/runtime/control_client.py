"""Talks to the node daemon's control socket: one JSON object per line each way."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from typing import TYPE_CHECKING, Any, Iterator, Optional

from opensvc_openha.errors import NotAnsweringError, NotRunningError, OpenhaError, RefusedError, SystemFault, UsageError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.runtime.short_path import ShortPath

if TYPE_CHECKING:  # Loaded when the daemon is asked: most commands find out first that none runs, or need no answer.
    from opensvc_openha.core.actions import Answer
    from opensvc_openha.core.events import Command, Leaving
    from opensvc_openha.core.status import NodeStatus

_TYPES = {kind.exit_code: kind for kind in (UsageError, RefusedError, SystemFault, NotRunningError)}
ANSWER_LIMIT_S = 2.0
"""How long a daemon in good health may take to answer."""


def fetch_status(layout: Layout, timeout_s: float = ANSWER_LIMIT_S) -> "NodeStatus":
    """Status of the node daemon of this layout.

    Raises NotRunningError if none runs, NotAnsweringError if it does not answer within ``timeout_s`` seconds.
    """
    for message in _converse(layout, {"do": "status"}, timeout_s):
        from opensvc_openha.runtime import wire

        try:
            return wire.status_from_json(message["status"])
        except (KeyError, TypeError, ValueError) as error:
            raise NotAnsweringError(f"nmond gave an answer of another version ({error!r}): restart it") from error
    raise NotAnsweringError("nmond ended while it was asked")


def act(layout: Layout, command: "Command", services: "Optional[list[str]]") -> "Iterator[Answer]":
    """Has a command carried out for these services (None: all); yields the answers as they come, without a limit."""
    from opensvc_openha.runtime import wire

    request: "dict[str, Any]" = {"do": "act", "command": command.value, "services": services}
    is_done = False
    for message in _converse(layout, request, ANSWER_LIMIT_S):
        if "answer" in message:
            yield wire.answer_from_json(message["answer"])
        is_done = is_done or bool(message.get("done"))
    if not is_done:
        raise NotRunningError("nmond ended before the action did: look at its log, then at `service -s`")


def reload(layout: Layout) -> None:
    """Has the configuration files read again; raises what the daemon found wrong in them."""
    for _ in _converse(layout, {"do": "reload"}, 10.0):
        pass


def reload_if_running(layout: Layout) -> None:
    """Has a running daemon take over the edited files at once; none running is fine."""
    try:
        reload(layout)
    except NotAnsweringError:
        raise
    except NotRunningError:
        pass


def leave(layout: Layout, leaving: "Leaving") -> None:
    """Asks the daemon to end; returns once it has taken the request."""
    for _ in _converse(layout, {"do": "leave", "how": leaving.value}, ANSWER_LIMIT_S):
        pass


def note(layout: Layout, service: str, word: str, reason: str, is_alarm: bool) -> None:
    """Has the history keep what the resource monitor saw or did with a service."""
    request = {"do": "note", "service": service, "word": word, "reason": reason, "is_alarm": is_alarm}
    for _ in _converse(layout, request, ANSWER_LIMIT_S):
        pass


def forget_peer(layout: Layout) -> None:
    """Has the daemon believe a lower boot counter of the peer."""
    for _ in _converse(layout, {"do": "forget-peer"}, 10.0):
        pass


def running_pid(layout: Layout) -> int:
    """Pid of the daemon that holds the lock of this layout, 0 if none does, -1 if that cannot be known."""
    try:
        handle = os.open(layout.lock_file, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return -1  # Not for us to know; the socket tells.
    except OSError:
        return 0
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        text = os.read(handle, 32).decode("ascii", "replace").strip()
        return int(text) if text.isdigit() else -1
    finally:
        os.close(handle)
    return 0


def _converse(layout: Layout, request: "dict[str, Any]", timeout_s: Optional[float]) -> Iterator["dict[str, Any]"]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_LIMIT_S)
        try:
            with ShortPath(layout.control_socket) as short:
                connection.connect(short)
            connection.sendall(json.dumps(request).encode() + b"\n")
            connection.settimeout(timeout_s)
            with connection.makefile("rb") as file:
                for line in file:
                    message = json.loads(line)
                    if "error" in message:
                        raise _TYPES.get(message.get("code"), OpenhaError)(message["error"])
                    if "accepted" in message:
                        # From here on scripts run, and take the time they take.
                        connection.settimeout(None)
                    yield message
        except socket.timeout:
            pid = running_pid(layout)
            raise NotAnsweringError(f"nmond (pid {pid}) does not answer: stopped, or overloaded") from None
        except PermissionError as error:
            raise SystemFault(f"cannot talk to nmond: {layout.control_socket}: {error.strerror}") from error
        except (OSError, ValueError) as error:
            pid = running_pid(layout)
            if pid > 0:
                raise NotAnsweringError(f"nmond (pid {pid}) holds its lock but does not answer: {error}") from error
            raise NotRunningError("nmond is not running on this node (start it with: ezha start)") from None
