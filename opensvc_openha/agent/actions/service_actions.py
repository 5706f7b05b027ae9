"""The actions that change a service: start, stop, restart, switch, freeze, synchronise, fence.

If the service has a heartbeat, an operator's action goes to the cluster (``embedded_actions``).
Local work is reserved for the cluster's own calls, with --cluster, and for actions on selected
resources; it runs under the service's action lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from opensvc_openha.agent.actions.action_options import Action, ActionOptions
from opensvc_openha.agent.actions.dry_run import (
    rehearse_cluster_action,
    rehearse_start,
    rehearse_stop,
    rehearse_sync,
)
from opensvc_openha.agent.actions.queries import RESERVATION, prstatus
from opensvc_openha.agent.config import schema
from opensvc_openha.agent.host.signals import interruptible
from opensvc_openha.agent.resources.base import Resource
from opensvc_openha.agent.service.action_lock import action_lock
from opensvc_openha.agent.service.loaded_service import Service, write_frozen_flag
from opensvc_openha.agent.service.ordering import START_GROUPS, in_start_order
from opensvc_openha.agent.service.runner import refuse_unhandled, start_resources, stop_resources
from opensvc_openha.agent.service.sync_actions import resources_to_send, synchronise
from opensvc_openha.agent.service.validation import ignored_keywords, second_heartbeats
from opensvc_openha.agent.show.render import print_lines
from opensvc_openha.agent.values.resource_status import Group
from opensvc_openha.errors import ActionError, RefusedError

SAFETY_NET = (
    "this service is managed by a clusterware, thus direct service manipulation is disabled. "
    "the --cluster option circumvent this safety net."
)
FROZEN = "Abort action for frozen service"
THAW_IT = "Use thaw, or --force to override."

_REFUSED = 1


def start(service: Service, options: ActionOptions) -> int:
    """Start the service: through its cluster if it has one, else its local resources."""
    if _is_driven(service, options):
        return _drive(service, options, "start")
    return _guarded(
        service,
        options,
        "start",
        lambda: _start(service, options, service.selected(options.choice)),
    )


def stop(service: Service, options: ActionOptions) -> int:
    """Stop the service: through its cluster if it has one, else its local resources."""
    if _is_driven(service, options):
        return _drive(service, options, "stop")
    return _guarded(
        service, options, "stop", lambda: _stop(service, options, service.selected(options.choice))
    )


def restart(service: Service, options: ActionOptions) -> int:
    """Stop and start the service under one lock, so that no other action runs in between."""

    def both() -> None:
        resources = service.selected(options.choice)
        refuse_unhandled(in_start_order(resources))
        _refuse_beside_peer(service, options, resources, "restart")
        _stop(service, options, resources)
        _start(service, options, resources, is_stopped=True)

    return _guarded(service, options, "restart", both)


def switch(service: Service, options: ActionOptions) -> int:
    """Move the service to the other node."""
    if not service.is_clustered:
        raise RefusedError(
            "switch is for services that a cluster decides about: stop it here, then start it on"
            " the other node"
        )
    return _drive(service, options, "switch")


def shutdown(service: Service, options: ActionOptions) -> int:
    """Stop all resources at shutdown of this node, standby resources too.

    The cluster has its own shutdown procedure.
    """
    if service.is_clustered and not options.is_cluster:
        service.log.info("shutdown action is not allowed on heartbeat-driven services")
        return 0
    forced = options._replace(is_forced=True)
    return _guarded(
        service,
        options,
        "shutdown",
        lambda: _stop(service, forced, service.selected(options.choice)),
    )


def boot(service: Service, options: ActionOptions) -> int:
    """Start the service at boot if this is an autostart node and no cluster decides.

    Otherwise start its standby resources only.
    """
    if service.is_clustered:
        if service.is_autostarted_here:
            service.log.warning(
                "cluster nodes should not be in autostart_node: nothing is started at boot, the"
                " cluster decides"
            )
        return startstandby(service, options)
    if not service.is_autostarted_here:
        return startstandby(service, options)
    try:
        return start(service, options)
    except ActionError:
        service.log.error("start failed: starting the standby resources only")
        startstandby(service, options)
        raise


def startstandby(service: Service, options: ActionOptions) -> int:
    """Start the standby resources of this node and nothing else; the cluster is not involved."""
    standby = tuple(res for res in service.selected(options.choice) if res.spec.is_always_on)
    if not standby:
        return 0
    if service.is_frozen and not options.is_forced:
        service.log.error(f"{FROZEN}. {THAW_IT}")
        return _REFUSED
    here = options._replace(is_cluster=True)
    return _guarded(service, here, "startstandby", lambda: _start(service, here, standby))


def freeze(service: Service, options: ActionOptions) -> int:
    """Forbid agent and cluster to start or stop the service."""
    return _freeze(service, options, True)


def thaw(service: Service, options: ActionOptions) -> int:
    """Undo freeze."""
    return _freeze(service, options, False)


def syncnodes(service: Service, options: ActionOptions) -> int:
    """Send the data that the other nodes of the service need for a takeover."""
    return _synchronise(service, options, "nodes")


def syncdrp(service: Service, options: ActionOptions) -> int:
    """Send the data to the disaster recovery nodes."""
    return _synchronise(service, options, "drpnodes")


def syncall(service: Service, options: ActionOptions) -> int:
    """Send the data to all nodes."""
    return _synchronise(service, options, "nodes", "drpnodes")


def postsync(service: Service, options: ActionOptions) -> int:
    """Process a received service file.

    Does nothing more: every action creates the commands beside the file beforehand.
    """
    return 0


def stonith(service: Service, options: ActionOptions) -> int:
    """Fence the peer if its state is unknown; exit code 0 only if it is out or fenced."""
    if service.is_clustered and not options.is_cluster:
        service.log.error(SAFETY_NET)
        return _REFUSED
    from opensvc_openha.agent.actions.peer_fencing import fence_if_needed

    return fence_if_needed(service, os.environ)


def resource_monitor(service: Service, options: ActionOptions) -> int:
    """Check the monitored resources once, as the node daemon does periodically."""
    from opensvc_openha.agent.monitor.resource_monitor import monitor_service

    return monitor_service(service, service.cluster.noter(service.cluster_name or service.name))


def docker(service: Service, options: ActionOptions) -> int:
    """Run a docker command against the service's daemon, without lock or safety checks.

    The operator is in charge here.
    """
    from opensvc_openha.agent.docker.docker_daemon import DockerDaemon
    from opensvc_openha.agent.docker.passthrough import run_docker
    from opensvc_openha.agent.docker.settings import read_settings
    from opensvc_openha.agent.resources.container import DockerContainer

    containers = [res for res in service.resources if isinstance(res, DockerContainer)]
    engine = DockerDaemon(
        read_settings(service.file, service.var_dir), service.layout.var_dir, service.log
    )
    images = list(dict.fromkeys(container.image for container in containers))
    return run_docker(
        engine,
        service.log,
        options.docker_words,
        images,
        [container.name for container in containers],
    )


def _group_action(is_start: bool, groups: tuple[Group, ...], kind: str = "") -> Action:
    """Return an action that starts or stops the resources of some groups, in their order.

    ``kind`` limits it to one kind of resource.
    """

    def act(service: Service, options: ActionOptions) -> int:
        chosen = service.selected(options.choice)
        meant = tuple(
            res for res in chosen if res.spec.group in groups and kind in ("", res.spec.kind)
        )
        if not meant:
            service.log.info("nothing to do: the service has no such resource")
            return 0
        if is_start:
            return _guarded(service, options, "start", lambda: _start(service, options, meant))
        return _guarded(service, options, "stop", lambda: _stop(service, options, meant))

    return act


_WORDS = ("start", "stop")
_KINDS = {"vg": "disk.vg", "loop": "disk.loop", "pool": "disk.zpool"}

GROUP_ACTIONS: Mapping[str, Action] = {
    **{
        f"{word}{group.value}": _group_action(word == "start", (group,))
        for group in START_GROUPS
        for word in _WORDS
    },
    **{
        f"{word}{name}": _group_action(word == "start", (Group.DISK,), kind)
        for name, kind in _KINDS.items()
        for word in _WORDS
    },
    **{f"pr{word}": _group_action(word == "start", (Group.DISK,), RESERVATION) for word in _WORDS},
    "prstatus": prstatus,
}
"""Actions on a group of resources, such as startip and stopfs."""

ACTIONS: Mapping[str, Action] = {
    "boot": boot,
    "docker": docker,
    "freeze": freeze,
    "resource_monitor": resource_monitor,
    "restart": restart,
    "shutdown": shutdown,
    "start": start,
    "startstandby": startstandby,
    "stonith": stonith,
    "stop": stop,
    "switch": switch,
    "syncall": syncall,
    "syncdrp": syncdrp,
    "syncnodes": syncnodes,
    "thaw": thaw,
}
INTERNAL: Mapping[str, Action] = {"postsync": postsync}
"""Actions that nodes request from each other."""


def _is_driven(service: Service, options: ActionOptions) -> bool:
    """Return whether this action goes to the cluster.

    An action on selected resources is the operator's own local work.
    """
    return service.is_clustered and not options.is_cluster and options.choice.is_everything


def _drive(service: Service, options: ActionOptions, action: str) -> int:
    """Run an operator's action on a service that a cluster decides about."""
    from opensvc_openha.agent.actions.embedded_actions import EmbeddedActions, why_not_driven

    problem = why_not_driven(service)
    if problem and action in ("freeze", "thaw"):
        if not options.is_dry_run:
            write_frozen_flag(service, action == "freeze")
        done = "would be" if options.is_dry_run else "is"
        raise RefusedError(
            f"{action} {done} done for the agent of this node only, not in the cluster: {problem}"
        )
    if problem:
        service.log.error(SAFETY_NET)
        if service.cluster.is_installed:
            service.log.error(f"the cluster cannot be asked either: {problem}")
        return _REFUSED
    if (
        service.is_frozen
        and action not in ("freeze", "thaw")
        and not options.is_forced
        and not options.is_remote
    ):
        service.log.error(f"{FROZEN}. {THAW_IT}")
        return _REFUSED
    if action in ("stop", "switch") and not options.is_remote:
        _refuse_from_within(service, service.resources)
    if options.is_dry_run:
        print_lines(rehearse_cluster_action(service, action))
        return 0
    return EmbeddedActions(service, options.is_remote, options.to_node).run(
        action, options.wait_lock_s
    )


def _guarded(
    service: Service, options: ActionOptions, action: str, change: Callable[[], None]
) -> int:
    """Refuse an action that is not allowed now, else run it under the lock."""
    if service.is_clustered and not options.is_cluster and options.choice.is_everything:
        service.log.error(SAFETY_NET)
        return _REFUSED
    if service.is_frozen and service.is_clustered and options.is_cluster:
        # The cluster knows what it froze; a refusal here would leave a service that it can neither
        # start nor stop.
        service.log.warning(
            f"the service is frozen for the agent, but it is the cluster that asks: {action} is"
            " done"
        )
    elif service.is_frozen and not options.is_forced:
        service.log.error(f"{FROZEN}. {THAW_IT}")
        return _REFUSED
    for problem in ignored_keywords(service.file):
        service.log.warning(str(problem.error))
    for error in second_heartbeats(service.file, service.resources):
        service.log.warning(str(error))
    if action != "stop" and service.node not in service.file.all_nodes:
        nodes = ", ".join(service.file.all_nodes)
        raise RefusedError(
            f"this node, {service.node}, is none of the nodes of {service.name}, {nodes}: {action}"
            " refused"
        )
    if options.is_dry_run:
        change()
        return 0
    with interruptible(), action_lock(service.var_dir, action, options.wait_lock_s):
        change()
    return 0


def _start(
    service: Service,
    options: ActionOptions,
    resources: tuple[Resource, ...],
    is_stopped: bool = False,
) -> None:
    if not is_stopped:
        _refuse_beside_peer(service, options, resources, "start")
    if options.is_dry_run:
        print_lines(rehearse_start(service, resources, is_stopped))
        return
    has_rollback = options.has_rollback and service.file.default.value(schema.ROLLBACK)
    start_resources(service, resources, has_rollback)


def _refuse_beside_peer(
    service: Service, options: ActionOptions, resources: tuple[Resource, ...], action: str
) -> None:
    if not options.is_forced:
        from opensvc_openha.agent.service.start_guard import refuse_beside_peer

        refuse_beside_peer(service, resources, action)


def _stop(service: Service, options: ActionOptions, resources: tuple[Resource, ...]) -> None:
    _refuse_from_within(service, resources)
    if options.is_dry_run:
        print_lines(rehearse_stop(service, resources, options.is_forced))
        return
    stop_resources(service, resources, options.is_forced)


def _refuse_from_within(service: Service, resources: tuple[Resource, ...]) -> None:
    from opensvc_openha.agent.service.caller_location import refuse_from_within

    rids = {res.spec.rid for res in resources if not res.spec.is_left_alone}
    refuse_from_within(
        service.name, [section for section in service.file.sections if section.name in rids]
    )


def _synchronise(service: Service, options: ActionOptions, *targets: str) -> int:
    if options.is_dry_run:
        print_lines(
            rehearse_sync(
                service, resources_to_send(service, options.choice), targets, options.is_forced
            )
        )
        return 0
    return synchronise(service, options.choice, targets, options.is_forced, options.wait_lock_s)


def _freeze(service: Service, options: ActionOptions, is_frozen: bool) -> int:
    if _is_driven(service, options) and service.cluster.is_installed:
        return _drive(service, options, "freeze" if is_frozen else "thaw")
    if options.is_dry_run:
        print_lines(
            [
                f"{service.name}: dry run, would be {'frozen' if is_frozen else 'thawed'} for the"
                " agent of this node"
            ]
        )
    else:
        write_frozen_flag(service, is_frozen)
    return 0
