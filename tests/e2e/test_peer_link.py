"""Two nodes with a key and without ssh: what one asks of the other goes over the peer link."""

from __future__ import annotations

import re

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from tests.e2e.agent_cluster import EZ, AgentCluster

pytestmark = pytest.mark.e2e

LOG = f"{EZ}/log/peer-link.log"


@pytest.fixture
def cluster(two_nodes: TwoNodes) -> AgentCluster:
    """Return the cluster with a key, started, the service frozen stopped."""
    cluster = AgentCluster(two_nodes, has_ssh=False)
    cluster.must(cluster.first, "openha key generate")
    key = cluster.must(cluster.first, f"cat {EZ}/conf/openha.key")
    cluster.second.write(f"{EZ}/conf/openha.key", key, 0o600)
    cluster.start()
    for node in two_nodes:
        serves(cluster, node)
    return cluster


def serves(cluster: AgentCluster, node: Node, times: int = 1) -> None:
    """Wait until the peer server of a node has begun to serve that often."""
    cluster.until(
        lambda: node.run(f"grep -c 'serving on port' {LOG}").stdout.strip(),
        lambda count: count == str(times),
    )


def server_pid(node: Node) -> str:
    """Return the pid of a node's peer server; empty without one."""
    return node.run("ps -eo pid=,args= | awk '/[p]eer-server/ {print $1}'").stdout.strip()


def test_orders_need_no_ssh(cluster: AgentCluster) -> None:
    """Start, switch and stop drive both nodes over the link, each with an entry in the log there;
    a peer that allows no orders refuses them, and one whose server was killed has a new one.
    """
    first, second = cluster.nodes
    assert "over the peer link: exit code 0" in cluster.must(first, "web start")
    cluster.wait("STARTED/STOPPED")
    cluster.must(first, "web switch")
    cluster.wait("STOPPED/STARTED")
    assert "'switch --remote' on node deb2.opensvc.com over the peer link" in cluster.must(
        first, "web switch --to deb1.opensvc.com"
    )
    cluster.wait("STARTED/STOPPED")
    assert re.search(
        r"deb1\.opensvc\.com: request [0-9a-f]{8}: switch web", cluster.must(second, f"cat {LOG}")
    )

    second.write(f"{EZ}/conf/openha.conf", "[peer_link]\nallow = files\n")
    serves(cluster, second, 2)
    refused = cluster.act(first, "web freeze", 5)
    assert "this node does not take orders from the other node: [peer_link] allow" in refused
    assert "ssh is used" in refused
    assert cluster.states(first) == "FROZEN_START/STOPPED"

    second.write(f"{EZ}/conf/openha.conf", "")
    serves(cluster, second, 3)
    killed = server_pid(second)
    cluster.must(second, f"kill -9 {killed}")
    serves(cluster, second, 4)
    assert "peer server: was ended by signal 9: started again" in cluster.must(
        second, f"cat {EZ}/log/nmond.log"
    )
    cluster.must(first, "web thaw")
    cluster.must(first, "web stop")
    cluster.wait("FROZEN_STOP/FROZEN_STOP")


def test_server_ends_with_the_daemon_and_with_its_key(cluster: AgentCluster) -> None:
    """Without a daemon, or without a key, nothing listens; the daemon does not mind either."""
    first, second = cluster.nodes
    pid = cluster.must(second, f"cat {EZ}/services/.proc/nmond.lock").split()[0]
    cluster.must(second, f"kill -9 {pid}")
    cluster.until(lambda: server_pid(second), lambda found: not found)

    first.write(f"{EZ}/conf/openha.conf", "[peer_link]\nenabled = no\n")
    cluster.until(lambda: server_pid(first), lambda found: not found)
    assert "switched off" in cluster.must(first, f"cat {LOG}")
    assert "peer server" not in cluster.must(first, f"cat {EZ}/log/nmond.log")
    first.write(f"{EZ}/conf/openha.conf", "")
    serves(cluster, first, 2)
