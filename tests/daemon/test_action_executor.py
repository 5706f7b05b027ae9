"""Many states at once: written first, on disk with one wait, announced after it, and not started
where that failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from opensvc_openha.core.actions import (
    Action,
    Announce,
    Answer,
    AnswerCode,
    FenceStep,
    GrantPermit,
    Persist,
    Record,
    RememberFencing,
    RunFenceStep,
    RunScript,
    StepKind,
)
from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    Command,
    CommandReceived,
    Event,
    FenceStepEnded,
    RecoveredState,
    RenewalConfirmed,
    StepOutcome,
    Tick,
)
from opensvc_openha.core.facts import Turn
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.daemon.action_executor import ActionExecutor
from tests.daemon.recorded_ports import Surroundings


def _node(
    count: int, surroundings: Surroundings, state: ServiceState = ServiceState.STOPPED
) -> ActionExecutor:
    """A node whose peer is silent, with services that may all start now."""
    links = tuple(
        LinkSpec(name, "net", "eth1", "239.131.50.10", 5010, 0, 2.0) for name in ("deb1", "deb2")
    )
    services = tuple(
        ServiceSpec(f"svc{number}", "/opt/svc", "deb1", "deb2", "/opt/fence")
        for number in range(count)
    )
    recovered = {svc.name: RecoveredState(state) for svc in services}
    memory = FencingMemory(has_heard=True, turn=Turn.HELD)
    return ActionExecutor(
        Engine(
            ClusterSpec("deb1", "deb2", links, services),
            BootId(1, 1),
            recovered,
            100.0,
            fencing=memory,
        ),
        surroundings,
    )


def _run(node: ActionExecutor, until: float) -> None:
    _run_from(node, 100.0, until)


def _run_from(node: ActionExecutor, now: float, until: float) -> None:
    while now < until:
        node.handle(Tick(), now)
        now = max(now, node.engine.next_deadline())


def test_many_states_are_on_disk_with_one_wait_before_they_are_announced() -> None:
    """100 services go to START_READY in one step: no wait for each, one for all, and only then the
    beat.
    """
    surroundings = Surroundings()
    _run(_node(100, surroundings), 102.5)
    persisted = [
        index for index, action in enumerate(surroundings.done) if isinstance(action, Persist)
    ]
    assert len(persisted) == 100 and not any(surroundings.durable)
    assert surroundings.synced_after == [persisted[-1] + 1]
    then = [
        action
        for action in surroundings.done[persisted[-1] + 1 :]
        if not isinstance(action, RememberFencing)
    ]
    assert isinstance(then[0], Announce)


def test_few_states_are_each_on_disk_at_once() -> None:
    """Two services: each write is durable by itself."""
    surroundings = Surroundings()
    _run(_node(2, surroundings), 102.5)
    assert surroundings.durable == [True, True] and surroundings.synced_after == []


def test_nothing_is_started_when_the_one_wait_fails() -> None:
    """The disk fails at the wait: every service is reported once and goes back, and no script
    runs.
    """
    surroundings = Surroundings()
    surroundings.is_disk_broken = True
    _run(_node(100, surroundings), 115.0)
    assert not any(isinstance(action, RunScript) for action in surroundings.done)
    alarms = [
        action
        for action in surroundings.done
        if isinstance(action, Record) and action.new == "NOT WRITTEN"
    ]
    assert len(alarms) == 100


def test_script_of_a_state_that_cannot_be_written_does_not_run() -> None:
    """START_READY was written, the disk fails before STARTING: neither check-up nor start begins,
    and it is reported.
    """
    surroundings = Surroundings()
    node = _node(1, surroundings)
    _run(node, 103.0)
    assert [action.state for action in surroundings.done if isinstance(action, Persist)] == [
        ServiceState.START_READY
    ]
    surroundings.is_disk_broken = True
    _run_from(node, 103.0, 109.0)
    assert not any(isinstance(action, RunScript) for action in surroundings.done)
    alarms = [
        action
        for action in surroundings.done
        if isinstance(action, Record) and action.new == "NOT WRITTEN"
    ]
    assert len(alarms) == 1
    surroundings.is_disk_broken = False
    _run_from(node, 109.0, 600.0)
    assert any(isinstance(action, RunScript) for action in surroundings.done)
    assert [action.new for action in surroundings.done if isinstance(action, Record)].count(
        "WRITTEN"
    ) == 1


def test_action_whose_state_is_not_kept_is_no_success() -> None:
    """freeze-start on a disk that fails: done until the daemon ends, which is not what was asked
    for.
    """
    surroundings = Surroundings()
    node = _node(1, surroundings, ServiceState.STARTED)
    surroundings.is_disk_broken = True
    node.handle(CommandReceived(1, "svc0", Command.FREEZE_START), 100.0)
    answers = [action for action in surroundings.done if isinstance(action, Answer)]
    assert [(answer.is_ok, answer.code) for answer in answers if answer.is_last] == [
        (False, AnswerCode.FAILED)
    ]
    assert answers[-1].detail == "done, but not kept: cannot write the STATE file: I/O error"


class ScriptedEngine:
    """Orders a step of the fence plan, with the note that must be on disk before it."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.spec = ClusterSpec("deb1", "deb2", (), ())

    def step(self, event: object, _now: float) -> list[Action]:
        """The order for a tick, nothing for anything else."""
        self.events.append(event)
        if not isinstance(event, Tick):
            return []
        return [RememberFencing(FencingMemory()), RunFenceStep(STEP)]

    def remembered_fencing(self, _memory: FencingMemory, _is_ok: bool, _now: float) -> None:
        """Nothing to do."""


STEP = FenceStep(3, StepKind.SHOOT, "ipmi", 0, 30.0, ("web",))


def test_step_of_the_fence_plan_begins_once_the_note_is_on_disk() -> None:
    """One whose note cannot be written is not begun, and the engine is told so."""
    surroundings, engine = Surroundings(), ScriptedEngine()
    node = ActionExecutor(cast(Engine, engine), surroundings)
    node.handle(Tick(), 1.0)
    orders = [action for action in surroundings.done if isinstance(action, RunFenceStep)]
    assert [order.step for order in orders] == [STEP] and len(engine.events) == 1

    surroundings.is_note_refused = True
    node.handle(Tick(), 2.0)
    assert sum(isinstance(action, RunFenceStep) for action in surroundings.done) == 1
    ended = engine.events[-1]
    assert isinstance(ended, FenceStepEnded)
    assert (ended.number, ended.outcome) == (3, StepOutcome.NOT_BEGUN)
    assert "cannot write .proc/fencing" in ended.text


class Leased:
    """An engine whose steps give a permit beside a state that must be on disk."""

    def make_room(self) -> None: ...

    def step(self, event: Event, now: float) -> list[Action]:
        return [
            GrantPermit(now),
            Persist("web", ServiceState.STARTED),
            Announce(Beat("deb1", BootId(1, 1), 7, None, {}), False),
        ]

    def confirm_renewal(self, event: RenewalConfirmed, now: float) -> list[GrantPermit]:
        return [GrantPermit(event.began_at)]


def test_permits_wait_for_no_disk() -> None:
    """The watchdog does not wait while a state is being written, nor do later renewals."""
    surroundings, jobs = Surroundings(), list[Callable[[], dict[str, str]]]()
    node = ActionExecutor(cast(Engine, Leased()), surroundings, jobs.append)
    node.handle(Tick(), 5.0)
    assert node.is_writing and len(jobs) == 1
    assert surroundings.done == [GrantPermit(5.0)]
    node.renew(RenewalConfirmed(b"12345678", 7, 5.5, 5.6), 5.7)
    assert surroundings.done == [GrantPermit(5.0), GrantPermit(5.5)]
