"""Explain why a service is in its state: from the history, the daemon's status, the STATE file.

The STATE file serves only if no daemon answers. Pure: facts in, an explanation out. It repeats the
reasons recorded with each decision and never derives them again; only the advice follows from the
state.
"""

from __future__ import annotations

from dataclasses import dataclass

from opensvc_openha.core.events import ScriptKind
from opensvc_openha.core.model import ALWAYS_TRUE, ServiceSpec
from opensvc_openha.core.peer_view import Evidence
from opensvc_openha.core.states import FAILED, PASSING, SET_OFF, ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding, Sight
from opensvc_openha.storage.history_file import Entry, EntryKind

_PASSING = frozenset(state.name for state in PASSING)
_FAILED = frozenset(state.name for state in FAILED)
_SET_OFF = frozenset(state.name for state in SET_OFF)
_OF_SERVICES = frozenset(
    {EntryKind.SERVICE, EntryKind.SCRIPT, EntryKind.COMMAND, EntryKind.MONITOR}
)
_LEADS_IN_S = 1.0
CONTEXT_S = 60.0
"""Entries of links, peer and node up to this many seconds before a change are shown with it."""

_PARTS = "parts of it may be in use there until it is frozen as stopped"
SCRIPT_NAMES = {
    ScriptKind.CHECK.value: "check-up script",
    ScriptKind.START.value: "start script",
    ScriptKind.STOP.value: "stop script",
    ScriptKind.PROBE.value: "wrapper's status",
}


@dataclass(frozen=True)
class Circumstances:
    """Everything known at the time of the question.

    ``status`` is None if no daemon answers, and ``no_daemon`` is the reason.
    """

    service: str
    node: str
    peer: str
    spec: ServiceSpec | None
    entries: tuple[Entry, ...]
    context: tuple[Entry, ...]
    status: NodeStatus | None
    no_daemon: str
    stored: str
    running_script: str
    log_file: str
    delay_s: float
    """The start-ready delay of the time profile, in seconds."""


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
        and entries[begin - 1].kind is not EntryKind.SERVICE
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
        cause=_cause(moves, state),
        reason=reason,
        rule="" if last is None else last.rule,
        no_daemon=_end_of_daemon(facts),
        warnings=(
            ()
            if status is None
            else tuple(text for text in status.warnings if text not in status.fencing_warnings)
        ),
        steps=_steps(way, facts),
        decision=decision,
        ruled_out=_ruled_out(way, decision, facts.spec),
        waits_for=_waits_for(facts, state, reason),
        advice=_advice(facts, state),
    )


def _cause(moves: tuple[Entry, ...], state: str) -> str:
    """Return what caused a successful start or stop; the reason of a failure is more useful."""
    if state in _PASSING or state in _FAILED:
        return ""
    changes = [entry for entry in moves[:-1] if entry.old in ServiceState.__members__]
    return next((entry.reason for entry in reversed(changes) if entry.new in _SET_OFF), "")


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


def _waits_for(facts: Circumstances, state: str, reason: str) -> str:
    if facts.status is None:
        return "nothing is decided on this node until nmond runs"
    waits = {
        ServiceState.START_READY: f"{reason} ({facts.delay_s:g} s where the peer is silent)",
        ServiceState.STARTING: facts.running_script or "the end of its script",
        ServiceState.STOPPING: facts.running_script or "the end of its stop script",
        ServiceState.STARTED: "nothing: it runs here",
        ServiceState.FROZEN_STOP: "an operator: a frozen service is neither started nor stopped",
        ServiceState.FROZEN_START: (
            "an operator: it runs here and is frozen, so nothing is decided about it"
        ),
        ServiceState.START_FAILED: (
            "an operator, or a peer that is heard again after a failed check-up script"
        ),
        ServiceState.STOP_FAILED: "an operator: what the stop script left behind is not known",
        ServiceState.UNKNOWN: "an operator: what runs here is not known",
        ServiceState.STOPPED: _standby(facts),
    }
    return waits.get(ServiceState[state], "") if state in ServiceState.__members__ else ""


def _standby(facts: Circumstances) -> str:
    """Explain what a stopped, unfrozen service waits for."""
    assert facts.status is not None
    now = facts.status.service(facts.service)
    peer = ServiceState.UNKNOWN if now is None or now.peer_state is None else now.peer_state
    return {
        ServiceState.STARTED: "the peer: it runs there, and this node is the standby",
        ServiceState.FROZEN_START: "the peer: it runs there, frozen",
        ServiceState.STARTING: "the peer, which is starting it",
        ServiceState.START_READY: "the peer, which goes first",
        ServiceState.STOPPING: "the end of the stop script on the peer",
        ServiceState.START_FAILED: f"the peer, where the start failed: {_PARTS}",
        ServiceState.STOP_FAILED: f"the peer, where the stop failed: {_PARTS}",
        ServiceState.UNKNOWN: _verdict(facts.status),
    }.get(peer, "a moment: the peer is out, so it will be started where it may be")


def _verdict(status: NodeStatus) -> str:
    if status.peer_standing is PeerStanding.LIVE:
        return "the peer, which is heard but does not know this service: add it there"
    return f"a verdict on the peer ({status.peer_standing.value}: {status.peer_reason})"


def _advice(facts: Circumstances, state: str) -> tuple[str, ...]:
    """Return what to do next: first about the daemon, then about the state."""
    act, here, peer = f"$EZ_BIN/service -A {facts.service}", facts.node, facts.peer
    found: list[str] = []
    if facts.status is None:
        found.append(
            "start the daemon: $EZ/ezha start (a service that runs is found running, and not"
            " started again)"
        )
    now = None if facts.status is None else facts.status.service(facts.service)
    if now is not None and now.is_dual_run:
        found.append(
            f"both nodes run it: stop it on the node whose changes you give up, now: {act}"
            " freeze-stop"
        )
    look = f"see the output of the script: {facts.log_file}"
    again = (
        f"then {act} freeze-stop (runs the stop script), and {act} unfreeze to have it started"
        " again"
    )
    advice = {
        ServiceState.STARTED: (
            f"to move it: {act} freeze-stop here; once {peer} runs it, {act} unfreeze",
        ),
        ServiceState.STOPPED: (
            (f"to have it here: {act} freeze-stop on {peer}",) if facts.status is not None else ()
        ),
        ServiceState.START_FAILED: (
            look,
            again,
            f"or leave it frozen here: {peer} starts it if it is unfrozen there",
        ),
        ServiceState.STOP_FAILED: (
            look,
            f"end by hand what is left, then {act} freeze-stop (stops it once more)",
        ),
        ServiceState.FROZEN_STOP: (f"{act} unfreeze lets this node run it",),
        ServiceState.FROZEN_START: (
            f"{act} unfreeze lets the cluster decide again; it continues to run meanwhile",
        ),
        ServiceState.START_READY: (f"to prevent the start: {act} freeze-stop",),
        ServiceState.STARTING: (f"if it takes long, {look}",),
        ServiceState.STOPPING: (f"if it takes long, {look}",),
        ServiceState.UNKNOWN: (
            (
                f"check on {here} what runs, then declare it: {act} force-start or force-stop;"
                f" or stop it: {act} stop"
            ),
        ),
    }
    found += advice.get(ServiceState[state], ()) if state in ServiceState.__members__ else ()
    if facts.spec is not None and facts.spec.check in ALWAYS_TRUE:
        found.append(
            f"configure fencing: the check-up script {facts.spec.check} lets this node start it"
            f" while {peer} may run it"
        )
    return tuple(found)
