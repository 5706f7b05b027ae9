"""Ask the devices of services' `[stonith#N]` sections for the peer's power; fences nothing.

    echo '{"services": ["registry"], "skip": []}' |
        python -m opensvc_openha.agent.actions.fence_looks

A program of its own, for the node daemon's standing check: a device that hangs holds this process
alone. One JSON object on standard output, by name of the service in the cluster::

    {"registry": [{"rid": "stonith#1", "level": 1, "kind": "power", "device": "10.10.0.12",
                   "mark": "...", "power": "on", "text": "on", "is_refused": false,
                   "took_s": 0.2}]}

A device that several services use is asked once. ``mark`` stands for the options of a section; one
whose mark is in ``skip`` is not asked: a board that refuses the login would lock the account.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Collection, Mapping

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import Section, service_names
from opensvc_openha.agent.resources.fence_plan import FenceStep
from opensvc_openha.agent.resources.fence_status import ask_power
from opensvc_openha.agent.resources.stonith import Fence
from opensvc_openha.agent.service.loaded_service import load_service
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.core.timing import POWER_LOOK_LIMIT_S
from opensvc_openha.errors import NotRunningError, OpenhaError
from opensvc_openha.fence_devices.power_device import PowerLook
from opensvc_openha.fence_devices.power_readings import Power
from opensvc_openha.formats.layout import AgentLayout, agent_layout
from opensvc_openha.system.clock import monotonic

_REQUEST_BYTES = 1_000_000
_NOT_OPTIONS = frozenset(
    name for each in (schema.FENCE_LEVEL, schema.FENCE_TIMEOUT) for name in each.names
)


def looks_of(
    layout: AgentLayout, names: Collection[str], skip: Collection[str]
) -> dict[str, list[dict[str, object]]]:
    """Look at the devices of the services with these names in the cluster."""
    asked: dict[str, PowerLook] = {}
    found: dict[str, list[dict[str, object]]] = {}
    for svcname in service_names(layout.etc_dir):
        try:
            service = load_service(layout, svcname, ActionLog.silent(), ClusterView(_not_asked))
        except OpenhaError:
            continue  # The daemon's check of service files reports it.
        name = service.cluster_name
        if name is None or name not in names:
            continue
        fences = [each for each in service.resources if isinstance(each, Fence)]
        found[name] = [
            _look(each, service.name, skip, asked) for each in fences if not each.spec.is_disabled
        ]
    return found


def _look(
    fence: Fence, svcname: str, skip: Collection[str], asked: dict[str, PowerLook]
) -> dict[str, object]:
    step, section = fence.step, fence.section
    mark = _mark_of(section, "" if fence.is_device else svcname)
    values: dict[str, object] = {
        "rid": step.rid,
        "level": step.level,
        "kind": "power" if fence.is_device else "callout",
        "device": section.text("ip") or section.text(schema.ILO_TARGET.name),
        "mark": mark,
    }
    if mark in skip:
        return {**values, "power": "", "text": "", "is_refused": True, "took_s": None}
    if step.why_unasked:
        return {
            **values,
            "power": "" if step.why_not else None,
            "text": step.why_unasked,
            "is_refused": False,
            "took_s": None,
        }
    if mark not in asked:
        asked[mark] = _ask(step)
    look = asked[mark]
    return {
        **values,
        "power": look.power.value,
        "text": look.text,
        "is_refused": look.is_refused,
        "took_s": round(look.took_s, 3),
    }


def _ask(step: FenceStep) -> PowerLook:
    if step.device is not None:
        return step.device.look(POWER_LOOK_LIMIT_S)
    began = monotonic()
    power = ask_power(step.status_argv, step.env, POWER_LOOK_LIMIT_S)
    text = "its status_cmd gives no clear answer" if power is Power.UNKNOWN else power.value
    return PowerLook(power, monotonic() - began, text)


def _mark_of(section: Section, owner: str) -> str:
    """Return a digest of what the section says of its device, as this node sees it."""
    options = {name: section.text(name) for name in section.own - _NOT_OPTIONS}
    text = json.dumps([owner, section.name if owner else "", options], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def main(request: Mapping[str, object]) -> int:
    """Print the looks; return the exit code."""
    services, skip = request.get("services"), request.get("skip")
    if not isinstance(services, list) or not isinstance(skip, list):
        sys.stderr.write("expected the lists services and skip\n")
        return 2
    sys.stdout.write(f"{json.dumps(looks_of(agent_layout(env=os.environ), services, skip))}\n")
    return 0


def _not_asked() -> NodeStatus:
    raise NotRunningError("the node daemon is not asked")


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.stdin.read(_REQUEST_BYTES))))
