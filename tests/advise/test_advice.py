"""Slow starts, the text and the object of the advice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.advise.findings import Findings, duration
from opensvc_openha.advise.main import stall_seconds
from opensvc_openha.advise.shared_paths import SharedPath
from opensvc_openha.advise.slow_starts import Pause, pauses_in, starts_of
from opensvc_openha.advise.text import as_text
from opensvc_openha.advise.timeouts import Choice, LinkAdvice, Stalls
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.history_file import HistoryFile, read_oldest

LOG = """\
11:59:00 INFO    WEB.FS#1                     mount of the day before
12:00:00 INFO    WEB.IP#1                     /sbin/ip addr add 10.0.0.1/24 dev eth0
12:00:01 INFO    WEB.FS#1                     fsck -p /dev/vg/web
12:00:14 INFO    WEB.FS#1                     mount /dev/vg/web /srv/web
Warning: a line of the program's own
12:00:15 INFO    WEB.APP#1                    /etc/init.d/web start
""".splitlines()
NOON_S = 12 * 3600


def ended(took_s: float | None, at: float, name: str = "web", new: str = "ok") -> Entry:
    """Return the end of a start script."""
    return Entry(at, at, EntryKind.SCRIPT, name, "start", new, "", took_s=took_s)


def test_starts_are_counted_by_service_the_slowest_first() -> None:
    """Failures, other scripts and those whose begin is not known do not count."""
    entries = [
        ended(1.0, 1.0, "db"),
        ended(20.0, 2.0),
        ended(30.0, 3.0),
        ended(22.0, 4.0),
        ended(600.0, 5.0, new="failed"),
        ended(None, 6.0),
        replace(ended(3.0, 7.0), old="stop"),
    ]
    web, db = starts_of(entries)
    assert (web.service, web.number, web.median_s, web.longest_s) == ("web", 3, 22.0, 30.0)
    assert (web.last_s, web.last_at, web.is_slow, db.is_slow) == (22.0, 4.0, True, False)


def test_the_time_of_a_start_went_where_its_log_pauses() -> None:
    """13 s of the check of the file system, 7 s of the application; nothing of an earlier start."""
    found = pauses_in(LOG, NOON_S + 22, 22.0)
    assert [pause.seconds for pause in found] == [13.0, 7.0]
    assert found[0].after == "web.fs#1: fsck -p /dev/vg/web"
    assert found[1].after.startswith("web.app#1: /etc/init.d/web")


def test_a_start_across_midnight_and_a_log_without_lines() -> None:
    """The log has no dates."""
    lines = [
        "23:59:58 INFO    WEB.FS#1    mount",
        "00:00:08 INFO    WEB.APP#1   start",
    ]
    assert [pause.seconds for pause in pauses_in(lines, 9, 11.0)] == [10.0]
    assert pauses_in(["no line of a log"], 9, 11.0) == pauses_in([], 9, 11.0) == ()


def test_stalls_are_read_from_the_history() -> None:
    reason = "stalled for 9.3 s: no verdict about the peer before it was listened to"
    stall = Entry(1.0, 1.0, EntryKind.NODE, "deb1", "", "STALLED", reason)
    assert stall_seconds([stall, replace(stall, new="MUTE"), ended(1.0, 1.0)]) == (9.3,)


def test_the_oldest_entry_tells_how_far_the_history_goes(tmp_path: Path) -> None:
    """None of a history without entries."""
    path = str(tmp_path / "history")
    file = HistoryFile(path, "machine")
    assert read_oldest(path) is None
    file.append([ended(1.0, 5.0), ended(1.0, 9.0)], 100)
    file.close()
    oldest = read_oldest(path)
    assert oldest is not None and oldest.at == 5.0


FOUND = Findings(
    "deb2",
    "deb1",
    (
        LinkAdvice(
            "net eth1", 2.0, 36_000.0, 36_000, 1.1, 2.4, 0.001, 3, 2, 15.1, 5.0, "2.40 s: twice"
        ),
        LinkAdvice("net eth2", 2.0, 0.0, 0, 0.0, 0.0, 0.0, None, 0, None, 2.0, "nothing"),
    ),
    (
        Choice(2.0, 2, 15.1, 9.0, is_present=True),
        Choice(5.0, 0, 0.1, None, is_present=False),
    ),
    Stalls((0.6,), 864_000.0),
    (SharedPath(("net eth1", "net eth2"), "eth0", "both are on eth0"),),
    (replace(starts_of([ended(22.0, 4.0)])[0], pauses=(Pause(13.0, "web.fs#1: fsck"),)),),
    2,
    "only root may read the history",
)


def test_text_has_what_was_measured_what_to_do_and_what_is_not_known() -> None:
    """Each part, with its bound."""
    text = as_text(FOUND)
    for part in (
        "36000 in 10.0 h; 99.9 % up to 1.10 s, the longest 2.40 s; jitter 1.0 ms, 3 lost",
        "2 seen; at most 15 a day (95 %)",
        "none seen; at most one in 10.0 days (95 %)",
        "net eth2: timeout 2 s; nothing was measured yet",
        "1 in the history of 10.0 days, the longest 0.6 s",
        "9.0 s  (now)",
        "13 s after: web.fs#1: fsck",
        "net eth1: timeout 5 s in place of 2 s",
        "net eth1 and net eth2: both are on eth0",
        "web: its start takes 22 s",
        "beats were measured for 10.0 h only",
        "only root may read the history",
    ):
        assert part in text


def test_a_cluster_without_findings_says_so() -> None:
    """No links, no starts: nothing to change, and nothing was measured."""
    text = as_text(Findings("deb2", "deb1", (), (), Stalls(), (), (), 2))
    assert "nothing to change" in text and "no gap between two beats was measured yet" in text
    assert "add a second heartbeat link" in as_text(replace(FOUND, link_count=1))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(40, "40 s"), (720, "12 min"), (12_600, "3.5 h"), (777_600, "9.0 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
