"""Read and write one shared device, as a process of its own: what the disk worker does.

Requests arrive at standard input one after the other, replies go to standard output
(disk_requests). Imports little, not even ``os``: what it has is memory of each node.
"""

import errno
import fcntl
import mmap
import posix
import select
import struct
import sys
import time

from opensvc_openha.links.disk_requests import (
    INFO,
    LEAVE,
    LOOK,
    MAX_BYTES,
    NOT_AS_LEFT,
    NOT_AS_WRITTEN,
    NOTE,
    NOTES_BYTES,
    OPEN_FOR_WRITING,
    READ,
    REPLACE,
    REPLACE_HEAD,
    REPLY,
    REQUEST,
    SCSI,
    SCSI_REPLY,
    SCSI_REQUEST,
    UNDERWAY,
    WATCH,
    WATCH_FORM,
    WRITE,
    WRITTEN,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_BLKSSZGET = 0x1268
_BLKGETSIZE64 = 0x80081272
_FILE_TYPE, _BLOCK_DEVICE, _REGULAR_FILE = 0o170000, 0o060000, 0o100000
_FILE_BLOCK_BYTES = 512

_SG_IO = 0x2285
_SG_HEADER = struct.Struct("@iiBBHIPPPIIiPBBBBHHiII0P")
"""The kernel's ``struct sg_io_hdr``."""
_SG_SEND, _SG_READ, _SG_NO_DATA = -2, -3, -1
_SENSE_BYTES = 64

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Return the instant on the clock of the process that asks: ``system.clock.monotonic``."""
    return time.clock_gettime(_CLOCK)


def _open_around_cache(path: str, flags: int) -> tuple[int, bool]:
    """Open with O_DIRECT, or with O_SYNC if the file system has no O_DIRECT; return which."""
    try:
        return posix.open(path, flags | posix.O_DIRECT), True
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return posix.open(path, flags | posix.O_SYNC), False


def _is_held(path: str) -> bool:
    """Return True for a block device in use by a file system, a volume manager or the like.

    Two processes that check at the same moment exclude each other, so one refusal proves nothing.
    """
    for _ in range(3):
        try:
            posix.close(posix.open(path, posix.O_RDONLY | posix.O_EXCL))
            return False
        except OSError as error:
            if error.errno != errno.EBUSY:
                return False
            time.sleep(0.02)
    return True


class Device:
    """The device, opened when the first request needs it."""

    def __init__(self, path: str, is_direct: bool) -> None:
        self._path = path
        self._is_direct = is_direct
        self._buffer = mmap.mmap(-1, MAX_BYTES)
        self._block_bytes = _FILE_BLOCK_BYTES
        self._is_block_device = False
        self._reads_cache = False
        self._reader = -1
        self._writer = -1
        self._scsi = -1

    def open(self, for_writing: bool) -> bytes:
        """Open the device that the path names now, and describe it."""
        for fd in (self._reader, self._writer):
            if fd >= 0:
                posix.close(fd)
        self._reader = self._writer = -1
        file_type = posix.stat(self._path).st_mode & _FILE_TYPE
        if file_type not in (_BLOCK_DEVICE, _REGULAR_FILE):
            raise OSError(errno.ENOTBLK, "not a block device or file")
        self._is_block_device = file_type == _BLOCK_DEVICE
        if self._is_direct:
            self._reader, is_around_cache = _open_around_cache(self._path, posix.O_RDONLY)
        else:
            self._reader, is_around_cache = posix.open(self._path, posix.O_RDONLY), False
        self._reads_cache = not is_around_cache
        is_in_use = False
        if for_writing:
            is_in_use = self._is_block_device and _is_held(self._path)
            self._open_writer()
        self._block_bytes, size = self._measure()
        return INFO.pack(self._block_bytes, size, self._is_block_device, is_around_cache, is_in_use)

    def _open_writer(self) -> None:
        # A write through the page cache rewrites a whole page of a block device, and with it the
        # other node's slot.
        if self._is_direct or self._is_block_device:
            self._writer, _ = _open_around_cache(self._path, posix.O_WRONLY | posix.O_DSYNC)
        else:
            self._writer = posix.open(self._path, posix.O_WRONLY | posix.O_DSYNC)

    def _measure(self) -> tuple[int, int]:
        if not self._is_block_device:
            return _FILE_BLOCK_BYTES, posix.fstat(self._reader).st_size
        block_bytes = struct.unpack("=i", fcntl.ioctl(self._reader, _BLKSSZGET, bytes(4)))[0]
        return block_bytes, struct.unpack("=Q", fcntl.ioctl(self._reader, _BLKGETSIZE64, bytes(8)))[
            0
        ]

    def _aligned(self, offset: int, length: int) -> memoryview:
        """Return the start of the buffer, which is page-aligned.

        O_DIRECT needs all three aligned.
        """
        assert (
            offset % self._block_bytes == 0
            and length % self._block_bytes == 0
            and length <= MAX_BYTES
        )
        return memoryview(self._buffer)[:length]

    def read(self, offset: int, length: int) -> bytes:
        """Read bytes as they are on the device; fewer at its end."""
        view = self._aligned(offset, length)
        if self._reads_cache:
            # The system drops only whole pages, so the range is widened to whole pages.
            start = offset - offset % mmap.PAGESIZE
            end = -(-(offset + length) // mmap.PAGESIZE) * mmap.PAGESIZE
            posix.posix_fadvise(self._reader, start, end - start, posix.POSIX_FADV_DONTNEED)
        return bytes(view[: posix.preadv(self._reader, [view], offset)])

    def write(self, offset: int, data: bytes) -> bytes:
        """Write, and wait until the device has it."""
        view = self._aligned(offset, len(data))
        view[:] = data
        if self._writer < 0:
            self._open_writer()
        if posix.pwritev(self._writer, [view], offset) != len(data):
            raise OSError(errno.ENOSPC, "short write")
        return b""

    def replace(
        self, offset: int, request: bytes, part_done: "Callable[[float, float], None]"
    ) -> bytes:
        """Write what a request holds, and read it back; nothing where others wrote meanwhile.

        After each part but the last ``part_done`` is called with the seconds that it took, and
        those from which on that is worth a report.
        """
        former_length, write_until, slow_s = REPLACE_HEAD.unpack_from(request)
        data_at = REPLACE_HEAD.size + former_length
        former, data = request[REPLACE_HEAD.size : data_at], request[data_at:]
        if former:
            began_at = now()
            before = self.read(offset, former_length)
            if before != former:
                return NOT_AS_LEFT + before
            part_done(now() - began_at, slow_s)
        began_at = now()
        # Who asked has given up, and may have sent something else: what is late is not written.
        if began_at >= write_until:
            raise OSError(errno.ETIMEDOUT, "too late to be written")
        self.write(offset, data)
        part_done(now() - began_at, slow_s)
        after = self.read(offset, len(data))
        return WRITTEN if after == data else NOT_AS_WRITTEN + after

    def scsi(self, timeout_ms: int, request: bytes) -> bytes:
        """Have the device execute one SCSI command; its own verdict is part of the answer.

        Only read access is asked for, which the right to raw I/O makes enough: the end of a write
        access would have udev examine the device each time.
        """
        command_length, wanted = SCSI_REQUEST.unpack_from(request)
        start = SCSI_REQUEST.size
        command, sent = request[start : start + command_length], request[start + command_length :]
        if wanted > MAX_BYTES:
            raise OSError(errno.EINVAL, "too long an answer")
        if self._scsi < 0:
            self._scsi = posix.open(self._path, posix.O_RDONLY | posix.O_NONBLOCK)
        try:
            return _execute(self._scsi, command, sent, wanted, timeout_ms)
        except OSError:
            # A path that came back is another device under the same name.
            posix.close(self._scsi)
            self._scsi = -1
            raise


def _execute(fd: int, command: bytes, sent: bytes, wanted: int, timeout_ms: int) -> bytes:
    """Pass a SCSI command to the kernel; return status, sense data and what was read."""
    import array

    direction = _SG_SEND if sent else _SG_READ if wanted else _SG_NO_DATA
    # The kernel gets addresses; arrays neither move nor go away meanwhile.
    command_bytes, data = array.array("B", command), array.array("B", sent or bytes(wanted))
    sense = array.array("B", bytes(_SENSE_BYTES))
    header = bytearray(
        _SG_HEADER.pack(
            *(ord("S"), direction, len(command), _SENSE_BYTES, 0, len(data)),
            *(data.buffer_info()[0], command_bytes.buffer_info()[0], sense.buffer_info()[0]),
            *(timeout_ms, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        )
    )
    fcntl.ioctl(fd, _SG_IO, header)
    status, _, _, sense_length, host, driver, left = _SG_HEADER.unpack(header)[13:20]
    read = b"" if sent else data.tobytes()[: max(0, wanted - left)]
    head = SCSI_REPLY.pack(status, host, driver, sense_length)
    return head + sense.tobytes()[:sense_length] + read


def _read_exactly(length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = posix.read(0, length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


class Watch:
    """A place that is read at a fixed pace."""

    def __init__(self, number: int, offset: int, form: bytes, notes: mmap.mmap) -> None:
        self._number = number
        self._offset = offset
        self._length, self._pause_s, self._place = WATCH_FORM.unpack(form)
        self._notes = notes
        self._last: bytes | None = None
        self._reads = self._news = 0
        self.due_at = 0.0
        """When it is read next."""

    def look(self, device: Device, report: "Callable[[int, int, bytes], None]") -> None:
        """Read the place, report it if it differs, and note it; OSError if it cannot be read."""
        began_at = now()
        data = device.read(self._offset, self._length)
        ended_at = now()
        self.due_at = ended_at + self._pause_s
        self._reads += 1
        is_news = data != self._last
        if is_news:
            self._last = data
            self._news += 1
            report(self._number, 0, LOOK.pack(began_at, ended_at, self._reads) + data)
        note = NOTE.pack(self._number, self._reads, self._news, is_news, began_at, ended_at)
        for copy in (0, 1):
            begin = (2 * self._place + copy) * NOTE.size
            self._notes[begin : begin + NOTE.size] = note


class Server:
    """Answers requests from standard input, and reports what is watched, until that ends."""

    def __init__(self, device: Device, notes: mmap.mmap) -> None:
        self._device = device
        self._notes = notes
        self._watches: dict[int, Watch] = {}

    def run(self) -> None:
        """Serve until standard input ends, which raises EOFError."""
        while True:
            # One I/O of a request, and then what is due: neither waits for more of the other.
            self._look()
            due_at = min((watch.due_at for watch in self._watches.values()), default=None)
            if select.select([0], [], [], None if due_at is None else max(0.0, due_at - now()))[0]:
                self._take()

    def _look(self) -> None:
        """Read what is due; a place that cannot be read is watched no longer."""
        for number, watch in list(self._watches.items()):
            if watch.due_at <= now():
                try:
                    watch.look(self._device, _reply)
                except OSError as error:
                    del self._watches[number]
                    _reply(number, error.errno or errno.EIO, b"")

    def _take(self) -> None:
        operation, number, offset, length = REQUEST.unpack(_read_exactly(REQUEST.size))
        data = _read_exactly(length) if operation in (WRITE, SCSI, REPLACE, WATCH) else b""
        device = self._device
        if operation == WATCH:
            self._watches[number] = Watch(number, offset, data, self._notes)
        elif operation == LEAVE:
            self._watches.pop(number, None)
            _reply(number, 0, b"")
        elif operation == REPLACE:

            def part_done(took_s: float, slow_s: float) -> None:
                if took_s >= slow_s:
                    _reply(number, UNDERWAY, b"")
                self._look()

            self._answer(number, device.replace, offset, data, part_done)
        elif operation == WRITE:
            self._answer(number, device.write, offset, data)
        elif operation == READ:
            self._answer(number, device.read, offset, length)
        elif operation == SCSI:
            self._answer(number, device.scsi, offset, data)
        else:
            self._answer(number, device.open, operation == OPEN_FOR_WRITING)

    def _answer(self, number: int, work: "Callable[..., bytes]", *parameters: object) -> None:
        """Do what was asked for and reply."""
        status, payload = 0, b""
        try:
            payload = work(*parameters)
        except OSError as error:
            status = error.errno or errno.EIO
        _reply(number, status, payload)


def _reply(number: int, status: int, payload: bytes) -> None:
    answer = REPLY.pack(number, status, len(payload)) + payload
    while answer:
        answer = answer[posix.write(1, answer) :]


def serve() -> None:
    """Serve the device that the arguments name until standard input ends."""
    try:
        notes = mmap.mmap(int(sys.argv[3]), NOTES_BYTES)
        Server(Device(sys.argv[1], sys.argv[2] == "direct"), notes).run()
    except (EOFError, BrokenPipeError):
        sys.exit()
