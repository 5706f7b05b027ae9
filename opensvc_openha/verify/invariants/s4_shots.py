"""S4: nothing destructive is done towards a peer that is heard, nor without the right to it.

A claim is destructive, too: the peer is ejected by it. Where there is an arbiter, whoever shoots
has won the claim since it heard its peer last.
"""

from __future__ import annotations

from opensvc_openha.verify.invariants.observations import StepBegan, StepEnded
from opensvc_openha.verify.invariants.promise import Promise
from opensvc_openha.verify.invariants.s2_evidence import PeerEvidence

S4 = Promise(
    "S4",
    "nothing destructive is done towards a peer that is heard, nor, where there is an arbiter,"
    " without having won its claim",
)


class Shots:
    """Remembers who has won the arbiter's claim."""

    def __init__(self) -> None:
        self.has_arbiter = False
        self.can_be_muted = False
        """Peers report links on which they cannot send: a link is down before its timeout."""
        self._winner = ""

    def check_step(self, seen: StepBegan, evidence: PeerEvidence) -> None:
        """Check that a step may begin."""
        silent_s = evidence.silent_s(seen.at)
        is_silent = silent_s is None or silent_s >= evidence.shortest_timeout_s
        if not is_silent and not self.can_be_muted:
            S4.fail(seen.at, seen.node, "", f"fences a peer that was heard {silent_s:.3f} s ago")
        if self.has_arbiter and not seen.is_claim and self._winner != seen.node:
            S4.fail(seen.at, seen.node, "", "fences its peer without having won the claim")

    def end_step(self, seen: StepEnded) -> None:
        """Record who has won."""
        if seen.is_claim:
            self._winner = seen.node if seen.is_done else self._winner

    def forget(self, node: str) -> None:
        """End the right of a node that heard its peer, or whose daemon ended."""
        self._winner = "" if self._winner == node else self._winner
