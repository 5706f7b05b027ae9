"""One heartbeat message, as a value: who speaks, what it has heard, and the state of each of its
services.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from opensvc_openha.core.facts import Facts
from opensvc_openha.core.states import ServiceState


@dataclass(frozen=True, order=True)
class BootId:
    """One life of a node's daemon: ``counter`` grows at each start on that node, ``nonce`` is
    random (64 bits).
    """

    counter: int
    nonce: int


class Goodbye(enum.Enum):
    """What a last beat says about the sender's departure."""

    NONE = 0
    RESTART = 1
    """The daemon ends, services keep running; it may come back within seconds."""
    LEFT = 2
    """The daemon ends after its services were stopped; what is said to be out stays out."""


LEGACY_LIFE = BootId(-1, 0)
"""Stands for the life of a C OpenHA, whose beats do not tell one life from another."""


@dataclass(frozen=True)
class Ack:
    """The newest beat of the other node that the sender's engine has taken into account.

    With ``is_taken`` False it only says which life of the other node was heard last: an answer, not
    an agreement.
    """

    boot: BootId
    seq: int
    is_taken: bool = True


@dataclass(frozen=True)
class Beat:
    """What one node says to the other.

    ``states`` holds the sender's own state of each service it is a node of. ``is_complete`` is
    False while some of the names behind the states are not known yet to the receiver; such a beat
    is never acknowledged. ``wants_ack`` asks for an immediate answer. ``sent_at`` is the sender's
    wall clock (seconds), for display only.
    """

    node: str
    boot: BootId
    seq: int
    ack: Ack | None
    states: Mapping[str, ServiceState]
    goodbye: Goodbye = Goodbye.NONE
    wants_ack: bool = False
    is_complete: bool = True
    sent_at: float = 0.0
    interval_s: float = 1.0
    """The sender's beat interval: until twice that has passed, its silence means nothing."""

    mute: frozenset[bytes] = frozenset()
    """Marks of the links that the sender cannot send on: their interface is down there. Empty in
    every ordinary beat."""

    facts: Facts | None = None
    """What the sender reports of itself; None in a beat for a peer that is not known to understand
    facts."""

    @property
    def is_legacy(self) -> bool:
        """True for a beat in the original's format: nothing in it is acknowledged, and ``seq`` is
        the sender's clock.
        """
        return self.boot == LEGACY_LIFE
