"""The story of one history, as lines, and a hash of it: two runs of a seed are the same if their
hashes are.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

KEPT_LINES = 400
"""What is shown of a history that failed and was not traced."""


class Trace:
    """Takes lines; ``tell`` gets each one at once, if there is such a listener."""

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self.last: deque[str] = deque(maxlen=KEPT_LINES)
        self._tell = tell
        self._hash = hashlib.sha256()

    def note(self, now: float, who: str, text: str) -> None:
        """One line of the story."""
        line = f"{now:10.3f} {who:<5} {text}"
        self._hash.update(line.encode("utf-8"))
        self.last.append(line)
        if self._tell is not None:
            self._tell(line)

    @property
    def digest(self) -> str:
        """Hash of all lines so far."""
        return self._hash.hexdigest()[:16]
