"""A start of resources on this node while the peer may run the service: refused, however it was
asked for.

The cluster starts a service where the peer is out. A person's `start --rid fs#1` or `restart
--cluster` asks nobody: it would check and mount a file system that the peer has mounted. So the
node daemon is asked; where none answers, or the peer is not heard, the person knows better. What
the daemon itself calls it has decided already.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from opensvc_openha.core.states import MAY_RUN, ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.errors import NotRunningError, RefusedError

if TYPE_CHECKING:
    from opensvc_openha.agent.resources.base import Resource
    from opensvc_openha.agent.service.service import Service


def refuse_beside_peer(service: Service, resources: Iterable[Resource], action: str) -> None:
    """Raise RefusedError if any of these resources must not be started now for what the peer
    does.
    """
    name = service.cluster_name
    if name is None or all(res.spec.is_always_on or res.spec.is_disabled for res in resources):
        return
    if service.cluster.is_daemons_call():
        return
    try:
        node = service.cluster.node_status_now()
    except NotRunningError:
        return
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
