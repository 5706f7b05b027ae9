"""The way to a disk through its I/O process: how that one begins, ends, misbehaves, and is
shared.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from opensvc_openha.links import disk_channel, disk_requests, disk_worker
from opensvc_openha.links.base import LinkFault
from opensvc_openha.links.disk_channel import (
    START_LIMIT_S,
    DeviceInfo,
    Difference,
    DiskChannel,
    ScsiAnswer,
    channel_for,
)
from opensvc_openha.links.disk_process import DiskProcess
from opensvc_openha.links.disk_watch import DiskWatch, Look, Note
from opensvc_openha.system import clock
from opensvc_openha.system.disk_identity import disk_identity
from tests.waiting import LIMIT_S, until


@pytest.fixture
def channel(disk_file: str) -> Iterator[DiskChannel]:
    """An open one; nothing is left of it in the end."""
    made = channel_for(disk_file, True)
    assert made.worker_pid == 0
    made.open(True, START_LIMIT_S)
    yield made
    made.close()
    until(lambda: not disk_channel._channels)
    assert made.worker_pid == 0


def test_process_has_a_session_of_its_own(channel: DiskChannel) -> None:
    """A signal to the daemon's group, as by Ctrl-C, ends no I/O process: the daemon does."""
    assert os.getsid(channel.worker_pid) == channel.worker_pid


def test_channel_is_shared_until_the_last_one_leaves(channel: DiskChannel, disk_file: str) -> None:
    """One process for all who use the device in the same way; another one for another way."""
    pid = channel.worker_pid
    same, other = channel_for(disk_file, True), channel_for(disk_file, False)
    assert same is channel and other is not channel
    same.open(False, START_LIMIT_S)
    assert channel.worker_pid == pid
    same.close()
    other.close()
    channel.write(512, b"x" * 512, START_LIMIT_S)
    assert channel.read(512, 512, START_LIMIT_S) == b"x" * 512 and list(disk_channel._channels) == [
        (disk_file, True)
    ]


@pytest.mark.parametrize("is_direct", [True, False])
def test_opening_reports_whether_the_page_cache_is_avoided(disk_file: str, is_direct: bool) -> None:
    """As it was asked for, on a file system that can do both."""
    made = channel_for(disk_file, is_direct)
    info = made.open(False, START_LIMIT_S)
    assert (info.is_around_cache, info.block_bytes, info.size_bytes, info.is_block_device) == (
        is_direct,
        512,
        64 * 512,
        False,
    )
    made.close()
    until(lambda: not disk_channel._channels)


def test_report_that_was_read_and_not_passed_on_yet_is_not_missing(
    channel: DiskChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that was stopped reads many at once: none behind the first is called overdue."""
    behind: list[bool] = []
    put = DiskWatch.put

    def note(watch: DiskWatch, look: Look) -> None:
        behind.append(watch._is_behind())
        put(watch, look)

    monkeypatch.setattr(DiskWatch, "put", note)
    watch = channel.watch(0, 512, 0.01, START_LIMIT_S)
    until(lambda: len(behind) >= 1)
    watch.close()
    assert all(behind)
    until(lambda: not watch._is_behind())


def test_path_is_looked_at_with_every_eighth_read(channel: DiskChannel, disk_file: str) -> None:
    """The disk behind the path was exchanged: noticed by a thread that only reads, and by none
    before that.
    """
    os.rename(disk_file, f"{disk_file}.old")
    for _ in range(2):
        for _ in range(7):
            channel.read(0, 512, START_LIMIT_S)
        with pytest.raises(
            LinkFault, match="is not what was opened any more: it was replaced or removed"
        ):
            channel.read(0, 512, START_LIMIT_S)


def test_numbers_of_requests_begin_again(channel: DiskChannel) -> None:
    """After four thousand million of them."""
    assert channel._worker is not None
    channel._worker._last_number = 2**32 - 3
    for _ in range(6):
        assert channel.read(0, 512, START_LIMIT_S) == bytes(512)


@pytest.mark.parametrize("waiting", [0, 65_536])
def test_process_that_takes_no_requests_is_given_up_at_once(
    channel: DiskChannel, waiting: int
) -> None:
    """It stands still, and the pipe has no room for a request, or for a part of it only: no thread
    waits for it.
    """
    assert channel._worker is not None
    pid = channel.worker_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        if waiting:
            os.write(channel._worker._requests.fileno(), bytes(waiting))
        with pytest.raises(LinkFault, match="takes no requests"):
            channel.write(0, bytes(100_000), LIMIT_S)
        assert channel.worker_pid == 0
        with pytest.raises(LinkFault, match="ended"):
            channel.read(0, 512, LIMIT_S)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_late_answer_of_an_unused_channel_ends_it(disk_file: str) -> None:
    """Closed while its disk hangs, it stays, with its process, until the answer comes."""
    made = channel_for(disk_file, True)
    made.open(False, START_LIMIT_S)
    pid = made.worker_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(LinkFault, match="^hung: no answer to the read of .* within 0.05 s$"):
            made.read(0, 512, 0.05)
        with pytest.raises(LinkFault, match="^hung: .* still owes the answer to the read$"):
            made.read(0, 512, LIMIT_S)
        made.close()
        assert disk_channel._channels == {(disk_file, True): made} and made.worker_pid == pid
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: not disk_channel._channels and made.worker_pid == 0)


def test_hung_process_that_is_killed_leaves_nothing(disk_file: str) -> None:
    """No answer will ever come: the channel goes, and its process is waited for."""
    made = channel_for(disk_file, True)
    made.open(False, START_LIMIT_S)
    pid = made.worker_pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(LinkFault, match="hung"):
        made.read(0, 512, 0.05)
    made.close()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not disk_channel._channels and not os.path.exists(f"/proc/{pid}"))


def test_ended_processes_are_not_kept(disk_file: str) -> None:
    """Each new one forgets those that ended before."""
    ended = []
    for _ in range(3):
        made = channel_for(disk_file, True)
        made.open(False, START_LIMIT_S)
        pid = made.worker_pid
        ended.append(pid)
        assert pid in [worker.pid for worker in disk_channel._unreaped]
        made.close()
        until(lambda: not os.path.exists(f"/proc/{pid}"))
    made = channel_for(disk_file, True)
    made.open(False, START_LIMIT_S)
    assert [worker.pid for worker in disk_channel._unreaped if worker.reap()] == []
    assert not {worker.pid for worker in disk_channel._unreaped} & set(ended)
    assert made.worker_pid in [worker.pid for worker in disk_channel._unreaped]
    made.close()
    until(lambda: not disk_channel._channels)


def test_process_that_cannot_be_started_is_a_fault(
    disk_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory, or no interpreter any more: reported with the reason, and tried again with the
    next opening.
    """
    made = channel_for(disk_file, True)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/nonexistent")
        with pytest.raises(
            LinkFault,
            match=f"the I/O process for {disk_file} cannot be started: No such file or directory",
        ):
            made.open(False, START_LIMIT_S)
    assert made.worker_pid == 0
    with pytest.raises(LinkFault, match="is not open"):
        made.read(0, 512, START_LIMIT_S)
    made.open(False, START_LIMIT_S)
    made.close()
    until(lambda: not disk_channel._channels)


@pytest.mark.parametrize(
    "answer", ["REPLY.pack(1, 0, 100) + bytes(99)", "REPLY.pack(1, 0, 100)", "bytes(5)", "b''"]
)
def test_process_that_dies_within_its_answer_is_a_fault(
    disk_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """Half an answer is none: the waiting thread is woken, and gets no bytes."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import os, struct\nREPLY = struct.Struct('>IiI')\nos.read(0, 100)\nos.write(1,"
        f" {answer})\n"
    )
    made = channel_for(disk_file, True)
    monkeypatch.setattr(disk_worker, "__file__", str(script))
    with pytest.raises(LinkFault, match="the opening of .*: Broken pipe"):
        made.open(False, LIMIT_S)
    made.close()
    until(lambda: not disk_channel._channels)


def test_program_that_forgets_its_channel_ends_all_the_same(disk_file: str) -> None:
    """The thread that collects answers keeps no process alive."""
    lines = (
        "from opensvc_openha.links.disk_channel import channel_for",
        f"channel_for({disk_file!r}, True).open(True, 5.0)",
        "print('end')",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=Path(disk_channel.__file__).parents[2],
    )
    assert (done.returncode, done.stdout) == (0, "end\n")


def test_overdue_answer_is_known_until_it_comes(channel: DiskChannel) -> None:
    """Since when it is waited for: the oldest of several, and none after the answer."""
    assert channel._worker is not None
    assert not channel.is_hung and channel.overdue_since is None
    os.kill(channel.worker_pid, signal.SIGSTOP)
    before = clock.monotonic()
    try:
        with pytest.raises(LinkFault, match="^hung: no answer to the read"):
            channel.read(0, 512, 0.05)
        since = channel.overdue_since
        assert channel.is_hung and since is not None and before <= since <= clock.monotonic()
        channel._worker._overdue[0] = "the write", since - 1
        assert channel.overdue_since == since - 1
        del channel._worker._overdue[0]
    finally:
        os.kill(channel.worker_pid, signal.SIGCONT)
    until(lambda: not channel.is_hung and channel.overdue_since is None)
    assert channel.read(0, 512, LIMIT_S) == bytes(512)


def test_process_that_ended_owes_nothing(channel: DiskChannel) -> None:
    """Whatever it was asked for, and nothing waits for its answer."""
    assert channel._worker is not None
    channel._worker._overdue[0] = "the write", 1.0
    channel._worker.stop()
    assert not channel.is_hung and channel.overdue_since is None
    channel._worker._overdue[0] = "the write", 1.0
    assert not channel.is_hung and channel.overdue_since is None
    channel._worker._overdue.clear()


def test_channel_that_is_not_open_knows_no_disk(disk_file: str) -> None:
    """It has no process, owes nothing, and names the disk once it has opened it."""
    made = channel_for(disk_file, True)
    assert (made.worker_pid, made.is_hung, made.overdue_since, made.disk) == (0, False, None, "")
    made.open(False, LIMIT_S)
    assert made.disk == disk_identity(disk_file) != ""
    made.close()
    until(lambda: not disk_channel._channels)


def test_disk_that_was_exchanged_while_it_was_opened_is_a_fault(
    disk_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was named after it was opened: the two may be different disks."""
    made = channel_for(disk_file, True)

    def exchanged(path: str) -> str:
        os.rename(path, f"{path}.old")
        return ""

    monkeypatch.setattr(disk_channel, "disk_identity", exchanged)
    with pytest.raises(LinkFault, match="is not what was opened any more"):
        made.open(False, LIMIT_S)
    made.close()
    until(lambda: not disk_channel._channels)


ECHO = """
import os, struct
kind, number, place, length = struct.unpack(">cIQI", os.read(0, 17))
data = os.read(0, 1000)
sense = b"sense"
answer = struct.pack(">BHHB", 0x18, 0x1122, 0x3344, len(sense)) + sense + kind
answer += struct.pack(">QI", place, length) + data
os.write(1, struct.pack(">IiI", number, 0, len(answer)) + answer)
os.read(0, 1)
"""


def test_scsi_command_reaches_the_process_with_the_time_of_the_kernel(
    disk_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a minute more than is waited here; and the answer is taken apart."""
    script = tmp_path / "worker.py"
    script.write_text(ECHO)
    monkeypatch.setattr(disk_worker, "__file__", str(script))
    made = channel_for(disk_file, True)
    answer = made.scsi(b"command", b"parameters", 99, 100.0)
    request = struct.pack(">BI", 7, 99) + b"commandparameters"
    assert answer == ScsiAnswer(
        0x18, 0x1122, 0x3344, b"sense", b"s" + struct.pack(">QI", 130_000, len(request)) + request
    )
    made.close()
    until(lambda: not disk_channel._channels)


def test_process_that_must_be_started_for_a_command_gets_the_time_for_that(
    disk_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Besides the limit of the command; one that runs has only that."""
    script = tmp_path / "worker.py"
    script.write_text("import os\nwhile os.read(0, 1000):\n    pass\n")
    monkeypatch.setattr(disk_worker, "__file__", str(script))
    monkeypatch.setattr(disk_channel, "START_LIMIT_S", 0.25)
    made = channel_for(disk_file, True)
    with pytest.raises(LinkFault, match="^hung: no answer to the SCSI command .* within 0.3 s$"):
        made.scsi(b"command", b"", 0, 0.05)
    assert made._worker is not None
    made._worker._overdue.clear()
    with pytest.raises(LinkFault, match="^hung: no answer to the SCSI command .* within 0.05 s$"):
        made.scsi(b"command", b"", 0, 0.05)
    made._worker.stop()
    made.close()
    until(lambda: not disk_channel._channels)


OPENED = """
import os, struct
while request := os.read(0, 17):
    kind, number, place, length = struct.unpack(">cIQI", request)
    answer = struct.pack(">IQBBB", 512, place, kind == b"O", length, kind == b"o")
    os.write(1, struct.pack(">IiI", number, 0, len(answer)) + answer)
"""


def test_opening_for_writing_is_another_request(
    disk_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of no place and no length; each flag of the answer is one of the device."""
    script = tmp_path / "worker.py"
    script.write_text(OPENED)
    monkeypatch.setattr(disk_worker, "__file__", str(script))
    made = channel_for(disk_file, True)
    assert made.open(True, LIMIT_S) == DeviceInfo(512, 0, True, False, False)
    assert made.open(False, LIMIT_S) == DeviceInfo(512, 0, False, False, True)
    made.close()
    until(lambda: not disk_channel._channels)


PARTS = """
import os, struct, time
number = struct.unpack(">cIQI", os.read(0, 17))[1]
answer = struct.pack(">IQBBB", 512, 64, 1, 0, 1)
data = struct.pack(">IiI", number, 0, len(answer)) + answer
for part in (data[:5], data[5:14], data[14:]):
    os.write(1, part)
    time.sleep(0.1)
os.read(0, 1)
"""


def test_answer_that_comes_in_parts_is_put_together(
    disk_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte of what follows is taken for it."""
    script = tmp_path / "worker.py"
    script.write_text(PARTS)
    monkeypatch.setattr(disk_worker, "__file__", str(script))
    made = channel_for(disk_file, True)
    assert made.open(False, LIMIT_S) == DeviceInfo(512, 64, True, False, True)
    made.close()
    until(lambda: not disk_channel._channels)


def test_process_that_ended_is_replaced_at_the_next_opening(channel: DiskChannel) -> None:
    """Nothing is asked of it any more."""
    pid = channel.worker_pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: channel.worker_pid == 0)
    channel.open(True, LIMIT_S)
    assert channel.worker_pid not in (0, pid)


# --- places that are watched, and writes that are checked -----------------------------------------


def test_place_is_watched_without_further_requests(channel: DiskChannel) -> None:
    """What differs comes by itself, several places by one process, until they are left."""
    first, second = (channel.watch(place, 512, 0.01, LIMIT_S) for place in (0, 512))
    for watch in (first, second):
        look = watch.next_news(0.0)
        assert look is not None and look.data == bytes(512)
    channel.write(512, b"x" * 512, LIMIT_S)
    look = second.next_news(LIMIT_S)
    assert look is not None and look.data == b"x" * 512
    assert first.next_news(0.0) is None
    first.close()
    assert channel._worker is not None and list(channel._worker._watches.values()) == [second]
    first.close()
    channel.read(0, 512, LIMIT_S)
    reads, before = first.reads, second.reads
    until(lambda: second.reads >= before + 3)
    assert first.reads == reads


def test_watched_place_of_a_process_that_hangs_is_a_fault_for_all(channel: DiskChannel) -> None:
    """Nothing else is asked for until the report comes; then the watch continues."""
    watch = channel.watch(0, 512, 0.01, 0.2)
    assert watch.next_news(0.0) is not None
    os.kill(channel.worker_pid, signal.SIGSTOP)
    before = clock.monotonic()
    try:
        with pytest.raises(LinkFault, match="^hung: no answer to the read of .* within 0.2 s$"):
            watch.next_news(LIMIT_S)
        since = channel.overdue_since
        assert channel.is_hung and since is not None and before - 0.02 <= since
        for ask in (
            lambda: channel.read(0, 512, LIMIT_S),
            lambda: channel.watch(0, 512, 0.01, LIMIT_S),
            lambda: channel.replace(0, None, bytes(512), LIMIT_S),
        ):
            with pytest.raises(LinkFault, match="^hung: .* still owes the answer to the read$"):
                ask()
    finally:
        os.kill(channel.worker_pid, signal.SIGCONT)
    until(lambda: not channel.is_hung)
    channel.write(0, b"x" * 512, LIMIT_S)
    look = watch.next_news(0.0) or until(lambda: watch.next_news(0.0))
    assert look is not None and look.data == b"x" * 512


def test_channel_of_a_hung_watch_stays_until_its_report_comes(disk_file: str) -> None:
    """Closed meanwhile, and nobody waits for it: no second process is started beside it."""
    made = channel_for(disk_file, True)
    made.open(False, START_LIMIT_S)
    watch, pid = made.watch(0, 512, 0.01, 0.1), made.worker_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(LinkFault, match="^hung"):
            # The first content may have been read before.
            until(lambda: watch.next_news(0.2) and None)
        watch.close()
        made.close()
        assert disk_channel._channels == {(disk_file, True): made} and made.is_hung
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: not disk_channel._channels and made.worker_pid == 0)


def test_watched_place_ends_with_its_process(channel: DiskChannel) -> None:
    """At once, and for every one that waits; closing it is no matter."""
    watch = channel.watch(0, 512, 0.01, LIMIT_S)
    assert watch.next_news(0.0) is not None
    os.kill(channel.worker_pid, signal.SIGKILL)
    with pytest.raises(LinkFault, match="^the read of .*: Broken pipe$"):
        watch.next_news(LIMIT_S)
    watch.close()
    with pytest.raises(LinkFault, match="ended"):
        channel.watch(0, 512, 0.01, LIMIT_S)


def test_write_is_one_request(channel: DiskChannel) -> None:
    """What is found instead is reported."""
    one, two = b"1" * 512, b"2" * 512
    assert channel.replace(0, None, one, LIMIT_S) is None
    assert channel.replace(0, one, two, LIMIT_S) is None
    assert channel.replace(0, one, one, LIMIT_S) == Difference(False, two)
    assert channel.read(0, 512, LIMIT_S) == two


def test_write_that_hung_is_not_made_late(channel: DiskChannel) -> None:
    """The node may be dead for its peer when the disk answers again."""
    pid = channel.worker_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(LinkFault, match="^hung: no answer to the write of .* within 0.05 s$"):
            channel.replace(0, None, b"x" * 512, 0.05)
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: not channel.is_hung)
    assert channel.read(0, 512, LIMIT_S) == bytes(512)


SLOW = """
import os, struct, time
number = struct.unpack(">cIQI", os.read(0, 17))[1]
os.read(0, 2000)
for _ in range(3):
    time.sleep(0.3)
    os.write(1, struct.pack(">IiI", number, -1, 0))
time.sleep(0.3)
os.write(1, struct.pack(">IiI", number, 0, 1) + b"\\0")
os.read(0, 1)
"""


def test_each_part_of_a_write_has_the_limit_for_itself(
    disk_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is slow, and not too slow for one I/O."""
    script = tmp_path / "worker.py"
    script.write_text(SLOW)
    monkeypatch.setattr(disk_worker, "__file__", str(script))
    made = channel_for(disk_file, True)
    made._running_worker()
    # Three parts, each of which takes less than the limit, which they do not take together.
    assert made.replace(0, None, bytes(512), 1.0) is None
    made.close()
    until(lambda: not disk_channel._channels)


def test_number_of_a_watch_is_not_used_again(channel: DiskChannel) -> None:
    """It lasts longer than any request: numbers begin again meanwhile."""
    watch = channel.watch(0, 512, 0.01, LIMIT_S)
    assert watch.next_news(0.0) is not None
    assert channel._worker is not None
    (number,) = channel._worker._watches
    channel._worker._last_number = number - 1
    assert channel.read(0, 512, LIMIT_S) == bytes(512)
    assert channel._worker._last_number == number + 1


def test_process_and_its_thread_have_the_precedence_of_who_started_them(disk_file: str) -> None:
    """A beat waits for both: in the real-time class, ordinary ones would hold it up."""
    found: list[int] = []
    made = channel_for(disk_file, True)

    def favoured() -> None:
        flag = os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, os.SCHED_FIFO | flag, os.sched_param(7))
        made.open(False, START_LIMIT_S)
        tasks = {
            (task / "comm").read_text().strip(): int(task.name)
            for task in Path("/proc/self/task").iterdir()
        }
        found.extend((made.worker_pid, tasks["disk disk.hb.0"]))

    with contextlib.suppress(PermissionError), ThreadPoolExecutor(1) as pool:
        pool.submit(favoured).result(LIMIT_S)
    if not found:
        pytest.skip("needs the right to the real-time class")
    for task in found:
        assert os.sched_getscheduler(task) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
        assert os.sched_getparam(task).sched_priority == 7
    made.close()
    until(lambda: not disk_channel._channels)


def test_note_of_a_read_is_taken_whole_and_of_its_own_watch() -> None:
    """The child writes it twice; who reads meanwhile finds two that differ, and waits."""
    process = object.__new__(DiskProcess)
    process._notes = notes = mmap.mmap(-1, disk_requests.NOTES_BYTES)
    size = disk_requests.NOTE.size
    first = disk_requests.NOTE.pack(7, 3, 1, False, 100.0, 100.5)
    second = disk_requests.NOTE.pack(7, 4, 1, False, 101.0, 101.5)
    assert process._note(7, 1) is None, "no read yet"
    notes[2 * size : 4 * size] = first + first
    assert process._note(7, 1) == Note(3, 1, False, 100.0, 100.5)
    assert process._note(8, 1) is None and process._note(7, 0) is None
    notes[2 * size : 3 * size] = second
    assert process._note(7, 1) is None
    notes[3 * size : 4 * size] = second
    assert process._note(7, 1) == Note(4, 1, False, 101.0, 101.5)


def test_places_of_notes_are_used_again(tmp_path: Path) -> None:
    """However often a place is watched and left; those that are watched have one each."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(1024))
    channel = channel_for(str(path), False)
    channel.open(False, LIMIT_S)
    try:
        for _ in range(disk_requests.NOTES + 1):
            watch = channel.watch(0, 512, 60.0, LIMIT_S)
            watch.close()
            watch.close()
        for _ in range(disk_requests.NOTES):
            channel.watch(0, 512, 60.0, LIMIT_S)
        with pytest.raises(LinkFault, match="too many places of .* are watched"):
            channel.watch(0, 512, 60.0, LIMIT_S)
    finally:
        channel.close()


def test_first_report_is_waited_for_though_its_read_is_noted() -> None:
    """The note may be seen before the thread that takes reports has run."""
    noted = Note(1, 1, True, clock.monotonic(), clock.monotonic())
    watch = DiskWatch(
        "disk", 0.01, LIMIT_S, lambda: noted, lambda: False, lambda _: False, lambda _: None
    )
    assert watch.reads == 1
    look = Look(noted.began_at, noted.ended_at, b"x", 1)
    threading.Timer(0.05, watch.put, (look,)).start()
    assert watch.next_news(0.0) == look
    assert watch.next_news(0.0) is None


def test_ended_process_keeps_no_handle(channel: DiskChannel) -> None:
    """Whoever still has a watch of it knows nothing of the place."""
    watch = channel.watch(0, 512, 0.01, LIMIT_S)
    assert watch.next_news(0.0) is not None
    worker = channel._worker
    assert worker is not None
    before = len(os.listdir("/proc/self/fd"))
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: worker.reap() and worker._notes.closed)
    assert watch.unchanged is None and len(os.listdir("/proc/self/fd")) < before
