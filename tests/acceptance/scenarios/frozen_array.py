"""A10: the array answers nothing for a minute, to neither node. Nobody may die of that."""

from __future__ import annotations

import time

from tests.acceptance.bed import Bed
from tests.acceptance.cluster import ARBITER
from tests.acceptance.leased import FENCING, SERVICE, Leased

TITLE = "An array that is frozen for both nodes: nobody dies"
TIMEOUT_S = 10
FREEZE_S = 60.0
PATIENCE = "for file in /sys/block/sd*/device/timeout; do echo 180 > $file; done"
"""Longer than the array is silent: a command that fails would be another test."""
SETTLE_S = 5.0


def play(bed: Bed) -> None:
    """Freeze all disks, wait, and see that nothing has changed."""
    leased = Leased(bed, FENCING.format(timeout=TIMEOUT_S))
    frozen(leased)


def frozen(leased: Leased) -> None:
    """Freeze the array for both nodes; owner and service stay where they are."""
    bed, owner, other = leased.bed, leased.owner, leased.other
    bed.player.on_both(PATIENCE)
    leased.promise_s()
    consoles = [bed.work / f"console{machine.number}.log" for machine in bed.nodes]
    sizes = [console.stat().st_size for console in consoles]
    bed.player.title("Frozen", f"Beats and data answer nothing for {FREEZE_S:g} s, to both nodes.")
    leased.watch()
    began = time.monotonic()
    bed.player.on(bed.target, f"/acceptance/target freeze {ARBITER} {SERVICE}")
    while time.monotonic() - began < FREEZE_S:
        time.sleep(1.0)
        bed.player.check_quietly(all(machine.is_on for machine in bed.nodes), "both nodes are on")
    bed.player.on(other, "openha fence status", code=None)
    bed.player.on(owner, "time ez_svc_status")
    bed.player.on(owner, "time ez_hb_status")
    bed.player.on(bed.target, f"/acceptance/target thaw {ARBITER} {SERVICE}")
    bed.note(f"frozen for {time.monotonic() - began:.1f} s")
    leased.until_peaceful()
    time.sleep(SETTLE_S)
    seen = leased.watched()
    gap_s = max(b.at - a.at for a, b in zip(seen, seen[1:]))
    bed.note(f"the owner's writes paused for {gap_s:.1f} s, and went on")
    bed.player.check(
        all(line.text.startswith(f"{owner.name} ") for line in seen if line.text)
        and gap_s > FREEZE_S / 2,
        f"{owner.name} alone has written, before and after",
    )
    for machine, console, size in zip(bed.nodes, consoles, sizes):
        text = console.read_bytes()[size:].decode("utf-8", "replace")
        bed.player.check("softdog" not in text, f"the watchdog of {machine.name} did not bite")
    bed.player.check(not bed.switch.cuts, "nothing was switched off")
    bed.player.on(other, f"openha why {SERVICE}", (), ("FENCE:",))
