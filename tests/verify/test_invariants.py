"""The invariants themselves: each is broken on purpose, so that a blind checker is found
out.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.core.beat import LEGACY_INCARNATION, Ack, Beat, BootId, Goodbye
from opensvc_openha.core.events import Command, ScriptKind
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.verify.invariants import (
    PROMISES,
    SETTLE_MOVES,
    Announced,
    DaemonBegan,
    Disturbed,
    Forged,
    Heard,
    InvariantBroken,
    InvariantChecker,
    Logged,
    Moved,
    NodeLost,
    Ordered,
    ScriptBegan,
    ScriptEnded,
    StartedByHand,
)

OWN, PEER = BootId(1, 11), BootId(1, 22)


def _watch(state: S = S.STOPPED) -> InvariantChecker:
    watch = InvariantChecker(("deb1", "deb2"), 10.0, 10.0)
    watch.observe(DaemonBegan(0.0, "deb1", OWN, {"web": state}))
    watch.observe(DaemonBegan(0.0, "deb2", PEER, {"web": state}))
    return watch


def _beat(seq: int, state: S, ack: Ack | None = None, goodbye: Goodbye = Goodbye.NONE) -> Beat:
    return Beat("deb2", PEER, seq, ack, {"web": state}, goodbye)


def _announce(watch: InvariantChecker, at: float) -> None:
    """deb1 goes to START_READY in its beat 5."""
    watch.observe(Moved(at, "deb1", "web", S.START_READY))
    watch.observe(Announced(at, "deb1", Beat("deb1", OWN, 5, None, {"web": S.START_READY})))


def _check(
    watch: InvariantChecker, began: float, ended: float, is_ok: bool = True, is_lie: bool = False
) -> None:
    watch.observe(Moved(began, "deb1", "web", S.STARTING))
    watch.observe(ScriptBegan(began, "deb1", "web", ScriptKind.CHECK))
    watch.observe(ScriptEnded(ended, "deb1", "web", ScriptKind.CHECK, is_ok, False, is_lie))


def _start(watch: InvariantChecker, at: float) -> None:
    watch.observe(ScriptBegan(at, "deb1", "web", ScriptKind.START))


def test_start_on_an_acknowledgement_is_allowed_and_one_on_an_older_one_is_not() -> None:
    """The peer's beat acknowledges our beat 5, which announced START_READY: start.

    It acknowledges 4: S2.
    """
    for acked, is_allowed in ((5, True), (4, False)):
        watch = _watch()
        _announce(watch, 20.0)
        watch.observe(Heard(20.1, "deb1", _beat(7, S.STOPPED, Ack(OWN, acked))))
        _check(watch, 20.2, 20.3)
        if is_allowed:
            _start(watch, 20.3)
        else:
            with pytest.raises(InvariantBroken, match="^S2"):
                _start(watch, 20.3)


@pytest.mark.parametrize(
    "ack", [Ack(BootId(9, 9), 5), Ack(OWN, 5, is_taken=False)], ids=["another life", "not taken"]
)
def test_acknowledgement_of_another_life_or_not_taken_is_none(ack: Ack) -> None:
    """It names a former daemon, or only reports that the beat was heard: S2."""
    watch = _watch()
    _announce(watch, 20.0)
    watch.observe(Heard(20.1, "deb1", _beat(7, S.STOPPED, ack)))
    _check(watch, 20.2, 20.3)
    with pytest.raises(InvariantBroken, match="^S2"):
        _start(watch, 20.3)


def test_acknowledgement_of_the_later_life_counts_though_its_counter_was_lost() -> None:
    """deb2 begins again with counter 1 after a life with 7: the acknowledgement of the new one
    counts, not of the old one.
    """
    for is_newer, is_allowed in ((True, True), (False, False)):
        watch = _watch()
        lost, former = BootId(1, 33), BootId(7, 22)
        for boot in (former, lost) if is_newer else (lost, former):
            watch.observe(DaemonBegan(1.0, "deb2", boot, {"web": S.STOPPED}))
        _announce(watch, 20.0)
        watch.observe(Heard(20.1, "deb1", replace(_beat(7, S.STARTING, Ack(OWN, 1)), boot=former)))
        watch.observe(Heard(20.2, "deb1", replace(_beat(3, S.STOPPED, Ack(OWN, 5)), boot=lost)))
        _check(watch, 20.3, 20.4)
        if is_allowed:
            _start(watch, 20.4)
        else:
            with pytest.raises(InvariantBroken, match="^S2"):
                _start(watch, 20.4)


@pytest.mark.parametrize("start_at, is_allowed", [(30.0, True), (35.0, False)])
def test_original_that_was_heard_out_proves_nothing_once_it_is_silent(
    start_at: float, is_allowed: bool
) -> None:
    """A C OpenHA reports for 9 s that it is out: that proves a start right after it, not one six
    seconds after its last beat.
    """
    watch = _watch()
    _announce(watch, 20.0)
    for second in range(20, 30):
        watch.observe(
            Heard(
                second, "deb1", Beat("deb2", LEGACY_INCARNATION, second, None, {"web": S.STOPPED})
            )
        )
    _check(watch, start_at - 0.1, start_at)
    if is_allowed:
        _start(watch, start_at)
    else:
        with pytest.raises(InvariantBroken, match="^S2"):
            _start(watch, start_at)


def test_acknowledgement_followed_by_another_word_or_by_a_long_silence_is_void() -> None:
    """The peer reported that it is out, then that it starts.

    Or it reported it longer ago than its timeout: S2.
    """
    for then, start_at in ((S.STARTING, 20.4), (S.STOPPED, 45.0)):
        watch = _watch()
        _announce(watch, 20.0)
        watch.observe(Heard(20.1, "deb1", _beat(7, S.STOPPED, Ack(OWN, 5))))
        _check(watch, 20.2, start_at)
        watch.observe(Heard(20.3, "deb1", _beat(8, then, Ack(OWN, 5))))
        with pytest.raises(InvariantBroken, match="^S2"):
            _start(watch, start_at)


@pytest.mark.parametrize(
    "heard_at, is_ok, is_allowed", [(5.0, True, True), (25.0, True, False), (5.0, False, False)]
)
def test_start_in_silence_needs_a_check_begun_in_silence_that_succeeded(
    heard_at: float, is_ok: bool, is_allowed: bool
) -> None:
    """Heard last at 5 or 25, timeout 10, check-up begun at 30 and ended well or not."""
    watch = _watch()
    watch.observe(Heard(heard_at, "deb1", _beat(7, S.STARTED)))
    _announce(watch, 26.0)
    _check(watch, 30.0, 31.0, is_ok)
    if is_allowed:
        _start(watch, 31.0)
    else:
        with pytest.raises(InvariantBroken, match="^S2"):
            _start(watch, 31.0)


@pytest.mark.parametrize(
    "forged_at, heard_at, is_allowed",
    [
        (12.0, (25.0,), True),
        (None, (25.0,), False),
        (12.0, (25.0, 26.0), False),
        (1.0, (2.0, 7.0, 13.0, 25.0), False),
        (12.0, (13.0, 25.0), True),
    ],
    ids=["alone", "nothing forged", "two beats", "believed again", "too few before"],
)
def test_lone_beat_is_no_sign_of_life_while_a_forged_one_may_be_believed(
    forged_at: float | None, heard_at: tuple[float, ...], is_allowed: bool
) -> None:
    """The exception of S2 without a key: check-up begun at 30, timeout 10, last beat of the true
    peer at 25 or 26.
    """
    watch = _watch()
    if forged_at is not None:
        watch.observe(Forged(forged_at, "deb1"))
    for number, at in enumerate(heard_at):
        watch.observe(Heard(at, "deb1", _beat(7 + number, S.STARTED)))
    _announce(watch, 28.0)
    _check(watch, 30.0, 31.0)
    if is_allowed:
        _start(watch, 31.0)
    else:
        with pytest.raises(InvariantBroken, match="^S2"):
            _start(watch, 31.0)


@pytest.mark.parametrize(
    "announced_at, is_lie, is_broken",
    [(15.0, True, False), (15.0, False, True), (28.0, True, True), (28.0, False, True)],
)
def test_goodbye_excuses_a_second_copy_only_as_silence_does(
    announced_at: float, is_lie: bool, is_broken: bool
) -> None:
    """deb2 said goodbye, came back unheard and runs the service: with /bin/true nothing helps, once
    that was long ago.
    """
    watch = _watch()
    watch.observe(Heard(announced_at, "deb1", _beat(7, S.STOPPED, Ack(OWN, 1), Goodbye.LEFT)))
    watch.observe(ScriptEnded(29.0, "deb2", "web", ScriptKind.START, True, is_running=True))
    _announce(watch, 29.5)
    _check(watch, 29.5, 30.0, is_lie=is_lie)
    if is_broken:
        with pytest.raises(InvariantBroken, match="^S1"):
            _start(watch, 30.0)
    else:
        _start(watch, 30.0)


def test_second_copy_breaks_s1_unless_the_check_lied_or_an_operator_forced_it() -> None:
    """deb2 runs the service and falls silent.

    Deb1 starts it after a check-up that was honest, lied, or was not needed.
    """
    for is_lie, is_forced in ((False, False), (True, False), (False, True)):
        watch = _watch()
        watch.observe(
            Heard(1.0, "deb2", Beat("deb1", OWN, 1, None, {"web": S.STOPPED}, Goodbye.NONE))
        )
        watch.observe(ScriptEnded(1.0, "deb2", "web", ScriptKind.START, True, is_running=True))
        if is_forced:
            watch.observe(Ordered(2.0, "deb2", "web", Command.FORCE_STOP))
        _announce(watch, 26.0)
        _check(watch, 30.0, 31.0, is_lie=is_lie)
        if is_lie or is_forced:
            _start(watch, 31.0)
        else:
            with pytest.raises(InvariantBroken, match="^S1"):
                _start(watch, 31.0)
    watch = _watch()
    watch.observe(ScriptEnded(1.0, "deb2", "web", ScriptKind.START, True, is_running=True))
    watch.observe(NodeLost(2.0, "deb2"))
    _check(watch, 30.0, 31.0)
    _start(watch, 31.0)


def test_service_reported_out_while_it_runs_breaks_s1() -> None:
    """STOPPED is announced although the stop script left the service running."""
    watch = _watch()
    watch.observe(ScriptEnded(1.0, "deb1", "web", ScriptKind.STOP, True, is_running=True))
    with pytest.raises(InvariantBroken, match="^S1"):
        watch.observe(Announced(1.0, "deb1", Beat("deb1", OWN, 5, None, {"web": S.STOPPED})))


def test_service_started_by_hand_is_excused_until_a_daemon_begins_and_asks() -> None:
    """Announced to be out by the daemon beside which it was started.

    By the next one, only if the wrapper gives no answer.
    """
    announced = Announced(2.0, "deb1", Beat("deb1", OWN, 5, None, {"web": S.STOPPED}))
    watch = _watch()
    watch.observe(StartedByHand(1.0, "deb1", "web"))
    watch.observe(announced)
    watch.observe(DaemonBegan(3.0, "deb1", OWN, {"web": S.STOPPED}))
    watch.observe(
        ScriptEnded(4.0, "deb1", "web", ScriptKind.PROBE, False, is_running=True, is_unsure=True)
    )
    watch.observe(announced)
    watch.observe(ScriptEnded(5.0, "deb1", "web", ScriptKind.PROBE, False, is_running=True))
    with pytest.raises(InvariantBroken, match="^S1"):
        watch.observe(announced)


def test_service_found_up_may_leave_frozen_stop_for_frozen_start_only_where_it_runs() -> None:
    """It was not ordered: where it does not run, S3 is broken."""
    watch = _watch(S.FROZEN_STOP)
    watch.observe(StartedByHand(1.0, "deb1", "web"))
    watch.observe(Moved(2.0, "deb1", "web", S.FROZEN_START))
    watch = _watch(S.FROZEN_STOP)
    with pytest.raises(InvariantBroken, match="^S3"):
        watch.observe(Moved(2.0, "deb1", "web", S.FROZEN_START))


def test_frozen_service_that_moves_without_an_order_breaks_s3() -> None:
    """FROZEN_STOP is left by itself, by an order, by a restart that forgot it, or a script runs in
    it.
    """
    watch = _watch(S.FROZEN_STOP)
    with pytest.raises(InvariantBroken, match="^S3"):
        watch.observe(Moved(1.0, "deb1", "web", S.STOPPED))
    watch = _watch(S.FROZEN_STOP)
    watch.observe(Ordered(1.0, "deb1", "web", Command.UNFREEZE))
    watch.observe(Moved(1.0, "deb1", "web", S.STOPPED))
    watch = _watch(S.FROZEN_STOP)
    with pytest.raises(InvariantBroken, match="^S3"):
        watch.observe(ScriptBegan(1.0, "deb1", "web", ScriptKind.STOP))
    watch = _watch(S.FROZEN_STOP)
    with pytest.raises(InvariantBroken, match="^S3"):
        watch.observe(DaemonBegan(1.0, "deb1", BootId(2, 12), {"web": S.STOPPED}))


def test_order_to_unfreeze_that_is_in_the_log_alone_may_count_after_the_end_of_the_node() -> None:
    """Once: the next daemon has frozen it, or has not, and nothing else may unfreeze it."""
    watch = _watch(S.FROZEN_STOP)
    watch.observe(Ordered(1.0, "deb1", "web", Command.UNFREEZE))
    watch.observe(Logged(1.0, "deb1", "web", S.STOPPED))
    watch.observe(NodeLost(2.0, "deb1"))
    watch.observe(DaemonBegan(3.0, "deb1", BootId(2, 12), {"web": S.FROZEN_STOP}))
    with pytest.raises(InvariantBroken, match="^S3"):
        watch.observe(DaemonBegan(4.0, "deb1", BootId(3, 13), {"web": S.STOPPED}))
    watch = _watch(S.FROZEN_STOP)
    watch.observe(Ordered(1.0, "deb1", "web", Command.UNFREEZE))
    watch.observe(Logged(1.0, "deb1", "web", S.STOPPED))
    watch.observe(NodeLost(2.0, "deb1"))
    watch.observe(DaemonBegan(3.0, "deb1", BootId(2, 12), {"web": S.STOPPED}))
    watch = _watch(S.FROZEN_STOP)
    watch.observe(Ordered(1.0, "deb1", "web", Command.FREEZE_STOP))
    watch.observe(Logged(1.0, "deb1", "web", S.FROZEN_STOP))
    watch.observe(NodeLost(2.0, "deb1"))
    with pytest.raises(InvariantBroken, match="^S3"):
        watch.observe(DaemonBegan(3.0, "deb1", BootId(2, 12), {"web": S.STOPPED}))


def test_log_of_states_has_no_frozen_service_unfrozen_without_an_order() -> None:
    """What it has may count after a power cut, as a STATE file does."""
    watch = _watch(S.FROZEN_STOP)
    with pytest.raises(InvariantBroken, match="^S3"):
        watch.observe(Logged(1.0, "deb1", "web", S.STOPPED))


def test_service_that_never_settles_breaks_l2_and_a_new_fault_counts_again() -> None:
    """One transition more than allowed without any fault.

    With one in between it is none too many.
    """
    for is_disturbed in (False, True):
        watch = _watch()
        for number in range(SETTLE_MOVES):
            watch.observe(
                Moved(float(number), "deb1", "web", S.START_READY if number % 2 == 0 else S.STOPPED)
            )
        if is_disturbed:
            watch.observe(Disturbed())
            watch.observe(Moved(99.0, "deb1", "web", S.START_READY))
        else:
            with pytest.raises(InvariantBroken, match="^L2"):
                watch.observe(Moved(99.0, "deb1", "web", S.START_READY))


def test_willing_node_without_the_service_breaks_l1() -> None:
    """STOPPED on both: L1. Kept by a frozen or failed copy, or started: none."""
    watch = _watch()
    with pytest.raises(InvariantBroken, match="^L1"):
        watch.check_liveness("web", ["deb1", "deb2"])
    for state in (S.STARTED, S.START_FAILED, S.FROZEN_START):
        watch = _watch()
        watch.observe(Moved(1.0, "deb1", "web", state))
        if state is S.STARTED:
            with pytest.raises(InvariantBroken, match="^L1.*nothing runs"):
                watch.check_claims("web")
            watch.observe(ScriptEnded(1.0, "deb1", "web", ScriptKind.START, True, is_running=True))
        watch.check_liveness("web", ["deb1", "deb2"])
    _watch(S.FROZEN_STOP).check_liveness("web", ["deb1", "deb2"])


def test_table_of_promises_in_the_docs_is_that_of_the_code() -> None:
    """Each promise of the checker is a row, in the same words; and there is no other."""
    text = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([SL][0-9]+) \| (.*) \|$", text, re.MULTILINE)
    assert rows == [(promise.name, promise.text) for promise in PROMISES]
