"""Find out when nothing confirms any more that this node lives (`on_lost = stop`).

One renewal that is lost means nothing, as to the watchdog. If at least two in a row were asked for,
and nothing was confirmed for twice the sum of interval and time for an answer, the node is *cut
off*; with a watchdog that waits longer than this and the stops take, as much later. What is left of
the watchdog's time serves to stop its services in order. It stays cut off until something confirms
what it did after that.
"""

from __future__ import annotations

import math

from opensvc_openha.core.promise import patience_s
from opensvc_openha.core.state_marks import state_marks

_ASKS_LOST = 2
_ASKS_KEPT = 4
CUT_OFF = "nothing confirms that this node lives"


@state_marks(not_state={"is_told"})
class CutOff:
    """Whether this node is cut off from all that could confirm that it lives."""

    def __init__(self) -> None:
        self._asks: tuple[float, ...] = ()
        """When renewals were asked for, an interval apart, since the last one that came in time."""
        self.since: float | None = None
        """When it was found; None while something confirms."""
        self.is_told = False

    def record_ask(self, interval_s: float, now: float) -> None:
        """Record a beat for which a confirmation is asked."""
        if self._asks and now < self._asks[-1] + 0.75 * interval_s:
            return
        if len(self._asks) < _ASKS_KEPT:
            self._asks = *self._asks, now

    def record_confirmed(self, began_at: float, is_in_time: bool) -> None:
        """Record that something confirms what this node did at ``began_at``."""
        if is_in_time:
            self._asks = tuple(at for at in self._asks if at > began_at)
        if self.since is not None and began_at > self.since:
            self.end()

    def restart(self) -> None:
        """Count from the next beat on: this node stood still, and heard nothing meanwhile."""
        self._asks = ()

    def due_at(
        self, interval_s: float, answer_s: float, earliest: float = -math.inf
    ) -> float | None:
        """Return when it will be cut off unless something confirms; None if that is open.

        Not before ``earliest``: until then the watchdog leaves time enough.
        """
        if self.since is not None or len(self._asks) < _ASKS_LOST:
            return None
        # The last renewal began an interval before the first that was lost, or later.
        first = self._asks[0] + patience_s(interval_s, answer_s) - interval_s
        return max(first, self._asks[_ASKS_LOST - 1] + answer_s, earliest)

    def begin(self, now: float) -> None:
        """Record that nothing confirms any more."""
        self.since = now

    def end(self) -> None:
        """Record that something confirms again."""
        self.since, self._asks = None, ()

    @property
    def text(self) -> str:
        """Say that it is cut off, as a clause; empty while it is not."""
        return "" if self.since is None else CUT_OFF
