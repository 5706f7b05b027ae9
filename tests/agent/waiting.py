"""Small things the agent's tests share that are no fixtures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable

PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


def wait_for(condition: "Callable[[], bool]", limit_s: float = 10.0) -> None:
    """Return as soon as the condition holds; fail if it does not within the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)
