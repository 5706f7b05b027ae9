"""A node that none of its targets answers: what it does not do, what it hands over, and when."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import cast

import pytest

from opensvc_openha.core.connectivity import OwnConnectivity
from opensvc_openha.core.events import (
    Command,
    Leaving,
    PeerConfirmedOut,
    PingResult,
    ReadinessFound,
    TargetLook,
    TargetsAsked,
)
from opensvc_openha.core.facts import Connectivity, Facts, Reach
from opensvc_openha.core.model import ClusterSpec, ConnectivityPolicy, Policy, Profile, Role
from opensvc_openha.core.peer_view import Evidence, PeerView
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import (
    ISOLATED_HOLD_S,
    PEER_ANSWERS,
    PING_ANSWERS,
    PING_MISSES,
    PING_SLACK_S,
)
from opensvc_openha.core.transitions import Situation, Trigger, find_row
from opensvc_openha.formats.facts_block import pack_facts, unpack_facts
from opensvc_openha.verify.invariants import Confirmed
from tests.core.pair import Host
from tests.core.plans import IPMI
from tests.core.promised_pair import LEASE
from tests.core.reach import GATEWAYS, ReachPair, ReachPlanPair, is_isolated, reach_of

LONG_S = 60.0
VERDICT_S = (PING_MISSES + 1) * GATEWAYS.period_s
SPEC = ClusterSpec("deb1", "deb2", (), (), connectivity=GATEWAYS)
ANSWERED, MISSED, UNABLE = PingResult.ANSWERED, PingResult.MISSED, PingResult.UNABLE


def _words(host: Host) -> list[str]:
    words = ("ISOLATED", "REACHABLE", "CONNECTIVITY UNKNOWN")
    return [record.new for record in host.records if record.new in words]


# --- the verdict --------------------------------------------------------------------------------


class Rounds:
    """The rounds of one node, a second apart."""

    def __init__(self, policy: ConnectivityPolicy = GATEWAYS) -> None:
        self.own = OwnConnectivity(replace(SPEC, connectivity=policy), 100.0)
        self.now = 100.0
        self.policy = policy

    def ask(self, *results: PingResult, count: int = 1) -> Reach:
        """Let some rounds end so."""
        results = results if len(results) > 1 else results * len(self.policy.targets)
        for _ in range(count):
            began_at, self.now = self.now, self.now + 1.0
            looks = tuple(map(TargetLook, self.policy.targets, results))
            self.own.record(TargetsAsked(began_at, looks), self.now, 1)
            self.own.advance(self.now)
        return self.own.reach


def test_node_is_isolated_after_several_rounds_without_any_answer() -> None:
    """One target that answers is enough, and one answer takes the misses back."""
    rounds = Rounds()
    assert rounds.own.reach is Reach.UNKNOWN
    assert rounds.ask(ANSWERED) is Reach.REACHABLE
    assert rounds.ask(MISSED, ANSWERED, count=9) is Reach.REACHABLE
    assert rounds.ask(MISSED, count=PING_MISSES - 1) is Reach.REACHABLE
    rounds.ask(ANSWERED)
    assert rounds.ask(MISSED, count=PING_MISSES - 1) is Reach.REACHABLE
    assert rounds.ask(MISSED) is Reach.ISOLATED


def test_isolated_node_needs_several_answers_in_a_row() -> None:
    """A gateway that answers now and then makes no node reachable."""
    rounds = Rounds()
    rounds.ask(MISSED, count=PING_MISSES)
    for _ in range(4):
        rounds.ask(ANSWERED, count=PING_ANSWERS - 1)
        assert rounds.ask(MISSED) is Reach.ISOLATED
    assert rounds.ask(ANSWERED, count=PING_ANSWERS) is Reach.REACHABLE


def test_what_could_not_be_asked_is_no_miss() -> None:
    """Of one target nothing is known: the node is not isolated, and soon nothing is known."""
    rounds = Rounds()
    rounds.ask(ANSWERED)
    rounds.ask(MISSED, count=PING_MISSES - 1)
    assert rounds.ask(UNABLE, MISSED, count=PING_MISSES - 1) is Reach.REACHABLE
    assert rounds.ask(UNABLE, MISSED) is Reach.UNKNOWN
    assert rounds.ask(MISSED, count=PING_MISSES - 1) is Reach.UNKNOWN
    assert rounds.ask(MISSED) is Reach.ISOLATED
    assert rounds.ask(UNABLE, count=PING_MISSES) is Reach.UNKNOWN
    assert rounds.ask(ANSWERED) is Reach.REACHABLE


def test_rounds_that_fail_to_come_are_no_verdict() -> None:
    """Whatever asks may hang: nothing is known then, of an isolated node either."""
    for known in (ANSWERED, MISSED):
        rounds = Rounds()
        rounds.ask(known, count=PING_MISSES)
        last = rounds.now + (PING_MISSES + 1) * GATEWAYS.period_s + PING_SLACK_S
        assert not rounds.own.advance(last - 0.01)
        (record,) = rounds.own.advance(last)
        assert rounds.own.reach is Reach.UNKNOWN and "nothing asks" in record.reason
        assert not rounds.own.advance(last + LONG_S)


def test_stall_of_the_node_voids_its_misses() -> None:
    """Also of a round that had begun before it."""
    rounds = Rounds()
    rounds.ask(ANSWERED)
    rounds.ask(MISSED, count=PING_MISSES - 1)
    rounds.own.restart(rounds.now + 0.5)
    assert rounds.ask(MISSED, count=PING_MISSES) is Reach.REACHABLE
    assert rounds.ask(MISSED) is Reach.ISOLATED


def test_rounds_of_other_targets_count_for_nothing() -> None:
    """The configuration was edited while they were asked."""
    rounds = Rounds()
    looks = (TargetLook("192.0.2.9", MISSED),)
    for number in range(9):
        assert not rounds.own.record(TargetsAsked(100.0 + number, looks), 101.0 + number, 1)
    assert rounds.own.reach is Reach.UNKNOWN


@pytest.mark.parametrize("reach", list(Reach))
def test_beats_carry_it(reach: Reach) -> None:
    """A later version may know more words: nothing follows of them."""
    facts = Facts(connectivity=Connectivity(reach, 2**40))
    packed = pack_facts(facts, ())
    found = unpack_facts(packed, 0).resolve({})
    assert found.connectivity == Connectivity(reach, 2**32 - 1)
    later = packed[:-5] + b"\x09" + packed[-4:]
    known = unpack_facts(later, 0).facts.connectivity
    assert known is not None and known.reach is Reach.UNKNOWN
    assert unpack_facts(pack_facts(Facts(), ()), 0).facts.connectivity is None


@dataclass
class Seen:
    """What a node sees of its peer, as far as its targets are concerned."""

    reach: Reach = Reach.REACHABLE
    answers: int = 10
    facts_acked_seq: int = 9
    facts_at: float = 0.0
    standing: PeerStanding = PeerStanding.LIVE
    hears_this_node: bool = True
    silent_since: float | None = None

    @property
    def facts(self) -> Facts:
        """What its beats report."""
        return Facts(connectivity=Connectivity(self.reach, self.answers))


def _is_handed_over(rounds: Rounds, seen: Seen, answers: int = 1, count: int = 9) -> bool:
    """Return whether an isolated node hands over in the course of some rounds."""
    for _ in range(count):
        rounds.ask(MISSED)
        seen.answers, seen.facts_at = seen.answers + answers, rounds.now
        view = cast(PeerView, seen)
        rounds.own.observe(view, rounds.now)
        if rounds.own.sight(view, rounds.now).is_peer_reachable:
            return True
    return False


@pytest.mark.parametrize(
    ("seen", "answers"),
    [
        (Seen(), 0),
        (Seen(reach=Reach.UNKNOWN), 1),
        (Seen(reach=Reach.ISOLATED), 1),
        (Seen(facts_acked_seq=0), 1),
        (Seen(hears_this_node=False), 1),
        (Seen(standing=PeerStanding.UNKNOWN), 1),
    ],
)
def test_peer_must_be_answered_know_of_it_and_say_so(seen: Seen, answers: int) -> None:
    """Answers that are new, of a peer that is reachable and has heard that this node is not."""
    rounds = Rounds()
    rounds.ask(MISSED, count=PING_MISSES)
    assert not _is_handed_over(rounds, seen, answers)
    assert _is_handed_over(rounds, Seen())


def test_rounds_from_before_an_answer_to_the_peer_are_none() -> None:
    """The gateway may be back: this node has to miss it once more than the peer was answered."""
    rounds, seen = Rounds(), Seen()
    rounds.ask(MISSED, count=PING_MISSES)
    assert not _is_handed_over(rounds, seen, 1, PEER_ANSWERS + PING_MISSES)
    assert _is_handed_over(rounds, seen, 1, 1)


def test_answer_is_not_awaited_for_ever() -> None:
    """Rounds that are open again and again are neither an isolation nor its absence."""
    rounds = Rounds()
    view = cast(PeerView, Seen(silent_since=100.0))
    for _ in range(PING_MISSES):
        rounds.ask(UNABLE, MISSED)
        rounds.ask(MISSED)
        is_open = rounds.own.sight(view, rounds.now).is_open
        assert is_open == (rounds.now < 100.0 + VERDICT_S + PING_SLACK_S)


# --- beside a silent peer -----------------------------------------------------------------------


def test_isolated_node_fences_nobody_and_the_other_one_takes_over() -> None:
    """All of deb1 is cut, its heartbeats with it: deb2 fences, whichever node would be first."""
    pair = ReachPair(policy=Policy(is_defended=True))
    pair.fence_time_s = 3.0
    deb1, deb2 = pair.start_on_deb1()
    pair.cut_all()
    pair.uplinks.cut("deb1")
    pair.run(LONG_S)
    assert pair.ran("deb1", "check") == 0 and deb1.state == "STARTED"
    assert pair.ran("deb2", "check") == 1 and deb2.state == "STARTED"


def test_isolated_standby_starts_nothing_beside_a_silent_peer() -> None:
    """It stays STOPPED with the reason; once it is answered again it takes over."""
    pair = ReachPair()
    deb1, deb2 = pair.start_on_deb1()
    pair.uplinks.cut("deb2")
    pair.run(VERDICT_S)
    assert is_isolated(deb2) and not is_isolated(deb1)
    deb1.crash()
    pair.run(LONG_S)
    assert deb2.state == "STOPPED" and pair.ran("deb2", "check") == 0
    reason = "not taken over: isolated, none of 192.0.2.1, 192.0.2.2 answers"
    assert reason in deb2.service().reason
    number = deb2.command(Command.START)
    answer = deb2.last_answer(number)
    assert answer is not None and not answer.is_ok and "isolated" in answer.detail
    pair.uplinks.heal("deb2")
    pair.run(VERDICT_S + 15)
    assert deb2.state == "STARTED" and _words(deb2)[-1] == "REACHABLE"


def test_script_that_fences_nobody_is_not_run_by_an_isolated_node_either() -> None:
    """With /bin/true both nodes would run the service."""
    pair = ReachPair(check="/bin/true")
    pair.invariants = None
    deb1, deb2 = pair.start_on_deb1()
    pair.cut_all()
    pair.uplinks.cut("deb2")
    pair.run(LONG_S)
    assert (deb1.state, deb2.state) == ("STARTED", "STOPPED")


def test_word_of_an_operator_starts_what_an_isolated_node_does_not_take_over() -> None:
    """The gateway and the peer are gone: a person knows that, the node cannot."""
    pair = ReachPair()
    deb1, deb2 = pair.start_on_deb1()
    pair.uplinks.cut("deb1", "deb2")
    pair.run(VERDICT_S)
    deb1.crash()
    pair.run(LONG_S)
    assert deb2.state == "STOPPED"
    pair.observe(Confirmed(pair.now, "deb2"))
    deb2.handle(deb2.life, PeerConfirmedOut(7, "operator"))
    pair.run(5)
    assert deb2.state == "STARTED" and pair.ran("deb2", "check") == 0


def test_force_start_works_on_an_isolated_node() -> None:
    """The operator answers for it."""
    pair = ReachPair()
    deb1, deb2 = pair.start_on_deb1()
    pair.uplinks.cut("deb2")
    pair.run(VERDICT_S)
    deb1.crash()
    pair.run(20)
    deb2.command(Command.FORCE_START)
    pair.run(2)
    assert deb2.state == "STARTED"


def test_peer_that_left_in_order_is_taken_over_by_an_isolated_node() -> None:
    """No node is shot, and no other one can run it."""
    pair = ReachPair()
    deb1, deb2 = pair.start_on_deb1()
    pair.uplinks.cut("deb1", "deb2")
    pair.run(VERDICT_S)
    deb1.leave(Leaving.STOP_SERVICES)
    pair.run(10)
    assert deb2.state == "STARTED" and is_isolated(deb2)


def test_services_start_beside_a_live_peer_while_the_gateway_is_away() -> None:
    """Both nodes boot before it does."""
    pair = ReachPair()
    pair.uplinks.cut("deb1", "deb2")
    deb1, deb2 = pair.boot()
    pair.run(VERDICT_S + 2)
    assert is_isolated(deb1) and is_isolated(deb2)
    deb1.command(Command.UNFREEZE)
    pair.run(3)
    deb2.command(Command.UNFREEZE)
    pair.run(LONG_S)
    assert (deb1.state, deb2.state) == ("STARTED", "STOPPED")


@pytest.mark.parametrize("profile", list(Profile))
def test_cut_of_everything_at_once_is_decided_by_an_answer_from_after_it(profile: Profile) -> None:
    """With quick beats the peer is silent long before a node knows that it is isolated."""
    pair = ReachPair(timeout_s=0.3 if profile is Profile.FAST else 2.0, profile=profile)
    deb1, deb2 = pair.start_on_deb1()
    pair.cut_all()
    pair.uplinks.cut("deb2")
    pair.run(LONG_S)
    assert pair.ran("deb2", "check") == 0 and deb2.state == "STOPPED"
    assert deb1.state == "STARTED"


def test_takeover_waits_for_an_answer_but_not_for_ever() -> None:
    """Where nothing asks any more, the node takes over as without targets."""
    pair = ReachPair(timeout_s=0.3, profile=Profile.FAST)
    deb1, deb2 = pair.start_on_deb1()
    pair.uplinks.blind.add("deb2")
    deb1.crash()
    pair.run(2.0)
    assert deb2.state == "START_READY" and "waits for an answer" in deb2.service().reason
    pair.run(VERDICT_S + PING_SLACK_S + 5)
    assert deb2.state == "STARTED" and reach_of(deb2).reach == "not known"


def test_reachable_node_takes_over_as_soon_as_without_targets() -> None:
    """The answer comes within the start-ready delay."""
    taken: list[float] = []
    for pair in (ReachPair(), ReachPair()):
        if taken:
            pair.connectivity.clear()
        deb1, _ = pair.start_on_deb1()
        deb1.crash()
        began = pair.now
        pair.run(LONG_S)
        taken.append(pair.starts()[-1][0] - began)
    assert taken[0] == pytest.approx(taken[1])


def test_fence_under_way_is_not_affected() -> None:
    """It has shot: what it proves is used, though nothing answers the node any more."""
    pair = ReachPair()
    pair.script_s = lambda action: 30.0 if action.kind.value == "check" else 1.0
    deb1, deb2 = pair.start_on_deb1()
    deb1.crash()
    while not pair.ran("deb2", "check"):
        pair.run(0.5)
    pair.uplinks.cut("deb2")
    pair.run(60)
    assert deb2.state == "STARTED" and is_isolated(deb2)


def test_failed_fence_is_not_tried_again_by_an_isolated_node() -> None:
    """The next one would be a new one."""
    pair = ReachPair()
    pair.script_ok = lambda host, action: action.kind.value != "check"
    deb1, deb2 = pair.start_on_deb1()
    deb1.crash()
    while deb2.state != "START_FAILED":
        pair.run(0.5)
    pair.uplinks.cut("deb2")
    pair.run(LONG_S)
    assert pair.ran("deb2", "check") <= 2 and deb2.state == "STOPPED"


# --- fence plans --------------------------------------------------------------------------------


def test_isolated_node_claims_nothing() -> None:
    """Nor does it shoot: no step of its plan begins."""
    pair = ReachPlanPair((IPMI,), has_arbiter=True)
    pair.start_both()
    pair.uplinks.cut("deb2")
    pair.run(VERDICT_S)
    pair.deb1.crash()
    pair.run(LONG_S)
    assert not pair.steps and pair.state("deb2").name == "STOPPED"


def test_isolated_node_starts_nothing_on_a_promise() -> None:
    """The peer has promised to be dead by now: a person decides, or an answer."""
    pair = ReachPlanPair((LEASE,))
    pair.start_both()
    pair.uplinks.cut("deb2")
    pair.run(VERDICT_S)
    pair.deb1.crash()
    pair.run(LONG_S)
    assert pair.state("deb2").name == "STOPPED"


@pytest.mark.parametrize("is_shot", [True, False])
def test_shot_under_way_is_used_after_a_script_of_the_services_own(is_shot: bool) -> None:
    """The node is isolated when its shot has ended; one that has failed is not tried again."""
    pair = ReachPlanPair((IPMI,), check="/etc/need")
    pair.start_both()
    pair.step_s = lambda step: 8.0
    pair.works = {"ipmi"} if is_shot else set()
    pair.cut_all()
    while not pair.steps:
        pair.run(0.5)
    pair.uplinks.cut("deb2")
    pair.run(LONG_S)
    assert is_isolated(pair.deb2) and len(pair.steps) == 1
    assert pair.state("deb2").name == ("STARTED" if is_shot else "STOPPED")
    assert pair.alive() == ({"deb2"} if is_shot else {"deb1", "deb2"})
    assert pair.ran("deb2", "check") == int(is_shot)


def test_wait_for_a_fence_ends_on_an_isolated_node_once_its_round_is_over() -> None:
    """Not while a shot is in the air, nor beside a peer that left in order."""
    for is_round_over, evidence in itertools.product((True, False), Evidence):
        situation = Situation(
            Role.PRIMARY,
            evidence,
            is_fencing=True,
            is_round_over=is_round_over,
            is_check_valid=True,
            is_isolated=True,
        )
        row = find_row(S.STARTING, Trigger.EVALUATE, situation)
        if evidence is Evidence.SILENT:
            assert (None if row is None else row.next) is (S.STOPPED if is_round_over else None)
        else:
            assert row is not None and "isolated" not in row.reason


# --- hand-over ----------------------------------------------------------------------------------


def test_isolated_owner_hands_over_to_a_peer_that_is_answered() -> None:
    """Once, by the usual way: it is stopped here, and the peer starts it."""
    pair = ReachPair()
    deb1, deb2 = pair.start_on_deb1()
    pair.uplinks.cut("deb1")
    pair.run(VERDICT_S + 10)
    assert (deb1.state, deb2.state) == ("STOPPED", "STARTED")
    reasons = [each.reason for each in deb1.records if each.new == "STOPPING"]
    assert len(reasons) == 1 and reasons[0].startswith("isolated, none of 192.0.2.1")
    assert pair.ran("deb2", "check") == 0
    pair.uplinks.heal("deb1")
    pair.run(LONG_S)
    assert (deb1.state, deb2.state) == ("STOPPED", "STARTED")


@pytest.mark.parametrize("lead_s", [0.0, 0.5, 1.2, 2.0, 2.9])
@pytest.mark.parametrize("first", ["deb1", "deb2"])
def test_gateway_that_dies_moves_nothing(first: str, lead_s: float) -> None:
    """Whichever node notices first, and however much earlier."""
    pair = ReachPair()
    deb1, deb2 = pair.start_on_deb1()
    pair.uplinks.cut(first)
    pair.run(lead_s)
    pair.uplinks.cut("deb1", "deb2")
    pair.run(LONG_S)
    assert is_isolated(deb1) and is_isolated(deb2)
    assert (deb1.state, deb2.state) == ("STARTED", "STOPPED")
    assert "deb2 is isolated as well" in reach_of(deb1).text


@pytest.mark.parametrize("back_s", [3.5, 4.5, 5.5])
def test_gateway_that_is_away_for_seconds_moves_nothing(back_s: float) -> None:
    """It answers both nodes again, though one has called itself isolated meanwhile."""
    pair = ReachPair()
    deb1, deb2 = pair.start_on_deb1()
    pair.uplinks.cut("deb1", "deb2")
    pair.run(back_s)
    pair.uplinks.heal("deb1", "deb2")
    pair.run(LONG_S)
    assert (deb1.state, deb2.state) == ("STARTED", "STOPPED")
    assert not is_isolated(deb1) and pair.ran("deb1", "stop") == 0


@pytest.mark.parametrize("why", ["frozen", "unready", "blind", "unasked", "plain"])
def test_service_stays_where_the_peer_would_not_take_it(why: str) -> None:
    """Frozen there, not able to start it, or nothing known of its targets."""
    pair = ReachPair()
    if why == "unasked":
        del pair.connectivity["deb2"]
    deb1, deb2 = pair.start_on_deb1()
    if why == "frozen":
        deb2.command(Command.FREEZE_STOP)
    elif why == "unready":
        deb2.handle(deb2.life, ReadinessFound({"registry": "no script"}))
    elif why == "blind":
        pair.uplinks.blind.add("deb2")
    elif why == "plain":
        deb1.command(Command.FREEZE_START)
    pair.run(15)
    pair.uplinks.cut("deb1")
    pair.run(LONG_S)
    assert pair.ran("deb1", "stop") == 0
    assert deb1.state in ("STARTED", "FROZEN_START")
    assert "this node is isolated, none of" in deb1.service().reason


def test_service_that_the_peer_does_not_take_comes_back_and_stays() -> None:
    """Each isolation is a reason for one hand-over, so that it does not go to and fro."""
    pair = ReachPair()
    deb1, deb2 = pair.start_on_deb1()
    deb2.store.is_full = True  # Its state cannot be written, so that it starts nothing.
    pair.uplinks.cut("deb1")
    pair.run(VERDICT_S + ISOLATED_HOLD_S + LONG_S)
    assert deb1.state == "STARTED" and pair.ran("deb1", "stop") == 1
    assert "not handed over: it was, and is here again" in deb1.service().reason


def test_uplinks_that_fail_in_turn_move_a_service_a_few_times_only() -> None:
    """Within ten minutes; then it stays where it is."""
    pair = ReachPair()
    deb1, deb2 = pair.start_on_deb1()
    for _ in range(5):
        for host in (deb1, deb2):
            pair.uplinks.cut(host.name)
            pair.run(25)
            pair.uplinks.heal(host.name)
            pair.run(5)
    assert pair.ran("deb1", "stop") == pair.ran("deb2", "stop") == 2
    assert (deb1.state, deb2.state) == ("STARTED", "STOPPED")
    pair.uplinks.cut("deb1")
    pair.run(25)
    assert "not handed over: it was 2 times within 10 min" in deb1.service().reason


def test_node_in_doubt_of_its_service_hands_nothing_over() -> None:
    """A stall voids its misses, and what it knew of the peer."""
    pair = ReachPair()
    deb1, _ = pair.start_on_deb1()
    pair.uplinks.cut("deb1")
    pair.run(PING_MISSES)
    deb1.is_stalled = True
    pair.run(6.0)
    stopped = pair.ran("deb1", "stop")
    pair.resume(deb1)
    pair.run(PING_MISSES - 1)
    assert pair.ran("deb1", "stop") == stopped == 0


def test_nothing_changes_without_targets() -> None:
    """No fact in the beats, no status, no warning."""
    pair = ReachPair()
    pair.connectivity.clear()
    deb1, _ = pair.start_on_deb1()
    assert deb1.engine is not None
    status = deb1.engine.snapshot(pair.now)
    assert status.connectivity is None and not status.warnings
    facts = deb1.engine.beat().facts
    assert facts is not None and facts.connectivity is None


def test_what_is_known_is_shown() -> None:
    """Each target with what it did last, the peer, and a warning while the node is isolated."""
    pair = ReachPair()
    deb1, deb2 = pair.start_on_deb1()
    shown = reach_of(deb1)
    assert (shown.reach, shown.peer_reach, shown.text) == ("reachable", "reachable", "")
    assert [(each.address, each.answers) for each in shown.targets] == [
        ("192.0.2.1", True),
        ("192.0.2.2", True),
    ]
    pair.uplinks.cut("deb2")
    pair.run(VERDICT_S)
    assert reach_of(deb1).peer_reach == "isolated"
    assert deb2.engine is not None
    assert deb2.engine.snapshot(pair.now).warnings == (
        "deb2 is isolated: none of 192.0.2.1, 192.0.2.2 answers",
    )
    assert [each.text for each in reach_of(deb2).targets] == ["does not answer"] * 2
