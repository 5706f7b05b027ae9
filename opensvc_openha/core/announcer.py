"""Decide when this node sends a beat, under which number, and what it acknowledges.

Beats leave at least each interval. A state that changed, a question and an answer have beats of
their own; what a script does is announced before it begins. While states are being written, the
last beat is repeated, so that a slow disk does not make this node mute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from opensvc_openha.core import timing
from opensvc_openha.core.actions import Announce
from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.link_down_notice import LinkDownNotice
from opensvc_openha.core.model import ClusterSpec, LinkSpec
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.states import ServiceState
from opensvc_openha.records import dataclass

_REPEATS_MAX = 65_536
"""Numbers reserved for repeats before each beat. One more is a prime.

Pages of names are chosen by the number.
"""
NUMBERS_OF_BEAT = _REPEATS_MAX + 1
"""Numbers that a beat takes: its own, and those of its repeats."""


@dataclass(frozen=True)
class Report:
    """What there is to say now: of this node's services, and of what was heard of the peer."""

    states: Mapping[str, ServiceState]
    wants_ack: bool
    facts: Facts
    newest: Beat | None
    """The newest beat of the peer that was taken into account."""
    heard: Ack | None
    """The newest beat heard of an incarnation that may have to prove itself."""
    is_peer_live: bool
    takes_facts: bool
    """The peer is known to understand facts."""
    with_names: bool
    """The peer may lack the names of the services."""


@state_marks(
    not_state={
        "seq",
        "beat_at",
        "_node",
        "_boot",
        "_answered_at",
        "_out_at",
        "_pace",
        "_last",
        "_repeated",
        "_repeat_seq",
        "_repeat_end",
    }
)
class Announcer:
    """The beats of one node."""

    def __init__(self, spec: ClusterSpec, boot: BootId, now: float) -> None:
        self._node = spec.node
        self._boot = boot
        self._pace = timing.PACES[spec.profile]
        self._sender_timeout_s = _shortest_timeout_s(spec.senders)
        self._quick_until = now
        self.seq = 0
        """Number of the newest beat."""
        self.beat_at = now
        """When the newest ordinary beat left."""
        self._answered_at = -math.inf
        """When a beat answered a request for an acknowledgement."""
        self._out_at = now
        """When a beat left most recently, repeats included."""
        self._last: Announce | None = None
        """The newest beat."""
        self._repeated: Announce | None = None
        """The beat that is repeated while states are written: the one before the step that writes
        them."""
        self._repeat_seq = self._repeat_end = 0
        self.has_news = True
        """A state has to be announced that no beat has reported yet."""
        self._is_ack_due = False
        self._is_greeting_due = False
        """A new incarnation of the peer is to be answered, so that it can prove itself."""
        self.notice = LinkDownNotice()

    @property
    def peer_patience_s(self) -> float:
        """Shortest time, in seconds, after which the peer may call a link of this node down."""
        return max(self._sender_timeout_s, timing.PATIENCE_BEATS * self._pace.beat_interval_s)

    def reconfigure(self, spec: ClusterSpec, now: float) -> None:
        """Apply an edited configuration."""
        pace = timing.PACES[spec.profile]
        # Keep the short interval until the peer has heard of the long one, else it would call this
        # node silent.
        if pace.beat_interval_s > self._pace.beat_interval_s:
            self._quick_until = now + timing.SLOWING_DOWN_S
            self._is_ack_due = True
        self._pace = pace
        self._sender_timeout_s = _shortest_timeout_s(spec.senders)
        self.notice.reconfigure(spec.senders)

    # --- when -------------------------------------------------------------------------------------

    def request_ack(self) -> None:
        """Acknowledge the peer soon: it asked for that, or knows nothing of this node yet."""
        self._is_ack_due = True

    def request_greeting(self) -> None:
        """Answer an incarnation of the peer that can acknowledge only what it has heard."""
        self._is_greeting_due = self._is_ack_due = True

    def is_beat_due(self, is_urgent: bool, now: float) -> bool:
        """Return True if an ordinary beat leaves now.

        News that is not urgent is collected for a while, to spare a peer that is heard.
        """
        has_changed = self.has_news and (is_urgent or now >= self.beat_at + timing.NEWS_GAP_S)
        is_due = self.seq == 0 or now >= self.beat_at + self._gap_s(now)
        # Any other beat may have left a moment ago: a peer that asks is about to start something.
        answers = self._is_ack_due and now >= self._answered_at + timing.ACK_GAP_S
        return (
            has_changed or is_due or answers or _is_past(self.notice.beat_due_at(self.beat_at), now)
        )

    def is_notice_due(self, now: float) -> bool:
        """Return True if a link-down notice leaves now, beside the ordinary beats."""
        return _is_past(self.notice.due_at(self.beat_at), now)

    def is_goodbye_due(self, now: float) -> bool:
        """Return True if another copy of a goodbye leaves now."""
        return now >= self.beat_at + timing.GOODBYE_GAP_S

    def deadlines(self, is_leaving: bool, now: float) -> list[float]:
        """Return when the next beat or notice is due, ``is_leaving`` if that is a goodbye."""
        gap = self._gap_s(now)
        if is_leaving:
            gap = timing.GOODBYE_GAP_S
        elif self.has_news and self.seq > 0:
            gap = min(gap, timing.NEWS_GAP_S)
        beat_at = self.beat_at + gap
        if self._is_ack_due and not is_leaving:
            beat_at = min(beat_at, self._answered_at + timing.ACK_GAP_S)
        notices = self.notice.due_at(self.beat_at), self.notice.beat_due_at(self.beat_at)
        return [max(now, beat_at), *(at for at in notices if at is not None)]

    def _gap_s(self, now: float) -> float:
        """Return the seconds to the next beat.

        A node that slows its beats down keeps the quick interval until its peer must have heard of
        the change.
        """
        interval_s = self._pace.beat_interval_s
        return (
            interval_s if now >= self._quick_until else min(timing.FAST_BEAT_INTERVAL_S, interval_s)
        )

    # --- what -------------------------------------------------------------------------------------

    def announce(self, report: Report, now: float, goodbye: Goodbye = Goodbye.NONE) -> Announce:
        """Return an ordinary beat, or a goodbye, under the next number."""
        announce = self._next_beat(report, goodbye)
        self.beat_at = now
        if self._is_ack_due:
            self._answered_at = now
        self._is_ack_due = self.has_news = self._is_greeting_due = False
        return announce

    def announce_notice(self, report: Report, now: float) -> Announce:
        """Return an extra beat with a link-down notice.

        A peer of an older version ignores it, so it does not count as an ordinary beat.
        """
        announce = self._next_beat(report, Goodbye.NONE)
        self.notice.record_sent(now)
        beat = replace(announce.beat, mute=self.notice.marks, facts=report.facts)
        return replace(announce, beat=beat)

    def _next_beat(self, report: Report, goodbye: Goodbye) -> Announce:
        self.seq += 1
        self._last = Announce(self.beat(report, goodbye), report.with_names)
        return self._last

    def beat(self, report: Report, goodbye: Goodbye = Goodbye.NONE) -> Beat:
        """Return a beat under the current number."""
        return Beat(
            node=self._node,
            boot=self._boot,
            seq=self.seq,
            ack=self._ack(report),
            states=report.states,
            goodbye=goodbye,
            wants_ack=report.wants_ack,
            interval_s=self._pace.beat_interval_s,
            # A peer of an older version rejects a beat with facts, and would call this node silent.
            facts=report.facts if report.takes_facts else None,
        )

    def _ack(self, report: Report) -> Ack | None:
        """Return the newest beat that was taken into account.

        For an incarnation that must be answered first, return the beat that was heard of it.
        """
        newest, heard = report.newest, report.heard
        # A beat with unknown names is not understood: an acknowledgement would let the peer believe
        # that this node agrees.
        taken = (
            None
            if newest is None or newest.is_legacy or not newest.is_complete
            else Ack(newest.boot, newest.seq)
        )
        if heard is None or newest is None or heard.boot == newest.boot:
            return taken or heard
        is_later = heard.boot.counter > newest.boot.counter or not report.is_peer_live
        # Alternate, so that replayed beats of an old incarnation do not keep the live one from its
        # acknowledgement.
        is_its_turn = self._is_greeting_due or self.seq % 2 or taken is None
        return heard if is_later and is_its_turn else taken

    # --- repeats, while states are written --------------------------------------------------------

    def reserve_repeats(self) -> None:
        """Reserve numbers for repeats, before a step whose states another thread may write.

        A repeat has the content of the last beat. Its number is lower than that of any beat which
        announces the new states, so that an acknowledgement of a repeat never confirms a state that
        is still being written.
        """
        self._repeated, self._out_at = self._last, self.beat_at
        if self.seq > self._repeat_end:
            self._repeat_seq, self.seq = self.seq, self.seq + _REPEATS_MAX
            self._repeat_end = self.seq

    @property
    def repeat_at(self) -> float:
        """When to repeat the last beat if states are still being written, in monotonic seconds.

        Infinity if there is none to repeat, as before the first beat of a daemon.
        """
        return self._out_at + self._gap_s(self._out_at) if self._to_repeat else math.inf

    def repeat(self, now: float) -> Announce | None:
        """Return the last beat under a new sequence number; None if there is none to repeat."""
        last = self._to_repeat
        if last is None:
            return None
        self._repeat_seq += 1
        self._out_at = now
        return replace(last, beat=replace(last.beat, seq=self._repeat_seq))

    @property
    def _to_repeat(self) -> Announce | None:
        last = self._repeated
        is_over = last is None or last.beat.goodbye is not Goodbye.NONE
        return None if is_over or self._repeat_seq >= self._repeat_end else last

    def record_written(self, now: float) -> None:
        """Record that the states of the last step are on disk: its beat leaves now.

        If this node was mute for too long meanwhile, the next step assumes that its peer may have
        acted.
        """
        is_mute = now - self._out_at >= self.peer_patience_s
        # If this node was mute, the age of its last beat must show it.
        is_announced = self._last is not self._repeated
        self.beat_at = now if is_announced and not is_mute else self._out_at


def _shortest_timeout_s(links: tuple[LinkSpec, ...]) -> float:
    return min((link.timeout_s for link in links), default=math.inf)


def _is_past(instant: float | None, now: float) -> bool:
    return instant is not None and now >= instant
