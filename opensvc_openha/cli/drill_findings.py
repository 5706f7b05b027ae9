"""When each drill was last passed on a node: what `openha check` and the reports show of drills."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from opensvc_openha.core.outlook import Finding, Severity
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import Any
from opensvc_openha.storage.drills import Begun, DrillKind, Drills, drill_name, read_drills
from opensvc_openha.system import clock
from opensvc_openha.system.lock_file import is_locked

CHECK = "drills"
OLD_S = 180 * 86_400.0
"""A drill that was last passed longer ago is pointed out; it is no problem."""
_HOUR_S, _DAY_S = 3600.0, 86_400.0


@dataclass(frozen=True)
class Passed:
    """The last time that something was tried out with success."""

    kind: str
    subject: str
    at: float

    @property
    def name(self) -> str:
        """What was tried out: ``link net eth1``."""
        return drill_name(self.kind, self.subject)


def passed_on(drills: Drills, status: NodeStatus | None) -> list[Passed]:
    """Return what was last passed, by the drills and by `openha fence test`, the newest of each."""
    found = [Passed(each.kind.value, each.subject, each.at) for each in drills.last_passed]
    if status is not None:
        found += [
            Passed(DrillKind.POWER.value, path.name, path.tested_at)
            for path in status.fencing.paths
            if path.tested_at is not None
        ]
        lease = status.lease
        if lease is not None and lease.tested_at is not None and not lease.was_late:
            found.append(Passed(DrillKind.WATCHDOG.value, lease.name, lease.tested_at))
    newest: dict[str, Passed] = {}
    for each in found:
        known = newest.get(each.name)
        if known is None or each.at > known.at:
            newest[each.name] = each
    return list(newest.values())


def unfinished(layout: Layout, drills: Drills) -> Begun | None:
    """Return a drill that has begun and is gone without recording its end; None without one."""
    return None if drills.begun is None or _is_running(layout) else drills.begun


def _is_running(layout: Layout) -> bool:
    """Return True while a drill runs on this node."""
    try:
        handle = os.open(layout.drill_lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return is_locked(handle)
    finally:
        os.close(handle)


def facts_of(layout: Layout, status: NodeStatus | None) -> dict[str, Any]:
    """Return what the other node gets of this node's drills."""
    try:
        drills = read_drills(layout)
    except PermissionError as error:
        raise SystemFault(f"cannot read {layout.drills_file}: {error.strerror}") from error
    begun = unfinished(layout, drills)
    return {
        "passed": [vars(each) for each in passed_on(drills, status)],
        "unfinished": "" if begun is None else begun.name,
    }


def findings_of(node: str, facts: Mapping[str, Any]) -> list[Finding]:
    """Return what a node knows of its drills, by its facts; nothing of an older version."""
    found, drills = [], facts.get("drills")
    if not isinstance(drills, dict):
        return []
    now = clock.wall()
    for each in drills.get("passed") or ():
        try:
            passed = Passed(str(each["kind"]), str(each["subject"]), float(each["at"]))
        except (KeyError, TypeError, ValueError):
            continue
        text = f"drill {passed.name}: last passed {ago(now - passed.at)}"
        is_old = now - passed.at > OLD_S
        fix = f"longer ago than {OLD_S / _DAY_S:.0f} days, see openha drill list" if is_old else ""
        found.append(Finding(Severity.OK, node, "", CHECK, text, fix))
    if drills.get("unfinished"):
        text = f"the drill {drills['unfinished']} was begun, and its end is not recorded"
        fix = "see openha drill report"
        found.append(Finding(Severity.WARNING, node, "", CHECK, text, fix))
    return found


def none_passed(nodes: Iterable[str]) -> Finding:
    """Return that no drill was ever passed."""
    text = f"no drill was passed yet on {' and '.join(nodes)}"
    return Finding(Severity.OK, "", "", CHECK, text, "openha drill list")


def ago(seconds: float) -> str:
    """Return a time that has passed, in the unit that fits."""
    if seconds < 2 * _HOUR_S:
        return f"{max(0, round(seconds / 60.0))} minutes ago"
    if seconds < 2 * _DAY_S:
        return f"{seconds / _HOUR_S:.0f} hours ago"
    return f"{seconds / _DAY_S:.0f} days ago"
