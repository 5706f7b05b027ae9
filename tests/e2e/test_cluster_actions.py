"""A person's start, stop, switch, freeze and thaw of a service under a heartbeat, on two nodes that
reach each other by ssh.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from opensvc_openha.demo import node_ssh
from opensvc_openha.demo.nodes import TwoNodes
from tests.e2e.agent_cluster import EZ, AgentCluster
from tests.waiting import LIMIT_S

pytestmark = pytest.mark.e2e


@pytest.fixture
def make_agent_cluster(two_nodes: TwoNodes) -> Callable[..., AgentCluster]:
    """Makes the cluster; a skip for lack of ssh fails in CI."""
    missing = node_ssh.missing_tools() or ("root" if os.geteuid() != 0 else "")
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"needs {missing}")

    def make(**options: Any) -> AgentCluster:
        return AgentCluster(two_nodes, **options)

    return make


def test_start_switch_freeze_thaw_and_stop_drive_both_nodes(
    make_agent_cluster: Callable[..., AgentCluster],
) -> None:
    """The life of a service from one prompt: each action ends with both nodes where it promises,
    and the service once at most.
    """
    cluster = make_agent_cluster()
    cluster.start()
    first, second = cluster.nodes
    assert "already frozen stop" in cluster.must(first, "web stop")
    assert "webha is STARTED on this node" in cluster.must(first, "web start")
    cluster.wait("STARTED/STOPPED")
    assert "already started" in cluster.must(first, "web start")
    assert "already STARTED on the peer deb1.opensvc.com: switch moves it here" in cluster.act(
        second, "web start", 5
    )

    assert "webha is STARTED on deb2.opensvc.com" in cluster.must(first, "web switch")
    assert (cluster.states(first), cluster.runs_on()) == ("STOPPED/STARTED", ["deb2"])
    cluster.must(first, "web switch --to deb1.opensvc.com")
    assert "runs on deb1.opensvc.com already" in cluster.must(
        first, "web switch --to deb1.opensvc.com"
    )
    assert "runs on deb1.opensvc.com or deb2.opensvc.com only" in cluster.act(
        first, "web switch --to deb3", 5
    )
    cluster.wait("STARTED/STOPPED")
    assert cluster.runs_on() == ["deb1"]

    cluster.must(first, "web freeze")
    cluster.wait("FROZEN_START/FROZEN_STOP")
    assert [cluster.avail(node) for node in cluster.nodes] == [
        ("up", "warn", True),
        ("down", "warn", True),
    ]
    for action in ("start", "stop", "switch"):
        assert "Abort action for frozen service" in cluster.act(first, f"web {action}", 1)
    cluster.must(second, "web thaw")
    cluster.wait("STARTED/STOPPED")
    assert [cluster.avail(node) for node in cluster.nodes] == [
        ("up", "up", False),
        ("down", "down", False),
    ]

    assert "this service is managed by a clusterware" in cluster.act(first, "web restart", 1)
    assert "this service is managed by a clusterware" in cluster.act(first, "web stopapp", 1)
    assert cluster.runs_on() == ["deb1"]
    cluster.must(first, "web stop --rid app#1")
    assert (cluster.runs_on(), cluster.states(first)) == ([], "STARTED/STOPPED")
    cluster.must(first, "web startapp --cluster")
    before = len(cluster.calls())
    cluster.must(second, "web stop")
    assert cluster.calls()[before:] == ["stop deb1"], (
        "the standby did not take over what was stopped"
    )
    assert (cluster.states(first), cluster.runs_on()) == ("FROZEN_STOP/FROZEN_STOP", [])
    cluster.must(second, "web start")
    cluster.wait("STOPPED/STARTED")


def test_what_fails_on_the_way_is_reported_and_leaves_one_service_at_most(
    make_agent_cluster: Callable[..., AgentCluster],
) -> None:
    """A start that fails, a switch to a node where it fails, no ssh, a silent peer, no daemon: a
    reason and no zero each time.
    """
    cluster = make_agent_cluster()
    first, second = cluster.nodes
    cluster.run_on_first()
    cluster.must(first, "touch /shared/refuses-deb2")
    output = cluster.act(first, "web switch", 6)
    assert "webha is START_FAILED on deb2.opensvc.com" in output and cluster.runs_on() == []
    assert "webha is START_FAILED on the peer deb2.opensvc.com" in cluster.act(
        first, "web start", 5
    )
    cluster.must(first, "web stop")
    cluster.wait("FROZEN_STOP/FROZEN_STOP")
    assert "webha is START_FAILED on this node: start script failed" in cluster.act(
        second, "web start", 6
    )
    cluster.must(second, "web stop; rm /shared/refuses-deb2")
    cluster.must(first, "web start")
    cluster.wait("STARTED/STOPPED")

    second.write("/root/.ssh/authorized_keys", "")
    output = cluster.act(first, "web stop", 5)
    assert "it does not accept our ssh key" in output and "service -A webha freeze-stop" in output
    assert (cluster.states(first), cluster.runs_on()) == ("STARTED/STOPPED", ["deb1"])
    assert "webha is STARTED on deb2" in cluster.must(first, "web switch"), (
        "a switch from its owner needs no ssh"
    )
    assert "frozen on this node only" in cluster.act(first, "web freeze", 5)

    second.kill()
    cluster.until(lambda: cluster.states(first), lambda seen: seen.endswith("UNKNOWN"))
    assert "cannot switch" in cluster.act(first, "web switch --force", 5)
    cluster.must(first, "web thaw")
    cluster.wait("STARTED/UNKNOWN", nodes=[first])
    cluster.must(first, f"{EZ}/ezha kill")
    output = cluster.act(first, "web stop", 1)
    assert "this service is managed by a clusterware" in output and "nmond is not running" in output
    assert cluster.runs_on() == ["deb1"]


def test_an_interrupted_start_reports_that_the_cluster_continues_and_a_second_action_waits(
    make_agent_cluster: Callable[..., AgentCluster],
) -> None:
    """Ctrl-C while the service starts slowly: the command ends at once, the start does not.

    A stop given meanwhile is refused while another action holds the service, and done after it.
    """
    cluster = make_agent_cluster()
    first = cluster.first
    cluster.start()
    cluster.must(first, "echo 4 > /shared/slow")
    starting = first.popen("exec svcmgr -s web start", stdout=-1, stderr=-2)
    cluster.until(lambda: cluster.states(first), lambda seen: seen.startswith("STARTING"))
    refused = cluster.act(first, "web stop --waitlock 1", 5)
    assert "(start) is acting on this service" in refused
    first.run("pkill -INT -f '[-]s web start'")
    out, _ = starting.communicate(timeout=LIMIT_S)
    assert (
        starting.returncode == 130
        and "interrupted by SIGINT: what the node daemons were asked for continues" in out
    )
    assert cluster.runs_on() == []
    assert "webha is FROZEN_STOP on this node" in cluster.must(first, "web stop"), (
        "it waits for the start to be over"
    )
    assert cluster.calls()[:2] == ["start deb1", "stop deb1"]
    assert (cluster.states(first), cluster.runs_on()) == ("FROZEN_STOP/FROZEN_STOP", [])
