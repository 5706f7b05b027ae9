"""Take what the I/O process of a device reports of one place that it reads by itself.

The process reports what differs, with the instants of its own clock, which is that of this process.
Each of its reads is noted in a page that both have, after it was reported: that wakes nobody. A
thread that waits for news is woken by them alone; it looks at the notes when the next read is
overdue, and by them: a process that hangs is noticed as late as if it had been asked.
"""

from __future__ import annotations

import collections
import os
import threading
from collections.abc import Callable
from dataclasses import field

from opensvc_openha.links.base import LinkFault
from opensvc_openha.records import dataclass
from opensvc_openha.system import clock

_NEWS_KEPT = 16
"""What differs and nobody has taken; the oldest goes, as if the place had been read less often."""
_LAG_S = 0.005
"""Before a report is called overdue, the thread that takes reports has so long to run, too."""


@dataclass(frozen=True)
class Look:
    """One read of the place, from ``began_at`` to ``ended_at``, by its number.

    ``data`` is what it showed; None if that is what the read before had shown.
    """

    began_at: float
    ended_at: float
    data: bytes | None
    number: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Note:
    """What is noted of the newest read: its number, and how many were reported by then."""

    reads: int
    news: int
    is_news: bool
    began_at: float
    ended_at: float


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
        note: Callable[[], Note | None],
        is_behind: Callable[[], bool],
        owe: Callable[[DiskWatch], bool],
        leave: Callable[[DiskWatch], None],
    ) -> None:
        """Wait for the first read from now on.

        ``note`` returns what is noted of the newest read, None before the first one, or while that
        is written. ``is_behind`` returns True while reports wait that nobody has taken; ``owe``
        records that one is overdue, and returns False if it has just come; ``leave`` ends the
        reports.
        """
        self._path = path
        self._pause_s = pause_s
        self._limit_s = limit_s
        self._expected_at = clock.monotonic()
        self._note = note
        self._is_behind = is_behind
        self._owe = owe
        self._leave = leave
        self._condition = threading.Condition()
        self._news: collections.deque[Look] = collections.deque(maxlen=_NEWS_KEPT)
        self._reads = self._put = 0
        """The number of the newest read that is known, and of those that were reported."""
        self._is_roused = False
        self._status = 0

    def put(self, look: Look) -> None:
        """Take a report."""
        with self._condition:
            self._put += 1
            self._know(look.number, look.ended_at)
            self._news.append(look)
            self._condition.notify()

    def fail(self, status: int) -> None:
        """End with an error of the system: there are no more reports."""
        with self._condition:
            self._status = status
            self._condition.notify()

    def next_news(self, wait_s: float) -> Look | None:
        """Return the next read that showed something new, the first one being new.

        None if there is none within the time, or once after ``rouse``. Raises LinkFault if the
        place cannot be read, or a read takes longer than the limit.
        """
        until = clock.monotonic() + wait_s
        while True:
            with self._condition:
                if self._news:
                    return self._checked(self._news.popleft())
                if self._status:
                    raise LinkFault(f"the read of {self._path}: {os.strerror(self._status)}")
                if self._is_roused:
                    self._is_roused = False
                    return None
                if not self.is_overdue:
                    now, ends_at = clock.monotonic(), self._expected_at + self._limit_s
                    if self._put:
                        # The first report is waited for in any case: its read may be noted already.
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

    def rouse(self) -> None:
        """Have the thread that waits for news stop waiting, now or the next time."""
        with self._condition:
            self._is_roused = True
            self._condition.notify()

    @property
    def reads(self) -> int:
        """Number of reads that are known."""
        self._take_note()
        return self._reads

    @property
    def expected_at(self) -> float:
        """When the next read begins, at the latest."""
        self._take_note()
        return self._expected_at

    @property
    def is_overdue(self) -> bool:
        """True while a read should have ended."""
        return clock.monotonic() >= self.expected_at + self._limit_s

    @property
    def unchanged(self) -> Look | None:
        """The newest read, if all that differs was taken before and it showed nothing else."""
        note = self._take_note()
        with self._condition:
            if note is None or note.is_news or self._news or note.news != self._put:
                return None
            return Look(note.began_at, note.ended_at, None, note.reads)

    def _take_note(self) -> Note | None:
        note = self._note()
        if note is not None:
            self._know(note.reads, note.ended_at)
        return note

    def _know(self, reads: int, ended_at: float) -> None:
        if reads > self._reads:
            self._reads, self._expected_at = reads, ended_at + self._pause_s

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
