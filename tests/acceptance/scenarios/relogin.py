"""A7: a path to a reserved disk is lost and comes back; the owner must be able to write over it."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

from tests.acceptance.bed import Bed
from tests.acceptance.blocks import Line, lines
from tests.acceptance.cluster import ARBITER, Cluster

TITLE = "A path that is lost and comes back: reservations over two paths"
SERVICES = ("data", "tdata")
TARGETS = {"data": "LIO", "tdata": "tgt"}
PORTALS = ("10.60.0.3", "10.60.1.3", "10.60.0.4", "10.60.1.4")
FENCING = f"levels = reservation\narbiter = disk /dev/shared/{ARBITER}\ncheck_interval = 5\n"
BLOCK = 100_000
"""Behind the file system."""
WRITE_S = 70.0
OUT_S = 20.0
"""A session is given up 5 s after its portal was found silent, which takes 10 s."""
GOAL_S = 2.0


def play(bed: Bed) -> None:
    """Run a service on a disk of each target, take out a cable of its node, put it back."""
    bed.boot_nodes()
    bed.serve_disks(f"{ARBITER}=0", "data")
    bed.serve_disks_without_abort("tdata")
    bed.log_in(*PORTALS)
    bed.player.on_both(f"/acceptance/disks.py map {' '.join(SERVICES)}; dmsetup table")
    cluster = Cluster(bed, SERVICES, "/dev/mapper/{name}", "scsireserv = true\nfence_needs = data")
    cluster.install(FENCING, has_boards=False)
    cluster.start(bed.nodes[0], bed.nodes[0])
    for name in SERVICES:
        expect_two_paths(bed, name)
        lose_path(bed, name)
        expect_two_paths(bed, name)


def expect_two_paths(bed: Bed, name: str) -> None:
    """Both paths carry the owner's key, and the status has nothing to say about it."""
    keys = bed.player.on(bed.nodes[0], f"sg_persist -n -k /dev/shared/{name}")
    # A session that is gone may have left its entry behind: one more, which harms nobody.
    own = set(re.findall(r"(?m)^ +(0x\w+)$", keys))
    count = len(re.findall(r"(?m)^ +0x\w+$", keys))
    bed.player.check(
        len(own) == 1 and count >= 2, f"{count} registrations of {name}, all its owner's"
    )
    status = f"svcmgr -s {name} print status"
    bed.player.on(bed.nodes[0], status, (r"fs#1pr +\.* *up",), (r"paths registered",))


def lose_path(bed: Bed, name: str) -> None:
    """Write over the second path alone while its cable is out and when it is back."""
    owner = bed.nodes[0]
    bed.player.title(f"{TARGETS[name]}: a cable out for {OUT_S:g} s, then back")
    device = bed.player.on(owner, f"readlink -f /dev/shared/{name}.2").strip()
    with ThreadPoolExecutor(1) as pool:
        write = f"/acceptance/blocks.py write {device} {BLOCK} {WRITE_S:g}"
        writing = pool.submit(owner.run, write, WRITE_S * 2)
        time.sleep(OUT_S / 2)
        owner.unplug(1)
        time.sleep(OUT_S)
        owner.plug(1)
        plugged_at = time.time()
        seen = lines(writing.result().output)
    bed.player.on(owner, f"/acceptance/disks.py reinstate {name}; dmsetup status {name}")
    back = came_back(seen, plugged_at)
    bed.player.check(back is not None, "the owner writes over that path again")
    assert back is not None
    path_s, write_s, refused = back
    bed.note(
        f"{TARGETS[name]}: the path was there {path_s:.1f} s after the cable, the first write"
        f" {write_s:.1f} s after the path; {refused} writes were refused meanwhile"
    )
    bed.player.check(write_s <= GOAL_S, f"within {GOAL_S:g} s")
    bed.player.on(owner, f"tail -n 2 /opt/{name}/journal; cat /run/writer-{name}.error", code=1)


def came_back(seen: list[Line], plugged_at: float) -> tuple[float, float, int] | None:
    """Return when the path was there, how long until a write passed, and refused writes.

    None if none passed. The path is there with the first answer of the target, whatever it is.
    """
    after = [line for line in seen if line.at > plugged_at]
    done = next((line for line in after if line.is_done), None)
    if done is None:
        return None
    refused = [line for line in after if "EBADE" in line.text and line.at < done.at]
    there = min([done.at, *(line.at for line in refused)])
    return there - plugged_at, done.at - there, len(refused)
