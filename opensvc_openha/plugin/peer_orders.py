"""The other node's part of an action of a real agent, over the peer link: both ends of it.

The order names the service as the cluster does, and the line of the agent that asks. The command
line is that of the agent installed on the node that is asked: what that agent's ssh would run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from opensvc_openha.errors import RefusedError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.peer_link.client import JobEnd, find_peer, new_job_id
from opensvc_openha.peer_link.protocol import AgentKind, OrderRequest
from opensvc_openha.plugin.agent_services import AgentService, read_services
from opensvc_openha.plugin.agents import find_agents
from opensvc_openha.plugin.installed_agent import Agent
from opensvc_openha.system.order_reason import given_reason

ACTIONS = ("start", "stop", "freeze", "thaw")
"""What an agent has the other one do: a switch is a stop of one node and a start of the other."""


def ask_peer(layout: Layout, service: str, action: str, on_line: Callable[[str], None]) -> JobEnd:
    """Have the other node's agent run its part of an action; raises as ``Peer.execute``."""
    peer = find_peer(layout)  # First: without a key there is no other reason for ssh to log.
    agent, _ = _find(find_agents(None), service)
    request = OrderRequest(
        new_job_id(),
        service,
        action,
        AgentKind.REAL,
        agent.line.name,
        order_reason=given_reason(),
    )
    return peer.execute(request, on_line)


def order_command(agents: Sequence[Agent], service: str, action: str, line: str) -> list[str]:
    """Return the command line of an order to this node's agent.

    Raises RefusedError if it would not be the one that the other node's agent would run by ssh.
    """
    if action not in ACTIONS:
        raise RefusedError(f"'{action} --remote' is nothing that an OpenSVC agent asks for")
    agent, found = _find(agents, service)
    if agent.line.name != line:
        raise RefusedError(
            f"the OpenSVC agent here is a {agent.line.name}, the one that asks"
            f" {f'is a {line}' if line else 'has no known version'}"
        )
    if agent.line.order is None:
        raise RefusedError(f"the OpenSVC agent {line} takes no orders for services of a cluster")
    if found.problem:
        raise RefusedError(found.problem)
    command = agent.service_command(found.svcname)
    if not os.path.isfile(command) or not os.access(command, os.X_OK):
        raise RefusedError(f"{command}: no command that can be run")
    return [command, *agent.line.order(action)]


def _find(agents: Sequence[Agent], service: str) -> tuple[Agent, AgentService]:
    """Return the one agent that has the service of that name in the cluster."""
    present = [agent for agent in agents if not agent.is_gone]
    if not present:
        raise RefusedError("no OpenSVC agent is installed here")
    found = [
        (agent, each)
        for agent in present
        for each in read_services(agent)
        if each.cluster_name == service
    ]
    if not found:
        raise RefusedError(f"no service of the OpenSVC agent here is {service} for the cluster")
    if len(found) > 1:
        named = " and ".join(each.path for _, each in found)
        raise RefusedError(f"{service} is the name of more than one service here: {named}")
    return found[0]
