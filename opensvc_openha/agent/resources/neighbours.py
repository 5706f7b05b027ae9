"""Ethernet neighbours: check whether another machine has an address, and announce ours.

A few frames on AF_PACKET and ICMPv6 raw sockets: arping and its flags differ from one distribution
to the next.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_OwnerIn = Callable[[bytes, bytes], bytes | None]
"""Hardware address that has the wanted address, if this frame is an answer."""

_ARP_REQUEST, _ARP_REPLY = 1, 2
_ETH_ARP, _ETH_IPV6 = 0x0806, 0x86DD
_ICMPV6 = 58
_BROADCAST = b"\xff" * 6
_ARPHRD_ETHER = 1
_PROBES = 2
_PROBE_WAIT_S = 0.2
_FRAMES_MAX = 50
_ANNOUNCEMENTS = 3
_NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT = 135, 136
_OVERRIDE = 0x20000000


def find_owner(interface: str, address: Address) -> str | None:
    """Return the hardware address of another machine that answers for an address; else None.

    None also if that cannot be determined.

    Takes 0.4 s without an answer. The request carries no address of ours, so that no neighbour's
    cache changes.
    """
    try:
        with _packet_socket(interface, _ETH_ARP if address.version == 4 else _ETH_IPV6) as sock:
            own = _hardware_address(sock)
            if own is None:
                return None
            if address.version == 4:
                probe, owner_in = (
                    _arp_frame(own, _ARP_REQUEST, b"\0" * 4, address.packed),
                    _arp_owner,
                )
            else:
                probe, owner_in = _solicitation_frame(own, address.packed), _advertised_owner
            for _ in range(_PROBES):
                sock.send(probe)
                owner = _await_owner(sock, owner_in, address.packed, own)
                if owner is not None:
                    return owner.hex(":")
    except OSError:
        return None
    return None


def announce(interface: str, address: Address) -> None:
    """Announce to all neighbours that the address is here now; OSError if that cannot be sent."""
    if address.version == 4:
        with _packet_socket(interface, _ETH_ARP) as sock:
            own = _hardware_address(sock)
            if own is None:
                return
            for _ in range(_ANNOUNCEMENTS):
                # Both forms: some machines only update their cache from a request, some only from a
                # reply.
                sock.send(_arp_frame(own, _ARP_REQUEST, address.packed, address.packed))
                sock.send(_arp_frame(own, _ARP_REPLY, address.packed, address.packed))
        return
    with _packet_socket(interface, _ETH_ARP) as packet_socket:
        own = _hardware_address(packet_socket)
    if own is None:
        return
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
        index = socket.if_nametoindex(interface)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        # The kernel fills in the checksum.
        message = (
            struct.pack("!BBHI", _NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE)
            + address.packed
            + b"\x02\x01"
            + own
        )
        for _ in range(_ANNOUNCEMENTS):
            sock.sendto(message, ("ff02::1", 0, 0, index))


def _packet_socket(interface: str, protocol: int) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
    try:
        sock.bind((interface, protocol))
        sock.settimeout(_PROBE_WAIT_S)
    except OSError:
        sock.close()
        raise
    return sock


def _hardware_address(sock: socket.socket) -> bytes | None:
    """Return the address of the interface; None without Ethernet (loopback, tunnels)."""
    name = sock.getsockname()
    return bytes(name[4]) if name[3] == _ARPHRD_ETHER and len(name[4]) == 6 else None


def _arp_frame(own: bytes, operation: int, sender: bytes, target: bytes) -> bytes:
    ethernet = _BROADCAST + own + struct.pack("!H", _ETH_ARP)
    target_hardware = b"\0" * 6 if operation == _ARP_REQUEST else own
    return (
        ethernet
        + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
        + own
        + sender
        + target_hardware
        + target
    )


def _solicitation_frame(own: bytes, target: bytes) -> bytes:
    """Build the request of IPv6 duplicate address detection.

    It goes from no address to the group of the target address.
    """
    group = b"\xff\x02" + b"\0" * 9 + b"\x01\xff" + target[-3:]
    body = struct.pack("!BBHI", _NEIGHBOUR_SOLICITATION, 0, 0, 0) + target
    pseudo = b"\0" * 16 + group + struct.pack("!II", len(body), _ICMPV6)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 0x60000000, len(body), _ICMPV6, 255) + b"\0" * 16 + group
    return b"\x33\x33" + group[-4:] + own + struct.pack("!H", _ETH_IPV6) + header + body


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _arp_owner(frame: bytes, wanted: bytes) -> bytes | None:
    operation, sender_hardware, sender = frame[20:22], frame[22:28], frame[28:32]
    return (
        sender_hardware if operation == struct.pack("!H", _ARP_REPLY) and sender == wanted else None
    )


def _advertised_owner(frame: bytes, wanted: bytes) -> bytes | None:
    is_advertisement = frame[20:21] == bytes([_ICMPV6]) and frame[54:55] == bytes(
        [_NEIGHBOUR_ADVERTISEMENT]
    )
    return frame[6:12] if is_advertisement and frame[62:78] == wanted else None


def _await_owner(
    sock: socket.socket, owner_in: _OwnerIn, wanted: bytes, own: bytes
) -> bytes | None:
    for _ in range(_FRAMES_MAX):
        try:
            owner = owner_in(sock.recv(200), wanted)
        except TimeoutError:
            return None
        if owner is not None and owner != own:
            return owner
    return None
