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
