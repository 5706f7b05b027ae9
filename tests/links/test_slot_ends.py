"""Both ends of a slot, step by step: what is asked of the disk, when, and what becomes of what it
answers.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.formats.disk_slot import encode_slot
from opensvc_openha.links import disk_channel
from opensvc_openha.links.base import LinkFault, Quiet, Received
from opensvc_openha.links.dio import DioListener, DioSender
from opensvc_openha.links.disk import DiskListener, DiskSender
from opensvc_openha.links.disk_channel import DeviceInfo, Difference
from opensvc_openha.links.disk_watch import DiskWatch
from opensvc_openha.links.slot_link import ForeignData, SlotEnd, SlotListener
from opensvc_openha.system import clock as system_clock
from tests.links.paced_watch import PacedWatch
from tests.links.places import received, run
from tests.waiting import until

SLOT = 5120
LEGACY_SLOT = 19 * 512


def spec(device: str, offset: int = 0, timeout_s: float = 10.0, wire: Wire = Wire.OWN) -> LinkSpec:
    return LinkSpec("deb1", "dio", device, "", 0, offset, timeout_s, wire=wire)


def put(path: str, data: bytes, offset: int = 0) -> None:
    with open(path, "r+b") as file:
        file.seek(offset * 512)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def content(path: str, offset: int = 0, length: int = SLOT) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset * 512)
        return file.read(length)


def slot(frame: bytes) -> bytes:
    return encode_slot(frame, SLOT).ljust(SLOT, b"\0")


def record(letter: bytes) -> bytes:
    """As many bytes as a record of the original has; nothing here looks at what they mean."""
    return b"deb1".ljust(128, b"\0") + b"\1\0\0\0\0\0\0\0" + letter * (LEGACY_SLOT - 136)


class Simulated:
    """A clock that moves only while somebody waits; ``meanwhile`` is done in each wait."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        self.meanwhile: Callable[[], object] = bool

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        self.meanwhile()


class Watched:
    """The real way to the disk.

    Counts the reads, and does something once, right after the first read.
    """

    def __init__(
        self, channel: disk_channel.DiskChannel, afterwards: Callable[[], object] = bool
    ) -> None:
        self._channel = channel
        self._afterwards = afterwards
        self.disk = channel.disk
        self.reads = 0
        self.count_reads = channel.count_reads

    def read(self, offset: int, length: int, limit_s: float) -> bytes:
        data = self._channel.read(offset, length, limit_s)
        self.reads += 1
        if self.reads == 1:
            self._afterwards()
        return data

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Opens ends, and closes them in the end; slots are watched in simulated time."""
    made: list[SlotEnd] = []

    def watch(self: Any, offset: int, length: int, pause_s: float, limit_s: float) -> PacedWatch:
        (end,) = (
            end
            for end in made
            if isinstance(end, SlotListener) and (end._channel, end._offset) == (self, offset)
        )
        # Through the present channel of the end: a test may look at what is read.
        assert isinstance(end._clock, Simulated)
        return PacedWatch(
            end._clock, lambda: end._opened_channel().read(offset, length, limit_s), pause_s
        )

    monkeypatch.setattr(disk_channel.DiskChannel, "watch", watch)

    def add(end: Any, is_opened: bool = True) -> Any:
        made.append(end)
        if is_opened:
            end.open()
        return end

    yield add
    for end in made:
        end.close()


def listening(
    opened: Callable[..., Any],
    device: str,
    clock: Simulated,
    wire: Wire = Wire.OWN,
    poll_s: float = 0.25,
) -> Any:
    """A listener in simulated time that has read its slot once."""
    made = opened(DioListener(spec(device, wire=wire), clock, poll_s))
    assert made.receive(0.0) is None
    clock.waits.clear()
    return made


@pytest.mark.parametrize(
    "make",
    [
        DioSender,
        DiskSender,
        lambda one: DioListener(one, Simulated()),
        lambda one: DiskListener(one, Simulated()),
    ],
)
def test_end_has_nothing_to_remark_where_all_is_well(
    opened: Callable[..., Any], disk_file: str, make: Callable[..., Any] | type[Any]
) -> None:
    """Not opened, and opened on a file system that can do what the link wants: no remark, nothing
    counted.
    """
    end = opened(make(spec(disk_file)), is_opened=False)
    assert end.remark == "" and not any(end.counters.values())
    with pytest.raises(LinkFault, match="is not open"):
        end.send(b"x") if hasattr(end, "send") else end.receive(0.0)
    end.open()
    assert end.remark == "" and not any(end.counters.values())


def test_slow_disk_has_half_the_timeout_and_at_most_two_seconds(
    disk_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link whose beats the disk cannot take in time is no link.

    Opening has five, for a process has to start.
    """
    asked: list[tuple[str, float]] = []

    class Recording(disk_channel.DiskChannel):
        def open(self, for_writing: bool, limit_s: float) -> DeviceInfo:
            asked.append(("open", limit_s))
            return super().open(for_writing, limit_s)

        def read(self, offset: int, length: int, limit_s: float) -> bytes:
            asked.append(("read", limit_s))
            return super().read(offset, length, limit_s)

        def write(self, offset: int, data: bytes, limit_s: float) -> None:
            asked.append(("write", limit_s))
            super().write(offset, data, limit_s)

        def replace(self, offset: int, former: Any, data: bytes, limit_s: float) -> Any:
            asked.append(("replace", limit_s))
            return super().replace(offset, former, data, limit_s)

        def watch(self, offset: int, length: int, pause_s: float, limit_s: float) -> DiskWatch:
            asked.append(("watch", limit_s))
            return super().watch(offset, length, pause_s, limit_s)

    monkeypatch.setattr(disk_channel, "DiskChannel", Recording)
    for timeout_s, limit_s in ((3.0, 1.5), (4.0, 2.0), (30.0, 2.0)):
        sender, listener = (
            DioSender(spec(disk_file, 0, timeout_s)),
            DioListener(spec(disk_file, 0, timeout_s), system_clock.monotonic),
        )
        sender.open()
        sender.send(b"beat")
        listener.open()
        listener.receive(0.0)
        sender.close()
        listener.close()
        assert set(asked) == {
            ("open", 5.0),
            ("read", limit_s),
            ("replace", limit_s),
            ("watch", limit_s),
        }
        asked.clear()


def test_no_answer_within_the_limit_is_reported_with_it(
    opened: Callable[..., Any], disk_file: str
) -> None:
    """The I/O process stands still: a fault once half of a short timeout is over, and at once after
    that.
    """
    sender = opened(DioSender(spec(disk_file, timeout_s=0.6)))
    pid = disk_channel._channels[(disk_file, True)].worker_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(
            LinkFault, match=f"^hung: no answer to the write of {disk_file} within 0.3 s$"
        ):
            sender.send(b"beat")
        with pytest.raises(
            LinkFault, match=f"^hung: {disk_file} still owes the answer to the write$"
        ):
            sender.send(b"beat")
    finally:
        os.kill(pid, signal.SIGCONT)


def test_device_in_use_is_refused_although_it_is_blank(
    opened: Callable[..., Any], loop_device: Callable[..., Any]
) -> None:
    """Taken by a volume manager or a file system that has written nothing yet: only the kernel
    knows.
    """
    device, _ = loop_device()
    holder = os.open(device, os.O_RDONLY | os.O_EXCL)
    try:
        sender = opened(DioSender(spec(device)), is_opened=False)
        with pytest.raises(
            ForeignData,
            match="holds a mounted file system or a volume in use: nothing is written to block 0",
        ):
            sender.open()
        with pytest.raises(LinkFault, match="is not open"):
            sender.send(b"beat")
    finally:
        os.close(holder)
    sender.open()
    sender.send(b"beat")


def test_slot_that_ends_with_its_device_is_usable(
    opened: Callable[..., Any], loop_device: Callable[..., Any]
) -> None:
    """The last blocks: not one is missing.

    On a device of 4 KiB blocks the slot is the whole ones of these.
    """
    device, _ = loop_device(20)
    large, image = loop_device(64, "-b", "4096")
    for path, offset in ((device, 10), (large, 16)):
        sender = opened(DioSender(spec(path, offset)))
        sender.send(b"beat")
    assert content(image, 16, 4096) == encode_slot(b"beat", 4096, 4096) and content(
        image, 24, 4096
    ) == bytes(4096)


@pytest.mark.parametrize(
    ("info", "offset", "wire", "words"),
    [
        (
            DeviceInfo(8192, 1 << 20, True, True),
            0,
            Wire.OWN,
            "/dev/x has blocks of 8192 bytes: a slot of 10 x 512 bytes holds none",
        ),
        (
            DeviceInfo(4096, 1 << 20, True, True),
            10,
            Wire.OWN,
            "/dev/x has blocks of 4096 bytes: offset 10 must be a multiple of 8, for example 16",
        ),
        (DeviceInfo(4096, 1 << 20, True, True), 16, Wire.OWN, ""),
        (
            DeviceInfo(4096, 1 << 20, True, True),
            24,
            Wire.LEGACY,
            "/dev/x has blocks of 4096 bytes: the original's 19 x 512 bytes are not whole ones",
        ),
        (DeviceInfo(512, 20 * 512, True, True), 10, Wire.OWN, ""),
        (
            DeviceInfo(512, 19 * 512, True, True),
            10,
            Wire.OWN,
            "/dev/x is too small: it has 19 blocks of 512 bytes, offset 10 needs 20",
        ),
        (
            DeviceInfo(512, 37 * 512, True, True),
            19,
            Wire.LEGACY,
            "/dev/x is too small: it has 37 blocks of 512 bytes, offset 19 needs 38",
        ),
        (DeviceInfo(512, 38 * 512, True, True), 19, Wire.LEGACY, ""),
        (DeviceInfo(512, 0, False, True), 10, Wire.OWN, ""),
    ],
)
def test_slot_must_be_whole_blocks_of_the_device(
    info: DeviceInfo, offset: int, wire: Wire, words: str
) -> None:
    """What the opening returned decides: sizes of blocks that no loop device has, too.

    A file grows with what is written.
    """
    end = DioSender(spec("/dev/x", offset, wire=wire))
    if not words:
        end._check_slot(info)
        return
    with pytest.raises(LinkFault) as caught:
        end._check_slot(info)
    assert str(caught.value) == words


def test_record_that_does_not_fit_its_slot_is_a_fault(
    opened: Callable[..., Any], disk_file: str
) -> None:
    """The original's 9,728 bytes and not one more."""
    sender = opened(DioSender(spec(disk_file, wire=Wire.LEGACY)))
    sender.send(record(b"a"))
    with pytest.raises(LinkFault, match="a record of 9729 bytes does not fit its slot of 9728"):
        sender.send(record(b"b") + b"b")
    assert content(disk_file, 0, LEGACY_SLOT) == record(b"a")


def test_claim_leaves_a_heartbeat_as_it_is(opened: Callable[..., Any], disk_file: str) -> None:
    """`hb --force` where the link already beats: nothing is written over.

    Elsewhere an empty heartbeat is.
    """
    sender = opened(DioSender(spec(disk_file)))
    sender.send(b"beat")
    opened(DioSender(spec(disk_file)), is_opened=False).claim()
    assert content(disk_file) == slot(b"beat")
    put(disk_file, b"somebody's", 20)
    opened(DioSender(spec(disk_file, 20)), is_opened=False).claim()
    assert content(disk_file, 20) == slot(b"")


def test_data_of_a_new_owner_is_refused_again_and_again(
    opened: Callable[..., Any], disk_file: str
) -> None:
    """A sender that continues after the refusal without opening the link again writes nothing
    either.
    """
    sender = opened(DioSender(spec(disk_file)))
    sender.send(b"beat")
    put(disk_file, b"a new owner " * 400)
    for _ in range(3):
        with pytest.raises(ForeignData, match="data that is no heartbeat"):
            sender.send(b"beat 2")
    assert content(disk_file).startswith(b"a new owner")


def test_slot_wiped_for_a_file_system_stops_a_running_link(
    opened: Callable[..., Any], disk_dir: str
) -> None:
    """The slot is blank now, and what is known to own a device is on it: no more beats, whatever
    was there before.
    """
    image = os.path.join(disk_dir, "image")
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    put(image, b"anything at all", 2048)
    sender = opened(DioSender(spec(image, 10)), is_opened=False)
    sender.claim()
    sender.open()
    sender.send(b"beat")
    run("mkfs.minix", image)
    put(image, bytes(SLOT), 10)
    with pytest.raises(ForeignData, match="a minix file system"):
        sender.send(b"beat 2")


def test_disk_replaced_during_the_write_is_no_second_writer(
    opened: Callable[..., Any], disk_file: str
) -> None:
    """What was just written is not there: the path names another disk now, and that is what is
    reported.
    """
    sender = opened(DioSender(spec(disk_file)))
    replace = sender._channel.replace

    def replaced(*parameters: Any) -> Difference:
        assert replace(*parameters) is None
        os.rename(disk_file, f"{disk_file}.old")
        return Difference(True, bytes(SLOT))

    sender._channel.replace = replaced
    try:
        with pytest.raises(LinkFault, match="was replaced or removed"):
            sender.send(b"beat")
    finally:
        sender._channel.replace = replace
    assert sender.counters == {"overwritten": 0}


def test_other_end_that_has_opened_another_disk_is_a_fault_of_this_one(
    opened: Callable[..., Any], disk_file: str
) -> None:
    """Both ends of a device share its opening: what this one wrote or read is of neither disk."""
    sender = opened(DioSender(spec(disk_file)))
    listener = opened(DioListener(spec(disk_file), Simulated(), 0.25))
    assert sender.disk == listener.disk != ""
    os.rename(disk_file, f"{disk_file}.old")
    with open(disk_file, "wb") as file:
        file.truncate(1 << 20)
    opened(DioListener(spec(disk_file, 10), Simulated(), 0.25))
    for work in (lambda: sender.send(b"beat"), lambda: listener.receive(1.0)):
        with pytest.raises(LinkFault, match="names another disk now"):
            work()
    for end in (sender, listener):
        end.open()
    sender.send(b"beat")


def test_slot_is_read_at_its_pace_until_the_time_is_over(
    opened: Callable[..., Any], disk_file: str
) -> None:
    """Reads 0.25 s apart; a receive that ends in between leaves the pace as it is, and one that
    ends with a read makes it.
    """
    clock = Simulated()
    listener = listening(opened, disk_file, clock, poll_s=0.25)
    watched = listener._channel = Watched(listener._channel)
    assert listener.receive(0.625) is None
    assert (clock.waits, watched.reads) == ([0.25, 0.25, 0.125], 2)
    clock.waits.clear()
    assert listener.receive(0.0625) is None
    assert (clock.waits, watched.reads) == ([0.0625], 2)
    clock.now += 0.0625
    clock.waits.clear()
    clock.meanwhile = lambda: put(disk_file, slot(b"beat"))
    assert received(listener.receive(0.0)).data == b"beat"
    assert (clock.waits, watched.reads) == ([0.0], 3)


def test_beat_is_received_once_with_the_moment_it_was_read(
    opened: Callable[..., Any], disk_file: str
) -> None:
    """A new beat at the second read: that moment, the slot's name, one more in the counter.

    Then nothing.
    """
    clock = Simulated()
    listener = listening(opened, disk_file, clock)
    clock.meanwhile = lambda: put(disk_file, slot(b"beat")) if clock.now >= 1000.4 else None
    got = received(listener.receive(10.0))
    assert (got.data, got.received_at, got.source) == (
        b"beat",
        1000.5,
        f"{disk_file}:0",
    )
    assert listener.receive(1.0) is None
    assert listener.counters == {
        "received": 1,
        "blank": 2,
        "alien": 0,
        "truncated": 0,
        "checksum": 0,
        "torn": 0,
    }


@pytest.mark.parametrize(("what", "counter"), [(bytes(SLOT), "blank"), (b"x" * SLOT, "alien")])
def test_slot_that_loses_its_beat_is_counted_and_silent(
    opened: Callable[..., Any], disk_file: str, what: bytes, counter: str
) -> None:
    """Wiped or written over: no beat is received, neither now nor when the old one comes back."""
    clock = Simulated()
    put(disk_file, slot(b"beat"))
    listener = listening(opened, disk_file, clock)
    put(disk_file, what)
    assert listener.receive(0.25) is None and listener.counters[counter] == 1
    put(disk_file, slot(b"beat"))
    again = listener.receive(0.25)
    # Written again after it was gone is a sign of life; the same after something that could not be
    # read is none.
    assert (again is not None) is (counter == "blank")


def test_end_that_is_opened_again_and_again_is_closed_once(disk_file: str) -> None:
    """A sender that opens it again after a fault leaves no process behind."""
    end = DioSender(spec(disk_file))
    for _ in range(3):
        end.open()
    end.close()
    until(lambda: not disk_channel._channels)


def test_what_a_slot_holds_when_it_is_opened_again_is_the_past(
    opened: Callable[..., Any], disk_file: str
) -> None:
    """Closed for a while: what was written meanwhile is no sign of life, and the next beat is, read
    at once.
    """
    clock = Simulated()
    put(disk_file, slot(b"one"))
    listener = listening(opened, disk_file, clock)
    listener.close()
    put(disk_file, slot(b"two"))
    listener.open()
    assert listener.receive(0.0) is None
    put(disk_file, slot(b"three"))
    assert received(listener.receive(0.25)).data == b"three"


@pytest.mark.parametrize(("wire", "whole"), [(Wire.OWN, slot), (Wire.LEGACY, record)])
def test_only_a_record_without_an_envelope_is_read_twice(
    opened: Callable[..., Any], disk_file: str, wire: Wire, whole: Callable[..., Any]
) -> None:
    """A beat in its envelope shows itself whether it is whole.

    The original's is compared with a second read.
    """
    clock = Simulated()
    put(disk_file, whole(b"a"))
    listener = listening(opened, disk_file, clock, wire, 1.0)
    put(disk_file, whole(b"b"))
    watched = listener._channel = Watched(listener._channel, lambda: put(disk_file, whole(b"c")))
    got = listener.receive(1.0)
    if wire is Wire.OWN:
        assert received(got).data == b"b" and watched.reads == 1 and listener.counters["torn"] == 0
        assert received(got).is_checked
    else:
        assert got is None and watched.reads == 2 and listener.counters["torn"] == 1
        late = received(listener.receive(1.0))
        assert late.data == record(b"c") and not late.is_checked


def test_record_that_changes_after_a_read_that_brings_no_news_is_not_torn(
    opened: Callable[..., Any], disk_file: str
) -> None:
    """The slot holds the old record, and a new one right after: it is read with the next look, and
    nothing is counted.
    """
    clock = Simulated()
    put(disk_file, record(b"a"))
    listener = listening(opened, disk_file, clock, Wire.LEGACY, 1.0)
    listener._channel = Watched(listener._channel, lambda: put(disk_file, record(b"b")))
    assert listener.receive(1.0) is None
    assert listener.counters["torn"] == 0
    assert received(listener.receive(1.0)).data == record(b"b")


def test_zeroed_record_is_counted_as_blank(opened: Callable[..., Any], disk_file: str) -> None:
    """As many zeros are no record: nothing is received, and the next one is."""
    clock = Simulated()
    put(disk_file, record(b"a"))
    listener = listening(opened, disk_file, clock, Wire.LEGACY, 1.0)
    put(disk_file, bytes(LEGACY_SLOT))
    assert listener.receive(1.0) is None and listener.counters["blank"] == 1
    put(disk_file, record(b"b"))
    assert received(listener.receive(1.0)).data == record(b"b")


def test_file_that_does_not_reach_to_the_slot_is_blank(
    opened: Callable[..., Any], disk_dir: str
) -> None:
    """Its slots are written one after the other: the listener waits for the peer's."""
    path = os.path.join(disk_dir, "short")
    open(path, "wb").close()
    clock = Simulated()
    listener = listening(opened, path, clock)
    assert listener.counters["blank"] == 1
    put(path, slot(b"beat"))
    assert received(listener.receive(0.25)).data == b"beat"


def test_listener_writes_nothing_where_it_may_not(
    opened: Callable[..., Any], loop_device: Callable[..., Any]
) -> None:
    """The device is read-only on this node: it is listened to, and not asked who holds it, for that
    would hold off others.
    """
    device, _ = loop_device(64, "-r")
    holder = os.open(device, os.O_RDONLY | os.O_EXCL)
    try:
        listener = listening(opened, device, Simulated())
    finally:
        os.close(holder)
    assert listener.counters["blank"] == 1 and not listener._info.is_in_use


def test_record_of_the_original_is_looked_for_once_a_beat() -> None:
    """It writes once a second: more reads would only meet it while it writes."""
    for asked_s, paced_s in ((0.05, 1.0), (0.25, 1.0), (3.0, 3.0)):
        assert (
            DioListener(spec("/dev/x", wire=Wire.LEGACY), Simulated(), asked_s)._poll_s == paced_s
        )
    for asked_s, paced_s in ((0.05, 0.05), (3.0, 0.25)):
        assert DioListener(spec("/dev/x"), Simulated(), asked_s)._poll_s == paced_s
    assert DioListener(
        replace(spec("/dev/x"), timeout_s=0.3), Simulated()
    )._poll_s == pytest.approx(0.05)


@pytest.mark.parametrize("what", ["no device", "no room"])
def test_end_that_cannot_be_opened_keeps_nothing_of_its_device(
    disk_file: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Neither a process nor its place: the next attempt begins as the first one did."""
    if what == "no room":
        small = DeviceInfo(512, 4 * 512, True, True)
        monkeypatch.setattr(disk_channel.DiskChannel, "open", lambda *_: small)
    else:
        os.unlink(disk_file)
    end = DioSender(spec(disk_file))
    for _ in range(2):
        with pytest.raises(LinkFault, match="too small" if what == "no room" else disk_file):
            end.open()
        assert not [path for path, _ in disk_channel._channels if path == disk_file]
    with pytest.raises(LinkFault, match="is not open"):
        end.send(b"x")


@pytest.mark.parametrize(("is_direct", "is_around", "is_said"), [
    (True, False, True), (True, True, False), (False, False, False),
])  # fmt: skip
def test_device_that_is_only_read_through_the_page_cache_is_said_to_be(
    disk_file: str,
    monkeypatch: pytest.MonkeyPatch,
    is_direct: bool,
    is_around: bool,
    is_said: bool,
) -> None:
    """Where the link promises to read around it: the other node's beats may come late."""
    info = DeviceInfo(512, 1 << 20, True, is_around)
    monkeypatch.setattr(disk_channel.DiskChannel, "open", lambda *_: info)
    end = SlotEnd(spec(disk_file), is_direct, for_writing=False)
    end.open()
    text = f"{disk_file} cannot be read around the page cache (no O_DIRECT)"
    assert end.remark == (text if is_said else "")
    end.close()


def test_slot_is_quiet_since_the_read_that_showed_its_content_first(
    opened: Callable[..., Any], disk_file: str
) -> None:
    """Whoever opens a slot late passes to nobody what it finds, and that may have been written just
    before: it is as young as that read. Garbage is content, too.
    """
    clock = Simulated()
    listener = listening(opened, disk_file, clock)
    assert listener.quiet is None
    assert listener.receive(0.25) is None and listener.quiet == Quiet(1000.25, 1000.0)
    assert listener.receive(0.25) is None and listener.quiet == Quiet(1000.5, 1000.0)
    put(disk_file, slot(b"beat"))
    assert received(listener.receive(0.25)).data == b"beat" and listener.quiet is None
    put(disk_file, b"garbage" * 700)
    assert listener.receive(0.25) is None and listener.quiet is None
    assert listener.receive(0.25) is None and listener.quiet == Quiet(1001.25, 1001.0)
    put(disk_file, slot(b"while nobody looked"))
    listener.open()
    assert listener.receive(0.0) is None and listener.quiet is None
    assert listener.receive(0.25) is None and listener.quiet == Quiet(1001.5, 1001.25)
    listener.open()
    assert listener.quiet is None, "another device may lie there now"
    assert listener.receive(0.0) is None and listener.quiet is None
    slow = Watched(listener._channel, afterwards=lambda: clock.wait(0.1))
    listener._channel = slow
    assert listener.receive(0.25) is None and listener.quiet == Quiet(1001.75, 1001.5)


def test_what_lay_in_a_slot_when_it_was_opened_is_shown(
    opened: Callable[..., Any], disk_file: str
) -> None:
    """The first that can be read, once more after each opening; no beat that came in."""
    clock = Simulated()
    listener = listening(opened, disk_file, clock)
    assert listener.found is None, "blank"
    put(disk_file, slot(b"beat"))
    assert received(listener.receive(0.25)).data == b"beat" and listener.found is None
    put(disk_file, slot(b"while nobody looked"))
    listener.open()
    assert listener.receive(0.0) is None
    there = lain(listener)
    assert there == Received(b"while nobody looked", 1000.25, there.source, is_checked=True)
    put(disk_file, slot(b"later"))
    assert received(listener.receive(0.25)).data == b"later" and listener.found is there
    put(disk_file, b"garbage" * 700)
    listener.open()
    assert listener.found is None
    assert listener.receive(0.0) is None and listener.found is None
    put(disk_file, slot(b"whole"))
    assert listener.receive(0.25) is None and lain(listener).data == b"whole"


def lain(listener: Any) -> Received:
    """What lay in the slot when it was opened."""
    found = listener.found
    assert isinstance(found, Received)
    return found


def test_read_that_fails_is_not_quiet(opened: Callable[..., Any], disk_file: str) -> None:
    """What cannot be read may have changed."""
    clock = Simulated()
    listener = listening(opened, disk_file, clock)
    assert listener.receive(0.25) is None and listener.quiet == Quiet(1000.25, 1000.0)
    os.kill(disk_channel._channels[(disk_file, True)].worker_pid, signal.SIGKILL)
    with pytest.raises(LinkFault):
        until(lambda: listener.receive(0.25))
    assert listener.quiet == Quiet(1000.25, 1000.0)


def test_page_cache_is_never_quiet(opened: Callable[..., Any], disk_file: str) -> None:
    """It may show what is not on the device any more."""
    clock = Simulated()
    listener = opened(DiskListener(spec(disk_file), clock))
    for _ in range(3):
        assert listener.receive(0.25) is None and listener.quiet is None
