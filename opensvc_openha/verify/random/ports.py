"""What a simulated daemon and simulated scripts need of their node: the node itself is built of
both.

Read-only members are properties, so that a node may have more than is asked for here.
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
    """The present daemon of a node, as its scripts see it."""

    @property
    def is_over(self) -> bool:
        """The daemon is gone."""

    def handle(self, event: Event) -> None:
        """An event for its engine."""


class ScriptPorts(Protocol):
    """The scripts of a node, as its daemon sees them."""

    def run(self, action: RunScript) -> None:
        """Starts one."""


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
    lives: dict[str, BootId]
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
        """The present daemon, if there is one."""

    @property
    def scripts(self) -> ScriptPorts:
        """Its scripts."""

    @property
    def monotonic(self) -> float:
        """Its monotonic clock."""

    @property
    def wall(self) -> float:
        """Its wall clock."""

    def instant_of(self, monotonic: float) -> float:
        """When its monotonic clock shows that."""

    def note(self, text: str) -> None:
        """One line of the story."""

    def observe(self, seen: Observation) -> None:
        """Shows the invariants what happened."""

    def announce_decisive(self) -> None:
        """A start is announced, or a script of it begins: whoever waits for that is called."""

    def power_off(self, why: str) -> None:
        """Everything on it ends at once."""

    def daemon_died(self, how: str) -> None:
        """The daemon is gone; services and scripts go on."""

    def expect_agreement(self, engine: Engine) -> None:
        """After each step, the STATE file of a service holds what its daemon says."""
