"""Which networks two nodes share, from the addresses of both; pure.

A heartbeat link is one line of a file that both nodes read, so an interface must have the same name
on both. Networks over one cable or bond fail together, and count as one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Address:
    """One IPv4 address of a node.

    ``trunk`` is the device below a VLAN, else the interface itself: what fails as a whole.
    """

    interface: str
    address: str
    prefix: int
    trunk: str

    @property
    def network(self) -> ipaddress.IPv4Network:
        """The network in which it is."""
        return ipaddress.ip_interface(f"{self.address}/{self.prefix}").network  # type: ignore[return-value]


@dataclass(frozen=True)
class SharedNetwork:
    """A network in which both nodes have an address, on interfaces of one name."""

    interface: str
    own: str
    peer: str
    network: str
    trunks: tuple[str, str]

    @property
    def shown(self) -> str:
        """Text for the operator."""
        return f"{self.network} ({self.interface}: {self.own} and {self.peer})"


@dataclass(frozen=True)
class Comparison:
    """Networks that both share, and what keeps others from being used, for the operator."""

    shared: tuple[SharedNetwork, ...]
    remarks: tuple[str, ...]


def compare(own: Sequence[Address], peer: Sequence[Address], way: tuple[str, str]) -> Comparison:
    """Match the addresses of two nodes.

    ``way`` is the pair of addresses by which they talk at the moment. Where they share no network
    but these addresses are their own, a router is between them, and carries beats as well.
    """
    shared, remarks = [], []
    for ours in own:
        for theirs in peer:
            if ours.network != theirs.network:
                continue
            if ours.address == theirs.address:
                remarks.append(f"both nodes have the address {ours.address} ({ours.interface})")
            elif ours.interface != theirs.interface:
                remarks.append(_other_name(ours, theirs))
            else:
                shared.append(_pair(ours, theirs, str(ours.network)))
    if not shared:
        routed = [
            (ours, theirs)
            for ours in own
            for theirs in peer
            if (ours.address, theirs.address) == way and ours.network != theirs.network
        ]
        for ours, theirs in routed:
            if ours.interface == theirs.interface:
                shared.append(_pair(ours, theirs, "through a router"))
            else:
                remarks.append(_other_name(ours, theirs))
    return Comparison(tuple(shared), tuple(dict.fromkeys(remarks)))


def _pair(ours: Address, theirs: Address, network: str) -> SharedNetwork:
    return SharedNetwork(
        ours.interface, ours.address, theirs.address, network, (ours.trunk, theirs.trunk)
    )


def _other_name(ours: Address, theirs: Address) -> str:
    return (
        f"{ours.network} is {ours.interface} here and {theirs.interface} on the other node: a link"
        " needs one name on both. Give the interface there a second name: ip link property add dev"
        f" {theirs.interface} altname {ours.interface}"
    )


def independent(shared: Iterable[SharedNetwork], at_most: int) -> tuple[SharedNetwork, ...]:
    """Return the networks that do not share an interface or a cable with one before them."""
    chosen: list[SharedNetwork] = []
    for each in shared:
        is_apart = all(
            ours != each.trunks[0] and theirs != each.trunks[1]
            for ours, theirs in (earlier.trunks for earlier in chosen)
        )
        if is_apart and len(chosen) < at_most:
            chosen.append(each)
    return tuple(chosen)
