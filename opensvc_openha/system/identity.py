"""Identify this machine: its node name, and whether it has rebooted.

After a reboot nothing that ran before is left, so a STATE file with STARTED is wrong. Inside a
container or a namespace the kernel's boot id outlives the node; there the start of PID 1 decides.
"""

from __future__ import annotations

import os


def node_name() -> str:
    """Return this node's name, as `uname -n` prints it."""
    return os.uname().nodename


def life() -> str:
    """Return the identity of this boot; it changes with a reboot or a restart of the container."""
    return f"{_first_line('/proc/sys/kernel/random/boot_id')}:{start_of_process(1)}"


def start_of_process(pid: int) -> str:
    """Return a process's start time in clock ticks since boot; empty if there is none.

    It detects a reused pid.
    """
    line = _first_line(f"/proc/{pid}/stat")
    # The command name, in parentheses, may hold anything.
    fields = line[line.rfind(")") + 1 :].split()
    return fields[19] if len(fields) > 19 and fields[0] not in ("Z", "X") else ""


def descends_from(ancestor: int) -> bool:
    """Return True if this process is a descendant of that one."""
    pid = os.getppid()
    while pid > 1 and pid != ancestor:
        line = _first_line(f"/proc/{pid}/stat")
        fields = line[line.rfind(")") + 1 :].split()
        pid = int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 0
    return pid == ancestor


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""
