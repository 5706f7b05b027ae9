"""A minimal agent of each line with the driver really installed, and a simulated node daemon."""

from __future__ import annotations

import contextlib
import glob
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

import pytest

from opensvc_openha.cli import main
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.plugin import installer
from opensvc_openha.plugin.agents import find_agents
from opensvc_openha.plugin.changes import carry_out
from tests.waiting import LIMIT_S

HERE = os.uname().nodename


PEER = "peer.opensvc.com"


SVC = "registry.opensvc.com"


HOST_FILES = Path(__file__).parent / "host"


LINES = ("1.5", "1.6", "1.7", "1.8")


def find_python2() -> str | None:
    """Return a Python 2.7, or None."""
    found = sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/2.7*/bin/python")))
    system = shutil.which("python2.7")
    return found[-1] if found else system if system and "/shims/" not in system else None


def pythons_of(line: str) -> tuple[str, ...]:
    """Return the Pythons under which a line is tested, as far as this machine has them."""
    return ("2.7",) if line != "1.8" else ("2.7", "3")


def python_for(version: str) -> str:
    """Return the path of a Python; skip the test if it is missing."""
    if version == "3":
        return sys.executable
    python = find_python2()
    if python is None:
        pytest.skip("no Python 2.7 on this machine (looked in ~/.pyenv and the PATH)")
    return python


def service_json(name: str, own: str, peer: str, reason: str = "") -> dict[str, str]:
    """Return a service as a current daemon describes it."""
    return {
        "name": name,
        "primary": HERE,
        "secondary": PEER,
        "primary_state": own,
        "secondary_state": peer,
        "own_state": own,
        "peer_state": peer,
        "reason": reason,
    }


def pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str], IO[str]]:
    assert process.stdin and process.stdout and process.stderr
    return process.stdin, process.stdout, process.stderr


class Daemon:
    """Answers on the control socket as the test demands, and counts requests.

    Where the reply is callable commands are answered too, by `act`.
    """

    def __init__(self, path: str) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.reply: Any = None
        self.act: Any = None
        self.delay_s = 0.0
        self.asked = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
        self._socket.bind(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
        os.close(folder)
        self._socket.listen(8)
        self._is_over = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                request = connection.makefile("rb").readline()
                self.asked += 1
                self._is_over.wait(self.delay_s)
                replies = [self.reply]
                if callable(self.reply):
                    asked = json.loads(request)
                    replies = self.act(asked) if asked["do"] == "act" else [self.reply()]
                try:
                    for reply in replies:
                        is_raw = isinstance(reply, bytes)
                        connection.sendall(reply if is_raw else json.dumps(reply).encode() + b"\n")
                except OSError:
                    continue

    def close(self) -> None:
        """Close the socket; its file stays, as after a kill."""
        self._is_over.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Host:
    """An agent of one line with one service, run as its own process."""

    def __init__(self, root: Path, line: str, python: str) -> None:
        self.line = line
        self.python = python
        self.home = root / "agent"
        self.ez = root / "ez"
        self.states = root / "states.json"
        self.calls = root / "calls"
        self._process: subprocess.Popen[str] | None = None
        self._daemon: Daemon | None = None
        self._lay_out()
        self.set_states("frozen_stop", "frozen_stop")
        self.install()

    def _lay_out(self) -> None:
        lib = self.home / "lib"
        for folder in (
            lib,
            self.home / "etc",
            self.home / "var" / SVC,
            self.ez / "bin",
            self.ez / "conf",
        ):
            folder.mkdir(parents=True)
        for name in ("rcExceptions.py", "rcStatus.py", "resHb.py", "svc.py", "serve.py"):
            shutil.copy(HOST_FILES / name, lib / name)
        is_old = self.line == "1.5"
        shutil.copy(
            HOST_FILES / ("rcGlobalEnv_1_8.py" if self.line == "1.8" else "rcGlobalEnv_1_5.py"),
            lib / "rcGlobalEnv.py",
        )
        shutil.copy(
            HOST_FILES / "resources_1_5.py",
            lib / ("resources.py" if is_old else "resources_1_5.py"),
        )
        if not is_old:
            shutil.copy(HOST_FILES / "resources_1_7.py", lib / "resources.py")
        if self.line == "1.8":
            text = (lib / "resources.py").read_text().replace("no_status = None", "no_status = 5")
            (lib / "resources.py").write_text(text)
        if self.line not in ("1.6",):
            # Distinguishes the 1.6 from the others.
            (lib / "svc.py").write_text(
                (lib / "svc.py").read_text().replace("def hb_handled_action", "def hb_handles")
            )
        (lib / "resHbOpenHA.py").write_text("# The stock driver.\n")
        self._script(self.home / "bin" / "svcmgr", "exit 0")
        suffix = ".conf" if self.line == "1.8" else ".env"
        self.service_file = self.home / "etc" / (SVC + suffix)
        self.service_file.write_text(
            f"[DEFAULT]\nnodes = {HERE} {PEER}\n\n[hb#0]\ntype = OpenHA\nname = registry\n"
        )
        (self.ez / "conf" / "nodes").write_text(f"{HERE}\n{PEER}\n")
        self._script(self.ez / "bin" / "service", "exit 0")
        self._script(
            self.ez / "bin" / "openha",
            f'EZ={self.ez} exec {sys.executable} -c "from opensvc_openha.cli.main import console;'
            ' console()" "$@"',
        )
        # Commands for the daemon, and the peer's agent, change a file here.
        change_states = str(Path(__file__).parent / "change_states.py")
        self._change = [sys.executable, change_states, str(self.states), str(self.calls)]
        self.peer_command = self._script(
            self.home / "peer", f'exec {" ".join(self._change)} peer "$@"'
        )

    @staticmethod
    def _script(path: Path, body: str) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    def openha(self, command: str, code: int = 0) -> str:
        """Run `openha agent ...` for this agent; return its output."""
        out = io.StringIO()
        before = dict(os.environ)
        for name in [name for name in before if name.startswith(("EZ", "OSVC"))]:
            del os.environ[name]
        os.environ["EZ"] = str(self.ez)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                ended = main.main(["agent", *command.split(), "--agent-root", str(self.home)])
        except OpenhaError as error:
            out.write(f"{error}\n")
            ended = error.exit_code
        finally:
            os.environ.clear()
            os.environ.update(before)
        assert ended == code, f"{command}: {ended}: {out.getvalue()}"
        return out.getvalue()

    def install(self) -> None:
        """Make the changes of `openha agent install`."""
        for change in installer.plan_install(
            find_agents(str(self.home))[0], tree_layout(str(self.ez))
        ):
            carry_out(change)

    @property
    def socket_path(self) -> str:
        """Return the path of the control socket."""
        return str(self.ez / "services" / ".proc" / "nmond.sock")

    def daemon(self, reply: bytes | dict[str, Any] | list[int] | None = None) -> Daemon:
        """Start a daemon that reports the states of the file, or gives this reply."""
        self._daemon = Daemon(self.socket_path)
        self._daemon.reply = self.status_json if reply is None else reply
        self._daemon.act = self._act
        return self._daemon

    def _act(
        self, request: dict[str, Any]
    ) -> list[dict[str, bool] | dict[str, dict[str, bool | str]]]:
        """Carry out a command; return the daemon's answers."""
        command, (service,) = request["command"], request["services"]
        words = [*self._change, "own", service, command]
        done = subprocess.run(words, capture_output=True, encoding="utf-8")
        is_ok = done.returncode == 0
        states = json.loads(self.states.read_text())
        answer = {
            "command": command,
            "service": service,
            "word": "UNFROZEN" if is_ok else "FAILED",
            "own": states["own"].upper(),
            "peer": states["peer"].upper(),
            "detail": done.stdout.strip(),
            "is_last": True,
            "is_ok": is_ok,
        }
        return [{"accepted": True}, {"answer": answer}, {"done": True}]

    def set_states(self, own: str, peer: str, standing: str = "live", **more: Any) -> None:
        """Set the states of the cluster.

        `peer_fails="stop"` makes that word fail, `own_start_ends="start_failed"` a start.
        """
        states = {"own": own, "peer": peer, "standing": standing}
        self.states.write_text(
            json.dumps({**states, **{key.replace("_", " "): value for key, value in more.items()}})
        )

    def status_json(self) -> dict[str, Any]:
        """Return a current daemon's answer, as far as a driver reads it."""
        states = json.loads(self.states.read_text())
        # A start is seen running once, and has ended by the next poll.
        ends = {
            who: states.get(f"{who} start ends", "started")
            for who in ("own", "peer")
            if states[who] == "starting"
        }
        if ends:
            self.states.write_text(json.dumps({**states, **ends}))
        return {
            "status": {
                "node": HERE,
                "peer": PEER,
                "pid": 1,
                "peer_standing": states["standing"],
                "links": [],
                "services": [
                    service_json("busybox", "STARTED", "STOPPED"),
                    service_json(
                        "registry",
                        states["own"].upper(),
                        states["peer"].upper(),
                        states.get("reason", ""),
                    ),
                ],
            }
        }

    def write_state_files(self, own: bytes, peer: bytes) -> None:
        """Write STATE files, given as bytes."""
        folder = self.ez / "services" / "registry"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"STATE.{HERE}").write_bytes(own)
        (folder / f"STATE.{PEER}").write_bytes(peer)

    def ask(self, what: str, **options: Any) -> dict[str, Any]:
        """Send one request to the agent; return its answer."""
        if self._process is None:
            self._process = subprocess.Popen(
                [
                    self.python,
                    str(self.home / "lib" / "serve.py"),
                    self.line,
                    SVC,
                    f"{HERE.lower()} {PEER}",
                    str(self.home / "var" / SVC),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                universal_newlines=True,
            )
        stdin, stdout, stderr = pipes(self._process)
        stdin.write(json.dumps({"do": what, "peer_command": self.peer_command, **options}) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, stderr.read()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def made_calls(self) -> list[str]:
        """Return the requests to the daemon and the peer, in order."""
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def wrapper(self, kind: str) -> Path:
        """Return the path of a wrapper."""
        return self.home / "etc" / f"{SVC}.{kind}"

    def close(self) -> None:
        """Terminate everything; fail if an error went unnoticed."""
        if self._daemon is not None:
            self._daemon.close()
        self.end_agent()

    def end_agent(self) -> None:
        """End the agent: the next request is the first of another process."""
        if self._process is not None:
            stdin, stdout, stderr = pipes(self._process)
            stdin.close()
            assert "Traceback" not in stderr.read()
            self._process.wait(LIMIT_S)
            stdout.close()
            stderr.close()
            self._process = None
