"""A beat without news waits for the next step, and makes no difference by that."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from opensvc_openha.core.actions import Action, Announce, RememberFencing
from opensvc_openha.core.beat import LEGACY_INCARNATION, Ack, Beat, BootId, Goodbye
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    ConfigChanged,
    Event,
    ExpectedBeats,
    Leaving,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    Tick,
)
from opensvc_openha.core.expected_beat import ExpectedBeat
from opensvc_openha.core.facts import Facts, Reach, Turn
from opensvc_openha.core.fencing import Flight
from opensvc_openha.core.lease_owner import Watchdog
from opensvc_openha.core.model import FencePath, FencingPolicy, PathKind, Profile
from opensvc_openha.core.promise import Promise
from opensvc_openha.core.shared_step import shared_step
from opensvc_openha.core.states import ServiceState
from tests.core.pair import Host, Pair, links
from tests.seeds import seeds

LINKS = links(count=2)[2:]
OWN, PEER = BootId(3, 33), BootId(5, 55)
STATES = {"registry": ServiceState.STARTED}
FACTS = Facts(fence_s=1.0)
EXPECTED = ExpectedBeat("deb2", PEER, 7, STATES, FACTS, 1.0, True, LINKS, OWN, 9)
BEAT = BeatReceived(
    LINKS[0],
    Beat("deb2", PEER, 8, Ack(OWN, 9), dict(STATES), facts=replace(FACTS)),
    100.0,
    key_id="k",
)


def test_beat_with_the_same_content_has_no_news() -> None:
    """A copy by another link, and one that acknowledges less, are such beats."""
    assert EXPECTED.matches(BEAT)
    assert EXPECTED.matches(replace(BEAT, link=LINKS[1], beat=replace(BEAT.beat, seq=7)))
    assert EXPECTED.matches(replace(BEAT, beat=replace(BEAT.beat, ack=Ack(OWN, 2), sent_at=3.0)))


NEWS: dict[str, dict[str, Any]] = {
    "another node": {"node": "deb3"},
    "another incarnation": {"boot": BootId(6, 55)},
    "older": {"seq": 6},
    "acknowledges nothing": {"ack": None},
    "acknowledges another incarnation": {"ack": Ack(BootId(2, 33), 9)},
    "acknowledges what was not sent": {"ack": Ack(OWN, 10)},
    "answers only": {"ack": Ack(OWN, 9, is_taken=False)},
    "another state": {"states": {"registry": ServiceState.STOPPING}},
    "another service": {"states": {**STATES, "mail": ServiceState.STOPPED}},
    "other facts": {"facts": replace(FACTS, unready=frozenset({"registry"}))},
    "no facts": {"facts": None},
    "goodbye": {"goodbye": Goodbye.LEFT},
    "question": {"wants_ack": True},
    "names to come": {"is_complete": False},
    "another pace": {"interval_s": 0.1},
    "notice": {"mute": frozenset({b"m"})},
}


@pytest.mark.parametrize("change", NEWS.values(), ids=NEWS)
def test_whatever_else_a_beat_brings_is_news(change: dict[str, Any]) -> None:
    """It has a step at once."""
    assert not EXPECTED.matches(replace(BEAT, beat=replace(BEAT.beat, **change)))


def test_beat_by_another_way_is_news() -> None:
    """By a link that is down, or is not of the configuration; with a key, or without."""
    assert not EXPECTED.matches(replace(BEAT, link=links(count=1)[0]))
    assert not EXPECTED.matches(replace(BEAT, key_id=""))
    assert not EXPECTED._replace(is_authentic=False).matches(BEAT)
    assert EXPECTED._replace(is_authentic=False).matches(replace(BEAT, key_id=""))


def test_beats_without_news_lead_the_next_step() -> None:
    """Whatever that is about; they are no step of their own where something waits."""
    first, second = (
        ScriptExited(name, ScriptKind.STOP, ScriptOutcome.OK) for name in ("mail", "web")
    )
    beats = ExpectedBeats((BEAT,))
    assert shared_step([beats, first, second, Tick()]) == [beats, first, second]
    assert shared_step([beats, Tick(), first]) == [beats, Tick()]
    assert shared_step([beats, BEAT, first]) == [beats, BEAT]
    assert shared_step([first, beats, second]) == [first]
    assert shared_step([beats]) == [beats]


# --- when nothing is expected ---------------------------------------------------------------------


def _engine(host: Host) -> Engine:
    assert host.engine is not None
    return host.engine


def _settled(**options: Any) -> tuple[Pair, Host]:
    pair = Pair(**options)
    deb1, _ = pair.start_on_deb1()
    pair.run(5)
    return pair, deb1


def test_engine_at_rest_expects_what_its_peer_sends() -> None:
    """On each link that is up."""
    pair, deb1 = _settled()
    expected = _engine(deb1).expected
    assert expected is not None and expected.links == _engine(deb1).spec.listeners
    assert expected.matches(
        BeatReceived(expected.links[0], _engine(pair.deb2).beat(), pair.now, key_id=pair.key_id)
    )
    pair.cut.add(("deb2", expected.links[0]))
    pair.run(12)
    expected = _engine(deb1).expected
    assert expected is not None and expected.links == _engine(deb1).spec.listeners[1:]


def _silence(pair: Pair) -> None:
    pair.cut_all("deb2")
    pair.run(12)


def _busy(pair: Pair) -> None:
    pair.cut_all("deb1")
    pair.deb1.command(Command.STOP)
    pair.run(1.5)


DISTURBANCES: dict[str, Callable[[Pair], None]] = {
    "silent peer": _silence,
    "acknowledgement awaited": _busy,
    "peer gone": lambda pair: (pair.deb2.leave(Leaving.KEEP_SERVICES), pair.run(1))[0],
    "leaving": lambda pair: pair.deb1.leave(Leaving.STOP_SERVICES),
}


@pytest.mark.parametrize("disturb", DISTURBANCES.values(), ids=DISTURBANCES)
def test_nothing_is_expected_while_something_is_awaited(disturb: Callable[[Pair], None]) -> None:
    """Each beat may matter."""
    pair, deb1 = _settled()
    assert _engine(deb1).expected is not None
    disturb(pair)
    assert _engine(deb1).expected is None


OPEN: dict[str, Callable[[Engine], object]] = {
    "a service to be started": lambda engine: engine._work.starting.add("registry"),
    "an acknowledgement": lambda engine: engine._work.unacknowledged.add("registry"),
    "frozen disks": lambda engine: engine._work.given_up.add("registry"),
    "a service away from its primary": lambda engine: engine._work.away.add("registry"),
    "a drill": lambda engine: setattr(engine._drill, "held_until", 1e9),
    "no target answers": lambda engine: setattr(engine._connectivity, "reach", Reach.ISOLATED),
    "a watchdog": lambda engine: setattr(engine._lease, "_watchdog", Watchdog.ARMED),
    "this node's departure": lambda engine: setattr(
        engine._departure, "leaving", Leaving.STOP_SERVICES
    ),
    "silence on purpose": lambda engine: setattr(engine._silence, "services", ("registry",)),
    "a claim": lambda engine: setattr(engine._fencing.turns, "turn", Turn.CLAIMED),
    "other turns": lambda engine: setattr(engine._fencing.turns, "_next_seq", 10**9),
    "known times": lambda engine: setattr(engine._fencing.turns, "_timed_seq", 10**9),
    "a fence": lambda engine: setattr(engine._fencing, "_flight", Flight("g", "registry", 1.0)),
    "an operator's word": lambda engine: engine._fencing.confirm("root", 1.0),
    "an unanswered boot": lambda engine: setattr(engine._fencing, "has_heard", False),
    "a lease of the peer": lambda engine: engine._fencing.desk.lease.reconfigure(
        replace(
            engine.spec, fencing=FencingPolicy(levels=((FencePath("l", PathKind.LEASE, 1.0),),))
        )
    ),
}


@pytest.mark.parametrize("begin", OPEN.values(), ids=OPEN)
def test_nothing_is_expected_while_something_is_open(begin: Callable[[Engine], object]) -> None:
    """Whatever a beat may end, or say more of."""
    _, deb1 = _settled()
    engine = _engine(deb1)
    assert engine.expected is not None
    begin(engine)
    assert engine.expected is None


def test_nothing_is_expected_of_a_c_openha() -> None:
    """Each of its beats counts."""
    _, deb1 = _settled()
    view = _engine(deb1)._peer.view
    assert view.newest is not None
    view._newest = replace(view.newest, boot=LEGACY_INCARNATION)
    assert _engine(deb1).expected is None


@pytest.mark.parametrize(
    "change",
    [{"silent_s": 0.5}, {"promise": Promise(9.0, frozenset(), False, False)}],
    ids=["silence", "promise"],
)
def test_nothing_is_expected_of_what_each_beat_renews(change: dict[str, Any]) -> None:
    """How long the peer has missed this node, and what it promises."""
    pair, deb1 = _settled()
    engine, newest = _engine(deb1), _engine(deb1)._peer.view.newest
    assert newest is not None and newest.facts is not None
    beat = replace(newest, seq=newest.seq + 1, facts=replace(newest.facts, **change))
    engine.step(BeatReceived(engine.spec.listeners[0], beat, pair.now), pair.now)
    assert engine.expected is None


# --- no difference --------------------------------------------------------------------------------


class Twin:
    """An engine that gets what another one gets, but beats without news only in a later step."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.done: list[tuple[float, Action]] = []
        self.waiting: list[BeatReceived] = []
        self.waited = self.steps = 0

    def take(self, event: Event, now: float) -> None:
        """Handle an event, or keep it."""
        expected = self.engine.expected
        if isinstance(event, BeatReceived) and expected is not None and expected.matches(event):
            self.waiting.append(event)
            self.waited += 1
            return
        beats, self.waiting = tuple(self.waiting), []
        events = (ExpectedBeats(beats), event) if beats else (event,)
        self.steps += 1
        for action in self.engine.step_all(events, now):
            self.done.append((now, action))
            if isinstance(action, RememberFencing):
                self.engine.remembered_fencing(action.memory, True, now)


class TwinHost(Host):
    """A node whose daemon has a twin; what both do must be the same, instant by instant."""

    twin: Twin | None = None
    waited = steps = steps_at_once = 0

    def start_daemon(
        self, spec: Any, boot: BootId, recovered: Any, *rest: Any, **more: Any
    ) -> None:
        """Start both."""
        store = self.store
        known, now = dict(store.incarnations), self.now
        self.twin = Twin(Engine(spec, boot, recovered, now, known, fencing=store.fencing))
        self.done: list[tuple[float, Action]] = []
        super().start_daemon(spec, boot, recovered, *rest, **more)
        engine = self.engine
        assert engine is not None
        step_all = engine.step_all

        def noted(events: Sequence[Event], now: float) -> list[Action]:
            done = step_all(events, now)
            self.done += [(now, action) for action in done]
            self.steps_at_once += 1
            return done

        engine.step_all = noted  # type: ignore[method-assign]

    def step(self, event: Event) -> None:
        """Let both handle it; each has ticks of its own."""
        twin, now = self.twin, self.now
        assert twin is not None
        self._compare(twin, now)
        super().step(event)
        if not isinstance(event, Tick) or twin.steps == 0:
            self._take(twin, event)

    def _take(self, twin: Twin, event: Event) -> None:
        if twin is not self.twin or self.engine is None:
            return
        waited, steps = twin.waited, twin.steps
        twin.take(event, self.now)
        self.waited += twin.waited - waited
        self.steps += twin.steps - steps
        due = max(self.now, twin.engine.next_deadline())
        self.pair.schedule_at(due, self._tick_twin, twin)

    def _tick_twin(self, twin: Twin) -> None:
        if twin.engine.next_deadline() <= self.now:
            self._take(twin, Tick())

    def _compare(self, twin: Twin, now: float) -> None:
        """Compare what was done before this instant."""
        own = [each for each in self.done if each[0] < now]
        other = [each for each in twin.done if each[0] < now]
        assert other == own
        del self.done[: len(own)], twin.done[: len(other)]
        if self.engine is None or self.done or twin.done or twin.waiting:
            return
        assert twin.engine.snapshot(now) == self.engine.snapshot(now)


class Twins(Pair):
    """Both nodes have one."""

    def __init__(self, **options: Any) -> None:
        super().__init__("registry", "mail", **options)
        self.deb1, self.deb2 = TwinHost(self, 0), TwinHost(self, 1)
        for host in (self.deb1, self.deb2):
            host.peer = self.other(host)


def _history(pair: Twins, dice: random.Random) -> None:
    """Cuts, crashes, orders, forged beats, stalls and long rests, in any order."""
    nodes = pair.deb1, pair.deb2
    # Never at the instant of a deadline: which is first then is open.
    pair.delay_s = lambda: dice.choice((0.0, 0.0005, 0.001, 0.02)) + dice.uniform(0.0, 1e-5)
    pair.start_on_deb1()
    for _ in range(40):
        host = dice.choice(nodes)
        what = dice.randrange(12)
        if what == 0:
            pair.cut.add((host.name, dice.choice([x for x in pair.links if x.node == host.name])))
        elif what == 1:
            pair.cut.clear()
        elif what == 2:
            pair.cut_all(host.name)
        elif what == 3 and host.engine is not None:
            host.command(dice.choice(list(Command)), dice.choice(("registry", "mail")))
        elif what == 4 and host.engine is None:
            host.boot_from_files()
        elif what == 5 and host.engine is not None:
            host.kill_daemon()
        elif what == 6 and host.engine is not None:
            host.leave(dice.choice(list(Leaving)))
        elif what == 7 and host.engine is not None and host.peer.engine is not None:
            forged = replace(host.peer.engine.beat(), seq=dice.randrange(200), ack=None)
            host.give(BeatReceived(host.engine.spec.listeners[0], forged, pair.now))
        elif what == 8 and host.engine is not None:
            host.give(ConfigChanged(host.engine.spec, {}))
        pair.run(dice.choice((0.01, 0.3, 2.0, 7.0, 15.0)))


@pytest.mark.parametrize("seed", seeds(12, 4))
def test_beats_that_wait_make_no_difference(seed: int) -> None:
    """Random histories: the same actions at the same instants, the same status, far fewer steps."""
    dice = random.Random(seed)
    is_fast = seed % 3 == 0
    pair = Twins(
        timeout_s=0.3 if is_fast else dice.choice((2.0, 10.0)),
        profile=Profile.FAST if is_fast else Profile.TUTORIAL,
    )
    pair.key_id = dice.choice(("", "k"))
    pair.fencing = dice.choice((pair.fencing, FencingPolicy()))
    pair.invariants = None
    _history(pair, dice)
    for host in (pair.deb1, pair.deb2):
        assert isinstance(host, TwinHost)
        assert host.waited > 0 and host.steps < host.steps_at_once


def test_node_at_rest_takes_a_step_for_each_beat_of_its_own() -> None:
    """Two links: without the wait there were two more, or three."""
    pair = Twins()
    deb1, _ = pair.start_on_deb1()
    assert isinstance(deb1, TwinHost)
    pair.run(5)
    steps, steps_at_once = deb1.steps, deb1.steps_at_once
    sent = _engine(deb1).seq
    pair.run(60)
    beats = _engine(deb1).seq - sent
    assert 60 <= beats <= 62
    assert deb1.steps - steps == beats
    assert deb1.steps_at_once - steps_at_once >= 3 * beats - 3


def test_each_beat_acknowledges_all_that_came_in_before_it() -> None:
    """Those that waited, too."""
    pair, deb1 = _settled()
    engine = _engine(deb1)
    newest = engine._peer.view.newest
    assert newest is not None
    now = engine.next_deadline()
    waiting = tuple(
        BeatReceived(link, replace(newest, seq=newest.seq + 1), now - 0.1)
        for link in engine.spec.listeners
    )
    expected = engine.expected
    assert expected is not None and all(map(expected.matches, waiting))
    (sent,) = [
        action
        for action in engine.step_all((ExpectedBeats(waiting), Tick()), now)
        if isinstance(action, Announce)
    ]
    assert sent.beat.ack == Ack(newest.boot, newest.seq + 1)
    assert {heard.updated_at for heard in engine.snapshot(now).links} == {now - 0.1}


def test_wait_for_the_step_is_no_stall() -> None:
    """However long it was: the step is in time, and none is later than its deadline."""
    pair, deb1 = _settled(timeout_s=0.3, profile=Profile.FAST)
    engine = _engine(deb1)
    newest, now = engine._peer.view.newest, engine.next_deadline()
    assert newest is not None
    beat = BeatReceived(engine.spec.listeners[0], replace(newest, seq=newest.seq + 1), now - 0.099)
    engine.step_all((ExpectedBeats((beat,)), Tick()), now)
    assert engine.late_s == 0.0
    late = engine.next_deadline() + 0.2
    engine.step_all((ExpectedBeats((replace(beat, received_at=late),)), Tick()), late)
    assert engine.late_s == pytest.approx(0.2)
