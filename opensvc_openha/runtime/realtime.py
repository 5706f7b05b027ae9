"""The real-time class for the threads that must not be late, and memory that is not swapped out. An option.

Each thread asks for itself: with the flag that resets it on fork, so that scripts and services never inherit it.
Source: sched(7), mlockall(2).
"""

from __future__ import annotations

import ctypes
import os

PRIORITY = 10
_LOCK_PRESENT, _LOCK_FUTURE, _LOCK_WHEN_TOUCHED = 1, 2, 4


class Realtime:
    """What was asked for, and what the system gave."""

    def __init__(self, is_wanted: bool) -> None:
        self._is_wanted = is_wanted
        self._problems: "set[str]" = set()
        if is_wanted:
            self._lock_memory()

    def enter(self) -> None:
        """Puts the calling thread into the real-time class, if that is wanted and permitted."""
        if not self._is_wanted:
            return
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
        except OSError as error:
            self._problems.add(f"no real-time class: {error.strerror}")

    def _lock_memory(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mlockall(_LOCK_PRESENT | _LOCK_FUTURE | _LOCK_WHEN_TOUCHED) != 0:
            self._problems.add(f"memory not locked: {os.strerror(ctypes.get_errno())}")

    @property
    def warnings(self) -> "tuple[str, ...]":
        """What was asked for and not given."""
        return tuple(sorted(self._problems))

    @property
    def text(self) -> str:
        """How the daemon runs, for its status."""
        if not self._is_wanted:
            return "ordinary"
        return "real-time, memory locked" if not self._problems else "ordinary: " + ", ".join(self.warnings)
