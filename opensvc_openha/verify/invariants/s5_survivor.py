"""S5: two nodes that lose sight of each other do not both fall.

Exception: a peer of an older version knows no turns, and fences at once (``has_turns`` is false).
"""

from __future__ import annotations

from opensvc_openha.verify.invariants.observations import Fenced
from opensvc_openha.verify.invariants.promise import Promise

S5 = Promise(
    "S5",
    "of two nodes that lose sight of each other at least one survives: they do not fence each"
    " other",
)


class Survivor:
    """Remembers who is down by an order of its peer."""

    def __init__(self) -> None:
        self.has_turns = True
        """Both nodes know of turns."""
        self._fenced_by: dict[str, str] = {}

    def check_fence(self, seen: Fenced) -> None:
        """Check that the node which gave the order is not down by an order of this one."""
        if self._fenced_by.get(seen.by) == seen.node and self.has_turns:
            text = f"fenced by {seen.by}, which it has fenced, too: no node is left"
            S5.fail(seen.at, seen.node, "", text)
        self._fenced_by[seen.node] = seen.by

    def note_daemon(self, node: str) -> None:
        """Record that a node is up again."""
        self._fenced_by.pop(node, None)
