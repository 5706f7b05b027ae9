"""Which driver builds which section: one line per group. A new resource type is one module and one line."""

from __future__ import annotations

from typing import Mapping

from opensvc_openha.agent.resources import app, fs, hb, ip, stonith
from opensvc_openha.agent.resources.base import Build, Resource, Surroundings
from opensvc_openha.agent.resources.unhandled import builder_of
from opensvc_openha.agent.service_file import Section, ServiceFile
from opensvc_openha.agent.status import Group
from opensvc_openha.errors import ConfigError

DRIVERS: Mapping[str, Build] = {
    "app": app.build,
    "container": builder_of("container", Group.CONTAINER, "run_image", "name"),
    "disk": builder_of("disk", Group.DISK, "vgname", "name", "file", "dev"),
    "drbd": builder_of("drbd", Group.DISK, "res"),
    "fs": fs.build,
    "hb": hb.build,
    "ip": ip.build,
    "loop": builder_of("loop", Group.DISK, "file"),
    "pool": builder_of("pool", Group.DISK, "poolname"),
    "share": builder_of("share", Group.SHARE, "path"),
    "stonith": stonith.build,
    "sync": builder_of("sync", Group.SYNC, "src"),
    "vg": builder_of("vg", Group.DISK, "vgname"),
}

NOT_RESOURCES = frozenset({"subset", "task"})
"""Groups that are read, but are no resources of this agent."""

IMPLICIT_SYNC = "sync#i0"
IMPLICIT_SYNC_LABEL = "rsync svc config to drpnodes, nodes"


def build_resources(file: ServiceFile, around: Surroundings) -> "tuple[Resource, ...]":
    """All resources of a service file, in the order of the file, the implicit sync included."""
    resources = [_build_one(section, around) for section in file.sections if _is_resource(section)]
    implicit = Section(file.path, IMPLICIT_SYNC, {"label": IMPLICIT_SYNC_LABEL})
    return (*resources, builder_of("sync of the service file", Group.SYNC, "label")(implicit, around))


def _is_resource(section: Section) -> bool:
    is_numbered = "#" in section.name
    if section.group in NOT_RESOURCES or (not is_numbered and section.group not in DRIVERS):
        # The agent lets sections of other tools stand in the file.
        return False
    return True


def _build_one(section: Section, around: Surroundings) -> Resource:
    build = DRIVERS.get(section.group)
    if build is None:
        known = ", ".join(sorted([*DRIVERS, *NOT_RESOURCES]))
        raise ConfigError(
            f"[{section.name}] is no known kind of resource, expected one of {known}", section.path, section.line
        )
    return build(section, around)
