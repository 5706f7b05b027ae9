"""Find the whole disks under a block device, with the paths to each, from sysfs alone.

::

    partition -> its disk      multipath map -> one disk, its paths     LVM, crypt, md -> below

No command is run: a disk that hangs must not keep the others from being found. Loop devices are
left out: what is on them is on no disk of the node.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from opensvc_openha.links.base import fault_of

SYS_DIR = "/sys"
_LEVELS_MAX = 16


@dataclass(frozen=True)
class DiskAddress:
    """A disk by the names that this node has for it: its own, and those of its paths."""

    name: str
    paths: tuple[str, ...]


def disks_under(device: str, sys_dir: str = SYS_DIR) -> tuple[DiskAddress, ...]:
    """Return the disks that a device's data are on, by name; SystemFault if there is no device."""
    try:
        number = os.stat(device).st_rdev
    except OSError as error:
        raise fault_of(device, error) from None
    return disks_of(f"{os.major(number)}:{os.minor(number)}", sys_dir)


def disks_of(number: str, sys_dir: str = SYS_DIR) -> tuple[DiskAddress, ...]:
    """Return the disks under the device ``MAJOR:MINOR``, by name."""
    found: dict[str, DiskAddress] = {}
    _collect(os.path.realpath(f"{sys_dir}/dev/block/{number}"), found, _LEVELS_MAX)
    return tuple(found[name] for name in sorted(found))


def host_of(path: str, sys_dir: str = SYS_DIR) -> str:
    """Return the number of the host adapter that a path goes through; the path if unknown."""
    place = os.path.basename(os.path.realpath(f"{sys_dir}/block/{os.path.basename(path)}/device"))
    return place.partition(":")[0] if ":" in place else path


def _collect(directory: str, found: dict[str, DiskAddress], levels: int) -> None:
    if os.path.exists(f"{directory}/partition"):
        directory = os.path.dirname(directory)
    name = os.path.basename(directory)
    below = _entries(f"{directory}/slaves")
    if _read(f"{directory}/dm/uuid").startswith("mpath-"):
        known = f"/dev/mapper/{_read(f'{directory}/dm/name')}"
        found[known] = DiskAddress(known, tuple(f"/dev/{path}" for path in below))
    elif below and levels:
        for device in below:
            _collect(os.path.realpath(f"{directory}/slaves/{device}"), found, levels - 1)
    elif not name.startswith("loop") and os.path.exists(directory):
        found[f"/dev/{name}"] = DiskAddress(f"/dev/{name}", (f"/dev/{name}",))


def _entries(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
