"""What goes on after a Ctrl-C: it ends the command alone, not what the daemon was asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def goes_on(what: str) -> Iterator[None]:
    """Prints what goes on where a Ctrl-C ends the command within."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted: {what}\n")
        raise
