"""Parse and format the monitor file: one heartbeat link per line, sent by the named node.

::

    node  net|unicast  interface  address  port    timeout
    node  disk|dio     device     offset           timeout

Checks all that can be known from the text: two slots that would overlap on a disk and a node that
nobody could ever hear are refused here. Whether an interface or a device exists is found out by the
link itself.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence

from opensvc_openha.core.model import LinkKind, LinkSpec, Wire
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.conf_lines import ConfLine, drop_lines, expect_columns, read_lines

TIMEOUT_MAX_S = 86_400
INTERFACE_NAME_MAX = 15
"""Longest name of a Linux network interface."""

_KINDS = {kind.value: kind for kind in LinkKind}
_INTEGER = re.compile(r"[0-9]{1,15}\Z")
_SECONDS = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,6})?\Z")
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}\Z")
_SLASHES = re.compile("/+")


def parse_monitor(
    text: str,
    path: str,
    nodes: Sequence[str],
    *,
    need_both_ways: bool = True,
    complete: Callable[[LinkSpec], LinkSpec] = lambda link: link,
) -> tuple[LinkSpec, ...]:
    """Parse all links, in the order of the file.

    ``need_both_ways`` False accepts an unfinished file, in which one of the nodes has no sending
    link yet. ``complete`` adds settings of another file to a link, such as its wire format, which
    decides how far apart slots must be.
    """
    links: list[LinkSpec] = []
    first_lines: dict[tuple[object, ...], int] = {}
    for line in read_lines(text, path):
        link = complete(parse_link(line, path, nodes))
        earlier = first_lines.setdefault(_identity(link), line.number)
        if earlier != line.number:
            raise ConfigError(
                f"link {link.node} {link.link_id} is already on line {earlier}", path, line.number
            )
        links.append(link)
    _check_spacing(links, path)
    if need_both_ways:
        senders = {link.node for link in links}
        for node in nodes:
            if node not in senders:
                raise ConfigError(
                    f"node {node} has no link to send on: the other node could never hear it", path
                )
    return tuple(links)


def parse_link(line: ConfLine, path: str, nodes: Sequence[str] | None) -> LinkSpec:
    """Parse one link; ``nodes`` None accepts any node name."""
    kind_word = line.columns[1] if len(line.columns) > 1 else ""
    kind = _KINDS.get(kind_word)
    if kind is None:
        found = repr(kind_word) if kind_word else "nothing"
        raise ConfigError(
            f"expected a link type, one of {', '.join(_KINDS)}; found {found}", path, line.number
        )
    place = "device offset" if kind.is_disk else "interface address port"
    expect_columns(line, f"node {kind.value} {place} timeout", path)
    try:
        node = line.columns[0] if nodes is None else _spelling_of(line.columns[0], nodes)
        parse = _parse_disk_link if kind.is_disk else _parse_network_link
        return parse(node, kind, line)
    except ValueError as error:
        raise ConfigError(str(error), path, line.number) from None


def _spelling_of(name: str, nodes: Sequence[str]) -> str:
    """Return the node as spelled in the nodes file: later comparisons are exact."""
    for node in nodes:
        if node.lower() == name.lower():
            return node
    raise ValueError(f"node {name} is not one of the nodes file: {', '.join(nodes)}")


def _parse_network_link(node: str, kind: LinkKind, line: ConfLine) -> LinkSpec:
    _, _, interface, address, port_word, timeout = line.columns
    if "/" in interface or len(interface.encode("utf-8", "replace")) > INTERFACE_NAME_MAX:
        raise ValueError(
            f"expected an interface name of at most {INTERFACE_NAME_MAX} characters; found"
            f" {interface!r}"
        )
    _check_address(kind, address)
    port = int(port_word) if _INTEGER.match(port_word) else 0
    if not 1 <= port <= 65535:
        raise ValueError(f"expected a port 1-65535; found {port_word!r}")
    return LinkSpec(node, kind, interface, address, port, 0, _parse_timeout(timeout), line.number)


def _check_address(kind: LinkKind, address: str) -> None:
    if "%" in address:
        raise ValueError(f"write {address!r} without %: the interface has its own column")
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        if kind is LinkKind.UNICAST and _HOST_NAME.match(address):
            return
        name = " or a host name" if kind is LinkKind.UNICAST else ""
        raise ValueError(f"expected an IPv4 or IPv6 address{name}; found {address!r}") from None
    if kind is LinkKind.NET and not ip.is_multicast:
        raise ValueError(
            f"a net link needs a multicast address (224.0.0.0/4 or ff00::/8); {address} is not one"
        )
    if kind is LinkKind.UNICAST and (
        ip.is_multicast or ip.is_unspecified or address == "255.255.255.255"
    ):
        raise ValueError(f"a unicast link needs the address of one node; {address} is not one")


def _parse_disk_link(node: str, kind: LinkKind, line: ConfLine) -> LinkSpec:
    _, _, device, offset, timeout = line.columns
    if not device.startswith("/"):
        raise ValueError(f"expected the absolute path of a device; found {device!r}")
    if not _INTEGER.match(offset):
        raise ValueError(f"expected an offset in blocks of 512 bytes, 0 or more; found {offset!r}")
    return LinkSpec(node, kind, device, "", 0, int(offset), _parse_timeout(timeout), line.number)


def _parse_timeout(word: str) -> float:
    seconds = float(word) if _SECONDS.match(word) else 0.0
    if not 0 < seconds <= TIMEOUT_MAX_S:
        raise ValueError(
            f"expected a timeout in seconds, above 0 and at most {TIMEOUT_MAX_S}; found {word!r}"
        )
    return seconds


def _device_key(device: str) -> str:
    return _SLASHES.sub("/", device)


def _identity(link: LinkSpec) -> tuple[object, ...]:
    """Return what identifies a link: all columns but the timeout."""
    return (
        link.kind,
        link.node.lower(),
        _device_key(link.device),
        link.canonical_address,
        link.port,
        link.offset,
    )


def _check_spacing(links: Sequence[LinkSpec], path: str) -> None:
    """Raise ConfigError for two slots of one device that share a block, in any order of lines."""
    slots = sorted(
        (link for link in links if link.kind.is_disk),
        key=lambda link: (_device_key(link.device), link.offset),
    )
    for low, high in zip(slots, slots[1:]):
        if (
            _device_key(low.device) == _device_key(high.device)
            and high.offset - low.offset < low.slot_blocks
        ):
            first, second = sorted((low, high), key=lambda link: link.line)
            why = f" (wire = {low.wire.value})" if low.wire is not Wire.OWN else ""
            raise ConfigError(
                f"offset {second.offset} on {second.device} overlaps offset {first.offset} of line"
                f" {first.line}: offsets on one device must be at least {low.slot_blocks} blocks"
                f" apart{why}",
                path,
                second.line,
            )


def format_link(spec: LinkSpec) -> str:
    """Return the link as a line of the file, without line end."""
    timeout = f"{spec.timeout_s:.6f}".rstrip("0").rstrip(".")
    place = [str(spec.offset)] if spec.kind.is_disk else [spec.address, str(spec.port)]
    return "\t".join([spec.node, spec.kind.value, spec.device, *place, timeout])


def remove_link(text: str, spec: LinkSpec) -> str:
    """Return ``text`` without this link's line, whatever its timeout; malformed lines stay."""

    def is_this_link(columns: tuple[str, ...]) -> bool:
        try:
            return _identity(parse_link(ConfLine(0, columns), "", None)) == _identity(spec)
        except ConfigError:
            return False

    return drop_lines(text, is_this_link)
