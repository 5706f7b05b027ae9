"""Seeds of random histories: all in the whole suite, the first few among the fast tests."""

from __future__ import annotations

from typing import Any

import pytest


def seeds(count: int, fast: int) -> list[Any]:
    """Return parameters 0 to ``count`` - 1; those from ``fast`` on are marked exhaustive."""
    return [
        seed if seed < fast else pytest.param(seed, marks=pytest.mark.exhaustive)
        for seed in range(count)
    ]
