"""The script runner without a script: whose turn it is, what a process is given, and what is made
of its end. Threads, processes and logs are those of the test.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from opensvc_openha.core.actions import RunScript
from opensvc_openha.core.events import ScriptExited, ScriptKind, ScriptOutcome
from opensvc_openha.core.model import ScriptLimits, ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import KILL_GRACE_S, SCRIPTS_AT_ONCE
from opensvc_openha.daemon import script_runner as module
from opensvc_openha.daemon.memory_guard import MemoryGuard
from opensvc_openha.daemon.script_runner import ScriptRunner, ask_wrapper
from opensvc_openha.daemon.spawn_turn import SpawnTurn
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.system import clock
from opensvc_openha.system.script_log import NO_ROOM
from tests.simulated_clock import SimulatedClock

CHECK, START, STOP, PROBE, POWER = (
    ScriptKind.CHECK, ScriptKind.START, ScriptKind.STOP, ScriptKind.PROBE, ScriptKind.POWER,
)  # fmt: skip
Out = ScriptOutcome
QUESTIONS = (PROBE, POWER)


class Log:
    """The log of one run."""

    def __init__(self, rig: Rig, path: str, is_answer: bool, may_linger: bool) -> None:
        self.given = (path, is_answer, may_linger)
        self.notes: list[str] = []
        self.is_closed = False
        self.is_lost = rig.is_log_lost
        self.handle = 99
        self._rig = rig
        rig.logs.append(self)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def output(self) -> str:
        return self._rig.outputs.pop(0) if len(self._rig.outputs) > 1 else self._rig.outputs[0]

    def close(self) -> None:
        self.is_closed = True


class Thread:
    """A thread that runs when the test wants it to, or cannot be had."""

    def __init__(self, rig: Rig, target: Callable[[], None], name: str, daemon: bool) -> None:
        assert daemon, "scripts keep no daemon from ending"
        self._rig, self.run = rig, target

    def start(self) -> None:
        if self._rig.thread_error is not None:
            raise self._rig.thread_error
        self._rig.threads.append(self)


class Rig:
    """A runner, and all that it does."""

    def __init__(self, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = SimulatedClock(monkeypatch)
        self.time.now = 100.0
        monkeypatch.setattr(clock, "wall", lambda: 0.0)
        self.layout = tree_layout(root)
        Path(self.layout.proc_dir).mkdir(parents=True)
        self.ends: list[ScriptExited] = []
        self.logs: list[Log] = []
        self.is_log_lost = False
        self.outputs = [""]
        self.threads: list[Thread] = []
        self.thread_error: Exception | None = None
        self.spawned: list[tuple[list[str], Mapping[str, str]]] = []
        self.spawn_error: OSError | None = None
        self.waits: list[float] = []
        self.codes: list[int | None] = [0]
        self.takes_s = 2.5
        self.notes: list[str] = []
        self.named_before: list[bool] = []
        self.reasons: dict[str, str] = {}
        self.has_waited = False
        for name, stand_in in (
            ("_spawn", self._spawn),
            ("_wait", self._wait),
            (
                "ScriptLog",
                lambda path, is_answer, may_linger: Log(self, path, is_answer, may_linger),
            ),
            ("why_not_runnable", lambda path: self.reasons.get(path, "")),
            ("reports_status", lambda path: path == "/opt/agent"),
            ("start_of_process", lambda pid: "12345"),
            (
                "threading",
                SimpleNamespace(Thread=lambda **given: Thread(self, **given), Lock=threading.Lock),
            ),
        ):
            monkeypatch.setattr(module, name, stand_in)
        self.runner = self.make()

    def make(self, memory: MemoryGuard | None = None) -> ScriptRunner:
        runner = ScriptRunner(self.layout, "deb1", "deb2", self.ends.append, memory)
        assert isinstance(cast(Any, runner)._spawning, SpawnTurn)
        cast(Any, runner)._spawning = self._turn()
        return runner

    def _turn(self) -> Any:
        rig = self

        class Turn:
            def __enter__(self) -> bool:
                return rig.has_waited

            def __exit__(self, *error: object) -> None: ...

        return Turn()

    def _spawn(self, argv: list[str], environment: Mapping[str, str], log: Log) -> Any:
        if self.spawn_error is not None:
            raise self.spawn_error
        self.spawned.append((argv, environment))
        self.named_before.append(os.path.exists(self.layout.script_file("web")))
        return SimpleNamespace(pid=4_321)

    def _wait(self, process: Any, limit_s: float) -> int | None:
        assert process.pid == 4_321
        self.waits.append(limit_s)
        named = Path(self.layout.script_file("web"))
        self.notes.append(named.read_text() if named.is_file() else "")
        self.time.now += self.takes_s
        return self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]

    def begin(self, action: RunScript, why_not: Callable[[], str] = lambda: "") -> None:
        self.runner.run(action, why_not)

    def run(
        self, kind: ScriptKind, why_not: Callable[[], str] = lambda: "", **other: Any
    ) -> tuple[ScriptOutcome, str]:
        """Has one run; how it ended."""
        self.begin(replace(script(kind), **other), why_not)
        self.threads.pop().run()
        end = self.ends.pop()
        assert (end.service, end.kind) == ("web", kind) and self.ends == []
        return end.outcome, end.detail

    @property
    def commands(self) -> list[list[str]]:
        return [argv for argv, _ in self.spawned]


def script(kind: ScriptKind, service: str = "web") -> RunScript:
    """One to run."""
    return RunScript(service, kind, "/opt/web", ServiceState.STOPPED, PeerStanding.SILENT)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Each script ends with 0 after 2.5 s, and prints nothing."""
    return Rig(str(tmp_path), monkeypatch)


# --- turns ----------------------------------------------------------------------------------------


def test_so_many_threads_run_the_scripts_and_statuses_come_last(rig: Rig) -> None:
    """Two at once: the third waits for one of the two; both end when nothing waits."""
    rig.runner.configure((), 2)
    for number, kind in enumerate((PROBE, PROBE, STOP, CHECK)):
        rig.begin(script(kind, f"s{number}"))
    assert len(rig.threads) == 2 and rig.ends == []
    rig.threads[0].run()
    assert [end.service for end in rig.ends] == ["s2", "s3", "s0", "s1"]
    rig.threads[1].run()
    assert len(rig.ends) == 4
    for number in (4, 5, 6):
        rig.begin(script(PROBE, f"s{number}"))
    assert len(rig.threads) == 4, "as many as before"


def test_32_scripts_run_at_once_unless_that_is_configured(rig: Rig) -> None:
    """The default."""
    for number in range(SCRIPTS_AT_ONCE + 3):
        rig.begin(script(START, f"s{number}"))
    assert len(rig.threads) == SCRIPTS_AT_ONCE


def test_thread_that_is_one_too_many_ends(rig: Rig) -> None:
    """Fewer are configured while three run: the first two to end take nothing more."""
    rig.runner.configure((), 3)
    for number in range(5):
        rig.begin(script(START, f"s{number}"))
    rig.runner.configure((), 1)
    for thread in rig.threads[:2]:
        thread.run()
    assert rig.ends == []
    rig.threads[2].run()
    assert len(rig.ends) == 5


@pytest.mark.parametrize(("count", "is_many"), [(15, False), (16, True), (20, True)])
def test_memory_is_given_back_after_many_scripts(
    rig: Rig, count: int, is_many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the last of 16 at a time has ended; one that runs alone later needs none of that."""
    given, ended = list[int](), list[int]()
    monkeypatch.setattr(module, "give_back", lambda: given.append(len(ended)))
    for number in range(count):
        rig.begin(script(PROBE, f"s{number}"))
    for thread in rig.threads:
        thread.run()
        ended.append(1)
    assert given == ([count - 1] if is_many else [])
    rig.begin(script(PROBE))
    rig.threads.pop().run()
    assert len(given) == is_many


def test_closed_runner_begins_nothing(rig: Rig) -> None:
    """What waits is dropped, and what comes later."""
    for kind in (START, PROBE):
        rig.begin(script(kind))
    rig.runner.close()
    rig.begin(script(STOP))
    for thread in rig.threads:
        thread.run()
    assert rig.ends == [] and len(rig.threads) == 2


@pytest.mark.parametrize("kind", list(ScriptKind))
def test_script_without_a_thread_fails_unless_another_takes_it(rig: Rig, kind: ScriptKind) -> None:
    """With the only thread there is, it is run later."""
    rig.thread_error = RuntimeError("can't start new thread")
    rig.begin(script(kind))
    outcome = Out.UNSURE if kind in QUESTIONS else Out.FAILED
    text = "could not be run: can't start new thread"
    assert rig.ends == [ScriptExited("web", kind, outcome, text)]
    rig.thread_error = None
    rig.begin(script(kind, "first"))
    rig.thread_error = RuntimeError("can't start new thread")
    rig.begin(script(kind, "second"))
    assert len(rig.ends) == 1 and len(rig.threads) == 1
    rig.threads[0].run()
    assert [end.service for end in rig.ends] == ["web", "first", "second"]


def test_script_that_another_thread_took_is_not_reported_twice(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended before the thread for it could not be had."""

    def start(thread: Thread) -> None:
        cast(Any, rig.runner)._urgent.clear()
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Thread, "start", start)
        rig.begin(script(START))
    assert rig.ends == [] and rig.run(START)[0] is Out.OK


@pytest.mark.parametrize("kind", list(ScriptKind))
@pytest.mark.parametrize("is_overtaken", [False, True])
def test_check_up_and_start_that_are_overtaken_are_put_off(
    rig: Rig, kind: ScriptKind, is_overtaken: bool
) -> None:
    """Decided again; everything else runs all the same."""
    is_put_off = is_overtaken and kind in (CHECK, START)
    outcome, detail = rig.run(kind, lambda: "the peer is back" if is_overtaken else "")
    assert (outcome is Out.POSTPONED) is is_put_off and (rig.spawned == []) is is_put_off
    if is_put_off:
        assert detail == "the peer is back"


@pytest.mark.parametrize("kind", list(ScriptKind))
@pytest.mark.parametrize("has_waited", [False, True])
@pytest.mark.parametrize("is_overtaken", [False, True])
def test_script_is_asked_again_once_it_has_waited_for_its_turn(
    rig: Rig, kind: ScriptKind, has_waited: bool, is_overtaken: bool
) -> None:
    """This node may have stood still in the meantime; nothing is asked where it had not to wait."""
    rig.has_waited = has_waited
    is_revocable = kind in (CHECK, START)
    why = "the peer is back"
    answers = ["", why if is_overtaken else ""] if is_revocable else [why, why]
    outcome, _ = rig.run(kind, lambda: answers.pop(0))
    is_put_off = has_waited and is_revocable and is_overtaken
    assert (outcome is Out.POSTPONED) is is_put_off and (rig.spawned == []) is is_put_off
    (log,) = rig.logs
    assert log.is_closed
    assert ("not begun: the peer is back\n" in log.notes) is is_put_off


@pytest.mark.parametrize("kind", list(ScriptKind))
def test_doubtful_fence_is_not_run(
    rig: Rig, kind: ScriptKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it asked for the peer's power; a wrapper is none."""
    monkeypatch.setattr(module, "find_doubt", lambda path, layout: f"{path} proves nothing")
    outcome, detail = rig.run(kind)
    is_fence = kind in (CHECK, POWER)
    assert (rig.spawned == []) is is_fence
    if is_fence:
        assert outcome is (Out.UNSURE if kind is POWER else Out.FAILED)
        assert detail == "not run: /opt/web proves nothing"


def test_error_of_the_runner_is_an_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine waits for it."""

    def fail(*given: object) -> None:
        raise ZeroDivisionError("what now")

    monkeypatch.setattr(module, "_spawn", fail)
    assert rig.run(START) == (Out.FAILED, "could not be run: what now")
    assert rig.run(PROBE) == (Out.UNSURE, "could not be run: what now")


# --- a process ------------------------------------------------------------------------------------


def test_process_is_given_its_command_and_what_is_known(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment of the daemon, with its places, and with a path where there is none."""
    monkeypatch.setattr(os, "environ", {"HOME": "/root", "PATH": "/bin"})
    rig.runner.configure(
        (ServiceSpec("web", "/opt/web", "deb1", "deb2", "/x", limits=ScriptLimits(stop_s=7.5)),), 4
    )
    rig.run(STOP)
    ((argv, environment),) = rig.spawned
    assert argv == ["/opt/web", "stop"] and rig.waits == [7.5]
    assert environment == {
        "HOME": "/root", "PATH": "/bin", **rig.layout.environment(),
        "OPENHA_SERVICE": "web", "OPENHA_ACTION": STOP.value, "OPENHA_NODE": "deb1",
        "OPENHA_PEER": "deb2", "OPENHA_PEER_STATE": "STOPPED", "OPENHA_PEER_STANDING": "silent",
        "OPENHA_LIMIT_S": "7.5",
    }  # fmt: skip
    monkeypatch.setattr(os, "environ", {"PATH": ""})
    rig.run(START)
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert rig.spawned[1][1]["PATH"] == path and rig.waits[1] == 600.0


def test_process_gets_the_score_that_the_daemon_had(rig: Rig) -> None:
    """Unless it cannot run: then the system names the cause."""
    guard = MemoryGuard()
    cast(Any, guard).command = lambda command: ["score", *command]
    rig.runner = rig.make(guard)
    rig.run(START)
    rig.reasons["/opt/web"] = "it is a directory"
    rig.run(START)
    assert rig.commands == [["score", "/opt/web", "start"], ["/opt/web", "start"]]
    assert cast(Any, rig.make())._memory.is_on is False


@pytest.mark.parametrize("kind", list(ScriptKind))
def test_log_of_a_run(rig: Rig, kind: ScriptKind) -> None:
    """What is asked comes apart; a service that is started may print for as long as it lives."""
    rig.run(kind)
    (log,) = rig.logs
    assert log.given == (rig.layout.script_log("web"), kind in QUESTIONS, kind is START)
    word = {CHECK: "start", START: "start", STOP: "stop"}.get(kind, "status")
    assert len(log.notes) == 1 and log.notes[0].endswith(f" /opt/web {word}\n") and log.is_closed
    assert log.notes[0].startswith(clock.stamp(0.0))


@pytest.mark.parametrize("kind", list(ScriptKind))
def test_running_script_is_named_in_a_file(rig: Rig, kind: ScriptKind) -> None:
    """But for a question to a fence, whose end is not waited for."""
    rig.run(kind)
    assert rig.notes == ["" if kind is POWER else f"4321 12345 {kind.value}\n"]
    assert not os.path.exists(rig.layout.script_file("web"))


def test_script_runs_although_it_cannot_be_named(rig: Rig) -> None:
    """A full disk, or a directory in the way."""
    os.mkdir(rig.layout.script_file("web"))
    assert rig.run(START) == (Out.OK, "took 2.5 s")
    os.rmdir(rig.layout.script_file("web"))


@pytest.mark.parametrize(
    ("content", "is_kept"), [("4321 1 stop\n", False), ("", False), ("99 1 start\n", True)]
)
def test_note_that_names_the_next_script_stays(rig: Rig, content: str, is_kept: bool) -> None:
    """An engine that began again may have run that; bytes that are no text are another's, too."""
    named = Path(rig.layout.script_file("web"))
    named.write_text(content)
    cast(Any, rig.runner)._forget_running("web", 4_321)
    assert named.exists() is is_kept
    named.write_bytes(b"\xff\xfe 1")
    cast(Any, rig.runner)._forget_running("web", 4_321)
    assert named.exists()
    named.unlink()
    cast(Any, rig.runner)._forget_running("web", 4_321)


@pytest.mark.parametrize("kind", list(ScriptKind))
def test_process_that_cannot_be_started(rig: Rig, kind: ScriptKind) -> None:
    """A start has touched nothing; the reason is the file's, or else the system's."""
    rig.spawn_error = OSError(12, "Cannot allocate memory")
    outcome = {START: Out.NOT_BEGUN, PROBE: Out.UNSURE, POWER: Out.UNSURE}.get(kind, Out.FAILED)
    assert rig.run(kind) == (outcome, "/opt/web: Cannot allocate memory")
    rig.reasons["/opt/web"] = "/opt/web is no file"
    assert rig.run(kind) == (outcome, "/opt/web is no file")
    assert all(log.is_closed for log in rig.logs)


@pytest.mark.parametrize("kind", list(ScriptKind))
def test_process_that_passed_its_limit(rig: Rig, kind: ScriptKind) -> None:
    """It was killed, and is no success, whatever it printed."""
    rig.codes, rig.outputs = [None], ["up"]
    outcome, detail = rig.run(kind)
    limit = "600" if kind in (START, STOP) else "60"
    assert outcome is (Out.UNSURE if kind in QUESTIONS else Out.FAILED)
    assert detail.endswith(f"did not end within {limit} s and was killed")
    assert rig.logs[0].notes[1] == f"ended after its limit of {limit} s\n"


@pytest.mark.parametrize("kind", [CHECK, START, STOP])
@pytest.mark.parametrize(
    ("code", "output", "is_lost", "text"),
    [
        (1, "", False, "exited with 1"),
        (3, "no\nlast\n", False, "exited with 3 (last)"),
        (-9, "", False, "was ended by signal 9"),
        (3, "last", True, "its output is lost"),
        (127, "", False, "exited with 127: not found"),
        (126, "", False, "exited with 126: not found"),
        (4, "", False, "exited with 4"),
    ],
)
def test_process_that_failed(
    rig: Rig, kind: ScriptKind, code: int, output: str, is_lost: bool, text: str
) -> None:
    """With its last line, and why it cannot run where the shell reports that."""
    rig.codes, rig.outputs, rig.is_log_lost = [code], [output], is_lost
    monkey = rig.reasons
    argument = "stop" if kind is STOP else "start"
    if code in (126, 127):
        monkey["/opt/web"] = "not found"
    outcome, detail = rig.run(kind)
    assert outcome is Out.FAILED and detail.startswith(f"/opt/web {argument} ")
    if is_lost:
        assert NO_ROOM in detail and "last" not in detail
    else:
        assert detail == f"/opt/web {argument} {text}"


@pytest.mark.parametrize("kind", [CHECK, START, STOP])
@pytest.mark.parametrize("is_down", [False, True])
def test_start_that_refuses_its_configuration_has_touched_nothing(
    rig: Rig, kind: ScriptKind, is_down: bool
) -> None:
    """Where the wrapper itself reports the service down; it is not asked after anything else."""
    code = ConfigError.exit_code
    rig.codes, rig.outputs = (
        [code, 1 if is_down else 0],
        ["no such option", "down" if is_down else "up"],
    )
    outcome, detail = rig.run(kind)
    assert outcome is (Out.NOT_BEGUN if kind is START and is_down else Out.FAILED)
    assert detail.endswith(f"exited with {code} (no such option)")
    asked = [["/opt/web", "status"]] if kind is START else []
    assert rig.commands[1:] == asked


def test_other_failures_of_a_start_ask_nothing(rig: Rig) -> None:
    """Only the exit code of a wrong configuration does."""
    rig.codes = [ConfigError.exit_code + 1]
    assert rig.run(START)[0] is Out.FAILED and len(rig.spawned) == 1


@pytest.mark.parametrize("flushes", [False, True])
@pytest.mark.parametrize(
    ("codes", "outcome"), [((0, 0), Out.OK), ((0, 1), Out.FAILED), ((1, 0), Out.FAILED)]
)
def test_stop_waits_for_its_disks(
    rig: Rig, flushes: bool, codes: tuple[int, int], outcome: ScriptOutcome
) -> None:
    """Where it has to; after a stop that failed nothing is waited for."""
    rig.codes = list(codes)
    found = rig.run(STOP, flushes=flushes)
    if flushes and codes[0] == 0:
        assert rig.commands == [["/opt/web", "stop"], ["/bin/sync"]] and found[0] is outcome
        assert found[1].startswith("not all is written to its disks: ") is (codes[1] != 0)
    else:
        assert rig.commands == [["/opt/web", "stop"]]
        assert found[0] is (Out.OK if codes[0] == 0 else Out.FAILED)
    if found[0] is Out.OK:
        assert found[1] == "took 2.5 s"


# --- questions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_agent", [False, True])
def test_status_is_read_from_word_and_exit_code(is_agent: bool, rig: Rig) -> None:
    """All that is recognized, and nothing else; of an agent's wrapper the exit code counts, too."""
    path = "/opt/agent" if is_agent else "/opt/web"
    words = [
        "",
        "up",
        "started",
        "running",
        "down",
        "stopped",
        "warn",
        "stdby",
        "what",
        "UP",
        "Down",
    ]
    up = {(0, word) for word in ("up", "started", "running", "UP")}
    down = {(code, word) for code in (0, 1, 3) for word in ("down", "stopped", "Down")}
    down |= {(code, "stdby") for code in (2, 6, 7)}
    some = {(2, "warn")}
    if is_agent:
        up.add((0, ""))
        down |= {(1, word) for word in words}
    for code in (-9, 0, 1, 2, 3, 4, 5, 6, 7, 8):
        for word in words:
            expected = Out.UNSURE
            if (code, word) in up:
                expected = Out.UP
            elif (code, word) in down:
                expected = Out.DOWN
            elif (code, word) in some:
                expected = Out.SOME
            rig.codes, rig.outputs = [code], [f"{word} and more" if word else ""]
            outcome, detail = rig.run(PROBE, path=path)
            assert outcome is expected, (code, word)
            assert detail == f"status: exit code {code}"


def test_power_is_read_from_the_last_word_and_the_exit_code(rig: Rig) -> None:
    """Both must agree."""
    for code in (0, 1, 2, 3):
        for output in ("on", "off", "asked twice: off", "off on", "", "off, surely"):
            expected = {
                (2, "off"): Out.DOWN, (2, "asked twice: off"): Out.DOWN, (0, "on"): Out.UP,
                (0, "off on"): Out.UP,
            }.get((code, output), Out.UNSURE)  # fmt: skip
            rig.codes, rig.outputs = [code], [output]
            assert rig.run(POWER) == (expected, f"power status: exit code {code}"), (code, output)


def test_question_outside_the_engine_takes_no_place(rig: Rig) -> None:
    """No log, no note of it, the service's own limit; it is never an error."""
    limits = ScriptLimits(probe_s=7.0)
    rig.runner.configure((ServiceSpec("web", "/opt/web", "a", "b", "/x", limits=limits),), 1)
    rig.outputs = ["up"]
    assert rig.runner.ask("web", "/opt/other") is Out.UP
    ((argv, environment),) = rig.spawned
    assert argv == ["/opt/other", "status"] and environment["OPENHA_ACTION"] == PROBE.value
    assert environment["OPENHA_PEER_STANDING"] == PeerStanding.UNKNOWN.value
    assert environment["OPENHA_PEER_STATE"] == "UNKNOWN" and environment["OPENHA_LIMIT_S"] == "7"
    assert rig.waits == [7.0] and rig.notes == [""] and rig.threads == []
    assert rig.logs[0].given == ("", True, False) and rig.logs[0].is_closed
    rig.codes = [None]
    assert rig.runner.ask("web", "/opt/other") is Out.UNSURE
    rig.spawn_error = OSError(12, "Cannot allocate memory")
    assert rig.runner.ask("web", "/opt/other") is Out.UNSURE
    assert all(log.is_closed for log in rig.logs)


@pytest.mark.parametrize(
    ("answer", "expected"), [((0, "up"), Out.UP), ((1, "down"), Out.DOWN), (None, Out.UNSURE)]
)
def test_command_asks_a_wrapper_itself(
    rig: Rig,
    answer: tuple[int, str] | None,
    expected: ScriptOutcome,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While no daemon answers, for a minute at most, and with a path."""
    asked = list[tuple[object, ...]]()
    monkeypatch.setattr(module, "ask_program", lambda *given: (asked.append(given), answer)[1])
    monkeypatch.setattr(os, "environ", {"HOME": "/root"})
    assert ask_wrapper("/opt/web") is expected
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    monkeypatch.setattr(os, "environ", {"HOME": "/root", "PATH": "/bin"})
    ask_wrapper("/opt/web")
    assert asked == [
        (["/opt/web", "status"], 60.0, {"HOME": "/root", "PATH": found}) for found in (path, "/bin")
    ]


# --- the script of a daemon that died -------------------------------------------------------------


@pytest.mark.parametrize("kind", list(ScriptKind))
@pytest.mark.parametrize("is_over_in_time", [False, True])
def test_only_a_status_waits_for_the_script_of_the_daemon_before(
    rig: Rig, kind: ScriptKind, is_over_in_time: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as the longest may take; then it is ended with all that it started."""
    named = Path(rig.layout.script_file("web"))
    named.write_text("77 12345 start\n")
    waited, ended = list[tuple[object, ...]](), list[tuple[object, ...]]()

    def wait(pids: list[int], limit_s: float, is_over: Callable[[int], bool]) -> list[int]:
        # It is another process once it began at another time.
        assert not is_over(77)
        monkeypatch.setattr(module, "start_of_process", lambda pid: "99999")
        assert is_over(77)
        waited.append((pids, limit_s))
        return [] if is_over_in_time else pids

    def end(pids: list[int], grace_s: float, is_group: bool = False) -> None:
        ended.append((pids, grace_s, is_group))

    monkeypatch.setattr(module, "wait_for_end", wait)
    monkeypatch.setattr(module, "end_processes", end)
    limits = ScriptLimits(1.0, 2.0, 900.0, 3.0)
    rig.runner.configure((ServiceSpec("web", "/opt/web", "a", "b", "/x", limits=limits),), 1)
    rig.run(kind)
    is_status = kind is PROBE
    assert waited == ([([77], 900.0)] if is_status else [])
    is_ended = is_status and not is_over_in_time
    assert ended == ([([77], KILL_GRACE_S, True)] if is_ended else [])
    assert rig.named_before == [not is_status]
    # A question to a fence has no note of its own.
    assert named.exists() is (kind is POWER)


@pytest.mark.parametrize("content", [b"", b"x y z\n", b"1\n", b"\xff 1 start\n"])
def test_damaged_note_keeps_nobody_waiting(
    rig: Rig, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one that is missing; and no process is ended."""
    monkeypatch.setattr(module, "wait_for_end", None)
    monkeypatch.setattr(module, "end_processes", None)
    rig.outputs = ["up"]
    Path(rig.layout.script_file("web")).write_bytes(content)
    assert rig.run(PROBE)[0] is Out.UP
    assert rig.run(PROBE)[0] is Out.UP


# --- the process itself ---------------------------------------------------------------------------


def test_process_has_a_group_of_its_own_and_nothing_to_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And keeps no file system busy."""
    given = list[Any]()
    stand_in = SimpleNamespace(
        Popen=lambda argv, **options: given.append((argv, options)), DEVNULL=subprocess.DEVNULL
    )
    monkeypatch.setattr(module, "subprocess", stand_in)
    module._spawn(["/opt/web", "stop"], {"A": "b"}, cast(Any, SimpleNamespace(handle=9)))
    assert given == [
        (
            ["/opt/web", "stop"],
            {
                "stdin": subprocess.DEVNULL, "stdout": 9, "stderr": 9, "cwd": "/",
                "start_new_session": True, "env": {"A": "b"},
            },
        )
    ]  # fmt: skip


def test_process_is_ended_with_its_group_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has some seconds after SIGTERM, and has ended once it was waited for."""
    ended = list[tuple[object, ...]]()

    def end(
        pids: list[int], grace_s: float, is_over: Callable[[int], bool], is_group: bool = False
    ) -> None:
        ended.append((pids, grace_s, is_group, is_over(7)))

    class Process:
        pid = 7

        def __init__(self, code: int | None) -> None:
            self.code = code

        def wait(self) -> int:
            assert self.code is not None
            return self.code

        def poll(self) -> int | None:
            return self.code

    monkeypatch.setattr(module, "end_processes", end)
    for code in (4, None):
        monkeypatch.setattr(
            module, "wait_for_child", lambda *given, code=code: given == (7, 3.0) and code == 4
        )
        assert module._wait(cast(Any, Process(code)), 3.0) == code
        assert bool(ended) is (code is None)
    assert ended == [([7], KILL_GRACE_S, True, False)]
