"""A file lock for steps that must not run in two processes at a time; ends with its holder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from opensvc_openha.errors import ActionError, SystemFault
from opensvc_openha.system.atomic_files import make_dir
from opensvc_openha.system.clock import monotonic, pause
from opensvc_openha.system.lock_file import open_lock

_RETRY_S = 0.05


@contextmanager
def file_lock(path: str, wait_s: float, what: str) -> Iterator[None]:
    """Hold the lock; ActionError if another process holds it for ``wait_s`` seconds.

    ``what`` describes its purpose in the message.
    """
    try:
        make_dir(os.path.dirname(path))
        lock_fd = open_lock(path)
    except OSError as error:
        raise SystemFault(f"cannot open the lock {path}: {error.strerror}") from error
    try:
        give_up = monotonic() + wait_s
        while not _is_taken(lock_fd):
            if monotonic() >= give_up:
                raise ActionError(f"{what}: waited {wait_s:g} s for the lock {path}")
            pause(_RETRY_S)
        yield
    finally:
        os.close(lock_fd)


def _is_taken(lock_fd: int) -> bool:
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
