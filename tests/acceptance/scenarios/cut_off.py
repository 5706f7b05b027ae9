"""A3: an owner loses network and disks at once, with its power on.

Nothing confirms its beats any more: its own watchdog, the one of its kernel, resets it, before the
peer starts anything.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.acceptance.bed import Bed
from tests.acceptance.errors import NotAccepted
from tests.acceptance.machines import Machine
from tests.acceptance.scenarios.self_fenced import LIMIT_S, PROMISE, clock, leased, taken_over

TITLE = "An owner that is cut off from network and disks: its watchdog"
TIMEOUT_S = 10
"""Long, since nothing but the cut may bite on a busy machine."""
RESET = "softdog: Initiating system reboot"


def play(bed: Bed) -> None:
    """Cut the owner off, and see when it was reset and when its peer began."""
    leased(bed, TIMEOUT_S)
    owner, other = bed.nodes
    bed.boards[owner.name].die()
    bed.player.title("Cut off", "deb1 loses all networks, and the disks behind them, but no power.")
    bed.player.until(other, "openha fence status || true", PROMISE)
    console = bed.work / f"console{owner.number}.log"
    before = resets(console)
    owner.unplug(0, 1, 2)
    cut_at = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        reset = pool.submit(until_reset, owner, console, before)
        began_s = taken_over(bed, clock(other))
        reset_s = reset.result() - cut_at
    bed.note(f"deb1 was reset {reset_s:.1f} s after the cut, {began_s - reset_s:.1f} s before that")
    bed.player.check(reset_s < began_s, "deb1 was dead before anything was started on deb2")
    bed.player.check(not bed.switch.cuts, "nothing was switched off by deb2")


def until_reset(machine: Machine, console: Path, before: int) -> float:
    """Return when the machine's kernel said that its watchdog resets it.

    This kernel has ended its processes then, and comes to no new life: the rest of it is ended.
    """
    deadline = time.monotonic() + LIMIT_S
    while resets(console) == before:
        if time.monotonic() > deadline:
            raise NotAccepted(f"{machine.name} was not reset within {LIMIT_S:g} s")
        time.sleep(0.05)
    at = time.monotonic()
    machine.cut_power()
    return at


def resets(console: Path) -> int:
    """Return how often a kernel's watchdog has reset it."""
    return console.read_text(encoding="utf-8", errors="replace").count(RESET)
