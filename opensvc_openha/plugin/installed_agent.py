"""One installed OpenSVC agent, and the differences between the lines of agents."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from opensvc_openha.plugin.openha_driver import MARK
from opensvc_openha.system.files import text_or_empty

HOMES = ("opt/opensvc", "usr/share/opensvc")
"""Homes of an agent: all below one directory, or spread as distributions require."""


@dataclass(frozen=True)
class Agent:
    """One installed agent.

    ``root`` is prefixed to the paths outside of its home; empty for the machine's own.

    ``is_gone``: the agent itself was removed, and only files of this package are left.
    """

    line: AgentLine
    home: str
    root: str = ""
    is_gone: bool = False

    @property
    def is_spread(self) -> bool:
        """True if configuration is in /etc and data in /var; False if all is below the home."""
        return self.home == f"{self.root}/{HOMES[1]}"

    @property
    def etc_dir(self) -> str:
        """Directory of service files and of the commands named after services."""
        return f"{self.root}/etc/opensvc" if self.is_spread else f"{self.home}/etc"

    @property
    def var_dir(self) -> str:
        """Directory of the agent's data of each service."""
        return f"{self.root}/var/lib/opensvc" if self.is_spread else f"{self.home}/var"

    @property
    def has_hook(self) -> bool:
        """True if the start-up hook of the 2.1 is installed."""
        return any(is_ours(f"{self.home}/{name}") for name in self.line.hook)

    @property
    def has_driver(self) -> bool:
        """True if the agent loads this package's driver."""
        return (
            not self.is_gone
            and is_ours(f"{self.home}/{self.line.driver}")
            and is_ours(f"{self.home}/{self.line.shared}")
        )

    def service_command(self, svcname: str) -> str:
        """Return the path of the command named after a service, which agents call by ssh."""
        return f"{self.etc_dir}/{svcname}"

    def command(self, name: str) -> str:
        """Return the path of one of the agent's commands."""
        in_home = f"{self.home}/bin/{name}"
        return (
            f"/usr/bin/{name}"
            if self.is_spread and os.path.exists(f"{self.root}/usr/bin/{name}")
            else in_home
        )


@dataclass(frozen=True)
class AgentLine:
    """Properties of one line of the agent.

    ``files`` maps a path below the agent's home to the file shipped for it; ``driver`` is the one
    of them that replaces a file of the agent, or stands alone. ``wrappers`` are the texts of the
    two scripts of a service.
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
    order: Callable[[str], list[str]] | None = None
    """The words, after the command named after a service, by which the agents of this line have the
    other node's agent do its part of an action; None if the line asks no driver for actions."""
    section: str = "hb"
    has_namespaces: bool = False
    stock_asks_path: bool = False
    """Its own driver takes the newer layout for granted where `openha` is on the PATH."""

    @property
    def places_file(self) -> str:
        """Path, below the agent's home, of the file that gives the driver the cluster's paths."""
        return self.shared[: -len(".py")] + ".json"


def is_ours(path: str) -> bool:
    """Return whether this package wrote the file."""
    return MARK in text_or_empty(path, 300)


def contains(path: str, text: str) -> bool:
    """Return whether the file exists and contains the text."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return text in file.read()
    except OSError:
        return False
