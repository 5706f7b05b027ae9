"""Run the decisions of one node: one ``step`` per event, which returns all that follows from it.

Ends of scripts of different services may share one (``step_all``), and so may an order for many
services: their states are written with one wait for the disk, and announced with one beat.

The public interface of core is ``step``, ``beat``, ``next_deadline`` and ``snapshot``. ``now`` is
in monotonic seconds and given by the caller, which must call ``step`` no later than
``next_deadline``. A late call counts as a stall of this node: then there is no verdict about the
peer until every link has been listened to for its full timeout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from opensvc_openha.core import confirmation, giving_up, start_problems, timing
from opensvc_openha.core.actions import (
    Action,
    Announce,
    Answer,
    ArmWatchdog,
    DisarmWatchdog,
    Exit,
    GrantPermit,
    HoldWatchdog,
    MirrorPeer,
    Persist,
    Record,
    RecordKind,
    RememberFencing,
    RememberIncarnations,
    RenewWitness,
    RunFenceStep,
    RunScript,
    WithdrawWitness,
)
from opensvc_openha.core.announcer import Announcer, Report
from opensvc_openha.core.beat import Beat, BootId, Causality, Goodbye
from opensvc_openha.core.configuration_marks import ConfigurationDifferences
from opensvc_openha.core.connectivity import OwnConnectivity, ReachSight
from opensvc_openha.core.data_disks import DataDisks
from opensvc_openha.core.departure import Departure
from opensvc_openha.core.drill_notes import DrillNotes
from opensvc_openha.core.evacuation import NOT_EVACUATED, Evacuation
from opensvc_openha.core.events import (
    BeatFound,
    BeatReceived,
    ConfigChanged,
    DisksLooked,
    DrillOrder,
    DrillOrdered,
    Ejected,
    EvacuationSet,
    Event,
    ExpectedBeats,
    FencePathsLooked,
    FenceStepEnded,
    FenceTried,
    LeaveRequested,
    ListenerTried,
    MediaReplaced,
    MediumQuiet,
    MediumUnread,
    PeerConfirmedOut,
    PeerForgotten,
    ReadinessFound,
    Readmitted,
    RecoveredState,
    RenewalConfirmed,
    ScriptExited,
    ScriptKind,
    SendersMuted,
    ServiceEvent,
    SlotOpened,
    TargetsAsked,
    Tick,
    WatchdogLost,
    WatchdogReady,
)
from opensvc_openha.core.expected_beat import ExpectedBeat
from opensvc_openha.core.fail_back import FailBacks, moving_service
from opensvc_openha.core.fence_plan import PlanEnd
from opensvc_openha.core.fencing import Fencing
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.lateness import Lateness
from opensvc_openha.core.lease_owner import Circumstances, LeaseOwner
from opensvc_openha.core.lease_view import PeerPromise
from opensvc_openha.core.managed_services import ManagedServices
from opensvc_openha.core.model import ClusterSpec, ServiceSpec
from opensvc_openha.core.own_silence import OwnSilence
from opensvc_openha.core.peer_watch import PeerWatch
from opensvc_openha.core.peer_word import PeerWord
from opensvc_openha.core.service_machine import Moment
from opensvc_openha.core.service_mismatch import ServiceMismatch
from opensvc_openha.core.start_problems import StartProblems
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import FencingStatus, NodeStatus, PeerStanding, Sight
from opensvc_openha.core.stay import Stay
from opensvc_openha.core.transitions import Trigger
from opensvc_openha.core.work_list import WorkList

# An announced state must survive a crash, and a script may only act on an announced state.
# A permit needs nothing of the step: the watchdog does not wait.
_ORDER = (
    GrantPermit,
    Persist,
    RememberIncarnations,
    RememberFencing,
    Announce,
    ArmWatchdog,
    RenewWitness,
    WithdrawWitness,
    HoldWatchdog,
    DisarmWatchdog,
    MirrorPeer,
    RunScript,
    RunFenceStep,
    Record,
    Answer,
    Exit,
)


_ROUND_ENDS = {PlanEnd.FAILED: Trigger.FENCE_FAILED, PlanEnd.LOST: Trigger.FENCE_LOST}


@state_marks(
    not_state={"spec", "boot", "_stepped_at", "_deadline", "_seq_before", "_sight"},
    own_seqs={"_clear_seq"},
)
class Engine:
    """Decide for all services of one node."""

    def __init__(
        self,
        spec: ClusterSpec,
        boot: BootId,
        recovered: Mapping[str, RecoveredState],
        now: float,
        known_incarnations: Mapping[str, BootId] | None = None,
        kept: tuple[ServiceSpec, ...] = (),
        fencing: FencingMemory = FencingMemory(),  # noqa: B008 - frozen
        evacuation: Evacuation = NOT_EVACUATED,
    ) -> None:
        """Set up the services of ``spec`` and those of ``kept``.

        ``kept`` holds services that ``spec`` no longer has, but that may still run here: they are
        managed until they are stopped.
        """
        self.spec = spec
        self.boot = boot
        self._peer = PeerWatch(spec, boot, known_incarnations or {}, now)
        self._fencing = Fencing(spec, fencing, now)
        self._services = ManagedServices(spec, kept, recovered, self._fencing, now)
        self._problems = StartProblems()
        self._mismatch = ServiceMismatch(spec.node, spec.peer)
        self._configuration = ConfigurationDifferences(spec)
        self._announcer = Announcer(spec, boot, now)
        self._departure = Departure(now)
        self._lease = LeaseOwner(spec, now)
        self._was_promise_due = False
        self._was_cut_off = ""
        self._left_waiting: frozenset[str] = frozenset()
        """Services whose round of the fence plan is over, and which were looked at since."""
        self._disks = DataDisks()
        self._connectivity = OwnConnectivity(spec, now)
        self._reach = ReachSight()
        self._silence = OwnSilence(spec.node, spec.peer)
        self._fail_backs = FailBacks()
        self._drill = DrillNotes(spec.node, spec.peer)
        self._evacuation = evacuation
        self._lateness = Lateness(now)
        self._stepped_at = now
        self._deadline: float | None = None
        """What ``next_deadline`` has worked out since it last could change."""
        self._seq_before = 0
        self._sight: Sight | None = None
        self._is_begun = False
        self._clear_seq: int | None = None
        """Since which beat an ejected node runs nothing."""
        self._work = WorkList()
        self._work.update_announced(list(self._services), self._services, self._moment(now))

    @property
    def seq(self) -> int:
        """Number of the newest beat."""
        return self._announcer.seq

    def _moment(self, now: float) -> Moment:
        return Moment(
            now,
            self._peer.view,
            self._departure.leaving,
            self.seq + 1,
            self._lease.is_awaited(now),
            self._disks,
            self.sends_nothing,
            self._silence.why_not,
            self._lease.cut_off,
            self._lease.is_stop_due,
            self._evacuation,
            self._fail_backs.chosen,
            self._fail_backs.why_unsettled,
            self._fail_backs.moving,
            self._reach,
            self._drill.refusal(now),
        )

    # --- the step ---------------------------------------------------------------------------------

    def step(self, event: Event, now: float) -> list[Action]:
        """Handle one event at ``now``.

        Returns the resulting actions in the order of ``_ORDER``: persist, then announce, then run
        and answer.
        """
        return self.step_all((event,), now)

    def step_all(self, events: Sequence[Event], now: float) -> list[Action]:
        """Handle one event, or those that ``shared_step`` chose, at ``now``.

        It is one step all the same: what follows for other services, the verdict on the peer and
        the beat come once, after the last event. It is as late as the last event, or the deadline:
        expected beats wait on purpose.
        """
        # The last goodbye has left: every further action would contradict it.
        if self._departure.is_over:
            return []
        self._sight, self._stepped_at, self._seq_before = None, now, self.seq
        view, work, services = self._peer.view, self._work, self._services

        # First of all: what this node missed while it stood still must not become a verdict.
        done = self._doubt_own_services(now) + self._notice_stall(events[-1], now)
        was_doubted = view.is_departure_doubted
        view.advance(now)
        if view.is_departure_doubted is not was_doubted:
            work.mark_all()
        if not self._is_begun:
            self._is_begun = True
            former = self._fencing.formerly_confirmed_by
            if former:
                done += self._confirmation_ended(former, "the daemon was started again")
            done += services.begin(self._moment(now))
        for event in events:
            done += self._handle(event, now)
        lost = self._fencing.desk.overdue_step(now)
        if lost is not None:
            work.mark_all()
            done += self._end_fence_step(lost, now)
        # After the event, so that a beat just received counts before links expire.
        done += self._judge_peer(now)
        done += self._judge_reach(now)
        done += self._end_drill(now)
        done += self._continue_round(now)
        done += self._keep_promise(now)
        self._choose_fail_back(now)
        if work.is_dirty:
            done += self._mismatch.update(services.keys(), view)
            has_same_services = not self._mismatch.own_only and not self._mismatch.peer_only
            done += self._configuration.update(view, has_same_services)

        # One transition a step: each state is written and announced before the next.
        just_moved = _services_written(done)
        names = work.chosen(services, now)
        moved: list[Action] = []
        # What a goodbye announces must stay true: nothing moves after it.
        if not self._departure.is_announced:
            still = [name for name in names if name not in just_moved]
            moved = services.evaluate(still, self._moment(now)) + services.mirror(names, view)
        work.update_deadlines(names, services, self._moment(now))
        if work.update_announced(names, services, self._moment(now)):
            self._announcer.has_news = True
        # The nodes agree on who fences first while they hear each other. This alone is no reason
        # for an extra beat.
        if names or isinstance(events[0], (BeatReceived, ExpectedBeats)):
            self._fencing.update_turn(work.announced, view, self.seq + 1)
        work.finish(just_moved | _services_written(moved))
        done += moved
        if moved:
            done += self._update_promise(now)
        done += self._keep_silent(now)
        if not self._departure.is_announced:
            done += self._fencing.ask_for_power(view, now)
            if self._fencing.desk.is_configured:
                done += self._carry_out_plan(now)
                self._note_clear()

        # A start must not wait for a write that it does not need: the peer's evidence ages
        # meanwhile.
        is_start = view.standing is PeerStanding.LIVE and any(
            isinstance(action, RunScript) and action.kind is ScriptKind.START for action in done
        )
        if not is_start and self._fencing.has_news(now):
            done.append(RememberFencing(self._fencing.memory))
        done += self._speak(done, now)
        self._stepped_at, self._deadline = now, None
        self._lateness.expected_at = self.next_deadline()
        return sorted(done, key=lambda action: _ORDER.index(type(action)))

    def next_deadline(self) -> float:
        """Return when ``step`` must be called again, with a Tick if nothing else happens."""
        if self._deadline is None:
            self._deadline = self._worked_out_deadline()
        return self._deadline

    def _worked_out_deadline(self) -> float:
        now = self._stepped_at
        if self._work.is_waiting:
            return now
        beat_at, *notices_at = self._announcer.deadlines(self._departure.is_announced, now)
        if self.sends_nothing:
            # No beat is due: looked at again at the usual interval.
            beat_at, notices_at = now + timing.PACES[self.spec.profile].beat_interval_s, []
        times = [
            self._fencing.power_due_at(self._peer.view),
            self._fencing.step_due_at(self._peer.view, now),
            self._fencing.desk.lease.next_deadline(now),
            self._connectivity.next_deadline(self._peer.view, now),
            self._peer.monitor.next_deadline(now),
            self._peer.view.next_deadline(now),
            self._departure.deadline,
            self._fail_backs.next_deadline(bool(self._work.away)),
            *notices_at,
            *self._lease.deadlines(now),
            *self._drill.deadlines,
            *self._work.deadlines.values(),
        ]
        # The last step has already acted on deadlines in the past.
        return min([beat_at, *(at for at in times if at is not None and at > now)])

    # --- stalls of this node ----------------------------------------------------------------------

    def _doubt_own_services(self, now: float) -> list[Action]:
        """Doubt own services after the peer heard nothing for its timeout.

        It may have taken them over.
        """
        mute_s = now - self._announcer.beat_at
        if not self.seq or mute_s < self._announcer.peer_patience_s:
            return []
        self._work.mark_all()
        self._fencing.void_proofs()
        how = "kept silent" if self.sends_nothing else "was stalled"
        text = f"this node {how} for {mute_s:.1f} s"
        # Counted from the next beat: only that one shows that the peer has heard this node since.
        for machine in self._services.values():
            machine.void_proof(self.seq + 1)
            machine.mark_ownership_unconfirmed(text, self.seq + 1)
        return self._end_confirmation(f"{text}, and may have missed a sign of life")

    def _notice_stall(self, event: Event, now: float) -> list[Action]:
        """Detect a stall of this node.

        During one it did not listen, so that silence proves nothing.
        """
        monitor = self._peer.monitor
        waited_from = event.waited_from if isinstance(event, BeatReceived) else None
        late_s = self._lateness.record(now, waited_from)
        shortest_s, limit_s = monitor.shortest_timeout_s, monitor.stall_limit_s
        if shortest_s is None or limit_s is None or not self._is_begun or late_s < limit_s:
            return []
        monitor.hold(now)
        self._lease.restart()
        self._disks.restart(now)
        self._fail_backs.restart()
        self._connectivity.restart(now)
        self._peer.view.doubt_goodbye(monitor.all_heard_at)
        self._fencing.void_proofs()
        for machine in self._services.values():
            machine.void_proof(self.seq + 1)
        self._work.mark_all()
        if not self._lateness.record_stall(now, shortest_s):
            return []
        text = (
            f"stalled for {late_s:.1f} s: no verdict about the peer before it was listened to for a"
            " full timeout"
        )
        return [Record(RecordKind.NODE, self.spec.node, "", "STALLED", text, is_alarm=True)]

    def mark_busy_until(self, until: float) -> None:
        """Record that the last step's actions took until ``until``, with listeners running.

        The node is late, but was not deaf: beats missed meanwhile wait in the inbox and are handled
        before any new verdict. If a slow disk counted as a stall, each start would be undone by the
        write that it has to wait for.
        """
        self._lateness.mark_busy_until(until)
        self.beats_wait(until)

    def beats_wait(self, now: float) -> None:
        """Delay verdicts.

        Received beats wait, and this step does not know yet what they contain.
        """
        self._deadline = None
        self._peer.monitor.wait_until(now + timing.BACKLOG_S)

    def is_verdict_due(self, now: float) -> bool:
        """Return True if a step at ``now`` calls a link down or the peer silent without a beat."""
        return self._peer.monitor.is_verdict_due(now)

    def record_unread(self, is_unread: bool) -> None:
        """Record, for the next step, whether something may have come in that nobody has read.

        Verdicts wait for it, for ``BACKLOG_S`` seconds at most: a flood never ends.
        """
        self._deadline = None
        self._peer.monitor.record_unread(is_unread)

    # --- what happens -----------------------------------------------------------------------------

    def _handle(self, event: Event, now: float) -> list[Action]:
        if isinstance(event, Tick):
            return []
        if isinstance(event, BeatReceived):
            return self._take_beat(event, now)
        if isinstance(event, ExpectedBeats):
            return [action for beat in event.beats for action in self._take_beat(beat, now)]
        if isinstance(event, SendersMuted):
            return self._announce_muted(event)
        if isinstance(event, ListenerTried):
            return self._peer.record_listener(event, now)
        if isinstance(event, ServiceEvent):
            return self._handle_for_service(event, now)

        if isinstance(event, DisksLooked):
            self._work.mark(event.looks.keys() | self._disks.watched)
            return [*self._disks.record(event, now, self.seq + 1)]
        if isinstance(event, TargetsAsked):
            return [*self._connectivity.record(event, now, self.seq + 1)]
        if isinstance(event, FencePathsLooked):
            is_heard = self._peer.view.standing is PeerStanding.LIVE
            self._fencing.desk.record_looks(event, is_heard, now)
            return []

        if isinstance(event, RenewalConfirmed):
            return [*self._lease.confirmed(event, now)]
        if isinstance(event, WatchdogReady):
            self._lease.watchdog_ready(event, now)
            return []
        if isinstance(event, WatchdogLost):
            return self._lease.watchdog_lost(event, now)
        if isinstance(event, MediumQuiet):
            self._fencing.desk.lease.record_quiet(event)
            return []
        if isinstance(event, MediumUnread):
            self._fencing.desk.lease.record_unread(event)
            return []
        if isinstance(event, SlotOpened):
            self._fencing.desk.lease.record_opened(event)
            return []
        if isinstance(event, BeatFound):
            self._fencing.desk.lease.record_found(event, self._peer.view)
            return []
        if isinstance(event, MediaReplaced):
            self._lease.media_replaced(event)
            return []

        self._work.mark_all()
        if isinstance(event, FenceStepEnded):
            return self._end_fence_step(event, now)
        if isinstance(event, FenceTried):
            self._fencing.note_tried(event)
            return []
        if isinstance(event, Ejected):
            self._clear_seq = None
            return self._fencing.desk.eject(event.by)
        if isinstance(event, Readmitted):
            return self._fencing.desk.readmit()
        if isinstance(event, PeerConfirmedOut):
            return self._confirm(event, now)
        if isinstance(event, DrillOrdered):
            return self._take_drill(event, now)
        if isinstance(event, EvacuationSet):
            return self._set_evacuation(event.evacuation)
        if isinstance(event, ConfigChanged):
            # A goodbye names the services and their states, and must stay true.
            return [] if self._departure.is_announced else self._reconfigure(event, now)
        if isinstance(event, ReadinessFound):
            self._fencing.power.answerable = event.reports_power
            return self._problems.update(event.problems, self._services)
        if isinstance(event, PeerForgotten):
            self._peer.filter.incarnations.forget()
            return self._peer.filter.remember()
        assert isinstance(event, LeaveRequested)
        self._departure.order(event.leaving, now)
        return []

    def _handle_for_service(self, event: ServiceEvent, now: float) -> list[Action]:
        self._work.mark((event.service,))
        if isinstance(event, ScriptExited):
            if event.kind is ScriptKind.POWER:
                self._work.mark_all()
                return self._fencing.power_answered(event, now)
            # The end of a fence matters to every service that waits for it.
            if self._fencing.flight is not None and event.kind is ScriptKind.CHECK:
                self._work.mark_all()
        return self._services.handle(event, self._moment(now))

    def _take_beat(self, event: BeatReceived, now: float) -> list[Action]:
        # Beats under this node's own name, or a stranger's, say nothing of the peer.
        if event.beat.node != self.spec.peer:
            return []
        lease = self._fencing.desk.lease
        # Whatever becomes of the beat: a peer that sends has not died yet.
        lease.record_life(event.received_at)
        if event.link not in self._peer.monitor:
            return []
        # Before any check: even a rejected beat contradicts an operator who confirmed the peer out.
        done = self._end_confirmation("a beat of it came in")
        received = self._peer.receive(event, self.seq, now)
        # Answer a new incarnation at once: it can acknowledge only beats that it has heard.
        if received.wants_greeting:
            self._announcer.request_greeting()
        newest = self._peer.view.newest
        if event.key_id and newest is not None and newest.boot == event.beat.boot:
            lease.record_beat(event.link, newest.boot)
        elif event.key_id and not self._peer.view.is_past(event.beat.boot):
            lease.record_other(event.beat.boot)
        beat = received.beat
        if beat is None:
            if event.key_id and not self._peer.view.is_over(event.beat.boot):
                lease.record_refused(event.beat)
            return done + received.actions

        self._fencing.record_heard(self._peer.view, event.received_at)
        if received.concerns_all:
            self._work.mark_all()
        self._work.mark(received.moved)
        self._work.mark(self._fencing.desk.plan.waiting)
        # A C OpenHA acknowledges nothing: each of its beats counts for a service that waits.
        if received.is_ack_new or beat.is_legacy:
            self._work.mark(self._work.unacknowledged)
        ack = beat.ack
        if event.key_id and ack is not None and ack.is_taken and ack.boot == self.boot:
            done += self._lease.acknowledged(ack.seq, now)
        notice = self._announcer.notice
        # A new incarnation knows nothing of this node: acknowledge at once, and repeat notices.
        if received.is_new_incarnation:
            notice.repeat()
            if not beat.is_legacy:
                notice.offer_facts()
        if beat.facts is not None:
            notice.facts_are_taken()
        if received.is_new_incarnation or beat.wants_ack:
            self._announcer.request_ack()
        return done + received.actions

    @property
    def expected(self) -> ExpectedBeat | None:
        """What a beat of the peer has that may wait for the next step; None while none may.

        Nothing is to be done for it then but to know when it came in: whatever waits for something
        of the peer, or is in flux, takes each beat at once.
        """
        work = self._work
        if (
            not self._is_begun
            or work.is_waiting
            or work.unacknowledged
            or work.starting
            or work.given_up
            or work.away
            or self._departure.leaving is not None
            or self._lease.is_active
            or self._silence.services
            or self._drill.deadlines
            or self._connectivity.is_isolated
            or not self._fencing.is_settled(self._peer.view)
        ):
            return None
        return self._peer.expected(self.seq)

    def _announce_muted(self, event: SendersMuted) -> list[Action]:
        """Announce on the other links that this node cannot send on some."""
        return [
            Record(
                RecordKind.LINK,
                link.link_id,
                "",
                "MUTE",
                f"{link.device} is down here: reported to the peer",
            )
            for link in self._announcer.notice.take(event.links, self.spec.senders)
        ]

    def _judge_peer(self, now: float) -> list[Action]:
        view, before = self._peer.view, self._peer.view.standing
        done = self._peer.judge(self._announcer.peer_patience_s, now)
        self._fencing.judge(view)
        is_cut_off = bool(self._lease.cut_off)
        is_lease_new, proved = self._fencing.judge_lease(view, now, is_cut_off)
        done += proved
        if is_lease_new:
            self._work.mark_all()
        is_new = view.standing is not before
        # A peer that left services running counts as silent once it should be back.
        if is_new or (view.standing is PeerStanding.DEPARTED and view.silent_since is not None):
            self._work.mark_all()
        if is_new and view.standing is not PeerStanding.LIVE:
            self._fencing.desk.paths.record_silence()
        if is_new and view.standing is PeerStanding.SILENT:
            done += self._fencing.boot_block_records(now)
        return done

    def _judge_reach(self, now: float) -> list[Action]:
        """Work out what follows of the targets, and let all services follow what is new of that."""
        connectivity, view = self._connectivity, self._peer.view
        if connectivity.policy is None and self._reach == ReachSight():
            return []
        done = connectivity.advance(now)
        connectivity.observe(view, now)
        before, self._reach = self._reach, connectivity.sight(view, now)
        self._fencing.is_isolated = connectivity.is_isolated
        if self._reach != before:
            self._work.mark_all()
        if bool(self._reach.isolated) is not bool(before.isolated):
            self._announcer.has_news = True
        return [*done]

    def _reconfigure(self, event: ConfigChanged, now: float) -> list[Action]:
        spec = event.spec
        fixed = self.spec.node, self.spec.peer
        assert (spec.node, spec.peer) == fixed, "the nodes of a running daemon are fixed"
        self._announcer.reconfigure(spec, now)
        done = self._services.reconfigure(spec, event.recovered, self._moment(now))
        self.spec = spec
        self._configuration.reconfigure(spec)
        if spec.connectivity != self._connectivity.policy:
            self._connectivity = OwnConnectivity(spec, now)
        self._fencing.reconfigure(spec)
        self._lease.reconfigure(spec)
        self._peer.monitor.update(spec.listeners, now)
        return done

    def _choose_fail_back(self, now: float) -> None:
        """Choose the service that goes back to its primary now: one after the other."""
        fail_backs, work, services = self._fail_backs, self._work, self._services
        view, away = self._peer.view, sorted(work.away & services.keys())
        monitor, listeners = self._peer.monitor, self.spec.listeners
        why_differ = self._configuration.why_policies_differ(view) if work.away else ""
        fail_backs.update(bool(work.away), view, monitor, listeners, why_differ, now)
        if not fail_backs.is_settled or fail_backs.is_new:
            for name in away:
                services[name].forget_readiness()
        if not fail_backs.is_settled or not fail_backs.is_look_due(now):
            return
        fail_backs.moving = moving_service(work.announced, view.states)
        at = self._moment(now)
        due_at = {}
        for name in away:
            instant = services[name].fails_back_at(at)
            if instant is not None:
                due_at[name] = instant
        fail_backs.look_again(due_at.values(), now)
        due = [name for name, instant in due_at.items() if instant <= now]
        if due and not fail_backs.moving and self._departure.leaving is None:
            fail_backs.chosen = due[0]
            work.mark(due[:1])

    def _keep_silent(self, now: float) -> list[Action]:
        """Fall silent for services that can only be taken from a dead node, or speak again."""
        is_over = self._departure.leaving is not None
        given_up = self._work.given_up
        if not given_up and not self._silence.services:
            return []
        why_never = self._configuration.why_not_silent(self._peer.view)
        at = self._moment(now)
        done = self._silence.update(self._services, given_up, is_over, at, why_never)
        if done:
            self._work.mark_all()
        return [*done]

    # --- a drill ----------------------------------------------------------------------------------

    def _take_drill(self, event: DrillOrdered, now: float) -> list[Action]:
        """Take a note of a drill, or end one; or the word that its peer has stopped everything."""
        if event.order is DrillOrder.PEER_STOPPED:
            why = self._drill.why_no_word(now)
            if why:
                return [self._drill.answer(event, why)]
            word = PeerConfirmedOut(event.command_id, event.who, event.at_latest)
            return self._confirm(word, now, is_of_drill=True)
        done = self._drill.order(
            event, self._peer.view, self._why_no_drill, self._services.is_busy, now
        )
        # The other node plays dead only by what it hears of that.
        self._announcer.has_news = True
        return done

    @property
    def _why_no_drill(self) -> str:
        """Why this node takes part in no drill now; empty if it may."""
        newest = self._peer.view.newest
        if self._departure.leaving is not None:
            return "its daemon is leaving"
        if self._lease.is_active or self._silence.services:
            return "a watchdog resets a node that is not heard, or does not hear"
        if newest is None or newest.is_legacy:
            return f"{self.spec.peer} acknowledges nothing"
        return ""

    def _end_drill(self, now: float) -> list[Action]:
        """End the notes of a drill that are over."""
        done = self._drill.advance(self._peer.view, self._departure.leaving is not None, now)
        self._fencing.held_until = self._drill.held_until
        if done:
            self._work.mark_all()
        if self._drill.is_word_over(now):
            done += self._end_confirmation("the time of the drill is over")
        return done

    # --- the fence plan ---------------------------------------------------------------------------

    def _end_fence_step(self, event: FenceStepEnded, now: float) -> list[Action]:
        """Judge the end of a step; a round that proved nothing ends for those who wait."""
        end, done = self._fencing.end_step(event, now)
        trigger = _ROUND_ENDS.get(end)
        if trigger is None:
            return done
        detail = event.text if end is PlanEnd.LOST else self._fencing.desk.plan.failure
        return self._services.fence_ended(trigger, detail, self._moment(now)) + done

    def _continue_round(self, now: float) -> list[Action]:
        """Continue a round that had no step to take: it waited for the peer's promise, or fails."""
        if self._fencing.continue_round(now) is not PlanEnd.FAILED:
            return []
        detail = self._fencing.desk.plan.failure
        return self._services.fence_ended(Trigger.FENCE_FAILED, detail, self._moment(now))

    def _carry_out_plan(self, now: float) -> list[Action]:
        """Order the next step of the fence plan."""
        plan = self._fencing.desk.plan
        done = self._fencing.order_step(self._peer.view, now)
        # Whoever still waits for a round that is over, or has failed, has to be looked at again.
        # Once: what it waits for after that (its own script, say) comes as an event or in time.
        is_over = not plan.is_in_round or (plan.is_idle and not plan.waits_for_lease)
        left = frozenset(plan.waiting if is_over else ())
        self._work.mark(left - self._left_waiting)
        self._left_waiting = left
        return done

    def is_proved_by_deed(self, service: str) -> bool:
        """Return True if a deed, or an operator, proves the peer out for a service of this node."""
        specs = (svc for svc in self.spec.own_services if svc.name == service)
        return any(self._fencing.is_proved_by_deed(svc, self._stepped_at) for svc in specs)

    def _note_clear(self) -> None:
        """Note since which beat nothing runs here, for a node that was ejected."""
        if not self._fencing.desk.ejector or self._services.is_any_in_use:
            self._clear_seq = None
        elif self._clear_seq is None:
            self._clear_seq = self.seq + 1

    @property
    def may_register(self) -> bool:
        """True if this node may register on the arbiter; safe to read from any thread.

        The peer is heard and has acknowledged this incarnation; of a node that was ejected, a beat
        sent since nothing runs here.
        """
        view = self._peer.view
        if view.standing is not PeerStanding.LIVE or not self._fencing.has_heard:
            return False
        if not self._fencing.desk.ejector:
            return True
        return self._clear_seq is not None and view.newest_acked_seq >= self._clear_seq

    @property
    def wrong_paths(self) -> tuple[str, ...]:
        """The paths of the fence plan whose device is not the peer's; safe to read likewise."""
        return self._fencing.desk.paths.wrong

    @property
    def settled_services(self) -> frozenset[str]:
        """The services that are up here, not being started or stopped; safe from any thread."""
        return self._services.settled

    # --- this node's own promise ------------------------------------------------------------------

    def _keep_promise(self, now: float) -> list[Action]:
        """Arm, promise and withdraw; services whose start does not wait any more are evaluated."""
        done = self._update_promise(now)
        was_due, self._was_promise_due = self._was_promise_due, self._lease.is_awaited(now)
        if was_due is not self._was_promise_due:
            self._work.mark(self._work.starting)
        was_cut_off, self._was_cut_off = self._was_cut_off, self._lease.cut_off
        if was_cut_off != self._was_cut_off:
            self._work.mark_all()
        return done

    def _update_promise(self, now: float) -> list[Action]:
        if not self._lease.is_active:
            return []
        view, peer = self._peer.view, self.spec.peer
        goodbye = self._departure.goodbye(self._services, now)
        proved_out, is_gone = self._fencing.proved_out(now), False
        if view.standing is PeerStanding.DEPARTED and view.newest is not None:
            is_left = view.newest.goodbye is Goodbye.LEFT and not view.is_departure_doubted
            proved_out = self._peer.standing_reason if is_left else proved_out
            is_last = self._peer.filter.incarnations.is_last(view.newest.boot)
            is_gone = is_left and is_last and not view.is_unauthenticated
        problem = "" if view.takes_facts else f"{peer} is not known to understand promises"
        if view.is_unauthenticated:
            problem = f"the beats of {peer} are not authenticated"
        at = Circumstances(
            next_seq=self.seq + 1,
            is_in_use=bool(self._work.in_use),
            is_start_near=bool(self._work.starting) and view.silent_since is None,
            proved_out=proved_out,
            peer_problem=problem,
            goodbye=goodbye,
            is_peer_gone=is_gone,
        )
        return self._lease.update(at, now)

    def confirm_renewal(self, event: RenewalConfirmed, now: float) -> list[GrantPermit]:
        """Return the permit that a confirmed renewal gives while states are being written.

        The watchdog does not wait for a slow disk. Nothing else is decided meanwhile.
        """
        self._deadline = None
        return self._lease.confirmed(event, now)

    def renew_meanwhile(self, seq: int) -> list[RenewWitness]:
        """Return what a repeat with that number orders at the witness, while states are written."""
        return self._lease.renew_meanwhile(seq)

    # --- an operator's confirmation ---------------------------------------------------------------

    def _confirm(
        self, event: PeerConfirmedOut, now: float, *, is_of_drill: bool = False
    ) -> list[Action]:
        """Accept an operator's confirmation that a peer which is not heard runs nothing."""
        peer, standing = self.spec.peer, self._peer.view.standing
        why = confirmation.refusal(event, peer, standing, self._peer.standing_reason, now)
        if why:
            return confirmation.refused(event, peer, why)
        if not is_of_drill:
            self._drill.forget_word()
        self._fencing.confirm(event.who, now)
        follows = self._services.after_confirmation(self._moment(now))
        return confirmation.accepted(event, peer, standing, follows)

    def _set_evacuation(self, evacuation: Evacuation) -> list[Action]:
        before, self._evacuation = self._evacuation, evacuation
        if before == evacuation:
            return []
        self._announcer.has_news = True
        word = "EVACUATED" if evacuation.is_on else "EVACUATION ENDS"
        text = evacuation.explain(self.spec.peer) or "services may be started on this node again"
        return [Record(RecordKind.NODE, self.spec.node, "", word, text)]

    def _end_confirmation(self, why: str) -> list[Action]:
        ended = self._fencing.end_confirmation()
        if ended is None:
            return []
        self._work.mark_all()
        return self._confirmation_ended(ended.who, why)

    def _confirmation_ended(self, who: str, why: str) -> list[Action]:
        return confirmation.ended(who, why, self.spec.peer, self._peer.view.standing)

    def remembered_fencing(self, memory: FencingMemory, is_ok: bool, now: float) -> None:
        """Record whether the fencing memory that a step wanted stored is on disk."""
        self._deadline = None
        self._fencing.record_stored(memory, is_ok, now)

    # --- speaking ---------------------------------------------------------------------------------

    def _speak(self, done: list[Action], now: float) -> list[Action]:
        """Announce what the step has done, if a beat is due."""
        sent: list[Action] = []
        departure = self._departure
        goodbye = departure.goodbye(self._services, now)
        is_first = goodbye is not Goodbye.NONE and not departure.is_announced
        # What is promised must hold without a daemon.
        if is_first and self._lease.holds_back(now):
            goodbye, is_first = Goodbye.NONE, False
        if is_first:
            sent += self._lease.leave()
        if self.sends_nothing:
            # No beat, so that nothing confirms that this node lives.
            self._lease.record_silence(now)
            return []
        if goodbye is not Goodbye.NONE:
            if departure.is_announced and not self._announcer.is_goodbye_due(now):
                return []
            departure.record_goodbye()
            sent.append(self._announcer.announce(self._report(), now, goodbye))
            sent += [Exit()] if departure.is_over else []
        else:
            if any(isinstance(action, Persist) for action in done):
                self._announcer.has_news = True
            # Starts were announced before they run, and a question is urgent. Other changes may be
            # collected for a while, to spare a peer that is heard.
            is_urgent = (
                any(isinstance(action, RunScript) for action in done)
                or self._work.is_question_new
                or self._peer.view.standing is not PeerStanding.LIVE
            )
            is_due = self._announcer.is_beat_due(is_urgent, now) or self._lease.is_ask_due(now)
            if is_due:
                sent.append(self._announcer.announce(self._report(), now))
            elif self._announcer.is_notice_due(now):
                sent.append(self._announcer.announce_notice(self._report(), now))
        if sent:
            self._peer.view.own_seq = self.seq
        for action in tuple(sent):
            if isinstance(action, Announce):
                has_facts = action.beat.facts is not None
                sent += self._lease.record_beat(action.beat.seq, has_facts, now)
        return sent

    def announced_state_of(self, service: str) -> ServiceState:
        """Return the state of a service that a beat announces now."""
        return self._announced_states()[service]

    def beat(self) -> Beat:
        """Return what this node announces now, under the current sequence number."""
        return self._announcer.beat(self._report())

    def _announced_states(self) -> Mapping[str, ServiceState]:
        newest, work = self._peer.view.newest, self._work
        if newest is None or not newest.is_legacy:
            return work.announced
        # A C OpenHA cannot confirm anything, and no announcement makes it stop a copy of its own.
        own = {name: self._services[name].state for name in work.unacknowledged}
        return {**work.announced, **own}

    @property
    def _unready(self) -> frozenset[str]:
        """The services that are not to be left to this node."""
        is_evacuated = self._evacuation.is_on
        return frozenset(self._work.announced) if is_evacuated else self._problems.services

    def _report(self) -> Report:
        view, work = self._peer.view, self._work
        answering, frozen = self._disks.facts(work.announced, self._stepped_at)
        return Report(
            self._announced_states(),
            wants_ack=bool(work.unacknowledged) or self._lease.asks(self._stepped_at),
            facts=replace(
                self._fencing.facts(work.announced, self._stepped_at),
                promise=self._lease.promise,
                answering=answering,
                frozen=frozen,
                marks=self._configuration.marks,
                unready=self._unready,
                ordered=frozenset(work.left_by_order),
                connectivity=self._connectivity.facts,
                held_s=self._drill.reported_s(self._stepped_at),
            ),
            newest=view.newest,
            heard=self._peer.filter.incarnations.heard,
            is_peer_live=view.standing is PeerStanding.LIVE,
            takes_facts=view.takes_facts,
            with_names=view.states.keys() != work.announced.keys(),
        )

    def make_room(self) -> None:
        """Reserve numbers for repeats, before a step whose states another thread may write."""
        self._announcer.reserve_repeats()

    @property
    def repeat_at(self) -> float:
        """When to repeat the last beat if states are still being written; infinity if never."""
        return math.inf if self.sends_nothing else self._announcer.repeat_at

    def repeat(self, now: float) -> Announce | None:
        """Return the last beat under a new sequence number; None if there is none to repeat."""
        if self.sends_nothing:
            return None
        self._deadline = None
        announce = self._announcer.repeat(now)
        if announce is None:
            return None
        limit_s = self._peer.monitor.stall_limit_s
        if limit_s is not None and self._lateness.lateness_s(now) < limit_s:
            # The next step was expected for this beat, and the beat left in time.
            self._lateness.expected_at = max(self._lateness.expected_at, self.repeat_at)
        self._peer.view.own_seq = max(self._peer.view.own_seq, announce.beat.seq)
        self._lease.record_repeat(announce.beat.seq, announce.beat.facts is not None, now)
        return announce

    def wrote(self, now: float) -> None:
        """Record that the states of the last step are on disk."""
        self._deadline = None
        self._announcer.record_written(now)

    # --- showing ----------------------------------------------------------------------------------

    def snapshot(self, now: float) -> NodeStatus:
        """Return the full status at ``now``; instants are monotonic seconds."""
        view, kept_away = self._peer.view, self._evacuation.explain(self.spec.peer)
        services = [
            self._problems.shown(svc, view, kept_away)
            for svc in self._services.statuses(self.spec, self._moment(now))
        ]
        return NodeStatus(
            self.spec.node,
            self.spec.peer,
            0,
            view.standing,
            self._peer.standing_reason,
            tuple(self._peer.link_status(link, now) for link in self.spec.listeners),
            tuple(services),
            self._peer.filter.suspicions(now)
            + self._mismatch.warnings()
            + self._configuration.warnings()
            + self._connectivity.warnings(view)
            + start_problems.warnings(services, self.spec.peer, kept_away)
            + giving_up.warnings(services, self.spec.peer),
            own_only=self._mismatch.own_only,
            peer_only=self._mismatch.peer_only,
            fencing=self.fencing_status(now),
            lease=self._lease.status(now),
            connectivity=self._connectivity.status(view, now),
            drill=self._drill.text(now),
        )

    def is_helpless(self, now: float) -> bool:
        """Return True if this node may not fence until it is heard or an operator confirms.

        It has not heard its peer since it booted, or was ejected.
        """
        return self._fencing.is_blocked(now) or bool(self._fencing.is_ejected_by)

    def fencing_status(self, now: float) -> FencingStatus:
        """Return that part of the snapshot alone."""
        return self._fencing.status(self._peer.view, now)

    @property
    def sight(self) -> Sight:
        """Evidence at the last step, from which the history explains its decisions."""
        if self._sight is None:
            self._sight = Sight(
                self._stepped_at,
                self._peer.monitor.sights(self._stepped_at),
                self._peer.view.standing,
                self._lateness.late_s,
                self._peer.monitor.stall_limit_s,
            )
        return self._sight

    @property
    def causality(self) -> Causality:
        """What was sent and heard by now; any thread."""
        return self._causality(self.seq)

    @property
    def causality_of_step(self) -> Causality:
        """What was sent before the last step, and heard at it; beats of the step tell of it."""
        return self._causality(self._seq_before)

    def _causality(self, sent: int) -> Causality:
        newest = self._peer.view.newest
        if newest is None or newest.is_legacy:
            return Causality(self.boot, sent)
        return Causality(self.boot, sent, newest.boot, newest.seq)

    @property
    def late_s(self) -> float:
        """Lateness of the last step, in seconds."""
        return self._lateness.late_s

    @property
    def peer_standing(self) -> PeerStanding:
        """Standing of the peer; safe to read from any thread."""
        return self._peer.view.standing

    @property
    def renewing(self) -> frozenset[bytes] | None:
        """What each promise of this node names that may stand; None if none does; any thread."""
        return self._lease.renewing

    @property
    def promised(self) -> PeerPromise | None:
        """The peer's incarnation and its promise, if the fence plan uses it; from any thread."""
        return self._fencing.desk.lease.promised

    @property
    def keeps_silent(self) -> bool:
        """True while it sends nothing to be reset or fenced; safe to read from any thread."""
        return self._silence.is_kept

    @property
    def is_isolated(self) -> bool:
        """True if none of its targets answers this node; safe to read from any thread."""
        return self._connectivity.is_isolated

    @property
    def sends_nothing(self) -> bool:
        """True while this node sends nothing, for that or for a drill; safe to read likewise."""
        return self._silence.is_kept or self._drill.plays_dead

    @property
    def drill_ends(self) -> tuple[float, float]:
        """Until when this node holds its fences back, and plays dead; -inf while it does not."""
        return self._drill.held_until, self._drill.dead_until

    @property
    def is_deaf(self) -> bool:
        """True while no link could be opened; safe to read from any thread."""
        return self._peer.monitor.is_deaf

    @property
    def is_peer_silent(self) -> bool:
        """True while the rules take the peer for silent; safe to read from any thread.

        This includes a peer whose daemon said goodbye and has not come back.
        """
        return self._peer.view.silent_since is not None

    @property
    def peer_word(self) -> PeerWord:
        """What the peer said last, as of the last step; safe to read likewise."""
        return self._peer.view.word

    def state_of(self, service: str) -> ServiceState:
        """Return this node's own state of one of its services."""
        return self._services[service].state

    def taken_for(self, service: str, recovered: RecoveredState) -> RecoveredState:
        """Return what the engine would take a service for that is added now."""
        return self._services.taken_for(service, recovered)

    def peer_state_of(self, service: str) -> ServiceState:
        """Return the peer's state of a service as shown."""
        return self._peer.view.state_of(service)

    def stay_of(self, service: str) -> Stay:
        """Return why a service is not to go back to its primary, as its STATE file has it."""
        return self._services[service].stay

    def manages(self, service: str) -> bool:
        """Return True if this node manages the service."""
        return service in self._services

    def may_run(self, service: str) -> bool:
        """Return True while some of the service may be in use on this node."""
        return service in self._services and self._services[service].may_run


def _services_written(actions: list[Action]) -> set[str]:
    return {action.service for action in actions if isinstance(action, Persist)}
