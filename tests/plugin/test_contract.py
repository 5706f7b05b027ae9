"""What every driver of the 1.x lines must do, under every Python of the line, against the minimal
host.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
from typing import Any

import pytest

from opensvc_openha.agent.values.cluster_client import finding_of_state
from opensvc_openha.core.states import ServiceState
from opensvc_openha.plugin import openha_driver
from opensvc_openha.plugin.openha_driver import States, finding
from opensvc_openha.system.unix_socket_path import ShortPath
from tests.plugin.minimal_agent import HERE, PEER, Host
from tests.plugin.status_table import STATUS_OF, UP, WARN

NEVER_S = 3600.0
SAFETY_NET = "this service is managed by a clusterware"


# own, peer, action -> calls in their order, exception, part of its message
MOVES = [
    (
        "frozen_stop",
        "frozen_stop",
        "start",
        ["own unfreeze", "peer thaw"],
        "excEndAction",
        "heartbeat actions done",
    ),
    (
        "frozen_stop",
        "stopped",
        "start",
        ["peer freeze", "own unfreeze", "peer thaw"],
        "excEndAction",
        "done",
    ),
    ("started", "stopped", "start", [], "excEndAction", "already started"),
    ("started", "started", "start", [], "excError", "already started on peer node"),
    (
        "frozen_start",
        "frozen_stop",
        "start",
        ["own unfreeze", "peer thaw"],
        "excEndAction",
        "done",
    ),
    ("starting", "stopped", "start", ["peer freeze", "peer thaw"], "excEndAction", "done"),
    ("stopped", "started", "start", [], "excError", "already started on peer node"),
    ("frozen_stop", "start_failed", "start", [], "excError", "start_failed on peer node"),
    ("frozen_stop", "start_ready", "start", [], "excError", "start_ready on peer node"),
    ("start_failed", "stopped", "start", [], "excError", "start_failed on local node"),
    ("stop_failed", "stopped", "start", [], "excError", "stop_failed on local node"),
    (
        "started",
        "stopped",
        "stop",
        ["peer stop", "own freeze-stop"],
        "excEndAction",
        "heartbeat actions done",
    ),
    (
        "started",
        "frozen_stop",
        "stop",
        ["own freeze-stop"],
        "excEndAction",
        "heartbeat actions done",
    ),
    (
        "stopped",
        "started",
        "stop",
        ["own freeze-stop", "peer stop"],
        "excEndAction",
        "heartbeat actions done",
    ),
    ("frozen_stop", "frozen_stop", "stop", [], "excEndAction", "already frozen stop"),
    (
        "started",
        "stopped",
        "switch",
        ["peer stop", "own freeze-stop", "peer start", "own unfreeze"],
        "excEndAction",
        "done",
    ),
    (
        "started",
        "frozen_stop",
        "switch",
        [],
        "excError",
        "remote state is frozen_stop, can't relocate service",
    ),
    (
        "frozen_stop",
        "started",
        "switch",
        ["peer stop", "own unfreeze", "peer thaw"],
        "excEndAction",
        "done",
    ),
    (
        "stopped",
        "stopped",
        "switch",
        [],
        "excError",
        "cannot switch in current state: stopped/stopped",
    ),
    ("started", "stopped", "freeze", ["peer freeze", "own freeze-start"], "", ""),
    ("stopped", "started", "freeze", ["own freeze-stop", "peer freeze"], "", ""),
    ("frozen_stop", "frozen_start", "freeze", [], "", ""),
    (
        "starting",
        "stopped",
        "freeze",
        [],
        "excError",
        "starting on local node: cannot be frozen now",
    ),
    ("frozen_start", "frozen_stop", "thaw", ["own unfreeze", "peer thaw"], "", ""),
    ("frozen_stop", "frozen_start", "thaw", ["peer thaw", "own unfreeze"], "", ""),
    ("started", "stopped", "thaw", [], "", ""),
    ("started", "stopped", "restart", [], "excError", SAFETY_NET),
    ("started", "stopped", "shutdown", [], "excEndAction", "shutdown action is not allowed"),
]


def test_every_state_has_the_status_of_the_embedded_agent() -> None:
    """Each state of the engine: the real agents show the same status and reason as the embedded
    one.
    """
    for state in ServiceState:
        word, lines = finding(States(state.name.lower(), "stopped", "live"))
        assert (word, tuple(lines)) == (
            finding_of_state(state).status.value,
            finding_of_state(state).log,
        )


def test_each_state_gives_the_status_and_reason_of_the_reference(host: Host) -> None:
    """The daemon reports each state in turn, and the agent keeps statuses: the live one shows, in
    one round trip each.
    """
    daemon = host.daemon()
    for count, (state, (number, lines)) in enumerate(STATUS_OF.items(), 1):
        host.set_states(state, "stopped")
        answer = host.ask("status") if count == 1 else _after_the_kept_answer(host)
        assert (answer["status"], answer["lines"]) == (number, lines), state
        assert (answer["type"], answer["label"]) == ("hb.openha", "hb.openha")
    assert daemon.asked == len(STATUS_OF)


def _after_the_kept_answer(host: Host) -> dict[str, Any]:
    import time

    time.sleep(openha_driver.ANSWER_KEPT_S + 0.02)
    return host.ask("status")


def test_a_service_the_cluster_does_not_know_is_a_warning(host: Host) -> None:
    """The daemon answers without this service: no state is known."""
    host.daemon({"status": {"services": [], "peer_standing": "live"}})
    answer = host.ask("status")
    assert (answer["status"], answer["lines"]) == STATUS_OF["unknown"]


def test_no_action_is_driven_for_a_service_the_cluster_does_not_know(host18: Host) -> None:
    """The daemon answers without this service: every action is refused with what to do, nothing is
    asked of anybody.
    """
    status = {"node": HERE, "peer": PEER, "pid": 1, "peer_standing": "live", "links": []}
    host18.daemon({"status": {**status, "services": []}})
    for action in ("start", "stop", "switch", "freeze", "thaw"):
        answer = host18.ask(action)
        assert (
            answer["code"] == 1
            and "the cluster does not know the service registry on this node" in answer["message"]
        ), action
    assert host18.made_calls() == []


def test_without_a_daemon_the_status_reports_it(host: Host) -> None:
    """The socket of a killed daemon is still there, or none ever was: not running."""
    host.write_state_files(b"2\0", b"0\0")
    assert host.ask("status")["lines"] == ["open-ha daemons are not running"]
    host.daemon().close()
    host._daemon = None
    answer = _after_the_kept_answer(host)
    assert (answer["status"], answer["lines"]) == (WARN, ["open-ha daemons are not running"])


@pytest.mark.parametrize(
    "stored,shown",
    [(b"2\0", "started"), (b"7\0FROZEN_START\n", "frozen_start"), (b"6\n", "frozen_stop")],
)
def test_a_daemon_that_does_not_answer_is_reported_with_the_last_state(
    host18: Host, stored: bytes, shown: str
) -> None:
    """The daemon accepts but does not answer, as when stopped: a warning with the STATE file's
    word.
    """
    daemon = host18.daemon()
    daemon.delay_s = NEVER_S
    host18.write_state_files(stored, b"0\0")
    answer = host18.ask("status")
    assert answer["lines"] == [
        f"open-ha daemon does not answer, last cluster service status was {shown}"
    ]
    assert answer["status"] == WARN


def test_a_busy_daemon_is_waited_for(host18: Host) -> None:
    """The daemon takes a quarter of a second to answer: it is no stopped one, its answer counts."""
    host18.daemon().delay_s = 0.25
    host18.set_states("started", "stopped")
    assert host18.ask("status")["status"] == UP


@pytest.mark.parametrize(
    "reply",
    [
        {"error": "unknown request 'status': this daemon may be older than the command", "code": 2},
        {"states": {"registry": 2}},
        {"status": {"services": "registry"}},
        [1, 2],
        b"service registry STARTED\n",
        b"[" * 200000 + b"\n",
        {"status": {"services": [{"name": "registry", "own_state": 0, "peer_state": 2}]}},
        {
            "status": {
                "services": [
                    {"name": "registry", "own_state": {"is": "STOPPED"}, "peer_state": None}
                ]
            }
        },
        {
            "status": {
                "services": [
                    {
                        "name": "registry",
                        "own_state": "STOPPED\n\x1b[31mSTARTED",
                        "peer_state": "STARTED",
                    }
                ]
            }
        },
        {
            "status": {
                "services": [
                    {"name": "registry", "own_state": "GEL\u00c9", "peer_state": "STARTED"}
                ]
            }
        },
    ],
    ids=[
        "refuses",
        "other words",
        "other shape",
        "no object",
        "no JSON",
        "too deep",
        "numbers",
        "objects",
        "two lines",
        "no ASCII",
    ],
)
def test_a_daemon_of_another_version_gives_the_state_of_its_files(
    host: Host,
    reply: bytes
    | dict[str, dict[str, int]]
    | dict[str, dict[str, list[dict[str, dict[str, str] | str | None]]]]
    | dict[str, dict[str, list[dict[str, int | str]]]]
    | dict[str, dict[str, list[dict[str, str]]]]
    | dict[str, dict[str, str]]
    | dict[str, int | str]
    | list[int],
) -> None:
    """The daemon answers in a way this driver cannot read: its STATE file has the state."""
    host.daemon(reply)
    host.write_state_files(b"2\0", b"0\0")
    answer = host.ask("status")
    assert (answer["status"], answer["lines"]) == (UP, [])


def test_an_older_answer_without_standing_is_enough(host: Host) -> None:
    """A daemon that does not report the peer's standing yet: status and need_stonith work on the
    states.
    """
    host.daemon(
        {
            "status": {
                "services": [{"name": "registry", "own_state": "STARTED", "peer_state": "STOPPED"}]
            }
        }
    )
    assert host.ask("status")["status"] == UP
    assert host.ask("stonith", fence=["/bin/false"])["code"] == 0


def test_an_engine_that_hangs_is_no_answer(host18: Host) -> None:
    """The socket's thread reports that the engine does not answer: shown like a stopped daemon."""
    host18.daemon({"error": "the engine does not answer", "code": 4})
    host18.write_state_files(b"0\0", b"0\0")
    assert host18.ask("status")["lines"] == [
        "open-ha daemon does not answer, last cluster service status was stopped"
    ]


@pytest.mark.parametrize("text", ["", "{", "[]"], ids=["empty", "torn", "no object"])
def test_a_damaged_installation_gives_a_line_and_no_traceback(host18: Host, text: str) -> None:
    """The file of places is damaged: the status reports that nothing is installed, an action ends
    with that line.
    """
    (host18.home / "lib" / "openha_driver.json").write_text(text)
    assert host18.ask("status")["lines"] == ["open-ha is not installed"]
    answer = host18.ask("stop")
    assert (answer["kind"], answer["message"]) == ("excError", "open-ha is not installed")


@pytest.mark.parametrize(
    "own,peer,action,calls,kind,message", MOVES, ids=[f"{m[2]}-{m[0]}-{m[1]}" for m in MOVES]
)
def test_an_action_drives_both_nodes_in_the_right_order(
    host18: Host, own: str, peer: str, action: str, calls: list[str], kind: str, message: str
) -> None:
    """Each action in each situation: what is asked of the daemon and of the peer, in what order,
    and how it ends.
    """
    host18.daemon()
    host18.set_states(own, peer)
    answer = host18.ask(action)
    assert host18.made_calls() == calls
    if kind == "" and action in ("freeze", "thaw"):
        assert answer["code"] == 0, answer
    else:
        assert answer["kind"] == kind and message in answer["message"], answer


def test_each_line_has_its_actions_done_by_the_resource(host: Host) -> None:
    """A stop without --cluster: the 1.5 refuses it, every later line stops and freezes both nodes,
    the peer first.
    """
    host.daemon()
    host.set_states("started", "stopped")
    answer = host.ask("stop")
    if host.line == "1.5":
        assert SAFETY_NET in answer["message"] and host.made_calls() == []
    else:
        assert (answer["kind"], answer["unlocked"]) == ("excEndAction", 1)
        assert host.made_calls() == ["peer stop", "own freeze-stop"]


def test_the_clusters_own_call_and_a_scoped_one_do_not_drive_the_cluster(host: Host) -> None:
    """`start --cluster`, called by the daemon, and a start of some resources: nothing is asked of
    anybody.
    """
    host.daemon()
    host.set_states("starting", "frozen_stop")
    for action in ("start", "stop", "switch"):
        assert host.ask(action, cluster=True)["code"] == 0
    if host.line in ("1.7", "1.8"):
        assert host.ask("start", scoped=True)["code"] == 0
    assert host.made_calls() == []


def test_a_call_from_the_peer_stays_on_this_node(host: Host) -> None:
    """`stop --remote`, `freeze --remote`: the peer is not asked in its turn."""
    host.daemon()
    for action, call in (("freeze", "own freeze-stop"), ("thaw", "own unfreeze")):
        host.set_states("stopped" if action == "freeze" else "frozen_stop", "started")
        host.ask(action, remote=True)
        assert host.made_calls()[-1:] == [call]
    assert not [call for call in host.made_calls() if call.startswith("peer")]


def test_a_command_that_fails_ends_the_action_with_its_output(host18: Host) -> None:
    """The daemon refuses freeze-stop, or the peer fails: exit code 1, and their output is
    logged.
    """
    host18.daemon()
    host18.states.write_text(
        json.dumps(
            {
                "own": "started",
                "peer": "frozen_stop",
                "standing": "live",
                "own fails": "freeze-stop",
            }
        )
    )
    answer = host18.ask("stop")
    assert answer["code"] == 1 and "freeze-stop failed with exit code 6" in answer["message"]
    assert any("it does not want to" in line for line in answer["log"])
    host18.states.write_text(
        json.dumps({"own": "started", "peer": "stopped", "standing": "live", "peer fails": "stop"})
    )
    assert "'stop --remote' failed on node peer.opensvc.com" in host18.ask("stop")["message"]


@pytest.mark.parametrize(
    "body, reason",
    [("echo no interpreter >&2; exit 126", "no interpreter"), ("kill -9 $$", "failed with exit")],
)
def test_a_package_that_cannot_run_is_an_error_and_nothing_is_done(
    host: Host, body: str, reason: str
) -> None:
    """The command of this package fails before it can refuse: exit code 1 with what it printed, or
    with its exit code.
    """
    if host.line == "1.5":
        pytest.skip("the 1.5 asks no driver")
    host.daemon()
    host.set_states("started", "stopped")
    (host.ez / "bin" / "openha").write_text(f"#!/bin/sh\n{body}\n")
    for action in ("stop", "freeze"):
        answer = host.ask(action)
        assert (answer["code"], answer["kind"], answer["done"]) == (1, "excError", [])
        assert reason in answer["message"]
    (host.ez / "bin" / "openha").unlink()
    assert "No such file" in host.ask("stop")["message"] and host.made_calls() == []


def test_a_switch_to_a_peer_that_left_stops_nothing(host18: Host) -> None:
    """Its daemon has ended: the service would run nowhere."""
    host18.daemon()
    host18.set_states("started", "stopped", "left")
    answer = host18.ask("switch")
    assert (answer["code"], answer["message"]) == (1, f"cannot switch: the peer {PEER} is left")
    assert host18.made_calls() == []


@pytest.mark.parametrize("peer, standing", [("unknown", "silent"), ("stopped", "left")])
def test_an_unheard_peer_does_not_keep_the_service_from_being_stopped(
    host18: Host, peer: str, standing: str
) -> None:
    """The peer cannot be reached: the service is stopped and frozen here all the same, with a
    warning.
    """
    host18.daemon()
    host18.set_states("started", peer, standing, peer_fails="stop")
    answer = host18.ask("stop")
    assert answer["kind"] == "excEndAction"
    assert host18.made_calls() == ["peer stop", "own freeze-stop"]
    assert any(f"is {standing}, it is not frozen: when" in line for line in answer["log"])


def test_no_action_is_driven_without_a_daemon(host18: Host) -> None:
    """Start, stop, freeze with the daemon gone: refused with the reason, nothing is asked of the
    peer.
    """
    host18.write_state_files(b"2\0", b"0\0")
    for action in ("start", "stop", "switch", "freeze", "thaw"):
        answer = host18.ask(action)
        assert (answer["code"], answer["message"]) == (1, "open-ha daemons are not running")
    assert host18.made_calls() == []


def test_freezestop_is_queued_behind_the_action(host: Host) -> None:
    """The monitor action: the agent holds its lock, so the command is queued and runs
    afterwards.
    """
    host.daemon()
    answer = host.ask("freezestop")
    assert answer["queue"] == [[str(host.ez / "bin" / "service"), "-A", "registry", "freeze-stop"]]


@pytest.mark.parametrize(
    "peer,standing,code", [("unknown", "silent", 1), ("started", "live", 0), ("stopped", "left", 0)]
)
def test_a_fencing_command_that_fails_fails_the_action_where_it_is_needed(
    host: Host, peer: str, standing: str, code: int
) -> None:
    """`stonith` with a command that fails: an error if the peer is not known to be alive, not run
    otherwise.
    """
    host.daemon()
    host.set_states("start_ready", peer, standing)
    answer = host.ask("stonith", fence=["/bin/false"], cluster=True)
    assert answer["code"] == code
    assert ("fencing failed" in answer["message"]) == bool(code)
    assert host.ask("stonith", fence=["/bin/true"], cluster=True)["code"] == 0


def test_the_wrappers_are_put_right_with_each_status(host: Host) -> None:
    """Missing, a link of the agent, or changed: both scripts are ours again after a status."""
    for kind in ("cluster", "stonith"):
        host.wrapper(kind).unlink()
    host.wrapper("cluster").symlink_to("/bin/true")
    host.ask("status")
    for kind in ("cluster", "stonith"):
        text = host.wrapper(kind).read_text()
        assert (
            openha_driver.MARK in text
            and "registry.opensvc.com" in text
            and "@" not in text.replace('"$@"', "")
        )
        assert os.access(host.wrapper(kind), os.X_OK) and not host.wrapper(kind).is_symlink()


def test_a_kept_summary_goes_only_when_it_is_no_longer_so(host18: Host) -> None:
    """The 1.8 keeps all statuses in one file: it goes when it has another hb status, and stays
    when it is right.
    """
    host18.daemon()
    summary = host18.home / "var" / "registry.opensvc.com" / "status.json"
    host18.set_states("started", "stopped")
    summary.write_text(json.dumps({"resources": {"hb#0": {"status": "up", "log": ""}}}))
    assert host18.ask("freezestop")["summary"]
    summary.write_text(
        json.dumps(
            {
                "resources": {
                    "hb#0": {"status": "warn", "log": "warn: cluster service status is starting"}
                }
            }
        )
    )
    assert not host18.ask("freezestop")["summary"]
    summary.write_text("{")
    assert not host18.ask("freezestop")["summary"]


def hold_lock(host: Host, pid: int) -> None:
    """Names a process as that of the daemon."""
    path = host.ez / "services" / ".proc" / "nmond.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{pid}\n")


class Rude:
    """Takes connections and ends each without an answer: at once with a reset, or with the end of
    the stream.
    """

    def __init__(self, path: str, is_reset: bool) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with ShortPath(path) as short:
            self._socket.bind(short)
        self._socket.listen(8)
        self._is_reset = is_reset
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                # What was not read makes the kernel reset the connection.
                connection.recv(1 if self._is_reset else 4096)

    def close(self) -> None:
        """It does not listen any more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.mark.parametrize("ends", ["resets", "closes", "listens no more"])
@pytest.mark.parametrize("is_held", [True, False])
def test_a_daemon_that_holds_its_lock_runs_whatever_becomes_of_connections(
    host: Host, ends: str, is_held: bool
) -> None:
    """Reset, closed without a word, or the socket is bound again just now: not running only where
    the lock is free.
    """
    hold_lock(host, os.getpid())
    host.write_state_files(b"2\0", b"0\0")
    listener = Rude(host.socket_path, ends == "resets")
    if ends == "listens no more":
        listener.close()
    with open(host.ez / "services" / ".proc" / "nmond.lock") as lock:
        if is_held:
            fcntl.flock(lock, fcntl.LOCK_EX)
        answer = host.ask("status")
    if ends != "listens no more":
        listener.close()
    line = (
        "open-ha daemon does not answer, last cluster service status was started"
        if is_held
        else "open-ha daemons are not running"
    )
    assert (answer["status"], answer["lines"]) == (WARN, [line])


def test_a_daemon_that_runs_is_waited_for_longer(host18: Host) -> None:
    """A loaded machine: the daemon's process runs, and its answer comes after the limit for one
    that is not known.
    """
    host18.daemon().delay_s = openha_driver.ANSWER_LIMIT_S + 0.4
    host18.set_states("started", "stopped")
    host18.write_state_files(b"0\0", b"0\0")
    assert host18.ask("status")["lines"] == [
        "open-ha daemon does not answer, last cluster service status was stopped"
    ]
    host18.end_agent()
    hold_lock(host18, os.getpid())
    assert (host18.ask("status")["status"], host18.ask("status")["lines"]) == (UP, [])


def test_a_daemon_that_was_stopped_is_not_waited_for(host18: Host) -> None:
    """SIGSTOP: reported with the STATE file's word, however long a running one might take."""
    process = subprocess.Popen(["sleep", "60"])
    try:
        process.send_signal(signal.SIGSTOP)
        host18.daemon().delay_s = NEVER_S
        host18.write_state_files(b"2\0", b"0\0")
        hold_lock(host18, process.pid)
        assert "last cluster service status was started" in host18.ask("status")["lines"][0]
    finally:
        process.kill()
        process.wait()


DRY_RUNS = [
    (
        "started",
        "stopped",
        "stop",
        ["would ask node peer.opensvc.com to stop --remote", "freeze-stop"],
    ),
    (
        "started",
        "stopped",
        "switch",
        ["would ask node peer.opensvc.com to start --remote", "freeze-stop"],
    ),
    (
        "stopped",
        "started",
        "switch",
        ["would ask node peer.opensvc.com to stop --remote", "would start service registry here"],
    ),
    ("frozen_stop", "frozen_stop", "start", ["unfreeze"]),
    (
        "started",
        "stopped",
        "freeze",
        ["would ask node peer.opensvc.com to freeze --remote", "freeze-start"],
    ),
    (
        "frozen_start",
        "frozen_stop",
        "thaw",
        ["unfreeze", "would ask node peer.opensvc.com to thaw --remote"],
    ),
    ("started", "stopped", "freezestop", ["freeze-stop"]),
]


@pytest.mark.parametrize(
    "own,peer,action,plan", DRY_RUNS, ids=[f"{each[2]}-{each[0]}" for each in DRY_RUNS]
)
def test_a_dry_run_asks_no_peer(
    host: Host, own: str, peer: str, action: str, plan: list[str]
) -> None:
    """`--dry-run` of each action: what would be done is logged, and neither daemon nor peer is
    asked.
    """
    if host.line == "1.5":
        pytest.skip("the 1.5 asks no driver and has no --dry-run")
    host.daemon()
    host.set_states(own, peer)
    answer = host.ask(action, dry_run=True)
    assert host.made_calls() == []
    if action != "freezestop":
        assert (answer["code"], answer["kind"], answer["message"]) == (
            0,
            "excEndAction",
            "dry run: nothing was done",
        )
        assert answer["done"] == []
    assert answer["queue"] == []
    for text in plan:
        assert any(text in line for line in answer["log"]), answer["log"]


def test_a_dry_run_of_an_action_that_cannot_be_done_reports_it(host18: Host) -> None:
    """A switch from a state that allows none: the same refusal as without --dry-run."""
    host18.daemon()
    host18.set_states("stopped", "stopped")
    answer = host18.ask("switch", dry_run=True)
    assert (answer["code"], answer["message"]) == (
        1,
        "cannot switch in current state: stopped/stopped",
    )


def test_a_dry_run_reaches_the_resource_where_the_agent_would_not_ask_it(host: Host) -> None:
    """The 1.6 and the 1.7 print what a resource would do, and continue with the next: this one ends
    the action instead.
    """
    host.daemon()
    host.set_states("started", "stopped")
    answer = host.ask("action_main", word="stop", dry_run=True)
    assert (answer["kind"], host.made_calls()) == ("excEndAction", [])
    assert host.ask("action_main", word="stop", dry_run=True, cluster=True)["code"] == 0


@pytest.mark.parametrize(
    "action,own,peer",
    [("start", "frozen_stop", "frozen_stop"), ("switch", "frozen_stop", "started")],
)
def test_a_start_that_fails_here_is_a_failure_of_the_action(
    host: Host, action: str, own: str, peer: str
) -> None:
    """The start begins and then fails: exit code 1 with the daemon's reason, and the peer is
    thawed.
    """
    if host.line == "1.5":
        pytest.skip("the 1.5 asks no driver")
    host.daemon()
    host.set_states(
        own, peer, own_start_ends="start_failed", reason="start script exited with 1 (no such disk)"
    )
    answer = host.ask(action)
    assert answer["code"] == 1
    assert (
        answer["message"] == "start_failed on local node: start script exited with 1 (no such disk)"
    )
    assert host.made_calls()[-1] == "peer thaw"


def test_a_switch_whose_start_fails_on_the_peer_is_a_failure(host18: Host) -> None:
    """The peer's agent may have ended with 0, as an older driver does: the state of the peer
    counts.
    """
    host18.daemon()
    host18.set_states("started", "stopped", peer_start_ends="start_failed")
    answer = host18.ask("switch")
    assert (answer["code"], answer["message"]) == (
        1,
        "start_failed on peer node: see the log of the service there",
    )


def test_a_start_gives_the_lock_back_before_it_waits(host: Host) -> None:
    """The daemon's own call of the agent takes the action lock that this one may hold."""
    if host.line == "1.5":
        pytest.skip("the 1.5 asks no driver")
    host.daemon()
    host.set_states("frozen_stop", "frozen_stop")
    assert host.ask("start")["unlocked"] == 1


SWITCHES = [
    (
        "started",
        "stopped",
        PEER,
        ["peer stop", "own freeze-stop", "peer start", "own unfreeze"],
        "excEndAction",
        "done",
    ),
    (
        "started",
        "stopped",
        PEER.upper(),
        ["peer stop", "own freeze-stop", "peer start", "own unfreeze"],
        "excEndAction",
        "done",
    ),
    ("started", "stopped", HERE, [], "excEndAction", "already started on node"),
    ("stopped", "started", PEER, [], "excEndAction", "already started on node"),
    (
        "frozen_stop",
        "started",
        HERE,
        ["peer stop", "own unfreeze", "peer thaw"],
        "excEndAction",
        "done",
    ),
    (
        "started",
        "stopped",
        "third.opensvc.com",
        [],
        "excError",
        "--to third.opensvc.com: not a node of the service",
    ),
]


@pytest.mark.parametrize(
    "own,peer,to,calls,kind,message", SWITCHES, ids=[f"{each[0]}-{each[2]}" for each in SWITCHES]
)
def test_a_switch_goes_to_the_named_node(
    host: Host, own: str, peer: str, to: str, calls: list[str], kind: str, message: str
) -> None:
    """`switch --to NODE`: to the other node as without it, nowhere if it runs there, an error for a
    node it does not have.
    """
    if host.line == "1.5":
        pytest.skip("the 1.5 asks no driver")
    host.daemon()
    host.set_states(own, peer)
    answer = host.ask("switch", to=to)
    assert host.made_calls() == calls
    assert answer["kind"] == kind and message in answer["message"]


def test_a_start_on_another_node_is_refused(host18: Host) -> None:
    """`start --to PEER` would start it here."""
    host18.daemon()
    host18.set_states("frozen_stop", "frozen_stop")
    answer = host18.ask("start", to=PEER)
    assert answer["code"] == 1 and "switch --to" in answer["message"] and host18.made_calls() == []


@pytest.mark.parametrize(
    "action,own,call",
    [("freeze", "started", "own freeze-start"), ("thaw", "frozen_start", "own unfreeze")],
)
@pytest.mark.parametrize(
    "peer,standing", [("unknown", "silent"), ("frozen_stop", "left"), ("stopped", "left")]
)
def test_a_dead_peer_does_not_stop_a_freeze_half_way(
    host: Host, action: str, own: str, call: str, peer: str, standing: str
) -> None:
    """The peer cannot be reached: this node is frozen or thawed all the same, and the agent does
    its own part.
    """
    host.daemon()
    host.set_states(own, peer, standing, peer_fails=action, code=255)
    answer = host.ask(action)
    assert (answer["code"], answer["done"]) == (0, [action]), answer
    assert call in host.made_calls()


def test_a_live_peer_that_cannot_be_reached_is_an_error_that_names_ssh(host18: Host) -> None:
    """Exit code 255 of ssh itself: the message names ssh and node.

    Any other code is that of the agent there.
    """
    host18.daemon()
    host18.set_states(
        "started", "stopped", peer_fails="stop", code=255, output="Host key verification failed."
    )
    answer = host18.ask("stop")
    assert answer["message"] == f"ssh to node {PEER} failed: 'stop --remote' was not done there"
    assert f"{PEER}: Host key verification failed." in answer["log"]


def test_texts_that_are_not_ascii_break_nothing(host: Host) -> None:
    """Daemon and peer speak German: their output is logged, and the action ends as it must, also
    under Python 2.
    """
    if host.line == "1.5":
        pytest.skip("the 1.5 asks no driver")
    host.daemon()
    host.set_states(
        "started", "frozen_stop", own_fails="freeze-stop", output="Ger\u00e4t belegt: \u2026"
    )
    answer = host.ask("stop")
    assert answer["code"] == 1 and "freeze-stop failed with exit code 6" in answer["message"]
    assert any("Ger\u00e4t belegt: \u2026" in line for line in answer["log"])
    host.set_states("started", "stopped", peer_fails="stop", output="Ger\u00e4t belegt")
    assert "'stop --remote' failed" in host.ask("stop")["message"]
    host.set_states(
        "frozen_stop", "frozen_stop", own_start_ends="start_failed", reason="Ger\u00e4t belegt"
    )
    assert host.ask("start")["message"] == "start_failed on local node: Ger\u00e4t belegt"


@pytest.mark.parametrize("text", [None, "def broken(:\n"], ids=["missing", "torn"])
def test_without_the_shared_file_the_safety_net_holds(host: Host, text: str | None) -> None:
    """lib/openha_driver.py is gone or torn: a warning, an operator's actions refused, the cluster's
    own calls go through.
    """
    shared = host.home / "lib" / "openha_driver.py"
    shared.unlink()
    if text is not None:
        shared.write_text(text)
    missing = "lib/openha_driver.py cannot be loaded: run `openha agent install`"
    answer = host.ask("status")
    assert (answer["status"], answer["lines"]) == (WARN, [missing])
    for action in ("start", "stop", "switch", "freeze", "thaw", "freezestop", "stonith"):
        answer = host.ask(action)
        wanted = (
            SAFETY_NET if host.line == "1.5" and action in ("start", "stop", "switch") else missing
        )
        assert answer["kind"] == "excError" and wanted in answer["message"], action
    for action in ("start", "stop"):
        assert host.ask(action, cluster=True)["code"] == 0
    assert host.made_calls() == []


def test_a_status_that_is_shown_from_files_makes_the_wrappers_too(host18: Host) -> None:
    """The 1.8 shows what it keeps: deleted wrappers are there again before the cluster needs
    one.
    """
    host18.daemon()
    for kind in ("cluster", "stonith"):
        host18.wrapper(kind).unlink()
    host18.ask("build")
    for kind in ("cluster", "stonith"):
        assert os.access(host18.wrapper(kind), os.X_OK)
