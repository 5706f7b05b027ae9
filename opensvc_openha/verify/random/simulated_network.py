"""Simulate the network links between the two nodes, with loss, delay and cuts.

A carried frame keeps the beat that it was made of, so that the invariants know what really arrived
whatever is decoded from it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Protocol

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.verify.random.plan import Plan
from opensvc_openha.verify.scheduler import Scheduler
from opensvc_openha.verify.simulated_node import NODES

TAPE_FRAMES = 200


@dataclass(frozen=True)
class Carried:
    """One frame in transit."""

    data: bytes
    beat: Beat


class Receiver(Protocol):
    """A node, as seen by the network."""

    def receive(self, link: LinkSpec, carried: Carried) -> None:
        """Receive a frame on a link of the peer."""


class Network:
    """All network links."""

    def __init__(self, scheduler: Scheduler, plan: Plan) -> None:
        self._scheduler = scheduler
        self._dice = Random(f"{plan.seed} network")
        self._plan = plan
        self.loss = plan.loss
        self.delays_s = plan.delays_s
        self.duplicates = plan.duplicates
        self.cut: set[LinkSpec] = set()
        self.down: set[tuple[str, str]] = set()
        """Nodes and their interfaces that are down: they neither send nor receive."""
        self.receivers: dict[str, Receiver] = {}
        """Listening node by the name of the sending one."""
        self._tapes: dict[LinkSpec, deque[Carried]] = {}
        self.frames = 0

    def send(self, link: LinkSpec, carried: Carried) -> None:
        """Carry one frame, or lose it."""
        self.frames += 1
        dice = self._dice
        is_dead = link in self.cut or any((node, link.device) in self.down for node in NODES)
        if is_dead or (self.loss and dice.random() < self.loss):
            return
        copies = 2 if self.duplicates and dice.random() < self.duplicates else 1
        for _ in range(copies):
            delay_s = (
                self.delays_s[0]
                if len(self.delays_s) == 1
                else dice.choice(self.delays_s) * dice.uniform(0.5, 1.0)
            )
            self._scheduler.after(delay_s, self._arrive, link, carried)

    def _arrive(self, link: LinkSpec, carried: Carried) -> None:
        self._tapes.setdefault(link, deque(maxlen=TAPE_FRAMES)).append(carried)
        self.receivers[link.node].receive(link, carried)

    def replay(self, link: LinkSpec, other: LinkSpec, count: int, boot: BootId | None) -> int:
        """Replay on ``link`` frames once carried on ``other``; optionally of one incarnation."""
        tape = [
            carried
            for carried in self._tapes.get(other, ())
            if boot is None or carried.beat.boot == boot
        ]
        begin = self._dice.randrange(len(tape)) if tape else 0
        frames = tape[begin : begin + count]
        for number, carried in enumerate(frames):
            self._scheduler.after(0.05 * number, self.receivers[link.node].receive, link, carried)
        return len(frames)
