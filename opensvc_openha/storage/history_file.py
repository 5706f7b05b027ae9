"""Hold the history: every transition with its cause, bounded, one line of JSON for each entry.

It survives reboots, and is read while nothing runs, by users without write permission, and on a
read-only file system. A line that is damaged costs that entry alone: readers pass over it and count
it. The history explains decisions, none depends on it. Files and their rotation:
``history_segments``, what an entry is: ``history_entry``.

The order of ``id``, ``at``, ``kind``, ``name`` in a line is part of the format: a reader that
selects looks for them without decoding the lines that it does not want.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from opensvc_openha.errors import SystemFault
from opensvc_openha.hints import Any
from opensvc_openha.records import dataclass
from opensvc_openha.storage.history_entry import (
    KINDS_OF_NODE,
    KINDS_OF_SERVICE,
    Entry,
    EntryKind,
    circumstance_values,
    entry_of_line,
    is_of,
    line_values,
    load_circumstances,
)
from opensvc_openha.storage.history_segments import (
    Segment,
    SegmentAppender,
    lines_of,
    numbers_in,
)


class HistoryFile:
    """The open history, for one writer."""

    def __init__(self, folder: str, machine: str) -> None:
        """Open or create it, in a boot of the ``machine``; empty for entries that have their own.

        Raises OSError, and DamagedFile if its newest file has to be set aside first.
        """
        self._machine = machine
        self._segment = SegmentAppender(folder)

    @property
    def is_in_place(self) -> bool:
        """Return False once its newest file was removed or replaced."""
        return self._segment.is_in_place

    def append(self, entries: Iterable[Entry], limit: int, is_numbered: bool = False) -> None:
        """Write the entries, and drop the oldest ones that exceed the limit by far.

        They get the next numbers, or keep their own, which must be higher. Raises OSError if none
        of them was written, and PartlyWritten if some were.
        """
        entries = list(entries)
        if not entries:
            return
        if is_numbered:
            self._segment.next_number = entries[0].number
        segment = self._segment
        machine = segment.machine
        if is_new := segment.needs_head(limit):
            machine = self._machine or entries[0].machine
        lines = []
        number = segment.next_number
        shared: tuple[object, ...] = ()
        shared_by = 0
        for entry in entries:
            number = entry.number if is_numbered else number
            values = line_values(entry, number)
            own = self._machine or entry.machine
            if (id(entry.sight), entry.cause, own) == shared:
                values["as"] = shared_by
            else:
                values |= circumstance_values(entry, own if own != machine else "")
                if entry.sight is not None:
                    shared, shared_by = (id(entry.sight), entry.cause, own), number
            lines.append(_json(values))
            number += 1
        if is_new:
            segment.begin(machine, limit)
        segment.append("".join(f"{line}\n" for line in lines).encode(), number)

    def sync(self) -> None:
        """Have all entries on disk. Raises OSError."""
        self._segment.sync()

    def close(self) -> None:
        """Close the file."""
        self._segment.close()


def _json(values: dict[str, Any]) -> str:
    # A time that is no number is an error here, as no reader could make sense of it.
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


_BAD = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What decoding raises for a line that this version has not written."""

Damaged = Callable[[int], object]
"""Called with the number of lines that were passed over, if there are any."""


def read_entries(
    folder: str,
    service: str = "",
    since: float = 0.0,
    limit: int = -1,
    is_with_node: bool = False,
    on_damage: Damaged | None = None,
) -> list[Entry]:
    """Return the newest entries, oldest first; raises SystemFault.

    All entries, or those of one service, optionally with those of its node. Entries of a service
    are its transitions, its scripts, its resource monitor's, and the commands for it or for all.
    """
    pattern = None
    if service:
        name = re.escape(_json_text(service))
        kinds = "|".join(KINDS_OF_SERVICE)
        of_service = f'"kind":"(?:{kinds})","name":(?:""|{name}),'
        of_node = f'"kind":"(?:{"|".join(KINDS_OF_NODE)})",'
        pattern = _pattern(f"(?:{of_service}|{of_node})" if is_with_node else of_service)
    elif since:
        pattern = _pattern("")

    def accepts(entry: Entry) -> bool:
        return is_of(entry, service, since, is_with_node)

    return _newest(folder, _Search(pattern, accepts, since, limit), on_damage)


def has_service(folder: str, service: str) -> bool:
    """Return True if an entry has this name, of the kinds that services have; SystemFault."""
    kinds = "|".join(KINDS_OF_SERVICE)
    pattern = _pattern(f'"kind":"(?:{kinds})","name":{re.escape(_json_text(service))},')
    search = _Search(pattern, lambda entry: entry.name == service, limit=1)
    return bool(_newest(folder, search))


def read_after(folder: str, number: int, limit: int) -> list[Entry]:
    """Return the oldest ``limit`` entries with a higher number, oldest first; SystemFault."""
    found: list[Entry] = []
    firsts = _firsts(folder)
    behind = sum(first <= number + 1 for first in firsts)
    for first in firsts[max(0, behind - 1) :]:
        search = _Search(None, lambda entry: True, after=number)
        found += reversed(_in_segment(folder, first, search, []))
        if len(found) >= limit:
            break
    return found[:limit]


def read_words(folder: str, kinds: Sequence[EntryKind], words: Sequence[str]) -> list[Entry]:
    """Return the entries of these kinds whose old or new value is a word, oldest first.

    Raises SystemFault.
    """
    texts = "|".join(re.escape(_json_text(word)) for word in words)
    kind = f'"kind":"(?:{"|".join(kind.value for kind in kinds)})",'
    pattern = _pattern(f'{kind}"name":"[^\\n]*?","(?:old|new)":(?:{texts}),')

    def accepts(entry: Entry) -> bool:
        return entry.kind in kinds and (entry.new in words or entry.old in words)

    return _newest(folder, _Search(pattern, accepts))


def read_oldest(folder: str) -> Entry | None:
    """Return the oldest entry, since when the history has everything; raises SystemFault."""
    for first in _firsts(folder):
        found = _in_segment(folder, first, _Search(None, lambda entry: True), [])
        if found:
            return found[-1]
    return None


@dataclass(frozen=True)
class _Search:
    """What is looked for: lines that match, of which the entries are accepted."""

    pattern: re.Pattern[bytes] | None
    accepts: Callable[[Entry], bool]
    since: float = 0.0
    limit: int = -1
    after: int = -1


def _pattern(part: str) -> re.Pattern[bytes]:
    """Return what finds whole lines with a part, and the time in each, behind a line break."""
    return re.compile(rb'\n\{"id":\d+,"at":([^,]+),' + part.encode() + rb"[^\n]*")


def _json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _firsts(folder: str) -> list[int]:
    """Return the first numbers of all files; raises SystemFault."""
    if not os.path.exists(folder):
        raise SystemFault(f"there is no history yet: {folder} (nmond writes it)")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise SystemFault(f"only root may read the history {folder}")
    try:
        return numbers_in(folder)
    except OSError as error:
        raise SystemFault(f"cannot read the history {folder}: {error.strerror}") from error


def _newest(folder: str, search: _Search, on_damage: Damaged | None = None) -> list[Entry]:
    """Return the newest entries that are looked for, oldest first."""
    found: list[Entry] = []
    damaged: list[bytes] = []
    left = search.limit
    for first in reversed(_firsts(folder)):
        if left == 0:
            break
        here = _in_segment(folder, first, replace(search, limit=left), damaged)
        found += here
        left -= len(here)  # Without a limit it is below 0, and stays there.
    if damaged and on_damage is not None:
        on_damage(len(damaged))
    found.reverse()
    return found


def _in_segment(folder: str, first: int, search: _Search, damaged: list[bytes]) -> list[Entry]:
    """Return the entries of one file that are looked for, newest first; none of one that is gone.

    Lines that are none are added to ``damaged``.
    """
    try:
        segment = Segment(folder, first)
    except FileNotFoundError:
        return []  # The oldest one, which the writer has dropped meanwhile.
    except OSError as error:
        raise SystemFault(f"cannot read the history {folder}: {error.strerror}") from error
    found: list[Entry] = []
    waiting: dict[int, list[int]] = {}
    """Places in ``found``, by the number of the entry whose circumstances they share."""
    is_over = False
    try:
        if not segment.is_known:
            damaged.append(b"")
            return []
        for block in segment.blocks():
            for line in () if is_over else _candidates(block, search):
                try:
                    values = _decoded(line)
                    entry = entry_of_line(values, segment.machine)
                except _BAD:
                    damaged.append(line)
                    continue
                is_over = entry.number <= search.after
                if is_over:
                    break
                if search.accepts(entry):
                    if "as" in values:
                        waiting.setdefault(values["as"], []).append(len(found))
                    found.append(entry)
                is_over = len(found) == search.limit
                if is_over:
                    break
            _share(found, waiting, block)
            if is_over and not waiting:
                break
    except OSError as error:
        raise SystemFault(f"cannot read the history {folder}: {error.strerror}") from error
    finally:
        segment.close()
    return found


def _candidates(block: bytes, search: _Search) -> Iterator[bytes]:
    """Yield the lines of a block that may be looked for, newest first."""
    if search.pattern is None:
        yield from reversed(lines_of(block))
        return
    for match in reversed(list(search.pattern.finditer(block))):
        if not search.since or _is_since(match[1], search.since):
            yield match[0][1:]


def _is_since(at: bytes, since: float) -> bool:
    try:
        return float(at) >= since
    except ValueError:
        return True  # Damaged, as its decoding shows.


def _share(found: list[Entry], waiting: dict[int, list[int]], block: bytes) -> None:
    """Complete the entries that share circumstances with one of this block."""
    for number in list(waiting):
        begin = block.find(b'\n{"id":%d,' % number) + 1
        if not begin:
            continue
        end = block.find(b"\n", begin)
        try:
            values = _decoded(block[begin:] if end < 0 else block[begin:end])
            shared = load_circumstances(values)
        except _BAD:
            shared = {}
        for place in waiting.pop(number):
            found[place] = replace(found[place], **shared)


def _decoded(line: bytes) -> dict[str, Any]:
    """Return the values of a line. Raises ValueError or RecursionError."""
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("a line holds no object")
    return values
