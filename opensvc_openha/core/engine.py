"""Run the decisions of one node: one ``step`` per event, which returns all that follows from it.

The public interface of core is ``step``, ``beat``, ``next_deadline`` and ``snapshot``. ``now`` is
in monotonic seconds and given by the caller, which must call ``step`` no later than
``next_deadline``. A late call counts as a stall of this node: then there is no verdict about the
peer until every link has been listened to for its full timeout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from opensvc_openha.core import timing
from opensvc_openha.core.actions import (
    Action,
    Announce,
    Answer,
    AnswerCode,
    Exit,
    MirrorPeer,
    Persist,
    Record,
    RecordKind,
    RememberFencing,
    RememberIncarnations,
    RunScript,
)
from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.beat_filter import CONTRADICTION, BeatFilter
from opensvc_openha.core.configuration_marks import ConfigurationDifferences
from opensvc_openha.core.events import (
    BeatReceived,
    CommandReceived,
    ConfigChanged,
    Event,
    LeaveRequested,
    Leaving,
    ListenerTried,
    PeerConfirmedOut,
    PeerForgotten,
    ReadinessFound,
    RecoveredState,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    SeemsUp,
    SendersMuted,
    StoreFailed,
    Tick,
)
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.fencing import Fencing
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.incarnations import PeerIncarnations
from opensvc_openha.core.link_down_notice import LinkDownNotice
from opensvc_openha.core.link_monitor import LinkMonitor
from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.service_machine import Moment, ServiceMachine
from opensvc_openha.core.service_mismatch import ServiceMismatch
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import LinkStatus, NodeStatus, PeerStanding, ServiceStatus, Sight

_NAMED = 5
"""Number of services named in a warning that may concern all of them."""
_NEW_SERVICE = RecoveredState(ServiceState.FROZEN_STOP, reason="new service")


@state_marks(
    not_state={
        "spec",
        "boot",
        "seq",
        "_mirrored",
        "_leave_began",
        "_beat_at",
        "_stepped_at",
        "_expected_at",
        "_said",
        "_repeated",
        "_repeat_end",
        "_repeat_seq",
        "_out_at",
        "_told",
        "_asking",
        "_is_question_new",
        "_due",
        "_stalled_at",
        "_worked_until",
        "_late_s",
        "_sight",
        "_pace",
    }
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
    ) -> None:
        """Set up the services of ``spec`` and those of ``kept``.

        ``kept`` holds services that ``spec`` no longer has, but that may still run here: they are
        managed until they are stopped.
        """
        self.spec = spec
        self.boot = boot
        self.seq = 0
        self._monitor = LinkMonitor(spec.listeners, now)
        self._view = PeerView(boot)
        self._admission = BeatFilter(
            spec.peer, self._monitor, self._view, PeerIncarnations(boot, known_incarnations or {})
        )
        self._fencing = Fencing(spec, fencing, now)
        self._machines = {
            svc.name: self._machine(svc, recovered.get(svc.name, _NEW_SERVICE), now)
            for svc in (*spec.own_services, *kept)
        }
        self._differences = ServiceMismatch(spec.node, spec.peer)
        self._configuration = ConfigurationDifferences(spec)
        self._unready: dict[str, str] = {}
        self._kept: dict[str, ServiceSpec] = {svc.name: svc for svc in kept}
        self._mirrored: dict[str, ServiceState] = {}
        self._leaving: Leaving | None = None
        self._leave_began = now
        self._goodbyes = 0
        self._beat_at = now
        self._stepped_at = now
        self._expected_at = now
        self._said: Announce | None = None
        """The newest ordinary beat."""
        self._repeated: Announce | None = None
        """The beat that is repeated while states are written.

        The newest one before the step that writes them.
        """
        self._repeat_seq = self._repeat_end = 0
        self._out_at = now
        """When a beat left most recently, repeats included."""
        self._is_begun = False
        self._is_dirty = True
        self._told: dict[str, ServiceState] = {}
        self._asking: set[str] = set()
        self._has_news = False
        """A state has to be announced that no beat has reported yet.

        One just entered, or certain again.
        """
        self._is_question_new = False
        """The first service asks for the peer's acknowledgement.

        Further questions can wait with it.
        """
        self._note_told(list(self._machines))
        self._touched: set[str] = set()
        self._due: dict[str, float] = {}
        self._stalled_at = -math.inf
        self._worked_until = -math.inf
        self._late_s = 0.0
        self._sight: Sight | None = None
        self._is_ack_due = False
        self._is_greeting_due = False
        self._pace = timing.PACES[spec.profile]
        self._sender_timeout_s = _shortest_timeout_s(spec.senders)
        self._quick_until = now
        self._notice = LinkDownNotice()

    def _machine(self, svc: ServiceSpec, recovered: RecoveredState, now: float) -> ServiceMachine:
        role = svc.role_of(self.spec.node)
        assert role is not None, "only services of this node have a machine"
        return ServiceMachine(
            svc, role, recovered, now, timing.PACES[self.spec.profile], self._fencing
        )

    # --- the step ---------------------------------------------------------------------------------

    def step(self, event: Event, now: float) -> list[Action]:
        """Handle one event at ``now``.

        Returns the resulting actions in the order of ``_ORDER``: persist, then announce, then run
        and answer.
        """
        # The last goodbye has left: every further action would contradict it.
        if self._goodbyes >= timing.GOODBYE_REPEATS:
            return []
        self._sight, self._stepped_at = None, now
        done: list[Action] = self._notice_stall(event, now)
        was_doubted = self._view.is_departure_doubted
        self._view.advance(now)
        self._is_dirty = self._is_dirty or self._view.is_departure_doubted is not was_doubted
        if not self._is_begun:
            self._is_begun = True
            done += self._report_former_confirmation()
            for machine in self._machines.values():
                done += machine.begin(self._moment(now))
        done += self._handle(event, now)
        # After the event, so that a beat just received counts before links expire.
        done += self._judge_peer(now)
        if self._is_dirty:
            done += self._differences.update(self._machines.keys(), self._view)
            has_same_services = not self._differences.own_only and not self._differences.peer_only
            done += self._configuration.update(self._view, has_same_services)
        # One transition a step: each state is written and announced before the next.
        just_moved = {action.service for action in done if isinstance(action, Persist)}
        names = self._affected(now)
        # The content of a goodbye must stay true: nothing starts after it.
        moved = (
            [] if self._goodbyes else self._evaluate(names, now, just_moved) + self._mirror(names)
        )
        self._note_deadlines(names, now)
        self._note_told(names)
        # The nodes agree on who fences first while they hear each other. This alone is no reason
        # for an extra beat.
        if names or isinstance(event, BeatReceived):
            self._fencing.update_turn(self._told, self._view, self.seq + 1)
        self._is_dirty = False
        self._touched = just_moved | {
            action.service for action in moved if isinstance(action, Persist)
        }
        done += moved + ([] if self._goodbyes else self._ask_for_power(now))
        # A start must not wait for a write that it does not need: the peer's evidence ages
        # meanwhile.
        is_start = self._view.standing is PeerStanding.LIVE and any(
            isinstance(action, RunScript) and action.kind is ScriptKind.START for action in done
        )
        if not is_start and self._fencing.has_news(now):
            done.append(RememberFencing(self._fencing.memory))
        done += self._speak(done, now)
        self._stepped_at = now
        self._expected_at = self.next_deadline()
        return _in_order(done)

    def _moment(self, now: float) -> Moment:
        return Moment(now, self._view, self._leaving, self.seq + 1)

    @property
    def _stall_limit_s(self) -> float | None:
        """A step that is later than this counts as a stall; None without a link."""
        shortest = self._monitor.shortest_timeout_s
        return None if shortest is None else timing.STALL_FRACTION * shortest

    def _lateness_s(self, now: float) -> float:
        """Return how late this step is, apart from work of this node; negative if early."""
        return now - max(self._expected_at, self._worked_until)

    def _notice_stall(self, event: Event, now: float) -> list[Action]:
        """Detect a stall of this node.

        During one it did not listen, so that silence proves nothing. A beat that waited in the
        inbox shows the same: others behind it may prove the peer alive.
        """
        done = self._doubt_own_services(now)
        shortest = self._monitor.shortest_timeout_s
        late_s = self._lateness_s(now)
        if isinstance(event, BeatReceived):
            late_s = max(late_s, now - max(event.received_at, self._worked_until))
        self._late_s = max(0.0, late_s)
        if shortest is None or not self._is_begun or late_s < timing.STALL_FRACTION * shortest:
            return done
        is_news = now > self._stalled_at + shortest
        self._monitor.hold(now)
        self._view.doubt_goodbye(self._monitor.all_heard_at)
        self._fencing.stalled()
        for machine in self._machines.values():
            machine.void_proof(self.seq + 1)
        self._is_dirty, self._stalled_at = True, now
        if not is_news:
            return done
        text = (
            f"stalled for {late_s:.1f} s: no verdict about the peer before it was listened to for a"
            " full timeout"
        )
        return done + [Record(RecordKind.NODE, self.spec.node, "", "STALLED", text, is_alarm=True)]

    def mark_busy_until(self, until: float) -> None:
        """Record that the last step's actions took until ``until``, with listeners running.

        The node is late, but was not deaf: beats missed meanwhile wait in the inbox and are handled
        before any new verdict. If a slow disk counted as a stall, each start would be undone by the
        write that it has to wait for.
        """
        self._worked_until = until
        self._monitor.wait_until(until + timing.BACKLOG_S)

    def make_room(self) -> None:
        """Reserve numbers for repeats, before a step whose states another thread may write.

        A repeat has the content of the last beat. Its number is lower than that of any beat which
        announces the new states, so that an acknowledgement of a repeat never confirms a state that
        is still being written.
        """
        self._repeated, self._out_at = self._said, self._beat_at
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
        limit_s = self._stall_limit_s
        if limit_s is not None and self._lateness_s(now) < limit_s:
            # The next step was expected for this beat, and the beat left in time.
            self._expected_at = max(self._expected_at, self.repeat_at)
        self._view.own_seq = max(self._view.own_seq, self._repeat_seq)
        return replace(last, beat=replace(last.beat, seq=self._repeat_seq))

    @property
    def _to_repeat(self) -> Announce | None:
        last = self._repeated
        is_over = last is None or last.beat.goodbye is not Goodbye.NONE
        return None if is_over or self._repeat_seq >= self._repeat_end else last

    def wrote(self, now: float) -> None:
        """Record that the states of the last step are on disk: its beat leaves now.

        If this node was mute for too long meanwhile, the next step assumes that its peer may have
        acted.
        """
        is_mute = now - self._out_at >= self._peer_patience_s
        is_announced = self._said is not self._repeated
        self._beat_at = now if is_announced and not is_mute else self._out_at

    def remembered_fencing(self, memory: FencingMemory, is_ok: bool, now: float) -> None:
        """Record whether the fencing memory that a step wanted stored is on disk."""
        self._fencing.remembered(memory, is_ok, now)

    def beats_wait(self, now: float) -> None:
        """Delay verdicts.

        Received beats wait, and this step does not know yet what they contain.
        """
        self._monitor.wait_until(now + timing.BACKLOG_S)

    def _doubt_own_services(self, now: float) -> list[Action]:
        """Doubt own services after the peer heard nothing for its timeout.

        It may have taken them over.
        """
        mute_s = now - self._beat_at
        if not self.seq or mute_s < self._peer_patience_s:
            return []
        self._is_dirty = True
        self._fencing.stalled()
        for machine in self._machines.values():
            machine.void_proof(self.seq + 1)
            machine.mark_ownership_unconfirmed(
                f"this node was stalled for {mute_s:.1f} s", self.seq + 1
            )
        return self._end_confirmation(
            f"this node was stalled for {mute_s:.1f} s, and may have missed a sign of life"
        )

    @property
    def _peer_patience_s(self) -> float:
        """Shortest time, in seconds, after which the peer may call a link of this node down."""
        return max(self._sender_timeout_s, timing.PATIENCE_BEATS * self._pace.beat_interval_s)

    def _handle(self, event: Event, now: float) -> list[Action]:
        if isinstance(event, Tick):
            return []
        if isinstance(event, BeatReceived):
            return self._take_beat(event, now)
        if isinstance(event, SendersMuted):
            return self._tell_mute(event)
        if isinstance(event, ListenerTried):
            return self._note_tried(event, now)
        if isinstance(event, (ScriptExited, CommandReceived, StoreFailed, SeemsUp)):
            self._touched.add(event.service)
        else:
            self._is_dirty = True
        if isinstance(event, PeerConfirmedOut):
            return self._confirm(event, now)
        if isinstance(event, ScriptExited) and event.kind is ScriptKind.POWER:
            return self._note_power(event, now)
        if isinstance(event, ScriptExited):
            # The end of a fence matters to every service that waits for it.
            self._is_dirty = (
                self._is_dirty
                or self._fencing.flight is not None
                and event.kind is ScriptKind.CHECK
            )
            machine = self._machines.get(event.service)
            if machine is None:
                return []
            return machine.script_exited(event, self._moment(now))
        if isinstance(event, CommandReceived):
            return self._command(event, now)
        if isinstance(event, StoreFailed):
            machine = self._machines.get(event.service)
            if machine is None:
                return []
            return machine.store_failed(event.detail, self._moment(now))
        if isinstance(event, ConfigChanged):
            return [] if self._goodbyes else self._reconfigure(event, now)
        if isinstance(event, ReadinessFound):
            return self._note_readiness(event)
        if isinstance(event, SeemsUp):
            if event.service in self._machines:
                self._machines[event.service].seems_up()
            return []
        if isinstance(event, PeerForgotten):
            self._admission.incarnations.forget()
            return self._admission.remember()
        assert isinstance(event, LeaveRequested)
        if self._leaving is not Leaving.STOP_SERVICES and not self._goodbyes:
            self._leaving, self._leave_began = event.leaving, now
        return []

    def _ask_for_power(self, now: float) -> list[Action]:
        """Query the fence for the peer's power state where this node may not fence."""
        svc = self._fencing.power_question(self._view, now)
        if svc is None:
            return []
        peer_state, standing = self._view.for_script(svc.name)
        return [RunScript(svc.name, ScriptKind.POWER, svc.check, peer_state, standing)]

    def _note_power(self, event: ScriptExited, now: float) -> list[Action]:
        self._is_dirty = True
        before = bool(self._fencing.power.said)
        text = self._fencing.power_told(event.service, event.outcome, now)
        if not text:
            return []
        is_alarm = before or event.outcome is ScriptOutcome.DOWN
        return [Record(RecordKind.PEER, self.spec.peer, "", "POWER", text, is_alarm)]

    def _note_readiness(self, event: ReadinessFound) -> list[Action]:
        """Store what keeps this node from starting services.

        A problem is recorded when it appears and when it ends.
        """
        self._fencing.power.tells = event.reports_power
        before, self._unready = (
            self._unready,
            {name: text for name, text in event.problems.items() if name in self._machines},
        )
        done: list[Action] = []
        for name in sorted({*before, *self._unready} & set(self._machines)):
            problem = self._unready.get(name)
            if before.get(name) == problem:
                continue
            state = self._machines[name].state.name
            if problem is None:
                text = "this node could start it again"
                done.append(Record(RecordKind.SERVICE, name, state, "READY", text))
            else:
                text = f"this node could not start it: {problem}"
                done.append(
                    Record(RecordKind.SERVICE, name, state, "NOT READY", text, is_alarm=True)
                )
        return done

    def _take_beat(self, event: BeatReceived, now: float) -> list[Action]:
        beat, link = event.beat, event.link
        if beat.node != self.spec.peer or link not in self._monitor:
            return []
        # Before any check: even a rejected beat contradicts an operator who confirmed the peer out.
        ended = self._end_confirmation("a beat of it came in")
        event, impossible = self._admission.plausible(event, now)
        impossible = ended + impossible
        beat = event.beat
        reason, heard_at = self._admission.rejection(event, now)
        if reason:
            # Answer a new incarnation at once: it can acknowledge only beats that it has heard.
            self._is_greeting_due = self._is_greeting_due or self._admission.wants_greeting(reason)
            self._is_ack_due = self._is_ack_due or self._is_greeting_due
            return impossible + self._admission.refuse(event, reason, self.seq, now)
        done = impossible
        if self._admission.incarnations.has_changed:
            done += self._admission.remember()
        if self._monitor.heard(link, beat.boot, beat.seq, heard_at, event.pid, beat.interval_s):
            done.append(Record(RecordKind.LINK, link.link_id, "DOWN", "UP", "beat received"))
        if beat.is_legacy and self._monitor.is_own_heard:
            # The same node sends the same state, and more, in our own format.
            return done
        previous, acked = self._view.newest, self._view.acked_seq
        if not self._view.take(beat, now, bool(event.key_id)):
            return done
        self._fencing.heard(self._view, event.received_at)
        self._touch(previous, beat, self._view.acked_seq != acked)
        if previous is not None and previous.boot != beat.boot and not beat.is_legacy:
            done.append(
                Record(
                    RecordKind.PEER, self.spec.peer, "", "RESTARTED", "its daemon was started again"
                )
            )
        # A new incarnation knows nothing of this node: acknowledge at once, and repeat notices.
        if previous is None or previous.boot != beat.boot:
            self._is_ack_due = True
            self._notice.repeat()
            if not beat.is_legacy:
                self._notice.offer_facts()
        if beat.facts is not None:
            self._notice.facts_are_taken()
        if beat.mute:
            done += self._take_notice(beat, link, now)
        # No beat follows a goodbye, so the links need not wait for their timeouts.
        if beat.goodbye is not Goodbye.NONE:
            for gone in self._monitor.take_down():
                done.append(
                    Record(RecordKind.LINK, gone.link_id, "UP", "DOWN", "the peer said goodbye")
                )
        self._is_ack_due = self._is_ack_due or beat.wants_ack
        return done

    def _touch(self, previous: Beat | None, beat: Beat, is_ack_new: bool) -> None:
        """Mark the services that the beat may move: all, or only those whose state it changes."""
        # A C OpenHA acknowledges nothing: each of its beats counts for a service that waits.
        if is_ack_new or beat.is_legacy:
            self._touched |= self._asking
        if previous is None or _is_new_speech(
            previous, beat, self._view.standing is PeerStanding.LIVE
        ):
            self._is_dirty = True
            return
        said = previous.states
        self._touched |= {name for name, state in beat.states.items() if said[name] is not state}

    def _take_notice(self, beat: Beat, link: LinkSpec, now: float) -> list[Action]:
        """Handle a notice that the peer cannot send on some links, received on another one."""
        gone = self._monitor.mute(beat.mute, beat.boot, beat.seq)
        if gone is not None:
            return [
                Record(
                    RecordKind.LINK, each.link_id, "UP", "DOWN", _mute_reason(each), is_alarm=True
                )
                for each in gone
            ]
        if not self._monitor.refuse(link, CONTRADICTION, now):
            return []
        text = (
            "the peer says on this link that none of its links works: not believed (counted from"
            " now on)"
        )
        return [Record(RecordKind.LINK, link.link_id, "", "REFUSED", text, is_alarm=True)]

    def _tell_mute(self, event: SendersMuted) -> list[Action]:
        """Announce on the other links that this node cannot send on some."""
        return [
            Record(
                RecordKind.LINK,
                link.link_id,
                "",
                "MUTE",
                f"{link.device} is down here: the peer is told",
            )
            for link in self._notice.take(event.links, self.spec.senders)
        ]

    def _note_tried(self, event: ListenerTried, now: float) -> list[Action]:
        """Record whether a link could be opened.

        One never listened on proves nothing by its silence. If no link could be opened, nothing is
        known of the peer.
        """
        if event.link not in self._monitor:
            return []
        was_deaf = self._monitor.is_deaf
        self._monitor.tried(event.link, event.is_open, now)
        if self._monitor.is_deaf is was_deaf:
            return []
        if was_deaf:
            return [
                Record(
                    RecordKind.NODE,
                    self.spec.node,
                    "",
                    "LISTENS",
                    "a link could be opened: the peer is listened for",
                )
            ]
        return [
            Record(
                RecordKind.NODE,
                self.spec.node,
                "",
                "DEAF",
                f"{_DEAF}: no verdict about the peer",
                is_alarm=True,
            )
        ]

    def _confirm(self, event: PeerConfirmedOut, now: float) -> list[Action]:
        """Accept an operator's confirmation that a peer which is not heard runs nothing."""
        peer, standing, unknown = self.spec.peer, self._view.standing, ServiceState.UNKNOWN
        # The command has reported a time-out by then, and the operator may have acted otherwise.
        if now > event.until:
            refusal = "it came too late: whoever gave it was told that there is no answer"
        # A live peer contradicts the operator, and one not listened to for long enough may yet do
        # so.
        elif standing in (PeerStanding.LIVE, PeerStanding.UNKNOWN):
            refusal = f"{peer} is {standing.value}: {self._standing_reason()}"
        else:
            self._is_dirty = True
            self._fencing.confirmed(event.who, now)
            text = (
                f"by {event.who}: believed until a beat of it comes in, this node stands still, or"
                " its daemon ends"
            )
            return [
                Record(RecordKind.PEER, peer, standing.word, "CONFIRMED OUT", text, is_alarm=True),
                Answer(
                    event.command_id,
                    "confirm",
                    peer,
                    AnswerCode.CONFIRMED,
                    unknown,
                    unknown,
                    self._what_follows(now),
                    is_last=True,
                ),
            ]
        return [
            Answer(
                event.command_id,
                "confirm",
                peer,
                AnswerCode.REFUSED,
                unknown,
                unknown,
                refusal,
                is_last=True,
                is_ok=False,
            )
        ]

    def _what_follows(self, now: float) -> str:
        """Describe what happens to each service after a confirmation, a line per group."""
        found: dict[str, list[str]] = {}
        for name, machine in self._machines.items():
            found.setdefault(machine.explain_confirmed(self._moment(now)), []).append(name)
        return "\n".join(
            f"{_named(names)}: {text.replace('NAME', names[0]) if len(names) == 1 else text}"
            for text, names in found.items()
        )

    def _end_confirmation(self, why: str) -> list[Action]:
        ended = self._fencing.end_confirmation()
        if ended is None:
            return []
        self._is_dirty = True
        return [self._confirmation_ended(ended.who, why)]

    def _report_former_confirmation(self) -> list[Action]:
        who = self._fencing.formerly_confirmed_by
        return [self._confirmation_ended(who, "the daemon was started again")] if who else []

    def _confirmation_ended(self, who: str, why: str) -> Record:
        return Record(
            RecordKind.PEER,
            self.spec.peer,
            "CONFIRMED OUT",
            self._view.standing.word,
            f"{why}: what {who} confirmed holds no longer",
            is_alarm=True,
        )

    def _command(self, event: CommandReceived, now: float) -> list[Action]:
        machine = self._machines.get(event.service)
        if machine is not None:
            return machine.command(event, self._moment(now))
        return [
            Answer(
                event.command_id,
                event.command.value,
                event.service,
                AnswerCode.NOT_CONFIGURED,
                ServiceState.UNKNOWN,
                ServiceState.UNKNOWN,
                "this node is neither primary nor secondary",
                is_last=True,
                is_ok=False,
            )
        ]

    def _reconfigure(self, event: ConfigChanged, now: float) -> list[Action]:
        """Apply an edited configuration, keeping each removed service that may still run here."""
        spec = event.spec
        assert (spec.node, spec.peer) == (
            self.spec.node,
            self.spec.peer,
        ), "the nodes of a running daemon are fixed"
        wanted = {svc.name: svc for svc in spec.own_services}
        pace = timing.PACES[spec.profile]
        # Keep the short interval until the peer has heard of the long one, else it would call this
        # node silent.
        if pace.beat_interval_s > self._pace.beat_interval_s:
            self._quick_until = now + timing.SLOWING_DOWN_S
            self._is_ack_due = True
        done: list[Action] = []
        for name in [name for name in self._machines if name not in wanted]:
            machine = self._machines[name]
            # Dropping a service that may run would leave a copy that no node announces.
            if machine.may_run:
                if name not in self._kept:
                    self._kept[name] = machine.spec
                    text = (
                        "no longer in the services file, but it may run here: kept until it is"
                        " stopped"
                    )
                    done.append(
                        Record(
                            RecordKind.SERVICE,
                            name,
                            machine.state.name,
                            machine.state.name,
                            text,
                            True,
                        )
                    )
            else:
                done += machine.abandon("the service was removed", self._moment(now))
                del self._machines[name]
                done.append(
                    Record(
                        RecordKind.SERVICE,
                        name,
                        machine.state.name,
                        "REMOVED",
                        "removed by an operator",
                    )
                )
        for name, svc in wanted.items():
            self._kept.pop(name, None)
            existing = self._machines.get(name)
            role = svc.role_of(spec.node)
            assert role is not None
            if existing is not None:
                existing.spec, existing.role, existing.pace = svc, role, pace
            else:
                recovered = event.recovered.get(name, _NEW_SERVICE)
                machine = self._machines[name] = ServiceMachine(
                    svc, role, recovered, now, pace, self._fencing
                )
                done += machine.begin(self._moment(now))
                done.append(
                    Record(
                        RecordKind.SERVICE,
                        name,
                        "",
                        recovered.state.name,
                        f"added: {recovered.reason}",
                    )
                )
        self.spec, self._pace = spec, pace
        self._configuration.reconfigure(spec)
        self._fencing.reconfigure(spec)
        self._sender_timeout_s = _shortest_timeout_s(spec.senders)
        self._monitor.update(spec.listeners, now)
        self._notice.reconfigure(spec.senders)
        return done

    def _judge_peer(self, now: float) -> list[Action]:
        done: list[Action] = [
            Record(
                RecordKind.LINK,
                link.link_id,
                "UP",
                "DOWN",
                f"no beat for {link.timeout_s:g} s",
                is_alarm=True,
            )
            for link in self._monitor.expire(now)
        ]
        self._view.legacy_delay_s = self._monitor.legacy_delay_s
        self._view.ack_limit_s = self._peer_patience_s
        is_held_back = self._monitor.has_signs(now) and not self._monitor.is_any_up
        self._view.held_back = self._admission.held_back if is_held_back else ""
        before = self._view.judge(self._monitor.is_any_up, self._monitor.silent_since(now), now)
        standing = self._view.standing
        self._fencing.judge(self._view)
        if before is not standing or (
            standing is PeerStanding.DEPARTED and self._view.silent_since is not None
        ):
            self._is_dirty = True
        if before is not standing:
            reason = self._standing_reason()
            is_alarm = standing is PeerStanding.SILENT
            done.append(
                Record(
                    RecordKind.PEER, self.spec.peer, before.word, standing.word, reason, is_alarm
                )
            )
            if is_alarm and any(
                self._fencing.is_boot_blocked(svc, now) for svc in self.spec.own_services
            ):
                is_one_way = self._fencing.has_heard_one_way
                what = (
                    "did not acknowledge this node since it"
                    if is_one_way
                    else "was not heard since this node"
                )
                text = (
                    f"{self.spec.peer} {what} booted: what has a check-up script is not started; if"
                    f" that node runs nothing: openha fence confirm {self.spec.peer}"
                )
                done.append(
                    Record(RecordKind.NODE, self.spec.node, "", "WAITS", text, is_alarm=True)
                )
        return done

    def _affected(self, now: float) -> list[str]:
        """Return the services that may move: all, or those with an event or a deadline reached."""
        if self._is_dirty:
            return list(self._machines)
        due = {name for name, at in self._due.items() if at <= now}
        return sorted(name for name in self._touched | due if name in self._machines)

    def _note_deadlines(self, names: list[str], now: float) -> None:
        if self._is_dirty:
            self._due.clear()
        for name in names:
            machine = self._machines.get(name)
            at = None if machine is None else machine.next_deadline(self._view, now)
            if at is None:
                self._due.pop(name, None)
            else:
                self._due[name] = at

    def _note_told(self, names: list[str]) -> None:
        """Update the announced states of ``names``.

        With thousands of services only the moved ones matter.
        """
        before, had_questions = self._told, bool(self._asking)
        if self._is_dirty:
            self._told = {}
            self._asking.clear()
        for name in names:
            machine = self._machines.get(name)
            if machine is None:
                self._told.pop(name, None)
            else:
                self._has_news = self._has_news or before.get(name) is not machine.announced
                self._told[name] = machine.announced
            if machine is not None and self._asks(machine):
                self._asking.add(name)
            else:
                self._asking.discard(name)
        self._is_question_new = bool(self._asking) and not had_questions

    def _asks(self, machine: ServiceMachine) -> bool:
        """Return True if a service waits for the peer's acknowledgement."""
        is_waiting = machine.is_ownership_unconfirmed or machine.state is ServiceState.START_READY
        return is_waiting or machine.is_stop_unheard(self._view)

    def _evaluate(self, names: list[str], now: float, just_moved: set[str]) -> list[Action]:
        done: list[Action] = []
        moment = self._moment(now)
        for name in names:
            machine = self._machines[name]
            if name not in just_moved:
                done += machine.evaluate(moment)
        for name in [name for name in self._kept if not self._machines[name].may_run]:
            del self._kept[name], self._machines[name]
            done.append(
                Record(
                    RecordKind.SERVICE,
                    name,
                    "",
                    "REMOVED",
                    "stopped, and no longer in the services file",
                )
            )
        return done

    def _mirror(self, names: list[str]) -> list[Action]:
        done: list[Action] = []
        for name in names:
            state = self._view.state_of(name)
            if name in self._machines and self._mirrored.get(name) is not state:
                self._mirrored[name] = state
                done.append(MirrorPeer(name, state))
        return done

    # --- speaking ---------------------------------------------------------------------------------

    def _speak(self, done: list[Action], now: float) -> list[Action]:
        """Announce changes; return a beat at least each interval, and on request.

        An acknowledgement that the peer asked for follows after ``ACK_GAP_S`` at the latest.
        """
        goodbye = self._may_say_goodbye(now)
        if goodbye is not Goodbye.NONE:
            if self._goodbyes and now < self._beat_at + timing.GOODBYE_GAP_S:
                return []
            self._goodbyes += 1
            said: list[Action] = [self._announce(now, goodbye)]
            return said + [Exit()] if self._goodbyes >= timing.GOODBYE_REPEATS else said
        self._has_news = self._has_news or any(isinstance(action, Persist) for action in done)
        # Starts were announced before they run, and a question is urgent. Other changes may be
        # collected for a while, to spare a peer that is heard.
        is_urgent = (
            _runs_script(done)
            or self._is_question_new
            or self._view.standing is not PeerStanding.LIVE
        )
        has_changed = self._has_news and (is_urgent or now >= self._beat_at + timing.NEWS_GAP_S)
        is_due = self.seq == 0 or now >= self._beat_at + self._gap_s(now)
        answers = self._is_ack_due and now >= self._beat_at + timing.ACK_GAP_S
        if (
            has_changed
            or is_due
            or answers
            or _is_past(self._notice.beat_due_at(self._beat_at), now)
        ):
            return [self._announce(now)]
        return (
            [self._announce_mute(now)] if _is_past(self._notice.due_at(self._beat_at), now) else []
        )

    def _gap_s(self, now: float) -> float:
        """Return the seconds to the next beat.

        A node that slows its beats down keeps the quick interval until its peer must have heard of
        the change.
        """
        quick = timing.FAST_BEAT_INTERVAL_S
        return (
            min(quick, self._pace.beat_interval_s)
            if now < self._quick_until
            else self._pace.beat_interval_s
        )

    def _may_say_goodbye(self, now: float) -> Goodbye:
        if self._leaving is None:
            return Goodbye.NONE
        if self._goodbyes:
            return Goodbye.RESTART if self._leaving is Leaving.KEEP_SERVICES else Goodbye.LEFT
        is_busy = any(machine.running is not None for machine in self._machines.values())
        if self._leaving is Leaving.KEEP_SERVICES:
            waited_s = now - self._leave_began
            return (
                Goodbye.NONE
                if is_busy and waited_s < timing.LEAVE_SCRIPT_WAIT_S
                else Goodbye.RESTART
            )
        # The step that took the order to leave has already withdrawn services from START_READY.
        is_started = any(
            machine.state is ServiceState.STARTED for machine in self._machines.values()
        )
        return Goodbye.NONE if is_busy or is_started else Goodbye.LEFT

    def _announce(self, now: float, goodbye: Goodbye = Goodbye.NONE) -> Announce:
        announce = self._next_beat(goodbye)
        self._beat_at = now
        self._is_ack_due = self._has_news = self._is_greeting_due = False
        return announce

    def _announce_mute(self, now: float) -> Announce:
        """Return an extra beat with a link-down notice.

        A peer of an older version ignores it, so it does not count as an ordinary beat.
        """
        announce = self._next_beat(Goodbye.NONE)
        self._notice.said(now)
        return replace(
            announce, beat=replace(announce.beat, mute=self._notice.marks, facts=self._facts())
        )

    def _next_beat(self, goodbye: Goodbye) -> Announce:
        self.seq += 1
        self._view.own_seq = self.seq
        self._said = Announce(
            self.beat(goodbye), with_names=self._view.states.keys() != self._told.keys()
        )
        return self._said

    def beat(self, goodbye: Goodbye = Goodbye.NONE) -> Beat:
        """Return what this node announces now, under the current sequence number."""
        ack = self._ack()
        states = dict(self._told)
        if self._view.newest is not None and self._view.newest.is_legacy:
            # A C OpenHA cannot confirm anything, and no announcement makes it stop a copy of its
            # own.
            states.update({name: self._machines[name].state for name in self._asking})
        return Beat(
            node=self.spec.node,
            boot=self.boot,
            seq=self.seq,
            ack=ack,
            states=states,
            goodbye=goodbye,
            wants_ack=bool(self._asking),
            interval_s=self._pace.beat_interval_s,
            facts=self._facts() if self._view.takes_facts else None,
        )

    def _facts(self) -> Facts:
        """Return what this node reports about itself."""
        facts = self._fencing.facts(self._told, self._stepped_at)
        return replace(facts, marks=self._configuration.marks, unready=frozenset(self._unready))

    def _ack(self) -> Ack | None:
        """Return the newest beat that was taken into account.

        For an incarnation that must be answered first, return the beat that was heard of it.
        """
        newest, heard = self._view.newest, self._admission.incarnations.heard
        taken = (
            None
            if newest is None or newest.is_legacy or not newest.is_complete
            else Ack(newest.boot, newest.seq)
        )
        if heard is None or newest is None or heard.boot == newest.boot:
            return taken or heard
        is_later = (
            heard.boot.counter > newest.boot.counter or self._view.standing is not PeerStanding.LIVE
        )
        # Alternate, so that replayed beats of an old incarnation do not keep the live one from its
        # acknowledgement.
        return (
            heard
            if is_later and (self._is_greeting_due or self.seq % 2 or taken is None)
            else taken
        )

    def next_deadline(self) -> float:
        """Return when ``step`` must be called again, with a Tick if nothing else happens."""
        now = self._stepped_at
        if self._touched:
            return now
        gap = self._gap_s(now)
        if self._goodbyes:
            gap = timing.GOODBYE_GAP_S
        elif self._is_ack_due or (self._has_news and self._is_begun):
            gap = min(gap, timing.ACK_GAP_S if self._is_ack_due else timing.NEWS_GAP_S)
        times = [
            self._fencing.power_due_at(self._view),
            self._monitor.next_deadline(now),
            self._view.next_deadline(now),
            self._notice.due_at(self._beat_at),
            self._notice.beat_due_at(self._beat_at),
            *self._due.values(),
        ]
        if self._leaving is Leaving.KEEP_SERVICES:
            times.append(self._leave_began + timing.LEAVE_SCRIPT_WAIT_S)
        # The last step has already acted on deadlines in the past.
        ahead = [instant for instant in times if instant is not None and instant > now]
        return min([max(now, self._beat_at + gap), *ahead])

    # --- showing ----------------------------------------------------------------------------------

    def snapshot(self, now: float) -> NodeStatus:
        """Return the full status at ``now``; instants are monotonic seconds."""
        moment = self._moment(now)
        services = [
            (
                self._machines[svc.name].status(moment)
                if svc.name in self._machines
                else ServiceStatus(
                    svc.name,
                    svc.primary,
                    svc.secondary,
                    ServiceState.UNKNOWN,
                    ServiceState.UNKNOWN,
                    None,
                    None,
                    "this node is neither primary nor secondary",
                )
            )
            for svc in self.spec.services
        ]
        listed = {svc.name for svc in self.spec.services}
        services += [
            self._machines[name].status(moment) for name in self._kept if name not in listed
        ]
        services = [self._with_readiness(svc) for svc in services]
        links = tuple(self._link_status(link, now) for link in self.spec.listeners)
        reason = self._standing_reason()
        return NodeStatus(
            self.spec.node,
            self.spec.peer,
            0,
            self._view.standing,
            reason,
            links,
            tuple(services),
            self._admission.suspicions(now)
            + self._differences.warnings()
            + self._configuration.warnings()
            + self._readiness_warnings(services),
            own_only=self._differences.own_only,
            peer_only=self._differences.peer_only,
            fencing=self._fencing.status(self._view, now),
        )

    @property
    def peer_standing(self) -> PeerStanding:
        """Standing of the peer; safe to read from any thread."""
        return self._view.standing

    @property
    def is_deaf(self) -> bool:
        """True while no link could be opened; safe to read from any thread."""
        return self._monitor.is_deaf

    @property
    def is_peer_silent(self) -> bool:
        """True while the rules take the peer for silent; safe to read from any thread.

        This includes a peer whose daemon said goodbye and has not come back.
        """
        return self._view.silent_since is not None

    def _with_readiness(self, svc: ServiceStatus) -> ServiceStatus:
        problem, is_peer_unready = self._unready.get(svc.name, ""), self._view.is_unready(svc.name)
        return (
            replace(svc, unready=problem, is_peer_unready=is_peer_unready)
            if problem or is_peer_unready
            else svc
        )

    def _readiness_warnings(self, services: list[ServiceStatus]) -> tuple[str, ...]:
        found = [
            f"service {svc.name} could not be started on this node: {svc.unready}"
            for svc in services
            if svc.unready
        ]
        peers = [svc.name for svc in services if svc.is_peer_unready]
        if peers:
            found.append(
                f"{self.spec.peer} could not start {_named(peers)}: `service -s -v` there says why"
            )
        return tuple(found)

    @property
    def sight(self) -> Sight:
        """Evidence at the last step, from which the history explains its decisions."""
        if self._sight is None:
            self._sight = Sight(
                self._stepped_at,
                self._monitor.sights(self._stepped_at),
                self._view.standing,
                self._late_s,
                self._stall_limit_s,
            )
        return self._sight

    def _standing_reason(self) -> str:
        standing, newest = self._view.standing, self._view.newest
        if standing is PeerStanding.DEPARTED and newest is not None:
            if newest.goodbye is Goodbye.LEFT:
                return "it stopped its services and said goodbye"
            return "its daemon said goodbye and left services running"
        if standing is PeerStanding.UNKNOWN and self._view.held_back:
            return f"{self._view.held_back}: no verdict about it"
        if standing is PeerStanding.UNKNOWN and self._monitor.is_deaf:
            return _DEAF
        return {
            PeerStanding.UNKNOWN: "not heard, and not listened to for a full timeout",
            PeerStanding.LIVE: "heard",
            PeerStanding.SILENT: "not heard on any link for its timeout",
            PeerStanding.DEPARTED: "it said goodbye",
        }[standing]

    def _link_status(self, link: LinkSpec, now: float) -> LinkStatus:
        is_up, heard, pid = self._monitor.view(link)
        if self._monitor.is_mute(link):
            reason = _mute_reason(link)
        else:
            reason = (
                ""
                if is_up
                else "never heard"
                if heard is None
                else f"no beat for {link.timeout_s:g} s or more"
            )
        refused = self._monitor.refused_lately(link, now)
        if refused and not is_up and not self._monitor.is_mute(link):
            reason += f"; refused: {', '.join(refused)}"
        return LinkStatus(link, False, is_up, pid, heard, reason, counts=self._monitor.counts(link))

    def state_of(self, service: str) -> ServiceState:
        """Return this node's own state of one of its services."""
        return self._machines[service].state

    def manages(self, service: str) -> bool:
        """Return True if this node manages the service."""
        return service in self._machines

    def may_run(self, service: str) -> bool:
        """Return True while some of the service may be in use on this node."""
        return service in self._machines and self._machines[service].may_run


def _is_new_speech(previous: Beat, beat: Beat, is_live: bool) -> bool:
    """Return True if the beats differ in something that concerns all services."""
    return (
        previous.boot,
        previous.is_complete,
        _lasting(previous.facts, is_live),
        previous.states.keys(),
    ) != (beat.boot, beat.is_complete, _lasting(beat.facts, is_live), beat.states.keys())


def _lasting(facts: Facts | None, is_live: bool) -> Facts | None:
    """Return the facts without those that move no service.

    ``silent_s`` changes with each beat. The facts on who fences first change with each service that
    is started, but nothing is fenced while the peer is heard. When a silence begins or ends, all
    services are evaluated anyway.
    """
    if facts is None:
        return None
    if is_live:
        return Facts(unready=facts.unready, marks=facts.marks)
    return replace(facts, silent_s=None)


def _named(services: list[str]) -> str:
    more = f" and {len(services) - _NAMED} more" if len(services) > _NAMED else ""
    return f"{', '.join(services[:_NAMED])}{more}"


def _shortest_timeout_s(links: tuple[LinkSpec, ...]) -> float:
    return min((link.timeout_s for link in links), default=math.inf)


def _mute_reason(link: LinkSpec) -> str:
    return f"the peer says that its {link.device} is down"


def _runs_script(actions: list[Action]) -> bool:
    return any(isinstance(action, RunScript) for action in actions)


def _is_past(instant: float | None, now: float) -> bool:
    return instant is not None and now >= instant


_REPEATS_MAX = 65_536
"""Numbers reserved for repeats before each beat. One more is a prime.

Pages of names are chosen by the number.
"""
_DEAF = "no link of this node could be opened yet, so that it hears nobody"
# An announced state must survive a crash, and a script may only act on an announced state.
_ORDER = (
    Persist,
    RememberIncarnations,
    RememberFencing,
    Announce,
    MirrorPeer,
    RunScript,
    Record,
    Answer,
    Exit,
)


def _in_order(actions: list[Action]) -> list[Action]:
    """Sort by kind, keeping the order within a kind."""
    return sorted(actions, key=lambda action: _ORDER.index(type(action)))
