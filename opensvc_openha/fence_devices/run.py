"""Answer one request of the node daemon in a process that can be killed.

    echo '{"do": "look", "path": "ipmi", "peer": "deb1", "limit_s": 10,
           "options": {"agent": "fence_ipmilan", "ip": "10.0.0.1", ...}}' |
        python -m opensvc_openha.fence_devices.run

The request is one JSON object on standard input: secrets stay off the command line, and what the
daemon has in force is used, not a file that is being edited. The answer is one JSON object, the
last line of standard output. Exit code 0 if there is an answer, whatever it is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module

from opensvc_openha.errors import OpenhaError, UsageError
from opensvc_openha.formats.suggestion import what_to_write
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.system.clock import monotonic
from opensvc_openha.system.processes import start_of_process

if TYPE_CHECKING:
    from typing import TextIO

_REQUEST_MAX = 1_000_000
_ROOM = "opensvc_openha.fence_devices"
HANDLERS: Mapping[str, str] = {
    "look": f"{_ROOM}.power_program",
    "cut": f"{_ROOM}.power_program",
    "claim": f"{_ROOM}.claim_program",
    "preempt": f"{_ROOM}.reservation_program",
    "watch": f"{_ROOM}.reservation_program",
}
"""Module of each request; its function ``answer`` is given the request."""


def main(
    source: TextIO = sys.stdin, target: TextIO = sys.stdout, age_s: Callable[[], float] = float
) -> int:
    """Answer the request on standard input; return the exit code.

    ``age_s``: since when the limit counts, in seconds before now.
    """
    try:
        answer = answer_to(_aged(_read(source), age_s))
    except OpenhaError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    target.write(f"{json.dumps(answer)}\n")
    target.flush()
    return 0


def answer_to(request: Mapping[str, object]) -> dict[str, object]:
    """Return the answer to a request; UsageError for one that nothing answers."""
    do = str(request.get("do", ""))
    if do not in HANDLERS:
        raise UsageError(f"no request is named {do!r}: {what_to_write(do, HANDLERS)}")
    answer: dict[str, object] = import_module(HANDLERS[do]).answer(request)
    return answer


def _read(source: TextIO) -> Mapping[str, object]:
    try:
        request = json.loads(source.read(_REQUEST_MAX))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the request is no JSON: {type(error).__name__}") from None
    if not isinstance(request, dict):
        raise UsageError("the request is no JSON object")
    return request


def _aged(request: Mapping[str, object], age_s: Callable[[], float]) -> Mapping[str, object]:
    """Return the request with the time that is left of its limit: a busy machine starts slowly."""
    limit_s = request.get("limit_s")
    if not isinstance(limit_s, (int, float)) or isinstance(limit_s, bool) or limit_s <= 0:
        return request
    # At most half of it: a fence must not depend on what the kernel calls the start of a process.
    return {**request, "limit_s": limit_s - min(age_s(), limit_s / 2)}


def _age_of_this_process() -> float:
    """Return the seconds since this process was started, as the kernel counts them."""
    ticks = start_of_process(os.getpid())
    return max(0.0, monotonic() - int(ticks) / os.sysconf("SC_CLK_TCK")) if ticks else 0.0


if __name__ == "__main__":
    sys.exit(main(age_s=_age_of_this_process))
