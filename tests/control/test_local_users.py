"""What any local user may do to a real daemon: look at it, and nothing that a decision or another
user would feel.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.cli import ezha
from opensvc_openha.control import client
from opensvc_openha.formats.layout import tree_layout
from tests.cluster_dir import ClusterDir
from tests.local_user import as_nobody, connections, needs_root, run_as_nobody
from tests.peer_voice import PeerVoice

HUGE_LINES = {
    "lists": b"[" + b"[]," * 5_300_000 + b"1]\n",
    "nested": b"[" * 8_000_000 + b"\n",
    "one number": b"9" * 8_000_000 + b"\n",
    "without an end": b" " * 15_000_000,
}


@pytest.fixture
def opened(open_cluster_dir: ClusterDir) -> ClusterDir:
    """A daemon with a service that runs, in directories through which any user may pass."""
    open_cluster_dir.add("registry")
    open_cluster_dir.ok("ezha start")
    open_cluster_dir.ok("service -A registry force-start")
    return open_cluster_dir


@pytest.fixture
def voice(opened: ClusterDir) -> Iterator[PeerVoice]:
    """The peer."""
    made = PeerVoice(opened)
    yield made
    made.close()


def memory_kb(cluster: ClusterDir, what: str) -> int:
    """Of the daemon: VmHWM is the most it ever had."""
    text = Path(f"/proc/{cluster.pid()}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(what))


def ask(cluster: ClusterDir, request: object) -> dict[str, object]:
    """One request of root and the first answer to it."""
    line = request if isinstance(request, bytes) else json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(20)
        connection.connect(str(cluster.path("services/.proc/nmond.sock")))
        with contextlib.suppress(OSError):
            connection.sendall(line + b"\n")
        answer = connection.makefile("rb").readline()
    found = json.loads(answer)
    assert isinstance(found, dict)
    return found


@needs_root
@pytest.mark.parametrize("kind", sorted(HUGE_LINES))
def test_huge_line_of_any_user_is_neither_read_nor_parsed(
    opened: ClusterDir, voice: PeerVoice, kind: str
) -> None:
    """Megabytes of JSON from nobody, four at once: no memory is taken, and the beats continue
    meanwhile, as the peer hears.
    """
    before_kb = memory_kb(opened, "VmHWM")
    gaps: list[float] = []
    is_over = threading.Event()

    def listen() -> None:
        last = time.monotonic()
        voice._ear.settimeout(10)
        while not is_over.is_set():
            voice._ear.recv(65_536)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    senders = []
    with connections(opened, 4) as made:
        for connection in made:
            sender = threading.Thread(
                target=_pour, args=(connection, HUGE_LINES[kind]), daemon=True
            )
            sender.start()
            senders.append(sender)
        for sender in senders:
            sender.join(30)
            assert not sender.is_alive(), "the daemon hangs up at once"
    is_over.set()
    thread.join(12)
    assert memory_kb(opened, "VmHWM") - before_kb < 10_000
    assert "STALLED" not in opened.log() and opened.state("registry") == "STARTED"
    assert len(gaps) >= 1


def _pour(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)
        while connection.recv(65_536):
            pass


@needs_root
def test_any_user_is_refused_before_more_than_a_short_line_is_read(opened: ClusterDir) -> None:
    """257 bytes without an end from nobody: an answer that reports it, and the end of the
    connection, nothing awaited.
    """
    with connections(opened, 1, b" " * 257) as made:
        answer = json.loads(made[0].makefile("rb").readline())
    assert answer == {"error": "not a request: longer than 256 bytes", "code": 2}


@needs_root
def test_drop_by_drop_ends_at_a_total_deadline(opened: ClusterDir) -> None:
    """A byte now and then, each before a limit of its own would end: the connection is closed all
    the same.
    """
    with connections(opened, 1) as made:
        give_up = time.monotonic() + 20
        with contextlib.suppress(OSError):
            while time.monotonic() < give_up:
                made[0].sendall(b" ")
                time.sleep(0.3)
        assert time.monotonic() < give_up, "it is kept open without end"


@needs_root
def test_slow_connections_of_one_user_keep_no_other_user_out(
    opened: ClusterDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody holds all the connections it can get: root and another user are served.

    Nobody hears that nmond does not answer.
    """
    monkeypatch.setenv("EZ", str(opened.root))
    layout = tree_layout(str(opened.root))
    assert client.fetch_status(layout).services  # All that the child needs is imported.
    with connections(opened, 100):
        code, output = as_nobody(lambda: client.fetch_status(layout).node, uid=65533)
        assert (code, output) == (0, os.uname().nodename)
        assert opened.state("registry") == "STARTED"
        code, output = as_nobody(lambda: client.fetch_status(layout).node)
        assert code == 4 and "does not answer" in output and "not running" not in output


@needs_root
def test_user_who_may_not_read_the_lock_hears_what_is_so(
    opened: ClusterDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`service -s` as nobody: of a daemon that runs, of one that is stopped by a signal, of one
    that is gone.
    """
    assert run_as_nobody(opened, monkeypatch, "service -s")[0] == 0
    pid = opened.pid()
    os.kill(pid, 19)
    try:
        code, output = run_as_nobody(opened, monkeypatch, "service -s")
        assert (code, "does not answer" in output) == (4, True), output
        code, output = as_nobody(lambda: ezha.main(["kill"]))
        assert (code, "does not answer" in output, "killed" in output) == (4, True, False), output
    finally:
        os.kill(pid, 18)
    # Between two sockets, as while an engine begins again: the lock is held, none listens.
    os.kill(pid, 19)
    os.rename(opened.path("services/.proc/nmond.sock"), opened.path("services/.proc/aside"))
    try:
        code, output = run_as_nobody(opened, monkeypatch, "service -s")
    finally:
        os.rename(opened.path("services/.proc/aside"), opened.path("services/.proc/nmond.sock"))
        os.kill(pid, 18)
    assert (code, "does not answer" in output, "not running" in output) == (4, True, False), output
    opened.kill()
    for command in ("service -s", "ezha kill"):
        code, output = run_as_nobody(opened, monkeypatch, command)
        assert (code, "not running" in output, "pid -1" in output) == (4, True, False), output


@needs_root
def test_full_queue_of_connections_is_no_daemon_that_does_not_run(
    opened: ClusterDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon accepts nothing for a while and the kernel's queue is full: "does not answer", for
    root and nobody.
    """
    monkeypatch.setenv("EZ", str(opened.root))
    layout = tree_layout(str(opened.root))
    client.fetch_status(layout)
    pid = opened.pid()
    os.kill(pid, 19)
    waiting: list[socket.socket] = []
    try:
        for _ in range(1000):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.setblocking(False)
            waiting.append(connection)
            try:
                connection.connect(str(opened.path("services/.proc/nmond.sock")))
            except BlockingIOError:
                break
        else:
            pytest.fail("the queue has no end")
        for code, output in (
            as_nobody(lambda: client.fetch_status(layout).node, uid) for uid in (65534, 0)
        ):
            assert code == 4 and "does not answer" in output, output
    finally:
        for connection in waiting:
            connection.close()
        os.kill(pid, 18)


@needs_root
def test_user_who_asks_without_end_delays_no_beat(opened: ClusterDir, voice: PeerVoice) -> None:
    """Status after status as nobody, on eight connections at once: answered, and no stall is
    noted.
    """
    counts = [0] * 8

    def ask_on(index: int, give_up: float) -> None:
        while time.monotonic() < give_up:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.connect(str(opened.path("services/.proc/nmond.sock")))
                connection.sendall(b'{"do":"status"}\n')
                counts[index] += connection.makefile("rb").readline().startswith(b'{"status"')

    def flood() -> int:
        give_up = time.monotonic() + 3
        threads = [threading.Thread(target=ask_on, args=(index, give_up)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return 0 if min(counts) > 0 else 1

    assert as_nobody(flood) == (0, "")
    assert "STALLED" not in opened.log()


@needs_root
@pytest.mark.parametrize(
    "request_of",
    [
        {"do": "act", "command": "stop", "services": None},
        {"do": "act", "command": "stop", "services": ["registry"]},
        {"do": "reload"},
        {"do": "note", "service": "registry", "word": "x", "reason": "y"},
        {"do": "forget-peer"},
        {"do": "confirm", "node": "deb2"},
        {"do": "fence-look", "path": "ipmi"},
        {"do": "fence-drill", "path": "ipmi", "node": "deb2"},
        {"do": "fence-release"},
        {"do": "leave", "how": "stop"},
    ],
)
def test_any_user_changes_nothing(opened: ClusterDir, request_of: dict[str, object]) -> None:
    """Each request that changes something, as nobody: refused with 5."""
    with connections(opened, 1, json.dumps(request_of).encode() + b"\n") as made:
        answer = json.loads(made[0].makefile("rb").readline())
    assert answer == {"error": "only root may change the cluster", "code": 5}
    assert opened.state("registry") == "STARTED"


MALFORMED: list[object] = [
    {"do": "act", "command": "stop", "services": [{}]},
    {"do": "act", "command": "stop", "services": [["registry"]]},
    {"do": "act", "command": "stop", "services": [None]},
    {"do": "act", "command": "stop", "services": "registry"},
    {"do": "act", "command": "stop", "services": {"registry": 1}},
    {"do": "act", "command": "stop", "services": 7},
    {"do": "act", "command": "stop", "services": ["../../etc"]},
    {"do": "act", "command": "stop", "services": ["registry"] * 1000},
    {"do": "act", "command": ["stop"], "services": None},
    {"do": "act", "command": {}, "services": None},
    {"do": "act", "services": None},
    {"do": "leave"},
    {"do": "leave", "how": ["stop"]},
    {"do": "leave", "how": None},
    {"do": "note", "service": {}, "word": "x"},
    {"do": "note", "service": "registry", "word": 3, "reason": "y"},
    {"do": "note", "service": "registry", "word": "x", "reason": "y", "is_alarm": "yes"},
    {"do": {}},
    {"do": ["status"]},
    {},
    [],
    7,
    None,
    b"",
    b" ",
    b"[" * 5000,
    b"\xff\xfe",
    b'{"do":"status"' + b" " * 9000 + b"}",
    b"9" * 8000,
]


def test_malformed_requests_of_root_are_refused_where_they_enter(opened: ClusterDir) -> None:
    """Wrong types, names and sizes: each answer names the fault, the engine continues deciding."""
    pid = opened.pid()
    for request in MALFORMED:
        if request == b"":
            continue  # An empty line is no request; nothing is answered.
        answer = ask(opened, request)
        assert answer["code"] == 2 and "unexpected" not in str(answer["error"]), (request, answer)
        assert len(str(answer["error"])) < 300
    opened.ok("service -A registry force-stop")
    assert opened.pid() == pid and opened.state("registry") == "STOPPED"
    assert "engine failed" not in opened.log()


def test_note_is_one_line_of_the_log(opened: ClusterDir) -> None:
    """Newlines, terminal sequences and a lone surrogate in a note: escaped, in the log and in the
    history.
    """
    forged = "x\n2026-01-01 00:00:00,000 INFO service registry: STOPPED\x1b[2J\u2028\ud800"
    assert ask(
        opened, {"do": "note", "service": "registry", "word": "RESTARTED\r", "reason": forged}
    ) == {"done": True}
    line = next(line for line in opened.log().split("\n") if "RESTARTED" in line)
    assert "RESTARTED\\r: x\\n2026-01-01" in line and line.endswith("STOPPED\\e[2J\\u2028\\ud800")
    assert "\\n2026" in opened.ok("openha history registry")


@needs_root
def test_output_of_a_failed_script_is_for_root(
    open_cluster_dir: ClusterDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop script that prints something as it fails: root sees it with the password masked,
    nobody only that it failed.
    """
    cluster = open_cluster_dir
    cluster.add(
        "registry",
        'case $1 in stop) echo "login failed: account=x7q1 password=s3cr3t"; exit 3;; esac',
    )
    cluster.ok("ezha start")
    cluster.ok("service -A registry force-start")
    assert cluster.run("service -A registry stop").returncode == 6
    assert "exited with 3 (login failed: account=x7q1 password=***)" in cluster.ok("service -s -v")
    assert cluster.path("log/registry.log").stat().st_mode & 0o777 == 0o640
    cluster.wait(
        lambda: (
            "what it printed is for root" in run_as_nobody(cluster, monkeypatch, "service -s -v")[1]
        ),
        "nobody sees that it failed",
    )
    code, output = run_as_nobody(cluster, monkeypatch, "service -s -v")
    assert (
        code == 0
        and "exited with 3 (what it printed is for root)" in output
        and "x7q1" not in output
    )
    assert "s3cr3t" not in cluster.log() + cluster.ok("openha history")
    code, output = run_as_nobody(cluster, monkeypatch, "history registry")
    assert (
        code == 0
        and "exited with 3 (what it printed is for root)" in output
        and "x7q1" not in output
    )


@needs_root
def test_any_user_gets_history_and_reasons_from_the_daemon(
    opened: ClusterDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`openha history` and `why` as nobody, who may not open the file: the newest entries.

    Without a daemon, why not.
    """
    code, output = run_as_nobody(opened, monkeypatch, "history registry")
    assert code == 0 and "operator: force-start" in output and "its newest entries" in output
    code, part = run_as_nobody(opened, monkeypatch, "fence status --history")
    assert code == 0 and "nothing was ever fenced" in part, part
    assert "only root may read the whole history" in part
    own = opened.ok("openha history registry -n 2").splitlines()
    code, output = run_as_nobody(opened, monkeypatch, "history registry -n 2")
    assert [line for line in output.splitlines() if not line.startswith("only root")] == own
    code, output = run_as_nobody(opened, monkeypatch, "why registry")
    assert code == 0 and "registry: STARTED" in output and "force-start" in output
    opened.kill()
    code, output = run_as_nobody(opened, monkeypatch, "history registry")
    assert (
        code == 7
        and "only root may read the history" in output
        and "nmond is not running" in output
    )


@needs_root
def test_any_user_can_lock_nothing(opened: ClusterDir) -> None:
    """Every file below the cluster directory that nobody can open at all: no lock file and nothing
    of the history among them.
    """
    opened.ok("openha history")

    def open_all() -> str:
        found = []
        for folder, _, names in os.walk(opened.root):
            for name in names:
                with contextlib.suppress(OSError):
                    os.close(os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NONBLOCK))
                    found.append(name)
        return " ".join(found)

    code, output = as_nobody(open_all)
    names = set(output.split())
    assert code == 0 and f"STATE.{os.uname().nodename}" in names
    assert not any("lock" in name or "history" in name or name.endswith(".log") for name in names)
