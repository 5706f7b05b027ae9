"""One thread after the other begins a process.

The interpreter is held while a process is begun, until that one is on a processor. Where dozens of
threads begin one each, those that hear the peer and speak to it would wait for all of them; so they
wait for one.
"""

from __future__ import annotations

import threading

PATIENCE_S = 2.0
"""A script whose file system hangs holds up each of the others for so long at most."""


class SpawnTurn:
    """Entered for a turn; whose turn does not come in time goes ahead all the same.

    Says whether it had to wait.
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
