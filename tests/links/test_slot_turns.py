"""Both ends of a slot on a disk in memory: what is opened, read and written, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.formats.disk_slot import BLOCK_BYTES, encode_slot
from opensvc_openha.links import slot_link as module
from opensvc_openha.links.base import LinkFault, Quiet, Received
from opensvc_openha.links.disk_channel import START_LIMIT_S, DeviceInfo, Difference
from opensvc_openha.links.slot_link import ForeignData, SlotEnd, SlotListener, SlotSender
from tests.links.paced_watch import PacedWatch

LINK = LinkSpec("deb1", "dio", "/dev/x", "", 0, 8, 10.0)


class Disk:
    """A disk and the channels to it, all of them this object."""

    def __init__(self, blocks: int = 64) -> None:
        self.data = bytearray(blocks * BLOCK_BYTES)
        self.info = DeviceInfo(
            size_bytes=len(self.data), block_bytes=BLOCK_BYTES, is_block_device=True,
            is_in_use=False, is_around_cache=True,
        )  # fmt: skip
        self.disk = "naa.1"
        self.opened: list[tuple[bool, float]] = []
        self.closed = 0
        self.error: LinkFault | None = None
        self.on_read: Callable[[], None] = lambda: None
        self.limits: set[float] = set()
        self.identities = 0
        self.counted = 0
        self.ticks = Ticks()
        self.watches: list[PacedWatch] = []
        self.watched: list[tuple[int, int, float]] = []
        self.is_lossy = False

    def open(self, for_writing: bool, limit_s: float) -> DeviceInfo:
        self.opened.append((for_writing, limit_s))
        if self.error is not None:
            raise self.error
        return self.info

    def read(self, offset: int, length: int, limit_s: float) -> bytes:
        self.limits.add(limit_s)
        data = bytes(self.data[offset : offset + length])
        self.on_read()
        return data

    def write(self, offset: int, data: bytes, limit_s: float) -> None:
        self.limits.add(limit_s)
        self.data[offset : offset + len(data)] = data

    def replace(
        self, offset: int, former: bytes | None, data: bytes, limit_s: float
    ) -> Difference | None:
        if former is not None and (before := self.read(offset, len(data), limit_s)) != former:
            return Difference(False, before)
        if not self.is_lossy:
            self.write(offset, data, limit_s)
        after = self.read(offset, len(data), limit_s)
        return None if after == data else Difference(True, after)

    def watch(self, offset: int, length: int, pause_s: float, limit_s: float) -> PacedWatch:
        self.watched.append((offset, length, pause_s))
        made = PacedWatch(self.ticks, lambda: self.read(offset, length, limit_s), pause_s)
        self.watches.append(made)
        return made

    def count_reads(self, number: int) -> None:
        self.counted += number

    def check_identity(self) -> None:
        self.identities += 1

    def close(self) -> None:
        self.closed += 1

    def put(self, frame: bytes, link: LinkSpec = LINK) -> None:
        """The other node writes its slot."""
        size = link.slot_blocks * BLOCK_BYTES
        slot = (frame if link.wire is Wire.LEGACY else encode_slot(frame, size, BLOCK_BYTES)).ljust(
            size, b"\0"
        )
        begin = link.offset * BLOCK_BYTES
        self.data[begin : begin + size] = slot


class Ticks:
    """A clock that moves with each look at it, and with each pause."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """An empty one that is not in use."""
    made = Disk()
    monkeypatch.setattr(module, "channel_for", lambda device, is_direct: made)
    monkeypatch.setattr(module, "ask_blkid", lambda parts: "")
    return made


def listener(disk: Disk, link: LinkSpec = LINK) -> tuple[SlotListener, Ticks]:
    """A listener whose pauses take no time."""
    return SlotListener(link, disk.ticks, True, 0.25), disk.ticks


# --- opening --------------------------------------------------------------------------------------


@pytest.mark.parametrize("for_writing", [False, True])
def test_disk_that_was_opened_is_known(disk: Disk, for_writing: bool) -> None:
    """Nothing before; and a hint where it cannot be read around the cache."""
    end = SlotEnd(LINK, True, for_writing)
    assert (end.remark, end.disk) == ("", "")
    end.open()
    assert end.disk == "naa.1" and end.remark == "" and disk.closed == 0
    assert disk.opened == [(for_writing, START_LIMIT_S)]
    disk.info = DeviceInfo(**{**vars(disk.info), "is_around_cache": False})
    end.open()
    assert disk.closed == 1, "the former one"
    assert "around the page cache" in end.remark
    cached = SlotEnd(LINK, False, for_writing)
    cached.open()
    assert cached.remark == "", "no more was asked for"
    end.close()
    end.close()
    assert disk.closed == 2


@pytest.mark.parametrize("is_too_small", [False, True])
def test_disk_that_cannot_be_used_is_closed(disk: Disk, is_too_small: bool) -> None:
    """It could not be opened, or has no room for the slot."""
    if is_too_small:
        disk.info = DeviceInfo(**{**vars(disk.info), "size_bytes": BLOCK_BYTES})
    else:
        disk.error = LinkFault("no such device")
    end = SlotEnd(LINK, True, False)
    with pytest.raises(LinkFault, match="too small" if is_too_small else "no such device"):
        end.open()
    assert disk.closed == 1 and end.disk == ""
    with pytest.raises(LinkFault, match="is not open"):
        end._opened_channel()


def test_sender_of_a_slot_that_is_not_its_own_is_closed(disk: Disk) -> None:
    """Nothing is written."""
    disk.data[LINK.offset * BLOCK_BYTES] = 7
    sender = SlotSender(LINK, True)
    before = bytes(disk.data)
    with pytest.raises(ForeignData, match="data that is no heartbeat"):
        sender.open()
    assert disk.closed == 1 and bytes(disk.data) == before
    with pytest.raises(LinkFault, match="is not open"):
        sender.send(b"frame")


# --- sending --------------------------------------------------------------------------------------


def test_beat_is_read_back_from_the_disk_that_the_path_names(disk: Disk) -> None:
    """One that was exchanged meanwhile has no renewal of this node."""
    sender, (reader, _) = SlotSender(LINK, True), listener(disk)
    sender.open()
    reader.open()
    assert reader.receive(0.0) is None
    sender.send(b"one")
    found = reader.receive(1.0)
    assert found is not None and found.data == b"one" and sender.counters == {"overwritten": 0}
    assert disk.limits == {2.0}
    disk.disk = "naa.2"
    with pytest.raises(LinkFault, match="/dev/x names another disk now"):
        sender.send(b"two")
    with pytest.raises(LinkFault, match="/dev/x names another disk now"):
        reader.receive(1.0)
    sender.open()
    sender.send(b"three")


# --- listening ------------------------------------------------------------------------------------


def test_content_of_a_slot_that_was_opened_is_found_and_is_no_beat(disk: Disk) -> None:
    """It may be of any age; what comes later is one, at the instant behind its read."""
    disk.put(b"old")
    reader, ticks = listener(disk)
    assert reader.found is None and reader.quiet is None
    reader.open()
    assert reader.receive(0.0) is None
    found = reader.found
    assert found is not None
    assert (found.data, found.source, found.is_checked) == (b"old", LINK.label, True)
    assert 100.0 < found.received_at < ticks.now
    disk.put(b"new")
    received = reader.receive(1.0)
    assert received is not None and received.data == b"new" and received.is_checked
    assert reader.found is found and reader.counters["received"] == 1
    reader.open()
    assert reader.found is None, "of this opening"
    assert reader.receive(0.0) is None
    again = reader.found
    assert isinstance(again, Received) and again.data == b"new"


def test_blank_slot_has_nothing_to_be_found(disk: Disk) -> None:
    """The first beat in it is one."""
    reader, _ = listener(disk)
    reader.open()
    assert reader.receive(0.0) is None and reader.found is None
    disk.put(b"first")
    received = reader.receive(1.0)
    assert received is not None and received.data == b"first" and reader.found is None


def test_record_of_an_original_is_never_found(disk: Disk) -> None:
    """Nothing in it shows that it is whole."""
    link = LinkSpec(**{**vars(LINK), "wire": Wire.LEGACY})
    disk.put(b"old", link)
    reader, _ = listener(disk, link)
    reader.open()
    assert reader.receive(0.0) is None and reader.found is None
    disk.put(b"new", link)
    received = reader.receive(3.0)
    assert received is not None and received.data.startswith(b"new") and not received.is_checked
    assert reader.found is None


def test_quiet_read_is_dated_when_it_began(disk: Disk) -> None:
    """Since the end of the read that showed the content first; none before a second look, and none
    of a former opening.
    """
    reader, ticks = listener(disk)
    reads = list[float]()
    disk.on_read = lambda: reads.append(ticks.now)
    reader.open()
    assert cast(Any, reader)._since == 0.0
    assert reader.receive(0.0) is None and reader.quiet is None
    assert reader.receive(0.3) is None
    first, second = reads
    quiet = reader.quiet
    assert isinstance(quiet, Quiet)
    assert quiet.read_at == second and first < quiet.since < first + 0.01
    disk.put(b"new")
    assert reader.receive(1.0) is not None and reader.quiet is None, "also a beat is news"
    since = ticks.now
    assert reader.receive(0.3) is None
    later = reader.quiet
    assert isinstance(later, Quiet) and since - 0.01 < later.since <= since
    reader.open()
    assert reader.quiet is None
    assert reader.receive(0.0) is None and reader.quiet is None


def test_pages_of_a_cache_are_never_quiet(disk: Disk) -> None:
    """They prove nothing of the disk."""
    disk.info = DeviceInfo(**{**vars(disk.info), "is_around_cache": False})
    reader, _ = listener(disk)
    reader.open()
    assert reader.receive(2.0) is None and reader.quiet is None


def test_slot_is_read_at_its_pace_by_the_process_until_it_is_closed(disk: Disk) -> None:
    """From the first wait on; each opening has the slot watched afresh, and what was read counts
    for the looks at what the path names.
    """
    reader, _ = listener(disk)
    reader.open()
    assert disk.watched == []
    assert reader.receive(0.0) is None and reader.receive(1.0) is None
    assert disk.watched == [(LINK.offset * BLOCK_BYTES, LINK.slot_blocks * BLOCK_BYTES, 0.25)]
    assert disk.counted == disk.watches[0].reads == 4
    reader.open()
    assert disk.watches[0].closed == 1 and len(disk.watches) == 1
    assert reader.receive(0.0) is None and len(disk.watches) == 2 and disk.counted == 5
    reader.close()
    reader.close()
    assert [watch.closed for watch in disk.watches] == [1, 1]


def test_what_is_no_frame_counts_with_each_read(disk: Disk) -> None:
    """As long as it lies there, it is counted: also what stays as it is."""
    reader, _ = listener(disk)
    reader.open()
    for counter, content in (("blank", b""), ("alien", b"x")):
        before = reader.counters[counter]
        disk.data[LINK.offset * BLOCK_BYTES : LINK.offset * BLOCK_BYTES + 1] = content or b"\0"
        assert reader.receive(1.0) is None
        assert reader.counters[counter] - before == 4
    disk.put(b"beat")
    assert reader.receive(1.0) is not None and reader.receive(1.0) is None
    assert (reader.counters["blank"], reader.counters["alien"]) == (4, 4)


def test_slot_is_compared_with_what_was_written_last(disk: Disk) -> None:
    """Not with what lay there when it was opened; and what others wrote is written over if it is a
    heartbeat.
    """
    disk.put(b"former life")
    sender = SlotSender(LINK, True)
    sender.open()
    sender.send(b"one")
    sender.send(b"two")
    assert sender.counters == {"overwritten": 0}
    disk.put(b"somebody")
    sender.send(b"three")
    assert sender.counters == {"overwritten": 1} and disk.identities == 1
    sender.open()
    disk.put(b"between two openings")
    sender.send(b"four")
    assert sender.counters == {"overwritten": 1}


def test_write_that_the_disk_loses_is_a_fault_each_time(disk: Disk) -> None:
    """It is no second writer, and none of ours later on either."""
    sender = SlotSender(LINK, True)
    sender.open()
    sender.send(b"one")
    disk.is_lossy = True
    for _ in range(2):
        with pytest.raises(LinkFault, match="does not hold what was just written to block 8"):
            sender.send(b"two")
    assert sender.counters == {"overwritten": 0}
    disk.is_lossy = False
    sender.send(b"three")
    assert sender.counters == {"overwritten": 0}


def test_listener_that_is_roused_waits_no_longer_once(disk: Disk) -> None:
    """Before it waits for the first time, or between two waits; then it waits as before."""
    ticks = disk.ticks
    listener = SlotListener(LINK, ticks, True, 0.25)
    listener.open()
    listener.rouse()
    waits = []
    for _ in range(3):
        began_at = ticks.now
        assert listener.receive(5.0) is None
        waits.append(ticks.now - began_at > 4.0)
    listener.rouse()
    began_at = ticks.now
    assert listener.receive(5.0) is None and ticks.now - began_at < 1.0
    assert waits == [False, True, True]
