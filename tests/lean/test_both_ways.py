"""What the lean client prints is what the full command prints: each command is run both ways.

Against a control socket of this process, which serves a status that the test has made.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest

from opensvc_openha import __version__
from opensvc_openha.cli import main as cli
from opensvc_openha.cli.rendering import CommandRenderer
from opensvc_openha.cli.service import ACTIONS, raise_unanswered
from opensvc_openha.cli.streams import ends_soon, error_text
from opensvc_openha.cli.views import view_of
from opensvc_openha.control import protocol
from opensvc_openha.control.rendering import Asked, Rendered
from opensvc_openha.control.server import ControlServer
from opensvc_openha.core.actions import Answer, AnswerCode
from opensvc_openha.core.events import Command
from opensvc_openha.core.outlook import Finding, Severity
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding, PredictedPart
from opensvc_openha.errors import (
    NotAnsweringError,
    NotRunningError,
    OpenhaError,
    RefusedError,
    UsageError,
)
from opensvc_openha.formats.layout import find_layout, tree_layout
from opensvc_openha.lean import client
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.history_file import HistoryFile
from opensvc_openha.system import clock as system_clock
from opensvc_openha.system.peer_credentials import Caller
from opensvc_openha.system.self_command import package_parent, start_script
from opensvc_openha.system.unix_socket_path import ShortPath
from tests.control.noted_daemon import NotedDaemon
from tests.control.test_status_lines import STATUS as BASE
from tests.waiting import LIMIT_S, until

UP, DOWN = ServiceState.STARTED, ServiceState.STOPPED
READS = [
    *("service -s", "service -s -c", "service -sc", "service -c", "service -s -v", "service -v"),
    *("service -c -v", "hb -s", "hb -s -v", "hb -v -s", "status", "ezha status"),
    *(
        "service -s --json",
        "service --json",
        "service --json -v -c",
        "hb -s --json",
        "hb --json -s",
    ),
]
REPORTS = [
    *("why web", "why db", "history", "history web", "history -n 3", "history web -n 7"),
    *("history -n 500 db", "history gone"),
]


class Printed(NamedTuple):
    """What a command did: both outputs, and its exit code."""

    out: str
    err: str
    code: int


class Daemon(NotedDaemon):
    """Serves ``found`` and ``newest``, and notes orders alone, also those that it refuses."""

    def __init__(self) -> None:
        super().__init__(replace(BASE, age_s=0.0))

    def status(self) -> NodeStatus:
        return self.found

    def newest_status(self) -> NodeStatus:
        if self.error is not None:
            raise self.error
        return self.found

    def recent(self) -> list[Entry]:
        return self.newest

    def act(
        self,
        command: Command,
        services: list[str] | None,
        answers: queue.SimpleQueue[Answer],
        caller: Caller,
    ) -> int:
        self.orders.append((command, services, caller.order_reason))
        if self.error is not None:
            raise self.error
        for answer in self.answers:
            answers.put(answer)
        return sum(answer.is_last for answer in self.answers)


class Bench:
    """A cluster directory with a served control socket."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = tree_layout(str(root))
        self.daemon = Daemon()
        self.env = {"EZ": str(root)}
        os.makedirs(self.layout.proc_dir)
        os.makedirs(self.layout.conf_dir)
        Path(self.layout.nodes_file).write_text("deb1\ndeb2\n")
        Path(self.layout.services_file).write_text(
            "".join(f"{name}\t/bin/true\tdeb1\tdeb2\t/bin/true\n" for name in ("web", "db"))
        )
        self.server = ControlServer(
            self.layout.control_socket, self.daemon, CommandRenderer(self.layout)
        )
        self.server.open()

    def lean(self, *words: str, **env: str) -> Printed | None:
        """Run the lean client; None if it leaves the command to the package."""
        found: list[int | None] = []
        environ = {key.encode(): value.encode() for key, value in {**self.env, **env}.items()}

        def run() -> None:
            found.append(client.run(list(words), environ, __version__))

        out, err = printed(run)
        return None if found[0] is None else Printed(out, err, found[0])

    def full(self, *words: str) -> Printed:
        """Run the whole command in this process."""
        codes: list[int] = []

        def run() -> None:
            with mock.patch.dict(os.environ, self.env):
                try:
                    codes.append(cli.main(list(words)))
                except OpenhaError as error:
                    sys.stdout.flush()
                    sys.stderr.write(error_text(error))
                    codes.append(error.exit_code)

        out, err = printed(run)
        return Printed(out, err, codes[0])


def printed(run: Callable[[], None]) -> tuple[str, str]:
    """Return what is written to both standard streams, by number or by object."""
    parts = []
    with contextlib.ExitStack() as files:
        for number, name in ((1, "stdout"), (2, "stderr")):
            kept = os.dup(number)
            files.callback(os.close, kept)
            file = files.enter_context(open(os.memfd_create(name), "w+", encoding="utf-8"))
            os.dup2(file.fileno(), number)
            files.callback(os.dup2, kept, number)
            parts.append(file)
        with contextlib.redirect_stdout(parts[0]), contextlib.redirect_stderr(parts[1]):
            run()
        found = []
        for file in parts:
            file.flush()
            file.seek(0)
            found.append(file.read())
    return found[0], found[1]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Without another layout's variables, and without a reason."""
    for name in list(os.environ):
        if name.startswith(("EZ", "OSVC", "OPENHA_", "TZ")):
            monkeypatch.delenv(name)
    made = Bench(tmp_path / "ez")
    yield made
    made.server.close()


def statuses() -> Iterator[NodeStatus]:
    """Statuses with each part of them there and missing, and with unexpected texts."""
    texts = ("", "exited with 3: Gerät\tfehlt\n\x1b[31m", "sur\udce9rogate")
    ages, standings = (0.0, 3.25), tuple(PeerStanding)
    svc, link = BASE.services[0], BASE.links[0]
    for number, (text, age_s, is_up) in enumerate(itertools.product(texts, ages, (True, False))):
        services = (
            replace(svc, reason=text, own_state=list(ServiceState)[number % len(ServiceState)]),
            replace(svc, name="db", primary_state=DOWN, disks=text, peer_disks=text),
            replace(
                svc, name="x" * 63, ready="no", ready_text=text, predicted_s=1.0,
                predicted_parts=(PredictedPart("start", 1.5),), last_takeover_s=2.0,
                last_takeover_at=1.8e9,
            ),
        )  # fmt: skip
        yield replace(
            BASE,
            age_s=age_s,
            peer_standing=standings[number % len(standings)],
            peer_reason=text,
            warnings=(text, "one") if text else (),
            services=services[: number % 4],
            links=(replace(link, is_up=is_up, reason=text), replace(link, updated_at=None)),
            findings=(Finding(Severity.WARNING, "deb1", "", "clock", text, "do"),),
            checked_at=1.5e9,
        )


def test_every_read_prints_the_same_both_ways(bench: Bench) -> None:
    """To the byte, with the same warnings and exit code; also for an engine that hangs."""
    for status in statuses():
        bench.daemon.found = status
        for words in READS:
            lean = bench.lean(*words.split())
            assert lean is not None and lean == bench.full(*words.split()), (words, status)
            assert lean.code == (4 if status.age_s else 0)


def test_read_of_another_user_shows_what_the_full_command_shows_there(bench: Bench) -> None:
    """Without what scripts printed; each text is made once for one status."""
    bench.daemon.found = replace(BASE, age_s=0.0, warnings=("exited with 1 (token 4711)",))
    stranger = Caller(4711, os.getuid() + 1)
    words = ["service", "-s", "-v"]
    request: dict[str, object] = {"do": "render", "version": __version__, "words": words}
    shared = bench.server._newest_status

    (line, again) = (asked(bench, request, stranger) for _ in range(2))
    seen = protocol.status_from_json(json.loads(shared.line())["status"])
    view = view_of(words)
    assert view is not None and "4711" not in view(seen)
    assert line == again == protocol.frame(Rendered(view(seen)))
    shared._fresh_until = system_clock.monotonic()
    bench.daemon.found = replace(BASE, age_s=0.0, peer_reason="another one")
    assert b"another one" in asked(bench, request, stranger)


def asked(bench: Bench, request: Mapping[str, object], caller: Caller) -> bytes:
    """Return all that a request is answered with."""
    here, there = socket.socketpair()
    with here:
        here.sendall(json.dumps(request).encode() + b"\n")
        assert bench.server._places.take(caller)
        bench.server._serve(there, caller)
        return here.makefile("rb").read()


def fill(bench: Bench) -> None:
    """Write a history of 40 entries; the daemon has two more."""
    entries = [
        Entry(
            1.7e9 + number,
            float(number),
            EntryKind.SERVICE if number % 3 else EntryKind.SCRIPT,
            ("web", "db", "gone")[number % 5 % 3],
            "STOPPED" if number % 2 else "STARTED",
            "STARTED" if number % 2 else "STOPPED",
            f"operator: {number} é\x1b[31m",
            is_alarm=number % 7 == 0,
            number=0,
        )
        for number in range(42)
    ]
    file = HistoryFile(bench.layout.history_dir, "m")
    file.append(entries[:40], 1_000)
    file.close()
    bench.daemon.newest = entries[38:]


def test_every_report_prints_the_same_both_ways(bench: Bench) -> None:
    """From the files and from what the daemon has not written yet; of a hung engine, too."""
    fill(bench)
    for age_s in (0.0, 2.5):
        svc = replace(BASE.services[0], own_state=ServiceState.STOPPED, since=1.7e9)
        services = (svc, replace(svc, name="db"))
        bench.daemon.found = replace(BASE, age_s=age_s, services=services)
        for words in REPORTS:
            lean = bench.lean(*words.split())
            assert lean is not None and lean == bench.full(*words.split()), words
            assert lean.code == 0 and lean.out.count("\n") > 2


@pytest.mark.parametrize("words", ["why none", "history none", "history -n 0", "history -n 501"])
def test_report_that_fails_or_takes_long_is_left_to_the_package(bench: Bench, words: str) -> None:
    """It has the message, and the time."""
    fill(bench)
    assert bench.lean(*words.split()) is None


@pytest.mark.parametrize("words", ["why web", "history"])
def test_report_of_another_user_is_left_to_the_package(bench: Bench, words: str) -> None:
    """The file is root's, or its group's: the user's own rights count."""
    request = {"do": "render", "version": __version__, "words": words.split()}
    assert b'"error"' in asked(bench, request, Caller(4711, os.getuid() + 1))


def test_report_that_hangs_keeps_no_place_of_another_connection(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history's disk hangs: the next report is left to the command, and orders get through."""
    has_begun, disk = threading.Event(), threading.Event()

    def hang(_: Asked) -> Rendered:
        has_begun.set()
        assert disk.wait(LIMIT_S)
        return Rendered("late")

    monkeypatch.setattr(bench.server._renderer, "report", lambda _: hang)
    request = {"do": "render", "version": __version__, "words": ["why", "web"]}
    try:
        with connected(bench, request) as first:
            assert has_begun.wait(LIMIT_S)
            with connected(bench, request) as second:
                second.settimeout(LIMIT_S)
                assert json.loads(second.makefile("rb").readline())["code"] == UsageError.exit_code
            until(lambda: bench.server._places._taken == 1)
            disk.set()
            assert first.makefile("rb").read() == protocol.frame(Rendered("late"))
    finally:
        disk.set()


def connected(bench: Bench, request: Mapping[str, object]) -> socket.socket:
    """Return a connection on which this was sent."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with ShortPath(bench.layout.control_socket) as path:
        made.connect(path)
    made.sendall(json.dumps(request).encode() + b"\n")
    return made


def test_no_text_of_root_waits_for_the_status_of_another_user(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine hangs for a moment, and another user has asked first."""
    has_begun, engine, newest = threading.Event(), threading.Event(), bench.daemon.newest_status

    def hang() -> NodeStatus:
        has_begun.set()
        assert engine.wait(LIMIT_S)
        return newest()

    monkeypatch.setattr(bench.daemon, "newest_status", hang)
    request = {"do": "render", "version": __version__, "words": ["service", "-s"]}
    answers: list[bytes] = []
    stranger = threading.Thread(
        target=lambda: answers.append(asked(bench, request, Caller(4711, os.getuid() + 1)))
    )
    stranger.start()
    try:
        assert has_begun.wait(LIMIT_S)
        monkeypatch.setattr(bench.daemon, "newest_status", newest)
        with connected(bench, request) as own:
            own.settimeout(LIMIT_S)
            text = own.makefile("rb").read()
    finally:
        engine.set()
        stranger.join()
    view = view_of(["service", "-s"])
    assert view is not None
    assert answers == [text] == [protocol.frame(Rendered(view(bench.daemon.found)))]


def test_report_is_not_made_for_a_caller_who_has_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command was impatient, and makes it itself."""
    made: list[Asked] = []

    def report(daemon: Asked) -> Rendered:
        made.append(daemon)
        return Rendered("text")

    monkeypatch.setattr(bench.server._renderer, "report", lambda _: report)
    request: dict[str, object] = {"do": "render", "version": __version__, "words": ["why", "web"]}
    assert asked(bench, request, Caller(os.getpid(), 0)) == protocol.frame(Rendered("text"))
    assert len(made) == 1
    here, there = socket.socketpair()
    here.sendall(json.dumps(request).encode() + b"\n")
    here.close()
    assert bench.server._places.take(Caller(os.getpid(), 0))
    bench.server._serve(there, Caller(os.getpid(), 0))
    assert len(made) == 1


WORDS = [
    "", "service", "service -s -x", "service -i web", "service -r web",
    "service -a web", "service --help", "hb", "hb -v", "hb --json", "hb -a", "status -v", "ezha",
    "ezha start", "ezha status status", "service -A", "service -A bogus", "service -A web bogus",
    "service -A web stop now", "service -A web stop --force", "service -A --help start",
    "service -A -x stop", "service -A --reason stop", "service -A --reason=why stop",
    "nmond -f", "openha", "why", "why -x",
    "why web db", "why --json web", "history -n", "history -n x", "history -n 0",
    "history -n 501", "history web db",
    "history -n 5 web db", "history --since 10m", "history -n 5 -n 6", "history --both",
    "history -n 1000", "history web -n 5", "history -n 5 web", "history -n5",
    *READS,
    *REPORTS,
    *(f"service -A {action}" for action in (*ACTIONS, "FREEZE-STOP")),
    *(f"service -A web {action}" for action in (*ACTIONS, "FREEZE-STOP")),
]  # fmt: skip


@pytest.mark.parametrize("words", WORDS)
def test_both_know_the_same_command_lines(bench: Bench, words: str) -> None:
    """What the client asks for is what the daemon words."""
    typed = words.split()
    renderer = CommandRenderer(bench.layout)
    is_asked = client._request(typed, {}, "1", client._is_order(typed)) is not None
    caller = Caller(os.getpid(), 0)
    known = renderer.view(typed) or renderer.report(typed) or renderer.order(typed, caller)
    assert is_asked == (known is not None)


ENVIRONMENTS = [
    dict(zip(("EZ", "EZ_CONF", "EZ_VAR", "EZ_LOG"), values))
    for values in itertools.product(
        (None, "", "{0}/ez", "{0}/ez/", "{0}/usr/lib/openha", "{0}/none", "/", "{0}/file"),
        (None, "", "/x/conf"),
        (None, "", "/x/var", "{0}/ez"),
        (None, "/x/log"),
    )
]


@pytest.mark.parametrize("existing", [[], ["/etc/openha"], ["/usr/local/cluster/conf"]], ids=str)
def test_both_find_the_same_socket(
    existing: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With any of the variables, and in each of the usual layouts."""
    for name in ("ez", "usr/lib/openha"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").touch()
    genuine = client._exists

    def exists(path: bytes) -> bool:
        return path.decode() in existing if path in _USUAL else genuine(path)

    monkeypatch.setattr(client, "_exists", exists)
    for values in ENVIRONMENTS:
        env = {name: text.format(tmp_path) for name, text in values.items() if text is not None}
        found = client.socket_path({name.encode(): text.encode() for name, text in env.items()})
        if env.get("EZ") and not Path(env["EZ"]).is_dir():
            assert found is None, env  # The package has the message.
        else:
            layout = find_layout(env, existing.__contains__)
            assert found == layout.control_socket.encode(), env


_USUAL = (b"/usr/local/cluster/conf", b"/etc/openha")


# orders


def an_answer(word: AnswerCode, is_last: bool = True, is_ok: bool = True) -> Answer:
    return Answer(0, "stop", "web", word, UP, DOWN, "why", is_last, is_ok)


REFUSED = an_answer(AnswerCode.REFUSED, is_ok=False)
FAILED = an_answer(AnswerCode.FAILED, is_ok=False)
ENDS = [
    [an_answer(AnswerCode.READY_STOP, is_last=False), an_answer(AnswerCode.STOPPED)],
    [REFUSED],
    [FAILED],
    [an_answer(AnswerCode.READY_STOP, is_last=False), FAILED, REFUSED],
    [an_answer(AnswerCode.STOPPED), REFUSED],
]


@pytest.mark.parametrize("answers", ENDS)
@pytest.mark.parametrize("words", ["-A web unfreeze", "-A Web STOP", "-A start", "-A web stop"])
def test_every_order_is_given_once_and_prints_the_same_both_ways(
    bench: Bench, words: str, answers: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers, what was refused or failed, and the exit code."""
    monkeypatch.setattr("opensvc_openha.agent.host.mount_users.uses_root_alone", lambda _: True)
    bench.daemon.answers = answers
    typed = ["service", *words.split()]
    lean, orders = bench.lean(*typed), list(bench.daemon.orders)
    bench.daemon.orders.clear()
    full = bench.full(*typed)
    if "Web" in typed:
        assert lean is None and not orders and full.code == 3
    else:
        assert lean == full and orders == bench.daemon.orders and len(orders) == 1


@pytest.mark.parametrize("error", [RefusedError("this node has no service"), ValueError("why")])
def test_error_of_an_order_is_printed_the_same_both_ways(bench: Bench, error: Exception) -> None:
    """An unexpected one, too: the order may have been taken, and is not given again."""
    bench.daemon.error = error
    lean = bench.lean("service", "-A", "start")
    assert lean == bench.full("service", "-A", "start") and len(bench.daemon.orders) == 2


@pytest.mark.parametrize(
    "words, env, reason",
    [
        ("-A web start", {"OPENHA_REASON": "CHG-12"}, "CHG-12"),
        ("-A web start --reason CHG-13", {"OPENHA_REASON": "CHG-12"}, "CHG-13"),
        ("-A web start --reason=CHG-13", {}, "CHG-13"),
        ("-A web start", {"OPENHA_REASON": ""}, ""),
    ],
)
def test_reason_of_an_order_comes_with_it(
    bench: Bench, words: str, env: dict[str, str], reason: str
) -> None:
    """Typed, or in the environment."""
    bench.daemon.answers = [an_answer(AnswerCode.STARTED)]
    lean = bench.lean("service", *words.split(), **env)
    assert lean is not None and lean.code == 0
    assert bench.daemon.orders == [(Command.START, ["web"], reason)]


@pytest.mark.parametrize(
    "reason", ["", " ", "é", 'a "quoted" one', "x" * 201, "two\nlines", "a\\b"]
)
def test_reason_that_does_not_fit_is_left_to_the_package(bench: Bench, reason: str) -> None:
    """It reports what is wrong with it, or sends it; the daemon hears nothing meanwhile."""
    words = ["service", "-A", "web", "start", "--reason", reason]
    assert bench.lean(*words) is None and bench.lean(*words[:-2], f"--reason={reason}") is None
    assert bench.daemon.orders == []


@pytest.mark.parametrize("words", ["-A --help start", "-A --reason stop", "-A -x stop"])
def test_option_is_no_name_of_a_service(
    bench: Bench, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parser reports it, or shows the help."""
    assert bench.lean("service", *words.split()) is None and bench.daemon.orders == []
    with mock.patch.dict(os.environ, bench.env):
        try:
            code = cli.main(["service", *words.split()])
        except (SystemExit, OpenhaError) as ended:
            code = ended.exit_code if isinstance(ended, OpenhaError) else int(str(ended.code or 0))
    assert code == (0 if "--help" in words else 2)
    assert ("Usage" in capsys.readouterr().out) == ("--help" in words)
    assert bench.daemon.orders == []


def test_stop_whose_caller_may_be_in_its_file_system_is_left_to_the_package(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at the service file; an order that unmounts nothing needs no look."""
    monkeypatch.setattr("opensvc_openha.agent.host.mount_users.uses_root_alone", lambda _: False)
    bench.daemon.answers = [an_answer(AnswerCode.STOPPED)]
    for action in ("stop", "freeze-stop"):
        assert bench.lean("service", "-A", "web", action) is None
    assert bench.daemon.orders == []
    assert bench.lean("service", "-A", "web", "freeze-start") is not None


def test_only_root_gives_orders(bench: Bench) -> None:
    """Another user's is answered before anything is done, for the package to report."""
    words = ["service", "-A", "web", "start"]
    request: dict[str, object] = {"do": "render", "version": __version__, "words": words}
    answer = json.loads(asked(bench, request, Caller(4711, os.getuid() + 1)))
    assert answer == {"error": "only root may change the cluster", "code": 5}
    assert bench.daemon.orders == []


# what does not go as it should


class FakeDaemon:
    """Takes one connection, reads its request and answers with these bytes."""

    def __init__(self, root: Path, answer: bytes) -> None:
        self._path = tree_layout(str(root)).control_socket
        self._answer = answer
        os.makedirs(os.path.dirname(self._path))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(self._path)
        self._socket.listen()

    def serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            assert connection.recv(4096).endswith(b"}\n")
            connection.sendall(self._answer)

    def close(self) -> None:
        self._socket.close()


def ask_fake(root: Path, answer: bytes, words: str) -> int | None:
    """Run the lean client against a daemon that answers so."""
    daemon = FakeDaemon(root, answer)
    thread = threading.Thread(target=daemon.serve)
    thread.start()
    try:
        return client.run(words.split(), {b"EZ": str(root).encode()}, "1")
    finally:
        thread.join()
        daemon.close()


OLDER = b'{"error": "unknown request", "code": 2}\n'


@pytest.mark.parametrize("answer", [OLDER, b"", b"OPENHA1 0 10 0\nshort", b"OPENHA2 0 1 0\nx"])
def test_read_that_is_not_answered_well_is_left_to_the_package(
    tmp_path: Path, answer: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """An older daemon, a newer one, one that ends meanwhile: nothing is printed before."""
    assert ask_fake(tmp_path, answer, "service -s") is None
    assert capfd.readouterr() == ("", "")


def test_order_that_an_older_daemon_does_not_know_is_left_to_the_package(tmp_path: Path) -> None:
    """It has done nothing."""
    assert ask_fake(tmp_path, OLDER, "service -A web start") is None


@pytest.mark.parametrize("answer", [b"", b"OPENHA1 - 0 0\n", b"OPENHA1 - 0 0\n{}\n"])
def test_order_without_an_end_is_not_given_again(tmp_path: Path, answer: bytes) -> None:
    """The daemon has ended: whether it took the order is not known."""
    with pytest.raises(client.Unanswered) as caught:
        ask_fake(tmp_path, answer, "service -A web start")
    assert not caught.value.is_late


@pytest.mark.parametrize("is_late", [True, False])
def test_order_without_an_end_is_reported_as_by_the_package(
    bench: Bench, is_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No daemon holds the lock here; one that does not answer in time is reported so."""
    monkeypatch.setenv("EZ", str(bench.root))
    kind = NotAnsweringError if is_late else NotRunningError
    with pytest.raises(kind, match="does not answer" if is_late else "before the action did"):
        raise_unanswered(is_late)


def test_daemon_of_another_version_or_in_another_time_zone_words_nothing(bench: Bench) -> None:
    """The package does: a command prints what its own version prints, in its own time zone."""
    environ = {b"EZ": str(bench.root).encode()}
    assert client.run(["hb", "-s"], environ, "another") is None
    assert bench.lean("hb", "-s", TZ="Asia/Tokyo") is None
    assert bench.lean("hb", "-s") is not None


def test_error_of_a_read_is_left_to_the_package(bench: Bench) -> None:
    """It asks again, and has the message."""
    bench.daemon.error = NotAnsweringError("the engine does not answer")
    assert bench.lean("service", "-s") is None
    assert bench.full("service", "-s").code == 4


def test_no_daemon_is_left_to_the_package(tmp_path: Path) -> None:
    """No socket, no directory."""
    for root in (tmp_path, tmp_path / "none"):
        assert client.run(["service", "-s"], {b"EZ": str(root).encode()}, "1") is None


# the process


def ran(*words: str, env: dict[str, str], **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the script of the launchers."""
    return subprocess.run(
        [sys.executable, "-I", "-S", *more.pop("options", ()), start_script(), *words],
        capture_output=True,
        text=True,
        env=env,
        timeout=LIMIT_S,
        **more,
    )


def test_usual_commands_load_no_more_than_the_client(bench: Bench) -> None:
    """What a read and an order import: a list, so that it grows on purpose."""
    bench.daemon.answers = [an_answer(AnswerCode.STARTED)]
    bare = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", "-c", ""], capture_output=True, text=True
    )
    for words in ("service -s -c", "service -A web start"):
        done = ran(*words.split(), env=bench.env, options=["-X", "importtime"])
        assert done.returncode == 0 and done.stdout, done
        assert imported(done.stderr) - imported(bare.stderr) <= {
            "_socket",
            "opensvc_openha",
            "opensvc_openha.lean",
            "opensvc_openha.lean.client",
            "opensvc_openha.lean.entry",
        }


def imported(report: str) -> set[str]:
    """Return the modules in a report of ``-X importtime``."""
    lines = [line for line in report.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines[1:]}


def test_package_that_the_client_leaves_a_command_to_is_whole(bench: Bench) -> None:
    """Started without `site`, it finds what it depends on, as with it; nothing is asked before."""
    done = ran("--version", env=bench.env)
    assert (done.returncode, done.stdout) == (0, f"opensvc-openha {__version__}\n"), done
    show = "import sys, configobj, psutil; print(sys.path, sys.prefix)"
    python = [sys.executable, "-I"]
    usual = subprocess.run([*python, "-c", show], capture_output=True, text=True)
    script = (
        f"import sys; sys.argv[1:] = ['--version']; __file__ = {start_script()!r}\n"
        f"try: exec(open(__file__).read())\nexcept SystemExit: pass\n{show}"
    )
    done = subprocess.run([*python, "-S", "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[1:] == usual.stdout.splitlines(), done


@pytest.mark.parametrize("number", [0, 1, 2])
def test_command_with_a_closed_stream_is_left_to_the_package(bench: Bench, number: int) -> None:
    """A socket would get its number."""
    name = ("stdin", "stdout", "stderr")[number]
    with mock.patch.object(sys, name, None):
        found = client.run(["hb", "-s"], {b"EZ": str(bench.root).encode()}, __version__)
    assert found is None


@pytest.mark.parametrize(
    "words, is_so",
    [
        *(("svcmon", True), ("svcmon -v", True), ("svcmon --watch", False), ("svcmon -vw", False)),
        *(("svcmgr -s a print status", True), ("svcmgr -s a --cluster status", True)),
        *(("svcmgr -s a --cluster start", True), ("svcmgr -s a docker ps", False)),
        *(("service -s --json", True), ("service -A web stop", False), ("", False), ("ps", False)),
        *(("ezha status", True), ("ezha start", False), ("demo", False), ("nmond -f", False)),
    ],
)
def test_command_that_ends_soon_is_not_taken_apart(words: str, is_so: bool) -> None:
    """Not what runs for long; of what changes something the agent's actions, which a takeover
    waits for.
    """
    assert ends_soon(words.split()) == is_so


@pytest.mark.parametrize(
    "words, text", [("service -A web start", "see `service -s -c`"), ("hb -s", "")]
)
def test_interrupt_ends_the_command_alone(
    bench: Bench, words: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C: exit code 130; of an order, that the daemon continues it."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "_frame", interrupt)
    found = bench.lean(*words.split())
    assert found is not None and found.code == 130 and found.out == ""
    assert text in found.err and bool(found.err) == bool(text)


def test_output_that_cannot_be_written_is_an_error(bench: Bench) -> None:
    """A full disk is reported, with the exit code of the package; a closed pipe is none."""
    full = ["sh", "-c", f'exec "{sys.executable}" -I -S "{start_script()}" hb -s >/dev/full']
    done = subprocess.run(full, capture_output=True, text=True, env=bench.env)
    assert (done.returncode, done.stderr) == (
        7,
        "cannot write the output: No space left on device\n",
    )
    reader, writer = os.pipe()
    os.close(reader)
    python = [sys.executable, "-I", "-S", start_script()]
    with os.fdopen(writer, "wb") as pipe:
        closed = subprocess.run(
            [*python, "hb", "-s"], stdout=pipe, stderr=subprocess.PIPE, env=bench.env
        )
    assert (closed.returncode, closed.stderr) == (0, b"")


def test_text_that_the_locale_cannot_encode_is_reported_as_by_the_package(bench: Bench) -> None:
    """One line, and no traceback."""
    services = (replace(BASE.services[0], name="gerät"),)
    bench.daemon.found = replace(BASE, age_s=0.0, services=services)
    python = [sys.executable, "-I", "-X", "utf8=0"]
    env = {**bench.env, "LC_ALL": "C"}
    lean, full = (
        subprocess.run([*python, *how, "service", "-s"], capture_output=True, text=True, env=env)
        for how in (["-S", start_script()], ["-c", _WITHOUT_THE_CLIENT])
    )
    assert (lean.returncode, lean.stderr) == (full.returncode, full.stderr)
    assert lean.stderr.startswith("unexpected UnicodeEncodeError: "), lean
    assert lean.stderr.count("\n") == 1 and lean.stdout == ""


_WITHOUT_THE_CLIENT = (
    f"import sys; sys.path.insert(0, {package_parent()!r})\n"
    "from opensvc_openha.cli import main; main.console()"
)
