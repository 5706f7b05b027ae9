"""Simulate the shared disks of services: registrations, reservations, and writes that land late.

They are taken by the code of production. A write that is on its way when its node is ejected, or
loses its power, lands some seconds later, unless the disk aborts it: what a start of the other node
has to wait for.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from opensvc_openha.fence_devices.block_devices import DiskAddress
from opensvc_openha.fence_devices.reservations import TakeRules, take_all
from opensvc_openha.fence_devices.shared_disk import DiskState, SharedDisk, Taken
from opensvc_openha.formats.scsi_pr import WRITE_EXCLUSIVE_REGISTRANTS, Reservation, UnitName
from opensvc_openha.verify.invariants import Barred, WriteLanded
from opensvc_openha.verify.scheduler import Scheduler
from opensvc_openha.verify.simulated_node import NODES, SimulatedNode


def _key(name: str) -> int:
    return NODES.index(name) + 1


class ReservedDisk(SharedDisk):
    """The disk of one service, as both nodes see it."""

    def __init__(self, service: str, knows_abort: bool) -> None:
        super().__init__(DiskAddress(f"/dev/{service}", ()))
        self.service = service
        self._knows_abort = knows_abort
        self.keys: set[int] = set()
        self.on_their_way: set[int] = set()
        """Keys of nodes with a write that was accepted, and has not landed."""

    def unit(self) -> UnitName:
        """Return its name, the same on both nodes."""
        return UnitName(self.service, "")

    def read(self) -> DiskState:
        """Return who is registered; the last one that took it holds it."""
        holder = min(self.keys, default=0)
        held = Reservation(holder, WRITE_EXCLUSIVE_REGISTRANTS) if holder else None
        return DiskState(0, tuple(sorted(self.keys)), held)

    def take(self, key: int, may_abort: bool = True) -> Taken:
        """Register and eject the other node, which aborts its writes where the disk can do that."""
        ejected = tuple(sorted(self.keys - {key}))
        self.keys = {key}
        was_aborted = self._knows_abort and may_abort
        if was_aborted:
            self.on_their_way -= set(ejected)
        return Taken(self.name, ejected, was_aborted or not ejected, 1, 1)


class ReservedDisks:
    """The disks of all services that have one, and who writes there."""

    def __init__(
        self,
        scheduler: Scheduler,
        services: Iterable[str],
        knows_abort: bool,
        late_s: tuple[float, ...],
        dice: Random,
    ) -> None:
        """``late_s`` are the delays with which a write that is on its way lands."""
        self._scheduler = scheduler
        self._late_s = late_s
        self._dice = dice
        self._disks = {name: ReservedDisk(name, knows_abort) for name in services}
        self._writers: dict[str, SimulatedNode] = {}
        """The node that may write, by service."""

    def take(self, node: SimulatedNode, services: Iterable[str], is_proof: bool) -> float:
        """Take disks for a node; return for how long it must wait before it may use them."""
        disks = [self._disks[name] for name in services if name in self._disks]
        for disk in disks:
            writer = self._writers.get(disk.service)
            if writer is not None and writer is not node:
                self._cut_off(disk.service)
        waits_s: list[float] = []
        take_all(disks, TakeRules(_key(node.name), is_proof=is_proof), waits_s.append)
        return sum(waits_s)

    def holds(self, node: SimulatedNode, services: Iterable[str]) -> bool:
        """Return True if the node alone is registered on the disks of these services."""
        disks = [self._disks[name] for name in services if name in self._disks]
        return all(disk.read().is_only(_key(node.name)) for disk in disks)

    def begin_use(self, node: SimulatedNode, service: str) -> None:
        """Let a node write, whose start has taken the disk and waited."""
        if service in self._disks:
            self._writers[service] = node
            node.observe(Barred(node.now, node.name, service))

    def end_use(self, node: SimulatedNode, service: str) -> None:
        """Handle a stop: all that was on its way has ended, and nobody is registered."""
        if service in self._disks:
            # The kernel waits for what it has sent, even to a disk that refuses the next write.
            self._disks[service].on_their_way.discard(_key(node.name))
        if self._writers.get(service) is node:
            del self._writers[service]
            self._disks[service].keys.clear()

    def lose(self, node: SimulatedNode) -> None:
        """Handle a node that loses its power: its registrations stay."""
        for service in [name for name, writer in self._writers.items() if writer is node]:
            self._cut_off(service)

    def _cut_off(self, service: str) -> None:
        """End the writes of a node, but for one that is on its way."""
        writer = self._writers.pop(service)
        if self._late_s:
            key = _key(writer.name)
            self._disks[service].on_their_way.add(key)
            delay_s = self._dice.choice(self._late_s)
            self._scheduler.after(delay_s, self._land, writer, service)

    def _land(self, writer: SimulatedNode, service: str) -> None:
        on_their_way = self._disks[service].on_their_way
        if _key(writer.name) in on_their_way:
            on_their_way.discard(_key(writer.name))
            writer.note(f"a late write of {service} lands")
            writer.observe(WriteLanded(writer.now, writer.name, service))
