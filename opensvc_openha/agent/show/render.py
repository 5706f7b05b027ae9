"""Render `print status`, `json status` and `svcmon` in the layout of the tutorial's agent.

Trailing blanks are part of that layout. This module takes no decisions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from opensvc_openha.agent.values.resource_status import (
    Group,
    ResourceReport,
    ResourceStatus,
    ServiceReport,
)
from opensvc_openha.formats.one_line import one_line

_WRAP_COLUMNS = 78

_SVCMON_COLUMNS = " %-7s %-9s %-9s %-9s %-10s %-10s %-10s %-10s %-9s %-9s %-10s %-10s %-6s"
_SVCMON_HEADER = (
    (
        "service",
        "service",
        "container",
        "container",
        "ip",
        "disk",
        "fs",
        "share",
        "app",
        "hb",
        "sync",
        "avail",
        "overall",
        "",
    ),
    ("name", "type", "type", *["status"] * 10, "frozen"),
    ("-------", "-------", "---------", "---------", *["------"] * 8, "-------", "------"),
)


def print_status_lines(report: ServiceReport) -> list[str]:
    """Return the lines of the status tree of one service."""
    avail = [
        res for res in report.resources if res.group not in (Group.SYNC, Group.HB, Group.STONITH)
    ]
    return [
        report.name,
        f"{'overall':<20} {'':4} {report.overall.value:<8} ",
        f"|- {'avail':<17} {'':4} {report.avail.value:<8} ",
        *_branch(avail, "|  "),
        f"|- {'sync':<17} {'':4} {report.sync.value:<8} ",
        *_branch(report.in_group(Group.SYNC), "|  "),
        *_broken_fences(report),
        f"'- {'hb':<17} {'':4} {report.hb.value:<8} ",
        *_branch(report.in_group(Group.HB), "   "),
    ]


def _broken_fences(report: ServiceReport) -> list[str]:
    """Return the fences that the node daemon has found broken; none in a tree without any."""
    broken = [res for res in report.in_group(Group.STONITH) if res.status is ResourceStatus.WARN]
    if not broken:
        return []
    head = f"|- {'stonith':<17} {'':4} {ResourceStatus.WARN.value:<8} "
    return [head, *_branch(broken, "|  ")]


def _branch(resources: Sequence[ResourceReport], stem: str) -> list[str]:
    lines = []
    for position, resource in enumerate(resources, 1):
        is_last = position == len(resources)
        twig = "'- " if is_last else "|- "
        row = f"{resource.rid:<14} {_flags(resource):>4} {resource.status.value:<8} "
        lines.append(stem + twig + row + one_line(resource.label))
        lines += _log_lines(resource, stem + ("   " if is_last else "|  "))
    return lines


def _log_lines(resource: ResourceReport, stem: str) -> list[str]:
    if resource.group is Group.CONTAINER:
        stem += "|  "
    prefix = stem.ljust(len("|  |  ") + len(f"{'':14} {'':4} {'':8} "))
    lines: list[str] = []
    for text in resource.log:
        from textwrap import wrap

        lines += wrap(
            "# " + one_line(text),
            width=_WRAP_COLUMNS,
            initial_indent=prefix,
            subsequent_indent=prefix,
        )
    return lines


def _flags(resource: ResourceReport) -> str:
    letters = (
        ("M", resource.is_monitored),
        ("D", resource.is_disabled),
        ("O", resource.is_optional),
        ("E", resource.is_encap),
    )
    return "".join(letter if is_set else "." for letter, is_set in letters)


def json_status(report: ServiceReport) -> str:
    """Return the same facts as one JSON object."""
    import json

    resources = {
        res.rid: {
            "status": res.status.value,
            "monitor": res.is_monitored,
            "label": res.label,
            "disable": res.is_disabled,
            "encap": res.is_encap,
            "optional": res.is_optional,
            "log": "".join(f"# {line}\n" for line in res.log),
        }
        for res in report.resources
    }
    columns = ("fs", "container", "share", "app", "ip", "disk")
    groups = {name: report.group_status(Group(name)).value for name in columns}
    merged = {name: getattr(report, name).value for name in ("avail", "hb", "sync", "overall")}
    return json.dumps({**groups, **merged, "frozen": report.is_frozen, "resources": resources})


def svcmon_lines(reports: Iterable[ServiceReport]) -> list[str]:
    """Return the table of all services, with three header lines."""
    rows = [_svcmon_row(report) for report in reports]
    width = max([len(row[0]) for row in rows] + [len("service")])
    layout = f"%-{width}s{_SVCMON_COLUMNS}"
    return [layout % row for row in (*_SVCMON_HEADER, *rows)]


def _svcmon_row(report: ServiceReport) -> tuple[str, ...]:
    columns = (
        Group.CONTAINER,
        Group.IP,
        Group.DISK,
        Group.FS,
        Group.SHARE,
        Group.APP,
        Group.HB,
        Group.SYNC,
    )
    statuses = [report.group_status(group) for group in columns] + [report.avail, report.overall]
    return (
        report.name,
        one_line(report.service_type),
        report.container_type,
        *(status.value for status in statuses),
        str(report.is_frozen),
    )


def print_lines(lines: Iterable[str]) -> None:
    """Print lines in one piece."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
