"""Allow one action at a time per service.

The resource monitor has the lowest priority: any other action terminates it first.
"""

from __future__ import annotations

import os
import signal
from contextlib import AbstractContextManager

from opensvc_openha.errors import RefusedError
from opensvc_openha.system.lock_file import hold_lock
from opensvc_openha.system.processes import send_signal

DEFAULT_WAIT_S = 30.0
MONITOR = "resource_monitor"


def action_lock(
    directory: str, action: str, wait_s: float = DEFAULT_WAIT_S, name: str = "action.lock"
) -> AbstractContextManager[None]:
    """Hold the action lock of the service whose run-time data is in ``directory``.

    Raises RefusedError when the lock is not free within ``wait_s`` seconds.
    """
    path = os.path.join(directory, name)

    def refusal(owner: str) -> RefusedError:
        pid, _, held_for = owner.partition(" ")
        holder = f"pid {pid} ({held_for})" if pid else "another process"
        return RefusedError(
            f"{holder} is acting on this service: waited {wait_s:g} s for the action lock {path}"
        )

    return hold_lock(path, wait_s, refusal, f"{os.getpid()} {action}", _ask_monitor_to_give_way)


def _ask_monitor_to_give_way(owner: str) -> None:
    pid, _, action = owner.partition(" ")
    if action == MONITOR and pid.isdigit():
        send_signal(int(pid), signal.SIGTERM)
