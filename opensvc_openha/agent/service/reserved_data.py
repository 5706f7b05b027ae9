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
    return any(map(is_reservable, file.sections)) and not any(unreserved(file))


def unreserved(file: ServiceFile) -> Iterator[Section]:
    """Yield the sections of shared data that no reservation covers."""
    groups = [
        section.text(section.spelling(schema.VGNAME))
        for section in file.sections
        if section.group in ("vg", "disk") and is_reservable(section)
    ]
    for section in resource_sections(file):
        if is_reservable(section):
            continue
        type_ = section.text("type").lower()
        is_disk = section.group in ("vg", *_ELSEWHERE) or (
            section.group == "disk" and type_ != "loop"
        )
        is_fs = section.group == "fs" and type_ not in _NO_SHARED_DATA
        device = section.text(schema.DEV.name)
        if is_disk or (is_fs and not any(_is_volume_of(device, name) for name in groups)):
            yield section


def _is_volume_of(device: str, group: str) -> bool:
    """Return whether a device is, by its name, a volume of a group."""
    if not group:
        return False
    escaped = group.replace("-", "--")
    rest = device.removeprefix(f"/dev/mapper/{escaped}-")
    return device.startswith(f"/dev/{group}/") or (rest != device and rest[:1] not in ("", "-"))
