"""Monitor the resources of a service that runs here under a heartbeat, and act on failures.

    not up twice in a row  ->  restarted, up to ``restart`` times
    still not up           ->  monitored: monitor_action; otherwise only logged

Nothing is done while the service is frozen, while another action runs, or unless the cluster's
state is STARTED. The monitor action moves the service away from this node, so it needs a standby
peer: without one, the working part of the service keeps running.
"""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Callable

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.host.commands import run_logged
from opensvc_openha.agent.host.reset import end_node
from opensvc_openha.agent.host.signals import interruptible
from opensvc_openha.agent.resources.base import Resource
from opensvc_openha.agent.service.action_lock import MONITOR, action_lock
from opensvc_openha.agent.service.loaded_service import Service, finding_of
from opensvc_openha.agent.service.ordering import in_display_order, in_start_order
from opensvc_openha.agent.service.runner import bring_back
from opensvc_openha.agent.values.resource_status import ResourceStatus
from opensvc_openha.core.events import BY_MONITOR, Command
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.errors import NotRunningError, RefusedError
from opensvc_openha.system.atomic_files import write_atomically
from opensvc_openha.system.clock import pause
from opensvc_openha.system.files import text_or_empty

Note = Callable[[str, str, bool], None]
"""Records in the history: word, reason, whether it is an alarm."""

_WELL = frozenset({ResourceStatus.UP, ResourceStatus.STDBY_UP, ResourceStatus.NA})
_REPORTED = "monitor.told"
_HISTORY_PAUSE_S = 1.0


class MonitorAction(enum.Enum):
    """Values of ``monitor_action``."""

    NONE = "none"
    FREEZESTOP = "freezestop"
    REBOOT = "reboot"
    CRASH = "crash"


def is_watched(resource: Resource) -> bool:
    """Return whether the monitor checks this resource."""
    spec = resource.spec
    return not spec.is_left_alone and (spec.is_monitored or spec.restarts > 0)


def monitor_service(service: Service, note: Note) -> int:
    """Check the monitored resources of a service once and act on failures; return the exit code.

    Any other action that needs the lock interrupts it.
    """
    watched = [res for res in service.resources if is_watched(res)]
    reason = why_not_now(service) if watched else "no resource has monitor = true or restart = N"
    if reason:
        service.log.info(f"nothing to monitor: {reason}")
        return 0
    if not _failing(watched):
        _forget_report(service)
        return 0
    try:
        with interruptible(), action_lock(service.var_dir, MONITOR, 0):
            if why_not_now(service):
                return 0
            failing = _failing(watched)
            # All is up: every resource has its full number of restarts again.
            left = failing if _reported(service) else _bring_back(service, failing, note)
    except RefusedError:
        return 0  # Another action runs: what is down now may be up when it ends.
    monitored = [res for res in left if res.spec.is_monitored]
    text = ", ".join(
        f"{res.spec.rid} is {finding_of(res).status.value}" for res in monitored or left
    )
    if not left:
        _forget_report(service)
    elif monitored:
        _act(service, text, note)
    else:
        _report_once(service, f"{text}; it is not monitored, so nothing follows", note)
    return 0


def why_not_now(service: Service) -> str:
    """Return why the monitor must not act on this service now; empty if it may."""
    if service.is_frozen:
        return "the service is frozen"
    if service.cluster_name is None:
        return "no cluster decides about the service"
    try:
        known = service.cluster.node_status_now().service(service.cluster_name)
    except NotRunningError as error:
        return str(error)
    state = known.own_state if known is not None else None
    return (
        ""
        if state is ServiceState.STARTED
        else f"its state here is {state.name if state else 'not known'}, not STARTED"
    )


def _failing(resources: list[Resource]) -> list[Resource]:
    return [res for res in resources if finding_of(res).status not in _WELL]


def _bring_back(service: Service, failing: list[Resource], note: Note) -> list[Resource]:
    """Restart failed resources, data before what uses it; return those that stay down."""
    others = [res for res in failing if res not in in_start_order(failing)]
    left = []
    for resource in [*in_start_order(failing), *in_display_order(others)]:
        found = finding_of(resource).status
        if found in _WELL:
            continue  # It came up together with an earlier one.
        rid = resource.spec.rid
        service.log.info(f"monitored resource {rid} is in state {found.value}")
        if resource.spec.restarts and bring_back(service, resource):
            note("RESTARTED", f"{rid} was {found.value}, and is up again", False)
        else:
            left.append(resource)
    return left


def _act(service: Service, failing: str, note: Note) -> None:
    action = MonitorAction(service.file.default.value(schema.MONITOR_ACTION))
    if action is MonitorAction.NONE:
        _report_once(service, f"{failing}; monitor_action is not set", note)
        return
    obstacle = _why_nobody_takes_over(service)
    if obstacle:
        _report_once(service, f"{failing}; {action.value} is not done, for {obstacle}", note)
        return
    service.log.info(f"start monitor action '{action.value}'")
    note(action.value.upper(), failing, True)
    _forget_report(service)
    command = service.file.default.value(schema.PRE_MONITOR_ACTION)
    if command:
        run_logged(service.log, ["/bin/sh", "-c", command])
    if action is MonitorAction.FREEZESTOP:
        _freeze_stop(service)
        return
    # The history record of it must be on disk first.
    pause(_HISTORY_PAUSE_S)
    end_node(is_crash=action is MonitorAction.CRASH)


def _freeze_stop(service: Service) -> None:
    assert service.cluster_name is not None
    for answer in service.cluster.act(Command.FREEZE_STOP, service.cluster_name, BY_MONITOR):
        (service.log.info if answer.is_ok else service.log.error)(answer.line)


def _why_nobody_takes_over(service: Service) -> str:
    try:
        node = service.cluster.node_status_now()
    except NotRunningError as error:
        return str(error)
    if node.peer_standing is not PeerStanding.LIVE:
        return f"the peer {node.peer} is {node.peer_standing.value}"
    known = node.service(service.cluster_name or "")
    peer: ServiceState | None = known.peer_state if known is not None else None
    if peer is not ServiceState.STOPPED:
        return (
            f"the service is {peer.name if peer else 'not known'} on the peer {node.peer}, which"
            " would not take it over"
        )
    return ""


def _report_once(service: Service, text: str, note: Note) -> None:
    """Report a lasting alarm when it begins and when its text changes."""
    if _reported(service) == text:
        return
    path = os.path.join(service.var_dir, _REPORTED)
    service.log.error(text)
    note("FAILED", text, True)
    try:
        write_atomically(path, text.encode(), is_durable=False)
    except OSError as error:
        service.log.warning(f"cannot write {path}, so this may be reported again: {error.strerror}")


def _reported(service: Service) -> str:
    return text_or_empty(os.path.join(service.var_dir, _REPORTED))


def _forget_report(service: Service) -> None:
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(service.var_dir, _REPORTED))
