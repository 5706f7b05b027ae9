"""What every resource driver offers, and what it is given.

A driver module holds one class per kind of resource, a ``build`` function, and ``DRIVER``, which
names them and the keywords they know; ``registry`` lists the drivers. ``status`` only looks.
``start`` and ``stop`` are called whatever the state: they do nothing where nothing is to be done.
Order, subsets, triggers, standby resources, optional ones and rollback are not a driver's business:
see ``sequence`` and ``runner``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from opensvc_openha.agent.config.keywords import COMMON, TRIGGERS, Keyword, hint
from opensvc_openha.agent.config.service_file import Section, ServiceFile
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.agent.values.status import Finding, Group, ResourceStatus
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.layout import AgentLayout

if TYPE_CHECKING:
    from opensvc_openha.agent.docker.engine import Engine
    from opensvc_openha.agent.host.lvm import AllVolumeGroups

NO_ACTION_TAG = "noaction"
_NUMBER_MAX = 1_000_000_000


class ServiceView:
    """What a resource may ask about the rest of its service.

    It can be asked once all resources are built.
    """

    def __init__(self) -> None:
        self._ask: Callable[[], ResourceStatus] = lambda: ResourceStatus.UNDEF
        self._answer: ResourceStatus | None = None

    def answer_with(self, ask: Callable[[], ResourceStatus]) -> None:
        """Find the answer this way when it is needed."""
        self._ask = ask
        self._answer = None

    def remember(self, answer: ResourceStatus) -> None:
        """The answer, where it is known already."""
        self._answer = answer

    def data_status(self) -> ResourceStatus:
        """Merged status of what holds the service's data and addresses: all but its applications,
        syncs and heartbeats.
        """
        return self._ask() if self._answer is None else self._answer


@dataclass(frozen=True)
class DriverContext:
    """What drivers may know besides their section: whose resource, on which node, where files are,
    how to log.
    """

    svcname: str
    node: str
    layout: AgentLayout
    log: ActionLog
    cluster: ClusterView
    file: ServiceFile
    view: ServiceView = field(default_factory=ServiceView)
    volume_groups: AllVolumeGroups | None = None
    """Where many services are looked at, what LVM said for all of them; else it is asked."""

    @property
    def var_dir(self) -> str:
        """Run-time data of the service."""
        return self.layout.service_var_dir(self.svcname)

    @cached_property
    def sees_all(self) -> bool:
        """May this user look at everything? root, and the user to whom the agent's run-time data
        belong, may.
        """
        if os.geteuid() == 0:
            return True
        try:
            return os.stat(self.layout.var_dir).st_uid == os.geteuid()
        except OSError:
            return False

    @cached_property
    def docker(self) -> Engine:
        """The docker daemon that all containers of the service share.

        ConfigError where it is not configured.
        """
        from opensvc_openha.agent.docker.engine import Engine
        from opensvc_openha.agent.docker.settings import read_settings

        return Engine(read_settings(self.file, self.var_dir), self.layout.var_dir, self.log)


@dataclass(frozen=True)
class ResourceSpec:
    """What all resources have in common.

    ``kind`` is the group and type that subset sections name: container.docker.
    """

    rid: str
    group: Group
    kind: str
    label: str
    subset: str = ""
    tags: frozenset[str] = frozenset()
    is_disabled: bool = False
    is_optional: bool = False
    is_monitored: bool = False
    is_always_on: bool = False
    restarts: int = 0
    triggers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_left_alone(self) -> bool:
        """Is it only shown, never started nor stopped?"""
        return self.is_disabled or NO_ACTION_TAG in self.tags


class Resource(Protocol):
    """One resource of one service."""

    @property
    def spec(self) -> ResourceSpec:
        """Name, group, label and flags."""

    @property
    def start_rank(self) -> tuple[int, str]:
        """Place among the resources of its group and subset at start, the lowest goes first."""

    @property
    def stop_rank(self) -> tuple[int, str]:
        """Place at stop, the highest goes first."""

    def environment(self) -> Mapping[str, str]:
        """What its triggers find in their environment besides the names of service, node and
        resource.
        """

    def status(self) -> Finding:
        """Look at the resource."""

    def start(self) -> None:
        """Bring it up; ActionError or SystemFault if that fails.

        May run in a process of its own.
        """

    def stop(self) -> None:
        """Bring it down; ActionError or SystemFault if that fails.

        May run in a process of its own.
        """

    def roll_back(self) -> None:
        """Take back a start of this action, also one that failed or was interrupted half way."""

    def why_unhandled(self) -> str:
        """Reason why the embedded agent cannot start it, or an empty text."""


class LocalResource:
    """What most resources do alike; a driver's class adds status, start and stop."""

    def __init__(
        self, section: Section, around: DriverContext, group: Group, kind: str, label: str
    ) -> None:
        self.spec = make_spec(section, around, group, kind, label)
        self.start_rank: tuple[int, str] = (index_of(section), section.name)
        self.stop_rank: tuple[int, str] = self.start_rank
        self._log = around.log.of(section.name)
        self._sees_all = around.sees_all

    def environment(self) -> Mapping[str, str]:
        """Nothing of its own."""
        return {}

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to stop."""

    def roll_back(self) -> None:
        """As a stop."""
        self.stop()

    def why_unhandled(self) -> str:
        """Handled."""
        return ""


Build = Callable[[Section, DriverContext], Resource]


@dataclass(frozen=True)
class Driver:
    """One group of resources.

    ``keywords`` has one entry per type; a group without types has one, for the empty text.
    """

    build: Build
    keywords: Mapping[str, tuple[Keyword, ...]]
    default_type: str = ""
    shown_types: frozenset[str] = frozenset()
    """Types of the real agent that are shown, but neither started nor stopped."""
    is_shown_only: bool = False
    """Is no type of this group handled?"""

    def keywords_of(self, section: Section) -> tuple[Keyword, ...] | None:
        """Keywords of this section, or None if they are not known here.

        ConfigError for a type nobody knows.
        """
        if self.is_shown_only:
            return None
        word = section.text("type", self.default_type).lower()
        if "" in self.keywords:
            word = ""
        if word in self.keywords:
            return (*self.keywords[word], Keyword("type"), *COMMON)
        if word in self.shown_types:
            return None
        expected = f"expected one of {', '.join(sorted(self.keywords))}"
        if not word:
            raise section.error("type", f"is missing, {expected}")
        raise section.error(
            "type", f"is {section.text('type')!r}, {expected}{hint(section.text('type'))}"
        )


def make_spec(
    section: Section, around: DriverContext, group: Group, kind: str, label: str
) -> ResourceSpec:
    """Common part of a resource from the keywords that all sections know."""
    return ResourceSpec(
        rid=section.name,
        group=group,
        kind=kind,
        label=label,
        subset=section.text("subset"),
        tags=frozenset(section.words("tags")),
        is_disabled=_flag(section, "disable", around.node),
        is_optional=_flag(section, "optional", around.node),
        is_monitored=_flag(section, "monitor", around.node),
        is_always_on=_is_always_on(section, around),
        restarts=section.integer("restart", 0),
        triggers={trigger: section.text(trigger) for trigger in TRIGGERS if section.text(trigger)},
    )


def index_of(section: Section) -> int:
    """Number in the section's name.

    One without a number, as agents let it be, comes first, one with a word last.
    """
    _, separator, index = section.name.partition("#")
    if not separator:
        return 0
    if not index:
        raise ConfigError(
            f"[{section.name}] has no number, expected [{section.group}#1]",
            section.path,
            section.line,
        )
    return int(index) if index.isdigit() and len(index) < 10 else _NUMBER_MAX


def _flag(section: Section, keyword: str, node: str) -> bool:
    return section.boolean(keyword) or section.names_node(f"{keyword}_on", node)


def _is_always_on(section: Section, around: DriverContext) -> bool:
    words = {word.lower() for word in section.words("always_on")}
    file = around.file
    lists = (("nodes", file.nodes), ("drpnodes", file.drp_nodes))
    return any(
        word in words and around.node in nodes for word, nodes in lists
    ) or section.names_node("always_on", around.node)
