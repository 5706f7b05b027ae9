"""Takes this node down at once, without stopping or unmounting anything: for a resource that cannot
even be stopped.
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
    """Reboot, or crash so that a dump is made where that is configured.

    SystemFault if the node is still there.
    """
    if _is_whole_machine():
        _ask_kernel("c" if is_crash else "b")
        pause(_TRIGGER_LIMIT_S)
    import ctypes

    # In a container this ends the container, and nothing else.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.reboot(_RB_AUTOBOOT) != 0:
        raise SystemFault(f"cannot reboot this node: {os.strerror(ctypes.get_errno())}")


def _is_whole_machine() -> bool:
    """False in a container: what the kernel is asked for there would hit its host."""
    try:
        return os.readlink("/proc/self/ns/pid") == _FIRST_PID_NAMESPACE
    except OSError:
        return False


def _ask_kernel(letter: str) -> None:
    """Not every kernel has this way, and not every one lets it be opened: there is another."""
    for path, text in ((_SWITCH, "1"), (_TRIGGER, letter)):
        try:
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
        except OSError:
            continue
