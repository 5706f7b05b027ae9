"""What happens to the engine.

Instants are monotonic seconds; each event is handled by ``Engine.step``.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from opensvc_openha.core.beat import Beat
from opensvc_openha.core.model import ClusterSpec, LinkSpec
from opensvc_openha.core.states import ServiceState


class ScriptKind(enum.Enum):
    """Which script ran: the check-up script, or the wrapper with start, stop or status.

    POWER is the check-up script with status: what its devices say of the peer's power. It shoots
    nobody.
    """

    CHECK = "check"
    START = "start"
    STOP = "stop"
    PROBE = "status"
    POWER = "power status"


class ScriptOutcome(enum.Enum):
    """How it ended.

    A probe is UP, DOWN, SOME (parts of the service are up) or UNSURE; the others are OK or FAILED.

    POWER is UP (on), DOWN (off) or UNSURE.

    POSTPONED is a check-up or a start that was not begun: this node stood still between the
    decision and its turn. NOT_BEGUN is a start that could not be: the script is missing, or its
    configuration is wrong. Nothing was started.
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
    """What an operator may ask for one service, named as typed after ``service -A NAME``."""

    START = "start"
    STOP = "stop"
    FREEZE_STOP = "freeze-stop"
    FREEZE_START = "freeze-start"
    UNFREEZE = "unfreeze"
    FORCE_STOP = "force-stop"
    FORCE_START = "force-start"


class Leaving(enum.Enum):
    """Why the daemon is about to end."""

    STOP_SERVICES = "stop"
    KEEP_SERVICES = "keep"


@dataclass(frozen=True)
class RecoveredState:
    """What is known of a service when the daemon begins to manage it: its STATE file, and whether
    to ask the wrapper.

    ``then`` is the frozen state an interrupted script had to end in; with UNKNOWN, what an unsure
    wrapper leaves.
    """

    state: ServiceState
    then: ServiceState | None = None
    must_probe: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Tick:
    """Nothing but time has passed."""


@dataclass(frozen=True)
class BeatReceived:
    """A valid beat came in on a link; ``pid`` is the thread that sent it there.

    ``key_id`` names the cluster key that authenticates it, and is empty for a beat that nothing
    authenticates.
    """

    link: LinkSpec
    beat: Beat
    received_at: float
    pid: int = 0
    key_id: str = ""


@dataclass(frozen=True)
class ScriptExited:
    """A script this engine asked for has ended; ``detail`` says how, for the operator."""

    service: str
    kind: ScriptKind
    outcome: ScriptOutcome
    detail: str = ""


BY_OPERATOR = "operator"
BY_MONITOR = "resource monitor"
"""Who gives a command."""


@dataclass(frozen=True)
class CommandReceived:
    """A command for one service; answers carry ``command_id``.

    ``by`` is who gives it, as the reason of a change names it.
    """

    command_id: int
    service: str
    command: Command
    by: str = BY_OPERATOR


@dataclass(frozen=True)
class ConfigChanged:
    """The configuration files were edited.

    ``learned`` is what the STATE files say of services that were added.
    """

    spec: ClusterSpec
    learned: Mapping[str, RecoveredState] = field(default_factory=dict)


@dataclass(frozen=True)
class StoreFailed:
    """The state of a service could not be written; ``detail`` is the system's reason."""

    service: str
    detail: str


@dataclass(frozen=True)
class LeaveRequested:
    """The daemon is asked to end."""

    leaving: Leaving


@dataclass(frozen=True)
class PeerForgotten:
    """An operator says that the peer lost its boot counter: a lower one than before is to be
    believed.
    """


@dataclass(frozen=True)
class PeerConfirmedOut:
    """A person made sure that the peer runs nothing; ``who`` is that person, for the history.

    An engine that takes it after ``until`` refuses it: the person was told that there is no answer,
    and may have left.
    """

    command_id: int
    who: str
    until: float = math.inf


@dataclass(frozen=True)
class SendersMuted:
    """The links that this node cannot send on now, because their interface is down or gone: all of
    them, at each change.
    """

    links: frozenset[LinkSpec]


@dataclass(frozen=True)
class ListenerTried:
    """The listener of a link could not be opened, and never was since it is in use.

    Or it is open at last.
    """

    link: LinkSpec
    is_open: bool


@dataclass(frozen=True)
class ReadinessFound:
    """Why this node could not start some of its services now, by service: all of them, at each
    change.

    ``tells_power`` are those whose check-up script has a status that says whether the peer is off.
    """

    problems: Mapping[str, str]
    tells_power: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SeemsUp:
    """A look beside the engine found a service up, or parts of it.

    The engine may take it for stopped.
    """

    service: str


Event = (
    Tick
    | BeatReceived
    | ScriptExited
    | CommandReceived
    | ConfigChanged
    | StoreFailed
    | LeaveRequested
    | PeerForgotten
    | PeerConfirmedOut
    | SendersMuted
    | ListenerTried
    | ReadinessFound
    | SeemsUp
)
