"""Questions to the fence of a node that waits because it has not heard its peer since it booted: is
that one off?

A proof that shoots nobody. Only a fence is asked that has a status of its own. It must say off
twice, ``POWER_GAP_S`` apart, to the questions of one service, with nothing heard of the peer
meanwhile; on, or no clear answer, begins anew later.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from opensvc_openha.core.events import ScriptOutcome
from opensvc_openha.core.timing import POWER_AGAIN_S, POWER_GAP_S

WORDS = {ScriptOutcome.UP: "on", ScriptOutcome.DOWN: "off"}


class PowerQuestions:
    """What was asked last, and what was said."""

    def __init__(self) -> None:
        self.tells: frozenset[str] = frozenset()
        """Services whose fence has a status."""
        self._asked: str | None = None
        """The service whose fence is being asked."""
        self._is_void = False
        """The peer was heard, or this node was stalled, since it was asked."""
        self._off: str | None = None
        """The service whose fence said off last."""
        self._last = ""
        self._next_at = -math.inf
        self.said = ""
        self.said_at: float | None = None
        self.said_of = ""

    def void(self) -> None:
        """What was said, and what is being asked, proves nothing any more."""
        self._off, self._is_void = None, True

    @property
    def due_at(self) -> float | None:
        """When the next question may be put.

        None while one is under way, or nobody can be asked.
        """
        return None if self._asked is not None or not self.tells else self._next_at

    def choose(self, services: Collection[str]) -> str | None:
        """Of the services that wait, the one whose fence is asked: the same twice for a proof, else
        one after the other.
        """
        able = sorted(self.tells.intersection(services))
        if not able:
            return None
        if self._off in able:
            return self._off
        return next((name for name in able if name > self._last), able[0])

    def asks(self, service: str) -> None:
        """The fence of a service is asked now."""
        self._asked = self._last = service
        self._is_void = False

    def answered(self, service: str, outcome: ScriptOutcome, now: float) -> tuple[bool, str]:
        """Takes an answer; True if the peer is proved off by it, and what is worth a line, if it is
        news.
        """
        if service != self._asked:
            return False, ""
        self._asked = None
        word = WORDS.get(outcome, "nothing clear")
        is_news = (word, service) != (self.said, self.said_of)
        self.said, self.said_at, self.said_of = word, now, service
        is_off = outcome is ScriptOutcome.DOWN and not self._is_void
        is_proved = is_off and self._off == service
        self._off = service if is_off and not is_proved else None
        self._next_at = now + (POWER_GAP_S if is_off else POWER_AGAIN_S)
        return (
            is_proved,
            f"the fence of {service} says of the peer's power: {word}"
            if is_news or is_proved
            else "",
        )
