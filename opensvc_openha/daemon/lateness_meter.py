"""Keep by how much the engine's steps came too late, for operators: no decision depends on it."""

from __future__ import annotations

from opensvc_openha.core.status import Activity

_WINDOW_S = 120.0
"""The most is that of this window and of the one before: at least one scrape sees each peak."""


class LatenessMeter:
    """The lateness of the engine's steps; for its thread alone."""

    def __init__(self) -> None:
        self._steps = 0
        self._late_s = 0.0
        self._most_s = self._former_most_s = 0.0
        self._window_ends = 0.0

    def record(self, late_s: float, now: float) -> None:
        """Record the lateness of a step, in seconds."""
        self._turn(now)
        self._steps += 1
        self._late_s = late_s
        self._most_s = max(self._most_s, late_s)

    def activity(self, now: float) -> Activity:
        """Return what is known of the engine's steps, and nothing else."""
        self._turn(now)
        most_late_s = max(self._most_s, self._former_most_s)
        return Activity(steps=self._steps, late_s=self._late_s, most_late_s=most_late_s)

    def _turn(self, now: float) -> None:
        if now >= self._window_ends:
            is_old = now >= self._window_ends + _WINDOW_S
            self._former_most_s, self._most_s = 0.0 if is_old else self._most_s, 0.0
            self._window_ends = now + _WINDOW_S
