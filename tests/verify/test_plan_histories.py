"""Random histories of nodes with a fence plan: every end of a step, and no promise broken."""

from __future__ import annotations

import itertools
import re

import pytest

from opensvc_openha.verify.random.duels import FENCINGS, duels, play
from opensvc_openha.verify.random.main import main
from opensvc_openha.verify.random.plan import plan_from_seed, scenario_from_seed
from opensvc_openha.verify.random.random_history import run_history


@pytest.mark.parametrize("first", range(0, 24, 6))
def test_no_promise_breaks_in_histories_with_a_fence_plan(first: int) -> None:
    """Six seeds each."""
    for seed in range(first, first + 6):
        outcome = run_history(seed, 0.02, plan=plan_from_seed(seed))
        assert not outcome.failure, f"seed {seed}: {outcome.failure}"


def test_copy_that_was_started_by_hand_is_no_matter_of_the_barrier() -> None:
    """Nobody could know of it; the start itself takes the disks."""
    assert not run_history(213, 0.05, plan=plan_from_seed(213)).failure


def test_histories_meet_what_a_fence_plan_can_meet() -> None:
    """Claims won and lost, arbiters away, switches that work and fail, reservations, ejections."""
    lines: list[str] = []
    for seed in (22, 35, 67):
        run_history(seed, 0.05, lines.append, plan_from_seed(seed))
    text = "\n".join(lines)
    for words in (
        r"claim: done: won",
        r"claim: lost",
        r"claim: unable",
        r"reservation: done: 1 disk; proof DATA",
        r"void: the peer was heard",
        r"ipmi: done: OFF twice; proof NODE",
        r"ipmi: failed: no answer",
        r"STARTING -> START_FAILED: not proved",
        r"-> EJECTED",
        r"-> READMITTED",
        r"a late write of \w+ lands",
    ):
        assert re.search(words, text), words


@pytest.mark.parametrize("fencing", ["plan", "arbiter"])
def test_duels_with_a_fence_plan(fencing: str) -> None:
    """A sample of the grid: one node survives, and each service runs once in the end."""
    broken = {}
    for duel in itertools.islice(duels(), 0, None, 97):
        problem = play(duel, FENCINGS[fencing])
        if problem:
            broken[duel.text] = problem
    assert broken == {}


def test_plan_of_a_seed_leaves_the_rest_of_its_history_alone() -> None:
    """Only the fencing differs, so that both kinds of a seed can be compared."""
    for seed in range(20):
        plain, planned = scenario_from_seed(seed), plan_from_seed(seed)
        assert planned.fencing.levels and not plain.fencing.levels
        assert (planned.net_links, planned.timeouts_s, planned.services, planned.rates) == (
            plain.net_links,
            plain.timeouts_s,
            plain.services,
            plain.rates,
        )


def test_histories_with_a_fence_plan_are_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """One after the other, and in processes."""
    assert main(["--fence-plan", "--seed", "1", "--runs", "2", "--hours", "0.01"]) == 0
    assert main(["--fence-plan", "--runs", "2", "--hours", "0.01", "--jobs", "2"]) == 0
    assert capsys.readouterr().out.count("2 histories, 0 failed") == 2
