"""Random histories whose services go back to their primary by themselves."""

from __future__ import annotations

import pytest

from opensvc_openha.verify.random import main as module
from opensvc_openha.verify.random.main import main
from opensvc_openha.verify.random.plan import failback_plan_from_seed
from opensvc_openha.verify.random.random_history import Outcome, run_history


@pytest.mark.parametrize("seed", [3, 8])
def test_no_promise_breaks_in_histories_with_failback(seed: int) -> None:
    """Automatic moves, orders and faults, mixed."""
    outcome = run_history(seed, 0.08, plan=failback_plan_from_seed(seed))
    assert not outcome.failure, f"seed {seed}: {outcome.failure}"


def test_histories_with_failback_are_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """As those of fence plans are."""
    assert main(["--failback", "--seed", "1", "--hours", "0.005"]) == 0
    assert "1 histories, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "option", ["fence-plan", "lease", "frozen-disks", "failback", "targets", "drills"]
)
def test_line_that_replays_a_history_has_its_option(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it, the seed is another history."""
    monkeypatch.setattr(module, "run_history", lambda seed, *given: Outcome(seed, 1.0, "", "S1"))
    assert main([f"--{option}", "--seed", "7", "--hours", "0.5"]) == 1
    assert f"--seed 7 --hours 0.5 --{option} --trace" in capsys.readouterr().out
