"""What a node does about its own absence, two copies of a service, and a start script that fails;
and the time profiles.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.actions import RunScript
from opensvc_openha.core.events import Command, ConfigChanged, Leaving, RecoveredState, ScriptKind
from opensvc_openha.core.model import (
    ClusterSpec,
    OnDualRun,
    OnStartFailure,
    Policy,
    Profile,
    Role,
    ServiceSpec,
)
from opensvc_openha.core.policies import DualRun, StartFailures
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import (
    START_FAILURE_HOLD_S,
    START_FAILURES_MAX,
    START_FAILURES_WINDOW_S,
)
from opensvc_openha.verify.simulated_node import NODES
from tests.core.bench import Bench
from tests.core.pair import Host, Pair


def _partitioned(policy: Policy) -> Pair:
    """Every wire was cut and the check-up script succeeds although no node is dead: both nodes run
    the service when they meet.
    """
    pair = Pair(policy=policy)
    deb1, deb2 = pair.start_on_deb1()
    pair.cut_all()
    pair.run(30)
    assert pair.both_run()
    pair.heal()
    return pair


# --- absence --------------------------------------------------------------------------------------


def test_stall_below_the_timeout_leaves_no_doubt() -> None:
    """deb1 sleeps for 0.9 timeouts: the peer cannot have taken the service, and the owner continues
    at once.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    deb1.is_stalled = True
    pair.run(8.5)
    pair.resume(deb1)
    assert deb1.engine is not None and not deb1.service().reason.startswith("this node was stalled")
    assert deb1.engine.beat().states["registry"] is ServiceState.STARTED


def test_stalled_owner_asks_before_it_announces_started_again() -> None:
    """deb1 sleeps for 1.2 timeouts, deb2 has not begun anything: deb1 reports UNKNOWN, is answered,
    and reports STARTED.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    deb1.is_stalled = True
    pair.run(12)
    pair.cut_all("deb2")
    pair.resume(deb1)
    pair.run(2)
    assert deb1.engine is not None
    assert deb1.engine.beat().states["registry"] is ServiceState.UNKNOWN
    assert deb1.state == "STARTED"
    assert "stalled for" in deb1.service().reason and "not confirmed" in deb1.service().reason
    pair.heal()
    pair.run(2)
    assert deb1.engine.beat().states["registry"] is ServiceState.STARTED
    assert "confirms" in deb1.service().reason
    pair.run(30)
    assert deb1.shown == deb2.shown == ("STARTED", "STOPPED")
    assert len(pair.starts()) == 1


def test_doubt_outlives_the_silence_of_the_peer() -> None:
    """deb1 wakes up into a partition while deb2 took the service: it runs on unconfirmed, and steps
    down when they meet.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    deb1.is_stalled = True
    pair.cut_all()
    pair.run(30)
    pair.resume(deb1)
    pair.run(30)
    assert (deb1.state, deb2.state) == ("STARTED", "STARTED")
    pair.heal()
    pair.run(10)
    assert deb1.shown == deb2.shown == ("STOPPED", "STARTED")


def test_owner_without_its_daemon_for_long_steps_down_when_it_was_replaced() -> None:
    """Only the daemon of deb1 died, the service ran on and deb2 took it: the new daemon of deb1
    stops its copy.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    deb1.kill_daemon()
    pair.run(30)
    assert deb2.state == "STARTED" and pair.both_run()
    deb1.boot({"registry": RecoveredState(ServiceState.STARTED, must_probe=True)})
    pair.run(5)
    assert deb1.shown == deb2.shown == ("STOPPED", "STARTED")
    assert not pair.both_run()


def test_acknowledgement_from_before_a_stall_starts_nothing() -> None:
    """deb2 sleeps for two timeouts while its check-up script runs.

    Deb1 took the service: deb2 does not continue to start it.
    """
    pair = Pair()
    deb1, deb2 = pair.boot()
    pair.run(2)
    pair.script_s = lambda action: 5.0 if action.kind is ScriptKind.CHECK else 1.0
    deb2.command(Command.UNFREEZE)
    pair.run(1)
    assert deb2.state == "STARTING"
    deb1.command(Command.UNFREEZE)
    deb2.is_stalled = True
    pair.cut_all("deb1")
    pair.run(30)
    assert deb1.state == "STARTED"
    pair.resume(deb2)
    pair.run(3)
    pair.heal()
    pair.run(30)
    assert [node for _, node in pair.starts()] == ["deb1"]
    assert deb1.shown == deb2.shown == ("STARTED", "STOPPED")


def test_operator_who_freezes_a_doubtful_service_ends_the_doubt() -> None:
    """FROZEN_START is the operator's word: the engine stops nothing when the peer turns out to run
    it too.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    deb1.is_stalled = True
    pair.cut_all()
    pair.run(30)
    pair.resume(deb1)
    deb1.command(Command.FREEZE_START)
    pair.heal()
    pair.run(10)
    assert (deb1.state, deb2.state) == ("FROZEN_START", "STARTED")


# --- two copies -----------------------------------------------------------------------------------


def test_dual_run_is_reported_within_one_beat_and_nothing_is_stopped_by_default() -> None:
    """After a partition both run it: both nodes raise the alarm at the first beat heard, and leave
    both copies alone.
    """
    pair = _partitioned(Policy())
    pair.run(1.1)
    for host in (pair.deb1, pair.deb2):
        assert sum(record.new == "DUAL RUN" and record.is_alarm for record in host.records) == 1
        assert "DUAL RUN" in host.service().reason and host.service().is_dual_run
    pair.run(60)
    assert pair.both_run()


@pytest.mark.parametrize("policy", [OnDualRun.STOP_SECONDARY, OnDualRun.STOP_YOUNGEST])
def test_dual_run_is_resolved_by_the_policy(policy: OnDualRun) -> None:
    """deb2, the secondary, took the service in the partition, so it is the younger too: it stops,
    and deb1 runs on.
    """
    pair = _partitioned(Policy(on_dual_run=policy))
    pair.run(1.1)
    assert pair.deb2.state in ("STOPPING", "STOPPED")
    assert any(f"on_dual_run = {policy.value}" in record.reason for record in pair.deb2.records)
    pair.run(30)
    assert pair.deb1.shown == pair.deb2.shown == ("STARTED", "STOPPED")
    assert len(pair.starts()) == 2


@pytest.mark.parametrize(
    "is_stop_ok, end",
    [
        (True, "one node runs it again"),
        (False, "the peer's stop script failed: some of that copy may still run there"),
    ],
)
def test_second_copy_that_is_being_stopped_when_it_is_first_heard_of_is_reported(
    is_stop_ok: bool, end: str
) -> None:
    """deb2 hears deb1 first and is STOPPING by the time deb1 hears it: deb1 reports the dual run
    too, and how it ended.
    """
    pair = _partitioned(Policy(on_dual_run=OnDualRun.STOP_SECONDARY))
    pair.cut_all("deb2")
    pair.script_s = lambda action: 5.0
    pair.script_ok = lambda host, action: is_stop_ok
    pair.run(1.1)
    assert pair.deb2.state == "STOPPING"
    pair.heal()
    pair.run(30)
    reported = [
        (record.old, record.new, record.is_alarm)
        for record in pair.deb1.records
        if "DUAL RUN" in (record.old, record.new)
    ]
    assert reported == [("STARTED", "DUAL RUN", True), ("DUAL RUN", "STARTED", not is_stop_ok)]
    assert pair.deb1.records[-1].reason == end and pair.deb1.state == "STARTED"


def test_copy_that_is_not_heard_of_any_more_is_not_taken_for_stopped() -> None:
    """The wires are cut again while both copies run: the alarm ends with the truth, that nothing is
    known of the other copy.
    """
    pair = _partitioned(Policy())
    pair.run(1.1)
    pair.cut_all()
    pair.run(30)
    ends = [record.reason for record in pair.deb1.records if record.old == "DUAL RUN"]
    assert ends == ["the peer's copy is not known any more"] and pair.both_run()


def test_younger_copy_on_the_primary_is_the_one_that_stops() -> None:
    """The service had run on deb2.

    Deb1 took it in the partition: deb1 stops although it is the primary.
    """
    pair = Pair(policy=Policy(on_dual_run=OnDualRun.STOP_YOUNGEST))
    deb1, deb2 = pair.boot()
    pair.run(2)
    deb2.command(Command.UNFREEZE)
    pair.run(3)
    deb1.command(Command.UNFREEZE)
    pair.run(2)
    pair.cut_all()
    pair.run(30)
    assert pair.both_run()
    pair.heal()
    pair.run(30)
    assert deb1.shown == deb2.shown == ("STOPPED", "STARTED")


@pytest.mark.parametrize("policy", [OnDualRun.STOP_SECONDARY, OnDualRun.STOP_YOUNGEST])
def test_policy_never_stops_a_frozen_copy(policy: OnDualRun) -> None:
    """deb2 runs it frozen: no policy moves what an operator froze."""
    pair = _partitioned(Policy(on_dual_run=policy))
    pair.cut_all()
    pair.run(30)
    pair.deb2.command(Command.FREEZE_START)
    pair.heal()
    pair.run(30)
    assert pair.deb2.state == "FROZEN_START"


def _turn(policy: OnDualRun, role: Role, was_started_in_silence: bool) -> float | None:
    dual = DualRun()
    dual.was_started_in_silence = was_started_in_silence
    assert dual.update(True, 100.0) and not dual.update(True, 101.0)
    return dual.stops_at(Policy(policy), role, 1.0)


def test_two_copies_are_never_stopped_in_the_same_turn() -> None:
    """Whatever both nodes think of their age, at most one of them goes first, and somebody
    stays.
    """
    for policy in (OnDualRun.STOP_SECONDARY, OnDualRun.STOP_YOUNGEST):
        for primary_young in (False, True):
            for secondary_young in (False, True):
                primary = _turn(policy, Role.PRIMARY, primary_young)
                secondary = _turn(policy, Role.SECONDARY, secondary_young)
                assert primary is not None or secondary is not None
                assert primary != secondary
    assert _turn(OnDualRun.REPORT, Role.SECONDARY, True) is None


@pytest.mark.parametrize(
    ("role", "was_started_in_silence", "beats"),
    [
        (Role.SECONDARY, True, 0),
        (Role.PRIMARY, True, 3),
        (Role.SECONDARY, False, 6),
        (Role.PRIMARY, False, None),
    ],
)
def test_order_in_which_two_copies_stop_by_their_age(
    role: Role, was_started_in_silence: bool, beats: int | None
) -> None:
    """The young secondary at once, the young primary three beats later, an old secondary after six,
    an old primary never.
    """
    at = _turn(OnDualRun.STOP_YOUNGEST, role, was_started_in_silence)
    assert at == (None if beats is None else 100.0 + beats)


@pytest.mark.parametrize("frozen", [False, True])
def test_copy_that_a_restarted_daemon_finds_is_an_old_one(frozen: bool) -> None:
    """deb1's daemon was restarted beside its service, and deb2's operator forces a second copy: the
    forced one stops.
    """
    pair = Pair(policy=Policy(on_dual_run=OnDualRun.STOP_YOUNGEST))
    deb1, deb2 = pair.start_on_deb1()
    if frozen:
        deb1.command(Command.FREEZE_START)
    deb1.kill_daemon()
    deb1.boot(
        {
            "registry": RecoveredState(
                ServiceState.FROZEN_START if frozen else ServiceState.STARTED, must_probe=True
            )
        }
    )
    pair.run(5)
    if frozen:
        deb1.command(Command.UNFREEZE)
    deb2.command(Command.FORCE_START)
    pair.run(30)
    assert (deb1.state, deb2.state) == ("STARTED", "STOPPED")


def test_copy_that_a_restarted_daemon_finds_is_kept_beside_one_that_does_not_go_away() -> None:
    """Frozen as started, thawed by an operator, and deb2 runs it too: deb1, the primary, never
    takes its own for the younger.
    """
    bench = Bench(ServiceState.FROZEN_START, policy=Policy(on_dual_run=OnDualRun.STOP_YOUNGEST))
    bench.order(Command.UNFREEZE)
    bench.run(20, ServiceState.STARTED)
    assert bench.state is ServiceState.STARTED


# --- failed starts --------------------------------------------------------------------------------


def _failing_on(pair: Pair, *nodes: str) -> None:
    def is_ok(host: Host, action: RunScript) -> bool:
        return not (action.kind is ScriptKind.START and host.name in nodes)

    pair.script_ok = is_ok


def test_failed_start_stays_by_default() -> None:
    """START_FAILED waits for an operator, as with the original."""
    pair = Pair()
    _failing_on(pair, "deb1")
    deb1, deb2 = pair.boot()
    pair.run(2)
    deb1.command(Command.UNFREEZE)
    pair.run(3)
    deb2.command(Command.UNFREEZE)
    pair.run(120)
    assert deb1.shown == deb2.shown == ("START_FAILED", "STOPPED")


def test_failed_start_is_handed_over_where_the_policy_asks_for_it() -> None:
    """deb1 cannot start it: it stops what is left, and deb2 runs it."""
    pair = Pair(policy=Policy(on_start_failure=OnStartFailure.HAND_OVER))
    _failing_on(pair, "deb1")
    deb1, deb2 = pair.boot()
    pair.run(2)
    deb1.command(Command.UNFREEZE)
    pair.run(3)
    assert deb1.state == "START_FAILED"
    assert "handed over once the peer is heard and STOPPED" in deb1.service().reason
    deb2.command(Command.UNFREEZE)
    pair.run(20)
    assert deb1.shown == deb2.shown == ("STOPPED", "STARTED")
    kinds = [kind for _, node, kind, _ in pair.scripts if node == "deb1"]
    assert kinds == ["check", "start", "stop"]


@pytest.mark.exhaustive
def test_service_that_starts_nowhere_does_not_bounce_between_the_nodes() -> None:
    """Both nodes fail: after a bounded number of tries it stays START_FAILED, and reports why."""
    pair = Pair(policy=Policy(on_start_failure=OnStartFailure.HAND_OVER))
    _failing_on(pair, "deb1", "deb2")
    deb1, deb2 = pair.boot()
    pair.run(2)
    deb1.command(Command.UNFREEZE)
    deb2.command(Command.UNFREEZE)
    pair.run(START_FAILURES_WINDOW_S)
    tries = len(pair.starts())
    assert 2 <= tries <= 2 * (START_FAILURES_MAX + 1)
    assert "START_FAILED" in deb1.shown
    pair.run(3 * START_FAILURES_WINDOW_S)
    assert len(pair.starts()) == tries
    failed = deb1 if deb1.state == "START_FAILED" else deb2
    assert f"failed {START_FAILURES_MAX + 1} times" in failed.service().reason


@pytest.mark.parametrize(
    ("instants", "is_over"),
    [((0, 300, 599), True), ((0, 1, 599), True), ((0, 300, 600), False), ((0, 599, 1198), False)],
)
def test_failures_count_for_ten_minutes(instants: tuple[float, ...], is_over: bool) -> None:
    """Three within ten minutes are too many for another hand-over.

    Once the first one is ten minutes old there are but two.
    """
    failures = StartFailures()
    for at in instants:
        failures.record(1000.0 + at)
    assert failures.lets_hand_over(Policy(on_start_failure=OnStartFailure.HAND_OVER)) is not is_over


def test_handed_over_service_is_not_tried_again_at_once() -> None:
    """deb2 has taken it and dies half a minute later: deb1, where it failed, waits its hold, then
    tries.
    """
    pair = Pair(policy=Policy(on_start_failure=OnStartFailure.HAND_OVER))
    _failing_on(pair, "deb1")
    deb1, deb2 = pair.boot()
    pair.run(2)
    deb1.command(Command.UNFREEZE)
    deb2.command(Command.UNFREEZE)
    pair.run(10)
    assert deb2.state == "STARTED"
    handed_at = next(at for at, node in pair.starts() if node == "deb2")
    _failing_on(pair)
    deb2.crash()
    pair.run(60)
    assert deb1.state == "STARTED"
    assert pair.starts()[-1][0] >= handed_at + START_FAILURE_HOLD_S - 2


def test_service_moves_back_at_once_when_the_peer_has_taken_it() -> None:
    """Stopped on deb1 for deb2, and stopped there a second later: the courtesy to the peer is over,
    deb1 starts it.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    deb1.command(Command.STOP)
    pair.run(3)
    assert deb2.state == "STARTED"
    deb2.command(Command.STOP)
    pair.run(2.5)
    assert deb1.state == "STARTED"


def test_failures_are_forgotten_with_time_and_by_an_operator() -> None:
    """Old failures do not count, and a node that gets the service by hand begins again."""
    policy = Policy(on_start_failure=OnStartFailure.HAND_OVER)
    failures = StartFailures()
    for at in range(START_FAILURES_MAX + 1):
        assert failures.lets_hand_over(policy) is (at > 0)
        failures.record(float(at))
    assert not failures.lets_hand_over(policy)
    failures.record(START_FAILURES_WINDOW_S + START_FAILURES_MAX + 1.0)
    assert failures.lets_hand_over(policy)
    failures.forget()
    assert failures.lets_hand_over(policy) and not failures.lets_hand_over(Policy())


# --- time profiles --------------------------------------------------------------------------------


def test_fast_profile_takes_over_within_its_own_times() -> None:
    """Timeouts of 0.3 s: after a power loss the start script runs within a second, and not before
    0.5 s.
    """
    pair = Pair(timeout_s=0.3, profile=Profile.FAST)
    deb1, deb2 = pair.start_on_deb1()
    deb1.crash()
    died_at = pair.now
    pair.run(3)
    assert deb2.state == "STARTED"
    start_at = pair.starts()[-1][0]
    assert 0.4 <= start_at - died_at <= 0.6


def _reconfigure(host: Host, profile: Profile) -> None:
    spec = ClusterSpec(
        host.name, NODES[1 - host.index], host.pair.links, host.pair.services, profile
    )
    host.handle(host.life, ConfigChanged(spec))


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", [0, 1])
def test_profile_is_changed_on_one_node_after_the_other_without_a_role_change(first: int) -> None:
    """To fast and back, deb1 or deb2 first, minutes apart, with lost beats: no node takes the other
    for silent.
    """
    pair = Pair(timeout_s=0.3)
    deb1, deb2 = pair.start_on_deb1()
    hosts = (deb1, deb2) if first == 0 else (deb2, deb1)
    beats = [0]

    def is_lost() -> bool:
        beats[0] += 1
        return beats[0] % 7 == 0

    for profile in (Profile.FAST, Profile.TUTORIAL):
        for host in hosts:
            _reconfigure(host, profile)
            pair.is_lost = is_lost if profile is Profile.TUTORIAL else lambda: False
            pair.run(60)
    for host in hosts:
        assert not any(record.new == PeerStanding.SILENT.name for record in host.records), (
            host.records
        )
    assert len(pair.starts()) == 1


def test_slow_peer_is_not_silent_before_two_of_its_own_intervals() -> None:
    """deb2 beats each second while deb1 would give up after 0.3 s: deb1 goes by the interval that
    the beats announce.
    """
    pair = Pair(timeout_s=0.3)
    deb1, deb2 = pair.start_on_deb1()
    _reconfigure(deb1, Profile.FAST)
    pair.run(10)
    deb2.crash()
    died_at = pair.now
    while not any(record.new == PeerStanding.SILENT.name for record in deb1.records):
        pair.run(0.01)
    assert 1.0 <= pair.now - died_at <= 2.1


def test_replaced_spec_keeps_the_services_of_a_running_node() -> None:
    """A policy edited while the service runs is in force at the next dual run, and moves nothing by
    itself.
    """
    pair = _partitioned(Policy())
    pair.run(3)
    assert pair.both_run()
    for host in (pair.deb1, pair.deb2):
        policy = Policy(on_dual_run=OnDualRun.STOP_SECONDARY)
        services = tuple(replace(svc, policy=policy) for svc in pair.services)
        spec = ClusterSpec(host.name, NODES[1 - host.index], pair.links, services)
        host.handle(host.life, ConfigChanged(spec))
    pair.run(10)
    assert pair.deb1.shown == pair.deb2.shown == ("STARTED", "STOPPED")


def test_nothing_is_begun_after_the_first_goodbye() -> None:
    """A service is added between two goodbyes, with a stop to be done again: no script runs, and
    the daemon ends in time.
    """
    pair = Pair()
    deb1, _ = pair.boot()
    pair.run(2)
    deb1.leave(Leaving.KEEP_SERVICES)
    assert deb1.engine is not None
    added = ServiceSpec("busybox", "/etc/busybox", *NODES, "/bin/true")
    spec = ClusterSpec(*NODES, pair.links, (*pair.services, added))
    deb1.handle(
        deb1.life,
        ConfigChanged(spec, {"busybox": RecoveredState(ServiceState.STOPPING, must_probe=True)}),
    )
    pair.run(1)
    assert deb1.engine is None
    assert pair.scripts == []


def test_failed_service_is_not_handed_over_to_a_peer_that_is_not_heard() -> None:
    """deb1 is alone and cannot start it: it stays as it is for an operator.

    Once deb2 is heard STOPPED, it is handed over.
    """
    pair = Pair(policy=Policy(on_start_failure=OnStartFailure.HAND_OVER))
    _failing_on(pair, "deb1")
    pair.deb1.boot({"registry": RecoveredState(ServiceState.STOPPED)})
    pair.run(60)
    assert pair.deb1.state == "START_FAILED"
    assert [kind for _, _, kind, _ in pair.scripts] == ["check", "start"]
    pair.deb2.boot({"registry": RecoveredState(ServiceState.STOPPED)})
    pair.run(20)
    assert (pair.deb1.state, pair.deb2.state) == ("STOPPED", "STARTED")


def test_failures_in_a_row_end_the_handing_over() -> None:
    """Few of them: handed over; more within the window: not again, with the number."""
    policy, failures = Policy(on_start_failure=OnStartFailure.HAND_OVER), StartFailures()
    assert failures.explain(policy) == ""
    failures.record(0.0)
    assert failures.explain(policy) == "is handed over once the peer is heard and STOPPED"
    for number in range(START_FAILURES_MAX):
        failures.record(1.0 + number)
    assert failures.explain(policy).startswith(f"failed {START_FAILURES_MAX + 1} times within")
    assert failures.explain(Policy()) == ""
