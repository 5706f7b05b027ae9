"""Combine two simulated nodes and all between them, for histories and scenarios."""

from __future__ import annotations

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.verify.invariants import Disturbed, InvariantChecker
from opensvc_openha.verify.random.plan import NODES, Plan
from opensvc_openha.verify.random.scheduler import Scheduler
from opensvc_openha.verify.random.simulated_daemon import SimulatedDaemon
from opensvc_openha.verify.random.simulated_disk import SharedDisk
from opensvc_openha.verify.random.simulated_network import Network
from opensvc_openha.verify.random.simulated_node import SimulatedNode
from opensvc_openha.verify.random.trace import Trace


class Cluster:
    """The world of one history."""

    def __init__(self, plan: Plan, trace: Trace) -> None:
        self.plan = plan
        self.trace = trace
        self.clockwork = Scheduler()
        self.network = Network(self.clockwork, plan)
        self.disk = SharedDisk(self.clockwork, plan)
        # In the node's own time, which a drift shortens slightly.
        self.watch = InvariantChecker(NODES, plan.shortest_timeout_s, plan.longest_timeout_s)
        self.watch.has_turns = not plan.unknown_flag and not plan.is_legacy
        self.watch.may_fence_alone = plan.fencing.boot_alone_s is not None or bool(
            plan.forger_gap_s
        )
        self.machines: tuple[SimulatedNode, SimulatedNode] = (self._machine(0), self._machine(1))
        for machine, peer in (self.machines, self.machines[::-1]):
            machine.peer = peer
            self.network.receivers[peer.name] = machine
        self.links = plan.links()
        self.is_calm = False

    def _machine(self, index: int) -> SimulatedNode:
        return SimulatedNode(
            index, self.plan, self.clockwork, self.network, self.disk, self.watch, self.trace
        )

    def note(self, text: str) -> None:
        """Add a line to the trace that is about no node."""
        self.trace.note(self.clockwork.now, "", text)

    def disturb(self) -> None:
        """Mark a disturbance: transitions are counted from here."""
        self.watch.observe(Disturbed())

    def node(self, name: str) -> SimulatedNode:
        """Return a node by its name."""
        return self.machines[NODES.index(name)]

    # --- what goes wrong --------------------------------------------------------------------------

    def cut(self, links: tuple[LinkSpec, ...]) -> None:
        """Cut network links; a disk link hangs for its writer instead."""
        for link in links:
            if link.kind.is_disk:
                self.disk.hung.add(link.node)
            else:
                self.network.cut.add(link)
        self.note("cut: " + ", ".join(f"{link.node} {link.device}" for link in links))

    def heal(self) -> None:
        """Restore all links."""
        if self.network.cut or self.disk.hung or self.disk.stale:
            self.note("heal")
        self.network.cut.clear()
        for node, device in sorted(self.network.down):
            self.node(node).switch_interface(device, is_up=True)
        self.disk.thaw_reads()
        for machine in self.machines:
            self.disk.release(machine.name)

    def stall(self, machine: SimulatedNode, seconds: float) -> None:
        """Stop a daemon (SIGSTOP), and continue it (SIGCONT) after ``seconds``."""
        life = machine.life
        if life is None or life.is_stalled or life.is_hung:
            return
        machine.note(f"stalled for {seconds:.3f} s")
        life.stall()
        self.clockwork.after(seconds, self._resume, machine, life)

    def hang(self, machine: SimulatedNode, seconds: float) -> None:
        """Block the engine's thread, but no other thread."""
        life = machine.life
        if life is None or life.is_stalled or life.is_hung:
            return
        machine.note(f"engine held up for {seconds:.3f} s")
        life.hang()
        self.clockwork.after(seconds, self._resume, machine, life)

    def _resume(self, machine: SimulatedNode, life: SimulatedDaemon) -> None:
        if life.is_over:
            return
        if life.is_stalled:
            machine.note("goes on")
            life.resume()
        if life.is_hung:
            machine.note("engine goes on")
            life.unhang()

    # --- calm -------------------------------------------------------------------------------------

    def calm(self, dead: SimulatedNode | None) -> None:
        """End all faults: links, disks, scripts and fence work.

        ``dead`` is a node that stays off.
        """
        self.note("calm from here on" + (f", {dead.name} stays off" if dead is not None else ""))
        self.is_calm = True
        self.heal()
        self.network.loss = self.network.duplicates = 0.0
        self.network.delays_s = (0.001,)
        for machine in self.machines:
            machine.is_store_broken = False
            machine.kill_in = None
            machine.scripts.is_calm = True
            if machine.life is not None and (machine.life.is_stalled or machine.life.is_hung):
                self._resume(machine, machine.life)
        # First what a stalled daemon has queued.
        self.clockwork.run_until(self.clockwork.now + 0.1)
        for machine in self.machines:
            if machine is dead:
                machine.power_off("stays off")
            else:
                machine.power_on()
                machine.start_daemon()
                machine.configure(self.plan.service_specs())
        self.disturb()

    @property
    def plan_is_whole(self) -> bool:
        """Return True if the two nodes understand each other in everything needed."""
        return self.plan.unknown_flag == 0 or self.plan.is_older
