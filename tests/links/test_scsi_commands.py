"""SCSI commands through the I/O process of a disk: the kernel's interface, disks without one."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.links import disk_channel, disk_io, disk_requests
from opensvc_openha.links.base import LinkFault
from opensvc_openha.links.disk_channel import START_LIMIT_S, DiskChannel, channel_for
from tests.waiting import until

KEYS = bytes.fromhex("0000000300000008000000000000deb1")


class Kernel:
    """What the kernel does with ``struct sg_io_hdr``, by its documentation."""

    def __init__(self) -> None:
        self.answer, self.sense = b"", b""
        self.status = self.host = self.driver = 0
        self.seen: list[tuple[int, bytes, bytes, int, int]] = []
        self.error = 0

    def ioctl(self, fd: int, request: int, header: bytearray) -> int:
        """Execute the command that the header points to."""
        assert request == 0x2285 and len(header) == 88
        if self.error:
            raise OSError(self.error, "no")
        words = struct.unpack("@iiBBHIPPPIIiPBBBBHHiII0P", header)
        kind, direction, command_length, sense_max, _, length, data, command, sense, limit = words[
            :10
        ]
        assert kind == ord("S") and sense_max == 64
        sent = ctypes.string_at(data, length) if direction == -2 else b""
        self.seen.append((fd, ctypes.string_at(command, command_length), sent, direction, limit))
        left = 0
        if direction == -3:
            ctypes.memmove(data, self.answer, len(self.answer))
            left = length - len(self.answer)
        ctypes.memmove(sense, self.sense, len(self.sense))
        lengths = self.status, 0, 0, len(self.sense), self.host, self.driver, left, 7, 0
        header[:] = struct.pack("@iiBBHIPPPIIiPBBBBHHiII0P", *words[:13], *lengths)
        return 0


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """In place of the kernel's."""
    made = Kernel()
    monkeypatch.setattr(fcntl, "ioctl", made.ioctl)
    return made


def request(command: bytes, wanted: int = 0, sent: bytes = b"") -> bytes:
    """As the channel makes it."""
    return disk_requests.SCSI_REQUEST.pack(len(command), wanted) + command + sent


def test_command_that_reads_returns_what_came(kernel: Kernel, tmp_path: Path) -> None:
    """The bytes that the device did not send are no part of the answer."""
    path = tmp_path / "disk"
    path.touch()
    kernel.answer = KEYS
    device = disk_io.Device(str(path), True)
    answer = device.scsi(35_000, request(b"\x5e" + bytes(9), 64))
    assert answer == disk_requests.SCSI_REPLY.pack(0, 0, 0, 0) + KEYS
    _, command, sent, direction, limit = kernel.seen[0]
    assert (command, sent, direction, limit) == (b"\x5e" + bytes(9), b"", -3, 35_000)


def test_command_that_sends_passes_its_parameters(kernel: Kernel, tmp_path: Path) -> None:
    """Nothing is read from a command that sends; a conflict is an answer, not an error."""
    path = tmp_path / "disk"
    path.touch()
    kernel.status, kernel.host, kernel.driver = 0x18, 0x11, 8
    kernel.sense = b"\x70" + bytes(17)
    device = disk_io.Device(str(path), True)
    answer = device.scsi(1000, request(b"\x5f" + bytes(9), 0, b"parameters"))
    assert answer == disk_requests.SCSI_REPLY.pack(0x18, 0x11, 8, 18) + kernel.sense
    assert kernel.seen[0][1:4] == (b"\x5f" + bytes(9), b"parameters", -2)
    device.scsi(1000, request(b"\x2a" + bytes(9)))
    assert kernel.seen[1][2:4] == (b"", -1) and kernel.seen[1][0] == kernel.seen[0][0]


def test_device_is_opened_again_after_an_error(kernel: Kernel, tmp_path: Path) -> None:
    """A path that came back has the same name, but is another device."""
    path = tmp_path / "disk"
    path.touch()
    device = disk_io.Device(str(path), True)
    device.scsi(1000, request(b"\x5e" + bytes(9), 8))
    kernel.error = errno.ENODEV
    with pytest.raises(OSError, match="no"):
        device.scsi(1000, request(b"\x5e" + bytes(9), 8))
    kernel.error = 0
    path.unlink()
    path.write_bytes(b"another")
    device.scsi(1000, request(b"\x5e" + bytes(9), 8))
    assert len(kernel.seen) == 2
    with open(f"/proc/self/fd/{kernel.seen[1][0]}", "rb") as file:
        assert file.read() == b"another"


def test_answer_has_a_limit(kernel: Kernel, tmp_path: Path) -> None:
    """No request makes the process allocate what it wants."""
    device = disk_io.Device(str(tmp_path), True)
    with pytest.raises(OSError, match="too long an answer"):
        device.scsi(1000, request(b"\x5e" + bytes(9), disk_requests.MAX_BYTES + 1))
    assert not kernel.seen


@pytest.fixture
def channel(disk_file: str) -> Iterator[DiskChannel]:
    """The way to a file, which knows no SCSI; not yet open."""
    made = channel_for(disk_file, True)
    yield made
    made.close()
    until(lambda: not disk_channel._channels)


def test_disk_without_scsi_is_refused_and_can_still_be_read(channel: DiskChannel) -> None:
    """The process starts with the first command, reports what the system reports, and serves on."""
    with pytest.raises(LinkFault, match="the SCSI command of .*: Inappropriate ioctl"):
        channel.scsi(b"\x5e" + bytes(9), b"", 8, START_LIMIT_S)
    pid = channel.worker_pid
    assert pid
    with pytest.raises(LinkFault, match="Inappropriate ioctl"):
        channel.scsi(b"\x5f" + bytes(9), bytes(24), 0, START_LIMIT_S)
    channel.open(True, START_LIMIT_S)
    assert channel.read(0, 512, START_LIMIT_S) and channel.worker_pid == pid


def test_disk_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The path of a disk that was unplugged."""
    made = channel_for(str(tmp_path / "gone"), True)
    with pytest.raises(LinkFault, match=r"the SCSI command of .*gone: No such file"):
        made.scsi(b"\x5e" + bytes(9), b"", 8, START_LIMIT_S)
    made.close()
    until(lambda: not disk_channel._channels)
