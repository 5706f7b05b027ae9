"""Play drills of a takeover into a history, as `openha drill takeover` does, whatever else fails.

Each is a small program that asks and orders both nodes, one step after the other, and may die at
any of them. It gives its word only after the other node has answered that everything is stopped
there; between that answer and the word, time passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from random import Random

from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import Command, DrillOrder, DrillOrdered
from opensvc_openha.core.states import PEER_OUT
from opensvc_openha.verify.random.cluster_node import ClusterNode
from opensvc_openha.verify.random.simulated_cluster import Cluster

_LOOK_S = 0.2
_ANSWER_S = 5.0
"""An order that the engine gets later is refused."""
_SECONDS = (6.0, 20.0, 45.0)
LONGEST_S = 45.0 * 1.13 + 40.0
"""After so long nothing is left of a drill."""

_Program = Generator[None, None, None]


class Drills:
    """The drills of one history, drawn from a dice of their own."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._dice = Random(f"{cluster.plan.seed} drills")
        self._is_over = False
        self._await()

    def end(self) -> None:
        """Begin no other drill."""
        self._is_over = True

    def _await(self) -> None:
        gap_s = self._cluster.plan.drill_gap_s
        if gap_s:
            seconds = self._dice.choice(gap_s) * self._dice.uniform(0.5, 1.5)
            self._cluster.scheduler.after(seconds, self._begin)

    def _begin(self) -> None:
        if self._is_over or self._cluster.is_calm:
            return
        taker = self._dice.choice(self._cluster.nodes)
        dead = self._cluster.node(taker.peer.name)
        # A drill dies at some step, or never.
        steps = self._dice.choice((3, 30, 100, 100_000, 100_000, 100_000))
        self._go_on(self._play(taker, dead, self._dice.choice(_SECONDS)), steps)
        self._await()

    def _go_on(self, program: _Program, steps: int) -> None:
        """Run a program to its next look, as long as it lives."""
        try:
            next(program)
        except StopIteration:
            return
        if steps:
            self._cluster.scheduler.after(_LOOK_S, lambda: self._go_on(program, steps - 1))

    def _play(self, taker: ClusterNode, dead: ClusterNode, seconds: float) -> _Program:
        taker.note(f"drill: to take over from {dead.name}, for {seconds:.0f} s")
        engine = self._order(taker, DrillOrder.HOLD_FENCES, seconds)
        yield from self._until(lambda: _holds_fences(engine), _ANSWER_S)
        # Refused before this node has heard of the hold, and again and again in a cut.
        silent = dead.engine
        give_up = dead.now + _ANSWER_S
        while _holds_fences(engine) and dead.now < give_up:
            silent = self._order(dead, DrillOrder.PLAY_DEAD, seconds)
            yield from self._until(lambda: _plays_dead(dead.engine), 1.0)
            if _plays_dead(silent):
                break
        if dead.engine is not silent or silent is None or not silent.sends_nothing:
            return
        for name in self._cluster.plan.services:
            if silent.manages(name) and silent.state_of(name) not in PEER_OUT:
                dead.order(Command.FREEZE_STOP, name)
        yield from self._until(lambda: not self._is_silent_and_out(dead, silent), 1.0)
        yield from self._until(lambda: self._is_silent_and_out(dead, silent), seconds)
        if self._is_silent_and_out(dead, silent):
            # The other node's answer is on its way, and the drill is slow.
            wait_s = self._dice.choice((0.0, 0.2, 1.0, 5.0, 20.0))
            yield from self._until(lambda: False, wait_s)
            yield from self._until(lambda: taker.is_alone, self._dice.choice((0.0, 12.0)))
            self._give_word(taker)
        yield from self._until(lambda: False, self._dice.choice((0.0, 3.0, 30.0)))
        if self._dice.random() < 0.6:
            self._order(dead, DrillOrder.SPEAK, 0.0)
        yield from self._until(lambda: False, self._dice.choice((0.0, 3.0)))
        self._order(taker, DrillOrder.END_HOLD, 0.0)
        for name in self._cluster.plan.services:
            dead.order(Command.UNFREEZE, name)

    def _is_silent_and_out(self, node: ClusterNode, engine: Engine) -> bool:
        """Return the answer of the other node: what it knows of itself, and no more."""
        return (
            node.engine is engine
            and engine.sends_nothing
            and all(
                engine.state_of(name) in PEER_OUT and not engine.may_run(name)
                for name in self._cluster.plan.services
                if engine.manages(name)
            )
        )

    def _give_word(self, taker: ClusterNode) -> None:
        if taker.engine is None:
            return
        taker.note("drill: the other node has answered that it stopped everything")
        # What it takes later is an operator's word as well, or is refused.
        taker.observe_word()
        self._order(taker, DrillOrder.PEER_STOPPED, 0.0)

    def _order(self, node: ClusterNode, order: DrillOrder, seconds: float) -> Engine | None:
        at_latest = node.now + _ANSWER_S
        node.give(DrillOrdered(1_000_000, order, seconds, at_latest, "drill"))
        return node.engine

    def _until(self, is_so: Callable[[], bool], seconds: float) -> _Program:
        give_up = self._cluster.scheduler.now + seconds
        while not is_so() and self._cluster.scheduler.now < give_up:
            yield


def _holds_fences(engine: Engine | None) -> bool:
    return engine is not None and engine.drill_ends[0] > -math.inf


def _plays_dead(engine: Engine | None) -> bool:
    return engine is not None and engine.drill_ends[1] > -math.inf
