"""Takeovers by the fence plan: one flight for all services, levels, arbiter, ejection, retry."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.actions import StepKind
from opensvc_openha.core.events import (
    Command,
    Ejected,
    Leaving,
    PeerConfirmedOut,
    RecoveredState,
    ScriptKind,
    StepOutcome,
)
from opensvc_openha.core.model import Policy
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.timing import FENCE_RETRY_MAX_S, PROOF_LIFE_S, START_READY_DELAY_S
from opensvc_openha.verify.invariants import Confirmed
from tests.core.pair import TIMEOUT_S
from tests.core.plans import CALL, DISKS, IPMI, OUT_S, PDU, PlanPair

STOPPED_STATE = RecoveredState(S.STOPPED)


def _records(pair: PlanPair, node: str, word: str) -> list[str]:
    host = pair.deb1 if node == "deb1" else pair.deb2
    return [record.reason for record in host.records if record.new == word]


# --- one node lost --------------------------------------------------------------------------------


def test_node_without_power_is_taken_over_by_one_step_for_all_services() -> None:
    """Three services wait, the switch is asked once, and each reason names the proof."""
    pair = PlanPair((IPMI,), names=("registry", "files", "mail"))
    pair.start_both()
    pair.deb1.crash()
    lost_at = pair.now
    pair.run(OUT_S + 4)
    assert pair.order_of_steps("deb2") == ["ipmi"]
    assert pair.state("deb2", "registry") is pair.state("deb2", "mail") is S.STARTED
    assert pair.steps[0][2].services == ("files", "mail", "registry")
    reasons = [record.reason for record in pair.deb2.records if record.new == "STARTING"]
    assert reasons == ["peer is silent: it is fenced"] * 3
    began = [at for at, node in pair.starts() if node == "deb2"]
    assert began == [pytest.approx(lost_at + OUT_S + 1.0, abs=1.1)]
    proof = "power: ipmi off, then OFF twice in 2.3 s"
    assert f"proof NODE: {proof}" in _records(pair, "deb2", "FENCE")[-1]
    shown = pair.fence("deb2")
    assert [(each.kind, each.scope, each.text) for each in shown.proofs] == [
        ("power", "node", proof)
    ]
    assert shown.plan == (("ipmi",),) and shown.step == "" and shown.step_began_at is None


def test_services_report_what_is_done_while_the_step_is_in_the_air() -> None:
    """STARTING from the first step, with the path and since when."""
    pair = PlanPair()
    pair.step_s = lambda step: 4.0
    pair.start_both()
    pair.deb1.crash()
    pair.run(OUT_S + 1.5)
    assert pair.state("deb2") is S.STARTING
    assert "fencing deb1: ipmi, begun" in pair.deb2.service().reason
    assert pair.fence("deb2").step == "ipmi"


def test_levels_are_alternatives_in_their_order() -> None:
    """The first level fails, the second one proves."""
    pair = PlanPair((IPMI,), (PDU,))
    pair.works = {"pdu"}
    pair.start_both()
    pair.deb1.crash()
    pair.run(OUT_S + 5)
    assert pair.order_of_steps("deb2") == ["ipmi", "pdu"]
    assert pair.state("deb2") is S.STARTED
    assert "ipmi: failed: no answer in 5.3 s" in _records(pair, "deb2", "FENCE")[1]


def test_all_paths_of_a_level_must_succeed() -> None:
    """Two power supplies: one that stays on means a level that failed."""
    pair = PlanPair((IPMI, PDU), (CALL,))
    pair.works = {"ipmi"}
    pair.step_end = lambda host, step: (
        (StepOutcome.DONE, "off", None) if step.path == "ipmi" else (StepOutcome.FAILED, "no", None)
    )
    pair.start_both()
    pair.deb1.crash()
    pair.run(OUT_S + 6)
    assert pair.order_of_steps("deb2")[:3] == ["ipmi", "pdu", "call"]
    assert pair.state("deb2") is S.START_FAILED
    assert pair.deb2.service().reason.startswith("not proved: pdu: no; call: no; next try in")


def test_two_paths_that_succeed_are_one_proof() -> None:
    """Both are named."""
    pair = PlanPair((IPMI, PDU))
    pair.start_both()
    pair.deb1.crash()
    pair.run(OUT_S + 6)
    (proof,) = pair.fence("deb2").proofs
    assert proof.text.startswith("power: ipmi off") and " and power: pdu off" in proof.text


def test_failed_round_is_followed_by_another_within_a_minute_without_end() -> None:
    """Nothing works for an hour; then it does. (Without an arbiter some turns are left out.)"""
    pair = PlanPair(has_arbiter=True)
    pair.works = set()
    pair.start_both()
    pair.deb1.crash()
    pair.run(3600)
    began = [at for at, _, step in pair.steps if step.path]
    gaps = [after - before for before, after in zip(began, began[1:])]
    assert gaps[0] >= 10 and max(gaps) <= FENCE_RETRY_MAX_S + START_READY_DELAY_S + 3
    assert len(began) > 60 and pair.state("deb2") in (S.START_FAILED, S.START_READY)
    assert pair.fence("deb2").next_try_at is not None
    pair.works = {"ipmi"}
    pair.run(62)
    assert pair.state("deb2") is S.STARTED and pair.fence("deb2").next_try_at is None


def test_path_that_was_never_seen_on_proves_nothing() -> None:
    """A wrong address: another machine that is off."""
    pair = PlanPair(is_seen_on=False)
    pair.lies = {"ipmi"}
    pair.start_both()
    pair.deb1.crash()
    pair.run(OUT_S + 3)
    assert pair.state("deb2") is S.START_FAILED
    assert "never seen ON" in pair.deb2.service().reason
    assert pair.fence("deb2").hints[0].startswith("ipmi: off, then OFF twice")
    assert not pair.fence("deb2").paths[0].is_seen_on


def test_what_was_seen_on_is_known_to_the_next_daemon() -> None:
    """And to the first one after a boot, but not with other options."""
    pair = PlanPair()
    pair.start_both()
    assert pair.deb2.store.fencing.seen_on == ("ipmi 10.10.0.11",)
    pair.deb2.kill_daemon()
    pair.run(1)
    pair.deb2.boot_from_files()
    pair.run(6)
    pair.deb1.crash()
    pair.run(OUT_S + 4)
    assert pair.state("deb2") is S.STARTED
    assert pair.deb2.store.fencing.after_boot().seen_on == ("ipmi 10.10.0.11",)


def test_device_that_reports_off_while_the_peer_lives_is_not_believed() -> None:
    """Its OFF right after the last beat may be true; a timeout later the peer is still heard."""
    pair = PlanPair()
    pair.start_both()
    pair.look("off")
    pair.run(TIMEOUT_S - 2)
    assert pair.fence("deb2").paths[0].is_seen_on
    pair.run(4)
    shown = pair.fence("deb2").paths[0]
    assert (shown.state, shown.is_seen_on) == ("wrong", False)
    assert "while deb1 was heard: this is not its power" in shown.text
    assert pair.deb2.engine is not None and pair.deb2.engine.wrong_paths == ("ipmi",)
    assert pair.deb2.store.fencing.seen_on == ()
    pair.look("on")
    assert pair.fence("deb2").paths[0].is_seen_on


def test_device_that_reports_off_as_the_peer_dies_is_believed() -> None:
    """The standing check looks within the link timeout: the peer counts as heard."""
    pair = PlanPair()
    pair.start_both()
    pair.deb1.crash()
    pair.run(3)
    pair.look("off", pair.deb2)
    pair.run(OUT_S + 4)
    assert pair.state("deb2") is S.STARTED
    pair.deb1.boot_from_files()
    pair.run(3)
    assert pair.fence("deb2").paths[0].is_seen_on, "it was right"


def test_proof_is_used_within_a_minute_or_made_again() -> None:
    """A service that is unfrozen later needs a new one."""
    pair = PlanPair(names=("registry", "files", "mail"))
    pair.start_both()
    pair.deb2.command(Command.FREEZE_STOP, "mail")
    pair.run(1)
    pair.deb1.crash()
    pair.run(OUT_S + 4)
    assert pair.state("deb2") is S.STARTED and pair.state("deb2", "mail") is S.FROZEN_STOP
    pair.run(PROOF_LIFE_S)
    assert pair.fence("deb2").proofs == ()
    pair.deb2.command(Command.UNFREEZE, "mail")
    pair.run(8)
    assert pair.order_of_steps("deb2") == ["ipmi", "ipmi"]
    assert pair.state("deb2", "mail") is S.STARTED


def test_own_check_up_script_runs_after_the_proof_of_the_node() -> None:
    """Both must hold; the reason names both."""
    pair = PlanPair(check="/etc/openha/fence")
    pair.start_both()
    pair.deb1.crash()
    pair.run(OUT_S + 5)
    assert pair.state("deb2") is S.STARTED
    checks = [at for at, _, kind, _ in pair.scripts if kind == "check"]
    assert len(checks) == 1 and checks[0] > pair.steps[0][0]
    starting = [record.reason for record in pair.deb2.records if record.new == "STARTED"]
    assert starting


def test_own_check_up_script_that_fails_is_tried_again_with_the_plan() -> None:
    """The proof of the node alone starts nothing."""
    pair = PlanPair(check="/etc/openha/fence")
    pair.script_ok = lambda host, action: action.kind.value != "check"
    pair.start_both()
    pair.deb1.crash()
    pair.run(OUT_S + 5)
    assert pair.state("deb2") is S.START_FAILED and not [
        at for at, node in pair.starts() if node == "deb2"
    ]
    pair.script_ok = lambda host, action: True
    pair.run(70)
    assert pair.state("deb2") is S.STARTED


# --- what makes a round void ----------------------------------------------------------------------


def test_peer_that_is_heard_again_is_not_shot_by_a_later_step() -> None:
    """What is in the air runs to its end and proves nothing; the next level is not begun."""
    pair = PlanPair((CALL,), (PDU,))
    pair.works, pair.step_s = set(), lambda step: 5.0
    pair.start_both()
    pair.cut_all()
    pair.run(OUT_S + 1.5)
    assert pair.steps[0][2].path == "call" and pair.state("deb2") is S.STARTING
    pair.heal()
    pair.run(2)
    assert pair.state("deb2") is S.STOPPED and pair.state("deb1") is S.STARTED
    pair.run(30)
    assert all(step.path == "call" for _, _, step in pair.steps)
    assert any("void: the peer was heard" in text for text in _records(pair, "deb2", "FENCE"))


def test_success_of_a_step_in_the_air_proves_nothing_once_the_peer_was_heard() -> None:
    """Heard for a moment, silent again: a new round is needed."""
    pair = PlanPair((CALL,))
    pair.lies, pair.step_s = {"call"}, lambda step: 30.0
    pair.start_both()
    pair.cut_all()
    pair.run(OUT_S + 1.5)
    pair.heal()
    pair.run(1.5)
    pair.cut_all()
    pair.run(29)
    assert not [at for at, node in pair.starts() if node == "deb2"]


def test_stall_of_this_node_makes_the_round_void() -> None:
    """It may have missed a beat: nothing is started on that step."""
    pair = PlanPair((CALL,))
    pair.lies, pair.step_s = {"call"}, lambda step: 12.0
    pair.start_both()
    pair.cut_all("deb1")
    pair.run(OUT_S + 1.5)
    assert pair.state("deb2") is S.STARTING
    pair.deb2.is_stalled = True
    pair.run(9)
    pair.resume(pair.deb2)
    pair.run(4)
    assert pair.state("deb2") in (S.STOPPED, S.START_READY)
    assert not [at for at, node in pair.starts() if node == "deb2"]


def test_proof_is_void_after_a_stall_of_this_node() -> None:
    """The peer may have been back meanwhile: what is unfrozen later needs another step."""
    pair = PlanPair(names=("registry", "mail"))
    pair.start_both()
    pair.deb2.command(Command.FREEZE_STOP, "mail")
    pair.run(1)
    pair.deb1.crash()
    pair.run(OUT_S + 4)
    assert pair.order_of_steps("deb2") == ["ipmi"] and len(pair.fence("deb2").proofs) == 1
    pair.deb2.is_stalled = True
    pair.run(9)
    pair.resume(pair.deb2)
    assert pair.fence("deb2").proofs == ()
    pair.deb2.command(Command.UNFREEZE, "mail")
    pair.run(25)
    assert pair.order_of_steps("deb2") == ["ipmi", "ipmi"]


def test_failed_rounds_are_forgotten_once_the_peer_is_heard() -> None:
    """The next silence begins with the first wait."""
    pair = PlanPair()
    pair.works = set()
    pair.start_both()
    pair.cut_all()
    pair.run(OUT_S + 3)
    assert pair.fence("deb2").next_try_at is not None
    pair.heal()
    pair.run(2)
    assert pair.fence("deb2").next_try_at is None


def test_ejected_node_starts_once_an_operator_confirmed_that_the_peer_is_out() -> None:
    """The node that had won is gone for good."""
    pair = PlanPair(has_arbiter=True)
    pair.start_both()
    pair.arbiter.registered.discard("deb1")
    pair.cut_all()
    pair.run(5)
    assert pair.state("deb1") is S.STOPPED
    pair.deb2.crash()
    pair.run(OUT_S)
    assert pair.state("deb1") is S.STOPPED
    pair.observe(Confirmed(pair.now, "deb1"))
    pair.deb1.handle(pair.deb1.life, PeerConfirmedOut(1, "root"))
    pair.run(15)
    assert pair.state("deb1") is S.STARTED


def test_leaving_node_begins_no_further_step() -> None:
    """Its services go back to STOPPED at once."""
    pair = PlanPair((IPMI,), (PDU,))
    pair.works, pair.step_s = {"pdu"}, lambda step: 3.0
    pair.start_both()
    pair.deb1.crash()
    pair.run(OUT_S + 1.5)
    pair.deb2.leave(Leaving.STOP_SERVICES)
    pair.run(10)
    assert pair.order_of_steps("deb2") == ["ipmi"]


def test_operator_who_confirms_ends_the_round() -> None:
    """Word is a proof of its own: no further level is begun."""
    pair = PlanPair((IPMI,), (PDU,))
    pair.works, pair.step_s = set(), lambda step: 5.0
    pair.start_both()
    pair.deb1.crash()
    pair.run(OUT_S + 1.5)
    pair.observe(Confirmed(pair.now, "deb2"))
    pair.deb2.handle(pair.deb2.life, PeerConfirmedOut(1, "root"))
    pair.run(2)
    assert pair.state("deb2") is S.STARTED
    pair.run(20)
    assert pair.order_of_steps("deb2") == ["ipmi"]


def test_step_whose_end_is_not_reported_counts_as_failed() -> None:
    """Nothing waits for ever: after its limit and a grace the next level is tried."""
    pair = PlanPair((IPMI,), (PDU,))
    pair.step_s = lambda step: 1.0 if step.path == "pdu" else 10_000.0
    pair.start_both()
    pair.deb1.crash()
    pair.run(OUT_S + 3)
    pair.deb2.step_in_air = None  # The child that runs it is gone.
    pair.run(IPMI.limit_s + 12)
    assert pair.order_of_steps("deb2") == ["ipmi", "pdu"]
    assert pair.state("deb2") is S.STARTED
    assert any(
        "no end was reported within 26 s" in each for each in _records(pair, "deb2", "FENCE")
    )


def test_step_that_was_not_begun_is_tried_again_and_is_no_failure() -> None:
    """This node stood still just before."""
    pair = PlanPair()
    ends = [(StepOutcome.NOT_BEGUN, "this node stood still", None)]
    normal = pair.step_end
    pair.step_end = lambda host, step: ends.pop() if ends else normal(host, step)
    pair.start_both()
    pair.deb1.crash()
    pair.run(OUT_S + 10)
    assert pair.order_of_steps("deb2") == ["ipmi", "ipmi"]
    assert pair.state("deb2") is S.STARTED
    assert not any(record.new == "START_FAILED" for record in pair.deb2.records)


# --- reservations ---------------------------------------------------------------------------------


def test_reservation_proves_for_services_that_need_their_data_only() -> None:
    """`files` needs the node: it waits for the power switch, which the other one does not."""
    pair = PlanPair((DISKS,), (IPMI,), names=("registry", "files", "mail"), data=("registry",))
    pair.start_both()
    pair.step_s = lambda step: 0.2 if step.path == "reservation" else 20.0
    pair.cut_all()
    pair.run(OUT_S + 2.5)
    took = next(step for _, node, step in pair.steps if node == "deb2" and step.path != "ipmi")
    assert took.services == ("registry",)
    assert pair.state("deb2", "registry") is S.STARTED
    assert pair.state("deb2", "mail") is S.STARTING
    (proof,) = pair.fence("deb2").proofs
    assert (proof.kind, proof.scope, proof.services) == ("reservation", "data", ("registry",))


def test_no_start_overtakes_the_step_that_takes_its_disks() -> None:
    """They are taken, and what the peer had on its way may land until the step ends."""
    pair = PlanPair((DISKS,), (IPMI,), names=("registry", "files"), data=("registry",))
    pair.start_both()
    pair.step_s = lambda step: 9.0
    pair.deb1.crash()
    while not pair.order_of_steps("deb2"):
        pair.run(1)
    pair.run(2)
    pair.observe(Confirmed(pair.now, "deb2"))
    pair.deb2.handle(pair.deb2.life, PeerConfirmedOut(1, "root"))
    pair.run(3)
    assert pair.state("deb2", "files") is S.STARTED
    assert pair.state("deb2", "registry") is not S.STARTED
    pair.run(8)
    assert pair.state("deb2", "registry") is S.STARTED


def test_round_that_fails_for_some_fails_for_them_alone() -> None:
    """The reservation was the last level: `registry` is started, `mail` tried again."""
    pair = PlanPair((CALL,), (DISKS,), names=("registry", "mail"), data=("registry",))
    pair.works = {"reservation"}
    pair.start_both()
    pair.deb1.crash()
    pair.run(OUT_S + 5)
    assert pair.state("deb2", "registry") is S.STARTED
    assert pair.state("deb2", "mail") is S.START_FAILED
    moved = [record.new for record in pair.deb2.records if record.name == "registry"]
    assert "START_FAILED" not in moved and moved[-1] == "STARTED"


def test_reservation_is_not_tried_for_services_that_need_the_node() -> None:
    """It would prove nothing for them."""
    pair = PlanPair((DISKS,), (IPMI,))
    pair.start_both()
    pair.deb1.crash()
    pair.run(OUT_S + 4)
    assert pair.order_of_steps("deb2") == ["ipmi"] and pair.state("deb2") is S.STARTED


def test_barrier_beside_a_power_switch_is_left_out_where_no_disk_is_reserved() -> None:
    """`ipmi + reservation`: the switch alone is the level then."""
    pair = PlanPair((DISKS, IPMI, DISKS))
    pair.start_both()
    pair.deb1.crash()
    pair.run(OUT_S + 4)
    assert pair.order_of_steps("deb2") == ["ipmi"] and pair.state("deb2") is S.STARTED


def test_service_that_no_level_serves_waits_and_reports_it() -> None:
    """Only an operator can help."""
    pair = PlanPair((DISKS,))
    pair.start_both()
    pair.deb1.crash()
    pair.run(OUT_S + 4)
    assert pair.steps == [] and pair.state("deb2") is S.START_READY
    assert "no level of the fence plan proves what it needs (node)" in pair.deb2.service().reason


def test_level_for_a_service_that_does_not_wait_any_more_is_left_out() -> None:
    """While the next step waits for its turn, an operator takes that service out."""
    pair = PlanPair(
        (CALL,), (DISKS,), is_duel=True, names=("registry", "files", "mail"), data=("registry",)
    )
    pair.works, pair.step_s = {"reservation"}, lambda step: 5.0
    pair.start_both()
    pair.cut_all()
    while pair.order_of_steps("deb2") != ["call"]:
        pair.run(1)
    pair.run(7)
    assert pair.state("deb2", "registry") is pair.state("deb2", "mail") is S.STARTING
    pair.deb2.command(Command.FORCE_START, "registry")
    while pair.state("deb2", "mail") is S.STARTING:
        pair.run(1)
    assert pair.order_of_steps("deb2") == ["call"]
    assert pair.state("deb2", "mail") is S.START_READY


# --- duels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_arbiter", [False, True])
def test_one_of_two_nodes_survives_a_cut(has_arbiter: bool) -> None:
    """Services on both: never both are shot, and all run on the survivor."""
    pair = PlanPair(has_arbiter=has_arbiter, is_duel=True)
    pair.step_s = lambda step: 0.1 if step.kind is StepKind.CLAIM else 3.0
    pair.start_both()
    pair.cut_all()
    pair.run(3 * OUT_S)
    assert len(pair.alive()) == 1 and len(pair.fenced) == 1
    (survivor,) = pair.alive()
    assert pair.state(survivor, "registry") is pair.state(survivor, "files") is S.STARTED


def test_node_waits_for_its_turn_in_start_ready() -> None:
    """Without an arbiter STARTING is for the node whose turn it is, whatever its step does."""
    pair = PlanPair(is_duel=True)
    pair.works = set()
    pair.step_s = lambda step: 3.0
    pair.start_both()
    pair.cut_all()
    pair.run(OUT_S + 2)
    assert pair.state("deb1", "files") is S.STARTING
    assert pair.state("deb2", "registry") is S.START_READY
    assert pair.order_of_steps("deb2") == []
    pair.run(60)
    assert pair.order_of_steps("deb2") != []


def test_reservation_leaves_the_peer_its_turns() -> None:
    """A peer that lost some disks can still fence: the next step waits for a turn of this node."""
    pair = PlanPair(
        (DISKS,), (IPMI,), is_duel=True, names=("registry", "files", "mail"), data=("registry",)
    )
    pair.works = {"reservation"}
    pair.step_s = lambda step: 3.0
    pair.start_both()
    pair.cut_all()
    pair.run(200)
    own = [(at, step.path) for at, node, step in pair.steps if node == "deb2"]
    assert [path for _, path in own] == ["reservation", "ipmi"]
    assert own[1][0] - own[0][0] > 2 * IPMI.limit_s


def test_loser_of_the_claim_fences_no_node_and_stops_what_it_runs() -> None:
    """The switch of the winner fails: both live, and one alone has the right to the data."""
    pair = PlanPair(has_arbiter=True, is_duel=True)
    pair.works, pair.step_s = set(), lambda step: 0.2
    pair.start_both()
    pair.cut_all()
    pair.run(OUT_S + 10)
    winner = pair.steps[0][1]
    loser = "deb2" if winner == "deb1" else "deb1"
    assert "ipmi" not in pair.order_of_steps(loser)
    assert pair.state(loser, "registry") is pair.state(loser, "files") is S.STOPPED
    assert (
        f"not started here: this node was ejected by {winner}"
        in (pair.deb1 if loser == "deb1" else pair.deb2).service().reason
    )
    assert pair.fence(loser).is_ejected_by == winner
    pair.heal()
    pair.run(20)
    assert pair.fence(loser).is_ejected_by == ""
    assert any("it is registered again" in text for text in _records(pair, loser, "READMITTED"))
    running = [pair.state(node, "registry") for node in ("deb1", "deb2")]
    assert running.count(S.STARTED) == 1


def test_arbiter_that_cannot_be_asked_means_no_shot() -> None:
    """The round failed; it is made again."""
    pair = PlanPair(has_arbiter=True)
    pair.start_both()
    pair.arbiter.away = {"deb2"}
    pair.deb1.crash()
    pair.run(OUT_S + 4)
    assert pair.order_of_steps("deb2") == ["claim"] and pair.state("deb2") is S.START_FAILED
    assert "claim: the arbiter does not answer" in pair.deb2.service().reason
    pair.arbiter.away = set()
    pair.run(70)
    assert pair.order_of_steps("deb2")[-2:] == ["claim", "ipmi"]
    assert pair.state("deb2") is S.STARTED


def test_each_round_claims_again() -> None:
    """What was won before the peer was heard again is over."""
    pair = PlanPair(has_arbiter=True)
    pair.works = set()
    pair.start_both()
    pair.deb1.crash()
    pair.run(100)
    steps = pair.order_of_steps("deb2")
    assert steps[:4] == ["claim", "ipmi", "claim", "ipmi"]


def test_ejected_node_stops_everything_and_starts_nothing() -> None:
    """A frozen copy, too: it cannot write its data any more. And it refuses to be forced."""
    pair = PlanPair(has_arbiter=True, names=("registry", "files", "mail"))
    pair.start_both()
    pair.deb1.command(Command.FREEZE_START, "mail")
    pair.run(2)
    pair.cut_all("deb1")
    pair.arbiter.registered.discard("deb1")
    pair.deb1.handle(pair.deb1.life, Ejected("deb2"))
    pair.deb1.handle(pair.deb1.life, Ejected("deb2"))
    pair.run(4)
    assert pair.state("deb1") is S.STOPPED and pair.state("deb1", "mail") is S.FROZEN_STOP
    assert len(_records(pair, "deb1", "EJECTED")) == 1
    assert pair.deb1.store.fencing.ejected_by == "deb2"
    for command in (Command.START, Command.FORCE_START):
        number = pair.deb1.command(command)
        answer = pair.deb1.last_answer(number)
        assert answer is not None and answer.is_refused
        assert answer.detail == "this node was ejected by deb2"
    pair.deb1.kill_daemon()
    pair.deb1.boot_from_files()
    pair.run(5)
    assert pair.fence("deb1").is_ejected_by == "deb2"


def test_ejected_node_registers_only_after_the_peer_knows_that_nothing_runs_there() -> None:
    """`may_register` of the daemon's watch."""
    pair = PlanPair(has_arbiter=True)
    pair.start_both()
    engine = pair.deb1.engine
    assert engine is not None and engine.may_register
    pair.deb1.handle(pair.deb1.life, Ejected("deb2"))
    assert not engine.may_register
    pair.run(0.5)
    assert pair.state("deb1") is S.STOPPING and not engine.may_register
    pair.run(3)
    assert engine.may_register
    pair.cut_all()
    pair.run(TIMEOUT_S + 1)
    assert not engine.may_register


def test_node_that_was_not_answered_since_its_boot_neither_claims_nor_shoots() -> None:
    """A node that was shot and boots into the cut."""
    pair = PlanPair(has_arbiter=True)
    pair.deb2.boot({"registry": STOPPED_STATE, "files": STOPPED_STATE})
    pair.run(60)
    assert pair.steps == [] and pair.state("deb2") is S.STOPPED
    assert pair.deb2.engine is not None and not pair.deb2.engine.may_register


def test_defended_service_fences_although_it_has_nothing_to_start() -> None:
    """By the plan: it stays STARTED, and a failure is tried again."""
    pair = PlanPair(names=("registry",), policy=Policy(is_defended=True))
    pair.works = set()
    pair.start_both()
    pair.cut_all()
    pair.run(OUT_S + 3)
    assert pair.steps[0][1] == "deb1" and pair.state("deb1") is S.STARTED
    pair.works = {"ipmi"}
    normal = pair.step_end
    pair.step_end = lambda host, step: (
        normal(host, step) if host is pair.deb1 else (StepOutcome.FAILED, "no answer", None)
    )
    pair.run(200)
    assert pair.alive() == {"deb1"} and pair.state("deb1") is S.STARTED
    assert pair.fence("deb1").step == ""


@pytest.mark.parametrize("is_killed", [True, False])
def test_start_after_a_daemon_that_died_while_disks_drained_waits_for_the_rest(
    is_killed: bool,
) -> None:
    """Its disks have this node's key: the start finds no node to wait for, whatever proves the peer
    out now.
    """
    disks = replace(DISKS, drain_s=20.0)
    pair = PlanPair((disks,), data=("registry",))
    pair.start_both()
    pair.deb1.crash()
    # One that fails early has waited for what there was to wait for.
    pair.step_s = lambda step: 30.0 if is_killed else 15.0
    pair.run(OUT_S + 3)
    began_at = pair.now
    assert pair.fence("deb2").step == "reservation"
    if is_killed:
        pair.deb2.end_daemon()
        pair.run(1)
        pair.deb2.boot_from_files()
    pair.run(OUT_S + 3 if is_killed else 2)
    pair.step_end = lambda host, step: (StepOutcome.UNABLE, "no disks", None)
    pair.observe(Confirmed(pair.now, "deb2"))
    pair.deb2.handle(pair.deb2.life, PeerConfirmedOut(1, "root"))
    if is_killed:
        pair.run(5)
        assert pair.state("deb2") in (S.START_READY, S.START_FAILED)
        assert "may land" in pair.deb2.service().reason
    pair.run(began_at + 62 - pair.now)
    [_, (started_at, node)] = pair.starts()
    assert node == "deb2" and pair.state("deb2") is S.STARTED
    assert (started_at > began_at + 55) is is_killed


def test_services_wait_for_each_others_scripts_after_a_shot_without_haste() -> None:
    """Each has a check-up script of its own, which takes a while: no step follows at once."""
    pair = PlanPair((IPMI,), names=("registry", "files"))
    pair.services = tuple(replace(svc, check=f"/etc/{svc.name}.need") for svc in pair.services)
    pair.script_s = lambda action: 8.0 if action.kind is ScriptKind.CHECK else 1.0
    pair.start_both()
    pair.deb1.crash()
    pair.run(90)
    assert pair.state("deb2") is pair.state("deb2", "files") is S.STARTED
    assert pair.order_of_steps("deb2") == ["ipmi"]
