"""Identify the process at the other end of the control socket, by the kernel.

For permissions, and for the history. Names come from /etc/passwd alone: a directory server that
does not answer must not delay a command.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import replace

from opensvc_openha.core.events import BY_OPERATOR
from opensvc_openha.records import dataclass

_CREDENTIALS = "3i"
_NO_LOGIN = 0xFFFFFFFF


@dataclass(frozen=True)
class Caller:
    """A process that gives a command: its user, and the login user it descends from, if any."""

    pid: int
    uid: int
    login_uid: int | None = None
    by: str = BY_OPERATOR
    """Its description, if it is not an operator's command."""
    order_reason: str = ""
    """Why it gives an order, in a person's words."""

    @property
    def may_change(self) -> bool:
        """True for root and for the user of the daemon itself."""
        return self.uid in (0, os.getuid())

    @property
    def text(self) -> str:
        """Description.

        ``root (login alice, pid 4711, reason: CHG-12)``, or ``resource monitor, root (pid 4711)``.
        """
        login = f"login {_user(self.login_uid)}, " if self.login_uid not in (None, self.uid) else ""
        who = "" if self.by == BY_OPERATOR else f"{self.by}, "
        why = f", reason: {self.order_reason}" if self.order_reason else ""
        return f"{who}{_user(self.uid)} ({login}pid {self.pid}{why})"


def caller_of(connection: socket.socket) -> Caller:
    """Return the process that opened a connection to this one's UNIX socket."""
    raw = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_CREDENTIALS)
    )
    pid, uid, _ = struct.unpack(_CREDENTIALS, raw)
    caller = Caller(pid, uid)
    # Only the source of a command is recorded.
    return replace(caller, login_uid=_login_of(pid)) if caller.may_change else caller


def _login_of(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/loginuid", encoding="ascii") as file:
            number = int(file.read())
    except (OSError, ValueError):
        return None
    return None if number == _NO_LOGIN else number


def _user(uid: int | None) -> str:
    try:
        with open("/etc/passwd", encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line.split(":")
                if len(words) > 2 and words[2] == str(uid):
                    return words[0]
    except OSError:
        pass
    return f"uid {uid}"
