"""Two nodes that promise to be dead soon after their last sign of life, small enough to enumerate.

The only link of each node is its slot on a disk. What is written there and read back renews the
promise; the watchdog is petted as late as the permit allows, and bites as late as the promise
counts with. A node may be *blind*: it cannot read the other one's slot, which is written all the
same. Otherwise it reads all the time: what is new, or that nothing is.
"""

from __future__ import annotations

from typing import Any

from opensvc_openha.core.actions import (
    Announce,
    ArmWatchdog,
    DisarmWatchdog,
    GrantPermit,
    HoldWatchdog,
    LeaseAction,
)
from opensvc_openha.core.beat import Beat
from opensvc_openha.core.events import (
    BeatReceived,
    Event,
    MediumQuiet,
    RenewalConfirmed,
    ScriptOutcome,
    Tick,
    WatchdogReady,
)
from opensvc_openha.core.model import FencePath, LeasePolicy, LinkSpec, OnLost, PathKind
from opensvc_openha.core.promise import MARGIN_S, death_after_s, media_of
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.verify.exhaustive.bounded_model import TIMEOUT_S, Fate, ModelNode
from opensvc_openha.verify.exhaustive.plan_model import Fencing, PlanModel
from opensvc_openha.verify.simulated_node import NODES, SimulatedNode

LEASE = FencePath("lease", PathKind.LEASE, 0.0)
POLICY = LeasePolicy("/dev/watchdog", timeout_s=3.0, answer_s=0.5)
STOPPING = LeasePolicy("/dev/watchdog", timeout_s=9.0, answer_s=0.5, on_lost=OnLost.STOP)
"""Services are stopped before the watchdog bites."""
_GRANULARITY_S = 0.05
_READ_S = 0.5


def _death_s(policy: LeasePolicy) -> float:
    return death_after_s(
        policy.answer_s, policy.timeout_s, policy.holders, _GRANULARITY_S, MARGIN_S
    )


DEATH_S = _death_s(POLICY)


class LeaseNode(ModelNode):
    """One node, its watchdog, and what it has read of the other one's slot."""

    def __init__(self, index: int, world: LeaseModel) -> None:
        super().__init__(index, world)
        self.is_blind = False
        self.seen = 0
        """The last write of the other node that was read."""
        self.since = 0.0
        self.bites_at: float | None = None
        self._is_ordered = False
        self._pending: list[Event] = []
        policy = world.fencing.lease
        assert policy is not None
        self.policy = policy
        self._bite_s = policy.holders * (policy.timeout_s + _GRANULARITY_S)
        """The watchdog bites so long after it was petted, at the latest."""
        self._ready = WatchdogReady(
            policy.timeout_s, _GRANULARITY_S, policy.holders, is_virtual=False, name="softdog"
        )

    def step(self, event: Event) -> None:
        """Pass one event to the engine, and what follows at once from its beats and permits."""
        super().step(event)
        while self._pending and self.engine is not None:
            super().step(self._pending.pop(0))

    def carry_out_lease(self, action: LeaseAction) -> None:
        """Do with the watchdog what its keeper is told."""
        if isinstance(action, ArmWatchdog):
            self._is_ordered = True
        elif isinstance(action, GrantPermit):
            self._pet(action.renewed_at + self.policy.answer_s)
        elif isinstance(action, HoldWatchdog):
            self.bites_at = action.until + self._bite_s
        elif isinstance(action, DisarmWatchdog):
            self.bites_at, self._is_ordered = None, False

    def _pet(self, last: float) -> None:
        if self.now > last or not (self._is_ordered or self.bites_at is not None):
            return
        self.bites_at = last + self._bite_s
        if self._is_ordered:
            self._is_ordered = False
            self._pending.append(self._ready)

    def confirm(self, beat: Beat, link: LinkSpec) -> None:
        """Confirm a beat: it was written and read back."""
        self._pending.append(RenewalConfirmed(media_of([link])[link], beat.seq, self.now, self.now))

    def take_over(self) -> None:
        """Report a watchdog that a former daemon has armed."""
        if self.bites_at is not None:
            self.give(self._ready)
            self.give(Tick())

    def power_off(self, why: str = "power lost") -> None:
        """End everything on the node."""
        super().power_off(why)
        self.bites_at = None

    def end_daemon(self, how: str = "kill -9") -> None:
        """End the daemon; the watchdog is petted no more."""
        super().end_daemon(how)
        self._is_ordered = False
        self._pending.clear()

    def summary(self, now: float, written: int) -> tuple[Any, ...]:
        """Return what is alike if the same follows from it."""
        bites_s = None if self.bites_at is None else round(2 * (self.bites_at - now))
        since_s = min(2 * _death_s(self.policy), round(2 * (now - self.since)))
        return self.is_blind, written == self.seen, bites_s, since_s, self._is_ordered


class LeaseModel(PlanModel):
    """Both nodes, and a disk between them."""

    def __init__(self, fencing: Fencing) -> None:
        super().__init__(fencing)
        self.key_id = "k"
        self.links = tuple(
            LinkSpec(name, "dio", "/dev/hb", "", 0, 10 + 10 * index, TIMEOUT_S)
            for index, name in enumerate(NODES)
        )
        self.ends = [LeaseNode(0, self), LeaseNode(1, self)]
        self.ends[0].peer, self.ends[1].peer = self.ends[1], self.ends[0]
        self.nodes = list(self.ends)
        assert fencing.lease is not None
        self.death_s = _death_s(fencing.lease)
        self.slots: list[tuple[Beat | None, int]] = [(None, 0), (None, 0)]

    def boot(self, index: int) -> None:
        """Start the daemon; what lies in the other one's slot is the past."""
        node = self.ends[index]
        node.seen, node.since = self.slots[1 - index][1], self.now
        super().boot(index)
        node.take_over()

    def send(self, node: SimulatedNode, action: Announce) -> None:
        """Write a beat, which the other node reads unless it is blind."""
        index = node.index
        if self.fates[index] is Fate.LOST:
            return
        link, reader = self.links[index], self.ends[1 - index]
        count = self.slots[index][1] + 1
        self.slots[index] = action.beat, count
        self.ends[index].confirm(action.beat, link)
        if not (reader.is_blind or reader.is_stalled or reader.engine is None):
            super().send(node, action)
            reader.seen, reader.since = count, self.now

    def run(self, seconds: float) -> None:
        """Let time pass; slots are read, and watchdogs bite."""
        end = self.now + seconds
        while self.now < end:
            bites = [node.bites_at for node in self.ends if node.bites_at is not None]
            due = min([end, self.now + _READ_S, *(at for at in bites if at > self.now)])
            super().run(due - self.now)
            self.now = due
            for node in self.ends:
                if node.bites_at is not None and self.now >= node.bites_at:
                    node.power_off("its watchdog has bitten")
            for node in self.ends:
                self._read(node)

    def _read(self, node: LeaseNode) -> None:
        if node.engine is None or node.is_stalled or node.is_blind:
            return
        beat, count = self.slots[1 - node.index]
        link = self.links[1 - node.index]
        if count != node.seen and beat is not None:
            node.seen, node.since = count, self.now
            node.give(BeatReceived(link, beat, self.now, key_id=self.key_id))
        elif node.engine.peer_standing is not PeerStanding.LIVE and not self.transit:
            node.give(MediumQuiet(media_of([link])[link], self.now, node.since))

    def cut_until_stopping(self) -> None:
        """Cut the owner of the first service off until it begins to stop it."""
        self.fates = [Fate.LOST, Fate.DELIVERED]
        self.blind(0, is_blind=True)
        self.await_script(0)

    def cut_both_until_dead(self) -> None:
        """Cut both nodes off until each would have to call the other one dead, but for a beat.

        Both have stopped their services in time, and live.
        """
        self.fates = [Fate.LOST, Fate.LOST]
        lost_at = self.now
        self.await_script(0)
        self.end_script(0, ScriptOutcome.OK, leaves_running=False)
        self.run(lost_at + self.death_s - 1.0 - self.now)

    def blind(self, index: int, is_blind: bool) -> None:
        """Let reads of a node fail, or succeed again."""
        self.ends[index].is_blind = is_blind

    def finish_step(self, index: int) -> None:
        """End what a node has in the air; a person makes up for what proves nothing."""
        for each in (0, 1):
            self.blind(each, is_blind=False)
        super().finish_step(index)
        node = self.ends[index]
        if node.engine is not None and node.engine.is_peer_silent and self.is_out(1 - index):
            self.confirm(index)

    def fingerprint(self) -> tuple[Any, ...]:
        """Equal for worlds in which the same follows from the same."""
        ends = tuple(node.summary(self.now, self.slots[1 - node.index][1]) for node in self.ends)
        return *super().fingerprint(), ends

    def pair(self) -> tuple[Any, ...]:
        """Return the states of both nodes, without time and messages."""
        return *super().pair(), tuple(node.is_blind for node in self.ends)

    @property
    def promises(self) -> list[bool]:
        """Whether each node holds a promise of the other one."""
        return [node.engine is not None and node.engine.promised is not None for node in self.ends]
