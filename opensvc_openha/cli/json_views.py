"""Define what commands print with ``--json``: one published, versioned format per command.

It is separate from the format of the control socket, which is free to change with each version.
The schemas in ``templates`` and the tables of docs/json.md are generated from here
(``make generated``): a docstring of a field is its description there.

Within a version of a kind, keys are added and never removed, renamed or given another meaning.
Instants are wall-clock seconds since the epoch, durations seconds.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence

from opensvc_openha.core.beat import Causality
from opensvc_openha.core.outlook import Finding
from opensvc_openha.core.status import (
    Activity,
    FencingStatus,
    LinkStatus,
    NodeStatus,
    PathStatus,
    ServiceStatus,
    Sight,
)
from opensvc_openha.hints import TYPE_CHECKING, Any, TypeVar
from opensvc_openha.records import dataclass

if TYPE_CHECKING:
    from typing import ClassVar

    from opensvc_openha.cli.drill_findings import Passed
    from opensvc_openha.cli.fence_plan_output import Planned
    from opensvc_openha.storage.alert_limit import Admitted
    from opensvc_openha.storage.drills import Drills
    from opensvc_openha.storage.explanation import Explanation, ReasonStep
    from opensvc_openha.storage.fence_history import PathHistory
    from opensvc_openha.storage.history_entry import Entry
    from opensvc_openha.storage.timeline import Timeline

_Shape = TypeVar("_Shape")


class View:
    """What a command prints: an object whose first keys are its ``kind`` and ``version``."""

    KIND: ClassVar[str]
    VERSION: ClassVar[int] = 1
    COMMAND: ClassVar[str]

    def text(self) -> str:
        """Return the JSON text, with a line end."""
        assert dataclasses.is_dataclass(self)
        values = {"kind": self.KIND, "version": self.VERSION, **dataclasses.asdict(self)}
        return json.dumps(values, indent=2) + "\n"


@dataclass(frozen=True)
class TimingView:
    """How regularly beats came in on a listener, since its thread was started."""

    beats: int
    lost: int | None
    """Numbers that were missing; null on a disk, and for a C OpenHA."""
    jitter_s: float
    """How much later than its interval a beat comes in, smoothed."""
    gaps: tuple[int, ...]
    """Gaps between two beats, counted by length: at most 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1,
    1.1, 1.25, 1.5, 2, 3, 5, 10 seconds, and longer."""
    gaps_s: float
    """All gaps together."""
    longest_gap_s: float


@dataclass(frozen=True)
class LinkView:
    """One end of a heartbeat link on this node."""

    kind: str
    """Type of the monitor file: net, unicast, dio, disk."""
    label: str
    """The link as `hb -s` names it."""
    is_sender: bool
    """True if this node sends on it, False if it listens."""
    is_up: bool
    pid: int
    """The sending thread, here or on the peer."""
    updated_at: float | None
    """The last beat sent or heard; null if there was none."""
    reason: str
    """Why it is up or down."""
    device: str
    address: str
    port: int
    offset: int
    """Block of a slot on a disk."""
    timeout_s: float
    thread: int
    """The thread that serves it on this node."""
    counts: Mapping[str, int]
    """How many frames were refused, by reason."""
    wire: str
    """Format of its beats: own or legacy."""
    timing: TimingView | None
    """How regularly beats come in; null for a sender."""


@dataclass(frozen=True)
class PredictedPartView:
    """One part of a predicted takeover."""

    text: str
    seconds: float
    is_measured: bool
    """It was measured on this node, and is not only a limit or a setting."""


@dataclass(frozen=True)
class ServiceView:
    """One service as this node sees it; states are FROZEN_STOP, STOPPED ... STARTED, UNKNOWN."""

    name: str
    primary: str
    secondary: str
    primary_state: str
    secondary_state: str
    own_state: str | None
    """State on this node; null if it is neither its primary nor its secondary."""
    peer_state: str | None
    reason: str
    """Why the state on this node is what it is, or what it waits for."""
    since: float | None
    """When the state on this node began."""
    script: str
    """Which script runs at the moment: check, start, stop, status; empty for none."""
    unready: str
    """Why this node could not start it now; empty if nothing is known against it."""
    is_peer_unready: bool
    """The peer reports that it could not start it now."""
    is_dual_run: bool
    """Both nodes run it, or the peer is stopping its copy."""
    has_parts_up: bool
    """It is stopped here, but its wrapper's status found parts of it up."""
    disks: str
    """What this node sees of its disks; empty unless `frozen_storage = give_up`."""
    peer_disks: str
    """What the peer reports of them; empty likewise."""
    failback: str
    """Whether it goes back to its primary, when, or why not; empty unless it runs here on its
    secondary and `failback` is set."""
    fails_back_at: float | None
    """When it goes back if nothing happens; null if it stays, or waits for something."""
    is_kept_here: bool
    """It stays whatever its primary reports: an operator brought it here, or it came back."""
    ready: str
    """Whether it could start on this node now: yes, no, unknown; empty if it was not checked."""
    ready_text: str
    """Why it is not, or not known to be, ready; of one that is ready, what to look at."""
    checked_at: float | None
    """When that was checked."""
    peer_ready: str
    """The same of the peer, as far as its beats report it: no, or empty."""
    predicted_s: float | None
    """How long a takeover by this node would take if the peer died now; null if it runs here, or
    nothing can be said."""
    predicted_parts: tuple[PredictedPartView, ...]
    last_takeover_s: float | None
    """How long the last takeover by this node took, from the last beat of the peer to STARTED."""
    last_takeover_at: float | None


@dataclass(frozen=True)
class AuthenticationView:
    """How heartbeats are authenticated: the mode, and ids of keys, never a key."""

    mode: str
    cluster: str
    sends: str
    """Key of the beats of this node."""
    accepts: tuple[str, ...]
    """Keys that a beat may come with."""
    peer_sends: str
    """Key of the peer's last authenticated beat."""
    peer_knows: str
    """The newest key that the peer has."""


@dataclass(frozen=True)
class FenceGroupView:
    """Services that one check-up script serves."""

    name: str
    """Its fence; empty for those whose check-up script proves nothing."""
    check: str
    services: tuple[str, ...]
    took_s: float | None
    """The longest that it was seen to take; null if it never succeeded."""
    failures: int
    """Failures in a row."""
    retry_at: float | None
    detail: str
    """How the last one ended."""
    worked_at: float | None
    failed_at: float | None
    limit_s: float | None
    """Time limit of the script."""


@dataclass(frozen=True)
class PathView:
    """One path of the fence plan."""

    name: str
    kind: str
    """power, reservation, callout or lease; arbiter for the arbiter."""
    level: int
    """Level of the plan, from 0; -1 for none."""
    state: str
    """armed, wrong, unreachable, untested or unusable; of a look alone: answers or unreachable."""
    text: str
    looked_at: float | None
    took_s: float | None
    tested_at: float | None
    """When it was last used or tried out."""
    tested_s: float | None
    limit_s: float | None
    """The longest time of a step on it."""
    is_seen_on: bool
    """A power device that was on while the peer was heard: its OFF is believed."""
    device: str
    """Address of the device."""


@dataclass(frozen=True)
class ProofView:
    """A proof that the peer is out, which holds now."""

    kind: str
    scope: str
    at: float | None
    text: str
    services: tuple[str, ...]
    """Services that it covers; empty if it covers all."""


@dataclass(frozen=True)
class FencingView:
    """How this node would make sure that its peer is out."""

    groups: tuple[FenceGroupView, ...]
    """Check-up scripts, where there is no fence plan."""
    turn: str
    """Who holds the right to fence first, for this node."""
    peer_turn: str
    """The same, as the peer reports it."""
    has_heard: bool
    """The peer has answered this node since its machine booted."""
    is_blocked: bool
    """It has not, and this node may therefore not fence."""
    boot_alone_s: float | None
    alone_at: float | None
    """When it may fence by itself all the same, if it is blocked and time alone ends that."""
    opens_at: float | None
    """Its next turn while the peer is silent."""
    proof: str
    flight: str
    """The fence that runs now."""
    fence_s: float | None
    """How long fencing takes, as configured or measured."""
    power_said: str
    """The fence's last report on the peer's power."""
    power_said_of: str
    power_said_at: float | None
    power_tellers: tuple[str, ...]
    """Services whose fence can report it."""
    confirmed_by: str
    """Whose word that the peer runs nothing holds now."""
    confirmed_at: float | None
    plan: tuple[tuple[str, ...], ...]
    """Levels of the fence plan; empty without one."""
    has_arbiter: bool
    paths: tuple[PathView, ...]
    step: str
    """The step that is being taken."""
    step_began_at: float | None
    proofs: tuple[ProofView, ...]
    hints: tuple[str, ...]
    """What makes it likely that the peer is out, and proves nothing."""
    is_ejected_by: str
    """Who ejected this node from the arbiter."""
    next_try_at: float | None
    lease: str
    """What the peer's promise comes to."""
    lease_ends_at: float | None
    """When the promised time is over, while the peer is silent."""
    service_paths: tuple[PathView, ...]
    """What the standing check saw of the fences of service files."""
    turn_s: float | None
    """How long the first turn of a cut would be."""
    start_ready_s: float | None
    """How long START_READY waits beside a silent peer before that is fenced."""
    start_ready_unfenced_s: float | None
    """The same of a service whose check-up script fences nobody."""
    why_delay: str
    """Why it waits for the whole delay before a fence; empty where it does not."""


@dataclass(frozen=True)
class LeaseView:
    """What this node promises of itself, and how well its watchdog is fed."""

    watchdog: str
    """off, taken over, being armed, armed or lost."""
    name: str
    """Its driver."""
    timeout_s: float | None
    answer_s: float | None
    death_s: float | None
    """What beats promise; null for nothing."""
    is_virtual: bool
    is_confirmed: bool
    is_withdrawing: bool
    """The peer may still believe in what was promised before."""
    permit_at: float | None
    permit_by: str
    """What the newest permit was given for."""
    margin_s: float | None
    """What is left of the watchdog's time."""
    least_margin_s: float | None
    """The least that was left in the last day."""
    why_not: str
    """Why nothing is promised, or not yet confirmed."""
    tested_at: float | None
    """When the watchdog last reset this node on purpose."""
    tested_s: float | None
    """How long after its last pet."""
    was_late: bool
    """That was later than a promise counts with."""
    configured_s: float | None
    """The timeout that its driver was asked for."""
    why_no_inhibitor: str
    """Why nothing refuses to suspend this node while its watchdog is armed; empty if that is
    refused."""
    stops: bool
    """It stops its services before its watchdog resets it (`on_lost = stop`)."""
    cut_off: str
    """Why it has stopped them, and starts none; empty while something confirms that it lives."""


@dataclass(frozen=True)
class TargetView:
    """One of the addresses that this node asks for an answer."""

    address: str
    answers: bool | None
    """Whether it answered the last round; null if it could not be asked, or was not yet."""
    text: str
    """Why it did not."""
    took_s: float | None
    """The time until its answer."""
    answered_at: float | None
    """When the newest round began that it answered."""


@dataclass(frozen=True)
class ConnectivityView:
    """Whether anything beyond its peer answers this node (`[connectivity]`)."""

    reach: str
    """reachable, isolated or not known."""
    since: float | None
    targets: tuple[TargetView, ...]
    peer_reach: str
    """The same as the peer reports it; empty if it reports nothing."""
    text: str
    """What follows of an isolation, or why nothing is known."""


@dataclass(frozen=True)
class FindingView:
    """One thing that a check found."""

    severity: str
    """error: something does not work, or will not in a failover; warning: look at it; unknown: it
    could not be looked at."""
    node: str
    """The node that it concerns; empty for the cluster."""
    text: str
    service: str
    """The service that it concerns; empty for all of the node."""
    check: str
    """Word of the check: see docs/check.md."""
    fix: str
    """What to do about it; may be empty."""
    stops_start: bool
    """A start of the service would fail for it."""


@dataclass(frozen=True)
class DecisionCountView:
    """How often a service was brought into a state on this node."""

    service: str
    state: str
    number: int


@dataclass(frozen=True)
class ScriptCountView:
    """How often a script of a service ended in one way."""

    service: str
    kind: str
    """check, start, stop or status."""
    outcome: str
    number: int
    took_s: float
    """All of them together."""
    last_s: float


@dataclass(frozen=True)
class StageView:
    """How long a stage on the way of beats took in the last one to two minutes."""

    stage: str
    """From where to where: `read -> engine`, for instance."""
    typical_s: float
    """The median, right to a fourth of itself."""
    most_s: float
    """The longest time."""
    number: int
    """How many times were measured."""


@dataclass(frozen=True)
class ActivityView:
    """What the daemon did since it was started."""

    decisions: tuple[DecisionCountView, ...]
    scripts: tuple[ScriptCountView, ...]
    steps: int
    """Steps of the engine."""
    late_s: float
    """By how much the last one came too late."""
    most_late_s: float
    """The most in the last minutes."""
    stalls: int
    """Those that delayed a verdict about the peer."""
    stages: tuple[StageView, ...]


@dataclass(frozen=True)
class NodeView(View):
    """`hb -s --json`: a node's heartbeat links, warnings and fencing."""

    KIND = "links"
    COMMAND = "hb -s --json"

    node: str
    peer: str
    pid: int
    age_s: float
    """0 if nmond's engine gave this status now. Else it does not answer, and this status is so
    many seconds old."""
    peer_standing: str
    """unheard, live, silent or left."""
    peer_reason: str
    warnings: tuple[str, ...]
    fencing_warnings: tuple[str, ...]
    """Those of the warnings that say that fencing is not configured."""
    scheduling: str
    """Scheduling class of the threads that send and listen."""
    own_only: tuple[str, ...]
    """Services that the peer does not have."""
    peer_only: tuple[str, ...]
    """Services that this node does not have."""
    authentication: AuthenticationView
    fencing: FencingView
    lease: LeaseView | None
    """null where no lease is configured."""
    connectivity: ConnectivityView | None
    """null where no targets are configured."""
    activity: ActivityView
    links: tuple[LinkView, ...]
    findings: tuple[FindingView, ...]
    """What the last scheduled check of this node found (`[check] every`); empty for nothing."""
    checked_at: float | None
    """When that was; null if there was none yet."""
    drill: str
    """What a drill does to this node at the moment; empty for nothing."""


@dataclass(frozen=True)
class ServicesView(NodeView):
    """`service -s --json`: a node's services, and all that `hb -s --json` has."""

    KIND = "services"
    COMMAND = "service -s --json"

    services: tuple[ServiceView, ...]


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


def services(status: NodeStatus) -> ServicesView:
    """Return what ``service -s --json`` prints."""
    found = tuple(_service(svc) for svc in status.services)
    return _of_node(ServicesView, status, services=found)


def links(status: NodeStatus) -> NodeView:
    """Return what ``hb -s --json`` prints."""
    return _of_node(NodeView, status)


def fence_status(status: NodeStatus) -> FenceStatusView:
    """Return what ``openha fence status --json`` prints."""
    return FenceStatusView(
        **vars(_fencing(status.fencing)),
        standing=status.peer_standing.value,
        promise=_lease(status),
    )


def fence_test(paths: Iterable[PathStatus]) -> FenceTestView:
    """Return what ``openha fence test --json`` prints."""
    return FenceTestView(_paths(paths))


def fence_history(paths: Iterable[PathHistory]) -> FenceHistoryView:
    """Return what ``openha fence status --history --json`` prints."""
    return FenceHistoryView(
        tuple(
            PathHistoryView(
                path.name,
                None if path.last_proof is None else path.last_proof.at,
                "" if path.last_proof is None else path.last_proof.proof,
                tuple(_same(FenceEventView, event) for event in path.events),
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
        tuple(_same(PlannedView, step) for step in steps),
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
    return _same(
        WhyView,
        explanation,
        steps=tuple(_step(step) for step in explanation.steps),
        decision=None if decision is None else EntryView(**_of_entry(decision)),
    )


def _same(shape: type[_Shape], source: object, **others: object) -> _Shape:
    """Return a view of the attributes of a value that have its names."""
    assert dataclasses.is_dataclass(shape)
    names = [field.name for field in dataclasses.fields(shape) if field.name not in others]
    return shape(**{name: getattr(source, name) for name in names}, **others)


def _of_node(shape: type[_Shape], status: NodeStatus, **others: object) -> _Shape:
    return _same(
        shape,
        status,
        peer_standing=status.peer_standing.value,
        authentication=_same(AuthenticationView, status.authentication),
        fencing=_fencing(status.fencing),
        lease=_lease(status),
        connectivity=_connectivity(status),
        activity=_activity(status.activity),
        links=tuple(_link(link) for link in status.links),
        findings=finding_views(status.findings),
        **others,
    )


def finding_views(found: Iterable[Finding]) -> tuple[FindingView, ...]:
    """Return findings as they are printed."""
    return tuple(_same(FindingView, each, severity=each.severity.value) for each in found)


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
            _same(
                DrillResultView,
                each,
                drill=each.kind.value,
                steps=tuple(_same(DrillStepView, step) for step in each.steps),
            )
            for each in drills.results
        ),
    )


def _lease(status: NodeStatus) -> LeaseView | None:
    return None if status.lease is None else _same(LeaseView, status.lease)


def _connectivity(status: NodeStatus) -> ConnectivityView | None:
    known = status.connectivity
    if known is None:
        return None
    targets = tuple(_same(TargetView, target) for target in known.targets)
    return _same(ConnectivityView, known, targets=targets)


def _link(link: LinkStatus) -> LinkView:
    spec = link.spec
    return LinkView(
        kind=spec.kind,
        label=spec.label,
        is_sender=link.is_sender,
        is_up=link.is_up,
        pid=link.pid,
        updated_at=link.updated_at,
        reason=link.reason,
        device=spec.device,
        address=spec.address,
        port=spec.port,
        offset=spec.offset,
        timeout_s=spec.timeout_s,
        thread=link.thread,
        counts=link.counts,
        wire=spec.wire.value,
        timing=None if link.timing is None else _same(TimingView, link.timing),
    )


def _activity(activity: Activity) -> ActivityView:
    return _same(
        ActivityView,
        activity,
        decisions=tuple(_same(DecisionCountView, count) for count in activity.decisions),
        scripts=tuple(_same(ScriptCountView, count) for count in activity.scripts),
        stages=tuple(_same(StageView, stage) for stage in activity.stages),
    )


def _service(svc: ServiceStatus) -> ServiceView:
    own, peer = svc.own_state, svc.peer_state
    return _same(
        ServiceView,
        svc,
        primary_state=svc.primary_state.name,
        secondary_state=svc.secondary_state.name,
        own_state=None if own is None else own.name,
        peer_state=None if peer is None else peer.name,
        predicted_parts=tuple(_same(PredictedPartView, part) for part in svc.predicted_parts),
    )


def _fencing(fencing: FencingStatus) -> FencingView:
    return _same(
        FencingView,
        fencing,
        groups=tuple(_same(FenceGroupView, group) for group in fencing.groups),
        paths=_paths(fencing.paths),
        proofs=tuple(_same(ProofView, proof) for proof in fencing.proofs),
        service_paths=_paths(fencing.service_paths),
    )


def _paths(paths: Iterable[PathStatus]) -> tuple[PathView, ...]:
    return tuple(_same(PathView, path) for path in paths)


def _of_entry(entry: Entry) -> dict[str, Any]:
    sight = None if entry.sight is None else _sight(entry.sight)
    cause = None if entry.cause is None else _cause(entry.cause)
    return {**vars(entry), "kind": entry.kind.value, "sight": sight, "cause": cause}


def _cause(cause: Causality) -> CauseView:
    heard_of = None if cause.heard_of is None else cause.heard_of.text
    return CauseView(cause.own.text, cause.sent, heard_of, cause.heard)


def _sight(sight: Sight) -> SightView:
    return _same(
        SightView,
        sight,
        standing=sight.standing.value,
        links=tuple(_same(LinkSightView, link) for link in sight.links),
    )


def _step(step: ReasonStep) -> StepView:
    values = {**_of_entry(step.entry), "took_s": step.took_s}
    return StepView(**values, text=step.text)
