"""A watchdog device for keepers that run as real processes (socket_keeper).

As the kernel's watchdogs do, it lets one file be open at a time, takes the opening, the setting of
its timeout and a last close without the magic letter for a pet, and stops at a close with it. The
kernel stamps each message when it is sent, so that the load of the machine does not matter: the
stamps are what the tests look at. It bites nobody.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from opensvc_openha.system import clock
from opensvc_openha.system.unix_socket_path import ShortPath
from opensvc_openha.watchdog import keeper
from tests.watchdog.socket_keeper import IS_NOWAYOUT

_SO_TIMESTAMPNS = 35
OPEN, SET, PET, CLOSE, STOP = "open", "set", "pet", "close", "stop"
"""STOP is a last close after the magic letter, CLOSE one without: a pet."""


@dataclass(frozen=True)
class Seen:
    """Something that reached the device, at an instant of the daemon's clock."""

    what: str
    at: float


class SimulatedWatchdog:
    """The device at ``path``, served by a thread until ``end``."""

    def __init__(
        self,
        path: Path,
        options: int = keeper.MAGIC_CLOSE_OPTION | keeper.SET_TIMEOUT_OPTION,
        is_nowayout: bool = False,
        reports_nowayout: bool = True,
        most_timeout_s: int = 100,
        on_request: Callable[[int], None] = lambda request: None,
    ) -> None:
        self.path = path
        self.seen: list[Seen] = []
        self.timeout_s = 60
        self.errors: dict[int, int] = {}
        """Error for an ioctl, by its number."""
        self.on_request = on_request
        """Called while the keeper waits for the answer of an ioctl, or with OPEN_REQUEST."""
        self._options = options
        self._is_nowayout = is_nowayout
        self._reports_nowayout = reports_nowayout
        self._most_timeout_s = most_timeout_s
        self._open: socket.socket | None = None
        self._is_magic = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ShortPath(str(path)) as short:
            self._listener.bind(short)
        self._listener.listen(8)
        self._test, self._asked = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    OPEN_REQUEST = 1

    def end(self) -> None:
        self._test.close()
        self._thread.join()
        for each in (self._listener, self._asked, self._open):
            if each is not None:
                each.close()

    def words(self) -> list[str]:
        self._settle()
        return [each.what for each in self.seen]

    def pets(self) -> list[float]:
        """Return when it was petted, by whatever counts as that, but for a last close."""
        self._settle()
        return [each.at for each in self.seen if each.what in (OPEN, SET, PET)]

    def _settle(self) -> None:
        """Return when all that was sent before has been received."""
        self._test.send(b"?")
        self._test.recv(1)

    def _serve(self) -> None:
        while True:
            waiting = [self._listener, self._asked]
            if self._open is not None:
                waiting.append(self._open)
            ready = select.select(waiting, [], [])[0]
            # First what came by the open file: its close lets the next one open it.
            if self._open is not None and self._open in ready:
                self._receive(self._open)
            elif self._listener in ready:
                self._admit()
            elif self._asked.recv(1):
                self._asked.send(b"!")
            else:
                return

    def _admit(self) -> None:
        connection, _ = self._listener.accept()
        if self._open is not None:
            connection.send(struct.pack("i", errno.EBUSY))
            connection.close()
            return
        connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._open, self._is_magic = connection, False
        # No later than this: the keeper waits for the answer.
        self.seen.append(Seen(OPEN, clock.monotonic()))
        self.on_request(self.OPEN_REQUEST)
        connection.send(struct.pack("i", 0))

    def _receive(self, connection: socket.socket) -> None:
        try:
            message, notes, _, _ = connection.recvmsg(200, 100)
        except ConnectionResetError:
            # A process that dies leaves an answer unread.
            message, notes = b"", []
        if not message:
            self._open = None
            connection.close()
            is_stopped = self._is_magic and not self._is_nowayout
            self.seen.append(Seen(STOP if is_stopped else CLOSE, clock.monotonic()))
            return
        at = _stamp(notes)
        if not message.startswith(b"\0ioctl"):
            # The kernel takes any byte for a pet, and looks for the letter among them.
            self._is_magic = b"V" in message
            self.seen.append(Seen(PET, at))
            return
        request = struct.unpack("I", message[6:10])[0]
        answer, error = self._ioctl(request, message[10:], at)
        self.on_request(request)
        try:
            connection.send(struct.pack("i", error) + answer)
        except (BrokenPipeError, ConnectionResetError):
            return

    def _ioctl(self, request: int, data: bytes, at: float) -> tuple[bytes, int]:
        if request in self.errors:
            return b"", self.errors[request]
        if request == keeper.GET_SUPPORT:
            return struct.pack("=II", self._options, 0) + b"Simulated".ljust(32, b"\0"), 0
        if request == keeper.SET_TIMEOUT:
            asked = struct.unpack("=i", data)[0]
            if asked > self._most_timeout_s:
                return b"", errno.EINVAL
            self.timeout_s = asked
            self.seen.append(Seen(SET, at))
            return data, 0
        if request == keeper.GET_TIMEOUT:
            return struct.pack("=i", self.timeout_s), 0
        if request == IS_NOWAYOUT and self._reports_nowayout:
            return b"\1" if self._is_nowayout else b"\0", 0
        return b"", errno.ENOTTY


def _stamp(notes: list[tuple[int, int, bytes]]) -> float:
    for level, kind, data in notes:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return float(seconds + nanoseconds / 1e9 - _wall_ahead())
    raise AssertionError("the kernel did not stamp a message")


def _wall_ahead() -> float:
    """Return how far the wall clock, of the stamps, is ahead of the daemon's clock."""
    best = (float("inf"), 0.0)
    for _ in range(100):
        before = clock.monotonic()
        wall = time.clock_gettime(time.CLOCK_REALTIME)
        took = clock.monotonic() - before
        best = min(best, (took, wall - before))
        # A pause between the readings would be taken for an age of the stamp.
        if took < 0.0001:
            break
    return best[1]
