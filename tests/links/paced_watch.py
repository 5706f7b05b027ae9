"""A place of a disk that is watched in simulated time, with what the I/O process does of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from opensvc_openha.links.disk_watch import Look


class SimulatedTime(Protocol):
    """A clock that moves while somebody waits."""

    def __call__(self) -> float:
        """Return the instant."""

    def wait(self, seconds: float) -> None:
        """Let time pass."""


class PacedWatch:
    """Reads when it is asked for news, at the instants at which the process would have read."""

    def __init__(self, clock: SimulatedTime, read: Callable[[], bytes], pause_s: float) -> None:
        self._clock = clock
        self._read = read
        self._pause_s = pause_s
        self._last: bytes | None = None
        self._due_at = 0.0
        self.unchanged: Look | None = None
        self.reads = 0
        self.closed = 0
        self.is_roused = False

    def rouse(self) -> None:
        """The next wait ends at once."""
        self.is_roused = True

    def next_news(self, wait_s: float) -> Look | None:
        """As that of a real one."""
        until = self._clock() + (0.0 if self.is_roused else wait_s)
        while True:
            self._clock.wait(max(0.0, min(self._due_at, until) - self._clock()))
            if self._due_at > until:
                self.is_roused = False
                return None
            began_at, data, ended_at = self._clock(), self._read(), self._clock()
            self.reads += 1
            self._due_at = ended_at + self._pause_s
            if data != self._last:
                self._last, self.unchanged = data, None
                return Look(began_at, ended_at, data)
            self.unchanged = Look(began_at, ended_at, None)

    def close(self) -> None:
        """No more reads."""
        self.closed += 1
