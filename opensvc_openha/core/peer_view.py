"""What this node believes of its peer: the newest beat, how the peer stands, and what that proves
for a service.

A C OpenHA acknowledges nothing and has no lives: what it says counts only with the time for which
it has said it.

Newest (boot, sequence) wins. A beat of an older life of the peer's daemon is believed only once the
newer one has fallen silent. Silence makes every state of the peer UNKNOWN; it is never a proof of
death.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping

from opensvc_openha.core.beat import Beat, BootId, Goodbye
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.states import PEER_OUT, UP_OR_STARTING, ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import (
    LEGACY_ECHO_S,
    LEGACY_FRESH_S,
    LEGACY_STRAGGLER_S,
    RESTART_HOLD_S,
    START_READY_DELAY_S,
)


class Evidence(enum.Enum):
    """What we know of one service on the peer, for the rules."""

    OUT = "out"
    """The peer is heard and says it is out."""
    OUT_ACKED = "out, acknowledged"
    """The same, in a beat that acknowledges the one in which we announced START_READY."""
    DEPARTED_STOPPED = "left, out"
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


_PAST_LIVES = 15


class PeerView:
    """The newest beat of the peer and what follows from it."""

    def __init__(self, own_boot: BootId) -> None:
        self.own_boot = own_boot
        self._newest: Beat | None = None
        self._facts: Facts | None = None
        self._acked_seq = -1
        self._life: BootId | None = None
        self._past: tuple[BootId, ...] = ()
        self._taken_over_seq = 0
        self.own_seq = 0
        """Newest beat of ours, kept by the engine."""
        self._goodbye_at = 0.0
        self._taken_at = 0.0
        self._same_since: dict[str, float] = {}
        self.legacy_delay_s = START_READY_DELAY_S
        """Time for which a C OpenHA must have been heard out; follows from the links that are
        up."""
        self.standing = PeerStanding.UNHEARD
        self.silent_since: float | None = None
        self.ack_limit_s = math.inf
        """After so long without our beats the peer may call us silent: by then what it acknowledged
        proves nothing."""
        self._is_ack_old = False
        self._left_from = -math.inf
        self._is_left_doubted = False
        self._is_authentic = False
        self.held_back = ""
        """Why there is no verdict about a peer that is heard and not believed; empty otherwise.
        Kept by the engine."""
        self._ack_floor = 0
        """Acknowledgements of what was said up to here are worth nothing: they may be old."""

    def admits(self, beat: Beat, now: float = math.inf) -> bool:
        """True if the beat is of the peer's current life, or of a new one we have reason to
        believe.
        """
        if beat.goodbye is not Goodbye.NONE and (
            beat.ack is None or beat.ack.boot != self.own_boot
        ):
            # A goodbye is evidence: it must be meant for us, not be left over from before our own
            # start.
            return False
        if beat.boot in self._past:
            return self._has_come_back(beat)
        if self._newest is None:
            return True
        if beat.is_legacy:
            return self._newest.goodbye is Goodbye.NONE or now >= self._goodbye_at + LEGACY_ECHO_S
        if self._newest.is_legacy:
            return True
        if beat.boot == self._newest.boot:
            return self._newest.goodbye is Goodbye.NONE
        is_newer = beat.boot.counter > self._newest.boot.counter
        return is_newer or (self.standing is not PeerStanding.LIVE and beat.goodbye is Goodbye.NONE)

    def _has_come_back(self, beat: Beat) -> bool:
        """A life that was given up is alive after all: it has heard what we said since, and the one
        believed instead has not.

        So a single stray beat of an older life does not lock the living peer out.
        """
        has_heard_us = (
            beat.ack is not None
            and beat.ack.boot == self.own_boot
            and beat.ack.seq > self._taken_over_seq
        )
        is_other_alive = (
            self.standing is PeerStanding.LIVE and self._acked_seq > self._taken_over_seq
        )
        return has_heard_us and not is_other_alive and beat.goodbye is Goodbye.NONE

    def can_be_displaced(self, now: float, patience_s: float) -> bool:
        """True if nothing authenticates what is believed, and nothing new came of it for that long,
        a goodbye included.
        """
        return (
            self._newest is not None
            and not self._is_authentic
            and now >= self._taken_at + patience_s
        )

    @property
    def is_unauthenticated(self) -> bool:
        """True if a beat is believed that nothing authenticates."""
        return self._newest is not None and not self._is_authentic

    def is_past(self, boot: BootId) -> bool:
        """True for a life that was believed and followed by another, or is believed now."""
        return boot == self._life or boot in self._past

    def is_behind(self, beat: Beat) -> bool:
        """True for a beat of the life that is believed, older than what was taken of it."""
        newest = self._newest
        return (
            newest is not None
            and newest.boot == beat.boot
            and beat.seq < newest.seq
            and not beat.is_legacy
        )

    def displace(self, boot: BootId) -> None:
        """The life that is believed was not the peer: that one is believed next, and proves what it
        hears from now on only.
        """
        self._newest, self._facts, self._acked_seq = None, None, -1
        self._past = tuple(life for life in self._past if life != boot)
        self._ack_floor = self.own_seq

    def take(self, beat: Beat, now: float, is_authentic: bool = False) -> bool:
        """Makes the beat the newest one; False if a newer one of the same life was taken before."""
        newest = self._newest
        if newest is None or newest.boot != beat.boot:
            self._acked_seq, self._facts = -1, None
        elif not self._is_newer(beat, newest, now):
            return False
        if not beat.is_legacy and self._life != beat.boot:
            if self._life is not None:
                # A life that was followed by another does not come back for what its counter says.
                self._past = (
                    *(life for life in self._past[-_PAST_LIVES:] if life != beat.boot),
                    self._life,
                )
            self._life = beat.boot
            self._taken_over_seq = self.own_seq
        self._note_same(beat, now)
        self._newest, self._taken_at, self._is_authentic = beat, now, is_authentic
        self._facts = beat.facts or self._facts
        ack = beat.ack
        if (
            ack is not None
            and ack.is_taken
            and ack.boot == self.own_boot
            and ack.seq > self._ack_floor
        ):
            self._acked_seq = max(self._acked_seq, ack.seq)
        if beat.goodbye is not Goodbye.NONE:
            self._goodbye_at = now
        return True

    def _is_newer(self, beat: Beat, newest: Beat, now: float) -> bool:
        if not beat.is_legacy:
            return beat.seq > newest.seq
        # The clock has seconds only: what comes later within one is newer.
        return beat.seq >= newest.seq or now >= self._taken_at + LEGACY_STRAGGLER_S

    def _note_same(self, beat: Beat, now: float) -> None:
        """Remembers since when a C OpenHA has said the same of each service, in beats without a
        gap.
        """
        is_going_on = self.standing is PeerStanding.LIVE and now <= self._taken_at + LEGACY_FRESH_S
        # After a beat in our own format nothing is kept, so the same state begins anew.
        said = self.states if is_going_on else {}
        self._same_since = (
            {
                name: self._same_since.get(name, now) if said.get(name) is state else now
                for name, state in beat.states.items()
            }
            if beat.is_legacy
            else {}
        )

    def is_watched_out(self, service: str, since: float, now: float) -> bool:
        """True if a C OpenHA said that it is out, and the same, from ``since`` or before until now,
        for the whole delay.
        """
        newest = self._newest
        if newest is None or not newest.is_legacy or self.standing is not PeerStanding.LIVE:
            return False
        if newest.states.get(service) not in PEER_OUT or now > self._taken_at + LEGACY_FRESH_S:
            return False
        return self._taken_at >= max(since, self._same_since[service]) + self.legacy_delay_s

    def advance(self, now: float) -> None:
        """Proofs grow old, and doubts end, by themselves: told before anything is decided."""
        self._is_ack_old = now >= self._taken_at + self.ack_limit_s
        self._is_left_doubted = now < self._left_from

    def judge(self, is_any_up: bool, silent_since: float | None, now: float) -> PeerStanding:
        """Works out how the peer stands from the verdict on the links.

        Returns the standing before.
        """
        before = self.standing
        self.advance(now)
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

    def doubt_goodbye(self, until: float) -> None:
        """After a stall of our own, a goodbye may be old, and the peer long back: it must be
        listened for until then.
        """
        self._left_from = until

    @property
    def is_left_doubted(self) -> bool:
        """True while a goodbye proves nothing."""
        return self.standing is PeerStanding.LEFT and self._is_left_doubted

    def next_deadline(self, now: float) -> float | None:
        """When a goodbye's hold ends, or the doubt of it."""
        if self.standing is not PeerStanding.LEFT:
            return None
        ahead = [
            instant
            for instant in (self._goodbye_at + RESTART_HOLD_S, self._left_from)
            if instant > now
        ]
        return min(ahead, default=None)

    def state_of(self, service: str) -> ServiceState:
        """The peer's state as shown: UNKNOWN unless the peer is heard and speaks of the service."""
        if self.standing is not PeerStanding.LIVE:
            return ServiceState.UNKNOWN
        return self.states.get(service, ServiceState.UNKNOWN)

    def evidence(self, service: str, ready_seq: int | None) -> Evidence:
        """What is proved of the service.

        ``ready_seq`` is the beat that announced our START_READY, if one did.
        """
        said = None if self._newest is None else self._newest.states.get(service)
        if self.standing is PeerStanding.LEFT:
            if said in PEER_OUT:
                return Evidence.UNHEARD if self._is_left_doubted else Evidence.DEPARTED_STOPPED
            if said is ServiceState.FROZEN_START:
                # Frozen by an operator and left running on purpose: nobody takes it.
                return Evidence.RUNS
            return Evidence.UNHEARD if self.silent_since is None else Evidence.SILENT
        if self.standing is PeerStanding.SILENT:
            return Evidence.SILENT
        if self.standing is PeerStanding.UNHEARD or said is None:
            return Evidence.UNHEARD
        if said in PEER_OUT:
            is_acked = (
                ready_seq is not None and self._acked_seq >= ready_seq and not self._is_ack_old
            )
            return Evidence.OUT_ACKED if is_acked else Evidence.OUT
        if said in UP_OR_STARTING:
            return Evidence.RUNS
        return Evidence.READY if said is ServiceState.START_READY else Evidence.BUSY

    def for_script(self, service: str) -> tuple[ServiceState, PeerStanding]:
        """State and standing as a script is told: a peer that left is known by its last word, until
        that no longer holds.
        """
        if self.standing is not PeerStanding.LEFT:
            return self.state_of(service), self.standing
        if self.evidence(service, None) is Evidence.SILENT:
            return ServiceState.UNKNOWN, PeerStanding.SILENT
        return self.states.get(service, ServiceState.UNKNOWN), PeerStanding.LEFT

    @property
    def facts(self) -> Facts | None:
        """The newest facts of the peer's present life; None if it has sent none."""
        return self._facts

    def is_unready(self, service: str) -> bool:
        """True if the peer is heard and says that it could not start the service now."""
        return (
            self.standing is PeerStanding.LIVE
            and self._facts is not None
            and service in self._facts.unready
        )

    @property
    def takes_facts(self) -> bool:
        """True if the peer's present life is known to understand facts."""
        return self._facts is not None

    @property
    def newest_acked_seq(self) -> int:
        """The beat of ours that the newest beat acknowledges, if it has facts, too; else -1."""
        newest = self._newest
        if (
            newest is None
            or newest.facts is None
            or newest.ack is None
            or newest.ack.boot != self.own_boot
        ):
            return -1
        return newest.ack.seq if newest.ack.is_taken else -1

    @property
    def newest(self) -> Beat | None:
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
