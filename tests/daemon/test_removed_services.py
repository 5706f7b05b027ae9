"""A service that is taken out of the services file while it runs: it is managed until it is
stopped, through restarts too.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from opensvc_openha.core.states import ServiceState
from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.peer_voice import PeerVoice

RUNS = (
    "case $1 in start) touch $0.up;; stop) rm -f $0.up;; status) [ -e $0.up ] && echo up || echo"
    " down;; esac"
)


@pytest.fixture
def removed(cluster_dir: ClusterDir) -> ClusterDir:
    """`registry` runs, and somebody has deleted its line; the daemon has taken that over."""
    cluster_dir.add("registry", RUNS)
    Path(f"{cluster_dir.root}/registry.sh.up").touch()
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.path("conf/services").write_text("# nothing\n")
    cluster_dir.wait(lambda: "kept until it is stopped" in cluster_dir.log(), "it is kept")
    return cluster_dir


def is_up(cluster_dir: ClusterDir) -> bool:
    return Path(f"{cluster_dir.root}/registry.sh.up").exists()


@pytest.mark.parametrize(
    "command", ["service -A registry stop", "service -A registry freeze-stop", "service -A stop"]
)
@pytest.mark.parametrize("is_restarted", [False, True])
def test_removed_service_can_be_stopped(
    removed: ClusterDir, command: str, is_restarted: bool
) -> None:
    """By its name, or with all of this node, by the same daemon or by the next one.

    Then it is gone.
    """
    if is_restarted:
        removed.kill()
        removed.ok("ezha start")
        removed.wait_state("registry", "STARTED")
    status = removed.ok("service -s -v")
    assert "registry is not in" in status and "any more, but may run here: stop it" in status
    removed.ok(command)
    assert not is_up(removed)
    assert "registry" not in removed.ok("service -s -v")
    assert "service registry not found" in removed.fails("service -A registry stop", 3)
    removed.ok("ezha restart")
    assert "registry" not in removed.ok("service -s -v")


def test_removed_service_is_stopped_with_its_node(removed: ClusterDir) -> None:
    """`ezha restart`, then `ezha stop`: the goodbye that reports all is stopped is true."""
    removed.ok("ezha restart")
    removed.ok("ezha stop")
    assert not is_up(removed)


def test_removed_service_that_does_not_stop_is_named_at_the_stop_of_the_node(
    removed: ClusterDir,
) -> None:
    """Its stop script fails: `ezha stop` ends with 6 and reports it."""
    removed.script("registry.sh", RUNS.replace("rm -f $0.up", "exit 1"))
    assert "registry STOP_FAILED" in removed.run("ezha stop").stderr


def test_removed_service_that_is_added_again_continues(removed: ClusterDir) -> None:
    """The line is put back after a restart of the daemon: STARTED, and no script but status has
    run.
    """
    removed.ok("ezha restart")
    script = removed.path("registry.sh")
    removed.path("conf/services").write_text(f"registry {script} {HERE} {PEER} /bin/true\n")
    removed.wait(
        lambda: "registry is not in" not in removed.ok("service -s -v"), "it is configured again"
    )
    removed.wait(lambda: "found up" in removed.ok("service -s -v"), "the wrapper was asked")
    assert removed.state("registry") == "STARTED"
    assert removed.calls("registry.sh") == []


def test_service_removed_while_no_daemon_ran_is_kept(cluster_dir: ClusterDir) -> None:
    """The line is deleted between a kill and the next start."""
    cluster_dir.add("registry", RUNS)
    Path(f"{cluster_dir.root}/registry.sh.up").touch()
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.kill()
    cluster_dir.path("conf/services").write_text("")
    cluster_dir.ok("ezha start")
    cluster_dir.wait_state("registry", "STARTED")


def test_removed_service_that_is_down_is_forgotten(removed: ClusterDir) -> None:
    """It ended by itself: the wrapper reports down, and nothing is left to be managed."""
    Path(f"{removed.root}/registry.sh.up").unlink()
    removed.ok("ezha restart")
    removed.wait(lambda: "registry" not in removed.ok("service -s -v"), "it is forgotten")


def test_list_of_managed_services_of_a_former_version_is_understood(
    cluster_dir: ClusterDir,
) -> None:
    """Names alone, and a line that is damaged: the daemon starts, and continues with what the
    services file states.
    """
    cluster_dir.add("registry", RUNS)
    cluster_dir.ok("ezha start")
    cluster_dir.ok("ezha stop")
    cluster_dir.path("services/.proc/managed").write_text("registry\nother\n\tweb /x\n")
    cluster_dir.ok("ezha start")
    assert cluster_dir.state("registry") == "FROZEN_STOP"


def test_removing_the_standby_of_a_running_service_is_reported(cluster_dir: ClusterDir) -> None:
    """`service -r` where the peer runs it: done, and a warning that it has nowhere to go now."""
    cluster_dir.add("registry", RUNS, primary=PEER)
    cluster_dir.ok("ezha start")
    voice = PeerVoice(cluster_dir)
    voice.states = {"registry": ServiceState.STARTED}
    try:
        voice.meet(cluster_dir)
        cluster_dir.wait(lambda: _peer_runs(cluster_dir, voice), "the peer runs it")
        with ThreadPoolExecutor(1) as pool:
            removal = pool.submit(cluster_dir.run, "service -r registry")
            # The command begins later than the timeout on a busy machine.
            while not removal.done():
                _speak(voice)
        done = removal.result()
    finally:
        voice.close()
    assert (done.returncode, "Remove of service registry done" in done.stdout) == (0, True)
    assert (
        f"warning: service registry is STARTED on {PEER}, and has no node to fail over to now"
        in done.stderr
    )


def _speak(voice: PeerVoice) -> None:
    voice.listen()
    voice.throw(voice.frame(with_names=True))


def _peer_runs(cluster_dir: ClusterDir, voice: PeerVoice) -> bool:
    _speak(voice)
    return "STARTED" in cluster_dir.ok("service -s -c")


@pytest.mark.parametrize("is_lost", [False, True])
def test_file_of_a_kept_service_is_not_written_over_when_it_is_added_again(
    removed: ClusterDir, is_lost: bool
) -> None:
    """Its engine continues with what it knows, and writes its next state.

    What the file stated meanwhile is not believed; without it the service is managed all the same.
    """
    state = removed.state_file("registry")
    if is_lost:
        state.unlink()
        assert "registry is not in" in removed.ok("service -s -v")
    else:
        state.write_bytes(b"\0\0")
    script = removed.path("registry.sh")
    removed.path("conf/services").write_text(f"registry {script} {HERE} {PEER} /bin/true\n")
    removed.wait(lambda: "is not in" not in removed.ok("service -s -v"), "it is managed again")
    assert is_lost is not state.exists() and removed.state("registry") == "STARTED"
    assert is_lost or state.read_bytes() == b"\0\0"
    removed.ok("service -A registry freeze-start")
    assert state.read_bytes() != b"\0\0"
