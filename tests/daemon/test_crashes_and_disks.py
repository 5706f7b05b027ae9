"""A real daemon whose scripts kill it, and one whose state directory is full or read-only: no blind
start, nothing lost.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.full_disk import FullDisk

SILENCE_S = 20
KILL_ONCE = "[ -e {flag} ] || {{ touch {flag}; kill -9 $PPID; }}"
BODY = """
case $1 in
start) {at_start} sleep 0.3; touch {runs}; {after_start} ;;
stop) {at_stop} sleep 0.3; rm -f {runs} ;;
status) {at_status} [ -e {runs} ] && echo up || echo down ;;
esac
"""


def add_killer(cluster: ClusterDir, moment: str) -> Path:
    """A service whose script kills the daemon that runs it, once, at a moment.

    Returns the file that shows that it runs.
    """
    runs, flag = cluster.root / "runs", cluster.root / "killed"
    places = dict.fromkeys(("at_start", "after_start", "at_stop", "at_status"), "true;")
    kill = KILL_ONCE.format(flag=flag)
    check = cluster.script("check.sh", kill if moment == "check" else "exit 0")
    if moment != "check":
        places[moment] = kill + ";"
    cluster.add("registry", BODY.format(runs=runs, **places), check=check)
    # A fence that was never measured would wait minutes for its turn.
    cluster.path("conf/openha.conf").write_text("[timing]\nfence_time = 1\n")
    return runs


def start_again_when_killed(cluster: ClusterDir, pid: int) -> None:
    """The daemon with that pid has gone: a new one is started."""
    cluster.wait(lambda: cluster.pid() != pid, "the script kills the daemon")
    cluster.ok("ezha start")


@pytest.mark.parametrize("moment", ["check", "at_start", "after_start"])
def test_daemon_killed_by_a_script_of_a_start_starts_the_service_once(
    cluster_dir: ClusterDir, moment: str
) -> None:
    """In the check-up script, at begin and at end of the start script: in the end it runs, never
    started over a running one.
    """
    runs = add_killer(cluster_dir, moment)
    cluster_dir.ok("ezha start")
    pid = cluster_dir.pid()
    cluster_dir.ok("service -A registry unfreeze")
    start_again_when_killed(cluster_dir, pid)
    cluster_dir.wait_state("registry", "STARTED")
    calls = cluster_dir.calls("registry.sh")
    moved = [word for word in calls if word in ("start", "stop")]
    # A start that was cut off in the check-up script leaves nothing: stop cleans up, and it begins
    # again.
    assert moved == (["stop", "start"] if moment == "check" else ["start"]), calls
    assert runs.exists()
    assert "ended without a goodbye" in cluster_dir.ok("openha history")


def test_daemon_killed_by_the_stop_script_finishes_the_stop(cluster_dir: ClusterDir) -> None:
    """freeze-stop, and the daemon dies in it: the new one waits for the script, stops to be sure,
    and is frozen as asked.
    """
    runs = add_killer(cluster_dir, "at_stop")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    runs.touch()
    pid = cluster_dir.pid()
    assert cluster_dir.run("service -A registry freeze-stop").returncode == 4
    start_again_when_killed(cluster_dir, pid)
    cluster_dir.wait_state("registry", "FROZEN_STOP")
    assert not runs.exists() and "start" not in cluster_dir.calls("registry.sh")


def test_daemon_killed_while_it_asks_the_wrapper_asks_again(cluster_dir: ClusterDir) -> None:
    """The restarted daemon dies in the wrapper's status: the next one asks, finds it up, and starts
    nothing.
    """
    killed = cluster_dir.root / "killed"
    killed.touch()
    runs = add_killer(cluster_dir, "at_status")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    runs.touch()
    cluster_dir.kill()
    killed.unlink()
    asked = len(cluster_dir.all_calls("registry.sh"))
    cluster_dir.run("ezha start")
    cluster_dir.wait(
        lambda: len(cluster_dir.all_calls("registry.sh")) > asked and not cluster_dir.pid(),
        "killed in status",
    )
    cluster_dir.ok("ezha start")
    cluster_dir.wait(lambda: "found up" in cluster_dir.ok("service -s -v"), "found up")
    assert cluster_dir.state("registry") == "STARTED" and cluster_dir.calls("registry.sh") == []


class StateDisk(FullDisk):
    """A small file system of its own under the states of a cluster directory."""

    @staticmethod
    def _mount(*args: str) -> None:
        subprocess.run(["mount", *args], check=True, capture_output=True)

    def protect(self, is_read_only: bool) -> None:
        """Nothing can be opened to be written, or all can again; what is open can be written."""
        if is_read_only:
            self._mount("--bind", str(self.folder), str(self.folder))
            self._mount("-o", "remount,bind,ro", str(self.folder))
        else:
            subprocess.run(["umount", "-l", str(self.folder)], check=True, capture_output=True)

    def close(self) -> None:
        """Takes it away, however often it was mounted."""
        while os.path.ismount(self.folder):
            if subprocess.run(["umount", "-l", str(self.folder)], capture_output=True).returncode:
                break


@pytest.fixture
def state_disk(cluster_dir: ClusterDir) -> Iterator[StateDisk]:
    """States on a disk of their own: needs root. A skip for lack of it fails where CI=true."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "mounting a tmpfs needs root"
        )
    try:
        disk = StateDisk(cluster_dir.path("services"))
    except subprocess.CalledProcessError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            f"no tmpfs can be mounted: {error.stderr!r}"
        )
    yield disk
    cluster_dir.close()
    disk.close()


@pytest.mark.root
def test_states_that_cannot_be_written_start_nothing_and_lose_nothing(
    cluster_dir: ClusterDir, state_disk: StateDisk
) -> None:
    """One service runs, another is unfrozen: it is not started, why is reported, STATE files stay
    whole; well again, all continues.
    """
    cluster_dir.add("registry")
    cluster_dir.add("web")
    # The peer falls silent, which the node remembers, only after its disk is protected.
    monitor = cluster_dir.path("conf/monitor")
    monitor.write_text(monitor.read_text().replace("\t2\n", f"\t{SILENCE_S}\n"))
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A web force-start")
    # What is opened before can be changed below.
    history = os.open(cluster_dir.path("services/.proc/history"), os.O_RDONLY | os.O_DIRECTORY)
    state_disk.protect(True)
    done = cluster_dir.run("service -A registry unfreeze")
    assert done.returncode == 6 and "not kept" in done.stderr and "cannot write" in done.stderr
    cluster_dir.wait(
        lambda: "state cannot be written" in cluster_dir.ok("service -s -v"),
        "no start without a state",
    )
    cluster_dir.wait(
        lambda: "this node does not fence before it can be" in cluster_dir.log(),
        "the fencing memory that cannot be written is reported",
    )
    assert cluster_dir.calls("registry.sh") == [] and cluster_dir.state("web") == "STARTED"
    assert cluster_dir.state_file("registry").read_bytes() == b"6\0"
    assert cluster_dir.state_file("web").read_bytes() == b"2\0"
    log = cluster_dir.log()
    assert log.count("service registry: STOPPED -> NOT WRITTEN") == 1, log
    # The note of fencing, too, if the peer was silent only after the disk was protected.
    assert log.count("this node does not fence before it can be") <= 1, log
    # Its file is open, and takes entries still: until the next one begins a file.
    assert "the history is not written" not in log
    assert "registry: STOPPED -> NOT WRITTEN" in cluster_dir.ok("openha history registry")
    os.rename("000000000001.jsonl", "former.jsonl", src_dir_fd=history, dst_dir_fd=history)
    os.close(history)
    cluster_dir.wait(
        lambda: "the history is not written" in cluster_dir.ok("service -s -v"),
        "the lost history is reported",
    )
    state_disk.protect(False)
    cluster_dir.wait_state("registry", "STARTED")
    cluster_dir.wait(
        lambda: "entries were lost" in cluster_dir.ok("openha history"), "the history continues"
    )
    assert cluster_dir.log().count("the history is not written") == 1
    assert cluster_dir.calls("web.sh") == []


@pytest.mark.root
def test_full_state_disk_is_no_failover(cluster_dir: ClusterDir, state_disk: StateDisk) -> None:
    """Not a byte is left: a service starts and stops, states with and without a tail follow each
    other, a daemon starts.
    """
    cluster_dir.add("registry", "[ $1 != status ] || echo up")
    cluster_dir.add("web")
    cluster_dir.ok("ezha start")
    state_disk.fill()
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait_state("registry", "STARTED")
    warning = "little room for states: less than 1 MiB free on the disk of"
    cluster_dir.wait(
        lambda: warning in cluster_dir.ok("service -s -v"), "and so is the disk that is full"
    )
    assert "NOT WRITTEN" not in cluster_dir.log()
    for command, left in (
        ("freeze-start", b"7\0FROZEN_START\n"),
        ("unfreeze", b"2\0"),
        ("freeze-stop", b"6\0"),
        ("force-start", b"2\0"),
        ("freeze-start", b"7\0FROZEN_START\n"),
    ):
        cluster_dir.ok(f"service -A registry {command}")
        assert cluster_dir.state_file("registry").read_bytes() == left

    def is_history_lost() -> bool:
        """What is left of its last block takes some more entries."""
        cluster_dir.ok("service -A registry unfreeze")
        cluster_dir.ok("service -A registry freeze-start")
        return "the history is not written" in cluster_dir.ok("service -s -v")

    cluster_dir.wait(is_history_lost, "the lost history is reported")
    cluster_dir.kill()
    former = cluster_dir.path("services/.proc/boot").read_text().split()
    cluster_dir.ok("ezha start")
    boot = cluster_dir.path("services/.proc/boot").read_text().split()
    assert int(boot[0]) > int(former[0]) and boot[1:] == former[1:] and cluster_dir.pid() > 0
    cluster_dir.wait(lambda: "found up" in cluster_dir.ok("service -s -v"), "found up")
    assert cluster_dir.state("registry") == "FROZEN_START"
    assert not list(state_disk.folder.glob("**/.*.tmp")), (
        "what could not be written whole is taken away"
    )


@pytest.mark.root
def test_service_that_is_new_on_a_full_disk_is_refused(
    cluster_dir: ClusterDir, state_disk: StateDisk
) -> None:
    """There is no state to write over, so nothing may be started; the error names the file."""
    cluster_dir.add("web")
    cluster_dir.ok("ezha start")
    state_disk.fill()
    done = cluster_dir.run(
        f"service -a registry {cluster_dir.script('r.sh', 'exit 0')} {HERE} {PEER} /bin/true"
    )
    assert done.returncode == 7 and "registry" in done.stderr and "No space left" in done.stderr, (
        done
    )


@pytest.mark.root
def test_daemon_is_not_started_on_a_disk_it_cannot_write(
    cluster_dir: ClusterDir, state_disk: StateDisk
) -> None:
    """It would forget what it does: a clear refusal that names the file.

    The STATE files are as they were, and serve later.
    """
    cluster_dir.add("web", "echo up")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A web force-start")
    cluster_dir.kill()
    state_disk.protect(True)
    done = cluster_dir.run("ezha start")
    assert (
        done.returncode == 7
        and "cannot write" in done.stderr
        and "services/: Read-only" in done.stderr
    )
    assert cluster_dir.pid() == 0 and cluster_dir.state_file("web").read_bytes() == b"2\0"
    assert cluster_dir.calls("web.sh") == []
    state_disk.protect(False)
    cluster_dir.ok("ezha start")
    cluster_dir.wait(lambda: "found up" in cluster_dir.ok("service -s -v"), "found up")
    assert cluster_dir.calls("web.sh") == []


@pytest.mark.root
def test_restart_on_a_read_only_disk_keeps_the_running_daemon(
    cluster_dir: ClusterDir, state_disk: StateDisk
) -> None:
    """A new daemon would be refused there: the one that runs is not ended for it."""
    cluster_dir.ok("ezha start")
    pid = cluster_dir.pid()
    state_disk.protect(True)
    done = cluster_dir.run("ezha restart")
    assert done.returncode == 7 and "Read-only" in done.stderr and "not restarted" in done.stderr, (
        done
    )
    assert cluster_dir.pid() == pid
