"""Turn what was seen into what is shown: words, and a level for each thing, never a colour.

Pure: pages and screens only lay it out.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from opensvc_openha.core.outlook import Finding, Severity
from opensvc_openha.core.states import FAILED, FROZEN, PASSING, UP, ServiceState
from opensvc_openha.core.status import (
    LinkStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    ServiceStatus,
)
from opensvc_openha.live.observer import Seen, end_of
from opensvc_openha.live.orders import Order, orders_for
from opensvc_openha.storage.explanation import describe
from opensvc_openha.storage.history_entry import Entry
from opensvc_openha.system.clock import precise_stamp, stamp

OVERDUE_S = 1.5
"""Seconds after which a question without an answer is shown."""
_RESTART_SHOWN_S = 60.0
_POINTS = 100
"""Points of a plot; each is the longest silence of its seconds."""
_EVENTS = 100


class Level(enum.Enum):
    """How a thing is; the values select the shape beside its word."""

    OK = "ok"
    OFF = "off"
    """Stopped, as it should be."""
    BUSY = "busy"
    PAUSED = "paused"
    """Frozen by an operator."""
    WARNING = "warning"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class NodePicture:
    """One node; ``word`` is its standing."""

    name: str
    is_here: bool
    word: str
    level: Level
    text: str


@dataclass(frozen=True)
class LinkPicture:
    """One end of a link on this node; ``points`` are seconds of silence, oldest first."""

    key: str
    title: str
    direction: str
    is_up: bool
    word: str
    level: Level
    text: str
    timeout_s: float
    points: tuple[float | None, ...]
    point_s: float
    """Seconds of one point."""


@dataclass(frozen=True)
class SidePicture:
    """A service on one node."""

    node: str
    role: str
    state: str
    level: Level


@dataclass(frozen=True)
class ServicePicture:
    """One service; the side of this node is the first."""

    name: str
    level: Level
    sides: tuple[SidePicture, ...]
    reason: str
    since: str
    ready: str
    ready_level: Level
    takeover: str
    """How long a takeover would take, and took the last time; empty if that is not known."""
    predicted_s: float | None
    notes: tuple[str, ...]
    orders: tuple[str, ...]


@dataclass(frozen=True)
class PathPicture:
    """One way to fence the peer."""

    name: str
    kind: str
    word: str
    level: Level
    text: str


@dataclass(frozen=True)
class FindingPicture:
    """One thing that the check of this node found; ``about`` is a service, a node or empty."""

    about: str
    word: str
    level: Level
    text: str


@dataclass(frozen=True)
class EventPicture:
    """One entry of the history."""

    key: str
    stamp: str
    text: str
    is_alarm: bool
    service: str


@dataclass(frozen=True)
class Picture:
    """All that is shown; ``is_old`` if the daemon did not answer the last question."""

    version: int
    at: str
    node: str
    peer: str
    level: Level
    headline: str
    is_old: bool
    nodes: tuple[NodePicture, ...] = ()
    services: tuple[ServicePicture, ...] = ()
    links: tuple[LinkPicture, ...] = ()
    paths: tuple[PathPicture, ...] = ()
    fencing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    findings: tuple[FindingPicture, ...] = ()
    checked: str = ""
    """When this node was checked for takeovers; empty if it was not."""
    events: tuple[EventPicture, ...] = ()


def picture(seen: Seen, wall: float, now: float, may_order: bool = False) -> Picture:
    """Return what is shown at wall-clock ``wall``, which is monotonic ``now``."""
    problem = _problem(seen, wall, now)
    events = tuple(_event(entry) for entry in reversed(seen.events[-_EVENTS:]))
    status = seen.status
    if status is None:
        headline = problem or "the first answer of nmond is awaited"
        level = Level.BAD if problem else Level.UNKNOWN
        return Picture(
            seen.version, stamp(wall), "", "", level, headline, bool(problem), events=events
        )
    services = tuple(_service(status, svc, may_order and not problem) for svc in status.services)
    links = tuple(_link(link, seen, wall) for link in status.links)
    level, headline = _headline(status, services, links, problem)
    warnings = status.warnings
    if seen.restarted_at is not None and wall < seen.restarted_at + _RESTART_SHOWN_S:
        restart = f"nmond was restarted: pid {status.pid} since {stamp(seen.restarted_at)}"
        warnings = (restart, *warnings)
    return Picture(
        version=seen.version,
        at=stamp(wall),
        node=status.node,
        peer=status.peer,
        level=level,
        headline=headline,
        is_old=bool(problem),
        nodes=_nodes(status, problem),
        services=services,
        links=links,
        paths=_paths(status),
        fencing=_fencing(status),
        warnings=warnings,
        findings=tuple(_finding(each) for each in status.findings),
        checked="" if status.checked_at is None else stamp(status.checked_at),
        events=events,
    )


def _problem(seen: Seen, wall: float, now: float) -> str:
    """Return why what is known is not of now; empty if it is."""
    status = seen.status
    age_s = 0.0 if status is None else wall - seen.answered_at + status.age_s
    old = f"; what is shown is {age_s:.0f} s old" if status is not None else ""
    if seen.problem:
        return f"{seen.problem}{old}"
    if seen.is_asking and now >= seen.asked_at + OVERDUE_S:
        return f"nmond has not answered for {now - seen.asked_at:.0f} s{old}"
    if status is not None and status.age_s:
        return f"nmond (pid {status.pid}) does not answer, its engine hangs{old}"
    return ""


def _headline(
    status: NodeStatus,
    services: Sequence[ServicePicture],
    links: Sequence[LinkPicture],
    problem: str,
) -> tuple[Level, str]:
    """Return the heaviest of all that is wrong, in one sentence."""
    if problem:
        return Level.BAD, problem
    dual = [svc.name for svc in status.services if svc.is_dual_run]
    if dual:
        return Level.BAD, f"dual run: both nodes run {', '.join(dual)}"
    bad = [svc for svc in services if svc.level is Level.BAD]
    if bad:
        side = next((side for side in bad[0].sides if side.level is Level.BAD), bad[0].sides[0])
        return Level.BAD, f"{bad[0].name} is {side.state} on {side.node}{_more(len(bad))}"
    if status.peer_standing is PeerStanding.SILENT:
        return Level.BAD, f"{status.peer} is silent: {status.peer_reason}"
    if status.peer_standing is not PeerStanding.LIVE:
        return Level.WARNING, f"{status.peer} is {_STANDINGS[status.peer_standing][0]}"
    down = [link for link in links if not link.is_up]
    if down:
        first = f"{down[0].title} {down[0].direction}"
        return Level.WARNING, f"{len(down)} of {len(links)} ends of links down: {first}"
    unready = [svc for svc in services if svc.ready_level is Level.WARNING]
    if unready:
        return Level.WARNING, f"{unready[0].name}: {unready[0].ready}{_more(len(unready))}"
    frozen = [svc.name for svc in services if svc.level is Level.PAUSED]
    if frozen:
        return Level.PAUSED, f"frozen by an operator: {', '.join(frozen)}"
    busy = [svc.name for svc in services if svc.level is Level.BUSY]
    if busy:
        return Level.BUSY, f"on its way: {', '.join(busy)}"
    if status.warnings:
        return Level.WARNING, f"{status.warnings[0]}{_more(len(status.warnings))}"
    return Level.OK, f"{status.node} and {status.peer} hear each other on all links"


def _more(number: int) -> str:
    return f" (and {number - 1} more)" if number > 1 else ""


_STANDINGS = {
    PeerStanding.LIVE: ("heard", Level.OK),
    PeerStanding.SILENT: ("silent", Level.BAD),
    PeerStanding.UNKNOWN: ("not heard yet", Level.UNKNOWN),
    PeerStanding.DEPARTED: ("gone in order", Level.OFF),
}


def _nodes(status: NodeStatus, problem: str) -> tuple[NodePicture, ...]:
    word, level = _STANDINGS[status.peer_standing]
    here = (
        NodePicture(status.node, True, "does not answer", Level.BAD, problem)
        if problem
        else NodePicture(status.node, True, "answers", Level.OK, f"nmond, pid {status.pid}")
    )
    if problem:
        word, level = f"last seen: {word}", Level.UNKNOWN
    return here, NodePicture(status.peer, False, word, level, status.peer_reason)


def level_of(state: ServiceState | None) -> Level:
    """Return the level of a service's state on a node."""
    if state is None or state is ServiceState.UNKNOWN:
        return Level.UNKNOWN
    if state in FAILED:
        return Level.BAD
    if state in FROZEN:
        return Level.PAUSED
    if state in UP:
        return Level.OK
    if state in PASSING:
        return Level.BUSY
    return Level.OFF


_WEIGHT = (
    Level.BAD,
    Level.BUSY,
    Level.PAUSED,
    Level.WARNING,
    Level.OK,
    Level.UNKNOWN,
    Level.OFF,
)


def _service(status: NodeStatus, svc: ServiceStatus, may_order: bool) -> ServicePicture:
    sides = [
        SidePicture(svc.primary, "primary", svc.primary_state.name, level_of(svc.primary_state)),
        SidePicture(
            svc.secondary, "secondary", svc.secondary_state.name, level_of(svc.secondary_state)
        ),
    ]
    sides.sort(key=lambda side: side.node != status.node)
    level = min((side.level for side in sides), key=_WEIGHT.index)
    ready, ready_level = _readiness(status, svc)
    if ready_level is Level.WARNING and level in (Level.OK, Level.UNKNOWN, Level.OFF):
        level = Level.WARNING
    notes = []
    if svc.is_dual_run:
        level = Level.BAD
        notes.append("dual run: both nodes run it, or the peer is stopping its copy")
    if svc.has_parts_up:
        notes.append("stopped here, but parts of it are up")
    if svc.script:
        notes.append(f"a script runs now: {svc.script}")
    if svc.disks:
        notes.append(f"its disks: {svc.disks}; by {status.peer}: {svc.peer_disks}")
    offered: tuple[Order, ...] = orders_for(svc.own_state) if may_order else ()
    return ServicePicture(
        svc.name,
        level,
        tuple(sides),
        svc.reason,
        "" if svc.since is None else stamp(svc.since),
        ready,
        ready_level,
        _takeover(svc),
        svc.predicted_s,
        tuple(notes),
        tuple(order.value for order in offered),
    )


def _readiness(status: NodeStatus, svc: ServiceStatus) -> tuple[str, Level]:
    """Return whether the node that does not run the service could start it now."""
    if svc.own_state in UP:
        if svc.peer_cannot_start:
            return f"{status.peer} could not take it over now", Level.WARNING
        return "", Level.OFF
    why = svc.unready or svc.ready_text
    if svc.cannot_start:
        return f"{status.node} could not start it now: {why}", Level.WARNING
    if svc.ready == "yes":
        return f"{status.node} is ready to start it", Level.OK
    if svc.ready == "unknown":
        return f"not known whether {status.node} could start it now: {why}", Level.UNKNOWN
    return "", Level.OFF


def _takeover(svc: ServiceStatus) -> str:
    parts = []
    if svc.predicted_s is not None:
        parts.append(f"a takeover would take {svc.predicted_s:.1f} s")
    if svc.last_takeover_s is not None:
        at = "" if svc.last_takeover_at is None else f", {stamp(svc.last_takeover_at)}"
        parts.append(f"the last one took {svc.last_takeover_s:.1f} s{at}")
    return "; ".join(parts)


def _link(link: LinkStatus, seen: Seen, wall: float) -> LinkPicture:
    samples = seen.samples.get(end_of(link), ())
    points, point_s = reduced(samples, _POINTS)
    verb = "sent" if link.is_sender else "heard"
    last = (
        f"never {verb}" if link.updated_at is None else f"last beat {verb} {stamp(link.updated_at)}"
    )
    refused = ", ".join(f"{number} {reason}" for reason, number in link.counts.items())
    texts = [last, link.reason, f"refused: {refused}" if refused else ""]
    return LinkPicture(
        end_of(link),
        f"{link.spec.kind} {link.spec.label}",
        "sends" if link.is_sender else "listens",
        link.is_up,
        "up" if link.is_up else "down",
        Level.OK if link.is_up else Level.BAD,
        "; ".join(text for text in texts if text),
        link.spec.timeout_s,
        points,
        point_s,
    )


def reduced(samples: Sequence[float | None], number: int) -> tuple[tuple[float | None, ...], float]:
    """Return at most ``number`` points, each the longest of its samples, and samples of one."""
    size = max(1, -(-len(samples) // number))
    # The newest samples fill the last point: no point changes its samples while it is shown.
    first = len(samples) % size
    groups = [samples[:first]] if first else []
    groups += [samples[at : at + size] for at in range(first, len(samples), size)]
    return (
        tuple(
            max((value for value in group if value is not None), default=None) for group in groups
        ),
        float(size),
    )


_PATH_LEVELS = {
    "armed": Level.OK,
    "answers": Level.OK,
    "wrong": Level.BAD,
    "unreachable": Level.BAD,
    "untested": Level.WARNING,
    "unusable": Level.OFF,
}


def _paths(status: NodeStatus) -> tuple[PathPicture, ...]:
    fencing = status.fencing
    return tuple(_path(path) for path in (*fencing.paths, *fencing.service_paths))


def _path(path: PathStatus) -> PathPicture:
    tested = "never tested" if path.tested_at is None else f"tested {stamp(path.tested_at)}"
    return PathPicture(
        path.name,
        path.kind,
        path.state,
        _PATH_LEVELS.get(path.state, Level.UNKNOWN),
        "; ".join(text for text in (path.text, tested) if text),
    )


def _fencing(status: NodeStatus) -> tuple[str, ...]:
    """Return sentences on fencing that no path has."""
    fencing = status.fencing
    found = []
    for group in fencing.groups:
        if not fencing.plan and group.name:
            worked = (
                "never seen to work"
                if group.worked_at is None
                else f"worked {stamp(group.worked_at)}"
            )
            found.append(f"check-up script {group.check} ({', '.join(group.services)}): {worked}")
    if fencing.is_blocked:
        found.append(f"{status.node} has not heard its peer since it was booted: it may not fence")
    if fencing.is_ejected_by:
        found.append(f"{status.node} was ejected from the arbiter by {fencing.is_ejected_by}")
    if fencing.step:
        found.append(f"step {fencing.step} is being taken now")
    found += [f"proof: {proof.text}" for proof in fencing.proofs]
    if fencing.confirmed_by:
        found.append(f"{status.peer} was confirmed out by {fencing.confirmed_by}")
    if fencing.lease:
        found.append(f"lease: {fencing.lease}")
    return tuple(found)


_SEVERITIES = {
    Severity.OK: Level.OK,
    Severity.WARNING: Level.WARNING,
    Severity.ERROR: Level.BAD,
    Severity.UNKNOWN: Level.UNKNOWN,
}


def _finding(found: Finding) -> FindingPicture:
    return FindingPicture(
        found.service or found.node, found.check, _SEVERITIES[found.severity], found.sentence
    )


def _event(entry: Entry) -> EventPicture:
    is_of_service = entry.kind.value not in ("link", "peer", "node", "daemon")
    return EventPicture(
        f"{entry.at:.6f} {entry.kind.value} {entry.name} {entry.new}",
        precise_stamp(entry.at)[5:19],
        describe(entry),
        entry.is_alarm,
        entry.name if is_of_service else "",
    )
