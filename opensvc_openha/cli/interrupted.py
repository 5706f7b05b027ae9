"""Handle a Ctrl-C: it ends the command alone, not what was requested from the daemon."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def after_interrupt(what_continues: str) -> Iterator[None]:
    """Print what continues if a Ctrl-C ends the command within the context."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted: {what_continues}\n")
        raise
