"""Run a program that talks to a device: bounded, and with nothing left of it afterwards.

Its environment is the same from a shell and from the daemon, so that a look by hand finds what the
daemon would find. Secrets reach it on its standard input or in its environment, which only root can
read, never on its command line.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from opensvc_openha.system.child_process import die_with_parent, load_for_tie
from opensvc_openha.system.processes import send_signal, wait_for_child
from opensvc_openha.system.programs import why_not_runnable
from opensvc_openha.system.script_log import ScriptLog

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": PATH, "LANG": "C", "LC_ALL": "C", "HOME": "/root"}
_OUTPUT_BYTES = 65_536
_WRITTEN_MAX = 16 << 20
"""Bytes that a program may write to one file, such as its output."""
_KILL_WAIT_S = 1.0


@dataclass(frozen=True)
class ProgramEnd:
    """How a program ended; ``exit_code`` None if it was killed at its limit or never begun."""

    exit_code: int | None
    output: str = ""
    problem: str = ""
    """Why there is no exit code."""


def find_program(name: str) -> str:
    """Return the path of a program in the system's directories; empty if there is none."""
    if name.startswith("/"):
        return name if os.access(name, os.X_OK) else ""
    paths = (f"{folder}/{name}" for folder in PATH.split(":"))
    return next((path for path in paths if os.access(path, os.X_OK)), "")


def run_program(
    argv: Sequence[str],
    limit_s: float,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    is_tied: bool = True,
) -> ProgramEnd:
    """Run a program until it ends, or kill it at its limit; kill what it left in its group.

    Its output is kept in memory and may be held open by what it left behind: nothing waits for
    that. A tied one is killed, too, if this process ends; a process with several threads must not
    tie it, for that runs code between fork and exec.
    """
    if is_tied:
        load_for_tie()
    with closing(ScriptLog("", is_answer=True, may_linger=False)) as output:
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=output.handle,
                stderr=subprocess.STDOUT,
                env={**_ENVIRONMENT, **(env or {})},
                start_new_session=True,
                preexec_fn=_tie if is_tied else None,
                cwd="/",
            )
        except (OSError, subprocess.SubprocessError) as error:
            why = why_not_runnable(argv[0]) or str(error)
            return ProgramEnd(None, problem=f"cannot be run: {why}")
        try:
            _write(process, stdin)
            has_ended = wait_for_child(process.pid, limit_s)
        finally:
            # Before it is collected: until then no other process can get its number.
            send_signal(process.pid, signal.SIGKILL, is_group=True)
        try:
            exit_code = process.wait(_KILL_WAIT_S)
        except subprocess.TimeoutExpired:
            # In an I/O that does not return.
            has_ended = False
        text = output.output(_OUTPUT_BYTES)
        if not has_ended:
            return ProgramEnd(None, text, f"no answer in {limit_s:.3g} s, killed")
        if exit_code < 0:
            return ProgramEnd(None, text, f"killed by signal {-exit_code}")
        return ProgramEnd(exit_code, text)


def _write(process: subprocess.Popen[bytes], text: str) -> None:
    assert process.stdin is not None
    # The pipe holds more than any request; a program that reads nothing is no error here.
    with suppress(OSError):
        process.stdin.write(text.encode())
    with suppress(OSError):
        process.stdin.close()


def _tie() -> None:
    """Die with the parent, and fill no memory with output without end."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (_WRITTEN_MAX, _WRITTEN_MAX))
    die_with_parent(signal.SIGKILL)
