"""S4, S7, L3 and the grounds of a fence plan: what breaks each of them, and what does not."""

from __future__ import annotations

import pytest

from opensvc_openha.core import timing
from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.events import Ejected, ScriptKind
from opensvc_openha.core.fence_plan import FencePlan
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.timing import PROOF_LIFE_S
from opensvc_openha.fence_devices import reservations
from opensvc_openha.fence_devices.shared_disk import Taken
from opensvc_openha.verify.invariants import (
    Announced,
    Barred,
    DaemonBegan,
    Disturbed,
    Heard,
    InvariantBroken,
    InvariantChecker,
    Moved,
    RightLost,
    ScriptBegan,
    ScriptEnded,
    StepBegan,
    StepEnded,
    WriteLanded,
)
from opensvc_openha.verify.random.plan import plan_from_seed
from opensvc_openha.verify.random.random_history import run_history
from opensvc_openha.verify.reserved_disks import ReservedDisk
from tests.core.plans import OUT_S, PlanPair

OWN, PEER = BootId(1, 1), BootId(1, 2)


def _watch(has_arbiter: bool = False, data: tuple[str, ...] = ()) -> InvariantChecker:
    checker = InvariantChecker(("deb1", "deb2"), 10.0, 10.0)
    checker.expect_plan(has_arbiter, data, data)
    checker.observe(DaemonBegan(0.0, "deb1", OWN, {"web": S.STOPPED}))
    checker.observe(DaemonBegan(0.0, "deb2", PEER, {"web": S.STARTED}))
    _hear(checker, 1.0, 1)
    return checker


def _hear(checker: InvariantChecker, at: float, seq: int) -> None:
    beat = Beat("deb2", PEER, seq, Ack(OWN, 1), {"web": S.STARTED})
    checker.observe(Heard(at, "deb1", beat))


def _start(checker: InvariantChecker, at: float) -> None:
    checker.observe(Moved(at, "deb1", "web", S.START_READY))
    checker.observe(ScriptBegan(at, "deb1", "web", ScriptKind.START))


def _run_on_peer(checker: InvariantChecker) -> None:
    ended = ScriptEnded(1.0, "deb2", "web", ScriptKind.START, is_ok=True, is_running=True)
    checker.observe(ended)


@pytest.mark.parametrize("is_claim", [False, True])
def test_step_against_a_peer_that_is_heard_breaks_s4(is_claim: bool) -> None:
    """A claim, too: it ejects the peer."""
    with pytest.raises(InvariantBroken, match="^S4.*heard 9.0"):
        _watch().observe(StepBegan(10.0, "deb1", is_claim))
    _watch().observe(StepBegan(11.0, "deb1", is_claim))
    checker = _watch()
    checker.expect_mutes()
    checker.observe(StepBegan(10.0, "deb1", is_claim))


def test_shot_without_a_claim_that_was_won_breaks_s4() -> None:
    """Won by the other one, or before the peer was heard again, or by a daemon that is gone."""
    for before in (
        [],
        [StepEnded(21.0, "deb1", is_done=False, is_claim=True)],
        [
            StepEnded(21.0, "deb1", is_done=True, is_claim=True),
            StepEnded(21.5, "deb2", is_done=True, is_claim=True),
        ],
    ):
        checker = _watch(has_arbiter=True)
        for seen in before:
            checker.observe(seen)
        with pytest.raises(InvariantBroken, match="^S4.*without having won"):
            checker.observe(StepBegan(22.0, "deb1"))
    checker = _watch(has_arbiter=True)
    checker.observe(StepEnded(21.0, "deb1", is_done=True, is_claim=True))
    checker.observe(StepBegan(22.0, "deb1"))
    # A beat with a key but no acknowledgement may be a recording: the engine does not believe it.
    unproven = Beat("deb2", BootId(2, 3), 1, None, {"web": S.STOPPED})
    checker.observe(Heard(22.5, "deb1", unproven, is_authentic=True))
    checker.observe(StepBegan(22.6, "deb1"))
    _hear(checker, 23.0, 2)
    with pytest.raises(InvariantBroken, match="^S4.*without having won"):
        checker.observe(StepBegan(40.0, "deb1"))


def test_start_without_a_step_breaks_s2_and_with_an_old_one() -> None:
    """No check-up script replaces the plan."""
    checker = _watch()
    with pytest.raises(InvariantBroken, match="^S2"):
        _start(checker, 20.0)
    for at, is_good in ((25.0, True), (21.0 + PROOF_LIFE_S + 1.0, False)):
        checker = _watch()
        checker.observe(StepBegan(20.0, "deb1"))
        checker.observe(StepEnded(21.0, "deb1", is_done=True))
        if is_good:
            _start(checker, at)
        else:
            with pytest.raises(InvariantBroken, match="^S2"):
                _start(checker, at)


def test_step_that_failed_or_was_overtaken_by_a_beat_is_no_ground() -> None:
    """S2 again."""
    checker = _watch()
    checker.observe(StepBegan(20.0, "deb1"))
    checker.observe(StepEnded(21.0, "deb1", is_done=False))
    with pytest.raises(InvariantBroken, match="^S2"):
        _start(checker, 22.0)
    checker = _watch()
    checker.observe(StepBegan(20.0, "deb1"))
    _hear(checker, 20.5, 2)
    checker.observe(StepEnded(21.0, "deb1", is_done=True))
    with pytest.raises(InvariantBroken, match="^S2"):
        _start(checker, 32.0)


def test_reservation_is_a_ground_for_services_that_need_no_more() -> None:
    """And only for those whose disks were taken; the peer's copy cannot write any more."""
    checker = _watch(data=("web",))
    _run_on_peer(checker)
    checker.observe(StepBegan(20.0, "deb1"))
    checker.observe(StepEnded(21.0, "deb1", is_done=True, covers=frozenset({"web"})))
    assert checker.is_barred("deb2", "web")
    _start(checker, 22.0)
    checker = _watch()
    checker.observe(StepBegan(20.0, "deb1"))
    checker.observe(StepEnded(21.0, "deb1", is_done=True, covers=frozenset({"web"})))
    with pytest.raises(InvariantBroken, match="^S2"):
        _start(checker, 22.0)


def test_start_beside_a_copy_that_can_still_write_breaks_s7() -> None:
    """The disks are reserved, and nobody took them from the peer."""
    checker = _watch(data=("web",))
    _run_on_peer(checker)
    checker.observe(StepBegan(20.0, "deb1"))
    checker.observe(StepEnded(21.0, "deb1", is_done=True))
    with pytest.raises(InvariantBroken, match="^S7"):
        _start(checker, 22.0)


def test_lie_of_a_step_excuses_two_copies() -> None:
    """The switch said off, and did nothing: nothing on this node could know."""
    for is_lie in (True, False):
        checker = _watch()
        _run_on_peer(checker)
        checker.observe(StepBegan(20.0, "deb1"))
        checker.observe(StepEnded(21.0, "deb1", is_done=True, is_lie=is_lie))
        if is_lie:
            _start(checker, 22.0)
        else:
            with pytest.raises(InvariantBroken, match="^S1"):
                _start(checker, 22.0)


def test_frozen_copy_of_a_node_that_lost_its_right_may_be_stopped() -> None:
    """S3 excuses that, and nothing else of a frozen service."""
    for has_lost, next_state, is_good in (
        (True, S.STOPPING, True),
        (False, S.STOPPING, False),
    ):
        checker = _watch()
        checker.observe(Moved(2.0, "deb2", "web", S.FROZEN_START))
        if has_lost:
            checker.observe(RightLost(3.0, "deb2"))
        if is_good:
            checker.observe(Moved(4.0, "deb2", "web", next_state))
            checker.observe(ScriptBegan(4.0, "deb2", "web", ScriptKind.STOP))
        else:
            with pytest.raises(InvariantBroken, match="^S3"):
                checker.observe(Moved(4.0, "deb2", "web", next_state))


def test_step_of_a_node_that_was_not_answered_since_its_boot_breaks_s8() -> None:
    """A node that was shot and boots into the cut."""
    checker = InvariantChecker(("deb1", "deb2"), 10.0, 10.0)
    checker.expect_plan()
    checker.observe(DaemonBegan(0.0, "deb1", OWN, {"web": S.STOPPED}))
    with pytest.raises(InvariantBroken, match="^S8"):
        checker.observe(StepBegan(60.0, "deb1"))


# --- S7: writes that land late --------------------------------------------------------------------


def test_write_that_lands_after_the_barrier_of_the_successor_breaks_s7() -> None:
    """By a step of the plan, or by the start itself; before that it may, and its own ones may."""
    landed = WriteLanded(30.0, "deb2", "web")
    for barrier in (
        StepEnded(21.0, "deb1", is_done=True, covers=frozenset({"web"})),
        Barred(21.0, "deb1", "web"),
    ):
        checker = _watch(data=("web",))
        checker.observe(landed)
        checker.observe(barrier)
        checker.observe(WriteLanded(30.0, "deb1", "web"))
        checker.observe(WriteLanded(30.0, "deb2", "mail"))
        with pytest.raises(InvariantBroken, match="^S7.*lands after deb1 has taken its disks"):
            checker.observe(landed)
        checker.observe(Barred(31.0, "deb2", "web"))
        checker.observe(landed)


def _no_abort(self: ReservedDisk, key: int, may_abort: bool = True) -> Taken:
    """Report an abort, and let what is on its way land."""
    ejected = tuple(self.keys - {key})
    self.keys = {key}
    return Taken(self.name, ejected, True, 1, 1)


@pytest.mark.parametrize("fault", ["no abort", "no drain"])
def test_histories_find_a_barrier_that_lets_writes_land(
    monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The disk cannot abort them, and the successor neither knows that nor waits."""
    plan = plan_from_seed(66)
    assert not plan.knows_abort and not run_history(66, 0.02, plan=plan).failure
    if fault == "no abort":
        monkeypatch.setattr(ReservedDisk, "take", _no_abort)
    else:
        monkeypatch.setattr(reservations, "_needs_drain", lambda disk, rules: False)
    failure = run_history(66, 0.02, plan=plan).failure
    assert failure.startswith("S7 broken"), failure


# --- L3 -------------------------------------------------------------------------------------------


def _wait(checker: InvariantChecker, since: float, until: float) -> None:
    """Beats of a node that waits for a step."""
    for seq in range(int(since), int(until) + 1):
        states = {"web": S.START_READY}
        checker.observe(Announced(float(seq), "deb1", Beat("deb1", OWN, seq, None, states)))


def _silent(has_arbiter: bool = True) -> InvariantChecker:
    """The peer was heard last at 1.0; this node beats, and is START_READY since 12.0."""
    checker = _watch(has_arbiter)
    _wait(checker, 1.0, 11.0)
    checker.observe(Moved(12.0, "deb1", "web", S.START_READY))
    return checker


def test_service_for_which_no_step_begins_breaks_l3() -> None:
    """Within the delay of START_READY, counted from the silence."""
    checker = _silent()
    with pytest.raises(InvariantBroken, match="^L3.*service web: no step has begun"):
        _wait(checker, 12.0, 25.0)
    checker = _silent()
    _wait(checker, 12.0, 17.0)
    checker.observe(StepBegan(17.5, "deb1", is_claim=True))
    _wait(checker, 18.0, 60.0)


def test_round_that_is_not_followed_by_another_breaks_l3() -> None:
    """Within a minute of its end."""
    checker = _silent()
    _wait(checker, 12.0, 17.0)
    checker.observe(StepBegan(17.5, "deb1", is_claim=True))
    _wait(checker, 18.0, 19.0)
    checker.observe(StepEnded(20.0, "deb1", is_done=False, is_claim=True))
    checker.observe(Moved(20.0, "deb1", "web", S.START_FAILED))
    _wait(checker, 20.0, 80.0)
    with pytest.raises(InvariantBroken, match="^L3.*no step has begun for 61.0 s"):
        _wait(checker, 81.0, 81.0)


@pytest.mark.parametrize(
    "what", ["no arbiter", "heard", "right lost", "stalled", "disturbed", "started", "restarted"]
)
def test_what_a_wait_is_excused_by(what: str) -> None:
    """The exceptions of L3: whatever comes at 17.0, the wait is counted anew, or not at all."""
    checker = _silent(has_arbiter=what != "no arbiter")
    _wait(checker, 12.0, 17.0)
    if what == "heard":
        _hear(checker, 17.0, 2)
    elif what == "right lost":
        checker.observe(RightLost(17.0, "deb1"))
    elif what == "disturbed":
        checker.observe(Disturbed())
    elif what == "started":
        checker.observe(StepBegan(17.0, "deb1", is_claim=True))
        checker.observe(StepEnded(17.0, "deb1", is_done=True, is_claim=True))
        checker.observe(StepBegan(17.0, "deb1"))
        checker.observe(StepEnded(17.0, "deb1", is_done=True))
        checker.observe(ScriptBegan(17.0, "deb1", "web", ScriptKind.START))
    elif what == "restarted":
        checker.observe(DaemonBegan(17.0, "deb1", BootId(2, 1), {"web": S.STOPPED}))
    _wait(checker, 21.0 if what == "stalled" else 18.0, 27.0)


@pytest.mark.parametrize("fault", ["retries without a limit", "never begins"])
def test_plan_that_is_not_carried_out_in_time_is_found(
    monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """By L3, while two engines run."""
    pair = PlanPair(has_arbiter=True)
    pair.works = set()
    pair.start_both()
    if fault == "never begins":
        monkeypatch.setattr(FencePlan, "may_begin", lambda self, now: False)
    else:
        monkeypatch.setattr(timing, "FENCE_RETRY_MAX_S", 1000.0)
    pair.deb1.crash()
    with pytest.raises(InvariantBroken, match="^L3 broken"):
        pair.run(OUT_S + 300.0)


def test_ejected_node_does_not_have_to_fence() -> None:
    """It waits for the peer, or for an operator."""
    pair = PlanPair(has_arbiter=True)
    pair.start_both()
    pair.arbiter.registered.discard("deb1")
    pair.deb1.handle(pair.deb1.life, Ejected("deb2"))
    pair.deb2.crash()
    pair.run(200.0)
    assert pair.steps == []
