"""Two nodes of ours that speak the original's format to each other, and change to their own while a
service runs.
"""

from __future__ import annotations

import pytest

from opensvc_openha.demo.nodes import TwoNodes
from tests.e2e.mixed_cluster import LINK_TIMEOUT_S, OPTIONS, START_READY_S, MixedCluster

pytestmark = pytest.mark.e2e

LINKS = (
    ("net eth1:239.131.50.10", "net eth1:239.131.50.12", "eth1"),
    ("net eth2:239.131.50.11", "net eth2:239.131.50.13", "eth2"),
    ("dio /dev/mapper/disk.hb.0:0", "dio /dev/mapper/disk.hb.0:19", "/dev/mapper/disk.hb.0"),
)


@pytest.fixture
def cluster(two_nodes: TwoNodes) -> MixedCluster:
    """Both nodes with this package and wire = legacy; the service runs on deb1, deb2 is standby."""
    made = MixedCluster(two_nodes, "")
    for node in made.nodes:
        made.use_ours(node)
    made.add_service()
    for node in made.nodes:
        made.start(node)
    made.wait("FROZEN_STOP/FROZEN_STOP")
    made.wait_links()
    made.act(made.first, "unfreeze")
    made.wait("STARTED/FROZEN_STOP")
    made.act(made.second, "unfreeze")
    made.wait("STARTED/STOPPED")
    return made


def test_takeover_between_two_nodes_in_the_originals_format(cluster: MixedCluster) -> None:
    """The owner dies and comes back: takeover after timeout and 5 s, and it is standby
    afterwards.
    """
    first, second = cluster.nodes
    first.kill()
    cluster.wait("UNKNOWN/STARTED", second)
    assert cluster.seconds_ready(second) >= START_READY_S
    first.boot()
    cluster.start(first)
    cluster.wait("STOPPED/STARTED")
    cluster.stays("STOPPED/STARTED", START_READY_S)
    assert cluster.calls() == ["start deb1", "start deb2"]


def test_links_change_their_format_one_by_one_while_the_service_runs(cluster: MixedCluster) -> None:
    """Each link is set to own on one node, then on the other: it goes down and up, nothing else
    happens; then all are own.
    """
    text = OPTIONS
    for *link_ids, device in LINKS:
        text += "".join(f"[[{link_id}]]\nwire = own\n" for link_id in link_ids)
        cluster.first.write("/etc/openha/openha.conf", text)
        cluster.until(lambda: cluster.listeners(cluster.second)[device], "DOWN", f"{device} down")
        cluster.second.write("/etc/openha/openha.conf", text)
        cluster.wait_links()
        assert [cluster.states(node) for node in cluster.nodes] == ["STARTED/STOPPED"] * 2
    for node in cluster.nodes:
        node.write("/etc/openha/openha.conf", "[heartbeat]\nwire = own\n")
    cluster.stays("STARTED/STOPPED", LINK_TIMEOUT_S + START_READY_S)
    cluster.wait_links()
    assert cluster.calls() == ["start deb1"]
    # With acknowledgements a start takes no 5 s any more.
    cluster.act(cluster.first, "freeze-stop")
    cluster.wait("FROZEN_STOP/STARTED")
    assert cluster.seconds_ready(cluster.second) < START_READY_S
