"""Let one thread after the other start a process.

The interpreter lock is held while a process starts, until that one is on a processor. If dozens of
threads started one each, those that exchange beats would wait for all of them; so they wait for
one.
"""

from __future__ import annotations

import threading

PATIENCE_S = 2.0
"""Longest delay, in seconds, that a script on a hung file system causes for each of the others."""


class SpawnTurn:
    """Context manager for a turn; returns whether it had to wait.

    A thread whose turn does not come in time continues without it.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._lock = threading.Lock()
        self._patience_s = patience_s
        self._own = threading.local()

    def __enter__(self) -> bool:
        is_free = self._lock.acquire(blocking=False)
        self._own.has_it = is_free or self._lock.acquire(timeout=self._patience_s)
        return not is_free

    def __exit__(self, *_error: object) -> None:
        if self._own.has_it:
            self._lock.release()
