"""Decide which beats count: of the current incarnation, authentic enough, and new on their link.

All others are counted.

An authentic beat proves that the peer was there when it was first heard on any link, and no more
when it is repeated. An unauthenticated beat proves it for the moment it came in: a cluster without
a key trusts its networks.

A rejected beat may come from the live peer all the same: this node has restarted and the peer has
not heard it yet, the peer has lost its boot counter, or beats were forged in its name. While such
beats continue the peer is not called silent, and

    authentic, acknowledges a beat sent         accepted once the current incarnation is not heard
    after its rejection                         any more
    authentic, while the current incarnation    accepted at once
    is unauthenticated
    not authentic, and continues for a          accepted if the current incarnation is not
    link timeout                                authentic either, and brought nothing new meanwhile
"""

from __future__ import annotations

from dataclasses import replace

from opensvc_openha.core import timing
from opensvc_openha.core.actions import Action, Record, RecordKind, RememberIncarnations
from opensvc_openha.core.beat import Goodbye
from opensvc_openha.core.contenders import Contenders
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.incarnations import OLD_INCARNATION, UNPROVEN, PeerIncarnations
from opensvc_openha.core.link_monitor import LinkMonitor
from opensvc_openha.core.peer_view import Age, PeerView
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.records import dataclass

REPLAYED = "replayed"
AFTER_GOODBYE = "after goodbye"
CONTRADICTION = "contradiction"
"""A beat that reports every link of its sender as mute, although it came in on one.

The beat counts, its notice does not.
"""
IMPOSSIBLE = "impossible"
"""A beat that acknowledges a number this node has not sent yet.

The beat counts, its acknowledgement does not.
"""
_ORDINARY = frozenset({AFTER_GOODBYE, UNPROVEN})
"""Rejected at every orderly end or start of a daemon: counted, but not logged."""
# For an operator who asks why a peer that is heard is not taken over.
_HELD_BACK = {
    UNPROVEN: "it is heard, but does not acknowledge this node",
    OLD_INCARNATION: "it is heard, but another incarnation of its daemon is believed",
    REPLAYED: "it is heard, but a beat in its name came before that has a higher number",
    AFTER_GOODBYE: "it is heard, but a goodbye came in its name",
}


@dataclass(frozen=True)
class Verdict:
    """What the filter decides on a beat."""

    reason: str
    """Why the beat is rejected; empty for one that counts."""
    heard_at: float = 0.0
    """When the peer was there, by a beat that counts."""


@state_marks(not_state={"_own_boot", "_peer", "_continued_s", "_impossible_at", "held_back"})
class BeatFilter:
    """Decide on the beats of one peer."""

    def __init__(
        self, peer: str, monitor: LinkMonitor, view: PeerView, incarnations: PeerIncarnations
    ) -> None:
        self.incarnations = incarnations
        self._own_boot = view.own_boot
        self._peer = peer
        self._monitor = monitor
        self._view = view
        self._contenders = Contenders()
        self._continued_s: float | None = None
        self._impossible_at: float | None = None
        self.held_back = ""
        """Why the peer, perhaps alive, was rejected at its last sign."""

    def plausible(self, event: BeatReceived, now: float) -> tuple[BeatReceived, list[Action]]:
        """Return the beat without an acknowledgement of a number that was not sent yet.

        Its sender heard another node that uses our name.
        """
        ack = event.beat.ack
        # The rest of the beat is still evidence; only its acknowledgement cannot be true.
        if ack is None or ack.boot != self._own_boot or ack.seq <= self._view.own_seq:
            return event, []
        done: list[Action] = []
        self._impossible_at = now
        if self._monitor.refuse(event.link, IMPOSSIBLE, now):
            text = f"{self._impossible_text()} (counted from now on)"
            done.append(
                Record(RecordKind.LINK, event.link.link_id, "", "REFUSED", text, is_alarm=True)
            )
        return replace(event, beat=replace(event.beat, ack=None)), done

    def judge(self, event: BeatReceived, now: float) -> Verdict:
        """Decide on a beat; one of the peer that is rejected may make its incarnation accepted."""
        verdict = self._verdict(event, now)
        reason = verdict.reason
        is_trusted = bool(event.key_id) or not self._view.is_unauthenticated
        if not reason and not is_trusted and self._view.is_return(event.beat):
            # Otherwise a forged number of that incarnation would block every other link for good:
            # the peer is heard again here, so that no displacement clears the numbers.
            self._monitor.forget_later(event.beat.boot, event.beat.seq)
        is_behind = not reason and self._view.age_of(event.beat, now) is Age.OLDER
        if not (reason or is_behind) or not self._may_be_the_peer(event, reason, now):
            return verdict
        # A fence must not follow from rejecting the live peer: the sign delays the verdict of
        # silence.
        self._monitor.record_sign(event.link, event.received_at)
        self.held_back = _HELD_BACK[reason or REPLAYED]
        if self._displaces(event, now):
            self._contenders.forget()
            self._view.displace(event.beat.boot)
            self._monitor.forget_sequence()
            return self._verdict(event, now)
        return verdict

    def _may_be_the_peer(self, event: BeatReceived, reason: str, now: float) -> bool:
        """Return True if a rejected or outdated beat is a sign that the peer is alive."""
        beat = event.beat
        # A C OpenHA has no incarnations to compare, and a goodbye announces that no beats follow.
        if beat.is_legacy or beat.goodbye is not Goodbye.NONE:
            return False
        # No profile beats more slowly: a larger interval would let a slow replay pass as live.
        interval_s = min(beat.interval_s, timing.BEAT_INTERVAL_S)
        self._continued_s = self._contenders.record(
            beat.boot, beat.seq, now, self._monitor.shortest_patience_s, interval_s
        )
        if not event.key_id:
            return self._continued_s is not None
        if reason == UNPROVEN:
            return self.incarnations.is_continuing and self._continued_s is not None
        # An authentic beat outweighs an incarnation that nothing authenticates.
        if self._view.is_unauthenticated:
            return True
        # An unknown incarnation that acknowledges this one has lived since this node was started.
        is_heard_by = (
            beat.ack is not None
            and beat.ack.boot == self._own_boot
            and not self._view.is_past(beat.boot)
        )
        return reason == OLD_INCARNATION and (
            is_heard_by or self.incarnations.is_alive(beat, self._view.own_seq)
        )

    def _displaces(self, event: BeatReceived, now: float) -> bool:
        """Return True if this beat's incarnation replaces the accepted one from now on."""
        if event.key_id:
            return self._view.is_unauthenticated and not self.incarnations.rejection(
                event.beat, event.key_id, now, self._view.own_seq
            )
        patience_s = self._monitor.shortest_patience_s
        has_continued = self._continued_s is not None and self._continued_s >= patience_s
        return has_continued and self._view.can_be_displaced(now, patience_s)

    def _verdict(self, event: BeatReceived, now: float) -> Verdict:
        beat, link = event.beat, event.link
        # First of all: a beat of an incarnation that is over must leave no trace in the rest.
        if not self._view.admits(beat, now):
            is_over = self._view.newest is not None and self._view.newest.boot == beat.boot
            return Verdict(AFTER_GOODBYE if is_over else OLD_INCARNATION)
        reason = (
            self.incarnations.rejection(beat, event.key_id, now, self._view.own_seq)
            if event.key_id
            else ""
        )
        if reason:
            return Verdict(reason)
        if not self._monitor.is_fresh(link, beat.boot, beat.seq):
            return Verdict(REPLAYED)
        # Without a tag the origin cannot be checked anyway: the time of arrival has to do.
        if not event.key_id:
            return Verdict("", event.received_at)
        heard_at = self._monitor.first_heard(beat.boot, beat.seq, event.received_at)
        is_old = heard_at + link.timeout_s <= event.received_at
        return Verdict(REPLAYED if is_old else "", heard_at)

    def wants_greeting(self, reason: str) -> bool:
        """Return True if the rejected beat is the first of an incarnation that must be answered.

        The answer lets it prove itself.
        """
        return reason == UNPROVEN and self.incarnations.has_new_greeting

    def refuse(self, event: BeatReceived, reason: str, own_seq: int, now: float) -> list[Action]:
        """Count a beat that changes nothing; record the first of its kind."""
        done: list[Action] = []
        is_first = self._monitor.refuse(event.link, reason, now)
        if is_first and reason not in _ORDINARY:
            text = f"dropped a beat: {reason} (counted from now on)"
            done.append(
                Record(RecordKind.LINK, event.link.link_id, "", "REFUSED", text, is_alarm=True)
            )
        if reason == OLD_INCARNATION and self.incarnations.check_rival(event.beat, own_seq, now):
            done.append(
                Record(
                    RecordKind.PEER, self._peer, "", "SUSPECT", self._rival_text(), is_alarm=True
                )
            )
        return done

    def remember(self) -> list[Action]:
        """Persist newly seen incarnations of the peer."""
        done: list[Action] = [RememberIncarnations(self.incarnations.known)]
        former, self.incarnations.stepped_back_from = self.incarnations.stepped_back_from, None
        if former is not None:
            text = (
                f"its boot counter is lower than {former.counter}, seen before: was it reinstalled"
                " or restored?"
            )
            done.append(Record(RecordKind.PEER, self._peer, "", "COUNTER", text))
        self.incarnations.has_changed = False
        return done

    def _impossible_text(self) -> str:
        return (
            f"{self._peer} acknowledges what this node has not sent: another sender uses this"
            " node's name"
        )

    def _rival_text(self) -> str:
        rival, newest = self.incarnations.rival, self._view.newest
        assert rival is not None
        if self._view.standing is PeerStanding.LIVE and newest is not None:
            return (
                f"two nodes are named {self._peer}: one with boot counter {newest.boot.counter} is"
                f" believed, one with {rival.counter} is not"
            )
        return (
            f"{self._peer} comes with boot counter {rival.counter}, lower than seen before: it is"
            " believed once the incarnation seen before is silent, or after"
            " `openha key forget-peer` on this node"
        )

    def suspicions(self, now: float) -> tuple[str, ...]:
        """Return warnings about the peer's identity."""
        found = []
        if (
            self.incarnations.rival is not None
            and now < self.incarnations.rival_at + timing.SUSPICION_S
        ):
            found.append(self._rival_text())
        if self._impossible_at is not None and now < self._impossible_at + timing.SUSPICION_S:
            found.append(self._impossible_text())
        if (
            self._monitor.has_signs(now)
            and not self._monitor.is_any_up
            and self.held_back != _HELD_BACK[UNPROVEN]
        ):
            found.append(f"{self._peer} is not believed: {self.held_back}")
        since, last = self.incarnations.unproven_since, self.incarnations.unproven_at
        if (
            since is not None
            and last - since >= timing.PROOF_PATIENCE_S
            and now < last + timing.SUSPICION_S
        ):
            found.append(
                f"{self._peer} is heard but does not acknowledge this node: it does not hear it,"
                " refuses it (see `hb -s -v` there), or somebody replays old beats"
            )
        return tuple(found)
