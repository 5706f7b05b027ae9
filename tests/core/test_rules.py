"""The rules in words, distinguished from the table: what each trigger does in each state and
situation, and that it does no more.

The table lists rows with guards; here each trigger is reported as an operator would read it. Both
must agree on all that counts: where the service goes, what runs, in which frozen state it is to
end, whether it is held, and what is answered.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from opensvc_openha.core.actions import AnswerCode
from opensvc_openha.core.events import Leaving, ScriptKind
from opensvc_openha.core.model import Role
from opensvc_openha.core.peer_view import Evidence as E
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.transitions import Situation, find_row
from opensvc_openha.core.transitions import Trigger as T

FLAGS = (
    "is_delay_over",
    "is_held",
    "is_check_valid",
    "is_legacy",
    "is_watched_out",
    "is_ownership_unconfirmed",
    "is_peer_started",
    "is_copy_to_stop",
    "is_to_hand_over",
    "was_never_started",
    "is_stuck",
    "is_reported_down",
    "is_found_in_part",
    "is_probe_due",
    "is_peer_unready",
    "is_check_always",
    "may_fence",
    "is_boot_blocked",
    "is_retry_due",
    "is_defending",
    "is_put_off",
    "is_silent",
    "is_to_give_up",
    "is_stop_unproved",
    "is_to_stop_again",
    "is_left_to_peer",
)
ASKED = {
    # Which flags may make a difference; all others are tried together, once all False and once all
    # True, but for those of a node that is cut off, before which most others make none.
    (S.STOPPED, T.EVALUATE): (
        "is_held",
        "is_probe_due",
        "is_boot_blocked",
        "is_silent",
        "is_left_to_peer",
        "is_cut_off",
        "is_check_valid",
    ),
    (S.FROZEN_STOP, T.EVALUATE): ("is_probe_due",),
    (S.FROZEN_STOP, T.FREEZE_STOP): ("is_found_in_part",),
    (S.STOPPED, T.PROBE_UNSURE): ("is_found_in_part",),
    (S.STOPPED, T.START): ("is_held", "is_boot_blocked", "is_silent", "is_cut_off"),
    (S.STOPPED, T.FREEZE_START): ("is_boot_blocked", "is_silent", "is_cut_off", "is_check_valid"),
    (S.START_FAILED, T.START): (
        "was_never_started",
        "is_boot_blocked",
        "is_silent",
        "is_cut_off",
        "is_check_valid",
    ),
    **{(state, T.FORCE_START): ("is_cut_off", "is_check_valid") for state in S},
    (S.START_READY, T.EVALUATE): (
        "is_delay_over",
        "is_legacy",
        "is_watched_out",
        "is_stuck",
        "is_check_valid",
        "is_check_always",
        "may_fence",
        "is_boot_blocked",
        "is_put_off",
    ),
    (S.STARTING, T.CHECK_OK): (
        "is_cut_off",
        "is_check_valid",
        "is_legacy",
        "is_watched_out",
        "is_stuck",
        "is_silent",
    ),
    (S.STARTED, T.EVALUATE): (
        "is_ownership_unconfirmed",
        "is_peer_started",
        "is_copy_to_stop",
        "is_defending",
        "may_fence",
        "is_boot_blocked",
        "is_delay_over",
        "is_put_off",
        "is_to_give_up",
    ),
    (S.STOPPING, T.STOP_OK): ("is_stop_unproved", "is_flush_due", "is_write_due"),
    (S.STOP_FAILED, T.EVALUATE): ("is_to_stop_again", "is_to_freeze"),
    (S.STARTED, T.STOP): ("is_peer_unready",),
    (S.START_FAILED, T.EVALUATE): (
        "was_never_started",
        "is_to_hand_over",
        "is_retry_due",
        "is_check_valid",
        "is_boot_blocked",
        "is_cut_off",
        "is_to_give_up",
    ),
    (S.FROZEN_START, T.UNFREEZE): ("is_reported_down",),
}
REACH = ("is_isolated", "is_reach_open", "is_to_hand_to_peer")
ASKED_OF_REACH = {
    # The same for a node that asks targets: what most others make of it is tried above.
    S.STOPPED: ("is_check_valid", "is_boot_blocked"),
    S.START_READY: ("is_check_valid", "is_delay_over", "may_fence"),
    S.STARTING: ("is_check_valid",),
    S.STARTED: ("is_ownership_unconfirmed", "is_defending", "is_delay_over", "may_fence"),
    S.START_FAILED: ("is_check_valid", "is_retry_due", "was_never_started"),
    S.FROZEN_START: (),
}


@dataclass(frozen=True)
class Does:
    """What a trigger brings about."""

    next: S
    run: ScriptKind | None = None
    frozen_target: S | None = None
    holds: bool = False
    ready: AnswerCode | None = None
    done: AnswerCode | None = None


def is_proved_out(s: Situation) -> bool:
    """The peer acknowledged our START_READY and is out, or left out.

    A C OpenHA was heard out for the whole delay.
    """
    if s.is_legacy and s.is_watched_out and s.evidence is E.OUT:
        return True
    return s.evidence is E.OUT_ACKED or s.evidence is E.DEPARTED_STOPPED


def is_alone(s: Situation) -> bool:
    """Nothing confirms that this node lives, and nothing proves that the peer does not."""
    is_out = s.is_check_valid if s.evidence is E.SILENT else s.evidence is E.DEPARTED_STOPPED
    return s.is_cut_off and not is_out


def may_fence(s: Situation) -> bool:
    """Silent for the whole delay, and nothing speaks against a fence now."""
    is_kept = s.is_boot_blocked or s.is_put_off or s.is_silent or s.is_cut_off
    is_kept = is_kept or s.is_isolated or s.is_reach_open
    is_free = s.may_fence and not is_kept
    return s.evidence is E.SILENT and s.is_delay_over and is_free and s.leaving is None


def may_announce(s: Situation) -> bool:
    """START_READY may be announced: no node has the service, and a node that booted into a silence
    keeps still, as one does that nothing answers.
    """
    is_kept_still = s.evidence is E.SILENT and (s.is_boot_blocked or s.is_isolated)
    return (
        s.evidence not in (E.READY, E.RUNS, E.BUSY, E.UNHEARD)
        and s.leaving is None
        and not is_kept_still
        and not is_alone(s)
        and not s.is_silent
    )


def goes_second(s: Situation) -> bool:
    """Somebody else has or may have the service, or is to have it, or this node is leaving."""
    if s.leaving is not None:
        return True
    if s.evidence is E.READY:
        return s.role is not Role.PRIMARY or s.is_stuck
    return s.evidence is E.RUNS or s.evidence is E.BUSY or s.evidence is E.UNHEARD


def by_itself(own: S, s: Situation) -> Does | None:
    """What an idle service does because of the peer, of time or of this node's leaving."""
    if own is S.STOPPED and may_announce(s) and not s.is_held and not s.is_left_to_peer:
        return Does(S.START_READY)
    if own in (S.STOPPED, S.FROZEN_STOP):
        # Parts of it were up: they may be gone by now.
        return (
            Does(own, ScriptKind.PROBE, frozen_target=s.frozen_target)
            if s.is_probe_due and s.leaving is None
            else None
        )
    if own is S.START_READY:
        if is_alone(s) or (s.evidence is E.SILENT and s.is_isolated):
            return Does(S.STOPPED, done=AnswerCode.ROLLED_BACK)
        if s.is_put_off:
            return (
                Does(S.STOPPED, holds=True, done=AnswerCode.ROLLED_BACK) if goes_second(s) else None
            )
        may_begin = s.leaving is None and not s.is_silent
        if may_begin and s.evidence is E.SILENT and s.is_check_valid and not s.is_reach_open:
            return Does(S.STARTING, ScriptKind.START, frozen_target=s.frozen_target)
        if may_begin and is_proved_out(s):
            return Does(
                S.STARTING,
                ScriptKind.CHECK if s.is_check_always else ScriptKind.START,
                frozen_target=s.frozen_target,
            )
        if may_fence(s):
            return Does(S.STARTING, ScriptKind.CHECK, frozen_target=s.frozen_target)
        return Does(S.STOPPED, holds=True, done=AnswerCode.ROLLED_BACK) if goes_second(s) else None
    if own is S.START_FAILED:
        if s.was_never_started and s.evidence not in (E.SILENT, E.UNHEARD):
            return Does(S.STOPPED, frozen_target=s.frozen_target, holds=True)
        if (
            s.was_never_started
            and s.evidence is E.SILENT
            and (s.is_retry_due or s.is_check_valid)
            and may_announce(s)
        ):
            return Does(S.START_READY)
        is_kept_still = s.evidence is E.SILENT and s.is_isolated
        if s.was_never_started and (is_alone(s) or is_kept_still):
            return Does(S.STOPPED, frozen_target=s.frozen_target)
        is_given_up = s.is_to_give_up and not (s.was_never_started or s.is_ownership_unconfirmed)
        is_handed_over = s.is_to_hand_over and not s.is_stop_unproved
        is_stopped = is_handed_over or s.is_stop_due or is_given_up
        return Does(S.STOPPING, ScriptKind.STOP) if is_stopped and s.leaving is None else None
    if own is S.STARTED:
        is_taken = s.is_peer_started and (s.is_ownership_unconfirmed or s.is_copy_to_stop)
        if s.leaving is Leaving.STOP_SERVICES or is_taken:
            return Does(S.STOPPING, ScriptKind.STOP)
        is_sent_away = s.is_to_give_up or s.is_to_hand_to_peer
        if is_sent_away and s.leaving is None and not s.is_ownership_unconfirmed:
            return Does(S.STOPPING, ScriptKind.STOP)
        if s.is_stop_due and s.leaving is None:
            return Does(S.STOPPING, ScriptKind.STOP)
        return (
            Does(S.STARTED, ScriptKind.CHECK, frozen_target=s.frozen_target)
            if s.is_defending and may_fence(s) and not s.is_ownership_unconfirmed
            else None
        )
    if own is S.STOP_FAILED and s.is_to_stop_again and s.leaving is None:
        return Does(
            S.STOPPING, ScriptKind.STOP, frozen_target=S.FROZEN_STOP if s.is_to_freeze else None
        )
    return None


def start_goes_on(own: S, trigger: T, s: Situation) -> Does | None:
    """What the end of a check-up or start script brings about."""
    if own is not S.STARTING:
        return None
    if trigger in (T.CHECK_FAILED, T.START_NOT_BEGUN) and s.evidence not in (E.SILENT, E.UNHEARD):
        return Does(S.STOPPED, holds=True, done=AnswerCode.FAILED)
    if trigger in (T.CHECK_FAILED, T.START_FAILED, T.START_NOT_BEGUN):
        return Does(S.START_FAILED, done=AnswerCode.FAILED)
    if trigger is T.START_OK:
        is_frozen = s.frozen_target is S.FROZEN_START
        return (
            Does(S.FROZEN_START, done=AnswerCode.FROZEN_START)
            if is_frozen
            else Does(S.STARTED, done=AnswerCode.STARTED)
        )
    is_silent = s.evidence is E.SILENT and s.is_check_valid
    is_silent = is_silent and not (s.is_isolated or s.is_reach_open)
    is_free = s.leaving is None and not s.is_silent and not is_alone(s)
    if is_free and (is_proved_out(s) or is_silent):
        return Does(S.STARTING, ScriptKind.START, frozen_target=s.frozen_target)
    return (
        Does(S.STOPPED, done=AnswerCode.ROLLED_BACK)
        if goes_second(s)
        else Does(S.START_READY, frozen_target=s.frozen_target)
    )


def stop_goes_on(own: S, trigger: T, s: Situation) -> Does | None:
    """What the end of a stop script brings about."""
    if own is not S.STOPPING:
        return None
    if trigger is T.STOP_FAILED or s.is_stop_unproved:
        return Does(S.STOP_FAILED, done=AnswerCode.FAILED)
    if s.is_flush_due or s.is_write_due:
        return Does(S.STOPPING, ScriptKind.STOP, frozen_target=s.frozen_target)
    if s.frozen_target is S.FROZEN_STOP:
        return Does(S.FROZEN_STOP, done=AnswerCode.FROZEN_STOP)
    return Does(S.STOPPED, holds=True, done=AnswerCode.STOPPED)


def is_learned(own: S, trigger: T, s: Situation) -> Does | None:
    """What the wrapper reports of a service when the daemon starts: frozen stays frozen, what was
    half done is undone or redone.
    """
    if own is S.FROZEN_START:
        return (
            None
            if trigger in (T.PROBE_UNSURE, T.PROBE_SOME)
            else Does(own, frozen_target=s.frozen_target)
        )
    if own is S.STARTED:
        return Does(S.STOPPED if trigger is T.PROBE_DOWN else own, frozen_target=s.frozen_target)
    if own is S.STARTING:
        if trigger is T.PROBE_UP:
            return Does(S.FROZEN_START if s.frozen_target is S.FROZEN_START else S.STARTED)
        return Does(S.STOPPING, ScriptKind.STOP)
    if own is S.STOPPING:
        return Does(own, ScriptKind.STOP, frozen_target=s.frozen_target)
    if own is S.UNKNOWN:
        if trigger in (T.PROBE_UNSURE, T.PROBE_SOME):
            return Does(S.FROZEN_STOP) if s.frozen_target is S.FROZEN_STOP else None
        return Does(S.FROZEN_START if trigger is T.PROBE_UP else S.FROZEN_STOP)
    if own in (S.STOPPED, S.FROZEN_STOP, S.START_FAILED, S.STOP_FAILED):
        return is_found(own, trigger, s)
    return None


def is_found(own: S, trigger: T, s: Situation) -> Does:
    """What the wrapper reports of a service that should not run: an operator's freeze-stop stops
    it, else it is frozen as it is.
    """
    is_up = (
        trigger is T.PROBE_UP
        or trigger is T.PROBE_SOME
        or (trigger is T.PROBE_UNSURE and s.is_found_in_part)
    )
    if own is S.STOPPED and s.frozen_target is S.FROZEN_STOP:
        if is_up:
            return Does(S.STOPPING, ScriptKind.STOP, frozen_target=S.FROZEN_STOP)
        return Does(S.FROZEN_STOP, done=AnswerCode.FROZEN_STOP)
    return (
        Does(S.FROZEN_START) if trigger is T.PROBE_UP else Does(own, frozen_target=s.frozen_target)
    )


def ordered(own: S, trigger: T, s: Situation) -> Does | None:
    """What an operator may do to a service for which nothing runs; None is a refusal."""
    stopped, started = own is S.STOPPED, own is S.STARTED
    may_start = stopped and may_announce(s)
    if trigger is T.START:
        is_first_try = own is S.START_FAILED and s.was_never_started and may_announce(s)
        return (
            Does(S.START_READY, ready=AnswerCode.READY_START) if may_start or is_first_try else None
        )
    if trigger is T.FREEZE_START:
        if started:
            return Does(
                S.FROZEN_START,
                frozen_target=s.frozen_target,
                ready=AnswerCode.READY_FREEZE_START,
                done=AnswerCode.FROZEN_START,
            )
        return (
            Does(S.START_READY, frozen_target=S.FROZEN_START, ready=AnswerCode.READY_FREEZE_START)
            if may_start
            else None
        )
    if trigger is T.STOP:
        # What the peer would have to take, and could not, is not stopped in passing.
        may_stop = (started and not s.is_peer_unready) or own is S.UNKNOWN
        return Does(S.STOPPING, ScriptKind.STOP, ready=AnswerCode.READY_STOP) if may_stop else None
    if trigger is T.FREEZE_STOP:
        if started or own in (S.START_FAILED, S.STOP_FAILED):
            return Does(
                S.STOPPING,
                ScriptKind.STOP,
                frozen_target=S.FROZEN_STOP,
                ready=AnswerCode.READY_FREEZE_STOP,
            )
        if stopped or own is S.START_READY:
            # It is not believed that nothing runs: somebody may have started it by hand.
            return Does(
                S.STOPPED,
                ScriptKind.PROBE,
                frozen_target=S.FROZEN_STOP,
                ready=AnswerCode.READY_FREEZE_STOP,
            )
        if own is S.FROZEN_STOP and s.is_found_in_part:
            return Does(
                S.STOPPING,
                ScriptKind.STOP,
                frozen_target=S.FROZEN_STOP,
                ready=AnswerCode.READY_FREEZE_STOP,
            )
        return None
    if trigger is T.UNFREEZE:
        thawed = {S.FROZEN_STOP: S.STOPPED, S.FROZEN_START: S.STARTED}.get(own)
        if thawed is None:
            return None
        # What was frozen as started and found down may be up by now, or not: that is asked before
        # anybody believes it.
        run = ScriptKind.PROBE if own is S.FROZEN_START and s.is_reported_down else None
        return Does(
            thawed,
            run,
            frozen_target=s.frozen_target,
            ready=AnswerCode.READY_UNFREEZE,
            done=AnswerCode.UNFROZEN,
        )
    if trigger is T.FORCE_STOP:
        return Does(
            S.STOPPED, holds=True, ready=AnswerCode.READY_FORCE_STOP, done=AnswerCode.STOPPED
        )
    if is_alone(s):
        return None
    return Does(S.STARTED, ready=AnswerCode.READY_FORCE_START, done=AnswerCode.FORCED_START)


def expected(own: S, trigger: T, s: Situation) -> Does | None:
    """All rules together: the end of a script counts only for the one that runs, everything else
    waits while one does.
    """
    word, _, _ = trigger.value.partition(" ")
    if trigger in (T.FENCE_FAILED, T.FENCE_LOST):
        # Of those who wait for the fence plan: see test_transitions.py.
        return None
    if trigger is T.POSTPONED:
        is_before_start = own is S.STARTING and s.running in (ScriptKind.CHECK, ScriptKind.START)
        if s.leaving is not None and is_before_start:
            return Does(S.STOPPED, done=AnswerCode.ROLLED_BACK)
        return Does(S.START_READY, frozen_target=s.frozen_target) if is_before_start else None
    if trigger in (T.CHECK_OK, T.CHECK_FAILED, T.START_OK, T.START_FAILED, T.START_NOT_BEGUN):
        return (
            start_goes_on(own, trigger, s)
            if s.running is not None and s.running.value == word
            else None
        )
    if trigger in (T.STOP_OK, T.STOP_FAILED):
        return stop_goes_on(own, trigger, s) if s.running is ScriptKind.STOP else None
    if trigger in (T.PROBE_UP, T.PROBE_DOWN, T.PROBE_SOME, T.PROBE_UNSURE):
        return is_learned(own, trigger, s) if s.running is ScriptKind.PROBE else None
    if trigger is T.STORE_FAILED:
        is_before_start = (own, s.running) in (
            (S.START_READY, None),
            (S.STARTING, ScriptKind.CHECK),
            (S.STARTING, ScriptKind.START),
        )
        return Does(S.STOPPED, holds=True, done=AnswerCode.FAILED) if is_before_start else None
    if s.running is not None:
        return None
    return by_itself(own, s) if trigger is T.EVALUATE else ordered(own, trigger, s)


def situations(
    asked: tuple[str, ...],
    own: S,
    ends: ScriptKind | None,
    scripts: tuple[ScriptKind, ...] = tuple(ScriptKind),
) -> Iterator[Situation]:
    """Every situation that the flags asked for can make; in START_READY no script runs.

    While another script runs than the one that ends, nothing happens, whatever the flags: they are
    all the same then, as those that are not asked for.
    """
    running = (None,) if own is S.START_READY else (None, *scripts)
    for background in (False, True):
        for values in itertools.product((False, True), repeat=len(asked)):
            flags = {**dict.fromkeys(FLAGS, background), **dict(zip(asked, values))}
            if own is not S.START_READY:
                is_alike = all(value is background for value in values)
                running = (None, *scripts) if is_alike else tuple({None, ends})
            for role, evidence, script, frozen_target, leaving in itertools.product(
                Role, E, running, (None, S.FROZEN_STOP, S.FROZEN_START), (None, *Leaving)
            ):
                yield Situation(role, evidence, script, frozen_target, leaving=leaving, **flags)


@pytest.mark.exhaustive
@pytest.mark.parametrize("own", list(S))
def test_table_holds_what_the_rules_state(own: S) -> None:
    """Each trigger in each situation of one own state: the row that applies does what is stated
    here, or none applies.
    """
    usual = list(situations((), own, None))
    kinds = {kind.value: kind for kind in ScriptKind}
    for trigger in T:
        asked, ends = ASKED.get((own, trigger), ()), kinds.get(trigger.value.partition(" ")[0])
        for s in situations(asked, own, ends) if asked else usual:
            compare(own, trigger, s)


def compare(own: S, trigger: T, s: Situation) -> None:
    """Compare the row that applies with what is stated here."""
    row, found = find_row(own, trigger, s), None
    if row is not None:
        target = row.target_after(s.frozen_target)
        found = Does(row.next, row.run, target, row.holds, row.ready, row.done)
    assert found == expected(own, trigger, s), f"{own.name}, {trigger.value}, {s}"


@pytest.mark.exhaustive
@pytest.mark.parametrize("own", ASKED_OF_REACH)
def test_table_holds_what_is_stated_of_a_node_that_asks_targets(own: S) -> None:
    """Whatever they answer; what depends on nothing of that is tried above."""
    for s in situations((*REACH, *ASKED_OF_REACH[own]), own, ScriptKind.CHECK, (ScriptKind.CHECK,)):
        compare(own, T.EVALUATE, s)
        if own is S.STARTING:
            compare(own, T.CHECK_OK, s)
        elif own in (S.STOPPED, S.START_FAILED):
            compare(own, T.START, s)
            compare(own, T.FORCE_START, s)
