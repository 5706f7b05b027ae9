"""Access one shared device through a child process; every wait for it has a limit.

A process with an I/O on a hung disk cannot be killed until the disk answers. So the child does the
I/O, a reader thread collects what it answers and reports, and a waiting thread gives up in time::

    sender thread: DiskChannel.replace   --> requests --> child --> device
                   (limit of each I/O)   <-- answers  <--   |
    listener thread: DiskWatch.next_news <-- reports  <-- reads at its own pace

While an answer is overdue further requests fail at once; when it comes late, work continues. A
child that hangs is kept until it answers, even if the channel is not used meanwhile: starting
another one each time would only pile them up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from opensvc_openha.links import disk_requests
from opensvc_openha.links.base import LinkFault
from opensvc_openha.links.disk_process import DiskProcess
from opensvc_openha.links.disk_watch import DiskWatch
from opensvc_openha.records import dataclass
from opensvc_openha.system import clock
from opensvc_openha.system.disk_identity import disk_identity
from opensvc_openha.system.files import identity_of

START_LIMIT_S = 5.0
"""Limit for the first answer of a new child, in seconds.

A Python start on a loaded machine, and opening the device.
"""

_KERNEL_EXTRA_S = 30.0


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
class Difference:
    """What was found where something else should be; ``is_written`` if that was after a write."""

    is_written: bool
    data: bytes


@dataclass(frozen=True)
class ScsiAnswer:
    """How a device answered one SCSI command: its verdict is not interpreted here."""

    status: int
    host_status: int
    driver_status: int
    sense: bytes
    data: bytes


class DiskChannel:
    """Access to one device, shared by the ends that use it; get one from ``channel_for``."""

    def __init__(self, path: str, direct: bool) -> None:
        self._path = path
        self._direct = direct
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._worker: DiskProcess | None = None
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
        operation = disk_requests.OPEN_FOR_WRITING if for_writing else disk_requests.OPEN
        with self._opening:
            identity = identity_of(self._path)
            info = disk_requests.INFO.unpack(
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
        self.count_reads(1)
        return self._opened_worker().request(
            disk_requests.READ, offset, length, b"", limit_s, "the read"
        )

    def count_reads(self, number: int) -> None:
        """Count reads, and check from time to time what the path names; LinkFault as above."""
        former = self._reads
        self._reads = former + number
        if former // _LOOK_EVERY_READS != self._reads // _LOOK_EVERY_READS:
            self.check_identity()

    def check_identity(self) -> None:
        """Raise LinkFault unless the path still names what was opened."""
        if identity_of(self._path) != self._identity:
            raise LinkFault(
                f"{self._path} is not what was opened any more: it was replaced or removed"
            )

    def write(self, offset: int, data: bytes, limit_s: float) -> None:
        """Write, and wait until the device has it; raise LinkFault."""
        self._opened_worker().request(
            disk_requests.WRITE, offset, len(data), data, limit_s, "the write"
        )

    def replace(
        self, offset: int, former: bytes | None, data: bytes, limit_s: float
    ) -> Difference | None:
        """Write, wait until the device has it, and read it back: three I/Os by one request.

        Nothing is written unless ``former`` is there before; None for whatever is there. Returns
        what was found instead. The limit is that of each I/O. Raises LinkFault.
        """
        self.count_reads(2)
        # One that hangs must not write what is old by then.
        former = former or b""
        head = disk_requests.REPLACE_HEAD.pack(
            len(former), clock.monotonic() + limit_s, limit_s / 4
        )
        request = head + former + data
        answer = self._opened_worker().request(
            disk_requests.REPLACE, offset, len(request), request, limit_s, "the write"
        )
        if answer == disk_requests.WRITTEN:
            return None
        return Difference(answer[:1] == disk_requests.NOT_AS_WRITTEN, answer[1:])

    def watch(self, offset: int, length: int, pause_s: float, limit_s: float) -> DiskWatch:
        """Have the child read a place at a pace; count its reads. Raises LinkFault."""
        return self._opened_worker().watch(offset, length, pause_s, limit_s)

    def scsi(self, command: bytes, sent: bytes, wanted: int, limit_s: float) -> ScsiAnswer:
        """Have the device execute a SCSI command, starting the child if there is none.

        Needs no ``open``. ``sent`` goes to the device, or up to ``wanted`` bytes come from it. A
        child that has to be started gets the time for that besides.
        The kernel gives the command more time than is waited here: where it gives up, it resets
        the unit, and with it what the other node does there. Raises LinkFault.
        """
        request = disk_requests.SCSI_REQUEST.pack(len(command), wanted) + command + sent
        is_running = self.worker_pid != 0
        payload = self._running_worker().request(
            disk_requests.SCSI,
            int((limit_s + _KERNEL_EXTRA_S) * 1000),
            len(request),
            request,
            limit_s if is_running else limit_s + START_LIMIT_S,
            "the SCSI command",
        )
        start = disk_requests.SCSI_REPLY.size
        status, host, driver, sense_length = disk_requests.SCSI_REPLY.unpack_from(payload)
        sense = payload[start : start + sense_length]
        return ScsiAnswer(status, host, driver, sense, payload[start + sense_length :])

    def _running_worker(self) -> DiskProcess:
        """Return the child, started if there is none; LinkFault if that is impossible."""
        with self._lock:
            if self._worker is None or self._worker.is_ended:
                self._worker = _start_worker(self._path, self._direct, self._leave_if_unused)
            return self._worker

    def _opened_worker(self) -> DiskProcess:
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
_unreaped: list[DiskProcess] = []


def channel_for(path: str, direct: bool) -> DiskChannel:
    """Return the channel to ``path``, one per device and way of access; close it once per call."""
    with _registry_lock:
        channel = _channels.setdefault((path, direct), DiskChannel(path, direct))
        channel.join_user()
        return channel


def _start_worker(path: str, direct: bool, on_reply: Callable[[], None]) -> DiskProcess:
    """Start a new child without waiting; reap those that ended meanwhile."""
    worker = DiskProcess(path, direct, on_reply)
    with _registry_lock:
        _unreaped[:] = [other for other in _unreaped if not other.reap()]
        _unreaped.append(worker)
    return worker
