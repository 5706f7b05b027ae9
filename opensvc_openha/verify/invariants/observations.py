"""What is observed of two nodes: announced, heard, written, run, ordered, lost.

An instant is one of its node's clock, and only compared with others of that node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.events import Command, ScriptKind
from opensvc_openha.core.states import ServiceState


@dataclass(frozen=True)
class DaemonBegan:
    """A daemon started on a node and recovered these states."""

    at: float
    node: str
    boot: BootId
    states: dict[str, ServiceState] = field(default_factory=dict)


@dataclass(frozen=True)
class Adopted:
    """A running daemon begins to manage a service, in this state."""

    at: float
    node: str
    service: str
    state: ServiceState


@dataclass(frozen=True)
class DaemonEnded:
    """The daemon is gone; services and scripts continue."""

    at: float
    node: str


@dataclass(frozen=True)
class NodeLost:
    """The whole node went down: nothing runs on it."""

    at: float
    node: str


@dataclass(frozen=True)
class Fenced:
    """A node went down because its peer ordered its power off.

    However long ago, and whatever happened to the peer since.
    """

    at: float
    node: str
    by: str


@dataclass(frozen=True)
class Confirmed:
    """An operator made sure that a node's peer runs nothing, and confirmed it to the node."""

    at: float
    node: str


@dataclass(frozen=True)
class PowerReported:
    """A fence reported the peer's power without changing it: off, or anything else."""

    at: float
    node: str
    is_off: bool


@dataclass(frozen=True)
class StateLost:
    """A STATE file was damaged or removed, or does not hold what the daemon tried to write."""

    at: float
    node: str
    service: str


@dataclass(frozen=True)
class Moved:
    """A service entered a state on a node, and that was written."""

    at: float
    node: str
    service: str
    state: ServiceState


@dataclass(frozen=True)
class Logged:
    """The log of states has that a service entered a state, and its STATE file not yet."""

    at: float
    node: str
    service: str
    state: ServiceState


@dataclass(frozen=True)
class Announced:
    """An engine announced a beat."""

    at: float
    node: str
    beat: Beat


@dataclass(frozen=True)
class Arrived:
    """A beat of the peer reached a node, whether or not its daemon could handle it."""

    at: float
    node: str
    beat: Beat
    is_authentic: bool = False


@dataclass(frozen=True)
class Heard:
    """An engine got a beat of the peer, which came in at ``received_at``, or just now."""

    at: float
    node: str
    beat: Beat
    is_authentic: bool = False
    received_at: float | None = None


@dataclass(frozen=True)
class Found:
    """An engine got an authentic beat of the peer that lay in a slot when that was opened."""

    at: float
    node: str
    beat: Beat
    read_at: float


@dataclass(frozen=True)
class MediumRead:
    """A medium of the peer's promise was read, and showed nothing new.

    The read began at ``read_at``; what the medium holds was first found at ``since``.
    """

    at: float
    node: str
    medium: bytes
    read_at: float
    since: float


@dataclass(frozen=True)
class Petted:
    """The keeper of a node petted its watchdog, for a renewal that began at ``renewed_at``.

    At most ``answer_s`` later that may be.
    """

    at: float
    node: str
    renewed_at: float
    answer_s: float


@dataclass(frozen=True)
class Forged:
    """A beat that another host sent in the peer's name, without a key, was given to an engine."""

    at: float
    node: str


@dataclass(frozen=True)
class Ordered:
    """An operator gave a command on a node."""

    at: float
    node: str
    service: str
    command: Command


@dataclass(frozen=True)
class ScriptBegan:
    """A script of the engine began. A start script makes the service run from its first moment."""

    at: float
    node: str
    service: str
    kind: ScriptKind
    is_fence: bool = False
    """It switches the peer off."""


@dataclass(frozen=True)
class ScriptEnded:
    """A script ended.

    ``is_running`` is whether the service runs there afterwards; ``is_lie`` marks a check-up that
    succeeded although the peer lives.
    """

    at: float
    node: str
    service: str
    kind: ScriptKind
    is_ok: bool
    is_running: bool
    is_lie: bool = False
    is_unsure: bool = False
    """A status without a clear answer."""


@dataclass(frozen=True)
class StepBegan:
    """A step of the fence plan began: the claim, or one that destroys."""

    at: float
    node: str
    is_claim: bool = False


@dataclass(frozen=True)
class StepEnded:
    """A step of the fence plan ended, as its node gets to know.

    ``covers`` names the services whose disks it took from the peer; None for a step that concerns
    the whole node. ``is_lie`` marks one that succeeded although the peer lives.
    """

    at: float
    node: str
    is_done: bool
    is_claim: bool = False
    covers: frozenset[str] | None = None
    is_lie: bool = False


@dataclass(frozen=True)
class RightLost:
    """A node got to know that its registration is gone, or that it lost the claim.

    ``is_back``: that it is registered again.
    """

    at: float
    node: str
    is_back: bool = False


@dataclass(frozen=True)
class Barred:
    """A start has taken the disks of its service from the peer, and begins to use them."""

    at: float
    node: str
    service: str


@dataclass(frozen=True)
class WriteLanded:
    """What a node had written before it was ejected, or lost its power, lands only now."""

    at: float
    node: str
    service: str


@dataclass(frozen=True)
class StartedByHand:
    """The service was started on a node outside the cluster."""

    at: float
    node: str
    service: str


@dataclass(frozen=True)
class FellSilent:
    """A node sends nothing from now on, on purpose.

    ``frozen_s`` is since how many seconds the disks of services have been frozen for it, or were
    until it looked last; ``peer_frozen_s`` the same for its peer now, each by the node's own clock.
    """

    at: float
    node: str
    frozen_s: Mapping[str, float]
    peer_frozen_s: Mapping[str, float]


@dataclass(frozen=True)
class Asked:
    """A node has asked its targets for an answer, and at least one has given it, or none has."""

    at: float
    node: str
    is_answered: bool


@dataclass(frozen=True)
class DrillNoted:
    """Until when a node holds its fences back, and plays dead, for a drill; at each change."""

    at: float
    node: str
    held_until: float
    dead_until: float


@dataclass(frozen=True)
class Disturbed:
    """A fault or a command: transitions are counted from here."""


Observation = (
    DaemonBegan
    | Adopted
    | DaemonEnded
    | NodeLost
    | Fenced
    | Confirmed
    | PowerReported
    | StateLost
    | Logged
    | Moved
    | Announced
    | Arrived
    | Heard
    | Found
    | MediumRead
    | Forged
    | Ordered
    | ScriptBegan
    | ScriptEnded
    | StepBegan
    | StepEnded
    | RightLost
    | Petted
    | Barred
    | WriteLanded
    | StartedByHand
    | FellSilent
    | Asked
    | DrillNoted
    | Disturbed
)
