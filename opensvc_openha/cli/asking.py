"""Ask before something is done, and show what the other node prints."""

from __future__ import annotations

import sys

from opensvc_openha.errors import RefusedError


def confirm(question: str, is_yes: bool) -> None:
    """Return if the answer is yes, or ``--yes`` was given; raise RefusedError otherwise."""
    if is_yes:
        return
    if not sys.stdin.isatty():
        raise RefusedError(f"{question} Nobody can answer here: --yes does it; nothing was done")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise RefusedError("nothing was done")


def show_of(node: str, line: str) -> None:
    """Print a line of another node."""
    print(f"{node}: {line}", flush=True)
