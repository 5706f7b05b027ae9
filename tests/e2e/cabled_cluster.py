"""Two nodes joined by many links: own cables beside the switches, and shared files as disks.

Each link can be cut alone: a cable by setting its interface down on the first node, a disk by
stopping the process that does its I/O there, which is how a hung disk appears from outside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opensvc_openha.demo.nodes import Node, TwoNodes
from tests.e2e.two_node_cluster import EZ, Cluster

CABLES = 12


@dataclass(frozen=True)
class Pair:
    """One link of each node on the same cable or disk, as in the monitor file."""

    device: str
    lines: tuple[str, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the log's names of the first and the second node's link."""
        return tuple(_link_id(line.split()) for line in self.lines)


def _link_id(words: list[str]) -> str:
    _, kind, device, place = words[:4]
    return f"{kind} {device}:{place}"


def lay_cables(nodes: TwoNodes, numbers: Iterable[int] = range(CABLES)) -> None:
    """Join the nodes by cables h0, h1, ...: 10.60.N.1 and .2, fd00:60:N::1 and ::2."""
    nets = [nodes.switch._net_files[node.index] for node in nodes]
    nodes.enclosure.ip(
        *[
            f"link add h{n} netns {nets[0]} type veth peer name h{n} netns {nets[1]}"
            for n in numbers
        ]
    )
    for number, net in enumerate(nets, 1):
        for n in numbers:
            nodes.enclosure.ip(
                f"addr add 10.60.{n}.{number}/24 dev h{n}",
                f"addr add fd00:60:{n}::{number}/64 dev h{n} nodad",
                f"link set h{n} up",
                net=net,
            )


def pairs(nodes: TwoNodes, timeout_s: float) -> list[Pair]:
    """Return twenty links of each node: multicast and unicast in both families, dio and disk."""
    names = [node.name for node in nodes]

    def pair(kind: str, device: str, *places: str) -> Pair:
        return Pair(
            device,
            tuple(
                f"{name} {kind} {device} {place} {timeout_s}" for name, place in zip(names, places)
            ),
        )

    made = []
    for n in range(3):
        made.append(
            pair("net", f"h{n}", f"239.131.60.{n} {6000 + n}", f"239.131.61.{n} {6000 + n}")
        )
        made.append(
            pair("net", f"h{n + 3}", f"ff15::60:{n} {6000 + n}", f"ff15::61:{n} {6000 + n}")
        )
        made.append(
            pair(
                "unicast", f"h{n + 6}", f"10.60.{n + 6}.2 {6100 + n}", f"10.60.{n + 6}.1 {6100 + n}"
            )
        )
        made.append(
            pair(
                "unicast",
                f"h{n + 9}",
                f"fd00:60:{n + 9}::2 {6200 + n}",
                f"fd00:60:{n + 9}::1 {6200 + n}",
            )
        )
    for n in range(4):
        made += [
            pair("dio", f"/shared/dio{n}", "0", "10"),
            pair("disk", f"/shared/disk{n}", "20", "30"),
        ]
    return made


class CabledCluster(Cluster):
    """A cluster with these links and no others."""

    def __init__(self, nodes: TwoNodes, links: list[Pair], checks: dict[str, str]) -> None:
        super().__init__(nodes, checks)
        self.links = links
        disks = [link.device for link in links if link.device.startswith("/shared")]
        for device in disks:
            self.must(self.first, f"truncate -s 64K {device}")
        for node in nodes:
            node.write(
                f"{EZ}/conf/monitor", "".join(f"{line}\n" for link in links for line in link.lines)
            )

    def cut(self, link: Pair) -> None:
        """Cut a link at the first node."""
        self._switch(link, "down", "STOP")

    def heal(self, link: Pair) -> None:
        """Undo ``cut``."""
        self._switch(link, "up", "CONT")

    def _switch(self, link: Pair, word: str, name: str) -> None:
        if link.device.startswith("/"):
            self.must(self.first, f"kill -{name} $(pgrep -f '[d]isk_worker.py {link.device} ')")
            return
        self.must(self.first, f"ip link set {link.device} {word}")
        if word == "up":
            # The kernel drops IPv6 addresses with the link.
            number = link.device[1:]
            self.must(self.first, f"ip addr replace fd00:60:{number}::1/64 dev {link.device} nodad")

    def down(self, node: Node) -> set[str]:
        """Return the peer's links that this node does not hear, and its own that cannot send."""
        return {
            f"{link['kind']} {link['label']}"
            for link in self.shown_links(node)
            if not link["is_up"]
        }

    def log_of(self, node: Node, link_id: str) -> list[str]:
        """Return the lines about one link in the log of a node."""
        log = self.must(node, f"cat {EZ}/log/nmond.log")
        return [line for line in log.splitlines() if f" link {link_id}: " in line]
