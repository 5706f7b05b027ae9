"""The lines of ``openha fence status``."""

from __future__ import annotations

from typing import Optional

from opensvc_openha.core.status import FenceGroup, NodeStatus, PeerStanding

_NAMED = 5


def fence_report(status: NodeStatus, now: float) -> str:
    """What would be done about a silent peer, by whom, and what is known of it; ``now`` is wall-clock seconds."""
    fencing = status.fencing
    lines = [f"{status.node} makes sure that {status.peer} is out by:"]
    lines += [line for group in fencing.groups for line in _group(group, now)] or ["  nothing: this node has no service"]
    lines.append(f"peer: {status.peer_standing.value} ({status.peer_reason})")
    if fencing.flight:
        lines.append(f"a fence is on its way: the check-up script of {fencing.flight}")
    if fencing.proof:
        lines.append(f"proved out: {fencing.proof}")
    if fencing.is_blocked:
        alone = "" if fencing.boot_alone_s is None else f", or {fencing.boot_alone_s:g} s after its boot"
        lines.append(f"{status.node} has not heard {status.peer} since it booted: it fences and starts nothing before"
                     f" that{alone}")
    lines.append(f"cut from each other, {_first(status)}")
    if status.peer_standing is PeerStanding.SILENT and not fencing.proof:
        if fencing.opens_at is not None and fencing.opens_at > now + 1:
            lines.append(f"this node's next turn to fence is in {fencing.opens_at - now:.0f} s")
        lines.append(f"if you made sure that {status.peer} runs nothing: openha fence confirm {status.peer}")
    return "\n".join(lines) + "\n"


def _group(group: FenceGroup, now: float) -> "list[str]":
    more = f" and {len(group.services) - _NAMED} more" if len(group.services) > _NAMED else ""
    services = ", ".join(group.services[:_NAMED]) + more
    if not group.name:
        return [f"  {group.check}    proves nothing, always succeeds; for {services}"]
    took = "" if group.took_s is None else f", took at most {group.took_s:g} s"
    lines = [f"  {group.check}    for {services}", f"      worked {_ago(group.worked_at, now)}{took}"]
    if group.failed_at is not None and group.failed_at > (group.worked_at or 0.0):
        tries = "" if not group.failures else f", {group.failures} time(s) in a row"
        retry = "" if group.retry_at is None else f"; next try in {max(0.0, group.retry_at - now):.0f} s"
        lines.append(f"      failed {_ago(group.failed_at, now)}{tries}: {group.detail or 'see the history'}{retry}")
    return lines


def _first(status: NodeStatus) -> str:
    fencing = status.fencing
    if fencing.turn == "held":
        return f"{status.node} would fence first"
    if fencing.peer_turn == "held":
        return f"{status.peer} would fence first"
    return "neither node has the right to fence first: they take turns by name"


def _ago(at: Optional[float], now: float) -> str:
    if at is None:
        return "never, as far as is known"
    seconds = max(0.0, now - at)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
