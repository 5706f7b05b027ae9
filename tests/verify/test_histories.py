"""Histories of random faults, each a cluster of its own: no promise is broken, and a seed always
reports the same story.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from opensvc_openha.verify.random.random_history import run_history

SEEDS = 200
CHUNK = 10
HOURS = 0.02
_REGRESSIONS = Path(__file__).with_name("regression_seeds.txt")


def _regressions() -> list[object]:
    found: list[object] = []
    for line in _REGRESSIONS.read_text(encoding="ascii").splitlines():
        if not line or line.startswith("#"):
            continue
        seed, hours, text = line.split(None, 2)
        marks = [pytest.mark.xfail(reason=text)] if text.startswith("open:") else []
        found.append(pytest.param(int(seed), float(hours), marks=marks, id=seed))
    return found


@pytest.mark.parametrize("first", range(1, SEEDS + 1, CHUNK))
def test_random_histories_break_no_promise(first: int) -> None:
    """Ten seeds at a time: S1, S2, S3 and L2 hold all along, L1 once nothing goes wrong any
    more.
    """
    failed = [
        outcome
        for outcome in (run_history(seed, HOURS) for seed in range(first, first + CHUNK))
        if outcome.failure
    ]
    assert not failed, "\n".join(
        [f"seed {item.seed}: {item.failure}" for item in failed] + list(failed[0].lines[-40:])
    )


@pytest.mark.parametrize("seed, hours", _regressions())
def test_history_that_failed_once_holds_now(seed: int, hours: float) -> None:
    """A seed that once found a fault in the program finds none any more."""
    outcome = run_history(seed, hours)
    assert not outcome.failure, "\n".join([outcome.failure, *outcome.lines[-40:]])


@pytest.mark.parametrize("seed", [7, 8, 11])
def test_seed_gives_the_same_trace_in_every_process(seed: int) -> None:
    """Two processes whose sets and dicts are ordered by other hashes: every line is the same."""
    outputs = {_story(seed, hash_seed) for hash_seed in ("1", "2")}
    assert len(outputs) == 1
    assert outputs != {_story(seed + 1, "1")}


def _story(seed: int, hash_seed: str) -> str:
    command = [
        sys.executable,
        "-m",
        "opensvc_openha.verify.random",
        "--seed",
        str(seed),
        "--hours",
        str(HOURS),
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("trace ")[1]
