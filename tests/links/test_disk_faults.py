"""What happens to disk links when the disk hangs, fails, is too small, or its worker process
dies.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.formats.disk_slot import encode_slot
from opensvc_openha.links import disk_channel
from opensvc_openha.links.base import LinkFault
from opensvc_openha.links.dio import DioListener, DioSender
from opensvc_openha.links.disk_channel import START_LIMIT_S, channel_for
from opensvc_openha.links.registry import make_listener, make_sender
from opensvc_openha.system import clock
from tests.links.places import received, run
from tests.waiting import LIMIT_S, until

TIMEOUT_S = 10.0
"""Link timeout in these tests. A disk that hangs does so until the test ends that: a thread that
waited for it would never return.
"""


def disk_spec(
    device: str, offset: int = 0, kind: str = "dio", timeout_s: float = TIMEOUT_S
) -> LinkSpec:
    return LinkSpec("deb1", kind, device, "", 0, offset, timeout_s)


def worker_of(device: str, direct: bool = True) -> int:
    """Process id of the child that does the I/O for the device."""
    return disk_channel._channels[(device, direct)].worker_pid


def is_gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


@pytest.fixture
def ends() -> Iterator[Callable[..., Any]]:
    """Makes open ends of a device: its sender, and a listener of the same slot.

    Closes them in the end.
    """
    made: list[Any] = []

    def make(device: str, offset: int = 0, kind: str = "dio") -> tuple[Any, Any]:
        spec = disk_spec(device, offset, kind)
        pair = make_sender(spec, time.monotonic), make_listener(spec, time.monotonic)
        made.extend(pair)
        for end in pair:
            end.open()
        assert pair[1].receive(0.0) is None
        return pair

    yield make
    for end in made:
        end.close()
    # A late answer may still be on its way; after it nothing is left.
    until(lambda: not disk_channel._channels)


def hang_by_signal(pid: int) -> Callable[..., Any]:
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


def test_hung_worker_blocks_no_thread_and_recovers(
    ends: Callable[..., Any], disk_file: str
) -> None:
    """The worker hangs: send and receive fail within the limit, then at once.

    When it continues, so does the link.
    """
    sender, listener = ends(disk_file)
    go_on = hang_by_signal(worker_of(disk_file))
    try:
        with pytest.raises(
            LinkFault, match=f"hung: no answer to the write of {disk_file} within 2 s"
        ):
            sender.send(b"stuck")
        for _ in range(3):
            with pytest.raises(
                LinkFault, match="hung: .* still owes the answer to the (write|read)"
            ):
                sender.send(b"refused")
            with pytest.raises(LinkFault, match="hung: no answer to the read of .* within 2 s"):
                listener.receive(1.0)
    finally:
        go_on()

    def has_recovered() -> bool:
        try:
            sender.send(b"free")
            return True
        except LinkFault:
            return False

    until(has_recovered)
    assert received(listener.receive(LIMIT_S)).data == b"free"


def test_ends_can_be_closed_and_reopened_while_the_disk_hangs(
    ends: Callable[..., Any], disk_file: str
) -> None:
    """Both ends are closed and opened over and over while the disk hangs: nothing blocks, no second
    worker starts.
    """
    sender, listener = ends(disk_file)
    pid = worker_of(disk_file)
    go_on = hang_by_signal(pid)
    try:
        with pytest.raises(LinkFault, match="hung"):
            sender.send(b"stuck")
        for _ in range(5):
            sender.close()
            listener.close()
            with pytest.raises(LinkFault, match="hung"):
                sender.open()
            with pytest.raises(LinkFault, match="hung"):
                listener.open()
        assert worker_of(disk_file) == pid
    finally:
        go_on()
    until(lambda: is_gone(pid))
    sender.open()
    listener.open()
    assert worker_of(disk_file) != pid
    assert listener.receive(0.0) is None
    sender.send(b"new")
    assert received(listener.receive(LIMIT_S)).data == b"new"


def test_listener_waiting_on_a_hung_disk_does_not_hold_the_sender(
    ends: Callable[..., Any], disk_file: str
) -> None:
    """Listener and sender wait for the same hung disk in two threads: each gives up within its own
    limit.
    """
    sender, listener = ends(disk_file)
    go_on = hang_by_signal(worker_of(disk_file))
    faults = []

    def attempt(work: Callable[..., Any]) -> None:
        try:
            work()
        except LinkFault as error:
            faults.append(error)

    works = (lambda: sender.send(b"x"), lambda: listener.receive(3))
    threads = [threading.Thread(target=attempt, args=(work,)) for work in works]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
        assert len(faults) == 2, "both gave up while the disk hung"
    finally:
        go_on()


def test_killed_worker_is_replaced_at_the_next_open(
    ends: Callable[..., Any], disk_file: str
) -> None:
    """kill -9 of the worker: both ends fault at once, reopened they work, and no zombie stays."""
    sender, listener = ends(disk_file)
    pid = worker_of(disk_file)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(LinkFault):
        sender.send(b"x")
    with pytest.raises(LinkFault):
        listener.receive(1.0)
    until(lambda: is_gone(pid))
    sender.open()
    listener.open()
    assert worker_of(disk_file) not in (0, pid)
    assert listener.receive(0.0) is None
    sender.send(b"new")
    assert received(listener.receive(LIMIT_S)).data == b"new"


def test_worker_killed_during_a_request_wakes_the_waiting(
    ends: Callable[..., Any], disk_file: str
) -> None:
    """The worker dies while a request waits: the LinkFault comes when it dies, not at the limit."""
    sender, _ = ends(disk_file)
    pid = worker_of(disk_file)
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(0.1, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(LinkFault, match="Broken pipe|ended"):
        sender.send(b"x")


def test_worker_ends_with_the_last_user(disk_file: str) -> None:
    """Sender and listener share one worker; it ends when the second of them is closed."""
    sender, listener = (
        DioSender(disk_spec(disk_file)),
        DioListener(disk_spec(disk_file, 10), time.monotonic),
    )
    sender.open()
    listener.open()
    pid = worker_of(disk_file)
    sender.close()
    assert worker_of(disk_file) == pid
    listener.close()
    until(lambda: is_gone(pid))
    assert not disk_channel._channels


def test_worker_ends_when_its_daemon_is_killed(disk_file: str) -> None:
    """The daemon is killed with SIGKILL: its worker sees the end of its requests and ends."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            channel = channel_for(disk_file, True)
            channel.open(True, START_LIMIT_S)
            os.write(write_end, b"%d\n" % channel.worker_pid)
            signal.pause()
        finally:
            os._exit(1)
    try:
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            pid = int(pipe.readline())
        assert not is_gone(pid)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    # The process that adopts it reaps it; a zombie has ended, too.
    until(
        lambda: is_gone(pid) or open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "Z"
    )


def test_throttled_disk_is_a_hang_like_any_other(
    ends: Callable[..., Any], loop_device: Callable[..., Any], require: Callable[..., Any]
) -> None:
    """The kernel lets this worker's I/O wait (it cannot even be killed): within the limit, then
    recovery.
    """
    blkio = "/sys/fs/cgroup/blkio"
    require(os.access(f"{blkio}/cgroup.procs", os.W_OK), "no writable cgroup v1 blkio controller")
    device, _ = loop_device()
    group = f"{blkio}/ohl{uuid.uuid4().hex}"
    sender, listener = ends(device)
    number = os.stat(device).st_rdev
    name = f"{os.major(number)}:{os.minor(number)}"

    def throttle(bytes_per_s: int) -> None:
        for way in ("read", "write"):
            with open(f"{group}/blkio.throttle.{way}_bps_device", "w") as file:
                file.write(f"{name} {bytes_per_s}")

    os.mkdir(group)
    try:
        pid = worker_of(device)
        with open(f"{group}/cgroup.procs", "w") as file:
            file.write(str(pid))
        throttle(1)
        with pytest.raises(LinkFault, match="hung: no answer to the (read|write)"):
            sender.send(bytes(4000))
        with pytest.raises(LinkFault, match="hung"):
            listener.receive(0.5)
        sender.close()
        listener.close()
        os.kill(pid, signal.SIGKILL)
        assert not is_gone(pid)
        throttle(0)
        until(lambda: is_gone(pid))
        sender.open()
        listener.open()
        assert listener.receive(0.0) is None
        sender.send(b"free")
        assert received(listener.receive(LIMIT_S)).data == b"free"
    finally:
        throttle(0)
        sender.close()
        listener.close()
        until(lambda: not open(f"{group}/cgroup.procs").read())
        os.rmdir(group)


def test_disk_that_fails_is_a_fault_and_recovers(
    ends: Callable[..., Any], loop_device: Callable[..., Any]
) -> None:
    """The storage behind the device is gone (EIO): receive is a LinkFault, never silence taken for
    life; back, it works.
    """
    device, image = loop_device()
    sender, listener = ends(device, 32)
    os.truncate(image, 0)
    with pytest.raises(LinkFault, match=f"the read of {device}: Input/output error"):
        listener.receive(1.0)
    os.truncate(image, 64 * 512)
    listener.open()
    assert listener.receive(0.0) is None
    sender.send(b"back")
    assert received(listener.receive(LIMIT_S)).data == b"back"


def test_read_only_disk_can_be_listened_to_but_not_written(loop_device: Callable[..., Any]) -> None:
    """The device is read-only here: the sender reports it at its first beat at the latest, the
    listener works.
    """
    device, _ = loop_device(64, "-r")
    listener = DioListener(disk_spec(device), time.monotonic)
    listener.open()
    assert listener.receive(0.0) is None
    sender = DioSender(disk_spec(device))
    with pytest.raises(
        LinkFault,
        match=f"of {device}: (Operation not permitted|Read-only file system|Permission denied)",
    ):
        sender.open()
        sender.send(b"x")
    assert listener.receive(0.3) is None
    sender.close()
    listener.close()


def test_device_too_small_for_the_slot_is_refused(loop_device: Callable[..., Any]) -> None:
    """The device ends before the slot: both ends report how many blocks there are and how many it
    takes.
    """
    device, _ = loop_device(16)
    for end in (
        DioSender(disk_spec(device, 10)),
        DioListener(disk_spec(device, 10), time.monotonic),
    ):
        with pytest.raises(LinkFault, match="it has 16 blocks of 512 bytes, offset 10 needs 20"):
            end.open()
    assert not disk_channel._channels


def test_offset_inside_a_large_block_proposes_the_next_one(loop_device: Callable[..., Any]) -> None:
    """A device of 4 KiB blocks and offset 10: refused, with the next usable offset."""
    device, _ = loop_device(64, "-b", "4096")
    with pytest.raises(
        LinkFault, match="blocks of 4096 bytes: offset 10 must be a multiple of 8, for example 16"
    ):
        DioSender(disk_spec(device, 10)).open()


def test_frame_too_large_for_the_slot_names_the_spacing(
    ends: Callable[..., Any], disk_file: str
) -> None:
    """A beat of more services than 10 blocks hold: the LinkFault names the spacing needed."""
    sender, _ = ends(disk_file)
    with pytest.raises(LinkFault, match="needs slots spaced 12 blocks apart; they have 10"):
        sender.send(bytes(6000))


def test_short_file_is_blank_until_the_peer_writes(ends: Callable[..., Any], disk_dir: str) -> None:
    """A shared file of no length: the listener finds it blank, the sender makes it longer, the beat
    is heard.
    """
    path = os.path.join(disk_dir, "short")
    open(path, "wb").close()
    sender, listener = ends(path, 20)
    assert listener.counters["blank"] >= 1
    sender.send(b"first")
    assert received(listener.receive(LIMIT_S)).data == b"first"
    assert os.path.getsize(path) == 30 * 512


@pytest.mark.parametrize("kind", ["dio", "disk"])
def test_two_nodes_share_a_device_in_the_tutorials_slots(
    ends: Callable[..., Any], loop_device: Callable[..., Any], kind: str
) -> None:
    """Blocks 0 and 10 of one device, written in turn: each node's slot keeps its own beat,
    whole.
    """
    device, image = loop_device()
    one_sender, one_listener = ends(device, 0, kind)
    two_sender, two_listener = ends(device, 10, kind)
    for number in range(4):
        one, two = b"1%d" % number * 2000, b"2%d" % number * 2000
        one_sender.send(one)
        two_sender.send(two)
        assert (one_listener.receive(LIMIT_S).data, two_listener.receive(LIMIT_S).data) == (
            one,
            two,
        )


def test_stale_page_cache_is_not_believed(
    ends: Callable[..., Any], loop_device: Callable[..., Any]
) -> None:
    """The disk changes below this node's page cache, as by another node: a disk listener sees the
    new beat.
    """
    device, image = loop_device()
    _, listener = ends(device, 10, "disk")
    assert listener.receive(0.3) is None
    with open(image, "r+b") as file:
        file.seek(10 * 512)
        file.write(encode_slot(b"from the other node", 5120))
        file.flush()
        os.fsync(file.fileno())
    assert received(listener.receive(LIMIT_S)).data == b"from the other node"


def test_buffered_write_does_not_touch_the_other_slot(
    ends: Callable[..., Any], loop_device: Callable[..., Any]
) -> None:
    """Our page cache holds an old copy of the peer's blocks beside our slot: writing ours leaves
    theirs as it is on disk.
    """
    device, image = loop_device()
    sender, _ = ends(device, 10, "disk")
    with open(device, "rb") as stale:
        stale.read(64 * 512)
        with open(image, "r+b") as file:
            file.seek(8 * 512)
            file.write(b"theirs".ljust(1024, b"!"))
            file.flush()
            os.fsync(file.fileno())
        sender.send(b"ours")
    run("sync")
    with open(image, "rb") as file:
        file.seek(8 * 512)
        assert file.read(6) == b"theirs"


@pytest.mark.parametrize(
    "content, counter",
    [
        (b"deb1.opensvc.com".ljust(5120, b"\0"), "alien"),
        (encode_slot(b"x" * 3000, 5120)[:1024].ljust(5120, b"?"), "checksum"),
        (bytes(5120), "blank"),
    ],
)
def test_slot_without_a_whole_beat_is_counted_and_never_heard(
    ends: Callable[..., Any], disk_file: str, content: bytes, counter: str
) -> None:
    """A foreign, torn or blank slot: nothing is received however often it is read.

    The next good beat is.
    """
    with open(disk_file, "r+b") as file:
        file.write(content)
    listener = DioListener(disk_spec(disk_file), time.monotonic, poll_s=0.05)
    listener.open()
    assert listener.receive(0.3) is None
    assert listener.counters[counter] >= 2 and listener.counters["received"] == 0
    sender, _ = ends(disk_file) if counter == "blank" else (DioSender(disk_spec(disk_file)), None)
    sender.open()
    sender.send(b"one")
    if counter == "blank":
        assert received(listener.receive(LIMIT_S)).data == b"one"
    else:
        # What was there before could not be read, so the first readable beat is the starting point.
        assert listener.receive(0.3) is None
        sender.send(b"two")
        assert received(listener.receive(LIMIT_S)).data == b"two"
    sender.close()
    listener.close()


def test_beat_after_a_torn_read_is_heard_once(ends: Callable[..., Any], disk_file: str) -> None:
    """A listener that knows the last beat meets a half-written slot: nothing, then the whole beat
    once.
    """
    sender, _ = ends(disk_file)
    listener = DioListener(disk_spec(disk_file), time.monotonic, poll_s=0.02)
    listener.open()
    sender.send(b"a" * 3000)
    assert listener.receive(0.0) is None
    with open(disk_file, "r+b") as file:
        file.write(encode_slot(b"b" * 3000, 5120)[:1024])
    assert listener.receive(0.1) is None
    assert listener.counters["checksum"] >= 1
    sender.send(b"b" * 3000)
    assert received(listener.receive(LIMIT_S)).data == b"b" * 3000
    assert listener.receive(0.1) is None
    listener.close()


def test_file_system_without_o_direct_works_and_reports_it(
    ends: Callable[..., Any], disk_dir: str, require: Callable[..., Any]
) -> None:
    """A file system that refuses O_DIRECT: the link works and its remark reports what it lacks."""
    require(os.geteuid() == 0, "mounting a ramfs needs root")
    run("mount", "-t", "ramfs", "ramfs", disk_dir)
    try:
        path = os.path.join(disk_dir, "file")
        with open(path, "wb") as file:
            file.truncate(64 * 512)
        sender, listener = ends(path)
        assert (
            "cannot be read around the page cache" in sender.remark
            and sender.remark == listener.remark
        )
        sender.send(b"beat")
        assert received(listener.receive(LIMIT_S)).data == b"beat"
        sender.close()
        listener.close()
    finally:
        # The worker holds the file until it has seen the end of its requests.
        until(lambda: not os.system(f"umount {disk_dir} 2>/dev/null"))


def test_beat_carries_the_instant_of_its_read(ends: Callable[..., Any], disk_file: str) -> None:
    """However late the thread that waits for it gets it: a node is heard until then, and no
    longer.
    """
    sender, listener = ends(disk_file)
    before = clock.monotonic()
    sender.send(b"beat")
    watch = listener._watch
    until(lambda: watch._news)
    after, reads = clock.monotonic(), watch.reads
    until(lambda: watch.reads > reads + 1)
    assert before <= received(listener.receive(LIMIT_S)).received_at <= after
