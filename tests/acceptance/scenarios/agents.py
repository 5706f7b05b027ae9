"""A11: a real OpenSVC agent on one node, the embedded one on the other, one service, one disk."""

from __future__ import annotations

import os
import re

from tests.acceptance.bed import Bed
from tests.acceptance.cluster import NODES
from tests.acceptance.errors import CannotRun
from tests.acceptance.machines import Machine
from tests.acceptance.story import typed
from tests.plugin.real_agents import find_python

TITLE = "Reservations of real agents and of ours, on the two nodes of one service"
LINES = ("1.7", "1.8")
SERVICE = "shared"
DISK = "/dev/shared/data"
TEXT = """\
[DEFAULT]
app = LAB
service_type = DEV
env = DEV
nodes = {nodes}
scsireserv = true

[fs#1]
mnt = /opt/shared
dev = {disk}
type = ext4
"""
KEYS = f"sg_persist -n -k {DISK}; sg_persist -n -r {DISK}"
REFUSED = r"is already reserved\. use --force to override this safety net"
UP = r"fs#1pr.* up\b"
DOWN = r"fs#1pr.* down\b"
HOLDER = r"Key=(0x[0-9a-f]+)"


def play(bed: Bed) -> None:
    """Take the disk from each other, both ways, with each agent that is named."""
    roots = [root for root in os.environ.get("OPENSVC_AGENT_ROOTS", "").split(":") if root]
    trees = {line: root for line in LINES for root in roots if root.rstrip("/").endswith(line)}
    if not trees:
        raise CannotRun(
            "needs OPENSVC_AGENT_ROOTS=DIR:DIR, source trees of OpenSVC agents that end in"
            f" {' or '.join(LINES)}"
        )
    real, ours = bed.nodes
    for line, tree in trees.items():
        bed.player.title(f"Agent {line} on deb1, the embedded one on deb2")
        bed.boot_nodes()
        if not bed.target.is_on:
            bed.serve_disks("data")
        bed.log_in("10.60.0.3")
        install(bed, line, tree)
        both_ways(bed, real, ours)
        for machine in bed.nodes:
            machine.cut_power()
            machine.forget()


def install(bed: Bed, line: str, tree: str) -> None:
    """Install the real agent on deb1, ours on deb2; the service file names the disk itself."""
    real, ours = bed.nodes
    bed.player.on(real, f"/acceptance/agent {line} {tree} {python()} {SERVICE}")
    bed.player.on(ours, "openha install --embedded-agent --no-key")
    for machine, suffix in ((real, "conf" if line == "1.8" else "env"), (ours, "env")):
        disk = bed.player.on(machine, f"readlink -f {DISK}; mkdir -p /opt/shared").strip()
        text = TEXT.format(nodes=" ".join(NODES), disk=disk)
        bed.player.on(machine, typed(f"/etc/opensvc/{SERVICE}.{suffix}", text))


def both_ways(bed: Bed, real: Machine, ours: Machine) -> None:
    """Each sees the other's reservation, respects it, takes it by force, and is seen then."""
    player = bed.player
    for first, second in ((real, ours), (ours, real)):
        player.on(first, command(first, "prstart"), limit_s=300)
        held = player.on(first, KEYS, (HOLDER,))
        player.on(first, status(first), (UP,), code=None)
        player.on(second, status(second), (DOWN,), code=None)
        player.on(second, command(second, "prstart"), (REFUSED,), code=None)
        left = player.on(first, KEYS, (holder(held),))
        # The real one registers before it looks, and leaves its key there.
        player.check(second is real or left == held, f"{second.name} took nothing")
        player.on(second, command(second, "prstart --force"), limit_s=300)
        taken = player.on(second, KEYS, (HOLDER, "1 registered reservation key"))
        player.check(holder(taken) != holder(held), f"the disk is {second.name}'s")
        player.on(first, status(first), (DOWN,), code=None)
        player.on(second, command(second, "prstop"), limit_s=300)
        player.on(second, KEYS, ("NO registered reservation keys",))


def holder(keys: str) -> str:
    """Return the holder, as the keys of a disk show it."""
    found = re.search(HOLDER, keys)
    assert found is not None
    return found[0]


def command(machine: Machine, words: str) -> str:
    """Return the command of the agent of a node: the real one is on deb1."""
    if machine.number == 1:
        return f"PYTHONWARNINGS=ignore /usr/bin/svcmgr -s {SERVICE} {words}"
    return f"svcmgr -s {SERVICE} {words}"


def status(machine: Machine) -> str:
    """Return the command that shows the reservation among all resources."""
    return command(machine, "print status --refresh")


def python() -> str:
    """Return a Python 2: what these agents do with reservations works with no other."""
    found = find_python("1.7")
    if found is None:
        raise CannotRun("needs a Python 2.7, or OPENSVC_AGENT_PYTHON")
    return found
