"""`openha drill` on two nodes: what it cuts, moves, measures, and leaves if it is killed."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.story import monitor_file
from tests.e2e import from_outside
from tests.e2e.two_node_cluster import EZ, Cluster

pytestmark = pytest.mark.e2e

FENCE = """#!/bin/sh
# A fence that a drill must never use.
echo "$OPENHA_PEER_STANDING" >> /shared/fenced
"""
REGISTRY = "registry"
DRILLED_TIMEOUT_S = 5
KILLED = f"""
{EZ}/bin/openha drill links eth1 --yes > /run/drill.out 2>&1 &
until grep -q 'is cut' /run/drill.out || ! kill -0 $!; do sleep 0.02; done
kill -9 $!
{EZ}/bin/hb -s -v | grep 'a drill has cut'
cat /run/drill.out
"""


class DrilledCluster(Cluster):
    """Both nodes with a key, two networks and a disk, and a service with a fence."""

    def __init__(self, nodes: TwoNodes) -> None:
        for node in nodes:
            node.write("/opt/fence", FENCE, 0o755)
        super().__init__(nodes, {REGISTRY: "/opt/fence"})
        for node in nodes:
            # A node that stood still for a quarter of it is drilled ten minutes later only.
            node.write(f"{EZ}/conf/monitor", monitor_file(DRILLED_TIMEOUT_S))
        self.share_key()
        self.run_on_first()
        for node in nodes:
            self.until(partial(from_outside.times_served, node), bool, "a peer server")

    def report(self, node: Node) -> Any:
        """Return what `openha drill report --json` prints."""
        return json.loads(self.must(node, f"{EZ}/bin/openha drill report --json"))

    def starts(self) -> list[str]:
        """Return on which nodes the service was started, in order."""
        return self.calls("start", REGISTRY)


def test_drills_of_links_switch_and_takeover(two_nodes: TwoNodes) -> None:
    """Each link goes down on both nodes and comes back, with no service moved; one that is cut when
    its drill is killed comes back; the service moves to the other node and back. All of it is
    recorded, and shown by the check.
    """
    cluster = DrilledCluster(two_nodes)
    first, second = two_nodes

    shown = cluster.must(first, f"{EZ}/bin/openha drill links --yes --reason CHG-12")
    assert "all passed" in shown
    assert cluster.starts() == [first.short_name]
    killed = cluster.must(first, KILLED)
    assert "is cut" in killed and "down" not in killed
    for node in two_nodes:
        cluster.until(lambda: down(cluster, node), lambda seen: not seen, "all links are up")
    check = cluster.patiently(first, f"{EZ}/bin/openha check").stdout
    assert "the drill link net eth1 was begun, and its end is not recorded" in check
    assert cluster.starts() == [first.short_name]

    shown = cluster.must(second, f"{EZ}/bin/openha drill switch {REGISTRY} --yes")
    assert "all passed" in shown
    assert cluster.starts() == [each.short_name for each in (first, second, first)]

    shown = cluster.must(second, f"{EZ}/bin/openha drill takeover {REGISTRY} --yes")
    assert "all passed" in shown and "START_READY, and no fence begins" in shown
    assert cluster.starts() == [each.short_name for each in (first, second, first, second)]
    for node in two_nodes:
        cluster.wait(node, {REGISTRY: "STOPPED/STARTED"})
    assert cluster.runs_on() == [second.short_name]
    assert not first.run("cat /shared/fenced").stdout

    results = cluster.report(first)["results"]
    assert [(each["drill"], each["subject"], each["reason"]) for each in results] == [
        ("link", name, "CHG-12") for name in ("net eth1", "net eth2", "dio /dev/mapper/disk.hb.0")
    ]
    assert all(len(each["steps"]) == 3 and not each["problem"] for each in results)
    check = cluster.patiently(first, f"{EZ}/bin/openha check").stdout
    assert f"ok: {first.name}: drill link net eth2: last passed" in check
    assert f"ok: {second.name}: drill switch {REGISTRY}: last passed" in check
    assert f"ok: {second.name}: drill takeover {REGISTRY}: last passed" in check
    assert "drill: link net eth1" in cluster.must(first, f"{EZ}/bin/openha history -n 0")
    taken = cluster.must(second, f"{EZ}/bin/openha history -n 0")
    assert "FENCE" not in taken.replace("HOLDS ITS FENCES", "") and "PLAYS DEAD" not in taken
    assert "PLAYS DEAD" in cluster.must(first, f"{EZ}/bin/openha history -n 0")


def down(cluster: Cluster, node: Node) -> list[str]:
    """Return the links that a node has as down, and what a drill does there."""
    status = cluster.heartbeats(node)
    return [link["reason"] for link in status["links"] if not link["is_up"]] + (
        [status["drill"]] if status["drill"] else []
    )
