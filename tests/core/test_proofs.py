"""What one node takes for a proof, for how long, and of what: acknowledgements, scripts, doubts, an
operator's freeze.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.core.actions import (
    Announce,
    Answer,
    AnswerCode,
    Exit,
    MirrorPeer,
    Persist,
    Record,
    RememberFencing,
    RememberIncarnations,
    RunScript,
)
from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    CommandReceived,
    ConfigChanged,
    Event,
    LeaveRequested,
    Leaving,
    PeerForgotten,
    RecoveredState,
    ScriptExited,
    Tick,
)
from opensvc_openha.core.events import (
    ScriptKind as K,
)
from opensvc_openha.core.events import (
    ScriptOutcome as End,
)
from opensvc_openha.core.incarnations import NOBODY
from opensvc_openha.core.model import ClusterSpec, OnDualRun, OnStartFailure, Policy, Profile, Role
from opensvc_openha.core.states import MAY_RUN
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import (
    ACK_GAP_S,
    BACKLOG_S,
    DUAL_RUN_STEP_BEATS,
    FAST_START_READY_DELAY_S,
    GOODBYE_GAP_S,
    NEWS_GAP_S,
    RESTART_HOLD_S,
    SLOWING_DOWN_S,
    STALL_FRACTION,
    START_READY_DELAY_S,
    STOP_HOLD_S,
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
from tests.core.pair import CHECK_ALWAYS, TIMEOUT_S, links, services


def _checking() -> Bench:
    """The peer is out, acknowledged; the check-up script runs."""
    bench = Bench()
    bench.run(0.6, S.STOPPED)
    assert bench.state is S.STARTING
    return bench


@pytest.mark.parametrize("outcome", [End.OK, End.FAILED])
def test_end_of_another_script_is_not_taken_for_that_of_the_one_that_runs(outcome: End) -> None:
    """A check-up that ends again while the start runs, a start that ends while the stop runs:
    nothing follows.
    """
    bench = _checking()
    for kind in (K.START, K.STOP):
        assert scripts(bench.ends(kind, outcome)) == [] and bench.state is S.STARTING
    assert scripts(bench.ends(K.CHECK)) == [K.START]
    for kind in (K.CHECK, K.STOP):
        assert scripts(bench.ends(kind, outcome)) == [] and bench.state is S.STARTING
    bench.ends(K.START)
    bench.order(Command.STOP)
    for kind in (K.CHECK, K.START):
        assert scripts(bench.ends(kind, outcome)) == [] and bench.state is S.STOPPING
    bench.ends(K.STOP)
    assert bench.state is S.STOPPED


def _stalled(bench: Bench) -> Bench:
    """The node wakes after a timeout of its peer's in which it sent nothing."""
    bench.now += TIMEOUT_S + 1
    bench.step(Tick())
    return bench


def test_frozen_service_is_in_no_doubt_after_a_stall() -> None:
    """It is the operator's: nothing is asked, and once it is thawed beside a copy of the peer's,
    only the policy counts.
    """
    bench = _stalled(Bench(S.FROZEN_START))
    assert not bench.engine.beat().wants_ack
    bench.hear(S.STARTED)
    bench.order(Command.UNFREEZE)
    bench.run(3, S.STARTED)
    assert bench.state is S.STARTED and K.STOP not in scripts(bench.done)


def test_doubt_that_was_ended_by_freezing_does_not_come_back() -> None:
    """Stalled, frozen as started, thawed: it is announced as STARTED at once, whatever the peer
    reports.
    """
    bench = _stalled(Bench().started())
    assert bench.engine.beat().states["registry"] is S.UNKNOWN
    bench.order(Command.FREEZE_START)
    bench.order(Command.UNFREEZE)
    assert bench.engine.beat().states["registry"] is S.STARTED
    bench.run(3, S.STARTED)
    assert bench.state is S.STARTED and K.STOP not in scripts(bench.done)


def test_what_is_run_and_what_it_learns_of_the_peer() -> None:
    """The check-up is a script of its own; start, stop and status are the wrapper's.

    Each is given how the peer stands now.
    """
    bench = _checking()
    bench.ends(K.CHECK)
    bench.ends(K.START)
    bench.hear(S.FROZEN_STOP)
    bench.order(Command.STOP)
    probing = Bench(S.STARTED, must_probe=True)
    reported = [
        (item.kind, item.path, item.peer_state)
        for item in bench.done + probing.done
        if isinstance(item, RunScript)
    ]
    assert reported == [
        (K.CHECK, "/bin/true", S.STOPPED),
        (K.START, "/etc/registry", S.STOPPED),
        (K.STOP, "/etc/registry", S.FROZEN_STOP),
        (K.PROBE, "/etc/registry", S.UNKNOWN),
    ]


def test_commands_are_refused_while_a_leaving_daemon_waits_for_a_script() -> None:
    """It leaves its services running, but ends soon: whatever is begun now would have no end."""
    bench = Bench().started()
    bench.order(Command.STOP)
    bench.step(LeaveRequested(Leaving.KEEP_SERVICES))
    bench.ends(K.STOP, End.FAILED)
    other = _checking()
    other.step(LeaveRequested(Leaving.KEEP_SERVICES))
    for leaving in (bench, other):
        before = leaving.state
        assert [item.code for item in leaving.order(Command.FORCE_STOP, 5)] == [
            AnswerCode.REFUSED
        ] and leaving.state is before


@pytest.mark.parametrize("is_started_again", [False, True])
def test_copy_is_as_old_as_its_last_start(is_started_again: bool) -> None:
    """Started in silence it is the younger copy, and stops.

    Stopped and started again with the peer's word it is an old one.
    """
    bench = Bench(policy=Policy(on_dual_run=OnDualRun.STOP_YOUNGEST))
    bench.run(TIMEOUT_S + START_READY_DELAY_S + 0.1)
    bench.ends(K.CHECK)
    bench.ends(K.START)
    if is_started_again:
        bench.order(Command.STOP)
        bench.ends(K.STOP)
        bench.run(0.2, S.STOPPED)
        bench.order(Command.START)
        bench.run(0.6, S.STOPPED)
        bench.ends(K.CHECK)
        bench.ends(K.START)
    assert bench.state is S.STARTED
    assert scripts(bench.run(10, S.STARTED)) == ([] if is_started_again else [K.STOP])


@pytest.mark.parametrize("sent", [S.STOPPED, S.STOPPING, S.START_FAILED])
def test_doubt_after_a_stall_ends_with_the_very_beat_that_asks(sent: S) -> None:
    """What the peer acknowledged of the beats before proves nothing.

    The acknowledgement of the first one since does.
    """
    bench = _stalled(Bench().started())
    asked = bench.engine.seq
    for ack, announced in ((asked - 1, S.UNKNOWN), (asked, S.STARTED)):
        beat = Beat("deb2", LIFE, 90 + ack, Ack(OWN, ack), {"registry": sent})
        bench.step(BeatReceived(bench.link, beat, bench.now))
        assert bench.engine.beat().states["registry"] is announced


def test_doubt_ends_with_the_goodbye_of_a_peer_that_is_out() -> None:
    """It stopped its services and left: no other node runs this one, and none will be there to
    confirm it later.
    """
    bench = Bench(S.STARTED)
    bench.hear(S.STOPPED, Goodbye.LEFT)
    assert bench.engine.beat().states["registry"] is S.STARTED


# holds


def _stopped_for_the_peer() -> Bench:
    bench = Bench().started()
    bench.order(Command.STOP)
    bench.ends(K.STOP)
    bench.run(0.2)
    return bench


def test_hold_is_over_once_the_peer_has_run_the_service() -> None:
    """Only STARTED is heard of it, then STOPPED: this node takes it back at once."""
    bench = _stopped_for_the_peer()
    bench.hear(S.STARTED)
    bench.run(0.1)
    bench.hear(S.STOPPED)
    bench.run(0.1)
    assert bench.state in (S.START_READY, S.STARTING)


@pytest.mark.parametrize("sent", [S.STARTING, S.START_READY, S.STOPPING, S.START_FAILED, S.UNKNOWN])
def test_hold_continues_while_the_peer_has_not_run_the_service(sent: S) -> None:
    """It tried, or reports anything but that it runs it: it may take the service for as long as was
    granted.
    """
    bench = _stopped_for_the_peer()
    bench.hear(sent)
    bench.run(STOP_HOLD_S - 1, S.STOPPED)
    assert bench.state is S.STOPPED


def test_of_two_ready_nodes_one_yields_at_the_instant_and_not_with_the_next_beat() -> None:
    """Both are ready, deb2 by its name goes second: it steps back after 15 s, between two beats."""
    bench = Bench(node="deb2")
    machine = bench.engine._services["registry"]
    machine.role, machine.spec = (
        Role.PRIMARY,
        replace(machine.spec, primary="deb2", secondary="deb1"),
    )
    bench.hear(S.STOPPED, is_acked=False)
    ready_at = bench.now
    bench.now += 0.25
    while bench.now < ready_at + STUCK_S - 0.5:
        bench.hear(S.START_READY)
        bench.run(0.5)
    bench.run(ready_at + STUCK_S - 0.01 - bench.now)
    assert bench.state is S.START_READY
    bench.run(0.02)
    assert bench.state is S.STOPPED


def test_script_run_in_silence_learns_that() -> None:
    """The peer was heard as STARTED and fell silent: the check-up is given UNKNOWN and silent, the
    start after it as well.
    """
    bench = Bench()
    bench.hear(S.STARTED)
    done = bench.run(TIMEOUT_S + START_READY_DELAY_S + 0.1) + bench.ends(K.CHECK)
    reported = [
        (item.kind, item.peer_state, item.peer_standing)
        for item in done
        if isinstance(item, RunScript)
    ]
    assert reported == [
        (K.CHECK, S.UNKNOWN, PeerStanding.SILENT),
        (K.START, S.UNKNOWN, PeerStanding.SILENT),
    ]


def test_start_that_went_on_without_its_daemon_is_doubted_like_any_service_found_running() -> None:
    """A restarted daemon finds the start finished: UNKNOWN to the peer until that has confirmed
    that it did not take it.
    """
    bench = Bench(S.STARTING, must_probe=True)
    bench.ends(K.PROBE, End.UP)
    assert bench.state is S.STARTED
    assert bench.engine.beat().states["registry"] is S.UNKNOWN and bench.engine.beat().wants_ack
    assert scripts(bench.hear(S.STARTED)) == [K.STOP]


def test_service_that_is_being_started_announces_it_though_it_is_in_doubt() -> None:
    """A restarted daemon that asks its wrapper, a stall during the start script: the peer hears
    STARTING, and keeps away.
    """
    assert Bench(S.STARTING, must_probe=True).engine.beat().states["registry"] is S.STARTING
    bench = _checking()
    bench.ends(K.CHECK)
    _stalled(bench)
    assert bench.engine.beat().wants_ack and bench.engine.beat().states["registry"] is S.STARTING


def test_end_of_two_copies_is_no_alarm_where_this_one_was_stopped() -> None:
    """An operator stops the copy here, and the peer's stop script failed at the same time: that one
    is the one that is left.
    """
    bench = Bench().started()
    bench.hear(S.STARTED)
    bench.engine.step(CommandReceived(1, "registry", Command.STOP), bench.now)
    over = [
        item
        for item in bench.hear(S.STOP_FAILED)
        if isinstance(item, Record) and item.old == "DUAL RUN"
    ]
    assert [(item.new, item.is_alarm) for item in over] == [("STOPPING", False)]


@pytest.mark.parametrize("state", [state for state in S if state is not S.START_READY])
def test_service_may_be_in_use_while_the_wrapper_is_being_asked(state: S) -> None:
    """Whatever the STATE file states, until the status script has ended it may not be taken off the
    list.
    """
    assert Bench(state, must_probe=True).engine.may_run("registry")
    assert Bench(state).engine.may_run("registry") is (state in MAY_RUN)


def test_primary_whose_check_up_took_long_does_not_step_back_for_a_peer_that_is_ready() -> None:
    """Only two nodes that are both START_READY for long are stuck: after the check-up the primary
    is ready again, and stays.
    """
    bench = Bench(node="deb2")
    machine = bench.engine._services["registry"]
    machine.role, machine.spec = (
        Role.PRIMARY,
        replace(machine.spec, primary="deb2", secondary="deb1"),
    )
    bench.run(0.6, S.STOPPED)
    assert bench.state is S.STARTING
    bench.run(STUCK_S + 5, S.START_READY)
    assert scripts(bench.ends(K.CHECK)) == [] and bench.state is S.START_READY


def test_failed_service_that_is_forced_out_is_held_as_after_any_stop() -> None:
    """The operator reports that nothing runs: it is tried again after 5 s, not after the 30 s of a
    service that was handed over.
    """
    bench = Bench(policy=Policy(on_start_failure=OnStartFailure.HAND_OVER))
    bench.run(0.6, S.STOPPED)
    bench.ends(K.CHECK)
    bench.now += 0.1
    bench.engine.step(ScriptExited("registry", K.START, End.FAILED, ""), bench.now)
    bench.engine.step(CommandReceived(1, "registry", Command.FORCE_STOP), bench.now)
    assert bench.state is S.STOPPED
    bench.run(STOP_HOLD_S - 0.2, S.STOPPED)
    assert bench.state is S.STOPPED
    bench.run(1, S.STOPPED)
    assert bench.state is S.STARTING


def test_second_copy_stops_at_the_instant_of_its_turn_and_not_with_the_next_beat() -> None:
    """The young primary waits three beats for the secondary: STARTED until then, STOPPING at that
    very moment.
    """
    bench = Bench(policy=Policy(on_dual_run=OnDualRun.STOP_YOUNGEST))
    bench.run(TIMEOUT_S + START_READY_DELAY_S + 0.1)
    bench.ends(K.CHECK)
    bench.ends(K.START)
    bench.run(0.35)
    bench.hear(S.STARTED)
    met_at = bench.now
    bench.run(0.2)
    bench.hear(S.STARTED)
    bench.run(met_at + DUAL_RUN_STEP_BEATS - 0.01 - bench.now)
    assert bench.state is S.STARTED
    bench.run(0.02)
    assert bench.state is S.STOPPING


@pytest.mark.parametrize(
    ("late_s", "by_work"),
    [(STALL_FRACTION * TIMEOUT_S, False), (TIMEOUT_S + 1, False), (TIMEOUT_S + 1, True)],
)
def test_first_beat_after_a_stall_is_the_one_to_acknowledge(late_s: float, by_work: bool) -> None:
    """START_READY when the stall or a long write came: an acknowledgement of a beat before it is
    none, one of the next is.
    """
    bench = Bench()
    bench.hear(S.STOPPED, is_acked=False)
    bench.now = bench.engine.next_deadline() + late_s
    if by_work:
        bench.engine.mark_busy_until(bench.now)
    bench.step(Tick())
    first = bench.engine.seq
    assert bench.state is S.START_READY
    for ack, wanted in ((first - 1, []), (first, [K.CHECK])):
        beat = Beat("deb2", LIFE, 90 + ack, Ack(OWN, ack), {"registry": S.STOPPED})
        assert scripts(bench.step(BeatReceived(bench.link, beat, bench.now))) == wanted


def test_service_that_waits_continues_with_the_acknowledgement_beside_others_that_do_not() -> None:
    """Two services, one of them frozen: a beat without any news but the acknowledgement is enough
    for the other one.
    """
    spec = ClusterSpec(
        "deb1", "deb2", links(count=1), services("registry", "frozen"), fencing=CHECK_ALWAYS
    )
    engine = Engine(
        spec,
        OWN,
        {"registry": RecoveredState(S.STOPPED), "frozen": RecoveredState(S.FROZEN_STOP)},
        100.0,
    )
    engine.step(Tick(), 100.0)
    beat = Beat("deb2", LIFE, 1, None, {"registry": S.STOPPED, "frozen": S.STOPPED})
    engine.step(BeatReceived(spec.listeners[0], beat, 100.1), 100.1)
    assert engine.state_of("registry") is S.START_READY
    acked = replace(beat, seq=2, ack=Ack(OWN, engine.seq))
    assert scripts(engine.step(BeatReceived(spec.listeners[0], acked, 100.2), 100.2)) == [K.CHECK]


def test_owner_that_is_woken_by_a_beat_without_news_doubts_itself_at_once() -> None:
    """What ends the stall is a beat that reports the same as ever and acknowledges nothing new."""
    bench = Bench().started()
    bench.run(0.6, S.STOPPED)
    bench.now += TIMEOUT_S + 1
    bench.hear(S.STOPPED, is_acked=False)
    assert bench.engine.beat().states["registry"] is S.UNKNOWN


def test_owner_that_wrote_for_long_doubts_itself_like_one_that_was_stalled() -> None:
    """Nothing was sent for the peer's timeout: UNKNOWN in the very next beat, and again STARTED
    once the peer confirms.
    """
    bench = Bench().started()
    bench.now += TIMEOUT_S + 1
    bench.engine.mark_busy_until(bench.now)
    sent = beats(bench.step(Tick()))
    assert [(beat.states["registry"], beat.wants_ack) for beat in sent] == [(S.UNKNOWN, True)]
    bench.hear(S.STOPPED)
    assert bench.engine.beat().states["registry"] is S.STARTED


def test_daemon_that_was_long_in_starting_was_restarted_not_stalled() -> None:
    """It has sent nothing yet, so that it was mute is no news: what an operator reads is that the
    daemon was restarted.
    """
    bench = Bench(S.STARTED, is_begun=False)
    bench.now += 60
    bench.step(Tick())
    assert "the daemon was restarted" in bench.engine.snapshot(bench.now).services[0].reason


def test_what_waits_is_taken_for_a_moment_after_long_work_before_a_link_goes_down() -> None:
    """The disk held the engine beyond the timeout of a link: its verdict comes 50 ms after that, no
    sooner and no later.
    """
    bench = Bench(S.FROZEN_STOP)
    bench.hear(S.STOPPED)
    bench.now += TIMEOUT_S + 0.5
    bench.engine.mark_busy_until(bench.now)
    bench.step(Tick())
    ends_at = bench.now + BACKLOG_S
    for at, standing in (
        (ends_at - 0.001, PeerStanding.LIVE),
        (ends_at + 0.001, PeerStanding.SILENT),
    ):
        bench.run(at - bench.now)
        assert bench.engine.snapshot(bench.now).peer_standing is standing


def test_next_stall_is_reported_when_more_than_a_timeout_has_passed_since_the_last() -> None:
    """Exactly one timeout after it, it is still the same trouble."""
    bench = Bench(S.FROZEN_STOP)
    reported = []
    for later_s in (TIMEOUT_S, TIMEOUT_S, TIMEOUT_S + 0.5):
        bench.now += later_s
        reported.append(len(records(bench.step(Tick()), "STALLED")))
    assert reported == [1, 0, 1]


# when time alone moves a service


def _deadline(bench: Bench) -> float | None:
    return bench.engine._services["registry"].next_deadline(bench.engine._peer.view, bench.now)


def test_ready_service_is_next_looked_at_when_its_wait_may_end() -> None:
    """In silence after the delay, counted from the later of silence and readiness.

    With a peer, when both are stuck.
    """
    bench = Bench()
    bench.run(TIMEOUT_S + 1)
    assert bench.state is S.START_READY
    assert _deadline(bench) == 100.0 + TIMEOUT_S + START_READY_DELAY_S
    late = Bench(S.FROZEN_STOP)
    late.run(TIMEOUT_S + 20)
    late.order(Command.UNFREEZE)
    assert _deadline(late) == late.now + START_READY_DELAY_S
    heard = Bench()
    heard.hear(S.STOPPED, is_acked=False)
    assert heard.state is S.START_READY
    ready_at = heard.now
    assert _deadline(heard) == ready_at + STUCK_S
    heard.run(TIMEOUT_S + 1)
    assert _deadline(heard) == ready_at + TIMEOUT_S + START_READY_DELAY_S


def test_held_service_is_next_looked_at_when_the_hold_ends_and_no_other_is() -> None:
    """STOPPED after a stop: at the end of the hold.

    Then, or once it runs again by an operator's word, time moves nothing.
    """
    bench = Bench().started()
    assert _deadline(bench) is None
    bench.order(Command.STOP)
    bench.ends(K.STOP)
    ends_at = bench.now + STOP_HOLD_S
    assert _deadline(bench) == ends_at
    bench.now = ends_at
    assert _deadline(bench) is None
    forced = Bench(S.FROZEN_STOP)
    forced.order(Command.FORCE_STOP)
    assert _deadline(forced) == forced.now + STOP_HOLD_S
    forced.order(Command.FORCE_START)
    assert _deadline(forced) is None


# the order of what is done


ORDER = (
    Persist,
    RememberIncarnations,
    RememberFencing,
    Announce,
    MirrorPeer,
    RunScript,
    Record,
    Answer,
    Exit,
)


def test_what_is_announced_is_written_before_and_what_is_run_is_announced_before() -> None:
    """In every step of a service's life: states to disk, the beat, then scripts, the log, the
    operator, the end.
    """
    bench = Bench(S.FROZEN_STOP, is_begun=False)
    beat = Beat("deb2", LIFE, 1, Ack(OWN, 1), {"registry": S.STOPPED})
    seen: set[tuple[type, ...]] = set()

    def step(event: Event) -> None:
        bench.now += 0.1
        done = bench.engine.step(event, bench.now)
        kinds = [type(action) for action in done]
        assert kinds == sorted(kinds, key=ORDER.index), kinds
        seen.add(tuple(dict.fromkeys(kinds)))

    def hear(seq: int) -> None:
        step(
            BeatReceived(
                bench.link,
                replace(beat, seq=seq, ack=Ack(OWN, bench.engine.seq)),
                bench.now + 0.1,
                key_id=KEY,
            )
        )

    for event in (Tick(), CommandReceived(1, "registry", Command.UNFREEZE)):
        step(event)
    for seq in range(1, 5):
        hear(seq)
    step(ScriptExited("registry", K.CHECK, End.OK))
    step(ScriptExited("registry", K.START, End.OK))
    step(CommandReceived(2, "registry", Command.STOP))
    step(ScriptExited("registry", K.STOP, End.OK))
    step(LeaveRequested(Leaving.STOP_SERVICES))
    step(Tick())
    step(CommandReceived(3, "registry", Command.START))
    for together in (
        {RememberIncarnations, Announce},
        {Persist, Announce, RunScript, Record},
        {RunScript, Answer},
        {Announce, Answer, Exit},
    ):
        assert any(together <= set(kinds) for kinds in seen), together


@pytest.mark.parametrize("sent", [S.STARTED, S.STOPPED])
def test_nothing_is_begun_after_the_goodbye(sent: S) -> None:
    """The daemon has reported that it leaves its service as it is: no script, no state and no note
    follow, whatever is heard then.
    """
    bench = Bench(S.STARTED)
    bench.step(LeaveRequested(Leaving.KEEP_SERVICES))
    done = list(bench.hear(sent))
    for _ in range(2):
        bench.now += GOODBYE_GAP_S
        done += bench.engine.step(Tick(), bench.now)
    assert [type(item) for item in done if not isinstance(item, (Record, RememberFencing))] == [
        Announce,
        Announce,
        Exit,
    ]
    assert bench.state is S.STARTED and not records(done, "STOPPING")


def test_goodbye_that_was_begun_is_sent_to_its_end() -> None:
    """RESTART was reported once.

    An order to stop the services comes too late: LEFT would report that nothing runs here any more.
    """
    bench = Bench().started()
    bench.step(LeaveRequested(Leaving.KEEP_SERVICES))
    done = list(bench.step(LeaveRequested(Leaving.STOP_SERVICES)))
    for _ in range(2):
        bench.now += GOODBYE_GAP_S
        done += bench.engine.step(Tick(), bench.now)
    assert [(beat.goodbye, beat.states["registry"]) for beat in beats(done)] == [
        (Goodbye.RESTART, S.STARTED)
    ] * 2
    assert scripts(done) == []


def test_service_that_started_while_the_daemon_was_leaving_is_stopped_before_the_goodbye() -> None:
    """The start script ends after the order to leave: it is stopped first, and only then is it
    reported that all is out.
    """
    bench = _checking()
    bench.ends(K.CHECK)
    bench.step(LeaveRequested(Leaving.STOP_SERVICES))
    done = bench.ends(K.START)
    assert scripts(done) == [K.STOP]
    assert all(beat.goodbye is Goodbye.NONE for beat in beats(done))
    assert [beat.goodbye for beat in beats(bench.ends(K.STOP))][-1] is Goodbye.LEFT


# what was acknowledged, and when


def test_proof_is_void_after_a_long_write_in_which_the_peer_heard_nothing() -> None:
    """The disk held the engine for the peer's whole timeout.

    An agreement from before comes in late: nothing is started on it.
    """
    bench = _checking()
    sent = bench.engine.seq
    bench.now += TIMEOUT_S + 1
    bench.engine.mark_busy_until(bench.now)
    beat = Beat("deb2", LIFE, 90, Ack(OWN, sent), {"registry": S.STOPPED})
    bench.step(BeatReceived(bench.link, beat, bench.now))
    assert scripts(bench.ends(K.CHECK)) == [] and bench.state is S.START_READY


def test_agreement_to_what_was_sent_before_a_command_is_none_to_the_start_it_asks_for() -> None:
    """`start` at once after a stop: the acknowledgement of the beat before proves nothing, that of
    the next one does.
    """
    bench = _stopped_for_the_peer()
    bench.hear(S.STOPPED)
    before = bench.engine.seq
    bench.order(Command.START)
    assert bench.state is S.START_READY
    beat = Beat("deb2", LIFE, 90, Ack(OWN, before), {"registry": S.STOPPED})
    assert scripts(bench.step(BeatReceived(bench.link, beat, bench.now))) == []
    bench.now += 0.1
    after = replace(beat, seq=91, ack=Ack(OWN, before + 1))
    assert scripts(bench.step(BeatReceived(bench.link, after, bench.now))) == [K.CHECK]


def test_hold_after_a_restart_goodbye_ends_at_its_instant_and_not_with_the_next_beat() -> None:
    """deb2's daemon left the service running and stays away: START_READY 30 s later, between two
    beats of this node.
    """
    bench = Bench()
    bench.run(0.35)
    bench.hear(S.STARTED)
    bench.run(0.2)
    bench.hear(S.STARTED, Goodbye.RESTART)
    bench.run(RESTART_HOLD_S - 0.01)
    assert bench.state is S.STOPPED
    bench.run(0.02)
    assert bench.state is S.START_READY


def test_peer_that_is_forgotten_is_forgotten_on_disk_too() -> None:
    """An operator's word outlives the daemon: what is known of the peer's lives is written down at
    once.
    """
    bench = Bench(S.FROZEN_STOP, known_incarnations={KEY: BootId(7, 77)})
    done = bench.step(PeerForgotten())
    assert [item for item in done if isinstance(item, RememberIncarnations)] == [
        RememberIncarnations(((KEY, NOBODY),))
    ]


def test_node_doubts_itself_after_the_shortest_of_its_own_links() -> None:
    """deb2 listens to deb1 for 10 s on one link, for 60 s on the other: what deb1 runs is in doubt
    10 s after its last beat.
    """
    both = links(TIMEOUT_S)
    slow = tuple(replace(link, timeout_s=60.0) if link in both[1::2] else link for link in both)
    for order in (slow, tuple(reversed(slow))):
        engine = Engine(
            ClusterSpec("deb1", "deb2", order, services()),
            OWN,
            {"registry": RecoveredState(S.STARTED)},
            100.0,
        )
        engine.step(Tick(), 100.0)
        beat = Beat("deb2", LIFE, 1, Ack(OWN, 1), {"registry": S.STOPPED})
        engine.step(BeatReceived(engine.spec.listeners[0], beat, 100.0), 100.0)
        assert engine.beat().states["registry"] is S.STARTED
        engine.step(Tick(), 100.0 + TIMEOUT_S)
        assert engine.beat().states["registry"] is S.UNKNOWN


# an edited configuration


def _edited(bench: Bench, profile: Profile = Profile.TUTORIAL, **changes: Any) -> ClusterSpec:
    spec = bench.engine.spec
    return replace(
        spec, services=tuple(replace(svc, **changes) for svc in spec.services), profile=profile
    )


def test_node_that_became_the_secondary_yields_to_a_peer_that_is_ready() -> None:
    """The files were edited: deb2 is the primary now. deb1, in START_READY, lets it go first, where
    it stayed before.
    """
    for is_edited, state in ((False, S.START_READY), (True, S.STOPPED)):
        bench = Bench()
        bench.hear(S.STOPPED, is_acked=False)
        if is_edited:
            bench.step(ConfigChanged(_edited(bench, primary="deb2", secondary="deb1")))
        bench.hear(S.START_READY)
        assert bench.state is state


def test_services_take_over_the_pace_of_the_new_profile() -> None:
    """The profile becomes `fast` while the peer is silent: the start-ready delay is the short one
    from then on.
    """
    bench = Bench()
    bench.run(TIMEOUT_S + 0.1)
    assert bench.state is S.START_READY
    assert scripts(bench.run(FAST_START_READY_DELAY_S)) == []
    assert scripts(bench.step(ConfigChanged(_edited(bench, Profile.FAST)))) == [K.CHECK]


def test_wrapper_of_a_service_that_was_added_is_asked_where_its_state_is_not_known() -> None:
    """A service that ran here before comes back into the file: its status is asked, and it is
    UNKNOWN until then.
    """
    bench = Bench(S.FROZEN_STOP)
    added = replace(bench.engine.spec.services[0], name="busybox", script="/etc/busybox")
    spec = replace(bench.engine.spec, services=(*bench.engine.spec.services, added))
    done = bench.step(
        ConfigChanged(spec, {"busybox": RecoveredState(S.UNKNOWN, S.FROZEN_STOP, must_probe=True)})
    )
    assert [(item.service, item.kind) for item in done if isinstance(item, RunScript)] == [
        ("busybox", K.PROBE)
    ]
    assert bench.engine.beat().states["busybox"] is S.UNKNOWN
    bench.step(ScriptExited("busybox", K.PROBE, End.UP))
    assert bench.engine.state_of("busybox") is S.FROZEN_START


def test_slower_beats_are_announced_before_they_begin() -> None:
    """From `fast` to the tutorial's pace: ten beats a second for two seconds more, the first at
    once, all naming the new pace.
    """
    bench = Bench(S.FROZEN_STOP)
    bench.step(ConfigChanged(_edited(bench, Profile.FAST)))
    bench.run(0.95)
    changed_at = bench.now
    sent = [
        (changed_at, beat)
        for beat in beats(bench.step(ConfigChanged(_edited(bench, Profile.TUTORIAL))))
    ]
    while bench.now < changed_at + 6:
        bench.now = max(bench.now, bench.engine.next_deadline())
        sent += [(bench.now, beat) for beat in beats(bench.engine.step(Tick(), bench.now))]
    assert {beat.interval_s for _, beat in sent} == {1.0}
    assert sent[0][0] - changed_at <= ACK_GAP_S
    gaps = [
        (round(after - before, 3), before - changed_at)
        for (before, _), (after, _) in zip(sent, sent[1:])
    ]
    assert {gap for gap, at in gaps if at < SLOWING_DOWN_S - 0.01} == {0.1}
    assert {gap for gap, at in gaps if at > SLOWING_DOWN_S + 0.01} == {1.0}


def test_edit_that_leaves_the_pace_leaves_the_beats() -> None:
    """The files are read again without a new profile: no beat sooner than in a second."""
    bench = Bench(S.FROZEN_STOP)
    bench.run(0.3)
    assert beats(bench.step(ConfigChanged(_edited(bench))) + bench.run(0.6)) == []
    assert len(beats(bench.run(2))) == 2


def test_service_that_is_kept_though_it_was_removed_is_an_alarm_once() -> None:
    """It may run here: the operator who took it out of the file is informed, and not again with the
    next edit.
    """
    bench = Bench(S.STARTED)
    spec = replace(bench.engine.spec, services=())
    done = bench.step(ConfigChanged(spec)) + bench.step(ConfigChanged(spec))
    reported = [
        (item.old, item.new, item.is_alarm)
        for item in done
        if isinstance(item, Record) and item.name == "registry"
    ]
    assert reported == [("STARTED", "STARTED", True)]
    assert bench.engine.state_of("registry") is S.STARTED


def test_command_for_a_service_that_is_not_here_fails() -> None:
    """The answer is the last one, and no success."""
    bench = Bench()
    done = bench.step(CommandReceived(7, "nosuch", Command.START))
    assert [
        (item.command_id, item.code, item.is_last, item.is_ok)
        for item in done
        if isinstance(item, Answer)
    ] == [(7, AnswerCode.NOT_CONFIGURED, True, False)]


def test_services_come_and_go_with_the_file() -> None:
    """What is not in use is forgotten at once and reported no more.

    What comes back is taken from what its STATE file states.
    """
    bench = Bench(S.STOPPED)
    with_service, without = bench.engine.spec, replace(bench.engine.spec, services=())
    done = bench.step(ConfigChanged(without))
    assert (
        records(done, "REMOVED")
        and bench.engine.beat().states == {}
        and not bench.engine.may_run("registry")
    )
    done = bench.step(
        ConfigChanged(with_service, {"registry": RecoveredState(S.FROZEN_STOP, reason="as before")})
    )
    assert [item.reason for item in records(done, "FROZEN_STOP")] == ["added: as before"]
    assert bench.engine.beat().states == {"registry": S.FROZEN_STOP}


def test_service_that_was_removed_asks_for_nothing_more() -> None:
    """It was START_READY, or held: neither an acknowledgement nor a moment is waited for after it
    was taken out.
    """
    ready = Bench()
    ready.hear(S.STOPPED, is_acked=False)
    held = Bench(S.FROZEN_STOP)
    held.order(Command.FORCE_STOP)
    assert ready.engine.beat().wants_ack and held.engine._work.deadlines
    for bench in (ready, held):
        bench.step(ConfigChanged(replace(bench.engine.spec, services=())))
        assert not bench.engine.beat().wants_ack and not bench.engine._work.deadlines


def test_service_that_comes_back_into_the_file_is_not_removed_when_it_is_stopped() -> None:
    """Taken out while it ran, put in again, stopped: it stays one of the node's services."""
    bench = Bench().started()
    spec = bench.engine.spec
    bench.step(ConfigChanged(replace(spec, services=())))
    bench.step(ConfigChanged(spec))
    bench.order(Command.STOP)
    bench.ends(K.STOP)
    assert bench.state is S.STOPPED and bench.engine.beat().states == {"registry": S.STOPPED}


def test_edited_timeouts_of_links_count_from_then_on() -> None:
    """10 s become 40: this node does not doubt itself after 11 s without a beat, and calls its peer
    silent after 40.
    """
    bench = Bench().started()
    spec = bench.engine.spec
    bench.step(
        ConfigChanged(
            replace(spec, links=tuple(replace(link, timeout_s=40.0) for link in spec.links))
        )
    )
    changed_at = bench.now
    bench.run(39.5)
    assert bench.engine.snapshot(bench.now).peer_standing is not PeerStanding.SILENT
    bench.run(changed_at + 40.1 - bench.now)
    assert bench.engine.snapshot(bench.now).peer_standing is PeerStanding.SILENT
    bench.now = bench.engine._announcer.beat_at + TIMEOUT_S + 1
    bench.step(Tick())
    assert not bench.engine.beat().wants_ack


def test_goodbye_that_was_doubted_after_a_stall_counts_when_the_links_were_listened_to() -> None:
    """No beat is heard for the whole timeout after it: the service is started at that instant, not
    with the next beat.
    """
    bench = Bench(S.FROZEN_STOP)
    bench.hear(S.STOPPED, Goodbye.LEFT)
    bench.now += 5.25
    bench.step(Tick())
    woke_at = bench.now
    bench.order(Command.UNFREEZE)
    bench.run(0.4)
    bench.order(Command.FREEZE_STOP)
    bench.ends(K.PROBE, End.DOWN)
    bench.order(Command.UNFREEZE)
    bench.run(woke_at + TIMEOUT_S - 0.01 - bench.now)
    assert bench.state is S.STOPPED
    bench.run(0.02)
    assert bench.state is S.STARTING


def test_services_are_left_alone_where_nothing_happens_to_them(
    mocker: MockerFixture,
) -> None:
    """A peer that is silent or gone, a hold that is not over, an owner long after its start: none
    is looked at again.
    """
    silent, gone, held, owner = (
        Bench(S.FROZEN_STOP),
        Bench(S.FROZEN_STOP),
        Bench(S.FROZEN_STOP),
        Bench().started(),
    )
    held.hear(S.STOPPED)
    held.order(Command.FORCE_STOP)
    owner.run(STUCK_S + 2, S.STOPPED)
    silent.run(TIMEOUT_S + 1)
    gone.hear(S.STOPPED, Goodbye.LEFT)
    gone.run(1)
    spy = watch_evaluations(mocker)
    for bench in (silent, gone):
        bench.run(5)
    held.run(STOP_HOLD_S - 0.5, S.STOPPED)
    owner.run(3, S.STOPPED)
    assert evaluated(spy) == []


def test_kept_service_is_gone_once_it_is_stopped() -> None:
    """Removed from the file while it ran, stopped now: recorded, no longer reported, and nothing is
    written of it any more.
    """
    bench = Bench().started()
    bench.step(ConfigChanged(replace(bench.engine.spec, services=())))
    bench.order(Command.STOP)
    bench.now += NEWS_GAP_S
    done = bench.ends(K.STOP)
    assert len(records(done, "REMOVED")) == 1
    assert bench.engine.beat().states == {} and beats(done)[-1].states == {}
    assert not any(isinstance(item, MirrorPeer) for item in done + bench.hear(S.STARTED))


def test_reason_names_who_gave_the_command() -> None:
    """The resource monitor freezes a service that it cannot bring back: no operator is named."""
    bench = Bench().started()
    done = bench.step(CommandReceived(1, "registry", Command.FREEZE_STOP, "resource monitor"))
    assert [record.reason for record in records(done, "STOPPING")] == [
        "resource monitor: freeze-stop"
    ]
    done = Bench().started().step(CommandReceived(1, "registry", Command.FREEZE_STOP))
    assert [record.reason for record in records(done, "STOPPING")] == ["operator: freeze-stop"]


def test_restart_of_the_peers_daemon_is_recorded_once() -> None:
    """Another boot id while the links stay up: one record, and none for the beats that follow."""
    bench = Bench(S.FROZEN_STOP)
    assert records(bench.hear(S.STOPPED), "RESTARTED") == []
    spec = bench.engine.spec
    beat = Beat("deb2", BootId(LIFE.counter + 1, 99), 1, None, {"registry": S.STOPPED})
    now = bench.now + 0.1
    done = bench.engine.step(BeatReceived(spec.listeners[0], beat, now), now)
    assert [record.name for record in records(done, "RESTARTED")] == ["deb2"]
    again = replace(beat, seq=2)
    assert (
        records(
            bench.engine.step(BeatReceived(spec.listeners[0], again, now + 0.1), now + 0.1),
            "RESTARTED",
        )
        == []
    )


def test_service_kept_by_a_new_daemon_is_managed_until_it_is_stopped() -> None:
    """Its line was deleted before this daemon started: announced, stopped on order, and gone
    then.
    """
    spec = ClusterSpec("deb1", "deb2", links(count=1), ())
    engine = Engine(
        spec, OWN, {"registry": RecoveredState(S.STARTED)}, 100.0, kept=services("registry")
    )
    engine.step(Tick(), 100.0)
    assert (
        "registry" in engine.beat().states
        and engine.snapshot(100.0).service("registry") is not None
    )
    engine.step(CommandReceived(1, "registry", Command.STOP), 100.1)
    done = engine.step(ScriptExited("registry", K.STOP, End.OK), 100.2)
    assert len(records(done, "REMOVED")) == 1
    assert engine.beat().states == {} and engine.snapshot(100.2).service("registry") is None


def test_peers_state_is_not_written_again_for_what_happens_here() -> None:
    """A command moves the service, the peer reports what it reported before."""
    bench = Bench(S.FROZEN_STOP)
    bench.hear(S.STARTED)
    done = bench.step(CommandReceived(1, "registry", Command.UNFREEZE)) + bench.hear(S.STARTED)
    assert not any(isinstance(item, MirrorPeer) for item in done)


def test_service_that_is_sure_again_is_announced_at_once_beside_others_without_news() -> None:
    """The peer confirms one of two services: the beat that reports STARTED does not wait for its
    second.
    """
    spec = ClusterSpec("deb1", "deb2", links(count=1), services("registry", "zabbix"))
    engine = Engine(
        spec,
        OWN,
        {"registry": RecoveredState(S.STARTED), "zabbix": RecoveredState(S.FROZEN_STOP)},
        100.0,
    )
    engine.step(Tick(), 100.0)
    beat = Beat("deb2", LIFE, 1, None, {"registry": S.STOPPED, "zabbix": S.STOPPED})
    engine.step(BeatReceived(spec.listeners[0], beat, 100.1), 100.1)
    engine.step(Tick(), 100.2)
    confirming = replace(beat, seq=2, ack=Ack(OWN, engine.seq))
    sent = beats(engine.step(BeatReceived(spec.listeners[0], confirming, 100.3), 100.3))
    assert [item.states["registry"] for item in sent] == [S.STARTED]


def test_nothing_is_written_of_a_service_that_is_gone_when_the_peer_falls_silent() -> None:
    """The stop script of a removed service ends when the disk lets the engine go, after the peer's
    timeout.
    """
    bench = Bench().started()
    bench.hear(S.FROZEN_STOP)
    bench.step(ConfigChanged(replace(bench.engine.spec, services=())))
    bench.order(Command.STOP)
    bench.now += TIMEOUT_S + 0.5
    bench.engine.mark_busy_until(bench.now - BACKLOG_S - 0.01)
    done = bench.engine.step(ScriptExited("registry", K.STOP, End.OK), bench.now)
    assert records(done, "SILENT") and records(done, "REMOVED")
    assert not any(isinstance(item, MirrorPeer) for item in done)


def test_node_without_services_speaks_in_its_first_step() -> None:
    """It has nothing to report but that it lives, and reports it at once."""
    engine = Engine(ClusterSpec("deb1", "deb2", links(count=1), ()), OWN, {}, 100.0)
    assert [beat.seq for beat in beats(engine.step(Tick(), 100.0))] == [1]
