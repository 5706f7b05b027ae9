"""What sysfs has below a network interface."""

from __future__ import annotations

from pathlib import Path

from opensvc_openha.system.network_devices import lower_devices


def test_devices_below_an_interface_are_found_in_order(tmp_path: Path) -> None:
    """Its ports, and nothing above it; one that is not there has none."""
    for name in ("bond0/lower_eth1", "bond0/lower_eth0", "bond0/upper_br0", "eth0"):
        (tmp_path / name).mkdir(parents=True)
    assert lower_devices("bond0", str(tmp_path)) == ["eth0", "eth1"]
    assert lower_devices("eth0", str(tmp_path)) == []
    assert lower_devices("eth9", str(tmp_path)) == []
