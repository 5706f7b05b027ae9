"""Ask the fence for the peer's power on a node that has not heard its peer since its boot.

This gives a proof without fencing. Only a fence with a status of its own is asked. It must report
off twice, ``POWER_GAP_S`` apart, for the same service, with nothing heard of the peer meanwhile;
on, or an unclear answer, starts over later.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from opensvc_openha.core.events import ScriptOutcome
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.timing import POWER_AGAIN_S, POWER_GAP_S

WORDS = {ScriptOutcome.UP: "on", ScriptOutcome.DOWN: "off"}


# In a world of the model checker one fence answers for the only service.
@state_marks(not_state={"answerable", "_last", "answered_at", "answered_by"})
class PowerQuestions:
    """The last question and its answer."""

    def __init__(self) -> None:
        self.answerable: frozenset[str] = frozenset()
        """Services whose fence has a status."""
        self._asked: str | None = None
        """The service whose fence is being asked."""
        self._is_void = False
        """The peer was heard, or this node was stalled, since the question."""
        self._off: str | None = None
        """The service whose fence last reported off."""
        self._last = ""
        self._next_at = -math.inf
        self.answer = ""
        self.answered_at: float | None = None
        self.answered_by = ""

    def void(self) -> None:
        """Void the last answer and the pending question."""
        self._off, self._is_void = None, True

    @property
    def due_at(self) -> float | None:
        """Return when the next question is due.

        None while one is pending or no fence can answer.
        """
        return None if self._asked is not None or not self.answerable else self._next_at

    def choose(self, services: Collection[str]) -> str | None:
        """Return the waiting service whose fence to ask.

        The same one twice for a proof, else one after the other.
        """
        able = sorted(self.answerable.intersection(services))
        if not able:
            return None
        if self._off in able:
            return self._off
        return next((name for name in able if name > self._last), able[0])

    def record_question(self, service: str) -> None:
        """Record that the fence of a service is being asked."""
        self._asked = self._last = service
        self._is_void = False

    def answered(self, service: str, outcome: ScriptOutcome, now: float) -> tuple[bool, str]:
        """Handle an answer; return whether it proves the peer off, and the text to record."""
        if service != self._asked:
            return False, ""
        self._asked = None
        word = WORDS.get(outcome, "nothing clear")
        is_news = (word, service) != (self.answer, self.answered_by)
        self.answer, self.answered_at, self.answered_by = word, now, service
        is_off = outcome is ScriptOutcome.DOWN and not self._is_void
        # One report may be of a moment of a reset, between off and on.
        is_proved = is_off and self._off == service
        self._off = service if is_off and not is_proved else None
        self._next_at = now + (POWER_GAP_S if is_off else POWER_AGAIN_S)
        return (
            is_proved,
            f"the fence of {service} reports the peer's power: {word}"
            if is_news or is_proved
            else "",
        )
