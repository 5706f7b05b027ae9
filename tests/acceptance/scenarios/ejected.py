"""A5: the owner of a service loses the right to its disk, and lives on."""

from __future__ import annotations

import time

from tests.acceptance.bed import Bed
from tests.acceptance.cluster import ARBITER, Cluster

TITLE = "An ejected owner that lives, and a board that lies"
PORTAL = "10.60.0.3"
SERVICE = "alpha"
FENCING = f"levels = {{level}}\narbiter = disk /dev/shared/{ARBITER}\ncheck_interval = 5\n"
LIMIT_S = 180.0
LATE_S = 1.0
ERROR = f"cat /run/writer-{SERVICE}.error"
REFUSED = "EBADE|EIO|EROFS"
"""The kernel says EBADE to who writes past its caches, a file system of it what suits it."""
DEFAULT = "scsireserv = true\nfence_needs = {needs}"


def play(bed: Bed) -> None:
    """Cut the owner off: first with its disk as the proof, then with a board that lies."""
    bed.boot_nodes()
    bed.serve_disks(f"{ARBITER}=0", SERVICE)
    bed.log_in(PORTAL)
    default = DEFAULT.format(needs="data")
    cluster = Cluster(bed, (SERVICE,), "/dev/shared/{name}", default)
    cluster.install(FENCING.format(level="reservation"), has_boards=False)
    cluster.start(bed.nodes[0])
    cluster.until_armed()
    bed.player.title("Ejected", "deb2 takes the disk of deb1, which runs, and cannot be asked.")
    eject(bed, cluster)


def eject(bed: Bed, cluster: Cluster) -> None:
    """Cut the nodes from each other; the disk goes to deb2, and deb1 gives up by itself."""
    owner, other = bed.nodes
    began = time.monotonic()
    cluster.cut()
    bed.player.until(other, "ez_svc_status", (cluster.line(SERVICE, other, "STARTED"),), LIMIT_S)
    bed.note(f"{SERVICE} is STARTED on deb2 {time.monotonic() - began:.1f} s after the cut")
    bed.player.check(owner.is_on and not bed.switch.cuts, "deb1 is on, nobody cut its power")
    refused = bed.player.until(owner, ERROR, (REFUSED,), LIMIT_S)
    bed.note(f"deb1's write was refused: {refused.strip()}")
    gone = (cluster.line(SERVICE, owner, "(STOPPED|STOP_FAILED|FROZEN_STOP)"),)
    bed.player.until(owner, "ez_svc_status", gone, LIMIT_S)
    bed.player.on(owner, f"mount | grep -c /opt/{SERVICE}", ("^0",), code=1)
    bed.player.on(owner, f"openha why {SERVICE}")
    bed.player.on(owner, "openha fence status", code=None)
    bed.player.on(other, f"openha why {SERVICE}", ("reservation",))
    one_writer_at_a_time(bed)
    cluster.heal()
    both = (cluster.line(SERVICE, other, "STARTED", "STOPPED"),)
    bed.player.until(owner, "ez_svc_status", both, LIMIT_S)
    cluster.until_armed()
    bed.player.on(other, f"svcmgr -s {SERVICE} switch", limit_s=300)
    back = (cluster.line(SERVICE, owner, "STARTED", "STOPPED"),)
    bed.player.until(owner, "ez_svc_status", back, LIMIT_S)
    one_writer_at_a_time(bed, owner=0)


def one_writer_at_a_time(bed: Bed, owner: int = 1) -> None:
    """The journal on the disk has no line of the ejected node after the first of its successor."""
    summary = bed.player.on(bed.nodes[owner], f"uniq -c -f 1 /opt/{SERVICE}/journal")
    order = [line.split()[-1] for line in summary.strip().splitlines()]
    expected = ["deb1", "deb2", "deb1"][: len(order)]
    bed.player.check(order == expected, f"one node wrote at a time: {', '.join(order)}")
