"""Clocks of a machine's kernel, apart from those of the host: they can run fast or slow, and stand
still while the machine is paused, as those of a virtual machine do.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
import time
from pathlib import Path

from tests.acceptance.errors import CannotRun

SOURCE = Path(__file__).with_name("clock.c")
FACE = struct.Struct("=qqdq")
PAUSED = struct.Struct("=q")
PAUSED_AT = FACE.size - PAUSED.size


def library(work: Path) -> Path:
    """Return what the kernels load, compiled."""
    compiler = shutil.which("cc")
    if not compiler:
        raise CannotRun("needs a C compiler (cc)")
    made = work / "clock.so"
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-o", str(made), str(SOURCE)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise CannotRun(f"cannot compile {SOURCE.name}: {done.stdout.strip()}")
    return made


class Clock:
    """The clocks of one machine, in all its lives."""

    def __init__(self, work: Path, name: str, rate: float = 1.0) -> None:
        self._library = library(work)
        self._path = work / f"clock-{name}"
        self._path.write_bytes(FACE.pack(time.monotonic_ns(), time.time_ns(), rate, 0))
        with open(self._path, "r+b") as file:
            self._face = mmap.mmap(file.fileno(), FACE.size)
        self.rate = rate

    @property
    def environment(self) -> dict[str, str]:
        """Return what the machine's kernel is started with."""
        return {"LD_PRELOAD": str(self._library), "ACCEPTANCE_CLOCK": str(self._path)}

    def skip(self, nanoseconds: int) -> None:
        """Take a time out of them: the machine was paused so long."""
        (before,) = PAUSED.unpack_from(self._face, PAUSED_AT)
        PAUSED.pack_into(self._face, PAUSED_AT, before + nanoseconds)
