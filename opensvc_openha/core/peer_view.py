"""What this node believes of its peer: the newest beat, how the peer stands, and what that proves for a service.

Newest (boot, sequence) wins. A beat of an older life of the peer's daemon is believed only once the newer one has
fallen silent. Silence makes every state of the peer UNKNOWN; it is never a proof of death.
"""

from __future__ import annotations

import enum
from typing import Mapping, Optional

from opensvc_openha.core.beat import Beat, BootId, Goodbye
from opensvc_openha.core.states import PEER_OUT, ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import RESTART_HOLD_S


class Evidence(enum.Enum):
    """What we know of one service on the peer, for the rules."""

    OUT = "out"
    """The peer is heard and says it is out."""
    OUT_ACKED = "out, acknowledged"
    """The same, in a beat that acknowledges the one in which we announced START_READY."""
    LEFT_OUT = "left, out"
    """The peer said goodbye and that it is out."""
    SILENT = "silent"
    """Nothing is heard of the peer: it may be dead, or it may still run the service."""
    READY = "start ready"
    """The peer wants to start it too."""
    RUNS = "running it"
    """The peer is heard and runs it, or is starting it."""
    BUSY = "busy"
    """The peer is heard and says anything else: some of the service may be in use there."""
    UNHEARD = "unheard"
    """Not known, and not silent for long enough."""


_RUNS = frozenset({ServiceState.STARTING, ServiceState.STARTED, ServiceState.FROZEN_START})


class PeerView:
    """The newest beat of the peer and what follows from it."""

    def __init__(self, own_boot: BootId) -> None:
        self._own_boot = own_boot
        self._newest: Optional[Beat] = None
        self._acked_seq = -1
        self._goodbye_at = 0.0
        self.standing = PeerStanding.UNHEARD
        self.silent_since: Optional[float] = None

    def admits(self, beat: Beat) -> bool:
        """True if the beat is of the peer's current life, or of a new one we have reason to believe."""
        if self._newest is None:
            return True
        if beat.boot == self._newest.boot:
            return self._newest.goodbye is Goodbye.NONE
        return self.standing is not PeerStanding.LIVE or beat.boot.counter > self._newest.boot.counter

    def take(self, beat: Beat, now: float) -> bool:
        """Makes the beat the newest one; False if a newer one of the same life was taken before."""
        newest = self._newest
        is_new_life = newest is None or newest.boot != beat.boot
        if newest is not None and not is_new_life and beat.seq <= newest.seq:
            return False
        if is_new_life:
            self._acked_seq = -1
        self._newest = beat
        if beat.ack is not None and beat.ack.is_taken and beat.ack.boot == self._own_boot:
            self._acked_seq = max(self._acked_seq, beat.ack.seq)
        if beat.goodbye is not Goodbye.NONE:
            self._goodbye_at = now
        return True

    def judge(self, is_any_up: bool, silent_since: Optional[float], now: float) -> PeerStanding:
        """Works out how the peer stands from the verdict on the links; returns the standing before."""
        before = self.standing
        if self._newest is not None and self._newest.goodbye is not Goodbye.NONE:
            self.standing = PeerStanding.LEFT
            hold_ends = self._goodbye_at + RESTART_HOLD_S
            self.silent_since = hold_ends if now >= hold_ends else None
        elif is_any_up:
            self.standing, self.silent_since = PeerStanding.LIVE, None
        elif silent_since is not None:
            self.standing, self.silent_since = PeerStanding.SILENT, silent_since
        else:
            self.standing, self.silent_since = PeerStanding.UNHEARD, None
        return before

    def next_deadline(self, now: float) -> Optional[float]:
        """When a goodbye's hold ends, if it has not."""
        hold_ends = self._goodbye_at + RESTART_HOLD_S
        return hold_ends if self.standing is PeerStanding.LEFT and hold_ends > now else None

    def state_of(self, service: str) -> ServiceState:
        """The peer's state as shown: UNKNOWN unless the peer is heard and speaks of the service."""
        if self.standing is not PeerStanding.LIVE or self._newest is None:
            return ServiceState.UNKNOWN
        return self._newest.states.get(service, ServiceState.UNKNOWN)

    def evidence(self, service: str, ready_seq: Optional[int]) -> Evidence:
        """What is proved of the service; ``ready_seq`` is the beat that announced our START_READY, if one did."""
        said = None if self._newest is None else self._newest.states.get(service)
        if self.standing is PeerStanding.LEFT:
            if said in PEER_OUT:
                return Evidence.LEFT_OUT
            return Evidence.UNHEARD if self.silent_since is None else Evidence.SILENT
        if self.standing is PeerStanding.SILENT:
            return Evidence.SILENT
        if self.standing is PeerStanding.UNHEARD or said is None:
            return Evidence.UNHEARD
        if said in PEER_OUT:
            return Evidence.OUT_ACKED if ready_seq is not None and self._acked_seq >= ready_seq else Evidence.OUT
        if said in _RUNS:
            return Evidence.RUNS
        return Evidence.READY if said is ServiceState.START_READY else Evidence.BUSY

    @property
    def newest(self) -> Optional[Beat]:
        """The newest beat taken."""
        return self._newest

    @property
    def states(self) -> Mapping[str, ServiceState]:
        """The states of the newest beat."""
        return {} if self._newest is None else self._newest.states

    @property
    def acked_seq(self) -> int:
        """Newest beat of ours that the peer's current life has acknowledged; -1 if none."""
        return self._acked_seq
