"""The only module that imports ``time``. Monotonic seconds decide, wall-clock seconds are shown."""

from __future__ import annotations

import time


def monotonic() -> float:
    """Seconds that only grow, unknown to the operator and to clock steps."""
    return time.monotonic()


def wall() -> float:
    """Seconds since 1970, for display."""
    return time.time()


def wall_of(instant: float) -> float:
    """Wall-clock seconds of a monotonic instant."""
    return time.time() - (time.monotonic() - instant)


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
