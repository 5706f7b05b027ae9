"""What of the history somebody has to know at once, and how much of it goes out."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from opensvc_openha.core.status import PeerStanding, Sight
from opensvc_openha.formats.alert_kinds import AlertKind
from opensvc_openha.storage.alert_limit import WINDOW_S, AlertLimit
from opensvc_openha.storage.alerts import Alert, AlertStream, alerts_in
from opensvc_openha.storage.history_entry import Entry, EntryKind

pytestmark = pytest.mark.fast

SILENT = Sight(1.0, (), PeerStanding.SILENT, 0.0, None)
K = EntryKind


def entry(
    kind: EntryKind,
    name: str,
    old: str,
    new: str,
    is_alarm: bool = False,
    sight: Sight | None = None,
    reason: str = "because",
) -> Entry:
    """An entry of the history."""
    return Entry(1.0, 1.0, kind, name, old, new, reason, is_alarm=is_alarm, sight=sight)


STARTED = entry(K.SERVICE, "web", "STARTING", "STARTED", sight=SILENT)
DOWN = entry(K.LINK, "net eth1", "UP", "DOWN", is_alarm=True)
UP = entry(K.LINK, "net eth1", "DOWN", "UP")
NOT_READY = entry(K.READINESS, "web", "ready", "not ready", is_alarm=True)
RESTARTED = entry(K.DAEMON, "", "", "STARTED")


def words(alerts: list[Alert]) -> list[str]:
    """Event, end and subject of each."""
    return [f"{each.kind.value}{' over' * each.is_over} {each.subject}" for each in alerts]


@pytest.mark.parametrize(
    "found, expected",
    [
        (STARTED, ["start-failed over web", "stop-failed over web", "takeover web"]),
        (
            replace(STARTED, sight=replace(SILENT, standing=PeerStanding.LIVE)),
            ["start-failed over web", "stop-failed over web"],
        ),
        (entry(K.SERVICE, "web", "STOPPED", "START_READY", sight=SILENT), []),
        (entry(K.SERVICE, "web", "STARTING", "START_FAILED", True), ["start-failed web"]),
        (entry(K.SERVICE, "web", "STOPPING", "STOP_FAILED", True), ["stop-failed web"]),
        (entry(K.SERVICE, "web", "STARTED", "DUAL RUN", True), ["dual-run web"]),
        (entry(K.SERVICE, "web", "DUAL RUN", "STARTED"), ["dual-run over web"]),
        (DOWN, ["link-down net eth1"]),
        (UP, ["link-down over net eth1"]),
        (entry(K.LINK, "net eth1", "UP", "DOWN", reason="the peer said goodbye"), []),
        (entry(K.LINK, "net eth1", "", "FAULT", True), ["alarm link net eth1 FAULT"]),
        (entry(K.LINK, "net eth1", "", "NOTE"), []),
        (entry(K.PEER, "deb2", "LIVE", "SILENT", True), ["peer-silent deb2"]),
        (entry(K.PEER, "deb2", "SILENT", "LIVE"), ["peer-silent over deb2"]),
        (entry(K.PEER, "deb2", "LIVE", "LEFT"), []),
        (entry(K.PEER, "deb2", "", "FENCE", True), ["alarm peer deb2 FENCE"]),
        (NOT_READY, ["standby-not-ready web"]),
        (entry(K.READINESS, "web", "not ready", "ready"), ["standby-not-ready over web"]),
        (
            entry(K.NODE, "deb1", "", "FENCE PATH", True, reason="ipmi: no answer: in 9 s"),
            ["fence-path-broken ipmi"],
        ),
        (
            entry(K.NODE, "deb1", "", "FENCE PATH", reason="ipmi: in order again"),
            ["fence-path-broken over ipmi"],
        ),
        (entry(K.NODE, "deb1", "", "ISOLATED", True), ["isolated deb1"]),
        (entry(K.NODE, "deb1", "ISOLATED", "REACHABLE"), ["isolated over deb1"]),
        (entry(K.NODE, "deb1", "ISOLATED", "CONNECTIVITY UNKNOWN", True), ["isolated over deb1"]),
        (
            entry(K.NODE, "deb1", "", "CONNECTIVITY UNKNOWN", True),
            ["alarm node deb1 CONNECTIVITY UNKNOWN"],
        ),
        (RESTARTED, ["daemon-restarted daemon"]),
        (entry(K.DAEMON, "", "", "ENDED", True), ["alarm daemon ENDED"]),
        (entry(K.DAEMON, "", "", "ENDED"), []),
        (entry(K.MONITOR, "web", "", "FAILED", True), ["alarm monitor web FAILED"]),
        (entry(K.SCRIPT, "web", "start", "ok"), []),
        (entry(K.SCRIPT, "web", "start", "failed", True), []),
    ],
)
def test_entries_are_told_apart(found: Entry, expected: list[str]) -> None:
    """Beginnings, ends, moments; what is an alarm in the history is at least that here.

    But for a script that failed: the state that follows is one.
    """
    assert words(alerts_in(found)) == expected


def test_texts_are_one_line_that_names_what_and_why() -> None:
    """What a pager shows."""
    assert [each.text for each in alerts_in(DOWN)] == ["link net eth1: down: because"]
    assert [each.text for each in alerts_in(NOT_READY)] == [
        "service web: could not start here: because"
    ]
    assert alerts_in(STARTED)[-1].text == (
        "service web: taken over, STARTED here: the peer is silent; because"
    )
    assert alerts_in(STARTED)[-1].service == "web" and alerts_in(DOWN)[0].service == ""


def test_nothing_ends_that_did_not_begin_and_nothing_begins_twice() -> None:
    """A link that comes up at the start; a start that is tried again and again."""
    stream = AlertStream()
    failed = entry(K.SERVICE, "web", "STARTING", "START_FAILED", True)
    retried = entry(K.SERVICE, "web", "START_FAILED", "START_READY")
    found = [stream.take(each) for each in (UP, STARTED, failed, retried, failed, STARTED, UP)]
    assert [words(alerts) for alerts in found] == [
        [],
        ["takeover web"],
        ["start-failed web"],
        [],
        [],
        ["start-failed over web", "takeover web"],
        [],
    ]


def test_restart_of_the_daemon_ends_what_the_new_one_finds_again() -> None:
    """Else the end of what was repaired meanwhile would never come."""
    stream = AlertStream()
    for each in (DOWN, NOT_READY):
        stream.take(each)
    assert words(stream.take(RESTARTED)) == [
        "standby-not-ready over web",
        "daemon-restarted daemon",
    ]
    assert words(stream.take(NOT_READY)) == ["standby-not-ready web"]
    assert words(stream.take(UP)) == ["link-down over net eth1"]


def of(alert: Alert, number: int) -> Alert:
    """The same alert of another entry."""
    return replace(alert, entry=replace(alert.entry, number=number))


def test_link_that_flaps_is_held_back_and_its_last_word_is_heard() -> None:
    """With the number of those in between; other things have room meanwhile."""
    limit, (down,), (up,) = AlertLimit(2), alerts_in(DOWN), alerts_in(UP)
    sent = [
        each.alert.entry.number
        for number in range(1, 8)
        for each in limit.take(of(down if number % 2 else up, number), float(number))
    ]
    assert sent == [1, 2] and limit.oldest_held == 7
    assert words([each.alert for each in limit.take(alerts_in(NOT_READY)[0], 8.0)])
    assert limit.due(WINDOW_S) == []
    (last,) = limit.due(1.0 + WINDOW_S)
    assert (last.alert.entry.number, last.held) == (7, 4)
    assert limit.oldest_held is None and limit.due(3 * WINDOW_S) == []


def test_storm_of_different_things_is_held_back_too() -> None:
    """Five hundred services at a takeover: each is told of, but not all at once."""
    limit, taken = AlertLimit(1), alerts_in(STARTED)[-1]
    alerts = [replace(taken, subject=f"svc{number}") for number in range(25)]
    first = [each for alert in alerts for each in limit.take(alert, 0.0)]
    later = [len(limit.due(part * WINDOW_S)) for part in (1, 2, 3)]
    assert len(first) == 10 and later == [10, 5, 0] and limit.dropped == 0


def test_memory_of_the_limit_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is no room for is counted; what is long past is forgotten."""
    monkeypatch.setattr("opensvc_openha.storage.alert_limit._THINGS", 3)
    limit, taken = AlertLimit(1), alerts_in(STARTED)[-1]
    for number in range(20):
        limit.take(replace(taken, subject=f"svc{number}"), 0.0)
    assert limit.dropped == 7
    assert len(limit.due(WINDOW_S)) == 3
    assert len(limit._sent) == 3  # What was sent before is forgotten.


def test_each_kind_has_message_ids_of_its_own() -> None:
    """The beginning and the end, as journalctl shows them."""
    ids = [kind.message_id(is_over) for kind in AlertKind for is_over in (False, True)]
    namespace = uuid.UUID("b2f6a3c4-5a0e-4d0b-9a53-6f3d7d1f4c11")
    assert ids == [
        uuid.uuid5(namespace, f"{kind.value} {phase}").hex
        for kind in AlertKind
        for phase in ("begin", "end")
    ]
    assert len(set(ids)) == len(ids) and all(len(each) == 32 for each in ids)
