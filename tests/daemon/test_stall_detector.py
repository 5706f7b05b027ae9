"""A stopped process and a busy thread, told apart by a real process and real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

_PROGRAM = """
import sys
from opensvc_openha.system import clock
from opensvc_openha.daemon.stall_detector import StallDetector

pulse = StallDetector()
pulse.watch(0.25)
pulse.start(lambda: None)
clock.pause(0.5)
began = clock.monotonic()
print("ready", flush=True)
while clock.monotonic() < began + 1.2:
    clock.pause(0.01)
print(pulse.was_stopped(began), flush=True)
"""


@pytest.mark.parametrize("is_stopped", [True, False])
def test_only_a_process_that_was_stopped_says_so(is_stopped: bool) -> None:
    """SIGSTOP for 0.6 s is found afterwards; a thread that works for as long is no stop."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if is_stopped:
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(0.6)  # The length of the stop is what is tested.
            os.kill(process.pid, signal.SIGCONT)
        assert process.stdout.readline() == f"{is_stopped}\n"
