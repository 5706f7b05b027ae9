"""Print the cost of the embedded agent's status commands, each in a new process without cache.

    python bench/agent.py [runs per row]

Service files in a temporary directory, each with an address, two file systems, an application with
a check script, the implicit synchronisation and a heartbeat, without containers and without a node
daemon. Every status is read again; the real agents, whose figures are printed beside ours, cache
them from one command to the next except where "refresh" is printed. Figures only: no slow machine
makes it fail; on a busy one rely on the processor time.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from opensvc_openha.system.identity import node_name

SERVICES = (1, 10, 100)
SERVICE = """\
[DEFAULT]
service_type = DEV
nodes = {node} elsewhere.example.com

[ip#1]
ipdev = lo
ipname = 127.9.9.{number}
netmask = 32

[fs#1]
mnt = {root}/mnt{number}
dev = {root}/image{number}
type = ext4

[fs#2]
mnt = {root}/mnt{number}/data
dev = {root}/data{number}
type = ext4

[app#1]
script = {root}/init
start = 10
stop = 10
check = 10

[hb#0]
type = OpenHA
"""
REAL_AGENTS = (
    ("2014-06, python 2.7 (nothing kept)", "0.14", "0.69", "7.2", ""),
    ("1.5, python 2.7 (nothing kept)", "0.15", "0.55", "4.6", ""),
    ("1.7, python 2.7, kept / refresh", "0.11 / 0.19", "0.25 / 0.98", "1.7 / 10.6", "0.12 / 0.18"),
    ("1.8, python 3.11, kept / refresh", "0.24", "0.37", "1.2", "0.26 / 0.31"),
    ("2.1, python 3.11, kept by its daemon / refresh", "0.68", "0.60", "0.58", "0.71 / 0.76"),
)
"""CPU seconds of `svcmon` with 1, 10 and 100 services and of `print status`, of the real agents,
measured on such a machine."""


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def heading(*cells: str) -> None:
    row(*cells)
    row(*("---" for _ in cells))


def environment(root: str) -> dict[str, str]:
    """Return the environment that points the commands to their files."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env.update(
        {f"OSVC_{name.upper()}": f"{root}/{name}" for name in ("etc", "var", "log", "bin")},
        EZ=f"{root}/cluster",
    )
    return env


def make_services(root: str, count: int) -> None:
    """Write ``count`` numbered service files."""
    for number in range(1, count + 1):
        with open(f"{root}/etc/web{number:03}.example.com.env", "w", encoding="ascii") as file:
            file.write(SERVICE.format(node=node_name(), number=number, root=root))


def measure(words: list[str], root: str, runs: int) -> tuple[list[float], list[float], int]:
    """Return CPU and wall seconds of each run, and the largest process's memory in MB."""
    cpu, wall = [], []
    for _ in range(runs):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "opensvc_openha", *words],
            env=environment(root),
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wall.append(time.monotonic() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return cpu, wall, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024


def main() -> None:
    """Print all tables."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores,"
        f" load average {os.getloadavg()[0]:.1f} at the beginning; {runs} cold runs per row\n"
    )
    with tempfile.TemporaryDirectory() as root:
        for name in ("etc", "var", "log", "bin"):
            os.mkdir(f"{root}/{name}")
        with open(f"{root}/init", "w", encoding="ascii") as file:
            file.write("#!/bin/sh\nexit 1\n")
        os.chmod(f"{root}/init", 0o755)
        heading(
            "command",
            "services",
            "CPU median (s)",
            "CPU least",
            "wall median",
            "wall least",
            "goal (wall)",
            "MB",
        )
        for count in SERVICES:
            make_services(root, count)
            measure(["svcmon"], root, 1)  # Compiles the modules and creates the wrappers.
            for words, goal in (
                (["svcmon"], "1.00" if count == 100 else ""),
                (["svcmgr", "-s", "web001.example.com", "print", "status"], "0.15"),
            ):
                cpu, wall, megabytes = measure(words, root, runs)
                figures = [statistics.median(cpu), min(cpu), statistics.median(wall), min(wall)]
                shown = "svcmon" if words == ["svcmon"] else "print status"
                row(shown, count, *(f"{figure:.2f}" for figure in figures), goal, megabytes)
    print("\nReal agents, CPU seconds:\n")
    heading("agent", "svcmon, 1 service", "10 services", "100 services", "print status")
    for cells in REAL_AGENTS:
        row(*cells)


if __name__ == "__main__":
    main()
