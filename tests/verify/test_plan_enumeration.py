"""Two cut nodes with a fence plan, a service on each: whatever steps do, no promise breaks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.actions import Action
from opensvc_openha.core.events import MediumQuiet, ScriptOutcome, StepOutcome
from opensvc_openha.core.lease_owner import Circumstances, LeaseOwner
from opensvc_openha.core.lease_view import LeaseView
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.promise import media_of
from opensvc_openha.verify.arbiter import SimulatedArbiter
from opensvc_openha.verify.exhaustive.bounded_model import Fate
from opensvc_openha.verify.exhaustive.lease_model import DEATH_S, LeaseModel, LeaseNode
from opensvc_openha.verify.exhaustive.plan_checker import PLANS, PlanEnumeration, main
from opensvc_openha.verify.exhaustive.plan_model import PlanModel, StepFate
from opensvc_openha.verify.invariants import InvariantBroken
from opensvc_openha.verify.simulated_node import SimulatedNode

ALIKE = (
    "switch, lease",
    "lease and switch",
    "lease, stopped",
    "lease, switch, stopped",
    "lease, both cut off",
)
"""Two moves are left to longer runs: what the first two find, `lease, switch` and `lease` find as
well, and the others begin where it matters."""


@pytest.mark.exhaustive
@pytest.mark.parametrize("plan", [plan for plan in PLANS if plan not in ALIKE])
def test_no_promise_breaks_whatever_becomes_of_the_steps(plan: str) -> None:
    """Two moves from the moment at which the first node begins to fence, and each alone after."""
    found = PlanEnumeration().begin(PLANS[plan], depth=2)
    assert not found.broken, found.broken
    assert found.worlds >= 15 and found.edges >= 300


@pytest.mark.parametrize("plan", ["arbiter", "reservations", "switch"])
def test_of_two_cut_nodes_one_survives(plan: str) -> None:
    """Every step works: one node is shot, or its data taken, and the other one runs both."""
    world = PlanModel(PLANS[plan])
    world.start()
    world.cut()
    for _ in range(60):
        for index in (0, 1):
            world.finish_step(index)
            script = world.nodes[index].script
            if script is not None:
                is_start = script.action.kind.value == "start"
                world.end_script(index, ScriptOutcome.OK, leaves_running=is_start)
        world.run(0.5)
    up = [node for node in world.nodes if node.running == {"registry", "files"}]
    assert len(up) == 1
    assert not up[0].peer.running


def test_world_and_its_copy_have_an_arbiter_each() -> None:
    """What is claimed in a copy is not claimed in the original."""
    world = PlanModel(PLANS["arbiter"])
    world.start()
    world.cut()
    copy, before = world.copy(), world.fingerprint()
    assert copy.fingerprint() == before
    index = 0 if copy.nodes[0].step_in_air else 1
    assert isinstance(copy, PlanModel)
    copy.end_claim(index, is_reached=True)
    assert world.fingerprint() == before != copy.fingerprint()
    assert len(world.arbiter.registered) == 2 and len(copy.arbiter.registered) == 1


def test_search_finds_an_arbiter_that_lets_both_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both nodes register in order to claim: the commonest mistake of such agents."""

    def register_and_claim(self: SimulatedArbiter, node: SimulatedNode) -> tuple[StepOutcome, str]:
        self.registered.add(node.name)
        return StepOutcome.DONE, "won"

    monkeypatch.setattr(SimulatedArbiter, "claim", register_and_claim)
    world = PlanModel(PLANS["arbiter"])
    world.start()
    world.cut()
    while not all(node.step_in_air and node.step_in_air.path for node in world.nodes):
        for index, node in enumerate(world.nodes):
            if node.step_in_air is not None and not node.step_in_air.path:
                world.end_claim(index, is_reached=True)
        world.run(0.1)
    world.land_shot(0)
    with pytest.raises(InvariantBroken, match="^S5 broken"):
        world.land_shot(1)


@pytest.mark.parametrize("plan", ALIKE)
def test_no_promise_breaks_in_one_move(plan: str) -> None:
    """Beside the longer searches above."""
    found = PlanEnumeration().begin(PLANS[plan], depth=1)
    assert not found.broken, found.broken


def _lost(world: LeaseModel, index: int, seconds: float) -> None:
    """Let no write of a node land for so long."""
    world.fates[index] = Fate.LOST
    world.run(seconds)


def test_a_node_that_cannot_show_that_it_lives_is_dead_before_its_services_run_elsewhere() -> None:
    """Its watchdog bites, and the other one has read its slot to the end."""
    world = LeaseModel(PLANS["lease"])
    world.start()
    assert world.promises == [True, True]
    _lost(world, 0, 5.0)
    assert world.nodes[0].is_powered and world.nodes[1].running == {"files"}
    world.run(DEATH_S)
    assert not world.nodes[0].is_powered and world.nodes[1].running == {"registry", "files"}


def test_a_node_that_has_stopped_its_services_in_time_lives() -> None:
    """They run on the other one, and it starts nothing: that one is not out."""
    world = LeaseModel(PLANS["lease, stopped"])
    world.start()
    world.cut_until_stopping()
    world.end_script(0, ScriptOutcome.OK, leaves_running=False)
    world.run(60.0)
    world.end_script(1, ScriptOutcome.OK, leaves_running=True)
    world.run(60.0)
    assert world.nodes[0].is_powered and not world.nodes[0].running
    assert world.nodes[1].running == {"registry", "files"}


def test_search_finds_a_watchdog_that_is_stopped_before_the_services_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stop that has begun may hang."""
    update = LeaseOwner.update

    def early(self: LeaseOwner, at: Circumstances, now: float) -> list[Action]:
        return update(self, replace(at, is_in_use=at.is_in_use and not self.cut_off), now)

    monkeypatch.setattr(LeaseOwner, "update", early)
    world = LeaseModel(PLANS["lease, stopped"])
    world.start()
    world.cut_until_stopping()
    with pytest.raises(InvariantBroken, match="^S6 broken"):
        world.run(60.0)


def test_search_finds_two_nodes_that_take_each_other_for_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both are cut off and live, without services; each sees the other one's slot stand still."""
    judge = LeaseView.judge

    def wrong(
        self: LeaseView, view: PeerView, delay_s: float, now: float, is_cut_off: bool = False
    ) -> None:
        judge(self, view, delay_s, now)

    monkeypatch.setattr(LeaseView, "judge", wrong)
    found = PlanEnumeration().begin(PLANS["lease, both cut off"], depth=1)
    assert found.broken


def test_a_node_that_cannot_read_starts_nothing() -> None:
    """The other one is silent to it, and lives."""
    world = LeaseModel(PLANS["lease"])
    world.start()
    world.blind(1, is_blind=True)
    world.run(5 * DEATH_S)
    assert [node.running for node in world.nodes] == [{"registry"}, {"files"}]
    engine = world.nodes[1].engine
    assert engine is not None and engine.is_peer_silent
    world.blind(1, is_blind=False)
    world.run(2.0)
    assert not engine.is_peer_silent


def test_search_finds_a_slot_that_is_taken_for_quiet_because_it_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mistake that the whole mechanism must not make."""

    def read(self: LeaseModel, node: LeaseNode) -> None:
        if node.engine is not None and node.is_blind and not node.is_stalled:
            link = self.links[1 - node.index]
            node.give(MediumQuiet(media_of([link])[link], self.now, node.since))

    monkeypatch.setattr(LeaseModel, "_read", read)
    world = LeaseModel(PLANS["lease"])
    world.start()
    world.blind(1, is_blind=True)
    with pytest.raises(InvariantBroken, match="^S6 broken"):
        world.run(3 * DEATH_S)


def test_search_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """With the plans to search."""
    assert main(["--depth", "1", "switch", "never seen on"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("switch: 1 worlds, ") and lines[1].startswith("never seen on: ")
    assert all(line.endswith("no invariant broken") for line in lines)


def test_switch_that_lies_is_found_by_the_promise_if_nothing_excuses_it() -> None:
    """The checker excuses a start that relied on a lie, and no other one."""
    world = PlanModel(PLANS["switch"])
    world.start()
    world.cut()
    index = 0 if world.nodes[0].step_in_air else 1
    world.end_shot(index, StepFate.DEAF)
    world.run(1.0)
    assert world.nodes[index].running == {"registry", "files"}
    assert world.nodes[1 - index].is_powered
