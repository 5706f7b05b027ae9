"""Simulate what two nodes have between them: slots of disks, and the records of a witness."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opensvc_openha.core.actions import RenewWitness, WithdrawWitness
from opensvc_openha.core.beat import Beat
from opensvc_openha.core.events import (
    BeatFound,
    BeatReceived,
    MediumQuiet,
    RenewalConfirmed,
    SlotOpened,
)
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.promise import WITNESS_MARK
from opensvc_openha.fence_devices.etcd import EtcdFault
from opensvc_openha.fence_devices.witness import Witness
from opensvc_openha.formats.etcd_messages import KeyValue, TransactionEnd
from opensvc_openha.formats.lease_config import EtcdConfig

if TYPE_CHECKING:
    from opensvc_openha.verify.leases.machine import Machine
    from opensvc_openha.verify.leases.protocol_daemon import ProtocolDaemon

_ERROR_S = 1.0
"""Time until a write that fails has failed."""
_CONFIRM_MAX_S = 3.0
LIMIT_S = 2.0
"""Longest time of a request to the witness."""


@dataclass
class Slot:
    """What a disk has of one node's beats; ``count`` changes with each write that lands."""

    beat: Beat | None = None
    count: int = 0


class SlotWriter:
    """The thread that writes one node's beats to one disk; the newest one waits for the others."""

    def __init__(self, daemon: ProtocolDaemon, link: LinkSpec) -> None:
        self._daemon = daemon
        self._link = link
        self._disk = daemon.machine.disk_of(link)
        self._is_busy = False
        self._waiting: Beat | None = None

    def open(self) -> None:
        """Open what its path names now."""
        self._disk = self._daemon.machine.disk_of(self._link)
        self._daemon.disk_opened(self._link, self._disk)

    def write(self, beat: Beat) -> None:
        """Write a beat, after the one on its way."""
        if self._is_busy:
            self._waiting = beat
            return
        self._is_busy = True
        daemon = self._daemon
        machine, pair = daemon.machine, daemon.machine.pair
        land_s, confirm_s = pair.disk_times(machine, self._link)
        began_at = machine.clock()
        if land_s < math.inf:
            pair.scheduler.after(land_s, self._land, machine, machine.power, self._disk, beat)
        done_s = land_s + confirm_s
        is_confirmed = done_s <= _CONFIRM_MAX_S
        free_s = max(done_s if is_confirmed else _ERROR_S, land_s if land_s < math.inf else 0.0)
        if free_s >= 0.1:
            now, hung_until = pair.scheduler.now, pair.hung_until
            hung_until[machine.name] = max(hung_until.get(machine.name, 0.0), now + free_s)
        daemon.thread_after(free_s, self._written, beat, began_at, is_confirmed)

    def _land(self, machine: Machine, power: int, disk: str, beat: Beat) -> None:
        # A disk does not get what its machine had in flight once that is booted again.
        if power == machine.power or not machine.is_on:
            machine.pair.land(machine, (disk, self._link.offset), beat)

    def _written(self, beat: Beat, began_at: float, is_confirmed: bool) -> None:
        daemon = self._daemon
        medium = daemon.disks.medium_of(self._link, self._disk)
        if is_confirmed and medium is not None:
            now = daemon.machine.clock()
            daemon.deliver(RenewalConfirmed(medium, beat.seq, began_at, now))
        self._is_busy = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self.write(waiting)


class SlotReader:
    """The thread that reads the peer's slot on one disk."""

    def __init__(
        self, daemon: ProtocolDaemon, link: LinkSpec, medium: bytes, every_s: float
    ) -> None:
        self._daemon = daemon
        self._link = link
        self._medium = medium
        self._every_s = every_s
        self._count = -1
        self._since = -math.inf
        self._is_due = False
        self.place = "", link.offset
        """The slot that it reads."""
        self._open()
        self.look()

    def _open(self) -> None:
        # What it finds first may be of any age: it is no beat that came in.
        self._count = -1
        self.place = self._daemon.machine.disk_of(self._link), self._link.offset
        self._daemon.slot_opened(SlotOpened(self._link, self.place[0]))

    def look(self) -> None:
        """Read soon, if there is something to read for."""
        if not self._is_due:
            self._is_due = True
            self._daemon.thread_after(self._every_s, self._read)

    def _read(self) -> None:
        daemon = self._daemon
        machine, pair = daemon.machine, daemon.machine.pair
        self._is_due = False
        is_wanted = daemon.wants_quiet
        slot = pair.slot_read_by(machine, self.place)
        if slot is not None:
            is_new = slot.count != self._count
            if is_new or is_wanted:
                read_s = pair.plan.read_s
                self._is_due = True
                daemon.thread_after(read_s, self._found, machine.clock(), slot.count, slot.beat)
                return
        else:
            # The link failed, and is opened again.
            self._open()
        if is_wanted or slot is None:
            self.look()

    def _found(self, read_at: float, count: int, beat: Beat | None) -> None:
        daemon = self._daemon
        now = daemon.machine.clock()
        self._is_due = False
        is_first, is_new = self._count < 0, count != self._count
        if is_new:
            self._count, self._since = count, now
        if is_first and beat is not None:
            daemon.deliver(BeatFound(self._link, beat, now))
        elif is_new and beat is not None:
            daemon.deliver(BeatReceived(self._link, beat, now, key_id="k"))
        elif not is_new and daemon.wants_quiet:
            daemon.deliver(MediumQuiet(self._medium, read_at, self._since))
        self.look()


class Records:
    """What the witness has: linearizable, or away."""

    def __init__(self) -> None:
        self._keys: dict[str, KeyValue] = {}
        self._revision = 1

    def transact(
        self, conditions: Sequence[Any], then: Sequence[Any], otherwise: Sequence[Any]
    ) -> TransactionEnd:
        """Carry a transaction out, at this instant."""
        is_done = all(
            self._revision_of(each["key"]) == int(each["mod_revision"]) for each in conditions
        )
        found: list[tuple[KeyValue, ...]] = []
        for each in then if is_done else otherwise:
            if "request_put" in each:
                put = each["request_put"]
                self._revision += 1
                value = base64.b64decode(put["value"]).decode()
                self._keys[put["key"]] = KeyValue(put["key"], value, self._revision)
            else:
                row = self._keys.get(each["request_range"]["key"])
                found.append(() if row is None else (row,))
        return TransactionEnd(is_done, tuple(found))

    def _revision_of(self, key: str) -> int:
        row = self._keys.get(key)
        return 0 if row is None else row.revision


class _Store:
    """One thread's way to the witness; a request takes time, which the thread spends."""

    name = "witness"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.spent_s = 0.0

    def transact(
        self, conditions: Sequence[Any], then: Sequence[Any], otherwise: Sequence[Any] = ()
    ) -> TransactionEnd:
        """Carry one out; EtcdFault if its end is not known."""
        machine, pair = self._machine, self._machine.pair
        delay_s = pair.witness_s(machine)
        if self.spent_s + delay_s > LIMIT_S:
            self.spent_s = LIMIT_S
            if delay_s < math.inf:
                pair.scheduler.after(delay_s, self._take_effect, conditions, then, otherwise)
            raise EtcdFault("no answer")
        self.spent_s += delay_s
        return pair.records.transact(conditions, then, otherwise)

    def _take_effect(
        self, conditions: Sequence[Any], then: Sequence[Any], otherwise: Sequence[Any]
    ) -> None:
        """Carry out what was given up."""
        self._machine.pair.records.transact(conditions, then, otherwise)

    def close(self) -> None:
        """Release nothing."""


class WitnessThread:
    """One thread that uses the witness, with the code of production."""

    def __init__(self, daemon: ProtocolDaemon) -> None:
        machine = daemon.machine
        self._daemon = daemon
        self._store = _Store(machine)
        peer = machine.pair.other(machine).name
        self._witness = Witness(_ETCD, machine.name, peer, self._store, self._now)
        self._is_busy = False
        self._waiting: RenewWitness | WithdrawWitness | None = None

    def _now(self) -> float:
        machine = self._daemon.machine
        return machine.clock() + self._store.spent_s * machine.rate

    def _spend(self, call: Callable[[], float | None]) -> tuple[bool, float | None, float]:
        self._store.spent_s = 0.0
        try:
            found = call()
        except EtcdFault:
            return False, None, self._store.spent_s
        return True, found, self._store.spent_s

    # --- renewals ---------------------------------------------------------------------------------

    def order(self, order: RenewWitness | WithdrawWitness) -> None:
        """Carry an order out, after the one under way; the newest waits."""
        if self._is_busy:
            self._waiting = order
            return
        self._is_busy = True
        life, began_at = self._daemon.life, self._daemon.machine.clock()

        def call() -> None:
            if isinstance(order, WithdrawWitness):
                self._witness.withdraw(life)
            else:
                self._witness.renew(life, order.seq, order.since)

        is_done, _, spent_s = self._spend(call)
        self._daemon.thread_after(spent_s, self._ended, order.seq, began_at, is_done)

    def _ended(self, seq: int, began_at: float, is_done: bool) -> None:
        daemon = self._daemon
        if is_done:
            now = daemon.machine.clock()
            daemon.deliver(RenewalConfirmed(WITNESS_MARK, seq, began_at, now))
        self._is_busy = False
        order, self._waiting = self._waiting, None
        if order is not None:
            self.order(order)

    # --- looks ------------------------------------------------------------------------------------

    def look(self) -> None:
        """Look at the peer's record, if it promises by that, and again after an interval."""
        daemon = self._daemon
        promised = daemon.lease.promised
        spent_s = 0.0
        if promised is not None and WITNESS_MARK in promised.promise.media:
            boot, seq, read_at = promised.boot, promised.seq, daemon.machine.clock()
            life = f"{boot.counter}.{boot.nonce:x}"
            _, since, spent_s = self._spend(lambda: self._witness.quiet_since(life, seq))
            if since is not None:
                event = MediumQuiet(WITNESS_MARK, read_at, since)
                daemon.thread_after(spent_s, daemon.deliver, event)
        daemon.thread_after(spent_s + daemon.machine.pair.plan.interval_s, self.look)


_ETCD = EtcdConfig(("http://witness",))
