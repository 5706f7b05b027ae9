"""Echo requests and replies as bytes."""

from __future__ import annotations

import pytest

from opensvc_openha.formats.icmp_echo import EchoReply, checksum, pack_request, unpack_reply

PAYLOAD = bytes(range(24))
REPLY_OF = {4: b"\x00", 6: b"\x81"}
IP_HEADER = bytes([0x46]) + bytes(23)
"""With options: 24 bytes."""


@pytest.mark.parametrize("version", [4, 6])
def test_reply_has_what_the_request_had(version: int) -> None:
    """Identifier, number and payload; a request itself is no reply, nor what is cut off."""
    request = pack_request(version, 0x1234, 7, PAYLOAD)
    assert unpack_reply(version, request) is None
    reply = REPLY_OF[version] + request[1:]
    assert unpack_reply(version, reply) == EchoReply(0x1234, 7, PAYLOAD)
    assert unpack_reply(version, reply[:7]) is None and unpack_reply(version, b"") is None
    assert unpack_reply(version, reply[:1] + b"\x01" + reply[2:]) is None
    assert unpack_reply(version, IP_HEADER + reply, True) == EchoReply(0x1234, 7, PAYLOAD)
    assert unpack_reply(version, b"", True) is None and unpack_reply(version, b"\x4f", True) is None


def test_checksum_is_that_of_the_standard() -> None:
    """RFC 1071: the sum of a message with its checksum is 0; an odd byte is filled up."""
    request = pack_request(4, 0xFFFF, 0xFFFE, PAYLOAD)
    assert checksum(request) == 0
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D
    assert checksum(b"\x01") == 0xFEFF
