"""Hide a secret argument of this process from the list of processes."""

from __future__ import annotations

import ctypes

_ARG_START, _ARG_END = 48, 49
"""Fields of /proc/PID/stat, counted from 1: where the kernel reads the arguments."""
_AFTER_NAME = 3
"""The first field behind the name, which may hold blanks."""


def hide_argument(word: str) -> bool:
    """Overwrite an argument in the memory that /proc/PID/cmdline shows.

    Returns False if it can still be seen there. What Python has parsed stays as it is.
    """
    secret = word.encode("utf-8", "surrogateescape")
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        begin = int(fields[_ARG_START - _AFTER_NAME])
        end = int(fields[_ARG_END - _AFTER_NAME])
        shown = _command_line()
        if not secret or begin == 0 or len(shown) != end - begin:
            return secret not in shown
        place = shown.find(secret)
        while place >= 0:
            ctypes.memset(begin + place, ord("*"), len(secret))
            place = shown.find(secret, place + len(secret))
        return secret not in _command_line()
    except (OSError, ValueError, IndexError):
        return False


def _command_line() -> bytes:
    with open("/proc/self/cmdline", "rb") as file:
        return file.read()
