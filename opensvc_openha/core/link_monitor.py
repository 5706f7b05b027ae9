"""Judge each heartbeat link this node listens on, and all of them together.

A link is up from a fresh beat until its timeout has passed without one. "Silent" takes more than
links that are down: every link must have been listened to for its whole timeout since the start, or
since this node's own last stall. A node on which no link could ever be opened (interfaces renamed
at a boot) hears nothing, and draws no conclusion from that. One of several that cannot be opened is
a link that is down until it is opened; then it is listened to first.

The peer may announce, in a beat on one link, that it cannot send on another one. That one is down
and *mute* at once, without waiting for its timeout, until a beat comes in on it that is no older
than the notice. A notice never shortens the way to a silence: the link that brought it was heard
just then and is not mute, so "silent" still takes the whole timeout of every link that the peer can
use, one at least, after its last beat there. Only the newest beat of the peer's current incarnation
is a notice; a stall of this node, a new incarnation of the peer and a new configuration clear all
notices.

Beats in the peer's name that are rejected, but may come from the live peer, are signs: they bring
no link up and prove nothing, but there is no silence before a timeout has passed since the last of
them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from opensvc_openha.core.beat import LEGACY_INCARNATION, BootId
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.status import LinkSight
from opensvc_openha.core.timing import (
    BACKLOG_S,
    BEAT_INTERVAL_S,
    PATIENCE_BEATS,
    STALL_FRACTION,
    START_READY_DELAY_S,
    SUSPICION_S,
)


@state_marks(not_state={"link", "pid", "boot", "seq", "counts", "refused_at"})
class _Listener:
    """One link: when it was last heard, and since when it is listened to without a break."""

    def __init__(self, link: LinkSpec, now: float) -> None:
        self.link = link
        self.listening_since = now
        self.last_heard: float | None = None
        self.is_up = False
        self.pid = 0
        self.boot: BootId | None = None
        self.seq = -1
        self.counts: dict[str, int] = {}
        self.refused_at: dict[str, float] = {}
        self.interval_s = BEAT_INTERVAL_S
        self.mute_since: int | None = None
        """Number of the peer's newest beat that reports this link mute."""
        self.is_unopened = False
        """The link was never open."""

    @property
    def patience_s(self) -> float:
        """Seconds until silence on this link means something.

        The link's timeout, or longer while the peer's beat interval is long, or unknown.
        """
        return max(self.link.timeout_s, PATIENCE_BEATS * self.interval_s)

    def has_delivered(self, boot: BootId, seq: int) -> bool:
        """Return True if that beat, or a later one of its incarnation, came in on this link."""
        return self.boot == boot and seq <= self.seq

    @property
    def verdict_at(self) -> float:
        """When silence on this link becomes a verdict."""
        # Silence from before this node listened, or while it was stalled, is not the peer's.
        heard = (
            self.listening_since
            if self.last_heard is None
            else max(self.last_heard, self.listening_since)
        )
        return heard + self.patience_s


class _Arrivals:
    """First arrival of each beat of the current incarnation, back to the longest link timeout."""

    LIMIT = 10_000

    def __init__(self) -> None:
        self._boot: BootId | None = None
        self._seqs: list[int] = []
        self._times: list[float] = []

    def first(self, boot: BootId, seq: int, received_at: float, horizon: float) -> float:
        if boot != self._boot:
            self._boot, self._seqs, self._times = boot, [], []
        if not self._seqs or seq > self._seqs[-1]:
            self._seqs.append(seq)
            self._times.append(received_at)
            self._forget(horizon)
            return received_at
        return min(received_at, self._times[bisect_left(self._seqs, seq)])

    def _forget(self, horizon: float) -> None:
        """Drop entries from before the horizon, except one: it stands for all older ones."""
        old = bisect_left(self._times, horizon, 1) - 1
        del self._seqs[:old], self._times[:old]
        if len(self._seqs) > self.LIMIT:
            # Half the entries: less precise, never blind, since an entry stands for those before
            # it.
            del self._seqs[1::2], self._times[1::2]


@state_marks(not_state={"_arrivals"})
class LinkMonitor:
    """The listeners of this node."""

    def __init__(self, listeners: Iterable[LinkSpec], now: float) -> None:
        self._listeners = {link: _Listener(link, now) for link in listeners}
        self._arrivals = _Arrivals()
        self._not_before = now
        self._unread_s = 0.0
        """For how long verdicts of this step wait for what nobody has read yet."""
        self._silent_since: float | None = None
        self._mute_boot: BootId | None = None
        """The peer's incarnation that sent the mute notices."""
        self._signs_until = now

    def update(self, listeners: Iterable[LinkSpec], now: float) -> None:
        """Apply a new set of links; those that stay keep what was heard on them."""
        self._listeners = {
            # A new link has its whole timeout before it, so that an edit makes no peer silent.
            link: self._listeners.get(link) or _Listener(link, now)
            for link in listeners
        }
        self._forget_mute()

    def __contains__(self, link: LinkSpec) -> bool:
        return link in self._listeners

    def is_fresh(self, link: LinkSpec, boot: BootId, seq: int) -> bool:
        """Return True unless this link has delivered that beat, or a later one of its boot, before.

        A C OpenHA has no sequence numbers, and its clock may be set back: every beat of it counts.
        """
        return boot == LEGACY_INCARNATION or not self._listeners[link].has_delivered(boot, seq)

    def first_heard(self, boot: BootId, seq: int, received_at: float) -> float:
        """Return when that beat, or a later one of its incarnation, first came in on any link.

        A repetition, on this link or another one, proves no more than the first arrival did.
        """
        longest = max((item.link.timeout_s for item in self._listeners.values()), default=0.0)
        return self._arrivals.first(boot, seq, received_at, received_at - longest)

    def refuse(self, link: LinkSpec, reason: str, now: float) -> bool:
        """Count a rejected beat; return True if it is the first for that reason on this link."""
        counts = self._listeners[link].counts
        self._listeners[link].refused_at[reason] = now
        counts[reason] = counts.get(reason, 0) + 1
        return counts[reason] == 1

    def refused_lately(self, link: LinkSpec, now: float) -> list[str]:
        """Return why beats were rejected on a link recently.

        Recently: within the time for which a suspicion is shown.
        """
        return sorted(
            reason
            for reason, at in self._listeners[link].refused_at.items()
            if now < at + SUSPICION_S
        )

    def counts(self, link: LinkSpec) -> dict[str, int]:
        """Return the number of rejected beats on a link, by reason."""
        return dict(self._listeners[link].counts)

    def record_beat(
        self,
        link: LinkSpec,
        boot: BootId,
        seq: int,
        received_at: float,
        pid: int,
        interval_s: float = BEAT_INTERVAL_S,
    ) -> bool:
        """Record a fresh beat; return True if it brings the link up."""
        listener = self._listeners[link]
        if boot not in (self._mute_boot, LEGACY_INCARNATION):
            self._forget_mute()
        if listener.mute_since is not None and (
            boot == LEGACY_INCARNATION or seq >= listener.mute_since
        ):
            listener.mute_since = None
        # A beat that was in transit when the interface went down does not contradict the notice.
        is_up = listener.mute_since is None
        came_up = is_up and not listener.is_up
        listener.boot, listener.seq, listener.pid = boot, seq, pid
        # No profile is slower: a larger interval is a mistake, or an attempt to make this node
        # wait.
        listener.interval_s = min(interval_s, BEAT_INTERVAL_S)
        # A beat proves that the peer was there when it first came in, not when it was handled.
        listener.last_heard = max(received_at, listener.last_heard or received_at)
        listener.is_up = is_up
        listener.is_unopened = False
        return came_up

    def record_sign(self, link: LinkSpec, received_at: float) -> None:
        """Record a rejected sender that may be the live peer.

        There is no verdict of silence until the link's timeout has passed.
        """
        self._signs_until = max(self._signs_until, received_at + self._listeners[link].patience_s)

    def has_signs(self, now: float) -> bool:
        """Return True while rejected beats prevent a verdict of silence."""
        return now < self._signs_until

    def forget_sequence(self) -> None:
        """Accept any beat on every link again, and clear all notices.

        Called when the accepted beats turn out not to be the peer's.
        """
        self._forget_mute()
        for item in self._listeners.values():
            # The peer's own numbers may be lower than those that were sent in its name.
            item.boot, item.seq = None, -1

    def forget_later(self, boot: BootId, seq: int) -> None:
        """Accept beats of an incarnation above this number on every link again.

        An incarnation that returns continues from its present number, whatever was sent in its name
        before.
        """
        for item in self._listeners.values():
            if item.boot == boot and item.seq > seq:
                item.seq = seq

    @property
    def shortest_patience_s(self) -> float:
        """Shortest time in seconds after which silence on a link means something."""
        return min((item.patience_s for item in self._listeners.values()), default=0.0)

    def record_opening(self, link: LinkSpec, is_open: bool, now: float) -> None:
        """Record that a link could not be opened yet, or is open and listened to from now on."""
        listener = self._listeners[link]
        # Time before the first opening was not spent listening, so a verdict needs a full timeout
        # from now.
        if listener.is_unopened:
            listener.listening_since = now
        listener.is_unopened = not is_open

    @property
    def is_deaf(self) -> bool:
        """True while no link was ever listened to."""
        return all(item.is_unopened for item in self._listeners.values())

    def mute(self, marks: frozenset[bytes], boot: BootId, seq: int) -> list[LinkSpec] | None:
        """Apply the peer's notice on which links it cannot send; return those that were up.

        Returns None, and changes nothing, for a notice that contradicts itself by naming every
        link, although it came in on one. Marks that are unknown here or ambiguous are skipped, and
        so are disks, which have no interface.
        """
        named = [item.link.mark for item in self._listeners.values() if item.link.mark in marks]
        # The beat came in on one of the links that it calls mute.
        if len(named) == len(self._listeners):
            return None
        meant = [
            item
            for item in self._listeners.values()
            if named.count(item.link.mark) == 1
            and not item.link.is_disk
            # It works if it has delivered this beat or a later one.
            and not item.has_delivered(boot, seq)
        ]
        self._forget_mute()
        self._mute_boot = boot
        gone = [item.link for item in meant if item.is_up]
        for item in meant:
            item.mute_since, item.is_up = seq, False
        assert self._awaited, "the link that brought the notice is listened to"
        return gone

    def is_mute(self, link: LinkSpec) -> bool:
        """Return True while the peer reports that it cannot send on that link."""
        return self._listeners[link].mute_since is not None

    def _forget_mute(self) -> None:
        for item in self._listeners.values():
            item.mute_since = None

    @property
    def _awaited(self) -> list[_Listener]:
        """The links on which the peer can send."""
        return [item for item in self._listeners.values() if item.mute_since is None]

    def expire(self, now: float) -> list[LinkSpec]:
        """Take down the links whose timeout has passed; return them."""
        # Beats received in time may still be in the inbox.
        if now < self._not_before:
            return []
        gone = [
            item for item in self._listeners.values() if item.is_up and now >= self._due_at(item)
        ]
        for item in gone:
            item.is_up = False
        return [item.link for item in gone]

    def take_down(self) -> list[LinkSpec]:
        """Take all links down after a goodbye; return those that were up."""
        gone = [item for item in self._listeners.values() if item.is_up]
        for item in gone:
            item.is_up = False
        return [item.link for item in gone]

    def hold(self, now: float) -> None:
        """Restart listening after a stall of this node: no verdict for one full timeout."""
        self._forget_mute()
        for item in self._listeners.values():
            # Beats may have been lost before this node could read them.
            item.listening_since = now

    @property
    def all_heard_at(self) -> float:
        """When every link will have been listened to for its whole timeout."""
        return max(
            (item.listening_since + item.patience_s for item in self._listeners.values()),
            default=0.0,
        )

    def wait_until(self, instant: float) -> None:
        """Delay new verdicts until ``instant``: beats received in time may wait.

        A silence that was found before stays.
        """
        self._not_before = max(self._not_before, instant)

    def record_unread(self, is_unread: bool) -> None:
        """Record whether something may have come in that nobody has read yet, at this step.

        It is counted from the instant at which a verdict is due, so that a flood, in which
        something waits at any time, delays each verdict once.
        """
        self._unread_s = BACKLOG_S if is_unread else 0.0

    def is_verdict_due(self, now: float) -> bool:
        """Return True if, without a beat, a link goes down now or the peer becomes silent."""
        return self._silent_since is None and any(
            now >= item.verdict_at for item in self._awaited if item.is_up or not self.is_any_up
        )

    def _due_at(self, item: _Listener) -> float:
        return item.verdict_at + self._unread_s

    @property
    def is_any_up(self) -> bool:
        """True while the peer is heard on at least one link."""
        return any(item.is_up for item in self._listeners.values())

    def links_up(self, boot: BootId) -> tuple[LinkSpec, ...]:
        """Return the links that are up by beats of that incarnation."""
        listeners = self._listeners.values()
        return tuple([item.link for item in listeners if item.is_up and item.boot == boot])

    @property
    def is_own_heard(self) -> bool:
        """True while the peer is heard in our own format on at least one link."""
        return any(
            item.is_up and item.boot != LEGACY_INCARNATION for item in self._listeners.values()
        )

    @property
    def legacy_delay_s(self) -> float:
        """Seconds for which a C OpenHA must be heard out to have seen START_READY of this node.

        It reads a disk only once per link timeout: if only disks are up, the usual delay may be too
        short.
        """
        up = [item.link for item in self._listeners.values() if item.is_up]
        if not up or any(not link.is_disk for link in up):
            return START_READY_DELAY_S
        # One read per timeout, and a beat each way beside it.
        return max(START_READY_DELAY_S, min(link.timeout_s for link in up) + 2 * BEAT_INTERVAL_S)

    def silent_since(self, now: float) -> float | None:
        """Return when the peer's silence on every link became certain; None while it is not.

        That instant is never before the verdict: a check-up script begun earlier did not know of
        the silence.
        """
        if (
            self.is_any_up
            # A node whose interfaces have other names since a boot hears no peer, alive or not.
            or self.is_deaf
            or now < max(self._signs_until, *(item.verdict_at for item in self._awaited))
        ):
            # The end of a silence, by a sign of life too, voids what a check-up script proved in
            # it.
            self._silent_since = None
        elif self._silent_since is None and now >= max(
            self._not_before, *(self._due_at(item) for item in self._awaited)
        ):
            self._silent_since = now
        return self._silent_since

    def next_deadline(self, now: float) -> float | None:
        """Return the next instant at which a verdict may change."""
        later = [
            max(self._due_at(item), self._not_before)
            for item in self._awaited
            if item.is_up or self._due_at(item) > now
        ]
        if not self.is_any_up:
            later += [instant for instant in (self._not_before, self._signs_until) if instant > now]
        return min(later) if later else None

    @property
    def shortest_timeout_s(self) -> float | None:
        """Shortest timeout of all links, in seconds; None without links."""
        return min((item.link.timeout_s for item in self._listeners.values()), default=None)

    @property
    def stall_limit_s(self) -> float | None:
        """A step that is later than this counts as a stall of this node; None without links."""
        shortest_s = self.shortest_timeout_s
        return None if shortest_s is None else STALL_FRACTION * shortest_s

    def sights(self, now: float) -> tuple[LinkSight, ...]:
        """Return every link with the age of its last beat."""
        return tuple(
            LinkSight(
                link.link_id,
                item.is_up,
                None if item.last_heard is None else now - item.last_heard,
                link.timeout_s,
                item.mute_since is not None,
            )
            for link, item in self._listeners.items()
        )

    def view(self, link: LinkSpec) -> tuple[bool, float | None, int]:
        """Return whether a link is up, when it was last heard, and the sending thread."""
        item = self._listeners[link]
        return item.is_up, item.last_heard, item.pid
