"""States of many services as nibbles or deflated: what is not such a list is refused."""

from __future__ import annotations

import zlib

import pytest

from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.state_list import pack_states, unpack_deflated, unpack_plain

THREE = (ServiceState.STARTED, ServiceState.STOPPED, ServiceState.START_FAILED)


def test_nibbles_of_an_odd_number_of_states_are_read_back() -> None:
    """Three states take two bytes."""
    data, is_deflated = pack_states(THREE)
    assert (len(data), is_deflated) == (2, False) and unpack_plain(data, 3) == THREE


@pytest.mark.parametrize(
    ("data", "count"),
    [(b"", 1), (b"\0\0", 1), (b"\0\0\0", 3), (b"\0", 3), (b"\0\1", 3), (b"\xff\xf0", 3)],
    ids=["none", "too many", "a byte more", "a byte less", "padding that is a state", "unknown"],
)
def test_other_bytes_are_no_nibbles(data: bytes, count: int) -> None:
    """ValueError, and no list of another length."""
    with pytest.raises(ValueError, match="service"):
        unpack_plain(data, count)


VALUES = bytes(state.value for state in THREE)


@pytest.mark.parametrize(
    "data",
    [
        zlib.compress(VALUES[:2]),
        zlib.compress(VALUES + b"\0"),
        zlib.compress(VALUES + bytes(9)),
        zlib.compress(VALUES)[:-1],
        zlib.compress(VALUES) + b"\0",
        zlib.compress(VALUES[:2] + b"\xff"),
        b"no deflated bytes",
    ],
    ids=["too few", "one more", "many more", "cut", "more behind", "unknown", "another format"],
)
def test_other_bytes_are_no_deflated_states(data: bytes) -> None:
    """ValueError, too, whatever the number of states in it."""
    assert unpack_deflated(zlib.compress(VALUES), 3) == THREE
    with pytest.raises(ValueError, match="state"):
        unpack_deflated(data, 3)


def test_bytes_of_another_format_are_distinguished_from_another_number_of_states() -> None:
    """With the reason of the decoder."""
    with pytest.raises(ValueError, match="the states cannot be unpacked: "):
        unpack_deflated(b"no deflated bytes", 3)
