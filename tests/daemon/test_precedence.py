"""The threads that hear the peer and speak to it go before the scripts of services, which run as
they would without a daemon.
"""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from opensvc_openha.daemon.realtime import NICE, Realtime
from tests.cluster_dir import ClusterDir

AUTOGROUP = Path("/proc/self/autogroup")
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
    if AUTOGROUP.exists():
        assert Path(f"/proc/{cluster_dir.pid()}/autogroup").read_text().split()[-1] == str(NICE)
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
