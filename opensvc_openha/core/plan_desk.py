"""Serve the fence plan of a node: what it remembers, what it records, and this node's own ejection.

A node that lost the arbiter's claim, or whose registration is gone, has lost the right to its data:
it fences nobody and starts nothing, and its services are stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from opensvc_openha.core import timing
from opensvc_openha.core.actions import (
    Action,
    FenceStep,
    Record,
    RecordKind,
    RunFenceStep,
    StepKind,
)
from opensvc_openha.core.events import (
    FencePathsLooked,
    FenceStepEnded,
    PathState,
    StepOutcome,
)
from opensvc_openha.core.fence_paths import FencePaths
from opensvc_openha.core.fence_plan import FencePlan, PlanEnd
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.lease_view import LeaseSight, LeaseView
from opensvc_openha.core.model import ClusterSpec, FencePath, PathKind, ServiceSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.proof import Proof
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.status import PathStatus, ProofStatus


@state_marks(not_state={"_spec"})
class PlanDesk:
    """The fence plan of one node, with its memory."""

    def __init__(self, spec: ClusterSpec, memory: FencingMemory, now: float) -> None:
        self._spec = spec
        self.lease = LeaseView(spec, now)
        self.plan = FencePlan(spec.fencing, memory.draining)
        self.plan.lost_to = memory.lost_to
        self.paths = FencePaths(spec.fencing, memory.seen_on, spec.peer)
        self.ejected_by = memory.ejected_by

    def reconfigure(self, spec: ClusterSpec) -> None:
        """Apply a configuration."""
        self._spec = spec
        self.lease.reconfigure(spec)
        self.plan.reconfigure(spec.fencing)
        self.paths.reconfigure(spec.fencing)

    @property
    def is_configured(self) -> bool:
        """True if the node has a fence plan."""
        return self.plan.is_configured

    @property
    def only_waits(self) -> bool:
        """True if the plan has no step to take: the peer's promise is all that it relies on."""
        return self.is_configured and all(
            path.kind is PathKind.LEASE for path in self._spec.fencing.paths
        )

    @property
    def has_arbiter(self) -> bool:
        """True if a claim decides who may fence, in place of turns."""
        return self.is_configured and self._spec.fencing.has_arbiter

    @property
    def ejector(self) -> str:
        """Who took this node's right, as a clause; empty while it has not lost it."""
        if not self.is_configured:
            return ""
        if self.ejected_by:
            return f"this node was ejected by {self.ejected_by}"
        return f"{self._spec.peer} has the right to fence" if self.plan.lost_to else ""

    def serves(self, svc: ServiceSpec) -> bool:
        """Return True if a round may be made for the service."""
        return not self.ejector and self.plan.can_prove(svc)

    # --- what is heard ----------------------------------------------------------------------------

    def record_heard(self, now: float) -> None:
        """Handle a beat of the peer."""
        self.plan.forget()
        timeout_s = max((link.timeout_s for link in self._spec.listeners), default=0.0)
        self.paths.record_heard(now, timeout_s)

    def void(self) -> None:
        """Void what was proved in this silence, or might be by what is under way."""
        self.plan.void()
        self.lease.void()

    def judge_lease(
        self, view: PeerView, delay_s: float, now: float, is_cut_off: bool = False
    ) -> tuple[bool, list[Action]]:
        """Work out what the peer's promise comes to; ``delay_s`` is its last chance to be heard.

        Return whether that changed something for services that wait, and the record of a proof.
        """
        if not self.lease.is_configured:
            return False, []
        before = self.lease.sight
        self.lease.judge(view, delay_s, now, is_cut_off)
        self.plan.lease = sight = self.lease.sight
        is_news = (before.is_open, before.is_prolonged, before.proof) != (
            sight.is_open,
            sight.is_prolonged,
            sight.proof,
        )
        if sight.proof is None or before.proof is not None:
            return is_news, []
        proved = f"proof {sight.proof.scope.name}: {sight.proof.text}"
        text = f"{self._lease_name}: the promised time is over; {proved}"
        return True, [self._record(RecordKind.PEER, "", "FENCE", text)]

    @property
    def _lease_name(self) -> str:
        return next(path.name for path in self._spec.fencing.paths if path.kind is PathKind.LEASE)

    def record_looks(self, event: FencePathsLooked, is_heard: bool, now: float) -> None:
        """Take what the standing check saw."""
        self.paths.record_looks(event.paths, is_heard, now)

    def eject(self, by: str) -> list[Action]:
        """Record that the registration of this node is gone; return the record the first time."""
        if self.ejected_by:
            return []
        self.ejected_by = by or "somebody"
        self.plan.void()
        text = (
            f"by {self.ejected_by}: it neither fences nor starts anything, and what runs here is"
            " stopped; it comes back once the peer has acknowledged that nothing runs here"
        )
        return [self._record(RecordKind.NODE, "", "EJECTED", text)]

    def readmit(self) -> list[Action]:
        """Record that this node is registered on the arbiter; return the record of a change."""
        was, self.ejected_by = self.ejector, ""
        self.plan.lost_to = ""
        if not was:
            return []
        text = f"{was}: it is registered again"
        return [self._record(RecordKind.NODE, "EJECTED", "READMITTED", text)]

    # --- steps ------------------------------------------------------------------------------------

    def order_step(self, now: float) -> list[Action]:
        """Order the next step of the round; the round has failed if there is none.

        Where there is a lease, the plan is idle then: it may be waiting.
        """
        step = self.plan.order_step(now)
        if step is None:
            if not self.lease.is_configured:
                self.plan.fail_round(now)
            return []
        text = f"{self.name_of(step)} begins, for {', '.join(step.services)}"
        return [RunFenceStep(step), self._record(RecordKind.PEER, "", "FENCE", text)]

    def end_step(self, event: FenceStepEnded, now: float) -> tuple[PlanEnd, list[Action]]:
        """Judge the end of a step; one that is not in the air any more means nothing."""
        in_air = self.plan.in_air
        if in_air is None or in_air.step.number != event.number:
            return PlanEnd.VOID, []
        before = self.plan.proofs
        end = self.plan.end_step(event, self.paths.is_seen_on(in_air.step.path), now)
        made = [proof for proof in self.plan.proofs if proof not in before]
        text = f"{self.name_of(in_air.step)}: {event.outcome.value}: {event.text}"
        if in_air.is_void:
            text += "; void: the peer was heard, or this node stood still, since it began"
        text += "".join(f"; proof {proof.scope.name}: {proof.text}" for proof in made)
        text += "".join(f"; hint: {hint}" for hint in event.hints)
        return end, [self._record(RecordKind.PEER, "", "FENCE", text)]

    def overdue_step(self, now: float) -> FenceStepEnded | None:
        """Return the end of a step that nobody has reported in time; None without one."""
        in_air = self.plan.in_air
        if in_air is None or now < in_air.gives_up_at:
            return None
        text = f"no end was reported within {in_air.step.limit_s + timing.STEP_GRACE_S:g} s"
        return FenceStepEnded(in_air.step.number, StepOutcome.FAILED, text)

    @staticmethod
    def name_of(step: FenceStep) -> str:
        """Return the name of a step, as the history prints it."""
        return "claim" if step.kind is StepKind.CLAIM else step.path

    def _record(self, kind: RecordKind, old: str, new: str, text: str) -> Record:
        name = self._spec.peer if kind is RecordKind.PEER else self._spec.node
        return Record(kind, name, old, new, text, is_alarm=True)

    # --- showing ----------------------------------------------------------------------------------

    def longest_s(self, measured_s: Mapping[str, float]) -> float | None:
        """Return the longest time of a step, as declared, measured or limited."""
        declared_s = self._spec.fence_time_s
        return max(
            (
                _path_s(path, measured_s.get(path_key(path.name)), declared_s)
                for path in self._spec.fencing.paths
                if path.kind is not PathKind.LEASE
            ),
            default=None,
        )

    def untimed(self, measured_s: Mapping[str, float]) -> list[str]:
        """Return the paths of which only a limit is known."""
        return [
            path.name
            for path in self._spec.fencing.paths
            if path.kind is not PathKind.LEASE
            and path.expected_s is None
            and path_key(path.name) not in measured_s
        ]

    def explain(self, now: float) -> str:
        """Describe what is being done and awaited; empty for nothing."""
        in_air, found = self.plan.in_air, []
        if in_air is not None:
            took_s = now - in_air.began_at
            step = self.name_of(in_air.step)
            found.append(f"fencing {self._spec.peer}: {step}, begun {took_s:.1f} s ago")
        if self.plan.lease.is_open:
            found.append(self.explain_lease(now))
        return "; ".join(found)

    def explain_lease(self, now: float) -> str:
        """Say what the peer's promise comes to; empty where the plan has no lease."""
        if not self.lease.is_configured:
            return ""
        return f"{self._lease_name}: {self.lease.sight.explain(now)}"

    def path_statuses(self, now: float) -> tuple[PathStatus, ...]:
        """Return each path, as shown to operators."""
        sight = self.lease.sight
        return tuple(
            replace(path, state=_state_of(sight).value, text=sight.explain(now))
            if path.kind == PathKind.LEASE.value
            else path
            for path in self.paths.statuses()
        )

    def proof_statuses(self, now: float) -> tuple[ProofStatus, ...]:
        """Return the proofs that hold."""
        return tuple(proof_status(proof) for proof in self.plan.held(now))

    def next_try_at(self) -> float | None:
        """Return when the next round may begin after one that failed; None without one."""
        return None if self.plan.retry_at == -math.inf else self.plan.retry_at


def _state_of(sight: LeaseSight) -> PathState:
    if sight.is_barred:
        return PathState.UNUSABLE
    if sight.is_usable:
        is_missing = sight.proof is None and sight.ends_at is not None and not sight.is_open
        return PathState.UNREACHABLE if is_missing else PathState.ARMED
    return PathState.UNREACHABLE if sight.is_promised else PathState.UNTESTED


def proof_status(proof: Proof) -> ProofStatus:
    """Return a proof as it is shown."""
    services = () if proof.covers is None else tuple(sorted(proof.covers))
    return ProofStatus(proof.kind.value, proof.scope.value, proof.at, proof.text, services)


def path_key(name: str) -> str:
    """Return the name of a path among the groups of check-up scripts."""
    return f"path {name}"


def _path_s(path: FencePath, measured_s: float | None, declared_s: float | None) -> float:
    if declared_s is not None:
        return max(declared_s, measured_s or 0.0)
    known = [seconds for seconds in (measured_s, path.expected_s) if seconds is not None]
    return max(known) if known else path.limit_s
