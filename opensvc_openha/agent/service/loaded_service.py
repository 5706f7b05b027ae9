"""One service on this node: its file, its resources, and its status report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.checks import wrong_nodes
from opensvc_openha.agent.config.service_file import ServiceFile, read_service_file
from opensvc_openha.agent.resources.base import DriverContext, Resource, ServiceView
from opensvc_openha.agent.resources.hb import OpenhaHb
from opensvc_openha.agent.resources.registry import build_resources
from opensvc_openha.agent.service.ordering import in_display_order, subset_names
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.agent.values.cluster_client import Answers, ClusterView
from opensvc_openha.agent.values.resource_status import (
    HIDDEN,
    OUTSIDE_AVAIL,
    Finding,
    Group,
    ResourceReport,
    ResourceStatus,
    ServiceReport,
    merge,
)
from opensvc_openha.control.client import running_pid
from opensvc_openha.errors import ConfigError, OpenhaError, SystemFault, UsageError
from opensvc_openha.formats.layout import AgentLayout, Layout
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.named_tuples import NamedTuple
from opensvc_openha.system.atomic_files import make_dir, open_plain
from opensvc_openha.system.identity import node_name

if TYPE_CHECKING:
    from opensvc_openha.agent.host.lvm import AllVolumeGroups
    from opensvc_openha.agent.service.validation import Problem
    from opensvc_openha.core.events import Command
    from opensvc_openha.core.states import ServiceState
    from opensvc_openha.core.status import NodeStatus
    from opensvc_openha.peer_link.client import JobEnd


class ResourceSelector(NamedTuple):
    """Resources that an action applies to: those that match every list that is not empty.

    ``tags`` are alternatives; ``a+b`` requires both. ``rids`` are ids (fs#1) or groups (fs).
    """

    rids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Return whether the selection is the whole service."""
        return not (self.rids or self.tags or self.subsets)


class Service(NamedTuple):
    """A service as configured for this node."""

    name: str
    node: str
    file: ServiceFile
    resources: tuple[Resource, ...]
    layout: AgentLayout
    log: ActionLog
    cluster: ClusterView
    view: ServiceView

    @property
    def var_dir(self) -> str:
        """Directory of the run-time data of the service."""
        return self.layout.service_var_dir(self.name)

    @property
    def frozen_flag(self) -> str:
        """Path of the file that exists while the service is frozen."""
        return os.path.join(self.var_dir, "frozen")

    @property
    def is_frozen(self) -> bool:
        """Return whether the operator has frozen the service for the agent."""
        return os.path.exists(self.frozen_flag)

    @property
    def is_clustered(self) -> bool:
        """Return whether a cluster decides where the service runs."""
        return any(
            res.spec.group is Group.HB and not res.spec.is_disabled for res in self.resources
        )

    @property
    def cluster_name(self) -> str | None:
        """Name of the service in the cluster; None if it is in no cluster."""
        names = [
            res.cluster_name
            for res in self.resources
            if isinstance(res, OpenhaHb) and not res.spec.is_disabled
        ]
        return names[0] if names else None

    @property
    def is_autostarted_here(self) -> bool:
        """Return whether this node starts the service at boot."""
        return self.file.default.names_node(schema.AUTOSTART_NODE, self.node)

    def report(self) -> ServiceReport:
        """Check every resource and return the status report."""
        findings = {
            res.spec.rid: finding_of(res)
            for res in self.resources
            if res.spec.group is not Group.SYNC
        }
        self.view.remember(_data_status(self.resources, lambda res: findings[res.spec.rid]))
        findings.update(
            {
                res.spec.rid: finding_of(res)
                for res in self.resources
                if res.spec.group is Group.SYNC
            }
        )
        resources = tuple(
            _report_of(res, findings[res.spec.rid]) for res in in_display_order(self.resources)
        )
        return ServiceReport(
            self.name, self.file.default.value(schema.SERVICE_TYPE), self.is_frozen, resources
        )

    def selected(
        self,
        choice: ResourceSelector = ResourceSelector(),  # noqa: B008 - frozen
    ) -> tuple[Resource, ...]:
        """Return the selected resources; UsageError for a name that matches none."""
        for rid in choice.rids:
            if not any(_is_named(res, rid) for res in self.resources):
                raise UsageError(
                    f"{self.name} has no resource {rid}, expected one of {self._rids()}"
                )
        tags = {tag for res in self.resources for tag in res.spec.tags}
        subsets = {
            name for res in self.resources for name in (res.spec.subset, *subset_names(res)) if name
        }
        for word in choice.tags:
            for tag in word.split("+"):
                self._expect("tag", tag, tags)
        for subset in choice.subsets:
            self._expect("subset", subset, subsets)
        return tuple(res for res in self.resources if _is_chosen(res, choice))

    def _expect(self, kind: str, word: str, known: set[str]) -> None:
        if word not in known:
            shown = (
                f"expected one of {', '.join(sorted(known))}"
                if known
                else f"none of its resources has a {kind}"
            )
            raise UsageError(f"{self.name} has no {kind} {word}, {shown}")

    def _rids(self) -> str:
        return ", ".join(res.spec.rid for res in in_display_order(self.resources))


def load_service(
    layout: AgentLayout,
    name: str,
    log: ActionLog,
    cluster: ClusterView,
    volume_groups: AllVolumeGroups | None = None,
) -> Service:
    """Read a service file and build its resources; ConfigError if the file has errors."""
    node = node_name().lower()
    file = read_service_file(layout.service_file(name), name, node)
    context = DriverContext(name, node, layout, log, cluster, file, volume_groups=volume_groups)
    try:
        for error in wrong_nodes(file.default):
            raise error
        resources = build_resources(file, context)
    except ConfigError as exc:
        raise _one_of_many(exc, file, context) from exc
    context.view.answer_with(lambda: _data_status(resources, finding_of))
    return Service(name, node, file, resources, layout, log, cluster, context.view)


def _one_of_many(error: ConfigError, file: ServiceFile, context: DriverContext) -> ConfigError:
    """Return the first error, with a hint on how to list the others."""
    from opensvc_openha.agent.service.validation import problems_of

    number = sum(not problem.is_warning for problem in problems_of(file, context))
    if number < 2:
        return error
    others = f"one of {number} errors: svcmgr -s {file.svcname} validate config"
    return ConfigError(f"{error.message} ({others})", error.path, error.line)


def validate(
    layout: AgentLayout, name: str, log: ActionLog, cluster: ClusterView, peer: str | None
) -> list[Problem]:
    """Return all problems of a service file; ConfigError if it cannot even be read."""
    from opensvc_openha.agent.service.validation import problems_of

    node = node_name().lower()
    file = read_service_file(layout.service_file(name), name, node)
    return problems_of(file, DriverContext(name, node, layout, log, cluster, file), peer)


def cluster_view(
    layout: Layout,
    fetch: Callable[[], NodeStatus],
    act: Callable[[Command, str, str], Answers],
    note: Callable[[str, str, str, bool], None],
    order_peer: Callable[[str, str, Callable[[str], None]], JobEnd] | None = None,
    fetch_states: Callable[[], Mapping[str, ServiceState | None]] | None = None,
) -> ClusterView:
    """Return a view of the node daemon of an OpenHA installation that may not exist."""
    is_installed = os.path.isdir(layout.bin_dir) or os.path.isdir(layout.conf_dir)
    daemon_pid = partial(running_pid, layout)
    return ClusterView(fetch, is_installed, act, note, daemon_pid, order_peer, fetch_states)


def _is_chosen(resource: Resource, choice: ResourceSelector) -> bool:
    spec = resource.spec
    is_named = not choice.rids or any(_is_named(resource, rid) for rid in choice.rids)
    is_tagged = not choice.tags or any(set(word.split("+")) <= spec.tags for word in choice.tags)
    names = {spec.subset, *subset_names(resource)} - {""}
    return is_named and is_tagged and (not choice.subsets or bool(names & set(choice.subsets)))


def _is_named(resource: Resource, name: str) -> bool:
    return name in (resource.spec.rid, resource.spec.rid.partition("#")[0])


def finding_of(resource: Resource) -> Finding:
    """Return the status of one resource; an error of the check becomes a warning."""
    if resource.spec.is_disabled:
        return Finding(ResourceStatus.NA)
    try:
        return resource.status()
    except (OpenhaError, OSError) as error:
        if isinstance(error, PermissionError) and os.geteuid() != 0:
            return HIDDEN
        return Finding(ResourceStatus.WARN, (f"cannot be looked at: {error}",))


def _data_status(
    resources: Iterable[Resource], look_at: Callable[[Resource], Finding]
) -> ResourceStatus:
    """Return the merged status of the resources that the data depends on.

    Falls back to the applications if there is no other resource; undef if this user may not check
    all of them.
    """
    counting = [
        res for res in resources if res.spec.group not in OUTSIDE_AVAIL and not res.spec.is_optional
    ]
    data = _merged([look_at(res) for res in counting if res.spec.group is not Group.APP])
    return data if data is not ResourceStatus.NA else _merged([look_at(res) for res in counting])


def _merged(findings: list[Finding]) -> ResourceStatus:
    return (
        ResourceStatus.UNDEF
        if any(seen.is_hidden for seen in findings)
        else merge(seen.status for seen in findings)
    )


_STANDBY = {
    ResourceStatus.UP: ResourceStatus.STDBY_UP,
    ResourceStatus.DOWN: ResourceStatus.STDBY_DOWN,
}


def _report_of(resource: Resource, finding: Finding) -> ResourceReport:
    spec = resource.spec
    return ResourceReport(
        rid=spec.rid,
        group=spec.group,
        label=finding.label or spec.label,
        status=_STANDBY.get(finding.status, finding.status)
        if spec.is_always_on
        else finding.status,
        log=finding.log,
        is_monitored=spec.is_monitored,
        is_disabled=spec.is_disabled,
        is_optional=spec.is_optional,
        is_hidden=finding.is_hidden,
    )


def write_frozen_flag(service: Service, is_frozen: bool) -> None:
    """Freeze or thaw the service for the agent."""
    try:
        if is_frozen:
            make_dir(service.var_dir)
            with open(service.frozen_flag, "w", encoding="ascii", opener=open_plain):
                pass
        elif service.is_frozen:
            os.unlink(service.frozen_flag)
    except OSError as error:
        raise SystemFault(f"cannot change {service.frozen_flag}: {error.strerror}") from error
