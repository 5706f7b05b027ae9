"""Check whether the services of this node could start on it now, by asking all their resources.

Nothing is changed. Resources are asked side by side, in threads that are left behind when they take
longer than they may: a disk that hangs holds nothing but its own answer.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import service_names
from opensvc_openha.agent.host.lvm import AllVolumeGroups
from opensvc_openha.agent.host.mounts import read_mounts, top_mount
from opensvc_openha.agent.resources.base import Resource
from opensvc_openha.agent.service.loaded_service import Service, load_service
from opensvc_openha.agent.service.node_checks import missing_commands
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.agent.values.readiness import Remark, Surroundings, unclear, would_fail
from opensvc_openha.agent.values.resource_status import ResourceStatus
from opensvc_openha.core.outlook import Finding, Severity
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import AgentLayout
from opensvc_openha.system.clock import monotonic

THREADS = 4
RESOURCE_LIMIT_S = 2.0
"""A resource that takes longer gives its place to the next."""
PATIENCE_S = 6.0
"""One that takes longer than this is not waited for."""
ALL_LIMIT_S = 20.0
EACH_LIMIT_S = 0.1
"""All resources together have ``ALL_LIMIT_S``, and so much more for each of them."""


@dataclass(frozen=True)
class PeerSight:
    """What is known of the peer: the services that it runs, and its hardware addresses.

    ``hardware`` is None if the peer could not be asked.
    """

    running: frozenset[str] = frozenset()
    hardware: Collection[str] | None = None


def service_findings(
    layout: AgentLayout,
    node: str,
    names: Collection[str],
    wrapped: Mapping[str, str],
    peer: PeerSight,
    cluster: ClusterView,
) -> list[Finding]:
    """Return what stands against a start of these services of the cluster on this node.

    ``wrapped`` is the name in the cluster of each service that a wrapper runs, by which a service
    file that cannot be read is known.

    Those without a service file of the embedded agent are left out: of them only the scripts are
    known.
    """
    groups, found = AllVolumeGroups(), list[Finding]()
    jobs: list[_Job] = []
    for svcname in service_names(layout.etc_dir):
        try:
            service = load_service(layout, svcname, ActionLog.silent(), cluster, groups)
        except OpenhaError as error:
            name = wrapped.get(svcname, svcname)
            if name in names:
                found.append(
                    Finding(Severity.ERROR, node, name, "files", str(error), stops_start=True)
                )
            continue
        if service.cluster_name in names:
            jobs += _jobs(service, peer)
    return found + [
        _finding(node, job, remark) for job, remarks in _ask_all(jobs) for remark in remarks
    ]


@dataclass(frozen=True)
class _Job:
    """One resource to be asked."""

    number: int
    service: str
    resource: Resource
    ask: Callable[[], Iterable[Remark]]


def _jobs(service: Service, peer: PeerSight) -> Iterator[_Job]:
    name = service.cluster_name or service.name
    around = _surroundings(service, name, peer)
    sections = {section.name: section for section in service.file.sections}
    for number, resource in enumerate(service.resources):
        if resource.spec.is_left_alone:
            continue

        def ask(resource: Resource = resource) -> Iterable[Remark]:
            remarks = list(resource.readiness(around))
            section = sections.get(resource.spec.rid)
            if section is not None:
                remarks += [
                    would_fail("scripts", text) for text in missing_commands(service.file, section)
                ]
            if resource.spec.is_always_on:
                remarks += _standby_problems(resource)
            return remarks

        yield _Job(number, name, resource, ask)


def _surroundings(service: Service, name: str, peer: PeerSight) -> Surroundings:
    mounts = read_mounts()
    hidden = tuple(point for point in service.file.mount_points if top_mount(point, mounts) is None)
    later = tuple(
        section.text(keyword.name) or next(filter(None, map(section.text, keyword.aliases)), "")
        for section in service.file.sections
        for keyword in (schema.VGNAME, schema.LOOP_FILE)
        if section.group in ("vg", "disk", "loop") and keyword.name in _names_of(section.values)
    )
    return Surroundings(name in peer.running, peer.hardware, hidden, tuple(filter(None, later)))


def _names_of(values: Mapping[str, str]) -> set[str]:
    alias = {name: schema.VGNAME.name for name in schema.VGNAME.aliases}
    return {alias.get(name, name) for name in values}


def _standby_problems(resource: Resource) -> list[Remark]:
    finding = resource.status()
    if finding.status in (ResourceStatus.UP, ResourceStatus.NA) or finding.is_hidden:
        return []
    why = f": {finding.log[0]}" if finding.log else ""
    text = f"is {finding.status.value}, and is to be up on the standby, too{why}"
    return [Remark(Severity.WARNING, "standby", text, "start it here: startstandby")]


def _finding(node: str, job: _Job, remark: Remark) -> Finding:
    is_error = remark.severity is Severity.ERROR
    if job.resource.spec.is_optional and is_error:
        remark = replace(remark, severity=Severity.WARNING)
    # A move beside a live peer needs no fence.
    stops = is_error and remark.check != "fences" and not job.resource.spec.is_optional
    text = f"{job.resource.spec.rid}: {remark.text}"
    return Finding(
        remark.severity, node, job.service, remark.check, text, remark.fix, stops_start=stops
    )


def _ask_all(jobs: list[_Job]) -> Iterator[tuple[_Job, list[Remark]]]:
    """Yield the answers in the order of the jobs; a late one is an answer of its own."""
    give_up = monotonic() + ALL_LIMIT_S + EACH_LIMIT_S * len(jobs)
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[int, list[Remark]]] = queue.SimpleQueue()
    began: dict[int, float] = {}
    for place in range(len(jobs)):
        waiting.put(place)

    def work() -> None:
        while True:
            try:
                place = waiting.get_nowait()
            except queue.Empty:
                return
            began[place] = monotonic()
            ended.put((place, _answer(jobs[place])))

    def begin() -> None:
        threading.Thread(target=work, name="readiness", daemon=True).start()

    for _ in range(min(THREADS, len(jobs))):
        begin()
    found: dict[int, list[Remark]] = {}
    late: set[int] = set()
    lost: set[int] = set()
    while len(found.keys() | lost) < len(jobs) and monotonic() < give_up:
        try:
            place, remarks = ended.get(timeout=0.1)
            found[place] = remarks
            continue
        except queue.Empty:
            pass
        for place, at in list(began.items()):
            took_s = 0.0 if place in found else monotonic() - at
            if took_s > RESOURCE_LIMIT_S and place not in late:
                late.add(place)
                begin()  # In place of the thread that is held.
            if took_s > PATIENCE_S:
                lost.add(place)
    for place, job in enumerate(jobs):
        if place not in found:
            yield job, [unclear("time", f"not known: no answer within {PATIENCE_S:g} s")]
        else:
            yield job, found[place]


def _answer(job: _Job) -> list[Remark]:
    try:
        return list(job.ask())
    except Exception as error:  # Any error becomes an answer: it is waited for.
        text = str(error) if isinstance(error, (OpenhaError, OSError)) else repr(error)
        return [unclear("time", f"cannot be looked at: {text}")]
