"""Nodes that an operator keeps services away from."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from opensvc_openha.core.evacuation import NOT_EVACUATED, Evacuation
from opensvc_openha.core.events import BY_EVACUATION, Command, CommandReceived, Leaving
from opensvc_openha.core.model import Policy, Role
from opensvc_openha.core.peer_view import Evidence
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.transitions import Situation, Trigger, find_row
from tests.core.pair import Host, Pair
from tests.core.test_drill_notes import fenced_pair

AFTER_S = 20.0


def evacuate(host: Host, is_off_limits: bool = False) -> None:
    """Evacuate a node as the command does: first keep services away, then order the stop."""
    host.evacuate(is_on=True, is_off_limits=is_off_limits)
    host.give(CommandReceived(77, "registry", Command.STOP, BY_EVACUATION))


def evacuated(policy: Policy = Policy(), is_off_limits: bool = False) -> tuple[Pair, Host, Host]:
    """deb1 ran the service, and is evacuated."""
    pair = Pair(policy=policy)
    deb1, deb2 = pair.start_on_deb1()
    evacuate(deb1, is_off_limits)
    pair.run(5)
    assert deb1.shown == deb2.shown == ("STOPPED", "STARTED")
    return pair, deb1, deb2


def test_evacuated_node_starts_nothing_while_its_peer_is_heard() -> None:
    """Also what neither node runs; after the end of the evacuation it does."""
    pair, deb1, deb2 = evacuated()
    deb2.command(Command.FREEZE_STOP)
    pair.run(40)
    assert deb1.shown == ("STOPPED", "FROZEN_STOP")
    number = deb1.command(Command.START)
    answer = deb1.last_answer(number)
    assert answer is not None and not answer.is_ok and "openha evacuate --undo" in answer.detail
    assert deb1.service().unready.startswith("this node is evacuated: it starts nothing while deb2")
    deb1.evacuate(is_on=False)
    pair.run(5)
    assert deb1.shown == ("STARTED", "FROZEN_STOP") and not deb1.service().unready


def test_nothing_is_moved_to_an_evacuated_node() -> None:
    """Its peer refuses to stop what no node could take."""
    pair, deb1, deb2 = evacuated()
    number = deb2.command(Command.STOP)
    answer = deb2.last_answer(number)
    assert answer is not None and not answer.is_ok and "could not start it" in answer.detail
    pair.run(5)
    assert deb2.shown == ("STOPPED", "STARTED") and deb2.service().is_peer_unready


@pytest.mark.parametrize("is_off_limits", [False, True])
def test_evacuated_node_takes_over_from_a_dead_peer_unless_it_is_off_limits(
    is_off_limits: bool,
) -> None:
    """The standby of a node that dies during the maintenance is better than none."""
    pair, deb1, deb2 = evacuated(is_off_limits=is_off_limits)
    deb2.crash()
    pair.run(40)
    assert deb1.state == ("STOPPED" if is_off_limits else "STARTED")
    if is_off_limits:
        deb1.evacuate(is_on=False)
        pair.run(20)
        assert deb1.state == "STARTED"


@pytest.mark.parametrize("is_off_limits", [False, True])
def test_evacuated_node_takes_over_from_a_peer_that_left_in_order_unless_it_is_off_limits(
    is_off_limits: bool,
) -> None:
    """A peer that stops its services leaves them to this node."""
    pair, deb1, deb2 = evacuated(is_off_limits=is_off_limits)
    deb2.leave(Leaving.STOP_SERVICES)
    pair.run(40)
    assert deb1.state == ("STOPPED" if is_off_limits else "STARTED")


def test_evacuation_outlives_the_daemon_and_the_boot_of_the_machine() -> None:
    """It ends by an order alone."""
    pair, deb1, deb2 = evacuated()
    deb1.end_daemon()
    deb1.boot_from_files()
    pair.run(5)
    assert deb2.service().is_peer_unready
    deb1.crash()
    pair.run(40)
    deb1.boot_from_files()
    deb2.command(Command.FREEZE_STOP)
    pair.run(40)
    assert deb1.shown == ("STOPPED", "FROZEN_STOP")


def test_services_go_back_after_an_evacuation_and_not_before() -> None:
    """An evacuation is no choice of the place for good."""
    pair, deb1, deb2 = evacuated(Policy(failback_after_s=AFTER_S))
    pair.run(4 * AFTER_S)
    assert deb2.shown == ("STOPPED", "STARTED")
    assert deb2.service().failback.endswith("deb1 reports that it could not start it")
    deb1.evacuate(is_on=False)
    pair.run(AFTER_S + 10)
    assert deb1.shown == ("STARTED", "STOPPED")
    # Once more, soon after that: it has not failed there.
    evacuate(deb1)
    pair.run(10)
    assert deb2.shown == ("STOPPED", "STARTED")
    deb1.evacuate(is_on=False)
    pair.run(AFTER_S + 10)
    assert deb1.shown == ("STARTED", "STOPPED")


def test_evacuation_is_recorded_once() -> None:
    """Also where it is ordered twice."""
    pair, deb1, _ = evacuated()
    deb1.evacuate(is_on=True)
    deb1.evacuate(is_on=False)
    deb1.evacuate(is_on=False)
    pair.run(1)
    found = [record.new for record in deb1.records if "EVACUAT" in record.new]
    assert found == ["EVACUATED", "EVACUATION ENDS"]


@pytest.mark.parametrize("is_off_limits", [False, True])
def test_service_that_was_on_its_way_while_both_nodes_were_evacuated_runs_on_one(
    is_off_limits: bool,
) -> None:
    """Two operators, a second apart: it goes where it was to go; the other one has declined."""
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    pair.script_s = lambda action: 5.0
    evacuate(deb1, is_off_limits)
    pair.run(1)
    assert deb1.state == "STOPPING"
    deb2.evacuate(is_on=True)
    pair.run(60)
    assert deb1.shown == deb2.shown == ("STOPPED", "STARTED")


@pytest.mark.parametrize("is_off_limits", [False, True])
def test_node_that_was_about_to_take_over_fences_nobody_once_it_is_off_limits(
    is_off_limits: bool,
) -> None:
    """The peer has died in the second of the order."""
    pair = fenced_pair()
    pair.cut_all()
    while pair.state("deb2") is not ServiceState.START_READY:
        pair.run(0.05)
    pair.deb2.evacuate(is_on=True, is_off_limits=is_off_limits)
    pair.run(60)
    assert pair.state("deb2").name == ("STOPPED" if is_off_limits else "STARTED")
    assert pair.alive() == ({"deb1", "deb2"} if is_off_limits else {"deb2"})


@pytest.mark.parametrize("evidence", Evidence)
def test_rule_takes_back_what_has_been_announced_or_is_to_be_tried_again(
    evidence: Evidence,
) -> None:
    """Whatever would be done else, and only where services are kept away."""
    for role, is_evacuated, is_off_limits in itertools.product(Role, (False, True), (False, True)):
        situation = Situation(
            role,
            evidence,
            is_delay_over=True,
            is_check_valid=True,
            was_never_started=True,
            is_evacuated=is_evacuated,
            is_off_limits=is_off_limits,
        )
        is_peer_there = evidence in (Evidence.OUT, Evidence.OUT_ACKED)
        is_kept = is_off_limits or (is_evacuated and is_peer_there)
        ready = find_row(ServiceState.START_READY, Trigger.EVALUATE, situation)
        assert (ready is not None and "evacuated" in ready.reason) is is_kept
        if is_kept:
            assert ready is not None and ready.next is ServiceState.STOPPED and ready.run is None
            failed = find_row(ServiceState.START_FAILED, Trigger.EVALUATE, situation)
            assert failed is not None and failed.next is ServiceState.STOPPED
            started = replace(situation, was_never_started=False)
            assert find_row(ServiceState.START_FAILED, Trigger.EVALUATE, started) is None


@pytest.mark.parametrize("evidence", Evidence)
@pytest.mark.parametrize("trigger", [Trigger.EVALUATE, Trigger.START, Trigger.FREEZE_START])
def test_rule_keeps_services_away(evidence: Evidence, trigger: Trigger) -> None:
    """Beside a peer that is heard and out; off limits, always."""
    plain = find_row(ServiceState.STOPPED, trigger, Situation(Role.PRIMARY, evidence))
    away = Situation(Role.PRIMARY, evidence, is_evacuated=True)
    closed = Situation(Role.PRIMARY, evidence, is_evacuated=True, is_off_limits=True)
    is_peer_there = evidence in (Evidence.OUT, Evidence.OUT_ACKED)
    assert find_row(ServiceState.STOPPED, trigger, away) is (None if is_peer_there else plain)
    assert find_row(ServiceState.STOPPED, trigger, closed) is None
    # Beside a peer that could not start it, the service would run nowhere.
    for situation, row in ((away, plain), (closed, None)):
        beside = replace(situation, is_peer_unready=True)
        assert find_row(ServiceState.STOPPED, trigger, beside) is row


def test_explanation_names_who_ordered_it_and_how_it_ends() -> None:
    """Nothing is reported of a node that is not evacuated."""
    assert Evacuation().explain("deb2") == ""
    assert Evacuation(True, False, "since 18:00 by root").explain("deb2") == (
        "this node is evacuated since 18:00 by root: it starts nothing while deb2 is heard;"
        " openha evacuate --undo ends that"
    )
    assert "whatever happens" in Evacuation(True, True).explain("deb2")


def test_second_order_keeps_off_limits_and_who_ordered_the_first() -> None:
    """It may add to the evacuation; what it lacks is dropped by its end alone."""
    first = Evacuation(True, True, "since 18:00 by root (CHG-12)")
    assert first.ordered(Evacuation(True, False, "since 19:00 by ann")) == first
    open_one = Evacuation(True, False, first.text)
    assert open_one.ordered(Evacuation(True, True, "since 19:00 by ann")) == first
    assert first.ordered(NOT_EVACUATED) == NOT_EVACUATED
    again = Evacuation(True, False, "since 20:00 by ann")
    assert NOT_EVACUATED.ordered(again) == again
    damaged = Evacuation(True, text="(by a damaged file)", is_damaged=True)
    assert damaged.ordered(again) == again
