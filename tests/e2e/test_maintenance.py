"""A node is evacuated for maintenance, and gets its services back: two real nodes."""

from __future__ import annotations

import pytest

from opensvc_openha.demo.nodes import TwoNodes
from tests.e2e.agent_cluster import EZ, NO_CHECK, AgentCluster

pytestmark = pytest.mark.e2e

OPTIONS = f"{NO_CHECK}[policy]\nfailback = after 3\n"
VERBOSE = f"{EZ}/bin/service -s -v"


def test_node_is_evacuated_and_gets_its_services_back(two_nodes: TwoNodes) -> None:
    """Handed over, kept away across a restart of the daemon, and back by itself after the end;
    also by an order on the other node. What the other node would not take is named before
    anything is changed.
    """
    cluster = AgentCluster(two_nodes, has_ssh=False, options=OPTIONS)
    first, second = two_nodes
    cluster.start_with_key()
    cluster.must(first, "svcmgr -s web start")
    cluster.wait("STARTED/STOPPED")

    shown = cluster.must(first, "openha evacuate --reason CHG-12")
    assert f"it is safe to switch {first.name} off" in shown
    assert f"webha: STOPPED here, STARTED on {second.name}" in shown
    cluster.must(first, f"{EZ}/ezha restart")
    cluster.wait("STOPPED/STARTED")
    status = cluster.must(first, VERBOSE)
    assert "this node is evacuated since" in status and "CHG-12" in status
    kept = f"does not go back to {first.name}: {first.name} reports that it could not start it"
    cluster.until(lambda: second.run(VERBOSE).stdout, lambda seen: kept in seen)
    assert "could not start it" in cluster.act(second, f"{EZ}/bin/service -A webha stop", 5)

    cluster.must(second, f"openha evacuate --undo {first.name}")
    cluster.wait("STARTED/STOPPED")
    assert cluster.runs_on() == ["deb1"]

    cluster.must(second, f"{EZ}/bin/service -A webha freeze-stop")
    cluster.wait("STARTED/FROZEN_STOP")
    refused = cluster.act(first, "openha evacuate", 1)
    assert f"webha: it is FROZEN_STOP on {second.name}" in refused
    assert "evacuated since" not in cluster.must(first, VERBOSE)
    cluster.must(second, f"{EZ}/bin/service -A webha unfreeze")
    cluster.wait("STARTED/STOPPED")

    shown = cluster.must(second, f"openha evacuate {first.name}")
    assert f"it is safe to switch {first.name} off" in shown
    cluster.wait("STOPPED/STARTED")
    shown = cluster.must(first, "openha evacuate --stop")
    assert "it is safe to switch" in shown and not first.run(f"{EZ}/ezha status").stdout
