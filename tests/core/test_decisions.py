"""Single decisions of one service machine and of one engine, each where only a rare history would
show it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.core.actions import (
    Action,
    Announce,
    Answer,
    AnswerCode,
    Exit,
    MirrorPeer,
    Persist,
    Record,
)
from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    CommandReceived,
    LeaveRequested,
    Leaving,
    PeerForgotten,
    RecoveredState,
    ScriptExited,
    SeemsUp,
    StoreFailed,
    Tick,
)
from opensvc_openha.core.events import (
    ScriptKind as K,
)
from opensvc_openha.core.events import (
    ScriptOutcome as End,
)
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.model import ClusterSpec, OnStartFailure, Policy
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import (
    ACK_GAP_S,
    BEAT_INTERVAL_S,
    GOODBYE_GAP_S,
    GOODBYE_REPEATS,
    LEAVE_SCRIPT_WAIT_S,
    PROBE_AGAIN_S,
    RESTART_HOLD_S,
    STALL_FRACTION,
    START_FAILURE_HOLD_S,
    START_READY_DELAY_S,
    STOP_HOLD_S,
    STORE_RETRY_S,
    STUCK_S,
)
from tests.core.bench import (
    KEY,
    LIFE,
    OWN,
    Bench,
    beats,
    evaluated,
    records,
    scripts,
    watch_evaluations,
)
from tests.core.pair import TIMEOUT_S, links, services

# what a daemon finds when it begins


def test_failed_start_of_an_earlier_daemon_waits_for_an_operator() -> None:
    """START_FAILED in the STATE file: something may be left over, so hearing the peer changes
    nothing.
    """
    bench = Bench(S.START_FAILED)
    bench.run(3, S.STOPPED)
    assert bench.state is S.START_FAILED


def test_frozen_start_that_was_not_found_down_is_unfrozen_without_a_question() -> None:
    """Only what the wrapper called down is looked at again."""
    bench = Bench(S.FROZEN_START)
    assert scripts(bench.step(CommandReceived(1, "registry", Command.UNFREEZE))) == []
    assert bench.state is S.STARTED


def test_frozen_start_that_was_found_down_is_looked_at_again_when_unfrozen() -> None:
    """Still down: STOPPED, and the rules start it; up by now: STARTED."""
    for found, state in ((End.DOWN, S.STOPPED), (End.UP, S.STARTED)):
        bench = Bench(S.FROZEN_START, must_probe=True)
        bench.ends(K.PROBE, End.DOWN)
        assert scripts(bench.step(CommandReceived(1, "registry", Command.UNFREEZE))) == [K.PROBE]
        bench.ends(K.PROBE, found)
        assert bench.state is state


def test_wrapper_without_an_answer_leaves_a_frozen_service_to_the_operator() -> None:
    """The status script is over: the next command is carried out."""
    bench = Bench(S.FROZEN_START, must_probe=True)
    bench.ends(K.PROBE, End.UNSURE)
    assert bench.state is S.FROZEN_START
    assert bench.order(Command.UNFREEZE)[-1].is_ok


def test_script_without_a_waiting_engine_changes_nothing() -> None:
    """The end of a script of an earlier life, of another kind or of another service is ignored."""
    bench = Bench(S.STARTED)
    for kind in K:
        assert not records(bench.ends(kind, End.DOWN if kind is K.PROBE else End.FAILED), "STOPPED")
    bench.step(ScriptExited("nosuch", K.STOP, End.OK))
    bench.step(StoreFailed("nosuch", "no space"))
    assert bench.state is S.STARTED


def test_engine_that_has_not_begun_can_be_asked() -> None:
    """Before the first step: due within a beat, and what it would report is what was learned."""
    bench = Bench(S.FROZEN_STOP, is_begun=False)
    assert bench.engine.next_deadline() == bench.now + BEAT_INTERVAL_S
    assert bench.engine.beat().states == {"registry": S.FROZEN_STOP} and bench.engine.seq == 0
    assert bench.engine.sight.late_s == bench.engine.late_s == 0.0


def test_first_step_announces_and_mirrors_the_unknown_peer() -> None:
    """What a former daemon wrote of the peer is out of date."""
    done = Bench(S.STOPPED).done
    assert [beat.seq for beat in beats(done)] == [1]
    assert MirrorPeer("registry", S.UNKNOWN) in done


def test_first_event_may_be_a_beat_that_is_refused() -> None:
    """An authenticated life that does not know us: it is answered at once, and nothing breaks."""
    bench = Bench(is_begun=False)
    beat = Beat("deb2", LIFE, 1, None, {"registry": S.STARTED})
    done = bench.step(BeatReceived(bench.link, beat, bench.now, key_id=KEY))
    assert beats(done)[0].ack == Ack(LIFE, 1, is_taken=False)
    assert bench.engine.snapshot(bench.now).peer_standing is PeerStanding.UNKNOWN


def test_lives_known_from_before_are_refused_from_the_first_beat() -> None:
    """A recording of the peer's former life that even acknowledges us is an old life."""
    bench = Bench(known_incarnations={KEY: BootId(7, 77)})
    beat = Beat("deb2", LIFE, 1, Ack(OWN, 1), {"registry": S.STOPPED})
    bench.step(BeatReceived(bench.link, beat, bench.now, key_id=KEY))
    assert bench.engine.snapshot(bench.now).links[0].counts == {"old life": 1}
    bench.step(PeerForgotten())
    bench.now += 0.1
    bench.step(BeatReceived(bench.link, beat, bench.now, key_id=KEY))
    assert bench.engine.snapshot(bench.now).peer_standing is PeerStanding.LIVE


# starting


def test_nothing_starts_on_a_peer_that_was_never_heard_before_the_whole_timeout() -> None:
    """Alone from the start: silent after the timeout, check-up after the delay, start after the
    check-up.
    """
    bench = Bench()
    assert scripts(bench.run(TIMEOUT_S + START_READY_DELAY_S - 0.01)) == []
    assert bench.state is S.START_READY
    assert scripts(bench.run(0.02)) == [K.CHECK]
    assert scripts(bench.ends(K.CHECK)) == [K.START]


def test_check_up_begun_before_the_silence_is_done_again() -> None:
    """It began while the peer was heard, and ends in silence: back to START_READY, and a new one
    after the delay.
    """
    bench = Bench()
    bench.hear(S.STOPPED)
    bench.now += 0.1
    assert K.CHECK in scripts(bench.hear(S.STOPPED)) + scripts(bench.done)
    bench.run(TIMEOUT_S + 1)
    assert bench.engine.snapshot(bench.now).peer_standing is PeerStanding.SILENT
    assert scripts(bench.ends(K.CHECK)) == [] and bench.state is S.START_READY
    assert scripts(bench.run(START_READY_DELAY_S + 0.1)) == [K.CHECK]
    assert scripts(bench.ends(K.CHECK)) == [K.START]


def test_acknowledgement_of_an_earlier_beat_starts_nothing() -> None:
    """The peer reports STOPPED again and again, and acknowledges only what was reported before
    START_READY.
    """
    bench = Bench()
    for _ in range(8):
        bench.hear(S.STOPPED, is_acked=False)
        bench.now += 0.3
        bench.step(Tick())
    assert bench.state is S.START_READY and scripts(bench.done) == []
    assert scripts(bench.hear(S.STOPPED)) == [K.CHECK]


def test_peer_that_is_ready_too_goes_first_if_it_is_the_primary() -> None:
    """deb2 yields and holds; deb1 stays."""
    for node, state in (("deb1", S.START_READY), ("deb2", S.STOPPED)):
        bench = Bench(node=node)
        bench.hear(S.STOPPED, is_acked=False)
        assert bench.state is S.START_READY
        bench.hear(S.START_READY)
        assert bench.state is state


@pytest.mark.parametrize(("node", "hold_s"), [("deb1", STOP_HOLD_S), ("deb2", STOP_HOLD_S * 1.5)])
def test_service_that_was_stopped_is_left_to_the_peer_for_the_hold(
    node: str, hold_s: float
) -> None:
    """The peer is STOPPED and does not take it: the node tries again after its hold, the second
    name after half of it more.
    """
    bench = Bench(node=node).started()
    bench.order(Command.STOP)
    bench.ends(K.STOP)
    stopped_at = bench.now
    bench.run(hold_s - 0.1, S.STOPPED)
    assert bench.state is S.STOPPED
    bench.run(0.7, S.STOPPED)
    assert bench.state is S.STARTING and bench.now - stopped_at < hold_s + 1


def test_operator_who_starts_it_ends_the_hold() -> None:
    """`stop`, then `start` at once: START_READY.

    If the peer is ready first, the hold does not keep it from coming back.
    """
    bench = Bench().started()
    bench.order(Command.STOP)
    bench.ends(K.STOP)
    bench.run(0.2)
    assert bench.state is S.STOPPED
    bench.order(Command.START)
    assert bench.state is S.START_READY


def test_failed_write_holds_the_next_try_for_its_own_time() -> None:
    """START_READY could not be written: STOPPED, and the next try is 10 s later, not after the hold
    of a stop.
    """
    bench = Bench()
    bench.hear(S.STOPPED, is_acked=False)
    assert bench.state is S.START_READY
    bench.step(StoreFailed("registry", "no space"))
    assert bench.state is S.STOPPED
    bench.run(STORE_RETRY_S - 0.1, S.STOPPED)
    assert bench.state is S.STOPPED
    bench.run(0.7, S.STOPPED)
    assert bench.state is S.STARTING


def test_two_primaries_are_distinguished_after_a_while_by_their_names() -> None:
    """Both files state primary: deb2, whose name sorts last, yields after 15 s, not before."""
    bench = Bench(node="deb1")
    bench.hear(S.STOPPED, is_acked=False)
    bench.run(STUCK_S + 5, S.START_READY)
    assert bench.state is S.START_READY
    swapped = Bench(node="deb2")
    swapped.engine._services["registry"].role = Bench().engine._services["registry"].role
    swapped.engine._services["registry"].spec = type(services()[0])(
        "registry", "/x", "deb2", "deb1", "/bin/true"
    )
    swapped.hear(S.STOPPED, is_acked=False)
    ready_at = swapped.now
    while swapped.state is S.START_READY and swapped.now < ready_at + 2 * STUCK_S:
        swapped.run(0.5, S.START_READY)
    assert STUCK_S <= swapped.now - ready_at <= STUCK_S + 1


def test_check_up_that_failed_in_silence_is_forgotten_when_the_peer_is_heard() -> None:
    """Nothing was started: STOPPED again, held, also after a check-up that failed against a live
    peer.
    """
    silent = Bench()
    silent.run(TIMEOUT_S + START_READY_DELAY_S + 0.1)
    silent.ends(K.CHECK, End.FAILED)
    assert silent.state is S.START_FAILED
    silent.hear(S.STARTED)
    assert silent.state is S.STOPPED
    heard = Bench()
    heard.hear(S.STOPPED)
    heard.now += 0.1
    heard.hear(S.STOPPED)
    heard.ends(K.CHECK, End.FAILED)
    assert heard.state is S.STOPPED
    heard.run(START_FAILURE_HOLD_S - 1, S.STOPPED)
    assert heard.state is S.STOPPED
    heard.run(2, S.STOPPED)
    assert heard.state is S.STARTING


# answers


def test_command_that_overtakes_another_rolls_that_one_back() -> None:
    """`start` waits in START_READY; `freeze-stop` ends it: both operators are informed."""
    bench = Bench()
    bench.hear(S.FROZEN_STOP, is_acked=False)
    bench.order(Command.FREEZE_STOP, 1)
    bench.ends(K.PROBE, End.DOWN)
    bench.order(Command.UNFREEZE, 2)
    assert bench.state is S.START_READY
    bench = Bench(S.FROZEN_STOP)
    bench.hear(S.STOPPED, is_acked=False)
    bench.order(Command.FORCE_STOP, 1)
    assert [answer.code for answer in bench.order(Command.START, 2)] == [AnswerCode.READY_START]
    answers = bench.order(Command.FREEZE_STOP, 3)
    answers += [item for item in bench.ends(K.PROBE, End.DOWN) if isinstance(item, Answer)]
    reported = [
        (answer.command_id, answer.code, answer.is_last, answer.is_ok) for answer in answers
    ]
    assert reported == [
        (2, AnswerCode.ROLLED_BACK, True, False),
        (3, AnswerCode.READY_FREEZE_STOP, False, True),
        (3, AnswerCode.FROZEN_STOP, True, True),
    ]


def test_refused_command_leaves_the_one_that_waits_in_place() -> None:
    """`stop` is refused in START_READY, and the `start` that waits is answered in its time."""
    bench = Bench(S.FROZEN_STOP)
    bench.hear(S.STOPPED, is_acked=False)
    bench.order(Command.FORCE_STOP, 1)
    bench.order(Command.START, 2)
    refused = bench.order(Command.STOP, 3)
    assert [(item.command_id, item.code, item.is_ok, item.detail) for item in refused] == [
        (3, AnswerCode.REFUSED, False, "")
    ]
    bench.now += 0.1
    bench.hear(S.STOPPED)
    bench.ends(K.CHECK)
    last = [item for item in bench.ends(K.START) if isinstance(item, Answer)]
    assert [
        (item.command_id, item.code, item.is_last, item.is_ok, item.detail) for item in last
    ] == [(2, AnswerCode.STARTED, True, True, "")]


def test_operator_gets_each_step_of_a_stop_that_freezes() -> None:
    """freeze-stop of a running service: ready to freeze, ready to stop, stopped, frozen."""
    bench = Bench().started()
    assert [item.code for item in bench.order(Command.FREEZE_STOP)] == [
        AnswerCode.READY_FREEZE_STOP,
        AnswerCode.READY_STOP,
    ]
    done = [item for item in bench.ends(K.STOP) if isinstance(item, Answer)]
    assert [(item.code, item.is_last, item.is_ok) for item in done] == [
        (AnswerCode.STOPPED, False, True),
        (AnswerCode.FROZEN_STOP, True, True),
    ]
    assert bench.state is S.FROZEN_STOP


def test_operator_gets_each_step_of_a_start_that_freezes() -> None:
    """freeze-start of a stopped service: ready, started, frozen."""
    bench = Bench(S.FROZEN_STOP)
    bench.hear(S.STOPPED, is_acked=False)
    bench.order(Command.FORCE_STOP)
    assert [item.code for item in bench.order(Command.FREEZE_START)] == [
        AnswerCode.READY_FREEZE_START
    ]
    bench.now += 0.1
    bench.hear(S.STOPPED)
    bench.ends(K.CHECK)
    done = [item for item in bench.ends(K.START) if isinstance(item, Answer)]
    assert [item.code for item in done] == [AnswerCode.STARTED, AnswerCode.FROZEN_START]
    assert bench.state is S.FROZEN_START


def test_stop_reports_that_the_service_stays_where_no_other_node_takes_it() -> None:
    """The peer is STOPPED: it will take it; it is frozen: the service stays here.

    A plain freeze reports nothing of stopping.
    """
    bench = Bench().started()
    bench.hear(S.STOPPED)
    assert [item.code for item in bench.order(Command.STOP)] == [AnswerCode.READY_STOP]
    done = [item for item in bench.ends(K.STOP) if isinstance(item, Answer)]
    assert [item.code for item in done] == [AnswerCode.STOPPED]
    bench = Bench().started()
    bench.hear(S.FROZEN_STOP)
    assert [item.code for item in bench.order(Command.STOP)] == [
        AnswerCode.READY_STOP,
        AnswerCode.STAYS_HERE,
    ]
    bench = Bench(S.FROZEN_STOP)
    bench.order(Command.FORCE_STOP)
    assert [item.code for item in bench.order(Command.FREEZE_STOP)] == [
        AnswerCode.READY_FREEZE_STOP
    ]
    assert [item.code for item in bench.ends(K.PROBE, End.UNSURE) if isinstance(item, Answer)] == [
        AnswerCode.FROZEN_STOP
    ]


def test_failed_script_is_answered_with_its_reason() -> None:
    """`stop` fails: STOP_FAILED, the operator is informed why, and it is an alarm."""
    bench = Bench().started()
    bench.order(Command.STOP, 7)
    done = bench.ends(K.STOP, End.FAILED)
    answer = [item for item in done if isinstance(item, Answer)][-1]
    assert (answer.command_id, answer.code, answer.is_ok, answer.is_last) == (
        7,
        AnswerCode.FAILED,
        False,
        True,
    )
    assert "exited with 1" in answer.detail
    assert [item.is_alarm for item in records(done, "STOP_FAILED")] == [True]


def test_successful_start_is_no_alarm() -> None:
    """One record for each state, in order."""
    bench = Bench().started()
    reported = [
        (item.old, item.new, item.is_alarm)
        for item in bench.done
        if isinstance(item, Record) and item.name == "registry"
    ]
    assert reported == [
        ("STOPPED", "START_READY", False),
        ("START_READY", "STARTING", False),
        ("STARTING", "STARTED", False),
    ]
    assert [item.state for item in bench.done if isinstance(item, Persist)] == [
        S.START_READY,
        S.STARTING,
        S.STARTED,
    ]


# who is the younger, who is in doubt


@pytest.mark.parametrize(
    ("announced", "was_started_in_silence"),
    [
        (S.STOPPED, False),
        (S.FROZEN_STOP, False),
        (S.STARTED, True),
        (S.STOPPING, True),
        (S.START_READY, True),
        (None, True),
    ],
)
def test_forced_copy_is_the_younger_unless_the_peer_was_known_to_be_out(
    announced: S | None, was_started_in_silence: bool
) -> None:
    """force-start against each word of the peer, and against none."""
    bench = Bench(S.FROZEN_STOP)
    if announced is not None:
        bench.hear(announced, is_acked=False)
    bench.order(Command.FORCE_START)
    assert bench.engine._services["registry"]._dual.was_started_in_silence is was_started_in_silence


def test_forced_copy_is_not_the_younger_of_a_peer_that_left_or_acknowledged() -> None:
    """A goodbye as STOPPED, or an acknowledged "out": the other copy came later."""
    left = Bench(S.FROZEN_STOP)
    left.hear(S.STOPPED, Goodbye.LEFT)
    left.order(Command.FORCE_START)
    assert not left.engine._services["registry"]._dual.was_started_in_silence
    ready = Bench()
    ready.hear(S.STOPPED, is_acked=False)
    machine = ready.engine._services["registry"]
    assert ready.state is S.START_READY
    # The acknowledgement is taken and the command comes before the evaluation.
    beat = Beat("deb2", LIFE, 9, Ack(OWN, ready.engine.seq), {"registry": S.STOPPED})
    ready.engine._peer.view.take(beat, ready.now)
    ready.order(Command.FORCE_START)
    assert ready.state is S.STARTED and not machine._dual.was_started_in_silence


@pytest.mark.parametrize(("by_ack", "was_started_in_silence"), [(True, False), (False, True)])
def test_started_copy_is_the_younger_if_it_was_started_in_silence(
    by_ack: bool, was_started_in_silence: bool
) -> None:
    """Started on an acknowledgement the peer was out by then.

    In silence it may have run it all along.
    """
    bench = Bench()
    if by_ack:
        bench.started()
    else:
        bench.run(TIMEOUT_S + START_READY_DELAY_S + 0.1)
        bench.ends(K.CHECK)
        bench.ends(K.START)
    assert bench.state is S.STARTED
    assert bench.engine._services["registry"]._dual.was_started_in_silence is was_started_in_silence


def test_copy_started_on_the_word_of_a_peer_that_came_back_is_not_the_younger() -> None:
    """The check-up began in silence.

    Then the peer is heard, out, and acknowledges: it runs nothing.
    """
    bench = Bench()
    bench.run(TIMEOUT_S + START_READY_DELAY_S + 0.1)
    assert bench.state is S.STARTING
    bench.run(0.6, S.STOPPED)
    bench.ends(K.CHECK)
    if bench.state is S.START_READY:
        bench.run(0.6, S.STOPPED)
        bench.ends(K.CHECK)
    bench.ends(K.START)
    assert (
        bench.state is S.STARTED
        and not bench.engine._services["registry"]._dual.was_started_in_silence
    )


@pytest.mark.parametrize("own", [S.STARTED, S.FROZEN_START])
@pytest.mark.parametrize("peer", [S.STARTED, S.FROZEN_START])
def test_two_copies_are_reported_once_frozen_or_not_and_once_when_it_is_over(
    own: S, peer: S
) -> None:
    """Whichever of them is frozen."""
    bench = Bench(S.FROZEN_START)
    if own is S.STARTED:
        bench.order(Command.FORCE_START)
    first = bench.hear(peer) + bench.hear(peer)
    assert [item.is_alarm for item in records(first, "DUAL RUN")] == [True]
    over = bench.hear(S.STOPPED) + bench.hear(S.STOPPED)
    reported = [item for item in over if isinstance(item, Record) and item.old == "DUAL RUN"]
    assert [(item.new, item.is_alarm) for item in reported] == [(own.name, False)]


@pytest.mark.parametrize("state", [state for state in S if state not in (S.STARTED, S.STARTING)])
def test_only_what_the_engine_started_is_doubted_after_an_absence(state: S) -> None:
    """A restarted daemon doubts STARTED and STARTING; anything else is what it is."""
    assert not Bench(state).engine._services["registry"].is_ownership_unconfirmed
    for doubted in (S.STARTED, S.STARTING):
        assert Bench(doubted).engine._services["registry"].is_ownership_unconfirmed


def test_doubt_ends_with_the_word_of_a_peer_that_has_heard_us() -> None:
    """STOPPED or busy otherwise, and acknowledged: sure again.

    Not acknowledged: still in doubt; started: stop here.
    """
    for announced in (S.STOPPED, S.FROZEN_STOP, S.STOPPING, S.START_FAILED):
        bench = Bench(S.STARTED)
        assert bench.engine.beat().states["registry"] is S.UNKNOWN and bench.engine.beat().wants_ack
        bench.hear(announced)
        bench.run(0.1)
        assert bench.engine.beat().states["registry"] is S.STARTED, announced
    for announced in (S.START_READY, S.STARTING):
        bench = Bench(S.STARTED)
        bench.hear(announced)
        assert bench.engine._services["registry"].is_ownership_unconfirmed
    bench = Bench(S.STARTED)
    assert scripts(bench.hear(S.STARTED)) == [K.STOP]


def test_doubt_waits_for_the_wrapper() -> None:
    """The status script of a restarted daemon still runs: the peer's word ends nothing."""
    bench = Bench(S.STARTED, must_probe=True)
    bench.hear(S.STOPPED)
    assert bench.engine._services["registry"].is_ownership_unconfirmed
    bench.ends(K.PROBE, End.UP)
    assert (
        bench.state is S.STARTED and not bench.engine._services["registry"].is_ownership_unconfirmed
    )


def test_forced_start_is_in_no_doubt() -> None:
    """The operator's word ends it, though the service is STARTED already: the peer's copy is
    reported, this one stays.
    """
    bench = Bench(S.STARTED)
    bench.order(Command.FORCE_START)
    assert not bench.engine._services["registry"].is_ownership_unconfirmed
    assert scripts(bench.hear(S.STARTED)) == [] and bench.state is S.STARTED


def test_doubt_ends_with_the_service() -> None:
    """A doubtful service is stopped: the next time that it is started there is nothing to ask."""
    bench = Bench(S.STARTED)
    bench.order(Command.STOP)
    bench.ends(K.STOP)
    assert not bench.engine._services["registry"].is_ownership_unconfirmed


# leaving


def test_leaving_with_services_waits_for_their_stop_and_says_goodbye_three_times() -> None:
    """Each goodbye after its gap, then the end; nothing is done afterwards."""
    bench = Bench().started()
    assert scripts(bench.step(LeaveRequested(Leaving.STOP_SERVICES))) == [K.STOP]
    assert not any(beat.goodbye is not Goodbye.NONE for beat in beats(bench.run(3)))
    announced = beats(bench.ends(K.STOP))
    assert [beat.goodbye for beat in announced][-1] is Goodbye.LEFT and announced[-1].states[
        "registry"
    ] is S.STOPPED
    first_at = bench.now
    times = [first_at]
    while len(times) < GOODBYE_REPEATS:
        bench.now = bench.engine.next_deadline()
        done = bench.step(Tick())
        assert [beat.goodbye for beat in beats(done)] == [Goodbye.LEFT]
        times.append(bench.now)
    assert [round(after - before, 6) for before, after in zip(times, times[1:])] == [
        GOODBYE_GAP_S
    ] * (GOODBYE_REPEATS - 1)
    assert isinstance(done[-1], Exit)
    assert bench.engine.step(Tick(), bench.now + 1) == []


def test_goodbye_is_not_sent_faster_than_its_gap() -> None:
    """Beats of the peer come in meanwhile."""
    bench = Bench(S.FROZEN_STOP)
    bench.step(LeaveRequested(Leaving.STOP_SERVICES))
    bench.now += GOODBYE_GAP_S / 2
    assert beats(bench.hear(S.STOPPED)) == []


@pytest.mark.parametrize("ends", [False, True])
def test_leaving_without_stopping_waits_for_a_script_for_its_time(ends: bool) -> None:
    """A stop script runs: RESTART is reported when it ends, or after ten seconds."""
    bench = Bench().started()
    bench.order(Command.STOP)
    bench.run(1)
    bench.step(LeaveRequested(Leaving.KEEP_SERVICES))
    done = bench.run(LEAVE_SCRIPT_WAIT_S - 0.5)
    assert not any(beat.goodbye is not Goodbye.NONE for beat in beats(done))
    done = bench.ends(K.STOP) if ends else bench.run(0.55)
    assert [beat.goodbye for beat in beats(done)][-1] is Goodbye.RESTART


def test_leaving_without_stopping_reports_it_at_once_where_no_script_runs() -> None:
    """The service keeps running, and reports STARTED."""
    bench = Bench().started()
    announced = beats(bench.step(LeaveRequested(Leaving.KEEP_SERVICES)))
    assert (announced[-1].goodbye, announced[-1].states["registry"]) == (Goodbye.RESTART, S.STARTED)


def test_leaving_may_become_stricter_but_not_laxer() -> None:
    """`stop` while a restart waits stops the services.

    A restart asked for later does not keep them.
    """
    bench = Bench().started()
    bench.step(LeaveRequested(Leaving.STOP_SERVICES))
    assert bench.state is S.STOPPING
    bench.step(LeaveRequested(Leaving.KEEP_SERVICES))
    bench.run(LEAVE_SCRIPT_WAIT_S + 1)
    assert not any(beat.goodbye is not Goodbye.NONE for beat in beats(bench.done))
    bench.ends(K.STOP)
    assert beats(bench.done)[-1].goodbye is Goodbye.LEFT


def test_leaving_node_gives_up_a_start_that_has_not_begun() -> None:
    """START_READY steps back before LEFT is announced."""
    bench = Bench()
    bench.hear(S.STOPPED, is_acked=False)
    assert bench.state is S.START_READY
    done = bench.step(LeaveRequested(Leaving.STOP_SERVICES))
    assert bench.state is S.STOPPED
    assert [
        (beat.goodbye, beat.states["registry"])
        for beat in beats(done)
        if beat.goodbye is not Goodbye.NONE
    ][0] == (Goodbye.LEFT, S.STOPPED)


@pytest.mark.parametrize("busy_s, is_started", [(4.0, True), (6.0, False)])
def test_acknowledgement_that_grew_old_while_the_engine_was_busy_starts_nothing(
    busy_s: float, is_started: bool
) -> None:
    """The check-up ends while the engine waits for its disk: by then the peer's patience (10 s) may
    be over, or not.

    The listeners continued, so it is no stall; the end of the script is the first thing that the
    engine looks at.
    """
    bench = Bench()
    bench.hear(S.STOPPED)
    bench.now += 0.1
    assert K.CHECK in scripts(bench.hear(S.STOPPED))
    bench.run(5)
    bench.now += busy_s
    bench.engine.mark_busy_until(bench.now)
    assert (K.START in scripts(bench.ends(K.CHECK))) is is_started


@pytest.mark.parametrize("kind", [K.CHECK, K.START])
def test_script_that_was_put_off_after_a_stall_is_decided_again(kind: K) -> None:
    """Its turn came when this node had stood still: START_READY again, and the peer must
    acknowledge that again.
    """
    bench = _at_script(kind)
    assert scripts(bench.ends(kind, End.POSTPONED)) == [] and bench.state is S.START_READY
    assert scripts(bench.hear(S.STOPPED, is_acked=False)) == []
    assert scripts(bench.run(BEAT_INTERVAL_S)) == []
    assert scripts(bench.hear(S.STOPPED)) == [K.CHECK]
    bench = _at_script(kind)
    bench.ends(kind, End.POSTPONED)
    assert scripts(bench.hear(S.STARTED)) == [] and bench.state is S.STOPPED


def test_start_that_was_put_off_says_why_and_comes_by_itself() -> None:
    """The peer acknowledges START_READY at once: nothing else happens that would be a reason to
    look at it again.
    """
    bench = _at_script(K.START)
    bench.step(ScriptExited("registry", K.START, End.POSTPONED, "the peer was not heard"))
    assert scripts(bench.hear(S.STOPPED)) == [] and bench.state is S.START_READY
    (shown,) = bench.engine.snapshot(bench.now).services
    assert shown.reason == "not begun: the peer was not heard; tried again within seconds"
    assert scripts(bench.run(BEAT_INTERVAL_S + 0.1)) == [K.CHECK]


def _at_script(kind: K) -> Bench:
    """The check-up script of a start is asked for, or it succeeded and the start script is."""
    bench = Bench()
    bench.hear(S.STOPPED)
    bench.now += 0.1
    bench.hear(S.STOPPED)
    if kind is K.START:
        bench.ends(K.CHECK)
    return bench


def test_command_for_a_service_of_other_nodes_is_refused_as_such() -> None:
    """Not by its state: this node is neither its primary nor its secondary."""
    bench = Bench().started()
    done = bench.step(CommandReceived(4, "elsewhere", Command.STOP))
    answers = [item for item in done if isinstance(item, Answer)]
    assert [(item.code, item.is_refused, item.is_ok, item.is_last) for item in answers] == [
        (AnswerCode.NOT_CONFIGURED, True, False, True)
    ]


def test_commands_are_refused_while_leaving() -> None:
    """The operator is informed why."""
    bench = Bench().started()
    bench.step(LeaveRequested(Leaving.STOP_SERVICES))
    answer = bench.order(Command.FORCE_STOP, 4)[-1]
    assert (answer.command_id, answer.code, answer.is_ok) == (
        4,
        AnswerCode.REFUSED,
        False,
    ) and "leaving" in answer.detail


# what the peer reports when it goes


def test_peer_that_left_is_taken_over_at_once_or_after_its_restart_hold() -> None:
    """LEFT and STOPPED: at once; RESTART and STARTED: after the hold, the delay and a check-up."""
    bench = Bench()
    bench.hear(S.STARTED)
    assert K.CHECK in scripts(bench.hear(S.STOPPED, Goodbye.LEFT))
    bench = Bench()
    bench.hear(S.STARTED)
    bench.hear(S.STARTED, Goodbye.RESTART)
    gone_at = bench.now
    assert scripts(bench.run(RESTART_HOLD_S + START_READY_DELAY_S - 0.1)) == []
    assert K.CHECK in scripts(bench.run(0.3))
    assert bench.now - gone_at < RESTART_HOLD_S + START_READY_DELAY_S + 0.5


def test_acknowledgement_is_answered_at_once_only_where_it_is_asked_for() -> None:
    """A beat that wants an answer gets it within 20 ms; any other waits for the next beat."""
    bench = Bench(S.FROZEN_STOP)
    bench.hear(S.STOPPED)
    bench.run(0.5)
    assert beats(bench.hear(S.STOPPED) + bench.run(0.1)) == []
    answer = beats(bench.hear(S.START_READY, wants_ack=True) + bench.run(0.02))
    assert [beat.ack for beat in answer] == [Ack(LIFE, bench.seq)]


def test_answer_does_not_wait_for_a_beat_that_has_just_left() -> None:
    """A planned move: STOPPED was announced a moment ago, and the peer, which waits for the answer
    with its start, asks at once. Requests that follow one another share an answer.
    """
    bench = Bench().started()
    bench.order(Command.STOP)
    bench.ends(K.STOP)
    assert bench.engine.beat().states["registry"] is S.STOPPED
    bench.now += 0.001
    answer = beats(bench.hear(S.START_READY, wants_ack=True))
    assert [beat.ack for beat in answer] == [Ack(LIFE, bench.seq)]
    bench.now += 0.001
    assert beats(bench.hear(S.START_READY, wants_ack=True) + bench.run(ACK_GAP_S - 0.002)) == []
    assert [beat.ack for beat in beats(bench.run(0.002))] == [Ack(LIFE, bench.seq)]


def test_beat_is_due_each_second_and_not_before() -> None:
    """Nothing happens: one beat a second, with numbers that go up by one."""
    bench = Bench(S.FROZEN_STOP)
    first = bench.engine.seq
    assert [beat.seq for beat in beats(bench.run(0.99))] == []
    assert [beat.seq for beat in beats(bench.run(4.0))] == [
        first + 1,
        first + 2,
        first + 3,
        first + 4,
    ]


def test_failed_starts_are_counted_until_an_operator_acts() -> None:
    """By the policy it is handed over twice.

    The third failure within ten minutes stays, until an operator begins again.
    """
    bench = Bench(policy=Policy(on_start_failure=OnStartFailure.HAND_OVER))

    def fails() -> S:
        while bench.state is not S.STARTING:
            bench.run(0.5, S.STOPPED)
        bench.ends(K.CHECK)
        bench.ends(K.START, End.FAILED)
        bench.run(0.6, S.STOPPED)
        after = bench.state
        if after is S.STOPPING:
            bench.ends(K.STOP)
        return after

    assert [fails(), fails(), fails()] == [S.STOPPING, S.STOPPING, S.START_FAILED]
    bench.order(Command.FREEZE_STOP)
    bench.ends(K.STOP)
    bench.order(Command.UNFREEZE)
    assert [fails(), fails(), fails()] == [S.STOPPING, S.STOPPING, S.START_FAILED]


def test_handed_over_service_is_held_for_its_own_time() -> None:
    """The peer, STOPPED, does not take it: this node tries again after 30 s, not after the hold of
    a stop.
    """
    bench = Bench(policy=Policy(on_start_failure=OnStartFailure.HAND_OVER))
    bench.run(0.6, S.STOPPED)
    bench.ends(K.CHECK)
    bench.ends(K.START, End.FAILED)
    bench.run(0.6, S.STOPPED)
    bench.ends(K.STOP)
    bench.run(START_FAILURE_HOLD_S - 0.2, S.STOPPED)
    assert bench.state is S.STOPPED
    bench.run(1, S.STOPPED)
    assert bench.state is S.STARTING


def test_force_stop_of_a_stopped_service_is_done_and_answered_once() -> None:
    """Nothing changes but the hold, and that is what was asked for."""
    bench = Bench(S.STOPPED)
    answers = bench.order(Command.FORCE_STOP, 3)
    assert [(item.command_id, item.code, item.is_ok, item.is_last) for item in answers] == [
        (3, AnswerCode.READY_FORCE_STOP, True, False),
        (3, AnswerCode.STOPPED, True, True),
    ]


def test_services_that_nothing_happened_to_are_not_looked_at(
    mocker: MockerFixture,
) -> None:
    """A beat without news: none is evaluated, nor while one waits for an acknowledgement.

    With a change of the peer, all are.
    """
    bench = Bench(S.FROZEN_STOP)
    bench.hear(S.STOPPED)
    spy = watch_evaluations(mocker)
    bench.run(0.9)
    bench.hear(S.STOPPED)
    bench.run(3)
    assert evaluated(spy) == []
    bench.hear(S.STARTED)
    assert evaluated(spy) == ["registry"]
    waiting = Bench()
    waiting.hear(S.STOPPED, is_acked=False)
    assert waiting.state is S.START_READY
    spy.reset_mock()
    waiting.run(0.3)
    waiting.hear(S.STOPPED, is_acked=False)
    assert evaluated(spy) == []


def test_services_that_only_one_node_has_are_recorded_when_they_are_seen() -> None:
    """The peer speaks of none of ours: an alarm at the first beat, and not at each."""
    bench = Bench(S.FROZEN_STOP)
    stranger = Beat("deb2", LIFE, 1, None, {"busybox": S.STOPPED})
    done = bench.step(BeatReceived(bench.link, stranger, bench.now))
    assert len(records(done, "SERVICES DIFFER")) == 2
    bench.now += 1
    again = replace(stranger, seq=2)
    assert records(bench.step(BeatReceived(bench.link, again, bench.now)), "SERVICES DIFFER") == []


def test_freeze_and_unfreeze_of_a_running_service_ask_no_wrapper() -> None:
    """freeze-start of what runs: two words; unfreeze: no script."""
    bench = Bench().started()
    assert [item.code for item in bench.order(Command.FREEZE_START)] == [
        AnswerCode.READY_FREEZE_START,
        AnswerCode.FROZEN_START,
    ]
    assert scripts(bench.step(CommandReceived(2, "registry", Command.UNFREEZE))) == []
    assert bench.state is S.STARTED


def test_hold_after_a_failed_write_is_none_for_the_peer() -> None:
    """The peer starts it and stops it within the ten seconds: the disk is no better for that."""
    bench = Bench()
    bench.hear(S.STOPPED, is_acked=False)
    bench.step(StoreFailed("registry", "no space"))
    bench.run(2, S.STARTED)
    bench.run(STORE_RETRY_S - 2.5, S.STOPPED)
    assert bench.state is S.STOPPED
    bench.run(2, S.STOPPED)
    assert bench.state is S.STARTING


def test_start_that_was_asked_for_and_overtaken_is_held_no_longer() -> None:
    """`stop`, `start`, and the peer takes it during the check-up, then lets it go: this node takes
    it without the old hold.
    """
    bench = Bench().started()
    bench.order(Command.STOP)
    bench.ends(K.STOP)
    bench.run(0.2)
    bench.order(Command.START)
    bench.run(0.6, S.STOPPED)
    assert bench.state is S.STARTING
    bench.hear(S.STARTING)
    bench.ends(K.CHECK)
    assert bench.state is S.STOPPED
    bench.hear(S.STOPPED)
    bench.run(0.1)
    assert bench.state in (S.START_READY, S.STARTING)


# stalls

STALL_S = STALL_FRACTION * TIMEOUT_S


def _wake(bench: Bench, late_s: float) -> list[Action]:
    """The next timer comes that much too late."""
    bench.now = bench.engine.next_deadline() + late_s
    return bench.step(Tick())


def test_late_timer_is_a_stall_from_a_quarter_of_the_shortest_timeout() -> None:
    """2.4 s late is none, 2.5 s is; it is an alarm."""
    bench = Bench(S.FROZEN_STOP)
    assert records(_wake(bench, STALL_S - 0.1), "STALLED") == []
    bench = Bench(S.FROZEN_STOP)
    assert [item.is_alarm for item in records(_wake(bench, STALL_S), "STALLED")] == [True]


def test_stalls_in_a_row_are_reported_once_for_each_timeout() -> None:
    """Again within the timeout: not reported; later: reported."""
    bench = Bench(S.FROZEN_STOP)
    assert records(_wake(bench, STALL_S), "STALLED")
    assert records(_wake(bench, STALL_S), "STALLED") == []
    assert records(_wake(bench, STALL_S), "STALLED") == []
    assert records(_wake(bench, TIMEOUT_S), "STALLED")


def test_first_step_is_never_late() -> None:
    """A daemon that took a minute to begin was not stalled: it had heard nothing yet."""
    bench = Bench(S.FROZEN_STOP, is_begun=False)
    bench.now += 60
    assert records(bench.step(Tick()), "STALLED") == []


def test_stall_makes_the_peer_silent_only_after_a_full_hearing() -> None:
    """Heard 9 s ago when it wakes: no verdict for 10 s more."""
    bench = Bench(S.FROZEN_STOP)
    bench.hear(S.STARTED)
    bench.now += 9
    woke_at = bench.now
    bench.step(Tick())
    bench.run(TIMEOUT_S - 0.1)
    assert bench.engine.snapshot(bench.now).peer_standing is PeerStanding.LIVE
    bench.run(0.2)
    assert bench.engine.snapshot(bench.now).peer_standing is PeerStanding.SILENT
    assert bench.now - woke_at > TIMEOUT_S


def test_beat_that_waited_in_the_inbox_is_a_stall() -> None:
    """Received 2.5 s before it is handled, though no timer is late: others may wait behind it."""
    for waited_s, is_stall in ((STALL_S, True), (STALL_S - 0.1, False)):
        bench = Bench(S.FROZEN_STOP)
        for _ in range(4):
            bench.now += 0.9
            bench.step(Tick())
        beat = Beat("deb2", LIFE, 1, None, {"registry": S.STOPPED})
        done = bench.step(BeatReceived(bench.link, beat, bench.now - waited_s))
        assert bool(records(done, "STALLED")) is is_stall


def test_slow_disk_is_no_stall() -> None:
    """The caller reports until when it worked: neither the timer nor the beat that waited for that
    is late.
    """
    for event_of in (
        lambda bench: Tick(),
        lambda bench: BeatReceived(
            bench.link, Beat("deb2", LIFE, 1, None, {"registry": S.STOPPED}), bench.now - 4.9
        ),
    ):
        bench = Bench(S.FROZEN_STOP)
        bench.now += 5
        bench.engine.mark_busy_until(bench.now)
        assert records(bench.step(event_of(bench)), "STALLED") == []
        assert records(_wake(bench, STALL_S), "STALLED")


def test_acknowledgement_from_before_a_stall_is_asked_for_again() -> None:
    """The check-up ends after a stall: no start.

    The acknowledgement of the next beat is enough for a new check-up.
    """
    bench = Bench()
    bench.run(0.6, S.STOPPED)
    assert bench.state is S.STARTING
    _wake(bench, STALL_S)
    seq = bench.engine.seq
    assert scripts(bench.ends(K.CHECK)) == []
    assert bench.state is S.START_READY
    beat = Beat("deb2", LIFE, 50, Ack(OWN, seq), {"registry": S.STOPPED})
    assert scripts(bench.step(BeatReceived(bench.link, beat, bench.now))) == []
    bench.now += 0.1
    assert scripts(
        bench.step(
            BeatReceived(bench.link, replace(beat, seq=51, ack=Ack(OWN, seq + 1)), bench.now)
        )
    ) == [K.CHECK]


@pytest.mark.parametrize(("mute_s", "is_doubtful"), [(TIMEOUT_S - 0.1, False), (TIMEOUT_S, True)])
def test_owner_doubts_itself_once_it_was_mute_for_its_peers_timeout(
    mute_s: float, is_doubtful: bool
) -> None:
    """The last beat was so long ago: the peer may have taken the service."""
    bench = Bench().started()
    bench.run(0.6, S.STOPPED)
    announced_at = bench.engine._announcer.beat_at
    bench.now = announced_at + mute_s
    bench.step(Tick())
    assert bench.engine._services["registry"].is_ownership_unconfirmed is is_doubtful
    announced = bench.engine.beat()
    assert (
        announced.states["registry"] is (S.UNKNOWN if is_doubtful else S.STARTED)
        and announced.wants_ack is is_doubtful
    )


def test_node_without_links_is_never_stalled() -> None:
    """There is nothing to listen to."""
    engine = Engine(
        ClusterSpec("deb1", "deb2", (), services()),
        OWN,
        {"registry": RecoveredState(S.STARTED)},
        0.0,
    )
    engine.step(Tick(), 0.0)
    assert records(engine.step(Tick(), 500.0), "STALLED") == []
    assert engine.snapshot(500.0).peer_standing is PeerStanding.UNKNOWN


# links and the peer, as recorded


def test_links_and_peer_are_recorded_when_they_come_and_go() -> None:
    """Up and live with the first beat.

    Down and silent, both alarms, after the timeout; a goodbye is no alarm.
    """
    bench = Bench(S.FROZEN_STOP)
    done = bench.hear(S.STOPPED) + bench.hear(S.STOPPED)
    reported = [(item.old, item.new, item.is_alarm) for item in done if isinstance(item, Record)]
    assert reported == [("DOWN", "UP", False), ("UNHEARD", "LIVE", False)]
    reported = [
        (item.old, item.new, item.is_alarm)
        for item in bench.run(TIMEOUT_S + 1)
        if isinstance(item, Record)
    ]
    assert reported == [("UP", "DOWN", True), ("LIVE", "SILENT", True)]
    bench.hear(S.STOPPED)
    done = bench.hear(S.STOPPED, Goodbye.RESTART) + bench.run(RESTART_HOLD_S + 5)
    reported = [(item.old, item.new, item.is_alarm) for item in done if isinstance(item, Record)]
    assert reported == [("UP", "DOWN", False), ("LIVE", "LEFT", False)]


def test_peers_state_is_mirrored_when_it_changes() -> None:
    """Written once for each change, UNKNOWN when it falls silent."""
    bench = Bench(S.FROZEN_STOP)
    done = (
        bench.hear(S.STARTED)
        + bench.hear(S.STARTED)
        + bench.hear(S.STOPPED)
        + bench.run(TIMEOUT_S + 1)
    )
    assert [item.state for item in done if isinstance(item, MirrorPeer)] == [
        S.STARTED,
        S.STOPPED,
        S.UNKNOWN,
    ]


def test_strangers_and_unknown_links_are_ignored() -> None:
    """Another node's name, our own name, a link that is not listened to."""
    bench = Bench(S.FROZEN_STOP)
    for node, link in (("deb3", bench.link), ("deb1", bench.link), ("deb2", links(count=2)[1])):
        beat = Beat(node, LIFE, 1, None, {"registry": S.STARTED})
        assert bench.engine.step(BeatReceived(link, beat, bench.now), bench.now) == []
    assert bench.engine.snapshot(bench.now).peer_standing is PeerStanding.UNKNOWN


def test_first_beat_of_a_life_is_answered_at_once() -> None:
    """So that a restarted peer knows that it is heard; its next beats are not."""
    bench = Bench(S.FROZEN_STOP)
    bench.run(0.5)
    for boot, is_answered in ((LIFE, True), (LIFE, False), (BootId(2, 22), True)):
        bench.seq += 1
        beat = Beat("deb2", boot, bench.seq, None, {"registry": S.STOPPED}, facts=Facts())
        done = bench.step(BeatReceived(bench.link, beat, bench.now)) + bench.run(0.1)
        assert bool(beats(done)) is is_answered


def test_names_go_with_the_beat_until_the_peer_has_them() -> None:
    """A peer that speaks of other services, or was never heard, gets the names."""
    bench = Bench(S.FROZEN_STOP)
    assert [item.with_names for item in bench.done if isinstance(item, Announce)] == [True]
    bench.hear(S.STOPPED)
    assert [item.with_names for item in bench.run(3) if isinstance(item, Announce)] == [False] * 3


def test_reason_and_instant_of_a_state_are_those_of_its_beginning() -> None:
    """Stopped and begun again: since when, and on what ground, and nothing of the time before."""
    bench = Bench().started()
    bench.run(3, S.STOPPED)
    bench.order(Command.STOP)
    bench.ends(K.STOP)
    stopped_at = bench.now
    done = bench.run(STOP_HOLD_S - 0.1, S.STOPPED)
    assert bench.engine.snapshot(bench.now).services[0].since == stopped_at
    done += bench.run(0.2, S.STOPPED)
    assert [item.reason for item in records(done, "START_READY")] == ["peer is out"]


def test_start_that_failed_in_silence_is_not_forgotten() -> None:
    """Something was started: only an operator ends START_FAILED, whether the peer is heard or not.

    It is an alarm.
    """
    bench = Bench()
    bench.run(TIMEOUT_S + START_READY_DELAY_S + 0.1)
    bench.ends(K.CHECK)
    assert [item.is_alarm for item in records(bench.ends(K.START, End.FAILED), "START_FAILED")] == [
        True
    ]
    bench.run(3, S.STOPPED)
    assert bench.state is S.START_FAILED


def test_forced_start_after_a_failed_one_is_as_good_as_any() -> None:
    """Stopped later, it is held as after any stop, not as after a failure."""
    bench = Bench(policy=Policy(on_start_failure=OnStartFailure.HAND_OVER))
    bench.run(0.6, S.STOPPED)
    bench.ends(K.CHECK)
    bench.now += 0.1
    bench.engine.step(ScriptExited("registry", K.START, End.FAILED, ""), bench.now)
    assert bench.state is S.START_FAILED
    bench.engine.step(CommandReceived(1, "registry", Command.FORCE_START), bench.now)
    assert bench.state is S.STARTED
    bench.order(Command.STOP)
    bench.ends(K.STOP)
    bench.run(STOP_HOLD_S + 1, S.STOPPED)
    assert bench.state is S.STARTING


# a service that somebody started by hand


@pytest.mark.parametrize("state", [S.STOPPED, S.FROZEN_STOP])
def test_out_is_not_announced_before_the_wrapper_was_asked(state: S) -> None:
    """The peer starts the service on "out": the first beat reports UNKNOWN, the one after the
    answer reports what is so.
    """
    bench = Bench(state, must_probe=True)
    assert scripts(bench.done) == [K.PROBE]
    assert {
        beat.states["registry"] for beat in beats(bench.done + bench.run(3, S.FROZEN_START))
    } == {S.UNKNOWN}
    assert bench.order(Command.UNFREEZE)[-1].code is AnswerCode.REFUSED
    bench.ends(K.PROBE, End.DOWN)
    assert [beat.states["registry"] for beat in beats(bench.run(BEAT_INTERVAL_S))] == [state]


@pytest.mark.parametrize("state", [S.STOPPED, S.FROZEN_STOP, S.START_FAILED, S.STOP_FAILED])
def test_service_that_is_found_up_is_frozen_as_started_and_is_an_alarm(state: S) -> None:
    """It was started outside the cluster: the operator is informed, and the peer is informed that
    it runs.
    """
    bench = Bench(state, must_probe=True)
    bench.hear(S.FROZEN_STOP)
    done = bench.ends(K.PROBE, End.UP)
    assert bench.state is S.FROZEN_START
    assert beats(bench.run(BEAT_INTERVAL_S))[0].states["registry"] is S.FROZEN_START
    found = records(done, "FROZEN_START")
    assert [record.is_alarm for record in found] == [state in (S.STOPPED, S.FROZEN_STOP)]


@pytest.mark.parametrize("state", [S.STOPPED, S.FROZEN_STOP, S.START_FAILED, S.STOP_FAILED])
@pytest.mark.parametrize("outcome", [End.DOWN, End.UNSURE])
def test_service_that_is_not_found_up_stays_as_in_its_file(state: S, outcome: End) -> None:
    """Down, or a wrapper that does not know the word."""
    bench = Bench(state, must_probe=True)
    bench.hear(S.STARTED)
    bench.ends(K.PROBE, outcome)
    assert bench.state is state and bench.engine.beat().states["registry"] is state


def test_freeze_stop_of_a_stopped_service_looks_and_stops_what_is_up() -> None:
    """Found up, or up in part: the stop script runs before FROZEN_STOP is reported, and the
    operator is answered then.
    """
    for outcome in (End.UP, End.SOME):
        bench = Bench(S.STOPPED)
        bench.hear(S.STARTED)
        assert [item.code for item in bench.order(Command.FREEZE_STOP)] == [
            AnswerCode.READY_FREEZE_STOP
        ]
        assert bench.engine.beat().states["registry"] is S.UNKNOWN
        assert scripts(bench.ends(K.PROBE, outcome)) == [K.STOP] and bench.state is S.STOPPING
        answers = [item for item in bench.ends(K.STOP) if isinstance(item, Answer)]
        assert bench.state is S.FROZEN_STOP and (answers[-1].code, answers[-1].is_ok) == (
            AnswerCode.FROZEN_STOP,
            True,
        )


def test_daemon_that_ended_while_a_freeze_stop_looked_continues_with_it() -> None:
    """STOPPED, to end in FROZEN_STOP: found up, it is stopped; found down, it is frozen."""
    for outcome, state in (
        (End.UP, S.STOPPING),
        (End.DOWN, S.FROZEN_STOP),
        (End.UNSURE, S.FROZEN_STOP),
    ):
        bench = Bench(S.STOPPED, must_probe=True, frozen_target=S.FROZEN_STOP)
        bench.ends(K.PROBE, outcome)
        assert bench.state is state


@pytest.mark.parametrize("state", [S.STOPPED, S.FROZEN_STOP])
def test_parts_that_are_up_keep_the_peer_from_starting_it_until_they_are_gone(state: S) -> None:
    """UNKNOWN is reported, an alarm is recorded once, the wrapper is asked again, and its "down"
    ends it.
    """
    bench = Bench(state, must_probe=True)
    bench.hear(S.STARTED)
    done = bench.ends(K.PROBE, End.SOME)
    assert [record.is_alarm for record in records(done, state.name)] == [True]
    done = bench.run(PROBE_AGAIN_S - 1, S.STARTED)
    assert scripts(done) == [] and {beat.states["registry"] for beat in beats(done)} == {S.UNKNOWN}
    assert scripts(bench.run(2, S.STARTED)) == [K.PROBE]
    assert records(bench.ends(K.PROBE, End.UNSURE), state.name) == []
    assert bench.engine.beat().states["registry"] is S.UNKNOWN
    assert scripts(bench.run(PROBE_AGAIN_S + 1, S.STARTED)) == [K.PROBE]
    bench.ends(K.PROBE, End.DOWN)
    assert bench.state is state and bench.engine.beat().states["registry"] is state
    assert scripts(bench.run(2 * PROBE_AGAIN_S, S.STARTED)) == []


@pytest.mark.parametrize("state", [S.STOPPED, S.FROZEN_STOP])
@pytest.mark.parametrize(
    "outcome, becomes",
    [(End.UP, S.FROZEN_START), (End.SOME, None), (End.UNSURE, None), (End.DOWN, None)],
)
def test_stopped_service_that_seems_up_is_asked_about_before_the_peer_hears_that_it_is_out(
    state: S, outcome: End, becomes: S | None
) -> None:
    """A look beside the engine found it up: UNKNOWN at once, and "out" again only where the wrapper
    reports that it is down.
    """
    bench = Bench(state)
    bench.hear(S.STOP_FAILED)
    done = bench.step(SeemsUp("registry"))
    assert scripts(done) == [K.PROBE] and bench.engine.beat().states["registry"] is S.UNKNOWN
    done = bench.ends(K.PROBE, outcome)
    assert bench.state is (becomes or state)
    announced = bench.engine.beat().states["registry"]
    assert announced is (becomes or (state if outcome is End.DOWN else S.UNKNOWN))
    alarms = [record for record in records(done, bench.state.name) if record.is_alarm]
    assert len(alarms) == (outcome is not End.DOWN), "recorded once, for whatever is not down"


def test_what_seemed_up_decides_nothing_where_the_engine_knows_better() -> None:
    """It runs, or a script of it does: what was seen beside the engine is what it did itself."""
    bench = Bench(S.STARTED)
    bench.hear(S.STOPPED)
    assert scripts(bench.step(SeemsUp("registry"))) == [] and bench.state is S.STARTED
    bench.order(Command.FREEZE_STOP)
    assert scripts(bench.step(SeemsUp("registry"))) == []
    bench.ends(K.STOP)
    assert bench.state is S.FROZEN_STOP and bench.engine.beat().states["registry"] is S.FROZEN_STOP
    assert scripts(bench.step(SeemsUp("another"))) == []


def test_parts_that_are_up_are_stopped_by_freeze_stop() -> None:
    """Frozen already, which would be refused otherwise: the stop script runs, and then the peer may
    have it.
    """
    bench = Bench(S.FROZEN_STOP, must_probe=True)
    bench.hear(S.STOPPED)
    bench.ends(K.PROBE, End.SOME)
    bench.order(Command.FREEZE_STOP)
    assert bench.state is S.STOPPING
    bench.ends(K.STOP)
    assert bench.state is S.FROZEN_STOP and bench.engine.beat().states["registry"] is S.FROZEN_STOP


def test_node_with_parts_of_it_up_takes_the_service_over_from_a_silent_peer() -> None:
    """The fence makes sure of the peer, and here it does no harm to start what is up in part."""
    bench = Bench(S.STOPPED, must_probe=True)
    bench.hear(S.STARTED)
    bench.ends(K.PROBE, End.SOME)
    bench.run(TIMEOUT_S + START_READY_DELAY_S + 1)
    assert bench.state is S.STARTING
    bench.ends(K.CHECK)
    bench.ends(K.START)
    assert bench.state is S.STARTED and bench.engine.beat().states["registry"] is S.STARTED


def test_operators_force_ends_what_is_known_of_parts() -> None:
    """force-stop reports that nothing runs here."""
    bench = Bench(S.STOPPED, must_probe=True)
    bench.hear(S.STARTED)
    bench.ends(K.PROBE, End.SOME)
    bench.order(Command.FORCE_STOP)
    assert bench.engine.beat().states["registry"] is S.STOPPED
