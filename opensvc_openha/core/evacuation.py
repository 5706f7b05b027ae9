"""Define that an operator keeps services away from this node, while it is being maintained.

The daemon keeps it on disk: it outlives the daemon and the boots of the machine.
"""

from __future__ import annotations

from opensvc_openha.records import dataclass


@dataclass(frozen=True)
class Evacuation:
    """Whether this node is evacuated, and how it is explained.

    An evacuated node starts nothing while its peer is heard, unless that reports that it could not
    start it; if the peer dies, it takes over what ran there. One that is off limits does neither.
    """

    is_on: bool = False
    is_off_limits: bool = False
    text: str = ""
    """Since when, by whom, and why."""
    is_damaged: bool = False
    """It was taken from a file that cannot be read."""

    def ordered(self, order: Evacuation) -> Evacuation:
        """Return what follows from an order.

        One to evacuate a node that is evacuated ends nothing of it: somebody may rely on its being
        off limits.
        """
        if not self.is_on or not order.is_on:
            return order
        text = order.text if self.is_damaged else self.text
        return Evacuation(True, self.is_off_limits or order.is_off_limits, text)

    def explain(self, peer: str) -> str:
        """Return what follows for this node, for the operator; empty if it is not evacuated."""
        if not self.is_on:
            return ""
        rule = (
            "it starts nothing, whatever happens"
            if self.is_off_limits
            else f"it starts nothing while {peer} is heard"
        )
        since = f" {self.text}" if self.text else ""
        return f"this node is evacuated{since}: {rule}; openha evacuate --undo ends that"


NOT_EVACUATED = Evacuation()
