"""Draw the kind of cluster for one history from its seed: links, clocks, fence, scripts, faults."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from random import Random

from opensvc_openha.core.model import (
    SLOT_BLOCKS,
    ClusterSpec,
    ConnectivityPolicy,
    FenceNeeds,
    FencePath,
    FencingPolicy,
    FrozenStorage,
    LeasePolicy,
    LinkSpec,
    OnDualRun,
    OnLost,
    OnStartFailure,
    PathKind,
    Policy,
    Profile,
    ServiceSpec,
    Wire,
)
from opensvc_openha.core.promise import MARGIN_S, STOP_MARGIN_S, death_after_s
from opensvc_openha.core.timing import CHECK_LIMIT_S, FROZEN_AFTER_LEAST_S
from opensvc_openha.fence_devices.reservations import DRAIN_S
from opensvc_openha.formats.beat_frame import HAS_FACTS, HAS_MUTE
from opensvc_openha.verify.simulated_node import NODES

GRANULARITY_S = 0.05
"""How late a watchdog bites."""
_AMBUSHED = (3, 4)
"""By the seed, not drawn: seeds that once failed keep their history."""
_FORGED = 6
"""Divisor of the seeds without a key in which beats are forged; by the seed, too."""
_INTERFACES = ((6, 4), (7, 4))
"""Divisors and remainders of the seeds with faults of interfaces; by the seed, too."""
_BY_HAND = (8, 5)
"""Divisor and remainder of the seeds with starts outside the cluster."""
_STOPPED = (7, 3)
"""Divisor and remainder of the seeds whose nodes stop their services before they are reset."""
_STOP_S = 12.0
"""How much longer their watchdogs wait."""
_TIMES = (5, (1, 3))
"""Divisor of the seeds in which not both nodes know how long fences take, and the remainders of
those in which the second one does not say so, and of those in which neither does."""
_BALANCED = (11, 7)
"""Divisor and remainder of the seeds with the profile between the two others."""
_BUSY = (13, 3)
"""Divisor and remainder of the seeds with slow engines and disks."""
TARGETS = ConnectivityPolicy(("192.0.2.1", "192.0.2.2"))
_NAMES = ("registry", "mail", "web", "db1", "db2")


class Fence(enum.Enum):
    """Effect of the check-up script on a silent peer."""

    PERFECT = "perfect"
    """Powers it off; success means that it is off."""
    TRUE = "true"
    """Nothing, successfully: /bin/true, as in the tutorial."""
    PLAN = "plan"
    """Nothing: the fence plan of the node does it."""


_CHECKS = {Fence.PERFECT: "/etc/openha/fence", Fence.TRUE: "/bin/true", Fence.PLAN: "/bin/true"}


@dataclass(frozen=True)
class Plan:
    """One cluster, and the share of each fault.

    Shares are probabilities per draw, times are seconds.
    """

    seed: int = 0
    fence: Fence = Fence.PERFECT
    net_links: int = 2
    has_disk: bool = True
    timeouts_s: tuple[float, ...] = (10.0, 10.0, 10.0)
    services: tuple[str, ...] = ("registry",)
    policy: Policy = field(default_factory=Policy)
    has_key: bool = False
    is_legacy: bool = False
    interface_gap_s: tuple[float, ...] = ()
    """Times between two faults of an interface; empty for none."""
    by_hand_gap_s: tuple[float, ...] = ()
    """Times between two starts of a service outside the cluster; empty for none."""
    evacuation_gap_s: tuple[float, ...] = field(default=(), repr=False)
    """Times between two evacuations of a node; empty for none."""
    forger_gap_s: tuple[float, ...] = ()
    """Times between two datagrams forged in a node's name; empty for none."""
    unknown_flag: int = 0
    """A flag of the frame that the second node's older version refuses; 0 for none."""
    rates: tuple[float, float] = (1.0, 1.0)
    loss: float = 0.0
    delays_s: tuple[float, ...] = (0.001,)
    duplicates: float = 0.0
    torn: float = 0.0
    scripts_s: tuple[float, ...] = (1.0,)
    script_fails: float = 0.0
    script_hangs: float = 0.0
    probe_unsure: float = 0.0
    fence_fails: float = 0.0
    fence_s: tuple[float, ...] = (1.0,)
    fence_lag_s: tuple[float, ...] = (0.0,)
    """Time from the order to the power switch until its effect, which outlives the ordering node.
    """
    profile: Profile = Profile.TUTORIAL
    untimed: tuple[bool, bool] = (False, False)
    """Nodes whose beats do not report that they know how long their fences take, as those of a
    version before: the node itself, and what it makes of its peer's, is not changed by it."""
    fence_deaf: float = field(default=0.0, repr=False)
    """Share of the steps in which a power switch says that it worked, and does nothing."""
    data: tuple[str, ...] = field(default=(), repr=False)
    """Services whose disks carry a reservation, and that need no more of a proof."""
    knows_abort: bool = field(default=True, repr=False)
    """The disks of services abort the writes of a node that is ejected."""
    late_writes_s: tuple[float, ...] = field(default=(), repr=False)
    """Delays with which a write lands that was on its way when its node was cut off."""
    is_virtual: bool = field(default=False, repr=False)
    """The nodes are virtual machines, which may be paused together with their clocks."""
    lease_gap_s: tuple[float, ...] = field(default=(), repr=False)
    """Times between two faults of watchdogs, keepers and heartbeat disks; empty for none."""
    disk_gap_s: tuple[float, ...] = field(default=(), repr=False)
    """Times between two freezes of data disks; empty for none."""
    uplink_gap_s: tuple[float, ...] = field(default=(), repr=False)
    """Times between two cuts of nodes from their targets; empty for none, and no targets."""
    drill_gap_s: tuple[float, ...] = field(default=(), repr=False)
    """Times between two drills of a takeover; empty for none."""
    is_switch_on_host: bool = False
    """A node's power switch loses its power with the node: then it does not answer."""
    reports_power: bool = False
    """The fences have a status that reports the peer's power."""
    fencing: FencingPolicy = field(default_factory=FencingPolicy)
    check_s: tuple[float, ...] = (0.05, 0.3, 4.0, 15.0)
    """Duration of a check-up that finds the peer alive and out, with nothing to fence."""
    step_s: float = 0.0
    """Duration of each step of an engine, while all arrivals wait."""
    write_s: float = 0.0
    """Duration of writing one state, by another thread, while nothing is decided."""
    hung_writes: float = 0.0
    """Share of the starts whose state is written for longer than the links are patient."""
    read_s: float = 0.0
    """How long a datagram waits in its socket: the thread of the links comes late."""
    gap_s: tuple[float, ...] = (5.0,)
    has_forcing: bool = False
    ambush: float = 0.0
    """Share of the decisive moments, such as the begin of a check-up, with an immediate fault."""

    @property
    def shortest_timeout_s(self) -> float:
        """Shortest timeout of all links."""
        return min(self.timeouts_s[: self.link_count])

    @property
    def longest_timeout_s(self) -> float:
        """Longest timeout of all links."""
        return max(self.timeouts_s[: self.link_count])

    @property
    def link_count(self) -> int:
        """Number of links in each direction."""
        return self.net_links + (1 if self.has_disk else 0)

    def links(self) -> tuple[LinkSpec, ...]:
        """Return the monitor file's links: for each node its network links, then its disk slot."""
        wire = Wire.LEGACY if self.is_legacy else Wire.OWN
        found = []
        for index, node in enumerate(NODES):
            for number in range(self.net_links):
                address = f"239.131.50.{10 + 2 * number + index}"
                found.append(
                    LinkSpec(
                        node,
                        "net",
                        f"eth{number + 1}",
                        address,
                        5010 + number,
                        0,
                        self.timeouts_s[number],
                        wire=wire,
                    )
                )
            if self.has_disk:
                found.append(
                    LinkSpec(
                        node,
                        "dio",
                        "/dev/disk.hb",
                        "",
                        0,
                        SLOT_BLOCKS * index,
                        self.timeouts_s[self.net_links],
                    )
                )
        return tuple(found)

    def spec(self, node: str, services: tuple[ServiceSpec, ...] | None = None) -> ClusterSpec:
        """Return the configuration of one node."""
        peer = NODES[1 - NODES.index(node)]
        services = self.service_specs() if services is None else services
        return ClusterSpec(
            node,
            peer,
            self.links(),
            services,
            profile=self.profile,
            fence_time_s=self.fence_time_s,
            fencing=self.fencing,
            connectivity=TARGETS if self.uplink_gap_s else None,
        )

    @property
    def fence_time_s(self) -> float:
        """Declared fence time: no fence takes longer to have its effect."""
        return min(CHECK_LIMIT_S, max(self.fence_s)) + max(self.fence_lag_s)

    @property
    def answer_s(self) -> float:
        """Time for an answer of a renewal; 0 without a lease."""
        return 0.0 if self.fencing.lease is None else self.fencing.lease.answer_s

    @property
    def death_s(self) -> float:
        """The promised time; 0 without a lease."""
        lease = self.fencing.lease
        if lease is None:
            return 0.0
        seconds = death_after_s(
            lease.answer_s, lease.timeout_s, lease.holders, GRANULARITY_S, MARGIN_S
        )
        return seconds

    @property
    def is_older(self) -> bool:
        """True if the second node's version knows neither facts nor link-down notices."""
        return bool(self.unknown_flag & HAS_FACTS)

    def service_specs(self) -> tuple[ServiceSpec, ...]:
        """Return the services; the nodes alternate as primary."""
        return tuple(
            ServiceSpec(
                name,
                f"/etc/opensvc/{name}.cluster",
                NODES[index % 2],
                NODES[1 - index % 2],
                _CHECKS[self.fence],
                policy=self.policy,
                fence_needs=FenceNeeds.DATA if name in self.data else FenceNeeds.NODE,
                has_reserved_data=name in self.data,
            )
            for index, name in enumerate(self.services)
        )


def scenario_from_seed(seed: int) -> Plan:
    """Return the plan of a seed."""
    plan = _draw(seed)
    if seed % _BY_HAND[0] == _BY_HAND[1]:
        plan = replace(
            plan, by_hand_gap_s=Random(f"{seed} by hand").choice(((5.0, 30.0), (60.0,), (0.5, 5.0)))
        )
    if seed % _BUSY[0] == _BUSY[1] and not plan.is_legacy and not plan.unknown_flag:
        dice = Random(f"{seed} work")
        plan = replace(
            plan,
            step_s=dice.choice((0.0, 0.002, 0.02)),
            write_s=dice.choice((0.01, 0.2, 1.0)),
            read_s=dice.choice((0.0, 0.01, 0.04)),
            hung_writes=Random(f"{seed} hung writes").choice((0.0, 0.3, 0.8)),
        )
    untimed = seed % _TIMES[0]
    if untimed in _TIMES[1]:
        plan = replace(plan, untimed=(untimed == _TIMES[1][1], True))
    if seed % _BALANCED[0] == _BALANCED[1] and not plan.is_legacy:
        plan = replace(plan, profile=Profile.BALANCED)
    return plan


_IPMI = FencePath("ipmi", PathKind.POWER, 30.0)
_PDU = FencePath("pdu", PathKind.POWER, 30.0)
_DISKS = FencePath("reservation", PathKind.RESERVATION, 40.0, drain_s=DRAIN_S)
_LEVELS = (
    ((_IPMI,),),
    ((_IPMI,), (_PDU,)),
    ((_IPMI, _PDU),),
    ((_DISKS,), (_IPMI,)),
    ((_IPMI, _DISKS), (_PDU,)),
)


def plan_from_seed(seed: int) -> Plan:
    """Return the plan of a seed, with a fence plan in place of check-up scripts."""
    dice, plan = Random(f"{seed} fence plan"), scenario_from_seed(seed)
    levels = dice.choice(_LEVELS)
    has_disks = any(_DISKS in level for level in levels)
    return replace(
        plan,
        fence=Fence.PLAN,
        fencing=replace(
            plan.fencing,
            is_check_always=False,
            levels=levels,
            has_arbiter=dice.random() < 0.6,
        ),
        data=plan.services[: dice.choice((1, len(plan.services)))] if has_disks else (),
        fence_deaf=dice.choice((0.0, 0.0, 0.0, 0.2)),
        knows_abort=Random(f"{seed} abort").random() < 0.5,
        late_writes_s=(0.1, 2.0, 5.0, 9.5) if has_disks else (),
        reports_power=False,
        # What the plan rests on must be understood on both nodes.
        is_legacy=False,
        unknown_flag=0,
        forger_gap_s=(),
    )


FASTEST, SLOWEST = 1.0833, 0.9167
"""The extremes of a clock that is slewed."""
_LEASE = FencePath("lease", PathKind.LEASE, 60.0)
_LEASE_LEVELS = (
    ((_LEASE,),),
    ((_LEASE,),),
    ((_IPMI,), (_LEASE,)),
    ((_LEASE,), (_IPMI,)),
    ((_IPMI, _LEASE),),
    ((_DISKS,), (_LEASE,)),
)


def lease_plan_from_seed(seed: int) -> Plan:
    """Return the plan of a seed, with watchdogs that keep promises, and clocks at the extremes."""
    dice, plan = Random(f"{seed} lease"), plan_from_seed(seed)
    levels = dice.choice(_LEASE_LEVELS)
    has_disks = any(_DISKS in level for level in levels)
    timeout_s, answer_s = dice.choice(((4.0, 1.0), (4.0, 1.0), (3.0, 0.5), (10.0, 2.0)))
    is_virtual = dice.random() < 0.2
    is_stopped = seed % _STOPPED[0] == _STOPPED[1]
    other_dice = Random(f"{seed} witness")
    has_witness = other_dice.random() < 0.4
    has_disk = not has_witness or other_dice.random() < 0.6
    return replace(
        plan,
        # A promise needs beats that are authenticated, and a place to renew it without the peer.
        has_key=True,
        has_disk=has_disk,
        is_virtual=is_virtual,
        rates=dice.choice(((FASTEST, SLOWEST), (SLOWEST, FASTEST), (1.0, 1.0))),
        fencing=replace(
            plan.fencing,
            levels=levels,
            # Turns bear clocks that differ less.
            has_arbiter=any(path is not _LEASE for level in levels for path in level),
            lease=LeasePolicy(
                "/dev/watchdog",
                timeout_s + (_STOP_S if is_stopped else 0.0),
                answer_s,
                on_lost=OnLost.STOP if is_stopped else OnLost.RESET,
                stop_s=_STOP_S - STOP_MARGIN_S if is_stopped else None,
                holders=dice.choice((1, 2, 2)),
                has_witness=has_witness,
            ),
        ),
        data=plan.services[: dice.choice((1, len(plan.services)))] if has_disks else (),
        late_writes_s=(0.1, 2.0, 5.0, 9.5) if has_disks else (),
        lease_gap_s=dice.choice(((1.0, 5.0), (5.0, 20.0), (20.0, 60.0))),
    )


def frozen_plan_from_seed(seed: int) -> Plan:
    """Return the plan of a seed, with data disks that freeze, for one node or for both."""
    dice = Random(f"{seed} frozen disks")
    plan = lease_plan_from_seed(seed) if dice.random() < 0.6 else plan_from_seed(seed)
    return replace(
        plan,
        # What the peer reports of its disks must be authenticated.
        has_key=True,
        policy=replace(
            plan.policy,
            frozen_storage=FrozenStorage.GIVE_UP,
            frozen_after_s=dice.choice((FROZEN_AFTER_LEAST_S, FROZEN_AFTER_LEAST_S, 30.0)),
        ),
        disk_gap_s=dice.choice(((10.0, 40.0), (40.0, 120.0))),
        # A service moves only while nothing else happens for as long.
        gap_s=(20.0, 60.0, 120.0),
        script_hangs=0.0,
    )


def failback_plan_from_seed(seed: int) -> Plan:
    """Return the plan of a seed, whose services go back to their primary by themselves."""
    dice = Random(f"{seed} failback")
    plan = plan_from_seed(seed) if dice.random() < 0.3 else scenario_from_seed(seed)
    return replace(
        plan,
        policy=replace(plan.policy, failback_after_s=dice.choice((1.0, 5.0, 5.0, 20.0, 60.0))),
        # A C OpenHA acknowledges nothing, so that nothing goes back to it.
        is_legacy=False,
        # It takes a while without a fault until something goes back.
        gap_s=dice.choice((plan.gap_s, (5.0, 20.0, 60.0), (40.0, 120.0))),
        script_fails=dice.choice((plan.script_fails, 0.0, 0.3)),
        evacuation_gap_s=dice.choice(((), (20.0, 60.0), (60.0, 200.0))),
    )


def targets_plan_from_seed(seed: int) -> Plan:
    """Return the plan of a seed whose nodes ask targets, and are cut from them now and then."""
    dice = Random(f"{seed} targets")
    plan = dice.choice((scenario_from_seed, plan_from_seed, lease_plan_from_seed))(seed)
    return replace(
        plan,
        uplink_gap_s=dice.choice(((5.0, 20.0), (20.0, 60.0), (60.0, 120.0))),
        # The node of a former version, or a C OpenHA, asks nobody.
        unknown_flag=0,
        is_legacy=False,
    )


def drill_plan_from_seed(seed: int) -> Plan:
    """Return the plan of a seed, with drills of a takeover among its faults."""
    dice = Random(f"{seed} drill plan")
    plan = plan_from_seed(seed) if dice.random() < 0.4 else scenario_from_seed(seed)
    return replace(
        plan,
        # Beside a C OpenHA there are none.
        is_legacy=False,
        drill_gap_s=dice.choice(((30.0,), (60.0, 120.0))),
        gap_s=dice.choice(((1.0, 5.0, 20.0), (20.0, 60.0), (60.0, 120.0))),
    )


def _draw(seed: int) -> Plan:
    dice = Random(f"{seed} plan")
    net_links = dice.choice((1, 2, 2, 2, 3))
    plan = Plan(
        seed=seed,
        fence=dice.choice((Fence.PERFECT, Fence.PERFECT, Fence.TRUE)),
        net_links=net_links,
        has_disk=dice.random() < 0.5,
        timeouts_s=_timeouts(dice, net_links + 1),
        services=_NAMES[: dice.choice((1, 1, 1, 2, 3, 5))],
        policy=Policy(dice.choice(tuple(OnDualRun)), dice.choice(tuple(OnStartFailure))),
        has_key=dice.random() < 0.4,
        rates=(1.0, 1.0)
        if dice.random() < 0.5
        else (dice.uniform(0.97, 1.03), dice.uniform(0.97, 1.03)),
        loss=dice.choice((0.0, 0.0, 0.02, 0.1, 0.3)),
        delays_s=dice.choice(
            ((0.001,), (0.001, 0.01, 0.3), (0.001, 0.2, 1.0, 3.0), (0.0005, 0.002))
        ),
        duplicates=dice.choice((0.0, 0.0, 0.1, 0.3)),
        torn=dice.choice((0.0, 0.1, 0.4)),
        scripts_s=dice.choice(((0.1, 1.0), (1.0,), (0.0, 0.2, 2.0, 12.0), (0.5, 30.0, 90.0))),
        script_fails=dice.choice((0.0, 0.0, 0.05, 0.2)),
        script_hangs=dice.choice((0.0, 0.0, 0.02)),
        probe_unsure=dice.choice((0.0, 0.0, 0.3, 1.0)),
        fence_fails=dice.choice((0.0, 0.1, 0.4)),
        fence_s=dice.choice(((0.2, 1.0), (1.0, 10.0), (0.5, 20.0, 80.0))),
        gap_s=dice.choice(
            ((0.01, 1.0, 5.0), (1.0, 10.0, 30.0), (0.05, 0.5, 2.0, 20.0), (20.0, 60.0))
        ),
        has_forcing=dice.random() < 0.1,
        ambush=0.3 if seed % 5 in _AMBUSHED else 0.0,
        check_s=(0.3, 15.0, 15.0) if seed % 5 in _AMBUSHED else (0.05, 0.3, 4.0, 15.0),
    )
    if seed % _FORGED == 0 and not plan.has_key:
        plan = replace(
            plan,
            forger_gap_s=Random(f"{seed} forger gaps").choice(((5.0, 20.0), (1.0, 30.0), (60.0,))),
        )
    plan = _with_fences(plan)
    if dice.random() < 0.06:
        # An older version on the second node, which understands too little to agree with the first
        # one.
        return replace(plan, unknown_flag=dice.choice((8, 4)))
    if dice.random() < 0.06:
        # The beats of a C OpenHA prove little: the two agree only while the network works.
        return replace(
            plan,
            is_legacy=True,
            has_key=False,
            has_disk=False,
            delays_s=(0.001, 0.01),
            forger_gap_s=(),
        )
    if any(seed % divisor == rest for divisor, rest in _INTERFACES):
        # For some of them the second node's version knows no link-down notices.
        gap_s = Random(f"{seed} interface gaps").choice(
            ((5.0, 20.0), (0.5, 2.0, 10.0), (30.0, 60.0))
        )
        return replace(
            plan, interface_gap_s=gap_s, unknown_flag=HAS_MUTE | HAS_FACTS if seed % 4 == 2 else 0
        )
    return plan


def _with_fences(plan: Plan) -> Plan:
    """Add the seed's fence, drawn separately.

    Seeds that once failed keep the rest of their history.
    """
    dice = Random(f"{plan.seed} fences")
    return replace(
        plan,
        fence_lag_s=dice.choice(((0.0,), (0.0,), (0.5, 1.5, 3.0), (0.0, 8.0))),
        is_switch_on_host=dice.random() < 0.15,
        fencing=FencingPolicy(
            is_check_always=dice.random() < 0.3,
            boot_alone_s=dice.choice((None, None, None, None, 90.0)),
            is_shared=dice.random() < 0.8,
        ),
        reports_power=plan.fence is Fence.PERFECT and dice.random() < 0.3,
    )


def _timeouts(dice: Random, count: int) -> tuple[float, ...]:
    if dice.random() < 0.6:
        return (dice.choice((10.0, 10.0, 3.0)),) * count
    return tuple(dice.choice((2.0, 3.0, 10.0, 20.0)) for _ in range(count))
