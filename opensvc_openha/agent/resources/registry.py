"""Which driver builds which section: one line per group. A new resource type is one module and one line."""

from __future__ import annotations

from typing import Mapping

from opensvc_openha.agent.keywords import check_values
from opensvc_openha.agent.resources import app, container, fs, hb, ip, stonith
from opensvc_openha.agent.resources.base import Driver, Resource, Surroundings, index_of
from opensvc_openha.agent.resources.unhandled import shown_driver
from opensvc_openha.agent.service_file import Section, ServiceFile
from opensvc_openha.agent.status import Group
from opensvc_openha.errors import ConfigError

DRIVERS: Mapping[str, Driver] = {
    "app": app.DRIVER,
    "container": container.DRIVER,
    "disk": shown_driver("disk", Group.DISK, "vgname", "name", "file", "dev"),
    "drbd": shown_driver("drbd", Group.DISK, "res"),
    "fs": fs.DRIVER,
    "hb": hb.DRIVER,
    "ip": ip.DRIVER,
    "loop": shown_driver("loop", Group.DISK, "file"),
    "pool": shown_driver("pool", Group.DISK, "poolname"),
    "share": shown_driver("share", Group.SHARE, "path"),
    "stonith": stonith.DRIVER,
    "sync": shown_driver("sync", Group.SYNC, "src"),
    "vg": shown_driver("vg", Group.DISK, "vgname"),
}

NOT_RESOURCES = frozenset({"subset", "task", "env"})
"""Groups that are read, but are no resources of this agent."""

IMPLICIT_SYNC = "sync#i0"
IMPLICIT_SYNC_LABEL = "rsync svc config to drpnodes, nodes"


def build_resources(file: ServiceFile, around: Surroundings) -> "tuple[Resource, ...]":
    """All resources of a service file, in the order of the file, the implicit sync included."""
    resources = [build_resource(section, around) for section in file.sections if is_resource(section)]
    implicit = Section(file.path, IMPLICIT_SYNC, {"label": IMPLICIT_SYNC_LABEL})
    return (*resources, shown_driver("sync of the service file", Group.SYNC, "label").build(implicit, around))


def is_resource(section: Section) -> bool:
    """Is this a section of a resource? The agent lets sections of other tools stand in the file."""
    is_numbered = "#" in section.name
    return section.group not in NOT_RESOURCES and (is_numbered or section.group in DRIVERS)


def driver_of(section: Section) -> Driver:
    """The driver of one section; ConfigError for a kind of resource that nobody knows."""
    driver = DRIVERS.get(section.group)
    if driver is None:
        known = ", ".join(sorted([*DRIVERS, *NOT_RESOURCES]))
        message = f"[{section.name}] is no known kind of resource, expected one of {known}"
        raise ConfigError(message, section.path, section.line)
    return driver


def build_resource(section: Section, around: Surroundings) -> Resource:
    """The resource of one section; ConfigError for the first thing that is wrong with it."""
    driver = driver_of(section)
    index_of(section)
    keywords = driver.keywords_of(section)
    for error in check_values(section, keywords or ()):
        raise error
    return driver.build(section, around)
