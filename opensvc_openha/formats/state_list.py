"""Encode many services' states compactly: one nibble each, or deflated if that is shorter.

Thousands of services are mostly in two or three states, so 10,000 of them take some hundred bytes.
The receiver knows their number before it unpacks them, so no frame can fill its memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache

from opensvc_openha.core.states import ServiceState

PLAIN_MAX = 1_024
"""Up to this many services are always sent as plain nibbles."""

_KEPT = 4
"""Lists kept unpacked: most beats report what the one before did, on each of a few links."""

_STATES = {f"{state.value:x}": state for state in ServiceState}
_BY_VALUE = {state.value: state for state in ServiceState}


def plain_bytes(count: int) -> int:
    """Return the bytes that the nibbles of that many services take."""
    return (count + 1) // 2


def pack_states(states: Sequence[ServiceState]) -> tuple[bytes, bool]:
    """Return the states as bytes, and True if these are deflated."""
    # Not `value`: that is a descriptor of enum, and with thousands of services it would take most
    # of the time for a beat.
    values = bytes([state._value_ for state in states])
    # The second digit of each byte is the nibble.
    nibbles = bytes.fromhex(values.hex()[1::2] + "0" * (len(states) % 2))
    if len(states) <= PLAIN_MAX:
        return nibbles, False
    # With a dozen states, codes average less than four bits, so that one of these is always
    # shorter.
    return min(
        (_deflate(values, zlib.Z_DEFAULT_STRATEGY), _deflate(values, zlib.Z_HUFFMAN_ONLY)), key=len
    ), True


def _deflate(values: bytes, strategy: int) -> bytes:
    """Deflate.

    The usual strategy searches for repetition, which only costs bytes if there is none.
    """
    deflater = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    return deflater.compress(values) + deflater.flush()


@lru_cache(maxsize=_KEPT)
def unpack_plain(data: bytes, count: int) -> tuple[ServiceState, ...]:
    """Decode the states of ``count`` services from their nibbles; raise ValueError."""
    digits = data.hex()
    if len(digits) != count + count % 2 or digits[count:].strip("0"):
        raise ValueError(f"the states of {count} services do not fit")
    return _known([_STATES[digit] for digit in digits[:count] if digit in _STATES], count)


@lru_cache(maxsize=_KEPT)
def unpack_deflated(data: bytes, count: int) -> tuple[ServiceState, ...]:
    """Decode the states of ``count`` services that ``pack_states`` deflated; raise ValueError."""
    inflater = zlib.decompressobj()
    try:
        values = inflater.decompress(data, count + 1)
    except zlib.error as error:
        raise ValueError(f"the states cannot be unpacked: {error}") from None
    if not inflater.eof or inflater.unused_data:
        raise ValueError(f"the states of {count} services do not fit")
    return _known([_BY_VALUE[value] for value in values if value in _BY_VALUE], count)


def _known(states: list[ServiceState], count: int) -> tuple[ServiceState, ...]:
    if len(states) != count:
        raise ValueError(f"not the known states of {count} services")
    return tuple(states)
