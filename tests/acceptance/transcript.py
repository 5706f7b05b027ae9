"""Print the run as an operator would see it, with time since the begin and duration."""

from __future__ import annotations

import time
from typing import TextIO


class Transcript:
    """Writer of the run's output."""

    def __init__(self, out: TextIO, begin: float = 0.0) -> None:
        self._out = out
        self._begin = begin or time.monotonic()

    def title(self, title: str, text: str = "") -> None:
        """Write a heading and its explanation."""
        self._write(f"\n== {title}\n")
        if text:
            self._write(f"{text}\n")
        self._write("\n")

    def command(self, node: str, command: str) -> None:
        """Write a prompt and a command."""
        self._write(f"{self._stamp()} root@{node}:~# {command}\n")

    def output(self, text: str) -> None:
        """Write the output of a command."""
        if text.strip():
            self._write(text if text.endswith("\n") else text + "\n")

    def note(self, text: str) -> None:
        """Write an event outside of the nodes, or a measurement."""
        self._write(f"{self._stamp()} -- {text}\n")

    def _stamp(self) -> str:
        return f"[{time.monotonic() - self._begin:6.1f} s]"

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
