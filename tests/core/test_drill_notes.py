"""The drill of a takeover in the engine: one node plays dead, the other one holds fences back."""

from __future__ import annotations

import pytest

from opensvc_openha.core.actions import AnswerCode
from opensvc_openha.core.events import (
    Command,
    DrillOrder,
    DrillOrdered,
    Leaving,
    PeerConfirmedOut,
    RecoveredState,
)
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.timing import (
    DRILL_DEAD_MAX_S,
    DRILL_HOLD_MORE_S,
    DRILL_SPEAK_EARLIER_S,
    DRILL_WORD_PART,
    TURN_DRIFT,
)
from opensvc_openha.verify.invariants import Confirmed
from tests.core.fences import OUT_S, Fences
from tests.core.leases import LeasePair
from tests.core.pair import TIMEOUT_S, Host, Pair
from tests.core.plans import IPMI, PlanPair

DEAD_S = 60.0
HELD_S = DEAD_S * (1.0 + TURN_DRIFT) + DRILL_HOLD_MORE_S
HEARD_S = 0.5
"""The peer has heard by then that fences are held back."""
HOLD, DEAD, SPEAK = DrillOrder.HOLD_FENCES, DrillOrder.PLAY_DEAD, DrillOrder.SPEAK
WORD = DrillOrder.PEER_STOPPED


def order(host: Host, what: DrillOrder, seconds: float = 0.0) -> str:
    """Gives an order; returns why it is refused."""
    host.handle(host.life, DrillOrdered(9, what, seconds, who="the drill"))
    answer = host.answers[-1]
    assert answer.is_last and answer.is_ok is (answer.code is AnswerCode.CONFIRMED)
    return "" if answer.is_ok else answer.detail


def drill_of(host: Host) -> str:
    assert host.engine is not None
    return host.engine.snapshot(host.pair.now).drill


def words(host: Host) -> list[str]:
    return [record.new for record in host.records if record.reason.startswith("drill: ")]


def begin(pair: Pair, dead_s: float = DEAD_S) -> tuple[Host, Host]:
    """deb2 holds its fences back, deb1 plays dead and stops the service."""
    assert order(pair.deb2, HOLD, dead_s) == ""
    pair.run(HEARD_S)
    assert order(pair.deb1, DEAD, dead_s) == ""
    pair.deb1.command(Command.FREEZE_STOP)
    return pair.deb1, pair.deb2


def fenced_pair() -> Fences:
    pair = Fences(names=("registry",))
    pair.start_one()
    assert pair.state("deb1") is S.STARTED and pair.state("deb2") is S.STOPPED
    return pair


def test_takeover_from_a_node_that_plays_dead_shoots_nobody() -> None:
    """Silence, START_READY, and no fence however long that lasts; the word starts the service at
    once. The other node speaks again when its time is over, and is the standby.
    """
    pair = fenced_pair()
    deb1, deb2 = begin(pair)
    pair.run(OUT_S + 20)
    assert pair.state("deb2") is S.START_READY and pair.checks() == []
    assert "holds its fences back" in drill_of(deb2) and "play dead" in drill_of(deb1)
    assert pair.state("deb1") is S.FROZEN_STOP and "registry" not in deb1.running
    assert order(deb2, WORD) == ""
    pair.run(3)
    assert pair.state("deb2") is S.STARTED
    pair.run(DEAD_S)
    assert drill_of(deb1) == "" and deb2.service().peer_state is S.FROZEN_STOP
    assert order(deb2, DrillOrder.END_HOLD) == ""
    pair.run(2)
    assert drill_of(deb2) == ""
    deb1.command(Command.UNFREEZE)
    pair.run(10)
    assert (deb1.shown, pair.checks(), pair.alive()) == (
        ("STOPPED", "STARTED"), [], {"deb1", "deb2"},
    )  # fmt: skip
    assert words(deb1) == ["PLAYS DEAD", "DRILL OVER"]
    assert words(deb2) == ["HOLDS ITS FENCES", "DRILL OVER"]


def test_without_a_word_the_other_node_starts_it_once_it_hears_that_it_is_stopped() -> None:
    """A drill that is killed in the middle leaves the service up, and no node shot."""
    pair = fenced_pair()
    begin(pair)
    pair.run(DEAD_S - 1)
    assert pair.starts()[-1][1] == "deb1" and pair.state("deb2") is S.START_READY
    pair.run(10)
    assert pair.state("deb2") is S.STARTED and pair.checks() == []
    pair.run(HELD_S)
    assert pair.alive() == {"deb1", "deb2"} and drill_of(pair.deb2) == ""
    assert words(pair.deb2) == ["HOLDS ITS FENCES", "DRILL OVER"]


@pytest.mark.parametrize("check", ["/etc/fence", "/bin/true"])
def test_nothing_starts_beside_a_silence_while_fences_are_held_back(check: str) -> None:
    """Also not what nothing proves, as with /bin/true; then as ever."""
    pair = fenced_pair() if check == "/etc/fence" else Pair()
    if check == "/bin/true":
        pair.start_on_deb1()
    assert order(pair.deb2, HOLD, DEAD_S) == ""
    pair.deb1.crash()
    pair.run(HELD_S - 1)
    assert [node for _, node in pair.starts()] == ["deb1"]
    assert not [kind for _, node, kind, _ in pair.scripts if (node, kind) == ("deb2", "check")]
    pair.run(15)
    assert pair.deb2.state == "STARTED"


def test_no_two_copies_whatever_is_ordered_while_a_node_plays_dead() -> None:
    """With a check-up script that proves nothing, watched by the invariants: what could start the
    service there is refused until it speaks; that it was stopped is what the word says.
    """
    pair = Pair()
    pair.start_on_deb1()
    deb1, deb2 = begin(pair)
    pair.run(5)
    for command in (Command.START, Command.UNFREEZE, Command.FORCE_START):
        answer = deb1.last_answer(deb1.command(command))
        assert answer is not None and answer.is_refused and "play dead" in answer.detail
    pair.run(TIMEOUT_S + 5)
    pair.observe(Confirmed(pair.now, "deb2"))
    assert order(deb2, WORD) == ""
    pair.run(5)
    assert deb2.state == "STARTED" and not pair.both_run()
    assert order(deb1, SPEAK) == ""
    deb1.command(Command.UNFREEZE)
    pair.run(20)
    assert (deb1.state, deb2.state) == ("STOPPED", "STARTED") and not pair.both_run()


@pytest.mark.parametrize("how", ["restart", "leave", "cut"])
def test_node_speaks_again_as_soon_as_nobody_holds_back_fences(how: str) -> None:
    """The other daemon is started again, leaves, or is not heard any more."""
    pair = fenced_pair()
    deb1, deb2 = begin(pair, 120.0)
    pair.run(5)
    if how == "restart":
        deb2.end_daemon()
        pair.run(1)
        deb2.boot({"registry": RecoveredState(S.STOPPED)}, counter=7)
    elif how == "leave":
        deb2.leave(Leaving.STOP_SERVICES)
    else:
        pair.cut_all("deb2")
    pair.run(TIMEOUT_S + 1 if how == "cut" else 2)
    assert drill_of(deb1) == "" and words(deb1) == ["PLAYS DEAD", "DRILL OVER"]
    pair.heal()
    pair.run(OUT_S + 10)
    assert pair.checks() == [] and pair.alive() >= {"deb1"}


def test_own_end_is_announced_by_a_node_that_plays_dead() -> None:
    """An orderly stop of its daemon ends the play: the other node hears the goodbye."""
    pair = fenced_pair()
    deb1, deb2 = begin(pair)
    pair.run(3)
    deb1.leave(Leaving.STOP_SERVICES)
    pair.run(3)
    assert deb2.state == "STARTED" and pair.checks() == []


def test_what_is_refused() -> None:
    """Beside a peer that is not heard, while a script runs, twice, too late, and where a watchdog
    would take part.
    """
    pair = fenced_pair()
    deb1, deb2 = pair.deb1, pair.deb2
    for seconds in (0.0, -1.0, DRILL_DEAD_MAX_S + 1):
        assert (
            order(deb2, HOLD, seconds)
            == order(deb1, DEAD, seconds)
            == "a drill takes at most 300 s"
        )
    deb2.handle(deb2.life, DrillOrdered(9, HOLD, DEAD_S, at_latest=pair.now - 1))
    assert deb2.answers[-1].detail == "it came too late" and drill_of(deb2) == ""
    assert "no drill holds fences back here" in order(deb2, WORD)
    assert order(deb1, DEAD, DEAD_S) == "deb2 does not report that it holds its fences back"
    deb1.command(Command.FREEZE_STOP)
    assert order(deb1, DEAD, DEAD_S) == "a script of a service runs"
    pair.run(10)
    assert order(deb2, HOLD, DEAD_S) == ""
    pair.run(HEARD_S)
    assert order(deb1, DEAD, HELD_S) == "deb2 does not hold its fences back so long"
    assert order(deb1, DEAD, DEAD_S) == ""
    assert order(deb1, DEAD, DEAD_S) == "it plays dead already"
    assert order(deb1, SPEAK) == "" == order(deb1, SPEAK)
    pair.cut_all()
    pair.run(TIMEOUT_S + 1)
    for host, peer in ((deb1, "deb2"), (deb2, "deb1")):
        for what in (HOLD, DrillOrder.END_HOLD, DEAD):
            assert order(host, what, DEAD_S) == f"{peer} is silent"

    leased = LeasePair()
    leased.boot()
    leased.run(5)
    for what in (HOLD, DEAD):
        assert "a watchdog resets" in order(leased.deb1, what, DEAD_S)
    alone = Pair()
    alone.deb1.boot()
    assert order(alone.deb1, HOLD, DEAD_S) == "deb2 is unheard"
    leaving = fenced_pair()
    leaving.deb1.command(Command.FREEZE_STOP)
    leaving.deb1.leave(Leaving.STOP_SERVICES)
    assert order(leaving.deb1, DEAD, DEAD_S) == "its daemon is leaving"


def test_drills_begun_on_both_nodes_at_once_stop_neither_node() -> None:
    """Both hold their fences back: then neither plays dead, and the service is not stopped."""
    pair = fenced_pair()
    deb1, deb2 = pair.deb1, pair.deb2
    for host in (deb1, deb2):
        assert order(host, HOLD, DEAD_S) == ""
    for host in (deb1, deb2):
        assert order(host, DEAD, DEAD_S) == "it holds its fences back, for its own drill"
    pair.run(TIMEOUT_S + 5)
    assert (pair.state("deb1"), pair.state("deb2")) == (S.STARTED, S.STOPPED)
    for host in (deb1, deb2):
        assert order(host, DrillOrder.END_HOLD) == ""
    pair.run(5)
    assert drill_of(deb1) == "" == drill_of(deb2)


def test_word_is_not_taken_once_the_other_node_may_speak_again() -> None:
    """Nor believed from then on for what was not begun: that node may start something unheard."""
    pair = fenced_pair()
    pair.deb2.command(Command.FREEZE_STOP)
    pair.run(2)
    deb1, deb2 = begin(pair)
    pair.run(DEAD_S * DRILL_WORD_PART - 1)
    assert order(deb2, WORD) == ""
    assert pair.starts()[-1][1] == "deb1"
    pair.cut_all()
    pair.run(2)
    assert deb2.engine is not None and not deb2.engine.snapshot(pair.now).fencing.confirmed_by
    assert "its time is over" in order(deb2, WORD)
    deb2.command(Command.UNFREEZE)
    pair.run(HELD_S - DEAD_S * DRILL_WORD_PART - 5)
    assert pair.state("deb2") is S.START_READY and pair.alive() == {"deb1", "deb2"}
    pair.run(40)
    assert pair.fenced and pair.state("deb2") is S.STARTED


def test_word_is_refused_while_the_other_node_is_heard() -> None:
    """It has not fallen silent, or speaks again."""
    pair = fenced_pair()
    assert order(pair.deb2, HOLD, DEAD_S) == ""
    assert order(pair.deb2, WORD).startswith("deb1 is live")


def test_no_step_of_a_fence_plan_is_taken_while_fences_are_held_back() -> None:
    """Neither for a new round nor for its next level; then at once."""
    pair = PlanPair((IPMI,))
    pair.start_both()
    assert order(pair.deb2, HOLD, DEAD_S) == ""
    pair.deb1.crash()
    pair.run(HELD_S - 1)
    assert pair.steps == [] and pair.state("deb2") is S.START_READY
    pair.run(10)
    assert pair.order_of_steps("deb2") == ["ipmi"] and pair.state("deb2") is S.STARTED


def test_drill_shoots_nobody_whose_other_daemon_was_started_again_before_it() -> None:
    """The next daemon holds nothing back, and reports nothing."""
    pair = fenced_pair()
    assert order(pair.deb2, HOLD, DEAD_S) == ""
    pair.run(HEARD_S)
    pair.deb2.end_daemon()
    pair.deb2.boot_from_files()
    pair.run(2)
    assert order(pair.deb1, DEAD, DEAD_S) == "deb2 does not report that it holds its fences back"
    pair.run(40)
    assert pair.alive() == {"deb1", "deb2"} and pair.checks() == []


def test_drill_shoots_nobody_whose_hold_ends_before_the_other_node_is_heard_again() -> None:
    """The end of a hold is reported, and comes only with a beat of the node that played dead."""
    pair = fenced_pair()
    deb1, deb2 = begin(pair)
    pair.run(3)
    assert order(deb2, DrillOrder.END_HOLD) == "" and "holds its fences" in drill_of(deb2)
    pair.run(2)
    assert drill_of(deb1) == drill_of(deb2) == ""
    assert words(deb1) == ["PLAYS DEAD", "DRILL OVER"]
    pair.run(40)
    assert pair.alive() == {"deb1", "deb2"} and pair.checks() == []


def test_hold_is_not_over_while_its_end_is_not_heard() -> None:
    """Its own time ends it; a beat that was there before is none of a node that speaks again."""
    pair = fenced_pair()
    deb1, deb2 = begin(pair)
    pair.run(3)
    pair.cut_all()
    assert order(deb2, DrillOrder.END_HOLD) == ""
    pair.run(HELD_S - 5)
    assert "holds its fences" in drill_of(deb2) and pair.checks() == []
    assert drill_of(deb1) == ""


def test_drill_shoots_nobody_who_plays_dead_too_late() -> None:
    """The hold would end first: by its own time, or in another order of things."""
    pair = fenced_pair()
    assert order(pair.deb2, HOLD, DEAD_S) == ""
    pair.run(45)
    assert order(pair.deb1, DEAD, DEAD_S) == "deb2 does not hold its fences back so long"
    pair.run(70)
    assert pair.alive() == {"deb1", "deb2"} and pair.checks() == []


def test_node_speaks_before_the_end_of_a_hold_that_became_shorter() -> None:
    """A second, shorter hold takes the place of the first."""
    pair = fenced_pair()
    deb1, deb2 = begin(pair, 120.0)
    pair.run(3)
    assert order(deb2, HOLD, 1.0) == ""
    pair.run(1 + DRILL_HOLD_MORE_S - DRILL_SPEAK_EARLIER_S + 2)
    assert drill_of(deb1) == "" and "holds its fences" in drill_of(deb2)
    pair.run(40)
    assert pair.alive() == {"deb1", "deb2"} and pair.checks() == []


@pytest.mark.parametrize("is_after_word", [True, False])
def test_what_an_operator_confirms_outlives_the_drill(is_after_word: bool) -> None:
    """The other node died in it: what is started later waits for no fence."""
    pair = fenced_pair()
    deb2 = pair.deb2
    deb2.command(Command.FREEZE_STOP)
    pair.run(2)
    assert order(deb2, HOLD, DEAD_S) == ""
    pair.deb1.crash()
    pair.run(TIMEOUT_S + 5)
    if is_after_word:
        assert order(deb2, WORD) == ""
    deb2.handle(deb2.life, PeerConfirmedOut(5, "operator"))
    assert "its time is over" in order(deb2, WORD)
    pair.run(DEAD_S)
    assert deb2.engine is not None
    assert deb2.engine.snapshot(pair.now).fencing.confirmed_by == "operator"
    deb2.command(Command.UNFREEZE)
    pair.run(3)
    assert pair.state("deb2") is S.STARTED and pair.checks() == []
