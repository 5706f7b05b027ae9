"""What the node daemon makes of the findings of a check, and when it drops them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec
from opensvc_openha.core.outlook import Finding, Severity
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import LinkStatus, NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.daemon.memory_guard import MemoryGuard
from opensvc_openha.daemon.outlook_watch import OutlookWatch
from opensvc_openha.formats.layout import Layout, tree_layout
from opensvc_openha.storage.durations import read_durations
from opensvc_openha.storage.history_entry import EntryKind
from opensvc_openha.storage.history_writer import History
from opensvc_openha.storage.outlook_file import NodeOutlook, write_outlook
from opensvc_openha.system import clock
from tests.waiting import until

SPEC = ClusterSpec("n2", "n1", (), (ServiceSpec("web", "n1", "n2", "/w", "/bin/true"),))
NO_DISK = Finding(Severity.ERROR, "n2", "web", "devices", "no disk", stops_start=True)
DIFFERS = Finding(Severity.ERROR, "", "web", "files", "web.env differs")
OLD = Finding(Severity.WARNING, "n2", "web", "sync", "copy is old")
FINE = Finding(Severity.OK, "n2", "", "room", "plenty")
STANDBY = ServiceStatus("web", "n1", "n2", S.STARTED, S.STOPPED, S.STOPPED, S.STARTED)
LINK = LinkStatus(LinkSpec("n1", "net", "eth1", "::1", 1, 0, 10.0), False, True)
STATUS = NodeStatus("n2", "n1", 1, PeerStanding.LIVE, "heard", (LINK,), (STANDBY,))


class Watched:
    """A watch that never runs a check by itself, in a temporary directory."""

    def __init__(self, root: Path) -> None:
        self.layout: Layout = tree_layout(str(root))
        self.reports: list[Mapping[str, str]] = []
        self.history = History(self.layout, 1, lambda is_fault, text: None)
        self.watch = OutlookWatch(
            self.layout,
            lambda: SPEC,
            lambda: None,
            lambda: STATUS,
            self.history,
            self.reports.append,
            MemoryGuard(),
        )

    def found(self, *findings: Finding, age_s: float = 0.0, **others: Any) -> None:
        """Leave the findings of a check, as the check does."""
        write_outlook(self.layout, NodeOutlook(clock.wall() - age_s, ("web",), findings, **others))

    def shown(self, status: NodeStatus = STATUS) -> ServiceStatus:
        """Return the service as a status shows it."""
        (svc,) = self.watch.complete(status).services
        return svc


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Yield a watch that is not started."""
    watched = Watched(tmp_path)
    yield watched
    watched.watch.stop()


def test_findings_of_before_are_shown_and_replaced_by_those_of_the_next_check(
    watched: Watched,
) -> None:
    """Whoever checked. What is sure to fail a start is reported for the beats, nothing else is."""
    watched.found(NO_DISK, OLD, FINE)
    watched.watch.start()
    shown = watched.shown()
    assert (shown.ready, shown.ready_text) == ("no", "no disk")
    status = watched.watch.complete(STATUS)
    assert status.findings == (NO_DISK, OLD) and status.checked_at == shown.checked_at
    assert watched.reports == [{"web": "no disk"}]
    watched.found(DIFFERS)
    until(lambda: watched.shown().ready_text, lambda text: text == "web.env differs", "the next")
    until(lambda: watched.reports, lambda seen: seen[-1] == {}, "nothing is sure any more")
    watched.found(OLD)
    until(lambda: watched.shown().ready, lambda ready: ready == "yes", "ready")
    assert watched.shown().ready_text == "copy is old"


def test_what_the_engine_knows_comes_first_and_what_runs_here_needs_no_check(
    watched: Watched,
) -> None:
    """A script that is missing is why it cannot start; a service that is up is not judged."""
    watched.found(OLD)
    watched.watch.start()
    broken = replace(STANDBY, unready="no script", ready="no", ready_text="no script")
    shown = watched.shown(replace(STATUS, services=(broken,)))
    assert (shown.ready, shown.ready_text) == ("no", "no script")
    up = replace(STANDBY, own_state=S.STARTED, peer_state=S.STOPPED)
    shown = watched.shown(replace(STATUS, services=(up,)))
    assert (shown.ready, shown.checked_at, shown.predicted_s) == ("", None, None)


def test_findings_of_long_ago_say_nothing(watched: Watched) -> None:
    """Nor does a file that cannot be read."""
    watched.found(NO_DISK, age_s=86_400.0)
    watched.watch.start()
    assert watched.watch.complete(STATUS).checked_at is None and not watched.reports
    assert watched.shown().ready == ""


def test_start_that_succeeded_ends_what_was_found_against_it(watched: Watched) -> None:
    """And its duration is kept, for the next prediction and the next daemon."""
    watched.found(NO_DISK, peer_starts=(("web", (7.0,)),))
    watched.watch.start()
    before = watched.shown()
    assert before.predicted_s == 22.0 and not before.predicted_parts[-1].is_measured
    watched.history.record(EntryKind.SCRIPT, "web", "ok", "/w", old="start", took_s=1.5)
    watched.history.record(EntryKind.SERVICE, "web", "STARTED", "start", old="STARTING")
    until(lambda: watched.reports, lambda seen: seen[-1] == {}, "it could start")
    assert watched.shown().ready == ""
    until(lambda: watched.shown().predicted_s, lambda total_s: total_s == 16.5, "as measured")
    kept = until(lambda: read_durations(watched.layout), lambda found: "web" in found, "kept")
    assert kept["web"].starts == (1.5,)
