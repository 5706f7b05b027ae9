"""Nodes that ask a gateway on the network of their clients: it dies, one of them is cut from it."""

from __future__ import annotations

from typing import Any

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from tests.e2e.two_node_cluster import EZ, Cluster

pytestmark = pytest.mark.e2e

GATEWAY = "10.50.0.254"
OPTIONS = f"""[check]
every = never
[connectivity]
ping = {GATEWAY}
every = 0.3
timeout = 0.3
"""


class Routed(Cluster):
    """A cluster whose nodes have a gateway behind eth0; heartbeats take other ways."""

    def __init__(self, nodes: TwoNodes) -> None:
        super().__init__(nodes, {"registry": "/bin/true"})
        self.set_gateway(True)
        for node in nodes:
            node.write(f"{EZ}/conf/openha.conf", OPTIONS)

    def set_gateway(self, is_up: bool) -> None:
        """Give the gateway its address, or take it away."""
        self.nodes.enclosure.ip(f"addr {'add' if is_up else 'del'} {GATEWAY}/24 dev switch0")

    def reach(self, node: Node) -> Any:
        """Return what a node reports of its targets."""
        return self.heartbeats(node)["connectivity"]

    def until_reach(self, node: Node, own: str, peer: str) -> None:
        """Wait until a node reports this of itself and of its peer."""
        self.until(
            lambda: self.reach(node),
            lambda seen: (seen["reach"], seen["peer_reach"]) == (own, peer),
            f"{node.name} is {own}, its peer {peer}",
        )


def test_owner_cut_from_its_gateway_hands_over_and_takes_nothing_over(two_nodes: TwoNodes) -> None:
    """A gateway that dies moves nothing. Cut from it alone, the owner hands its service over; cut
    from everything, it takes nothing back.
    """
    cluster = Routed(two_nodes)
    first, second = two_nodes
    cluster.run_on_first()
    for node in two_nodes:
        cluster.until_reach(node, "reachable", "reachable")

    cluster.set_gateway(False)
    for node in two_nodes:
        cluster.until_reach(node, "isolated", "isolated")
        assert cluster.states(node) == {"registry": "STARTED/STOPPED"}
    cluster.set_gateway(True)
    for node in two_nodes:
        cluster.until_reach(node, "reachable", "reachable")
    assert cluster.calls("stop") == []

    first.cut("eth0", "in")
    cluster.wait(second, {"registry": "STOPPED/STARTED"})
    cluster.until_reach(second, "reachable", "isolated")
    text = cluster.must(first, f"{EZ}/bin/openha history registry")
    assert f"isolated, {GATEWAY} does not answer: handed over" in text
    assert f"warning: {first.name} is isolated: {GATEWAY} does not answer" in cluster.must(
        first, f"{EZ}/bin/service -s -v"
    )

    for link in ("eth1", "eth2"):
        first.cut(link)
    first.cut_disk()
    cluster.until(
        lambda: cluster.must(first, f"{EZ}/bin/service -s -v"),
        lambda text: f"not taken over: isolated, {GATEWAY} does not answer" in text,
        "the first node reports why it takes nothing over",
    )
    cluster.wait(second, {"registry": "UNKNOWN/STARTED"})
    assert cluster.calls("start") == ["deb1", "deb2"] and cluster.runs_on() == ["deb2"]
