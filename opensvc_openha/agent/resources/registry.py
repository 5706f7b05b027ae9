"""Which driver builds which section: one line per group.

A new resource type is one module and one line.

A driver's module is loaded when a service file first asks for it: a status command is no slower for
drivers it does not use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module

from opensvc_openha.agent.config.keywords import Keyword, check_values
from opensvc_openha.agent.config.service_file import Section, ServiceFile
from opensvc_openha.agent.resources import app, sync
from opensvc_openha.agent.resources.base import Driver, DriverContext, Resource, index_of
from opensvc_openha.errors import ConfigError

_MODULES = {
    "app": "app.DRIVER",
    "container": "container.DRIVER",
    "disk": "disk.DRIVER",
    "drbd": "unhandled.DRBD_DRIVER",
    "fs": "fs.DRIVER",
    "hb": "hb.DRIVER",
    "ip": "ip.DRIVER",
    "loop": "disk.LOOP_DRIVER",
    "pool": "unhandled.POOL_DRIVER",
    "share": "share.DRIVER",
    "stonith": "stonith.DRIVER",
    "sync": "sync.DRIVER",
    "vg": "disk.VG_DRIVER",
}


class _Drivers(Mapping[str, Driver]):
    """The drivers by group, each loaded at first use."""

    def __getitem__(self, group: str) -> Driver:
        module, _, name = _MODULES[group].partition(".")
        driver = getattr(import_module(f"opensvc_openha.agent.resources.{module}"), name)
        assert isinstance(driver, Driver)
        return driver

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


DRIVERS: Mapping[str, Driver] = _Drivers()

APP_LAUNCHERS = "app"
"""A section without number: about the launchers in the service's directory, unless it says what to
run itself."""

_OF_A_GUEST = "encap"
"""Tag of what the agent within a container looks after; the one around it leaves it alone."""

NOT_RESOURCES = frozenset({"subset", "task", "env"})
"""Groups that are read, but are no resources of this agent."""


def build_resources(file: ServiceFile, around: DriverContext) -> tuple[Resource, ...]:
    """All resources of a service file, in the order of the file, the implicit sync of a service on
    several nodes included.
    """
    sections = [section for section in file.sections if is_resource(section)] + app.launchers(
        around
    )
    resources = tuple(build_resource(section, around) for section in sections)
    is_written = any(section.name == sync.IMPLICIT for section in file.sections)
    if is_written or len(set(file.all_nodes)) < 2:
        return resources
    return (
        *resources,
        sync.build_implicit(Section(file.path, sync.IMPLICIT, file.default.values), around),
    )


def is_resource(section: Section) -> bool:
    """Is this a section of a resource? The agent lets sections of other tools stand in the file."""
    if _OF_A_GUEST in section.words("tags"):
        return False
    is_numbered = "#" in section.name
    if section.name == APP_LAUNCHERS and not app.is_application(section):
        return False
    return section.group not in NOT_RESOURCES and (is_numbered or section.group in DRIVERS)


def driver_of(section: Section) -> Driver:
    """The driver of one section; ConfigError for a kind of resource that nobody knows."""
    driver = DRIVERS.get(section.group)
    if driver is None:
        known = ", ".join(sorted([*DRIVERS, *NOT_RESOURCES]))
        message = f"[{section.name}] is no known kind of resource, expected one of {known}"
        raise ConfigError(message, section.path, section.line)
    return driver


def build_resource(section: Section, around: DriverContext) -> Resource:
    """The resource of one section; ConfigError for the first thing that is wrong with it."""
    driver = driver_of(section)
    index_of(section)
    keywords = keywords_of(section, driver)
    for error in check_values(section, keywords or ()):
        raise error
    return driver.build(section, around)


def keywords_of(section: Section, driver: Driver) -> tuple[Keyword, ...] | None:
    """Keywords of one section.

    The section of the implicit sync says nothing but how it differs from the usual.
    """
    keywords = driver.keywords_of(section)
    if section.name != sync.IMPLICIT or keywords is None:
        return keywords
    return tuple(replace(keyword, is_required=False) for keyword in keywords)
