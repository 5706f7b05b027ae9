"""Which OpenSVC agents are on this machine, of which line, and where each keeps its files.

A line of the agent is one module here (`agent_1x`, `agent_2_1`) and one driver file in `resources`; LINES is the one list.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Callable, Mapping, Optional

HOMES = ("opt/opensvc", "usr/share/opensvc")
"""Where an agent is installed: all below one directory, or spread as the distributions want it."""


@dataclass(frozen=True)
class Agent:
    """One installed agent. ``root`` is prefixed to the paths outside of its home; empty for the machine's own.

    ``is_gone``: the agent itself was removed, and only what this package put there is left.
    """

    line: "AgentLine"
    home: str
    root: str = ""
    is_gone: bool = False

    @property
    def is_spread(self) -> bool:
        """Configuration in /etc, data in /var; else all below the home."""
        return self.home == f"{self.root}/{HOMES[1]}"

    @property
    def etc_dir(self) -> str:
        """Service files, and the commands named after services."""
        return f"{self.root}/etc/opensvc" if self.is_spread else f"{self.home}/etc"

    @property
    def var_dir(self) -> str:
        """What the agent keeps for each service."""
        return f"{self.root}/var/lib/opensvc" if self.is_spread else f"{self.home}/var"

    def command(self, name: str) -> str:
        """One of the agent's commands."""
        in_home = f"{self.home}/bin/{name}"
        return f"/usr/bin/{name}" if self.is_spread and os.path.exists(f"{self.root}/usr/bin/{name}") else in_home


@dataclass(frozen=True)
class AgentLine:
    """What differs from one line of the agent to the next.

    ``files`` maps a path below the agent's home to the file shipped for it; of them, ``driver`` is the one that takes
    the place of a file of the agent, or stands alone. ``wrappers`` are the texts of the two scripts of a service.
    """

    name: str
    is_home: Callable[[str], bool]
    driver: str
    shared: str
    shipped: Mapping[str, str]
    wrappers: Callable[[Agent, str], Mapping[str, str]]
    probe: Callable[[Agent, str], "list[str]"]
    cache_line: Callable[[Agent], str]
    linked_command: str
    suffixes: "tuple[str, ...]"
    hook: Mapping[str, str]
    section: str = "hb"
    has_namespaces: bool = False

    @property
    def places_file(self) -> str:
        """Below the agent's home: where the driver finds the cluster."""
        return self.shared[: -len(".py")] + ".json"


def find_agents(directory: Optional[str]) -> "tuple[Agent, ...]":
    """The agents below a directory: the agent's own home, or one that stands for /; without one, this machine's."""
    from opensvc_openha.plugin import agent_1x, agent_2_1

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


def _line_left_behind(home: str, lines: "tuple[AgentLine, ...]") -> "Optional[AgentLine]":
    """The line of an agent that is gone, by the files that an installation of the driver left."""
    here = [line for line in lines if os.path.exists(f"{home}/{line.places_file}")]
    if not here:
        return None
    try:
        with open(f"{home}/{here[0].places_file}", encoding="utf-8") as file:
            name = json.load(file).get("line")
    except (OSError, ValueError, AttributeError):
        name = None
    return next((line for line in here if line.name == name), here[0])


def contains(path: str, text: str) -> bool:
    """True if the file is there and holds the text."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return text in file.read()
    except OSError:
        return False
