"""Encode and decode a disk slot: a heartbeat frame in an envelope, padded with zeros.

::

    magic 4 | frame length 4 | CRC-32 of the frame 4 | frame | zeros

A device promises whole blocks, not whole slots, so a read beside a write may see half of each: the
CRC finds that, whatever the frame inside is and however it is protected itself.
"""

from __future__ import annotations

import struct
import zlib

from opensvc_openha.errors import FrameError

MAGIC = b"\x89EZS"
BLOCK_BYTES = 512
"""Unit of the offsets in the monitor file."""

_HEAD = struct.Struct(">4sII")
HEAD_BYTES = _HEAD.size
"""Part of the slot that the envelope takes from the frame."""


def encode_slot(frame: bytes, slot_bytes: int, block_bytes: int = BLOCK_BYTES) -> bytes:
    """Return the frame as whole blocks.

    Raises ValueError, with the spacing needed, if a slot is too small for it.
    """
    needed = _HEAD.size + len(frame)
    padded = -(-needed // block_bytes) * block_bytes
    if padded > slot_bytes:
        raise ValueError(
            f"a heartbeat of {len(frame)} bytes needs slots spaced {padded // BLOCK_BYTES} blocks"
            f" apart; they have {slot_bytes // BLOCK_BYTES}"
        )
    return (_HEAD.pack(MAGIC, len(frame), zlib.crc32(frame)) + frame).ljust(padded, b"\0")


def decode_slot(data: bytes) -> bytes:
    """Return the frame in a slot; raise FrameError (blank, alien, truncated, checksum)."""
    if not data.strip(b"\0"):
        raise FrameError("blank", "no heartbeat was ever written to this slot")
    if not data.startswith(MAGIC):
        raise FrameError("alien", "the slot holds something else than a heartbeat of this program")
    if len(data) < _HEAD.size:
        raise FrameError("truncated", f"only {len(data)} bytes of a slot")
    _, length, checksum = _HEAD.unpack_from(data)
    frame = data[_HEAD.size : _HEAD.size + length]
    if len(frame) < length:
        raise FrameError("truncated", f"the slot ends before its heartbeat of {length} bytes")
    if zlib.crc32(frame) != checksum:
        raise FrameError("checksum", "the slot was read while it was written, or is damaged")
    return frame
