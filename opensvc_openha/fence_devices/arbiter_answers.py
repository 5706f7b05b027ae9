"""Answers of an arbiter, whatever it is: who may fence, and whether this node is registered."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ClaimOutcome(enum.Enum):
    """Result of a claim; ``value`` is the word in answers."""

    WON = "won"
    LOST = "lost"
    UNABLE = "unable"


@dataclass(frozen=True)
class Claim:
    """Who may fence. ``by`` is the node that has the right, if this one lost."""

    outcome: ClaimOutcome
    text: str
    by: str = ""

    def as_values(self) -> dict[str, object]:
        """Return the answer of the fence program."""
        return {"outcome": self.outcome.value, "by": self.by, "text": self.text, "hints": []}


@dataclass(frozen=True)
class ArbiterLook:
    """Whether this node is registered; if not, the node that removed it.

    ``by`` is empty if this node was not yet registered, or if the arbiter lost its registrations.
    ``generation`` is the counter of an arbiter that has one.
    """

    is_registered: bool
    by: str
    is_peer_registered: bool
    text: str
    generation: int = 0
