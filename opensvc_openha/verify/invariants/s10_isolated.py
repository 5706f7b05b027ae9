"""S10: a node that nothing answers fences nobody, and takes over nothing by its peer's promise.

By what it announces of itself, and by what its targets really do: they have answered none of twice
as many rounds in a row as a verdict takes.

Exceptions:

* a fence that has begun before that runs to its end, and so do the further steps of its round
* an operator's word, and what such a fence has proved, start services all the same; a check-up
  script of the service's own may come between
* rounds with a longer gap between them are no row: the node stood still
"""

from __future__ import annotations

from opensvc_openha.core.facts import Reach
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.timing import PING_ANSWERS, PING_MISSES
from opensvc_openha.verify.invariants.observations import Announced, Asked, Moved
from opensvc_openha.verify.invariants.promise import Promise

S10 = Promise(
    "S10",
    "a node whose targets do not answer it begins no fence, and starts nothing on its peer's"
    " promise",
)
_GAP_S = 2.5
"""Longest time between two rounds of a row."""


class Isolation:
    """What one daemon reports of its targets, and how many rounds in a row brought no answer."""

    def __init__(self) -> None:
        self._is_reported = False
        self._misses = self._answers = 0
        self._asked_at: float | None = None
        self._is_in_round = False

    def take_round(self, seen: Asked) -> None:
        """Record a round of requests."""
        is_row = self._asked_at is not None and seen.at <= self._asked_at + _GAP_S
        self._misses = 0 if seen.is_answered else self._misses + 1 if is_row else 1
        self._answers = self._answers + 1 if seen.is_answered else 0
        self._asked_at = seen.at
        # A peer that is silent may be one to which no facts are sent.
        self._is_reported = self._is_reported and self._answers < PING_ANSWERS

    def take_beat(self, seen: Announced) -> None:
        """Record what the node announces of itself."""
        facts = seen.beat.facts
        if facts is not None:
            known = facts.connectivity
            self._is_reported = known is not None and known.reach is Reach.ISOLATED

    def take_move(self, seen: Moved) -> None:
        """Record the end of a round of the fence plan that proved nothing."""
        if seen.state is ServiceState.START_FAILED:
            self._is_in_round = False

    def end_round(self) -> None:
        """Record that the peer was heard: no round outlives that."""
        self._is_in_round = False

    def check_step(self, at: float, node: str) -> None:
        """Check the beginning of a step of the fence plan."""
        if not self._is_in_round:
            self.check_fence(at, node)
        self._is_in_round = True

    def check_script(self, at: float, node: str, service: str) -> None:
        """Check the beginning of a check-up script beside a silent peer."""
        if not self._is_in_round:
            self.check_fence(at, node, service)

    def check_fence(self, at: float, node: str, service: str = "") -> None:
        """Check the beginning of a fence."""
        if self._is_reported:
            S10.fail(
                at, node, service, "fences its peer, although it announces that it is isolated"
            )
        if self._misses >= 2 * PING_MISSES:
            text = f"fences its peer, although {self._misses} rounds in a row brought no answer"
            S10.fail(at, node, service, text)

    def check_start(self, at: float, node: str, service: str, ground: str) -> None:
        """Check a start, by the ground that it has."""
        if self._is_reported and ground == "lease":
            text = "starts on its peer's promise, although it announces that it is isolated"
            S10.fail(at, node, service, text)
