"""Child processes that each do one job for a service and are never waited for.

A child that hangs delays no other. Children die with their parent.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from opensvc_openha.system.child_process import fork_child
from opensvc_openha.system.processes import end_processes

_END_LIMIT_S = 1.0


class BackgroundJobs:
    """The running children, by service name."""

    def __init__(self) -> None:
        self._children: dict[int, str] = {}

    @property
    def names(self) -> set[str]:
        """Names of the services with a running child."""
        return set(self._children.values())

    def begin(self, name: str, work: Callable[[], None]) -> None:
        """Run ``work`` in a new process; return at once."""

        def run() -> int:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Unless the job handles it.
            try:
                work()
            except Exception as error:  # Top level of the process: catches everything.
                sys.stderr.write(f"{name}: {type(error).__name__}: {error}\n")
            return 0

        try:
            self._children[fork_child(run)] = name
        except OSError as error:
            sys.stderr.write(f"{name}: cannot be looked at: {error.strerror}\n")

    def reap(self) -> None:
        """Drop the children that have ended."""
        for pid in list(self._children):
            self._runs(pid)

    def _runs(self, pid: int) -> bool:
        if os.waitpid(pid, os.WNOHANG)[0]:
            del self._children[pid]
        return pid in self._children

    def end(self) -> None:
        """Terminate the running children; kill those that do not end."""
        end_processes(list(self._children), _END_LIMIT_S, lambda pid: not self._runs(pid))
