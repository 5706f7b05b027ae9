"""Define a heartbeat message: its sender, what that has heard, and its services' states."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from opensvc_openha.core.facts import Facts
from opensvc_openha.core.states import ServiceState


@dataclass(frozen=True, order=True)
class BootId:
    """One incarnation of a node's daemon.

    ``counter`` grows at each start on that node, ``nonce`` is random (64 bits).
    """

    counter: int
    nonce: int

    @property
    def text(self) -> str:
        """Both in one word."""
        return f"{self.counter}.{self.nonce:x}"


@dataclass(frozen=True)
class Causality:
    """What a node had sent and heard at a moment: two of them order moments of both nodes by cause.

    ``sent`` is the newest beat of ``own``, ``heard`` the newest of the peer's incarnation
    ``heard_of``, None if nothing was heard of it.
    """

    own: BootId
    sent: int
    heard_of: BootId | None = None
    heard: int = 0

    def is_known_at(self, other: Causality) -> bool:
        """Return True if the other node had heard a beat at ``other`` that left after this."""
        if other.heard_of is None:
            return False
        if other.heard_of != self.own:
            return other.heard_of.counter > self.own.counter
        return other.heard > self.sent


class Goodbye(enum.Enum):
    """The sender's departure, as its last beat announces it."""

    NONE = 0
    RESTART = 1
    """The daemon ends, services keep running; it may come back within seconds."""
    LEFT = 2
    """The daemon ends after its services were stopped; a service announced as out stays out."""


LEGACY_INCARNATION = BootId(-1, 0)
"""Placeholder for the incarnation of a C OpenHA, whose beats do not distinguish incarnations."""


@dataclass(frozen=True)
class Ack:
    """The newest beat of the other node that the sender's engine has taken into account.

    With ``is_taken`` False it only names the incarnation of the other node that was heard last: an
    answer, not an agreement.
    """

    boot: BootId
    seq: int
    is_taken: bool = True


@dataclass(frozen=True)
class Beat:
    """One beat.

    ``states`` holds the sender's own state of each service it is a node of. ``is_complete`` is
    False while the receiver does not yet know all names behind the states; such a beat is never
    acknowledged. ``wants_ack`` asks for an immediate answer. ``sent_at`` is the sender's wall clock
    (seconds), for display only.
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
    """The sender's beat interval in seconds.

    Until twice that has passed, its silence means nothing.
    """

    mute: frozenset[bytes] = frozenset()
    """Marks of the links on which the sender cannot send, since their interface is down there.

    Empty in every ordinary beat.
    """

    facts: Facts | None = None
    """What the sender reports of itself; None in a beat for a peer that is not known to understand
    facts."""

    @property
    def is_legacy(self) -> bool:
        """True for a beat in the original's format.

        It acknowledges nothing, and ``seq`` is the sender's clock.
        """
        return self.boot == LEGACY_INCARNATION
