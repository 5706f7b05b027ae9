"""Render the lines of ``openha fence`` where a fence plan is configured, and look ahead in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from opensvc_openha.core.events import PathState
from opensvc_openha.core.model import PathKind
from opensvc_openha.core.states import PEER_OUT, WILLING
from opensvc_openha.core.status import NodeStatus, PathStatus, PeerStanding
from opensvc_openha.core.wording import named
from opensvc_openha.system import clock
from opensvc_openha.system.clock import date_stamp

ALL_ARMED, SOME_BROKEN, NO_PROOF = 0, 1, 2
"""Exit codes of ``openha fence status``."""

_ARMED = PathState.ARMED.value
_UNUSABLE = PathState.UNUSABLE.value
_BROKEN = (PathState.WRONG.value, PathState.UNREACHABLE.value)
ARBITER = "arbiter"
"""Kind of the line that shows the arbiter; it proves nothing."""


def armament_of(status: NodeStatus, paths: Sequence[PathStatus] | None = None) -> int:
    """Return the exit code for these paths of a node, or for all that it has.

    A peer that runs nothing promises nothing, which is no fault of its lease: it promises before
    its next start.
    """
    is_peer_idle = all(svc.peer_state in PEER_OUT for svc in status.services)
    return armament(
        [
            replace(path, state=_ARMED)
            if path.kind == PathKind.LEASE.value
            and path.state == PathState.UNTESTED.value
            and status.peer_standing is PeerStanding.LIVE
            and is_peer_idle
            else path
            for path in (status.fencing.paths if paths is None else paths)
        ]
    )


def armament(paths: Sequence[PathStatus]) -> int:
    """Return the exit code for these paths.

    A proof is possible if all paths of some level are armed, and the arbiter, where there is one:
    without its answer no claim is won. A level that is nothing but an unusable path is left out:
    it can never prove anything, which is no news.
    """
    if any(path.kind == ARBITER and path.state != _ARMED for path in paths):
        return NO_PROOF
    levels = {path.level for path in paths if path.kind != ARBITER}
    barred = {
        level
        for level in levels
        if all(path.state == _UNUSABLE for path in paths if path.level == level)
    }
    is_possible = any(
        all(path.state == _ARMED for path in paths if path.level == level) for level in levels
    )
    if not is_possible:
        return NO_PROOF
    is_whole = all(path.state == _ARMED for path in paths if path.level not in barred)
    return ALL_ARMED if is_whole else SOME_BROKEN


def is_broken(paths: Sequence[PathStatus]) -> bool:
    """Return True if one of these paths is known not to work."""
    return any(path.state in _BROKEN for path in paths)


def path_lines(paths: Sequence[PathStatus], now: float) -> list[str]:
    """Return a line for each path: name, device, state, what it said last, and when it worked."""
    if not paths:
        return []
    name_width = max(len(path.name) for path in paths)
    device_width = max(len(path.device) for path in paths)
    return [
        f"  {path.name:<{name_width}}  {path.device:<{device_width}}  {path.state:<11}"
        f"  {_told(path, now)}"
        for path in paths
    ]


def _told(path: PathStatus, now: float) -> str:
    parts = [path.text or "not looked at yet"]
    if path.looked_at is not None:
        took = "" if path.took_s is None else f" in {path.took_s:.2f} s"
        parts.append(f"looked at {max(0.0, now - path.looked_at):.0f} s ago{took}")
    if path.tested_at is not None:
        took = "" if path.tested_s is None else f": {path.tested_s:.1f} s"
        parts.append(f"off tested {date_stamp(path.tested_at)}{took}")
    # Of a section of a service file nobody keeps when it was used.
    elif path.kind in (PathKind.POWER.value, PathKind.CALLOUT.value) and " " not in path.name:
        parts.append("off never tested")
    return "; ".join(parts)


def plan_lines(status: NodeStatus, now: float) -> list[str]:
    """Return what the fence plan does and has done so far."""
    fencing, peer = status.fencing, status.peer
    lines = [f"order: {order_of(fencing.plan)}"]
    if fencing.is_ejected_by:
        lines.append(
            f"ejected by {fencing.is_ejected_by}: this node neither fences nor starts, and stops"
            f" what it runs; it comes back once that is down and {peer} acknowledges it, or with"
            " openha fence release"
        )
    if fencing.step:
        began = fencing.step_began_at
        since = "" if began is None else f", begun {max(0.0, now - began):.1f} s ago"
        lines.append(f"fencing {peer}: {fencing.step}{since}")
    for proof in fencing.proofs:
        covers = f"; for {named(list(proof.services))}" if proof.services else ""
        ago = "" if proof.at is None else f", {max(0.0, now - proof.at):.0f} s ago"
        lines.append(f"proved ({proof.scope}): {proof.text}{ago}{covers}")
    lines += [f"hint: {hint}" for hint in fencing.hints]
    if fencing.next_try_at is not None and status.peer_standing is PeerStanding.SILENT:
        lines.append(f"next try in {max(0.0, fencing.next_try_at - now):.0f} s")
    return lines


def order_of(plan: Sequence[Sequence[str]]) -> str:
    """Return the levels in words: ``ipmi; if that fails, pdu-a and pdu-b``.

    A lease is looked at from the first moment of a silence. It is waited for where another level
    comes after it.
    """
    if len(plan) > 1 and tuple(plan[-1]) == (PathKind.LEASE.value,):
        return f"{order_of(plan[:-1])}; beside that, {PathKind.LEASE.value}"
    return "; if that fails, ".join(" and ".join(level) for level in plan)


# --- looking ahead --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planned:
    """One step of what would happen.

    ``at_s`` is seconds from now as measured, ``latest_s`` at the latest; they are the same where
    nothing was measured. ``what`` is a word for programs, ``level`` counts from 0, None for what
    belongs to no level.
    """

    at_s: float
    latest_s: float
    what: str
    text: str
    level: int | None = None
    path: str = ""
    is_measured: bool = True
    """False if ``at_s`` is a limit, since a path before it was never tested."""


def look_ahead(status: NodeStatus, start_ready_s: float) -> list[Planned]:
    """Return what this node would do if its peer fell silent now, or does while it is silent.

    Nothing is run. Times are those last measured, and the limits where nothing was measured.
    """
    peer, fencing = status.peer, status.fencing
    waiting = [svc.name for svc in status.services if svc.own_state in WILLING]
    is_silent = status.peer_standing is PeerStanding.SILENT
    timeouts = [
        link.spec.timeout_s for link in status.links if not link.is_sender and link.is_up
    ] or [0.0]
    at_s = 0.0 if is_silent else max(timeouts)
    text = f"{peer} is silent: no link has heard it for its timeout"
    steps = [Planned(at_s, at_s, "silent", text)]
    if not waiting:
        text = "nothing is fenced: no service waits here to be started"
        return [*steps, Planned(at_s, at_s, "nothing", text)]
    if fencing.is_ejected_by:
        text = f"nothing is fenced: this node was ejected by {fencing.is_ejected_by}"
        return [*steps, Planned(at_s, at_s, "nothing", text)]
    if fencing.is_blocked:
        text = (
            f"nothing is fenced: {peer} has not answered since this node booted (openha fence"
            " status)"
        )
        return [*steps, Planned(at_s, at_s, "nothing", text)]
    at_s = latest_s = at_s + start_ready_s
    text = f"START_READY ends: {named(waiting)} {'waits' if len(waiting) == 1 else 'wait'}"
    steps.append(Planned(at_s, latest_s, "ready", f"{text} for a proof"))
    if fencing.has_arbiter:
        steps.append(Planned(at_s, latest_s, "claim", "claim: the arbiter decides who may fence"))
    elif is_silent and fencing.opens_at is not None:
        at_s = max(at_s, fencing.opens_at - clock.wall())
        latest_s = max(latest_s, at_s)
        steps.append(Planned(at_s, latest_s, "turn", "this node's turn to fence begins"))
    elif not is_silent and fencing.peer_turn == "held":
        text = f"{peer} would fence first: what follows waits for a turn of this node, and is later"
        steps.append(Planned(at_s, latest_s, "turn", text))
    by_name = {path.name: path for path in fencing.paths}
    lease = next((path for path in fencing.paths if path.kind == PathKind.LEASE.value), None)
    ends_s = _lease_ends_s(status, lease, at_s)
    is_measured = True
    starts: list[tuple[int, Planned]] = []
    for level, names in enumerate(fencing.plan):
        for name in names:
            path = by_name.get(name, PathStatus(name, "", level))
            order = "and " if name != names[0] else "if that fails, " if level else ""
            if path is lease:
                begins_s, text = ends_s, _promised(path, level)
                # Nothing is shot while it can still prove.
                at_s, latest_s = max(at_s, ends_s), max(latest_s, ends_s)
            else:
                begins_s, text = at_s, f"{order}{_shot(path, level)}"
            steps.append(Planned(begins_s, latest_s, "shoot", text, level, name, is_measured))
            if path is lease:
                continue
            is_measured = is_measured and path.tested_s is not None
            expected_s = _expected_s(path)
            at_s += expected_s
            latest_s += expected_s if path.limit_s is None else path.limit_s
        if all(by_name.get(name, PathStatus(name, "", level)).state == _ARMED for name in names):
            is_lease_alone = lease is not None and names == (lease.name,)
            text = f"start script of {named(waiting)}"
            start = (
                Planned(ends_s, ends_s, "start", text, level)
                if is_lease_alone
                else Planned(at_s, latest_s, "start", text, level, "", is_measured)
            )
            starts.append((len(steps), start))
    if starts:
        # Whatever proves first: the promise ends beside the levels before it.
        steps.insert(*min(starts, key=lambda start: start[1].at_s))
    if lease is not None:
        steps.sort(key=lambda step: step.at_s)
    text = (
        "if all fail: START_FAILED, and all of it again after a pause, without end; or type openha"
        f" fence confirm {peer}, once you made sure that it is off"
    )
    return [*steps, Planned(at_s, latest_s, "failed", text, is_measured=is_measured)]


def _lease_ends_s(status: NodeStatus, lease: PathStatus | None, ready_s: float) -> float:
    """Return the seconds from now until the peer's promise has proved it dead."""
    if lease is None or lease.limit_s is None:
        return ready_s
    ends_at = status.fencing.lease_ends_at
    if ends_at is not None:
        return max(ready_s, ends_at - clock.wall())
    return max(ready_s, lease.limit_s)


def _promised(path: PathStatus, level: int) -> str:
    doubt = "" if path.state == _ARMED else f"; {path.state} now: {path.text}"
    return f"level {level + 1}: {path.name}: nothing is done: the promise ends{doubt}"


def _expected_s(path: PathStatus) -> float:
    if path.tested_s is not None:
        return path.tested_s
    return 0.0 if path.limit_s is None else path.limit_s


def _shot(path: PathStatus, level: int) -> str:
    what = {
        PathKind.POWER.value: "off, then OFF twice",
        PathKind.RESERVATION.value: "preempt and abort on the data disks",
    }.get(path.kind, "the command of the operator")
    device = f" {path.device}" if path.device else ""
    if path.tested_s is not None:
        took = f"took {path.tested_s:.1f} s when tested"
    else:
        took = "never tested" + ("" if path.limit_s is None else f", at most {path.limit_s:g} s")
    doubt = "" if path.state == _ARMED else f"; {path.state} now: {path.text}"
    return f"level {level + 1}: {path.name}{device}: {what}; {took}{doubt}"


def forecast(status: NodeStatus, steps: Sequence[Planned]) -> str:
    """Render ``openha fence plan``."""
    is_silent = status.peer_standing is PeerStanding.SILENT
    head = (
        f"{status.peer} is silent; {status.node}, from now on:"
        if is_silent
        else f"if {status.peer} fell silent now, {status.node} after:"
    )
    lines = [head]
    lines += [
        f"  {'' if step.is_measured else 'at most':>7} {step.at_s:6.1f} s  {step.text}"
        for step in steps
    ]
    lines.append("nothing was run")
    return "\n".join(lines) + "\n"
