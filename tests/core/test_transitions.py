"""The table, exhaustively: every role, own state, evidence, trigger and circumstance, against rules
written apart from it.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import pytest

from opensvc_openha.core.events import Command, Leaving, ScriptKind
from opensvc_openha.core.model import Role
from opensvc_openha.core.peer_view import Evidence
from opensvc_openha.core.states import FROZEN
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.transitions import OPERATOR, TABLE, Row, Situation, Trigger, find_row

FLAGS = (
    [
        dict(
            zip(("is_delay_over", "is_held", "is_check_valid", "is_ownership_unconfirmed"), values)
        )
        for values in itertools.product((False, True), repeat=4)
    ]
    + [
        dict(
            is_delay_over=other,
            is_held=other,
            is_check_valid=other,
            is_ownership_unconfirmed=other,
            was_never_started=untried,
            is_stuck=not untried,
        )
        for untried in (False, True)
        for other in (False, True)
    ]
    + [
        dict(is_reported_down=True),
        dict(is_found_in_part=True),
        dict(is_peer_unready=True),
        dict(is_found_in_part=True, is_probe_due=True),
        dict(is_check_always=True),
        dict(is_delay_over=True, is_defending=True),
        dict(is_delay_over=True, may_fence=False),
        dict(
            is_delay_over=True,
            is_check_valid=True,
            is_boot_blocked=True,
            was_never_started=True,
            is_retry_due=True,
            is_defending=True,
        ),
        dict(was_never_started=True, is_retry_due=True),
        dict(is_to_give_up=True),
        dict(is_to_fail_back=True),
        dict(is_evacuated=True),
        dict(is_off_limits=True),
        dict(is_off_limits=True, was_never_started=True),
        dict(is_to_fail_back=True, is_peer_unready=True),
        dict(is_stop_unproved=True),
        dict(is_to_stop_again=True),
        dict(is_to_stop_again=True, is_to_freeze=True),
        dict(is_flush_due=True),
        dict(is_write_due=True),
        dict(is_left_to_peer=True),
        dict(is_silent=True, is_delay_over=True, is_check_valid=True, is_check_always=True),
        dict(is_cut_off=True, is_delay_over=True, is_check_always=True),
        dict(is_cut_off=True, is_stop_due=True, was_never_started=True, is_retry_due=True),
        dict(is_stop_due=True),
        dict(is_isolated=True, is_delay_over=True, is_check_valid=True, is_defending=True),
        dict(is_isolated=True, was_never_started=True, is_retry_due=True),
        dict(is_reach_open=True, is_delay_over=True, is_check_valid=True, is_defending=True),
        dict(is_to_hand_to_peer=True),
    ]
    + [
        dict(
            is_peer_started=True,
            is_ownership_unconfirmed=doubt,
            is_copy_to_stop=copy,
            is_to_hand_over=hand,
            is_check_valid=other,
        )
        for doubt in (False, True)
        for copy in (False, True)
        for hand in (False, True)
        for other in (False, True)
    ]
)


@functools.cache
def _situations() -> list[Situation]:
    return (
        [
            Situation(role, evidence, running, frozen_target, leaving=leaving, **flags)
            for role in Role
            for evidence in Evidence
            for running in (None, *ScriptKind)
            for frozen_target in (None, S.FROZEN_STOP, S.FROZEN_START)
            for leaving in (None, *Leaving)
            for flags in FLAGS
        ]
        + [
            Situation(
                Role.PRIMARY,
                evidence,
                frozen_target=frozen_target,
                leaving=leaving,
                is_delay_over=True,
                may_fence=may_fence,
                is_boot_blocked=is_boot_blocked,
                is_defending=is_defending,
                was_never_started=is_defending,
                is_fencing=is_fencing,
                is_plan_due=is_plan_due,
                is_round_over=is_round_over,
                is_ejected=is_ejected,
                is_cut_off=is_cut_off,
                is_check_valid=is_check_valid,
            )
            for evidence in Evidence
            for frozen_target in (None, S.FROZEN_START)
            for leaving in (None, Leaving.STOP_SERVICES)
            for may_fence, is_boot_blocked, is_defending in (
                (True, False, True),
                (True, False, False),
                (False, False, True),
                (True, True, False),
            )
            for is_ejected, is_cut_off in ((False, False), (True, False), (False, True))
            for is_fencing, is_plan_due, is_round_over, is_check_valid in itertools.product(
                (False, True), repeat=4
            )
        ]
        + [
            Situation(Role.PRIMARY, evidence, is_fencing=True, is_round_over=True, is_isolated=True)
            for evidence in Evidence
        ]
    )


PROVED_OUT = {Evidence.OUT_ACKED, Evidence.DEPARTED_STOPPED}


@functools.cache
def _applied() -> list[tuple[S, Trigger, Situation, Row]]:
    found = []
    for state in S:
        for trigger in Trigger:
            for situation in _situations():
                row = find_row(state, trigger, situation)
                if row is not None:
                    found.append((state, trigger, situation, row))
    return found


def test_start_script_runs_only_on_evidence() -> None:
    """Acknowledged or left out.

    Or silent, with a check script begun after the silence and ended well.
    """
    seen = 0
    for state, trigger, situation, row in _applied():
        if row.run is ScriptKind.START:
            seen += 1
            assert not situation.is_ejected
            after_plan = (state, trigger) == (S.STARTING, Trigger.EVALUATE) and situation.is_fencing
            if (state, trigger) != (S.START_READY, Trigger.EVALUATE) and not after_plan:
                assert (state, trigger) == (
                    S.STARTING,
                    Trigger.CHECK_OK,
                ) and situation.running is ScriptKind.CHECK
            assert situation.leaving is None
            is_silent = situation.evidence is Evidence.SILENT and situation.is_check_valid
            assert situation.evidence in PROVED_OUT or is_silent
    assert seen


def test_check_script_runs_only_when_the_start_may_follow() -> None:
    """Never against a peer that is heard and has not acknowledged, never before the delay with a
    silent one.
    """
    seen = 0
    for state, _, situation, row in _applied():
        if row.run is ScriptKind.CHECK:
            seen += 1
            assert situation.leaving is None
            is_silent = situation.evidence is Evidence.SILENT and situation.is_delay_over
            is_free = situation.may_fence and not situation.is_boot_blocked
            assert not (situation.evidence is Evidence.SILENT and situation.is_plan_due)
            is_asked_for = situation.evidence in PROVED_OUT and situation.is_check_always
            assert is_asked_for or (is_silent and is_free)
            assert state is S.START_READY or (
                (state is S.STARTED and situation.is_defending and is_silent)
                or (state is S.STARTING and situation.is_fencing and is_silent)
            )
    assert seen


def test_fence_plan_is_carried_out_only_in_silence_by_a_node_that_has_its_right() -> None:
    """After the delay, in its turn, not since a boot, not while it leaves."""
    seen = set()
    for state, trigger, situation, row in _applied():
        if row.fences:
            seen.add(state)
            assert trigger is Trigger.EVALUATE and row.run is None
            assert situation.evidence is Evidence.SILENT and situation.is_delay_over
            assert situation.is_plan_due and situation.may_fence and situation.leaving is None
            assert not situation.is_boot_blocked and not situation.is_ejected
            assert state is S.START_READY or situation.is_defending
    assert seen == {S.START_READY, S.STARTED}


def test_node_that_lost_its_right_stops_what_runs_and_begins_nothing() -> None:
    """From every state, whatever the evidence, unless a script runs."""
    for state, trigger, situation, row in _applied():
        if situation.is_ejected:
            assert row.run in (None, ScriptKind.STOP, ScriptKind.PROBE)
            assert row.next not in (S.START_READY, S.STARTING) or row.next is state
            is_forced = trigger is Trigger.FORCE_STOP
            if state in (S.STARTED, S.FROZEN_START) and trigger is Trigger.EVALUATE:
                assert row.next is S.STOPPING or is_forced
    for evidence in Evidence:
        ejected = Situation(Role.PRIMARY, evidence, is_ejected=True)
        for state in (S.STARTED, S.FROZEN_START, S.START_FAILED):
            found = find_row(state, Trigger.EVALUATE, ejected)
            assert found is not None and found.run is ScriptKind.STOP
        assert find_row(S.STOPPED, Trigger.EVALUATE, ejected) is None


def test_node_that_keeps_silent_begins_nothing() -> None:
    """Its peer would not hear of it."""
    silent = [found for found in _applied() if found[2].is_silent]
    assert silent
    for state, trigger, _, row in silent:
        assert row.run not in (ScriptKind.START, ScriptKind.CHECK) and not row.fences
        # What had begun before may come back to its wait.
        assert row.next is not S.START_READY or state is S.STARTING, trigger


def test_node_that_nothing_answers_begins_nothing_beside_a_silent_peer() -> None:
    """Neither a check-up nor a fence nor a start, whatever is proved without a deed of its own."""
    found = [
        item
        for item in _applied()
        if item[2].evidence is Evidence.SILENT
        and (item[2].is_isolated or item[2].is_reach_open)
        and item[1] not in (Trigger.FORCE_START, Trigger.FORCE_STOP)
    ]
    assert found
    for state, _, situation, row in found:
        assert row.run not in (ScriptKind.CHECK, ScriptKind.START) and not row.fences
        assert not situation.is_isolated or row.next is not S.START_READY or state is S.STARTING


def test_node_that_is_cut_off_stops_what_runs_and_begins_nothing() -> None:
    """Unless its peer is proved out, or left in order; what an operator froze as started is left to
    the watchdog.
    """
    alone = [
        found
        for found in _applied()
        if found[2].is_cut_off
        and not found[2].is_check_valid
        and found[2].evidence is not Evidence.DEPARTED_STOPPED
    ]
    assert alone
    for state, trigger, _, row in alone:
        assert row.run not in (ScriptKind.START, ScriptKind.CHECK) and not row.fences
        assert trigger is not Trigger.FORCE_START
        # What had begun before may come back to its wait.
        assert row.next is not S.START_READY or state is S.STARTING, trigger
    for evidence in Evidence:
        due = Situation(Role.PRIMARY, evidence, is_cut_off=True, is_stop_due=True)
        for state in (S.STARTED, S.START_FAILED):
            found = find_row(state, Trigger.EVALUATE, due)
            assert found is not None and found.run is ScriptKind.STOP
        for state in (S.FROZEN_START, S.FROZEN_STOP, S.STOP_FAILED):
            assert find_row(state, Trigger.EVALUATE, due) is None
        waits = find_row(S.STOPPED, Trigger.EVALUATE, due) is None
        assert waits is (evidence is not Evidence.DEPARTED_STOPPED)
    proved = Situation(Role.PRIMARY, Evidence.SILENT, is_cut_off=True, is_check_valid=True)
    begun = find_row(S.STOPPED, Trigger.EVALUATE, proved)
    assert begun is not None and begun.next is S.START_READY
    started = find_row(S.START_READY, Trigger.EVALUATE, proved)
    assert started is not None and started.run is ScriptKind.START


def test_service_whose_disks_are_frozen_is_never_called_out_by_its_stop() -> None:
    """Whatever frozen state was asked for."""
    seen = 0
    for _, trigger, situation, row in _applied():
        if trigger is Trigger.STOP_OK and situation.is_stop_unproved:
            seen += 1
            assert row.next is S.STOP_FAILED
    assert seen


def test_wait_for_the_plan_ends_with_the_silence_or_the_round() -> None:
    """STARTING is left as soon as nothing is to be expected any more."""
    for role in Role:
        for evidence in Evidence:
            waiting = Situation(role, evidence, is_fencing=True, is_plan_due=True)
            row = find_row(S.STARTING, Trigger.EVALUATE, waiting)
            assert (row is None) is (evidence is Evidence.SILENT)
            over = find_row(S.STARTING, Trigger.EVALUATE, replace(waiting, is_round_over=True))
            assert over is not None and over.next is not S.START_FAILED
    # A node that has the proof starts, or waits where it is asked again by time alone.
    drained = Situation(Role.SECONDARY, Evidence.SILENT, is_fencing=True, is_round_over=True)
    assert find_row(S.STARTING, Trigger.EVALUATE, drained) is None
    drains = find_row(S.STARTING, Trigger.EVALUATE, replace(drained, is_drain_due=True))
    assert drains is not None and drains.next is S.START_READY
    failed = find_row(S.STARTING, Trigger.FENCE_FAILED, waiting)
    assert failed is not None and failed.next is S.START_FAILED


def test_frozen_service_is_moved_by_an_operator_only() -> None:
    """No peer, no time and no script's end leads out of a frozen state.

    What a probe finds never thaws it.

    One that is found up, started by the cluster or not, is frozen as what it is.
    """
    for state, trigger, situation, row in _applied():
        if state in FROZEN and trigger not in OPERATOR:
            is_found_up = (state, trigger, row.next) == (
                S.FROZEN_STOP,
                Trigger.PROBE_UP,
                S.FROZEN_START,
            )
            is_barred = state is S.FROZEN_START and situation.is_ejected
            if is_barred and row.run is ScriptKind.STOP:
                assert row.target_after(None) is S.FROZEN_STOP
                continue
            assert row.next is state or is_found_up
            assert row.run in (None, ScriptKind.PROBE)


def test_started_is_reached_by_a_script_an_operator_or_what_was_learned() -> None:
    """No evidence about the peer makes a service STARTED."""
    ways = {
        (state, trigger)
        for state, trigger, _, row in _applied()
        if row.next is S.STARTED and state is not S.STARTED
    }
    by_force = {(state, Trigger.FORCE_START) for state in S}
    assert ways - by_force == {
        (S.STARTING, Trigger.START_OK),
        (S.STARTING, Trigger.PROBE_UP),
        (S.FROZEN_START, Trigger.UNFREEZE),
    }


def test_out_is_never_announced_while_something_may_be_left_running() -> None:
    """STOPPED and FROZEN_STOP follow from a stop script, from what never ran, from a probe, or from
    an operator's force.
    """
    ways = {
        (state, trigger)
        for state, trigger, _, row in _applied()
        if row.next in (S.STOPPED, S.FROZEN_STOP) and state not in (S.STOPPED, S.FROZEN_STOP)
    }
    by_force = {(state, Trigger.FORCE_STOP) for state in S}
    assert ways - by_force == {
        (S.STOPPING, Trigger.STOP_OK),
        (S.START_READY, Trigger.EVALUATE),
        (S.START_READY, Trigger.FREEZE_STOP),
        (S.START_READY, Trigger.STORE_FAILED),
        (S.STARTING, Trigger.EVALUATE),
        (S.STARTING, Trigger.FENCE_LOST),
        (S.STARTING, Trigger.CHECK_OK),
        (S.STARTING, Trigger.CHECK_FAILED),
        (S.STARTING, Trigger.START_NOT_BEGUN),
        (S.STARTING, Trigger.STORE_FAILED),
        (S.STARTING, Trigger.POSTPONED),
        (S.STARTED, Trigger.PROBE_DOWN),
        (S.UNKNOWN, Trigger.PROBE_DOWN),
        (S.UNKNOWN, Trigger.PROBE_UNSURE),
        (S.UNKNOWN, Trigger.PROBE_SOME),
        (S.START_FAILED, Trigger.EVALUATE),
    }


def test_failed_start_is_forgotten_only_if_nothing_was_started() -> None:
    """START_FAILED by a check-up script ends when the peer is heard, or is tried again.

    Any other waits for an operator.
    """
    for evidence in Evidence:
        assert find_row(S.START_FAILED, Trigger.EVALUATE, Situation(Role.PRIMARY, evidence)) is None
    heard = Situation(Role.PRIMARY, Evidence.RUNS, was_never_started=True)
    row = find_row(S.START_FAILED, Trigger.EVALUATE, heard)
    assert row is not None and row.next is S.STOPPED
    silent = Situation(Role.PRIMARY, Evidence.SILENT, was_never_started=True)
    assert find_row(S.START_FAILED, Trigger.EVALUATE, silent) is None
    retried = find_row(S.START_FAILED, Trigger.EVALUATE, replace(silent, is_retry_due=True))
    assert retried is not None and retried.next is S.START_READY
    assert (
        find_row(
            S.START_FAILED,
            Trigger.EVALUATE,
            replace(silent, is_retry_due=True, is_boot_blocked=True),
        )
        is None
    )


def test_new_service_whose_wrapper_gives_no_answer_is_frozen_stop_and_a_lost_state_is_not() -> None:
    """UNKNOWN and unsure: only a service that was never managed here may be called stopped."""
    probing = Situation(Role.PRIMARY, Evidence.OUT, running=ScriptKind.PROBE)
    assert find_row(S.UNKNOWN, Trigger.PROBE_UNSURE, probing) is None
    new = find_row(S.UNKNOWN, Trigger.PROBE_UNSURE, replace(probing, frozen_target=S.FROZEN_STOP))
    assert new is not None and new.next is S.FROZEN_STOP


def test_nothing_is_begun_while_a_script_runs() -> None:
    """Neither peer, time nor operator moves a service whose script runs: its end does."""
    for _, trigger, situation, row in _applied():
        if situation.running is not None and (trigger is Trigger.EVALUATE or trigger in OPERATOR):
            # START_READY runs no script, so a situation with one cannot occur there.
            assert row.state is S.START_READY


def test_leaving_node_begins_nothing() -> None:
    """No start is begun or gone on with by a daemon that ends."""
    for _, trigger, situation, row in _applied():
        if situation.leaving is not None and trigger not in OPERATOR:
            assert row.run not in (ScriptKind.CHECK, ScriptKind.START)
            assert row.next is not S.START_READY or row.state is S.START_READY


IDLE = {
    # own state: evidence -> where an idle, unheld node goes (primary, secondary); nothing listed:
    # stays.
    S.STOPPED: {
        Evidence.OUT: (S.START_READY, S.START_READY),
        Evidence.OUT_ACKED: (S.START_READY, S.START_READY),
        Evidence.DEPARTED_STOPPED: (S.START_READY, S.START_READY),
        Evidence.SILENT: (S.START_READY, S.START_READY),
    },
    S.START_READY: {
        Evidence.OUT_ACKED: (S.STARTING, S.STARTING),
        Evidence.DEPARTED_STOPPED: (S.STARTING, S.STARTING),
        Evidence.READY: (S.START_READY, S.STOPPED),
        Evidence.RUNS: (S.STOPPED, S.STOPPED),
        Evidence.BUSY: (S.STOPPED, S.STOPPED),
        Evidence.UNHEARD: (S.STOPPED, S.STOPPED),
    },
}


@pytest.mark.parametrize("own", list(S))
@pytest.mark.parametrize("evidence", list(Evidence))
@pytest.mark.parametrize("role", list(Role))
def test_what_a_node_does_by_itself(role: Role, own: S, evidence: Evidence) -> None:
    """The whole table of own state and evidence for both roles, with no script running."""
    row = find_row(own, Trigger.EVALUATE, Situation(role, evidence))
    expected = IDLE.get(own, {}).get(evidence, (own, own))[0 if role is Role.PRIMARY else 1]
    assert (own if row is None else row.next) is expected


ALLOWED = {
    Trigger.START: {S.STOPPED: S.START_READY},
    Trigger.STOP: {S.STARTED: S.STOPPING, S.UNKNOWN: S.STOPPING},
    Trigger.FREEZE_STOP: {
        S.STOPPED: S.STOPPED,  # Looked at first.
        S.START_READY: S.STOPPED,
        S.STARTED: S.STOPPING,
        S.START_FAILED: S.STOPPING,
        S.STOP_FAILED: S.STOPPING,
    },
    Trigger.FREEZE_START: {S.STARTED: S.FROZEN_START, S.STOPPED: S.START_READY},
    Trigger.UNFREEZE: {S.FROZEN_STOP: S.STOPPED, S.FROZEN_START: S.STARTED},
    Trigger.FORCE_STOP: {state: S.STOPPED for state in S},
    Trigger.FORCE_START: {state: S.STARTED for state in S},
}


@pytest.mark.parametrize("own", list(S))
@pytest.mark.parametrize("trigger", sorted(OPERATOR, key=str))
def test_what_an_operator_may_do(trigger: Trigger, own: S) -> None:
    """Each action from each own state, the peer being out: where it leads, or that it is
    refused.
    """
    row = find_row(own, trigger, Situation(Role.PRIMARY, Evidence.OUT))
    expected = ALLOWED[trigger].get(own)
    assert (None if row is None else row.next) is expected


@pytest.mark.parametrize(
    "evidence", [Evidence.READY, Evidence.RUNS, Evidence.BUSY, Evidence.UNHEARD]
)
@pytest.mark.parametrize("trigger", [Trigger.START, Trigger.FREEZE_START])
def test_operator_cannot_start_against_a_peer_that_may_run_it(
    trigger: Trigger, evidence: Evidence
) -> None:
    """Only force does that."""
    assert find_row(S.STOPPED, trigger, Situation(Role.PRIMARY, evidence)) is None


def test_every_row_can_be_reached() -> None:
    """No row stands behind one that always applies before it."""
    reached = {id(row) for _, _, _, row in _applied()}
    assert [row for row in TABLE if id(row) not in reached] == []


def test_operators_triggers_are_the_commands() -> None:
    """Each command has its trigger, and no other trigger is an operator's."""
    assert {Trigger(command.value) for command in Command} == OPERATOR
