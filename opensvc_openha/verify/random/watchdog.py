"""Simulate the watchdog of one node, and the keeper that pets it.

The keeper is a process of its own, and survives the daemon. The watchdog bites by the clock of its
node; it runs on when its keeper dies, and the kernel pets it once more when its last open file is
closed. The keeper opens it with a permit at hand, and pets for each renewal once, if that is not
too long ago: a look and a petting are one step, since a timer ends the keeper in between.
"""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

from opensvc_openha.core.actions import (
    ArmWatchdog,
    DisarmWatchdog,
    GrantPermit,
    HoldWatchdog,
    LeaseAction,
)
from opensvc_openha.core.events import WatchdogReady
from opensvc_openha.verify.invariants import Petted
from opensvc_openha.verify.random.plan import GRANULARITY_S
from opensvc_openha.verify.random.world import World

if TYPE_CHECKING:
    from opensvc_openha.verify.random.cluster_node import ClusterNode

_TOLD_S = 0.002
_HOLD_PETS = 3
"""Times that a held watchdog is petted within its timeout."""
_BOOTS_AFTER_S = (8.0, 30.0, 90.0)
_TINY_S = 1e-6


class Watchdog:
    """The watchdog of one node, with its keeper."""

    def __init__(self, node: ClusterNode, world: World) -> None:
        self._node = node
        self._world = world
        self._dice = Random(f"{world.plan.seed} watchdog {node.name}")
        self._power_off()

    def _power_off(self) -> None:
        self.is_keeper_alive = False
        self.is_keeper_stopped = False
        self.is_open = False
        """Some process has the device open."""
        self.is_running = False
        self._is_ordered = False
        """The daemon wants it, and is told when it is open."""
        self._timeout_s = 0.0
        self.petted_at = self._renewed_at = self._held_until = -math.inf
        self._permits: list[float] = []
        """What a stopped keeper has not read yet."""
        self._bite_s = 0.0

    def lose_power(self) -> None:
        """Handle the end of the machine."""
        self._power_off()

    # --- orders -----------------------------------------------------------------------------------

    def carry_out(self, action: LeaseAction) -> None:
        """Do what the daemon orders."""
        if isinstance(action, ArmWatchdog):
            self.is_keeper_alive, self._is_ordered = True, True
            if not self.is_running:
                self._timeout_s = action.timeout_s
        elif isinstance(action, GrantPermit):
            self._take_permit(action.renewed_at)
        elif isinstance(action, HoldWatchdog):
            if self.is_keeper_alive and self.is_open:
                self._held_until = action.until
                self._hold()
        elif isinstance(action, DisarmWatchdog) and self.is_keeper_alive:
            self.is_open = self.is_running = self._is_ordered = False
            self._held_until = -math.inf

    def _take_permit(self, renewed_at: float) -> None:
        if not self._is_ordered and not self.is_running:
            return
        if not self.is_keeper_alive:
            # It is started again; the device is opened with the next permit.
            self.is_keeper_alive, self.is_keeper_stopped = True, False
            self._is_ordered = True
            self._permits.clear()
        elif self.is_keeper_stopped:
            self._permits.append(renewed_at)
        else:
            self._use_permit(renewed_at)

    def _use_permit(self, renewed_at: float) -> None:
        if renewed_at <= self._renewed_at or self._is_late(renewed_at):
            return
        self._renewed_at, self._held_until = renewed_at, -math.inf
        node = self._node
        answer_s = self._world.plan.answer_s
        node.observe(Petted(node.now, node.name, renewed_at, answer_s))
        self._open()
        self._pet()
        if self._is_ordered:
            self._is_ordered = False
            self._world.scheduler.after(_TOLD_S, self._tell, node.incarnation)

    def _is_late(self, renewed_at: float) -> bool:
        return self._node.now > renewed_at + self._world.plan.answer_s

    def _tell(self, incarnation: object) -> None:
        if self._node.incarnation == incarnation:
            self._node.give(self._ready(is_former=False))

    def _ready(self, is_former: bool) -> WatchdogReady:
        plan = self._world.plan
        policy = plan.fencing.lease
        assert policy is not None
        return WatchdogReady(
            self._timeout_s,
            GRANULARITY_S,
            policy.holders,
            plan.is_virtual,
            "softdog",
            policy if is_former else None,
        )

    def take_over(self) -> None:
        """Tell a daemon that begins of a watchdog that a former one has armed."""
        if self.is_keeper_alive and self.is_open and self.is_running:
            self._node.give(self._ready(is_former=True))

    # --- the device -------------------------------------------------------------------------------

    def _open(self) -> None:
        self.is_open = self.is_running = True

    def _pet(self) -> None:
        self.petted_at = self._node.now
        self._bite_s = self._timeout_s + self._dice.uniform(0.0, GRANULARITY_S)
        self._await_bite()

    def _await_bite(self) -> None:
        instant = self._world.instant_of(self._node, self.petted_at + self._bite_s)
        now = self._world.scheduler.now
        self._world.scheduler.at(max(now, instant) + _TINY_S, self._bite)

    def _bite(self) -> None:
        node = self._node
        if not self.is_running:
            return
        if node.now < self.petted_at + self._bite_s:
            if self._world.is_stopped(node):
                # Its clock stands still, and so does the watchdog.
                self._world.scheduler.after(0.5, self._bite)
            return
        node.power_off("reset by its watchdog")
        self._world.scheduler.after(self._dice.choice(_BOOTS_AFTER_S), self._boot)

    def _boot(self) -> None:
        if not self._world.is_dead(self._node):
            self._node.power_on()

    def _hold(self) -> None:
        """Pet by itself, for a daemon that is started again."""
        if not (self.is_keeper_alive and self.is_open) or self._node.now >= self._held_until:
            return
        if not self.is_keeper_stopped:
            self._pet()
        self._world.scheduler.after(self._timeout_s / _HOLD_PETS, self._hold)

    # --- faults -----------------------------------------------------------------------------------

    def kill_keeper(self, with_holder: bool) -> None:
        """Kill the keeper; the device is closed if nobody else holds it open."""
        if not self.is_keeper_alive:
            return
        self._node.note(f"keeper is killed{' with the holder' if with_holder else ''}")
        self.is_keeper_alive = self.is_keeper_stopped = False
        self._permits.clear()
        self._held_until = -math.inf
        if with_holder and self.is_open:
            self.is_open = False
            self._pet()

    def stop_keeper(self) -> None:
        """Stop the keeper (SIGSTOP)."""
        self.is_keeper_stopped = self.is_keeper_alive

    def continue_keeper(self) -> None:
        """Continue the keeper (SIGCONT): it looks at the clock before it does anything."""
        if not self.is_keeper_stopped:
            return
        self.is_keeper_stopped = False
        waiting, self._permits = self._permits, []
        for renewed_at in waiting:
            self._use_permit(renewed_at)
