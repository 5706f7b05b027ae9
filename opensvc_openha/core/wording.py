"""Phrase lists of services for messages."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 5
"""Number of services named in a message that may concern all of them."""


def named(services: Sequence[str]) -> str:
    """Return the names of some services, and how many more there are."""
    more = f" and {len(services) - _NAMED} more" if len(services) > _NAMED else ""
    return f"{', '.join(services[:_NAMED])}{more}"
