"""Build the resources of a service: each section goes to the driver of its kind.

The driver of ``[fs#1]`` is the module ``fs``. It is imported when a service file first needs it:
unused drivers cost a status command nothing.
"""

from __future__ import annotations

from importlib import import_module

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.checks import kind_of, type_of, wrong_in_resource
from opensvc_openha.agent.config.schema import IMPLICIT_SYNC, KINDS, NO_RESOURCES
from opensvc_openha.agent.config.service_file import Section, ServiceFile
from opensvc_openha.agent.config.value_types import split_list
from opensvc_openha.agent.resources import app, sync
from opensvc_openha.agent.resources.base import DriverContext, Resource, index_of

_OTHER_MODULES = {"loop": "disk", "vg": "disk"}
"""Modules of the kinds that have none of their own name."""

APP_LAUNCHERS = "app"
"""A section without number configures the launchers in the service's directory.

Unless it defines a command itself.
"""

_OF_A_GUEST = "encap"
"""Tag of resources of the agent within a container; the agent outside ignores them."""


def build_resources(file: ServiceFile, context: DriverContext) -> tuple[Resource, ...]:
    """Build all resources of a service file, in the order of the file.

    Includes the implicit sync of a service on several nodes.
    """
    sections = resource_sections(file) + app.launchers(context)
    resources = tuple(
        resource for section in sections for resource in build_with_reservation(section, context)
    )
    is_written = any(section.name == IMPLICIT_SYNC for section in file.sections)
    if is_written or len(set(file.all_nodes)) < 2:
        return resources
    return (
        *resources,
        sync.build(Section(file.path, IMPLICIT_SYNC, file.default.values), context),
    )


def resource_sections(file: ServiceFile) -> list[Section]:
    """Return the sections that are resources; [vg#1pr] only belongs to the reservation of one."""
    return [
        section
        for section in file.sections
        if is_resource(section) and not is_reservation(section, file)
    ]


def is_reservation(section: Section, file: ServiceFile) -> bool:
    """Return whether a section says how the reservation of another one's disks differs."""
    if not section.name.endswith("pr"):
        return False  # Nearly all of them: the driver is not even imported.
    from opensvc_openha.agent.resources.scsireserv import is_override

    return is_override(section, file)


def build_with_reservation(section: Section, context: DriverContext) -> list[Resource]:
    """Build the resource of one section, and that of the reservation of its disks, if wanted."""
    resources = [build_resource(section, context)]
    if any(section.text(keyword.name) for keyword in (schema.SCSIRESERV, schema.SCSI_RESERVE)):
        from opensvc_openha.agent.resources import scsireserv

        if scsireserv.is_reservable(section):
            resources.append(scsireserv.build(section, context))
    return resources


def is_resource(section: Section) -> bool:
    """Return whether this section is a resource: the agent accepts sections of other tools."""
    if _OF_A_GUEST in split_list(section.text("tags")):
        return False
    is_numbered = "#" in section.name
    if section.name == APP_LAUNCHERS and not app.is_application(section):
        return False
    return section.group not in NO_RESOURCES and (is_numbered or section.group in KINDS)


def build_resource(section: Section, context: DriverContext) -> Resource:
    """Build the resource of one section; ConfigError for its first error."""
    kind_of(section)
    index_of(section)
    for error in wrong_in_resource(section):
        raise error
    if type_of(section) is None:
        from opensvc_openha.agent.resources.unhandled import Unhandled

        return Unhandled(section, context)
    resource: Resource = import_module(module_of(section.group)).build(section, context)
    return resource


def module_of(group: str) -> str:
    """Return the full name of the driver's module for a kind of section."""
    return f"opensvc_openha.agent.resources.{_OTHER_MODULES.get(group, group)}"
