"""The log of the daemon and those of its services, as files: what is written, kept, bounded, and
reported.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.daemon import log_keeper
from opensvc_openha.daemon.issues import ActiveIssues
from opensvc_openha.daemon.log_keeper import LogKeeper, little_room
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.system import script_log
from opensvc_openha.system.log_file import LogFile
from opensvc_openha.system.script_log import ScriptLog, bound_log
from tests.waiting import LIMIT_S, until

MIB = 1 << 20


def line(text: str) -> logging.LogRecord:
    return logging.LogRecord("nmond", logging.INFO, "", 0, text, (), None)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# the daemon's log


def test_logs_that_an_older_version_left_open_to_all_are_closed(tmp_path: Path) -> None:
    """Each kept one, and the present one with its first line.

    Whatever else is there stays as it is.
    """
    paths = [tmp_path / name for name in ("nmond.log", "nmond.log.1", "nmond.log.2", "nmond.log.3")]
    for path in paths:
        path.write_text("old\n")
        path.chmod(0o644)
    log = LogFile(str(paths[0]), 1000, 2)
    log.emit(line("new"))
    log.close()
    assert [mode_of(path) for path in paths] == [0o640, 0o640, 0o640, 0o644]


def test_line_that_fits_to_the_last_byte_moves_nothing(tmp_path: Path) -> None:
    """Ten bytes are allowed: two lines of five stay together, one byte more begins the next file;
    none is lost.
    """
    path = tmp_path / "nmond.log"
    log = LogFile(str(path), 10, 2)
    for text in ("aaaa", "bbbb", "cccc", "ddddd"):
        log.emit(line(text))
    log.close()
    texts = [(tmp_path / name).read_text() for name in ("nmond.log", "nmond.log.1", "nmond.log.2")]
    assert texts == ["ddddd\n", "cccc\n", "aaaa\nbbbb\n"]


def test_line_longer_than_a_file_may_be_is_written_alone(tmp_path: Path) -> None:
    """Nothing that is to be reported is left out for its length."""
    path = tmp_path / "nmond.log"
    log = LogFile(str(path), 10, 1)
    for text in ("a", "b" * 50, "c"):
        log.emit(line(text))
    log.close()
    assert (path.read_text(), (tmp_path / "nmond.log.1").read_text()) == ("c\n", "b" * 50 + "\n")


def test_lost_lines_are_counted_and_reported_once(tmp_path: Path) -> None:
    """The folder is a file for a while: the reason meanwhile, the number with the next line, as a
    warning; then no more.
    """
    folder = tmp_path / "log"
    folder.write_text("")
    log = LogFile(str(folder / "nmond.log"), 1000, 1)
    log.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    for _ in range(3):
        log.emit(line("lost"))
    assert log.problem == f"{folder / 'nmond.log'}: File exists"
    problem = log.problem
    folder.unlink()
    log.emit(line("one"))
    log.emit(line("two"))
    log.close()
    assert (
        folder / "nmond.log"
    ).read_text() == f"WARNING 3 lines were lost: {problem}\nINFO one\nINFO two\n"
    assert log.problem == ""


def test_log_that_was_closed_holds_no_file(tmp_path: Path) -> None:
    """Closed twice, and used again after that: a new file, with one handle."""
    before = len(os.listdir("/proc/self/fd"))
    log = LogFile(str(tmp_path / "nmond.log"), 1000, 1)
    log.emit(line("one"))
    log.close()
    log.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("other", [None, "other\n"])
def test_log_that_is_gone_or_another_file_is_opened_again(
    tmp_path: Path, other: str | None
) -> None:
    """Removed, or replaced: the next line is in the file of that name, with one handle."""
    path = tmp_path / "nmond.log"
    before = len(os.listdir("/proc/self/fd"))
    log = LogFile(str(path), 1000, 2)
    assert log.problem == ""
    log.emit(line("one"))
    os.rename(path, tmp_path / "moved")
    if other is not None:
        path.write_text(other)
    log.emit(line("two"))
    log.emit(line("three"))
    assert len(os.listdir("/proc/self/fd")) == before + 1
    log.close()
    assert path.read_text() == f"{other or ''}two\nthree\n"
    assert (tmp_path / "moved").read_text() == "one\n"


def test_half_a_line_is_taken_back_and_counted_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes some bytes of it: none is left, and the next line reports that one was
    lost.
    """
    path = tmp_path / "nmond.log"
    log = LogFile(str(path), 1000, 2)
    log.emit(line("one"))
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: write(handle, data[:2]))
        log.emit(line("two"))
    assert log.problem == f"{path}: No space left on device" and path.read_text() == "one\n"
    log.emit(line("three"))
    log.close()
    lost = f"1 lines were lost: {path}: No space left on device"
    assert path.read_text() == f"one\n{lost}\nthree\n"


# the logs of services


def test_log_at_its_bound_is_left_alone(tmp_path: Path) -> None:
    """A byte more and it is emptied.

    The copy is of the mode of logs, and a longer former copy leaves nothing in it.
    """
    path, kept = tmp_path / "web.log", tmp_path / "web.log.1"
    path.write_bytes(b"x" * 8192)
    assert not bound_log(str(path), 8192)
    kept.write_bytes(b"y" * 20_000)
    path.write_bytes(b"x" * 8191 + b"\n\n")
    assert bound_log(str(path), 8192)
    assert (
        path.read_bytes() == b""
        and kept.read_bytes() == b"x" * 8190 + b"\n\n"
        and mode_of(kept) == 0o640
    )


def test_long_log_is_copied_piece_by_piece(tmp_path: Path) -> None:
    """Two and a half MiB in pieces of one: all of them, in their order."""
    path = tmp_path / "web.log"
    content = b"".join(b"%07d\n" % number for number in range(5 * MIB // 16))
    path.write_bytes(b"before\n" + content)
    before = len(os.listdir("/proc/self/fd"))
    assert bound_log(str(path), len(content)) and (tmp_path / "web.log.1").read_bytes() == content
    assert len(os.listdir("/proc/self/fd")) == before


def test_folder_of_the_logs_is_made(tmp_path: Path) -> None:
    """By the first script that prints."""
    path = tmp_path / "log" / "web.log"
    log = ScriptLog(str(path), is_answer=False, may_linger=True)
    os.write(log.handle, b"started\n")
    log.close()
    assert path.read_text() == "started\n"


@pytest.mark.parametrize("what", ["nothing", "link", "folder", "pipe", "hole"])
def test_what_is_no_log_of_ours_is_left_alone(tmp_path: Path, what: str) -> None:
    """Not there, a link of the operator's to elsewhere, no file at all, or a length that is only a
    hole.
    """
    path, elsewhere = tmp_path / "web.log", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"x" * 20_000)
    if what == "link":
        path.symlink_to(elsewhere)
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "hole":
        with open(path, "wb") as file:
            file.truncate(1 << 20)
    elif what == "folder":
        path.mkdir()
    if what == "folder":
        with pytest.raises(IsADirectoryError):
            bound_log(str(path), 100)
    else:
        assert not bound_log(str(path), 100)
    assert elsewhere.stat().st_size == 20_000 and not (tmp_path / "web.log.1").exists()


def test_output_is_the_end_of_what_this_script_printed(tmp_path: Path) -> None:
    """Neither what was there before nor our own note; of much output the last bytes."""
    (tmp_path / "web.log").write_text("before\n")
    log = ScriptLog(str(tmp_path / "web.log"), is_answer=False, may_linger=False)
    assert log.output() == "" and not log.is_lost
    os.write(log.handle, b"early\n")
    assert log.output() == "early\n"
    log.note("start\n")
    assert log.output() == ""
    os.write(log.handle, b"0123456789")
    assert (log.output(), log.output(4)) == ("0123456789", "6789")
    log.close()


def test_output_in_a_log_that_was_emptied_meanwhile_is_all_that_is_in_it(tmp_path: Path) -> None:
    """Somebody empties the log while the script prints: what it prints then is read whole."""
    (tmp_path / "web.log").write_text("before\n" * 9)
    log = ScriptLog(str(tmp_path / "web.log"), is_answer=False, may_linger=False)
    os.truncate(tmp_path / "web.log", 0)
    os.write(log.handle, b"late\n")
    assert log.output() == "late\n"
    log.close()


def test_system_that_cannot_reserve_room_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the call in the C library the log is written to as any file is."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_options: object())
    log = ScriptLog(str(tmp_path / "web.log"), is_answer=False, may_linger=False)
    os.write(log.handle, b"up\n")
    assert ((tmp_path / "web.log").read_text(), log.is_lost) == ("up\n", False)
    log.close()


def test_answer_is_not_printed_to_the_log_before_its_end(tmp_path: Path) -> None:
    """Read from memory whatever the log does, up to a limit, and copied behind the note in the
    end.
    """
    path = tmp_path / "web.log"
    log = ScriptLog(str(path), is_answer=True, may_linger=False)
    log.note("status\n")
    os.write(log.handle, b"up\n")
    assert (log.output(), log.output(2), path.read_text(), log.is_lost) == (
        "up\n",
        "p\n",
        "status\n",
        False,
    )
    log.close()
    assert path.read_text() == "status\nup\n" and mode_of(path) == 0o640


@pytest.mark.parametrize(
    ("is_answer", "may_linger", "output", "is_lost"),
    [
        (False, False, "x", False),
        (True, False, "x", False),
        (True, True, "x", False),
        (False, True, "", True),
    ],
)
def test_script_without_a_log_prints_to_memory_unless_it_may_leave_a_daemon(
    tmp_path: Path, is_answer: bool, may_linger: bool, output: str, is_lost: bool
) -> None:
    """No log is asked for, or none can be made: a daemon would fill the memory, so it gets the null
    device.
    """
    (tmp_path / "file").write_text("")
    before = len(os.listdir("/proc/self/fd"))
    for path in ("", str(tmp_path / "file" / "web.log")):
        log = ScriptLog(path, is_answer, may_linger)
        log.note("start\n")
        assert os.write(log.handle, b"x") == 1
        assert (log.output(), log.is_lost) == (output, is_lost)
        log.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_end_of_much_output_is_returned_and_copied(tmp_path: Path) -> None:
    """4 KiB of it to the caller, 64 KiB to the log, of an answer that is kept in memory."""
    path = tmp_path / "web.log"
    log = ScriptLog(str(path), is_answer=True, may_linger=False)
    data = b"".join(b"%06d\n" % number for number in range(12_000))
    os.write(log.handle, data)
    assert log.output() == data[-4096:].decode()
    log.close()
    assert path.read_bytes() == data[-65_536:]


def test_lost_output_is_not_what_others_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has no room, and a daemon that the script before left behind prints to it."""
    monkeypatch.setattr(script_log, "_has_room", lambda log: False)
    path = tmp_path / "web.log"
    log = ScriptLog(str(path), is_answer=False, may_linger=True)
    path.write_text("the daemon of before\n")
    assert log.is_lost and log.output() == ""
    log.close()


def test_log_that_cannot_be_read_gives_no_output(tmp_path: Path, mocker: MockerFixture) -> None:
    """An error of its disk: the script has printed nothing, as far as is known."""
    log = ScriptLog(str(tmp_path / "web.log"), is_answer=False, may_linger=False)
    os.write(log.handle, b"up\n")
    failing = mocker.patch.object(
        os, "pread", side_effect=OSError(errno.EIO, os.strerror(errno.EIO))
    )
    assert log.output() == ""
    mocker.stop(failing)
    assert log.output() == "up\n"
    log.close()


@pytest.mark.parametrize("name", ["fallocate64", "fallocate", ""])
@pytest.mark.parametrize("number", [0, errno.ENOSPC, errno.EOPNOTSUPP])
def test_log_without_room_is_one_where_none_can_be_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    """By either name of the C library; a system or a disk that cannot reserve has room."""

    def reserve(_log: int, mode: int, end: ctypes.c_int64, room: ctypes.c_int64) -> int:
        assert (mode, end.value, room.value) == (1, 5, 65_536)
        ctypes.set_errno(number)
        return -1 if number else 0

    monkeypatch.setattr(
        ctypes, "CDLL", lambda *_, **__: SimpleNamespace(**({name: reserve} if name else {}))
    )
    (tmp_path / "web.log").write_text("12345")
    log = ScriptLog(str(tmp_path / "web.log"), is_answer=False, may_linger=True)
    log.close()
    assert log.is_lost == bool(name and number == errno.ENOSPC)


def test_answer_is_read_from_the_log_where_no_memory_can_be_had(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    """The system gives no file in memory: the log takes it, or nothing does."""
    no_room = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    mocker.patch.object(os, "memfd_create", side_effect=no_room)
    log = ScriptLog(str(tmp_path / "web.log"), is_answer=True, may_linger=False)
    os.write(log.handle, b"up\n")
    assert log.output() == "up\n"
    log.close()
    lost = ScriptLog("", is_answer=True, may_linger=False)
    assert lost.is_lost and os.write(lost.handle, b"up\n") == 3
    lost.close()


def test_no_more_than_was_there_at_the_beginning_is_copied(tmp_path: Path) -> None:
    """A writer that never rests does not keep the copy going for ever."""
    path = tmp_path / "web.log"
    path.write_text("0123456789")
    handle = os.open(path, os.O_RDONLY)
    script_log._copy_part(handle, 2, 5, str(tmp_path / "copy"))
    os.close(handle)
    assert (tmp_path / "copy").read_text() == "234"


@pytest.mark.parametrize("size", [200, 100_000])
def test_last_lines_stay_in_a_log_that_cannot_be_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """No room for the second file: half a copy is removed, 64 KiB stay, no handle is left."""
    path = tmp_path / "web.log"
    data = b"".join(b"%07d\n" % number for number in range(size // 8))
    path.write_bytes(data)

    def fail(_handle: int, _begin: int, _end: int, copy: str) -> None:
        Path(copy).write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(script_log, "_copy_part", fail)
    before = len(os.listdir("/proc/self/fd"))
    assert bound_log(str(path), 100)
    assert path.read_bytes() == data[-65_536:] and os.listdir(tmp_path) == ["web.log"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_log_whose_copy_fails_otherwise_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second file is a link of somebody: an error for the caller, and nothing is emptied."""
    path = tmp_path / "web.log"
    path.write_bytes(b"x" * 200)
    (tmp_path / "web.log.1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Too many levels"):
        bound_log(str(path), 100)
    assert path.read_bytes() == b"x" * 200 and not (tmp_path / "elsewhere").exists()


# the room for both


def disk(
    free: int, size: int, files: int = 0, all_files: int = 0, block: int = 4096
) -> SimpleNamespace:
    return SimpleNamespace(
        f_bfree=free // block,
        f_bavail=free // block,
        f_frsize=block,
        f_blocks=size // block,
        f_ffree=files,
        f_files=all_files,
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (disk(32 * MIB, 4096 * MIB), ""),
        (disk(32 * MIB - 4096, 4096 * MIB), "less than 32 MiB free on the disk of /x"),
        (disk(15 * MIB, 4096 * MIB), "less than 16 MiB free on the disk of /x"),
        (disk(2 * MIB, 40 * MIB), ""),
        (disk(2 * MIB - 4096, 40 * MIB), "less than 2 MiB free on the disk of /x"),
        (disk(0, 40 * MIB), "less than 1 MiB free on the disk of /x"),
        (disk(MIB * 100, 4096 * MIB, 1000, 100_000), ""),
        (
            disk(MIB * 100, 4096 * MIB, 999, 100_000),
            "less than 1000 files can be made on the disk of /x",
        ),
        (disk(MIB * 100, 4096 * MIB, 10, 200), ""),
        (disk(MIB * 100, 4096 * MIB, 9, 200), "less than 10 files can be made on the disk of /x"),
        (disk(MIB * 100, 4096 * MIB, 0, 0), ""),
    ],
)
def test_little_room_is_what_is_short_of_a_part_of_the_disk(
    found: SimpleNamespace, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 MiB and 1,000 files, on a small disk a twentieth.

    Where files are not counted, none are missing.
    """
    monkeypatch.setattr(os, "statvfs", lambda folder: found)
    assert little_room("/x") == words


def test_free_blocks_of_root_are_no_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file system keeps for root counts for a daemon of root only."""
    found = disk(100 * MIB, 4096 * MIB)
    found.f_bavail = 0
    monkeypatch.setattr(os, "statvfs", lambda folder: found)
    for user, words in ((0, ""), (1000, "less than 1 MiB free on the disk of /x")):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert little_room("/x") == words


def test_keeper_bounds_the_logs_of_removed_services_too_and_reports_those_it_cannot(
    tmp_path: Path,
) -> None:
    """Three of four are named; once they can be bounded, that is over.

    It ends when it is asked to.
    """
    layout = tree_layout(str(tmp_path))
    os.makedirs(layout.log_dir)
    os.makedirs(layout.services_dir)
    services, failing = ["web", "a", "b", "c", "d"], "abcd"
    for name in failing:
        os.mkdir(layout.script_log(name))
    problems = ActiveIssues("deb1", logging.getLogger("test"))
    keeper = LogKeeper(layout, problems, lambda: tuple(services), lambda: "full")
    keeper.start()
    try:
        until(lambda: len(problems.texts) == 2)
        named = "; ".join(f"{layout.script_log(name)}: Is a directory" for name in "abc")
        assert problems.texts == ("log not written: full", f"log of a service not bounded: {named}")
        services.clear()
        for name in failing:
            os.rmdir(layout.script_log(name))
        Path(layout.script_log("web")).write_bytes(b"x" * 5_000_001)
        until(lambda: problems.texts == ("log not written: full",))
        until(lambda: Path(layout.script_log("web")).stat().st_size == 0)
    finally:
        keeper.stop()


class Turns(threading.Event):
    """Let a thread's loop go round some times without waiting, and note the waits."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.waits: list[float | None] = []
        self._count = count

    def wait(self, timeout: float | None = None) -> bool:
        """Return at once; the last one ends the loop."""
        self.waits.append(timeout)
        if len(self.waits) == self._count:
            self.set()
        return self.is_set()


def keeper_of(root: Path, problems: ActiveIssues) -> LogKeeper:
    layout = tree_layout(str(root))
    return LogKeeper(layout, problems, lambda: ("web",), lambda: "")


@pytest.mark.parametrize(
    "grows, wait_s, looks", [(True, 1.0, 21), (False, 5.0, 6)], ids=["growing", "quiet"]
)
def test_logs_are_looked_at_more_often_while_they_grow_and_disks_each_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grows: bool, wait_s: float, looks: int
) -> None:
    """Of the states and of the logs, the first time at once; a quiet log is not opened again."""
    looked: list[str] = []

    def bound(path: str) -> bool:
        looked.append(Path(path).name)
        if grows:
            with open(path, "a") as log:
                log.write("line\n")
        return False

    def room(folder: str) -> str:
        looked.append(Path(folder).name)
        return "little"

    monkeypatch.setattr(log_keeper, "bound_log", bound)
    monkeypatch.setattr(log_keeper, "little_room", room)
    problems = ActiveIssues("deb1", logging.getLogger("test"))
    keeper = keeper_of(tmp_path, problems)
    os.makedirs(tmp_path / "log")
    Path(tree_layout(str(tmp_path)).script_log("web")).write_text("line\n")
    keeper._is_over = turns = Turns(looks)
    keeper._run()
    disks = ["services", "log"]
    if grows:
        logs = ["web.log"] * 9
        assert looked == ["web.log", *disks, *logs, "web.log", *disks, *logs, "web.log", *disks]
    else:
        assert looked == ["web.log", *disks, *disks, *disks]
    assert turns.waits == [1.0, *[wait_s] * (looks - 1)] and len(problems.texts) == 2


def test_log_that_is_emptied_is_looked_at_again(tmp_path: Path) -> None:
    """As is one that a hole is filled in, whose length stays the same."""
    keeper = keeper_of(tmp_path, ActiveIssues("deb1", logging.getLogger("test")))
    os.makedirs(tmp_path / "log")
    log = Path(tree_layout(str(tmp_path)).script_log("web"))
    log.write_bytes(b"")
    os.truncate(log, 6_000_000)
    assert keeper._bound() and not keeper._bound()
    with open(log, "r+b") as file:
        file.write(b"x" * 6_000_000)
        os.fsync(file.fileno())
    assert keeper._bound() and log.stat().st_size == 0
    assert keeper._bound() and not keeper._bound()


def test_keeper_has_a_thread_with_a_name_that_keeps_no_daemon_from_ending(tmp_path: Path) -> None:
    """As shown by `ps -L`; it ends when it is asked to."""
    keeper = keeper_of(tmp_path, ActiveIssues("deb1", logging.getLogger("test")))
    before = set(threading.enumerate())
    keeper.start()
    (thread,) = set(threading.enumerate()) - before
    until(lambda: Path(f"/proc/self/task/{thread.native_id}/comm").read_text() == "logs\n")
    assert thread.daemon
    keeper.stop()
    thread.join(LIMIT_S)
    assert not thread.is_alive()


def test_logs_that_no_thread_can_watch_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the daemon continues."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    problems = ActiveIssues("deb1", logging.getLogger("test"))
    keeper_of(tmp_path, problems).start()
    assert problems.texts == ("log not written: not watched: can't start new thread",)
