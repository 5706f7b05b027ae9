"""A node daemon that is stopped and continued (SIGSTOP, SIGCONT) for parts and multiples of the
link timeout, on two nodes.

With profile fast a takeover follows 0.2 s after the timeout, and the check-up script succeeds
though it fences no node: what keeps the service from running twice for good is the stalled owner,
which asks before it continues.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.story import monitor_file
from tests.e2e.two_node_cluster import EZ, Cluster

pytestmark = pytest.mark.e2e

TIMEOUT_S = 2
OPTIONS = "[timing]\nprofile = fast\nfence_time = 1\n"


@pytest.fixture
def cluster(two_nodes: TwoNodes, make_cluster: Callable[..., Cluster]) -> Cluster:
    """The service runs on deb1, deb2 is standby, both fast."""
    for node in two_nodes:
        node.write("/opt/check", "#!/bin/sh\nexit 0\n", 0o755)
    made = make_cluster(registry="/opt/check")
    for node in two_nodes:
        node.write(f"{EZ}/conf/monitor", monitor_file(TIMEOUT_S))
        node.write(f"{EZ}/conf/openha.conf", OPTIONS)
    made.run_on_first()
    made.await_right()
    return made


def stall(cluster: Cluster, node: Node, seconds: float) -> None:
    """Stops the daemon, and only it, for a time."""
    pid = cluster.must(node, f"cat {EZ}/services/.proc/nmond.lock").split()[0]
    cluster.must(node, f"kill -STOP {pid}")
    time.sleep(seconds)
    cluster.must(node, f"kill -CONT {pid}")


def stalled_lately(cluster: Cluster, node: Node) -> Any:
    """What a node reports of its own stalls."""
    return cluster.must(node, f"{EZ}/bin/service -s -v; {EZ}/bin/openha history")


@pytest.mark.parametrize("timeouts", [0.5, 0.9])
def test_a_daemon_stalled_for_less_than_the_timeout_moves_nothing(
    cluster: Cluster, timeouts: float
) -> None:
    """First the owner's, then the standby's: nothing is started or stopped anywhere, and both are
    up to date afterwards.
    """
    for node in cluster.nodes:
        stall(cluster, node, timeouts * TIMEOUT_S)
        cluster.stays(
            lambda: (cluster.calls("start"), cluster.calls("stop")),
            lambda seen: seen == (["deb1"], []),
            1,
        )
        for each in cluster.nodes:
            cluster.wait(each, {"registry": "STARTED/STOPPED"})
    assert cluster.runs_on() == ["deb1"]


@pytest.mark.parametrize("timeouts", [1.5, 3])
def test_an_owner_stalled_for_longer_asks_and_steps_down(cluster: Cluster, timeouts: float) -> None:
    """deb2 took the service meanwhile: on waking deb1 stops its copy, reports why, and is standby.

    One copy is left.
    """
    stall(cluster, cluster.first, timeouts * TIMEOUT_S)
    for node in cluster.nodes:
        cluster.wait(node, {"registry": "STOPPED/STARTED"})
    assert cluster.runs_on() == ["deb2"]
    assert (cluster.calls("start"), cluster.calls("stop")) == (["deb1", "deb2"], ["deb1"])
    output = stalled_lately(cluster, cluster.first)
    assert "stalled for" in output and "the peer has taken the service" in output
    cluster.stays(cluster.runs_on, lambda nodes: nodes == ["deb2"], 1)


@pytest.mark.parametrize("timeouts", [1.5, 3])
def test_a_standby_stalled_for_longer_listens_before_it_judges(
    cluster: Cluster, timeouts: float
) -> None:
    """deb2 heard nothing for longer than its timeout, by its own fault: it takes nothing over, and
    reports that it was stalled.
    """
    stall(cluster, cluster.second, timeouts * TIMEOUT_S)
    cluster.stays(
        lambda: (cluster.calls("start"), cluster.calls("stop")),
        lambda seen: seen == (["deb1"], []),
        TIMEOUT_S + 1,
    )
    for node in cluster.nodes:
        cluster.wait(node, {"registry": "STARTED/STOPPED"})
    assert "stalled for" in stalled_lately(cluster, cluster.second)
