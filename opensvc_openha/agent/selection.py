"""Which services a command is about: one link name per service, ``-s`` lists, and the all*services commands."""

from __future__ import annotations

import enum
from typing import Optional

from opensvc_openha.agent.service import Service
from opensvc_openha.agent.status import NOT_RUNNING, ResourceStatus
from opensvc_openha.errors import NotRunningError


class Choice(enum.Enum):
    """The mass action commands, by name."""

    ALL = "allservices"
    UP = "allupservices"
    DOWN = "alldownservices"
    WARN = "allwarnservices"
    PRIMARY = "allprimaryservices"
    SECONDARY = "allsecondaryservices"


def is_chosen(service: Service, choice: Choice) -> bool:
    """Is this service one that the command is about?"""
    if choice is Choice.UP:
        return service.report().avail is ResourceStatus.UP
    if choice is Choice.DOWN:
        return service.report().avail in NOT_RUNNING
    if choice is Choice.WARN:
        return service.report().avail is ResourceStatus.WARN
    if choice is Choice.PRIMARY:
        return is_primary(service)
    if choice is Choice.SECONDARY:
        return service.node in service.file.nodes and not is_primary(service)
    return True


def is_primary(service: Service) -> bool:
    """Is this node the preferred one? autostart_node says so, else the cluster, else the order of ``nodes``."""
    if service.file.default.words("autostart_node"):
        return service.is_autostarted_here
    primary = _primary_in_cluster(service)
    if primary is not None:
        return primary.lower() == service.node
    return service.file.nodes[:1] == (service.node,)


def _primary_in_cluster(service: Service) -> Optional[str]:
    name = service.cluster_name
    if name is None:
        return None
    try:
        known = service.cluster.node_status().service(name)
    except NotRunningError:
        return None
    return known.primary if known else None
