"""Simulate one node: what survives its power, what survives its daemon, and its daemon.

Its clocks run at a rate of their own. Files are bytes in the formats of production.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    Command,
    CommandReceived,
    ConfigChanged,
    Event,
    LeaveRequested,
    Leaving,
    PeerConfirmedOut,
    ReadinessFound,
    RecoveredState,
    SeemsUp,
    SendersMuted,
)
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec
from opensvc_openha.core.states import MAY_RUN, ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.formats.state_file import StoredState, decode, encode
from opensvc_openha.storage.state_store import recover
from opensvc_openha.verify.invariants import (
    Arrived,
    Confirmed,
    DaemonBegan,
    DaemonEnded,
    InvariantBroken,
    InvariantChecker,
    NodeLost,
    Observation,
    StateLost,
)
from opensvc_openha.verify.random.plan import NODES, Plan
from opensvc_openha.verify.random.scheduler import Scheduler
from opensvc_openha.verify.random.scripts import Scripts
from opensvc_openha.verify.random.simulated_daemon import SimulatedDaemon
from opensvc_openha.verify.random.simulated_disk import SharedDisk, SlotReader
from opensvc_openha.verify.random.simulated_network import Carried, Network
from opensvc_openha.verify.random.trace import Trace

WALL_AT_START = 1_800_000_000.0


class SimulatedNode:
    """One simulated node."""

    def __init__(
        self,
        index: int,
        plan: Plan,
        clockwork: Scheduler,
        network: Network,
        disk: SharedDisk,
        watch: InvariantChecker,
        trace: Trace,
    ) -> None:
        self.name = NODES[index]
        self.index = index
        self.plan = plan
        self.clockwork = clockwork
        self.network = network
        self.disk = disk
        self.trace = trace
        self.dice = Random(f"{plan.seed} {self.name}")
        self.rate = plan.rates[index]
        self.wall_step_s = 0.0
        self.peer: SimulatedNode = self
        self.spec: ClusterSpec = plan.spec(self.name)
        self.is_powered = False
        self.powered_at = 0.0
        self.life: SimulatedDaemon | None = None
        self.files: dict[str, bytes] = {}
        self.incarnations: dict[str, BootId] = {}
        self.managed: dict[str, ServiceSpec] = {}
        self.fencing = FencingMemory()
        self.boot_counter = 0
        self.is_same_life = False
        self.of_former_life: set[str] = set()
        self.is_store_broken = False
        self.spoilt: set[str] = set()
        """Services whose STATE file was damaged or could not be written since its last write."""
        self.kill_in: int | None = None
        """The daemon is killed before this many further actions."""
        self.on_decisive: Callable[[SimulatedNode], None] = _ignore
        """Called when a start is announced, a script of it begins, or a daemon starts or wants to
        leave.
        """
        self.scripts = Scripts(self)
        self.reader = self._make_reader()
        self._watch = watch
        self._commands = 0

    def _make_reader(self) -> SlotReader | None:
        link = next((link for link in self.spec.listeners if link.kind.is_disk), None)
        if link is None:
            return None
        reader = SlotReader(
            self.clockwork, self.disk, link, self.name, self, self.dice.uniform(0, 0.25)
        )
        self.disk.readers[link.node] = reader
        return reader

    # --- clocks, story ----------------------------------------------------------------------------

    @property
    def monotonic(self) -> float:
        """Return this node's monotonic clock."""
        return 1000.0 + self.clockwork.now * self.rate

    @property
    def wall(self) -> float:
        """Return this node's wall clock, which may be set."""
        return WALL_AT_START + self.clockwork.now * self.rate + self.wall_step_s

    def instant_of(self, monotonic: float) -> float:
        """Return when this node's monotonic clock shows ``monotonic``."""
        return (monotonic - 1000.0) / self.rate

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.note(self.clockwork.now, self.name, text)

    def observe(self, seen: Observation) -> None:
        """Pass an observation to the invariant checker."""
        self._watch.observe(seen)

    def announce_decisive(self) -> None:
        """Announce a decisive moment: a start is announced, or a script of it begins."""
        self.on_decisive(self)

    # --- power and daemon -------------------------------------------------------------------------

    def power_on(self) -> None:
        """Boot the machine, and with it the daemon."""
        if self.is_powered:
            return
        self.is_powered, self.is_same_life = True, False
        self.powered_at = self.clockwork.now
        self.note("power on")
        self.start_daemon()

    def power_off(self, why: str) -> None:
        """End everything on the node at once."""
        if not self.is_powered:
            return
        self.note(f"power off: {why}")
        self._end_life()
        self.is_powered = False
        self.scripts.lose_all()
        self.observe(NodeLost(self.monotonic, self.name))

    def start_daemon(self) -> None:
        """Start a new incarnation of the daemon from its files."""
        if not self.is_powered or self.life is not None:
            return
        self.boot_counter += 1
        if not self.is_same_life:
            self.fencing = self.fencing.after_boot()
        boot = BootId(self.boot_counter, self.dice.getrandbits(64))
        kept = self._kept() if self.is_same_life else ()
        recovered = self.learn((*self.spec.own_services, *kept), self.is_same_life)
        self._note_managed()
        self.is_same_life = True
        told = ", ".join(
            f"{name} {item.state.name}{' probe' if item.must_probe else ''}"
            for name, item in recovered.items()
        )
        self.note(f"daemon {boot.counter} starts: {told}")
        self.observe(
            DaemonBegan(
                self.monotonic,
                self.name,
                boot,
                {name: item.state for name, item in recovered.items()},
            )
        )
        if self.is_store_broken:
            for name in recovered:
                self.observe(StateLost(self.monotonic, self.name, name))
        self.life = SimulatedDaemon(self, boot, recovered, kept)
        self.life.begin()
        if self.plan.reports_power:
            self.clockwork.after(0.002, self.give, ReadinessFound({}, frozenset(recovered)))
        if self.network.down:
            self.clockwork.after(0.001, self.tell_interfaces)
        self.on_decisive(self)
        if self.reader is not None:
            self.reader.open()

    def daemon_died(self, how: str) -> None:
        """Record the daemon's end; services and scripts continue."""
        self.note(f"daemon ends: {how}")
        self._end_life()
        self.observe(DaemonEnded(self.monotonic, self.name))

    def _end_life(self) -> None:
        if self.life is not None:
            self.life.is_over = True
        self.life = None
        self.kill_in = None
        self.scripts.orphan_all()
        if self.reader is not None:
            self.reader.is_open = self.reader.is_stopped = False

    # --- files ------------------------------------------------------------------------------------

    def learn(
        self,
        services: tuple[ServiceSpec, ...],
        is_same_life: bool,
        unwritten: frozenset[str] = frozenset(),
    ) -> dict[str, RecoveredState]:
        """Recover states from the STATE files, by the rules of production.

        Those of ``unwritten`` are the engine's to write.
        """
        recovered = {}
        others = set() if is_same_life else set(self.files) - {svc.name for svc in services}
        if not is_same_life:
            self.of_former_life = others if self.is_store_broken else set()
        for name in sorted(others - self.of_former_life):
            stored, problem = self._read_state(name)
            if stored is not None:
                self.files[name] = encode(
                    StoredState(recover(stored, problem, is_same_life=False).state)
                )
        for svc in services:
            stored, problem = self._read_state(svc.name)
            known = recover(stored, problem, is_same_life and svc.name not in self.of_former_life)
            self.of_former_life.discard(svc.name)
            frozen_target = known.frozen_target if known.state is not ServiceState.UNKNOWN else None
            if svc.name in unwritten:
                pass
            elif not self.is_store_broken:
                self.files[svc.name] = encode(StoredState(known.state, frozen_target))
                self.spoilt.discard(svc.name)
            else:
                self.spoilt.add(svc.name)
            recovered[svc.name] = known
        return recovered

    def _kept(self) -> tuple[ServiceSpec, ...]:
        """Return managed services that left the services file, but may run."""
        names = {svc.name for svc in self.spec.own_services}
        return tuple(
            svc for name, svc in self.managed.items() if name not in names and self._may_run(name)
        )

    def _may_run(self, service: str) -> bool:
        stored, problem = self._read_state(service)
        return (
            stored.state in MAY_RUN
            if stored is not None
            else service in self.files and bool(problem)
        )

    def _note_managed(self) -> None:
        self.managed = {svc.name: svc for svc in (*self.spec.own_services, *self._kept())}

    def _read_state(self, service: str) -> tuple[StoredState | None, str]:
        data = self.files.get(service)
        if data is None:
            return None, "STATE file is missing" if service in self.managed else ""
        try:
            return decode(data), ""
        except ValueError as error:
            return None, f"STATE file: {error}"

    def damage_state(self, service: str, data: bytes | None) -> None:
        """Damage a STATE file."""
        self.spoilt.add(service)
        self.note(f"STATE file of {service} becomes {data!r}")
        if data is None:
            self.files.pop(service, None)
        else:
            self.files[service] = data
        self.observe(StateLost(self.monotonic, self.name, service))

    def expect_agreement(self, engine: Engine) -> None:
        """Check that each STATE file holds the daemon's state, since a restart relies on it."""
        for name in set(self.files) - self.spoilt:
            if not engine.manages(name):
                continue
            stored, own = decode(self.files[name]).state, engine.state_of(name)
            if stored is not own:
                raise InvariantBroken(
                    f"state broken at {self.monotonic:.3f} on {self.name}: {name} is {own.name},"
                    f" and its STATE file says {stored.name}"
                )

    # --- what comes in ----------------------------------------------------------------------------

    def receive(self, link: LinkSpec, carried: Carried) -> None:
        """Receive a frame from the peer; it is lost without a daemon."""
        life = self.life
        if life is None:
            return
        if life.is_stalled and self._understands(carried.beat):
            self.observe(Arrived(self.monotonic, self.name, carried.beat, self.plan.has_key))
        life.receive(link, carried)

    def _understands(self, beat: Beat) -> bool:
        return not self.plan.unknown_flag or (
            self.plan.is_older and not beat.mute and beat.facts is None
        )

    def switch_interface(self, device: str, is_up: bool) -> None:
        """Switch a network interface, or its cable, off or on."""
        if is_up is ((self.name, device) not in self.network.down):
            return
        self.note(f"{device} is {'up' if is_up else 'down'}")
        if is_up:
            self.network.down.discard((self.name, device))
        else:
            self.network.down.add((self.name, device))
        self.tell_interfaces()

    def tell_interfaces(self) -> None:
        """Report interfaces to the daemon, as the kernel does; an older version does not ask."""
        if self.index and self.plan.unknown_flag:
            return
        self.give(
            SendersMuted(
                frozenset(
                    link
                    for link in self.spec.senders
                    if (self.name, link.device) in self.network.down
                )
            )
        )

    def look_at(self, service: str) -> None:
        """Query the service outside the engine, as the daemon does."""
        if self.is_powered and self.scripts.runs(service):
            self.give(SeemsUp(service))

    def give(self, event: Event) -> None:
        """Pass an event to the daemon, if there is one."""
        if self.life is not None:
            self.life.handle(event)

    def order(self, command: Command, service: str) -> None:
        """Give an operator's command."""
        self._commands += 1
        self.note(f"operator: {command.value} {service}")
        self.give(CommandReceived(self._commands, service, command))

    def confirm(self) -> None:
        """Confirm, as operator, that the peer is off."""
        if self.life is None or self.peer.is_powered:
            return
        self._commands += 1
        self.note(f"operator: {self.peer.name} is off")
        if self.life.engine.snapshot(self.monotonic).peer_standing in (
            PeerStanding.SILENT,
            PeerStanding.DEPARTED,
        ):
            self.observe(Confirmed(self.monotonic, self.name))
        self.give(PeerConfirmedOut(self._commands, "operator"))

    def leave(self, leaving: Leaving) -> None:
        """End the daemon, with or without its services."""
        self.note(f"operator: leave, {leaving.value} services")
        self.on_decisive(self)
        self.give(LeaveRequested(leaving))

    def configure(self, services: tuple[ServiceSpec, ...]) -> None:
        """Edit the services file; a running daemon applies it."""
        spec = replace(self.spec, services=services)
        if spec == self.spec:
            return
        known = {svc.name for svc in self.spec.own_services}
        added = tuple(svc for svc in spec.own_services if svc.name not in known)
        kept = frozenset(svc.name for svc in self._kept())
        self.spec = spec
        self.note(f"services file: {', '.join(f'{svc.name} on {svc.primary}' for svc in services)}")
        if self.life is None:
            return
        recovered = self.learn(added, is_same_life=True, unwritten=kept)
        self._note_managed()
        self.give(ConfigChanged(spec, recovered))


def _ignore(_: SimulatedNode) -> None:
    """Ignore the moment."""
