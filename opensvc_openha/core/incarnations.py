"""Decide which incarnation of the peer is accepted when beats are authenticated: no replays.

A recorded beat is as genuine as it was, so being authentic is not enough. An incarnation counts
once one of its beats has acknowledged THIS incarnation of ours, which no recording can; its later
beats are then later, too. Until then its beats are only answered, with our own identity, so that
the next one can acknowledge it::

    deb1 starts: 1, acknowledges nothing --->  deb2: not proven; answers at once
    deb1: proven, taken           <---- 7, acknowledges the new incarnation
    deb1: 2, acknowledges deb2:7 ---->  deb2: proven, taken

An incarnation with a lower boot counter than one proved before, under the same key, is rejected
until it acknowledges a beat sent after its rejection: a recording cannot do that, a peer that lost
its counter can. Clocks play no part.
"""

from __future__ import annotations

from collections.abc import Mapping

from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.state_marks import state_marks

OLD_INCARNATION = "old life"
UNPROVEN = "unproven"
NOBODY = BootId(0, 0)
"""Lower than any incarnation: the key was used by the peer, but its counter is lost."""

_MARKS = 8


@state_marks(
    not_state={
        "_own_boot",
        "_marks",
        "has_changed",
        "stepped_back_from",
        "rival_at",
        "unproven_since",
        "unproven_at",
    }
)
class PeerIncarnations:
    """The incarnations of the peer's daemon, as far as they matter."""

    def __init__(self, own_boot: BootId, known: Mapping[str, BootId]) -> None:
        self._own_boot = own_boot
        self._known = dict(known)
        self._proven: BootId | None = None
        self._marks: dict[BootId, int] = {}
        self.heard: Ack | None = None
        """The newest authenticated beat of the newest incarnation, proven or not."""
        self.has_changed = False
        """``known`` changed and has to be stored."""
        self.stepped_back_from: BootId | None = None
        """The incarnation proved before, with a higher counter than the one that is proved now."""
        self.has_new_greeting = False
        """An incarnation heard for the first time awaits an answer."""
        self.rival: BootId | None = None
        """An old incarnation that acknowledged a beat sent after its supposed end: it is alive."""
        self.rival_at = 0.0
        self.unproven_since: float | None = None
        self.unproven_at = 0.0
        self.is_continuing = False
        """The last beat is newer than all heard before of its incarnation.

        A recording ends, a peer continues.
        """

    @property
    def known(self) -> tuple[tuple[str, BootId], ...]:
        """The newest incarnation proved under each key."""
        return tuple(sorted(self._known.items()))

    def is_last(self, boot: BootId) -> bool:
        """Return True if no later incarnation was heard, so that none may count on this node."""
        return self.heard is not None and self.heard.boot == boot

    def forget(self) -> None:
        """Accept any boot counter again; that the peer has the key is still known."""
        # A peer that has lost its counter begins again with a low one.
        self._known = dict.fromkeys(self._known, NOBODY)
        self._proven, self.heard, self.rival = None, None, None
        self._marks.clear()
        self.has_changed = True

    def rejection(self, beat: Beat, key_id: str, now: float, own_seq: int = 0) -> str:
        """Return why an authenticated beat does not count; empty if it does.

        ``own_seq`` is the newest beat of ours.
        """
        self.has_new_greeting = self.is_continuing = False
        known = self._known.get(key_id)
        if (
            known is not None
            and beat.boot != known
            and beat.boot.counter <= known.counter
            and not self.is_alive(beat, own_seq)
        ):
            # Answered while nothing newer is heard: two nodes that have both lost their counters
            # would otherwise never acknowledge each other.
            self._record_heard(beat)
            return OLD_INCARNATION
        self.has_new_greeting, self.is_continuing = self._record_heard(beat)
        if beat.boot != self._proven:
            # A recording is as authentic as it was, but cannot acknowledge this daemon's beats.
            if beat.ack is None or beat.ack.boot != self._own_boot:
                self.unproven_at = now
                self.unproven_since = now if self.unproven_since is None else self.unproven_since
                return UNPROVEN
            self._proven = beat.boot
            if self.heard is not None and self.heard.boot.counter > beat.boot.counter:
                # The incarnation with the higher counter is over, or never was the peer: it gets no
                # more answers.
                self.heard = Ack(beat.boot, beat.seq, is_taken=False)
        self.unproven_since = None
        # From here on the incarnation counts: the next daemon has to know its counter.
        if known != beat.boot:
            if known is not None and known.counter > beat.boot.counter:
                self.stepped_back_from = known
            self._known[key_id] = beat.boot
            self.has_changed = True
        return ""

    def _record_heard(self, beat: Beat) -> tuple[bool, bool]:
        """Record a beat of the newest incarnation.

        Return whether that is new, and whether it continues.
        """
        heard = self.heard
        is_new = heard is None or beat.boot.counter > heard.boot.counter
        is_newer_beat = heard is not None and beat.boot == heard.boot and beat.seq > heard.seq
        if is_new or is_newer_beat:
            self.heard = Ack(beat.boot, beat.seq, is_taken=False)
        return is_new, is_newer_beat

    def is_alive(self, beat: Beat, own_seq: int) -> bool:
        """Return True for a rejected incarnation that is alive.

        It acknowledges a beat sent after its rejection, which no recording can.
        """
        mark = self._marks.get(beat.boot)
        if mark is None or beat.ack is None or beat.ack.boot != self._own_boot:
            return False
        return mark < beat.ack.seq <= own_seq

    def check_rival(self, beat: Beat, own_seq: int, now: float) -> bool:
        """Check whether a rejected old incarnation is alive; True when that is first proved."""
        if beat.ack is None or beat.ack.boot != self._own_boot:
            return False
        if beat.boot not in self._marks:
            # Anybody with recordings can present incarnations without end.
            while len(self._marks) >= _MARKS:
                del self._marks[next(iter(self._marks))]
            self._marks[beat.boot] = own_seq
        if not self.is_alive(beat, own_seq):
            return False
        is_first = self.rival != beat.boot
        self.rival, self.rival_at = beat.boot, now
        return is_first
