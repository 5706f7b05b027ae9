"""A disk with persistent reservations, behind the same interface as the I/O process of a real one.

Models what the rules rest on: registrations of connections, not of nodes; the holder; the counter
of changes; conflicts; unit attentions; writes that are on their way when their node is ejected;
targets that know no abort, list no connections, forget all with their power. What LIO and tgt
answer, and SPC-4 demands, was compared command by command.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.block_devices import DiskAddress
from opensvc_openha.formats.scsi_pr import InAction, OutAction, Status
from opensvc_openha.links.disk_channel import ScsiAnswer

Nexus = tuple[str, str]
"""A node and its path."""

_TYPE = 5
PREEMPTED = bytes.fromhex("7000060000000000000000002a0500000000")
RELEASED = bytes.fromhex("7000060000000000000000002a0400000000")
RESET = bytes.fromhex("700006000000000000000000290000000000")
INVALID = bytes.fromhex("700005000000000000000000240000000000")
NOT_READY = bytes.fromhex("700002000000000000000000080000000000")


@dataclass
class SimulatedUnit:
    """One logical unit, with all its connections."""

    serial: str = "beaf11"
    identifier: bytes = b"\x60\x01\x40\x5f" + bytes(12)
    knows_abort: bool = True
    knows_kept: bool = False
    lists_connections: bool = True
    passes_empty_writes: bool = False
    keys: dict[Nexus, int] = field(default_factory=dict)
    holder: Nexus | None = None
    type: int = _TYPE
    generation: int = 0
    is_kept: bool = False
    attentions: dict[Nexus, deque[bytes]] = field(default_factory=dict)
    in_flight: list[tuple[Nexus, str]] = field(default_factory=list)
    landed: list[tuple[Nexus, str]] = field(default_factory=list)
    log: list[tuple[Nexus, str]] = field(default_factory=list)
    seen: set[Nexus] = field(default_factory=set)

    # What the world does with it -----------------------------------------------------------------

    def lose_power(self) -> None:
        """All is forgotten, but what a registration asked to keep."""
        if not self.is_kept:
            self.keys.clear()
            self.holder, self.generation = None, 0
        self.in_flight.clear()
        for nexus in self.seen:
            self.attend(nexus, RESET)

    def reconnect(self, nexus: Nexus) -> None:
        """The connection is another one now; the registration stays with the old one."""
        old = (nexus[0], f"{nexus[1]} before {len(self.log)}")
        if nexus in self.keys:
            self.keys[old] = self.keys.pop(nexus)
        if self.holder == nexus:
            self.holder = old

    def attend(self, nexus: Nexus, sense: bytes) -> None:
        """A unit attention waits for that connection."""
        self.attentions.setdefault(nexus, deque()).append(sense)

    def write(self, nexus: Nexus, what: str) -> bool:
        """A write is accepted, and on its way until ``settle``; False if it is refused."""
        if not self.may_write(nexus):
            return False
        self.in_flight.append((nexus, what))
        return True

    def settle(self) -> None:
        """What is on its way lands."""
        self.landed += self.in_flight
        self.in_flight.clear()

    def may_write(self, nexus: Nexus) -> bool:
        """Whether a reservation leaves this connection's writes alone."""
        return self.holder is None or nexus in self.keys

    # Commands -----------------------------------------------------------------------------------

    def execute(self, nexus: Nexus, command: bytes, sent: bytes, wanted: int) -> ScsiAnswer:
        """The answer to one command."""
        self.seen.add(nexus)
        waiting = self.attentions.get(nexus)
        if waiting and command[0] != 0x12:
            return _check(waiting.popleft())
        if command[0] == 0x5E:
            self.log.append((nexus, InAction(command[1]).name))
            return self._read(InAction(command[1]), wanted)
        if command[0] == 0x12:
            return self._inquire(command, wanted)
        if command[0] == 0x2A:
            self.log.append((nexus, "WRITE"))
            is_refused = not self.may_write(nexus) and not self.passes_empty_writes
            return _conflict() if is_refused else _good()
        assert command[0] == 0x5F and len(sent) == struct.unpack_from(">I", command, 5)[0] == 24
        action = OutAction(command[1])
        key, action_key = struct.unpack_from(">QQ", sent)
        self.log.append((nexus, action.name))
        if sent[20] & 1 and not self.knows_kept:
            return _check(INVALID)
        return self._change(nexus, action, key, action_key, bool(sent[20] & 1), command[2] & 0x0F)

    def _read(self, action: InAction, wanted: int) -> ScsiAnswer:
        head = struct.pack(">I", self.generation)
        if action is InAction.READ_KEYS:
            body = b"".join(struct.pack(">Q", key) for key in self.keys.values())
        elif action is InAction.READ_RESERVATION:
            key = 0 if self.type in (7, 8) else self.keys.get(self.holder or ("", ""), 0)
            held = self.holder and struct.pack(">Q4xxB2x", key, self.type)
            body = held or b""
        elif action is InAction.REPORT_CAPABILITIES:
            return _good(struct.pack(">HBBH2x", 8, self.knows_kept, 0x80, 0xEA01)[:wanted])
        elif self.lists_connections:
            body = b"".join(map(self._described, self.keys))
        else:
            return _check(INVALID)
        return _good((head + struct.pack(">I", len(body)) + body)[:wanted])

    def _described(self, nexus: Nexus) -> bytes:
        name = b"\x45\x00" + struct.pack(">H", 20) + f"iqn.{nexus[0]},i,0x1".encode()[:20]
        name = name.ljust(24, b"\0")
        is_holder = nexus == self.holder
        kind = self.type if is_holder else 0
        return struct.pack(">Q4xBB4xHI", self.keys[nexus], is_holder, kind, 1, len(name)) + name

    def _inquire(self, command: bytes, wanted: int) -> ScsiAnswer:
        if not command[1]:
            return _good((bytes(8) + b"SIMUL   DISK            ")[:wanted])
        if command[2] == 0x80:
            text = self.serial.encode()
            return _good(struct.pack(">BBH", 0, 0x80, len(text)) + text)
        name = bytes([1, 3, 0, len(self.identifier)]) + self.identifier
        return _good(struct.pack(">BBH", 0, 0x83, len(name)) + name)

    def _change(
        self, nexus: Nexus, action: OutAction, key: int, action_key: int, is_kept: bool, kind: int
    ) -> ScsiAnswer:
        own = self.keys.get(nexus, 0)
        if action is OutAction.REGISTER_AND_IGNORE or (action is OutAction.REGISTER and own == key):
            return self._register(nexus, action_key, is_kept)
        if not own or own != key:
            return _conflict()
        if action is OutAction.RESERVE:
            if self.holder not in (None, nexus):
                return _conflict()
            self.holder, self.type = nexus, kind
            return _good()
        if action is OutAction.CLEAR:
            self.generation += 1
            self._warn(self.keys.keys() - {nexus}, PREEMPTED)
            self.keys.clear()
            self.holder = None
            return _good()
        if action is OutAction.PREEMPT_AND_ABORT and not self.knows_abort:
            return _check(INVALID)
        if action in (OutAction.PREEMPT, OutAction.PREEMPT_AND_ABORT):
            return self._preempt(nexus, action, action_key, kind)
        return _conflict()

    def _register(self, nexus: Nexus, new: int, is_kept: bool) -> ScsiAnswer:
        self.generation += 1
        self.is_kept = is_kept
        if new:
            self.keys[nexus] = new
            return _good()
        self.keys.pop(nexus, None)
        if self.holder == nexus:
            self.holder = None
            self._warn(self.keys.keys(), RELEASED)
        return _good()

    def _preempt(self, nexus: Nexus, action: OutAction, victim: int, kind: int) -> ScsiAnswer:
        gone = {other for other, key in self.keys.items() if key == victim and other != nexus}
        if not gone and self.keys[nexus] != victim:
            return _conflict()
        self.generation += 1
        if self.holder in gone or self.holder == nexus:
            self.holder, self.type = nexus, kind
        for other in gone:
            del self.keys[other]
        if action is OutAction.PREEMPT_AND_ABORT:
            self.in_flight = [(other, what) for other, what in self.in_flight if other not in gone]
        self._warn(gone, PREEMPTED)
        return _good()

    def _warn(self, connections: Iterable[Nexus], sense: bytes) -> None:
        for nexus in list(connections):
            self.attend(nexus, sense)


@dataclass
class SimulatedPort:
    """One path of a node. ``is_dead``: no command gets through."""

    unit: SimulatedUnit
    nexus: Nexus
    is_dead: bool = False
    is_closed: bool = False
    before: Callable[[Nexus, bytes], None] = lambda nexus, command: None
    after: Callable[[Nexus, bytes], None] = lambda nexus, command: None

    def scsi(self, command: bytes, sent: bytes, wanted: int, limit_s: float) -> ScsiAnswer:
        """Execute one command."""
        self.before(self.nexus, command)
        if self.is_dead:
            raise SystemFault(f"hung: no answer to the SCSI command of {self.nexus[1]}")
        answer = self.unit.execute(self.nexus, command, sent, wanted)
        self.after(self.nexus, command)
        return answer

    def close(self) -> None:
        """Released."""
        self.is_closed = True


@dataclass
class SimulatedNode:
    """How one node reaches units: paths are named DISK-NUMBER."""

    name: str
    units: dict[str, SimulatedUnit]
    paths: int = 1
    before: Callable[[Nexus, bytes], None] = lambda nexus, command: None
    ports: dict[str, SimulatedPort] = field(default_factory=dict)

    def open(self, path: str) -> SimulatedPort:
        """The way to one path."""
        disk = path.rpartition("-")[0]
        if path not in self.ports:
            made = SimulatedPort(self.units[disk], (self.name, path), before=self.before)
            self.ports[path] = made
        return self.ports[path]

    def address(self, disk: str) -> DiskAddress:
        """The names that this node has for a disk."""
        return DiskAddress(disk, tuple(f"{disk}-{number}" for number in range(self.paths)))


def _good(data: bytes = b"") -> ScsiAnswer:
    return ScsiAnswer(Status.GOOD, 0, 0, b"", data)


def _check(sense: bytes) -> ScsiAnswer:
    return ScsiAnswer(Status.CHECK_CONDITION, 0, 8, sense, b"")


def _conflict() -> ScsiAnswer:
    return ScsiAnswer(Status.RESERVATION_CONFLICT, 0, 0, b"", b"")
