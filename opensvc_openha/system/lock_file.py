"""Lock files: the kernel releases a lock with its holder, however that ends.

A process that can open a file can lock it, so no other user may.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator

from opensvc_openha.errors import OpenhaError, SystemFault
from opensvc_openha.system import clock
from opensvc_openha.system.atomic_files import make_dir

_MODE = 0o600
_RETRY_S = 0.05
_OWNER_BYTES = 200


@contextlib.contextmanager
def hold_lock(
    path: str,
    wait_s: float,
    refusal: Callable[[str], OpenhaError],
    owner: str = "",
    on_wait: Callable[[str], None] = lambda owner: None,
) -> Iterator[None]:
    """Hold a lock; raise ``refusal(owner)`` if another process holds it for ``wait_s`` seconds.

    ``owner`` is written into the file, and passed to those that wait. Raises SystemFault if the
    file cannot be opened.
    """
    handle = open_lock(path)
    try:
        if not try_lock(handle, wait_s, lambda: on_wait(read_owner(handle))):
            raise refusal(read_owner(handle))
        if owner:
            _write_owner(handle, f"{owner}\n")
        yield
        if owner:
            _write_owner(handle, "")
    finally:
        os.close(handle)


def open_lock(path: str) -> int:
    """Return the handle of a lock file, created if missing, closed to others.

    Raises SystemFault.
    """
    make_dir(os.path.dirname(path))
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        handle = os.open(path, flags, _MODE)
    except OSError as error:
        raise SystemFault(f"cannot open {path}: {error.strerror}") from error
    # The mode of another owner's file is not ours to change.
    with contextlib.suppress(OSError):
        os.fchmod(handle, _MODE)
    return handle


def try_lock(handle: int, wait_s: float, on_wait: Callable[[], None] = lambda: None) -> bool:
    """Lock an open file; return False if another process holds it for ``wait_s`` seconds."""
    give_up = clock.monotonic() + wait_s
    while is_locked(handle, fcntl.LOCK_EX):
        if clock.monotonic() >= give_up:
            return False
        on_wait()
        clock.pause(_RETRY_S)
    return True


def is_locked(handle: int, kind: int = fcntl.LOCK_SH) -> bool:
    """Return True if another process holds the lock; otherwise this one has it now."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def read_owner(handle: int) -> str:
    """Return what the holder of a lock wrote into it."""
    return os.pread(handle, _OWNER_BYTES, 0).decode("ascii", "replace").strip()


def _write_owner(handle: int, owner: str) -> None:
    # It serves messages only: a full disk must not prevent an action.
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, owner.encode(), 0)
