"""Keep the promises of the nodes of a rehearsal: watchdogs, their keepers, and the witness."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from opensvc_openha.core.actions import (
    ArmWatchdog,
    DisarmWatchdog,
    GrantPermit,
    HoldWatchdog,
    LeaseAction,
    RenewWitness,
    WithdrawWitness,
)
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import MediumQuiet, RenewalConfirmed, WatchdogReady
from opensvc_openha.core.model import LeasePolicy
from opensvc_openha.core.promise import WITNESS_MARK
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.verify.rehearsal.copied_node import CopiedNode
from opensvc_openha.verify.scheduler import Scheduler

_TOLD_S = 0.002
GRANULARITY_S = 0.05
"""How late a watchdog bites."""


class Keeper:
    """The watchdog of one node, with what pets it."""

    def __init__(
        self,
        scheduler: Scheduler,
        node: CopiedNode,
        policy: LeasePolicy,
        is_virtual: bool,
        on_reset: Callable[[CopiedNode], None],
    ) -> None:
        self._scheduler = scheduler
        self._on_reset = on_reset
        self._node = node
        self._policy = policy
        self._is_virtual = is_virtual
        self._is_ordered = False
        self.is_running = False
        self._timeout_s = policy.timeout_s
        self._petted_at = self._renewed_at = self._held_until = -math.inf

    def lose_power(self) -> None:
        """Forget everything: the machine is down."""
        self._is_ordered = self.is_running = False
        self._petted_at = self._renewed_at = self._held_until = -math.inf

    def carry_out(self, action: LeaseAction) -> None:
        """Do what the daemon orders."""
        if isinstance(action, ArmWatchdog):
            self._is_ordered = True
            if not self.is_running:
                self._timeout_s = action.timeout_s
        elif isinstance(action, GrantPermit):
            self._permit(action.renewed_at)
        elif isinstance(action, HoldWatchdog):
            self._held_until = action.until
            self._hold()
        elif isinstance(action, DisarmWatchdog):
            self._is_ordered = self.is_running = False
            self._held_until = -math.inf

    def take_over(self) -> None:
        """Report to a daemon that begins what a former one has armed."""
        if self.is_running:
            self._node.later(0.0, self._ready(is_former=True))

    def _permit(self, renewed_at: float) -> None:
        node, policy = self._node, self._policy
        is_late = node.now > renewed_at + policy.answer_s
        if not (self._is_ordered or self.is_running) or is_late or renewed_at <= self._renewed_at:
            return
        self._renewed_at, self._held_until = renewed_at, -math.inf
        self.is_running = True
        self._pet()
        if self._is_ordered:
            self._is_ordered = False
            node.later(_TOLD_S, self._ready(is_former=False))

    def _ready(self, is_former: bool) -> WatchdogReady:
        policy = self._policy
        return WatchdogReady(
            self._timeout_s,
            GRANULARITY_S,
            policy.holders,
            self._is_virtual,
            "watchdog",
            policy if is_former else None,
        )

    def _pet(self) -> None:
        self._petted_at = self._node.now
        self._scheduler.after(self._timeout_s + GRANULARITY_S, self._bite, self._petted_at)

    def _bite(self, petted_at: float) -> None:
        if self.is_running and petted_at == self._petted_at and self._node.is_powered:
            self._node.power_off("is reset by its watchdog")
            self._on_reset(self._node)

    def _hold(self) -> None:
        if self.is_running and self._node.now < self._held_until:
            self._pet()
            self._scheduler.after(self._timeout_s / 3, self._hold)


class Witness:
    """A store that both nodes reach at all times."""

    def __init__(self) -> None:
        self._records: dict[str, tuple[BootId, int, int | None]] = {}
        """By node: the incarnation, how often it was renewed, the promise that this renews."""
        self._seen: dict[str, tuple[tuple[BootId, int, int | None], float]] = {}

    def order(self, node: CopiedNode, order: RenewWitness | WithdrawWitness) -> None:
        """Renew the record of a node, or withdraw its promise."""
        boot, began_at = node.incarnation, node.now
        assert boot is not None
        count = self._records[node.name][1] + 1 if node.name in self._records else 0
        since = order.since if isinstance(order, RenewWitness) else None
        self._records[node.name] = boot, count, since
        node.soon(_TOLD_S, partial(self._confirm, node, order.seq, began_at))

    def _confirm(self, node: CopiedNode, seq: int, began_at: float) -> None:
        node.give(RenewalConfirmed(WITNESS_MARK, seq, began_at, node.now))

    def look(self, node: CopiedNode) -> None:
        """Let a node look for its peer."""
        engine, found = node.engine, self._records.get(node.peer.name)
        promised = None if engine is None else engine.promised
        if engine is None or promised is None or found is None:
            return
        if WITNESS_MARK not in promised.promise.media or found[0] != promised.boot:
            return
        known = self._seen.get(node.name)
        if known is None or known[0] != found:
            known = self._seen[node.name] = found, node.now
        is_of_it = found[2] is not None and found[2] <= promised.seq
        if is_of_it and engine.peer_standing is not PeerStanding.LIVE:
            node.give(MediumQuiet(WITNESS_MARK, node.now, known[1]))
