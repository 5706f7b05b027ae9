"""Links as configured: addresses compared, and the place that a slot takes."""

from __future__ import annotations

import pytest

from opensvc_openha.core.model import LEGACY_SLOT_BLOCKS, SLOT_BLOCKS, LinkSpec, Wire


@pytest.mark.parametrize(
    "address, canonical",
    [
        ("FF02::0001", "ff02::1"),
        ("239.131.50.10", "239.131.50.10"),
        ("DEB2.example", "deb2.example"),
    ],
)
def test_addresses_are_compared_in_one_spelling(address: str, canonical: str) -> None:
    """An address in its shortest form, a host name in small letters."""
    assert LinkSpec("deb1", "net", "eth1", address, 5010, 0, 10.0).canonical_address == canonical


def test_slot_is_as_long_as_the_format_of_its_link_demands() -> None:
    """A C OpenHA's slot, or ours."""
    disk = LinkSpec("deb1", "dio", "/dev/sdb", "", 0, 10, 10.0)
    assert disk.slot_blocks == SLOT_BLOCKS
    legacy = LinkSpec("deb1", "dio", "/dev/sdb", "", 0, 10, 10.0, wire=Wire.LEGACY)
    assert legacy.slot_blocks == LEGACY_SLOT_BLOCKS
