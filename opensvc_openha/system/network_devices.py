"""Read from sysfs what a network interface is made of."""

from __future__ import annotations

import os

NET_DIR = "/sys/class/net"
_LOWER = "lower_"


def lower_devices(interface: str, net_dir: str = NET_DIR) -> list[str]:
    """Return the interfaces below one, in the order of their names; none if it does not exist.

    The ports of a bond or bridge, the parent of a VLAN.
    """
    try:
        names = os.listdir(f"{net_dir}/{interface}")
    except OSError:
        return []
    return sorted(name.removeprefix(_LOWER) for name in names if name.startswith(_LOWER))
