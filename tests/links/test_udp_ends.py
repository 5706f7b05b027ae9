"""Ends of network links on the loopback interface: their sockets, sources, stamps and faults."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.links import udp
from opensvc_openha.links.base import LinkFault, Received
from opensvc_openha.links.host_name import LOOK_EVERY_BEATS
from opensvc_openha.links.registry import make_datagram_listener, make_listener, make_sender
from tests.ports import free_port
from tests.waiting import LIMIT_S, until

GROUP4, GROUP6 = "239.131.50.77", "ff15::5077"
HERE = socket.if_nametoindex("lo")


class Ends:
    """Sender and listener of one link on this host; the clock counts its readings."""

    def __init__(self, address: str, wire: Wire = Wire.OWN, device: str = "lo") -> None:
        is_group = address in (GROUP4, GROUP6)
        kind = "net" if is_group else "unicast"
        self.spec = LinkSpec("deb1", kind, device, address, free_port(), 0, 10.0, 0, wire)
        ticks = itertools.count(1)
        self.sender: Any = make_sender(self.spec, lambda: 0.0)
        self.listener: Any = make_listener(self.spec, lambda: float(next(ticks)))

    def option(self, level: int, number: int, end: str = "sender") -> int:
        found: int = getattr(self, end)._socket.getsockopt(level, number)
        return found

    def close(self) -> None:
        self.sender.close()
        self.listener.close()


@pytest.fixture
def ends() -> Iterator[Callable[..., Ends]]:
    """Make ends and close them afterwards."""
    made: list[Ends] = []

    def make(*args: Any, **kwargs: Any) -> Ends:
        made.append(Ends(*args, **kwargs))
        return made[-1]

    yield make
    for each in made:
        each.close()


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def heard(listener: Any) -> Received:
    got: Received | None = listener.receive(LIMIT_S)
    assert got is not None
    return got


@pytest.mark.parametrize(
    ("address", "source"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), (GROUP4, "")],
)
def test_frame_is_heard_with_its_source(
    ends: Callable[..., Ends], address: str, source: str
) -> None:
    """IPv6 in brackets, the port of the sender's socket behind the colon."""
    pair = ends(address)
    pair.listener.open()
    pair.sender.open()
    pair.sender.send(b"beat")
    got = heard(pair.listener)
    port = pair.sender._socket.getsockname()[1]
    assert got.data == b"beat" and got.source.endswith(f":{port}") and got.source.startswith(source)
    assert port != pair.spec.port and pair.listener.counters == {"received": 1}


def test_waiting_frames_are_stamped_when_they_are_read_from_the_kernel(
    ends: Callable[..., Ends],
) -> None:
    """Three at once: each has a reading of the clock of its own, after the one that its read began
    with, and taken before the first is returned; then nothing.
    """
    pair = ends("127.0.0.1")
    pair.listener.open()
    pair.sender.open()
    for text in (b"1", b"2", b"3"):
        pair.sender.send(text)
    first = heard(pair.listener)
    assert pair.listener.counters == {"received": 3}
    rest = [pair.listener.receive(0.0) for _ in range(3)]
    times = [got and (got.data, got.received_at, got.read_at) for got in (first, *rest)]
    began = first.received_at
    assert times == [
        (b"1", began, began),
        (b"2", began + 2, began + 2),
        (b"3", began + 4, began + 4),
        None,
    ]


def test_frame_counts_from_when_the_kernel_took_it(ends: Callable[..., Ends]) -> None:
    """Read a minute later, by a clock that is played: also behind another one, and never before
    the socket was last empty.
    """
    pair = ends("127.0.0.1")
    skew = [0.0]
    listener = make_datagram_listener(
        pair.spec, lambda: time.monotonic() + skew[0], lambda: time.time() + skew[0]
    )
    listener.open()
    pair.sender.open()
    for text in (b"1", b"2"):
        pair.sender.send(text)
    sent_at = time.monotonic()
    skew[0] = 60.0
    for got in (heard(listener), listener.receive(0.0)):
        assert got is not None and got.read_at is not None
        assert got.received_at < sent_at + 1.0 and got.read_at >= sent_at + 60.0
    assert listener.receive(0.0) is None
    empty_at = time.monotonic() + 60.0
    pair.sender.send(b"3")
    skew[0] = 30.0  # Whatever happens to clocks.
    got = heard(listener)
    assert got.read_at is not None and got.received_at == got.read_at < empty_at
    listener.close()


def test_read_of_a_listener_is_bounded(ends: Callable[..., Ends]) -> None:
    """What it leaves waits in the socket, which stays readable."""
    pair = ends("127.0.0.1")
    pair.listener.open()
    pair.sender.open()
    for number in range(5):
        pair.sender.send(b"%d" % number)
    found = [[each.data for each in pair.listener.read(3)] for _ in range(3)]
    assert found == [[b"0", b"1", b"2"], [b"3", b"4"], []]
    with socket.socket(fileno=os.dup(pair.listener.fileno())) as same:
        assert same.getsockname() == pair.listener._socket.getsockname()


def test_frames_of_before_the_end_was_opened_again_are_gone(ends: Callable[..., Ends]) -> None:
    """One of two was returned; the other is not heard by the new socket."""
    pair = ends("127.0.0.1")
    pair.listener.open()
    pair.sender.open()
    pair.sender.send(b"1")
    pair.sender.send(b"2")
    heard(pair.listener)
    pair.listener.open()
    assert pair.listener.receive(0.0) is None


@pytest.mark.parametrize(
    ("family", "source", "wire"),
    [
        (socket.AF_INET, "127.0.0.1", Wire.OWN),
        (socket.AF_INET6, "::1", Wire.OWN),
        (socket.AF_INET, "127.0.0.1", Wire.LEGACY),
    ],
)
def test_listener_of_a_host_name_hears_each_family_that_its_wire_has(
    ends: Callable[..., Ends], family: int, source: str, wire: Wire
) -> None:
    """Both with our wire, IPv4 alone with the original's; a mapped address is shown as IPv4."""
    pair = ends("localhost", wire)
    pair.listener.open()
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.sendto(b"beat", (source, pair.spec.port))
        port = peer.getsockname()[1]
    shown = f"[{source}]" if ":" in source else source
    assert heard(pair.listener).source == f"{shown}:{port}"
    is_both = wire is Wire.OWN
    assert pair.listener._socket.family == (socket.AF_INET6 if is_both else socket.AF_INET)


def test_listener_of_a_host_name_without_ipv6_hears_ipv4(
    ends: Callable[..., Ends], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that was started without IPv6."""
    monkeypatch.setattr("opensvc_openha.links.unicast._has_ipv6", lambda: False)
    pair = ends("localhost")
    pair.listener.open()
    assert pair.listener._socket.family == socket.AF_INET


def test_listener_of_an_ipv6_address_leaves_ipv4_to_others(ends: Callable[..., Ends]) -> None:
    """The same port of IPv4 is free for another program; an IPv4 link takes no IPv6 either."""
    pair = ends("::1")
    pair.listener.open()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", pair.spec.port))
    assert pair.listener._socket.family == socket.AF_INET6
    plain = ends("127.0.0.1")
    plain.listener.open()
    assert plain.listener._socket.family == socket.AF_INET


def test_sender_of_a_group_crosses_six_routers_and_is_not_heard_here(
    ends: Callable[..., Ends],
) -> None:
    """The options that decide on that, IPv4 and IPv6, and on the interface."""
    four, six = ends(GROUP4), ends(GROUP6)
    four.sender.open()
    six.sender.open()
    ip, ip6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
    assert four.option(ip, socket.IP_MULTICAST_TTL) == 6
    assert four.option(ip, socket.IP_MULTICAST_LOOP) == 0
    assert six.option(ip6, socket.IPV6_MULTICAST_HOPS) == 6
    assert six.option(ip6, socket.IPV6_MULTICAST_LOOP) == 0
    assert six.option(ip6, socket.IPV6_MULTICAST_IF) == HERE


@pytest.mark.parametrize("address", [GROUP4, "127.0.0.1"])
def test_routers_may_cut_a_beat(ends: Callable[..., Ends], address: str) -> None:
    """No probing for the size that a path carries."""
    pair = ends(address)
    pair.sender.open()
    assert pair.option(socket.IPPROTO_IP, 10) == 0


@pytest.mark.parametrize("address", [GROUP4, GROUP6])
def test_legacy_sender_of_a_group_sends_from_the_port_it_sends_to(
    ends: Callable[..., Ends], address: str
) -> None:
    """As the original does, with a second sender on the same port."""
    pair = ends(address, Wire.LEGACY)
    pair.sender.open()
    assert pair.sender._socket.getsockname()[1] == pair.spec.port
    second = make_sender(pair.spec, lambda: 0.0)
    second.open()
    second.close()


@pytest.mark.parametrize("address", [GROUP4, GROUP6])
def test_listener_of_a_group_is_bound_to_it_and_joins_it_alone(
    ends: Callable[..., Ends], address: str
) -> None:
    """Two listeners share it; neither gets groups that other sockets of the host have joined."""
    one = ends(address)
    one.listener.open()
    two = make_listener(one.spec, lambda: 0.0)
    two.open()
    assert one.listener._socket.getsockname()[:2] == (address, one.spec.port)
    if address == GROUP4:
        assert one.option(socket.IPPROTO_IP, 49, "listener") == 0
        one.sender.open()
        one.sender.send(b"beat")
        assert (heard(one.listener).data, heard(two).data) == (b"beat", b"beat")
    else:
        with open("/proc/net/igmp6", encoding="ascii") as file:
            joined = [line.split()[1:4] for line in file]
        assert ["lo", socket.inet_pton(socket.AF_INET6, address).hex(), "2"] in joined
    two.close()


def test_taken_port_is_named_and_leaves_no_socket_behind(ends: Callable[..., Ends]) -> None:
    """Address, port and the reason of the system; the end stays closed, and opens later."""
    pair = ends("127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", pair.spec.port))
        before = handles()
        text = f"lo 127.0.0.1 port {pair.spec.port}: Address already in use"
        with pytest.raises(LinkFault, match=text) as caught:
            pair.listener.open()
        assert handles() == before and caught.value  # What it refers to is closed as well.
        with pytest.raises(LinkFault, match="is not open"):
            pair.listener.receive(0.0)
    pair.listener.open()


def test_end_holds_one_socket_while_it_is_open(ends: Callable[..., Ends]) -> None:
    """Opened twice, closed twice."""
    pair = ends("127.0.0.1")
    before = handles()
    for end in (pair.sender, pair.listener):
        assert end.remark == ""
        end.open()
        end.open()
        assert handles() == before + 1
        held = end._socket
        end.close()
        end.close()
        assert handles() == before and held.fileno() == -1
    with pytest.raises(LinkFault, match="unicast lo:127.0.0.1.* is not open"):
        pair.sender.send(b"x")


def test_interface_that_is_not_there_or_another_one_is_named(
    ends: Callable[..., Ends], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing at the opening; replaced when a frame is sent or a pause in receiving ends.

    Then it is not asked for by its name, which may take the kernel long.
    """

    def name_of(index: int) -> str:
        raise OSError(errno.ENXIO, "No such device or address")

    def index_of(name: str) -> int:
        raise AssertionError("asked for by its name")

    with pytest.raises(LinkFault, match="interface nosuch0 does not exist"):
        ends("127.0.0.1", device="nosuch0").sender.open()
    pair = ends("127.0.0.1")
    pair.sender.open()
    pair.listener.open()
    pair.sender.send(b"beat")
    monkeypatch.setattr(socket, "if_indextoname", name_of)
    monkeypatch.setattr(socket, "if_nametoindex", index_of)
    assert heard(pair.listener).data == b"beat"
    for call in (lambda: pair.sender.send(b"x"), lambda: pair.listener.receive(0.0)):
        with pytest.raises(LinkFault, match="interface lo was replaced"):
            call()


class Refusing(socket.socket):
    """A socket of a user who may not choose an interface or a large buffer."""

    def setsockopt(self, level: int, number: int, *value: Any) -> None:
        """Raise as an older kernel does for such a user."""
        if number in (socket.SO_BINDTODEVICE, 33) and level == socket.SOL_SOCKET:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        super().setsockopt(level, number, *value)


def test_user_without_rights_has_a_working_link_with_a_remark(
    ends: Callable[..., Ends], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The buffer is as large as the administrator allows.

    Opened again with the rights, the remark is gone and the buffer larger.
    """
    with open("/proc/sys/net/core/rmem_max", encoding="ascii") as file:
        allowed = int(file.read())
    assert udp.RECEIVE_BUFFER_BYTES == 4 << 20
    monkeypatch.setattr(udp, "RECEIVE_BUFFER_BYTES", allowed + (1 << 20))
    pair = ends("127.0.0.1")
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Refusing)
        pair.listener.open()
        pair.sender.open()
    remark = "no right to bind to lo only"
    assert (pair.listener.remark, pair.sender.remark) == (remark, remark)
    assert pair.option(socket.SOL_SOCKET, socket.SO_RCVBUF, "listener") == 2 * allowed
    pair.sender.send(b"beat")
    assert heard(pair.listener).data == b"beat"
    pair.listener.open()
    assert pair.listener.remark == ""
    bound = pair.listener._socket.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
    assert bound == b"lo\0"
    if os.geteuid() == 0:
        size = pair.option(socket.SOL_SOCKET, socket.SO_RCVBUF, "listener")
        assert size == 2 * udp.RECEIVE_BUFFER_BYTES


def test_group_is_reached_through_the_interface_without_the_right_to_bind_to_it(
    ends: Callable[..., Ends], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender chooses it for the group, whatever the routes are."""
    pair = ends(GROUP4)
    pair.listener.open()
    monkeypatch.setattr(socket, "socket", Refusing)
    pair.sender.open()
    pair.sender.send(b"beat")
    assert heard(pair.listener).data == b"beat"


def test_interface_is_part_of_an_ipv6_address(
    ends: Callable[..., Ends], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link-local address leads nowhere without it."""
    sent: list[object] = []

    class Noting(socket.socket):
        def sendto(self, frame: bytes, address: object) -> int:  # type: ignore[override]
            sent.append(address)
            return len(frame)

    monkeypatch.setattr(socket, "socket", Noting)
    for address in ("fe80::1", "10.50.1.2"):
        pair = ends(address)
        pair.sender.open()
        pair.sender.send(b"beat")
        sent.append(pair.spec.port)
    assert sent == [("fe80::1", sent[1], 0, HERE), sent[1], ("10.50.1.2", sent[3]), sent[3]]


@pytest.mark.parametrize(("wire", "family"), [(Wire.OWN, 0), (Wire.LEGACY, socket.AF_INET)])
def test_original_is_looked_up_by_ipv4_alone(
    ends: Callable[..., Ends], monkeypatch: pytest.MonkeyPatch, wire: Wire, family: int
) -> None:
    """It knows no other family."""
    asked: list[int] = []

    def look_up(_name: str, _port: object, family: int, _kind: int) -> list[object]:
        asked.append(family)
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", 0))]

    monkeypatch.setattr("opensvc_openha.links.host_name.socket.getaddrinfo", look_up)
    ends("deb2-hb", wire).sender.open()
    assert asked == [family]


def test_system_that_makes_no_socket_is_named(
    ends: Callable[..., Ends], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more handles: a fault of the link, not of the daemon."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    pair = ends("127.0.0.1")
    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(LinkFault, match="socket: Too many open files"):
        pair.sender.open()


def test_errors_of_the_system_are_faults_of_the_link(ends: Callable[..., Ends]) -> None:
    """A frame that no datagram holds; a socket that is none any more."""
    pair = ends("127.0.0.1")
    pair.sender.open()
    pair.listener.open()
    with pytest.raises(LinkFault, match="send on lo to 127.0.0.1: Message too long"):
        pair.sender.send(bytes(70_000))
    read, write = os.pipe()
    os.close(write)  # Readable at once: its end.
    os.dup2(read, pair.listener._socket.fileno())
    os.close(read)
    with pytest.raises(LinkFault, match="receive on lo: Socket operation on non-socket"):
        pair.listener.receive(LIMIT_S)


def test_datagram_dropped_by_the_kernel_is_no_fault(ends: Callable[..., Ends]) -> None:
    """Readable, and then nothing there (a wrong checksum): as if nothing had come."""
    pair = ends("127.0.0.1")
    pair.listener.open()

    class Empty:
        def fileno(self) -> int:
            return read

        def recvmsg(self, _size: int, _space: int) -> None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        def close(self) -> None:
            os.close(read)

    read, write = os.pipe()
    os.close(write)
    pair.listener.close()
    pair.listener._socket = Empty()
    assert pair.listener.receive(LIMIT_S) is None


def test_sender_follows_its_host_name_when_it_is_opened_again(
    ends: Callable[..., Ends], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked up again from time to time: it leads elsewhere, which ends the sending; reopened, it
    sends there. The interface in an address is that of the link anyway.
    """
    found = ["127.0.0.2"]

    def look_up(*_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, 0)) for address in found]

    monkeypatch.setattr("opensvc_openha.links.host_name.socket.getaddrinfo", look_up)
    pair = ends("deb2-hb")
    pair.listener.open()
    pair.sender.open()
    found[:] = ["127.0.0.1"]
    for _ in range(LOOK_EVERY_BEATS - 1):
        pair.sender.send(b"early")

    def is_noticed() -> bool:
        try:
            pair.sender.send(b"late")
        except LinkFault as error:
            return str(error) == "host name deb2-hb does not lead to 127.0.0.2 any more"
        return False

    until(is_noticed)
    pair.sender.open()
    pair.sender.send(b"there")
    assert pair.sender._socket.family == socket.AF_INET
    found[:] = ["::1%lo"]
    pair.sender.open()
    assert pair.sender._socket.family == socket.AF_INET6
    pair.sender.send(b"here")
    until(lambda: heard(pair.listener).data == b"here")
