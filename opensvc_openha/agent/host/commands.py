"""Run commands that change the system: mount, ip, application scripts, fencing.

Every command has a time limit after which its whole process group is killed. Output goes to a file
instead of a pipe: a daemon that an application script leaves behind keeps the pipe open, and
reading it would never end.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext, suppress

from opensvc_openha.agent.host.signals import postponed
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.errors import ActionError, SystemFault
from opensvc_openha.named_tuples import NamedTuple
from opensvc_openha.system.child_process import die_with_parent, load_for_tie
from opensvc_openha.system.processes import send_signal, wait_for_child
from opensvc_openha.system.script_log import NO_ROOM, ScriptLog, bound_log

COMMAND_TIMEOUT_S = 600.0
REPORT_EVERY_S = 10.0
"""Seconds between two reports that a command still runs."""
OUTPUT_BYTES_MAX = 64 * 1024
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_NO_REASONS = ("dmesg(1) ", "See '", "Run '")
"""Lines that tools print after the reason."""


class CommandResult(NamedTuple):
    """How a command ended. ``exit_code`` is -N after signal N."""

    exit_code: int
    output: str
    is_timed_out: bool = False

    @property
    def verdict(self) -> str:
        """How it ended, in words."""
        if self.is_timed_out:
            return "did not end in time and was killed"
        if self.exit_code < 0:
            return f"was killed by signal {-self.exit_code}"
        return f"ended with exit code {self.exit_code}"


def run_command(
    argv: Sequence[str],
    timeout_s: float = COMMAND_TIMEOUT_S,
    env: Mapping[str, str] | None = None,
    on_wait: Callable[[float], None] = lambda waited_s: None,
    is_tied: bool = True,
    output_file: str = "",
    ends_group: bool = False,
) -> CommandResult:
    """Run a command until it ends; raise only if it cannot be started.

    Its output is kept in memory, where a full disk cannot affect it, or in ``output_file`` if it
    may leave a daemon behind: the daemon keeps the handle, and must fill neither memory nor an
    unlinked file.

    ``on_wait`` is called from time to time with the seconds elapsed. A tied command is killed when
    this process ends for any reason; read-only commands need no tie and start much faster without.
    ``ends_group``: remaining processes of its group are killed when it ends.
    """
    with closing(
        ScriptLog(output_file, is_answer=not output_file, may_linger=bool(output_file))
    ) as output:
        process: subprocess.Popen[bytes] | None = None
        is_timed_out = False
        try:
            with postponed() if is_tied else nullcontext():
                process = _begin(argv, output.handle, env, is_tied)
            exit_code = _wait(process, timeout_s, on_wait, ends_group)
        except subprocess.TimeoutExpired:
            assert process is not None
            is_timed_out = True
            exit_code = _kill_group(process)
        except BaseException:
            if process is not None:
                _kill_group(process)
            raise
        printed = NO_ROOM if output.is_lost else output.output(OUTPUT_BYTES_MAX)
        return CommandResult(exit_code, printed, is_timed_out)


def _begin(
    argv: Sequence[str], output: int, env: Mapping[str, str] | None, is_tied: bool
) -> subprocess.Popen[bytes]:
    if is_tied:
        load_for_tie()
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=command_environment(env),
            start_new_session=True,
            preexec_fn=_die_with_parent if is_tied else None,
            cwd="/",
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SystemFault(f"cannot run {argv[0]}: {_why_not_run(argv[0], error)}") from error


def run_logged(
    log: ActionLog,
    argv: Sequence[str],
    timeout_s: float = COMMAND_TIMEOUT_S,
    env: Mapping[str, str] | None = None,
    may_linger: bool = False,
    ends_group: bool = False,
) -> CommandResult:
    """Run a command and log it with its output.

    ``may_linger``: it may leave a daemon behind that keeps its output open.

    ``ends_group``: remaining processes of its group are killed when it ends.
    """
    from opensvc_openha.formats.secrets import mask_command, mask_output

    log.info(mask_command(argv))
    output_file = log.output_file if may_linger else ""
    if output_file:
        with suppress(OSError):
            bound_log(output_file)
    result = run_command(
        argv,
        timeout_s,
        env,
        lambda waited_s: log.info(f"{argv[0]} runs for {waited_s:.0f} s now"),
        output_file=output_file,
        ends_group=ends_group,
    )
    result = result._replace(output=mask_output(argv, result.output))
    if result.output.strip():
        (log.info if result.exit_code == 0 else log.error)(result.output.strip())
    return result


def run_or_fail(
    log: ActionLog,
    argv: Sequence[str],
    timeout_s: float = COMMAND_TIMEOUT_S,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a command and log it; ActionError unless its exit code is 0."""
    result = run_logged(log, argv, timeout_s, env)
    if result.exit_code != 0:
        from opensvc_openha.formats.secrets import mask_command

        raise ActionError(f"{mask_command(argv)} {result.verdict}{_last_line(result.output)}")


def command_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return our environment with the system directories in PATH.

    A node daemon may call the agent with a nearly empty environment.
    """
    env = dict(os.environ)
    known = env.get("PATH", "").split(":")
    env["PATH"] = ":".join(
        [part for part in known if part]
        + [part for part in SYSTEM_PATH.split(":") if part not in known]
    )
    env.update(extra or {})
    return env


def _why_not_run(program: str, exc: Exception) -> str:
    from opensvc_openha.system.programs import why_not_runnable

    return (program.startswith("/") and why_not_runnable(program)) or str(exc)


def _wait(
    process: subprocess.Popen[bytes],
    timeout_s: float,
    on_wait: Callable[[float], None],
    ends_group: bool,
) -> int:
    """Return the exit code of the process; TimeoutExpired after ``timeout_s`` seconds."""
    waited_s = 0.0
    while True:
        part_s = min(REPORT_EVERY_S, timeout_s - waited_s)
        try:
            return _wait_for_end(process, part_s, ends_group)
        except subprocess.TimeoutExpired:
            waited_s += part_s
            if waited_s >= timeout_s:
                raise
            on_wait(waited_s)


def _wait_for_end(process: subprocess.Popen[bytes], limit_s: float, ends_group: bool) -> int:
    """Wait like process.wait, but return as soon as it has ended; ``ends_group`` kills the rest."""
    if not wait_for_child(process.pid, limit_s):
        raise subprocess.TimeoutExpired(process.args, limit_s)
    if ends_group:
        send_signal(process.pid, signal.SIGKILL, is_group=True)
    return process.wait()


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.strip().splitlines()]
    telling = [line for line in lines if not line.startswith(_NO_REASONS)]
    if not lines:
        return ""
    from opensvc_openha.formats.secrets import mask_text

    return f": {mask_text((telling or lines)[-1])}"


def _kill_group(process: subprocess.Popen[bytes]) -> int:
    send_signal(process.pid, signal.SIGKILL, is_group=True)
    try:
        return process.wait(5)
    except subprocess.TimeoutExpired:
        # It is in an I/O that does not return and cannot be killed now; waiting for it would hang
        # too.
        return -int(signal.SIGKILL)


def _die_with_parent() -> None:
    """Kill the command we wait for if the node daemon kills us with SIGKILL.

    Processes that the command left behind stay.
    """
    die_with_parent(signal.SIGKILL)
