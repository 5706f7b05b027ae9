"""Read and write one shared device in a child process, so that a hung disk hangs no other.

Run as a file by disk_channel, never as part of the package, and ended by closing its standard
input. Requests arrive there one after the other, replies go to standard output, each a header and a
payload. Knows nothing of slots and beats, nor what a SCSI command means.

Usage: disk_worker.py PATH direct|buffered
"""

import array
import contextlib
import errno
import fcntl
import mmap
import os
import struct
import sys
import time

REQUEST = struct.Struct(">cIQI")
"""Operation, id, byte offset, length; the bytes to write follow."""
REPLY = struct.Struct(">IiI")
"""Id of the request, errno or 0, length of the payload that follows."""
INFO = struct.Struct(">IQBBB")
"""Payload for OPEN: bytes of a logical block, bytes of the device, and flags.

Block device, page cache avoided, mounted or held by another user (known only if it was opened for
writing).
"""

OPEN, OPEN_FOR_WRITING, READ, WRITE, SCSI = b"o", b"O", b"r", b"w", b"s"
MAX_BYTES = 65_536

SCSI_REQUEST = struct.Struct(">BI")
"""What follows the header of SCSI: length of the command, bytes wanted; command, bytes to send.

The place of the byte offset holds the time that the kernel gives the command, in milliseconds.
"""
SCSI_REPLY = struct.Struct(">BHHB")
"""Payload for SCSI: status, host status, driver status, length of the sense data; sense data, data
that was read."""

_BLKSSZGET = 0x1268
_BLKGETSIZE64 = 0x80081272
_FILE_TYPE, _BLOCK_DEVICE, _REGULAR_FILE = 0o170000, 0o060000, 0o100000
_FILE_BLOCK_BYTES = 512

_SG_IO = 0x2285
_SG_HEADER = struct.Struct("@iiBBHIPPPIIiPBBBBHHiII0P")
"""The kernel's ``struct sg_io_hdr``."""
_SG_SEND, _SG_READ, _SG_NO_DATA = -2, -3, -1
_SENSE_BYTES = 64


def _open_around_cache(path: str, flags: int) -> tuple[int, bool]:
    """Open with O_DIRECT, or with O_SYNC if the file system has no O_DIRECT; return which."""
    try:
        return os.open(path, flags | os.O_DIRECT), True
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.open(path, flags | os.O_SYNC), False


def _is_held(path: str) -> bool:
    """Return True for a block device in use by a file system, a volume manager or the like.

    Two processes that check at the same moment exclude each other, so one refusal proves nothing.
    """
    for _ in range(3):
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_EXCL))
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
                os.close(fd)
        self._reader = self._writer = -1
        file_type = os.stat(self._path).st_mode & _FILE_TYPE
        if file_type not in (_BLOCK_DEVICE, _REGULAR_FILE):
            raise OSError(errno.ENOTBLK, "not a block device or file")
        self._is_block_device = file_type == _BLOCK_DEVICE
        if self._is_direct:
            self._reader, is_around_cache = _open_around_cache(self._path, os.O_RDONLY)
        else:
            self._reader, is_around_cache = os.open(self._path, os.O_RDONLY), False
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
            self._writer, _ = _open_around_cache(self._path, os.O_WRONLY | os.O_DSYNC)
        else:
            self._writer = os.open(self._path, os.O_WRONLY | os.O_DSYNC)

    def _measure(self) -> tuple[int, int]:
        if not self._is_block_device:
            return _FILE_BLOCK_BYTES, os.fstat(self._reader).st_size
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
            os.posix_fadvise(self._reader, start, end - start, os.POSIX_FADV_DONTNEED)
        return bytes(view[: os.preadv(self._reader, [view], offset)])

    def write(self, offset: int, data: bytes) -> bytes:
        """Write, and wait until the device has it."""
        view = self._aligned(offset, len(data))
        view[:] = data
        if self._writer < 0:
            self._open_writer()
        if os.pwritev(self._writer, [view], offset) != len(data):
            raise OSError(errno.ENOSPC, "short write")
        return b""

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
            self._scsi = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return _execute(self._scsi, command, sent, wanted, timeout_ms)
        except OSError:
            # A path that came back is another device under the same name.
            os.close(self._scsi)
            self._scsi = -1
            raise


def _execute(fd: int, command: bytes, sent: bytes, wanted: int, timeout_ms: int) -> bytes:
    """Pass a SCSI command to the kernel; return status, sense data and what was read."""
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
        more = os.read(0, length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _serve(device: Device) -> None:
    """Answer requests until standard input ends."""
    while True:
        operation, number, offset, length = REQUEST.unpack(_read_exactly(REQUEST.size))
        data = _read_exactly(length) if operation in (WRITE, SCSI) else b""
        status, payload = 0, b""
        try:
            if operation == WRITE:
                payload = device.write(offset, data)
            elif operation == READ:
                payload = device.read(offset, length)
            elif operation == SCSI:
                payload = device.scsi(offset, data)
            else:
                payload = device.open(operation == OPEN_FOR_WRITING)
        except OSError as error:
            status = error.errno or errno.EIO
        answer = REPLY.pack(number, status, len(payload)) + payload
        while answer:
            answer = answer[os.write(1, answer) :]


if __name__ == "__main__":
    with contextlib.suppress(EOFError, BrokenPipeError):
        _serve(Device(sys.argv[1], sys.argv[2] == "direct"))
