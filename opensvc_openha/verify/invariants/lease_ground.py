"""The ground "lease" of S2: the peer promised to be dead by then, and was seen nowhere since.

Stated by itself: the newest promise that came with a key, nothing received in the peer's name for
the promised time, whether believed or not, and each medium of the promise read after that time.
What lay in a slot when that was opened, or came in and was not taken, and is later than what was,
prolongs the promise or ends it.
"""

from __future__ import annotations

import math
from dataclasses import replace

from opensvc_openha.core.beat import Beat, BootId, Goodbye
from opensvc_openha.core.promise import Promise
from opensvc_openha.verify.invariants.observations import Found, Heard, MediumRead

_SLACK_S = 0.001
"""Rounding of a sum of instants."""


class LeaseGround:
    """What the present daemon of a node may know of its peer's promise."""

    def __init__(self) -> None:
        self._promise: Promise | None = None
        self._newest: Beat | None = None
        self._life_at = -math.inf
        self._reads: dict[bytes, float] = {}
        self._boots: set[BootId] = set()
        self._is_doubtful = False
        """A beat of another incarnation came in, which was not heard before."""
        self._facts_seq = -1
        self._signs: dict[BootId, Beat] = {}
        """The newest beat with facts of each incarnation, taken or not."""

    @property
    def boot(self) -> BootId | None:
        """The incarnation whose promise it is; None if none was heard."""
        return None if self._newest is None else self._newest.boot

    def take_sign(self, seen: Heard) -> None:
        """Record a beat in the peer's name, whatever becomes of it."""
        self._life_at = max(self._life_at, seen.received_at or seen.at)
        beat = seen.beat
        if not seen.is_authentic:
            return
        if beat.boot not in self._boots:
            self._is_doubtful = True
        known = self._signs.get(beat.boot)
        if beat.facts is not None and (known is None or known.seq < beat.seq):
            self._signs[beat.boot] = beat

    def take_beat(self, seen: Heard) -> None:
        """Record a beat that is the newest of its incarnation."""
        beat = seen.beat
        if self._newest is None or self._newest.boot != beat.boot:
            self._promise, self._is_doubtful = None, False
        self._boots.add(beat.boot)
        self._newest = beat
        if beat.facts is not None:
            self._promise = beat.facts.promise if seen.is_authentic else None
            self._facts_seq = beat.seq

    def take_found(self, seen: Found) -> None:
        """Record what lay in a slot when that was opened."""
        beat, newest = seen.beat, self._newest
        self._life_at = max(self._life_at, seen.read_at)
        if newest is None or beat.boot != newest.boot:
            # Of lower counters most are over.
            is_later = newest is None or beat.boot.counter > newest.boot.counter
            self._is_doubtful = self._is_doubtful or is_later
        elif beat.seq > self._facts_seq and beat.facts is not None:
            self._promise, self._facts_seq = _both(self._promise, beat.facts.promise), beat.seq

    def take_read(self, seen: MediumRead) -> None:
        """Record a read that showed nothing new."""
        self._life_at = max(self._life_at, seen.since)
        self._reads[seen.medium] = max(seen.read_at, self._reads.get(seen.medium, -math.inf))

    def is_dead(self, at: float) -> bool:
        """Return True if the promise proves the peer dead."""
        promise, newest = self._promise, self._newest
        sign = None if newest is None else self._signs.get(newest.boot)
        if sign is not None and sign.facts is not None and sign.seq > self._facts_seq:
            promise = _both(promise, sign.facts.promise)
        if promise is None or newest is None or promise.is_virtual or not promise.media:
            return False
        if self._is_doubtful:
            return False
        if newest.goodbye is not Goodbye.NONE and newest.facts is None:
            return False
        dead_at = self._life_at + promise.death_s - _SLACK_S
        reads = [self._reads.get(medium, -math.inf) for medium in promise.media]
        return at >= dead_at and min(reads) >= dead_at


def _both(known: Promise | None, later: Promise | None) -> Promise | None:
    if known is None or later is None:
        return None
    media = known.media | later.media
    return replace(known, death_s=max(known.death_s, later.death_s), media=media)
