"""Which links speak the original's frame: the ``wire`` keywords of ``openha.conf``, beside the monitor file.

::

    [heartbeat]
    wire = legacy                        own (the default) or legacy, for every link

    [[net eth1:239.131.50.12]]           one link, named as in the log; more for each further one
    wire = own
    peer_address = 10.11.1.2             the only address a legacy link listens to

Only these keywords are read here; others in the same file belong to others.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field, replace
from typing import Any, Iterable, Mapping

from opensvc_openha.core.model import LEGACY_SERVICES_MAX, ClusterSpec, LinkSpec, Wire
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.runtime.files import read_text

SECTION = "heartbeat"
_WIRES = {wire.value: wire for wire in Wire}


@dataclass(frozen=True)
class WireOptions:
    """The wire format of the cluster, and what single links have of their own."""

    path: str = ""
    wire: Wire = Wire.OWN
    links: Mapping[str, "LinkWire"] = field(default_factory=dict)

    def complete(self, link: LinkSpec) -> LinkSpec:
        """The link with its wire format; raises ConfigError for a legacy link that the original could not have."""
        own = self.links.get(link.link_id, LinkWire(self.wire))
        if own.wire is Wire.LEGACY and ":" in link.address:
            raise ConfigError(f"link {link.link_id}: wire = legacy knows IPv4 addresses only", self.path)
        if own.peer_address and (link.kind.is_disk or own.wire is not Wire.LEGACY):
            raise ConfigError(f"link {link.link_id}: peer_address is for network links with wire = legacy", self.path)
        return replace(link, wire=own.wire, peer_address=own.peer_address)

    def check_links(self, links: Iterable[LinkSpec]) -> None:
        """Raises ConfigError for a section that names no link: a misspelled one would silently do nothing."""
        known = {link.link_id for link in links}
        for name in self.links:
            if name not in known:
                raise ConfigError(f"[[{name}]] is no link of the monitor file: {', '.join(sorted(known))}", self.path)


@dataclass(frozen=True)
class LinkWire:
    """What the section of one link says."""

    wire: Wire
    peer_address: str = ""


def read_wire_options(layout: Layout) -> WireOptions:
    """The options; without a file every link speaks this package's own format."""
    path = layout.options_file
    return parse_wire_options(read_text(path), path) if os.path.exists(path) else WireOptions(path)


def parse_wire_options(text: str, path: str) -> WireOptions:
    """The options in the text of the file; raises ConfigError."""
    from configobj import ConfigObj, ConfigObjError

    try:
        content = ConfigObj(text.splitlines(), list_values=False, interpolation=False, raise_errors=True)
    except ConfigObjError as error:
        raise ConfigError(str(error), path, getattr(error, "line_number", None)) from None
    section = content.get(SECTION, {})
    if not isinstance(section, Mapping):
        raise ConfigError(f"expected a section [{SECTION}]; found {SECTION} = {section!r}", path)
    wire = _wire(section, Wire.OWN, SECTION, path)
    links = {name: _link(value, wire, name, path) for name, value in section.items() if isinstance(value, Mapping)}
    return WireOptions(path, wire, links)


def check_services(spec: ClusterSpec, path: str) -> None:
    """Raises ConfigError when this node has more services than a legacy link of it can carry."""
    count = len(spec.own_services)
    legacy = [link.link_id for link in spec.senders if link.wire is Wire.LEGACY]
    if legacy and count > LEGACY_SERVICES_MAX:
        raise ConfigError(
            f"{count} services on this node, and the original's heartbeat holds {LEGACY_SERVICES_MAX}:"
            f" no more are possible while {', '.join(legacy)} has wire = legacy",
            path,
        )


def _link(section: "Mapping[str, Any]", default: Wire, name: str, path: str) -> LinkWire:
    address = str(section.get("peer_address", ""))
    if address:
        try:
            address = str(ipaddress.IPv4Address(address))
        except ValueError:
            raise ConfigError(f"[[{name}]]: expected an IPv4 address as peer_address; found {address!r}", path) from None
    return LinkWire(_wire(section, default, name, path), address)


def _wire(section: "Mapping[str, Any]", default: Wire, name: str, path: str) -> Wire:
    word = section.get("wire", default.value)
    if not isinstance(word, str) or word not in _WIRES:
        raise ConfigError(f"[{name}]: expected wire = {' or '.join(_WIRES)}; found {word!r}", path)
    return _WIRES[word]
