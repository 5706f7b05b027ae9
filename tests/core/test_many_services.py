"""Hundreds of services that change one after the other: few beats, each of them cheap for who hears
it, and none of them late.
"""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import MagicMock

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.core.actions import Action, Announce, RunScript
from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    CommandReceived,
    Event,
    RecoveredState,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    Tick,
)
from opensvc_openha.core.facts import Facts, Turn
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.timing import BACKLOG_S, BEAT_INTERVAL_S, NEWS_GAP_S
from tests.core.bench import evaluated, watch_evaluations
from tests.core.pair import CHECK_ALWAYS, TIMEOUT_S, links, services

COUNT = 300
NAMES = tuple(f"svc{number}" for number in range(COUNT))
OWN, PEER = BootId(1, 11), BootId(1, 22)


class Bench:
    """deb1's engine with many services, and what deb2 announces."""

    def __init__(self, state: ServiceState) -> None:
        self.now = 100.0
        both = links(count=1)
        spec = ClusterSpec("deb1", "deb2", both, services(*NAMES), fencing=CHECK_ALWAYS)
        self.engine = Engine(spec, OWN, dict.fromkeys(NAMES, RecoveredState(state)), self.now)
        self.link = spec.listeners[0]
        self.announced = dict.fromkeys(NAMES, ServiceState.FROZEN_STOP)
        self.seq = 0
        self.engine.step(Tick(), self.now)
        self.hear()

    def hear(
        self, received_at: float = 0.0, is_acked: bool = True, facts: Facts | None = None
    ) -> list[Action]:
        """A beat of the peer as it is now."""
        self.seq += 1
        ack = Ack(OWN, self.engine.seq) if is_acked else None
        beat = Beat("deb2", PEER, self.seq, ack, dict(self.announced), facts=facts)
        return self.engine.step(BeatReceived(self.link, beat, received_at or self.now), self.now)


@pytest.fixture
def spy(mocker: MockerFixture) -> MagicMock:
    """The evaluations of services."""
    return watch_evaluations(mocker)


def test_beat_has_only_those_services_looked_at_that_it_has_news_of(
    spy: MagicMock,
) -> None:
    """Two of 300 change on the peer: these two are looked at.

    A beat that reports the same moves nothing at all.
    """
    bench = Bench(ServiceState.FROZEN_STOP)
    spy.reset_mock()
    bench.hear()
    assert evaluated(spy) == []
    bench.announced["svc7"] = bench.announced["svc250"] = ServiceState.STOPPED
    bench.hear()
    assert sorted(evaluated(spy)) == ["svc250", "svc7"]


def test_states_that_are_as_before_are_the_same_object_on_both_ways() -> None:
    """Whoever keeps what it worked out of them need not compare 300 of them."""
    bench = Bench(ServiceState.FROZEN_STOP)
    sent, heard = bench.engine.beat().states, bench.engine._peer.view.states
    bench.hear()
    assert bench.engine.beat().states is sent and bench.engine._peer.view.states is heard
    bench.announced["svc7"] = ServiceState.STARTED
    bench.hear()
    assert bench.engine.peer_state_of("svc7") is ServiceState.STARTED
    assert heard["svc7"] is ServiceState.FROZEN_STOP


@pytest.mark.parametrize("check", ["/etc/fence", "/etc/NAME.stonith"])
def test_one_fence_serves_all_services_of_a_lost_peer(check: str) -> None:
    """One script for all, or a wrapper for each: 300 services are started after one check-up."""
    both = links(count=1)
    specs = tuple(
        replace(svc, check=check.replace("NAME", svc.name), primary="deb2", secondary="deb1")
        for svc in services(*NAMES)
    )
    spec = ClusterSpec("deb1", "deb2", both, specs)
    stopped = dict.fromkeys(NAMES, RecoveredState(ServiceState.STOPPED))
    engine, now, begun = Engine(spec, OWN, stopped, 0.0), 0.0, list[ScriptKind]()
    engine.step(Tick(), now)
    beat = Beat("deb2", PEER, 1, Ack(OWN, engine.seq), dict.fromkeys(NAMES, ServiceState.STARTED))
    waiting: list[Event] = [BeatReceived(spec.listeners[0], beat, now)]
    while begun.count(ScriptKind.START) < COUNT and now < 10 * TIMEOUT_S:
        for action in engine.step(waiting.pop() if waiting else Tick(), now):
            if isinstance(action, RunScript):
                begun.append(action.kind)
                end = ScriptExited(action.service, action.kind, ScriptOutcome.OK, "")
                waiting += [end] if action.kind is ScriptKind.CHECK else []
        now = now if waiting else max(now, engine.next_deadline())
    assert begun == [ScriptKind.CHECK] + [ScriptKind.START] * COUNT


def test_beat_with_other_services_or_facts_has_all_looked_at(spy: MagicMock) -> None:
    """What the peer reports of itself, or of which services it speaks, may concern each of them."""
    bench = Bench(ServiceState.FROZEN_STOP)
    spy.reset_mock()
    bench.hear(facts=Facts(priority=1))
    assert len(set(evaluated(spy))) == COUNT
    spy.reset_mock()
    del bench.announced["svc9"]
    bench.hear(facts=Facts(priority=1))
    assert len(set(evaluated(spy))) == COUNT


def test_who_would_fence_first_concerns_no_service_of_a_peer_that_is_heard(
    spy: MagicMock,
) -> None:
    """The sum of priorities on the peer grows with each service that starts there: none is looked
    at for it.
    """
    bench = Bench(ServiceState.FROZEN_STOP)
    bench.hear(facts=Facts(priority=1))
    spy.reset_mock()
    for priority, turn in ((2, Turn.NONE), (3, Turn.CLAIMED), (4, Turn.HELD)):
        bench.hear(
            facts=Facts(
                priority=priority, turn=turn, fence_s=float(priority), is_defending=priority == 4
            )
        )
    assert evaluated(spy) == []
    bench.hear(facts=Facts(priority=4, unready=frozenset({"svc1"})))
    assert len(set(evaluated(spy))) == COUNT


def test_new_acknowledgement_has_those_looked_at_that_wait_for_one(spy: MagicMock) -> None:
    """One service asks; the peer's answer moves it, and no other service is looked at."""
    bench = Bench(ServiceState.FROZEN_STOP)
    bench.engine.step(CommandReceived(1, "svc5", Command.UNFREEZE), bench.now)
    bench.engine.step(Tick(), bench.now)
    assert bench.engine.state_of("svc5") is ServiceState.START_READY
    spy.reset_mock()
    done = bench.hear()
    assert evaluated(spy) == ["svc5"]
    assert [action.kind for action in done if isinstance(action, RunScript)] == [ScriptKind.CHECK]


def test_changes_one_after_the_other_make_a_beat_each_gap() -> None:
    """300 services stop within 0.3 s, 1 ms apart: no more beats than gaps, and the last one reports
    all.
    """
    bench = Bench(ServiceState.STARTED)
    for name in NAMES:
        bench.engine.step(CommandReceived(1, name, Command.STOP), bench.now)
    began_at = bench.now
    while bench.now < began_at + 1.0:
        bench.now = bench.engine.next_deadline()
        bench.engine.step(Tick(), bench.now)
    bench.hear()
    reported: list[Announce] = []
    for name in NAMES:
        bench.now += 0.001
        exited = ScriptExited(name, ScriptKind.STOP, ScriptOutcome.OK)
        reported += [
            action
            for action in bench.engine.step(exited, bench.now)
            if isinstance(action, Announce)
        ]
        while bench.engine.next_deadline() <= bench.now:
            reported += [
                action
                for action in bench.engine.step(Tick(), bench.now)
                if isinstance(action, Announce)
            ]
    last_at = bench.now
    while bench.now < last_at + NEWS_GAP_S:
        bench.now = bench.engine.next_deadline()
        reported += [
            action
            for action in bench.engine.step(Tick(), bench.now)
            if isinstance(action, Announce)
        ]
    assert 0.3 / NEWS_GAP_S - 2 <= len(reported) <= 0.3 / NEWS_GAP_S + 2
    assert set(reported[-1].beat.states.values()) == {ServiceState.STOPPED}
    assert bench.engine.next_deadline() > bench.now + BEAT_INTERVAL_S / 2


def test_script_is_never_run_before_its_state_was_announced() -> None:
    """A stop right after a beat: STOPPING is announced in the very step that has the script run."""
    bench = Bench(ServiceState.STARTED)
    for name in NAMES[:5]:
        done = bench.engine.step(CommandReceived(1, name, Command.STOP), bench.now)
        reported = [action for action in done if isinstance(action, Announce)]
        assert reported and reported[-1].beat.states[name] is ServiceState.STOPPING
        assert any(isinstance(action, RunScript) for action in done)


def test_nothing_is_decided_about_a_peer_whose_beats_wait() -> None:
    """The last beat that was taken is older than the timeout, others wait: no link goes down, and
    the peer is not silent.
    """
    bench = Bench(ServiceState.STOPPED)
    bench.now += 0.1
    while bench.now < 100.0 + TIMEOUT_S:
        bench.now = min(bench.engine.next_deadline(), 100.0 + TIMEOUT_S)
        bench.engine.beats_wait(bench.now)
        bench.engine.step(Tick(), bench.now)
    assert bench.engine.peer_standing.name == "LIVE"
    assert bench.engine.next_deadline() <= bench.now + BACKLOG_S
    bench.hear(received_at=bench.now - 0.5)
    bench.now += BACKLOG_S
    bench.engine.step(Tick(), bench.now)
    assert bench.engine.peer_standing.name == "LIVE"


def test_peer_whose_waiting_beats_were_not_its_own_is_silent_after_the_backlog() -> None:
    """Beats waited, and none of them was a sign of life: the verdict is late by the backlog, and no
    more.
    """
    bench = Bench(ServiceState.STOPPED)
    while bench.now < 100.0 + TIMEOUT_S:
        bench.now = min(bench.engine.next_deadline(), 100.0 + TIMEOUT_S)
        bench.engine.beats_wait(bench.now)
        bench.engine.step(Tick(), bench.now)
    bench.now += BACKLOG_S
    assert bench.engine.next_deadline() <= bench.now
    bench.engine.step(Tick(), bench.now)
    assert bench.engine.peer_standing.name == "SILENT"


def tick(bench: Bench, is_unread: bool) -> str:
    """A step without an event, as the daemon's loop takes it; the standing of the peer after it."""
    engine = bench.engine
    engine.record_unread(engine.is_verdict_due(bench.now) and is_unread)
    engine.step(Tick(), bench.now)
    return engine.peer_standing.name


def reach_the_verdict(bench: Bench) -> None:
    """The peer is heard no more; now it would be called silent."""
    while bench.now < 100.0 + TIMEOUT_S:
        assert not bench.engine.is_verdict_due(bench.now) and tick(bench, True) == "LIVE"
        bench.now = min(bench.engine.next_deadline(), 100.0 + TIMEOUT_S)
    assert bench.engine.is_verdict_due(bench.now)


def test_beat_that_came_in_and_was_not_read_yet_is_waited_for() -> None:
    """The timeout is over, and a datagram waits in the kernel: it is the peer's, from in time."""
    bench = Bench(ServiceState.STOPPED)
    reach_the_verdict(bench)
    assert tick(bench, True) == "LIVE"
    bench.now += BACKLOG_S / 2
    bench.hear(received_at=100.0 + TIMEOUT_S - 0.01)
    assert tick(bench, False) == "LIVE" and not bench.engine.is_verdict_due(bench.now)
    bench.now += BACKLOG_S
    assert tick(bench, True) == "LIVE"


def test_silence_without_anything_unread_is_a_verdict_at_once() -> None:
    """The loop looked, and nothing waits."""
    bench = Bench(ServiceState.STOPPED)
    reach_the_verdict(bench)
    assert tick(bench, False) == "SILENT"
    assert not bench.engine.is_verdict_due(bench.now)
    bench.now += BACKLOG_S / 2
    # What comes in after that voids no verdict before it is read, and known to be a beat.
    assert tick(bench, True) == "SILENT"
    bench.engine.record_unread(True)
    bench.engine.step(Tick(), bench.now)
    assert bench.engine.peer_standing.name == "SILENT"


def test_flood_delays_a_verdict_by_the_backlog_and_no_more() -> None:
    """Something waits to be read at any time, none of it the peer's."""
    bench = Bench(ServiceState.STOPPED)
    reach_the_verdict(bench)
    assert tick(bench, True) == "LIVE"
    assert bench.engine.next_deadline() <= 100.0 + TIMEOUT_S + BACKLOG_S
    bench.now = 100.0 + TIMEOUT_S + BACKLOG_S - 0.001
    assert tick(bench, True) == "LIVE"
    bench.now = 100.0 + TIMEOUT_S + BACKLOG_S
    assert tick(bench, True) == "SILENT"


def test_beat_that_waited_in_the_kernel_shows_no_stall() -> None:
    """Behind a flood, for longer than a stall: only what waits after its read is one of this node,
    and the peer lives no longer than the beat is young.
    """
    bench = Bench(ServiceState.STOPPED)
    bench.now += TIMEOUT_S / 2
    bench.seq += 1
    beat = Beat("deb2", PEER, bench.seq, Ack(OWN, bench.engine.seq), dict(bench.announced))
    late = BeatReceived(bench.link, beat, 100.5, read_at=bench.now)
    bench.engine.mark_busy_until(bench.now - 0.001)
    done = bench.engine.step(late, bench.now)
    assert not [action for action in done if "stalled" in repr(action)]
    while bench.now < 100.5 + TIMEOUT_S:
        bench.now = min(bench.engine.next_deadline(), 100.5 + TIMEOUT_S)
        tick(bench, False)
    assert bench.engine.peer_standing.name == "SILENT"


def test_stopped_service_is_left_to_a_live_peer_until_it_has_taken_that_into_account() -> None:
    """The peer is busy for a minute and acknowledges nothing: it does not come back here before the
    peer has declined.
    """
    bench = Bench(ServiceState.STARTED)
    bench.announced = dict.fromkeys(NAMES, ServiceState.STOPPED)
    bench.hear()
    bench.engine.step(CommandReceived(1, "svc3", Command.STOP), bench.now)
    bench.engine.step(ScriptExited("svc3", ScriptKind.STOP, ScriptOutcome.OK), bench.now)
    acked = bench.engine.seq - 1
    for _ in range(60):
        bench.now += 1.0
        bench.seq += 1
        beat = Beat("deb2", PEER, bench.seq, Ack(OWN, acked), dict(bench.announced))
        bench.engine.step(BeatReceived(bench.link, beat, bench.now), bench.now)
        assert bench.engine.state_of("svc3") is ServiceState.STOPPED
    assert bench.engine.beat().wants_ack
    bench.hear()
    bench.engine.step(Tick(), bench.now)
    assert bench.engine.state_of("svc3") is ServiceState.START_READY
