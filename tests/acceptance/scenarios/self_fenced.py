"""A1: an owner loses its power together with its board, which is what could have switched it off.

It promised to be dead some time after its last sign of life, and is.
"""

from __future__ import annotations

import re

from tests.acceptance.bed import Bed
from tests.acceptance.cluster import ARBITER, Cluster
from tests.acceptance.machines import Machine

TITLE = "Power and board lost at once: the lease"
SERVICE = "alpha"
PORTAL = "10.60.0.3"
TIMEOUT_S = 5
FENCING = """levels = ipmi, lease
check_interval = 30
    [[lease]]
    watchdog = /dev/watchdog1
    timeout = {timeout}
    answer = 1
    virtual_pause = never
"""
KEY = "$EZ/conf/openha.key"
LIMIT_S = 180.0
DAY_S = 86400.0
SCRIPT = rf"(\d\d):(\d\d):(\d\d\.\d+) +start script of {SERVICE}: ok after ([\d.]+) s"
PROMISE = (r"deb1.opensvc.com promises: dead [\d.]+ s after its last sign",)


def play(bed: Bed) -> None:
    """Take power and board of the owner at once."""
    leased(bed, TIMEOUT_S)
    owner, other = bed.nodes
    bed.player.title("Without power", "deb1 and its board lose their power at once.")
    bed.player.until(other, "openha fence status || true", PROMISE)
    bed.boards[owner.name].die()
    owner.cut_power()
    taken_over(bed, clock(other))
    bed.player.check(not bed.switch.cuts, "nothing was switched off by deb2")


def leased(bed: Bed, timeout_s: int) -> None:
    """Boot, and start the service on deb1, whose watchdog has that timeout."""
    bed.boot_nodes()
    bed.serve_disks(f"{ARBITER}=0")
    bed.log_in(PORTAL)
    bed.player.on_both("modprobe softdog")
    cluster = Cluster(bed, (SERVICE,))
    cluster.install(FENCING.format(timeout=timeout_s), has_boards=True)
    bed.player.on(bed.nodes[0], "openha key generate")
    key = bed.player.on(bed.nodes[0], f"cat {KEY}")
    bed.player.on(bed.nodes[1], f"umask 077; cat > {KEY} << 'EOF'\n{key}EOF")
    cluster.start(bed.nodes[0])


def taken_over(bed: Bed, at: float) -> float:
    """Wait for the start on deb2; return how long after ``at`` its script began."""
    other = bed.nodes[1]
    started = (rf"(?m)^{SERVICE} .* STARTED\s*$",)
    bed.player.until(other, "ez_svc_status", started, LIMIT_S)
    why = bed.player.on(
        other, f"openha why {SERVICE}", ("self-fenced: promised to be dead", SCRIPT)
    )
    hours, minutes, seconds, took = re.findall(SCRIPT, why)[-1]
    ended = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    began = (ended - float(took) - at % DAY_S) % DAY_S
    bed.note(f"the start script of {SERVICE} began {began:.1f} s after the failure")
    return began


def clock(machine: Machine) -> float:
    """Return what the clock of a node shows; it is UTC there."""
    return float(machine.run("date +%s.%N", LIMIT_S).output)
