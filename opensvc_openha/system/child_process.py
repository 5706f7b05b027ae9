"""Fork, and let a process die with its parent. Source: prctl(2)."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def fork_child(work: Callable[[], int]) -> int:
    """Run ``work`` in a child that gets SIGTERM when this process ends; return its pid.

    Its exit code is what ``work`` returns, 1 if that raises. Raises OSError.
    """
    # Otherwise the child would write it too.
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    exit_code = 1
    try:
        die_with_parent(signal.SIGTERM)
        exit_code = work()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(exit_code)


def load_for_tie() -> None:
    """Load what ``die_with_parent`` uses, before a fork: the child would load it for itself."""
    import ctypes  # noqa: F401


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this signal to the calling process when its parent ends."""
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
