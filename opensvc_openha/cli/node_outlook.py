"""Find out what stands against a takeover by this node: its services, links, fences and room.

It is what each node can see by itself; what differs between the nodes is compared in ``check``.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from opensvc_openha.agent.config.service_file import service_names
from opensvc_openha.agent.service.loaded_service import load_service
from opensvc_openha.agent.service.readiness import PeerSight, service_findings
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.cli import installation
from opensvc_openha.cli.fence_plan_output import NO_PROOF, armament_of
from opensvc_openha.cli.node_facts import wrapped_service
from opensvc_openha.control import client
from opensvc_openha.core.model import ALWAYS_TRUE, PathKind, ServiceSpec
from opensvc_openha.core.outlook import Finding, Severity
from opensvc_openha.core.states import PEER_OUT, UP_OR_IN_SCRIPT, ServiceState
from opensvc_openha.core.status import (
    GAP_BOUNDS_S,
    BeatTiming,
    LinkStatus,
    NodeStatus,
    PeerStanding,
)
from opensvc_openha.daemon.readiness import why_no_fence
from opensvc_openha.errors import NotRunningError, OpenhaError
from opensvc_openha.formats.findings import finding_to_json
from opensvc_openha.formats.layout import AgentLayout, Layout
from opensvc_openha.hints import Any
from opensvc_openha.plugin.agent_services import read_services
from opensvc_openha.plugin.agents import find_agents
from opensvc_openha.plugin.installed_agent import Agent
from opensvc_openha.storage import configuration
from opensvc_openha.system.network_devices import NET_DIR, lower_devices

ERROR, WARNING, UNKNOWN = Severity.ERROR, Severity.WARNING, Severity.UNKNOWN
_ROOM_LEAST, _ROOM_LOW = 1 << 20, 50 << 20
_LATE_SHARE = 0.5
_OUR_SUFFIX = ".env"
"""Service files that the embedded agent reads, too."""
_MAY_RUN_ON_PEER = UP_OR_IN_SCRIPT | {ServiceState.UNKNOWN, ServiceState.STOP_FAILED}


def deep_facts(layout: Layout, peer_hardware: Collection[str]) -> dict[str, Any]:
    """Return what this node finds about itself, for the other node's check."""
    found, _ = own_findings(layout, peer_hardware or None)
    return {"findings": [finding_to_json(each) for each in found]}


def own_findings(
    layout: Layout, peer_hardware: Collection[str] | None
) -> tuple[list[Finding], tuple[str, ...]]:
    """Return what this node finds about itself, and the services that it could have to start."""
    try:
        node = configuration.own_name(layout, configuration.read_nodes(layout))
        services = configuration.read_services(layout)
    except OpenhaError:
        return [], ()  # Reported with the files.
    try:
        status: NodeStatus | None = client.fetch_status(layout)
    except OpenhaError:
        status = None  # Reported as the daemon's.
    own = [svc for svc in services if node.lower() in (svc.primary.lower(), svc.secondary.lower())]
    names = tuple(svc.name for svc in own if _is_standby(status, svc.name))
    found = [*_room(layout, node), *_scripts(node, own)]
    if status is not None:
        found += [*_links(node, status), *_fences(node, status, own)]
    peer, cluster = _peer_sight(status, names, peer_hardware), _view(status)
    wrapped = {wrapped_service(svc.script): svc.name for svc in own}
    embedded = set(_cluster_names(installation.agent(), wrapped, cluster))
    found += service_findings(
        installation.agent(), node, embedded.intersection(names), wrapped, peer, cluster
    )
    others = [name for name in names if name not in embedded]
    found += _of_real_agents(node, others, peer, cluster)
    return found, names


def _view(status: NodeStatus | None) -> ClusterView:
    def fetch() -> NodeStatus:
        if status is None:
            raise NotRunningError("nmond does not answer")
        return status

    return ClusterView(fetch)


def _is_standby(status: NodeStatus | None, name: str) -> bool:
    svc = None if status is None else status.service(name)
    return svc is None or svc.own_state is None or svc.own_state in PEER_OUT


def _peer_sight(
    status: NodeStatus | None, names: Collection[str], hardware: Collection[str] | None
) -> PeerSight:
    """Return what runs on the peer; without a daemon that hears it, everything may."""
    if status is None or status.peer_standing is PeerStanding.UNKNOWN:
        return PeerSight(frozenset(names), hardware)
    running = {svc.name for svc in status.services if svc.peer_state in _MAY_RUN_ON_PEER}
    return PeerSight(frozenset(running), hardware)


def _room(layout: Layout, node: str) -> Iterator[Finding]:
    """Yield a finding for each file system without room for states, records and logs."""
    agent = installation.agent()
    seen: set[int] = set()
    places = (layout.services_dir, layout.proc_dir, layout.log_dir, agent.var_dir, agent.log_dir)
    for path in places:
        try:
            device, room = os.stat(path).st_dev, os.statvfs(path)
        except OSError:
            continue
        if device in seen:
            continue
        seen.add(device)
        free = room.f_bavail * room.f_frsize
        if free < _ROOM_LEAST or (room.f_files and not room.f_favail):
            text = f"no room left on the file system of {path}: states and logs cannot be written"
            yield Finding(ERROR, node, "", "room", text, f"see df {path}", stops_start=True)
        elif free < _ROOM_LOW:
            text = f"only {free >> 20} MiB left on the file system of {path}"
            yield Finding(WARNING, node, "", "room", text, f"see df {path}")


def _scripts(node: str, services: Iterable[ServiceSpec]) -> Iterator[Finding]:
    """Yield each script that others than root could change, or that fences nothing."""
    for svc in services:
        problem = why_no_fence(svc.check)
        if problem:
            yield Finding(ERROR, node, svc.name, "proof", problem, stops_start=True)
        for path in dict.fromkeys((svc.script, svc.check)):
            if path in ALWAYS_TRUE:
                continue
            try:
                info = os.stat(path)
            except OSError:
                continue  # Reported as one that cannot be run.
            if info.st_uid != 0:
                text = f"{path} belongs to user {info.st_uid}, who can change what root runs"
                yield Finding(WARNING, node, svc.name, "scripts", text, f"chown root {path}")
            elif stat.S_IMODE(info.st_mode) & 0o022:
                text = f"{path} can be changed by others than root"
                yield Finding(WARNING, node, svc.name, "scripts", text, f"chmod go-w {path}")


# --- links ----------------------------------------------------------------------------------------


def _links(node: str, status: NodeStatus) -> Iterator[Finding]:
    listeners = [link for link in status.links if not link.is_sender]
    if len(listeners) == 1:
        text = f"{listeners[0].spec.link_id} is the only heartbeat link: nothing else is heard"
        yield Finding(WARNING, node, "", "redundancy", text, "add one on another path")
    elif listeners:
        shared = frozenset.intersection(*map(_path_of, listeners))
        if shared:
            text = f"all heartbeat links go through {', '.join(sorted(shared))}"
            yield Finding(WARNING, node, "", "redundancy", text, "move one to another path")
    for link in listeners:
        gap_s = None if link.timing is None else _near_alarm(link.timing, link.spec.timeout_s)
        if gap_s is not None:
            text = (
                f"link {link.spec.link_id}: {gap_s:.1f} s passed between two beats, and its"
                f" timeout is {link.spec.timeout_s:g} s"
            )
            yield Finding(WARNING, node, "", "timeouts", text, "see openha advise")


def _near_alarm(timing: BeatTiming, timeout_s: float) -> float | None:
    """Return the longest gap that was no silence, if it was near to one; else None.

    More than half of the time that a beat may be late was used up then.
    """
    beats = sum(timing.gaps)
    if not beats:
        return None
    usual_s = timing.gaps_s / beats
    gap_s = timing.longest_gap_s
    if gap_s >= timeout_s:
        # A link that was down: what else there was is known by its class alone.
        bounds = zip((0.0, *GAP_BOUNDS_S), (*GAP_BOUNDS_S, math.inf), timing.gaps)
        known = [low for low, high, number in bounds if number and high < timeout_s]
        gap_s = max(known, default=0.0)
    return gap_s if gap_s > usual_s + _LATE_SHARE * (timeout_s - usual_s) else None


def _path_of(link: LinkStatus) -> frozenset[str]:
    """Return the devices that a link depends on: an interface, with those below it; or a disk."""
    if link.spec.is_disk:
        return frozenset({os.path.realpath(link.spec.device)})
    return frozenset(_below(link.spec.device.partition(":")[0]))


def _below(interface: str) -> Iterator[str]:
    """Yield an interface and those that a VLAN, a bridge or the like is made of.

    A bond is a path of its own: it is there to be more than its parts.
    """
    yield interface
    if os.path.isdir(f"{NET_DIR}/{interface}/bonding"):
        return
    for name in lower_devices(interface):
        yield from _below(name)


# --- fences ---------------------------------------------------------------------------------------


def _fences(node: str, status: NodeStatus, own: Iterable[ServiceSpec]) -> Iterator[Finding]:
    fencing = status.fencing
    for path in fencing.paths:
        is_device = path.kind in (PathKind.POWER.value, PathKind.CALLOUT.value)
        if is_device and path.tested_at is None and path.tested_s is None:
            text = f"fence path {path.name} was never tried out"
            fix = f"openha fence test --power {path.name}"
            yield Finding(WARNING, node, "", "fences", text, fix)
    if fencing.plan and fencing.paths and armament_of(status) == NO_PROOF:
        text = "no level of the fence plan is armed: a takeover would wait for an operator"
        yield Finding(ERROR, node, "", "proof", text, "openha fence status")
    if fencing.plan:
        return
    by_service = {name: group for group in fencing.groups for name in group.services}
    for svc in own:
        group = by_service.get(svc.name)
        if group is not None and group.name and group.worked_at is None:
            text = f"the fence of its check-up script ({group.check}) has never been used"
            yield Finding(WARNING, node, svc.name, "fences", text)


# --- real agents ----------------------------------------------------------------------------------


def _of_real_agents(
    node: str,
    names: Collection[str],
    peer: PeerSight,
    cluster: ClusterView,
    agents: Iterable[Agent] | None = None,
) -> Iterator[Finding]:
    """Yield what our own drivers see of the services of OpenSVC agents.

    Nothing of it is sure: only the agent knows what it does at a start.
    """
    left = set(names)
    for agent in find_agents(None) if agents is None and names else agents or ():
        known = [] if agent.is_gone else read_services(agent)
        wrapped = {}
        for svc in known:
            if svc.cluster_name not in left:
                continue
            left.remove(svc.cluster_name)
            if svc.path.endswith(_OUR_SUFFIX):
                wrapped[svc.svcname] = svc.cluster_name
                continue
            text = f"{svc.path} is of the OpenSVC agent {agent.line.name}, and is not read here"
            fix = f"{agent.service_command(svc.svcname)} print status"
            yield Finding(UNKNOWN, node, svc.cluster_name, "drivers", text, fix)
        layout = installation.agent()._replace(etc_dir=agent.etc_dir, var_dir=agent.var_dir)
        own = set(wrapped.values())
        for found in service_findings(layout, node, own, wrapped, peer, cluster) if own else ():
            is_read = found.check not in ("files", "drivers")
            severity = found.severity if is_read else UNKNOWN
            yield replace(found, severity=severity, stops_start=False)


def _cluster_names(
    layout: AgentLayout, wrapped: Mapping[str, str], cluster: ClusterView
) -> Iterator[str]:
    """Yield the names in the cluster of an agent's services."""
    for name in service_names(layout.etc_dir):
        try:
            service = load_service(layout, name, ActionLog.silent(), cluster)
        except OpenhaError:
            yield wrapped.get(name, name)
        else:
            yield service.cluster_name or name


def starts_of(facts: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Return how long the starts of each service took on the other node, as its facts say."""
    found = facts.get("starts")
    return {
        str(name): tuple(float(each) for each in starts if isinstance(each, (int, float)))
        for name, starts in (found.items() if isinstance(found, dict) else ())
        if isinstance(starts, list)
    }
