"""Hold what the nodes of one history share: time, network, disk, trace, invariants."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from opensvc_openha.core.timing import LEASE_LAST_READ_S
from opensvc_openha.verify.arbiter import SimulatedArbiter
from opensvc_openha.verify.invariants import InvariantChecker, Observation
from opensvc_openha.verify.random.plan import Plan
from opensvc_openha.verify.random.simulated_disk import SharedDisk
from opensvc_openha.verify.random.simulated_network import Network
from opensvc_openha.verify.random.trace import Trace
from opensvc_openha.verify.random.witness import WitnessStore
from opensvc_openha.verify.reserved_disks import ReservedDisks
from opensvc_openha.verify.scheduler import Scheduler
from opensvc_openha.verify.simulated_node import NODES, SimulatedNode

_MONOTONIC_AT_START = 1000.0
_WALL_AT_START = 1_800_000_000.0


class World:
    """Everything of a history but its nodes."""

    def __init__(self, plan: Plan, trace: Trace) -> None:
        self.plan = plan
        self.trace = trace
        self.scheduler = Scheduler()
        self.network = Network(self.scheduler, plan)
        self.disk = SharedDisk(self.scheduler, plan)
        self._stopped_at: list[float | None] = [None, None]
        self._stood_s = [0.0, 0.0]
        self.paused: set[str] = set()
        """Nodes whose whole machine stands still."""
        self.start_hangs_s: Callable[[], float] = lambda: 0.0
        """Called at each write of a state that a start waits for: for how much longer it takes."""
        self.dead = ""
        """The node that stays off until the end."""
        # In the node's own time, which a drift shortens slightly.
        self.checker = InvariantChecker(NODES, plan.shortest_timeout_s, plan.longest_timeout_s)
        if plan.unknown_flag or plan.is_legacy:
            self.checker.expect_no_turns()
        if plan.fencing.levels:
            self.checker.expect_plan(plan.fencing.has_arbiter, plan.data, plan.data)
        if plan.fencing.lease is not None:
            self.checker.expect_lease(plan.death_s + LEASE_LAST_READ_S)
        if plan.interface_gap_s:
            self.checker.expect_mutes()
        self.arbiter = SimulatedArbiter()
        self.witness = WitnessStore()
        self.disks = ReservedDisks(
            self.scheduler,
            plan.data,
            plan.knows_abort,
            plan.late_writes_s,
            Random(f"{plan.seed} late writes"),
        )
        self.checker.may_fence_alone = plan.fencing.boot_alone_s is not None or bool(
            plan.forger_gap_s
        )

    def clock(self, node: SimulatedNode) -> float:
        """Return the monotonic clock of a node, which runs at a rate of its own."""
        since = self._stopped_at[node.index]
        real = self.scheduler.now if since is None else since
        passed_s = real - self._stood_s[node.index]
        return _MONOTONIC_AT_START + passed_s * self.plan.rates[node.index]

    def instant_of(self, node: SimulatedNode, monotonic: float) -> float:
        """Return when that clock shows ``monotonic``, unless it is stopped before."""
        passed_s = (monotonic - _MONOTONIC_AT_START) / self.plan.rates[node.index]
        return passed_s + self._stood_s[node.index]

    def stop_clock(self, node: SimulatedNode) -> None:
        """Stop the clocks of a node, as those of a virtual machine that is paused."""
        if self._stopped_at[node.index] is None:
            self._stopped_at[node.index] = self.scheduler.now

    def continue_clock(self, node: SimulatedNode) -> None:
        """Let the clocks of a node run again, as if no time had passed."""
        since = self._stopped_at[node.index]
        if since is not None:
            self._stood_s[node.index] += self.scheduler.now - since
            self._stopped_at[node.index] = None

    def is_stopped(self, node: SimulatedNode) -> bool:
        """Return True while the clocks of a node stand still."""
        return self._stopped_at[node.index] is not None

    def end_pause(self, node: SimulatedNode) -> None:
        """Let a machine continue, or end without continuing."""
        self.paused.discard(node.name)
        self.continue_clock(node)

    def is_dead(self, node: SimulatedNode) -> bool:
        """Return True for a node that stays off."""
        return self.dead == node.name

    def wall(self, node: SimulatedNode) -> float:
        """Return the wall clock of a node that was never set."""
        return _WALL_AT_START + self.scheduler.now * self.plan.rates[node.index]

    def observe(self, seen: Observation) -> None:
        """Check an observation."""
        self.checker.observe(seen)

    def note(self, text: str, who: str = "") -> None:
        """Add a line to the trace, about a node or about none."""
        self.trace.note(self.scheduler.now, who, text)
