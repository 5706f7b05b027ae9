"""A1: an owner loses its power together with its board, which is what could have switched it off.

It promised to be dead some time after its last sign of life, and is.
"""

from __future__ import annotations

import statistics

from tests.acceptance.bed import Bed
from tests.acceptance.leased import FENCING, Leased, clock

TITLE = "Power and board lost at once: the lease"
TIMEOUT_S = 5
ROUNDS_PART = 4


def play(bed: Bed) -> None:
    """Take power and board of the owner at once, of one node after the other."""
    leased = Leased(bed, FENCING.format(timeout=TIMEOUT_S))
    times = []
    rounds = max(1, bed.rounds // ROUNDS_PART)
    for number in range(1, rounds + 1):
        times.append(without_power(leased, number))
        if number < rounds:
            bed.boards[leased.owner.name].start()
            leased.swap()
    bed.note(
        f"{rounds} rounds: the start script began {statistics.median(times):.1f} s (median) after"
        f" the failure, {max(times):.1f} s at most"
    )


def without_power(leased: Leased, number: int) -> float:
    """Return how long after the failure the other node began to start."""
    bed, owner = leased.bed, leased.owner
    bed.player.title(f"Round {number}", f"{owner.name} and its board lose their power at once.")
    leased.promise_s()
    leased.watch()
    cuts = len(bed.switch.cuts)
    at = clock(leased.other)
    bed.boards[owner.name].die()
    owner.cut_power()
    began_s = leased.taken_over(at)
    leased.check(leased.handover(leased.watched()))
    bed.player.check(len(bed.switch.cuts) == cuts, "nothing was switched off")
    return began_s
