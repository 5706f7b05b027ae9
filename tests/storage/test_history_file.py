"""The history's file and its writer: bounded, read by anybody, and never in the way, whatever
becomes of the disk.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.core.actions import Record, RecordKind
from opensvc_openha.core.beat import BootId, Causality
from opensvc_openha.core.status import LinkSight, PeerStanding, Sight
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage import history_writer as history_module
from opensvc_openha.storage.history_file import (
    Entry,
    EntryKind,
    HistoryFile,
    read_entries,
    unwritten,
)
from opensvc_openha.storage.history_writer import History
from tests.waiting import until

SIGHT = Sight(
    5.0,
    (
        LinkSight("net eth1:239.131.50.10", False, 10.25, 10.0),
        LinkSight("dio /dev/x:0", True, None, 10.0),
    ),
    PeerStanding.SILENT,
    0.125,
    2.5,
)


def entry(number: int, name: str = "registry", kind: EntryKind = EntryKind.SERVICE) -> Entry:
    """One entry among many."""
    return Entry(
        1_400_000_000.0 + number,
        100.0 + number,
        kind,
        name,
        "STOPPED",
        f"S{number}",
        f"reason {number}",
        "a rule",
    )


def test_unwritten_entries_are_those_behind_the_newest_one_of_the_file() -> None:
    """Also for a part of the file, for one that was read later than the daemon was asked, and for
    the daemon's entries without the output of scripts.
    """
    entries = [entry(number) for number in range(6)]
    shown = [replace(one, reason="what it printed is for root") for one in entries]
    assert unwritten(entries[:4], shown) == shown[4:]
    assert unwritten(entries[3:4], shown) == shown[4:], "only the newest of the file was asked for"
    assert unwritten(entries[:2], shown[3:]) == shown[3:], "the daemon keeps a limited number"
    assert unwritten(entries, shown[:3]) == unwritten(entries[5:], shown[:3]) == []
    assert unwritten([], shown) == shown and unwritten(entries, []) == []


def test_unwritten_entries_of_one_step_are_distinguished() -> None:
    """The entries of a step have one time; the file may have the first of them only."""
    step = [replace(entry(1), new=new, name=name) for new in ("A", "B") for name in ("x", "y")]
    for count in range(len(step)):
        assert unwritten(step[:count], step) == step[count:]


def test_unwritten_entries_are_found_by_the_texts_that_the_file_keeps(tmp_path: Path) -> None:
    """Texts are cut, and are one line, in the file."""
    long = replace(entry(1), new=("x\n" * 600), name="a\nb")
    file = HistoryFile(str(tmp_path / "history"), "m")
    file.append([long], 10)
    written = file.newest(10)
    file.close()
    assert unwritten(written, [long, entry(2)]) == [entry(2)]


class Kept:
    """A history in a directory of its own, and what it reported."""

    def __init__(self, root: Path) -> None:
        self.layout = tree_layout(str(root))
        self.path = Path(self.layout.history_file)
        self.path.parent.mkdir(parents=True)
        self.reports: list[tuple[bool, str]] = []
        self.history = History(
            self.layout, 2, lambda is_fault, text: self.reports.append((is_fault, text))
        )
        self.history.open()

    def note(self, text: str) -> None:
        """One entry."""
        self.history.record(EntryKind.NODE, "deb1", "NOTED", text)

    def reasons(self) -> list[str]:
        """What can be read of it."""
        try:
            return [item.reason for item in read_entries(str(self.path))]
        except SystemFault:
            return []

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until something is so."""
        until(condition, story=lambda: f"{self.reports} {self.reasons()}")

    def writes(self, text: str) -> None:
        """Notes something, and waits until it can be read."""
        self.note(text)
        self.wait(lambda: text in self.reasons())


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """A history that is written."""
    made = Kept(tmp_path / "ez")
    yield made
    made.history.close()


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Every field, with what was seen on each link.

    And a second writer continues in the same file.
    """
    path = str(tmp_path / "h")
    full = Entry(
        1.5,
        2.5,
        EntryKind.SERVICE,
        "web",
        "STOPPED",
        "START_READY",
        "silent",
        "a rule",
        True,
        1.25,
        SIGHT,
        "m1",
        cause=Causality(BootId(1_700_000_000, 2**64 - 1), 12, BootId(3, 0), 2**40),
    )
    for machine in ("m1", "m2"):
        file = HistoryFile(path, machine)
        file.append([full], 100)
        file.close()
    first, second = read_entries(path)
    assert (first.machine, second.machine) == ("m1", "m2") and first.number < second.number
    assert {**vars(first), "number": 0} == vars(full)


def test_causes_are_added_to_the_file_of_a_version_without_them(tmp_path: Path) -> None:
    """What it has wins nothing, and loses nothing; causes of dropped entries are dropped."""
    path = str(tmp_path / "h")
    file = HistoryFile(path, "m")
    file.append([entry(1)], 100)
    file.close()
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE cause")
    connection.close()
    assert [item.cause for item in read_entries(path)] == [None]

    cause = Causality(BootId(1, 2), 3)
    file = HistoryFile(path, "m")
    file.append([replace(entry(number), cause=cause) for number in range(2, 30)], 10)
    file.append([entry(30)], 10)
    file.close()
    found = [(item.new, item.cause) for item in read_entries(path)]
    assert found[-2:] == [("S29", cause), ("S30", None)]
    connection = sqlite3.connect(path)
    (left,) = connection.execute("SELECT count(*) FROM cause").fetchone()
    connection.close()
    assert left == len(found) - 1


def test_reading_selects_service_time_and_number(tmp_path: Path) -> None:
    """Of one service with commands for all, since an instant, the newest of them.

    On request with links, peer and node.
    """
    path = str(tmp_path / "h")
    file = HistoryFile(path, "m")
    file.append(
        [
            entry(1),
            entry(2, "web"),
            entry(3, "", EntryKind.COMMAND),
            entry(4, "eth1", EntryKind.LINK),
            entry(5),
        ],
        100,
    )
    file.close()

    def numbers(*args: object, **options: object) -> list[str]:
        return [item.new for item in read_entries(path, *args, **options)]  # type: ignore[arg-type]

    assert numbers() == ["S1", "S2", "S3", "S4", "S5"]
    assert numbers("registry") == ["S1", "S3", "S5"]
    assert numbers("registry", is_with_node=True) == ["S1", "S3", "S4", "S5"]
    assert numbers("registry", limit=2) == ["S3", "S5"]
    assert numbers(since=1_400_000_003.5) == ["S4", "S5"]


def test_oldest_entries_go_when_there_are_too_many(tmp_path: Path) -> None:
    """3,000 entries with long texts into a history of 1,000: the newest stay, the file stops
    growing.
    """
    path = tmp_path / "h"
    file = HistoryFile(str(path), "m")
    sizes = []
    for begin in range(0, 6_000, 200):
        file.append(
            [
                Entry(1.0, 1.0, EntryKind.LINK, "x", "", f"S{number}", "y" * 5_000, sight=SIGHT)
                for number in range(begin, begin + 200)
            ],
            1_000,
        )
        sizes.append(path.stat().st_size)
    file.close()
    found = read_entries(str(path))
    assert 1_000 <= len(found) <= 1_100 and found[-1].new == "S5999"
    assert all(item.sight is not None and len(item.reason) <= 500 for item in found)
    assert sizes[-1] <= max(sizes[:10]) < 2_000_000


@pytest.mark.parametrize(
    "content", ["no database", "cut off", "another database", "newer version", "holes"]
)
def test_damaged_file_is_set_aside_with_a_message(kept: Kept, content: str) -> None:
    """Whatever stands there: a new history is begun, the old file is kept beside it, and it is
    reported once.
    """
    kept.writes("before")
    kept.history.close()
    data = kept.path.read_bytes()
    if content == "no database":
        kept.path.write_bytes(b"what is this\n" * 500)
    elif content == "cut off":
        kept.path.write_bytes(data[: len(data) // 2])
    elif content == "holes":
        kept.path.write_bytes(data[:4096] + os.urandom(len(data) - 4096))
    else:
        kept.path.unlink()
        with sqlite3.connect(str(kept.path)) as other:
            other.execute(
                "CREATE TABLE users(name TEXT)"
                if content == "another database"
                else "PRAGMA user_version = 77"
            )
            other.execute("CREATE TABLE entry(id INTEGER PRIMARY KEY)")
        other.close()
    damaged = kept.path.read_bytes()
    again = History(kept.layout, 2, lambda is_fault, text: kept.reports.append((is_fault, text)))
    again.open()
    again.record(EntryKind.NODE, "deb1", "NOTED", "after")
    again.record(EntryKind.NODE, "deb1", "NOTED", "after that")
    again.close()
    assert kept.reasons() == ["after", "after that"]
    assert [is_fault for is_fault, _ in kept.reports] == [True] and "damaged" in kept.reports[0][1]
    assert Path(f"{kept.path}.damaged").read_bytes() == damaged


def test_unwritable_place_loses_history_only_and_reports_it_once(kept: Kept) -> None:
    """The directory vanishes under it, later it is back: one message each way, and how many entries
    were lost.
    """
    kept.writes("before")
    gone = kept.path.parent.rename(kept.path.parent.with_name("gone"))
    for number in range(3):
        kept.note(f"lost {number}")
        time.sleep(0.1)
    kept.wait(lambda: bool(kept.reports))
    assert "not written" in kept.history.problem
    gone.rename(kept.path.parent)
    kept.writes("after")
    kept.wait(lambda: any("3 entries were lost" in text for text in kept.reasons()))
    assert [is_fault for is_fault, _ in kept.reports] == [True, False] and not kept.history.problem


def test_removed_file_is_begun_again(kept: Kept) -> None:
    """Somebody deletes the file of a running daemon: the next entry is in a new one."""
    kept.writes("before")
    kept.path.unlink()
    kept.writes("after")
    assert kept.reasons() == ["after"] and kept.reports == []


def _hold(path: Path) -> sqlite3.Connection:
    """A reader in the middle of a transaction, as one is that was stopped."""
    reader = sqlite3.connect(str(path), isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM entry").fetchone()
    return reader


def test_reader_that_holds_the_file_delays_nothing_and_loses_nothing(kept: Kept) -> None:
    """A stopped reader keeps its lock for ever: all entries are written meanwhile, it keeps what it
    had, and it is reported.
    """
    kept.writes("before")
    reader = _hold(kept.path)
    for number in range(500):
        kept.note(f"number {number}")
    kept.wait(lambda: kept.reasons()[-1] == "number 499")
    assert len(kept.reasons()) == 501 and not kept.history.problem
    assert [is_fault for is_fault, _ in kept.reports] == [
        False
    ] and "locked by a reader" in kept.reports[0][1]
    assert len(reader.execute("SELECT reason FROM entry").fetchall()) == 1
    reader.close()
    assert [path.name for path in kept.path.parent.iterdir()] == ["history.sqlite"]


def test_last_entries_before_the_end_are_written_beside_a_reader(kept: Kept) -> None:
    """The daemon ends while a reader holds the file: what was noted a moment before is there at the
    next start.
    """
    kept.writes("before")
    reader = _hold(kept.path)
    kept.note("the last")
    kept.history.close()
    assert kept.reasons() == ["before", "the last"]
    reader.close()


def test_entries_that_cannot_be_written_before_the_end_are_reported(kept: Kept) -> None:
    """Somebody who writes keeps the file locked until the daemon ends: how many entries are lost is
    reported.
    """
    kept.writes("before")
    writer = sqlite3.connect(str(kept.path), isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    for number in range(3):
        kept.note(f"lost {number}")
    kept.history.close()
    assert (
        kept.reports
        and kept.reports[-1][0]
        and "the last 3 entries of the history are lost" in kept.reports[-1][1]
    )
    writer.close()


def test_entries_that_wait_for_a_writer_are_written_late_and_reported(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who writes keeps the file locked for a while: more than a batch waits, all are
    written, and it is reported.
    """
    monkeypatch.setattr(history_module, "_LATE_S", 0.5)
    monkeypatch.setattr(history_module, "_BATCH", 20)
    kept.writes("before")
    writer = sqlite3.connect(str(kept.path), isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    for number in range(100):
        kept.note(f"number {number}")
    time.sleep(2.5)  # Longer than the history waits for the lock.
    writer.close()
    kept.wait(lambda: kept.reasons()[-1:] == ["number 99"])
    assert kept.reasons() == ["before", *(f"number {number}" for number in range(100))]
    assert any("late" in text for _, text in kept.reports)


def test_file_whose_damage_is_no_text_is_set_aside(kept: Kept) -> None:
    """The names in the schema are bytes that are no UTF-8, so that what sqlite reports of it is
    none: set aside all the same.
    """
    kept.writes("before")
    kept.history.close()
    data = kept.path.read_bytes()
    damaged = data.replace(b"tableentryentry", b"table\xff\xfe\xfd\xfc\xfbentry").replace(
        b"TABLE entry(", b"TABLE entry)"
    )
    assert damaged != data
    kept.path.write_bytes(damaged)
    with pytest.raises(SystemFault):
        read_entries(str(kept.path))
    again = History(kept.layout, 2, lambda is_fault, text: kept.reports.append((is_fault, text)))
    again.open()
    again.record(EntryKind.NODE, "deb1", "NOTED", "after")
    again.close()
    assert kept.reasons() == ["after"] and [is_fault for is_fault, _ in kept.reports] == [True]
    assert Path(f"{kept.path}.damaged").exists()


@pytest.mark.parametrize("place", [18, 19], ids=["write", "read"])
def test_file_of_a_format_that_is_not_known_is_set_aside(kept: Kept, place: int) -> None:
    """One byte of the header is another, so that sqlite takes the file for one that may only be
    read, as without the permission: damaged all the same.
    """
    kept.writes("before")
    kept.history.close()
    damaged = bytearray(kept.path.read_bytes())
    damaged[place] = 3
    kept.path.write_bytes(damaged)
    again = History(kept.layout, 2, lambda is_fault, text: kept.reports.append((is_fault, text)))
    again.open()
    again.record(EntryKind.NODE, "deb1", "NOTED", "after")
    again.close()
    assert not again.problem and kept.reasons() == ["after"]
    assert [is_fault for is_fault, _ in kept.reports] == [True]
    assert Path(f"{kept.path}.damaged").read_bytes() == damaged


def test_file_whose_entries_would_have_no_number_is_set_aside(kept: Kept) -> None:
    """One byte of the definition is another, so that what is written cannot be read: not gone on
    with (found by the fuzzer).
    """
    kept.writes("before")
    kept.history.close()
    data = kept.path.read_bytes()
    begin = data.index(b"TABLE entry(")
    kept.path.write_bytes(data[:begin] + data[begin:].replace(b"PRIMARY KEY", b"PRI.ARY KEY", 1))
    again = History(kept.layout, 2, lambda is_fault, text: kept.reports.append((is_fault, text)))
    again.open()
    again.record(EntryKind.NODE, "deb1", "NOTED", "after")
    again.close()
    assert kept.reasons() == ["after"] and [is_fault for is_fault, _ in kept.reports] == [True]


def test_text_that_cannot_be_stored_loses_no_entry(kept: Kept) -> None:
    """A lone surrogate, as file names that are no UTF-8 bring, line breaks and control characters:
    escaped.
    """
    kept.note("bad \udcff name\nand \x1b[2J")
    kept.writes("after")
    assert kept.reasons() == ["bad \\udcff name\\nand \\e[2J", "after"] and kept.reports == []


@pytest.mark.parametrize("umask", [0, 0o077])
def test_history_is_for_root_and_its_group(kept: Kept, umask: int) -> None:
    """Under any umask, and where an older version left it open to all: mode 0640, also of the one
    set aside.
    """
    kept.writes("before")
    kept.history.close()
    kept.path.chmod(0o644)
    kept.path.write_bytes(b"what is this\n" * 500)
    former = os.umask(umask)
    try:
        again = History(
            kept.layout, 2, lambda is_fault, text: kept.reports.append((is_fault, text))
        )
        again.open()
        again.record(EntryKind.NODE, "deb1", "NOTED", "after")
        again.close()
    finally:
        os.umask(former)
    modes = {path.name: path.stat().st_mode & 0o777 for path in kept.path.parent.iterdir()}
    assert modes == {"history.sqlite": 0o640, "history.sqlite.damaged": 0o640}


def test_newest_entries_are_known_without_the_file(kept: Kept) -> None:
    """Those of the daemon before, then those of this one, though the file is locked: what users who
    may not read it are shown.
    """
    for number in range(400):
        kept.note(f"number {number}")
    kept.wait(lambda: kept.reasons()[-1:] == ["number 399"])
    kept.history.close()
    again = History(kept.layout, 2, lambda is_fault, text: kept.reports.append((is_fault, text)))
    again.record(EntryKind.NODE, "deb1", "NOTED", "after")
    again.open()
    kept.wait(lambda: len(again.recent) == 300)
    again.close()
    assert [item.reason for item in again.recent] == [
        *(f"number {number}" for number in range(101, 400)),
        "after",
    ]


def test_inbox_is_bounded_and_what_does_not_fit_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than fit before the writer comes to it: the rest is lost, and the history reports how
    many.
    """
    monkeypatch.setattr(history_module, "HISTORY_INBOX_LIMIT", 10)
    made = Kept.__new__(Kept)
    made.layout = tree_layout(str(tmp_path))
    made.path = Path(made.layout.history_file)
    made.path.parent.mkdir(parents=True)
    made.reports = []
    made.history = History(
        made.layout, 1, lambda is_fault, text: made.reports.append((is_fault, text))
    )
    for number in range(25):
        made.note(f"number {number}")
    made.history.open()
    made.wait(lambda: any("15 entries were lost" in text for text in made.reasons()))
    made.history.close()
    assert made.reasons()[:10] == [f"number {number}" for number in range(10)]


def test_noting_from_many_threads_keeps_every_entry(kept: Kept) -> None:
    """Eight threads, 200 entries each, with the sight of their step: all are written, in each
    thread's order.
    """

    def work(name: str) -> None:
        for number in range(200):
            kept.history.record_change(
                Record(RecordKind.SERVICE, name, "A", "B", str(number), False, "rule"), SIGHT
            )

    threads = [threading.Thread(target=work, args=(f"svc{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept.wait(lambda: len(kept.reasons()) == 1600)
    for number in range(8):
        assert [item.reason for item in read_entries(str(kept.path), f"svc{number}")] == [
            str(each) for each in range(200)
        ]


def test_no_history_yet_is_reported_with_its_place(tmp_path: Path) -> None:
    """There is no file: an error that names it."""
    with pytest.raises(SystemFault, match="there is no history yet: .*nothing"):
        read_entries(str(tmp_path / "nothing"))
