"""Check the targets of `[connectivity]`: an address that answers whatever is cut proves nothing.

Nothing is sent: which interface leads to a target is the answer of the kernel's routing table.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage import configuration

_ANYWHERE = {4: "198.51.100.1", 6: "2001:db8::1"}
"""Addresses that nobody has (RFC 5737, RFC 3849): the way to them is the default route."""
_PORT = 9
_LOOPBACK = "lo"


@dataclass(frozen=True)
class Interfaces:
    """The interface of each address of this node."""

    by_address: Mapping[str, str]

    def leading_to(self, address: str) -> str:
        """Return the interface by which packets to an address leave; empty if there is no way."""
        version = ipaddress.ip_address(address).version
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        try:
            target = socket.getaddrinfo(address, _PORT, family, flags=socket.AI_NUMERICHOST)[0][4]
            with socket.socket(family, socket.SOCK_DGRAM) as way:
                way.connect(target)
                source = str(way.getsockname()[0])
        except OSError:
            return ""
        return self.by_address.get(source.partition("%")[0], "")


def interfaces_here() -> Interfaces:
    """Return the addresses of this node now."""
    import psutil

    return Interfaces(
        {
            entry.address.partition("%")[0]: name
            for name, entries in psutil.net_if_addrs().items()
            for entry in entries
            if entry.family in (socket.AF_INET, socket.AF_INET6)
        }
    )


def target_problems(layout: Layout) -> list[str]:
    """Return what speaks against the targets of this node; raises as reading its files does."""
    options = configuration.read_options(layout)
    spec = configuration.read_cluster(layout, options)
    twice = (f"target {each} is named twice" for each in options.connectivity.doubled)
    return [*twice, *problems_of(spec, interfaces_here())]


def problems_of(spec: ClusterSpec, interfaces: Interfaces) -> Iterator[str]:
    """Yield what speaks against the targets of a configuration."""
    if spec.connectivity is None:
        return
    devices = {link.device for link in spec.links if not link.is_disk}
    of_peer = {_bare(link.address) for link in spec.senders if not link.is_disk}
    of_peer |= {_bare(link.peer_address) for link in spec.listeners}
    names = {*interfaces.by_address.values()} - {_LOOPBACK}
    for address in spec.connectivity.targets:
        bare = _bare(address)
        if bare in interfaces.by_address:
            yield f"target {address} is an address of this node itself, which always answers"
        elif bare in of_peer:
            yield f"target {address} is {spec.peer}, which is heard anyway"
        else:
            name = spec.connectivity.interface or interfaces.leading_to(address)
            default = interfaces.leading_to(_ANYWHERE[ipaddress.ip_address(address).version])
            if name in devices and name != default and names - devices:
                yield (
                    f"target {address} is reached by {name}, which carries heartbeats and is not"
                    " the way to clients: it proves nothing of that"
                )


def _bare(address: str) -> str:
    """Return an address without its interface, in its usual form; a name as it is."""
    try:
        return str(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return address
