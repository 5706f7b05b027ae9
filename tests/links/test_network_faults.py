"""What happens to network links when interfaces go, come back, or share a group."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.links.base import LinkFault, Received
from opensvc_openha.links.host_name import LOOK_EVERY_BEATS
from opensvc_openha.links.registry import make_listener, make_sender
from tests.links.places import Nodes, Place, run
from tests.waiting import LIMIT_S, until

GROUPS = {"net4": ("net", "239.131.50.20"), "net6": ("net", "ff15::5020")}


class Link:
    """Sender on node a, listener on node b."""

    def __init__(
        self, nodes: Nodes, kind: str, interface: str, address: str, port: int = 5020
    ) -> None:
        self.nodes = nodes
        self.spec = LinkSpec("deb1", kind, interface, address, port, 0, 10.0)
        self.sender = make_sender(self.spec, time.monotonic)
        self.listener = make_listener(self.spec, time.monotonic)

    def open(self) -> None:
        self.nodes.a.do(self.sender.open)
        self.nodes.b.do(self.listener.open)

    def send(self, frame: bytes) -> None:
        self.nodes.a.do(self.sender.send, frame)

    def receive(self, timeout_s: float = LIMIT_S) -> Received | None:
        got: Received | None = self.nodes.b.do(self.listener.receive, timeout_s)
        return got

    def close(self) -> None:
        self.nodes.a.do(self.sender.close)
        self.nodes.b.do(self.listener.close)

    def try_beat(self) -> bool:
        """Opens both ends and sends one beat, as the link threads do after a fault.

        True if it was heard.
        """
        try:
            self.open()
            self.send(b"again")
            return self.receive(0.3) is not None  # Asked again and again.
        except LinkFault:
            return False


@pytest.fixture
def link(nodes: Nodes) -> Iterator[Callable[..., Any]]:
    """Makes links between the nodes and closes them in the end."""
    made = []

    def make(*args: Any, **kwargs: Any) -> Link:
        made.append(Link(nodes, *args, **kwargs))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("group", GROUPS)
def test_beat_on_one_interface_is_not_heard_on_the_other(
    link: Callable[..., Any], group: str
) -> None:
    """Two links share group and port.

    Eth1 carries beats: eth2's listener hears nothing, eth1's all.
    """
    kind, address = GROUPS[group]
    one, two = link(kind, "eth1", address), link(kind, "eth2", address)
    one.open()
    two.open()
    for number in range(5):
        one.send(b"%d" % number)
        assert one.receive().data == b"%d" % number
    assert two.receive(0.3) is None
    two.send(b"on eth2")
    assert two.receive().data == b"on eth2"
    assert one.receive(0.3) is None


def test_unicast_beat_through_the_other_interface_is_not_heard(
    nodes: Nodes, link: Callable[..., Any]
) -> None:
    """A datagram for the right port comes in on eth2: the listener of eth1 does not hear it."""
    one = link("unicast", "eth1", "10.50.1.2")
    other = link("unicast", "eth2", "10.50.2.2")
    one.open()
    nodes.a.do(other.sender.open)
    nodes.a.do(other.sender.send, b"on eth2")
    assert one.receive(0.3) is None
    one.send(b"on eth1")
    got = one.receive()
    assert got.data == b"on eth1" and got.source.startswith("10.50.1.1:")


def test_listener_of_a_group_hears_no_unicast(nodes: Nodes, link: Callable[..., Any]) -> None:
    """A datagram sent to the node's own address and the group's port: not heard."""
    one = link("net", "eth1", "239.131.50.20")
    one.open()

    def send_unicast() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", ("10.50.1.2", 5020))

    nodes.a.do(send_unicast)
    assert one.receive(0.3) is None


@pytest.mark.parametrize(
    "kind, address",
    [
        ("net", "239.131.50.20"),
        ("net", "ff15::5020"),
        ("unicast", "10.50.1.2"),
    ],
)
def test_link_that_was_down_works_again(
    nodes: Nodes, link: Callable[..., Any], kind: str, address: str
) -> None:
    """The interface is set down: send is a LinkFault each time.

    Up again, a reopened link beats again.
    """
    one = link(kind, "eth1", address)
    one.open()
    one.send(b"before")
    assert one.receive().data == b"before"
    nodes.a.ip("link", "set", "eth1", "down")
    try:
        for _ in range(3):
            with pytest.raises(LinkFault, match="send on eth1 to"):
                one.send(b"lost")
        assert one.receive(0.1) is None
    finally:
        nodes.a.ip("link", "set", "eth1", "up")
        nodes.a.ip("addr", "replace", "fd00:1::1/64", "dev", "eth1", "nodad")
    until(one.try_beat)


def test_refused_packet_is_a_fault_and_no_more(link: Callable[..., Any]) -> None:
    """The address is the broadcast address of the network, which the kernel refuses: a LinkFault at
    every beat.
    """
    one = link("unicast", "eth1", "10.50.1.255")
    one.open()
    for _ in range(2):
        with pytest.raises(LinkFault, match="send on eth1 to 10.50.1.255: Permission denied"):
            one.send(b"refused")


def test_interface_that_takes_no_more_does_not_stop_the_sender(
    nodes: Nodes, link: Callable[..., Any]
) -> None:
    """The queue of eth1 is as good as stuck: send fails instead of waiting.

    Freed, it beats again.
    """
    one = link("net", "eth1", "239.131.50.20")
    one.open()
    tc = ["tc", "-n", nodes.names[0], "qdisc"]
    run(
        *tc,
        "add",
        "dev",
        "eth1",
        "root",
        "tbf",
        "rate",
        "8kbit",
        "burst",
        "2000",
        "limit",
        "9000000",
    )
    try:
        # At 8 kbit/s a thousand of them would take twenty minutes: a sender that waits hangs here.
        with pytest.raises(LinkFault, match="send on eth1 to"):
            for _ in range(2000):
                one.send(bytes(1200))
    finally:
        run(*tc, "del", "dev", "eth1", "root")
    until(one.try_beat)


@pytest.mark.parametrize(
    "kind, address",
    [
        ("net", "239.131.50.20"),
        ("net", "ff15::5020"),
        ("unicast", "10.50.2.2"),
    ],
)
def test_interface_made_again_works_after_reopen(
    nodes: Nodes, link: Callable[..., Any], kind: str, address: str
) -> None:
    """eth2 is deleted, then made again under its name: both ends report it, and reopened they beat
    again.
    """
    one = link(kind, "eth2", address)
    one.open()
    nodes.a.ip("link", "del", "eth2")
    try:
        with pytest.raises(LinkFault, match="interface eth2 does not exist"):
            one.send(b"x")
        with pytest.raises(LinkFault, match="interface eth2 does not exist"):
            one.receive(0.1)
        with pytest.raises(LinkFault, match="interface eth2 does not exist"):
            nodes.a.do(one.sender.open)
        one.close()
        one.listener = make_listener(one.spec, time.monotonic)
    finally:
        nodes.join(2)
    until(one.try_beat)


def test_replaced_interface_is_noticed_by_both_ends(nodes: Nodes, link: Callable[..., Any]) -> None:
    """eth2 is deleted and made again between two beats: the old sockets are deaf, so both ends are
    a LinkFault.
    """
    one = link("net", "eth2", "239.131.50.20")
    one.open()
    nodes.a.ip("link", "del", "eth2")
    nodes.join(2)
    with pytest.raises(LinkFault, match="interface eth2 was replaced"):
        one.send(b"x")
    with pytest.raises(LinkFault, match="interface eth2 was replaced"):
        one.receive(0.1)
    until(one.try_beat)


def test_second_program_on_a_unicast_port_is_refused(
    nodes: Nodes, link: Callable[..., Any]
) -> None:
    """The port of a unicast link is taken: open reports it instead of sharing the beats."""
    one, two = (link("unicast", "eth1", "10.50.1.2") for _ in range(2))
    one.open()
    with pytest.raises(LinkFault, match="eth1 10.50.1.2 port 5020: Address already in use"):
        nodes.b.do(two.listener.open)


@pytest.fixture
def hosts(nodes: Nodes) -> Iterator[Callable[..., Any]]:
    """Sets what a name leads to on node a, whose resolver has a hosts file of its own."""
    folder = tempfile.mkdtemp(prefix="ohl")
    path = os.path.join(folder, "hosts")

    def write(text: str) -> None:
        with open(path, "w") as file:
            file.write(text)

    def enter() -> None:
        # This thread alone gets its own view of /etc/hosts.
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(0x00020000 | 0x00000200) == 0, os.strerror(ctypes.get_errno())
        run_here = [
            (b"none", b"/", None, 0x4000 | 0x40000),
            (path.encode(), b"/etc/hosts", None, 0x1000),
        ]
        for source, target, kind, flags in run_here:
            assert libc.mount(source, target, kind, flags, None) == 0, os.strerror(
                ctypes.get_errno()
            )

    write("")
    place, nodes.a = nodes.a, Place(nodes.names[0])
    nodes.a.do(enter)
    yield write
    nodes.a.leave()
    nodes.a = place
    shutil.rmtree(folder)


@pytest.mark.parametrize("address", ["10.50.1.2", "fd00:1::2"])
def test_host_name_that_does_not_resolve_is_a_fault_until_it_does(
    hosts: Callable[..., Any], link: Callable[..., Any], address: str
) -> None:
    """A unicast link names an unknown host: the sender reports it.

    The listener needs no name; known, it beats.
    """
    one = link("unicast", "eth1", "deb2-hb.invalid")
    one.nodes.b.do(one.listener.open)
    for _ in range(2):
        with pytest.raises(
            LinkFault, match="host name deb2-hb.invalid cannot be resolved: (Name or|Temporary)"
        ):
            one.nodes.a.do(one.sender.open)
    hosts(f"{address} deb2-hb.invalid\n")
    one.nodes.a.do(one.sender.open)
    one.send(b"found")
    got = one.receive()
    assert got.data == b"found" and got.source.startswith(
        f"[{address[:-1]}1]:" if ":" in address else "10.50.1.1:"
    )


def test_host_name_that_moves_is_followed_and_one_that_is_lost_is_not_missed(
    hosts: Callable[..., Any], link: Callable[..., Any]
) -> None:
    """The name server falls silent: the link continues.

    The name leads elsewhere: the sender reports it and, reopened, follows.
    """
    hosts("10.50.1.77 deb2-hb.invalid\n")
    one = link("unicast", "eth1", "deb2-hb.invalid")
    one.open()
    hosts("")
    for _ in range(2 * LOOK_EVERY_BEATS):
        one.send(b"lost")
        time.sleep(0.002)
    hosts("10.50.1.2 deb2-hb.invalid\n")

    def is_noticed() -> bool:
        try:
            one.send(b"lost")
            return False
        except LinkFault as error:
            return "deb2-hb.invalid does not lead to 10.50.1.77 any more" in str(error)

    until(is_noticed)
    until(one.try_beat)


def test_beat_larger_than_the_mtu_arrives_in_pieces(nodes: Nodes, link: Callable[..., Any]) -> None:
    """Both ends of eth1 carry 600 bytes at a time: a beat of 1,200 bytes arrives whole, and nothing
    forbids cutting it.
    """
    one, other = (
        link("net", "eth1", "239.131.50.20"),
        link("unicast", "eth1", "10.50.1.2", 5021),
    )
    for place in (nodes.a, nodes.b):
        place.ip("link", "set", "eth1", "mtu", "600")
    try:
        for each in (one, other):
            each.open()
            each.send(bytes(1200))
            assert len(each.receive().data) == 1200
            assert nodes.a.do(each.sender._socket.getsockopt, socket.IPPROTO_IP, 10) == 0
    finally:
        for number, place in enumerate((nodes.a, nodes.b), 1):
            place.ip("link", "set", "eth1", "mtu", "1500")
            place.ip("addr", "replace", f"fd00:1::{number}/64", "dev", "eth1", "nodad")


def test_beat_behind_an_unread_burst_is_not_lost(link: Callable[..., Any]) -> None:
    """A thousand recorded frames fill the socket before the listener has its turn: the peer's beat
    behind them still comes in.
    """
    pair = link("net", "eth1", GROUPS["net4"][1])
    pair.open()
    for number in range(1_000):
        pair.send(b"%d" % number + bytes(700))
    pair.send(b"beat")
    heard = [pair.receive().data[:4] for _ in range(1_001)]
    assert heard[-1] == b"beat"
