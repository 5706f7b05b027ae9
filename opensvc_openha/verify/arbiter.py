"""The arbiter between two simulated nodes: registrations that a claim takes away, in one step.

And its watch on each node, as the daemon has it: it registers the node in peace, and reports to the
engine that the registration is there, or gone.
"""

from __future__ import annotations

from opensvc_openha.core.events import Ejected, Readmitted, StepOutcome
from opensvc_openha.verify.simulated_node import SimulatedNode


class SimulatedArbiter:
    """Registrations of both nodes on a disk that both can reach."""

    def __init__(self) -> None:
        self.registered: set[str] = set()
        self.away: set[str] = set()
        """Nodes that cannot reach it."""
        self._told: dict[str, tuple[object, bool]] = {}
        """What each daemon was told last, with its incarnation."""

    def claim(self, node: SimulatedNode) -> tuple[StepOutcome, str]:
        """Remove the registration of the other node, if this one is registered."""
        name, peer = node.name, node.peer.name
        if name in self.away:
            return StepOutcome.UNABLE, "the arbiter does not answer"
        if name not in self.registered:
            return StepOutcome.LOST, f"{peer} has ejected {name}"
        self.registered.discard(peer)
        return StepOutcome.DONE, "won"

    def watch(self, node: SimulatedNode) -> None:
        """Look at the registration of a node, and report what is new to its daemon."""
        engine, name = node.engine, node.name
        if engine is None or name in self.away:
            return
        told = self._told.get(name)
        # A registration that is gone is reported before anything else: to register again first
        # would hide that the peer has won.
        is_news = told is not None and told[1] and name not in self.registered
        if name not in self.registered and engine.may_register and not is_news:
            self.registered.add(name)
        is_in = name in self.registered
        if told == (engine.boot, is_in) or (not is_in and told is None):
            return
        self._told[name] = engine.boot, is_in
        node.give(Readmitted() if is_in else Ejected(node.peer.name))

    def summary(self) -> tuple[tuple[bool, bool, bool | None], ...]:
        """Return what decides about both nodes, without names and incarnations."""
        return tuple(
            (
                name in self.registered,
                name in self.away,
                self._told[name][1] if name in self._told else None,
            )
            for name in ("deb1", "deb2")
        )
