"""Define a node's status: the one source of `service -s`, `hb -s`, the hb column and JSON.

Instants are monotonic seconds in core and wall-clock seconds in answers on the control socket.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.outlook import Finding, Ready
from opensvc_openha.core.states import ServiceState
from opensvc_openha.records import dataclass


class PeerStanding(enum.Enum):
    """Standing of the peer as a whole; the values are on the wire, in JSON and in scripts."""

    UNKNOWN = "unheard"
    """Not heard yet, and not listened to for long enough to call it silent."""
    LIVE = "live"
    SILENT = "silent"
    """Every listener is down. Not a proof of death."""
    DEPARTED = "left"
    """It said goodbye."""

    @property
    def word(self) -> str:
        """The word in logs and in the history."""
        return self.value.upper()


GAP_BOUNDS_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Upper bounds, in seconds, by which gaps between two beats are counted."""


@dataclass(frozen=True)
class BeatTiming:
    """How regularly beats came in on a listener, since its thread was started.

    ``lost`` are numbers that were missing between two beats; None on a disk, which holds only the
    newest beat, and for a C OpenHA, whose beats have no numbers. ``jitter_s`` is how much later
    than the sender's interval a beat comes in, smoothed over about 16 beats. ``gaps`` counts the
    gaps between two beats, one number for each of ``GAP_BOUNDS_S`` and one for longer ones;
    ``gaps_s`` is their sum.
    """

    beats: int = 0
    lost: int | None = None
    jitter_s: float = 0.0
    gaps: tuple[int, ...] = (0,) * (len(GAP_BOUNDS_S) + 1)
    gaps_s: float = 0.0
    longest_gap_s: float = 0.0


@dataclass(frozen=True)
class LinkStatus:
    """One end of the heartbeat link ``spec`` on this node.

    ``pid`` is the sending thread, here or on the peer; ``thread`` the one that serves this end on
    this node; ``updated_at`` the last beat sent or heard. ``counts`` says how many frames were
    found wrong on it, by reason. What a command has of ``spec`` is what the control socket carries:
    not its line nor its peer address.
    """

    spec: LinkSpec
    is_sender: bool
    is_up: bool
    pid: int = 0
    updated_at: float | None = None
    reason: str = ""
    thread: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    timing: BeatTiming | None = None
    """How regularly beats come in; None for a sender."""


@dataclass(frozen=True)
class AuthStatus:
    """How heartbeats are authenticated: the mode in force, and the ids of the keys.

    ``sends`` is the key of our beats, ``accepts`` are the keys a beat may come with; ``peer_sends``
    and ``peer_knows`` are what the peer's last authenticated beat came with, and the newest key it
    has.
    """

    mode: str = "off"
    cluster: str = ""
    sends: str = ""
    accepts: tuple[str, ...] = ()
    peer_sends: str = ""
    peer_knows: str = ""


@dataclass(frozen=True)
class PredictedPart:
    """One part of a predicted takeover: what it is, and how long it takes."""

    text: str
    seconds: float
    is_measured: bool = False
    """It was measured here, and is not only a limit or a setting."""


@dataclass(frozen=True)
class ServiceStatus:
    """One service as this node sees it.

    ``reason`` is why its own state is what it is or what it waits for.

    ``script`` is which of its scripts runs at the moment, empty for none.
    """

    name: str
    primary: str
    secondary: str
    primary_state: ServiceState
    secondary_state: ServiceState
    own_state: ServiceState | None
    peer_state: ServiceState | None
    reason: str = ""
    since: float | None = None
    script: str = ""
    unready: str = ""
    """Why this node could not start it now; empty if nothing speaks against it."""
    is_peer_unready: bool = False
    """The peer reports that it could not start it now."""
    is_dual_run: bool = False
    """Both nodes run it, or the peer is stopping its copy."""
    has_parts_up: bool = False
    """It is stopped here, but its wrapper's status found parts of it up."""
    disks: str = ""
    """What this node sees of its disks; empty unless `frozen_storage = give_up`."""
    peer_disks: str = ""
    """What the peer reports of them; empty likewise."""
    failback: str = ""
    """Whether it goes back to its primary, when, or why not; empty unless it runs on its secondary
    and `failback` is set."""
    fails_back_at: float | None = None
    """When it goes back if nothing happens; None if it stays, or waits for something."""
    is_kept_here: bool = False
    """It stays whatever its primary reports: an operator brought it here, or it came back."""
    ready: str = ""
    """Whether it could start here now: yes, no, unknown; empty if that was not checked."""
    ready_text: str = ""
    """Why it is not, or not known to be, ready; of one that is ready, what to look at."""
    checked_at: float | None = None
    """When that was checked, in wall-clock seconds."""
    peer_ready: str = ""
    """The same of the peer, as far as its beats report it: no, or empty."""
    predicted_s: float | None = None
    """How long a takeover by this node would take if the peer died now; None if it runs here."""
    predicted_parts: tuple[PredictedPart, ...] = ()
    last_takeover_s: float | None = None
    """How long the last takeover by this node took, from the last beat of the peer to STARTED."""
    last_takeover_at: float | None = None

    @property
    def cannot_start(self) -> bool:
        """True if this node could not start it, by the engine or by the last scheduled check."""
        return bool(self.unready) or self.ready == Ready.NO.value

    @property
    def peer_cannot_start(self) -> bool:
        """True if the peer reports the same of itself."""
        return self.is_peer_unready or self.peer_ready == Ready.NO.value


@dataclass(frozen=True)
class LinkSight:
    """One listener at the moment of a decision.

    ``silence_s`` is the age of its last beat, None if none ever came. ``is_mute`` if the peer had
    reported that it cannot send there.
    """

    link_id: str
    is_up: bool
    silence_s: float | None
    timeout_s: float
    is_mute: bool = False


@dataclass(frozen=True)
class Sight:
    """Evidence of a decision: links, standing of the peer, lateness of the node itself.

    ``at`` is the monotonic instant of the step, ``late_s`` by how much it came too late,
    ``stall_limit_s`` the lateness from which a verdict about the peer is delayed; None without
    links.
    """

    at: float
    links: tuple[LinkSight, ...]
    standing: PeerStanding
    late_s: float
    stall_limit_s: float | None


@dataclass(frozen=True)
class FenceGroup:
    """Services that one fence serves.

    ``name`` is empty for those whose check-up script proves nothing.

    ``took_s`` is the longest that it was seen to take, None if it never succeeded; ``retry_at`` the
    earliest next attempt after ``failures`` in a row; ``detail`` how the last one ended;
    ``limit_s`` the limit of the script, the longest of these services.
    """

    name: str
    check: str
    services: tuple[str, ...]
    took_s: float | None = None
    failures: int = 0
    retry_at: float | None = None
    detail: str = ""
    worked_at: float | None = None
    failed_at: float | None = None
    """When it last did either, in wall-clock seconds."""
    limit_s: float | None = None


@dataclass(frozen=True)
class PathStatus:
    """One path of the fence plan.

    ``kind`` and ``state`` are the words of `PathKind` and `PathState`, ``level`` counts from 0.
    ``looked_at`` and ``took_s`` are of the last look, ``tested_at`` and ``tested_s`` of the last
    time that it was used or tried out; ``limit_s`` is the longest time of a step on it.
    """

    name: str
    kind: str
    level: int
    state: str = "untested"
    text: str = ""
    looked_at: float | None = None
    took_s: float | None = None
    tested_at: float | None = None
    tested_s: float | None = None
    limit_s: float | None = None
    is_seen_on: bool = False
    """A power device that was on while the peer was heard: its OFF is believed."""
    device: str = ""
    """Address of the device."""


def service_path(service: str, rid: str) -> str:
    """Return the name of a section of a service file among the paths."""
    return f"{service} {rid}"


@dataclass(frozen=True)
class ProofStatus:
    """A proof that holds now; ``services`` is empty if it covers all."""

    kind: str
    scope: str
    at: float | None
    text: str
    services: tuple[str, ...] = ()


@dataclass(frozen=True)
class FencingStatus:
    """How this node would make sure that its peer is out.

    ``turn`` and ``peer_turn`` say who holds the right to fence first. ``is_blocked`` if it has not
    heard its peer since its machine was booted, and may therefore not fence. ``opens_at`` is its
    next turn while the peer is silent.
    """

    groups: tuple[FenceGroup, ...] = ()
    turn: str = "none"
    peer_turn: str = ""
    has_heard: bool = False
    is_blocked: bool = False
    boot_alone_s: float | None = None
    alone_at: float | None = None
    """When it may fence by itself all the same, if it is blocked and time alone ends that."""
    opens_at: float | None = None
    proof: str = ""
    flight: str = ""
    fence_s: float | None = None
    power_said: str = ""
    power_said_of: str = ""
    power_said_at: float | None = None
    """The fence's last report on the peer's power, while this node waits for it."""
    power_tellers: tuple[str, ...] = ()
    """Services whose fence can report it."""
    confirmed_by: str = ""
    confirmed_at: float | None = None
    """Whose word that the peer runs nothing holds now, and since when."""
    plan: tuple[tuple[str, ...], ...] = ()
    """The levels of the fence plan; empty without one."""
    has_arbiter: bool = False
    paths: tuple[PathStatus, ...] = ()
    step: str = ""
    """The step that is being taken: "ipmi", or "claim"."""
    step_began_at: float | None = None
    proofs: tuple[ProofStatus, ...] = ()
    hints: tuple[str, ...] = ()
    is_ejected_by: str = ""
    """Who ejected this node from the arbiter: it neither fences nor starts."""
    next_try_at: float | None = None
    """The earliest next round after one that failed."""
    lease: str = ""
    """What the peer's promise comes to; empty where the plan makes no use of it."""
    lease_ends_at: float | None = None
    """When the promised time is over, while the peer is silent."""
    service_paths: tuple[PathStatus, ...] = ()
    """What the standing check saw of the fences of service files, by ``service_path``."""
    turn_s: float | None = None
    """How long the first turn of a cut would be."""
    start_ready_s: float | None = None
    """How long START_READY waits beside a silent peer before that is fenced."""
    start_ready_unfenced_s: float | None = None
    """The same of a service whose check-up script fences nobody."""
    why_delay: str = ""
    """Why it waits for the whole delay before a fence; empty where it does not."""


@dataclass(frozen=True)
class LeaseStatus:
    """What this node promises of itself, and how well its watchdog is fed.

    ``watchdog`` is off, taken over, being armed, armed or lost; ``name`` and ``timeout_s`` are as
    its driver reports them. ``death_s`` is what beats promise, None for nothing, and ``why_not``
    why nothing is promised, or not yet confirmed. ``permit_at`` is when the newest permit was
    given, ``permit_by`` for what: acknowledged beat, disk slot, witness. ``margin_s`` is what is
    left of the watchdog's time, ``least_margin_s`` the least that was left in the last day.
    """

    watchdog: str
    name: str = ""
    timeout_s: float | None = None
    answer_s: float | None = None
    death_s: float | None = None
    is_virtual: bool = False
    is_confirmed: bool = False
    is_withdrawing: bool = False
    """The peer may still believe in what was promised before."""
    permit_at: float | None = None
    permit_by: str = ""
    margin_s: float | None = None
    least_margin_s: float | None = None
    why_not: str = ""
    tested_at: float | None = None
    tested_s: float | None = None
    """When this node's watchdog last reset it on purpose, and how long after its last pet."""
    was_late: bool = False
    """That was later than a promise counts with."""
    configured_s: float | None = None
    """The timeout that its driver was asked for; it may have kept another one."""
    why_no_inhibitor: str = ""
    """Why this machine may be suspended though its watchdog is armed; empty if it may not."""
    stops: bool = False
    """It stops its services before the watchdog resets it (`on_lost = stop`)."""
    cut_off: str = ""
    """Why it has stopped them, and starts none; empty while it does not."""


@dataclass(frozen=True)
class TargetStatus:
    """One target of `[connectivity]`.

    ``answers`` if it answered the last round, None if it could not be asked, or was not yet;
    ``text`` is why it did not; ``answered_at`` the beginning of the newest round that it answered.
    """

    address: str
    answers: bool | None = None
    text: str = ""
    took_s: float | None = None
    answered_at: float | None = None


@dataclass(frozen=True)
class ConnectivityStatus:
    """Whether this node is isolated.

    ``reach`` and ``peer_reach`` are reachable, isolated or not known; the peer's is empty if it
    reports nothing. ``since`` is since when that of this node holds. ``text`` is what follows, or
    why it is not known.
    """

    reach: str
    since: float | None = None
    targets: tuple[TargetStatus, ...] = ()
    peer_reach: str = ""
    text: str = ""


@dataclass(frozen=True)
class DecisionCount:
    """How often a service was brought into a state on this node."""

    service: str
    state: str
    number: int


@dataclass(frozen=True)
class ScriptCount:
    """How often a script of a service ended in one way: ``took_s`` in all, ``last_s`` the last."""

    service: str
    kind: str
    outcome: str
    number: int
    took_s: float
    last_s: float


@dataclass(frozen=True)
class StageFigure:
    """How long a stage on the way of beats took in the last one to two minutes, in seconds.

    Half of the ``number`` times took ``typical_s`` or less, to a fourth, the longest ``most_s``.
    """

    stage: str
    typical_s: float
    most_s: float
    number: int


@dataclass(frozen=True)
class Activity:
    """What the daemon did since it was started.

    ``late_s`` is by how much the engine's last step came too late, ``most_late_s`` the most in the
    last minutes; ``stalls`` are those that delayed a verdict about the peer.
    """

    decisions: tuple[DecisionCount, ...] = ()
    scripts: tuple[ScriptCount, ...] = ()
    steps: int = 0
    late_s: float = 0.0
    most_late_s: float = 0.0
    stalls: int = 0
    stages: tuple[StageFigure, ...] = ()
    """How long the stages on the way of beats took lately."""


@dataclass(frozen=True)
class NodeStatus:
    """Snapshot of one node daemon.

    ``own_only`` and ``peer_only`` are services that one of the nodes does not have.
    """

    node: str
    peer: str
    pid: int
    peer_standing: PeerStanding
    peer_reason: str
    links: tuple[LinkStatus, ...]
    services: tuple[ServiceStatus, ...]
    warnings: tuple[str, ...] = ()
    fencing_warnings: tuple[str, ...] = ()
    """Those of ``warnings`` that say that fencing is not configured."""
    authentication: AuthStatus = AuthStatus()
    scheduling: str = ""
    own_only: tuple[str, ...] = ()
    peer_only: tuple[str, ...] = ()
    fencing: FencingStatus = FencingStatus()
    lease: LeaseStatus | None = None
    """What this node promises; None if no lease is configured."""
    connectivity: ConnectivityStatus | None = None
    """Whether this node is isolated; None if no targets are configured."""
    findings: tuple[Finding, ...] = ()
    """The problems that the last scheduled check of this node found, the heaviest first."""
    checked_at: float | None = None
    """When that was, in wall-clock seconds; None if there was none yet."""
    age_s: float = 0.0
    """Seconds since an engine that hangs has published it; 0 if the engine gave it now."""
    activity: Activity = Activity()
    drill: str = ""
    """What a drill does to this node at the moment; empty for nothing."""

    def service(self, name: str) -> ServiceStatus | None:
        """Return the status of one service; None if this node does not know it."""
        return next((svc for svc in self.services if svc.name == name), None)
