"""Phrase lists of names for messages."""

from __future__ import annotations

from collections.abc import Sequence

NAMED = 5
"""Number of services named in a message that may concern all of them."""


def named(names: Sequence[str], at_most: int = NAMED) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return f"{', '.join(names[:at_most])}{more}"
