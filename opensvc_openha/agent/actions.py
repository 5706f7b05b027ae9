"""What the action words do to one service: start, stop, restart, boot, status, freeze, thaw, stonith.

Changes happen under the service's action lock. A start that fails or is interrupted takes back what it had begun,
the last first, and leaves alone what was up before.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Callable, Iterable, Mapping

from opensvc_openha.agent import fencing, render
from opensvc_openha.agent.action_lock import DEFAULT_WAIT_S, action_lock
from opensvc_openha.agent.interruption import interruptible, uninterrupted
from opensvc_openha.agent.resources.base import Resource
from opensvc_openha.agent.service import Service, in_start_order, in_stop_order, look, write_frozen_flag
from opensvc_openha.agent.status import ResourceStatus
from opensvc_openha.errors import ActionError, OpenhaError, SystemFault, UsageError

SAFETY_NET = (
    "this service is managed by a clusterware, thus direct service manipulation is disabled. "
    "the --cluster option circumvent this safety net."
)
FROZEN = "Abort action for frozen service"

_REFUSED = 1


@dataclass(frozen=True)
class ActionOptions:
    """What the operator asked for besides the action."""

    rids: "tuple[str, ...]" = ()
    is_cluster: bool = False
    is_forced: bool = False
    has_rollback: bool = True
    wait_lock_s: float = DEFAULT_WAIT_S
    output_format: str = ""


def perform(service: Service, action: str, options: ActionOptions) -> int:
    """Do one action; exit code. Why it failed is in the service's log and, with that, on stderr."""
    run = ACTIONS.get(action)
    words = action.replace("_", " ")
    if action in NOT_YET:
        raise ActionError(f"{words} is not handled by the embedded agent yet: nothing was done")
    if run is None:
        raise UsageError(f"{words} is no action of the embedded agent, expected one of {', '.join(shown_actions())}")
    try:
        return run(service, options)
    except UsageError:
        raise
    except OpenhaError as exc:
        service.log.error(str(exc))
        return exc.exit_code


def shown_actions() -> "list[str]":
    """Action words as the operator types them."""
    return [action.replace("_", " ") for action in ACTIONS]


def start(service: Service, options: ActionOptions) -> int:
    """Bring up the local resources."""
    return _guarded(service, options, "start", lambda: _start_resources(service, options))


def stop(service: Service, options: ActionOptions) -> int:
    """Bring down the local resources."""
    return _guarded(service, options, "stop", lambda: _stop_resources(service, options))


def restart(service: Service, options: ActionOptions) -> int:
    """Stop, then start, without letting another action in between."""

    def both() -> None:
        _refuse_unhandled(in_start_order(service.selected(options.rids)))
        _stop_resources(service, options)
        _start_resources(service, options)

    return _guarded(service, options, "restart", both)


def boot(service: Service, options: ActionOptions) -> int:
    """Start the service if this node is one of its autostart nodes and no cluster decides about it."""
    if service.is_clustered or not service.is_autostarted_here:
        return 0
    return start(service, options)


def status(service: Service, options: ActionOptions) -> int:
    """What the service is here, as a word and as exit code: 0 up, 1 down, 2 warn, 3 n/a. The cluster's word does not count."""
    avail = service.report().avail
    _write([avail.value])
    return avail.exit_code


def print_status(service: Service, options: ActionOptions) -> int:
    """The status tree, or JSON."""
    if options.output_format == "json":
        return json_status(service, options)
    _write(render.print_status_lines(service.report()))
    return 0


def json_status(service: Service, options: ActionOptions) -> int:
    """The status as JSON."""
    _write([render.json_status(service.report())])
    return 0


def print_config(service: Service, options: ActionOptions) -> int:
    """The service file."""
    sys.stdout.write(service.file.text if service.file.text.endswith("\n") else service.file.text + "\n")
    return 0


def freeze(service: Service, options: ActionOptions) -> int:
    """Let the agent refuse to start and stop the service."""
    write_frozen_flag(service, True)
    return 0


def thaw(service: Service, options: ActionOptions) -> int:
    """Undo freeze."""
    write_frozen_flag(service, False)
    return 0


def frozen(service: Service, options: ActionOptions) -> int:
    """Say whether it is frozen."""
    _write([str(service.is_frozen)])
    return 0


def stonith(service: Service, options: ActionOptions) -> int:
    """Fence the peer if its state cannot be known; 0 only if it is out or fenced."""
    if service.is_clustered and not options.is_cluster:
        service.log.error(SAFETY_NET)
        return _REFUSED
    return fencing.fence_if_needed(service, os.environ)


ACTIONS: Mapping[str, Callable[[Service, ActionOptions], int]] = {
    "boot": boot,
    "freeze": freeze,
    "frozen": frozen,
    "json_status": json_status,
    "print_config": print_config,
    "print_status": print_status,
    "restart": restart,
    "start": start,
    "status": status,
    "stonith": stonith,
    "stop": stop,
    "thaw": thaw,
}

NOT_YET = frozenset({"docker", "push", "resource_monitor", "switch", "sync_all", "sync_nodes", "syncnodes"})
"""Actions of the real agent whose absence should be told apart from a typing error."""


def _guarded(service: Service, options: ActionOptions, action: str, change: Callable[[], None]) -> int:
    """Refuse what must not be done now, else do it under the lock."""
    if service.is_clustered and not options.is_cluster:
        service.log.error(SAFETY_NET)
        return _REFUSED
    if service.is_frozen and not options.is_forced:
        service.log.error(FROZEN)
        return _REFUSED
    with interruptible(), action_lock(service.var_dir, action, options.wait_lock_s):
        change()
    return 0


def _start_resources(service: Service, options: ActionOptions) -> None:
    resources = in_start_order(service.selected(options.rids))
    _refuse_unhandled(resources)
    begun: "list[Resource]" = []
    try:
        for resource in resources:
            if look(resource).status is not ResourceStatus.UP:
                begun.append(resource)
            _run(service, resource, resource.start)
    except OpenhaError as exc:
        if begun and options.has_rollback:
            service.log.error(f"{exc}: rolling back")
            _roll_back(service, begun)
        raise


def _stop_resources(service: Service, options: ActionOptions) -> None:
    for resource in in_stop_order(service.selected(options.rids)):
        if resource.why_unhandled():
            service.log.warning(f"{resource.spec.rid} is left alone: {resource.why_unhandled()}")
            continue
        _run(service, resource, resource.stop)


def _roll_back(service: Service, begun: Iterable[Resource]) -> None:
    with uninterrupted():
        for resource in in_stop_order(begun):
            try:
                _checked(resource, resource.stop)
            except OpenhaError as exc:
                service.log.error(f"rollback: {exc}")


def _run(service: Service, resource: Resource, step: Callable[[], None]) -> None:
    """Run one step; an optional resource that fails does not end the action."""
    try:
        _checked(resource, step)
    except OpenhaError as exc:
        if not resource.spec.is_optional:
            raise
        service.log.warning(f"{exc}: goes on, for {resource.spec.rid} is optional")


def _checked(resource: Resource, step: Callable[[], None]) -> None:
    """Run one step; what the system refuses within becomes an error of ours, so that a rollback follows."""
    try:
        step()
    except OSError as exc:
        raise SystemFault(f"{resource.spec.rid}: {exc}") from exc


def _refuse_unhandled(resources: Iterable[Resource]) -> None:
    """Before anything is touched: a start that leaves a needed resource out must not end with 0."""
    missing = [res for res in resources if res.why_unhandled() and not res.spec.is_optional]
    if missing:
        reasons = "; ".join(f"{res.spec.rid}: {res.why_unhandled()}" for res in missing)
        raise ActionError(f"start refused: {reasons} (disable = true on a resource leaves it out)")


def _write(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
