"""The network and the shared disk between the two nodes, and all that goes wrong there: loss,
delay, cuts, torn blocks.

A carried frame goes with the beat that it was made of, so that the invariants know what really
arrived whatever is decoded from it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Protocol

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.verify.random.plan import NODES, Plan
from opensvc_openha.verify.random.scheduler import Scheduler

TAPE_FRAMES = 200


@dataclass(frozen=True)
class Carried:
    """One frame on its way."""

    data: bytes
    beat: Beat


class Receiver(Protocol):
    """A node, as the wires see it."""

    def receive(self, link: LinkSpec, carried: Carried) -> None:
        """A frame came in on a link of the peer."""


class Network:
    """All network links."""

    def __init__(self, clockwork: Scheduler, plan: Plan) -> None:
        self._clockwork = clockwork
        self._dice = Random(f"{plan.seed} network")
        self._plan = plan
        self.loss = plan.loss
        self.delays_s = plan.delays_s
        self.duplicates = plan.duplicates
        self.cut: set[LinkSpec] = set()
        self.down: set[tuple[str, str]] = set()
        """Nodes and their interfaces that are down: nothing goes out there, nor comes in."""
        self.receivers: dict[str, Receiver] = {}
        """By the name of the sending node: who listens to it."""
        self._tapes: dict[LinkSpec, deque[Carried]] = {}
        self.frames = 0

    def send(self, link: LinkSpec, carried: Carried) -> None:
        """Carries one frame, or loses it."""
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
            self._clockwork.after(delay_s, self._arrive, link, carried)

    def _arrive(self, link: LinkSpec, carried: Carried) -> None:
        self._tapes.setdefault(link, deque(maxlen=TAPE_FRAMES)).append(carried)
        self.receivers[link.node].receive(link, carried)

    def replay(self, link: LinkSpec, other: LinkSpec, count: int, life: BootId | None) -> int:
        """Somebody sends again, on ``link``, what was once carried on ``other``, of one life only
        if that is asked for.
        """
        tape = [
            carried
            for carried in self._tapes.get(other, ())
            if life is None or carried.beat.boot == life
        ]
        begin = self._dice.randrange(len(tape)) if tape else 0
        frames = tape[begin : begin + count]
        for number, carried in enumerate(frames):
            self._clockwork.after(0.05 * number, self.receivers[link.node].receive, link, carried)
        return len(frames)
