"""Ask a program something, with a time limit at which it is killed with all its children."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence

from opensvc_openha.system.processes import send_signal


def ask_program(
    argv: Sequence[str],
    limit_s: float,
    env: Mapping[str, str] | None = None,
    with_errors: bool = True,
) -> tuple[int, str] | None:
    """Return a program's exit code and output; None if it cannot be run or does not end in time."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if with_errors else subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            env=env,
        )
    except OSError:
        return None
    with process:
        try:
            output, _ = process.communicate(timeout=limit_s)
        except BaseException as error:
            send_signal(process.pid, signal.SIGKILL, is_group=True)
            if isinstance(error, subprocess.TimeoutExpired):
                return None
            raise
    return process.returncode, output.decode("utf-8", "replace")
