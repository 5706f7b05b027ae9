"""Decide when a service goes back to its primary by itself, with `failback = yes` or `after N`.

It goes once the cluster has been settled for long enough, and the primary has been able and willing
to take it for as long: one service after the other, by the stop that an operator orders. Not if an
operator brought it here on purpose, nor for an hour after it came back from there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.link_monitor import LinkMonitor
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.states import PASSING, ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.stay import FREE, ORDERED, Stay
from opensvc_openha.core.timing import (
    FAILBACK_AGAIN_S,
    FAILBACK_LOOK_S,
    FAILBACK_TRIAL_S,
    ORDER_LIFE_S,
)


@state_marks(
    memory_s={"_unfrozen_at": ORDER_LIFE_S + 1, "ready_since": FAILBACK_AGAIN_S},
    own_seqs={"started_seq"},
)
class FailBack:
    """One service: what keeps it here, and since when its primary could have it."""

    def __init__(self, stay: Stay) -> None:
        self.stay = stay
        self.ready_since: float | None = None
        """Since when nothing keeps it here, as far as it was looked at."""
        self.started_seq: int | None = None
        """The beat that announced that it runs here."""
        self._unfrozen_at = -math.inf
        self._has_run_there = False
        """It was seen up on its primary since it went there last, and did not fail there since."""

    def unfreeze(self, now: float) -> None:
        """Note that an operator unfroze it: a start that follows at once is by that order."""
        self._unfrozen_at = now

    def primary_runs(self) -> None:
        """Note that its primary runs it: what an operator unfroze here is the standby."""
        self._unfrozen_at, self._has_run_there = -math.inf, True

    def order(self) -> None:
        """Note that an operator moves it."""
        self.stay = ORDERED

    def forget_order(self) -> None:
        """Note that it moves without an operator's choice of the place."""
        self.stay = FREE

    def leaves(self) -> None:
        """Note that it is stopped here by itself."""
        self.stay = Stay(returned_at=self.stay.returned_at)

    def leaves_well(self) -> None:
        """Note that it comes from a primary that could not start it any more, and reports that.

        A primary on which its start has failed may report the same: it has not left well then.
        """
        if self._has_run_there:
            self.stay = Stay(self.stay.is_ordered)

    def goes(self, now: float) -> None:
        """Note that it is handed to its primary now."""
        self.stay, self.ready_since, self._has_run_there = Stay(returned_at=now), None, False

    def primary_failed(self, now: float) -> None:
        """Note that its start failed on the primary."""
        self._has_run_there = False
        if not self.stay.is_ordered:
            self.stay = Stay(returned_at=now)

    def comes(self, is_left_by_order: bool, now: float) -> None:
        """Note that it is about to be started here by itself.

        One that comes back so soon after it went has failed there, whatever happened.
        """
        returned_at = self.stay.returned_at
        has_failed = returned_at is not None and now < returned_at + FAILBACK_TRIAL_S
        is_ordered = is_left_by_order or now < self._unfrozen_at + ORDER_LIFE_S
        self.stay = Stay(is_ordered, now if has_failed else None)

    def why_not(self, now: float) -> str:
        """Return why it stays here whatever the primary reports; empty if it may go."""
        if self.stay.is_ordered:
            return "an operator brought it here"
        returned_at = self.stay.returned_at
        if returned_at is not None and now < returned_at + FAILBACK_AGAIN_S:
            left_s = returned_at + FAILBACK_AGAIN_S - now
            return f"it did not stay on its primary; not tried again for {left_s:.0f} s"
        return ""


def is_left_by_order(service: str, view: PeerView) -> bool:
    """Return True if an operator has taken a service from a peer that is heard.

    A peer whose beats have no room for that is taken to report it: then the service stays.
    """
    if view.standing is not PeerStanding.LIVE or not view.takes_facts:
        return False
    facts, newest = view.facts, view.newest
    is_whole = facts is not None and newest is not None and view.facts_seq == newest.seq
    if facts is None or not is_whole or not facts.marks:
        return True
    return service in facts.ordered


@state_marks(not_state={"chosen", "moving", "why_unsettled", "is_new", "_look_at"})
class FailBacks:
    """The services that may go back, and how long the cluster has been settled."""

    def __init__(self) -> None:
        self.is_settled = False
        """The peer is heard on every link, for however long."""
        self.is_new = False
        """It has only just become so, or has become so again."""
        self._boot: BootId | None = None
        self._look_at = math.inf
        self.chosen = ""
        """The service that goes back now."""
        self.why_unsettled = ""
        self.moving = ""
        """A service that is being started or stopped on either node."""

    def restart(self) -> None:
        """Count from the beginning: this node did not listen for some time."""
        self.is_settled = False

    def update(
        self,
        is_used: bool,
        view: PeerView,
        monitor: LinkMonitor,
        listeners: Iterable[LinkSpec],
        why_differ: str,
        now: float,
    ) -> None:
        """Look whether the peer is heard, with the same daemon as before, on every link.

        ``why_differ`` is why it does not have the policies of this node; empty if it has.
        """
        was_settled, boot_before = self.is_settled, self._boot
        self.chosen = self.why_unsettled = ""
        newest = view.newest
        self.is_settled, self.is_new = False, False
        self._boot = newest.boot if is_used and newest is not None else None
        if not is_used:
            return
        down = [link.link_id for link in listeners if not monitor.view(link)[0]]
        if view.standing is not PeerStanding.LIVE or newest is None:
            self.why_unsettled = "its primary is not heard"
        elif newest.is_legacy:
            self.why_unsettled = "its primary is a C OpenHA, which acknowledges nothing"
        elif down:
            self.why_unsettled = f"link {down[0]} is down"
        elif not view.hears_this_node:
            self.why_unsettled = "its primary does not report that it hears this node"
        else:
            self.why_unsettled = why_differ
        self.is_settled = not self.why_unsettled
        self.is_new = self.is_settled and (not was_settled or self._boot != boot_before)
        if self.is_new:
            self._look_at = now

    def is_look_due(self, now: float) -> bool:
        """Return True if the services are to be looked at now."""
        return now >= self._look_at

    def look_again(self, due: Iterable[float], now: float) -> None:
        """Set when to look at the services again: when the first is due, or after a while."""
        self._look_at = min([now + FAILBACK_LOOK_S, *(at for at in due if at > now)])

    def next_deadline(self, is_any_away: bool) -> float | None:
        """Return when to look again; None without a service that could go."""
        return self._look_at if is_any_away and self.is_settled else None


def moving_service(own: Mapping[str, ServiceState], peer: Mapping[str, ServiceState]) -> str:
    """Return a service that is being started or stopped on one of the nodes; empty if none is."""
    for states in (own, peer):
        for name, state in states.items():
            if state in PASSING:
                return name
    return ""
