"""Keep the trace of one history, and its hash: equal hashes mean equal runs."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

KEPT_LINES = 400
"""Lines shown of a failed history without a trace."""


class Trace:
    """Collect lines; ``on_line`` gets each one at once, if given."""

    def __init__(self, on_line: Callable[[str], None] | None = None) -> None:
        self.last: deque[str] = deque(maxlen=KEPT_LINES)
        self._on_line = on_line
        self._hash = hashlib.sha256()

    def note(self, now: float, who: str, text: str) -> None:
        """Add one line."""
        line = f"{now:10.3f} {who:<5} {text}"
        self._hash.update(line.encode("utf-8"))
        self.last.append(line)
        if self._on_line is not None:
            self._on_line(line)

    @property
    def digest(self) -> str:
        """Return the hash of all lines so far."""
        return self._hash.hexdigest()[:16]
