"""An owner whose data disk hangs, truly, while its peer reads it; its watchdog kills its node."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from tests.e2e.leased_cluster import LeasedCluster
from tests.e2e.two_node_cluster import EZ, SCRIPT
from tests.hanging_disk import HangingDisk, expect_possible

pytestmark = pytest.mark.e2e
WATCHDOG_S = 10


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[HangingDisk]:
    """A loop device that hangs for the processes of one node."""
    expect_possible()
    hanging = HangingDisk(tmp_path)
    yield hanging
    hanging.close()


@pytest.fixture
def cluster(disk: HangingDisk, two_nodes: TwoNodes) -> Iterator[LeasedCluster]:
    """The service runs on the first node; its stop writes to the disk, as an unmount does."""
    leased = LeasedCluster(two_nodes, WATCHDOG_S)
    stop = f"stop) dd if={disk.device} of=/dev/null bs=4096 count=1 iflag=direct; "
    for node in two_nodes:
        node.write("/opt/registry.sh", SCRIPT.replace("stop) ", stop), 0o755)
        config = f"{EZ}/conf/openha.conf"
        node.write(
            config,
            f"{node.read(config)}[policy]\n[[registry]]\nfrozen_storage = give_up\n"
            f"frozen_after = 15\ndata_disks = {disk.device}\n",
        )
    leased.run_on_first()
    leased.until_promised(leased.first)
    yield leased
    disk.set_hung(False)
    leased.close()


def _enrol(node: Node, disk: HangingDisk) -> None:
    """Let the disk hang for all processes of a node, and for those that they begin."""
    space = os.readlink(f"/proc/{node.pid}/ns/pid")
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(place / "ns/pid") == space:
                (disk.group / "cgroup.procs").write_text(place.name)
        except OSError:
            continue  # It has just ended.


def _verbose(cluster: LeasedCluster, node: Node) -> str:
    return cluster.must(node, f"{EZ}/bin/service -s -v")


def test_owner_whose_disk_hangs_is_reset_before_its_peer_takes_the_service(
    cluster: LeasedCluster, disk: HangingDisk
) -> None:
    """Its stop hangs as well, so that it is never called out. Not even the end of its node ends who
    waits for the disk.
    """
    first, second = cluster.nodes
    cluster.until(
        lambda: _verbose(cluster, first),
        lambda text: f"registry: its disks: answer; by {second.name}: answer\n" in text,
        "both nodes read the disk",
    )
    _enrol(first, disk)
    disk.set_hung(True)
    watchdog = cluster.watchdog(first)
    runs = f"{second.root}/run/registry.runs"
    cluster.until(lambda: os.path.exists(runs), bool, "the survivor runs the service")
    assert watchdog.bitten_at is not None
    cluster.wait(second, {"registry": "UNKNOWN/STARTED"})
    entries = cluster.entries(second)
    start = next(entry for entry in entries if entry["new"] == "STARTING")
    assert watchdog.bitten_at < start["mono"]
    assert "proved out: self-fenced" in start["reason"]
    seen = f"registry: its disks: answer; by {first.name}: not known\n"
    assert seen in _verbose(cluster, second)
    calls = [line for line in second.read("/shared/calls").splitlines() if "status" not in line]
    assert calls == ["registry start deb1", "registry stop deb1", "registry start deb2"]
