"""The last line that a failed script printed, as part of the reason for its failure, and how it is left out again.

What a script prints is for root and for whoever may read the logs: it may hold what no other user should know.
"""

from __future__ import annotations

import re

from opensvc_openha.formats.one_line import one_line
from opensvc_openha.formats.secrets import mask_text

_OUTPUT_KEPT = 200
_LEFT_OUT = "(what it printed is for root)"
_ENDED = re.compile(r"\b(exited with \d+|was ended by signal \d+) \(.*\)")


def with_output(ended: str, output: str) -> str:
    """How a script ended, with the last line of what it printed. ``ended`` is "exited with 1" or "was ended by signal 9"."""
    lines = output.strip().splitlines()
    last = one_line(mask_text(lines[-1].strip()))[:_OUTPUT_KEPT] if lines else ""
    return f"{ended} ({last})" if last else ended


def without_output(text: str) -> str:
    """A reason as any user may read it: without what a script printed."""
    return _ENDED.sub(rf"\1 {_LEFT_OUT}", text)
