"""The file of the history: every transition with its cause, bounded, in one sqlite file that survives reboots.

It has a rollback journal, not a write-ahead log: entries are rare, and so one file is all there is, which can be read while
nothing runs, by users who may not write beside it, and from a read-only file system. Each entry is on disk before the next.
A file that sqlite cannot read is set aside, never repaired: the history explains decisions, none depends on it.
"""

from __future__ import annotations

import enum
import json
import os
import sqlite3
from dataclasses import dataclass
from typing import Iterable, Optional

from opensvc_openha.core.status import LinkSight, PeerStanding, Sight
from opensvc_openha.errors import SystemFault

_VERSION = 1
_SCHEMA = """
CREATE TABLE life(id INTEGER PRIMARY KEY, machine TEXT NOT NULL, pid INTEGER NOT NULL);
CREATE TABLE sight(id INTEGER PRIMARY KEY, seen TEXT NOT NULL);
CREATE TABLE entry(
    id INTEGER PRIMARY KEY, life INTEGER NOT NULL, at REAL NOT NULL, mono REAL NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    old TEXT NOT NULL, new TEXT NOT NULL, reason TEXT NOT NULL, rule TEXT NOT NULL, is_alarm INTEGER NOT NULL, took_s REAL,
    sight INTEGER
);
"""
_SELECT = """
SELECT entry.at, entry.mono, kind, name, old, new, reason, rule, is_alarm, took_s, seen, machine, entry.id
FROM entry LEFT JOIN sight ON sight.id = entry.sight LEFT JOIN life ON life.id = entry.life
"""
_TEXT_MAX = 500
_LOCK_WAIT_S = 3.0
_SLACK = 1.1


class EntryKind(enum.Enum):
    """What an entry is about. The first four are those of a record."""

    SERVICE = "service"
    LINK = "link"
    PEER = "peer"
    NODE = "node"
    SCRIPT = "script"
    """``old`` is the kind of script, ``new`` how it ended."""
    COMMAND = "command"
    """``new`` is what was asked for; ``name`` is empty where it was asked for all services."""
    DAEMON = "daemon"
    MONITOR = "monitor"
    """A resource of a service that runs here failed, and what was done about it."""


@dataclass(frozen=True)
class Entry:
    """One entry: ``at`` is wall-clock time, to be shown; ``mono`` counts within one life of the ``machine``."""

    at: float
    mono: float
    kind: EntryKind
    name: str
    old: str
    new: str
    reason: str
    rule: str = ""
    is_alarm: bool = False
    took_s: Optional[float] = None
    sight: Optional[Sight] = None
    machine: str = ""
    number: int = 0
    """Its place in the file."""

    def seconds_after(self, earlier: "Entry") -> float:
        """Time between two entries: exact within one life of the machine, as the clocks said across a reboot."""
        if self.machine == earlier.machine:
            return self.mono - earlier.mono
        return self.at - earlier.at


class DamagedFile(Exception):
    """What stands there is no history of this version; never leaves the writer's thread."""


class HistoryFile:
    """The open file, for one writer."""

    def __init__(self, path: str, machine: str) -> None:
        """Opens or makes the file. Raises sqlite3.Error or OSError, and DamagedFile if it has to be set aside."""
        self._path = path
        self._last_sight: Optional[Sight] = None
        self._sight_id: Optional[int] = None
        self._connection = sqlite3.connect(path, timeout=_LOCK_WAIT_S, isolation_level=None)
        try:
            self._prepare()
            cursor = self._connection.execute("INSERT INTO life(machine, pid) VALUES(?, ?)", (machine, os.getpid()))
            self._life = cursor.lastrowid
            self._identity = _identity(path)
            os.chmod(path, 0o644)
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode=DELETE")
        run("PRAGMA synchronous=FULL")
        version = run("PRAGMA user_version").fetchone()[0]
        tables = {row[0] for row in run("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not version and not tables:
            self._connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION or not {"life", "sight", "entry"} <= tables:
            raise DamagedFile(f"it is no history of this version (its version is {version})")
        else:
            found = run("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise DamagedFile(found)

    @property
    def is_in_place(self) -> bool:
        """False once somebody removed or replaced the file."""
        return _identity(self._path) == self._identity

    def append(self, entries: Iterable[Entry], limit: int) -> None:
        """Writes the entries in one transaction, and drops the oldest above the limit."""
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            for entry in entries:
                texts = [text[:_TEXT_MAX] for text in (entry.name, entry.old, entry.new, entry.reason, entry.rule)]
                run("INSERT INTO entry(life, at, mono, kind, name, old, new, reason, rule, is_alarm, took_s, sight)"
                    " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (self._life, entry.at, entry.mono, entry.kind.value, *texts, int(entry.is_alarm), entry.took_s,
                     self._note_sight(entry.sight)))
            oldest, newest = run("SELECT min(id), max(id) FROM entry").fetchone()
            if newest is not None and newest - oldest >= limit * _SLACK:
                run("DELETE FROM entry WHERE id <= ?", (newest - limit,))
                run("DELETE FROM sight WHERE id < (SELECT min(sight) FROM entry)")
                run("DELETE FROM life WHERE id < (SELECT min(life) FROM entry)")
            run("COMMIT")
        except BaseException:
            self._last_sight = None
            if self._connection.in_transaction:
                run("ROLLBACK")
            raise

    def _note_sight(self, sight: Optional[Sight]) -> Optional[int]:
        """Number of the row of what was seen; all entries of one step share it."""
        if sight is None:
            return None
        if sight is not self._last_sight:
            cursor = self._connection.execute("INSERT INTO sight(seen) VALUES(?)", (_dump_sight(sight),))
            self._last_sight, self._sight_id = sight, cursor.lastrowid
        return self._sight_id

    def close(self) -> None:
        """Gives the file back."""
        self._connection.close()


_OF_SERVICE = "(kind IN ('service', 'script', 'command', 'monitor') AND name IN (?, ''))"
_OF_NODE = "(kind IN ('link', 'peer', 'node', 'daemon'))"


def read_entries(
    path: str, service: str = "", since: float = 0.0, limit: int = -1, is_with_node: bool = False
) -> "list[Entry]":
    """The newest entries, oldest first: all, or those of one service, on request with those of its node. Raises SystemFault.

    Entries of a service are its transitions, its scripts, its resource monitor's, and the commands for it or for all.
    """
    where = ["entry.at >= ?"]
    values: "list[object]" = [since]
    if service:
        where.append(f"({_OF_SERVICE} OR {_OF_NODE})" if is_with_node else _OF_SERVICE)
        values.append(service)
    query = f"{_SELECT} WHERE {' AND '.join(where)} ORDER BY entry.id DESC LIMIT ?"
    if not os.path.exists(path):
        raise SystemFault(f"there is no history yet: {path} (nmond writes it)")
    try:
        connection = _open_to_read(path)
        try:
            rows = connection.execute(query, (*values, limit)).fetchall()
        finally:
            connection.close()
        return [_entry(row) for row in reversed(rows)]
    except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
        raise SystemFault(f"cannot read the history {path}: {error}") from error


def _open_to_read(path: str) -> sqlite3.Connection:
    """A reader who may write rolls back what a crash left half written; any other reads what is there."""
    mode = "rw" if os.access(path, os.W_OK) and os.access(os.path.dirname(path), os.W_OK) else "ro"
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = sqlite3.connect(f"file:{quoted}?mode={mode}", uri=True, timeout=_LOCK_WAIT_S)
    connection.execute("PRAGMA query_only = 1")
    return connection


def _entry(row: "tuple[object, ...]") -> Entry:
    at, mono, kind, name, old, new, reason, rule, is_alarm, took_s, seen, machine, number = row
    assert isinstance(at, float) and isinstance(mono, float) and isinstance(number, int)
    return Entry(at, mono, EntryKind(kind), str(name), str(old), str(new), str(reason), str(rule), bool(is_alarm),
                 None if took_s is None else float(str(took_s)), None if seen is None else _load_sight(str(seen)),
                 str(machine or ""), number)


def _dump_sight(sight: Sight) -> str:
    return json.dumps({
        "at": sight.at,
        "standing": sight.standing.value,
        "late_s": round(sight.late_s, 3),
        "stall_limit_s": sight.stall_limit_s,
        "links": [
            [link.link_id, link.is_up, None if link.silence_s is None else round(link.silence_s, 3), link.timeout_s,
             *([True] if link.is_mute else [])]
            for link in sight.links
        ],
    }, separators=(",", ":"))


def _load_sight(text: str) -> Sight:
    data = json.loads(text)
    links = tuple(LinkSight(*link) for link in data["links"])
    return Sight(data["at"], links, PeerStanding(data["standing"]), data["late_s"], data["stall_limit_s"])


def _identity(path: str) -> "Optional[tuple[int, int]]":
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
