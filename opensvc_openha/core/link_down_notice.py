"""Decide when to notify the peer of links on which this node cannot send.

Their interface is down or gone. The notice is a beat of its own, sent at once and repeated, since
datagrams get lost. In a disk slot it stays until it must have been read. A peer of an older version
rejects such beats, so they never replace an ordinary one: between two of them an ordinary beat is
sent, so that such a peer misses nothing. There is no notice if it could not arrive: every other
link is down too, or uses the original's format, which has no room for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from opensvc_openha.core import timing
from opensvc_openha.core.model import LinkSpec, Wire


class LinkDownNotice:
    """Notices about the sending ends of one node, and their due times."""

    def __init__(self) -> None:
        self._mute: frozenset[LinkSpec] = frozenset()
        self._senders: tuple[LinkSpec, ...] = ()
        self._left = 0
        self._offers = 0
        self._sent_at = -math.inf

    def reconfigure(self, senders: tuple[LinkSpec, ...]) -> None:
        """Apply a new set of senders; ``take`` reports which of them are mute."""
        self.take(self._mute, senders)

    def take(self, mute: Iterable[LinkSpec], senders: tuple[LinkSpec, ...]) -> list[LinkSpec]:
        """Record the mute senders; return the newly mute ones if the peer can be notified."""
        former = self._mute
        self._senders = senders
        self._mute = frozenset(mute).intersection(senders)
        new = [link for link in senders if link in self._mute and link not in former]
        if not self.marks:
            self._left = 0
            return []
        if new:
            self.repeat()
        return new

    def repeat(self) -> None:
        """Restart the notice for a peer that has not heard it; nothing if no sender is mute."""
        self._left = timing.MUTE_REPEATS if self.marks else 0

    def offer_facts(self) -> None:
        """Offer this node's facts, beside ordinary beats, to a peer that has sent none yet."""
        self._offers = timing.MUTE_REPEATS

    def facts_are_taken(self) -> None:
        """Stop offering: the peer sends facts, so every beat from now on has ours."""
        self._offers = 0

    @property
    def marks(self) -> frozenset[bytes]:
        """Marks of the notice; empty if there is nothing to send or no link for it."""
        speaking = [
            link for link in self._senders if link not in self._mute and link.wire is Wire.OWN
        ]
        return frozenset(link.mark for link in self._mute) if speaking else frozenset()

    @property
    def _gap_s(self) -> float:
        """Return how long a notice stays, in seconds.

        In a disk slot until it must have been read.
        """
        disks = [link for link in self._senders if link.is_disk]
        return max(
            (timing.MUTE_READS * timing.slot_read_s(link.timeout_s) for link in disks),
            default=timing.GOODBYE_GAP_S,
        )

    def due_at(self, beat_at: float) -> float | None:
        """Return when the next notice is due, given the last ordinary beat; None without one."""
        if not self._left and not self._offers:
            return None
        # The senders must have taken the last beat before another one replaces it.
        return max(self._sent_at + 2 * self._gap_s, beat_at + timing.ACK_GAP_S)

    def beat_due_at(self, beat_at: float) -> float | None:
        """Return when an ordinary beat must follow the last notice; None if one did."""
        return self._sent_at + self._gap_s if self._sent_at > beat_at else None

    def record_sent(self, now: float) -> None:
        """Record that a notice was sent."""
        self._left = max(0, self._left - 1)
        self._offers = max(0, self._offers - 1)
        self._sent_at = now
