"""The daemon's end of the control socket, in this process: who may ask what, how it is answered."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import socket
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from opensvc_openha.control import server as module
from opensvc_openha.control.protocol import answer_to_json, status_to_json
from opensvc_openha.control.server import ControlServer, _Places, _Shared
from opensvc_openha.core.actions import Answer, AnswerCode
from opensvc_openha.core.events import BY_MONITOR, BY_OPERATOR, Command, DrillOrder, Leaving
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.errors import RefusedError, SystemFault, UsageError
from opensvc_openha.storage.history_entry import Entry, EntryKind, entry_to_json
from opensvc_openha.system import clock as system_clock
from opensvc_openha.system.peer_credentials import Caller
from tests.control.noted_daemon import PATH, NotedDaemon
from tests.simulated_clock import SimulatedClock
from tests.waiting import LIMIT_S, until

UP, DOWN = ServiceState.STARTED, ServiceState.STOPPED
OUTPUT = "exited with 1 (token 4711)"
HIDDEN = "exited with 1 (what it printed is for root)"
STATUS = NodeStatus(
    "deb1", "deb2", 7, PeerStanding.LIVE, "heard", (),
    (ServiceStatus("web", "deb1", "deb2", UP, DOWN, UP, DOWN, OUTPUT),), (OUTPUT,),
)  # fmt: skip
ENTRY = Entry(1.5, 2.5, EntryKind.SERVICE, "web", "STARTING", "START_FAILED", OUTPUT)
ROOT = Caller(4711, os.getuid())
STRANGER = Caller(4712, os.getuid() + 1)
TOO_LONG = "not a request: it took too long to come"
BUSY = {
    "error": "nmond does not answer: this user has too many connections to it already",
    "code": 4,
}


def play_threads(monkeypatch: pytest.MonkeyPatch, is_refused: bool = False) -> list[Any]:
    """Have the server begin threads that only are noted, or none, as with too many of the user."""
    started: list[Any] = []

    class Thread(threading.Thread):
        def start(self) -> None:
            if is_refused:
                raise RuntimeError("can't start new thread")
            started.append(self)

    monkeypatch.setattr(module, "threading", SimpleNamespace(Thread=Thread, Lock=threading.Lock))
    return started


class Rig:
    """A server that is not open: connections are handed to it."""

    def __init__(self, path: Path) -> None:
        self.daemon = NotedDaemon(STATUS, ENTRY)
        self.path = path
        self.server = ControlServer(str(path), self.daemon)

    def ask(self, request: object, caller: Caller = ROOT) -> list[dict[str, Any]]:
        """Return the lines that answer a request."""
        line = request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n"
        here, there = socket.socketpair()
        with here:
            here.sendall(line)
            assert self.server._places.take(caller)
            if isinstance(request, bytes):
                here.shutdown(socket.SHUT_WR)
            self.server._serve(there, caller)
            return [json.loads(found) for found in here.makefile("rb")]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """In an empty directory."""
    made = Rig(tmp_path / "socket")
    yield made
    made.server.close()
    for thread in threading.enumerate():
        if thread.name in ("control", "request"):
            thread.join()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimulatedClock:
    """The server's."""
    return SimulatedClock(monkeypatch)


# who may ask what


def test_root_sees_all_of_the_status_and_of_the_history(rig: Rig) -> None:
    """Made for this request, with what scripts printed."""
    assert rig.ask({"do": "status"}) == [{"status": json.loads(json.dumps(status_to_json(STATUS)))}]
    assert rig.ask({"do": "history"}) == [{"history": [entry_to_json(ENTRY)]}]
    rig.ask({"do": "status"})
    assert [order[0] for order in rig.daemon.orders] == ["status", "recent", "status"]


def test_any_user_sees_both_without_what_scripts_printed(rig: Rig) -> None:
    """In reasons and in warnings."""
    (found,) = rig.ask({"do": "status"}, STRANGER)
    assert found["status"]["services"][0]["reason"] == HIDDEN
    assert found["status"]["warnings"] == [HIDDEN]
    (found,) = rig.ask({"do": "history"}, STRANGER)
    assert found == {"history": [entry_to_json(replace(ENTRY, reason=HIDDEN))]}


@pytest.mark.parametrize("caller", [ROOT, STRANGER])
def test_who_only_shows_a_status_may_have_an_old_one(rig: Rig, caller: Caller) -> None:
    """Who decides by it gets none that was made for the other."""
    rig.ask({"do": "status", "old": True}, caller)
    rig.ask({"do": "status"}, caller)
    rig.ask({"do": "status", "old": False}, ROOT)
    assert [order[0] for order in rig.daemon.orders] == ["newest status", "status", "status"]


CHANGES = [
    ({"do": "act", "command": "stop", "services": ["web"]}, None),
    ({"do": "reload"}, ("reload", ROOT)),
    ({"do": "started"}, ("started", ROOT)),
    (
        {"do": "note", "service": "web", "word": "fs#1", "reason": "down", "is_alarm": True},
        ("observation", "web", "fs#1", "down", True),
    ),
    ({"do": "forget-peer"}, ("forget", ROOT)),
    ({"do": "confirm", "node": "deb2"}, ("confirm", "deb2", ROOT)),
    ({"do": "fence-look", "path": "ipmi"}, ("look", "ipmi")),
    ({"do": "fence-drill", "path": "ipmi", "node": "deb2"}, ("drill", "ipmi", "deb2", ROOT)),
    ({"do": "fence-release"}, ("release", ROOT)),
    (
        {"do": "drill-order", "order": "hold fences", "seconds": 60},
        ("drill order", DrillOrder.HOLD_FENCES, 60.0, ROOT),
    ),
    ({"do": "drill-order", "order": "speak"}, ("drill order", DrillOrder.SPEAK, 0.0, ROOT)),
    (
        {"do": "drill-note", "word": "link x", "text": "passed", "is_alarm": True},
        ("drill note", "link x", "passed", True, ROOT),
    ),
    ({"do": "leave", "how": "stop"}, ("leave", Leaving.STOP_SERVICES, ROOT.text)),
]  # fmt: skip
ANSWERS = {
    "confirm": [{"done": True, "lines": ["web: started"]}],
    "fence-look": [{"done": True, "path": json.loads(json.dumps(vars(PATH)))}],
    "fence-drill": [{"done": True, "lines": ["off in 2 s"]}],
    "fence-release": [{"done": True, "lines": ["registered"]}],
    "drill-order": [{"done": True, "lines": ["web: started"]}],
}


@pytest.mark.parametrize("request_, order", CHANGES[1:])
def test_root_may_change_the_cluster(
    rig: Rig, request_: dict[str, Any], order: tuple[Any, ...]
) -> None:
    """One order, with who gave it, and one answer."""
    assert rig.ask(request_) == ANSWERS.get(request_["do"], [{"done": True}])
    assert rig.daemon.orders == [order]


@pytest.mark.parametrize(
    "request_, order", [pair for pair in CHANGES if pair[1] and ROOT in pair[1]]
)
def test_reason_of_an_order_comes_with_who_gave_it(
    rig: Rig, request_: dict[str, Any], order: tuple[Any, ...]
) -> None:
    """As one line of bounded length, whatever was sent."""
    rig.ask({**request_, "order_reason": f"CHG\n{'1' * 300}"})
    why = f"CHG\\n{'1' * 300}"[:200]
    expected = tuple(replace(ROOT, order_reason=why) if word is ROOT else word for word in order)
    assert rig.daemon.orders == [expected]
    assert expected[-1].text.endswith(f"(pid 4711, reason: {why})")


def test_reason_that_is_no_text_is_refused(rig: Rig) -> None:
    """Nothing is done."""
    (answer,) = rig.ask({"do": "act", "command": "stop", "order_reason": 12})
    assert "order_reason: expected a text, found 12" in answer["error"]
    assert rig.daemon.orders == []


@pytest.mark.parametrize("request_", [request_ for request_, _ in CHANGES])
def test_no_other_user_may(rig: Rig, request_: dict[str, Any]) -> None:
    """The daemon hears nothing of it."""
    answer = {"error": "only root may change the cluster", "code": RefusedError.exit_code}
    assert rig.ask(request_, STRANGER) == [answer]
    assert rig.daemon.orders == []


@pytest.mark.parametrize(
    "error, answer",
    [
        (RefusedError("it runs web"), {"error": "it runs web", "code": 5}),
        (ValueError("why"), {"error": "unexpected: ValueError: why", "code": 1}),
    ],
)
def test_error_is_answered_with_its_exit_code(
    rig: Rig, error: Exception, answer: dict[str, Any]
) -> None:
    """An unexpected one, too: the caller does not wait for nothing."""
    rig.daemon.error = error
    assert rig.ask({"do": "reload"}) == [answer]


CUT: dict[str, Any] = {"do": "cut-links", "links": ["net eth1:239.131.50.10"], "seconds": 30}


def test_cut_lasts_until_the_daemon_ends_it(rig: Rig, clock: SimulatedClock) -> None:
    """It is looked at again and again, and opened whatever comes."""
    rig.daemon.cut_ends = ["", "", "its time is over"]
    assert rig.ask(CUT) == [{"accepted": True}, {"done": True, "why": "its time is over"}]
    links = tuple(CUT["links"])
    assert rig.daemon.orders == [
        ("cut", links, 30.0, ROOT), *[("look at the cut", links)] * 3, ("end cut",),
    ]  # fmt: skip


def test_cut_ends_with_the_command_that_asked_for_it(rig: Rig) -> None:
    """Killed, it closes its connection: the link is open again at once."""
    rig.daemon.cut_ends = [""] * 1000
    here, there = socket.socketpair()
    assert rig.server._places.take(ROOT)
    serving = threading.Thread(target=rig.server._serve, args=(there, ROOT))
    with here:
        here.sendall(json.dumps(CUT).encode() + b"\n")
        serving.start()
        assert json.loads(here.recv(100)) == {"accepted": True}
        until(lambda: len(rig.daemon.orders), lambda number: number > 1, "looks at the cut")
    serving.join(LIMIT_S)
    assert rig.daemon.orders[-1] == ("end cut",)


def test_cut_that_is_refused_is_none(rig: Rig) -> None:
    """Nothing is opened that another drill may have cut."""
    rig.daemon.error = RefusedError("another drill runs")
    assert rig.ask(CUT) == [{"error": "another drill runs", "code": 5}]
    assert rig.daemon.orders == []


def test_error_of_a_status_for_all_is_answered_with_its_exit_code(rig: Rig) -> None:
    """It is kept as an answer is."""
    rig.daemon.error = RefusedError("it ends")
    assert rig.ask({"do": "status"}, STRANGER) == [{"error": "it ends", "code": 5}]


# commands


def an_answer(service: str, is_last: bool) -> Answer:
    return Answer(0, "stop", service, AnswerCode.STOPPED, UP, DOWN, "", is_last, True)


def test_answers_of_a_command_come_until_each_service_has_given_its_last(rig: Rig) -> None:
    """In the order in which they are given; what comes later is not awaited."""
    given = [
        an_answer("web", False), an_answer("web", True), an_answer("db", True), an_answer("x", True)
    ]  # fmt: skip
    rig.daemon.answers = given
    found = rig.ask({"do": "act", "command": "stop", "services": ["web", "db"]})
    assert found == [
        {"accepted": True},
        *({"answer": answer_to_json(answer)} for answer in given[:3]),
        {"done": True},
    ]
    assert rig.daemon.orders == [("act", Command.STOP, ["web", "db"], ROOT)]


@pytest.mark.parametrize("by", [BY_MONITOR, BY_OPERATOR])
def test_command_for_all_services_names_none(rig: Rig, by: str) -> None:
    """The daemon knows which; and the history whether it was the resource monitor's."""
    rig.daemon.answers = [an_answer("web", True), an_answer("db", True)]
    rig.ask({"do": "act", "command": "stop", "services": None, "by": by})
    assert rig.daemon.orders == [("act", Command.STOP, None, replace(ROOT, by=by))]


def test_caller_that_hangs_up_ends_the_wait_for_its_answers(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command itself goes on. One that waits silently is not taken for gone."""
    monkeypatch.setattr(module, "_HANG_UP_EVERY_S", 0.01)
    here, there = socket.socketpair()
    here.settimeout(LIMIT_S)
    assert rig.server._places.take(ROOT)
    thread = threading.Thread(target=rig.server._serve, args=(there, ROOT))
    thread.start()
    here.sendall(b'{"do": "act", "command": "stop", "services": ["web", "db"]}\n')
    answers = here.makefile("rb")
    assert json.loads(answers.readline()) == {"accepted": True}
    asked = queue.SimpleQueue[None]()
    real = module._has_gone

    def noted(connection: socket.socket) -> bool:
        asked.put(None)
        return real(connection)

    monkeypatch.setattr(module, "_has_gone", noted)
    asked.get(timeout=LIMIT_S)
    asked.get(timeout=LIMIT_S)
    rig.daemon.queues[0].put(an_answer("web", True))
    assert json.loads(answers.readline())["answer"]["service"] == "web"
    answers.close()
    here.close()
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert rig.server._places.take(ROOT) and rig.server._places._taken == 1


def test_request_of_a_caller_that_has_gone_is_not_run(rig: Rig) -> None:
    """It gave up, perhaps to give the command to the other node."""
    here, there = socket.socketpair()
    here.sendall(b'{"do": "reload"}\n')
    here.close()
    rig.server._places.take(ROOT)
    rig.server._serve(there, ROOT)
    assert rig.daemon.orders == [] and rig.server._places._taken == 0


def test_caller_that_goes_before_its_answer_is_passed_over(rig: Rig) -> None:
    """It gives its place back."""
    here, there = socket.socketpair()
    here.sendall(b'{"do": "status"}\n')
    here.close()
    rig.server._places.take(ROOT)
    rig.server._serve(there, ROOT)
    assert rig.daemon.orders == [("status",)] and rig.server._places._taken == 0


def test_connection_that_fails_counts_as_gone() -> None:
    """As one that never led anywhere; bytes that wait to be read are none of its end."""
    here, there = socket.socketpair()
    assert not module._has_gone(there)
    here.sendall(b"x")
    assert not module._has_gone(there)
    here.close()
    there.recv(1)
    assert module._has_gone(there)
    there.close()
    with socket.socket(socket.AF_UNIX) as nowhere:
        assert module._has_gone(nowhere)


# limits of a request


@pytest.mark.parametrize("caller, limit", [(ROOT, 8192), (STRANGER, 256)])
def test_longest_request(rig: Rig, caller: Caller, limit: int) -> None:
    """Up to its end is taken, one byte more is not even parsed."""
    request = b'{"do": "status"}'
    assert "status" in rig.ask(request + b" " * (limit - len(request)) + b"\n", caller)[0]
    assert rig.ask(b"\0" * (limit + 1), caller) == [
        {"error": f"not a request: longer than {limit} bytes", "code": 2}
    ]


def test_request_without_its_end_is_taken_when_the_caller_writes_no_more(rig: Rig) -> None:
    """And nothing at all is no request."""
    assert "status" in rig.ask(b'{"do": "status"}', STRANGER)[0]
    assert rig.ask(b"") == [] and rig.ask(b"\n") == []


def test_second_line_is_ignored(rig: Rig) -> None:
    """One request for each connection."""
    assert len(rig.ask(b'{"do": "status"}\n{"do": "reload"}\n')) == 1
    assert rig.daemon.orders == [("status",)]


class Drops:
    """A connection on which one byte comes each ``gap_s``."""

    def __init__(self, clock: SimulatedClock, gap_s: float) -> None:
        self._clock, self._gap_s = clock, gap_s
        self.timeouts: list[float] = []
        self.wanted: list[int] = []

    def settimeout(self, limit_s: float) -> None:
        self.timeouts.append(limit_s)

    def recv(self, length: int) -> bytes:
        self.wanted.append(length)
        self._clock.now += self._gap_s
        return b"x"


@pytest.mark.parametrize("caller, limit", [(ROOT, 8192), (STRANGER, 256)])
def test_end_of_the_longest_request_may_come_later(caller: Caller, limit: int) -> None:
    """By itself."""
    here, there = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with here, there:
        here.sendall(b"x" * limit)
        here.sendall(b"\n")
        assert module._read_line(there, caller) == b"x" * limit


@pytest.mark.parametrize("caller, limit_s", [(ROOT, 10), (STRANGER, 2)])
def test_request_that_comes_drop_by_drop_has_a_total_limit(
    clock: SimulatedClock, caller: Caller, limit_s: int
) -> None:
    """The rest of the limit for each of its parts, and never more bytes than are allowed."""
    drops = Drops(clock, 1.0)
    with pytest.raises(UsageError, match=TOO_LONG):
        module._read_line(drops, caller)  # type: ignore[arg-type]
    assert drops.timeouts == [limit_s - number for number in range(limit_s)]
    most = 8193 if caller is ROOT else 257
    assert drops.wanted == [most - number for number in range(limit_s)]


def test_late_request_is_waited_for_a_moment_all_the_same(
    clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of no time would mean to the kernel not to wait, and a negative one is an error."""
    drops = Drops(clock, 1.0)
    times = iter([0.0, 3.0, 3.0])
    monkeypatch.setattr(system_clock, "monotonic", lambda: next(times))
    with pytest.raises(UsageError, match=TOO_LONG):
        module._read_line(drops, STRANGER)  # type: ignore[arg-type]
    assert drops.timeouts == [0.001]


def test_answer_has_a_limit_for_all_of_it() -> None:
    """However slowly it is read."""
    here, there = socket.socketpair()
    with here, there:
        module._send_line(there, b"x\n")
        assert there.gettimeout() == 10.0


# places


def test_places_of_users() -> None:
    """Root has 64 of its own; others 64 together, 8 each."""
    places = _Places()
    strangers = [Caller(1, 100_000 + number) for number in range(8)]
    for stranger in strangers:
        assert [places.take(stranger) for _ in range(9)] == [True] * 8 + [False]
    late = Caller(1, 200_000)
    assert not places.take(late)
    assert [places.take(ROOT) for _ in range(65)] == [True] * 64 + [False]
    places.give_back(ROOT)
    assert places.take(ROOT) and not places.take(ROOT)
    places.give_back(strangers[0])
    assert places.take(late) and not places.take(strangers[0])
    for _ in range(7):
        places.give_back(strangers[0])
    places.give_back(late)
    assert set(places._of_strangers) == {stranger.uid for stranger in strangers[1:]}


def test_user_without_a_place_is_answered_so(rig: Rig) -> None:
    """At once, and by no thread of its own."""
    for _ in range(64):
        assert rig.server._places.take(ROOT)
    here, there = socket.socketpair()
    with here:
        rig.server._admit(there)
        assert [json.loads(line) for line in here.makefile("rb")] == [BUSY]


def test_user_without_a_place_who_does_not_read_is_not_waited_for(rig: Rig) -> None:
    """Nobody else would be served meanwhile."""
    for _ in range(64):
        assert rig.server._places.take(ROOT)
    here, there = socket.socketpair()
    there.setblocking(False)
    with here, there:
        with contextlib.suppress(BlockingIOError):
            while True:
                there.send(bytes(65_536))
        there.settimeout(0.1)
        with pytest.raises(BlockingIOError):
            rig.server._admit(there)


def test_request_has_a_thread_that_ends_with_the_program(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that waits for its answers keeps no daemon alive."""
    started = play_threads(monkeypatch)
    here, there = socket.socketpair()
    with here, there:
        rig.server._admit(there)
    assert [(thread.name, thread.daemon) for thread in started] == [("request", True)]
    assert rig.server._places._taken == 1


def test_place_is_given_back_when_no_thread_can_be_started(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with too many threads of the user."""
    play_threads(monkeypatch, is_refused=True)
    here, there = socket.socketpair()
    with here, there, pytest.raises(RuntimeError):
        rig.server._admit(there)
    assert rig.server._places._taken == 0


# one answer for many


def test_answer_for_all_is_made_in_a_twentieth_of_the_time(clock: SimulatedClock) -> None:
    """Or once a second, where it takes longer: the same line until then."""
    made: list[int] = []

    def make() -> dict[str, Any]:
        made.append(1)
        clock.now += cost_s
        return {"n": len(made)}

    clock.now, cost_s = 100.0, 0.01
    shared = _Shared(make)
    assert shared.line() == shared.line() == b'{"n":1}\n'
    clock.now += 0.19
    assert shared.line() == b'{"n":1}\n'
    clock.now += 0.02
    cost_s = 0.1
    assert shared.line() == b'{"n":2}\n'
    clock.now += 0.99
    assert shared.line() == b'{"n":2}\n'
    clock.now += 0.01
    assert shared.line() == b'{"n":3}\n'


def test_error_is_an_answer_for_all_too() -> None:
    """Made once for those who ask at about the same time, with its exit code."""

    def refuse() -> dict[str, Any]:
        raise RefusedError("it ends")

    assert _Shared(refuse).line() == b'{"error":"it ends","code":5}\n'


# the socket


def test_socket_is_for_all_users_and_goes_with_the_server(rig: Rig) -> None:
    """In place of what a dead daemon left; all is served by threads that end with the program."""
    rig.path.symlink_to("/nonexistent")
    rig.server.open()
    assert stat.S_IMODE(rig.path.stat().st_mode) == 0o666
    (accepting,) = [thread for thread in threading.enumerate() if thread.name == "control"]
    assert accepting.daemon
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(rig.path))
            connection.sendall(b'{"do": "status"}\n')
            assert b'"deb1"' in connection.makefile("rb").readline()
    until(lambda: rig.server._places._taken == 0)
    rig.server.close()
    assert not os.path.lexists(rig.path) and rig.server._socket.fileno() == -1
    accepting.join()


def test_socket_of_another_is_left_where_it_is(rig: Rig) -> None:
    """Of a daemon that was started meanwhile."""
    rig.server.open()
    rig.path.unlink()
    rig.path.touch()
    rig.server.close()
    assert rig.path.exists()


def test_link_to_the_socket_is_not_the_socket(rig: Rig, tmp_path: Path) -> None:
    """What somebody put in its place is not removed."""
    rig.server.open()
    rig.path.rename(tmp_path / "moved")
    rig.path.symlink_to(tmp_path / "moved")
    rig.server.close()
    assert rig.path.is_symlink()


def test_socket_that_was_removed_is_made_again(rig: Rig, tmp_path: Path) -> None:
    """With its directory; one that is there is kept, and a link to it is none."""
    rig.path = tmp_path / "proc" / "socket"
    rig.path.parent.mkdir()
    rig.server = ControlServer(str(rig.path), rig.daemon)
    rig.server.open()
    first = rig.server._socket
    rig.server.reopen_if_gone()
    assert rig.server._socket is first
    rig.path.rename(tmp_path / "moved")
    rig.path.symlink_to(tmp_path / "moved")
    rig.server.reopen_if_gone()
    assert rig.path.is_socket() and not rig.path.is_symlink() and first.fileno() == -1
    rig.path.unlink()
    rig.path.parent.rmdir()
    rig.server.reopen_if_gone()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(rig.path))
        connection.sendall(b'{"do": "status"}\n')
        assert b'"deb1"' in connection.makefile("rb").readline()


def test_socket_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """With the reason."""
    path = tmp_path / "none" / "socket"
    server = ControlServer(str(path), NotedDaemon(STATUS, ENTRY))
    with pytest.raises(SystemFault, match=f"cannot listen on {path}: No such file or directory"):
        server.open()
    server.close()


class Failing:
    """A socket on which nobody can be accepted, for a reason that goes by; then none any more."""

    def __init__(self, server: ControlServer, connections: list[socket.socket]) -> None:
        self._server, self._connections = server, connections
        self.refused = 0

    def accept(self) -> tuple[socket.socket, str]:
        """Fail once, then return the connections, then end."""
        if not self.refused:
            self.refused += 1
            raise OSError(errno.EMFILE, "Too many open files")
        assert not self._server._is_closed
        if not self._connections:
            self._server.close()
            raise OSError(errno.EINVAL, "Invalid argument")
        return self._connections.pop(0), ""

    def shutdown(self, _how: int) -> None:
        """As of a socket that is not bound."""
        raise OSError(errno.ENOTCONN, "not connected")

    def close(self) -> None:
        """Nothing to do."""


def test_accepting_goes_on_after_errors(rig: Rig, clock: SimulatedClock) -> None:
    """Too many open files, and a connection that has ended already: tried again a moment later."""
    ended, _peer = socket.socketpair()
    ended.close()
    here, there = socket.socketpair()
    here.sendall(b'{"do": "status"}\n')
    rig.server._socket.close()
    rig.server._socket = Failing(rig.server, [ended, there])  # type: ignore[assignment]
    rig.server._accept()
    assert b'"deb1"' in here.makefile("rb").readline()
    assert clock.pauses.count(0.1) >= 2
    here.close()


def test_connection_that_cannot_be_served_is_closed(
    rig: Rig, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread is available: its caller does not wait for an answer that never comes."""
    play_threads(monkeypatch, is_refused=True)
    here, there = socket.socketpair()
    rig.server._socket.close()
    rig.server._socket = Failing(rig.server, [there])  # type: ignore[assignment]
    with here:
        rig.server._accept()
        assert there.fileno() == -1 and here.recv(1) == b""
