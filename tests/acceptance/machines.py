"""Machines made of User-Mode Linux kernels, their shared disks and links: two nodes, and one that
serves disks by iSCSI where a scenario needs it.

To be used in network, mount and pid namespaces of their own, which remove everything when they end.
Each kernel runs with all its processes in one more pid namespace: killing that is a power failure,
at once and certain.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.clocks import Clock
from tests.acceptance.errors import NotAccepted

LINKS = (0, 1, 2)
NAMES = {1: "deb1", 2: "deb2", 3: "target"}
HOST_ADDRESS = "10.60.0.254"
COMMAND_PORT = 7777
BOOT_LIMIT_S = 300.0
SHARED_DISKS = ("registry.img", "hb.img", "files.img")
"""Disks that both nodes see as /dev/ubdb, /dev/ubdc and /dev/ubdd."""


@dataclass(frozen=True)
class Outcome:
    """Result of a command in a machine."""

    code: int
    output: str


def make_network() -> None:
    """Create three bridges, with a port for each machine on each."""
    _ip("link", "set", "lo", "up")
    for link in LINKS:
        _ip("link", "add", f"br{link}", "type", "bridge", "mcast_snooping", "0")
        _ip("addr", "add", f"10.60.{link}.254/24", "dev", f"br{link}")
        _ip("link", "set", f"br{link}", "up")
        for number in NAMES:
            _ip("tuntap", "add", f"n{number}eth{link}", "mode", "tap")
            _ip("link", "set", f"n{number}eth{link}", "master", f"br{link}", "up")


def add_address(address: str) -> None:
    """Give the outside one more address on the first link."""
    _ip("addr", "add", f"{address}/24", "dev", "br0")


class Machine:
    """One machine; its own disk persists while it is off."""

    def __init__(self, work: Path, number: int, memory_mb: int) -> None:
        self.number = number
        self.name = NAMES[number]
        self.address = f"10.60.0.{number}"
        self._work = work
        self._memory_mb = memory_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._switching = threading.Lock()
        self.clock: Clock | None = None
        """Clocks of its own from the next power on; the host's if there are none."""
        self._paused_at = 0

    @property
    def is_on(self) -> bool:
        """Return whether its kernel exists, running or stopped."""
        process = self._process
        return process is not None and process.poll() is None

    def power_on(self) -> float:
        """Boot; return the seconds until it accepts commands."""
        began = time.monotonic()
        self.begin_power_on()
        while True:
            try:
                if self.run("true", 5.0).code == 0:
                    return time.monotonic() - began
            except OSError:
                pass
            if not self.is_on or time.monotonic() - began > BOOT_LIMIT_S:
                raise NotAccepted(
                    f"{self.name} does not boot, see {self._work}/console{self.number}.log"
                )
            time.sleep(0.1)

    def begin_power_on(self) -> None:
        """Give it power; it boots."""
        work = self._work
        argv = [
            "unshare",
            "--pid",
            "--fork",
            "--kill-child=SIGKILL",
            "--",
            "/bin/sh",
            "-c",
            '"$@"; exit $?',
            "sh",
        ]
        clock = self.clock.environment if self.clock is not None else {}
        argv += ["env", *(f"{name}={value}" for name, value in clock.items())]
        argv += [
            "nice",
            str(work / "uml/usr/bin/linux.uml"),
            f"mem={self._memory_mb}M",
            f"ubd0=disk{self.number}.cow,base.img",
        ]
        if self.number in (1, 2):
            argv += [f"ubd{index}sc={name}" for index, name in enumerate(SHARED_DISKS, 1)]
        argv += [
            f"vec{link}:transport=tap,ifname=n{self.number}eth{link},depth=64,gro=1"
            for link in LINKS
        ]
        argv += [
            "root=/dev/ubda",
            "rw",
            "init=/acceptance/init",
            f"node={self.number}",
            "quiet",
            "con=null",
            "con0=null,fd:1",
        ]
        argv += [f"umid=n{self.number}", f"uml_dir={work}/umid"]
        with open(work / f"console{self.number}.log", "ab") as log:
            self._process = subprocess.Popen(
                argv, cwd=work, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def cut_power(self) -> None:
        """Kill the kernel with all its processes; return when they are gone."""
        with self._switching:
            if self._process is None:
                return
            for pid in self._children():
                # It may have just ended.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def forget(self) -> None:
        """Forget what was written on its own disk, while it is off."""
        (self._work / f"disk{self.number}.cow").unlink(missing_ok=True)

    def unplug(self, *links: int) -> None:
        """Take cables out: its ends of the links keep their carrier, as behind a dead switch."""
        for link in links:
            _ip("link", "set", f"n{self.number}eth{link}", "nomaster")

    def plug(self, *links: int) -> None:
        """Put cables back."""
        for link in links:
            _ip("link", "set", f"n{self.number}eth{link}", "master", f"br{link}", "up")

    def hang(self) -> None:
        """Stop the kernel with all that runs in it, like a machine that hangs."""
        for first in self._children():
            space = os.readlink(f"/proc/{first}/ns/pid")
            for entry in filter(str.isdigit, os.listdir("/proc")):
                try:
                    if os.readlink(f"/proc/{entry}/ns/pid") == space:
                        os.kill(int(entry), signal.SIGSTOP)
                except (FileNotFoundError, ProcessLookupError):
                    pass  # It has just ended.

    def pause(self) -> None:
        """Stop the kernel, which lets nothing else of the machine run, until it is resumed."""
        kernel = self._kernel()
        for pid in kernel:
            os.kill(pid, signal.SIGSTOP)
        while any(_status(pid)["State"][0] not in "TZ" for pid in kernel):
            time.sleep(0.001)
        self._paused_at = time.monotonic_ns()

    def resume(self, did_clocks_stand: bool = True) -> float:
        """Let a paused machine go on; return for how many seconds it was paused.

        Its own clocks, if it has some, stood still or went on.
        """
        paused_ns = time.monotonic_ns() - self._paused_at
        if self.clock is not None and did_clocks_stand:
            self.clock.skip(paused_ns)
        for pid in self._kernel():
            os.kill(pid, signal.SIGCONT)
        return paused_ns / 1e9

    def _kernel(self) -> list[int]:
        """Return the processes of the kernel: what it runs is traced by it."""
        (first,) = self._children()
        space = os.readlink(f"/proc/{first}/ns/pid")
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            # It may have just ended.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                is_inside = os.readlink(f"/proc/{entry}/ns/pid") == space
                is_kernel = os.readlink(f"/proc/{entry}/exe").endswith("linux.uml")
                if is_inside and is_kernel and _status(int(entry))["TracerPid"] == "0":
                    found.append(int(entry))
        return found

    def run(self, command: str, limit_s: float) -> Outcome:
        """Run a shell command in it; OSError if it does not respond."""
        with socket.create_connection((self.address, COMMAND_PORT), 5.0) as sock:
            sock.settimeout(limit_s + 30.0)
            sock.sendall(json.dumps({"command": command, "limit_s": limit_s}).encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                piece = sock.recv(65536)
                if not piece:
                    raise ConnectionError(f"{self.name} went away during the command")
                answer += piece
        return Outcome(**json.loads(answer))

    def _children(self) -> list[int]:
        assert self._process is not None
        pid = self._process.pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(word) for word in text.split()]


def _status(pid: int) -> dict[str, str]:
    """Return the fields of a process's status."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def _ip(*words: str) -> None:
    done = subprocess.run(
        ["ip", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        raise NotAccepted(f"ip {' '.join(words)}: {done.stdout.strip()}")
