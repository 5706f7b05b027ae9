"""Counts what a real fence does: two nodes cut from each other, one that boots alone, a switch that fails, a planned start.

    python bench/duels.py [rounds] [clusters at once] [story ...]

Real daemons on two nodes in namespaces, two multicast links with timeouts of 2 s, ``fence_time = 4``. The check-up script orders
a power switch to cut the power of the other node. The switch is outside of both nodes: it does so 3 s later, also if who
ordered it is dead by then, and the script succeeds once it has seen that. Stories, all of them if none is named:

mutual   a service on each node, all links are cut: who survives
loop     as ``mutual``, then each node without power is booted again, while still cut: how many are shot in a minute
retry    the owner loses its power, the switch fails at first and works 20 s later: does the service run in the end
planned  unfreeze on both nodes and a planned move, nothing fails: how often the check-up script is run
confirm  both nodes lose their power, and the switch too; one node comes back: what the operator gets

Figures only: nothing fails because of an outcome.
"""

from __future__ import annotations

import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Mapping

from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import prepare
from opensvc_openha.errors import SystemFault

EZ = "/usr/local/cluster"
LINK_TIMEOUT_S = 2
FENCE_S = 3.0
LOOP_S = 60.0
MEND_AFTER_S = 20.0
END_S = 90.0
"""Whatever has not happened by then is taken for what never happens."""
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
FENCE = """#!/bin/sh
# Orders the power switch to cut the power of the other node, and waits for its answer.
me=$(hostname -s)
peer=deb2; [ $me = deb2 ] && peer=deb1
order=$me.$$.$(date +%s%N)
echo $peer > /shared/$order && mv /shared/$order /shared/orders/$order || exit 1
for _ in $(seq 400); do
    [ -s /shared/answers/$order ] && exit $(cat /shared/answers/$order)
    sleep 0.1
done
exit 1
"""
OPTIONS = "[timing]\nfence_time = 4\n"
PRIORITIES = "[policy]\n    [[files]]\n    priority = 2\n"
KNOWS_PRIORITIES = importlib.util.find_spec("opensvc_openha.core.fencing") is not None


class PowerSwitch(threading.Thread):
    """Cuts the power of a node some seconds after it was ordered to, whatever has become of who ordered it."""

    def __init__(self, nodes: TwoNodes) -> None:
        super().__init__(daemon=True)
        self.mode = "pass"
        """``pass``: says yes and does nothing, for a set-up; ``works``; ``fails``: says no."""
        self.orders: "list[str]" = []
        """Who ordered, one entry for each run of the check-up script."""
        self.shots: "list[str]" = []
        """Nodes that were on when their power was cut."""
        self.lock = threading.Lock()
        self._nodes = nodes
        self._pending: "list[tuple[float, str, str, str]]" = []
        self._seen: "set[str]" = set()
        self._is_over = threading.Event()

    def run(self) -> None:
        """Takes orders and carries them out until it is ended."""
        while not self._is_over.wait(0.03):
            with self.lock:
                self._take_orders()
                due = [item for item in self._pending if item[0] <= time.monotonic()]
                for item in due:
                    self._carry_out(*item[1:])
                    self._pending.remove(item)

    def end(self) -> None:
        """No order is carried out any more."""
        self._is_over.set()
        self.join()

    def is_idle(self) -> bool:
        """True if nothing is left to be done."""
        with self.lock:
            return not self._pending

    def _root(self) -> str:
        return next((node.root for node in self._nodes if node.is_alive), "/nonexistent")

    def _take_orders(self) -> None:
        try:
            names = set(os.listdir(f"{self._root()}/shared/orders")) - self._seen
        except OSError:
            return
        for name in sorted(names):
            self._seen.add(name)
            who = name.split(".")[0]
            self.orders.append(who)
            delay_s = 0.0 if self.mode == "pass" else FENCE_S
            self._pending.append((time.monotonic() + delay_s, name, who, self.mode))

    def _carry_out(self, name: str, who: str, mode: str) -> None:
        if mode == "works":
            victim = next(node for node in self._nodes if node.short_name != who)
            if victim.is_alive:
                self.shots.append(victim.short_name)
                # Not Node.kill(): that waits for commands which others of our threads run there.
                os.kill(victim.pid, signal.SIGKILL)
                while victim.is_alive:
                    time.sleep(0.01)
        try:
            with open(f"{self._root()}/shared/answers/{name}", "w", encoding="ascii") as file:
                file.write("1" if mode == "fails" else "0")
        except OSError:
            pass


class Pair:
    """Two nodes with services, and the power switch."""

    def __init__(self, nodes: TwoNodes, owners: "Mapping[str, int]", mode: str = "pass") -> None:
        self.nodes = nodes
        self.owners = owners
        self.switch = PowerSwitch(nodes)
        self.switch.mode = mode
        monitor = "".join(
            f"{node.name}\tnet\teth{link}\t239.131.50.{10 + 2 * node.index + link}\t501{link}\t{LINK_TIMEOUT_S}\n"
            for node in nodes for link in (1, 2)
        )
        self.must(nodes[0], "mkdir -p /shared/orders /shared/answers")
        for node in nodes:
            prepare(node)
            # Versions without keys know no --no-key.
            self.must(node, "openha install --no-key || openha install")
            node.write(f"{EZ}/conf/nodes", "".join(f"{each.name}\n" for each in nodes))
            node.write(f"{EZ}/conf/monitor", monitor)
            node.write("/opt/fence.sh", FENCE, 0o755)
            for service in owners:
                node.write(f"/opt/{service}.sh", SCRIPT, 0o755)
                names = " ".join(each.name for each in nodes)
                self.must(node, f"{EZ}/bin/service -a {service} /opt/{service}.sh {names} /opt/fence.sh")
            priorities = PRIORITIES if KNOWS_PRIORITIES and "files" in owners else ""
            node.write(f"{EZ}/conf/openha.conf", OPTIONS + priorities)
        self.switch.start()
        for node in nodes:
            self.must(node, f"{EZ}/ezha start")
        for service in owners:
            for node in nodes:
                self.until(lambda: self.states(node, service) == ("FROZEN_STOP", "FROZEN_STOP"), f"{node.name} hears its peer")

    def must(self, node: Node, command: str) -> str:
        """Runs a command that has to succeed; its output."""
        give_up = time.monotonic() + LIMIT_S
        while True:
            done = node.run(command, LIMIT_S)
            if not done.returncode:
                return str(done.stdout)
            if "does not answer" not in str(done.stderr) or time.monotonic() > give_up:
                raise RuntimeError(f"{node.name}: {command}: {done.stdout}{done.stderr}")

    def tried(self, node: Node, command: str) -> "tuple[int, str]":
        """Runs a command on a node that may lose its power meanwhile; exit code and what it printed."""
        try:
            done = node.run(command, LIMIT_S)
        except (SystemFault, OSError, subprocess.SubprocessError) as error:
            return -1, str(error)
        return done.returncode, f"{done.stdout}{done.stderr}"

    def until(self, is_so: "Callable[[], bool]", what: str) -> None:
        """Waits for what has to come."""
        if not self.comes(is_so, LIMIT_S):
            logs = "".join(self.tried(node, f"{EZ}/bin/service -s -v; tail -n 30 {EZ}/log/nmond.log")[1] for node in self.nodes)
            raise RuntimeError(f"not within {LIMIT_S:g} s: {what}\n{logs}")

    def comes(self, is_so: "Callable[[], bool]", limit_s: float) -> bool:
        """Waits for what may come; True if it did."""
        give_up = time.monotonic() + limit_s
        while not is_so():
            if time.monotonic() > give_up:
                return False
            time.sleep(0.2)
        return True

    def states(self, node: Node, service: str) -> "tuple[str, str]":
        """The states of a service on deb1 and deb2, as a node says."""
        found = re.search(rf"(?m)^{service} +\S+ +(\S+) +\S+ +(\S+)", self.tried(node, f"{EZ}/bin/service -s -c")[1])
        return ("", "") if found is None else (found.group(1), found.group(2))

    def own_state(self, node: Node, service: str) -> str:
        """The state of a service on the node itself."""
        return self.states(node, service)[node.index]

    def act(self, node: Node, service: str, action: str) -> None:
        """`service -A SERVICE ACTION`."""
        self.tried(node, f"{EZ}/bin/service -A {service} {action}")

    def run_all(self) -> None:
        """Each service STARTED on its owner, STOPPED on the other node."""
        for service, index in self.owners.items():
            owner, other = self.nodes[index], self.nodes[1 - index]
            self.act(owner, service, "unfreeze")
            self.until(lambda: self.own_state(owner, service) == "STARTED", f"{service} STARTED")
            self.act(other, service, "unfreeze")
            self.until(lambda: self.own_state(other, service) == "STOPPED", f"{service} STOPPED")
        # The next fault comes at any time between two beats.
        time.sleep(2.0 + random.random())

    def alive(self) -> "list[str]":
        """Short names of the nodes that have power."""
        with self.switch.lock:
            return [node.short_name for node in self.nodes if node.is_alive]

    def runs_on(self, service: str) -> "list[str]":
        """Nodes on which a service runs now, by what its script left behind."""
        return [node.short_name for node in self.nodes
                if node.short_name in self.alive() and os.path.exists(f"{node.root}/run/{service}.runs")]

    def cut(self) -> None:
        """No node hears the other any more, and all orders are carried out."""
        self.switch.mode = "works"
        for link in ("eth1", "eth2"):
            self.nodes[0].cut(link)

    def power_off(self, node: Node) -> None:
        """The power of a node fails, or is off already: then its place is cleared."""
        with self.switch.lock:
            node.kill()

    def boot(self, node: Node) -> None:
        """A node gets its power back and starts its daemon."""
        self.power_off(node)
        node.boot()
        prepare(node)
        self.tried(node, f"{EZ}/ezha start")

    def is_decided(self) -> bool:
        """True if the switch is idle, and either nobody is left, or one node that runs everything."""
        alive = self.alive()
        if not self.switch.is_idle() or len(alive) > 1:
            return False
        return not alive or all(self.runs_on(service) for service in self.owners)

    def wait_for_the_outcome(self) -> None:
        """Waits until nothing more will happen, as far as can be seen."""
        give_up = time.monotonic() + END_S
        while time.monotonic() < give_up:
            self.comes(self.is_decided, give_up - time.monotonic())
            # The last order of a node that was shot may just be on its way.
            time.sleep(FENCE_S + 1.0)
            if self.is_decided():
                return

    def boot_the_dead(self, for_s: float) -> "tuple[int, bool]":
        """Boots each node without power, again and again: nodes shot meanwhile, and whether a service was seen on both."""
        before, is_twice, end = len(self.switch.shots), False, time.monotonic() + for_s
        while time.monotonic() < end:
            for node in self.nodes:
                if node.short_name not in self.alive():
                    self.boot(node)
            is_twice |= any(len(self.runs_on(service)) > 1 for service in self.owners)
            time.sleep(0.2)
        return len(self.switch.shots) - before, is_twice


def mutual(pair: Pair) -> str:
    """A service on each node, and all links are cut."""
    pair.run_all()
    pair.cut()
    pair.wait_for_the_outcome()
    count = len(pair.alive())
    running = sum(bool(pair.runs_on(service)) for service in pair.owners)
    return f"{count} of 2 nodes survive(s), {running} of {len(pair.owners)} services run"


def loop(pair: Pair) -> str:
    """The same, and whoever was shot is booted again."""
    mutual(pair)
    shot, is_twice = pair.boot_the_dead(LOOP_S)
    running = sum(bool(pair.runs_on(service)) for service in pair.owners)
    return f"{shot} shot in {LOOP_S:g} s, {running} of 2 services run at the end{', one was seen on both nodes' * is_twice}"


def retry(pair: Pair) -> str:
    """The owner loses its power; the switch says no, and works some time later."""
    pair.run_all()
    owner, standby = pair.nodes
    pair.switch.mode, before = "fails", len(pair.switch.orders)
    pair.power_off(owner)
    pair.until(lambda: len(pair.switch.orders) > before and pair.switch.is_idle(), "the first attempt")
    time.sleep(MEND_AFTER_S)
    pair.switch.mode, mended_at = "works", time.monotonic()
    is_up = pair.comes(lambda: pair.runs_on("registry") == [standby.short_name], END_S)
    if is_up:
        return f"runs at most {-(-(time.monotonic() - mended_at) // 10) * 10:.0f} s after the switch works"
    return f"runs nowhere {END_S:g} s after the switch works, {pair.own_state(standby, 'registry')}"


def planned(pair: Pair) -> str:
    """Nothing fails: the service is started here, unfrozen there, and moved."""
    first, second = pair.nodes
    pair.act(first, "registry", "unfreeze")
    pair.comes(lambda: pair.own_state(first, "registry") == "STARTED", 30.0)
    pair.act(second, "registry", "unfreeze")
    pair.comes(lambda: pair.own_state(second, "registry") == "STOPPED", 15.0)
    pair.act(first, "registry", "stop")
    pair.comes(lambda: pair.runs_on("registry") == [second.short_name], 30.0)
    runs, shots = len(pair.switch.orders), len(pair.switch.shots)
    where = ", ".join(pair.runs_on("registry")) or "nowhere"
    return f"check-up script run {runs} times, {shots} healthy node(s) shot, runs on {where}"


def confirm(pair: Pair) -> str:
    """Power failure of everything; the node that did not run the service comes back alone."""
    pair.run_all()
    first, second = pair.nodes
    pair.switch.mode, before = "fails", len(pair.switch.orders)
    pair.power_off(first)
    pair.power_off(second)
    pair.boot(second)
    time.sleep(LINK_TIMEOUT_S + 5 + FENCE_S + 10)
    tried, state = len(pair.switch.orders) - before, pair.own_state(second, "registry")
    if pair.runs_on("registry"):
        return "runs without a word of the operator"
    told = f"openha fence confirm {first.name}"
    is_told = told in pair.tried(second, f"{EZ}/bin/openha fence status")[1]
    code, _ = pair.tried(second, f"{EZ}/bin/{told}")
    is_up = pair.comes(lambda: bool(pair.runs_on("registry")), 30.0)
    return (f"{state} after {tried} check-up(s); what to type is {'shown' if is_told else 'not shown'},"
            f" exit code {code}, then the service {'runs' if is_up else 'does not run'}")


STORIES: "dict[str, Callable[[Pair], str]]" = {
    "mutual": mutual, "loop": loop, "retry": retry, "planned": planned, "confirm": confirm,
}


def play(name: str, number: int) -> str:
    """One round of a story on two new nodes."""
    owners = {"registry": 0}
    if name in ("mutual", "loop"):
        # Each node is the one with the higher priority in every other round.
        owners = ONE_EACH if number % 2 else {"registry": 1, "files": 0}
    with TwoNodes() as nodes:
        pair = Pair(nodes, owners, "works" if name == "planned" else "pass")
        try:
            return STORIES[name](pair)
        except RuntimeError as error:
            print(error, file=sys.stderr, flush=True)
            return "could not be played"
        finally:
            pair.switch.end()


def main() -> None:
    """Prints the table."""
    words = sys.argv[1:]
    numbers = [int(word) for word in words if word.isdigit()]
    unknown = [word for word in words if not word.isdigit() and word not in STORIES]
    if unknown:
        raise SystemExit(f"no story {unknown[0]!r}: they are {', '.join(STORIES)}\n\n{__doc__}")
    rounds, at_once = (numbers + [5, 2][len(numbers):])[:2]
    print("| story | rounds | outcome |\n| --- | --- | --- |", flush=True)
    for name in [word for word in words if word in STORIES] or list(STORIES):
        with ThreadPoolExecutor(at_once) as pool:
            outcomes = Counter(pool.map(lambda number: play(name, number), range(rounds)))
        for outcome, count in sorted(outcomes.items()):
            print(f"| {name} | {count} of {rounds} | {outcome} |", flush=True)


if __name__ == "__main__":
    main()
