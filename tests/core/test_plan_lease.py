"""The peer's promise among the paths of a plan: what waits for it, and what is done without it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.actions import StepKind
from opensvc_openha.core.events import FenceStepEnded, StepOutcome
from opensvc_openha.core.fence_plan import FencePlan, PlanEnd, PlanState
from opensvc_openha.core.lease_view import LeaseSight
from opensvc_openha.core.model import (
    FenceNeeds,
    FencePath,
    FencingPolicy,
    PathKind,
    ServiceSpec,
)
from opensvc_openha.core.proof import Proof, ProofKind, Scope
from tests.core.plans import DISKS, IPMI, PDU

LEASE = FencePath("promise", PathKind.LEASE, 0.0)
NODE = ServiceSpec("files", "/etc/files", "deb1", "deb2", "/bin/true")
DATA = replace(NODE, name="registry", fence_needs=FenceNeeds.DATA, has_reserved_data=True)
PROOF = Proof(ProofKind.SELF_FENCED, Scope.NODE, None, 1.0, "self-fenced")
CLOSED = LeaseSight("it cannot be read", True, True)
OPEN = replace(CLOSED, ends_at=20.0, is_open=True)
PROLONGED = replace(OPEN, is_prolonged=True)
PROVED = replace(CLOSED, proof=PROOF)
Levels = tuple[tuple[FencePath, ...], ...]


def a_plan(*levels: tuple[FencePath, ...], has_arbiter: bool = False) -> FencePlan:
    return FencePlan(FencingPolicy(levels=levels, has_arbiter=has_arbiter, retry_s=10.0))


def begun(
    *levels: tuple[FencePath, ...], sight: LeaseSight, has_arbiter: bool = False
) -> FencePlan:
    """A round for one service that needs the node out."""
    plan = a_plan(*levels, has_arbiter=has_arbiter)
    plan.lease = sight
    plan.join(NODE)
    plan.begin_round()
    return plan


def end(plan: FencePlan, outcome: StepOutcome) -> PlanEnd:
    assert plan.in_air is not None
    event = FenceStepEnded(plan.in_air.step.number, outcome, "text")
    return plan.end_step(event, True, 1.0)


def ordered(plan: FencePlan) -> str | None:
    """Order the next step; return its path."""
    step = plan.order_step(0.0)
    assert plan.is_idle is (step is None)
    return None if step is None else step.path


def test_plan_waits_for_nothing_at_first() -> None:
    """Nor is it idle in a round."""
    plan = a_plan((LEASE,))
    assert not plan.waits_for_lease and not plan.is_idle and not plan.is_self_fenced


@pytest.mark.parametrize(
    "levels, is_proved",
    [
        (((LEASE,),), True),
        (((IPMI,), (LEASE,)), True),
        (((IPMI, LEASE),), False),
        (((LEASE, DISKS),), False),
        (((IPMI,),), False),
    ],
)
def test_promise_proves_something_by_itself_where_it_is_a_level(
    levels: Levels, is_proved: bool
) -> None:
    """Not where a level needs more."""
    plan = a_plan(*levels)
    plan.lease = PROVED
    assert (plan.proof_for(NODE, 2.0) is PROOF) is is_proved
    assert plan.is_self_fenced is is_proved
    assert plan.state is (PlanState.PROVED if is_proved else PlanState.IDLE)


@pytest.mark.parametrize(
    "levels, sight, svc, begins",
    [
        (((LEASE,), (IPMI,)), OPEN, NODE, True),
        (((LEASE,), (IPMI,)), CLOSED, NODE, False),
        (((LEASE,), (IPMI,)), PROLONGED, NODE, False),
        (((LEASE,),), PROLONGED, NODE, True),
        (((IPMI,), (LEASE,)), OPEN, NODE, False),
        (((LEASE, IPMI),), PROLONGED, NODE, False),
        (((DISKS,), (LEASE,)), OPEN, NODE, True),
        (((DISKS,), (LEASE,)), OPEN, DATA, False),
        (((DISKS,), (LEASE,)), OPEN, replace(DATA, fence_needs=FenceNeeds.NODE), True),
        (((DISKS, LEASE),), OPEN, NODE, True),
        (((DISKS, LEASE),), OPEN, DATA, False),
        (((LEASE,), (DISKS,)), PROLONGED, NODE, True),
        (((LEASE,), (DISKS,)), PROLONGED, DATA, False),
        ((), OPEN, NODE, False),
    ],
)
def test_round_begins_with_the_wait_where_the_promise_is_the_first_path(
    levels: Levels, sight: LeaseSight, svc: ServiceSpec, begins: bool
) -> None:
    """Of those that serve the service; not one that is renewed, where others can be tried."""
    plan = a_plan(*levels)
    plan.lease = sight
    assert plan.begins_with_lease(svc) is begins


def test_round_waits_for_the_promise_and_goes_on_without_it() -> None:
    """Once it can prove nothing more, which is a reason of the failure."""
    plan = begun((LEASE,), (IPMI,), sight=OPEN)
    assert ordered(plan) is None and plan.waits_for_lease
    assert plan.continue_round(1.0) is PlanEnd.CONTINUES and plan.waits_for_lease and plan.is_idle
    plan.lease = CLOSED
    assert plan.continue_round(1.0) is PlanEnd.CONTINUES
    assert not plan.waits_for_lease and not plan.is_idle
    assert ordered(plan) == "ipmi"
    assert end(plan, StepOutcome.FAILED) is PlanEnd.FAILED
    assert plan.failure == "promise: it cannot be read; ipmi: text"


def test_promise_that_is_renewed_leaves_other_paths_to_be_tried() -> None:
    """It may be so for ever; where there is none, it is waited for."""
    assert ordered(begun((LEASE,), (IPMI,), sight=PROLONGED)) == "ipmi"
    plan = begun((LEASE,), (DISKS,), sight=PROLONGED)
    assert ordered(plan) is None and plan.waits_for_lease


def test_promise_that_is_over_is_a_part_of_its_level() -> None:
    """The rest of it is still to be done; then it proves what the level proves."""
    plan = begun((LEASE, IPMI), sight=PROVED)
    assert ordered(plan) == "ipmi"
    assert end(plan, StepOutcome.DONE) is PlanEnd.CONTINUES
    assert plan.proof_for(NODE, 2.0) is not None and not plan.is_in_round


def test_level_that_ends_with_the_promise_waits_for_it() -> None:
    """And is proved by its end, or failed."""
    for sight, result in ((PROVED, PlanEnd.CONTINUES), (CLOSED, PlanEnd.FAILED)):
        plan = begun((IPMI, LEASE), sight=OPEN)
        assert ordered(plan) == "ipmi"
        assert end(plan, StepOutcome.DONE) is PlanEnd.CONTINUES and plan.waits_for_lease
        assert plan.is_idle and plan.is_in_round
        plan.lease = sight
        assert plan.continue_round(2.0) is result
        assert (plan.proof_for(NODE, 3.0) is not None) is (sight is PROVED)
        assert not plan.waits_for_lease and not plan.is_idle and not plan.is_in_round


def test_nobody_is_asked_for_the_right_to_wait() -> None:
    """A claim takes the peer's, so it is made when there is something to shoot."""
    plan = begun((LEASE,), (IPMI,), sight=OPEN, has_arbiter=True)
    assert ordered(plan) is None and plan.in_air is None
    plan.lease = CLOSED
    step = plan.order_step(0.0)
    assert step is not None and step.kind is StepKind.CLAIM
    plan = begun((LEASE,), sight=CLOSED, has_arbiter=True)
    assert ordered(plan) is None and plan.in_air is None
    assert plan.continue_round(1.0) is PlanEnd.FAILED


def test_last_one_who_leaves_ends_the_wait() -> None:
    """Nothing of it is left for the next round."""
    plan = begun((LEASE,), sight=OPEN)
    assert ordered(plan) is None
    plan.leave("files")
    assert not plan.waits_for_lease and not plan.is_idle and not plan.is_in_round


def test_proof_of_the_promise_ends_the_round() -> None:
    """By itself, at the next look."""
    plan = begun((LEASE,), (IPMI,), sight=OPEN)
    assert ordered(plan) is None
    plan.lease = PROVED
    assert plan.continue_round(2.0) is PlanEnd.CONTINUES
    assert not plan.is_in_round and plan.failures == 0 and plan.state is PlanState.PROVED


def test_disks_are_being_taken_only_by_a_step_that_reserves_those_of_the_service() -> None:
    """Neither by a switch, nor for a service that the step does not name, nor before it."""
    plan = a_plan((DISKS, IPMI), (LEASE,))
    for svc in (DATA, NODE):
        plan.join(svc)
    assert not plan.takes_disks_of(DATA)
    plan.begin_round()
    assert ordered(plan) == DISKS.name
    assert plan.takes_disks_of(DATA) and not plan.takes_disks_of(NODE)
    event = FenceStepEnded(1, StepOutcome.DONE, "text", covers=frozenset({"registry"}))
    assert plan.end_step(event, True, 1.0) is PlanEnd.CONTINUES and not plan.takes_disks_of(DATA)
    assert ordered(plan) == "ipmi"
    assert plan.in_air is not None and "registry" in plan.in_air.step.services
    assert not plan.takes_disks_of(DATA)


@pytest.mark.parametrize(
    ("outcome", "at", "until"),
    [
        (None, 0.0, 60.0),
        (StepOutcome.DONE, 12.0, 0.0),
        (StepOutcome.NOT_BEGUN, 0.0, 0.0),
        (StepOutcome.FAILED, 19.0, 0.0),
        (StepOutcome.FAILED, 21.0, 60.0),
    ],
)
def test_writes_have_time_to_land_on_disks_that_were_taken(
    outcome: StepOutcome | None, at: float, until: float
) -> None:
    """A step whose end is not known, or whose limit has cut its wait short, has waited for nothing.

    One that failed before has, if there was anything to wait for.
    """
    plan = a_plan((replace(DISKS, drain_s=20.0),), (LEASE,))
    for svc in (DATA, NODE):
        plan.join(svc)
    plan.begin_round()
    assert plan.order_step(0.0) is not None
    if outcome is not None:
        plan.end_step(FenceStepEnded(1, outcome, "text"), True, at)
        assert plan.is_draining(DATA, 59.9) is bool(until)
        plan.void()
    assert plan.is_draining(DATA, 59.9) is (outcome is None or bool(until))
    assert not plan.is_draining(NODE, 1.0) and dict(plan.draining) == (
        {DATA.name: until} if until else {}
    )
    assert outcome is None or not plan.is_draining(DATA, 60.0)
    plan.forget_drained(60.0)
    assert not plan.draining


@pytest.mark.parametrize(
    ("outcome", "is_left"),
    [
        (StepOutcome.NOT_BEGUN, True),
        (StepOutcome.FAILED, True),
        (StepOutcome.DONE, False),
    ],
)
def test_step_that_took_no_disk_ends_no_wait_of_a_former_one(
    outcome: StepOutcome, is_left: bool
) -> None:
    """It found disks that have this node's key, and no node to wait for; one that took all has
    waited for everything.
    """
    disks = replace(DISKS, drain_s=60.0, limit_s=90.0)
    plan = FencePlan(FencingPolicy(levels=((disks,),)), [(DATA.name, 300.0)])
    plan.join(DATA)
    plan.begin_round()
    assert plan.order_step(100.0) is not None and plan.draining == {DATA.name: 300.0}
    plan.end_step(FenceStepEnded(1, outcome, "text"), True, 100.1)
    assert plan.is_draining(DATA, 299.0) is is_left and not plan.is_draining(DATA, 300.0)


def test_step_that_was_voided_proves_nothing_in_a_later_round() -> None:
    """It was ordered for another silence."""
    plan = begun((IPMI,), sight=CLOSED)
    assert ordered(plan) == "ipmi"
    plan.void()
    assert plan.in_air is not None and plan.in_air.is_void
    plan.begin_round()
    end(plan, StepOutcome.DONE)
    assert plan.proof_for(NODE, 2.0) is None


def test_proof_of_a_level_is_as_old_as_its_oldest_part() -> None:
    """It holds no longer than that."""
    plan = begun((IPMI, PDU), sight=CLOSED)
    for path, now in (("ipmi", 1.0), ("pdu", 5.0)):
        assert ordered(plan) == path and plan.in_air is not None
        plan.end_step(FenceStepEnded(plan.in_air.step.number, StepOutcome.DONE, path), True, now)
    proof = plan.proof_for(NODE, 6.0)
    assert proof is not None and proof.at == 1.0


def test_plan_forgets_the_silence_when_the_peer_is_heard() -> None:
    """What it has proved, and what has failed."""
    plan = begun((IPMI,), sight=CLOSED)
    ordered(plan)
    end(plan, StepOutcome.DONE)
    assert plan.proof_for(NODE, 2.0) is not None
    plan.forget()
    assert plan.proof_for(NODE, 2.0) is None
    plan.begin_round()
    ordered(plan)
    end(plan, StepOutcome.FAILED)
    assert plan.failures == 1 and not plan.may_begin(2.0)
    plan.forget()
    assert plan.failures == 0 and plan.may_begin(0.0)


def test_round_that_no_path_serves_fails_with_that_reason() -> None:
    """There is no other."""
    plan = begun((DISKS,), sight=CLOSED)
    assert ordered(plan) is None and plan.continue_round(1.0) is PlanEnd.FAILED
    assert plan.failure == "no path serves it"
