"""Look at a watchdog device without opening it, which would start it.

What the kernel reports of it (/sys/class/watchdog), and which process has it open.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from opensvc_openha.system.files import text_or_empty
from opensvc_openha.system.processes import all_pids, process_name
from opensvc_openha.watchdog.keeper import MAGIC_CLOSE_OPTION

SOFTWARE_IDENTITY = "Software Watchdog"
SOFTWARE_NAME = "softdog"
SOFTWARE_GRANULARITY_S = 0.05
HARDWARE_GRANULARITY_S = 1.0
"""How late a watchdog may act beside its timeout; that of hardware counts seconds.

softdog was seen to act 0.04 s early to 0.01 s late.
"""
_AT_MOST = 4096
_OLD_NAME = (10, 130)
"""Device number of /dev/watchdog, which is the first of those that are numbered."""


@dataclass(frozen=True)
class WatchdogFacts:
    """What is known of a watchdog from outside; None where the kernel does not report it."""

    path: str
    problem: str = ""
    """Why it cannot be used at all, with what to do; empty if nothing is known against it."""
    identity: str = ""
    driver: str = ""
    is_running: bool | None = None
    """It runs already: some process has it open, or nothing stopped it."""
    is_nowayout: bool | None = None
    """Once started it cannot be stopped any more."""
    timeout_s: int | None = None
    least_timeout_s: int | None = None
    most_timeout_s: int | None = None
    left_s: int | None = None
    """Time until it resets the machine; many drivers, softdog among them, do not report it."""
    has_magic_close: bool | None = None
    """A close stops it only after a promise to do so: otherwise the end of a process stops it."""

    @property
    def name(self) -> str:
        """Name of its driver, or its own name."""
        return watchdog_name(self.identity, self.driver)


def watchdog_name(identity: str, driver: str) -> str:
    """Return how a watchdog is called: after its driver, ``softdog`` for the kernel's own."""
    return driver or (SOFTWARE_NAME if identity == SOFTWARE_IDENTITY else identity or "watchdog")


def granularity_s(identity: str) -> float:
    """Return how late a watchdog may act beside its timeout."""
    return SOFTWARE_GRANULARITY_S if identity == SOFTWARE_IDENTITY else HARDWARE_GRANULARITY_S


def look_at(path: str, root: str = "/sys") -> WatchdogFacts:
    """Return what is known of the watchdog at ``path``; never opens it."""
    try:
        found = os.stat(path)
    except OSError as error:
        return WatchdogFacts(
            path,
            f"{path}: {error.strerror}: load the driver of the machine's watchdog, or `modprobe"
            " softdog` (a watchdog in software), and see `ls /dev/watchdog*`",
        )
    if not stat.S_ISCHR(found.st_mode):
        return WatchdogFacts(path, f"{path} is no device: see `ls /dev/watchdog*`")
    numbers = os.major(found.st_rdev), os.minor(found.st_rdev)
    return facts_in(_facts_directory(numbers, root), path)


def facts_in(directory: str, path: str) -> WatchdogFacts:
    """Return what the kernel reports in this directory of the watchdog at ``path``."""
    options = _number(directory, "options")
    has_magic_close = None if options is None else bool(options & MAGIC_CLOSE_OPTION)
    nowayout = _number(directory, "nowayout")
    problem = ""
    if has_magic_close is False and not nowayout:
        problem = (
            f"{path} stops when its file is closed, so the end of its keeper would stop it: load"
            " its driver with nowayout=1, or use another watchdog"
        )
    state = _text(directory, "state")
    driver = ""
    with contextlib.suppress(OSError):
        driver = os.path.basename(os.readlink(os.path.join(directory, "device", "driver")))
    return WatchdogFacts(
        path,
        problem,
        _text(directory, "identity"),
        driver,
        state == "active" if state else None,
        None if nowayout is None else nowayout > 0,
        _number(directory, "timeout"),
        _number(directory, "min_timeout"),
        _number(directory, "max_timeout"),
        _number(directory, "timeleft"),
        has_magic_close,
    )


def processes_with(path: str) -> list[int]:
    """Return the processes that have this device open under any of its names, as root sees them."""
    try:
        wanted = _same_device(os.stat(path).st_rdev)
    except OSError:
        return []
    return sorted(pid for pid in all_pids() if wanted in _open_devices(pid))


def user_text(pids: list[int]) -> str:
    """Return who has the watchdog open and what to do, as a sentence; empty if nobody has."""
    if not pids:
        return ""
    if 1 in pids:
        return (
            "systemd has it open: take RuntimeWatchdogSec= out of /etc/systemd/system.conf (and"
            " system.conf.d) and run `systemctl daemon-reexec`, or name another watchdog device"
        )
    names = ", ".join(f"{process_name(pid)} (pid {pid})" for pid in pids)
    return f"{names} has it open: stop that, or name another watchdog device"


def _open_devices(pid: int) -> Iterator[tuple[int, int]]:
    with contextlib.suppress(OSError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                # Nothing else is looked at: a file of a server that is away would hang this.
                if os.readlink(f"/proc/{pid}/fd/{entry}").startswith("/dev/"):
                    found = os.stat(f"/proc/{pid}/fd/{entry}")
                    if stat.S_ISCHR(found.st_mode):
                        yield _same_device(found.st_rdev)


def _same_device(number: int) -> tuple[int, int]:
    numbers = os.major(number), os.minor(number)
    if numbers == _OLD_NAME:
        with contextlib.suppress(ValueError):
            major, minor = text_or_empty("/sys/class/watchdog/watchdog0/dev", _AT_MOST).split(":")
            return int(major), int(minor)
    return numbers


def _facts_directory(numbers: tuple[int, int], root: str) -> str:
    if numbers == _OLD_NAME:
        return f"{root}/class/watchdog/watchdog0"
    return f"{root}/dev/char/{numbers[0]}:{numbers[1]}"


def _text(directory: str, name: str) -> str:
    return text_or_empty(os.path.join(directory, name), _AT_MOST).strip()


def _number(directory: str, name: str) -> int | None:
    try:
        return int(_text(directory, name), 0)
    except ValueError:
        return None
