"""The metrics of the exporter: names, types, labels and meanings, from a status that has it all."""

from __future__ import annotations

from typing import NamedTuple

from opensvc_openha.cli import exporter_metrics
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.outlook import Finding, Severity
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import (
    Activity,
    BeatTiming,
    ConnectivityStatus,
    DecisionCount,
    FenceGroup,
    FencingStatus,
    LeaseStatus,
    LinkStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    ScriptCount,
    ServiceStatus,
    StageFigure,
    TargetStatus,
)

STATUS = NodeStatus(
    "deb1",
    "deb2",
    42,
    PeerStanding.LIVE,
    "heard",
    (
        LinkStatus(
            LinkSpec("deb2", "net", "eth1", "239.131.50.10", 5010, 0, 10.0),
            False,
            True,
            43,
            7.25,
            counts={"checksum": 2},
            timing=BeatTiming(9, 1, 0.25, (0,) * 7 + (6, 2) + (0,) * 7, 8.2, 1.1),
        ),
    ),
    (
        ServiceStatus(
            "web",
            "deb1",
            "deb2",
            ServiceState.STARTED,
            ServiceState.STOPPED,
            ServiceState.STARTED,
            ServiceState.STOPPED,
            since=8.0,
            checked_at=6.0,
            predicted_s=7.5,
            last_takeover_s=8.5,
            last_takeover_at=3.0,
        ),
    ),
    findings=(Finding(Severity.WARNING, "deb1", "web", "clock", "clocks differ"),),
    checked_at=6.0,
    warnings=("no fence",),
    fencing=FencingStatus(
        groups=(
            FenceGroup("/opt/fence", "/opt/fence", ("web",), worked_at=5.0, failed_at=4.0),
            FenceGroup("", "", ("db", "mail")),
        ),
        paths=(PathStatus("ipmi", "power", 0, "armed", "ON", 1.5, 0.25, 2.5, 0.5, 30.0),),
    ),
    connectivity=ConnectivityStatus(
        "reachable", 2.0, (TargetStatus("192.0.2.1", True, "", 0.001, 5.0),), "reachable"
    ),
    lease=LeaseStatus("armed", "softdog", 10.0, margin_s=6.5, least_margin_s=4.5),
    activity=Activity(
        (DecisionCount("web", "STARTED", 2),),
        (ScriptCount("web", "start", "not begun", 2, 3.5, 1.5),),
        100,
        0.25,
        0.5,
        1,
        (StageFigure("posted -> sent", 0.0001, 0.002, 600),),
    ),
)


class MetricName(NamedTuple):
    """One metric, as a query names it; of a histogram that of its buckets."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def metric_names() -> list[MetricName]:
    """Return all of them, in the order of the exporter."""
    suffixes = {"counter": "_total", "histogram": "_bucket", "info": "_info"}
    families = (*exporter_metrics.of_daemon(True, 0.0), *exporter_metrics.of_status(STATUS))
    return [
        MetricName(
            family.name + suffixes.get(family.type, ""),
            family.type,
            tuple(name for name in family.samples[0].labels if name != "le"),
            family.documentation,
        )
        for family in families
    ]


def metrics_table() -> str:
    """Return the table of docs/metrics.md."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for each in metric_names():
        labels = ", ".join(f"`{name}`" for name in each.labels)
        rows.append(f"| `{each.name}` | {each.kind} | {labels} | {each.text} |")
    return "\n".join(rows).replace("|  |", "| |")
