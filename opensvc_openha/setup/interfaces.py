"""The addresses of this node that a peer could share: no loopback, no bridge of containers."""

from __future__ import annotations

import os
import re
import socket

from opensvc_openha.setup.networks import Address
from opensvc_openha.system.network_devices import NET_DIR, lower_devices

_INNER = re.compile(
    r"(lo|docker|br-|virbr|lxcbr|lxdbr|incusbr|podman|cni|cali|flannel|kube|vnet|veth|tap|dummy"
    r"|ifb|tailscale|zt)"
)
"""Names of what serves machines and containers inside this one."""
_DEPTH = 8


def own_addresses(sys_dir: str = NET_DIR) -> list[Address]:
    """Return one address for each interface and network, in the order of the interfaces.

    The first one of each network: addresses of services are added behind those of the node.
    """
    import psutil

    states = psutil.net_if_stats()
    found: dict[tuple[str, str], Address] = {}
    for name, addresses in psutil.net_if_addrs().items():
        state = states.get(name)
        if state is None or not state.isup or _INNER.match(name) or ":" in name:
            continue
        if _is_bridge_of_guests(name, sys_dir):
            continue
        for each in addresses:
            if each.family != socket.AF_INET or not each.netmask or each.ptp:
                continue
            address = Address(name, each.address, _prefix(each.netmask), _trunk_of(name, sys_dir))
            # A link-local address is nobody's for long; a network of one address has no peer.
            if address.prefix < 31 and not address.address.startswith(("127.", "169.254.")):
                found.setdefault((name, str(address.network)), address)
    return sorted(found.values(), key=lambda each: socket.if_nametoindex(each.interface))


def _prefix(mask: str) -> int:
    return sum(int(part).bit_count() for part in mask.split("."))


def _is_bridge_of_guests(name: str, sys_dir: str) -> bool:
    """Return True for a bridge that none of this machine's own devices is a port of."""
    try:
        ports = os.listdir(f"{sys_dir}/{name}/brif")
    except OSError:
        return False
    return all(_INNER.match(port) for port in ports)


def _trunk_of(name: str, sys_dir: str) -> str:
    """Return the lowest device below an interface, by which it is joined to the other machine."""
    for _ in range(_DEPTH):
        lower = [each for each in lower_devices(name, sys_dir) if not _INNER.match(each)]
        if len(lower) != 1:
            # A bond of several devices is one way out.
            return name
        name = lower[0]
    return name
