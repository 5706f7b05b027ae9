"""No fixed wait where a fence's time is known: who leaves the delay out, and who keeps it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.beat import LEGACY_INCARNATION, Ack, Beat, BootId, Goodbye
from opensvc_openha.core.events import Command, ConfigChanged, FenceTried
from opensvc_openha.core.facts import Facts, Turn
from opensvc_openha.core.fence_turns import FenceTurns
from opensvc_openha.core.fencing import Fencing
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import (
    ClusterSpec,
    FencePath,
    FencingPolicy,
    LinkSpec,
    PathKind,
    Policy,
    Profile,
    ServiceSpec,
)
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.timing import LAST_CALL_S, PACES, START_READY_DELAY_S, last_call_s
from tests.core.fences import Fences
from tests.core.pair import TIMEOUT_S, Host, links
from tests.core.plans import CALL, IPMI, PlanPair

OWN, LIFE = BootId(5, 55), BootId(9, 99)
PACE = PACES[Profile.TUTORIAL]
CALL_S, DELAY_S = LAST_CALL_S, START_READY_DELAY_S
ANCHOR = 100.0
LEASE = FencePath("promise", PathKind.LEASE, 0.0)
TIMED = Facts(knows_fence_time=True)
RUNS, IDLE = {"web": S.STARTED}, {"web": S.STOPPED}


def a_spec(*checks: str, fencing: FencingPolicy = FencingPolicy(), **more: object) -> ClusterSpec:
    """One service for each check-up script."""
    rows = tuple(
        ServiceSpec(f"svc{number}", "/etc/x", "deb1", "deb2", check)
        for number, check in enumerate(checks or ("/etc/fence",))
    )
    made = ClusterSpec("deb1", "deb2", links(TIMEOUT_S), rows, fencing=fencing)
    return replace(made, **more)  # type: ignore[arg-type]


def heard(facts: Facts | None = TIMED, acked: int = 7, life: BootId = LIFE) -> PeerView:
    view = PeerView(OWN)
    view.take(Beat("deb2", life, 5, Ack(OWN, acked), dict(IDLE), facts=facts), 90.0)
    view.judge(True, None, 90.0)
    return view


def agreed(facts: Facts | None = TIMED, acked: int = 7, knows: bool = True) -> FenceTurns:
    """A node that says from beat 7 on whether it knows the times of its fences."""
    turns = FenceTurns(a_spec(), FencingMemory())
    turns.update(RUNS, heard(TIMED, 0), 7, 1.0, knows)
    turns.update(RUNS, heard(facts, acked), 8, 1.0, knows)
    return turns


# --- what both must know --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "acked", "knows", "is_prompt"),
    [
        (TIMED, 7, True, True),
        (TIMED, 6, True, False),
        (TIMED, 7, False, False),
        (Facts(), 7, True, False),
        (None, 7, True, False),
        (replace(TIMED, is_booting=True), 7, True, False),
    ],
    ids=["both", "not acknowledged", "unknown here", "unknown there", "no facts", "boots"],
)
def test_delay_is_left_out_once_both_know_and_each_knows_that_of_the_other(
    facts: Facts | None, acked: int, knows: bool, is_prompt: bool
) -> None:
    """A peer of an older version does not say so, and a C OpenHA says nothing."""
    turns = agreed(facts, acked, knows)
    assert turns.is_prompt is is_prompt
    assert turns.delay_s(heard(facts)) == (CALL_S if is_prompt else DELAY_S)


def test_question_and_answer_are_read_where_disks_are_the_only_links() -> None:
    """The slowest of them counts; beside a network the answer comes there."""
    assert last_call_s((), True) == last_call_s((10.0,), True) == LAST_CALL_S
    assert last_call_s((0.3,), False) == LAST_CALL_S
    assert last_call_s((0.3, 2.0), False) == 0.4 and last_call_s((10.0,), False) == 0.5


def test_last_call_is_never_longer_than_the_delay() -> None:
    """Disks alone, with beats each 100 ms."""
    disk = LinkSpec("deb2", "dio", "/dev/sda", "", 0, 0, 2.0)
    turns = FenceTurns(a_spec(profile=Profile.FAST, links=(disk,)), FencingMemory())
    assert turns.delay_s(heard()) == PACES[Profile.FAST].start_ready_delay_s == 0.2
    turns.is_prompt = True
    assert turns.delay_s(heard()) == 0.2


def test_node_that_lost_the_knowledge_waits_again() -> None:
    """And reports it again before it leaves the delay out once more."""
    turns = agreed()
    turns.update(RUNS, heard(), 9, 1.0, False)
    assert not turns.is_prompt
    turns.update(RUNS, heard(acked=9), 10, 1.0, True)
    assert not turns.is_prompt
    turns.update(RUNS, heard(acked=10), 11, 1.0, True)
    assert turns.is_prompt


def test_next_daemon_of_the_peer_has_to_acknowledge_it_too() -> None:
    """It may be of an older version: until it has sent facts, the delay is kept."""
    turns = agreed()
    view = heard()
    view.take(Beat("deb2", BootId(10, 1), 1, Ack(OWN, 8), dict(IDLE)), 91.0)
    turns.update(RUNS, view, 9, 1.0, True)
    assert not turns.is_prompt
    view.take(Beat("deb2", BootId(10, 1), 2, Ack(OWN, 8), dict(IDLE), facts=TIMED), 91.1)
    turns.update(RUNS, view, 10, 1.0, True)
    assert not turns.is_prompt
    view.take(Beat("deb2", BootId(10, 1), 3, Ack(OWN, 10), dict(IDLE), facts=TIMED), 91.2)
    turns.update(RUNS, view, 11, 1.0, True)
    assert turns.is_prompt


@pytest.mark.parametrize("is_called_silent", [False, True])
def test_nothing_of_it_changes_in_a_cut(is_called_silent: bool) -> None:
    """Neither when knowledge is lost, nor when it comes."""
    for knows in (True, False):
        turns = agreed(knows=knows)
        view = heard()
        if is_called_silent:
            turns.record_heard(heard(replace(TIMED, silent_s=1.0)), ANCHOR)
        else:
            view.judge(False, ANCHOR, ANCHOR)
            turns.record_silence(view, True)
        turns.update(RUNS, view, 9, 1.0, not knows)
        turns.update(RUNS, view, 10, 1.0, not knows)
        assert turns.is_prompt is knows


def test_daemon_that_restarts_keeps_the_delay() -> None:
    """It has not heard its peer: what the former one knew is of before."""
    assert not FenceTurns(a_spec(), FencingMemory(turn=Turn.HELD, silent_since=ANCHOR)).is_prompt


def test_daemon_that_said_goodbye_has_the_whole_delay_to_come_back() -> None:
    """After its hold: a restart on a busy node takes longer than a beat."""
    turns, view = agreed(), heard()
    view.take(Beat("deb2", LIFE, 6, Ack(OWN, 7), dict(RUNS), Goodbye.RESTART, facts=TIMED), 91.0)
    view.judge(False, None, 122.0)
    assert view.silent_since is not None and turns.is_prompt
    assert turns.delay_s(view) == DELAY_S


# --- turns ----------------------------------------------------------------------------------------


def _opens(turn: Turn, is_prompt: bool, now: float, peer_turn: Turn = Turn.NONE) -> float:
    turns = agreed(knows=is_prompt)
    view = heard(replace(TIMED, turn=peer_turn))
    view.judge(False, ANCHOR, ANCHOR)
    turns.turn = turn
    turns.record_silence(view, True)
    return turns.opens(view, now, 1.0)


def test_turn_of_the_holder_begins_with_the_last_call_and_ends_as_before() -> None:
    """The next of its turns is where it was."""
    close = ANCHOR + DELAY_S + PACE.turn_open_s
    assert _opens(Turn.HELD, True, ANCHOR) == ANCHOR + CALL_S
    assert _opens(Turn.HELD, False, ANCHOR) == ANCHOR + DELAY_S
    assert _opens(Turn.HELD, True, close - 0.1) == close - 0.1
    assert _opens(Turn.HELD, True, close) == _opens(Turn.HELD, False, close) > close


def test_turns_of_the_other_node_stay_where_they_were() -> None:
    """Whatever was agreed on: of a node that has not heard of it they never meet."""
    for now in (ANCHOR, ANCHOR + 30.0, ANCHOR + 300.0):
        known = _opens(Turn.NONE, True, now, Turn.HELD)
        assert known == _opens(Turn.NONE, False, now, Turn.HELD) > ANCHOR + DELAY_S


# --- whose times are known ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "measured_s", "knows"),
    [
        (a_spec(), {}, False),
        (a_spec(fence_time_s=3.0), {}, True),
        (a_spec(), {"/etc/fence": 3.0}, True),
        (a_spec("/etc/fence", "/etc/other"), {"/etc/fence": 3.0}, False),
        (a_spec("/etc/fence", "/etc/other"), {"/etc/fence": 3.0, "/etc/other": 1.0}, True),
        (a_spec("/etc/fence", "/bin/true"), {"/etc/fence": 3.0}, True),
        (a_spec("/bin/true", fence_time_s=3.0), {}, False),
        (a_spec("/bin/true", fencing=FencingPolicy(levels=((IPMI,),))), {}, False),
        (a_spec("/bin/true", fencing=FencingPolicy(levels=((IPMI,),))), {"path ipmi": 2.0}, True),
        (a_spec(fencing=FencingPolicy(levels=((IPMI,), (CALL,)))), {"path ipmi": 2.0}, False),
        (
            a_spec("/usr/local/cluster/bin/fence", fencing=FencingPolicy(levels=((IPMI,),))),
            {"path ipmi": 2.0},
            True,
        ),
        (a_spec("/etc/own", fencing=FencingPolicy(levels=((IPMI,),))), {"path ipmi": 2.0}, False),
        (
            a_spec("/bin/true", fencing=FencingPolicy(levels=((replace(IPMI, expected_s=2.0),),))),
            {},
            True,
        ),
        (a_spec("/bin/true", fencing=FencingPolicy(levels=((LEASE,),))), {}, True),
    ],
)
def test_time_is_known_where_each_fence_has_one(
    spec: ClusterSpec, measured_s: dict[str, float], knows: bool
) -> None:
    """Declared for all, or measured for each; a limit is none, and a promise says itself."""
    made = Fencing(spec, FencingMemory(measured_s=tuple(measured_s.items())), 50.0)
    assert made.knows_fence_time is knows
    assert made.facts({}, 60.0).knows_fence_time is knows


def test_fences_without_a_time_are_named() -> None:
    """For an operator who wants to know what to declare, or to try out."""
    policy = FencingPolicy(levels=((IPMI,), (CALL,)))
    made = Fencing(a_spec("/etc/own", fencing=policy), FencingMemory(), 50.0)
    assert made.untimed == ("svc0", "ipmi", "call")
    made.reconfigure(a_spec("/etc/own", fencing=policy, fence_time_s=9.0))
    assert made.untimed == ()


def test_fence_that_was_measured_is_known_from_then_on() -> None:
    """The first one that succeeds."""
    made = Fencing(a_spec(), FencingMemory(has_heard=True), 50.0)
    assert made.untimed == ("svc0",)
    made.begin_fence(made.spec.services[0], 100.0)
    made.end_check(made.spec.services[0], True, "off", 103.0)
    assert made.untimed == () and made.knows_fence_time


def test_fence_that_a_drill_has_measured_is_known_from_then_on() -> None:
    """The longest time counts; the drill is no proof, and a path that was taken out has no time."""
    policy = FencingPolicy(levels=((IPMI,),))
    made = Fencing(a_spec("/bin/true", fencing=policy), FencingMemory(has_heard=True), 50.0)
    assert made.untimed == ("ipmi",)
    for path, took_s in (("ipmi", 4.2), ("ipmi", 1.0), ("gone", 9.0)):
        made.note_tried(FenceTried(path, took_s))
    assert made.untimed == () and made.knows_fence_time and made.fence_s == 4.5
    assert made.memory.measured_s == (("path ipmi", 4.5),) and made.desk.plan.proofs == ()


# --- two nodes ------------------------------------------------------------------------------------


def _took_s(pair: Fences | PlanPair, host: Host) -> float:
    """From the death of a node just after a beat to the fence of the other one."""
    engine = host.engine
    assert engine is not None
    seq = engine.seq
    while engine.seq == seq:
        pair.run(0.05)
    pair.run(0.01)
    host.crash()
    died_at = pair.now
    pair.run(TIMEOUT_S + DELAY_S + 2.0)
    began = [at for at, *_ in pair.steps] or [
        at for at, _, kind, _ in pair.scripts if kind == "check" and at > died_at
    ]
    return began[0] - died_at


def test_standby_fences_after_the_timeout_and_the_last_call() -> None:
    """The time is declared on both nodes."""
    pair = Fences(names=("registry",))
    pair.start_one()
    assert _took_s(pair, pair.deb1) == pytest.approx(TIMEOUT_S + CALL_S, abs=0.08)


def test_time_that_one_node_alone_knows_changes_nothing() -> None:
    """The delay as ever, on both."""
    pair = Fences(names=("registry",))
    pair.start_one()
    engine = pair.deb1.engine
    assert engine is not None
    pair.deb1.handle(pair.deb1.life, ConfigChanged(replace(engine.spec, fence_time_s=None), {}))
    pair.run(3)
    assert _took_s(pair, pair.deb1) == pytest.approx(TIMEOUT_S + DELAY_S, abs=0.08)


def test_peer_that_answers_the_last_call_is_not_fenced() -> None:
    """Its beats were lost; the beat that announces START_READY is answered at once."""
    pair = Fences(names=("registry",))
    pair.start_one()
    pair.cut_all("deb1")
    pair.run(TIMEOUT_S - 1.0)
    while pair.state("deb2") is not S.START_READY:
        pair.run(0.001)
    pair.heal()
    pair.run(CALL_S + 1.0)
    assert not pair.checks() and pair.state("deb2") is S.STOPPED


def test_script_that_fences_nobody_waits_for_the_whole_delay() -> None:
    """Beside one that does: nothing else keeps a cut apart from a death."""
    pair = Fences(names=("registry", "files"))
    web, files = pair.services
    pair.services = (replace(web, check="/bin/true"), replace(files, primary="deb1"))
    pair.services = (pair.services[0], replace(pair.services[1], secondary="deb2"))
    pair.boot()
    pair.run(2)
    for name in ("registry", "files"):
        pair.deb1.command(Command.UNFREEZE, name)
    pair.run(5)
    for name in ("registry", "files"):
        pair.deb2.command(Command.UNFREEZE, name)
    pair.run(5)
    pair.deb1.crash()
    died_at = pair.now
    pair.run(TIMEOUT_S + DELAY_S + 1.0)
    began = {name: at for at, node, kind, name in pair.scripts if kind == "check"}
    assert began["files"] - died_at < TIMEOUT_S + CALL_S + 0.1
    assert began["registry"] - died_at >= TIMEOUT_S + DELAY_S - 1.1


def test_defended_service_fences_after_the_last_call() -> None:
    """The owner has nothing to start, and does not wait for the delay either."""
    pair = Fences(names=("registry",), policies={"registry": Policy(is_defended=True)})
    pair.start_one()
    pair.cut_all()
    cut_at = pair.now
    pair.run(TIMEOUT_S + 3.0)
    assert [node for _, node in pair.checks()] == ["deb1"]
    assert pair.checks()[0][0] - cut_at <= TIMEOUT_S + CALL_S + 0.1


@pytest.mark.parametrize(("declared_s", "wait_s"), [(1.0, CALL_S), (None, DELAY_S)])
def test_fence_plan_begins_by_the_same_rule(declared_s: float | None, wait_s: float) -> None:
    """A limit of a path is no time of it."""
    pair = PlanPair()
    pair.fence_time_s = declared_s
    pair.start_both()
    assert _took_s(pair, pair.deb1) == pytest.approx(TIMEOUT_S + wait_s, abs=0.08)


def test_c_openha_is_given_the_whole_delay() -> None:
    """It is heard in its own format, after a daemon that knew the times of its fences."""
    view = heard()
    turns = agreed()
    view.take(Beat("deb2", LEGACY_INCARNATION, 9, None, dict(RUNS)), 95.0)
    turns.update(RUNS, view, 9, 1.0, True)
    assert not turns.is_prompt and turns.delay_s(view) == DELAY_S


def test_service_without_a_fence_keeps_its_delay_in_balanced() -> None:
    """Beside one that has a fence, of which the time is known or not."""
    spec = a_spec("/bin/true", "/etc/fence", profile=Profile.BALANCED)
    made, view = Fencing(spec, FencingMemory(), 50.0), heard()
    bare, fenced = spec.services
    assert (made.delay_s(bare, view), made.delay_s(fenced, view)) == (DELAY_S, 0.5)
    shown = made.status(view, 60.0)
    assert (shown.start_ready_unfenced_s, shown.start_ready_s) == (DELAY_S, 0.5)
    made.turns.is_prompt = True
    assert (made.delay_s(bare, view), made.delay_s(fenced, view)) == (DELAY_S, CALL_S)
