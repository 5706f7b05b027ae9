"""Nodes with systemd as process 1: containers of systemd-nspawn in network namespaces of their own.

Each is an overlay of a root of Debian; a bridge in a namespace of its own joins them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from opensvc_openha.system import clock

_REBOOT = 133
"""Exit code of systemd-nspawn after a reboot, so that it is started again."""
BOOT_LIMIT_S = 180.0
RUN_LIMIT_S = 300.0


def host(*command: str) -> str:
    """Run a command on this machine; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def until(ask: Callable[[], object], what: str, limit_s: float = BOOT_LIMIT_S) -> None:
    """Wait for a condition."""
    if not clock.wait_until(lambda: bool(ask()), limit_s):
        raise AssertionError(f"after {limit_s:g} s: {what}")


class Switch:
    """Two networks that join the nodes; this program has an address in the first one."""

    def __init__(self, name: str) -> None:
        self.name = name
        host("ip", "netns", "add", name)
        self.inside("ip", "link", "set", "lo", "up")
        for number in (0, 1):
            self.inside("ip", "link", "add", f"br{number}", "type", "bridge")
            self.inside("ip", "link", "set", f"br{number}", "up")
        self.inside("ip", "addr", "add", "10.77.0.100/24", "dev", "br0")

    def inside(self, *command: str) -> str:
        """Run a command beside the bridges."""
        return host("ip", "netns", "exec", self.name, *command)

    def plug(self, node: str, number: int) -> None:
        """Give a namespace an interface in both networks."""
        host("ip", "netns", "add", node)
        host("ip", "-n", node, "link", "set", "lo", "up")
        for net in (0, 1):
            end = f"p{number}{net}"
            host(
                "ip", "link", "add", end, "netns", self.name, "type", "veth",
                "peer", "name", f"eth{net}", "netns", node,
            )  # fmt: skip
            self.inside("ip", "link", "set", end, "master", f"br{net}", "up")
            host("ip", "-n", node, "addr", "add", f"10.77.{net}.{number}/24", "dev", f"eth{net}")
            host("ip", "-n", node, "link", "set", f"eth{net}", "up")

    def remove(self) -> None:
        """Remove it with what hangs on it."""
        host("ip", "netns", "del", self.name)


class Node:
    """One machine: its disk is an overlay, which a reboot keeps."""

    def __init__(self, name: str, number: int, base: Path, home: Path, switch: Switch) -> None:
        self.name = name
        self.root = home / name / "root"
        self._home = home / name
        self._console = home / f"{name}.console"
        for part in ("upper", "work", "root"):
            (self._home / part).mkdir(parents=True)
        options = f"lowerdir={base},upperdir={self._home}/upper,workdir={self._home}/work"
        host("mount", "-t", "overlay", "overlay", "-o", options, str(self.root))
        self.namespace = f"{switch.name}-{name}"
        switch.plug(self.namespace, number)
        (self.root / "etc/hostname").write_text(f"{name}\n")
        (self.root / "etc/machine-id").write_text("")
        self._process: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Start it; return when systemd has started all it should."""
        self._start()
        self.await_boot()

    def _start(self) -> None:
        with open(self._console, "ab") as console:
            self._process = subprocess.Popen(
                [
                    "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot",
                    f"--machine={self.name}", f"--directory={self.root}",
                    f"--network-namespace-path=/run/netns/{self.namespace}",
                    "--resolv-conf=off", "--timezone=off", "--link-journal=no",
                    "--console=read-only",
                    "--capability=CAP_NET_ADMIN",
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )  # fmt: skip

    def await_boot(self, former: str = "") -> None:
        """Wait until it runs, with another boot than the former one."""
        until(lambda: self._runs_since(former), f"{self.name} runs (see {self._console})")

    def _runs_since(self, former: str) -> bool:
        if self._process is not None and self._process.poll() == _REBOOT:
            self._start()
        if not self._leader():
            return False
        done = self._run("systemctl", "is-system-running")
        return done.stdout.strip() in ("running", "degraded") and self.boot_id() != former

    def boot_id(self) -> str:
        """Return what differs at each boot: the start of its process 1."""
        leader = self._leader()
        return f"{leader} {Path(f'/proc/{leader}/stat').read_text().rsplit(')', 1)[1].split()[19]}"

    def _leader(self) -> int:
        """Return the pid of its process 1, 0 if there is none."""
        if self._process is None or self._process.poll() is not None:
            return 0
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for pid in children.read_text().split():
            status = Path(f"/proc/{pid}/status").read_text()
            if next(line for line in status.splitlines() if line.startswith("NSpid:")).endswith(
                "\t1"
            ):
                return int(pid)
        return 0

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        argv = self._inside(*command)
        with subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            give_up = clock.monotonic() + RUN_LIMIT_S
            while True:
                try:
                    out, err = process.communicate(timeout=1)
                except subprocess.TimeoutExpired:
                    # At the end of a node systemd stops all its processes before it kills them,
                    # and nsenter stops with its own, which then is never reaped.
                    process.send_signal(signal.SIGCONT)
                    if clock.monotonic() >= give_up:
                        process.kill()
                        raise
                else:
                    return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def _inside(self, *command: str) -> list[str]:
        return [
            "nsenter", "-t", str(self._leader()), "-m", "-u", "-i", "-n", "-p", "-C",
            "env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
            "HOME=/root", "PYTHONUNBUFFERED=1", *command,
        ]  # fmt: skip

    def begin(self, *command: str) -> subprocess.Popen[str]:
        """Start a command on it whose output is read as it comes."""
        return subprocess.Popen(
            self._inside(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command on it, whatever comes of it."""
        try:
            return self._run(*command)
        except (OSError, StopIteration) as error:
            return subprocess.CompletedProcess(command, 255, "", str(error))

    def ok(self, *command: str) -> str:
        """Run a command on it that must succeed."""
        done = self._run(*command)
        if done.returncode != 0:
            raise AssertionError(
                f"{self.name}: {' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of it."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def remove(self) -> None:
        """Cut its power, and remove it."""
        if self._process is not None:
            leader = self._leader()
            if leader:
                os.kill(leader, 9)
            self._process.kill()
            self._process.wait()
        subprocess.run(["umount", "-l", str(self.root)])
        subprocess.run(["ip", "netns", "del", self.namespace])
        shutil.rmtree(self._home, ignore_errors=True)


def root_of(suite: str, packages: Sequence[str], folder: Path) -> Path:
    """Return a root of Debian with these packages; kept in a folder for the next time."""
    root = folder / suite
    if not (root / ".complete").exists():
        shutil.rmtree(root, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        host(
            "mmdebstrap", "--variant=minbase", "--aptopt=Acquire::Languages \"none\"",
            f"--include={','.join(packages)}", suite, str(root),
        )  # fmt: skip
        (root / ".complete").touch()
    return root
