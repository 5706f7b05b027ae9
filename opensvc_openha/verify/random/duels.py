"""Play every duel of two nodes that lose sight of each other, on a grid.

``python -m opensvc_openha.verify.random.duels`` plays them one after the other with the engine of
production: the services on one node or on both, one direction of the link cut some time before the
other one, power switches that take from nothing to longer than a link timeout and act even if the
node that gave the order is dead, first attempts that fail on either node, and a fenced node that
boots into the silence. All invariants hold in each, at least one node survives, and once the links
work every service runs.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from opensvc_openha.core.events import Command, ScriptKind
from opensvc_openha.core.model import FencePath, FencingPolicy, LeasePolicy, PathKind
from opensvc_openha.verify.invariants import InvariantBroken, fence_wait_bound_s
from opensvc_openha.verify.random.plan import Fence, Plan
from opensvc_openha.verify.random.simulated_cluster import Cluster
from opensvc_openha.verify.random.trace import Trace
from opensvc_openha.verify.simulated_node import NODES

TIMEOUT_S = 10.0
SERVICES = ("registry", "files")
HOMES = (("deb1", "deb2"), ("deb2", "deb1"), ("deb1", "deb1"), ("deb2", "deb2"))
"""Where each service runs before the cut."""
FIRST_CUT = (None, "deb1", "deb2")
"""Whose beats are lost first; None for both at once."""
OFFSETS_S = (0.3, 1.0, 4.0, 9.7, 10.3, 14.0, 15.2, 16.5, 18.0, 24.0, 33.0, 40.0, 61.0)
"""Seconds between the two cuts."""
LAGS_S = (0.0, 1.5, 12.0)
FAILURES = ((0, 0), (1, 0), (0, 1), (2, 2))
"""Number of failing fences of each node before one works."""
_IPMI, _LEASE = FencePath("ipmi", PathKind.POWER, 30.0), FencePath("lease", PathKind.LEASE, 60.0)
_WATCHDOG = LeasePolicy("/dev/watchdog", 4.0, 1.0, has_witness=True)
FENCINGS = {
    "script": FencingPolicy(),
    "plan": FencingPolicy(levels=((_IPMI,),)),
    "arbiter": FencingPolicy(levels=((_IPMI,),), has_arbiter=True),
    "lease": FencingPolicy(levels=((_LEASE,), (_IPMI,)), has_arbiter=True, lease=_WATCHDOG),
}
"""What the nodes fence with: check-up scripts, a fence plan, a plan with an arbiter, be that a disk
or a witness, and such a plan that waits for the promise of the peer first; the promise is renewed
at the witness, which both reach."""
TIMES = {
    "both": (False, False),
    "deb1": (False, True),
    "deb2": (True, False),
    "none": (True, True),
}
"""Nodes that do not report that they know how long their fences take."""
_STEP_S = 0.5
_CALM_S = 60.0


@dataclass(frozen=True)
class Duel:
    """One run: where the services are at home, and what goes wrong when."""

    homes: tuple[str, str]
    first_cut: str | None
    offset_s: float
    lag_s: float
    failures: tuple[int, int]

    @property
    def text(self) -> str:
        """Describe the run in one line."""
        first = (
            "both directions are cut"
            if self.first_cut is None
            else f"{self.first_cut} is not heard"
        )
        return (
            f"{SERVICES[0]} on {self.homes[0]}, {SERVICES[1]} on {self.homes[1]}; {first}, all cut"
            f" {self.offset_s:g} s later; switches take {self.lag_s:g} s; fences that fail first:"
            f" {self.failures[0]} and {self.failures[1]}"
        )


def duels() -> Iterator[Duel]:
    """Return all duels."""
    for homes, first_cut, lag_s, failures in itertools.product(HOMES, FIRST_CUT, LAGS_S, FAILURES):
        for offset_s in OFFSETS_S if first_cut is not None else OFFSETS_S[:1]:
            yield Duel(homes, first_cut, offset_s, lag_s, failures)


def play(
    duel: Duel,
    fencing: FencingPolicy = FencingPolicy(),  # noqa: B008 - frozen
    untimed: tuple[bool, bool] = (False, False),
) -> str:
    """Play one run; return the broken invariant, empty if all held.

    ``untimed``: nodes that do not report that they know how long their fences take.
    """
    plan = Plan(
        seed=1,
        services=SERVICES,
        net_links=1,
        has_disk=False,
        timeouts_s=(TIMEOUT_S,),
        fence_lag_s=(duel.lag_s,),
        fence_s=(0.5,),
        fence=Fence.PLAN if fencing.levels else Fence.PERFECT,
        fencing=fencing,
        untimed=untimed,
        has_key=fencing.lease is not None,
    )
    cluster = Cluster(plan, Trace(None))
    try:
        _set_up(cluster, duel)
        _fight(cluster, duel)
    except InvariantBroken as error:
        return str(error)
    return _settle(cluster)


def _set_up(cluster: Cluster, duel: Duel) -> None:
    for node in cluster.nodes:
        node.power_on()
    _run(cluster, 3.0)
    for service, home in zip(SERVICES, duel.homes):
        cluster.node(home).order(Command.UNFREEZE, service)
    _run(cluster, 10.0)
    for service, home in zip(SERVICES, duel.homes):
        cluster.node(_other(home)).order(Command.UNFREEZE, service)
    _run(cluster, 10.0)
    cluster.disturb()


def _fight(cluster: Cluster, duel: Duel) -> None:
    left = dict(zip(NODES, duel.failures))
    if duel.first_cut is not None:
        cluster.cut(tuple(link for link in cluster.links if link.node == duel.first_cut))
        _watch_fences(cluster, left, duel.offset_s)
    cluster.cut(cluster.links)
    bound_s = fence_wait_bound_s(TIMEOUT_S, cluster.plan.fence_time_s)
    _watch_fences(cluster, left, TIMEOUT_S + bound_s)
    for node in cluster.nodes:
        node.power_on()
    _watch_fences(cluster, left, bound_s)


def _watch_fences(cluster: Cluster, left: dict[str, int], seconds: float) -> None:
    """Let time pass; fences fail as often as ``left`` requires."""
    end = cluster.scheduler.now + seconds
    while cluster.scheduler.now < end:
        for node in cluster.nodes:
            failing = node.outcomes.failing
            failing.discard(ScriptKind.CHECK)
            if node.outcomes.count_of(ScriptKind.CHECK) < left[node.name]:
                failing.add(ScriptKind.CHECK)
            node.steps.is_failing = node.steps.shots < left[node.name]
        _run(cluster, min(_STEP_S, end - cluster.scheduler.now))
        if not any(node.is_powered for node in cluster.nodes):
            raise InvariantBroken("S5 broken: no node is left")


def _settle(cluster: Cluster) -> str:
    """Restore the links; then each service must run exactly once."""
    cluster.heal()
    try:
        _run(cluster, _CALM_S)
    except InvariantBroken as error:
        return str(error)
    for service in SERVICES:
        where = [node.name for node in cluster.nodes if service in node.running]
        if len(where) != 1:
            return f"{service} runs on {' and '.join(where) or 'no node'} in the end"
    return ""


def _run(cluster: Cluster, seconds: float) -> None:
    cluster.scheduler.run_until(cluster.scheduler.now + seconds)


def _other(node: str) -> str:
    return NODES[1 - NODES.index(node)]


def main() -> int:
    """Play all duels, or each EVERYth; return 1 if anything was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m opensvc_openha.verify.random.duels", description=__doc__
    )
    parser.add_argument("--every", type=int, default=1, help="play each so-many-th duel only")
    parser.add_argument(
        "--fencing", choices=tuple(FENCINGS), default="script", help="what the nodes fence with"
    )
    parser.add_argument(
        "--times", choices=tuple(TIMES), default="both", help="who reports the times of its fences"
    )
    asked = parser.parse_args()
    every, fencing = asked.every, FENCINGS[asked.fencing]
    broken = played = 0
    for duel in itertools.islice(duels(), 0, None, every):
        played += 1
        problem = play(duel, fencing, TIMES[asked.times])
        if problem:
            broken += 1
            print(f"{duel.text}\n    {problem}")
    print(f"{played} duels, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
