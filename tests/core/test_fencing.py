"""Fencing as two nodes decide it: fences with a latency that outlive their teller, duels, retries,
a boot into a silence.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from opensvc_openha.core.actions import AnswerCode
from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    CommandReceived,
    Leaving,
    PeerConfirmedOut,
    RecoveredState,
)
from opensvc_openha.core.facts import Turn
from opensvc_openha.core.fencing import Fencing
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import ClusterSpec, FencingPolicy, Policy
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import BOOT_PATIENCE_S, PROOF_LIFE_S, START_READY_DELAY_S
from tests.core.fences import FENCE_S, OUT_S, STOPPED, Fences
from tests.core.pair import TIMEOUT_S, Host, links, services
from tests.core.plans import IPMI


def test_planned_start_runs_no_check_up_script() -> None:
    """A living peer that acknowledged is no reason to fence: neither node is shot at the first
    unfreeze.
    """
    pair = Fences()
    pair.start_both()
    assert pair.checks() == [] and pair.alive() == {"deb1", "deb2"}


def test_planned_start_runs_the_check_up_script_where_that_is_asked_for() -> None:
    """`check = always`: as the original does it."""
    pair = Fences(fencing=FencingPolicy(is_check_always=True))
    pair.on_check = lambda host, action: None
    pair.start_both()
    assert [node for _, node in pair.checks()] == ["deb1", "deb2"]


@pytest.mark.parametrize("fence_s", [0.5, 1.5, 3.0, 8.0])
@pytest.mark.parametrize("offset_s", [0.0, 0.4, 0.9, 3.0])
def test_two_owners_cut_from_each_other_do_not_both_die(fence_s: float, offset_s: float) -> None:
    """One direction fails first, so that the nodes differ on when the silence began: one node is
    left, with both services.
    """
    pair = Fences(fence_time_s=fence_s + 0.5)
    pair.fence_s = fence_s
    pair.start_both()
    pair.cut_all("deb1")
    pair.run(offset_s)
    pair.cut_all()
    pair.run(OUT_S + 3 * (fence_s + TIMEOUT_S + 6))
    assert len(pair.alive()) == 1 and len(pair.fenced) == 1
    survivor = pair.alive().pop()
    assert pair.state(survivor, "registry") is pair.state(survivor, "files") is S.STARTED


@pytest.mark.parametrize("delay_s", [4.0, 12.0, 14.9, 16.0, 20.0, 31.0, 47.0, 100.0, 333.0])
def test_node_that_is_heard_fencing_does_not_shoot_back_when_it_loses_the_other(
    delay_s: float,
) -> None:
    """deb2 hears nothing and fences in vain.

    Then the other direction fails: turns are counted from deb2's silence.
    """
    pair = Fences()
    pair.start_both()
    pair.works = False
    pair.cut_all("deb1")
    pair.run(delay_s)
    pair.works = True
    pair.cut_all()
    pair.run(OUT_S + 400)
    assert len(pair.alive()) == 1 and len(pair.fenced) == 1


@pytest.mark.parametrize("works_after_s", [16.0, 18.5, 33.0, 36.0, 50.0, 64.0, 90.0])
def test_fences_that_fail_at_first_are_tried_in_turns(works_after_s: float) -> None:
    """Both want to fence and both fail for a while: however long that lasts, they do not shoot each
    other afterwards.
    """
    pair = Fences()
    pair.start_both()
    pair.works = False
    pair.cut_all()
    pair.run(works_after_s)
    pair.works = True
    pair.run(200)
    assert len(pair.alive()) == 1 and len(pair.fenced) == 1


def test_higher_priority_survives() -> None:
    """deb2 runs what counts more, so deb1 waits for its turn and is shot."""
    pair = Fences(policies={"files": Policy(priority=10)})
    pair.start_both()
    pair.cut_all()
    pair.run(100)
    assert pair.alive() == {"deb2"}


def test_pure_standby_waits_for_no_peer() -> None:
    """One service: the fence begins with the end of the start-ready delay.

    The owner, with nothing to start, never fences.
    """
    pair = Fences(names=("registry",))
    pair.start_one()
    pair.cut_all()
    cut_at = pair.now
    pair.run(60)
    assert [node for _, node in pair.checks()] == ["deb2"]
    assert pair.checks()[0][0] - cut_at < OUT_S + 1.1
    assert pair.state("deb2") is S.STARTED


def test_defended_service_keeps_its_node_alive() -> None:
    """`defend = yes`: the owner shoots the silent standby first, and its service is never
    stopped.
    """
    pair = Fences(names=("registry",), policies={"registry": Policy(is_defended=True)})
    pair.start_one()
    pair.cut_all()
    pair.run(200)
    assert pair.alive() == {"deb1"}
    assert [node for _, node in pair.checks()] == ["deb1"]
    assert pair.starts() == [(pair.starts()[0][0], "deb1")]


def test_failed_fence_is_tried_again_within_a_minute_without_end() -> None:
    """The attempts are 10 s apart at first and never more than a minute.

    Once the fence works the service runs.
    """
    pair = Fences(names=("registry",), fence_time_s=None)
    pair.start_one()
    pair.works = False
    pair.cut_all()
    pair.run(280)
    began = [when for when, _ in pair.checks()]
    gaps = [later - earlier for earlier, later in zip(began, began[1:])]
    assert len(began) >= 6 and max(gaps) <= 60.0 and gaps[0] < 20.0
    pair.works = True
    pair.run(61)
    assert pair.state("deb2") is S.STARTED and pair.alive() == {"deb2"}


def test_start_works_after_a_failed_fence() -> None:
    """An operator does not wait for the next attempt.

    After a failed start script he is refused as before.
    """
    pair = Fences(names=("registry",))
    pair.start_one()
    pair.works = False
    pair.cut_all()
    while pair.state("deb2") is not S.START_FAILED or len(pair.checks()) < 3:
        pair.run(0.5)
    pair.works = True
    pair.deb2.command(Command.START)
    assert pair.state("deb2") is S.START_READY
    pair.run(START_READY_DELAY_S + FENCE_S + 2)
    assert pair.state("deb2") is S.STARTED


def test_one_fence_serves_all_services() -> None:
    """Sixteen services are taken over with one call of the power switch."""
    names = tuple(f"svc{number:02d}" for number in range(16))
    pair = Fences(names=names)
    pair.boot()
    pair.run(2)
    for name in names:
        pair.deb1.command(Command.UNFREEZE, name)
    pair.run(5)
    for name in names:
        pair.deb2.command(Command.UNFREEZE, name)
    pair.run(5)
    pair.cut_all()
    pair.run(60)
    assert [node for _, node in pair.checks()] == ["deb2"]
    assert all(pair.state("deb2", name) is S.STARTED for name in names)


def test_end_of_a_fence_lets_all_services_start_at_once() -> None:
    """Each start script begins in the instant in which the one fence has ended."""
    names = ("one", "two", "three", "four")
    pair = Fences(names=names)
    pair.boot()
    pair.run(2)
    for name in names:
        pair.deb1.command(Command.UNFREEZE, name)
    pair.run(5)
    for name in names:
        pair.deb2.command(Command.UNFREEZE, name)
    pair.run(5)
    pair.cut_all()
    pair.run(60)
    [(checked_at, _)] = pair.checks()
    begun = [when for when, node, kind, _ in pair.scripts if (node, kind) == ("deb2", "start")]
    ended_at = checked_at + pair.fence_s + 0.2
    assert len(begun) == len(names)
    assert max(begun) - ended_at < 0.01, (ended_at, begun)


def test_each_service_is_checked_by_itself_where_that_is_asked_for() -> None:
    """`scope = service`."""
    pair = Fences(names=("registry", "files"), fencing=FencingPolicy(is_shared=False))
    pair.boot()
    pair.run(2)
    for host in (pair.deb1, pair.deb2):
        for name in ("registry", "files"):
            host.command(Command.UNFREEZE, name)
        pair.run(5)
    pair.cut_all()
    pair.run(90)
    assert [node for _, node in pair.checks()] == ["deb2", "deb2"]


def test_proof_is_void_after_a_minute() -> None:
    """A service unfrozen later asks for a proof of its own; within the minute it needs none."""
    for wait_s, expected in ((PROOF_LIFE_S - 20, 1), (PROOF_LIFE_S + 10, 2)):
        pair = Fences()
        pair.boot()
        pair.run(2)
        pair.deb1.command(Command.UNFREEZE, "registry")
        pair.run(5)
        pair.deb2.command(Command.UNFREEZE, "registry")
        pair.run(5)
        pair.cut_all()
        pair.run(OUT_S + FENCE_S + 3)
        assert pair.state("deb2") is S.STARTED
        pair.run(wait_s - 3)
        pair.deb2.command(Command.UNFREEZE, "files")
        pair.run(30)
        assert pair.state("deb2", "files") is S.STARTED
        assert len(pair.checks()) == expected


def test_proof_is_void_once_the_peer_is_heard() -> None:
    """A fence that did nothing: the peer is heard during the script, falls silent again, and a
    fence is flown again.
    """
    pair = Fences(names=("registry",))
    pair.start_one()
    pair.on_check = lambda host, action: None
    pair.cut_all()
    pair.run(TIMEOUT_S + 2.0)
    assert pair.state("deb2") is S.STARTING
    pair.heal()
    pair.run(1.2)
    pair.cut_all()
    pair.run(FENCE_S)
    assert pair.state("deb2") is not S.STARTED
    assert [node for _, node in pair.starts()] == ["deb1"]


def test_fenced_node_that_boots_into_the_silence_keeps_still() -> None:
    """It neither fences nor starts, however long the cut lasts, and reports what it waits for."""
    pair = Fences()
    pair.start_both()
    pair.cut_all()
    pair.run(100)
    loser = pair.deb1 if "deb2" in pair.alive() else pair.deb2
    survivor = pair.alive().pop()
    loser.boot(dict(STOPPED))
    pair.run(3600)
    assert len(pair.fenced) == 1 and pair.alive() == {"deb1", "deb2"}
    assert pair.state(loser.name, "registry") is pair.state(loser.name, "files") is S.STOPPED
    assert "has not heard its peer since it booted" in loser.service("registry").reason
    engine = loser.engine
    assert engine is not None and engine.snapshot(pair.now).fencing.is_blocked
    assert engine.is_helpless(pair.now) and engine.announced_state_of("registry") is S.STOPPED
    assert engine.peer_state_of("registry") is S.UNKNOWN
    assert pair.state(survivor, "registry") is S.STARTED
    pair.heal()
    pair.run(20)
    assert not engine.is_helpless(pair.now) and engine.peer_state_of("registry") is S.STARTED
    assert len(pair.fenced) == 1
    pair.cut_all()
    pair.run(60)
    assert len(pair.fenced) == 2, "heard meanwhile, it takes over as any standby"


@pytest.mark.parametrize("alone_s", [30.0, 120.0])
def test_booted_node_fences_after_the_configured_time_alone(alone_s: float) -> None:
    """`boot_alone = SECONDS`: not before, and then as usual."""
    pair = Fences(names=("registry",), fencing=FencingPolicy(boot_alone_s=alone_s))
    pair.deb2.boot({"registry": RecoveredState(S.STOPPED)})
    booted_at = pair.now
    pair.run(alone_s - 0.5)
    assert pair.checks() == []
    pair.run(100)
    assert (
        booted_at + alone_s <= pair.checks()[0][0] <= booted_at + alone_s + START_READY_DELAY_S + 90
    )
    assert pair.state("deb2") is S.STARTED


def test_operators_word_starts_what_a_booted_node_would_not() -> None:
    """`openha fence confirm`: no script is run, and the word is worth nothing once the peer is
    heard.
    """
    pair = Fences()
    pair.deb2.boot(dict(STOPPED))
    pair.run(60)
    pair.deb2.handle(pair.deb2.life, PeerConfirmedOut(7, "root on the console"))
    assert pair.deb2.answers[-1].code is AnswerCode.CONFIRMED and pair.deb2.answers[-1].is_ok
    pair.run(5)
    assert pair.state("deb2", "registry") is pair.state("deb2", "files") is S.STARTED
    assert pair.checks() == []
    assert any("confirmed by root on the console" in record.reason for record in pair.deb2.records)


def test_operators_word_is_refused_while_the_peer_is_heard() -> None:
    """Or not listened to for a full timeout yet."""
    pair = Fences()
    pair.deb2.boot(dict(STOPPED))
    pair.run(1)
    pair.deb2.handle(pair.deb2.life, PeerConfirmedOut(1, "root"))
    assert pair.deb2.answers[-1].code is AnswerCode.REFUSED
    pair.deb1.boot(dict(STOPPED))
    pair.run(3)
    pair.deb2.handle(pair.deb2.life, PeerConfirmedOut(2, "root"))
    assert (
        pair.deb2.answers[-1].code is AnswerCode.REFUSED and "heard" in pair.deb2.answers[-1].detail
    )


def test_daemon_restarted_in_a_silence_remembers_that_it_had_heard_its_peer() -> None:
    """Only a boot of the machine makes a node forget: a restarted daemon takes over as its
    predecessor would have.
    """
    pair = Fences(names=("registry",))
    pair.start_one()
    pair.cut_all()
    pair.run(2)
    pair.deb2.kill_daemon()
    pair.deb2.boot({"registry": RecoveredState(S.STOPPED)})
    pair.run(OUT_S + FENCE_S + 60)
    assert pair.state("deb2") is S.STARTED and pair.alive() == {"deb2"}


@pytest.mark.exhaustive
def test_right_to_fence_first_is_never_held_by_both() -> None:
    """Services are moved to and fro and beats get lost: at each instant at most one node holds the
    right, and it settles.
    """
    for seed in range(12):
        pair = Fences()
        pair.start_both()
        lost = itertools.cycle([(seed >> bit) & 1 == 1 for bit in range(4)] + [False])
        pair.is_lost = lambda lost=lost: next(lost)  # type: ignore[misc]
        for step in range(40):
            host = (pair.deb1, pair.deb2)[(seed + step) % 2]
            name = ("registry", "files")[step // 3 % 2]
            order = (Command.FREEZE_STOP, Command.UNFREEZE)[step // 2 % 2]
            host.handle(host.life, CommandReceived(next(host.commands), name, order))
            for _ in range(6):
                pair.run(0.25)
                turns = [
                    item.engine._fencing.turns.turn
                    for item in (pair.deb1, pair.deb2)
                    if item.engine is not None
                ]
                assert turns.count(Turn.HELD) <= 1
        pair.is_lost = lambda: False
        pair.run(10)
        turns = [
            item.engine._fencing.turns.turn
            for item in (pair.deb1, pair.deb2)
            if item.engine is not None
        ]
        assert turns.count(Turn.HELD) == 1


def test_goodbye_needs_no_fence() -> None:
    """A node that stopped its services and reported it is taken over at once, without its power
    being cut.
    """
    pair = Fences()
    pair.start_both()
    pair.deb1.leave(Leaving.STOP_SERVICES)
    pair.run(10)
    assert pair.checks() == []
    assert pair.state("deb2", "registry") is pair.state("deb2", "files") is S.STARTED


def test_start_that_never_began_is_no_failed_start() -> None:
    """The script is missing: STOPPED again with the peer heard, so that the peer may take it.

    Nothing waits for an operator.
    """
    from opensvc_openha.core.events import ScriptExited, ScriptOutcome
    from opensvc_openha.core.events import ScriptKind as K
    from tests.core.bench import Bench

    bench = Bench()
    bench.hear(S.STOPPED)
    bench.now += 0.1
    bench.hear(S.STOPPED)
    bench.ends(K.CHECK)
    bench.step(ScriptExited("registry", K.START, ScriptOutcome.NOT_BEGUN, "no such file"))
    assert bench.state is S.STOPPED
    silent = Bench()
    silent.run(OUT_S + 0.1)
    silent.ends(K.CHECK)
    silent.step(ScriptExited("registry", K.START, ScriptOutcome.NOT_BEGUN, "no such file"))
    assert silent.state is S.START_FAILED
    silent.run(10.1)
    assert silent.state is S.START_READY
    silent.hear(S.STARTED)
    assert silent.state is S.STOPPED


def test_status_names_each_fence_with_the_services_it_serves() -> None:
    """Groups by check-up script; one that proves nothing has no name."""
    pair = Fences()
    pair.services = (*pair.services, replace(pair.services[0], name="plain", check="/bin/true"))
    pair.boot()
    assert pair.deb1.engine is not None
    groups = pair.deb1.engine.snapshot(pair.now).fencing.groups
    assert [(group.name, group.services) for group in groups] == [
        ("", ("plain",)),
        ("/etc/fence", ("registry", "files")),
    ]


def _fence_and_boot_into_one_direction(pair: Fences) -> tuple[Host, Host]:
    """The loser of a duel boots while only its own beats are lost; returns it, and the survivor."""
    pair.start_both()
    pair.cut_all()
    pair.run(100)
    loser = pair.deb1 if "deb2" in pair.alive() else pair.deb2
    survivor = pair.deb2 if loser is pair.deb1 else pair.deb1
    pair.heal()
    pair.cut_all(loser.name)
    loser.boot(dict(STOPPED))
    pair.run(20)
    assert (
        loser.engine is not None
        and loser.engine.snapshot(pair.now).peer_standing is PeerStanding.LIVE
    )
    return loser, survivor


def test_fenced_node_that_hears_its_peer_one_way_has_not_been_answered() -> None:
    """It boots in a cut of one direction, then all is cut: it fences no node, and reports why and
    what to type.
    """
    pair = Fences()
    loser, survivor = _fence_and_boot_into_one_direction(pair)
    pair.cut_all()
    pair.run(1000)
    assert len(pair.fenced) == 1 and pair.alive() == {"deb1", "deb2"}
    reason = loser.service("registry").reason
    assert "has not acknowledged this node since it booted" in reason
    assert f"openha fence confirm {survivor.name}" in reason
    assert any(
        f"{survivor.name} did not acknowledge this node" in record.reason
        for record in loser.records
    )
    survivor.crash()
    loser.handle(loser.life, PeerConfirmedOut(7, "root"))
    pair.run(10)
    assert loser.answers[-1].is_ok and pair.state(loser.name) is S.STARTED


def test_fenced_node_that_is_answered_takes_over_as_any_standby() -> None:
    """The other direction works again: from the first acknowledgement on it may fence."""
    pair = Fences()
    loser, survivor = _fence_and_boot_into_one_direction(pair)
    pair.heal()
    pair.run(5)
    pair.cut_all()
    pair.run(100)
    assert [name for _, name in pair.fenced] == [loser.name, survivor.name]


def test_goodbye_alone_is_no_answer() -> None:
    """A booted node hears nothing of its peer but a goodbye that names its life: a forger of that
    goodbye alone prevents all fencing. The peer's first ordinary beat is an answer.
    """
    for goodbye in (Goodbye.RESTART, Goodbye.NONE):
        pair = Fences()
        pair.deb2.boot(dict(STOPPED))
        pair.run(5)
        assert pair.deb2.engine is not None
        ack = Ack(pair.deb2.engine.boot, 1)
        states = dict.fromkeys(STOPPED, S.STOP_FAILED)
        beat = Beat("deb1", BootId(9, 9), 2**64 - 1, ack, states, goodbye)
        pair.deb2.handle(pair.deb2.life, BeatReceived(pair.links[0], beat, pair.now))
        pair.run(300)
        assert [node for _, node in pair.checks()][:1] == (
            ["deb2"] if goodbye is Goodbye.NONE else []
        )


def test_peer_that_has_just_booted_is_given_time() -> None:
    """Heard as booting, then silent: it is fenced after `BOOT_PATIENCE_S`, and not at all if it is
    heard before.
    """
    for is_back in (True, False):
        pair = Fences(names=("registry",))
        pair.start_one()
        pair.deb1.crash()
        pair.run(60)
        assert pair.state("deb2") is S.STARTED
        pair.deb2.command(Command.FREEZE_STOP)
        pair.run(5)
        checks = len(pair.checks())
        pair.cut_all("deb2")
        pair.deb1.boot({"registry": RecoveredState(S.STOPPED)})
        pair.run(3)
        pair.cut_all()
        pair.deb2.command(Command.UNFREEZE)
        silent_at = pair.now + TIMEOUT_S
        pair.run(TIMEOUT_S + BOOT_PATIENCE_S - 3)
        assert len(pair.checks()) == checks and pair.deb1.engine is not None
        if is_back:
            pair.heal()
        pair.run(60)
        late = [when for when, _ in pair.checks()[checks:]]
        assert (
            late == []
            if is_back
            else silent_at + BOOT_PATIENCE_S - 2 <= late[0] <= silent_at + BOOT_PATIENCE_S + 30
        )


@pytest.mark.exhaustive
def test_holder_of_the_right_tries_each_minute_but_for_the_turns_it_leaves() -> None:
    """A standby's fence fails for three hours: rounds less than a minute apart, but around turns at
    5, 20, 80 minutes.
    """
    pair = Fences(names=("registry",))
    pair.start_one()
    pair.works = False
    pair.cut_all()
    cut_at = pair.now
    pair.run(3 * 3600.0)
    tried = [when - cut_at for when, _ in pair.checks()]
    pauses = [(begin, end) for begin, end in zip(tried, tried[1:]) if end - begin > 60.0]
    assert len(pauses) <= 3 and all(end - begin <= 60 + 2 * 19 + 0.3 * end for begin, end in pauses)
    pair.works = True
    pair.run(61)
    assert pair.state("deb2") is S.STARTED


@pytest.mark.exhaustive
@pytest.mark.parametrize("ordered_after_s", [30.0, 200.0, 320.0, 900.0])
def test_node_that_had_nothing_to_start_fences_in_the_turns_that_are_left_to_it(
    ordered_after_s: float,
) -> None:
    """An operator unfreezes a service on it during the cut, both fences work from some instant on:
    one node is left.
    """
    for works_after_s in (ordered_after_s + 1.0, 310.0, 420.0, 1300.0):
        pair = Fences()
        pair.boot()
        pair.run(2)
        pair.deb1.command(Command.UNFREEZE, "registry")
        pair.run(5)
        pair.deb2.command(Command.UNFREEZE, "registry")
        pair.run(5)
        pair.works = False
        pair.cut_all()
        pair.run(ordered_after_s)
        pair.deb1.command(Command.UNFREEZE, "files")
        pair.run(max(0.0, works_after_s - ordered_after_s))
        pair.works = True
        pair.run(3000)
        assert len(pair.fenced) == 1, works_after_s


def test_script_that_cannot_be_begun_is_decided_on_less_and_less_often() -> None:
    """It is put off each time: the waits double up to their limit, and the first one that begins
    ends that.
    """
    from opensvc_openha.core.events import ScriptKind as K
    from opensvc_openha.core.events import ScriptOutcome as End
    from opensvc_openha.core.timing import PUT_OFF_MAX_S
    from tests.core.bench import Bench

    bench = Bench()
    bench.run(1.0, S.STOPPED)
    waits = []
    for outcome in (*[End.POSTPONED] * 6, End.FAILED, End.POSTPONED):
        began = bench.now
        bench.ends(K.CHECK, outcome)
        while bench.state is not S.STARTING:
            bench.run(0.1, S.STOPPED)
        waits.append(round(bench.now - began))
    assert waits[:6] == [1, 2, 4, 8, PUT_OFF_MAX_S, PUT_OFF_MAX_S] and waits[-1] == 1


def test_no_round_of_the_plan_begins_before_its_time() -> None:
    """A service waits already, and the last round failed a moment ago."""
    spec = ClusterSpec(
        "deb1", "deb2", links(), services(), fencing=FencingPolicy(levels=((IPMI,),))
    )
    fencing = Fencing(spec, FencingMemory(has_heard=True), 0.0)
    view = PeerView(BootId(1, 1))
    view.judge(False, 0.0, 0.0)
    plan = fencing.desk.plan
    plan.join(spec.services[0])
    plan.retry_at = 1000.0
    assert fencing.order_step(view, 999.0) == [] and not plan.is_in_round
    fencing.order_step(view, 1000.0)
    assert plan.is_in_round
