"""Notify systemd that the daemon is ready, alive or stopping, through NOTIFY_SOCKET.

Source: sd_notify(3). Without such a socket nothing happens.
"""

from __future__ import annotations

import os
import socket

from opensvc_openha.system import clock

_ALIVE_EVERY_S = 0.5


class Systemd:
    """The notification socket, if there is one."""

    def __init__(self) -> None:
        path = os.environ.get("NOTIFY_SOCKET", "")
        self._path = "\0" + path[1:] if path.startswith("@") else path
        self._has_watchdog = bool(os.environ.get("WATCHDOG_USEC"))
        self._alive_at = 0.0

    def ready(self, text: str) -> None:
        """Report that the daemon serves."""
        self._notify(f"READY=1\nSTATUS={text}")

    def stopping(self) -> None:
        """Report that the daemon ends."""
        self._notify("STOPPING=1")

    def alive(self) -> None:
        """Report a step of the engine, at most twice a second, and only if systemd watches."""
        if self._has_watchdog and clock.monotonic() - self._alive_at >= _ALIVE_EVERY_S:
            self._alive_at = clock.monotonic()
            self._notify("WATCHDOG=1")

    def _notify(self, text: str) -> None:
        if not self._path:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.sendto(text.encode(), self._path)
        except OSError:
            pass  # systemd draws its own conclusion from the silence.
