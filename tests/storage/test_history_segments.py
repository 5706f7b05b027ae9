"""The files below the history: what a writer leaves in them, and what readers make of that."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.storage import history_segments as module
from opensvc_openha.storage.history_segments import (
    DamagedFile,
    PartlyWritten,
    Segment,
    SegmentAppender,
    lines_of,
    mark_of,
    numbers_in,
    path_of,
    set_aside,
)


class Writer:
    """A folder in memory, and one writer after the other."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.appender = SegmentAppender(folder)

    def write(self, count: int = 1, limit: int = 1_000, more: str = "") -> None:
        """So many records."""
        if self.appender.needs_head(limit):
            self.appender.begin("m", limit)
        first = self.appender.next_number
        text = "".join(f'{{"id":{first + each},"x":1{more}}}\n' for each in range(count))
        self.appender.append(text.encode(), first + count)

    def again(self) -> Writer:
        """The next daemon."""
        self.appender.close()
        return Writer(self.folder)

    @property
    def newest(self) -> Path:
        """The file that is written."""
        return Path(path_of(self.folder, numbers_in(self.folder)[-1]))

    def numbers(self) -> list[int]:
        """Numbers of all records, by reading."""
        return [json.loads(line)["id"] for line in self.lines()]

    def lines(self) -> list[bytes]:
        """All whole lines but the heads, oldest first."""
        found: list[bytes] = []
        for first in numbers_in(self.folder):
            segment = Segment(self.folder, first)
            blocks = [lines_of(block) for block in segment.blocks()]
            segment.close()
            found += [line for block in reversed(blocks) for line in block]
        return found


@pytest.fixture
def writer(memory_dir: str) -> Writer:
    """Nothing was written yet."""
    return Writer(f"{memory_dir}/h")


def test_first_record_makes_the_first_file(writer: Writer) -> None:
    """Not the start of a writer, nor the reading of nothing."""
    assert os.listdir(writer.folder) == [] and mark_of(writer.folder) is None
    assert writer.appender.is_in_place
    writer.write()
    assert os.listdir(writer.folder) == ["000000000001.jsonl"]
    assert writer.newest.read_text() == '{"history":1,"machine":"m"}\n{"id":1,"x":1}\n'
    assert os.stat(writer.folder).st_mode & 0o7777 == 0o2750
    assert writer.newest.stat().st_mode & 0o777 == 0o640


def test_next_writer_continues(writer: Writer) -> None:
    """In the same file, with the next number, and knows in which boot that was begun."""
    writer.write(3)
    writer = writer.again()
    assert writer.appender.next_number == 4 and writer.appender.machine == "m"
    writer.write()
    assert writer.numbers() == [1, 2, 3, 4] and len(os.listdir(writer.folder)) == 1


def test_file_is_followed_by_the_next_one(writer: Writer) -> None:
    """After a tenth of what is kept; files go once the others have as many as are kept."""
    kept = list[int]()
    for _ in range(300):
        writer.write(limit=100)
        firsts = numbers_in(writer.folder)
        kept.append(writer.appender.next_number - firsts[0])
        assert all(second - first == 10 for first, second in zip(firsts, firsts[1:]))
    assert max(kept) == 110 and min(kept[110:]) == 101
    assert writer.numbers() == list(range(191, 301))


def test_batch_is_in_one_file(writer: Writer) -> None:
    """Whatever its length: the next one begins a file."""
    writer.write(35, limit=100)
    writer.write(1, limit=100)
    assert numbers_in(writer.folder) == [1, 36]


def test_limit_of_less_than_ten_is_kept(writer: Writer) -> None:
    """A file for each record, and one that is written."""
    for _ in range(9):
        writer.write(limit=3)
    assert numbers_in(writer.folder) == [6, 7, 8, 9]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 100, 65_536])
def test_blocks_are_the_lines_of_the_file(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Wherever a block begins, each line is in one of them, once, whole, behind its line break."""
    writer.write(5)
    writer.write(2, more=',"long":"' + "y" * 60 + '"')
    monkeypatch.setattr(module, "_BLOCK_BYTES", size)
    segment = Segment(writer.folder, 1)
    blocks = list(segment.blocks())
    segment.close()
    assert b"".join(reversed(blocks)) == b"\n" + writer.newest.read_bytes()[:-1]
    assert all(block.startswith(b"\n") for block in blocks)
    assert writer.numbers() == list(range(1, 8))
    with writer.newest.open("ab") as file:
        file.write(b'{"id":8,"torn"')
    assert writer.numbers() == list(range(1, 8))


def test_line_of_any_length_is_passed_over(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another program wrote: it is not kept in memory, and is one damaged line."""
    monkeypatch.setattr(module, "_BLOCK_BYTES", 16)
    monkeypatch.setattr(module, "_LINE_BYTES", 64)
    writer.write(1)
    with writer.newest.open("ab") as file:
        file.write(b"z" * 1_000 + b"\n")
    writer = writer.again()
    writer.write(1)
    lines = writer.lines()
    assert len(lines) == 3 and len(lines[1]) < 100
    assert json.loads(lines[0])["id"] == 1 and json.loads(lines[2])["id"] == 3


def test_file_that_is_cut_off_while_it_is_read_ends_there(writer: Writer) -> None:
    """By another program: what it had is not there any more."""
    writer.write(3)
    segment = Segment(writer.folder, 1)
    os.truncate(writer.newest, 10)
    assert list(segment.blocks()) == []
    segment.close()


@pytest.mark.parametrize("torn", [b'{"id":4', b"\0" * 7, b"x"])
def test_torn_line_is_ended_by_the_next_writer(writer: Writer, torn: bytes) -> None:
    """It keeps its number, if it had one: the next record has another one."""
    writer.write(3)
    with writer.newest.open("ab") as file:
        file.write(torn)
    writer = writer.again()
    before = writer.newest.read_bytes()
    assert writer.appender.next_number == 5
    writer.write(2)
    assert writer.newest.read_bytes() == before + b'\n{"id":5,"x":1}\n{"id":6,"x":1}\n'


@pytest.mark.parametrize("place", range(4))
def test_damaged_line_keeps_its_number(writer: Writer, place: int) -> None:
    """Any of the last ones, so that none is given twice."""
    writer.write(4)
    lines = writer.newest.read_bytes().splitlines(keepends=True)
    for each in range(place, 4):
        lines[1 + each] = b"\xff\xfe\n"
    writer.newest.write_bytes(b"".join(lines))
    assert writer.again().appender.next_number == 5


def test_number_of_a_damaged_line_is_not_believed_if_it_is_too_small(writer: Writer) -> None:
    """There are as many lines before it."""
    writer.write(20)
    data = writer.newest.read_bytes()
    writer.newest.write_bytes(data.replace(b'{"id":20,', b'{"id":2,'))
    assert writer.again().appender.next_number == 21


def test_numbers_that_were_left_out_are_left_out(writer: Writer) -> None:
    """As in a history that was converted."""
    writer.write(1)
    writer.appender.next_number = 400
    writer.write(1, limit=100_000)
    assert numbers_in(writer.folder) == [1]
    writer = writer.again()
    assert writer.appender.next_number == 401
    with writer.newest.open("ab") as file:
        file.write(b'{"id":401,"x"}\n\xff\n')
    assert writer.again().appender.next_number == 403


@pytest.mark.parametrize(
    "head", [b"", b"{}", b"[1]", b'{"history":2}', b'{"history":1', b"\xff", b"[" * 9_000]
)
def test_file_with_another_head_is_not_continued(writer: Writer, head: bytes) -> None:
    """It may be one of a later version; set aside, its numbers are not given again."""
    writer.write(3)
    lines = writer.newest.read_bytes().partition(b"\n")[2]
    writer.newest.write_bytes(head + b"\n" + lines)
    writer.appender.close()
    with pytest.raises(DamagedFile):
        SegmentAppender(writer.folder)
    damaged = set_aside(writer.folder)
    assert Path(damaged).read_bytes() == head + b"\n" + lines
    writer = Writer(writer.folder)
    assert writer.appender.next_number > 3
    writer.write()
    assert writer.newest.read_text().startswith('{"history":1,')
    assert sorted(os.listdir(writer.folder)) == [writer.newest.name, "damaged.jsonl"]


def test_numbers_behind_a_gap_are_not_given_again_where_the_file_is_set_aside(
    writer: Writer,
) -> None:
    """Programs that follow the history know by the number what they have read."""
    writer.write(1)
    writer.appender.next_number = 400
    writer.write(2, limit=100_000)
    lines = writer.newest.read_bytes().partition(b"\n")[2]
    writer.newest.write_bytes(b'{"history":2}\n' + lines)
    writer.appender.close()
    set_aside(writer.folder)
    assert Writer(writer.folder).appender.next_number > 401


def test_file_that_is_gone_meanwhile_cannot_be_set_aside(writer: Writer) -> None:
    """An operator has removed it: an error like those of a disk."""
    with pytest.raises(FileNotFoundError):
        set_aside(writer.folder)
    assert os.listdir(writer.folder) == []


def test_what_is_no_file_is_set_aside(writer: Writer) -> None:
    """A pipe is not waited for, by no side."""
    writer.write()
    path = writer.newest
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DamagedFile):
        SegmentAppender(writer.folder)
    set_aside(writer.folder)
    Writer(writer.folder).write()


def test_file_without_a_byte_gets_its_head(writer: Writer) -> None:
    """A crash left its name, or a full disk: no damage."""
    Path(path_of(writer.folder, 7)).touch()
    writer = writer.again()
    writer.write(2)
    assert writer.numbers() == [7, 8] and numbers_in(writer.folder) == [7]


def test_names_that_are_no_numbers_are_left_alone(writer: Writer) -> None:
    """Whatever an operator puts beside the files."""
    for name in ("notes", "1.jsonl", "000000000001.jsonl.gz", "damaged.jsonl"):
        (Path(writer.folder) / name).touch()
    assert numbers_in(writer.folder) == []


@pytest.mark.parametrize("change", ["removed", "replaced", "folder"])
def test_file_is_no_longer_in_place(writer: Writer, change: str) -> None:
    """Once it was removed or replaced, or its folder was."""
    writer.write()
    assert writer.appender.is_in_place
    path = writer.newest
    if change == "folder":
        os.rename(writer.folder, f"{writer.folder}.gone")
    else:
        path.rename(path.with_name("gone"))
    if change == "replaced":
        path.touch()
    assert not writer.appender.is_in_place


class FullDisk:
    """`os.write` of a disk that has room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def write(self, handle: int, data: Any) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = bytes(data)[: self.room]
        self.room -= len(part)
        return self._write(handle, part)


@pytest.mark.parametrize("room", range(0, 46, 3))
def test_full_disk_takes_whole_lines_and_a_part(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """How many are whole is known; what follows later is not mixed with the part."""
    writer.write(1)
    length = len('{"id":2,"x":1}\n')
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", FullDisk(room).write)
        with pytest.raises(PartlyWritten) as caught:
            writer.write(4)
    assert caught.value.whole == room // length and caught.value.error.errno == errno.ENOSPC
    assert writer.numbers() == list(range(1, 2 + room // length))
    writer = writer.again()
    writer.write(1)
    readable = [line for line in writer.lines() if line.endswith(b"}")]
    numbers = [json.loads(line)["id"] for line in readable]
    assert len(numbers) == 2 + room // length and numbers == sorted(set(numbers))


@pytest.mark.parametrize("room", [0, 5])
def test_full_disk_keeps_no_file_without_a_head(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """It would be damaged; the error is the disk's."""
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", FullDisk(room).write)
        with pytest.raises(OSError, match="No space left"):
            writer.write()
    assert os.listdir(writer.folder) == []
    writer.write()
    assert writer.numbers() == [1]


def test_disk_is_waited_for_once(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """For all that was written since; names of new files and of the folder with their creation."""
    synced = list[str]()

    def note(handle: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))

    monkeypatch.setattr(os, "fdatasync", note)
    monkeypatch.setattr(os, "fsync", note)
    parent = os.path.basename(os.path.dirname(writer.folder))
    writer.appender.sync()
    assert synced == []
    writer.write(1, limit=20)
    assert synced == ["h", parent]
    writer.write(1, limit=20)
    writer.appender.sync()
    writer.appender.sync()
    assert synced == ["h", parent, "000000000001.jsonl"]
    writer.write(1, limit=20)  # Begins a file.
    assert synced[3:] == ["h"], "what is in the old one was on disk"
    writer.write(1, limit=20)
    writer.write(1, limit=20)
    assert synced[4:] == ["000000000003.jsonl", "h"], "the old one first"


def test_mark_changes_with_each_line(writer: Writer) -> None:
    """And with each file: what follows the history reads nothing otherwise."""
    marks = list[object]()
    for _ in range(25):
        writer.write(limit=20)
        marks.append(mark_of(writer.folder))
        assert mark_of(writer.folder) == marks[-1]
    assert len(set(marks)) == 25
