"""Decide when the peer may be fenced, by which service's script, and what a success proves.

There is one fencing desk per node and at most one fence in flight, whatever the number of services.
A fence that succeeds is a *proof* that the peer runs nothing, for every service with the same kind
of check-up script. A proof is void once the peer is heard, once this node was stalled, and after
``PROOF_LIFE_S``. An operator's confirmation holds for longer: until any beat of the peer comes in,
this node was away for a link timeout, or its daemon ends. A failed fence is retried without end,
after ``retry_s``, doubled each time up to ``FENCE_RETRY_MAX_S``.

Who fences first, and when, is decided in ``fence_turns``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from opensvc_openha.core import timing
from opensvc_openha.core.actions import Action, Record, RecordKind, RunScript, StepKind
from opensvc_openha.core.beat import Goodbye
from opensvc_openha.core.events import (
    FenceStepEnded,
    FenceTried,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    StepOutcome,
)
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.fence_plan import PlanEnd
from opensvc_openha.core.fence_turns import FenceTurns
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import ClusterSpec, ServiceSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.plan_desk import PlanDesk, path_key
from opensvc_openha.core.power_questions import PowerQuestions
from opensvc_openha.core.proof import Proof, ProofKind, Scope
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.states import FENCE_WANTED, ServiceState
from opensvc_openha.core.status import FenceGroup, FencingStatus
from opensvc_openha.core.wording import named
from opensvc_openha.hints import Any
from opensvc_openha.records import dataclass


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


@state_marks(
    not_state={
        # A world of the model checker has one service, one fence, and a fixed configuration.
        "_announced",
        "_booted_at",
        "_measured_s",
        "_flown",
        "_groups",
        "_ready_groups",
        "_last_text",
        "_ended",
        "_remembered",
        "spec",
        "_opens",
        "_slowest",
    },
)
class Fencing:
    """Decide on fencing for one node."""

    def __init__(self, spec: ClusterSpec, memory: FencingMemory, now: float) -> None:
        self.spec = spec
        self._opens: tuple[float, float] | None = None
        """The answer of ``turn_opens`` at an instant."""
        self._slowest: tuple[float | None, tuple[str, ...]] | None = None
        """Longest duration of a fence, and the fences of which only a limit is known."""
        self._announced: Mapping[str, ServiceState] = {}
        self.has_heard = memory.has_heard
        self.has_heard_one_way = False
        """The peer was heard since this node booted, but has not acknowledged anything of it."""
        self.turns = FenceTurns(spec, memory)
        self._booted_at = now if memory.booted_at is None else memory.booted_at
        self._measured_s = dict(memory.measured_s)
        self._proofs: dict[str, Proof] = {}
        self._confirmation: Confirmation | None = None
        self.formerly_confirmed_by = memory.confirmed_by
        """Operator whose confirmation ended with the former daemon."""
        self.held_until = -math.inf
        """A drill holds fences back until then."""
        self.power = PowerQuestions()
        self.desk = PlanDesk(spec, memory, now)
        self._flight: Flight | None = None
        self._failures: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}
        self._flown: dict[str, float] = {}
        """When the newest fence of each group began, since the peer was heard."""
        self._groups = self._fenced_groups()
        self._ready_groups: frozenset[str] | None = None
        self._last_text: dict[str, str] = {}
        self._ended: dict[str, tuple[bool, float]] = {}
        self._has_fenced = False
        """A fence succeeded since the peer was last heard: the peer cannot fence back."""
        self.is_isolated = False
        """None of its targets answers this node: it begins nothing that proves its peer out."""
        self._remembered = memory
        self._unkept_until: float | None = None
        """When to retry writing the memory that could not be stored, besides before each fence.

        None if it is on disk.
        """

    def reconfigure(self, spec: ClusterSpec) -> None:
        """Apply a configuration."""
        self.spec = spec
        self._opens = self._slowest = None
        self._groups = self._fenced_groups()
        self.turns.reconfigure(spec)
        self.desk.reconfigure(spec)

    # --- what is remembered -----------------------------------------------------------------------

    @property
    def memory(self) -> FencingMemory:
        """What the next daemon must know."""
        return FencingMemory(
            self.has_heard,
            self.turns.turn,
            self.turns.anchor,
            self._booted_at,
            tuple(sorted(self._measured_s.items())),
            tuple((group, *end) for group, end in sorted(self._ended.items())),
            self.turns.agreed,
            self.turns.is_wary,
            "" if self._confirmation is None else self._confirmation.who,
            self.desk.paths.seen_on,
            self.desk.ejected_by,
            self.desk.plan.lost_to,
            tuple(sorted(self.desk.plan.draining.items())),
        )

    def has_news(self, now: float) -> bool:
        """Return True once after each change of the memory.

        Also True from time to time while the memory could not be written.
        """
        self.desk.plan.forget_drained(now)
        memory = self.memory
        is_again = self._unkept_until is not None and (
            now >= self._unkept_until or self._begins_now(now)
        )
        news, self._remembered = is_again or memory != self._remembered, memory
        return news

    def _begins_now(self, now: float) -> bool:
        in_air = self.desk.plan.in_air
        began_at = [each.began_at for each in (self._flight, in_air) if each is not None]
        return now in began_at

    def record_stored(self, memory: FencingMemory, is_ok: bool, now: float) -> None:
        """Record whether the memory could be written."""
        self._unkept_until = None if is_ok else now + timing.STORE_RETRY_S
        if is_ok:
            self.turns.kept_turn = memory.turn

    # --- what happens -----------------------------------------------------------------------------

    def record_heard(self, view: PeerView, now: float) -> None:
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
        self.desk.record_heard(now)
        self.turns.record_heard(view, now)

    def void_proofs(self) -> None:
        """Void proofs: the peer is heard, or may have been back during a stall of this node."""
        self._proofs.clear()
        self.power.void()
        self.desk.void()
        if self._flight is not None:
            self._flight = replace(self._flight, is_void=True)

    def is_settled(self, view: PeerView) -> bool:
        """Return True unless a beat of the peer, which is heard, may change something at once.

        A lease counts each of them.
        """
        plan = self.desk.plan
        is_open = self._flight is not None or plan.in_air is not None or plan.waiting
        is_waiting = is_open or self._confirmation is not None or self.desk.lease.is_configured
        return not is_waiting and self.has_heard and self.turns.is_settled(view)

    def judge(self, view: PeerView) -> None:
        """Use the verdict on the peer: turns are counted from the beginning of a silence."""
        if self.turns.record_silence(view, self.has_heard):
            self._opens = None

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

    def confirm(self, who: str, now: float) -> None:
        """Store an operator's confirmation; it also covers services unfrozen or repaired later."""
        # What waits for its next fence needs none now.
        self._confirmation = Confirmation(who, now)
        self._retry_at.clear()
        self.desk.plan.retry_at = -math.inf

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
                self.record_failure(self.group_of(svc), now)
            return
        self._flight = self._opens = None
        # It never began: neither a failure nor a proof.
        if is_ok is None:
            return
        took_s = now - flight.began_at
        self._last_text[flight.group] = text
        self._ended[flight.group] = is_ok, now
        if not is_ok:
            self.record_failure(flight.group, now)
            return
        self._failures.pop(flight.group, None)
        self._retry_at.pop(flight.group, None)
        self._note_time(flight.group, took_s)
        if not flight.is_void:
            self._has_fenced = True
            text = f"the check-up script of {svc.name} succeeded"
            self._proofs[flight.group] = Proof(ProofKind.SCRIPT, Scope.NODE, None, now, text)

    def record_failure(self, group: str, now: float) -> None:
        """Record a failure of the group.

        Each one doubles the wait for the next attempt, up to the limit.
        """
        count = self._failures[group] = self._failures.get(group, 0) + 1
        retry_s = self.spec.fencing.retry_s * 2.0 ** min(count - 1, 10)
        self._retry_at[group] = now + min(retry_s, timing.FENCE_RETRY_MAX_S)

    def retry_now(self, svc: ServiceSpec) -> None:
        """Clear the wait for the next attempt, on an operator's request."""
        self._retry_at.pop(self.group_of(svc), None)
        self.desk.plan.retry_at = -math.inf

    # --- what the rules ask -----------------------------------------------------------------------

    def group_of(self, svc: ServiceSpec) -> str:
        """Return the group of a service; one fence serves all services of a group."""
        if not self.spec.fencing.is_shared:
            return svc.name
        return "stonith" if svc.check.endswith(".stonith") else svc.check

    def _fenced_groups(self) -> frozenset[str]:
        return frozenset(self.group_of(svc) for svc in self.spec.own_services if svc.is_fenced)

    def proof_for(self, svc: ServiceSpec, now: float) -> Proof | None:
        """Return the valid proof that covers a service; None if there is none."""
        if self._confirmation is not None:
            text = f"confirmed by {self._confirmation.who}"
            return Proof(ProofKind.WORD, Scope.NODE, None, self._confirmation.since, text)
        own = self._script_proof(svc, now)
        if not self.desk.is_configured or (own is not None and own.kind is ProofKind.POWER):
            return own
        proof = self.desk.plan.proof_for(svc, now)
        if proof is None or not svc.runs_check_too:
            return proof
        # Both must hold: the plan speaks of the node, the script of what the service needs.
        return None if own is None else replace(proof, text=f"{proof.text}; {own.text}")

    def is_proved_by_deed(self, svc: ServiceSpec, now: float) -> bool:
        """Return True if something that was done, or an operator, proves the peer out.

        Not its promise alone, which proves it out by itself, whoever looks. A shot of the fence
        plan does so also before the service's own script, which comes after it, has succeeded.
        """
        proof = self.proof_for(svc, now)
        if proof is None and self.desk.is_configured:
            proof = self.desk.plan.proof_for(svc, now)
        return proof is not None and proof.kind is not ProofKind.SELF_FENCED

    def proved_out(self, now: float) -> str:
        """Return why the peer is out, by any proof that holds; empty without one."""
        if self._confirmation is not None:
            return f"confirmed by {self._confirmation.who}"
        proofs = (*self._proofs.values(), *self.desk.plan.held(now))
        return next((proof.text for proof in proofs if now < proof.at + timing.PROOF_LIFE_S), "")

    def _script_proof(self, svc: ServiceSpec, now: float) -> Proof | None:
        # Somebody may switch the peer on again: an old proof is obtained again.
        proof = self._proofs.get(self.group_of(svc))
        return proof if proof is not None and now < proof.at + timing.PROOF_LIFE_S else None

    @property
    def ejector(self) -> str:
        """Who took this node's right, as a clause; empty while it has it.

        An operator who made sure that the peer runs nothing gives it back.
        """
        return self.desk.ejector if self._confirmation is None else ""

    def is_fenced(self, svc: ServiceSpec) -> bool:
        """Return False if nothing is asked that proves the peer out before a start."""
        return self.desk.is_configured or svc.is_fenced

    def is_plan_due(self, svc: ServiceSpec, now: float) -> bool:
        """Return True while the fence plan has not proved the peer out for this service."""
        if not self.desk.is_configured or self.proof_for(svc, now) is not None:
            return False
        return self.desk.plan.proof_for(svc, now) is None

    def is_boot_blocked(self, svc: ServiceSpec, now: float) -> bool:
        """Return True while the peer has not answered this node since it booted.

        A node that was fenced and booted again must not fence in return.
        """
        if self.has_heard or not self.is_fenced(svc) or self.proof_for(svc, now) is not None:
            return False
        alone_s = self.spec.fencing.boot_alone_s
        return alone_s is None or now < self._booted_at + alone_s

    def is_blocked(self, now: float) -> bool:
        """Return True while that holds for one of the services."""
        return any(self.is_boot_blocked(svc, now) for svc in self.spec.own_services)

    @property
    def is_ejected_by(self) -> str:
        """The node that ejected this one by the fence plan; empty if none did."""
        if not self.desk.is_configured:
            return ""
        return self.desk.ejected_by or (self.spec.peer if self.desk.plan.lost_to else "")

    def boot_block_ends(self, svc: ServiceSpec) -> float | None:
        """Return when the boot block ends by time alone; None if it does not."""
        alone_s = self.spec.fencing.boot_alone_s
        return (
            None
            if alone_s is None or self.has_heard or not self.is_fenced(svc)
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
        if self.is_isolated:
            return None
        return None if self.has_heard or view.silent_since is None else self.power.due_at

    def power_answered(self, event: ScriptExited, now: float) -> list[Action]:
        """Handle a fence's answer on the peer's power; return the record of a new one."""
        had_answer = bool(self.power.answer)
        is_proved, text = self.power.answered(event.service, event.outcome, now)
        svc = next((svc for svc in self.spec.own_services if svc.name == event.service), None)
        if is_proved and svc is not None:
            group = self.group_of(svc)
            proof = f"the fence of {svc.name} reports twice that it is off"
            self._proofs[group] = Proof(ProofKind.POWER, Scope.NODE, None, now, proof)
            text = f"{text}, twice: nothing runs there"
        if not text:
            return []
        is_alarm = had_answer or event.outcome is ScriptOutcome.DOWN
        return [Record(RecordKind.PEER, self.spec.peer, "", "POWER", text, is_alarm)]

    @property
    def is_peer_fenced(self) -> bool:
        """True if a fence succeeded since the peer was last heard, or its promise proves it out."""
        return self._has_fenced or self.desk.plan.is_self_fenced

    def may_fence_now(self, svc: ServiceSpec, view: PeerView, now: float) -> bool:
        """Return whether this service may begin its fence now, or wait for one in the air."""
        if self.is_plan_due(svc, now):
            plan = self.desk.plan
            if self.is_boot_blocked(svc, now) or not self.desk.serves(svc):
                return False
            if plan.is_in_round:
                return True
            # While only time is awaited, nothing is done that a service would be STARTING for.
            if plan.begins_with_lease(svc):
                return False
            is_free = self._flight is None and plan.may_begin(now)
            return is_free and now >= self.turn_opens(view, now)
        if (
            self._flight is not None
            or self.is_boot_blocked(svc, now)
            or self._goes_after_another(svc, now)
        ):
            return False
        return now >= self.retry_at(svc, now) and now >= self.turn_opens(view, now)

    def is_held(self, now: float) -> bool:
        """Return True while a drill holds fences back: a start waits for an operator's word."""
        return now < self.held_until

    def _goes_after_another(self, svc: ServiceSpec, now: float) -> bool:
        """Return True if a fence of another group waits and last began earlier than this one's.

        A fence that always fails must not take every turn.
        """
        if len(self._groups) == 1:
            return False
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

    def retry_at(self, svc: ServiceSpec, now: float) -> float:
        """Return when a fence of that service's group may be retried."""
        if self.is_plan_due(svc, now):
            return self.desk.plan.retry_at
        return self._retry_at.get(self.group_of(svc), -math.inf)

    @property
    def flight(self) -> Flight | None:
        """The fence in flight; None without one."""
        return self._flight

    # --- turns ------------------------------------------------------------------------------------

    def turn_opens(self, view: PeerView, now: float) -> float:
        """Return the earliest instant from ``now`` on at which this node may begin a fence."""
        # Once the peer was fenced it cannot fence back: there are no turns to keep. Nor are there
        # where nothing is shot.
        if self.is_peer_fenced or self.desk.has_arbiter or self.desk.only_waits:
            return now
        if self._opens is None or self._opens[0] != now:
            self._opens = now, self.turns.opens(view, now, self.fence_s)
        return self._opens[1]

    @property
    def fence_s(self) -> float | None:
        """Longest duration of a fence of this node, in seconds; None without a fence.

        As declared, else as measured, else the limit of its script.
        """
        return self._times()[0]

    @property
    def untimed(self) -> tuple[str, ...]:
        """The fences of which only a limit is known: services by name, paths of the plan."""
        return self._times()[1]

    @property
    def knows_fence_time(self) -> bool:
        """True if this node has a fence, and the time of each was declared or measured.

        A promise of the peer says itself when it is over.
        """
        is_any = self.desk.is_configured or self.fence_s is not None
        return is_any and not self.untimed

    def _times(self) -> tuple[float | None, tuple[str, ...]]:
        if self._slowest is None:
            scripts = [svc for svc in self.spec.own_services if svc.is_fenced]
            path_s = self.desk.longest_s(self._measured_s)
            seconds = [self._fence_s(svc) for svc in scripts]
            seconds += [] if path_s is None else [path_s]
            has_plan = self.desk.is_configured
            untimed = [
                svc.name
                for svc in scripts
                if self.group_of(svc) not in self._measured_s
                and (svc.runs_check_too or not has_plan)
            ]
            untimed += self.desk.untimed(self._measured_s)
            is_declared = self.spec.fence_time_s is not None
            self._slowest = max(seconds, default=None), () if is_declared else tuple(untimed)
        return self._slowest

    def delay_s(self, svc: ServiceSpec, view: PeerView) -> float:
        """Return for how long START_READY waits for a peer that is silent, in seconds.

        The one place of that rule. For a service without a fence nothing else keeps a cut apart
        from the peer's death.
        """
        if not self.is_fenced(svc):
            return timing.PACES[self.spec.profile].unfenced_delay_s
        return self.turns.delay_s(view)

    def why_delay(self, view: PeerView) -> str:
        """Return why a fence waits for the whole delay; empty where it does not, or without one."""
        facts, peer = view.facts, self.spec.peer
        if self.fence_s is None and not self.desk.is_configured:
            return ""
        if self.untimed:
            return f"how long {named(self.untimed, 3)} takes is not known here: declare fence_time"
        if facts is None or not facts.knows_fence_time:
            return f"{peer} does not report that it knows how long its fences take"
        return "" if self.turns.is_prompt else f"{peer} has not acknowledged yet that it is known"

    def judge_lease(
        self, view: PeerView, now: float, is_cut_off: bool
    ) -> tuple[bool, list[Action]]:
        """Work out what the peer's promise comes to, see ``PlanDesk.judge_lease``."""
        return self.desk.judge_lease(view, self.turns.delay_s(view), now, is_cut_off)

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
        """Use what this node announces: claim or give up the right to fence first."""
        self._announced, self._opens, self._ready_groups = announced, None, None
        self.turns.update(announced, view, next_seq, self.fence_s, self.knows_fence_time)

    def facts(self, announced: Mapping[str, ServiceState], now: float) -> Facts:
        """Return what this node reports about itself to the peer's fencing desk."""
        return replace(
            self.turns.facts(announced, now),
            is_booting=not self.has_heard,
            fence_s=self.fence_s,
            knows_fence_time=self.knows_fence_time,
        )

    # --- the fence plan ---------------------------------------------------------------------------

    def order_step(self, view: PeerView, now: float) -> list[Action]:
        """Order the next step of the fence plan, if services wait for it and it may begin."""
        plan = self.desk.plan
        # The rules have already taken back whoever waited, once the peer is heard. Asked again all
        # the same: a step cannot be undone.
        if not plan.waiting or plan.in_air is not None or view.silent_since is None:
            return []
        if not plan.is_in_round:
            if self.desk.ejector or self.is_isolated or not plan.may_begin(now):
                return []
            plan.begin_round()
        # Without an arbiter each step has its effect within a turn of this node.
        return self.desk.order_step(now) if now >= self.turn_opens(view, now) else []

    def step_due_at(self, view: PeerView, now: float) -> float | None:
        """Return when time alone continues the round: a turn begins, or a step is given up."""
        plan = self.desk.plan
        if plan.in_air is not None:
            return plan.in_air.gives_up_at
        if plan.is_idle:
            return None
        return self.turn_opens(view, now) if plan.is_in_round else None

    def continue_round(self, now: float) -> PlanEnd:
        """Continue a round that had no step to take."""
        plan = self.desk.plan
        if not plan.is_idle:
            return PlanEnd.CONTINUES
        end = plan.continue_round(now)
        self._note_fenced()
        return end

    def _note_fenced(self) -> None:
        self._has_fenced = self._has_fenced or any(
            proof.scope is Scope.NODE for proof in self.desk.plan.proofs
        )

    def end_step(self, event: FenceStepEnded, now: float) -> tuple[PlanEnd, list[Action]]:
        """Judge the end of a step of the fence plan."""
        in_air = self.desk.plan.in_air
        end, done = self.desk.end_step(event, now)
        if not done or in_air is None:
            return end, done
        self._opens = None
        if in_air.step.kind is StepKind.SHOOT:
            is_ok, group = event.outcome is StepOutcome.DONE, path_key(in_air.step.path)
            self._ended[group] = is_ok, now
            if is_ok:
                self._note_time(group, event.took_s)
        self._note_fenced()
        return end, done

    def note_tried(self, event: FenceTried) -> None:
        """Note how long a path took in a drill, which proves nothing: the peer was heard."""
        if self.spec.fencing.path(event.path) is not None:
            self._note_time(path_key(event.path), event.took_s)

    def _note_time(self, group: str, took_s: float) -> None:
        """Note how long a fence took: the longest time counts, as a turn must outlast each."""
        self._slowest = None
        self._measured_s[group] = max(self._measured_s.get(group, 0.0), _rounded_up(took_s))

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
            turn=self.turns.turn.name.lower(),
            peer_turn="" if view.facts is None else view.facts.turn.name.lower(),
            has_heard=self.has_heard,
            is_blocked=self.is_blocked(now),
            boot_alone_s=self.spec.fencing.boot_alone_s,
            alone_at=min(
                (
                    ends
                    for ends in map(self.boot_block_ends, self.spec.own_services)
                    if ends is not None
                ),
                default=None,
            ),
            opens_at=self.turn_opens(view, now) if self.turns.anchor is not None else None,
            turn_s=self.turns.length_s(view, self.fence_s),
            start_ready_s=self.turns.delay_s(view),
            start_ready_unfenced_s=timing.PACES[self.spec.profile].unfenced_delay_s,
            why_delay=self.why_delay(view),
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
            **self._plan_status(now),
        )

    def _plan_status(self, now: float) -> dict[str, Any]:
        """Return the part of the status that only a node with a fence plan has."""
        if not self.desk.is_configured:
            return {}
        policy, plan, in_air = self.spec.fencing, self.desk.plan, self.desk.plan.in_air
        return {
            "plan": tuple(tuple(path.name for path in level) for level in policy.levels),
            "has_arbiter": policy.has_arbiter,
            "paths": self.desk.path_statuses(now),
            "step": "" if in_air is None else self.desk.name_of(in_air.step),
            "step_began_at": None if in_air is None else in_air.began_at,
            "proofs": self.desk.proof_statuses(now),
            "hints": tuple(hint.text for hint in plan.hints),
            "is_ejected_by": self.is_ejected_by,
            "next_try_at": self.desk.next_try_at(),
            "lease": self.desk.explain_lease(now),
            "lease_ends_at": self.desk.lease.sight.ends_at,
        }


def _limit_s(svc: ServiceSpec) -> float:
    return timing.CHECK_LIMIT_S if svc.limits.check_s is None else svc.limits.check_s


def _rounded_up(seconds: float) -> float:
    """Round up to half seconds.

    The peer computes with the value, which should not change with each attempt.
    """
    return math.ceil(seconds * 2) / 2
