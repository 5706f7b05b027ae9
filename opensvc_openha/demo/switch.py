"""The links of the nodes: each joins both nodes at a bridge in the sandbox, and can be cut.

A cut is silent, as if the cable lost everything: both ends keep their carrier, sending succeeds,
nothing arrives. It is made at the switch port of the receiving node: the port learns nothing and is
flooded nothing. That needs the kernel's bridge only, with or without root: no nftables, no traffic
control.
"""

from __future__ import annotations

from opensvc_openha.demo.sandbox_namespaces import BASE, Sandbox, find_tool

LINKS = ("eth0", "eth1", "eth2")
SILENCING = ("learning", "flood", "mcast_flood", "bcast_flood")


def address(link: str, index: int) -> str:
    """Return the IPv4 address of a node (0 or 1) on a link."""
    return f"10.50.{LINKS.index(link)}.{index + 1}"


class Switch:
    """Three bridges, each with a port for every node, and which ports are deaf."""

    def __init__(self, enclosure: Sandbox) -> None:
        self._enclosure = enclosure
        self._net_files: dict[int, str] = {}
        self._generation = 0
        self._deaf: set[tuple[int, str]] = set()
        bridges = [
            f"link add {_bridge(link)} type bridge stp_state 0 mcast_snooping 0" for link in LINKS
        ]
        enclosure.ip(
            "link set lo up", *bridges, *[f"link set {_bridge(link)} up" for link in LINKS]
        )

    def plug(self, index: int) -> str:
        """Create a network namespace with all links for a node.

        Returns the file that holds it.
        """
        self._generation += 1
        net = f"{BASE}/net/{index}.{self._generation}"
        self._enclosure.run(
            ["/bin/sh", "-c", f": > {net} && exec {find_tool('unshare')} --net={net} true"]
        )
        lines: list[str] = []
        for number, link in enumerate(LINKS):
            port = _port(index, link)
            mac = f"02:00:0a:32:{number:02x}:{index + 1:02x}"
            lines += [
                f"link add {port} type veth peer name {link} address {mac} netns {net}",
                f"link set {port} master {_bridge(link)}",
                f"link set {port} up",
            ]
        self._enclosure.ip(*lines)
        inside = ["link set lo up"]
        for link in LINKS:
            inside += [f"addr add {address(link, index)}/24 dev {link}", f"link set {link} up"]
        self._enclosure.ip(*inside, net=net)
        self._net_files[index] = net
        for link in LINKS:
            if (index, link) in self._deaf:
                self._set_deaf(index, link, True)
        return net

    def unplug(self, index: int) -> None:
        """Remove all links of a node at once; the other node's links stay as they are."""
        net = self._net_files.pop(index, None)
        if net is None:
            return
        self._enclosure.ip(*[f"link del {_port(index, link)}" for link in LINKS])
        self._enclosure.run(["/bin/sh", "-c", f"umount {net} && rm {net}"])

    def set_deaf(self, index: int, link: str, is_deaf: bool) -> None:
        """Block or unblock all traffic to a node on a link.

        The setting survives a reboot of the node.
        """
        if ((index, link) in self._deaf) == is_deaf:
            return
        (self._deaf.add if is_deaf else self._deaf.discard)((index, link))
        if index in self._net_files:
            self._set_deaf(index, link, is_deaf)

    def _set_deaf(self, index: int, link: str, is_deaf: bool) -> None:
        word = "off" if is_deaf else "on"
        options = " ".join(f"{name} {word}" for name in SILENCING)
        self._enclosure.ip(f"link set {_port(index, link)} type bridge_slave {options} fdb_flush")


def _bridge(link: str) -> str:
    return f"switch{LINKS.index(link)}"


def _port(index: int, link: str) -> str:
    return f"node{index}{link}"


def check_link(link: str) -> str:
    """Return the link's name; ValueError for one that no node has."""
    if link not in LINKS:
        raise ValueError(f"no link {link!r}: the nodes have {', '.join(LINKS)}")
    return link
