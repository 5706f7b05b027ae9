"""Claims: two living nodes claim the right to fence on a disk at the same instant, many times."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.acceptance.bed import Bed
from tests.acceptance.machines import Machine

TITLE = "Claims: who may fence, decided by a disk"
TIMES = 10
"""A round takes a moment here: so many for each round of other scenarios."""
LIMIT_S = 1200.0


def play(bed: Bed) -> None:
    """Duel on a disk of the kernel's target, then on one of tgt."""
    bed.boot_nodes()
    bed.serve_disks("arb")
    bed.serve_disks_without_abort("tarb")
    bed.log_in("10.60.0.3", "10.60.0.4")
    for disk, target in (("arb", "LIO"), ("tarb", "tgt")):
        duel(bed, f"/dev/shared/{disk}", target)


def duel(bed: Bed, disk: str, target: str) -> None:
    """Let both nodes claim, round by round; exactly one may win each."""
    rounds = bed.rounds * TIMES
    bed.player.title(
        f"{rounds} claims on {target}", "Both registered in peace; both claim at once."
    )
    with ThreadPoolExecutor(2) as pool:
        lines = list(pool.map(lambda node: claims(bed, node, disk, rounds), bed.nodes))
    outcomes = Counter((first["outcome"], second["outcome"]) for first, second in zip(*lines))
    for pair, count in sorted(outcomes.items()):
        bed.note(f"deb1 {pair[0]}, deb2 {pair[1]}: {count} of {rounds}")
    for name, answers in zip(("deb1", "deb2"), lines):
        took = [answer["took_s"] * 1000 for answer in answers]
        bed.note(
            f"{name}: a claim took {statistics.median(took):.1f} ms median, {max(took):.1f} ms at"
            f" most, of {len(took)}"
        )
    bed.player.check(
        set(outcomes) <= {("won", "lost"), ("lost", "won")} and sum(outcomes.values()) == rounds,
        f"one winner and one loser in each of {rounds} rounds on {target}",
    )


def claims(bed: Bed, node: Machine, disk: str, rounds: int) -> list[dict[str, Any]]:
    """Return what a node said of each round."""
    peer = next(machine for machine in bed.nodes if machine is not node)
    words = [f"{node.name}.opensvc.com", f"{peer.name}.opensvc.com", node.address, peer.address]
    command = f"/opt/openha/bin/python /acceptance/claims.py {' '.join(words)} {disk} {rounds}"
    outcome = node.run(command, LIMIT_S)
    if outcome.code != 0:
        bed.note(f"{node.name}: {outcome.output.strip()}")
    bed.player.check(outcome.code == 0, f"{node.name} played {rounds} rounds")
    return [json.loads(line) for line in outcome.output.strip().splitlines()]
