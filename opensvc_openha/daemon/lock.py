"""Lock the place of the one daemon per node; held for its whole run, with its pid inside."""

from __future__ import annotations

import contextlib
import logging
import os
import threading

from opensvc_openha.errors import RefusedError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.system.files import identity_of
from opensvc_openha.system.lock_file import open_lock, read_owner, try_lock
from opensvc_openha.system.processes import all_pids, process_name

_WAIT_S = 0.25
"""A command that looks for a daemon holds the lock for an instant."""
_PID_WIDTH = 15
DAEMON_THREAD = "nmond"
"""The kernel's name of the daemon's process."""


def take_lock(layout: Layout) -> int:
    """Return the handle of this node's lock, with our pid in it.

    RefusedError if another holds it.
    """
    handle = open_lock(layout.lock_file)
    if not try_lock(handle, _WAIT_S):
        holder = read_owner(handle)
        os.close(handle)
        raise already_running(int(holder) if holder.isdigit() else 0)
    if not os.fstat(handle).st_size:
        pid = _holder_of_removed_lock(layout, os.fstat(handle).st_dev)
        if pid:
            os.close(handle)
            raise RefusedError(
                f"nmond is already running on this node (pid {pid});"
                f" {layout.lock_file} was removed, which it puts back within seconds: try again"
                " then"
            )
    _write_pid(handle)
    return handle


class Place:
    """The place of the one daemon on this node.

    ``expect`` is called by the main thread and by the one that writes states; one of them takes a
    removed lock again, the other one waits for it.
    """

    def __init__(self, layout: Layout, handle: int, node: str, logger: logging.Logger) -> None:
        self.handle = handle
        self._layout = layout
        self._node = node
        self._log = logger
        self._lock = threading.Lock()

    def expect(self) -> None:
        """Take the lock again if its file was removed.

        Raises RefusedError if another daemon has taken the place.
        """
        with self._lock:
            if not lock_is_in_place(self._layout, self.handle):
                self.handle = take_lock(self._layout)
                self._log.warning(
                    "node %s: %s had been removed", self._node, self._layout.lock_file
                )


def _holder_of_removed_lock(layout: Layout, device: int) -> int:
    """Return the pid of a daemon whose lock file was removed, 0 if there is none.

    Two daemons of one node must not run.
    """
    removed = f"{os.path.realpath(layout.lock_file)} (deleted)"
    for pid in all_pids():
        if pid == os.getpid() or process_name(pid) != DAEMON_THREAD:
            continue
        # A process that just ended cannot be inspected, nor can another user's.
        with contextlib.suppress(OSError):
            handles = [f"/proc/{pid}/fd/{number}" for number in os.listdir(f"/proc/{pid}/fd")]
            if any(
                os.readlink(path) == removed and os.stat(path).st_dev == device for path in handles
            ):
                return pid
    return 0


def _write_pid(handle: int) -> None:
    """Overwrite the pid at a fixed width; a full disk has no room for truncating first."""
    # Fails for a new file on a full disk. The lock holds all the same; only the pid is not shown.
    with contextlib.suppress(OSError):
        os.pwrite(handle, f"{os.getpid():<{_PID_WIDTH}}\n".encode("ascii"), 0)


def lock_is_in_place(layout: Layout, handle: int) -> bool:
    """Return False if the file we hold is no longer the one that the next daemon would lock."""
    return identity_of(layout.lock_file) == identity_of(handle)


def already_running(pid: int) -> RefusedError:
    """Return the error that names the running daemon, if its pid is known (not 0)."""
    return RefusedError("nmond is already running on this node" + (f" (pid {pid})" if pid else ""))
