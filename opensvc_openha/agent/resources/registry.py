"""Map sections to drivers: one line per group.

A new resource type is one module and one line. A driver's module is imported when a service file
first needs it: unused drivers cost a status command nothing.
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
    """The drivers by group, each imported at first use."""

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
"""A section without number configures the launchers in the service's directory.

Unless it defines a command itself.
"""

_OF_A_GUEST = "encap"
"""Tag of resources of the agent within a container; the agent outside ignores them."""

NOT_RESOURCES = frozenset({"subset", "task", "env"})
"""Groups that are accepted, but are no resources of this agent."""


def build_resources(file: ServiceFile, around: DriverContext) -> tuple[Resource, ...]:
    """Build all resources of a service file, in the order of the file.

    Includes the implicit sync of a service on several nodes.
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
    """Return whether this section is a resource: the agent accepts sections of other tools."""
    if _OF_A_GUEST in section.words("tags"):
        return False
    is_numbered = "#" in section.name
    if section.name == APP_LAUNCHERS and not app.is_application(section):
        return False
    return section.group not in NOT_RESOURCES and (is_numbered or section.group in DRIVERS)


def driver_of(section: Section) -> Driver:
    """Return the driver of one section; ConfigError for an unknown kind of resource."""
    driver = DRIVERS.get(section.group)
    if driver is None:
        known = ", ".join(sorted([*DRIVERS, *NOT_RESOURCES]))
        message = f"[{section.name}] is no known kind of resource, expected one of {known}"
        raise ConfigError(message, section.path, section.line)
    return driver


def build_resource(section: Section, around: DriverContext) -> Resource:
    """Build the resource of one section; ConfigError for its first error."""
    driver = driver_of(section)
    index_of(section)
    keywords = keywords_of(section, driver)
    for error in check_values(section, keywords or ()):
        raise error
    return driver.build(section, around)


def keywords_of(section: Section, driver: Driver) -> tuple[Keyword, ...] | None:
    """Return the keywords of one section.

    The section of the implicit sync holds only differences from the defaults.
    """
    keywords = driver.keywords_of(section)
    if section.name != sync.IMPLICIT or keywords is None:
        return keywords
    return tuple(replace(keyword, is_required=False) for keyword in keywords)
