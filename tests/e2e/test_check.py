"""A standby that could not take over says so before that, and how long it would take."""

from __future__ import annotations

import json

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from tests.e2e.agent_cluster import EZ, AgentCluster

pytestmark = pytest.mark.e2e

VERBOSE = f"{EZ}/bin/service -s -v"
NO_INTERFACE = "webha: takeover ready: no: ip#1: interface eth0 not found"


def shows(cluster: AgentCluster, node: Node, text: str, is_there: bool = True) -> str:
    """Wait until `service -s -v` of a node has a text, or has it no more."""
    return cluster.until(lambda: node.run(VERBOSE).stdout, lambda seen: (text in seen) is is_there)


def rename(cluster: AgentCluster, node: Node, old: str, new: str) -> None:
    """Give an interface another name; its addresses stay."""
    cluster.must(node, f"ip link set {old} down && ip link set {old} name {new}")
    cluster.must(node, f"ip link set {new} up")


def test_broken_standby_is_found_by_both_nodes_and_by_itself(two_nodes: TwoNodes) -> None:
    """A script that is gone, a service file that differs, an interface with another name: in a
    check on either node; in the status of the standby, and as a warning on the owner, by the
    standby's own schedule. Repaired, it is ready, with a prediction; then a takeover is measured.
    """
    cluster = AgentCluster(two_nodes, has_ssh=False, options="")
    first, second = two_nodes
    cluster.start_with_key()
    cluster.must(first, "svcmgr -s web start")
    cluster.wait("STARTED/STOPPED")

    cluster.must(second, "mv /opt/web.init /opt/gone; echo '# x' >> /etc/opensvc/web.env")
    rename(cluster, second, "eth0", "lan0")
    name = second.name
    found = cluster.act(second, "openha check webha", 2)
    assert f"error: {name}: service webha: app#1: there is no file /opt/web.init" in found
    objects = json.loads(cluster.act(first, "openha check --peer --json", 2))["findings"]
    by_check = {each["check"]: each for each in objects if each["service"] == "webha"}
    assert by_check["scripts"]["node"] == by_check["interfaces"]["node"] == name
    assert by_check["interfaces"]["stops_start"] and by_check["files"]["severity"] == "error"

    # What the check on the standby found is in its status, and on the owner.
    shows(cluster, second, "webha: takeover ready: no")
    shows(cluster, first, f"{name} could not start webha")
    assert "could not start it" in cluster.act(first, f"{EZ}/bin/service -A webha stop", 5)

    # Repaired but for the interface, which the standby finds by itself.
    cluster.must(second, "mv /opt/gone /opt/web.init; sed -i '$d' /etc/opensvc/web.env")
    second.write(f"{EZ}/conf/openha.conf", "[check]\nevery = 8\n")
    shown = shows(cluster, second, NO_INTERFACE)
    cluster.until(lambda: second.run(VERBOSE).stdout, lambda seen: "more: openha check" not in seen)
    assert "a takeover would take" in shown
    rename(cluster, second, "lan0", "eth0")
    ready = shows(cluster, second, "webha: takeover ready: yes")
    assert f"start script, as on {first.name}" in ready
    shows(cluster, first, "could not start webha", is_there=False)
    told = cluster.must(second, "openha history webha")
    assert "service webha: not ready" in told and "service webha: ready" in told

    first.kill()
    shows(cluster, second, "webha: the last takeover took")
