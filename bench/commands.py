"""Print how long an operator waits for each command that only shows something.

    python -m bench.commands [RUNS]

Two nodes in namespaces with a running service; each command is a process of its own, as typed. A
bare Python is in the table to compare, and the status commands of other programs where they are
installed. Times of other programs are those of a node where they do not run. Figures only.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time

from bench.takeover import EZ, Cluster, heading, row
from opensvc_openha.core.model import Profile
from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.system.processes import wait_for_child

BARE = (f"{sys.executable} -I -S -c pass", f"{sys.executable} -c pass")
OURS = (
    "service -s -c",
    "service -s --json",
    "hb -s",
    "openha status",
    "openha why registry",
    "openha history",
    "openha svcmon",
)
LIMIT_S = 60.0
PEERS = ("crm_mon -1", "keepalived --version", "cl_status hbstatus")


def once(node: Node, command: str) -> tuple[float, float]:
    """Run a command in a node; return wall clock and processor time in ms."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = node.popen(
        ["/bin/sh", "-c", f"exec {command}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    # Popen.wait with a limit sleeps longer and longer between its polls: 66 ms would be 114.
    if not wait_for_child(process.pid, LIMIT_S):
        process.kill()
    took = time.monotonic() - began
    process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1000 * took, 1000 * cpu


def main() -> None:
    """Print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    with TwoNodes() as nodes:
        cluster = Cluster(nodes, 2.0, Profile.TUTORIAL)
        node = cluster.owner
        node.environment["PATH"] = f"{EZ}/bin:{node.environment['PATH']}"
        peers = [command for command in PEERS if shutil.which(command.split()[0])]
        heading("command", "runs", "median, ms", "min, ms", "CPU, median, ms", "load")
        # What it costs to enter a node is part of each time: `true` shows how much that is.
        for command in ("/bin/true", *BARE, *OURS, *peers):
            found = [once(node, command) for _ in range(runs)]
            took, cpu = [each[0] for each in found], [each[1] for each in found]
            row(
                f"`{command.replace(sys.executable, 'python')}`",
                runs,
                f"{statistics.median(took):.0f}",
                f"{min(took):.0f}",
                f"{statistics.median(cpu):.0f}",
                f"{os.getloadavg()[0]:.1f}",
            )


if __name__ == "__main__":
    main()
