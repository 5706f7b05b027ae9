"""Print what a takeover of many services takes, and what they cost while nothing happens.

    python -m bench.many_services [COUNT ...]

Real daemons on two nodes in namespaces, two multicast links and a disk with a timeout of 2 s,
profile fast; each service has a script of its own, which a shell runs. The node that runs them all
loses its power. Times are those of the decisions in the history of the other node. Figures only: no
slow machine makes it fail.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.node_commands import must
from bench.node_cost import counted_calls, pss_mb
from bench.services import cpu_s
from bench.takeover import EZ, FAST_OPTIONS, FENCE, heading, node_status, row
from opensvc_openha.core.states import ServiceState
from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import prepare
from opensvc_openha.demo.story import monitor_file
from opensvc_openha.formats.state_file import StoredState, encode

COUNTS = (2, 100, 300, 1_000)
TIMEOUT_S = 2
REST_S = 20.0
LIMIT_S = 600.0
SCRIPT = """#!/bin/sh
svc=${0##*/}
case $1 in
start) : > /run/$svc.runs ;;
stop) rm -f /run/$svc.runs ;;
status) if [ -e /run/$svc.runs ]; then echo up; else echo down; fi ;;
esac
"""


@dataclass(frozen=True)
class Used:
    """What a daemon has used so far, without its children."""

    cpu_s: float
    written_mb: float

    @staticmethod
    def by(pid: int) -> Used:
        """Read it."""
        # The nodes' disks are in memory: what reaches a device is 0.
        written = Path(f"/proc/{pid}/io").read_text().split("wchar: ")[1].split()[0]
        return Used(cpu_s(pid), int(written) / 1e6)


class Pair:
    """Two nodes with these many services, all of them on the first one."""

    def __init__(
        self,
        nodes: TwoNodes,
        count: int,
        timeout_s: float = TIMEOUT_S,
        options: str = FAST_OPTIONS,
    ) -> None:
        self.owner, self.standby = nodes
        self.services = [f"svc{number:04}" for number in range(count)]
        lines = "".join(
            f"{name} /opt/{name} {self.owner.name} {self.standby.name} /opt/fence.sh\n"
            for name in self.services
        )
        frozen = encode(StoredState(ServiceState.FROZEN_STOP)).decode("ascii")
        for node in nodes:
            prepare(node)
            must(node, "openha install --no-key")
            node.write("/opt/fence.sh", FENCE, 0o755)
            node.write(f"{EZ}/conf/nodes", "".join(f"{each.name}\n" for each in nodes))
            node.write(f"{EZ}/conf/monitor", monitor_file(timeout_s))
            node.write(f"{EZ}/conf/openha.conf", f"{options}[check]\nevery = never\n")
            for name in self.services:
                node.write(f"/opt/{name}", SCRIPT, 0o755)
                for each in nodes:
                    node.write(f"{EZ}/services/{name}/STATE.{each.name}", frozen)
            node.write(f"{EZ}/conf/services", lines)
            must(node, f"{EZ}/ezha start")
        self.until_all(self.standby, ServiceState.FROZEN_STOP, ServiceState.FROZEN_STOP)
        for node, state in (
            (self.owner, ServiceState.STARTED),
            (self.standby, ServiceState.STOPPED),
        ):
            must(node, f"{EZ}/bin/service -A unfreeze")
            self.until_all(node, state)

    def until_all(self, node: Node, own: ServiceState, peer: ServiceState | None = None) -> None:
        """Wait until all services are in a state on the node; looks start no process."""
        give_up = time.monotonic() + LIMIT_S
        while True:
            found = node_status(node)
            if found is not None and all(
                svc.own_state is own and peer in (None, svc.peer_state) for svc in found.services
            ):
                return
            if time.monotonic() > give_up:
                raise SystemExit(f"{node.name}: not all {own.name} within {LIMIT_S:g} s")
            time.sleep(0.25)

    def until_all_run(self, node: Node) -> None:
        """Wait until each service's script was started there, without asking the daemon."""
        # For each status the daemon words all services, which takes a good part of a takeover.
        give_up = time.monotonic() + LIMIT_S
        while not all(os.path.exists(f"{node.root}/run/{name}.runs") for name in self.services):
            if time.monotonic() > give_up:
                raise SystemExit(f"{node.name}: not all started within {LIMIT_S:g} s")
            time.sleep(0.1)

    def pid_of(self, node: Node) -> int:
        """Return the host's pid of a node's daemon."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                is_daemon = (folder / "comm").read_text().strip() == "nmond"
                if is_daemon and os.path.samefile(folder / "root", node.root):
                    return int(folder.name)
            except OSError:
                continue
        raise SystemExit(f"{node.name}: no daemon")


@dataclass(frozen=True)
class Result:
    """What a takeover took, and what the daemon on the node that takes over costs.

    Seconds, MB and percent of a core; memory is that of the daemon and its children.
    """

    count: int
    first_s: float
    starts_s: float
    all_s: float
    cpu_s: float
    written_mb: float
    calls: str
    rest_mb: float
    after_mb: float
    idle_percent: float


def family_mb(pid: int) -> float:
    """Return the memory of a process and of its children, part of what they share included."""
    # Each thread has children of its own.
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return pss_mb(pid) + sum(map(family_mb, children))


def measure(count: int) -> Result:
    """Measure these many services."""
    with TwoNodes() as nodes:
        pair = Pair(nodes, count)
        pid = pair.pid_of(pair.standby)
        time.sleep(5.0)
        before, began = Used.by(pid), time.monotonic()
        time.sleep(REST_S)
        after = Used.by(pid)
        idle = 100 * (after.cpu_s - before.cpu_s) / (time.monotonic() - began)
        rest_mb = family_mb(pid)
        with counted_calls(pid) as calls:
            cut_at = time.time()
            pair.owner.kill()
            pair.until_all_run(pair.standby)
            pair.until_all(pair.standby, ServiceState.STARTED)
            used = Used.by(pid)
        text = must(pair.standby, f"{EZ}/bin/openha history -n 0 --json")
        entries = [
            entry
            for entry in json.loads(text)["entries"]
            if entry["kind"] == "service" and entry["at"] > cut_at
        ]
        begun = [entry["at"] for entry in entries if entry["new"] == "STARTING"]
        started = [entry["at"] for entry in entries if entry["new"] == "STARTED"]
        return Result(
            count,
            min(begun) - cut_at,
            max(begun) - min(begun),
            max(started) - min(begun),
            used.cpu_s - after.cpu_s,
            used.written_mb - after.written_mb,
            str(calls),
            rest_mb,
            family_mb(pid),
            idle,
        )


def main() -> None:
    """Print the table."""
    heading(
        "services",
        "power loss to first start, s",
        "first to last start, s",
        "first start to all STARTED, s",
        "CPU of the daemon, s",
        "write(), MB",
        "calls of its lasting threads",
        "PSS before, MB",
        "PSS after, MB",
        "idle CPU, %",
        "load",
    )
    for count in [int(word) for word in sys.argv[1:]] or COUNTS:
        found = measure(count)
        row(
            f"{found.count:,}",
            f"{found.first_s:.2f}",
            f"{found.starts_s:.2f}",
            f"{found.all_s:.2f}",
            f"{found.cpu_s:.2f}",
            f"{found.written_mb:.1f}",
            found.calls,
            f"{found.rest_mb:.1f}",
            f"{found.after_mb:.1f}",
            f"{found.idle_percent:.2f}",
            f"{os.getloadavg()[0]:.1f}",
        )


if __name__ == "__main__":
    main()
