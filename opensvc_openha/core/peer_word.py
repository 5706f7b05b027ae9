"""Judge whether what the peer said last still holds when a start script may begin.

A start beside a peer that is heard is decided on by the peer's word: it is out of the service, and
knows that this node wants to start it. Until the script begins the word ages: the state has to be
on disk first, and the script may wait for its place. Meanwhile the peer may stop hearing this node,
and take the service itself: it calls this node silent after a link timeout, and starts nothing
before the start-ready delay is over then, unless it has fenced this node. So the word holds for the
timeout, and for less than that delay.

Beats that came in and wait for the engine count by their arrival: a disk that is slower than the
links must not keep every start from beginning. Only those do that say no more than the word: with
anything else the engine decides first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from opensvc_openha.core.beat import Beat, Goodbye
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.states import PEER_OUT
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import LEGACY_FRESH_S, WORD_LIFE_MAX_S
from opensvc_openha.records import dataclass


@dataclass(frozen=True)
class Doubt:
    """Why a start may not begin now; unless it ``is_final``, a word that comes in may end that."""

    text: str
    is_final: bool = False


_OTHER_DAEMON = Doubt("the peer's daemon was started again", is_final=True)
"""It knows nothing of what was agreed on with the one before."""
_UNHANDLED = Doubt("what the peer sent last is not handled yet")


@dataclass(frozen=True)
class PeerWord:
    """The newest beat of the peer that was taken, as any thread may read it."""

    standing: PeerStanding = PeerStanding.UNKNOWN
    beat: Beat | None = None
    came_in_at: float = -math.inf
    """Monotonic seconds."""
    is_authentic: bool = False
    is_departure_doubted: bool = False
    patience_s: float = math.inf
    """Seconds without beats of this node after which the peer may call it silent."""

    def is_relied_on(self, service: str, standing: PeerStanding) -> bool:
        """Return True if a start that was decided on at that standing relies on the word.

        One beside a peer that left services running relies on its silence.
        """
        is_out = self.beat is not None and self.beat.states.get(service) in PEER_OUT
        return standing is PeerStanding.LIVE or (standing is PeerStanding.DEPARTED and is_out)

    def follows(self, decided: PeerWord) -> bool:
        """Return True if it is of the daemon on whose word a start was decided."""
        own, other = self.beat, decided.beat
        return own is not None and other is not None and own.boot == other.boot

    def doubt_since(
        self, decided: PeerWord, service: str, waiting: Iterable[BeatReceived], now: float
    ) -> Doubt | None:
        """Return the doubt about a start that was decided on at an earlier word."""
        return self.doubt(service, waiting, now) if self.follows(decided) else _OTHER_DAEMON

    def doubt(self, service: str, waiting: Iterable[BeatReceived], now: float) -> Doubt | None:
        """Return why the start of a service that was decided on may not begin; None if it may.

        ``waiting`` holds what came in and may not be part of this word yet: it has to be collected
        before the word is read, so that no beat is missed between the two.
        """
        newest = self.beat
        if newest is None or self.standing not in (PeerStanding.LIVE, PeerStanding.DEPARTED):
            return Doubt("the peer is not heard any more", is_final=True)
        reported = newest.states.get(service)
        if reported not in PEER_OUT:
            text = "nothing of it" if reported is None else reported.name
            return Doubt(f"the peer reports {text} by now", is_final=True)

        came_in_at, newest_seq = self.came_in_at, newest.seq
        for event in waiting:
            if not _is_news(event.beat, newest):
                continue
            if not self._is_the_same(event, service):
                return _UNHANDLED
            # A repetition, on this link or another one, proves no more than the first arrival did.
            if newest.is_legacy or event.beat.seq > newest_seq:
                newest_seq = event.beat.seq
                came_in_at = max(came_in_at, event.received_at)
        # A peer that has left in order says nothing any more.
        if self.standing is PeerStanding.DEPARTED:
            is_doubted = self.is_departure_doubted
            return Doubt("the peer may be back since it left", True) if is_doubted else None
        silent_s = now - came_in_at
        if silent_s < self._life_s(newest):
            return None
        return Doubt(f"the peer, which may have acted since, was not heard for {silent_s:.1f} s")

    def _is_the_same(self, event: BeatReceived, service: str) -> bool:
        """Return True if a later beat says of the service what the word says."""
        beat, newest = event.beat, self.beat
        assert newest is not None
        return (
            beat.boot == newest.boot
            and bool(event.key_id) is self.is_authentic
            and beat.goodbye is Goodbye.NONE
            and beat.is_complete
            and beat.states.get(service) in PEER_OUT
        )

    def _life_s(self, newest: Beat) -> float:
        life_s = min(self.patience_s, WORD_LIFE_MAX_S)
        return min(life_s, LEGACY_FRESH_S) if newest.is_legacy else life_s


def _is_news(beat: Beat, newest: Beat) -> bool:
    """Return True unless the engine knows more than that beat, or would not hear it."""
    if beat.node != newest.node:
        return False
    # The same node says more in our own format.
    if beat.is_legacy and not newest.is_legacy:
        return False
    if beat.boot != newest.boot:
        return True
    # Nothing of an incarnation counts after its goodbye; the clock of a C OpenHA may stand still.
    is_later = beat.seq >= newest.seq if newest.is_legacy else beat.seq > newest.seq
    return is_later and newest.goodbye is Goodbye.NONE
