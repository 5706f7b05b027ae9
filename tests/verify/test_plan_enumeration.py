"""Two cut nodes with a fence plan, a service on each: whatever steps do, no promise breaks."""

from __future__ import annotations

import pytest

from opensvc_openha.core.events import ScriptOutcome, StepOutcome
from opensvc_openha.verify.arbiter import SimulatedArbiter
from opensvc_openha.verify.exhaustive.plan_checker import PLANS, PlanEnumeration, main
from opensvc_openha.verify.exhaustive.plan_model import PlanModel, StepFate
from opensvc_openha.verify.invariants import InvariantBroken
from opensvc_openha.verify.simulated_node import SimulatedNode


@pytest.mark.exhaustive
@pytest.mark.parametrize("plan", list(PLANS))
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
