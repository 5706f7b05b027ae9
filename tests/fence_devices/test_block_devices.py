"""The disks under a device, from a tree like that of sysfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.block_devices import DiskAddress, disks_of, disks_under, host_of


class Sysfs:
    """Block devices by number, as the kernel shows them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "dev/block").mkdir(parents=True)

    def add(self, name: str, number: str, /, *slaves: str, inside: str = "", **dm: str) -> None:
        """One device. ``inside``: it is a partition of that disk."""
        directory = self.root / "block" / inside / name
        (directory / "slaves").mkdir(parents=True)
        (self.root / "dev/block" / number).symlink_to(directory)
        if inside:
            (directory / "partition").write_text("1\n")
        for word, text in dm.items():
            (directory / "dm").mkdir(exist_ok=True)
            (directory / "dm" / word).write_text(f"{text}\n")
        for slave in slaves:
            (target,) = (self.root / "block").rglob(slave)
            (directory / "slaves" / slave).symlink_to(target)

    def disks(self, number: str) -> tuple[DiskAddress, ...]:
        """The disks under one device."""
        return disks_of(number, str(self.root))


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    """Four disks, two of which are paths to one."""
    made = Sysfs(tmp_path)
    for index, name in enumerate(("sda", "sdb", "sdc", "sdd")):
        made.add(name, f"8:{index * 16}")
    made.add("dm-0", "253:0", "sdc", "sdd", uuid="mpath-3600", name="data")
    return made


def one(name: str) -> DiskAddress:
    """A disk with one path."""
    return DiskAddress(name, (name,))


def test_disk_is_its_own_path(sysfs: Sysfs) -> None:
    """Nothing is below it."""
    assert sysfs.disks("8:16") == (one("/dev/sdb"),)


def test_partition_stands_for_its_disk(sysfs: Sysfs) -> None:
    """A registration concerns the whole unit."""
    sysfs.add("sdb1", "8:17", inside="sdb")
    assert sysfs.disks("8:17") == (one("/dev/sdb"),)


def test_paths_of_a_multipath_map_are_found(sysfs: Sysfs) -> None:
    """One disk with the name of the map; also for a partition of it, and for LVM on it."""
    data = DiskAddress("/dev/mapper/data", ("/dev/sdc", "/dev/sdd"))
    assert sysfs.disks("253:0") == (data,)
    sysfs.add("dm-1", "253:1", "dm-0", uuid="part1-mpath-3600", name="data-part1")
    sysfs.add("dm-2", "253:2", "dm-1", "sda", uuid="LVM-xyz", name="vg-lv")
    assert sysfs.disks("253:1") == (data,)
    assert sysfs.disks("253:2") == (data, one("/dev/sda"))


def test_members_of_a_raid_are_found(sysfs: Sysfs) -> None:
    """Each of them once."""
    sysfs.add("sda1", "8:1", inside="sda")
    sysfs.add("md0", "9:0", "sda1", "sdb", "dm-0")
    names = [disk.name for disk in sysfs.disks("9:0")]
    assert names == ["/dev/mapper/data", "/dev/sda", "/dev/sdb"]


def test_loop_devices_are_left_out(sysfs: Sysfs) -> None:
    """What is on them is on no disk of this node."""
    sysfs.add("loop0", "7:0")
    sysfs.add("dm-3", "253:3", "loop0", "sda", uuid="CRYPT-x", name="secret")
    assert sysfs.disks("7:0") == () and sysfs.disks("253:3") == (one("/dev/sda"),)


def test_device_that_the_kernel_does_not_know_is_on_no_disk(sysfs: Sysfs) -> None:
    """It went away meanwhile."""
    assert sysfs.disks("8:200") == ()


def test_devices_in_a_circle_end(sysfs: Sysfs) -> None:
    """Sysfs has none; a search that never ended would hold its caller."""
    sysfs.add("dm-7", "253:7", uuid="LVM-a", name="a")
    sysfs.add("dm-8", "253:8", "dm-7", uuid="LVM-b", name="b")
    (sysfs.root / "block/dm-7/slaves/dm-8").symlink_to(sysfs.root / "block/dm-8")
    assert [disk.name for disk in sysfs.disks("253:7")] in ([], ["/dev/dm-7"], ["/dev/dm-8"])


def test_host_of_a_path_is_its_adapter(sysfs: Sysfs) -> None:
    """The first number of its place; the path itself where it has none."""
    (sysfs.root / "block/sda/3:0:1:7").mkdir()
    (sysfs.root / "block/sda/device").symlink_to(sysfs.root / "block/sda/3:0:1:7")
    assert host_of("/dev/sda", str(sysfs.root)) == "3"
    assert host_of("/dev/sdb", str(sysfs.root)) == "/dev/sdb"


def test_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The path of a disk that was unplugged."""
    with pytest.raises(SystemFault, match=r"gone: No such file or directory"):
        disks_under(str(tmp_path / "gone"))
