"""Propose the files of a new cluster: nodes, monitor, openha.conf; pure.

Unicast by default, since clouds and many switches carry no multicast. Slots of a disk are 16 blocks
apart, so that they are whole blocks of a device of 4 KiB blocks, too.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.links.monitor_file import format_link
from opensvc_openha.setup.fence_words import FenceWords, fencing_lines
from opensvc_openha.setup.networks import SharedNetwork

LINKS_MAX = 4
"""More networks than that give no more safety, only more lines."""
FIRST_UDP_PORT = 5010
SLOT_GAP_BLOCKS = 16
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class ClusterFiles:
    """The text of each configuration file; empty for one that is not written."""

    nodes: str
    monitor: str
    options: str


def network_links(
    own: str,
    peer: str,
    shared: Sequence[SharedNetwork],
    *,
    is_multicast: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> list[LinkSpec]:
    """Return the two ends of each network, those of a network with one port."""
    links = []
    third = zlib.crc32(f"{own}\n{peer}".lower().encode()) % 256
    for number, net in enumerate(shared):
        for way, (node, address) in enumerate(((own, net.peer), (peer, net.own))):
            if is_multicast:
                # Clusters in one network get different groups.
                kind, address = "net", f"239.131.{third}.{2 * number + way + 10}"
            else:
                kind = "unicast"
            links.append(
                LinkSpec(
                    node,
                    kind,
                    net.interface,
                    address,
                    FIRST_UDP_PORT + number,
                    0,
                    timeout_s,
                )
            )
    return links


def disk_links(own: str, peer: str, device: str, timeout_s: float = TIMEOUT_S) -> list[LinkSpec]:
    """Return the two slots of a shared disk."""
    return [
        LinkSpec(node, "dio", device, "", 0, number * SLOT_GAP_BLOCKS, timeout_s)
        for number, node in enumerate((own, peer))
    ]


def nodes_text(own: str, peer: str) -> str:
    """Return the nodes file."""
    return f"{own}\n{peer}\n"


def monitor_text(links: Sequence[LinkSpec]) -> str:
    """Return the monitor file."""
    return "".join(f"{format_link(link)}\n" for link in links)


def options_text(words: FenceWords, own: str, peer: str) -> str:
    """Return openha.conf: both nodes get one key, so that a beat without it is none of theirs."""
    lines = [
        "# All options: docs/options.md, and openha.conf.sample. The same text on both nodes.",
        "[heartbeat]",
        "authentication = enforced",
        *fencing_lines(words, own, peer),
    ]
    return "\n".join(lines) + "\n"


def weaknesses(links: Sequence[LinkSpec], words: FenceWords) -> list[str]:
    """Return what the operator should know before agreeing."""
    interfaces = {link.device for link in links if not link.is_disk}
    has_disk = any(link.is_disk for link in links)
    found = []
    if len(interfaces) == 1 and not has_disk:
        found.append(
            "one link only: when it fails both nodes are silent to each other. A second network, or"
            " --disk DEVICE, prevents that"
        )
    if not words.paths:
        found.append(
            "nothing fences a silent peer: its services are taken over after `openha fence confirm"
            " PEER` only. Add --fence ... (docs/fencing.md)"
        )
    return found
