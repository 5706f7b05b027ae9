"""Child processes that each do one job for a service and are never waited for.

A child that hangs delays no other. Children die with their parent.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from opensvc_openha.agent.host.parent_death_signal import die_with_parent
from opensvc_openha.system.clock import monotonic, pause

_END_LIMIT_S = 1.0


class Children:
    """The running children, by service name."""

    def __init__(self) -> None:
        self._children: dict[int, str] = {}

    @property
    def names(self) -> set[str]:
        """Names of the services with a running child."""
        return set(self._children.values())

    def begin(self, name: str, work: Callable[[], None]) -> None:
        """Run ``work`` in a new process; return at once."""
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = os.fork()
        except OSError as error:
            sys.stderr.write(f"{name}: cannot be looked at: {error.strerror}\n")
            return
        if pid:
            self._children[pid] = name
            return
        try:
            _be_child()
            work()
        except Exception as error:  # Top level of the process: catches everything.
            sys.stderr.write(f"{name}: {type(error).__name__}: {error}\n")
        finally:
            sys.stderr.flush()
            os._exit(0)

    def reap(self) -> None:
        """Drop the children that have ended."""
        for pid in list(self._children):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self._children[pid]

    def end(self) -> None:
        """Terminate the running children; kill those that do not end."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._children:
                os.kill(pid, number)
            give_up = monotonic() + _END_LIMIT_S
            while self._children and monotonic() < give_up:
                self.reap()
                pause(0.02)


def _be_child() -> None:
    """Die with the parent, and on SIGTERM unless the job handles it."""
    die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
