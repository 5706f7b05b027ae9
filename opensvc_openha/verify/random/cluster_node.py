"""One node of a history: power, a daemon that may be stopped or killed, files that get damaged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random

from opensvc_openha.core.actions import (
    Announce,
    Answer,
    LeaseAction,
    Persist,
    Record,
    RememberFencing,
    RememberIncarnations,
    RenewWitness,
    RunFenceStep,
    RunScript,
    WithdrawWitness,
)
from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.events import (
    BY_OPERATOR,
    BeatFound,
    Command,
    CommandReceived,
    ConfigChanged,
    Event,
    LeaveRequested,
    Leaving,
    MediumQuiet,
    PeerConfirmedOut,
    ReadinessFound,
    RenewalConfirmed,
    SeemsUp,
    SendersMuted,
    SlotOpened,
)
from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec
from opensvc_openha.core.promise import media_of
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import DISK_LOOK_S
from opensvc_openha.verify.invariants import Arrived, Confirmed, StateLost
from opensvc_openha.verify.random.fence_steps import FenceSteps
from opensvc_openha.verify.random.logged_store import LoggedStore
from opensvc_openha.verify.random.plan import TARGETS
from opensvc_openha.verify.random.scripts import Scripts
from opensvc_openha.verify.random.simulated_daemon import Killed, SimulatedDaemon
from opensvc_openha.verify.random.simulated_disk import SlotReader
from opensvc_openha.verify.random.simulated_network import Carried
from opensvc_openha.verify.random.watchdog import Watchdog
from opensvc_openha.verify.random.witness import WitnessClient
from opensvc_openha.verify.random.world import World
from opensvc_openha.verify.simulated_node import NodeDriver, SimulatedNode

_PAUSED_S = 0.5
"""Time after which something is tried again on a machine that stands still."""
_READ_BACK_S = 0.002
"""From the end of a write of a slot until it was read back."""


class ClusterNode(SimulatedNode):
    """One simulated node, driven by chance."""

    def __init__(self, index: int, world: World, driver: NodeDriver) -> None:
        super().__init__(index, driver)
        self._world = world
        self._plan = world.plan
        self._dice = Random(f"{world.plan.seed} {self.name}")
        self._cut_dice = Random(f"{world.plan.seed} cut writes {self.name}")
        self.files = LoggedStore(
            Random(f"{world.plan.seed} files {self.name}"),
            lambda: world.wall(self) + self.wall_step_s,
        )
        self.store = self.files
        self.spec: ClusterSpec = world.plan.spec(self.name)
        self.daemon: SimulatedDaemon | None = None
        self.wall_step_s = 0.0
        self.kill_in: int | None = None
        """The daemon is killed before this many further actions."""
        self.on_decisive: Callable[[ClusterNode], None] = _ignore
        """Called when a start is announced, a script of it begins, or a daemon starts or wants to
        leave.
        """
        self.outcomes = Scripts(self, world, lambda: self.on_decisive(self))
        self.steps = FenceSteps(self, world, world.arbiter)
        self.watchdog = Watchdog(self, world)
        self._witness = WitnessClient(self, world)
        self._reader = self._make_reader()
        self._commands = 0
        if world.plan.disk_gap_s:
            world.scheduler.after(self._dice.uniform(0, DISK_LOOK_S), self._look_again)
        if world.plan.uplink_gap_s:
            phase_s = Random(f"{world.plan.seed} rounds {self.name}").uniform(0, TARGETS.period_s)
            world.scheduler.after(phase_s, self._ask_again)

    def _make_reader(self) -> SlotReader | None:
        link = next((link for link in self.spec.listeners if link.is_disk), None)
        if link is None:
            return None
        disk, phase_s = self._world.disk, self._dice.uniform(0, 0.25)
        is_polling = self._plan.fencing.lease is not None
        reader = SlotReader(self._world.scheduler, disk, link, self.name, self, phase_s, is_polling)
        disk.readers[link.node] = reader
        return reader

    @property
    def is_away(self) -> bool:
        """True while what happens is kept for a daemon that stands still, or is busy."""
        return self.daemon is not None and self.daemon.is_away

    def _look_again(self) -> None:
        """Look at the data disks, from time to time; a daemon that is stopped does not."""
        if self.daemon is not None and not self.daemon.is_stalled:
            self.look_at_disks()
        self._world.scheduler.after(DISK_LOOK_S, self._look_again)

    def _ask_again(self) -> None:
        """Ask the targets, from time to time; a daemon that is stopped does not."""
        if self.daemon is not None and not self.daemon.is_stalled:
            self.ask_targets()
        self._world.scheduler.after(TARGETS.period_s, self._ask_again)

    def cut_uplink(self, is_cut: bool = True) -> None:
        """Let no target answer this node, or all again."""
        if is_cut is (self.uplink_cut_since is None):
            self.note(f"targets {'do not answer' if is_cut else 'answer'}")
        super().cut_uplink(is_cut)

    def freeze(self, service: str, is_frozen: bool = True) -> None:
        """Let the disks of a service not answer this node, or answer again."""
        self.note(f"disks of {service} {'freeze' if is_frozen else 'answer'}")
        super().freeze(service, is_frozen)

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self._world.note(text, self.name)

    # --- power and daemon -------------------------------------------------------------------------

    def power_on(self) -> None:
        """Boot the machine, and with it the daemon."""
        if self.is_powered:
            return
        super().power_on()
        self.note("power on")
        self.boot_daemon()

    def power_off(self, why: str = "power lost") -> None:
        """End everything on the node at once."""
        if self.is_powered:
            self._cut_write()
            self._lose_daemon()
            self._world.disks.lose(self)
            self.watchdog.lose_power()
            self._world.end_pause(self)
            super().power_off(why)

    def _cut_write(self) -> None:
        """Have on disk a part of what the daemon writes at the moment, or of the log alone."""
        daemon, dice = self.daemon, self._cut_dice
        if daemon is None or daemon.write is None or daemon.is_stalled or daemon.is_hung:
            return
        self.on_decisive, decisive = _ignore, self.on_decisive
        self.kill_in = dice.randrange(1, 4)
        is_log_alone = self.kill_in == 1
        with contextlib.suppress(Killed):
            daemon.write()
        self.on_decisive = decisive
        if is_log_alone and dice.random() < 0.5:
            self.files.tear_log()

    def boot_daemon(self) -> None:
        """Start a new incarnation of the daemon from its files."""
        if not self.is_powered or self.daemon is not None:
            return
        if self.name in self._world.paused:
            self._world.scheduler.after(_PAUSED_S, self.boot_daemon)
            return
        recovered, kept = self.store.begin_daemon(self.spec.own_services)
        boot = BootId(self.store.boot_counter, self._dice.getrandbits(64))
        found = ", ".join(
            f"{name} {item.state.name}{' probe' if item.must_probe else ''}"
            for name, item in recovered.items()
        )
        self.note(f"daemon {boot.counter} starts: {found}")
        self.daemon = SimulatedDaemon(self, self._world, self._dice, self.spec, boot)
        self.daemon.begin(recovered, kept)
        self.watchdog.take_over()
        if self._plan.reports_power:
            ready = ReadinessFound({}, frozenset(recovered))
            self._world.scheduler.after(0.002, self.give, ready)
        if self._world.network.down:
            self._world.scheduler.after(0.001, self.report_interfaces)
        self.on_decisive(self)
        if self._reader is not None:
            self._reader.open()

    def end_daemon(self, how: str = "kill -9") -> None:
        """End the daemon; services and scripts continue."""
        self._lose_daemon()
        super().end_daemon(how)

    def _lose_daemon(self) -> None:
        if self.daemon is not None:
            self.daemon.is_over = True
        self.daemon = None
        self.kill_in = None
        self._witness.forget()
        if self._reader is not None:
            self._reader.is_open = self._reader.is_stopped = False

    def stall(self) -> None:
        """Stop the process of the daemon (SIGSTOP)."""
        assert self.daemon is not None
        self.daemon.stall()
        if self._reader is not None:
            self._reader.is_stopped = True

    def resume(self) -> None:
        """Continue the process of the daemon (SIGCONT)."""
        assert self.daemon is not None
        if self._reader is not None:
            self._reader.is_stopped = False
            self._reader.expect()
        self.daemon.resume()

    def damage_state(self, service: str, data: bytes | None) -> None:
        """Damage a STATE file."""
        self.note(f"STATE file of {service} becomes {data!r}")
        self.store.damage_state(service, data)
        self.observe(StateLost(self.now, self.name, service))

    # --- what comes in ----------------------------------------------------------------------------

    def receive(self, link: LinkSpec, carried: Carried) -> None:
        """Receive a frame from the peer; it is lost without a daemon."""
        daemon = self.daemon
        if daemon is None:
            return
        is_late = daemon.is_stalled or (self._plan.read_s and not link.is_disk)
        if is_late and self._understands(carried.beat):
            self.observe(Arrived(self.now, self.name, carried.beat, self._plan.has_key))
        daemon.receive(link, carried)

    def find_quiet(self, link: LinkSpec, read_at: float, since: float) -> None:
        """Report a read of the peer's slot that showed nothing new, where that is of use."""
        engine = self.engine
        is_wanted = engine is not None and engine.promised is not None
        if engine is not None and is_wanted and engine.peer_standing is not PeerStanding.LIVE:
            self.give(MediumQuiet(media_of(self.spec.listeners)[link], read_at, since))

    def slot_opened(self, link: LinkSpec) -> None:
        """Report that the peer's slot was opened."""
        self.give(SlotOpened(link, link.device))

    def find_beat(self, link: LinkSpec, beat: Beat, read_at: float) -> None:
        """Report an authentic beat that lay in the peer's slot when that was opened."""
        if self._plan.has_key and self._understands(beat):
            self.give(BeatFound(link, beat, read_at))

    def _understands(self, beat: Beat) -> bool:
        return not self._plan.unknown_flag or (
            self._plan.is_older and not beat.mute and beat.facts is None
        )

    def switch_interface(self, device: str, is_up: bool) -> None:
        """Switch a network interface, or its cable, off or on."""
        down = self._world.network.down
        if is_up is ((self.name, device) not in down):
            return
        self.note(f"{device} is {'up' if is_up else 'down'}")
        (down.discard if is_up else down.add)((self.name, device))
        self.report_interfaces()

    def report_interfaces(self) -> None:
        """Report interfaces to the daemon, as the kernel does; an older version does not ask."""
        if self.index and self._plan.unknown_flag:
            return
        down = self._world.network.down
        links = (link for link in self.spec.senders if (self.name, link.device) in down)
        self.give(SendersMuted(frozenset(links)))

    def look_at(self, service: str) -> None:
        """Query the service outside the engine, as the daemon does."""
        if self.is_powered and service in self.running:
            self.give(SeemsUp(service))

    def give(self, event: Event) -> None:
        """Pass an event to the daemon, in whatever state its process is."""
        if self.daemon is not None:
            self.daemon.handle(event)

    def order(self, command: Command, service: str, by: str = BY_OPERATOR) -> None:
        """Give an operator's command."""
        self._commands += 1
        self.note(f"{by}: {command.value} {service}")
        self.give(CommandReceived(self._commands, service, command, by))

    def confirm(self) -> None:
        """Confirm, as operator, that the peer is off."""
        if self.engine is None or self.peer.is_powered:
            return
        self._commands += 1
        self.note(f"operator: {self.peer.name} is off")
        self.observe_word()
        self.give(PeerConfirmedOut(self._commands, "operator"))

    def observe_word(self) -> None:
        """Observe that a word which is given now counts: the peer is not heard."""
        if self.is_alone:
            self.observe(Confirmed(self.now, self.name))

    @property
    def is_alone(self) -> bool:
        """True if the daemon runs and does not hear its peer, whether that has left or not."""
        standing = None if self.engine is None else self.engine.peer_standing
        return standing in (PeerStanding.SILENT, PeerStanding.DEPARTED)

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
        # A file of before the boot that could not be reset is not the engine's to write.
        kept = frozenset(
            svc.name for svc in added if self.engine is not None and self.engine.manages(svc.name)
        )
        self.spec = spec
        self.note(f"services file: {', '.join(f'{svc.name} on {svc.primary}' for svc in services)}")
        if self.daemon is None:
            return
        recovered = self.store.recover_states(added, unwritten=kept)
        self.store.record_managed(spec.own_services)
        self.daemon.spec = spec
        self.give(ConfigChanged(spec, recovered))

    # --- the daemon's ports -----------------------------------------------------------------------

    def _may_be_killed(self) -> None:
        """Kill the daemon (kill -9) between any two actions."""
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in <= 0:
                raise Killed

    def persist(self, action: Persist) -> None:
        """Write the STATE file, or fail to."""
        self._may_be_killed()
        then = f" then {action.frozen_target.name}" if action.frozen_target else ""
        self.note(f"{action.service} {action.state.name}{then}")
        if action.state is ServiceState.START_READY:
            self.on_decisive(self)
        super().persist(action)

    def remember_incarnations(self, action: RememberIncarnations) -> None:
        """Store the incarnations under keys in use, as the daemon does."""
        self._may_be_killed()
        assert self.daemon is not None
        self.store.remember_incarnations(self.daemon.learn_incarnations(dict(action.incarnations)))

    def remember_fencing(self, action: RememberFencing) -> None:
        """Store what the next daemon must know of fencing."""
        self._may_be_killed()
        super().remember_fencing(action)

    def announce(self, action: Announce) -> None:
        """Send a beat as the version of this node makes it."""
        self._may_be_killed()
        beat = replace(action.beat, sent_at=self._world.wall(self) + self.wall_step_s)
        if self.index and self._plan.is_older:
            beat = replace(beat, facts=None)
        if beat.facts is not None and self._plan.untimed[self.index]:
            beat = replace(beat, facts=replace(beat.facts, knows_fence_time=False))
        super().announce(replace(action, beat=beat))

    def transmit(self, action: Announce) -> None:
        """Encode a beat for each link, and send it there."""
        assert self.daemon is not None
        for link, codec in self.daemon.senders:
            self._may_be_killed()
            frame = codec.encode(action.beat, 100 + self.index, action.with_names)
            carried = Carried(frame, action.beat)
            if link.is_disk:
                began_at = self.now
                medium = media_of(self.spec.senders).get(link, b"")
                confirm = partial(self._confirm, self.incarnation, medium, action.beat, began_at)
                self._world.disk.write(link, carried, confirm)
            else:
                self._world.network.send(link, carried)

    def _confirm(
        self, incarnation: BootId | None, medium: bytes, beat: Beat, began_at: float
    ) -> None:
        """Report a beat that was read back from this node's own slot."""
        if self._plan.fencing.lease is None or self.incarnation != incarnation:
            return
        has_facts = beat.facts is not None
        renewal = RenewalConfirmed(medium, beat.seq, began_at, self.now, has_facts)
        self._world.scheduler.after(_READ_BACK_S, self._renewed, incarnation, renewal)

    def _renewed(self, incarnation: BootId | None, renewal: RenewalConfirmed) -> None:
        if self.incarnation == incarnation:
            self.give(replace(renewal, confirmed_at=self.now))

    def carry_out_lease(self, action: LeaseAction) -> None:
        """Pass an order to the keeper of the watchdog, or to the witness."""
        self._may_be_killed()
        if isinstance(action, (RenewWitness, WithdrawWitness)):
            self._witness.order(action)
        else:
            self.watchdog.carry_out(action)

    def run_script(self, action: RunScript) -> None:
        """Begin a script, unless the daemon puts it off."""
        self._may_be_killed()
        assert self.daemon is not None
        if not self.daemon.puts_off(action):
            super().run_script(action)

    def run_fence_step(self, action: RunFenceStep) -> None:
        """Begin a step of the fence plan, unless the daemon puts it off."""
        self._may_be_killed()
        assert self.daemon is not None
        if not self.daemon.puts_off_step(action):
            super().run_fence_step(action)

    def answer(self, action: Answer) -> None:
        """Trace an operator's answer."""
        text = f" ({action.detail})" if action.detail else ""
        self.note(f"answer: {action.service} {action.command}: {action.code.name}{text}")

    def record(self, action: Record) -> None:
        """Trace a line of the log."""
        self.note(f"log: {action.name} {action.old or '-'} -> {action.new}: {action.reason}")


def _ignore(_: ClusterNode) -> None:
    """Ignore the moment."""
