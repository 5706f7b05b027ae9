"""Finds services that were started beside the cluster: what is STOPPED or FROZEN_STOP here, and up
by its wrapper's status.

Each is looked at once a minute, one after the other, in a thread of its own: no start and no
takeover waits for it. What is seen may be over when it is reported, so it decides nothing: the
engine asks the wrapper again before it believes it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable

from opensvc_openha.core.events import ScriptOutcome
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.timing import OUTSIDE_LOOK_AGAIN_S, OUTSIDE_LOOK_S, OUTSIDE_LOOK_SHARE
from opensvc_openha.system import clock
from opensvc_openha.system.thread_names import name_thread

_UP = (ScriptOutcome.UP, ScriptOutcome.SOME)


class OutsideStarts:
    """Asks ``ask`` about each of the ``stopped`` services.

    Those that are up are handed to ``report``.
    """

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
        """Begins to look, a minute from now: the engine has asked all wrappers when it began."""
        # If no thread can be had, a start by hand is found by the next daemon.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=self._run, name="outside starts", daemon=True).start()

    def look_soon(self) -> None:
        """Something was edited: does not wait for the minute to be over."""
        self._wake.set()

    def stop(self) -> None:
        """Ends it; a status script that runs is not waited for."""
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
                if self.look(svc):
                    self._report(svc.name)
                took_s = clock.monotonic() - began
                self._is_over.wait(took_s * (1 / OUTSIDE_LOOK_SHARE - 1))

    def look(self, svc: ServiceSpec) -> bool:
        """True if the service, or parts of it, are up.

        A script that does not say is not asked each time.
        """
        state = _state_of(svc.script)
        known = self._silent.get(svc.script)
        if known is not None and known[0] == state and clock.monotonic() < known[1]:
            return False
        outcome = self._ask(svc.name, svc.script)
        if outcome is ScriptOutcome.UNSURE:
            self._silent[svc.script] = state, clock.monotonic() + OUTSIDE_LOOK_AGAIN_S
        else:
            self._silent.pop(svc.script, None)
        return outcome in _UP


def _state_of(path: str) -> object | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
