"""Define the service states of OpenHA, their digits, and the groups that the rules use.

Digits 0-9 are those of the original's STATE files and heartbeats. FROZEN_START is a separate state
here; the original wrote START_READY (7) for it, so that is its digit where only ten exist.
"""

from __future__ import annotations

import enum


class ServiceState(enum.Enum):
    """State of one service on one node; ``name`` is the operator's word for it."""

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

    # Members are unique objects. The hash of enum.Enum is a call of Python each time, and with a
    # thousand services it is asked for thousands of times per beat.
    __hash__ = object.__hash__

    @property
    def digit(self) -> int:
        """Digit 0-9 of the original's files and frames."""
        return 7 if self is ServiceState.FROZEN_START else self.value

    @classmethod
    def from_digit(cls, digit: int) -> ServiceState:
        """Return the state of a digit 0-9; raise ValueError for anything else."""
        if not 0 <= digit <= 9:
            raise ValueError(f"no service state has the digit {digit!r}")
        return cls(digit)


PEER_OUT = frozenset({ServiceState.STOPPED, ServiceState.FROZEN_STOP})
"""The peer must announce one of these before this node may start the service."""

RUNS_SOMETHING = frozenset(
    {
        ServiceState.STARTING,
        ServiceState.STARTED,
        ServiceState.FROZEN_START,
        ServiceState.STOPPING,
        ServiceState.STOP_FAILED,
    }
)
"""A node in one of these loses something by being fenced."""

FENCE_WANTED = frozenset(
    {
        ServiceState.STOPPED,
        ServiceState.START_READY,
        ServiceState.STARTING,
        ServiceState.START_FAILED,
    }
)
"""States in which a node may fence a silent peer without an operator's order."""

FROZEN = frozenset({ServiceState.FROZEN_STOP, ServiceState.FROZEN_START})
"""States the engine never leaves by itself."""

UP = frozenset({ServiceState.STARTED, ServiceState.FROZEN_START})
"""The service is up on the node, and no script of it runs."""

SCRIPT_RUNS = frozenset({ServiceState.STARTING, ServiceState.STOPPING})
"""A check-up, start or stop script of the service runs on the node."""

UP_OR_STARTING = frozenset({ServiceState.STARTING, ServiceState.STARTED, ServiceState.FROZEN_START})
"""A peer in one of these has taken the service."""

UP_OR_STOPPING = UP | {ServiceState.STOPPING}
"""What a peer announces that has a copy of the service.

STOPPING belongs to it: the peer may end its copy so soon that the beat before is never heard.
"""

UP_OR_IN_SCRIPT = UP | SCRIPT_RUNS
"""The service is in use on the node, or is about to be, or was until now."""

START_ENDED = UP | {ServiceState.START_FAILED}
"""A start that was asked for ends in one of these."""

TAKEN = frozenset({ServiceState.STARTING, ServiceState.STARTED})
"""States that the engine enters by itself, and leaves if the peer has taken the service meanwhile.
"""

WILLING = frozenset({ServiceState.STOPPED, ServiceState.START_READY, ServiceState.STARTING})
"""A node in one of these starts the service as soon as it may."""

AWAITS_PROOF = frozenset(
    {ServiceState.START_READY, ServiceState.STARTING, ServiceState.START_FAILED}
)
"""A service that is to be taken over from a silent peer is in one of these until it may start."""

PASSING = frozenset({ServiceState.START_READY, ServiceState.STARTING, ServiceState.STOPPING})
"""States on the way from one resting state to another."""

FAILED = frozenset({ServiceState.START_FAILED, ServiceState.STOP_FAILED})
"""A script of the service failed: an operator has to look."""

STOP_BEGUN = frozenset({ServiceState.STOPPING, ServiceState.STOP_FAILED})
"""A stop was begun, and has not succeeded."""

SET_OFF = frozenset({ServiceState.START_READY, ServiceState.STOPPING})
"""The first state of a start and of a stop: the reason of this change is the cause."""

STOPS_ON_LEAVE = frozenset({ServiceState.STARTING, ServiceState.STARTED, ServiceState.STOPPING})
"""A daemon that leaves waits for services in these states, which it still has to stop."""

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
"""A stop command begins with the stop script in these states; in others no script runs at once."""

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


def state_name(state: ServiceState | None) -> str:
    """Return the name of a state for a message; `not known` without one."""
    return "not known" if state is None else state.name
