"""Predict how long a takeover by this node would take if its peer died now, part by part.

Pure: settings and limits come with the status, measured durations from the caller. What was never
measured is taken from its limit, and marked so; without a start that was ever measured, here or on
the peer, there is no sum.
"""

from __future__ import annotations

from collections.abc import Sequence

from opensvc_openha.core.model import ALWAYS_TRUE, PLAN_COMMANDS, PathKind
from opensvc_openha.core.states import UP_OR_STARTING, WILLING
from opensvc_openha.core.status import (
    FenceGroup,
    FencingStatus,
    NodeStatus,
    PathStatus,
    PredictedPart,
    ServiceStatus,
)
from opensvc_openha.core.timing import PATIENCE_BEATS, Pace
from opensvc_openha.records import dataclass

ARMED = "armed"
HELD = "held"


@dataclass(frozen=True)
class Measured:
    """Durations of one service's scripts on this node, in seconds, the newest last.

    ``peer_starts`` are those of the other node, which stand in for starts here.
    """

    starts: Sequence[float] = ()
    checks: Sequence[float] = ()
    peer_starts: Sequence[float] = ()


@dataclass(frozen=True)
class Prediction:
    """The parts in their order; ``total_s`` is None if one of them is not known."""

    total_s: float | None
    parts: tuple[PredictedPart, ...]


def predict(
    status: NodeStatus, svc: ServiceStatus, measured: Measured, pace: Pace
) -> Prediction | None:
    """Return the prediction for one service; None if the peer's death would start nothing here."""
    if svc.own_state not in WILLING or svc.peer_state not in UP_OR_STARTING:
        return None
    timeouts = [link.spec.timeout_s for link in status.links if not link.is_sender and link.is_up]
    if not timeouts:
        return None
    silence_s = max(*timeouts, PATIENCE_BEATS * pace.beat_interval_s)
    parts = [
        PredictedPart("silence of all links", silence_s),
        PredictedPart("START_READY", start_ready_s(status.fencing, svc.name, pace)),
    ]
    group = _group_of(svc.name, status.fencing)
    is_known = True
    if status.fencing.plan or (group is not None and group.name):
        parts += _turn(status)
    at_s = _sum(parts)
    if status.fencing.plan:
        proof = _plan(status.fencing, at_s)
        is_known = proof is not None
        parts += proof or []
    check = None if group is None else _check(group, measured)
    parts += [] if check is None else [check]
    start = _start(measured, status.peer)
    parts += [] if start is None else [start]
    is_known = is_known and start is not None
    return Prediction(_sum(parts) if is_known else None, tuple(parts))


def start_ready_s(fencing: FencingStatus, service: str, pace: Pace) -> float:
    """Return for how long START_READY of a service waits beside a silent peer, in seconds.

    As the daemon decides it; a status of an older version does not report it.
    """
    group = _group_of(service, fencing)
    is_fenced = bool(fencing.plan) or (group is not None and bool(group.name))
    found = fencing.start_ready_s if is_fenced else fencing.start_ready_unfenced_s
    return pace.start_ready_delay_s if found is None else found


def _group_of(service: str, fencing: FencingStatus) -> FenceGroup | None:
    return next((group for group in fencing.groups if service in group.services), None)


def _turn(status: NodeStatus) -> list[PredictedPart]:
    """Return the wait of a node whose peer holds the right to fence first."""
    fencing = status.fencing
    if fencing.has_arbiter or fencing.peer_turn != HELD or fencing.turn_s is None:
        return []
    return [PredictedPart(f"turn of {status.peer} to fence first", fencing.turn_s)]


def _plan(fencing: FencingStatus, at_s: float) -> list[PredictedPart] | None:
    """Return what the fence plan takes from ``at_s`` on until its first proof; None for none."""
    paths = {path.name: path for path in fencing.paths}
    before: list[PredictedPart] = []
    ways: list[list[PredictedPart]] = []
    for level, names in enumerate(fencing.plan):
        members = [paths.get(name, PathStatus(name, "", level)) for name in names]
        leases = [path for path in members if path.kind == PathKind.LEASE.value]
        steps = [_step(path) for path in members if path not in leases]
        # Time alone ends a promise, beside what other levels do: one that is alone waits for none.
        way = [*before, *steps] if steps else []
        ends_s = max((path.limit_s or 0.0 for path in leases), default=0.0)
        left_s = ends_s - at_s - _sum(way)
        if leases and left_s > 0:
            way.append(PredictedPart("rest of what the peer promised (lease)", left_s, True))
        if all(path.state == ARMED for path in members):
            ways.append(way)
        before += steps
    return min(ways, key=_sum, default=None)


def median(seconds: Sequence[float]) -> float:
    """Return the median of one or more durations.

    Not that of ``statistics``, which brings half a megabyte of modules into the daemon for it.
    """
    ordered, half = sorted(seconds), len(seconds) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _sum(parts: Sequence[PredictedPart]) -> float:
    return sum(part.seconds for part in parts)


def _step(path: PathStatus) -> PredictedPart:
    if path.tested_s is not None:
        return PredictedPart(f"fence {path.name}", path.tested_s, True)
    return PredictedPart(f"fence {path.name}, at most", path.limit_s or 0.0)


def _check(group: FenceGroup, measured: Measured) -> PredictedPart | None:
    if group.check in ALWAYS_TRUE or group.check.endswith(PLAN_COMMANDS):
        return None
    if group.took_s is not None:
        return PredictedPart("check-up script", group.took_s, True)
    if measured.checks:
        return PredictedPart("check-up script", median(measured.checks), True)
    return PredictedPart("check-up script, at most", group.limit_s or 0.0)


def _start(measured: Measured, peer: str) -> PredictedPart | None:
    if measured.starts:
        return PredictedPart("start script", median(measured.starts), True)
    if measured.peer_starts:
        return PredictedPart(f"start script, as on {peer}", median(measured.peer_starts))
    return None
