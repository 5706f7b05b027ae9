"""Let this node's watchdog reset it, on purpose, and find out after the boot when it did.

The watchdog is armed and then left alone. Until the reset a record on this node's disk is replaced
many times a second, so that after the next boot it holds how long the watchdog took. It is shown as
long as nothing newer is there. A node that is still there after more than twice the timeout has a
watchdog that keeps no promise.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, replace

from opensvc_openha.daemon.watchdog_thread import Keeper
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.records import dataclass
from opensvc_openha.storage.proc_files import write_proc_file
from opensvc_openha.system import clock
from opensvc_openha.system.identity import life

_STAMP_S = 0.05
"""Time between two records, in seconds."""
_RECORD_S = 0.5
"""A record may be so late on a busy machine."""
_PATIENCE_S = 5.0
"""Beyond twice the timeout."""
_FILE_BYTES = 4096
FILE = "watchdog-drill"


@dataclass(frozen=True)
class WatchdogTrial:
    """One drill: the boot in which it began, when (wall clock), and how long the node lived on."""

    life: str
    at: float
    name: str
    timeout_s: float
    granularity_s: float = 0.0
    lived_s: float = 0.0
    is_told: bool = False
    """The history has it."""

    @property
    def is_late(self) -> bool:
        """True if the node lived longer than a promise counts with."""
        return self.lived_s > self.timeout_s + self.granularity_s + _RECORD_S


class WatchdogDrill:
    """Runs one drill at a time, and knows the last one."""

    def __init__(self, layout: Layout, report: Callable[[str, str, bool], None]) -> None:
        """``report`` gets a word and a text for the history, and whether that is an alarm."""
        self._layout = layout
        self._path = os.path.join(layout.proc_dir, FILE)
        self._report = report
        self.last: WatchdogTrial | None = None
        """The last drill after which this node was booted again."""
        self.is_running = False
        self._is_over = threading.Event()

    def stop(self) -> None:
        """End the records: the daemon ends, and the watchdog may come after it."""
        self._is_over.set()

    def recover(self) -> None:
        """Read what a drill before the last boot has left."""
        found = self._read()
        if found is None or found.life == life():
            return
        self.last = found
        if not found.is_told:
            text = (
                f"{found.name} of {found.timeout_s:g} s has reset this node {found.lived_s:.1f} s"
                " after its last pet"
            )
            if found.is_late:
                text += ": LATE, so that what this node promises is not kept: use another one"
            self._report("DRILL", text, found.is_late)
            with contextlib.suppress(SystemFault):
                self._write(replace(found, is_told=True))

    def begin(self, keeper: Keeper) -> float:
        """Arm the watchdog, leave it alone; return its timeout. Raises SystemFault.

        ``keeper`` is the drill's own from then on.
        """
        try:
            keeper.ensure_running()
            began_at = clock.monotonic()
            grant = keeper.grant(began_at)
            if not grant.is_ready:
                raise SystemFault(
                    f"the watchdog was not armed: {grant.text or grant.outcome.value}"
                )
            status = grant.status
            trial = WatchdogTrial(
                life(), clock.wall(), status.name, status.timeout_s, status.granularity_s
            )
        except SystemFault:
            keeper.close()
            raise
        self.is_running = True
        threading.Thread(
            target=self._wait, args=(keeper, trial, began_at), name="watchdog drill", daemon=True
        ).start()
        return trial.timeout_s

    def _wait(self, keeper: Keeper, trial: WatchdogTrial, began_at: float) -> None:
        lived_s = 0.0
        limit_s = 2 * trial.timeout_s + _PATIENCE_S
        while lived_s < limit_s:
            with contextlib.suppress(SystemFault):
                self._write(replace(trial, lived_s=round(lived_s, 2)))
            if self._is_over.wait(_STAMP_S):
                return
            lived_s = clock.monotonic() - began_at
        text = f"{trial.name} of {trial.timeout_s:g} s has not reset this node in {lived_s:.0f} s"
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        try:
            keeper.disarm()
        except SystemFault as error:
            text += f"; {error}"
        keeper.close()
        self.is_running = False
        self._report("DRILL FAILED", f"{text}: it keeps no promise, use another one", True)

    def _read(self) -> WatchdogTrial | None:
        try:
            with open(self._path, encoding="ascii") as file:
                return WatchdogTrial(**json.loads(file.read(_FILE_BYTES)))
        except (OSError, ValueError, TypeError):
            return None

    def _write(self, trial: WatchdogTrial) -> None:
        write_proc_file(self._layout, self._path, json.dumps(asdict(trial)).encode("ascii"), 0o600)
