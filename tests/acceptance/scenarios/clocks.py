"""A3 with clocks at the extremes: the owner's runs as slow as time daemons may slew it, that of its
peer as fast, and the other way round.
"""

from __future__ import annotations

from tests.acceptance.bed import Bed
from tests.acceptance.clocks import Clock
from tests.acceptance.leased import FENCING, Leased
from tests.acceptance.scenarios.cut_off import TIMEOUT_S, rounds

TITLE = "Clocks that run 8.3 % slow and fast: an owner that is cut off from all"
RATES = (1 - 0.0833, 1 + 0.0833)
ROUNDS_PART = 10


def play(bed: Bed) -> None:
    """Begin with the slow owner, whose watchdog bites late and whose peer waits too short."""
    for machine, rate in zip(bed.nodes, RATES):
        machine.clock = Clock(bed.work, machine.name, rate)
        bed.note(f"the clocks of {machine.name} run at {rate:g} of their speed")
    rounds(Leased(bed, FENCING.format(timeout=TIMEOUT_S)), max(2, bed.rounds // ROUNDS_PART))
