"""Hold the history: every transition with its cause, bounded, in one sqlite file.

It survives reboots. It has a rollback journal, not a write-ahead log: entries are rare, and so the
history is one file, which can be read while nothing runs, by users without write permission beside
it, and on a read-only file system. Each entry is on disk before the next. A file that sqlite cannot
read is set aside, never repaired: the history explains decisions, none depends on it.

It is readable for root and its group: it holds the output of scripts, and any process that can open
it can lock it. Such a lock delays entries only briefly: the writer continues with a copy, and
leaves the locked file to the reader.
"""

from __future__ import annotations

import contextlib
import enum
import json
import math
import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from opensvc_openha.core.beat import BootId, Causality
from opensvc_openha.core.status import LinkSight, PeerStanding, Sight
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.system.files import identity_of

_VERSION = 1
_SCHEMA = """
CREATE TABLE life(id INTEGER PRIMARY KEY, machine TEXT NOT NULL, pid INTEGER NOT NULL);
CREATE TABLE sight(id INTEGER PRIMARY KEY, seen TEXT NOT NULL);
CREATE TABLE entry(
    id INTEGER PRIMARY KEY, life INTEGER NOT NULL, at REAL NOT NULL, mono REAL NOT NULL,
    kind TEXT NOT NULL, name TEXT NOT NULL, old TEXT NOT NULL, new TEXT NOT NULL,
    reason TEXT NOT NULL, rule TEXT NOT NULL, is_alarm INTEGER NOT NULL, took_s REAL,
    sight INTEGER
);
"""
_CAUSE_TABLE = """
CREATE TABLE IF NOT EXISTS cause(
    entry INTEGER PRIMARY KEY, own TEXT NOT NULL, sent INTEGER NOT NULL, heard_of TEXT,
    heard INTEGER NOT NULL
)
"""
"""Apart from the others: a version that does not know it can write the file all the same."""
_SELECT_CAUSES = "SELECT entry, own, sent, heard_of, heard FROM cause WHERE entry BETWEEN ? AND ?"
_SELECT = """
SELECT entry.at, entry.mono, kind, name, old, new, reason, rule, is_alarm, took_s, seen, machine,
    entry.id
FROM entry LEFT JOIN sight ON sight.id = entry.sight LEFT JOIN life ON life.id = entry.life
"""
_TEXT_MAX = 500
_FORMATS, _FORMAT_MAX = slice(18, 20), 2
"""Bytes of a sqlite file's header that say how it is written and read."""
_LOCK_WAIT_S = 1.0
_READ_WAIT_S = 3.0
_MODE = 0o640
_SLACK = 1.1


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
    """Row number in the file."""
    cause: Causality | None = None
    """What was sent and heard by then; None where that is not known."""

    def seconds_after(self, earlier: Entry) -> float:
        """Return the seconds between two entries.

        Exact within one boot of the machine; across a reboot as the wall clocks were.
        """
        if self.machine == earlier.machine:
            return self.mono - earlier.mono
        return self.at - earlier.at


class DamagedFile(Exception):
    """The file holds no history of this version; never leaves the writer's thread."""


class HistoryFile:
    """The open file, for one writer."""

    def __init__(self, path: str, machine: str) -> None:
        """Open or create the file.

        Raises sqlite3.Error or OSError, and DamagedFile if it has to be set aside.
        """
        self._path = path
        self._last_sight: Sight | None = None
        self._sight_id: int | None = None
        # sqlite would create it with the permissions left by the umask.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, _MODE))
        os.chmod(path, _MODE)
        self._connection = _connect(path, _LOCK_WAIT_S)
        try:
            self._prepare()
            cursor = self._connection.execute(
                "INSERT INTO life(machine, pid) VALUES(?, ?)", (machine, os.getpid())
            )
            self._life = cursor.lastrowid
            self._identity = identity_of(path)
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        run = self._connection.execute
        with open(self._path, "rb") as file:
            formats = file.read(_FORMATS.stop)[_FORMATS]
        # sqlite takes a file whose header has a later number for one that it may only read, and its
        # message is the one for a file without the permission.
        if formats and max(formats) > _FORMAT_MAX:
            raise DamagedFile(f"its format is {max(formats)}, and at most {_FORMAT_MAX} is known")
        run("PRAGMA journal_mode=DELETE")
        run("PRAGMA synchronous=FULL")
        version = run("PRAGMA user_version").fetchone()[0]
        tables = {row[0] for row in run("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not version and not tables:
            self._connection.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;"
            )
        elif version != _VERSION:
            raise DamagedFile(f"it is no history of this version (its version is {version})")
        elif _columns(self._connection) != _own_columns():
            # One damaged byte can make a file that takes entries but cannot be read.
            raise DamagedFile("its tables have other columns than they should")
        else:
            found = run("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise DamagedFile(found)
        run(_CAUSE_TABLE)

    @property
    def is_in_place(self) -> bool:
        """Return False once the file was removed or replaced."""
        return identity_of(self._path) == self._identity

    def append(self, entries: Iterable[Entry], limit: int) -> None:
        """Write the entries in one transaction, and drop the oldest above the limit."""
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            for entry in entries:
                texts = [
                    one_line(text[:_TEXT_MAX])
                    for text in (entry.name, entry.old, entry.new, entry.reason, entry.rule)
                ]
                cursor = run(
                    "INSERT INTO entry(life, at, mono, kind, name, old, new, reason, rule,"
                    " is_alarm, took_s, sight) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        self._life,
                        entry.at,
                        entry.mono,
                        entry.kind.value,
                        *texts,
                        int(entry.is_alarm),
                        entry.took_s,
                        self._record_sight(entry.sight),
                    ),
                )
                if entry.cause is not None:
                    run(
                        "INSERT OR REPLACE INTO cause VALUES(?, ?, ?, ?, ?)",
                        (cursor.lastrowid, *_dump_cause(entry.cause)),
                    )
            oldest, newest = run("SELECT min(id), max(id) FROM entry").fetchone()
            if newest is not None and newest - oldest >= limit * _SLACK:
                run("DELETE FROM entry WHERE id <= ?", (newest - limit,))
                run("DELETE FROM cause WHERE entry <= ?", (newest - limit,))
                run("DELETE FROM sight WHERE id < (SELECT min(sight) FROM entry)")
                run("DELETE FROM life WHERE id < (SELECT min(life) FROM entry)")
            run("COMMIT")
        except BaseException:
            self._last_sight = None
            if self._connection.in_transaction:
                run("ROLLBACK")
            raise

    def _record_sight(self, sight: Sight | None) -> int | None:
        """Return the row number of the evidence; all entries of one step share it."""
        if sight is None:
            return None
        if sight is not self._last_sight:
            cursor = self._connection.execute(
                "INSERT INTO sight(seen) VALUES(?)", (_dump_sight(sight),)
            )
            self._last_sight, self._sight_id = sight, cursor.lastrowid
        return self._sight_id

    def newest(self, number: int) -> list[Entry]:
        """Return at most ``number`` entries, oldest first. Raises sqlite3.Error or ValueError."""
        rows = self._connection.execute(
            f"{_SELECT} ORDER BY entry.id DESC LIMIT ?", (number,)
        ).fetchall()
        return _with_causes(self._connection, [_entry(row) for row in reversed(rows)])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _columns(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    return [
        row
        for table in ("life", "sight", "entry")
        for row in connection.execute(f"PRAGMA table_info({table})")
    ]


def _own_columns() -> list[tuple[object, ...]]:
    with contextlib.closing(_connect(":memory:", 0)) as fresh:
        fresh.executescript(_SCHEMA)
        return _columns(fresh)


def replace_by_copy(path: str) -> None:
    """Replace a file that a reader keeps locked by a copy; the reader keeps the old one.

    Raises sqlite3.Error or OSError. A reader's lock allows the copy; a writer's lock prevents it
    for as long as it is held.
    """
    copy = f"{path}.copy"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(copy)
    os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE))
    os.chmod(copy, _MODE)
    with (
        contextlib.closing(_connect(path, _LOCK_WAIT_S)) as source,
        contextlib.closing(_connect(copy, _LOCK_WAIT_S)) as target,
    ):
        source.backup(target)
    os.replace(copy, path)


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
_OF_SERVICE = (
    "(kind IN ('service', 'script', 'command', 'monitor', 'readiness') AND name IN (?, ''))"
)
_OF_NODE = "(kind IN ('link', 'peer', 'node', 'daemon'))"


def read_entries(
    path: str, service: str = "", since: float = 0.0, limit: int = -1, is_with_node: bool = False
) -> list[Entry]:
    """Return the newest entries, oldest first; raises SystemFault.

    All entries, or those of one service, optionally with those of its node. Entries of a service
    are its transitions, its scripts, its resource monitor's, and the commands for it or for all.
    """
    where = ["entry.at >= ?"]
    values: list[object] = [since]
    if service:
        where.append(f"({_OF_SERVICE} OR {_OF_NODE})" if is_with_node else _OF_SERVICE)
        values.append(service)
    return _read(path, " AND ".join(where), [*values, limit])


def read_after(path: str, number: int, limit: int) -> list[Entry]:
    """Return the newest ``limit`` entries with a higher number, oldest first; raises SystemFault.

    With a negative number the newest entries of all.
    """
    return _read(path, "entry.id > ?", [number, limit])


def read_words(path: str, kinds: Sequence[EntryKind], words: Sequence[str]) -> list[Entry]:
    """Return the entries of these kinds whose old or new value is a word, oldest first.

    Raises SystemFault.
    """
    of_kind, of_word = (", ".join("?" * len(each)) for each in (kinds, words))
    where = f"kind IN ({of_kind}) AND (new IN ({of_word}) OR old IN ({of_word}))"
    return _read(path, where, [*(kind.value for kind in kinds), *words, *words, -1])


def read_oldest(path: str) -> Entry | None:
    """Return the oldest entry, since when the history has everything; raises SystemFault."""
    found = _read(path, "entry.id = (SELECT min(id) FROM entry)", [-1])
    return found[0] if found else None


def _read(path: str, where: str, values: Sequence[object]) -> list[Entry]:
    """Return the newest entries that fulfil a condition; the last value is how many."""
    if os.path.exists(path) and not os.access(path, os.R_OK):
        raise SystemFault(f"only root may read the history {path}")
    query = f"{_SELECT} WHERE {where} ORDER BY entry.id DESC LIMIT ?"
    if not os.path.exists(path):
        raise SystemFault(f"there is no history yet: {path} (nmond writes it)")
    try:
        connection = _open_to_read(path)
        try:
            rows = connection.execute(query, values).fetchall()
            return _with_causes(connection, [_entry(row) for row in reversed(rows)])
        finally:
            connection.close()
    except (sqlite3.Error, ValueError, OverflowError, RecursionError) as error:
        raise SystemFault(f"cannot read the history {path}: {one_line(str(error))}") from error


def _open_to_read(path: str) -> sqlite3.Connection:
    """Open for reading: with write permission, roll back what a crash left half written."""
    mode = "rw" if os.access(path, os.W_OK) and os.access(os.path.dirname(path), os.W_OK) else "ro"
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = _connect(f"file:{quoted}?mode={mode}", _READ_WAIT_S, is_uri=True)
    try:
        connection.execute("PRAGMA query_only = 1")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: str, wait_s: float, is_uri: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=wait_s, isolation_level=None, uri=is_uri)
    # A damaged file holds any bytes; a decoding error must not hide the actual problem.
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    return connection


def _entry(row: tuple[object, ...]) -> Entry:
    """Convert a row; ValueError if this version did not write it."""
    at, mono, kind, name, old, new, reason, rule, is_alarm, took_s, seen, machine, number = row
    if not isinstance(number, int):
        raise ValueError(f"an entry has the number {number!r}")
    return Entry(
        _number(at),
        _number(mono),
        EntryKind(kind),
        str(name),
        str(old),
        str(new),
        str(reason),
        str(rule),
        bool(is_alarm),
        None if took_s is None else _number(took_s),
        None if seen is None else _load_sight(str(seen)),
        str(machine or ""),
        number,
    )


def _with_causes(connection: sqlite3.Connection, entries: list[Entry]) -> list[Entry]:
    """Return the entries with what is known of their causes."""
    if (
        not entries
        or not connection.execute(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'cause'"
        ).fetchone()
    ):
        return entries
    rows = connection.execute(_SELECT_CAUSES, (entries[0].number, entries[-1].number))
    causes = {row[0]: _load_cause(row[1:]) for row in rows}
    return [replace(entry, cause=causes.get(entry.number)) for entry in entries]


def _dump_cause(cause: Causality) -> tuple[str, int, str | None, int]:
    # The nonce has 64 bits, a number of sqlite 63.
    heard_of = None if cause.heard_of is None else cause.heard_of.text
    return cause.own.text, cause.sent, heard_of, cause.heard


def _load_cause(values: Sequence[object]) -> Causality:
    own, sent, heard_of, heard = values
    if not isinstance(sent, int) or not isinstance(heard, int):
        raise ValueError("a cause has no numbers")
    return Causality(
        _load_boot(own), sent, None if heard_of is None else _load_boot(heard_of), heard
    )


def _load_boot(text: object) -> BootId:
    counter, _, nonce = str(text).partition(".")
    return BootId(int(counter), int(nonce, 16))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"expected a number, found {value!r:.40}")
    return float(value)


def _dump_sight(sight: Sight) -> str:
    return json.dumps(
        {
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
        },
        separators=(",", ":"),
    )


def _load_sight(text: str) -> Sight:
    data = json.loads(text)
    if not isinstance(data, dict) or not isinstance(data.get("links"), list):
        raise ValueError("what was seen at an entry is no object with links")
    limit_s = data.get("stall_limit_s")
    return Sight(
        _number(data.get("at")),
        tuple(_load_link(link) for link in data["links"]),
        PeerStanding(data.get("standing")),
        _number(data.get("late_s")),
        None if limit_s is None else _number(limit_s),
    )


def _load_link(value: object) -> LinkSight:
    if not isinstance(value, list) or len(value) not in (4, 5) or not isinstance(value[0], str):
        raise ValueError("what was seen of a link is no list of its values")
    silence_s = None if value[2] is None else _number(value[2])
    return LinkSight(
        value[0], bool(value[1]), silence_s, _number(value[3]), *(bool(flag) for flag in value[4:])
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
            "sight": None if seen is None else _load_sight(str(seen)),
            "cause": None if cause is None else _load_cause(cause),
        }
    )
