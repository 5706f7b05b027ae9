"""Takeovers by the fence plan: two real nodes, each with a simulated management board that
works, is dead, deaf, or another machine's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from bench.duels import EZ, Pair
from bench.power import Mode, PlanBoards
from opensvc_openha.demo.nodes import Node, TwoNodes

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        bool(PlanBoards.missing()) and os.environ.get("CI") != "true",
        reason=PlanBoards.missing() or "CI",
    ),
]


class Planned(Pair):
    """Two nodes with a fence plan; the service runs on the first one."""

    def __init__(self, nodes: TwoNodes) -> None:
        super().__init__(nodes, {"registry": 0}, make_power=PlanBoards)
        self.owner, self.standby = self.nodes

    @property
    def boards(self) -> PlanBoards:
        """The boards of both nodes."""
        assert isinstance(self.power, PlanBoards)
        return self.power

    def until_path(self, state: str, node: Node | None = None) -> dict[str, Any]:
        """Wait until the standby's path is in a state; return its status."""
        where = node or self.standby
        self.until(lambda: self.path(where).get("state") == state, f"the path is {state}")
        return self.path(where)

    def path(self, node: Node) -> dict[str, Any]:
        """The path of a node, from `openha fence status`."""
        _, text = self.tried(node, f"{EZ}/bin/openha fence status --json")
        try:
            paths = json.loads(text)["paths"]
        except (ValueError, KeyError):
            return {}
        return dict(paths[0]) if paths else {}

    def fence_steps(self) -> list[str]:
        """What the standby's history has of steps, oldest first."""
        found = json.loads(self.must(self.standby, f"{EZ}/bin/openha history -n 0 --json"))[
            "entries"
        ]
        return [entry["reason"] for entry in found if entry["new"] == "FENCE"]


@pytest.fixture
def pair(two_nodes: TwoNodes) -> Iterator[Planned]:
    """The service runs on the first node, and the path of the second one is armed."""
    made = Planned(two_nodes)
    try:
        made.run_all()
        made.until_path("armed")
        yield made
    finally:
        made.close()


def test_cut_owner_is_shot_and_taken_over_once_its_board_says_off_twice(pair: Planned) -> None:
    """The start begins when the owner has no power; proof and step are in history and `why`."""
    pair.cut()
    pair.until(
        lambda: pair.runs_on("registry") == ["deb2"] or len(pair.runs_on("registry")) > 1,
        "a takeover, or a dual run",
    )
    assert pair.power.shots == ["deb1"] and pair.alive() == ["deb2"]
    begun, ended = pair.fence_steps()
    assert begun == "ipmi begins, for registry"
    assert ended.startswith("ipmi: done: ") and "proof NODE" in ended, ended
    assert "ipmi" in pair.must(pair.standby, f"{EZ}/bin/openha why registry")


def test_dead_board_is_tried_again_and_the_operator_sees_why(pair: Planned) -> None:
    """It died with its host: START_FAILED, with what the board said; later it answers again, OFF,
    and that is a proof since it was ON before.
    """
    pair.power.set_mode(Mode.FAIL)
    pair.power.cut(pair.owner)
    pair.until(
        lambda: pair.own_state(pair.standby, "registry") == "START_FAILED",
        "the first round fails",
    )
    _, text = pair.tried(pair.standby, f"{EZ}/bin/service -s -v")
    assert "ipmi" in text and "openha fence confirm deb1.opensvc.com" in text, text
    assert pair.runs_on("registry") == []
    pair.power.set_mode(Mode.WORK)
    pair.until(lambda: pair.runs_on("registry") == ["deb2"], "a later round succeeds")
    assert pair.power.shots == [], "it was off already"


def test_deaf_board_proves_nothing_and_a_peer_that_comes_back_keeps_its_service(
    pair: Planned,
) -> None:
    """It accepts the order and does nothing: no start. Heard again in the middle of it, the owner
    goes on, and nobody is shot.
    """
    pair.power.set_mode(Mode.PASS)
    for link in ("eth1", "eth2"):
        pair.owner.cut(link)
    pair.until(lambda: pair.own_state(pair.standby, "registry") == "STARTING", "the step has begun")
    for link in ("eth1", "eth2"):
        pair.owner.heal(link)
    for node in pair.nodes:
        pair.until(
            lambda: pair.states(node, "registry") == ("STARTED", "STOPPED"),
            f"{node.name} hears its peer",
        )
    assert pair.power.shots == [] and pair.runs_on("registry") == ["deb1"]
    pair.until(lambda: len(pair.fence_steps()) >= 2, "the step has ended")
    assert "proof NODE" not in " ".join(pair.fence_steps())
    pair.until_path("armed")


def test_board_of_another_machine_proves_nothing(pair: Planned) -> None:
    """It says OFF while the peer is heard: wrong, and OFF is no proof when the peer is really
    off. An operator's word is.
    """
    pair.boards.show(pair.owner, False)
    assert "this is not its power" in pair.until_path("wrong")["text"]
    broken = "fence path broken: ipmi: it said OFF while deb1.opensvc.com was heard"
    pair.until(
        lambda: broken in pair.tried(pair.standby, f"{EZ}/bin/service -s -v")[1],
        "it is a warning",
    )
    pair.power.set_mode(Mode.WORK)
    pair.power.cut(pair.owner)
    pair.until(
        lambda: pair.own_state(pair.standby, "registry") == "START_FAILED",
        "the round fails",
    )
    assert pair.runs_on("registry") == []
    pair.must(pair.standby, f"{EZ}/bin/openha fence confirm deb1.opensvc.com")
    pair.until(lambda: pair.runs_on("registry") == ["deb2"], "started by the operator's word")


def test_drill_cuts_the_standby_and_is_kept(pair: Planned) -> None:
    """From the owner, since the standby runs nothing; the other way round it is refused."""
    drill = f"{EZ}/bin/openha fence test --power ipmi"
    code, text = pair.tried(pair.standby, f"echo deb1.opensvc.com | {drill}")
    assert code == 5 and "deb1.opensvc.com may run something: registry (STARTED)" in text
    pair.until_path("armed", pair.owner)
    pair.power.set_mode(Mode.WORK)
    code, text = pair.tried(pair.owner, f"echo deb2.opensvc.com | {drill}")
    assert code == 0, text
    assert "deb2.opensvc.com has no power now: switch it on again" in text
    assert pair.power.shots == ["deb2"] and pair.alive() == ["deb1"]
    assert pair.path(pair.owner)["tested_s"] > 3
    assert pair.runs_on("registry") == ["deb1"]


def test_drill_finds_a_board_that_lies(pair: Planned) -> None:
    """It reports OFF, and the node is still heard: exit code 6."""
    pair.until_path("armed", pair.owner)
    pair.power.set_mode(Mode.LIE)
    drill = f"{EZ}/bin/openha fence test --power ipmi"
    code, text = pair.tried(pair.owner, f"echo deb2.opensvc.com | {drill}")
    assert code == 6 and "reports OFF, and deb2.opensvc.com is still heard" in text, text
    assert pair.path(pair.owner)["tested_at"] is None
