"""Hold one service on this node: its state, the script that runs for it, the pending command.

It applies rows of the table and turns them into actions. It knows neither links nor the other
services.
"""

from __future__ import annotations

import math
from dataclasses import field, replace

from opensvc_openha.core import explanations
from opensvc_openha.core.actions import (
    Action,
    Answer,
    AnswerCode,
    Persist,
    Record,
    RecordKind,
    RunScript,
)
from opensvc_openha.core.connectivity import ReachSight
from opensvc_openha.core.data_disks import DataDisks
from opensvc_openha.core.evacuation import NOT_EVACUATED, Evacuation
from opensvc_openha.core.events import (
    BY_OPERATOR,
    Command,
    CommandReceived,
    Leaving,
    RecoveredState,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
)
from opensvc_openha.core.facts import DiskAnswer
from opensvc_openha.core.fail_back import FailBack, is_left_by_order
from opensvc_openha.core.fencing import Fencing
from opensvc_openha.core.giving_up import DisksSight, GivingUp, sight_of
from opensvc_openha.core.model import OnDualRun, Role, ServiceSpec
from opensvc_openha.core.peer_view import Evidence, PeerView
from opensvc_openha.core.policies import DualRun, IsolatedMoves, StartFailures
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.states import (
    MAY_RUN,
    PEER_OUT,
    STOP_BEGUN,
    TAKEN,
    UP,
    UP_OR_STOPPING,
    ServiceState,
)
from opensvc_openha.core.status import PeerStanding, ServiceStatus
from opensvc_openha.core.stay import FREE, ORDERED, Stay
from opensvc_openha.core.timing import (
    ISOLATED_HOLD_S,
    PROBE_AGAIN_S,
    PUT_OFF_MAX_S,
    START_FAILURE_HOLD_S,
    STOP_HOLD_S,
    STORE_RETRY_S,
    STUCK_S,
    Pace,
)
from opensvc_openha.core.transitions import OPERATOR, Row, Situation, Trigger, find_row
from opensvc_openha.records import dataclass

_TRIGGER_OF = {
    (ScriptKind.CHECK, ScriptOutcome.OK): Trigger.CHECK_OK,
    (ScriptKind.CHECK, ScriptOutcome.FAILED): Trigger.CHECK_FAILED,
    (ScriptKind.START, ScriptOutcome.OK): Trigger.START_OK,
    (ScriptKind.START, ScriptOutcome.FAILED): Trigger.START_FAILED,
    (ScriptKind.START, ScriptOutcome.NOT_BEGUN): Trigger.START_NOT_BEGUN,
    (ScriptKind.CHECK, ScriptOutcome.NOT_BEGUN): Trigger.CHECK_FAILED,
    (ScriptKind.CHECK, ScriptOutcome.POSTPONED): Trigger.POSTPONED,
    (ScriptKind.START, ScriptOutcome.POSTPONED): Trigger.POSTPONED,
    (ScriptKind.STOP, ScriptOutcome.OK): Trigger.STOP_OK,
    (ScriptKind.STOP, ScriptOutcome.FAILED): Trigger.STOP_FAILED,
    (ScriptKind.PROBE, ScriptOutcome.UP): Trigger.PROBE_UP,
    (ScriptKind.PROBE, ScriptOutcome.DOWN): Trigger.PROBE_DOWN,
    (ScriptKind.PROBE, ScriptOutcome.SOME): Trigger.PROBE_SOME,
    (ScriptKind.PROBE, ScriptOutcome.UNSURE): Trigger.PROBE_UNSURE,
}


@dataclass(frozen=True)
class Moment:
    """What the decisions of one step depend on, beside the service itself.

    ``next_seq`` is the number of the beat that will announce what is decided now.
    """

    now: float
    view: PeerView
    leaving: Leaving | None
    next_seq: int
    is_promise_due: bool = False
    """A start waits for the promise of this node to be confirmed."""
    disks: DataDisks = field(default_factory=DataDisks)
    """What this node sees of the disks of services."""
    is_silent: bool = False
    """This node keeps silent on purpose."""
    why_not_silent: str = ""
    """Why it does not, although it gave a service up whose stop hangs."""
    cut_off: str = ""
    """That nothing confirms that this node lives, so that it starts nothing; empty if that is not
    so."""
    is_stop_due: bool = False
    """It is cut off, and its watchdog resets it unless it stops what it runs."""
    evacuation: Evacuation = NOT_EVACUATED
    """Whether an operator keeps services away from this node."""
    fails_back: str = ""
    """The service that goes back to its primary now."""
    why_unsettled: str = ""
    """Why no service goes back now."""
    moving: str = ""
    """A service that is being started or stopped, so that no other one goes back."""
    reach: ReachSight = ReachSight()
    """Whether this node is isolated, and what follows of that."""
    drill: str = ""
    """That a drill has this node play dead, so that it starts nothing; empty while it does not."""


@state_marks(not_state={"seq", "cause"})
@dataclass(frozen=True)
class _Doubt:
    """A doubt about the ownership of a service after this node was away.

    The peer must acknowledge a beat from ``seq`` on before this node is certain of its service
    again.
    """

    seq: int
    cause: str


_DUAL_RUN_ENDS = {
    ServiceState.UNKNOWN: "the peer's copy is not known any more",
    ServiceState.STOP_FAILED: (
        "the peer's stop script failed: some of that copy may still run there"
    ),
}
_ENDS_PARTS = frozenset(
    {Trigger.PROBE_UP, Trigger.PROBE_DOWN, Trigger.FORCE_STOP, Trigger.FORCE_START}
)
"""These triggers concern the whole service: an earlier finding that parts of it are up is over."""
_STARTS = frozenset({Command.START, Command.UNFREEZE, Command.FORCE_START})
"""Orders after which the service may be started here."""
_NOTHING_STARTED = frozenset({Trigger.CHECK_FAILED, Trigger.START_NOT_BEGUN, Trigger.FENCE_FAILED})
_KNOWN_OUT = frozenset({Evidence.OUT, Evidence.OUT_ACKED, Evidence.DEPARTED_STOPPED})


@state_marks(
    not_state={"spec", "pace", "_recovered_reason", "reason", "since", "_pending"},
    own_seqs={"ready_seq", "_stopped_seq"},
    memory_s={"_ready_since": STUCK_S + 1},
)
class ServiceMachine:
    """Apply the rules to one service on this node."""

    def __init__(
        self,
        spec: ServiceSpec,
        role: Role,
        recovered: RecoveredState,
        now: float,
        pace: Pace,
        fencing: Fencing,
    ) -> None:
        self.spec = spec
        self._fencing = fencing
        self.role = role
        self.pace = pace
        self.state = recovered.state
        self.frozen_target = recovered.frozen_target
        self.reason = self._recovered_reason = recovered.reason
        self.since = now
        self.running: ScriptKind | None = None
        self.is_fencing = False
        """It waits for the proof of the node's fence plan."""
        self.ready_seq: int | None = None
        self._ready_since = now
        self._hold_until = now
        self._is_hold_for_peer = False
        self._stopped_seq: int | None = None
        """The beat that leaves the service to the peer.

        Until the peer has taken it into account, it has not declined.
        """
        self._check_began = now
        # A daemon that finds the service running was away for an unknown time.
        self._doubt = _Doubt(0, "the daemon was restarted") if recovered.state in TAKEN else None
        self._was_never_started = False
        self._put_off_until = -math.inf
        self._put_offs = 0
        """Postponements of the running decision's script since the last one that began."""
        self._is_reported_down = False
        self._probe_at: float | None = None
        """When to query the wrapper again.

        Parts of the service were found up though it is stopped.
        """
        self._seems_up = False
        """The service was seen up though it is stopped.

        The peer is not given "out" before the wrapper's answer.
        """
        self._dual = DualRun()
        self._failures = StartFailures()
        self._giving_up = GivingUp()
        self._is_flushed = False
        """The script that runs ends once all is written to the disks."""
        stay = recovered.stay if recovered.state is not ServiceState.FROZEN_START else ORDERED
        self._fail_back = FailBack(stay if spec.policy.failback_after_s is not None else FREE)
        self._moves = IsolatedMoves()
        self._pending: CommandReceived | None = None
        """A command that waits for its end."""
        self._must_probe = recovered.must_probe

    def begin(self, at: Moment) -> list[Action]:
        """Query the wrapper, as the first action of a daemon, if the STATE file is not enough."""
        if not self._must_probe:
            return []
        self._must_probe = False
        self.running = ScriptKind.PROBE
        return [self._script(ScriptKind.PROBE, at.view)]

    def mark_seen_up(self) -> None:
        """Schedule a query of the wrapper after a sighting of the service up.

        The sighting may be over by now, so it decides nothing.
        """
        if self.state in PEER_OUT and self.running is None:
            # Until the wrapper has answered, it is not announced as out.
            self._seems_up = True
            self._recovered_reason = "it seemed to be up"

    def evaluate(self, at: Moment) -> list[Action]:
        """Apply changes outside the service: the peer, the time, this node's wish to leave."""
        done = self._settle_doubt(at) + self._update_dual_run(at)
        if self.state is ServiceState.STOPPING and self.spec.policy.is_given_up:
            self._giving_up.stop_goes_on(self._sight(at))
        self._look_at_primary(at)
        if self._is_hold_for_peer and at.view.state_of(self.spec.name) in UP:
            # The peer has taken the service that was left to it: this node is the standby now.
            self._hold_until = min(self._hold_until, at.now)
        return done + self._apply(Trigger.EVALUATE, at)

    def mark_ownership_unconfirmed(self, cause: str, next_seq: int) -> None:
        """Require the peer's confirmation.

        It may have taken the service while this node stalled.
        """
        if self.state in TAKEN:
            self._doubt = _Doubt(next_seq, cause)

    def void_proof(self, next_seq: int) -> None:
        """Require a new acknowledgement: one from before a stall may be long out of date."""
        if self.ready_seq is not None:
            self.ready_seq = next_seq

    def script_exited(self, event: ScriptExited, at: Moment) -> list[Action]:
        """Handle the end of a script; ignore a script that this machine does not wait for."""
        kind, outcome = event.kind, event.outcome
        if self.running is not kind:
            return []
        trigger = _TRIGGER_OF[kind, outcome]
        self._record_put_off(outcome, at.now)
        if kind is ScriptKind.CHECK:
            is_ok = None if outcome is ScriptOutcome.POSTPONED else outcome is ScriptOutcome.OK
            # Before the rules are applied: a fence that succeeded is the proof that they ask for.
            self._fencing.end_check(self.spec, is_ok, event.detail, at.now)
        elif trigger is Trigger.START_NOT_BEGUN:
            self._fencing.record_failure(self._fencing.group_of(self.spec), at.now)
        actions = self._apply(trigger, at, event.detail)
        if not actions and self.running is kind:
            # No row applied, so nothing follows from the script's end.
            self.running = None
        return actions

    def _record_put_off(self, outcome: ScriptOutcome, now: float) -> None:
        if outcome is not ScriptOutcome.POSTPONED:
            self._put_offs = 0
            return
        wait_s = self.pace.beat_interval_s * 2.0 ** min(self._put_offs, 10)
        self._put_off_until = now + min(wait_s, PUT_OFF_MAX_S)
        self._put_offs += 1

    def store_failed(self, detail: str, at: Moment) -> list[Action]:
        """Handle a state that could not be written.

        A crash would lose it, so nothing starts on it.
        """
        was_fencing = self.running is ScriptKind.CHECK
        actions = self._apply(Trigger.STORE_FAILED, at, detail)
        if was_fencing and self.running is None:
            # The script will not run, so nothing else will report its end.
            self._fencing.end_check(self.spec, None, detail, at.now)
        return actions

    def command(self, event: CommandReceived, at: Moment) -> list[Action]:
        """Carry out or refuse an operator's command."""
        # A leaving node has announced its last states, which a command would contradict.
        if at.leaving is not None:
            return [self._refusal(event, at, "the daemon is leaving")]
        if at.drill and event.command in _STARTS:
            return [self._refusal(event, at, at.drill)]
        overtaken, self._pending = self._pending, event
        actions = self._apply(Trigger(event.command.value), at, overtaken=overtaken)
        if actions:
            return actions
        # Refused: the command before it continues.
        self._pending = overtaken
        detail = f"its {self.running.value} script is running" if self.running else ""
        detail = detail or self._fencing.ejector or at.cut_off
        if event.command in (Command.START, Command.FREEZE_START):
            detail = detail or at.evacuation.explain(self._fencing.spec.peer)
        if at.view.silent_since is not None:
            detail = detail or at.reach.isolated
        if event.command is Command.STOP and self.state is ServiceState.STARTED and not detail:
            detail = (
                "the peer reports that it could not start it: see service -s -v there; freeze-stop"
                " stops it all the same"
            )
        return [self._refusal(event, at, detail)]

    def _apply(
        self,
        trigger: Trigger,
        at: Moment,
        detail: str = "",
        overtaken: CommandReceived | None = None,
    ) -> list[Action]:
        situation = self._situation(at)
        row = find_row(self.state, trigger, situation)
        if row is None:
            return []

        actions: list[Action] = []
        if overtaken is not None:
            # The former command ends here: its operator must not wait for what will not happen.
            text = f"overtaken by {trigger.value}"
            actions.append(self._last_answer(overtaken, AnswerCode.ROLLED_BACK, at, text, False))
        if row.ready is not None:
            actions.append(self._answer(row.ready, at))
            if row.also is not None:
                actions.append(self._answer(row.also, at))
            would_peer_take_it = at.view.state_of(self.spec.name) is ServiceState.STOPPED
            if row.ready is AnswerCode.READY_STOP and not would_peer_take_it:
                actions.append(self._answer(AnswerCode.STAYS_HERE, at))

        reason = row.reason.format(
            evidence=situation.evidence.value,
            detail=detail,
            trigger=trigger.value,
            by=BY_OPERATOR if self._pending is None else self._pending.by,
            away=self._doubt.cause if self._doubt else "",
            policy=self.spec.policy.on_dual_run.value,
            recovered=self._recovered_reason or "as the cluster left it",
            proof=self._proof_text(situation, at.now),
            plan=self._plan_text(at.now) if row.run is ScriptKind.CHECK else "",
            ejector=self._fencing.ejector,
            cut_off=at.cut_off,
            isolated=at.reach.isolated,
            frozen_s=f"{at.disks.frozen_s(self.spec.name, at.now):.0f}",
            settled_s=f"{at.now - (self._fail_back.ready_since or at.now):.0f}",
        )
        # An operator's order starts over: earlier failures and waits do not limit it.
        if trigger in OPERATOR:
            self._failures.forget()
            self._giving_up.forget()
            self._fencing.retry_now(self.spec)
        # What was written before is waited for as well. Of a node that is cut off the peer starts
        # it after a while, whatever is on its way.
        flushes = row.run is ScriptKind.STOP and (
            row.stops_again or self._giving_up.is_stop_hung or at.is_stop_due
        )
        actions += self._enter(row, situation, reason, at)

        if row.run is not None:
            self._is_flushed = flushes
            actions.append(replace(self._script(row.run, at.view), flushes=flushes))
            if row.run is ScriptKind.START:
                self._dual.was_started_in_silence = situation.evidence is Evidence.SILENT
            if row.run is ScriptKind.CHECK:
                self._check_began = at.now
                # A check-up beside a live peer, or by a script that always succeeds, is no fence.
                if self.spec.is_fenced and situation.evidence is Evidence.SILENT:
                    self._fencing.begin_fence(self.spec, at.now)

        if row.done is not None and self._pending is not None:
            is_ok = row.done not in (AnswerCode.FAILED, AnswerCode.ROLLED_BACK)
            if row.also is not None and row.ready is None:
                actions.append(self._answer(row.also, at))
            done, self._pending = self._pending, None
            text = "" if is_ok else reason
            actions.append(self._last_answer(done, row.done, at, text, is_ok))
        return actions

    def _enter(self, row: Row, situation: Situation, reason: str, at: Moment) -> list[Action]:
        """Move to the row's next state; return what has to be persisted and recorded."""
        now, next_seq = at.now, at.next_seq
        old_state, old_target = self.state, self.frozen_target
        self.state, self.reason = row.next, reason
        self.frozen_target = row.target_after(self.frozen_target)
        # The end of a script that belongs to the state before is ignored.
        self.running = row.run
        self._wait_for_plan(row.fences)
        self._note_giving_up(row, old_target, at)
        old_stay = self.stay
        self._note_move(row, old_state, at)
        is_moved = self._moves.is_going_on
        self._moves.is_going_on = is_moved and row.next is ServiceState.STOPPING
        if row.hands_over:
            self._moves.begin(at.reach.since, now)
        self._is_reported_down = row.trigger is Trigger.PROBE_DOWN
        parts = self._record_parts(row, now)
        self._seems_up = self._seems_up and row.run is ScriptKind.PROBE
        self._stopped_seq = next_seq if row.holds and row.trigger is Trigger.STOP_OK else None
        if row.holds:
            self._hold_until = now + self._hold_s(row, is_moved)
            self._is_hold_for_peer = (
                row.trigger is not Trigger.STORE_FAILED and not self._failures.is_script
            )
        # Only an acknowledgement of the beat that announces START_READY counts.
        if row.next is ServiceState.START_READY:
            self.ready_seq, self._ready_since = next_seq, now
            if row.trigger is Trigger.START:
                self._hold_until = now
        # STARTING keeps the number: the evidence is judged once more after the check-up script.
        elif row.next is not ServiceState.STARTING:
            self.ready_seq = None
        # There is nothing to doubt in other states, and an operator's force is a new ground.
        if self.state not in TAKEN or row.trigger is Trigger.FORCE_START:
            self._doubt = None
        if (old_state, old_target) == (self.state, self.frozen_target):
            if self.stay != old_stay:
                parts.append(self.persist())
            return parts
        self.since = now
        self._record_origin(row, situation, now)
        self._was_never_started = row.trigger in _NOTHING_STARTED
        moved: list[Action] = [self.persist()]
        if old_state is not self.state:
            is_found_up = row.trigger is Trigger.PROBE_UP and old_state not in MAY_RUN
            is_alarm = is_found_up or self.state in (
                ServiceState.START_FAILED,
                ServiceState.STOP_FAILED,
            )
            moved.append(self._record(old_state.name, self.state.name, reason, is_alarm, row.name))
        return moved

    def _note_giving_up(self, row: Row, target: ServiceState | None, at: Moment) -> None:
        """Note what becomes of a service that is given up, or whose stop did not end in order.

        ``target`` is the frozen state in which the operation was to end.
        """
        giving_up = self._giving_up
        if row.run is ScriptKind.STOP and self.spec.policy.is_given_up:
            giving_up.stop_begins(self._sight(at))
        if row.gives_up:
            giving_up.begin(at.now)
        elif row.stops_again:
            giving_up.stop_again(at.now)
        elif row.trigger in OPERATOR or row.next is not ServiceState.STOP_FAILED:
            giving_up.end()
        elif self.spec.policy.is_given_up:
            giving_up.stop_failed(self._sight(at), target is ServiceState.FROZEN_STOP)

    # --- going back to its primary ----------------------------------------------------------------

    @property
    def stay(self) -> Stay:
        """Why it does not go back to its primary, as the STATE file has it.

        The frozen states, and what leads to them, have no room for that.
        """
        has_room = self.frozen_target is None and self.state is not ServiceState.FROZEN_START
        return self._fail_back.stay if has_room else FREE

    def persist(self) -> Persist:
        """Return the write of its state as it is now."""
        # A STATE file has nothing for a state that is unknown: the wrapper is asked.
        target = None if self.state is ServiceState.UNKNOWN else self.frozen_target
        return Persist(self.spec.name, self.state, target, self.stay)

    @property
    def _may_go_back(self) -> bool:
        return self.spec.policy.failback_after_s is not None

    @property
    def is_away(self) -> bool:
        """True if it runs on its secondary, and goes back to its primary by itself."""
        is_here = self.role is Role.SECONDARY and self.state is ServiceState.STARTED
        return self._may_go_back and is_here

    @property
    def is_left_by_order(self) -> bool:
        """True if an operator has taken it from this node, and it could go back here."""
        is_out = self.state in PEER_OUT or self.state in STOP_BEGUN
        return self._may_go_back and is_out and self._fail_back.stay.is_ordered

    def _note_move(self, row: Row, old_state: ServiceState, at: Moment) -> None:
        """Note why the service moves, for those that go back to their primary."""
        if not self._may_go_back:
            return
        fail_back, trigger = self._fail_back, row.trigger
        is_waiting = old_state in (ServiceState.STOPPED, ServiceState.START_FAILED)
        if row.fails_back:
            fail_back.goes(at.now)
        elif trigger in OPERATOR:
            self._note_order(trigger, old_state, at)
        elif trigger is Trigger.PROBE_UP and old_state not in MAY_RUN:
            # Started by hand.
            fail_back.order()
        elif row.next is ServiceState.STOPPING and old_state not in STOP_BEGUN:
            # Stopped here by itself: nobody has chosen the place where it runs next.
            fail_back.leaves()
        elif row.next is ServiceState.START_READY and is_waiting:
            if at.view.is_unready(self.spec.name):
                # Its primary gave it away, as one that is evacuated does.
                fail_back.leaves_well()
            fail_back.comes(is_left_by_order(self.spec.name, at.view), at.now)
        if row.next is ServiceState.STARTED and old_state is not ServiceState.STARTED:
            fail_back.started_seq, fail_back.ready_since = at.next_seq, None

    def _note_order(self, trigger: Trigger, old_state: ServiceState, at: Moment) -> None:
        is_operators = self._pending is not None and self._pending.by == BY_OPERATOR
        if not is_operators:
            self._fail_back.forget_order()
        elif trigger is Trigger.UNFREEZE:
            if old_state is ServiceState.FROZEN_STOP:
                self._fail_back.unfreeze(at.now)
        elif trigger is not Trigger.FREEZE_START or old_state is not ServiceState.STARTED:
            self._fail_back.order()

    def _look_at_primary(self, at: Moment) -> None:
        if not self._may_go_back or self.role is not Role.SECONDARY:
            return
        state = at.view.state_of(self.spec.name)
        if state is ServiceState.START_FAILED:
            self._fail_back.primary_failed(at.now)
        elif state in UP:
            self._fail_back.primary_runs()

    def why_not_failed_back(self, at: Moment) -> str:
        """Return why it does not go back to its primary, whatever the time; empty if it may."""
        view, name = at.view, self.spec.name
        why = self._fail_back.why_not(at.now) or at.why_unsettled
        if why:
            return why
        peer, state = self._fencing.spec.peer, view.state_of(name)
        if state is not ServiceState.STOPPED:
            return f"it is {state.name} on {peer}"
        if view.is_unready(name):
            return f"{peer} reports that it could not start it"
        if view.is_isolated:
            return f"{peer} is isolated"
        if self._doubt is not None or self._dual.since is not None:
            return "it is not certain that it runs here alone"
        if view.acked_seq < (self._fail_back.started_seq or 0):
            return f"{peer} has not acknowledged yet that it runs here"
        if self.spec.policy.is_given_up and self._sight(at).is_frozen:
            return "its disks do not answer here, so that a stop would hang"
        return ""

    def fails_back_at(self, at: Moment) -> float | None:
        """Return when it is to go back to its primary, counting from now if nothing was; or None.

        To be called again and again: it counts while there is no reason against it.
        """
        after_s = self.spec.policy.failback_after_s
        if after_s is None or not self.is_away or self.why_not_failed_back(at):
            self._fail_back.ready_since = None
            return None
        if self._fail_back.ready_since is None:
            self._fail_back.ready_since = at.now
        return self._fail_back.ready_since + after_s

    def forget_readiness(self) -> None:
        """Count from the beginning: the cluster is not settled."""
        self._fail_back.ready_since = None

    def _explain_fail_back(self, at: Moment) -> tuple[str, float | None]:
        """Explain whether a service that is away goes back, and when; empty for any other.

        The instant is None if it stays, or waits for something.
        """
        after_s, peer = self.spec.policy.failback_after_s, self._fencing.spec.peer
        if after_s is None or not self.is_away:
            return "", None
        why = self.why_not_failed_back(at)
        if why:
            return f"does not go back to {peer}: {why}", None
        since = self._fail_back.ready_since
        due_at = None if since is None else since + after_s
        left_s = after_s if due_at is None else due_at - at.now
        if left_s > 0:
            return f"goes back to {peer} in {left_s:.0f} s", due_at
        then = f" once {at.moving} is not being moved any more" if at.moving else " now"
        return f"goes back to {peer}{then}", due_at

    def _wait_for_plan(self, is_waiting: bool) -> None:
        plan = self._fencing.desk.plan
        if is_waiting:
            plan.join(self.spec)
        elif self.is_fencing:
            plan.leave(self.spec.name)
        self.is_fencing = is_waiting

    def fence_ended(self, trigger: Trigger, detail: str, at: Moment) -> list[Action]:
        """Handle the end of a round of the fence plan that proved nothing for this service."""
        return self._apply(trigger, at, detail)

    def _record_parts(self, row: Row, now: float) -> list[Action]:
        """Record that parts of a stopped service are up; return the record the first time."""
        was_known, state = self._probe_at is not None, self.state
        is_suspect = was_known or self._seems_up
        is_found = row.trigger is Trigger.PROBE_SOME or (
            is_suspect and row.trigger is Trigger.PROBE_UNSURE
        )
        if is_found and state in PEER_OUT:
            self._probe_at = now + PROBE_AGAIN_S
            if not was_known:
                return [self._record(state.name, state.name, self.reason, is_alarm=True)]
        elif row.trigger in _ENDS_PARTS or row.run in (ScriptKind.START, ScriptKind.STOP):
            self._probe_at = None
        return []

    def _record_origin(self, row: Row, situation: Situation, now: float) -> None:
        """Record how this node came to run the service, or failed to: the policies depend on it."""
        if row.trigger is Trigger.START_FAILED:
            self._failures.record(now)
        elif self.state is not ServiceState.STOPPING:
            self._failures.is_script = False
        if row.trigger is Trigger.FORCE_START:
            self._dual.was_started_in_silence = situation.evidence not in _KNOWN_OUT

    def _hold_s(self, row: Row, is_moved: bool) -> float:
        if row.trigger is Trigger.STORE_FAILED:
            return STORE_RETRY_S
        if row.trigger is Trigger.STOP_OK and is_moved:
            return ISOLATED_HOLD_S
        if row.trigger in _NOTHING_STARTED or (
            row.trigger is Trigger.STOP_OK and self._failures.is_script
        ):
            return START_FAILURE_HOLD_S
        # Two nodes of the same role need different holds, else both would yield and retry at the
        # same time forever.
        return STOP_HOLD_S * (1.5 if self._goes_second else 1)

    def _situation(self, at: Moment) -> Situation:
        view, now = at.view, at.now
        silent = view.silent_since
        stops_at = self._dual.stops_at(self.spec.policy, self.role, self.pace.beat_interval_s)
        return Situation(
            role=self.role,
            evidence=view.evidence(self.spec.name, self.ready_seq),
            running=self.running,
            frozen_target=self.frozen_target,
            is_legacy=view.newest is not None and view.newest.is_legacy,
            is_watched_out=view.is_watched_out(self.spec.name, self._ready_since, now),
            is_delay_over=silent is not None
            and now >= max(silent, self._ready_since) + self._delay_s(view),
            is_held=now < self._hold_until or self.is_stop_unheard(view),
            is_check_valid=self._is_proved(silent, now),
            is_check_always=self._fencing.spec.fencing.is_check_always
            and (not self._fencing.desk.is_configured or self.spec.runs_check_too),
            # A script that always succeeds fences no node, and needs no turn.
            may_fence=silent is None
            or (
                not self._fencing.is_held(now)
                and (
                    not self._fencing.is_fenced(self.spec)
                    or self._fencing.may_fence_now(self.spec, view, now)
                )
            ),
            is_put_off=now < self._put_off_until,
            is_boot_blocked=self._fencing.is_boot_blocked(self.spec, now),
            is_retry_due=now >= self._fencing.retry_at(self.spec, now),
            is_defending=self.spec.policy.is_defended
            and self._fencing.is_fenced(self.spec)
            and not self._fencing.is_peer_fenced,
            is_fencing=self.is_fencing,
            is_plan_due=self._fencing.is_plan_due(self.spec, now),
            is_drain_due=self._fencing.desk.plan.is_draining(self.spec, now),
            is_round_over=not self._fencing.desk.plan.is_in_round,
            is_ejected=bool(self._fencing.ejector),
            is_cut_off=bool(at.cut_off),
            is_stop_due=at.is_stop_due,
            is_write_due=at.is_stop_due and not self._is_flushed,
            is_ownership_unconfirmed=self._doubt is not None,
            is_peer_started=view.state_of(self.spec.name) in UP,
            is_copy_to_stop=stops_at is not None and now >= stops_at,
            is_to_hand_over=(
                self._failures.lets_hand_over(self.spec.policy)
                and view.state_of(self.spec.name) is ServiceState.STOPPED
            ),
            is_reported_down=self._is_reported_down,
            is_found_in_part=self._probe_at is not None or self._seems_up,
            is_probe_due=self._seems_up or (self._probe_at is not None and now >= self._probe_at),
            is_peer_unready=self._is_peer_unready(view),
            was_never_started=self._was_never_started,
            is_stuck=self.state is ServiceState.START_READY
            and now >= self._ready_since + STUCK_S
            and self._goes_second,
            # Never beside a silent peer: there a start needs a proof, and then nothing is promised.
            is_promise_due=at.is_promise_due,
            is_silent=at.is_silent,
            **self._disk_facts(at),
            is_evacuated=at.evacuation.is_on,
            is_off_limits=at.evacuation.is_off_limits,
            is_to_fail_back=at.fails_back == self.spec.name and not self.why_not_failed_back(at),
            **self._reach_facts(at),
            leaving=at.leaving,
        )

    def _sight(self, at: Moment) -> DisksSight:
        return sight_of(self.spec.name, at.disks, at.view, at.now)

    def _disk_facts(self, at: Moment) -> dict[str, bool]:
        """Return what a situation says of the service's disks; nothing unless that is asked for."""
        policy, giving_up = self.spec.policy, self._giving_up
        if not policy.is_given_up:
            return {}
        sight = self._sight(at)
        return {
            "is_to_give_up": giving_up.is_due(policy, sight, at.now),
            "is_stop_unproved": giving_up.is_stop_unproved(sight),
            "is_flush_due": giving_up.is_flush_due(sight),
            "is_to_stop_again": giving_up.is_to_stop_again(sight),
            "is_to_freeze": giving_up.is_to_freeze,
            "is_left_to_peer": sight.is_frozen and not sight.why_not,
        }

    def _reach_facts(self, at: Moment) -> dict[str, bool]:
        """Return what a situation says of the targets; nothing without any."""
        reach = at.reach
        if not (reach.isolated or reach.is_open):
            return {}
        # What was proved by a deed from before, or by an operator, needs nobody else to answer.
        is_sure = self._fencing.is_proved_by_deed(self.spec, at.now)
        return {
            "is_isolated": bool(reach.isolated) and not is_sure,
            "is_reach_open": reach.is_open and not is_sure,
            "is_to_hand_to_peer": reach.is_peer_reachable and not self._why_not_handed_over(at),
        }

    def _why_not_handed_over(self, at: Moment) -> str:
        """Return why the peer would not take the service from an isolated node, or must not."""
        why = at.view.why_not_taking(self.spec.name)
        return why or self._moves.why_not(at.reach.since, at.now)

    @property
    def is_given_up(self) -> bool:
        """True from the decision to give it up until it was stopped, or something else decided."""
        return self._giving_up.is_going_on

    def why_not_given_up(self, at: Moment) -> str:
        """Return why this node need not be proved out for the service; empty if it must be."""
        if not self.spec.policy.is_given_up:
            return f"{self.spec.name} is not to be given up"
        return self._giving_up.why_not_needed(
            self.spec, self.state, self._sight(at), at.view, at.now
        )

    def why_not_silent(self, at: Moment) -> str:
        """Return why this node must not fall silent for another service; empty if it may."""
        name, nodes = self.spec.name, self._fencing.spec
        is_frozen_there = at.view.disks_of(name, at.now) is DiskAnswer.FROZEN
        if not self.may_run:
            # Two nodes that are silent at the same time are both reset, and take over nothing.
            is_stop_hung = is_frozen_there and at.view.state_of(name) in STOP_BEGUN
            is_second = is_stop_hung and nodes.node > nodes.peer
            return f"{nodes.peer} goes first, for {name}" if is_second else ""
        if self.state is ServiceState.FROZEN_START:
            return f"{name} is frozen as started here"
        if not self._fencing.is_fenced(self.spec):
            return (
                f"the check-up script of {name} proves nothing: the peer would start a second copy"
            )
        if is_frozen_there:
            return f"the disks of {name} do not answer on the peer"
        # Any other state may come of this very silence: the peer is about to take it.
        if at.view.state_of(name) is ServiceState.FROZEN_STOP:
            return f"{name} is frozen as stopped on the peer"
        return ""

    def _is_proved(self, silent_since: float | None, now: float) -> bool:
        """Return True if a silent peer is proved not to run this service."""
        if silent_since is None:
            return False
        if self._fencing.proof_for(self.spec, now) is not None:
            return True
        # As in the original, a script that always succeeds counts for the service it ran for, and
        # for no other.
        has_ended = self.state is ServiceState.STARTING and self.running is ScriptKind.CHECK
        is_original = has_ended and not self._fencing.is_fenced(self.spec)
        return is_original and silent_since <= self._check_began

    def _proof_text(self, situation: Situation, now: float) -> str:
        proof = self._fencing.proof_for(self.spec, now)
        return (
            f", proved out: {proof.text}" if proof and situation.evidence is Evidence.SILENT else ""
        )

    def _plan_text(self, now: float) -> str:
        proof = self._fencing.desk.plan.proof_for(self.spec, now)
        return "" if proof is None else f"proved out: {proof.text}"

    def _settle_doubt(self, at: Moment) -> list[Action]:
        """End the doubt once the peer has heard this node again and reports that it is out."""
        if self._doubt is None or self.running is ScriptKind.PROBE:
            return []
        view = at.view
        evidence = view.evidence(self.spec.name, self._doubt.seq)
        is_heard_out = evidence in (Evidence.OUT_ACKED, Evidence.DEPARTED_STOPPED)
        is_heard_busy = evidence is Evidence.BUSY and view.acked_seq >= self._doubt.seq
        if not (
            is_heard_out or is_heard_busy or view.is_watched_out(self.spec.name, self.since, at.now)
        ):
            return []
        text, self._doubt = f"{self._doubt.cause}; the peer confirms that it does not run it", None
        self.reason = text
        return [self._record(self.state.name, self.state.name, text)]

    def _update_dual_run(self, at: Moment) -> list[Action]:
        """Record the beginning and the end of a dual run, once each."""
        peer = at.view.state_of(self.spec.name)
        is_dual = self.state in UP and peer in UP_OR_STOPPING
        if not self._dual.update(is_dual, at.now):
            return []
        if is_dual:
            text = (
                f"DUAL RUN: {self.state.name} here and {peer.name} on the peer;"
                f" {self._dual_advice(peer)}"
            )
            return [self._record(self.state.name, "DUAL RUN", text, is_alarm=True)]
        is_leftover = self.state in UP and peer is ServiceState.STOP_FAILED
        text = (
            _DUAL_RUN_ENDS.get(peer, "one node runs it again")
            if self.state in UP
            else "this copy is being stopped"
        )
        return [self._record("DUAL RUN", self.state.name, text, is_alarm=is_leftover)]

    def next_deadline(self, view: PeerView, now: float) -> float | None:
        """Return when time alone may move this service; None if it cannot."""
        due_at = self._next_deadline(view, now)
        drained_at = self._fencing.desk.plan.draining.get(self.spec.name, now)
        if drained_at <= now:
            return due_at
        # What is due already waits for that.
        return drained_at if due_at is None or due_at <= now else min(due_at, drained_at)

    def _next_deadline(self, view: PeerView, now: float) -> float | None:
        if self.state is ServiceState.START_READY:
            if now < self._put_off_until:
                return self._put_off_until
            # An acknowledgement comes as an event: time alone only ends a wait of both nodes.
            if view.silent_since is None:
                return self._ready_since + STUCK_S
            delay_ends = max(view.silent_since, self._ready_since) + self._delay_s(view)
            return max(delay_ends, self._fence_due(view, now)) if now >= delay_ends else delay_ends
        if (
            self.state is ServiceState.START_FAILED
            and self._was_never_started
            and view.silent_since is not None
        ):
            return self._fencing.retry_at(self.spec, now)
        if self.is_fencing and self.state is ServiceState.STARTING:
            return self._fence_due(view, now) if view.silent_since is not None else None
        if (
            self.state is ServiceState.STARTED
            and self.spec.policy.is_defended
            and view.silent_since is not None
        ):
            return max(
                view.silent_since + self._delay_s(view),
                self._fence_due(view, now),
                self._put_off_until,
            )
        ahead = (
            [self._hold_until]
            if self.state is ServiceState.STOPPED and self._hold_until > now
            else []
        )
        if self._probe_at is not None and self.state in PEER_OUT and self.running is None:
            ahead.append(self._probe_at)
        if self.state is ServiceState.STOPPED and view.silent_since is not None:
            ends = self._fencing.boot_block_ends(self.spec)
            ahead += [] if ends is None or ends <= now else [ends]
        if ahead:
            return min(ahead)
        return self._dual.stops_at(self.spec.policy, self.role, self.pace.beat_interval_s)

    def _delay_s(self, view: PeerView) -> float:
        return self._fencing.delay_s(self.spec, view)

    def _fence_due(self, view: PeerView, now: float) -> float:
        """Return when this service may fence the peer, as far as time decides it."""
        held_until = self._fencing.held_until
        if not self._fencing.is_fenced(self.spec) or self._fencing.flight is not None:
            return max(now, held_until)
        return max(
            self._fencing.retry_at(self.spec, now), self._fencing.turn_opens(view, now), held_until
        )

    def abandon(self, detail: str, at: Moment) -> list[Action]:
        """Answer a waiting command, since the service is being removed."""
        waiting, self._pending = self._pending, None
        if waiting is None:
            return []
        return [self._last_answer(waiting, AnswerCode.ROLLED_BACK, at, detail, is_ok=False)]

    def _is_peer_unready(self, view: PeerView) -> bool:
        return (
            view.is_unready(self.spec.name)
            and view.state_of(self.spec.name) is ServiceState.STOPPED
        )

    @property
    def _goes_second(self) -> bool:
        """Break a tie of the roles by name, for nodes whose services files differ.

        The last name waits.
        """
        own = self.spec.primary if self.role is Role.PRIMARY else self.spec.secondary
        return own == max(self.spec.primary, self.spec.secondary)

    @property
    def announced(self) -> ServiceState:
        """Return the state to announce, restricted to what this node is certain of.

        The peer starts the service on "out": that is not announced before the wrapper has answered,
        nor while parts are up.
        """
        if self.state in PEER_OUT:
            is_asked = self._must_probe or self._seems_up or self.running is ScriptKind.PROBE
            is_sure = not is_asked and self._probe_at is None
        else:
            is_sure = self._doubt is None or self.state is not ServiceState.STARTED
        return self.state if is_sure else ServiceState.UNKNOWN

    @property
    def is_ownership_unconfirmed(self) -> bool:
        """True while this node waits for the peer's acknowledgement."""
        return self._doubt is not None

    def is_waiting_for_ack(self, view: PeerView) -> bool:
        """Return True while the service waits for the peer's acknowledgement."""
        is_asking = self._doubt is not None or self.state is ServiceState.START_READY
        return is_asking or self.is_stop_unheard(view)

    def is_stop_unheard(self, view: PeerView) -> bool:
        """Return True while a live peer has not acknowledged the stop in its favour.

        A peer with many services, or with a slow disk, may need longer for that than the hold
        lasts.
        """
        if (
            self._stopped_seq is None
            or view.standing is not PeerStanding.LIVE
            or (view.newest and view.newest.is_legacy)
        ):
            return False
        return view.acked_seq < self._stopped_seq

    def _dual_advice(self, peer: ServiceState) -> str:
        if peer is ServiceState.STOPPING:
            return "the peer is stopping its copy"
        if self._doubt is not None and self.state is ServiceState.STARTED:
            return "this node was away and stops its copy"
        policy = self.spec.policy.on_dual_run
        return (
            "stop it on one node" if policy is OnDualRun.REPORT else f"on_dual_run = {policy.value}"
        )

    @property
    def may_run(self) -> bool:
        """True while some of the service may be in use here."""
        return (
            self.running is not None
            or self.state in MAY_RUN
            or self._probe_at is not None
            or self._seems_up
        )

    @property
    def is_in_use(self) -> bool:
        """True while some of the service may be in use here, or its start script runs.

        A query of the wrapper uses nothing of it.
        """
        has_parts = self._probe_at is not None or self._seems_up
        return has_parts or (self.state in MAY_RUN and not self.is_starting)

    @property
    def is_starting(self) -> bool:
        """True while the service is about to be started, and nothing of it was."""
        if self.state is ServiceState.STARTING:
            return self.running not in (ScriptKind.START, ScriptKind.PROBE)
        return self.state is ServiceState.START_READY

    def status(self, at: Moment) -> ServiceStatus:
        """Return the service's status as shown to the operator."""
        view, now = at.view, at.now
        peer_state = view.state_of(self.spec.name)
        is_primary = self.role is Role.PRIMARY
        sight = self._sight(at) if self.spec.policy.is_given_up else None
        # A situation is only made where it is looked at: there may be a thousand services.
        is_ready = self.state is ServiceState.START_READY
        waits_for = explanations.explain_wait(self.state, self._situation(at)) if is_ready else ""
        is_put_off = is_ready and now < self._put_off_until
        texts = [self.reason, waits_for] if is_put_off else [waits_for or self.reason]
        if self._fencing.ejector and self.state in PEER_OUT:
            texts.append(f"not started here: {self._fencing.ejector}")
        elif at.cut_off and self.state in PEER_OUT:
            texts.append(f"not started here: {at.cut_off}")
        elif at.reach.isolated and self.state in PEER_OUT and view.silent_since is not None:
            texts.append(f"not taken over: {at.reach.isolated}")
        elif at.reach.isolated and self.state is ServiceState.FROZEN_START:
            texts.append(f"this node is {at.reach.isolated}; an operator froze it: not handed over")
        elif at.reach.isolated and self.state is ServiceState.STARTED:
            texts.append(self._isolation_text(at))
        elif at.is_stop_due and self.state is ServiceState.FROZEN_START:
            texts.append(f"{at.cut_off}: frozen, and not stopped; the watchdog resets this node")
        if self._dual.since is not None:
            texts = [f"DUAL RUN: both nodes run it; {self._dual_advice(peer_state)}"]
        elif self._doubt is not None:
            texts.append(
                f"{self._doubt.cause}: the peer, {view.standing.value}, has not confirmed yet that"
                " it did not take it"
            )
        elif view.silent_since is not None and (advice := self._fence_advice(view, now)):
            texts.append(advice)
        elif self.state is ServiceState.START_FAILED and self._failures.explain(self.spec.policy):
            texts.append(self._failures.explain(self.spec.policy))
        elif view.standing is PeerStanding.LIVE and self.spec.name not in view.states:
            texts.append("the peer does not know this service")
        elif self.state is ServiceState.STOPPED:
            is_held_back = view.standing is PeerStanding.UNKNOWN and view.held_back
            texts.append(
                f"not started here: no verdict about the peer: {view.held_back}"
                if is_held_back
                else explanations.explain_standby(self._situation(at), view.standing)
            )
        if self.running is ScriptKind.PROBE and self.state in PEER_OUT:
            texts.append(
                "its status script runs, and until that ends it is not announced to the peer as out"
            )
        if at.drill:
            texts.append(at.drill)
        if sight is not None:
            policy, silence = self.spec.policy, self._silence_text(at)
            texts.append(self._giving_up.explain(self.state, policy, sight, silence, now))
        fail_back, fails_back_at = self._explain_fail_back(at)
        texts.append(fail_back)
        return ServiceStatus(
            name=self.spec.name,
            primary=self.spec.primary,
            secondary=self.spec.secondary,
            primary_state=self.state if is_primary else peer_state,
            secondary_state=peer_state if is_primary else self.state,
            own_state=self.state,
            peer_state=peer_state,
            reason="; ".join(text for text in texts if text),
            since=self.since,
            script="" if self.running is None else self.running.value,
            is_dual_run=self._dual.since is not None,
            has_parts_up=self._probe_at is not None,
            disks="" if sight is None else sight.own_text,
            peer_disks="" if sight is None else sight.peer_text,
            failback=fail_back,
            fails_back_at=fails_back_at,
            is_kept_here=bool(fail_back and self._fail_back.why_not(now)),
        )

    def _isolation_text(self, at: Moment) -> str:
        text = f"this node is {at.reach.isolated}"
        if not at.reach.is_peer_reachable:
            return text
        why_not = self._why_not_handed_over(at)
        return f"{text}; not handed over: {why_not}" if why_not else text

    def _silence_text(self, at: Moment) -> str:
        if at.why_not_silent:
            return f"this node does not fall silent for it: {at.why_not_silent}"
        if not at.is_silent or at.drill:
            return ""
        return "this node keeps silent until it is reset or fenced, or the disks answer"

    def _fence_advice(self, view: PeerView, now: float) -> str:
        """Explain a wait for proof that a silent peer is out; empty without an unusual wait."""
        fencing, peer = self._fencing, self._fencing.spec.peer
        confirm = f"if {peer} runs nothing: openha fence confirm {peer}"
        if self.state is ServiceState.STOPPED and fencing.is_boot_blocked(self.spec, now):
            is_one_way = fencing.has_heard_one_way
            why = explanations.BOOT_UNANSWERED if is_one_way else explanations.BOOT_BLOCKED
            return f"{why}; {confirm}"
        is_waiting = self.state is ServiceState.START_READY or (
            self.state is ServiceState.START_FAILED and self._was_never_started
        )
        if self.is_fencing:
            return fencing.desk.explain(now)
        if not is_waiting or not fencing.is_fenced(self.spec):
            return ""
        if fencing.is_plan_due(self.spec, now) and not fencing.desk.plan.can_prove(self.spec):
            needs = self.spec.fence_needs.value
            return f"no level of the fence plan proves what it needs ({needs}); {confirm}"
        if fencing.is_plan_due(self.spec, now) and fencing.desk.plan.begins_with_lease(self.spec):
            return fencing.desk.explain_lease(now)
        flight = fencing.flight
        if flight is not None and flight.service != self.spec.name:
            return f"the peer is being fenced by the check-up script of {flight.service}"
        retry_s, turn_s = (
            fencing.retry_at(self.spec, now) - now,
            fencing.turn_opens(view, now) - now,
        )
        if retry_s > 0:
            return f"next try in {retry_s:.0f} s; {confirm}"
        is_over = (
            self.state is ServiceState.START_READY
            and now >= self._ready_since + self._delay_s(view)
        )
        return (
            f"this node's turn to fence is in {turn_s:.0f} s; {confirm}"
            if turn_s > 0 and is_over
            else ""
        )

    def explain_confirmed(self, at: Moment) -> str:
        """Describe what happens to the service after a confirmation that the peer is out."""
        return explanations.explain_confirmed(self.state, self._situation(at))

    def _record(
        self, old: str, new: str, reason: str, is_alarm: bool = False, rule: str = ""
    ) -> Record:
        return Record(RecordKind.SERVICE, self.spec.name, old, new, reason, is_alarm, rule)

    def _script(self, kind: ScriptKind, view: PeerView) -> RunScript:
        path = self.spec.check if kind is ScriptKind.CHECK else self.spec.script
        peer_state, standing = view.for_script(self.spec.name)
        return RunScript(self.spec.name, kind, path, peer_state, standing)

    def _answer(self, code: AnswerCode, at: Moment) -> Answer:
        """Return the one-line answer to the pending command."""
        assert self._pending is not None, "only a command is answered"
        peer_state = at.view.state_of(self.spec.name)
        asked = self._pending
        return Answer(
            asked.command_id, asked.command.value, self.spec.name, code, self.state, peer_state
        )

    def _last_answer(
        self, asked: CommandReceived, code: AnswerCode, at: Moment, detail: str, is_ok: bool
    ) -> Answer:
        return Answer(
            asked.command_id,
            asked.command.value,
            self.spec.name,
            code,
            self.state,
            at.view.state_of(self.spec.name),
            detail,
            is_last=True,
            is_ok=is_ok,
        )

    def _refusal(self, asked: CommandReceived, at: Moment, detail: str) -> Answer:
        return self._last_answer(asked, AnswerCode.REFUSED, at, detail, is_ok=False)
