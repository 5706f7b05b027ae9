"""Watch the peer: which of its beats count, which links are up, and what that makes of it.

Beats pass the filter, then the links, then the view; each answers its own question, and this module
records what changed. It starts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from opensvc_openha.core.actions import Action, Record, RecordKind
from opensvc_openha.core.beat import Beat, BootId, Goodbye
from opensvc_openha.core.beat_filter import CONTRADICTION, BeatFilter
from opensvc_openha.core.events import BeatReceived, ListenerTried
from opensvc_openha.core.expected_beat import ExpectedBeat
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.incarnations import PeerIncarnations
from opensvc_openha.core.link_monitor import LinkMonitor
from opensvc_openha.core.model import ClusterSpec, LinkSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.status import LinkStatus, PeerStanding
from opensvc_openha.records import dataclass

_DEAF = "no link of this node could be opened yet, so that it hears no peer"


@dataclass(frozen=True)
class Reception:
    """What a received beat changed.

    ``beat`` is None if it did not become the newest of the peer; ``previous`` is the newest before
    it.
    """

    actions: list[Action]
    beat: Beat | None = None
    previous: Beat | None = None
    is_ack_new: bool = False
    """It acknowledges more than the beats before it."""
    concerns_all: bool = False
    """It differs from the previous beat in something that may move any service."""
    moved: frozenset[str] = frozenset()
    """The services whose states it changes, where it does not concern all of them."""
    wants_greeting: bool = False
    """It was rejected, and its incarnation must be answered, so that it can prove itself."""

    @property
    def is_new_incarnation(self) -> bool:
        """True for the first beat of an incarnation, which knows nothing of this node."""
        return self.beat is not None and (
            self.previous is None or self.previous.boot != self.beat.boot
        )


class PeerWatch:
    """What this node hears of its peer."""

    def __init__(
        self,
        spec: ClusterSpec,
        boot: BootId,
        known_incarnations: Mapping[str, BootId],
        now: float,
    ) -> None:
        self._node = spec.node
        self._peer = spec.peer
        self.monitor = LinkMonitor(spec.listeners, now)
        self.view = PeerView(boot)
        self.filter = BeatFilter(
            spec.peer, self.monitor, self.view, PeerIncarnations(boot, known_incarnations)
        )

    def receive(self, event: BeatReceived, own_seq: int, now: float) -> Reception:
        """Handle a beat that came in under the peer's name on one of the links."""
        event, done = self.filter.plausible(event, now)
        beat, link = event.beat, event.link
        verdict = self.filter.judge(event, now)
        if verdict.reason:
            wants_greeting = self.filter.wants_greeting(verdict.reason)
            done += self.filter.refuse(event, verdict.reason, own_seq, now)
            return Reception(done, wants_greeting=wants_greeting)

        # Stored before anything is announced, so that the next daemon rejects recordings of it.
        if self.filter.incarnations.has_changed:
            done += self.filter.remember()
        if self.monitor.record_beat(
            link, beat.boot, beat.seq, verdict.heard_at, event.pid, beat.interval_s
        ):
            done.append(Record(RecordKind.LINK, link.link_id, "DOWN", "UP", "beat received"))
        # The same node sends the same state, and more, in our own format.
        if beat.is_legacy and self.monitor.is_own_heard:
            return Reception(done)
        previous, acked = self.view.newest, self.view.acked_seq
        if previous is not None and beat.states == previous.states:
            # The same object means to whoever keeps what it worked out that nothing has changed.
            beat = replace(beat, states=previous.states)
        if not self.view.take(beat, now, bool(event.key_id), event.received_at):
            return Reception(done)

        if previous is not None and previous.boot != beat.boot and not beat.is_legacy:
            text = "its daemon was started again"
            done.append(Record(RecordKind.PEER, self._peer, "", "RESTARTED", text))
        if beat.mute:
            done += self._take_notice(beat, link, now)
        # No beat follows a goodbye, so the links need not wait for their timeouts.
        if beat.goodbye is not Goodbye.NONE:
            for gone in self.monitor.take_down():
                text = "the peer said goodbye"
                done.append(Record(RecordKind.LINK, gone.link_id, "UP", "DOWN", text))
        is_live = self.view.standing is PeerStanding.LIVE
        is_ack_new = self.view.acked_seq != acked
        if previous is None or _common(previous, is_live) != _common(beat, is_live):
            return Reception(done, beat, previous, is_ack_new, concerns_all=True)
        former, states = previous.states, beat.states
        if states is former:
            return Reception(done, beat, previous, is_ack_new)
        moved = frozenset(name for name, state in states.items() if former[name] is not state)
        return Reception(done, beat, previous, is_ack_new, moved=moved)

    def _take_notice(self, beat: Beat, link: LinkSpec, now: float) -> list[Action]:
        """Handle a notice that the peer cannot send on some links, received on another one."""
        gone = self.monitor.mute(beat.mute, beat.boot, beat.seq)
        if gone is not None:
            return [
                Record(RecordKind.LINK, each.link_id, "UP", "DOWN", _mute_reason(each), True)
                for each in gone
            ]
        if not self.monitor.refuse(link, CONTRADICTION, now):
            return []
        text = (
            "the peer reports on this link that none of its links works: not believed (counted from"
            " now on)"
        )
        return [Record(RecordKind.LINK, link.link_id, "", "REFUSED", text, is_alarm=True)]

    def record_listener(self, event: ListenerTried, now: float) -> list[Action]:
        """Record whether a link could be opened.

        One never listened on proves nothing by its silence. If no link could be opened, nothing is
        known of the peer.
        """
        if event.link not in self.monitor:
            return []
        was_deaf = self.monitor.is_deaf
        self.monitor.record_opening(event.link, event.is_open, now)
        if self.monitor.is_deaf is was_deaf:
            return []
        what, text = "DEAF", f"{_DEAF}: no verdict about the peer"
        if was_deaf:
            what, text = "LISTENS", "a link could be opened: the peer is listened for"
        return [Record(RecordKind.NODE, self._node, "", what, text, is_alarm=not was_deaf)]

    def judge(self, ack_limit_s: float, now: float) -> list[Action]:
        """Take down links whose timeout has passed, and derive the peer's standing from that.

        ``ack_limit_s`` is the time after which the peer may call a mute node silent.
        """
        monitor, view = self.monitor, self.view
        done: list[Action] = [
            Record(
                RecordKind.LINK,
                link.link_id,
                "UP",
                "DOWN",
                f"no beat for {link.timeout_s:g} s",
                is_alarm=True,
            )
            for link in monitor.expire(now)
        ]
        view.legacy_delay_s = monitor.legacy_delay_s
        view.ack_limit_s = ack_limit_s
        is_held_back = monitor.has_signs(now) and not monitor.is_any_up
        view.held_back = self.filter.held_back if is_held_back else ""
        before = view.judge(monitor.is_any_up, monitor.silent_since(now), now)
        standing = view.standing
        if before is not standing:
            is_alarm, reason = standing is PeerStanding.SILENT, self.standing_reason
            done.append(
                Record(RecordKind.PEER, self._peer, before.word, standing.word, reason, is_alarm)
            )
        return done

    def expected(self, own_seq: int) -> ExpectedBeat | None:
        """Return what a beat without news has; None while each may have some."""
        view, newest = self.view, self.view.newest
        if newest is None or newest.is_legacy or view.standing is not PeerStanding.LIVE:
            return None
        facts = newest.facts
        # A duration grows with each beat, and what is promised is renewed by each.
        if facts is not None and (facts.silent_s is not None or facts.promise is not None):
            return None
        return ExpectedBeat(
            self._peer,
            newest.boot,
            newest.seq,
            newest.states,
            facts,
            newest.interval_s,
            not view.is_unauthenticated,
            self.monitor.links_up(newest.boot),
            view.own_boot,
            own_seq,
        )

    @property
    def standing_reason(self) -> str:
        """Why the peer's standing is what it is."""
        standing, newest = self.view.standing, self.view.newest
        if standing is PeerStanding.DEPARTED and newest is not None:
            if newest.goodbye is Goodbye.LEFT:
                return "it stopped its services and said goodbye"
            return "its daemon said goodbye and left services running"
        if standing is PeerStanding.UNKNOWN and self.view.held_back:
            return f"{self.view.held_back}: no verdict about it"
        if standing is PeerStanding.UNKNOWN and self.monitor.is_deaf:
            return _DEAF
        return {
            PeerStanding.UNKNOWN: "not heard, and not listened to for a full timeout",
            PeerStanding.LIVE: "heard",
            PeerStanding.SILENT: "not heard on any link for its timeout",
            PeerStanding.DEPARTED: "it said goodbye",
        }[standing]

    def link_status(self, link: LinkSpec, now: float) -> LinkStatus:
        """Return the status of a listener."""
        is_up, heard, pid = self.monitor.view(link)
        reason, refused = "", self.monitor.refused_lately(link, now)
        if self.monitor.is_mute(link):
            reason = _mute_reason(link)
        elif not is_up:
            reason = "never heard" if heard is None else f"no beat for {link.timeout_s:g} s or more"
            reason += f"; refused: {', '.join(refused)}" if refused else ""
        return LinkStatus(link, False, is_up, pid, heard, reason, counts=self.monitor.counts(link))


def _common(beat: Beat, is_live: bool) -> tuple[object, ...]:
    """Return the content of a beat that concerns all services.

    ``silent_s`` changes with each beat. The facts on who fences first change with each service that
    is started, but nothing is fenced while the peer is heard. When a silence begins or ends, all
    services are evaluated anyway.
    """
    facts = beat.facts
    if facts is not None:
        lasting = Facts(unready=facts.unready, marks=facts.marks)
        facts = lasting if is_live else replace(facts, silent_s=None)
    return beat.boot, beat.is_complete, facts, beat.states.keys()


def _mute_reason(link: LinkSpec) -> str:
    return f"the peer reports that its {link.device} is down"
