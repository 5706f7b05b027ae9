"""Refuse a stop that an operator requests from within a file system of the service.

The stop would kill that shell.
"""

from __future__ import annotations

from opensvc_openha.agent.service import caller_location
from opensvc_openha.cli import installation
from opensvc_openha.control import client
from opensvc_openha.core.states import STOPPED_BY_SCRIPT
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage import configuration


def refuse_stop_from_within(layout: Layout, names: list[str] | None = None) -> None:
    """Raise RefusedError if the stop of these services unmounts a file system in use by the caller.

    ``names`` None means all services.
    """
    try:
        services = configuration.read_services(layout)
        status = client.fetch_status(layout)
    except OpenhaError:
        return  # No daemon, or an invalid file: reported by the stop itself.
    for svc in services:
        known = status.service(svc.name)
        if (
            (names is None or svc.name in names)
            and known is not None
            and known.own_state in STOPPED_BY_SCRIPT
        ):
            caller_location.refuse_stop_from_within(installation.agent(), svc.script)
