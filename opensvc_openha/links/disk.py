"""Implement ``disk`` links: slots of a shared device or file, with a dropped page cache.

The cache is dropped before each read. For devices and file systems without O_DIRECT. Writes to a
block device still bypass the cache where possible.
"""

from __future__ import annotations

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.timing import SLOT_READ_S
from opensvc_openha.links.base import Clock, LinkType
from opensvc_openha.links.row import DISK_COLUMNS, disk_place
from opensvc_openha.links.slot_link import SlotListener, SlotSender


class DiskSender(SlotSender):
    """Write the own slot of the device."""

    def __init__(self, spec: LinkSpec) -> None:
        super().__init__(spec, direct=False)


class DiskListener(SlotListener):
    """Read the peer's slot of the device."""

    def __init__(self, spec: LinkSpec, clock: Clock, poll_s: float = SLOT_READ_S) -> None:
        super().__init__(spec, clock, direct=False, poll_s=poll_s)


DISK = LinkType(
    word="disk",
    meaning="through a slot of a shared device or file that has no direct I/O",
    columns=DISK_COLUMNS,
    read_place=disk_place,
    sender=DiskSender,
    listener=DiskListener,
    process_suffix="_raw",
)
