"""Find heartbeat links of this node that one fault cuts together: interfaces, cards, disks.

Only sysfs is read. What is behind a socket is not visible from here: two interfaces may lead to one
switch, and two disks may come from one array.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.system.network_devices import lower_devices

_DEPTH = 8
"""Devices below a device, at most: a loop in sysfs would be the kernel's error."""


@dataclass(frozen=True)
class SharedPath:
    """Links that share something, and what it is."""

    links: tuple[str, ...]
    shared: str
    text: str


def shared_paths(links: Sequence[LinkSpec], sys_dir: str = "/sys") -> tuple[SharedPath, ...]:
    """Return what the links that this node sends on share."""
    found = []
    for one, other in itertools.combinations(links, 2):
        names = one.link_id, other.link_id
        if one.is_disk is not other.is_disk:
            continue
        if one.is_disk:
            found += _shared_disk(one, other, names, sys_dir)
        else:
            found += _shared_network(one, other, names, sys_dir)
    return tuple(found)


def _shared_network(
    one: LinkSpec, other: LinkSpec, names: tuple[str, str], sys_dir: str
) -> list[SharedPath]:
    if one.device == other.device:
        text = f"both use {one.device}: one cable, or one driver, cuts both"
        return [SharedPath(names, one.device, text)]
    roots = [interface_roots(link.device, sys_dir) for link in (one, other)]
    common = sorted(roots[0] & roots[1])
    if common:
        below = " and ".join(common)
        text = f"{one.device} and {other.device} are both on {below}"
        return [SharedPath(names, below, text)]
    cards = [{card_of(root, sys_dir) for root in each} - {""} for each in roots]
    card = sorted(cards[0] & cards[1])
    if card:
        text = f"{one.device} and {other.device} are ports of one card ({card[0]})"
        return [SharedPath(names, card[0], text)]
    return []


def _shared_disk(
    one: LinkSpec, other: LinkSpec, names: tuple[str, str], sys_dir: str
) -> list[SharedPath]:
    disks = [disk_roots(link.device, sys_dir) for link in (one, other)]
    common = sorted(disks[0] & disks[1])
    if one.device == other.device or common:
        shared = one.device if one.device == other.device else " and ".join(common)
        text = f"both are on {shared}: one disk that does not answer cuts both"
        return [SharedPath(names, shared, text)]
    return []


def interface_roots(device: str, sys_dir: str = "/sys") -> frozenset[str]:
    """Return the interfaces below one: the ports of a bond or bridge, the parent of a VLAN."""
    return frozenset(_below(device, sys_dir, _DEPTH))


def _below(device: str, sys_dir: str, depth: int) -> Iterable[str]:
    lower = lower_devices(device, f"{sys_dir}/class/net")
    if not lower or not depth:
        return [device]
    return [root for each in lower for root in _below(each, sys_dir, depth - 1)]


def card_of(device: str, sys_dir: str = "/sys") -> str:
    """Return the PCI slot of an interface without its function; empty for others."""
    place = os.path.realpath(f"{sys_dir}/class/net/{device}/device")
    name = os.path.basename(place)
    slot, dot, function = name.rpartition(".")
    return slot if dot and function.isdigit() and slot.count(":") == 2 else ""


def disk_roots(device: str, sys_dir: str = "/sys") -> frozenset[str]:
    """Return the disks below a device: paths of a multipath map, parts of a volume, a partition's.

    Of a file the disk of its file system; nothing if that is not known.
    """
    try:
        found = os.stat(device)
    except OSError:
        return frozenset()
    number = found.st_rdev or found.st_dev
    place = os.path.realpath(f"{sys_dir}/dev/block/{os.major(number)}:{os.minor(number)}")
    return frozenset(_slaves(place, _DEPTH)) if os.path.isdir(place) else frozenset()


def _slaves(place: str, depth: int) -> Iterable[str]:
    if os.path.exists(f"{place}/partition"):
        place = os.path.dirname(place)
    below = _names(f"{place}/slaves")
    if not below or not depth:
        return [os.path.basename(place)]
    return [
        root
        for name in below
        for root in _slaves(os.path.realpath(f"{place}/slaves/{name}"), depth - 1)
    ]


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []
