"""Read and edit lines and columns of the nodes, monitor and services files.

Runs of spaces and tabs separate columns. Blank lines and lines whose first non-blank character is
``#`` are ignored and survive every edit. CR before the line end and a missing final newline are
tolerated. Each file's module defines its columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from opensvc_openha.errors import ConfigError
from opensvc_openha.named_tuples import NamedTuple

_BLANKS = re.compile(r"[ \t]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class ConfLine(NamedTuple):
    """One significant line: its number in the file (from 1) and its columns."""

    number: int
    columns: tuple[str, ...]


def columns_of(line: str) -> tuple[str, ...]:
    """Return the columns of one line; none for a comment or a blank line."""
    line = line.rstrip("\r").strip(" \t")
    if not line or line.startswith("#"):
        return ()
    return tuple(_BLANKS.split(line))


def read_lines(text: str, path: str) -> Iterator[ConfLine]:
    """Return the significant lines in order.

    Raises ConfigError for a control character in one of them.
    """
    for number, line in enumerate(text.split("\n"), 1):
        columns = columns_of(line)
        for column in columns:
            found = _CONTROL.search(column)
            if found:
                raise ConfigError(
                    f"control character {found.group()!r} in {column!r}", path, number
                )
        if columns:
            yield ConfLine(number, columns)


def expect_columns(line: ConfLine, names: str, path: str) -> None:
    """Raise ConfigError unless the line has exactly the columns that ``names`` lists."""
    count = len(names.split())
    if len(line.columns) != count:
        noun = "column" if count == 1 else "columns"
        raise ConfigError(
            f"expected {count} {noun}: {names}; found {len(line.columns)}", path, line.number
        )


def add_line(text: str, line: str) -> str:
    """Return ``text`` with ``line`` as its last line."""
    if text and not text.endswith("\n"):
        text += "\n"
    return f"{text}{line}\n"


def drop_lines(text: str, is_unwanted: Callable[[tuple[str, ...]], bool]) -> str:
    """Return ``text`` without the lines of unwanted columns; comments and blank lines stay."""
    lines = text.split("\n")
    kept = [line for line in lines if not (columns_of(line) and is_unwanted(columns_of(line)))]
    if kept and kept[-1] != "" and len(kept) < len(lines):
        kept.append("")
    return "\n".join(kept)
