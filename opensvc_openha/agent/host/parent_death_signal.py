"""A process that ends with its parent. Source: prctl(2)."""

from __future__ import annotations

import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: signal.Signals) -> None:
    """The calling process gets this signal when its parent ends."""
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
