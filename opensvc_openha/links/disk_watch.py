"""Take what the I/O process of a device reports of one place that it reads by itself.

The process reports each of its reads, with the instants of its own clock, which is that of this
process. A thread that waits for news is woken by them alone; it looks at the other reports when the
next one is overdue, and by them: a process that hangs is noticed as late as if it had been asked.
"""

from __future__ import annotations

import collections
import os
import threading
from collections.abc import Callable

from opensvc_openha.links.base import LinkFault
from opensvc_openha.records import dataclass
from opensvc_openha.system import clock

_NEWS_KEPT = 16
"""What differs and nobody has taken; the oldest goes, as if the place had been read less often."""
_LAG_S = 0.005
"""Before a report is called overdue, the thread that takes reports has so long to run, too."""


@dataclass(frozen=True)
class Look:
    """One read of the place, from ``began_at`` to ``ended_at``.

    ``data`` is what it showed; None if that is what the read before had shown.
    """

    began_at: float
    ended_at: float
    data: bytes | None


class DiskWatch:
    """The reports of one place.

    ``put`` and ``fail`` are for the thread that takes reports, everything else for the one that
    waits for them.
    """

    def __init__(
        self,
        path: str,
        pause_s: float,
        limit_s: float,
        is_behind: Callable[[], bool],
        owe: Callable[[DiskWatch], bool],
        leave: Callable[[DiskWatch], None],
    ) -> None:
        """Wait for the first read from now on.

        ``is_behind`` returns True while reports wait that nobody has taken; ``owe`` records that
        one is overdue, and returns False if it has just come; ``leave`` ends the reports.
        """
        self.reads = 0
        """Number of reads that were reported."""
        self.expected_at = clock.monotonic()
        """When the next read begins, at the latest."""
        self._path = path
        self._pause_s = pause_s
        self._limit_s = limit_s
        self._is_behind = is_behind
        self._owe = owe
        self._leave = leave
        self._condition = threading.Condition()
        self._news: collections.deque[Look] = collections.deque(maxlen=_NEWS_KEPT)
        self._newest: Look | None = None
        self._status = 0

    def put(self, look: Look) -> None:
        """Take a report."""
        with self._condition:
            self.reads += 1
            self.expected_at = look.ended_at + self._pause_s
            self._newest = look
            if look.data is not None:
                self._news.append(look)
                self._condition.notify()

    def fail(self, status: int) -> None:
        """End with an error of the system: there are no more reports."""
        with self._condition:
            self._status = status
            self._condition.notify()

    def next_news(self, wait_s: float) -> Look | None:
        """Return the next read that showed something new, the first one being new.

        None if there is none within the time. Raises LinkFault if the place cannot be read, or a
        read takes longer than the limit.
        """
        until = clock.monotonic() + wait_s
        while True:
            with self._condition:
                if self._news:
                    return self._checked(self._news.popleft())
                if self._status:
                    raise LinkFault(f"the read of {self._path}: {os.strerror(self._status)}")
                if not self.is_overdue:
                    now, ends_at = clock.monotonic(), self.expected_at + self._limit_s
                    if self._newest is not None:
                        # The first read is waited for in any case.
                        if now >= until:
                            return None
                        ends_at = min(until, ends_at)
                    self._condition.wait(max(0.0, ends_at - now))
                    continue
                # This process may have been stopped, and not the other one.
                self._condition.wait(_LAG_S)
            if not self._is_behind() and self._owe(self):
                raise LinkFault(
                    f"hung: no answer to the read of {self._path} within {self._limit_s:g} s"
                )

    @property
    def is_overdue(self) -> bool:
        """True while a report should have come."""
        return clock.monotonic() >= self.expected_at + self._limit_s

    @property
    def unchanged(self) -> Look | None:
        """The newest read, if all that differs was taken before and it showed nothing else."""
        with self._condition:
            newest = self._newest
            return None if newest is None or self._news or newest.data is not None else newest

    def close(self) -> None:
        """End the reports, without waiting."""
        self._leave(self)

    def _checked(self, look: Look) -> Look:
        # What it shows may be as old as its beginning.
        took_s = look.ended_at - look.began_at
        if took_s >= self._limit_s:
            raise LinkFault(
                f"the read of {self._path} took {took_s:.1f} s, more than {self._limit_s:g} s"
            )
        return look
