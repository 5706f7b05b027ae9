"""Lay out `svcmon --watch` as lines of text: the table of services, or one service.

The table takes as many columns as the terminal has room for. Independent of the terminal: height
and width are arguments, and the output exceeds neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opensvc_openha.agent.show.render import print_status_lines, svcmon_lines
from opensvc_openha.agent.values.resource_status import Group, ServiceReport

NAME_MAX = 26
_CELL = 9
_TABLE_KEYS = "q quit  up/down choose  enter show the service  r look now"
_SERVICE_KEYS = "q quit  up/down scroll  esc back  r look now"
_COLUMNS = (
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
    "frozen",
)
_FIRST_WANTED = (
    "overall",
    "avail",
    "hb",
    "frozen",
    "sync",
    "app",
    "container",
    "fs",
    "ip",
    "disk",
    "share",
)
"""Columns in order of importance, for narrow terminals."""


@dataclass(frozen=True)
class View:
    """Position of the operator: the selected row, or the service shown alone and its first line."""

    chosen: int = 0
    shown: str = ""
    first_line: int = 0


@dataclass(frozen=True)
class Line:
    """One line of the screen."""

    text: str
    is_chosen: bool = False
    is_title: bool = False


def screen(
    reports: Sequence[ServiceReport],
    view: View,
    width: int,
    height: int,
    stamp: str,
    problems: Sequence[str] = (),
) -> list[Line]:
    """Return all lines of the screen; the last one lists the keys."""
    report = next((report for report in reports if report.name == view.shown), None)
    room = max(1, height - 2 - min(len(problems), 3))
    body = _table(reports, view, width, room) if report is None else _service(report, view, room)
    keys = _TABLE_KEYS if report is None else _SERVICE_KEYS
    shown = [Line(f"! {problem}") for problem in problems[:3]]
    lines = [Line(f"svcmon  {stamp}", is_title=True), *body, *shown]
    lines += [Line("")] * (height - 1 - len(lines)) + [Line(keys, is_title=True)]
    return [
        Line(line.text[: max(0, width - 1)], line.is_chosen, line.is_title)
        for line in lines[-height:]
    ]


def chosen_service(reports: Sequence[ServiceReport], view: View) -> str | None:
    """Return the name of the selected service."""
    return reports[min(view.chosen, len(reports) - 1)].name if reports else None


def _service(report: ServiceReport, view: View, room: int) -> list[Line]:
    lines = print_status_lines(report)
    first = max(0, min(view.first_line, len(lines) - room))
    return [Line(text) for text in lines[first : first + room]]


def _table(reports: Sequence[ServiceReport], view: View, width: int, room: int) -> list[Line]:
    whole = svcmon_lines(reports)
    is_wide = len(whole[0]) < width
    heads, rows = (whole[:3], whole[3:]) if is_wide else _narrow(reports, width)
    room = max(1, room - len(heads))
    chosen = max(0, min(view.chosen, len(rows) - 1))
    first = max(0, min(chosen - room // 2, len(rows) - room))
    shown = [Line(text, index == chosen) for index, text in enumerate(rows)][first : first + room]
    return [*(Line(text) for text in heads), *(shown or [Line("no service")])]


def _narrow(reports: Sequence[ServiceReport], width: int) -> tuple[list[str], list[str]]:
    name_width = min(NAME_MAX, max([len(report.name) for report in reports] + [len("service")]))
    wanted = _FIRST_WANTED[: max(1, (width - 1 - name_width) // _CELL)]
    columns = [column for column in _COLUMNS if column in wanted]
    head = f"{'service':<{name_width}}" + "".join(f" {column:<{_CELL - 1}}" for column in columns)
    rows = []
    for report in reports:
        cells = "".join(f" {_cell(report, column):<{_CELL - 1}}" for column in columns)
        rows.append(f"{_cut(report.name, name_width):<{name_width}}{cells}")
    return [head], rows


def _cell(report: ServiceReport, column: str) -> str:
    if column == "frozen":
        return str(report.is_frozen)
    if column in ("avail", "overall"):
        return (report.avail if column == "avail" else report.overall).value
    return report.group_status(Group(column)).value[: _CELL - 1]


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}*"
