"""Which beats count: what is of the peer's present life, authentic enough, and new on its link. The rest is counted.

An authentic beat proves that the peer was there when it was first heard on any link, and no more when it is told again.
A beat that nothing authenticates proves it for the moment it came in: whoever runs without a key trusts its networks.
"""

from __future__ import annotations

from opensvc_openha.core import timing
from opensvc_openha.core.actions import Action, Record, RecordKind, RememberLives
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.link_monitor import LinkMonitor
from opensvc_openha.core.peer_lives import OLD_LIFE, UNPROVEN, PeerLives
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.status import PeerStanding

REPLAYED = "replayed"
AFTER_GOODBYE = "after goodbye"
CONTRADICTION = "contradiction"
"""A beat that says that no link of its sender works, which came in on one: the beat counts, what it says of links does not."""
_ORDINARY = frozenset({AFTER_GOODBYE, UNPROVEN})
"""What happens at every orderly end or start of a daemon: counted, but not worth a line in the log."""


class Admission:
    """Decides on the beats of one peer."""

    def __init__(self, peer: str, monitor: LinkMonitor, view: PeerView, lives: PeerLives) -> None:
        self.lives = lives
        self._peer = peer
        self._monitor = monitor
        self._view = view

    def doubt(self, event: BeatReceived, now: float) -> "tuple[str, float]":
        """Why a beat is not believed, or nothing; and the instant for which it proves that the peer was there."""
        beat, link = event.beat, event.link
        if not self._view.admits(beat, now):
            is_over = self._view.newest is not None and self._view.newest.boot == beat.boot
            return (AFTER_GOODBYE if is_over else OLD_LIFE), 0.0
        reason = self.lives.doubt(beat, event.key_id, now) if event.key_id else ""
        if reason:
            return reason, 0.0
        if not self._monitor.is_fresh(link, beat.boot, beat.seq):
            return REPLAYED, 0.0
        if not event.key_id:
            return "", event.received_at
        heard_at = self._monitor.first_heard(beat.boot, beat.seq, event.received_at)
        return (REPLAYED if heard_at + link.timeout_s <= event.received_at else ""), heard_at

    def wants_greeting(self, reason: str) -> bool:
        """True if the beat just refused is the first of a life that must be answered to prove itself."""
        return reason == UNPROVEN and self.lives.has_new_greeting

    def refuse(self, event: BeatReceived, reason: str, own_seq: int, now: float) -> "list[Action]":
        """Counts a beat that changes nothing; says it once."""
        done: "list[Action]" = []
        is_first = self._monitor.refuse(event.link, reason)
        if is_first and reason not in _ORDINARY:
            text = f"dropped a beat: {reason} (counted from now on)"
            done.append(Record(RecordKind.LINK, event.link.link_id, "", "REFUSED", text, is_alarm=True))
        if reason == OLD_LIFE and self.lives.suspect(event.beat, own_seq, now):
            done.append(Record(RecordKind.PEER, self._peer, "", "SUSPECT", self._rival_text(), is_alarm=True))
        return done

    def remember(self) -> RememberLives:
        """Has what was learnt of the peer's lives written down."""
        self.lives.has_learnt = False
        return RememberLives(self.lives.known)

    def _rival_text(self) -> str:
        rival, newest = self.lives.rival, self._view.newest
        assert rival is not None
        if self._view.standing is PeerStanding.LIVE and newest is not None:
            return (f"two nodes are named {self._peer}: one with boot counter {newest.boot.counter} is believed,"
                    f" one with {rival.counter} is not")
        return (f"{self._peer} comes with boot counter {rival.counter}, lower than seen before, and is not believed:"
                " if it was reinstalled or restored, run `openha key forget-peer` on this node")

    def suspicions(self, now: float) -> "tuple[str, ...]":
        """What an operator should know of the peer's identity."""
        found = []
        if self.lives.rival is not None and now < self.lives.rival_at + timing.SUSPICION_S:
            found.append(self._rival_text())
        since, last = self.lives.unproven_since, self.lives.unproven_at
        if since is not None and last - since >= timing.PROOF_PATIENCE_S and now < last + timing.SUSPICION_S:
            found.append(f"{self._peer} is heard but does not acknowledge this node: it does not hear it, refuses it"
                         f" (see `hb -s -v` there), or somebody replays old beats")
        return tuple(found)
