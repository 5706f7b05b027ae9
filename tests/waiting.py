"""Wait in tests for an event or a state with a generous limit, never for a fixed time.

A limit here is no statement about the system. It only ends a test that hangs, somewhat before
pytest-timeout does, so that the failure names the missing event. A duration that is the subject of
a test is read from the history, where the daemon records when it decided; or it belongs to a test
with simulated time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

Seen = TypeVar("Seen")

LIMIT_S = float(os.environ.get("OPENHA_TEST_LIMIT_S", "240"))
"""Longest wait in seconds, on a machine with a load of 20 per processor.

Planted faults are tried with less.
"""
_LOOK_EVERY_S = 0.02
_LONGEST_PAUSE_S = 0.5


def until(
    look: Callable[[], Seen],
    is_good: Callable[[Seen], Any] = bool,
    what: str = "",
    story: Callable[[], str] = str,
    limit_s: float = 0.0,
) -> Seen:
    """Poll ``look`` until its result is good; return the result.

    On a time-out fail with ``what`` was expected and the ``story``.
    """
    limit_s = limit_s or LIMIT_S
    give_up = time.monotonic() + limit_s
    while True:
        begun = time.monotonic()
        seen = look()
        if is_good(seen):
            return seen
        assert time.monotonic() < give_up, (
            f"not within {limit_s:g} s: {what}; last seen: {seen!r}\n{story()}"
        )
        pause_after(begun)


def stays(
    look: Callable[[], Seen],
    is_good: Callable[[Seen], Any],
    for_s: float,
    story: Callable[[], str] = str,
) -> None:
    """Poll ``look`` for a time, at least twice; fail unless each result is good."""
    end, looks = time.monotonic() + for_s, 0
    while looks < 2 or time.monotonic() < end:
        begun = time.monotonic()
        seen = look()
        assert is_good(seen), f"did not stay: {seen!r}\n{story()}"
        looks += 1
        pause_after(begun)


def pause_after(begun: float) -> None:
    """Pause as long as the look took: what is waited for needs the processor more."""
    took = time.monotonic() - begun
    time.sleep(min(max(took, _LOOK_EVERY_S), _LONGEST_PAUSE_S))
