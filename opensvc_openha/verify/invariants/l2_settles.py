"""L2: after a fault or an order nothing moves for ever.

Exception: a fence that fails is a fault of its own, and retried: transitions count from there.
"""

from __future__ import annotations

from opensvc_openha.core import timing
from opensvc_openha.verify.invariants.observations import Moved
from opensvc_openha.verify.invariants.promise import Promise

L2 = Promise("L2", "after a fault, services settle within a bounded number of transitions")

SETTLE_MOVES = 36
"""Transitions of one service, on both nodes together, that may follow a fault.

More are an oscillation.
"""
assert SETTLE_MOVES >= 2 * (timing.START_FAILURES_MAX + 1) * 5, (
    "a service that starts nowhere is tried so often on each node"
)


class Settling:
    """Counts the transitions of each service, on both nodes together."""

    def __init__(self) -> None:
        self._moves: dict[str, int] = {}

    def forget(self) -> None:
        """Restart the count: something was disturbed or ordered."""
        self._moves.clear()

    def forget_service(self, service: str) -> None:
        """Restart the count of one service."""
        self._moves.pop(service, None)

    def check_move(self, seen: Moved) -> None:
        """Count one transition."""
        self._moves[seen.service] = self._moves.get(seen.service, 0) + 1
        if self._moves[seen.service] > SETTLE_MOVES:
            text = f"{SETTLE_MOVES} transitions and still moving, to {seen.state.name}"
            L2.fail(seen.at, seen.node, seen.service, text)
