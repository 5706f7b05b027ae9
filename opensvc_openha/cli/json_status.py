"""Define what ``service -s --json`` and ``hb -s --json`` print: the state of a node.

Apart from what other commands print (``json_views``, where the rules of both are), since the daemon
words these, too, and loads no more for it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping

from opensvc_openha.core.outlook import Finding
from opensvc_openha.core.status import (
    Activity,
    FencingStatus,
    LinkStatus,
    NodeStatus,
    PathStatus,
    ServiceStatus,
)
from opensvc_openha.hints import TYPE_CHECKING, TypeVar
from opensvc_openha.records import dataclass

if TYPE_CHECKING:
    from typing import ClassVar

_Shape = TypeVar("_Shape")


class View:
    """What a command prints: an object whose first keys are its ``kind`` and ``version``."""

    KIND: ClassVar[str]
    VERSION: ClassVar[int] = 1
    COMMAND: ClassVar[str]

    def text(self) -> str:
        """Return the JSON text, with a line end."""
        # Without copies, as ``asdict`` makes them: the daemon words many services in passing.
        values = {"kind": self.KIND, "version": self.VERSION, **vars(self)}
        return json.dumps(values, default=vars, indent=2) + "\n"


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


def services(status: NodeStatus) -> ServicesView:
    """Return what ``service -s --json`` prints."""
    found = tuple(_service(svc) for svc in status.services)
    return _of_node(ServicesView, status, services=found)


def links(status: NodeStatus) -> NodeView:
    """Return what ``hb -s --json`` prints."""
    return _of_node(NodeView, status)


def same_view(shape: type[_Shape], source: object, **others: object) -> _Shape:
    """Return a view of the attributes of a value that have its names."""
    assert dataclasses.is_dataclass(shape)
    names = [field.name for field in dataclasses.fields(shape) if field.name not in others]
    return shape(**{name: getattr(source, name) for name in names}, **others)


def _of_node(shape: type[_Shape], status: NodeStatus, **others: object) -> _Shape:
    return same_view(
        shape,
        status,
        peer_standing=status.peer_standing.value,
        authentication=same_view(AuthenticationView, status.authentication),
        fencing=fencing_view(status.fencing),
        lease=lease_view(status),
        connectivity=_connectivity(status),
        activity=_activity(status.activity),
        links=tuple(_link(link) for link in status.links),
        findings=finding_views(status.findings),
        **others,
    )


def finding_views(found: Iterable[Finding]) -> tuple[FindingView, ...]:
    """Return findings as they are printed."""
    return tuple(same_view(FindingView, each, severity=each.severity.value) for each in found)


def lease_view(status: NodeStatus) -> LeaseView | None:
    """Return what a node promises of itself; None without a watchdog."""
    return None if status.lease is None else same_view(LeaseView, status.lease)


def _connectivity(status: NodeStatus) -> ConnectivityView | None:
    known = status.connectivity
    if known is None:
        return None
    targets = tuple(same_view(TargetView, target) for target in known.targets)
    return same_view(ConnectivityView, known, targets=targets)


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
        timing=None if link.timing is None else same_view(TimingView, link.timing),
    )


def _activity(activity: Activity) -> ActivityView:
    return same_view(
        ActivityView,
        activity,
        decisions=tuple(same_view(DecisionCountView, count) for count in activity.decisions),
        scripts=tuple(same_view(ScriptCountView, count) for count in activity.scripts),
        stages=tuple(same_view(StageView, stage) for stage in activity.stages),
    )


def _service(svc: ServiceStatus) -> ServiceView:
    own, peer = svc.own_state, svc.peer_state
    return same_view(
        ServiceView,
        svc,
        primary_state=svc.primary_state.name,
        secondary_state=svc.secondary_state.name,
        own_state=None if own is None else own.name,
        peer_state=None if peer is None else peer.name,
        predicted_parts=tuple(same_view(PredictedPartView, part) for part in svc.predicted_parts),
    )


def fencing_view(fencing: FencingStatus) -> FencingView:
    """Return how a node can fence its peer."""
    return same_view(
        FencingView,
        fencing,
        groups=tuple(same_view(FenceGroupView, group) for group in fencing.groups),
        paths=path_views(fencing.paths),
        proofs=tuple(same_view(ProofView, proof) for proof in fencing.proofs),
        service_paths=path_views(fencing.service_paths),
    )


def path_views(paths: Iterable[PathStatus]) -> tuple[PathView, ...]:
    """Return what is known of devices and steps of a fence plan."""
    return tuple(same_view(PathView, path) for path in paths)
