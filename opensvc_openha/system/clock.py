"""The only module that imports ``time``. Monotonic seconds decide, wall-clock seconds are shown."""

from __future__ import annotations

import time

_GOES_ON_IN_SUSPEND = getattr(time, "CLOCK_BOOTTIME", None)


def monotonic() -> float:
    """Seconds that only grow, unknown to the operator and to clock steps.

    Where the system has such a clock, the time of a suspended machine counts: to its peer it was as
    silent as in a stall.
    """
    return (
        time.monotonic() if _GOES_ON_IN_SUSPEND is None else time.clock_gettime(_GOES_ON_IN_SUSPEND)
    )


def wall() -> float:
    """Seconds since 1970, for display."""
    return time.time()


def wall_of(instant: float) -> float:
    """Wall-clock seconds of a monotonic instant."""
    return time.time() - (monotonic() - instant)


def stamp(wall_s: float) -> str:
    """A wall-clock instant as ``hb -s`` prints it: ``Jun 19 08:00:57``."""
    return time.strftime("%b %d %H:%M:%S", time.localtime(wall_s))


def pause(seconds: float) -> None:
    """Sleeps; only threads that serve nobody else may."""
    time.sleep(seconds)


def short_stamp(wall_s: float) -> str:
    """A wall-clock instant as ``ps`` prints a start: the time today, else the day."""
    is_today = time.localtime(wall_s)[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if is_today else "%b%d", time.localtime(wall_s))


def precise_stamp(wall_s: float) -> str:
    """A wall-clock instant as the history prints it: ``2014-06-19 09:32:07.123``."""
    whole = int(wall_s)
    second = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(whole))
    return f"{second}.{int((wall_s - whole) * 1000):03d}"


def read_stamp(text: str) -> float:
    """The wall-clock instant an operator means: ``10m`` ago, ``09:30`` today, or a date.

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
