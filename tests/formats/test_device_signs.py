"""Whose a device is, from its first bytes, and whose a slot is."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from pathlib import Path

import pytest

from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.device_signs import (
    _SIGNS,
    HEAD_BYTES,
    TAIL_BYTES,
    find_sign,
    holds_heartbeat,
    without_heartbeats,
)
from opensvc_openha.formats.disk_slot import encode_slot
from opensvc_openha.formats.legacy_frame import LegacyRecord, encode_disk_record
from opensvc_openha.links.disk_requests import MAX_BYTES

SLOT = 5120


def test_blank_device_has_no_sign() -> None:
    """Zeros: no owner."""
    assert find_sign(bytes(HEAD_BYTES), SLOT) is None and find_sign(b"", SLOT) is None
    assert not holds_heartbeat(bytes(SLOT))


@pytest.mark.parametrize(
    ("offset", "sign", "what"),
    [
        (0, b"XFSB\0\0\x10\0", "XFS"),
        (0, b"LUKS\xba\xbe\0\2", "LUKS"),
        (512, b"EFI PART\0\0\1\0", "GPT"),
        (4096, b"EFI PART\0\0\1\0", "GPT"),
        (510, b"\x55\xaa", "MBR"),
        (512, b"LABELONE" + bytes(16) + b"LVM2 001", "LVM"),
        (4096, b"\xfc\x4e\x2b\xa9\1\0\0\0", "RAID"),
        (32_769, b"CD001", "ISO 9660"),
        (65_600, b"_BHRfS_M", "btrfs"),
        (32, b"ORCLDISKDATA", "Oracle ASM"),
        (65_588, b"ReIsEr2Fs", "ReiserFS"),
        (65_536, b"\x01\x16\x19\x70\0\0\0\1", "GFS2"),
        (8192, b"OCFSV2", "OCFS2"),
        (1024 + 512, b"LABELONE" + bytes(16) + b"LVM2 001", "LVM"),
        (24, b"LVM2 001", "LVM"),
        (1024 + 24, b"LVM2 001", "LVM"),
        (4086, b"SWAP-SPACE", "swap"),
        (0, b"\xfc\x4e\x2b\xa9\1\0\0\0", "RAID"),
        (1024, b"\x10\x20\xf5\xf2", "F2FS"),
        (32_768, b"JFS1", "JFS"),
        (1030, b"\x34\x34", "NILFS2"),
        (1024, b"\xe2\xe1\xf5\xe0", "EROFS"),
        (0, b"hsqs", "squashfs"),
        (32, b"NXSB", "APFS"),
        (0, b"dmvdo001", "VDO"),
        (0, b"bluestore block device\n", "Ceph BlueStore"),
        (4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65", "bcache"),
        (1 << 20, b"\x0d\xd0\x01\xc0", "VMFS"),
        (2 << 20, b"\x5e\xf1\xab\x2f", "VMFS"),
    ],
)
def test_sign_on_a_blank_device_is_found(offset: int, sign: bytes, what: str) -> None:
    """The magic bytes where the format has them: named; one byte further: nothing."""
    found = find_sign((bytes(offset) + sign).ljust(HEAD_BYTES, b"\0"), SLOT)
    assert found is not None and what in found
    assert find_sign((bytes(offset + 1) + sign).ljust(HEAD_BYTES, b"\0"), SLOT) is None


def test_ends_that_are_read_hold_every_sign_and_little_more() -> None:
    """Whole requests of 64 KiB.

    A slow disk has to give both ends each time that a link with a blank slot is opened.
    """
    last = max(offset + len(sign) for offset, sign, _ in _SIGNS)
    assert last <= HEAD_BYTES < last + (128 << 10)
    assert HEAD_BYTES % MAX_BYTES == 0 and TAIL_BYTES % MAX_BYTES == 0
    # Labels of ZFS and the metadata of RAIDs and DRBD begin within the last half MiB.
    assert TAIL_BYTES >= 1 << 19 and HEAD_BYTES + TAIL_BYTES <= 4 << 20


@pytest.mark.parametrize(
    ("command", "what"), [("mkfs.ext4 -q -F {}", "ext2/3/4"), ("mkswap {}", "swap")]
)
def test_real_tools_leave_a_sign(command: str, what: str, tmp_path: Path) -> None:
    """What mkfs and mkswap write is recognised."""
    image = tmp_path / "image"
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    path = os.environ["PATH"] + ":/sbin:/usr/sbin"
    subprocess.run(
        command.format(image).split(), capture_output=True, check=True, env={"PATH": path}
    )
    with open(image, "rb") as file:
        found = find_sign(file.read(HEAD_BYTES), SLOT)
    assert found is not None and what in found


def test_heartbeats_at_the_start_are_never_taken_for_something_else() -> None:
    """A slot at block 0 with random bytes at every offset a sign could have: still nobody else's
    device.
    """
    dice = random.Random(1)
    for _ in range(50):
        frame = bytearray(dice.randbytes(5000))
        frame[510 - 12 : 512 - 12] = b"\x55\xaa"
        frame[1080 - 12 : 1082 - 12] = b"\x53\xef"
        head = encode_slot(bytes(frame), SLOT).ljust(HEAD_BYTES, b"\0")
        assert find_sign(head, SLOT) is None


def test_slots_of_this_program_and_of_the_original_are_heartbeats_other_data_is_not() -> None:
    """Our envelope and a C OpenHA record yes; text, a name alone and noise no."""
    legacy = b"deb1.opensvc.com".ljust(128, b"\0") + struct.pack("<II", 1, 0) + bytes(9248)
    assert holds_heartbeat(encode_slot(b"", SLOT)) and holds_heartbeat(legacy)
    assert not holds_heartbeat(b"deb1.opensvc.com\n" * 400)
    assert not holds_heartbeat(b"deb1".ljust(128, b"\0") + b"\x07" * 8)
    assert not holds_heartbeat(random.Random(2).randbytes(SLOT))


def test_slots_are_taken_out_and_nothing_else() -> None:
    """Ours and the original's, side by side and at the cut of what was read.

    The data between them stays.
    """
    ours = encode_slot(bytes(range(256)) * 15, SLOT).ljust(SLOT, b"\0")
    legacy = encode_disk_record(
        LegacyRecord("deb1.opensvc.com", (("web", ServiceState.STARTED),), 1_800_000_000, 123)
    )
    other = b"somebody's".ljust(512, b"\0")
    data = ours + legacy + other + ours[:1024]
    assert without_heartbeats(data, SLOT) == bytes(SLOT + 19 * 512) + other + bytes(1024)
    word = b"OCFSV2".ljust(19 * 512, b"\0")
    assert (
        without_heartbeats(other * 3, SLOT) == other * 3 and without_heartbeats(word, SLOT) == word
    )


def test_slot_of_ours_is_taken_out_once_whatever_it_holds() -> None:
    """A frame whose payload looks like the beginning of a slot: the data behind ours stays."""
    ours = (encode_slot(b"", SLOT)[:512].ljust(512, b"\0") + encode_slot(b"", SLOT)).ljust(
        SLOT, b"\0"
    )[:SLOT]
    other = b"somebody's".ljust(SLOT, b"\0")
    assert without_heartbeats(ours + other, SLOT) == bytes(SLOT) + other


def legacy_record(
    up: int = 1, lock: int = 0, padding: bytes = b"", clock: int = 9, pid: int = 7
) -> bytes:
    """Return a C OpenHA slot with these fields."""
    record = LegacyRecord("deb1", (("web", ServiceState.STARTED),), clock, pid)
    data = bytearray(encode_disk_record(record))
    data[120 : 120 + len(padding)] = padding
    struct.pack_into("<II", data, 128, up, lock)
    return bytes(data)


def test_record_of_the_original_is_known_by_its_name_and_flags() -> None:
    """Up or down, never locked, nothing behind the name; less than these fields is none."""
    assert holds_heartbeat(legacy_record(0)) and holds_heartbeat(legacy_record(1))
    assert not holds_heartbeat(legacy_record(2)) and not holds_heartbeat(legacy_record(lock=1))
    assert not holds_heartbeat(legacy_record(padding=b"x"))
    assert holds_heartbeat(legacy_record()[:136]) and not holds_heartbeat(legacy_record()[:135])


@pytest.mark.parametrize(
    "data",
    [
        legacy_record(clock=0),
        legacy_record(pid=0),
        legacy_record()[:512] + b"\7" * (len(legacy_record()) - 512),
        legacy_record()[:1024],
    ],
    ids=["no clock", "no process", "other data in the states", "cut"],
)
def test_device_with_only_a_part_of_a_record_is_left_alone(data: bytes) -> None:
    """Anywhere on a device the record must be whole: nothing of such data is taken out."""
    assert without_heartbeats(data, SLOT) == data
