"""The data disk of an owner freezes for it alone, while beats and boards work: `frozen_storage`.

It gives the service up; as the stop hangs on the disk as well, it falls silent, its watchdog resets
it, and the peer starts the service by the end of its promise.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from tests.acceptance.bed import Bed
from tests.acceptance.leased import FENCING, SERVICE, Leased, clock

TITLE = "A data disk that freezes for its owner alone"
TIMEOUT_S = 10
FROZEN_AFTER_S = 15
SUSPEND = f"dmsetup suspend --noflush --nolockfs wrapped-{SERVICE}"
RESUME = f"dmsetup resume wrapped-{SERVICE}"
POLICY = f"""cat >> $EZ/conf/openha.conf << 'EOF'
[policy]
frozen_storage = give_up
frozen_after = {FROZEN_AFTER_S}
data_disks = /dev/shared/{SERVICE}
EOF"""
BOTH_ANSWER = (rf"{SERVICE}: its disks: answer; by \S+: answer",)


def play(bed: Bed) -> None:
    """Freeze it for a moment, then for good."""
    leased = Leased(bed, FENCING.format(timeout=TIMEOUT_S))
    bed.player.on_both(POLICY)
    hiccup(leased)
    frozen(leased)


def hiccup(leased: Leased) -> None:
    """Suspend the data disk for less than `frozen_after`: nothing happens."""
    bed, owner = leased.bed, leased.owner
    bed.player.until(owner, "$EZ_BIN/service -s -v", BOTH_ANSWER)
    leased.promise_s()
    before = leased.resets()
    bed.player.title("A hiccup", f"The data disk of {owner.name} hangs for {FROZEN_AFTER_S / 2} s.")
    bed.player.on(owner, f"{SUSPEND}; sleep {FROZEN_AFTER_S / 2:g}; {RESUME}")
    time.sleep(FROZEN_AFTER_S)
    leased.until_peaceful()
    bed.player.check(leased.resets() == before and owner.is_on, f"{owner.name} was not reset")
    bed.player.on(owner, f"openha why {SERVICE}", (), ("STOPPING",))


def frozen(leased: Leased) -> None:
    """Suspend it for good: given up, silent, reset, taken over, in this order."""
    bed, owner, other = leased.bed, leased.owner, leased.other
    bed.player.until(owner, "$EZ_BIN/service -s -v", BOTH_ANSWER)
    for board in bed.boards.values():
        board.die()
    bed.player.title("Frozen", f"The data disk of {owner.name} hangs; both boards are dead.")
    death_s = leased.promise_s()
    before = leased.resets()
    leased.watch()
    at, hung_at = clock(other), time.monotonic()
    bed.player.on(owner, SUSPEND)
    with ThreadPoolExecutor(1) as pool:
        reset = pool.submit(leased.until_reset, before)
        bed.player.until(
            owner, "$EZ_BIN/service -s -c", (leased.cluster.line(SERVICE, owner, "STOPPING"),)
        )
        given_up_s = time.monotonic() - hung_at
        began_s = leased.taken_over(at)
        reset_s = reset.result() - hung_at
    bed.note(
        f"seen as STOPPING after {given_up_s:.1f} s, {owner.name} was reset after {reset_s:.1f} s,"
        f" the start began after {began_s:.1f} s; D is {death_s:.1f} s"
    )
    bed.player.check(given_up_s >= FROZEN_AFTER_S, "it was not given up too early")
    bed.player.check(reset_s < began_s, f"{owner.name} was dead before {other.name} began")
    leased.check(leased.handover(leased.watched()))
    bed.player.check(not bed.switch.cuts, "nothing was switched off")
