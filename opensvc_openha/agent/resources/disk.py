"""Volume groups of LVM and loop devices: [vg#N], [loop#N], and [disk#N] with that type.

A volume group is activated on one node at a time: it is tagged with the name of its node, as the
agent does, so that lvm.conf can refuse activation elsewhere.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.checks import type_of
from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.host.commands import run_logged, run_or_fail
from opensvc_openha.agent.host.lvm import QUIET, VolumeGroup, ask_lvm
from opensvc_openha.agent.host.mount_users import find_device_users
from opensvc_openha.agent.host.mounts import backing_file, read_mounts
from opensvc_openha.agent.resources.base import DriverContext, LocalResource, Resource
from opensvc_openha.agent.values.resource_status import HIDDEN, Finding, Group, ResourceStatus
from opensvc_openha.errors import ActionError
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.system.clock import pause

if TYPE_CHECKING:
    from opensvc_openha.agent.values.readiness import Remark, Surroundings

LVM_TIMEOUT_S = 120.0
_DEACTIVATE_TRIES = 4
_DEACTIVATE_PAUSE_S = 1.0


def tag_changes(tags: tuple[str, ...], own: str) -> list[str]:
    """Return the options of one vgchange after which the group carries our tag alone.

    Empty if it does already.
    """
    words = [] if own in tags else ["--addtag", own]
    return words + [word for tag in tags if tag != own for word in ("--deltag", tag)]


class LvmGroup(LocalResource):
    """One volume group."""

    def __init__(self, section: Section, context: DriverContext) -> None:
        self._name = section.value(schema.VGNAME)
        self._tag = context.node
        self._was_active = False
        self._groups = context.volume_groups
        super().__init__(section, context, Group.DISK, "disk.vg", self._name)

    def status(self) -> Finding:
        """Return up if its volumes are active.

        A warning if only some are, or if a physical volume is missing.
        """
        if not _has_lvm():
            return Finding(ResourceStatus.DOWN, ("lvm2 is not installed",))
        if not self._sees_all:
            return HIDDEN
        group = (
            self._groups.group(self._name) if self._groups is not None else ask_lvm(self._name)[0]
        )
        if group is None:
            return Finding(
                ResourceStatus.DOWN, (f"volume group {self._name} is not seen from here",)
            )
        if not group.is_up:
            return Finding(ResourceStatus.DOWN)
        if group.is_partial:
            return Finding(ResourceStatus.WARN, ("a physical volume is missing",))
        if group.inactive:
            return Finding(ResourceStatus.WARN, (f"not active: {', '.join(group.inactive)}",))
        if group.tags and self._tag not in group.tags:
            return Finding(
                ResourceStatus.WARN, (f"active here, but tagged for {', '.join(group.tags)}",)
            )
        return Finding(ResourceStatus.UP)

    def start(self) -> None:
        """Tag the group for this node alone, and activate it."""
        group = self._known()
        if self.status().status is ResourceStatus.UP:
            self._log.info(f"{self._name} is already up")
            return
        self._was_active = bool(group.active)
        if group.is_partial:
            raise self.spec.error(
                ActionError,
                f"a physical volume of {self._name} is missing: see pvs and vgs {self._name}",
            )
        self._take_over(group)
        self._lvm("vgchange", "-a", "y", self._name)
        after = self.status()
        if after.status is not ResourceStatus.UP:
            why = f": {after.log[0]}" if after.log else ""
            raise self.spec.error(
                ActionError, f"{self._name} was activated, but is {after.status.value}{why}"
            )

    def readiness(self, around: Surroundings) -> Iterable[Remark]:
        """Yield what would keep the group from being activated, or has activated it already."""
        from opensvc_openha.agent.values.readiness import beware, would_fail

        if not _has_lvm():
            yield would_fail("volume groups", "lvm2 is not installed", "apt-get install lvm2")
            return
        groups = self._groups
        group = groups.group(self._name) if groups is not None else ask_lvm(self._name)[0]
        if group is None:
            fix = "see pvs, and whether its disks are visible on this node"
            text = f"volume group {self._name} is not seen from here"
            yield would_fail("volume groups", text, fix)
            return
        if group.is_exported:
            text = f"volume group {self._name} is exported"
            yield would_fail("volume groups", text, f"vgimport {self._name}")
        if group.is_partial:
            text = f"a physical volume of {self._name} is missing"
            yield would_fail("volume groups", text, f"see pvs and vgs {self._name}")
        if group.active and around.runs_on_peer:
            owner = f", tagged for {', '.join(group.tags)}" if group.tags else ""
            text = f"volume group {self._name} is active here, while the peer runs the service"
            fix = f"vgchange -a n {self._name}, and keep lvm.conf from activating it at boot"
            yield beware("volume groups", f"{text}{owner}", fix)

    def stop(self) -> None:
        """Deactivate the group and remove our tag.

        Waits a little for processes that have a volume open.
        """
        if not _has_lvm():
            self._log.info(f"{self._name} is already down: lvm2 is not installed")
            return
        group, _ = ask_lvm(self._name)
        if group is None or not (group.active or self._tag in group.tags):
            self._log.info(f"{self._name} is already down")
            return
        for tries_left in range(_DEACTIVATE_TRIES - 1, -1, -1):
            if (
                run_logged(
                    self._log, ["vgchange", "-a", "n", self._name], LVM_TIMEOUT_S, QUIET
                ).exit_code
                == 0
            ):
                break
            if not tries_left:
                opened = (
                    ", ".join(
                        name + users_of(f"/dev/{self._name}/{name}")
                        for name in self._known().opened
                    )
                    or "see lvs"
                )
                raise self.spec.error(
                    ActionError, f"{self._name} cannot be deactivated, in use: {opened}"
                )
            pause(_DEACTIVATE_PAUSE_S)
        if self._tag in group.tags:
            self._lvm("vgchange", "--deltag", self._tag, self._name)

    def roll_back(self) -> None:
        """Stop, unless a part of it was active before the start: it may be in use."""
        if self._was_active:
            self._log.warning(f"{self._name} was partly active before: left active")
        else:
            self.stop()

    def _take_over(self, group: VolumeGroup) -> None:
        """Replace all tags by ours in one change, so that the group is never without an owner."""
        for tag in group.tags:
            if tag != self._tag:
                self._log.warning(f"{self._name} carried the tag of {tag}: it is this node's now")
        words = tag_changes(group.tags, self._tag)
        if words:
            self._lvm("vgchange", *words, self._name)

    def _known(self) -> VolumeGroup:
        if not _has_lvm():
            raise self.spec.error(ActionError, "lvm2 is not installed: apt-get install lvm2")
        group, why = ask_lvm(self._name)
        if group is None:
            raise self.spec.error(
                ActionError, f"volume group {self._name} is not seen from here: {why}"
            )
        return group

    def _lvm(self, *argv: str) -> None:
        run_or_fail(self._log, argv, LVM_TIMEOUT_S, QUIET)


class LoopDevice(LocalResource):
    """A file that is a block device while the service runs."""

    def __init__(self, section: Section, context: DriverContext) -> None:
        self._file = section.value(schema.LOOP_FILE)
        super().__init__(section, context, Group.DISK, "disk.loop", self._file)

    def status(self) -> Finding:
        """Return up if a loop device is attached to the file."""
        return Finding(ResourceStatus.UP if self._devices() else ResourceStatus.DOWN)

    def start(self) -> None:
        """Attach a loop device."""
        if self._devices():
            self._log.info(f"{self._file} is already up")
            return
        if not os.path.isfile(self._file):
            raise self.spec.error(ActionError, f"{self._file} does not exist or is no file")
        run_or_fail(self._log, ["losetup", "-f", self._file])
        devices = self._devices()
        if not devices:
            raise self.spec.error(
                ActionError, f"losetup succeeded, but no loop device shows {self._file}"
            )
        self._log.info(f"{', '.join(devices)} now loops to {self._file}")

    def readiness(self, around: Surroundings) -> Iterable[Remark]:
        """Yield what would keep a loop device from being attached."""
        from opensvc_openha.agent.values.readiness import would_fail

        if not shutil.which("losetup", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
            yield would_fail("devices", "losetup is not installed", "apt-get install mount")
        elif not os.path.isfile(self._file) and not around.is_hidden(self._file):
            yield would_fail("devices", f"{self._file} does not exist or is no file")

    def stop(self) -> None:
        """Detach its loop devices."""
        devices = self._devices()
        if not devices:
            self._log.info(f"{self._file} is already down")
        for device in devices:
            run_or_fail(self._log, ["losetup", "-d", device])
        # The kernel detaches a device in use only when it is closed, without an error.
        left = self._devices()
        if left:
            names = ", ".join(device + users_of(device) for device in left)
            raise self.spec.error(ActionError, f"{names} is still in use: unmount what is on it")

    def _devices(self) -> list[str]:
        real = os.path.realpath(self._file)
        try:
            names = sorted(name for name in os.listdir("/sys/block") if name.startswith("loop"))
        except OSError:
            return []
        return [
            f"/dev/{name}"
            for name in names
            if backing_file(name) and os.path.realpath(backing_file(name)) == real
        ]


def build(section: Section, context: DriverContext) -> Resource:
    """Build the resource of a [vg#N] or [loop#N] section, or of a [disk#N] section of a type."""
    is_loop = section.group == "loop" or type_of(section) == "loop"
    return LoopDevice(section, context) if is_loop else LvmGroup(section, context)


def users_of(path: str) -> str:
    """Return, in parentheses, the mounts of a block device and the processes that have it open.

    Empty if unknown.
    """
    try:
        rdev = os.stat(path).st_rdev
    except OSError:
        return ""
    device = f"{os.major(rdev)}:{os.minor(rdev)}"
    users = [f"mounted on {mount.point}" for mount in read_mounts() if mount.device == device]
    users += [str(user) for user in find_device_users(rdev)]
    return f" ({', '.join(users)})" if users else ""


def _has_lvm() -> bool:
    return shutil.which("vgs", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is not None
