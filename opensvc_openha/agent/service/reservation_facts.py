"""Print what the node daemon needs to know of services' reservations before it needs them.

    python -m opensvc_openha.agent.service.reservation_facts NAME...

A program of its own: to find the disks of a volume group LVM reads disks, and one that hangs must
not hold the daemon. One JSON object on standard output, by name of the service in the cluster::

    {"registry": {"fence_needs": "data", "has_reserved_data": true, "drain_s": 10.0,
                  "disks": [{"name", "paths", "key", "may_abort"}], "problems": []}}
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import service_names
from opensvc_openha.agent.resources.scsireserv import ScsiReservation
from opensvc_openha.agent.service.loaded_service import Service, load_service
from opensvc_openha.agent.service.reserved_data import (
    has_reserved_data,
    is_shared,
    is_volume,
)
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import NotRunningError, OpenhaError
from opensvc_openha.fence_devices.reservations import DRAIN_MAX_S
from opensvc_openha.formats.layout import AgentLayout, agent_layout


def facts_of(layout: AgentLayout, names: Iterable[str]) -> dict[str, dict[str, object]]:
    """Return the facts of the services with these names in the cluster; of all if none is given."""
    wanted, found = set(names), {}
    for svcname in service_names(layout.etc_dir):
        try:
            service = load_service(layout, svcname, ActionLog.silent(), ClusterView(_not_asked))
        except OpenhaError as error:
            if svcname in wanted:
                found[svcname] = _facts(problems=[str(error)])
            continue
        name = service.cluster_name
        if name is not None and (not wanted or name in wanted):
            found[name] = _facts_of(service)
    return found


def main(arguments: list[str]) -> int:
    """Print the facts; return the exit code."""
    facts = facts_of(agent_layout(env=os.environ), arguments)
    sys.stdout.write(f"{json.dumps(facts)}\n")
    return 0


def _facts_of(service: Service) -> dict[str, object]:
    disks: list[dict[str, object]] = []
    problems: list[str] = []
    drain_s = 0.0
    for resource in service.resources:
        if not isinstance(resource, ScsiReservation) or resource.spec.is_disabled:
            continue
        try:
            key, found = resource.key_words(), resource.disks()
        except OpenhaError as error:
            problems.append(f"{resource.spec.rid}: {error}")
            continue
        owner = resource.owner
        if not found and is_shared(owner) and not is_volume(owner, service.file):
            problems.append(f"{resource.spec.rid}: no SCSI disk was found below it")
        drain_s = max(drain_s, resource.drain_s)
        if resource.drain_s > DRAIN_MAX_S:
            problems.append(
                f"{resource.spec.rid}: drain = {resource.drain_s:g}: a fence waits at most"
                f" {DRAIN_MAX_S:g} s"
            )
        refused = resource.multipath_problem(found)
        if refused:
            problems.append(f"{resource.spec.rid}: {refused}")
        known = {disk["name"] for disk in disks}
        disks += [
            {
                "name": disk.name,
                "paths": list(disk.paths),
                "key": key,
                "may_abort": resource.may_abort,
            }
            for disk in found
            if disk.name not in known
        ]
    needs = service.file.default.value(schema.FENCE_NEEDS)
    is_reserved = has_reserved_data(service.file) and not problems
    return _facts(needs, is_reserved, disks, drain_s, problems)


def _facts(
    needs: str = "node",
    is_reserved: bool = False,
    disks: Iterable[dict[str, object]] = (),
    drain_s: float = 0.0,
    problems: Iterable[str] = (),
) -> dict[str, object]:
    return {
        "fence_needs": needs,
        "has_reserved_data": is_reserved,
        "drain_s": drain_s,
        "disks": list(disks),
        "problems": list(problems),
    }


def _not_asked() -> NodeStatus:
    raise NotRunningError("the node daemon is not asked")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
