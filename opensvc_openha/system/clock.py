"""Be the only module that imports ``time``: monotonic seconds decide, wall-clock is displayed."""

from __future__ import annotations

import time
from collections.abc import Callable

_POLL_S = 0.02
_GOES_ON_IN_SUSPEND = getattr(time, "CLOCK_BOOTTIME", None)


_TIME_ERROR = 5
"""Answer of adjtimex: nothing has set the clock."""


def monotonic() -> float:
    """Return seconds that only grow, independent of clock steps.

    If the system has such a clock, a suspension of the machine counts: to its peer it is as silent
    as a stall.
    """
    return (
        time.monotonic() if _GOES_ON_IN_SUSPEND is None else time.clock_gettime(_GOES_ON_IN_SUSPEND)
    )


def wall() -> float:
    """Return seconds since 1970, for display."""
    return time.time()


def wall_of(instant: float) -> float:
    """Return the wall-clock seconds of a monotonic instant."""
    return time.time() - (monotonic() - instant)


def wall_if_known(instant: float | None) -> float | None:
    """Return the wall-clock time of a monotonic instant; None for None."""
    return None if instant is None else wall_of(instant)


def stamp(wall_s: float) -> str:
    """Format a wall-clock instant as in ``hb -s``: ``Jun 19 08:00:57``."""
    return time.strftime("%b %d %H:%M:%S", time.localtime(wall_s))


def follow_zone() -> None:
    """Use the time zone that the system has now: it may be another one than at the start."""
    time.tzset()


def is_synchronised() -> bool:
    """Return False if the kernel knows that nothing keeps the wall clock right; else True."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    # struct timex has 208 bytes; with modes = 0 it is only read.
    timex = ctypes.create_string_buffer(512)
    try:
        return int(library.adjtimex(timex)) != _TIME_ERROR
    except AttributeError:
        return True


def pause(seconds: float) -> None:
    """Sleep; only for threads that serve no other thread."""
    time.sleep(seconds)


def wait_until(is_so: Callable[[], bool], limit_s: float, poll_s: float = _POLL_S) -> bool:
    """Poll until a condition holds; return False if it does not within ``limit_s`` seconds."""
    give_up = monotonic() + limit_s
    while not is_so():
        if monotonic() >= give_up:
            return False
        pause(poll_s)
    return True


def short_stamp(wall_s: float) -> str:
    """Format a start as in ``ps``: the time today, else the day."""
    is_today = time.localtime(wall_s)[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if is_today else "%b%d", time.localtime(wall_s))


def date_stamp(wall_s: float) -> str:
    """Format the day of a wall-clock instant: ``2014-06-19``."""
    return time.strftime("%Y-%m-%d", time.localtime(wall_s))


def precise_stamp(wall_s: float) -> str:
    """Format a wall-clock instant as in the history: ``2014-06-19 09:32:07.123``."""
    whole = int(wall_s)
    second = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(whole))
    return f"{second}.{int((wall_s - whole) * 1000):03d}"


def read_stamp(text: str) -> float:
    """Parse a wall-clock instant: ``10m`` ago, ``09:30`` today, or a date.

    Raises ValueError for anything else.
    """
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86_400}.get(text[-1:])
    if unit is not None and text[:-1].isdigit():
        return time.time() - int(text[:-1]) * unit
    for form in ("%H:%M", "%H:%M:%S"):
        try:
            today = time.strftime("%Y-%m-%d ")
            return time.mktime(time.strptime(today + text, f"%Y-%m-%d {form}"))
        except ValueError:
            continue
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"):
        try:
            return time.mktime(time.strptime(text.replace("T", " "), form))
        except ValueError:
            continue
    raise ValueError(
        "expected 90s, 10m, 2h or 3d (ago), 09:30, 2014-06-19, or '2014-06-19 09:30'; found"
        f" {text!r}"
    )
