"""Print the cost of many services for one daemon: start, status, memory, idle processor time.

    python -m bench.services [COUNT ...]

Uses one node with a unicast link on the loopback and a file as its disk; there is no peer. Needs no
privileges.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import BeatReceived, RecoveredState, Tick
from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec
from opensvc_openha.core.states import ServiceState
from tests.cluster_dir import HERE, PEER, ClusterDir

COUNTS = (2, 128, 1_000, 10_000)
REST_S = 10.0
TIMEOUT_S = 10.0


def decision_ms(count: int) -> float:
    """Return the processor time in ms of the step that decides to take all services over.

    The step follows the loss of the last link to the peer.
    """
    links = tuple(
        LinkSpec(node, "net", "eth1", f"239.1.1.{last}", 5010, 0, TIMEOUT_S)
        for last, node in enumerate("ab")
    )
    services = tuple(ServiceSpec(f"svc{number}", "/x", "a", "b", "/y") for number in range(count))
    states = dict.fromkeys((svc.name for svc in services), ServiceState.STARTED)
    recovered = {name: RecoveredState(ServiceState.STOPPED) for name in states}
    engine = Engine(ClusterSpec("a", "b", links, services), BootId(1, 1), recovered, 0.0)
    engine.step(Tick(), 0.0)
    engine.step(
        BeatReceived(
            links[1], Beat("b", BootId(1, 2), 1, Ack(BootId(1, 1), engine.seq), states), 0.1
        ),
        0.1,
    )
    now = 0.2
    while True:
        began = time.process_time()
        actions = engine.step(Tick(), now)
        took_ms = (time.process_time() - began) * 1000
        if len(actions) > count:
            return took_ms
        now = max(engine.next_deadline(), now + 0.01)


def cpu_s(pid: int) -> float:
    """Return the processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(count: int, root: Path) -> str:
    """Return one row of the table."""
    cluster = ClusterDir(root, TIMEOUT_S)
    try:
        script = cluster.script("all.sh", "echo down")
        lines = "".join(f"svc{number} {script} {HERE} {PEER} {script}\n" for number in range(count))
        cluster.path("conf/services").write_text(lines)
        began = time.monotonic()
        cluster.ok("ezha start")
        start_s = time.monotonic() - began
        busy = []
        while len(cluster.calls("all.sh")) < count:
            began = time.monotonic()
            cluster.ok("service -s -c")
            busy.append(time.monotonic() - began)
        time.sleep(TIMEOUT_S + 2)
        pid = cluster.pid()
        spent, began = cpu_s(pid), time.monotonic()
        time.sleep(REST_S)
        rest = 100 * (cpu_s(pid) - spent) / (time.monotonic() - began)
        began = time.monotonic()
        cluster.ok("service -s -c")
        status_s = time.monotonic() - began
        return (
            f"| {count:,} | {start_s:.1f} | {max(busy, default=0):.2f} | {status_s:.2f} |"
            f" {resident_mb(pid):.0f} | {rest:.1f} | {decision_ms(count):.1f} |"
        )
    finally:
        cluster.close()


def main() -> None:
    """Print the table."""
    counts = [int(word) for word in sys.argv[1:]] or COUNTS
    print(
        "| services | start (s) | slowest status while probing (s) | status at rest (s) | resident"
        " (MB) | CPU at rest (%) | decision (ms) |"
    )
    print("|---|---|---|---|---|---|---|")
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            print(measure(count, Path(folder) / "cluster"), flush=True)


if __name__ == "__main__":
    main()
