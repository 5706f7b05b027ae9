"""The keeper's program with a device that is a socket: see simulated_watchdog.

Everything but the opening and the ioctls is the program's own code.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from opensvc_openha.watchdog import keeper

IS_NOWAYOUT = 0x7FFFFFFF


class SocketWatchdog(keeper.Watchdog):
    """A watchdog behind a UNIX socket: its open file is the connection."""

    def _open(self) -> int:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # As system.unix_socket_path, which this must do without: its path may be long.
        folder, name = os.path.split(self.path)
        handle = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{handle}/{name}")
        finally:
            os.close(handle)
        error = struct.unpack("i", connection.recv(4))[0]
        if error:
            connection.close()
            raise OSError(error, os.strerror(error))
        return connection.detach()

    def _ioctl(self, request: int, data: bytes) -> bytes:
        os.write(self.handle, b"\0ioctl" + struct.pack("I", request) + data)
        answer = os.read(self.handle, 100)
        error = struct.unpack("i", answer[:4])[0]
        if error:
            raise OSError(error, os.strerror(error))
        return answer[4:]

    def is_nowayout(self) -> bool | None:
        try:
            return self._ioctl(IS_NOWAYOUT, b"\0") == b"\1"
        except OSError:
            return None


if __name__ == "__main__":
    keeper.main(sys.argv, SocketWatchdog)
