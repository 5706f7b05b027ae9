"""Pair the two directions of each heartbeat link: what is cut at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.status import LinkStatus, NodeStatus
from opensvc_openha.errors import UsageError
from opensvc_openha.formats.suggestion import did_you_mean


@dataclass(frozen=True)
class Cable:
    """A way between the nodes: what this node sends on, and what it listens to, as `hb -s` has it.

    ``timeout_s`` is of this node's listener, ``peer_timeout_s`` of the other one's.
    """

    name: str
    sends: str
    hears: str
    timeout_s: float
    peer_timeout_s: float
    is_disk: bool

    @property
    def links(self) -> tuple[str, str]:
        """Both directions."""
        return self.sends, self.hears


def cables_of(status: NodeStatus) -> tuple[Cable, ...]:
    """Return the links of a node in the order of the monitor file, both directions of each.

    A line without one of the other node of the same type and device is left out.
    """
    groups: dict[tuple[str, str], tuple[list[LinkSpec], list[LinkSpec]]] = {}
    for link in status.links:
        spec = link.spec
        sends, hears = groups.setdefault((spec.kind, spec.device), ([], []))
        (sends if link.is_sender else hears).append(spec)
    found = []
    for (kind, device), (sends, hears) in groups.items():
        pairs = list(zip(sends, hears, strict=False))
        for number, (sent, heard) in enumerate(pairs, 1):
            name = f"{kind} {device}" + (f" ({number})" if len(pairs) > 1 else "")
            found.append(
                Cable(
                    name,
                    sent.link_id,
                    heard.link_id,
                    heard.timeout_s,
                    sent.timeout_s,
                    sent.is_disk,
                )
            )
    return tuple(found)


def unpaired(status: NodeStatus) -> tuple[str, ...]:
    """Return the links of which only one direction could be found."""
    paired = {link for cable in cables_of(status) for link in cable.links}
    return tuple(link.spec.link_id for link in status.links if link.spec.link_id not in paired)


def chosen(cables: Iterable[Cable], word: str) -> tuple[Cable, ...]:
    """Return the links that a word names: its name, device, or name in `hb -s`; empty means all."""
    known = tuple(cables)
    if not word:
        return known
    found = tuple(
        cable
        for cable in known
        if word in (cable.name, cable.name.partition(" ")[2], cable.sends, cable.hears)
    )
    if not found:
        names = [cable.name for cable in known]
        raise UsageError(
            f"no link {word}{did_you_mean(word, names)}: expected one of {', '.join(names)}"
        )
    return found


def end_of(status: NodeStatus, link_id: str) -> LinkStatus | None:
    """Return what a node reports of one direction of a link."""
    return next((link for link in status.links if link.spec.link_id == link_id), None)


def is_up(status: NodeStatus, link_id: str) -> bool:
    """Return True if a node reports one direction of a link as up."""
    end = end_of(status, link_id)
    return end is not None and end.is_up
