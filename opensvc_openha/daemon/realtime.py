"""Give precedence to the threads that must not be late.

The real-time class, and memory that is not swapped out, as an option. Each thread sets it for
itself, with the flag that resets it on fork, so that scripts and services never inherit it. Scripts
have sessions of their own, and the kernel shares processors by sessions first: the daemon's session
gets more weight as well. Source: sched(7), mlockall(2).
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
    """Requested and granted precedence."""

    def __init__(self, is_wanted: bool) -> None:
        self._is_wanted = is_wanted
        self._problems: set[str] = set()
        if is_wanted:
            self._lock_memory()

    def enter(self) -> None:
        """Put the calling thread into the real-time class, if wanted and permitted.

        Otherwise before ordinary threads.
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
        """Return what was requested and not granted."""
        return tuple(sorted(self._problems))

    @property
    def text(self) -> str:
        """Return how the daemon runs, for its status."""
        if not self._is_wanted:
            return "ordinary"
        return (
            "real-time, memory locked"
            if not self._problems
            else "ordinary: " + ", ".join(self.warnings)
        )


def favour_session() -> None:
    """Prefer this session to those of scripts.

    Nothing happens without the permission, or without such sharing. Only for a process that leads
    its session: another session is a user's terminal.
    """
    if os.getsid(0) != os.getpid():
        return
    with contextlib.suppress(OSError), open(_AUTOGROUP, "w", encoding="ascii") as file:
        file.write(str(NICE))


def _go_first() -> None:
    """Raise the niceness, unless the daemon was started with one: that is kept, for scripts too."""
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, 0) == 0 and os.sched_getscheduler(0) == os.SCHED_OTHER:
            # The flag first: children of this thread must never inherit the niceness.
            os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, 0, NICE)
