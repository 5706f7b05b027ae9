"""Print the time of a takeover, from a node's power loss to the other's start script.

    python bench/takeover.py [runs per row] [clusters at once]

Real daemons on two nodes in namespaces, three heartbeat links (two multicast, one disk). The
check-up script succeeds at once, since the peer really is off. Also: unfreeze to start script with
a live peer, a planned move, false takeovers under load, and the engine's time for many services.
Figures only: no slow machine makes it fail.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.node_commands import must
from opensvc_openha.control import client
from opensvc_openha.core.actions import Persist, RunScript
from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    BeatReceived,
    RecoveredState,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    Tick,
)
from opensvc_openha.core.model import ClusterSpec, LinkSpec, Profile, ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.core.timing import LAST_CALL_S, PACES
from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import prepare
from opensvc_openha.demo.story import monitor_file
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import tree_layout

EZ = "/usr/local/cluster"
SETTINGS = (
    (10.0, Profile.TUTORIAL),
    (2.0, Profile.TUTORIAL),
    (1.0, Profile.FAST),
    (0.5, Profile.FAST),
)
FENCE = "#!/bin/sh\n# The peer is off: the bench has cut its power.\necho >> /var/tmp/checks\n"
SCRIPT = """#!/bin/sh
date +%s.%N >> /var/tmp/$1.times
case $1 in
start) touch /run/up;;
stop) rm -f /run/up;;
status) if [ -e /run/up ]; then echo up; else echo down; exit 1; fi;;
esac
"""
SERVICE_FILE = """[DEFAULT]
nodes = {nodes}
[app#1]
script = /opt/registry.sh
start = 1
stop = 1
check = 1
[hb#0]
type = OpenHA
name = registry
"""
FAST_OPTIONS = "[timing]\nprofile = fast\nfence_time = 0.2\n"
PLAN_TIMEOUTS_S = (1.0, 0.3)
PLAN_OPTIONS = """[fencing]
levels = switch
    [[switch deb1.opensvc.com]]
    agent = callout
    cmd = /opt/fence.sh
    [[switch deb2.opensvc.com]]
    agent = callout
    cmd = /opt/fence.sh
"""
SERVICES = (2, 128, 1_000, 10_000)
LOOK_S = 0.05
SETTLED_S = 1.5
"""From the last change to a failure, so that both nodes have heard of each other's state."""
LOAD_PROCESSES_PER_CORE = 8
LOAD_S = 60.0


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def heading(*cells: str) -> None:
    row(*cells)
    row(*("---" for _ in cells))


def summary(values: list[float]) -> tuple[str, str, str, str]:
    """Return count, median, 99th percentile (nearest rank) and maximum, in seconds."""
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, -(-99 * len(ordered) // 100) - 1)]
    return (
        str(len(ordered)),
        f"{statistics.median(ordered):.3f}",
        f"{p99:.3f}",
        f"{ordered[-1]:.3f}",
    )


def node_status(node: Node) -> NodeStatus | None:
    """Return the status of a node's daemon, asked without a process; None if it does not answer."""
    try:
        return client.fetch_status(tree_layout(f"{node.root}{EZ}"), 30.0)
    except (OpenhaError, OSError):
        return None


class Cluster:
    """Two nodes with one service that records when its script runs.

    With the embedded agent that script is its application, else the service's own script.
    """

    def __init__(
        self,
        nodes: TwoNodes,
        timeout_s: float,
        profile: Profile,
        options: str = "",
        has_agent: bool = False,
    ) -> None:
        self.nodes = nodes
        if profile is not Profile.TUTORIAL:
            options = FAST_OPTIONS.replace("fast", profile.value) + options
        script = "/etc/opensvc/web.cluster" if has_agent else "/opt/registry.sh"
        for node in nodes:
            prepare(node)
            must(node, f"openha install --no-key {'--embedded-agent' if has_agent else ''}")
            node.write(f"{EZ}/conf/nodes", "".join(f"{each.name}\n" for each in nodes))
            node.write(f"{EZ}/conf/monitor", monitor_file(1).replace("\t1\n", f"\t{timeout_s:g}\n"))
            if options:
                node.write(f"{EZ}/conf/openha.conf", options)
            node.write("/opt/fence.sh", FENCE, 0o755)
            node.write("/opt/registry.sh", SCRIPT, 0o755)
            names = " ".join(each.name for each in nodes)
            if has_agent:
                node.write("/etc/opensvc/web.env", SERVICE_FILE.format(nodes=names))
                must(node, "svcmon")
            must(node, f"{EZ}/bin/service -a registry {script} {names} /opt/fence.sh")
            must(node, f"{EZ}/ezha start")
        self.owner, self.standby = nodes
        self.act(self.owner, "unfreeze")
        self.until(self.owner, "STARTED")
        self.act(self.standby, "unfreeze")
        self.until(self.standby, "STOPPED")
        time.sleep(SETTLED_S)

    def act(self, node: Node, action: str) -> None:
        """Run `service -A registry ACTION`."""
        must(node, f"{EZ}/bin/service -A registry {action}")

    def own_state(self, node: Node) -> str:
        """Return the state of the service on the node, as reported by the node."""
        found = node_status(node)
        states = [] if found is None else [svc.own_state for svc in found.services]
        return states[0].name if states and states[0] else ""

    def until(self, node: Node, state: str, limit_s: float = 60.0) -> None:
        """Wait for a state of the service on the node."""
        give_up = time.monotonic() + limit_s
        while self.own_state(node) != state:
            if time.monotonic() > give_up:
                raise SystemExit(
                    f"{node.name} not {state} within {limit_s:g} s:"
                    f" {node.run(f'{EZ}/bin/service -s -v').stdout}"
                )
            time.sleep(LOOK_S)

    def last(self, node: Node, word: str) -> float:
        """Return the wall-clock time of the script's last call with that word."""
        calls = self.calls(node, word)
        return calls[-1] if calls else 0.0

    def calls(self, node: Node, word: str) -> list[float]:
        """Return the wall-clock times of the script's calls with that word."""
        try:
            return [float(line) for line in node.read(f"/var/tmp/{word}.times").split()]
        except OSError:
            return []

    def starts(self) -> int:
        """Return how many times the script was called to start or to stop, on both nodes."""
        return sum(len(self.calls(node, word)) for node in self.nodes for word in ("start", "stop"))

    def power_loss(self) -> float:
        """Cut the owner's power; return the seconds to the start script on the other node.

        Leaves both nodes ready for the next run.
        """
        cut_at = time.time()
        self.owner.kill()
        self.until(self.standby, "STARTED")
        took_s = self.last(self.standby, "start") - cut_at
        self.owner.boot()
        prepare(self.owner)
        must(self.owner, f"{EZ}/ezha start")
        self.owner, self.standby = self.standby, self.owner
        self.until(self.standby, "STOPPED")
        # The power may fail at any time between two beats.
        time.sleep(SETTLED_S + (took_s * 7919) % 1.0)
        return took_s

    def unfreeze(self) -> tuple[float, float]:
        """Unfreeze one of two frozen nodes; return the seconds to the start script.

        First from the command, second from its arrival.
        """
        for node in (self.standby, self.owner):
            self.act(node, "freeze-stop")
            self.until(node, "FROZEN_STOP")
        # Taken in the node: entering it is no part of what is typed there.
        typed = f"date +%s.%N; exec {EZ}/bin/service -A registry unfreeze"
        asked_at = float(must(self.owner, typed).split()[0])
        self.until(self.owner, "STARTED")
        started_at = self.last(self.owner, "start")
        log = str(self.owner.run(f"cat {EZ}/log/*").stdout)
        taken = re.findall(r"(?m)^(\S+ \S+),(\d+) .*operator: unfreeze", log)[-1]
        taken_at = time.mktime(time.strptime(taken[0], "%Y-%m-%d %H:%M:%S")) + int(taken[1]) / 1000
        self.act(self.standby, "unfreeze")
        self.until(self.standby, "STOPPED")
        return started_at - asked_at, started_at - taken_at

    def planned_move(self) -> float:
        """Run `service -A registry stop`.

        Return the seconds from the stop script to the start script on the other node.
        """
        self.act(self.owner, "stop")
        self.until(self.standby, "STARTED")
        self.owner, self.standby = self.standby, self.owner
        return self.last(self.owner, "start") - self.last(self.standby, "stop")


def on_clusters(
    count: int,
    timeout_s: float,
    profile: Profile,
    measure: Callable[[Cluster], Iterable[float]],
    options: str = "",
) -> list[float]:
    """Run ``measure`` on ``count`` clusters in parallel; return all results."""
    found: list[float] = []
    lock = threading.Lock()

    def one(_: int) -> None:
        with TwoNodes() as nodes:
            for value in measure(Cluster(nodes, timeout_s, profile, options)):
                with lock:
                    found.append(value)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(one, range(count)))
    return found


def wait_s(profile: Profile) -> float:
    """Return how long START_READY lasts: where no fence is known, the delay of the profile."""
    is_known = profile is not Profile.TUTORIAL  # The others have a `fence_time` here.
    return LAST_CALL_S if is_known else PACES[profile].start_ready_delay_s


def takeovers(runs: int, clusters: int) -> None:
    """Measure power loss to start script."""
    print(
        f"\nPower loss of the owner to the start script on the other node, s ({clusters} clusters"
        " at once):\n",
        flush=True,
    )
    heading(
        "link timeout",
        "profile",
        "runs",
        "median",
        "p99",
        "max",
        "timeout + wait",
        "p99 beyond it, ms",
    )
    each = -(-runs // clusters)
    for timeout_s, profile in SETTINGS:
        found = on_clusters(
            clusters,
            timeout_s,
            profile,
            lambda cluster: (cluster.power_loss() for _ in range(each)),
        )
        due_s = timeout_s + wait_s(profile)
        cells = summary(found)
        row(
            f"{timeout_s:g} s",
            profile.value,
            *cells,
            f"{due_s:.1f}",
            f"{(float(cells[2]) - due_s) * 1000:.0f}",
        )


def planned_takeovers(runs: int) -> None:
    """Measure power loss to start script through a fence plan of one step."""
    print(
        "\nThe same through a fence plan of one step that succeeds at once: a program of its own is"
        " started for it (one cluster):\n",
        flush=True,
    )
    heading("link timeout", "profile", "runs", "median", "p99", "max", "median beyond it, ms")
    for timeout_s in PLAN_TIMEOUTS_S:
        found = on_clusters(
            1,
            timeout_s,
            Profile.FAST,
            lambda cluster: (cluster.power_loss() for _ in range(runs)),
            PLAN_OPTIONS,
        )
        due_s = timeout_s + wait_s(Profile.FAST)
        cells = summary(found)
        row(f"{timeout_s:g} s", "fast", *cells, f"{(float(cells[1]) - due_s) * 1000:.0f}")


def live_peer(runs: int) -> None:
    """Measure what needs no timeout since the peer answers."""
    print("\nWith a live peer, s (tutorial profile, link timeout 10 s, one cluster):\n", flush=True)
    heading("what", "runs", "median", "p99", "max")
    with TwoNodes() as nodes:
        cluster = Cluster(nodes, 10.0, Profile.TUTORIAL)
        unfrozen = [cluster.unfreeze() for _ in range(runs)]
        row(
            "`service -A registry unfreeze` typed, to start script",
            *summary([typed for typed, _ in unfrozen]),
        )
        row(
            "unfreeze taken by the daemon, to start script",
            *summary([taken for _, taken in unfrozen]),
        )
        row(
            "stop script here to start script there",
            *summary([cluster.planned_move() for _ in range(runs)]),
        )


def false_takeovers() -> None:
    """Count false takeovers on a machine under load."""
    cores = len(os.sched_getaffinity(0))
    count = LOAD_PROCESSES_PER_CORE * cores
    print(
        f"\nTakeovers that should not have been, {LOAD_S:g} s with {count} busy processes on"
        f" {cores} cores:\n",
        flush=True,
    )
    heading("link timeout", "profile", "start scripts run", "verdicts 'peer silent'")
    for timeout_s, profile in SETTINGS:
        with TwoNodes() as nodes:
            cluster = Cluster(nodes, timeout_s, profile)
            before = cluster.last(cluster.standby, "start")
            load = [
                subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)
            ]
            try:
                time.sleep(LOAD_S)
            finally:
                for process in load:
                    process.kill()
                    process.wait()
            silent = sum(
                str(node.run(f"cat {EZ}/log/*").stdout).count("-> SILENT") for node in nodes
            )
            started = int(cluster.last(cluster.standby, "start") != before)
            row(f"{timeout_s:g} s", profile.value, started, silent)


def engine_of(count: int) -> tuple[Engine, LinkSpec, Beat]:
    """Return an engine with that many services, STOPPED here and STARTED on a live peer."""
    names = [f"service-{number:05}" for number in range(count)]
    links = tuple(
        LinkSpec(node, "net", "eth1", "239.131.50.10", 5010, 0, 10.0) for node in ("deb1", "deb2")
    )
    services = tuple(
        ServiceSpec(name, "/opt/service", "deb1", "deb2", "/opt/fence") for name in names
    )
    spec = ClusterSpec("deb2", "deb1", links, services)
    recovered = {name: RecoveredState(ServiceState.STOPPED) for name in names}
    engine = Engine(spec, BootId(1, 1), recovered, 100.0)
    beat = Beat(
        "deb1",
        BootId(1, 2),
        1,
        Ack(BootId(1, 1), 1),
        {name: ServiceState.STARTED for name in names},
    )
    engine.step(BeatReceived(links[0], beat, 100.5), 100.5)
    return engine, links[0], beat


def decisions() -> None:
    """Measure the processor time of the engine's decisions."""
    print(
        "\nOne engine without I/O: CPU, ms, per beat heard at rest, and per step of a takeover of"
        " all services:\n",
        flush=True,
    )
    heading(
        "services",
        "beat heard",
        "CPU at 1 s beats on 3 links, % of a core",
        "silent to START_READY",
        "to check-up scripts",
        "one check-up script's end to its start script",
    )
    for count in SERVICES:
        engine, link, beat = engine_of(count)
        begun = time.process_time()
        rounds = max(3, 2_000 // count)
        for number in range(rounds):
            at = 101.0 + number * 0.001
            engine.step(
                BeatReceived(
                    link, Beat(beat.node, beat.boot, 2 + number, beat.ack, dict(beat.states)), at
                ),
                at,
            )
        rest_ms = (time.process_time() - begun) / rounds * 1000
        now = 101.0 + rounds * 0.001
        marks: list[Any] = []
        while not marks or marks[-1][1] is not ScriptKind.CHECK:
            now = max(now, engine.next_deadline())
            begun = time.process_time()
            actions = engine.step(Tick(), now)
            took = (time.process_time() - begun) * 1000
            kinds = [action.kind for action in actions if isinstance(action, RunScript)]
            if kinds or any(isinstance(action, Persist) for action in actions):
                marks.append((took, kinds[0] if kinds else None))
        begun = time.process_time()
        sample = [svc.name for svc in engine.spec.services[:100]]
        for name in sample:
            engine.step(ScriptExited(name, ScriptKind.CHECK, ScriptOutcome.OK), now)
        one_ms = (time.process_time() - begun) * 1000 / len(sample)
        row(
            f"{count:,}",
            f"{rest_ms:.2f}",
            f"{rest_ms * 3 / 10:.2f}",
            *(f"{mark[0]:.1f}" for mark in (marks[0], marks[-1])),
            f"{one_ms:.2f}",
        )


def main() -> None:
    """Print all tables."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    clusters = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    takeovers(runs, clusters)
    planned_takeovers(runs)
    live_peer(runs)
    false_takeovers()
    decisions()


if __name__ == "__main__":
    main()
