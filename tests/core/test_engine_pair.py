"""Two engines back to back: the tutorial's story, and what goes wrong between two nodes, in
simulated time.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from opensvc_openha.core.actions import AnswerCode
from opensvc_openha.core.events import Command, ConfigChanged, Leaving, RecoveredState, ScriptKind
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.core.states import FROZEN, ServiceState
from opensvc_openha.core.timing import RESTART_HOLD_S, START_READY_DELAY_S, STOP_HOLD_S
from opensvc_openha.formats.state_file import StoredState, decode
from tests.core.pair import TIMEOUT_S, Host, Pair
from tests.seeds import seeds


@pytest.fixture(autouse=True, params=["", "aabbccdd"], ids=["keyless", "authenticated"])
def _key(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that holds without a key holds with one."""
    monkeypatch.setattr(Pair, "key_id", request.param)


def test_new_services_are_frozen_and_a_lone_node_does_not_know_its_peer() -> None:
    """deb1 alone: FROZEN_STOP here, UNKNOWN there; with deb2 both are known. Nothing starts."""
    pair = Pair()
    pair.deb1.boot()
    pair.run(30)
    assert pair.deb1.shown == ("FROZEN_STOP", "UNKNOWN")
    pair.deb2.boot()
    pair.run(2)
    assert pair.deb1.shown == pair.deb2.shown == ("FROZEN_STOP", "FROZEN_STOP")
    assert pair.scripts == []


def test_unfreeze_with_a_live_peer_goes_through_the_states_in_order_and_is_fast() -> None:
    """The tutorial's sequence.

    START_READY ends with the acknowledgement, long before the 5 s of a silent peer.
    """
    pair = Pair()
    deb1, _ = pair.boot()
    pair.run(2)
    asked_at = pair.now
    deb1.command(Command.UNFREEZE)
    pair.run(3)
    assert [state.name for _, _, state in deb1.states] == [
        "STOPPED",
        "START_READY",
        "STARTING",
        "STARTED",
    ]
    assert pair.starts()[0][0] - asked_at < 0.1


def test_unfreeze_of_the_second_node_leaves_the_service_where_it_is() -> None:
    """STARTED on deb1: an unfrozen deb2 is STOPPED and starts nothing."""
    pair = Pair()
    pair.start_on_deb1()
    pair.run(60)
    assert [node for _, node in pair.starts()] == ["deb1"]


@pytest.mark.parametrize("delay_s", [0.0, 0.001, 0.2, 0.9])
def test_both_nodes_start_at_the_same_instant_the_primary_wins(delay_s: float) -> None:
    """Both unfrozen together, on wires of any delay: one start, on deb1."""
    pair = Pair()
    pair.delay_s = lambda: delay_s
    deb1, deb2 = pair.boot()
    pair.run(5)
    deb1.command(Command.UNFREEZE)
    deb2.command(Command.UNFREEZE)
    pair.run(20)
    assert [node for _, node in pair.starts()] == ["deb1"]
    assert deb1.shown == deb2.shown == ("STARTED", "STOPPED")


def test_death_of_the_owner_is_taken_over_after_timeout_and_delay() -> None:
    """deb1 dies: UNKNOWN after the timeout, START_READY for 5 s, then the start; not earlier."""
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    died_at = pair.now
    deb1.crash()
    pair.run(TIMEOUT_S + 0.5)
    assert deb2.shown == ("UNKNOWN", "START_READY")
    pair.run(START_READY_DELAY_S + 2)
    assert deb2.shown == ("UNKNOWN", "STARTED")
    script_at = pair.starts()[-1][0]
    assert (
        TIMEOUT_S + START_READY_DELAY_S - 1.1
        <= script_at - died_at
        <= TIMEOUT_S + START_READY_DELAY_S + 0.1
    )


def test_returning_owner_finds_the_service_on_its_peer_and_stays_stopped() -> None:
    """Failback is by hand: the rebooted deb1 shows STOPPED/STARTED.

    Freeze-stop on deb2 brings the service back.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    deb1.crash()
    pair.run(30)
    deb1.boot({"registry": RecoveredState(ServiceState.STOPPED)})
    pair.run(30)
    assert deb1.shown == deb2.shown == ("STOPPED", "STARTED")
    deb2.command(Command.FREEZE_STOP)
    pair.run(5)
    assert deb1.shown == deb2.shown == ("STARTED", "FROZEN_STOP")
    deb2.command(Command.UNFREEZE)
    pair.run(30)
    assert deb1.shown == ("STARTED", "STOPPED")


def test_one_link_of_two_cut_changes_nothing_but_that_link() -> None:
    """Total cut of eth1: that listener is down on both sides, no service moves."""
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    pair.cut |= {(link.node, link) for link in pair.links if link.device == "eth1"}
    pair.run(60)
    for host in (deb1, deb2):
        assert host.engine is not None
        ups = {link.spec.device: link.is_up for link in host.engine.snapshot(pair.now).links}
        assert ups == {"eth1": False, "eth2": True}
    assert len(pair.starts()) == 1
    assert deb1.shown == ("STARTED", "STOPPED")


def test_check_script_that_fails_forbids_the_takeover() -> None:
    """All links cut and the fence fails, again and again: never started on deb2, the service runs
    on deb1 only.
    """
    pair = Pair()
    _, deb2 = pair.start_on_deb1()
    pair.script_ok = lambda host, action: action.kind is not ScriptKind.CHECK
    pair.cut_all()
    pair.run(60)
    assert {state.name for _, _, state in deb2.states[-4:]} == {
        "START_FAILED",
        "START_READY",
        "STARTING",
    }
    assert [node for _, node in pair.starts()] == ["deb1"]


def test_deaf_owner_is_not_taken_over_without_its_acknowledgement() -> None:
    """deb2 hears that deb1 is out, but deb1 hears nothing: no acknowledgement, no start."""
    pair = Pair()
    deb1, deb2 = pair.boot()
    pair.run(3)
    pair.cut_all("deb2")
    deb2.command(Command.UNFREEZE)
    pair.run(9)
    assert deb2.state == "START_READY"
    assert pair.starts() == []
    assert "acknowledgement" in deb2.service().reason


def test_peer_that_comes_back_during_the_check_script_stops_the_takeover() -> None:
    """The links are restored while the check script runs: deb2 looks again, sees STARTED, and steps
    back.
    """
    pair = Pair()
    _, deb2 = pair.start_on_deb1()
    pair.script_s = lambda action: 3.0
    pair.on_check = lambda host, action: pair.heal()
    pair.cut_all()
    pair.run(40)
    assert deb2.shown == ("STARTED", "STOPPED")
    assert [node for _, node in pair.starts()] == ["deb1"]


def test_peer_that_falls_silent_during_the_check_script_makes_it_run_again() -> None:
    """A check script begun while the peer was heard proves nothing about its later silence: it runs
    once more.
    """
    pair = Pair()
    deb1, deb2 = pair.boot()
    pair.run(3)
    pair.script_s = lambda action: 20.0 if len(pair.scripts) == 1 else 1.0
    deb2.command(Command.UNFREEZE)
    pair.run(1)
    deb1.crash()
    pair.run(60)
    assert [kind for _, node, kind, _ in pair.scripts if node == "deb2"] == [
        "check",
        "check",
        "start",
    ]
    assert deb2.shown == ("UNKNOWN", "STARTED")


def test_slow_start_of_one_service_delays_neither_another_nor_the_beats() -> None:
    """busybox takes 40 s to start; registry is taken over in its own time and the links stay up."""
    pair = Pair("registry", "busybox")
    deb1, deb2 = pair.boot()
    pair.run(2)
    pair.script_s = lambda action: (
        40.0 if (action.service, action.kind) == ("busybox", ScriptKind.START) else 0.5
    )
    for name in ("registry", "busybox"):
        deb1.command(Command.UNFREEZE, name)
    pair.run(3)
    assert deb1.service("registry").own_state is ServiceState.STARTED
    assert deb1.service("busybox").own_state is ServiceState.STARTING
    pair.run(20)
    assert deb2.engine is not None and all(
        link.is_up for link in deb2.engine.snapshot(pair.now).links
    )


def test_stop_hands_the_service_to_an_unfrozen_peer() -> None:
    """`stop` with both unfrozen migrates: deb2 starts it, deb1 does not start it again."""
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    number = deb1.command(Command.STOP)
    pair.run(STOP_HOLD_S + 10)
    answer = deb1.last_answer(number)
    assert answer is not None and answer.code is AnswerCode.STOPPED
    assert deb1.shown == deb2.shown == ("STOPPED", "STARTED")
    assert [node for _, node in pair.starts()] == ["deb1", "deb2"]


def test_stop_with_a_frozen_peer_starts_here_again_after_the_hold() -> None:
    """No other node may run it: as in the original the service comes back on the same node, and the
    operator is informed.
    """
    pair = Pair()
    deb1, deb2 = pair.boot()
    pair.run(2)
    deb1.command(Command.UNFREEZE)
    pair.run(3)
    number = deb1.command(Command.STOP)
    assert AnswerCode.STAYS_HERE in [
        item.code for item in deb1.answers if item.command_id == number
    ]
    pair.run(STOP_HOLD_S / 2)
    assert deb1.state == "STOPPED"
    pair.run(STOP_HOLD_S + 5)
    assert deb1.state == "STARTED"


def test_orderly_leave_is_acted_on_at_once() -> None:
    """`ezha stop` on the owner: stop, goodbye, and the peer starts it without waiting for any
    timeout.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    asked_at = pair.now
    deb1.leave(Leaving.STOP_SERVICES)
    pair.run(4)
    assert deb1.engine is None and "registry" not in deb1.running
    assert deb2.shown == ("UNKNOWN", "STARTED")
    assert pair.starts()[-1][0] - asked_at < 1.5


def test_restart_of_the_daemon_moves_no_service() -> None:
    """SIGTERM on the owner's daemon, back within a minute: the peer waits, although all links are
    down.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    deb1.leave(Leaving.KEEP_SERVICES)
    pair.run(RESTART_HOLD_S - 5)
    assert deb1.engine is None and "registry" in deb1.running
    assert deb2.shown == ("UNKNOWN", "STOPPED")
    deb1.boot({"registry": RecoveredState(ServiceState.STARTED, must_probe=True)})
    pair.run(20)
    assert deb1.shown == deb2.shown == ("STARTED", "STOPPED")
    assert len(pair.starts()) == 1


def test_daemon_that_does_not_come_back_is_taken_for_silent_after_the_hold() -> None:
    """A goodbye is no protection for ever: after the hold the check script decides."""
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    deb1.leave(Leaving.KEEP_SERVICES)
    pair.run(1)
    deb1.crash()
    pair.run(RESTART_HOLD_S + START_READY_DELAY_S + 4)
    assert deb2.shown == ("UNKNOWN", "STARTED")


def test_crashed_daemon_that_finds_its_service_up_keeps_it() -> None:
    """kill -9 of the daemon and a start within the timeout: STARTED is re-learned, no second
    start.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    deb1.kill_daemon()
    pair.run(4)
    deb1.boot({"registry": RecoveredState(ServiceState.STARTED, must_probe=True)})
    pair.run(30)
    assert deb1.shown == deb2.shown == ("STARTED", "STOPPED")
    assert len(pair.starts()) == 1


def test_interrupted_start_is_cleaned_up_before_anybody_starts_again() -> None:
    """The daemon died in the middle of a start: stop first, and only then STOPPED is announced."""
    pair = Pair()
    deb1, _ = pair.boot()
    pair.run(2)
    deb1.kill_daemon()
    deb1.boot({"registry": RecoveredState(ServiceState.STARTING, must_probe=True)})
    pair.run(30)
    kinds = [kind for _, node, kind, _ in pair.scripts if node == "deb1"]
    assert kinds == ["status", "stop", "check", "start"]


def test_stalled_node_passes_no_verdict_before_a_full_timeout() -> None:
    """deb2 sleeps for 30 s while deb1 runs the service: on waking it does not take over, it listens
    first.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    deb2.is_stalled = True
    pair.run(30)
    pair.resume(deb2)
    pair.run(30)
    assert any(record.new == "STALLED" for record in deb2.records)
    assert deb1.shown == deb2.shown == ("STARTED", "STOPPED")
    assert len(pair.starts()) == 1


def test_stalled_owner_whose_service_was_taken_stops_its_copy() -> None:
    """Without a fence a stalled owner and its peer both run the service: the owner reports it, and
    steps down at once.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    deb1.is_stalled = True
    pair.run(40)
    assert deb2.state == "STARTED"
    pair.resume(deb1)
    pair.run(0.1)
    assert deb1.state == "STOPPING"
    assert sum(record.new == "DUAL RUN" for record in deb1.records) == 1
    assert [
        "the peer is stopping its copy" in record.reason
        for record in deb2.records
        if record.new == "DUAL RUN"
    ] == [True]
    pair.run(30)
    assert deb1.shown == deb2.shown == ("STOPPED", "STARTED")
    assert not pair.both_run()


def test_frozen_service_is_left_alone_by_every_event() -> None:
    """FROZEN_START on deb1 and FROZEN_STOP on deb2: neither silence nor a stop of the peer's daemon
    moves anything.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    deb1.command(Command.FREEZE_START)
    deb2.command(Command.FREEZE_STOP)
    pair.run(2)
    assert deb1.shown == deb2.shown == ("FROZEN_START", "FROZEN_STOP")
    pair.cut_all()
    pair.run(60)
    pair.heal()
    pair.run(30)
    assert deb1.shown == deb2.shown == ("FROZEN_START", "FROZEN_STOP")
    assert len(pair.starts()) == 1


def test_freeze_stop_during_start_ready_cancels_the_start() -> None:
    """The operator changes their mind during the 5 s of START_READY: nothing starts."""
    pair = Pair()
    pair.deb1.boot()
    pair.run(TIMEOUT_S + 1)
    pair.deb1.command(Command.UNFREEZE)
    pair.run(2)
    assert pair.deb1.state == "START_READY"
    number = pair.deb1.command(Command.FREEZE_STOP)
    pair.run(30)
    answer = pair.deb1.last_answer(number)
    assert answer is not None and answer.is_ok
    assert pair.deb1.state == "FROZEN_STOP"
    assert pair.starts() == []


def test_service_the_peer_does_not_know_is_not_started() -> None:
    """deb2's services file lacks the service: a live peer that does not speak of it proves
    nothing.
    """
    pair = Pair()
    deb1, deb2 = pair.deb1, pair.deb2
    deb1.boot()
    everything, pair.services = pair.services, ()
    deb2.boot()
    pair.services = everything
    pair.run(3)
    deb1.command(Command.UNFREEZE)
    pair.run(30)
    assert deb1.shown == ("STOPPED", "UNKNOWN")
    assert "peer does not know" in deb1.service().reason
    assert pair.starts() == []


def test_check_script_that_failed_in_silence_is_no_lasting_damage() -> None:
    """The fence failed, then the links work again: deb2 is standby, and takes over when deb1
    really dies.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    pair.script_ok = lambda host, action: action.kind is not ScriptKind.CHECK
    pair.cut_all()
    pair.run(20)
    assert deb2.state == "START_FAILED"
    pair.heal()
    pair.script_ok = lambda host, action: True
    pair.run(5)
    assert deb1.shown == deb2.shown == ("STARTED", "STOPPED")
    deb1.crash()
    pair.run(40)
    assert deb2.state == "STARTED"


@pytest.mark.parametrize("roles", ["both primary", "both secondary"])
def test_nodes_whose_files_give_both_the_same_role_still_start_it_once(roles: str) -> None:
    """Primary and secondary were swapped in one node's file only: one start, and no running to and
    fro.
    """
    pair = Pair()
    straight = pair.services
    swapped = tuple(replace(svc, primary="deb2", secondary="deb1") for svc in straight)
    pair.services = straight if roles == "both primary" else swapped
    pair.deb1.boot({"registry": RecoveredState(ServiceState.STOPPED)})
    pair.services = swapped if roles == "both primary" else straight
    pair.deb2.boot({"registry": RecoveredState(ServiceState.STOPPED)})
    pair.run(60)
    assert len(pair.starts()) == 1
    assert sum(len(host.states) for host in (pair.deb1, pair.deb2)) < 20


def test_command_for_a_service_that_is_removed_meanwhile_is_answered() -> None:
    """`start` waits in START_READY, the line vanishes from the services file: the operator is
    reported.
    """
    pair = Pair()
    pair.deb1.boot({"registry": RecoveredState(ServiceState.FROZEN_STOP)})
    pair.run(TIMEOUT_S + 1)
    pair.deb1.command(Command.FORCE_STOP)
    number = pair.deb1.command(Command.START)
    assert pair.deb1.state == "START_READY"
    pair.deb1.handle(pair.deb1.life, ConfigChanged(ClusterSpec("deb1", "deb2", pair.links, ())))
    answer = pair.deb1.last_answer(number)
    assert answer is not None and not answer.is_ok


def test_service_added_again_is_what_its_state_file_holds() -> None:
    """Hole H20: the line comes back while the service runs: STARTED is learned, not FROZEN_STOP
    forced.
    """
    pair = Pair()
    deb1, deb2 = pair.deb1, pair.deb2
    everything, pair.services = pair.services, ()
    deb1.boot()
    pair.services = everything
    deb2.boot({"registry": RecoveredState(ServiceState.STOPPED)})
    deb1.running.add("registry")
    pair.run(5)
    recovered = {"registry": RecoveredState(ServiceState.STARTED, must_probe=True)}
    deb1.handle(
        deb1.life, ConfigChanged(ClusterSpec("deb1", "deb2", pair.links, everything), recovered)
    )
    pair.run(30)
    assert deb1.shown == deb2.shown == ("STARTED", "STOPPED")
    assert pair.starts() == []


def test_service_that_was_stopped_and_dropped_is_written_as_it_was_recovered() -> None:
    """Its line was removed while it ran, and comes back while its last state is being written: what
    was recovered is older than that.
    """
    pair = Pair()
    deb1, everything = pair.deb1, pair.services
    deb1.boot({"registry": RecoveredState(ServiceState.FROZEN_STOP)})
    pair.run(TIMEOUT_S + 1)
    deb1.command(Command.FORCE_STOP)
    deb1.command(Command.START)
    pair.run(START_READY_DELAY_S + TIMEOUT_S + 1)
    assert deb1.state == "STARTED"
    deb1.handle(deb1.life, ConfigChanged(ClusterSpec("deb1", "deb2", pair.links, ())))
    deb1.command(Command.STOP)
    pair.run(5)
    assert deb1.engine is not None and not deb1.engine.manages("registry")
    known = RecoveredState(ServiceState.STOPPING, ServiceState.FROZEN_STOP, must_probe=True)
    spec = ClusterSpec("deb1", "deb2", pair.links, everything)
    deb1.handle(deb1.life, ConfigChanged(spec, {"registry": known}))
    assert deb1.engine.state_of("registry") is ServiceState.STOPPING
    assert decode(deb1.store.files["registry"]).state is ServiceState.STOPPING
    pair.run(5)
    assert deb1.state == "FROZEN_STOP"


@pytest.mark.parametrize(
    "is_frozen, read, expected",
    [
        (False, ServiceState.STOPPED, ServiceState.STOPPED),
        (True, ServiceState.STOPPED, ServiceState.FROZEN_STOP),
        (True, ServiceState.STARTED, ServiceState.FROZEN_STOP),
    ],
)
def test_freeze_of_a_service_is_not_lost_where_it_is_removed_and_added_again(
    is_frozen: bool, read: ServiceState, expected: ServiceState
) -> None:
    """Its file was read for the line that comes back before the freeze was handled: the engine
    handles the freeze, the removal and what was read, in this order. What was read of
    another state is believed, as by the test before.
    """
    pair = Pair()
    deb1 = pair.deb1
    deb1.boot({"registry": RecoveredState(ServiceState.STOPPED)})
    known = RecoveredState(read, reason="as its file had it")
    if is_frozen:
        deb1.command(Command.FREEZE_STOP)
        pair.run(1.0)
        assert deb1.state == "FROZEN_STOP"
    deb1.handle(deb1.life, ConfigChanged(ClusterSpec("deb1", "deb2", pair.links, ())))
    assert deb1.engine is not None and not deb1.engine.manages("registry")
    spec = ClusterSpec("deb1", "deb2", pair.links, pair.services)
    deb1.handle(deb1.life, ConfigChanged(spec, {"registry": known}))
    assert deb1.engine.state_of("registry") is expected
    assert decode(deb1.store.files["registry"]).state is expected


def test_service_that_comes_back_without_its_file_is_unknown_on_disk_as_well() -> None:
    """It was removed with its STATE file, and is added again to the same daemon as a new one. A
    state that is unknown is followed by nothing in a STATE file.
    """
    pair = Pair()
    deb1 = pair.deb1
    deb1.boot({"registry": RecoveredState(ServiceState.STOPPED)})
    deb1.handle(deb1.life, ConfigChanged(ClusterSpec("deb1", "deb2", pair.links, ())))
    deb1.store.damage_state("registry", None)
    known = RecoveredState(ServiceState.UNKNOWN, ServiceState.FROZEN_STOP, must_probe=True)
    spec = ClusterSpec("deb1", "deb2", pair.links, pair.services)
    deb1.handle(deb1.life, ConfigChanged(spec, {"registry": known}))
    assert decode(deb1.store.files["registry"]) == StoredState(ServiceState.UNKNOWN)
    pair.run(5)
    assert deb1.state == "FROZEN_STOP"


def test_beats_that_waited_in_the_inbox_are_a_stall_of_ours() -> None:
    """The engine is far behind its inbox: no verdict on a peer whose newer beats may still wait
    there.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    pair.delay_s = lambda: 0.001
    deb2.is_stalled = True
    pair.run(TIMEOUT_S + 3)
    parked, pair.parked = pair.parked, []
    deb2.is_stalled = False
    for host, life, event in parked[:5]:
        host.handle(life, event)
    assert deb2.service().primary_state is ServiceState.STARTED
    assert any(record.new == "STALLED" for record in deb2.records)


def test_start_that_loses_the_race_is_answered_as_given_up() -> None:
    """freeze-start on both nodes at once (hole H15): the loser learns that and is not recorded as
    frozen-started.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    deb1.command(Command.FREEZE_STOP)
    deb2.command(Command.FREEZE_STOP)
    pair.run(5)
    for host in (deb1, deb2):
        host.command(Command.FORCE_STOP)
    first, second = deb1.command(Command.FREEZE_START), deb2.command(Command.FREEZE_START)
    pair.run(10)
    won, lost = deb1.last_answer(first), deb2.last_answer(second)
    assert won is not None and won.is_ok and won.code is AnswerCode.FROZEN_START
    assert lost is not None and not lost.is_ok and lost.code is AnswerCode.ROLLED_BACK
    assert deb1.shown == ("FROZEN_START", "STOPPED")


@pytest.mark.parametrize("seed", seeds(150, fast=8))
def test_random_faults_with_a_working_fence_never_run_a_service_twice(seed: int) -> None:
    """Loss, delay, cuts, crashes, stalls, restarts and operators at random: at most one node runs
    the service.
    """
    dice = random.Random(seed)
    pair = Pair(timeout_s=dice.choice([2.0, 10.0]), link_count=dice.choice([1, 2, 3]))
    pair.delay_s = lambda: dice.choice([0.001, 0.01, 0.3])
    loss = dice.choice([0.0, 0.1, 0.3])
    pair.is_lost = lambda: dice.random() < loss
    pair.script_s = lambda action: dice.choice([0.0, 0.2, 2.0, 12.0])
    pair.script_ok = lambda host, action: dice.random() > 0.05
    hosts = pair.boot()

    def fence(host: Host, action: Any) -> None:
        """A fenced node is dead, daemon and services, unless it is heard: then nothing needs to
        be fenced.
        """
        other = pair.deb2 if host is pair.deb1 else pair.deb1
        if action.peer_state is ServiceState.UNKNOWN:
            other.crash()
            other.is_stalled = False
            pair.parked = [item for item in pair.parked if item[0] is not other]

    pair.on_check = fence
    commands = [
        Command.UNFREEZE,
        Command.START,
        Command.STOP,
        Command.FREEZE_STOP,
        Command.FREEZE_START,
    ]
    for _ in range(60):
        host = dice.choice(hosts)
        what = dice.random()
        if host.engine is None:
            if not host.is_stalled:
                host.boot(_relearn(host))
        elif what < 0.4:
            host.command(dice.choice(commands))
        elif what < 0.5:
            host.crash()
        elif what < 0.6:
            host.leave(dice.choice(list(Leaving)))
        elif what < 0.7:
            pair.cut_all(*dice.choice([("deb1",), ("deb2",), ()]))
        elif what < 0.85:
            pair.heal()
        else:
            host.is_stalled = not host.is_stalled
            if not host.is_stalled:
                pair.resume(host)
        for _ in range(dice.choice([1, 5, 30])):
            pair.run(dice.choice([0.05, 0.7]))
            assert not pair.both_run(), f"seed {seed}: both nodes run the service"
        for host in hosts:
            if host.engine is not None and host.running and not host.is_stalled:
                own = host.service().own_state
                assert own is not None
                assert own in FROZEN or own.name not in ("STOPPED", "START_READY"), (
                    f"{own} but it runs"
                )


def _relearn(host: Host) -> dict[str, RecoveredState]:
    """What the STATE store would hold after a crash of the node (nothing runs) or of the daemon (it
    may run).
    """
    stored, _ = host.store.read_state("registry")
    if stored is None:
        return {}
    if stored.state in (ServiceState.STOPPED, ServiceState.FROZEN_STOP, ServiceState.START_READY):
        frozen = stored.state is ServiceState.FROZEN_STOP
        return {
            "registry": RecoveredState(ServiceState.FROZEN_STOP if frozen else ServiceState.STOPPED)
        }
    return {"registry": RecoveredState(stored.state, stored.frozen_target, must_probe=True)}
