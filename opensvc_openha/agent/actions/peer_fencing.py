"""The check-up before a takeover: decide whether the peer must be fenced, and run the fencing.

The node daemon calls it as check-up script, with its knowledge of the peer in the environment;
called by hand, it asks the daemon.

    standing   peer's state    then
    silent     any             fence, see ``fence_plan``; return its exit code
    live/left  is out          nothing to do, 0
    any other                  refuse, 1: a live peer is not fenced, and it is not out
    not known                  fence
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from opensvc_openha.agent.resources.fence_plan import (
    FenceStep,
    carry_out,
    outline,
    plan_time_s,
    read_power,
)
from opensvc_openha.agent.resources.stonith import Fence
from opensvc_openha.agent.service.loaded_service import Service
from opensvc_openha.core.states import PEER_OUT, ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding
from opensvc_openha.errors import NotRunningError
from opensvc_openha.fence_devices.power_readings import Power

STATE_VARIABLE = "OPENHA_PEER_STATE"
STANDING_VARIABLE = "OPENHA_PEER_STANDING"


class FencingVerdict(enum.Enum):
    """What to do before the service may start here."""

    FENCE = "fence"
    PEER_IS_OUT = "peer is out"
    REFUSE = "refuse"


@dataclass(frozen=True)
class PeerKnowledge:
    """Known facts about the peer; None for an unknown one."""

    standing: PeerStanding | None
    state: ServiceState | None

    @classmethod
    def of(cls, node: NodeStatus, service: str) -> PeerKnowledge:
        """Return what a daemon's status holds of the peer, for one service of the cluster."""
        known = node.service(service)
        return cls(node.peer_standing, known.peer_state if known else None)

    def __str__(self) -> str:
        standing = self.standing.value if self.standing else "not known"
        state = self.state.name if self.state else "not known"
        return f"peer is {standing}, its state is {state}"


def decide(peer: PeerKnowledge) -> FencingVerdict:
    """Apply the table in the module's docstring."""
    if peer.standing is None or peer.standing is PeerStanding.SILENT:
        return FencingVerdict.FENCE
    if peer.standing in (PeerStanding.LIVE, PeerStanding.DEPARTED) and peer.state in PEER_OUT:
        return FencingVerdict.PEER_IS_OUT
    return FencingVerdict.REFUSE


def fence_if_needed(service: Service, env: Mapping[str, str]) -> int:
    """Run the check-up of one service; return 0 only if the peer is out or was fenced."""
    peer = knowledge_of(env) or _ask_daemon(service)
    verdict = decide(peer)
    if verdict is FencingVerdict.PEER_IS_OUT:
        service.log.info(f"no fencing needed: {peer}")
        return 0
    if verdict is FencingVerdict.REFUSE:
        service.log.error(f"not fencing and no start: {peer}")
        return 1
    return _fence(service, str(peer), env)


def knowledge_of(env: Mapping[str, str]) -> PeerKnowledge | None:
    """Read the knowledge of the peer from the environment; None if it holds nothing usable."""
    try:
        standing = PeerStanding(env.get(STANDING_VARIABLE, "").lower())
    except ValueError:
        return None
    return PeerKnowledge(
        standing, ServiceState.__members__.get(env.get(STATE_VARIABLE, "").upper())
    )


def _ask_daemon(service: Service) -> PeerKnowledge:
    try:
        node = service.cluster.node_status()
    except NotRunningError as error:
        service.log.warning(f"the peer's state cannot be determined: {error}")
        return PeerKnowledge(None, None)
    return PeerKnowledge.of(node, service.cluster_name or service.name)


def _fence(service: Service, why: str, env: Mapping[str, str]) -> int:
    steps = _steps(service)
    if not steps:
        service.log.error(f"{why}, and no [stonith#N] section defines how to fence it: no start")
        return 1
    service.log.info(f"{why}: fencing with {outline(steps)}")
    return carry_out(steps, plan_time_s(env), service.log).exit_code


def power_of_peer(service: Service, env: Mapping[str, str]) -> Power:
    """Return the peer's power state as the fencing devices of a service report it."""
    steps = _steps(service)
    if not steps:
        sys.stderr.write("no [stonith#N] section defines how to ask\n")
    return read_power(steps, plan_time_s(env), sys.stderr.write)


def _steps(service: Service) -> list[FenceStep]:
    return [
        res.step for res in service.resources if isinstance(res, Fence) and not res.spec.is_disabled
    ]
