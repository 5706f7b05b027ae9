"""Two engines in every state x every event x every fate of beats and scripts, as deep as each run
affords.
"""

from __future__ import annotations

import pytest

from opensvc_openha.core.events import Command, ScriptKind, ScriptOutcome
from opensvc_openha.core.fencing import Fencing
from opensvc_openha.core.peer_view import Evidence, PeerView
from opensvc_openha.core.states import ServiceState
from opensvc_openha.verify.exhaustive.bounded_model import BoundedModel, Fate
from opensvc_openha.verify.exhaustive.model_checker import FAILBACK_S, Enumeration


@pytest.mark.parametrize(
    ("search", "depth", "edges"),
    [
        pytest.param(Enumeration(), 2, 3_000, id="every world"),
        pytest.param(Enumeration(by_pair=True), 3, 15_000, id="every pair of states"),
        pytest.param(Enumeration(by_pair=True, key_id="aabbccdd"), 2, 1_400, id="authenticated"),
        pytest.param(
            Enumeration(by_pair=True, is_primary_swapped=True), 2, 1_600, id="both primary"
        ),
        # "every pair of states" tries all but the forces in the same worlds, and goes deeper.
        pytest.param(
            Enumeration(by_pair=True, with_force=True, is_beside_plain=True),
            2,
            1_100,
            id="with force",
        ),
        pytest.param(
            Enumeration(by_pair=True, reports_power=True), 3, 6_000, id="fences that report power"
        ),
        pytest.param(Enumeration(by_pair=True, is_away=True), 1, 70, id="failback"),
    ],
)
def test_whatever_happens_to_two_nodes_no_promise_is_broken(
    search: Enumeration, depth: int, edges: int
) -> None:
    """Breadth first from two nodes that were switched on: no invariant breaks, and as much was
    tried as ever.
    """
    found = search.run(depth)
    assert not found.broken, found.broken
    assert found.edges >= edges


def test_no_promise_breaks_while_a_service_goes_back_to_its_primary() -> None:
    """One move from its stop on the secondary; deeper searches are those of the command."""
    world = BoundedModel(failback_after_s=FAILBACK_S)
    world.start()
    world.fail_over()
    world.run(FAILBACK_S + 2.0)
    script = world.nodes[1].script
    assert script is not None and script.action.kind is ScriptKind.STOP
    found = Enumeration(by_pair=True).run(1, start=world)
    assert not found.broken, found.broken
    assert found.edges >= 70


def test_world_and_its_copy_go_their_own_ways() -> None:
    """What happens in a copy leaves the original as it was, and the same happens in both."""
    world = BoundedModel()
    world.start()
    copy, before = world.copy(), world.fingerprint()
    copy.command(0, Command.UNFREEZE)
    copy.run(0.1)
    assert world.fingerprint() == before != copy.fingerprint()
    world.command(0, Command.UNFREEZE)
    world.run(0.1)
    assert world.fingerprint() == copy.fingerprint()
    assert world.nodes[0].engine is not copy.nodes[0].engine


def test_engine_that_takes_any_word_for_an_acknowledgement_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A planted fault: the rule that is broken and the way that led there are reported."""
    evidence = PeerView.evidence

    def careless(view: PeerView, service: str, ready_seq: int | None) -> Evidence:
        found = evidence(view, service, ready_seq)
        return Evidence.OUT_ACKED if found is Evidence.OUT else found

    monkeypatch.setattr(PeerView, "evidence", careless)
    found = Enumeration(by_pair=True).run(4)
    assert "S2 broken" in found.broken and "unfreeze on deb1" in found.broken


def _world_with_a_fence_on_its_way() -> BoundedModel:
    """Nothing is heard either way: deb1 wants to start the service, and its fence runs."""
    world = BoundedModel()
    world.start()
    world.fates = [Fate.LOST, Fate.LOST]
    world.command(0, Command.UNFREEZE)
    while world.nodes[0].script is None:
        world.run(1.0)
    assert world.nodes[0].script.is_fence
    world.fates, world.sent = [Fate.DELIVERED, Fate.DELIVERED], [0, 0]
    return world


def test_engine_that_trusts_a_fence_although_the_peer_was_heard_since_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A planted fault that needs a slow fence and a peer that is heard meanwhile, and falls silent
    again: one move from a fence on its way. Without the fault the same search finds nothing.
    """
    assert not Enumeration(by_pair=True).run(1, start=_world_with_a_fence_on_its_way()).broken
    monkeypatch.setattr(Fencing, "void_proofs", lambda desk: None)
    found = Enumeration(by_pair=True).run(1, start=_world_with_a_fence_on_its_way())
    assert "S2 broken" in found.broken


def test_script_that_is_killed_half_way_leaves_the_service_in_use() -> None:
    """START_FAILED with something still running is not called out, and the world knows that it
    runs.
    """
    world = BoundedModel()
    world.start()
    world.command(0, Command.UNFREEZE)
    world.run(0.1)
    world.end_script(0, ScriptOutcome.FAILED, True)
    engine = world.nodes[0].engine
    assert engine is not None and engine.beat().states["registry"] is ServiceState.START_FAILED
    assert world.nodes[0].runs


def test_search_beside_the_plain_one_leaves_out_that_one_alone() -> None:
    """Edges and pairs of the search with forces: those of the plain one, and those of its rest."""
    whole = Enumeration(by_pair=True, with_force=True).run(1).levels[0]
    rest = Enumeration(by_pair=True, with_force=True, is_beside_plain=True).run(1).levels[0]
    plain = Enumeration(by_pair=True).run(1).levels[0]
    assert (rest.edges + plain.edges, rest.pairs + plain.pairs) == (whole.edges, whole.pairs)
    assert min(rest.edges, plain.edges) > 10
