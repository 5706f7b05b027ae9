"""Keep virtual time, and a queue of calls by instant; ties in the order they were made."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from opensvc_openha.verify.invariants import InvariantBroken

Entry = tuple[float, int, Callable[..., None], tuple[object, ...]]

CALLS_MAX = 50_000
"""More calls within a virtual second mean that a node spins."""


class Scheduler:
    """Virtual seconds, the same for both nodes; each node's clocks derive from them."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._queue: list[Entry] = []
        self._order = itertools.count()

    def after(self, delay_s: float, call: Callable[..., None], *args: object) -> None:
        """Schedule a call after ``delay_s``."""
        heapq.heappush(self._queue, (self.now + delay_s, next(self._order), call, args))

    def at(self, instant: float, call: Callable[..., None], *args: object) -> None:
        """Schedule a call at an instant."""
        heapq.heappush(self._queue, (instant, next(self._order), call, args))

    def run_until(self, end: float) -> None:
        """Let time pass up to ``end``."""
        queue, pop = self._queue, heapq.heappop
        began, calls = self.now, 0
        while queue and queue[0][0] <= end:
            instant, _, call, args = pop(queue)
            if instant > self.now:
                self.now = instant
            call(*args)
            calls += 1
            if calls >= CALLS_MAX:
                if self.now - began < 1.0:
                    raise InvariantBroken(
                        f"busy without end: {calls} events within {self.now - began:.3f} s"
                    )
                began, calls = self.now, 0
        self.now = end
