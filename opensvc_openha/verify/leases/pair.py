"""Two machines, what lies between them, and what must hold whatever happens to them.

S6        no petting later than its renewal allows; no proof about a machine that can still run
          anything; the service never runs on both
health    a machine is not reset while its daemon and keeper were well and one medium took its
          renewals: not by a restart, an upgrade or its peer's end; a lone survivor, or a node whose
          peer has left, not at all
in time   a machine without power is proved out, by a survivor that reads what it must
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from opensvc_openha.core import timing
from opensvc_openha.core.beat import Beat, BootId, Goodbye
from opensvc_openha.core.model import ClusterSpec, LinkSpec
from opensvc_openha.verify.invariants import InvariantBroken
from opensvc_openha.verify.leases.keeper_process import KeeperProcess, Trap
from opensvc_openha.verify.leases.machine import Machine
from opensvc_openha.verify.leases.media import Records, Slot
from opensvc_openha.verify.leases.plan import LeasePlan, spec_for
from opensvc_openha.verify.leases.protocol_daemon import ProtocolDaemon
from opensvc_openha.verify.scheduler import Scheduler
from opensvc_openha.verify.simulated_node import NODES

_JUST_BEFORE_S = 0.0002
"""So long before its timer ends a keeper that pets late continues; more than the least that
production leaves for a petting is not to be had."""
_WELL_S = 0.1
_PROOF_SLACK_S = 1.0


class LeasePair:
    """One owner, one survivor."""

    def __init__(self, plan: LeasePlan, trace: Callable[[str], None] | None = None) -> None:
        self.plan = plan
        self.scheduler = Scheduler()
        self._trace = trace
        self.dice = Random(f"{plan.seed} lease events")
        self.slots: dict[tuple[str, int], Slot] = {}
        self.records = Records()
        self.owner, self.survivor = (
            Machine(self, node, rate) for node, rate in zip(NODES, plan.rates, strict=True)
        )
        self.machines = self.owner, self.survivor
        self.cut: set[str] = set()
        """Nodes whose datagrams are lost."""
        self.loss = plan.loss
        self.blind: set[str] = set()
        """Nodes that cannot read the peer's slots."""
        self.land_s: dict[str, float] = {}
        """Time that a node's writes take; infinite if they fail."""
        self.confirm_s: dict[str, float] = {}
        """Time from there until they are read back; infinite if that fails."""
        self.away: dict[str, float] = {}
        """Time that the witness takes for a node; infinite if it cannot be reached."""
        self.hung_until: dict[str, float] = {}
        """When the writes of a node that are under way have ended, whatever becomes of later ones.
        """
        self.proofs = 0
        self.proved_at = -math.inf
        """When the survivor has proved the owner out last."""
        self.least_spare_s = math.inf
        self.bites = 0
        self.must_live: Machine | None = None
        """A lone survivor, which has proved its peer out."""
        for machine in self.machines:
            watchdog = machine.watchdog
            watchdog.late_s = plan.granularity_s if plan.bites_late else 0.0
            watchdog.is_nowayout = plan.is_nowayout
            watchdog.dies_at_last_moment = plan.dies_late
            self.start_daemon(machine)
        self.survivor.runs_own = plan.is_mutual
        assert self.owner.daemon is not None
        self.owner.daemon.want()

    # --- configuration and daemons ----------------------------------------------------------------

    def spec_of(self, node: str, replaced_on: str = "") -> ClusterSpec:
        """Return the configuration of a node."""
        plan = self.plan
        return spec_for(
            node,
            plan.timeout_s,
            plan.answer_s,
            plan.holders,
            plan.disks,
            plan.has_witness,
            plan.link_timeout_s,
            plan.profile,
            replaced_on,
        )

    def start_daemon(self, machine: Machine) -> None:
        """Start the daemon of a machine, unless it runs."""
        if machine.daemon is not None or not machine.is_on:
            return
        machine.counter += 1
        machine.boots[machine.counter] = machine.power
        boot = BootId(machine.counter, machine.counter)
        machine.note(f"daemon {machine.counter} begins")
        daemon = ProtocolDaemon(machine, boot, machine.spec)
        machine.daemon = daemon
        present, former = daemon.places, machine.noted
        machine.noted = dict(former.items() & present.items()) if former else present
        daemon.begin()
        if not daemon.orders.is_used:
            machine.noted = present

    def replace_disk(self, machine: Machine, is_edit: bool) -> None:
        """Put another disk in place of a node's first one, on that node alone.

        ``is_edit``: another path is configured; else the path names another disk from now on.
        """
        if not self.plan.disks:
            return
        machine.note("its heartbeat disk is replaced, on this node alone")
        if is_edit:
            machine.spec = self.spec_of(machine.name, machine.name)
        else:
            machine.disks["/dev/hb0"] = "another disk"
        if machine.daemon is not None:
            machine.daemon.reconfigure(machine.spec)

    def other(self, machine: Machine) -> Machine:
        """Return the other machine."""
        return self.survivor if machine is self.owner else self.owner

    # --- what lies between ------------------------------------------------------------------------

    def send(self, machine: Machine, link: LinkSpec, beat: Beat) -> None:
        """Send a datagram."""
        dice, plan = self.dice, self.plan
        if machine.name in self.cut or (self.loss and dice.random() < self.loss):
            return
        delay_s = plan.net_s[0] if len(plan.net_s) == 1 else dice.choice(plan.net_s)
        self.other(machine).after(delay_s, self._arrive, self.other(machine), link, beat)

    def _arrive(self, machine: Machine, link: LinkSpec, beat: Beat) -> None:
        daemon = machine.daemon
        if daemon is not None:
            daemon.thread_after(0.0, daemon.arrive, link, beat)

    def disk_times(self, machine: Machine, link: LinkSpec) -> tuple[float, float]:
        """Return how long a write takes to land, and from there to be read back."""
        return self.land_s.get(machine.name, 0.004), self.confirm_s.get(machine.name, 0.002)

    def land(self, machine: Machine, place: tuple[str, int], beat: Beat) -> None:
        """Change a slot, and let the peer's reader find it."""
        slot = self.slots.setdefault(place, Slot())
        slot.beat, slot.count = beat, slot.count + 1
        daemon = self.other(machine).daemon
        if daemon is not None:
            for reader in daemon.readers:
                if reader.place == place:
                    reader.look()

    def slot_read_by(self, machine: Machine, place: tuple[str, int]) -> Slot | None:
        """Return the slot that a node reads; None if the read fails."""
        if machine.name in self.blind:
            return None
        return self.slots.setdefault(place, Slot())

    def witness_s(self, machine: Machine) -> float:
        """Return how long the witness takes for a node."""
        return self.away.get(machine.name, 0.003)

    def order_s(self) -> float:
        """Return how long an order takes to the keeper."""
        times_s = self.plan.order_s
        return times_s[0] if len(times_s) == 1 else self.dice.choice(times_s)

    def before_grant(self, machine: Machine, keeper: KeeperProcess) -> None:
        """Set a trap for a keeper that pets late."""
        if self.plan.pets_late and keeper.trap is None:
            keeper.trap = Trap(-1, -_JUST_BEFORE_S)

    # --- what happens -----------------------------------------------------------------------------

    def note(self, who: str, text: str) -> None:
        """Add a line to the trace."""
        if self._trace is not None:
            self._trace(f"{self.scheduler.now:9.3f} {who}: {text}")

    def fail(self, text: str) -> None:
        """Report a broken promise."""
        self.note("!", text)
        raise InvariantBroken(f"{text}, at {self.scheduler.now:.3f} s")

    def started(self, machine: Machine) -> None:
        """Start the service on a machine."""
        if machine.runs_service:
            return
        machine.note("starts the service")
        machine.runs_service = True
        daemon = machine.daemon
        assert daemon is not None
        daemon.wants_service = False
        if self.other(machine).runs_service:
            self.fail("S1: the service runs on both")

    def may_take_over(self, machine: Machine) -> None:
        """Start the service on a machine that knows its peer out, if that is the standby."""
        if machine is self.survivor and not machine.runs_service:
            daemon = machine.daemon
            if daemon is not None and not daemon.leaving.value:
                self.started(machine)

    def proved(self, machine: Machine, newest: Beat | None) -> None:
        """Judge a new proof that the peer is dead."""
        assert newest is not None
        peer = self.other(machine)
        self.proofs += 1
        if machine is self.survivor:
            self.proved_at = self.scheduler.now
        machine.note(f"proves {peer.name} dead")
        if peer.is_on and peer.boots[newest.boot.counter] == peer.power:
            # A daemon that leaves stops its watchdog for good if nothing runs, see lease_owner.
            has_left = peer.daemon is None or peer.daemon.boot != newest.boot
            if peer.is_in_use or not has_left:
                self.fail(f"S6: {peer.name} is proved dead, and alive")
            return
        self.least_spare_s = min(self.least_spare_s, self.scheduler.now - peer.lost_at)

    def bitten(self, machine: Machine) -> None:
        """Judge that a watchdog resets its machine."""
        self.bites += 1
        now, watchdog = self.scheduler.now, machine.watchdog
        if machine is self.must_live:
            self.fail(f"{machine.name} is alone, and is reset by what it promised")
        daemon = machine.daemon
        is_left = daemon is not None and now >= daemon.gone_since + _WELL_S
        # A later daemon may count on the promise before it is believed.
        is_left = is_left and daemon is not None and daemon.has_left(self.other(machine).counter)
        is_kept = now >= machine.unwell_until + _WELL_S and self.are_orders_quick
        if is_left and is_kept and not self.plan.dies_late:
            self.fail(f"{machine.name} is reset by what it promised to a peer that has left")
        # A keeper that is killed at the last moment is not well, though that takes time.
        began = now - (machine.clock() - watchdog.kept_at) / machine.rate
        if began >= machine.sick_until + _WELL_S:
            self.fail(f"{machine.name} is reset in good health")

    # --- health -----------------------------------------------------------------------------------

    def sick(self, machine: Machine, seconds: float) -> None:
        """Excuse a machine that may not get its renewals confirmed for so long."""
        until = self.scheduler.now + seconds
        machine.sick_until = max(machine.sick_until, until)
        machine.unwell_until = max(machine.unwell_until, until)
        # An acknowledgement takes both.
        peer = self.other(machine)
        if not self.has_medium(peer):
            peer.sick_until = max(peer.sick_until, until)

    def check_media(self) -> None:
        """Excuse machines that nothing confirms any more; for good, although it may come back."""
        for machine in self.machines:
            if self.has_medium(machine):
                continue
            peer = self.other(machine)
            daemon = peer.daemon
            is_there = daemon is not None and daemon.leaving is Goodbye.NONE
            until = peer.sick_until if self._has_network and is_there else math.inf
            machine.sick_until = max(machine.sick_until, until)

    def has_medium(self, machine: Machine) -> bool:
        """Return True if one medium takes what a machine writes, whatever the others do."""
        plan = self.plan
        has_witness = plan.has_witness and machine.name not in self.away
        return self.are_orders_quick and (self.has_disk(machine) or has_witness)

    @property
    def are_orders_quick(self) -> bool:
        """True if a keeper gets its orders at once."""
        return max(self.plan.order_s) < 0.1

    def has_disk(self, machine: Machine) -> bool:
        """Return True if a disk takes what a machine writes."""
        name = machine.name
        is_landing = max(self.land_s.get(name, 0.0), self.confirm_s.get(name, 0.0)) < 0.1
        is_free = self.scheduler.now >= self.hung_until.get(name, 0.0)
        return bool(self.plan.disks) and is_landing and is_free

    @property
    def is_known_out(self) -> bool:
        """True if the survivor knows that the owner, which has lost its power, is out."""
        owner, daemon = self.owner, self.survivor.daemon
        has_left = daemon is not None and daemon.has_left(owner.counter)
        return has_left or self.proved_at >= owner.lost_at

    def is_well(self, machine: Machine) -> bool:
        """Return True if a machine in good health gets its renewals confirmed by a medium."""
        is_healthy = self.scheduler.now >= machine.sick_until + timing.LEASE_CONFIRM_S
        return is_healthy and machine.daemon is not None and self.has_medium(machine)

    @property
    def _has_network(self) -> bool:
        plan = self.plan
        is_quick = max(*plan.net_s, *plan.order_s, 0.0) < 0.1
        is_whole = not self.cut and self.loss == 0
        return is_quick and is_whole and all(machine.is_on for machine in self.machines)

    @property
    def is_calm(self) -> bool:
        """True if nothing is wrong any more, so that nothing will happen."""
        is_whole = not (self.cut or self.blind or self.land_s or self.confirm_s or self.away)
        if not is_whole or self.loss > 0:
            return False
        daemons = [machine.daemon for machine in self.machines]
        return all(daemon is not None and daemon.is_at_rest for daemon in daemons)

    # --- the end ----------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.scheduler.run_until(self.scheduler.now + seconds)

    @property
    def proof_bound_s(self) -> float:
        """Longest time from a loss of power to the proof of a survivor in good health."""
        plan = self.plan
        last_sign_s = max(plan.net_s) + plan.slot_read_s + plan.read_s
        silence_s = plan.link_timeout_s + plan.start_ready_delay_s
        wait_s = max(plan.death_s, silence_s) + 2 * (plan.slot_read_s + plan.read_s)
        if plan.has_witness:
            wait_s += 2 * plan.interval_s
        return last_sign_s + (wait_s + plan.interval_s) / min(plan.rates) + _PROOF_SLACK_S
