"""Define the configured cluster as frozen values: nodes, heartbeat links, services."""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import blake2b

SERVICE_NAME_MAX = 63
"""Longest service name in bytes: the limit of the original's 64-byte field."""

SLOT_BLOCKS = 10
"""Blocks of 512 bytes that one disk heartbeat slot takes."""

LEGACY_SLOT_BLOCKS = 19
"""Blocks that the original's disk heartbeat takes."""

LEGACY_SERVICES_MAX = 128
"""Services that the original's heartbeat holds."""

REQUEST_SERVICES_MAX = 100
"""Most services that one request may name, to the daemon or to the other node, which passes it on.

All services of the node need not be named.
"""

MARK_BYTES = 8
"""Bytes of the mark by which two nodes identify a link to each other."""

ALWAYS_TRUE = frozenset({"/bin/true", "/usr/bin/true"})
"""Check-up scripts that always succeed and prove nothing."""

PLAN_COMMANDS = ("/cluster/bin/fence", "/lib/openha/bin/fence", "openha fence")
"""Ends of a check-up column that stands for the fence plan of the node.

A script named ``fence`` elsewhere is the operator's own, and is run.
"""


class Role(enum.Enum):
    """Role of this node for a service."""

    PRIMARY = "primary"
    SECONDARY = "secondary"


class Wire(enum.Enum):
    """Format of the heartbeats on a link, as written in openha.conf."""

    OWN = "own"
    LEGACY = "legacy"
    """The original's format, spoken by a C OpenHA."""


class Profile(enum.Enum):
    """Time profile of the cluster, as written in openha.conf."""

    TUTORIAL = "tutorial"
    """Beats each second, timeouts of seconds."""
    BALANCED = "balanced"
    """Four beats a second, timeouts from a second on, any fence."""
    FAST = "fast"
    """Sub-second beats and timeouts: only where a fence of that speed is declared."""


class OnDualRun(enum.Enum):
    """Treatment of a service that both nodes run."""

    REPORT = "report"
    STOP_SECONDARY = "stop-secondary"
    STOP_YOUNGEST = "stop-youngest"


class OnStartFailure(enum.Enum):
    """Treatment of a service whose start script failed."""

    STAY = "stay"
    """START_FAILED until an operator acts, as in the original."""
    HAND_OVER = "hand-over"
    """Stopped here, so that the peer takes it."""


class FrozenStorage(enum.Enum):
    """Treatment of a running service whose disks answer on the peer, but not here."""

    IGNORE = "ignore"
    """It waits for its disks, as without any cluster."""
    GIVE_UP = "give_up"
    """This node gives it up, so that the peer may take it."""


@dataclass(frozen=True)
class Policy:
    """The operator's choice in the cases that have no safe answer of their own."""

    on_dual_run: OnDualRun = OnDualRun.REPORT
    on_start_failure: OnStartFailure = OnStartFailure.STAY
    priority: int = 1
    """After a cut, the node with the higher sum of priorities of running services fences first."""
    is_defended: bool = False
    """The node that runs the service fences a silent peer first, although it has nothing to
    start."""
    frozen_storage: FrozenStorage = FrozenStorage.IGNORE
    frozen_after_s: float = 30.0
    """Time without an answer of a disk, in seconds, after which the service is given up."""
    data_disks: tuple[str, ...] = ()
    """The disks that are looked at; empty: those that its service file names."""
    failback_after_s: float | None = field(default=None, repr=False)
    """Time of a settled cluster, in seconds, after which the service goes back to its primary; None
    if it stays where it is."""

    @property
    def is_given_up(self) -> bool:
        """True if the node gives the service up should its disks freeze here alone."""
        return self.frozen_storage is FrozenStorage.GIVE_UP


class PathKind(enum.Enum):
    """What a path of the fence plan is made of, and therefore what its success proves."""

    POWER = "power"
    """A power device: off, then read as off twice."""
    RESERVATION = "reservation"
    """Preempt and abort on the data disks of services: the peer cannot change them any more."""
    CALLOUT = "callout"
    """A command of the operator: proves what the operator says that it proves."""
    LEASE = "lease"
    """Nothing is done: the peer promised to be dead by then, and its watchdog keeps that."""

    @property
    def has_device(self) -> bool:
        """True if something can be asked for the peer's power, and ordered to cut it."""
        return self in (PathKind.POWER, PathKind.CALLOUT)


class FenceNeeds(enum.Enum):
    """What a service needs to be proved of a silent peer before it is started."""

    NODE = "node"
    """That the peer runs nothing any more."""
    DATA = "data"
    """That the peer cannot change the service's disks, all of which carry a reservation."""


@dataclass(frozen=True)
class FencePath:
    """One way to fence the peer, named as in ``levels``.

    ``limit_s`` is the longest time of a step on it, ``expected_s`` the time that it last took.
    ``mark`` identifies its options: what was seen on the path with other options does not count.
    ``drain_s`` is the part of ``limit_s`` for what may still be on its way to disks that are taken.
    """

    name: str
    kind: PathKind
    limit_s: float
    expected_s: float | None = None
    mark: str = ""
    drain_s: float = 0.0


class OnLost(enum.Enum):
    """What a node does that cannot show any more that it lives."""

    RESET = "reset"
    """Nothing: its watchdog resets it, with all that runs on it."""
    STOP = "stop"
    """It stops its services in the time that is left, so that it need not be reset."""


@dataclass(frozen=True)
class LeasePolicy:
    """How this node's watchdog keeps its promise.

    ``timeout_s`` is that of the watchdog, ``answer_s`` the longest time in which a renewal must be
    confirmed. ``holders`` is how many timeouts the promise counts, see ``promise.death_after_s``.
    ``is_pause_excluded`` if the operator states that no virtual machine of this cluster is ever
    paused; ``has_witness`` if a witness is a medium of the promise.
    """

    device: str
    timeout_s: float
    answer_s: float
    holders: int = 2
    on_lost: OnLost = OnLost.RESET
    stop_s: float | None = None
    """How long the stops of all services take; None if that is not known."""
    is_pause_excluded: bool = False
    has_witness: bool = False


@dataclass(frozen=True)
class FencingPolicy:
    """When check-up scripts run, and what a node may do that has not heard its peer yet."""

    is_check_always: bool = False
    """Also before a start with a live peer, as in the original."""
    boot_alone_s: float | None = None
    """Seconds after its boot from which a node that never heard its peer may fence it; None: never
    by itself."""
    retry_s: float = 10.0
    """Seconds to wait after a failed fence; doubled with each failure in a row."""
    is_shared: bool = True
    """One success serves all services with the same kind of check-up script."""
    levels: tuple[tuple[FencePath, ...], ...] = field(default=(), repr=False)
    """The fence plan of the node: levels are alternatives, tried in this order; all paths of a
    level must succeed. Empty: check-up scripts are the only fence."""
    has_arbiter: bool = field(default=False, repr=False)
    """A node must win the arbiter's claim before it fences; there are no turns then."""
    lease: LeasePolicy | None = field(default=None, repr=False)
    """How this node promises to be dead soon after its last sign of life; None: it does not."""

    @property
    def paths(self) -> tuple[FencePath, ...]:
        """The paths of all levels, in their order."""
        return tuple(path for level in self.levels for path in level)

    def path(self, name: str) -> FencePath | None:
        """Return the path of that name; None if no level has it."""
        return next((path for path in self.paths if path.name == name), None)


@dataclass(frozen=True)
class ScriptLimits:
    """Longest time of each script of a service, in seconds; None for the default of core.timing."""

    start_s: float | None = None
    stop_s: float | None = None
    check_s: float | None = None
    probe_s: float | None = None


@dataclass(frozen=True)
class LinkSpec:
    """One row of the monitor file: ``node`` sends, every other node listens.

    ``kind`` is the word of its type, which links/ implements; nothing is decided by it. ``device``
    is the interface or the shared device. ``address`` may be a host name; ``address`` and ``port``
    are empty and 0 on a disk; ``offset`` (blocks of 512 bytes) is 0 on a network. ``line`` only
    serves messages. ``peer_address`` is the only address that a network link listens to; empty if
    that is not configured.
    """

    node: str
    kind: str
    device: str
    address: str
    port: int
    offset: int
    timeout_s: float
    line: int = field(default=0, compare=False)
    wire: Wire = Wire.OWN
    peer_address: str = ""

    @property
    def is_disk(self) -> bool:
        """True for a link through a shared device or file, where a beat stays until the next."""
        return not self.address

    @property
    def slot_blocks(self) -> int:
        """Blocks that a disk heartbeat takes in this link's format."""
        return LEGACY_SLOT_BLOCKS if self.wire is Wire.LEGACY else SLOT_BLOCKS

    @property
    def label(self) -> str:
        """Name of the link in ``hb -s``: ``eth1:239.131.50.10`` or ``/dev/mapper/disk.hb.0:10``."""
        return f"{self.device}:{self.offset if self.is_disk else self.address}"

    @property
    def canonical_address(self) -> str:
        """The address in a canonical form for comparing."""
        try:
            return str(ipaddress.ip_address(self.address))
        except ValueError:
            return self.address.lower()

    @property
    def shared_name(self) -> str:
        """Name of the link that both ends share: type, address and port, or offset.

        A device may have another name there.
        """
        place = str(self.offset) if self.is_disk else f"{self.canonical_address} {self.port}"
        return f"{self.kind} {place}"

    @property
    def mark(self) -> bytes:
        """Short hash of ``shared_name``."""
        return _mark_of(self.shared_name)

    @property
    def link_id(self) -> str:
        """Kind and label: the link's name in logs and status."""
        return f"{self.kind} {self.label}"


@lru_cache(maxsize=1024)
def _mark_of(name: str) -> bytes:
    return blake2b(name.encode("utf-8"), digest_size=MARK_BYTES).digest()


@dataclass(frozen=True)
class ServiceSpec:
    """One row of the services file."""

    name: str
    script: str
    primary: str
    secondary: str
    check: str
    line: int = field(default=0, compare=False)
    policy: Policy = Policy()
    limits: ScriptLimits = ScriptLimits()
    fence_needs: FenceNeeds = FenceNeeds.NODE
    has_reserved_data: bool = False
    """All its shared disks carry a reservation of the node that runs it."""

    @property
    def runs_check_too(self) -> bool:
        """True if the check-up script adds something to the fence plan of the node.

        A script that always succeeds, and the cluster's command ``fence``, mean the plan alone.
        """
        return self.is_fenced and not self.check.endswith(PLAN_COMMANDS)

    @property
    def is_fenced(self) -> bool:
        """False if the check-up script succeeds whatever the peer does."""
        return self.check not in ALWAYS_TRUE

    def role_of(self, node: str) -> Role | None:
        """Return the role of ``node`` for this service; None if it is not a node of it."""
        if node == self.primary:
            return Role.PRIMARY
        return Role.SECONDARY if node == self.secondary else None


@dataclass(frozen=True)
class ConnectivityPolicy:
    """Which addresses this node asks for an answer, to find out whether it is isolated.

    All ``targets`` are asked together, in rounds that begin ``every_s`` apart, or when the one
    before has ended if that is later; each has ``timeout_s`` for its answer. ``interface`` is the
    only one that is used for it; empty for any.
    """

    targets: tuple[str, ...]
    every_s: float = 1.0
    timeout_s: float = 1.0
    interface: str = ""

    @property
    def period_s(self) -> float:
        """Longest time from the beginning of one round to that of the next, in seconds."""
        return max(self.every_s, self.timeout_s)


@dataclass(frozen=True)
class ClusterSpec:
    """The whole configuration as node ``node`` sees it.

    ``services`` and ``links`` keep the order of their files.
    """

    node: str
    peer: str
    links: tuple[LinkSpec, ...]
    services: tuple[ServiceSpec, ...]
    profile: Profile = Profile.TUTORIAL
    fence_time_s: float | None = None
    """Declared time within which the check-up script surely fences the peer."""
    fencing: FencingPolicy = FencingPolicy()
    connectivity: ConnectivityPolicy | None = None
    """What this node asks whether it is isolated; None: nothing, and it never is."""

    @cached_property
    def senders(self) -> tuple[LinkSpec, ...]:
        """Links on which this node sends."""
        return tuple(link for link in self.links if link.node == self.node)

    @cached_property
    def listeners(self) -> tuple[LinkSpec, ...]:
        """Links on which this node listens."""
        return tuple(link for link in self.links if link.node == self.peer)

    @cached_property
    def own_services(self) -> tuple[ServiceSpec, ...]:
        """Services of which this node is primary or secondary."""
        return tuple(svc for svc in self.services if svc.role_of(self.node) is not None)
