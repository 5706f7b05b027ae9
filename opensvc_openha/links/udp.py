"""Share between multicast and unicast links: UDP sockets that belong to one interface.

An end is bound to its interface, so that traffic of another one never makes a dead link look alive.
A recreated interface has a new index: the old socket is deaf then without an error, so the index is
compared at every send and every pause in receiving.
"""

from __future__ import annotations

import collections
import contextlib
import ipaddress
import math
import select
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence

from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.links.arrival import ArrivalTimes
from opensvc_openha.links.base import Clock, LinkFault, Quiet, Received, fault_of
from opensvc_openha.links.host_name import HostName

LARGEST_DATAGRAM = 65_536
RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
"""Kernel buffer for arrivals while a flood is being read.

A small one drops the peer's beats with the rest.
"""
DRAINED = 256
"""Datagrams read from the kernel at once, before the first of them is handled."""
HOPS = 6
"""Routers that a multicast beat may cross, as in the original."""

_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
"""Missing in the socket module."""
_STAMP = struct.Struct("@ll")
"""Seconds and nanoseconds of the wall clock at which the kernel took a datagram."""
_STAMP_SPACE = socket.CMSG_SPACE(_STAMP.size)

SocketAddress = tuple[str, int] | tuple[str, int, int, int]


def interface_index(name: str) -> int:
    """Return the number of a network interface; raise LinkFault if none has that name."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise LinkFault(f"interface {name} does not exist") from None


def _interface_name(index: int) -> str:
    """Return the name of a network interface; empty if none has that number."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""


def is_ip_address(text: str) -> bool:
    """Return False for a host name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _shown(host: str) -> str:
    """Return a source as logged.

    A socket for both families returns IPv4-mapped IPv6 addresses.
    """
    mapped = host.removeprefix("::ffff:")
    return f"[{host}]" if ":" in mapped else mapped


class UdpEnd(ABC):
    """One socket tied to the interface and address of a link; subclasses configure it."""

    def __init__(self, spec: LinkSpec) -> None:
        self.remark = self.disk = ""
        self._spec = spec
        self._host_name = (
            None
            if is_ip_address(spec.address)
            else HostName(spec.address, spec.wire is Wire.LEGACY)
        )
        # A host name's address is known when the link is opened.
        self._ip = ipaddress.ip_address("0.0.0.0" if self._host_name else spec.address)
        self._socket: socket.socket | None = None
        self._interface_index = 0
        self._interface_name = ""
        """The kernel's name of it: that of the link may be another one of its names."""

    def open(self) -> None:
        """Create a new socket on the interface as it is now."""
        self.close()
        self._interface_index = interface_index(self._spec.device)
        self._interface_name = _interface_name(self._interface_index)
        self._find_address()
        family = socket.AF_INET6 if self._ip.version == 6 else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as error:
            raise fault_of("socket", error) from None
        try:
            sock.setblocking(False)
            self._bind_to_interface(sock)
            self._prepare(sock)
        except OSError as error:
            sock.close()
            raise fault_of(
                f"{self._spec.device} {self._spec.address} port {self._spec.port}", error
            ) from None
        self._socket = sock

    def close(self) -> None:
        """Close the socket, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _find_address(self) -> None:  # noqa: B027 - most know it already
        """Set the address that decides on the kind of socket; raise LinkFault."""

    @abstractmethod
    def _prepare(self, sock: socket.socket) -> None:
        """Set the options of this kind of link; raise OSError."""

    def _bind_to_interface(self, sock: socket.socket) -> None:
        try:
            sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._spec.device.encode() + b"\0"
            )
            self.remark = ""
        except PermissionError:
            self.remark = f"no right to bind to {self._spec.device} only"

    def _opened_socket(self) -> socket.socket:
        if self._socket is None:
            raise LinkFault(f"{self._spec.link_id} is not open")
        return self._socket

    def check_interface(self) -> None:
        """Raise LinkFault if the interface is another one than at the opening.

        Never waits: it is found by its number. For a name that none has, the kernel runs a program
        that may load a driver, and waits for it.
        """
        if _interface_name(self._interface_index) == self._interface_name != "":
            return
        is_there = self._spec.device in (name for _, name in socket.if_nameindex())
        what = "was replaced" if is_there else "does not exist"
        raise LinkFault(f"interface {self._spec.device} {what}")

    def _socket_address(self, host: str) -> SocketAddress:
        """Return the address for the system; link-local IPv6 addresses need the interface."""
        if self._ip.version == 6:
            return (host, self._spec.port, 0, self._interface_index)
        return (host, self._spec.port)


class UdpSender(UdpEnd):
    """Send each frame as one datagram."""

    def __init__(self, spec: LinkSpec) -> None:
        super().__init__(spec)
        self.counters: dict[str, int] = {}

    def _find_address(self) -> None:
        if self._host_name is not None:
            self._ip = ipaddress.ip_address(self._host_name.look_up().partition("%")[0])

    def _let_routers_cut(self, sock: socket.socket) -> None:
        """Allow fragmentation: the reply that forbids it may never come back."""
        if self._ip.version == 4:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)

    def send(self, frame: bytes) -> None:
        """Send without blocking.

        A full buffer, a link that is down or a firewall rule is a LinkFault.
        """
        sock = self._opened_socket()
        self.check_interface()
        if self._host_name is not None:
            self._host_name.record_beat()
            if self._host_name.is_moved:
                raise LinkFault(
                    f"host name {self._spec.address} does not lead to {self._ip} any more"
                )
        try:
            sock.sendto(frame, self._socket_address(str(self._ip)))
        except OSError as error:
            raise fault_of(f"send on {self._spec.device} to {self._spec.address}", error) from None


def _stamp_in(extras: Sequence[tuple[int, int, bytes]]) -> float | None:
    """Return the kernel's stamp in what comes with a datagram, in wall-clock seconds."""
    for level, kind, data in extras:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) == _STAMP.size:
            seconds, nanoseconds = _STAMP.unpack(data)
            return float(seconds + nanoseconds / 1e9)
    return None


class UdpListener(UdpEnd):
    """Receive datagrams, one frame each; the caller checks their content."""

    def __init__(self, spec: LinkSpec, clock: Clock) -> None:
        super().__init__(spec)
        self.wall: Clock | None = None
        """With it a datagram counts from when the kernel took it, without from its read."""
        self.quiet: Quiet | None = None
        self.found: Received | None = None
        self.counters: dict[str, int] = {"received": 0}
        self._clock = clock
        self._waiting: collections.deque[Received] = collections.deque()

    def open(self) -> None:
        """Create a new socket, with a buffer that holds a burst."""
        self._times = ArrivalTimes(self._clock, self.wall)
        super().open()
        self._waiting.clear()
        sock = self._opened_socket()
        if self.wall is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        try:
            # Above the administrator's limit, which only root may exceed.
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)

    def receive(self, timeout_s: float) -> Received | None:
        """Return the next datagram, or None.

        A pause is used to check that the interface is still the same.
        """
        if self._waiting:
            return self._waiting.popleft()
        sock = self._opened_socket()
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        try:
            is_readable = poll.poll(math.ceil(timeout_s * 1000))
        except OSError as error:
            raise self._fault_of(error) from None
        if not is_readable:
            self.check_interface()
            return None
        self._waiting.extend(self.read(DRAINED))
        return self._waiting.popleft() if self._waiting else None

    def rouse(self) -> None:
        """Do nothing: who waits here waits no longer than for the time given."""

    def fileno(self) -> int:
        """Return the number of the open socket, which is readable while a datagram waits."""
        return self._opened_socket().fileno()

    def read(self, limit: int) -> list[Received]:
        """Read what the kernel holds, ``limit`` datagrams at most; raise LinkFault.

        Fewer if no more wait. Reading them makes room for others, and each gets its arrival time.
        """
        sock, found = self._opened_socket(), list[Received]()
        for _ in range(limit):
            self._times.begin_read()
            try:
                data, extras, _, source = sock.recvmsg(LARGEST_DATAGRAM, _STAMP_SPACE)
            except BlockingIOError:
                # No more datagrams; or the kernel dropped one, whose wrong checksum only shows when
                # it is read.
                self._times.record_empty()
                break
            except OSError as error:
                raise self._fault_of(error) from None
            self.counters["received"] += 1
            received_at, read_at = self._times.of_read(_stamp_in(extras))
            shown = f"{_shown(source[0])}:{source[1]}"
            found.append(Received(data, received_at, shown, read_at=read_at))
        return found

    def _fault_of(self, error: OSError) -> LinkFault:
        return fault_of(f"receive on {self._spec.device}", error)
