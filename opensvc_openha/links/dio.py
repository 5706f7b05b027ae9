"""Implement ``dio`` links: slots of a shared device or file, around the page cache (O_DIRECT)."""

from __future__ import annotations

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.timing import SLOT_READ_S
from opensvc_openha.links.base import Clock, LinkType
from opensvc_openha.links.row import DISK_COLUMNS, disk_place
from opensvc_openha.links.slot_link import SlotListener, SlotSender


class DioSender(SlotSender):
    """Write the own slot of the device."""

    def __init__(self, spec: LinkSpec) -> None:
        super().__init__(spec, direct=True)


class DioListener(SlotListener):
    """Read the peer's slot of the device."""

    def __init__(self, spec: LinkSpec, clock: Clock, poll_s: float = SLOT_READ_S) -> None:
        super().__init__(spec, clock, direct=True, poll_s=poll_s)


DIO = LinkType(
    word="dio",
    meaning="through a slot of a shared device or file, with direct I/O",
    columns=DISK_COLUMNS,
    read_place=disk_place,
    sender=DioSender,
    listener=DioListener,
    process_suffix="_dio",
)
