"""Read and write what is asked over the peer link: dictionaries of JSON to requests and back, pure.

    {"do": "status"}                                 {"status": {...}}
    {"do": "inspect"}, also with "is_deep": true     {"inspect": {...}}      needs `files`
        and "hardware": ["52:54:00:..."]
    {"do": "fetch", "name": "monitor"}               {"text": "..."}         needs `files`
    {"do": "history", "service": "", "limit": 50}    {"history": [{...}...]}
    {"do": "order", "id": ID, "service": "web",      {"accepted": ID}, {"line": "..."}...,
     "action": "stop", "agent": "embedded",          {"done": CODE}          needs `orders`
     "line": ""}
    {"do": "add"|"remove"|"take", "id": ID, ...}     the same                needs `files`
    {"do": "drill", "id": ID, "word": "stop",        the same                needs `orders`
     "services": ["web"], "seconds": 60}
    {"do": "outcome", "id": ID}                      the same, or {"withdrawn": true},
                                                     or {"unknown": "..."}
    anything else                                    {"error": "...", "code": N}

Every value is checked here. A request with an id is executed at most once, whatever is lost: its
sender asks for the outcome, and by asking withdraws one that has not arrived. ``{"alive": true}``
comes while something takes long.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from opensvc_openha.core.model import REQUEST_SERVICES_MAX
from opensvc_openha.core.timing import DRILL_REQUEST_MAX_S
from opensvc_openha.errors import (
    ActionError,
    ConfigError,
    NotAnsweringError,
    NotRunningError,
    OpenhaError,
    RefusedError,
    SystemFault,
    UsageError,
)
from opensvc_openha.formats.nodes_file import check_node_name
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.formats.options_schema import Allowed
from opensvc_openha.formats.services_file import check_service_name
from opensvc_openha.hints import Any, TypeVar
from opensvc_openha.system.order_reason import REASON_CHARACTERS

_MemberT = TypeVar("_MemberT", bound=enum.Enum)

ACTIONS = ("start", "stop", "switch", "freeze", "thaw")
FILE_CHARACTERS = 400_000
"""Longest file that is carried."""
ENTRIES_MAX = 1_000
"""Most entries of the history that one answer has."""
EVACUATE_WAIT_MAX_S = 86_400
"""Longest wait of an evacuation, in seconds."""
ALIVE_S = 5.0
"""Seconds between two signs of life while a request is executed."""

_ID = re.compile(r"[0-9a-f]{32}\Z")
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}\Z")
_LINE = re.compile(r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){1,2})?\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z|-\Z")
_HARDWARE = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}\Z")
_HARDWARE_MAX = 1_000
NO_FILE = "-"
"""Stands for the digest of a file that does not exist."""


class SharedFile(enum.Enum):
    """A file of the cluster that is the same on both nodes."""

    NODES = "nodes"
    MONITOR = "monitor"
    OPTIONS = "openha.conf"


class AgentKind(enum.Enum):
    """Whose service an order is for."""

    EMBEDDED = "embedded"
    REAL = "real"


@dataclass(frozen=True)
class StatusRequest:
    """The status of the other node's daemon, and its version."""

    allowed = None


@dataclass(frozen=True)
class InspectRequest:
    """What a check compares between the nodes: digests of files, services, wrappers.

    ``is_deep``: that node also checks whether it could start the services that it does not run.
    ``hardware`` are the hardware addresses of the node that asks, by which the service addresses
    that it holds are known.
    """

    is_deep: bool = False
    hardware: tuple[str, ...] = ()
    allowed = Allowed.FILES


@dataclass(frozen=True)
class FetchRequest:
    """The text of a shared file; empty if there is none."""

    file: SharedFile
    allowed = Allowed.FILES


@dataclass(frozen=True)
class HistoryRequest:
    """The newest entries of the history, of a service or of all."""

    service: str
    limit: int
    allowed = None


@dataclass(frozen=True)
class _Change:
    """What a person may have given a reason for."""

    order_reason: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class OrderRequest(_Change):
    """The other node's part of a person's order for a service."""

    job_id: str
    service: str
    action: str
    agent: AgentKind = AgentKind.EMBEDDED
    line: str = ""
    """The line of the real agent that asks, as ``1.8``."""
    allowed = Allowed.ORDERS


@dataclass(frozen=True)
class AddRequest(_Change):
    """Take over a service file and add its service to the cluster there.

    ``is_private``: the file is for root only. ``is_trial``: only check it.
    """

    job_id: str
    service: str
    text: str = field(repr=False)
    primary: str
    secondary: str
    check: str
    is_private: bool = False
    is_trial: bool = False
    allowed = Allowed.FILES


@dataclass(frozen=True)
class RemoveRequest(_Change):
    """Remove a service from the cluster there, with its file and wrappers."""

    job_id: str
    service: str
    is_trial: bool = False
    allowed = Allowed.FILES


@dataclass(frozen=True)
class TakeRequest(_Change):
    """Replace shared files there.

    ``seen``: the digest of each that the sender has last seen there; another one is refused.
    """

    job_id: str
    texts: Mapping[SharedFile, str] = field(repr=False)
    seen: Mapping[SharedFile, str]
    private: frozenset[SharedFile] = frozenset()
    """Files that are for root only where they came from."""
    is_trial: bool = False
    allowed = Allowed.FILES


class DrillWord(enum.Enum):
    """What a drill may have the other node do: with named services, or with the node itself."""

    STOP = "stop"
    """Hand the services over."""
    FREEZE_STOP = "freeze-stop"
    UNFREEZE = "unfreeze"
    PLAY_DEAD = "play-dead"
    """Fall silent, and stop these services: all that run there."""
    SPEAK = "speak"


@dataclass(frozen=True)
class DrillRequest(_Change):
    """The other node's part of a drill; ``seconds`` is how long it may last."""

    job_id: str
    word: DrillWord
    services: tuple[str, ...]
    seconds: float
    allowed = Allowed.ORDERS


@dataclass(frozen=True)
class EvacuateRequest(_Change):
    """Hand all services over, and report when it is safe to switch off; or end that."""

    job_id: str
    wait_s: int
    is_forced: bool = False
    is_off_limits: bool = False
    is_undo: bool = False
    allowed = Allowed.ORDERS


@dataclass(frozen=True)
class OutcomeRequest:
    """What became of an earlier request; one that has not arrived is withdrawn."""

    job_id: str
    allowed = None


JobRequest = (
    OrderRequest | AddRequest | RemoveRequest | TakeRequest | DrillRequest | EvacuateRequest
)
Request = (
    StatusRequest | InspectRequest | FetchRequest | HistoryRequest | JobRequest | OutcomeRequest
)


def parse_request(message: Mapping[str, Any]) -> Request:
    """Return the request of a message; raise UsageError for anything else."""
    fields = _Fields(message)
    request = _request(message, fields)
    if isinstance(request, _Change):
        return replace(request, order_reason=fields.order_reason())
    return request


def _request(message: Mapping[str, Any], fields: _Fields) -> Request:
    match message.get("do"):
        case "status":
            request: Request = StatusRequest()
        case "inspect":
            request = InspectRequest(message.get("is_deep") is True, fields.hardware())
        case "fetch":
            request = FetchRequest(fields.member("name", SharedFile))
        case "history":
            request = HistoryRequest(fields.service_or_all(), fields.number("limit", ENTRIES_MAX))
        case "order":
            action = fields.text("action", 20)
            if action not in ACTIONS:
                raise UsageError(f"not a request: action {action!r}")
            request = OrderRequest(
                fields.job_id(),
                fields.service(),
                action,
                fields.member("agent", AgentKind),
                fields.line(),
            )
        case "add":
            request = AddRequest(
                fields.job_id(),
                fields.service(),
                fields.text("text", FILE_CHARACTERS),
                fields.node("primary"),
                fields.node("secondary"),
                fields.path("check"),
                fields.flag("is_private"),
                fields.flag("is_trial"),
            )
        case "remove":
            request = RemoveRequest(fields.job_id(), fields.service(), fields.flag("is_trial"))
        case "take":
            request = TakeRequest(
                fields.job_id(),
                fields.texts(),
                fields.digests(),
                fields.private(),
                fields.flag("is_trial"),
            )
        case "drill":
            request = DrillRequest(
                fields.job_id(),
                fields.member("word", DrillWord),
                fields.services(),
                float(fields.number("seconds", DRILL_REQUEST_MAX_S)),
            )
        case "evacuate":
            request = EvacuateRequest(
                fields.job_id(),
                fields.number("wait_s", EVACUATE_WAIT_MAX_S),
                fields.flag("is_forced"),
                fields.flag("is_off_limits"),
                fields.flag("is_undo"),
            )
        case "outcome":
            request = OutcomeRequest(fields.job_id())
        case _:
            raise UsageError("not a request that this version of the peer link has")
    return request


def request_to_json(request: Request) -> dict[str, Any]:
    """Return the message of a request."""
    message = _message(request)
    if isinstance(request, _Change) and request.order_reason:
        message["order_reason"] = request.order_reason
    return message


def _message(request: Request) -> dict[str, Any]:
    match request:
        case StatusRequest():
            return {"do": "status"}
        case InspectRequest():
            if not request.is_deep:
                return {"do": "inspect"}
            return {"do": "inspect", "is_deep": True, "hardware": list(request.hardware)}
        case FetchRequest():
            return {"do": "fetch", "name": request.file.value}
        case HistoryRequest():
            return {"do": "history", "service": request.service, "limit": request.limit}
        case OrderRequest():
            return {
                "do": "order",
                "id": request.job_id,
                "service": request.service,
                "action": request.action,
                "agent": request.agent.value,
                "line": request.line,
            }
        case AddRequest():
            return {
                "do": "add",
                "id": request.job_id,
                "service": request.service,
                "text": request.text,
                "primary": request.primary,
                "secondary": request.secondary,
                "check": request.check,
                "is_private": request.is_private,
                "is_trial": request.is_trial,
            }
        case RemoveRequest():
            return {
                "do": "remove",
                "id": request.job_id,
                "service": request.service,
                "is_trial": request.is_trial,
            }
        case TakeRequest():
            return {
                "do": "take",
                "id": request.job_id,
                "texts": {file.value: text for file, text in request.texts.items()},
                "seen": {file.value: digest for file, digest in request.seen.items()},
                "private": sorted(file.value for file in request.private),
                "is_trial": request.is_trial,
            }
        case DrillRequest():
            return {
                "do": "drill",
                "id": request.job_id,
                "word": request.word.value,
                "services": list(request.services),
                "seconds": int(request.seconds),
            }
        case EvacuateRequest():
            return {
                "do": "evacuate",
                "id": request.job_id,
                "wait_s": request.wait_s,
                "is_forced": request.is_forced,
                "is_off_limits": request.is_off_limits,
                "is_undo": request.is_undo,
            }
        case OutcomeRequest():
            return {"do": "outcome", "id": request.job_id}


_KINDS = (
    UsageError,
    ConfigError,
    NotRunningError,
    RefusedError,
    ActionError,
    SystemFault,
)


def error_to_json(error: OpenhaError) -> dict[str, Any]:
    """Return the answer for a request that was refused, or failed."""
    return {"error": str(error), "code": error.exit_code}


def error_of(code: object, text: str) -> OpenhaError:
    """Return the error of that exit code; NotAnsweringError is a NotRunningError then."""
    kind = next((kind for kind in _KINDS if kind.exit_code == code), OpenhaError)
    return NotAnsweringError(text) if kind is NotRunningError else kind(text)


class _Fields:
    """The values of a message; each method raises UsageError if its value is not as expected."""

    def __init__(self, message: Mapping[str, Any]) -> None:
        self._message = message

    def text(self, name: str, characters: int) -> str:
        value = self._message.get(name)
        if not isinstance(value, str) or len(value) > characters or "\0" in value:
            raise UsageError(f"not a request: {name} is no text of up to {characters} characters")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError(f"not a request: {name} is no text") from None
        return value

    def job_id(self) -> str:
        value = self.text("id", 32)
        if not _ID.match(value):
            raise UsageError("not a request: id")
        return value

    def service(self) -> str:
        value = self.text("service", 127)
        if not _SERVICE.match(value):
            raise UsageError(f"not a request: service {value!r}")
        try:
            check_service_name(value)
        except ValueError as error:
            raise UsageError(f"not a request: {error}") from None
        return value

    def services(self) -> tuple[str, ...]:
        value = self._message.get("services")
        if not isinstance(value, list) or len(value) > REQUEST_SERVICES_MAX:
            raise UsageError("not a request: services")
        return tuple(_Fields({"service": name}).service() for name in value)

    def service_or_all(self) -> str:
        return "" if self._message.get("service") == "" else self.service()

    def number(self, name: str, most: int) -> int:
        value = self._message.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
            raise UsageError(f"not a request: {name} is no number from 1 to {most}")
        return value

    def order_reason(self) -> str:
        if "order_reason" not in self._message:
            return ""
        return one_line(self.text("order_reason", REASON_CHARACTERS))[:REASON_CHARACTERS]

    def line(self) -> str:
        if "line" not in self._message:
            return ""  # Of a version whose orders are for the embedded agent alone.
        value = self.text("line", 12)
        if not _LINE.match(value):
            raise UsageError("not a request: line")
        return value

    def node(self, name: str) -> str:
        value = self.text(name, 127)
        try:
            check_node_name(value)
        except ValueError as error:
            raise UsageError(f"not a request: {name}: {error}") from None
        return value

    def path(self, name: str) -> str:
        value = self.text(name, 1_000)
        if not value.startswith("/") or any(char.isspace() for char in value):
            raise UsageError(f"not a request: {name} is no absolute path without blanks")
        return value

    def flag(self, name: str) -> bool:
        value = self._message.get(name)
        if not isinstance(value, bool):
            raise UsageError(f"not a request: {name} is neither true nor false")
        return value

    def hardware(self) -> tuple[str, ...]:
        value = self._message.get("hardware", [])
        if not isinstance(value, list) or len(value) > _HARDWARE_MAX:
            raise UsageError("not a request: hardware")
        if not all(isinstance(each, str) and _HARDWARE.match(each) for each in value):
            raise UsageError("not a request: hardware has something else than addresses")
        return tuple(value)

    def member(self, name: str, members: type[_MemberT]) -> _MemberT:
        value = self._message.get(name)
        for member in members:
            if member.value == value:
                return member
        raise UsageError(f"not a request: {name}")

    def texts(self) -> dict[SharedFile, str]:
        texts = _Fields(self._map("texts"))
        return {file: texts.text(file.value, FILE_CHARACTERS) for file in self._files("texts")}

    def digests(self) -> dict[SharedFile, str]:
        digests = _Fields(self._map("seen"))
        found = {file: digests.text(file.value, 64) for file in self._files("seen")}
        if not all(_DIGEST.match(digest) for digest in found.values()):
            raise UsageError("not a request: seen")
        return found

    def private(self) -> frozenset[SharedFile]:
        value = self._message.get("private")
        if not isinstance(value, list):
            raise UsageError("not a request: private")
        known = {file.value: file for file in SharedFile}
        if not all(isinstance(name, str) and name in known for name in value):
            raise UsageError("not a request: private has a file that is not shared")
        return frozenset(known[name] for name in value)

    def _map(self, name: str) -> Mapping[str, Any]:
        value = self._message.get(name)
        if not isinstance(value, dict):
            raise UsageError(f"not a request: {name}")
        return value

    def _files(self, name: str) -> list[SharedFile]:
        words = self._map(name)
        if not set(words) <= {file.value for file in SharedFile}:
            raise UsageError(f"not a request: {name} has a file that is not shared")
        return [file for file in SharedFile if file.value in words]
