"""Define what a node reports about itself in its beats, beside its services' states.

Facts travel in an optional part of the frame. A peer of an older version rejects frames that have
it, so a node offers its facts in a few beats beside the ordinary ones, and adds them to all beats
once the peer has sent facts of its own. Every conclusion from facts must be safe without them: the
peer's version may have none, or fewer.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field

from opensvc_openha.core.promise import Promise
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.records import dataclass


class DiskAnswer(enum.Enum):
    """What a node sees of the disks of a service."""

    ANSWERS = "answer"
    """Each of them was read."""
    FROZEN = "do not answer"
    """A read of one of them has not ended: neither data nor an error."""
    UNKNOWN = "not known"
    """Not looked at, or none is known, or one has answered with an error."""


class Reach(enum.Enum):
    """Whether anything beyond its peer answers a node."""

    REACHABLE = "reachable"
    """One of its targets at least has answered in time."""
    ISOLATED = "isolated"
    """None has, several times in a row."""
    UNKNOWN = "not known"
    """Not asked, or not often enough, or it could not be asked."""


# How many there were makes no difference: what follows from a new one is kept where it counts.
@state_marks(not_state={"answers"})
@dataclass(frozen=True)
class Connectivity:
    """What a node with a section `[connectivity]` reports of its targets.

    ``answers`` counts the rounds of requests that one of them has answered, since its daemon began.
    """

    reach: Reach = Reach.UNKNOWN
    answers: int = 0


class Turn(enum.Enum):
    """Standing of a node with regard to the right to fence first after a cut."""

    NONE = 0
    CLAIMED = 1
    """The node asks for the right.

    It holds it once the peer has acknowledged that and neither claims nor holds it.
    """
    HELD = 2


@dataclass(frozen=True)
class Facts:
    """One node's facts. Durations are seconds.

    ``fence_s`` is the longest that a fence of this node takes to have its effect, None if it has no
    fence. ``silent_s`` is how long this node has called its peer silent, None while it does not.
    ``priority`` is the sum of the priorities of the services that run here.
    """

    is_booting: bool = False
    """Not answered by its peer since its machine booted.

    It is not fenced before ``BOOT_PATIENCE_S``.
    """
    is_defending: bool = False
    """It runs a service with `defend = yes`: it fences a silent peer before that one fences it."""
    turn: Turn = Turn.NONE
    priority: int = 0
    fence_s: float | None = None
    silent_s: float | None = None
    unready: frozenset[str] = frozenset()
    """Services that this node could not start now.

    A script is missing, or a service file is wrong.
    """
    marks: tuple[bytes, ...] = ()
    """Marks of the parts of the configuration that must be alike on both nodes, see
    core.configuration_marks."""
    answering: frozenset[str] = frozenset()
    """Services whose disks answer here; only those with `frozen_storage = give_up` are looked
    at."""
    frozen: Mapping[str, int] = field(default_factory=dict)
    """Services whose disks do not answer here, and for how many seconds."""
    ordered: frozenset[str] = frozenset()
    """Services that an operator has taken from this node; only those with `failback`."""
    connectivity: Connectivity | None = None
    """Whether the node is isolated; None if it asks nobody, or is of an older version."""
    held_s: float | None = None
    """For how long a drill still has this node hold its fences back; None without one."""
    promise: Promise | None = None
    """When the node is dead for certain; None if it promises nothing.

    Facts without a promise withdraw an earlier one; a beat without facts does not.
    """
    knows_fence_time: bool = False
    """How long each of its fences takes was declared or measured; a version before does not say
    so."""
