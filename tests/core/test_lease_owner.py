"""What a node promises of itself, and when it takes that back."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from opensvc_openha.core.actions import (
    Action,
    ArmWatchdog,
    DisarmWatchdog,
    GrantPermit,
    HoldWatchdog,
    Record,
    RenewWitness,
    WithdrawWitness,
)
from opensvc_openha.core.beat import Ack, BootId, Goodbye
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    ConfigChanged,
    Leaving,
    MediaReplaced,
    RenewalConfirmed,
    WatchdogLost,
    WatchdogReady,
)
from opensvc_openha.core.lease_owner import Circumstances, LeaseOwner
from opensvc_openha.core.model import ClusterSpec, FencingPolicy, LinkSpec, OnLost, Profile, Role
from opensvc_openha.core.peer_view import Evidence
from opensvc_openha.core.promise import (
    CLOCK_RATIO,
    FAST_MARGIN_S,
    WITNESS_MARK,
    Promise,
    cut_off_after_s,
    death_after_s,
    media_of,
)
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.timing import (
    LEASE_CONFIRM_S,
    LEASE_RETRY_S,
    LEASE_SETTLE_S,
    LEASE_TAKEOVER_S,
    LEASE_WAIT_S,
    RESTART_HOLD_S,
)
from opensvc_openha.core.transitions import Situation, Trigger, find_row
from tests.core.leases import FAST_POLICY, POLICY, LeaseHost, LeasePair, Slot

D_S = death_after_s(1.0, 4.0, 2, 0.05, 0.5)


def _promised(host: LeaseHost) -> Promise | None:
    assert host.engine is not None
    facts = host.engine.beat().facts
    return None if facts is None else facts.promise


def _alive(pair: LeasePair) -> list[str]:
    return [host.name for host in pair.hosts if host.is_powered]


# --- armed before anything runs -------------------------------------------------------------------


def test_a_start_waits_until_the_promise_is_confirmed() -> None:
    """The watchdog is armed, and the peer has the armed beat, before the start script runs."""
    pair = LeasePair()
    deb1, deb2 = pair.start_first()
    promised_at = next(at for at, promise in deb1.promises if promise is not None)
    [(started_at, node)] = pair.starts()
    assert node == "deb1" and promised_at < started_at < promised_at + 0.1
    assert _promised(deb1) == Promise(D_S, frozenset(media_of(pair.links_of(deb1)).values()))
    shown = deb1.lease
    assert (shown.watchdog, shown.name, shown.timeout_s, shown.answer_s) == (
        "armed",
        "softdog",
        4.0,
        1.0,
    )
    assert shown.death_s == D_S and shown.is_confirmed and shown.why_not == ""
    assert shown.permit_by in ("acknowledged beat", "disk slot")
    assert shown.margin_s is not None and shown.margin_s <= 4.0
    assert deb1.reasons("PROMISED") == [
        f"dead {D_S} s after its last sign of life, by softdog of 4 s"
    ]
    # A standby has nothing to promise.
    assert _promised(deb2) is None and not deb2.keeper.permits
    assert deb2.lease.why_not == "no service runs here"


def test_a_node_without_a_watchdog_promises_nothing_and_starts_all_the_same() -> None:
    """The reason is an alarm and in the status; it is tried again, and found in time."""
    pair = LeasePair()
    pair.deb1.keeper.problem = "/dev/watchdog is held by systemd"
    deb1, _ = pair.start_first()
    assert _promised(deb1) is None
    assert deb1.lease.watchdog == "lost" and deb1.lease.why_not == deb1.keeper.problem
    assert deb1.reasons("NO WATCHDOG") == [deb1.keeper.problem]
    deb1.keeper.problem = ""
    pair.run(LEASE_RETRY_S + 1)
    assert _promised(deb1) is not None and deb1.lease.is_confirmed


def test_a_start_does_not_wait_for_ever() -> None:
    """A keeper that does not answer costs the time of the wait, and an alarm, once."""
    pair = LeasePair()
    pair.boot()
    pair.run(2)
    pair.deb1.keeper.answer_s = 0.0
    pair.deb1.keeper.carry_out = lambda action: None  # type: ignore[method-assign]
    pair.deb1.command(Command.UNFREEZE)
    asked_at = pair.now
    pair.run(LEASE_WAIT_S - 1)
    assert pair.deb1.state == "START_READY" and not pair.starts()
    assert "promise is confirmed" in pair.deb1.service().reason
    pair.run(3)
    [(started_at, _)] = pair.starts()
    assert started_at == pytest.approx(asked_at + LEASE_WAIT_S, abs=0.2)
    assert pair.deb1.reasons("NO PROMISE") == [
        "the watchdog is being armed: starts do not wait for it"
    ]
    pair.run(20)
    assert len(pair.deb1.reasons("NO PROMISE")) == 1


def test_a_node_whose_beats_nobody_confirms_does_not_open_the_watchdog() -> None:
    """Without a permit the device stays closed, and the status says what is missing."""
    pair = LeasePair()
    pair.boot()
    pair.run(2)
    pair.cut_net()
    pair.break_disk(pair.deb1)
    pair.deb1.command(Command.UNFREEZE)
    pair.run(3)
    assert not pair.deb1.keeper.is_open and "no beat was confirmed yet" in pair.deb1.lease.why_not


def test_nothing_is_promised_to_a_peer_without_a_key() -> None:
    """Anybody could withdraw a promise, or acknowledge what the peer has never heard."""
    pair = LeasePair()
    pair.key_id = ""
    deb1, _ = pair.start_first()
    assert deb1.lease.why_not == "the beats of deb2 are not authenticated"
    assert not deb1.keeper.permits and _promised(deb1) is None


def test_nothing_is_promised_without_a_medium() -> None:
    """A network cut would reset the owner."""
    pair = LeasePair(disks=0)
    deb1, _ = pair.start_first()
    assert "neither a disk link nor a witness" in deb1.lease.why_not
    assert not deb1.keeper.permits


def test_the_promise_counts_with_what_the_driver_reports() -> None:
    """A driver that rounds up, a watchdog that is held twice, a virtual machine."""
    pair = LeasePair()
    keeper = pair.deb1.keeper
    keeper.read_back, keeper.holders, keeper.granularity_s = (lambda timeout_s: 6.0), 1, 1.0
    pair.deb1.is_virtual = True
    deb1, _ = pair.start_first()
    promise = _promised(deb1)
    assert promise is not None and promise.is_virtual
    assert promise.death_s == death_after_s(1.0, 6.0, 1, 1.0, 0.5)
    assert deb1.lease.is_virtual and deb1.lease.timeout_s == 6.0


def test_profile_fast_promises_three_seconds() -> None:
    """Its margin is smaller, and its renewals are ten a second: 3.2 s with a software watchdog."""
    pair = LeasePair(policy=FAST_POLICY, profile=Profile.FAST, timeout_s=0.5)
    deb1, _ = pair.start_first()
    promise = _promised(deb1)
    assert promise is not None and promise.death_s == death_after_s(0.3, 1.0, 2, 0.05, 0.2)
    assert promise.death_s < 3.1


# --- renewals -------------------------------------------------------------------------------------


def test_either_medium_alone_keeps_the_owner_alive() -> None:
    """A network cut with a living disk, then a dead disk with a living network: no reset."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    pair.cut_net()
    pair.run(30)
    assert deb1.lease.permit_by == "disk slot"
    pair.heal()
    pair.run(2)
    pair.break_disk(deb1)
    pair.run(30)
    assert deb1.lease.permit_by == "acknowledged beat"
    assert _alive(pair) == ["deb1", "deb2"]
    assert deb1.lease.least_margin_s is not None and 1.0 < deb1.lease.least_margin_s < 4.0


def test_an_owner_that_nobody_confirms_is_reset_in_time() -> None:
    """It loses all at once: the last permit stands for a renewal from before the cut."""
    pair = LeasePair()
    pair.deb1.keeper.pet_late = 1.0
    deb1, _ = pair.start_first()
    pair.run(10)
    cut_at = pair.now
    pair.cut_net()
    pair.break_disk(deb1)
    pair.run(20)
    [(bitten_at, name)] = pair.bitten
    assert name == "deb1" and bitten_at <= cut_at + 1.0 + 2 * 4.0 + 0.2


def test_permits_are_for_fresh_renewals_only_and_once_each() -> None:
    """A slow disk, late acknowledgements: whatever comes too late gives no permit."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    pair.cut_net()
    for write_s in (0.5, 0.95, 1.05, 2.5):
        deb1.write_s = lambda write_s=write_s: write_s  # type: ignore[misc]
        pair.run(2.8)
    pair.mend_disk(deb1)
    pair.run(5)
    given = deb1.keeper.permits
    assert all(at <= renewed_at + 1.0 for at, renewed_at in given)
    assert [renewed_at for _, renewed_at in given] == sorted({at for _, at in given})


def test_acknowledgements_without_a_key_renew_nothing() -> None:
    """A forged one would keep a node alive that the peer counts out."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    pair.break_disk(deb1)
    pair.run(4)
    pair.key_id = ""
    given = len(deb1.keeper.permits)
    pair.run(3)
    assert len(deb1.keeper.permits) == given


def test_an_acknowledgement_counts_for_the_present_daemon_only() -> None:
    """Numbers of beats begin anew with each daemon; and it has to be an agreement."""
    pair = LeasePair()
    deb1, deb2 = pair.start_first()
    assert deb1.engine is not None and deb2.engine is not None
    pair.run(0.5)
    pair.break_disk(deb1)
    pair.cut_net()
    link = next(link for link in pair.links_of(deb2) if not link.is_disk)
    pair.run(1)
    beat, given = deb2.engine.beat(), len(deb1.keeper.permits)
    newest = deb1.engine.seq
    wrong = (Ack(BootId(77, 7), newest), Ack(deb1.engine.boot, newest, is_taken=False))
    for number, ack in enumerate((*wrong, Ack(deb1.engine.boot, newest)), 1):
        assert len(deb1.keeper.permits) == given
        heard = replace(beat, seq=beat.seq + number, ack=ack, wants_ack=False)
        deb1.handle(deb1.life, BeatReceived(link, heard, deb1.now, key_id="k"))
    assert len(deb1.keeper.permits) == given + 1


@pytest.mark.parametrize("is_always", [False, True])
@pytest.mark.parametrize("is_fencing", [False, True])
def test_no_start_is_begun_while_the_promise_is_due(is_always: bool, is_fencing: bool) -> None:
    """Neither one that waited for a fence of the peer, which is back, nor a check-up before it."""
    state = ServiceState.STARTING if is_fencing else ServiceState.START_READY
    situation = Situation(
        Role.PRIMARY,
        Evidence.OUT_ACKED,
        is_fencing=is_fencing,
        is_check_always=is_always,
        is_promise_due=True,
        is_round_over=True,
    )
    row = find_row(state, Trigger.EVALUATE, situation)
    assert row is None if not is_fencing else row is not None and row.run is None
    row = find_row(state, Trigger.EVALUATE, replace(situation, is_promise_due=False))
    assert row is not None and row.run is not None


@pytest.mark.parametrize("are_both", [False, True], ids=["one owner", "both are owners"])
@pytest.mark.parametrize("profile", [Profile.TUTORIAL, Profile.FAST])
def test_quick_acknowledgements_are_no_storm(profile: Profile, are_both: bool) -> None:
    """An owner asks once in an interval, and answers do not ask."""
    is_fast = profile is Profile.FAST
    pair = LeasePair(
        "registry",
        "files",
        policy=FAST_POLICY if is_fast else POLICY,
        profile=profile,
        timeout_s=0.5 if is_fast else 10.0,
    )
    if are_both:
        pair.services = (
            pair.services[0],
            replace(pair.services[1], primary="deb2", secondary="deb1"),
        )
        pair.boot()
        pair.run(2)
        pair.deb1.command(Command.UNFREEZE, "registry")
        pair.deb2.command(Command.UNFREEZE, "files")
        pair.run(4)
        assert _promised(pair.deb1) is not None and _promised(pair.deb2) is not None
    else:
        pair.start_first()
    beats_s = 10.0 if is_fast else 1.0
    for host in pair.hosts:
        before = len(pair.sent)
        pair.run(10)
        sent = [name for _, name, _ in pair.sent[before:] if name == host.name]
        assert 9 * beats_s <= len(sent) <= 22 * beats_s
        asked = [
            beat for _, name, beat in pair.sent[before:] if name == host.name and beat.wants_ack
        ]
        assert len(asked) <= 11 * beats_s


def test_permits_go_on_while_a_state_is_written() -> None:
    """A disk of states that hangs is not the watchdog's matter: nothing else is decided then."""
    pair = LeasePair()
    deb1, deb2 = pair.start_first()
    engine = deb1.engine
    assert engine is not None
    engine.make_room()
    repeat = engine.repeat(deb1.now + 0.5)
    assert repeat is not None
    [medium] = media_of(pair.links_of(deb1)).values()
    began_at = deb1.now + 0.6
    event = RenewalConfirmed(medium, repeat.beat.seq, began_at, began_at + 0.1)
    assert engine.confirm_renewal(event, began_at + 0.1) == [GrantPermit(began_at)]
    assert engine.confirm_renewal(event, began_at + 0.2) == []
    # A repeat that the peer acknowledges counts from its own instant, once the state is on disk.
    later = engine.repeat(began_at + 0.5)
    assert later is not None and deb2.engine is not None
    ack = Ack(engine.boot, later.beat.seq)
    answer = replace(deb2.engine.beat(), seq=deb2.engine.seq + 1, ack=ack)
    link = pair.links_of(deb2)[0]
    heard = BeatReceived(link, answer, began_at + 0.6, key_id="k")
    assert engine.step(heard, began_at + 0.6)[0] == GrantPermit(began_at + 0.5)


def test_a_witness_is_renewed_beside_repeats() -> None:
    """A lease without a disk has no other renewal while a state is written."""
    pair = LeasePair(policy=replace(POLICY, has_witness=True), disks=0)
    for host in pair.hosts:
        host.witness_s = 0.02
    deb1, _ = pair.start_first()
    engine = deb1.engine
    assert engine is not None
    engine.make_room()
    repeat = engine.repeat(deb1.now + 0.5)
    assert repeat is not None
    (renewal,) = engine.renew_meanwhile(repeat.beat.seq)
    assert renewal.seq == repeat.beat.seq and renewal.since is not None
    began_at = deb1.now + 0.5
    event = RenewalConfirmed(WITNESS_MARK, repeat.beat.seq, began_at, began_at + 0.1)
    assert engine.confirm_renewal(event, began_at + 0.1) == [GrantPermit(began_at)]


# --- withdrawn ------------------------------------------------------------------------------------


def test_nothing_is_promised_once_nothing_runs() -> None:
    """Withdrawn, confirmed, disarmed; no permit after that, and none is needed."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    deb1.command(Command.FREEZE_STOP)
    pair.run(4)
    assert _promised(deb1) is None and not deb1.keeper.is_open
    assert deb1.lease.watchdog == "off"
    assert deb1.reasons("WITHDRAWN") == deb1.reasons("DISARMED") == ["no service runs here"]
    given = len(deb1.keeper.permits)
    pair.run(20)
    assert len(deb1.keeper.permits) == given and not pair.bitten


def test_a_promise_that_nobody_knows_to_be_withdrawn_is_kept() -> None:
    """The only slot has it still, and the peer acknowledges nothing: whoever reads it counts."""
    pair = LeasePair()
    deb1, deb2 = pair.start_first()
    deb2.end_daemon()
    pair.break_disk(deb1)
    deb1.command(Command.FREEZE_STOP)
    pair.run(4)
    assert deb1.keeper.is_open and deb1.lease.is_withdrawing
    pair.mend_disk(deb1)
    pair.run(4)
    assert not deb1.keeper.is_open and not deb1.lease.is_withdrawing


def test_a_withdrawal_that_the_peer_acknowledges_needs_no_broken_disk() -> None:
    """Its slot had time to take it; the peer itself knows better than what is there."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    pair.break_disk(deb1)
    deb1.command(Command.FREEZE_STOP)
    pair.run(LEASE_CONFIRM_S)
    assert deb1.keeper.is_open and deb1.lease.is_withdrawing
    pair.run(3)
    assert not deb1.keeper.is_open and _alive(pair) == ["deb1", "deb2"]


def test_one_broken_medium_of_two_does_not_bind_for_ever() -> None:
    """The survivor has to read both: one that shows the withdrawal is enough, after a while."""
    pair = LeasePair(disks=2)
    deb1, _ = pair.start_first()
    broken = pair.links_of(deb1)[1]
    write = deb1.write
    deb1.write = lambda link, beat: None if link == broken else write(link, beat)  # type: ignore
    deb1.command(Command.FREEZE_STOP)
    pair.run(LEASE_CONFIRM_S - 1)
    assert deb1.keeper.is_open
    pair.run(4)
    assert not deb1.keeper.is_open


def test_a_promise_is_made_again_before_the_withdrawal_is_confirmed() -> None:
    """Stopped and wanted again at once: the watchdog was never disarmed."""
    pair = LeasePair()
    deb1, _ = pair.start_first(is_frozen=True)
    pair.break_disk(deb1)
    deb1.command(Command.FREEZE_STOP)
    pair.run(2)
    assert _promised(deb1) is None
    deb1.command(Command.UNFREEZE)
    pair.run(2)
    assert _promised(deb1) is not None and deb1.keeper.is_open and deb1.lease.is_confirmed
    assert not deb1.reasons("DISARMED")


def test_a_lone_survivor_does_not_die_of_its_own_promise() -> None:
    """The peer is proved out: withdrawn; the disk is lost after that. Promised again to a peer that
    acknowledges.
    """
    pair = LeasePair()
    deb1, deb2 = pair.start_first()
    deb2.crash()
    pair.run(15)
    assert _promised(deb1) is not None
    pair.confirm_out(deb1)
    pair.run(2)
    assert _promised(deb1) is None and not deb1.keeper.is_open
    assert deb1.lease.why_not == "deb2 is out: confirmed by root"
    pair.break_disk(deb1)
    pair.run(30)
    assert _alive(pair) == ["deb1"]
    pair.mend_disk(deb1)
    deb2.boot_from_files()
    pair.run(4)
    assert _promised(deb1) is not None and deb1.lease.is_confirmed


def test_a_peer_that_left_with_its_services_stopped_is_out() -> None:
    """Its goodbye is a proof; one that only restarts its daemon is none."""
    pair = LeasePair()
    deb1, deb2 = pair.start_first()
    deb2.leave(Leaving.KEEP_SERVICES)
    pair.run(5)
    assert _promised(deb1) is not None
    deb2.boot_from_files()
    pair.run(4)
    # Its new daemon has sent no facts at first.
    assert deb1.lease.is_confirmed and not deb1.reasons("WITHDRAWN")
    deb2.leave(Leaving.STOP_SERVICES)
    pair.run(3)
    assert _promised(deb1) is None and not deb1.keeper.is_open
    assert deb1.lease.why_not == "deb2 is out: it stopped its services and said goodbye"


@pytest.mark.parametrize("how", ["left", "a later daemon was heard", "restarts", "no key"])
def test_a_peer_that_left_believes_in_nothing(how: str) -> None:
    """Nothing confirms the withdrawal any more: with its daemon, those who count on it have gone.

    Another daemon of the peer may count on what it has heard before that one's goodbye came in.
    """
    pair = LeasePair()
    deb1, deb2 = pair.start_first()
    pair.break_disk(deb1)
    pair.run(3)
    if how == "left":
        deb2.leave(Leaving.STOP_SERVICES)
        pair.run(1)
    pair.cut_net()
    [net] = (link for link in pair.links_of(deb2) if not link.is_disk)
    last = next(beat for _, name, beat in reversed(pair.sent) if name == "deb2")
    if how == "a later daemon was heard":
        later = replace(last, boot=BootId(9, 99), seq=1, ack=None)
        deb1.handle(deb1.life, BeatReceived(net, later, deb1.now, key_id="k"))
    goodbye = Goodbye.RESTART if how == "restarts" else Goodbye.LEFT
    beat = replace(last, seq=last.seq + 1, goodbye=goodbye)
    key_id = "" if how == "no key" else "k"
    if how != "left":
        deb1.handle(deb1.life, BeatReceived(net, beat, deb1.now, key_id=key_id))
    if how == "left":
        assert not deb1.keeper.is_open and not deb1.lease.is_withdrawing
        assert len(deb1.reasons("WITHDRAWN")) == len(deb1.reasons("DISARMED")) == 1
    else:
        assert deb1.keeper.is_open
    pair.run(30)
    assert bool(pair.bitten) is (how != "left")


def test_a_takeover_waits_for_no_watchdog() -> None:
    """A start beside a silent peer needs a proof, and with a proof nothing is promised."""
    pair = LeasePair()
    deb1, deb2 = pair.start_first()
    deb1.crash()
    pair.run(12)
    pair.confirm_out(deb2)
    pair.run(3)
    assert pair.starts()[-1][1] == "deb2" and not deb2.keeper.permits
    assert deb2.lease.why_not == "deb1 is out: confirmed by root"


def test_a_start_by_the_original_rules_waits_for_no_watchdog_beside_a_silent_peer() -> None:
    """Its check-up script always succeeds, which is no proof; another service waits just then."""
    pair = LeasePair("files", "registry", check="/bin/true")
    pair.script_ok = lambda host, action: True
    deb1, deb2 = pair.start_first()
    pair.invariants = None
    deb2.keeper.carry_out = lambda action: None  # type: ignore[method-assign]
    deb1.crash()
    pair.run(13)
    deb2.command(Command.FORCE_START, "registry")
    pair.run(3)
    assert "watchdog" in deb2.lease.why_not
    assert pair.starts("files")[-1][1] == "deb2"


# --- the daemon ends ------------------------------------------------------------------------------


def test_a_restart_of_the_daemon_resets_nobody() -> None:
    """The long promise is confirmed before the goodbye, the keeper holds, and is taken over."""
    pair = LeasePair()
    deb1, deb2 = pair.start_first()
    deb1.leave(Leaving.KEEP_SERVICES)
    pair.run(2)
    assert deb1.engine is None and deb1.keeper.is_open
    long_s = D_S + math.ceil(RESTART_HOLD_S * 1.2)
    at, promise = deb1.promises[-1]
    assert promise is not None and promise.death_s == long_s
    assert deb1.keeper.held_until == pytest.approx(at + RESTART_HOLD_S)
    goodbyes = [beat for _, name, beat in pair.sent if name == "deb1" and beat.goodbye.value]
    assert len(goodbyes) == 3
    assert all(beat.facts is not None and beat.facts.promise == promise for beat in goodbyes)
    assert not deb1.reasons("NO PROMISE")
    pair.run(20)
    deb1.boot_from_files()
    pair.run(5)
    promise = _promised(deb1)
    assert promise is not None and promise.death_s == D_S and deb1.lease.is_confirmed
    assert deb1.keeper.held_until == -math.inf
    pair.run(20)
    assert _alive(pair) == ["deb1", "deb2"] and deb1.state == "STARTED"


def test_what_confirms_the_goodbye_does_not_end_the_hold() -> None:
    """The keeper would wait for a permit again, and nobody is there to give it one."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    deb1.leave(Leaving.KEEP_SERVICES)
    pair.run(2)
    [goodbye, *_] = [at for at, name, beat in pair.sent if name == "deb1" and beat.goodbye.value]
    assert deb1.keeper.held_until > goodbye + 20
    assert max(at for at, _ in deb1.keeper.permits) <= goodbye


def test_a_daemon_that_does_not_come_back_leaves_the_node_to_its_watchdog() -> None:
    """The hold ends, and the peer may count with it."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    deb1.leave(Leaving.KEEP_SERVICES)
    left_at = pair.now
    pair.run(RESTART_HOLD_S + 12)
    [(bitten_at, name)] = pair.bitten
    assert name == "deb1" and RESTART_HOLD_S < bitten_at - left_at < RESTART_HOLD_S + 9


def test_a_daemon_that_cannot_promise_longer_leaves_with_an_alarm() -> None:
    """The slot has the short promise: the peer may count with it, so that nothing is held."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    pair.cut_net()
    pair.break_disk(deb1)
    deb1.leave(Leaving.KEEP_SERVICES)
    pair.run(LEASE_SETTLE_S + 0.5)
    assert deb1.engine is None and deb1.keeper.held_until == -math.inf
    assert "the watchdog resets this node" in deb1.reasons("LEFT ARMED")[0]
    pair.run(9)
    assert [name for _, name in pair.bitten] == ["deb1"]


def test_a_restart_with_a_broken_disk_waits_for_the_peer_to_know() -> None:
    """Not at once: the disk may be slow only."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    pair.break_disk(deb1)
    pair.run(4)
    deb1.leave(Leaving.KEEP_SERVICES)
    pair.run(LEASE_CONFIRM_S - 1)
    assert deb1.engine is not None
    pair.run(2)
    assert deb1.engine is None and deb1.keeper.held_until > deb1.now + 20
    pair.run(15)
    assert _alive(pair) == ["deb1", "deb2"]


def test_a_daemon_that_stops_its_services_disarms_before_it_leaves() -> None:
    """Withdrawn and confirmed, then the goodbye."""
    pair = LeasePair()
    deb1, deb2 = pair.start_first()
    deb1.leave(Leaving.STOP_SERVICES)
    pair.run(5)
    assert deb1.engine is None and not deb1.keeper.is_open
    pair.run(20)
    assert _alive(pair) == ["deb1", "deb2"] and pair.starts()[-1][1] == "deb2"


def test_a_daemon_that_has_stopped_its_services_does_not_leave_an_armed_watchdog() -> None:
    """Its disk takes no withdrawal, and nobody hears it; nothing runs here that could break it."""
    pair = LeasePair()
    deb1, deb2 = pair.start_first()
    deb2.end_daemon()
    pair.break_disk(deb1)
    deb1.leave(Leaving.STOP_SERVICES)
    pair.run(LEASE_SETTLE_S - 1)
    assert deb1.engine is not None and deb1.keeper.is_open
    pair.run(2.5)
    assert deb1.engine is None and not deb1.keeper.is_open
    assert not deb1.reasons("LEFT ARMED")


def test_a_killed_daemon_is_replaced_in_time_or_the_node_is_reset() -> None:
    """A new one takes the armed watchdog over, with the promise of the old one standing."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    pair.run(2)
    deb1.kill_daemon()
    pair.run(3)
    deb1.boot_from_files()
    pair.run(20)
    assert _alive(pair) == ["deb1", "deb2"] and _promised(deb1) is not None
    deb1.kill_daemon()
    pair.run(12)
    assert [name for _, name in pair.bitten] == ["deb1"]


def test_a_watchdog_of_a_former_daemon_is_disarmed_if_nothing_runs() -> None:
    """Once a beat of the new daemon has ended the old promise in the slot."""
    pair = LeasePair()
    deb1, _ = pair.start_first(is_frozen=True)
    pair.break_disk(deb1)
    deb1.command(Command.FREEZE_STOP)
    pair.run(2)
    deb1.kill_daemon()
    pair.run(1)
    deb1.boot_from_files()
    pair.run(3)
    assert deb1.keeper.is_open and deb1.lease.is_withdrawing
    pair.mend_disk(deb1)
    pair.run(4)
    assert deb1.state == "FROZEN_STOP" and not deb1.keeper.is_open
    assert deb1.reasons("DISARMED") == ["no service runs here"]


def test_a_daemon_that_hears_nobody_gives_a_former_watchdog_up_in_time() -> None:
    """Nobody is there to promise to; it had the time to hear of somebody."""
    pair = LeasePair()
    deb1, deb2 = pair.start_first()
    deb2.crash()
    deb1.kill_daemon()
    pair.run(1)
    deb1.boot_from_files()
    pair.run(LEASE_TAKEOVER_S - 2)
    assert deb1.lease.watchdog == "taken over" and deb1.keeper.is_open
    assert deb1.lease.why_not == "deb2 is not known to understand promises"
    pair.run(4)
    assert not deb1.keeper.is_open and _alive(pair) == ["deb1"]


# --- changes --------------------------------------------------------------------------------------


def test_another_timeout_is_promised_only_after_the_former_one_was_withdrawn() -> None:
    """Withdrawn, disarmed, armed anew: the service runs on meanwhile."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    pair.configure(deb1, replace(POLICY, timeout_s=6.0))
    pair.run(4)
    spoken = [None if each is None else each.death_s for _, each in deb1.promises]
    assert spoken[-3:] == [D_S, None, death_after_s(1.0, 6.0, 2, 0.05, 0.5)]
    assert deb1.reasons("WITHDRAWN") == ["its configuration was changed"]
    assert deb1.lease.is_confirmed and deb1.state == "STARTED"


def test_a_lease_that_is_removed_is_withdrawn_and_disarmed() -> None:
    """And one that is added is promised while the service runs."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    pair.configure(deb1, None)
    pair.run(3)
    assert not deb1.keeper.is_open and _promised(deb1) is None
    assert deb1.engine is not None and deb1.engine.snapshot(deb1.now).lease is None
    pair.configure(deb1, POLICY)
    pair.run(3)
    assert deb1.lease.is_confirmed


def test_a_new_disk_renews_only_once_the_promise_that_does_not_name_it_is_gone() -> None:
    """A peer that believes in the former promise does not look at the new disk."""
    pair = LeasePair(disks=2)
    full = pair.links
    pair.links = tuple(link for link in full if link.device != "/dev/hb1")
    deb1, _ = pair.start_first()
    old, new = (link for link in full if link.node == "deb1" and link.is_disk)
    write = deb1.write
    dead = {old}
    deb1.write = lambda link, beat: None if link in dead else write(link, beat)  # type: ignore
    pair.cut_net()
    pair.configure(deb1, POLICY, full)
    given = len(deb1.keeper.permits)
    pair.run(3)
    promise = _promised(deb1)
    assert promise is not None and len(promise.media) == 2 and pair.slots[new].beat is not None
    assert deb1.lease.is_withdrawing and len(deb1.keeper.permits) == given
    assert deb1.engine is not None and deb1.engine.renewing == {media_of([old])[old]}
    dead.clear()
    pair.run(2)
    dead.add(old)
    given = len(deb1.keeper.permits)
    pair.run(5)
    assert not deb1.lease.is_withdrawing and len(deb1.keeper.permits) >= given + 3
    assert deb1.engine.renewing == promise.media


@pytest.mark.parametrize("is_net_up", [True, False])
def test_a_disk_that_is_replaced_on_one_node_alone_renews_nothing(is_net_up: bool) -> None:
    """It has the mark of the former one, which the peer still reads: that one is still for ever."""
    pair = LeasePair(is_believed=True)
    deb1, deb2 = pair.start_first()
    assert deb1.engine is not None
    former = next(link for link in pair.links_of(deb1) if link.is_disk)
    new = replace(former, device="/dev/new")
    assert media_of([new])[new] == media_of([former])[former]
    pair.slots[new] = Slot()
    spec = deb1.engine.spec
    edited = replace(spec, links=tuple(new if each == former else each for each in spec.links))
    if not is_net_up:
        pair.cut_net()
    pair.edited["deb1"] = tuple(link for link in edited.links if link.node == "deb1")
    deb1.handle(deb1.life, ConfigChanged(edited))
    if is_net_up:
        pair.run(LEASE_CONFIRM_S + 2)
        # The peer has acknowledged that nothing is promised any more.
        assert deb1.lease.watchdog == "off" and "was replaced" in deb1.lease.why_not
        pair.cut_net()
    pair.run(30)
    assert pair.slots[new].beat is not None
    if is_net_up:
        # No proof: deb1 runs on, as without a lease.
        assert deb1.state == "STARTED" and deb2.state != "STARTED"
    else:
        assert [name for _, name in pair.bitten] == ["deb1"] and deb2.state == "STARTED"


@pytest.mark.parametrize("by", ["the owner", "the survivor"])
def test_a_path_that_names_another_disk_renews_and_proves_nothing(by: str) -> None:
    """Under the same name, on one node alone: the disk was unplugged, and another one found."""
    pair = LeasePair(is_believed=True)
    deb1, deb2 = pair.start_first()
    [link] = (link for link in pair.links_of(deb1) if link.is_disk)
    (deb1 if by == "the owner" else deb2).swap(link)
    pair.cut_net()
    pair.run(40)
    if by == "the owner":
        assert deb1.slot_of(link).beat is not None
        assert [name for _, name in pair.bitten] == ["deb1"] and deb2.state == "STARTED"
    else:
        # The owner renews its promise on the true disk.
        assert deb1.state == "STARTED" and deb1.lease.is_confirmed and not pair.bitten
        assert deb2.engine is not None
        text = deb2.engine.snapshot(deb2.now).fencing.lease
        assert "slot of /dev/hb0 has not shown the present life of deb1" in text


@pytest.mark.parametrize("key_id", ["k", ""])
def test_a_goodbye_to_a_former_daemon_reports_how_long_the_watchdog_is_held(key_id: str) -> None:
    """It is no evidence of services; its promise counts all the same if it has a key."""
    pair = LeasePair(is_believed=True)
    deb1, deb2 = pair.start_first()
    [link] = (link for link in pair.links_of(deb1) if link.is_disk)
    last = next(beat for _, name, beat in reversed(pair.sent) if name == "deb1")
    assert last.facts is not None and last.facts.promise is not None
    longer = replace(last.facts.promise, death_s=47.4)
    for seq, promise in ((last.seq + 2, longer), (last.seq + 1, None)):
        facts, ack = replace(last.facts, promise=promise), Ack(BootId(99, 99), 1)
        beat = replace(last, seq=seq, ack=ack, goodbye=Goodbye.RESTART, facts=facts)
        deb2.handle(deb2.life, BeatReceived(link, beat, deb2.now, key_id=key_id))
    assert deb2.engine is not None
    promised = longer if key_id else last.facts.promise
    seq = last.seq + 2 if key_id else last.seq
    assert deb2.engine.promised == (last.boot, promised, seq)
    deb1.crash()
    pair.run(40)
    assert (deb2.state == "STARTED") is not bool(key_id)


def test_what_is_confirmed_on_a_replaced_medium_renews_nothing() -> None:
    """Whatever is reported of it; once it is what it was, it does again."""
    owner = _armed()
    for seq, media in ((3, frozenset({_MEDIUM})), (4, frozenset[bytes]())):
        owner.media_replaced(MediaReplaced(media))
        owner.record_beat(seq, True, 102.0 + seq)
        event = RenewalConfirmed(_MEDIUM, seq, 102.0 + seq, 102.1 + seq)
        assert owner.confirmed(event, 102.1 + seq) == ([] if media else [GrantPermit(102.0 + seq)])


def test_a_disk_under_another_name_is_the_same_medium() -> None:
    """The path by its identifier in place of /dev/sdb."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    assert deb1.engine is not None
    former = next(link for link in pair.links_of(deb1) if link.is_disk)
    new = replace(former, device="/dev/disk/by-id/hb0")
    pair.slots[new] = pair.slots[former]
    deb1.disk_names[new.device] = former.device
    spec = deb1.engine.spec
    links = tuple(new if each == former else each for each in spec.links)
    pair.edited["deb1"] = tuple(link for link in links if link.node == "deb1")
    deb1.handle(deb1.life, ConfigChanged(replace(spec, links=links)))
    pair.cut_net()
    pair.run(30)
    assert deb1.state == "STARTED" and deb1.lease.is_confirmed and not pair.bitten


@pytest.mark.parametrize("how", ["kill -9", "restart"])
def test_a_disk_that_is_replaced_while_the_daemon_is_away_renews_nothing(how: str) -> None:
    """What the former daemon has promised is looked for on the former disk, and the peer is cut."""
    pair = LeasePair(is_believed=True)
    deb1, deb2 = pair.start_first()
    assert deb1.engine is not None
    former = next(link for link in pair.links_of(deb1) if link.is_disk)
    new = replace(former, device="/dev/new")
    pair.slots[new] = Slot()
    links = pair.links
    if how == "restart":
        deb1.leave(Leaving.KEEP_SERVICES)
        pair.run(2)
    else:
        deb1.end_daemon()
    pair.cut_net()
    edited = tuple(new if link == former else link for link in links)
    pair.edited["deb1"] = tuple(link for link in edited if link.node == "deb1")
    # It was noted which disk the mark stood for.
    deb1.former_media = frozenset()
    pair.links = edited
    deb1.boot_from_files()
    pair.links = links
    pair.run(RESTART_HOLD_S + 30)
    assert [name for _, name in pair.bitten] == ["deb1"] and deb2.state == "STARTED"


def test_what_a_former_daemon_promised_is_forgotten_once_the_peer_knows_this_one() -> None:
    """Whatever the media were: it is the peer that would believe in it."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    deb1.end_daemon()
    deb1.former_media = frozenset()
    deb1.boot_from_files()
    pair.run(20)
    assert _alive(pair) == ["deb1", "deb2"] and not deb1.lease.is_withdrawing
    assert deb1.lease.is_confirmed


@pytest.mark.parametrize("is_same", [True, False])
def test_a_keeper_that_answers_late_does_not_hide_the_former_promise(is_same: bool) -> None:
    """Its disk was replaced, or not, while the daemon was away, and the peer is cut."""
    pair = LeasePair(is_believed=True)
    deb1, deb2 = pair.start_first()
    [link] = (link for link in pair.links_of(deb1) if link.is_disk)
    deb1.end_daemon()
    pair.cut_net()
    if not is_same:
        deb1.swap(link)
    deb1.former_media = frozenset({link.mark} if is_same else ())
    deb1.keeper.hung_s = 2.0
    deb1.boot_from_files()
    pair.run(40)
    if is_same:
        assert deb1.lease.is_confirmed and not pair.bitten and deb2.state != "STARTED"
    else:
        assert [name for _, name in pair.bitten] == ["deb1"] and deb2.state == "STARTED"


def test_a_keeper_that_answers_late_is_disarmed_where_nothing_runs() -> None:
    """Nobody pets it: the node would be reset."""
    owner = LeaseOwner(_spec(), 100.0)
    idle = replace(_RUNS, is_in_use=False)
    owner.watchdog_lost(WatchdogLost("no answer", frozenset({_MEDIUM})), 100.0)
    assert owner.update(idle, 100.0) == []
    owner.record_beat(1, True, 100.0)
    owner.confirmed(RenewalConfirmed(_MEDIUM, 1, 100.0, 100.1), 100.1)
    assert owner.update(idle, 100.1)[0] == DisarmWatchdog()
    # That reached no keeper. No beat is needed once more: the peer knows this daemon.
    owner.watchdog_ready(replace(_READY, settings=POLICY, media=frozenset()), 102.0)
    assert owner.update(idle, 102.0)[0] == DisarmWatchdog()
    found = owner.status(102.0)
    assert found is not None and found.watchdog == "off" and owner.renewing is None


def test_a_watchdog_that_is_found_armed_late_is_promised_once_it_was_petted() -> None:
    """Though it was ordered to be armed: it may be held for a restart until then."""
    owner = LeaseOwner(_spec(), 100.0)
    lost = WatchdogLost("no answer", frozenset({_MEDIUM}))
    owner.watchdog_lost(lost, 100.0)
    assert owner.update(_RUNS, 100.0) == [ArmWatchdog(4.0)]
    owner.watchdog_ready(replace(_READY, settings=POLICY, media=frozenset({_MEDIUM})), 100.1)
    assert owner.update(_RUNS, 100.1) == [ArmWatchdog(4.0)] and owner.promise is None
    found = owner.status(100.1)
    assert found is not None and found.is_withdrawing
    owner.record_beat(1, True, 100.1)
    assert owner.acknowledged(1, 100.2) == [GrantPermit(100.1)]
    owner.update(replace(_RUNS, next_seq=2), 100.2)
    assert owner.promise is None
    owner.watchdog_ready(_READY, 100.3)
    owner.update(replace(_RUNS, next_seq=2), 100.3)
    assert owner.promise is not None


def test_a_lost_watchdog_is_armed_again_at_once_and_then_in_time() -> None:
    """What is promised meanwhile is nothing."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    deb1.keeper.problem = "its process is gone"
    deb1.keeper.lose()
    pair.run(1)
    assert _promised(deb1) is None and deb1.reasons("WITHDRAWN") == ["its process is gone"]
    deb1.keeper.is_open, deb1.keeper.problem = False, ""
    pair.run(LEASE_RETRY_S + 1)
    assert deb1.lease.is_confirmed
    assert deb1.reasons("NO WATCHDOG") == ["its process is gone"]


def test_a_watchdog_that_is_lost_for_good_is_disarmed_once_the_promise_is_withdrawn() -> None:
    """It may run on unpetted: the node goes on without a promise, and is not reset."""
    pair = LeasePair()
    deb1, _ = pair.start_first()
    deb1.keeper.problem = "/dev/watchdog: Input/output error"
    deb1.keeper.lose()
    pair.run(1)
    assert deb1.lease.watchdog == "lost" and not deb1.keeper.is_open
    assert deb1.reasons("DISARMED") == [deb1.keeper.problem]
    pair.run(LEASE_RETRY_S + 1)
    assert len(deb1.reasons("DISARMED")) == 1
    deb1.keeper.problem = ""
    pair.run(LEASE_RETRY_S + 1)
    assert deb1.lease.is_confirmed and _alive(pair) == ["deb1", "deb2"]
    deb1.keeper.problem = "again"
    pair.break_disk(deb1)
    deb1.keeper.lose()
    pair.run(0.1)
    deb1.command(Command.FREEZE_STOP)
    pair.run(2)
    assert deb1.keeper.is_open and deb1.lease.is_withdrawing
    pair.run(4.5)
    assert not deb1.keeper.is_open and deb1.lease.watchdog == "off"


# --- by itself ------------------------------------------------------------------------------------

_LINK = LinkSpec("deb1", "dio", "/dev/hb0", "", 0, 10, 10.0)
_HEARD = LinkSpec("deb2", "dio", "/dev/hb0", "", 0, 20, 10.0)
_MEDIUM = media_of([_LINK])[_LINK]
_READY = WatchdogReady(4.0, 0.05, 2, False, "softdog")
_RUNS = Circumstances(1, True, False, "", "", Goodbye.NONE)


def _spec(has_witness: bool = False, links: tuple[LinkSpec, ...] = (_LINK, _HEARD)) -> ClusterSpec:
    policy = replace(POLICY, has_witness=has_witness)
    return ClusterSpec("deb1", "deb2", links, (), fencing=FencingPolicy(lease=policy))


def _opened(spec: ClusterSpec, ready: WatchdogReady = _READY) -> LeaseOwner:
    """An owner whose watchdog is opened by beat 1, at 100.2."""
    owner = LeaseOwner(spec, 100.0)
    assert owner.update(_RUNS, 100.0) == [ArmWatchdog(ready.timeout_s)]
    owner.record_beat(1, True, 100.0)
    assert owner.acknowledged(1, 100.1) == [GrantPermit(100.0)]
    owner.watchdog_ready(ready, 100.2)
    return owner


def _armed(has_witness: bool = False, links: tuple[LinkSpec, ...] = (_LINK, _HEARD)) -> LeaseOwner:
    """An owner whose promise is confirmed by beat 2, at 101."""
    owner = _opened(_spec(has_witness, links))
    owner.update(replace(_RUNS, next_seq=2), 100.2)
    assert owner.promise is not None
    owner.record_beat(2, True, 101.0)
    if _LINK in links:
        owner.confirmed(RenewalConfirmed(_MEDIUM, 2, 101.0, 101.1), 101.1)
    else:
        owner.acknowledged(2, 101.1)
    assert owner.is_awaited(101.1) is False
    return owner


def test_what_a_dead_peer_had_acknowledged_promises_nothing_again() -> None:
    """A write that it had on its way may land long after its end."""
    owner = _armed()
    owner.update(replace(_RUNS, next_seq=3, proved_out="self-fenced"), 113.0)
    owner.record_beat(3, True, 113.0)
    owner.update(replace(_RUNS, next_seq=4, proved_out="self-fenced"), 114.0)
    owner.acknowledged(2, 120.0)
    owner.update(replace(_RUNS, next_seq=4), 120.0)
    assert owner.promise is None
    owner.record_beat(4, True, 121.0)
    owner.acknowledged(4, 121.1)
    owner.update(replace(_RUNS, next_seq=5), 121.1)
    assert owner.promise is not None


def test_the_witness_renews_and_takes_the_withdrawal_as_a_mark() -> None:
    """It is asked once in an interval; the withdrawal is asked for until it is confirmed."""
    owner = _armed(has_witness=True)
    assert owner.record_beat(3, True, 102.0) == [RenewWitness(3, 2)]
    assert owner.record_beat(4, True, 102.1) == []
    event = RenewalConfirmed(WITNESS_MARK, 3, 102.0, 102.2)
    assert owner.confirmed(event, 102.2) == [GrantPermit(102.0)]
    assert owner.status(102.2).permit_by == "witness"  # type: ignore[union-attr]
    ends = replace(_RUNS, next_seq=5, is_in_use=False)
    owner.update(ends, 103.0)
    assert owner.promise is None
    assert owner.record_beat(5, True, 103.0) == [WithdrawWitness(5)]
    # A late renewal is no withdrawal, whatever its number.
    owner.confirmed(RenewalConfirmed(WITNESS_MARK, 4, 103.0, 103.1), 103.1)
    owner.confirmed(RenewalConfirmed(_MEDIUM, 5, 103.0, 103.1), 103.1)
    assert DisarmWatchdog() not in owner.update(replace(ends, next_seq=6), 103.2)
    assert owner.record_beat(6, True, 104.0) == [WithdrawWitness(6)]
    assert owner.confirmed(RenewalConfirmed(WITNESS_MARK, 6, 104.0, 104.1), 104.1) == []
    assert DisarmWatchdog() in owner.update(replace(ends, next_seq=7), 104.2)


def test_a_renewal_at_the_witness_names_the_oldest_promise_that_stands() -> None:
    """None while the watchdog is only ordered: whoever missed the withdrawal must not count."""
    owner = _armed(has_witness=True, links=(_HEARD,))
    ends = replace(_RUNS, next_seq=3, is_in_use=False)
    owner.update(ends, 103.0)
    assert owner.record_beat(3, True, 103.0) == [WithdrawWitness(3)]
    owner.confirmed(RenewalConfirmed(WITNESS_MARK, 3, 103.0, 103.1), 103.1)
    assert DisarmWatchdog() in owner.update(replace(ends, next_seq=4), 103.2)
    assert ArmWatchdog(4.0) in owner.update(replace(_RUNS, next_seq=4), 104.0)
    assert owner.record_beat(4, True, 104.0) == [RenewWitness(4, None)]
    assert owner.confirmed(RenewalConfirmed(WITNESS_MARK, 4, 104.0, 104.1), 104.1)
    owner.watchdog_ready(_READY, 104.2)
    owner.update(replace(_RUNS, next_seq=5), 104.2)
    assert owner.record_beat(5, True, 104.3) == [RenewWitness(5, 5)]
    # A longer one is said, and not known yet: the peer may count with the shorter one.
    owner.update(replace(_RUNS, next_seq=6, goodbye=Goodbye.RESTART), 105.4)
    assert owner.record_beat(6, True, 105.4) == [RenewWitness(6, 5)]
    owner.acknowledged(6, 105.5)
    owner.update(replace(_RUNS, next_seq=7, goodbye=Goodbye.RESTART), 106.5)
    assert owner.record_beat(7, True, 106.5) == [RenewWitness(7, 6)]


def test_a_longer_promise_is_nothing_that_a_witness_can_show() -> None:
    """With the witness alone, the peer itself has to acknowledge it before anything is held."""
    owner = _armed(has_witness=True, links=(_HEARD,))
    leaves = replace(_RUNS, next_seq=3, goodbye=Goodbye.RESTART)
    owner.update(leaves, 102.0)
    owner.record_beat(3, True, 102.0)
    owner.confirmed(RenewalConfirmed(WITNESS_MARK, 3, 102.0, 102.1), 102.1)
    owner.update(replace(leaves, next_seq=4), 102.2)
    assert owner.holds_back(102.2)
    owner.acknowledged(3, 102.3)
    owner.update(replace(leaves, next_seq=4), 102.4)
    assert not owner.holds_back(102.4)


def test_a_watchdog_that_is_about_to_be_stopped_promises_nothing() -> None:
    """It was opened late, by an order before that to stop it; its keeper has yet to take that."""
    owner = _armed(has_witness=True, links=(_HEARD,))
    ends = replace(_RUNS, next_seq=3, is_in_use=False)
    owner.update(ends, 103.0)
    owner.record_beat(3, True, 103.0)
    owner.confirmed(RenewalConfirmed(WITNESS_MARK, 3, 103.0, 103.1), 103.1)
    assert DisarmWatchdog() in owner.update(replace(ends, next_seq=4), 103.2)
    first = _ordered(owner.update(replace(_RUNS, next_seq=4), 104.0))
    owner.record_beat(4, True, 104.0)
    owner.acknowledged(4, 104.1)
    assert DisarmWatchdog() in owner.update(replace(ends, next_seq=5), 104.2)
    owner.watchdog_ready(replace(_READY, number=first), 104.3)
    assert not owner.status(104.3).is_withdrawing  # type: ignore[union-attr]
    second = _ordered(owner.update(replace(_RUNS, next_seq=5), 104.4))
    owner.watchdog_ready(replace(_READY, number=first), 104.5)
    owner.update(replace(_RUNS, next_seq=5), 104.5)
    assert owner.promise is None
    owner.watchdog_ready(replace(_READY, number=second), 104.6)
    owner.update(replace(_RUNS, next_seq=5), 104.6)
    assert owner.promise is not None


def _ordered(actions: list[Action]) -> int:
    """The number of the order to arm the watchdog."""
    [number] = [each.number for each in actions if isinstance(each, ArmWatchdog)]
    return number


def test_a_smaller_promise_is_made_only_after_the_time_of_the_larger_one() -> None:
    """The driver reports less than before."""
    owner = _armed()
    owner.watchdog_ready(replace(_READY, timeout_s=3.0), 102.0)
    owner.update(replace(_RUNS, next_seq=3), 102.0)
    assert owner.promise is not None and owner.promise.death_s == D_S
    assert pytest.approx(102.0 + D_S) in owner.deadlines(102.0)
    owner.update(replace(_RUNS, next_seq=20), 102.1 + D_S)
    assert owner.promise.death_s == death_after_s(1.0, 3.0, 2, 0.05, 0.5)


def test_a_larger_promise_is_made_at_once() -> None:
    """The driver reports more than before: the least that can be done."""
    owner = _armed()
    owner.watchdog_ready(replace(_READY, timeout_s=8.0), 102.0)
    owner.update(replace(_RUNS, next_seq=3), 102.0)
    assert owner.promise is not None
    assert owner.promise.death_s == death_after_s(1.0, 8.0, 2, 0.05, 0.5)


def test_a_beat_without_facts_withdraws_nothing() -> None:
    """Neither one for a peer without facts, nor a frame that had no room for them."""
    owner = _armed()
    ends = replace(_RUNS, next_seq=3, is_in_use=False)
    owner.update(ends, 102.0)
    owner.record_beat(3, False, 102.0)
    owner.confirmed(RenewalConfirmed(_MEDIUM, 3, 102.0, 102.1), 102.1)
    owner.record_beat(4, True, 102.2)
    owner.confirmed(RenewalConfirmed(_MEDIUM, 4, 102.2, 102.3, has_facts=False), 102.3)
    assert DisarmWatchdog() not in owner.update(replace(ends, next_seq=5), 102.4)
    owner.record_beat(5, True, 102.5)
    owner.confirmed(RenewalConfirmed(_MEDIUM, 5, 102.5, 102.6), 102.6)
    assert DisarmWatchdog() in owner.update(replace(ends, next_seq=6), 102.7)


def test_a_promise_stands_while_the_peer_takes_no_facts() -> None:
    """Its daemon was started again; facts without the promise would withdraw it."""
    owner = _armed()
    promise = owner.promise
    owner.update(replace(_RUNS, next_seq=3, peer_problem="deb2 is not known"), 102.0)
    assert promise is not None and owner.promise == promise


def test_a_beat_without_facts_confirms_no_promise() -> None:
    """The peer has acknowledged something else."""
    owner = _opened(_spec())
    owner.update(replace(_RUNS, next_seq=2), 100.2)
    for seq, has_facts in ((2, False), (3, True)):
        owner.record_beat(seq, has_facts, 100.3)
        owner.acknowledged(seq, 100.4)
        assert owner.is_awaited(100.4) is not has_facts


def test_a_renewal_at_the_witness_withdraws_nothing() -> None:
    """Withdrawn on the disk, and promised again before the witness had the withdrawal."""
    owner = _armed(has_witness=True)
    owner.update(replace(_RUNS, next_seq=3, is_in_use=False), 102.0)
    assert owner.record_beat(3, True, 102.0) == [WithdrawWitness(3)]
    owner.confirmed(RenewalConfirmed(_MEDIUM, 3, 102.0, 102.1), 102.1)
    owner.update(replace(_RUNS, next_seq=4), 102.2)
    assert owner.record_beat(4, True, 102.2) == [RenewWitness(4, 2)]
    owner.confirmed(RenewalConfirmed(WITNESS_MARK, 4, 102.2, 102.3), 102.3)
    found = owner.status(102.3)
    assert found is not None and found.is_withdrawing and found.death_s == D_S


def test_a_promise_that_no_beat_has_made_needs_no_withdrawal() -> None:
    """Made and taken back before the next beat."""
    owner = _armed()
    owner.update(replace(_RUNS, next_seq=3, is_in_use=False), 102.0)
    owner.record_beat(3, True, 102.0)
    owner.update(replace(_RUNS, next_seq=4), 102.1)
    assert owner.promise is not None
    owner.confirmed(RenewalConfirmed(_MEDIUM, 3, 102.1, 102.2), 102.2)
    assert DisarmWatchdog() in owner.update(replace(_RUNS, next_seq=4, is_in_use=False), 102.3)


def test_a_watchdog_that_is_taken_over_is_promised_once_it_was_petted_for_this_daemon() -> None:
    """It may be held for a restart until then, for longer than the short promise says."""
    owner = LeaseOwner(_spec(), 100.0)
    owner.watchdog_ready(replace(_READY, settings=POLICY), 100.0)
    assert owner.update(_RUNS, 100.0) == [ArmWatchdog(4.0)]
    owner.record_beat(1, True, 100.0)
    owner.update(replace(_RUNS, next_seq=2), 100.1)
    assert owner.promise is None
    assert owner.acknowledged(1, 100.2) == [GrantPermit(100.0)]
    owner.watchdog_ready(_READY, 100.3)
    owner.update(replace(_RUNS, next_seq=2), 100.3)
    assert owner.promise is not None


def test_a_keeper_with_other_settings_is_disarmed_and_armed_anew() -> None:
    """openha.conf was edited while the daemon was down; permits keep to what is enforced."""
    owner = LeaseOwner(_spec(), 100.0)
    settings = replace(POLICY, answer_s=0.5)
    owner.watchdog_ready(replace(_READY, settings=settings), 100.0)
    assert owner.update(_RUNS, 100.0) == []
    owner.record_beat(1, True, 100.0)
    assert owner.acknowledged(1, 100.6) == []
    assert owner.acknowledged(1, 100.5) == [GrantPermit(100.0)]
    owner.confirmed(RenewalConfirmed(_MEDIUM, 1, 100.0, 100.7), 100.7)
    assert owner.update(replace(_RUNS, next_seq=2), 100.8)[0] == DisarmWatchdog()
    assert owner.update(replace(_RUNS, next_seq=2), 100.9) == [ArmWatchdog(4.0)]


def test_a_keeper_of_a_lease_that_is_not_configured_any_more_is_disarmed() -> None:
    """The daemon was down when the section was removed; a short answer is asked for meanwhile."""
    spec = replace(_spec(), fencing=FencingPolicy())
    owner = LeaseOwner(spec, 100.0)
    assert owner.update(_RUNS, 100.0) == [] and owner.status(100.0) is None
    assert owner.deadlines(100.0) == [] and not owner.is_active
    owner.record_repeat(1, True, 100.0)
    assert owner.record_beat(1, True, 100.0) == []
    owner.watchdog_ready(_READY, 100.0)
    owner.update(_RUNS, 100.0)
    owner.record_beat(2, False, 100.1)
    assert owner.confirmed(RenewalConfirmed(_MEDIUM, 2, 100.1, 100.5), 100.5) == []
    assert DisarmWatchdog() in owner.update(_RUNS, 100.6)
    assert owner.status(100.6) is None


def test_a_lost_watchdog_that_nobody_has_ordered_means_nothing() -> None:
    """The answer to an order that was taken back."""
    owner = LeaseOwner(_spec(), 100.0)
    assert owner.watchdog_lost(WatchdogLost("gone"), 100.0) == []


def test_beats_are_forgotten_after_a_while() -> None:
    """However many there are, and however old."""
    owner = _armed()
    for seq in range(3, 9000):
        owner.record_beat(seq, True, 102.0 + seq / 1e5)
    assert owner.acknowledged(3, 102.1) == []
    assert owner.acknowledged(8999, 102.1) == [GrantPermit(102.0 + 8999 / 1e5)]
    owner.record_beat(9001, True, 300.0)
    assert owner.acknowledged(8998, 300.0) == []


def test_the_least_margin_is_of_the_last_days() -> None:
    """A bad day is shown for a day more, not for ever."""
    owner = _armed()
    day_s = 86400.0
    shown = []
    for seq, at in (
        (3, 104.5),
        (4, 105.0),
        (5, day_s + 200),
        (6, day_s + 201),
        (7, 2 * day_s + 300),
    ):
        owner.record_beat(seq, True, at)
        owner.acknowledged(seq, at)
        status = owner.status(at)
        assert status is not None
        shown.append(status.least_margin_s)
    assert shown[1] == pytest.approx(0.6) and shown[2] is not None and shown[2] < 0


def test_permit_is_given_up_to_the_time_for_an_answer() -> None:
    """Once for each renewal, and for none that is older than the last one."""
    owner = _armed()
    for seq in (3, 4, 5):
        owner.record_beat(seq, True, 99.0 + seq)
    assert owner.acknowledged(4, 104.01) == []
    assert owner.acknowledged(4, 104.0) == [GrantPermit(103.0)]
    assert owner.acknowledged(4, 104.0) == [] == owner.acknowledged(3, 103.0)
    assert owner.acknowledged(99, 104.0) == []
    shown = owner.status(104.5)
    assert shown is not None and (shown.permit_at, shown.permit_by) == (104.0, "acknowledged beat")
    assert shown.margin_s == 3.5 and shown.least_margin_s == pytest.approx(1.1)


def test_beat_asks_once_in_an_interval() -> None:
    """A little earlier with one that leaves in any case; where nothing is kept, never."""
    owner = _armed()
    assert [owner.asks(at) for at in (101.74, 101.75)] == [False, True]
    assert [owner.is_ask_due(at) for at in (101.99, 102.0)] == [False, True]
    idle = LeaseOwner(_spec(), 100.0)
    assert not idle.asks(999.0) and not idle.is_ask_due(999.0)
    assert idle.record_beat(1, True, 100.0) == [] and idle.acknowledged(1, 100.1) == []
    # A promise that has changed is asked for at once.
    owner.update(replace(_RUNS, next_seq=3, is_in_use=False), 101.2)
    assert owner.asks(101.2) and owner.is_ask_due(101.2)


def test_each_deadline_is_of_something_that_time_alone_changes() -> None:
    """In the order in which the promise is made, and taken back."""
    owner = LeaseOwner(_spec(), 100.0)
    assert owner.deadlines(99.0) == []
    owner.update(_RUNS, 100.0)
    assert owner.deadlines(100.0) == [100.0 + LEASE_WAIT_S]
    owner.record_beat(1, True, 100.0)
    assert sorted(owner.deadlines(100.0)) == [101.0, 100.0 + LEASE_WAIT_S]
    owner = _armed()
    assert sorted(owner.deadlines(101.1)) == [102.0, 100.0 + LEASE_WAIT_S]
    owner.update(replace(_RUNS, next_seq=3), 101.1)
    assert owner.deadlines(101.1) == [102.0]
    owner.update(replace(_RUNS, next_seq=3, goodbye=Goodbye.LEFT), 101.2)
    assert sorted(owner.deadlines(101.2)) == [101.2 + LEASE_CONFIRM_S, 101.2 + LEASE_SETTLE_S]
    # A leave that is called off.
    owner.update(replace(_RUNS, next_seq=3), 101.3)
    assert 101.2 + LEASE_SETTLE_S not in owner.deadlines(101.3)


def test_lost_watchdog_and_one_that_is_taken_over_have_a_time_of_their_own() -> None:
    """While a promise is wanted; and until the peer is heard."""
    owner = _armed()
    owner.update(replace(_RUNS, next_seq=3), 101.1)
    owner.watchdog_lost(WatchdogLost("gone"), 101.5)
    assert 101.5 not in owner.deadlines(101.5)
    owner.update(replace(_RUNS, next_seq=3), 101.5)
    owner.watchdog_lost(WatchdogLost("gone"), 102.0)
    assert 102.0 + LEASE_RETRY_S in owner.deadlines(102.0)
    owner.update(replace(_RUNS, next_seq=3, is_in_use=False), 102.0)
    assert 102.0 + LEASE_RETRY_S not in owner.deadlines(102.0)
    found = LeaseOwner(_spec(), 100.0)
    found.watchdog_ready(replace(_READY, settings=POLICY), 100.0)
    unknown = replace(_RUNS, peer_problem="deb2 is not heard")
    assert found.update(unknown, 100.0) == []
    assert 100.0 + LEASE_TAKEOVER_S in found.deadlines(100.0)
    assert found.update(unknown, 99.9 + LEASE_TAKEOVER_S) == []
    assert not found.record_beat(1, True, 100.0 + LEASE_TAKEOVER_S)
    found.acknowledged(1, 100.0 + LEASE_TAKEOVER_S)
    assert DisarmWatchdog() in found.update(unknown, 100.0 + LEASE_TAKEOVER_S)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"is_in_use": False}, "no service runs here"),
        ({"is_in_use": False, "is_start_near": True}, ""),
        ({"goodbye": Goodbye.LEFT}, "the daemon ends"),
        ({"goodbye": Goodbye.RESTART}, "the daemon ends"),
        ({"proved_out": "off"}, "deb2 is out: off"),
        ({"peer_problem": "deb2 takes none"}, "deb2 takes none"),
        ({}, ""),
    ],
)
def test_why_nothing_is_promised_before_anything_was(changes: dict[str, object], why: str) -> None:
    """Then no watchdog is armed."""
    owner = LeaseOwner(_spec(), 100.0)
    ordered = owner.update(replace(_RUNS, **changes), 100.0)  # type: ignore[arg-type]
    assert ordered == ([] if why else [ArmWatchdog(4.0)])
    shown = owner.status(100.0)
    assert shown is not None
    missing = "no beat was confirmed yet: the watchdog is opened with the first one that is"
    assert shown.why_not == (why or missing) and owner.is_awaited(100.0) is not bool(why)


@pytest.mark.parametrize(
    ("changes", "is_kept"),
    [
        ({"is_in_use": False}, False),
        ({"is_in_use": False, "is_start_near": True}, True),
        ({"goodbye": Goodbye.LEFT}, False),
        ({"goodbye": Goodbye.RESTART}, True),
        ({"goodbye": Goodbye.RESTART, "is_in_use": False}, False),
        ({"proved_out": "off"}, False),
        ({"peer_problem": "deb2 takes none"}, True),
    ],
)
def test_what_takes_back_a_promise_that_was_made(changes: dict[str, object], is_kept: bool) -> None:
    """A peer that is started again takes back none."""
    owner = _armed()
    owner.update(replace(_RUNS, next_seq=3, **changes), 102.0)  # type: ignore[arg-type]
    assert (owner.promise is not None) is is_kept


def test_start_waits_until_the_promise_is_confirmed_or_given_up() -> None:
    """Not for a watchdog that is lost; the wait begins again once a promise is wanted again."""
    owner = LeaseOwner(_spec(), 100.0)
    assert not owner.is_awaited(100.0)
    owner.update(_RUNS, 100.0)
    ends = 100.0 + LEASE_WAIT_S
    assert [owner.is_awaited(at) for at in (100.0, ends - 0.1, ends)] == [True, True, False]
    owner.update(replace(_RUNS, is_in_use=False), 101.0)
    assert not owner.is_awaited(101.0)
    owner.update(_RUNS, 103.0)
    assert owner.is_awaited(102.9 + LEASE_WAIT_S)
    owner.watchdog_lost(WatchdogLost("gone"), 103.0)
    assert not owner.is_awaited(103.0)
    # One that was confirmed is not waited for once more, whatever is promised since.
    armed = _armed()
    armed.update(replace(_RUNS, next_seq=3), 101.2)
    armed.watchdog_ready(replace(_READY, timeout_s=8.0), 102.0)
    armed.update(replace(_RUNS, next_seq=3), 102.0)
    shown = armed.status(102.0)
    assert shown is not None and not shown.is_confirmed and not armed.is_awaited(102.0)


def test_wait_in_vain_is_reported_once() -> None:
    """With what is missing then; not where the watchdog is lost, which was reported."""
    owner = LeaseOwner(_spec(), 100.0)
    owner.update(_RUNS, 100.0)
    late = 100.0 + LEASE_WAIT_S
    assert owner.update(_RUNS, late - 0.1) == []
    [record] = owner.update(_RUNS, late)
    assert "starts do not wait for it" in str(record) and owner.update(_RUNS, late + 1) == []
    lost = LeaseOwner(_spec(), 100.0)
    lost.update(_RUNS, 100.0)
    lost.watchdog_lost(WatchdogLost("gone"), 100.1)
    assert not any("starts do not wait" in str(each) for each in lost.update(_RUNS, late))


def test_goodbye_waits_for_what_has_to_be_known_but_not_for_ever() -> None:
    """A longer promise for a restart; then the keeper holds the watchdog."""
    owner = _armed()
    leaves = replace(_RUNS, next_seq=3, goodbye=Goodbye.RESTART)
    owner.update(leaves, 102.0)
    assert owner.promise is not None and owner.promise.death_s > D_S + RESTART_HOLD_S
    settled = 102.0 + LEASE_SETTLE_S
    assert [owner.holds_back(at) for at in (102.0, settled - 0.1, settled)] == [True, True, False]
    owner.record_beat(3, True, 102.1)
    owner.confirmed(RenewalConfirmed(_MEDIUM, 3, 102.1, 102.2), 102.2)
    owner.update(replace(leaves, next_seq=4), 102.2)
    assert not owner.holds_back(102.3)
    assert owner.leave() == [HoldWatchdog(102.0 + RESTART_HOLD_S)]
    owner.record_beat(4, True, 103.0)
    assert owner.acknowledged(4, 103.1) == [], "the keeper pets on its own now"


def test_daemon_that_leaves_before_the_peer_knows_leaves_an_alarm() -> None:
    """The watchdog resets the node; one that is off leaves nothing."""
    owner = _armed()
    owner.update(replace(_RUNS, next_seq=3, goodbye=Goodbye.RESTART), 102.0)
    [record] = owner.leave()
    assert "LEFT ARMED" in str(record) and "the watchdog resets this node" in str(record)
    assert LeaseOwner(_spec(), 100.0).leave() == []
    assert not LeaseOwner(_spec(), 100.0).holds_back(100.0)


def test_withdrawal_is_known_when_every_medium_has_it_or_one_for_a_while() -> None:
    """Or the peer has acknowledged it, after the same while; a medium without it never."""
    for shown_by, at, is_known in (
        ("both", 103.0, True),
        ("one", 101.9 + LEASE_CONFIRM_S, False),
        ("one", 102.0 + LEASE_CONFIRM_S, True),
        ("acknowledged", 101.9 + LEASE_CONFIRM_S, False),
        ("acknowledged", 102.0 + LEASE_CONFIRM_S, True),
        ("none", 999.0, False),
    ):
        owner = _armed(has_witness=True)
        ends = replace(_RUNS, next_seq=3, is_in_use=False)
        owner.update(ends, 102.0)
        assert owner.record_beat(3, True, 102.0) == [WithdrawWitness(3)]
        if shown_by in ("one", "both"):
            owner.confirmed(RenewalConfirmed(_MEDIUM, 3, 102.0, 102.1), 102.1)
        if shown_by == "both":
            owner.confirmed(RenewalConfirmed(WITNESS_MARK, 3, 102.0, 102.1), 102.1)
        if shown_by == "acknowledged":
            owner.acknowledged(3, 102.1)
        assert (DisarmWatchdog() in owner.update(replace(ends, next_seq=4), at)) is is_known


def test_each_promise_that_may_stand_is_renewed_by_what_all_of_them_name() -> None:
    """None while nothing is promised."""
    assert LeaseOwner(_spec(), 100.0).renewing is None
    owner = _armed(has_witness=True)
    owner.update(replace(_RUNS, next_seq=3), 101.2)
    assert owner.renewing == {_MEDIUM, WITNESS_MARK}
    owner.media_replaced(MediaReplaced(frozenset({_MEDIUM})))
    owner.update(replace(_RUNS, next_seq=3), 101.3)
    assert owner.promise is not None and owner.promise.media == {WITNESS_MARK}
    assert owner.renewing == {WITNESS_MARK}
    owner.record_beat(3, True, 102.5)
    assert owner.confirmed(RenewalConfirmed(_MEDIUM, 3, 102.5, 102.6), 102.6) == []
    assert owner.confirmed(RenewalConfirmed(WITNESS_MARK, 3, 102.5, 102.6), 102.6) != []


def test_repeat_is_a_beat_of_its_own_time_and_renews_at_the_witness() -> None:
    """While states are written; not what is being withdrawn."""
    owner = _armed(has_witness=True)
    owner.record_repeat(2, True, 103.0)
    assert owner.acknowledged(2, 103.5) == [GrantPermit(103.0)]
    assert owner.renew_meanwhile(2) == [RenewWitness(2, 2)]
    assert _armed().renew_meanwhile(2) == []
    owner.update(replace(_RUNS, next_seq=3, is_in_use=False), 104.0)
    assert owner.renew_meanwhile(3) == []
    idle = LeaseOwner(_spec(has_witness=True), 100.0)
    idle.record_repeat(1, True, 100.0)
    assert idle.renew_meanwhile(1) == []


def test_lost_watchdog_is_reported_with_each_new_reason() -> None:
    """It may run on: it is tried again at once, then in a while."""
    owner = _armed()
    owner.update(replace(_RUNS, next_seq=3), 101.2)
    [record] = owner.watchdog_lost(WatchdogLost("gone"), 102.0)
    assert "NO WATCHDOG" in str(record)
    shown = owner.status(102.0)
    assert shown is not None and (shown.watchdog, shown.why_not) == ("lost", "gone")
    assert shown.timeout_s is None and shown.permit_at is None and shown.margin_s is None
    assert owner.watchdog_lost(WatchdogLost("gone"), 102.0) == []
    assert len(owner.watchdog_lost(WatchdogLost("busy"), 102.0)) == 1
    retry_at = 102.0 + LEASE_RETRY_S
    for at, is_armed in ((retry_at - 0.1, False), (retry_at, True)):
        assert (ArmWatchdog(4.0) in owner.update(replace(_RUNS, next_seq=3), at)) is is_armed


def _idle(seq: int) -> Circumstances:
    """Nothing runs here."""
    return replace(_RUNS, next_seq=seq, is_in_use=False)


def _withdrawn(owner: LeaseOwner, seq: int, now: float) -> list[Action]:
    """Withdraw what is promised, with a beat that the medium has; return what follows."""
    owner.update(_idle(seq), now)
    owner.record_beat(seq, True, now)
    owner.confirmed(RenewalConfirmed(_MEDIUM, seq, now, now + 0.1), now + 0.1)
    return owner.update(_idle(seq + 1), now + 0.1)


def test_lost_watchdog_that_was_kept_is_armed_again_at_once() -> None:
    """It bites without a permit if it still runs; one that a former daemon kept as well."""
    armed = _armed()
    armed.watchdog_lost(WatchdogLost("gone"), 102.0)
    assert ArmWatchdog(4.0) in armed.update(replace(_RUNS, next_seq=3), 102.0)
    former = LeaseOwner(_spec(), 100.0)
    [record] = former.watchdog_lost(WatchdogLost("no answer", frozenset({_MEDIUM})), 100.0)
    assert "NO WATCHDOG" in str(record) and "is_alarm=True" in str(record)
    shown = former.status(100.0)
    assert shown is not None and shown.is_withdrawing
    assert former.update(_RUNS, 100.0) == [ArmWatchdog(4.0)]
    # One that was never opened is not.
    new = LeaseOwner(_spec(), 100.0)
    new.update(_RUNS, 100.0)
    new.watchdog_lost(WatchdogLost("busy"), 100.0)
    assert new.update(_RUNS, 99.9 + LEASE_RETRY_S) == []
    assert new.update(_RUNS, 100.0 + LEASE_RETRY_S) == [ArmWatchdog(4.0)]


def test_lost_watchdog_is_disarmed_if_it_may_run() -> None:
    """It was kept, or had a permit to be opened by."""
    for has_permit in (False, True):
        owner = LeaseOwner(_spec(), 100.0)
        owner.update(_RUNS, 100.0)
        owner.record_beat(1, True, 100.0)
        if has_permit:
            assert owner.acknowledged(1, 100.1) != []
        owner.watchdog_lost(WatchdogLost("gone"), 100.2)
        assert (DisarmWatchdog() in owner.update(_idle(2), 100.3)) is has_permit
    for losses in (1, 2):
        owner = _armed()
        for _ in range(losses):
            owner.watchdog_lost(WatchdogLost("gone"), 102.0)
        assert DisarmWatchdog() in _withdrawn(owner, 3, 102.1)
        assert owner.update(_idle(5), 103.0) == []


def test_beats_are_known_up_to_their_number_and_age() -> None:
    """4096 of them, for a minute."""
    for count, is_known in ((4096, True), (4097, False)):
        owner = _armed()
        for seq in range(3, 3 + count):
            owner.record_beat(seq, True, 102.0 + seq * 1e-6)
        assert bool(owner.acknowledged(3, 102.5)) is is_known
    for at, is_known in ((161.0, True), (161.01, False)):
        owner = LeaseOwner(_spec(), 100.0)
        owner.update(_RUNS, 100.0)
        owner.record_beat(1, True, 100.5)
        owner.acknowledged(1, 100.6)
        owner.watchdog_ready(_READY, 100.7)
        owner.update(replace(_RUNS, next_seq=2), 100.7)
        owner.record_beat(2, True, 101.0)
        owner.record_beat(3, False, at)
        owner.acknowledged(2, at)
        shown = owner.status(at)
        assert shown is not None and shown.is_confirmed is is_known


def test_restart_is_promised_with_the_time_for_which_the_watchdog_is_held() -> None:
    """By the peer's clock."""
    owner = _armed()
    owner.update(replace(_RUNS, next_seq=3, goodbye=Goodbye.RESTART), 102.0)
    assert owner.promise is not None
    assert owner.promise.death_s == D_S + math.ceil(RESTART_HOLD_S * CLOCK_RATIO)


def test_watchdog_without_any_configuration_is_petted_for_quick_answers_alone() -> None:
    """What was promised by it is not known."""
    owner = LeaseOwner(replace(_spec(), fencing=FencingPolicy()), 100.0)
    owner.watchdog_ready(_READY, 100.0)
    owner.record_beat(1, True, 100.0)
    assert owner.acknowledged(1, 100.31) == []
    assert owner.acknowledged(1, 100.3) == [GrantPermit(100.0)]


def test_watchdog_that_is_taken_over_is_renewed_at_the_witness_before_anything_is_decided() -> None:
    """A former daemon may have promised something."""
    owner = LeaseOwner(_spec(has_witness=True), 100.0)
    shown = owner.status(100.0)
    assert shown is not None and shown.watchdog == "off" and shown.permit_by == ""
    owner.watchdog_ready(replace(_READY, settings=POLICY), 100.0)
    assert owner.renew_meanwhile(1) == [RenewWitness(1, None)]
    assert owner.record_beat(1, True, 100.0) == [RenewWitness(1, None)]


def test_watchdog_is_kept_by_what_it_was_armed_by() -> None:
    """Not by an edit since: what is promised is withdrawn first."""
    edited = replace(_spec(), fencing=FencingPolicy(lease=replace(POLICY, timeout_s=8.0)))
    owner = _armed()
    owner.reconfigure(edited)
    owner.watchdog_ready(_READY, 102.0)
    owner.update(replace(_RUNS, next_seq=3), 102.0)
    assert owner.promise is None
    found = LeaseOwner(_spec(), 100.0)
    found.watchdog_ready(_READY, 100.0)
    found.reconfigure(edited)
    assert found.update(_RUNS, 100.0) == []
    shown = found.status(100.0)
    assert shown is not None and shown.why_not == "its configuration was changed"


@pytest.mark.parametrize(
    "change", [{"device": "/dev/w1"}, {"timeout_s": 5.0}, {"answer_s": 0.9}, {"holders": 3}]
)
def test_each_setting_of_the_watchdog_is_changed_only_once_it_is_disarmed(
    change: dict[str, object],
) -> None:
    """The way to be lost is not one of them."""
    owner = _armed()
    policy = replace(POLICY, **change)  # type: ignore[arg-type]
    owner.reconfigure(replace(_spec(), fencing=FencingPolicy(lease=policy)))
    owner.update(replace(_RUNS, next_seq=3), 102.0)
    assert owner.promise is None
    other = _armed()
    policy = replace(POLICY, is_pause_excluded=True)
    other.reconfigure(replace(_spec(), fencing=FencingPolicy(lease=policy)))
    other.update(replace(_RUNS, next_seq=3), 102.0)
    assert other.promise is not None


def test_promise_that_was_withdrawn_is_made_again_only_with_an_armed_watchdog() -> None:
    """And its disarming is ordered once."""
    owner = _armed()
    found = _withdrawn(owner, 3, 102.0)
    assert found[0] == DisarmWatchdog() and "DISARMED" in str(found[1])
    shown = owner.status(102.2)
    assert shown is not None and (shown.watchdog, shown.name, shown.permit_at) == ("off", "", None)
    assert owner.update(_idle(4), 103.0) == []
    assert owner.update(replace(_RUNS, next_seq=4), 104.0) == [ArmWatchdog(4.0)]
    assert owner.promise is None and owner.is_awaited(104.0)


def test_replaced_disk_leaves_nothing_to_be_renewed_by() -> None:
    """Nor is there anything where no medium is configured."""
    owner = LeaseOwner(_spec(), 100.0)
    owner.media_replaced(MediaReplaced(frozenset({_MEDIUM})))
    assert owner.update(_RUNS, 100.0) == []
    shown = owner.status(100.0)
    assert shown is not None and shown.why_not.startswith("its disk was replaced: ")
    bare = LeaseOwner(_spec(links=(_HEARD,)), 100.0)
    assert bare.update(_RUNS, 100.0) == []
    shown = bare.status(100.0)
    assert shown is not None and shown.why_not.startswith("there is neither a disk link nor")


def test_smaller_promise_counts_from_the_end_of_the_larger_one() -> None:
    """To the instant."""
    owner = _armed()
    owner.watchdog_ready(replace(_READY, timeout_s=3.0), 102.0)
    for at, is_larger in ((101.9 + D_S, True), (102.0 + D_S, False)):
        owner.update(replace(_RUNS, next_seq=3), at)
        assert owner.promise is not None and (owner.promise.death_s == D_S) is is_larger


def test_daemon_that_leaves_with_nothing_in_use_waits_for_its_withdrawal_for_a_while() -> None:
    """Then it disarms: what does not run breaks no promise. With something in use it does not."""
    for is_in_use in (False, True):
        owner = _armed()
        leaves = replace(_RUNS, next_seq=3, goodbye=Goodbye.LEFT, is_in_use=is_in_use)
        owner.update(leaves, 102.0)
        settled = 102.0 + LEASE_SETTLE_S
        assert DisarmWatchdog() not in owner.update(leaves, settled - 0.1)
        assert owner.holds_back(settled - 0.1) and not owner.holds_back(settled)
        assert (DisarmWatchdog() in owner.update(leaves, settled)) is not is_in_use
        assert bool(owner.leave()) is is_in_use
        shown = owner.status(settled)
        assert shown is not None and shown.is_withdrawing is is_in_use


def _stopping(is_stopping: bool = True, stop_s: float | None = None) -> LeaseOwner:
    """An owner that would stop its services, whose last renewal is of 101."""
    on_lost = OnLost.STOP if is_stopping else OnLost.RESET
    policy = replace(POLICY, timeout_s=15.0, on_lost=on_lost, stop_s=stop_s)
    spec = replace(_spec(), fencing=FencingPolicy(lease=policy))
    owner = _opened(spec, replace(_READY, timeout_s=15.0))
    owner.update(replace(_RUNS, next_seq=2), 100.2)
    owner.record_beat(2, True, 101.0)
    owner.acknowledged(2, 101.1)
    return owner


_NEXT = replace(_RUNS, next_seq=3)


@pytest.mark.parametrize("is_silent", [False, True])
def test_node_is_cut_off_when_two_renewals_were_asked_for_in_vain(is_silent: bool) -> None:
    """Also with beats that were kept back on purpose; the rest of the time is reported."""
    owner = _stopping()
    for seq, at in ((3, 102.0), (4, 103.0)):
        if is_silent:
            owner.record_silence(at)
        else:
            owner.record_beat(seq, True, at)
    assert 105.0 in owner.deadlines(104.0)
    assert owner.update(_NEXT, 104.9) == [] and not owner.is_stop_due and owner.cut_off == ""
    [record] = owner.update(_NEXT, 105.0)
    assert "CUT OFF" in str(record) and "in the 11.0 s until it is reset" in str(record)
    assert owner.is_stop_due and owner.cut_off and owner.is_ask_due(105.0)
    assert owner.update(_NEXT, 105.1) == []
    shown = owner.status(105.1)
    assert shown is not None and shown.cut_off == owner.cut_off and shown.stops
    owner.record_beat(5, True, 106.0)
    owner.acknowledged(5, 106.1)
    [record] = owner.update(_NEXT, 106.1)
    assert "CONFIRMED" in str(record) and not owner.is_stop_due and owner.cut_off == ""


@pytest.mark.parametrize("case", ["reset", "idle", "leaves", "confirmed", "restarted"])
def test_node_is_not_cut_off_where_it_has_nothing_to_stop_or_was_confirmed(case: str) -> None:
    """Or would not stop it; or stood still meanwhile."""
    owner = _stopping(is_stopping=case != "reset")
    for seq, at in ((3, 102.0), (4, 103.0)):
        owner.record_beat(seq, True, at)
    if case == "confirmed":
        owner.acknowledged(3, 102.5)
    if case == "restarted":
        owner.restart()
    now = replace(
        _NEXT,
        is_in_use=case != "idle",
        goodbye=Goodbye.RESTART if case == "leaves" else Goodbye.NONE,
    )
    owner.update(now, 105.0)
    assert not owner.is_stop_due and owner.cut_off == ""


def test_promise_of_a_node_that_stops_its_services_first_says_so() -> None:
    """It may live then, without services."""
    for is_stopping in (False, True):
        promise = _stopping(is_stopping).promise
        assert promise is not None and promise.may_stop is is_stopping
        assert not promise.is_virtual


def test_node_that_is_cut_off_and_runs_nothing_any_more_is_disarmed() -> None:
    """Though no withdrawal of what it promised could be confirmed, which stands."""
    owner = _stopping()
    for seq, at in ((3, 102.0), (4, 103.0)):
        owner.record_beat(seq, True, at)
    owner.update(_NEXT, 105.0)
    assert DisarmWatchdog() not in owner.update(replace(_NEXT, is_in_use=True), 106.0)
    assert DisarmWatchdog() in owner.update(replace(_NEXT, is_in_use=False), 107.0)
    shown = owner.status(107.0)
    assert shown is not None and shown.is_withdrawing and shown.watchdog == "off"
    assert owner.cut_off and not owner.is_stop_due


def test_profile_fast_has_a_margin_of_its_own() -> None:
    """Beside the times of its watchdog."""
    fencing = FencingPolicy(lease=FAST_POLICY)
    spec = replace(_spec(), profile=Profile.FAST, fencing=fencing)
    owner = _opened(spec, replace(_READY, timeout_s=1.0))
    owner.update(replace(_RUNS, next_seq=2), 100.2)
    assert owner.promise is not None
    assert owner.promise.death_s == death_after_s(0.3, 1.0, 2, 0.05, FAST_MARGIN_S)


def test_keeper_that_is_back_after_it_was_lost_is_one_of_a_former_daemon() -> None:
    """What it was armed for is not known."""
    owner = LeaseOwner(_spec(), 100.0)
    owner.update(_RUNS, 100.0)
    owner.watchdog_lost(WatchdogLost("no answer"), 100.5)
    owner.watchdog_ready(_READY, 101.0)
    shown = owner.status(101.0)
    assert shown is not None and (shown.watchdog, shown.is_withdrawing) == ("taken over", True)


def test_node_that_was_cut_off_goes_on_asking_without_a_watchdog() -> None:
    """It may start nothing before something confirms that it lives."""
    owner = _stopping()
    for seq, at in ((3, 102.0), (4, 103.0)):
        owner.record_beat(seq, True, at)
    owner.update(_NEXT, 105.0)
    owner.update(replace(_NEXT, is_in_use=False), 106.0)
    shown = owner.status(107.0)
    assert shown is not None and shown.watchdog == "off" and owner.is_ask_due(107.0)


def test_beat_that_is_not_known_shows_nothing() -> None:
    """It is of a former daemon, or too old; and a medium that is not promised renews nothing."""
    owner = _armed()
    owner.update(_idle(3), 102.0)
    owner.confirmed(RenewalConfirmed(_MEDIUM, 99, 102.0, 102.1), 102.1)
    assert DisarmWatchdog() not in owner.update(_idle(3), 102.1)
    assert owner.record_beat(3, True, 102.2) == []
    other = _armed()
    other.record_beat(3, True, 102.0)
    assert other.confirmed(RenewalConfirmed(b"another!", 3, 102.0, 102.1), 102.1) == []


def test_permits_before_the_watchdog_is_open_have_no_margin() -> None:
    """It is opened with one of them."""
    owner = LeaseOwner(_spec(), 100.0)
    owner.update(_RUNS, 100.0)
    for seq in (1, 2):
        owner.record_beat(seq, True, 100.0 + seq)
        assert owner.acknowledged(seq, 100.1 + seq) == [GrantPermit(100.0 + seq)]
    shown = owner.status(102.2)
    assert shown is not None and shown.margin_s is shown.least_margin_s is None


def test_least_margin_is_that_of_the_day_and_the_one_before() -> None:
    """To the instant."""
    owner, day_s = LeaseOwner(_spec(), 100.0), 86400.0
    shown = []
    for margin_s, at in (
        (1.0, 200.0),
        (0.5, 99.9 + day_s),
        (2.0, 100.0 + day_s),
        (3.0, 99.9 + 2 * day_s),
        (3.0, 100.0 + 2 * day_s),
        (4.0, 100.0 + 3 * day_s),
    ):
        owner._note_margin(margin_s, at)
        status = owner.status(at)
        shown.append(None if status is None else status.least_margin_s)
    assert shown == [1.0, 0.5, 0.5, 0.5, 2.0, 3.0]


def test_withdrawal_goes_to_the_witness_if_any_promise_that_stands_has_named_it() -> None:
    """It was added since the watchdog was armed."""
    owner = _armed()
    owner.reconfigure(_spec(has_witness=True))
    owner.update(replace(_RUNS, next_seq=3), 102.0)
    owner.record_beat(3, True, 102.0)
    owner.update(_idle(4), 103.0)
    assert owner.record_beat(4, True, 103.0) == [WithdrawWitness(4)]


def test_withdrawal_at_the_witness_counts_for_nothing_once_it_is_renewed_again() -> None:
    """However late its end is reported."""
    owner = _armed(has_witness=True)
    owner.update(_idle(3), 102.0)
    assert owner.record_beat(3, True, 102.0) == [WithdrawWitness(3)]
    owner.confirmed(RenewalConfirmed(_MEDIUM, 3, 102.0, 102.1), 102.1)
    owner.update(replace(_RUNS, next_seq=4), 102.2)
    assert owner.record_beat(4, True, 102.2) == [RenewWitness(4, 2)]
    owner.confirmed(RenewalConfirmed(WITNESS_MARK, 3, 102.0, 102.3), 102.3)
    shown = owner.status(102.3)
    assert shown is not None and shown.is_withdrawing


def _edited(**changes: object) -> ClusterSpec:
    """What is configured since; nothing without changes."""
    if not changes:
        return replace(_spec(), fencing=FencingPolicy())
    policy = replace(POLICY, timeout_s=15.0, on_lost=OnLost.STOP)
    policy = replace(policy, **changes)  # type: ignore[arg-type]
    return replace(_spec(), fencing=FencingPolicy(lease=policy))


@pytest.mark.parametrize(
    ("spec", "stop_s"), [(None, 5.0), (_edited(stop_s=3.0), 3.0), (_edited(), 5.0)]
)
def test_cut_is_found_as_late_as_the_stops_of_the_configuration_allow(
    spec: ClusterSpec | None, stop_s: float
) -> None:
    """Of the one that it was armed by, where there is none any more."""
    owner = _stopping(stop_s=5.0)
    if spec is not None:
        owner.reconfigure(spec)
    for seq, at in ((3, 102.0), (4, 103.0)):
        owner.record_beat(seq, True, at)
    due_at = 101.0 + cut_off_after_s(1.0, 1.0, 15.0, stop_s)
    assert due_at in owner.deadlines(104.0)
    for now, is_cut in ((due_at - 0.1, False), (due_at, True)):
        owner.update(replace(_NEXT, is_in_use=True), now)
        assert bool(owner.cut_off) is is_cut


def test_node_without_an_armed_watchdog_is_not_cut_off() -> None:
    """It is only being armed, or was lost meanwhile: what was asked for before does not count."""
    arming = LeaseOwner(_edited(stop_s=5.0), 100.0)
    arming.update(_RUNS, 100.0)
    for seq in (1, 2, 3):
        arming.record_beat(seq, True, 99.0 + seq)
    arming.update(replace(_RUNS, next_seq=4), 120.0)
    assert arming.cut_off == ""
    lost = _stopping(stop_s=5.0)
    for seq, at in ((3, 102.0), (4, 103.0)):
        lost.record_beat(seq, True, at)
    lost.watchdog_lost(WatchdogLost("gone"), 103.5)
    lost.update(replace(_NEXT, next_seq=5), 120.0)
    assert lost.cut_off == ""


def test_status_says_whether_the_services_are_stopped_first() -> None:
    """By the configuration of now; by that of the armed watchdog where there is none."""
    new = LeaseOwner(_edited(stop_s=5.0), 100.0).status(100.0)
    assert new is not None and new.stops
    removed = _stopping()
    removed.reconfigure(_edited())
    shown = removed.status(102.0)
    assert shown is not None and shown.stops
    edited = _stopping()
    edited.reconfigure(_spec())
    shown = edited.status(102.0)
    assert shown is not None and not shown.stops


def test_start_that_was_let_go_waits_for_no_larger_promise() -> None:
    """However often that is decided."""
    owner = _armed()
    owner.update(_NEXT, 101.2)
    owner.watchdog_ready(replace(_READY, timeout_s=8.0), 102.0)
    for now in (102.0, 102.1, 102.2):
        owner.update(_NEXT, now)
        assert not owner.is_awaited(now)


def test_promise_and_its_withdrawal_are_no_alarms() -> None:
    """They are recorded all the same."""
    owner = _opened(_spec())
    [promised] = owner.update(replace(_RUNS, next_seq=2), 100.2)
    owner.record_beat(2, True, 101.0)
    [withdrawn] = owner.update(_idle(3), 102.0)
    for record, what in ((promised, "PROMISED"), (withdrawn, "WITHDRAWN")):
        assert isinstance(record, Record) and record.new == what and not record.is_alarm


def test_cut_and_its_end_are_alarms() -> None:
    """Services are stopped for it, and may be started again."""
    owner = _stopping()
    for seq, at in ((3, 102.0), (4, 103.0)):
        owner.record_beat(seq, True, at)
    [cut] = owner.update(_NEXT, 105.0)
    owner.record_beat(5, True, 106.0)
    owner.acknowledged(5, 106.1)
    [confirmed] = owner.update(_NEXT, 106.1)
    for record, what in ((cut, "CUT OFF"), (confirmed, "CONFIRMED")):
        assert isinstance(record, Record) and record.new == what and record.is_alarm


def test_former_watchdog_is_kept_until_the_peer_had_time_to_be_heard() -> None:
    """Though nothing stands any more; one of this daemon is given up at once."""
    unknown = replace(_RUNS, next_seq=2, peer_problem="deb2 is not heard")
    found = LeaseOwner(_spec(), 100.0)
    found.watchdog_ready(replace(_READY, settings=POLICY, media=frozenset({_MEDIUM})), 100.0)
    assert found.update(unknown, 100.0) == []
    found.record_beat(1, True, 100.5)
    found.confirmed(RenewalConfirmed(_MEDIUM, 1, 100.5, 100.6), 100.6)
    assert found.update(unknown, 99.9 + LEASE_TAKEOVER_S) == []
    assert DisarmWatchdog() in found.update(unknown, 100.0 + LEASE_TAKEOVER_S)
    own = LeaseOwner(_spec(), 100.0)
    own.update(_RUNS, 100.0)
    own.update(unknown, 101.0)
    shown = own.status(101.0)
    assert shown is not None and shown.watchdog == "off"


def test_watchdog_is_armed_with_a_permit_and_a_number_of_its_own() -> None:
    """What was given to a former daemon's, or ordered before, is none."""
    owner = LeaseOwner(_spec(), 100.0)
    owner.watchdog_ready(replace(_READY, settings=POLICY), 100.0)
    owner.record_beat(1, True, 100.0)
    assert owner.acknowledged(1, 100.1) == [GrantPermit(100.0)]
    first = _ordered(owner.update(replace(_RUNS, next_seq=2), 100.2))
    shown = owner.status(100.2)
    assert shown is not None and shown.permit_at is None and owner.is_ask_due(100.2)
    owner.watchdog_lost(WatchdogLost("busy"), 100.3)
    second = _ordered(owner.update(replace(_RUNS, next_seq=2), 100.3 + LEASE_RETRY_S))
    assert first != second
    owner.watchdog_ready(replace(_READY, number=first), 120.0)
    shown = owner.status(120.0)
    assert shown is not None and shown.watchdog == "being armed"


def test_lost_watchdog_withdraws_and_is_disarmed_once_nothing_is_believed() -> None:
    """While it is tried again; a watchdog that is being armed is not."""
    owner = _armed()
    owner.update(_NEXT, 101.2)
    owner.watchdog_lost(WatchdogLost("gone"), 102.0)
    owner.update(_NEXT, 102.0)
    assert owner.promise is None
    owner.watchdog_lost(WatchdogLost("gone"), 102.1)
    assert DisarmWatchdog() not in owner.update(_NEXT, 102.2)
    owner.record_beat(3, True, 102.3)
    owner.confirmed(RenewalConfirmed(_MEDIUM, 3, 102.3, 102.4), 102.4)
    assert DisarmWatchdog() in owner.update(replace(_NEXT, next_seq=4), 102.4)
    again = owner.update(replace(_NEXT, next_seq=4), 102.1 + LEASE_RETRY_S)
    assert again == [ArmWatchdog(4.0)]
    former = LeaseOwner(_spec(), 100.0)
    former.watchdog_lost(WatchdogLost("gone", frozenset({_MEDIUM})), 100.0)
    former.record_beat(1, True, 100.0)
    former.confirmed(RenewalConfirmed(_MEDIUM, 1, 100.0, 100.1), 100.1)
    assert former.update(replace(_RUNS, next_seq=2), 100.1) == [ArmWatchdog(4.0)]


def test_floor_of_a_larger_promise_ends_with_its_withdrawal() -> None:
    """No node counts on it any more."""
    owner = _armed()
    owner.watchdog_ready(replace(_READY, timeout_s=3.0), 102.0)
    assert DisarmWatchdog() in _withdrawn(owner, 3, 102.0)
    owner.update(replace(_RUNS, next_seq=4), 103.0)
    owner.record_beat(4, True, 103.0)
    owner.acknowledged(4, 103.1)
    owner.watchdog_ready(replace(_READY, timeout_s=3.0), 103.2)
    owner.update(replace(_RUNS, next_seq=5), 103.2)
    assert owner.promise is not None
    assert owner.promise.death_s == death_after_s(1.0, 3.0, 2, 0.05, 0.5)


def test_peer_that_is_gone_for_good_counts_on_nothing() -> None:
    """The watchdog is disarmed at once; a silent one may count on it."""
    for is_gone in (False, True):
        owner = _armed()
        ends = replace(_idle(3), is_peer_gone=is_gone)
        assert (DisarmWatchdog() in owner.update(ends, 102.0)) is is_gone


def test_start_that_is_near_keeps_no_promise_over_a_restart() -> None:
    """Only what is in use is left to the next daemon."""
    owner = _armed()
    leaves = replace(_NEXT, is_in_use=False, is_start_near=True, goodbye=Goodbye.RESTART)
    owner.update(leaves, 102.0)
    assert owner.promise is None


def test_cut_without_a_time_for_stops_counts_from_what_was_asked_for() -> None:
    """However late the renewal before was."""
    owner = _stopping()
    owner.record_repeat(2, True, 101.5)
    assert owner.acknowledged(2, 101.6) == [GrantPermit(101.5)]
    for seq, at in ((3, 102.0), (4, 103.0)):
        owner.record_beat(seq, True, at)
    assert owner.update(_NEXT, 104.9) == [] and owner.update(_NEXT, 105.0) != []


def test_nothing_is_waited_for_by_a_daemon_that_has_promised_nothing() -> None:
    """Or that does not leave."""
    idle = LeaseOwner(_spec(), 100.0)
    idle.update(replace(_idle(1), goodbye=Goodbye.LEFT), 100.0)
    assert not idle.holds_back(100.0)
    assert not _armed().holds_back(102.0)


def test_restart_is_held_once_the_longer_promise_alone_is_believed() -> None:
    """Not while the shorter one may be, nor by a watchdog that was lost."""
    owner = _armed(has_witness=True)
    leaves = replace(_NEXT, goodbye=Goodbye.RESTART)
    owner.update(leaves, 102.0)
    owner.record_beat(3, True, 102.0)
    assert owner.holds_back(102.0)
    owner.update(replace(leaves, next_seq=4), 102.1)
    assert owner.holds_back(102.1) and "LEFT ARMED" in str(owner.leave())
    owner.confirmed(RenewalConfirmed(_MEDIUM, 3, 102.0, 102.2), 102.2)
    owner.update(replace(leaves, next_seq=4), 102.2)
    assert not owner.holds_back(102.2)
    assert isinstance(owner.leave()[0], HoldWatchdog)
    stays = _armed()
    stays.update(_NEXT, 102.0)
    [record] = stays.leave()
    assert isinstance(record, Record) and record.is_alarm


def test_deadlines_are_of_what_is_still_wanted() -> None:
    """A promise that nothing wants any more is not given up, a keeper that is back not retried."""
    owner = LeaseOwner(_spec(), 100.0)
    owner.update(_RUNS, 100.0)
    owner.update(_idle(1), 101.0)
    assert 100.0 + LEASE_WAIT_S not in owner.deadlines(101.0)
    back = LeaseOwner(_spec(), 100.0)
    back.update(_RUNS, 100.0)
    back.watchdog_lost(WatchdogLost("no answer"), 100.5)
    assert 100.5 + LEASE_RETRY_S in back.deadlines(101.0)
    back.watchdog_ready(_READY, 101.0)
    assert 100.5 + LEASE_RETRY_S not in back.deadlines(101.0)


def test_disarmed_watchdog_is_no_alarm() -> None:
    """It is what an operator asked for, or follows from what was reported."""
    record = _withdrawn(_armed(), 3, 102.0)[1]
    assert isinstance(record, Record) and record.new == "DISARMED" and not record.is_alarm
