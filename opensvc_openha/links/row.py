"""Read the columns of the monitor file that say where a link is, for networks and for disks.

Each raises ValueError, whose text is shown with file and line.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence

from opensvc_openha.records import dataclass

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

INTERFACE_NAME_MAX = 15
"""Longest name of a Linux network interface."""

NETWORK_COLUMNS = ("interface", "address", "port")
DISK_COLUMNS = ("device", "offset")

_INTEGER = re.compile(r"[0-9]{1,15}\Z")
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}\Z")


@dataclass(frozen=True)
class Place:
    """Where a link is, with the meanings of core.model.LinkSpec; a disk has no address."""

    device: str
    address: str = ""
    port: int = 0
    offset: int = 0


def network_place(columns: Sequence[str], check_address: Callable[[str], object]) -> Place:
    """Read NETWORK_COLUMNS; ``check_address`` raises ValueError for one that the type refuses."""
    interface, address, port_word = columns
    if "/" in interface or len(interface.encode("utf-8", "replace")) > INTERFACE_NAME_MAX:
        raise ValueError(
            f"expected an interface name of at most {INTERFACE_NAME_MAX} characters; found"
            f" {interface!r}"
        )
    if "%" in address:
        raise ValueError(f"write {address!r} without %: the interface has its own column")
    check_address(address)
    port = int(port_word) if _INTEGER.match(port_word) else 0
    if not 1 <= port <= 65535:
        raise ValueError(f"expected a port 1-65535; found {port_word!r}")
    return Place(interface, address=address, port=port)


def ip_address(text: str) -> IpAddress:
    """Return an IPv4 or IPv6 address."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"expected an IPv4 or IPv6 address; found {text!r}") from None


def ip_address_or_name(text: str) -> IpAddress | None:
    """Return an IPv4 or IPv6 address; None for a host name."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        if _HOST_NAME.match(text):
            return None
        raise ValueError(
            f"expected an IPv4 or IPv6 address or a host name; found {text!r}"
        ) from None


def disk_place(columns: Sequence[str]) -> Place:
    """Read DISK_COLUMNS."""
    device, offset = columns
    if not device.startswith("/"):
        raise ValueError(f"expected the absolute path of a device; found {device!r}")
    if not _INTEGER.match(offset):
        raise ValueError(f"expected an offset in blocks of 512 bytes, 0 or more; found {offset!r}")
    return Place(device, offset=int(offset))
