"""Drills of a takeover among random faults: no promise breaks, and planted mistakes are found."""

from __future__ import annotations

import pytest

from opensvc_openha.core.fencing import Fencing
from opensvc_openha.verify.random.main import main
from opensvc_openha.verify.random.plan import drill_plan_from_seed
from opensvc_openha.verify.random.random_history import run_history

HOURS = 0.05


def played(seed: int) -> tuple[str, str]:
    """Return what failed in a history, and all of its lines."""
    lines: list[str] = []
    outcome = run_history(seed, HOURS, lines.append, plan=drill_plan_from_seed(seed))
    return outcome.failure, "\n".join(lines)


@pytest.mark.parametrize("seed", [7, 14])
def test_no_promise_breaks_in_histories_with_drills(seed: int) -> None:
    """Nodes play dead in them, and what they ran is taken over by their word."""
    failure, story = played(seed)
    assert not failure, f"seed {seed}: {failure}"
    assert "PLAYS DEAD" in story and "CONFIRMED OUT: by drill" in story


def test_histories_find_a_fence_that_is_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A healthy node that plays dead would be shot."""
    monkeypatch.setattr(Fencing, "is_held", lambda self, now: False)
    assert "S11 broken" in played(6)[0]


def test_histories_with_drills_are_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """As those of fence plans are."""
    assert main(["--drills", "--seed", "1", "--hours", "0.01"]) == 0
    assert "1 histories, 0 failed" in capsys.readouterr().out
