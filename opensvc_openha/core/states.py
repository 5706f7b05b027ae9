"""The service states of OpenHA, their digits, and the groups the rules speak of.

Digits 0-9 are those of the original's STATE files and heartbeats. FROZEN_START is a state of its
own here; the original wrote START_READY (7) for it, so that is its digit where only ten exist.
"""

from __future__ import annotations

import enum


class ServiceState(enum.Enum):
    """State of one service on one node; ``name`` is the word shown to the operator."""

    STOPPED = 0
    STOPPING = 1
    STARTED = 2
    STARTING = 3
    START_FAILED = 4
    STOP_FAILED = 5
    FROZEN_STOP = 6
    START_READY = 7
    UNKNOWN = 8
    FORCE_STOP = 9
    FROZEN_START = 10

    @property
    def digit(self) -> int:
        """Code 0-9 of the original's files and frames."""
        return 7 if self is ServiceState.FROZEN_START else self.value

    @classmethod
    def from_digit(cls, digit: int) -> ServiceState:
        """State for a code 0-9; raises ValueError for anything else."""
        if not 0 <= digit <= 9:
            raise ValueError(f"no service state has the digit {digit!r}")
        return cls(digit)


PEER_OUT = frozenset({ServiceState.STOPPED, ServiceState.FROZEN_STOP})
"""What a peer must say before this node may start the service."""

RUNS_SOMETHING = frozenset(
    {
        ServiceState.STARTING,
        ServiceState.STARTED,
        ServiceState.FROZEN_START,
        ServiceState.STOPPING,
        ServiceState.STOP_FAILED,
    }
)
"""States of a node that has something to lose by being fenced."""

FENCE_WANTED = frozenset(
    {
        ServiceState.STOPPED,
        ServiceState.START_READY,
        ServiceState.STARTING,
        ServiceState.START_FAILED,
    }
)
"""States that a silent peer may make a node leave by fencing it, without an operator."""

FROZEN = frozenset({ServiceState.FROZEN_STOP, ServiceState.FROZEN_START})
"""States the engine never leaves by itself."""

UP = frozenset({ServiceState.STARTED, ServiceState.FROZEN_START})
"""The service is up on the node, and no script of it runs."""

SCRIPT_RUNS = frozenset({ServiceState.STARTING, ServiceState.STOPPING})
"""A check-up, start or stop script of the service runs on the node."""

UP_OR_STARTING = frozenset({ServiceState.STARTING, ServiceState.STARTED, ServiceState.FROZEN_START})
"""What a peer announces that has taken the service."""

UP_OR_STOPPING = UP | {ServiceState.STOPPING}
"""What a peer announces that has a copy of the service.

STOPPING belongs to it: the peer may end its copy so soon that the beat before is never heard.
"""

UP_OR_IN_SCRIPT = UP | SCRIPT_RUNS
"""The service is in use on the node, or is about to be, or was until now."""

START_ENDED = UP | {ServiceState.START_FAILED}
"""A start that was asked for ends in one of these."""

TAKEN = frozenset({ServiceState.STARTING, ServiceState.STARTED})
"""States that the engine enters by itself, and that it leaves when the peer has taken the service
meanwhile.
"""

WILLING = frozenset({ServiceState.STOPPED, ServiceState.START_READY, ServiceState.STARTING})
"""A node in one of these starts the service as soon as it may."""

PASSING = frozenset({ServiceState.START_READY, ServiceState.STARTING, ServiceState.STOPPING})
"""States on the way from one resting state to another."""

SET_OFF = frozenset({ServiceState.START_READY, ServiceState.STOPPING})
"""The first state of a start and of a stop: the reason of this change is what set it off."""

STOPS_ON_LEAVE = frozenset({ServiceState.STARTING, ServiceState.STARTED, ServiceState.STOPPING})
"""What a daemon that leaves waits for: these services it still has to stop."""

LEFT_UNSTOPPED = STOPS_ON_LEAVE | {ServiceState.STOP_FAILED, ServiceState.UNKNOWN}
"""A stop of the node should have stopped the service, and has not, or it is not known.

FROZEN_START is not among them: a frozen service is left as it is.
"""

STOPPED_BY_SCRIPT = frozenset(
    {
        ServiceState.STARTED,
        ServiceState.START_FAILED,
        ServiceState.STOP_FAILED,
        ServiceState.UNKNOWN,
    }
)
"""A stop by a command begins with the stop script; elsewhere nothing is run for it at once."""

MAY_RUN = frozenset(
    {
        ServiceState.STARTING,
        ServiceState.STARTED,
        ServiceState.FROZEN_START,
        ServiceState.STOPPING,
        ServiceState.START_FAILED,
        ServiceState.STOP_FAILED,
        ServiceState.UNKNOWN,
    }
)
"""States in which some resource of the service may be in use on the node."""
