"""A service that somebody started beside the cluster: it is found running, and no node starts it a
second time.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from opensvc_openha.demo.nodes import Node
from tests.e2e.two_node_cluster import EZ, SCRIPT, Cluster

pytestmark = pytest.mark.e2e

DUAL = "/opt/dual.sh"


def add(cluster: Cluster) -> list[str]:
    """`service -a` on both nodes; what each printed."""
    command = (
        f"{EZ}/bin/service -a dual {DUAL} {cluster.first.name} {cluster.second.name} /bin/true"
    )
    return [cluster.must(node, command) for node in cluster.nodes]


def start_by_hand(cluster: Cluster, node: Node) -> None:
    """An operator runs the wrapper, as `dual start --cluster` does."""
    for each in cluster.nodes:
        each.write(DUAL, SCRIPT, 0o755)
    cluster.must(node, f"{DUAL} start")
    assert cluster.runs_on("dual") == [node.short_name]


@pytest.mark.parametrize(
    "is_running", [True, False], ids=["added to running daemons", "added before the daemons"]
)
def test_service_that_runs_when_it_is_added_is_frozen_and_not_started_elsewhere(
    make_cluster: Callable[..., Cluster], is_running: bool
) -> None:
    """Up on the first node, added on both, unfrozen on the other: FROZEN_START here, and that is no
    place to start it.
    """
    cluster = make_cluster()
    start_by_hand(cluster, cluster.first)
    if is_running:
        for node in cluster.nodes:
            cluster.start(node)
    printed = add(cluster)
    assert ("is up on this node" in printed[0]) is is_running
    assert ("with initial state FROZEN_START" in printed[0]) is not is_running
    assert "FROZEN_START" not in printed[1]
    if not is_running:
        for node in cluster.nodes:
            cluster.start(node)
    for node in cluster.nodes:
        cluster.wait(node, {"dual": "FROZEN_START/FROZEN_STOP"})
    cluster.act(cluster.second, "dual", "unfreeze")
    cluster.wait(cluster.second, {"dual": "FROZEN_START/STOPPED"})
    refused = cluster.second.run(f"{EZ}/bin/service -A dual start")
    assert refused.returncode == 5 and "partner node is FROZEN_START" in refused.stderr
    cluster.stays(lambda: cluster.runs_on("dual"), lambda nodes: nodes == ["deb1"], 2)
    assert "found up" in cluster.must(cluster.first, f"{EZ}/bin/openha why dual")
    cluster.act(cluster.first, "dual", "unfreeze")
    for node in cluster.nodes:
        cluster.wait(node, {"dual": "STARTED/STOPPED"})
    assert cluster.calls("start", "dual") == ["deb1"]


def test_service_started_by_hand_while_its_daemon_was_away_is_found_when_that_comes_back(
    make_cluster: Callable[..., Cluster],
) -> None:
    """STOPPED in the file, started by hand between `ezha kill` and `ezha start`: the peer is not
    reported that it is out.
    """
    cluster = make_cluster()
    start_by_hand(cluster, cluster.first)
    cluster.must(cluster.first, f"{DUAL} stop")
    for node in cluster.nodes:
        cluster.start(node)
    add(cluster)
    cluster.must(cluster.first, f"{EZ}/ezha kill")
    cluster.must(cluster.first, f"{DUAL} start")
    cluster.start(cluster.first)
    cluster.act(cluster.second, "dual", "unfreeze")
    for node in cluster.nodes:
        cluster.wait(node, {"dual": "FROZEN_START/STOPPED"})
    assert cluster.calls("start", "dual") == ["deb1", "deb1"]


def test_freeze_stop_of_a_stopped_service_that_is_up_stops_it(
    make_cluster: Callable[..., Cluster],
) -> None:
    """The standby was started by hand beside its daemon: freeze-stop looks, and runs the stop
    script.
    """
    cluster = make_cluster()
    cluster.run_on_first()
    cluster.act(cluster.first, "registry", "freeze-start")
    cluster.must(cluster.second, "/opt/registry.sh start")
    cluster.act(cluster.second, "registry", "freeze-stop")
    assert cluster.runs_on() == ["deb1"]
    assert cluster.calls("stop") == ["deb2"]
    for node in cluster.nodes:
        cluster.wait(node, {"registry": "FROZEN_START/FROZEN_STOP"})


def test_service_started_by_hand_beside_its_daemon_is_found_and_the_peer_refuses_to_start_it(
    make_cluster: Callable[..., Cluster],
) -> None:
    """FROZEN_STOP on both, then the wrapper's start on the first: found by the next look, which an
    edit brings forward.
    """
    cluster = make_cluster()
    for each in cluster.nodes:
        each.write(DUAL, SCRIPT, 0o755)
        cluster.start(each)
    add(cluster)
    cluster.wait(cluster.first, {"dual": "FROZEN_STOP/FROZEN_STOP"})
    cluster.must(cluster.first, f"{DUAL} start")
    cluster.must(cluster.first, f"echo '# edited' >> {EZ}/conf/services")
    for node in cluster.nodes:
        cluster.wait(node, {"dual": "FROZEN_START/FROZEN_STOP"})
    cluster.act(cluster.second, "dual", "unfreeze")
    refused = cluster.second.run(f"{EZ}/bin/service -A dual start")
    assert refused.returncode == 5 and "partner node is FROZEN_START" in refused.stderr
    assert "started by nobody of the cluster" in cluster.must(
        cluster.first, f"{EZ}/bin/service -s -v"
    )
    assert "started by nobody of the cluster" in cluster.must(
        cluster.first, f"cat {EZ}/log/nmond.log"
    )
    assert cluster.calls("start", "dual") == ["deb1"]
