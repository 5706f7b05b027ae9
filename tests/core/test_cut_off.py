"""`on_lost = stop`: a node that nothing confirms any more stops its services before it is reset."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from opensvc_openha.core.actions import RunScript
from opensvc_openha.core.cut_off import CUT_OFF, CutOff
from opensvc_openha.core.events import Command, ConfigChanged, Leaving, ScriptKind
from opensvc_openha.core.model import (
    FencePath,
    FencingPolicy,
    LeasePolicy,
    OnLost,
    PathKind,
    Policy,
)
from opensvc_openha.core.promise import (
    STOP_MARGIN_S,
    Promise,
    cut_off_after_s,
    death_after_s,
    least_timeout_s,
    media_of,
    patience_s,
)
from tests.core.frozen_disks import FrozenPair
from tests.core.leases import FASTEST, LEASE, SLOWEST, LeaseHost, LeasePair

POLICY = LeasePolicy("/dev/watchdog", timeout_s=15.0, answer_s=1.0, on_lost=OnLost.STOP)
D_S = death_after_s(1.0, 15.0, 2, 0.05, 0.5)
NOTICED_S = 4.0
"""Twice the sum of beat interval and answer: the service is being stopped by then."""
CUT = "nothing confirms that this node lives"


def _cut(pair: LeasePair) -> None:
    """deb1 is cut off from all: it neither hears nor reads anything either."""
    pair.cut_net()
    pair.break_disk(pair.deb1)
    pair.deb1.can_read = False


def _heal(pair: LeasePair) -> None:
    pair.heal()
    pair.mend_disk(pair.deb1)
    pair.deb1.can_read = True


def _pair(policy: LeasePolicy = POLICY, is_believed: bool = True) -> tuple[LeasePair, float]:
    pair = LeasePair(policy=policy, is_believed=is_believed)
    pair.start_first()
    _cut(pair)
    return pair, pair.now


def _ended(pair: LeasePair, kind: str, node: str) -> list[float]:
    return [at for at, name, what, _ in pair.scripts if (what, name) == (kind, node)]


@pytest.mark.parametrize("rates", [(1.0, 1.0), (SLOWEST, FASTEST), (FASTEST, SLOWEST)])
def test_a_node_that_is_cut_off_stops_its_services_and_lives(rates: tuple[float, float]) -> None:
    """They are stopped in time, and started by the peer no earlier than for a dead node."""
    pair = LeasePair(policy=POLICY, is_believed=True)
    pair.deb1.rate, pair.deb2.rate = rates
    pair.start_first()
    _cut(pair)
    cut_at = pair.now
    pair.run(120)
    deb1, deb2 = pair.hosts
    assert not pair.bitten and deb1.is_powered and not deb1.keeper.is_open
    [stop_at] = _ended(pair, "stop", "deb1")
    assert cut_at + 1.9 < stop_at <= cut_at + NOTICED_S / rates[0]
    assert deb1.state == "STOPPED" and deb2.state == "STARTED" and not pair.both_run()
    [_, (started_at, node)] = pair.starts()
    assert node == "deb2" and started_at >= cut_at - 2.0 + D_S / rates[1]
    assert "self-fenced" in deb2.reasons("STARTING")[-1]
    assert len(deb1.reasons("CUT OFF")) == 1 and deb1.reasons("CUT OFF")[0].startswith(CUT)
    assert deb1.reasons("STOPPING") == [f"{CUT}: stopped before the watchdog resets it"]
    assert deb1.lease.cut_off == CUT and CUT in deb1.service().reason
    # Its peer may believe in the promise until it hears it again.
    assert deb1.lease.is_withdrawing


def test_only_renewals_that_were_asked_for_an_interval_apart_count() -> None:
    """A beat that leaves early asks again, and may be lost with the one before."""
    cut = CutOff()
    for at in (100.0, 100.1, 100.5):
        cut.record_ask(1.0, at)
    assert cut.due_at(1.0, 1.0) is None
    cut.record_ask(1.0, 101.0)
    assert cut.due_at(1.0, 1.0) == 103.0
    cut.record_confirmed(100.0, is_in_time=False)
    assert cut.due_at(1.0, 1.0) == 103.0
    cut.record_confirmed(100.0, is_in_time=True)
    assert cut.due_at(1.0, 1.0) is None
    # Where an answer takes longer than a beat, the second one is waited for.
    cut.record_ask(1.0, 102.9)
    assert cut.due_at(1.0, 0.2) == pytest.approx(103.1)


def test_only_what_was_done_after_the_cut_ends_it() -> None:
    """A write of before may land, or an answer come, when it can."""
    cut = CutOff()
    cut.begin(100.0)
    cut.record_confirmed(99.9, is_in_time=True)
    assert cut.text == CUT
    cut.record_confirmed(100.1, is_in_time=False)
    assert not cut.text


def test_what_is_promised_is_no_shorter() -> None:
    """The same D as that of a node that would be reset, and both say so to the peer."""
    for on_lost in OnLost:
        pair = LeasePair(policy=replace(POLICY, on_lost=on_lost))
        deb1, _ = pair.start_first()
        media = frozenset(media_of(pair.links_of(deb1)).values())
        promised = Promise(D_S, media, may_stop=on_lost is OnLost.STOP)
        assert [promise for _, promise in deb1.promises if promise] == [promised]
        assert deb1.lease.stops is (on_lost is OnLost.STOP)


def test_without_the_option_the_watchdog_resets_the_node() -> None:
    """And no service is stopped before."""
    pair, _ = _pair(replace(POLICY, on_lost=OnLost.RESET))
    pair.run(120)
    assert [node for _, node in pair.bitten] == ["deb1"] and not _ended(pair, "stop", "deb1")
    assert pair.deb2.state == "STARTED"


@pytest.mark.parametrize("is_hung", [True, False])
def test_a_service_that_cannot_be_stopped_leaves_the_node_to_its_watchdog(is_hung: bool) -> None:
    """A stop that fails or hangs: nothing is taken for stopped, and the promise is kept."""
    pair = LeasePair("registry", "mail", policy=POLICY, is_believed=True)
    pair.script_ok = lambda host, action: action.kind is not ScriptKind.STOP or is_hung
    pair.script_s = lambda action: (
        300.0 if is_hung and (action.kind, action.service) == (ScriptKind.STOP, "mail") else 1.0
    )
    pair.start_first()
    _cut(pair)
    pair.run(100)
    assert [node for _, node in pair.bitten] == ["deb1"]
    assert len(_ended(pair, "stop", "deb1")) == 2
    assert pair.deb2.running == {"registry", "mail"}


@pytest.mark.parametrize("began_s", [2.0, 9.0])
def test_a_stop_counts_once_all_is_written(began_s: float) -> None:
    """Nothing ends what such a node has on its way, and its peer mounts the disks after D. One that
    was under way before is done again: its disks were not waited for.
    """
    pair = LeasePair("registry", "mail", policy=POLICY, is_believed=True)
    stops: list[tuple[str, bool]] = []

    def took_s(action: RunScript) -> float:
        if action.kind is not ScriptKind.STOP:
            return 1.0
        stops.append((action.service, action.flushes))
        return 4.0 if action.service == "mail" and not action.flushes else 1.0

    pair.script_s = took_s
    deb1, deb2 = pair.start_first()
    deb2.command(Command.FREEZE_STOP, "mail")
    pair.run(2)
    _cut(pair)
    pair.run(began_s)
    deb1.command(Command.FREEZE_STOP, "mail")
    pair.run(20)
    assert not deb1.running and not pair.bitten and deb1.lease.watchdog == "off"
    before = [("mail", False)] if began_s < NOTICED_S else []
    assert sorted(stops) == [*before, ("mail", True), ("registry", True)]
    answered = deb1.last_answer(1)
    assert answered is None or answered.is_ok
    # As before once something confirms it.
    _heal(pair)
    pair.run(10)
    deb2.command(Command.STOP, "registry")
    pair.run(5)
    assert stops[-1] == ("registry", False)


@pytest.mark.parametrize("rates", [(1.0, 1.0), (SLOWEST, FASTEST), (FASTEST, SLOWEST)])
def test_a_longer_timeout_bears_longer_failures(rates: tuple[float, float]) -> None:
    """A switch that is replaced: services are stopped as late as that takes, and in time."""
    policy = replace(POLICY, timeout_s=60.0, stop_s=20.0)
    for lost_s in (35.0, 100.0):
        pair = LeasePair(policy=policy, is_believed=True, timeout_s=10.0)
        pair.deb1.rate, pair.deb2.rate = rates
        pair.script_s = lambda action: 18.0 if action.kind is ScriptKind.STOP else 1.0
        deb1, deb2 = pair.start_first()
        _cut(pair)
        cut_at = pair.now
        pair.run(lost_s)
        if lost_s < 39.0:
            _heal(pair)
        pair.run(100)
        assert not pair.bitten and not pair.both_run()
        stops = _ended(pair, "stop", "deb1")
        if lost_s < 39.0:
            assert not stops and deb1.state == "STARTED"
        else:
            assert cut_at + 37.9 <= (stops[0] - cut_at) * rates[0] + cut_at <= cut_at + 40.0
            assert (deb1.state, deb2.state) == ("STOPPED", "STARTED")


def test_a_cut_is_found_as_late_as_the_stops_allow() -> None:
    """From the least timeout on they end in time; with the default nothing is waited for more."""
    for interval_s, answer_s in ((1.0, 1.0), (0.25, 0.3), (1.0, 0.3)):
        for stop_s in (0.5, 1.0, 20.0, 120.0):
            least_s = least_timeout_s(interval_s, answer_s, stop_s)
            for more_s in (0.0, 1.0, 7.0, 300.0):
                after_s = cut_off_after_s(interval_s, answer_s, least_s + more_s, stop_s)
                assert after_s >= patience_s(interval_s, answer_s)
                assert after_s + stop_s + STOP_MARGIN_S == pytest.approx(least_s + more_s)
        assert cut_off_after_s(interval_s, answer_s, 60.0, None) == 2 * (interval_s + answer_s)
        # The driver keeps less than was asked for: nothing is stopped for one lost renewal.
        assert cut_off_after_s(interval_s, answer_s, 5.0, 20.0) == 2 * (interval_s + answer_s)
    cut = CutOff()
    for at in (100.0, 101.0):
        cut.record_ask(1.0, at)
    assert (cut.due_at(1.0, 1.0, 138.0), cut.due_at(1.0, 1.0, 90.0)) == (138.0, 103.0)


def test_an_edit_while_it_is_cut_off_disarms_nothing_that_runs() -> None:
    """The former promise stands, whatever the configuration says by now."""
    pair = LeasePair(policy=POLICY, is_believed=True)
    pair.script_s = lambda action: 300.0 if action.kind is ScriptKind.STOP else 1.0
    deb1, _ = pair.start_first()
    _cut(pair)
    pair.run(6)
    assert deb1.engine is not None
    fencing = replace(pair.fencing, lease=replace(POLICY, timeout_s=20.0))
    deb1.handle(deb1.life, ConfigChanged(replace(deb1.engine.spec, fencing=fencing)))
    pair.run(120)
    assert [node for _, node in pair.bitten] == ["deb1"] and pair.deb2.state == "STARTED"


def test_a_service_frozen_as_started_is_left_to_the_watchdog() -> None:
    """An operator froze it, and a reset does not ask either."""
    pair = LeasePair("registry", "mail", policy=POLICY, is_believed=True)
    deb1, _ = pair.start_first()
    deb1.command(Command.FREEZE_START, "mail")
    pair.run(2)
    _cut(pair)
    pair.run(10)
    assert deb1.running == {"mail"} and "frozen, and not stopped" in deb1.service("mail").reason
    pair.run(110)
    assert [node for _, node in pair.bitten] == ["deb1"]


@pytest.mark.parametrize("what", ["network", "disk", "network, one way", "hiccup"])
def test_one_medium_that_confirms_is_enough_and_one_lost_renewal_means_nothing(what: str) -> None:
    """No service is stopped as long as the watchdog has permits."""
    pair = LeasePair(policy=POLICY, is_believed=True)
    deb1, deb2 = pair.start_first()
    if what == "disk":
        pair.break_disk(deb1)
    elif what == "network, one way":
        pair.cut |= {("deb2", link) for link in pair.links_of(deb2) if not link.is_disk}
    else:
        pair.cut_net()
    if what == "hiccup":
        pair.break_disk(deb1)
        pair.run(1.5)
        _heal(pair)
    pair.run(25)
    assert deb1.state == "STARTED" and not deb1.reasons("CUT OFF") and not pair.bitten


@pytest.mark.parametrize("stall_s", [2.5, 6.0, 12.0])
def test_a_node_that_stood_still_is_not_cut_off(stall_s: float) -> None:
    """It has asked for nothing meanwhile, and hears what was answered to it."""
    pair = LeasePair(policy=POLICY, is_believed=True)
    deb1, _ = pair.start_first()
    deb1.is_stalled = True
    pair.run(stall_s)
    pair.resume(deb1)
    pair.run(25)
    assert not deb1.reasons("CUT OFF") and not pair.bitten
    assert not _ended(pair, "stop", "deb1")


def test_a_stall_that_falls_on_a_lost_renewal_is_no_cut() -> None:
    """What was asked for before it is not expected any more."""
    pair = LeasePair(policy=POLICY, is_believed=True)
    deb1, _ = pair.start_first()
    _cut(pair)
    pair.run(2.6)
    deb1.is_stalled = True
    _heal(pair)
    pair.run(6.0)
    pair.resume(deb1)
    pair.run(30)
    assert not deb1.reasons("CUT OFF") and not _ended(pair, "stop", "deb1")


def test_the_node_is_back_as_soon_as_something_confirms_it() -> None:
    """What it stopped is started by the peer, which hears that at once; it may be armed again."""
    pair, cut_at = _pair()
    deb1, deb2 = pair.hosts
    pair.run(12)
    assert deb1.state == "STOPPED" and deb2.state in ("STOPPED", "START_READY")
    _heal(pair)
    pair.run(10)
    assert deb1.shown == deb2.shown == ("STOPPED", "STARTED") and pair.now < cut_at + D_S
    assert deb1.lease.cut_off == "" and len(deb1.reasons("CONFIRMED")) == 1
    assert deb1.lease.is_withdrawing is False
    deb2.command(Command.STOP)
    pair.run(30)
    assert deb1.state == "STARTED" and deb1.lease.is_confirmed and not pair.bitten


def test_a_stop_that_was_begun_ends_though_something_confirms_again() -> None:
    """Nobody dies, and the service is handed over as after any stop."""
    pair = LeasePair(policy=POLICY, is_believed=True)
    pair.script_s = lambda action: 5.0 if action.kind is ScriptKind.STOP else 1.0
    deb1, deb2 = pair.start_first()
    _cut(pair)
    pair.run(5)
    assert deb1.state == "STOPPING"
    _heal(pair)
    pair.run(20)
    assert (deb1.state, deb2.state) == ("STOPPED", "STARTED") and not pair.bitten


def test_a_start_that_is_under_way_is_stopped_once_it_has_ended() -> None:
    """Its script is not interrupted."""
    pair = LeasePair("registry", "mail", policy=POLICY, is_believed=True)
    deb1, _ = pair.start_first()
    deb1.command(Command.FREEZE_STOP, "mail")
    pair.run(5)
    pair.script_s = lambda action: 7.0 if action.kind is ScriptKind.START else 1.0
    pair.deb2.command(Command.FREEZE_STOP, "mail")
    pair.run(2)
    deb1.command(Command.UNFREEZE, "mail")
    pair.run(1)
    assert deb1.service("mail").own_state.name == "STARTING"  # type: ignore[union-attr]
    _cut(pair)
    pair.run(30)
    assert not deb1.running and not pair.bitten and len(_ended(pair, "stop", "deb1")) == 3


def test_a_node_that_is_cut_off_starts_nothing_unless_its_peer_is_proved_out() -> None:
    """Not by any command; an operator's word that the peer is out is one, and is not undone."""
    pair, _ = _pair()
    deb1 = pair.deb1
    pair.run(12)
    for command in (Command.START, Command.FORCE_START):
        answer = deb1.last_answer(deb1.command(command))
        assert answer is not None and not answer.is_ok and answer.detail == CUT
    pair.run(12)
    assert deb1.state == "STOPPED"
    pair.deb2.crash()
    pair.confirm_out(deb1)
    pair.run(100)
    assert deb1.state == "STARTED" and not pair.bitten and not deb1.keeper.is_open


def _both_cut_off(of_deb2: LeasePolicy = POLICY) -> LeasePair:
    """Each node runs a service, and neither can write any more, though it reads what is there."""
    pair = LeasePair("registry", "busybox", policy=POLICY, is_believed=True)
    pair.boot()
    pair.run(2)
    for host, name in zip(pair.hosts, ("registry", "busybox")):
        host.command(Command.UNFREEZE, name)
    pair.run(4)
    for host, name in zip(pair.hosts, ("busybox", "registry")):
        host.command(Command.UNFREEZE, name)
    pair.run(6)
    assert (pair.deb1.running, pair.deb2.running) == ({"registry"}, {"busybox"})
    if of_deb2 is not POLICY:
        pair.configure(pair.deb2, of_deb2)
        pair.run(5)
    pair.cut_net()
    pair.break_disk(pair.deb1)
    pair.break_disk(pair.deb2)
    pair.run(NOTICED_S + 2)
    return pair


@pytest.mark.parametrize("alone_s", [0.0, D_S - 10.0, D_S + 60.0])
def test_of_two_nodes_that_are_cut_off_neither_takes_the_other_for_dead(alone_s: float) -> None:
    """Each sees the other's slot stand still, as it would for a dead one. Nor does either once
    something confirms it: what it saw before that proves nothing.
    """
    pair = _both_cut_off()
    assert not pair.deb1.running and not pair.deb2.running and not pair.bitten
    pair.run(alone_s)
    assert not pair.deb1.running and not pair.deb2.running
    for host in pair.hosts:
        assert host.lease.cut_off == CUT
    # The disk takes writes again, on both nodes within one beat interval.
    pair.mend_disk(pair.deb2)
    pair.run(0.4)
    pair.mend_disk(pair.deb1)
    pair.run(D_S - 5.0)
    assert not pair.both_run() and not pair.both_run("busybox") and not pair.bitten


def test_of_two_nodes_that_were_cut_off_one_that_is_confirmed_takes_over() -> None:
    """The time begins when something confirms it; its peer is still cut off, and starts nothing."""
    pair = _both_cut_off()
    pair.run(D_S + 30.0)
    pair.mend_disk(pair.deb1)
    mended_at = pair.now
    pair.run(D_S + 20.0)
    assert pair.deb1.running == {"registry", "busybox"} and not pair.deb2.running
    assert min(at for at, _ in pair.starts()[1:]) >= mended_at + D_S - 2.0
    assert pair.deb2.lease.cut_off == CUT and not pair.bitten


def test_a_node_that_is_cut_off_takes_over_from_one_that_is_reset() -> None:
    """By what that one promised: it does not live on without services."""
    pair = _both_cut_off(replace(POLICY, on_lost=OnLost.RESET))
    pair.run(D_S + 20.0)
    assert [name for _, name in pair.bitten] == ["deb2"] and pair.deb1.lease.cut_off == CUT
    assert pair.deb1.running == {"registry", "busybox"}


@pytest.mark.parametrize("policy", [replace(POLICY, on_lost=OnLost.RESET), None])
def test_an_edit_ends_no_cut(policy: LeasePolicy | None) -> None:
    """Nothing confirms more than before."""
    pair = _both_cut_off()
    pair.run(D_S)
    pair.configure(pair.deb1, policy)
    pair.run(D_S + 30.0)
    assert not pair.deb1.running and not pair.deb2.running


def test_a_node_whose_peer_left_in_order_starts_again_what_it_stopped() -> None:
    """Nothing is left that could take it over, nor anything that could confirm."""
    for is_cut in (False, True):
        pair = LeasePair(policy=POLICY, is_believed=True)
        deb1, deb2 = pair.start_first()
        pair.break_disk(deb1)
        if is_cut:
            # It reads the slot of its peer, which hears nothing.
            pair.cut_net()
        pair.run(8)
        deb2.leave(Leaving.STOP_SERVICES)
        pair.run(100)
        assert deb1.state == "STARTED" and not pair.bitten and not deb1.keeper.is_open
        # Without the cut it is not even stopped: no peer counts on it any more.
        assert len(pair.starts()) == 1 + is_cut and len(_ended(pair, "stop", "deb1")) == is_cut


def test_a_node_that_is_cut_off_shoots_nobody() -> None:
    """It may reach a board although nothing else reaches it."""
    ipmi = FencePath("ipmi", PathKind.POWER, 30.0)
    pair = LeasePair(policy=POLICY)
    pair.fencing = FencingPolicy(lease=POLICY, levels=((LEASE,), (ipmi,)))
    assert pair.invariants is not None
    pair.invariants.expect_plan(False, (), ())
    pair.services = tuple(replace(svc, check="/bin/true") for svc in pair.services)
    pair.start_first()
    _cut(pair)
    pair.run(150)
    assert not [name for _, name, _ in pair.steps if name == "deb1"]
    assert pair.deb1.state == "STOPPED" and pair.deb2.state == "STARTED"


@pytest.mark.parametrize("is_thawed", [False, True])
def test_a_node_that_is_silent_on_purpose_stops_the_rest_of_what_runs_first(
    is_thawed: bool,
) -> None:
    """Nothing confirms it either: what is in good health need not be cut off halfway."""
    pair = FrozenPair("registry", "mail", lease=POLICY)
    pair.use(Policy(), "mail")
    deb1, deb2 = pair.start_first()
    pair.disks.freeze("deb1")
    while not deb1.reasons("FELL SILENT"):
        pair.run(0.5)
    pair.run(8)
    assert deb1.running == {"registry"} and len(deb1.reasons("CUT OFF")) == 1
    if is_thawed:
        pair.disks.thaw("deb1")
    pair.run(100)
    assert [node for _, node in pair.bitten] == ([] if is_thawed else ["deb1"])
    assert deb2.running == {"registry", "mail"} and not pair.both_run()


def test_a_daemon_that_leaves_cut_off_keeps_what_runs() -> None:
    """An upgrade in the middle of it decides nothing: what was begun is done."""
    pair = LeasePair(policy=POLICY, is_believed=True)
    deb1, _ = pair.start_first()
    deb1.leave(Leaving.KEEP_SERVICES)
    _cut(pair)
    pair.run(3)
    assert deb1.engine is None and not _ended(pair, "stop", "deb1")


def _until_bitten(pair: LeasePair, host: LeaseHost) -> float:
    while host.is_powered and pair.now < 1000:
        pair.run(0.5)
    return pair.now if not host.is_powered else math.inf


def test_a_daemon_that_is_started_while_cut_off_is_reset() -> None:
    """It has no permit yet, and so no knowledge of its own that it was confirmed before."""
    pair = LeasePair(policy=POLICY, is_believed=True)
    deb1, _ = pair.start_first()
    deb1.kill_daemon()
    _cut(pair)
    deb1.boot_from_files()
    assert _until_bitten(pair, deb1) < math.inf and not _ended(pair, "stop", "deb1")


# --- the count of what was asked for, on its own --------------------------------------------------


def _asked(*instants: float) -> CutOff:
    """Renewals were asked for then, a second apart at most."""
    cut = CutOff()
    for at in instants:
        cut.record_ask(1.0, at)
    return cut


@pytest.mark.parametrize(
    ("instants", "answer_s", "earliest", "due_at"),
    [
        ((), 1.0, -math.inf, None),
        ((100.0,), 1.0, -math.inf, None),
        ((100.0, 100.74), 1.0, -math.inf, None),
        ((100.0, 100.75), 1.0, -math.inf, 103.0),
        ((100.0, 101.0), 1.0, -math.inf, 103.0),
        ((100.0, 101.0, 102.0), 1.0, -math.inf, 103.0),
        ((100.0, 109.0, 110.0), 0.5, -math.inf, 109.5),
        ((100.0, 101.0), 1.0, 110.0, 110.0),
        ((100.0, 101.0), 1.0, 102.9, 103.0),
    ],
)
def test_it_is_cut_off_after_two_renewals_that_nothing_confirms(
    instants: tuple[float, ...], answer_s: float, earliest: float, due_at: float | None
) -> None:
    """As long after the last one that something may have confirmed as the promise bears."""
    assert _asked(*instants).due_at(1.0, answer_s, earliest) == due_at


def test_confirmation_in_time_counts_for_what_was_asked_for_until_then() -> None:
    """One that comes late counts for nothing."""
    for began_at, is_in_time, due_at in (
        (100.0, True, 104.0),
        (99.9, True, 103.0),
        (101.0, True, None),
        (101.0, False, 103.0),
    ):
        cut = _asked(100.0, 101.0, 102.0)
        cut.record_confirmed(began_at, is_in_time)
        assert cut.due_at(1.0, 1.0) == due_at


def test_no_more_renewals_are_kept_than_count() -> None:
    """A cut may last for days; those behind the second were of use if the first was confirmed."""
    cut = _asked(*(100.0 + number for number in range(9)))
    cut.record_confirmed(102.0, True)
    assert cut.due_at(1.0, 1.0) is None
    again = _asked(*(100.0 + number for number in range(9)))
    again.record_confirmed(101.0, True)
    assert again.due_at(1.0, 1.0) == 105.0


@pytest.mark.parametrize("is_in_time", [True, False])
def test_what_was_done_after_the_cut_ends_it_however_late(is_in_time: bool) -> None:
    """Not what was done before, or in that instant."""
    cut = _asked(100.0, 101.0)
    assert cut.text == "" and cut.since is None
    cut.begin(103.0)
    assert cut.text == CUT_OFF and cut.since == 103.0 and cut.due_at(1.0, 1.0) is None
    cut.record_confirmed(103.0, is_in_time)
    assert cut.since == 103.0
    cut.record_confirmed(103.1, is_in_time)
    assert cut.since is None and cut.text == ""
    cut.record_ask(1.0, 104.0)
    assert cut.due_at(1.0, 1.0) is None
    cut.record_ask(1.0, 105.0)
    assert cut.due_at(1.0, 1.0) == 107.0


def test_node_that_stood_still_counts_from_its_next_beat() -> None:
    """It heard nothing meanwhile; a cut stays one."""
    cut = _asked(100.0, 101.0)
    cut.restart()
    cut.record_ask(1.0, 101.1)
    assert cut.due_at(1.0, 1.0) is None
    cut.begin(103.0)
    cut.restart()
    assert cut.since == 103.0


def test_nothing_was_told_of_a_node_that_has_just_begun() -> None:
    """It was not cut off before."""
    assert not CutOff().is_told
