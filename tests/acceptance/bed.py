"""What a scenario is played with: two nodes, and as far as it asks for them a third machine with
iSCSI targets, and boards with IPMI.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from tests.acceptance.machines import HOST_ADDRESS, Machine, make_network
from tests.acceptance.outside import Board, Outside
from tests.acceptance.player import Player
from tests.acceptance.power import PowerSwitch
from tests.acceptance.transcript import Transcript

TARGET_MEMORY_MB = 256


class Scenario(Protocol):
    """A module of ``tests.acceptance.scenarios``."""

    TITLE: str

    def play(self, bed: Bed) -> None:
        """Play it to the end; NotAccepted where something did not come out as it must."""
        ...


@dataclass
class Bed:
    """The machines of one scenario, off; the network and the power switch are there."""

    work: Path
    memory_mb: int
    transcript: Transcript
    rounds: int
    machines: list[Machine] = field(init=False)

    def __post_init__(self) -> None:
        self.machines = [
            Machine(self.work, number, self.memory_mb if number < 3 else TARGET_MEMORY_MB)
            for number in (1, 2, 3)
        ]
        self.target = self.machines[2]
        self.player = Player(self.nodes, self.transcript)
        make_network()
        nodes = {machine.name: machine for machine in self.nodes}
        self.switch = PowerSwitch(HOST_ADDRESS, nodes, self.transcript.note)

    @property
    def nodes(self) -> list[Machine]:
        """Return deb1 and deb2."""
        return self.machines[:2]

    @property
    def note(self) -> Callable[[str], None]:
        """Return what writes a line of the run."""
        return self.transcript.note

    @cached_property
    def outside(self) -> Outside:
        """Return the place for programs beside the machines."""
        return Outside(self.work)

    @cached_property
    def boards(self) -> dict[str, Board]:
        """Return a running board for each node, by its name."""
        return {
            machine.name: Board(self.outside, machine.name, machine.number)
            for machine in self.nodes
        }

    def boot_nodes(self) -> None:
        """Boot both nodes."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            times = pool.map(Machine.power_on, self.nodes)
        for machine, boot_s in zip(self.nodes, times):
            self.note(f"{machine.name} takes commands {boot_s:.1f} s after power on")

    def serve_disks(self, *luns: str) -> None:
        """Boot the third machine and let its kernel serve disks: NAME, or NAME=DELAY_MS."""
        self.target.power_on()
        self.player.on(self.target, f"/acceptance/target start {' '.join(luns)}")

    def serve_disks_without_abort(self, *luns: str) -> None:
        """Let the third machine, booted already, serve disks by tgt, which knows no abort."""
        self.player.on(self.target, f"/acceptance/target start-tgt {' '.join(luns)}")

    def log_in(self, *addresses: str) -> None:
        """Let both nodes log in to the targets of these portals."""
        self.player.on_both(f"/acceptance/disks.py login {' '.join(addresses)}")

    def end(self) -> None:
        """Take the power of every machine."""
        for machine in self.machines:
            machine.cut_power()
