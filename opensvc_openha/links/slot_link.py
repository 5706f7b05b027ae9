"""Share between dio and disk links: each node writes its own slot and reads the other's.

A beat counts if the slot CHANGED since the last read, and the first read only shows what was there
before: the last beat of a node that died long ago must not look alive. All I/O has a limit, because
disks hang. A sender reads before it writes and again after it: it never overwrites anything but a
heartbeat, and detects a slot with two writers. The I/O process of the device does both by one
request, and reads the other's slot at a fixed pace by itself (disk_watch).

The original's record lies in its slot without an envelope that would show a read beside a write: a
new one counts only once a second read has found the very same bytes.
"""

from __future__ import annotations

from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.core.timing import BEAT_INTERVAL_S, slot_read_s
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.device_signs import (
    HEAD_BYTES,
    TAIL_BYTES,
    find_sign,
    holds_heartbeat,
    without_heartbeats,
)
from opensvc_openha.formats.disk_slot import BLOCK_BYTES, decode_slot, encode_slot
from opensvc_openha.links.base import Clock, LinkFault, Quiet, Received
from opensvc_openha.links.blkid_probe import ask_blkid
from opensvc_openha.links.disk_channel import START_LIMIT_S, DeviceInfo, DiskChannel, channel_for
from opensvc_openha.links.disk_requests import MAX_BYTES
from opensvc_openha.links.disk_watch import DiskWatch, Look

IO_LIMIT_S = 2.0
"""An answer of the disk that takes longer, in seconds, is a fault, even if the link's timeout would
allow more.
"""


class ForeignData(LinkFault):
    """The slot, or its device, has another owner."""


class SlotEnd:
    """One slot of one device."""

    def __init__(self, spec: LinkSpec, direct: bool, for_writing: bool) -> None:
        self.remark = self.disk = ""
        self._spec = spec
        self._direct = direct
        self._for_writing = for_writing
        # A slower disk could not keep the link up anyway.
        self._limit_s = min(IO_LIMIT_S, spec.timeout_s / 2)
        self._channel: DiskChannel | None = None
        self._offset = spec.offset * BLOCK_BYTES
        self._is_raw = spec.wire is Wire.LEGACY
        self._slot_bytes: int
        self._info: DeviceInfo
        """Both are known once it was opened."""

    def open(self) -> None:
        """Open the device again and check that the slot is usable."""
        self.close()
        channel = channel_for(self._spec.device, self._direct)
        try:
            info = channel.open(self._for_writing, max(self._limit_s, START_LIMIT_S))
            self._check_slot(info)
        except LinkFault:
            channel.close()
            raise
        no_direct = self._direct and not info.is_around_cache
        self.remark = (
            f"{self._spec.device} cannot be read around the page cache (no O_DIRECT)"
            if no_direct
            else ""
        )
        self._channel = channel
        self._info = info
        self.disk = channel.disk

    def _check_slot(self, info: DeviceInfo) -> None:
        device, offset = self._spec.device, self._spec.offset
        blocks = f"{device} has blocks of {info.block_bytes} bytes"
        if self._offset % info.block_bytes:
            step = info.block_bytes // BLOCK_BYTES
            usable = -(-offset // step) * step
            raise LinkFault(
                f"{blocks}: offset {offset} must be a multiple of {step}, for example {usable}"
            )
        # On a device of 4 KiB blocks the slot is the whole blocks that fit between two offsets.
        slot_bytes = self._spec.slot_blocks * BLOCK_BYTES
        self._slot_bytes = slot_bytes // info.block_bytes * info.block_bytes
        if not self._slot_bytes:
            raise LinkFault(
                f"{blocks}: a slot of {self._spec.slot_blocks} x {BLOCK_BYTES} bytes holds none"
            )
        if self._is_raw and self._slot_bytes != slot_bytes:
            raise LinkFault(
                f"{blocks}: the original's {self._spec.slot_blocks} x {BLOCK_BYTES} bytes are not"
                " whole ones"
            )
        if info.is_block_device and info.size_bytes < self._offset + self._slot_bytes:
            raise LinkFault(
                f"{device} is too small: it has {info.size_bytes // BLOCK_BYTES} blocks of"
                f" {BLOCK_BYTES} bytes, offset {offset} needs"
                f" {offset + self._slot_bytes // BLOCK_BYTES}"
            )

    def close(self) -> None:
        """Leave the device without waiting for hung I/O."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _gone(self, data: bytes) -> str:
        """Return the message for a slot of which fewer bytes can be read than it has."""
        return (
            f"{self._spec.device} has vanished or shrunk: only {len(data)} of {self._slot_bytes}"
            f" bytes can be read at block {self._spec.offset}"
        )

    def _check_disk(self, channel: DiskChannel) -> None:
        """Raise LinkFault if the other end of the device has opened another disk meanwhile."""
        if channel.disk != self.disk:
            raise LinkFault(f"{self._spec.device} names another disk now")

    def _opened_channel(self) -> DiskChannel:
        if self._channel is None:
            raise LinkFault(f"{self._spec.link_id} is not open")
        return self._channel


class SlotSender(SlotEnd):
    """Write each frame over the last one, and never over foreign data."""

    def __init__(self, spec: LinkSpec, direct: bool) -> None:
        super().__init__(spec, direct, for_writing=True)
        self.counters: dict[str, int] = {"overwritten": 0}
        self._written: bytes | None = None
        """The slot as it was written last since it was opened."""

    def open(self) -> None:
        """Open the device again; raise ForeignData if slot or device have another owner."""
        super().open()
        self._written = None
        try:
            self.check_ownership()
        except LinkFault:
            self.close()
            raise

    def check_ownership(self) -> None:
        """Raise ForeignData unless the slot holds a heartbeat, or nothing on an unused device."""
        channel = self._opened_channel()
        slot = channel.read(self._offset, self._slot_bytes, self._limit_s)
        if holds_heartbeat(slot):
            return
        found = "data that is no heartbeat" if slot.strip(b"\0") else self._find_owner(channel)
        if found:
            raise ForeignData(
                f"{self._spec.device} holds {found}: nothing is written to block"
                f" {self._spec.offset}; if it may be, `hb --force -n {self._spec.node} -t"
                f" {self._spec.kind} -i {self._spec.device} -d {self._spec.offset}`"
            )

    def _find_owner(self, channel: DiskChannel) -> str:
        """Return the use of a device whose slot is empty, or an empty text."""
        slot_bytes = self._spec.slot_blocks * BLOCK_BYTES
        head = without_heartbeats(self._read_part(channel, 0, HEAD_BYTES), slot_bytes)
        tail_at = max(len(head), (self._info.size_bytes - TAIL_BYTES) // MAX_BYTES * MAX_BYTES)
        tail = without_heartbeats(
            self._read_part(channel, tail_at, self._info.size_bytes), slot_bytes
        )
        sign = find_sign(head, slot_bytes)
        if sign or self._info.is_in_use:
            return sign or "a mounted file system or a volume in use"
        if not (head.strip(b"\0") or tail.strip(b"\0")):
            return ""
        # A slot that was ours until now makes data of an unknown kind a thing that was there
        # before, and forced.
        known = ask_blkid([(0, head), (tail_at, tail)])
        return known or ("" if self._written is not None else "data of an unknown kind")

    def _read_part(self, channel: DiskChannel, begin: int, length: int) -> bytes:
        """Read a part of the device in pieces that a request can carry, up to its end at most."""
        data = b""
        for offset in range(begin, begin + length, MAX_BYTES):
            part = channel.read(offset, MAX_BYTES, self._limit_s)
            data += part
            if len(part) < MAX_BYTES:
                return data
        return data

    def claim(self) -> None:
        """Take over the slot whatever it holds, by writing an empty heartbeat unless it has one."""
        SlotEnd.open(self)
        channel = self._opened_channel()
        if not holds_heartbeat(channel.read(self._offset, self._slot_bytes, self._limit_s)):
            channel.write(self._offset, self._in_envelope(b""), self._limit_s)

    def send(self, frame: bytes) -> None:
        """Write the whole slot, wait until the device has it, and verify it.

        The slot is also checked before: another writer would make the beats of both worthless.
        Every wait has a limit.
        """
        channel = self._opened_channel()
        try:
            slot = self._slot_of(frame)
        except ValueError as error:
            raise LinkFault(f"{self._spec.device}: {error}") from None
        found = channel.replace(self._offset, self._written, slot, self._limit_s)
        if found is not None and not found.is_written:
            self._check_presence(channel, found.data, len(slot))
            self.counters["overwritten"] += 1
            # Looked at once more by the next beat if this one may not be written.
            self.check_ownership()
            found = channel.replace(self._offset, None, slot, self._limit_s)
        if found is not None:
            self._check_presence(channel, found.data, len(slot))
            raise LinkFault(
                f"{self._spec.device} does not hold what was just written to block"
                f" {self._spec.offset}: something else writes there, or the disk loses writes"
            )
        self._check_disk(channel)
        self._written = slot

    def _check_presence(self, channel: DiskChannel, data: bytes, wanted: int) -> None:
        """Raise LinkFault if the slot differs since the disk is gone.

        A missing disk is no other writer.
        """
        channel.check_identity()
        if len(data) < wanted:
            raise LinkFault(self._gone(data))

    def _slot_of(self, frame: bytes) -> bytes:
        if not self._is_raw:
            return self._in_envelope(frame)
        if len(frame) > self._slot_bytes:
            raise ValueError(
                f"a record of {len(frame)} bytes does not fit its slot of {self._slot_bytes}"
            )
        return frame

    def _in_envelope(self, frame: bytes) -> bytes:
        return encode_slot(frame, self._slot_bytes, self._info.block_bytes).ljust(
            self._slot_bytes, b"\0"
        )


class SlotListener(SlotEnd):
    """Read the peer's slot at a fixed pace."""

    def __init__(self, spec: LinkSpec, clock: Clock, direct: bool, poll_s: float) -> None:
        super().__init__(spec, direct, for_writing=False)
        self.counters: dict[str, int] = dict.fromkeys(
            ("received", "blank", "alien", "truncated", "checksum", "torn"), 0
        )
        self._clock = clock
        # The original writes once each beat interval.
        self._poll_s = (
            max(poll_s, BEAT_INTERVAL_S)
            if self._is_raw
            else min(poll_s, slot_read_s(spec.timeout_s))
        )
        self._watch: DiskWatch | None = None
        self._is_roused = False
        self._reads = 0
        """Of the watch: those that were counted."""
        self._last_frame: bytes | None = None
        self.quiet: Quiet | None = None
        self.found: Received | None = None
        self._since = 0.0
        self._unreadable = ""
        """The counter of what the slot holds, if that is no frame."""

    def open(self) -> None:
        """Open the device again; the present content of the slot is the past."""
        super().open()
        self._last_frame = None
        self.found = None
        self.quiet, self._unreadable = None, ""

    def close(self) -> None:
        """Leave the device, and have the slot read no longer."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        super().close()

    def rouse(self) -> None:
        """Have ``receive`` return soon, now or the next time."""
        self._is_roused = True
        if self._watch is not None:
            self._watch.rouse()

    def receive(self, timeout_s: float) -> Received | None:
        """Return the next beat written after the first read, or None."""
        channel = self._opened_channel()
        if self._watch is None:
            self._watch = channel.watch(self._offset, self._slot_bytes, self._poll_s, self._limit_s)
            self._reads = 0
        watch = self._watch
        if self._is_roused:
            self._is_roused = False
            watch.rouse()
        deadline = self._clock() + timeout_s
        while True:
            look = watch.next_news(max(0.0, deadline - self._clock()))
            unchanged = None if look is not None else watch.unchanged
            reads, self._reads = watch.reads - self._reads, watch.reads
            channel.count_reads(reads)
            self._check_disk(channel)
            if self._unreadable:
                # What is no frame counts with each read of it.
                self.counters[self._unreadable] += max(0, reads - (look is not None))
            if look is None or look.data is None:
                self._note_quiet(unchanged)
                return None
            received = self._take(channel, look.data, look.ended_at)
            if received is not None:
                return received

    def _take(self, channel: DiskChannel, data: bytes, received_at: float) -> Received | None:
        """Return the beat that a read showed, if what it showed is a new one.

        Also what is passed to nobody is news: the first content after the slot was opened may have
        been written a moment ago.
        """
        if self._info.is_block_device and len(data) < self._slot_bytes:
            # A file may still be short: its slots are written one after the other.
            raise LinkFault(self._gone(data))
        self.quiet, self._since = None, received_at
        is_first = self._last_frame is None
        frame = self._new_frame(data)
        if is_first and self._last_frame and not self._is_raw:
            self.found = self._received(self._last_frame, received_at)
        if frame is None:
            return None
        if self._is_raw and channel.read(self._offset, self._slot_bytes, self._limit_s) != data:
            # The next read has it whole.
            self.counters["torn"] += 1
            self._last_frame = b""
            return None
        self.counters["received"] += 1
        return self._received(frame, received_at)

    def _received(self, frame: bytes, received_at: float) -> Received:
        return Received(frame, received_at, self._spec.label, is_checked=not self._is_raw)

    def _note_quiet(self, look: Look | None) -> None:
        """Note the last read that showed what the slot held before, whatever that is.

        Pages of a cache are no news of the device.
        """
        if look is not None and self._info.is_around_cache:
            self.quiet = Quiet(look.began_at, self._since)

    def _new_frame(self, data: bytes) -> bytes | None:
        """Return the frame in the slot if it differs from the last good read."""
        self._unreadable = ""
        try:
            frame = self._content(data)
        except FrameError as error:
            self._unreadable = error.reason
            self.counters[error.reason] += 1
            if error.reason != "blank":
                return None
            frame = b""
        is_first_read = self._last_frame is None
        is_changed = frame != self._last_frame
        self._last_frame = frame
        return frame if frame and is_changed and not is_first_read else None

    def _content(self, data: bytes) -> bytes:
        """Return the slot's content, from its envelope or, in the original's format, without one.

        Raises FrameError.
        """
        if not self._is_raw:
            return decode_slot(data)
        if not data.strip(b"\0"):
            raise FrameError("blank", "no heartbeat was ever written to this slot")
        return data
