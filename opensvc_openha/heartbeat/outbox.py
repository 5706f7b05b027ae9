"""Hold the newest beat for the senders, which send it when it is posted.

Threads of single links wait here; the loop of the links on networks is called.

Only a beat that the engine has just posted is sent, so a hung engine falls silent whatever its
senders do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import field

from opensvc_openha.core.beat import Beat
from opensvc_openha.records import dataclass
from opensvc_openha.system import clock


@dataclass(frozen=True)
class Posted:
    """One beat to send; ``with_names`` if the peer needs the names of the services."""

    beat: Beat
    with_names: bool
    posted_at: float = field(default=0.0, compare=False)


class BeatOutbox:
    """One beat, for whose successor several threads wait."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._posted: Posted | None = None
        self._number = 0
        self._sends: list[Callable[[], None]] = []

    def on_post(self, send: Callable[[], None]) -> None:
        """Call this after each post, in the thread that posts: it must not wait."""
        self._sends.append(send)

    @property
    def newest(self) -> tuple[int, Posted | None]:
        """The newest beat and its number; 0 and None before the first."""
        with self._condition:
            return self._number, self._posted

    @property
    def number(self) -> int:
        """Number of beats posted so far, which is that of the newest one."""
        return self._number

    def post(self, beat: Beat, with_names: bool) -> None:
        """Replace the beat, send it on networks, and wake the senders of other links."""
        with self._condition:
            self._posted = Posted(beat, with_names, clock.monotonic())
            self._number += 1
        for send in self._sends:
            send()
        with self._condition:
            self._condition.notify_all()

    def rouse(self) -> None:
        """Have the threads that wait look whether they are to end."""
        with self._condition:
            self._condition.notify_all()

    def wait_after(
        self, number: int, timeout_s: float, is_wanted: Callable[[], bool] = lambda: True
    ) -> tuple[int, Posted | None]:
        """Return the newest beat if one is posted after ``number``.

        None after ``timeout_s`` seconds, or if ``is_wanted`` returns False, before ``rouse``.
        """
        with self._condition:
            if self._number == number and is_wanted():
                self._condition.wait(timeout_s)
            return (self._number, self._posted) if self._number != number else (number, None)
