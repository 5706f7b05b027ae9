"""Child processes that each do one piece of work for a service, begun and never waited for.

One that hangs delays nobody. They end with their parent.
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
    """Those that are under way, each with the name of its service."""

    def __init__(self) -> None:
        self._children: dict[int, str] = {}

    @property
    def names(self) -> set[str]:
        """Services for which one is under way."""
        return set(self._children.values())

    def begin(self, name: str, work: Callable[[], None]) -> None:
        """Do the work in a new process; returns at once."""
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
        except Exception as error:  # The last one of this process.
            sys.stderr.write(f"{name}: {type(error).__name__}: {error}\n")
        finally:
            sys.stderr.flush()
            os._exit(0)

    def reap(self) -> None:
        """Forget those that are over."""
        for pid in list(self._children):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self._children[pid]

    def end(self) -> None:
        """End those under way; one that does not end is killed."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._children:
                os.kill(pid, number)
            give_up = monotonic() + _END_LIMIT_S
            while self._children and monotonic() < give_up:
                self.reap()
                pause(0.02)


def _be_child() -> None:
    """Ends with its parent, and by SIGTERM unless it is told to give way in order."""
    die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
