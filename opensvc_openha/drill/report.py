"""Write what drills have measured: for people, and as a page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from string import Template

from opensvc_openha.cli.drill_findings import Passed, ago
from opensvc_openha.drill.page import PAGE
from opensvc_openha.storage.drills import DrillResult, Drills, DrillStep
from opensvc_openha.system import clock

SHOWN = 20
"""Results that the text has; the page and the JSON have all that are kept."""


def as_text(drills: Drills, passed: Sequence[Passed], node: str) -> list[str]:
    """Return the report line by line."""
    if not drills.results and not passed and drills.begun is None:
        return [f"no drill was run on {node} yet: openha drill list"]
    lines = [f"Drills of {node}", "", "Last passed"]
    now = clock.wall()
    lines += [f"  {passed_line(each, now)}" for each in passed] or ["  none"]
    if drills.failed_since:
        lines += ["", "Did not pass the last time"]
        lines += [
            f"  {each.name}, {_stamp(each.at)}: {each.problem}" for each in drills.failed_since
        ]
    if drills.begun is not None:
        lines += ["", f"Begun, and its end is not recorded: {begun_line(drills)}"]
    lines += ["", "Measured"]
    for result in reversed(drills.results[-SHOWN:]):
        lines += ["", *(f"  {line}" for line in result_lines(result))]
    return lines


def passed_line(passed: Passed, now: float) -> str:
    """Return when a drill was last passed, as a line."""
    return f"{passed.name}: {_stamp(passed.at)}, {ago(now - passed.at)}"


def begun_line(drills: Drills) -> str:
    """Return which drill has begun and not recorded its end."""
    begun = drills.begun
    assert begun is not None
    return f"{begun.name}, {_stamp(begun.at)} (pid {begun.pid})"


def result_lines(result: DrillResult) -> list[str]:
    """Return one drill, line by line."""
    reason = f", {result.reason}" if result.reason else ""
    end = "passed" if result.is_passed else f"NOT PASSED: {result.problem}"
    lines = [f"{_stamp(result.at)}  {result.name}{reason}: {end}"]
    lines += [f"  {step_line(step)}" for step in result.steps]
    return lines + [f"  note: {text}" for text in result.remarks]


def step_line(step: DrillStep) -> str:
    """Return what was measured, as a line."""
    if step.took_s is None:
        return step.text
    predicted = "" if step.expected_s is None else f" (predicted: {step.expected_s:.1f} s)"
    return f"{step.text}: {step.took_s:.1f} s{predicted}"


def as_page(drills: Drills, passed: Sequence[Passed], node: str, peer: str) -> str:
    """Return the report as a page of HTML; it asks for nothing from anywhere."""
    now = clock.wall()
    return Template(PAGE).substitute(
        title=escape(f"Drills of {node}"),
        node=escape(node),
        peer=escape(peer),
        made=escape(_stamp(now)),
        passed=_rows(passed, now),
        begun=_begun(drills),
        results="\n".join(map(_section, reversed(drills.results))) or "<p>None yet.</p>",
    )


def _rows(passed: Sequence[Passed], now: float) -> str:
    if not passed:
        return '<tr><td colspan="3">none</td></tr>'
    return "\n".join(
        f"<tr><td>{escape(each.name)}</td><td>{escape(_stamp(each.at))}</td>"
        f"<td>{escape(ago(now - each.at))}</td></tr>"
        for each in passed
    )


def _begun(drills: Drills) -> str:
    if drills.begun is None:
        return ""
    return f'<p class="bad">Begun, and its end is not recorded: {escape(begun_line(drills))}</p>'


def _section(result: DrillResult) -> str:
    rows = "\n".join(
        f"<tr><td>{escape(step.text)}</td><td>{_seconds(step.took_s)}</td>"
        f"<td>{_seconds(step.expected_s)}</td></tr>"
        for step in result.steps
    )
    table = (
        "<table><thead><tr><th>measured</th><th>took</th><th>predicted</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        if rows
        else ""
    )
    end = (
        '<p class="good">&#10003; passed</p>'
        if result.is_passed
        else f'<p class="bad">&#10007; not passed: {escape(result.problem)}</p>'
    )
    notes = "".join(f"<li>{escape(text)}</li>" for text in result.remarks)
    reason = f" &middot; {escape(result.reason)}" if result.reason else ""
    return (
        f"<section><h3>{escape(result.name)}</h3>"
        f'<p class="when">{escape(_stamp(result.at))} &middot;'
        f" {result.took_s:.1f} s{reason}</p>{end}{table}"
        f"{f'<ul>{notes}</ul>' if notes else ''}</section>"
    )


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def _stamp(at: float) -> str:
    """Return a wall-clock instant to the second."""
    return clock.precise_stamp(at)[:19]
