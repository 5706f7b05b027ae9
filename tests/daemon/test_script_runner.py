"""The script runner with real scripts: limits, process groups, what a script is given, and what is
made of how it ends.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from opensvc_openha.core.actions import RunScript
from opensvc_openha.core.events import ScriptExited, ScriptKind, ScriptOutcome
from opensvc_openha.core.model import ScriptLimits, ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.daemon import script_runner
from opensvc_openha.daemon.script_runner import ScriptRunner
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.system.processes import start_of_process
from tests.waiting import LIMIT_S, until

SHORT = ScriptLimits(0.3, 0.3, 0.3, 0.3)


class Runner:
    """A runner with one service whose script the test writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.script = root / "web.sh"
        self.layout = tree_layout(str(root))
        os.makedirs(self.layout.proc_dir)
        self.ends: queue.SimpleQueue[ScriptExited] = queue.SimpleQueue()
        self.runner = ScriptRunner(self.layout, "deb1", "deb2", self.ends.put)

    def write(self, body: str) -> None:
        """The script; it notes each call in ``calls``."""
        self.script.write_text(f"#!/bin/sh\necho $1 >> {self.root}/calls\n{body}\n")
        self.script.chmod(0o755)

    def limit(self, limits: ScriptLimits, at_once: int = 4) -> None:
        """Other limits for its scripts."""
        self.runner.configure(
            (ServiceSpec("web", str(self.script), "deb1", "deb2", "/bin/true", limits=limits),),
            at_once,
        )

    def begin(self, kind: ScriptKind, path: str | None = None, flushes: bool = False) -> None:
        """Has it run."""
        path = path or str(self.script)
        action = RunScript("web", kind, path, ServiceState.UNKNOWN, PeerStanding.SILENT, flushes)
        self.runner.run(action, lambda: "")

    def run(self, kind: ScriptKind, path: str | None = None) -> ScriptExited:
        """Has it run; how it ended."""
        self.begin(kind, path)
        return self.ends.get(timeout=LIMIT_S)

    @property
    def calls(self) -> list[str]:
        """What the script was called with."""
        return (self.root / "calls").read_text().split() if (self.root / "calls").exists() else []

    @property
    def log(self) -> str:
        """The service's log."""
        return Path(self.layout.log_dir, "web.log").read_text()


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Grace is short: what ignores SIGTERM does so for good."""
    monkeypatch.setattr(script_runner, "KILL_GRACE_S", 0.2)
    return Runner(tmp_path)


def is_gone(pid: str) -> bool:
    """True once no living process has that pid."""
    return not start_of_process(int(pid))


@pytest.mark.parametrize(
    "kind, word",
    [
        (ScriptKind.CHECK, "start"),
        (ScriptKind.START, "start"),
        (ScriptKind.STOP, "stop"),
        (ScriptKind.PROBE, "status"),
    ],
)
def test_script_is_called_with_its_word_and_given_what_is_known(
    runner: Runner, kind: ScriptKind, word: str
) -> None:
    """One argument; service, action, nodes, and state and standing of the peer in the
    environment.
    """
    runner.write(
        "env | grep ^OPENHA_ | grep -v ^OPENHA_TEST_ | sort > $(dirname $0)/env; pwd > $(dirname"
        " $0)/pwd; cat; echo up"
    )
    end = runner.run(kind)
    assert (end.service, end.kind) == ("web", kind)
    assert end.outcome is (ScriptOutcome.UP if kind is ScriptKind.PROBE else ScriptOutcome.OK), end
    assert runner.calls == [word]
    limit = 600 if kind in (ScriptKind.START, ScriptKind.STOP) else 60
    assert (runner.root / "env").read_text().splitlines() == [
        f"OPENHA_ACTION={kind.value}",
        f"OPENHA_LIMIT_S={limit}",
        "OPENHA_NODE=deb1",
        "OPENHA_PEER=deb2",
        "OPENHA_PEER_STANDING=silent",
        "OPENHA_PEER_STATE=UNKNOWN",
        "OPENHA_SERVICE=web",
    ]
    assert (runner.root / "pwd").read_text() == "/\n", "it keeps no file system busy"


def test_check_up_script_gets_the_limit_that_is_configured(runner: Runner) -> None:
    """`check_timeout` of its service: it can divide its time."""
    runner.write("echo $OPENHA_LIMIT_S > $(dirname $0)/limit")
    runner.limit(ScriptLimits(check_s=120.5))
    assert runner.run(ScriptKind.CHECK).outcome is ScriptOutcome.OK
    assert (runner.root / "limit").read_text() == "120.5\n"


@pytest.mark.parametrize("kind", list(ScriptKind))
def test_script_that_passes_its_limit_is_no_success_and_all_it_started_is_ended(
    runner: Runner, kind: ScriptKind
) -> None:
    """It ignores SIGTERM, and so does what it left in the background: both are gone when its end is
    reported as a failure.
    """
    runner.write("trap '' TERM; sleep 10000 & echo $! > $(dirname $0)/child; echo up; sleep 10000")
    runner.limit(SHORT)
    end = runner.run(kind)
    asks = kind in (ScriptKind.PROBE, ScriptKind.POWER)
    assert end.outcome is (ScriptOutcome.UNSURE if asks else ScriptOutcome.FAILED)
    assert end.detail.endswith("did not end within 0.3 s and was killed")
    until(lambda: is_gone((runner.root / "child").read_text()))
    assert "ended after its limit of 0.3 s" in runner.log
    assert not os.path.exists(runner.layout.script_file("web"))


def test_script_that_heeds_sigterm_at_its_limit_is_no_success_either(runner: Runner) -> None:
    """It cleans up and exits with 0: what was asked for was not done in time."""
    runner.write("trap 'echo cleaned; exit 0' TERM; while :; do sleep 0.05; done")
    runner.limit(SHORT)
    assert runner.run(ScriptKind.START).outcome is ScriptOutcome.FAILED
    assert "cleaned" in runner.log


def test_each_kind_of_script_has_its_own_limit(runner: Runner) -> None:
    """Only the check-up's is short: the others may take their time."""
    runner.write("sleep 0.6; echo up")
    runner.limit(ScriptLimits(check_s=0.2, start_s=LIMIT_S, stop_s=LIMIT_S, probe_s=LIMIT_S))
    outcomes = {kind: runner.run(kind).outcome for kind in ScriptKind}
    assert outcomes == {
        ScriptKind.CHECK: ScriptOutcome.FAILED,
        ScriptKind.START: ScriptOutcome.OK,
        ScriptKind.STOP: ScriptOutcome.OK,
        ScriptKind.PROBE: ScriptOutcome.UP,
        ScriptKind.POWER: ScriptOutcome.UNSURE,
    }


def test_defaults_hold_where_nothing_is_configured() -> None:
    """As the table in the documentation shows; a limit of 0 is a limit."""
    defaults = {kind: script_runner._limit_s(ScriptLimits(), kind) for kind in ScriptKind}
    assert defaults == {
        ScriptKind.CHECK: 60.0,
        ScriptKind.START: 600.0,
        ScriptKind.STOP: 600.0,
        ScriptKind.PROBE: 60.0,
        ScriptKind.POWER: 60.0,
    }
    assert script_runner._limit_s(ScriptLimits(start_s=0.0), ScriptKind.START) == 0.0


@pytest.mark.parametrize(
    "body, outcome, detail",
    [
        ("exit 0", ScriptOutcome.OK, "took "),
        ("echo first; echo last; exit 3", ScriptOutcome.FAILED, "exited with 3 (last)"),
        ("exit 1", ScriptOutcome.FAILED, "exited with 1"),
        ("kill -9 $$", ScriptOutcome.FAILED, "was ended by signal 9"),
        ("echo no >&2; exit 255", ScriptOutcome.FAILED, "exited with 255 (no)"),
    ],
)
def test_only_an_exit_code_of_0_is_a_success(
    runner: Runner, body: str, outcome: ScriptOutcome, detail: str
) -> None:
    """Whatever else there is comes with the last line that was printed."""
    runner.write(body)
    end = runner.run(ScriptKind.START)
    assert end.outcome is outcome and detail in end.detail, end


def test_reason_is_what_this_call_printed_not_an_earlier_one(runner: Runner) -> None:
    """The log holds both; a silent failure has no last line."""
    runner.write(
        "[ -e $(dirname $0)/again ] || echo from before; touch $(dirname $0)/again; exit 1"
    )
    assert "(from before)" in runner.run(ScriptKind.START).detail
    assert runner.run(ScriptKind.START).detail.endswith("exited with 1")
    assert runner.log.count("web.sh start") == 2


@pytest.mark.parametrize(
    "body, outcome",
    [
        ("echo up", ScriptOutcome.UP),
        ("echo Running fine", ScriptOutcome.UP),
        ("echo started", ScriptOutcome.UP),
        ("echo down", ScriptOutcome.DOWN),
        ("echo stopped; exit 3", ScriptOutcome.DOWN),
        ("echo down; exit 1", ScriptOutcome.DOWN),
        ("echo up; exit 1", ScriptOutcome.UNSURE),
        ("echo down; exit 4", ScriptOutcome.UNSURE),
        ("exit 0", ScriptOutcome.UNSURE),
        ("exit 1", ScriptOutcome.UNSURE),
        ("echo what", ScriptOutcome.UNSURE),
    ],
)
def test_status_is_believed_only_by_its_first_word(
    runner: Runner, body: str, outcome: ScriptOutcome
) -> None:
    """A script that does not know the word status must be taken neither for up nor for down."""
    runner.write(body)
    assert runner.run(ScriptKind.PROBE).outcome is outcome


@pytest.mark.parametrize(
    "code, word, outcome",
    [
        (0, "", ScriptOutcome.UP),
        (1, "", ScriptOutcome.DOWN),
        (2, "", ScriptOutcome.UNSURE),
        (0, "warn", ScriptOutcome.UNSURE),
        (1, "down", ScriptOutcome.DOWN),
    ],
)
@pytest.mark.parametrize(
    "source", ["def load_status_last(self):\n", "def status(self):\n"], ids=["1.6 and later", "1.5"]
)
def test_status_of_an_agents_wrapper_is_its_exit_code(
    runner: Runner, code: int, word: str, outcome: ScriptOutcome, source: str
) -> None:
    """The wrapper is a link to svcmgr, as agents make it.

    That of the 1.5 ends with 0 whatever runs: only a word is believed.
    """
    if "load_status_last" not in source and not word:
        outcome = ScriptOutcome.UNSURE
    command = runner.root / "agent" / "bin" / "svcmgr"
    command.parent.mkdir(parents=True)
    (runner.root / "agent" / "lib").mkdir()
    (runner.root / "agent" / "lib" / "resources.py").write_text(source)
    command.write_text(f"#!/bin/sh\necho {word}\nexit {code}\n")
    command.chmod(0o755)
    (runner.root / "web.cluster").symlink_to(command)
    assert runner.run(ScriptKind.PROBE, str(runner.root / "web.cluster")).outcome is outcome


@pytest.mark.parametrize("kind", [ScriptKind.CHECK, ScriptKind.START, ScriptKind.PROBE])
def test_script_that_cannot_be_run_is_a_failure_with_its_path(
    runner: Runner, kind: ScriptKind
) -> None:
    """There is no such file: reported, not raised, and the next script runs.

    A start has touched nothing.
    """
    end = runner.run(kind, "/nowhere/web.sh")
    assert (
        end.outcome
        is {
            ScriptKind.CHECK: ScriptOutcome.FAILED,
            ScriptKind.START: ScriptOutcome.NOT_BEGUN,
            ScriptKind.PROBE: ScriptOutcome.UNSURE,
        }[kind]
    )
    assert "/nowhere/web.sh" in end.detail
    runner.write("echo up")
    assert runner.run(kind).outcome in (ScriptOutcome.OK, ScriptOutcome.UP)


@pytest.mark.parametrize(
    ("body", "flush", "outcome", "calls"),
    [
        ("", "exit 0", ScriptOutcome.OK, ["stop", "flush"]),
        ("", "sleep 60", ScriptOutcome.FAILED, ["stop", "flush"]),
        ("exit 1", "exit 0", ScriptOutcome.FAILED, ["stop"]),
    ],
)
def test_stop_that_flushes_has_ended_once_all_is_written(
    runner: Runner,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    flush: str,
    outcome: ScriptOutcome,
    calls: list[str],
) -> None:
    """What is on its way at its end proves nothing; a stop that failed needs none of that."""
    assert os.access(script_runner._FLUSH[0], os.X_OK)
    program = runner.root / "flush"
    program.write_text(f"#!/bin/sh\necho flush >> {runner.root}/calls\n{flush}\n")
    program.chmod(0o755)
    monkeypatch.setattr(script_runner, "_FLUSH", (str(program),))
    runner.write(body)
    runner.limit(ScriptLimits(stop_s=2.0))
    runner.begin(ScriptKind.STOP, flushes=True)
    ended = runner.ends.get(timeout=LIMIT_S)
    assert ended.outcome is outcome and runner.calls == calls
    is_cut = flush.startswith("sleep")
    assert ended.detail.startswith("not all is written to its disks: ") is is_cut


def test_running_script_is_named_and_no_longer_afterwards(runner: Runner) -> None:
    """Pid, its start and the kind of script: what a daemon after a crash goes by."""
    runner.write("while [ ! -e $(dirname $0)/go ]; do sleep 0.02; done")
    runner.begin(ScriptKind.START)
    named = Path(runner.layout.script_file("web"))
    pid, started, kind = until(
        lambda: named.read_text().split() if named.exists() else [], lambda words: len(words) == 3
    )
    assert kind == "start" and started == start_of_process(int(pid)) != ""
    (runner.root / "go").touch()
    assert runner.ends.get(timeout=LIMIT_S).outcome is ScriptOutcome.OK
    assert not named.exists()


def test_status_waits_for_the_script_of_a_daemon_that_died(runner: Runner) -> None:
    """A start script of the daemon before still runs: what it leaves is looked at after its end."""
    runner.write("cat $(dirname $0)/state")
    (runner.root / "state").write_text("down\n")
    command = f"while [ ! -e {runner.root}/go ]; do sleep 0.02; done; echo up > {runner.root}/state"
    orphan = subprocess.Popen(["/bin/sh", "-c", command], start_new_session=True)
    Path(runner.layout.script_file("web")).write_text(
        f"{orphan.pid} {start_of_process(orphan.pid)} start\n"
    )
    runner.begin(ScriptKind.PROBE)
    with pytest.raises(queue.Empty):
        runner.ends.get(timeout=0.5)
    assert runner.calls == []
    (runner.root / "go").touch()
    orphan.wait(LIMIT_S)
    assert runner.ends.get(timeout=LIMIT_S).outcome is ScriptOutcome.UP
    assert not os.path.exists(runner.layout.script_file("web"))


def test_script_of_a_daemon_that_died_is_ended_at_its_limit(runner: Runner) -> None:
    """It hangs, and so does its child: the status comes after both were killed."""
    runner.write("echo down")
    runner.limit(SHORT)
    command = f"trap '' TERM; sleep 10000 & echo $! > {runner.root}/child; wait"
    orphan = subprocess.Popen(["/bin/sh", "-c", command], start_new_session=True)
    until(lambda: (runner.root / "child").exists() and (runner.root / "child").read_text())
    Path(runner.layout.script_file("web")).write_text(
        f"{orphan.pid} {start_of_process(orphan.pid)} start\n"
    )
    assert runner.run(ScriptKind.PROBE).outcome is ScriptOutcome.DOWN
    assert orphan.wait(LIMIT_S) == -signal.SIGKILL
    until(lambda: is_gone((runner.root / "child").read_text()))


@pytest.mark.parametrize("text", ["", "x y z\n", "1\n", "{here} 1 start\n"])
def test_note_of_a_script_that_is_over_keeps_no_daemon_waiting(runner: Runner, text: str) -> None:
    """Damaged, or a pid that another process has now: nothing is waited for, and nobody is
    ended.
    """
    runner.write("echo up")
    Path(runner.layout.script_file("web")).write_text(text.format(here=os.getpid()))
    assert runner.run(ScriptKind.PROBE).outcome is ScriptOutcome.UP


def test_no_more_scripts_run_at_once_than_configured_and_a_status_waits_for_the_others(
    runner: Runner,
) -> None:
    """One at a time: a status that was asked for before a stop runs after it."""
    runner.write("while [ $1 = start ] && [ ! -e $(dirname $0)/go ]; do sleep 0.02; done; echo up")
    runner.limit(ScriptLimits(), at_once=1)
    runner.begin(ScriptKind.START)
    until(lambda: runner.calls, lambda calls: calls == ["start"])
    runner.begin(ScriptKind.PROBE)
    runner.begin(ScriptKind.STOP)
    with pytest.raises(queue.Empty):
        runner.ends.get(timeout=0.3)
    assert runner.calls == ["start"]
    (runner.root / "go").touch()
    ends = [runner.ends.get(timeout=LIMIT_S).kind for _ in range(3)]
    assert ends == [ScriptKind.START, ScriptKind.STOP, ScriptKind.PROBE]


def test_scripts_side_by_side_do_not_wait_for_each_other(runner: Runner) -> None:
    """Two at once: the second ends while the first hangs."""
    runner.write("while [ $1 = start ] && [ ! -e $(dirname $0)/go ]; do sleep 0.02; done")
    runner.limit(ScriptLimits(), at_once=2)
    runner.begin(ScriptKind.START)
    until(lambda: runner.calls, lambda calls: calls == ["start"])
    assert runner.run(ScriptKind.STOP).kind is ScriptKind.STOP
    (runner.root / "go").touch()
    assert runner.ends.get(timeout=LIMIT_S).kind is ScriptKind.START


def test_script_runs_where_its_output_has_no_place(runner: Runner) -> None:
    """A file stands where the log directory was: started all the same."""
    Path(runner.layout.log_dir).write_text("in the way")
    runner.write("echo gone; exit 0")
    assert runner.run(ScriptKind.START).outcome is ScriptOutcome.OK


def test_no_thread_to_be_had_is_a_failure_that_is_reported(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system has no thread left: the end is reported at once, and a later script runs."""
    runner.write("exit 0")

    def refuse(self: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        end = runner.run(ScriptKind.START)
        assert end.outcome is ScriptOutcome.FAILED and "can't start new thread" in end.detail
        assert runner.run(ScriptKind.PROBE).outcome is ScriptOutcome.UNSURE
    assert runner.run(ScriptKind.START).outcome is ScriptOutcome.OK
    assert runner.calls == ["start"]


def test_memory_is_given_back_after_many_scripts_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the last of many has ended; not after a few."""
    given: list[int] = []
    runner = Runner(tmp_path)
    monkeypatch.setattr(script_runner, "give_back", lambda: given.append(runner.runner._threads))
    runner.limit(ScriptLimits(), at_once=20)
    runner.write(f"touch {tmp_path}/begun.$$; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")

    def play(scripts: int) -> None:
        for _ in range(scripts):
            runner.begin(ScriptKind.STOP)
        until(lambda: len(list(tmp_path.glob("begun.*"))), lambda seen: seen == scripts, "begun")
        (tmp_path / "go").touch()
        for _ in range(scripts):
            runner.ends.get(timeout=LIMIT_S)

    play(script_runner._MANY)
    until(lambda: given, bool, "given back")
    assert given == [0], "once, and nothing runs any more"
    for path in [*tmp_path.glob("begun.*"), tmp_path / "go"]:
        path.unlink()
    play(2)
    until(lambda: runner.runner._threads, lambda seen: seen == 0, "all threads have ended")
    assert given == [0]
