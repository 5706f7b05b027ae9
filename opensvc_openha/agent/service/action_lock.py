"""Allow one action at a time per service, by an flock that the kernel releases with its holder.

The resource monitor has the lowest priority: any other action terminates it first.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from opensvc_openha.errors import RefusedError, SystemFault
from opensvc_openha.system.atomic_files import make_dir
from opensvc_openha.system.clock import pause
from opensvc_openha.system.lock_file import open_lock

DEFAULT_WAIT_S = 30.0
MONITOR = "resource_monitor"
_RETRY_S = 0.1


@contextmanager
def action_lock(
    directory: str, action: str, wait_s: float = DEFAULT_WAIT_S, name: str = "action.lock"
) -> Iterator[None]:
    """Hold the action lock of the service whose run-time data is in ``directory``.

    Raises RefusedError when the lock is not free within ``wait_s`` seconds.
    """
    path = os.path.join(directory, name)
    try:
        make_dir(directory)
        lock_fd = open_lock(path)
    except OSError as error:
        raise SystemFault(f"cannot open the action lock {path}: {error.strerror}") from error
    try:
        _take(lock_fd, path, wait_s)
        _name_holder(lock_fd, f"{os.getpid()} {action}\n")
        yield
        _name_holder(lock_fd, "")
    finally:
        os.close(lock_fd)


def _take(lock_fd: int, path: str, wait_s: float) -> None:
    for tries_left in range(int(wait_s / _RETRY_S), -1, -1):
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if tries_left:
                _ask_monitor_to_give_way(lock_fd)
                pause(_RETRY_S)
    pid, action = _holder(lock_fd)
    holder = f"pid {pid} ({action})" if pid else "another process"
    raise RefusedError(
        f"{holder} is acting on this service: waited {wait_s:g} s for the action lock {path}"
    )


def _name_holder(lock_fd: int, text: str) -> None:
    # The record serves error messages only; a full disk must not prevent an action.
    with suppress(OSError):
        os.ftruncate(lock_fd, 0)
        os.pwrite(lock_fd, text.encode(), 0)


def _holder(lock_fd: int) -> tuple[str, str]:
    """Return pid and action of the lock's holder, as it recorded them in the lock file."""
    pid, _, action = os.pread(lock_fd, 200, 0).decode("ascii", "replace").strip().partition(" ")
    return pid, action


def _ask_monitor_to_give_way(lock_fd: int) -> None:
    pid, action = _holder(lock_fd)
    if action == MONITOR and pid.isdigit():
        # The process may have just ended, or belong to another user.
        with contextlib.suppress(OSError):
            os.kill(int(pid), signal.SIGTERM)
