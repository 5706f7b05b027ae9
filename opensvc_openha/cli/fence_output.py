"""Render the lines of ``openha fence``."""

from __future__ import annotations

from collections.abc import Mapping

from opensvc_openha.cli.fence_plan_output import path_lines, plan_lines
from opensvc_openha.cli.lease_output import lease_lines
from opensvc_openha.core.model import PLAN_COMMANDS
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import FenceGroup, NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.core.wording import named

_AFTER_SILENCE: Mapping[S | None, str] = {
    S.STOPPED: "is started here, once the above has made sure that {peer} is out",
    S.START_READY: "is started here, once the above has made sure that {peer} is out",
    S.STARTING: "is being started here",
    S.STARTED: "runs here: nothing is done",
    S.FROZEN_START: "runs here, frozen: nothing is done",
    S.FROZEN_STOP: "is frozen: nothing is done",
    S.STOPPING: "is being stopped here; what follows depends on how that ends",
    S.START_FAILED: (
        "its start failed here: nothing is done before an operator acts, or the fence is tried"
        " again"
    ),
    S.STOP_FAILED: "its stop failed here: nothing is done before an operator acts",
    S.UNKNOWN: "its state here is not known: nothing is done",
}


def confirmation(node: str, lines: list[str]) -> str:
    """Return what was confirmed, and the effect on each service."""
    head = (
        f"confirmed: {node} runs nothing. This is valid until it is heard again (openha fence"
        " status)"
    )
    return "\n".join([head, *(f"  {line}" for line in lines)]) + "\n"


def fence_report(status: NodeStatus, now: float, plans: Mapping[str, str] = {}) -> str:
    """Report what would be done about a silent peer, by which node, and what is known of it.

    ``now`` is wall-clock seconds; ``plans`` are the steps of a service's check-up script, level by
    level, where they are known.
    """
    fencing, peer = status.fencing, status.peer
    if fencing.plan:
        return _plan_report(status, now, plans)
    lines = [f"{status.node} makes sure that {peer} is out by:"]
    lines += [line for group in fencing.groups for line in _group(group, now, plans)] or [
        "  nothing: this node has no service"
    ]
    lines += _service_fences(status, now)
    lines.append(f"peer: {status.peer_standing.value} ({status.peer_reason})")
    if fencing.flight:
        lines.append(f"a fence is on its way: the check-up script of {fencing.flight}")
    if fencing.confirmed_by:
        lines.append(_confirmed(status, now))
    elif fencing.proof:
        lines.append(f"proved out: {fencing.proof}")
    lines += _services(status)
    lines.append(f"cut from each other, {_first(status)}")
    lines += _start_ready(status)
    if fencing.is_blocked:
        lines += _block(status, now)
    elif (
        status.peer_standing is PeerStanding.SILENT
        and not fencing.proof
        and not fencing.confirmed_by
    ):
        lines += _next_turn(status, now)
        lines.append(_type_confirm(peer))
    return "\n".join(lines) + "\n"


def _plan_report(status: NodeStatus, now: float, plans: Mapping[str, str]) -> str:
    """Report on a node with a fence plan."""
    fencing, peer = status.fencing, status.peer
    lines = [f"{status.node} can prove that {peer} is out by:"]
    lines += path_lines(fencing.paths, now)
    lines += lease_lines(status.lease, now)
    lines += [
        line
        for group in fencing.groups
        if group.name and not group.check.endswith(PLAN_COMMANDS)
        for line in ["and then, for each of these services, by:", *_group(group, now, plans)]
    ]
    lines += _service_fences(status, now)
    lines += plan_lines(status, now)
    lines.append(f"peer: {status.peer_standing.value} ({status.peer_reason})")
    if fencing.confirmed_by:
        lines.append(_confirmed(status, now))
    lines += _services(status)
    if fencing.has_arbiter:
        lines.append("cut from each other, the arbiter decides who may fence")
    else:
        lines.append(f"cut from each other, {_first(status)}")
    lines += _start_ready(status)
    if fencing.is_blocked:
        lines += _block(status, now)
    elif (
        status.peer_standing is PeerStanding.SILENT
        and not fencing.proofs
        and not fencing.confirmed_by
    ):
        if not fencing.has_arbiter:
            lines += _next_turn(status, now)
        lines.append(_type_confirm(peer))
    return "\n".join(lines) + "\n"


def _service_fences(status: NodeStatus, now: float) -> list[str]:
    """Report what the standing check saw of the sections of service files."""
    paths = status.fencing.service_paths
    return ["the sections of these services:", *path_lines(paths, now)] if paths else []


def _confirmed(status: NodeStatus, now: float) -> str:
    fencing = status.fencing
    return (
        f"confirmed out {_ago(fencing.confirmed_at, now)} by {fencing.confirmed_by}: valid until a"
        f" beat of {status.peer} arrives, this node stalls for a link timeout, or its daemon ends"
    )


def _next_turn(status: NodeStatus, now: float) -> list[str]:
    opens_at = status.fencing.opens_at
    if opens_at is None or opens_at <= now + 1:
        return []
    return [f"this node's next turn to fence is in {opens_at - now:.0f} s"]


def _type_confirm(peer: str) -> str:
    return f"if you made sure that {peer} runs nothing, type: openha fence confirm {peer}"


def _block(status: NodeStatus, now: float) -> list[str]:
    """Report what a node waits for whose peer has not answered since it booted."""
    fencing, peer = status.fencing, status.peer
    which = "" if fencing.plan else " with a check-up script"
    lines = [
        (
            f"{peer} has not answered since {status.node} booted, which neither fences nor starts"
            f" services{which} before one of these:"
        ),
        (
            f"  {peer} is heard, and acknowledges this node (openha hb -s -v shows what is wrong"
            " with each link)"
        ),
    ]
    if fencing.power_tellers:
        last = ""
        if fencing.power_said_at is not None:
            last = f"; last: {fencing.power_said}, {_ago(fencing.power_said_at, now)}"
        who = fencing.power_said_of or named(list(fencing.power_tellers))
        lines.append(
            f"  the fence of {who} reports twice that {peer} is off (asked repeatedly{last})"
        )
    if fencing.alone_at is not None:
        wait_s = max(0.0, fencing.alone_at - now)
        lines.append(
            f"  it has been alone for {fencing.boot_alone_s:g} s since its boot ([fencing]"
            f" boot_alone), in {wait_s:.0f} s: then it fences"
        )
    lines.append(f"  you made sure that {peer} runs nothing, and type: openha fence confirm {peer}")
    return lines


def _services(status: NodeStatus) -> list[str]:
    """Report the effect on each service; services with the same effect share a line."""
    is_silent = status.peer_standing is PeerStanding.SILENT
    found: dict[str, list[str]] = {}
    for svc in status.services:
        if svc.own_state is not None and status.node in (svc.primary, svc.secondary):
            text = (
                _now(svc)
                if is_silent
                else _AFTER_SILENCE.get(svc.own_state, "nothing is done").format(peer=status.peer)
            )
            found.setdefault(text, []).append(svc.name)
    if not found:
        return []
    head = f"while {status.peer} is silent:" if is_silent else f"when {status.peer} falls silent:"
    return [head, *(f"  {named(names)}: {text}" for text, names in found.items())]


def _now(svc: ServiceStatus) -> str:
    return f"{svc.own_state.name if svc.own_state else ''}{f', {svc.reason}' if svc.reason else ''}"


def _group(group: FenceGroup, now: float, plans: Mapping[str, str]) -> list[str]:
    services = named(list(group.services))
    if not group.name:
        return [f"  {group.check}    proves nothing, always succeeds; for {services}"]
    took = "" if group.took_s is None else f", took at most {group.took_s:g} s"
    limit = "" if group.limit_s is None else f", within {group.limit_s:g} s"
    lines = [f"  {group.check}    for {services}{limit}"]
    lines += [f"      {name}: {plans[name]}" for name in group.services if name in plans]
    lines.append(f"      worked {_ago(group.worked_at, now)}{took}")
    if group.failed_at is not None and group.failed_at > (group.worked_at or 0.0):
        tries = "" if not group.failures else f", {group.failures} time(s) in a row"
        retry = (
            ""
            if group.retry_at is None
            else f"; next try in {max(0.0, group.retry_at - now):.0f} s"
        )
        lines.append(
            f"      failed {_ago(group.failed_at, now)}{tries}:"
            f" {group.detail or 'see the history'}{retry}"
        )
    return lines


def _first(status: NodeStatus) -> str:
    fencing = status.fencing
    if fencing.turn == "held":
        return f"{status.node} would fence first"
    if fencing.peer_turn == "held":
        return f"{status.peer} would fence first"
    return "neither node has the right to fence first: they take turns by name"


def _start_ready(status: NodeStatus) -> list[str]:
    """Report how long a fence waits beside a silent peer, and why."""
    wait_s = status.fencing.start_ready_s
    if wait_s is None:
        return []
    why = status.fencing.why_delay or "both nodes know how long their fences take"
    return [f"beside a silent peer START_READY takes {wait_s:g} s: {why}"]


def _ago(at: float | None, now: float) -> str:
    if at is None:
        return "never, as far as is known"
    seconds = max(0.0, now - at)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
