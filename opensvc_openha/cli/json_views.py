"""Define what commands print with ``--json``: one published, versioned format per command.

It is separate from the format of the control socket, which is free to change with each version.
The schemas in ``templates`` and the tables of docs/json.md are generated from here
(``make generated``): a docstring of a field is its description there.

Within a version of a kind, keys are added and never removed, renamed or given another meaning.
Instants are wall-clock seconds since the epoch, durations seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from opensvc_openha.cli.json_status import (
    FencingView,
    FindingView,
    LeaseView,
    NodeView,
    PathView,
    ServicesView,
    View,
    fencing_view,
    lease_view,
    path_views,
    same_view,
)
from opensvc_openha.core.beat import Causality
from opensvc_openha.core.status import (
    NodeStatus,
    PathStatus,
    Sight,
)
from opensvc_openha.hints import TYPE_CHECKING, Any
from opensvc_openha.records import dataclass

if TYPE_CHECKING:
    from opensvc_openha.cli.drill_findings import Passed
    from opensvc_openha.cli.fence_plan_output import Planned
    from opensvc_openha.storage.alert_limit import Admitted
    from opensvc_openha.storage.drills import Drills
    from opensvc_openha.storage.explanation import Explanation, ReasonStep
    from opensvc_openha.storage.fence_history import PathHistory
    from opensvc_openha.storage.history_entry import Entry
    from opensvc_openha.storage.timeline import Timeline


@dataclass(frozen=True)
class FenceStatusView(FencingView, View):
    """`openha fence status --json`: what would be done about a silent peer."""

    KIND = "fence-status"
    COMMAND = "openha fence status --json"

    standing: str
    """unheard, live, silent or left."""
    promise: LeaseView | None
    """What this node itself promises; null where no lease is configured."""


@dataclass(frozen=True)
class FenceEventView:
    """One entry of the history of a path."""

    at: float
    text: str
    is_alarm: bool
    proof: str
    """The proof that it gave; empty for none."""


@dataclass(frozen=True)
class PathHistoryView:
    """What one path did."""

    path: str
    proved_at: float | None
    """When it last proved anything."""
    proof: str
    events: tuple[FenceEventView, ...]


@dataclass(frozen=True)
class FenceHistoryView(View):
    """`openha fence status --history --json`: what each path did, and when it last proved."""

    KIND = "fence-history"
    COMMAND = "openha fence status --history --json"

    paths: tuple[PathHistoryView, ...]


@dataclass(frozen=True)
class FenceTestView(View):
    """`openha fence test --json`: a look at the paths of the fence plan."""

    KIND = "fence-test"
    COMMAND = "openha fence test --json"

    paths: tuple[PathView, ...]


@dataclass(frozen=True)
class PlannedView:
    """One step of what would happen."""

    at_s: float
    """Seconds from now, as measured."""
    latest_s: float
    """Seconds from now at the latest; the same where nothing was measured."""
    what: str
    """A word for programs: silent, shoot, start, failed, nothing and the like."""
    text: str
    level: int | None
    """Level of the plan, from 0; null for what belongs to none."""
    path: str
    is_measured: bool


@dataclass(frozen=True)
class FencePlanView(View):
    """`openha fence plan --json`: what would be done if the peer fell silent now."""

    KIND = "fence-plan"
    COMMAND = "openha fence plan --json"

    node: str
    peer: str
    standing: str
    plan: tuple[tuple[str, ...], ...]
    steps: tuple[PlannedView, ...]


@dataclass(frozen=True)
class FenceConfirmView(View):
    """`openha fence confirm NODE --json`: what becomes of each service."""

    KIND = "fence-confirm"
    COMMAND = "openha fence confirm NODE --json"

    node: str
    is_confirmed: bool
    services: tuple[str, ...]
    """One line for each."""


@dataclass(frozen=True)
class FenceReportView(View):
    """`openha fence release --json` and the drills of `openha fence test`: what was done."""

    KIND = "fence-report"
    COMMAND = "openha fence release --json"

    lines: tuple[str, ...]


@dataclass(frozen=True)
class LinkSightView:
    """One listener at the moment of a decision."""

    link_id: str
    is_up: bool
    silence_s: float | None
    """Age of its last beat; null if none ever came."""
    timeout_s: float
    is_mute: bool
    """The peer had reported that it cannot send there."""


@dataclass(frozen=True)
class SightView:
    """Evidence of a decision."""

    at: float
    """Monotonic seconds of this node."""
    links: tuple[LinkSightView, ...]
    standing: str
    late_s: float
    """By how much the node was late itself."""
    stall_limit_s: float | None
    """From this on a verdict about the peer is delayed."""


@dataclass(frozen=True)
class CauseView:
    """What the node had sent and heard at an entry; a beat reports all that was before it."""

    own: str
    """Incarnation of this node's daemon."""
    sent: int
    """Number of its newest beat."""
    heard_of: str | None
    """Incarnation of the other node's daemon; null if it was not heard."""
    heard: int
    """Number of the newest beat of it."""


@dataclass(frozen=True)
class EntryView:
    """One entry of the history."""

    at: float
    mono: float
    """Monotonic seconds, comparable within one boot of the machine."""
    kind: str
    """service, link, peer, node, readiness, script, command, daemon or monitor."""
    name: str
    old: str
    new: str
    reason: str
    rule: str
    """Row of the table of rules that decided it."""
    is_alarm: bool
    took_s: float | None
    sight: SightView | None
    """What was seen on each link; null for what decides nothing."""
    machine: str
    """Boot of the machine."""
    number: int
    """Number of the entry; 0 as long as it is not written."""
    cause: CauseView | None
    """What puts entries of both nodes in order; null where that is not known."""


@dataclass(frozen=True)
class HistoryView(View):
    """`openha history --json`: what happened on this node, the newest entry last."""

    KIND = "history"
    COMMAND = "openha history --json"

    entries: tuple[EntryView, ...]


@dataclass(frozen=True)
class TimelineEntryView(EntryView):
    """One entry of a timeline of both nodes."""

    node: str


@dataclass(frozen=True)
class TimelineView(View):
    """`openha history --both --json`: what happened on both nodes, causes before effects."""

    KIND = "timeline"
    COMMAND = "openha history --both --json"

    node: str
    peer: str
    is_of_both: bool
    """False where the other node did not answer."""
    clock_ahead_least_s: float | None
    """By how much the other node's clock is ahead, at least; null where nothing limits it."""
    clock_ahead_most_s: float | None
    """And at most."""
    entries: tuple[TimelineEntryView, ...]


@dataclass(frozen=True)
class StepView(EntryView):
    """One step of the way to the present state."""

    text: str


@dataclass(frozen=True)
class WhyView(View):
    """`openha why SERVICE --json`: why a service is in its state, and what to do."""

    KIND = "why"
    COMMAND = "openha why SERVICE --json"

    service: str
    node: str
    peer: str
    role: str
    """primary, secondary; empty if it is not configured."""
    state: str
    peer_state: str
    peer_standing: str
    since: float | None
    cause: str
    """What started the last change, if the reason only describes its end."""
    reason: str
    rule: str
    no_daemon: str
    """Why no daemon could be asked; empty if one answered."""
    warnings: tuple[str, ...]
    ruled_out: tuple[str, ...]
    waits_for: str
    advice: tuple[str, ...]
    proofs: tuple[str, ...]
    """What the fence plan has proved on the way."""
    steps: tuple[StepView, ...]
    decision: EntryView | None


@dataclass(frozen=True)
class CheckView(View):
    """`openha check --json`: what is wrong in the cluster; nothing if all is well."""

    KIND = "check"
    COMMAND = "openha check --json"

    node: str
    peer: str
    findings: tuple[FindingView, ...]
    drills: tuple[FindingView, ...]
    """When each drill was last passed on each node, as findings of the severity ok."""


@dataclass(frozen=True)
class DrillStepView:
    """One thing that a drill has measured."""

    text: str
    took_s: float | None
    expected_s: float | None
    """The prediction; null without one."""


@dataclass(frozen=True)
class DrillResultView:
    """One drill."""

    drill: str
    """link, switch, takeover, power or watchdog."""
    subject: str
    """The link, the service, or the path of the fence plan."""
    at: float
    took_s: float
    node: str
    """Where it was typed."""
    peer: str
    reason: str
    """Why, as --reason has it."""
    is_passed: bool
    problem: str
    """Why it did not pass; empty if it did."""
    steps: tuple[DrillStepView, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class DrillPassedView:
    """When something was last tried out with success."""

    drill: str
    subject: str
    at: float


@dataclass(frozen=True)
class DrillReportView(View):
    """`openha drill report --json`: what drills of this node have measured."""

    KIND = "drill-report"
    COMMAND = "openha drill report --json"

    node: str
    peer: str
    last_passed: tuple[DrillPassedView, ...]
    begun: str
    """A drill that has begun and whose end is not recorded; empty for none."""
    begun_at: float | None
    results: tuple[DrillResultView, ...]
    """The oldest first."""


@dataclass(frozen=True)
class DrillOfferView:
    """Something that can be tried out."""

    drill: str
    subject: str
    command: str
    """What to type."""
    refused: tuple[str, ...]
    """What speaks against it now; empty for nothing."""
    passed_at: float | None
    """When it was last passed; null if never, as far as this node knows."""


@dataclass(frozen=True)
class DrillListView(View):
    """`openha drill list --json`: what can be tried out on this node now."""

    KIND = "drill-list"
    COMMAND = "openha drill list --json"

    node: str
    peer: str
    drills: tuple[DrillOfferView, ...]


@dataclass(frozen=True)
class MomentView:
    """One line of a rehearsal."""

    at_s: float
    """Seconds after the first event."""
    node: str
    """The node on which it happens; empty for an event."""
    kind: str
    """event, service, script, fence, link, peer, node or answer."""
    text: str
    service: str
    old: str
    """State before, of the service or of what `kind` names; empty where nothing changes."""
    new: str
    is_alarm: bool
    cuts: str
    """The node that loses its power by it."""


@dataclass(frozen=True)
class WhatifNodeView:
    """One service on one node in a rehearsal."""

    node: str
    before: str
    """State when the event happens, or `no daemon`, or `no power`."""
    after: str
    """State at the end."""
    is_up: bool
    """It runs here at the end."""
    why_not: str
    """Why it does not; empty if it does."""


@dataclass(frozen=True)
class WhatifServiceView:
    """What becomes of one service in a rehearsal."""

    name: str
    nodes: tuple[WhatifNodeView, ...]
    away_s: float | None
    """For how long it runs nowhere; null if it ran nowhere all the time."""
    is_away: bool
    """It runs nowhere at the end."""
    twice_s: float
    """For how long both nodes run it."""


@dataclass(frozen=True)
class WhatifView(View):
    """`openha whatif EVENT --json`: what would happen, in simulated time."""

    KIND = "whatif"
    COMMAND = "openha whatif EVENT --json"

    node: str
    peer: str
    events: tuple[str, ...]
    moments: tuple[MomentView, ...]
    services: tuple[WhatifServiceView, ...]
    assumed: tuple[str, ...]
    """What the result rests on, beside the present states."""
    unlike: tuple[str, ...]
    """Where the simulated nodes differ from the real ones before anything happens."""
    lasted_s: float
    """How long the rehearsal went on after the first event."""
    is_settled: bool
    """False if something may still happen after that."""


@dataclass(frozen=True)
class LinkAdviceView:
    """How regularly beats came in on a listener, and what that means for its timeout."""

    link: str
    timeout_s: float
    sample_s: float
    """How long was measured: since the daemon listens on it."""
    gaps: int
    """Number of gaps between two beats in that time."""
    gap_999_s: float
    """999 of 1000 gaps are not longer than this."""
    longest_gap_s: float
    jitter_s: float
    """How much later than the sender's interval a beat comes in, smoothed."""
    lost: int | None
    """Beats that did not come in; null where that cannot be known."""
    exceeded: int
    """Gaps that were longer than the timeout."""
    per_day_at_most: float | None
    """Such gaps in a day, at most, with 95 % confidence; null without a sample."""
    advised_s: float
    """The timeout that is advised: the present one if nothing speaks for another."""
    why: str


@dataclass(frozen=True)
class TimeoutChoiceView:
    """One timeout for all links."""

    timeout_s: float
    exceeded: int
    """Gaps that were longer, on the link with the fewest."""
    per_day_at_most: float | None
    """False alarms about the peer in a day, at most, with 95 % confidence."""
    takeover_s: float | None
    """For how long a service would be away if its node lost its power; null if not known."""
    is_present: bool
    """Some link has this timeout now."""


@dataclass(frozen=True)
class SharedPathView:
    """Two heartbeat links that one fault cuts together."""

    links: tuple[str, ...]
    shared: str
    """What they share."""
    text: str


@dataclass(frozen=True)
class PauseView:
    """Time that passed after a line of the log of a start."""

    seconds: float
    after: str


@dataclass(frozen=True)
class StartsView:
    """The start scripts of one service that succeeded on this node."""

    service: str
    number: int
    median_s: float
    longest_s: float
    last_s: float
    last_at: float
    is_slow: bool
    pauses: tuple[PauseView, ...]
    """The longest pauses of the newest start, as far as its log is there."""


@dataclass(frozen=True)
class AdviseView(View):
    """`openha advise --json`: timeouts, links and starts, by what was measured on this node."""

    KIND = "advise"
    COMMAND = "openha advise --json"

    node: str
    peer: str
    links: tuple[LinkAdviceView, ...]
    choices: tuple[TimeoutChoiceView, ...]
    stalls: int
    """How often this node stood still, by its history."""
    longest_stall_s: float
    history_s: float
    """How far back the history goes."""
    shared: tuple[SharedPathView, ...]
    starts: tuple[StartsView, ...]
    advice: tuple[str, ...]
    """What to change; empty if nothing."""
    limits: tuple[str, ...]
    """What is not known, or known from too little."""


@dataclass(frozen=True)
class NotificationView(View):
    """What a program in `notify.d` reads: what happened, and why."""

    KIND = "notification"
    COMMAND = "notify.d/PROGRAM"

    event: str
    """takeover, start-failed, stop-failed, dual-run, link-down, peer-silent, standby-not-ready,
    fence-path-broken, isolated, daemon-restarted or alarm."""
    is_over: bool
    """It ends an earlier one: the link is up again, the service could start again."""
    subject: str
    """What it is about: a service, a link, a path, a node. The end has that of the beginning."""
    service: str
    """The service that it concerns; empty for none, or several."""
    node: str
    peer: str
    summary: str
    """One line for people."""
    held: int
    """Earlier notifications about the same that were held back by the limit."""
    lost: int
    """Earlier notifications that this program never got: it failed, or was too slow."""
    is_test: bool
    """Nothing happened: `openha notify test`."""
    entry: EntryView
    """The entry of the history that it stems from."""
    why: WhyView | None
    """What `openha why SERVICE` reports at that moment; null without a service."""


@dataclass(frozen=True)
class NotifierView:
    """One program in `notify.d`."""

    name: str
    problem: str
    """Why it is not used; empty if it is."""
    waiting: int
    """Notifications that wait for it."""
    delivered_at: float | None
    """When it last succeeded."""
    failed_at: float | None
    failure: str
    """How it failed then."""


@dataclass(frozen=True)
class NotifyStatusView(View):
    """`openha notify status --json`: the programs in `notify.d`, and how they did last."""

    KIND = "notify-status"
    COMMAND = "openha notify status --json"

    programs: tuple[NotifierView, ...]


VIEWS: tuple[type[View], ...] = (
    ServicesView,
    NodeView,
    WhyView,
    HistoryView,
    FenceStatusView,
    FencePlanView,
    FenceTestView,
    FenceHistoryView,
    FenceConfirmView,
    FenceReportView,
    CheckView,
    TimelineView,
    WhatifView,
    AdviseView,
    DrillListView,
    DrillReportView,
    NotificationView,
    NotifyStatusView,
)
"""All of them, in the order of the documentation."""


def fence_status(status: NodeStatus) -> FenceStatusView:
    """Return what ``openha fence status --json`` prints."""
    return FenceStatusView(
        **vars(fencing_view(status.fencing)),
        standing=status.peer_standing.value,
        promise=lease_view(status),
    )


def fence_test(paths: Iterable[PathStatus]) -> FenceTestView:
    """Return what ``openha fence test --json`` prints."""
    return FenceTestView(path_views(paths))


def fence_history(paths: Iterable[PathHistory]) -> FenceHistoryView:
    """Return what ``openha fence status --history --json`` prints."""
    return FenceHistoryView(
        tuple(
            PathHistoryView(
                path.name,
                None if path.last_proof is None else path.last_proof.at,
                "" if path.last_proof is None else path.last_proof.proof,
                tuple(same_view(FenceEventView, event) for event in path.events),
            )
            for path in paths
        )
    )


def fence_plan(status: NodeStatus, steps: Sequence[Planned]) -> FencePlanView:
    """Return what ``openha fence plan --json`` prints."""
    return FencePlanView(
        status.node,
        status.peer,
        status.peer_standing.value,
        status.fencing.plan,
        tuple(same_view(PlannedView, step) for step in steps),
    )


def history(entries: Iterable[Entry]) -> HistoryView:
    """Return what ``openha history --json`` prints."""
    return HistoryView(tuple(EntryView(**_of_entry(entry)) for entry in entries))


def notification(
    admitted: Admitted,
    names: tuple[str, str],
    explanation: Explanation | None,
    lost: int = 0,
    is_test: bool = False,
) -> NotificationView:
    """Return what a program in notify.d reads; ``names`` are those of this node and its peer."""
    alert = admitted.alert
    return NotificationView(
        event=alert.kind.value,
        is_over=alert.is_over,
        subject=alert.subject,
        service=alert.service,
        node=names[0],
        peer=names[1],
        summary=f"{names[0]}: {alert.text}",
        held=admitted.held,
        lost=lost,
        is_test=is_test,
        entry=EntryView(**_of_entry(alert.entry)),
        why=None if explanation is None else why(explanation),
    )


def timeline(node: str, peer: str, found: Timeline, is_of_both: bool) -> TimelineView:
    """Return what ``openha history --both --json`` prints."""
    least, most = (
        limit if math.isfinite(limit) else None
        for limit in (found.clocks.least_s, found.clocks.most_s)
    )
    entries = tuple(
        TimelineEntryView(**_of_entry(each.entry), node=each.node) for each in found.entries
    )
    return TimelineView(node, peer, is_of_both, least, most, entries)


def why(explanation: Explanation) -> WhyView:
    """Return what ``openha why --json`` prints."""
    decision = explanation.decision
    return same_view(
        WhyView,
        explanation,
        steps=tuple(_step(step) for step in explanation.steps),
        decision=None if decision is None else EntryView(**_of_entry(decision)),
    )


def drill_report(node: str, peer: str, drills: Drills, passed: Iterable[Passed]) -> DrillReportView:
    """Return what ``openha drill report --json`` prints."""
    begun = drills.begun
    return DrillReportView(
        node,
        peer,
        tuple(DrillPassedView(each.kind, each.subject, each.at) for each in passed),
        "" if begun is None else begun.name,
        None if begun is None else begun.at,
        tuple(
            same_view(
                DrillResultView,
                each,
                drill=each.kind.value,
                steps=tuple(same_view(DrillStepView, step) for step in each.steps),
            )
            for each in drills.results
        ),
    )


def _of_entry(entry: Entry) -> dict[str, Any]:
    sight = None if entry.sight is None else _sight(entry.sight)
    cause = None if entry.cause is None else _cause(entry.cause)
    return {**vars(entry), "kind": entry.kind.value, "sight": sight, "cause": cause}


def _cause(cause: Causality) -> CauseView:
    heard_of = None if cause.heard_of is None else cause.heard_of.text
    return CauseView(cause.own.text, cause.sent, heard_of, cause.heard)


def _sight(sight: Sight) -> SightView:
    return same_view(
        SightView,
        sight,
        standing=sight.standing.value,
        links=tuple(same_view(LinkSightView, link) for link in sight.links),
    )


def _step(step: ReasonStep) -> StepView:
    values = {**_of_entry(step.entry), "took_s": step.took_s}
    return StepView(**values, text=step.text)
