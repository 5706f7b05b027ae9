"""Define what a simulated daemon and simulated scripts need from their node.

The node itself is built of both. Read-only members are properties, so that a node may have more
than is required here.
"""

from __future__ import annotations

from random import Random
from typing import Protocol

from opensvc_openha.core.actions import RunScript
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import Event
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.verify.invariants import Observation
from opensvc_openha.verify.random.plan import Plan
from opensvc_openha.verify.random.scheduler import Scheduler
from opensvc_openha.verify.random.simulated_disk import SharedDisk, SlotReader
from opensvc_openha.verify.random.simulated_network import Network


class DaemonPorts(Protocol):
    """The present daemon of a node, as seen by its scripts."""

    @property
    def is_over(self) -> bool:
        """True once the daemon is gone."""

    def handle(self, event: Event) -> None:
        """Pass an event to its engine."""


class ScriptPorts(Protocol):
    """The scripts of a node, as seen by its daemon."""

    def run(self, action: RunScript) -> None:
        """Start a script."""


class NodePorts(Protocol):
    """One simulated node."""

    name: str
    index: int
    plan: Plan
    clockwork: Scheduler
    network: Network
    disk: SharedDisk
    dice: Random
    spec: ClusterSpec
    is_powered: bool
    files: dict[str, bytes]
    incarnations: dict[str, BootId]
    fencing: FencingMemory
    is_store_broken: bool
    spoilt: set[str]
    kill_in: int | None
    reader: SlotReader | None

    @property
    def peer(self) -> NodePorts:
        """The other node."""

    @property
    def life(self) -> DaemonPorts | None:
        """The present daemon; None without one."""

    @property
    def scripts(self) -> ScriptPorts:
        """The scripts of the node."""

    @property
    def monotonic(self) -> float:
        """Return its monotonic clock."""

    @property
    def wall(self) -> float:
        """Return its wall clock."""

    def instant_of(self, monotonic: float) -> float:
        """Return when its monotonic clock shows ``monotonic``."""

    def note(self, text: str) -> None:
        """Add a line to the trace."""

    def observe(self, seen: Observation) -> None:
        """Pass an observation to the invariant checker."""

    def announce_decisive(self) -> None:
        """Announce a decisive moment: a start is announced, or a script of it begins."""

    def power_off(self, why: str) -> None:
        """End everything on the node at once."""

    def daemon_died(self, how: str) -> None:
        """Record the daemon's end; services and scripts continue."""

    def expect_agreement(self, engine: Engine) -> None:
        """Check after each step that the STATE file of each service holds the daemon's state."""
