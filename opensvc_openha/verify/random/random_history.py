"""Run one history: a cluster of the seed's plan with faults and commands.

Afterwards, without faults, its services must run again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opensvc_openha.core.events import Command
from opensvc_openha.verify.invariants import InvariantBroken, fence_wait_bound_s, liveness_bound_s
from opensvc_openha.verify.random.cluster_node import ClusterNode
from opensvc_openha.verify.random.drills import LONGEST_S, Drills
from opensvc_openha.verify.random.fault_injector import FaultInjector
from opensvc_openha.verify.random.plan import Fence, Plan, scenario_from_seed
from opensvc_openha.verify.random.simulated_cluster import Cluster
from opensvc_openha.verify.random.trace import Trace

HOURS = 0.05
"""Virtual hours with faults, by default."""
_SETTLED_S = 25.0
_SCRIPT_S = 1.0


@dataclass(frozen=True)
class Outcome:
    """Result of a history. ``failure`` is empty if every invariant held."""

    seed: int
    virtual_s: float
    digest: str
    failure: str = ""
    lines: tuple[str, ...] = ()


def run_history(
    seed: int,
    hours: float = HOURS,
    on_line: Callable[[str], None] | None = None,
    plan: Plan | None = None,
) -> Outcome:
    """Run the history of a seed from its first to its last second."""
    trace = Trace(on_line)
    cluster = Cluster(scenario_from_seed(seed) if plan is None else plan, trace)
    cluster.note(f"seed {seed}: {cluster.plan}")
    failure = ""
    try:
        _play(cluster, hours * 3600.0)
    except InvariantBroken as error:
        failure = str(error)
    except (
        Exception
    ) as error:  # The one place that catches all: an engine that raises has failed its history.
        failure = f"{type(error).__name__}: {error} ({_place(error)})"
    if failure:
        cluster.note(f"FAILED: {failure}")
    return Outcome(seed, cluster.scheduler.now, trace.digest, failure, tuple(trace.last))


def _place(error: BaseException) -> str:
    """Return where the error was raised."""
    trail = error.__traceback__
    while trail is not None and trail.tb_next is not None:
        trail = trail.tb_next
    return (
        ""
        if trail is None
        else f"{trail.tb_frame.f_code.co_filename.rsplit('/', 2)[-1]}:{trail.tb_lineno}"
    )


def _play(cluster: Cluster, seconds: float) -> None:
    faults, scheduler = FaultInjector(cluster), cluster.scheduler
    drills = Drills(cluster)
    for node in cluster.nodes:
        node.power_on()
    scheduler.run_until(3.0)
    while any(node.outcomes.is_probing for node in cluster.nodes):
        scheduler.run_until(
            scheduler.now + 0.5
        )  # An order would be refused before the wrappers have reported what runs.
    for name in cluster.plan.services:
        for node in cluster.nodes:
            node.order(Command.UNFREEZE, name)
    while scheduler.now < seconds:
        scheduler.run_until(min(seconds, scheduler.now + faults.next_gap_s()))
        faults.strike()
    if cluster.plan.drill_gap_s:
        drills.end()
        scheduler.run_until(scheduler.now + LONGEST_S)
    _settle(cluster)


def _settle(cluster: Cluster) -> None:
    """End all faults and check liveness within the bound; then nothing may move."""
    scheduler, plan = cluster.scheduler, cluster.plan
    dead: ClusterNode | None = cluster.nodes[plan.seed // 3 % 2] if plan.seed % 3 == 0 else None
    silent_s = _silent_s(cluster)
    cluster.calm(dead)
    healthy = [node.name for node in cluster.nodes if node is not dead]
    bound_s = liveness_bound_s(plan.longest_timeout_s, _longest_script_s(plan))
    if plan.fence is not Fence.TRUE:
        bound_s += fence_wait_bound_s(plan.longest_timeout_s, plan.fence_time_s, silent_s)
    bound_s += max(plan.late_writes_s, default=0.0) + 2 * plan.death_s
    end = scheduler.now + 1.1 * bound_s
    is_settled = False
    while scheduler.now < end and not is_settled:
        scheduler.run_until(scheduler.now + 5.0)
        _confirm_where_blocked(cluster, dead)
        is_settled = all(cluster.checker.is_served(name, healthy) for name in plan.services)
    if cluster.plan_is_whole:
        for name in plan.services:
            cluster.checker.check_liveness(name, healthy)
    scheduler.run_until(scheduler.now + _SETTLED_S)
    for name in plan.services:
        cluster.checker.check_claims(name)


def _silent_s(cluster: Cluster) -> float:
    """Return the seconds for which either node has counted turns.

    The next one may be as much later.
    """
    return max(
        (
            node.now - node.store.fencing.silent_since
            for node in cluster.nodes
            if node.store.is_same_boot and node.store.fencing.silent_since is not None
        ),
        default=0.0,
    )


def _confirm_where_blocked(cluster: Cluster, dead: ClusterNode | None) -> None:
    """Confirm the peer out, as an operator does for a node that cannot find out by itself."""
    for node in cluster.nodes:
        if node is dead or dead is None or node.engine is None:
            continue
        fencing = node.engine.fencing_status(node.now)
        # A switch that was never seen on proves nothing, nor one that has no power.
        is_unproved = any(path.kind == "power" and not path.is_seen_on for path in fencing.paths)
        # A node that ran nothing has promised nothing.
        is_unproved = is_unproved or any(path.kind == "lease" for path in fencing.paths)
        is_needed = is_unproved or cluster.plan.is_switch_on_host
        if is_needed or node.engine.is_helpless(node.now):
            node.confirm()


def _longest_script_s(plan: Plan) -> float:
    """Return the longest script, begun before or after the end of faults."""
    began_before = max(
        max(plan.scripts_s), max(plan.fence_s) if plan.fence is not Fence.TRUE else 0.0
    )
    return max(_SCRIPT_S, began_before if not plan.script_hangs else 620.0)
