"""Simulate the disk shared by both nodes, with torn blocks, slow and failing reads."""

from __future__ import annotations

from random import Random

from opensvc_openha.core.beat import Beat
from opensvc_openha.core.model import SLOT_BLOCKS, LinkSpec
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.disk_slot import BLOCK_BYTES, decode_slot, encode_slot
from opensvc_openha.verify.random.plan import Plan
from opensvc_openha.verify.random.simulated_network import TAPE_FRAMES, Carried, Receiver
from opensvc_openha.verify.scheduler import Scheduler

POLL_S = 0.25
"""Seconds between a listener's reads of its slot."""
_SLOT_BYTES = SLOT_BLOCKS * BLOCK_BYTES


class SharedDisk:
    """One slot for each node; the other node reads it at its own pace."""

    def __init__(self, scheduler: Scheduler, plan: Plan) -> None:
        self._scheduler = scheduler
        self._dice = Random(f"{plan.seed} disk")
        self._torn = plan.torn
        self._slots: dict[LinkSpec, bytes] = {}
        self._beats: dict[bytes, Beat] = {}
        self._waiting: dict[LinkSpec, Carried] = {}
        self.hung: set[str] = set()
        """Nodes whose I/O hangs."""
        self.stale: dict[LinkSpec, bytes] = {}
        """Slots whose reader gets the former content."""
        self.readers: dict[str, SlotReader] = {}
        """By the name of the writing node."""

    def write(self, link: LinkSpec, carried: Carried) -> None:
        """Write a node's newest beat; while its disk hangs, only the newest one waits."""
        if link.node in self.hung:
            self._waiting[link] = carried
            return
        slot = encode_slot(carried.data, _SLOT_BYTES).ljust(_SLOT_BYTES, b"\0")
        if len(self._beats) > 4 * TAPE_FRAMES:
            self._beats.clear()
        self._beats[carried.data] = carried.beat
        if self._torn and self._dice.random() < self._torn:
            # A device promises whole blocks, and here the first of them is written before the
            # others. A frame of this size would fit into one block, so the tear goes through the
            # middle of it: a worse device than most.
            old = self._slots.get(link, bytes(_SLOT_BYTES))
            cut_at = self._dice.randrange(1, max(2, len(carried.data)))
            self._slots[link] = slot[:cut_at] + old[cut_at:]
            self._scheduler.after(
                self._dice.uniform(0.001, 0.4), self._finish, link, slot, self._slots[link]
            )
        else:
            self._slots[link] = slot
        self._wake_reader(link)

    def _finish(self, link: LinkSpec, slot: bytes, half: bytes) -> None:
        if self._slots[link] is half:
            self._slots[link] = slot
            self._wake_reader(link)

    def _wake_reader(self, link: LinkSpec) -> None:
        self.readers[link.node].expect()

    def release(self, node: str) -> None:
        """End the hang of a node's disk: the waiting beat is written."""
        self.hung.discard(node)
        for link in [link for link in self._waiting if link.node == node]:
            self.write(link, self._waiting.pop(link))
        for reader in self.readers.values():
            reader.expect()

    def freeze_reads(self, link: LinkSpec) -> None:
        """Freeze the content that the reader of this slot gets."""
        self.stale[link] = self._slots.get(link, bytes(_SLOT_BYTES))

    def thaw_reads(self) -> None:
        """Let reads return the newest content again."""
        self.stale.clear()
        for reader in self.readers.values():
            reader.expect()

    def read(self, link: LinkSpec) -> bytes:
        """Return the result of reading the slot."""
        return self.stale.get(link) or self._slots.get(link) or bytes(_SLOT_BYTES)

    def beat_of(self, data: bytes) -> Beat | None:
        """Return the beat of a frame, if it was written lately."""
        return self._beats.get(data)


class SlotReader:
    """Listen on a disk link: read at a fixed pace, and take changes since the last read."""

    def __init__(
        self,
        scheduler: Scheduler,
        disk: SharedDisk,
        link: LinkSpec,
        reader: str,
        receiver: Receiver,
        phase_s: float,
    ) -> None:
        self._scheduler = scheduler
        self._disk = disk
        self._link = link
        self._reader = reader
        self._receiver = receiver
        self._phase_s = phase_s
        self._last: bytes | None = None
        self._is_expected = False
        self.is_open = False
        self.is_stopped = False

    def open(self) -> None:
        """Restart for a new daemon: the first read only shows the past."""
        self._last, self.is_open = None, True
        self._read()

    def expect(self) -> None:
        """Schedule the next read after a write."""
        if self._is_expected or not self.is_open:
            return
        self._is_expected = True
        now = self._scheduler.now
        steps = int((now - self._phase_s) / POLL_S) + 1
        self._scheduler.at(self._phase_s + steps * POLL_S, self._read)

    def _read(self) -> None:
        self._is_expected = False
        if not self.is_open or self.is_stopped or self._reader in self._disk.hung:
            return
        try:
            frame = decode_slot(self._disk.read(self._link))
        except FrameError as error:
            if error.reason != "blank":
                return
            frame = b""
        is_first, is_changed = self._last is None, frame != self._last
        self._last = frame
        if frame and is_changed and not is_first:
            beat = self._disk.beat_of(frame)
            if beat is not None:
                self._receiver.receive(self._link, Carried(frame, beat))
