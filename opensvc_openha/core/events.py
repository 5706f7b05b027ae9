"""Define the engine's events.

Instants are monotonic seconds; each event is handled by ``Engine.step_all``.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import field

from opensvc_openha.core.beat import Beat
from opensvc_openha.core.evacuation import Evacuation
from opensvc_openha.core.facts import DiskAnswer
from opensvc_openha.core.model import ClusterSpec, LeasePolicy, LinkSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.stay import FREE, Stay
from opensvc_openha.records import dataclass


class ScriptKind(enum.Enum):
    """Kind of script: the check-up script, or the wrapper with start, stop or status.

    POWER is the check-up script with status, which reports the peer's power without fencing.
    """

    CHECK = "check"
    START = "start"
    STOP = "stop"
    PROBE = "status"
    POWER = "power status"


class ScriptOutcome(enum.Enum):
    """Outcome of a script.

    A probe is UP, DOWN, SOME (parts of the service are up) or UNSURE; the others are OK or FAILED.
    POWER is UP (on), DOWN (off) or UNSURE. POSTPONED is a check-up or a start that was not begun:
    this node was stalled between the decision and its turn. NOT_BEGUN is a start that could not
    begin: the script is missing, or its configuration is wrong. Nothing was started.
    """

    OK = "ok"
    FAILED = "failed"
    POSTPONED = "postponed"
    NOT_BEGUN = "not begun"
    UP = "up"
    DOWN = "down"
    SOME = "some"
    UNSURE = "unsure"


class Command(enum.Enum):
    """Operator's command for one service, named as typed after ``service -A NAME``."""

    START = "start"
    STOP = "stop"
    FREEZE_STOP = "freeze-stop"
    FREEZE_START = "freeze-start"
    UNFREEZE = "unfreeze"
    FORCE_STOP = "force-stop"
    FORCE_START = "force-start"


class Leaving(enum.Enum):
    """How the daemon leaves."""

    STOP_SERVICES = "stop"
    KEEP_SERVICES = "keep"


@dataclass(frozen=True)
class RecoveredState:
    """State of a service when the daemon begins to manage it, and whether to query the wrapper.

    ``frozen_target`` is the frozen state in which an interrupted script had to end; with UNKNOWN,
    the state to assume after an unsure answer of the wrapper.
    """

    state: ServiceState
    frozen_target: ServiceState | None = None
    must_probe: bool = False
    reason: str = ""
    stay: Stay = FREE


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True)
class BeatReceived:
    """A valid beat came in on a link; ``pid`` is the thread that sent it there.

    ``key_id`` names the cluster key that authenticates it; empty for an unauthenticated beat.
    ``read_at`` is when this node read it, if it knows that it came in before: only the time from
    then on is a stall of this node, since a flood makes every datagram wait.
    """

    link: LinkSpec
    beat: Beat
    received_at: float
    pid: int = 0
    key_id: str = ""
    read_at: float | None = None

    @property
    def waited_from(self) -> float:
        """Since when it waits for the engine."""
        return self.received_at if self.read_at is None else self.read_at


@dataclass(frozen=True)
class ExpectedBeats:
    """Beats without news that have waited for this step, which begins with them.

    See ``core.expected_beat``.
    """

    beats: tuple[BeatReceived, ...]


@dataclass(frozen=True)
class ScriptExited:
    """A script of this engine has ended; ``detail`` describes how, for the operator."""

    service: str
    kind: ScriptKind
    outcome: ScriptOutcome
    detail: str = ""


BY_OPERATOR = "operator"
BY_MONITOR = "resource monitor"
"""Source of a command that the resource monitor gives."""
BY_EVACUATION = "evacuation"
"""Source of a command by which a node is evacuated: the place is not chosen for good."""
SOURCES = (BY_OPERATOR, BY_MONITOR, BY_EVACUATION)


@dataclass(frozen=True)
class CommandReceived:
    """A command for one service; answers carry ``command_id``.

    ``by`` is the source of the command, as the reason of a change names it.
    """

    command_id: int
    service: str
    command: Command
    by: str = BY_OPERATOR


@dataclass(frozen=True)
class ConfigChanged:
    """The configuration files were edited.

    ``recovered`` holds the recovered states of services that were added.
    """

    spec: ClusterSpec
    recovered: Mapping[str, RecoveredState] = field(default_factory=dict)


@dataclass(frozen=True)
class StoreFailed:
    """The state of a service could not be written; ``detail`` is the system's reason."""

    service: str
    detail: str


@dataclass(frozen=True)
class LeaveRequested:
    """The daemon is ordered to end."""

    leaving: Leaving


@dataclass(frozen=True)
class PeerForgotten:
    """An operator reports that the peer lost its boot counter: accept a lower one."""


@dataclass(frozen=True)
class PeerConfirmedOut:
    """An operator, ``who``, made sure that the peer runs nothing.

    The engine refuses it after ``until``: the command has reported a time-out by then, and the
    operator may have left.
    """

    command_id: int
    who: str
    until: float = math.inf


class DrillOrder(enum.Enum):
    """What a drill of a takeover may ask of a node; the values are on the control socket."""

    HOLD_FENCES = "hold fences"
    """No fence begins, and nothing starts beside a silent peer, but on an operator's word."""
    END_HOLD = "end hold"
    PLAY_DEAD = "play dead"
    """Send nothing, and start nothing."""
    SPEAK = "speak"
    PEER_STOPPED = "peer stopped"
    """The node that plays dead has answered that it has stopped everything: an operator's word,
    for a limited time after HOLD_FENCES alone."""


@dataclass(frozen=True)
class DrillOrdered:
    """A drill asks something of this node.

    ``seconds`` is how long a node plays dead, also in the order to hold fences back. The engine
    refuses the order after ``at_latest``, as a `PeerConfirmedOut`; ``who`` is the operator.
    """

    command_id: int
    order: DrillOrder
    seconds: float = 0.0
    at_latest: float = math.inf
    who: str = ""


@dataclass(frozen=True)
class EvacuationSet:
    """An operator has ordered that this node is evacuated, or ended that; it is on disk."""

    evacuation: Evacuation


@dataclass(frozen=True)
class SendersMuted:
    """All links on which this node cannot send now; given at each change.

    Their interface is down or gone.
    """

    links: frozenset[LinkSpec]


@dataclass(frozen=True)
class ListenerTried:
    """A link's listener could not be opened, and never was so far; or it is open at last."""

    link: LinkSpec
    is_open: bool


@dataclass(frozen=True)
class ReadinessFound:
    """Why this node could not start some services now, by service: all of them, at each change.

    ``reports_power`` are those whose check-up script has a status that reports the peer's power.
    """

    problems: Mapping[str, str]
    reports_power: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SeemsUp:
    """A query outside the engine found a service up, or parts of it.

    The engine may have it as STOPPED.
    """

    service: str


@dataclass(frozen=True)
class DisksLook:
    """What this node saw of a service's disks last.

    ``since`` is when the read began that has not ended, in monotonic seconds; None unless FROZEN.
    ``text`` names the disk, or why nothing is known.
    """

    answer: DiskAnswer
    since: float | None = None
    text: str = ""


@dataclass(frozen=True)
class DisksLooked:
    """The disks of services were looked at; services that are not named were not."""

    at: float
    looks: Mapping[str, DisksLook]


class PingResult(enum.Enum):
    """What has become of a request to one target."""

    ANSWERED = "answers"
    MISSED = "does not answer"
    """Nothing came back in time, or the network reports that it cannot be reached."""
    UNABLE = "could not be asked"
    """This node could not send, for a reason of its own: nothing is known of the target."""


@dataclass(frozen=True)
class TargetLook:
    """One target in one round.

    ``text`` is why it does not answer, or could not be asked, if more is known of that; ``took_s``
    the time until its answer.
    """

    address: str
    result: PingResult
    text: str = ""
    took_s: float | None = None


@dataclass(frozen=True)
class TargetsAsked:
    """A round of requests to all targets of `[connectivity]` has ended."""

    began_at: float
    looks: tuple[TargetLook, ...]


class StepOutcome(enum.Enum):
    """How a step of the fence plan ended."""

    DONE = "done"
    """By the rules of its path it is a proof; a claim is won."""
    FAILED = "failed"
    LOST = "lost"
    """A claim: the peer has the right to fence."""
    UNABLE = "unable"
    """A claim: the arbiter could not be asked."""
    NOT_BEGUN = "not begun"
    """This node stood still between the decision and the step's turn."""


@dataclass(frozen=True)
class FenceStepEnded:
    """The step ``number`` of the fence plan has ended.

    ``text`` is how, for the operator, as a clause without the path's name: "off, then OFF twice in
    3.3 s". ``hints`` is what was seen beside it. ``covers`` names the services whose disks a
    reservation holds; None for all of the step. ``took_s`` is how long it took.
    """

    number: int
    outcome: StepOutcome
    text: str
    hints: tuple[str, ...] = ()
    covers: frozenset[str] | None = None
    took_s: float = 0.0


@dataclass(frozen=True)
class FenceTried:
    """A drill has cut the peer's power by a path, which took so many seconds, as a step takes."""

    path: str
    took_s: float


class PathState(enum.Enum):
    """What is known of a path.

    Of a device a look alone finds only whether it answers: ARMED, or UNREACHABLE.
    """

    ARMED = "armed"
    WRONG = "wrong"
    UNREACHABLE = "unreachable"
    UNTESTED = "untested"
    UNUSABLE = "unusable"
    """It proves nothing here, which is no fault of it: the promise of a virtual machine."""


@dataclass(frozen=True)
class PathLook:
    """One look at a path of the fence plan, which changes nothing.

    ``power`` is what a power device reports of the peer, which was heard when the look began and
    when it ended: "on", "off", or empty.
    """

    name: str
    state: PathState
    power: str = ""
    text: str = ""
    took_s: float | None = None


@dataclass(frozen=True)
class FencePathsLooked:
    """The standing check has looked at these paths just now."""

    paths: tuple[PathLook, ...]


@dataclass(frozen=True)
class Ejected:
    """The registration of this node on the arbiter, or on a data disk, is gone.

    ``by`` says who removed it, as far as that is known.
    """

    by: str


@dataclass(frozen=True)
class Readmitted:
    """This node is registered on the arbiter; given at each beginning and after each ejection."""


@dataclass(frozen=True)
class RenewalConfirmed:
    """A sign of life of this node is where its peer looks: a medium of its promise has it.

    The slot of a disk link, named by the link's mark, holds the beat ``seq`` and was read back; or
    the witness has it. A repeat has the number of the beat that it repeats. ``began_at`` was taken
    before the write or the request began, ``confirmed_at`` when its end was known. ``has_facts`` is
    False if the frame had no room for facts: such a beat promises and withdraws nothing.
    """

    medium: bytes
    seq: int
    began_at: float
    confirmed_at: float
    has_facts: bool = True


@dataclass(frozen=True)
class MediaReplaced:
    """These media of this node's promise stand for other disks than when its daemon began.

    All of them, at each change.
    """

    media: frozenset[bytes]


@dataclass(frozen=True)
class WatchdogReady:
    """The keeper has opened the watchdog, with a permit at hand; it is armed from now on.

    ``timeout_s`` is as read back from the driver, ``granularity_s`` how late it may act beside
    that. ``holders`` is how many timeouts a promise must count. ``name`` is the driver's:
    "softdog", "iTCO_wdt". ``settings`` are those of a keeper that works by others than it was
    ordered to, or that a former daemon has ordered. ``media`` are those that each promise of that
    daemon has named, and that are still what they were; None if that is not known. ``number`` is
    that of the order to arm it which was carried out last; None if it was not armed by order.
    """

    timeout_s: float
    granularity_s: float
    holders: int
    is_virtual: bool
    name: str
    settings: LeasePolicy | None = None
    media: frozenset[bytes] | None = None
    number: int | None = None


@dataclass(frozen=True)
class WatchdogLost:
    """The watchdog cannot be armed, or is not kept any more; ``reason`` is a clause.

    ``media``, unless it is None: a former daemon may have armed it, and its keeper does not answer;
    they are what `WatchdogReady` has, once it does.
    """

    reason: str
    media: frozenset[bytes] | None = None


@dataclass(frozen=True)
class MediumQuiet:
    """A medium of the peer's promise was read with success, and showed nothing new.

    The read of the peer's slot, named by the link's mark, began at ``read_at``; whatever an earlier
    read found was given to the engine before. Or the witness was asked at ``read_at`` for the peer,
    and answered, by a majority, that it has no sign of its life. ``since`` is when the content that
    the slot still has was read first: whatever it is, the peer may have written it just before.
    """

    medium: bytes
    read_at: float
    since: float = -math.inf


@dataclass(frozen=True)
class MediumUnread:
    """A look at a medium of the peer's promise proves nothing; ``why`` is a clause."""

    medium: bytes
    why: str


@dataclass(frozen=True)
class SlotOpened:
    """The peer's slot on a disk link was opened, once more or for the first time.

    ``disk`` identifies the disk that the path names now; empty if that is not known. Beats of that
    link, and quiet reads of it, that come later were read there.
    """

    link: LinkSpec
    disk: str


@dataclass(frozen=True)
class BeatFound:
    """An authentic beat of the peer lay in its slot when that was opened, and read first.

    It may be of any age, and is no beat that came in. What it says of the peer's promise was
    written before ``read_at`` all the same.
    """

    link: LinkSpec
    beat: Beat
    read_at: float


Event = (
    Tick
    | BeatReceived
    | ExpectedBeats
    | ScriptExited
    | CommandReceived
    | ConfigChanged
    | StoreFailed
    | LeaveRequested
    | PeerForgotten
    | PeerConfirmedOut
    | DrillOrdered
    | EvacuationSet
    | SendersMuted
    | ListenerTried
    | ReadinessFound
    | SeemsUp
    | DisksLooked
    | TargetsAsked
    | FenceStepEnded
    | FenceTried
    | FencePathsLooked
    | Ejected
    | Readmitted
    | RenewalConfirmed
    | WatchdogReady
    | WatchdogLost
    | MediumQuiet
    | MediumUnread
    | SlotOpened
    | BeatFound
    | MediaReplaced
)

ServiceEvent = ScriptExited | CommandReceived | StoreFailed | SeemsUp
"""What happens to one service."""
