"""Decide who fences first after a cut, and when: the right to fence first, and the turns.

Two healthy nodes that lose sight of each other must not fence each other. While they hear each
other, one of them holds the *right to fence first*; it is handed over in acknowledged beats, so
that both never hold it at once. ``Turn`` has these states: NONE; CLAIMED, if the node wants it and
the peer has NONE; HELD, once the peer has acknowledged the claim and has NONE. The holder returns
to NONE when the peer should be first.

A node that runs nothing goes first (only it wants to start something), else the higher sum of
priorities, else the name that sorts first. After a cut, time is divided into *turns* of a length
within which every fence has had its effect on the peer. Turn 0 is for the holder, turn 1 for a node
that knows the peer as the holder, later turns are odd and even by name. Turns are counted from the
instant at which the first node called the other silent, which that node announces.

Between that instant and turn 0 lies the start-ready delay. Where both nodes know how long their
fences take, and each knows that of the other, the holder need not wait for it: its turn 0 begins
with the *last call*, and ends as before. All other turns are where they were, so that it makes no
difference for the peer's turns whether the peer has agreed to that as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from opensvc_openha.core import timing
from opensvc_openha.core.facts import Facts, Turn
from opensvc_openha.core.fencing_memory import FencingMemory, Turns
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.states import FENCE_WANTED, RUNS_SOMETHING, ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.records import dataclass


@dataclass(frozen=True)
class Window:
    """One turn of a cut.

    ``index`` is its number, ``after_s`` the seconds from turn 0 to it, and ``is_left`` whether the
    holder of the right leaves it to the peer.
    """

    index: int
    after_s: float
    is_left: bool


@dataclass(frozen=True)
class _Sums:
    """What the states of one node come to, for the right to fence first."""

    states: Mapping[str, ServiceState]
    wants_fence: bool
    runs_any: bool
    is_defending: bool
    priority: int


@state_marks(
    # A world of the model checker has one service, one fence, and a fixed configuration.
    not_state={
        "agreed",
        "_announced",
        "_next",
        "_next_seq",
        "_spec",
        "_unfenced",
        "_policies",
        "_sums",
        "_last_call_s",
    },
    own_seqs={"_claim_seq", "_may_seem_content_seq", "_timed_seq"},
    memory_s={"anchor": 60.0, "_reported_anchor": 60.0},
)
class FenceTurns:
    """The right to fence first, and the turns of one node."""

    def __init__(self, spec: ClusterSpec, memory: FencingMemory) -> None:
        self.reconfigure(spec)
        self._announced: Mapping[str, ServiceState] = {}
        self.turn: Turn = memory.turn if memory.turn is Turn.HELD else Turn.NONE
        """A claim counts only within the incarnation that made it."""
        self.kept_turn = memory.turn
        """The right to fence first as the next daemon would read it from disk."""
        self.agreed = self._next = memory.turns
        """The division of time that both nodes can compute."""
        self._next_seq = 0
        """The beat from which the peer can compute the next division."""
        self._claim_seq = 0
        self.is_prompt = False
        """Both nodes know the times of their fences, and the peer has heard that of this one: a
        fence waits for the last call only. It is not kept: a daemon that did not hear the peer
        before a cut waits for the delay."""
        self._timed_seq: int | None = None
        """The first beat that reports this of this node, to a peer that takes facts."""
        self.anchor = memory.silent_since
        """When the first node called the other one silent; None while the peer is heard."""
        self.is_wary = memory.is_wary
        """The peer may fence at any time, except in the turns that it leaves to this node."""
        self._reported_anchor: float | None = None
        """When the peer, which is heard, called this node silent."""
        self._may_seem_content_seq = 0
        """Newest beat in which this node had nothing to start by itself."""

    def reconfigure(self, spec: ClusterSpec) -> None:
        """Apply an edited configuration."""
        self._spec = spec
        disks_s = [link.timeout_s for link in spec.listeners if link.is_disk]
        self._last_call_s = timing.last_call_s(disks_s, len(disks_s) < len(spec.listeners))
        has_plan = bool(spec.fencing.levels)
        self._unfenced = frozenset(
            svc.name for svc in spec.own_services if not (has_plan or svc.is_fenced)
        )
        self._policies = {svc.name: svc.policy for svc in spec.own_services}
        self._sums: tuple[_Sums, ...] = ()

    # --- silence ----------------------------------------------------------------------------------

    def record_heard(self, view: PeerView, now: float) -> None:
        """End the turns: the peer is heard."""
        facts = view.facts
        silent_s = None if facts is None else facts.silent_s
        self.anchor, self.is_wary = None, False
        self._reported_anchor = None if silent_s is None else now - silent_s
        # A peer without facts does not take part in the agreement, so neither node has the right.
        if facts is None:
            self.turn = Turn.NONE

    def record_silence(self, view: PeerView, has_heard: bool) -> bool:
        """Count turns from the beginning of a silence; return True at that.

        ``has_heard`` is False on a node that has not heard its peer since it booted.
        """
        if view.silent_since is None or self.anchor is not None:
            return False
        reported, self.is_wary = self._reported_anchor, self._must_be_wary(view, has_heard)
        # Both nodes must count turns from the same instant: the earlier of the two silences.
        self.anchor = view.silent_since if reported is None else min(reported, view.silent_since)
        return True

    def _must_be_wary(self, view: PeerView, has_heard: bool) -> bool:
        """Return True if the peer may hold the right and may take this node for idle."""
        if self.turn is Turn.HELD:
            return False
        if view.newest is None:
            # A daemon started during the cut cannot know. One that never heard the peer may not
            # fence anyway.
            return has_heard
        may_be_held = view.facts is not None and view.facts.turn is not Turn.NONE
        return may_be_held and self._may_seem_content_seq >= view.acked_seq

    # --- turns ------------------------------------------------------------------------------------

    def opens(self, view: PeerView, now: float, fence_s: float | None) -> float:
        """Return the earliest instant from ``now`` on at which this node may begin a fence.

        ``fence_s`` is the longest duration of a fence of this node.
        """
        if self.anchor is None:
            return now
        facts, turns = view.facts, self.agreed or self._plan(view.facts, fence_s)
        first = self.anchor + turns.first_s
        early = min(first, self.anchor + self.delay_s(view)) if self.is_prompt else first
        if facts is None and view.newest is not None:
            # A peer without facts knows no turns: it fences at once. If it has something to start,
            # a node that runs something waits until that one fence has had its effect or failed; a
            # longer wait saves neither node.
            has_to_lose = self._sum(self._announced).runs_any
            return max(now, first + turns.length_s) if has_to_lose else now
        from_s = now
        if facts is not None and facts.is_booting:
            from_s = max(now, self.anchor + timing.BOOT_PATIENCE_S)
        is_peer_content = (
            facts is not None and not facts.is_defending and not self._sum(view.states).wants_fence
        )
        is_solo = self.turn is Turn.HELD and is_peer_content
        is_left = self._left_turns(is_peers=self.turn is Turn.HELD)
        turn, after = Window(0, 0.0, is_left=False), turns.length_s
        while True:
            following = Window(turn.index + 1, after, is_left(turn.index + 1, after))
            opens = first + turn.after_s if turn.index else early
            # Before a turn that is left to the peer, begin a fence only early enough that it has
            # had its effect by then.
            is_long = is_solo and not following.is_left
            closes = first + (after if is_long else turn.after_s + turns.open_s)
            if from_s < closes and (not turn.is_left if is_solo else self._is_own_turn(turn, view)):
                return from_s if is_solo and turn.index == 0 else max(from_s, opens)
            # Each turn is longer than the one before, so that the turns of two drifting clocks
            # never overlap.
            turn, after = following, after * (1.0 + timing.TURN_DRIFT) + turns.length_s

    def delay_s(self, view: PeerView) -> float:
        """Return for how long a peer, once silent, has a last chance to be heard, in seconds.

        A daemon that said goodbye and is not back may need the whole delay.
        """
        pace = timing.PACES[self._spec.profile]
        is_prompt = self.is_prompt and view.standing is not PeerStanding.DEPARTED
        delay_s = pace.start_ready_delay_s
        return min(delay_s, self._last_call_s) if is_prompt else delay_s

    def length_s(self, view: PeerView, fence_s: float | None) -> float:
        """Return how long the first turn is, or would be."""
        return (self.agreed or self._plan(view.facts, fence_s)).length_s

    def _left_turns(self, is_peers: bool) -> Callable[[int, float], bool]:
        """Return a test for the turns that the holder leaves to a peer with nothing to start."""
        next_s = timing.SOLO_FENCING_S

        def is_left(index: int, after_s: float) -> bool:
            nonlocal next_s
            if after_s < next_s or self._is_own_by_name(index) is is_peers:
                return False
            next_s = after_s * timing.SOLO_GROWTH
            return True

        return is_left

    def _is_own_turn(self, turn: Window, view: PeerView) -> bool:
        facts = view.facts
        if turn.index == 0:
            return self.turn is Turn.HELD
        if self.is_wary:
            return turn.is_left
        if turn.index == 1:
            return self.turn is not Turn.HELD and facts is not None and facts.turn is Turn.HELD
        return self._is_own_by_name(turn.index)

    def _is_own_by_name(self, index: int) -> bool:
        # Odd turns for the name that sorts first, even ones for the other: never both at once.
        return index % 2 == (1 if self._spec.node < self._spec.peer else 0)

    def _plan(self, facts: Facts | None, fence_s: float | None) -> Turns:
        """Plan turns longer than any fence of either node.

        A turn also covers the difference between the nodes' views of when the silence began.
        """
        theirs_s = None if facts is None else facts.fence_s
        slowest_s = max(fence_s or 0.0, theirs_s or 0.0)
        timeout_s = max((link.timeout_s for link in self._spec.links), default=0.0)
        pace = timing.PACES[self._spec.profile]
        common_s = pace.turn_open_s + 2 * pace.beat_interval_s
        length_s = (slowest_s + timeout_s) * (1.0 + timing.TURN_DRIFT) + common_s
        return Turns(pace.start_ready_delay_s, pace.turn_open_s, length_s)

    # --- the right to fence first -----------------------------------------------------------------

    def update(
        self,
        announced: Mapping[str, ServiceState],
        view: PeerView,
        next_seq: int,
        fence_s: float | None,
        knows_fence_time: bool = False,
    ) -> None:
        """Claim, take or give up the right to fence first, while the peer is heard."""
        self._announced = announced
        self._agree(self._plan(view.facts, fence_s), view, next_seq)
        self._agree_on_last_call(knows_fence_time, view, next_seq)
        own = self._sum(announced)
        if not own.wants_fence and not own.is_defending:
            self._may_seem_content_seq = next_seq
        facts = view.facts
        if view.standing is not PeerStanding.LIVE or facts is None:
            return
        is_second = self._spec.node > self._spec.peer
        # Given up first, taken later: both nodes never hold the right at once.
        if not self._should_be_first(own, view, facts):
            self.turn = Turn.NONE
        elif facts.turn is Turn.HELD:
            # Only a damaged memory can leave two holders.
            self.turn = Turn.HELD if self.turn is Turn.HELD and not is_second else Turn.NONE
        # Both claim the right: the node whose name sorts last withdraws.
        elif facts.turn is Turn.CLAIMED and self.turn is not Turn.HELD:
            self.turn = Turn.NONE if is_second else self.turn
        elif self.turn is Turn.NONE:
            self.turn, self._claim_seq = Turn.CLAIMED, next_seq
        # The peer has acknowledged the claim without making one: it cannot hold the right.
        elif self.turn is Turn.CLAIMED and view.newest_acked_seq >= self._claim_seq:
            self.turn = Turn.HELD

    def is_settled(self, view: PeerView) -> bool:
        """Return True unless the peer's next acknowledgement may change something."""
        awaited = max(self._next_seq, self._timed_seq or 0)
        return self.turn is not Turn.CLAIMED and view.newest_acked_seq >= awaited

    def _agree(self, plan: Turns, view: PeerView, next_seq: int) -> None:
        """Adopt other turns once the peer has acknowledged a beat from which it can compute them.

        An edited configuration, or a slower fence, changes nothing about a cut that has begun.
        """
        if self.anchor is not None or self._reported_anchor is not None or view.newest is None:
            return
        if plan != self._next:
            self._next, self._next_seq = plan, next_seq
        if view.facts is None or view.newest_acked_seq >= self._next_seq:
            self.agreed = plan

    def _agree_on_last_call(self, knows_fence_time: bool, view: PeerView, next_seq: int) -> None:
        """Leave the delay out once both nodes know the times of their fences, of each other too.

        Nothing of it changes in a cut that has begun.
        """
        if self.anchor is not None or self._reported_anchor is not None:
            return
        facts = view.facts
        # To a peer without facts beats have none either.
        if facts is None or not knows_fence_time:
            self._timed_seq = None
        elif self._timed_seq is None:
            self._timed_seq = next_seq
        is_heard = self._timed_seq is not None and view.acked_seq >= self._timed_seq
        # Whoever boots is given time, whatever its fences are.
        is_peer_ready = facts is not None and facts.knows_fence_time and not facts.is_booting
        self.is_prompt = is_heard and is_peer_ready

    def _should_be_first(self, sums: _Sums, view: PeerView, facts: Facts) -> bool:
        defends = sums.is_defending
        # A defended service outranks priorities and names.
        if defends is not facts.is_defending:
            return defends
        runs, peer_runs = sums.runs_any, self._sum(view.states).runs_any
        # Only the node that runs nothing wants to start something.
        if runs is not peer_runs:
            return peer_runs
        # With equal priorities the name that sorts first wins; both nodes compare the same two
        # names.
        own = sums.priority, self._spec.peer
        return own > (facts.priority, self._spec.node)

    def _sum(self, states: Mapping[str, ServiceState]) -> _Sums:
        """Return what states of this node or its peer come to.

        Kept for the two mappings asked for last, which are not changed: there may be a thousand
        services, and each beat asks several times.
        """
        for known in self._sums:
            if known.states is states:
                return known
        running = [name for name, state in states.items() if state in RUNS_SOMETHING]
        own = [self._policies[name] for name in running if name in self._policies]
        found = _Sums(
            states,
            wants_fence=any(
                state in FENCE_WANTED and name not in self._unfenced
                for name, state in states.items()
            ),
            runs_any=bool(running),
            is_defending=any(policy.is_defended for policy in own),
            priority=sum(policy.priority for policy in own),
        )
        self._sums = (found, *self._sums[:1])
        return found

    def facts(self, announced: Mapping[str, ServiceState], now: float) -> Facts:
        """Return what the peer has to know to agree on turns."""
        return Facts(
            is_defending=self._sum(announced).is_defending,
            # The peer may take the right only when the next daemon here would know that it was
            # given up, else both nodes could hold it.
            turn=Turn.HELD if self.kept_turn is Turn.HELD else self.turn,
            priority=self._sum(announced).priority,
            silent_s=None if self.anchor is None else max(0.0, now - self.anchor),
        )
