"""Check what really happened against all promises, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.core import timing
from opensvc_openha.core.beat import BootId, Goodbye
from opensvc_openha.core.events import Command, ScriptKind
from opensvc_openha.core.states import FROZEN, PEER_OUT, ServiceState
from opensvc_openha.verify.invariants import (
    l1_liveness,
    s1_one_copy,
    s3_frozen,
    s6_watchdog,
    s7_barrier,
    s8_booted,
    s9_silence,
)
from opensvc_openha.verify.invariants.l2_settles import Settling
from opensvc_openha.verify.invariants.l3_rounds import Rounds
from opensvc_openha.verify.invariants.observations import (
    Adopted,
    Announced,
    Arrived,
    Asked,
    Barred,
    Confirmed,
    DaemonBegan,
    DaemonEnded,
    Disturbed,
    DrillNoted,
    FellSilent,
    Fenced,
    Forged,
    Found,
    Heard,
    Logged,
    MediumRead,
    Moved,
    NodeLost,
    Observation,
    Ordered,
    Petted,
    PowerReported,
    RightLost,
    ScriptBegan,
    ScriptEnded,
    StartedByHand,
    StateLost,
    StepBegan,
    StepEnded,
    WriteLanded,
)
from opensvc_openha.verify.invariants.place import ServicePlace
from opensvc_openha.verify.invariants.s2_evidence import Births, Limits, PeerEvidence
from opensvc_openha.verify.invariants.s4_shots import Shots
from opensvc_openha.verify.invariants.s5_survivor import Survivor
from opensvc_openha.verify.invariants.s10_isolated import Isolation
from opensvc_openha.verify.invariants.s11_drills import DrillWatch

_FORCED = frozenset({Command.FORCE_START, Command.FORCE_STOP})


class _Node:
    """One node, as far as the promises need it."""

    def __init__(self, peer: str, evidence: PeerEvidence, rounds: Rounds) -> None:
        self.peer = peer
        self.evidence = evidence
        self.rounds = rounds
        self.isolation = Isolation()
        self.drill = DrillWatch()
        self.places: dict[str, ServicePlace] = {}
        self.machine = 0
        """How often the machine went down."""
        self.has_lost_right = False
        """It knows that its registration on the arbiter is gone."""

    def place(self, service: str) -> ServicePlace:
        if service not in self.places:
            self.places[service] = ServicePlace()
        return self.places[service]


class InvariantChecker:
    """Check observations of two nodes.

    Raises InvariantBroken at the first violation.
    """

    def __init__(
        self,
        nodes: tuple[str, str],
        shortest_timeout_s: float,
        longest_timeout_s: float,
    ) -> None:
        limits = Limits(shortest_timeout_s, longest_timeout_s + timing.BEAT_INTERVAL_S)
        self._births = Births()
        self._nodes = {
            name: _Node(peer, PeerEvidence(limits, self._births, peer), Rounds(longest_timeout_s))
            for name, peer in zip(nodes, nodes[::-1])
        }
        self._machines: dict[BootId, int] = {}
        """On which life of its machine each daemon began."""
        self._settling = Settling()
        self._survivor = Survivor()
        self._shots = Shots()
        self.may_fence_alone = False
        """See S8."""

    def expect_no_turns(self) -> None:
        """Make the exception of S5: one node is of an older version."""
        self._survivor.has_turns = False

    def expect_plan(
        self, has_arbiter: bool = False, reserved: Iterable[str] = (), data_only: Iterable[str] = ()
    ) -> None:
        """Expect a fence plan on both nodes, and reservations on the disks of some services."""
        self._shots.has_arbiter = has_arbiter
        for node in self._nodes.values():
            node.evidence.has_plan, node.evidence.data_only = True, frozenset(data_only)
            for service in reserved:
                node.place(service).is_reserved = True

    def expect_lease(self, death_s: float) -> None:
        """Expect that both nodes promise to be dead so long after their last sign of life."""
        for node in self._nodes.values():
            node.rounds.lease_s = death_s

    def expect_mutes(self) -> None:
        """Make the exception of S4: peers report links on which they cannot send."""
        self._shots.can_be_muted = True

    def observe(self, seen: Observation) -> None:
        """Check one observation."""
        if isinstance(seen, Disturbed):
            self._settling.forget()
            for each in self._nodes.values():
                each.rounds.disturb()
            return
        node = self._nodes[seen.node]
        if isinstance(seen, (Arrived, Heard, Forged)):
            node.rounds.hear(seen.at)
            node.isolation.end_round()
        if isinstance(seen, Fenced):
            self._survivor.check_fence(seen)
        elif isinstance(seen, Confirmed):
            node.evidence.confirm()
        elif isinstance(seen, PowerReported):
            node.evidence.report_power(seen.at, seen.is_off)
        elif isinstance(seen, Arrived):
            node.evidence.take_arrival(seen)
        elif isinstance(seen, Heard):
            self._heard(node, seen)
        elif isinstance(seen, Found):
            node.evidence.lease.take_found(seen)
        elif isinstance(seen, MediumRead):
            node.evidence.lease.take_read(seen)
            self._check_promise(node, seen)
        elif isinstance(seen, Asked):
            node.isolation.take_round(seen)
        elif isinstance(seen, FellSilent):
            s9_silence.check_silence(seen)
        elif isinstance(seen, DrillNoted):
            node.drill.note(seen)
        elif isinstance(seen, Petted):
            s6_watchdog.check_pet(seen)
        elif isinstance(seen, Forged):
            node.evidence.take_forgery(seen.at)
        elif isinstance(seen, Announced):
            self._said(node, seen)
        elif isinstance(seen, Moved):
            self._moved(node, seen)
        elif isinstance(seen, ScriptBegan):
            self._began(node, seen)
        elif isinstance(seen, ScriptEnded):
            self._ended(node, seen)
        elif isinstance(seen, StepBegan):
            node.drill.check_step(seen)
            self._shots.check_step(seen, node.evidence)
            node.isolation.check_step(seen.at, seen.node)
            s8_booted.check_step(seen, node.evidence.has_heard or self.may_fence_alone)
            node.evidence.begin_step(seen.at)
            node.rounds.begin_step(seen)
        elif isinstance(seen, StepEnded):
            self._shots.end_step(seen)
            node.evidence.end_step(seen)
            node.rounds.end_step(seen)
            for service in seen.covers if seen.covers is not None and seen.is_done else ():
                self._nodes[node.peer].place(service).is_barred = True
                self._bar(node, service)
            if not seen.is_done:
                self._settling.forget()
        elif isinstance(seen, RightLost):
            node.has_lost_right = not seen.is_back
            self._settling.forget()
        elif isinstance(seen, Barred):
            self._bar(node, seen.service)
        elif isinstance(seen, WriteLanded):
            other = self._nodes[node.peer].place(seen.service)
            s7_barrier.check_write(seen, other, node.peer)
        elif isinstance(seen, Ordered):
            place = node.place(seen.service)
            place.is_ordered = True
            place.is_forced = place.is_forced or seen.command in _FORCED
            self._settling.forget()
            node.rounds.disturb()
        elif isinstance(seen, DaemonBegan):
            self._daemon_began(node, seen)
        elif isinstance(seen, Adopted):
            self._adopted(node, seen)
        elif isinstance(seen, Logged):
            place = node.place(seen.service)
            s3_frozen.check_move(seen, place, node.has_lost_right)
            place.logged = seen.state
        elif isinstance(seen, StartedByHand):
            place = node.place(seen.service)
            place.is_running = place.is_hidden = place.is_by_hand = True
        elif isinstance(seen, StateLost):
            place = node.place(seen.service)
            place.kept, place.is_lost = None, True
        else:
            assert isinstance(seen, (DaemonEnded, NodeLost))
            self._gone(seen.node, is_machine=isinstance(seen, NodeLost))

    def _check_promise(self, node: _Node, seen: MediumRead) -> None:
        """Check that the peer is dead if this node may call it so."""
        lease, other = node.evidence.lease, self._nodes[node.peer]
        is_same = lease.boot is not None and self._machines.get(lease.boot) == other.machine
        if is_same and lease.is_dead(seen.at):
            s6_watchdog.check_dead(seen.at, node.peer, seen.node, other.places)

    # --- what runs --------------------------------------------------------------------------------

    def is_hidden(self, node: str, service: str) -> bool:
        """Return True if it runs there, and the node's daemon cannot know of it."""
        return self._nodes[node].place(service).is_hidden

    def is_by_hand(self, node: str, service: str) -> bool:
        """Return True if it was started there by hand, and the peer cannot know of it."""
        return self._nodes[node].place(service).is_by_hand

    def is_barred(self, node: str, service: str) -> bool:
        """Return True if what runs there cannot write any more."""
        return self._nodes[node].place(service).is_barred

    def _began(self, node: _Node, seen: ScriptBegan) -> None:
        place = node.place(seen.service)
        if seen.kind is ScriptKind.CHECK:
            node.evidence.begin_check(place, seen.at, seen.is_fence)
            if place.is_check_silent:
                node.isolation.check_script(seen.at, seen.node, seen.service)
        place.is_trying = False
        node.drill.check_script(seen)
        s8_booted.check_fence(seen, node.evidence.has_heard or self.may_fence_alone)
        s3_frozen.check_script(seen, place, node.has_lost_right)
        if seen.kind is ScriptKind.START:
            ground = node.evidence.check_start(place, seen.at, seen.node, seen.service)
            node.isolation.check_start(seen.at, seen.node, seen.service, ground)
            other = self._nodes[node.peer].place(seen.service)
            place.is_check_lie = place.is_check_lie or node.evidence.is_lied_to
            s7_barrier.check_start(seen, place, other, node.peer)
            s1_one_copy.check_start(seen, place, other, node.peer, ground)
            place.is_running = True
            # The first thing that a start does is to take the disks.
            place.is_barred, other.is_barred = False, True

    def _ended(self, node: _Node, seen: ScriptEnded) -> None:
        place = node.place(seen.service)
        place.is_running = seen.is_running
        if not seen.is_running:
            place.is_hidden = place.is_by_hand = False
        elif seen.kind is ScriptKind.PROBE:
            place.is_hidden = seen.is_unsure
        if seen.is_unsure and not seen.is_running:
            # Without an answer of the wrapper the daemon keeps what it knew before.
            place.is_guess = True
        if seen.kind is ScriptKind.CHECK:
            node.evidence.end_check(place, seen.at, seen.is_ok, seen.is_lie)
            if not seen.is_ok:
                self._settling.forget_service(seen.service)
        if not seen.is_running and seen.kind is ScriptKind.STOP:
            place.is_forced = False

    def _bar(self, node: _Node, service: str) -> None:
        node.place(service).has_barrier = True
        self._nodes[node.peer].place(service).has_barrier = False

    # --- states -----------------------------------------------------------------------------------

    def _gone(self, name: str, is_machine: bool) -> None:
        node = self._nodes[name]
        node.evidence.end(is_machine)
        node.machine += is_machine
        node.rounds.end_daemon()
        node.drill = DrillWatch()
        self._shots.forget(name)
        for place in node.places.values():
            place.state, place.ready_seq, place.check_began = None, None, None
            place.is_trying = False
            place.is_ordered = False
            if is_machine:
                place.is_running = place.is_forced = place.is_hidden = place.is_by_hand = False

    def _daemon_began(self, node: _Node, seen: DaemonBegan) -> None:
        self._gone(seen.node, is_machine=False)
        self._survivor.note_daemon(seen.node)
        self._births.record(seen.node, seen.boot)
        self._machines[seen.boot] = node.machine
        node.evidence.begin(seen.boot, seen.at)
        node.isolation = Isolation()
        for name, state in seen.states.items():
            node.place(name).is_lost = False
            self._adopted(node, Adopted(seen.at, seen.node, name, state))

    def _adopted(self, node: _Node, seen: Adopted) -> None:
        place = node.place(seen.service)
        s3_frozen.check_adoption(seen, place)
        place.is_guess = place.is_guess or place.kept is None
        place.is_hidden = False
        place.state = seen.state
        place.kept = None if place.is_lost else seen.state
        place.logged = None
        place.ready_seq, place.check_began, place.is_check_ok = None, None, False

    def _moved(self, node: _Node, seen: Moved) -> None:
        place = node.place(seen.service)
        node.isolation.take_move(seen)
        s3_frozen.check_move(seen, place, node.has_lost_right)
        if seen.state in FROZEN:
            place.is_ordered = False
        if seen.state is not place.state:
            self._settling.check_move(seen)
        if seen.state is ServiceState.START_READY:
            place.is_trying = True
            place.ready_seq, place.check_began, place.is_check_ok = None, None, False
        place.state = place.kept = seen.state
        place.logged = None
        place.is_guess = place.is_lost = False

    # --- beats ------------------------------------------------------------------------------------

    def _heard(self, node: _Node, seen: Heard) -> None:
        node.evidence.take_arrival(seen)
        for name, state in seen.beat.states.items():
            if state not in PEER_OUT:
                self._nodes[node.peer].place(name).is_by_hand = False
        node.evidence.take_beat(seen)
        # A recording of an incarnation that has not answered this one is no sign of the peer.
        if not seen.is_authentic or node.evidence.is_proven(seen.beat.boot):
            self._shots.forget(seen.node)

    def _said(self, node: _Node, seen: Announced) -> None:
        node.isolation.take_beat(seen)
        for name, state in seen.beat.states.items():
            place = node.place(name)
            s1_one_copy.check_announced(seen.at, seen.node, name, state, place)
            # STARTING is evidence enough, should the service have got that far before the next
            # beat.
            is_ready = state in (ServiceState.START_READY, ServiceState.STARTING)
            if is_ready and place.ready_seq is None:
                place.ready_seq = seen.beat.seq
        word = node.evidence.last_word
        may_fence = node.evidence.has_plan and self._shots.has_arbiter and node.evidence.has_heard
        node.rounds.check(
            seen.at,
            seen.node,
            node.places,
            may_fence and not node.has_lost_right and seen.at >= node.drill.held_until,
            has_goodbye=word is not None and word.goodbye is not Goodbye.NONE,
        )

    # --- liveness ---------------------------------------------------------------------------------

    def check_liveness(self, service: str, healthy: Iterable[str]) -> None:
        """Check that a willing healthy node runs the service, after the liveness bound."""
        l1_liveness.check_liveness(service, self._known(service, healthy))

    def check_claims(self, service: str) -> None:
        """Check that a service announced as STARTED runs, once nothing moves any more."""
        places = ((name, node.place(service)) for name, node in self._nodes.items())
        l1_liveness.check_claims(service, places)

    def is_served(self, service: str, healthy: Iterable[str]) -> bool:
        """Return True unless a willing healthy node waits for the service."""
        return l1_liveness.is_served(service, self._known(service, healthy))

    def _known(self, service: str, healthy: Iterable[str]) -> l1_liveness.Healthy:
        nodes = self._nodes
        return {name: (nodes[name].place(service), nodes[name].evidence) for name in healthy}
