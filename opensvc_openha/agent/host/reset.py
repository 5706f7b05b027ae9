"""Take this node down at once, without stopping or unmounting anything.

The last resort for a resource that cannot be stopped.
"""

from __future__ import annotations

import os

from opensvc_openha.errors import SystemFault
from opensvc_openha.system.clock import pause

_TRIGGER = "/proc/sysrq-trigger"
_SWITCH = "/proc/sys/kernel/sysrq"
_FIRST_PID_NAMESPACE = "pid:[4026531836]"
_RB_AUTOBOOT = 0x01234567
_TRIGGER_LIMIT_S = 5.0


def end_node(is_crash: bool) -> None:
    """Reboot, or crash so that a dump is written where that is configured.

    Raises SystemFault if the node is still up.
    """
    if _is_whole_machine():
        _ask_kernel("c" if is_crash else "b")
        pause(_TRIGGER_LIMIT_S)
    import ctypes

    # In a container this ends the container only.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.reboot(_RB_AUTOBOOT) != 0:
        raise SystemFault(f"cannot reboot this node: {os.strerror(ctypes.get_errno())}")


def _is_whole_machine() -> bool:
    """Return False in a container, where the kernel's reset would hit the host."""
    try:
        return os.readlink("/proc/self/ns/pid") == _FIRST_PID_NAMESPACE
    except OSError:
        return False


def _ask_kernel(letter: str) -> None:
    """Request a reset through /proc/sysrq-trigger.

    Errors are ignored: not every kernel has the file or allows to open it, and the caller has
    another method.
    """
    for path, text in ((_SWITCH, "1"), (_TRIGGER, letter)):
        try:
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
        except OSError:
            continue
