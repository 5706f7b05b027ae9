"""Find the processes that keep a file system busy.

These have a directory, an open file or a mapped file below the mount point. The data is read from
/proc by path: so users of the source of a bind mount elsewhere do not count, and the file system
itself, which may hang, is not accessed. Processes in other mount namespaces that still have the
device mounted are reported too, but never killed: their use of it cannot be determined from here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from opensvc_openha.system.clock import pause

_GRACE_TRIES = 20
_GRACE_PAUSE_S = 0.1


@dataclass(frozen=True)
class Holder:
    """One process that keeps a mount point busy."""

    pid: int
    name: str
    is_elsewhere: bool = False
    """True if it only has the device mounted in a mount namespace of its own."""

    def __str__(self) -> str:
        return f"{self.name}({self.pid})" + (
            " in another mount namespace" if self.is_elsewhere else ""
        )


def find_holders(point: str, device: str) -> list[Holder]:
    """Return the processes that use something below ``point``.

    ``device`` (MAJOR:MINOR, or empty) adds those in other mount namespaces.
    """
    own_space = _link("/proc/self/ns/mnt")
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        base = f"/proc/{entry}"
        if _link(f"{base}/ns/mnt") == own_space:
            if _is_within(base, point):
                found.append(Holder(int(entry), _name(base)))
        elif device and f" {device} " in _text(f"{base}/mountinfo"):
            found.append(Holder(int(entry), _name(base), is_elsewhere=True))
    return found


def ancestors_within(point: str) -> Holder | None:
    """Return the nearest ancestor of this process that uses something below ``point``.

    This process itself if no ancestor does; None if it does not either.
    """
    within = [pid for pid in _ancestors() if _is_within(f"/proc/{pid}", point)]
    others = [pid for pid in within if pid != os.getpid()] or within
    return Holder(others[0], _name(f"/proc/{others[0]}")) if others else None


def holders_elsewhere(device: str) -> list[Holder]:
    """Return one process per other mount namespace that has this device (MAJOR:MINOR) mounted."""
    seen = {_link("/proc/self/ns/mnt"), ""}
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        space = _link(f"/proc/{entry}/ns/mnt")
        if space not in seen:
            seen.add(space)
            if f" {device} " in _text(f"/proc/{entry}/mountinfo"):
                found.append(Holder(int(entry), _name(f"/proc/{entry}"), is_elsewhere=True))
    return found


def find_device_users(rdev: int) -> list[Holder]:
    """Return the processes of all namespaces that have this block device itself open."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        base = f"/proc/{entry}"
        if int(entry) != os.getpid() and any(
            _is_device(path, rdev) for path in _open_devices(base)
        ):
            found.append(Holder(int(entry), _name(base)))
    return found


def kill_holders(holders: Iterable[Holder]) -> None:
    """Send SIGTERM to the holders, then SIGKILL to those that do not end.

    Spares our own ancestors and holders in other mount namespaces.
    """
    spared = set(_ancestors())
    left = [
        holder.pid for holder in holders if not holder.is_elsewhere and holder.pid not in spared
    ]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left:
            # It may have ended just now.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        for _ in range(_GRACE_TRIES):
            left = [pid for pid in left if _is_alive(pid)]
            if not left:
                return
            pause(_GRACE_PAUSE_S)


def _is_within(base: str, point: str) -> bool:
    return any(path == point or path.startswith(point + "/") for path in _used_paths(base))


def _used_paths(base: str) -> Iterator[str]:
    yield from (_link(f"{base}/{name}") for name in ("cwd", "root", "exe"))
    try:
        entries = os.listdir(f"{base}/fd")
    except OSError:
        entries = []
    yield from (_link(f"{base}/fd/{number}") for number in entries)
    for line in _text(f"{base}/maps").splitlines():
        _, slash, path = line.partition(" /")
        if slash:
            yield "/" + path


def _open_devices(base: str) -> Iterator[str]:
    # Other open files are not checked with stat: their file system may hang.
    try:
        numbers = os.listdir(f"{base}/fd")
    except OSError:
        return
    yield from (
        f"{base}/fd/{number}"
        for number in numbers
        if _link(f"{base}/fd/{number}").startswith("/dev/")
    )


def _is_device(path: str, rdev: int) -> bool:
    try:
        info = os.stat(path)
    except OSError:
        return False
    return stat.S_ISBLK(info.st_mode) and info.st_rdev == rdev


def _ancestors() -> Iterator[int]:
    pid = os.getpid()
    while pid > 1:
        yield pid
        # The name, in parentheses, may contain any character.
        fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0


def _is_alive(pid: int) -> bool:
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return bool(fields) and fields[0] not in ("Z", "X")


def _name(base: str) -> str:
    return _text(f"{base}/comm").strip() or "?"


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
