"""Who this machine is: its node name, and whether it is still the same life of the machine as
before.

After a reboot nothing that ran before is left, so a STATE file that says STARTED is wrong. Inside a
container or a namespace the kernel's boot id outlives the node; there the start of PID 1 tells.
"""

from __future__ import annotations

import os


def node_name() -> str:
    """This node's name, as `uname -n` prints it."""
    return os.uname().nodename


def life() -> str:
    """Identity of this life of the machine: changes with a reboot, and with a restart of the
    container.
    """
    return f"{_first_line('/proc/sys/kernel/random/boot_id')}:{start_of_process(1)}"


def start_of_process(pid: int) -> str:
    """Start time of a process in clock ticks since boot, or empty if there is none: tells a reused
    pid.
    """
    line = _first_line(f"/proc/{pid}/stat")
    # The command name, in parentheses, may hold anything.
    fields = line[line.rfind(")") + 1 :].split()
    return fields[19] if len(fields) > 19 and fields[0] not in ("Z", "X") else ""


def descends_from(ancestor: int) -> bool:
    """True if this process was started by that one, or by one that it started, and so on."""
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
