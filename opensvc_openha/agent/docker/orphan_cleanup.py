"""Find and remove what a killed docker daemon leaves behind.

Containers, their shims and containerd survive their daemon, keep the file system busy, write to it,
and prevent the next daemon from starting. They are identified by the run directory in their command
line and by their control group.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterable, Iterator

from opensvc_openha.agent.docker.bridge import remove_bridge
from opensvc_openha.agent.docker.settings import RUN_DIR, DockerSettings
from opensvc_openha.agent.host.commands import run_command
from opensvc_openha.agent.host.mounts import Mount, read_mounts
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.errors import ActionError
from opensvc_openha.system.processes import (
    all_pids,
    process_name,
    send_signal,
    text_of,
    wait_for_end,
)

KILL_LIMIT_S = 10.0
UNMOUNT_LIMIT_S = 30.0
CGROUP_ROOT = "/sys/fs/cgroup"

_NAMES_SHOWN = 8
_ENGINE_NAMES = ("dockerd", "containerd", "docker-containerd")
_ENGINE_DIRS = frozenset(
    [
        "overlay2",
        "overlay",
        "fuse-overlayfs",
        "vfs",
        "btrfs",
        "zfs",
        "devicemapper",
        "containers",
        "plugins",
        "containerd",
        "rootfs",
    ]
)
"""Subdirectories of the data directory that hold docker's mounts."""


def engine_pids(settings: DockerSettings) -> list[int]:
    """Return the pids of daemon, containerd and shims of this service, the daemon first."""
    found = []
    for pid in all_pids():
        words = _command_line(pid)
        if (
            words
            and os.path.basename(words[0]).startswith(_ENGINE_NAMES)
            and _names_run_dir(words, settings.run_dir)
        ):
            found.append((not os.path.basename(words[0]).startswith("dockerd"), pid))
    return [pid for _, pid in sorted(found)]


def daemon_pids(settings: DockerSettings) -> list[int]:
    """Return the pids of the daemon itself: one, or none."""
    return [pid for pid in engine_pids(settings) if _program(pid).startswith("dockerd")]


def has_containerd(settings: DockerSettings) -> bool:
    """Return whether the containerd of this service runs."""
    return any(_program(pid) == "containerd" for pid in engine_pids(settings))


def container_pids(settings: DockerSettings, engine: Iterable[int]) -> list[int]:
    """Return the pids of the processes in containers.

    These are children of the shims, members of the control group, and proxies of the ports.
    """
    import psutil

    found = set(_cgroup_members(settings.cgroup))
    for pid in engine:
        try:
            found.update(child.pid for child in psutil.Process(pid).children(recursive=True))
        except psutil.Error:
            continue
    return sorted(found - set(engine))


def has_leftovers(settings: DockerSettings) -> bool:
    """Return whether there is a trace of a daemon; a cheap check."""
    return os.path.isdir(f"{settings.run_dir}/containerd") or os.path.exists(settings.pid_file)


def clear(settings: DockerSettings, log: ActionLog) -> None:
    """Kill the rest of the daemon; remove its mounts, files, bridge and control groups."""
    kill_all(settings, log)
    _unmount_all(settings, log)
    for path in (settings.pid_file, settings.socket):
        _remove_file(path)
    _remove_run_dir(settings)
    remove_bridge(log, settings.bridge)
    _remove_cgroups(settings.cgroup)


def kill_all(settings: DockerSettings, log: ActionLog) -> None:
    """Kill daemon, containerd, shims and containers that still run.

    Raises ActionError for those that cannot be killed.
    """
    engine = engine_pids(settings)
    pids = [*container_pids(settings, engine), *engine]
    if not pids:
        return
    shown = ", ".join(f"{process_name(pid)}({pid})" for pid in pids[:_NAMES_SHOWN])
    log.warning(
        "killing what is left of the docker daemon:"
        f" {shown}{' ...' if len(pids) > _NAMES_SHOWN else ''}"
    )
    _thaw(settings.cgroup)
    for pid in pids:
        send_signal(pid, signal.SIGKILL)
    stuck = wait_for_end(pids, KILL_LIMIT_S)
    if stuck:
        names = ", ".join(f"{process_name(pid)}({pid})" for pid in stuck)
        raise ActionError(
            "processes of the docker daemon do not die, perhaps for want of an answer from a disk:"
            f" {names}"
        )


def _program(pid: int) -> str:
    return os.path.basename(next(iter(_command_line(pid)), ""))


def _command_line(pid: int) -> list[str]:
    """Return the words of the command; empty for a zombie or a process that has ended."""
    return [word for word in text_of(pid, "cmdline").split("\0") if word]


def _names_run_dir(words: list[str], run_dir: str) -> bool:
    return any(
        word == run_dir or word.startswith(run_dir + "/") or word == f"--exec-root={run_dir}"
        for word in words
    )


def _cgroup_dirs(cgroup: str) -> Iterator[str]:
    """Yield the directory of the control group in each hierarchy that has it."""
    try:
        roots = [CGROUP_ROOT] + [f"{CGROUP_ROOT}/{entry}" for entry in os.listdir(CGROUP_ROOT)]
    except OSError:
        return
    for root in roots:
        if os.path.isdir(root + cgroup):
            yield root + cgroup


def _cgroup_members(cgroup: str) -> Iterator[int]:
    for top in _cgroup_dirs(cgroup):
        for directory, _, files in os.walk(top):
            if "cgroup.procs" in files:
                # 0 is a process of another pid namespace.
                yield from (pid for pid in _numbers(f"{directory}/cgroup.procs") if pid > 0)


def _numbers(path: str) -> list[int]:
    try:
        with open(path, encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except (OSError, ValueError):
        return []


def _thaw(cgroup: str) -> None:
    """Thaw a control group: in a frozen one of version 1 no process dies."""
    for top in _cgroup_dirs(cgroup):
        for directory, _, files in os.walk(top):
            if "freezer.state" in files:
                try:
                    with open(f"{directory}/freezer.state", "w", encoding="ascii") as file:
                        file.write("THAWED")
                except OSError:
                    continue


def _remove_cgroups(cgroup: str) -> None:
    for top in _cgroup_dirs(cgroup):
        for directory, _, _ in os.walk(top, topdown=False):
            _remove_dir(directory)
        _remove_dir(os.path.dirname(top))


def _remove_dir(path: str) -> None:
    # Others may use it; an empty control group does no harm.
    with contextlib.suppress(OSError):
        os.rmdir(path)


def _remove_file(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _engine_mounts(settings: DockerSettings) -> list[str]:
    """Return the mounts made by docker, the innermost first.

    File systems of the service itself are not included.
    """
    found = []
    mounts = read_mounts()
    for position, mount in enumerate(mounts):
        if mount.point == settings.data_dir and _is_self_bind(mount, mounts[:position]):
            found.append(mount.point)
            continue
        in_run_dir = mount.point.startswith(settings.run_dir + "/")
        first = mount.point[len(settings.data_dir) + 1 :].partition("/")[0]
        in_data_dir = mount.point.startswith(settings.data_dir + "/") and first in _ENGINE_DIRS
        if (in_run_dir or in_data_dir) and mount.point not in settings.mount_points:
            found.append(mount.point)
    return found[::-1]


def _is_self_bind(mount: Mount, below: tuple[Mount, ...]) -> bool:
    """Return whether a mount shows the same as the directory below it.

    The daemon binds its data directory to itself.
    """
    under = [
        other
        for other in below
        if mount.point == other.point or mount.point.startswith(other.point.rstrip("/") + "/")
    ]
    if not under:
        return False
    shown = max(reversed(under), key=lambda other: len(other.point))
    rest = mount.point[len(shown.point.rstrip("/")) :]
    return (mount.device, mount.root) == (
        shown.device,
        shown.root.rstrip("/") + rest if rest else shown.root,
    )


def _unmount_all(settings: DockerSettings, log: ActionLog) -> None:
    for lazily in ((), ("-l",)):
        points = _engine_mounts(settings)
        if not points:
            return
        run_command(["umount", *lazily, "--", *points], UNMOUNT_LIMIT_S)
    left = _engine_mounts(settings)
    if left:
        log.warning(f"still mounted by docker: {', '.join(left[:5])}")


def _remove_run_dir(settings: DockerSettings) -> None:
    """Remove our run directory; one that docker_daemon_args names may hold other files."""
    if settings.run_dir.startswith(RUN_DIR + "/"):
        shutil.rmtree(settings.run_dir, ignore_errors=True)
        return
    for name in ("containerd", "netns", "runtime-runc", "libnetwork", "swarm", "plugins"):
        shutil.rmtree(f"{settings.run_dir}/{name}", ignore_errors=True)
