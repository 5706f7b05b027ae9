"""Power failures, cuts and restarts on two nodes, with link timeouts of 2 s."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from tests.e2e.two_node_cluster import EZ, LINK_TIMEOUT_S, START_READY_S, Cluster

pytestmark = pytest.mark.e2e

TAKEOVER_S = LINK_TIMEOUT_S + START_READY_S + 1
"""A takeover that ought not to come would have come by then."""
ALL_LINKS = ("eth0", "eth1", "eth2")


def test_the_power_fails_and_comes_back_takeover_and_failback(
    make_cluster: Callable[..., Cluster],
) -> None:
    """The owner loses its power: the other takes over in time.

    Booted again the owner is standby; failback works by hand.
    """
    cluster = make_cluster()
    first, second = cluster.first, cluster.second
    cluster.run_on_first()
    assert cluster.runs_on() == ["deb1"]
    first.kill()
    cluster.wait(second, {"registry": "UNKNOWN/STARTED"})
    assert cluster.seconds_in(second, "START_READY") >= START_READY_S, "a silent peer gets its 5 s"
    assert cluster.runs_on() == ["deb2"]

    first.boot()
    cluster.start(first)
    for node in cluster.nodes:
        cluster.wait(node, {"registry": "STOPPED/STARTED"})
    cluster.until(
        lambda: cluster.listeners(first),
        lambda seen: set(seen.values()) == {"UP"},
        "all listeners up",
    )
    cluster.stays(cluster.runs_on, lambda nodes: nodes == ["deb2"], START_READY_S + 1)

    cluster.act(second, "registry", "freeze-stop")
    cluster.wait(first, {"registry": "STARTED/FROZEN_STOP"})
    cluster.act(second, "registry", "unfreeze")
    cluster.wait(second, {"registry": "STARTED/STOPPED"})
    assert cluster.runs_on() == ["deb1"]
    assert cluster.calls("start") == ["deb1", "deb2", "deb1"]


def is_down(verdict: object) -> bool:
    """True for a listener that is down."""
    return verdict == "DOWN"


def test_one_link_is_cut_and_nothing_moves(make_cluster: Callable[..., Cluster]) -> None:
    """eth1 loses everything: its listener goes down on both nodes, the others stay up, the service
    stays; healed, it is up.
    """
    cluster = make_cluster()
    cluster.run_on_first()
    cluster.first.cut("eth1")
    for node in cluster.nodes:
        cluster.until(lambda: cluster.listeners(node).get("eth1"), is_down, "eth1 down")

    def is_calm(_: object) -> bool:
        listeners = [cluster.listeners(node) for node in cluster.nodes]
        states = [cluster.states(node) for node in cluster.nodes]
        up = {"eth1": "DOWN", "eth2": "UP", "/dev/mapper/disk.hb.0": "UP"}
        return listeners == [up, up] and states == [{"registry": "STARTED/STOPPED"}] * 2

    cluster.stays(lambda: None, is_calm, LINK_TIMEOUT_S + 1)
    cluster.first.heal("eth1")
    for node in cluster.nodes:
        cluster.until(
            lambda: cluster.listeners(node).get("eth1"), lambda seen: seen == "UP", "eth1 up"
        )
    assert cluster.calls("start") == ["deb1"]


def cut_everything(node: Node) -> None:
    """Take every way to the other node from a node."""
    for link in ALL_LINKS:
        node.cut(link)
    node.cut_disk()


def test_every_link_is_cut_and_the_check_script_agrees(
    make_cluster: Callable[..., Cluster],
) -> None:
    """Both networks and the disk are cut, the check-up script succeeds: the second node takes over,
    deb1 is UNKNOWN to it.
    """
    cluster = make_cluster()
    cluster.run_on_first()
    cut_everything(cluster.first)
    cluster.wait(cluster.second, {"registry": "UNKNOWN/STARTED"})
    assert set(cluster.listeners(cluster.second).values()) == {"DOWN"}
    assert cluster.calls("start") == ["deb1", "deb2"]


def test_every_link_is_cut_and_the_check_script_refuses(
    two_nodes: TwoNodes, make_cluster: Callable[..., Cluster]
) -> None:
    """Both networks and the disk are cut, deb2's check-up script fails: START_FAILED, and nothing
    is ever started there.
    """
    for node, code in zip(two_nodes, (0, 1)):
        node.write("/opt/check", f"#!/bin/sh\nexit {code}\n", 0o755)
    cluster = make_cluster(registry="/opt/check")
    cluster.run_on_first()
    cluster.await_right()
    cut_everything(cluster.first)
    cluster.wait(cluster.second, {"registry": "UNKNOWN/START_FAILED"})
    cluster.stays(lambda: cluster.calls("start"), lambda calls: calls == ["deb1"], START_READY_S)


def test_a_daemon_restart_on_the_owner_moves_nothing(make_cluster: Callable[..., Cluster]) -> None:
    """`ezha restart` on the owner: the service runs on untouched, neither stopped nor started
    anywhere.
    """
    cluster = make_cluster()
    cluster.run_on_first()
    cluster.must(cluster.first, f"{EZ}/ezha restart")
    for node in cluster.nodes:
        cluster.wait(node, {"registry": "STARTED/STOPPED"})
    cluster.stays(cluster.runs_on, lambda nodes: nodes == ["deb1"], TAKEOVER_S)
    assert cluster.states(cluster.second) == {"registry": "STARTED/STOPPED"}
    assert (cluster.calls("start"), cluster.calls("stop")) == (["deb1"], [])


def daemon_pid(cluster: Cluster, node: Node) -> str:
    """Pid of the node daemon."""
    return cluster.must(node, f"cat {EZ}/services/.proc/nmond.lock").split()[0]


def test_a_killed_daemon_learns_its_service_again(make_cluster: Callable[..., Cluster]) -> None:
    """The owner's daemon is killed and started at once: it finds the service STARTED and does not
    start it a second time.
    """
    cluster = make_cluster()
    cluster.run_on_first()
    cluster.must(cluster.first, f"kill -9 {daemon_pid(cluster, cluster.first)}")
    cluster.start(cluster.first)
    for node in cluster.nodes:
        cluster.wait(node, {"registry": "STARTED/STOPPED"})
    cluster.stays(cluster.runs_on, lambda nodes: nodes == ["deb1"], LINK_TIMEOUT_S)
    assert (cluster.calls("start"), cluster.calls("stop")) == (["deb1"], [])


def test_a_hanging_start_delays_no_other_service(make_cluster: Callable[..., Cluster]) -> None:
    """Two services are taken over and the start script of one hangs: the other is STARTED in time,
    the first STARTING.
    """
    cluster = make_cluster(registry="/bin/true", busybox="/bin/true")
    cluster.run_on_first()
    cluster.must(cluster.second, "touch /shared/registry.hangs")
    cluster.first.kill()
    cluster.wait(cluster.second, {"registry": "UNKNOWN/STARTING", "busybox": "UNKNOWN/STARTED"})
    assert cluster.runs_on("busybox") == ["deb2"]
    assert cluster.runs_on("registry") == []


def test_a_frozen_owner_wakes_up_and_its_service_runs_once(
    make_cluster: Callable[..., Cluster],
) -> None:
    """The owner stands still shorter than the link timeout allows: nothing moves when it wakes
    up.
    """
    cluster = make_cluster()
    cluster.run_on_first()
    cluster.first.freeze()
    time.sleep(LINK_TIMEOUT_S / 2)
    cluster.first.thaw()
    cluster.stays(cluster.runs_on, lambda nodes: nodes == ["deb1"], TAKEOVER_S)
    for node in cluster.nodes:
        cluster.wait(node, {"registry": "STARTED/STOPPED"})
    assert cluster.calls("start") == ["deb1"]
