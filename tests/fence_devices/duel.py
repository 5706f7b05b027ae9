"""Let two nodes act on simulated disks at the same time: each command may come next from either.

The order of the commands is drawn from a seed, so that a duel that went wrong can be played again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import TypeVar

from tests.fence_devices.simulated_disk import Nexus, SimulatedNode
from tests.waiting import LIMIT_S

_Result = TypeVar("_Result")


class _Turns:
    """Passes the turn between two threads, at each command."""

    def __init__(self, dice: Random) -> None:
        self._dice = dice
        self._change = threading.Condition()
        self._running = {0, 1}
        self._turn = dice.getrandbits(1)

    def wait_for(self, player: int) -> None:
        """Wait until this player's command comes next, and draw whose comes after it."""
        with self._change:
            assert self._change.wait_for(lambda: self._turn == player, LIMIT_S)
            self._turn = self._dice.choice(sorted(self._running))
            self._change.notify_all()

    def leave(self, player: int) -> None:
        """This player is done."""
        with self._change:
            self._running.discard(player)
            self._turn = min(self._running, default=player)
            self._change.notify_all()


def duel(
    seed: int, nodes: tuple[SimulatedNode, SimulatedNode], acts: tuple[Callable[[], _Result], ...]
) -> list[_Result]:
    """Return what each of both returned; commands of all ports of a node wait for its turn."""
    turns = _Turns(Random(seed))
    for player, node in enumerate(nodes):

        def before(nexus: Nexus, command: bytes, player: int = player) -> None:
            turns.wait_for(player)

        node.before = before
        for port in node.ports.values():
            port.before = before
    results: dict[int, _Result] = {}

    def run(player: int) -> None:
        try:
            results[player] = acts[player]()
        finally:
            turns.leave(player)

    threads = [threading.Thread(target=run, args=(player,), daemon=True) for player in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    for node in nodes:
        node.before = lambda nexus, command: None
        for port in node.ports.values():
            port.before = node.before
    return [results[0], results[1]]
