"""Print the time from taking an interface down until the peer's log reports it.

    python bench/interface_down.py [runs]

Real daemons on two nodes in namespaces, two multicast links and a disk with a timeout of 10 s.
Figures only.
"""

from __future__ import annotations

import statistics
import sys
import time
from datetime import datetime

from bench.node_commands import must
from bench.takeover import EZ, Cluster, heading, row
from opensvc_openha.core.model import Profile
from opensvc_openha.demo.nodes import TwoNodes

REPORTED = "eth1:239.131.50.10: DOWN: the peer reports"


def main() -> None:
    """Switch eth1 of the owner off and on, and read the peer's log."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    took_ms = []
    with TwoNodes() as nodes:
        cluster = Cluster(nodes, 10.0, Profile.TUTORIAL)
        for _ in range(runs):
            began_at = float(must(cluster.owner, "date +%s.%N; ip link set eth1 down"))
            time.sleep(2.0)
            log = must(cluster.standby, f"grep '{REPORTED}' {EZ}/log/nmond.log").splitlines()
            took_ms.append(
                1000
                * (datetime.strptime(log[-1][:23], "%Y-%m-%d %H:%M:%S,%f").timestamp() - began_at)
            )
            must(cluster.owner, "ip link set eth1 up")
            time.sleep(3.0)
    heading("runs", "median, ms", "max, ms", "above 50 ms, or not reported within 2 s")
    bad = sum(not 0 <= each <= 50 for each in took_ms)
    row(runs, f"{statistics.median(took_ms):.1f}", f"{max(took_ms):.1f}", bad)


if __name__ == "__main__":
    main()
