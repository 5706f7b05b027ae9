"""Select the services of a command: by link name, by ``-s`` list, or by all*services command."""

from __future__ import annotations

import enum

from opensvc_openha.agent.config.schema import AUTOSTART_NODE
from opensvc_openha.agent.service.loaded_service import Service
from opensvc_openha.agent.values.resource_status import NOT_RUNNING, ResourceStatus
from opensvc_openha.errors import NotRunningError, SystemFault


class ServiceSelector(enum.Enum):
    """The mass action commands, by name."""

    ALL = "allservices"
    UP = "allupservices"
    DOWN = "alldownservices"
    WARN = "allwarnservices"
    PRIMARY = "allprimaryservices"
    SECONDARY = "allsecondaryservices"


_BY_STATUS = {
    ServiceSelector.UP: frozenset({ResourceStatus.UP}),
    ServiceSelector.DOWN: NOT_RUNNING,
    ServiceSelector.WARN: frozenset({ResourceStatus.WARN}),
}


def is_chosen(service: Service, choice: ServiceSelector) -> bool:
    """Return whether the command applies to this service."""
    if choice in _BY_STATUS:
        report = service.report()
        if report.is_hidden and report.avail is ResourceStatus.NA:
            raise SystemFault(
                f"only root can check whether {service.name} is up: nothing was done for it"
            )
        return report.avail in _BY_STATUS[choice]
    if choice is ServiceSelector.PRIMARY:
        return is_primary(service)
    if choice is ServiceSelector.SECONDARY:
        return service.node in service.file.nodes and not is_primary(service)
    return True


def is_primary(service: Service) -> bool:
    """Return whether this node is the preferred one of the service.

    Sources in order of precedence: ``autostart_node``, the cluster, the order of ``nodes``.
    """
    if service.file.default.words(AUTOSTART_NODE):
        return service.is_autostarted_here
    primary = _primary_in_cluster(service)
    if primary is not None:
        return primary.lower() == service.node
    return service.file.nodes[:1] == (service.node,)


def _primary_in_cluster(service: Service) -> str | None:
    name = service.cluster_name
    if name is None:
        return None
    try:
        known = service.cluster.node_status().service(name)
    except NotRunningError:
        return None
    return known.primary if known else None
