"""A keeper and a holder as real processes, a simulated device, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from opensvc_openha.system import clock
from opensvc_openha.system.processes import start_of_process, stat_of
from opensvc_openha.watchdog.keeper_client import KeeperClient, KeeperSettings
from tests.waiting import until
from tests.watchdog import socket_keeper
from tests.watchdog.simulated_watchdog import SimulatedWatchdog

KEEPER_COMMAND = (sys.executable, "-B", socket_keeper.__file__)
"""Not isolated, as in production: faults are planted in it by a line of the virtual environment."""
LONG_S = 1000.0
"""Time for an answer where a test is about something else: no load makes a permit late."""


@dataclass
class Sessions:
    """Starts processes as where no systemd runs."""

    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    is_all_apart: bool = True
    user: int | None = None

    def start(self, name: str, command: list[str]) -> None:
        self.children.append(
            subprocess.Popen(
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                user=self.user,
            )
        )

    def is_apart(self, pid: int) -> bool:
        return self.is_all_apart

    def kill(self, pid: int) -> None:
        """Kill one of them; return when it is gone."""
        for child in self.children:
            if child.pid == pid:
                child.kill()
                child.wait()

    def has_ended(self, pid: int) -> bool:
        return any(child.pid == pid and child.poll() is not None for child in self.children)

    def end(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()
            if child.stderr is not None:
                child.stderr.close()


@dataclass
class Bench:
    """What a test of the keeper needs."""

    directory: Path
    sessions: Sessions
    devices: list[SimulatedWatchdog] = field(default_factory=list)
    clients: list[KeeperClient] = field(default_factory=list)

    def device(self, *args: object, **kwargs: object) -> SimulatedWatchdog:
        path = self.directory / f"dog{len(self.devices)}"
        made = SimulatedWatchdog(path, *args, **kwargs)  # type: ignore[arg-type]
        self.devices.append(made)
        return made

    def client(
        self, timeout_s: int = 100, answer_s: float = LONG_S, holders: int = 2
    ) -> KeeperClient:
        """Return a daemon's end, for the last device that was made."""
        settings = KeeperSettings(str(self.devices[-1].path), timeout_s, answer_s, holders)
        made = KeeperClient(str(self.directory), settings, KEEPER_COMMAND, self.sessions)
        self.clients.append(made)
        return made


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, Sessions())
    try:
        yield made
    finally:
        for client in made.clients:
            client.close()
        made.sessions.end()
        for device in made.devices:
            device.end()


def stop(pid: int) -> None:
    """Stop a process; return when it is stopped, or gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    until(lambda: getattr(stat_of(pid), "state", "Z"), lambda state: state in ("T", "Z", "X"))


def go_on(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def runs(pid: int) -> bool:
    return bool(start_of_process(pid))


def pass_time_to(instant: float) -> None:
    """Return at that instant."""
    until(clock.monotonic, lambda now: now > instant)
