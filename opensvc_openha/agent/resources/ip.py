"""Service addresses: an IPv4 or IPv6 address, given literally or by name, on one interface."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Optional

from opensvc_openha.agent.commands import run_or_fail
from opensvc_openha.agent.keywords import Keyword
from opensvc_openha.agent.resources.base import Driver, LocalResource, Resource, Surroundings
from opensvc_openha.agent.resources.neighbours import Address, announce, find_owner
from opensvc_openha.agent.service_file import Section
from opensvc_openha.agent.status import Finding, Group, ResourceStatus
from opensvc_openha.errors import ActionError
from opensvc_openha.runtime.clock import pause

_READY_TRIES = 30
_READY_PAUSE_S = 0.1


@dataclass(frozen=True)
class Placed:
    """One address of this machine."""

    interface: str
    address: Address
    prefix: int


def build(section: Section, around: Surroundings) -> Resource:
    """The resource of one [ip#N] section."""
    return ServiceIp(section, around)


class ServiceIp(LocalResource):
    """One service address."""

    def __init__(self, section: Section, around: Surroundings) -> None:
        self._name = section.required("ipname")
        self._device = section.required("ipdev")
        self._prefix = _configured_prefix(section)
        super().__init__(section, around, Group.IP, "ip", f"{self._name}@{self._device}")

    def status(self) -> Finding:
        """up if the address is on its interface; a warning if it is on another one."""
        address = _resolve(self._name)
        if address is None:
            return Finding(ResourceStatus.WARN, (f"could not resolve name {self._name}",))
        interfaces = _interfaces()
        places = _places_of(address, interfaces)
        if any(place.interface == self._device for place in places):
            return Finding(ResourceStatus.UP)
        if places:
            return Finding(ResourceStatus.WARN, (f"{address} is on {places[0].interface} instead of {self._device}",))
        if self._device not in interfaces:
            return Finding(ResourceStatus.WARN, (f"interface {self._device} not found",))
        return Finding(ResourceStatus.DOWN)

    def start(self) -> None:
        """Add the address unless somebody else on the network answers for it, and tell the neighbours."""
        finding = self.status()
        if finding.status is ResourceStatus.UP:
            self._log.info(f"{self.spec.label} is already up")
            return
        address = _resolve(self._name)
        if finding.status is ResourceStatus.WARN or address is None:
            raise ActionError(f"{self.spec.rid}: {finding.log[0] if finding.log else 'could not resolve ' + self._name}")
        owner = find_owner(self._device, address)
        if owner is not None:
            raise ActionError(f"{self.spec.rid}: {address} is already in use on {self._device}'s network by {owner}")
        prefix = self._prefix if self._prefix is not None else _network_prefix(self._device, address)
        if prefix > address.max_prefixlen:
            raise ActionError(f"{self.spec.rid}: netmask {prefix} is no prefix of an IPv{address.version} address")
        argv = ["ip", "addr", "add", f"{address}/{prefix}", "dev", self._device]
        # Duplicate detection would leave the address unusable for a second or more.
        run_or_fail(self._log, argv + (["nodad"] if address.version == 6 else []))
        if self.status().status is not ResourceStatus.UP:
            raise ActionError(f"{self.spec.rid}: {address} was added, but is not seen on {self._device}")
        self._announce(address)

    def stop(self) -> None:
        """Remove the address, with whatever prefix it has now."""
        address = _resolve(self._name)
        if address is None:
            raise ActionError(f"{self.spec.rid}: could not resolve name {self._name}, cannot tell if the address is here")
        places = [place for place in _places_of(address, _interfaces()) if place.interface == self._device]
        if not places:
            self._log.info(f"{self.spec.label} is already down")
        for place in places:
            run_or_fail(self._log, ["ip", "addr", "del", f"{address}/{place.prefix}", "dev", self._device])

    def _announce(self, address: Address) -> None:
        for _ in range(_READY_TRIES):
            try:
                announce(self._device, address)
                self._log.info(f"announced {address} to the neighbours on {self._device}")
                return
            except OSError as exc:
                if address.version == 4:
                    self._log.warning(f"cannot announce {address} on {self._device}: {exc.strerror}")
                    return
                # The link-local address the announcement is sent from is still being checked.
                pause(_READY_PAUSE_S)
        self._log.warning(f"cannot announce {address} on {self._device}: no link-local address is ready")


def _configured_prefix(section: Section) -> Optional[int]:
    word = section.text("netmask").lstrip("/")
    if not word:
        return None
    try:
        prefix = int(word) if word.isdigit() else ipaddress.ip_network(f"0.0.0.0/{word}").prefixlen
    except ValueError:
        prefix = -1
    if not 0 < prefix <= 128:
        raise section.error("netmask", f"is {word!r}, expected a prefix length or a dotted netmask")
    return prefix


def _resolve(name: str) -> Optional[Address]:
    """Address for a literal or a name, IPv4 first; None if the name is not known."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    return next((address for address in addresses if address.version == 4), addresses[0] if addresses else None)


def _interfaces() -> "dict[str, list[Placed]]":
    import psutil

    families = (socket.AF_INET, socket.AF_INET6)
    interfaces: "dict[str, list[Placed]]" = {name: [] for name in psutil.net_if_stats()}
    for name, entries in psutil.net_if_addrs().items():
        placed = interfaces.setdefault(name, [])
        for entry in entries:
            if entry.family in families:
                address = ipaddress.ip_address(entry.address.partition("%")[0])
                placed.append(Placed(name, address, _prefix_of_mask(entry.netmask, address)))
    return interfaces


def _prefix_of_mask(mask: Optional[str], address: Address) -> int:
    if not mask:
        return address.max_prefixlen
    bits = int(ipaddress.ip_address(mask.partition("/")[0]))
    return bin(bits).count("1")


def _places_of(address: Address, interfaces: "dict[str, list[Placed]]") -> "list[Placed]":
    return [place for placed in interfaces.values() for place in placed if place.address == address]


def _network_prefix(device: str, address: Address) -> int:
    """Prefix of the network on the interface that holds the address, else the one for a single address."""
    for place in _interfaces().get(device, []):
        if place.address.version != address.version:
            continue
        network = ipaddress.ip_network(f"{place.address}/{place.prefix}", strict=False)
        if address in network:
            return place.prefix
    return address.max_prefixlen


_IP = (Keyword("ipname", is_required=True), Keyword("ipdev", is_required=True), Keyword("netmask"), Keyword("gateway"))

DRIVER = Driver(build, {"": _IP})
