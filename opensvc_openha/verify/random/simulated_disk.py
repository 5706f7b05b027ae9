"""Simulate the disk shared by both nodes, with torn blocks, slow and failing reads."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from opensvc_openha.core.beat import Beat
from opensvc_openha.core.model import SLOT_BLOCKS, LinkSpec
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.disk_slot import BLOCK_BYTES, decode_slot, encode_slot
from opensvc_openha.verify.random.plan import Plan
from opensvc_openha.verify.random.simulated_network import TAPE_FRAMES, Carried, Receiver
from opensvc_openha.verify.scheduler import Scheduler

Confirm = Callable[[], None]
_LATE_S = (0.3, 2.0, 8.0, 15.0)
"""Delays with which a write lands that its node takes for failed."""
_TINY_S = 1e-6
POLL_S = 0.25
"""Seconds between a listener's reads of its slot."""
_SLOT_BYTES = SLOT_BLOCKS * BLOCK_BYTES


class SlotReceiver(Receiver, Protocol):
    """A node, as seen by the reader of its peer's slot."""

    @property
    def now(self) -> float:
        """The clock of the node."""

    def find_quiet(self, link: LinkSpec, read_at: float, since: float) -> None:
        """Take a read that showed nothing new."""

    def slot_opened(self, link: LinkSpec) -> None:
        """Take that the peer's slot was opened."""

    def find_beat(self, link: LinkSpec, beat: Beat, read_at: float) -> None:
        """Take a beat that lay there when it was opened."""


class SharedDisk:
    """One slot for each node; the other node reads it at its own pace."""

    def __init__(self, scheduler: Scheduler, plan: Plan) -> None:
        self._scheduler = scheduler
        self._dice = Random(f"{plan.seed} disk")
        self._torn = plan.torn
        self._late_dice = Random(f"{plan.seed} late slots")
        self._slots: dict[LinkSpec, bytes] = {}
        self._beats: dict[bytes, Beat] = {}
        self._waiting: dict[LinkSpec, tuple[Carried, Confirm]] = {}
        self.hung: set[str] = set()
        """Nodes whose I/O hangs."""
        self.unreadable: set[str] = set()
        """Nodes whose reads fail."""
        self.late: set[str] = set()
        """Nodes whose writes fail, and land later all the same."""
        self.stale: dict[LinkSpec, bytes] = {}
        """Slots whose reader gets the former content."""
        self.readers: dict[str, SlotReader] = {}
        """By the name of the writing node."""

    def write(self, link: LinkSpec, carried: Carried, confirm: Confirm = lambda: None) -> None:
        """Write a node's newest beat; while its disk hangs, only the newest one waits.

        ``confirm`` is called once it was read back.
        """
        if link.node in self.hung:
            self._waiting[link] = carried, confirm
            return
        if link.node in self.late:
            delay_s = self._late_dice.choice(_LATE_S)
            self._scheduler.after(delay_s, self._land, link, carried, lambda: None)
            return
        self._land(link, carried, confirm)

    def _land(self, link: LinkSpec, carried: Carried, confirm: Confirm) -> None:
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
                self._dice.uniform(0.001, 0.4),
                self._finish,
                link,
                slot,
                self._slots[link],
                confirm,
            )
        else:
            self._slots[link] = slot
            confirm()
        self._wake_reader(link)

    def _finish(self, link: LinkSpec, slot: bytes, half: bytes, confirm: Confirm) -> None:
        if self._slots[link] is half:
            self._slots[link] = slot
            confirm()
            self._wake_reader(link)

    def _wake_reader(self, link: LinkSpec) -> None:
        self.readers[link.node].expect()

    def release(self, node: str) -> None:
        """End the hang of a node's disk: the waiting beat is written."""
        self.hung.discard(node)
        for link in [link for link in self._waiting if link.node == node]:
            self.write(link, *self._waiting.pop(link))
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
        receiver: SlotReceiver,
        phase_s: float,
        is_polling: bool = False,
    ) -> None:
        """``is_polling``: reads that show nothing new are reported, too."""
        self._scheduler = scheduler
        self._disk = disk
        self._link = link
        self._reader = reader
        self._receiver = receiver
        self._phase_s = phase_s
        self._is_polling = is_polling
        self._last: bytes | None = None
        self._content: bytes | None = None
        self._since = 0.0
        """When the present content was read first."""
        self._is_expected = False
        self._is_new = True
        """It is opened by the next read that does not fail."""
        self.is_open = False
        self.is_stopped = False

    def open(self) -> None:
        """Restart for a new daemon: the first read only shows the past."""
        self._last, self._content, self.is_open = None, None, True
        self._is_new = True
        self._read()

    def expect(self) -> None:
        """Schedule the next read after a write."""
        if self._is_expected or not self.is_open:
            return
        self._is_expected = True
        now = self._scheduler.now
        steps = int((now - self._phase_s) / POLL_S) + 1
        instant = self._phase_s + steps * POLL_S
        # Rounded, it may be this very read.
        is_now = self._is_polling and instant <= now + _TINY_S
        self._scheduler.at(instant + POLL_S if is_now else instant, self._read)

    def _read(self) -> None:
        self._is_expected = False
        if self._is_polling:
            self.expect()
        if not self.is_open or self.is_stopped or self._reader in self._disk.hung:
            return
        if self._reader in self._disk.unreadable:
            self._is_new = self._is_polling
            self._fail()
            return
        if self._is_new and self._is_polling:
            self._last, self._content, self._is_new = None, None, False
            self._receiver.slot_opened(self._link)
        content, now = self._disk.read(self._link), self._receiver.now
        if content != self._content:
            self._content, self._since = content, now
        if not self._take(content) and self._is_polling:
            self._receiver.find_quiet(self._link, now, self._since)

    def _fail(self) -> None:
        """Report nothing of a read that failed: the peer may be writing there."""

    def _take(self, content: bytes) -> bool:
        """Deliver what is new; return whether there was anything."""
        try:
            frame = decode_slot(content)
        except FrameError as error:
            if error.reason != "blank":
                return False
            frame = b""
        is_first, is_changed = self._last is None, frame != self._last
        self._last = frame
        if frame and is_changed and not is_first:
            beat = self._disk.beat_of(frame)
            if beat is not None:
                self._receiver.receive(self._link, Carried(frame, beat))
                return True
        elif frame and is_first and self._is_polling:
            beat = self._disk.beat_of(frame)
            if beat is not None:
                self._receiver.find_beat(self._link, beat, self._receiver.now)
        return False
