"""Find the OpenSVC agents of this machine, their lines and the places of their files.

A line of the agent is one module here (`agent_1x`, `agent_2_1`) and one driver file in `resources`;
LINES is the one list.
"""

from __future__ import annotations

import json
import os

from opensvc_openha.plugin import agent_1x, agent_2_1
from opensvc_openha.plugin.installed_agent import HOMES, Agent, AgentLine


def find_agents(directory: str | None) -> tuple[Agent, ...]:
    """Return the agents below a directory: an agent's home, or one that stands for /.

    Without a directory: this machine's agents.
    """
    lines = (*agent_1x.LINES, agent_2_1.LINE)
    root = os.path.abspath(directory).rstrip("/") if directory else ""
    places = [(root, "")] if root else []
    for name in HOMES:
        if root.endswith(f"/{name}"):
            places = [(root, root[: -len(name) - 1])]
    places += [(f"{root}/{name}", root) for name in HOMES]
    found = []
    for home, prefix in places:
        line = next((line for line in lines if line.is_home(home)), None)
        left = _line_left_behind(home, lines)
        if line is not None:
            found.append(Agent(line, home, prefix))
        elif left is not None:
            found.append(Agent(left, home, prefix, is_gone=True))
    return tuple(found)


def _line_left_behind(home: str, lines: tuple[AgentLine, ...]) -> AgentLine | None:
    """Return the line of a removed agent, by the files that an installation of the driver left."""
    here = [line for line in lines if os.path.exists(f"{home}/{line.places_file}")]
    if not here:
        return None
    try:
        with open(f"{home}/{here[0].places_file}", encoding="utf-8") as file:
            name = json.load(file).get("line")
    except (OSError, ValueError, AttributeError):
        name = None
    return next((line for line in here if line.name == name), here[0])
