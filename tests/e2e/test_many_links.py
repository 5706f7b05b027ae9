"""Twenty links of all types between two nodes, cut one after the other while a service is moved."""

from __future__ import annotations

import collections
import json
import time
from typing import Any

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from tests.e2e.cabled_cluster import CabledCluster, lay_cables, pairs
from tests.e2e.two_node_cluster import EZ, START_READY_S

pytestmark = pytest.mark.e2e

TIMEOUT_S = 2
GAP_S = 0.25


@pytest.fixture
def cluster(two_nodes: TwoNodes) -> CabledCluster:
    """All links up on both nodes, the service runs on the first."""
    lay_cables(two_nodes)
    made = CabledCluster(two_nodes, pairs(two_nodes, TIMEOUT_S), {"registry": "/bin/true"})
    made.run_on_first()
    for node in two_nodes:
        made.until(lambda: made.down(node), lambda seen: not seen, "all links are up")
    return made


def test_each_cut_takes_down_its_own_link_only_and_delays_nothing(cluster: CabledCluster) -> None:
    """Each of 20 links is cut in its turn, a quarter of a second after the one before, and healed
    once it is seen down: down in its timeout, or when it is announced, up by itself, others
    untouched.

    Meanwhile the service is moved to and fro: no move waits for the delay that a silent peer is
    given.
    """
    first, second = cluster.nodes
    before = {
        link: [len(cluster.log_of(second, each)) for each in link.ids] for link in cluster.links
    }
    waiting = list(cluster.links)
    cut_at: dict[Any, Any] = {}
    healed_at: dict[Any, Any] = {}
    owner, moves = first, 0

    def step() -> Any:
        nonlocal owner, moves
        if waiting and time.time() >= max(cut_at.values(), default=0.0) + GAP_S:
            link = waiting.pop(0)
            cut_at[link] = time.time()
            cluster.cut(link)
        down = cluster.down(second)
        for link in cluster.links:
            if link.ids[0] in down:
                assert link in cut_at, f"{link.ids[0]} was not cut"
                if link not in healed_at:
                    healed_at[link] = time.time()
                    cluster.heal(link)
        if moves < 4 and len(cut_at) > 2 + 4 * moves:
            owner, moves = _move(cluster, owner), moves + 1
        return len(healed_at) == len(cluster.links) and not down

    cluster.until(step, bool, "all links were down, and are up again")
    assert moves == 4 and cluster.calls("start") == ["deb1", "deb2", "deb1", "deb2", "deb1"]
    moments = _moments(cluster, second)
    for link in cluster.links:
        ((down_at, up_at),) = zip(
            moments[link.ids[0], "DOWN"][-1:], moments[link.ids[0], "UP"][-1:]
        )
        assert cut_at[link] <= down_at and healed_at[link] <= up_at, (
            "down because it was cut, up because it was healed"
        )
    for link in cluster.links:
        news = [cluster.log_of(second, each)[had:] for each, had in zip(link.ids, before[link])]
        heard = [line.partition(f"{link.ids[0]}: ")[2] for line in news[0]]
        why = (
            f"the peer reports that its {link.device} is down"
            if link.device.startswith("h")
            else f"no beat for {TIMEOUT_S} s"
        )
        assert heard == [f"DOWN: {why}", "UP: beat received"], heard
        assert all("DOWN" not in line for line in news[1]), news[1]
        for each in link.ids:
            own = [line for line in cluster.log_of(first, each) if "WARNING" in line]
            ends = ["DOWN: " in line for line in own]
            assert ends.count(True) <= 1 and ends.count(False) <= 1, own
    for node in cluster.nodes:
        assert "LIVE -> SILENT" not in cluster.must(node, "cat /usr/local/cluster/log/nmond.log")


def _moments(cluster: CabledCluster, node: Node) -> Any:
    """When each link went up or down, as the history of a node has it."""
    entries = json.loads(cluster.must(node, f"{EZ}/bin/openha history -n 0 --json"))["entries"]
    found = collections.defaultdict(list)
    for entry in entries:
        if entry["kind"] == "link":
            found[entry["name"], entry["new"]].append(entry["at"])
    return found


def _move(cluster: CabledCluster, owner: Node) -> Any:
    """freeze-stop and unfreeze on the owner; the new owner.

    The start does not wait as for a peer that is silent.
    """
    cluster.act(owner, "registry", "freeze-stop")
    other = next(node for node in cluster.nodes if node is not owner)
    is_first = other is cluster.first
    cluster.wait(other, {"registry": "STARTED/FROZEN_STOP" if is_first else "FROZEN_STOP/STARTED"})
    cluster.act(owner, "registry", "unfreeze")
    cluster.wait(other, {"registry": "STARTED/STOPPED" if is_first else "STOPPED/STARTED"})
    assert cluster.seconds_in(other, "START_READY") < START_READY_S
    return other
