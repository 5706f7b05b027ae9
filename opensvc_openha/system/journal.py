"""Write log lines to systemd's journal with fields, by its native protocol.

Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL - a datagram of lines NAME=VALUE; a value with a
line end has its length before it. Fields make `journalctl OPENHA_SERVICE=web` possible, and a
MESSAGE_ID the explanation of `journalctl -x` from a catalog.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import stat
import struct
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
_SEND_LIMIT_S = 5.0
_VALUE_BYTES = 16_384
"""Longer values are cut: a datagram has its limit, and the log file has the whole."""
_DAEMON = "3"
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}\Z")


def encode(fields: Mapping[str, str]) -> bytes:
    """Return the datagram of an entry. Names are upper-case letters, digits and underscores."""
    found = b""
    for name, value in fields.items():
        assert _NAME.match(name), name
        data = value.encode("utf-8", "backslashreplace")[:_VALUE_BYTES]
        if b"\n" in data:
            found += name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
        else:
            found += name.encode() + b"=" + data + b"\n"
    return found


def is_there(path: str = SOCKET) -> bool:
    """Return whether a journal takes entries on this machine."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def has_stream(handle: int) -> bool:
    """Return whether systemd has connected this handle to its journal, see systemd.exec(5)."""
    try:
        found = os.fstat(handle)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class JournalHandler(logging.Handler):
    """Sends each line with the ``fields`` of its record, if it has any; never fails."""

    def __init__(self, path: str = SOCKET) -> None:
        super().__init__()
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(_SEND_LIMIT_S)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line; one that the journal does not take is in the log file alone."""
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": "4" if record.levelno >= logging.WARNING else "6",
            "SYSLOG_IDENTIFIER": "nmond",
            "SYSLOG_FACILITY": _DAEMON,
            "SYSLOG_PID": str(os.getpid()),
            **getattr(record, "fields", {}),
        }
        try:
            self._socket.sendto(encode(fields), self._path)
        except OSError:
            return

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()
