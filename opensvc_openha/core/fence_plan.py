"""Carry out the fence plan of a node: one flight for each silence, shared by all services.

A *round* begins once a service waits for the plan. Where there is an arbiter, its first step is the
claim; then come the levels, which are alternatives, and the paths of each, which must all succeed.
Steps are ordered one at a time, and judged between: the round continues while a service waits that
no proof covers yet. A round that failed is followed by another one, after ``retry_s``, doubled each
time up to ``FENCE_RETRY_MAX_S``.

Whatever puts the silence in question makes the round void: no further step is ordered, and what is
in the air proves nothing when it ends. The plan knows no device: a path is a name and a kind.

The lease is a path without steps: the peer's promise proves it dead by time alone
(``lease_view``). By itself it is sought from the first moment of the silence, beside the steps of
other levels, and needs no claim, since it destroys nothing. Nothing behind it in the order is begun
while it may still prove something, and a round does not fail before. A peer that is not heard and
goes on renewing its promise is waited for no longer than one that does not, if there is anything
else to try.

    IDLE -> CLAIMING -> SHOOTING (level by level) -> PROVED
              |   |        |
              |   |        +-> FAILED, or IDLE if the round is void
              |   +-> FAILED: the arbiter could not be asked
              +-> LOST: the peer has the right to fence
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from dataclasses import replace

from opensvc_openha.core import timing
from opensvc_openha.core.actions import FenceStep, StepKind
from opensvc_openha.core.events import FenceStepEnded, StepOutcome
from opensvc_openha.core.lease_view import LeaseSight
from opensvc_openha.core.model import (
    FenceNeeds,
    FencePath,
    FencingPolicy,
    PathKind,
    ServiceSpec,
)
from opensvc_openha.core.proof import Hint, Proof, ProofKind, Scope
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.records import dataclass

Level = tuple[FencePath, ...]

_PROOF_KINDS = {
    PathKind.POWER: ProofKind.POWER,
    PathKind.CALLOUT: ProofKind.SCRIPT,
    PathKind.LEASE: ProofKind.SELF_FENCED,
}


class PlanState(enum.Enum):
    """Where the plan is."""

    IDLE = "idle"
    CLAIMING = "claiming"
    SHOOTING = "shooting"
    PROVED = "proved"
    FAILED = "failed"
    LOST = "lost"


class PlanEnd(enum.Enum):
    """What the end of a step means for the services that wait."""

    CONTINUES = "continues"
    """The round continues, or its proof covers all who waited."""
    FAILED = "failed"
    LOST = "lost"
    VOID = "void"
    """The step proves nothing, and the round is over."""


# When it began only shows how long the step has taken.
@state_marks(not_state={"began_at"})
@dataclass(frozen=True)
class StepInAir:
    """A step that was ordered and has not ended.

    ``is_void``: the peer was heard, or this node stood still, since it was ordered.
    """

    step: FenceStep
    began_at: float
    former: tuple[tuple[str, float], ...] = ()
    """Until when writes may land on the disks that it takes, because of what went before it."""
    is_void: bool = False

    @property
    def gives_up_at(self) -> float:
        """When it counts as failed, whatever has become of it."""
        return self.began_at + self.step.limit_s + timing.STEP_GRACE_S


@state_marks(not_state={"_number", "_policy", "_reasons", "hints", "failure"})
class FencePlan:
    """The fence plan of one node."""

    def __init__(self, policy: FencingPolicy, draining: Iterable[tuple[str, float]] = ()) -> None:
        self._policy = policy
        self.draining = dict(draining)
        """Until when the peer's writes may land on the disks of services, see ``FencingMemory``."""
        self.waiting: dict[str, ServiceSpec] = {}
        """Services that wait for the plan's proof."""
        self.in_air: StepInAir | None = None
        self.proofs: tuple[Proof, ...] = ()
        """What the steps of rounds have proved."""
        self.lease = LeaseSight()
        """What the peer's promise comes to."""
        self.waits_for_lease = False
        """Nothing of the round can be done but to wait for the peer's promise."""
        self.is_idle = False
        """The round has no step to take now: it waits for the promise, or has failed."""
        self.lost_to = ""
        """Why this node lost the claim, until the peer is heard or it is admitted again."""
        self.hints: tuple[Hint, ...] = ()
        self.failure = ""
        """Why the last round proved nothing."""
        self.failures = 0
        self.retry_at = -math.inf
        self.is_in_round = False
        """A round is going on that may prove something."""
        self._has_won = False
        self._level = 0
        self._parts: tuple[Proof, ...] = ()
        """What the paths of the present level have proved so far."""
        self._reasons: tuple[str, ...] = ()
        self._number = 0

    def reconfigure(self, policy: FencingPolicy) -> None:
        """Apply an edited configuration; a round by the former plan is void."""
        if (policy.levels, policy.has_arbiter) != (self._policy.levels, self._policy.has_arbiter):
            self.void()
        self._policy = policy

    @property
    def is_configured(self) -> bool:
        """True if the node has a plan."""
        return bool(self._policy.levels)

    @property
    def state(self) -> PlanState:
        """Where the plan is."""
        if self.lost_to:
            return PlanState.LOST
        if self.in_air is not None:
            is_claim = self.in_air.step.kind is StepKind.CLAIM
            return PlanState.CLAIMING if is_claim else PlanState.SHOOTING
        if self.is_in_round:
            return PlanState.SHOOTING
        if self.proofs or self._lease_proof is not None:
            return PlanState.PROVED
        return PlanState.FAILED if self.failures else PlanState.IDLE

    # --- who waits --------------------------------------------------------------------------------

    def join(self, svc: ServiceSpec) -> None:
        """Let a service wait for the proof of the plan."""
        self.waiting[svc.name] = svc

    def leave(self, name: str) -> None:
        """End the wait of a service; a round for nobody ends with the step that is in the air."""
        if self.waiting.pop(name, None) is not None and not self.waiting:
            self._end_round()

    def can_prove(self, svc: ServiceSpec) -> bool:
        """Return True if some level proves what the service needs."""
        return any(self._serves(level, svc) for level in self._policy.levels)

    @staticmethod
    def _serves(level: Level, svc: ServiceSpec) -> bool:
        is_node = any(path.kind is not PathKind.RESERVATION for path in level)
        return is_node or _needs_data_only(svc)

    def proof_for(self, svc: ServiceSpec, now: float) -> Proof | None:
        """Return a valid proof that covers a service; None if there is none."""
        return next((proof for proof in self.held(now) if _is_sufficient(proof, svc)), None)

    def takes_disks_of(self, svc: ServiceSpec) -> bool:
        """Return True while a step takes the disks of a service, and waits for writes to land.

        Whatever proves the peer out meanwhile: a start would find these disks taken, and would not
        wait for what the peer had on its way to a disk that aborts nothing.
        """
        return (
            self.in_air is not None
            and svc.name in self.in_air.step.services
            and self._reservation_of(self.in_air.step) is not None
        )

    def _reservation_of(self, step: FenceStep) -> FencePath | None:
        """Return the path of a step that takes disks; None for another one."""
        paths = (path for path in self._policy.paths if path.kind is PathKind.RESERVATION)
        return next((path for path in paths if path.name == step.path), None)

    def is_draining(self, svc: ServiceSpec, now: float) -> bool:
        """Return True while writes may land on the disks of a service that were taken.

        Also by a former daemon, or by a step whose end is not known: nothing waits for them then.
        """
        return self.takes_disks_of(svc) or now < self.draining.get(svc.name, -math.inf)

    def forget_drained(self, now: float) -> None:
        """Forget the disks to which nothing can be on its way any more."""
        if self.draining:
            self.draining = {name: until for name, until in self.draining.items() if now < until}

    def held(self, now: float) -> tuple[Proof, ...]:
        """Return the proofs that hold."""
        lease = self._lease_proof
        proofs = self.proofs if lease is None else (*self.proofs, lease)
        return tuple(proof for proof in proofs if now < proof.at + timing.PROOF_LIFE_S)

    @property
    def _lease_proof(self) -> Proof | None:
        """What the peer's promise proves by itself."""
        is_level = any(
            len(level) == 1 and level[0].kind is PathKind.LEASE for level in self._policy.levels
        )
        return self.lease.proof if is_level else None

    @property
    def is_self_fenced(self) -> bool:
        """True while the peer's promise proves it dead."""
        return self._lease_proof is not None

    def begins_with_lease(self, svc: ServiceSpec) -> bool:
        """Return True if a round for the service would only wait for the peer's promise as yet."""
        first = next(
            (
                path
                for level in self._policy.levels
                if self._serves(level, svc)
                for path in level
                if path.kind is not PathKind.RESERVATION or svc.has_reserved_data
            ),
            None,
        )
        is_lease = first is not None and first.kind is PathKind.LEASE
        return is_lease and self._is_lease_awaited([svc])

    def _is_lease_awaited(self, services: Iterable[ServiceSpec]) -> bool:
        """Return True while the promise may prove something, and nothing else should be tried."""
        if not self.lease.is_prolonged:
            return self.lease.is_open
        return not any(
            self._serves(level, svc) and any(path.kind is not PathKind.LEASE for path in level)
            for svc in services
            for level in self._policy.levels
        )

    def may_begin(self, now: float) -> bool:
        """Return True if a round may begin now, as far as the plan itself is concerned."""
        return self.in_air is None and not self.lost_to and now >= self.retry_at

    # --- steps ------------------------------------------------------------------------------------

    def begin_round(self) -> None:
        """Begin at the claim."""
        self.is_in_round = True
        self._reasons, self.hints = (), ()

    def order_step(self, now: float) -> FenceStep | None:
        """Return the next step of the round, and take it for ordered.

        None while it waits for the peer's promise, and if no path is left that serves anybody who
        waits: then the round has failed.
        """
        assert self.in_air is None, "one step at a time"
        # A claim takes the peer's right, so that there is none for a lease alone.
        found = self._next_path(now)
        self.is_idle = found is None
        if found is None:
            return None
        if self._policy.has_arbiter and not self._has_won:
            kind, path, level, limit_s = StepKind.CLAIM, "", -1, timing.CLAIM_LIMIT_S
            services = tuple(sorted(self.waiting))
        else:
            kind, path, level, limit_s = StepKind.SHOOT, found.name, self._level, found.limit_s
            services = self._served_by(found, now)
        self._number += 1
        step = FenceStep(self._number, kind, path, level, limit_s, services)
        kept = tuple(item for item in self.draining.items() if item[0] in services)
        self.in_air = StepInAir(step, now, kept)
        if found.kind is PathKind.RESERVATION and kind is StepKind.SHOOT:
            # Whatever ends it takes the last disk no later than at its limit.
            until = now + limit_s + found.drain_s
            self.draining |= {name: max(until, self.draining.get(name, until)) for name in services}
        return step

    def _next_path(self, now: float) -> FencePath | None:
        """Return the next path with a step to take, from the present level on; moves to its level.

        None also if the round waits for the peer's promise.
        """
        self.waits_for_lease = False
        while self._level < len(self._policy.levels):
            level = self._policy.levels[self._level]
            if any(self._serves(level, svc) for svc in self._uncovered(now)):
                self._skip_idle_paths(level, now)
                if len(self._parts) < len(level):
                    path = level[len(self._parts)]
                    if path.kind is not PathKind.LEASE:
                        return path
                    if self._is_lease_awaited(self._uncovered(now)):
                        self.waits_for_lease = True
                        return None
                    self._reasons += (f"{path.name}: {self.lease.text}",)
                else:
                    self.proofs += (_joined(self._parts),)
            self._level, self._parts = self._level + 1, ()
        return None

    def _skip_idle_paths(self, level: Level, now: float) -> None:
        """Pass over a lease that has proved its part, and disks which nobody who waits has."""
        while len(self._parts) < len(level):
            path = level[len(self._parts)]
            if path.kind is PathKind.LEASE and self.lease.proof is not None:
                self._parts += (self.lease.proof,)
            elif path.kind is PathKind.RESERVATION and not self._served_by(path, now):
                self._parts += (_NOTHING,)
            else:
                break

    def _served_by(self, path: FencePath, now: float) -> tuple[str, ...]:
        return tuple(
            sorted(
                svc.name
                for svc in self._uncovered(now)
                if path.kind is not PathKind.RESERVATION or svc.has_reserved_data
            )
        )

    def _uncovered(self, now: float) -> list[ServiceSpec]:
        return [svc for svc in self.waiting.values() if self.proof_for(svc, now) is None]

    def end_step(self, event: FenceStepEnded, is_seen_on: bool, now: float) -> PlanEnd:
        """Judge the end of the step in the air.

        ``is_seen_on``: its path reported the peer on while the peer was heard.
        """
        in_air = self.in_air
        assert in_air is not None and in_air.step.number == event.number, "of no step in the air"
        self.in_air = None
        step, outcome = in_air.step, event.outcome
        self._end_drain(in_air, outcome, now)
        self.hints += tuple(Hint(text) for text in event.hints)
        if step.kind is StepKind.CLAIM and outcome is StepOutcome.LOST:
            # A fact, whatever became of the silence: the peer may fence, and this node may not.
            self.lost_to = event.text
            self._end_round()
            return PlanEnd.LOST
        if in_air.is_void or not self.is_in_round:
            return PlanEnd.VOID
        if outcome is StepOutcome.NOT_BEGUN:
            self._end_round()
            self.retry_at = now + timing.STEP_AGAIN_S
            return PlanEnd.VOID
        if step.kind is StepKind.CLAIM:
            self._has_won = outcome is StepOutcome.DONE
            if not self._has_won:
                return self._fail((*self._reasons, f"claim: {event.text}"), now)
            return PlanEnd.CONTINUES
        return self._end_shot(step, event, is_seen_on, now)

    def _end_drain(self, in_air: StepInAir, outcome: StepOutcome, now: float) -> None:
        """Wait for no writes any more if the step has done so.

        Only one that took all disks has waited for what a former step, or daemon, left to land.
        """
        step, path = in_air.step, self._reservation_of(in_air.step)
        if path is None:
            return
        # One that failed has waited for them, unless its limit left too little for that.
        is_cut_short = now > in_air.began_at + step.limit_s - path.drain_s
        if outcome in (StepOutcome.DONE, StepOutcome.NOT_BEGUN) or not is_cut_short:
            former = () if outcome is StepOutcome.DONE else in_air.former
            for name in step.services:
                self.draining.pop(name, None)
            self.draining.update(former)

    def _end_shot(
        self, step: FenceStep, event: FenceStepEnded, is_seen_on: bool, now: float
    ) -> PlanEnd:
        level = self._policy.levels[self._level]
        path = level[len(self._parts)]
        is_done = event.outcome is StepOutcome.DONE
        if is_done and (path.kind is not PathKind.POWER or is_seen_on):
            self._parts += (_proof_of(path, step, event, now),)
            self._skip_idle_paths(level, now)
            if len(self._parts) == len(level):
                self.proofs += (_joined(self._parts),)
                self._level, self._parts = self._level + 1, ()
        else:
            text = event.text
            if is_done:
                # A wrong address is the commonest lie: this may be any machine that is off.
                text = f"{text}; {NEVER_SEEN_ON}"
                self.hints += (Hint(f"{path.name}: {text}"),)
            self._reasons += (f"{path.name}: {text}",)
            self._level, self._parts = self._level + 1, ()
        return self.continue_round(now)

    def continue_round(self, now: float) -> PlanEnd:
        """Return what becomes of the round after a step, or after the wait for the lease."""
        path = self._next_path(now) if self._uncovered(now) else None
        self.is_idle = path is None
        if not self._uncovered(now):
            self._end_round()
            self.proofs = tuple(
                proof for proof in self.proofs if now < proof.at + timing.PROOF_LIFE_S
            )
            self.failures, self.retry_at = 0, -math.inf
            return PlanEnd.CONTINUES
        return PlanEnd.CONTINUES if path or self.waits_for_lease else self.fail_round(now)

    def fail_round(self, now: float) -> PlanEnd:
        """End a round that has no further path."""
        return self._fail(self._reasons or ("no path serves it",), now)

    def _fail(self, reasons: tuple[str, ...], now: float) -> PlanEnd:
        self._end_round()
        self.failure = "; ".join(reasons)
        self.failures += 1
        retry_s = self._policy.retry_s * 2.0 ** min(self.failures - 1, 10)
        self.retry_at = now + min(retry_s, timing.FENCE_RETRY_MAX_S)
        return PlanEnd.FAILED

    def _end_round(self) -> None:
        self.is_in_round = self._has_won = self.waits_for_lease = self.is_idle = False
        self._level, self._parts = 0, ()

    # --- what puts the silence in question --------------------------------------------------------

    def void(self) -> None:
        """Void the proofs and the round; a step in the air will prove nothing."""
        self.proofs, self.lease = (), LeaseSight()
        self._end_round()
        if self.in_air is not None:
            self.in_air = replace(self.in_air, is_void=True)

    def forget(self) -> None:
        """Forget the former silence: the peer is heard."""
        self.void()
        self.lost_to, self.hints, self.failure = "", (), ""
        self.failures, self.retry_at = 0, -math.inf


NEVER_SEEN_ON = "it was never seen ON while the peer was heard, so its OFF proves nothing"
_NOTHING = Proof(ProofKind.RESERVATION, Scope.DATA, frozenset(), 0.0, "")
"""A path of a level that had nothing to do."""


def _needs_data_only(svc: ServiceSpec) -> bool:
    # Without reservations there is nothing that a reservation could have taken from the peer.
    return svc.fence_needs is FenceNeeds.DATA and svc.has_reserved_data


def _is_sufficient(proof: Proof, svc: ServiceSpec) -> bool:
    if proof.scope is Scope.NODE:
        return proof.covers_service(svc.name)
    return _needs_data_only(svc) and proof.covers_service(svc.name)


def _proof_of(path: FencePath, step: FenceStep, event: FenceStepEnded, now: float) -> Proof:
    kind, name = path.kind.value, path.name
    text = f"{kind}: {event.text}" if name == kind else f"{kind}: {name} {event.text}"
    if path.kind is not PathKind.RESERVATION:
        return Proof(_PROOF_KINDS[path.kind], Scope.NODE, None, now, text)
    # It holds the disks of those who waited when it was ordered, and of no other service.
    covers = frozenset(step.services)
    covers = covers if event.covers is None else covers & event.covers
    return Proof(ProofKind.RESERVATION, Scope.DATA, covers, now, text)


def _joined(parts: tuple[Proof, ...]) -> Proof:
    """Return what all paths of a level prove together."""
    real = [part for part in parts if part is not _NOTHING]
    text, at = " and ".join(part.text for part in real), min(part.at for part in real)
    for part in real:
        if part.scope is Scope.NODE:
            return replace(part, text=text, at=at)
    covers = frozenset.intersection(*(part.covers or frozenset() for part in real))
    return replace(real[0], covers=covers, text=text, at=at)
