"""Start a daemon that outlives this process, and find the reason in its log if it fails."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from opensvc_openha.agent.host.commands import command_environment
from opensvc_openha.agent.host.signals import postponed
from opensvc_openha.errors import SystemFault
from opensvc_openha.system.atomic_files import open_log

LOG_BYTES_MAX = 5_000_000

_LINES_SHOWN = 2
_READ_BYTES = 100_000
_FIELD = re.compile(r'\b(msg|error)=(?:"((?:[^"\\]|\\.)*)"|(\S+))')
_LEVEL = re.compile(r"\blevel=(\w+)")
_HINTS = ("See '", "Run '", "Usage:")


@dataclass(frozen=True)
class Spawned:
    """A started daemon, and the offset of its own output in its log."""

    name: str
    process: subprocess.Popen[bytes]
    log_file: str
    log_start: int

    def last_words(self) -> str:
        """Return its error output, formatted as the end of a message; empty if there is none."""
        try:
            with open(self.log_file, "rb") as file:
                file.seek(max(self.log_start, os.path.getsize(self.log_file) - _READ_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        reasons = reasons_in(text)[-_LINES_SHOWN:]
        return (
            f": {'; '.join(reasons)} (see {self.log_file})"
            if reasons
            else f" (see {self.log_file})"
        )


def spawn(argv: Sequence[str], log_file: str) -> Spawned:
    """Start a daemon in a session of its own; its output is appended to the log."""
    try:
        if os.path.exists(log_file) and os.path.getsize(log_file) > LOG_BYTES_MAX:
            os.replace(log_file, f"{log_file}.1")
        with open(log_file, "ab", opener=open_log) as output, postponed():
            start = output.tell()
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=command_environment(),
                start_new_session=True,
                cwd="/",
            )
    except OSError as error:
        raise SystemFault(f"cannot run {argv[0]}: {error}") from error
    return Spawned(os.path.basename(argv[0]), process, log_file, start)


def reasons_in(text: str) -> list[str]:
    """Return the errors in the output of a docker daemon or command.

    Includes lines that are neither log line, hint nor help.
    """
    found = []
    for line in text.splitlines():
        level = _LEVEL.search(line)
        if level is None:
            is_reason = bool(line.strip()) and not line.startswith(_HINTS)
        else:
            is_reason = level.group(1) in ("error", "fatal")
        if is_reason:
            words = [
                quoted.replace('\\"', '"') or plain for _, quoted, plain in _FIELD.findall(line)
            ]
            found.append(": ".join(words) if level and words else line.strip())
    return found
