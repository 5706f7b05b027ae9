"""Draw what one history is played with: times, clocks, media, and how bad the watchdog is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from random import Random

from opensvc_openha.core import timing
from opensvc_openha.core.model import (
    ClusterSpec,
    FencePath,
    FencingPolicy,
    LeasePolicy,
    LinkSpec,
    PathKind,
    Profile,
)
from opensvc_openha.core.promise import FAST_MARGIN_S, MARGIN_S, death_after_s
from opensvc_openha.verify.simulated_node import NODES

FASTEST, SLOWEST = 1.0833, 0.9167
"""The extremes of a clock that is slewed."""
_RATES = (
    (SLOWEST, FASTEST),
    (SLOWEST, FASTEST),
    (SLOWEST, FASTEST),
    (FASTEST, SLOWEST),
    (1.0, 1.0),
)
_TIMES = ((4.0, 1.0), (4.0, 1.0), (3.0, 0.5))
_BALANCED = (13, 9)
"""Divisor and remainder of the seeds with the profile between the two others: by the seed, not
drawn, so that the other seeds keep their history."""
_LINK_TIMEOUT_S = {Profile.TUTORIAL: 2.5, Profile.BALANCED: 1.0, Profile.FAST: 0.3}
_LEASE = FencePath("lease", PathKind.LEASE, 60.0)
_NET_S = ((0.001,), (0.001,), (0.001, 0.01, 0.3), (0.001, 0.2, 1.0, 3.0))
_ORDER_S = ((0.0005,), (0.0005,), (0.0005, 0.0005, 0.0005, 0.4), (0.0005, 0.0005, 0.95))


@dataclass(frozen=True)
class LeasePlan:
    """What a history is played with."""

    seed: int = 0
    timeout_s: float = 4.0
    answer_s: float = 1.0
    holders: int = 2
    granularity_s: float = 0.1
    rates: tuple[float, float] = (1.0, 1.0)
    disks: int = 1
    has_witness: bool = False
    is_virtual: bool = False
    is_nowayout: bool = False
    bites_late: bool = False
    """The watchdog bites as late as its granularity allows."""
    pets_late: bool = False
    """The keeper is stopped at each petting until just before its timer ends."""
    dies_late: bool = False
    """Keeper and holder die just before the watchdog bites."""
    is_mutual: bool = False
    """The survivor runs a service of its own, so that it promises as well."""
    net_s: tuple[float, ...] = (0.001,)
    loss: float = 0.0
    order_s: tuple[float, ...] = (0.0005,)
    """Times that an order takes to the keeper."""
    read_s: float = 0.002
    profile: Profile = Profile.TUTORIAL

    @property
    def link_timeout_s(self) -> float:
        """Timeout of each link: short, so that the promise decides, and not the delays."""
        return _LINK_TIMEOUT_S[self.profile]

    @property
    def interval_s(self) -> float:
        """Seconds between two beats."""
        return timing.PACES[self.profile].beat_interval_s

    @property
    def start_ready_delay_s(self) -> float:
        """Seconds for which a silent peer may still be heard before anything is started."""
        return timing.PACES[self.profile].start_ready_delay_s

    @property
    def slot_read_s(self) -> float:
        """Seconds between two reads of a slot."""
        return timing.slot_read_s(self.link_timeout_s)

    @property
    def stall_s(self) -> float:
        """A daemon that stood still for so long takes that for a stall."""
        return self.link_timeout_s / 2

    @property
    def death_s(self) -> float:
        """The promised time."""
        margin_s = FAST_MARGIN_S if self.profile is Profile.FAST else MARGIN_S
        return death_after_s(
            self.answer_s, self.timeout_s, self.holders, self.granularity_s, margin_s
        )


def drawn(seed: int) -> LeasePlan:
    """Return the plan of a seed."""
    dice = Random(f"{seed} lease protocol")
    profile = Profile.FAST if dice.random() < 0.05 else Profile.TUTORIAL
    timeout_s, answer_s = (1.0, 0.3) if profile is Profile.FAST else dice.choice(_TIMES)
    if seed % _BALANCED[0] == _BALANCED[1] and profile is Profile.TUTORIAL:
        profile, timeout_s, answer_s = Profile.BALANCED, 2.0, 0.5
    has_witness = dice.random() < 0.3
    # What a promise counts with is worth little unless all of it happens at once.
    is_worst = dice.random() < 0.4
    return LeasePlan(
        seed,
        timeout_s,
        answer_s,
        holders=dice.choice((1, 2, 2, 2)),
        granularity_s=dice.choice((0.1, 0.1, 1.0)),
        rates=dice.choice(_RATES),
        disks=dice.choice((0, 1, 1)) if has_witness else dice.choice((1, 1, 1, 2)),
        has_witness=has_witness,
        is_virtual=dice.random() < 0.06,
        is_nowayout=dice.random() < 0.06,
        bites_late=dice.random() < 0.5 or is_worst,
        pets_late=dice.random() < 0.2 or is_worst,
        dies_late=dice.random() < 0.2 or is_worst,
        is_mutual=dice.random() < 0.3,
        net_s=dice.choice(_NET_S),
        loss=dice.choice((0.0, 0.0, 0.0, 0.3)),
        order_s=dice.choice(_ORDER_S),
        read_s=dice.choice((0.002, 0.002, 0.2)),
        profile=profile,
    )


@lru_cache(maxsize=256)
def spec_for(
    node: str,
    timeout_s: float,
    answer_s: float,
    holders: int,
    disks: int,
    has_witness: bool,
    link_timeout_s: float,
    profile: Profile,
    replaced_on: str = "",
) -> ClusterSpec:
    """Return the configuration of one node; ``replaced_on`` is the node whose slot moved."""
    links = [
        LinkSpec(each, "net", "eth1", f"239.131.50.1{index}", 5010, 0, link_timeout_s)
        for index, each in enumerate(NODES)
    ]
    for number in range(disks):
        for index, each in enumerate(NODES):
            device = f"/dev/hb{number}"
            if each == node == replaced_on and number == 0:
                device = "/dev/other"
            links.append(
                LinkSpec(each, "dio", device, "", 0, 20 * number + 10 * index, link_timeout_s)
            )
    lease = LeasePolicy("/dev/wd", timeout_s, answer_s, holders, has_witness=has_witness)
    fencing = FencingPolicy(levels=((_LEASE,),), lease=lease)
    return ClusterSpec(
        node, NODES[1 - NODES.index(node)], tuple(links), (), profile, fencing=fencing
    )
