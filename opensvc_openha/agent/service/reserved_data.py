"""Whether reservations cover all shared disks of a service, so that they can prove something.

A proof about disks alone (``fence_needs = data``) is none for a service that has others: a file
system from the network, or a volume group without ``scsireserv``.
"""

from __future__ import annotations

from collections.abc import Iterator

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import Section, ServiceFile
from opensvc_openha.agent.resources.registry import resource_sections
from opensvc_openha.agent.resources.scsireserv import is_reservable

_NO_SHARED_DATA = frozenset({"directory", "tmpfs", *schema.BIND_TYPES})
_ELSEWHERE = frozenset({"drbd", "pool"})


def has_reserved_data(file: ServiceFile) -> bool:
    """Return whether the service has disks, and reserves all of them."""
    return any(map(_is_reserved, file.sections)) and not any(unreserved(file))


def unreserved(file: ServiceFile) -> Iterator[Section]:
    """Yield the sections of shared data that no reservation covers."""
    for section in resource_sections(file):
        if is_shared(section) and not _is_reserved(section) and not is_volume(section, file):
            yield section


def is_shared(section: Section) -> bool:
    """Return whether a resource is data that both nodes can reach."""
    type_ = section.text("type").lower()
    if section.group == "fs":
        return type_ not in _NO_SHARED_DATA
    return section.group in ("vg", *_ELSEWHERE) or (section.group == "disk" and type_ != "loop")


def is_volume(section: Section, file: ServiceFile) -> bool:
    """Return whether a file system is, by its name, on a group that is reserved itself."""
    if section.group != "fs":
        return False
    groups = (
        group.text(group.spelling(schema.VGNAME))
        for group in file.sections
        if group.group in ("vg", "disk") and is_reservable(group)
    )
    device = section.text(schema.DEV.name)
    return any(_is_volume_of(device, name) for name in groups)


def _is_reserved(section: Section) -> bool:
    """Return whether a resource's own reservation can cover it: the network has none."""
    type_ = section.text("type").lower()
    return is_shared(section) and is_reservable(section) and type_ not in schema.NETWORK_TYPES


def _is_volume_of(device: str, group: str) -> bool:
    """Return whether a device is, by its name, a volume of a group."""
    if not group:
        return False
    escaped = group.replace("-", "--")
    rest = device.removeprefix(f"/dev/mapper/{escaped}-")
    return device.startswith(f"/dev/{group}/") or (rest != device and rest[:1] not in ("", "-"))
