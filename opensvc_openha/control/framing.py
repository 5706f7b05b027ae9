"""How answers are distinguished, and how long they may be, for both ends of the control socket."""

from __future__ import annotations

FRAME = "OPENHA1"
"""First word of what a command prints as it is; JSON never begins with it."""
LINE_LIMIT = 16_000_000
"""Longest line that either side accepts, in bytes."""
