"""The sync actions of one service (syncnodes, syncdrp, syncall) and postsync on a receiving node.

They have a lock of their own: a long copy must not block the start or stop of the service.
"""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.agent.host.signals import interruptible
from opensvc_openha.agent.host.ssh import REMOTE_USER, agent_command, run_on, why_unreachable
from opensvc_openha.agent.resources.sync import IMPLICIT, Rsync
from opensvc_openha.agent.service.action_lock import action_lock
from opensvc_openha.agent.service.loaded_service import ResourceSelector, Service
from opensvc_openha.agent.service.runner import with_triggers
from opensvc_openha.errors import OpenhaError

_POST_SYNC_TIMEOUT_S = 120.0
_POST_SYNC_WAIT_S = 3600


def resources_to_send(service: Service, choice: ResourceSelector) -> list[Rsync]:
    """Return the selected synchronisations that are not disabled."""
    return [
        res
        for res in service.selected(choice)
        if isinstance(res, Rsync) and not res.spec.is_left_alone
    ]


def synchronise(
    service: Service,
    choice: ResourceSelector,
    targets: Iterable[str],
    is_forced: bool,
    wait_lock_s: float,
) -> int:
    """Send all data that goes to these targets; return the exit code.

    The failure of one resource does not prevent the others from being sent.
    """
    resources = resources_to_send(service, choice)
    if not resources:
        service.log.info(
            "nothing to synchronise: the service has no other node, or no sync that is not disabled"
        )
        return 0
    updated: set[str] = set()
    problems: list[OpenhaError] = []
    with interruptible(), action_lock(service.var_dir, "sync", wait_lock_s, "sync.lock"):
        for target in targets:
            for resource in resources:
                try:
                    sent = _send(service, resource, target, is_forced)
                    updated.update(sent if resource.spec.rid == IMPLICIT else ())
                except OpenhaError as error:
                    service.log.error(str(error))
                    problems += [] if resource.spec.is_optional else [error]
        for node in sorted(updated):
            _post_sync(service, node)
    return problems[0].exit_code if problems else 0


def _send(service: Service, resource: Rsync, target: str, is_forced: bool) -> tuple[str, ...]:
    sent: list[str] = []
    action = "syncnodes" if target == "nodes" else "syncdrp"
    with_triggers(service, resource, action, lambda: sent.extend(resource.send(target, is_forced)))
    return tuple(sent)


def _post_sync(service: Service, node: str) -> None:
    """Run ``postsync`` on the node: it creates the commands for the service file it received."""
    command = agent_command(
        service.layout, service.name, ["--waitlock", str(_POST_SYNC_WAIT_S), "postsync"]
    )
    service.log.info(f"exec '{' '.join(command)}' on node {node}")
    result = run_on(node, command, service.log, _POST_SYNC_TIMEOUT_S)
    if result.exit_code != 0:
        reason = why_unreachable(node, result) or f"{REMOTE_USER}@{node}: postsync {result.verdict}"
        service.log.warning(
            f"{reason}: run svcmon once on {node}, so that it makes the commands of {service.name}"
        )
