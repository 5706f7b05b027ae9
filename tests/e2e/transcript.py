"""The recorded transcript of the tutorial, and what is compared of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Typed:
    """One command of the transcript."""

    node: int
    how: str
    command: str
    expected: str
    line: int


def read_transcript(text: str) -> list[Typed]:
    """The commands with what must appear below each."""
    found: list[Any] = []
    for number, line in enumerate(text.splitlines(), 1):
        start = re.match(r"(deb[12])([#~!]) (.*)", line)
        if start:
            found.append([0 if start[1] == "deb1" else 1, start[2], start[3], [], number])
        elif found and line:
            found[-1][3].append(line)
    return [
        Typed(node, how, command, "\n".join(lines), number)
        for node, how, command, lines, number in found
    ]


def normalised(text: str) -> str:
    """Only times and pids replaced, and blanks at the end of lines."""
    text = re.sub(r"\bpid \d+", "pid N", text)
    text = re.sub(r"updated at \w{3} [ \d]\d \d\d:\d\d:\d\d", "updated at T", text)
    return "\n".join(line.rstrip() for line in text.rstrip("\n").splitlines())
