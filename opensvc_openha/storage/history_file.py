"""Hold the history: every transition with its cause, bounded, one line of JSON for each entry.

It survives reboots, and is read while nothing runs, by users without write permission, and on a
read-only file system. A line that is damaged costs that entry alone: readers pass over it and count
it. The history explains decisions, none depends on it. Files and their rotation:
``history_segments``.

The order of ``id``, ``at``, ``kind``, ``name`` in a line is part of the format: a reader that
selects looks for them without decoding the lines that it does not want.
"""

from __future__ import annotations

import enum
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from opensvc_openha.core.beat import BootId, Causality
from opensvc_openha.core.status import LinkSight, PeerStanding, Sight
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.storage.history_segments import (
    Segment,
    SegmentAppender,
    lines_of,
    numbers_in,
)

_TEXT_MAX = 500


class EntryKind(enum.Enum):
    """Subject of an entry. The first five are those of a record."""

    SERVICE = "service"
    LINK = "link"
    PEER = "peer"
    NODE = "node"
    READINESS = "readiness"
    """Whether a service could start on this node: ``new`` is ready, or not ready."""
    SCRIPT = "script"
    """``old`` is the kind of script, ``new`` its outcome."""
    COMMAND = "command"
    """``new`` is the command; ``name`` is empty if it was for all services."""
    DAEMON = "daemon"
    MONITOR = "monitor"
    """A failed resource of a service that runs here, and the reaction to it."""


@dataclass(frozen=True)
class Entry:
    """One entry; ``at`` is wall-clock time, for display.

    ``mono`` is only comparable within one boot of the ``machine``.
    """

    at: float
    mono: float
    kind: EntryKind
    name: str
    old: str
    new: str
    reason: str
    rule: str = ""
    is_alarm: bool = False
    took_s: float | None = None
    sight: Sight | None = None
    machine: str = ""
    number: int = 0
    """Counts all entries; 0 before it is written."""
    cause: Causality | None = None
    """What was sent and heard by then; None where that is not known."""

    def seconds_after(self, earlier: Entry) -> float:
        """Return the seconds between two entries.

        Exact within one boot of the machine; across a reboot as the wall clocks were.
        """
        if self.machine == earlier.machine:
            return self.mono - earlier.mono
        return self.at - earlier.at


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
            values = _values(entry, number)
            own = self._machine or entry.machine
            if (id(entry.sight), entry.cause, own) == shared:
                values["as"] = shared_by
            else:
                values |= _circumstances(entry, own if own != machine else "")
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


def _values(entry: Entry, number: int) -> dict[str, Any]:
    """Return what an entry has by itself; what is usual is left out."""
    name, old, new, reason, rule = (
        one_line(text[:_TEXT_MAX])
        for text in (entry.name, entry.old, entry.new, entry.reason, entry.rule)
    )
    values: dict[str, Any] = {
        "id": number,
        "at": entry.at,
        "kind": entry.kind.value,
        "name": name,
        "old": old,
        "new": new,
        "reason": reason,
        "mono": entry.mono,
    }
    if rule:
        values["rule"] = rule
    if entry.is_alarm:
        values["alarm"] = True
    if entry.took_s is not None:
        values["took_s"] = entry.took_s
    return values


def _circumstances(entry: Entry, machine: str) -> dict[str, Any]:
    """Return what an entry shares with the others of its step: they refer to it by ``as``."""
    values: dict[str, Any] = {}
    if machine:
        values["machine"] = machine
    if entry.sight is not None:
        values["sight"] = _sight_values(entry.sight)
    if entry.cause is not None:
        values["cause"] = _dump_cause(entry.cause)
    return values


def unwritten(written: Sequence[Entry], newest: Sequence[Entry]) -> list[Entry]:
    """Return those of a daemon's ``newest`` entries that come after the ``written`` ones.

    Both are of the same selection, oldest first, and may have been read in any order.
    """
    known = {key_of(entry) for entry in written}
    behind = len(newest)
    while behind and key_of(newest[behind - 1]) not in known:
        behind -= 1
    return [
        entry for entry in newest[behind:] if not written or entry.seconds_after(written[-1]) >= 0
    ]


def key_of(entry: Entry) -> tuple[object, ...]:
    """Return what distinguishes an entry, in the daemon and in the file, from all others."""
    # Not the reason: users who may not read the file get it without the output of scripts. The
    # file has texts cut and escaped, which makes them longer than the limit again.
    texts = (one_line(text)[:_TEXT_MAX] for text in (entry.name, entry.old, entry.new))
    return entry.mono, entry.kind, *texts


def is_of(entry: Entry, service: str, since: float, is_with_node: bool) -> bool:
    """Return True if ``read_entries`` would select the entry."""
    is_own = entry.kind.value in _KINDS_OF_SERVICE and entry.name in (service, "")
    return entry.at >= since and (
        not service or is_own or (is_with_node and entry.kind.value in _KINDS_OF_NODE)
    )


_KINDS_OF_SERVICE = ("service", "script", "command", "monitor", "readiness")
_KINDS_OF_NODE = ("link", "peer", "node", "daemon")

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
        kinds = "|".join(_KINDS_OF_SERVICE)
        of_service = f'"kind":"(?:{kinds})","name":(?:""|{name}),'
        of_node = f'"kind":"(?:{"|".join(_KINDS_OF_NODE)})",'
        pattern = _pattern(f"(?:{of_service}|{of_node})" if is_with_node else of_service)
    elif since:
        pattern = _pattern("")

    def accepts(entry: Entry) -> bool:
        return is_of(entry, service, since, is_with_node)

    return _newest(folder, _Search(pattern, accepts, since, limit), on_damage)


def has_service(folder: str, service: str) -> bool:
    """Return True if an entry has this name, of the kinds that services have; SystemFault."""
    kinds = "|".join(_KINDS_OF_SERVICE)
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
        left -= len(here) if left > 0 else 0
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
                    entry = _entry(values, segment.machine)
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
            shared = _loaded_circumstances(values)
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


def _entry(values: dict[str, Any], machine: str) -> Entry:
    """Return the entry of a line of a file that a boot has begun.

    Raises ValueError, KeyError or TypeError for what this version has not written.
    """
    number, took_s = values["id"], values.get("took_s")
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"an entry has the number {number!r:.40}")
    if not isinstance(values.get("as", 1), int):
        raise ValueError("an entry refers to no number")
    shared = {"machine": machine, **_loaded_circumstances(values)}
    return Entry(
        at=finite_number(values["at"]),
        mono=finite_number(values["mono"]),
        kind=EntryKind(values["kind"]),
        name=str(values["name"]),
        old=str(values["old"]),
        new=str(values["new"]),
        reason=str(values["reason"]),
        rule=str(values.get("rule", "")),
        is_alarm=bool(values.get("alarm", False)),
        took_s=None if took_s is None else finite_number(took_s),
        number=number,
        **shared,
    )


def _loaded_circumstances(values: dict[str, Any]) -> dict[str, Any]:
    """Return those circumstances that a line has itself."""
    shared: dict[str, Any] = {}
    if "machine" in values:
        shared["machine"] = str(values["machine"])
    if "sight" in values:
        shared["sight"] = _sight_of(values["sight"])
    if "cause" in values:
        shared["cause"] = load_cause(values["cause"])
    return shared


def _dump_cause(cause: Causality) -> tuple[str, int, str | None, int]:
    heard_of = None if cause.heard_of is None else cause.heard_of.text
    return cause.own.text, cause.sent, heard_of, cause.heard


def load_cause(values: Sequence[object]) -> Causality:
    """Return a cause from its four values; raises ValueError."""
    own, sent, heard_of, heard = values
    if not isinstance(sent, int) or not isinstance(heard, int):
        raise ValueError("a cause has no numbers")
    return Causality(
        _load_boot(own), sent, None if heard_of is None else _load_boot(heard_of), heard
    )


def _load_boot(text: object) -> BootId:
    counter, _, nonce = str(text).partition(".")
    return BootId(int(counter), int(nonce, 16))


def finite_number(value: object) -> float:
    """Return a number that is one. Raises ValueError or OverflowError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"expected a number, found {value!r:.40}")
    return float(value)


def _sight_values(sight: Sight) -> dict[str, Any]:
    return {
        "at": sight.at,
        "standing": sight.standing.value,
        "late_s": round(sight.late_s, 3),
        "stall_limit_s": sight.stall_limit_s,
        "links": [
            [
                link.link_id,
                link.is_up,
                None if link.silence_s is None else round(link.silence_s, 3),
                link.timeout_s,
                *([True] if link.is_mute else []),
            ]
            for link in sight.links
        ],
    }


def _dump_sight(sight: Sight) -> str:
    return json.dumps(_sight_values(sight), separators=(",", ":"))


def load_sight(text: str) -> Sight:
    """Return what was seen, from its text; raises ValueError."""
    return _sight_of(json.loads(text))


def _sight_of(data: object) -> Sight:
    if not isinstance(data, dict) or not isinstance(data.get("links"), list):
        raise ValueError("what was seen at an entry is no object with links")
    limit_s = data.get("stall_limit_s")
    return Sight(
        finite_number(data.get("at")),
        tuple(_load_link(link) for link in data["links"]),
        PeerStanding(data.get("standing")),
        finite_number(data.get("late_s")),
        None if limit_s is None else finite_number(limit_s),
    )


def _load_link(value: object) -> LinkSight:
    if not isinstance(value, list) or len(value) not in (4, 5) or not isinstance(value[0], str):
        raise ValueError("what was seen of a link is no list of its values")
    silence_s = None if value[2] is None else finite_number(value[2])
    return LinkSight(
        value[0],
        bool(value[1]),
        silence_s,
        finite_number(value[3]),
        *(bool(flag) for flag in value[4:]),
    )


def entry_to_json(entry: Entry) -> dict[str, Any]:
    """Return an entry as plain values."""
    return {
        **vars(entry),
        "kind": entry.kind.value,
        "sight": None if entry.sight is None else _dump_sight(entry.sight),
        "cause": None if entry.cause is None else _dump_cause(entry.cause),
    }


def entry_from_json(data: dict[str, Any]) -> Entry:
    """Return the entry of these values.

    Raises KeyError, TypeError or ValueError if they are none.
    """
    seen, cause = data["sight"], data.get("cause")
    known = {field.name for field in fields(Entry)}
    return Entry(
        **{
            **{key: value for key, value in data.items() if key in known},
            "kind": EntryKind(data["kind"]),
            "sight": None if seen is None else load_sight(str(seen)),
            "cause": None if cause is None else load_cause(cause),
        }
    )
