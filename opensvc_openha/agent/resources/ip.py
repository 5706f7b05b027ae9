"""Service addresses: an IPv4 or IPv6 address, given literally or by name, on one interface.

``ipdev`` is an interface, one with a label (eth0:1), or as `ip link` prints it (eth0.10@eth0).
Without ``netmask`` the address takes that of the interface's network. An address that another
machine answers for is never added. The addresses that a start added are recorded, so that a stop
finds them if the name cannot be resolved, or has another address by then.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.host.commands import run_or_fail
from opensvc_openha.agent.resources.base import DriverContext, LocalResource
from opensvc_openha.agent.resources.neighbours import Address, announce, find_owner
from opensvc_openha.agent.values.resource_status import Finding, Group, ResourceStatus
from opensvc_openha.errors import ActionError, SystemFault
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.system.atomic_files import make_dir, write_atomically
from opensvc_openha.system.clock import pause

if TYPE_CHECKING:
    from opensvc_openha.agent.values.readiness import Remark, Surroundings

_READY_TRIES = 30
_READY_PAUSE_S = 0.1
_SIOCGIFFLAGS = 0x8913
_IFF_UP, _IFF_RUNNING, _IFF_LOOPBACK = 0x1, 0x40, 0x8
_NONROUTED_TAG = "nonrouted"
"""The agent's tag for an address that may exist elsewhere."""


@dataclass(frozen=True)
class Placed:
    """One address of this machine."""

    interface: str
    address: Address
    prefix: int


class ServiceIp(LocalResource):
    """One service address."""

    def __init__(self, section: Section, context: DriverContext) -> None:
        self._name = section.value(schema.IPNAME)
        device = section.value(schema.IPDEV)
        self._device = device.partition("@")[0].partition(":")[0]
        self._alias = device.partition("@")[0] if ":" in device.partition("@")[0] else ""
        self._netmask = section.text(schema.NETMASK.name)
        self._placed_file = os.path.join(context.var_dir, f"{section.name}.placed")
        self._prefix = section.value(schema.NETMASK)
        self._expect_fitting_netmask(section)
        super().__init__(section, context, Group.IP, "ip", f"{self._name}@{device}")

    def environment(self) -> Mapping[str, str]:
        """Return the variables of the agent's triggers."""
        address = _resolve(self._name)
        return {
            "OPENSVC_IPDEV": self._device,
            "OPENSVC_IPNAME": self._name,
            "OPENSVC_MASK": self._netmask,
            "OPENSVC_IPADDR": str(address) if address else "",
        }

    def status(self) -> Finding:
        """Return up if the address is on its interface; a warning if it is on another one."""
        address = _resolve(self._name)
        interfaces = _interfaces()
        if address is None:
            unresolved = f"could not resolve name {self._name}"
            here = [
                place for place in self._placed() if place in interfaces.get(place.interface, [])
            ]
            return Finding(
                ResourceStatus.WARN,
                (unresolved, *(f"{place.address} is on {place.interface}" for place in here)),
            )
        places = [
            place for placed in interfaces.values() for place in placed if place.address == address
        ]
        if any(place.interface == self._device for place in places):
            return Finding(ResourceStatus.UP)
        if places:
            return Finding(
                ResourceStatus.WARN,
                (f"{address} is on {places[0].interface} instead of {self._device}",),
            )
        if self._device not in interfaces:
            return Finding(ResourceStatus.WARN, (f"interface {self._device} not found",))
        return Finding(ResourceStatus.DOWN)

    def start(self) -> None:
        """Add the address unless another machine answers for it; announce it to the neighbours."""
        finding = self.status()
        if finding.status is ResourceStatus.UP:
            self._log.info(f"{self.spec.label} is already up")
            return
        address = _resolve(self._name)
        if finding.status is ResourceStatus.WARN or address is None:
            raise self.spec.error(
                ActionError,
                f"{finding.log[0] if finding.log else 'could not resolve ' + self._name}",
            )
        prefix = self._prefix_for(address)
        self._expect_link()
        owner = None if _NONROUTED_TAG in self.spec.tags else find_owner(self._device, address)
        if owner is not None:
            raise self.spec.error(
                ActionError, f"{address} is already in use on {self._device}'s network by {owner}"
            )
        argv = ["ip", "addr", "add", f"{address}/{prefix}", "dev", self._device]
        if self._alias and address.version == 4:
            argv += ["label", self._alias]
        self._remember(Placed(self._device, address, prefix))
        # Duplicate address detection would leave the address unusable for a second or more.
        run_or_fail(self._log, argv + (["nodad"] if address.version == 6 else []))
        if self.status().status is not ResourceStatus.UP:
            raise self.spec.error(
                ActionError, f"{address} was added, but is not seen on {self._device}"
            )
        self._announce(address)

    def readiness(self, around: Surroundings) -> Iterable[Remark]:
        """Yield what would keep the address from being added; others are asked who has it."""
        from opensvc_openha.agent.values.readiness import beware, would_fail

        address = _resolve(self._name)
        if address is None:
            fix = "correct ipname, or bring the name into /etc/hosts on both nodes"
            yield would_fail("names", f"could not resolve name {self._name}", fix)
            return
        finding = self.status()
        if finding.status is ResourceStatus.UP:
            return
        if self._device not in _interfaces():
            here = ", ".join(sorted(_interfaces()))
            fix = f"correct ipdev, or the name of the interface: this node has {here}"
            yield would_fail("interfaces", f"interface {self._device} not found", fix)
            return
        if finding.status is ResourceStatus.WARN:
            yield would_fail("addresses", finding.log[0])
            return
        try:
            self._prefix_for(address)
        except ActionError as error:
            yield would_fail("addresses", str(error).removeprefix(f"{self.spec.rid}: "))
        flags = _link_flags(self._device)
        if not flags & _IFF_UP:
            fix = f"ip link set {self._device} up"
            yield would_fail("interfaces", f"interface {self._device} is not up", fix)
            return
        if not flags & (_IFF_RUNNING | _IFF_LOOPBACK):
            yield beware("interfaces", f"interface {self._device} has no carrier")
        yield from self._rivals(address, around)

    def _rivals(self, address: Address, around: Surroundings) -> Iterable[Remark]:
        """Yield a remark if another machine than a peer that runs the service has the address."""
        from opensvc_openha.agent.values.readiness import unclear, would_fail

        owner = None if _NONROUTED_TAG in self.spec.tags else find_owner(self._device, address)
        if owner is None or (around.runs_on_peer and owner in (around.peer_hardware or ())):
            return
        text = f"{address} is in use on {self._device}'s network by {owner}"
        if not around.runs_on_peer:
            yield would_fail("addresses", text, "find that machine, and take the address from it")
        elif around.peer_hardware is not None:
            fix = "find that machine, and take the address from it"
            yield would_fail("addresses", f"{text}, which is not the peer", fix)
        else:
            yield unclear("addresses", f"{text}: whether that is the peer is not known")

    def stop(self) -> None:
        """Remove the address, with any prefix, and what a start added before the file changed."""
        address, remembered = _resolve(self._name), self._placed()
        if address is None and not remembered:
            raise self.spec.error(
                ActionError,
                f"could not resolve name {self._name}, cannot tell if the address is here",
            )
        wanted = {
            (self._device, address),
            *((place.interface, place.address) for place in remembered),
        }
        interfaces = _interfaces()
        places = [
            place
            for placed in interfaces.values()
            for place in placed
            if (place.interface, place.address) in wanted
        ]
        if not places:
            self._log.info(f"{self.spec.label} is already down")
        for place in places:
            others = [
                other
                for other in _interfaces().get(place.interface, [])
                if other.address != place.address
            ]
            run_or_fail(
                self._log,
                ["ip", "addr", "del", f"{place.address}/{place.prefix}", "dev", place.interface],
            )
            self._put_back(place.interface, others)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._placed_file)

    def _remember(self, place: Placed) -> None:
        try:
            make_dir(os.path.dirname(self._placed_file))
            write_atomically(
                self._placed_file, f"{place.interface} {place.address}/{place.prefix}\n".encode()
            )
        except OSError as error:
            raise self.spec.error(
                SystemFault, f"cannot write {self._placed_file}: {error.strerror}"
            ) from error

    def _placed(self) -> list[Placed]:
        """Return what the last start added and no stop removed."""
        try:
            with open(self._placed_file, encoding="utf-8") as file:
                device, _, word = file.readline().strip().partition(" ")
            placed = ipaddress.ip_interface(word)
        except (OSError, ValueError):
            return []
        return [Placed(device, placed.ip, placed.network.prefixlen)]

    def _put_back(self, interface: str, others: list[Placed]) -> None:
        """Add addresses again that the kernel removed together with the service's.

        The kernel may remove those that were added later in the same network.
        """
        left = _interfaces().get(interface, [])
        for other in others:
            if other not in left:
                self._log.warning(f"{other.address} went with it: added again")
                run_or_fail(
                    self._log,
                    ["ip", "addr", "add", f"{other.address}/{other.prefix}", "dev", interface],
                )

    def _prefix_for(self, address: Address) -> int:
        prefix = (
            self._prefix if self._prefix is not None else _network_prefix(self._device, address)
        )
        if prefix is None:
            raise self.spec.error(
                ActionError,
                f"{self._device} has no IPv{address.version} address to take the"
                " netmask from: set netmask",
            )
        if prefix > address.max_prefixlen:
            raise self.spec.error(
                ActionError,
                f"netmask {self._netmask} is no netmask of an IPv{address.version} address",
            )
        return prefix

    def _expect_link(self) -> None:
        flags = _link_flags(self._device)
        if not flags & _IFF_UP:
            raise self.spec.error(
                ActionError, f"interface {self._device} is not up: ip link set {self._device} up"
            )
        if not flags & (_IFF_RUNNING | _IFF_LOOPBACK):
            self._log.warning(
                f"interface {self._device} has no carrier: {self._name} will not be reachable"
                " through it"
            )

    def _expect_fitting_netmask(self, section: Section) -> None:
        try:
            address = ipaddress.ip_address(self._name)
        except ValueError:
            return  # A name, which is not resolved here.
        if self._prefix is not None and self._prefix > address.max_prefixlen:
            raise section.error(
                schema.NETMASK.name,
                f"is {self._netmask!r}, expected a netmask of an IPv{address.version} address",
            )

    def _announce(self, address: Address) -> None:
        for _ in range(_READY_TRIES):
            try:
                announce(self._device, address)
                self._log.info(f"announced {address} to the neighbours on {self._device}")
                return
            except OSError as error:
                if address.version == 4:
                    self._log.warning(
                        f"cannot announce {address} on {self._device}: {error.strerror}"
                    )
                    return
                # The link-local address that sends the announcement is still being checked.
                pause(_READY_PAUSE_S)
        self._log.warning(
            f"cannot announce {address} on {self._device}: no link-local address is ready"
        )


def _resolve(name: str) -> Address | None:
    """Return the address for a literal or a name, IPv4 first; None for an unknown name."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    return next(
        (address for address in addresses if address.version == 4),
        addresses[0] if addresses else None,
    )


def _interfaces() -> dict[str, list[Placed]]:
    import psutil

    families = (socket.AF_INET, socket.AF_INET6)
    interfaces: dict[str, list[Placed]] = {name: [] for name in psutil.net_if_stats()}
    for label, entries in psutil.net_if_addrs().items():
        # An address with a label is listed under the label: eth0:1.
        name = label.partition(":")[0]
        placed = interfaces.setdefault(name, [])
        for entry in entries:
            if entry.family in families:
                address = ipaddress.ip_address(entry.address.partition("%")[0])
                placed.append(Placed(name, address, _prefix_of_mask(entry.netmask, address)))
    return interfaces


def _prefix_of_mask(mask: str | None, address: Address) -> int:
    if not mask:
        return address.max_prefixlen
    bits = int(ipaddress.ip_address(mask.partition("/")[0]))
    return bin(bits).count("1")


def _network_prefix(device: str, address: Address) -> int | None:
    """Return the prefix of the interface's network that contains the address.

    Otherwise that of its first network, as in the agent.
    """
    placed = [
        place for place in _interfaces().get(device, []) if place.address.version == address.version
    ]
    for place in placed:
        if address in ipaddress.ip_network(f"{place.address}/{place.prefix}", strict=False):
            return place.prefix
    if _link_flags(device) & _IFF_LOOPBACK:
        return address.max_prefixlen
    return next((place.prefix for place in placed if not place.address.is_link_local), None)


def _link_flags(device: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(
                sock, _SIOCGIFFLAGS, struct.pack("16sH14x", device.encode()[:15], 0)
            )
        except OSError:
            return 0
    return int(struct.unpack("16sH14x", answer)[1])


build = ServiceIp
