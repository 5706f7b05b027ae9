"""The actions that only read: status, configuration, power of the peer. They print their answer."""

from __future__ import annotations

import os
import sys

from opensvc_openha.agent.actions.action_options import ActionOptions
from opensvc_openha.agent.service.loaded_service import Service, finding_of
from opensvc_openha.agent.show import render
from opensvc_openha.agent.show.render import print_lines
from opensvc_openha.agent.values.resource_status import merge

RESERVATION = "disk.scsireserv"
"""Kind of the resources that reserve disks."""


def status(service: Service, options: ActionOptions) -> int:
    """Print the local status; exit code 0 up, 1 down, 2 warn, 3 n/a.

    The cluster's state of the service does not count.
    """
    avail = service.report().avail
    print_lines([avail.value])
    return avail.exit_code


def print_status(service: Service, options: ActionOptions) -> int:
    """Print the status tree, or JSON."""
    if options.output_format == "json":
        return json_status(service, options)
    print_lines(render.print_status_lines(service.report()))
    return 0


def json_status(service: Service, options: ActionOptions) -> int:
    """Print the status as JSON."""
    print_lines([render.json_status(service.report())])
    return 0


def print_config(service: Service, options: ActionOptions) -> int:
    """Print the service file."""
    sys.stdout.write(
        service.file.text if service.file.text.endswith("\n") else service.file.text + "\n"
    )
    return 0


def frozen(service: Service, options: ActionOptions) -> int:
    """Print whether the service is frozen."""
    print_lines([str(service.is_frozen)])
    return 0


def stonith_status(service: Service, options: ActionOptions) -> int:
    """Print the peer's power state as its fencing devices report it: on, off or unknown.

    The exit codes are those of fence agents.
    """
    from opensvc_openha.agent.actions.peer_fencing import power_of_peer
    from opensvc_openha.fence_devices.power_readings import EXIT_CODES

    power = power_of_peer(service, os.environ)
    print_lines([power.value])
    return EXIT_CODES[power]


def prstatus(service: Service, options: ActionOptions) -> int:
    """Print the merged status of the service's reservations; exit code as for ``status``."""
    chosen = [res for res in service.selected(options.choice) if res.spec.kind == RESERVATION]
    merged = merge(finding_of(res).status for res in chosen)
    print_lines([merged.value])
    return merged.exit_code
