"""S2: no start without evidence that the peer is out.

The evidence counts as long as the peer cannot have begun anything since; what a node may rely on is
kept here, from what it announced, heard and ran. The grounds for a start:

acknowledgement   the peer's newest beat, of its latest incarnation, reports it out, and it has
                  acknowledged a beat in which this node announced its start
goodbye           the peer's daemon left and reported the service out, lately
watch             a C OpenHA, which acknowledges nothing, is heard and was out for the whole delay
word              an operator confirmed that the peer is out, and nothing was heard of it since
power             its fence reported it off twice, lately, and nothing was heard of it since
silence           a check-up begun in silence succeeded; or a fence of this node did, lately, and
                  nothing was heard of the peer since it began
plan              a step of the fence plan succeeded, begun in silence, lately, and nothing was
                  heard of the peer since; where there is a plan, no script replaces it
lease             the peer's promise proves it dead (`lease_ground`), where there is a plan
reservation       the same of the disks of the service, which needs no more
old goodbye       a goodbye that is older: with /bin/true nothing keeps a peer that came back out

What the check-up script and the operator report counts as true here; S1 treats wrong reports.

Exception, without a key only: once a beat was forged in the peer's name, the node may believe that
in place of the true peer. Then the first true beat after a pause of the shortest timeout is no sign
of life, and the second one is; until true beats have gone on for that timeout, when the node
believes them again (docs/heartbeats.md, "Without a key").
"""

from __future__ import annotations

from dataclasses import dataclass

from opensvc_openha.core import timing
from opensvc_openha.core.beat import Beat, BootId, Goodbye
from opensvc_openha.core.states import PEER_OUT, ServiceState
from opensvc_openha.verify.invariants.lease_ground import LeaseGround
from opensvc_openha.verify.invariants.observations import Arrived, Heard, StepEnded
from opensvc_openha.verify.invariants.place import ServicePlace
from opensvc_openha.verify.invariants.promise import Promise

S2 = Promise(
    "S2",
    'no start without an acknowledged "peer is out", or silence and a check-up begun in it that'
    " succeeded",
)
_SLACK_S = 0.001
"""Rounding of a sum of instants."""


@dataclass(frozen=True)
class Limits:
    """How long evidence counts, by the timeouts of the links."""

    shortest_timeout_s: float
    ack_limit_s: float
    """An announcement of the peer that is older than the time for calling it silent proves nothing
    any more.
    """


class Births:
    """The daemons of both nodes in order of their start.

    A counter may be lost, and the later incarnation have the lower one.
    """

    def __init__(self) -> None:
        self._order: dict[BootId, int] = {}
        self._latest: dict[str, BootId] = {}

    def record(self, node: str, boot: BootId) -> None:
        """Record that a daemon begins on a node."""
        self._order[boot] = len(self._order)
        self._latest[node] = boot

    def latest(self, node: str) -> BootId | None:
        """Return the newest daemon of a node, heard or not."""
        return self._latest.get(node)

    def age(self, boot: BootId) -> tuple[int, int]:
        """Return a number that is greater for the later incarnation.

        By its counter for one whose beginning was not observed.
        """
        return self._order.get(boot, -1), boot.counter


class PeerIncarnation:
    """One incarnation of the peer's daemon, as heard by one of ours."""

    def __init__(self) -> None:
        self.newest: Beat | None = None
        self.heard_at = 0.0
        self.acked = -1
        self.is_proven = False
        self.is_over = False
        self.out_since: dict[str, float] = {}
        self.arrived: Beat | None = None
        """The newest beat that came in; it may still wait for the engine."""
        self.arrived_at = 0.0

    def word_at(self, service: str) -> float:
        """Return when the newest word that the service is out came in, or was heard."""
        is_out = self.arrived is not None and self.arrived.states.get(service) in PEER_OUT
        return max(self.heard_at, self.arrived_at) if is_out else self.heard_at


class PeerEvidence:
    """What the present daemon of a node may know of its peer."""

    def __init__(self, limits: Limits, births: Births, peer: str) -> None:
        self._limits = limits
        self._births = births
        self._peer = peer
        self.boot: BootId | None = None
        self.incarnations: dict[BootId, PeerIncarnation] = {}
        self.arrived: dict[BootId, int] = {}
        self.last_arrival: float | None = None
        self.has_arrivals = False
        """Each beat is observed at its arrival, not only when the engine gets it."""
        self.last_word: Beat | None = None
        self.last_word_at = 0.0
        self.began_at = 0.0
        self.has_heard = False
        """The peer has answered this node since it was booted."""
        self.is_confirmed = False
        self.reported_off: list[float] = []
        """When the fence reported the peer off, without any other report or sign of it since."""
        self.forged_at: float | None = None
        """A beat was forged then, and may be believed in place of the true ones."""
        self.true_since = 0.0
        """Since when true beats come in without a pause of the shortest timeout."""
        self.last_true: float | None = None
        self.has_plan = False
        """The node has a fence plan."""
        self.data_only: frozenset[str] = frozenset()
        """Services for which it is enough that the peer cannot change their disks."""
        self.last_heard: float | None = None
        self._step_began: float | None = None
        self._proved_at: float | None = None
        self._taken_at: dict[str, float] = {}
        """When the plan took the disks of each service from the peer."""
        self.is_lied_to = False
        """A step that succeeded in this silence lied: the peer lives."""
        self.fence_began: float | None = None
        self.fenced_at: float | None = None
        """A fence succeeded, and nothing was heard of the peer since it began."""
        self.lease = LeaseGround()

    def end(self, is_machine: bool) -> None:
        """Forget what the daemon knew, or the whole machine."""
        self.boot, self.last_word = None, None
        self.incarnations.clear()
        self.lease = LeaseGround()
        # Nothing listens until the next daemon does: the peer may come back unheard.
        self._forget_absence()
        self.has_heard = self.has_heard and not is_machine

    def begin(self, boot: BootId, at: float) -> None:
        """Begin with a new daemon."""
        self.boot, self.began_at = boot, at

    def _forget_absence(self) -> None:
        self.fence_began = self.fenced_at = None
        self._step_began = self._proved_at = None
        self._taken_at, self.is_lied_to = {}, False
        self.is_confirmed, self.reported_off = False, []

    # --- beats ------------------------------------------------------------------------------------

    def take_arrival(self, seen: Arrived | Heard) -> None:
        """Record a sign of life, with these exceptions.

        A repeated beat, a beat of an incarnation that ended or was not proved genuine, and one of
        an incarnation that is not later by its counter (the node has lost that, and is reported).
        Nor does a goodbye to another incarnation of ours count: a disk slot keeps it from long ago.
        """
        beat = seen.beat
        self.has_arrivals = self.has_arrivals or isinstance(seen, Arrived)
        known = self.incarnations.get(beat.boot)
        if beat.is_legacy:
            if known is not None:
                known.arrived, known.arrived_at = beat, seen.at
            # Not numbered: where arrivals are seen, an engine that was held up may hear now what
            # came long before.
            if isinstance(seen, Arrived) or not self.has_arrivals:
                self.last_arrival = seen.at
            return
        newest = max((boot.counter for boot in self.arrived if boot != beat.boot), default=0)
        is_later = beat.boot.counter > newest or (
            beat.boot in self.arrived and beat.boot.counter == newest
        )
        is_over = known is not None and known.is_over
        if beat.seq <= self.arrived.get(beat.boot, -1) or not is_later or is_over:
            return
        is_unproven = seen.is_authentic and not (known is not None and known.is_proven)
        is_proof_needed = beat.goodbye is not Goodbye.NONE or is_unproven
        if is_proof_needed and not self._names_us(beat):
            return
        self.arrived[beat.boot] = beat.seq
        if known is not None:
            known.arrived, known.arrived_at = beat, seen.at
        if self._is_lone(seen.at) and not seen.is_authentic:
            return
        self.last_arrival = seen.at
        if isinstance(seen, Heard):
            self.last_heard = seen.at
            # Beats that arrived but were not handled yet are unknown to the engine: a fence that
            # succeeded may be used meanwhile.
            self._forget_absence()

    def take_forgery(self, at: float) -> None:
        """Record that a beat was forged in the peer's name."""
        self.forged_at = at

    def _is_lone(self, at: float) -> bool:
        """Return True for the first true beat after a pause, while a forged one may be believed."""
        timeout_s, forged_at = self._limits.shortest_timeout_s, self.forged_at
        is_first = self.last_true is None or at >= self.last_true + timeout_s
        self.last_true = at
        if is_first:
            self.true_since = at
        if forged_at is not None and at >= max(forged_at, self.true_since) + timeout_s:
            self.forged_at = None
        return is_first and forged_at is not None

    def take_beat(self, seen: Heard) -> None:
        """Record what the engine heard."""
        beat = seen.beat
        self.lease.take_sign(seen)
        known = self.incarnations.setdefault(beat.boot, PeerIncarnation())
        names_us = self._names_us(beat)
        known.is_proven = known.is_proven or names_us or not seen.is_authentic
        is_old = known.newest is not None and (
            beat.seq <= known.newest.seq
            if not beat.is_legacy
            # Its sequence is a clock, which may be set back: a beat counts as late only for a
            # while.
            else beat.seq < known.newest.seq
            and seen.at < known.heard_at + timing.LEGACY_STRAGGLER_S
        )
        is_foreign_goodbye = beat.goodbye is not Goodbye.NONE and not names_us
        if not known.is_proven or is_old or known.is_over or is_foreign_goodbye:
            return
        known.out_since = {
            name: known.out_since.get(name, seen.at)
            for name, state in beat.states.items()
            if state in PEER_OUT
        }
        known.newest, known.heard_at = beat, seen.at
        self.lease.take_beat(seen)
        # A beat in one direction alone is no answer: the peer may be fencing this node. A C OpenHA
        # acknowledges nothing.
        self.has_heard = self.has_heard or names_us or beat.is_legacy
        former = self.last_word
        if (
            former is None
            or former.goodbye is not Goodbye.NONE
            or beat.boot.counter >= former.boot.counter
        ):
            self.last_word, self.last_word_at = beat, seen.at
        if beat.ack is not None and beat.ack.is_taken and names_us:
            known.acked = max(known.acked, beat.ack.seq)
        known.is_over = beat.goodbye is not Goodbye.NONE

    def is_proven(self, boot: BootId) -> bool:
        """Return True for an incarnation that has answered this one, or came without a key."""
        known = self.incarnations.get(boot)
        return known is not None and known.is_proven

    def _names_us(self, beat: Beat) -> bool:
        return beat.ack is not None and beat.ack.boot == self.boot

    # --- absence ----------------------------------------------------------------------------------

    def confirm(self) -> None:
        """Record that an operator confirmed the peer out."""
        self.is_confirmed = True

    @property
    def shortest_timeout_s(self) -> float:
        """The shortest timeout of a link, in seconds."""
        return self._limits.shortest_timeout_s - _SLACK_S

    def silent_s(self, at: float) -> float | None:
        """Return for how long the engine has heard nothing; None if it never did."""
        return None if self.last_heard is None else at - self.last_heard

    def begin_step(self, at: float) -> None:
        """Record that a step of the fence plan begins."""
        self._step_began = at if self._is_silent(at) else None

    def end_step(self, seen: StepEnded) -> None:
        """Record that a step of the fence plan ended."""
        if not seen.is_done or seen.is_claim or self._step_began is None:
            return
        self.is_lied_to = self.is_lied_to or seen.is_lie
        if seen.covers is None:
            self._proved_at = seen.at
        else:
            self._taken_at.update(dict.fromkeys(seen.covers, seen.at))

    def _plan_ground(self, at: float, service: str) -> str:
        oldest = at - timing.PROOF_LIFE_S - _SLACK_S
        if self._proved_at is not None and self._proved_at >= oldest:
            return "plan"
        if self.lease.is_dead(at):
            return "lease"
        is_taken = service in self.data_only and self._taken_at.get(service, oldest - 1) >= oldest
        return "reservation" if is_taken else ""

    def report_power(self, at: float, is_off: bool) -> None:
        """Record what the fence reported of the peer's power."""
        self.reported_off = [*self.reported_off, at] if is_off else []

    def begin_check(self, place: ServicePlace, at: float, is_fence: bool) -> None:
        """Record that a check-up script begins."""
        place.check_began, place.is_check_ok, place.is_check_lie = at, False, False
        place.is_check_silent = self._is_silent(at)
        self.fence_began = at if is_fence else self.fence_began

    def end_check(self, place: ServicePlace, at: float, is_ok: bool, is_lie: bool) -> None:
        """Record that a check-up script ended."""
        place.is_check_ok, place.is_check_lie = is_ok, is_lie
        is_true = is_ok and not is_lie
        if is_true and place.is_check_silent and self.fence_began is not None:
            self.fenced_at = at

    def _is_silent(self, at: float) -> bool:
        if self.last_word is not None and self.last_word.goodbye is not Goodbye.NONE:
            # A daemon that announced a restart is waited for, and the services it left running stay
            # where they are.
            return at - self.last_word_at >= timing.RESTART_HOLD_S - _SLACK_S
        limit_s = min(self._limits.shortest_timeout_s, timing.RESTART_HOLD_S)
        last = max(self.began_at, self.began_at if self.last_arrival is None else self.last_arrival)
        return at - last >= limit_s - _SLACK_S

    def has_left_frozen(self, service: str) -> bool:
        """Return True if the peer last announced the service frozen and running.

        No node takes it then, whatever happens to the peer.
        """
        beat = self.last_word
        if beat is None or beat.goodbye is Goodbye.NONE:
            return False
        return beat.states.get(service) is ServiceState.FROZEN_START

    # --- the check --------------------------------------------------------------------------------

    def check_start(self, place: ServicePlace, at: float, node: str, service: str) -> str:
        """Check that there is a ground for a start, and return it."""
        ground = self._ground(place, at, service)
        if not ground:
            S2.fail(at, node, service, self._missing(place, at, service))
        return ground

    def _ground(self, place: ServicePlace, at: float, service: str) -> str:
        births, limits = self._births, self._limits
        heard = [boot for boot, known in self.incarnations.items() if known.newest is not None]
        latest = max(map(births.age, heard), default=None)
        highest = max((boot.counter for boot in heard), default=0)
        for boot, known in self.incarnations.items():
            beat = known.newest
            if beat is None or beat.states.get(service) not in PEER_OUT:
                continue
            is_latest = beat.is_legacy or births.age(boot) == latest
            word_at = known.word_at(service)
            is_recent = at - word_at <= limits.ack_limit_s
            if is_latest and known.is_over:
                # Heard late by a stalled node, it may be long out of date: the node has to listen
                # again before it counts.
                is_overtaken = (
                    boot != births.latest(self._peer)
                    and at - known.heard_at >= limits.shortest_timeout_s / 2
                )
                return "goodbye" if is_recent and not is_overtaken else "old goodbye"
            # A later incarnation that lost its counter is rejected as an old one, and counts as not
            # heard yet.
            is_newest = is_latest or boot.counter == highest
            has_acked = place.ready_seq is not None and known.acked >= place.ready_seq
            if is_newest and is_recent and has_acked:
                return "acknowledgement"
            is_fresh = at - word_at <= timing.LEGACY_FRESH_S + timing.BEAT_INTERVAL_S
            was_out_s = known.heard_at - known.out_since[service]
            if beat.is_legacy and is_fresh and was_out_s >= timing.START_READY_DELAY_S - _SLACK_S:
                return "watch"
        if self.is_confirmed:
            return "word"
        off = self.reported_off
        is_twice = len(off) > 1 and off[-1] - off[-2] >= timing.POWER_GAP_S - _SLACK_S
        if is_twice and at - off[-1] <= timing.PROOF_LIFE_S + _SLACK_S:
            return "power"
        if self.has_plan:
            return self._plan_ground(at, service)
        is_fenced = (
            self.fenced_at is not None and at - self.fenced_at <= timing.PROOF_LIFE_S + _SLACK_S
        )
        return "silence" if is_fenced or (place.is_check_ok and place.is_check_silent) else ""

    def _missing(self, place: ServicePlace, at: float, service: str) -> str:
        incarnations = "; ".join(
            f"life {boot.counter} last heard {at - known.heard_at:.3f} s ago,"
            f" {known.newest.states.get(service)}, acknowledged"
            f" {known.acked}{', over' if known.is_over else ''}"
            for boot, known in self.incarnations.items()
            if known.newest is not None
        )
        check = "no check-up"
        if place.check_began is not None:
            when = "in silence" if place.is_check_silent else "while the peer was heard"
            check = (
                f"check-up begun {at - place.check_began:.3f} s ago {when},"
                f" {'succeeded' if place.is_check_ok else 'did not succeed'}"
            )
        return (
            f"start without proof: announced in beat {place.ready_seq};"
            f" heard: {incarnations or 'no peer'}; {check}"
        )
