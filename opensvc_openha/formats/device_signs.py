"""What the first bytes of a device, or the bytes of a slot, say about whose they are. Nothing here reads or writes.

A slot may be written if it holds a heartbeat, of this program or of the C OpenHA, or nothing at all on a device that nobody
else has set up. Anything else is someone's data.
"""

from __future__ import annotations

import struct
from typing import Optional

from opensvc_openha.formats.disk_slot import MAGIC
from opensvc_openha.formats.nodes_file import check_node_name

HEAD_BYTES = 65_536
"""So much of the start of a device tells what it is used for."""

_SIGNS = (
    (0, b"XFSB", "an XFS file system"),
    (0, b"LUKS\xba\xbe", "an encrypted volume (LUKS)"),
    (512, b"EFI PART", "a partition table (GPT)"),
    (4096, b"EFI PART", "a partition table (GPT)"),
    (510, b"\x55\xaa", "a partition table or boot record (MBR)"),
    (536, b"LVM2 001", "an LVM physical volume"),
    (1080, b"\x53\xef", "an ext2/3/4 file system"),
    (4086, b"SWAPSPACE2", "swap space"),
    (4086, b"SWAP-SPACE", "swap space"),
    (4096, b"\xfc\x4e\x2b\xa9", "a member of a software RAID"),
    (0, b"\xfc\x4e\x2b\xa9", "a member of a software RAID"),
    (1024, b"\x10\x20\xf5\xf2", "an F2FS file system"),
    (32_768 + 1, b"CD001", "an ISO 9660 file system"),
)
_LEGACY_NAME_BYTES = 128
_LEGACY_FLAGS = struct.Struct("<II")


def find_sign(head: bytes, slot_bytes: int) -> Optional[str]:
    """What a device is used for, from its first bytes; None if they say nothing.

    A slot of ours at the very start hides what is below it, and its random bytes must not be taken for anything.
    """
    if holds_heartbeat(head):
        head = bytes(slot_bytes) + head[slot_bytes:]
    for offset, sign, what in _SIGNS:
        if head[offset : offset + len(sign)] == sign:
            return what
    return None


def holds_heartbeat(slot: bytes) -> bool:
    """True for a slot that a node daemon wrote, of this program or of the C OpenHA."""
    return slot.startswith(MAGIC) or _is_legacy_record(slot)


def _is_legacy_record(slot: bytes) -> bool:
    """A node name padded with NULs, then the "up" flag and the lock that is always 0."""
    if len(slot) < _LEGACY_NAME_BYTES + _LEGACY_FLAGS.size:
        return False
    name, _, rest = slot[:_LEGACY_NAME_BYTES].partition(b"\0")
    up, lock = _LEGACY_FLAGS.unpack_from(slot, _LEGACY_NAME_BYTES)
    try:
        check_node_name(name.decode("ascii"))
    except ValueError:
        return False
    return not rest.strip(b"\0") and up in (0, 1) and lock == 0
