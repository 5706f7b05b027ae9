"""Fencing by simulated management boards (ipmi_sim), ordered by the embedded agent's `[stonith#1]`
with ipmitool.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bench.duels import Pair
from bench.power import AgentBoards, Boards, Mode
from opensvc_openha.demo.nodes import TwoNodes

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        bool(Boards.missing()) and os.environ.get("CI") != "true", reason=Boards.missing() or "CI"
    ),
]


@pytest.fixture(params=[Boards])
def pair(two_nodes: TwoNodes, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two nodes with a board each; the service runs on the first one."""
    made = Pair(two_nodes, {"registry": 0}, make_power=request.param)
    try:
        made.run_all()
        yield made
    finally:
        made.close()


def test_service_is_taken_over_once_the_dead_board_answers_again(pair: Pair) -> None:
    """The owner loses its power and all boards are dead: no start.

    They answer again: off, seen twice, is the proof.
    """
    owner, standby = pair.nodes
    pair.power.set_mode(Mode.FAIL)
    pair.power.cut(owner)
    pair.until(
        lambda: pair.own_state(standby, "registry") == "START_FAILED", "the first attempt fails"
    )
    assert pair.runs_on("registry") == []

    pair.power.set_mode(Mode.WORK)
    pair.until(lambda: pair.runs_on("registry") == ["deb2"], "the next attempt succeeds")
    assert pair.power.calls() > 1
    assert pair.power.shots == [], "it was off already"


@pytest.mark.parametrize("pair", [Boards, AgentBoards], indirect=True)
def test_order_to_a_living_peer_s_board_is_believed_only_when_the_power_is_off(pair: Pair) -> None:
    """All links are cut: the standby's start begins only when the owner, shot some seconds after
    the order, has no power.
    """
    pair.cut()
    pair.until(
        lambda: pair.runs_on("registry") == ["deb2"] or len(pair.runs_on("registry")) > 1,
        "a takeover, or a dual run",
    )
    assert pair.power.shots == ["deb1"]
    assert pair.alive() == ["deb2"]
