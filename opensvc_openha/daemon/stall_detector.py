"""Distinguish a stopped process from an engine that was merely busy.

Stopped: by SIGSTOP, a paused machine, or lack of a processor. A thread does nothing but wake up: if
it missed its turn, the listeners missed theirs, too.

How often it must wake up, for stalls of the limit L or longer, if it sleeps P each time::

    last reading          stall of S                  next reading
    -----|------------------[=================]----------|------------> time
         |<------------- gap: at least S, at most S + P ->|

* The readings enclose the stall, so the gap is at least S: none of L or longer is missed, whatever
  P is, nor is one that has just ended, for any thread: the last reading is at least L old.
* A gap is also P plus what the wake-up is late. So P must be below L, and what counts as a stall
  without being one of L is late by at least L - P. Such a gap only makes this node more careful.

With two turns in L the thread wakes up once in an eighth of the shortest link timeout, and a
wake-up that is late by less than that is no stall. One turn would leave nothing of that margin.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

from opensvc_openha.system import clock
from opensvc_openha.system.thread_names import name_thread

_TURNS = 2
"""Readings of the clock within the shortest stall that matters."""
_LONGEST_LIMIT_S = 1.5
_GAPS_KEPT = 32


class StallDetector:
    """Detect when all threads of this process stood still."""

    def __init__(self) -> None:
        self._limit_s = _LONGEST_LIMIT_S
        self._last = clock.monotonic()
        self._gaps: collections.deque[tuple[float, float]] = collections.deque(maxlen=_GAPS_KEPT)

    def watch(self, limit_s: float) -> None:
        """Record gaps of this length, in seconds, from now on."""
        self._limit_s = min(limit_s, _LONGEST_LIMIT_S)

    def start(self, enter: Callable[[], None]) -> None:
        """Start the thread; it calls ``enter`` first."""
        threading.Thread(target=self._beat, args=(enter,), name="pulse", daemon=True).start()

    def was_stopped(self, since: float) -> bool:
        """Return True if the process stood still for the limit or longer after ``since``."""
        # Before the list: a gap that is being recorded now is seen in one of the two.
        last = self._last
        return clock.monotonic() - last >= self._limit_s or any(
            end > since for _, end in tuple(self._gaps)
        )

    def _beat(self, enter: Callable[[], None]) -> None:
        enter()
        name_thread("pulse")
        while True:
            clock.pause(self._limit_s / _TURNS)
            now = clock.monotonic()
            if now - self._last >= self._limit_s:
                self._gaps.append((self._last, now))
            self._last = now
