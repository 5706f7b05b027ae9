"""A2 with a witness: the same duel, decided by an etcd of three members.

It is where a cut between the nodes does not take it away from them. In each second round its leader
loses its power at the moment of the cut.
"""

from __future__ import annotations

from tests.acceptance.bed import Bed
from tests.acceptance.outside import Witness
from tests.acceptance.scenarios.duel import FENCING, duels

TITLE = "A duel, decided by a witness: services on both nodes, a total cut, one survivor"
SECTION = "    [[etcd]]\n    urls = {urls}\n"


def play(bed: Bed) -> None:
    """Let the witness decide."""
    witness = Witness(bed.outside)
    dead: list[int] = []

    def lose_leader(number: int) -> None:
        if number % 2 == 0:
            dead.append(witness.leader())
            bed.note(f"member {dead[0] + 1} of 3 leads the witness: it loses its power")
            witness.die(dead[0])

    def give_back(number: int) -> None:
        while dead:
            witness.start(dead.pop())

    fencing = FENCING.format(arbiter="etcd") + SECTION.format(urls=witness.urls)
    duels(bed, fencing, lose_leader, give_back)
