"""Define what the engine orders. A step returns its actions in the order of execution.

First every Persist, then Announce, then the scripts, answers and records: an announced state is on
disk already, and what a script does has been announced.
"""

from __future__ import annotations

import enum
from dataclasses import field

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.events import ScriptKind
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.stay import FREE, Stay
from opensvc_openha.records import dataclass


@dataclass(frozen=True)
class Persist:
    """Write this node's state of a service.

    ``frozen_target`` is the frozen state in which the running script must end; ``stay`` why the
    service is not to go back to its primary.
    """

    service: str
    state: ServiceState
    frozen_target: ServiceState | None = None
    stay: Stay = FREE


@dataclass(frozen=True)
class MirrorPeer:
    """Write the peer's state as seen here, for display only: no decision reads that file."""

    service: str
    state: ServiceState


@dataclass(frozen=True)
class RememberIncarnations:
    """Store the newest incarnation of the peer heard under each key, for the next daemon."""

    incarnations: tuple[tuple[str, BootId], ...]


@dataclass(frozen=True)
class RememberFencing:
    """Store what the next daemon must know of fencing."""

    memory: FencingMemory


@dataclass(frozen=True)
class Announce:
    """Send this beat on every link, with the names of the services if the peer lacks them."""

    beat: Beat
    with_names: bool


@dataclass(frozen=True)
class RunScript:
    """Run a script of a service; its end comes back as ScriptExited."""

    service: str
    kind: ScriptKind
    path: str
    peer_state: ServiceState
    peer_standing: PeerStanding
    flushes: bool = False
    """It has ended only once all that this node wrote is on its disks."""


class StepKind(enum.Enum):
    """Kind of a step of the fence plan."""

    CLAIM = "claim"
    """Ask the arbiter for the right to fence; the peer loses it by that."""
    SHOOT = "shoot"


# A later step is another one, but leads to nothing else.
@state_marks(not_state={"number"})
@dataclass(frozen=True)
class FenceStep:
    """One step of the fence plan: the claim, or one path.

    ``number`` is unique within a daemon. ``path`` and ``level`` (from 0) say which path; they are
    empty and -1 for a claim. ``services`` are those that wait for its proof: a reservation takes
    the disks of these.
    """

    number: int
    kind: StepKind
    path: str
    level: int
    limit_s: float
    services: tuple[str, ...]


@dataclass(frozen=True)
class RunFenceStep:
    """Run a step of the fence plan; its end comes back as FenceStepEnded."""

    step: FenceStep


@dataclass(frozen=True)
class ArmWatchdog:
    """Have the keeper of the watchdog there; it opens the device at the first permit only.

    WatchdogReady follows, with ``number``, or WatchdogLost.
    """

    timeout_s: float
    number: int = field(default=0, compare=False)
    """Counts orders to arm and to disarm: what follows of an earlier one is out of date."""


@dataclass(frozen=True)
class GrantPermit:
    """Let the keeper pet the watchdog once, for the renewal that began at ``renewed_at``.

    It does so at once, and not at all later than the time for an answer after ``renewed_at``.
    """

    renewed_at: float


@dataclass(frozen=True)
class HoldWatchdog:
    """Let the keeper pet the watchdog by itself until then, in monotonic seconds.

    The daemon ends and leaves its services running, and has promised that.
    """

    until: float


@dataclass(frozen=True)
class DisarmWatchdog:
    """Close the watchdog in order; the promise was withdrawn on every medium that it named."""


@dataclass(frozen=True)
class RenewWitness:
    """Renew this node's sign of life at the witness; its end comes back as RenewalConfirmed.

    ``since`` is the first beat of the oldest promise that a peer may still believe in; None if
    nothing is promised, so that nobody may conclude anything from it.
    """

    seq: int
    since: int | None = None


@dataclass(frozen=True)
class WithdrawWitness:
    """Mark at the witness that this node promises nothing any more.

    Its end comes back as RenewalConfirmed.
    """

    seq: int


LeaseAction = (
    ArmWatchdog | GrantPermit | HoldWatchdog | DisarmWatchdog | RenewWitness | WithdrawWitness
)
"""What is ordered for this node's own promise."""


class AnswerCode(enum.Enum):
    """Meaning of an answer; the command line's renderer holds the text."""

    READY_START = enum.auto()
    READY_STOP = enum.auto()
    READY_FREEZE_STOP = enum.auto()
    READY_FREEZE_START = enum.auto()
    READY_UNFREEZE = enum.auto()
    READY_FORCE_STOP = enum.auto()
    READY_FORCE_START = enum.auto()
    STAYS_HERE = enum.auto()
    STARTED = enum.auto()
    STOPPED = enum.auto()
    FROZEN_STOP = enum.auto()
    FROZEN_START = enum.auto()
    UNFROZEN = enum.auto()
    FORCED_START = enum.auto()
    REFUSED = enum.auto()
    ROLLED_BACK = enum.auto()
    CONFIRMED = enum.auto()
    FAILED = enum.auto()
    NOT_CONFIGURED = enum.auto()
    """The service is configured, but this node is neither its primary nor its secondary."""


@dataclass(frozen=True)
class Answer:
    """One line for the operator who gave a command; ``is_last`` ends it, ``is_ok`` is its success.

    ``command`` is the typed name of the action, ``own`` and ``peer`` the states at that moment.
    """

    command_id: int
    command: str
    service: str
    code: AnswerCode
    own: ServiceState
    peer: ServiceState
    detail: str = ""
    is_last: bool = False
    is_ok: bool = True

    @property
    def is_refused(self) -> bool:
        """True if nothing was tried, since the state or the configuration does not allow it."""
        return self.code in (AnswerCode.REFUSED, AnswerCode.NOT_CONFIGURED)


class RecordKind(enum.Enum):
    """Subject of a record."""

    SERVICE = "service"
    LINK = "link"
    PEER = "peer"
    NODE = "node"
    READINESS = "readiness"
    """Whether a service could start on this node: ready, or not ready."""


@dataclass(frozen=True)
class Record:
    """One change to be logged: subject, old and new value, and reason.

    ``rule`` is the applied row, if any.
    """

    kind: RecordKind
    name: str
    old: str
    new: str
    reason: str
    is_alarm: bool = False
    rule: str = ""


@dataclass(frozen=True)
class Exit:
    """End the daemon: the engine is done."""


Action = (
    Persist
    | RememberIncarnations
    | RememberFencing
    | MirrorPeer
    | Announce
    | RunScript
    | RunFenceStep
    | LeaseAction
    | Answer
    | Record
    | Exit
)
