"""What the engine asks the shell to do. A step returns them in the order in which they must happen.

First every Persist, then Announce, then the scripts, answers and records: what a peer is told is on
disk already, and what a script does has been announced.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.events import ScriptKind
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding


@dataclass(frozen=True)
class Persist:
    """Write this node's state of a service.

    ``then`` is the frozen state that the running script must end in.
    """

    service: str
    state: ServiceState
    then: ServiceState | None = None


@dataclass(frozen=True)
class MirrorPeer:
    """Write the peer's state as seen here.

    For display only: nothing is ever decided on that file.
    """

    service: str
    state: ServiceState


@dataclass(frozen=True)
class RememberLives:
    """Write the newest life of the peer heard under each key, so that a restart here does not
    forget them.
    """

    lives: tuple[tuple[str, BootId], ...]


@dataclass(frozen=True)
class RememberFencing:
    """Write what the next daemon must know of fencing."""

    memory: FencingMemory


@dataclass(frozen=True)
class Announce:
    """Send this beat on every link at once.

    With the names of the services if the peer does not have them.
    """

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


class AnswerCode(enum.Enum):
    """What an answer says; the text is in the command line's renderer."""

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


@dataclass(frozen=True)
class Answer:
    """One line for the operator who gave a command; ``is_last`` ends it, ``is_ok`` is its success.

    ``command`` is the typed name of the action, ``own`` and ``peer`` the states at that moment.
    """

    command_id: int
    command: str
    service: str
    word: AnswerCode
    own: ServiceState
    peer: ServiceState
    detail: str = ""
    is_last: bool = False
    is_ok: bool = True


class RecordKind(enum.Enum):
    """What a record is about."""

    SERVICE = "service"
    LINK = "link"
    PEER = "peer"
    NODE = "node"


@dataclass(frozen=True)
class Record:
    """One change worth a line in the log: what changed, from what to what, and why.

    ``rule`` is the row applied, if any.
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
    """The engine is done; the daemon may end."""


Action = (
    Persist
    | RememberLives
    | RememberFencing
    | MirrorPeer
    | Announce
    | RunScript
    | Answer
    | Record
    | Exit
)
