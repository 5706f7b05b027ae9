"""Measure how late a stage on the way of beats is, for operators: no decision depends on it.

In memory of a fixed size: what took so long is counted between bounds that grow by a fourth, so
that a typical value is right to a fourth of itself.
"""

from __future__ import annotations

from bisect import bisect_left

from opensvc_openha.core.status import StageFigure

_WINDOW_S = 60.0
"""A figure is about this window and the one before."""
_LEAST_S = 0.00002
_BOUNDS_S = tuple(_LEAST_S * 1.25**step for step in range(60))
"""Up to ten seconds."""


class StageMeter:
    """One stage; recorded by one thread at a time, read by any."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._ends_at = 0.0
        self._counts = [0] * (len(_BOUNDS_S) + 1)
        self._former = self._counts
        self._most_s = self._former_most_s = 0.0

    def record(self, took_s: float, now: float) -> None:
        """Record once more how long the stage took, or by how much it came too late."""
        if now >= self._ends_at:
            is_old = now >= self._ends_at + _WINDOW_S
            blank = [0] * len(self._counts)
            self._former, self._counts = (blank if is_old else self._counts), list(blank)
            self._former_most_s, self._most_s = (0.0 if is_old else self._most_s), 0.0
            self._ends_at = now + _WINDOW_S
        self._counts[bisect_left(_BOUNDS_S, took_s)] += 1
        self._most_s = max(self._most_s, took_s)

    def figure(self, now: float) -> StageFigure | None:
        """Return what is known of the last one to two minutes; None if nothing is."""
        counts, former, most_s = self._counts, self._former, self._most_s
        if now >= self._ends_at + _WINDOW_S:
            return None
        if former is not counts and now < self._ends_at:
            counts = [one + other for one, other in zip(counts, former)]
            most_s = max(most_s, self._former_most_s)
        number = sum(counts)
        if not number:
            return None
        passed = 0
        for bound_s, count in zip(_BOUNDS_S, counts):
            passed += count
            if passed * 2 >= number:
                return StageFigure(self._stage, min(bound_s, most_s), most_s, number)
        return StageFigure(self._stage, most_s, most_s, number)
