"""Nodes whose watchdogs keep a promise: histories with faults of them, and S6 with planted ones."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from opensvc_openha.core import lease_owner, lease_view
from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.events import Command, MediumQuiet, ScriptKind, WatchdogReady
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.model import FencePath, FencingPolicy, LeasePolicy, OnLost, PathKind
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.promise import WITNESS_MARK, Promise, death_after_s
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.verify.invariants import (
    Announced,
    DaemonBegan,
    Heard,
    InvariantBroken,
    InvariantChecker,
    MediumRead,
    NodeLost,
    Petted,
    ScriptEnded,
)
from opensvc_openha.verify.random.main import main
from opensvc_openha.verify.random.plan import (
    FASTEST,
    GRANULARITY_S,
    SLOWEST,
    Fence,
    Plan,
    lease_plan_from_seed,
    plan_from_seed,
)
from opensvc_openha.verify.random.random_history import run_history
from opensvc_openha.verify.random.simulated_cluster import Cluster
from opensvc_openha.verify.random.simulated_disk import SlotReader
from opensvc_openha.verify.random.trace import Trace
from opensvc_openha.verify.random.watchdog import Watchdog
from opensvc_openha.verify.random.witness import WitnessClient, WitnessStore

LEASE = FencePath("lease", PathKind.LEASE, 60.0)
POLICY = LeasePolicy("/dev/watchdog", timeout_s=4.0, answer_s=1.0)
D_S = death_after_s(1.0, 4.0, 2, GRANULARITY_S, 0.5)


class Story:
    """deb1 runs the service, and is slow; deb2 is its standby, and its clock is fast."""

    def __init__(
        self,
        is_virtual: bool = False,
        rates: tuple[float, float] = (1.0, 1.0),
        has_witness: bool = False,
    ) -> None:
        """``has_witness``: there is a witness, and no heartbeat disk."""
        self.lines: list[str] = []
        plan = Plan(
            seed=1,
            fence=Fence.PLAN,
            net_links=1,
            timeouts_s=(3.0, 3.0),
            has_key=True,
            rates=rates,
            has_disk=not has_witness,
            fencing=FencingPolicy(
                levels=((LEASE,),), lease=replace(POLICY, has_witness=has_witness)
            ),
            is_virtual=is_virtual,
        )
        self.cluster = Cluster(plan, Trace(self.lines.append))
        self.deb1, self.deb2 = self.cluster.nodes
        for node in self.cluster.nodes:
            node.power_on()
        self.run(3)
        for node in self.cluster.nodes:
            node.order(Command.UNFREEZE, "registry")
            self.run(6)
        assert self.deb1.running == {"registry"}

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.cluster.scheduler.run_until(self.cluster.scheduler.now + seconds)

    def cut_net(self) -> None:
        """Cut the network; the heartbeat disk stays."""
        self.cluster.cut(tuple(link for link in self.cluster.links if not link.is_disk))

    def lose_sight(self) -> None:
        """Cut the network, and deb1 from the disk."""
        self.cut_net()
        self.cluster.disk.hung.add("deb1")

    def said(self, words: str) -> bool:
        """Return whether a line of the trace has these words."""
        return any(re.search(words, line) for line in self.lines)


# --- stories --------------------------------------------------------------------------------------


def test_owner_that_lost_everything_is_reset_and_taken_over_without_a_fence() -> None:
    """By time alone, with clocks at the extremes."""
    story = Story(rates=(SLOWEST, FASTEST))
    story.lose_sight()
    story.run(D_S + 8)
    assert story.said("deb1 +power off: reset by its watchdog")
    assert story.said("registry START_READY -> STARTING: .*self-fenced: promised to be dead 11.4 s")
    assert story.deb2.running == {"registry"}


def test_owner_that_lost_the_witness_too_is_taken_over_once_the_witness_was_asked() -> None:
    """There is no heartbeat disk; a peer that cannot ask the witness knows nothing."""
    story = Story(rates=(SLOWEST, FASTEST), has_witness=True)
    story.cut_net()
    story.cluster.witness.away |= {"deb1", "deb2"}
    story.run(60)
    assert story.said("reset by its watchdog") and story.deb2.running == set()
    story.cluster.witness.away.clear()
    story = Story(rates=(SLOWEST, FASTEST), has_witness=True)
    story.cut_net()
    story.cluster.witness.away = {"deb1"}
    story.run(D_S + 12)
    assert story.said("self-fenced: promised to be dead 11.4 s after .*, the witness read")
    assert story.deb2.running == {"registry"}


@pytest.mark.parametrize("has_witness", [False, True])
def test_owner_that_is_seen_on_the_disk_or_by_the_witness_alone_lives(has_witness: bool) -> None:
    """Whatever becomes of the network."""
    story = Story(has_witness=has_witness)
    story.cut_net()
    story.run(60)
    assert story.deb1.running == {"registry"} and story.deb2.running == set()
    assert not story.said("reset by")


def test_owner_whose_disk_takes_no_write_lives_by_acknowledged_beats() -> None:
    """And one whose writes land late."""
    story = Story()
    story.cluster.disk.hung.add("deb1")
    story.run(30)
    story.cluster.disk.hung.clear()
    story.cluster.disk.late.add("deb1")
    story.run(30)
    assert story.deb1.running == {"registry"} and not story.said("reset by")


def test_writes_that_land_late_only_make_the_peer_wait() -> None:
    """The slot changes after its owner is dead."""
    story = Story()
    story.cut_net()
    story.cluster.disk.late.add("deb1")
    story.run(60)
    assert story.said("reset by its watchdog") and story.deb2.running == {"registry"}


@pytest.mark.parametrize("with_holder", [False, True])
def test_keeper_that_is_killed_again_and_again_keeps_nothing_alive(with_holder: bool) -> None:
    """It is started again by each permit, and opens the watchdog with the next one only."""
    story = Story()
    for _ in range(20):
        story.deb1.watchdog.kill_keeper(with_holder)
        story.run(0.9)
    assert story.said("reset by its watchdog") or story.deb1.running == {"registry"}
    story = Story()
    story.lose_sight()
    for _ in range(20):
        story.deb1.watchdog.kill_keeper(with_holder)
        story.run(0.3)
    story.run(6)
    assert story.said("reset by its watchdog")


def test_keeper_that_is_stopped_pets_for_no_old_permit() -> None:
    """Stopped for a moment it does no harm, for longer it is the end of its node."""
    story = Story()
    story.deb1.watchdog.stop_keeper()
    story.run(2)
    story.deb1.watchdog.continue_keeper()
    story.deb1.watchdog.continue_keeper()
    story.run(10)
    assert not story.said("reset by")
    story.deb1.watchdog.stop_keeper()
    story.run(5)
    assert story.said("reset by its watchdog")


def test_daemon_that_is_started_again_takes_the_watchdog_over() -> None:
    """Killed, it has the time of the watchdog; asked to restart, that of a restart."""
    story = Story()
    story.deb1.end_daemon()
    story.run(1)
    story.deb1.boot_daemon()
    story.run(20)
    assert not story.said("reset by")
    story.deb1.end_daemon()
    story.run(6)
    assert story.said("reset by its watchdog")


def test_promise_that_a_later_daemon_has_withdrawn_proves_nothing() -> None:
    """The peer was stopped meanwhile: it finds old frames that promise, and a slot that does not,
    of a life that has not heard it.
    """
    story = Story()
    story.cluster.stall(story.deb2, 45.0)
    story.run(3)
    story.deb1.end_daemon()
    story.run(1)
    story.deb1.boot_daemon()
    story.run(20)
    assert story.said("deb1 +log: deb1 - -> DISARMED") and not story.said("reset by")
    story.lose_sight()
    story.run(90)
    assert story.deb1.running == {"registry"} and story.deb2.running == set()


def test_virtual_machine_that_is_paused_with_its_clocks_is_not_called_dead() -> None:
    """Its watchdog stands still as well; it goes on as if nothing had happened."""
    story = Story(is_virtual=True)
    story.cluster.pause(story.deb1, 40.0)
    before = story.deb1.now
    story.run(39)
    assert story.deb1.now == before and story.deb2.running == set()
    assert story.cluster.is_stopped(story.deb1)
    story.run(3)
    assert story.deb1.running == {"registry"} and not story.said("reset by")


def test_machine_that_stands_still_while_its_clocks_run_is_reset() -> None:
    """By a watchdog that does not stand still."""
    story = Story()
    story.cluster.pause(story.deb1, 40.0)
    story.run(D_S + 8)
    assert story.said("reset by its watchdog") and story.deb2.running == {"registry"}


# --- planted faults -------------------------------------------------------------------------------


def _count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        lease_owner, "death_after_s", lambda i, w, n, d, m: death_after_s(i, w, 1, d, m)
    )


def _trust_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_owner, "death_after_s", lambda i, w, n, d, m: i + n * w + d + 0.05)


def _close_late(story: Story) -> None:
    """Lose sight, and have the kernel pet as late as it can: when the device is closed."""
    story.lose_sight()
    watchdog = story.deb1.watchdog
    while story.deb1.now < watchdog.petted_at + 3.9:
        story.run(0.01)
    watchdog.kill_keeper(with_holder=True)


@pytest.mark.parametrize("plant", [_count_once, _trust_clocks])
def test_promise_that_is_too_short_is_found(monkeypatch: pytest.MonkeyPatch, plant: object) -> None:
    """The close of the device pets once more; clocks differ."""
    story = Story(rates=(SLOWEST, FASTEST))
    _close_late(story)
    story.run(D_S + 8)
    assert story.deb2.running == {"registry"}
    assert callable(plant)
    plant(monkeypatch)
    story = Story(rates=(SLOWEST, FASTEST))
    _close_late(story)
    with pytest.raises(InvariantBroken, match="^S6.*still runs, though deb2 may call the node"):
        story.run(D_S + 8)


def test_read_that_failed_and_is_taken_for_a_quiet_one_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The peer renews where this node does not look."""

    def find_quiet(self: SlotReader) -> None:
        self._receiver.find_quiet(self._link, self._receiver.now, self._since)

    for is_planted in (False, True):
        if is_planted:
            monkeypatch.setattr(SlotReader, "_fail", find_quiet)
        story = Story()
        story.cut_net()
        story.cluster.disk.unreadable.add("deb2")
        if is_planted:
            with pytest.raises(InvariantBroken, match="^S6"):
                story.run(40)
        else:
            story.run(40)
            assert story.deb2.running == set()


def test_witness_that_does_not_answer_and_is_taken_for_quiet_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The peer renews there."""
    look = WitnessClient._look

    def find_quiet(self: WitnessClient) -> None:
        look(self)
        node = self._node
        if node.name in self._world.witness.away and node.engine is not None:
            node.give(MediumQuiet(WITNESS_MARK, node.now, self._since))

    monkeypatch.setattr(WitnessClient, "_look", find_quiet)
    story = Story(has_witness=True)
    story.cut_net()
    story.cluster.witness.away = {"deb2"}
    with pytest.raises(InvariantBroken, match="^S6"):
        story.run(40)


def test_late_answer_of_the_witness_undoes_no_withdrawal() -> None:
    """What was asked before has its effect only if nothing else had one since."""
    store, boot = WitnessStore(), BootId(1, 1)
    known = store.of("deb1")
    assert store.swap("deb1", known, boot, 3)
    renewed = store.of("deb1")
    assert store.swap("deb1", renewed, boot, None)
    assert not store.swap("deb1", renewed, boot, 3)
    assert store.of("deb1").since is None


def test_virtual_machine_that_is_not_told_to_be_one_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its pause outlasts its promise."""
    ready = Watchdog._ready

    def forget(self: Watchdog, is_former: bool) -> WatchdogReady:
        return replace(ready(self, is_former), is_virtual=False)

    monkeypatch.setattr(Watchdog, "_ready", forget)
    story = Story(is_virtual=True)
    story.cluster.pause(story.deb1, 40.0)
    with pytest.raises(InvariantBroken, match="^S6"):
        story.run(40)


def test_petting_without_a_look_at_the_clock_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keeper that was stopped between a permit and the petting."""
    monkeypatch.setattr(Watchdog, "_is_late", lambda self, renewed_at: False)
    story = Story()
    story.deb1.watchdog.stop_keeper()
    story.run(3)
    with pytest.raises(InvariantBroken, match="^S6.*pets its watchdog"):
        story.deb1.watchdog.continue_keeper()


def test_keeper_that_opens_without_a_permit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in a circle, it keeps a dead node's watchdog alive."""
    kill = Watchdog.kill_keeper

    def start_again(self: Watchdog, with_holder: bool) -> None:
        kill(self, with_holder)
        if self.is_running:
            self.is_keeper_alive = self.is_open = True
            self._pet()

    monkeypatch.setattr(Watchdog, "kill_keeper", start_again)
    story = Story()
    story.lose_sight()
    with pytest.raises(InvariantBroken, match="^S6"):
        for _ in range(30):
            story.deb1.watchdog.kill_keeper(with_holder=True)
            story.run(0.7)


def test_survivor_that_counts_by_its_own_configuration_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The peer's watchdog has another timeout."""
    judged = lease_view.LeaseView._judged

    def count(
        self: lease_view.LeaseView, view: PeerView, delay_s: float, now: float, is_cut_off: bool
    ) -> lease_view.LeaseSight:
        if view._facts is not None and view._facts.promise is not None:
            promise = replace(view._facts.promise, death_s=6.0)
            view._facts = replace(view._facts, promise=promise)
        return judged(self, view, delay_s, now, is_cut_off)

    monkeypatch.setattr(lease_view.LeaseView, "_judged", count)
    story = Story()
    story.lose_sight()
    with pytest.raises(InvariantBroken, match="^S2.*start without proof"):
        story.run(40)


# --- S6 by itself ---------------------------------------------------------------------------------


def test_petting_later_than_the_answer_breaks_s6() -> None:
    """By the clock of the node."""
    checker = InvariantChecker(("deb1", "deb2"), 10.0, 10.0)
    checker.observe(Petted(11.0, "deb1", 10.0, 1.0))
    with pytest.raises(InvariantBroken, match="^S6.*1.100 s"):
        checker.observe(Petted(11.1, "deb1", 10.0, 1.0))


@pytest.mark.parametrize("what", ["runs", "stopped", "rebooted", "heard", "unread", "none"])
def test_node_that_runs_something_when_its_promise_is_over_breaks_s6(what: str) -> None:
    """Not one that stopped, or was booted since, or that its peer has seen or may not have seen."""
    own, peer, medium = BootId(1, 1), BootId(1, 2), b"12345678"
    checker = InvariantChecker(("deb1", "deb2"), 10.0, 10.0)
    checker.observe(DaemonBegan(0.0, "deb1", own, {"web": S.STOPPED}))
    checker.observe(DaemonBegan(0.0, "deb2", peer, {"web": S.STARTED}))
    checker.observe(ScriptEnded(1.0, "deb2", "web", ScriptKind.START, is_ok=True, is_running=True))
    promise = None if what == "none" else Promise(11.4, frozenset({medium}))
    facts = Facts(promise=promise)
    beat = Beat("deb2", peer, 7, Ack(own, 1), {"web": S.STARTED}, facts=facts)
    checker.observe(Heard(20.0, "deb1", beat, True, 20.0))
    checker.observe(MediumRead(31.3, "deb1", medium, 31.3, 20.0))
    if what == "stopped":
        ended = ScriptEnded(25.0, "deb2", "web", ScriptKind.STOP, is_ok=True, is_running=False)
        checker.observe(ended)
    elif what == "rebooted":
        checker.observe(NodeLost(25.0, "deb2"))
        checker.observe(DaemonBegan(26.0, "deb2", BootId(2, 2), {"web": S.STOPPED}))
        begun = ScriptEnded(27.0, "deb2", "web", ScriptKind.START, is_ok=True, is_running=True)
        checker.observe(begun)
    elif what == "heard":
        checker.observe(Heard(31.35, "deb1", replace(beat, seq=8), True, 31.35))
    read = MediumRead(31.5, "deb1", b"other..." if what == "unread" else medium, 31.5, 20.0)
    if what == "runs":
        with pytest.raises(InvariantBroken, match="^S6.*service web: still runs"):
            checker.observe(read)
    else:
        checker.observe(read)
    checker.observe(Announced(32.0, "deb1", Beat("deb1", own, 32, None, {"web": S.STOPPED})))


# --- histories ------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", range(0, 16, 8))
def test_no_promise_breaks_in_histories_with_leases(first: int) -> None:
    """Eight seeds each."""
    for seed in range(first, first + 8):
        outcome = run_history(seed, 0.02, plan=lease_plan_from_seed(seed))
        assert not outcome.failure, f"seed {seed}: {outcome.failure}"


@pytest.mark.parametrize("seed", [132, 273, 2132])
def test_seeds_that_once_failed(seed: int) -> None:
    """A preempt whose step was void, an ejected node that stopped; a daemon in a paused machine; a
    withdrawal by a daemon that the peer, stopped for long, has not acknowledged.
    """
    assert not run_history(seed, 0.03, plan=lease_plan_from_seed(seed)).failure


def test_plan_with_leases_has_all_that_a_promise_needs() -> None:
    """In each kind of cluster that is drawn."""
    plans = [lease_plan_from_seed(seed) for seed in range(60)]
    assert all(plan.has_key and plan.fencing.lease for plan in plans)
    kinds = {
        (plan.has_disk, plan.fencing.lease is not None and plan.fencing.lease.has_witness)
        for plan in plans
    }
    assert kinds == {(True, False), (True, True), (False, True)}
    assert {plan.rates for plan in plans} == {
        (FASTEST, SLOWEST),
        (SLOWEST, FASTEST),
        (1.0, 1.0),
    }
    assert any(plan.is_virtual for plan in plans) and not all(plan.is_virtual for plan in plans)
    assert {plan.death_s for plan in plans} >= {D_S, death_after_s(1.0, 4.0, 1, GRANULARITY_S, 0.5)}
    assert {plan.fencing.lease.on_lost for plan in plans if plan.fencing.lease} == set(OnLost)
    assert plan_from_seed(1).death_s == 0.0


def test_histories_with_leases_are_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """One after the other, and in processes."""
    assert main(["--lease", "--seed", "1", "--runs", "2", "--hours", "0.01"]) == 0
    assert main(["--lease", "--runs", "2", "--hours", "0.01", "--jobs", "2"]) == 0
    assert capsys.readouterr().out.count("2 histories, 0 failed") == 2
