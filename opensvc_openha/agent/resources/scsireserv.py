"""The SCSI reservation of the disks below a resource: ``<rid>pr``, for each with ``scsireserv``.

It is started before all disks and stopped after them, with the messages of OpenSVC agents. Two
points are stricter than theirs. With --cluster another node is ejected only if this node's daemon
runs the action: it has proved that the peer is out. And a disk without reservations makes the start
fail, unless the reservation is optional: it would protect nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.keywords import AnyKeyword
from opensvc_openha.agent.config.service_file import Section, ServiceFile
from opensvc_openha.agent.config.value_types import DEVICE_PREFIXES, TRUE_WORDS, split_list
from opensvc_openha.agent.host.lvm import AllVolumeGroups, ask_physical_volumes
from opensvc_openha.agent.host.reservation_key import (
    key_of_machine,
    read_node_key,
    write_node_key,
)
from opensvc_openha.agent.resources.base import DriverContext, LocalResource, Resource, index_of
from opensvc_openha.agent.values.resource_status import (
    HIDDEN,
    Finding,
    Group,
    ResourceStatus,
    merge,
)
from opensvc_openha.errors import ActionError, ConfigError, SystemFault
from opensvc_openha.fence_devices.block_devices import DiskAddress, disks_under
from opensvc_openha.fence_devices.multipath_keys import problem_of
from opensvc_openha.fence_devices.reservations import TakeRules, open_all, take_all
from opensvc_openha.fence_devices.shared_disk import DiskState, SharedDisk, meet
from opensvc_openha.formats.reservation_key import key_text
from opensvc_openha.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from opensvc_openha.agent.values.readiness import Remark, Surroundings

SUFFIX = "pr"
KIND = "disk.scsireserv"
_GROUPS = frozenset({"disk", "vg", "fs", "container"})
_LABEL_MAX = 248
_NO_DISK = "preserv 0 scsi disk"
_INHERITED: tuple[AnyKeyword, ...] = (
    *(schema.OPTIONAL, schema.OPTIONAL_ON, schema.DISABLE, schema.DISABLE_ON),
    *(schema.MONITOR, schema.MONITOR_ON, schema.RESTART, schema.TAGS),
    *(schema.PRKEY, schema.NO_PREEMPT_ABORT, schema.DRAIN),
)
_NO_ABORT = "VMware"
"""Vendor whose targets fail at an abort; OpenSVC agents know it too."""


def is_wanted(section: Section) -> bool:
    """Return whether the disks below this resource are to be reserved.

    What the section says itself counts before what [DEFAULT] says, in either spelling.
    """
    if section.group not in _GROUPS:
        return False
    names = (schema.SCSIRESERV.name, schema.SCSI_RESERVE.name)
    own = [name for name in names if name in section.own and section.text(name)]
    name = next(iter(own), None) or next(filter(section.text, names), "")
    return section.text(name).lower() in TRUE_WORDS


def owner_of(name: str) -> str:
    """Return the resource of whose reservation a section has the name; empty if of none."""
    group, _, index = name.partition("#")
    is_one = group in _GROUPS and index.endswith(SUFFIX) and index != SUFFIX
    return name.removesuffix(SUFFIX) if is_one else ""


def section_of(owner: Section, own: Section | None) -> Section:
    """Return the section of a reservation: its owner's keywords, then its own."""
    values = {
        name: owner.values[name]
        for keyword in _INHERITED
        for name in keyword.names
        if name in owner.values
    }
    lines = dict(owner.lines)
    if own is not None:
        tags = split_list(values.get("tags", "")) + split_list(own.values.get("tags", ""))
        values.update({name: text for name, text in own.values.items() if name in own.own})
        lines.update(own.lines)
        if "tags" in own.own:
            values["tags"] = " ".join(dict.fromkeys(tags))
    line = own.line if own is not None else owner.line
    names = own.own if own is not None else frozenset[str]()
    return Section(owner.path, f"{owner.name}{SUFFIX}", values, lines, line, names)


class ScsiReservation(LocalResource):
    """The reservation of the disks below one resource."""

    def __init__(
        self,
        section: Section,
        owner: Section,
        context: DriverContext,
        find: Callable[[Section, AllVolumeGroups | None], tuple[DiskAddress, ...]] | None = None,
        open_disk: Callable[[DiskAddress], SharedDisk] | None = None,
    ) -> None:
        super().__init__(section, context, Group.DISK, KIND, _NO_DISK)
        self.start_rank = self.stop_rank = (index_of(owner), owner.name)
        self._owner, self._section, self._context = owner, section, context
        self._find = find or disks_below
        self._open_disk = open_disk or SharedDisk
        self._is_refused = False

    @property
    def owner(self) -> Section:
        """Section of the resource whose disks are reserved."""
        return self._owner

    def disks(self) -> tuple[DiskAddress, ...]:
        """Return the disks that are reserved."""
        return self._find(self._owner, self._context.volume_groups)

    @staticmethod
    def multipath_problem(disks: tuple[DiskAddress, ...]) -> str:
        """Return why multipathd prevents that these are reserved; empty if it does not."""
        return problem_of(disks)

    def key(self) -> int:
        """Return this node's key, of the section, of node.conf, or of its MAC address."""
        key = self._section.value(schema.PRKEY)
        if key is None:
            key = read_node_key(self._context.layout.etc_dir)
        return key_of_machine() if key is None else key

    def key_words(self) -> str:
        """Return the key as it is written."""
        return key_text(self.key())

    @property
    def may_abort(self) -> bool:
        """Return whether another node's writes may be aborted, by the service file."""
        return not self._section.value(schema.NO_PREEMPT_ABORT)

    @property
    def drain_s(self) -> float:
        """Return how long writes may take that could not be aborted."""
        return self._section.value(schema.DRAIN)

    def status(self) -> Finding:
        """Return up if this node holds all of its disks; a warning if only some, or not surely."""
        if not self._sees_all:
            return HIDDEN
        disks = self.disks()
        label = label_of(disks)
        try:
            key = self.key()
        except (ConfigError, SystemFault) as error:
            return Finding(ResourceStatus.WARN, (str(error),), label)
        found: list[ResourceStatus] = []
        log: list[str] = []
        for address in disks:
            try:
                with closing(self._open_disk(address)) as disk:
                    statuses, remarks = _look_at(disk, key)
            except SystemFault as error:
                statuses, remarks = [ResourceStatus.WARN], [str(error)]
            found += statuses
            log += remarks
        problem = self.multipath_problem(disks)
        if problem:
            found, log = [*found, ResourceStatus.WARN], [*log, problem]
        merged = merge(found) if found else ResourceStatus.UNDEF
        return Finding(merged, tuple(log), label)

    def start(self) -> None:
        """Reserve each disk; eject another node only where that is allowed."""
        self._note_key()
        key = self.key()
        addresses = self.disks()
        problem = self.multipath_problem(addresses)
        if problem:
            self._is_refused = True
            raise self.spec.error(ActionError, problem)
        with ExitStack() as stack:
            disks = open_all(map(self._open_disk, addresses), stack)
            if not disks:
                # Only what must be on disks is worth a warning: [DEFAULT] may ask for all.
                must_be = self._owner.group in ("vg", "disk")
                note = self._log.warning if must_be else self._log.info
                note(f"{self._owner.name} is on no SCSI disk: nothing is reserved")
                return
            try:
                self._start(disks, key)
            except SystemFault as error:
                raise self.spec.error(ActionError, str(error)) from None

    def readiness(self, around: Surroundings) -> Iterable[Remark]:
        """Yield what would keep the disks from being reserved; they are only read."""
        from opensvc_openha.agent.values.readiness import beware, would_fail

        addresses = self.disks()
        try:
            self.key()
        except (ConfigError, SystemFault) as error:
            yield would_fail("reservations", str(error))
        problem = self.multipath_problem(addresses)
        if problem:
            yield would_fail("reservations", problem)
        must_be = self._owner.group in ("vg", "disk")
        if not addresses and must_be:
            text = f"{self._owner.name} is on no SCSI disk of this node: nothing would be reserved"
            yield beware("reservations", text)
        for address in addresses:
            try:
                with closing(self._open_disk(address)) as disk:
                    disk.read()
            except SystemFault as error:
                yield would_fail("reservations", f"{address.name}: {error}")

    def stop(self) -> None:
        """Release the disks that this node holds, which removes all keys; others are left alone."""
        key = self.key()
        failures = []
        with ExitStack() as stack:
            for disk in open_all(map(self._open_disk, self.disks()), stack):
                try:
                    if disk.clear(key):
                        self._log.info(f"reservation released for disk {disk.name}")
                except SystemFault as error:
                    failures.append(f"failed to clear reservation on disk {disk.name}: {error}")
        if failures:
            raise self.spec.error(ActionError, "; ".join(failures))

    def roll_back(self) -> None:
        """Release what this start has reserved; nothing if it was refused before.

        Not asked the other way round: a start side by side runs in a process of its own.
        """
        if not self._is_refused:
            self.stop()

    # --------------------------------------------------------------------------------------------

    def _start(self, disks: list[SharedDisk], key: int) -> None:
        meet(disks)
        before = {disk.name: disk.read() for disk in disks}
        may_eject = self._may_eject()
        if all(_is_settled(disk, before[disk.name], key, may_eject) for disk in disks):
            self._log.info("already started")
            return
        if not may_eject:
            self._refuse_others(before, key)
        may_abort = self.may_abort and not any(disk.vendor() == _NO_ABORT for disk in disks)
        rules = TakeRules(key, may_abort, self.drain_s, is_proof=False)
        report = take_all(disks, rules)
        for hint in report.hints:
            self._log.warning(hint)
        if report.drained_s:
            self._log.warning(f"no abort: {report.drained_s:g} s were waited for writes to land")
        if report.ejected:
            self._log.info(f"preempted {', '.join(map(key_text, report.ejected))}")
        for disk in report.taken:
            self._log.info(f"reservation acquired for disk {disk.name}")

    def _may_eject(self) -> bool:
        """Return whether another node's key may be removed: forced, or proved to be out."""
        view = self._context.view
        if view.is_forced or not view.is_cluster:
            return view.is_forced
        is_clustered = any(section.group == "hb" for section in self._context.file.sections)
        return not is_clustered or self._context.cluster.is_daemons_call()

    def _refuse_others(self, before: Mapping[str, DiskState], key: int) -> None:
        """Raise ActionError, before anything is changed, if a disk is another node's."""
        for name, state in before.items():
            if not state.is_held_by(key) and state.others(key):
                why = ""
                if self._context.view.is_cluster:
                    why = " (--cluster ejects another node only in a start by the node daemon)"
                text = f"{name} is already reserved. use --force to override this safety net{why}"
                self._log.error(f"{name}: {state}")
                self._is_refused = True
                raise self.spec.error(ActionError, text)

    def _note_key(self) -> None:
        """Write the key down that was made of the MAC address: the address may change."""
        etc_dir = self._context.layout.etc_dir
        if self._section.value(schema.PRKEY) is None and read_node_key(etc_dir) is None:
            key = key_of_machine()
            self._log.info(f"no prkey in node.conf: {key_text(key)}, of the MAC address")
            write_node_key(etc_dir, key_text(key))


def label_of(disks: tuple[DiskAddress, ...]) -> str:
    """Return what the status shows: the disks by their paths, as OpenSVC agents do."""
    names = ", ".join(sorted(path for disk in disks for path in disk.paths))
    if not names:
        return _NO_DISK
    return f"preserv {names[:_LABEL_MAX]} ..." if len(names) > _LABEL_MAX else names


def disks_below(owner: Section, groups: AllVolumeGroups | None) -> tuple[DiskAddress, ...]:
    """Return the disks below a volume group or file system; those that are not there are none."""
    found: dict[str, DiskAddress] = {}
    for device in _devices_of(owner, groups):
        try:
            found.update({disk.name: disk for disk in disks_under(device)})
        except SystemFault:
            continue
    return tuple(found[name] for name in sorted(found))


def build(section: Section, context: DriverContext) -> Resource:
    """Build the reservation of a resource's section; it is not called for one of its own."""
    own = next(
        (own for own in context.file.sections if own.name == f"{section.name}{SUFFIX}"), None
    )
    return ScsiReservation(section_of(section, own), section, context)


def is_override(section: Section, file: ServiceFile) -> bool:
    """Return whether a section is [vg#1pr], which only says how the one of [vg#1] differs."""
    owner = owner_of(section.name)
    return bool(owner) and any(other.name == owner for other in file.sections)


def is_reservable(section: Section) -> bool:
    """Return whether this resource gets a reservation: it asks for one, and is of such a type."""
    type_ = section.text("type").lower()
    has_disks = type_ != "directory" and not (section.group == "disk" and type_ == "loop")
    is_handled = section.group != "disk" or type_ in schema.LVM_TYPES
    return is_wanted(section) and has_disks and is_handled


def _devices_of(owner: Section, groups: AllVolumeGroups | None) -> tuple[str, ...]:
    if owner.group in ("vg", "disk"):
        name = owner.value(schema.VGNAME)
        return ask_physical_volumes(name) if groups is None else groups.devices(name)
    if owner.group != "fs" or owner.text("type").lower() in schema.NETWORK_TYPES:
        return ()
    device = owner.text(schema.DEV.name)
    for prefix, directory in DEVICE_PREFIXES.items():
        if device.startswith(prefix):
            device = directory + device.removeprefix(prefix)
    return (device,) if device.startswith("/dev/") and os.path.exists(device) else ()


def _look_at(disk: SharedDisk, key: int) -> tuple[list[ResourceStatus], list[str]]:
    """Return the status of one disk, and what the operator should know of it."""
    state = disk.read()
    if not state.is_held_by(key):
        return [ResourceStatus.DOWN], []  # As it must be while the peer runs the service.
    registered, expected = _registered(disk, state, key), disk.expected_registrations()
    statuses, remarks = [ResourceStatus.UP], []
    if registered < expected:
        remarks.append(f"{disk.name}: {registered}/{expected} paths registered")
        statuses.append(ResourceStatus.WARN)
    if state.others(key):
        remarks.append(f"{disk.name}: {state}")
    return statuses, remarks


def _is_settled(disk: SharedDisk, state: DiskState, key: int, may_eject: bool) -> bool:
    """Return whether a start has nothing to do for this disk."""
    if not state.is_held_by(key):
        return False
    if _registered(disk, state, key) < disk.expected_registrations():
        return False
    return not (may_eject and state.others(key))


def _registered(disk: SharedDisk, state: DiskState, key: int) -> int:
    """Return how many paths are registered.

    A path that was reconnected is not, though the entry of its old connection is still there.
    """
    return min(state.keys.count(key), len(disk.address.paths) - len(disk.refused_paths()))
