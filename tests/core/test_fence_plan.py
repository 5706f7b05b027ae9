"""The plan of a node by itself: which step comes next, what an end means, what is remembered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.actions import FenceStep, Record, RecordKind, StepKind
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import (
    ConfigChanged,
    Ejected,
    FencePathsLooked,
    FenceStepEnded,
    PathLook,
    PathState,
    Readmitted,
    StepOutcome,
)
from opensvc_openha.core.fence_paths import FencePaths
from opensvc_openha.core.fence_plan import NEVER_SEEN_ON, FencePlan, PlanEnd, PlanState
from opensvc_openha.core.fencing import Fencing
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.lease_view import LeaseSight
from opensvc_openha.core.model import (
    ClusterSpec,
    FenceNeeds,
    FencePath,
    FencingPolicy,
    LinkSpec,
    PathKind,
    ServiceSpec,
)
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.plan_desk import PlanDesk
from opensvc_openha.core.proof import Proof, ProofKind, Scope
from opensvc_openha.core.timing import (
    CLAIM_LIMIT_S,
    FENCE_RETRY_MAX_S,
    PROOF_LIFE_S,
    STEP_AGAIN_S,
    STEP_GRACE_S,
)
from tests.core.plans import CALL, DISKS, IPMI, PDU, PlanPair

NODE = ServiceSpec("files", "/etc/files", "deb1", "deb2", "/bin/true")
DATA = ServiceSpec(
    "registry",
    "/etc/registry",
    "deb1",
    "deb2",
    "/bin/true",
    fence_needs=FenceNeeds.DATA,
    has_reserved_data=True,
)
MORE_DISKS = FencePath("more", PathKind.RESERVATION, 40.0)


def _plan(*levels: tuple[FencePath, ...], has_arbiter: bool = False) -> FencePlan:
    return FencePlan(FencingPolicy(levels=levels, has_arbiter=has_arbiter, retry_s=10.0))


def _order(plan: FencePlan, now: float = 0.0) -> FenceStep:
    step = plan.order_step(now)
    assert step is not None
    return step


def _end(
    plan: FencePlan,
    outcome: StepOutcome,
    text: str = "text",
    covers: frozenset[str] | None = None,
    now: float = 1.0,
    is_seen_on: bool = True,
) -> PlanEnd:
    assert plan.in_air is not None
    event = FenceStepEnded(plan.in_air.step.number, outcome, text, covers=covers)
    return plan.end_step(event, is_seen_on, now)


def test_states_of_a_plan() -> None:
    """From IDLE through the claim and the shot to each end."""
    plan = _plan((IPMI,), has_arbiter=True)
    states = [plan.state]
    plan.join(NODE)
    plan.begin_round()
    states.append(plan.state)
    _order(plan)
    states.append(plan.state)
    assert _end(plan, StepOutcome.DONE) is PlanEnd.CONTINUES
    step = _order(plan)
    states.append(plan.state)
    assert (step.kind, step.path, step.level, step.limit_s) == (StepKind.SHOOT, "ipmi", 0, 16.0)
    assert _end(plan, StepOutcome.FAILED) is PlanEnd.FAILED
    states.append(plan.state)
    plan.begin_round()
    _order(plan)
    assert _end(plan, StepOutcome.DONE) is PlanEnd.CONTINUES
    _order(plan)
    assert _end(plan, StepOutcome.DONE) is PlanEnd.CONTINUES
    states.append(plan.state)
    plan.void()
    plan.begin_round()
    _order(plan)
    assert _end(plan, StepOutcome.LOST, "deb2 holds it") is PlanEnd.LOST
    states.append(plan.state)
    assert [state.value for state in states] == [
        "idle", "shooting", "claiming", "shooting", "failed", "proved", "lost",
    ]  # fmt: skip
    assert plan.lost_to == "deb2 holds it" and not plan.may_begin(1000.0)
    plan.forget()
    assert plan.state is PlanState.IDLE and plan.may_begin(0.0)


def test_what_voids_the_proofs_voids_the_one_of_the_lease() -> None:
    """Until the next look at the promise."""
    plan = _plan((FencePath("lease", PathKind.LEASE, 0.0),))
    proof = Proof(ProofKind.SELF_FENCED, Scope.NODE, None, 1.0, "self-fenced")
    plan.lease = LeaseSight(proof=proof)
    assert plan.proof_for(NODE, 2.0) is proof and plan.state is PlanState.PROVED
    plan.void()
    assert plan.proof_for(NODE, 2.0) is None and plan.state is PlanState.IDLE


def test_claim_that_is_lost_is_believed_even_if_the_round_is_void() -> None:
    """It is a fact about the arbiter, not about the silence."""
    plan = _plan((IPMI,), has_arbiter=True)
    plan.join(NODE)
    plan.begin_round()
    _order(plan)
    plan.void()
    assert _end(plan, StepOutcome.LOST) is PlanEnd.LOST


def test_arbiter_that_could_not_be_asked_gives_no_right() -> None:
    """The claim is a step without a level, with a limit of its own; its failure ends the round."""
    plan = _plan((IPMI,), has_arbiter=True)
    plan.join(NODE)
    plan.begin_round()
    claim = _order(plan)
    assert (claim.level, claim.limit_s, claim.path) == (-1, CLAIM_LIMIT_S, "")
    assert _end(plan, StepOutcome.UNABLE, "no answer") is PlanEnd.FAILED
    assert not plan.is_in_round and plan.failure == "claim: no answer"
    plan.begin_round()
    assert _order(plan).kind is StepKind.CLAIM
    assert _end(plan, StepOutcome.LOST) is PlanEnd.LOST and not plan.is_in_round


def test_switch_that_was_never_seen_on_proves_nothing_and_is_a_hint() -> None:
    """Of a device; a script's word is taken as it is."""
    plan = _plan((IPMI,), (CALL,))
    plan.join(NODE)
    plan.begin_round()
    _order(plan)
    assert _end(plan, StepOutcome.DONE, "off", is_seen_on=False) is PlanEnd.CONTINUES
    assert plan.proofs == () and [hint.text for hint in plan.hints] == [
        f"ipmi: off; {NEVER_SEEN_ON}"
    ]
    _order(plan)
    assert _end(plan, StepOutcome.FAILED, "no") is PlanEnd.FAILED
    assert plan.failure == f"ipmi: off; {NEVER_SEEN_ON}; call: no"
    plan.begin_round()
    assert not plan.hints
    _order(plan)
    assert plan.in_air is not None
    ended = FenceStepEnded(plan.in_air.step.number, StepOutcome.FAILED, "no", hints=("a", "b"))
    assert plan.end_step(ended, True, 2.0) is PlanEnd.CONTINUES
    assert [hint.text for hint in plan.hints] == ["a", "b"]
    _order(plan)
    assert _end(plan, StepOutcome.DONE, is_seen_on=False) is PlanEnd.CONTINUES
    assert plan.proof_for(NODE, 2.0) is not None


def test_one_level_that_serves_a_service_is_enough() -> None:
    """In whatever order; a level of reservations alone serves those that need their data."""
    assert _plan((DISKS,), (CALL,)).can_prove(NODE) and _plan((CALL,), (DISKS,)).can_prove(NODE)
    assert not _plan((DISKS, MORE_DISKS)).can_prove(NODE)
    assert _plan((DISKS, MORE_DISKS)).can_prove(DATA) and not _plan().can_prove(DATA)
    assert _plan((IPMI,)).failure == ""


def test_shot_that_reports_lost_has_failed() -> None:
    """Only a claim can be lost."""
    plan = _plan((IPMI,), (PDU,))
    plan.join(NODE)
    plan.begin_round()
    _order(plan)
    assert _end(plan, StepOutcome.LOST, "conflict") is PlanEnd.CONTINUES
    assert plan.lost_to == "" and _order(plan).path == "pdu"


def test_waits_after_failures_double_up_to_the_limit() -> None:
    """10, 20, 40, 50 ... and a success starts over."""
    plan = _plan((IPMI,))
    plan.join(NODE)
    waits = []
    for _ in range(6):
        plan.begin_round()
        _order(plan)
        assert _end(plan, StepOutcome.FAILED, now=100.0) is PlanEnd.FAILED
        waits.append(plan.retry_at - 100.0)
    assert waits == [10.0, 20.0, 40.0, FENCE_RETRY_MAX_S, FENCE_RETRY_MAX_S, FENCE_RETRY_MAX_S]
    assert not plan.may_begin(149.9) and plan.may_begin(150.0)
    plan.begin_round()
    _order(plan)
    assert _end(plan, StepOutcome.DONE) is PlanEnd.CONTINUES and plan.failures == 0


def test_step_that_was_not_begun_is_no_failure_and_no_proof() -> None:
    """The round is over, and another one may begin after a moment."""
    plan = _plan((IPMI,))
    plan.join(NODE)
    plan.begin_round()
    _order(plan)
    assert _end(plan, StepOutcome.NOT_BEGUN, now=5.0) is PlanEnd.VOID
    assert (plan.failures, plan.retry_at) == (0, 5.0 + STEP_AGAIN_S)
    assert not plan.is_in_round


def test_reservation_covers_the_services_whose_disks_it_took() -> None:
    """Of those who waited when it was ordered, and that the end names."""
    plan = _plan((DISKS,), (CALL,))
    plan.join(DATA)
    plan.begin_round()
    step = _order(plan)
    assert step.services == ("registry",)
    plan.join(NODE)
    assert _end(plan, StepOutcome.DONE, covers=frozenset({"registry", "files"})) is (
        PlanEnd.CONTINUES
    )
    proof = plan.proof_for(DATA, 1.0)
    assert proof is not None and proof.covers == frozenset({"registry"})
    assert (proof.kind, proof.scope) == (ProofKind.RESERVATION, Scope.DATA)
    assert plan.proof_for(NODE, 1.0) is None
    assert _order(plan).services == ("files",)


def test_reservation_that_names_nobody_covers_nobody() -> None:
    """The next level is tried."""
    plan = _plan((DISKS,), (CALL,))
    plan.join(DATA)
    plan.begin_round()
    _order(plan)
    assert _end(plan, StepOutcome.DONE, covers=frozenset()) is PlanEnd.CONTINUES
    assert plan.proof_for(DATA, 1.0) is None and _order(plan).path == "call"


def test_two_reservations_of_a_level_cover_what_both_took() -> None:
    """All paths of a level must succeed for a service."""
    other = ServiceSpec(
        "mail", "/m", "deb1", "deb2", "/bin/true", fence_needs=FenceNeeds.DATA,
        has_reserved_data=True,
    )  # fmt: skip
    plan = _plan((DISKS, MORE_DISKS))
    plan.join(DATA)
    plan.join(other)
    plan.begin_round()
    _order(plan)
    assert _end(plan, StepOutcome.DONE) is PlanEnd.CONTINUES
    assert plan.proof_for(DATA, 1.0) is None
    _order(plan)
    assert _end(plan, StepOutcome.DONE, covers=frozenset({"mail"})) is PlanEnd.FAILED
    assert plan.proof_for(other, 1.0) is not None and plan.proof_for(DATA, 1.0) is None


def test_barrier_beside_a_shot_makes_the_proof_one_of_the_node() -> None:
    """`call + reservation`: the script's word and the disks; the kind is the script's."""
    plan = _plan((DISKS, CALL))
    plan.join(DATA)
    plan.join(NODE)
    plan.begin_round()
    assert _order(plan).services == ("registry",)
    assert _end(plan, StepOutcome.DONE) is PlanEnd.CONTINUES
    assert _order(plan).services == ("files", "registry")
    assert _end(plan, StepOutcome.DONE) is PlanEnd.CONTINUES
    proof = plan.proof_for(NODE, 1.0)
    assert proof is not None and (proof.kind, proof.covers) == (ProofKind.SCRIPT, None)
    assert proof.text == "reservation: text and callout: call text"


def test_data_without_reservations_is_not_enough() -> None:
    """A service that asks for data only, and has no reserved disk, needs the node."""
    bare = ServiceSpec("bare", "/b", "deb1", "deb2", "/bin/true", fence_needs=FenceNeeds.DATA)
    assert not _plan((DISKS,)).can_prove(bare) and _plan((DISKS,)).can_prove(DATA)
    assert _plan((DISKS, IPMI)).can_prove(bare)


def test_round_without_a_further_path_has_failed() -> None:
    """The service that the last level was for does not wait any more."""
    plan = _plan((CALL,), (DISKS,))
    plan.join(DATA)
    plan.join(NODE)
    plan.begin_round()
    _order(plan)
    assert _end(plan, StepOutcome.FAILED, "no") is PlanEnd.CONTINUES
    plan.leave("registry")
    assert plan.order_step(2.0) is None
    assert plan.fail_round(2.0) is PlanEnd.FAILED and plan.failure == "call: no"
    assert plan.fail_round(2.0) is PlanEnd.FAILED


def test_level_is_left_half_way_if_nobody_waits_for_its_rest() -> None:
    """The disks were to be taken for a service that does not wait any more."""
    plan = _plan((CALL, DISKS))
    plan.join(DATA)
    plan.join(NODE)
    plan.begin_round()
    _order(plan)
    assert _end(plan, StepOutcome.DONE) is PlanEnd.CONTINUES
    plan.leave("registry")
    assert plan.order_step(2.0) is None


def test_step_is_given_up_some_time_after_its_limit() -> None:
    """The daemon that ends it at its limit has to report that first."""
    desk = _desk()
    desk.plan.join(NODE)
    desk.plan.begin_round()
    assert desk.overdue_step(1e9) is None
    desk.order_step(100.0)
    due = 100.0 + IPMI.limit_s + STEP_GRACE_S
    assert desk.plan.in_air is not None and desk.plan.in_air.gives_up_at == due
    assert desk.overdue_step(due - 0.1) is None
    overdue = desk.overdue_step(due)
    assert overdue is not None
    assert (overdue.number, overdue.outcome) == (1, StepOutcome.FAILED)


def test_reservation_is_not_enough_for_a_reserved_service_that_needs_the_node() -> None:
    """Its disks are taken, and its address may still be up there."""
    both = ServiceSpec("both", "/b", "deb1", "deb2", "/bin/true", has_reserved_data=True)
    plan = _plan((DISKS,), (CALL,))
    plan.join(DATA)
    plan.join(both)
    plan.begin_round()
    assert _order(plan).services == ("both", "registry")
    assert _end(plan, StepOutcome.DONE) is PlanEnd.CONTINUES
    assert plan.proof_for(both, 1.0) is None and plan.proof_for(DATA, 1.0) is not None


def test_end_of_another_step_leaves_the_one_in_the_air() -> None:
    """It was given up, and reports late."""
    desk = _desk()
    desk.plan.join(NODE)
    desk.plan.begin_round()
    assert desk.order_step(1.0)
    assert desk.end_step(FenceStepEnded(99, StepOutcome.DONE, "off"), 2.0) == (PlanEnd.VOID, [])
    assert desk.plan.in_air is not None


def test_last_one_who_leaves_ends_the_round() -> None:
    """What is in the air proves nothing for whoever comes later."""
    plan = _plan((CALL,))
    plan.join(NODE)
    plan.begin_round()
    _order(plan)
    plan.leave("nobody")
    assert plan.is_in_round
    plan.leave("files")
    assert not plan.is_in_round and not plan.may_begin(10.0)
    plan.leave("files")
    assert _end(plan, StepOutcome.DONE) is PlanEnd.VOID and plan.proofs == ()


def test_edited_levels_void_the_round_and_other_edits_do_not() -> None:
    """An index into the former levels would mean another path."""
    plan = _plan((CALL,))
    plan.join(NODE)
    plan.begin_round()
    _order(plan)
    plan.reconfigure(FencingPolicy(levels=((CALL,),), retry_s=30.0))
    assert plan.is_in_round
    plan.reconfigure(FencingPolicy(levels=((PDU,),)))
    assert not plan.is_in_round and _end(plan, StepOutcome.DONE) is PlanEnd.VOID


def test_looks_at_unknown_paths_and_in_silence_report_nothing() -> None:
    """Only what is seen while the peer is heard counts."""
    policy = FencingPolicy(levels=((IPMI,), (PDU,)))
    paths = FencePaths(policy, ())
    on = PathLook("ipmi", PathState.ARMED, "on", "ON", 0.2)
    paths.record_looks((on, PathLook("other", PathState.ARMED, "on")), is_heard=False, now=1.0)
    assert paths.seen_on == () and paths.statuses()[0].looked_at == 1.0
    nothing = PathLook("ipmi", PathState.UNREACHABLE, "", "no answer")
    paths.record_looks((on, nothing), is_heard=True, now=2.0)
    assert paths.seen_on == ("ipmi 10.10.0.11",)
    shown = paths.statuses()
    assert [(each.name, each.level, each.state, each.limit_s) for each in shown] == [
        ("ipmi", 0, "unreachable", 16.0),
        ("pdu", 1, "untested", 16.0),
    ]


def test_edited_path_must_be_seen_on_again() -> None:
    """Another address may be another machine's."""
    paths = FencePaths(FencingPolicy(levels=((IPMI,),)), ("ipmi 10.10.0.11", "gone "))
    paths.record_looks((PathLook("ipmi", PathState.WRONG, "off"),), is_heard=True, now=1.0)
    paths.reconfigure(FencingPolicy(levels=((IPMI,),)))
    assert paths.seen_on == ("ipmi 10.10.0.11",) and paths.is_seen_on("ipmi")
    paths.record_heard(100.0, 10.0)
    assert paths.wrong == ("ipmi",)
    paths.record_looks((PathLook("ipmi", PathState.ARMED, "on"),), is_heard=True, now=101.0)
    paths.record_looks((PathLook("ipmi", PathState.ARMED, "off"),), is_heard=True, now=102.0)
    edited = FencingPolicy(levels=((FencePath("ipmi", PathKind.POWER, 16.0),),))
    paths.reconfigure(edited)
    assert paths.seen_on == () and not paths.is_seen_on("ipmi")
    paths.record_heard(200.0, 10.0)
    paths.reconfigure(FencingPolicy(levels=((IPMI,),)))
    assert paths.wrong == ()


def test_device_that_reports_on_again_is_believed_again() -> None:
    """OFF for a moment, then ON, the peer being heard all the time."""
    paths = FencePaths(FencingPolicy(levels=((IPMI,),)), ("ipmi 10.10.0.11",))
    for power, at in (("off", 1.0), ("on", 5.0)):
        paths.record_looks((PathLook("ipmi", PathState.ARMED, power),), is_heard=True, now=at)
    paths.record_heard(20.0, 10.0)
    assert paths.is_seen_on("ipmi")
    paths.record_looks((PathLook("ipmi", PathState.WRONG, "off"),), is_heard=True, now=30.0)
    paths.record_looks((PathLook("ipmi", PathState.WRONG, "off"),), is_heard=True, now=38.0)
    paths.record_heard(39.9, 10.0)
    assert paths.is_seen_on("ipmi")
    paths.record_heard(40.0, 10.0)
    assert not paths.is_seen_on("ipmi")


def test_no_step_is_ordered_while_the_peer_is_not_silent() -> None:
    """The last guard before what cannot be undone, whatever the rules have left waiting."""
    spec = ClusterSpec("deb2", "deb1", (), (NODE,), fencing=FencingPolicy(levels=((IPMI,),)))
    desk, view = Fencing(spec, FencingMemory(has_heard=True), 0.0), PeerView(BootId(1, 1))
    desk.desk.plan.join(NODE)
    for is_in_round in (False, True):
        if is_in_round:
            desk.desk.plan.begin_round()
        view.judge(True, None, 1.0)
        assert desk.order_step(view, 1.0) == []
    view.judge(False, 1.0, 2.0)
    assert len(desk.order_step(view, 2.0)) == 2


def _shown(paths: FencePaths) -> tuple[str, str]:
    """State and text of the first path."""
    first = paths.statuses()[0]
    return first.state, first.text


def test_what_the_looks_at_a_device_mean() -> None:
    """Armed once it was on while the peer was heard; wrong once it said off and the peer lived."""
    paths = FencePaths(FencingPolicy(levels=((IPMI,),)), (), "deb1")
    off, on = (PathLook("ipmi", PathState.ARMED, power, power) for power in ("off", "on"))
    silent = PathLook("ipmi", PathState.ARMED, "", "OFF; no proof")
    dead = PathLook("ipmi", PathState.UNREACHABLE, "", "no answer")
    assert _shown(paths) == ("untested", "")
    paths.record_looks((silent,), is_heard=False, now=1.0)
    assert _shown(paths) == ("untested", "OFF; no proof; it was never ON while deb1 was heard")
    paths.record_looks((on,), is_heard=True, now=2.0)
    paths.record_looks((off,), is_heard=True, now=3.0)
    assert _shown(paths) == ("armed", "off") and paths.wrong == ()
    paths.record_heard(13.0, 10.0)
    wrong = "it said OFF while deb1 was heard: this is not its power. Correct the address"
    assert _shown(paths) == ("wrong", wrong) and paths.wrong == ("ipmi",)
    paths.record_looks((dead,), is_heard=True, now=14.0)
    assert _shown(paths) == ("unreachable", "no answer")
    paths.record_looks((silent,), is_heard=False, now=15.0)
    assert _shown(paths) == ("wrong", f"OFF; no proof; {wrong}")
    paths.record_looks((on,), is_heard=True, now=16.0)
    assert _shown(paths) == ("armed", "on") and paths.wrong == ()


def test_device_that_was_off_before_a_silence_may_have_been_right() -> None:
    """The peer lost its power, and is heard again once it has booted."""
    paths = FencePaths(FencingPolicy(levels=((IPMI,),)), ("ipmi 10.10.0.11",))
    paths.record_looks((PathLook("ipmi", PathState.ARMED, "off"),), is_heard=True, now=1.0)
    paths.record_silence()
    paths.record_heard(100.0, 10.0)
    assert paths.is_seen_on("ipmi") and paths.wrong == ()


def test_path_of_an_edited_plan_is_shown_and_known_by_its_own_name() -> None:
    """What was known of one that was taken out is forgotten, also if it is put in again."""
    paths = FencePaths(FencingPolicy(levels=((IPMI,),)), ("ipmi 10.10.0.11",))
    paths.record_looks((PathLook("ipmi", PathState.ARMED, "off", "off"),), is_heard=True, now=1.0)
    paths.record_heard(20.0, 10.0)
    assert paths.wrong == ("ipmi",)
    paths.reconfigure(FencingPolicy(levels=((PDU,),)))
    assert [each.name for each in paths.statuses()] == ["pdu"] and paths.wrong == ()
    paths.reconfigure(FencingPolicy(levels=((PDU,), (IPMI,))))
    assert [(each.state, each.text) for each in paths.statuses()] == [("untested", "")] * 2
    assert paths.wrong == ()
    paths.record_looks((PathLook("pdu", PathState.ARMED, "on", "on"),), is_heard=True, now=30.0)
    assert paths.is_seen_on("pdu") and not paths.is_seen_on("ipmi")
    paths.reconfigure(FencingPolicy(levels=((PDU,),)))
    assert paths.statuses()[0].state == "armed", "what stays is known"


def test_state_of_disks_is_that_of_the_look() -> None:
    """Nothing is asked for the peer's power there."""
    paths = FencePaths(FencingPolicy(levels=((DISKS,),)), ())
    for state in (PathState.ARMED, PathState.WRONG):
        paths.record_looks((PathLook("reservation", state, "", "text"),), is_heard=True, now=1.0)
        assert _shown(paths) == (state.value, "text")


def _desk(memory: FencingMemory = FencingMemory(), fence_time_s: float | None = None) -> PlanDesk:
    slow = FencePath("slow", PathKind.CALLOUT, 30.0, expected_s=4.0)
    policy = FencingPolicy(levels=((IPMI,), (slow,)))
    spec = ClusterSpec("deb2", "deb1", (), (NODE,), fencing=policy, fence_time_s=fence_time_s)
    return PlanDesk(spec, memory, 0.0)


def test_longest_step_is_as_declared_measured_or_limited() -> None:
    """The turns of both nodes are made of it."""
    assert _desk().longest_s({}) == 16.0
    assert _desk().longest_s({"path ipmi": 2.5}) == 4.0
    assert _desk().longest_s({"path ipmi": 2.5, "path slow": 6.0}) == 6.0
    assert _desk(fence_time_s=3.0).longest_s({"path slow": 6.0}) == 6.0
    assert _desk(fence_time_s=3.0).longest_s({}) == 3.0
    assert _desk(fence_time_s=0.5).longest_s({}) == 0.5
    bare = PlanDesk(ClusterSpec("deb2", "deb1", (), ()), FencingMemory(), 0.0)
    assert bare.longest_s({}) is None


def test_desk_follows_an_edited_configuration() -> None:
    """Names, limits and paths."""
    desk = _desk()
    policy = FencingPolicy(levels=((PDU,),), has_arbiter=True)
    desk.reconfigure(ClusterSpec("deb2", "deb9", (), (NODE,), fencing=policy, fence_time_s=7.0))
    assert [each.name for each in desk.paths.statuses()] == ["pdu"]
    assert desk.longest_s({}) == 7.0 and desk.has_arbiter
    desk.plan.lost_to = "it"
    assert desk.ejector == "deb9 has the right to fence"
    desk.reconfigure(ClusterSpec("deb2", "deb9", (), (), fencing=FencingPolicy(has_arbiter=True)))
    assert not desk.has_arbiter, "without levels there is nothing to claim for"


def test_service_that_no_level_serves_and_node_that_lost_its_right_have_no_round() -> None:
    """A reservation alone proves nothing for a service that needs the node."""
    spec = ClusterSpec("deb2", "deb1", (), (NODE,), fencing=FencingPolicy(levels=((DISKS,),)))
    desk = PlanDesk(spec, FencingMemory(), 0.0)
    assert not desk.serves(NODE) and desk.serves(DATA)
    desk.eject("deb1")
    assert not desk.serves(DATA)


def test_ejection_ends_the_round_and_voids_its_proofs() -> None:
    """What is in the air proves nothing any more."""
    desk = _desk()
    desk.plan.join(NODE)
    desk.plan.begin_round()
    desk.order_step(1.0)
    (record,) = desk.eject("deb1")
    assert isinstance(record, Record)
    assert (record.kind, record.name, record.is_alarm) == (RecordKind.NODE, "deb2", True)
    assert not desk.plan.is_in_round
    end, _ = desk.end_step(FenceStepEnded(1, StepOutcome.DONE, "off"), 2.0)
    assert end is PlanEnd.VOID and desk.plan.proofs == ()


def test_record_of_a_step_names_what_it_proved_and_no_earlier_proof() -> None:
    """Its hints, too; as an alarm about the peer."""
    policy = FencingPolicy(levels=((DISKS,), (CALL,)))
    desk = PlanDesk(
        ClusterSpec("deb2", "deb1", (), (NODE, DATA), fencing=policy), FencingMemory(), 0.0
    )
    desk.plan.join(NODE)
    desk.plan.join(DATA)
    desk.plan.begin_round()
    texts = []
    for number, text in ((1, "2 disks"), (2, "done")):
        begun = desk.order_step(float(number))[1]
        event = FenceStepEnded(number, StepOutcome.DONE, text, hints=(f"hint {number}",))
        (ended,) = desk.end_step(event, number + 0.5)[1]
        for record in (begun, ended):
            assert isinstance(record, Record)
            assert (record.kind, record.name, record.is_alarm) == (RecordKind.PEER, "deb1", True)
            texts.append(record.reason)
    assert texts == [
        "reservation begins, for registry",
        "reservation: done: 2 disks; proof DATA: reservation: 2 disks; hint: hint 1",
        "call begins, for files",
        "call: done: done; proof NODE: callout: call done; hint: hint 2",
    ]
    for at, count in ((1.5 + PROOF_LIFE_S - 0.1, 2), (1.5 + PROOF_LIFE_S, 1)):
        assert len(desk.proof_statuses(at)) == count


def test_device_is_mistrusted_after_the_longest_timeout_of_a_link() -> None:
    """At once where there is none: then nothing is waited for."""
    links = tuple(
        LinkSpec("deb1", "net", f"eth{number}", "239.0.0.1", 5000 + number, 0, timeout_s)
        for number, timeout_s in enumerate((3.0, 20.0))
    )
    for listened, early, late in ((links, 22.9, 23.0), ((), None, 3.0)):
        spec = ClusterSpec(
            "deb2", "deb1", listened, (NODE,), fencing=FencingPolicy(levels=((IPMI,),))
        )
        desk = PlanDesk(spec, FencingMemory(seen_on=("ipmi 10.10.0.11",)), 0.0)
        off = FencePathsLooked((PathLook("ipmi", PathState.ARMED, "off"),))
        desk.record_looks(off, is_heard=True, now=3.0)
        if early is not None:
            desk.record_heard(early)
            assert desk.paths.is_seen_on("ipmi")
        desk.record_heard(late)
        assert not desk.paths.is_seen_on("ipmi")


def test_end_of_a_step_that_is_not_in_the_air_means_nothing() -> None:
    """Of an earlier round, or given up."""
    desk = _desk()
    assert desk.end_step(FenceStepEnded(1, StepOutcome.DONE, "off"), 1.0) == (PlanEnd.VOID, [])
    assert desk.explain(1.0) == "" and desk.overdue_step(1e9) is None


@pytest.mark.parametrize("memory", [FencingMemory(ejected_by="deb1"), FencingMemory(lost_to="x")])
def test_ejection_is_remembered_and_ends_with_the_readmission(memory: FencingMemory) -> None:
    """By either way; a second one is no news."""
    desk = _desk(memory)
    assert desk.ejector and not desk.serves(NODE)
    (record,) = desk.readmit()
    assert (
        isinstance(record, Record)
        and record.new == "READMITTED"
        and desk.readmit() == []
        and desk.ejector == ""
    )


def test_ejection_by_nobody_known_and_without_a_plan() -> None:
    """A plan that was taken out of the configuration ejects nobody."""
    desk = _desk()
    (record,) = desk.eject("")
    assert isinstance(record, Record) and record.reason.startswith("by somebody:")
    assert desk.ejector == "this node was ejected by somebody"
    desk.reconfigure(ClusterSpec("deb2", "deb1", (), (NODE,)))
    assert desk.ejector == ""


def test_node_without_a_plan_takes_the_events_for_nothing() -> None:
    """A daemon that reads an edited configuration a moment later than its watch."""
    pair = PlanPair()
    pair.fencing = FencingPolicy()
    pair.boot()
    pair.run(3)
    engine = pair.deb1.engine
    assert engine is not None
    for event in (
        FenceStepEnded(7, StepOutcome.DONE, "off"),
        FencePathsLooked((PathLook("ipmi", PathState.ARMED, "on"),)),
        Readmitted(),
        Ejected("deb2"),
    ):
        pair.deb1.handle(pair.deb1.life, event)
    assert engine.snapshot(pair.now).fencing.plan == () and engine.may_register


def test_plan_that_is_edited_while_the_daemon_runs() -> None:
    """Its paths are shown at once."""
    pair = PlanPair()
    pair.boot()
    pair.run(3)
    engine = pair.deb1.engine
    assert engine is not None
    spec = replace(engine.spec, fencing=FencingPolicy(levels=((PDU,), (IPMI,))))
    pair.deb1.handle(pair.deb1.life, ConfigChanged(spec))
    assert engine.snapshot(pair.now).fencing.plan == (("pdu",), ("ipmi",))


SELF_FENCED = Proof(ProofKind.SELF_FENCED, Scope.NODE, None, 0.5, "silent for 12 s")
PROMISE = FencePath("promise", PathKind.LEASE, 0.0)


@pytest.mark.parametrize("path, is_proved", [(CALL, False), (DISKS, True)])
def test_step_that_ends_after_the_promise_has_proved_the_peer_out(
    path: FencePath, is_proved: bool
) -> None:
    """It is a proof too if nothing of its level is left to do, and not without the rest of it."""
    plan = _plan((IPMI, path), (PROMISE,))
    plan.lease = LeaseSight("open", is_open=True)
    plan.join(NODE)
    plan.begin_round()
    _order(plan)
    plan.lease = LeaseSight("over", proof=SELF_FENCED)
    assert _end(plan, StepOutcome.DONE, "off") is PlanEnd.CONTINUES
    proof = Proof(ProofKind.POWER, Scope.NODE, None, 1.0, "power: ipmi off")
    assert plan.proofs == ((proof,) if is_proved else ())


def test_level_that_covers_some_of_those_who_wait_is_one_proof() -> None:
    """The round continues for the others."""
    other = replace(DATA, name="other")
    plan = _plan((DISKS,), (IPMI,))
    plan.join(DATA)
    plan.join(other)
    plan.begin_round()
    _order(plan)
    assert _end(plan, StepOutcome.DONE, covers=frozenset({"registry"})) is PlanEnd.CONTINUES
    assert [proof.covers for proof in plan.proofs] == [frozenset({"registry"})]
    assert _order(plan).path == "ipmi"


def test_end_of_a_round_drops_the_proofs_that_hold_no_more() -> None:
    """Nothing else does, and they are many in a long silence."""
    plan = _plan((IPMI,))
    old, new = replace(SELF_FENCED, at=40.0), replace(SELF_FENCED, at=40.1)
    plan.proofs = (old, new)
    assert plan.continue_round(40.0 + PROOF_LIFE_S) is PlanEnd.CONTINUES
    assert plan.proofs == (new,)
