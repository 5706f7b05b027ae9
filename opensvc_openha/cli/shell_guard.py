"""Refuses a stop that an operator asks for out of a file system of the service itself: the stop
would end that shell.
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
    """RefusedError where this command was started in a file system that the stop of these services
    (None: all) unmounts.
    """
    try:
        services = configuration.read_services(layout)
        status = client.fetch_status(layout)
    except OpenhaError:
        return  # No daemon, or a broken file: reported by what carries out the stop.
    for svc in services:
        known = status.service(svc.name)
        if (
            (names is None or svc.name in names)
            and known is not None
            and known.own_state in STOPPED_BY_SCRIPT
        ):
            caller_location.refuse_stop_from_within(installation.agent(), svc.script)
