"""Many states at once: written first, on disk with one wait, announced after it, and not started
where that failed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from opensvc_openha.core.actions import (
    Action,
    Announce,
    Answer,
    AnswerCode,
    Exit,
    FenceStep,
    GrantPermit,
    HoldWatchdog,
    MirrorPeer,
    Persist,
    Record,
    RecordKind,
    RememberFencing,
    RememberIncarnations,
    RenewWitness,
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
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    StepOutcome,
    StoreFailed,
    Tick,
)
from opensvc_openha.core.facts import Turn
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.daemon.action_executor import ActionExecutor
from opensvc_openha.errors import SystemFault
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
    assert len(persisted) == 100 and surroundings.waits == 1
    then = [
        action
        for action in surroundings.done[persisted[-1] + 1 :]
        if not isinstance(action, RememberFencing)
    ]
    assert isinstance(then[0], Announce)


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

    def step_all(self, events: list[Event], _now: float) -> list[Action]:
        """The order for a tick, nothing for anything else."""
        self.events += events
        if not isinstance(events[0], Tick):
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

    def step_all(self, events: list[Event], now: float) -> list[Action]:
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


# --- each action to its port, whatever the engine orders ------------------------------------------


class Disk(Surroundings):
    """A disk that refuses the states of some services."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()

    def persist(self, action: Persist) -> None:
        """Written, unless it is refused."""
        if action.service in self.refused:
            raise SystemFault(f"cannot write {action.service}: no space left")
        super().persist(action)

    def of(self, *kinds: type) -> list[Action]:
        """What was done of these kinds."""
        return [action for action in self.done if isinstance(action, kinds)]


class Ordering:
    """Answers each event with the next of the orders that the test wrote down."""

    def __init__(self, *orders: list[Action]) -> None:
        self.spec = ClusterSpec("deb1", "deb2", (), ())
        self.orders = list(orders)
        self.events: list[object] = []
        self.steps: list[int] = []
        self.noted: list[tuple[object, ...]] = []
        self.repeat_at = 100.0
        self.beat: Announce | None = BEAT

    def step_all(self, events: list[Event], now: float) -> list[Action]:
        self.events += events
        self.steps.append(len(events))
        return self.orders.pop(0) if self.orders else []

    def make_room(self) -> None:
        self.noted.append(("make room",))

    def wrote(self, now: float) -> None:
        self.noted.append(("wrote", now))

    def remembered_fencing(self, memory: FencingMemory, is_ok: bool, now: float) -> None:
        self.noted.append(("remembered", memory, is_ok, now))

    def repeat(self, now: float) -> Announce | None:
        self.noted.append(("repeat", now))
        return self.beat

    def renew_meanwhile(self, seq: int) -> list[Action]:
        return [RenewWitness(seq)]


BEAT = Announce(Beat("deb1", BootId(1, 1), 7, None, {}), False)
MEMORY = FencingMemory(has_heard=True)


def _executor(
    engine: Ordering, disk: Disk, jobs: list[Callable[[], dict[str, str]]] | None = None
) -> ActionExecutor:
    return ActionExecutor(cast(Engine, engine), disk, None if jobs is None else jobs.append)


def _script(service: str, kind: ScriptKind = ScriptKind.START) -> RunScript:
    return RunScript(service, kind, "/opt/it", ServiceState.UNKNOWN, PeerStanding.SILENT)


def _answer(service: str = "web", is_last: bool = True, is_ok: bool = True) -> Answer:
    return Answer(
        1, "stop", service, AnswerCode.STOPPED, ServiceState.STOPPED, ServiceState.UNKNOWN,
        "as asked", is_last, is_ok,
    )  # fmt: skip


def test_each_order_is_carried_out_in_its_place() -> None:
    """What is not written with the states comes after them in the order of the step."""
    rest: list[Action] = [
        BEAT,
        RememberIncarnations((("k1", BootId(3, 9)),)),
        MirrorPeer("web", ServiceState.STOPPED),
        _script("web"),
        RunFenceStep(STEP),
        HoldWatchdog(107.0),
        Record(RecordKind.SERVICE, "web", "STOPPED", "STARTED", "as asked"),
        _answer(),
        _answer(is_last=False),
    ]
    engine, disk = Ordering([Persist("web", ServiceState.STARTING), *rest], [Exit()]), Disk()
    node = _executor(engine, disk)
    assert not node.is_done and node.changes == 0 and node.writes_held == 0
    node.handle(Tick(), 5.0)
    assert disk.done == [Persist("web", ServiceState.STARTING), *rest]
    assert node.changes == 1 and not node.is_done and not node.is_writing
    assert engine.noted == [], "states are written at once here"
    node.handle(Tick(), 6.0)
    assert node.is_done and len(engine.events) == 2


def test_scripts_are_under_way_until_their_end_comes() -> None:
    """Those whose ends share a step: no fence, and none that was not begun."""
    kinds = [ScriptKind.START, ScriptKind.STOP, ScriptKind.PROBE, ScriptKind.CHECK]
    orders: list[Action] = [_script("web", kind) for kind in kinds]
    orders += [Persist("mail", ServiceState.STARTING), _script("mail")]
    disk = Disk()
    disk.refused = {"mail"}
    node = _executor(Ordering(orders), disk)
    node.handle(Tick(), 5.0)
    assert node.scripts_under_way == 3
    for kind, left in zip(kinds, (2, 1, 0, 0), strict=True):
        node.handle(ScriptExited("web", kind, ScriptOutcome.FAILED), 6.0)
        assert node.scripts_under_way == left


@pytest.mark.parametrize("state", list(ServiceState))
def test_only_a_start_needs_its_state_on_disk(state: ServiceState) -> None:
    """Nothing starts without it, and the engine learns why; everything else continues."""
    engine = Ordering([Persist("web", state), _script("web"), _script("mail")])
    disk = Disk()
    disk.refused = {"web"}
    _executor(engine, disk).handle(Tick(), 1.0)
    is_start = state in (ServiceState.START_READY, ServiceState.STARTING)
    failed = StoreFailed("web", "cannot write web: no space left")
    assert engine.events == [Tick(), *([failed] if is_start else [])]
    started = [one.service for one in disk.of(RunScript) if isinstance(one, RunScript)]
    assert started == (["mail"] if is_start else ["web", "mail"])


def test_state_that_is_on_disk_is_started() -> None:
    """The same order on a disk in order."""
    engine, disk = Ordering([Persist("web", ServiceState.STARTING), _script("web")]), Disk()
    _executor(engine, disk).handle(Tick(), 1.0)
    assert disk.of(RunScript) == [_script("web")] and engine.events == [Tick()]


def test_each_service_is_reported_when_its_state_is_written_again() -> None:
    """Once at the beginning and once at the end, each of them, with an alarm for the first only."""
    order: list[Action] = [
        Persist("web", ServiceState.STOPPING),
        Persist("mail", ServiceState.STOPPED),
    ]
    engine, disk = Ordering(*[list(order) for _ in range(5)]), Disk()
    node = _executor(engine, disk)
    for refused in ({"web"}, {"web", "mail"}, {"mail"}, set[str](), set[str]()):
        disk.refused = refused
        node.handle(Tick(), 1.0)
    seen = [
        (one.kind, one.name, one.old, one.new, one.is_alarm)
        for one in disk.of(Record)
        if isinstance(one, Record)
    ]
    assert seen == [
        (RecordKind.SERVICE, "web", "STOPPING", "NOT WRITTEN", True),
        (RecordKind.SERVICE, "mail", "STOPPED", "NOT WRITTEN", True),
        (RecordKind.SERVICE, "web", "STOPPING", "WRITTEN", False),
        (RecordKind.SERVICE, "mail", "STOPPED", "WRITTEN", False),
    ]
    assert node.changes == 0, "the engine changed nothing"


def test_note_of_fencing_is_reported_when_it_is_written_again() -> None:
    """The engine learns each time whether it was; the history has the first and the last."""
    engine, disk = Ordering(*[list[Action]([RememberFencing(MEMORY)]) for _ in range(5)]), Disk()
    node = _executor(engine, disk)
    for number, is_refused in enumerate((False, True, True, False, False)):
        disk.is_note_refused = is_refused
        node.handle(Tick(), float(number))
    assert engine.noted == [
        ("remembered", MEMORY, not is_refused, float(number))
        for number, is_refused in enumerate((False, True, True, False, False))
    ]
    seen = [
        (one.kind, one.name, one.old, one.new, one.is_alarm)
        for one in disk.of(Record)
        if isinstance(one, Record)
    ]
    assert seen == [
        (RecordKind.NODE, "deb1", "", "NOT WRITTEN", True),
        (RecordKind.NODE, "deb1", "", "WRITTEN", False),
    ]


@pytest.mark.parametrize("kind", list(ScriptKind))
@pytest.mark.parametrize("is_refused", [False, True], ids=["kept", "refused"])
def test_check_up_needs_the_note_of_fencing(kind: ScriptKind, is_refused: bool) -> None:
    """Without it on disk it is put off; other scripts fence no node."""
    engine, disk = Ordering([RememberFencing(MEMORY), _script("web", kind)]), Disk()
    disk.is_note_refused = is_refused
    _executor(engine, disk).handle(Tick(), 1.0)
    is_put_off = is_refused and kind is ScriptKind.CHECK
    assert disk.of(RunScript) == ([] if is_put_off else [_script("web", kind)])
    problem = "cannot write .proc/fencing: I/O error"
    assert engine.events[1:] == (
        [ScriptExited("web", kind, ScriptOutcome.POSTPONED, problem)] if is_put_off else []
    )


@pytest.mark.parametrize("refused", [(), ("web",), ("mail",), ("web", "mail")], ids=str)
def test_fence_step_serves_somebody(refused: tuple[str, ...]) -> None:
    """It begins while the state of one of its services is on disk, and not for none of them."""
    step = FenceStep(4, StepKind.SHOOT, "ipmi", 0, 30.0, ("web", "mail"))
    states: list[Action] = [Persist(name, ServiceState.START_READY) for name in step.services]
    engine, disk = Ordering([*states, RunFenceStep(step)]), Disk()
    disk.refused = set(refused)
    _executor(engine, disk).handle(Tick(), 1.0)
    is_for_nobody = len(refused) == 2
    assert disk.of(RunFenceStep) == ([] if is_for_nobody else [RunFenceStep(step)])
    ended = [event for event in engine.events if isinstance(event, FenceStepEnded)]
    why = "cannot write web: no space left"
    assert ended == (
        [FenceStepEnded(4, StepOutcome.NOT_BEGUN, why, took_s=0.0)] if is_for_nobody else []
    )


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("is_ok", [False, True])
@pytest.mark.parametrize("refused", ["web", "mail"])
def test_only_a_last_good_answer_becomes_a_failure(
    is_last: bool, is_ok: bool, refused: str
) -> None:
    """And only of the service whose state is not kept; no other answer is touched."""
    answer = _answer(is_last=is_last, is_ok=is_ok)
    order: list[Action] = [Persist(name, ServiceState.STOPPED) for name in ("web", "mail")]
    disk = Disk()
    disk.refused = {refused}
    _executor(Ordering([*order, answer]), disk).handle(Tick(), 1.0)
    if is_last and is_ok and refused == "web":
        answer = replace(
            answer,
            code=AnswerCode.FAILED,
            is_ok=False,
            detail="done, but not kept: cannot write web: no space left",
        )
    assert disk.of(Answer) == [answer]


# --- several events in one step -------------------------------------------------------------------


def _ended(service: str) -> ScriptExited:
    return ScriptExited(service, ScriptKind.START, ScriptOutcome.OK)


def test_what_happens_to_several_services_takes_one_step() -> None:
    """One wait for the disk and one beat for all of them; what is second for one comes after it."""
    states: list[Action] = [Persist(name, ServiceState.STARTED) for name in ("web", "mail")]
    engine, disk = Ordering([*states, BEAT]), Disk()
    events: list[Event] = [_ended("web"), _ended("mail"), _ended("web"), Tick()]
    _executor(engine, disk).handle_all(events, 1.0)
    assert engine.steps == [2, 1, 1] and engine.events == events
    assert disk.done == [*states, BEAT]


def test_events_that_wait_for_the_disk_take_one_step_after_it() -> None:
    """They come while states are written, and share the next step."""
    jobs = list[Callable[[], dict[str, str]]]()
    engine = Ordering([Persist("web", ServiceState.STARTED)])
    node = _executor(engine, Disk(), jobs)
    node.handle(_ended("web"), 1.0)
    node.handle(_ended("mail"), 1.1)
    node.handle(_ended("zabbix"), 1.2)
    assert engine.steps == [1] and engine.noted == [("make room",)]
    node.written(jobs[0](), 1.3)
    assert engine.steps == [1, 2] and engine.noted[-1] == ("make room",)


def test_states_that_cannot_be_written_are_handled_one_by_one() -> None:
    """Each service learns of its own."""
    names = ("web", "mail", "zabbix")
    engine, disk = Ordering([Persist(name, ServiceState.STARTING) for name in names]), Disk()
    disk.refused = {"web", "zabbix"}
    _executor(engine, disk).handle(Tick(), 1.0)
    failed = [event.service for event in engine.events if isinstance(event, StoreFailed)]
    assert engine.steps == [1, 1, 1] and failed == ["web", "zabbix"]


# --- states that another thread writes ------------------------------------------------------------


def test_while_states_are_written_events_wait_and_nothing_is_done() -> None:
    """The rest of the step and the next event come once all is on disk."""
    jobs = list[Callable[[], dict[str, str]]]()
    first: list[Action] = [
        GrantPermit(4.0),
        Persist("web", ServiceState.STARTING),
        RememberFencing(MEMORY),
        BEAT,
    ]
    engine, disk = Ordering(first, [MirrorPeer("web", ServiceState.STOPPED)]), Disk()
    node = _executor(engine, disk, jobs)
    node.handle(Tick(), 5.0)
    assert node.is_writing and node.writes_held == 2 and disk.done == [GrantPermit(4.0)]
    node.handle(Tick(), 6.0)
    assert len(engine.events) == 1 and engine.noted == [("make room",)]
    (job,) = jobs
    problems = job()
    assert disk.of(Announce) == [], "the writing thread only writes"
    node.written(problems, 7.0)
    assert not node.is_writing and node.writes_held == 0 and len(engine.events) == 2
    assert engine.noted[1:] == [("wrote", 7.0), ("remembered", MEMORY, True, 7.0), ("make room",)]
    assert disk.done[-2:] == [BEAT, MirrorPeer("web", ServiceState.STOPPED)]
    assert disk.of(GrantPermit) == [GrantPermit(4.0)], "a permit is given once"


@pytest.mark.parametrize(
    "written",
    [Persist("web", ServiceState.STOPPED), RememberFencing(MEMORY)],
    ids=["state", "note"],
)
def test_what_has_to_be_on_disk_is_written_by_the_other_thread(written: Action) -> None:
    """A state and the note of fencing alike; a step without either waits for nothing."""
    jobs = list[Callable[[], dict[str, str]]]()
    engine, disk = Ordering([BEAT], [written]), Disk()
    node = _executor(engine, disk, jobs)
    node.handle(Tick(), 5.0)
    assert not node.is_writing and jobs == [] and disk.done == [BEAT]
    node.handle(Tick(), 6.0)
    assert node.is_writing and len(jobs) == 1 and disk.done == [BEAT]


def test_last_beat_is_repeated_while_states_are_written() -> None:
    """When it is due, with the orders that renew this node's promise; not before."""
    engine, disk = Ordering([Persist("web", ServiceState.STOPPED)]), Disk()
    node = _executor(engine, disk, [])
    node.handle(Tick(), 99.0)
    assert node.speak_at == 100.0
    assert node.speak_meanwhile(99.9) and disk.done == [] and engine.noted[1:] == []
    assert node.speak_meanwhile(100.0) and disk.done == [BEAT, RenewWitness(7)]
    engine.beat = None
    assert node.speak_meanwhile(101.0) and disk.done == [BEAT, RenewWitness(7)]


def test_node_whose_disk_writes_nothing_falls_silent() -> None:
    """Ten seconds after the last state that came to the disk, which is the first of two here."""
    jobs = list[Callable[[], dict[str, str]]]()
    states: list[Action] = [Persist(name, ServiceState.STOPPED) for name in ("web", "mail")]
    engine, disk = Ordering([*states, RememberFencing(MEMORY)]), Disk()
    node = _executor(engine, disk, jobs)
    node.handle(Tick(), 100.0)
    assert node.speak_meanwhile(109.9) and not node.speak_meanwhile(110.0)
    jobs[0]()
    assert node.speak_meanwhile(112.0), "three were written since"
    assert node.speak_meanwhile(121.9) and not node.speak_meanwhile(122.0)
    repeats = [noted[1] for noted in engine.noted[1:]]
    assert repeats == [109.9, 112.0, 121.9], "no beat after the limit"


@pytest.mark.parametrize(
    "order",
    [[Persist("web", ServiceState.STOPPED)], [RememberFencing(MEMORY)]],
    ids=["state", "note"],
)
def test_each_write_counts_as_progress_refused_or_not(order: list[Action]) -> None:
    """A disk that answers with an error does answer."""
    jobs = list[Callable[[], dict[str, str]]]()
    engine, disk = Ordering(order, list(order)), Disk()
    disk.refused, disk.is_note_refused = {"web"}, True
    node = _executor(engine, disk, jobs)
    node.handle(Tick(), 100.0)
    jobs[0]()
    assert node.speak_meanwhile(110.0)
    # What was written in this step is no progress of the next one.
    node.written({"web": "", "": ""}, 111.0)
    node.handle(Tick(), 115.0)
    assert node.speak_meanwhile(124.9) and not node.speak_meanwhile(125.0)
