"""Which links share a path, by a /sys of the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opensvc_openha.advise.shared_paths import disk_roots, interface_roots, shared_paths
from opensvc_openha.core.model import LinkSpec


@pytest.fixture
def sys_dir(tmp_path: Path) -> Path:
    """eth0 and eth1 are ports of one card, eth2 of another one.

    bond0 is over eth0 and eth2, br0 over bond0, and eth1.10 is a VLAN of eth1.
    """
    net = tmp_path / "class/net"
    for name, slot in (
        ("eth0", "0000:03:00.0"),
        ("eth1", "0000:03:00.1"),
        ("eth2", "0000:04:00.0"),
    ):
        place = tmp_path / "devices/pci" / slot
        place.mkdir(parents=True)
        (net / name).mkdir(parents=True)
        (net / name / "device").symlink_to(place)
    for name, below in (("bond0", ("eth0", "eth2")), ("br0", ("bond0",)), ("eth1.10", ("eth1",))):
        (net / name).mkdir()
        for lower in below:
            (net / name / f"lower_{lower}").symlink_to(net / lower)
    return tmp_path


def net(device: str, number: int = 0) -> LinkSpec:
    """Return a network link on a device."""
    return LinkSpec("deb1", "net", device, f"239.131.50.{number}", 5010, 0, 10.0)


@pytest.mark.parametrize(
    ("one", "other", "text"),
    [
        ("eth1", "eth1", "both use eth1"),
        ("eth1.10", "eth1", "both on eth1"),
        ("br0", "eth2", "both on eth2"),
        ("br0", "bond0", "both on eth0 and eth2"),
        ("eth0", "eth1.10", "ports of one card (0000:03:00)"),
        ("eth1", "eth2", ""),
        ("eth2", "gone", ""),
    ],
)
def test_interfaces(sys_dir: Path, one: str, other: str, text: str) -> None:
    """A VLAN, a bond, a bridge over it, two ports of a card, and two that share nothing."""
    found = shared_paths((net(one, 1), net(other, 2)), str(sys_dir))
    assert [text in each.text for each in found] == ([True] if text else [])


def test_roots_of_a_bridge_over_a_bond(sys_dir: Path) -> None:
    assert interface_roots("br0", str(sys_dir)) == {"eth0", "eth2"}


def test_a_file_and_its_neighbour_are_on_one_disk_by_whatever_names(tmp_path: Path) -> None:
    """A volume over a partition of sda, by its number."""
    number = os.stat(tmp_path).st_dev
    sys_dir = tmp_path / "sys"
    part = sys_dir / "devices/sda/sda1"
    volume = sys_dir / "devices/dm-0"
    (part).mkdir(parents=True)
    (part / "partition").write_text("1\n")
    (volume / "slaves").mkdir(parents=True)
    (volume / "slaves/sda1").symlink_to(part)
    (sys_dir / "dev/block").mkdir(parents=True)
    (sys_dir / f"dev/block/{os.major(number)}:{os.minor(number)}").symlink_to(volume)
    for name in ("one", "other"):
        (tmp_path / name).touch()
    assert disk_roots(str(tmp_path / "one"), str(sys_dir)) == {"sda"}
    assert disk_roots(str(tmp_path / "none"), str(sys_dir)) == frozenset()
    links = tuple(
        LinkSpec("deb1", "disk", str(tmp_path / name), "", 0, 0, 10.0) for name in ("one", "other")
    )
    found = shared_paths((*links, net("eth0")), str(sys_dir))
    assert [each.shared for each in found] == ["sda"]
