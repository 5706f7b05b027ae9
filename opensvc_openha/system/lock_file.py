"""Open lock files: a process that can open a file can lock it, so no other user may."""

from __future__ import annotations

import contextlib
import os

_MODE = 0o600


def open_lock(path: str) -> int:
    """Return the handle of a lock file, created if missing, closed to others.

    Raises OSError.
    """
    handle = os.open(
        path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, _MODE
    )
    # The mode of another owner's file is not ours to change.
    with contextlib.suppress(OSError):
        os.fchmod(handle, _MODE)
    return handle
