"""The line that tells most of what a failed script printed, as part of the reason for its failure,
and how it is left out.

What a script prints is for root and for whoever may read the logs: it may hold what no other user
should know.
"""

from __future__ import annotations

import re

from opensvc_openha.formats.one_line import one_line
from opensvc_openha.formats.secrets import mask_script

_OUTPUT_KEPT = 200
_ERROR = re.compile(
    r"(?:\x1b\[[0-9;]*m)*(?:\d\d:\d\d:\d\d(?:,\d+)?\s+(?:\S+#\S+\s+)?)?(?:ERROR\b|E\s)"
)
"""As agents begin the line of an error. What they print after it, of a rollback for instance, tells
nothing of the cause."""
_LEFT_OUT = "(what it printed is for root)"
_ENDED = re.compile(r"\b(exited with \d+|was ended by signal \d+) \(.*\)")


def with_output(ended: str, output: str) -> str:
    """How a script ended, with its first line that says ERROR, or else its last one.

    ``ended`` is "exited with 1" or "was ended by signal 9".
    """
    lines = output.strip().splitlines()
    telling = next((line for line in lines if _ERROR.match(line)), lines[-1] if lines else "")
    shown = one_line(mask_script(telling.strip()))[:_OUTPUT_KEPT]
    return f"{ended} ({shown})" if shown else ended


def without_output(text: str) -> str:
    """A reason as any user may read it: without what a script printed."""
    return _ENDED.sub(rf"\1 {_LEFT_OUT}", text)
