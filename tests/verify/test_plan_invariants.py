"""S4, S7 and the grounds of a fence plan: what breaks each of them, and what does not."""

from __future__ import annotations

import pytest

from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.events import ScriptKind
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.timing import PROOF_LIFE_S
from opensvc_openha.verify.invariants import (
    DaemonBegan,
    Heard,
    InvariantBroken,
    InvariantChecker,
    Moved,
    RightLost,
    ScriptBegan,
    ScriptEnded,
    StepBegan,
    StepEnded,
)

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
