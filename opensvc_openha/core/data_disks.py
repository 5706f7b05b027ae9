"""Keep what this node sees of the disks of its services.

They answer, are frozen, or nothing is known.

What was seen grows old, since whatever looks at the disks may have ended. Only the time counts in
which this node was awake: after a stall of its own a disk is frozen from then on, at the earliest.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping

from opensvc_openha.core.actions import Record, RecordKind
from opensvc_openha.core.events import DisksLook, DisksLooked
from opensvc_openha.core.facts import DiskAnswer
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.timing import DISK_LOOK_OLD_S, FROZEN_REPORT_S

_NOT_LOOKED = DisksLook(DiskAnswer.UNKNOWN, text="its disks were not looked at")


@state_marks(not_state={"_shown"}, own_seqs={"_frozen_seqs"})
class DataDisks:
    """The disks of the services with `frozen_storage = give_up`, as this node sees them."""

    def __init__(self) -> None:
        self._looks: Mapping[str, DisksLook] = {}
        self._looked_at = -math.inf
        self._awake_since = -math.inf
        self._shown: set[str] = set()
        """The services whose disks were recorded as frozen."""
        self._frozen_seqs: dict[str, int] = {}
        """The first beat of this node that left after the disks of a service were seen frozen."""

    def record(self, event: DisksLooked, now: float, next_seq: int = -1) -> list[Record]:
        """Take a look; return what is new about frozen disks.

        ``next_seq`` is the number of the next beat: what the peer says of its disks counts from
        then on. Without it all of that counts.
        """
        self._looks, self._looked_at = event.looks, min(now, event.at)
        self._frozen_seqs = {
            name: self._frozen_seqs.get(name, next_seq)
            for name, look in event.looks.items()
            if look.answer is DiskAnswer.FROZEN
        }
        self._shown &= event.looks.keys()
        return [each for name in event.looks for each in self._records(name, now)]

    def _records(self, name: str, now: float) -> list[Record]:
        look, was_frozen = self.look_at(name, now), name in self._shown
        is_frozen = look.answer is DiskAnswer.FROZEN
        is_slow = is_frozen and self.frozen_s(name, now) < FROZEN_REPORT_S
        if look.answer is DiskAnswer.UNKNOWN or was_frozen is is_frozen or is_slow:
            return []
        self._shown ^= {name}
        what = "DISKS FROZEN" if is_frozen else "DISKS ANSWER"
        text = f"no answer of {look.text}" if is_frozen else "its disks answer again"
        return [Record(RecordKind.SERVICE, name, "", what, text, is_alarm=is_frozen)]

    def restart(self, now: float) -> None:
        """Count from now on: this node stood still, and its looks with it."""
        self._awake_since = now

    def look_at(self, service: str, now: float) -> DisksLook:
        """Return what is known of a service's disks."""
        if now > self._looked_at + DISK_LOOK_OLD_S:
            return _NOT_LOOKED
        return self._looks.get(service, _NOT_LOOKED)

    def is_frozen_unheard(self, service: str, acked_seq: int) -> bool:
        """Return True for frozen disks if the peer, when it spoke, had heard nothing sent since.

        What it says of its own may be of before they froze, then, however late it came.
        """
        return acked_seq < self._frozen_seqs.get(service, -1)

    def answer(self, service: str, now: float) -> DiskAnswer:
        """Return whether the disks of a service answer."""
        return self.look_at(service, now).answer

    def frozen_s(self, service: str, now: float) -> float:
        """Return the seconds for which a disk has not answered; 0 if it does, or is not known."""
        since = self.look_at(service, now).since
        return 0.0 if since is None else max(0.0, now - max(since, self._awake_since))

    def facts(self, services: Container[str], now: float) -> tuple[frozenset[str], dict[str, int]]:
        """Return the services whose disks answer, and the frozen ones with their seconds."""
        # Mostly none is looked at, and there may be a thousand services.
        found = {name: self.answer(name, now) for name in self._looks if name in services}
        answering = frozenset(name for name, at in found.items() if at is DiskAnswer.ANSWERS)
        frozen = (name for name, at in found.items() if at is DiskAnswer.FROZEN)
        return answering, {name: math.floor(self.frozen_s(name, now)) for name in frozen}

    @property
    def watched(self) -> frozenset[str]:
        """The services that were looked at last."""
        return frozenset(self._looks)
