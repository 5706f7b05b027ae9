"""Recognize the owner of a device or slot by its bytes, without I/O.

A slot may be written if it holds a heartbeat, of this program or of the C OpenHA, or nothing at all
on a device with no other owner. Anything else is foreign data.
"""

from __future__ import annotations

import struct

from opensvc_openha.core.model import LEGACY_SLOT_BLOCKS
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.disk_slot import BLOCK_BYTES, MAGIC
from opensvc_openha.formats.legacy_frame import RECORD_BYTES, decode_record
from opensvc_openha.formats.nodes_file import check_node_name

HEAD_BYTES = (2 << 20) + (128 << 10)
"""Bytes at the start of a device that show its use: the last sign is behind 2 MiB."""
TAIL_BYTES = 1 << 20
"""Bytes at its end: software RAIDs, replicated devices and pools keep their signs there."""

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
    (65_536 + 64, b"_BHRfS_M", "a btrfs file system"),
    (65_536 + 52, b"ReIsEr", "a ReiserFS file system"),
    (65_536, b"\x01\x16\x19\x70", "a GFS2 file system"),
    (32_768, b"JFS1", "a JFS file system"),
    (8192, b"OCFSV2", "an OCFS2 file system"),
    (1024 + 6, b"\x34\x34", "a NILFS2 file system"),
    (1024, b"\xe2\xe1\xf5\xe0", "an EROFS file system"),
    (0, b"hsqs", "a squashfs file system"),
    (32, b"NXSB", "an APFS container"),
    (32, b"ORCLDISK", "an Oracle ASM disk"),
    (0, b"dmvdo001", "a VDO volume"),
    (0, b"bluestore block device", "a Ceph BlueStore device"),
    (4096 + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "a bcache device"),
    (24, b"LVM2 001", "an LVM physical volume"),
    (1024 + 24, b"LVM2 001", "an LVM physical volume"),
    (1536 + 24, b"LVM2 001", "an LVM physical volume"),
    (0x100000, b"\x0d\xd0\x01\xc0", "a VMFS volume"),
    (0x200000, b"\x5e\xf1\xab\x2f", "a VMFS file system"),
)
_LEGACY_NAME_BYTES = 128
_LEGACY_FLAGS = struct.Struct("<II")
_LEGACY_HEAD_BYTES = _LEGACY_NAME_BYTES + _LEGACY_FLAGS.size


def find_sign(head: bytes, slot_bytes: int) -> str | None:
    """Return the use of a device by its first bytes; None if they show none.

    A slot of ours at the very start hides what is below it, and its random bytes must not be
    mistaken for a sign.
    """
    head = without_heartbeats(head, slot_bytes)
    for offset, sign, what in _SIGNS:
        if head[offset : offset + len(sign)] == sign:
            return what
    return None


def without_heartbeats(data: bytes, slot_bytes: int) -> bytes:
    """Return a device's bytes with zeros in place of each slot that a node daemon wrote.

    ``data`` starts at a block.
    """
    cleaned = bytearray(data)
    offset = 0
    while offset < len(data):
        length = _slot_length(data, offset, slot_bytes)
        cleaned[offset : offset + length] = bytes(len(cleaned[offset : offset + length]))
        offset += length or BLOCK_BYTES
    return bytes(cleaned)


def _slot_length(data: bytes, offset: int, slot_bytes: int) -> int:
    """Return the length of the slot that begins there; 0 if none does.

    Anywhere on a device, a short word in a block of zeros must not pass for the original's record:
    it is checked as a whole.
    """
    if data.startswith(MAGIC, offset):
        return slot_bytes
    if not _is_legacy_record(data[offset : offset + _LEGACY_HEAD_BYTES]):
        return 0
    try:
        record = decode_record(data[offset : offset + RECORD_BYTES])
    except FrameError:
        return 0
    return LEGACY_SLOT_BLOCKS * BLOCK_BYTES if record.clock_s and record.pid else 0


def holds_heartbeat(slot: bytes) -> bool:
    """Return True for a slot that a node daemon wrote, of this program or of the C OpenHA."""
    return slot.startswith(MAGIC) or _is_legacy_record(slot)


def _is_legacy_record(slot: bytes) -> bool:
    """Check for a node name padded with NULs, then the "up" flag and the lock that is always 0."""
    if len(slot) < _LEGACY_HEAD_BYTES:
        return False
    name, _, rest = slot[:_LEGACY_NAME_BYTES].partition(b"\0")
    up, lock = _LEGACY_FLAGS.unpack_from(slot, _LEGACY_NAME_BYTES)
    try:
        check_node_name(name.decode("ascii"))
    except ValueError:
        return False
    return not rest.strip(b"\0") and up in (0, 1) and lock == 0
