"""Implement ``unicast`` links: beats to the other node's address through one interface."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Sequence

from opensvc_openha.core.model import Wire
from opensvc_openha.links.base import LinkType
from opensvc_openha.links.row import NETWORK_COLUMNS, Place, ip_address_or_name, network_place
from opensvc_openha.links.udp import UdpListener, UdpSender


class UnicastSender(UdpSender):
    """Send to the address and port of the link."""

    def _prepare(self, sock: socket.socket) -> None:
        self._let_routers_cut(sock)


class UnicastListener(UdpListener):
    """Listen on the port of the link, for any address, on its interface only."""

    def _find_address(self) -> None:
        # Only the sender resolves a host name: here both families are listened to.
        if self._host_name is not None and self._spec.wire is Wire.OWN and _has_ipv6():
            self._ip = ipaddress.ip_address("::")

    def _prepare(self, sock: socket.socket) -> None:
        # No SO_REUSEADDR: a second program on this port must fail, not take the beats.
        if self._ip.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if self._host_name else 1)
        sock.bind(self._socket_address("::" if self._ip.version == 6 else "0.0.0.0"))


def _has_ipv6() -> bool:
    """Return False if the kernel was started without IPv6."""
    return os.path.exists("/proc/net/if_inet6")


def _read_place(columns: Sequence[str]) -> Place:
    return network_place(columns, _check_address)


def _check_address(address: str) -> None:
    ip = ip_address_or_name(address)
    if ip is not None and (ip.is_multicast or ip.is_unspecified or address == "255.255.255.255"):
        raise ValueError(f"a unicast link needs the address of one node; {address} is not one")


UNICAST = LinkType(
    word="unicast",
    meaning="as datagrams to the address or host name of the node that listens",
    columns=NETWORK_COLUMNS,
    read_place=_read_place,
    sender=UnicastSender,
    listener=UnicastListener,
    process_suffix="_unicast",
)
