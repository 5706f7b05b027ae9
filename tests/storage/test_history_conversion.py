"""The history of an older version becomes one of this version: once, whole, with its numbers."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.core.beat import BootId, Causality
from opensvc_openha.core.status import LinkSight, PeerStanding, Sight
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage import history_conversion as module
from opensvc_openha.storage.history_conversion import EXIT_DAMAGED, EXIT_FAILED, convert, main
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.history_file import HistoryFile, read_entries
from opensvc_openha.storage.history_segments import DamagedFile, PartlyWritten
from opensvc_openha.storage.history_writer import History
from tests.waiting import until

(WHEEL,) = (Path(__file__).parents[1] / "releases").glob("*.whl")
SIGHT = Sight(5.0, (LinkSight("net eth1", False, 10.25, 10.0),), PeerStanding.SILENT, 0.125, 2.5)
RELEASE = """
import sys
from opensvc_openha.core.status import LinkSight, PeerStanding, Sight
from opensvc_openha.runtime.history_file import Entry, EntryKind, HistoryFile
links = (LinkSight("net eth1", False, 10.25, 10.0),)
sight = Sight(5.0, links, PeerStanding.SILENT, 0.125, 2.5)
number = int(sys.argv[4])
for machine in "m1", "m2":
    file = HistoryFile(sys.argv[1], machine)
    for _ in range(int(sys.argv[2])):
        number += 1
        entry = Entry(1.4e9 + number, 5.0 + number, EntryKind.SERVICE, "web", "STOPPED", "STARTED",
                      f"reason {number} \\u00e9", "a rule", number % 2 == 0, 1.5,
                      sight if number % 3 else None)
        file.append([entry], int(sys.argv[3]))
    file.close()
"""
"""Writes with the code of the last release."""


class Old:
    """The file of the last release, in a directory of a cluster."""

    def __init__(self, root: Path) -> None:
        self.layout = tree_layout(str(root))
        self.path = Path(self.layout.former_history_file)
        self.folder = self.layout.history_dir
        self.path.parent.mkdir(parents=True)

    def write(self, each: int = 15, limit: int = 1_000, behind: int = 0) -> None:
        """So many entries in each of two boots, with the code of the last release."""
        values = map(str, (self.path, each, limit, behind))
        words = [sys.executable, "-c", RELEASE, *values]
        environment = {**os.environ, "PYTHONPATH": str(WHEEL), "PYTHONSAFEPATH": "1"}
        subprocess.run(words, check=True, env=environment)

    def sql(self, *texts: str) -> None:
        """Something done to the file by other means."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        for text in texts:
            connection.execute(text)
        connection.close()

    def convert(self) -> str:
        """In this process."""
        return convert(str(self.path), self.folder)

    def entries(self) -> list[Entry]:
        """What is in the history."""
        return read_entries(self.folder)

    def names(self) -> list[str]:
        """All files and folders beside."""
        return sorted(os.listdir(self.path.parent))


@pytest.fixture
def old(memory_dir: str) -> Old:
    """Nothing was written yet."""
    return Old(Path(memory_dir) / "ez")


def expected(number: int, machine: str) -> Entry:
    """What the last release has written."""
    return Entry(
        1.4e9 + number,
        5.0 + number,
        EntryKind.SERVICE,
        "web",
        "STOPPED",
        "STARTED",
        f"reason {number} é",
        "a rule",
        number % 2 == 0,
        1.5,
        SIGHT if number % 3 else None,
        machine,
        number,
    )


def test_history_of_the_last_release_is_converted_by_the_daemon(old: Old) -> None:
    """At its first entry, in another process; that follows, and is known with those before. The old
    file stays under another name.
    """
    old.write()
    old.path.chmod(0o644)
    reports = list[tuple[bool, str]]()
    history = History(old.layout, 1, lambda *report: reports.append(report))
    history.open()
    history.record(EntryKind.NODE, "deb1", "NOTED", "after")
    until(lambda: os.path.isdir(old.folder) and old.entries()[-1].reason == "after")
    history.close()
    found = old.entries()
    before = [expected(number, "m1" if number <= 15 else "m2") for number in range(1, 31)]
    assert found[:-1] == before == history.recent[:-1]
    assert found[-1].number == 31
    done = "30 entries: the file is now "
    assert reports == [
        (False, f"the history of an older version was converted: {done}{old.path}.converted")
    ]
    assert old.names() == ["history", "history.sqlite.converted"]
    assert (old.path.parent / "history.sqlite.converted").stat().st_mode & 0o777 == 0o640


def test_numbers_of_a_history_that_has_dropped_entries_are_kept(old: Old) -> None:
    """It begins where the old one began; none of its entries is dropped."""
    old.write(60, limit=20)
    old.convert()
    numbers = [entry.number for entry in old.entries()]
    assert numbers[0] > 1 and numbers == list(range(numbers[0], 121)) and len(numbers) >= 20


def test_many_entries_are_all_converted(old: Old) -> None:
    """More than fit into a batch, and into a file."""
    old.write(1)
    old.sql(
        "INSERT INTO entry SELECT value + 2, 1, value, value, 'link', 'n', '', value, '', '', 0,"
        " NULL, NULL FROM (WITH RECURSIVE c(value) AS"
        " (SELECT 1 UNION ALL SELECT value + 1 FROM c WHERE value < 54999) SELECT value FROM c)"
    )
    assert old.convert().startswith("55001 entries: ")
    assert [entry.number for entry in old.entries()] == list(range(1, 55_002))
    assert not os.path.exists(f"{old.folder}.new")


def test_causes_of_a_later_version_are_converted(old: Old) -> None:
    """Each with its own: a table beside."""
    old.write(1)
    old.sql(
        "CREATE TABLE cause(entry INTEGER PRIMARY KEY, own TEXT NOT NULL, sent INTEGER NOT NULL,"
        " heard_of TEXT, heard INTEGER NOT NULL)",
        "INSERT INTO cause VALUES(2, '7.ff', 12, '3.f', 40)",
    )
    old.convert()
    cause = Causality(BootId(7, 255), 12, BootId(3, 15), 40)
    assert old.entries() == [expected(1, "m1"), replace(expected(2, "m2"), cause=cause)]


def test_version_that_ran_once_more_is_converted_behind(old: Old) -> None:
    """A return to the last release and back: its entries follow with the next numbers, also where
    a first attempt was interrupted before the file had its other name.
    """
    old.write(2)
    old.convert()
    file = HistoryFile(old.folder, "m3")
    file.append([replace(expected(0, ""), reason="of this version")], 1_000)
    file.close()
    old.write(3, behind=100)
    again = old.path.read_bytes()
    for _ in range(2):
        old.path.write_bytes(again)
        old.convert()
        found = old.entries()
        assert [entry.number for entry in found] == list(range(1, 12))
        machines = [entry.machine for entry in found]
        assert machines == ["m1"] * 2 + ["m2"] * 2 + ["m3"] + ["m1"] * 3 + ["m2"] * 3


def test_damage_of_the_present_history_is_not_that_of_the_older_file(old: Old) -> None:
    """A return to the last release and back: what cannot be continued is set aside, and what that
    release has recorded is converted behind its numbers.
    """
    old.write(2)
    old.convert()
    (path,) = Path(old.folder).iterdir()
    path.write_bytes(path.read_bytes().replace(b'{"history":1', b'{"history":2'))
    old.write(3, behind=100)
    assert f"is now {old.folder}/damaged.jsonl" in old.convert()
    assert old.names() == ["history", "history.sqlite.converted"]
    found = old.entries()
    assert [entry.machine for entry in found] == ["m1"] * 3 + ["m2"] * 3
    assert found[0].number > 4


ROWS = [
    "UPDATE entry SET at = 'noon' WHERE id = 2",
    "UPDATE entry SET mono = 9e999 WHERE id = 2",
    "UPDATE entry SET took_s = 'long' WHERE id = 2",
    "UPDATE entry SET kind = 'feast' WHERE id = 2",
]


@pytest.mark.parametrize("damage", ROWS)
def test_row_that_no_version_wrote_costs_itself_alone(old: Old, damage: str) -> None:
    """It is counted."""
    old.write(3)
    old.sql(damage)
    assert old.convert().startswith("5 entries, and 1 could not be read: ")
    assert [entry.number for entry in old.entries()] == [1, 3, 4, 5, 6]


@pytest.mark.parametrize("damage", ["seen = 'no json'", "seen = '[]'", "id = id + 1000"])
def test_evidence_that_is_damaged_costs_no_entry(old: Old, damage: str) -> None:
    """It is that of several."""
    old.write(3)
    old.sql(f"UPDATE sight SET {damage}")
    assert old.convert().startswith("6 entries: ")
    assert old.entries() == [
        replace(expected(number, "m1" if number < 4 else "m2"), sight=None)
        for number in range(1, 7)
    ]


def test_bytes_that_are_no_text_are_shown_as_such(old: Old) -> None:
    """One damaged byte hides no entry; nor does a boot that is not known."""
    old.write(1)
    old.sql("UPDATE entry SET reason = CAST(x'61ff62' AS TEXT)", "DELETE FROM life WHERE id = 1")
    old.convert()
    assert [(entry.reason, entry.machine) for entry in old.entries()] == [
        ("a\ufffdb", ""),
        ("a\ufffdb", "m2"),
    ]


def _overwritten(path: Path, begin: int, data: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[begin : begin + len(data)] = data
    path.write_bytes(whole)


DAMAGE: dict[str, Callable[[Old], object]] = {
    "no database": lambda old: old.path.write_bytes(b"what is this\n" * 500),
    "nothing": lambda old: old.path.write_bytes(b""),
    "cut off": lambda old: os.truncate(old.path, old.path.stat().st_size // 2),
    "holes": lambda old: _overwritten(old.path, 4_096, os.urandom(8_192)),
    "write format": lambda old: _overwritten(old.path, 18, b"\3"),
    "read format": lambda old: _overwritten(old.path, 19, b"\3"),
    "newer version": lambda old: old.sql("PRAGMA user_version = 77"),
    "no version": lambda old: old.sql("PRAGMA user_version = 0"),
    "another table": lambda old: old.sql("ALTER TABLE sight RENAME TO looks"),
    "another column": lambda old: old.sql("ALTER TABLE entry RENAME COLUMN new TO next"),
    "no text": lambda old: old.path.write_bytes(
        old.path.read_bytes()
        .replace(b"tableentryentry", b"table\xff\xfe\xfd\xfc\xfbentry")
        .replace(b"TABLE entry(", b"TABLE entry)")
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_file_is_set_aside(
    old: Old, damage: Callable[[Old], object], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever stands there: it is kept for examination, closed for others, and nothing is half
    converted. The reason is one line.
    """
    old.write(40)
    damage(old)
    old.path.chmod(0o644)
    data = old.path.read_bytes()
    assert main(str(old.path), old.folder) == EXIT_DAMAGED
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    assert old.names() == ["history.sqlite.damaged"]
    damaged = old.path.parent / "history.sqlite.damaged"
    assert damaged.read_bytes() == data and damaged.stat().st_mode & 0o777 == 0o640


def test_transaction_that_a_crash_left_is_rolled_back(old: Old) -> None:
    """Its journal is beside the file: without it the entries would be damaged."""
    old.write(2)
    code = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('PRAGMA cache_size = 1'); c.execute('BEGIN');"
        "c.execute('DELETE FROM entry');"
        'c.execute("INSERT INTO sight SELECT value, hex(randomblob(2000)) FROM'
        " (WITH RECURSIVE c(value) AS (SELECT 100 UNION ALL SELECT value + 1 FROM c WHERE"
        ' value < 200) SELECT value FROM c)"); os._exit(0)'
    )
    subprocess.run([sys.executable, "-c", code, str(old.path)], check=True)
    assert Path(f"{old.path}-journal").stat().st_size
    old.convert()
    assert [entry.number for entry in old.entries()] == [1, 2, 3, 4]


ENVIRONMENT = [
    OSError(28, "No space left on device"),
    PartlyWritten(3, OSError(28, "No space left on device")),
    *(
        sqlite3.OperationalError(text)
        for text in (
            "database or disk is full",
            "disk I/O error",
            "unable to open database file",
            "attempt to write a readonly database",
            "database is locked",
            "interrupted",
            "out of memory",
        )
    ),
]


@pytest.mark.parametrize("error", ENVIRONMENT, ids=repr)
def test_what_is_wrong_around_the_file_changes_nothing(
    old: Old,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The next attempt converts it all."""
    old.write(2)

    def fails(self: object, *_: object) -> Any:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(HistoryFile, "append", fails)
        assert main(str(old.path), old.folder) == EXIT_FAILED
    why = error.error if isinstance(error, PartlyWritten) else error
    assert capsys.readouterr().out == f"{why}\n"
    assert old.names() == ["history.sqlite"]
    assert main(str(old.path), old.folder) == 0 and len(old.entries()) == 4


def test_conversion_that_was_killed_is_done_again(
    old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the new folder is in its place, and before the old file has its other name."""

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    old.write(2)
    for place in ((os, "rename"), (module, "_rename")):
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(*place, kill)
            if place[0] is os:
                patched.setattr(shutil, "rmtree", lambda *_, **__: None)
            old.convert()
        assert old.path.exists()
    old.convert()
    assert [entry.number for entry in old.entries()] == [1, 2, 3, 4]
    assert old.names() == ["history", "history.sqlite.converted"]


def test_second_conversion_waits_for_the_first(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its daemon was killed, and the next one has begun: all is there once."""
    old.write(2)
    begun, may_end, waits = threading.Event(), threading.Event(), threading.Semaphore(0)
    write, flock = module._write, fcntl.flock

    def locking(handle: int, how: int) -> None:
        waits.release()
        flock(handle, how)

    def slow(*args: Any, **options: Any) -> int:
        begun.set()
        may_end.wait(60)
        return write(*args, **options)

    monkeypatch.setattr(fcntl, "flock", locking)
    monkeypatch.setattr(module, "_write", slow)
    done = list[str]()
    threads = [threading.Thread(target=lambda: done.append(old.convert())) for _ in range(2)]
    threads[0].start()
    begun.wait(60)
    threads[1].start()
    assert waits.acquire(timeout=60) and waits.acquire(timeout=60) and not done
    may_end.set()
    for thread in threads:
        thread.join()
    # Either may be the first to note what it did.
    assert len(done) == 2 and "it was converted meanwhile" in done and len(old.entries()) == 4


def test_nothing_to_convert_is_no_error(old: Old) -> None:
    """As at each start."""
    assert main(str(old.path), old.folder) == 0 and old.names() == []


def test_process_reports_by_one_line_and_its_exit_code(old: Old) -> None:
    """As the daemon's writer runs it."""
    old.path.write_bytes(b"what is this\n" * 500)
    words = [sys.executable, "-P", "-m", module.__name__, str(old.path), old.folder]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        3,
        "its format is 115, and at most 2 is known\n",
        "",
    )


def test_daemon_does_not_import_what_reads_old_files() -> None:
    """Nor does any reader: sqlite is in the process that converts alone."""
    code = (
        "import sys; import opensvc_openha.daemon.daemon, opensvc_openha.cli.history,"
        " opensvc_openha.cli.notifier, opensvc_openha.cli.rendering, opensvc_openha.cli.why,"
        " opensvc_openha.cli.advise, opensvc_openha.cli.whatif;"
        " print([name for name in sys.modules if 'sqlite' in name])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_damage_is_an_error_of_its_own(old: Old) -> None:
    """For the process' exit code."""
    old.path.write_bytes(b"x")
    with pytest.raises(DamagedFile):
        old.convert()
