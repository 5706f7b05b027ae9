"""The threads that hear the peer and speak to it go before the scripts of services, which run as
they would without a daemon.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from opensvc_openha.daemon import realtime as realtime_module
from opensvc_openha.daemon.realtime import NICE, Realtime, favour_session
from tests.cluster_dir import ClusterDir

SEEN = "nice >> {seen}; cat /proc/self/autogroup >> {seen} 2> /dev/null; exit 0"


def may_go_first() -> bool:
    """True if this user may raise priorities, and the tests were begun with the usual one."""
    done = subprocess.run(["sh", "-c", "renice -n -1 -p $$"], capture_output=True)
    return done.returncode == 0 and os.getpriority(os.PRIO_PROCESS, 0) == 0


needs_right = pytest.mark.skipif(
    not may_go_first(), reason="needs the right to raise priorities, and a usual one to begin with"
)


def niceness(pid: int) -> dict[str, int]:
    """That of each thread of a process, by the thread's name; of those of one name the lowest."""
    found: dict[str, int] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name, _, rest = (task / "stat").read_text().partition(" (")[2].rpartition(") ")
        found[name] = min(found.get(name, 20), int(rest.split()[16]))
    return found


@needs_right
def test_engine_and_links_go_first_and_scripts_are_ordinary(cluster_dir: ClusterDir) -> None:
    """Engine, senders and listeners have the niceness, the daemon's session more weight.

    A script it starts has neither.
    """
    seen = cluster_dir.root / "seen"
    cluster_dir.add("registry", SEEN.format(seen=seen))
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait_state("registry", "STARTED")
    threads = niceness(cluster_dir.pid())
    first = {name for name, nice in threads.items() if nice == NICE}
    assert any("engine" in name for name in first), threads
    assert any("sender" in name for name in first) and any("listener" in name for name in first), (
        threads
    )
    values = seen.read_text().split()
    assert values[0] == "0", values
    group = Path(f"/proc/{cluster_dir.pid()}/autogroup")
    # Empty where sessions have no weight of their own.
    if group.exists() and group.read_text():
        assert group.read_text().split()[-1] == str(NICE)
        assert values[-1] == "0", values


def test_chosen_niceness_is_kept() -> None:
    """Somebody began the daemon with a niceness of 5: its threads, and what they run, have that."""
    found: list[str] = []

    def look() -> None:
        os.setpriority(os.PRIO_PROCESS, 0, 5)
        Realtime(False).enter()
        found.append(
            subprocess.run(["nice"], capture_output=True, text=True, check=True).stdout.strip()
        )

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == ["5"]


@needs_right
def test_what_a_thread_that_goes_first_runs_is_ordinary() -> None:
    """Neither a process nor a thread that it begins inherits the precedence."""
    found: list[int] = []

    def look() -> None:
        Realtime(False).enter()
        found.append(os.getpriority(os.PRIO_PROCESS, 0))
        found.append(
            int(subprocess.run(["nice"], capture_output=True, text=True, check=True).stdout)
        )
        child = threading.Thread(target=lambda: found.append(os.getpriority(os.PRIO_PROCESS, 0)))
        child.start()
        child.join()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [NICE, 0, 0]


class Kernel:
    """A system that grants or refuses, and notes what it is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: int = 0) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.niceness, self.scheduler, self._error = 0, os.SCHED_OTHER, error
        monkeypatch.setattr(os, "sched_setscheduler", self._set_scheduler)
        monkeypatch.setattr(os, "setpriority", self._set_priority)
        monkeypatch.setattr(os, "getpriority", lambda *who: self._look(who))
        monkeypatch.setattr(os, "sched_getscheduler", lambda pid: -1 if pid else self.scheduler)
        monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **options: self._library(options))
        monkeypatch.setattr(ctypes, "get_errno", lambda: self._error)

    def _look(self, who: tuple[int, ...]) -> int:
        assert who == (os.PRIO_PROCESS, 0)
        return self.niceness

    def _library(self, options: dict[str, bool]) -> SimpleNamespace:
        assert options == {"use_errno": True}
        return SimpleNamespace(mlockall=self._lock)

    def _lock(self, flags: int) -> int:
        self.asked.append(("lock", flags))
        return -1 if self._error else 0

    def _set_scheduler(self, pid: int, scheduler: int, parameters: os.sched_param) -> None:
        self.asked.append(("scheduler", pid, scheduler, parameters.sched_priority))
        if self._error:
            raise OSError(self._error, os.strerror(self._error))

    def _set_priority(self, which: int, who: int, niceness: int) -> None:
        self.asked.append(("niceness", which, who, niceness))


FIFO = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
OTHER = os.SCHED_OTHER | os.SCHED_RESET_ON_FORK


def test_real_time_is_asked_for_with_memory_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for the process, and by each thread; no child inherits it. Source: mlockall(2)."""
    kernel = Kernel(monkeypatch)
    realtime = Realtime(True)
    realtime.enter()
    assert kernel.asked == [("lock", 1 | 2 | 4), ("scheduler", 0, FIFO, 10)]
    assert (realtime.text, realtime.warnings) == ("real-time, memory locked", ())


def test_what_was_not_granted_is_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number of threads that asked for it, and the daemon runs as an ordinary one."""
    Kernel(monkeypatch, errno.EPERM)
    realtime = Realtime(True)
    for _ in range(2):
        realtime.enter()
    refused = (
        "memory not locked: Operation not permitted",
        "no real-time class: Operation not permitted",
    )
    assert (realtime.warnings, realtime.text) == (refused, "ordinary: " + ", ".join(refused))


@pytest.mark.parametrize(
    ("niceness", "scheduler", "is_asked"),
    [(0, os.SCHED_OTHER, True), (5, os.SCHED_OTHER, False), (0, os.SCHED_BATCH, False)],
)
def test_ordinary_thread_goes_first_unless_the_daemon_was_started_otherwise(
    monkeypatch: pytest.MonkeyPatch, niceness: int, scheduler: int, is_asked: bool
) -> None:
    """The flag first, so that no child ever inherits the niceness; memory may be swapped out."""
    kernel = Kernel(monkeypatch)
    kernel.niceness, kernel.scheduler = niceness, scheduler
    realtime = Realtime(False)
    realtime.enter()
    wanted = [("scheduler", 0, OTHER, 0), ("niceness", os.PRIO_PROCESS, 0, -10)]
    assert kernel.asked == (wanted if is_asked else [])
    assert (realtime.text, realtime.warnings) == ("ordinary", ())


def test_ordinary_thread_without_the_right_warns_of_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was not asked for by anybody."""
    Kernel(monkeypatch, errno.EPERM)
    realtime = Realtime(False)
    realtime.enter()
    assert realtime.warnings == ()


@pytest.mark.parametrize("leads", [True, False])
def test_only_a_session_of_its_own_is_favoured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leads: bool
) -> None:
    """Another one is a user's terminal; a system without the file is left alone."""
    group = tmp_path / "autogroup"
    monkeypatch.setattr(realtime_module, "_AUTOGROUP", str(group))
    monkeypatch.setattr(os, "getsid", lambda pid: os.getpid() + (not leads) + pid)
    favour_session()
    assert (group.read_text() if leads else group.exists()) == ("-10" if leads else False)
    monkeypatch.setattr(realtime_module, "_AUTOGROUP", str(tmp_path / "none" / "autogroup"))
    favour_session()
