"""Cut the power of nodes from outside: a power switch, or a management board per node.

    PowerSwitch   one for both nodes, ordered by a file; answers once the power is off
    Boards        an IPMI management board (ipmi_sim) for each node, ordered by ipmitool over eth0,
                  as the `[stonith#1]` of the embedded agent; accepts the order at once, and
                  reports the power when it is asked
    PlanBoards    the same boards, as the fence plan of openha.conf

Both take some seconds, and carry an order out whatever happens to the node that gave it.
"""

from __future__ import annotations

import contextlib
import enum
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.sandbox_namespaces import BASE, START_LIMIT_S, read_line, tool_environment

CUT_AFTER_S = 3.0
END_LIMIT_S = 30.0
CALLS = "/shared/calls"
"""File with a line for each run of a fencing command."""


class Mode(enum.Enum):
    """How orders are treated."""

    PASS = "accepted, and nothing is done: for a set-up"
    WORK = "carried out"
    FAIL = "refused by the switch; not answered by the boards"
    LIE = "reported as carried out, and nothing is done"


@dataclass(frozen=True)
class Order:
    """One order to cut the power of a node."""

    name: str
    victim: int
    mode: Mode
    due_at: float


class PowerSupply(threading.Thread):
    """Power supply that carries out orders some seconds later, until it is closed."""

    install_options = ""
    """Additional options of `openha install`."""
    fence_time_s = CUT_AFTER_S + 1
    configuration = ""
    """Additional text of openha.conf."""

    def __init__(self, nodes: TwoNodes) -> None:
        super().__init__(daemon=True)
        self.shots: list[str] = []
        """Nodes that had power when it was cut."""
        self.lock = threading.Lock()
        self.failure = ""
        """Why it has failed, if so; the result of the trial is then invalid."""
        self._nodes = nodes
        self._mode = Mode.PASS
        self._pending: list[Order] = []
        self._seen: set[str] = set()
        self._is_over = threading.Event()
        # A process that shows the sandbox's files even while both nodes are off; ends with its
        # lifeline.
        self.keeper = self._in_enclosure("echo ready && exec cat", stdout=subprocess.PIPE)
        assert self.keeper.stdout is not None
        if not read_line(self.keeper.stdout, START_LIMIT_S):
            raise RuntimeError("the enclosure of the nodes cannot be entered")
        self.base = f"/proc/{self.keeper.pid}/root{BASE}"

    def equip(self, node: Node, services: Iterable[str]) -> None:
        """Install the means for orders on a node."""
        raise NotImplementedError

    def scripts_of(self, service: str) -> tuple[str, str]:
        """Return start script and check-up script of a service."""
        raise NotImplementedError

    def set_mode(self, mode: Mode) -> None:
        """Set the treatment of all further orders."""
        with self.lock:
            self._mode = mode

    def run(self) -> None:
        """Carry out orders until it is closed."""
        try:
            while not self._is_over.wait(0.03):
                with self.lock:
                    self._pending += self._new_orders()
                    for order in [
                        each for each in self._pending if each.due_at <= time.monotonic()
                    ]:
                        self._carry_out(order)
                        self._pending.remove(order)
        except Exception as error:  # Whatever the error is, no later trial may count.
            self.failure = f"{type(error).__name__}: {error}"

    def close(self) -> None:
        """Stop carrying out orders; leave no process behind."""
        self._is_over.set()
        if self.is_alive():
            self.join(END_LIMIT_S)
        _end(self.keeper)
        if self.keeper.stdout is not None:
            self.keeper.stdout.close()

    def is_idle(self) -> bool:
        """Return whether no order is pending."""
        with self.lock:
            return not self._pending

    def calls(self) -> int:
        """Return how often nodes have run their fencing command."""
        try:
            with open(f"{self.base}{CALLS}", encoding="ascii") as file:
                return len(file.readlines())
        except FileNotFoundError:
            return 0

    def powered(self) -> list[Node]:
        """Return the nodes that have power."""
        with self.lock:
            return [node for node in self._nodes if node.is_alive]

    def cut(self, node: Node) -> None:
        """Cut the power of a node."""
        with self.lock:
            node.kill()
            self._show(node, False)

    def restore(self, node: Node) -> None:
        """Switch a node on that has no power.

        An order that is due meanwhile is carried out afterwards.
        """
        with self.lock:
            # Cleans up after an order that cut its power.
            node.kill()
            self._show(node, True)
            node.boot()

    def _new_orders(self) -> Iterator[Order]:
        raise NotImplementedError

    def _answer(self, order: Order) -> None:
        """Report the result to the node that gave the order, if it still runs."""

    def _show(self, node: Node, is_on: bool) -> None:
        """Let the device report the power of a node."""

    def _unseen(self, directory: str) -> list[str]:
        names = sorted(set(os.listdir(directory)) - self._seen)
        self._seen.update(names)
        return names

    def _order(self, name: str, victim: int) -> Order:
        is_slow = self._mode is not Mode.PASS
        return Order(name, victim, self._mode, time.monotonic() + (CUT_AFTER_S if is_slow else 0.0))

    def _carry_out(self, order: Order) -> None:
        victim = self._nodes[order.victim]
        if order.mode is Mode.WORK and victim.is_alive:
            self.shots.append(victim.short_name)
            # Not Node.kill(): that waits for commands that other threads run there.
            os.kill(victim.pid, signal.SIGKILL)
            while victim.is_alive:
                time.sleep(0.01)
            self._show(victim, False)
        elif order.mode is Mode.LIE:
            self._show(victim, False)
        self._answer(order)

    def _in_enclosure(
        self, script: str, stdout: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Start a process outside of both nodes whose standard input is the sandbox's lifeline."""
        enclosure = self._nodes.enclosure
        argv = enclosure.enter(["/bin/sh", "-c", script])
        return subprocess.Popen(
            argv,
            stdin=enclosure.lifeline,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            env=tool_environment(),
            start_new_session=True,
        )


class PowerSwitch(PowerSupply):
    """Power switch whose orders and answers are files of the shared directory."""

    _SCRIPT = """#!/bin/sh
# Orders the power switch to cut the power of the other node, and waits for its answer.
me=$(hostname -s)
echo $me >> /shared/calls
order=$me.$$.$(date +%s%N)
echo $me > /shared/$order && mv /shared/$order /shared/orders/$order || exit 1
for _ in $(seq 400); do
    [ -s /shared/answers/$order ] && exit $(cat /shared/answers/$order)
    sleep 0.1
done
exit 1
"""

    def __init__(self, nodes: TwoNodes) -> None:
        super().__init__(nodes)
        for name in ("orders", "answers"):
            os.makedirs(f"{self.base}/shared/{name}")

    def equip(self, node: Node, services: Iterable[str]) -> None:
        """Write the check-up script."""
        node.write("/opt/fence.sh", self._SCRIPT, 0o755)

    def scripts_of(self, service: str) -> tuple[str, str]:
        """Return the scripts; all services share one check-up script."""
        return f"/opt/{service}.sh", "/opt/fence.sh"

    def _new_orders(self) -> Iterator[Order]:
        for name in self._unseen(f"{self.base}/shared/orders"):
            who = name.split(".")[0]
            yield self._order(
                name, next(node.index for node in self._nodes if node.short_name != who)
            )

    def _answer(self, order: Order) -> None:
        with open(f"{self.base}/shared/answers/{order.name}", "w", encoding="ascii") as file:
            file.write("1" if order.mode is Mode.FAIL else "0")


class Boards(PowerSupply):
    """A management board per node, with an address on eth0, where no heartbeat runs.

    It stays on while its node is off.
    """

    install_options = " --embedded-agent"
    fence_time_s = CUT_AFTER_S + 5
    """Seconds besides the cut itself: sessions with the board, and two "off" reports, 1 s apart."""

    # Without a guid ipmi_sim offers no IPMI 2.0 sessions.
    _LAN = """\
name "board"
startlan 1
  addr {address} 623
  priv_limit admin
  allowed_auths_admin none md5
  guid a123456789abcdefa123456789abcde{index}
endlan
chassis_control "{directory}/control"
user 2 true "admin" "secret" admin 10 none md5
"""
    _EMULATION = (
        "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n"
    )
    _CONTROL = """#!/bin/sh
# What the board does: "get power", "set power 0", "set reset 1".
# Power is cut later, by what stands outside.
cd {directory} || exit 1
case "$*" in
*"get power"*) echo "power:$(cat power)" ;;
*"set power 0"* | *"set reset"*) : > orders/{index}.$$.$(date +%s%N) ;;
esac
"""
    _SCRIPT = """#!/bin/sh
# The management board of the other node.
# status: the exit codes of fence agents, 0 on, 2 off, 1 not known.
case $(hostname -s) in deb1) board=10.50.0.102 ;; *) board=10.50.0.101 ;; esac
export IPMI_PASSWORD=secret
power() { ipmitool -I lanplus -C 3 -N 1 -R 3 -H $board -U admin -E chassis power $1; }
case $1 in
off) hostname -s >> /shared/calls; power off ;;
status) case $(power status) in *"is on"*) exit 0 ;; *"is off"*) exit 2 ;; *) exit 1 ;; esac ;;
gone) until $0 status; [ $? -eq 2 ]; do sleep 0.5; done ;;
esac
"""
    _SERVICE = """\
[DEFAULT]
service_type = DEV
nodes = deb1.opensvc.com deb2.opensvc.com

[app#1]
script = /opt/{service}.sh
start = 10
stop = 10
check = 10

[stonith#1]
{commands}
timeout = 45

[hb#0]
type = OpenHA
name = {service}
"""

    def __init__(self, nodes: TwoNodes, has_status_command: bool = True) -> None:
        """Start the boards.

        ``has_status_command``: the embedded agent supports `status_cmd`. Else the fencing command
        waits for the status.
        """
        super().__init__(nodes)
        self._commands = (
            "type = callout\ncmd = /opt/board off\nstatus_cmd = /opt/board status"
            if has_status_command
            else "type = callout\ncmd = /opt/board off && /opt/board gone"
        )
        self._boards: list[subprocess.Popen[bytes]] = []
        for node in nodes:
            directory = f"boards/{node.index}"
            values = {
                "directory": f"{BASE}/{directory}",
                "index": node.index,
                "address": self._address(node),
            }
            for name in ("state", "orders"):
                os.makedirs(f"{self.base}/{directory}/{name}")
            for name, text in (
                ("lan.conf", self._LAN),
                ("emulation", self._EMULATION),
                ("control", self._CONTROL),
            ):
                with open(f"{self.base}/{directory}/{name}", "w", encoding="ascii") as file:
                    file.write(text.format(**values))
            os.chmod(f"{self.base}/{directory}/control", 0o755)
            self._show(node, True)
        # The bridge that is eth0's switch connects devices outside of both nodes.
        nodes.enclosure.ip(*[f"addr add {self._address(node)}/24 dev switch0" for node in nodes])
        self._start_boards()

    @staticmethod
    def missing() -> str:
        """Return why this machine cannot simulate a board; empty if it can."""
        for command, package in (("ipmi_sim", "openipmi"), ("ipmitool", "ipmitool")):
            if shutil.which(command) is None:
                return f"the command {command} is missing: install the package {package}"
        return ""

    def equip(self, node: Node, services: Iterable[str]) -> None:
        """Write the fencing command, and a service file for each service."""
        node.write("/opt/board", self._SCRIPT, 0o755)
        for service in services:
            text = self._SERVICE.format(service=service, commands=self._commands)
            node.write(f"/etc/opensvc/{service}.env", text)
        for command in (
            "svcmon",
            "for _ in $(seq 60); do /opt/board status && exit 0; sleep 1; done; exit 1",
        ):
            done = node.run(command)
            if done.returncode:
                raise RuntimeError(f"{node.name}: {command}: {done.stdout}{done.stderr}")

    def scripts_of(self, service: str) -> tuple[str, str]:
        """Return the wrappers of the embedded agent."""
        return f"/etc/opensvc/{service}.cluster", f"/etc/opensvc/{service}.stonith"

    def set_mode(self, mode: Mode) -> None:
        """Set the mode; boards that fail do not answer at all."""
        super().set_mode(mode)
        if mode is Mode.FAIL:
            self._end_boards()
        else:
            self._start_boards()

    def close(self) -> None:
        """End the boards, too."""
        super().close()
        self._end_boards()

    def _start_boards(self) -> None:
        if self._boards:
            return
        for node in self._nodes:
            script = (
                f"cd {BASE}/boards/{node.index} || exit 1; ipmi_sim -c lan.conf -f emulation -s"
                " state -n & cat; kill $!"
            )
            self._boards.append(self._in_enclosure(script))

    def _end_boards(self) -> None:
        for board in self._boards:
            _end(board)
        self._boards = []

    @staticmethod
    def _address(node: Node) -> str:
        return f"10.50.0.{101 + node.index}"

    def _show(self, node: Node, is_on: bool) -> None:
        path = f"{self.base}/boards/{node.index}/power"
        with open(f"{path}.new", "w", encoding="ascii") as file:
            file.write("1\n" if is_on else "0\n")
        os.replace(f"{path}.new", path)

    def _new_orders(self) -> Iterator[Order]:
        for node in self._nodes:
            for name in self._unseen(f"{self.base}/boards/{node.index}/orders"):
                yield self._order(name, node.index)


class AgentBoards(Boards):
    """The same boards, ordered by `type = fence_ipmilan` of the embedded agent."""

    _DEVICE = """\
type = fence_ipmilan
ip@deb1.opensvc.com = {boards[1]}
ip@deb2.opensvc.com = {boards[0]}
username = admin
password_file = /opt/board.secret
lanplus = 1
cipher = 3"""

    def __init__(self, nodes: TwoNodes) -> None:
        super().__init__(nodes)
        boards = [self._address(node) for node in nodes]
        self._commands = self._DEVICE.format(boards=boards)

    def equip(self, node: Node, services: Iterable[str]) -> None:
        """Write the password, too."""
        node.write("/opt/board.secret", "secret\n", 0o600)
        super().equip(node, services)


class PlanBoards(Boards):
    """The boards as `[fencing] levels = ipmi` of both nodes: no script fences."""

    install_options = ""
    fence_time_s = CUT_AFTER_S + 3
    configuration = """\
[fencing]
levels = ipmi
check_interval = 5
    [[ipmi deb1.opensvc.com]]
    agent = fence_ipmilan
    ip = 10.50.0.101
    username = admin
    password_file = /etc/ipmi.secret
    lanplus = 1
    [[ipmi deb2.opensvc.com]]
    agent = fence_ipmilan
    ip = 10.50.0.102
    username = admin
    password_file = /etc/ipmi.secret
    lanplus = 1
"""

    def equip(self, node: Node, services: Iterable[str]) -> None:
        """Write the board's password."""
        node.write("/etc/ipmi.secret", "secret\n", 0o600)

    def scripts_of(self, service: str) -> tuple[str, str]:
        """Return the scripts: there is no check-up beside the plan."""
        return f"/opt/{service}.sh", "/bin/true"

    def show(self, node: Node, is_on: bool) -> None:
        """Let a board report a power that its node does not have: it is another machine's."""
        with self.lock:
            self._show(node, is_on)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process of ours and all its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(END_LIMIT_S)
