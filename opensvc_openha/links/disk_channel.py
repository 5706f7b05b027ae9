"""Access one shared device through a child process; every wait for it has a limit.

A process with an I/O on a hung disk cannot be killed until the disk answers. So the child does the
I/O, a reader
thread collects its answers, and a waiting thread gives up in time::

    sender thread ---+                         +--> requests --> child --> device
                     +-- DiskChannel.request --+
    listener thread -+   (limit each)          +<-- replies <-- reader thread

While an answer is overdue further requests fail at once; when it comes late, work continues. A
child that hangs is kept until it answers, even if the channel is not used meanwhile: starting
another one each time would only pile them up.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from opensvc_openha.links import disk_worker
from opensvc_openha.links.base import LinkFault
from opensvc_openha.system import clock
from opensvc_openha.system.disk_identity import disk_identity
from opensvc_openha.system.files import identity_of

START_LIMIT_S = 5.0
"""Limit for the first answer of a new child, in seconds.

A Python start on a loaded machine, and opening the device.
"""

_KERNEL_EXTRA_S = 30.0

_LAST_MOMENT_S = 1.0
"""A child that closed its output is about to end.

The reader thread waits for it at most this long.
"""


@dataclass(frozen=True)
class DeviceInfo:
    """Result of opening the device.

    ``is_around_cache`` is False if reads go through the page cache. ``is_in_use`` means that it is
    mounted, or held by a volume manager; only determined when it is opened for writing.
    """

    block_bytes: int
    size_bytes: int
    is_block_device: bool
    is_around_cache: bool
    is_in_use: bool = False


@dataclass(frozen=True)
class ScsiAnswer:
    """How a device answered one SCSI command: its verdict is not interpreted here."""

    status: int
    host_status: int
    driver_status: int
    sense: bytes
    data: bytes


@dataclass
class _Call:
    """One pending request."""

    is_answered: threading.Event = field(default_factory=threading.Event)
    status: int = 0
    payload: bytes = b""


class _Worker:
    """One run of the child process."""

    def __init__(self, path: str, is_direct: bool, on_reply: Callable[[], None]) -> None:
        self._path = path
        self._on_reply = on_reply
        self._lock = threading.Lock()
        self._calls: dict[int, _Call] = {}
        self._overdue: dict[int, tuple[str, float]] = {}
        """What was asked for, and when, of answers whose time is over."""
        self._last_number = 0
        self._is_ended = False
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    disk_worker.__file__,
                    path,
                    "direct" if is_direct else "buffered",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Not ours: a hung child would keep the daemon's stderr open, whatever that is.
                stderr=subprocess.DEVNULL,
                cwd="/",
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise LinkFault(
                f"the I/O process for {path} cannot be started: {error.strerror}"
            ) from None
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests = self._process.stdin
        os.set_blocking(self._requests.fileno(), False)
        self._replies = self._process.stdout
        threading.Thread(target=self._collect, name=f"disk {path}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    @property
    def is_ended(self) -> bool:
        """True once the child ended, or was ordered to."""
        return self._is_ended

    @property
    def is_hung(self) -> bool:
        """True while an answer is overdue."""
        return bool(self._overdue)

    @property
    def overdue_since(self) -> float | None:
        """When the oldest request was made whose answer is overdue; None without one."""
        with self._lock:
            return min((asked_at for _, asked_at in self._overdue.values()), default=None)

    def request(
        self, operation: bytes, offset: int, length: int, data: bytes, limit_s: float, what: str
    ) -> bytes:
        """Return the child's answer; raise LinkFault for an error or after the limit."""
        call = _Call()
        with self._lock:
            if self._is_ended:
                raise LinkFault(f"the I/O process for {self._path} ended")
            for waiting, _ in self._overdue.values():
                raise LinkFault(f"hung: {self._path} still owes the answer to {waiting}")
            self._last_number = number = (self._last_number + 1) % 2**32
            self._calls[number] = call
            asked_at = clock.monotonic()
            self._hand_over(disk_worker.REQUEST.pack(operation, number, offset, length) + data)
        if not call.is_answered.wait(limit_s):
            with self._lock:
                if not call.is_answered.is_set():
                    self._overdue[number] = what, asked_at
                    raise LinkFault(
                        f"hung: no answer to {what} of {self._path} within {limit_s:g} s"
                    )
        if call.status:
            raise LinkFault(f"{what} of {self._path}: {os.strerror(call.status)}")
        return call.payload

    def _hand_over(self, request: bytes) -> None:
        """Write to the child without blocking.

        The pipe holds many more requests than threads exist.
        """
        try:
            is_taken = os.write(self._requests.fileno(), request) == len(request)
        except OSError:
            is_taken = False
        if not is_taken:
            self._end()
            raise LinkFault(f"the I/O process for {self._path} takes no requests")

    def stop(self) -> None:
        """Order the child to end when it can, without waiting for it."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        """Close the requests, which ends the child, and wake all waiting threads.

        Call with the lock held.
        """
        self._is_ended = True
        self._requests.close()
        for call in self._calls.values():
            call.status = errno.EPIPE
            call.is_answered.set()
        self._calls.clear()
        self._overdue.clear()

    def reap(self) -> bool:
        """Return True once the child is gone and reaped; never blocks."""
        return self._process.poll() is not None

    def _collect(self) -> None:
        """Run the reader thread: take answers, in time or late, until the child's output ends."""
        with self._replies:
            while True:
                head = self._read_exactly(disk_worker.REPLY.size)
                if head is None:
                    break
                number, status, length = disk_worker.REPLY.unpack(head)
                payload = self._read_exactly(length)
                if payload is None:
                    break
                with self._lock:
                    call = self._calls.pop(number, None)
                    self._overdue.pop(number, None)
                    if call is not None:
                        call.status, call.payload = status, payload
                        call.is_answered.set()
                self._on_reply()
        self.stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_MOMENT_S)
        self._on_reply()

    def _read_exactly(self, length: int) -> bytes | None:
        data = b""
        while len(data) < length:
            more = self._replies.read(length - len(data))
            if not more:
                return None
            data += more
        return data


class DiskChannel:
    """Access to one device, shared by the ends that use it; get one from ``channel_for``."""

    def __init__(self, path: str, direct: bool) -> None:
        self._path = path
        self._direct = direct
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._worker: _Worker | None = None
        self._users = 0
        self._reads = 0
        self._identity: tuple[int, ...] | None = None
        self.disk = ""
        """Identifies the disk that was opened last; empty if that is not known."""

    @property
    def worker_pid(self) -> int:
        """Pid of the child, 0 if there is none."""
        worker = self._worker
        return worker.pid if worker is not None and not worker.is_ended else 0

    @property
    def is_hung(self) -> bool:
        """True while the child owes an answer whose time is over."""
        worker = self._worker
        return worker is not None and not worker.is_ended and worker.is_hung

    @property
    def overdue_since(self) -> float | None:
        """When the request was made whose answer is overdue; None if none is."""
        worker = self._worker
        return None if worker is None or worker.is_ended else worker.overdue_since

    def open(self, for_writing: bool, limit_s: float) -> DeviceInfo:
        """Open the device that the path names now, starting the child if there is none.

        Raises LinkFault.
        """
        worker = self._running_worker()
        operation = disk_worker.OPEN_FOR_WRITING if for_writing else disk_worker.OPEN
        with self._opening:
            identity = identity_of(self._path)
            info = disk_worker.INFO.unpack(
                worker.request(operation, 0, 0, b"", limit_s, "the opening")
            )
            self._identity = identity
            # Looked at while it is open, so that its number cannot be another disk's meanwhile.
            self.disk = disk_identity(self._path)
            self.check_identity()
        return DeviceInfo(info[0], info[1], bool(info[2]), bool(info[3]), bool(info[4]))

    def read(self, offset: int, length: int, limit_s: float) -> bytes:
        """Read bytes at ``offset``, fewer at the end of the device; raise LinkFault.

        From time to time, check that the path still names the opened device: else two nodes could
        use two disks.
        """
        self._reads += 1
        if self._reads % _LOOK_EVERY_READS == 0:
            self.check_identity()
        return self._opened_worker().request(
            disk_worker.READ, offset, length, b"", limit_s, "the read"
        )

    def check_identity(self) -> None:
        """Raise LinkFault unless the path still names what was opened."""
        if identity_of(self._path) != self._identity:
            raise LinkFault(
                f"{self._path} is not what was opened any more: it was replaced or removed"
            )

    def write(self, offset: int, data: bytes, limit_s: float) -> None:
        """Write, and wait until the device has it; raise LinkFault."""
        self._opened_worker().request(
            disk_worker.WRITE, offset, len(data), data, limit_s, "the write"
        )

    def scsi(self, command: bytes, sent: bytes, wanted: int, limit_s: float) -> ScsiAnswer:
        """Have the device execute a SCSI command, starting the child if there is none.

        Needs no ``open``. ``sent`` goes to the device, or up to ``wanted`` bytes come from it. A
        child that has to be started gets the time for that besides.
        The kernel gives the command more time than is waited here: where it gives up, it resets
        the unit, and with it what the other node does there. Raises LinkFault.
        """
        request = disk_worker.SCSI_REQUEST.pack(len(command), wanted) + command + sent
        is_running = self.worker_pid != 0
        payload = self._running_worker().request(
            disk_worker.SCSI,
            int((limit_s + _KERNEL_EXTRA_S) * 1000),
            len(request),
            request,
            limit_s if is_running else limit_s + START_LIMIT_S,
            "the SCSI command",
        )
        start = disk_worker.SCSI_REPLY.size
        status, host, driver, sense_length = disk_worker.SCSI_REPLY.unpack_from(payload)
        sense = payload[start : start + sense_length]
        return ScsiAnswer(status, host, driver, sense, payload[start + sense_length :])

    def _running_worker(self) -> _Worker:
        """Return the child, started if there is none; LinkFault if that is impossible."""
        with self._lock:
            if self._worker is None or self._worker.is_ended:
                self._worker = _start_worker(self._path, self._direct, self._leave_if_unused)
            return self._worker

    def _opened_worker(self) -> _Worker:
        worker = self._worker
        if worker is None:
            raise LinkFault(f"{self._path} is not open")
        return worker

    def close(self) -> None:
        """Release one use of the channel, without waiting."""
        with _registry_lock:
            self._users -= 1
        self._leave_if_unused()

    def join_user(self) -> None:
        """Count one more user; call with the registry locked."""
        self._users += 1

    def _leave_if_unused(self) -> None:
        """End an unused child that does not hang; called again when a late answer comes."""
        with _registry_lock:
            worker = self._worker
            if self._users > 0 or (worker is not None and worker.is_hung):
                return
            if _channels.get((self._path, self._direct)) is self:
                del _channels[(self._path, self._direct)]
            if worker is not None:
                worker.stop()


_LOOK_EVERY_READS = 8


# The ends of one device share a channel through this registry, which also keeps children abandoned
# while they hung.
_registry_lock = threading.Lock()
_channels: dict[tuple[str, bool], DiskChannel] = {}
_unreaped: list[_Worker] = []


def channel_for(path: str, direct: bool) -> DiskChannel:
    """Return the channel to ``path``, one per device and way of access; close it once per call."""
    with _registry_lock:
        channel = _channels.setdefault((path, direct), DiskChannel(path, direct))
        channel.join_user()
        return channel


def _start_worker(path: str, direct: bool, on_reply: Callable[[], None]) -> _Worker:
    """Start a new child without waiting; reap those that ended meanwhile."""
    worker = _Worker(path, direct, on_reply)
    with _registry_lock:
        _unreaped[:] = [other for other in _unreaped if not other.reap()]
        _unreaped.append(worker)
    return worker
