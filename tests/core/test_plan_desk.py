"""What the desk of a fence plan makes of the peer's promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from opensvc_openha.core.actions import Record, RecordKind
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import PathState
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.lease_view import LeaseSight
from opensvc_openha.core.model import ClusterSpec, FencePath, FencingPolicy, PathKind, Profile
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.plan_desk import PlanDesk, _state_of
from opensvc_openha.core.proof import Proof, ProofKind, Scope

IPMI = FencePath("ipmi", PathKind.POWER, 16.0)
LEASE = FencePath("promise", PathKind.LEASE, 0.0)
PROOF = Proof(ProofKind.SELF_FENCED, Scope.NODE, None, 100.0, "silent for 12 s")
SIGHT = LeaseSight("", True, True)
VIEW = PeerView(BootId(1, 1))


class Lease:
    """The view of the peer's promise, which is judged as a test has it: one sight each time."""

    def __init__(self, sights: Sequence[LeaseSight], is_configured: bool = True) -> None:
        self.sight, *self._next = sights
        self.is_configured = is_configured
        self.judged: list[tuple[PeerView, float, float]] = []
        self.notes: list[object] = []

    def judge(self, view: PeerView, delay_s: float, now: float, is_cut_off: bool = False) -> None:
        self.judged.append((view, delay_s, now))
        self.sight = self._next.pop(0)

    def void(self) -> None:
        self.notes.append("void")

    def reconfigure(self, spec: ClusterSpec) -> None:
        self.notes.append(spec)


def a_desk(*levels: tuple[FencePath, ...], profile: Profile = Profile.TUTORIAL) -> PlanDesk:
    spec = ClusterSpec(
        "deb1", "deb2", (), (), fencing=FencingPolicy(levels=levels), profile=profile
    )
    return PlanDesk(spec, FencingMemory(), 90.0)


def judged(desk: PlanDesk, *sights: LeaseSight) -> list[tuple[bool, list[Any]]]:
    """Judge the promise once for each sight behind the first."""
    lease = Lease(sights)
    desk.lease = cast(Any, lease)
    return [desk.judge_lease(VIEW, 5.0, 100.0) for _ in sights[1:]]


@pytest.mark.parametrize(
    "levels, only_waits",
    [
        ((), False),
        (((LEASE,),), True),
        (((IPMI,),), False),
        (((IPMI,), (LEASE,)), False),
        (((IPMI, LEASE),), False),
    ],
)
def test_plan_that_is_the_promise_alone_only_waits(
    levels: tuple[tuple[FencePath, ...], ...], only_waits: bool
) -> None:
    """One without any path is none."""
    assert a_desk(*levels).only_waits is only_waits


def test_promise_is_voided_and_configured_with_the_plan() -> None:
    """A silence that is over proved nothing of the next one."""
    desk = a_desk((LEASE,))
    lease = Lease([SIGHT])
    desk.lease = cast(Any, lease)
    desk.void()
    spec = ClusterSpec("deb1", "deb2", (), ())
    desk.reconfigure(spec)
    assert lease.notes == ["void", spec] and not desk.is_configured


def test_promise_is_judged_with_the_last_chance_of_the_peer() -> None:
    """The plan has the result."""
    desk, lease = a_desk((LEASE,)), Lease([SIGHT, replace(SIGHT, text="new")])
    desk.lease = cast(Any, lease)
    desk.judge_lease(VIEW, 7.0, 100.0)
    assert lease.judged == [(VIEW, 7.0, 100.0)]
    assert desk.plan.lease == lease.sight == replace(SIGHT, text="new")


def test_promise_that_no_level_relies_on_is_not_judged() -> None:
    """It is nothing new to anybody."""
    desk, lease = a_desk((IPMI,)), Lease([SIGHT, SIGHT], is_configured=False)
    desk.lease = cast(Any, lease)
    assert desk.judge_lease(VIEW, 5.0, 100.0) == (False, []) and not lease.judged


@pytest.mark.parametrize(
    "after, is_news",
    [
        (SIGHT, False),
        (replace(SIGHT, text="other words", ends_at=7.0), False),
        (replace(SIGHT, is_open=True), True),
        (replace(SIGHT, is_prolonged=True), True),
    ],
)
def test_what_services_wait_for_is_news(after: LeaseSight, is_news: bool) -> None:
    """Both when it comes and when it goes, and nothing else; none of it is recorded."""
    assert judged(a_desk((LEASE,)), SIGHT, after, SIGHT) == [(is_news, []), (is_news, [])]


def test_proof_is_recorded_once() -> None:
    """With the name of the path; its end is news, and no entry."""
    proved = replace(SIGHT, proof=PROOF)
    record = Record(
        RecordKind.PEER,
        "deb2",
        "",
        "FENCE",
        f"promise: the promised time is over; proof {Scope.NODE.name}: silent for 12 s",
    )
    found = judged(a_desk((IPMI,), (LEASE,)), SIGHT, proved, proved, SIGHT)
    assert [is_news for is_news, _ in found] == [True, False, True]
    assert [replace(entry, is_alarm=False) for entry in found[0][1]] == [record]
    assert found[1][1] == found[2][1] == []


@pytest.mark.parametrize(
    "sight, state",
    [
        (LeaseSight(), PathState.UNTESTED),
        (LeaseSight(is_promised=True), PathState.UNREACHABLE),
        (SIGHT, PathState.ARMED),
        (replace(SIGHT, ends_at=7.0, is_open=True), PathState.ARMED),
        (replace(SIGHT, ends_at=7.0), PathState.UNREACHABLE),
        (replace(SIGHT, ends_at=7.0, proof=PROOF), PathState.ARMED),
        (replace(SIGHT, is_open=False), PathState.ARMED),
        (replace(SIGHT, is_barred=True), PathState.UNUSABLE),
        (LeaseSight(is_barred=True), PathState.UNUSABLE),
    ],
)
def test_state_of_the_path_is_what_the_promise_comes_to(
    sight: LeaseSight, state: PathState
) -> None:
    """For the operator, before a silence and in it."""
    assert _state_of(sight) is state


def test_beat_ends_the_round_and_what_it_has_proved() -> None:
    """And the loss of a claim."""
    desk = a_desk((IPMI,))
    desk.plan.begin_round()
    desk.plan.proofs, desk.plan.lost_to = (PROOF,), "it won"
    desk.record_heard(100.0)
    assert not desk.plan.is_in_round and desk.plan.proofs == () and not desk.ejector


def test_promise_is_no_step_that_takes_time() -> None:
    """However long it is waited for."""
    lease = replace(LEASE, limit_s=90.0)
    assert a_desk((IPMI,), (lease,)).longest_s({}) == IPMI.limit_s
    assert a_desk((lease,)).longest_s({}) is None


def test_promise_is_judged_with_whether_this_node_is_cut_off() -> None:
    """It is not, unless the caller reports it."""
    judged_as: list[bool] = []

    class Judge(Lease):
        def judge(
            self, view: PeerView, delay_s: float, now: float, is_cut_off: bool = False
        ) -> None:
            judged_as.append(is_cut_off)

    desk = a_desk((LEASE,))
    desk.lease = cast(Any, Judge([SIGHT]))
    desk.judge_lease(VIEW, 5.0, 100.0)
    desk.judge_lease(VIEW, 5.0, 100.0, True)
    assert judged_as == [False, True]
