"""Decode the kernel's news of network interfaces: rtnetlink messages in native byte order.

::

    length 4 | type 2 | flags 2 | sequence 4 | port 4             one after the other, each filled
                                                                  up to 4 bytes
    family 1 | - 1 | hardware 2 | index 4 | flags 4 | change 4    then attributes, not read

Decides which interface can carry anything: it is switched on and, as far as is known, connected.
"""

from __future__ import annotations

import struct

from opensvc_openha.records import dataclass

_MESSAGE = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_LINK_BYTES = _MESSAGE.size + _LINK.size
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_REQUEST, _DUMP = 0x1, 0x300
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_WORKS = _IFF_UP | _IFF_RUNNING
_ANY_FAMILY = 0


@dataclass(frozen=True)
class InterfaceNews:
    """Present state of one interface. ``is_gone`` if no interface has that number any more."""

    index: int
    works: bool
    is_gone: bool


def ask_for_all(sequence: int) -> bytes:
    """Return the request that makes the kernel list every interface."""
    head = _MESSAGE.pack(_LINK_BYTES, _GETLINK, _REQUEST | _DUMP, sequence, 0)
    return head + _LINK.pack(_ANY_FAMILY, 0, 0, 0, 0)


def read_news(data: bytes) -> list[InterfaceNews]:
    """Decode the interface news in one datagram, skipping unknown parts."""
    found = []
    while len(data) >= _LINK_BYTES:
        length, kind, _, _, _ = _MESSAGE.unpack_from(data)
        if not _MESSAGE.size <= length <= len(data):
            break
        if kind in (_NEWLINK, _DELLINK) and length >= _LINK_BYTES:
            family, _, index, flags, _ = _LINK.unpack_from(data, _MESSAGE.size)
            # A bridge reports its ports in the same way: a port that left it means nothing for the
            # interface.
            if family == _ANY_FAMILY:
                found.append(InterfaceNews(index, flags & _WORKS == _WORKS, kind == _DELLINK))
        data = data[_filled_up(length) :]
    return found


def _filled_up(length: int) -> int:
    return (length + 3) & ~3
