"""The original's proved holes that need two nodes (H8, H11, H18, H19 of the reference's list): none
is there.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from opensvc_openha.demo.nodes import Node
from tests.e2e.two_node_cluster import EZ, Cluster
from tests.waiting import LIMIT_S

pytestmark = pytest.mark.e2e


def cut_everything(node: Node) -> None:
    """Take every way to the other node from a node."""
    for link in ("eth0", "eth1", "eth2"):
        node.cut(link)
    node.cut_disk()


def heal_everything(node: Node) -> None:
    """Give every way back."""
    node.heal_disk()
    for link in ("eth0", "eth1", "eth2"):
        node.heal(link)


def configure(cluster: Cluster, text: str) -> None:
    """The same openha.conf on both nodes, before they start."""
    for node in cluster.nodes:
        node.write(f"{EZ}/conf/openha.conf", text)


def test_h08_standby_whose_daemon_died_is_seen_by_the_owner(
    make_cluster: Callable[..., Cluster],
) -> None:
    """kill -9 of nmond on deb2: deb1 shows its links down and its state UNKNOWN within the timeout,
    and reports silent.
    """
    cluster = make_cluster()
    cluster.run_on_first()
    cluster.must(cluster.second, f"kill -9 $(cat {EZ}/services/.proc/nmond.lock)")
    cluster.wait(cluster.first, {"registry": "STARTED/UNKNOWN"})
    assert set(cluster.listeners(cluster.first).values()) == {"DOWN"}
    assert "silent" in cluster.must(cluster.first, f"{EZ}/bin/service -s -v")


@pytest.mark.parametrize("policy", ["stay", "hand-over"])
def test_h11_failed_start_is_handed_over_where_that_is_asked_for(
    make_cluster: Callable[..., Cluster], policy: str
) -> None:
    """The start fails on deb1, deb2 is unfrozen: START_FAILED stays and is reported, as in the
    original; or deb2 runs it.
    """
    cluster = make_cluster()
    configure(cluster, f"[policy]\non_start_failure = {policy}\n")
    cluster.first.write(
        "/opt/registry.sh",
        '#!/bin/sh\necho "registry $1 deb1" >> /shared/calls\n[ $1 != start ]\n',
        0o755,
    )
    for node in cluster.nodes:
        cluster.start(node)
    cluster.wait(cluster.second, {"registry": "FROZEN_STOP/FROZEN_STOP"})
    cluster.act(cluster.first, "registry", "unfreeze")
    cluster.wait(cluster.first, {"registry": "START_FAILED/FROZEN_STOP"})
    cluster.act(cluster.second, "registry", "unfreeze")
    if policy == "stay":
        cluster.stays(
            lambda: cluster.states(cluster.first),
            lambda seen: seen == {"registry": "START_FAILED/STOPPED"},
            3,
        )
        why = cluster.must(cluster.first, f"{EZ}/bin/openha why registry")
        assert "exited with 1" in why and "service -A registry freeze-stop" in why
        assert cluster.runs_on() == []
        return
    for node in cluster.nodes:
        cluster.wait(node, {"registry": "STOPPED/STARTED"})
    assert cluster.runs_on() == ["deb2"] and cluster.calls("stop") == ["deb1"]
    cluster.stays(lambda: cluster.calls("start"), lambda calls: calls == ["deb1", "deb2"], 2)


@pytest.mark.parametrize("policy", ["report", "stop-secondary", "stop-youngest"])
def test_h18_two_copies_found_after_a_split_brain_are_reported_and_resolved(
    make_cluster: Callable[..., Cluster], policy: str
) -> None:
    """Every link is cut, the check-up script fences no node.

    Healed, both nodes report it within a beat, and the policy acts.
    """
    cluster = make_cluster()
    configure(cluster, f"[policy]\non_dual_run = {policy}\n")
    cluster.run_on_first()
    cut_everything(cluster.first)
    cluster.wait(cluster.second, {"registry": "UNKNOWN/STARTED"})
    assert cluster.runs_on() == ["deb1", "deb2"]
    cluster.must(cluster.first, "touch /shared/registry.stops_slowly")
    heal_everything(cluster.first)
    for node in cluster.nodes:
        cluster.until(
            lambda: cluster.must(node, f"{EZ}/bin/openha history registry"),
            lambda text: "DUAL RUN" in text,
            f"{node.name} reports the dual run",
        )
    if policy == "report":
        for node in cluster.nodes:
            shown = cluster.must(node, f"{EZ}/bin/service -s -v")
            assert "DUAL RUN" in shown
        cluster.stays(cluster.runs_on, lambda nodes: nodes == ["deb1", "deb2"], 2)
        return
    for node in cluster.nodes:
        cluster.wait(node, {"registry": "STARTED/STOPPED"})
    assert cluster.runs_on() == ["deb1"] and cluster.calls("stop") == ["deb2"]
    assert f"on_dual_run = {policy}" in cluster.must(
        cluster.second, f"{EZ}/bin/openha history registry"
    )


def test_h19_disk_alone_carries_the_tie_break(make_cluster: Callable[..., Cluster]) -> None:
    """Both networks are cut, both nodes are unfrozen at once, over and over: one start each time,
    never two copies.
    """
    cluster = make_cluster()
    for node in cluster.nodes:
        cluster.start(node)
    cluster.wait(cluster.second, {"registry": "FROZEN_STOP/FROZEN_STOP"})
    for link in ("eth1", "eth2"):
        cluster.first.cut(link)
    up = {"eth1": "DOWN", "eth2": "DOWN", "/dev/mapper/disk.hb.0": "UP"}
    for node in cluster.nodes:
        cluster.until(lambda: cluster.listeners(node), lambda seen: seen == up, "the disk alone")
    for number in range(1, 4):
        unfreezing = [
            node.popen(f"{EZ}/bin/service -A registry unfreeze") for node in cluster.nodes
        ]
        assert [process.wait(LIMIT_S) for process in unfreezing] == [0, 0]
        cluster.until(cluster.runs_on, lambda nodes: len(nodes) == 1, "one runs it")
        cluster.stays(cluster.runs_on, lambda nodes: len(nodes) == 1, 2)
        assert len(cluster.calls("start")) == number
        owner = cluster.runs_on()[0]
        freezing = sorted(cluster.nodes, key=lambda node: node.short_name == owner)
        for node in freezing:
            cluster.act(node, "registry", "freeze-stop")
        assert cluster.runs_on() == []
