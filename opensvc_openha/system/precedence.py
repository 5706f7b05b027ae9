"""Give what works for a thread the precedence of that thread.

The kernel does not hand it on: the flag of ``daemon.realtime`` resets it for whatever a thread
starts, other threads of this process included. A session has a weight of its own besides. Source:
sched(7).
"""

from __future__ import annotations

import contextlib
import os

from opensvc_openha.named_tuples import NamedTuple

_AUTOGROUP = "/proc/{}/autogroup"


class Precedence(NamedTuple):
    """Class, priority and niceness of a thread."""

    policy: int
    priority: int
    nice: int

    @staticmethod
    def of_this_thread() -> Precedence:
        """Return that of the calling thread."""
        return Precedence(
            os.sched_getscheduler(0),
            os.sched_getparam(0).sched_priority,
            os.getpriority(os.PRIO_PROCESS, 0),
        )

    def give(self, task: int) -> None:
        """Give it to a thread or a process, 0 for the calling thread; as far as permitted."""
        with contextlib.suppress(OSError):
            os.sched_setscheduler(task, self.policy, os.sched_param(self.priority))
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, task, self.nice)


def give_weight(leader: int) -> None:
    """Give a session, by the process that leads it, the weight of that of this process.

    Nothing happens without the permission, or without such sharing. The file is empty for a
    process whose session has no weight of its own: none was made since the machine started, as in
    some containers.
    """
    with contextlib.suppress(OSError):
        with open(_AUTOGROUP.format("self"), encoding="ascii") as file:
            _, found, weight = file.read().rpartition("nice ")
        if found:
            with open(_AUTOGROUP.format(leader), "w", encoding="ascii") as file:
                file.write(weight.strip())
