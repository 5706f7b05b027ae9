"""File systems: a device, an image file or a network file system, a bind mount, a directory.

A file system is up only if its device is the one visible at the mount point; a device mounted
elsewhere, a mount point that shows something else, or a file system that became read-only is a
warning, never "down". At stop, processes that keep it busy are named and, as the agent does,
killed.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import stat
from collections.abc import Iterable
from functools import partial

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.checks import type_of
from opensvc_openha.agent.config.schema import LOCAL_TYPES, NETWORK_TYPES
from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.config.value_types import DEVICE_PREFIXES
from opensvc_openha.agent.host.commands import (
    COMMAND_TIMEOUT_S,
    SYSTEM_PATH,
    run_logged,
    run_or_fail,
)
from opensvc_openha.agent.host.mount_users import (
    Holder,
    find_holders,
    holders_elsewhere,
    kill_holders,
)
from opensvc_openha.agent.host.mounts import Mount, backing_file, read_mounts, top_mount
from opensvc_openha.agent.host.system_paths import why_not_mounted_over
from opensvc_openha.agent.resources.base import (
    DriverContext,
    LocalResource,
    Resource,
    index_of,
)
from opensvc_openha.agent.values.resource_status import Finding, Group, ResourceStatus
from opensvc_openha.errors import ActionError, SystemFault
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.system.atomic_files import make_dir
from opensvc_openha.system.clock import pause
from opensvc_openha.system.files import text_or_empty

if TYPE_CHECKING:
    from opensvc_openha.agent.values.readiness import Remark, Surroundings

HOLDERS_SHOWN = 5

_UNMOUNT_TRIES = 4
_UNMOUNT_PAUSE_S = 0.5
_NETWORK_TIMEOUT_S = 120.0
_FSCK_TYPES = frozenset({"ext2", "ext3", "ext4"})
_FSCK_FAILED = 4
_MODULES = {"iso9660": "isofs"}
"""Modules whose name is not that of the file system; ntfs has ntfs3."""


def build(section: Section, context: DriverContext) -> Resource:
    """Build a directory, or anything that is mounted."""
    kind = type_of(section) or ""
    if kind == "directory":
        return Directory(section, context)
    return MountedFs(section, context, "bind" if kind in schema.BIND_TYPES else kind)


class MountedFs(LocalResource):
    """A device, file or directory mounted on a mount point."""

    def __init__(self, section: Section, context: DriverContext, kind: str) -> None:
        self._kind = kind
        self._layout = context.layout
        self._dev = section.value(schema.DEV)
        self._point = section.value(schema.MNT)
        self._options = section.value(schema.MNT_OPT)
        # Where the service itself mounts this device or what shows it; those have their own status.
        self._own_points = context.file.mount_points
        super().__init__(section, context, Group.FS, "fs", f"{self._dev}@{self._point}")
        self.start_rank = self.stop_rank = (_depth(section, context), f"{index_of(section):010}")

    def status(self) -> Finding:
        """Return up if our device is the one visible at the mount point."""
        if not self._is_nameless:
            expect_in_reach(self._path_wanted)
        mounts = read_mounts()
        seen = top_mount(self._real_point, mounts)
        if seen is not None:
            if not self._is_ours(seen):
                return Finding(
                    ResourceStatus.WARN, (f"{seen.source} is mounted on {self._point} instead",)
                )
            if "ro" in seen.options and "ro" not in self._options.split(","):
                return Finding(ResourceStatus.WARN, (f"{self._point} is mounted read-only",))
            return Finding(ResourceStatus.UP)
        elsewhere = self._mounted_elsewhere(mounts)
        if elsewhere is not None:
            return Finding(
                ResourceStatus.WARN, (f"{self._dev} is mounted on {elsewhere.point} instead",)
            )
        return Finding(ResourceStatus.DOWN)

    def start(self) -> None:
        """Check the file system, create the mount point, mount, and verify the mount."""
        finding = self.status()
        if finding.status is ResourceStatus.UP:
            self._log.info(f"{self.spec.label} is already mounted")
            return
        if finding.status is ResourceStatus.WARN:
            raise self.spec.error(ActionError, f"{finding.log[0]}")
        hidden = why_not_mounted_over(self._point, self._layout)
        if hidden:
            raise self.spec.error(ActionError, f"a mount on {self._point} {hidden}: refused")
        if not self._is_nameless and not self._dev_path:
            raise self.spec.error(ActionError, f"{self._dev} does not exist")
        try:
            make_dir(self._point)
        except SystemFault as error:
            raise self.spec.error(ActionError, f"mount point: {error}") from error
        self._check_file_system()
        run_or_fail(
            self._log,
            self._mount_command(),
            _NETWORK_TIMEOUT_S if self._kind in NETWORK_TYPES else COMMAND_TIMEOUT_S,
        )
        after = self.status()
        if after.status is not ResourceStatus.UP:
            what = after.log[0] if after.log else f"{self._dev} is not seen on {self._point}"
            raise self.spec.error(ActionError, f"mount succeeded, but {what}")

    def readiness(self, around: Surroundings) -> Iterable[Remark]:
        """Yield what would keep it from being mounted, and what the mount would hide."""
        from opensvc_openha.agent.values.readiness import beware, would_fail

        finding = self.status()
        if finding.status is ResourceStatus.UP:
            return
        if finding.status is ResourceStatus.WARN:
            yield would_fail("mount points", finding.log[0], f"umount {self._point}")
        hidden = why_not_mounted_over(self._point, self._layout)
        if hidden:
            yield would_fail("mount points", f"a mount on {self._point} {hidden}: refused")
        if not (self._is_nameless or self._dev_path or self._appears(around)):
            yield would_fail("devices", f"{self._dev} does not exist")
        yield from mount_problems(self._kind, self._dev)
        if self._kind in _FSCK_TYPES and not shutil.which("e2fsck", path=SYSTEM_PATH):
            text = "e2fsck is not installed: it would not be checked before it is mounted"
            yield beware("devices", text, "apt-get install e2fsprogs")
        if finding.status is ResourceStatus.DOWN and not around.is_hidden(
            os.path.dirname(self._point)
        ):
            yield from self._mount_point(around)

    def _appears(self, around: Surroundings) -> bool:
        """Return whether the resources that are started before make the device."""
        path = self._path_wanted
        by_name = self._dev != path and bool(around.later)
        return by_name or around.comes_later(path) or around.is_hidden(path)

    def _mount_point(self, around: Surroundings) -> Iterable[Remark]:
        from opensvc_openha.agent.values.readiness import beware, why_no_directory, would_fail

        problem = why_no_directory(self._point)
        if problem:
            text = f"mount point {self._point} cannot be made: {problem}"
            yield would_fail("mount points", text)
        elif not os.path.lexists(self._point):
            if around.runs_on_peer:
                text = f"mount point {self._point} does not exist: a start makes it"
                yield beware("mount points", text, f"mkdir -p {self._point}")
        elif os.listdir(self._point):
            text = f"{self._point} is not empty: what is in it would be hidden by the mount"
            yield beware("mount points", text, "move it away")

    def stop(self) -> None:
        """Unmount; while it is busy, name and kill the processes that use it, and try again.

        Fails if the device is mounted elsewhere.
        """
        device = self._unmount()
        if self._kind in LOCAL_TYPES:
            self._expect_unused(device)

    def _unmount(self) -> str:
        """Unmount once; return the device number of what was mounted, or an empty text."""
        device = ""
        tries_left = _UNMOUNT_TRIES
        while True:
            seen = top_mount(self._real_point, read_mounts())
            if seen is None or (device and not self._is_ours(seen)):
                if not device:
                    self._log.info(f"{self.spec.label} is not mounted")
                return device
            if not self._is_ours(seen):
                raise self.spec.error(
                    ActionError,
                    f"{seen.source} is mounted on {self._point}, not {self._dev}: left alone",
                )
            result = run_logged(self._log, ["umount", self._point])
            if result.exit_code == 0:
                device = seen.device
                continue
            tries_left -= 1
            holders = find_holders(
                self._real_point, seen.device if self._kind in LOCAL_TYPES else ""
            )
            if not tries_left:
                raise self.spec.error(
                    ActionError,
                    f"umount {self._point} {result.verdict}, in use by {_named(holders)}",
                )
            if holders:
                self._log.warning(f"{self._point} is in use by {_named(holders)}: ending them")
                kill_holders(holders)
            else:
                pause(_UNMOUNT_PAUSE_S)

    def _expect_unused(self, device: str) -> None:
        """Raise if the device is still mounted anywhere else here: the peer may mount it next.

        It does not matter which process mounted it.
        """
        for tries_left in range(_UNMOUNT_TRIES - 1, -1, -1):
            elsewhere = self._mounted_elsewhere(read_mounts())
            holders = holders_elsewhere(device) if device and not elsewhere else []
            if elsewhere is None and not holders:
                return
            if tries_left:
                pause(_UNMOUNT_PAUSE_S)
        if elsewhere is not None:
            raise self.spec.error(
                ActionError,
                f"{self._dev} is still mounted on {elsewhere.point}: umount {elsewhere.point}",
            )
        raise self.spec.error(
            ActionError, f"{self._dev} is still mounted for {_named(holders)}: end that process"
        )

    @property
    def _real_point(self) -> str:
        # The mount point itself is not accessed: its file system may hang.
        folder, name = os.path.split(self._point)
        return os.path.join(os.path.realpath(folder), name)

    @property
    def _is_nameless(self) -> bool:
        """Return whether no path of this node stands for its device."""
        return self._kind == "tmpfs" or self._kind in NETWORK_TYPES

    @property
    def _dev_path(self) -> str:
        """Return the path of the device, file or directory; empty if it is missing."""
        return self._path_wanted if os.path.exists(self._path_wanted) else ""

    @property
    def _path_wanted(self) -> str:
        path = self._dev
        for prefix, directory in DEVICE_PREFIXES.items():
            if path.startswith(prefix):
                path = directory + path[len(prefix) :].strip('"')
        return path

    def _is_image(self) -> bool:
        return self._kind in LOCAL_TYPES and os.path.isfile(self._dev_path)

    def _is_ours(self, seen: Mount) -> bool:
        """Return whether this mount shows our device."""
        if self._kind == "tmpfs":
            return seen.fstype == "tmpfs"
        if self._kind in NETWORK_TYPES:
            return seen.fstype.rstrip("4") == self._kind.rstrip("4") and seen.source.rstrip(
                "/"
            ) == self._dev.rstrip("/")
        path = self._dev_path
        if not path:
            # Of a device that disappeared under its mount only the name is left.
            return seen.source == self._dev
        info = os.stat(path)
        if self._kind == "bind":
            shown = os.stat(seen.point)
            return (info.st_dev, info.st_ino) == (shown.st_dev, shown.st_ino)
        if stat.S_ISBLK(info.st_mode):
            return seen.device == f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
        backing = backing_file(seen.source)
        return bool(backing) and os.path.realpath(backing) == os.path.realpath(path)

    def _mounted_elsewhere(self, mounts: tuple[Mount, ...]) -> Mount | None:
        if self._kind not in LOCAL_TYPES or not self._dev_path:
            return None
        candidates = (
            mounts
            if not self._is_image()
            else [mount for mount in mounts if "/loop" in mount.source]
        )
        return next(
            (
                mount
                for mount in candidates
                if mount.point not in self._own_points and self._is_ours(mount)
            ),
            None,
        )

    def _mount_command(self) -> list[str]:
        options = [
            word
            for word in self._options.split(",")
            if word and not (self._kind == "bind" and word == "bind")
        ]
        if self._is_image() and "loop" not in options:
            options.append("loop")
        if self._kind == "bind":
            argv = ["mount", "--bind"]
        else:
            argv = ["mount", "-t", self._kind]
        if options:
            argv += ["-o", ",".join(options)]
        return argv + [self._dev, self._point]

    def _check_file_system(self) -> None:
        """Run e2fsck without questions, to replay or repair; xfs does this at mount."""
        if self._kind not in _FSCK_TYPES or not shutil.which("e2fsck"):
            return
        result = run_logged(self._log, ["e2fsck", "-p", self._dev_path])
        if result.is_timed_out or not 0 <= result.exit_code < _FSCK_FAILED:
            raise self.spec.error(
                ActionError, f"e2fsck -p {self._dev} {result.verdict}: check it by hand"
            )


class Directory(LocalResource):
    """A directory that must exist: created at start, left at stop."""

    def __init__(self, section: Section, context: DriverContext) -> None:
        self._path = section.value(schema.DIRECTORY)
        self._user = section.value(schema.DIRECTORY_USER)
        self._group = section.value(schema.DIRECTORY_GROUP)
        self._mode = section.value(schema.DIRECTORY_MODE)
        super().__init__(section, context, Group.FS, "fs", f"dir@{self._path}")
        self.start_rank = self.stop_rank = (_depth(section, context), f"{index_of(section):010}")

    def status(self) -> Finding:
        """Return n/a if it exists, since it stays when the service stops; down if it is missing."""
        if os.path.isdir(self._path):
            return Finding(ResourceStatus.NA)
        expect_in_reach(self._path)
        return Finding(ResourceStatus.DOWN, (f"directory {self._path} does not exist",))

    def readiness(self, around: Surroundings) -> Iterable[Remark]:
        """Yield what would keep it from being made."""
        from opensvc_openha.agent.values.readiness import why_no_directory, would_fail

        if around.is_hidden(self._path):
            return
        problem = why_no_directory(self._path)
        if problem:
            text = f"directory {self._path} cannot be made: {problem}"
            yield would_fail("mount points", text)
        for what, name, find in (
            ("user", self._user, pwd.getpwnam),
            ("group", self._group, grp.getgrnam),
        ):
            if name and not name.isdigit():
                try:
                    find(name)
                except KeyError:
                    text = f"directory {self._path}: there is no {what} {name} on this node"
                    yield would_fail("users", text)

    def start(self) -> None:
        """Create it, with its owner and mode."""
        try:
            make_dir(self._path)
            if self._user:
                shutil.chown(self._path, user=self._user)
            if self._group:
                shutil.chown(self._path, group=self._group)
            if self._mode is not None:
                os.chmod(self._path, self._mode)
        except (OSError, LookupError, SystemFault) as error:
            raise self.spec.error(
                ActionError, f"cannot make the directory {self._path}: {error}"
            ) from error


def mount_problems(kind: str, device: str) -> Iterable[Remark]:
    """Yield what is missing to mount a file system of this type."""
    from opensvc_openha.agent.values.readiness import would_fail

    if kind not in NETWORK_TYPES:
        if kind in LOCAL_TYPES and not _has_file_system(kind):
            text = f"this kernel has no file system {kind}, nor a module of it"
            yield would_fail("mount points", text)
        return
    helper = "mount.cifs" if kind == "cifs" else "mount.nfs"
    if not shutil.which(helper, path=SYSTEM_PATH):
        package = "cifs-utils" if kind == "cifs" else "nfs-common"
        fix = f"apt-get install {package}"
        yield would_fail("mount points", f"{helper} is not installed", fix)
    server = device.lstrip("/").partition("/")[0] if kind == "cifs" else device.rpartition(":")[0]
    try:
        socket.getaddrinfo(server.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        fix = "bring the name into /etc/hosts on both nodes"
        yield would_fail("names", f"could not resolve name {server}", fix)


def _has_file_system(kind: str) -> bool:
    """Return False if the kernel can surely not mount this type."""
    known = text_or_empty("/proc/filesystems").split()
    modules = f"/lib/modules/{os.uname().release}"
    lists = [text_or_empty(f"{modules}/{name}") for name in ("modules.dep", "modules.builtin")]
    # A machine without lists of modules: a container, in most cases.
    if kind in known or not any(lists):
        return True
    if os.path.lexists(f"/sbin/mount.{kind}") or kind in ("ext2", "ext3"):
        return True
    names = (_MODULES.get(kind, kind), f"{kind}3")
    return any(f"/{name}.ko" in text for text in lists for name in names)


def expect_in_reach(path: str) -> None:
    """Raise PermissionError if this user cannot determine whether the path exists.

    To this user it looks as if it did not.
    """
    try:
        os.stat(path)
    except PermissionError:
        raise
    except OSError:
        pass


def _depth(section: Section, context: DriverContext) -> int:
    """Return how many nested file systems of the service contain this one.

    Both its mount point and the mounted file or directory count.
    """
    others = [other for other in context.file.sections if other.group == "fs" and other.text("mnt")]

    def below(found: Section, seen: tuple[str, ...]) -> int:
        paths = [
            os.path.normpath(path)
            for path in (found.text(word) for word in ("mnt", "path", "dev"))
            if path.startswith("/")
        ]
        holders = [
            other
            for other in others
            if other.name not in seen and any(map(partial(_holds, other, found), paths))
        ]
        return max((1 + below(holder, (*seen, holder.name)) for holder in holders), default=0)

    return below(section, (section.name,))


def _holds(other: Section, found: Section, path: str) -> bool:
    point = os.path.normpath(other.text("mnt"))
    is_own_point = path == point and path == os.path.normpath(found.text("mnt") or "/")
    return not is_own_point and (path == point or path.startswith(f"{point}/"))


def _named(holders: list[Holder]) -> str:
    """Return the first holders as text; without any, the possible causes."""
    if not holders:
        return (
            "no process that can be seen: perhaps another mount below it, a loop device or an NFS"
            " export"
        )
    more = [f"and {len(holders) - HOLDERS_SHOWN} more"] if len(holders) > HOLDERS_SHOWN else []
    return ", ".join([*map(str, holders[:HOLDERS_SHOWN]), *more])
