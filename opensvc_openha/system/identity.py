"""Identify this machine: its node name, and whether it has rebooted.

After a reboot nothing that ran before is left, so a STATE file with STARTED is wrong. Inside a
container or a namespace the kernel's boot id outlives the node; there the start of PID 1 decides.
"""

from __future__ import annotations

import os

from opensvc_openha.system.files import text_or_empty
from opensvc_openha.system.processes import start_of_process


def node_name() -> str:
    """Return this node's name, as `uname -n` prints it."""
    return os.uname().nodename


def life() -> str:
    """Return the identity of this boot; it changes with a reboot or a restart of the container."""
    return f"{text_or_empty('/proc/sys/kernel/random/boot_id').strip()}:{start_of_process(1)}"
