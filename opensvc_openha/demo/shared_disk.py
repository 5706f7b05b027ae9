"""The disk that both nodes see at the same path.

As root each node has a loop device of its own over one file, with direct I/O so that each node
reads what the other writes; a loop device can be made to fail for one node alone. Elsewhere both
get the file itself. The sandbox removes the file when it ends, and the loop devices are freed at
the last close: nothing is left behind.
"""

from __future__ import annotations

import fcntl
import os
import struct

from opensvc_openha.demo.sandbox_namespaces import Sandbox

SIZE_BYTES = 1024 * 1024
NODE_PATH = "/dev/mapper/disk.hb.0"

_LOOP_CONTROL = "/dev/loop-control"
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LOOP_SET_STATUS64 = 0x4C04
_AUTOCLEAR = 4
_DIRECT_IO = 16
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_CONFIG = struct.Struct(f"=2I{_INFO.size}s64s")
_ATTEMPTS = 8


class LoopDisk:
    """The shared disk: its ``file``, and in ``loops`` each node's loop number, or none."""

    def __init__(self, enclosure: Sandbox, nodes: int) -> None:
        self.loops: list[int] = []
        self._devices: list[int] = []
        self.file = enclosure.disk_file
        fd = os.open(self.file, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, SIZE_BYTES)
            if not enclosure.rootless:
                self._make_loops(fd, nodes)
        finally:
            os.close(fd)

    def for_node(self, index: int) -> dict[str, object]:
        """Return the disk's part of a node's configuration."""
        return {
            "path": NODE_PATH,
            "loop": self.loops[index] if self.loops else None,
            "file": self.file,
        }

    def set_failing(self, index: int, is_failing: bool) -> None:
        """Limit a node's loop device to no blocks, or undo it.

        Then reads return nothing and writes fail.
        """
        _set_offset(self._devices[index], 2 * SIZE_BYTES if is_failing else 0)

    def close(self) -> None:
        """Free the loop devices; each is gone when the last process of a node has closed it."""
        for fd in self._devices:
            os.close(fd)
        self._devices = []
        self.loops = []

    def _make_loops(self, backing_fd: int, count: int) -> None:
        try:
            for _ in range(count):
                self._devices.append(self._make_loop(backing_fd))
        except OSError:
            self.close()

    def _make_loop(self, backing_fd: int) -> int:
        last: OSError | None = None
        for _ in range(_ATTEMPTS):
            control = os.open(_LOOP_CONTROL, os.O_RDWR | os.O_CLOEXEC)
            try:
                number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            finally:
                os.close(control)
            fd = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(
                    fd,
                    _LOOP_CONFIGURE,
                    _CONFIG.pack(backing_fd, 512, _info(0, _AUTOCLEAR | _DIRECT_IO), b""),
                )
            except OSError as error:
                # Another process may have taken this one between the two calls.
                os.close(fd)
                last = error
                continue
            self.loops.append(number)
            return fd
        assert last is not None
        raise last


def _info(offset: int, flags: int) -> bytes:
    return _INFO.pack(0, 0, 0, offset, 0, 0, 0, 0, flags, b"openha-demo", b"", b"", 0, 0)


def _set_offset(fd: int, offset: int) -> None:
    fcntl.ioctl(fd, _LOOP_SET_STATUS64, _info(offset, _AUTOCLEAR))
