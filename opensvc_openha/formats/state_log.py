"""Encode and decode the log of a node's states, with which many are on disk after one wait.

A line for the beginning, then a record a line, in the order in which they were appended::

    GENERATION 0 openha-states-1 LIFE CHECKSUM
    GENERATION 1 REPLACED WRITTEN CONTENT SERVICE CHECKSUM

LIFE is the boot of the machine in which this generation began. REPLACED and WRITTEN identify the
STATE file before and after (`FileMark`), CONTENT is what it holds, in hexadecimal digits. The file
has a fixed size and is written over from its beginning, so that older lines follow the newest one:
the log ends with the first line that is damaged, or does not continue the numbers of its
generation.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from opensvc_openha.records import dataclass

_FORMAT = "openha-states-1"
_SECOND_NS = 1_000_000_000
MISSING = "-"
"""The mark of a file that is not there."""


@dataclass(frozen=True)
class FileMark:
    """What identifies a version of a STATE file: it is always replaced as a whole."""

    inode: int
    mtime_ns: int

    def __str__(self) -> str:
        return f"{self.inode}.{self.mtime_ns}"


@dataclass(frozen=True)
class LogRecord:
    """One STATE file that was replaced: marks of the old and the new one, and what it holds."""

    service: str
    content: bytes
    replaced: str
    written: str


@dataclass(frozen=True)
class DecodedLog:
    """What a log holds: the boot of the machine of its generation, and its records in order."""

    life: str
    records: tuple[LogRecord, ...]

    @property
    def by_service(self) -> dict[str, list[LogRecord]]:
        """The records of each service, the newest one last."""
        found: dict[str, list[LogRecord]] = {}
        for record in self.records:
            found.setdefault(record.service, []).append(record)
        return found


def encode_beginning(generation: str, life: str) -> bytes:
    """Return the first line of a generation."""
    return _line(generation, 0, _FORMAT, life.replace(" ", "_"))


def encode_records(generation: str, number: int, records: Iterable[LogRecord]) -> bytes:
    """Return the lines of records, the first of them with this number."""
    return b"".join(
        _line(generation, at, record.replaced, record.written, record.content.hex(), record.service)
        for at, record in enumerate(records, number)
    )


def _line(generation: str, number: int, *words: str) -> bytes:
    line = " ".join((generation, str(number), *words)).encode("utf-8", "surrogateescape")
    return line + b" %08x\n" % zlib.crc32(line)


def decode_log(data: bytes) -> DecodedLog | None:
    """Return what a log holds; None if its beginning is damaged, or there is none."""
    generation, life = "", ""
    records: list[LogRecord] = []
    for number, line in enumerate(data.split(b"\n")):
        words = _words(line)
        if number == 0:
            if words is None or len(words) != 4 or words[1:3] != ["0", _FORMAT]:
                return None
            generation, life = words[0], words[3]
            continue
        if words is None or len(words) != 6 or words[:2] != [generation, str(number)]:
            break
        replaced, written, content, service = words[2:]
        try:
            records.append(LogRecord(service, bytes.fromhex(content), replaced, written))
        except ValueError:
            break
    return DecodedLog(life, tuple(records))


def _words(line: bytes) -> list[str] | None:
    """Return the words of a line, the name of the service last; None if it is damaged."""
    text, _, checksum = line.rpartition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    return text.decode("utf-8", "surrogateescape").split(" ", 5)


def explains(records: list[LogRecord], found: FileMark | None, data: bytes) -> bool:
    """Return True if a STATE file is one that the newest of these records has replaced or made.

    ``records`` are those of its service. Another file was written by somebody else, after the log:
    an operator, or a daemon that keeps none. A power cut may leave a file that the log made with a
    time of a moment before, and some file systems keep whole seconds only.
    """
    if found is None:
        return records[0].replaced == MISSING
    mark = str(found)
    if any(mark in (record.replaced, record.written) for record in records):
        return True
    inode, is_coarse = f"{found.inode}.", found.mtime_ns % _SECOND_NS == 0
    for record in records:
        is_of_log = record.written.startswith(inode) and (record.content == data or is_coarse)
        if is_of_log and abs(int(record.written[len(inode) :]) - found.mtime_ns) < _SECOND_NS:
            return True
    return False
