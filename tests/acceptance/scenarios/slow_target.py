"""A4: a write is on its way on a slow disk while another node takes the disk.

What a node has sent before it was ejected may be in the target still. It must be on the disk, or
be aborted, before the other node is told that the disk is its own.
"""

from __future__ import annotations

import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.acceptance.bed import Bed
from tests.acceptance.blocks import Line, landed_after, lines
from tests.acceptance.cluster import NODES
from tests.acceptance.errors import NotAccepted
from tests.acceptance.story import typed

TITLE = "A slow target: writes on their way while the disk is taken"
DELAY_MS = 3000
LONG_MS = 8000
"""Longer than an ordinary command may take."""
WATCH_PORTAL = "10.60.1.3"
"""LIO answers nothing else over a session while an abort waits: the watch has one of its own."""
BLOCK = 8
ROUNDS_PART = 4
WATCH_S = 30.0
SETTLE_S = 8.0
HAND_S = 15.0
TRIES = 6
SERVICE = """\
[DEFAULT]
app = LAB
service_type = DEV
nodes = {nodes}
scsireserv = true

[fs#1]
mnt = /opt/{name}
dev = /dev/shared/{name}
type = ext4
"""


@dataclass(frozen=True)
class Record:
    """What one round showed. ``landed`` and ``taken_at`` are of deb2's clock."""

    taken_at: float
    writes: list[Line]
    landed: list[Line]

    @property
    def late(self) -> list[Line]:
        """What deb1 brought onto the disk after it was taken."""
        return landed_after(self.landed, "deb1", self.taken_at)


def play(bed: Bed) -> None:
    """Take a slow disk of LIO with abort, of tgt with patience; show what happens without both."""
    bed.boot_nodes()
    bed.serve_disks(f"slow={DELAY_MS}")
    bed.serve_disks_without_abort(f"tslow={DELAY_MS}")
    bed.log_in("10.60.0.3", "10.60.0.4", WATCH_PORTAL)
    bed.player.on_both("openha install --embedded-agent --no-key")
    for name in ("slow", "tslow"):
        text = SERVICE.format(name=name, nodes=" ".join(NODES))
        bed.player.on_both(typed(f"/etc/opensvc/{name}.env", text))
    without_barrier(bed)
    for number in range(max(1, bed.rounds // ROUNDS_PART)):
        with_barrier(bed, "slow", f"preempt and abort, round {number + 1}")
    bed.player.on(bed.target, f"/acceptance/target delay slow {LONG_MS}")
    with_barrier(bed, "slow", "preempt and abort of a long write", LONG_MS)
    with_barrier(bed, "tslow", "preempt without abort, then patience")


def without_barrier(bed: Bed) -> None:
    """Show that the bed can show it: a write lands after a plain preempt has returned."""
    bed.player.title(
        "Without a barrier", "sg_persist --preempt: the target says yes, and writes all the same."
    )
    for _ in range(TRIES):
        record = preempt_by_hand(bed)
        if record.late:
            late_s = record.late[-1].at - record.taken_at
            bed.note(f"a write of deb1 landed {late_s:.1f} s after the preempt had returned")
            return
    raise NotAccepted("no write landed late without a barrier: this bed could show nothing")


def preempt_by_hand(bed: Bed) -> Record:
    """Reserve for deb1, preempt for deb2 in the midst of a write, clear."""
    owner, other = bed.nodes
    disk = "/dev/shared/slow"
    out = "sg_persist -n --out"
    kind = "--prout-type=5"
    bed.player.on(owner, f"{out} --register-ignore --param-sark=0xdeb1 {disk}")
    bed.player.on(owner, f"{out} --reserve --param-rk=0xdeb1 {kind} {disk}")
    bed.player.on(other, f"{out} --register-ignore --param-sark=0xdeb2 {disk}")
    keys = "--param-rk=0xdeb2 --param-sark=0xdeb1"
    preempt = f"{out} --preempt {keys} {kind} {disk}; echo taken at $(date +%s.%N)"
    record = take(bed, "slow", preempt, DELAY_MS, HAND_S)
    bed.player.on(other, f"{out} --clear --param-rk=0xdeb2 {disk}")
    return record


def with_barrier(bed: Bed, name: str, how: str, delay_ms: int = DELAY_MS) -> None:
    """Take the disk as a service does; nothing may land afterwards."""
    bed.player.title(f"{name}: {how}", f"Each write takes {delay_ms / 1000:g} s.")
    bed.player.on(bed.nodes[0], f"svcmgr -s {name} prstart --force; svcmgr -s {name} prstatus")
    stamp = r"s/^\(\S* [0-9:]*\),\([0-9]*\) .*/\1.\2/p"
    log = f"/var/log/opensvc/{name}.log"
    record = take(
        bed,
        name,
        f"svcmgr -s {name} prstart --force && echo taken at $(date +%s.%N -d"
        f" \"$(grep 'reservation acquired' {log} | tail -n 1 | sed -n '{stamp}')\")",
        delay_ms,
    )
    texts = ", ".join(line.text for line in record.late)
    bed.player.check(not texts, f"no write of deb1 landed after deb2 had the disk {texts}".strip())
    refused = [line.text for line in record.writes if line.is_failed]
    bed.player.check(
        any("EBADE" in text for text in refused),
        f"deb1's next write is refused: {refused[0] if refused else 'no'}",
    )
    bed.player.on(bed.nodes[1], f"svcmgr -s {name} prstop; svcmgr -s {name} prstatus", code=None)


def take(bed: Bed, name: str, command: str, delay_ms: int, seconds: float = WATCH_S) -> Record:
    """Let deb1 write and deb2 take the disk in the midst of it."""
    blocks = "/acceptance/blocks.py"
    writing = f"{blocks} write /dev/shared/{name} {BLOCK} {seconds:g}"
    with ThreadPoolExecutor(2) as pool:
        place = f"$(ls /dev/shared/{name}.2 2> /dev/null || echo /dev/shared/{name})"
        watching = f"{blocks} watch {place} {BLOCK} {seconds + SETTLE_S:g}"
        watch = pool.submit(bed.nodes[1].run, watching, WATCH_S * 3)
        write = pool.submit(bed.nodes[0].run, writing, WATCH_S * 3)
        time.sleep(delay_ms / 1000 * (1.5 + random.random()))
        said = bed.player.on(bed.nodes[1], command)
        writes, landed = lines(write.result().output), lines(watch.result().output)
    found = re.search(r"taken at ([\d.]+)", said)
    taken_at = float(found[1]) if found else 0.0
    bed.player.check(taken_at > 0, f"deb2 took the disk at {taken_at:.3f}")
    for title, found_lines in (("deb1", writes), ("disk", landed)):
        near = [f"{line.at - taken_at:+.2f} s {line.text}" for line in found_lines]
        bed.note(f"{title}: {'; '.join(near[:12])}")
    begun = {line.text.split()[1]: line.at for line in writes if line.is_begun}
    refused = next((line for line in writes if line.is_failed), None)
    bed.player.check(
        refused is not None and begun[refused.text.split()[1]] < taken_at + delay_ms / 1000,
        "deb1 was writing all the time",
    )
    return Record(taken_at, writes, landed)
