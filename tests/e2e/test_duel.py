"""A duel with a real fence: a service on each node, all links cut, a power switch that takes 3 s;
then the loser boots.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bench.duels import EZ, LINK_TIMEOUT_S, ONE_EACH, Pair
from bench.power import CUT_AFTER_S, PowerSwitch
from opensvc_openha.core.timing import START_READY_DELAY_S
from opensvc_openha.demo.nodes import TwoNodes

pytestmark = pytest.mark.e2e

FENCED_IN_RETURN_S = LINK_TIMEOUT_S + START_READY_DELAY_S + CUT_AFTER_S + 2
"""A node that fences as soon as it calls its peer silent would have done so by then."""


@pytest.fixture
def pair(two_nodes: TwoNodes) -> Iterator[Pair]:
    """Two nodes with a service each, and the switch."""
    made = Pair(two_nodes, ONE_EACH)
    yield made
    made.close()


def test_set_up_that_fails_leaves_nothing_that_acts_on_the_nodes(two_nodes: TwoNodes) -> None:
    """One node is off before the set-up: it raises, and the switch's thread and process are
    gone.
    """
    made = []

    def make_power(nodes: TwoNodes) -> Any:
        made.append(PowerSwitch(nodes))
        return made[0]

    two_nodes[1].kill()
    with pytest.raises(OSError):
        Pair(two_nodes, ONE_EACH, make_power=make_power)
    assert not made[0].is_alive()
    assert made[0].keeper.returncode is not None


def test_one_of_two_healthy_nodes_survives_and_the_other_one_boots_without_fencing_it(
    pair: Pair,
) -> None:
    """The node with the higher priority survives and runs both services.

    The other one, booted while cut, fences no node.
    """
    pair.run_all()
    pair.cut()
    pair.until(pair.is_decided, "one node that runs both services, or none")
    assert pair.alive() == ["deb2"], "the service on deb2 has the higher priority"
    assert pair.power.shots == ["deb1"]

    shot, is_twice = pair.boot_the_dead(FENCED_IN_RETURN_S)
    assert (shot, is_twice) == (0, False)
    assert pair.alive() == ["deb1", "deb2"]
    assert [pair.runs_on(service) for service in pair.owners] == [["deb2"], ["deb2"]]
    # Its turn to fence would only come later still: it must not even want to.
    booted = pair.nodes[0]
    assert [pair.own_state(booted, service) for service in pair.owners] == ["STOPPED", "STOPPED"]
    output = pair.must(booted, f"{EZ}/bin/openha fence status || true")
    assert "deb2.opensvc.com has not answered since deb1.opensvc.com booted" in output
