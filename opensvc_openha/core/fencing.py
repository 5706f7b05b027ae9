"""Decide when the peer may be fenced, by which service's script, and what a success proves.

There is one fencing desk per node and at most one fence in flight, whatever the number of services.
A fence that succeeds is a *proof* that the peer runs nothing, for every service with the same kind
of check-up script. A proof is void once the peer is heard, once this node was stalled, and after
``PROOF_LIFE_S``. An operator's confirmation holds for longer: until any beat of the peer comes in,
this node was away for a link timeout, or its daemon ends. A failed fence is retried without end,
after ``retry_s``, doubled each time up to ``FENCE_RETRY_MAX_S``.

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
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from opensvc_openha.core import timing
from opensvc_openha.core.actions import Action, Record, RecordKind, RunScript
from opensvc_openha.core.beat import Goodbye
from opensvc_openha.core.events import ScriptExited, ScriptKind, ScriptOutcome
from opensvc_openha.core.facts import Facts, Turn
from opensvc_openha.core.fencing_memory import FencingMemory, Turns
from opensvc_openha.core.model import ClusterSpec, ServiceSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.power_questions import PowerQuestions
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.states import FENCE_WANTED, RUNS_SOMETHING, ServiceState
from opensvc_openha.core.status import FenceGroup, FencingStatus, PeerStanding
from opensvc_openha.core.timing import PROOF_LIFE_S


@state_marks(not_state={"text"}, memory_s={"at": PROOF_LIFE_S + 1})
@dataclass(frozen=True)
class Proof:
    """Evidence that the peer cannot run a service.

    ``group`` is empty if it covers every service.
    """

    group: str
    at: float
    text: str


@state_marks(not_state={"since"})
@dataclass(frozen=True)
class Confirmation:
    """An operator's statement that the peer runs nothing."""

    who: str
    since: float


@state_marks(not_state={"began_at"})
@dataclass(frozen=True)
class Flight:
    """A fence that was started and has not ended."""

    group: str
    service: str
    began_at: float
    is_void: bool = False
    """The peer was heard, or this node was stalled, since it began: its success proves nothing."""


@dataclass(frozen=True)
class Window:
    """One turn of a cut.

    ``index`` is its number, ``after_s`` the seconds from turn 0 to it, and ``is_left`` whether the
    holder of the right leaves it to the peer.
    """

    index: int
    after_s: float
    is_left: bool


@state_marks(
    not_state={
        # A world of the model checker has one service, one fence, and a fixed configuration.
        "_announced",
        "_booted_at",
        "_measured_s",
        "_next_turns",
        "_turns",
        "_next_turns_seq",
        "_flown",
        "_ready_groups",
        "_last_text",
        "_ended",
        "_remembered",
        "spec",
        "_unfenced",
        "_opens",
        "_slowest",
    },
    own_seqs={"_claim_seq", "_may_seem_content_seq"},
    memory_s={"_anchor": 60.0, "_reported_anchor": 60.0},
)
class Fencing:
    """Decide on fencing for one node."""

    def __init__(self, spec: ClusterSpec, memory: FencingMemory, now: float) -> None:
        self.reconfigure(spec)
        self._announced: Mapping[str, ServiceState] = {}
        self.has_heard = memory.has_heard
        self.has_heard_one_way = False
        """The peer was heard since this node booted, but has not acknowledged anything of it."""
        self.turn: Turn = memory.turn if memory.turn is Turn.HELD else Turn.NONE
        """A claim counts only within the incarnation that made it."""
        self._kept_turn = memory.turn
        """The right to fence first as the next daemon would read it from disk."""
        self._booted_at = now if memory.booted_at is None else memory.booted_at
        self._measured_s = dict(memory.measured_s)
        self._turns = self._next_turns = memory.turns
        self._next_turns_seq = 0
        """The beat from which the peer can compute the next turns."""
        self._claim_seq = 0
        self._anchor = memory.silent_since
        """When the first node called the other one silent; None while the peer is heard."""
        self._is_wary = memory.is_wary
        """The peer may fence at any time, except in the turns that it leaves to this node."""
        self._reported_anchor: float | None = None
        self._may_seem_content_seq = 0
        """Newest beat in which this node had nothing to start by itself."""
        self._proofs: dict[str, Proof] = {}
        self._confirmation: Confirmation | None = None
        self.formerly_confirmed_by = memory.confirmed_by
        """Operator whose confirmation ended with the former daemon."""
        self.power = PowerQuestions()
        self._flight: Flight | None = None
        self._failures: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}
        self._flown: dict[str, float] = {}
        """When the newest fence of each group began, since the peer was heard."""
        self._ready_groups: frozenset[str] | None = None
        self._last_text: dict[str, str] = {}
        self._ended: dict[str, tuple[bool, float]] = {}
        self._has_fenced = False
        """A fence succeeded since the peer was last heard: the peer cannot fence back."""
        self._remembered = memory
        self._unkept_until: float | None = None
        """When to retry writing the memory that could not be stored, besides before each fence.

        None if it is on disk.
        """

    def reconfigure(self, spec: ClusterSpec) -> None:
        """Apply a configuration."""
        self.spec = spec
        self._unfenced = frozenset(svc.name for svc in spec.own_services if not svc.is_fenced)
        self._opens: tuple[float, float] | None = None
        self._slowest: tuple[float | None] | None = None

    @property
    def _pace(self) -> timing.Pace:
        return timing.PACES[self.spec.profile]

    # --- what is remembered -----------------------------------------------------------------------

    @property
    def memory(self) -> FencingMemory:
        """What the next daemon must know."""
        return FencingMemory(
            self.has_heard,
            self.turn,
            self._anchor,
            self._booted_at,
            tuple(sorted(self._measured_s.items())),
            tuple((group, *end) for group, end in sorted(self._ended.items())),
            self._turns,
            self._is_wary,
            "" if self._confirmation is None else self._confirmation.who,
        )

    def has_news(self, now: float) -> bool:
        """Return True once after each change of the memory.

        Also True from time to time while the memory could not be written.
        """
        memory = self.memory
        is_again = self._unkept_until is not None and (
            now >= self._unkept_until or self._begins_now(now)
        )
        news, self._remembered = is_again or memory != self._remembered, memory
        return news

    def _begins_now(self, now: float) -> bool:
        return self._flight is not None and self._flight.began_at == now

    def remembered(self, memory: FencingMemory, is_ok: bool, now: float) -> None:
        """Record whether the memory could be written."""
        self._unkept_until = None if is_ok else now + timing.STORE_RETRY_S
        if is_ok:
            self._kept_turn = memory.turn

    # --- what happens -----------------------------------------------------------------------------

    def heard(self, view: PeerView, now: float) -> None:
        """Handle a beat of the peer: every proof that relied on its silence is void."""
        newest = view.newest
        # If only one direction is cut, the peer may be fencing this node: a node that hears but is
        # not heard is as good as alone. A C OpenHA acknowledges nothing. A goodbye is no answer
        # either: without a key anybody can send it.
        is_meant = (
            newest is not None
            and newest.goodbye is Goodbye.NONE
            and newest.ack is not None
            and newest.ack.boot == view.own_boot
        )
        self.has_heard = self.has_heard or is_meant or (newest is not None and newest.is_legacy)
        self.has_heard_one_way, self._opens = not self.has_heard, None
        self.void_proofs()
        self._failures.clear()
        self._retry_at.clear()
        self._flown.clear()
        self._has_fenced = False
        self._anchor, self._is_wary = None, False
        facts = view.facts
        silent_s = None if facts is None else facts.silent_s
        self._reported_anchor = None if silent_s is None else now - silent_s
        # A peer without facts does not take part in the agreement, so neither node has the right.
        if facts is None:
            self.turn = Turn.NONE

    def void_proofs(self) -> None:
        """Void proofs: the peer is heard, or may have been back during a stall of this node."""
        self._proofs.clear()
        self.power.void()
        if self._flight is not None:
            self._flight = replace(self._flight, is_void=True)

    def judge(self, view: PeerView) -> None:
        """Use the verdict on the peer: turns are counted from the beginning of a silence."""
        if view.silent_since is None or self._anchor is not None:
            return
        reported, self._opens, self._is_wary = self._reported_anchor, None, self._must_be_wary(view)
        # Both nodes must count turns from the same instant: the earlier of the two silences.
        self._anchor = view.silent_since if reported is None else min(reported, view.silent_since)

    def _must_be_wary(self, view: PeerView) -> bool:
        """Return True if the peer may hold the right and may take this node for idle."""
        if self.turn is Turn.HELD:
            return False
        if view.newest is None:
            # A daemon started during the cut cannot know. One that never heard the peer may not
            # fence anyway.
            return self.has_heard
        may_be_held = view.facts is not None and view.facts.turn is not Turn.NONE
        return may_be_held and self._may_seem_content_seq >= view.acked_seq

    def boot_block_records(self, now: float) -> list[Action]:
        """Return the record of a silence in which this node may not fence since its boot."""
        if not any(self.is_boot_blocked(svc, now) for svc in self.spec.own_services):
            return []
        peer = self.spec.peer
        what = (
            "did not acknowledge this node since it"
            if self.has_heard_one_way
            else "was not heard since this node"
        )
        text = (
            f"{peer} {what} booted: what has a check-up script is not started; if that node runs"
            f" nothing: openha fence confirm {peer}"
        )
        return [Record(RecordKind.NODE, self.spec.node, "", "WAITS", text, is_alarm=True)]

    def confirmed(self, who: str, now: float) -> None:
        """Store an operator's confirmation; it also covers services unfrozen or repaired later."""
        # What waits for its next fence needs none now.
        self._confirmation = Confirmation(who, now)
        self._retry_at.clear()

    def end_confirmation(self) -> Confirmation | None:
        """End the operator's confirmation and return it; None if there was none.

        Called when the peer gave a sign of life, believed or not, and when this node was away and
        may have missed one.
        """
        ended, self._confirmation = self._confirmation, None
        return ended

    def begin_fence(self, svc: ServiceSpec, now: float) -> None:
        """Record that a service's check-up script runs as the fence of its group."""
        assert self._flight is None, "one fence at a time"
        group = self.group_of(svc)
        self._flight = Flight(group, svc.name, now)
        self._flown[group] = now

    def end_check(self, svc: ServiceSpec, is_ok: bool | None, text: str, now: float) -> None:
        """Record the end of a check-up script, as a fence or not.

        ``is_ok`` is None if it never began.
        """
        flight = self._flight
        if flight is None or flight.service != svc.name:
            if is_ok is False:
                self.failed(self.group_of(svc), now)
            return
        self._flight = self._opens = None
        # It never began: neither a failure nor a proof.
        if is_ok is None:
            return
        took_s = now - flight.began_at
        self._last_text[flight.group] = text
        self._ended[flight.group] = is_ok, now
        if not is_ok:
            self.failed(flight.group, now)
            return
        self._failures.pop(flight.group, None)
        self._retry_at.pop(flight.group, None)
        self._slowest = None
        # The longest duration counts, since a turn must outlast every fence.
        self._measured_s[flight.group] = max(
            self._measured_s.get(flight.group, 0.0), _rounded_up(took_s)
        )
        if not flight.is_void:
            self._has_fenced = True
            self._proofs[flight.group] = Proof(
                flight.group, now, f"the check-up script of {svc.name} succeeded"
            )

    def failed(self, group: str, now: float) -> None:
        """Record a failure of the group.

        Each one doubles the wait for the next attempt, up to the limit.
        """
        count = self._failures[group] = self._failures.get(group, 0) + 1
        retry_s = self.spec.fencing.retry_s * 2.0 ** min(count - 1, 10)
        self._retry_at[group] = now + min(retry_s, timing.FENCE_RETRY_MAX_S)

    def retry_now(self, svc: ServiceSpec) -> None:
        """Clear the wait for the next attempt, on an operator's request."""
        self._retry_at.pop(self.group_of(svc), None)

    # --- what the rules ask -----------------------------------------------------------------------

    def group_of(self, svc: ServiceSpec) -> str:
        """Return the group of a service; one fence serves all services of a group."""
        if not self.spec.fencing.is_shared:
            return svc.name
        return "stonith" if svc.check.endswith(".stonith") else svc.check

    def proof_for(self, svc: ServiceSpec, now: float) -> Proof | None:
        """Return the valid proof that covers a service; None if there is none."""
        if self._confirmation is not None:
            return Proof("", self._confirmation.since, f"confirmed by {self._confirmation.who}")
        # Somebody may switch the peer on again: an old proof is obtained again.
        proof = self._proofs.get(self.group_of(svc))
        return proof if proof is not None and now < proof.at + timing.PROOF_LIFE_S else None

    def is_boot_blocked(self, svc: ServiceSpec, now: float) -> bool:
        """Return True while the peer has not answered this node since it booted.

        A node that was fenced and booted again must not fence in return.
        """
        if self.has_heard or not svc.is_fenced or self.proof_for(svc, now) is not None:
            return False
        alone_s = self.spec.fencing.boot_alone_s
        return alone_s is None or now < self._booted_at + alone_s

    def boot_block_ends(self, svc: ServiceSpec) -> float | None:
        """Return when the boot block ends by time alone; None if it does not."""
        alone_s = self.spec.fencing.boot_alone_s
        return (
            None
            if alone_s is None or self.has_heard or not svc.is_fenced
            else self._booted_at + alone_s
        )

    def ask_for_power(self, view: PeerView, now: float) -> list[Action]:
        """Query the fence for the peer's power state where this node may not fence."""
        due = self.power_due_at(view)
        if due is None or now < due:
            return []
        waiting = {
            svc.name: svc
            for svc in self.spec.own_services
            if self._announced.get(svc.name) in FENCE_WANTED and self.is_boot_blocked(svc, now)
        }
        name = self.power.choose(waiting)
        if name is None:
            return []
        self.power.record_question(name)
        return [RunScript(name, ScriptKind.POWER, waiting[name].check, *view.for_script(name))]

    def power_due_at(self, view: PeerView) -> float | None:
        """Return when the fence may be asked about a silent peer not heard since the boot."""
        return None if self.has_heard or view.silent_since is None else self.power.due_at

    def power_answered(self, event: ScriptExited, now: float) -> list[Action]:
        """Handle a fence's answer on the peer's power; return the record of a new one."""
        had_answer = bool(self.power.answer)
        is_proved, text = self.power.answered(event.service, event.outcome, now)
        svc = next((svc for svc in self.spec.own_services if svc.name == event.service), None)
        if is_proved and svc is not None:
            group = self.group_of(svc)
            proof = f"the fence of {svc.name} says twice that it is off"
            self._proofs[group] = Proof(group, now, proof)
            text = f"{text}, twice: nothing runs there"
        if not text:
            return []
        is_alarm = had_answer or event.outcome is ScriptOutcome.DOWN
        return [Record(RecordKind.PEER, self.spec.peer, "", "POWER", text, is_alarm)]

    @property
    def is_peer_fenced(self) -> bool:
        """True if a fence succeeded since the peer was last heard."""
        return self._has_fenced

    def may_fence_now(self, svc: ServiceSpec, view: PeerView, now: float) -> bool:
        """Return whether the check-up script of this service may be run as a fence now."""
        if (
            self._flight is not None
            or self.is_boot_blocked(svc, now)
            or self._goes_after_another(svc, now)
        ):
            return False
        return now >= self.retry_at(svc) and now >= self.turn_opens(view, now)

    def _goes_after_another(self, svc: ServiceSpec, now: float) -> bool:
        """Return True if a fence of another group waits and last began earlier than this one's.

        A fence that always fails must not take every turn.
        """
        own = self._flown.get(self.group_of(svc))
        if own is None:
            return False
        if self._ready_groups is None:
            self._ready_groups = frozenset(
                self.group_of(each)
                for each in self.spec.own_services
                if each.is_fenced and self._announced.get(each.name) is ServiceState.START_READY
            )
        return any(
            now >= self._retry_at.get(group, -math.inf) and self._flown.get(group, -math.inf) < own
            for group in self._ready_groups
            if group != self.group_of(svc)
        )

    def retry_at(self, svc: ServiceSpec) -> float:
        """Return when a fence of that service's group may be retried."""
        return self._retry_at.get(self.group_of(svc), -math.inf)

    @property
    def flight(self) -> Flight | None:
        """The fence in flight; None without one."""
        return self._flight

    # --- turns ------------------------------------------------------------------------------------

    def turn_opens(self, view: PeerView, now: float) -> float:
        """Return the earliest instant from ``now`` on at which this node may begin a fence."""
        if self._opens is None or self._opens[0] != now:
            self._opens = now, self._find_turn(view, now)
        return self._opens[1]

    def _find_turn(self, view: PeerView, now: float) -> float:
        # No turns without a silence, and none once the peer cannot fence back.
        if self._anchor is None or self._has_fenced:
            return now
        facts, turns = view.facts, self._turns or self._plan(view.facts)
        first = self._anchor + turns.first_s
        if facts is None and view.newest is not None:
            # A peer without facts knows no turns: it fences at once. If it has something to start,
            # a node that runs something waits until that one fence has had its effect or failed; a
            # longer wait saves neither node.
            return max(now, first + turns.length_s) if _runs_any(self._announced.values()) else now
        from_s = now
        if facts is not None and facts.is_booting:
            from_s = max(now, self._anchor + timing.BOOT_PATIENCE_S)
        is_peer_content = (
            facts is not None and not facts.is_defending and not self._wants_fence(view.states)
        )
        is_solo = self.turn is Turn.HELD and is_peer_content
        is_left = self._left_turns(is_peers=self.turn is Turn.HELD)
        turn, after = Window(0, 0.0, is_left=False), turns.length_s
        while True:
            following = Window(turn.index + 1, after, is_left(turn.index + 1, after))
            opens = first + turn.after_s
            # Before a turn that is left to the peer, begin a fence only early enough that it has
            # had its effect by then.
            closes = first + after if is_solo and not following.is_left else opens + turns.open_s
            if from_s < closes and (not turn.is_left if is_solo else self._is_own_turn(turn, view)):
                return from_s if is_solo and turn.index == 0 else max(from_s, opens)
            # Each turn is longer than the one before, so that the turns of two drifting clocks
            # never overlap.
            turn, after = following, after * (1.0 + timing.TURN_DRIFT) + turns.length_s

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
        if self._is_wary:
            return turn.is_left
        if turn.index == 1:
            return self.turn is not Turn.HELD and facts is not None and facts.turn is Turn.HELD
        return self._is_own_by_name(turn.index)

    def _is_own_by_name(self, index: int) -> bool:
        # Odd turns for the name that sorts first, even ones for the other: never both at once.
        return index % 2 == (1 if self.spec.node < self.spec.peer else 0)

    def _plan(self, facts: Facts | None) -> Turns:
        """Plan turns longer than any fence of either node.

        A turn also covers the difference between the nodes' views of when the silence began.
        """
        theirs_s = None if facts is None else facts.fence_s
        slowest_s = max(self.fence_s or 0.0, theirs_s or 0.0)
        timeout_s = max((link.timeout_s for link in self.spec.links), default=0.0)
        common_s = self._pace.turn_open_s + 2 * self._pace.beat_interval_s
        length_s = (slowest_s + timeout_s) * (1.0 + timing.TURN_DRIFT) + common_s
        return Turns(self._pace.start_ready_delay_s, self._pace.turn_open_s, length_s)

    @property
    def fence_s(self) -> float | None:
        """Longest duration of a fence of this node, in seconds; None without a fence.

        As declared, else as measured, else the limit of its script.
        """
        if self._slowest is None:
            self._slowest = (
                max(
                    (self._fence_s(svc) for svc in self.spec.own_services if svc.is_fenced),
                    default=None,
                ),
            )
        return self._slowest[0]

    def _fence_s(self, svc: ServiceSpec) -> float:
        measured_s = self._measured_s.get(self.group_of(svc))
        if self.spec.fence_time_s is not None:
            return max(self.spec.fence_time_s, measured_s or 0.0)
        if measured_s is not None:
            return measured_s
        return _limit_s(svc)

    def update_turn(
        self, announced: Mapping[str, ServiceState], view: PeerView, next_seq: int
    ) -> None:
        """Claim, take or give up the right to fence first, while the peer is heard."""
        self._announced, self._opens, self._ready_groups = announced, None, None
        self._agree_on_turns(view, next_seq)
        if not self._wants_fence(announced) and not self._defends(announced):
            self._may_seem_content_seq = next_seq
        facts = view.facts
        if view.standing is not PeerStanding.LIVE or facts is None:
            return
        is_second = self.spec.node > self.spec.peer
        # Given up first, taken later: both nodes never hold the right at once.
        if not self._should_be_first(announced, view, facts):
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

    def _agree_on_turns(self, view: PeerView, next_seq: int) -> None:
        """Adopt other turns once the peer has acknowledged a beat from which it can compute them.

        An edited configuration, or a slower fence, changes nothing about a cut that has begun.
        """
        if self._anchor is not None or self._reported_anchor is not None or view.newest is None:
            return
        plan = self._plan(view.facts)
        if plan != self._next_turns:
            self._next_turns, self._next_turns_seq = plan, next_seq
        if view.facts is None or view.newest_acked_seq >= self._next_turns_seq:
            self._turns = plan

    def _should_be_first(
        self, announced: Mapping[str, ServiceState], view: PeerView, facts: Facts
    ) -> bool:
        defends = self._defends(announced)
        # A defended service outranks priorities and names.
        if defends is not facts.is_defending:
            return defends
        runs, peer_runs = _runs_any(announced.values()), _runs_any(view.states.values())
        # Only the node that runs nothing wants to start something.
        if runs is not peer_runs:
            return peer_runs
        # With equal priorities the name that sorts first wins; both nodes compare the same two
        # names.
        own = self._priority(announced), self.spec.peer
        return own > (facts.priority, self.spec.node)

    def _wants_fence(self, announced: Mapping[str, ServiceState]) -> bool:
        """Return True if a node with these states fences a silent peer without an order."""
        return any(
            state in FENCE_WANTED and name not in self._unfenced
            for name, state in announced.items()
        )

    def _defends(self, announced: Mapping[str, ServiceState]) -> bool:
        return any(
            svc.policy.is_defended and announced.get(svc.name) in RUNS_SOMETHING
            for svc in self.spec.own_services
        )

    def _priority(self, announced: Mapping[str, ServiceState]) -> int:
        return sum(
            svc.policy.priority
            for svc in self.spec.own_services
            if announced.get(svc.name) in RUNS_SOMETHING
        )

    def facts(self, announced: Mapping[str, ServiceState], now: float) -> Facts:
        """Return what this node reports about itself to the peer's fencing desk."""
        silent_s = None if self._anchor is None else max(0.0, now - self._anchor)
        return Facts(
            is_booting=not self.has_heard,
            is_defending=self._defends(announced),
            # The peer may take the right only when the next daemon here would know that it was
            # given up, else both nodes could hold it.
            turn=Turn.HELD if self._kept_turn is Turn.HELD else self.turn,
            priority=self._priority(announced),
            fence_s=self.fence_s,
            silent_s=silent_s,
        )

    # --- showing ----------------------------------------------------------------------------------

    def status(self, view: PeerView, now: float) -> FencingStatus:
        """Return the fencing status at ``now``, as shown to operators."""
        groups: dict[str, list[ServiceSpec]] = {}
        for svc in self.spec.own_services:
            groups.setdefault(self.group_of(svc) if svc.is_fenced else "", []).append(svc)
        shown = tuple(
            FenceGroup(
                name=group,
                check=members[0].check,
                services=tuple(svc.name for svc in members),
                took_s=self._measured_s.get(group),
                failures=self._failures.get(group, 0),
                retry_at=self._retry_at.get(group),
                detail=self._last_text.get(group, ""),
                limit_s=max(map(_limit_s, members)) if group else None,
            )
            for group, members in sorted(groups.items())
        )
        proof = next(
            (item for item in self._proofs.values() if now < item.at + timing.PROOF_LIFE_S), None
        )
        return FencingStatus(
            groups=shown,
            turn=self.turn.name.lower(),
            peer_turn="" if view.facts is None else view.facts.turn.name.lower(),
            has_heard=self.has_heard,
            is_blocked=any(self.is_boot_blocked(svc, now) for svc in self.spec.own_services),
            boot_alone_s=self.spec.fencing.boot_alone_s,
            alone_at=min(
                (
                    ends
                    for ends in map(self.boot_block_ends, self.spec.own_services)
                    if ends is not None
                ),
                default=None,
            ),
            opens_at=self.turn_opens(view, now) if self._anchor is not None else None,
            proof="" if proof is None else proof.text,
            flight="" if self._flight is None else self._flight.service,
            fence_s=self.fence_s,
            power_said=self.power.answer,
            power_said_of=self.power.answered_by,
            power_said_at=self.power.answered_at,
            power_tellers=tuple(
                svc.name for svc in self.spec.own_services if svc.name in self.power.answerable
            ),
            confirmed_by="" if self._confirmation is None else self._confirmation.who,
            confirmed_at=None if self._confirmation is None else self._confirmation.since,
        )


def _runs_any(states: Collection[ServiceState]) -> bool:
    return any(state in RUNS_SOMETHING for state in states)


def _limit_s(svc: ServiceSpec) -> float:
    return timing.CHECK_LIMIT_S if svc.limits.check_s is None else svc.limits.check_s


def _rounded_up(seconds: float) -> float:
    """Round up to half seconds.

    The peer computes with the value, which should not change with each attempt.
    """
    return math.ceil(seconds * 2) / 2
