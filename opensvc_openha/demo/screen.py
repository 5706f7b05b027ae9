"""Output of the demo: prompts, outputs, headings. Colours only on a terminal."""

from __future__ import annotations

import os
from typing import TextIO

BOLD_GREEN, BOLD_YELLOW, BOLD_RED, DIM, PLAIN = (
    "\033[1;32m",
    "\033[1;33m",
    "\033[1;31m",
    "\033[2m",
    "\033[0m",
)


class Screen:
    """Writer of the demo's output."""

    def __init__(self, out: TextIO, has_color: bool) -> None:
        self._out = out
        self._has_color = has_color and out.isatty() and "NO_COLOR" not in os.environ

    def title(self, title: str, text: str) -> None:
        """Write a heading and its explanation."""
        self._write("\n" + self._paint(BOLD_YELLOW, f"== {title}") + "\n")
        if text:
            self._write(self._paint(DIM, text) + "\n")
        self._write("\n")

    def command(self, node: str, directory: str, command: str) -> None:
        """Write a prompt and a command."""
        self._write(self._paint(BOLD_GREEN, f"root@{node}:{directory}#") + f" {command}\n")

    def output(self, text: str) -> None:
        """Write the output of a command."""
        if text:
            self._write(text if text.endswith("\n") else text + "\n")

    def note(self, text: str) -> None:
        """Write an event outside of the nodes."""
        self._write(self._paint(DIM, f"-- {text}") + "\n")

    def alarm(self, text: str) -> None:
        """Write an error."""
        self._write(self._paint(BOLD_RED, text) + "\n")

    def _paint(self, color: str, text: str) -> str:
        return f"{color}{text}{PLAIN}" if self._has_color else text

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
