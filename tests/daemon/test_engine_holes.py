"""The original's proved holes in decisions, commands and files, each provoked here at one real
daemon: none is there.

The names are those of the reference's list (H7 to H25); those that need two nodes are in tests/e2e.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from opensvc_openha.cli import main as cli
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.timing import CONFIG_POLL_S, START_READY_DELAY_S, STOP_HOLD_S
from opensvc_openha.formats.layout import find_layout
from opensvc_openha.storage import configuration
from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.local_user import as_nobody, needs_root
from tests.peer_voice import PeerVoice
from tests.waiting import LIMIT_S, stays

_OFTEN_IGNORED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


class Peer:
    """A peer in good health: it speaks and acknowledges five times a second until it dies."""

    def __init__(self, cluster: ClusterDir, **states: ServiceState) -> None:
        self.voice = PeerVoice(cluster)
        self.voice.states = states
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._speak, daemon=True)
        self._thread.start()
        cluster.wait(lambda: f"peer {PEER}: live" in cluster.ok("hb -s -v"), "the peer is live")

    def _speak(self) -> None:
        while not self._is_over.wait(0.2):
            self.voice.listen()
            self.voice.throw(self.voice.frame(with_names=True))

    def die(self) -> None:
        """Not a word any more."""
        self._is_over.set()
        self._thread.join()
        self.voice.close()


@pytest.fixture
def alone(cluster_dir: ClusterDir) -> Iterator[ClusterDir]:
    """A daemon with one service, whose peer is silent.

    The start script takes as long as the file `hold` exists.
    """
    hold = cluster_dir.root / "hold"
    cluster_dir.add(
        "registry", f"case $1 in start) while [ -e {hold} ]; do sleep 0.05; done;; esac"
    )
    cluster_dir.ok("ezha start")
    cluster_dir.wait(lambda: "silent" in cluster_dir.ok("hb -s -v"), "the verdict on the peer")
    yield cluster_dir
    hold.unlink(missing_ok=True)


def unfreeze_to_start_ready(cluster: ClusterDir) -> None:
    """Unfreezes the service, and waits until it is in START_READY."""
    cluster.ok("service -A registry unfreeze")
    cluster.wait_state("registry", "START_READY")


def test_h07_hanging_start_of_one_service_delays_no_takeover_of_another(
    cluster_dir: ClusterDir,
) -> None:
    """busybox has been starting for ever when the owner of registry dies: UNKNOWN and STARTED in
    registry's own time.
    """
    hold = cluster_dir.root / "hold"
    hold.touch()
    cluster_dir.add("busybox", f"[ $1 = status ] || while [ -e {hold} ]; do sleep 0.1; done")
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    peer = Peer(cluster_dir, registry=ServiceState.STARTED, busybox=ServiceState.STOPPED)
    cluster_dir.ok("service -A unfreeze")
    cluster_dir.wait_state("busybox", "STARTING")
    peer.die()
    ready_at = cluster_dir.wait_moment("registry", "STOPPED", "START_READY")
    assert (
        cluster_dir.wait_moment("registry", "START_READY", "STARTING")
        >= ready_at + START_READY_DELAY_S
    )
    cluster_dir.wait_state("registry", "STARTED")
    assert cluster_dir.state("busybox") == "STARTING"
    hold.unlink()
    cluster_dir.wait_state("busybox", "STARTED")


def test_h08_dead_daemon_is_seen_by_every_command_and_a_dead_peer_by_its_node(
    cluster_dir: ClusterDir,
) -> None:
    """The peer's daemon dies: its links are down and its states UNKNOWN.

    Ours dies: no status pretends that it is there.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    peer = Peer(cluster_dir, registry=ServiceState.STOPPED)
    assert "unicast listener" in "".join(
        line for line in cluster_dir.ok("hb -s").splitlines() if " UP" in line
    )
    peer.die()
    cluster_dir.wait(
        lambda: (
            "UP"
            not in "".join(
                line for line in cluster_dir.ok("hb -s").splitlines() if "listener" in line
            )
        ),
        "no listener is up",
    )
    cluster_dir.wait(lambda: "UNKNOWN" in cluster_dir.ok("service -s -c"), "its states are unknown")
    cluster_dir.kill()
    for command in ("hb -s", "hb -s -v", "service -s", "service -s -c", "ezha status"):
        done = cluster_dir.run(command)
        assert done.returncode == 4 and done.stdout == "" and "not running" in done.stderr, command


def test_h09_services_added_within_one_second_are_all_known_and_announced(
    cluster_dir: ClusterDir,
) -> None:
    """Six additions to a running daemon as fast as they go, the files' times set equal: each is in
    status and beats.
    """
    cluster_dir.ok("ezha start")
    voice = PeerVoice(cluster_dir)
    services = cluster_dir.path("conf/services")
    script = cluster_dir.script("svc.sh", "exit 0")
    stamp = time.time_ns()
    for number in range(6):
        text = services.read_text() if services.exists() else ""
        services.write_text(f"{text}a{number} {script} {HERE} {PEER} /bin/true\n")
        os.utime(services, ns=(stamp, stamp))
        time.sleep(0.15)  # Some of the edits are seen one by one, others together.
    cluster_dir.wait(
        lambda: all(f"a{number}" in cluster_dir.ok("service -s -c") for number in range(6)),
        "all are known",
    )

    def announced() -> int:
        frame = voice.listen()
        return 0 if frame is None else len(frame.states)

    cluster_dir.wait(lambda: announced() == 6, "all are announced")
    voice.close()


def test_h12_end_and_start_of_the_daemon_forgets_no_running_service(
    cluster_dir: ClusterDir,
) -> None:
    """`ezha kill` and `ezha start` on the owner: STARTED all along, in the file too, and no script
    but status runs.
    """
    cluster_dir.add("registry", "echo up")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.ok("ezha kill")
    assert cluster_dir.state_file("registry").read_bytes() == b"2\0"
    cluster_dir.ok("ezha start")
    assert cluster_dir.state("registry") == "STARTED"
    cluster_dir.wait(lambda: "found up" in cluster_dir.ok("service -s -v"), "it is found up")
    assert cluster_dir.calls("registry.sh") == [] and cluster_dir.state("registry") == "STARTED"


def test_h13_commands_during_start_ready_do_what_they_promise_or_are_refused(
    alone: ClusterDir,
) -> None:
    """stop, start, unfreeze: refused with a reason, START_READY continues.

    Force-stop: STOPPED, and that start never comes.
    """
    unfreeze_to_start_ready(alone)
    for command, text in (
        ("stop", "Cannot stop"),
        ("start", "Cannot start"),
        ("unfreeze", "Cannot UNFREEZE"),
    ):
        done = alone.quick(f"service -A registry {command}")
        assert done.returncode == 5 and text in done.stderr, done
    assert alone.quick("service -A registry force-stop").returncode == 0
    # Another start of its own follows the hold; this one, of which the delay had begun, never
    # comes.
    again_at = alone.wait_moment("registry", "STOPPED", "START_READY", 2)
    left = [
        entry
        for entry in alone.history("registry")
        if entry["kind"] == "service" and entry["mono"] < again_at
    ]
    assert [entry["new"] for entry in left][-2:] == ["START_READY", "STOPPED"], left
    assert again_at >= left[-1]["mono"] + STOP_HOLD_S


def test_h14_stop_of_the_daemon_during_start_ready_prevents_the_start(alone: ClusterDir) -> None:
    """`ezha stop` in the 5 s: the daemon is gone when it returns, and nothing is started
    afterwards.
    """
    unfreeze_to_start_ready(alone)
    alone.ok("ezha stop")
    assert alone.pid() == 0
    # No process is left that could start anything; the delay would be over by now.
    stays(lambda: alone.calls("registry.sh"), lambda seen: seen == [], START_READY_DELAY_S + 1)
    assert alone.calls("registry.sh") == [] and alone.state_file("registry").read_bytes() == b"0\0"


def test_h14_stop_of_the_daemon_during_starting_waits_and_stops_the_service(
    alone: ClusterDir,
) -> None:
    """`ezha stop` while the start script runs: it waits for it, stops what was started, and only
    then the daemon is gone.
    """
    hold = alone.root / "hold"
    hold.touch()
    unfreeze_to_start_ready(alone)
    alone.wait_state("registry", "STARTING")
    alone.wait(lambda: alone.calls("registry.sh") == ["start"], "the start script runs")
    stop = subprocess.Popen([str(alone.path("ezha")), "stop"], env=alone.env)
    alone.wait(
        lambda: "stop of this node" in alone.ok("openha history"), "the daemon was asked to leave"
    )
    stays(lambda: stop.poll() is None and alone.pid(), bool, 1)
    hold.unlink()
    assert stop.wait(LIMIT_S) == 0
    assert alone.pid() == 0 and alone.calls("registry.sh") == ["start", "stop"]
    assert alone.state_file("registry").read_bytes() == b"0\0"


def test_h15_command_given_up_with_control_c_leaves_no_service_called_started(
    alone: ClusterDir,
) -> None:
    """Ctrl-C in `service -A registry start`: the daemon continues, unfreeze is refused, STARTED
    means that the script ran.
    """
    alone.ok("service -A registry force-stop")
    start = subprocess.Popen(
        [str(alone.path("bin/service")), "-A", "registry", "start"],
        env=alone.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    alone.wait_state("registry", "START_READY")
    start.send_signal(signal.SIGINT)
    assert start.wait(LIMIT_S) == 130
    assert "Cannot UNFREEZE" in alone.fails("service -A registry unfreeze", 5)
    assert alone.calls("registry.sh") == []
    alone.wait_state("registry", "STARTED")
    assert alone.calls("registry.sh") == ["start"]


@pytest.mark.parametrize("damage", [b"x\n", None, "a directory"])
def test_h16_damaged_state_file_of_a_running_service_starts_nothing(
    cluster_dir: ClusterDir, damage: object
) -> None:
    """Garbage, removed or replaced while it runs: STARTED stays.

    After a restart the wrapper reports up: frozen as running.
    """
    cluster_dir.add("registry", "echo up")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    path = cluster_dir.state_file("registry")
    path.unlink()
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    elif damage is not None:
        path.mkdir()
    assert cluster_dir.state("registry") == "STARTED"
    cluster_dir.kill()
    cluster_dir.ok("ezha start")
    cluster_dir.wait(
        lambda: "STATE file" in cluster_dir.ok("service -s -v"), "the damage is reported"
    )
    cluster_dir.wait_state("registry", "FROZEN_START")
    assert cluster_dir.calls("registry.sh") == []


@pytest.mark.parametrize("how", ["command", "by hand"])
def test_h20_running_service_is_never_forgotten(cluster_dir: ClusterDir, how: str) -> None:
    """Removed from the services while STARTED: refused, or kept and announced as STARTED.

    Added again it is what it was.
    """
    cluster_dir.add("registry", "echo up")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    services = cluster_dir.path("conf/services")
    line = services.read_text()
    if how == "command":
        assert "is STARTED on this node: stop it first" in cluster_dir.fails(
            "service -r registry", 5
        )
        assert services.read_text() == line
    else:
        services.write_text("# nothing\n")
        cluster_dir.wait(lambda: "kept until it is stopped" in cluster_dir.log(), "it is kept")
        assert cluster_dir.state("registry") == "STARTED"
        services.write_text(line)
        stays(
            lambda: cluster_dir.state("registry"),
            lambda seen: seen == "STARTED",
            CONFIG_POLL_S + 0.5,
        )
    assert cluster_dir.state("registry") == "STARTED"
    assert {"start", "stop"}.isdisjoint(cluster_dir.calls("registry.sh"))


def test_h21_scripts_and_what_they_start_can_be_ended_by_signals(cluster_dir: ClusterDir) -> None:
    """A process that a start script leaves behind ignores none of SIGINT, SIGQUIT, SIGTERM, and
    ends at a SIGTERM.
    """
    left = cluster_dir.root / "left"
    cluster_dir.add("registry", f"case $1 in stop) sleep 300 & echo $! > {left};; esac")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.ok("service -A registry freeze-stop")
    pid = int(left.read_text())
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        ignored = next(int(line.split()[1], 16) for line in file if line.startswith("SigIgn"))
    # A shell that runs a command in the background has it ignore SIGINT and SIGQUIT; the service's
    # own doing.
    assert not ignored >> (signal.SIGTERM - 1) & 1
    os.kill(pid, signal.SIGTERM)
    cluster_dir.wait(
        lambda: not os.path.exists(f"/proc/{pid}") or " Z " in open(f"/proc/{pid}/stat").read(),
        "it ends",
    )
    mask = cluster_dir.root / "mask"
    cluster_dir.add("web", f"grep SigIgn /proc/self/status > {mask}")
    cluster_dir.ok("service -A web force-start")
    cluster_dir.ok("service -A web freeze-stop")
    ignored = int(mask.read_text().split()[1], 16)
    assert not any(
        ignored >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
    )


def test_h21_daemon_of_a_parent_that_ignores_signals_knows_how_scripts_end(
    cluster_dir: ClusterDir,
) -> None:
    """Started where SIGCHLD and others are ignored or blocked: a failed check-up is no success, and
    scripts get signals.
    """
    mask = cluster_dir.root / "mask"
    cluster_dir.add("registry", check="/bin/false")
    cluster_dir.add("web", f"grep -E 'SigBlk|SigIgn' /proc/self/status > {mask}")

    def ignore_signals() -> None:
        for number in _OFTEN_IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    command = [sys.executable, "-m", "opensvc_openha", "nmond"]
    env = {**cluster_dir.env, "EZ": str(cluster_dir.root)}
    subprocess.run(command, env=env, preexec_fn=ignore_signals, check=True, timeout=LIMIT_S)
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait_state("registry", "START_FAILED")
    assert cluster_dir.calls("registry.sh") == []
    cluster_dir.ok("service -A web force-start")
    cluster_dir.ok("service -A web freeze-stop")
    blocked, ignored = (int(line.split()[1], 16) for line in mask.read_text().splitlines())
    assert blocked == 0
    assert [number for number in _OFTEN_IGNORED if ignored >> (number - 1) & 1] == []


@needs_root
@pytest.mark.parametrize("action", ["force-stop", "stop"])
def test_h23_ordinary_user_changes_nothing_and_gets_an_error(
    open_cluster_dir: ClusterDir, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """`service -A registry force-stop` as nobody: exit code 5, one line, no script as nobody, the
    state stays.
    """
    cluster = open_cluster_dir
    cluster.add("registry")
    cluster.ok("ezha start")
    cluster.ok("service -A registry force-start")
    monkeypatch.setenv("EZ", str(cluster.root))
    # Whatever a command imports is imported here: the child may not be able to read it.
    assert cli.main(["service", "-i", "registry"]) == 0 and configuration.read_services(
        find_layout(os.environ, os.path.exists)
    )
    assert as_nobody(lambda: cli.main(["service", "-A", "registry", action])) == (
        5,
        "only root may change the cluster",
    )
    assert cluster.state("registry") == "STARTED" and cluster.calls("registry.sh") == []
    assert cluster.state_file("registry").read_bytes() == b"2\0"


def test_h25_links_are_removed_and_actions_on_all_services_end_with_zero(
    cluster_dir: ClusterDir,
) -> None:
    """`hb -r` removes the very link from file and daemon.

    `service -A ACTION` is 0 if all did it, not 0 if one did not.
    """
    cluster_dir.add("registry")
    cluster_dir.add("web")
    cluster_dir.ok("ezha start")
    words = cluster_dir.path("conf/monitor").read_text().splitlines()[0].split()
    cluster_dir.ok(f"hb -r -n {words[0]} -t {words[1]} -i {words[2]} -d {words[3]} -p {words[4]}")
    assert words[4] not in cluster_dir.path("conf/monitor").read_text()
    cluster_dir.wait(
        lambda: "unicast sender" not in cluster_dir.ok("hb -s"), "the daemon has dropped it"
    )
    assert (
        cluster_dir.run(
            f"hb -r -n {words[0]} -t {words[1]} -i {words[2]} -d {words[3]} -p {words[4]}"
        ).returncode
        != 0
    )
    cluster_dir.ok("service -A force-start")
    cluster_dir.ok("service -A web freeze-start")
    done = cluster_dir.run("service -A freeze-start")
    assert done.returncode != 0 and "registry FROZEN-START" in done.stdout and "web" in done.stderr


def test_h25_exit_codes_show_what_did_not_happen(cluster_dir: ClusterDir) -> None:
    """No daemon: `hb -s` is not 0.

    A service that cannot be stopped: `ezha stop` ends the daemon, names it, and is not 0.
    """
    assert cluster_dir.run("hb -s").returncode == 4
    cluster_dir.add("registry", "case $1 in stop) echo device busy; exit 1;; esac")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    done = cluster_dir.run("ezha stop")
    assert done.returncode == 6 and "registry STOP_FAILED" in done.stderr
    assert cluster_dir.pid() == 0
