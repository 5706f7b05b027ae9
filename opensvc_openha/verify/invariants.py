"""Check the invariants of two nodes against what really happened.

S1  at most one node runs a service, and none announces it as out while it runs there, unless an
    operator forced a state, or started it by hand and no daemon began since, the check-up script
    lied, or the wrapper does not report it
S2  no start before an acknowledged "peer is out", or silence and a successful check-up script begun
    after it
S3  a service frozen by an operator is never started or stopped by the engine
S5  of two nodes that lose sight of each other at least one survives: they do not fence each other
S8  a node that was booted fences nobody before its peer has answered it or an operator confirmed
    that the peer is out
L1  with a healthy node that is willing, and no further fault, the service runs within
    ``liveness_bound_s``
L2  after a fault, services settle within ``SETTLE_MOVES`` transitions

``InvariantChecker`` does not know how the engine decides: it observes what was announced, heard,
run and ordered. An instant is one of its node's clock, and only compared with others of that node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from opensvc_openha.core import timing
from opensvc_openha.core.beat import Beat, BootId, Goodbye
from opensvc_openha.core.events import Command, ScriptKind
from opensvc_openha.core.states import FROZEN, PEER_OUT, WILLING, ServiceState

SETTLE_MOVES = 36
"""Transitions of one service, on both nodes together, that may follow a fault.

More are an oscillation.
"""
assert SETTLE_MOVES >= 2 * (timing.START_FAILURES_MAX + 1) * 5, (
    "a service that starts nowhere is tried so often on each node"
)
_SLACK_S = 0.001
"""Rounding of a sum of instants."""
_FORCED = frozenset({Command.FORCE_START, Command.FORCE_STOP})


class InvariantBroken(AssertionError):
    """An invariant above does not hold; the text names which, where and why."""


@dataclass(frozen=True)
class DaemonBegan:
    """A daemon started on a node and recovered these states."""

    at: float
    node: str
    boot: BootId
    states: dict[str, ServiceState] = field(default_factory=dict)


@dataclass(frozen=True)
class Adopted:
    """A running daemon begins to manage a service, in this state."""

    at: float
    node: str
    service: str
    state: ServiceState


@dataclass(frozen=True)
class DaemonEnded:
    """The daemon is gone; services and scripts continue."""

    at: float
    node: str


@dataclass(frozen=True)
class NodeLost:
    """The whole node went down: nothing runs on it."""

    at: float
    node: str


@dataclass(frozen=True)
class Fenced:
    """A node went down because its peer ordered its power off.

    However long ago, and whatever happened to the peer since.
    """

    at: float
    node: str
    by: str


@dataclass(frozen=True)
class Confirmed:
    """An operator made sure that a node's peer runs nothing, and confirmed it to the node."""

    at: float
    node: str


@dataclass(frozen=True)
class ToldPower:
    """A fence reported the peer's power without changing it: off, or anything else."""

    at: float
    node: str
    is_off: bool


@dataclass(frozen=True)
class StateLost:
    """A STATE file was damaged or removed, or does not hold what the daemon tried to write."""

    at: float
    node: str
    service: str


@dataclass(frozen=True)
class Moved:
    """A service entered a state on a node, and that was written."""

    at: float
    node: str
    service: str
    state: ServiceState


@dataclass(frozen=True)
class Said:
    """An engine announced a beat."""

    at: float
    node: str
    beat: Beat


@dataclass(frozen=True)
class Arrived:
    """A beat of the peer reached a node, whether or not its daemon could handle it."""

    at: float
    node: str
    beat: Beat
    is_authentic: bool = False


@dataclass(frozen=True)
class Heard:
    """An engine got a beat of the peer. Implies that it arrived."""

    at: float
    node: str
    beat: Beat
    is_authentic: bool = False


@dataclass(frozen=True)
class Ordered:
    """An operator gave a command on a node."""

    at: float
    node: str
    service: str
    command: Command


@dataclass(frozen=True)
class ScriptBegan:
    """A script of the engine began. A start script makes the service run from its first moment."""

    at: float
    node: str
    service: str
    kind: ScriptKind
    is_fence: bool = False
    """It switches the peer off."""


@dataclass(frozen=True)
class ScriptEnded:
    """A script ended.

    ``is_running`` is whether the service runs there afterwards; ``is_lie`` marks a check-up that
    succeeded although the peer lives.
    """

    at: float
    node: str
    service: str
    kind: ScriptKind
    is_ok: bool
    is_running: bool
    is_lie: bool = False
    is_unsure: bool = False
    """A status without a clear answer."""


@dataclass(frozen=True)
class StartedByHand:
    """The service was started on a node outside the cluster."""

    at: float
    node: str
    service: str


@dataclass(frozen=True)
class Disturbed:
    """A fault or a command: transitions are counted from here."""


Observation = (
    DaemonBegan
    | Adopted
    | DaemonEnded
    | NodeLost
    | Fenced
    | Confirmed
    | ToldPower
    | StateLost
    | Moved
    | Said
    | Arrived
    | Heard
    | Ordered
    | ScriptBegan
    | ScriptEnded
    | StartedByHand
    | Disturbed
)


class _Life:
    """One incarnation of the peer's daemon, as heard by one of ours."""

    def __init__(self) -> None:
        self.newest: Beat | None = None
        self.heard_at = 0.0
        self.acked = -1
        self.is_proven = False
        self.is_over = False
        self.out_since: dict[str, float] = {}


class _Place:
    """One service on one node."""

    def __init__(self) -> None:
        self.state: ServiceState | None = None
        self.kept: ServiceState | None = None
        self.is_lost = False
        """Nothing was written since the file was damaged.

        A daemon may add the service by an earlier reading.
        """
        self.is_guess = False
        """The daemon had to begin with a file that did not hold what its predecessor tried to
        write.
        """
        self.is_running = False
        self.is_forced = False
        self.is_untold = False
        """It runs, and the daemon cannot know.

        Started outside the cluster, or the wrapper does not report it.
        """
        self.is_by_hand = False
        """Started outside the cluster, and the peer heard nothing but "out" since."""
        self.is_ordered = False
        self.ready_seq: int | None = None
        self.check_began: float | None = None
        self.is_check_silent = False
        self.is_check_ok = False
        self.is_check_lie = False


class _Node:
    """One node, as far as the rules need it."""

    def __init__(self) -> None:
        self.places: dict[str, _Place] = {}
        self.boot: BootId | None = None
        self.incarnations: dict[BootId, _Life] = {}
        self.arrived: dict[BootId, int] = {}
        self.last_arrival: float | None = None
        self.is_told_arrivals = False
        """Each beat is observed at its arrival, not only when the engine gets it."""
        self.last_word: Beat | None = None
        self.last_word_at = 0.0
        self.began_at = 0.0
        self.has_heard = False
        self.is_confirmed = False
        self.told_off: list[float] = []
        """When the fence reported the peer off, without any other report or sign of it since."""
        self.fence_began: float | None = None
        self.fenced_at: float | None = None
        """A fence succeeded, and nothing was heard of the peer since it began."""

    def has_left_frozen(self, service: str) -> bool:
        """Return True if the peer last announced the service frozen and running.

        No node takes it then, whatever happens to the peer.
        """
        beat = self.last_word
        if beat is None or beat.goodbye is Goodbye.NONE:
            return False
        return beat.states.get(service) is ServiceState.FROZEN_START

    def place(self, service: str) -> _Place:
        if service not in self.places:
            self.places[service] = _Place()
        return self.places[service]


class InvariantChecker:
    """Check observations in the order in which they happened.

    Raises InvariantBroken at the first violation.
    """

    def __init__(
        self,
        nodes: tuple[str, str],
        shortest_timeout_s: float,
        longest_timeout_s: float,
        ack_limit_s: float | None = None,
    ) -> None:
        self.shortest_timeout_s = shortest_timeout_s
        self.longest_timeout_s = longest_timeout_s
        # An announcement of the peer that is older than the time for calling it silent proves
        # nothing any more.
        self.ack_limit_s = (
            longest_timeout_s + timing.BEAT_INTERVAL_S if ack_limit_s is None else ack_limit_s
        )
        self._nodes = {name: _Node() for name in nodes}
        self._peer = {nodes[0]: nodes[1], nodes[1]: nodes[0]}
        self._moves: dict[str, int] = {}
        self._born: dict[BootId, int] = {}
        """Daemons in order of their start.

        A counter may be lost, and the later incarnation have the lower one.
        """
        self._latest: dict[str, BootId] = {}
        """The newest daemon of each node."""
        self._fenced_by: dict[str, str] = {}
        """Nodes that are down because their peer ordered it."""
        self.has_turns = True
        """Both nodes know of turns: a peer of an older version fences at once."""
        self.may_fence_alone = False
        """By the configuration, a node that never heard its peer may fence it after some time."""

    def observe(self, seen: Observation) -> None:
        """Check one observation."""
        if isinstance(seen, Disturbed):
            self._moves.clear()
            return
        node = self._nodes[seen.node]
        if isinstance(seen, Fenced):
            self._fenced(seen)
        elif isinstance(seen, Confirmed):
            node.is_confirmed = True
        elif isinstance(seen, ToldPower):
            node.told_off = [*node.told_off, seen.at] if seen.is_off else []
        elif isinstance(seen, (Arrived, Heard)):
            self._arrived(node, seen)
            if isinstance(seen, Heard):
                self._heard(node, seen)
        elif isinstance(seen, Said):
            self._said(node, seen)
        elif isinstance(seen, Moved):
            self._moved(node, seen)
        elif isinstance(seen, ScriptBegan):
            self._began(node, seen)
        elif isinstance(seen, ScriptEnded):
            self._ended(node, seen)
        elif isinstance(seen, Ordered):
            place = node.place(seen.service)
            place.is_ordered = True
            place.is_forced = place.is_forced or seen.command in _FORCED
            self._moves.clear()
        elif isinstance(seen, DaemonBegan):
            self._daemon_began(node, seen)
        elif isinstance(seen, Adopted):
            self._adopt(node, seen)
        elif isinstance(seen, StartedByHand):
            place = node.place(seen.service)
            place.is_running = place.is_untold = place.is_by_hand = True
        elif isinstance(seen, StateLost):
            place = node.place(seen.service)
            place.kept, place.is_lost = None, True
        else:
            self._gone(node, is_machine=isinstance(seen, NodeLost))

    # --- what runs --------------------------------------------------------------------------------

    def runs(self, node: str, service: str) -> bool:
        """Return True if some of the service is in use on the node."""
        return self._nodes[node].place(service).is_running

    def is_untold(self, node: str, service: str) -> bool:
        """Return True if it runs there, and the node's daemon cannot know of it."""
        return self._nodes[node].place(service).is_untold

    def is_by_hand(self, node: str, service: str) -> bool:
        """Return True if it was started there by hand, and the peer cannot know of it."""
        return self._nodes[node].place(service).is_by_hand

    def _fenced(self, seen: Fenced) -> None:
        if self._fenced_by.get(seen.by) == seen.node and self.has_turns:
            text = f"fenced by {seen.by}, which it has fenced, too: no node is left"
            raise InvariantBroken(f"S5 broken at {seen.at:.3f} on {seen.node}: {text}")
        self._fenced_by[seen.node] = seen.by

    def _gone(self, node: _Node, is_machine: bool) -> None:
        node.boot, node.last_word = None, None
        node.incarnations.clear()
        node.fence_began = node.fenced_at = None
        # Nothing listens until the next daemon does: the peer may come back unheard.
        node.is_confirmed, node.told_off = False, []
        if is_machine:
            node.has_heard = False
        for place in node.places.values():
            place.state, place.ready_seq, place.check_began = None, None, None
            place.is_ordered = False
            if is_machine:
                place.is_running = place.is_forced = place.is_untold = place.is_by_hand = False

    def _daemon_began(self, node: _Node, seen: DaemonBegan) -> None:
        self._gone(node, is_machine=False)
        self._fenced_by.pop(seen.node, None)
        self._born[seen.boot] = len(self._born)
        self._latest[seen.node] = seen.boot
        node.boot, node.began_at = seen.boot, seen.at
        for name, state in seen.states.items():
            node.place(name).is_lost = False
            self._adopt(node, Adopted(seen.at, seen.node, name, state))

    def _adopt(self, node: _Node, seen: Adopted) -> None:
        place = node.place(seen.service)
        if place.kept in FROZEN and seen.state not in FROZEN:
            text = f"was {place.kept.name}, and the daemon takes it for {seen.state.name}"
            self._fail("S3", seen.at, seen.node, seen.service, text)
        place.is_guess = place.is_guess or place.kept is None
        place.is_untold = False
        place.state = seen.state
        place.kept = None if place.is_lost else seen.state
        place.ready_seq, place.check_began, place.is_check_ok = None, None, False

    def _moved(self, node: _Node, seen: Moved) -> None:
        place = node.place(seen.service)
        is_found_up = place.is_running and seen.state is ServiceState.FROZEN_START
        if (
            place.state in FROZEN
            and seen.state is not place.state
            and not place.is_ordered
            and not is_found_up
        ):
            self._fail(
                "S3",
                seen.at,
                seen.node,
                seen.service,
                f"left {place.state.name} for {seen.state.name} without an order",
            )
        if seen.state in FROZEN:
            place.is_ordered = False
        if seen.state is not place.state:
            self._moves[seen.service] = self._moves.get(seen.service, 0) + 1
            if self._moves[seen.service] > SETTLE_MOVES:
                text = f"{SETTLE_MOVES} transitions and still moving, to {seen.state.name}"
                self._fail("L2", seen.at, seen.node, seen.service, text)
        if seen.state is ServiceState.START_READY:
            place.ready_seq, place.check_began, place.is_check_ok = None, None, False
        place.state = place.kept = seen.state
        place.is_guess = place.is_lost = False

    # --- scripts ----------------------------------------------------------------------------------

    def _began(self, node: _Node, seen: ScriptBegan) -> None:
        place = node.place(seen.service)
        if seen.kind is ScriptKind.CHECK:
            place.check_began, place.is_check_ok, place.is_check_lie = seen.at, False, False
            place.is_check_silent = self._is_silent(node, seen.at)
            node.fence_began = seen.at if seen.is_fence else node.fence_began
            if seen.is_fence and not node.has_heard and not self.may_fence_alone:
                self._fail(
                    "S8",
                    seen.at,
                    seen.node,
                    seen.service,
                    "fences a peer that has not answered it since it booted",
                )
        if seen.kind in (ScriptKind.START, ScriptKind.STOP) and place.state in FROZEN:
            self._fail(
                "S3",
                seen.at,
                seen.node,
                seen.service,
                f"{seen.kind.value} script in {place.state.name}",
            )
        if seen.kind is not ScriptKind.START:
            return
        proof = self._proof(
            node, place, seen.at, seen.service, self._latest.get(self._peer[seen.node])
        )
        if not proof:
            self._fail(
                "S2",
                seen.at,
                seen.node,
                seen.service,
                self._missing(node, place, seen.at, seen.service),
            )
        other = self._nodes[self._peer[seen.node]].place(seen.service)
        is_lie_needed = proof in ("silence", "old goodbye")
        is_secret = other.is_untold or other.is_by_hand
        is_excused = (
            is_secret
            or other.is_forced
            or place.is_forced
            or (is_lie_needed and place.is_check_lie)
        )
        if other.is_running and not is_excused:
            self._fail(
                "S1",
                seen.at,
                seen.node,
                seen.service,
                f"started on {proof} while {self._peer[seen.node]} runs it",
            )
        place.is_running = True

    def _ended(self, node: _Node, seen: ScriptEnded) -> None:
        place = node.place(seen.service)
        place.is_running = seen.is_running
        if not seen.is_running:
            place.is_untold = place.is_by_hand = False
        elif seen.kind is ScriptKind.PROBE:
            place.is_untold = seen.is_unsure
        if seen.is_unsure and not seen.is_running:
            # Without an answer of the wrapper the daemon keeps what it knew before.
            place.is_guess = True
        if seen.kind is ScriptKind.CHECK:
            place.is_check_ok, place.is_check_lie = seen.is_ok, seen.is_lie
            if (
                seen.is_ok
                and not seen.is_lie
                and place.is_check_silent
                and node.fence_began is not None
            ):
                node.fenced_at = seen.at
            if not seen.is_ok:
                # A fence that fails is a separate fault, and retried: transitions are counted from
                # here.
                self._moves.pop(seen.service, None)
        if not seen.is_running and seen.kind is ScriptKind.STOP:
            place.is_forced = False

    # --- what is known of the peer ----------------------------------------------------------------

    def _arrived(self, node: _Node, seen: Arrived | Heard) -> None:
        """Record a sign of life, with these exceptions.

        A repeated beat, a beat of an incarnation that ended or was not proved genuine, and one of
        an incarnation that is not later by its counter (the node has lost that, and is reported).
        Nor does a goodbye to another incarnation of ours count: a disk slot keeps it from long ago.
        """
        beat = seen.beat
        node.is_told_arrivals = node.is_told_arrivals or isinstance(seen, Arrived)
        if beat.is_legacy:
            # Not numbered: where arrivals are seen, an engine that was held up may hear now what
            # came long before.
            if isinstance(seen, Arrived) or not node.is_told_arrivals:
                node.last_arrival = seen.at
            return
        life = node.incarnations.get(beat.boot)
        newest = max((boot.counter for boot in node.arrived if boot != beat.boot), default=0)
        is_later = beat.boot.counter > newest or (
            beat.boot in node.arrived and beat.boot.counter == newest
        )
        if (
            beat.seq <= node.arrived.get(beat.boot, -1)
            or not is_later
            or (life is not None and life.is_over)
        ):
            return
        is_proof_needed = (
            beat.goodbye is not Goodbye.NONE
            or seen.is_authentic
            and not (life is not None and life.is_proven)
        )
        if is_proof_needed and not self._names_us(node, beat):
            return
        node.arrived[beat.boot] = beat.seq
        node.last_arrival = seen.at
        if isinstance(seen, Heard):
            # Beats that arrived but were not handled yet are unknown to the engine: a fence that
            # succeeded may be used meanwhile.
            node.fence_began = node.fenced_at = None
            node.is_confirmed, node.told_off = False, []

    def _heard(self, node: _Node, seen: Heard) -> None:
        beat = seen.beat
        life = node.incarnations.setdefault(beat.boot, _Life())
        names_us = self._names_us(node, beat)
        life.is_proven = life.is_proven or names_us or not seen.is_authentic
        is_old = life.newest is not None and (
            beat.seq <= life.newest.seq
            if not beat.is_legacy
            # Its sequence is a clock, which may be set back: a beat counts as late only for a
            # while.
            else beat.seq < life.newest.seq and seen.at < life.heard_at + timing.LEGACY_STRAGGLER_S
        )
        for name, state in beat.states.items():
            if state not in PEER_OUT:
                self._nodes[self._peer[seen.node]].place(name).is_by_hand = False
        if (
            not life.is_proven
            or is_old
            or life.is_over
            or (beat.goodbye is not Goodbye.NONE and not names_us)
        ):
            return
        life.out_since = {
            name: life.out_since.get(name, seen.at)
            for name, state in beat.states.items()
            if state in PEER_OUT
        }
        life.newest, life.heard_at = beat, seen.at
        # A beat in one direction alone is no answer: the peer may be fencing this node. A C OpenHA
        # acknowledges nothing.
        node.has_heard = node.has_heard or names_us or beat.is_legacy
        former = node.last_word
        if (
            former is None
            or former.goodbye is not Goodbye.NONE
            or beat.boot.counter >= former.boot.counter
        ):
            node.last_word, node.last_word_at = beat, seen.at
        if beat.ack is not None and beat.ack.is_taken and names_us:
            life.acked = max(life.acked, beat.ack.seq)
        life.is_over = beat.goodbye is not Goodbye.NONE

    @staticmethod
    def _names_us(node: _Node, beat: Beat) -> bool:
        return beat.ack is not None and beat.ack.boot == node.boot

    def _said(self, node: _Node, seen: Said) -> None:
        for name, state in seen.beat.states.items():
            place = node.place(name)
            if (
                state in PEER_OUT
                and place.is_running
                and not place.is_forced
                and not place.is_untold
            ):
                self._fail("S1", seen.at, seen.node, name, f"said to be {state.name} while it runs")
            # STARTING is evidence enough, should the service have got that far before the next
            # beat.
            if (
                state in (ServiceState.START_READY, ServiceState.STARTING)
                and place.ready_seq is None
            ):
                place.ready_seq = seen.beat.seq

    def _is_silent(self, node: _Node, at: float) -> bool:
        if node.last_word is not None and node.last_word.goodbye is not Goodbye.NONE:
            # A daemon that announced a restart is waited for, and the services it left running stay
            # where they are.
            return at - node.last_word_at >= timing.RESTART_HOLD_S - _SLACK_S
        limit_s = min(self.shortest_timeout_s, timing.RESTART_HOLD_S)
        last = max(node.began_at, node.began_at if node.last_arrival is None else node.last_arrival)
        return at - last >= limit_s - _SLACK_S

    def _proof(
        self, node: _Node, place: _Place, at: float, service: str, peers_last: BootId | None
    ) -> str:
        """Return the ground for a start; empty without one.

        ``peers_last`` is the peer's last incarnation, heard or not.
        """
        heard = [boot for boot, life in node.incarnations.items() if life.newest is not None]
        latest = max(map(self._age_of, heard), default=None)
        highest = max((boot.counter for boot in heard), default=0)
        for boot, life in node.incarnations.items():
            beat = life.newest
            if beat is None or beat.states.get(service) not in PEER_OUT:
                continue
            is_latest = beat.is_legacy or self._age_of(boot) == latest
            is_recent = at - life.heard_at <= self.ack_limit_s
            if is_latest and life.is_over:
                # Heard late by a stalled node, it may be long out of date: the node has to listen
                # again before it counts.
                is_overtaken = (
                    boot != peers_last and at - life.heard_at >= self.shortest_timeout_s / 2
                )
                return "goodbye" if is_recent and not is_overtaken else "old goodbye"
            # A later incarnation that lost its counter is rejected as an old one, and counts as not
            # heard yet.
            is_newest = is_latest or boot.counter == highest
            if (
                is_newest
                and is_recent
                and place.ready_seq is not None
                and life.acked >= place.ready_seq
            ):
                return "acknowledgement"
            is_fresh = at - life.heard_at <= timing.LEGACY_FRESH_S + timing.BEAT_INTERVAL_S
            was_out_s = life.heard_at - life.out_since[service]
            if beat.is_legacy and is_fresh and was_out_s >= timing.START_READY_DELAY_S - _SLACK_S:
                return "watch"
        if node.is_confirmed:
            return "word"
        told = node.told_off
        is_told_twice = len(told) > 1 and told[-1] - told[-2] >= timing.POWER_GAP_S - _SLACK_S
        if is_told_twice and at - told[-1] <= timing.PROOF_LIFE_S + _SLACK_S:
            return "power"
        is_fenced = (
            node.fenced_at is not None and at - node.fenced_at <= timing.PROOF_LIFE_S + _SLACK_S
        )
        return "silence" if is_fenced or (place.is_check_ok and place.is_check_silent) else ""

    def _age_of(self, boot: BootId) -> tuple[int, int]:
        """Return a number that is greater for the later incarnation.

        By its counter for one whose beginning was not observed.
        """
        return self._born.get(boot, -1), boot.counter

    def _missing(self, node: _Node, place: _Place, at: float, service: str) -> str:
        incarnations = "; ".join(
            f"life {boot.counter} last heard {at - life.heard_at:.3f} s ago,"
            f" {life.newest.states.get(service)}, acknowledged"
            f" {life.acked}{', over' if life.is_over else ''}"
            for boot, life in node.incarnations.items()
            if life.newest is not None
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
            f" heard: {incarnations or 'nobody'}; {check}"
        )

    # --- liveness ---------------------------------------------------------------------------------

    def check_liveness(self, service: str, healthy: Iterable[str]) -> None:
        """Check that a willing healthy node runs the service, after the liveness bound."""
        names = list(healthy)
        if not self.is_served(service, names):
            states = {name: self._nodes[name].place(service).state for name in names}
            shown = ", ".join(
                f"{name} {state.name if state else 'unknown'}" for name, state in states.items()
            )
            self._fail("L1", 0.0, names[0], service, f"runs nowhere after the bound: {shown}")

    def check_claims(self, service: str) -> None:
        """Check that a service announced as STARTED runs, once nothing moves any more."""
        for name, node in self._nodes.items():
            place = node.place(service)
            is_excused = place.is_forced or place.is_guess
            if place.state is ServiceState.STARTED and not place.is_running and not is_excused:
                self._fail("L1", 0.0, name, service, "said to be STARTED, but nothing runs there")

    def is_served(self, service: str, healthy: Iterable[str]) -> bool:
        """Return True unless a willing healthy node waits for the service.

        A node in any other state keeps the service, or keeps others from it, by the rules.
        """
        states = [self._nodes[name].place(service).state for name in healthy]
        is_kept = any(
            state not in WILLING and state is not ServiceState.FROZEN_STOP for state in states
        )
        is_left = any(self._nodes[name].has_left_frozen(service) for name in healthy)
        return is_kept or is_left or not any(state in WILLING for state in states)

    def _fail(self, rule: str, at: float, node: str, service: str, text: str) -> None:
        raise InvariantBroken(f"{rule} broken at {at:.3f} on {node}, service {service}: {text}")


def liveness_bound_s(longest_timeout_s: float, script_s: float) -> float:
    """Return the longest outage in seconds without further faults.

    Each script takes ``script_s``. The worst case: a goodbye's hold, then silence, a hold after a
    stop or a failed write, the delay, and three scripts one after the other, since a check-up that
    was overtaken by a returning peer is repeated.
    """
    return (
        timing.RESTART_HOLD_S
        + 2 * longest_timeout_s
        + timing.STUCK_S
        + timing.STORE_RETRY_S
        + 2 * timing.STOP_HOLD_S
        + 2 * timing.START_READY_DELAY_S
        + 4 * script_s
        + 4 * timing.BEAT_INTERVAL_S
    )


def fence_wait_bound_s(longest_timeout_s: float, fence_s: float, silent_s: float = 0.0) -> float:
    """Return the longest wait in seconds for a fence's turn, or after a failed fence.

    In a silence that has lasted for ``silent_s``. The worst case: the peer may know the node as one
    that starts nothing, and has all turns but a few for itself. A fence that has failed in one of
    those few waits for the next of them.
    """
    turn_s = (
        (fence_s + longest_timeout_s) * (1.0 + timing.TURN_DRIFT)
        + timing.TURN_OPEN_S
        + 2 * timing.BEAT_INTERVAL_S
    )
    left_s = max(timing.SOLO_FENCING_S, timing.SOLO_GROWTH * silent_s)
    last_s = left_s + 2 * turn_s
    return (
        last_s
        + 2 * (turn_s + timing.TURN_DRIFT * last_s)
        + timing.FENCE_RETRY_MAX_S
        + timing.BOOT_PATIENCE_S
    )
