"""L1: what can run, runs, once nothing goes wrong any more.

Exceptions:

* a node in any other state keeps the service, or keeps others from it, by the rules
* the node lost its right to the peer: it waits for that node, or for an operator
* the peer left it frozen and running when its daemon departed: no node takes it then
* it is announced as STARTED, and does not run: an operator forced the state, or the daemon had to
  begin with a file that did not hold what its predecessor tried to write, or without an answer of
  the wrapper
"""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.core import timing
from opensvc_openha.core.states import WILLING, ServiceState
from opensvc_openha.verify.invariants.place import ServicePlace
from opensvc_openha.verify.invariants.promise import Promise
from opensvc_openha.verify.invariants.s2_evidence import PeerEvidence

L1 = Promise(
    "L1",
    "once faults have ended, a service that a healthy node is willing to run, runs within a bound",
)

Healthy = dict[str, tuple[ServicePlace, PeerEvidence]]
"""The healthy nodes by name: the service there, and what the node knows of its peer."""


def is_served(service: str, healthy: Healthy) -> bool:
    """Return True unless a willing healthy node waits for the service."""
    states = [place.state for place, _ in healthy.values()]
    is_kept = any(
        state not in WILLING and state is not ServiceState.FROZEN_STOP for state in states
    )
    is_left = any(evidence.has_left_frozen(service) for _, evidence in healthy.values())
    return is_kept or is_left or not any(state in WILLING for state in states)


def check_liveness(service: str, healthy: Healthy) -> None:
    """Check that a willing healthy node runs the service, after the liveness bound."""
    if not is_served(service, healthy):
        shown = ", ".join(
            f"{name} {place.state.name if place.state else 'unknown'}"
            for name, (place, _) in healthy.items()
        )
        L1.fail(0.0, next(iter(healthy)), service, f"runs nowhere after the bound: {shown}")


def check_claims(service: str, places: Iterable[tuple[str, ServicePlace]]) -> None:
    """Check that a service announced as STARTED runs, once nothing moves any more."""
    for name, place in places:
        is_excused = place.is_forced or place.is_guess
        if place.state is ServiceState.STARTED and not place.is_running and not is_excused:
            L1.fail(0.0, name, service, "announced as STARTED, but nothing runs there")


def liveness_bound_s(longest_timeout_s: float, script_s: float) -> float:
    """Return the longest outage in seconds without further faults.

    Each script takes ``script_s``. The worst case: a goodbye's hold, then silence, a hold after a
    stop or a failed write, the delay, and three scripts one after the other, since a check-up that
    was overtaken by a returning peer is repeated.
    """
    return (
        timing.RESTART_HOLD_S
        + 2 * longest_timeout_s
        + timing.STUCK_S
        + timing.STORE_RETRY_S
        + 2 * timing.STOP_HOLD_S
        + 2 * timing.START_READY_DELAY_S
        + 4 * script_s
        + 4 * timing.BEAT_INTERVAL_S
    )


def fence_wait_bound_s(longest_timeout_s: float, fence_s: float, silent_s: float = 0.0) -> float:
    """Return the longest wait in seconds for a fence's turn, or after a failed fence.

    In a silence that has lasted for ``silent_s``. The worst case: the peer may know the node as one
    that starts nothing, and has all turns but a few for itself. A fence that has failed in one of
    those few waits for the next of them.
    """
    turn_s = (
        (fence_s + longest_timeout_s) * (1.0 + timing.TURN_DRIFT)
        + timing.TURN_OPEN_S
        + 2 * timing.BEAT_INTERVAL_S
    )
    left_s = max(timing.SOLO_FENCING_S, timing.SOLO_GROWTH * silent_s)
    last_s = left_s + 2 * turn_s
    return (
        last_s
        + 2 * (turn_s + timing.TURN_DRIFT * last_s)
        + timing.FENCE_RETRY_MAX_S
        + timing.BOOT_PATIENCE_S
    )
