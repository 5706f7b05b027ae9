"""Services that go back to their primary by themselves, and what keeps them where they are."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from opensvc_openha.core import fail_back
from opensvc_openha.core.actions import RunScript
from opensvc_openha.core.events import (
    BY_EVACUATION,
    BY_MONITOR,
    Command,
    CommandReceived,
    Leaving,
    ReadinessFound,
    ScriptKind,
)
from opensvc_openha.core.model import OnStartFailure, Policy, Role
from opensvc_openha.core.peer_view import Evidence
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.transitions import Situation, Trigger, find_row
from tests.core.pair import Host, Pair, services

AFTER_S = 30.0
POLICY = Policy(failback_after_s=AFTER_S, on_start_failure=OnStartFailure.HAND_OVER)
AGAIN_S, TRIAL_S = 400.0, 150.0


@pytest.fixture
def _short_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than an hour to simulate, in the same proportion to the other times."""
    monkeypatch.setattr(fail_back, "FAILBACK_AGAIN_S", AGAIN_S)
    monkeypatch.setattr(fail_back, "FAILBACK_TRIAL_S", TRIAL_S)


@pytest.mark.parametrize("role", Role)
def test_rule_asks_for_all_that_makes_it_safe(role: Role) -> None:
    """Of a service that is STARTED: on its secondary, idle, sure of itself, its primary ready."""
    for evidence, running, leaving, flags in itertools.product(
        Evidence, (None, *ScriptKind), (None, *Leaving), itertools.product((False, True), repeat=3)
    ):
        wanted, unready, unsure = flags
        situation = Situation(
            role,
            evidence,
            running,
            leaving=leaving,
            is_to_fail_back=wanted,
            is_peer_unready=unready,
            is_ownership_unconfirmed=unsure,
        )
        row = find_row(ServiceState.STARTED, Trigger.EVALUATE, situation)
        is_safe = running is leaving is None and not unready and not unsure
        is_expected = role is Role.SECONDARY and wanted and is_safe
        assert (row is not None and row.fails_back) is is_expected, situation
        if row is not None and row.fails_back:
            assert (row.next, row.run) == (ServiceState.STOPPING, ScriptKind.STOP)


def failed_over(*names: str, policy: Policy = POLICY) -> tuple[Pair, Host, Host]:
    """deb1 has lost its power, deb2 runs what it ran, and deb1 is back."""
    pair = Pair(*names, policy=policy)
    deb1, deb2 = pair.start_on_deb1()
    loses_power(pair, deb1)
    assert deb2.state == "STARTED"
    pair.run(2)
    assert deb1.shown == deb2.shown == ("STOPPED", "STARTED")
    return pair, deb1, deb2


def loses_power(pair: Pair, host: Host) -> None:
    """It is away for long enough to be taken over, and comes back."""
    host.crash()
    pair.run(40)
    host.boot_from_files()


def returns_after_a_failure(pair: Pair) -> None:
    """A failure of the primary is no order: the service comes back to it."""
    loses_power(pair, pair.deb1)
    pair.run(AFTER_S + 10)
    assert pair.deb1.shown == ("STARTED", "STOPPED")


def fail_to_start_on_deb1(pair: Pair) -> None:
    """Let each start script on deb1 fail from now on."""
    pair.script_ok = lambda host, action: host is pair.deb2 or action.kind is not ScriptKind.START


def test_service_goes_back_to_its_primary_once_the_cluster_was_settled_for_long_enough() -> None:
    """It counts down in the status, is stopped here, and started there: never up on both."""
    pair, deb1, deb2 = failed_over()
    assert "goes back to deb1 in" in deb2.service().reason
    assert deb2.service().failback.startswith("goes back to deb1 in ")
    pair.run(AFTER_S - 6)
    assert deb2.state == "STARTED"
    pair.run(12)
    assert deb1.shown == deb2.shown == ("STARTED", "STOPPED")
    assert deb1.service().failback == deb2.service().failback == ""
    assert any("failback: its primary has been ready for 30 s" in r.reason for r in deb2.records)


def test_service_stays_without_the_option() -> None:
    """The default."""
    pair, deb1, deb2 = failed_over(policy=Policy())
    pair.run(10 * AFTER_S)
    assert deb1.shown == ("STOPPED", "STARTED") and deb2.service().failback == ""


def test_daemon_that_left_with_its_services_gets_them_back() -> None:
    """An orderly shutdown of the primary is no order to keep them away."""
    pair = Pair(policy=POLICY)
    deb1, deb2 = pair.start_on_deb1()
    deb1.leave(Leaving.STOP_SERVICES)
    pair.run(20)
    assert deb2.state == "STARTED"
    deb1.boot_from_files()
    pair.run(AFTER_S + 10)
    assert deb1.shown == deb2.shown == ("STARTED", "STOPPED")


def unready(pair: Pair, deb1: Host, deb2: Host) -> None:
    deb1.give(ReadinessFound({"registry": "no script"}))


def frozen(pair: Pair, deb1: Host, deb2: Host) -> None:
    deb1.command(Command.FREEZE_STOP)


def frozen_here(pair: Pair, deb1: Host, deb2: Host) -> None:
    deb2.command(Command.FREEZE_START)


def one_link_down(pair: Pair, deb1: Host, deb2: Host) -> None:
    link = next(link for link in pair.links if link.node == "deb1")
    pair.cut.add(("deb1", link))


def not_heard_there(pair: Pair, deb1: Host, deb2: Host) -> None:
    pair.cut_all("deb2")


@pytest.mark.parametrize(
    ("happens", "text"),
    [
        (unready, "does not go back to deb1: deb1 reports that it could not start it"),
        (frozen, "does not go back to deb1: it is FROZEN_STOP on deb1"),
        (frozen_here, ""),
        (one_link_down, "does not go back to deb1: link net eth1:239.131.50.100 is down"),
        (not_heard_there, "does not go back to deb1: its primary does not report that it hears"),
    ],
)
def test_service_stays_while_its_primary_is_not_ready_for_it(
    happens: Callable[[Pair, Host, Host], None], text: str
) -> None:
    """The status has the reason."""
    pair, deb1, deb2 = failed_over()
    pair.invariants = None
    happens(pair, deb1, deb2)
    pair.run(20)
    if happens is not not_heard_there:
        pair.run(2 * AFTER_S)
    assert pair.ran("deb2", "stop") == 0
    assert deb2.service().failback.startswith(text) and bool(text) is bool(deb2.service().failback)


def test_service_stays_beside_a_primary_with_other_policies() -> None:
    """It may be of a version that does not report what an operator moved."""
    pair, deb1, deb2 = failed_over()
    deb1.crash()
    pair.run(20)
    pair.services = services(policy=Policy())
    deb1.boot_from_files()
    pair.run(2 * AFTER_S)
    why = "deb2 and deb1 do not have the same policies of services"
    assert deb2.service().failback == f"does not go back to deb1: {why}"


def test_service_stays_beside_a_node_that_calls_itself_its_secondary_as_well() -> None:
    """By two services files it would go to and fro, as each node returns it to the other one."""
    pair, deb1, deb2 = failed_over()
    deb1.crash()
    pair.run(20)
    pair.services = tuple(
        replace(svc, primary=svc.secondary, secondary=svc.primary) for svc in pair.services
    )
    deb1.boot_from_files()
    pair.run(2 * AFTER_S)
    why = "deb2 and deb1 do not have the same primaries of services"
    assert deb2.service().failback == f"does not go back to deb1: {why}"
    assert pair.ran("deb2", "stop") == 0


def test_time_counts_from_the_beginning_after_each_disturbance() -> None:
    """A link that is down for some seconds, and a daemon of the primary that is restarted."""
    pair, deb1, deb2 = failed_over()
    pair.run(AFTER_S - 15)
    one_link_down(pair, deb1, deb2)
    pair.run(12)
    pair.heal()
    pair.run(AFTER_S - 5)
    assert deb2.state == "STARTED"
    deb1.end_daemon()
    deb1.boot_from_files()
    pair.run(AFTER_S - 5)
    assert deb2.state == "STARTED"
    pair.run(12)
    assert deb1.shown == ("STARTED", "STOPPED")


def test_service_that_an_operator_moved_stays() -> None:
    """`stop` on the primary, as `switch` does; a restart of either daemon does not forget it."""
    pair = Pair(policy=POLICY)
    deb1, deb2 = pair.start_on_deb1()
    deb1.command(Command.STOP)
    pair.run(10)
    assert deb2.state == "STARTED"
    assert deb2.service().failback == "does not go back to deb1: an operator brought it here"
    for host in (deb1, deb2):
        host.end_daemon()
        host.boot_from_files()
        pair.run(2 * AFTER_S)
        assert deb2.shown == ("STOPPED", "STARTED")
    deb2.command(Command.STOP)
    pair.run(10)
    assert deb1.shown == ("STARTED", "STOPPED")
    returns_after_a_failure(pair)


def test_order_of_a_daemon_that_is_restarted_before_its_peer_starts_is_not_forgotten() -> None:
    """The standby starts it from the announcement of the next daemon."""
    pair = Pair(policy=POLICY)
    deb1, deb2 = pair.start_on_deb1()
    deb2.command(Command.FREEZE_STOP)
    pair.run(3)
    deb1.command(Command.FREEZE_STOP)
    pair.run(5)
    deb1.end_daemon()
    deb1.boot_from_files()
    pair.run(5)
    deb2.command(Command.UNFREEZE)
    pair.run(5)
    deb1.command(Command.UNFREEZE)
    pair.run(2 * AFTER_S)
    assert deb2.shown == ("STOPPED", "STARTED")


@pytest.mark.parametrize("command", [Command.UNFREEZE, Command.FREEZE_START])
def test_service_that_an_operator_started_on_its_secondary_stays(command: Command) -> None:
    """Unfreezing it there while the primary is frozen."""
    pair = Pair(policy=POLICY)
    deb1, deb2 = pair.boot()
    pair.run(2)
    deb2.command(Command.UNFREEZE)
    pair.run(5)
    if command is Command.FREEZE_START:
        deb2.command(Command.FREEZE_START)
        pair.run(1)
        deb2.command(Command.UNFREEZE)
    deb1.command(Command.UNFREEZE)
    pair.run(2 * AFTER_S)
    assert deb1.shown == ("STOPPED", "STARTED")


def test_standby_that_was_unfrozen_long_ago_takes_over_without_an_order() -> None:
    """Only a start that follows the order at once is by that order."""
    pair = Pair(policy=POLICY)
    deb1, deb2 = pair.start_on_deb1()
    pair.run(5)
    deb2.command(Command.FREEZE_STOP)
    pair.run(2)
    deb2.command(Command.UNFREEZE)
    pair.run(20)
    returns_after_a_failure(pair)


def test_monitor_that_moves_a_service_is_no_operator() -> None:
    """Repaired and unfrozen on the primary, it goes back."""
    pair = Pair(policy=POLICY)
    deb1, deb2 = pair.start_on_deb1()
    deb1.give(CommandReceived(99, "registry", Command.FREEZE_STOP, BY_MONITOR))
    pair.run(10)
    assert deb2.state == "STARTED"
    deb1.command(Command.UNFREEZE)
    pair.run(AFTER_S + 10)
    assert deb1.shown == ("STARTED", "STOPPED")


@pytest.mark.usefixtures("_short_hour")
def test_service_that_does_not_start_on_its_primary_comes_back_and_stays_for_an_hour() -> None:
    """One try: then no ping-pong, also after a restart of the daemon, until that time is over."""
    pair, deb1, deb2 = failed_over()
    fail_to_start_on_deb1(pair)
    pair.run(AFTER_S + 60)
    assert deb1.shown == ("STOPPED", "STARTED") and pair.ran("deb2", "stop") == 1
    assert "it did not stay on its primary; not tried again for" in deb2.service().failback
    deb2.end_daemon()
    deb2.boot_from_files()
    pair.run(AGAIN_S - 150)
    assert pair.ran("deb2", "stop") == 1
    pair.script_ok = lambda host, action: True
    pair.run(200)
    assert deb1.shown == ("STARTED", "STOPPED")


@pytest.mark.parametrize("is_seen", [True, False])
def test_service_that_fails_on_a_primary_which_reports_a_problem_stays_as_well(
    is_seen: bool,
) -> None:
    """A path that flaps: it comes back by a problem, and the problem is over soon after that."""
    pair, deb1, deb2 = failed_over()
    if is_seen:
        # What ran on the primary once, and left it well, has yet to do so the next time.
        pair.run(AFTER_S + 10)
        assert deb1.shown == ("STARTED", "STOPPED")
        deb1.evacuate(is_on=True)
        deb1.give(CommandReceived(77, "registry", Command.STOP, BY_EVACUATION))
        pair.run(10)
        deb1.evacuate(is_on=False)
        assert deb2.shown == ("STOPPED", "STARTED")

    def succeeds(host: Host, action: RunScript) -> bool:
        if host is not deb1 or action.kind is not ScriptKind.START:
            return True
        deb1.give(ReadinessFound({"registry": "no device"}))
        return False

    pair.script_ok = succeeds
    for _ in range(4):
        pair.run(AFTER_S + 30)
        deb1.give(ReadinessFound({}))
    assert deb1.shown == ("STOPPED", "STARTED") and pair.ran("deb2", "stop") == 1 + is_seen
    assert "it did not stay on its primary" in deb2.service().failback


@pytest.mark.usefixtures("_short_hour")
def test_service_that_comes_back_by_a_crash_of_its_primary_has_failed_there() -> None:
    """Soon after it went there; later than that it is another failure."""
    pair, deb1, deb2 = failed_over()
    pair.run(AFTER_S + 10)
    loses_power(pair, deb1)
    pair.run(AGAIN_S - 100)
    assert deb2.shown == ("STOPPED", "STARTED") and pair.ran("deb2", "stop") == 1
    pair.run(150)
    assert deb1.shown == ("STARTED", "STOPPED")
    pair.run(TRIAL_S)
    returns_after_a_failure(pair)
    assert pair.ran("deb2", "stop") == 3


def test_order_ends_the_hour() -> None:
    """Moved to the primary by hand, it runs there."""
    pair, deb1, deb2 = failed_over()
    fail_to_start_on_deb1(pair)
    pair.run(AFTER_S + 60)
    pair.script_ok = lambda host, action: True
    deb2.command(Command.STOP)
    pair.run(10)
    assert deb1.shown == ("STARTED", "STOPPED")
    returns_after_a_failure(pair)


def test_start_that_failed_on_the_primary_keeps_it_from_being_tried_soon() -> None:
    """The primary hands over what it could not start; no operator has moved it."""
    pair = Pair(policy=POLICY)
    deb1, deb2 = pair.boot()
    pair.run(2)
    fail_to_start_on_deb1(pair)
    deb2.command(Command.FREEZE_STOP)
    deb1.command(Command.UNFREEZE)
    pair.run(5)
    deb2.command(Command.UNFREEZE)
    pair.run(20)
    assert deb2.shown == ("STOPPED", "STARTED")
    pair.run(4 * AFTER_S)
    assert pair.ran("deb2", "stop") == 0


def test_services_go_back_one_after_the_other() -> None:
    """The next one once the one before is up on its primary."""
    pair, deb1, deb2 = failed_over("registry", "mail", "web")
    pair.script_s = lambda action: 4.0 if action.kind is ScriptKind.START else 1.0
    pair.run(AFTER_S + 60)
    assert deb1.running == {"registry", "mail", "web"} and not deb2.running
    stopped = [at for at, node, kind, _ in pair.scripts if (node, kind) == ("deb2", "stop")]
    started = [at for at, node, kind, _ in pair.scripts if (node, kind) == ("deb1", "start")][-3:]
    assert stopped[0] < started[0] < stopped[1] < started[1] < stopped[2] < started[2]
    assert all(later >= earlier + 4.0 for earlier, later in zip(started, stopped[1:]))


def test_service_on_its_primary_does_not_move() -> None:
    """Nothing that concerns the secondary makes it."""
    pair = Pair(policy=POLICY)
    deb1, deb2 = pair.start_on_deb1()
    pair.run(3 * AFTER_S)
    deb2.end_daemon()
    deb2.boot_from_files()
    pair.run(3 * AFTER_S)
    assert deb1.shown == ("STARTED", "STOPPED") and pair.ran("deb1", "stop") == 0


def test_daemon_that_was_stalled_counts_from_the_beginning() -> None:
    """It heard nothing meanwhile."""
    pair, deb1, deb2 = failed_over()
    pair.run(AFTER_S - 8)
    deb2.is_stalled = True
    pair.run(6)
    pair.resume(deb2)
    pair.run(AFTER_S - 8)
    assert deb2.state == "STARTED"
    pair.run(20)
    assert deb1.shown == ("STARTED", "STOPPED")
