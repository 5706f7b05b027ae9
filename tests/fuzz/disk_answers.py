"""Answers of a hostile disk: a value or a ValueError, and no key that the answer does not hold."""

from __future__ import annotations

import struct
from collections.abc import Callable

from opensvc_openha.formats import scsi_pr
from opensvc_openha.formats.reservation_key import key_text, parse_key
from tests.formats.test_scsi_pr import TARGETS, exchanges

GENUINE = tuple(
    dict.fromkeys(
        data[:200]
        for target in TARGETS
        for exchange in exchanges(target)
        for data in (exchange.data, exchange.sense)
        if data
    )
)
"""Recorded answers and sense data, those that differ."""
_DECODERS: tuple[Callable[[bytes], object], ...] = (
    scsi_pr.decode_registrations,
    scsi_pr.decode_reservation,
    scsi_pr.decode_capabilities,
    scsi_pr.decode_full_status,
    scsi_pr.decode_vendor,
    scsi_pr.decode_serial,
    scsi_pr.decode_identifier,
    scsi_pr.list_bytes,
)


def take_answer(data: bytes) -> int:
    """Decode an answer in every way; return in how many it could be."""
    sense = scsi_pr.decode_sense(data)
    assert "\n" not in str(sense)
    found = 0
    for decode in _DECODERS:
        try:
            value = decode(data)
        except ValueError:
            continue
        found += 1
        text = str(value)
        assert text.isprintable(), text
        if isinstance(value, scsi_pr.Registrations):
            expected = struct.unpack_from(">I", data, 4)[0] // 8
            assert len(value.keys) == expected <= (len(data) - 8) // 8
            assert all(struct.pack(">Q", key) in data for key in value.keys)
            assert all(parse_key(key_text(key)) == key for key in value.keys if key)
    return found
