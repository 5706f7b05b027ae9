"""Extract the most useful line of a failed script's output, as part of the reason.

Also remove it again: the output is for root and readers of the logs, and may hold what no other
user should know.
"""

from __future__ import annotations

import re

from opensvc_openha.formats.one_line import one_line
from opensvc_openha.formats.secrets import mask_script

_OUTPUT_KEPT = 200
_ERROR = re.compile(
    r"(?:\x1b\[[0-9;]*m)*(?:\d\d:\d\d:\d\d(?:,\d+)?\s+(?:\S+#\S+\s+)?)?(?:ERROR\b|E\s)"
)
"""The beginning of an error line of agents.

Later lines, of a rollback for instance, do not show the cause.
"""
_LEFT_OUT = "(what it printed is for root)"
_ENDED = re.compile(r"\b(exited with \d+|was ended by signal \d+) \(.*\)")


_DEVICE = re.compile(r"\b(exit code -?\d+|, killed|the fence program [^:]*): .*")
"""How a fencing device was asked in vain; the rest is what it said, which may be anything."""


def with_output(ended: str, output: str) -> str:
    """Return how a script ended, with its first line that contains ERROR, or else its last one.

    ``ended`` is "exited with 1" or "was ended by signal 9".
    """
    lines = output.strip().splitlines()
    telling = next((line for line in lines if _ERROR.match(line)), lines[-1] if lines else "")
    shown = one_line(mask_script(telling.strip()))[:_OUTPUT_KEPT]
    return f"{ended} ({shown})" if shown else ended


def without_output(text: str) -> str:
    """Return a reason without the output of scripts and fencing devices, for any user."""
    return _DEVICE.sub(rf"\1 {_LEFT_OUT}", _ENDED.sub(rf"\1 {_LEFT_OUT}", text))
