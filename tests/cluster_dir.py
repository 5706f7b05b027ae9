"""One node's cluster directory in a temporary place, with links that need no privileges.

These are unicast on lo and a file. The peer does not exist, so the daemon of this node is alone;
two nodes need namespaces and are in tests/e2e.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from opensvc_openha.cli import main as cli
from opensvc_openha.control import client
from opensvc_openha.core.facts import Turn
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import ALWAYS_TRUE
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage.fencing_store import FencingStore
from tests.ports import free_port
from tests.waiting import LIMIT_S, until

HERE = os.uname().nodename
PEER = "peer.opensvc.com"


_IN_PROCESS = (
    "service -s",
    "hb -s",
    "openha history",
    "openha why",
    "service -A",
    "service -a",
)
_STREAMS = threading.Lock()
"""Held while a command of this process has the standard streams and the environment."""
_LOG_LIMIT_S = 20.0
_OVERLOADED = "does not answer"


class ClusterDir:
    """Cluster directory installed by the real installer, used through the real launchers."""

    def __init__(self, root: Path, timeout_s: float = 2) -> None:
        self.root = root
        self.env = {
            key: value for key, value in os.environ.items() if not key.startswith(("EZ", "OSVC"))
        }
        done = self.quick(f"openha install --no-key --prefix {root}")
        assert done.returncode == 0, done.stderr
        self.path("conf/nodes").write_text(f"{HERE}\n{PEER}\n")
        disk = root / "disk"
        disk.write_bytes(bytes(1 << 20))
        self.path("conf/monitor").write_text(
            f"{HERE}\tunicast\tlo\t127.0.0.1\t{free_port()}\t{timeout_s:g}\n"
            f"{PEER}\tunicast\tlo\t127.0.0.1\t{free_port()}\t{timeout_s:g}\n"
            f"{HERE}\tdio\t{disk}\t0\t{timeout_s:g}\n"
            f"{PEER}\tdio\t{disk}\t10\t{timeout_s:g}\n"
        )
        # A check of this machine would find what is none of the tests' business.
        options = self.path("conf/openha.conf")
        options.write_text("[check]\nevery = never\n")
        options.chmod(0o644)

    def path(self, name: str) -> Path:
        """Return the path of a file below the cluster directory."""
        return self.root / name

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run one of the commands: ``service -s -c``, ``ezha start``."""
        name, *args = command.split()
        program = self.root / name if name.startswith("ezha") else self.root / "bin" / name
        return subprocess.run(
            [str(program), *args],
            capture_output=True,
            text=True,
            env=self.env,
            timeout=LIMIT_S,
            stdin=subprocess.DEVNULL,
        )

    def quick(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in this process: starting another takes seconds on a busy machine."""
        out, err = io.StringIO(), io.StringIO()
        name, *args = command.split()
        words = args if name == "openha" else [name, *args]
        with mock.patch.dict(os.environ, {**self.env, "EZ": str(self.root)}, clear=True):
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    code = cli.main(words)
                except OpenhaError as error:
                    code = error.exit_code
                    err.write(f"{error}\n")
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    def ok(self, command: str) -> str:
        """Run a command that must succeed with nothing on stderr; return its output.

        What only asks the daemon, or is nothing but a test's set-up, runs in this process, unless
        another thread has its output.

        On a busy machine a healthy daemon may be too slow for a command, which then gives up before
        it has changed anything: it is repeated.
        """

        def run() -> subprocess.CompletedProcess[str]:
            if not command.startswith(_IN_PROCESS) or not _STREAMS.acquire(blocking=False):
                return self.run(command)
            try:
                return self.quick(command)
            finally:
                _STREAMS.release()

        done = until(run, lambda done: _OVERLOADED not in done.stderr, command)
        assert (done.returncode, done.stderr) == (0, ""), f"{command}: {done}"
        return done.stdout

    def fails(self, command: str, code: int) -> str:
        """Run a command that must fail with this code and one line on stderr; return the line."""
        done = self.run(command)
        assert done.returncode == code, f"{command}: {done}"
        assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n"), done.stderr
        return done.stderr.rstrip("\n")

    def script(self, name: str, body: str) -> str:
        """Write a start/stop script that records each call in ``<name>.calls``."""
        path = self.root / name
        path.write_text(f'#!/bin/sh\necho "$1" >> {path}.calls\n{body}\n')
        path.chmod(0o755)
        return str(path)

    def calls(self, name: str) -> list[str]:
        """Return a script's calls so far, without those for its status."""
        return [word for word in self.all_calls(name) if word != "status"]

    def all_calls(self, name: str) -> list[str]:
        """Return all of a script's calls so far."""
        path = self.root / f"{name}.calls"
        return path.read_text().split() if path.exists() else []

    def add(
        self, service: str, body: str = "exit 0", check: str = "/bin/true", primary: str = HERE
    ) -> None:
        """Add a service with a script of its own."""
        secondary = PEER if primary == HERE else HERE
        if check not in ALWAYS_TRUE:
            self.remember_peer()
        self.ok(
            f"service -a {service} {self.script(service + '.sh', body)} {primary} {secondary}"
            f" {check}"
        )

    def remember_peer(self) -> None:
        """Record the peer as heard by an earlier daemon of this boot.

        Otherwise this node would not fence it by itself.
        """
        FencingStore(tree_layout(str(self.root))).write(
            FencingMemory(has_heard=True, turn=Turn.HELD)
        )

    def state(self, service: str) -> str:
        """Return the own state as shown by `service -s -c`."""
        for line in self.ok("service -s -c").splitlines():
            words = line.split()
            if words[0] == service:
                return words[2] if words[1] == HERE else words[4]
        raise AssertionError(f"no service {service}")

    def state_file(self, service: str, node: str = HERE) -> Path:
        """Return the path of the service's STATE file of a node."""
        return self.path(f"services/{service}/STATE.{node}")

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds."""
        until(condition, bool, what, lambda: f"log: {self.log()}")

    def wait_state(self, service: str, state: str) -> None:
        """Wait until a service is in a state and shown in it."""
        until(
            lambda: self.state(service),
            lambda seen: seen == state,
            f"{service} {state}",
            lambda: f"log: {self.log()}",
        )

    def history(self, service: str) -> list[dict[str, Any]]:
        """Return all entries of the history about a service, oldest first."""
        return list(json.loads(self.ok(f"openha history {service} -n 0 --json"))["entries"])

    def went_through(self, service: str, *states: str) -> bool:
        """Return whether the history has these states of a service in this order.

        The states may be arbitrarily short.
        """
        entered = iter(
            [entry["new"] for entry in self.history(service) if entry["kind"] == "service"]
        )
        return all(state in entered for state in states)

    def wait_moment(self, service: str, old: str, new: str, number: int = 1) -> float:
        """Wait for the Nth change from one state to another.

        Return the time of the decision in monotonic seconds.
        """

        def moments() -> list[float]:
            return [
                float(entry["mono"])
                for entry in self.history(service)
                if (entry["kind"], entry["old"], entry["new"]) == ("service", old, new)
            ]

        found = until(
            moments,
            lambda seen: len(seen) >= number,
            f"{service}: {old} -> {new}",
            lambda: f"log: {self.log()}",
        )
        return found[number - 1]

    def obstruct(self, name: str) -> None:
        """Replace a directory by a file: not even root can read or write below it."""
        folder = self.path(name)
        for entry in folder.iterdir():
            entry.unlink()
        folder.rmdir()
        folder.write_text("in the way")

    def pid(self) -> int:
        """Return the pid of the daemon, 0 if there is none."""
        try:
            pid = int(self.path("services/.proc/nmond.lock").read_text())
            return pid if self.is_alive(pid) else 0
        except (OSError, ValueError):
            return 0

    @staticmethod
    def is_alive(pid: int) -> bool:
        """Return whether a process has not ended; a zombie, which still accepts signals, has."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def daemons(self) -> list[int]:
        """Return the pids of the daemons of this directory, found by their environment."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                name, env = (
                    (folder / "comm").read_text().strip(),
                    (folder / "environ").read_bytes().split(b"\0"),
                )
            except OSError:
                continue
            if name == "nmond" and f"EZ={self.root}".encode() in env:
                found.append(int(folder.name))
        return found

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the daemon a signal; with SIGKILL, wait until it has ended."""
        pid = self.pid()
        assert pid, "no daemon to send a signal to; 0 would be this process and its group"
        os.kill(pid, number)
        if number == signal.SIGKILL:
            self.wait(lambda: self.pid() != pid, "the daemon is gone")

    def log(self) -> str:
        """Return the daemon's log, including all lines logged before this call.

        The log's thread writes in order, and a mark is written last.
        """
        path, mark = self.path("log/nmond.log"), f"mark {uuid.uuid4()}"
        if not path.exists():
            return ""
        try:
            if self.pid():
                client.record_observation(
                    tree_layout(str(self.root)), "test", "MARK", mark, is_alarm=False
                )
                until(
                    lambda: mark in path.read_text(),
                    bool,
                    "the log is written",
                    limit_s=_LOG_LIMIT_S,
                )
        except (OpenhaError, OSError, AssertionError):
            # It does not run, is stopped, or cannot write its log: return what there is.
            pass
        return "".join(
            line
            for line in path.read_text().splitlines(True)
            if " monitor test: MARK: " not in line
        )

    def close(self) -> None:
        """Terminate the daemon of this directory, if it runs."""
        pid = self.pid()
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.kill(pid, signal.SIGCONT)
