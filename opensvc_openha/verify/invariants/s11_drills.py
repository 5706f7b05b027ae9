"""S11: a drill of a takeover shoots nobody, and what plays dead starts nothing.

While a node holds its fences back for a drill, it begins none. A node that plays dead begins no
check-up and no start.
"""

from __future__ import annotations

import math

from opensvc_openha.core.events import ScriptKind
from opensvc_openha.verify.invariants.observations import DrillNoted, ScriptBegan, StepBegan
from opensvc_openha.verify.invariants.promise import Promise

S11 = Promise(
    "S11",
    "in a drill of a takeover no node is fenced, and one that plays dead starts nothing",
)


class DrillWatch:
    """What a drill has asked of one daemon: the next one knows nothing of it."""

    def __init__(self) -> None:
        self.held_until = self.dead_until = -math.inf

    def note(self, seen: DrillNoted) -> None:
        """Record until when this node holds its fences back, and plays dead."""
        self.held_until, self.dead_until = seen.held_until, seen.dead_until

    def check_step(self, seen: StepBegan) -> None:
        """Check that no step of a fence plan begins."""
        if seen.at < self.held_until:
            S11.fail(seen.at, seen.node, "", "a step of the fence plan begins")

    def check_script(self, seen: ScriptBegan) -> None:
        """Check that no fence begins, and nothing on a node that plays dead."""
        if seen.is_fence and seen.at < self.held_until:
            S11.fail(seen.at, seen.node, seen.service, "a fence begins")
        if seen.kind in (ScriptKind.CHECK, ScriptKind.START) and seen.at < self.dead_until:
            S11.fail(seen.at, seen.node, seen.service, f"its {seen.kind.value} script begins")
