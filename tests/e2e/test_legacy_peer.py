"""One node of ours and one with the real C OpenHA, on two networks and a disk, with link timeouts
of 2 s.

Runs only where OPENHA_C_ROOT names a tree with the built C programs; they are not part of this
project.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from tests.e2e.mixed_cluster import C_NODE_LOOP_S, LINK_TIMEOUT_S, START_READY_S, MixedCluster

C_ROOT = os.environ.get("OPENHA_C_ROOT", "")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not C_ROOT, reason="OPENHA_C_ROOT does not name a tree with the built C programs"
    ),
]


@pytest.fixture
def cluster(two_nodes: TwoNodes) -> MixedCluster:
    """Both nodes configured, no program installed."""
    return MixedCluster(two_nodes, C_ROOT)


def install(cluster: MixedCluster, ours: Node, original: Node) -> None:
    """This package on one node, the C programs on the other, the service on both, all daemons
    running.
    """
    cluster.use_ours(ours)
    cluster.use_c(original)
    cluster.add_service()
    for node in cluster.nodes:
        cluster.start(node)
    cluster.wait("FROZEN_STOP/FROZEN_STOP")
    cluster.wait_links()


@pytest.fixture(params=["ours is primary", "ours is secondary"])
def running(request: pytest.FixtureRequest, cluster: MixedCluster) -> MixedCluster:
    """A mixed cluster that runs, frozen; ``ours`` and ``original`` name which node is which."""
    ours, original = (
        cluster.nodes if request.param == "ours is primary" else reversed(tuple(cluster.nodes))
    )
    install(cluster, ours, original)
    cluster.ours, cluster.original = ours, original
    return cluster


def start_on_first(cluster: MixedCluster) -> None:
    """The service runs on the primary, the other node is standby."""
    cluster.act(cluster.first, "unfreeze")
    cluster.wait("STARTED/FROZEN_STOP")
    cluster.act(cluster.second, "unfreeze")
    cluster.wait("STARTED/STOPPED")


def test_states_are_seen_and_each_node_takes_over_from_the_other(running: MixedCluster) -> None:
    """Start on deb1, deb1 dies, deb2 takes over.

    Deb1 returns and is standby; deb2 dies, deb1 takes over; deb2 returns.
    """
    first, second = running.nodes
    start_on_first(running)
    if running.ours is first:
        assert running.seconds_ready(first) >= START_READY_S, (
            "a peer that cannot acknowledge gets its 5 s"
        )
    running.stays("STARTED/STOPPED", START_READY_S + C_NODE_LOOP_S)
    first.kill()
    running.wait("UNKNOWN/STARTED", second)
    first.boot()
    running.start(first)
    running.wait("STOPPED/STARTED")
    running.wait_links()
    running.stays("STOPPED/STARTED", START_READY_S + C_NODE_LOOP_S)
    second.kill()
    running.wait("STARTED/UNKNOWN", first)
    second.boot()
    running.start(second)
    running.wait("STARTED/STOPPED")
    running.stays("STARTED/STOPPED", START_READY_S + C_NODE_LOOP_S)
    assert running.calls() == ["start deb1", "start deb2", "start deb1"]


def test_service_moves_by_hand_both_ways(running: MixedCluster) -> None:
    """freeze-stop on the owner moves the service to the other node, and back.

    It never runs twice.
    """
    first, second = running.nodes
    start_on_first(running)
    running.act(first, "freeze-stop")
    running.wait("FROZEN_STOP/STARTED")
    running.act(first, "unfreeze")
    running.wait("STOPPED/STARTED")
    running.act(second, "freeze-stop")
    running.wait("STARTED/FROZEN_STOP")
    assert running.calls() == ["start deb1", "stop deb1", "start deb2", "stop deb2", "start deb1"]


def test_both_nodes_start_at_once_and_the_primary_wins(running: MixedCluster) -> None:
    """Both get `start` at the same moment, three times: START_READY on both, then one start,
    on deb1.
    """
    first, second = running.nodes
    for _ in range(3):
        # The C daemon looks at its services every 2 s only; its `start` command goes to START_READY
        # at once.
        with running.original.popen(
            "service -A registry unfreeze; service -A registry start", running.c_environment
        ):
            running.act(running.ours, "unfreeze")
            running.wait("STARTED/STOPPED")
        assert running.runs_on() == ["deb1"]
        for node in (second, first):
            running.act(node, "freeze-stop")
        running.wait("FROZEN_STOP/FROZEN_STOP")
    assert running.calls() == ["start deb1", "stop deb1"] * 3
    # A moment of START_READY is not to be met by polling: our node's history has it, with what it
    # saw of the peer.
    entries = running.entries(running.ours)
    if running.ours is first:
        assert len([entry for entry in entries if entry["new"] == "START_READY"]) >= 3, entries
    else:
        # A secondary that hears the primary's START_READY before it looks is not even ready.
        assert not [entry for entry in entries if entry["new"] == "STARTING"], entries


def swap(
    cluster: MixedCluster, node: Node, use: Callable[[Node], None], start: Callable[[], object]
) -> None:
    """Ends the daemons of a node, changes its program, starts them; the services continue."""
    if use == cluster.use_ours:
        cluster.must(node, "/usr/share/openha/init/openha.init kill")
        cluster.until(
            lambda: node.run("pgrep -c 'nmond|heart'").stdout.strip(), "0", "C daemons gone"
        )
    else:
        cluster.must(node, "/usr/lib/openha/ezha kill")
    use(node)
    start()


def test_nodes_are_migrated_one_by_one_and_back_while_the_service_runs(
    cluster: MixedCluster,
) -> None:
    """Two C nodes become ours, then C again, one after the other: the service on deb1 is never
    stopped nor started.
    """
    first, second = cluster.nodes
    for node in cluster.nodes:
        cluster.use_c(node)
    cluster.add_service()
    for node in cluster.nodes:
        cluster.start(node)
    cluster.wait("FROZEN_STOP/FROZEN_STOP")
    start_on_first(cluster)

    def to_ours(node: Node) -> None:
        swap(cluster, node, cluster.use_ours, lambda: cluster.start(node))

    def to_c(node: Node) -> None:
        # `start` would first declare every service stopped; `restart` only starts the daemons.
        swap(
            cluster,
            node,
            cluster.use_c,
            lambda: cluster.must(node, "/usr/share/openha/init/openha.init restart < /dev/null"),
        )

    for change in (to_ours, to_c):
        cluster.act(second, "freeze-stop")
        cluster.wait("STARTED/FROZEN_STOP")
        for node in (second, first):
            change(node)
            cluster.wait("STARTED/FROZEN_STOP")
            cluster.wait_links()
        cluster.act(second, "unfreeze")
        cluster.wait("STARTED/STOPPED")
        cluster.stays("STARTED/STOPPED", LINK_TIMEOUT_S + START_READY_S)
        assert cluster.calls() == ["start deb1"]
    assert cluster.runs_on() == ["deb1"]
