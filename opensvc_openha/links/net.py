"""Implement ``net`` links: beats to a multicast group through one interface.

The sender never joins the group. By default the kernel gives a socket the groups that any socket of
the host has joined, on whatever interface; with IPv4 that can be switched off, with IPv6 only
binding to the interface helps.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

from opensvc_openha.core.model import Wire
from opensvc_openha.links.base import LinkType
from opensvc_openha.links.row import NETWORK_COLUMNS, Place, ip_address, network_place
from opensvc_openha.links.udp import HOPS, UdpListener, UdpSender

_IP_MULTICAST_ALL = 49
"""Missing in the socket module."""

_MREQN = struct.Struct("=4s4si")
_MREQ6 = struct.Struct("=16sI")


class NetSender(UdpSender):
    """Send to the group through the interface of the link."""

    def _prepare(self, sock: socket.socket) -> None:
        if self._spec.wire is Wire.LEGACY:
            # Sends from the destination port, as the original does: firewalls may be configured for
            # that.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(self._socket_address("::" if self._ip.version == 6 else "0.0.0.0"))
        self._let_routers_cut(sock)
        # Loop is off: only other hosts need to hear this beat.
        if self._ip.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, self._interface_index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        else:
            interface = _MREQN.pack(bytes(4), bytes(4), self._interface_index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)


class NetListener(UdpListener):
    """Listen as a member of the group on the interface of the link."""

    def _prepare(self, sock: socket.socket) -> None:
        # Several links may use one group and port on different interfaces.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Bound to the group, so that unicast cannot reach this socket.
        sock.bind(self._socket_address(self._spec.address))
        if self._ip.version == 6:
            sock.setsockopt(
                socket.IPPROTO_IPV6,
                socket.IPV6_JOIN_GROUP,
                _MREQ6.pack(self._ip.packed, self._interface_index),
            )
        else:
            membership = _MREQN.pack(self._ip.packed, bytes(4), self._interface_index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)


def _read_place(columns: Sequence[str]) -> Place:
    return network_place(columns, _check_address)


def _check_address(address: str) -> None:
    if not ip_address(address).is_multicast:
        raise ValueError(
            f"a net link needs a multicast address (224.0.0.0/4 or ff00::/8); {address} is not one"
        )


NET = LinkType(
    word="net",
    meaning="as datagrams to a multicast group",
    columns=NETWORK_COLUMNS,
    read_place=_read_place,
    sender=NetSender,
    listener=NetListener,
    process_suffix="",
)
