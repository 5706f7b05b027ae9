"""Give threads names that `top -H` and `ps -L` show."""

from __future__ import annotations

import ctypes

_PR_SET_NAME = 15
_NAME_MAX = 15


def name_thread(name: str) -> None:
    """Name the calling thread (15 characters are shown); ignored if the system cannot."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:_NAME_MAX]), 0, 0, 0)
    except (OSError, AttributeError):
        pass
