"""Parse and format the monitor file: one heartbeat link per line, sent by the named node.

::

    node  type  columns of the type  timeout

Checks all that can be known from the text: two slots that would overlap on a disk and a node that
nobody could ever hear are refused here. Whether an interface or a device exists is found out by the
link itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.conf_lines import ConfLine, drop_lines, expect_columns, read_lines
from opensvc_openha.links.registry import LINK_TYPES

TIMEOUT_MAX_S = 86_400

_SECONDS = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,6})?\Z")
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
    word = line.columns[1] if len(line.columns) > 1 else ""
    link_type = LINK_TYPES.get(word)
    if link_type is None:
        raise ConfigError(
            f"expected a link type, one of {', '.join(LINK_TYPES)}; found"
            f" {repr(word) if word else 'nothing'}",
            path,
            line.number,
        )
    expect_columns(line, f"node {word} {' '.join(link_type.columns)} timeout", path)
    name, _, *columns, timeout = line.columns
    try:
        node = name if nodes is None else _spelling_of(name, nodes)
        place = link_type.read_place(columns)
        return LinkSpec(
            node=node,
            kind=word,
            device=place.device,
            address=place.address,
            port=place.port,
            offset=place.offset,
            timeout_s=_parse_timeout(timeout),
            line=line.number,
        )
    except ValueError as error:
        raise ConfigError(str(error), path, line.number) from None


def _spelling_of(name: str, nodes: Sequence[str]) -> str:
    """Return the node as spelled in the nodes file: later comparisons are exact."""
    for node in nodes:
        if node.lower() == name.lower():
            return node
    raise ValueError(f"node {name} is not one of the nodes file: {', '.join(nodes)}")


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
        (link for link in links if link.is_disk),
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
    place = [str(spec.offset)] if spec.is_disk else [spec.address, str(spec.port)]
    return "\t".join([spec.node, spec.kind, spec.device, *place, timeout])


def remove_link(text: str, spec: LinkSpec) -> str:
    """Return ``text`` without this link's line, whatever its timeout; malformed lines stay."""

    def is_this_link(columns: tuple[str, ...]) -> bool:
        try:
            return _identity(parse_link(ConfLine(0, columns), "", None)) == _identity(spec)
        except ConfigError:
            return False

    return drop_lines(text, is_this_link)
