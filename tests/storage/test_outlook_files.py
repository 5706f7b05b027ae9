"""What a check and the daemon keep in small files, and what is made of damaged ones."""

from __future__ import annotations

from pathlib import Path

from opensvc_openha.core.outlook import Finding, Severity
from opensvc_openha.core.status import LinkSight, PeerStanding, Sight
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage.durations import Durations, ServiceTimes, read_durations
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.outlook_file import NodeOutlook, read_outlook, write_outlook

FOUND = Finding(Severity.ERROR, "n2", "web", "devices", "no disk", "plug it in", stops_start=True)
OUTLOOK = NodeOutlook(7.5, ("web", "db"), (FOUND,), (("web", (1.5, 2.0)),))


def entry(
    at: float, kind: EntryKind, new: str, old: str = "", name: str = "web", **others: object
) -> Entry:
    """Return an entry of the history at these monotonic seconds."""
    return Entry(1000.0 + at, at, kind, name, old, new, "why", **others)  # type: ignore[arg-type]


def silent(at: float, *ages: float | None) -> Entry:
    """Return the verdict on a peer whose links brought their last beats so long before."""
    links = tuple(LinkSight(f"link{age}", False, age, 2.0) for age in ages)
    sight = Sight(at, links, PeerStanding.SILENT, 0.0, None)
    return entry(at, EntryKind.PEER, "SILENT", "LIVE", "n1", sight=sight)


READY = ("START_READY", "STOPPED")


def states(durations: Durations, *changes: tuple[float, str, str]) -> None:
    """Note changes of state: when, new, old."""
    for at, new, old in changes:
        durations.note(entry(at, EntryKind.SERVICE, new, old))


def test_findings_are_read_as_they_were_written(layout: Layout) -> None:
    """By root and its group alone; a file that is none of this version says nothing."""
    assert read_outlook(layout) is None
    write_outlook(layout, OUTLOOK)
    assert read_outlook(layout) == OUTLOOK
    path = Path(layout.outlook_file)
    assert path.stat().st_mode & 0o777 == 0o640
    for text in ("", "[]", "{", path.read_text().replace('"version": 1', '"version": 2')):
        path.write_text(text)
        assert read_outlook(layout) is None


def test_finding_of_another_version_is_left_out(layout: Layout) -> None:
    """The others stay."""
    write_outlook(layout, OUTLOOK)
    path = Path(layout.outlook_file)
    path.write_text(path.read_text().replace('"findings": [', '"findings": [{"text": "x"}, 7, '))
    assert read_outlook(layout) == OUTLOOK


def test_last_starts_and_checks_are_kept(layout: Layout) -> None:
    """Five of them; a failed one says nothing about the next; a service that is gone is dropped."""
    durations = Durations(layout)
    for took_s in range(1, 8):
        durations.note(entry(1, EntryKind.SCRIPT, "ok", "start", took_s=float(took_s)))
    durations.note(entry(1, EntryKind.SCRIPT, "failed", "start", took_s=99.0))
    durations.note(entry(1, EntryKind.SCRIPT, "ok", "check", took_s=0.25))
    durations.note(entry(1, EntryKind.SCRIPT, "ok", "start", name="gone", took_s=1.0))
    durations.save(["web"])
    kept = ServiceTimes((3.0, 4.0, 5.0, 6.0, 7.0), (0.25,))
    assert read_durations(layout) == {"web": kept} and Durations(layout).of("web") == kept
    Path(layout.durations_file).write_text('{"version": 1, "services": {"web": 3}}')
    assert read_durations(layout) == {}


def test_takeover_is_measured_from_the_last_beat_of_the_peer(layout: Layout) -> None:
    """On whatever link it came; tries that fail belong to it."""
    durations = Durations(layout)
    durations.note(silent(50.0, 2.0, 2.5, None))
    states(durations, (50.0, *READY), (55.0, "STARTING", "START_READY"))
    states(durations, (56.0, "START_FAILED", "STARTING"), (66.0, "START_READY", "START_FAILED"))
    states(durations, (70.0, "STARTED", "STARTING"))
    found = durations.of("web")
    assert (found.takeover_s, found.takeover_at) == (22.0, 1070.0)


def test_start_by_an_order_is_no_takeover(layout: Layout) -> None:
    """Beside a live peer, long after a verdict, of a frozen service, or once the peer is back."""
    durations = Durations(layout)
    states(durations, (1.0, *READY), (2.0, "STARTED", "STARTING"))
    durations.note(silent(50.0, 2.0))
    states(durations, (90.0, *READY), (92.0, "STARTED", "STARTING"))
    durations.note(silent(150.0, 2.0))
    states(durations, (150.0, *READY), (151.0, "FROZEN_STOP", "STOPPED"))
    states(durations, (190.0, *READY), (192.0, "STARTED", "STARTING"))
    durations.note(silent(250.0, 2.0))
    states(durations, (250.0, *READY))
    durations.note(entry(251.0, EntryKind.PEER, "LIVE", "SILENT", "n1"))
    states(durations, (252.0, "STARTED", "STARTING"))
    assert durations.of("web").takeover_s is None


def test_peer_that_said_goodbye_is_taken_over_from_then_on(layout: Layout) -> None:
    """Its last beat is the goodbye."""
    durations = Durations(layout)
    durations.note(entry(50.0, EntryKind.PEER, "LEFT", "LIVE", "n1"))
    states(durations, (50.0, *READY), (51.5, "STARTED", "STARTING"))
    assert durations.of("web").takeover_s == 1.5
