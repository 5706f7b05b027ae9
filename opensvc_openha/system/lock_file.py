"""Opens files that are locked: whoever can open a file can lock it, so no other user may."""

from __future__ import annotations

import contextlib
import os

_MODE = 0o600


def open_lock(path: str) -> int:
    """Handle of a lock file, made if there is none, and closed to others if it was open.

    Raises OSError.
    """
    handle = os.open(
        path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, _MODE
    )
    # Of a file of somebody else the mode is not ours to change.
    with contextlib.suppress(OSError):
        os.fchmod(handle, _MODE)
    return handle
