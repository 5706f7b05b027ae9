"""How a drill ends that does not pass: what is recorded, taken back, and reported as left."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, cast

import pytest

from opensvc_openha.control import client
from opensvc_openha.core.events import DrillOrder
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.drill import main, switch, takeover
from opensvc_openha.drill.cluster import Cluster
from opensvc_openha.drill.trial import Trial, carry_out
from opensvc_openha.errors import ActionError, RefusedError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.peer_link.protocol import DrillWord
from opensvc_openha.storage.drills import DrillKind, read_drills
from tests.drill.test_refusals import node

S = ServiceState
STOPPED_THERE: Future[None] = Future()
STOPPED_THERE.set_result(None)


class Nodes:
    """Stands for both nodes: the states of a service, and the orders of the other one."""

    def __init__(self, layout: Layout, own: S, peer: S) -> None:
        self.layout = layout
        self.states = own, peer
        self.words: list[DrillWord] = []

    def own(self) -> NodeStatus:
        status = node("deb1")
        own, peer = self.states
        svc = replace(status.services[0], own_state=own, peer_state=peer)
        return replace(status, services=(svc,))

    def order_peer(self, word: DrillWord, services: Sequence[str] = ()) -> None:
        self.words.append(word)

    def cluster(self) -> Cluster:
        return cast(Cluster, self)


def refuse(text: str) -> None:
    raise RefusedError(text)


def test_refusal_after_the_first_step_is_how_a_drill_ended(layout: Layout) -> None:
    """Although nothing was measured yet: what was done is in the report, and so is the problem."""

    def play(trial: Trial) -> None:
        trial.step("deb2 falls silent")
        refuse("the time for the word is over")

    cluster = Nodes(layout, S.STOPPED, S.STARTED).cluster()
    result = carry_out(cluster, DrillKind.TAKEOVER, "web", play)
    assert result.problem == "the time for the word is over"
    assert read_drills(layout).results == (result,)


def test_refusal_before_the_first_step_leaves_no_record(layout: Layout) -> None:
    """Nothing was done: neither a result, nor a drill whose end is missing."""

    def play(trial: Trial) -> None:
        trial.announce("the power of deb2 is cut")
        refuse("deb2 runs web")

    with pytest.raises(RefusedError):
        carry_out(Nodes(layout, S.STOPPED, S.STOPPED).cluster(), DrillKind.POWER, "ipmi", play)
    assert read_drills(layout).results == () and read_drills(layout).begun is None


@pytest.fixture
def moved(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """A service that the first half of a drill has moved from deb1 to deb2."""
    nodes = Nodes(layout, S.STARTED, S.STOPPED)

    def move(trial: Trial, service: str, owner: str, target: str) -> None:
        assert nodes.words == [DrillWord.SPEAK], "whether deb2 takes orders is asked first"
        nodes.states = S.STOPPED, S.STARTED

    monkeypatch.setattr(switch, "_expect_switchable", lambda *_: (nodes.own(), node("deb2")))
    monkeypatch.setattr(switch, "owner_of", lambda *_: "deb1")
    monkeypatch.setattr(switch, "_move", move)
    return nodes


def test_switch_that_ends_halfway_reports_where_the_service_is(
    moved: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ended it; nothing is added about one that runs where it ran."""
    trial = Trial(moved.cluster())
    monkeypatch.setattr(switch, "_settle", lambda *_: refuse("deb1 stalled"))
    with pytest.raises(ActionError, match=r"^deb1 stalled\. web runs on deb2 now, and not on deb1"):
        switch.play_switch(trial, "web")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    moved.words.clear()
    monkeypatch.setattr(switch, "_settle", interrupt)
    with pytest.raises(KeyboardInterrupt):
        switch.play_switch(trial, "web")
    assert [text for text in trial.remarks if "web runs on deb2 now" in text]

    def come_back(*_: Any) -> None:
        moved.states = S.STARTED, S.STOPPED
        refuse("deb1 stalled")

    moved.words.clear()
    monkeypatch.setattr(switch, "_settle", come_back)
    with pytest.raises(ActionError, match="^deb1 stalled$"):
        switch.play_switch(trial, "web")


@pytest.mark.parametrize("states", [(S.STOPPED, S.STOP_FAILED), (S.START_FAILED, S.FROZEN_STOP)])
def test_way_back_does_not_wait_for_what_has_failed(
    states: tuple[S, S], layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported with what it is on both nodes, after the other node speaks and no fence is
    held back; the service stays as it is.
    """
    ended: list[DrillOrder] = []
    monkeypatch.setattr(client, "order_drill", lambda _, order: ended.append(order))
    nodes = Nodes(layout, *states)
    trial = Trial(nodes.cluster())
    shown = f"web is {states[0].name} on deb1, {states[1].name} on deb2: see openha why web"
    with pytest.raises(ActionError) as raised:
        takeover._come_back(trial, ["web"], STOPPED_THERE, 0.0)
    assert str(raised.value) == shown
    assert nodes.words == [DrillWord.SPEAK] and ended == [DrillOrder.END_HOLD]


def test_what_ended_a_takeover_is_its_result_whatever_the_way_back_finds(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second problem is a remark."""
    nodes = Nodes(layout, S.STOPPED, S.STOP_FAILED)
    monkeypatch.setattr(client, "order_drill", lambda *_: [])
    monkeypatch.setattr(takeover, "why_no_takeover", lambda *_: [])
    monkeypatch.setattr(takeover, "_await_silence", lambda *_: refuse("web: STOP_FAILED on deb2"))
    monkeypatch.setattr(Trial, "expect_all_well", lambda _: (nodes.own(), node("deb2")))
    monkeypatch.setattr(Nodes, "close", lambda _: None, raising=False)
    monkeypatch.setattr(Nodes, "order_peer", lambda *_: None)
    result = carry_out(
        nodes.cluster(), DrillKind.TAKEOVER, "web", lambda t: takeover.play_takeover(t, ["web"])
    )
    assert result.problem == "web: STOP_FAILED on deb2"
    assert [text for text in result.remarks if text.startswith("not all of it is taken back: web")]


@pytest.fixture
def handlers() -> Iterator[Callable[[signal.Signals], None]]:
    """Raise a signal in this process, and put its handlers back in the end."""
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = {number: signal.getsignal(number) for number in numbers}
    yield signal.raise_signal
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_has_a_drill_taken_back_and_a_second_one_does_not_end_that(
    number: signal.Signals, handlers: Callable[[signal.Signals], None]
) -> None:
    """The third one does."""
    main.take_signals()
    with pytest.raises(KeyboardInterrupt):
        handlers(number)
    handlers(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        handlers(number)


def test_signal_that_is_ignored_stays_ignored(
    handlers: Callable[[signal.Signals], None],
) -> None:
    """As by `nohup openha drill`."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    main.take_signals()
    handlers(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
