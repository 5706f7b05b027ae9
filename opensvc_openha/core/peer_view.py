"""Hold this node's view of its peer: the newest beat, its standing, and what that proves.

A C OpenHA acknowledges nothing and has no incarnations: its announcements count only together with
the time for which they have not changed.

The newest (boot, sequence) wins. A beat of an older incarnation of the peer is accepted only once
the newer one is silent. Silence makes every state of the peer UNKNOWN; it is never a proof of
death.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping

from opensvc_openha.core.beat import Beat, BootId, Goodbye
from opensvc_openha.core.facts import DiskAnswer, Facts, Reach
from opensvc_openha.core.peer_word import PeerWord
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.states import PEER_OUT, UP_OR_STARTING, ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import (
    DISK_FACTS_OLD_S,
    LEGACY_ECHO_S,
    LEGACY_FRESH_S,
    LEGACY_STRAGGLER_S,
    RESTART_HOLD_S,
    START_READY_DELAY_S,
)


class Evidence(enum.Enum):
    """What is known of one service on the peer, as input to the rules."""

    OUT = "out"
    """The peer is heard and reports it out."""
    OUT_ACKED = "out, acknowledged"
    """As OUT, in a beat that acknowledges the one in which this node announced START_READY."""
    DEPARTED_STOPPED = "left, out"
    """The peer said goodbye and reported it out."""
    SILENT = "silent"
    """Nothing is heard of the peer: it may be dead, or it may still run the service."""
    READY = "start ready"
    """The peer wants to start it as well."""
    RUNS = "running it"
    """The peer is heard and runs it, or is starting it."""
    BUSY = "busy"
    """The peer is heard and reports anything else: some of the service may be in use there."""
    UNHEARD = "unheard"
    """Not known, and not silent for long enough."""


class Age(enum.Enum):
    """Age of a beat beside the newest one taken of its incarnation."""

    NEWER = enum.auto()
    """It is the newest, or the first of its incarnation."""
    SAME = enum.auto()
    """The same one, from another link."""
    OLDER = enum.auto()


_PAST_MAX = 15


@state_marks(
    not_state={
        "own_boot",
        "_past",
        "own_seq",
        "_taken_at",
        "_same_since",
        "held_back",
        "_heard_at",
        "_facts_at",
        "facts_seq",
        "word",
    },
    own_seqs={"_acked_seq", "_taken_over_seq", "_ack_floor", "facts_acked_seq"},
    memory_s={"_goodbye_at": RESTART_HOLD_S + 1},
)
class PeerView:
    """The newest beat of the peer and the conclusions from it."""

    def __init__(self, own_boot: BootId) -> None:
        self.own_boot = own_boot
        self._newest: Beat | None = None
        self._facts: Facts | None = None
        self._acked_seq = -1
        self._incarnation: BootId | None = None
        self._past: tuple[BootId, ...] = ()
        self._taken_over_seq = 0
        self.own_seq = 0
        """Newest beat of this node; set by the engine."""
        self._goodbye_at = 0.0
        self._taken_at = 0.0
        self._same_since: dict[str, float] = {}
        self.legacy_delay_s = START_READY_DELAY_S
        """Seconds for which a C OpenHA must have been heard out.

        Follows from the links that are up.
        """
        self.standing = PeerStanding.UNKNOWN
        self.silent_since: float | None = None
        self.ack_limit_s = math.inf
        """After so many seconds without beats of this node the peer may call it silent.

        Older acknowledgements prove nothing.
        """
        self._is_ack_old = False
        self._doubted_until = -math.inf
        self._is_departure_doubted = False
        self._is_authentic = False
        self._are_facts_authentic = False
        self._heard_at = self._facts_at = -math.inf
        self.facts_seq = -1
        """Number of the beat that brought the newest facts; -1 if none has."""
        self.facts_acked_seq = -1
        """The newest beat of this node that the peer had taken when it composed these facts."""
        self.held_back = ""
        """Why there is no verdict about a peer that is heard but rejected; empty otherwise."""
        self._ack_floor = 0
        """Acknowledgements up to this number may be out of date and count for nothing."""
        self.word = PeerWord()
        """What the peer said last, as of the last step; replaced as a whole, for other threads."""

    def admits(self, beat: Beat, now: float = math.inf) -> bool:
        """Return True for a beat of the current incarnation, or of a plausible new one."""
        if beat.goodbye is not Goodbye.NONE and (
            beat.ack is None or beat.ack.boot != self.own_boot
        ):
            # A goodbye is evidence: it must answer this incarnation of ours, not remain from before
            # our own start.
            return False
        # A recording of a former incarnation must not pass for a new one.
        if beat.boot in self._past:
            return self._has_come_back(beat)
        if self._newest is None:
            return True
        # For a while after a goodbye, a beat in the original's format may still be from the daemon
        # that left.
        if beat.is_legacy:
            return self._newest.goodbye is Goodbye.NONE or now >= self._goodbye_at + LEGACY_ECHO_S
        if self._newest.is_legacy:
            return True
        if beat.boot == self._newest.boot:
            return self._newest.goodbye is Goodbye.NONE
        # A lower counter is plausible only while the accepted incarnation is not heard: a replay
        # must not displace a live peer.
        is_newer = beat.boot.counter > self._newest.boot.counter
        return is_newer or (self.standing is not PeerStanding.LIVE and beat.goodbye is Goodbye.NONE)

    def _has_come_back(self, beat: Beat) -> bool:
        """Return True if an incarnation that was given up is alive after all.

        It has heard what this node sent since, and the incarnation accepted instead has not. So a
        single stray beat of an older incarnation cannot lock out the live peer.
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
        """Return True if the accepted incarnation is unauthenticated and brought nothing new.

        "Nothing new" covers ``patience_s`` seconds; a goodbye counts as such an incarnation too.
        """
        return (
            self._newest is not None
            and not self._is_authentic
            and now >= self._taken_at + patience_s
        )

    @property
    def is_unauthenticated(self) -> bool:
        """True if the accepted beat is not authenticated."""
        return self._newest is not None and not self._is_authentic

    def is_past(self, boot: BootId) -> bool:
        """Return True for the accepted incarnation and those it replaced."""
        return boot == self._incarnation or boot in self._past

    def is_over(self, boot: BootId) -> bool:
        """Return True for an incarnation that was replaced."""
        return boot != self._incarnation and boot in self._past

    def is_return(self, beat: Beat) -> bool:
        """Return True for a beat of an incarnation accepted before the one accepted now."""
        newest = self._newest
        return newest is not None and newest.boot != beat.boot and self.is_past(beat.boot)

    def age_of(self, beat: Beat, now: float) -> Age:
        """Compare an admitted beat with the newest one taken of its incarnation."""
        newest = self._newest
        if newest is None or newest.boot != beat.boot:
            return Age.NEWER
        if beat.is_legacy:
            # Its clock counts whole seconds: of two beats within one, the later arrival is newer.
            is_newer = beat.seq >= newest.seq or now >= self._taken_at + LEGACY_STRAGGLER_S
            return Age.NEWER if is_newer else Age.OLDER
        if beat.seq > newest.seq:
            return Age.NEWER
        return Age.SAME if beat.seq == newest.seq else Age.OLDER

    def displace(self, boot: BootId) -> None:
        """Accept another incarnation: the current one was not the peer.

        Only what the new one hears from now on is a proof.
        """
        self._newest, self._facts, self._acked_seq = None, None, -1
        self.facts_seq = self.facts_acked_seq = -1
        self._past = tuple(each for each in self._past if each != boot)
        # The displaced one may have acknowledged in the peer's name.
        self._ack_floor = self.own_seq

    def take(
        self,
        beat: Beat,
        now: float,
        is_authentic: bool = False,
        received_at: float | None = None,
    ) -> bool:
        """Take the beat as the newest.

        Return False if a newer one of its incarnation was taken before.
        """
        newest = self._newest
        if newest is None or newest.boot != beat.boot:
            self._acked_seq, self._facts = -1, None
            self.facts_seq = self.facts_acked_seq = -1
        elif self.age_of(beat, now) is not Age.NEWER:
            return False
        if not beat.is_legacy and self._incarnation != beat.boot:
            if self._incarnation is not None:
                # An incarnation that was replaced is not accepted again because of its counter.
                self._past = (
                    *(each for each in self._past[-_PAST_MAX:] if each != beat.boot),
                    self._incarnation,
                )
            self._incarnation = beat.boot
            # An acknowledgement beyond this number shows that the replaced incarnation is alive
            # after all.
            self._taken_over_seq = self.own_seq
        self._update_same_since(beat, now)
        self._newest, self._taken_at, self._is_authentic = beat, now, is_authentic
        self._heard_at = now if received_at is None else min(now, received_at)
        # A beat without facts withdraws none: they hold for the incarnation.
        if beat.facts is not None:
            self._facts, self._are_facts_authentic = beat.facts, is_authentic
            self.facts_seq = beat.seq
            self._facts_at = self._heard_at
        ack = beat.ack
        if (
            ack is not None
            and ack.is_taken
            and ack.boot == self.own_boot
            and ack.seq > self._ack_floor
        ):
            self._acked_seq = max(self._acked_seq, ack.seq)
        if beat.facts is not None:
            self.facts_acked_seq = self._acked_seq
        if beat.goodbye is not Goodbye.NONE:
            self._goodbye_at = now
        return True

    def _update_same_since(self, beat: Beat, now: float) -> None:
        """Record since when a C OpenHA has announced each state, in beats without a gap."""
        is_continuing = (
            self.standing is PeerStanding.LIVE and now <= self._taken_at + LEGACY_FRESH_S
        )
        # A beat in our own format clears the record, so the time starts over.
        reported = self.states if is_continuing else {}
        self._same_since = (
            {
                name: self._same_since.get(name, now) if reported.get(name) is state else now
                for name, state in beat.states.items()
            }
            if beat.is_legacy
            else {}
        )

    def is_watched_out(self, service: str, since: float, now: float) -> bool:
        """Return True if a C OpenHA has reported the service out for the whole delay.

        In the same state in every beat, from ``since`` or before until now.
        """
        newest = self._newest
        if newest is None or not newest.is_legacy or self.standing is not PeerStanding.LIVE:
            return False
        if newest.states.get(service) not in PEER_OUT or now > self._taken_at + LEGACY_FRESH_S:
            return False
        return self._taken_at >= max(since, self._same_since[service]) + self.legacy_delay_s

    def advance(self, now: float) -> None:
        """Age proofs and doubts up to ``now``; called before anything is decided."""
        self._is_ack_old = now >= self._taken_at + self.ack_limit_s
        self._is_departure_doubted = now < self._doubted_until

    def judge(self, is_any_up: bool, silent_since: float | None, now: float) -> PeerStanding:
        """Derive the peer's standing from the verdict on the links; return the former standing."""
        before = self.standing
        self.advance(now)
        if self._newest is not None and self._newest.goodbye is not Goodbye.NONE:
            self.standing = PeerStanding.DEPARTED
            # A daemon that restarts is back in seconds, and its services run on: they are not taken
            # over meanwhile.
            hold_ends = self._goodbye_at + RESTART_HOLD_S
            self.silent_since = hold_ends if now >= hold_ends else None
        elif is_any_up:
            self.standing, self.silent_since = PeerStanding.LIVE, None
        elif silent_since is not None:
            self.standing, self.silent_since = PeerStanding.SILENT, silent_since
        else:
            self.standing, self.silent_since = PeerStanding.UNKNOWN, None
        self.word = PeerWord(
            self.standing,
            self._newest,
            self._heard_at,
            self._is_authentic,
            self._is_departure_doubted,
            self.ack_limit_s,
        )
        return before

    def doubt_goodbye(self, until: float) -> None:
        """Distrust a goodbye after a stall of this node until ``until``.

        The peer may be long back.
        """
        self._doubted_until = until

    @property
    def is_departure_doubted(self) -> bool:
        """True while a goodbye proves nothing."""
        return self.standing is PeerStanding.DEPARTED and self._is_departure_doubted

    def next_deadline(self, now: float) -> float | None:
        """Return when a goodbye's hold, or the doubt of it, ends."""
        if self.standing is not PeerStanding.DEPARTED:
            return None
        ahead = [
            instant
            for instant in (self._goodbye_at + RESTART_HOLD_S, self._doubted_until)
            if instant > now
        ]
        return min(ahead, default=None)

    def state_of(self, service: str) -> ServiceState:
        """Return the peer's state as shown.

        UNKNOWN unless the peer is heard and reports the service.
        """
        if self.standing is not PeerStanding.LIVE:
            return ServiceState.UNKNOWN
        return self.states.get(service, ServiceState.UNKNOWN)

    def evidence(self, service: str, ready_seq: int | None) -> Evidence:
        """Return what is proved of the service.

        ``ready_seq`` is the beat that announced START_READY of this node, if there was one.
        """
        reported = None if self._newest is None else self._newest.states.get(service)
        if self.standing is PeerStanding.DEPARTED:
            if reported in PEER_OUT:
                return Evidence.UNHEARD if self._is_departure_doubted else Evidence.DEPARTED_STOPPED
            if reported is ServiceState.FROZEN_START:
                # Frozen by an operator and left running on purpose: neither node takes it over.
                return Evidence.RUNS
            return Evidence.UNHEARD if self.silent_since is None else Evidence.SILENT
        # What it announced last is no evidence: it may have started the service since.
        if self.standing is PeerStanding.SILENT:
            return Evidence.SILENT
        if self.standing is PeerStanding.UNKNOWN or reported is None:
            return Evidence.UNHEARD
        if reported in PEER_OUT:
            # An acknowledgement is void once the peer may have called this node silent: it may have
            # started the service since.
            is_acked = (
                ready_seq is not None and self._acked_seq >= ready_seq and not self._is_ack_old
            )
            return Evidence.OUT_ACKED if is_acked else Evidence.OUT
        if reported in UP_OR_STARTING:
            return Evidence.RUNS
        return Evidence.READY if reported is ServiceState.START_READY else Evidence.BUSY

    def for_script(self, service: str) -> tuple[ServiceState, PeerStanding]:
        """Return state and standing as passed to a script.

        A departed peer keeps its last announced state until that no longer holds.
        """
        if self.standing is not PeerStanding.DEPARTED:
            return self.state_of(service), self.standing
        if self.evidence(service, None) is Evidence.SILENT:
            return ServiceState.UNKNOWN, PeerStanding.SILENT
        return self.states.get(service, ServiceState.UNKNOWN), PeerStanding.DEPARTED

    @property
    def facts(self) -> Facts | None:
        """The newest facts of the peer's current incarnation; None if it has sent none."""
        return self._facts

    def is_unready(self, service: str) -> bool:
        """Return True if the peer is heard and reports that it could not start the service now."""
        return (
            self.standing is PeerStanding.LIVE
            and self._facts is not None
            and service in self._facts.unready
        )

    def why_not_taking(self, service: str) -> str:
        """Return why a peer that is heard would not take a service; empty if it would."""
        state = self.state_of(service)
        if state is not ServiceState.STOPPED:
            return f"the peer is {state.name}"
        return "the peer reports that it could not start it" if self.is_unready(service) else ""

    @property
    def are_facts_authentic(self) -> bool:
        """True if the newest facts came with a key, and so did the newest beat."""
        return self._is_authentic and self._are_facts_authentic

    def disks_of(self, service: str, now: float) -> DiskAnswer:
        """Return what the peer reports of a service's disks.

        UNKNOWN unless that is authenticated and new: only a peer that can take the service is asked
        to, and nobody else may answer for it.
        """
        facts = self._facts
        if (
            facts is None
            or self.standing is not PeerStanding.LIVE
            or not self.are_facts_authentic
            or now > self._facts_at + DISK_FACTS_OLD_S
        ):
            return DiskAnswer.UNKNOWN
        if service in facts.frozen:
            return DiskAnswer.FROZEN
        return DiskAnswer.ANSWERS if service in facts.answering else DiskAnswer.UNKNOWN

    @property
    def is_isolated(self) -> bool:
        """True if the peer is heard and reports that nothing but this node answers it."""
        facts = self._facts
        known = None if facts is None else facts.connectivity
        is_heard = self.standing is PeerStanding.LIVE
        return is_heard and known is not None and known.reach is Reach.ISOLATED

    @property
    def facts_at(self) -> float:
        """When the newest facts came in."""
        return self._facts_at

    @property
    def hears_this_node(self) -> bool:
        """True if the peer's newest facts say that it hears this node."""
        return self._facts is not None and self._facts.silent_s is None

    @property
    def takes_facts(self) -> bool:
        """True if the peer's current incarnation is known to understand facts."""
        return self._facts is not None

    @property
    def newest_acked_seq(self) -> int:
        """Number of our beat that the newest beat with facts acknowledges; -1 if none."""
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
        """The newest beat taken; None before the first."""
        return self._newest

    @property
    def states(self) -> Mapping[str, ServiceState]:
        """The states of the newest beat, by service."""
        return {} if self._newest is None else self._newest.states

    @property
    def acked_seq(self) -> int:
        """Newest beat of ours that the peer's current incarnation has acknowledged; -1 if none."""
        return self._acked_seq
