"""Keep the logs of services within their bounds, and warn before a disk is full.

A daemon that a start script left behind prints to the service's log for as long as it lives, so the
size is checked all the time, in a separate thread: a hung disk delays nothing else. While no log
has grown, the checks are further apart, and a log that has not grown is only asked for its size.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable

from opensvc_openha.daemon.issues import ActiveIssues, Issue
from opensvc_openha.formats.layout import Layout
from opensvc_openha.system.script_log import bound_log
from opensvc_openha.system.thread_names import name_thread

LOOK_S = 1.0
QUIET_LOOK_S = 5.0
"""Less than the time between two checks of the disks, which report what a log may fill until then.
"""
SPACE_LOOK_S = 10.0
assert LOOK_S < QUIET_LOOK_S < SPACE_LOOK_S
FREE_BYTES_MIN = 32 << 20
FREE_FILES_MIN = 1000
_FREE_PART = 20
"""On a small disk, this fraction of it is enough free space."""


class LogKeeper:
    """Watch the logs and disks of one daemon."""

    def __init__(
        self,
        layout: Layout,
        problems: ActiveIssues,
        services: Callable[[], Iterable[str]],
        log_problem: Callable[[], str],
    ) -> None:
        self._layout = layout
        self._problems = problems
        self._services = services
        self._log_problem = log_problem
        self._known: set[str] = set()
        """Removed services included: processes they left behind may still print."""
        self._sizes: dict[str, tuple[int, int] | None] = {}
        """Of each log as it was when it was last found within its bounds: bytes, and blocks."""
        self._is_over = threading.Event()

    def start(self) -> None:
        """Start the thread; without one nothing is checked, and decisions continue."""
        try:
            threading.Thread(target=self._run, name="logs", daemon=True).start()
        except RuntimeError as error:
            self._problems.report(Issue.LOG, f"not watched: {error}")

    def stop(self) -> None:
        """End the thread at the next check."""
        self._is_over.set()

    def _run(self) -> None:
        name_thread("logs")
        space_in_s = 0.0
        while not self._is_over.is_set():
            wait_s = LOOK_S if self._bound() else QUIET_LOOK_S
            if space_in_s <= 0:
                self._report(Issue.STATE_ROOM, little_room(self._layout.services_dir))
                self._report(Issue.LOG_ROOM, little_room(self._layout.log_dir))
                space_in_s = SPACE_LOOK_S
            self._report(Issue.LOG, self._log_problem())
            space_in_s -= wait_s
            self._is_over.wait(wait_s)

    def _bound(self) -> bool:
        """Bound all logs; return whether one has changed since the last time, or cannot be."""
        self._known.update(self._services())
        failures, has_changed = [], False
        for name in sorted(self._known):
            path = self._layout.script_log(name)
            size = _size_of(path)
            if name in self._sizes and self._sizes[name] == size:
                continue
            has_changed = True
            try:
                if not bound_log(path):
                    self._sizes[name] = size
            except OSError as error:
                failures.append(f"{path}: {error.strerror}")
        self._report(Issue.LOG_BOUND, "; ".join(failures[:3]))
        return has_changed

    def _report(self, subject: Issue, text: str) -> None:
        if text:
            self._problems.report(subject, text)
        else:
            self._problems.solve(subject)


def _size_of(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_size, found.st_blocks


def little_room(folder: str) -> str:
    """Return what is short on the disk of a directory; empty if nothing is."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return ""  # A failure is reported by the writer.
    free = found.f_bfree if os.geteuid() == 0 else found.f_bavail
    free_bytes, size_bytes = free * found.f_frsize, found.f_blocks * found.f_frsize
    if free_bytes < min(FREE_BYTES_MIN, size_bytes // _FREE_PART):
        # Rounded, since a text that changes with each byte would be logged each time.
        return f"less than {_rounded(free_bytes)} free on the disk of {folder}"
    if found.f_files and found.f_ffree < min(FREE_FILES_MIN, found.f_files // _FREE_PART):
        return (
            f"less than {min(FREE_FILES_MIN, found.f_files // _FREE_PART)} files can be made on the"
            f" disk of {folder}"
        )
    return ""


def _rounded(size_bytes: int) -> str:
    """Return the next higher power of two, formatted."""
    power = max(20, size_bytes.bit_length())
    return f"{1 << (power - 20)} MiB"
