"""What was seen, as words and levels: the heaviest first, an old one never as if it were new."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.outlook import Finding, Severity
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding
from opensvc_openha.errors import NotAnsweringError
from opensvc_openha.live.observer import KEPT_S, Observer, Seen, end_of
from opensvc_openha.live.orders import Order, command_of, consequence_of, orders_for
from opensvc_openha.live.picture import Level, Picture, level_of, picture, reduced
from tests.live.stage import S, entry, healthy, link, service

WALL, NOW = 1_000_000.0, 500.0


def shown(status: NodeStatus | None, **more: object) -> Picture:
    seen = Seen(version=1, asked_at=NOW, status=status, answered_at=WALL)
    seen = replace(seen, **more)  # type: ignore[arg-type]
    return picture(seen, WALL, NOW)


def test_healthy_cluster_is_ok() -> None:
    """Each thing has a word."""
    found = shown(healthy())
    assert (found.level, found.is_old) == (Level.OK, False)
    assert found.headline == "deb1 and deb2 hear each other on all links"
    assert [node.word for node in found.nodes] == ["answers", "heard"]
    assert [side.state for side in found.services[1].sides] == ["STOPPED", "STARTED"]
    assert found.services[1].ready == "deb1 is ready to start it"
    assert "would take 7.3 s" in found.services[1].takeover
    assert [link.word for link in found.links] == ["up"] * 4
    assert [(path.name, path.word) for path in found.paths] == [("ipmi", "armed")]


@pytest.mark.parametrize(
    "change, level, words",
    [
        (
            {"services": (service("web", S.STARTED, S.STARTED, is_dual_run=True),)},
            Level.BAD,
            "dual run: both nodes run web",
        ),
        (
            {"services": (service("web", S.STOPPED, S.START_FAILED),)},
            Level.BAD,
            "web is START_FAILED on deb2",
        ),
        (
            {"peer_standing": PeerStanding.SILENT, "peer_reason": "not heard"},
            Level.BAD,
            "deb2 is silent: not heard",
        ),
        ({"peer_standing": PeerStanding.DEPARTED}, Level.WARNING, "deb2 is gone in order"),
        (
            {"links": (link("eth1:a", False), link("eth2:b", False, False))},
            Level.WARNING,
            "1 of 2 ends of links down: net eth2:b listens",
        ),
        (
            {"services": (service("web", S.STOPPED, S.STARTED, unready="no /srv"),)},
            Level.WARNING,
            "web: deb1 could not start it now: no /srv",
        ),
        (
            {"services": (service("web", S.STARTED, S.STOPPED, is_peer_unready=True),)},
            Level.WARNING,
            "web: deb2 could not take it over now",
        ),
        (
            {"services": (service("web", S.FROZEN_START, S.STOPPED),)},
            Level.PAUSED,
            "frozen by an operator: web",
        ),
        (
            {"services": (service("web", S.STARTING, S.STOPPED),)},
            Level.BUSY,
            "on its way: web",
        ),
        ({"warnings": ("no fencing", "more")}, Level.WARNING, "no fencing (and 1 more)"),
    ],
)  # fmt: skip
def test_heaviest_of_what_is_wrong_is_the_headline(
    change: dict[str, object], level: Level, words: str
) -> None:
    """One thing that is wrong in a healthy cluster."""
    found = shown(replace(healthy(), **change))  # type: ignore[arg-type]
    assert (found.level, found.headline) == (level, words)


def test_what_the_check_found_is_shown() -> None:
    """Its words and what to do; a check that found nothing says when it looked."""
    assert shown(healthy()).findings == () and shown(healthy()).checked
    found = Finding(Severity.ERROR, "deb1", "web", "mounts", "/srv is a file", "make it a folder")
    one = shown(replace(healthy(), findings=(found,))).findings[0]
    assert (one.about, one.word, one.level) == ("web", "mounts", Level.BAD)
    assert one.text == "/srv is a file: make it a folder"


@pytest.mark.parametrize(
    "age_s, more, words",
    [
        (12.0, {}, "nmond (pid 4711) does not answer, its engine hangs; what is shown is 12 s old"),
        (
            0.0,
            {"problem": "nmond is not running on this node"},
            "nmond is not running on this node; what is shown is 5 s old",
        ),
        (
            0.0,
            {"is_asking": True, "asked_at": NOW - 2},
            "nmond has not answered for 2 s; what is shown is 5 s old",
        ),
    ],
)
def test_status_that_is_old_is_shown_as_old(
    age_s: float, more: dict[str, object], words: str
) -> None:
    """Hanging engine, no daemon, a question that is open for too long: reported, the peer's
    standing is the last that was seen, and no order is offered.
    """
    values = {"version": 1, "asked_at": NOW, "answered_at": WALL - (0 if age_s else 5), **more}
    seen = Seen(status=replace(healthy(), age_s=age_s), **values)  # type: ignore[arg-type]
    found = picture(seen, WALL, NOW, may_order=True)
    assert (found.level, found.headline, found.is_old) == (Level.BAD, words, True)
    assert [node.word for node in found.nodes] == ["does not answer", "last seen: heard"]
    assert not any(svc.orders for svc in found.services)


def test_nothing_was_ever_heard_of_the_daemon() -> None:
    """The reason, and the history all the same."""
    found = shown(None, problem="nmond is not running", events=(entry("why", is_alarm=True),))
    assert (found.level, found.headline) == (Level.BAD, "nmond is not running")
    assert found.events[0].is_alarm and found.events[0].text.endswith("why")


@pytest.mark.parametrize("state", ServiceState)
def test_each_state_has_a_level_and_its_orders_a_command(state: ServiceState) -> None:
    """What is offered can be carried out, and what is not cannot."""
    assert isinstance(level_of(state), Level)
    for order in Order:
        command = command_of(order, state)
        assert (command is not None) == (order in orders_for(state))
        if command is not None:
            text = consequence_of(order, command, "web", "deb1", "deb2")
            assert "web" in text and "deb1" in text
    assert command_of(Order.START, None) is None and orders_for(None) == ()


def test_plot_keeps_the_longest_silence_of_each_span() -> None:
    """No point changes its samples while others come."""
    assert reduced([1.0, 5.0, None, 2.0, None, None], 3) == ((5.0, 2.0, None), 2.0)
    assert reduced([9.0, 1.0, 5.0, None, 2.0], 3) == ((9.0, 5.0, 2.0), 2.0)
    assert reduced([], 3) == ((), 1.0)


def test_observer_keeps_what_was_heard_and_reports_a_restart() -> None:
    """Seconds of silence of each end, a gap while nobody answers, another pid."""
    answers: list[NodeStatus | Exception] = [healthy()]

    def read() -> NodeStatus:
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]

    observer = Observer(read, tuple)
    observer.look()
    answers[0] = NotAnsweringError("stopped")
    observer.look()
    seen = observer.seen()
    key = end_of(healthy().links[1])
    assert len(seen.samples[key]) == 2 and seen.samples[key][0] is not None
    assert seen.samples[key][1] is None
    assert seen.problem == "stopped" and seen.status is not None and seen.restarted_at is None
    answers[0] = replace(healthy(), pid=4712, links=healthy().links[:1])
    observer.look()
    seen = observer.seen()
    assert seen.restarted_at is not None and not seen.problem and key not in seen.samples
    answers[0] = replace(healthy(), age_s=3.0)
    observer.look()
    assert observer.seen().samples[key][-1] is None, "an engine that hangs has heard nothing new"
    answers[0] = ValueError("odd")
    observer.look()
    assert observer.seen().problem == "ValueError: odd"
    answers[0] = healthy()
    for _ in range(KEPT_S + 5):
        observer.look()
    assert len(observer.seen().samples[key]) == KEPT_S
