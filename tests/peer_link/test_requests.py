"""Requests over the peer link: what is executed, and once; what is allowed; what is lost."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.errors import (
    NoPeerLinkError,
    PeerLinkLostError,
    RefusedError,
    UnknownOutcomeError,
    UsageError,
)
from opensvc_openha.formats.options_schema import Allowed
from opensvc_openha.peer_link import jobs as jobs_module
from opensvc_openha.peer_link.channel import Channel, Secret
from opensvc_openha.peer_link.client import JobEnd, Peer, new_job_id
from opensvc_openha.peer_link.jobs import Job, Jobs
from opensvc_openha.peer_link.listener import Listener
from opensvc_openha.peer_link.protocol import (
    AddRequest,
    AgentKind,
    EvacuateRequest,
    FetchRequest,
    HistoryRequest,
    InspectRequest,
    JobRequest,
    OrderRequest,
    OutcomeRequest,
    RemoveRequest,
    Request,
    SharedFile,
    StatusRequest,
    TakeRequest,
    parse_request,
    request_to_json,
)
from opensvc_openha.peer_link.server import Program, RequestHandler
from tests.peer_link.ends import KEY, LIMIT_S, in_thread, port_of
from tests.waiting import until

ALL = frozenset(Allowed)
ID = "0123456789abcdef0123456789abcdef"
DIGEST = "a" * 64


class Node:
    """A node of the tests: an order runs a shell script; each run leaves a line in a file."""

    def __init__(self, folder: Path, script: str) -> None:
        self.runs = folder / "runs"
        self._script = script

    def status(self) -> dict[str, Any]:
        """Return a status of its own."""
        return {"version": "1"}

    def inspect(self, request: InspectRequest) -> dict[str, Any]:
        """Return facts of its own."""
        return {"facts": 1}

    def fetch(self, file: SharedFile) -> str:
        """Return a text of its own."""
        return f"text of {file.value}"

    def history(self, service: str, limit: int, has_output: bool) -> list[dict[str, Any]]:
        """Return an entry of its own."""
        return [{"name": service, "number": limit, "is_whole": has_output}]

    def program(self, request: JobRequest) -> Program:
        """Return the script, which first notes that it ran."""
        assert isinstance(request, OrderRequest)
        note = f"echo {request.action} {request.service} >> {self.runs}"
        return Program(["/bin/sh", "-c", f"{note}; {self._script}"], "given\n")

    def count(self) -> int:
        """Return how often the script ran."""
        return len(self.runs.read_text().splitlines()) if self.runs.exists() else 0


class Serving:
    """A peer server on loopback; ``handle`` stands before its own handling of a channel."""

    def __init__(
        self,
        folder: Path,
        script: str = "exit 0",
        allow: frozenset[Allowed] = ALL,
        handle: Callable[[Channel, int], bool] = lambda channel, number: True,
        keys: tuple[Secret, ...] = (KEY,),
        port: int = 0,
    ) -> None:
        self.folder, self.node, self.lines = folder, Node(folder, script), list[str]()
        self.jobs = Jobs(f"{folder}/requests", os.environ, self.lines.append)
        handler = RequestHandler(self.node, self.jobs, lambda: allow, self.lines.append)
        self._number = 0

        def serve(channel: Channel) -> None:
            self._number += 1
            if handle(channel, self._number):
                handler.handle(channel)

        self.listener = Listener(
            ["127.0.0.1"], port, lambda: keys, "node2", serve, self.lines.append, LIMIT_S
        )

    def peer(self, *keys: Secret) -> Peer:
        """Return this server as a client finds it."""
        return Peer("node2", "node1", ("127.0.0.1",), self.listener.port, keys or (KEY,))

    def cut(self) -> None:
        """End every open channel."""
        for channel in list(self.listener._channels):
            channel.abort()

    def __enter__(self) -> Serving:
        self._served = in_thread(self.listener.serve)
        return self

    def __exit__(self, *_: object) -> None:
        with self.listener:
            self.listener.close()
            self._served.result(LIMIT_S)


def order(job_id: str = "") -> OrderRequest:
    """Return an order with an id of its own."""
    return OrderRequest(job_id or new_job_id(), "web", "stop")


# --- a server that is not up yet ------------------------------------------------------------------


@contextlib.contextmanager
def deaf_port() -> Iterator[tuple[socket.socket, Peer]]:
    """Yield a port that nobody listens on, and a peer whose server is to be there."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        yield taken, Peer("node2", "node1", ("127.0.0.1",), port_of(taken), (KEY,))


def test_server_of_a_daemon_that_is_heard_is_waited_for(tmp_path: Path) -> None:
    """A command right after the start of the other node is executed once its server is up."""
    with deaf_port() as (taken, peer), contextlib.ExitStack() as stack:
        asked: list[int] = []

        def is_heard() -> bool:
            asked.append(1)
            if len(asked) == 2:
                taken.close()
                stack.enter_context(Serving(tmp_path, port=peer.port))
            return True

        assert replace(peer, is_heard=is_heard).execute(order()).code == 0
    assert len(asked) == 2


def test_server_of_a_daemon_that_is_not_heard_is_not_waited_for() -> None:
    """The command fails at once, and nothing was asked for."""
    with deaf_port() as (_, peer):
        for found in (peer, replace(peer, is_heard=lambda: False)):
            with pytest.raises(NoPeerLinkError) as caught:
                found.channel()
            assert caught.value.reason == "REFUSED"


# --- what is executed -----------------------------------------------------------------------------


def test_order_is_executed_and_its_output_and_end_come_back(tmp_path: Path) -> None:
    """The lines are there as they are printed, control characters written out, then the code."""
    shown: list[str] = []
    with Serving(tmp_path, r"read word; echo got $word; printf '\033[2J\n' >&2; exit 6") as serving:
        end = serving.peer().execute(order(), shown.append)
    assert end == JobEnd(6, ("got given", r"\e[2J"))
    assert shown == list(end.lines)
    assert serving.node.runs.read_text() == "stop web\n"
    assert any("node1: request" in line and line.endswith(": stop web") for line in serving.lines)


def test_program_has_the_reason_of_its_order_and_no_other(tmp_path: Path) -> None:
    """Not the reason for which this node's daemon was started, either."""
    with Serving(tmp_path, r"echo why: ${OPENHA_REASON-none}") as serving:
        plain = serving.peer().execute(order())
        reasoned = serving.peer().execute(replace(order(), order_reason="CHG-12"))
    assert (plain.lines, reasoned.lines) == (("why: none",), ("why: CHG-12",))


@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("kill -9 $$", JobEnd(137, ())),
        ("sleep 600 & exit 3", JobEnd(3, ())),
        ("exec no-such-program-anywhere 2>/dev/null", JobEnd(127, ())),
    ],
    ids=["signal", "left a process with the pipe", "not found"],
)
def test_end_of_a_program_is_reported_however_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, end: JobEnd
) -> None:
    """A signal is 128+N; a process that was left behind is not waited for."""
    monkeypatch.setattr(jobs_module, "_OUTPUT_LIMIT_S", 0.1)
    with Serving(tmp_path, f"echo $$ > {tmp_path}/group; {script}") as serving:
        assert serving.peer().execute(order()) == end
    with contextlib.suppress(ProcessLookupError):
        os.killpg(int((tmp_path / "group").read_text()), 9)


def test_much_output_is_bounded(tmp_path: Path) -> None:
    """Of too many lines, and of too long ones, the beginning is kept."""
    script = "yes | head -n 2000; exit 1"
    with Serving(tmp_path, script) as serving:
        end = serving.peer().execute(order())
    assert end.code == 1
    assert len(end.lines) == jobs_module.LINES + 1
    assert end.lines[-1] == "... (more lines than are kept)"


def test_questions_change_nothing_and_share_a_channel(tmp_path: Path) -> None:
    """Status, facts and files are answered, one after the other on the same channel."""
    with Serving(tmp_path) as serving:
        peer = serving.peer()
        assert peer.status() == {"version": "1"}
        assert peer.inspect() == {"facts": 1}
        assert peer.fetch(SharedFile.MONITOR) == "text of monitor"
        assert peer.history("web", 7) == [{"name": "web", "number": 7, "is_whole": True}]
        with peer.channel() as channel:
            for _ in range(2):
                channel.send({"do": "status"})
                assert channel.receive(LIMIT_S) == {"status": {"version": "1"}}
    assert serving.node.count() == 0


def test_what_scripts_printed_is_for_a_peer_that_may_have_files(tmp_path: Path) -> None:
    """The rest of the history is for any."""
    with Serving(tmp_path, allow=frozenset({Allowed.ORDERS})) as serving:
        assert serving.peer().history("web", 7)[0]["is_whole"] is False


def test_key_that_only_the_peer_has_as_its_next_one_is_tried(tmp_path: Path) -> None:
    """During a rotation the nodes may have one key in common, not the first of either."""
    old, new = Secret(b"1" * 32), Secret(b"2" * 32)
    with Serving(tmp_path, keys=(KEY, new)) as serving:
        assert serving.peer(old, new).status() == {"version": "1"}
        with pytest.raises(NoPeerLinkError) as raised:
            serving.peer(old).status()
    assert raised.value.reason == "PROOF"


# --- once, whatever is lost -----------------------------------------------------------------------


def test_same_id_is_executed_once(tmp_path: Path) -> None:
    """A request that comes a second time is answered with what became of the first."""
    with Serving(tmp_path, "echo once") as serving, serving.peer().channel() as channel:
        answers = []
        for _ in range(2):
            channel.send(request_to_json(order(ID)))
            answers.append([channel.receive(LIMIT_S) for _ in range(3)])
    assert answers[0] == answers[1] == [{"accepted": ID}, {"line": "once"}, {"done": 0}]
    assert serving.node.count() == 1


def test_answer_that_is_lost_is_asked_for(tmp_path: Path) -> None:
    """The connection breaks while it runs: the client gets the rest and the end, it runs once."""
    go_on = tmp_path / "go-on"
    script = f"echo one; while [ ! -e {go_on} ]; do sleep 0.05; done; echo two; exit 5"
    with Serving(tmp_path, script) as serving:
        shown: list[str] = []

        def show(line: str) -> None:
            shown.append(line)
            if line == "one":
                serving.cut()
                go_on.touch()

        end = serving.peer().execute(order(), show)
    assert (end, shown) == (JobEnd(5, ("one", "two")), ["one", "two"])
    assert serving.node.count() == 1


def test_answer_cannot_drive_the_terminal(tmp_path: Path) -> None:
    """A peer that is not what it was sends control characters in lines and errors."""
    clear = "\x1b[2J"

    def answer(channel: Channel, number: int) -> bool:
        channel.receive(LIMIT_S)
        if number == 1:
            channel.send({"line": f"{clear}fine"})
            channel.send({"done": 0})
        else:
            channel.send({"error": f"no{clear}", "code": 5})
        return False

    with Serving(tmp_path, handle=answer) as serving:
        assert serving.peer().execute(order()).lines == (r"\e[2Jfine",)
        with pytest.raises(RefusedError, match=r"node2: no\\e\[2J"):
            serving.peer().execute(order())


def test_request_that_did_not_arrive_is_withdrawn_for_good(tmp_path: Path) -> None:
    """The first channel ends before the request is read: it surely was not, and never will be."""
    with Serving(tmp_path, handle=lambda channel, number: number > 1) as serving:
        request = order()
        with pytest.raises(NoPeerLinkError, match="withdrawn") as raised:
            serving.peer().execute(request)
        assert raised.value.reason == "WITHDRAWN"
        with pytest.raises(RefusedError, match="withdrawn"):
            serving.peer().execute(request)  # As it would arrive late.
    assert serving.node.count() == 0


def test_peer_that_cannot_be_asked_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    """After the request the peer refuses every channel: no error that would allow another way."""

    def end_all(channel: Channel, number: int) -> bool:
        if number == 1:
            channel.receive(LIMIT_S)
        serving.listener._secrets = lambda: []
        return False

    serving = Serving(tmp_path, handle=end_all)
    with serving, pytest.raises(UnknownOutcomeError, match="cannot be asked"):
        serving.peer().execute(order(), ask_limit_s=0.0)


def test_request_of_a_former_server_is_unknown_or_as_it_was_recorded(tmp_path: Path) -> None:
    """A server that was replaced knows the end that was recorded, and runs nothing again."""
    with Serving(tmp_path, "exit 6") as serving:
        assert serving.peer().execute(order(ID)).code == 6
    with Serving(tmp_path) as serving:
        with serving.peer().channel() as channel:
            channel.send(request_to_json(OutcomeRequest(ID)))
            assert channel.receive(LIMIT_S) == {"done": 6}
        (tmp_path / "requests" / ID).write_text("began\n")
        with serving.peer().channel() as channel:
            channel.send(request_to_json(OutcomeRequest(ID)))
            assert channel.receive(LIMIT_S) == {"unknown": "it began, and its end was not recorded"}
        with pytest.raises(RefusedError, match="not executed twice"):
            serving.peer().execute(order(ID))
    assert serving.node.count() == 1


def test_request_is_recorded_before_it_runs(tmp_path: Path) -> None:
    """What runs finds its own id recorded: a server that ends now would not run it again."""
    with Serving(tmp_path, f"cat {tmp_path}/requests/*") as serving:
        assert serving.peer().execute(order()).lines == ("began",)


def test_request_that_cannot_be_recorded_is_not_executed(tmp_path: Path) -> None:
    """A folder that cannot be written is an error of the request."""
    (tmp_path / "requests").write_text("no folder")
    with Serving(tmp_path) as serving, pytest.raises(Exception, match="requests"):
        serving.peer().execute(order())
    assert serving.node.count() == 0


def test_records_are_bounded_and_the_newest_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old ids are forgotten, so that they fill no disk."""
    monkeypatch.setattr(jobs_module, "_RECORDS", 3)
    jobs = Jobs(f"{tmp_path}/requests", os.environ, lambda text: None)
    for number in range(6):
        _await(jobs.begin(f"{number:032x}", ["/bin/true"]))
    assert sorted(entry.name[-1] for entry in os.scandir(tmp_path / "requests"))[-1] == "5"
    assert len(os.listdir(tmp_path / "requests")) <= 4


def test_questions_fill_no_disk_and_forget_nothing_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody with the key may ask for outcomes, each of which withdraws an id."""
    monkeypatch.setattr(jobs_module, "_RECORDS", 3)
    jobs = Jobs(f"{tmp_path}/requests", os.environ, lambda text: None)
    wait = ["/bin/sh", "-c", f"while [ ! -e {tmp_path}/end ]; do sleep 0.05; done"]
    running = jobs.begin(ID, wait)
    for number in range(9):
        assert jobs.outcome(f"{number:032x}") == "withdrawn"
    kept = os.listdir(tmp_path / "requests")
    assert len(kept) <= 4 and ID in kept
    (tmp_path / "end").touch()
    _await(running)


def test_too_many_requests_at_a_time_are_refused(tmp_path: Path) -> None:
    """One over the limit is refused, not queued, and may come again later."""
    jobs = Jobs(f"{tmp_path}/requests", os.environ, lambda text: None)
    wait = ["/bin/sh", "-c", f"while [ ! -e {tmp_path}/end ]; do sleep 0.05; done"]
    running = [jobs.begin(f"{number:032x}", wait) for number in range(jobs_module.RUNNING)]
    with pytest.raises(RefusedError, match="under way"):
        jobs.begin(ID, ["/bin/true"])
    (tmp_path / "end").touch()
    for job in running:
        _await(job)
    assert isinstance(jobs.begin(ID, ["/bin/true"]), Job)


def _await(job: Job) -> None:
    until(lambda: job.code, lambda code: code == 0)


# --- what may be asked for ------------------------------------------------------------------------

CHANGES: tuple[Request, ...] = (
    order(ID),
    EvacuateRequest(ID, 600, is_off_limits=True, order_reason="CHG-12"),
    EvacuateRequest(ID, 1, is_forced=True, is_undo=True),
    OrderRequest(ID, "web", "freeze", AgentKind.REAL, "1.8"),
    OrderRequest(ID, "web", "stop", order_reason="CHG-12: Kühlung"),
    AddRequest(ID, "web", "[DEFAULT]\n", "node1", "node2", "/bin/true", True, False),
    RemoveRequest(ID, "web", True),
    TakeRequest(
        ID,
        {SharedFile.NODES: "a\nb\n"},
        {SharedFile.NODES: DIGEST},
        frozenset({SharedFile.OPTIONS}),
        True,
    ),
)
READS: tuple[Request, ...] = (InspectRequest(), FetchRequest(SharedFile.OPTIONS))
ALWAYS: tuple[Request, ...] = (
    StatusRequest(), HistoryRequest("", 1000), HistoryRequest("web", 1), OutcomeRequest(ID)
)  # fmt: skip


@pytest.mark.parametrize(
    ("allow", "allowed"),
    [
        (frozenset(), set()),
        (frozenset({Allowed.ORDERS}), {"OrderRequest", "EvacuateRequest"}),
        (
            frozenset({Allowed.FILES}),
            {"AddRequest", "RemoveRequest", "TakeRequest", "InspectRequest", "FetchRequest"},
        ),
    ],
    ids=["none", "orders", "files"],
)
def test_only_what_the_options_allow_is_done(
    tmp_path: Path, allow: frozenset[Allowed], allowed: set[str]
) -> None:
    """Each request is refused unless its right is given; status and outcome never are."""
    asked: list[str] = []
    serving = Serving(tmp_path, allow=allow)

    def program(request: JobRequest) -> Program:
        asked.append(type(request).__name__)
        return Program(["/bin/true"])

    serving.node.program = program  # type: ignore[method-assign]  # which requests come this far
    refused = set()
    with serving, serving.peer().channel() as channel:
        for number, request in enumerate((*CHANGES, *READS, *ALWAYS)):
            message = request_to_json(request)
            channel.send({**message, **({"id": f"{number:032x}"} if "id" in message else {})})
            answer = channel.receive(LIMIT_S)
            assert answer is not None
            if answer.get("code") == RefusedError.exit_code:
                assert "[peer_link] allow =" in answer["error"]
                refused.add(type(request).__name__)
            if "accepted" in answer:
                assert channel.receive(LIMIT_S) == {"done": 0}
    every = {type(request).__name__ for request in (*CHANGES, *READS)}
    assert refused == every - allowed
    assert set(asked) == allowed & {type(request).__name__ for request in CHANGES}


@pytest.mark.parametrize("request_", [*CHANGES, *READS, *ALWAYS], ids=lambda r: type(r).__name__)
def test_request_is_read_as_it_was_written(request_: Request) -> None:
    """Each request survives the way through JSON."""
    assert parse_request(request_to_json(request_)) == request_


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"do": 1},
        {"do": "shell"},
        {"do": "fetch", "name": "openha.key"},
        {"do": "fetch", "name": "../openha.key"},
        {"do": "outcome", "id": "../../x"},
        {"do": "outcome", "id": ID + "\n"},
        {"id": ID.upper()},
        {"id": None},
        {"action": "kill"},
        {"action": "start; reboot"},
        {"action": ["start"]},
        {"service": "../web"},
        {"service": "-f"},
        {"service": "web\n"},
        {"service": "a" * 300},
        {"service": "web,db"},
        {"agent": "other"},
        {"line": None},
        {"line": "1.8 "},
        {"line": "1.8\n"},
        {"line": "--cluster"},
        {"line": "1.8.0.1"},
        {"do": "add", "text": "x\0"},
        {"do": "add", "text": "\ud800"},
        {"do": "add", "primary": "a b"},
        {"do": "add", "secondary": None},
        {"do": "add", "check": "x"},
        {"do": "add", "check": "/x y"},
        {"do": "add", "is_private": 1},
        {"do": "remove", "is_trial": "yes"},
        {"do": "take", "texts": []},
        {"do": "take", "texts": {"services": "x"}},
        {"do": "take", "texts": {"nodes": 7}},
        {"do": "take", "seen": {"nodes": "x"}},
        {"do": "take", "seen": {"openha.key": DIGEST}},
        {"do": "take", "private": "nodes"},
        {"do": "take", "private": [["nodes"]]},
        {"do": "take", "private": ["openha.key"]},
    ],
    ids=lambda wrong: str(wrong)[:50],
)
def test_wrong_request_is_refused_and_runs_nothing(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Only the words of the protocol reach this node; the channel stays usable."""
    right = {message["do"]: message for message in map(request_to_json, CHANGES)}
    message = {**right.get(wrong.get("do"), right["order"]), **wrong} if wrong else {}
    with Serving(tmp_path) as serving, serving.peer().channel() as channel:
        channel.send(message)
        answer = channel.receive(LIMIT_S)
        assert answer is not None
        assert answer["code"] == UsageError.exit_code
        assert "not a request" in answer["error"]
        channel.send({"do": "status"})
        assert channel.receive(LIMIT_S) == {"status": {"version": "1"}}
    assert serving.node.count() == 0


def test_order_of_a_version_without_lines_is_for_the_embedded_agent() -> None:
    """What it sends has no line, and is read as before."""
    message = request_to_json(order(ID))
    del message["line"]
    assert parse_request(message) == order(ID)


def test_answer_of_another_version_is_an_error(tmp_path: Path) -> None:
    """What has not the expected part is no empty answer."""

    def answer_otherwise(channel: Channel, _: int) -> bool:
        channel.receive(LIMIT_S)
        channel.send({"state": 1})
        return False

    with Serving(tmp_path, handle=answer_otherwise) as serving:
        with pytest.raises(PeerLinkLostError, match="another version"):
            serving.peer().status()
