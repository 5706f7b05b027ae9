"""What a node reports of itself in its beats, beside the states of its services.

Facts travel in an optional part of the frame. A peer of an older version refuses frames that have
it, so a node offers its facts in a few beats beside the ordinary ones, and adds them to all beats
once the peer has sent facts of its own. Whatever a node concludes from facts must be safe without
them: the peer may be of a version that has none, or of one that has fewer.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Turn(enum.Enum):
    """Whether a node holds the right to fence first, should the two nodes lose sight of each
    other.
    """

    NONE = 0
    CLAIMED = 1
    """It asks for the right. It has it once the peer acknowledged that and neither claims nor holds
    it."""
    HELD = 2


@dataclass(frozen=True)
class Facts:
    """One node's facts. Durations are seconds.

    ``fence_s`` is the longest that a fence of this node takes to have its effect, None if it has no
    fence. ``silent_s`` is how long this node has called its peer silent, None while it does not.
    ``priority`` is the sum of the priorities of the services that run here.
    """

    is_booting: bool = False
    """Its peer has not answered it since its machine was booted: such a peer is not fenced before
    ``BOOT_PATIENCE_S``."""
    is_defending: bool = False
    """It runs a service with `defend = yes`: it fences a silent peer before that one fences it."""
    turn: Turn = Turn.NONE
    priority: int = 0
    fence_s: float | None = None
    silent_s: float | None = None
    unready: frozenset[str] = frozenset()
    """Services that this node could not start now: a script is missing, a service file is wrong."""
    marks: tuple[bytes, ...] = ()
    """Marks of the parts of the configuration that must be alike on both nodes, see
    core.configuration_marks."""
