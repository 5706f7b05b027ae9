"""What every resource driver offers, and what it is given.

A driver module holds one class per kind of resource and a ``build`` function; ``registry`` names them. ``status``
only looks. ``start`` and ``stop`` are called whatever the state: they do nothing where nothing is to be done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Protocol

from opensvc_openha.agent.action_log import ActionLog
from opensvc_openha.agent.hb_status import ClusterView
from opensvc_openha.agent.service_file import Section
from opensvc_openha.agent.status import Finding, Group
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.layout import AgentLayout


@dataclass(frozen=True)
class Surroundings:
    """What drivers may know besides their section: whose resource, on which node, where files are, how to log."""

    svcname: str
    node: str
    layout: AgentLayout
    log: ActionLog
    cluster: ClusterView


@dataclass(frozen=True)
class ResourceSpec:
    """What all resources have in common."""

    rid: str
    group: Group
    label: str
    subset: str = ""
    is_disabled: bool = False
    is_optional: bool = False
    is_monitored: bool = False


class Resource(Protocol):
    """One resource of one service."""

    @property
    def spec(self) -> ResourceSpec:
        """Name, group, label and flags."""

    @property
    def start_rank(self) -> "tuple[int, str]":
        """Place among the resources of its group and subset at start, the lowest goes first."""

    @property
    def stop_rank(self) -> "tuple[int, str]":
        """Place at stop, the highest goes first."""

    def status(self) -> Finding:
        """Look at the resource."""

    def start(self) -> None:
        """Bring it up; ActionError or SystemFault if that fails."""

    def stop(self) -> None:
        """Bring it down; ActionError or SystemFault if that fails."""

    def why_unhandled(self) -> str:
        """Reason why the embedded agent cannot start it, or an empty text."""


Build = Callable[[Section, Surroundings], Resource]


def make_spec(section: Section, group: Group, label: str, node: str) -> ResourceSpec:
    """Common part of a resource from the keywords that all sections know."""
    return ResourceSpec(
        rid=section.name,
        group=group,
        label=label,
        subset=section.text("subset"),
        is_disabled=_flag(section, "disable", node),
        is_optional=_flag(section, "optional", node),
        is_monitored=_flag(section, "monitor", node),
    )


def index_of(section: Section) -> int:
    """Number in the section's name; resources without one come after those that have one."""
    index = section.name.partition("#")[2]
    if not index:
        raise ConfigError(f"[{section.name}] has no number, expected [{section.group}#1]", section.path, section.line)
    return int(index) if index.isdigit() and len(index) < 10 else 1_000_000_000


def _flag(section: Section, keyword: str, node: str) -> bool:
    return section.boolean(keyword) or node in (word.lower() for word in section.words(f"{keyword}_on"))
