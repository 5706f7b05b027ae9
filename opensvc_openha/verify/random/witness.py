"""Simulate the witness, a store that is always of one mind, and the requests of both nodes to it.

It has one record for each node: which life it is of, how often it was renewed, which promise that
renews. A node that cannot reach it gets no answer. An answer may come too late; what was
asked has its effect then all the same, unless the record was changed meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from opensvc_openha.core.actions import RenewWitness, WithdrawWitness
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import MediumQuiet, RenewalConfirmed
from opensvc_openha.core.promise import WITNESS_MARK
from opensvc_openha.core.status import PeerStanding

if TYPE_CHECKING:
    from opensvc_openha.verify.random.cluster_node import ClusterNode
    from opensvc_openha.verify.random.world import World

_DELAYS_S = (0.002, 0.002, 0.05, 0.8, 3.0)
_LIMIT_S = 2.0
"""Longest time of a request."""
_LOOK_S = 1.0

Order = RenewWitness | WithdrawWitness


@dataclass(frozen=True)
class WitnessRecord:
    """What the witness has of one node."""

    boot: BootId | None = None
    version: int = 0
    since: int | None = None
    """The first beat of the promise that it renews; None if there is none."""


class WitnessStore:
    """The records of both nodes."""

    def __init__(self) -> None:
        self.records: dict[str, WitnessRecord] = {}
        self.away: set[str] = set()
        """Nodes that cannot reach it."""

    def of(self, node: str) -> WitnessRecord:
        """Return the record of a node."""
        return self.records.get(node, WitnessRecord())

    def swap(self, node: str, known: WitnessRecord, boot: BootId, since: int | None) -> bool:
        """Replace a record that is still as it is known; return whether it was."""
        if self.of(node) != known:
            return False
        self.records[node] = WitnessRecord(boot, known.version + 1, since)
        return True


class WitnessClient:
    """The requests of one node: renewals one after the other, and looks for the peer."""

    def __init__(self, node: ClusterNode, world: World) -> None:
        self._node = node
        self._world = world
        self._dice = Random(f"{world.plan.seed} witness {node.name}")
        self._is_busy = False
        self._waiting: Order | None = None
        self._seen: WitnessRecord | None = None
        self._since = 0.0
        lease = world.plan.fencing.lease
        if lease is not None and lease.has_witness:
            world.scheduler.after(_LOOK_S, self._look)

    def forget(self) -> None:
        """Handle the end of the daemon."""
        self._is_busy, self._waiting, self._seen = False, None, None

    def order(self, order: Order) -> None:
        """Carry an order out, after the one that is under way."""
        if self._is_busy:
            self._waiting = order
            return
        self._is_busy = True
        node, store = self._node, self._world.witness
        boot = node.incarnation
        assert boot is not None
        delay_s = self._dice.choice(_DELAYS_S) if self._world.plan.lease_gap_s else _DELAYS_S[0]
        is_in_time = delay_s <= _LIMIT_S and node.name not in store.away
        if node.name not in store.away:
            self._world.scheduler.after(
                delay_s, self._act, order, boot, store.of(node.name), node.now, is_in_time
            )
        if not is_in_time:
            self._world.scheduler.after(_LIMIT_S, self._end, boot)

    def _act(
        self, order: Order, boot: BootId, known: WitnessRecord, began_at: float, is_in_time: bool
    ) -> None:
        node, store = self._node, self._world.witness
        since = order.since if isinstance(order, RenewWitness) else None
        is_done = store.swap(node.name, known, boot, since)
        if not is_in_time or node.incarnation != boot:
            return
        if is_done:
            node.give(RenewalConfirmed(WITNESS_MARK, order.seq, began_at, node.now))
        self._end(boot)

    def _end(self, boot: BootId) -> None:
        if self._node.incarnation != boot:
            return
        self._is_busy = False
        order, self._waiting = self._waiting, None
        if order is not None:
            self.order(order)

    def _look(self) -> None:
        self._world.scheduler.after(_LOOK_S, self._look)
        node, store = self._node, self._world.witness
        engine = node.engine
        promised = None if engine is None else engine.promised
        is_still = node.daemon is None or node.daemon.is_stalled
        if engine is None or promised is None or is_still or node.name in store.away:
            return
        found = store.of(node.peer.name)
        if WITNESS_MARK not in promised.promise.media or found.boot != promised.boot:
            return
        if found != self._seen:
            self._seen, self._since = found, node.now
        is_of_it = found.since is not None and found.since <= promised.seq
        if is_of_it and engine.peer_standing is not PeerStanding.LIVE:
            node.give(MediumQuiet(WITNESS_MARK, node.now, self._since))
