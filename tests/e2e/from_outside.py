"""Look at a node from outside: a command for each look costs more than all that is looked at.

Where no daemon answers, one of another release for instance, the commands are run in the node.
"""

from __future__ import annotations

import json
import os
from typing import Any

from opensvc_openha.cli import json_status
from opensvc_openha.control import client
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.demo.nodes import Node
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import TREE_ROOT, tree_layout


def status(node: Node) -> NodeStatus | None:
    """Return what the node's daemon answers at once; None if none does."""
    if not node.is_alive:
        return None
    try:
        return client.fetch_status(tree_layout(f"{node.root}{TREE_ROOT}"))
    except (OpenhaError, OSError):
        return None


def states(found: NodeStatus) -> dict[str, str]:
    """Return the states as `service -s -c` shows them: service to "primary/secondary"."""
    return {
        svc.name: f"{svc.primary_state.name}/{svc.secondary_state.name}" for svc in found.services
    }


def listeners(found: NodeStatus) -> dict[str, str]:
    """Return the listeners as `hb -s` shows them: device to UP or DOWN."""
    return {
        link.spec.device: "UP" if link.is_up else "DOWN"
        for link in found.links
        if not link.is_sender
    }


def heartbeats(found: NodeStatus) -> dict[str, Any]:
    """Return what `hb -s --json` prints."""
    return dict(json.loads(json_status.links(found).text()))


def is_there(node: Node, path: str) -> bool:
    """Return whether a file of a running node exists."""
    return os.path.exists(f"{node.root}{path}")


def times_served(node: Node) -> int:
    """Return how often the peer server of a node has begun to serve."""
    return text(node, f"{TREE_ROOT}/log/peer-link.log").count("serving on port")


def text(node: Node, path: str) -> str:
    """Return the content of a file of a running node, empty if there is none."""
    try:
        return node.read(path)
    except FileNotFoundError:
        return ""
