"""Precedence for the threads that must not be late.

The real-time class, and memory that is not swapped out, as an option.

Each thread asks for itself: with the flag that resets it on fork, so that scripts and services
never inherit it. Scripts have sessions of their own, and the kernel shares processors out by
sessions first: the daemon's session is given more weight as well. Source: sched(7), mlockall(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import os

PRIORITY = 10
NICE = -10
_AUTOGROUP = "/proc/self/autogroup"
_LOCK_PRESENT, _LOCK_FUTURE, _LOCK_WHEN_TOUCHED = 1, 2, 4


class Realtime:
    """What was asked for, and what the system gave."""

    def __init__(self, is_wanted: bool) -> None:
        self._is_wanted = is_wanted
        self._problems: set[str] = set()
        if is_wanted:
            self._lock_memory()

    def enter(self) -> None:
        """Puts the calling thread into the real-time class, or before ordinary ones, if that is
        wanted and permitted.
        """
        if not self._is_wanted:
            _go_first()
            return
        try:
            os.sched_setscheduler(
                0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY)
            )
        except OSError as error:
            self._problems.add(f"no real-time class: {error.strerror}")

    def _lock_memory(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mlockall(_LOCK_PRESENT | _LOCK_FUTURE | _LOCK_WHEN_TOUCHED) != 0:
            self._problems.add(f"memory not locked: {os.strerror(ctypes.get_errno())}")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was asked for and not given."""
        return tuple(sorted(self._problems))

    @property
    def text(self) -> str:
        """How the daemon runs, for its status."""
        if not self._is_wanted:
            return "ordinary"
        return (
            "real-time, memory locked"
            if not self._problems
            else "ordinary: " + ", ".join(self.warnings)
        )


def favour_session() -> None:
    """Has the kernel prefer this session to those of scripts.

    Without the right to that, or such sharing, nothing happens.

    Only that of a process which leads it: another one is somebody's terminal.
    """
    if os.getsid(0) != os.getpid():
        return
    with contextlib.suppress(OSError), open(_AUTOGROUP, "w", encoding="ascii") as file:
        file.write(str(NICE))


def _go_first() -> None:
    """Unless somebody has chosen a niceness for the daemon: that is kept, and scripts have it,
    too.
    """
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, 0) == 0 and os.sched_getscheduler(0) == os.SCHED_OTHER:
            # The flag first: what this thread begins must never inherit the niceness.
            os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, 0, NICE)
