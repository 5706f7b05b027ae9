"""The fence program without a process: what it is given, how it is read and ended, and what its
answer is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from opensvc_openha.daemon import fence_program as module
from opensvc_openha.daemon.fence_program import FenceAnswer, FenceProgram
from opensvc_openha.daemon.memory_guard import MemoryGuard
from opensvc_openha.system.self_command import self_command
from tests.simulated_clock import SimulatedClock

PID = 4_321


class Pipe:
    """One end that is closed after all."""

    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Process:
    """The process that the program becomes."""

    pid = PID

    def __init__(self, code: int | None) -> None:
        self.code = code
        self.stdout, self.stderr = Pipe(), Pipe()
        self.waits: list[float] = []

    def wait(self, limit_s: float) -> int:
        self.waits.append(limit_s)
        if self.code is None:
            raise subprocess.TimeoutExpired("it", limit_s)
        return self.code


class Reading:
    """What it prints."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.output, self.errors = rig.output, rig.errors

    def read_until(self, deadline: float) -> str | None:
        self._rig.deadlines.append(deadline)
        self._rig.time.now += 2.5
        if self._rig.error is not None:
            raise self._rig.error
        return self._rig.problem

    def close(self) -> None:
        self._rig.closed_readings += 1


class Rig:
    """A program whose process, reading and kills are noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = SimulatedClock(monkeypatch)
        self.time.now = 100.0
        self.output, self.errors = b"{}", b""
        self.problem: str | None = ""
        self.error: Exception | None = None
        self.deadlines: list[float] = []
        self.closed_readings = 0
        self.killed: list[int] = []
        self.process = Process(0)
        self.spawn_error: OSError | None = None
        self.spawned: list[tuple[list[str], str, dict[str, Any]]] = []
        monkeypatch.setattr(module, "_kill", self.killed.append)
        monkeypatch.setattr(module, "_Reading", lambda process: Reading(self))
        stand_in = SimpleNamespace(
            Popen=self._spawn, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired
        )
        monkeypatch.setattr(module, "subprocess", stand_in)
        self.program = FenceProgram({"OPENHA_X": "y"}, argv=["/opt/fence", "run"])

    def _spawn(self, argv: list[str], stdin: int, **options: Any) -> Process:
        if self.spawn_error is not None:
            raise self.spawn_error
        self.spawned.append((argv, os.read(stdin, 1_000).decode(), options))
        return self.process

    def ask(self, request: Mapping[str, object] | None = None) -> FenceAnswer:
        return self.program.ask(request or {"do": "look"}, 30.0)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """It answers with an empty object after 2.5 s."""
    return Rig(monkeypatch)


def test_program_is_given_its_request_and_nothing_else(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a group of its own, with the environment of the daemon and its places."""
    monkeypatch.setattr(os, "environ", {"HOME": "/root"})
    assert rig.ask({"do": "cut", "path": "ipmi"}) == FenceAnswer({}, "", 2.5)
    ((argv, request, options),) = rig.spawned
    assert argv == ["/opt/fence", "run"] and json.loads(request) == {"do": "cut", "path": "ipmi"}
    assert request.endswith("\n")
    assert options == {
        "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": "/",
        "start_new_session": True, "env": {"HOME": "/root", "OPENHA_X": "y"},
    }  # fmt: skip
    assert rig.deadlines == [130.0] and rig.closed_readings == 1
    assert rig.killed == [PID] and rig.process.waits == [2.0]
    assert rig.process.stdout.is_closed and rig.process.stderr.is_closed
    assert cast(Any, rig.program)._running == set()


def test_program_is_the_one_of_this_package(rig: Rig) -> None:
    """With the score that the daemon had, unless that is not kept."""
    assert cast(Any, FenceProgram({}))._argv == self_command(module.PROGRAM)
    guard = MemoryGuard()
    cast(Any, guard).command = lambda command: ["score", *command]
    FenceProgram({}, guard, ["/opt/fence"]).ask({}, 1.0)
    assert rig.spawned[0][0] == ["score", "/opt/fence"]


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Each handle that is closed."""
    handles, close = list[int](), os.close

    def noted(handle: int) -> None:
        handles.append(handle)
        close(handle)

    monkeypatch.setattr(os, "close", noted)
    return handles


def test_program_that_cannot_be_started(
    rig: Rig, closed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handle of its request is closed."""
    rig.spawn_error = OSError(12, "Cannot allocate memory")
    made, create = list[int](), os.memfd_create

    def noted(name: str) -> int:
        made.append(create(name))
        return made[-1]

    monkeypatch.setattr(os, "memfd_create", noted)
    text = "the fence program cannot be started: Cannot allocate memory"
    assert rig.ask() == FenceAnswer(problem=text)
    assert len(made) == 1 and made[0] in closed


def test_end_of_the_daemon_kills_what_runs(rig: Rig) -> None:
    """And begins nothing; one that begins at that moment is killed as well."""
    running = cast(Any, rig.program)._running
    running |= {7, 8}
    rig.program.close()
    assert sorted(rig.killed) == [7, 8]
    assert rig.ask() == FenceAnswer(problem="not run: this daemon ends") and rig.spawned == []
    other = FenceProgram({}, argv=["/opt/fence"])
    spawn = cast(Any, module).subprocess.Popen

    def close_and_spawn(*given: Any, **options: Any) -> Any:
        other.close()
        return spawn(*given, **options)

    cast(Any, module).subprocess.Popen = close_and_spawn
    rig.killed.clear()
    other.ask({}, 1.0)
    assert rig.killed == [PID, PID], "at once, and at its end"


def test_program_without_an_answer_in_time_is_killed(rig: Rig) -> None:
    """Whatever it printed."""
    rig.problem = None
    assert rig.ask() == FenceAnswer(problem="no answer within 30 s: killed", took_s=2.5)
    rig.problem = "too long"
    assert rig.ask() == FenceAnswer(problem="too long", took_s=2.5)
    assert rig.killed == [PID, PID]


def test_error_while_it_is_read_leaves_nothing_behind(rig: Rig) -> None:
    """The process is killed, and collected."""
    rig.error = ValueError("what now")
    with pytest.raises(ValueError, match="what now"):
        rig.ask()
    assert rig.killed == [PID] and rig.closed_readings == 1 and rig.process.waits == [2.0]


@pytest.mark.parametrize(
    ("output", "errors", "code", "problem"),
    [
        (b'{"a": 1}', b"", 0, ""),
        (b'{"a": 1}', b"odd\n", 0, ""),
        (b'{"a": 1}', b"", 3, "the fence program ended with 3"),
        (b'{"a": 1}', b"", -9, "the fence program was ended by signal 9"),
        (b'{"a": 1}', b"", None, "the fence program cannot be ended"),
        (b"[1]", b"", 0, "the fence program ended without an answer"),
        (b"", b"first\n last \n\n", 1, "the fence program ended with 1 without an answer: last"),
        (b"\xff", b"\xff", 0, "the fence program ended without an answer: \ufffd"),
        (b"[" * 100_000, b"", 0, "the fence program ended without an answer"),
        (b"", b"x" * 301, 0, f"the fence program ended without an answer: {'x' * 300}"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_answer_is_an_object_of_a_program_that_ended_well(
    rig: Rig, output: bytes, errors: bytes, code: int | None, problem: str
) -> None:
    """Whatever else there is is a problem, with the last line of its errors."""
    rig.output, rig.errors, rig.process.code = output, errors, code
    found = rig.ask()
    assert (found.problem, found.took_s) == (problem, 2.5)
    assert found.values == ({} if problem else {"a": 1})


def test_part_of_an_answer_that_is_no_list_is_empty() -> None:
    """Nothing else is taken for one."""
    assert module.list_of([1]) == [1] and module.list_of("ab") == [] and module.list_of(None) == []


def test_kill_reaches_what_the_program_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its group, and what runs in groups of its own, as it was before the kill."""
    sent = list[tuple[object, ...]]()
    monkeypatch.setattr(module, "descendants_of", lambda pid: [] if sent else [8, 9])
    monkeypatch.setattr(
        module,
        "send_signal",
        lambda pid, number, is_group=False: sent.append((pid, number, is_group)),
    )
    module._kill(7)
    kill = signal.SIGKILL
    assert sent == [(7, kill, True), (8, kill, False), (9, kill, False)]


def test_program_is_looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each 50 ms where its end is not seen at once, and no longer than to the deadline; once it has
    ended what it printed is taken, without a wait.
    """
    time = SimulatedClock(monkeypatch)
    reading = cast(Any, module._Reading.__new__(module._Reading))
    reading.output = reading.errors = b""
    reading._pid, reading._end = PID, -1
    waits = list[float]()

    def poll(limit_ms: float) -> list[tuple[int, int]]:
        waits.append(limit_ms)
        time.now += limit_ms / 1000
        return []

    reading._poll = SimpleNamespace(poll=poll)
    monkeypatch.setattr(module, "is_ended_child", lambda pid: False)
    assert reading.read_until(0.125) is None
    assert waits == pytest.approx([50.0, 50.0, 25.0])
    monkeypatch.setattr(module, "is_ended_child", lambda pid: True)
    waits.clear()
    assert reading.read_until(9.0) == "" and waits == [0]


class Pipes:
    """What a child prints to, and the process that it belongs to, which is this one."""

    pid = os.getpid()

    def __init__(self) -> None:
        (out, self.out), (err, self.err) = os.pipe(), os.pipe()
        self.stdout, self.stderr = open(out, "rb"), open(err, "rb")

    def close(self) -> None:
        for handle in (self.out, self.err):
            os.close(handle)
        self.stdout.close()
        self.stderr.close()


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Pipes, Any]]:
    """The pipes of a child that has ended, and how they are read."""
    SimulatedClock(monkeypatch)
    pipes = Pipes()
    reading = cast(Any, module._Reading(cast(Any, pipes)))
    monkeypatch.setattr(module, "is_ended_child", lambda pid: True)
    yield pipes, reading
    reading.close()
    pipes.close()


@pytest.mark.parametrize("can_see_ends", [False, True])
def test_end_of_a_child_is_seen_at_once_where_that_can_be(
    can_see_ends: bool, closed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pipes are never waited for, and nothing is left open."""
    if not can_see_ends:

        def refuse(pid: int) -> int:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(os, "pidfd_open", refuse)
    pipes = Pipes()
    reading = cast(Any, module._Reading(cast(Any, pipes)))
    handles = [pipes.stdout.fileno(), pipes.stderr.fileno()]
    assert [os.get_blocking(handle) for handle in handles] == [False, False]
    assert (reading._end >= 0) is can_see_ends
    for handle in [*handles, *([reading._end] if can_see_ends else [])]:
        reading._poll.unregister(handle)
    closed.clear()
    reading.close()
    assert (reading._end in closed) is can_see_ends
    pipes.close()


def test_all_that_a_child_printed_before_its_end_is_taken(
    ended: tuple[Pipes, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Piece by piece, until nothing is left."""
    pipes, reading = ended
    monkeypatch.setattr(module, "ANSWER_BYTES", 4)
    os.write(pipes.out, b"abcd")
    os.write(pipes.err, b"error")
    monkeypatch.setattr(os, "read", _by_two(os.read))
    assert reading.read_until(9.0) == ""
    assert (reading.output, reading.errors) == (b"abcd", b"rror")
    os.write(pipes.out, b"e")
    assert reading.read_until(9.0) == "an answer of more than 4 bytes: killed"


def test_pipe_of_errors_that_was_closed_ends_no_answer(
    ended: tuple[Pipes, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has nothing to be read, and the other one has more."""
    pipes, reading = ended
    os.write(pipes.out, b"abcdef")
    os.close(pipes.err)
    monkeypatch.setattr(os, "read", _by_two(os.read))
    assert reading.read_until(9.0) == "" and reading.output == b"abcdef"
    pipes.err = os.dup(pipes.out)


def test_pipe_that_cannot_be_read_has_nothing(
    ended: tuple[Pipes, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it read again."""
    pipes, reading = ended
    os.write(pipes.out, b"abc")

    def refuse(handle: int, limit: int) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", refuse)
        assert reading.read_until(9.0) == "" and reading.output == b""


def test_pipe_that_was_closed_is_not_looked_at_any_more() -> None:
    """It would be ready each time, without a wait."""
    pipes = Pipes()
    reading = cast(Any, module._Reading(cast(Any, pipes)))
    handle = pipes.stdout.fileno()
    os.write(pipes.out, b"abc")
    assert reading._take(handle) is True and reading._take(handle) is False
    os.close(pipes.out)
    assert reading._take(handle) is False and reading.output == b"abc"
    with pytest.raises(FileNotFoundError):
        reading._poll.modify(handle, 0)
    reading.close()
    pipes.out = os.dup(pipes.err)
    pipes.close()


def _by_two(read: Callable[[int, int], bytes]) -> Callable[[int, int], bytes]:
    return lambda handle, limit: read(handle, min(limit, 2))
