"""Explain why a service is in its state: from the history, the daemon's status, the STATE file.

The STATE file serves only if no daemon answers. Pure: facts in, an explanation out. It repeats the
reasons recorded with each decision and never derives them again.
"""

from __future__ import annotations

from dataclasses import dataclass

from opensvc_openha.core.events import ScriptKind
from opensvc_openha.core.model import ALWAYS_TRUE, ServiceSpec
from opensvc_openha.core.peer_view import Evidence
from opensvc_openha.core.states import FAILED, PASSING, SET_OFF, ServiceState
from opensvc_openha.core.status import Sight
from opensvc_openha.storage.fence_history import FENCE, proofs_in
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.outlook import Circumstances, what_it_waits_for, what_to_do
from opensvc_openha.system.clock import precise_stamp
from opensvc_openha.system.kernel_log import RefusedWrites

_PASSING = frozenset(state.name for state in PASSING)
_FAILED = frozenset(state.name for state in FAILED)
_SET_OFF = frozenset(state.name for state in SET_OFF)
_OF_SERVICES = frozenset(
    {
        EntryKind.SERVICE,
        EntryKind.SCRIPT,
        EntryKind.COMMAND,
        EntryKind.MONITOR,
        EntryKind.READINESS,
    }
)
_LEADS_IN_S = 1.0
CONTEXT_S = 60.0
"""Entries of links, peer and node up to this many seconds before a change are shown with it."""

SCRIPT_NAMES = {
    ScriptKind.CHECK.value: "check-up script",
    ScriptKind.START.value: "start script",
    ScriptKind.STOP.value: "stop script",
    ScriptKind.PROBE.value: "wrapper's status",
}


_NEXT_TRY = "START_FAILED, evaluate -> START_READY"
"""Rule by which a service is tried again, once a try started nothing."""


@dataclass(frozen=True)
class ReasonStep:
    """One line of the way to the present state.

    ``took_s`` is the duration of what the step ends, in seconds.
    """

    entry: Entry
    text: str
    took_s: float | None


@dataclass(frozen=True)
class Explanation:
    """The content of `openha why`, before it becomes text or JSON."""

    service: str
    node: str
    peer: str
    role: str
    state: str
    peer_state: str
    peer_standing: str
    since: float | None
    cause: str
    """What started the last change, if the reason only describes its end."""
    reason: str
    rule: str
    no_daemon: str
    warnings: tuple[str, ...]
    steps: tuple[ReasonStep, ...]
    decision: Entry | None
    ruled_out: tuple[str, ...]
    waits_for: str
    advice: tuple[str, ...]
    proofs: tuple[str, ...] = ()
    """What the fence plan has proved on the way."""


def moves_of(entries: tuple[Entry, ...], service: str) -> tuple[Entry, ...]:
    """Return the changes of the service's state.

    A restarted daemon that found the state unchanged made no change.
    """
    moves: list[Entry] = []
    for entry in entries:
        if (
            entry.kind is not EntryKind.SERVICE
            or entry.name != service
            or entry.new not in ServiceState.__members__
        ):
            continue
        if entry.old or not moves or moves[-1].new != entry.new:
            moves.append(entry)
    return tuple(moves)


def episode(entries: tuple[Entry, ...], service: str) -> tuple[Entry, ...]:
    """Return the entries that led from the last resting state to the present one."""
    moves = moves_of(entries, service)
    if not moves:
        return entries[-1:]
    first = len(moves) - 1
    while first and _goes_on(moves[first - 1], moves[first]):
        first -= 1
    begin = entries.index(moves[first])
    # The command that started the change, and the script that ended it.
    while (
        begin
        and entries[begin - 1].kind not in (EntryKind.SERVICE, EntryKind.READINESS)
        and _is_close(entries[begin - 1], entries[begin])
    ):
        begin -= 1
    return entries[begin:]


def _goes_on(earlier: Entry, later: Entry) -> bool:
    """Return True if the later change continues what the earlier one began."""
    return later.old in _PASSING or (later.new in _PASSING and _is_close(earlier, later))


def _is_close(earlier: Entry, later: Entry) -> bool:
    return 0 <= later.seconds_after(earlier) <= _LEADS_IN_S


def explain(facts: Circumstances) -> Explanation:
    """Arrange the facts into an explanation."""
    status = facts.status
    now = None if status is None else status.service(facts.service)
    way = episode(facts.entries, facts.service)
    moves = moves_of(way, facts.service)
    last = moves[-1] if moves else None
    state = _state(facts, last)
    role = (
        "" if facts.spec is None else "primary" if facts.spec.primary == facts.node else "secondary"
    )
    peer_state = "" if now is None or now.peer_state is None else now.peer_state.name
    seeing = [entry for entry in moves if entry.sight is not None]
    decision = next(
        (entry for entry in seeing if entry.new in _PASSING), seeing[0] if seeing else None
    )
    reason = now.reason if now is not None else "" if last is None else last.reason
    return Explanation(
        service=facts.service,
        node=facts.node,
        peer=facts.peer,
        role=role,
        state=state,
        peer_state=peer_state,
        peer_standing=(
            "" if status is None else f"{status.peer_standing.value}: {status.peer_reason}"
        ),
        since=now.since if now is not None else None if last is None else last.at,
        cause=_cause(moves, moves_of(facts.entries, facts.service), state),
        reason=reason,
        rule="" if last is None else last.rule,
        no_daemon=_end_of_daemon(facts),
        warnings=(
            *(
                ()
                if status is None
                else (text for text in status.warnings if text not in status.fencing_warnings)
            ),
            *_refused(way, facts.refused),
        ),
        steps=_steps(way, facts),
        decision=decision,
        ruled_out=_ruled_out(way, decision, facts.spec),
        waits_for=what_it_waits_for(facts, state, reason),
        advice=what_to_do(facts, state),
        proofs=_proofs(way, facts.context),
    )


def _proofs(way: tuple[Entry, ...], context: tuple[Entry, ...]) -> tuple[str, ...]:
    """Return the proofs among the steps of the fence plan, as the history has them."""
    if not way:
        return ()
    found = []
    for entry in context:
        if entry.kind is EntryKind.PEER and entry.new == FENCE and entry.number >= way[0].number:
            found += proofs_in(entry.reason)
    return tuple(found)


def _refused(way: tuple[Entry, ...], refused: tuple[RefusedWrites, ...]) -> list[str]:
    """Return what reserved disks have refused this node since the way to the present state."""
    since = way[0].at - CONTEXT_S if way else 0.0
    return [
        f"writes of this node to {each.device} were refused {each.count} time(s), last at"
        f" {precise_stamp(each.last_at)} (EBADE): it has no registration on that disk, which is"
        " reserved; openha fence status shows whether it was ejected"
        for each in refused
        if each.last_at >= since
    ]


def _cause(moves: tuple[Entry, ...], known: tuple[Entry, ...], state: str) -> str:
    """Return what caused a successful start or stop; the reason of a failure is more useful.

    ``known`` are all changes that the history has: a try that follows another one has the cause of
    the first.
    """
    if state in _PASSING or state in _FAILED:
        return ""
    changes = [entry for entry in moves[:-1] if entry.old in ServiceState.__members__]
    cause = next((entry for entry in reversed(changes) if entry.new in _SET_OFF), None)
    if cause is None:
        return ""
    tries = [entry for entry in known[: known.index(cause) + 1] if entry.new in _SET_OFF]
    number = 0
    while number + 1 < len(tries) and tries[-1 - number].rule == _NEXT_TRY:
        number += 1
    if not number:
        return cause.reason
    failed = known[known.index(cause) - 1].reason
    what = "one try failed" if number == 1 else f"{number} tries failed, the last one"
    return f"{tries[-1 - number].reason}; {what}: {failed}"


def _state(facts: Circumstances, last: Entry | None) -> str:
    now = None if facts.status is None else facts.status.service(facts.service)
    if now is not None and now.own_state is not None:
        return now.own_state.name
    return facts.stored or (last.new if last is not None else "")


def _end_of_daemon(facts: Circumstances) -> str:
    """Explain why no daemon answers, and how the last one ended."""
    ends = [entry for entry in facts.context if entry.kind is EntryKind.DAEMON]
    if not facts.no_daemon or not ends:
        return facts.no_daemon
    if ends[-1].new == "STARTED":
        return (
            f"{facts.no_daemon}; the last one ended without a goodbye: killed, crashed, or the"
            " machine went down"
        )
    by = [entry for entry in facts.context if entry.kind is EntryKind.COMMAND and not entry.name]
    return (
        f"{facts.no_daemon}; the last one ended:"
        f" {by[-1].new if by else ends[-1].reason}{f', {by[-1].reason}' if by else ''}"
    )


def _steps(way: tuple[Entry, ...], facts: Circumstances) -> tuple[ReasonStep, ...]:
    """Return the way, with what happened to links, peer and node during it and shortly before."""
    if not way:
        return ()
    ours = {entry.number for entry in way}
    ends = way[-1] if facts.status is not None else facts.context[-1] if facts.context else way[-1]
    steps = []
    entered: Entry | None = None
    for entry in facts.context or way:
        is_near = entry.seconds_after(way[0]) >= -CONTEXT_S and entry.seconds_after(ends) <= 0
        is_ours = entry.number in ours
        if not is_ours and (entry.kind in _OF_SERVICES or not is_near):
            continue
        took_s = entry.took_s
        if is_ours and entry.kind is EntryKind.SERVICE and entry.old:
            took_s = entry.seconds_after(entered) if entered is not None else None
            entered = entry
        steps.append(ReasonStep(entry, describe(entry), took_s))
    return tuple(steps)


def describe(entry: Entry) -> str:
    """Describe an entry in one line, without its time."""
    if entry.kind is EntryKind.SERVICE and not entry.old:
        return f"service {entry.name}: {entry.new}: {entry.reason}"
    if entry.kind is EntryKind.SERVICE:
        return f"service {entry.name}: {entry.old} -> {entry.new}: {entry.reason}"
    if entry.kind is EntryKind.PEER:
        change = f"{entry.old} -> {entry.new}" if entry.old else entry.new
        return f"peer {entry.name}: {change}: {entry.reason}"
    if entry.kind is EntryKind.SCRIPT:
        took = "" if entry.took_s is None else f" after {entry.took_s:.2f} s"
        return (
            f"{SCRIPT_NAMES.get(entry.old, entry.old)} of {entry.name}: {entry.new}{took}:"
            f" {entry.reason}"
        )
    if entry.kind is EntryKind.COMMAND:
        what = f"{entry.old} {entry.new}" if entry.old else entry.new
        return f"command {what}{f' for {entry.name}' if entry.name else ''}: {entry.reason}"
    if entry.kind is EntryKind.READINESS:
        return f"service {entry.name}: {entry.new}: {entry.reason}"
    if entry.kind is EntryKind.MONITOR:
        return f"resource monitor of {entry.name}: {entry.new}: {entry.reason}"
    if entry.kind is EntryKind.DAEMON:
        return f"nmond {entry.new}: {entry.reason}"
    return f"{entry.kind.value} {entry.name}: {entry.new}: {entry.reason}"


def sight_lines(sight: Sight) -> tuple[str, ...]:
    """Return lines on each link at that step, and on how late the node itself was."""
    lines = []
    for link in sight.links:
        heard = (
            "never heard" if link.silence_s is None else f"last beat {link.silence_s:.2f} s before"
        )
        limit = (
            "not waited for: the peer had reported that it cannot send there"
            if link.is_mute
            else f"timeout {link.timeout_s:g} s"
        )
        lines.append(f"{link.link_id}: {'up' if link.is_up else 'down'}, {heard} ({limit})")
    limit = (
        "" if sight.stall_limit_s is None else f" (a stall begins at {sight.stall_limit_s:.2f} s)"
    )
    lines.append(f"this node itself was late by {sight.late_s:.2f} s{limit}")
    return tuple(lines)


def _ruled_out(
    way: tuple[Entry, ...], decision: Entry | None, spec: ServiceSpec | None
) -> tuple[str, ...]:
    """Return what could have prevented a start, and why it did not."""
    if (
        not any(
            entry.new in (ServiceState.START_READY.name, ServiceState.STARTING.name)
            for entry in way
        )
        or decision is None
    ):
        return ()
    found = []
    sight = decision.sight
    if sight is not None and sight.stall_limit_s is not None and sight.late_s < sight.stall_limit_s:
        found.append(
            f"a stall of this node: it was late by {sight.late_s:.2f} s, under the"
            f" {sight.stall_limit_s:.2f} s of one"
        )
    # As the rules in core.transitions put it; the history keeps no more of the evidence.
    reasons = " ".join(entry.reason for entry in way if entry.kind is EntryKind.SERVICE)
    seen = {evidence for evidence in Evidence if f"peer is {evidence.value}" in reasons}
    if Evidence.OUT_ACKED in seen:
        found.append(
            "the peer running it: the peer reported that it is out, and acknowledged our"
            " START_READY"
        )
    if Evidence.DEPARTED_STOPPED in seen:
        found.append("the peer running it: it stopped the service and said goodbye")
    is_silent = Evidence.SILENT in seen
    if is_silent and sight is not None and not any(link.is_up for link in sight.links):
        awaited = sum(not link.is_mute for link in sight.links)
        found.append(
            f"a peer that is heard: none of {awaited} link(s) brought a beat within its timeout"
        )
    check = next(
        (
            entry
            for entry in way
            if (entry.kind, entry.old, entry.new) == (EntryKind.SCRIPT, "check", "ok")
        ),
        None,
    )
    if check is not None and is_silent:
        is_true = spec is not None and spec.check in ALWAYS_TRUE
        proof = (
            " (it always succeeds: NOTHING is proved, no fencing is configured)" if is_true else ""
        )
        found.append(
            f"a silent peer that runs it: the check-up script {check.reason} succeeded{proof}"
        )
    return tuple(found)
