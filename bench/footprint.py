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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.many_services import Pair
from bench.takeover import FAST_OPTIONS, heading, row
from opensvc_openha.demo.nodes import TwoNodes

SERVICES, TIMEOUT_S, SECONDS = 2, 10.0, 60.0
SETTLE_S = 15.0
FAST_BELOW_S = 2.0


@dataclass(frozen=True)
class Used:
    """What a thread has used so far."""

    name: str
    cpu_s: float
    wakes: int


def processes(pid: int) -> Iterator[int]:
    """Return a process and its descendants; each thread has children of its own."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from processes(int(child))


def memory_kb(pid: int) -> dict[str, int]:
    """Return the lines of a process's smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def threads(pid: int) -> dict[int, Used]:
    """Return what each thread of a process has used."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        status = (task / "status").read_text()
        ran_ns = int((task / "schedstat").read_text().split()[0])
        wakes = int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
        name = (task / "comm").read_text().strip()
        found[int(task.name)] = Used(name, ran_ns / 1e9, wakes)
    return found


def ended_s(pid: int) -> float:
    """Return the processor time of the children that ended, such as scripts."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def measure(count: int, timeout_s: float, seconds: float) -> None:
    """Print both tables."""
    options = FAST_OPTIONS if timeout_s < FAST_BELOW_S else ""
    with TwoNodes() as nodes:
        pair = Pair(nodes, count, timeout_s, options)
        daemon = pair.pid_of(pair.standby)
        time.sleep(SETTLE_S)
        before = {pid: (threads(pid), ended_s(pid)) for pid in processes(daemon)}
        began = time.monotonic()
        time.sleep(seconds)
        after = {pid: (threads(pid), ended_s(pid)) for pid in processes(daemon)}
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
        for tid, used in sorted(after[daemon][0].items()):
            old = first.get(tid, Used("", 0.0, 0))
            row(
                used.name,
                f"{(used.wakes - old.wakes) / hours / 60:.0f}",
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
