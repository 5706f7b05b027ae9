"""A command on a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios

from tests.waiting import until


class Terminal:
    """A command on a terminal of 80x24, and what it wrote."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            argv,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=env,
            start_new_session=True,
        )
        self.seen = b""
        self._poll = select.poll()
        self._poll.register(self.master, select.POLLIN)

    def until(self, text: bytes) -> None:
        def look() -> bytes:
            if self._poll.poll(100):
                self.seen += os.read(self.master, 65536)
            return self.seen

        until(look, lambda seen: text in seen, repr(text))

    def read(self) -> bytes:
        """Return what it writes until it pauses for a moment."""
        self.seen = b""
        while self._poll.poll(300):
            self.seen += os.read(self.master, 65536)
        return self.seen

    def press(self, keys: bytes) -> None:
        self.seen = b""
        os.write(self.master, keys)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)
