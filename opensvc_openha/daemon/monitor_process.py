"""Keep the resource monitor, the peer server, the notifier, running as children of the daemon.

The daemon only knows its command. Such a process has nothing to do with decisions: the daemon's
main thread alone starts and polls it, never waits for it without a limit, and restarts it with
growing delays if it ends. It ends with the daemon, however that ends: its input is a pipe whose
other end the daemon holds.
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence

from opensvc_openha.daemon.memory_guard import MemoryGuard
from opensvc_openha.records import dataclass
from opensvc_openha.system import clock
from opensvc_openha.system.processes import end_processes

BACKOFF_FIRST_S = 2.0
BACKOFF_MAX_S = 60.0
STEADY_S = 120.0
"""A process that ran for so many seconds is restarted at once, as if it had never failed."""
_END_LIMIT_S = 2.0


@dataclass(frozen=True)
class MonitorCommand:
    """How to run such a process.

    ``is_wanted`` is called from time to time; while it returns False, the process is not started.
    """

    argv: Sequence[str]
    is_wanted: Callable[[], bool]


@dataclass(frozen=True)
class Children:
    """The commands of such processes; None for one that is not to run."""

    monitor: MonitorCommand | None = None
    peer_server: MonitorCommand | None = None
    notifier: MonitorCommand | None = None


NO_CHILDREN = Children()


class MonitorProcess:
    """The child process, if there is one."""

    def __init__(
        self,
        command: MonitorCommand | None,
        env: Mapping[str, str],
        logger: logging.Logger,
        memory: MemoryGuard | None = None,
        name: str = "resource monitor",
    ) -> None:
        self.command = command
        self._env = env
        self._log = logger
        self._name = name
        self._memory = MemoryGuard() if memory is None else memory
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._not_before = 0.0
        self._backoff_s = BACKOFF_FIRST_S

    @property
    def pid(self) -> int:
        """Pid of the child, 0 if it does not run."""
        return self._process.pid if self._process is not None else 0

    def ensure_running(self) -> None:
        """Start the child if it is wanted and does not run; return at once."""
        if self.command is None:
            return
        if self._process is not None:
            if self._process.poll() is None:
                return
            self._record_end(self._process.returncode)
        if clock.monotonic() >= self._not_before and self.command.is_wanted():
            self._start(self.command.argv)

    def _start(self, argv: Sequence[str]) -> None:
        self._started_at = clock.monotonic()
        try:
            self._process = subprocess.Popen(
                self._memory.command(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={**os.environ, **self._env},
                start_new_session=True,
            )
        except OSError as error:
            self._put_off()
            self._log.warning("%s: cannot be started: %s", self._name, error)

    def _record_end(self, code: int) -> None:
        """Record an end, whatever the exit code: it should run for as long as the daemon."""
        self._close()
        if code == 0 and self.command is not None and not self.command.is_wanted():
            self._not_before, self._backoff_s = 0.0, BACKOFF_FIRST_S
            return  # It was switched off.
        if clock.monotonic() - self._started_at >= STEADY_S:
            self._backoff_s = BACKOFF_FIRST_S
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        self._put_off()
        self._log.warning("%s: %s: started again", self._name, how)

    def _put_off(self) -> None:
        self._not_before = clock.monotonic() + self._backoff_s
        self._backoff_s = min(BACKOFF_MAX_S, 2 * self._backoff_s)

    def end(self) -> None:
        """End the child.

        One that does not end in time is killed; one that cannot even be killed is abandoned.
        """
        process = self._process
        if process is None:
            return
        self._close()
        end_processes([process.pid], _END_LIMIT_S, lambda pid: process.poll() is not None)

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
