"""Read a docker daemon's containers and images with GETs on its socket, without side effects.

Plain HTTP/1.0 on the UNIX socket costs 1 ms a call. The docker command costs 40 to 190 ms and the
docker SDK 110 to 500 ms before the first call, which is more than a whole status command may take.
"""

from __future__ import annotations

import enum
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from opensvc_openha.formats.one_line import one_line
from opensvc_openha.hints import Any
from opensvc_openha.system.clock import monotonic

LOOK_LIMIT_S = 5.0
ANSWER_BYTES_MAX = 64 * 1024 * 1024

_EXITED = re.compile(r"Exited \((-?\d+)\)")
_HEALTH = re.compile(r"\((?:health: )?(starting|healthy|unhealthy)\)\Z")
_PROBE_LIMIT_S = 1.0
_PROBE_CHARACTERS = 160


class Health(enum.Enum):
    """What the HEALTHCHECK of a running container comes to; the values are docker's words."""

    NONE = ""
    """It has none, or the engine is too old to have one."""
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Standing(enum.Enum):
    """Whether the daemon serves."""

    STOPPED = "stopped"
    RUNNING = "running"
    HUNG = "hung"


@dataclass(frozen=True)
class Container:
    """One container.

    ``state`` is docker's word: created running paused restarting removing exited dead.
    """

    id: str
    name: str
    image: str
    image_id: str
    state: str
    exit_code: int | None
    labels: Mapping[str, str]
    health: Health = Health.NONE

    @property
    def short_id(self) -> str:
        """Id as ``docker ps`` prints it."""
        return self.id[:12]

    @property
    def has_processes(self) -> bool:
        """Return whether there is something to stop."""
        return self.state in ("running", "paused", "restarting", "removing")


@dataclass(frozen=True)
class Probes:
    """The last probes of a container's HEALTHCHECK.

    ``failures`` is how many failed in a row, ``last`` how the last one ended, in one line.
    ``verdict_s`` is the time after a start in which docker finds out that it is unhealthy.
    """

    failures: int = 0
    last: str = ""
    verdict_s: float = 0.0


@dataclass(frozen=True)
class EngineView:
    """Snapshot of a daemon. ``tags`` are the names of each image."""

    standing: Standing
    containers: tuple[Container, ...] = ()
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def container(self, name: str) -> Container | None:
        """Return the container of that name."""
        return next((found for found in self.containers if found.name == name), None)

    def image_name(self, container: Container, wanted: str) -> str:
        """Return the name to show for a container's image.

        The wanted one if the image still has it, else any, else its short id.
        """
        tags = self.tags.get(container.image_id, ())
        for name in (wanted, container.image):
            if name in tags:
                return name
        return tags[0] if tags else short_image_id(container.image_id)


def look_at_engine(path: str, limit_s: float = LOOK_LIMIT_S) -> EngineView:
    """Return containers and images of the daemon that listens on a socket."""
    try:
        containers = tuple(
            _container(entry) for entry in _get(path, "/containers/json?all=1", limit_s)
        )
        images = _get(path, "/images/json", limit_s) if containers else []
    except TimeoutError:
        return EngineView(Standing.HUNG)
    except OSError:
        return EngineView(Standing.STOPPED)
    except (ValueError, KeyError, TypeError):
        # The listener does not speak docker's protocol.
        return EngineView(Standing.HUNG)
    return EngineView(
        Standing.RUNNING, containers, {entry["Id"]: tuple(_real_tags(entry)) for entry in images}
    )


def find_image(path: str, name: str) -> str | None:
    """Return the id of an image by name or id; None if the daemon has none.

    Raises OSError if it does not answer.
    """
    try:
        answer = _get(path, f"/images/{quote(name, safe='/:@')}/json", LOOK_LIMIT_S)
    except LookupError:
        return None
    return str(answer["Id"])


def read_probes(path: str, container: Container) -> Probes:
    """Return what is known of a container's HEALTHCHECK; nothing without an answer."""
    try:
        answer = _get(path, f"/containers/{quote(container.id)}/json", _PROBE_LIMIT_S)
        health = answer["State"].get("Health") or {}
        log = health.get("Log") or []
        last = _probe_text(log[-1]) if log else ""
        wait_s = _verdict_s(answer["Config"].get("Healthcheck") or {})
        return Probes(int(health.get("FailingStreak") or 0), last, wait_s)
    except (OSError, LookupError, ValueError, TypeError, AttributeError):
        return Probes()


def answers(path: str, limit_s: float) -> Standing:
    """Return whether the daemon serves, by the cheapest request."""
    try:
        _request(path, "/_ping", limit_s)
    except TimeoutError:
        return Standing.HUNG
    except (OSError, LookupError):
        return Standing.STOPPED
    return Standing.RUNNING


def short_image_id(image_id: str) -> str:
    """Return the id as ``docker images`` prints it."""
    return image_id.rpartition(":")[2][:12]


def _get(path: str, resource: str, limit_s: float) -> Any:
    return json.loads(_request(path, resource, limit_s))


def _request(path: str, resource: str, limit_s: float) -> bytes:
    """Return the body of the answer; LookupError for 404, OSError (or socket.timeout) without."""
    give_up = monotonic() + limit_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(limit_s)
        sock.connect(path)
        sock.sendall(f"GET {resource} HTTP/1.0\r\nHost: docker\r\n\r\n".encode("ascii"))
        parts = []
        size = 0
        while True:
            left_s = give_up - monotonic()
            if left_s <= 0:
                raise TimeoutError("no complete answer")
            sock.settimeout(left_s)
            part = sock.recv(65536)
            if not part:
                break
            size += len(part)
            if size > ANSWER_BYTES_MAX:
                raise OSError("answer too large")
            parts.append(part)
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status == [b"404"]:
        raise LookupError(resource)
    if status != [b"200"]:
        raise ConnectionError(f"{resource}: {body[:200].decode('utf-8', 'replace')}")
    return body


def _container(entry: Any) -> Container:
    exited = _EXITED.match(entry["Status"])
    return Container(
        id=entry["Id"],
        name=next((name.lstrip("/") for name in entry["Names"] or [] if name.count("/") == 1), ""),
        image=entry["Image"],
        image_id=entry["ImageID"],
        state=entry["State"],
        exit_code=int(exited.group(1)) if exited else None,
        labels=entry.get("Labels") or {},
        health=_health(entry),
    )


def _health(entry: Any) -> Health:
    found = _HEALTH.search(entry["Status"])
    return Health(found.group(1)) if found and entry["State"] == "running" else Health.NONE


def _probe_text(entry: Any) -> str:
    words = " ".join(str(entry.get("Output") or "").split())
    text = one_line(words)
    if len(text) > _PROBE_CHARACTERS:
        text = f"{text[:_PROBE_CHARACTERS]}..."
    code = f"exit code {entry['ExitCode']}"
    return f"{code}: {text}" if text else code


def _verdict_s(check: Any) -> float:
    """Return how long docker takes to call it unhealthy; its own defaults stand for a 0."""
    interval_s, timeout_s, begins_s = (
        (check.get(name) or default_s * 1e9) / 1e9
        for name, default_s in (("Interval", 30), ("Timeout", 30), ("StartPeriod", 0))
    )
    retries = check.get("Retries") or 3
    return float(begins_s + retries * (interval_s + timeout_s))


def _real_tags(image: Any) -> list[str]:
    return [tag for tag in image.get("RepoTags") or [] if tag != "<none>:<none>"]
