"""Count the effects of a real fence on two nodes, cut from each other or in other stories.

    python -m bench.duels [rounds] [clusters at once] [story ...] [--fence switch|ipmi]

Real daemons on two nodes in namespaces, two multicast links with timeouts of 2 s. The power supply
is outside of both, see ``power``: it cuts the power 3 s after the order, also if the node that
ordered it has died by then.

    switch   the check-up script orders a power switch, and succeeds once that has answered;
             ``fence_time = 4``
    ipmi     each node has a simulated management board; the embedded agent's `[stonith#1]` orders
             it with ipmitool and succeeds once the board reported "off" twice; ``fence_time = 8``

Stories, all of them if none is named:

    mutual   a service on each node, all links are cut: which node survives
    loop     like ``mutual``, then each node without power is booted again, while still cut: how
             many are fenced in a minute
    retry    the owner loses its power, the fence fails at first and works 20 s later: does the
             service run in the end
    planned  unfreeze on both nodes and a planned move, nothing fails: how often the fencing command
             is run
    confirm  both nodes lose their power, and the fence too; one node boots: what the operator gets
    alone    the same, but the fence works: does the service run without an operator

Figures only: no outcome makes it fail. Another version is played by ``cd OTHER && PYTHONPATH=THIS
python -m bench.duels``, with the directories of the two checkouts.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from bench.power import CUT_AFTER_S, Boards, Mode, PowerSupply, PowerSwitch
from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import prepare
from opensvc_openha.errors import SystemFault

EZ = "/usr/local/cluster"
LINK_TIMEOUT_S = 2
LOOP_S = 60.0
LOOK_S = 0.5
"""Seconds between two polls: most start a command, and other pairs share the processors."""
REPAIR_AFTER_S = 20.0
END_S = 90.0
"""Seconds after which an event counts as never happening."""
LIMIT_S = 240.0
ONE_EACH = {"registry": 0, "files": 1}

SCRIPT = """#!/bin/sh
svc=$(basename $0 .sh)
case $1 in
start) touch /run/$svc.runs ;;
stop) rm -f /run/$svc.runs ;;
status) if [ -e /run/$svc.runs ]; then echo up; else echo down; exit 1; fi ;;
esac
"""
PRIORITIES = "[policy]\n    [[files]]\n    priority = 2\n"
KNOWS_PRIORITIES = importlib.util.find_spec("opensvc_openha.core.fencing") is not None
KNOWS_STATUS_COMMAND = (
    importlib.util.find_spec("opensvc_openha.agent.resources.fence_status") is not None
)
FENCES: dict[str, Callable[[TwoNodes], PowerSupply]] = {
    "switch": PowerSwitch,
    "ipmi": lambda nodes: Boards(nodes, KNOWS_STATUS_COMMAND),
}


class Pair:
    """Two nodes with services, and their power supply. Close it."""

    def __init__(
        self,
        nodes: TwoNodes,
        owners: Mapping[str, int],
        mode: Mode = Mode.PASS,
        make_power: Callable[[TwoNodes], PowerSupply] = PowerSwitch,
    ) -> None:
        self.nodes = nodes
        self.owners = owners
        self.power = make_power(nodes)
        try:
            self.power.set_mode(mode)
            self._set_up()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End everything that could act on the nodes."""
        self.power.close()

    def _set_up(self) -> None:
        nodes, owners = self.nodes, self.owners
        options = f"[timing]\nfence_time = {self.power.fence_time_s:g}\n"
        priorities = PRIORITIES if KNOWS_PRIORITIES and "files" in owners else ""
        install = f"openha install{self.power.install_options}"
        monitor = "".join(
            f"{node.name}\tnet\teth{link}\t239.131.50.{10 + 2 * node.index + link}"
            f"\t501{link}\t{LINK_TIMEOUT_S}\n"
            for node in nodes
            for link in (1, 2)
        )
        for node in nodes:
            prepare(node)
            # Versions without keys lack --no-key.
            self.must(node, f"{install} --no-key || {install}")
            node.write(f"{EZ}/conf/nodes", "".join(f"{each.name}\n" for each in nodes))
            node.write(f"{EZ}/conf/monitor", monitor)
            for service in owners:
                node.write(f"/opt/{service}.sh", SCRIPT, 0o755)
            self.power.equip(node, owners)
            for service in owners:
                names = " ".join(each.name for each in nodes)
                start, check = self.power.scripts_of(service)
                self.must(node, f"{EZ}/bin/service -a {service} {start} {names} {check}")
            text = options + priorities + self.power.configuration
            node.write(f"{EZ}/conf/openha.conf", text)
        self.power.start()
        for node in nodes:
            self.must(node, f"{EZ}/ezha start")
        for service in owners:
            for node in nodes:
                self.until(
                    lambda: self.states(node, service) == ("FROZEN_STOP", "FROZEN_STOP"),
                    f"{node.name} hears its peer",
                )

    def must(self, node: Node, command: str) -> str:
        """Run a command that must succeed; return its output."""
        give_up = time.monotonic() + LIMIT_S
        while True:
            done = node.run(command, LIMIT_S)
            if not done.returncode:
                return str(done.stdout)
            if "does not answer" not in str(done.stderr) or time.monotonic() > give_up:
                raise RuntimeError(f"{node.name}: {command}: {done.stdout}{done.stderr}")

    def tried(self, node: Node, command: str) -> tuple[int, str]:
        """Run a command on a node that may lose its power meanwhile.

        Return exit code and output.
        """
        try:
            done = node.run(command, LIMIT_S)
        except (SystemFault, OSError, subprocess.SubprocessError) as error:
            return -1, str(error)
        return done.returncode, f"{done.stdout}{done.stderr}"

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for an event that must happen."""
        if not self.comes(is_so, LIMIT_S):
            logs = "".join(
                self.tried(node, f"{EZ}/bin/service -s -v; tail -n 30 {EZ}/log/nmond.log")[1]
                for node in self.nodes
            )
            raise RuntimeError(f"not within {LIMIT_S:g} s: {what}\n{logs}")

    def comes(self, is_so: Callable[[], bool], limit_s: float) -> bool:
        """Wait for an event that may happen; return whether it did."""
        give_up = time.monotonic() + limit_s
        while not is_so():
            if self.power.failure:
                raise RuntimeError(f"the fence itself failed: {self.power.failure}")
            if time.monotonic() > give_up:
                return False
            time.sleep(LOOK_S)
        return True

    def states(self, node: Node, service: str) -> tuple[str, str]:
        """Return a service's states on deb1 and deb2, as reported by a node."""
        found = re.search(
            rf"(?m)^{service} +\S+ +(\S+) +\S+ +(\S+)",
            self.tried(node, f"{EZ}/bin/service -s -c")[1],
        )
        return ("", "") if found is None else (found.group(1), found.group(2))

    def own_state(self, node: Node, service: str) -> str:
        """Return the state of a service on the node itself."""
        return self.states(node, service)[node.index]

    def act(self, node: Node, service: str, action: str) -> None:
        """Run `service -A SERVICE ACTION`."""
        self.tried(node, f"{EZ}/bin/service -A {service} {action}")

    def run_all(self) -> None:
        """Start each service on its owner: STARTED there, STOPPED on the other node."""
        for service, index in self.owners.items():
            owner, other = self.nodes[index], self.nodes[1 - index]
            self.act(owner, service, "unfreeze")
            self.until(lambda: self.own_state(owner, service) == "STARTED", f"{service} STARTED")
            self.act(other, service, "unfreeze")
            self.until(lambda: self.own_state(other, service) == "STOPPED", f"{service} STOPPED")
        # Faults occur at any time between two beats.
        time.sleep(2.0 + random.random())

    def alive(self) -> list[str]:
        """Return the short names of the nodes that have power."""
        return [node.short_name for node in self.power.powered()]

    def runs_on(self, service: str) -> list[str]:
        """Return the nodes on which a service runs now, by its script's traces."""
        return [
            node.short_name
            for node in self.nodes
            if node.short_name in self.alive() and os.path.exists(f"{node.root}/run/{service}.runs")
        ]

    def cut(self) -> None:
        """Cut both nodes from each other; return when all orders have been carried out."""
        self.power.set_mode(Mode.WORK)
        for link in ("eth1", "eth2"):
            self.nodes[0].cut(link)

    def boot(self, node: Node) -> None:
        """Restore a node's power and start its daemon, unless the node is fenced meanwhile."""
        self.power.restore(node)
        try:
            prepare(node)
        except OSError:
            if node.is_alive:
                raise
        self.tried(node, f"{EZ}/ezha start")

    def is_decided(self) -> bool:
        """Return whether no order is pending and no further change can come.

        Then no node has power, or one node runs everything.
        """
        alive = self.alive()
        if not self.power.is_idle() or len(alive) > 1:
            return False
        return not alive or all(self.runs_on(service) for service in self.owners)

    def wait_for_the_outcome(self) -> None:
        """Wait until nothing more is expected to happen."""
        give_up = time.monotonic() + END_S
        while time.monotonic() < give_up:
            self.comes(self.is_decided, give_up - time.monotonic())
            # The last order of a fenced node may still arrive.
            time.sleep(CUT_AFTER_S + 1.0)
            if self.is_decided():
                return

    def boot_the_dead(self, for_s: float) -> tuple[int, bool]:
        """Boot each node without power again and again, for ``for_s`` seconds.

        Return the number of nodes fenced meanwhile, and whether a service was seen on both.
        """
        before, is_twice, end = len(self.power.shots), False, time.monotonic() + for_s
        while time.monotonic() < end:
            for node in self.nodes:
                if node.short_name not in self.alive():
                    self.boot(node)
            is_twice |= any(len(self.runs_on(service)) > 1 for service in self.owners)
            time.sleep(0.2)
        return len(self.power.shots) - before, is_twice


def mutual(pair: Pair) -> str:
    """Cut all links, with a service on each node."""
    pair.run_all()
    pair.cut()
    pair.wait_for_the_outcome()
    count = len(pair.alive())
    running = sum(bool(pair.runs_on(service)) for service in pair.owners)
    return f"{count} of 2 nodes survive(s), {running} of {len(pair.owners)} services run"


def loop(pair: Pair) -> str:
    """Like ``mutual``, and boot each fenced node again."""
    mutual(pair)
    shot, is_twice = pair.boot_the_dead(LOOP_S)
    running = sum(bool(pair.runs_on(service)) for service in pair.owners)
    return (
        f"{shot} shot in {LOOP_S:g} s, {running} of 2 services run at the"
        f" end{', one was seen on both nodes' * is_twice}"
    )


def retry(pair: Pair) -> str:
    """Cut the owner's power; the fence fails at first, and works some time later."""
    pair.run_all()
    owner, standby = pair.nodes
    pair.power.set_mode(Mode.FAIL)
    pair.power.cut(owner)
    pair.until(
        lambda: pair.own_state(standby, "registry") == "START_FAILED", "the first attempt fails"
    )
    time.sleep(REPAIR_AFTER_S)
    pair.power.set_mode(Mode.WORK)
    repaired_at = time.monotonic()
    is_up = pair.comes(lambda: pair.runs_on("registry") == [standby.short_name], END_S)
    if is_up:
        return (
            f"runs at most {-(-(time.monotonic() - repaired_at) // 10) * 10:.0f} s after the fence"
            " works"
        )
    return f"runs nowhere {END_S:g} s after the fence works, {pair.own_state(standby, 'registry')}"


def planned(pair: Pair) -> str:
    """Start the service here, unfreeze it there, and move it, without any fault."""
    first, second = pair.nodes
    pair.act(first, "registry", "unfreeze")
    pair.comes(lambda: pair.own_state(first, "registry") == "STARTED", 30.0)
    pair.act(second, "registry", "unfreeze")
    pair.comes(lambda: pair.own_state(second, "registry") == "STOPPED", 15.0)
    pair.act(first, "registry", "stop")
    pair.comes(lambda: pair.runs_on("registry") == [second.short_name], 30.0)
    runs, shots = pair.power.calls(), len(pair.power.shots)
    where = ", ".join(pair.runs_on("registry")) or "nowhere"
    return f"fencing command run {runs} times, {shots} healthy node(s) shot, runs on {where}"


def confirm(pair: Pair) -> str:
    """Cut the power of both nodes and the fence; boot the node that did not run the service."""
    pair.run_all()
    first, second = pair.nodes
    pair.power.set_mode(Mode.FAIL)
    before = pair.power.calls()
    pair.power.cut(first)
    pair.power.cut(second)
    pair.boot(second)
    time.sleep(LINK_TIMEOUT_S + 5 + CUT_AFTER_S + 10)
    tried, state = pair.power.calls() - before, pair.own_state(second, "registry")
    if pair.runs_on("registry"):
        return "runs without a word of the operator"
    hint = f"openha fence confirm {first.name}"
    is_shown = hint in pair.tried(second, f"{EZ}/bin/openha fence status")[1]
    code, _ = pair.tried(second, f"{EZ}/bin/{hint}")
    is_up = pair.comes(lambda: bool(pair.runs_on("registry")), 30.0)
    return (
        f"{state} after {tried} check-up(s); what to type is {'' if is_shown else 'not '}shown,"
        f" exit code {code}, then the service {'runs' if is_up else 'does not run'}"
    )


def alone(pair: Pair) -> str:
    """Cut the power of both nodes; the fence works.

    The node that did not run the service boots alone.
    """
    pair.run_all()
    first, second = pair.nodes
    pair.power.set_mode(Mode.WORK)
    pair.power.cut(first)
    pair.power.cut(second)
    pair.boot(second)
    is_up = pair.comes(
        lambda: bool(pair.runs_on("registry")), LINK_TIMEOUT_S + 5 + CUT_AFTER_S + 30
    )
    verdict = "runs" if is_up else f"does not run, {pair.own_state(second, 'registry')}"
    return f"the service {verdict}, fencing command run {pair.power.calls()} times"


STORIES: dict[str, Callable[[Pair], str]] = {
    "mutual": mutual,
    "loop": loop,
    "retry": retry,
    "planned": planned,
    "confirm": confirm,
    "alone": alone,
}


def play(name: str, number: int, fence: str) -> str:
    """Play one round of a story on two new nodes."""
    owners = {"registry": 0}
    if name in ("mutual", "loop"):
        # The node with the higher priority changes each round.
        owners = ONE_EACH if number % 2 else {"registry": 1, "files": 0}
    try:
        with TwoNodes() as nodes:
            pair = Pair(nodes, owners, Mode.WORK if name == "planned" else Mode.PASS, FENCES[fence])
            try:
                return STORIES[name](pair)
            finally:
                pair.close()
    except (RuntimeError, SystemFault, OSError, subprocess.SubprocessError) as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        return "could not be played"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="ROUNDS | AT_ONCE | STORY")
    parser.add_argument("--fence", choices=FENCES, default="switch")
    options = parser.parse_args()
    numbers = [int(word) for word in options.words if word.isdigit()]
    names = [word for word in options.words if not word.isdigit()]
    for name in set(names) - set(STORIES):
        parser.error(f"no story {name!r}: they are {', '.join(STORIES)}")
    why_not = Boards.missing() if options.fence == "ipmi" else ""
    if why_not:
        print(f"--fence ipmi: nothing is measured: {why_not}", file=sys.stderr)
        return
    rounds, at_once = (numbers + [5, 2][len(numbers) :])[:2]

    # An interrupt ends this process at once, not after the current rounds: nodes and boards end
    # with the process that created them.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    print("| fence | story | rounds | outcome |\n| --- | --- | --- | --- |", flush=True)
    for name in names or list(STORIES):
        with ThreadPoolExecutor(at_once) as pool:
            outcomes = Counter(
                pool.map(lambda number: play(name, number, options.fence), range(rounds))
            )
        for outcome, count in sorted(outcomes.items()):
            print(f"| {options.fence} | {name} | {count} of {rounds} | {outcome} |", flush=True)


if __name__ == "__main__":
    main()
