"""A6 with a keeper that is stopped between any two of its instructions, and goes on late.

It may have looked at the clock, and not have petted yet: then it must not pet any more.
"""

from __future__ import annotations

import random
import time
from collections import Counter

from tests.acceptance.bed import Bed
from tests.acceptance.leased import FENCING, Leased
from tests.acceptance.machines import Machine
from tests.acceptance.scenarios.watchdog import (
    ANSWER_S,
    DEATH_S,
    NUMBERS,
    TIMEOUT_S,
    Ears,
    armed,
    is_still,
    wait,
)

TITLE = "A keeper that is stopped in the midst of its work, and goes on too late"
CLUSTER_TIMEOUT_S = 10
KEEPER = "cat $EZ/services/.proc/watchdog-keeper.lock"
STOP = f'kill -STOP "$({KEEPER})"'
LATEST = 12.0
"""In parts of the time that the keeper takes for a permit."""
LATE_S = 0.5
"""A reset that comes later was caused by a pet that came too late."""


def play(bed: Bed) -> None:
    """Stop it at some instruction, life by life."""
    ears = Ears()
    chance = random.Random(14)
    said: Counter[str] = Counter()
    worst_s = 0.0
    for number in range(1, bed.rounds + 1):
        bed.player.title(
            f"Life {number}", "Some pets; then it is stopped in the midst of the next."
        )
        word, after_s = one_life(bed, bed.nodes[0], ears, chance.uniform(0, LATEST))
        said[word] += 1
        worst_s = max(worst_s, after_s)
    for word, count in said.items():
        bed.note(f"{count} of {bed.rounds} times the keeper said of that permit: {word}")
    bed.note(f"the latest reset: {worst_s:.2f} s after the begin of the last renewal")
    in_a_cluster(Leased(bed, FENCING.format(timeout=CLUSTER_TIMEOUT_S)))


def in_a_cluster(leased: Leased) -> None:
    """Stop the keeper of an owner that is in perfect health: its daemon replaces it in time."""
    bed, owner = leased.bed, leased.owner
    bed.player.title(
        "In a cluster", f"The keeper of {owner.name}, which runs a service, is stopped."
    )
    leased.promise_s()
    before = leased.resets()
    (pid,) = bed.player.on(owner, KEEPER).split()
    bed.player.on(owner, STOP)
    bed.player.until(owner, KEEPER, (rf"(?m)^(?!{pid}$)\d+$",))
    death_s = leased.promise_s()
    time.sleep(death_s)
    bed.player.check(leased.resets() == before, f"{owner.name} was not reset")
    leased.until_peaceful()


def one_life(bed: Bed, node: Machine, ears: Ears, part: float) -> tuple[str, float]:
    """Return what was said of the permit in which it was stopped, and when the node was dead."""
    life = armed(bed, node, ears, f"stopped {NUMBERS} {part:.3f}")
    wait(lambda: is_still(life))
    (text,) = (text for text in life.others if text.startswith("STOPPED "))
    _, renewed_at, stopped_s = text.split(" ")
    answers = [text for text in life.others if text.startswith("ANSWER ")]
    word = answers[0].partition(":")[0].removeprefix("ANSWER ") if answers else "no answer"
    after_s = life.beacon - float(renewed_at)
    bed.note(
        f"stopped {1000 * float(stopped_s):.2f} ms after the begin of a renewal: {word}; reset"
        f" {after_s:.2f} s after that begin"
    )
    bed.player.check(
        after_s <= ANSWER_S + TIMEOUT_S + LATE_S,
        f"no pet later than {ANSWER_S:g} s after that, D = {DEATH_S:.1f} s holds",
    )
    node.cut_power()
    return word, after_s
