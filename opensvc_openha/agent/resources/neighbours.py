"""Ethernet neighbours: asks whether somebody else answers for an address, and tells them who has it now.

A few frames on AF_PACKET and ICMPv6 raw sockets: arping and its flags differ from one distribution to the next.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Optional, Union

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_ARP_REQUEST, _ARP_REPLY = 1, 2
_ETH_ARP = 0x0806
_BROADCAST = b"\xff" * 6
_ARPHRD_ETHER = 1
_PROBES = 2
_PROBE_WAIT_S = 0.2
_FRAMES_MAX = 50
_ANNOUNCEMENTS = 3
_NEIGHBOUR_ADVERTISEMENT = 136
_OVERRIDE = 0x20000000


def find_owner(interface: str, address: Address) -> Optional[str]:
    """Hardware address of another machine that answers for an IPv4 address here, or None; None too if it can't be told.

    Takes 0.4 s where nobody answers. The question carries no address of ours, so that it disturbs no ARP cache.
    """
    if address.version != 4:
        return None
    try:
        with _arp_socket(interface) as sock:
            own = _hardware_address(sock)
            if own is None:
                return None
            probe = _arp_frame(own, _ARP_REQUEST, b"\0" * 4, address.packed)
            for _ in range(_PROBES):
                sock.send(probe)
                owner = _await_reply(sock, address.packed, own)
                if owner is not None:
                    return owner.hex(":")
    except OSError:
        return None
    return None


def announce(interface: str, address: Address) -> None:
    """Tell all neighbours that the address is here now; raises OSError where that can't be sent."""
    if address.version == 4:
        with _arp_socket(interface) as sock:
            own = _hardware_address(sock)
            if own is None:
                return
            for _ in range(_ANNOUNCEMENTS):
                # Both forms: some machines only learn from a request, some only from a reply.
                sock.send(_arp_frame(own, _ARP_REQUEST, address.packed, address.packed))
                sock.send(_arp_frame(own, _ARP_REPLY, address.packed, address.packed))
        return
    with _arp_socket(interface) as packet_socket:
        own = _hardware_address(packet_socket)
    if own is None:
        return
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
        index = socket.if_nametoindex(interface)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        # The kernel fills in the checksum.
        message = struct.pack("!BBHI", _NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE) + address.packed + b"\x02\x01" + own
        for _ in range(_ANNOUNCEMENTS):
            sock.sendto(message, ("ff02::1", 0, 0, index))


def _arp_socket(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_ARP))
    try:
        sock.bind((interface, _ETH_ARP))
        sock.settimeout(_PROBE_WAIT_S)
    except OSError:
        sock.close()
        raise
    return sock


def _hardware_address(sock: socket.socket) -> Optional[bytes]:
    """Address of the interface, or None where there is no Ethernet (loopback, tunnels)."""
    name = sock.getsockname()
    return bytes(name[4]) if name[3] == _ARPHRD_ETHER and len(name[4]) == 6 else None


def _arp_frame(own: bytes, operation: int, sender: bytes, target: bytes) -> bytes:
    ethernet = _BROADCAST + own + struct.pack("!H", _ETH_ARP)
    target_hardware = b"\0" * 6 if operation == _ARP_REQUEST else own
    return ethernet + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + own + sender + target_hardware + target


def _await_reply(sock: socket.socket, wanted: bytes, own: bytes) -> Optional[bytes]:
    for _ in range(_FRAMES_MAX):
        try:
            frame = sock.recv(100)
        except socket.timeout:
            return None
        operation, sender_hardware, sender = frame[20:22], frame[22:28], frame[28:32]
        if operation == struct.pack("!H", _ARP_REPLY) and sender == wanted and sender_hardware != own:
            return sender_hardware
    return None
