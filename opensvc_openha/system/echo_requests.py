"""Ask addresses for an answer, by ICMP echo requests: all at once, and no longer than a limit.

A datagram socket of ICMP needs no right but that of `net.ipv4.ping_group_range`; a raw socket is
the way of a daemon that runs as root. Sockets live for one round: whatever became of interfaces and
addresses since the last one, it begins with what there is now. An answer counts if it comes from
the address that was asked, and has what the request had: a random payload, known only to those who
have seen the request.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import selectors
import socket
import struct
from collections.abc import Sequence

from opensvc_openha.core.events import PingResult, TargetLook
from opensvc_openha.formats.icmp_echo import pack_request, unpack_reply
from opensvc_openha.system import clock

_PAYLOAD_BYTES = 24
_BUFFER_BYTES = 2048
_READS_AT_ONCE = 32
"""Messages that are read before the clock is looked at again: a raw socket gets foreign ones."""
_UNREACHABLE = frozenset(
    {
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EADDRNOTAVAIL,
        errno.ENODEV,
        errno.ENXIO,
    }
)
"""The network itself is not there: as good as no answer."""
_NO_DATAGRAMS = frozenset({errno.EACCES, errno.EPERM, errno.EPROTONOSUPPORT})
_SOL_RAW, _ICMP_FILTER, _ICMP6_FILTER = 255, 1, 1
_ONLY_REPLIES = {
    4: (_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF & ~1)),
    6: (
        socket.IPPROTO_ICMPV6,
        _ICMP6_FILTER,
        struct.pack("=8I", *(0xFFFFFFFF & ~(2 * (word == 4)) for word in range(8))),
    ),
}
"""Socket options by which a raw socket gets replies alone."""


class _Request:
    """A request to one address, and the socket for its answer."""

    def __init__(self, address: str, interface: str) -> None:
        self.address = address
        self.look: TargetLook | None = None
        """What has become of it, once that is known."""
        self.socket: socket.socket | None = None
        self._interface = interface
        self._ip = ipaddress.ip_address(address)
        self._identifier, self._sequence = struct.unpack("HH", os.urandom(4))
        self._payload = os.urandom(_PAYLOAD_BYTES)
        self._sent_at = 0.0
        self._is_raw = False

    def send(self) -> None:
        """Send it; a failure is its end."""
        try:
            self.socket = self._open()
            self._sent_at = clock.monotonic()
            message = pack_request(
                self._ip.version, self._identifier, self._sequence, self._payload
            )
            destination = self._destination()
            if self._is_raw:
                # Else it gets the replies of all addresses, and a flood of them drops the answer.
                self.socket.connect(destination)
                self.socket.send(message)
            else:
                self.socket.sendto(message, destination)
        except OSError as error:
            self.end(error)

    def end(self, error: OSError) -> None:
        """End it for an error of this node, or of its network."""
        is_name = isinstance(error, socket.gaierror)
        is_missed = is_name or error.errno in _UNREACHABLE
        result = PingResult.MISSED if is_missed else PingResult.UNABLE
        text = "no such interface" if is_name else error.strerror or str(error)
        self.look = TargetLook(self.address, result, text)

    def _open(self) -> socket.socket:
        is_ipv4 = self._ip.version == 4
        family = socket.AF_INET if is_ipv4 else socket.AF_INET6
        protocol = socket.IPPROTO_ICMP if is_ipv4 else socket.IPPROTO_ICMPV6
        try:
            opened = socket.socket(family, socket.SOCK_DGRAM, protocol)
        except OSError as error:
            if error.errno not in _NO_DATAGRAMS:
                raise
            opened, self._is_raw = socket.socket(family, socket.SOCK_RAW, protocol), True
        try:
            opened.setblocking(False)
            if self._is_raw:
                opened.setsockopt(*_ONLY_REPLIES[self._ip.version])
            if self._interface:
                name = self._interface.encode() + b"\0"
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        except OSError:
            opened.close()
            raise
        return opened

    def _destination(self) -> tuple[object, ...]:
        """Return the address as the socket takes it, with the number of a link-local's interface.

        No name is ever resolved.
        """
        flags = socket.AI_NUMERICHOST
        found = socket.getaddrinfo(self.address, 0, type=socket.SOCK_DGRAM, flags=flags)
        return found[0][4]

    def read(self) -> None:
        """Take what has come in."""
        assert self.socket is not None
        for _ in range(_READS_AT_ONCE):
            try:
                data, source = self.socket.recvfrom(_BUFFER_BYTES)
            except BlockingIOError:
                return
            except OSError:
                # An error of the network about what was sent: an answer may come all the same.
                continue
            if self._is_answer(data, str(source[0])):
                took_s = clock.monotonic() - self._sent_at
                self.look = TargetLook(self.address, PingResult.ANSWERED, took_s=took_s)
                return

    def _is_answer(self, data: bytes, source: str) -> bool:
        is_from = ipaddress.ip_address(source.partition("%")[0]) == ipaddress.ip_address(
            self.address.partition("%")[0]
        )
        reply = unpack_reply(self._ip.version, data, self._is_raw and self._ip.version == 4)
        if reply is None or not is_from or reply.sequence != self._sequence:
            return False
        # On a datagram socket the kernel has chosen the identifier, and compared it.
        is_mine = not self._is_raw or reply.identifier == self._identifier
        return is_mine and reply.payload == self._payload

    def close(self) -> None:
        """Close the socket."""
        if self.socket is not None:
            self.socket.close()


def ask(addresses: Sequence[str], limit_s: float, interface: str = "") -> tuple[TargetLook, ...]:
    """Ask all addresses; return what each did, in their order.

    Returns once all have answered, at the latest after ``limit_s``. What lies in a socket by then
    counts, so that a process that stood still misses no answer.
    """
    requests = [_Request(address, interface) for address in addresses]
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        deadline = clock.monotonic() + limit_s
        for request in requests:
            stack.callback(request.close)
            request.send()
            if request.look is None and request.socket is not None:
                selector.register(request.socket, selectors.EVENT_READ, request)
        _await_answers(selector, deadline)
    return tuple(
        request.look or TargetLook(request.address, PingResult.MISSED) for request in requests
    )


def _await_answers(selector: selectors.BaseSelector, deadline: float) -> None:
    while selector.get_map():
        left_s = deadline - clock.monotonic()
        for key, _ in selector.select(max(0.0, left_s)):
            request: _Request = key.data
            request.read()
            if request.look is not None:
                selector.unregister(key.fileobj)
        if left_s <= 0:
            return
