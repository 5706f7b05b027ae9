"""Links of type ``unicast``: beats to the address of the other node through one interface."""

from __future__ import annotations

import socket

from opensvc_openha.links.udp import UdpListener, UdpSender


class UnicastSender(UdpSender):
    """Sends to the address and port of the link."""

    def _prepare(self, sock: socket.socket) -> None:
        """A plain socket will do."""


class UnicastListener(UdpListener):
    """Listens on the port of the link, whatever the address, on its interface only."""

    def _prepare(self, sock: socket.socket) -> None:
        # No SO_REUSEADDR: a second program on this port must fail, not take the beats.
        if self._ip.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(self._socket_address("::" if self._ip.version == 6 else "0.0.0.0"))
