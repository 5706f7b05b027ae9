"""Print on which disks the data of services are, for the node daemon's watch over frozen disks.

    python -m opensvc_openha.agent.service.data_disks NAME...

A program of its own: to find the disks of a volume group LVM reads disks, and one that hangs must
not hold the daemon. One JSON object on standard output, by name of the service in the cluster::

    {"registry": {"disks": ["/dev/sdb"], "problem": ""}}

They are whole disks, and maps of multipath: a volume is not there on the node that does not run the
service.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable

from opensvc_openha.agent.config.service_file import service_names
from opensvc_openha.agent.host.lvm import AllVolumeGroups
from opensvc_openha.agent.resources.registry import resource_sections
from opensvc_openha.agent.resources.scsireserv import disks_below
from opensvc_openha.agent.service.loaded_service import Service, load_service
from opensvc_openha.agent.service.reserved_data import is_shared
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import NotRunningError, OpenhaError
from opensvc_openha.formats.layout import AgentLayout, agent_layout


def disks_of(layout: AgentLayout, names: Iterable[str]) -> dict[str, dict[str, object]]:
    """Return the disks of the services with these names in the cluster."""
    wanted, found, groups = set(names), {}, AllVolumeGroups()
    for svcname in service_names(layout.etc_dir):
        try:
            service = load_service(layout, svcname, ActionLog.silent(), ClusterView(_not_asked))
        except OpenhaError as error:
            if svcname in wanted:
                found[svcname] = _result((), str(error))
            continue
        name = service.cluster_name
        if name in wanted:
            found[name] = _disks_of(service, groups)
    return {name: found.get(name, _result((), "it has no service file")) for name in sorted(wanted)}


def _disks_of(service: Service, groups: AllVolumeGroups) -> dict[str, object]:
    sections = [each for each in resource_sections(service.file) if is_shared(each)]
    disks = {disk.name for each in sections for disk in disks_below(each, groups)}
    return _result(sorted(disks), "" if disks else "its service file names no disk of this node")


def _result(disks: Iterable[str], problem: str) -> dict[str, object]:
    return {"disks": list(disks), "problem": problem}


def _not_asked() -> NodeStatus:
    raise NotRunningError("the node daemon is not asked")


def main(arguments: list[str]) -> int:
    """Print the disks; return the exit code."""
    sys.stdout.write(f"{json.dumps(disks_of(agent_layout(env=os.environ), arguments))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
