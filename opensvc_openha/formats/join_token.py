"""Encode and decode the token of ``openha join``: where the first node waits, and the secret.

::

    version 1 | number of addresses 1 | IPv4 addresses 4 each | port 2 | secret 16 |
    expiry in seconds since 1970 4 | CRC-32 of all that 4      in base32, lower case

The expiry only serves a message: the node that waits decides by its own clock, which no step of the
wall clock changes. Letters and digits alone survive every shell, mail and chat.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import struct
import zlib
from dataclasses import dataclass, field

from opensvc_openha.errors import UsageError

VERSION = 1
SECRET_BYTES = 16
ADDRESSES_MAX = 8

_HEAD = struct.Struct(">BB")
_TAIL = struct.Struct(f">H{SECRET_BYTES}sI")
_CHECK = struct.Struct(">I")
_CHARACTERS_MAX = 256
_WHAT_TO_DO = "copy the whole line that `openha setup` has printed on the other node"


@dataclass(frozen=True)
class JoinToken:
    """What the joining node needs to know; ``expires_at`` is wall-clock time, for messages."""

    addresses: tuple[str, ...]
    port: int
    secret: bytes = field(repr=False)
    expires_at: int = 0


def encode(token: JoinToken) -> str:
    """Return the token as one word of letters and digits."""
    assert 1 <= len(token.addresses) <= ADDRESSES_MAX, "the joining node needs an address"
    data = _HEAD.pack(VERSION, len(token.addresses))
    data += b"".join(ipaddress.IPv4Address(each).packed for each in token.addresses)
    data += _TAIL.pack(token.port, token.secret, token.expires_at)
    data += _CHECK.pack(zlib.crc32(data))
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def decode(word: str) -> JoinToken:
    """Return the token in a word; raise UsageError, which never shows a part of it."""
    word = "".join(word.split()).upper()
    if len(word) > _CHARACTERS_MAX:
        raise UsageError(f"not a token of `openha setup`: {_WHAT_TO_DO}")
    try:
        data = base64.b32decode(word + "=" * (-len(word) % 8))
    except (binascii.Error, ValueError):
        raise UsageError(f"not a token of `openha setup`: {_WHAT_TO_DO}") from None
    if len(data) < _HEAD.size + _CHECK.size:
        raise UsageError(f"the token is incomplete: {_WHAT_TO_DO}")

    body, (checksum,) = data[: -_CHECK.size], _CHECK.unpack(data[-_CHECK.size :])
    if zlib.crc32(body) != checksum:
        raise UsageError(f"the token is incomplete or mistyped: {_WHAT_TO_DO}")
    version, count = _HEAD.unpack_from(body)
    if version != VERSION:
        raise UsageError(
            f"the token has format {version}, this node knows {VERSION}: install the same version"
            " of openha on both nodes"
        )
    if len(body) != _HEAD.size + 4 * count + _TAIL.size or count == 0:
        raise UsageError(f"the token is incomplete or mistyped: {_WHAT_TO_DO}")
    places = body[_HEAD.size : _HEAD.size + 4 * count]
    port, secret, expires_at = _TAIL.unpack_from(body, _HEAD.size + 4 * count)
    addresses = tuple(
        str(ipaddress.IPv4Address(places[begin : begin + 4])) for begin in range(0, 4 * count, 4)
    )
    return JoinToken(addresses, port, secret, expires_at)
