"""Write STATE files of the peer: a mirror for people and tools, never read for a decision.

A thread of its own writes them, once this node has written no state of its own for a moment: its
own come first, in a takeover above all.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable

from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import SystemFault
from opensvc_openha.system import clock

_REST_S = 1.0
"""Seconds without a state of this node before those of the peer are written."""
_LATEST_S = 30.0
_NICE = 10


class PeerMirror:
    """The states of the peer that are still to be written, and the thread that writes them."""

    def __init__(self, write: Callable[[str, ServiceState], None]) -> None:
        """Start nothing yet; ``write`` writes the state of a service, and may raise SystemFault."""
        self._write = write
        self._due: dict[str, ServiceState] = {}
        """The newest states that are not written yet."""
        self._changed = threading.Condition()
        self._is_closing = False
        self._own_at = -math.inf
        self._thread: threading.Thread | None = None

    def put(self, service: str, state: ServiceState) -> None:
        """Queue the peer's state, as seen here."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="mirror", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return  # No thread can be had now; only the mirror suffers.
            self._thread = thread
        with self._changed:
            self._due[service] = state
            self._changed.notify()

    def wait_for_own(self) -> None:
        """Write nothing for a moment: a state of this node is written now."""
        self._own_at = clock.monotonic()

    def close(self, limit_s: float) -> None:
        """End the thread after what it still has to write; give up ``limit_s`` later."""
        if self._thread is not None:
            with self._changed:
                self._is_closing = True
                self._changed.notify()
            self._thread.join(limit_s)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due or self._is_closing)
                self._await_rest()
                if not self._due:
                    return
                service = next(iter(self._due))
                state = self._due.pop(service)
            # Only a mirror; a failure to write the own state is reported elsewhere.
            with contextlib.suppress(SystemFault):
                self._write(service, state)

    def _await_rest(self) -> None:
        """Wait while states of this node are being written, which come first."""
        latest = clock.monotonic() + _LATEST_S
        while not self._is_closing:
            left_s = min(self._own_at + _REST_S, latest) - clock.monotonic()
            if left_s <= 0:
                return
            self._changed.wait(left_s)
