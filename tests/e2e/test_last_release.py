"""This version and the last release on the two nodes of one cluster, and an upgrade between them.

`tests/releases` holds the wheel of the last release.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import prepare
from opensvc_openha.demo.story import monitor_file
from tests.e2e.two_node_cluster import EZ, LINK_TIMEOUT_S, SCRIPT, START_READY_S, Cluster

pytestmark = pytest.mark.e2e

(WHEEL,) = (Path(__file__).parents[1] / "releases").glob("*.whl")
LAST = WHEEL.name.split("-")[1]
RELEASE = "/shared/release"
KEY = f"{EZ}/conf/openha.key"


class ReleaseCluster(Cluster):
    """A service on two nodes with the last release, daemons not started."""

    def __init__(self, nodes: TwoNodes, *, has_key: bool) -> None:
        self.nodes = nodes
        self.services = ("registry",)
        self.first, self.second = nodes
        data = f"{RELEASE}/opensvc_openha-{LAST}.data/data/share/opensvc-openha"
        self.must(
            self.first,
            f"{sys.executable} -m zipfile -e {WHEEL} {RELEASE} && mv {data}/* {RELEASE}",
        )
        for node in nodes:
            prepare(node)
            self.downgrade(node)
            node.write(f"{EZ}/conf/nodes", "".join(f"{each.name}\n" for each in nodes))
            node.write(f"{EZ}/conf/monitor", monitor_file(LINK_TIMEOUT_S))
            node.write("/opt/registry.sh", SCRIPT, 0o755)
            self.must(
                node,
                f"{EZ}/bin/service -a registry /opt/registry.sh {self.first.name}"
                f" {self.second.name} /bin/true",
            )
        if has_key:
            self.must(self.first, f"{EZ}/bin/openha key generate && cp -p {KEY} /shared/key")
            self.must(self.second, f"{EZ}/bin/openha key install /shared/key")

    def downgrade(self, node: Node) -> None:
        """Let the commands of a node be those of the last release."""
        node.environment["PYTHONPATH"] = os.pathsep.join(
            [RELEASE, *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        self.must(node, "openha install")
        assert self.version(node) == LAST

    def upgrade(self, node: Node) -> None:
        """Let the commands of a node be those of this version, as an upgrade does."""
        prepare(node)
        self.must(node, "openha install --no-key")
        assert self.version(node) != LAST

    def version(self, node: Node) -> str:
        """Return the version of a node's commands."""
        return self.must(node, f"{EZ}/bin/openha --version").split()[-1]

    def starts_and_stops(self) -> list[str]:
        """Return who started and stopped the service, in order."""
        node = next(node for node in self.nodes if node.is_alive)
        lines = self.must(node, "cat /shared/calls").splitlines()
        return [line for line in lines if " status " not in line]

    def wait_standby(self) -> None:
        """Wait until both nodes show the service on the first, and the second as its standby."""
        for node in self.nodes:
            self.wait(node, {"registry": "STARTED/STOPPED"})
            self.until(lambda: self.listeners(node), _are_up, f"{node.name}: links")


def _are_up(listeners: dict[str, str]) -> bool:
    return bool(listeners) and set(listeners.values()) == {"UP"}


@pytest.mark.parametrize("upgraded", [0, 1], ids=["owner", "standby"])
def test_takeover_between_this_version_and_the_last_release(
    two_nodes: TwoNodes, upgraded: int
) -> None:
    """The owner loses its power, comes back as standby, and a person hands it back."""
    cluster = ReleaseCluster(two_nodes, has_key=True)
    first, second = cluster.nodes
    cluster.upgrade(cluster.nodes[upgraded])
    cluster.run_on_first()
    cluster.wait_standby()

    first.kill()
    cluster.wait(second, {"registry": "UNKNOWN/STARTED"})
    first.boot()
    cluster.start(first)
    for node in cluster.nodes:
        cluster.wait(node, {"registry": "STOPPED/STARTED"})
    cluster.act(second, "registry", "freeze-stop")
    for node in cluster.nodes:
        cluster.wait(node, {"registry": "STARTED/FROZEN_STOP"})
    assert cluster.starts_and_stops() == [
        "registry start deb1",
        "registry start deb2",
        "registry stop deb2",
        "registry start deb1",
    ]


def test_upgrade_of_one_node_after_the_other_moves_nothing(two_nodes: TwoNodes) -> None:
    """The standby first, then the owner, and one of them back again: `ezha restart` is all. What
    the last release recorded is in the history of this one.
    """
    cluster = ReleaseCluster(two_nodes, has_key=False)
    first, second = cluster.nodes
    cluster.run_on_first()
    cluster.wait_standby()
    for node, change in (
        (second, cluster.upgrade),
        (first, cluster.upgrade),
        (second, cluster.downgrade),
    ):
        change(node)
        cluster.must(node, f"{EZ}/ezha restart")
        cluster.wait_standby()
    cluster.stays(
        lambda: [cluster.states(node) for node in cluster.nodes],
        lambda seen: seen == [{"registry": "STARTED/STOPPED"}] * 2,
        LINK_TIMEOUT_S + START_READY_S,
    )
    assert cluster.starts_and_stops() == ["registry start deb1"]
    history = cluster.must(first, f"{EZ}/bin/openha history -n 0")
    assert f"version {LAST}," in history and history.count("nmond STARTED") == 2
    proc = cluster.must(first, f"ls {EZ}/services/.proc").split()
    assert {"history", "history.sqlite.converted"} <= set(proc)
    assert "history.sqlite" not in proc
    # The one that went back has begun a file of its own, which the next upgrade converts.
    assert "history.sqlite" in cluster.must(second, f"ls {EZ}/services/.proc").split()
