"""Hold the open file of the watchdog, and sleep: so the death of its keeper is no last close.

The kernel pets a watchdog once more at the last close of its file. Run as a file by keeper_client,
in a unit of its own, so that nothing ends it together with the keeper. A keeper that was started
anew gets the same open file back, without opening the device, which would pet it.

Usage: holder.py DIRECTORY, which gets watchdog-holder.sock and watchdog-holder.lock
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import sys

if __name__ == "__main__":
    # As a file of an isolated interpreter it finds its neighbour by this alone.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from opensvc_openha.watchdog import keeper

LOCK_NAME = "watchdog-holder.lock"
_ALONE_LIMIT_S = 60.0
"""A holder that never had a file ends if no keeper comes in this time; later, with its keeper."""


class _Held:
    """The open file, and the path of its device."""

    def __init__(self) -> None:
        self.handle = -1
        self.path = b""
        self.is_dropped = False

    def replace(self, handle: int, path: bytes = b"") -> None:
        former, self.handle, self.path = self.handle, handle, path
        if former >= 0:
            os.close(former)


def main(argv: list[str]) -> None:
    """Serve one keeper after the other, until there is nothing to hold."""
    listener = keeper.listen(argv[1], keeper.HOLDER_SOCKET_NAME, LOCK_NAME)
    keeper.survive(is_real_time=False)
    held = _Held()
    # An order to end is obeyed at once, or not at all: the file is more than a shutdown's patience.
    signal.signal(signal.SIGTERM, lambda number, frame: None if held.handle >= 0 else os._exit(0))
    connections: list[socket.socket] = []
    while held.handle >= 0 or connections or not held.is_dropped:
        limit_s = None if held.handle >= 0 or connections else _ALONE_LIMIT_S
        ready = select.select([listener, *connections], [], [], limit_s)[0]
        if not ready:
            return
        for connection in ready:
            if connection is listener:
                with contextlib.suppress(OSError):
                    connections.append(listener.accept()[0])
            elif not _serve(connection, held):
                connections.remove(connection)
                connection.close()


def _serve(connection: socket.socket, held: _Held) -> bool:
    """Answer one request; return False at the end of the connection."""
    try:
        request, rights, _, _ = connection.recvmsg(
            keeper.MESSAGE_BYTES, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, data in rights:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                held.replace(struct.unpack("i", data[:4])[0], request.removeprefix(keeper.KEEP))
        if not request:
            return False
        if request.startswith(keeper.KEEP):
            connection.send(keeper.KEPT_BY_HOLDER)
        elif request == keeper.GIVE and held.handle >= 0:
            rights_to_it = struct.pack("i", held.handle)
            connection.sendmsg(
                [keeper.HERE + held.path], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights_to_it)]
            )
        else:
            if request == keeper.DROP:
                held.replace(-1)
                held.is_dropped = True
            connection.send(keeper.NONE)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv)
