"""Two healthy nodes with many services, whose engines and disks take their time: neither misses the
other for its own work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from opensvc_openha.core.actions import Action
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import Command, Event, ScriptExited
from opensvc_openha.core.peer_word import PeerWord
from opensvc_openha.core.states import ServiceState
from opensvc_openha.daemon.action_executor import ActionExecutor
from opensvc_openha.daemon.inbox import Inbox
from opensvc_openha.verify.invariants import InvariantBroken
from opensvc_openha.verify.random import simulated_daemon
from opensvc_openha.verify.random.plan import Plan, scenario_from_seed
from opensvc_openha.verify.random.random_history import run_history
from opensvc_openha.verify.random.simulated_cluster import Cluster
from opensvc_openha.verify.random.trace import Trace

COUNT = 60
NAMES = tuple(f"svc{number:02}" for number in range(COUNT))
PLAN = Plan(
    services=NAMES,
    net_links=1,
    has_disk=False,
    timeouts_s=(2.0, 2.0),
    check_s=(0.05,),
    scripts_s=(0.2,),
)
FALSE = re.compile(r"-> SILENT|-> DOWN: no beat|peer is silent|STALLED|this node was stalled")


def falsely_announced(plan: Plan, is_faulty: bool = False) -> list[str]:
    """All are unfrozen on one node, then on the other, then stopped on the first: what was reported
    that is not so.
    """
    lines: list[str] = []
    cluster = Cluster(plan, Trace(lines.append))
    first, second = cluster.nodes
    for node in cluster.nodes:
        node.power_on()
    cluster.scheduler.run_until(5.0)
    for node, command, at in (
        (first, Command.UNFREEZE, 60.0),
        (second, Command.UNFREEZE, 80.0),
        (first, Command.STOP, 160.0),
    ):
        for name in plan.services:
            node.order(command, name)
        cluster.scheduler.run_until(at)
    assert is_faulty or all(
        name in second.running and name not in first.running for name in plan.services
    ), lines[-40:]
    return [line for line in lines if FALSE.search(line)]


@pytest.mark.parametrize(
    "step_s, write_s",
    [
        pytest.param(0.01, 0.0, id="slow engine"),
        pytest.param(0.0, 0.08, id="slow disk"),
        pytest.param(0.01, 0.05, id="both"),
    ],
)
def test_own_work_makes_no_silence(step_s: float, write_s: float) -> None:
    """Hundreds of steps and writes, together longer than the links' timeout: no link goes down, and
    all services move.
    """
    assert falsely_announced(replace(PLAN, step_s=step_s, write_s=write_s)) == []


def test_ends_of_scripts_gather_in_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it each has a step here: neither engine nor disk takes any time."""
    steps: list[int] = []
    step_all = Engine.step_all

    def noted(engine: Engine, events: Sequence[Event], now: float) -> list[Action]:
        # Beats without news may lead any step.
        steps.append(sum(isinstance(event, ScriptExited) for event in events))
        return step_all(engine, events, now)

    monkeypatch.setattr(Engine, "step_all", noted)
    assert falsely_announced(replace(PLAN, services=NAMES[:8])) == []
    assert max(steps) > 4
    steps.clear()
    monkeypatch.setattr(simulated_daemon, "_GATHER_FROM", COUNT)
    assert falsely_announced(replace(PLAN, services=NAMES[:8])) == []
    assert max(steps) == 1


def test_disk_that_is_slower_than_the_links_makes_no_silence() -> None:
    """Each state takes longer to write than a link's timeout."""
    assert falsely_announced(replace(PLAN, services=NAMES[:1], write_s=2.5)) == []


WRITTEN_S = 3.5
"""Longer than the links are patient, and than the promise S2 takes a word for new."""


class SlowStart:
    """A service is unfrozen on a node whose disk takes long to write that it is STARTING."""

    def __init__(self, write_s: float = WRITTEN_S) -> None:
        self.lines: list[str] = []
        plan = replace(PLAN, services=NAMES[:1], write_s=write_s)
        self.cluster = Cluster(plan, Trace(self.lines.append))
        self.first, self.second = self.cluster.nodes
        self.first.power_on()
        self.second.power_on()
        self.run(20.0)
        self.first.order(Command.UNFREEZE, NAMES[0])
        self.until(lambda: self.state is ServiceState.STARTING)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.cluster.scheduler.run_until(self.cluster.scheduler.now + seconds)

    def until(self, is_so: Callable[[], bool], limit_s: float = 120.0) -> None:
        """Let time pass until something is so, which must come."""
        limit = self.cluster.scheduler.now + limit_s
        while not is_so():
            self.run(0.05)
            assert self.cluster.scheduler.now < limit, self.lines[-20:]

    @property
    def state(self) -> ServiceState | None:
        """The state of the service on the first node."""
        engine = self.first.engine
        return None if engine is None else engine.state_of(NAMES[0])

    @property
    def put_off(self) -> list[str]:
        """What was logged of starts that did not begin."""
        return [line for line in self.lines if "not begun" in line]


def test_start_does_not_begin_on_a_word_that_aged_while_its_state_was_written() -> None:
    """All links are cut during the write: by its end the peer may have acted. The log says why, and
    the start comes once the links are back.
    """
    slow = SlowStart()
    slow.cluster.cut(slow.cluster.links)
    slow.run(WRITTEN_S + 0.3)
    assert not slow.first.running
    slow.until(lambda: bool(slow.put_off))
    assert re.search(r"the peer, which may have acted since, was not heard for \d", slow.put_off[0])
    slow.cluster.heal()
    slow.until(lambda: bool(slow.first.running))
    assert not slow.second.running


def test_start_on_a_word_that_aged_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: what the peer said never expires."""
    monkeypatch.setattr(PeerWord, "doubt", lambda word, service, waiting, now: None)
    slow = SlowStart()
    slow.cluster.cut(slow.cluster.links)
    with pytest.raises(InvariantBroken, match="start without proof"):
        slow.run(WRITTEN_S + 0.3)


@pytest.mark.parametrize("write_s", [2.5, WRITTEN_S, 8.0])
def test_disk_that_is_slower_than_the_links_keeps_no_start_from_beginning(write_s: float) -> None:
    """Beside a healthy peer the first attempt begins: its beats have come in during the write."""
    slow = SlowStart(write_s)
    slow.until(lambda: bool(slow.first.running), write_s + 0.3)
    assert slow.put_off == []


def test_start_of_what_the_peer_runs_by_now_does_not_begin() -> None:
    """An operator forces it on the peer during the write; its beat waits for the engine."""
    slow = SlowStart()
    assert slow.second.executor is not None
    slow.second.executor._defer = None  # Its disk is quick by now.
    slow.second.order(Command.FORCE_START, NAMES[0])
    slow.until(lambda: bool(slow.put_off))
    assert "the peer reports STARTED by now" in slow.put_off[0]
    slow.run(60.0)
    assert not slow.first.running and slow.state is ServiceState.STOPPED


def test_beats_that_wait_behind_all_else_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: one queue for all, and a verdict by the last beat that was processed. Each
    event has a step of its own here, so that many wait.
    """
    monkeypatch.setattr(Inbox, "take_more", lambda inbox, first: [])
    assert falsely_announced(replace(PLAN, step_s=0.01)) == []

    def put(inbox: Inbox[Event], item: Event) -> None:
        inbox._others.append(item)

    monkeypatch.setattr(Inbox, "put", put)
    monkeypatch.setattr(Engine, "mark_busy_until", lambda engine, until: None)
    assert falsely_announced(replace(PLAN, step_s=0.01), is_faulty=True)


def test_node_that_is_mute_while_it_writes_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: nothing is repeated while states are written."""
    monkeypatch.setattr(ActionExecutor, "speak_meanwhile", lambda node, now: False)
    assert falsely_announced(replace(PLAN, services=NAMES[:1], write_s=2.5), is_faulty=True)


def test_histories_of_busy_nodes_are_among_the_seeds() -> None:
    """Faults of all kinds meet engines and disks that take their time; no promise is broken."""
    seeds = [seed for seed in range(1, 120) if scenario_from_seed(seed).write_s]
    assert len(seeds) >= 6
    for seed in seeds[:6]:
        outcome = run_history(seed, 0.02)
        assert not outcome.failure, "\n".join(
            [f"seed {seed}: {outcome.failure}", *outcome.lines[-40:]]
        )
