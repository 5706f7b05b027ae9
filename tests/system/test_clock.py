"""The clock of the decisions, in a time namespace of its own, where one clock can be set to be
ahead.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_AHEAD_S = 5000
_LOOK = (
    "import time; from opensvc_openha.system import clock; print(clock.monotonic() -"
    " time.monotonic())"
)


@pytest.mark.skipif(
    not os.path.exists("/proc/self/ns/time"), reason="needs a kernel with time namespaces"
)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_time_of_a_suspended_machine_counts() -> None:
    """The clock that continues in a suspend is 5,000 s ahead of the other, as after a suspend of
    that length.
    """
    command = [
        "unshare",
        "--time",
        "--boottime",
        str(_AHEAD_S),
        "--fork",
        sys.executable,
        "-c",
        _LOOK,
    ]
    ahead_s = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert _AHEAD_S - 1 < ahead_s < _AHEAD_S + 1_000_000
