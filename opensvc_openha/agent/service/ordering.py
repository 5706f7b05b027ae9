"""Order in which the resources of a service start and stop, and which of them run in parallel.

    start: ip, disk, fs, share, container, app; stop is the reverse
      within disk: reservations before loop before drbd before volume groups
        subsets by name, resources without one first
          resources by their number, mount point or place in the sequence

A subset whose section has ``parallel = true`` starts and stops its resources in parallel.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import ServiceFile
from opensvc_openha.agent.resources.base import Resource
from opensvc_openha.agent.values.resource_status import Group
from opensvc_openha.named_tuples import NamedTuple

START_GROUPS = (Group.IP, Group.DISK, Group.FS, Group.SHARE, Group.CONTAINER, Group.APP)
"""Order of the groups at start; stop is the reverse."""

_DISK_KINDS = ("disk.scsireserv", "disk.loop", "disk.drbd", "disk.zpool", "disk.vg")


class Stage(NamedTuple):
    """Resources that complete before the next stage begins."""

    resources: tuple[Resource, ...]
    is_parallel: bool = False


def start_stages(resources: Iterable[Resource], file: ServiceFile) -> list[Stage]:
    """Return the stages of a start, in execution order."""
    return _staged(in_start_order(resources), file)


def stop_stages(resources: Iterable[Resource], file: ServiceFile) -> list[Stage]:
    """Return the stages of a stop, in execution order."""
    return _staged(in_stop_order(resources), file)


def in_start_order(resources: Iterable[Resource]) -> list[Resource]:
    """Return the resources that take part in a start, in start order."""
    return sorted(_taking_part(resources), key=lambda res: (*_place(res), res.start_rank))


def in_stop_order(resources: Iterable[Resource]) -> list[Resource]:
    """Return the resources that take part in a stop, in stop order."""
    return sorted(
        _taking_part(resources), key=lambda res: (*_place(res), res.stop_rank), reverse=True
    )


def in_display_order(resources: Iterable[Resource]) -> list[Resource]:
    """Sort resources by group, in the order of the status tree, then by number."""
    groups = list(Group)
    return sorted(
        resources, key=lambda res: (groups.index(res.spec.group), _number_of(res.spec.rid))
    )


def parallel_subsets(file: ServiceFile) -> frozenset[str]:
    """Return the names of the parallel subsets, as their sections spell them.

    For example ``container.docker:web`` or ``container:web``.
    """
    sections = [section for section in file.sections if section.group == "subset"]
    return frozenset(
        section.name.partition("#")[2] for section in sections if section.value(schema.PARALLEL)
    )


def subset_names(resource: Resource) -> frozenset[str]:
    """Return the names by which a subset section can refer to this resource."""
    spec = resource.spec
    kinds = (spec.kind, spec.group.value, spec.rid.partition("#")[0])
    return frozenset(f"{kind}:{spec.subset}" for kind in kinds) if spec.subset else frozenset()


def _taking_part(resources: Iterable[Resource]) -> list[Resource]:
    return [
        res for res in resources if res.spec.group in START_GROUPS and not res.spec.is_left_alone
    ]


def _place(resource: Resource) -> tuple[int, int, str]:
    spec = resource.spec
    kind = _DISK_KINDS.index(spec.kind) if spec.kind in _DISK_KINDS else 0
    return START_GROUPS.index(spec.group), kind, spec.subset


def _staged(resources: list[Resource], file: ServiceFile) -> list[Stage]:
    parallel = parallel_subsets(file)
    stages = []
    for _, found in groupby(resources, key=_place):
        members = tuple(found)
        stages.append(
            Stage(
                members, len(members) > 1 and any(subset_names(res) & parallel for res in members)
            )
        )
    return stages


def _number_of(rid: str) -> tuple[str, int, str]:
    group, _, index = rid.partition("#")
    number = index.removesuffix("pr")  # The reservation of a resource comes behind it.
    if number.isdigit():
        return (group, int(number), index)
    return (group, 1_000_000_000 if index else -1, index)
