"""What happens to several services takes one step: one wait for the disk, one beat, and to each
service the same as if it had come alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest

from opensvc_openha.core.actions import Action, Announce, Answer, Persist, Record, RunScript
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
    SeemsUp,
    StoreFailed,
    Tick,
)
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.core.shared_step import (
    GATHER_FROM,
    SHARED_STEP_MAX,
    ends_to_await,
    shared_step,
)
from opensvc_openha.core.states import ServiceState
from tests.core.pair import CHECK_ALWAYS, TIMEOUT_S, links, services

OWN, PEER = BootId(1, 11), BootId(1, 22)
NAMES = ("mail", "web", "zabbix")
LINKS = links(count=1)


def _started(service: str) -> ScriptExited:
    return ScriptExited(service, ScriptKind.START, ScriptOutcome.OK)


# --- which events ---------------------------------------------------------------------------------


def test_ends_of_scripts_of_distinct_services_share_a_step() -> None:
    """Of start, stop and status scripts, in their order."""
    waiting = [
        ScriptExited(name, kind, ScriptOutcome.FAILED)
        for name, kind in zip(NAMES, (ScriptKind.START, ScriptKind.STOP, ScriptKind.PROBE))
    ]
    assert shared_step(waiting) == waiting


ALONE: dict[str, Event] = {
    "tick": Tick(),
    "fence": ScriptExited("web", ScriptKind.CHECK, ScriptOutcome.OK),
    "power": ScriptExited("web", ScriptKind.POWER, ScriptOutcome.DOWN),
    "order": CommandReceived(1, "web", Command.STOP),
    "not written": StoreFailed("web", "no space left"),
    "sighting": SeemsUp("web"),
    "same service": _started("mail"),
}


@pytest.mark.parametrize("other", ALONE.values(), ids=ALONE)
def test_what_cannot_share_a_step_ends_it(other: Event) -> None:
    """Nothing overtakes it, and it begins the next step."""
    waiting = [_started("mail"), other, _started("zabbix")]
    assert shared_step(waiting) == waiting[:1]
    is_alone = other != _started("mail")
    assert shared_step(waiting[1:]) == (waiting[1:2] if is_alone else waiting[1:])


def test_shared_step_has_a_limit_and_may_be_empty() -> None:
    """Beats wait for it."""
    waiting = [_started(f"svc{number}") for number in range(SHARED_STEP_MAX + 1)]
    assert shared_step(iter(waiting)) == waiting[:-1]
    assert shared_step([]) == []


@pytest.mark.parametrize("command", list(Command))
def test_order_for_many_services_shares_a_step(command: Command) -> None:
    """With no other order, and with no end of a script."""
    orders = [CommandReceived(number, name, command) for number, name in enumerate(NAMES)]
    assert shared_step(orders) == orders
    for other in Command:
        if other is not command:
            assert shared_step([orders[0], CommandReceived(9, "web", other)]) == orders[:1]
    again = CommandReceived(9, orders[0].service, command)
    assert shared_step([*orders[:2], again]) == orders[:2]
    end = _started("web")
    assert shared_step([orders[0], end]) == orders[:1] and shared_step([end, orders[0]]) == [end]


@pytest.mark.parametrize("kind", [ScriptKind.START, ScriptKind.STOP, ScriptKind.PROBE])
def test_end_waits_for_others_while_many_are_under_way(kind: ScriptKind) -> None:
    """For as many as are to come, or as one step may handle; with few of them for none."""
    end = ScriptExited("web", kind, ScriptOutcome.OK)
    assert [ends_to_await(end, under_way) for under_way in (0, 1, GATHER_FROM - 1)] == [0, 0, 0]
    assert ends_to_await(end, GATHER_FROM) == GATHER_FROM - 1
    most = SHARED_STEP_MAX - 1
    assert [ends_to_await(end, count) for count in (most, most + 1, 1000)] == [most - 1, most, most]
    assert ends_to_await(end, 2, least=2) == 1


@pytest.mark.parametrize("first", ALONE.values(), ids=ALONE)
def test_only_what_shares_a_step_waits_for_others(first: Event) -> None:
    """A fence, an order or a tick has its step at once."""
    is_shared = first == _started("mail")
    assert (ends_to_await(first, 1000) > 0) is is_shared


# --- what follows ---------------------------------------------------------------------------------


class Node:
    """deb1's engine, with services in chosen states, whose wrappers are asked."""

    def __init__(self, states: Sequence[ServiceState], peer: ServiceState | None) -> None:
        self.now = 100.0
        names = NAMES[: len(states)]
        spec = ClusterSpec("deb1", "deb2", LINKS, services(*names), fencing=CHECK_ALWAYS)
        recovered = {
            name: RecoveredState(state, must_probe=True)
            for name, state in zip(names, states, strict=True)
        }
        self.engine = Engine(spec, OWN, recovered, self.now)
        self.done: list[Action] = []
        self.step(Tick())
        if peer is not None:
            ack, told = Ack(OWN, self.engine.seq), dict.fromkeys(names, peer)
            beat = Beat("deb2", PEER, 1, ack, told)
            self.step(BeatReceived(spec.listeners[0], beat, self.now))
        else:
            self.now += TIMEOUT_S + 1
            self.step(Tick())
        self.settle()

    def step(self, *events: Event) -> list[Action]:
        """One step."""
        done = self.engine.step_all(events, self.now)
        self.done += done
        return done

    def settle(self) -> None:
        """The steps that follow in the same instant."""
        for _ in range(20):
            if self.engine.next_deadline() > self.now:
                return
            self.step(Tick())
        raise AssertionError("it never rests")

    def prepare(self, end: ScriptExited) -> None:
        """Let the script run that is to end, where that can be ordered."""
        if end.kind is not ScriptKind.PROBE:
            # The wrapper is asked first.
            self.step(ScriptExited(end.service, ScriptKind.PROBE, ScriptOutcome.UNSURE))
            command = Command.FORCE_START if end.kind is ScriptKind.START else Command.FREEZE_STOP
            self.step(CommandReceived(1, end.service, command))
            self.settle()

    def of(self, service: str) -> list[Action]:
        """What was done for one service, in its order."""
        kinds = (Persist, RunScript, Answer)
        return [
            action
            for action in self.done
            if (isinstance(action, kinds) and action.service == service)
            or (isinstance(action, Record) and action.name == service)
        ]


def _ends(service: str) -> Iterator[ScriptExited]:
    for outcome in (
        ScriptOutcome.UP,
        ScriptOutcome.DOWN,
        ScriptOutcome.SOME,
        ScriptOutcome.UNSURE,
    ):
        yield ScriptExited(service, ScriptKind.PROBE, outcome)
    for kind in (ScriptKind.START, ScriptKind.STOP):
        for outcome in (ScriptOutcome.OK, ScriptOutcome.FAILED):
            yield ScriptExited(service, kind, outcome)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "peer",
    [None, ServiceState.STOPPED, ServiceState.START_READY, ServiceState.STARTED],
    ids=str,
)
@pytest.mark.parametrize("state", list(ServiceState), ids=str)
def test_each_service_fares_as_if_its_event_had_come_alone(
    state: ServiceState, peer: ServiceState | None
) -> None:
    """Every pair of ends of scripts, in one step and in two; what was ordered makes them run."""
    other = ServiceState.STARTED if peer is ServiceState.STOPPED else ServiceState.STOPPED
    for first, second in itertools.product(_ends("mail"), _ends("web")):
        shared, apart = (Node((state, other), peer) for _ in range(2))
        for node, end in itertools.product((shared, apart), (first, second)):
            node.prepare(end)
        beats = [one for one in shared.step(first, second) if isinstance(one, Announce)]
        assert len(beats) <= 1
        apart.step(first)
        apart.step(second)
        shared.settle()
        apart.settle()
        for name in ("mail", "web"):
            assert shared.of(name) == apart.of(name), (first, second)
        assert shared.engine.beat().states == apart.engine.beat().states


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "peer",
    [None, ServiceState.STOPPED, ServiceState.START_READY, ServiceState.STARTED],
    ids=str,
)
@pytest.mark.parametrize("states", list(itertools.combinations(ServiceState, 2)), ids=str)
def test_each_service_fares_as_if_its_order_had_come_alone(
    states: tuple[ServiceState, ServiceState], peer: ServiceState | None
) -> None:
    """Every order for two services, in one step and in two, with and without their wrappers' word;
    each has its answers.
    """
    for command, was_asked in itertools.product(Command, (False, True)):
        shared, apart = (Node(states, peer) for _ in range(2))
        for node, name in itertools.product((shared, apart), ("mail", "web")):
            if was_asked:
                node.step(ScriptExited(name, ScriptKind.PROBE, ScriptOutcome.DOWN))
                node.settle()
        orders = [CommandReceived(n, name, command) for n, name in enumerate(("mail", "web"), 1)]
        beats = [one for one in shared.step(*orders) if isinstance(one, Announce)]
        assert len(beats) <= 1
        for order in orders:
            apart.step(order)
        shared.settle()
        apart.settle()
        for order in orders:
            name = order.service
            assert shared.of(name) == apart.of(name), (command, was_asked)
            answers = [one for one in shared.of(name) if isinstance(one, Answer)]
            assert {one.command_id for one in answers} <= {order.command_id}
        assert shared.engine.beat().states == apart.engine.beat().states


def test_all_states_are_written_before_one_beat_and_all_scripts_come_after_it() -> None:
    """Three stops end at once: three states, one beat with all of them, then what follows."""
    node = Node([ServiceState.STARTED] * 3, None)
    for name in NAMES:
        node.step(ScriptExited(name, ScriptKind.PROBE, ScriptOutcome.UP))
        node.step(CommandReceived(1, name, Command.FREEZE_STOP))
    done = node.step(*(ScriptExited(name, ScriptKind.STOP, ScriptOutcome.OK) for name in NAMES))
    kinds = [type(action) for action in done if isinstance(action, (Persist, Announce, Answer))]
    assert kinds == [Persist] * 3 + [Announce] + [Answer] * 6
    (beat,) = (action.beat for action in done if isinstance(action, Announce))
    assert {beat.states[name] for name in NAMES} == {ServiceState.FROZEN_STOP}


def test_service_that_moved_moves_no_further_in_the_same_step() -> None:
    """A state leads on at once, but it is written and announced first, whatever else happens."""
    node = Node([ServiceState.STARTED] * 2, None)
    for name in NAMES[:2]:
        node.step(ScriptExited(name, ScriptKind.PROBE, ScriptOutcome.UP))
        node.step(CommandReceived(1, name, Command.STOP))
    done = node.step(*(ScriptExited(name, ScriptKind.STOP, ScriptOutcome.OK) for name in NAMES[:2]))
    moves = [action.service for action in done if isinstance(action, Persist)]
    assert moves == list(NAMES[:2])
