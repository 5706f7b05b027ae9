"""Read what the processes of a node in namespaces have used, from /proc and perf.

A node is its pid namespace: all its processes but the first one, which is the bench's own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from opensvc_openha.demo.nodes import Node

CALLS = (
    ("fsync", ("fsync", "fdatasync")),
    ("open", ("openat",)),
    ("mkdir", ("mkdir", "mkdirat")),
    ("rename", ("rename", "renameat", "renameat2")),
)
PERF_READY_S = 0.5
NS_PER_S = 1e9


@dataclass(frozen=True)
class Used:
    """What threads have used so far."""

    cpu_s: float
    wakeups: int
    """Times that one of them got a processor after it had waited for something."""


def processes(node: Node) -> dict[int, str]:
    """Return the host's pids of a node's processes, and their names."""
    space = os.readlink(f"/proc/{node.pid}/ns/pid")
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int(folder.name) != node.pid and os.readlink(folder / "ns/pid") == space:
                found[int(folder.name)] = _name(folder)
        except OSError:
            continue
    return found


def _name(folder: Path) -> str:
    """Return the name of a process; of one that Python runs that of its script or module."""
    name = (folder / "comm").read_text().strip()
    if name.startswith("python"):
        words = (folder / "cmdline").read_text().split("\0")
        telling = (word for word in words[1:] if word and not word.startswith("-"))
        name = next(telling, name).rpartition("/")[2].removesuffix(".py")
    return name


def threads(pid: int) -> dict[str, Used]:
    """Return what each thread of a process has used, by its number."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            ran_ns = int((task / "schedstat").read_text().split()[0])
            status = (task / "status").read_text()
        except OSError:
            continue
        wakeups = int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
        found[task.name] = Used(ran_ns / NS_PER_S, wakeups)
    return found


def ended_s(pid: int) -> float:
    """Return the processor time of a process's children that have ended, such as scripts.

    Those are only known by the ticks of the clock.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def used(node: Node) -> Used:
    """Return what a node's processes have used, and what those that have ended had."""
    cpu_s, wakeups = 0.0, 0
    for pid in processes(node):
        cpu_s += ended_s(pid)
        for each in threads(pid).values():
            cpu_s += each.cpu_s
            wakeups += each.wakeups
    return Used(cpu_s, wakeups)


def at_rest(node: Node, seconds: float) -> tuple[float, float]:
    """Return processor time in s per hour, and wake-ups per second, over so many seconds."""
    before, began = used(node), time.monotonic()
    time.sleep(seconds)
    after, took_s = used(node), time.monotonic() - began
    return (
        3600 * (after.cpu_s - before.cpu_s) / took_s,
        (after.wakeups - before.wakeups) / took_s,
    )


def memory_kb(pid: int) -> dict[str, int]:
    """Return the lines of a process's smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def pss_mb(pid: int) -> float:
    """Return the memory of a process, its part of what it shares included."""
    return memory_kb(pid)["Pss"] / 1000


def memory_mb(node: Node) -> list[tuple[str, float]]:
    """Return name and PSS of each process of a node, the largest first."""
    found = [(name, pss_mb(pid)) for pid, name in processes(node).items()]
    return sorted(found, key=lambda each: -each[1])


class KernelCalls:
    """System calls of the threads that a process had at the beginning, counted by the kernel."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.problem = ""

    def __str__(self) -> str:
        """Return the counts, or why there are none."""
        if self.problem:
            return self.problem
        return ", ".join(f"{self.counts[group]:,} {group}" for group, _ in CALLS)

    def read(self, text: str) -> None:
        """Take the lines of `perf stat -x,`: count, unit, event and more."""
        groups = {call: group for group, calls in CALLS for call in calls}
        for line in text.splitlines():
            count, _, event, *_ = [*line.split(","), "", "", ""]
            call = event.rpartition("sys_enter_")[2]
            if call in groups and count.isdigit():
                self.counts[groups[call]] += int(count)
        if not self.counts:
            self.problem = f"not counted: {text.strip()[:100] or 'perf has no events'}"


@contextmanager
def counted_calls(pid: int) -> Iterator[KernelCalls]:
    """Count the calls of a process meanwhile; needs perf, and root.

    Of the threads that it has now, and of none of its scripts: to begin and to end a thread that is
    counted takes the kernel longer than the thread, which is then what is measured.
    """
    found = KernelCalls()
    events = ",".join(f"syscalls:sys_enter_{call}" for _, calls in CALLS for call in calls)
    try:
        perf = subprocess.Popen(
            ["perf", "stat", "-i", "-x,", "-e", events, "-p", str(pid)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    except OSError:
        found.problem = "not counted: perf is not installed"
        yield found
        return
    try:
        time.sleep(PERF_READY_S)
        yield found
    finally:
        perf.send_signal(signal.SIGINT)
        found.read(perf.communicate()[1])
