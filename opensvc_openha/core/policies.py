"""What the operator's policies make of two copies of a service, and of a start script that failed.

Both answer a question of one service machine; neither moves anything itself. Where a policy lets
this node stop a copy, the order (the younger first, then the secondary) leaves each node time to
hear that the other one is stopping already.
"""

from __future__ import annotations

from opensvc_openha.core.model import OnDualRun, OnStartFailure, Policy, Role
from opensvc_openha.core.timing import (
    DUAL_RUN_STEP_BEATS,
    START_FAILURES_MAX,
    START_FAILURES_WINDOW_S,
)


class DualRun:
    """Both nodes say that they run the service: since when, and whether this one stops its copy."""

    def __init__(self) -> None:
        self.since: float | None = None
        self.was_started_in_silence = False
        """This node came to run it while the peer was silent or ran it: by then the other copy was
        there."""

    def note(self, is_dual: bool, now: float) -> bool:
        """Takes what is seen now; True if that is news."""
        if is_dual == (self.since is not None):
            return False
        self.since = now if is_dual else None
        return True

    def stops_at(self, policy: Policy, role: Role, beat_interval_s: float) -> float | None:
        """Instant from which this node stops its copy; None if it never does."""
        if self.since is None or policy.on_dual_run is OnDualRun.REPORT:
            return None
        is_secondary = role is Role.SECONDARY
        if policy.on_dual_run is OnDualRun.STOP_SECONDARY:
            return self.since if is_secondary else None
        if not self.was_started_in_silence and not is_secondary:
            return None
        # In turns: the young secondary, the young primary, then an old secondary beside an old
        # primary.
        turn = (
            0
            if self.was_started_in_silence and is_secondary
            else 1
            if self.was_started_in_silence
            else 2
        )
        return self.since + turn * DUAL_RUN_STEP_BEATS * beat_interval_s


class StartFailures:
    """Start scripts that failed here lately: the more there were, the less a hand-over would
    mend.
    """

    def __init__(self) -> None:
        self._instants: list[float] = []
        self.is_script = False
        """The service is START_FAILED because its start script failed in this daemon's life."""

    def note(self, now: float) -> None:
        """Counts one."""
        self._instants = [*(at for at in self._instants if at > now - START_FAILURES_WINDOW_S), now]
        self.is_script = True

    def forget(self) -> None:
        """An operator has taken the service in hand."""
        self._instants = []

    def lets_hand_over(self, policy: Policy) -> bool:
        """True while the policy still gives the service to the peer after such a failure."""
        is_asked = policy.on_start_failure is OnStartFailure.HAND_OVER
        return is_asked and self.is_script and len(self._instants) <= START_FAILURES_MAX

    def explain(self, policy: Policy) -> str:
        """Why a failed service stays where it is, for the operator.

        Empty if the policy has nothing to say.
        """
        if policy.on_start_failure is not OnStartFailure.HAND_OVER or not self.is_script:
            return ""
        if self.lets_hand_over(policy):
            return "is handed over once the peer is heard and STOPPED"
        return (
            f"failed {len(self._instants)} times within {START_FAILURES_WINDOW_S / 60:g} min: not"
            " handed over again"
        )
