"""Monitored resources on two nodes: restart, monitor actions, what keeps them from happening, and
the life of the monitor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from tests.e2e.agent_cluster import EZ, AgentCluster

pytestmark = pytest.mark.e2e

INTERVAL_S = 0.5
OPTIONS = f"[agent]\nmonitor_interval = {INTERVAL_S}\n"
MONITORED = "monitor = true\nrestart = 1\n"
MONITOR = "[o]pensvc_openha monitor"


@pytest.fixture
def make_agent_cluster(two_nodes: TwoNodes) -> Callable[..., AgentCluster]:
    """Makes a running cluster whose application is monitored."""

    def make(**options: Any) -> AgentCluster:
        cluster = AgentCluster(two_nodes, has_ssh=False, app=MONITORED, options=OPTIONS, **options)
        cluster.start()
        for node in cluster.nodes:
            cluster.must(node, f"{EZ}/bin/service -A webha unfreeze")
        cluster.wait("STARTED/STOPPED")
        return cluster

    return make


def history(cluster: AgentCluster, node: Node) -> list[str]:
    """What the history reports of the monitor."""
    lines = cluster.must(node, f"{EZ}/bin/openha history webha").splitlines()
    return [
        line.partition("resource monitor of webha: ")[2]
        for line in lines
        if "resource monitor of webha: " in line
    ]


def fail(cluster: AgentCluster, is_for_good: bool) -> None:
    """The application ends by itself on the first node, and cannot be started there again, or
    can.
    """
    cluster.must(
        cluster.first,
        "touch /shared/refuses-deb1; rm /run/web.runs" if is_for_good else "rm /run/web.runs",
    )


def monitor_pids(cluster: AgentCluster, node: Node) -> list[str]:
    return cluster.must(node, f"pgrep -f '{MONITOR}' || true").split()


def test_what_went_down_is_restarted_and_what_stays_down_moves_the_service(
    make_agent_cluster: Callable[..., AgentCluster],
) -> None:
    """restart = 1: a dead application is started again.

    One that cannot be is a freezestop, and the peer runs the service.
    """
    cluster = make_agent_cluster(
        default="monitor_action = freezestop\npre_monitor_action = date > /shared/pre\n"
    )
    first = cluster.first
    fail(cluster, is_for_good=False)
    cluster.until(
        lambda: history(cluster, first),
        lambda seen: seen == ["RESTARTED: app#1 was down, and is up again"],
    )
    assert (cluster.runs_on(), cluster.states(first)) == (["deb1"], "STARTED/STOPPED")
    fail(cluster, is_for_good=True)
    cluster.wait("FROZEN_STOP/STARTED")
    assert cluster.runs_on() == ["deb2"]
    assert history(cluster, first)[1:] == ["FREEZESTOP: app#1 is down"]
    cluster.must(first, "test -s /shared/pre && ! ip addr show eth0 | grep 10.50.0.71")
    why = cluster.must(first, f"{EZ}/bin/openha why webha")
    assert "STOPPING -> FROZEN_STOP" in why
    assert "resource monitor of webha: FREEZESTOP: app#1 is down" in why
    # What it shows of the minute before has the operator's orders, too.
    assert "command freeze-stop for webha: by resource monitor" in why
    assert "STARTED -> STOPPING: resource monitor: freeze-stop" in why
    log = cluster.must(first, "cat /var/log/opensvc/web.log")
    assert (
        "monitored resource app#1 is in state down" in log
        and "start monitor action 'freezestop'" in log
    )


def test_nothing_is_done_in_a_freeze_nor_without_a_peer_that_takes_over(
    make_agent_cluster: Callable[..., AgentCluster],
) -> None:
    """Frozen: the dead application stays dead.

    Peer frozen: the rest of the service stays up, an alarm is kept, once.
    """
    cluster = make_agent_cluster(default="monitor_action = freezestop\n")
    first, second = cluster.nodes
    cluster.must(first, "web freeze --cluster")
    fail(cluster, is_for_good=False)
    assert "nothing to monitor: the service is frozen" in cluster.must(
        first, "web resource monitor"
    )
    first.run(f"sleep {3 * INTERVAL_S}")
    assert (cluster.runs_on(), history(cluster, first)) == ([], [])
    cluster.must(first, "web thaw --cluster")
    cluster.until(cluster.runs_on, lambda seen: seen == ["deb1"])

    cluster.must(second, f"{EZ}/bin/service -A webha freeze-stop")
    cluster.wait("STARTED/FROZEN_STOP")
    fail(cluster, is_for_good=True)
    cluster.until(lambda: history(cluster, first), lambda seen: len(seen) == 2)
    tries = cluster.calls().count("start deb1")
    first.run(f"sleep {3 * INTERVAL_S}")
    assert cluster.calls().count("start deb1") == tries, (
        "its tries are used up until it was up again"
    )
    output = (
        "FAILED: app#1 is down; freezestop is not done, for the service is FROZEN_STOP on the peer"
        " deb2.opensvc.com"
    )
    assert history(cluster, first)[1].startswith(output) and len(history(cluster, first)) == 2
    assert cluster.states(first) == "STARTED/FROZEN_STOP"
    cluster.must(first, "ip addr show eth0 | grep -q 10.50.0.71")
    cluster.must(second, f"{EZ}/bin/service -A webha unfreeze")
    cluster.wait("FROZEN_STOP/STARTED")
    assert cluster.runs_on() == ["deb2"]


@pytest.mark.parametrize("action", ["reboot", "crash"])
def test_node_is_taken_down_after_the_history_is_written(
    make_agent_cluster: Callable[..., AgentCluster], action: str
) -> None:
    """monitor_action = reboot, crash: it is gone at once, nothing is stopped, the peer takes over;
    booted, it reports why.
    """
    cluster = make_agent_cluster(default=f"monitor_action = {action}\n")
    first, second = cluster.nodes
    # Ending the machine itself must be out of reach, whatever the code does.
    pid, *_ = cluster.until(lambda: monitor_pids(cluster, first), bool)
    assert first.run(f"readlink /proc/{pid}/ns/pid").stdout.strip() != "pid:[4026531836]"
    fail(cluster, is_for_good=True)
    cluster.until(lambda: first.is_alive, lambda is_alive: not is_alive)
    first.kill()  # Its addresses went with its power.
    cluster.wait("UNKNOWN/STARTED", nodes=[second])
    assert cluster.runs_on() == ["deb2"]
    assert "stop deb1" not in second.run("cat /shared/calls").stdout
    first.boot()
    assert history(cluster, first) == [f"{action.upper()}: app#1 is down"]
    if action == "crash":
        # As after a power failure: its daemon finds the service on the peer, and is standby.
        cluster.must(first, f"{EZ}/ezha start")
        cluster.wait("STOPPED/STARTED")
        assert cluster.runs_on() == ["deb2"]


def test_monitor_comes_back_and_goes_with_its_daemon(
    make_agent_cluster: Callable[..., AgentCluster],
) -> None:
    """Killed, it is started again and reported.

    With the daemon ended or killed it is gone; so it is without the agent.
    """
    cluster = make_agent_cluster()
    first = cluster.first
    old = cluster.until(lambda: monitor_pids(cluster, first), lambda pids: len(pids) == 1)
    cluster.must(first, f"kill -9 {old[0]}")
    new = cluster.until(
        lambda: monitor_pids(cluster, first), lambda pids: len(pids) == 1 and pids != old
    )
    output = "resource monitor: was ended by signal 9: started again"
    cluster.until(lambda: cluster.must(first, f"cat {EZ}/log/nmond.log"), lambda log: output in log)
    cluster.must(first, f"kill -9 $(cut -d' ' -f1 {EZ}/services/.proc/nmond.lock)")
    cluster.until(lambda: monitor_pids(cluster, first), lambda pids: new[0] not in pids)
    cluster.must(first, f"{EZ}/ezha start")
    cluster.until(lambda: monitor_pids(cluster, first), lambda pids: len(pids) == 1)
    cluster.must(first, f"{EZ}/ezha kill")
    cluster.until(lambda: monitor_pids(cluster, first), lambda pids: not pids)
    cluster.must(first, f"rm /usr/share/opensvc/bin/svcmgr; {EZ}/ezha start; sleep 3")
    assert monitor_pids(cluster, first) == []
