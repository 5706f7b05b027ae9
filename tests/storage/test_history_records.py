"""What the history's file holds of an entry, what it drops, and what it makes of a damaged row."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.core.beat import BootId, Causality
from opensvc_openha.core.status import LinkSight, PeerStanding, Sight
from opensvc_openha.errors import SystemFault
from opensvc_openha.storage import history_file
from opensvc_openha.storage.history_file import (
    DamagedFile,
    Entry,
    EntryKind,
    HistoryFile,
    entry_from_json,
    entry_to_json,
    is_of,
    read_after,
    read_entries,
    read_oldest,
    read_words,
    replace_by_copy,
    unwritten,
)

SIGHT = Sight(5.0, (LinkSight("net eth1", False, 10.25, 10.0),), PeerStanding.SILENT, 0.125, 2.5)
CAUSE = Causality(BootId(7, 0xABCDEF), 12, BootId(3, 15), 40)
PLAIN = Entry(10.0, 5.0, EntryKind.SERVICE, "web", "STOPPED", "STARTED", "as asked")


@pytest.fixture
def path(memory_dir: str) -> str:
    """Where the file is to be: in memory, as each transaction waits for the disk."""
    return f"{memory_dir}/h"


def write(path: str, *entries: Entry, limit: int = 1_000) -> None:
    """One daemon's entries, in one transaction."""
    file = HistoryFile(path, "m1")
    try:
        file.append(entries, limit)
    finally:
        file.close()


def sql(path: str, text: str) -> list[Any]:
    """Something done to the file by other means."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return connection.execute(text).fetchall()
    finally:
        connection.close()


def numbered(count: int, **values: Any) -> list[Entry]:
    """Entries that differ by their new value."""
    return [replace(PLAIN, new=f"S{number}", **values) for number in range(count)]


class Connections:
    """What was opened, and how."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.all: list[sqlite3.Connection] = []
        self.asked: list[tuple[str, float, bool]] = []
        self.on_open: Callable[[sqlite3.Connection], object] = lambda connection: None
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect

        def noted(name: str, **options: Any) -> sqlite3.Connection:
            if "uri" not in options:
                return connect(name, **options)  # The test's own.
            self.asked.append((name, options["timeout"], options["uri"]))
            self.all.append(connect(name, **options))
            self.on_open(self.all[-1])
            return self.all[-1]

        monkeypatch.setattr(sqlite3, "connect", noted)

    @property
    def open(self) -> int:
        """How many of them are open."""
        return sum(self._is_open(each) for each in self.all)

    def _is_open(self, connection: sqlite3.Connection) -> bool:
        try:
            connection.execute("PRAGMA user_version")
        except sqlite3.ProgrammingError:
            return False
        return True


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Connections:
    """Each connection of the code under test is noted."""
    return Connections(monkeypatch)


# --- entries --------------------------------------------------------------------------------------


def test_seconds_between_entries_are_those_of_one_clock() -> None:
    """The monotonic one within a boot of the machine, the wall clock's across boots."""
    first = replace(PLAIN, at=1_000.0, mono=50.0, machine="m1")
    second = replace(PLAIN, at=1_007.0, mono=52.5, machine="m1")
    assert second.seconds_after(first) == 2.5
    assert replace(second, machine="m2").seconds_after(first) == 7.0


@pytest.mark.parametrize("sight", [None, SIGHT, replace(SIGHT, stall_limit_s=None)])
@pytest.mark.parametrize("cause", [None, CAUSE, Causality(BootId(7, 1), 3)])
def test_entry_is_the_same_as_plain_values(sight: Sight | None, cause: Causality | None) -> None:
    """Through JSON and back; what a later version adds is passed over."""
    entry = replace(PLAIN, sight=sight, cause=cause, took_s=1.5, is_alarm=True, number=9)
    data = json.loads(json.dumps(entry_to_json(entry)))
    assert entry_from_json({**data, "something new": 1}) == entry
    if cause is None:
        del data["cause"]  # As an older version has it.
        assert entry_from_json(data) == entry


def test_unwritten_entries_begin_with_the_next_of_the_same_instant() -> None:
    """What is older than the newest one of the file was dropped there."""
    now, old = replace(PLAIN, mono=9.0, new="now"), replace(PLAIN, mono=4.0, new="old")
    assert unwritten([PLAIN], [old, now]) == [now]
    assert unwritten([PLAIN], [old, replace(PLAIN, new="then")]) == [replace(PLAIN, new="then")]


def test_evidence_is_kept_in_milliseconds(path: str) -> None:
    """A link that is mute, one that was never heard, a standing, each rounded."""
    links = (
        LinkSight("net eth1", False, 1.23456, 10.0, True),
        LinkSight("dio /dev/x", True, None, 15.0),
    )
    sight = Sight(5.0, links, PeerStanding.LIVE, 0.98765, 2.5)
    write(path, replace(PLAIN, sight=sight))
    (found,) = read_entries(path)
    assert found.sight == replace(
        sight, links=(replace(links[0], silence_s=1.235), links[1]), late_s=0.988
    )


def test_entries_of_one_step_share_their_evidence(path: str) -> None:
    """Two of a step, one without, one of another step: two pieces of evidence are kept."""
    other = replace(SIGHT, at=6.0)
    write(path, *(replace(PLAIN, sight=each) for each in (SIGHT, SIGHT, None, other)), PLAIN)
    assert [entry.sight for entry in read_entries(path)] == [SIGHT, SIGHT, None, other, None]
    assert sql(path, "SELECT count(*) FROM sight") == [(2,)]


def test_texts_are_one_line_of_500_characters(path: str) -> None:
    """Each of the five."""
    long = "x" * 501
    write(path, replace(PLAIN, name=long, old=long, new=long, reason=long, rule=long))
    (found,) = read_entries(path)
    assert {found.name, found.old, found.new, found.reason, found.rule} == {"x" * 500}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_cause_of_the_first_and_of_the_last_entry_is_read(path: str, count: int) -> None:
    """However many are read."""
    entries = [replace(each, cause=CAUSE) for each in numbered(3)]
    write(path, *entries, PLAIN)
    found = read_entries(path, limit=count + 1)
    assert [entry.cause for entry in found] == [CAUSE] * count + [None]


# --- the file -------------------------------------------------------------------------------------


def test_first_daemon_makes_the_file(path: str) -> None:
    """With nothing in it, for root and its group whatever the umask is."""
    former = os.umask(0o777)
    try:
        file = HistoryFile(path, "m1")
    finally:
        os.umask(former)
    file.append([], 10)
    assert file.newest(10) == [] and file.is_in_place
    file.close()
    assert read_entries(path) == [] and read_oldest(path) is None
    assert os.stat(path).st_mode & 0o777 == 0o640
    assert sql(path, "PRAGMA user_version") == [(1,)]
    assert sql(path, "SELECT machine, pid FROM life") == [("m1", os.getpid())]


def test_file_is_written_through_whatever_it_was_before(
    path: str, connections: Connections
) -> None:
    """A file with a write-ahead log is one that sqlite can read: it has a rollback journal then."""
    write(path, PLAIN)
    sql(path, "PRAGMA journal_mode=WAL")
    connections.on_open = lambda connection: connection.execute("PRAGMA synchronous=OFF")
    file = HistoryFile(path, "m1")
    (connection,) = [each for each in connections.all[-2:] if each is not connections.all[-1]]
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    file.close()
    assert sql(path, "PRAGMA journal_mode") == [("delete",)]
    assert [entry.new for entry in read_entries(path)] == ["STARTED"]


def test_writer_waits_a_second_for_a_lock_and_a_reader_three(
    path: str, connections: Connections
) -> None:
    """And neither takes the path of the writer for a URI."""
    write(path, PLAIN)
    assert connections.asked == [(path, 1.0, False)]
    connections.asked.clear()
    replace_by_copy(path)
    assert connections.asked == [(path, 1.0, False), (f"{path}.copy", 1.0, False)]
    connections.asked.clear()
    read_entries(path)
    assert connections.asked == [(f"file:{path}?mode=rw", 3.0, True)]
    assert connections.open == 0, "each is closed after its use"


@pytest.mark.parametrize(
    "change",
    [
        "PRAGMA user_version = 2",
        "PRAGMA user_version = 0",
        "DROP TABLE life",
        "DROP TABLE sight",
        "DROP TABLE entry",
        "ALTER TABLE entry ADD COLUMN more TEXT",
        "ALTER TABLE sight RENAME COLUMN seen TO looked",
    ],
)
def test_file_of_another_shape_is_no_history(
    path: str, change: str, connections: Connections
) -> None:
    """Another version, another table, another column: nothing is written to it."""
    write(path, PLAIN)
    sql(path, change)
    before = Path(path).read_bytes()
    with pytest.raises(DamagedFile):
        HistoryFile(path, "m1")
    assert connections.open == 0 and Path(path).read_bytes() == before


def test_file_that_holds_nothing_but_a_version_is_no_history(path: str) -> None:
    """Nothing was ever written, but by another program."""
    sql(path, "PRAGMA user_version = 1")
    with pytest.raises(DamagedFile):
        HistoryFile(path, "m1")


def test_file_whose_index_is_wrong_is_no_history(path: str) -> None:
    """sqlite's own check finds it, and reports what it is."""
    write(path, *numbered(300, sight=SIGHT, cause=CAUSE, reason="x" * 400))
    (page,) = sql(path, "SELECT rootpage FROM sqlite_master WHERE name = 'entry'")[0]
    with open(path, "r+b") as file:
        file.seek((page - 1) * 4096 + 20)
        file.write(b"\xff" * 64)
    with pytest.raises((DamagedFile, sqlite3.DatabaseError)):
        HistoryFile(path, "m1")


def test_what_the_check_finds_is_the_reason(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it answers, but that all is in order."""
    write(path, PLAIN)

    class Checked(sqlite3.Connection):
        def execute(self, text: str, *others: Any) -> Any:
            if "quick_check" in text:
                text = "SELECT 'row 3 missing from index', 'ok'"
            return super().execute(text, *others)

    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    monkeypatch.setattr(
        sqlite3,
        "connect",
        lambda *args, **options: connect(*args, factory=Checked, **options),
    )
    with pytest.raises(DamagedFile, match="row 3 missing from index"):
        HistoryFile(path, "m1")


def test_file_is_no_longer_in_place_once_another_stands_there(path: str) -> None:
    """It was replaced, or removed."""
    file = HistoryFile(path, "m1")
    assert file.is_in_place
    os.rename(path, f"{path}.gone")
    assert not file.is_in_place
    Path(path).touch()
    assert not file.is_in_place
    file.close()


def test_entries_that_fail_leave_nothing_behind(path: str) -> None:
    """Those before them neither, nor their evidence; and the next ones are written."""
    bad = replace(PLAIN, new="bad", took_s=object())  # type: ignore[arg-type]
    file = HistoryFile(path, "m1")
    with pytest.raises(sqlite3.Error):
        file.append([replace(PLAIN, new="first", sight=SIGHT), bad], 10)
    assert read_entries(path) == []
    file.append([replace(PLAIN, new="second", sight=SIGHT)], 10)
    assert [(entry.new, entry.sight) for entry in read_entries(path)] == [("second", SIGHT)]
    file.close()


def test_oldest_go_once_a_tenth_more_than_the_limit_are_there(path: str) -> None:
    """All that belongs to them alone goes too: evidence, causes, lives."""
    write(path, replace(PLAIN, sight=SIGHT, cause=CAUSE), limit=10)
    file = HistoryFile(path, "m2")
    entries = [
        replace(each, sight=replace(SIGHT, at=float(number)), cause=CAUSE)
        for number, each in enumerate(numbered(11))
    ]
    file.append(entries[:10], 10)
    assert len(file.newest(50)) == 11
    file.append(entries[10:], 10)
    found = file.newest(50)
    assert [entry.new for entry in found] == [f"S{number}" for number in range(1, 11)]
    assert [entry.new for entry in file.newest(2)] == ["S9", "S10"]
    assert {entry.cause for entry in found} == {CAUSE}
    assert {entry.machine for entry in found} == {"m2"}
    file.close()
    counts = [
        sql(path, f"SELECT count(*) FROM {name}")[0][0] for name in ("cause", "sight", "life")
    ]
    assert counts == [10, 10, 1]


@pytest.mark.parametrize("umask", [0, 0o077])
def test_copy_takes_the_place_of_the_file(path: str, umask: int) -> None:
    """With all entries, for root and its group; one that was left half made is no obstacle."""
    write(path, PLAIN, replace(PLAIN, cause=CAUSE))
    Path(f"{path}.copy").write_text("half a copy")
    before = os.stat(path).st_ino
    former = os.umask(umask)
    try:
        replace_by_copy(path)
    finally:
        os.umask(former)
    assert os.stat(path).st_ino != before and os.listdir(os.path.dirname(path)) == ["h"]
    assert os.stat(path).st_mode & 0o777 == 0o640
    assert [entry.cause for entry in read_entries(path)] == [None, CAUSE]


# --- what is read ---------------------------------------------------------------------------------


def test_daemon_and_file_select_the_same_entries(path: str) -> None:
    """Of each kind, named after a service, after nothing, and after another one."""
    entries = [
        replace(PLAIN, at=at, kind=kind, name=name, number=0)
        for at in (0.5, 10.0, 10.5)
        for kind in EntryKind
        for name in ("web", "", "eth1")
    ]
    write(path, *entries)
    of_node = {"link", "peer", "node", "daemon"}
    for service, since, is_with_node in itertools.product(
        ("", "web", "mail"), (0.0, 10.0, 11.0), (False, True)
    ):
        found = read_entries(path, service, since, is_with_node=is_with_node)
        asked = [entry for entry in entries if is_of(entry, service, since, is_with_node)]
        assert [replace(entry, number=0, machine="") for entry in found] == asked
        kinds = {entry.kind.value for entry in asked}
        if since < 11.0:
            assert of_node <= kinds if is_with_node or not service else not of_node & kinds
            assert kinds - of_node == {"service", "script", "command", "monitor", "readiness"}


def test_all_entries_are_those_since_1970(path: str) -> None:
    """Where no instant is asked for, none is too early, and no links are shown with a service."""
    write(path, replace(PLAIN, at=0.5), replace(PLAIN, kind=EntryKind.LINK))
    assert len(read_entries(path)) == 2 and len(read_entries(path, "web")) == 1


def test_newest_after_a_number_are_read(path: str) -> None:
    """At most so many, oldest first; with a negative number the newest of all."""
    write(path, *numbered(5))
    assert [entry.new for entry in read_after(path, 3, 10)] == ["S3", "S4"]
    assert [entry.new for entry in read_after(path, -1, 2)] == ["S3", "S4"]
    oldest = read_oldest(path)
    assert oldest is not None and oldest.new == "S0"


def test_entries_are_found_by_their_words(path: str) -> None:
    """As old or new value, of the asked kinds only."""
    write(
        path,
        replace(PLAIN, new="FENCED"),
        replace(PLAIN, old="FENCED", new="x"),
        replace(PLAIN, new="LOST", kind=EntryKind.NODE),
        replace(PLAIN, new="LOST", kind=EntryKind.LINK),
        replace(PLAIN, new="FENCE"),
    )
    found = read_words(path, (EntryKind.SERVICE, EntryKind.NODE), ("FENCED", "LOST"))
    assert [entry.number for entry in found] == [1, 2, 3]


@pytest.mark.parametrize("name", ["a%25b", "a?mode=ro", "a#b"])
def test_file_with_any_name_is_read(path: str, name: str) -> None:
    """The characters of a URI mean nothing in it."""
    write(f"{path}{name}", PLAIN)
    assert len(read_entries(f"{path}{name}")) == 1


@pytest.mark.parametrize(
    ("forbidden", "mode"), [((), "rw"), (("h",), "ro"), (("dir",), "ro"), (("h", "dir"), "ro")]
)
def test_file_is_opened_for_writing_where_that_is_allowed(
    path: str,
    forbidden: tuple[str, ...],
    mode: str,
    connections: Connections,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that a transaction that a crash left is rolled back; nothing else is written."""
    write(path, PLAIN)
    places = {"h": path, "dir": os.path.dirname(path)}
    refused = [places[name] for name in forbidden]
    monkeypatch.setattr(
        os, "access", lambda place, wanted: wanted == os.R_OK or place not in refused
    )
    connections.asked.clear()
    connection = history_file._open_to_read(path)
    assert connections.asked == [(f"file:{path}?mode={mode}", 3.0, True)]
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM entry")
    connection.close()


def test_connection_that_cannot_be_used_is_closed(
    path: str, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the error is the reader's."""

    class Broken(sqlite3.Connection):
        def execute(self, text: str, *others: Any) -> Any:
            if "query_only" in text:
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(text, *others)

    write(path, PLAIN)
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    monkeypatch.setattr(
        sqlite3,
        "connect",
        lambda *args, **options: connect(*args, factory=Broken, **options),
    )
    with pytest.raises(SystemFault, match="cannot read the history .*: disk I/O error"):
        read_entries(path)
    assert connections.open == 0


def test_reader_without_permission_is_told_who_has_it(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no file there is nothing to be permitted."""
    monkeypatch.setattr(os, "access", lambda place, wanted: False)
    with pytest.raises(SystemFault, match="there is no history yet"):
        read_entries(path)
    write(path, PLAIN)
    with pytest.raises(SystemFault, match="only root may read the history"):
        read_entries(path)


def test_bytes_that_are_no_text_are_shown_as_such(path: str) -> None:
    """One damaged byte hides no entry."""
    write(path, PLAIN)
    sql(path, "UPDATE entry SET reason = CAST(x'61ff62' AS TEXT)")
    assert [entry.reason for entry in read_entries(path)] == ["a�b"]


def test_entry_of_a_life_that_is_not_known_has_no_machine(path: str) -> None:
    """On which boot it was is not known."""
    write(path, PLAIN)
    sql(path, "DELETE FROM life")
    assert [entry.machine for entry in read_entries(path)] == [""]


DAMAGED_ROWS = [
    "UPDATE entry SET at = 'noon'",
    "UPDATE entry SET mono = 9e999",
    "UPDATE entry SET took_s = 'long'",
    "UPDATE entry SET kind = 'feast'",
    "UPDATE cause SET sent = 'many'",
    "UPDATE cause SET heard = 'many'",
    "UPDATE cause SET own = 'me'",
    "UPDATE cause SET own = '7.xyz'",
    "UPDATE cause SET heard_of = 'you'",
    *(
        f"UPDATE sight SET seen = '{text}'"
        for text in (
            "no json",
            "[]",
            '{"at": 1, "standing": "live", "late_s": 0}',
            '{"at": 1, "standing": "live", "late_s": 0, "links": {}}',
            '{"at": true, "standing": "live", "late_s": 0, "links": []}',
            '{"at": 1, "standing": "asleep", "late_s": 0, "links": []}',
            '{"at": 1, "standing": "live", "late_s": "x", "links": []}',
            '{"at": 1, "standing": "live", "late_s": 0, "stall_limit_s": "x", "links": []}',
            '{"at": 1, "standing": "live", "late_s": 0, "links": ["net1"]}',
            '{"at": 1, "standing": "live", "late_s": 0, "links": [["n", true, null]]}',
            '{"at": 1, "standing": "live", "late_s": 0, "links": [["n", true, null, 1, 1, 1]]}',
            '{"at": 1, "standing": "live", "late_s": 0, "links": [[7, true, null, 1]]}',
            '{"at": 1, "standing": "live", "late_s": 0, "links": [["n", true, "x", 1]]}',
            '{"at": 1, "standing": "live", "late_s": 0, "links": [["n", true, null, "x"]]}',
        )
    ),
]


def test_row_that_no_version_wrote_is_an_error(path: str) -> None:
    """Reported with the file, not shown as something else."""
    write(path, replace(PLAIN, sight=SIGHT, cause=CAUSE, took_s=1.0))
    whole = Path(path).read_bytes()
    for damage in DAMAGED_ROWS:
        Path(path).write_bytes(whole)
        sql(path, damage)
        with pytest.raises(SystemFault, match="cannot read the history"):
            read_entries(path)


def test_link_of_a_list_that_is_none_is_an_error() -> None:
    """A text of four characters has a first character, too."""
    values: list[object] = ["net1", {"0": 1, "1": 2, "2": 3, "3": 4}, 7, []]
    for value in values:
        with pytest.raises(ValueError, match="no list of its values"):
            history_file._load_link(value)


def test_row_without_a_number_is_an_error(path: str) -> None:
    """It could not be distinguished from another."""
    row = (10.0, 5.0, "service", "web", "", "x", "why", "", 1, None, None, "m1", "9")
    with pytest.raises(ValueError, match="has the number '9'"):
        history_file._entry(row)
    entry = history_file._entry((*row[:-1], 9))
    assert entry.number == 9 and entry.is_alarm is True and entry.took_s is None


@pytest.mark.parametrize("value", [True, "1", None, float("inf"), float("nan")])
def test_value_that_is_no_number_is_an_error(value: object) -> None:
    """It would be shown as one otherwise."""
    with pytest.raises(ValueError, match="expected a number"):
        history_file._number(value)


def test_whole_number_is_one() -> None:
    """sqlite gives it for what was written as 1.0."""
    found = history_file._number(3)
    assert found == 3.0 and isinstance(found, float)
