"""Pack and unpack echo requests and replies of ICMP and ICMPv6 (RFC 792, RFC 4443).

::

    type 1 | code 1 | checksum 2 | identifier 2 | sequence 2 | payload

The kernel sets the checksum of ICMPv6, and the identifier on a datagram socket. A raw socket gives
an IPv4 message with its IP header.
"""

from __future__ import annotations

import struct

from opensvc_openha.records import dataclass

_HEADER = struct.Struct(">BBHHH")
_REQUEST = {4: 8, 6: 128}
_REPLY = {4: 0, 6: 129}
_WORD_MAX = 0xFFFF


@dataclass(frozen=True)
class EchoReply:
    """An answer to a request."""

    identifier: int
    sequence: int
    payload: bytes


def pack_request(version: int, identifier: int, sequence: int, payload: bytes) -> bytes:
    """Return the message of a request, for that version of IP."""
    kind = _REQUEST[version]
    bare = _HEADER.pack(kind, 0, 0, identifier, sequence) + payload
    return _HEADER.pack(kind, 0, checksum(bare), identifier, sequence) + payload


def unpack_reply(version: int, data: bytes, has_ip_header: bool = False) -> EchoReply | None:
    """Return what a message answers; None if it is no reply."""
    if has_ip_header:
        length = (data[0] & 0x0F) * 4 if data else 0
        data = data[length:]
    if len(data) < _HEADER.size:
        return None
    kind, code, _, identifier, sequence = _HEADER.unpack_from(data)
    if (kind, code) != (_REPLY[version], 0):
        return None
    return EchoReply(identifier, sequence, data[_HEADER.size :])


def checksum(data: bytes) -> int:
    """Return the checksum of a message whose own is 0 (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total > _WORD_MAX:
        total = (total & _WORD_MAX) + (total >> 16)
    return _WORD_MAX - total
