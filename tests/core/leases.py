"""Two nodes whose watchdogs keep a promise: clocks with rates, a heartbeat disk, keepers.

The watchdog of a node bites as late as its promise has to count with, and the node loses its power
by that. The slot of a disk is written and read back, and read by the other node; a write may take
its time, land late, or never be confirmed. Nothing here knows what the owner or the survivor think.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from opensvc_openha.core.actions import (
    Announce,
    ArmWatchdog,
    DisarmWatchdog,
    GrantPermit,
    HoldWatchdog,
    LeaseAction,
    RenewWitness,
    WithdrawWitness,
)
from opensvc_openha.core.beat import Beat
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    ConfigChanged,
    Event,
    MediaReplaced,
    MediumQuiet,
    PeerConfirmedOut,
    RecoveredState,
    RenewalConfirmed,
    SlotOpened,
    Tick,
    WatchdogLost,
    WatchdogReady,
)
from opensvc_openha.core.model import (
    FencePath,
    FencingPolicy,
    LeasePolicy,
    LinkSpec,
    PathKind,
    Profile,
    ServiceSpec,
)
from opensvc_openha.core.promise import WITNESS_MARK, Promise, media_of
from opensvc_openha.core.promised_disks import PromisedDisks
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import LeaseStatus
from opensvc_openha.core.timing import slot_read_s
from opensvc_openha.verify.invariants import Confirmed
from opensvc_openha.verify.simulated_node import NODES, SimulatedNode
from tests.core.pair import TIMEOUT_S, Host, Pair

LEASE = FencePath("lease", PathKind.LEASE, 0.0)
FASTEST, SLOWEST = 1.0833, 0.9167
POLICY = LeasePolicy("/dev/watchdog", timeout_s=4.0, answer_s=1.0)
FAST_POLICY = LeasePolicy("/dev/watchdog", timeout_s=1.0, answer_s=0.3)
_TINY_S = 1e-6
"""More than the rounding of an instant that goes from one clock to another."""


class Keeper:
    """The keeper of one node's watchdog, and the watchdog; both outlive the daemon.

    It pets as late as the permit allows, ``pet_late`` (0 to 1) of the time that is left, and dies a
    moment before the watchdog bites, so that the kernel pets once more.
    """

    def __init__(self, host: LeaseHost) -> None:
        self.host = host
        self.timeout_s = 0.0
        self.answer_s = 0.0
        self.holders = 2
        self.granularity_s = 0.05
        self.late_s = 0.0
        """How much later it bites than its driver says."""
        self.problem = ""
        """Why the watchdog cannot be opened."""
        self.hung_s = 0.0
        """It answers a daemon only so long after that one has begun; it pets nothing by itself."""
        self._is_hung = False
        self.read_back: Callable[[float], float] = lambda timeout_s: timeout_s
        self.pet_late = 0.0
        self.is_ordered = False
        self.is_open = False
        self.petted_at = -math.inf
        self.held_until = -math.inf
        self.permits: list[tuple[float, float]] = []
        """When each permit was given, and for which renewal."""

    @property
    def bites_at(self) -> float:
        """When the watchdog has bitten at the latest, by the clock of its node."""
        if not self.is_open:
            return math.inf
        fed_at = max(self.petted_at, self.held_until)
        return fed_at + self.holders * (self.timeout_s + self.granularity_s) + self.late_s

    def begin(self) -> None:
        """Another daemon finds the watchdog armed, or a keeper that does not answer."""
        host = self.host
        self._is_hung = self.hung_s > 0
        if self._is_hung:
            host.handle(host.life, WatchdogLost("no answer", host.former_media or frozenset()))
            host.pair.schedule(self.hung_s, self._answer, host.life)
        elif self.is_open:
            host.handle(host.life, replace(self.ready(), media=host.former_media))

    def _answer(self, life: int) -> None:
        self._is_hung = False
        settings, media = self.host.leases.policy, self.host.former_media
        self.host.handle(life, replace(self.ready(), settings=settings, media=media))

    def carry_out(self, action: LeaseAction) -> None:
        """Do what the daemon orders."""
        if self._is_hung:
            if isinstance(action, ArmWatchdog):
                self._report(WatchdogLost("no answer"))
        elif isinstance(action, ArmWatchdog):
            self.is_ordered = True
            if not self.is_open:
                self.timeout_s = self.read_back(action.timeout_s)
            if self.problem:
                self._report(WatchdogLost(self.problem))
        elif isinstance(action, GrantPermit):
            self._grant(action.renewed_at)
        elif isinstance(action, HoldWatchdog):
            self.held_until = action.until
            self._watch()
        elif isinstance(action, DisarmWatchdog):
            self.is_open = self.is_ordered = False
            self.held_until = -math.inf

    def _grant(self, renewed_at: float) -> None:
        now = self.host.now
        self.permits.append((now, renewed_at))
        if not (self.is_open or self.is_ordered) or self.problem:
            return
        last = renewed_at + self.answer_s
        if now > last:
            return
        is_answered, self.is_ordered = self.is_ordered, False
        self.petted_at = now + self.pet_late * (last - now)
        # Any permit ends a hold: a daemon is there.
        self.held_until = -math.inf
        if is_answered:
            self.is_open = True
            self._report(self.ready())
        self._watch()

    def ready(self) -> WatchdogReady:
        """What the driver reports of the open watchdog."""
        return WatchdogReady(
            self.timeout_s, self.granularity_s, self.holders, self.host.is_virtual, "softdog"
        )

    def _report(self, event: WatchdogReady | WatchdogLost) -> None:
        host = self.host
        host.pair.schedule(0.002, host.handle, host.life, event)

    def lose(self, reason: str = "its process is gone") -> None:
        """The daemon loses the keeper; the watchdog runs on."""
        self._report(WatchdogLost(reason))

    def _watch(self) -> None:
        if self.is_open:
            self.host.leases.at(self.host, self.bites_at, self._bite)

    def _bite(self) -> None:
        if self.is_open and self.host.now >= self.bites_at:
            self.host.leases.bitten.append((self.host.leases.now, self.host.name))
            self.host.crash()

    def reset(self) -> None:
        """The machine has lost its power."""
        self.is_open = self.is_ordered = False
        self.held_until = self.petted_at = -math.inf


@dataclass
class Slot:
    """What a disk has of one node's beats; ``count`` changes with each write that lands."""

    beat: Beat | None = None
    count: int = 0


class LeaseHost(Host):
    """One node of the pair, with its own clock, its watchdog, and its ends of the disks."""

    def __init__(self, pair: LeasePair, index: int) -> None:
        super().__init__(pair, index)
        self.leases = pair
        self.rate = 1.0
        self.is_virtual = False
        self.keeper = Keeper(self)
        self.write_s: Callable[[], float] = lambda: 0.005
        """Time until a write has landed; infinite if it never does."""
        self.confirm_s: Callable[[], float] = lambda: 0.002
        """Time from there until it is read back; infinite for an error."""
        self.can_read = True
        self._posted: dict[LinkSpec, Beat | None] = {}
        """Disks to which a write is on its way, and the beat that waits for its end."""
        self._seen: dict[LinkSpec, tuple[int, float]] = {}
        self.others: dict[LinkSpec, Slot] = {}
        """Links whose path names another disk by now, on this node alone."""
        self.disk_names: dict[str, str] = {}
        """Disks that paths lead to which have another name."""
        self._disks = PromisedDisks(())
        self._opened: dict[LinkSpec, str] = {}
        self.former_media: frozenset[bytes] | None = None
        """What the next daemon knows of the media that the former one has promised by."""
        self.witness_s: float | None = None
        """Time in which the witness confirms; None without a witness."""
        self.witnessed: list[LeaseAction] = []
        self.promises: list[tuple[float, Promise | None]] = []
        """Each change of what the beats promise."""

    def finish_step(self) -> None:
        """Check what follows of a step, and wait for the next deadline by this node's clock."""
        SimulatedNode.finish_step(self)
        if self.engine is not None:
            self.leases.at(self, max(self.now, self.engine.next_deadline()), self.tick, self.life)

    def _start(self, recovered: dict[str, RecoveredState], counter: int | None = None) -> None:
        self._seen.clear()
        self._posted.clear()
        self._opened.clear()
        self._disks = PromisedDisks(self.leases.links_of(self))
        super()._start(recovered, counter)
        self.keeper.begin()
        self.handle(self.life, Tick())

    def crash(self) -> None:
        """Cut the power of the node: a write that is on its way may land all the same."""
        self.keeper.reset()
        super().crash()

    def carry_out_lease(self, action: LeaseAction) -> None:
        """Pass what is ordered for the promise to the keeper, or to the witness."""
        if not isinstance(action, (RenewWitness, WithdrawWitness)):
            self.keeper.answer_s = self.leases.policy.answer_s
            self.keeper.carry_out(action)
            return
        self.witnessed.append(action)
        if self.witness_s is not None:
            began_at = self.now
            self.pair.schedule(
                self.witness_s, self._confirm, self.life, WITNESS_MARK, action.seq, began_at
            )

    def _confirm(self, life: int, medium: bytes, seq: int, began_at: float) -> None:
        self.handle(life, RenewalConfirmed(medium, seq, began_at, self.now))

    def announce(self, action: Announce) -> None:
        """Send a beat; keep what it promises."""
        facts = action.beat.facts
        if facts is not None and (not self.promises or self.promises[-1][1] != facts.promise):
            self.promises.append((self.now, facts.promise))
        super().announce(action)

    # --- disks ------------------------------------------------------------------------------------

    def write(self, link: LinkSpec, beat: Beat) -> None:
        """Write a beat into this node's slot; the newest waits for a write on its way."""
        if link in self._posted:
            self._posted[link] = beat
            return
        self._posted[link] = None
        self._open(link)
        began_at, write_s = self.now, self.write_s()
        if write_s < math.inf:
            self.pair.schedule(write_s, self._land, link, beat)
        done_s = write_s + self.confirm_s()
        self.pair.schedule(min(done_s, 3.0), self._written, self.life, link, beat, began_at, done_s)

    def slot_of(self, link: LinkSpec) -> Slot:
        """The slot that the path of a link leads to on this node."""
        return self.others.get(link) or self.leases.slots[link]

    def _open(self, link: LinkSpec) -> None:
        """What the daemon does before it writes to a disk."""
        disk = self.disk_names.get(link.device, link.device)
        disk = f"another {disk}" if link in self.others else disk
        if self._opened.get(link) == disk:
            return
        self._opened[link] = disk
        self._disks.follow(self.leases.links_of(self))
        self._disks.opened(link, disk)
        event = MediaReplaced(self._disks.replaced)
        self.pair.schedule(0.001, self.handle, self.life, event)

    def swap(self, link: LinkSpec) -> None:
        """Let the path of a link lead to another disk, which this node opens."""
        self.others[link] = Slot()
        if link.node != self.name:
            self._seen.pop(link, None)
            self.handle(self.life, SlotOpened(link, f"another {link.device}"))

    def observe_event(self, event: Event) -> None:
        """Observe it; a read of another disk is none of the medium."""
        heard = self.leases.links_heard_by(self)
        others = {medium for link, medium in media_of(heard).items() if link in self.others}
        if not (isinstance(event, MediumQuiet) and event.medium in others):
            super().observe_event(event)

    def _land(self, link: LinkSpec, beat: Beat) -> None:
        slot = self.slot_of(link)
        slot.beat, slot.count = beat, slot.count + 1

    def _written(
        self, life: int, link: LinkSpec, beat: Beat, began_at: float, done_s: float
    ) -> None:
        if life != self.life:
            return
        if done_s <= 3.0:
            medium = self._disks.medium_of(link, self._opened[link])
            if medium is not None:
                self._confirm(life, medium, beat.seq, began_at)
        waiting = self._posted.pop(link)
        if waiting is not None:
            self.write(link, waiting)

    def read(self, link: LinkSpec) -> None:
        """Read the other node's slot: a beat that is new, or a quiet medium."""
        if self.executor is None or not self.can_read:
            return
        if link not in self.leases.links:
            return
        slot, now = self.slot_of(link), self.now
        count, since = self._seen.get(link, (-1, now))
        if slot.count != count:
            since = now
        self._seen[link] = slot.count, since
        if slot.count != count and count >= 0 and slot.beat is not None:
            event = BeatReceived(link, slot.beat, now, key_id=self.pair.key_id)
            self.handle(self.life, event)
        else:
            medium = media_of(self.leases.links_heard_by(self))[link]
            self.handle(self.life, MediumQuiet(medium, now, since))

    @property
    def lease(self) -> LeaseStatus:
        """What the node shows of its promise."""
        assert self.engine is not None
        found = self.engine.snapshot(self.now).lease
        assert found is not None
        return found

    def reasons(self, what: str) -> list[str]:
        """The texts of the records of one kind."""
        return [record.reason for record in self.records if record.new == what]


class LeasePair(Pair):
    """Both nodes with a lease; one network link and ``disks`` heartbeat disks each way."""

    key_id = "k"

    def __init__(
        self,
        *names: str,
        policy: LeasePolicy = POLICY,
        profile: Profile = Profile.TUTORIAL,
        timeout_s: float = TIMEOUT_S,
        disks: int = 1,
        check: str = "/etc/fence",
        is_believed: bool = False,
    ) -> None:
        super().__init__(*names, timeout_s=timeout_s, link_count=1, profile=profile)
        self.policy = policy
        # With a plan, the promise of the other node is a proof.
        self.fencing = FencingPolicy(lease=policy, levels=((LEASE,),) if is_believed else ())
        check = "/bin/true" if is_believed else check
        self.services = tuple(
            ServiceSpec(name, f"/etc/{name}", "deb1", "deb2", check)
            for name in names or ("registry",)
        )
        self.links += tuple(
            LinkSpec(node, "dio", f"/dev/hb{number}", "", 0, 10 * index + 20 * number, timeout_s)
            for index, node in enumerate(NODES)
            for number in range(disks)
        )
        self.slots = {link: Slot() for link in self.links if link.is_disk}
        self.bitten: list[tuple[float, str]] = []
        self.edited: dict[str, tuple[LinkSpec, ...]] = {}
        """The links on which a node sends by a configuration of its own."""
        self.deb1: LeaseHost = LeaseHost(self, 0)
        self.deb2: LeaseHost = LeaseHost(self, 1)
        self.deb1.peer, self.deb2.peer = self.deb2, self.deb1
        assert self.invariants is not None
        if is_believed:
            self.invariants.expect_plan(False, (), ())
        self.hosts = (self.deb1, self.deb2)
        self.sent: list[tuple[float, str, Beat]] = []
        self.script_ok = lambda host, action: action.kind.value != "check"
        for link in self.slots:
            self.schedule(0.1, self._read, link)

    # --- clocks -----------------------------------------------------------------------------------

    def clock(self, node: SimulatedNode) -> float:
        """Return the clock of a node."""
        assert isinstance(node, LeaseHost)
        return 100.0 + (self.scheduler.now - 100.0) * node.rate

    def real(self, host: LeaseHost, instant: float) -> float:
        """Return when the clock of a node shows an instant."""
        return 100.0 + (instant - 100.0) / host.rate

    def at(self, host: LeaseHost, instant: float, call: Callable[..., None], *args: object) -> None:
        """Schedule a call at an instant of a node's clock."""
        when = max(self.now, self.real(host, instant)) + _TINY_S
        self.schedule_at(when, call, *args)

    # --- wires ------------------------------------------------------------------------------------

    def links_of(self, host: Host) -> tuple[LinkSpec, ...]:
        """The links on which a node sends."""
        if host.name in self.edited:
            return self.edited[host.name]
        return tuple(link for link in self.links if link.node == host.name)

    def links_heard_by(self, host: LeaseHost) -> tuple[LinkSpec, ...]:
        """The links on which a node listens."""
        return tuple(link for link in self.links if link.node != host.name)

    def send(self, node: SimulatedNode, action: Announce) -> None:
        """Send a beat on the network, and write it to the disks."""
        assert isinstance(node, LeaseHost)
        self.sent.append((self.now, node.name, action.beat))
        for link in self.links_of(node):
            if link.is_disk:
                node.write(link, action.beat)
            elif (node.name, link) not in self.cut and not self.is_lost():
                self.schedule(self.delay_s(), self._arrive, self.other(node), link, action.beat)

    def _arrive(self, host: LeaseHost, link: LinkSpec, beat: Beat) -> None:
        host.handle(host.life, BeatReceived(link, beat, host.now, key_id=self.key_id))

    def _read(self, link: LinkSpec) -> None:
        self.deb2.read(link) if link.node == "deb1" else self.deb1.read(link)
        self.schedule(slot_read_s(link.timeout_s), self._read, link)

    def confirm_out(self, host: LeaseHost) -> None:
        """An operator confirms that the other node runs nothing."""
        self.observe(Confirmed(host.now, host.name))
        host.handle(host.life, PeerConfirmedOut(1, "root"))

    def cut_net(self) -> None:
        """Cut the network both ways."""
        self.cut |= {(link.node, link) for link in self.links if not link.is_disk}

    def break_disk(self, host: LeaseHost) -> None:
        """No write of a node lands any more."""
        host.write_s = lambda: math.inf

    def mend_disk(self, host: LeaseHost) -> None:
        """Writes land at once again."""
        host.write_s = lambda: 0.005

    def configure(
        self,
        host: LeaseHost,
        policy: LeasePolicy | None,
        links: tuple[LinkSpec, ...] | None = None,
    ) -> None:
        """Edit the configuration of one node."""
        self.links = links or self.links
        assert host.engine is not None
        self.policy = policy or self.policy
        spec = replace(host.engine.spec, fencing=FencingPolicy(lease=policy))
        spec = spec if links is None else replace(spec, links=links)
        host.handle(host.life, ConfigChanged(spec))

    # --- services ---------------------------------------------------------------------------------

    def start_first(self, is_frozen: bool = False) -> tuple[LeaseHost, LeaseHost]:
        """The services run on deb1, and deb2 is their standby, or frozen."""
        self.boot()
        self.run(2)
        for svc in self.services:
            self.deb1.command(Command.UNFREEZE, svc.name)
        self.run(4)
        for svc in self.services if not is_frozen else ():
            self.deb2.command(Command.UNFREEZE, svc.name)
        self.run(2)
        assert self.deb1.engine is not None
        assert self.deb1.engine.state_of(self.services[0].name) is ServiceState.STARTED
        return self.deb1, self.deb2
