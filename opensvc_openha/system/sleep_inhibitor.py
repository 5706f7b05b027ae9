"""Keep the machine from being suspended, where logind is there to ask.

A child of ``systemd-inhibit`` holds the lock. It ends when its input is closed, and so with this
process, however that ends. Nobody waits for it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Sequence

from opensvc_openha.system.service_manager import runs_here

_END_LIMIT_S = 1.0
_HELD = b"held"
_COMMAND = (
    "systemd-inhibit",
    "--what=sleep",
    "--mode=block",
    "--who=openha",
    "--why=a watchdog keeps the promise of this node, which does not count with a pause",
    "sh",
    "-c",
    "echo held; exec cat",
)


class SleepInhibitor:
    """One lock against suspending; for one thread. ``why_not`` may be read by any."""

    def __init__(
        self, command: Sequence[str] = _COMMAND, is_there: Callable[[], bool] = runs_here
    ) -> None:
        self._command = command
        self._is_there = is_there
        self._child: subprocess.Popen[bytes] | None = None
        self._text = b""
        self._problem = ""

    @property
    def why_not(self) -> str:
        """Why the machine may be suspended although that is to be refused; empty if it may not."""
        is_held = self._text.startswith(_HELD)
        return self._problem or ("" if is_held else "logind has not answered yet")

    def hold(self) -> None:
        """Have the lock, or try to get it: one try for each `release`; called again, look at it."""
        if self._child is not None or self._problem:
            self._look()
            return
        if not self._is_there():
            self._problem = "systemd does not run here"
            return
        self._text = b""
        try:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            self._problem = f"{self._command[0]}: {error.strerror}"
            return
        assert self._child.stdout is not None
        os.set_blocking(self._child.stdout.fileno(), False)

    def _look(self) -> None:
        """Take what the child has said; one that has ended says why."""
        child = self._child
        if child is None:
            return
        assert child.stdout is not None
        with contextlib.suppress(OSError):
            self._text = (self._text + (child.stdout.read(4096) or b""))[-4096:]
        if child.poll() is None:
            return
        text = " ".join(self._text.removeprefix(_HELD).decode("utf-8", "replace").split())
        self._problem = f"{self._command[0]}: {text or f'it has ended ({child.returncode})'}"
        self._close()

    def release(self) -> None:
        """Allow it again; the child ends by itself."""
        self._close()
        self._problem, self._text = "", b""

    def _close(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_END_LIMIT_S)
