"""What is read of processes and how they are ended, with real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import psutil
import pytest

from opensvc_openha.system import processes
from opensvc_openha.system.processes import (
    ProcessStat,
    all_pids,
    ancestors,
    descends_from,
    end_processes,
    has_ended,
    process_name,
    send_signal,
    start_of_process,
    stat_of,
    wait_for_end,
)
from tests.simulated_clock import SimulatedClock
from tests.waiting import LIMIT_S, until

_DEAF = "trap '' TERM; while :; do sleep 0.05; done"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that a test started; ended after it."""
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for process in found:
        process.kill()
        process.wait()


def shell(
    started: list[subprocess.Popen[bytes]], tmp_path: Path, command: str
) -> subprocess.Popen[bytes]:
    """Start a shell that leads a group; return once it has begun."""
    begun = tmp_path / f"begun{len(started)}"
    process = subprocess.Popen(
        ["/bin/sh", "-c", command.replace("BEGUN", f"touch {begun}")], start_new_session=True
    )
    started.append(process)
    until(begun.exists)
    return process


def test_kernel_and_psutil_agree_on_this_process() -> None:
    """State, parent, niceness, processor time and start; the main thread is such a thread."""
    found, other = stat_of(os.getpid()), psutil.Process()
    assert found is not None
    assert (found.parent, found.nice) == (other.ppid(), other.nice())
    assert found.state in "RS"
    ticks = os.sysconf("SC_CLK_TCK")
    began = psutil.boot_time() + int(found.started) / ticks
    assert abs(began - other.create_time()) < 2
    assert found.used_ticks <= (other.cpu_times().user + other.cpu_times().system) * ticks + 1
    thread = stat_of(os.getpid(), threading.get_native_id())
    assert thread is not None and thread.parent == found.parent
    assert (
        os.getpid() in all_pids()
        and process_name(os.getpid()) == Path("/proc/self/comm").read_text().strip()
    )


def test_process_that_is_gone_has_nothing(started: list[subprocess.Popen[bytes]]) -> None:
    """Also one that ended and was not waited for; its name is that of any."""
    zombie = subprocess.Popen(["/bin/true"])
    started.append(zombie)
    until(lambda: has_ended(zombie.pid))
    assert start_of_process(zombie.pid) == "" and stat_of(zombie.pid) is not None
    zombie.wait()
    assert (stat_of(zombie.pid), has_ended(zombie.pid), process_name(zombie.pid)) == (
        None,
        True,
        "?",
    )


_NUMBERS = " ".join(map(str, range(1, 19)))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"7 (a) (b c) S {_NUMBERS} 777\n", ProcessStat("S", 1, 11 + 12, 16, "777")),
        (f"7 (a) S {_NUMBERS} 777 more\n", ProcessStat("S", 1, 11 + 12, 16, "777")),
        (f"7 (a) S {_NUMBERS}\n", None),
        ("", None),
    ],
)
def test_line_of_the_kernel_is_read_by_its_fields_behind_the_name(
    monkeypatch: pytest.MonkeyPatch, line: str, found: ProcessStat | None
) -> None:
    """Twenty of them at least: state, parent, two times, niceness, and the start."""
    monkeypatch.setattr(processes, "text_of", lambda *_: line)
    assert stat_of(7) == found


@pytest.mark.parametrize(("state", "is_over"), [("R", False), ("Z", True), ("X", True)])
def test_process_that_is_dead_has_ended(
    monkeypatch: pytest.MonkeyPatch, state: str, is_over: bool
) -> None:
    """Whether or not its parent has collected it."""
    monkeypatch.setattr(processes, "text_of", lambda *_: f"7 (a) {state} {_NUMBERS} 777")
    assert has_ended(7) is is_over


def test_ancestors_end_with_a_process_of_which_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ended while they were looked up, or /proc is not there."""
    monkeypatch.setattr(processes, "text_of", lambda *_: "")
    assert list(ancestors()) == [os.getpid()]


def test_ancestors_are_those_of_psutil() -> None:
    """This process first; it does not descend from itself, but from each of the others."""
    found = list(ancestors())
    assert found == [os.getpid(), *(process.pid for process in psutil.Process().parents())]
    assert [pid for pid in found if descends_from(pid)] == found[1:]
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert not descends_from(child.pid)
    child.communicate(b"\n")


@pytest.mark.parametrize(
    "command, number",
    [("BEGUN; exec sleep 60", signal.SIGTERM), (f"BEGUN; {_DEAF}", signal.SIGKILL)],
)
def test_process_is_asked_first_and_killed_if_it_does_not_end(
    started: list[subprocess.Popen[bytes]], tmp_path: Path, command: str, number: int
) -> None:
    """SIGTERM is enough for the one; the other ignores it."""
    process = shell(
        started, tmp_path, command.replace("BEGUN; trap '' TERM;", "trap '' TERM; BEGUN;")
    )
    grace_s = LIMIT_S if number == signal.SIGTERM else 0.2
    assert end_processes([process.pid], grace_s) == []
    assert process.wait(LIMIT_S) == -number


def test_members_of_a_group_are_killed_although_their_leader_has_ended(
    started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """The child ignores SIGTERM and outlives its leader."""
    child = tmp_path / "child"
    process = shell(
        started,
        tmp_path,
        f"(trap '' TERM; exec sleep 60) & echo $! > {child}; BEGUN; exec sleep 60",
    )
    pid = int(child.read_text())
    until(lambda: process_name(pid) == "sleep")
    assert (
        end_processes([process.pid], LIMIT_S, lambda _: process.poll() is not None, is_group=True)
        == []
    )
    assert wait_for_end([pid], LIMIT_S) == []


def test_process_that_does_not_end_is_returned(
    started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """One of two; a signal to what is gone is nothing."""
    process = shell(started, tmp_path, "BEGUN; exec sleep 60")
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    assert wait_for_end([gone.pid, process.pid], 0) == [process.pid]
    assert end_processes([gone.pid], LIMIT_S) == []
    stuck = end_processes([process.pid, gone.pid], 0, lambda pid: pid == gone.pid)
    assert stuck == [process.pid]


def test_child_that_ended_first_is_asked_once(tmp_path: Path) -> None:
    """Who collects the one cannot ask for it again while the other still runs."""
    go = tmp_path / "go"
    pids = []
    for command in ("exit 0", f"while [ ! -e {go} ]; do sleep 0.02; done"):
        pids.append(os.posix_spawn("/bin/sh", ["/bin/sh", "-c", command], os.environ))
    asked: list[int] = []

    def is_over(pid: int) -> bool:
        asked.append(pid)
        if asked.count(pids[1]) == 3:
            go.touch()
        return os.waitpid(pid, os.WNOHANG)[0] != 0

    assert wait_for_end(pids, LIMIT_S, is_over) == []
    assert asked.count(pids[1]) > 3


def test_process_that_leads_no_group_is_ended_alone() -> None:
    """It is a member of this process's group, which must not get the signal."""
    for end in (
        lambda pid: send_signal(pid, signal.SIGTERM),
        lambda pid: end_processes([pid], LIMIT_S),
    ):
        with subprocess.Popen(["sleep", "60"]) as process:
            end(process.pid)
            assert process.wait(LIMIT_S) == -signal.SIGTERM


def test_pauses_double_up_to_a_tenth_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most processes end at once; nothing is waited for once the limit is reached."""
    clock = SimulatedClock(monkeypatch)
    pauses = [0.005, 0.01, 0.02, 0.04, 0.08, 0.1, 0.1]
    *_, limit_s = accumulate(pauses)
    assert wait_for_end([7], limit_s, lambda _: False) == [7]
    assert clock.pauses == pauses
