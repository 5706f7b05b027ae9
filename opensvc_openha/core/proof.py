"""Define proofs, by which a service may be started beside a silent peer, and hints.

A proof is a fact from which follows that one incarnation of the peer cannot run a service. All else
is a hint: hints are shown, and never add up to a proof.
"""

from __future__ import annotations

import enum

from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.timing import PROOF_LIFE_S
from opensvc_openha.records import dataclass


class Scope(enum.Enum):
    """What the peer cannot do any more."""

    NODE = "node"
    """It executes nothing, or at least none of its services."""
    DATA = "data"
    """It cannot change the disks of the services that the proof covers."""


class ProofKind(enum.Enum):
    """What a proof rests on."""

    GOODBYE = "goodbye"
    POWER = "power"
    SELF_FENCED = "self-fenced"
    RESERVATION = "reservation"
    WORD = "word"
    """An operator's confirmation."""
    SCRIPT = "script"


# What is done with a proof depends on its scope alone; its kind is shown.
@state_marks(not_state={"kind", "text"}, memory_s={"at": PROOF_LIFE_S + 1})
@dataclass(frozen=True)
class Proof:
    """Evidence that the peer cannot run some services.

    ``covers`` names them; None for all. ``text`` is what reasons, the status and the history print.
    """

    kind: ProofKind
    scope: Scope
    covers: frozenset[str] | None
    at: float
    text: str

    def covers_service(self, name: str) -> bool:
        """Return True if it was made for that service, too."""
        return self.covers is None or name in self.covers


@dataclass(frozen=True)
class Hint:
    """What was seen of the peer without proving anything."""

    text: str
