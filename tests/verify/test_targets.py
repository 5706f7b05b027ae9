"""Nodes whose targets do not answer: histories, a search, and S10 with planted mistakes."""

from __future__ import annotations

import pytest

from opensvc_openha.core.connectivity import OwnConnectivity
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.timing import PING_MISSES
from opensvc_openha.verify.exhaustive.plan_checker import PLANS, PlanEnumeration
from opensvc_openha.verify.exhaustive.plan_model import PlanModel
from opensvc_openha.verify.invariants import Asked, InvariantBroken, InvariantChecker, StepBegan
from opensvc_openha.verify.random.main import main
from opensvc_openha.verify.random.plan import targets_plan_from_seed
from opensvc_openha.verify.random.random_history import run_history
from opensvc_openha.verify.simulated_node import NODES


@pytest.mark.parametrize("plan", ["targets, switch", "targets, arbiter"])
def test_no_promise_breaks_in_one_move_after_an_owner_is_isolated(plan: str) -> None:
    """Longer searches are those of the command."""
    found = PlanEnumeration().begin(PLANS[plan], depth=1)
    assert not found.broken, found.broken
    assert found.edges >= 25


def test_search_finds_a_node_that_fences_although_nothing_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its services follow nothing of what it announces."""
    monkeypatch.setattr(OwnConnectivity, "text", property(lambda self: ""))
    monkeypatch.setattr(Engine, "_judge_reach", lambda self, now: [])
    found = PlanEnumeration().begin(PLANS["targets, switch"], depth=2)
    assert "S10 broken" in found.broken, found.broken


def test_world_and_its_copy_have_uplinks_of_their_own() -> None:
    """What is cut in a copy is not cut in the original, and makes another world."""
    world = PlanModel(PLANS["targets, switch"])
    world.start()
    copy, before = world.copy(), world.fingerprint()
    assert copy.fingerprint() == before and isinstance(copy, PlanModel)
    copy.nodes[1].cut_uplink()
    assert world.fingerprint() == before != copy.fingerprint()
    assert world.nodes[1].uplink_cut_since is None


@pytest.mark.parametrize("seed", [4, 11])
def test_no_promise_breaks_in_histories_with_cut_uplinks(seed: int) -> None:
    """With check-up scripts and with a fence plan."""
    outcome = run_history(seed, 0.03, plan=targets_plan_from_seed(seed))
    assert not outcome.failure, f"seed {seed}: {outcome.failure}"


def test_histories_with_targets_are_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """One, to be replayed."""
    assert main(["--targets", "--seed", "1", "--hours", "0.005"]) == 0
    assert "1 histories, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("misses", "gap_s", "is_broken"),
    [(2 * PING_MISSES, 1.0, True), (2 * PING_MISSES - 1, 1.0, False), (9, 3.0, False)],
)
def test_fence_is_judged_by_the_targets_as_they_are(
    misses: int, gap_s: float, is_broken: bool
) -> None:
    """Whatever the node believes; rounds with gaps are those of a node that stood still."""
    checker = InvariantChecker(NODES, 10.0, 10.0)
    checker.may_fence_alone = True
    for number in range(misses):
        checker.observe(Asked(100.0 + number * gap_s, "deb1", is_answered=False))
    seen = StepBegan(200.0, "deb1")
    if not is_broken:
        checker.observe(seen)
        return
    with pytest.raises(InvariantBroken, match="^S10 broken at 200.000 on deb1: fences its peer"):
        checker.observe(seen)
