"""Print one table: what is measured here, and of other programs for two nodes where installed.

    python -m bench.comparison [--quick] [PART ...]

Each program runs on two nodes in namespaces of this machine, with one resource whose script records
when it is called; ours has two multicast links and a disk. Parts: rest (one pair at a time: what it
costs while nothing happens, commands, planned moves), kill (a few pairs at a time: power loss of
the owner to the first instruction of the start script), busy (all pairs at once, beside busy
processes) and many (a takeover of many services). Figures only: no slow machine makes it fail.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from bench import many_services, node_cost
from bench.commands import BARE, OURS, once
from bench.node_commands import must
from bench.peers import heartbeat, keepalived, pacemaker
from bench.takeover import EZ, PLAN_OPTIONS, Cluster, heading, row
from opensvc_openha.core.model import Profile
from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.errors import OpenhaError

HERE = "here"
PEERS = {"keepalived": keepalived, "Pacemaker": pacemaker, "heartbeat": heartbeat}
COLUMNS = (HERE, *PEERS)
PARTS = ("rest", "kill", "busy", "many")
SHOWN = 3
"""So many processes of a node are shown with their memory, the largest; the others as one."""
BUSY_PROCESSES = 16
SETTLED_S = 5.0
"""From the last change to a measurement of what a pair costs at rest."""
KILLS = "power loss to start script, s"
ENTRY = "/bin/true"
AGENT_COMMANDS = ("svcmon", "svcmgr -s web print status")
FAILURES = (SystemExit, subprocess.SubprocessError, OSError, OpenhaError)
"""What a pair that cannot be set up or measured raises."""
REALTIME = "[node]\nrealtime = yes\n"

Table = dict[str, dict[str, dict[str, str]]]
"""What is in each cell, by row and column: a text for each setting, by its label."""


def new_table() -> Table:
    """Return an empty one, whose cells come into being."""
    return defaultdict(lambda: defaultdict(dict))


_table = new_table()


@dataclass(frozen=True)
class Amount:
    """How much is measured."""

    kills: int
    moves: int
    commands: int
    rest_s: float
    busy_s: float
    counts: tuple[int, ...]
    together: int
    """Pairs at once whose owner loses its power: they wait nearly all the time."""
    is_quick: bool


QUICK = Amount(3, 4, 8, 15.0, 45.0, (1_000,), 6, True)
FULL = Amount(20, 20, 40, 120.0, 180.0, (100, 300, 1_000), 3, False)


class Pair(Protocol):
    """Two nodes of one program."""

    nodes: TwoNodes
    owner: Node
    standby: Node

    def power_loss(self) -> float:
        """Return the seconds from a power loss of the owner to the start script."""

    def planned_move(self) -> float:
        """Return the seconds from the stop script to the start script on the other node."""

    def starts(self) -> int:
        """Return how many times scripts were called to start or to stop."""


@dataclass(frozen=True)
class Setting:
    """A program with its timing, and how to set it up on two nodes."""

    column: str
    label: str
    make: Callable[[TwoNodes], Pair]


def ours(label: str, timeout_s: float, profile: Profile, options: str = "") -> Setting:
    """Return one of this package."""
    make = partial(Cluster, timeout_s=timeout_s, profile=profile, options=options)
    return Setting(HERE, label, make)


TUTORIAL = [ours(f"T={timeout_s:g}", timeout_s, Profile.TUTORIAL) for timeout_s in (10.0, 2.0, 1.0)]
FAST_1, FAST = (ours(f"fast {timeout_s:g} s", timeout_s, Profile.FAST) for timeout_s in (1.0, 0.3))
AGENT = Setting(
    HERE,
    "T=2, embedded agent",
    partial(Cluster, timeout_s=2.0, profile=Profile.TUTORIAL, has_agent=True),
)
FENCE_KNOWN = "[timing]\nfence_time = 1\n"
"""The check-up script is a fence that ends within a second: nothing but that is waited for."""
KNOWN = [
    ours(f"T={timeout_s:g}, fence known", timeout_s, Profile.TUTORIAL, FENCE_KNOWN)
    for timeout_s in (10.0, 2.0, 1.0)
]
WITH_PLAN = [
    ours("T=2, fence plan", 2.0, Profile.TUTORIAL, FENCE_KNOWN + PLAN_OPTIONS),
    ours("fast 0.3 s, fence plan", 0.3, Profile.FAST, PLAN_OPTIONS),
]
FAST_REALTIME = ours("fast 0.3 s, real-time class", 0.3, Profile.FAST, REALTIME)
OTHER_PROFILES = [
    ours(f"{profile.value} {timeout_s:g} s", timeout_s, profile)
    for profile in Profile
    if profile not in (Profile.TUTORIAL, Profile.FAST)
    for timeout_s in (1.0, 3.0)
]


def others() -> list[Setting]:
    """Return those of the programs that are installed here."""
    return [
        Setting(column, label, make)
        for column, module in PEERS.items()
        if shutil.which(module.PROGRAM)
        for label, make in module.SETTINGS.items()
    ]


def note(what: str, column: str, label: str, text: str) -> None:
    """Put a figure into the table; print it now as well, on stderr."""
    _table[what][column][label] = text
    print(f"{time.strftime('%H:%M:%S')} {what}: {column} {label} {text}", file=sys.stderr)


def announce(what: str, settings: list[Setting]) -> None:
    """Put what will be measured into the table, in this order."""
    for setting in settings:
        _table[what][setting.column][setting.label] = "-"


def attempt(setting: Setting, what: str, measure: Callable[[Pair], None]) -> None:
    """Set a pair up and measure it; where that does not work the reason is its figure."""
    try:
        with TwoNodes() as nodes:
            measure(setting.make(nodes))
    except FAILURES as problem:
        lines = str(problem).splitlines() or [type(problem).__name__]
        note(what, setting.column, setting.label, f"failed: {lines[0][:100]}")


def middle(values: list[float], factor: float = 1.0, digits: int = 2) -> str:
    """Return median and maximum."""
    return f"{factor * statistics.median(values):.{digits}f} ({factor * max(values):.{digits}f})"


def shown_memory(node: Node) -> str:
    """Return the memory of a node's processes, and of each that matters."""
    found = node_cost.memory_mb(node)
    parts = [f"{name} {size:.1f}" for name, size in found[:SHOWN]]
    parts += [f"others {sum(size for _, size in found[SHOWN:]):.1f}"] if found[SHOWN:] else []
    return f"{sum(size for _, size in found):.1f} ({', '.join(parts)})"


def measure_commands(column: str, node: Node, words: tuple[str, ...], runs: int) -> None:
    """Measure commands as typed in a node, without what entering the node takes."""
    node.environment["PATH"] = f"{EZ}/bin:{node.environment['PATH']}"
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(runs):
        for command in (ENTRY, *words):
            found[command].append(once(node, command))
    entry, *rest = (
        [statistics.median(values) for values in zip(*found[command])]
        for command in (ENTRY, *words)
    )
    for command, (wall, cpu) in zip(words, rest):
        name = command.replace(sys.executable, "python")
        text = f"{max(0.0, wall - entry[0]):.0f} ({max(0.0, cpu - entry[1]):.0f})"
        note("commands, ms (CPU)", column, f"`{name}`", text)


def measure_rest(setting: Setting, amount: Amount) -> None:
    """Measure what a pair costs while nothing happens, its commands and its planned moves."""

    def measure(pair: Pair) -> None:
        column, label = setting.column, setting.label
        time.sleep(SETTLED_S)
        cpu_s, wakeups = node_cost.at_rest(pair.owner, amount.rest_s)
        note("idle CPU, s/h", column, label, f"{cpu_s:.1f}")
        note("wake-ups, 1/s", column, label, f"{wakeups:.0f}")
        note("PSS of a node, MB", column, label, shown_memory(pair.owner))
        if isinstance(pair, Cluster):
            found = [pair.unfreeze() for _ in range(amount.moves)]
            typed, taken = ([each[place] for each in found] for place in (0, 1))
            note("unfreeze to script, ms", column, f"{label} typed", middle(typed, 1000, 0))
            note("unfreeze to script, ms", column, f"{label} taken", middle(taken, 1000, 0))
        gaps = [pair.planned_move() for _ in range(amount.moves)]
        note("switchover gap, ms", column, label, middle(gaps, 1000, 0))
        if setting == TUTORIAL[0]:
            measure_commands(column, pair.owner, (*BARE, *OURS), amount.commands)
        elif setting == AGENT:
            measure_commands(column, pair.owner, AGENT_COMMANDS, amount.commands)
        elif column != HERE:
            words = PEERS[column].STATUS_COMMANDS
            measure_commands(column, pair.owner, words, amount.commands)
        if column == HERE:
            note("PSS of a node, MB", column, f"{label}, after", shown_memory(pair.owner))

    attempt(setting, "at rest", measure)


def measure_all_rest(peers: list[Setting], amount: Amount) -> None:
    """Measure ours and the others; if it shall be quick, the others meanwhile and one of each."""
    own = [TUTORIAL[0], FAST, AGENT]
    if not amount.is_quick:
        for setting in (*own, *peers):
            measure_rest(setting, amount)
        return
    first = list({each.column: each for each in reversed(peers)}.values())

    def measure(settings: list[Setting]) -> None:
        for setting in settings:
            measure_rest(setting, amount)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(measure, (own, first)))


def measure_kills(setting: Setting, amount: Amount) -> None:
    """Measure power loss to start script."""

    def measure(pair: Pair) -> None:
        found = [pair.power_loss() for _ in range(amount.kills)]
        note(KILLS, setting.column, setting.label, middle(found))

    attempt(setting, KILLS, measure)


def false_verdicts(pair: Pair, since: float, starts: int) -> str:
    """Return what a pair did since then, though nothing failed."""
    found = Counter({"starts or stops": pair.starts() - starts})
    if isinstance(pair, Cluster):
        for node in pair.nodes:
            text = must(node, f"{EZ}/bin/openha history -n 0 --json")
            for entry in json.loads(text)["entries"]:
                if entry["at"] > since:
                    found["links down"] += (entry["kind"], entry["new"]) == ("link", "DOWN")
                    found["START_READY"] += entry["new"] == "START_READY"
            found["check-ups"] += len(node.run("cat /var/tmp/checks").stdout.splitlines())
    return ", ".join(f"{count} {what}" for what, count in found.items() if count) or "none"


def measure_busy(settings: list[Setting], amount: Amount) -> None:
    """Count what healthy pairs do beside busy processes: all pairs at once."""
    what = f"{BUSY_PROCESSES} busy processes for {amount.busy_s:g} s"
    announce(what, settings)
    with ExitStack() as stack:
        pairs: list[tuple[Setting, Pair]] = []

        def set_up(setting: Setting) -> None:
            nodes = stack.enter_context(TwoNodes())
            try:
                pairs.append((setting, setting.make(nodes)))
            except FAILURES as problem:
                note(what, setting.column, setting.label, f"failed: {problem}"[:100])

        with ThreadPoolExecutor(amount.together) as pool:
            list(pool.map(set_up, settings))
        time.sleep(SETTLED_S)
        since, starts = time.time(), [pair.starts() for _, pair in pairs]
        with ExitStack() as busy:
            for _ in range(BUSY_PROCESSES):
                process = subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"])
                busy.callback(process.wait)
                busy.callback(process.kill)
            time.sleep(amount.busy_s)
        for (setting, pair), before in zip(pairs, starts):
            note(what, setting.column, setting.label, false_verdicts(pair, since, before))


def measure_many(amount: Amount) -> None:
    """Measure takeovers of many services."""
    for count in amount.counts:
        label = f"{count:,}:"
        try:
            found = many_services.measure(count)
        except FAILURES as problem:
            note("many services", HERE, label, f"failed: {problem}"[:100])
            continue
        note(
            "takeover of many: first to last start, all STARTED, s",
            HERE,
            label,
            f"{found.starts_s:.2f}, {found.all_s:.2f}",
        )
        note(
            "what it takes: CPU, s; write(), MB; calls of its lasting threads",
            HERE,
            label,
            f"{found.cpu_s:.2f}; {found.written_mb:.1f}; {found.calls}",
        )
        note(
            "PSS of the daemon and its children, MB: before, after; idle CPU, %",
            HERE,
            label,
            f"{found.rest_mb:.1f}, {found.after_mb:.1f}; {found.idle_percent:.2f}",
        )


def print_table() -> None:
    """Print all that was measured."""
    heading("", *COLUMNS)
    for what, cells in _table.items():
        texts = [
            "; ".join(f"{label} {text}" for label, text in cells[column].items()) or "-"
            for column in COLUMNS
        ]
        row(what, *texts)


def main() -> None:
    """Measure, and print the table; what is missing here is named first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer runs: within ten minutes")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all")
    options = parser.parse_args()
    if wrong := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(wrong))}")
    amount = QUICK if options.quick else FULL
    parts, peers = options.parts or PARTS, others()
    absent = sorted(set(PEERS) - {setting.column for setting in peers})
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(f"{cores} cores, load {load:.1f} at the beginning; median (maximum) of each setting")
    print(f"Not installed: {', '.join(absent) or 'none'}\n", flush=True)
    if "rest" in parts:
        measure_all_rest(peers, amount)
    if "kill" in parts:
        settings = [*TUTORIAL, *KNOWN, FAST_1, FAST, *WITH_PLAN, *OTHER_PROFILES, *peers]
        announce(KILLS, settings)
        with ThreadPoolExecutor(amount.together) as pool:
            list(pool.map(lambda setting: measure_kills(setting, amount), settings))
    if "busy" in parts:
        measure_busy([*TUTORIAL, FAST_1, FAST, FAST_REALTIME, *OTHER_PROFILES, *peers], amount)
    if "many" in parts:
        measure_many(amount)
    print_table()


if __name__ == "__main__":
    main()
