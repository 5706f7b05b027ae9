"""Data disks that freeze: histories and a search with them, and S9 with planted mistakes."""

from __future__ import annotations

import pytest

from opensvc_openha.core import timing
from opensvc_openha.core.giving_up import GivingUp
from opensvc_openha.verify.exhaustive.plan_checker import PLANS, PlanEnumeration
from opensvc_openha.verify.exhaustive.plan_model import PlanModel
from opensvc_openha.verify.invariants import FellSilent, InvariantBroken, InvariantChecker
from opensvc_openha.verify.random.main import main
from opensvc_openha.verify.random.plan import frozen_plan_from_seed
from opensvc_openha.verify.random.random_history import run_history
from opensvc_openha.verify.simulated_node import NODES

LEAST_S = timing.FROZEN_AFTER_LEAST_S


@pytest.mark.parametrize("plan", ["frozen disks, lease", "frozen disks, switch"])
def test_no_promise_breaks_in_one_move_after_a_service_was_given_up(plan: str) -> None:
    """From the begin of its stop; longer searches are those of the command."""
    found = PlanEnumeration().begin(PLANS[plan], depth=1)
    assert not found.broken, found.broken
    assert found.edges >= 25


def test_search_finds_a_stop_that_is_believed_without_its_disks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The service would be called out while what it wrote is on its way."""
    monkeypatch.setattr(GivingUp, "is_stop_unproved", lambda self, sight: False)
    found = PlanEnumeration().begin(PLANS["frozen disks, switch"], depth=1)
    assert "S1 broken" in found.broken and "ends without its disks" in found.broken


def test_world_and_its_copy_have_disks_of_their_own() -> None:
    """What freezes in a copy does not freeze in the original, and makes another world."""
    world = PlanModel(PLANS["frozen disks, switch"])
    world.start()
    copy, before = world.copy(), world.fingerprint()
    assert copy.fingerprint() == before and isinstance(copy, PlanModel)
    copy.freeze(1)
    assert world.fingerprint() == before != copy.fingerprint() and not world.nodes[1].frozen


@pytest.mark.parametrize("seed", [6, 7])
def test_no_promise_breaks_in_histories_with_frozen_disks(seed: int) -> None:
    """A stop that had failed by itself, and a short freeze later on: once a reset for nothing."""
    outcome = run_history(seed, 0.08, plan=frozen_plan_from_seed(seed))
    assert not outcome.failure, f"seed {seed}: {outcome.failure}"


def test_histories_with_frozen_disks_are_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Alone, and in processes."""
    assert main(["--frozen-disks", "--seed", "1", "--hours", "0.01"]) == 0
    assert main(["--frozen-disks", "--runs", "2", "--hours", "0.01", "--jobs", "2"]) == 0
    assert "2 histories, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("own_s", "peer_s", "is_broken"),
    [
        (LEAST_S, None, False),
        (LEAST_S, 5.0, False),
        (LEAST_S, LEAST_S, True),
        (5.0, None, True),
        (None, None, True),
    ],
)
def test_silence_is_judged_by_the_disks_as_they_are(
    own_s: float | None, peer_s: float | None, is_broken: bool
) -> None:
    """Frozen here for long enough, and not for the peer, whatever the node believes."""
    seen = FellSilent(
        100.0,
        "deb1",
        {} if own_s is None else {"registry": own_s},
        {} if peer_s is None else {"registry": peer_s},
    )
    checker = InvariantChecker(NODES, 10.0, 10.0)
    if not is_broken:
        checker.observe(seen)
        return
    with pytest.raises(InvariantBroken, match="^S9 broken at 100.000 on deb1: falls silent"):
        checker.observe(seen)
