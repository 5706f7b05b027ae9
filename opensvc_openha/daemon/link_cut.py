"""Cut a heartbeat link on purpose, for a limited time: what a drill does with each link in turn.

Both ends of the link are closed on this node, so that neither node hears the other one there. The
cut ends by itself, in the daemon: after its time, when its command is gone, and as soon as no other
link is left by which the nodes hear each other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from opensvc_openha.core.status import NodeStatus, PeerStanding
from opensvc_openha.heartbeat.link_end import LinkEnd
from opensvc_openha.system import clock

_CLOSE_LIMIT_S = 2.0
_CLOSE_POLL_S = 0.01


class LinkCut:
    """The ends of links that are cut at the moment."""

    def __init__(self, ends: Sequence[LinkEnd], links: Sequence[str], seconds: float) -> None:
        self.links = tuple(links)
        self.ends_at = clock.monotonic() + seconds
        self._ends = tuple(ends)

    def begin(self) -> bool:
        """Close the ends; False if one does not within its limit: a disk may hang."""
        for end in self._ends:
            end.cut("cut by a drill, which ends by itself")
        return clock.wait_until(
            lambda: all(end.is_cut for end in self._ends), _CLOSE_LIMIT_S, _CLOSE_POLL_S
        )

    def end(self) -> None:
        """Open the ends again; may be called more than once."""
        for end in self._ends:
            end.heal()

    @property
    def is_over(self) -> bool:
        """True once its time is over."""
        return clock.monotonic() >= self.ends_at

    @property
    def text(self) -> str:
        """What is cut, and for how long still."""
        left_s = max(0.0, self.ends_at - clock.monotonic())
        return f"a drill has cut {' and '.join(self.links)}, for {left_s:.0f} s more at most"


def why_no_cut(status: NodeStatus, links: Collection[str]) -> str:
    """Return why these links must not be cut now; empty if they may be.

    A cut that leaves no link would be a silence, in which the peer takes over.
    """
    known = {link.spec.link_id for link in status.links}
    strange = sorted(set(links) - known)
    if strange or not links:
        return f"{', '.join(strange) or 'nothing'} is no link of this node: see hb -s"
    if status.peer_standing is not PeerStanding.LIVE:
        return f"{status.peer} is {status.peer_standing.value}: {status.peer_reason}"
    rest = [link for link in status.links if link.spec.link_id not in links and link.is_up]
    for is_sender, what in ((False, "hears the other one"), (True, "sends")):
        if not any(link.is_sender is is_sender for link in rest):
            return f"no other link is up on which this node {what}: a cut would be a silence"
    return ""
