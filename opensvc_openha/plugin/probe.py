"""Check the resources of a real agent's service on this node, whatever the cluster's state of it.

The node daemon calls `<svc>.cluster status` for it at its start, if the service may still run here.
"""

from __future__ import annotations

import json

from opensvc_openha.core.timing import PROBE_LIMIT_S
from opensvc_openha.plugin.agent_services import AgentService
from opensvc_openha.plugin.installed_agent import Agent
from opensvc_openha.system.bounded_program import ask_program

UNKNOWN = "undef"
_EXIT_CODES = {"up": 0, "down": 1, "n/a": 3}
_ANY_OTHER = 2


def avail_status(agent: Agent, svcname: str) -> tuple[str, int]:
    """Return the agent's status word and the exit code: 0 up, 1 down, 3 n/a, 2 anything else."""
    answer = ask_program(agent.line.probe(agent, svcname), PROBE_LIMIT_S, with_errors=False)
    if answer is None:
        return UNKNOWN, _ANY_OTHER
    word = _read_avail(answer[1])
    return word, _EXIT_CODES.get(word, _ANY_OTHER)


def find_blindness(agent: Agent, service: AgentService) -> str:
    """Return why the agent does not see the section that names the cluster; empty if it does.

    Relevant only with a hook, which not every interpreter loads.
    """
    if not agent.line.hook or service.problem or not service.section.startswith("hb"):
        return ""
    argv = agent.line.probe(agent, service.svcname)
    answer = ask_program(argv, PROBE_LIMIT_S, with_errors=False)
    found = None if answer is None else _read_object(answer[1])
    seen = None if found is None else found.get("resources")
    if isinstance(seen, dict) and service.section in seen:
        return ""
    return (
        f"{service.path}: the agent does not see [{service.section}], and would start the service"
        " on both nodes: its Python loads no usercustomize; write [app#hb] with type = openha"
        " instead"
    )


def _read_avail(text: str) -> str:
    found = _read_object(text)
    if found is not None and isinstance(found.get("avail"), str):
        return str(found["avail"])
    return UNKNOWN


def _read_object(text: str) -> dict[str, object] | None:
    """Parse the JSON object; the agents print other lines before it."""
    begin = text.find("{")
    try:
        found = json.loads(text[begin:]) if begin >= 0 else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
