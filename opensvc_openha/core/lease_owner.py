"""Keep this node's promise: when its watchdog is armed, what it is petted for, what beats promise.

The node promises that it is dead ``death_s`` after its last sign of life, and its watchdog keeps
that: it is petted only with a *permit*, which stands for a renewal that is confirmed. A renewal is
a beat in the slot of a disk link, read back; or one that the peer has acknowledged; or the answer
of the witness. One permit for each renewal at most, none that is older than the time for an answer.

    OFF --service in use--> ARMING --first permit, opened--> ARMED: the beats promise
     ^                        |  ^                             |
     |                        v  | tried again                 | nothing in use, peer proved out,
     |                       LOST                              | daemon ends, configuration changed
     +--- disarmed <--- confirmed wherever it was promised <---+ withdrawn: permits go on

What a beat says of the promise is a *statement*. One that promised stands until a later statement
was read back on every medium that it named (after a while: on one of them, or the peer has
acknowledged it); only such media give permits until then. So a peer that still believes in it looks
at all that renews it.

Nothing here is done by time alone but giving up: the watchdog, not this module, ends the node.

With ``on_lost = stop`` a node that nothing confirms any more (`CutOff`) stops its services before
its watchdog resets it. Once nothing is in use it is disarmed, though no withdrawal of what it
promised could be confirmed: that it runs nothing is as true as if it were dead, and it starts
nothing before something confirms that it lives, or its peer is proved out. No promise is shorter
for that.
"""

from __future__ import annotations

import enum
import math
from dataclasses import replace

from opensvc_openha.core import timing
from opensvc_openha.core.actions import (
    Action,
    ArmWatchdog,
    DisarmWatchdog,
    GrantPermit,
    HoldWatchdog,
    Record,
    RecordKind,
    RenewWitness,
    WithdrawWitness,
)
from opensvc_openha.core.beat import Goodbye
from opensvc_openha.core.cut_off import CutOff
from opensvc_openha.core.events import (
    MediaReplaced,
    RenewalConfirmed,
    WatchdogLost,
    WatchdogReady,
)
from opensvc_openha.core.model import ClusterSpec, LeasePolicy, OnLost, Profile
from opensvc_openha.core.promise import (
    CLOCK_RATIO,
    FAST_MARGIN_S,
    MARGIN_S,
    WITNESS_MARK,
    Promise,
    cut_off_after_s,
    death_after_s,
    media_of,
)
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.status import LeaseStatus
from opensvc_openha.records import dataclass

_BEATS_KEPT = 4096
_BEATS_KEPT_S = 60.0
"""So many of this node's beats are known by the instant at which they were decided."""

_HELD_S = math.ceil(timing.RESTART_HOLD_S * CLOCK_RATIO)
"""A watchdog that is held for a restart bites later by so much, by the peer's clock."""

_LEAST_ANSWER_S = 0.3
"""Time for an answer if the configuration is gone: less than that of the promise is safe."""


class Watchdog(enum.Enum):
    """Where the watchdog of this node is."""

    OFF = "off"
    TAKEN_OVER = "taken over"
    """A former daemon has armed it, and what that daemon promised stands."""
    ARMING = "being armed"
    """It is opened with the first permit."""
    ARMED = "armed"
    LOST = "lost"


_RUNNING = frozenset({Watchdog.TAKEN_OVER, Watchdog.ARMED})
_KEPT = _RUNNING | {Watchdog.ARMING}


@dataclass(frozen=True)
class Circumstances:
    """What the promise depends on, beside the watchdog and the configuration."""

    next_seq: int
    """Number of the beat that will carry a new statement."""
    is_in_use: bool
    """Some service may be in use here."""
    is_start_near: bool
    """A service is to be started, and the peer is not silent."""
    proved_out: str
    """Why the peer surely runs nothing; empty if that is not proved."""
    peer_problem: str
    """Why nothing can be promised to the peer; empty if it can."""
    goodbye: Goodbye
    """The goodbye that the daemon would say now."""
    is_peer_gone: bool = False
    """The peer's daemon has said that it ends for good, and no later one was heard.

    Nobody counts on what was promised, and whoever begins to has heard that nothing is.
    """


@state_marks(own_seqs={"seq", "ended_seq"})
@dataclass(frozen=True)
class _Statement:
    """What beats from ``seq`` on say: that this node promises something.

    ``promise`` is None for what a former daemon promised. ``media`` are those that it named. The
    next statement came with beat ``ended_seq``, at ``ended_at``.
    """

    promise: Promise | None
    media: frozenset[bytes]
    seq: int
    at: float
    ended_seq: int = 0
    ended_at: float = 0.0
    is_withdrawn: bool = True
    """What ended it promised nothing."""


@state_marks(
    not_state={
        "_node",
        "_peer",
        "_beats",
        "_asked_at",
        "_granted_by",
        "_least_margin_s",
        "_margin_since",
        "_former_margin_s",
        "_told",
        "_orders",
        "renewing",
    },
    own_seqs={"_acked_seq", "_out_seq", "_shown", "_heard", "_withdrawals"},
)
class LeaseOwner:
    """The promise of one node."""

    def __init__(self, spec: ClusterSpec, now: float) -> None:
        self._node, self._peer = spec.node, spec.peer
        self._policy: LeasePolicy | None = None
        self._named: frozenset[bytes] = frozenset()
        """All media of the configuration."""
        self._replaced: frozenset[bytes] = frozenset()
        """Those that stand for another disk by now: neither promised nor renewed by."""
        self._margin_s = self._interval_s = 0.0
        self._watchdog = Watchdog.OFF
        self._armed_by: LeasePolicy | None = None
        """The configuration by which it was ordered to be armed."""
        self._orders = 0
        """Orders given to arm the watchdog, and to disarm it."""
        self._ready: WatchdogReady | None = None
        self._changed_at = now
        """When the watchdog was taken over or lost."""
        self._lost_reason = ""
        self._knows_former = False
        """What a former daemon promised stands, or stood."""
        self._retry_at = -math.inf
        self._is_left_running = False
        """It was lost, and may run on: it resets this node unless it is disarmed, or petted again.
        """
        self._current: _Statement | None = None
        """What the newest beats promise; None if nothing."""
        self._standing: tuple[_Statement, ...] = ()
        """Earlier statements that a peer may still believe in."""
        self.renewing: frozenset[bytes] | None = None
        """What each promise names that may stand; None if there is none. Any thread may read it."""
        self._floor = 0.0, -math.inf
        """No less is promised than so many seconds, until then."""
        self._goodbye = Goodbye.NONE
        self._is_ending = False
        """Nothing is to be promised any more."""
        self._why = ""
        """Why nothing is promised; empty if something is, or is about to be."""
        self._is_wanted = False
        self._given_up_at = -math.inf
        """A start waits for the promise until then at most."""
        self._was_confirmed = False
        """A promise was confirmed since one is wanted: no start waited in vain."""
        self._settled_at: float | None = None
        """A daemon that leaves waits until then at most for what it has to withdraw or to promise.
        """
        self._is_held = False
        """The keeper pets by itself: the permit that ends that is one of the next daemon."""
        self._peer_out = ""
        """Why the peer is out, until it acknowledges a beat that left after that was proved."""
        self._out_seq = 0
        """The first such beat."""
        self._beats: dict[int, tuple[float, bool]] = {}
        """When each of the last beats was decided, and whether it had facts."""
        self._acked_seq = -1
        """Newest beat with facts that the peer has acknowledged."""
        self._shown: dict[bytes, int] = {}
        self._heard: dict[bytes, int] = {}
        """Newest beat that each medium was read back with: with facts, and any."""
        self._withdrawals: set[int] = set()
        """Withdrawals ordered at the witness, since a renewal was."""
        self._renewed_at = -math.inf
        """Beginning of the newest renewal that a permit was given for."""
        self._cut = CutOff()
        self._granted_at: float | None = None
        self._granted_by = ""
        self._least_margin_s = self._former_margin_s = math.inf
        self._margin_since = now
        self._asked_at = -math.inf
        self._told = ""
        self.reconfigure(spec)

    def reconfigure(self, spec: ClusterSpec) -> None:
        """Apply a configuration."""
        self._policy = policy = spec.fencing.lease
        has_witness = policy is not None and policy.has_witness
        marks = media_of(spec.senders).values()
        self._named = frozenset({*marks, WITNESS_MARK} if has_witness else marks)
        self._margin_s = FAST_MARGIN_S if spec.profile is Profile.FAST else MARGIN_S
        self._interval_s = timing.PACES[spec.profile].beat_interval_s

    def media_replaced(self, event: MediaReplaced) -> None:
        """Take which media stand for other disks: the peer reads the former, which are still."""
        self._replaced = event.media

    @property
    def _media(self) -> frozenset[bytes]:
        """The media that are promised, and by which this node renews."""
        return self._named - self._replaced

    @property
    def is_active(self) -> bool:
        """True if there is, or was, something to promise."""
        return self._policy is not None or self._watchdog is not Watchdog.OFF

    # --- the watchdog -----------------------------------------------------------------------------

    def watchdog_ready(self, event: WatchdogReady, now: float) -> None:
        """Take what the driver reports of the watchdog that was opened, or is open already."""
        if event.number is not None and event.number != self._orders:
            # The order to stop it is on its way: nothing may be promised by that.
            return
        self._ready = event
        self._armed_by = event.settings or self._armed_by or self._policy
        # One that is found armed may be held beyond what this daemon promises, until a permit.
        is_found = event.settings is not None
        if is_found or self._watchdog in (Watchdog.OFF, Watchdog.LOST):
            self._watchdog, self._changed_at = Watchdog.TAKEN_OVER, now
            self._expect_former(self._media if event.media is None else event.media, now)
            return
        if self.promise is not None:
            # Whoever was promised more may count with it for as long.
            death_s = self.promise.death_s
            self._floor = max(self._floor, (death_s, now + death_s))
        if self._watchdog is Watchdog.ARMING:
            self._watchdog, self._lost_reason = Watchdog.ARMED, ""

    def _expect_former(self, media: frozenset[bytes], now: float) -> None:
        """Let what a former daemon promised stand: it did so in beats of its own."""
        if not self._knows_former:
            self._knows_former = True
            self._standing += (_Statement(None, media, 0, now, ended_at=now),)

    def watchdog_lost(self, event: WatchdogLost, now: float) -> list[Action]:
        """Handle a watchdog that cannot be armed, or that nobody keeps any more."""
        if self._watchdog is Watchdog.OFF and event.media is None:
            return []
        if event.media is not None:
            self._expect_former(event.media, now)
        # One that was kept is tried again at once: if it still runs, it bites without a permit.
        was_kept = event.media is not None or self._watchdog in _RUNNING
        has_permit = self._watchdog is Watchdog.ARMING and self._granted_at is not None
        self._is_left_running = self._is_left_running or was_kept or has_permit
        self._retry_at = now if was_kept else now + timing.LEASE_RETRY_S
        self._watchdog, self._changed_at = Watchdog.LOST, now
        self._ready = self._granted_at = None
        is_new, self._lost_reason = event.reason != self._lost_reason, event.reason
        return [self._record("NO WATCHDOG", event.reason, True)] if is_new else []

    # --- renewals ---------------------------------------------------------------------------------

    def record_beat(self, seq: int, has_facts: bool, now: float) -> list[Action]:
        """Record a beat that leaves now; return what goes to the witness beside it."""
        if not self.is_active:
            return []
        self._beats[seq] = now, has_facts
        while len(self._beats) > _BEATS_KEPT or (
            self._beats and next(iter(self._beats.values()))[0] < now - _BEATS_KEPT_S
        ):
            del self._beats[next(iter(self._beats))]
        if not self.asks(now):
            return []
        self._asked_at = now
        if self._is_watched:
            self._cut.record_ask(self._interval_s, now)
        return self._witness_actions(seq)

    def record_silence(self, now: float) -> None:
        """Record that a beat which is due is kept back on purpose: nothing confirms it either."""
        if self._is_watched:
            self._cut.record_ask(self._interval_s, now)

    def record_repeat(self, seq: int, has_facts: bool, now: float) -> None:
        """Record a repeat that leaves now, while states are written."""
        if self.is_active:
            self._beats[seq] = now, has_facts

    def renew_meanwhile(self, seq: int) -> list[RenewWitness]:
        """Return what goes to the witness beside a repeat; a withdrawal stands as it was ordered.

        A lease without a disk has no other renewal while states are written.
        """
        is_due = self._watchdog in _KEPT and not self._is_ending
        is_due = is_due and WITNESS_MARK in self._media
        return [RenewWitness(seq, self._promised_since)] if is_due else []

    def asks(self, now: float) -> bool:
        """Return True if a beat that leaves now asks for an acknowledgement.

        Once in a beat interval: so an answer, which comes within milliseconds, does not ask.
        """
        return self._is_asking and now >= self._asked_at + 0.75 * self._interval_s

    def is_ask_due(self, now: float) -> bool:
        """Return True if a beat leaves now in order to ask."""
        return self._is_asking and now >= self._asked_at + self._interval_s

    @property
    def _is_asking(self) -> bool:
        return self._watchdog in _KEPT or self._cut.since is not None

    def acknowledged(self, seq: int, now: float) -> list[GrantPermit]:
        """Take an authenticated acknowledgement of the peer's incarnation, which lives, then."""
        # What it acknowledged while it lived may arrive later: a write lands when it can.
        if seq >= self._out_seq:
            self._peer_out = ""
        at, has_facts = self._beats.get(seq, (-math.inf, False))
        if has_facts:
            self._acked_seq = max(self._acked_seq, seq)
        return self._grant(at, "acknowledged beat", now)

    def confirmed(self, event: RenewalConfirmed, now: float) -> list[GrantPermit]:
        """Take a renewal that was confirmed on a medium."""
        medium, seq = event.medium, event.seq
        if medium in self._replaced:
            return []
        _, has_facts = self._beats.get(seq, (0.0, False))
        self._heard[medium] = max(self._heard.get(medium, -1), seq)
        # The witness has no beats: it only knows that nothing is promised, or since when.
        is_said = has_facts and event.has_facts
        if seq in self._withdrawals if medium == WITNESS_MARK else is_said:
            self._shown[medium] = max(self._shown.get(medium, -1), seq)
        self._retire(now)
        if not self._may_renew(medium):
            return []
        return self._grant(
            event.began_at, "witness" if medium == WITNESS_MARK else "disk slot", now
        )

    def _may_renew(self, medium: bytes) -> bool:
        """Return True if whoever believes in a promise of this node looks at that medium."""
        return all(medium in statement.media for statement in self._statements)

    @property
    def _statements(self) -> tuple[_Statement, ...]:
        """What a peer may believe in."""
        return self._standing if self._current is None else (*self._standing, self._current)

    def _grant(self, renewed_at: float, by: str, now: float) -> list[GrantPermit]:
        is_in_time = now <= renewed_at + self._answer_s
        self._cut.record_confirmed(renewed_at, is_in_time)
        if self._watchdog not in _KEPT or self._is_over or self._is_held:
            return []
        if renewed_at <= self._renewed_at or not is_in_time:
            return []
        self._renewed_at, self._granted_by = renewed_at, by
        if self._granted_at is not None and self._ready is not None:
            self._note_margin(self._granted_at + self._ready.timeout_s - now, now)
        self._granted_at = now
        return [GrantPermit(renewed_at)]

    @property
    def _answer_s(self) -> float:
        policy = self._armed_by or self._policy
        return _LEAST_ANSWER_S if policy is None else policy.answer_s

    @property
    def _is_over(self) -> bool:
        """True once nothing is promised, and nobody believes in anything promised before."""
        return self._is_ending and self._current is None and not self._standing

    def _note_margin(self, margin_s: float, now: float) -> None:
        if now >= self._margin_since + timing.LEASE_MARGIN_S:
            self._former_margin_s, self._least_margin_s = self._least_margin_s, math.inf
            self._margin_since = now
        self._least_margin_s = min(self._least_margin_s, margin_s)

    def _witness_actions(self, seq: int) -> list[Action]:
        if self._is_ending:
            is_named = any(WITNESS_MARK in statement.media for statement in self._standing)
            if not is_named:
                return []
            self._withdrawals.add(seq)
            return [WithdrawWitness(seq)]
        self._withdrawals.clear()
        return [RenewWitness(seq, self._promised_since)] if WITNESS_MARK in self._media else []

    @property
    def _promised_since(self) -> int | None:
        """The first beat of the oldest promise of this daemon that stands; None if there is none.

        A peer that missed the end of an earlier one must not take a renewal for one of that.
        """
        seqs = [each.seq for each in self._statements if each.promise is not None]
        return min(seqs, default=None)

    # --- statements -------------------------------------------------------------------------------

    @property
    def promise(self) -> Promise | None:
        """What beats promise now."""
        return None if self._current is None else self._current.promise

    def _say(
        self, promise: Promise | None, why: str, at: Circumstances, now: float
    ) -> list[Action]:
        """Let beats promise this from now on."""
        before = self._current
        if promise == self.promise:
            return []
        # What no beat has said yet was not said: the next beat ends the statement before that.
        if before is not None and before.seq < at.next_seq:
            self._standing += (replace(before, ended_seq=at.next_seq),)
        self._standing = tuple(
            replace(statement, ended_at=now, is_withdrawn=promise is None)
            if statement.ended_seq == at.next_seq
            else statement
            for statement in self._standing
        )
        self._current = (
            None if promise is None else _Statement(promise, promise.media, at.next_seq, now)
        )
        # A beat that asks leaves at once.
        self._asked_at = -math.inf
        if promise is None:
            return [self._record("WITHDRAWN", why, False)]
        assert self._ready is not None
        text = f"dead {promise.death_s:g} s after its last sign of life, by {_named(self._ready)}"
        return [self._record("PROMISED", text, False)]

    def _retire(self, now: float) -> None:
        """Forget statements that nobody can believe in any more."""
        self._standing = tuple(
            statement for statement in self._standing if not self._is_superseded(statement, now)
        )

    def _is_superseded(self, statement: _Statement, now: float) -> bool:
        # A beat of this incarnation, with facts or without, ends what a former one promised.
        shown = self._heard if statement.promise is None else self._shown
        media = statement.media
        if not statement.is_withdrawn:
            # The witness cannot show that something else is promised, and is not looked at alone.
            media = media - {WITNESS_MARK}
        if not media:
            return self._acked_seq >= statement.ended_seq
        has_it = [shown.get(medium, -1) >= statement.ended_seq for medium in media]
        # A medium that takes nothing, or was removed, must not bind this node for ever. A peer that
        # believes in the statement has to read every medium of it, so that one is enough; or it has
        # said that it knows better. A daemon that was just started there believes in no slot.
        is_patience_over = now >= statement.ended_at + timing.LEASE_CONFIRM_S
        is_known = any(has_it) or self._acked_seq >= statement.ended_seq
        return all(has_it) or (is_patience_over and is_known)

    def _wanted(self, at: Circumstances, now: float) -> Promise:
        """Return what an armed node promises."""
        ready, policy = self._ready, self._armed_by
        assert ready is not None and policy is not None
        death_s = death_after_s(
            policy.answer_s, ready.timeout_s, ready.holders, ready.granularity_s, self._margin_s
        )
        if at.goodbye is Goodbye.RESTART:
            death_s += _HELD_S
        least_s, until = self._floor
        if now < until:
            death_s = max(death_s, least_s)
        return Promise(death_s, self._media, ready.is_virtual, self._is_stopped_first)

    @property
    def _is_confirmed(self) -> bool:
        """True once the peer, or a medium that it reads, has what the beats promise."""
        current = self._current
        return current is not None and (
            self._acked_seq >= current.seq
            or any(self._shown.get(medium, -1) >= current.seq for medium in current.media)
        )

    # --- what follows -----------------------------------------------------------------------------

    def update(self, at: Circumstances, now: float) -> list[Action]:
        """Arm, promise, withdraw and disarm, as the circumstances want it."""
        if not self.is_active:
            return []
        self._retire(now)
        if at.proved_out:
            self._peer_out, self._out_seq = at.proved_out, at.next_seq
        self._goodbye = at.goodbye
        self._why = self._why_not(at)
        if at.goodbye is Goodbye.NONE:
            self._settled_at = None
        elif self._settled_at is None:
            self._settled_at = now + timing.LEASE_SETTLE_S
        is_wanted = not self._why
        if is_wanted and not self._is_wanted:
            self._given_up_at, self._was_confirmed = now + timing.LEASE_WAIT_S, False
        self._is_wanted = is_wanted
        self._was_confirmed = self._was_confirmed or self._is_confirmed
        done = self._pursue(at, now) if is_wanted else self._end(at, now)
        media = [statement.media for statement in self._statements]
        self.renewing = frozenset.intersection(*media) if media else None
        return done + self._judge_cut(at, now) + self._tell(now)

    # --- cut off ----------------------------------------------------------------------------------

    @property
    def _is_stopped_first(self) -> bool:
        policy = self._policy or self._armed_by
        return policy is not None and policy.on_lost is OnLost.STOP

    @property
    def _is_watched(self) -> bool:
        """True while this node's services are to be stopped should nothing confirm any more."""
        return self._is_stopped_first and self._watchdog is Watchdog.ARMED

    @property
    def cut_off(self) -> str:
        """Say that nothing confirms that this node lives, as a clause; empty if that is not so."""
        return self._cut.text

    @property
    def is_stop_due(self) -> bool:
        """True while only the end of all that runs here keeps the watchdog from resetting it."""
        return self._cut.since is not None and self._watchdog is not Watchdog.OFF

    def restart(self) -> None:
        """Expect no answer to what was asked before: this node stood still."""
        self._cut.restart()

    def _cut_due_at(self) -> float | None:
        """Return when this node will be cut off unless something confirms; None if that is open."""
        policy, ready, earliest = self._policy or self._armed_by, self._ready, -math.inf
        if policy is not None and ready is not None and policy.stop_s is not None:
            # It was petted for that renewal, then or later.
            earliest = self._renewed_at + cut_off_after_s(
                self._interval_s, self._answer_s, ready.timeout_s, policy.stop_s
            )
        return self._cut.due_at(self._interval_s, self._answer_s, earliest)

    def _judge_cut(self, at: Circumstances, now: float) -> list[Action]:
        """Find out whether this node is cut off; return the record of a change."""
        cut = self._cut
        if not self._is_watched:
            cut.restart()
        due_at = self._cut_due_at()
        if due_at is not None and now >= due_at and at.is_in_use and at.goodbye is Goodbye.NONE:
            cut.begin(now)
        is_told, cut.is_told = cut.is_told, cut.since is not None
        if is_told is cut.is_told:
            return []
        if not cut.is_told:
            text = "it was cut off; services may be started here again"
            return [self._record("CONFIRMED", text, True)]
        left_s = 0.0 if self._ready is None else self._renewed_at + self._ready.timeout_s - now
        text = f"{cut.text}: what runs here is stopped, in the {left_s:.1f} s until it is reset"
        return [self._record("CUT OFF", text, True)]

    def _why_not(self, at: Circumstances) -> str:
        """Return why nothing is to be promised; empty if something is."""
        policy, armed_by = self._policy, self._armed_by
        if policy is None:
            return "it is not configured any more"
        if armed_by is not None and _kept_by(armed_by) != _kept_by(policy):
            return "its configuration was changed"
        if not self._media:
            return (
                "its disk was replaced: the new one counts once the daemon is started again"
                if self._replaced
                else "there is neither a disk link nor a witness by which it could be renewed"
            )
        is_bequest = at.is_in_use and self._current is not None
        if at.goodbye is Goodbye.LEFT or (at.goodbye is Goodbye.RESTART and not is_bequest):
            return "the daemon ends"
        if not at.is_in_use and not at.is_start_near:
            return "no service runs here"
        if self._peer_out:
            return f"{self._peer} is out: {self._peer_out}"
        # A promise that was made is kept while the peer's daemon is started again.
        return at.peer_problem if self._current is None else ""

    def _pursue(self, at: Circumstances, now: float) -> list[Action]:
        """Arm the watchdog, and promise by it."""
        assert self._policy is not None
        self._is_ending = False
        done: list[Action] = []
        is_free = self._watchdog in (Watchdog.OFF, Watchdog.TAKEN_OVER)
        if is_free or (self._watchdog is Watchdog.LOST and now >= self._retry_at):
            self._watchdog, self._armed_by = Watchdog.ARMING, self._policy
            self._asked_at, self._granted_at = -math.inf, None
            self._orders += 1
            done.append(ArmWatchdog(self._policy.timeout_s, self._orders))
        if self._watchdog is not Watchdog.ARMED:
            done += self._say(None, self._lost_reason, at, now)
            is_given_up = self._watchdog is Watchdog.LOST and not self._standing
            return done + (self._disarm(self._lost_reason) if is_given_up else [])
        self._is_left_running = False
        return done + self._say(self._wanted(at, now), "", at, now)

    def _end(self, at: Circumstances, now: float) -> list[Action]:
        """Withdraw, and disarm the watchdog once that is confirmed."""
        # The peer was not heard yet by a daemon that has taken the watchdog over.
        if (
            self._watchdog is Watchdog.TAKEN_OVER
            and self._why == at.peer_problem
            and now < self._changed_at + timing.LEASE_TAKEOVER_S
        ):
            return []
        self._is_ending = True
        done = self._say(None, self._why, at, now)
        if at.is_peer_gone:
            self._standing = ()
        is_late = self._settled_at is not None and now >= self._settled_at
        is_left = (is_late or self._cut.since is not None) and not at.is_in_use
        if self._standing and not is_left:
            return done
        # Where nothing runs any more, nothing can break a promise. A node that continues lets it
        # stand, until its peer knows better.
        if is_late or not self._standing:
            self._standing, self._floor = (), (0.0, -math.inf)
        self._is_left_running = self._is_left_running or self._watchdog in _KEPT
        done += self._disarm(self._why)
        self._watchdog, self._armed_by, self._ready = Watchdog.OFF, None, None
        self._granted_at, self._lost_reason = None, ""
        return done

    def _disarm(self, why: str) -> list[Action]:
        """Return the order to stop a watchdog that may run."""
        if not self._is_left_running:
            return []
        self._is_left_running = False
        self._orders += 1
        return [DisarmWatchdog(), self._record("DISARMED", why, False)]

    def is_awaited(self, now: float) -> bool:
        """Return True while a start waits until the promise is confirmed."""
        is_due = self._is_wanted and self._watchdog is not Watchdog.LOST
        is_confirmed = self._was_confirmed or self._is_confirmed
        return is_due and not is_confirmed and now < self._given_up_at

    def holds_back(self, now: float) -> bool:
        """Return True while a daemon that would say goodbye has to wait for its promise."""
        is_settled = self._may_hold or self._watchdog not in _KEPT
        return self._settled_at is not None and not is_settled and now < self._settled_at

    @property
    def _may_hold(self) -> bool:
        """True if the peer waits for a daemon that is started again."""
        is_known = self._is_confirmed and not self._standing
        return self._goodbye is Goodbye.RESTART and is_known and self._watchdog is Watchdog.ARMED

    def leave(self) -> list[Action]:
        """Return what becomes of the watchdog when the daemon says its first goodbye."""
        if self._watchdog not in _KEPT:
            return []
        if self._may_hold and self._current is not None:
            self._is_held = True
            # Counted from the first beat that said so: the peer counts from that one, or later.
            return [HoldWatchdog(self._current.at + timing.RESTART_HOLD_S)]
        text = (
            "the daemon ends, and could not let the peer know: the watchdog resets this node"
            " unless a daemon is back before"
        )
        return [self._record("LEFT ARMED", text, True)]

    def deadlines(self, now: float) -> list[float]:
        """Return the instants at which time alone changes something."""
        if not self.is_active:
            return []
        times = [self._floor[1]]
        if self._settled_at is not None:
            times.append(self._settled_at)
        if self._is_asking:
            times.append(self._asked_at + self._interval_s)
        due_at = self._cut_due_at()
        if due_at is not None:
            times.append(due_at)
        if self._is_wanted and not self._was_confirmed:
            times.append(self._given_up_at)
        if self._watchdog is Watchdog.LOST and self._is_wanted:
            times.append(self._retry_at)
        if self._watchdog is Watchdog.TAKEN_OVER:
            times.append(self._changed_at + timing.LEASE_TAKEOVER_S)
        times += [statement.ended_at + timing.LEASE_CONFIRM_S for statement in self._standing]
        return [at for at in times if at > now]

    # --- showing ----------------------------------------------------------------------------------

    def _tell(self, now: float) -> list[Action]:
        """Report once why a start does not wait any longer."""
        told, self._told = self._told, ""
        if not self._is_wanted or self._was_confirmed or now < self._given_up_at:
            return []
        self._told = self._explain(now)
        if told or self._watchdog is Watchdog.LOST:
            return []
        return [self._record("NO PROMISE", f"{self._told}: starts do not wait for it", True)]

    def _explain(self, now: float) -> str:
        """Return why no promise is in force; empty if one is."""
        if self._why:
            return self._why
        if self._watchdog is Watchdog.LOST:
            return self._lost_reason
        if self._watchdog is Watchdog.ARMING and self._granted_at is None:
            return "no beat was confirmed yet: the watchdog is opened with the first one that is"
        if self._watchdog is not Watchdog.ARMED:
            return "the watchdog is being armed"
        return "" if self._is_confirmed else "it is announced, and not confirmed yet"

    def status(self, now: float) -> LeaseStatus | None:
        """Return what this node promises, as shown to operators; None without a lease."""
        if not self.is_active:
            return None
        policy, ready, promise = self._armed_by or self._policy, self._ready, self.promise
        margin_s = (
            None
            if ready is None or self._granted_at is None
            else self._granted_at + ready.timeout_s - now
        )
        least_s = min(self._least_margin_s, self._former_margin_s)
        return LeaseStatus(
            watchdog=self._watchdog.value,
            name="" if ready is None else ready.name,
            timeout_s=None if ready is None else ready.timeout_s,
            answer_s=None if policy is None else policy.answer_s,
            death_s=None if promise is None else promise.death_s,
            is_virtual=ready is not None and ready.is_virtual,
            is_confirmed=self._is_confirmed,
            is_withdrawing=bool(self._standing),
            permit_at=self._granted_at,
            permit_by="" if self._granted_at is None else self._granted_by,
            margin_s=margin_s,
            least_margin_s=None if least_s == math.inf else least_s,
            why_not=self._explain(now),
            cut_off=self._cut.text,
            stops=self._is_stopped_first,
        )

    def _record(self, what: str, text: str, is_alarm: bool) -> Record:
        return Record(RecordKind.NODE, self._node, "", what, text, is_alarm)


def _kept_by(policy: LeasePolicy) -> tuple[object, ...]:
    """Return what cannot be changed of a watchdog while something is promised by it."""
    return policy.device, policy.timeout_s, policy.answer_s, policy.holders


def _named(ready: WatchdogReady) -> str:
    return f"{ready.name} of {ready.timeout_s:g} s"
