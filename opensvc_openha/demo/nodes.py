"""Two nodes on one machine, each with its own processes, network, name and disk.

They can be killed and booted at any time:

    with TwoNodes() as nodes:
        nodes[0].run("echo hello from $(hostname)")
        nodes[0].kill()

Works as root, and without root where the system allows user namespaces. Each node has the links
eth0, eth1 and eth2, the shared disk /dev/mapper/disk.hb.0 and the shared directory /shared; the
rest of its disk is a private copy of the host's that lasts until ``close()``. Nothing of it is
visible on the host or outlives the owner.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO, Any

from opensvc_openha.demo import node_init
from opensvc_openha.demo.sandbox_namespaces import (
    BASE,
    COMMAND_LIMIT_S,
    START_LIMIT_S,
    TOOL_PATH,
    Sandbox,
    end,
    find_tool,
    read_line,
    tool_environment,
)
from opensvc_openha.demo.shared_disk import NODE_PATH, LoopDisk
from opensvc_openha.demo.switch import LINKS, Switch, address, check_link
from opensvc_openha.errors import SystemFault
from opensvc_openha.system import clock
from opensvc_openha.system.atomic_files import write_atomically
from opensvc_openha.system.processes import wait_for_child

NAMES = ("deb1.opensvc.com", "deb2.opensvc.com")
SHARED_DIR = "/shared"
BOOT_ATTEMPTS = 5

Command = str | Sequence[str]

_WAITING_SHELL = ("/bin/sh", "-c", '(exec "$@"); exit $?', "sh")
"""Waits outside of the node's pid namespace for a command inside. nsenter could, but stops for good
when that is stopped.

Without ``exec`` a builtin such as kill would run outside, where pids are the host's."""


class Node:
    """One node; created by TwoNodes."""

    def __init__(self, owner: TwoNodes, index: int, name: str) -> None:
        self.index = index
        self.name = name
        self.environment: dict[str, str] = {
            "PATH": TOOL_PATH,
            "HOME": "/root",
            "USER": "root",
            "LOGNAME": "root",
            "SHELL": "/bin/sh",
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "TERM": os.environ.get("TERM", "dumb"),
        }
        self._owner = owner
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._stopped_pids: list[int] = []

    @property
    def short_name(self) -> str:
        """Name up to the first dot, as in a shell prompt."""
        return self.name.split(".")[0]

    @property
    def is_alive(self) -> bool:
        """True from boot to kill."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Host's pid of the node's process 1."""
        return self._pid

    @property
    def root(self) -> str:
        """Path on the host of the running node's root."""
        return f"/proc/{self._pid}/root"

    def address(self, link: str) -> str:
        """Return the IPv4 address on a link."""
        return address(check_link(link), self.index)

    def boot(self) -> None:
        """Start the node, with the disk it had when it was killed."""
        if self.is_alive:
            return
        enclosure = self._owner.enclosure
        net = self._owner.switch.plug(self.index)
        config = {
            "name": self.name,
            "base": BASE,
            "home": f"{BASE}/node{self.index}",
            "rootless": enclosure.rootless,
            "disk": self._owner.disk.for_node(self.index),
            "shared": f"{BASE}{SHARED_DIR}",
            "path": TOOL_PATH,
            "files": self._owner.first_files(self) if not self._pid else {},
        }
        inner = [
            find_tool("unshare"),
            "--uts",
            "--ipc",
            "--pid",
            "--mount",
            "--fork",
            "--kill-child",
        ]
        inner += [
            sys.executable,
            "-I",
            "-S",
            os.path.abspath(node_init.__file__),
            json.dumps(config),
        ]
        for attempt in range(BOOT_ATTEMPTS):
            problem = self._start(enclosure.enter(inner, net))
            if not problem:
                return
            # The kernel may still be removing the mounts of the last boot.
            clock.pause(0.1 * (attempt + 1))
        self._owner.switch.unplug(self.index)
        raise SystemFault(f"node {self.name} does not boot: {problem}")

    def _start(self, argv: Sequence[str]) -> str:
        """Start process 1; return the error, or an empty text."""
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                argv,
                stdin=self._owner.enclosure.lifeline,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=tool_environment(),
                start_new_session=True,
            )
            assert process.stdout is not None
            line = read_line(process.stdout, START_LIMIT_S)
            process.stdout.close()
            if line.startswith(b"ready "):
                self._process, self._pid = process, int(line.split()[1])
                return ""
            process.kill()
            process.wait()
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            return lines[-1] if lines else "no answer"

    def kill(self) -> None:
        """Simulate a power failure: every process dies at once, the links go down."""
        if self._process is None:
            return
        if self.is_alive:
            os.kill(self._pid, signal.SIGKILL)
        end(self._process)
        self._process = None
        self._stopped_pids = []
        self._owner.switch.unplug(self.index)

    def end(self) -> None:
        """Wait for the end after the sandbox was closed."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def popen(
        self, command: Command, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a command in the node.

        ``options`` are those of subprocess.Popen, text mode is set.
        """
        return subprocess.Popen(
            self._enter(command),
            env={**self.environment, **(env or {})},
            start_new_session=True,
            universal_newlines=True,
            errors="replace",
            **options,
        )

    def run(
        self,
        command: Command,
        timeout_s: float = COMMAND_LIMIT_S,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command until it ends; a string is a shell line.

        Raises TimeoutExpired after killing a command that takes too long. Waits for the command
        only, not for its background processes.
        """
        with _text_file() as out, _text_file() as err:
            process = self.popen(command, env, stdin=stdin, stdout=out, stderr=err)
            has_ended = False
            try:
                has_ended = wait_for_child(process.pid, timeout_s)
            finally:
                if not has_ended:
                    os.killpg(process.pid, signal.SIGKILL)
                code = process.wait()
            if not has_ended:
                raise subprocess.TimeoutExpired(command, timeout_s, _content(out), _content(err))
            return subprocess.CompletedProcess(command, code, _content(out), _content(err))

    @property
    def entry_command(self) -> str:
        """Return the host's command line for a shell in the node."""
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        return shlex.join(["env", "-i", *environment, *self._enter([self.environment["SHELL"]])])

    def _enter(self, command: Command) -> list[str]:
        if not self.is_alive:
            raise SystemFault(f"node {self.name} is not running")
        argv = (
            ["/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh", "-c", command]
            if isinstance(command, str)
            else command
        )
        user = ["-U", "--preserve-credentials"] if self._owner.enclosure.rootless else []
        return [
            find_tool("nsenter"),
            "-t",
            str(self._pid),
            *user,
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "-F",
            *_WAITING_SHELL,
            *argv,
        ]

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of the running node, replacing an existing one."""
        target = self.root + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        write_atomically(target, text.encode("utf-8"), mode, is_durable=False)

    def read(self, path: str) -> str:
        """Return the content of a file of the running node."""
        with open(self.root + path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def freeze(self) -> None:
        """Stop all processes of the node, like a paused virtual machine.

        Commands run afterwards are not stopped.
        """
        self._signal_all("STOP")

    def thaw(self) -> None:
        """Continue the stopped processes."""
        self._signal_all("CONT")

    def _signal_all(self, name: str) -> None:
        # In the node's pid namespace -1 is every process but process 1 and the shell itself, in one
        # system call.
        done = self.run(["/bin/sh", "-c", f"kill -s {name} -- -1"])
        if done.returncode != 0:
            raise SystemFault(
                f"cannot send {name} to all processes of {self.name}: {done.stderr.strip()}"
            )

    def cut(self, link: str, direction: str = "both") -> None:
        """Drop all traffic on a link that this node sends ("out"), receives ("in"), or both."""
        self._set_cut(link, direction, True)

    def heal(self, link: str) -> None:
        """Undo the cuts of a link, in both directions."""
        self._set_cut(link, "both", False)

    def _set_cut(self, link: str, direction: str, is_cut: bool) -> None:
        check_link(link)
        if direction not in ("both", "in", "out"):
            raise ValueError(f"direction {direction!r} is none of both, in, out")
        if direction != "out":
            self._owner.switch.set_deaf(self.index, link, is_cut)
        if direction != "in":
            self._owner.switch.set_deaf(1 - self.index, link, is_cut)

    def cut_disk(self) -> None:
        """Disconnect the shared disk from this node only.

        With loop devices its reads return nothing and its writes fail. Elsewhere processes that
        have it open are stopped (they hang, as on a disk that does not answer), and a new open
        finds an empty file.
        """
        if self._owner.disk.loops:
            self._owner.disk.set_failing(self.index, True)
            return
        self._stopped_pids += [pid for pid in self._disk_users() if pid not in self._stopped_pids]
        for pid in self._stopped_pids:
            self.run(["/bin/kill", "-s", "STOP", str(pid)])
        self.run(f": > /run/disk.cut; mount --bind /run/disk.cut {NODE_PATH}")

    def heal_disk(self) -> None:
        """Reconnect the shared disk."""
        if self._owner.disk.loops:
            self._owner.disk.set_failing(self.index, False)
            return
        self.run(f"umount {NODE_PATH}")
        for pid in self._stopped_pids:
            self.run(["/bin/kill", "-s", "CONT", str(pid)])
        self._stopped_pids = []

    def _disk_users(self) -> list[int]:
        found = self.run(
            f"cd /proc; for f in [1-9]*/fd/*; do [ $f -ef {NODE_PATH} ] && echo ${{f%%/*}}; done"
        ).stdout
        return sorted({int(word) for word in found.split()})


class TwoNodes:
    """The pair of nodes and their connections. Use it as a context manager, or call close()."""

    def __init__(
        self, names: Sequence[str] = NAMES, hosts: Mapping[str, str] | None = None
    ) -> None:
        """Boot both nodes; ``hosts`` are further names (name to address) for their /etc/hosts."""
        self._hosts = dict(hosts or {})
        self.enclosure = Sandbox()
        self._nodes: list[Node] = []
        try:
            self.switch = Switch(self.enclosure)
            self.disk = LoopDisk(self.enclosure, len(names))
            self._nodes = [Node(self, index, name) for index, name in enumerate(names)]
            for node in self._nodes:
                node.boot()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> TwoNodes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getitem__(self, index: int) -> Node:
        return self._nodes[index]

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    def node(self, index: int) -> Node:
        """Return node 0 or 1."""
        return self._nodes[index]

    def first_files(self, node: Node) -> dict[str, str]:
        """Return the initial files of a node, by path."""
        lines = ["127.0.0.1 localhost"]
        lines += [
            f"{address('eth0', other.index)} {other.name} {other.short_name}"
            for other in self._nodes
        ]
        lines += [f"{where} {name}" for name, where in self._hosts.items()]
        return {"/etc/hosts": "\n".join(lines) + "\n", "/etc/hostname": f"{node.name}\n"}

    def close(self) -> None:
        """End both nodes and remove everything."""
        self.enclosure.close()
        for node in self._nodes:
            node.end()
        if hasattr(self, "disk"):
            self.disk.close()


def _text_file() -> IO[str]:
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")


def _content(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


__all__ = ["LINKS", "NAMES", "Node", "TwoNodes"]
