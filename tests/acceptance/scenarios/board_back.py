"""A9, the daemon's part: a node loses its power with its board; the peer tries on and on."""

from __future__ import annotations

import time

from tests.acceptance.bed import Bed
from tests.acceptance.cluster import ARBITER, Cluster

TITLE = "A board that died with its node: tried again until it answers"
SERVICE = "alpha"
PORTAL = "10.60.0.3"
FENCING = "levels = ipmi\ncheck_interval = 5\nretry = 5\n"
LIMIT_S = 180.0


def play(bed: Bed) -> None:
    """Take the power of deb1 and its board; give it back to the board alone."""
    bed.boot_nodes()
    bed.serve_disks(f"{ARBITER}=0")
    bed.log_in(PORTAL)
    cluster = Cluster(bed, (SERVICE,))
    cluster.install(FENCING, has_boards=True)
    cluster.start(bed.nodes[0])
    cluster.until_armed()
    owner, other = bed.nodes
    bed.player.title("A dead board", "deb1 and its board lose their power at once.")
    bed.boards[owner.name].die()
    owner.cut_power()
    began = time.monotonic()
    for number in (1, 2):
        failed = (cluster.line(SERVICE, other, "START_FAILED"),)
        bed.player.until(other, "ez_svc_status", failed, LIMIT_S)
        bed.note(f"round {number} proved nothing {time.monotonic() - began:.1f} s after it")
        bed.player.on(other, "$EZ_BIN/service -s -v", ("not proved: ipmi", "next try in"))
        if number == 1:
            tried = (cluster.line(SERVICE, other, "(START_READY|STARTING)"),)
            bed.player.until(other, "ez_svc_status", tried, LIMIT_S)
    bed.player.check(not bed.switch.cuts, "nobody was shot, and nothing is started")
    bed.boards[owner.name].start()
    began = time.monotonic()
    bed.note("the board has its power again, deb1 has not")
    started = (cluster.line(SERVICE, other, "STARTED"),)
    bed.player.until(other, "ez_svc_status", started, LIMIT_S)
    bed.note(f"{SERVICE} is STARTED on deb2 {time.monotonic() - began:.1f} s after the board came")
    bed.player.on(other, f"openha why {SERVICE}", ("proof NODE", "ipmi"))
