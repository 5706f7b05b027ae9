"""Parse and edit the services file: one line per service, with script, nodes, check-up script.

Also validates service names for every source of them: the command line, this file and the peer's
heartbeats. A name becomes a directory, so nothing that could leave its directory is a name.
"""

from __future__ import annotations

import re

from opensvc_openha.core.model import SERVICE_NAME_MAX, ServiceSpec
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.conf_lines import (
    ConfLine,
    columns_of,
    drop_lines,
    expect_columns,
    read_lines,
)
from opensvc_openha.formats.nodes_file import check_node_name

COLUMNS = "name script primary secondary check"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_RESERVED = frozenset({"nmond"})
"""The daemon's own log has that name."""


def check_service_name(name: str) -> None:
    """Raise ValueError unless ``name`` is a valid service name."""
    length = len(name.encode("utf-8", "replace"))
    if length > SERVICE_NAME_MAX:
        raise ValueError(f"service name is too long. {length} out of {SERVICE_NAME_MAX}")
    if not _NAME.match(name):
        raise ValueError(
            f"{name!r} is not a service name (letters, digits, dot, underscore and hyphen; the"
            " first a letter or a digit)"
        )
    if name in _RESERVED:
        raise ValueError(f"no service can be named {name}")


def parse_services(text: str, path: str) -> tuple[ServiceSpec, ...]:
    """Parse all services, in the order of the file; an empty file has none."""
    services = []
    first_lines: dict[str, int] = {}
    for line in read_lines(text, path):
        expect_columns(line, COLUMNS, path)
        try:
            spec = _parse_service(line)
        except ValueError as error:
            raise ConfigError(str(error), path, line.number) from None
        earlier = first_lines.setdefault(spec.name, line.number)
        if earlier != line.number:
            raise ConfigError(
                f"service {spec.name} is already on line {earlier}", path, line.number
            )
        services.append(spec)
    return tuple(services)


def _parse_service(line: ConfLine) -> ServiceSpec:
    name, script, primary, secondary, check = line.columns
    check_service_name(name)
    for what, script_path in (("script", script), ("check script", check)):
        if not script_path.startswith("/"):
            raise ValueError(
                f"the {what} of service {name} must be an absolute path; found {script_path!r}"
            )
    check_node_name(primary)
    check_node_name(secondary)
    if primary.lower() == secondary.lower():
        raise ValueError(f"primary and secondary node of service {name} are both {primary}")
    return ServiceSpec(name, script, primary, secondary, check, line.number)


def format_service(spec: ServiceSpec) -> str:
    """Return the service as a line of the file, without line end."""
    return "\t".join((spec.name, spec.script, spec.primary, spec.secondary, spec.check))


def change_check(text: str, name: str, check: str) -> str:
    """Return ``text`` with another check-up script for service ``name``; other lines stay."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        columns = columns_of(line)
        if columns and columns[0] == name and len(columns) == len(COLUMNS.split()):
            lines[number] = "\t".join((*columns[:-1], check))
    return "\n".join(lines)


def remove_service(text: str, name: str) -> str:
    """Return ``text`` without the line of service ``name``, even if the line is malformed."""
    return drop_lines(text, lambda columns: columns[0] == name)
