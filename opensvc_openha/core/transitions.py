"""Define the rules: own state and trigger, guard, next state and script of every transition.

The first row whose guard holds is applied. An operator's command without such a row is refused; any
other trigger without one changes nothing. Where a row leads from and to the same state, only its
script, freeze or hold matters.

         unfreeze       evidence           check-up        start
    FROZEN_STOP -> STOPPED ---> START_READY -------> STARTING ---> STARTED -> STOPPING -> STOPPED
                                     |                  | (check)     |
                                     +-- rolled back ---+             +-> FROZEN_START
                                     v                  v
                                  STOPPED          START_FAILED
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from opensvc_openha.core.actions import AnswerCode
from opensvc_openha.core.events import Leaving, ScriptKind
from opensvc_openha.core.model import Role
from opensvc_openha.core.peer_view import Evidence
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.records import dataclass


class Trigger(enum.Enum):
    """Events that may move a service."""

    EVALUATE = "evaluate"
    CHECK_OK = "check ok"
    CHECK_FAILED = "check failed"
    START_OK = "start ok"
    START_FAILED = "start failed"
    START_NOT_BEGUN = "start not begun"
    STOP_OK = "stop ok"
    STOP_FAILED = "stop failed"
    POSTPONED = "postponed"
    PROBE_UP = "probe up"
    PROBE_DOWN = "probe down"
    PROBE_SOME = "probe some"
    PROBE_UNSURE = "probe unsure"
    STORE_FAILED = "store failed"
    FENCE_FAILED = "fence failed"
    FENCE_LOST = "fence lost"
    START = "start"
    STOP = "stop"
    FREEZE_STOP = "freeze-stop"
    FREEZE_START = "freeze-start"
    UNFREEZE = "unfreeze"
    FORCE_STOP = "force-stop"
    FORCE_START = "force-start"


OPERATOR = frozenset(
    {
        Trigger.START,
        Trigger.STOP,
        Trigger.FREEZE_STOP,
        Trigger.FREEZE_START,
        Trigger.UNFREEZE,
        Trigger.FORCE_STOP,
        Trigger.FORCE_START,
    }
)
"""Triggers that an operator gives: refused if no row applies."""


@dataclass(frozen=True)
class Situation:
    """Everything that a guard may depend on."""

    role: Role
    evidence: Evidence
    running: ScriptKind | None = None
    frozen_target: S | None = None
    """Frozen state in which the running operation must end."""
    is_delay_over: bool = False
    """The start-ready delay has passed since the peer fell silent and since START_READY began."""
    is_held: bool = False
    """The hold after an operator's stop, or after a state could not be written, is still running.
    """
    is_check_valid: bool = False
    """The peer is proved out: by a check-up script begun in its silence, or by an operator."""
    is_check_always: bool = False
    """The check-up script also runs before a start while the peer is heard."""
    may_fence: bool = True
    """No fence is in flight, none failed just now, this node has heard its peer since it booted,
    and it is its turn."""
    is_boot_blocked: bool = False
    """The peer has not answered this node since it booted: it neither fences nor starts."""
    is_put_off: bool = False
    """A script could not begin just now and was postponed."""
    is_retry_due: bool = False
    """The wait after a failed fence is over."""
    is_defending: bool = False
    """The service runs here, is to be defended, and the silent peer was not fenced yet."""
    is_legacy: bool = False
    """The peer is heard as a C OpenHA, which acknowledges nothing."""
    is_watched_out: bool = False
    """A C OpenHA has announced the same out-state in each beat of the whole start-ready delay."""
    is_ownership_unconfirmed: bool = False
    """This node was away (restarted, or stalled) while it ran the service.

    Not confirmed by the peer since.
    """
    is_peer_started: bool = False
    """The peer is heard and reports that it runs the service, its start script having ended."""
    is_copy_to_stop: bool = False
    """Both nodes run the service, and the policy makes this one stop its copy now."""
    is_to_hand_over: bool = False
    """A start script failed here; the policy hands the service to the peer, which is STOPPED."""
    is_reported_down: bool = False
    """Frozen as started, but the wrapper reported that nothing runs."""
    is_found_in_part: bool = False
    """Stopped, but the wrapper reported some of it up: the peer is not given "out"."""
    is_probe_due: bool = False
    """Parts were found up, and it is time to query the wrapper again."""
    is_peer_unready: bool = False
    """The peer is STOPPED and would take the service, but reports that it could not start it."""
    was_never_started: bool = False
    """START_FAILED because the check-up script failed while the peer was silent.

    Nothing was started.
    """
    is_stuck: bool = False
    """START_READY on both nodes for too long; this one yields whatever its role."""
    is_fencing: bool = False
    """It waits for the proof of the node's fence plan."""
    is_plan_due: bool = False
    """The node has a fence plan, and it has not proved the peer out for this service."""
    is_drain_due: bool = False
    """A step of the plan takes its disks: what the peer had on its way may land until that ends."""
    is_round_over: bool = False
    """No round of the fence plan is going on any more."""
    is_ejected: bool = False
    """This node has lost the right to its data: the peer has won the arbiter's claim."""
    is_cut_off: bool = False
    """Nothing confirms that this node lives: it starts nothing unless its peer is proved out."""
    is_stop_due: bool = False
    """It is cut off, and stops what it runs before its watchdog resets it."""
    is_promise_due: bool = False
    """This node's promise is to be confirmed before it starts anything beside a peer that is heard.
    """
    is_silent: bool = False
    """This node keeps silent on purpose: what it did the peer would not hear of."""
    is_to_give_up: bool = False
    """Its disks are frozen here, for long enough; the peer reads them, and would start it."""
    is_stop_unproved: bool = False
    """Its disks do not answer, so that what it wrote may be on its way when its stop has ended."""
    is_flush_due: bool = False
    """Its disks answer, and did not at some time since its stop began."""
    is_write_due: bool = False
    """This node is cut off, and nothing waits for what it has written: that may land later."""
    is_to_stop_again: bool = False
    """Its stop failed while its disks did not answer; now they do."""
    is_to_freeze: bool = False
    """It is to be frozen as stopped then."""
    is_left_to_peer: bool = False
    """Its disks are frozen here; the peer reads them, and may start it."""
    is_evacuated: bool = False
    """An operator keeps services away from this node while the peer is heard."""
    is_off_limits: bool = False
    """An operator keeps services away from this node, whatever happens."""
    is_to_fail_back: bool = False
    """It goes back to its primary, which is heard, STOPPED, and has been ready for long enough."""
    is_isolated: bool = False
    """None of its targets answers this node: it neither fences nor takes over from a silent peer.

    False where a fence from before that, or an operator, has proved the peer out.
    """
    is_reach_open: bool = False
    """That is not known yet since the peer fell silent; False likewise."""
    is_to_hand_to_peer: bool = False
    """This node is isolated; the peer is not, and would take the service."""
    leaving: Leaving | None = None

    @property
    def is_heard(self) -> bool:
        """True if the peer is heard, or said goodbye with the service out."""
        return self.evidence not in (Evidence.SILENT, Evidence.UNHEARD)


Guard = Callable[[Situation], bool]


@dataclass(frozen=True)
class Row:
    """One rule: the condition, and what follows from it.

    ``clears`` forgets the frozen state in which the operation must end, ``frozen_target`` sets it.
    ``ready`` is the answer to the operator before the row, ``done`` the one after it, ``also``
    another one right after ``ready`` or right before ``done``, whichever the row has.
    """

    state: S
    trigger: Trigger
    guard: Guard
    next: S
    reason: str
    run: ScriptKind | None = None
    clears: bool = False
    frozen_target: S | None = None
    holds: bool = False
    gives_up: bool = False
    """The service is given up: until it is stopped, disks that do not answer count."""
    hands_over: bool = False
    """It is handed over to the peer, since this node is isolated."""
    stops_again: bool = False
    """It is stopped once more: its disks answer again, or nothing has waited for them."""
    fails_back: bool = False
    """It goes back to its primary."""
    fences: bool = False
    """The service waits for the proof of the node's fence plan from now on."""
    ready: AnswerCode | None = None
    also: AnswerCode | None = None
    done: AnswerCode | None = None

    def target_after(self, before: S | None) -> S | None:
        """Return the frozen state in which the operation must end from now on."""
        return self.frozen_target or (None if self.clears else before)

    @property
    def name(self) -> str:
        """Name used by the history: ``STOPPED, evaluate -> START_READY``."""
        return f"{self.state.name}, {self.trigger.value} -> {self.next.name}"


def _idle(s: Situation) -> bool:
    return s.running is None


def _is_cut_off(s: Situation) -> bool:
    # A peer that is proved out, or left in order, cannot take over what this node cannot be seen to
    # run.
    is_out = s.evidence is Evidence.SILENT and s.is_check_valid
    return s.is_cut_off and not (is_out or s.evidence is Evidence.DEPARTED_STOPPED)


def _is_isolated(s: Situation) -> bool:
    # Beside a peer that is heard, or left in order, nobody is shot and nobody else can run it.
    return s.is_isolated and s.evidence is Evidence.SILENT


def _is_kept_away(s: Situation) -> bool:
    # A peer that dies, or leaves, while this node is being maintained is what a standby is for; so
    # is one that could not start the service, being evacuated as well, for one.
    is_peer_there = s.evidence in (Evidence.OUT, Evidence.OUT_ACKED) and not s.is_peer_unready
    return s.is_off_limits or (s.is_evacuated and is_peer_there)


def _may_begin(s: Situation) -> bool:
    """Return True if nothing prevents START_READY. A start takes more than that."""
    # START_READY runs nothing: it announces the wish to start, so that a live peer can object and a
    # silent one has a last chance to be heard.
    out = (Evidence.OUT, Evidence.OUT_ACKED, Evidence.DEPARTED_STOPPED, Evidence.SILENT)
    is_blocked = s.is_ejected or s.is_silent or _is_cut_off(s)
    is_blocked = is_blocked or _is_isolated(s)
    is_blocked = is_blocked or (s.evidence is Evidence.SILENT and s.is_boot_blocked)
    is_blocked = is_blocked or _is_kept_away(s)
    return s.running is None and s.leaving is None and s.evidence in out and not is_blocked


def _may_retry(s: Situation) -> bool:
    return (
        s.was_never_started
        and s.evidence is Evidence.SILENT
        and (s.is_retry_due or s.is_check_valid)
        and _may_begin(s)
    )


def _is_proved_out(s: Situation) -> bool:
    # OUT alone may date from before the peer heard of START_READY, and both nodes could start. A C
    # OpenHA never acknowledges: watching it for the whole delay replaces that.
    if s.evidence is Evidence.OUT:
        return s.is_legacy and s.is_watched_out
    return s.evidence in (Evidence.OUT_ACKED, Evidence.DEPARTED_STOPPED)


def _may_fence(s: Situation) -> bool:
    # A fence cannot be undone: only in this node's turn, and never by a node that leaves, that may
    # itself have been fenced, or that has lost its right.
    return (
        s.evidence is Evidence.SILENT
        and s.leaving is None
        and s.is_delay_over
        and s.may_fence
        and not s.is_boot_blocked
        and not s.is_put_off
        and not s.is_ejected
        and not s.is_silent
        and not s.is_cut_off
        and not s.is_isolated
        and not s.is_reach_open
    )


def _may_carry_out_plan(s: Situation) -> bool:
    return s.is_plan_due and _may_fence(s)


def _may_check(s: Situation) -> bool:
    # A script of the service's own comes after the proof of the node's plan.
    if s.evidence is Evidence.SILENT:
        return not s.is_drain_due and (not s.is_plan_due and _may_fence(s))
    if s.is_silent or s.is_cut_off:
        return False
    is_free = not s.is_put_off and s.leaving is None and not s.is_promise_due
    return is_free and s.is_check_always and _is_proved_out(s)


def _is_to_defend(s: Situation) -> bool:
    is_sure = _idle(s) and not s.is_ownership_unconfirmed
    return is_sure and s.is_defending and s.evidence is Evidence.SILENT


def _may_defend(s: Situation) -> bool:
    return _is_to_defend(s) and _may_check(s)


def _may_defend_by_plan(s: Situation) -> bool:
    return _is_to_defend(s) and not s.is_fencing and _may_carry_out_plan(s)


def _defends_no_more(s: Situation) -> bool:
    is_possible = s.evidence is Evidence.SILENT and s.leaving is None and s.is_plan_due
    return s.is_fencing and (s.is_round_over or not is_possible)


def _is_proved_silent(s: Situation) -> bool:
    is_kept = s.is_isolated or s.is_reach_open
    return (s.evidence is Evidence.SILENT and s.is_check_valid) and not is_kept


def _needs_no_check(s: Situation) -> bool:
    return (
        not s.is_put_off
        and not s.is_promise_due
        and _may_start(s)
        and (s.evidence is Evidence.SILENT or not s.is_check_always)
    )


def _may_start(s: Situation) -> bool:
    """Return True if the service may start: the start rule.

    The peer has acknowledged START_READY, or departed with the service out, or is silent and a
    check-up script has succeeded since. A C OpenHA cannot acknowledge: it must have been heard out
    for the whole delay, as in the original.
    """
    return (
        s.leaving is None
        and not s.is_ejected
        and not s.is_silent
        and not _is_cut_off(s)
        and not s.is_drain_due
        and (_is_proved_out(s) or _is_proved_silent(s))
    )


def _may_start_fenced(s: Situation) -> bool:
    return s.is_fencing and not s.is_promise_due and _may_start(s)


def _must_yield(s: Situation) -> bool:
    if s.leaving is not None or s.evidence in (Evidence.RUNS, Evidence.BUSY, Evidence.UNHEARD):
        return True
    # Both nodes want to start: the secondary yields, unless both take themselves for the primary.
    return s.evidence is Evidence.READY and (s.role is Role.SECONDARY or s.is_stuck)


def _waits_in_vain(s: Situation) -> bool:
    # Whoever has the proof, and only waits for writes to land, need not be asked again and again.
    is_proved = s.evidence is Evidence.SILENT and not s.is_plan_due and not s.is_drain_due
    is_on = s.evidence is Evidence.SILENT and not s.is_round_over
    return s.is_fencing and not is_on and not is_proved


def _was_taken_over(s: Situation) -> bool:
    return _idle(s) and s.is_ownership_unconfirmed and s.is_peer_started


def _must_stop_cut_off(s: Situation) -> bool:
    return _idle(s) and s.leaving is None and s.is_stop_due


def _must_give_up(s: Situation) -> bool:
    is_sure = _idle(s) and not s.is_ownership_unconfirmed
    return is_sure and s.leaving is None and s.is_to_give_up


def _must_hand_over(s: Situation) -> bool:
    is_sure = _idle(s) and not s.is_ownership_unconfirmed
    return is_sure and s.leaving is None and s.is_to_hand_to_peer


def _must_stop_again(s: Situation) -> bool:
    return _idle(s) and s.leaving is None and s.is_to_stop_again


def _must_fail_back(s: Situation) -> bool:
    is_sure = _idle(s) and not s.is_ownership_unconfirmed
    is_possible = s.leaving is None and s.role is Role.SECONDARY and not s.is_peer_unready
    return is_sure and is_possible and s.is_to_fail_back


def _script(kind: ScriptKind) -> Guard:
    return lambda s: s.running is kind


def _ends(kind: ScriptKind, frozen_target: S | None) -> Guard:
    return lambda s: s.running is kind and s.frozen_target is frozen_target


def _freezing(s: Situation) -> bool:
    return s.running is ScriptKind.PROBE and s.frozen_target is S.FROZEN_STOP


_A, _K, _T = AnswerCode, ScriptKind, Trigger
_BEFORE_START = (_K.CHECK, _K.START)

_OUT_HERE = (S.STOPPED, S.FROZEN_STOP)
_NOT_STARTED = (*_OUT_HERE, S.START_FAILED, S.STOP_FAILED)
_SOME_UP = (
    "parts of it are up by the wrapper's status: the peer does not start it; freeze-stop stops them"
)

_ORDERED = "{by}: {trigger}"

_CONDEMNED = "nothing is started: {ejector}"
_CUT_OFF = "nothing is started: {cut_off}"
_ISOLATED = "nothing is taken over: {isolated}"
_EVACUATED = "nothing is started: this node is evacuated"
_GIVEN_UP = "its disks have not answered here for {frozen_s} s, and the peer reads them: given up"
_AGAIN = "its disks answer again: it is stopped once more"
_EJECTED = "{ejector}: what runs here has lost its right to the data"

# fmt: off
_START_ROWS = (
    Row(S.STOPPED, _T.EVALUATE,
        lambda s: _may_begin(s) and not s.is_held and not s.is_left_to_peer,
        S.START_READY, "peer is {evidence}", clears=True),
    # The evacuation was ordered, or the peer was heard again, since it was announced.
    Row(S.START_READY, _T.EVALUATE, lambda s: _idle(s) and _is_kept_away(s),
        S.STOPPED, _EVACUATED, clears=True, done=_A.ROLLED_BACK),
    # First match wins: a start on sufficient proof comes before a check-up, and both before
    # yielding.
    Row(S.START_READY, _T.EVALUATE, _needs_no_check,
        S.STARTING, "peer is {evidence}{proof}", run=_K.START),
    Row(S.START_READY, _T.EVALUATE, _may_carry_out_plan,
        S.STARTING, "peer is {evidence}: it is fenced", fences=True),
    Row(S.START_READY, _T.EVALUATE, _may_check,
        S.STARTING, "peer is {evidence}, check-up script", run=_K.CHECK),
    Row(S.START_READY, _T.EVALUATE, lambda s: _idle(s) and s.is_ejected,
        S.STOPPED, _CONDEMNED, clears=True, done=_A.ROLLED_BACK),
    Row(S.START_READY, _T.EVALUATE, lambda s: _idle(s) and _is_cut_off(s),
        S.STOPPED, _CUT_OFF, clears=True, done=_A.ROLLED_BACK),
    Row(S.START_READY, _T.EVALUATE, lambda s: _idle(s) and _is_isolated(s),
        S.STOPPED, _ISOLATED, clears=True, done=_A.ROLLED_BACK),
    Row(S.START_READY, _T.EVALUATE, _must_yield,
        S.STOPPED, "peer is {evidence}, it goes first", clears=True, holds=True,
        done=_A.ROLLED_BACK),
    # The round may have ended, and the peer may have come back, since the service began to wait.
    Row(S.STARTING, _T.EVALUATE, _may_start_fenced,
        S.STARTING, "peer is {evidence}{proof}", run=_K.START),
    Row(S.STARTING, _T.EVALUATE, lambda s: s.is_fencing and _may_check(s),
        S.STARTING, "peer is {evidence}, {plan}; check-up script", run=_K.CHECK),
    Row(S.STARTING, _T.EVALUATE, lambda s: s.is_fencing and s.is_ejected,
        S.STOPPED, _CONDEMNED, clears=True, done=_A.ROLLED_BACK),
    Row(S.STARTING, _T.EVALUATE, lambda s: s.is_fencing and _is_cut_off(s),
        S.STOPPED, _CUT_OFF, clears=True, done=_A.ROLLED_BACK),
    # While a shot is in the air its end is awaited: what it proves is used all the same.
    Row(S.STARTING, _T.EVALUATE,
        lambda s: s.is_fencing and s.is_round_over and _is_isolated(s),
        S.STOPPED, _ISOLATED, clears=True, done=_A.ROLLED_BACK),
    Row(S.STARTING, _T.EVALUATE, lambda s: s.is_fencing and _must_yield(s),
        S.STOPPED, "while it was fenced the peer is {evidence}", clears=True,
        done=_A.ROLLED_BACK),
    Row(S.STARTING, _T.EVALUATE, _waits_in_vain,
        S.START_READY, "peer is {evidence}: the fence begins again, should it be needed"),
    # Nothing was started: the next round is made by itself. Another one of those who waited may
    # have its proof all the same.
    Row(S.STARTING, _T.FENCE_FAILED, lambda s: s.is_fencing and s.is_plan_due,
        S.START_FAILED, "not proved: {detail}", clears=True, done=_A.FAILED),
    Row(S.STARTING, _T.FENCE_LOST, lambda s: s.is_fencing,
        S.STOPPED, _CONDEMNED + ": {detail}", clears=True, done=_A.FAILED),
    # No part of the service was started, so that no operator needs to clear the failure.
    Row(S.START_FAILED, _T.EVALUATE, lambda s: _idle(s) and s.was_never_started and s.is_heard,
        S.STOPPED, "nothing was started, and the peer is heard again", holds=True),
    Row(S.START_FAILED, _T.EVALUATE, _may_retry,
        S.START_READY, "nothing was started: next try, peer is {evidence}{proof}", clears=True),
    Row(S.START_FAILED, _T.EVALUATE,
        lambda s: _idle(s) and s.was_never_started and s.is_ejected,
        S.STOPPED, _CONDEMNED),
    Row(S.START_FAILED, _T.EVALUATE,
        lambda s: _idle(s) and s.was_never_started and _is_cut_off(s),
        S.STOPPED, _CUT_OFF),
    Row(S.START_FAILED, _T.EVALUATE,
        lambda s: _idle(s) and s.was_never_started and _is_isolated(s),
        S.STOPPED, _ISOLATED),
    Row(S.START_FAILED, _T.EVALUATE,
        lambda s: _idle(s) and s.was_never_started and _is_kept_away(s),
        S.STOPPED, _EVACUATED),
    # The check-up script takes time, in which the peer may have come back: the evidence is judged
    # again before the start script.
    Row(S.STARTING, _T.CHECK_OK, lambda s: s.running is _K.CHECK and _may_start(s),
        S.STARTING, "check-up script succeeded, peer is {evidence}", run=_K.START),
    Row(S.STARTING, _T.CHECK_OK, lambda s: s.running is _K.CHECK and _must_yield(s),
        S.STOPPED, "after the check-up script the peer is {evidence}", clears=True,
        done=_A.ROLLED_BACK),
    Row(S.STARTING, _T.CHECK_OK, _script(_K.CHECK),
        S.START_READY, "after the check-up script the peer is {evidence}"),
    Row(S.STARTING, _T.CHECK_FAILED, lambda s: s.running is _K.CHECK and s.is_heard,
        S.STOPPED, "nothing was started, check-up script failed: {detail}", clears=True,
        holds=True, done=_A.FAILED),
    # A fence that failed, or was too slow, proves nothing: the silent peer may run the service.
    Row(S.STARTING, _T.CHECK_FAILED, _script(_K.CHECK),
        S.START_FAILED, "check-up script failed: {detail}", clears=True, done=_A.FAILED),
    # This node stood still, or heard the peer, between the decision and the script: what it was
    # decided on may be over, so it is decided again.
    Row(S.STARTING, _T.POSTPONED, lambda s: s.running in _BEFORE_START and s.leaving is not None,
        S.STOPPED, "not begun: {detail}, and it is leaving", clears=True, done=_A.ROLLED_BACK),
    Row(S.STARTING, _T.POSTPONED, lambda s: s.running in _BEFORE_START,
        S.START_READY, "not begun: {detail}"),
    Row(S.STARTING, _T.START_OK, _ends(_K.START, S.FROZEN_START),
        S.FROZEN_START, "start script succeeded, frozen", clears=True, also=_A.STARTED,
        done=_A.FROZEN_START),
    Row(S.STARTING, _T.START_OK, _script(_K.START),
        S.STARTED, "start script succeeded", clears=True, done=_A.STARTED),
    # Parts of it may be up: the peer starts it only after they were stopped.
    Row(S.STARTING, _T.START_FAILED, _script(_K.START),
        S.START_FAILED, "start script failed: {detail}", clears=True, done=_A.FAILED),
    Row(S.STARTING, _T.START_NOT_BEGUN, lambda s: s.running is _K.START and s.is_heard,
        S.STOPPED, "nothing was started: {detail}", clears=True, holds=True, done=_A.FAILED),
    Row(S.STARTING, _T.START_NOT_BEGUN, _script(_K.START),
        S.START_FAILED, "nothing was started: {detail}", clears=True, done=_A.FAILED),
)

_STOP_ROWS = (
    Row(S.STARTED, _T.EVALUATE, lambda s: _idle(s) and s.leaving is Leaving.STOP_SERVICES,
        S.STOPPING, "this node is leaving", run=_K.STOP, clears=True),
    # The peer took the service over while this node was away: its copy stays, this one stops.
    Row(S.STARTED, _T.EVALUATE, _was_taken_over,
        S.STOPPING, "{away}, and the peer has taken the service", run=_K.STOP, clears=True),
    # Only where an operator chose so: which copy holds the data cannot be known here.
    Row(S.STARTED, _T.EVALUATE, lambda s: _idle(s) and s.is_peer_started and s.is_copy_to_stop,
        S.STOPPING, "dual run: on_dual_run = {policy}", run=_K.STOP, clears=True),
    Row(S.STARTED, _T.EVALUATE, lambda s: _idle(s) and s.is_ejected,
        S.STOPPING, _EJECTED, run=_K.STOP, clears=True),
    # A freeze keeps the cluster from moving a service; this copy cannot write its data any more.
    Row(S.FROZEN_START, _T.EVALUATE, lambda s: _idle(s) and s.is_ejected,
        S.STOPPING, _EJECTED, run=_K.STOP, frozen_target=S.FROZEN_STOP),
    Row(S.START_FAILED, _T.EVALUATE, lambda s: _idle(s) and s.is_ejected,
        S.STOPPING, _EJECTED, run=_K.STOP, clears=True),
    # Before the watchdog resets this node with all that runs on it. A service that an operator
    # froze as started is left to that.
    Row(S.STARTED, _T.EVALUATE, _must_stop_cut_off,
        S.STOPPING, "{cut_off}: stopped before the watchdog resets it", run=_K.STOP, clears=True),
    Row(S.START_FAILED, _T.EVALUATE, _must_stop_cut_off,
        S.STOPPING, "{cut_off}: what is left of it is stopped", run=_K.STOP, clears=True),
    # Its targets answer the peer, and not this node: once it is stopped here the peer starts it.
    Row(S.STARTED, _T.EVALUATE, _must_hand_over,
        S.STOPPING, "{isolated}: handed over, since the peer is answered", run=_K.STOP, clears=True,
        hands_over=True),
    # The peer starts it once it is stopped here, or once this node is proved out: it falls silent
    # if the stop hangs as well.
    Row(S.STARTED, _T.EVALUATE, _must_give_up,
        S.STOPPING, _GIVEN_UP, run=_K.STOP, clears=True, gives_up=True),
    Row(S.STOP_FAILED, _T.EVALUATE,
        lambda s: _must_stop_again(s) and s.is_to_freeze,
        S.STOPPING, _AGAIN, run=_K.STOP, frozen_target=S.FROZEN_STOP, stops_again=True),
    Row(S.STOP_FAILED, _T.EVALUATE, _must_stop_again,
        S.STOPPING, _AGAIN, run=_K.STOP, clears=True, stops_again=True),
    # A start that hung on them has failed at its limit, and may have left anything behind.
    Row(S.START_FAILED, _T.EVALUATE, lambda s: _must_give_up(s) and not s.was_never_started,
        S.STOPPING, _GIVEN_UP, run=_K.STOP, clears=True, gives_up=True),
    # As by an operator's stop: the peer starts it by its own rules, or this node again.
    Row(S.STARTED, _T.EVALUATE, _must_fail_back,
        S.STOPPING, "failback: its primary has been ready for {settled_s} s", run=_K.STOP,
        clears=True, fails_back=True),
    # Stays in STARTED: the fence only prevents a silent peer from fencing this node first.
    Row(S.STARTED, _T.EVALUATE, _may_defend_by_plan,
        S.STARTED, "peer is {evidence}: it is fenced to defend the service", fences=True),
    Row(S.STARTED, _T.EVALUATE, _defends_no_more,
        S.STARTED, "peer is {evidence}: it is not being fenced any more"),
    Row(S.STARTED, _T.FENCE_FAILED, lambda s: s.is_fencing,
        S.STARTED, "the peer could not be fenced: {detail}"),
    Row(S.STARTED, _T.EVALUATE, _may_defend,
        S.STARTED, "peer is {evidence}: it is fenced to defend the service", run=_K.CHECK),
    # A failed start may leave parts of the service running: stop them before the peer starts it.
    # While its disks do not answer a stop would prove nothing.
    Row(S.START_FAILED, _T.EVALUATE,
        lambda s: _idle(s) and s.leaving is None and s.is_to_hand_over and not s.is_stop_unproved,
        S.STOPPING, "on_start_failure = hand-over: stop what is left, the peer takes it",
        run=_K.STOP, clears=True),
    # Whoever unmounts without waiting for the disk leaves writes behind, which land once it
    # answers.
    Row(S.STOPPING, _T.STOP_OK, lambda s: s.running is _K.STOP and s.is_stop_unproved,
        S.STOP_FAILED, "stop script succeeded, but its disks do not answer: what it wrote may be on"
        " its way", clears=True, done=_A.FAILED),
    Row(S.STOPPING, _T.STOP_OK, lambda s: s.running is _K.STOP and s.is_flush_due,
        S.STOPPING, "its disks did not answer while it was stopped: it is stopped once more, and"
        " ends once all is written", run=_K.STOP, stops_again=True),
    # The peer starts it though nothing ends what this node has on its way.
    Row(S.STOPPING, _T.STOP_OK, lambda s: s.running is _K.STOP and s.is_write_due,
        S.STOPPING, "{cut_off} while it was stopped: it is stopped once more, and ends once all is"
        " written", run=_K.STOP, stops_again=True),
    Row(S.STOPPING, _T.STOP_OK, _ends(_K.STOP, S.FROZEN_STOP),
        S.FROZEN_STOP, "stop script succeeded, frozen", clears=True, also=_A.STOPPED,
        done=_A.FROZEN_STOP),
    Row(S.STOPPING, _T.STOP_OK, _script(_K.STOP),
        S.STOPPED, "stop script succeeded", clears=True, holds=True, done=_A.STOPPED),
    # Not out: some of it may run here, so the peer must not start it.
    Row(S.STOPPING, _T.STOP_FAILED, _script(_K.STOP),
        S.STOP_FAILED, "stop script failed: {detail}", clears=True, done=_A.FAILED),
)

_PROBE_ROWS = (
    # freeze-stop probes first: an operator may have started the service by hand.
    Row(S.STOPPED, _T.PROBE_UP, _freezing,
        S.STOPPING, "found up by the wrapper's status: stopped", run=_K.STOP),
    Row(S.STOPPED, _T.PROBE_SOME, _freezing,
        S.STOPPING, "parts of it were found up: stopped", run=_K.STOP),
    Row(S.STOPPED, _T.PROBE_DOWN, _freezing,
        S.FROZEN_STOP, "operator: freeze-stop", clears=True, done=_A.FROZEN_STOP),
    Row(S.STOPPED, _T.PROBE_UNSURE, lambda s: _freezing(s) and s.is_found_in_part,
        S.STOPPING, "parts of it were found up: stopped", run=_K.STOP),
    Row(S.STOPPED, _T.PROBE_UNSURE, _freezing,
        S.FROZEN_STOP, "operator: freeze-stop", clears=True, done=_A.FROZEN_STOP),
    # A copy started outside the cluster is an operator's: FROZEN_START neither stops it nor lets
    # the peer start another.
    *(
        Row(state, _T.PROBE_UP, _script(_K.PROBE),
            S.FROZEN_START,
            "found up by the wrapper's status, started by nobody of the cluster: frozen as started",
            clears=True)
        for state in _NOT_STARTED
    ),
    *(
        Row(state, _T.PROBE_DOWN, _script(_K.PROBE),
            state, "{recovered}; found down by the wrapper's status")
        for state in _NOT_STARTED
    ),
    *(Row(state, _T.PROBE_SOME, _script(_K.PROBE), state, _SOME_UP) for state in _NOT_STARTED),
    *(
        Row(state, _T.PROBE_UNSURE, lambda s: _script(_K.PROBE)(s) and s.is_found_in_part,
            state, _SOME_UP)
        for state in _OUT_HERE
    ),
    *(
        Row(state, _T.PROBE_UNSURE, _script(_K.PROBE),
            state, "{recovered}; the wrapper does not report whether it runs")
        for state in _NOT_STARTED
    ),
)

_PARTS_ROWS = tuple(
    Row(state, _T.EVALUATE, lambda s: _idle(s) and s.leaving is None and s.is_probe_due,
        state, _SOME_UP, run=_K.PROBE)
    for state in _OUT_HERE
)

_LEARN_ROWS = (
    Row(S.STARTED, _T.PROBE_DOWN, _script(_K.PROBE),
        S.STOPPED, "found down by the wrapper's status"),
    Row(S.STARTED, _T.PROBE_UP, _script(_K.PROBE), S.STARTED, "found up by the wrapper's status"),
    Row(S.STARTED, _T.PROBE_SOME, _script(_K.PROBE),
        S.STARTED, "found up in part only by the wrapper's status"),
    Row(S.STARTED, _T.PROBE_UNSURE, _script(_K.PROBE),
        S.STARTED, "as in the STATE file; the wrapper does not tell"),
    Row(S.FROZEN_START, _T.PROBE_DOWN, _script(_K.PROBE),
        S.FROZEN_START, "frozen; found down when the daemon started"),
    Row(S.FROZEN_START, _T.PROBE_UP, _script(_K.PROBE),
        S.FROZEN_START, "frozen; found up when the daemon started"),
    Row(S.STARTING, _T.PROBE_UP, _ends(_K.PROBE, S.FROZEN_START),
        S.FROZEN_START, "start finished without the daemon", clears=True),
    Row(S.STARTING, _T.PROBE_UP, _script(_K.PROBE),
        S.STARTED, "start finished without the daemon", clears=True),
    # An interrupted start may have left parts that the wrapper's status does not show.
    Row(S.STARTING, _T.PROBE_DOWN, _script(_K.PROBE),
        S.STOPPING, "interrupted start: stop what is left of it", run=_K.STOP, clears=True),
    Row(S.STARTING, _T.PROBE_UNSURE, _script(_K.PROBE),
        S.STOPPING, "interrupted start: stop what is left of it", run=_K.STOP, clears=True),
    Row(S.STARTING, _T.PROBE_SOME, _script(_K.PROBE),
        S.STOPPING, "interrupted start: stop what is left of it", run=_K.STOP, clears=True),
    # Stopping twice does no harm; a stop that ended half-way does.
    Row(S.STOPPING, _T.PROBE_UP, _script(_K.PROBE),
        S.STOPPING, "interrupted stop is done again", run=_K.STOP),
    Row(S.STOPPING, _T.PROBE_DOWN, _script(_K.PROBE),
        S.STOPPING, "interrupted stop is done again", run=_K.STOP),
    Row(S.STOPPING, _T.PROBE_UNSURE, _script(_K.PROBE),
        S.STOPPING, "interrupted stop is done again", run=_K.STOP),
    Row(S.STOPPING, _T.PROBE_SOME, _script(_K.PROBE),
        S.STOPPING, "interrupted stop is done again", run=_K.STOP),
    # With the STATE file an operator's freeze may be lost: what is found is frozen.
    Row(S.UNKNOWN, _T.PROBE_UP, _script(_K.PROBE),
        S.FROZEN_START, "STATE file unusable; found up: frozen", clears=True),
    Row(S.UNKNOWN, _T.PROBE_DOWN, _script(_K.PROBE),
        S.FROZEN_STOP, "STATE file unusable; found down: frozen", clears=True),
    Row(S.UNKNOWN, _T.PROBE_UNSURE, _freezing, S.FROZEN_STOP, "new service", clears=True),
    Row(S.UNKNOWN, _T.PROBE_SOME, _freezing, S.FROZEN_STOP, _SOME_UP, clears=True),
    # After a crash this node could not know that it was about to start it.
    Row(S.START_READY, _T.STORE_FAILED, _idle,
        S.STOPPED, "state cannot be written: {detail}", clears=True, holds=True, done=_A.FAILED),
    Row(S.STARTING, _T.STORE_FAILED, lambda s: s.running in _BEFORE_START or s.is_fencing,
        S.STOPPED, "state cannot be written: {detail}", clears=True, holds=True, done=_A.FAILED),
)

# A frozen service is left as it is: no row above starts or stops one but after an order.
_OPERATOR_ROWS = (
    Row(S.STOPPED, _T.START, _may_begin,
        S.START_READY, _ORDERED, clears=True, ready=_A.READY_START),
    Row(S.START_FAILED, _T.START, lambda s: s.was_never_started and _may_begin(s),
        S.START_READY, _ORDERED, clears=True, ready=_A.READY_START),
    # A service that no node could take over is stopped by freeze-stop, whose text names it.
    Row(S.STARTED, _T.STOP, lambda s: _idle(s) and not s.is_peer_unready,
        S.STOPPING, _ORDERED, run=_K.STOP, clears=True, ready=_A.READY_STOP),
    Row(S.UNKNOWN, _T.STOP, _idle,
        S.STOPPING, _ORDERED, run=_K.STOP, clears=True, ready=_A.READY_STOP),
    Row(S.STOPPED, _T.FREEZE_STOP, _idle,
        S.STOPPED, _ORDERED, run=_K.PROBE, frozen_target=S.FROZEN_STOP, ready=_A.READY_FREEZE_STOP),
    Row(S.START_READY, _T.FREEZE_STOP, _idle,
        S.STOPPED, _ORDERED, run=_K.PROBE, frozen_target=S.FROZEN_STOP, ready=_A.READY_FREEZE_STOP),
    Row(S.FROZEN_STOP, _T.FREEZE_STOP, lambda s: _idle(s) and s.is_found_in_part,
        S.STOPPING, _ORDERED, run=_K.STOP, frozen_target=S.FROZEN_STOP, ready=_A.READY_FREEZE_STOP,
        also=_A.READY_STOP),
    Row(S.STARTED, _T.FREEZE_STOP, _idle,
        S.STOPPING, _ORDERED, run=_K.STOP, frozen_target=S.FROZEN_STOP, ready=_A.READY_FREEZE_STOP,
        also=_A.READY_STOP),
    # These two may leave half a service behind: it must be stopped before it is frozen as stopped.
    Row(S.START_FAILED, _T.FREEZE_STOP, _idle,
        S.STOPPING, _ORDERED, run=_K.STOP, frozen_target=S.FROZEN_STOP, ready=_A.READY_FREEZE_STOP,
        also=_A.READY_STOP),
    Row(S.STOP_FAILED, _T.FREEZE_STOP, _idle,
        S.STOPPING, _ORDERED, run=_K.STOP, frozen_target=S.FROZEN_STOP, ready=_A.READY_FREEZE_STOP,
        also=_A.READY_STOP),
    Row(S.STARTED, _T.FREEZE_START, _idle,
        S.FROZEN_START, _ORDERED, ready=_A.READY_FREEZE_START, done=_A.FROZEN_START),
    Row(S.STOPPED, _T.FREEZE_START, _may_begin,
        S.START_READY, _ORDERED, frozen_target=S.FROZEN_START, ready=_A.READY_FREEZE_START),
    Row(S.FROZEN_STOP, _T.UNFREEZE, _idle,
        S.STOPPED, _ORDERED, ready=_A.READY_UNFREEZE, done=_A.UNFROZEN),
    Row(S.FROZEN_START, _T.UNFREEZE, lambda s: _idle(s) and s.is_reported_down,
        S.STARTED, "{by}: {trigger}; it was found down before, and is looked at again",
        run=_K.PROBE, ready=_A.READY_UNFREEZE, done=_A.UNFROZEN),
    Row(S.FROZEN_START, _T.UNFREEZE, _idle,
        S.STARTED, _ORDERED, ready=_A.READY_UNFREEZE, done=_A.UNFROZEN),
)

_FORCE_ROWS = tuple(
    row
    for state in S
    for row in (
        Row(state, _T.FORCE_STOP, _idle,
            S.STOPPED, _ORDERED, clears=True, holds=True, ready=_A.READY_FORCE_STOP,
            done=_A.STOPPED),
        Row(state, _T.FORCE_START, lambda s: _idle(s) and not s.is_ejected and not _is_cut_off(s),
            S.STARTED, _ORDERED, clears=True, ready=_A.READY_FORCE_START, done=_A.FORCED_START),
    )
)

# fmt: on
TABLE = (
    _START_ROWS
    + _STOP_ROWS
    + _LEARN_ROWS
    + _PROBE_ROWS
    + _PARTS_ROWS
    + _OPERATOR_ROWS
    + _FORCE_ROWS
)

_BY_KEY: dict[tuple[S, Trigger], tuple[Row, ...]] = {}
for _row in TABLE:
    _BY_KEY[_row.state, _row.trigger] = _BY_KEY.get((_row.state, _row.trigger), ()) + (_row,)


def find_row(state: S, trigger: Trigger, situation: Situation) -> Row | None:
    """Return the first row that applies, or None."""
    for row in _BY_KEY.get((state, trigger), ()):
        if row.guard(situation):
            return row
    return None
