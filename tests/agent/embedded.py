"""An embedded agent in a temporary directory, and a node with namespaces of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from opensvc_openha.cli import svcmgr, svcmon
from opensvc_openha.errors import OpenhaError
from tests.waiting import LIMIT_S, until

PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


@dataclass(frozen=True)
class Outcome:
    """Result of one agent command."""

    exit_code: int
    out: str
    err: str


@dataclass(frozen=True)
class Agent:
    """An embedded agent whose directories are below one temporary directory."""

    root: Path
    capture: pytest.CaptureFixture[str]

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def calls(self) -> list[str]:
        """Return the calls of the recording scripts, in order."""
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def write(self, svcname: str, text: str) -> Path:
        path = self.etc / f"{svcname}.env"
        path.write_text(textwrap.dedent(text))
        return path

    def script(self, name: str, body: str = "") -> Path:
        """Write a script that records its name and argument, then runs ``body``.

        Its check reports up after start, down before and after stop.
        """
        path = self.root / name
        flag = f"{path}.running"
        path.write_text(
            f"#!/bin/sh\necho {name} $1 >> {self.root}/calls\n{body}\n"
            f'case "$1" in start) touch {flag};; stop) rm -f {flag};; status) [ -e {flag} ];;'
            " esac\n"
        )
        path.chmod(0o755)
        return path

    def svcmgr(self, *args: str, called_as: str = "svcmgr") -> Outcome:
        return self._call(lambda: svcmgr.run(called_as, args))

    def svcmon(self, *args: str) -> Outcome:
        return self._call(lambda: svcmon.main(list(args)))

    def _call(self, run: Callable[[], int]) -> Outcome:
        self.capture.readouterr()
        try:
            exit_code = run()
        except SystemExit as shown:
            exit_code = int(shown.code or 0)
        except OpenhaError as error:
            sys.stderr.write(f"{error}\n")
            exit_code = error.exit_code
        out, err = self.capture.readouterr()
        return Outcome(exit_code, out, err)


@dataclass(frozen=True)
class PrivateNode:
    """A process in its own mount, network and UTS namespaces, with a peer namespace behind eth0."""

    pid: int
    peer_pid: int
    root: Path

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the node."""
        return self._enter(self.pid, ["--mount", "--net", "--uts"], argv)

    def run_on_peer(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command at the other end of the cable."""
        return self._enter(self.peer_pid, ["--net"], argv)

    def agent(self, svcname: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one agent action on the node."""
        return self.run(sys.executable, "-m", "opensvc_openha.cli.svcmgr", "-s", svcname, *words)

    def write(self, svcname: str, text: str) -> None:
        (self.root / "etc" / f"{svcname}.env").write_text(textwrap.dedent(text))

    def _enter(
        self, pid: int, spaces: list[str], argv: tuple[str, ...]
    ) -> subprocess.CompletedProcess[str]:
        env = dict(os.environ, PYTHONPATH=PACKAGE_ROOT, EZ=str(self.root / "no-openha"))
        env.update(
            {f"OSVC_{name.upper()}": str(self.root / name) for name in ("etc", "var", "log", "bin")}
        )
        return subprocess.run(
            ["nsenter", f"--target={pid}", *spaces, "--", *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=env,
            timeout=LIMIT_S,
        )


def hold_namespaces(unshare: list[str]) -> subprocess.Popen[bytes]:
    """Start a process that keeps new namespaces alive; return once it is in them."""
    own = os.stat("/proc/self/ns/net").st_ino
    process = subprocess.Popen([*unshare, "sleep", "100000"], stdin=subprocess.DEVNULL)

    def is_in_them() -> bool:
        assert process.poll() is None, "no namespaces to be had"
        return os.stat(f"/proc/{process.pid}/ns/net").st_ino != own and _runs(process.pid, "sleep")

    until(is_in_them)
    return process


def _runs(pid: int, command: str) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().strip() == command


def must_succeed(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stderr
