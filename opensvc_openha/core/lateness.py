"""Know when the next step is due, and by how much a step comes too late: a stall of this node."""

from __future__ import annotations

import math

from opensvc_openha.core.state_marks import state_marks


@state_marks(not_state={"expected_at", "late_s", "_busy_until", "_stalled_at"})
class Lateness:
    """Compare each step with the instant at which it was expected."""

    def __init__(self, now: float) -> None:
        self.expected_at = now
        self.late_s = 0.0
        """Lateness of the last step, in seconds."""
        self._busy_until = -math.inf
        self._stalled_at = -math.inf

    def mark_busy_until(self, until: float) -> None:
        """Record work of this node until ``until``: it was late, but not stalled."""
        self._busy_until = until

    def lateness_s(self, now: float) -> float:
        """Return how late a step at ``now`` is, apart from this node's work; negative if early."""
        # Beats that came in during this node's own work wait in the inbox: none was missed.
        return now - max(self.expected_at, self._busy_until)

    def record(self, now: float, waited_from: float | None) -> float:
        """Record a step, and since when its beat waits if it has one; return how late it is.

        A beat that waited in the inbox shows a stall as well: others behind it may prove the peer
        alive.
        """
        late_s = self.lateness_s(now)
        if waited_from is not None:
            late_s = max(late_s, now - max(waited_from, self._busy_until))
        self.late_s = max(0.0, late_s)
        return late_s

    def record_stall(self, now: float, quiet_s: float) -> bool:
        """Record a stall; return True if the last one is longer ago than ``quiet_s``."""
        is_news = now > self._stalled_at + quiet_s
        self._stalled_at = now
        return is_news
