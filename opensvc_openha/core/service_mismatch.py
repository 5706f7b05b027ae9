"""Find services that only one of the two nodes has.

Their `services` files were edited on one side first, or for good. The nodes continue with the
services they share. A difference is recorded when it begins and when it ends, separately for each
side; its current content is for the status, so that a peer which invents names fills no log.
"""

from __future__ import annotations

from collections.abc import Collection

from opensvc_openha.core.actions import Record, RecordKind
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.wording import named


@state_marks(not_state={"_peer"})
class ServiceMismatch:
    """Compare this node's services with the peer's whenever either may have changed."""

    def __init__(self, node: str, peer: str) -> None:
        self._node = node
        self._peer = peer
        self.own_only: tuple[str, ...] = ()
        self.peer_only: tuple[str, ...] = ()

    def update(self, own: Collection[str], view: PeerView) -> list[Record]:
        """Compare again.

        A peer that is not heard, or whose names are not all known yet, changes nothing.
        """
        newest = view.newest
        if view.standing is not PeerStanding.LIVE or newest is None or not newest.is_complete:
            return []
        ours, theirs = set(own), set(newest.states)
        before = bool(self.own_only), bool(self.peer_only)
        self.own_only, self.peer_only = tuple(sorted(ours - theirs)), tuple(sorted(theirs - ours))
        done = []
        for names, was, only, other in (
            (self.own_only, before[0], self._node, self._peer),
            (self.peer_only, before[1], self._peer, self._node),
        ):
            if names and not was:
                done.append(self._record("SERVICES DIFFER", _difference(names, only, other), True))
            elif was and not names:
                done.append(
                    self._record("SERVICES AGREE", f"no service is on {only} only any more", False)
                )
        return done

    def warnings(self) -> tuple[str, ...]:
        """Return warnings about differences."""
        found = []
        if self.own_only:
            found.append(_difference(self.own_only, self._node, self._peer))
        if self.peer_only:
            found.append(_difference(self.peer_only, self._peer, self._node))
        return tuple(found)

    def _record(self, what: str, text: str, is_alarm: bool) -> Record:
        return Record(RecordKind.NODE, self._node, "", what, text, is_alarm)


def _difference(names: tuple[str, ...], only: str, other: str) -> str:
    return (
        f"only {only} has service {named(names)}: add it on {other} (service -a) or remove it on"
        f" {only}"
    )
