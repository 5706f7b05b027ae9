"""The newest beat, for the sender threads: each waits here and sends it the moment it is posted.

Nothing is sent that the engine did not post just now, so a hung engine falls silent whatever its
senders do.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from opensvc_openha.core.beat import Beat


@dataclass(frozen=True)
class Posted:
    """One beat to be sent; ``with_names`` if the peer needs the names of the services."""

    beat: Beat
    with_names: bool


class BeatOutbox:
    """Holds one beat; several threads wait for the next."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._posted: Posted | None = None
        self._number = 0

    def post(self, beat: Beat, with_names: bool) -> None:
        """Replaces the beat and wakes the senders."""
        with self._condition:
            self._posted = Posted(beat, with_names)
            self._number += 1
            self._condition.notify_all()

    def wait_after(self, number: int, timeout_s: float) -> tuple[int, Posted | None]:
        """The newest beat if one was posted after ``number``, waiting up to ``timeout_s``.

        Else None.
        """
        with self._condition:
            if self._number == number:
                self._condition.wait(timeout_s)
            return (self._number, self._posted) if self._number != number else (number, None)
