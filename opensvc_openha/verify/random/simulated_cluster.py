"""Combine two simulated nodes and all between them, for histories and scenarios."""

from __future__ import annotations

from opensvc_openha.core.actions import Announce, RunFenceStep, RunScript
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.verify.invariants import Disturbed
from opensvc_openha.verify.random.cluster_node import ClusterNode
from opensvc_openha.verify.random.plan import Plan
from opensvc_openha.verify.random.simulated_daemon import SimulatedDaemon
from opensvc_openha.verify.random.trace import Trace
from opensvc_openha.verify.random.world import World
from opensvc_openha.verify.simulated_node import NODES, SimulatedNode


class Cluster(World):
    """The world of one history with its nodes, and what drives them."""

    def __init__(self, plan: Plan, trace: Trace) -> None:
        super().__init__(plan, trace)
        self.nodes = ClusterNode(0, self, self), ClusterNode(1, self, self)
        for node, peer in (self.nodes, self.nodes[::-1]):
            node.peer = peer
            self.network.receivers[peer.name] = node
        self.links = plan.links()
        self.is_calm = False

    def send(self, node: SimulatedNode, action: Announce) -> None:
        """Carry a beat on the links of a node."""
        self.nodes[node.index].transmit(action)

    def run_script(self, node: SimulatedNode, action: RunScript) -> None:
        """Draw what becomes of a script."""
        self.nodes[node.index].outcomes.run(action)

    def run_fence_step(self, node: SimulatedNode, action: RunFenceStep) -> None:
        """Draw what becomes of a step of the fence plan."""
        self.nodes[node.index].steps.run(action.step)

    def disturb(self) -> None:
        """Mark a disturbance: transitions are counted from here."""
        self.checker.observe(Disturbed())

    def node(self, name: str) -> ClusterNode:
        """Return a node by its name."""
        return self.nodes[NODES.index(name)]

    # --- what goes wrong --------------------------------------------------------------------------

    def cut(self, links: tuple[LinkSpec, ...]) -> None:
        """Cut network links; a disk link hangs for its writer instead."""
        for link in links:
            if link.is_disk:
                self.disk.hung.add(link.node)
            else:
                self.network.cut.add(link)
        self.note("cut: " + ", ".join(f"{link.node} {link.device}" for link in links))

    def heal(self) -> None:
        """Restore all links."""
        if self.network.cut or self.disk.hung or self.disk.stale:
            self.note("heal")
        self.network.cut.clear()
        for name, device in sorted(self.network.down):
            self.node(name).switch_interface(device, is_up=True)
        self.disk.thaw_reads()
        self.disk.unreadable.clear()
        self.disk.late.clear()
        self.witness.away.clear()
        for node in self.nodes:
            self.disk.release(node.name)

    def stall(self, node: ClusterNode, seconds: float) -> None:
        """Stop a daemon (SIGSTOP), and continue it (SIGCONT) after ``seconds``."""
        daemon = node.daemon
        if daemon is not None and not daemon.is_stalled and not daemon.is_hung:
            node.note(f"stalled for {seconds:.3f} s")
            node.stall()
            self.scheduler.after(seconds, self._resume, node, daemon)

    def pause(self, node: ClusterNode, seconds: float) -> None:
        """Pause a whole machine; a virtual one with its clocks."""
        daemon = node.daemon
        if daemon is None or daemon.is_stalled or daemon.is_hung or node.name in self.paused:
            return
        node.note(f"paused for {seconds:.3f} s")
        self.paused.add(node.name)
        node.watchdog.stop_keeper()
        node.stall()
        if self.plan.is_virtual:
            self.stop_clock(node)
        self.scheduler.after(seconds, self._end_pause, node, daemon)

    def _end_pause(self, node: ClusterNode, daemon: SimulatedDaemon) -> None:
        if node.name in self.paused:
            self.end_pause(node)
            node.watchdog.continue_keeper()
            self._resume(node, daemon)

    def hang(self, node: ClusterNode, seconds: float) -> None:
        """Block the engine's thread, but no other thread."""
        daemon = node.daemon
        if daemon is not None and not daemon.is_stalled and not daemon.is_hung:
            node.note(f"engine held up for {seconds:.3f} s")
            daemon.hang()
            self.scheduler.after(seconds, self._resume, node, daemon)

    def _resume(self, node: ClusterNode, daemon: SimulatedDaemon) -> None:
        if daemon.is_over:
            return
        if daemon.is_stalled:
            node.note("continues")
            node.resume()
        if daemon.is_hung:
            node.note("engine continues")
            daemon.unhang()

    # --- calm -------------------------------------------------------------------------------------

    def calm(self, dead: ClusterNode | None) -> None:
        """End all faults: links, disks, scripts and fence work.

        ``dead`` is a node that stays off.
        """
        self.note("calm from here on" + (f", {dead.name} stays off" if dead is not None else ""))
        self.is_calm = True
        self.dead = "" if dead is None else dead.name
        self.heal()
        self.network.loss = self.network.duplicates = 0.0
        self.network.delays_s = (0.001,)
        for node in self.nodes:
            node.store.is_full = False
            node.kill_in = None
            if node.store.evacuation.is_on:
                node.evacuate(is_on=False)
            self.end_pause(node)
            node.watchdog.continue_keeper()
            node.outcomes.is_calm = node.steps.is_calm = True
            for name in tuple(node.frozen):
                node.freeze(name, is_frozen=False)
            node.cut_uplink(is_cut=False)
            if node.daemon is not None and (node.daemon.is_stalled or node.daemon.is_hung):
                self._resume(node, node.daemon)
        # First what a stalled daemon has queued.
        self.scheduler.run_until(self.scheduler.now + 0.1)
        for node in self.nodes:
            if node is dead:
                node.power_off("stays off")
            else:
                node.power_on()
                node.boot_daemon()
                node.configure(self.plan.service_specs())
        self.disturb()

    @property
    def plan_is_whole(self) -> bool:
        """Return True if the two nodes understand each other in everything needed."""
        return self.plan.unknown_flag == 0 or self.plan.is_older
