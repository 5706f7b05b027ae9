"""A disk that hangs under a running daemon, truly: its I/O waits in the kernel, and not even
SIGKILL ends who waits.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.hanging_disk import HangingDisk, expect_possible, workers
from tests.peer_voice import PeerVoice
from tests.waiting import LIMIT_S, until


@pytest.fixture
def disk(cluster_dir: ClusterDir, tmp_path: Path) -> Iterator[HangingDisk]:
    """The second disk of the cluster; every daemon started here is in its group."""
    expect_possible()
    hanging = HangingDisk(tmp_path)
    monitor = cluster_dir.path("conf/monitor")
    monitor.write_text(
        monitor.read_text() + f"{HERE} dio {hanging.device} 0 2\n{PEER} dio {hanging.device} 10 2\n"
    )
    try:
        yield hanging
    finally:
        hanging.set_hung(False)
        cluster_dir.close()
        hanging.close()


def run_on(disk: HangingDisk, cluster: ClusterDir, word: str) -> None:
    """`ezha` by a shell in the group: a daemon that it starts is in it with all its children from
    their birth.
    """
    done = subprocess.run(
        ["sh", "-c", f"echo $$ > {disk.group}/cgroup.procs && exec {cluster.root}/ezha {word}"],
        capture_output=True,
        text=True,
        env=cluster.env,
        timeout=LIMIT_S,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stderr) == (0, ""), done


def sender_lines(cluster: ClusterDir) -> dict[str, str]:
    """Device to what `hb -s` reports of the sender."""
    lines = [line.split() for line in cluster.ok("hb -s").splitlines() if " sender " in line]
    return {
        words[2].partition(":")[0]: words[words.index("status") + 1].rstrip(",") for words in lines
    }


def hang(disk: HangingDisk, cluster: ClusterDir) -> None:
    """The disk hangs, and the daemon has noticed."""
    disk.set_hung(True)
    cluster.wait(lambda: sender_lines(cluster)[disk.device] == "DOWN", "the link is down")


def lines_of_link(disk: HangingDisk, cluster_dir: ClusterDir) -> list[str]:
    """Return the log's lines on the sender of the disk's link."""
    return [line for line in cluster_dir.log().splitlines() if f"dio {disk.device}:0" in line]


def test_hung_disk_takes_down_its_own_link_and_comes_back(
    cluster_dir: ClusterDir, disk: HangingDisk
) -> None:
    """A live peer on the network, the disk hangs: that link is down, the others carry on, commands
    are quick; then it is up.
    """
    cluster_dir.add("registry")
    run_on(disk, cluster_dir, "start")
    voice = PeerVoice(cluster_dir)
    try:
        voice.meet(cluster_dir)
        hang(disk, cluster_dir)
        others = {
            device: state
            for device, state in sender_lines(cluster_dir).items()
            if device != disk.device
        }
        assert set(others.values()) == {"UP"} and len(others) == 2
        voice.meet(cluster_dir)
        cluster_dir.ok("service -A registry force-start")
        assert sender_lines(cluster_dir)[disk.device] == "DOWN", "it was not waited for"
        assert len(workers(disk.device)) == 1, "one process at most hangs on one disk"
        # The log is written by a thread of its own, a moment later.
        log = until(lambda: lines_of_link(disk, cluster_dir))
        assert len(log) == 1 and "sender: hung: no answer to the" in log[0], log
        disk.set_hung(False)
        cluster_dir.wait(
            lambda: sender_lines(cluster_dir)[disk.device] == "UP", "the link is up again"
        )
        log = until(lambda: lines_of_link(disk, cluster_dir), lambda found: len(found) > 1)
        assert len(log) == 2 and log[1].endswith("sender: works again"), log
    finally:
        voice.close()


@pytest.mark.parametrize("how", ["ezha stop", "ezha restart", "ezha kill", "kill -9"])
def test_daemon_can_be_ended_while_the_disk_hangs(
    cluster_dir: ClusterDir, disk: HangingDisk, how: str
) -> None:
    """Whatever ends the daemon, it is gone while the disk still hangs, and can be started.

    No process is left over.
    """
    cluster_dir.add("registry")
    run_on(disk, cluster_dir, "start")
    cluster_dir.ok("service -A registry force-start")
    hang(disk, cluster_dir)
    pid, stuck = cluster_dir.pid(), workers(disk.device)
    if how == "kill -9":
        cluster_dir.kill(signal.SIGKILL)
    else:
        run_on(disk, cluster_dir, how.split()[1])
    assert not Path(f"/proc/{pid}/exe").exists(), "the daemon is gone"
    assert stuck <= workers(disk.device), "the disk really hangs: its waiters cannot be ended"
    if how == "ezha stop":
        assert cluster_dir.calls("registry.sh")[-1] == "stop"
    if how != "ezha restart":
        run_on(disk, cluster_dir, "start")
    assert cluster_dir.pid() not in (0, pid)
    assert sender_lines(cluster_dir)[disk.device] == "DOWN"
    disk.set_hung(False)
    cluster_dir.wait(lambda: sender_lines(cluster_dir)[disk.device] == "UP", "the link is up again")
    cluster_dir.wait(lambda: not stuck & workers(disk.device), "who hung is gone")
    assert len(workers(disk.device)) == 1
