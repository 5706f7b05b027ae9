"""List the services that this node's daemon last managed, in ``.proc/managed``.

The list distinguishes a lost STATE file from a new service. It also keeps the definition of a
service that was removed from the services file while it ran here: a restarted daemon keeps managing
it until it is stopped.
"""

from __future__ import annotations

import contextlib

from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.states import MAY_RUN
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.services_file import format_service, parse_services
from opensvc_openha.formats.state_file import decode
from opensvc_openha.system.atomic_files import write_atomically


def managed_names(layout: Layout) -> set[str]:
    """Return the names of the services that were managed."""
    return {line.split()[0] for line in _lines(layout)}


def kept_services(
    layout: Layout, node: str, services: tuple[ServiceSpec, ...]
) -> tuple[ServiceSpec, ...]:
    """Return formerly managed services, not in ``services``, that may still run here."""
    names = {svc.name for svc in services}
    return tuple(
        svc for svc in _former(layout) if svc.name not in names and may_run(layout, node, svc.name)
    )


def record_managed(layout: Layout, node: str, services: tuple[ServiceSpec, ...]) -> None:
    """Store these services, and those kept although they are no longer configured."""
    lines = [format_service(svc) for svc in (*services, *kept_services(layout, node, services))]
    # Without the file a lost STATE file goes unnoticed; that is no reason to fail.
    with contextlib.suppress(OSError):
        write_atomically(
            _path(layout), "".join(f"{line}\n" for line in lines).encode("utf-8"), is_durable=False
        )


def _former(layout: Layout) -> tuple[ServiceSpec, ...]:
    found: list[ServiceSpec] = []
    for line in _lines(layout):
        # Former versions wrote names only, and a line may be damaged: such a service is known by
        # name alone.
        with contextlib.suppress(ConfigError):
            found += parse_services(line, _path(layout))
    return tuple({svc.name: svc for svc in found}.values())


def may_run(layout: Layout, node: str, service: str, if_missing: bool = False) -> bool:
    """Return True if, by this node's STATE file, the service may run here.

    ``if_missing`` is the answer if there is no such file.
    """
    try:
        with open(layout.state_file(service, node), "rb") as file:
            return decode(file.read(64)).state in MAY_RUN
    except FileNotFoundError:
        return if_missing
    except (OSError, ValueError):
        return True  # A damaged file is ignored: the wrapper is asked.


def _lines(layout: Layout) -> list[str]:
    try:
        with open(_path(layout), encoding="utf-8") as file:
            return [line for line in file if line.strip()]
    except (OSError, ValueError):
        return []


def _path(layout: Layout) -> str:
    return f"{layout.proc_dir}/managed"
