"""List the steps of an action in their order without running them: the output of ``--dry-run``.

The order is that of ``ordering``, and the lines of a resource follow what ``runner`` does with it:
triggers run whatever its state, a driver does nothing when there is nothing to do. A dry run only
reads states.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from opensvc_openha.agent.resources.base import Resource
from opensvc_openha.agent.resources.sync import Rsync
from opensvc_openha.agent.service.loaded_service import Service, finding_of
from opensvc_openha.agent.service.ordering import Stage, in_start_order, start_stages, stop_stages
from opensvc_openha.agent.service.runner import refuse_unhandled, trigger_commands
from opensvc_openha.agent.values.resource_status import Finding, ResourceStatus

_DRIVEN = {
    "start": (
        "a standby peer would be frozen, this node unfrozen to start the service, then"
        " the peer unfrozen"
    ),
    "stop": "the peer would be frozen stopped first, so that it does not take over, then this node",
    "switch": "the owner would stop the service, the other node start it",
    "freeze": "both nodes would be frozen, the one that could take the service over first",
    "thaw": "both nodes would be unfrozen, the one that runs the service first",
}
_STOPPED = Finding(ResourceStatus.DOWN)


def rehearse_start(
    service: Service, resources: tuple[Resource, ...], is_stopped: bool = False
) -> Iterator[str]:
    """Yield the lines of a start; raise the error that would refuse it.

    ``is_stopped``: the start follows a stop of the same resources.
    """
    refuse_unhandled(in_start_order(resources))
    yield from _title(service, "start")
    for stage in start_stages(resources, service.file):
        yield from _beginning(stage)
        for resource in stage.resources:
            is_down = is_stopped and not resource.spec.is_always_on
            finding = _STOPPED if is_down else finding_of(resource)
            yield from _with_triggers(resource, "start", _start_line(resource, finding))


def rehearse_stop(
    service: Service, resources: tuple[Resource, ...], is_forced: bool
) -> Iterator[str]:
    """Yield the lines of a stop."""
    yield from _title(service, "stop")
    for stage in stop_stages(resources, service.file):
        yield from _beginning(stage)
        for resource in stage.resources:
            name = _named(resource)
            if resource.why_unhandled():
                yield f"  leave {name}: {resource.why_unhandled()}"
            elif resource.spec.is_always_on and not is_forced:
                yield f"  leave {name}: a standby resource (--force stops it)"
            else:
                finding = finding_of(resource)
                is_down = finding.status is ResourceStatus.DOWN
                line = f"leave {name}: is down" if is_down else f"stop {name}: {_state(finding)}"
                yield from _with_triggers(resource, "stop", line)


def rehearse_sync(
    service: Service, resources: Iterable[Rsync], targets: Iterable[str], is_forced: bool
) -> Iterator[str]:
    """Yield the lines of a synchronisation; raise the error that would refuse the first one."""
    yield from _title(service, "sync")
    resources = list(resources)
    for target in targets:
        for resource in resources:
            nodes = resource.nodes_of(target)
            if nodes:
                resource.expect_service_here(is_forced)
            line = (
                f"send {_named(resource)} to {', '.join(nodes)}"
                if nodes
                else f"leave {_named(resource)}: no other {target}"
            )
            yield from _with_triggers(
                resource, "syncnodes" if target == "nodes" else "syncdrp", line
            )


def rehearse_cluster_action(service: Service, action: str) -> Iterator[str]:
    """Yield the requests that would be sent to the cluster of the service."""
    yield from _title(service, action)
    yield f"  through the cluster: {_DRIVEN[action]}"


def _title(service: Service, action: str) -> Iterator[str]:
    yield f"{service.name}: dry run of {action} on {service.node}, nothing is done"


def _beginning(stage: Stage) -> Iterator[str]:
    if stage.is_parallel:
        yield f"  side by side: {', '.join(resource.spec.rid for resource in stage.resources)}"


def _with_triggers(resource: Resource, action: str, line: str) -> Iterator[str]:
    triggers = dict(trigger_commands(resource.spec, action))
    for name, command in triggers.items():
        if "pre_" in name:
            yield f"  run {name} of {resource.spec.rid}: {command}"
    yield f"  {line}"
    for name, command in triggers.items():
        if "post_" in name:
            yield f"  run {name} of {resource.spec.rid}: {command}"


def _start_line(resource: Resource, finding: Finding) -> str:
    name = _named(resource)
    if resource.why_unhandled():
        return f"leave {name}: optional, and {resource.why_unhandled()}"
    return (
        f"leave {name}: is up"
        if finding.status is ResourceStatus.UP
        else f"start {name}: {_state(finding)}"
    )


def _named(resource: Resource) -> str:
    optional = ", optional" if resource.spec.is_optional else ""
    return f"{resource.spec.rid} ({resource.spec.label}{optional})"


def _state(finding: Finding) -> str:
    if finding.status is ResourceStatus.NA:
        return "its state is not known"
    return f"is {finding.status.value}" + (f", {finding.log[0]}" if finding.log else "")
