"""Find the processes that keep a file system busy.

These have a directory, an open file or a mapped file below the mount point. The data is read from
/proc by path: so users of the source of a bind mount elsewhere do not count, and the file system
itself, which may hang, is not accessed. Processes in other mount namespaces that still have the
device mounted are reported too, but never killed: their use of it cannot be determined from here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from opensvc_openha.agent.host.mounts import Mount, parse_mounts
from opensvc_openha.named_tuples import NamedTuple
from opensvc_openha.system.processes import (
    all_pids,
    ancestors,
    end_processes,
    process_name,
    text_of,
)

_GRACE_S = 2.0
_SYSTEM_TYPES = frozenset({"proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "mqueue"})
_SYSTEM_POINTS = frozenset({"/dev", "/dev/shm", "/proc", "/sys", "/run"})


class Holder(NamedTuple):
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
    for pid in all_pids():
        if pid == os.getpid():
            continue
        if _link(f"/proc/{pid}/ns/mnt") == own_space:
            if _is_within(pid, point):
                found.append(Holder(pid, process_name(pid)))
        elif device and _has_mounted(pid, device):
            found.append(Holder(pid, process_name(pid), is_elsewhere=True))
    return found


def ancestors_within(point: str) -> Holder | None:
    """Return the nearest ancestor of this process that uses something below ``point``.

    This process itself if no ancestor does; None if it does not either.
    """
    within = [pid for pid in ancestors() if _is_within(pid, point)]
    others = [pid for pid in within if pid != os.getpid()] or within
    return Holder(others[0], process_name(others[0])) if others else None


def uses_root_alone(pid: int) -> bool:
    """Return True if neither a process nor its ancestors use a mount that a service might have.

    So what the stop of any service unmounts is not used by them. False if that cannot be
    determined.
    """
    if not pid:
        return False  # It is in another pid namespace.
    mounts = parse_mounts(text_of(pid, "mountinfo").splitlines())
    paths = (path for each in ancestors(pid) for path in _used_paths(each))
    return are_on_root_alone(paths, mounts)


def are_on_root_alone(paths: Iterable[str], mounts: Iterable[Mount]) -> bool:
    """Return True if none of these paths is below a mount point of what is not the system's."""
    points = [mount.point for mount in mounts if not _is_of_system(mount)]
    others = tuple(f"{point}/" for point in points if point != "/")
    return "/" in points and not any(f"{path}/".startswith(others) for path in paths)


def holders_elsewhere(device: str) -> list[Holder]:
    """Return one process per other mount namespace that has this device (MAJOR:MINOR) mounted."""
    seen = {_link("/proc/self/ns/mnt"), ""}
    found = []
    for pid in all_pids():
        space = _link(f"/proc/{pid}/ns/mnt")
        if space not in seen:
            seen.add(space)
            if _has_mounted(pid, device):
                found.append(Holder(pid, process_name(pid), is_elsewhere=True))
    return found


def find_device_users(rdev: int) -> list[Holder]:
    """Return the processes of all namespaces that have this block device itself open."""
    return [
        Holder(pid, process_name(pid))
        for pid in all_pids()
        if pid != os.getpid() and any(_is_device(path, rdev) for path in _open_devices(pid))
    ]


def kill_holders(holders: Iterable[Holder]) -> None:
    """Send SIGTERM to the holders, then SIGKILL to those that do not end.

    Spares our own ancestors and holders in other mount namespaces.
    """
    spared = set(ancestors())
    end_processes(
        (holder.pid for holder in holders if not holder.is_elsewhere and holder.pid not in spared),
        _GRACE_S,
    )


def _is_of_system(mount: Mount) -> bool:
    return mount.fstype in _SYSTEM_TYPES or mount.point in _SYSTEM_POINTS


def _has_mounted(pid: int, device: str) -> bool:
    return f" {device} " in text_of(pid, "mountinfo")


def _is_within(pid: int, point: str) -> bool:
    return any(path == point or path.startswith(point + "/") for path in _used_paths(pid))


def _used_paths(pid: int) -> Iterator[str]:
    yield from (_link(f"/proc/{pid}/{name}") for name in ("cwd", "root", "exe"))
    yield from map(_link, _open_files(pid))
    for line in text_of(pid, "maps").splitlines():
        _, slash, path = line.partition(" /")
        if slash:
            yield "/" + path


def _open_files(pid: int) -> list[str]:
    try:
        return [f"/proc/{pid}/fd/{number}" for number in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return []


def _open_devices(pid: int) -> Iterator[str]:
    # Other open files are not checked with stat: their file system may hang.
    yield from (path for path in _open_files(pid) if _link(path).startswith("/dev/"))


def _is_device(path: str, rdev: int) -> bool:
    try:
        info = os.stat(path)
    except OSError:
        return False
    return stat.S_ISBLK(info.st_mode) and info.st_rdev == rdev


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
