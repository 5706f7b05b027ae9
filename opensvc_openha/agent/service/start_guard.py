"""Refuse to start resources on this node while the peer may run the service.

The cluster starts a service only where the peer is out. An operator's `start --rid fs#1` or
`restart --cluster` bypasses the cluster: it would check and mount a file system that the peer has
mounted. So this guard asks the node daemon. If no daemon answers, or the peer is not heard, the
operator's decision stands. Calls made by the daemon itself are not checked: it has decided already.
"""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.core.states import MAY_RUN, ServiceState
from opensvc_openha.errors import NotRunningError, RefusedError
from opensvc_openha.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from opensvc_openha.agent.resources.base import Resource
    from opensvc_openha.agent.service.loaded_service import Service


def refuse_beside_peer(service: Service, resources: Iterable[Resource], action: str) -> None:
    """Raise RefusedError if the peer's state forbids to start any of these resources now."""
    name = service.cluster_name
    if name is None or all(res.spec.is_always_on or res.spec.is_disabled for res in resources):
        return
    if service.cluster.is_daemons_call():
        return
    try:
        node = service.cluster.node_status_now()
    except NotRunningError:
        return
    # The daemon's own calls, on which a takeover waits, need neither the status nor its words.
    from opensvc_openha.core.status import PeerStanding

    known = node.service(name)
    if known is None or node.peer_standing is not PeerStanding.LIVE or name in node.own_only:
        return
    state = known.peer_state or ServiceState.UNKNOWN
    if state in MAY_RUN:
        raise RefusedError(
            f"{name} is {state.name} on the peer {node.peer}, which may use the same disks and"
            f" addresses: {action} refused; `switch` moves the service here, and --force does it"
            " all the same"
        )
