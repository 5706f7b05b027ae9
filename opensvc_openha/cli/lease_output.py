"""Render what this node promises of itself, and when the peer's promise would end."""

from __future__ import annotations

from opensvc_openha.core.status import LeaseStatus
from opensvc_openha.system.clock import date_stamp


def lease_lines(lease: LeaseStatus | None, now: float) -> list[str]:
    """Return what this node promises, and how its watchdog is fed; nothing without a lease.

    ``now`` is in wall-clock seconds.
    """
    if lease is None:
        return []
    cut_off = []
    if lease.cut_off:
        cut_off = [f"  {lease.cut_off}: it stops what it runs, and starts nothing until that ends"]
    if lease.death_s is None:
        text = f"this node promises nothing: {lease.why_not or 'its watchdog is being armed'}"
        return [*_in_lines(text, lease, now), *cut_off]
    name = "" if not lease.name else f" ({_watchdog(lease)})"
    what = "dead, or without services," if lease.stops else "dead"
    text = f"this node promises: {what} {lease.death_s:g} s after its last sign{name}"
    if not lease.is_confirmed:
        text += f"; {lease.why_not or 'not confirmed yet'}"
    lines = [*_in_lines(text, lease, now), *cut_off]
    if lease.is_virtual:
        lines.append(
            "  it is a virtual machine: believed only where virtual_pause = never says that it is"
            " never paused"
        )
    if lease.why_no_inhibitor:
        lines.append(
            f"  nothing refuses to suspend this machine ({lease.why_no_inhibitor}): mask the sleep"
            " targets"
        )
    return lines


def _in_lines(text: str, lease: LeaseStatus, now: float) -> list[str]:
    """Return the text with the state of a watchdog that runs."""
    parts = [text]
    if lease.permit_at is not None:
        by = f" ({lease.permit_by})" if lease.permit_by else ""
        parts.append(f"last permit {max(0.0, now - lease.permit_at):.1f} s ago{by}")
    shown = "; ".join(parts)
    if lease.margin_s is not None:
        shown += f", margin {lease.margin_s:.1f} s"
    if lease.least_margin_s is not None:
        shown += f", least today {lease.least_margin_s:.1f} s"
    if lease.tested_at is not None:
        took = "" if lease.tested_s is None else f": bit after {lease.tested_s:.1f} s"
        late = ", LATE" if lease.was_late else ""
        shown += f"; watchdog tested {date_stamp(lease.tested_at)}{took}{late}"
    else:
        shown += "; watchdog never tested"
    if not lease.is_withdrawing:
        return [shown]
    return [shown, "  what it promised before is being withdrawn: its watchdog runs until then"]


def _watchdog(lease: LeaseStatus) -> str:
    time = "" if lease.timeout_s is None else f" {lease.timeout_s:g} s"
    kind = ", in software" if lease.name == "softdog" else ""
    other = ""
    if lease.timeout_s is not None and lease.configured_s not in (None, lease.timeout_s):
        other = f", which keeps to that in place of {lease.configured_s:g} s"
    return f"{lease.name}{time}{kind}{other}"
