"""Commands in this process: how they end, what is kept of their output, and what is logged."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from opensvc_openha.agent.host import commands
from opensvc_openha.agent.host.commands import (
    SYSTEM_PATH,
    CommandResult,
    command_environment,
    run_command,
    run_logged,
    run_or_fail,
)
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.errors import ActionError, SystemFault
from tests.waiting import LIMIT_S, until

NO_GROUP = inspect.Parameter("none", inspect.Parameter.KEYWORD_ONLY, default=False)


class Lines:
    """A log whose lines a test reads."""

    def __init__(self, output_file: str = "") -> None:
        self.found: list[str] = []
        self.log = ActionLog(self._note, "A", output_file)

    def _note(self, level: str, text: str, place: str) -> None:
        self.found.append(f"{level} {text}")


def sh(text: str) -> list[str]:
    return ["/bin/sh", "-c", text]


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (CommandResult(0, ""), "ended with exit code 0"),
        (CommandResult(7, ""), "ended with exit code 7"),
        (CommandResult(-9, ""), "was killed by signal 9"),
        (CommandResult(-1, ""), "was killed by signal 1"),
        (CommandResult(-9, "", True), "did not end in time and was killed"),
    ],
)
def test_end_of_a_command_in_words(result: CommandResult, words: str) -> None:
    """As it is logged."""
    assert result.verdict == words


def test_command_has_a_session_of_its_own_and_nothing_to_read() -> None:
    """Both outputs are kept, it runs in the root directory, and knows what it is given."""
    text = (
        "read -r _ _ _ _ _ session _ < /proc/self/stat; [ $session = $$ ] && echo leads >&2;"
        " echo $PWD $X $(readlink /proc/$$/fd/0); exit 3"
    )
    for is_tied in (True, False):
        result = run_command(sh(text), env={"X": "x"}, is_tied=is_tied)
        assert result == CommandResult(3, "leads\n/ x /dev/null\n")


def test_command_that_hangs_is_killed_with_its_group_and_reported_meanwhile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each part of the time is reported; what it printed is kept."""
    monkeypatch.setattr(commands, "REPORT_EVERY_S", 0.25)
    reported: list[float] = []
    text = f"sleep 1000 & echo $! > {tmp_path}/pid; echo begun; wait"
    result = run_command(sh(text), 0.625, on_wait=reported.append)
    assert (result.is_timed_out, result.exit_code) == (True, -9) and reported == [0.25, 0.5]
    if (tmp_path / "pid").exists():  # Not on a machine that is too slow to begin.
        pid = int((tmp_path / "pid").read_text())
        until(lambda: not is_alive(pid))


def test_command_that_cannot_be_killed_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an I/O that never returns."""
    sent: list[int] = []

    def wait(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        assert timeout, "without a limit it would hang"
        raise subprocess.TimeoutExpired(process.args, timeout)

    with monkeypatch.context() as patch:
        patch.setattr(commands, "send_signal", lambda pid, *_args, **_group: sent.append(pid))
        patch.setattr(subprocess.Popen, "wait", wait)
        result = run_command(sh("exec sleep 1000"), 0.1)
    os.kill(sent[0], signal.SIGKILL)
    os.waitpid(sent[0], 0)
    assert (result.is_timed_out, result.exit_code) == (True, -9)


def test_last_part_of_the_wait_ends_with_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of ten seconds, each reported, and what is left of the limit."""
    parts: list[float] = []

    def wait(process: subprocess.Popen[bytes], limit_s: float, ends_group: bool) -> int:
        parts.append(limit_s)
        raise subprocess.TimeoutExpired(process.args, limit_s)

    monkeypatch.setattr(commands, "_wait_for_end", wait)
    reported: list[float] = []
    assert run_command(["sleep", "1000"], 25.0, on_wait=reported.append).is_timed_out
    assert (parts, reported) == ([10.0, 10.0, 5.0], [10.0, 20.0])


def test_command_has_ten_minutes_and_is_reported_each_ten_seconds() -> None:
    """Unless it is given another limit."""
    run_command(["/bin/true"])
    run_logged(Lines().log, ["/bin/true"])
    run_or_fail(Lines().log, ["/bin/true"])
    for run in (run_command, run_logged, run_or_fail):
        assert inspect.signature(run).parameters["timeout_s"].default == 600.0
        assert inspect.signature(run).parameters.get("ends_group", NO_GROUP).default is False
    assert commands.REPORT_EVERY_S == 10.0
    assert inspect.signature(run_command).parameters["is_tied"].default is True
    assert inspect.signature(run_logged).parameters["may_linger"].default is False


def test_signal_waits_until_a_tied_command_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it could not be ended; one that only reads is not worth it."""
    entered: list[str] = []

    @contextmanager
    def postponed() -> Iterator[None]:
        entered.append("tied")
        yield

    monkeypatch.setattr(commands, "postponed", postponed)
    run_command(["/bin/true"], is_tied=False)
    assert entered == []
    run_command(["/bin/true"])
    assert entered == ["tied"]


@pytest.mark.parametrize("has_pidfd", [True, False])
@pytest.mark.parametrize("ends_group", [True, False])
def test_what_a_command_leaves_behind_ends_with_it_only_if_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_pidfd: bool, ends_group: bool
) -> None:
    """On kernels with and without notice of the end of a process."""
    if not has_pidfd:
        monkeypatch.delattr(os, "pidfd_open")
    before = len(os.listdir("/proc/self/fd"))
    text = f"sleep 1000 > /dev/null 2>&1 & echo $! > {tmp_path}/pid; exit 5"
    result = run_command(sh(text), LIMIT_S, ends_group=ends_group)
    pid = int((tmp_path / "pid").read_text())
    assert result.exit_code == 5
    if ends_group:
        until(lambda: not is_alive(pid))
    else:
        assert is_alive(pid)
        os.kill(pid, signal.SIGKILL)
    hang = run_command(["sleep", "1000"], 0.05, ends_group=ends_group)
    assert hang == CommandResult(-9, "", True)
    assert len(os.listdir("/proc/self/fd")) == before


def test_end_is_looked_for_where_the_kernel_gives_no_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For example, no more handles."""

    def refuse(_pid: int) -> int:
        raise OSError(24, os.strerror(24))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert run_command(sh("exit 4"), LIMIT_S) == CommandResult(4, "")


def test_command_is_killed_when_its_caller_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By any exception, which continues."""
    monkeypatch.setattr(commands, "REPORT_EVERY_S", 0.05)
    pid = 0

    def interrupt(_: float) -> None:
        nonlocal pid
        path = tmp_path / "pid"
        if path.exists() and path.read_text().endswith("\n"):
            pid = int(path.read_text())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_command(sh(f"echo $$ > {tmp_path}/pid; sleep 1000"), LIMIT_S, on_wait=interrupt)
    assert pid and not is_alive(pid)


@pytest.mark.parametrize("is_tied", [True, False])
def test_tied_command_ends_with_its_caller(tmp_path: Path, is_tied: bool) -> None:
    """Even if that is killed; another one continues."""
    program = (
        "import sys; from opensvc_openha.agent.host.commands import run_command;"
        f" run_command(['/bin/sh', '-c', 'echo $$ > {tmp_path}/pid; exec sleep 1000'],"
        f" is_tied={is_tied})"
    )
    path = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", program]) as caller:
        until(lambda: path.exists() and path.read_text().endswith("\n"))
        pid = int(path.read_text())
        caller.kill()
    if is_tied:
        until(lambda: not is_alive(pid))
    else:
        assert is_alive(pid)
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("is_tied", "number"), [(True, 9), (False, 0)])
def test_only_a_tied_command_is_sent_a_signal_at_the_end_of_its_caller(
    is_tied: bool, number: int
) -> None:
    """As it asks the kernel: PR_GET_PDEATHSIG."""
    program = (
        "import ctypes; number = ctypes.c_int(-1);"
        " ctypes.CDLL(None).prctl(2, ctypes.byref(number)); print(number.value)"
    )
    result = run_command([sys.executable, "-I", "-c", program], is_tied=is_tied)
    assert result == CommandResult(0, f"{number}\n")


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("/nowhere/x", "there is no file /nowhere/x"),
        ("nowhere-x", "No such file or directory: 'nowhere-x'"),
    ],
)
def test_command_that_cannot_be_run_is_a_fault_with_its_reason(program: str, why: str) -> None:
    """Not the command's own failure."""
    with pytest.raises(SystemFault, match=f"cannot run {program}: .*{why[:14]}"):
        run_command([program])


def test_output_goes_to_a_file_where_a_daemon_may_be_left_behind(tmp_path: Path) -> None:
    """What is in it before is not the command's; without a place for it the output is lost."""
    path = tmp_path / "web.out"
    path.write_text("before\n")
    assert run_command(sh("echo printed"), output_file=str(path)).output == "printed\n"
    assert path.read_text() == "before\nprinted\n"
    (tmp_path / "file").write_text("")
    lost = run_command(sh("echo printed"), output_file=str(tmp_path / "file" / "x"))
    assert lost.output == "what it printed is lost: its log cannot be written"


def test_end_of_long_output_is_kept() -> None:
    """64 KiB."""
    text = "i=0; while [ $i -lt 10000 ]; do echo 1234567; i=$((i+1)); done; echo end"
    output = run_command(sh(text)).output
    assert len(output) == 65_536 and output.endswith("1234567\nend\n")


def test_environment_has_the_directories_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind those that are known, each once; what is given wins."""
    monkeypatch.setenv("PATH", "/opt/x::/usr/bin")
    rest = [each for each in SYSTEM_PATH.split(":") if each != "/usr/bin"]
    found = command_environment({"X": "x"})
    assert found["PATH"].split(":") == ["/opt/x", "/usr/bin", *rest] and found["X"] == "x"
    monkeypatch.delenv("PATH")
    assert command_environment()["PATH"] == SYSTEM_PATH
    assert command_environment({"PATH": "/only"})["PATH"] == "/only"


def test_command_is_logged_with_what_it_printed() -> None:
    """As an error if it failed; nothing where it printed nothing; a password is not shown."""
    lines = Lines()
    result = run_logged(lines.log, sh("echo done; exit 0"), env={"X": "x"})
    assert result == CommandResult(0, "done\n")
    run_logged(lines.log, sh("echo bad; exit 1"))
    run_logged(lines.log, ["/bin/true"])
    secret = run_logged(lines.log, ["/bin/echo", "--password", "geheim"])
    assert "geheim" not in secret.output
    assert [line.partition(" ")[0] for line in lines.found] == [
        "INFO", "INFO", "INFO", "ERROR", "INFO", "INFO", "INFO",
    ]  # fmt: skip
    assert (lines.found[1], lines.found[3], lines.found[4]) == (
        "INFO done", "ERROR bad", "INFO /bin/true",
    )  # fmt: skip
    assert "geheim" not in "".join(lines.found)


def test_command_that_runs_long_is_logged_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the seconds so far."""
    monkeypatch.setattr(commands, "REPORT_EVERY_S", 0.75)
    lines = Lines()
    result = run_logged(lines.log, ["sleep", "1000"], 1.0)
    assert result.is_timed_out and lines.found[1] == "INFO sleep runs for 1 s now"


def test_output_file_of_a_service_is_used_and_bounded_where_a_daemon_may_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only there; a bound that fails changes nothing."""
    path = tmp_path / "a.out"
    bounded: list[str] = []

    def bound(name: str) -> bool:
        bounded.append(name)
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(commands, "bound_log", bound)
    lines = Lines(str(path))
    run_logged(lines.log, sh("echo one"))
    assert not path.exists() and bounded == []
    assert run_logged(lines.log, sh("echo two"), may_linger=True).output == "two\n"
    assert path.read_text() == "two\n" and bounded == [str(path)]
    pid = int(run_logged(lines.log, sh("sleep 1000 & echo $!"), may_linger=True).output)
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)
    gone = int(run_logged(lines.log, sh("sleep 1000 & echo $!"), ends_group=True).output)
    until(lambda: not is_alive(gone))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("exit 2", ""),
        ("echo one; echo ' two '; exit 2", ": two"),
        ("echo bad; echo 'dmesg(1) may have more'; exit 2", ": bad"),
        ("echo bad; echo 'See x'; echo \"See 'x'\"; exit 2", ": See x"),
        ("echo \"Run 'x'\"; exit 2", ": Run 'x'"),
        ("echo bad; echo \"Run 'x'\"; exit 2", ": bad"),
        ("echo bad; echo \"See 'x'\"; exit 2", ": bad"),
    ],
)
def test_failure_ends_with_the_last_line_that_has_content(text: str, reason: str) -> None:
    """Behind how the command ended."""
    with pytest.raises(ActionError) as caught:
        run_or_fail(Lines().log, sh(text))
    assert str(caught.value).endswith(f" ended with exit code 2{reason}")


def test_success_is_no_failure_and_a_limit_is_one() -> None:
    """The environment is handed on."""
    run_or_fail(Lines().log, sh("[ $X = x ]"), env={"X": "x"})
    with pytest.raises(ActionError, match="sleep 1000 did not end in time and was killed"):
        run_or_fail(Lines().log, ["sleep", "1000"], 0.05)
