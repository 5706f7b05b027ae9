"""A clock that stands still but for the pauses of the code under test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from opensvc_openha.system import clock


class SimulatedClock:
    """Time begins at 0.0 and moves with each pause, which is recorded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.at_pause: Callable[[], object] = lambda: None
        """Called in each pause: what happens meanwhile."""
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)
        monkeypatch.setattr(clock, "pause", self._pause)

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        self.at_pause()
