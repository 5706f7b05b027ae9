"""Disk slots: padding, torn reads, foreign content, and frames that are too large."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.errors import FrameError
from opensvc_openha.formats.disk_slot import HEAD_BYTES, decode_slot, encode_slot

SLOT = 5120


def reason_of(data: bytes) -> str:
    with pytest.raises(FrameError) as caught:
        decode_slot(data)
    return caught.value.reason


@given(st.binary(max_size=SLOT - HEAD_BYTES), st.sampled_from([512, 1024]))
def test_frame_survives_the_slot(frame: bytes, block_bytes: int) -> None:
    """Any frame that fits: whole blocks are written and the same frame is read, with whatever
    follows it.
    """
    data = encode_slot(frame, SLOT, block_bytes)
    assert len(data) % block_bytes == 0
    assert decode_slot(data) == frame == decode_slot(data + b"remains of a longer beat")


def test_slot_that_was_claimed_holds_an_empty_frame() -> None:
    """An envelope with nothing in it, in a slot that holds no byte more: an empty frame, which is
    no beat and no error.
    """
    assert (
        decode_slot(encode_slot(b"", SLOT))
        == b""
        == decode_slot(encode_slot(b"", SLOT)[:HEAD_BYTES])
    )


def test_frame_that_does_not_fit_names_the_spacing() -> None:
    """A frame one byte too long for 10 blocks: the error reports that 11 are needed.

    16 where blocks are 4 KiB. One that fills them is taken.
    """
    assert len(encode_slot(bytes(SLOT - HEAD_BYTES), SLOT)) == SLOT
    with pytest.raises(ValueError, match="needs slots spaced 11 blocks apart; they have 10"):
        encode_slot(bytes(SLOT - HEAD_BYTES + 1), SLOT)
    with pytest.raises(ValueError, match="needs slots spaced 16 blocks apart; they have 10"):
        encode_slot(bytes(4096), SLOT, 4096)


def test_torn_slot_is_found() -> None:
    """The first blocks of a new beat and the last ones of the old: refused as damaged, at every
    block.
    """
    old, new = encode_slot(b"o" * 3000, SLOT), encode_slot(b"n" * 3000, SLOT)
    for blocks in range(1, len(new) // 512):
        assert reason_of(new[: blocks * 512] + old[blocks * 512 :]) == "checksum"


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "blank"),
        (bytes(SLOT), "blank"),
        (b"deb1.opensvc.com".ljust(SLOT, b"\0"), "alien"),
        (encode_slot(b"x", SLOT)[:11], "truncated"),
        (encode_slot(b"x" * 600, SLOT)[:512], "truncated"),
        (encode_slot(b"x", SLOT).replace(b"x", b"y"), "checksum"),
    ],
)
def test_bad_slot_is_filed_under_its_reason(data: bytes, reason: str) -> None:
    """A slot that holds no whole beat of ours: FrameError with the counter it belongs to."""
    assert reason_of(data) == reason


@given(st.binary(max_size=600), st.booleans())
def test_any_slot_is_a_frame_or_a_frame_error(data: bytes, has_magic: bool) -> None:
    """Arbitrary bytes: a frame or a FrameError, nothing else."""
    try:
        decode_slot(b"\x89EZS" * has_magic + data)
    except FrameError as error:
        assert error.reason in {"blank", "alien", "truncated", "checksum"}
