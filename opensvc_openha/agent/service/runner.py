"""Start and stop resources in their order, with triggers, and roll back a failed start.

An interrupted start is rolled back too. The rollback leaves resources alone that were up before the
start. The failure of an optional resource does not abort an action. At stop, an application that
cannot be stopped does not prevent the stop of the other resources, but the action fails in the end
unless the application's check reports it as down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from opensvc_openha.agent.host.commands import run_logged
from opensvc_openha.agent.host.parallel_jobs import Job, run_in_parallel
from opensvc_openha.agent.host.signals import uninterrupted
from opensvc_openha.agent.resources.base import Resource, ResourceSpec
from opensvc_openha.agent.service.loaded_service import Service, finding_of
from opensvc_openha.agent.service.ordering import Stage, in_start_order, start_stages, stop_stages
from opensvc_openha.agent.values.resource_status import Group, ResourceStatus
from opensvc_openha.errors import ActionError, InterruptedAction, OpenhaError, SystemFault
from opensvc_openha.system.clock import pause

RESTART_PAUSE_S = 1.0

_Step = Callable[[Resource], None]


def start_resources(
    service: Service, resources: tuple[Resource, ...], has_rollback: bool = True
) -> None:
    """Start the resources that take part in a start; on failure roll back and raise the error."""
    refuse_unhandled(in_start_order(resources))
    begun: list[Resource] = []
    try:
        for stage in start_stages(resources, service.file):
            for part in _parts(stage):
                begun += [
                    res for res in part.resources if finding_of(res).status is not ResourceStatus.UP
                ]
                for _, error in _run_part(service, part, lambda res: _start(service, res)):
                    raise error
    except (OpenhaError, InterruptedAction) as exc:
        if begun and has_rollback:
            service.log.error(f"{exc}: rolling back")
            _roll_back(service, begun)
        raise


def stop_resources(
    service: Service, resources: tuple[Resource, ...], is_forced: bool = False
) -> None:
    """Stop the resources that take part in a stop; standby resources only with ``is_forced``."""
    failures: list[str] = []

    def stop_one(resource: Resource) -> None:
        if resource.why_unhandled():
            service.log.warning(f"{resource.spec.rid} is left alone: {resource.why_unhandled()}")
        elif resource.spec.is_always_on and not is_forced:
            service.log.of(resource.spec.rid).info(
                "skip 'stop' on standby resource (--force to override)"
            )
        else:
            _optional(
                service,
                resource,
                lambda res: with_triggers(service, res, "stop", lambda: _stop(service, res)),
            )

    for stage in stop_stages(resources, service.file):
        for part in _parts(stage):
            for resource, error in _run_part(service, part, stop_one):
                if resource.spec.group is not Group.APP:
                    raise error
                service.log.error(f"{error}: continuing with the other resources")
                failures.append(str(error))
    if failures:
        raise ActionError("all was stopped, except for " + "; ".join(failures))


def bring_back(service: Service, resource: Resource) -> bool:
    """Restart a resource that went down by itself, up to ``restart`` times.

    Return whether it is up afterwards.
    """
    log = service.log.of(resource.spec.rid)
    for attempt in range(1, resource.spec.restarts + 1):
        if attempt > 1:
            pause(RESTART_PAUSE_S)
        log.info(
            f"restart resource {resource.spec.rid}. try number {attempt}/{resource.spec.restarts}"
        )
        try:
            with_triggers(service, resource, "start", resource.restart)
        except OpenhaError as error:
            log.error(f"restart resource failed: {error}")
        if finding_of(resource).status is ResourceStatus.UP:
            log.info(f"monitored resource {resource.spec.rid} restarted.")
            return True
    return False


def refuse_unhandled(resources: Iterable[Resource]) -> None:
    """Raise ActionError if a start would leave out a required resource.

    Called before anything is changed: such a start must not end with exit code 0.
    """
    missing = [res for res in resources if res.why_unhandled() and not res.spec.is_optional]
    if missing:
        reasons = "; ".join(f"{res.spec.rid}: {res.why_unhandled()}" for res in missing)
        raise ActionError(f"start refused: {reasons} (disable = true on a resource leaves it out)")


def _parts(stage: Stage) -> list[Stage]:
    """Split a stage into parts that are checked and run together.

    A parallel stage is one part; otherwise each resource is a part.
    """
    return [stage] if stage.is_parallel else [Stage((resource,)) for resource in stage.resources]


def _run_part(service: Service, part: Stage, step: _Step) -> list[tuple[Resource, OpenhaError]]:
    """Run the step for each resource; return the failed ones with their errors."""
    if part.is_parallel:
        service.log.info(f"side by side: {', '.join(res.spec.rid for res in part.resources)}")
        failures = run_in_parallel([_job(resource, step) for resource in part.resources])
        by_rid = {resource.spec.rid: resource for resource in part.resources}
        # Report all failures as one error: the first one raised must not hide the others.
        error = ActionError("; ".join(failure.message for failure in failures))
        return [(by_rid[failure.name], error) for failure in failures]
    try:
        step(part.resources[0])
    except OpenhaError as exc:
        return [(part.resources[0], exc)]
    return []


def _job(resource: Resource, step: _Step) -> Job:
    return Job(resource.spec.rid, lambda: step(resource))


def _start(service: Service, resource: Resource) -> None:
    if resource.why_unhandled():
        service.log.warning(
            f"{resource.spec.rid} is left out, for it is optional: {resource.why_unhandled()}"
        )
        return
    _optional(service, resource, lambda res: with_triggers(service, res, "start", res.start))


def _stop(service: Service, resource: Resource) -> None:
    """Stop a resource; a failed stop of an application counts if its check does not report down."""
    try:
        resource.stop()
    except OpenhaError as error:
        if (
            resource.spec.group is not Group.APP
            or finding_of(resource).status is not ResourceStatus.DOWN
        ):
            raise
        service.log.error(f"{error}, but its check reports that it is down: continuing")


def _optional(service: Service, resource: Resource, step: _Step) -> None:
    """Run one step; the failure of an optional resource does not abort the action."""
    try:
        step(resource)
    except OpenhaError as error:
        if not resource.spec.is_optional:
            raise
        service.log.warning(f"{error}: continues, for {resource.spec.rid} is optional")


def with_triggers(
    service: Service, resource: Resource, action: str, step: Callable[[], None]
) -> None:
    """Run a step between the triggers of its action; only a failed blocking trigger aborts it."""
    commands = list(trigger_commands(resource.spec, action))
    for name, command in commands:
        if "pre_" in name:
            _trigger(service, resource, name, command)
    _checked(resource, step)
    for name, command in commands:
        if "post_" in name:
            _trigger(service, resource, name, command)


def trigger_commands(spec: ResourceSpec, action: str) -> Iterator[tuple[str, str]]:
    """Yield the configured triggers of an action, in execution order."""
    for name in (
        f"{blocking}{when}_{action}" for when in ("pre", "post") for blocking in ("", "blocking_")
    ):
        command = spec.triggers.get(name) or spec.triggers.get(name.replace("_sync", "_sync_"))
        if command:
            yield name, command


def _trigger(service: Service, resource: Resource, name: str, command: str) -> None:
    spec = resource.spec
    names = {
        "OPENSVC_SVCNAME": service.name,
        "OPENSVC_RID": spec.rid,
        "OPENSVC_NODENAME": service.node,
    }
    log = service.log.of(spec.rid)
    log.info(f"{name} trigger")
    result = run_logged(
        log,
        ["/bin/sh", "-c", command],
        env={**names, **resource.environment()},
        may_linger=name.endswith("_start"),
    )
    if result.exit_code == 0:
        return
    message = f"{spec.rid}: {name} trigger {command!r} {result.verdict}"
    if name.startswith("blocking_"):
        raise ActionError(message)
    log.warning(f"{message}: continues, for only blocking_{name} would end the action")


def _roll_back(service: Service, begun: Iterable[Resource]) -> None:
    left = [res for res in begun if not res.spec.is_always_on and not res.why_unhandled()]
    with uninterrupted():
        for stage in stop_stages(left, service.file):
            for part in _parts(stage):
                for _, error in _run_part(
                    service, part, lambda res: with_triggers(service, res, "stop", res.roll_back)
                ):
                    service.log.error(f"rollback: {error}")


def _checked(resource: Resource, step: Callable[[], None]) -> None:
    """Run one step and convert a system error into an OpenhaError that names the resource.

    The conversion makes sure that a rollback follows.
    """
    try:
        step()
    except (ActionError, SystemFault) as error:
        if error.rid == resource.spec.rid:
            raise
        raise resource.spec.error(type(error), str(error)) from error
    except OSError as error:
        raise resource.spec.error(SystemFault, str(error)) from error
