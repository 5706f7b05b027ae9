"""Parse requests on the control socket: a line of bytes becomes a request, or a UsageError.

Every value is checked here, before it is used: the engine relies on that. Lines are short by
contract, so that parsing one, from any user, takes no time and no memory that a decision would
miss.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable
from dataclasses import field, replace

from opensvc_openha.core.events import BY_OPERATOR, SOURCES, Command, DrillOrder, Leaving
from opensvc_openha.core.model import REQUEST_SERVICES_MAX
from opensvc_openha.core.timing import DRILL_REQUEST_MAX_S
from opensvc_openha.errors import UsageError
from opensvc_openha.formats.nodes_file import check_node_name
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.formats.services_file import check_service_name
from opensvc_openha.hints import TypeVar
from opensvc_openha.records import dataclass
from opensvc_openha.system.order_reason import REASON_CHARACTERS

REQUEST_BYTES = 8_192
"""Longest request of root and of the daemon's own user."""
STRANGER_BYTES = 256
"""Longest request of any other user, who may only read."""
LINKS_MAX = 16
"""Most links that one request may name."""
NOTE_CHARACTERS = 400
"""Characters kept of each text of a note."""

_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")

Member = TypeVar("Member", bound=enum.Enum)


@dataclass(frozen=True)
class Order:
    """What a person may give a reason for."""

    order_reason: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class StatusRequest:
    """The present status, for all users; or of an engine that hangs the newest one."""

    is_old_fine: bool = False


@dataclass(frozen=True)
class HistoryRequest:
    """The newest entries of the history, for all users: the file is for root, and a moment late."""


@dataclass(frozen=True)
class RenderRequest(Order):
    """Carry out a command line, and answer with what the command prints.

    ``version`` is the command's, ``zone`` its time zone, if it has one of its own.
    """

    version: str
    words: tuple[str, ...]
    zone: str | None


@dataclass(frozen=True)
class ActRequest(Order):
    """A command for these services; None for all of this node."""

    command: Command
    services: tuple[str, ...] | None
    by: str = BY_OPERATOR


@dataclass(frozen=True)
class ReloadRequest(Order):
    """Read the configuration files again."""


@dataclass(frozen=True)
class NoteRequest:
    """An observation or action of the resource monitor on a service; each text is one line."""

    service: str
    word: str
    reason: str
    is_alarm: bool


@dataclass(frozen=True)
class ForgetPeerRequest(Order):
    """Accept a lower boot counter of the peer from now on."""


@dataclass(frozen=True)
class ConfirmRequest(Order):
    """An operator has made sure that this node runs nothing."""

    node: str


@dataclass(frozen=True)
class FenceLookRequest:
    """Look at a path of the fence plan now, whatever was refused before."""

    path: str


@dataclass(frozen=True)
class FenceDrillRequest(Order):
    """Cut the power of ``node``, which is healthy, by this path, and measure it."""

    path: str
    node: str


@dataclass(frozen=True)
class ReleaseRequest(Order):
    """Register this node, which was ejected, on the arbiter again."""


@dataclass(frozen=True)
class EvacuateRequest(Order):
    """Keep services away from this node from now on, or no longer."""

    is_on: bool
    is_off_limits: bool


@dataclass(frozen=True)
class StartedRequest(Order):
    """The daemon was started by this caller; only for the reason of it."""


@dataclass(frozen=True)
class CutRequest(Order):
    """Cut these links, named as `hb -s` does, while the connection lasts and for ``seconds``."""

    links: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class DrillOrderRequest(Order):
    """What a drill of a takeover asks of this node; ``seconds`` where that takes time."""

    order: DrillOrder
    seconds: float


@dataclass(frozen=True)
class DrillNoteRequest(Order):
    """Record the beginning or the end of a drill in the history."""

    word: str
    text: str
    is_alarm: bool


@dataclass(frozen=True)
class LeaveRequest(Order):
    """End the daemon."""

    leaving: Leaving


Request = (
    StatusRequest
    | HistoryRequest
    | RenderRequest
    | ActRequest
    | ReloadRequest
    | NoteRequest
    | ForgetPeerRequest
    | ConfirmRequest
    | FenceLookRequest
    | FenceDrillRequest
    | ReleaseRequest
    | EvacuateRequest
    | StartedRequest
    | CutRequest
    | DrillOrderRequest
    | DrillNoteRequest
    | LeaveRequest
)


def parse_request(line: bytes) -> Request:
    """Parse the request in a line, ignoring keys that a newer command adds. Raises UsageError."""
    try:
        found = json.loads(line.decode("utf-8"))
    # A deeply nested line exhausts the parser's stack.
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not a request: {error}") from None
    if not isinstance(found, dict):
        raise UsageError("not a request: expected a JSON object")
    request = _request(found)
    if isinstance(request, Order):
        return replace(request, order_reason=_text(found, "order_reason")[:REASON_CHARACTERS])
    return request


def _request(found: dict[str, object]) -> Request:
    what = found.get("do")
    if what == "status":
        return StatusRequest(found.get("old") is True)
    if what == "history":
        return HistoryRequest()
    if what == "render":
        zone = None if found.get("zone") is None else _text(found, "zone")
        return RenderRequest(_text(found, "version"), _words(found.get("words")), zone)
    if what == "act":
        by = next((by for by in SOURCES if found.get("by") == by), BY_OPERATOR)
        return ActRequest(
            _member(Command, found.get("command"), "command"), _services(found.get("services")), by
        )
    if what == "reload":
        return ReloadRequest()
    if what == "note":
        return _note(found)
    if what == "forget-peer":
        return ForgetPeerRequest()
    if what == "confirm":
        return ConfirmRequest(_name(found.get("node"), "node", check_node_name))
    if what == "fence-look":
        return FenceLookRequest(_name(found.get("path"), "path", check_path_name))
    if what == "fence-drill":
        path = _name(found.get("path"), "path", check_path_name)
        return FenceDrillRequest(path, _name(found.get("node"), "node", check_node_name))
    if what == "evacuate":
        return EvacuateRequest(_flag(found, "on"), _flag(found, "off_limits"))
    if what == "fence-release":
        return ReleaseRequest()
    if what == "started":
        return StartedRequest()
    if what == "cut-links":
        return CutRequest(_links(found.get("links")), _seconds(found.get("seconds")))
    if what == "drill-order":
        order = _member(DrillOrder, found.get("order"), "order of a drill")
        is_timed = order in (DrillOrder.HOLD_FENCES, DrillOrder.PLAY_DEAD)
        return DrillOrderRequest(order, _seconds(found.get("seconds")) if is_timed else 0.0)
    if what == "drill-note":
        word, text = _text(found, "word"), _text(found, "text")
        return DrillNoteRequest(word, text, _flag(found, "is_alarm"))
    if what == "leave":
        return LeaveRequest(_member(Leaving, found.get("how"), "way to leave"))
    raise UsageError(f"unknown request {_shown(what)}: this daemon may be older than the command")


def check_path_name(name: str) -> None:
    """Raise ValueError for what cannot name a path of the fence plan."""
    if not _PATH.match(name):
        raise ValueError(
            f"expected the name of a path as in [fencing] levels, found {_shown(name)}"
        )


def _member(kind: type[Member], value: object, what: str) -> Member:
    for member in kind:
        if member.value == value:
            return member
    raise UsageError(f"not a request: no such {what}: {_shown(value)}")


def _name(value: object, what: str, check: Callable[[str], None]) -> str:
    if not isinstance(value, str):
        raise UsageError(f"not a request: expected the name of a {what}, found {_shown(value)}")
    try:
        check(value)
    except ValueError as error:
        raise UsageError(f"not a request: {error}") from None
    return value


def _services(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > REQUEST_SERVICES_MAX:
        raise UsageError(
            f"not a request: services: expected a list of at most {REQUEST_SERVICES_MAX} names"
        )
    return tuple(_service(name) for name in value)


def _words(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise UsageError("not a request: words: expected a list of texts")
    return tuple(value)


def _links(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= LINKS_MAX:
        raise UsageError(f"not a request: links: expected a list of at most {LINKS_MAX} links")
    if not all(isinstance(name, str) and len(name) <= NOTE_CHARACTERS for name in value):
        raise UsageError("not a request: links: expected links as hb -s names them")
    return tuple(value)


def _seconds(value: object) -> float:
    if (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and 0 < value <= DRILL_REQUEST_MAX_S
    ):
        return float(value)
    raise UsageError(
        f"not a request: seconds: expected a number up to {DRILL_REQUEST_MAX_S},"
        f" found {_shown(value)}"
    )


def _service(value: object) -> str:
    return _name(value, "service", check_service_name)


def _note(found: dict[str, object]) -> NoteRequest:
    is_alarm = _flag(found, "is_alarm")
    return NoteRequest(
        _service(found.get("service")), _text(found, "word"), _text(found, "reason"), is_alarm
    )


def _flag(found: dict[str, object], key: str) -> bool:
    value = found.get(key, False)
    if not isinstance(value, bool):
        raise UsageError(f"not a request: {key}: expected true or false, found {_shown(value)}")
    return value


def _text(found: dict[str, object], key: str) -> str:
    value = found.get(key, "")
    if not isinstance(value, str):
        raise UsageError(f"not a request: {key}: expected a text, found {_shown(value)}")
    return one_line(value[:NOTE_CHARACTERS])


def _shown(value: object) -> str:
    return one_line(repr(value)[:60])
