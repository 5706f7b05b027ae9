"""systemd, where it runs this machine: whether it does, its commands, the unit of a process."""

from __future__ import annotations

import os
import subprocess

from opensvc_openha.errors import SystemFault
from opensvc_openha.system.processes import text_of

_MARK = "/run/systemd/system"
"""systemd's own sign that it runs the machine, see sd_booted(3)."""


def runs_here() -> bool:
    """Return whether systemd runs this machine."""
    return os.path.isdir(_MARK)


def systemctl(*words: str) -> None:
    """Run systemctl until its job is done; raises SystemFault with its text."""
    command = ["systemctl", "--no-ask-password", *words]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        raise SystemFault(f"cannot run systemctl: {error.strerror}") from error
    if done.returncode != 0:
        text = " ".join(done.stdout.decode("utf-8", "replace").split())
        raise SystemFault(f"{' '.join(command)}: {text or f'exit code {done.returncode}'}")


def is_in_unit(pid: int, unit: str) -> bool:
    """Return whether a process belongs to a unit, by the control groups that systemd makes."""
    return any(line.endswith(f"/{unit}") for line in text_of(pid, "cgroup").splitlines())
