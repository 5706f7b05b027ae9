"""Runs the node daemon in the foreground, and kills it at one system call: ``killed_daemon.py NAME
NUMBER before|after``.

NAME is fchmod, pwrite, fdatasync, rename or sendto, and its calls are counted from the moment a
file ``armed`` lies beside the configuration, so that the start of the daemon is not part of it. Not
a test, but the program of one.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

ARMED = os.path.join(os.environ["EZ"], "armed")


class Killer:
    """Counts the calls of one kind, in all threads, and kills the process at the chosen one."""

    def __init__(self, name: str, number: int, is_before: bool) -> None:
        self._name = name
        self._left = number
        self._is_before = is_before
        self._lock = threading.Lock()

    def watch(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call, with the kill around it if it is of the chosen kind."""
        if name != self._name:
            return call

        def watched(*args: Any, **options: Any) -> Any:
            is_chosen = self._count()
            if is_chosen and self._is_before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*args, **options)
            if is_chosen:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return watched

    def _count(self) -> bool:
        if not os.path.exists(ARMED):
            return False
        with self._lock:
            self._left -= 1
            return self._left == 0


def main() -> None:
    """Install the killer, then run the daemon."""
    killer = Killer(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "before")
    os.fchmod = killer.watch("fchmod", os.fchmod)
    os.pwrite = killer.watch("pwrite", os.pwrite)
    os.fdatasync = killer.watch("fdatasync", os.fdatasync)
    os.replace = killer.watch("rename", os.replace)

    class Socket(socket.socket):
        sendto = killer.watch("sendto", socket.socket.sendto)

    socket.socket = Socket  # type: ignore[misc]
    from opensvc_openha.cli.main import main as openha

    sys.exit(openha(["nmond", "-f"]))


if __name__ == "__main__":
    main()
