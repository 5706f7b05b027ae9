"""Interface of the resource drivers, and the context they get.

A driver module has the name of its kind of section, and a function ``build``; keywords are declared
in ``config.schema`` and checked before ``build`` is called. ``status`` has no side effects.
``start`` and ``stop`` are called in any state: they do nothing if there is nothing to do. Order,
subsets, triggers, standby resources, optional ones and rollback are handled elsewhere: see
``ordering`` and ``runner``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from types import MappingProxyType

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.keywords import Keyword
from opensvc_openha.agent.config.service_file import Section, ServiceFile
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.agent.values.resource_status import Finding, Group, ResourceStatus
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import AgentLayout
from opensvc_openha.hints import TYPE_CHECKING, Protocol, TypeVar
from opensvc_openha.named_tuples import NamedTuple

if TYPE_CHECKING:
    from opensvc_openha.agent.docker.docker_daemon import DockerDaemon
    from opensvc_openha.agent.host.lvm import AllVolumeGroups
    from opensvc_openha.agent.values.readiness import Remark, Surroundings

_Error = TypeVar("_Error", bound=OpenhaError)
NO_ACTION_TAG = "noaction"
_NUMBER_MAX = 1_000_000_000


class ServiceView:
    """What a resource may ask about the rest of its service, once all resources are built."""

    def __init__(self) -> None:
        self._ask: Callable[[], ResourceStatus] = lambda: ResourceStatus.UNDEF
        self._answer: ResourceStatus | None = None
        self.is_forced = False
        """The operator gave --force with the action."""
        self.is_cluster = False
        """The action is the cluster's: --cluster."""

    def answer_with(self, ask: Callable[[], ResourceStatus]) -> None:
        """Set the function that computes the answer on demand."""
        self._ask = ask
        self._answer = None

    def remember(self, answer: ResourceStatus) -> None:
        """Set an answer that is known already."""
        self._answer = answer

    def data_status(self) -> ResourceStatus:
        """Return the merged status of the resources that hold the service's data and addresses.

        These are all but its applications, syncs and heartbeats.
        """
        return self._ask() if self._answer is None else self._answer


class DriverContext:
    """What drivers get besides their section: service, node, directories, log."""

    def __init__(
        self,
        svcname: str,
        node: str,
        layout: AgentLayout,
        log: ActionLog,
        cluster: ClusterView,
        file: ServiceFile,
        view: ServiceView | None = None,
        volume_groups: AllVolumeGroups | None = None,
    ) -> None:
        """Keep them; ``volume_groups`` is LVM's report, for a status of many services."""
        self.svcname = svcname
        self.node = node
        self.layout = layout
        self.log = log
        self.cluster = cluster
        self.file = file
        self.view = ServiceView() if view is None else view
        self.volume_groups = volume_groups

    @property
    def var_dir(self) -> str:
        """Directory of the run-time data of the service."""
        return self.layout.service_var_dir(self.svcname)

    @cached_property
    def sees_all(self) -> bool:
        """Return whether this user has the privileges for all checks.

        These are root and the owner of the agent's run-time data.
        """
        if os.geteuid() == 0:
            return True
        try:
            return os.stat(self.layout.var_dir).st_uid == os.geteuid()
        except OSError:
            return False

    @cached_property
    def docker(self) -> DockerDaemon:
        """Return the docker daemon that all containers of the service share.

        Raises ConfigError if it is not configured.
        """
        from opensvc_openha.agent.docker.docker_daemon import DockerDaemon
        from opensvc_openha.agent.docker.settings import read_settings

        return DockerDaemon(read_settings(self.file, self.var_dir), self.layout.var_dir, self.log)


class ResourceSpec(NamedTuple):
    """Common properties of all resources.

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
    triggers: Mapping[str, str] = MappingProxyType({})

    @property
    def is_left_alone(self) -> bool:
        """Return whether it is only shown, and never started nor stopped."""
        return self.is_disabled or NO_ACTION_TAG in self.tags

    def error(self, kind: type[_Error], text: str) -> _Error:
        """Return an error about this resource; its message begins with the resource's id."""
        error = kind(f"{self.rid}: {text}")
        error.rid = self.rid
        return error


class Resource(Protocol):
    """One resource of one service."""

    @property
    def spec(self) -> ResourceSpec:
        """Name, group, label and flags."""

    @property
    def start_rank(self) -> tuple[int, str]:
        """Rank among the resources of its group and subset at start; the lowest starts first."""

    @property
    def stop_rank(self) -> tuple[int, str]:
        """Rank at stop; the highest stops first."""

    def environment(self) -> Mapping[str, str]:
        """Environment of its triggers, besides the names of service, node and resource."""

    def status(self) -> Finding:
        """Check the resource, without side effects."""

    def start(self) -> None:
        """Start it; ActionError or SystemFault if that fails.

        May run in a process of its own.
        """

    def restart(self) -> None:
        """Start it again after it failed by itself; return once it is known whether it is well."""

    def stop(self) -> None:
        """Stop it; ActionError or SystemFault if that fails.

        May run in a process of its own.
        """

    def roll_back(self) -> None:
        """Undo a start of this action, including one that failed or was interrupted half way."""

    def why_unhandled(self) -> str:
        """Return why the embedded agent cannot start it; empty if it can."""

    def readiness(self, around: Surroundings) -> Iterable[Remark]:
        """Return what stands against a start here now; without side effects, and soon."""


class LocalResource:
    """Defaults of most resources; a driver's class adds status, start and stop."""

    def __init__(
        self, section: Section, context: DriverContext, group: Group, kind: str, label: str
    ) -> None:
        self.spec = make_spec(section, context, group, kind, label)
        self.start_rank: tuple[int, str] = (index_of(section), section.name)
        self.stop_rank: tuple[int, str] = self.start_rank
        self._log = context.log.of(section.name)
        self._sees_all = context.sees_all

    def environment(self) -> Mapping[str, str]:
        """Return an empty environment."""
        return {}

    def start(self) -> None:
        """Do nothing."""

    def restart(self) -> None:
        """Start the resource."""
        self.start()

    def stop(self) -> None:
        """Do nothing."""

    def roll_back(self) -> None:
        """Stop the resource."""
        self.stop()

    def why_unhandled(self) -> str:
        """Return an empty text."""
        return ""

    def readiness(self, around: Surroundings) -> Iterable[Remark]:
        """Return nothing."""
        return ()


def make_spec(
    section: Section, context: DriverContext, group: Group, kind: str, label: str
) -> ResourceSpec:
    """Build the common part of a resource from the keywords of all sections."""
    return ResourceSpec(
        rid=section.name,
        group=group,
        kind=kind,
        label=label,
        subset=section.value(schema.SUBSET),
        tags=frozenset(section.value(schema.TAGS)),
        is_disabled=is_disabled(section, context.node),
        is_optional=_flag(section, schema.OPTIONAL, schema.OPTIONAL_ON, context.node),
        is_monitored=_flag(section, schema.MONITOR, schema.MONITOR_ON, context.node),
        is_always_on=_is_always_on(section, context),
        restarts=section.value(schema.RESTART),
        triggers={
            trigger.name: section.value(trigger)
            for trigger in schema.TRIGGERS
            if section.text(trigger.name)
        },
    )


def index_of(section: Section) -> int:
    """Return the number in the section's name, as a sort key.

    A section without a number, which agents allow, comes first, one with a word last.
    """
    _, separator, index = section.name.partition("#")
    if not separator:
        return 0
    if not index:
        raise section.error("", f"has no number, expected [{section.group}#1]")
    return int(index) if index.isdigit() and len(index) < 10 else _NUMBER_MAX


def is_disabled(section: Section, node: str) -> bool:
    """Return whether the resource of this section takes no part on a node."""
    return _flag(section, schema.DISABLE, schema.DISABLE_ON, node)


def _flag(
    section: Section, flag: Keyword[bool], nodes: Keyword[tuple[str, ...]], node: str
) -> bool:
    return section.value(flag) or section.names_node(nodes, node)


def _is_always_on(section: Section, context: DriverContext) -> bool:
    words = {word.lower() for word in section.words(schema.ALWAYS_ON)}
    file = context.file
    lists = (("nodes", file.nodes), ("drpnodes", file.drp_nodes))
    return any(
        word in words and context.node in nodes for word, nodes in lists
    ) or section.names_node(schema.ALWAYS_ON, context.node)
