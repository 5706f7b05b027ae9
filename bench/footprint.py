"""Print what a node weighs while nothing happens: memory, threads, wake-ups and processor time.

    python -m bench.footprint [SERVICES [TIMEOUT_S [SECONDS]]]

Real daemons on two nodes in namespaces, two multicast links and a disk. Timeouts of 2 s and more
have the profile tutorial, shorter ones fast. Each process of a node has its row, with its part of
what it shares (PSS), and each thread of the daemon what it was woken and used meanwhile; the least
of the times is the one to compare. Figures only: no slow machine makes it fail.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from bench.many_services import Pair
from bench.node_cost import Used, ended_s, memory_kb, processes, threads
from bench.takeover import FAST_OPTIONS, heading, row
from opensvc_openha.demo.nodes import TwoNodes

SERVICES, TIMEOUT_S, SECONDS = 2, 10.0, 60.0
SETTLE_S = 15.0
FAST_BELOW_S = 2.0


def measure(count: int, timeout_s: float, seconds: float) -> None:
    """Print both tables."""
    options = FAST_OPTIONS if timeout_s < FAST_BELOW_S else ""
    with TwoNodes() as nodes:
        pair = Pair(nodes, count, timeout_s, options)
        daemon = pair.pid_of(pair.standby)
        time.sleep(SETTLE_S)
        before = {pid: (threads(pid), ended_s(pid)) for pid in processes(pair.standby)}
        began = time.monotonic()
        time.sleep(seconds)
        after = {pid: (threads(pid), ended_s(pid)) for pid in processes(pair.standby)}
        hours = (time.monotonic() - began) / 3600
        print(f"\n{count:,} services, timeout {timeout_s:g} s, load {os.getloadavg()[0]:.1f}:\n")
        heading("process", "PSS, MB", "private, MB", "threads", "CPU, s/h", "of ended children")
        total_mb = total_s = 0.0
        for pid, (now, ended) in after.items():
            kb = memory_kb(pid)
            first, ended_before = before.get(pid, ({}, 0.0))
            spent_s = sum(each.cpu_s for each in now.values())
            spent_s -= sum(each.cpu_s for each in first.values())
            private_kb = kb["Private_Dirty"] + kb["Private_Clean"]
            total_mb += kb["Pss"] / 1000
            total_s += spent_s + ended - ended_before
            row(
                " ".join(Path(f"/proc/{pid}/cmdline").read_text().split("\0"))[-40:],
                f"{kb['Pss'] / 1000:.1f}",
                f"{private_kb / 1000:.1f}",
                len(now),
                f"{spent_s / hours:.1f}",
                f"{(ended - ended_before) / hours:.1f}",
            )
        row("together", f"{total_mb:.1f}", "", "", f"{total_s / hours:.1f}", "")
        print()
        heading("thread of the daemon", "wake-ups a minute", "CPU, s/h")
        first = before[daemon][0]
        for tid, used in sorted(after[daemon][0].items(), key=lambda each: int(each[0])):
            old = first.get(tid, Used(0.0, 0))
            row(
                Path(f"/proc/{daemon}/task/{tid}/comm").read_text().strip(),
                f"{(used.wakeups - old.wakeups) / hours / 60:.0f}",
                f"{(used.cpu_s - old.cpu_s) / hours:.2f}",
            )


def main() -> None:
    """Print the tables."""
    words = sys.argv[1:]
    measure(
        int(words[0]) if words else SERVICES,
        float(words[1]) if words[1:] else TIMEOUT_S,
        float(words[2]) if words[2:] else SECONDS,
    )


if __name__ == "__main__":
    main()
