"""One installed OpenSVC agent, and what differs from one line of agents to the next."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

HOMES = ("opt/opensvc", "usr/share/opensvc")
"""Where an agent is installed: all below one directory, or spread as the distributions want it."""


@dataclass(frozen=True)
class Agent:
    """One installed agent.

    ``root`` is prefixed to the paths outside of its home; empty for the machine's own.

    ``is_gone``: the agent itself was removed, and only what this package put there is left.
    """

    line: AgentLine
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
        return (
            f"/usr/bin/{name}"
            if self.is_spread and os.path.exists(f"{self.root}/usr/bin/{name}")
            else in_home
        )


@dataclass(frozen=True)
class AgentLine:
    """What differs from one line of the agent to the next.

    ``files`` maps a path below the agent's home to the file shipped for it; of them, ``driver`` is
    the one that takes the place of a file of the agent, or stands alone. ``wrappers`` are the texts
    of the two scripts of a service.
    """

    name: str
    is_home: Callable[[str], bool]
    driver: str
    shared: str
    shipped: Mapping[str, str]
    wrappers: Callable[[Agent, str], Mapping[str, str]]
    probe: Callable[[Agent, str], list[str]]
    cache_line: Callable[[Agent], str]
    linked_command: str
    suffixes: tuple[str, ...]
    hook: Mapping[str, str]
    section: str = "hb"
    has_namespaces: bool = False

    @property
    def places_file(self) -> str:
        """Below the agent's home: where the driver finds the cluster."""
        return self.shared[: -len(".py")] + ".json"


def contains(path: str, text: str) -> bool:
    """True if the file is there and holds the text."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return text in file.read()
    except OSError:
        return False
