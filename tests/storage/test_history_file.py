"""The history's files and their writer: bounded, read by anybody, and never in the way, whatever
becomes of the disk.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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
from opensvc_openha.storage.history_entry import Entry, EntryKind, unwritten
from opensvc_openha.storage.history_file import HistoryFile, read_after, read_entries
from opensvc_openha.storage.history_writer import History
from tests.full_disk import FullDisk
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
    file.close()
    written = read_entries(str(tmp_path / "history"))
    assert unwritten(written, [long, entry(2)]) == [entry(2)]


class Kept:
    """A history in a directory of its own, and what it reported."""

    def __init__(self, root: Path) -> None:
        self.layout = tree_layout(str(root))
        self.path = Path(self.layout.history_dir)
        self.path.parent.mkdir(parents=True)
        self.reports: list[tuple[bool, str]] = []
        self.history = History(
            self.layout, 2, lambda is_fault, text: self.reports.append((is_fault, text))
        )
        self.history.open()

    def begin_again(self) -> History:
        """Return what the next daemon writes with."""
        again = History(
            self.layout, 2, lambda is_fault, text: self.reports.append((is_fault, text))
        )
        again.open()
        return again

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
    """6,000 entries with long texts into a history of 1,000: the newest stay, it stops growing."""
    path = tmp_path / "h"
    file = HistoryFile(str(path), "m")
    sizes = []
    for begin in range(0, 6_000, 50):
        file.append(
            [
                Entry(1.0, 1.0, EntryKind.LINK, "x", "", f"S{number}", "y" * 5_000, sight=SIGHT)
                for number in range(begin, begin + 50)
            ],
            1_000,
        )
        sizes.append(sum(each.stat().st_size for each in path.iterdir()))
    file.close()
    found = read_entries(str(path))
    assert 1_000 <= len(found) <= 1_150 and found[-1].new == "S5999"
    assert all(item.sight is not None and len(item.reason) <= 500 for item in found)
    assert sizes[-1] <= max(sizes[:60]) < 1_000_000


CONTENTS = {
    "no history": b"what is this\n" * 500,
    "no line": b"what is this",
    "newer version": b'{"history":2,"machine":"m"}\n{"id":1}\n',
    "zeros": bytes(5_000),
    "no object": b"[]\n",
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_file_that_cannot_be_continued_is_set_aside_with_a_message(
    kept: Kept, content: bytes
) -> None:
    """Whatever stands there: a new file is begun, the old one is kept beside it, and it is reported
    once. Numbers that it may hold are given to no other entry.
    """
    kept.writes("before")
    kept.history.close()
    (path,) = kept.path.iterdir()
    path.write_bytes(content)
    again = kept.begin_again()
    again.record(EntryKind.NODE, "deb1", "NOTED", "after")
    again.record(EntryKind.NODE, "deb1", "NOTED", "after that")
    again.close()
    found = read_entries(str(kept.path))
    assert [item.reason for item in found] == ["after", "after that"]
    assert found[0].number > content.count(b"\n")
    assert [is_fault for is_fault, _ in kept.reports] == [True] and "damaged" in kept.reports[0][1]
    assert (kept.path / "damaged.jsonl").read_bytes() == content


@pytest.mark.parametrize("left", range(1, 12))
def test_line_that_a_crash_left_unfinished_costs_itself_alone(kept: Kept, left: int) -> None:
    """However much of it was written: what is before it stays, and what follows is a line."""
    kept.writes("before")
    kept.writes("torn")
    kept.history.close()
    (path,) = kept.path.iterdir()
    data = path.read_bytes()
    begin = data.rindex(b'{"id":2,')
    path.write_bytes(data[: begin + (len(data) - 1 - begin) * left // 12])
    assert kept.reasons() == ["before"]
    again = kept.begin_again()
    again.record(EntryKind.NODE, "deb1", "NOTED", "after")
    again.close()
    found = read_entries(str(kept.path))
    assert [(item.reason, item.number) for item in found] == [("before", 1), ("after", 3)]
    assert kept.reports == []


def test_line_without_its_end_is_whole_once_that_is_written(kept: Kept) -> None:
    """Only the line break was missing: it is read again, and its number is its own."""
    kept.writes("before")
    kept.history.close()
    (path,) = kept.path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert kept.reasons() == []
    again = kept.begin_again()
    again.record(EntryKind.NODE, "deb1", "NOTED", "after")
    again.close()
    found = read_entries(str(kept.path))
    assert [item.reason for item in found] == ["before", "after"]
    assert found[0].number < found[1].number


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


@pytest.mark.parametrize("what", ["file", "folder"])
def test_removed_file_is_begun_again(kept: Kept, what: str) -> None:
    """Somebody deletes the file of a running daemon: the next entry is in a new one, and numbers
    that were given are not given again while the folder is there.
    """
    kept.writes("before")
    if what == "file":
        (path,) = kept.path.iterdir()
        path.unlink()
    else:
        shutil.rmtree(kept.path)
    kept.writes("after")
    assert kept.reasons() == ["after"] and kept.reports == []


def test_reader_that_keeps_the_files_open_delays_nothing(kept: Kept) -> None:
    """One that was stopped: all entries are written meanwhile, and it reads on where it was."""
    kept.writes("before")
    (path,) = kept.path.iterdir()
    with path.open("rb") as reader:
        assert len(reader.readlines()) == 2
        for number in range(500):
            kept.note(f"number {number}")
        kept.wait(lambda: kept.reasons()[-1] == "number 499")
        assert len(kept.reasons()) == 501 and not kept.history.problem and not kept.reports
        assert len(reader.readlines()) == 500


def test_text_that_cannot_be_stored_loses_no_entry(kept: Kept) -> None:
    """A lone surrogate, as file names that are no UTF-8 bring, line breaks and control characters:
    escaped.
    """
    kept.note("bad \udcff name\nand \x1b[2J")
    kept.writes("after")
    assert kept.reasons() == ["bad \\udcff name\\nand \\e[2J", "after"] and kept.reports == []


@pytest.mark.parametrize("umask", [0, 0o077])
def test_history_is_for_root_and_its_group(kept: Kept, umask: int) -> None:
    """Under any umask, and where somebody opened it to all: mode 0640, also of the one set aside.
    A group that the folder was given has the new files, too.
    """
    kept.writes("before")
    kept.history.close()
    (path,) = kept.path.iterdir()
    path.chmod(0o644)
    path.write_bytes(b"what is this\n" * 500)
    kept.path.chmod(0o755)
    if os.getuid() == 0:
        os.chown(kept.path, -1, 4)
    former = os.umask(umask)
    try:
        again = kept.begin_again()
        again.record(EntryKind.NODE, "deb1", "NOTED", "after")
        again.close()
    finally:
        os.umask(former)
    modes = {each.name: each.stat().st_mode & 0o777 for each in kept.path.iterdir()}
    assert modes == {"000000000501.jsonl": 0o640, "damaged.jsonl": 0o640}
    assert kept.path.stat().st_mode & 0o7777 == 0o2750
    new = kept.path / "000000000501.jsonl"
    assert new.stat().st_gid == kept.path.stat().st_gid


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
    made.path = Path(made.layout.history_dir)
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


WRITES = """
import sys
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage import history_writer
from opensvc_openha.storage.history_entry import EntryKind
history_writer._GATHER_S = 0.001
history_writer.HISTORY_ENTRIES = 2_000
history = history_writer.History(tree_layout(sys.argv[1]), 1, print)
history.open()
number = 0
for turn in sys.stdin:
    for number in range(number, number + 50):
        text = f"{sys.argv[2]}-{number} " + "x" * (number % 400)
        history.record(EntryKind.NODE, "deb1", "NOTED", text)
    number += 1
"""


def test_daemon_that_is_killed_again_and_again_loses_nothing_that_was_read(kept: Kept) -> None:
    """While files are begun and dropped: a reader that follows has each entry once, in order, and
    what it has read is there afterwards. The writer is ahead by less than what is kept.
    """
    kept.history.close()
    got: list[Entry] = []
    for life in range(4):
        words = [sys.executable, "-P", "-c", WRITES, str(kept.layout.ez), str(life)]
        begun = len(got)
        turns = 0
        with subprocess.Popen(words, stdin=subprocess.PIPE, bufsize=0) as daemon:
            assert daemon.stdin is not None
            while len(got) < begun + 1_500:
                due = (len(got) - begun + 800) // 50 - turns
                daemon.stdin.write(b"\n" * due)
                turns += due
                if kept.path.exists():
                    got += read_after(str(kept.path), got[-1].number if got else 0, 400)
            daemon.kill()
    numbers = [each.number for each in got]
    assert numbers == sorted(set(numbers))
    for life in range(4):
        own = [each.reason.partition(" ")[0] for each in got if each.reason[0] == str(life)]
        assert own == [f"{life}-{number}" for number in range(len(own))]
    damaged = list[int]()
    left = read_entries(str(kept.path), on_damage=damaged.append)
    assert sum(damaged) <= 4
    oldest = left[0].number
    there = {each.number for each in left}
    assert all(each.number in there for each in got if each.number >= oldest)
    assert len(left) >= 2_000


@pytest.mark.root
def test_full_disk_costs_what_it_does_not_take(tmp_path: Path) -> None:
    """A real one, which is full within a batch: what is whole is read, how many are not is reported
    once there is room, and nothing has the number of another.
    """
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("mounting needs root")
    disk = FullDisk(tmp_path / "ez")
    try:
        full = Kept(disk.folder)
        full.writes("before")
        disk.fill()
        for number in range(40):
            full.note(f"{number} " + "y" * 400)
        full.wait(lambda: bool(full.history.problem))
        assert "No space left on device" in full.history.problem
        taken = len(full.reasons()) - 1
        assert taken < 40
        disk.free()
        full.writes("after")
        full.wait(lambda: any("entries were lost" in text for text in full.reasons()))
        full.history.close()
        text = f"the history is written again; {40 - taken} entries were lost"
        assert full.reports[-1] == (False, text) and text in full.reasons()
        numbers = [each.number for each in read_entries(str(full.path))]
        assert numbers == sorted(set(numbers)) and len(numbers) == taken + 3
    finally:
        disk.close()
