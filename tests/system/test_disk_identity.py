"""What identifies the disk behind a path: the same for each of its names, never for another one."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from opensvc_openha.system.disk_identity import disk_identity

NUMBER = os.makedev(240, 7)
"""Of a range for experiments; the device files of these tests are never opened."""
MAPPED = {"dm/uuid": "mpath-36001405\n", "dm/name": "hb"}


class Machine:
    """Device files, and a sysfs of the tests."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sys_dir = root / "sys"

    def describe(self, files: Mapping[str, str], name: str = "sdb") -> None:
        """The kernel has this disk under the number."""
        directory = self.sys_dir / "devices" / name
        for file, text in files.items():
            place = directory / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        link = self.sys_dir / "dev" / "block" / "240:7"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(directory)

    def node(self, name: str) -> str:
        """A device file with the number, made anew."""
        path = self.root / name
        path.unlink(missing_ok=True)
        # Another file takes the inode that was left.
        (self.root / f"{name} {len(os.listdir(self.root))}").touch()
        try:
            os.mknod(path, stat.S_IFBLK | 0o600, NUMBER)
        except PermissionError:
            pytest.skip("device files cannot be made here")
        return str(path)

    def identity(self, path: str) -> str:
        return disk_identity(path, str(self.sys_dir))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("files", "identity"),
    [
        (MAPPED, "dm mpath-36001405"),
        ({"device/wwid": "naa.6001405\n", "diskseq": "9"}, "naa.6001405"),
        ({"wwid": "eui.0025\n", "diskseq": "9"}, "eui.0025"),
        # These may be a model's: the kernel's number for this one disk makes the difference.
        ({"wwid": "nvme.1b36-31\n", "diskseq": "9"}, "nvme.1b36-31 240:7 9"),
        ({"device/wwid": "t10.QEMU  HARDDISK\n", "diskseq": "9"}, "t10.QEMU HARDDISK 240:7 9"),
        ({"size": "8", "diskseq": "9"}, "240:7 9"),
    ],
)
def test_a_disk_is_known_by_what_its_unit_says(
    machine: Machine, files: Mapping[str, str], identity: str
) -> None:
    """By each of its paths."""
    machine.describe(files)
    node = machine.node("sdb")
    Path(machine.root, "by-id").symlink_to(node)
    for path in (node, str(machine.root / "by-id")):
        assert machine.identity(path) == identity


def test_a_disk_without_a_name_is_another_one_each_time_that_it_is_found(machine: Machine) -> None:
    """The same number, and the same path: with an old kernel the device file is another one."""
    machine.describe({"size": "8"})
    first = machine.identity(machine.node("sdb"))
    assert machine.identity(str(machine.root / "sdb")) == first
    assert machine.identity(machine.node("sdb")) != first


def test_a_partition_is_its_disk_and_its_place(machine: Machine) -> None:
    """Two of one disk are two."""
    machine.describe({"device/wwid": "naa.1"}, "sdb")
    found = set()
    for number in (1, 2):
        machine.describe(
            {"partition": f"{number}\n", "start": f"{number * 2048}\n"}, f"sdb/{number}"
        )
        found.add(machine.identity(machine.node(f"sdb{number}")))
    assert found == {"naa.1 part 1 at 2048", "naa.1 part 2 at 4096"}


def test_a_loop_device_is_its_file(machine: Machine) -> None:
    """Whatever its number is; one whose file is not to be seen is known by its number."""
    image = machine.root / "image"
    image.touch()
    machine.describe({"loop/backing_file": f"{image}\n", "loop/offset": "0", "diskseq": "9"})
    node = machine.node("loop7")
    found = os.stat(image)
    assert machine.identity(node) == f"loop {found.st_dev}:{found.st_ino} from 0"
    image.unlink()
    assert machine.identity(node) == "240:7 9"


def test_a_file_is_itself_and_nothing_is_unknown(machine: Machine, tmp_path: Path) -> None:
    """By each of its names."""
    file, other = tmp_path / "a", tmp_path / "b"
    file.touch()
    other.symlink_to(file)
    assert machine.identity(str(file)) == machine.identity(str(other)) != ""
    file.unlink()
    assert machine.identity(str(other)) == ""


def test_a_device_that_sysfs_does_not_know_has_its_device_file(machine: Machine) -> None:
    """In a container without it."""
    assert machine.identity(machine.node("sdb")).startswith("240:7 ")
