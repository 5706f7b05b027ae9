"""When a node tells its peer that it cannot send on some of its links, because their interface is
down or gone.

The notice is a beat of its own, said at once and then some more times: datagrams get lost. In a
disk slot it stays until it must have been read. A peer of an older version refuses such beats, so
they never take the place of an ordinary one: between two of them an ordinary beat is said, which
leaves that peer as well off as without them. Nothing is said where nobody could be told: every
other link is down too, or speaks the original's format, which has no room for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from opensvc_openha.core import timing
from opensvc_openha.core.model import LinkSpec, Wire


class LinkDownNotice:
    """What is to be told about the sending ends of one node, and when."""

    def __init__(self) -> None:
        self._mute: frozenset[LinkSpec] = frozenset()
        self._senders: tuple[LinkSpec, ...] = ()
        self._left = 0
        self._offers = 0
        self._said_at = -math.inf

    def reconfigure(self, senders: tuple[LinkSpec, ...]) -> None:
        """From now on these are the senders; which of the new ones are mute is said by ``take``."""
        self.take(self._mute, senders)

    def take(self, mute: Iterable[LinkSpec], senders: tuple[LinkSpec, ...]) -> list[LinkSpec]:
        """Notes which senders are mute now.

        Returns those that were not before, if the peer can be told of them.
        """
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
        """Has it told from the beginning, to a peer that has not heard it.

        Nothing if no sender is mute.
        """
        self._left = timing.MUTE_REPEATS if self.marks else 0

    def offer_facts(self) -> None:
        """Offers the facts of this node, beside the ordinary beats, to a peer that has sent none
        yet.
        """
        self._offers = timing.MUTE_REPEATS

    def facts_are_taken(self) -> None:
        """The peer sends facts: ours are in every beat from now on."""
        self._offers = 0

    @property
    def marks(self) -> frozenset[bytes]:
        """What the notice names; empty if there is nothing to say or nobody to hear it."""
        speaking = [
            link for link in self._senders if link not in self._mute and link.wire is Wire.OWN
        ]
        return frozenset(link.mark for link in self._mute) if speaking else frozenset()

    @property
    def _gap_s(self) -> float:
        """How long a notice stays: in a disk slot until it must have been read."""
        disks = [link for link in self._senders if link.kind.is_disk]
        return max(
            (timing.MUTE_READS * timing.slot_read_s(link.timeout_s) for link in disks),
            default=timing.GOODBYE_GAP_S,
        )

    def due_at(self, beat_at: float) -> float | None:
        """When the next notice is due, with the last ordinary beat at that instant.

        None if there is none to come.
        """
        if not self._left and not self._offers:
            return None
        # The senders must have taken the last beat before another one takes its place.
        return max(self._said_at + 2 * self._gap_s, beat_at + timing.ACK_GAP_S)

    def beat_due_at(self, beat_at: float) -> float | None:
        """When an ordinary beat must follow the last notice; None if one did."""
        return self._said_at + self._gap_s if self._said_at > beat_at else None

    def said(self, now: float) -> None:
        """A notice was said."""
        self._left = max(0, self._left - 1)
        self._offers = max(0, self._offers - 1)
        self._said_at = now
