"""Find services started outside the cluster: STOPPED or FROZEN_STOP here, but up.

Each wrapper is queried once a minute, one after the other, in a separate thread: no start and no
takeover waits for it. A finding may be outdated when it is reported, so it decides nothing: the
engine queries the wrapper again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable

from opensvc_openha.core.events import ScriptOutcome
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.timing import OUTSIDE_LOOK_AGAIN_S, OUTSIDE_LOOK_S, OUTSIDE_LOOK_SHARE
from opensvc_openha.system import clock
from opensvc_openha.system.files import stamp_of
from opensvc_openha.system.thread_names import name_thread

_UP = (ScriptOutcome.UP, ScriptOutcome.SOME)


class OutsideStarts:
    """Call ``ask`` for each of the ``stopped`` services; pass those that are up to ``report``."""

    def __init__(
        self,
        stopped: Callable[[], Iterable[ServiceSpec]],
        ask: Callable[[str, str], ScriptOutcome],
        report: Callable[[str], None],
        every_s: float = OUTSIDE_LOOK_S,
    ) -> None:
        self._stopped = stopped
        self._ask = ask
        self._report = report
        self._every_s = every_s
        self._silent: dict[str, tuple[object, float]] = {}
        self._wake = threading.Event()
        self._is_over = threading.Event()

    def start(self) -> None:
        """Start the checks a minute from now: the engine has queried all wrappers when it began."""
        # Without a thread, a start by hand is found by the next daemon.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=self._run, name="outside starts", daemon=True).start()

    def check_soon(self) -> None:
        """Check soon, since something was edited."""
        self._wake.set()

    def stop(self) -> None:
        """End the checks; a running status script is not waited for."""
        self._is_over.set()
        self._wake.set()

    def _run(self) -> None:
        name_thread("outside")
        while not self._is_over.is_set():
            self._wake.wait(self._every_s)
            self._wake.clear()
            for svc in self._stopped():
                if self._is_over.is_set():
                    return
                began = clock.monotonic()
                if self.is_up(svc):
                    self._report(svc.name)
                took_s = clock.monotonic() - began
                self._is_over.wait(took_s * (1 / OUTSIDE_LOOK_SHARE - 1))

    def is_up(self, svc: ServiceSpec) -> bool:
        """Return True if the service, or parts of it, are up.

        A script that does not report that is queried rarely.
        """
        state = stamp_of(svc.script)
        known = self._silent.get(svc.script)
        if known is not None and known[0] == state and clock.monotonic() < known[1]:
            return False
        outcome = self._ask(svc.name, svc.script)
        if outcome is ScriptOutcome.UNSURE:
            self._silent[svc.script] = state, clock.monotonic() + OUTSIDE_LOOK_AGAIN_S
        return outcome in _UP
