"""A stopped process and a busy thread, distinguished by a real process and real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from opensvc_openha.daemon.stall_detector import StallDetector
from opensvc_openha.system import clock as system_clock
from tests.waiting import until

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
def test_only_a_process_that_was_stopped_reports_it(is_stopped: bool) -> None:
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


class Clock:
    """Time that passes only in pauses, each of which may take longer than it should."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.pauses: list[float] = []
        self.extra: list[float] = []
        """Seconds by which each pause is too long; the loop ends with the last one."""
        monkeypatch.setattr(system_clock, "monotonic", lambda: self.now)
        monkeypatch.setattr(system_clock, "pause", self._pause)

    def _pause(self, seconds: float) -> None:
        if not self.extra:
            raise StopIteration
        self.pauses.append(seconds)
        self.now += seconds + self.extra.pop(0)

    def run(self, detector: StallDetector, *extra: float) -> None:
        """Let the thread's loop go round once for each of these."""
        self.extra = list(extra)
        with pytest.raises(StopIteration):
            detector._beat(lambda: None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that a test sets."""
    return Clock(monkeypatch)


def test_gap_of_the_limit_or_longer_is_a_stall_for_what_began_before_its_end(clock: Clock) -> None:
    """Half of the limit is slept at a time; a shorter gap is none."""
    detector = StallDetector()
    detector.watch(0.75)
    clock.run(detector, 0.0, 0.25, 0.0)
    assert clock.pauses == [0.375] * 3 and not detector.was_stopped(0.0)
    clock.run(detector, 0.375, 0.0)
    end = clock.now - 0.375
    assert detector.was_stopped(end - 0.01) and detector.was_stopped(0.0)
    assert not detector.was_stopped(end)


@pytest.mark.parametrize("length_s", [0.25, 0.3125, 0.375, 0.4375, 0.5, 0.625, 0.75, 1.0, 5.0])
def test_no_stall_of_the_limit_is_missed_whenever_it_begins(clock: Clock, length_s: float) -> None:
    """At each sixteenth of a turn; and none counts that is shorter than half of the limit."""
    for sixteenth in range(17):
        detector = StallDetector()
        detector.watch(0.75)
        clock.run(detector, 0.0)
        begins_s = 0.375 * sixteenth / 16
        # It sleeps until its time, or until the stall is over.
        clock.run(detector, max(0.0, begins_s + length_s - 0.375), 0.0)
        if length_s >= 0.75:
            assert detector.was_stopped(0.0), begins_s
        if length_s < 0.375:
            assert not detector.was_stopped(0.0), begins_s


def test_stall_that_lasts_is_seen_by_the_first_thread_that_runs(clock: Clock) -> None:
    """The thread that notes gaps has not had its turn since."""
    detector = StallDetector()
    detector.watch(0.75)
    clock.run(detector, 0.0)
    clock.now += 0.5
    assert not detector.was_stopped(0.0)
    clock.now += 0.25
    assert detector.was_stopped(0.0)


def test_limit_is_never_above_a_second_and_a_half(clock: Clock) -> None:
    """Before it is given one, and for a longer one."""
    detector = StallDetector()
    clock.run(detector, 0.0)
    detector.watch(60.0)
    clock.run(detector, 0.0, 0.7)
    assert clock.pauses == [0.75] * 3 and not detector.was_stopped(0.0)
    clock.run(detector, 0.75)
    assert detector.was_stopped(0.0)


def test_last_stalls_are_kept(clock: Clock) -> None:
    """As many as are enough for any decision; the oldest goes."""
    detector = StallDetector()
    clock.run(detector, *[1.0] * 40)
    assert len(detector._gaps) == 32 and detector.was_stopped(clock.now - 0.1)


def test_thread_is_prepared_named_and_keeps_no_daemon_from_ending() -> None:
    """As shown by `ps -L`."""
    entered: list[str] = []
    before = set(threading.enumerate())
    StallDetector().start(lambda: entered.append(threading.current_thread().name))
    (thread,) = set(threading.enumerate()) - before
    until(lambda: Path(f"/proc/self/task/{thread.native_id}/comm").read_text() == "pulse\n")
    assert thread.daemon and entered == ["pulse"]
