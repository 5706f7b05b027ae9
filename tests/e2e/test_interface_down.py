"""An interface of the owner goes down while another link works: the peer is informed, and waits for
that link no more.
"""

from __future__ import annotations

from typing import Any

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from tests.e2e.two_node_cluster import EZ, START_READY_S, Cluster

pytestmark = pytest.mark.e2e

LONG_S = 60
SHORT_S = 2


class TwoNetworks(Cluster):
    """Two multicast links each way, and no disk: eth1 with a timeout that no test waits for, eth2
    with a short one.
    """

    def __init__(self, nodes: TwoNodes) -> None:
        super().__init__(nodes, {"registry": "/bin/true"})
        lines = [
            f"{node.name} net eth{n} 239.131.50.{10 * number + n} 501{n}"
            f" {LONG_S if n == 1 else SHORT_S}\n"
            for number, node in enumerate(nodes)
            for n in (1, 2)
        ]
        for node in nodes:
            node.write(f"{EZ}/conf/monitor", "".join(lines))

    def link(self, node: Node, device: str) -> Any:
        """What `hb -s --json` reports of the listener on a device."""
        return next(
            link
            for link in self.shown_links(node)
            if link["device"] == device and not link["is_sender"]
        )

    def log_of(self, node: Node, device: str) -> list[str]:
        """What the log of a node reports of the link that it listens to on a device, from its first
        time up.
        """
        label = f"link net {self.link(node, device)['label']}: "
        log = self.must(node, f"cat {EZ}/log/nmond.log")
        return [
            line.partition(label)[2]
            for line in log.splitlines()
            if label in line and "listener:" not in line
        ][1:]


@pytest.fixture
def cluster(two_nodes: TwoNodes) -> TwoNetworks:
    return TwoNetworks(two_nodes)


def test_interface_down_and_up_and_down_again_before_the_power_is_lost(
    cluster: TwoNetworks,
) -> None:
    """eth1 of the owner goes down: DOWN on the peer at once with the reason, nothing moves.

    Up: UP. Down again, and power loss: the peer takes over after the timeout of eth2, though eth1
    has 60 s.
    """
    cluster.run_on_first()
    first, second = cluster.nodes
    reason = "the peer reports that its eth1 is down"

    def look() -> Any:
        link = cluster.link(second, "eth1")
        return link["is_up"], link["reason"]

    cluster.must(first, "ip link set eth1 down")
    cluster.until(look, lambda seen: seen == (False, reason), "eth1 is down on deb2")
    assert cluster.link(second, "eth2")["is_up"]
    for node in cluster.nodes:
        assert cluster.states(node) == {"registry": "STARTED/STOPPED"}
    for node, text in ((first, "eth1 is down here: reported to the peer"), (second, reason)):
        cluster.until(
            lambda: cluster.must(node, f"{EZ}/bin/openha history"),
            lambda seen: text in seen,
            f"history: {text}",
        )

    cluster.must(first, "ip link set eth1 up")
    cluster.until(look, lambda seen: seen[0], "eth1 is up on deb2")
    assert cluster.log_of(second, "eth1") == [f"DOWN: {reason}", "UP: beat received"]

    cluster.must(first, "ip link set eth1 down")
    cluster.until(look, lambda seen: seen == (False, reason), "eth1 is down on deb2 again")
    first.kill()
    last_heard = cluster.link(second, "eth2")["updated_at"]
    cluster.wait(second, {"registry": "UNKNOWN/STARTED"})
    ready = [entry for entry in cluster.entries(second) if entry["new"] == "START_READY"][-1]
    assert SHORT_S - 1 < ready["at"] - last_heard < LONG_S - 10, (
        "when eth2 was silent, and eth1 was not waited for"
    )
    assert cluster.seconds_in(second, "START_READY") >= START_READY_S
    assert cluster.calls("start") == ["deb1", "deb2"] and cluster.runs_on() == ["deb2"]


def test_interface_that_is_down_when_the_daemon_starts_is_announced(cluster: TwoNetworks) -> None:
    """eth1 of deb1 is down before both daemons start: deb2 never hears it, and reports why."""
    first, second = cluster.nodes
    cluster.must(first, "ip link set eth1 down")
    for node in cluster.nodes:
        cluster.start(node)
    cluster.until(
        lambda: cluster.link(second, "eth1")["reason"],
        lambda seen: seen == "the peer reports that its eth1 is down",
        "the reason on deb2",
    )
    cluster.must(second, f"{EZ}/ezha restart")
    cluster.until(
        lambda: cluster.link(second, "eth1")["reason"],
        lambda seen: seen == "the peer reports that its eth1 is down",
        "the reason after a restart of deb2",
    )
