"""A3: an owner can reach neither its peer nor its disks any more, with its power on.

Nothing confirms its beats: its own watchdog, the one of its kernel, resets it, before the peer
starts anything. What it was writing when its disks were suspended never gets there.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from tests.acceptance.bed import Bed
from tests.acceptance.cluster import ARBITER
from tests.acceptance.leased import FENCING, SERVICE, Leased, clock

TITLE = "An owner whose disks are suspended, or that is cut off from all: its watchdog"
TIMEOUT_S = 10
"""Long, since nothing but the cut may bite on a busy machine."""
ROUNDS_PART = 2
HICCUP_S = TIMEOUT_S / 2
SUSPEND = f"dmsetup suspend --noflush --nolockfs wrapped-{ARBITER} wrapped-{SERVICE}"
RESUME = f"dmsetup resume wrapped-{ARBITER} wrapped-{SERVICE}"


def play(bed: Bed) -> None:
    """Suspend the disks of the owner, who is cut from its peer, round by round."""
    leased = Leased(bed, FENCING.format(timeout=TIMEOUT_S))
    rounds(leased, max(2, bed.rounds // ROUNDS_PART))


def rounds(leased: Leased, count: int) -> None:
    """Play so many rounds; in each fifth one the cables to the disks are out as well."""
    bed = leased.bed
    for board in bed.boards.values():
        board.die()
    hiccup(leased)
    figures = []
    for number in range(1, count + 1):
        figures.append(cut_off(leased, number, is_unplugged=number % 5 == 0))
        if number < count:
            leased.owner.plug(0, 1, 2)
            leased.swap()
    for what, column in zip(("reset", "start", "margin of the disk"), zip(*figures)):
        low, middle, high = min(column), statistics.median(column), max(column)
        bed.note(f"{count} rounds: {what}: {low:.1f} s, median {middle:.1f} s, {high:.1f} s")


def hiccup(leased: Leased) -> None:
    """Suspend the disks for a while, with and without networks: nobody minds."""
    bed, owner = leased.bed, leased.owner
    bed.player.title("A hiccup", f"The disks of {owner.name} are suspended for {HICCUP_S:g} s.")
    leased.promise_s()
    before = leased.resets()
    owner.unplug(1, 2)
    began = time.monotonic()
    bed.player.on(owner, f"{SUSPEND}; sleep {HICCUP_S:g}; {RESUME}")
    bed.note(f"suspended for {time.monotonic() - began:.1f} s at most, without networks")
    owner.plug(1, 2)
    leased.until_peaceful()
    bed.player.check(leased.resets() == before and owner.is_on, f"{owner.name} was not reset")


def cut_off(leased: Leased, number: int, is_unplugged: bool) -> tuple[float, float, float]:
    """Return times from the cut: of the reset, of the start; and the disk's margin."""
    bed, owner, other = leased.bed, leased.owner, leased.other
    how = "no cable is left" if is_unplugged else "networks are cut, its disks are suspended"
    bed.player.title(f"Round {number}", f"{owner.name}: {how}; its power is on.")
    leased.promise_s()
    before = leased.resets()
    leased.watch()
    at, cut_at = clock(other), time.monotonic()
    if is_unplugged:
        owner.unplug(0, 1, 2)
    else:
        owner.unplug(1, 2)
        bed.player.on(owner, f"{SUSPEND}; dmsetup info -c -o name,suspended")
    with ThreadPoolExecutor(1) as pool:
        reset = pool.submit(leased.until_reset, before)
        began_s = leased.taken_over(at)
        reset_s = reset.result() - cut_at
    bed.note(
        f"{owner.name} was reset {reset_s:.1f} s after the cut, {began_s - reset_s:.1f} s before"
    )
    bed.player.check(reset_s < began_s, f"{owner.name} was dead before {other.name} began")
    found = leased.handover(leased.watched())
    leased.check(found)
    bed.player.check(not bed.switch.cuts, "nothing was switched off")
    return reset_s, began_s, found.margin_s
