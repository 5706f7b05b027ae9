"""What is kept of drills, and how it is shown."""

from __future__ import annotations

import os
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from opensvc_openha.cli import drill_findings
from opensvc_openha.cli.drill_findings import Passed, ago, findings_of, passed_on, unfinished
from opensvc_openha.core.outlook import Severity
from opensvc_openha.core.status import (
    FencingStatus,
    LeaseStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
)
from opensvc_openha.drill.report import SHOWN, as_page, as_text
from opensvc_openha.errors import RefusedError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage.drills import (
    KEPT,
    Begun,
    DrillKind,
    DrillResult,
    Drills,
    DrillStep,
    read_drills,
    with_result,
    write_drills,
)
from opensvc_openha.system import clock
from opensvc_openha.system.lock_file import hold_lock

DAY_S = 86_400.0
PASSED = DrillResult(
    DrillKind.LINK,
    "net eth1",
    1000.0,
    4.5,
    "deb1",
    "deb2",
    (DrillStep("down", 2.04, 2.0), DrillStep("looked")),
    ("it was late",),
    reason="CHG-12",
)
FAILED = replace(PASSED, kind=DrillKind.SWITCH, subject="web", problem="<b> START_FAILED")


def test_results_are_read_as_they_were_written_and_are_for_root(layout: Layout) -> None:
    """With the drill that runs; no file, a damaged one and one of a newer version hold none."""
    assert read_drills(layout) == Drills()
    drills = Drills((PASSED, FAILED), Begun("switch web", 9.0, 42))
    write_drills(layout, drills)
    assert read_drills(layout) == drills
    assert os.stat(layout.drills_file).st_mode & 0o777 == 0o640
    for text in ("{", "[]", '{"version": 2, "results": []}', '{"version": 1, "results": [{}]}'):
        Path(layout.drills_file).write_text(text, encoding="ascii")
        assert read_drills(layout) == Drills()


def test_file_does_not_grow_and_keeps_what_was_last_passed() -> None:
    """The one that passed long ago is there still, and all the newest."""
    drills = Drills((PASSED,))
    for number in range(KEPT + 20):
        drills = with_result(drills, replace(FAILED, at=2000.0 + number))
    assert len(drills.results) == KEPT + 1
    assert drills.results[0] == PASSED and drills.results[-1].at == 2000.0 + KEPT + 19
    assert drills.last_passed == (PASSED,)
    assert [each.name for each in drills.failed_since] == ["switch web"]
    drills = with_result(drills, replace(FAILED, at=9000.0, problem=""))
    assert drills.failed_since == ()


def test_text_has_what_passed_what_did_not_and_what_was_measured() -> None:
    """The newest first, as many as fit a screen or two; a node without any shows what to type."""
    assert as_text(Drills(), [], "deb1") == ["no drill was run on deb1 yet: openha drill list"]
    lines = as_text(
        Drills((PASSED, FAILED), Begun("switch web", 9.0, 42)),
        [Passed("link", "net eth1", 1000.0)],
        "deb1",
    )
    text = "\n".join(lines)
    assert "  link net eth1: " in text and "CHG-12: passed" in text
    assert "NOT PASSED: <b> START_FAILED" in text
    assert "down: 2.0 s (predicted: 2.0 s)" in text and "  looked" in text
    assert "note: it was late" in text
    assert "Begun, and its end is not recorded: switch web" in text
    assert text.index("switch web, CHG-12") < text.index("link net eth1, CHG-12")
    many = Drills(tuple(replace(PASSED, at=float(at)) for at in range(SHOWN + 5)))
    assert sum("passed" in line for line in as_text(many, [], "deb1")) == SHOWN + 1


class Reader(HTMLParser):
    """Notes each tag with what it would fetch, and checks that all are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_stands_alone_and_shows_texts_as_they_are() -> None:
    """Nothing is fetched, no script, every text is escaped; the order is the newest first."""
    drills = Drills((PASSED, FAILED), Begun("switch web", 9.0, 42))
    page = as_page(drills, [Passed("link", "net eth1", 1000.0)], "deb1 & co", "deb2")
    reader = Reader()
    reader.feed(page)
    assert reader.open == [] and reader.fetched == []
    assert "<script" not in page and "<b>" not in page and "&lt;b&gt; START_FAILED" in page
    assert "deb1 &amp; co" in page and "default-src 'none'" in page
    assert page.index("not passed") < page.index("passed</p>")
    assert "None yet." in as_page(Drills(), [], "deb1", "deb2")


def test_check_has_when_each_was_last_passed_as_no_problem(layout: Layout) -> None:
    """By drills here and by `openha fence test`; one that is long ago is pointed out."""
    now = clock.wall()
    write_drills(layout, Drills((replace(PASSED, at=now - 181 * DAY_S),)))
    path = PathStatus("ipmi", "power", 0, tested_at=now - 3 * DAY_S)
    lease = LeaseStatus("armed", "softdog", tested_at=now - 60)
    status = NodeStatus(
        "deb1", "deb2", 7, PeerStanding.LIVE, "", (), (),
        fencing=FencingStatus(paths=(path,)), lease=lease,
    )  # fmt: skip
    facts = {"drills": drill_findings.facts_of(layout, status)}
    found = findings_of("deb1", facts)
    assert [each.sentence for each in found] == [
        "drill link net eth1: last passed 181 days ago: longer ago than 180 days, see openha drill"
        " list",
        "drill power ipmi: last passed 3 days ago",
        "drill watchdog softdog: last passed 1 minutes ago",
    ]
    assert {(each.severity, each.check) for each in found} == {(Severity.OK, "drills")}
    late = replace(status, lease=replace(lease, was_late=True))
    assert [each.kind for each in passed_on(Drills(), late)] == ["power"]
    assert findings_of("deb2", {}) == [] == findings_of("deb2", {"drills": {"passed": [{}]}})
    assert "no drill was passed yet on a and b" in drill_findings.none_passed(["a", "b"]).text


def test_drill_that_is_gone_without_an_end_is_a_warning(layout: Layout) -> None:
    """Not while it runs: it holds its lock."""
    write_drills(layout, Drills((), Begun("link net eth1", 9.0, 42)))
    os.makedirs(os.path.dirname(layout.drill_lock), exist_ok=True)
    with hold_lock(layout.drill_lock, 0.0, RefusedError):
        assert unfinished(layout, read_drills(layout)) is None
    assert unfinished(layout, read_drills(layout)) == Begun("link net eth1", 9.0, 42)
    found = findings_of("deb1", {"drills": drill_findings.facts_of(layout, None)})
    assert found[0].severity is Severity.WARNING and "link net eth1 was begun" in found[0].text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 minutes ago"), (7100.0, "118 minutes ago"), (7300.0, "2 hours ago"),
     (3 * DAY_S, "3 days ago")],
)  # fmt: skip
def test_time_that_passed_is_in_the_unit_that_fits(seconds: float, text: str) -> None:
    """Minutes, hours, days."""
    assert ago(seconds) == text
