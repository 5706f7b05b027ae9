"""Apply the operator's policies to two copies of a service, a failed start, an isolated node.

All classes answer a question of one service machine; neither moves anything itself. If a policy
lets this node stop a copy, the order (the younger first, then the secondary) leaves each node time
to hear that the other one is already stopping.
"""

from __future__ import annotations

from opensvc_openha.core.model import OnDualRun, OnStartFailure, Policy, Role
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.timing import (
    DUAL_RUN_STEP_BEATS,
    ISOLATED_MOVES_MAX,
    ISOLATED_MOVES_WINDOW_S,
    START_FAILURES_MAX,
    START_FAILURES_WINDOW_S,
)


@state_marks(not_state={"since"})
class DualRun:
    """A dual run: since when both nodes report the service running, and whether this one stops."""

    def __init__(self) -> None:
        self.since: float | None = None
        self.was_started_in_silence = False
        """This node came to run it while the peer was silent or ran it.

        The other copy existed by then.
        """

    def update(self, is_dual: bool, now: float) -> bool:
        """Update the dual run; return True at its beginning and its end."""
        if is_dual == (self.since is not None):
            return False
        self.since = now if is_dual else None
        return True

    def stops_at(self, policy: Policy, role: Role, beat_interval_s: float) -> float | None:
        """Return when this node stops its copy; None if it never does."""
        if self.since is None or policy.on_dual_run is OnDualRun.REPORT:
            return None
        is_secondary = role is Role.SECONDARY
        if policy.on_dual_run is OnDualRun.STOP_SECONDARY:
            return self.since if is_secondary else None
        if not self.was_started_in_silence and not is_secondary:
            return None
        # One after the other: the young secondary, the young primary, then an old secondary beside
        # an old primary.
        turn = (
            0
            if self.was_started_in_silence and is_secondary
            else 1
            if self.was_started_in_silence
            else 2
        )
        return self.since + turn * DUAL_RUN_STEP_BEATS * beat_interval_s


class StartFailures:
    """Recent failures of start scripts here: the more, the less a hand-over would help."""

    def __init__(self) -> None:
        self._instants: list[float] = []
        self.is_script = False
        """The service is START_FAILED because its start script failed under this daemon."""

    def record(self, now: float) -> None:
        """Count a failure."""
        self._instants = [*(at for at in self._instants if at > now - START_FAILURES_WINDOW_S), now]
        self.is_script = True

    def forget(self) -> None:
        """Clear the count: an operator acted on the service."""
        self._instants = []

    def lets_hand_over(self, policy: Policy) -> bool:
        """Return True while the policy still hands the service over after such a failure."""
        # After some failures in a row the nodes would only pass the service to and fro.
        is_asked = policy.on_start_failure is OnStartFailure.HAND_OVER
        return is_asked and self.is_script and len(self._instants) <= START_FAILURES_MAX

    def explain(self, policy: Policy) -> str:
        """Explain to the operator why a failed service stays.

        Empty if the policy does not matter.
        """
        if policy.on_start_failure is not OnStartFailure.HAND_OVER or not self.is_script:
            return ""
        if self.lets_hand_over(policy):
            return "is handed over once the peer is heard and STOPPED"
        return (
            f"failed {len(self._instants)} times within {START_FAILURES_WINDOW_S / 60:g} min: not"
            " handed over again"
        )


class IsolatedMoves:
    """Hand-overs of one service by a node that is isolated.

    Once each time that it is: a service that came back since, because the peer did not take it or
    an operator wants it here, stays.
    """

    def __init__(self) -> None:
        self._instants: tuple[float, ...] = ()
        self._of: float | None = None
        """Since when the node was isolated at the last one."""
        self.is_going_on = False
        """From the decision until it was stopped, or something else was decided."""

    def begin(self, isolated_since: float | None, now: float) -> None:
        """Hand the service over."""
        self._instants = (*self._recent(now), now)
        self._of, self.is_going_on = isolated_since, True

    def _recent(self, now: float) -> tuple[float, ...]:
        return tuple(at for at in self._instants if at > now - ISOLATED_MOVES_WINDOW_S)

    def why_not(self, isolated_since: float | None, now: float) -> str:
        """Return why a service is not handed over now; empty if it may be."""
        if isolated_since is not None and self._of == isolated_since:
            return "it was, and is here again"
        if len(self._recent(now)) >= ISOLATED_MOVES_MAX:
            minutes = ISOLATED_MOVES_WINDOW_S / 60
            return f"it was {ISOLATED_MOVES_MAX} times within {minutes:g} min"
        return ""
