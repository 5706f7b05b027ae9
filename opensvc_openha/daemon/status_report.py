"""Complete the engine's snapshot for operators: warnings, links, wall-clock times."""

from __future__ import annotations

import os
from dataclasses import replace

from opensvc_openha.core.model import PLAN_COMMANDS, ClusterSpec, PathKind, Profile, Wire
from opensvc_openha.core.status import ConnectivityStatus, FencingStatus, NodeStatus
from opensvc_openha.core.wording import named
from opensvc_openha.daemon.fence_service import FenceService
from opensvc_openha.daemon.issues import ActiveIssues
from opensvc_openha.daemon.lease_service import LeaseService
from opensvc_openha.daemon.link_manager import LinkManager
from opensvc_openha.daemon.outlook_watch import OutlookWatch
from opensvc_openha.daemon.realtime import Realtime
from opensvc_openha.daemon.removed_services import RemovedServices
from opensvc_openha.formats.layout import Layout
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.storage.fencing_store import FenceTimes, FencingStore
from opensvc_openha.storage.history_writer import History
from opensvc_openha.system import clock


class StatusReport:
    """What the daemon reports of itself; only reads, and may be used by any thread."""

    def __init__(
        self,
        layout: Layout,
        links: LinkManager,
        authentication: Authentication,
        realtime: Realtime,
        history: History,
        fencing_store: FencingStore,
        fence: FenceService,
        lease: LeaseService,
        issues: ActiveIssues,
        removed: RemovedServices,
        outlook: OutlookWatch,
    ) -> None:
        self._layout = layout
        self._links = links
        self._authentication = authentication
        self._realtime = realtime
        self._history = history
        self._fencing_store = fencing_store
        self._fence = fence
        self._lease = lease
        self._issues = issues
        self._removed = removed
        self._outlook = outlook

    def complete(self, status: NodeStatus, spec: ClusterSpec) -> NodeStatus:
        """Return the engine's snapshot as it is shown under the configuration ``spec``."""
        services = tuple(
            replace(
                svc,
                since=clock.wall_if_known(svc.since),
                fails_back_at=clock.wall_if_known(svc.fails_back_at),
            )
            for svc in status.services
        )
        cut = self._links.present_cut
        drill = "; ".join(text for text in ("" if cut is None else cut.text, status.drill) if text)
        shown = replace(
            status,
            drill=drill,
            pid=os.getpid(),
            links=self._links.statuses(spec.links, status.links),
            services=services,
            warnings=(*((drill,) if drill else ()), *self.warnings(spec), *status.warnings),
            fencing_warnings=_fencing_warnings(spec),
            fencing=self._fencing(status.fencing),
            lease=self._lease.complete(status.lease),
            connectivity=_connectivity(status.connectivity),
            scheduling=self._realtime.text,
            authentication=self._authentication.status(),
            activity=replace(
                self._history.tally.complete(status.activity),
                stages=(*self._links.stages(clock.monotonic()), *status.activity.stages),
            ),
        )
        return self._outlook.complete(shown)

    def _fencing(self, fencing: FencingStatus) -> FencingStatus:
        """Add what is stored of each fence."""
        groups = []
        for group in fencing.groups:
            times = self._fencing_store.times.get(group.name, FenceTimes())
            groups.append(
                replace(
                    group,
                    retry_at=clock.wall_if_known(group.retry_at),
                    worked_at=times.worked_at,
                    failed_at=times.failed_at,
                )
            )
        return replace(
            self._fence.complete(fencing),
            groups=tuple(groups),
            opens_at=clock.wall_if_known(fencing.opens_at),
            alone_at=clock.wall_if_known(fencing.alone_at),
            confirmed_at=clock.wall_if_known(fencing.confirmed_at),
            power_said_at=clock.wall_if_known(fencing.power_said_at),
        )

    def warnings(self, spec: ClusterSpec) -> tuple[str, ...]:
        """Return the present warnings, without those of the engine."""
        found = [*self._authentication.warnings(), *self._realtime.warnings]
        found += [self._history.problem] if self._history.problem else []
        found += self._links.warnings()
        legacy = [link.link_id for link in spec.links if link.wire is Wire.LEGACY]
        if legacy:
            found.append(
                f"no acknowledgement and no proof of who sent it on {', '.join(legacy)} (wire ="
                " legacy)"
            )
        found += _fencing_warnings(spec)
        if spec.profile is Profile.FAST and not self._is_measured:
            found.append(_unmeasured(spec))
        found += [
            f"service {svc.name} is not in {self._layout.services_file} any more, but may run here:"
            f" stop it ($EZ_BIN/service -A {svc.name} freeze-stop), or add it again"
            for svc in self._removed.present()
        ]
        found += self._issues.texts
        return tuple(found)

    def advice(self, spec: ClusterSpec) -> tuple[str, ...]:
        """Return what is logged once, at the start.

        A turn of a cut is as long as the slowest fence may take.
        """
        is_fenced = any(svc.is_fenced for svc in spec.own_services)
        if not is_fenced or self._is_measured or spec.fence_time_s is not None:
            return ()
        return (
            "no fence was measured yet, and fence_time is not declared: in a cut each turn to"
            " fence counts with the limit of the check-up script; declare fence_time in"
            " openha.conf",
        )

    @property
    def _is_measured(self) -> bool:
        """True if it is known how long some fence takes: by its use, a drill, or a lease."""
        return self._fence.is_measured or any(
            times.worked_at is not None for times in self._fencing_store.times.values()
        )


def _unmeasured(spec: ClusterSpec) -> str:
    """Return the warning of a quick profile whose fence nobody has seen at work.

    A declared time still counts: with the limits in its place, turns of seconds would become
    minutes by an upgrade.
    """
    declared_s = spec.fence_time_s
    what = (
        "a fence that was never measured"
        if declared_s is None
        else f"fence_time = {declared_s:g}, which is declared and was never measured: if a fence"
        " takes longer, two nodes that are cut from each other may fence at the same time"
    )
    if not spec.fencing.levels:
        return (
            f"profile = fast stands on {what}. It is measured when a check-up script has fenced the"
            " peer; a path of a fence plan (levels) can be tried out before that, and [[lease]]"
            " needs no fence"
        )
    names = [path.name for path in spec.fencing.paths if path.kind is PathKind.POWER]
    drill = f"openha fence test --power {names[0] if names else 'PATH'}"
    ways = f"try it out ({drill}), or add [[lease]]"
    return f"profile = fast stands on {what}. {ways[0].upper()}{ways[1:]}"


def _fencing_warnings(spec: ClusterSpec) -> tuple[str, ...]:
    if spec.fencing.levels:
        return ()
    unfenced = [svc.name for svc in spec.own_services if not svc.is_fenced]
    waiting = [svc.name for svc in spec.own_services if svc.check.endswith(PLAN_COMMANDS)]
    found = []
    if unfenced:
        found.append(f"no fencing: the check-up script of {named(unfenced)} always succeeds")
    if waiting:
        found.append(
            f"no fencing: openha.conf has no levels, so that {named(waiting)} beside a silent peer"
            " can only wait for openha fence confirm"
        )
    return tuple(found)


def _connectivity(known: ConnectivityStatus | None) -> ConnectivityStatus | None:
    """Return what is known of the targets, with wall-clock instants."""
    if known is None:
        return None
    targets = tuple(
        replace(each, answered_at=clock.wall_if_known(each.answered_at)) for each in known.targets
    )
    return replace(known, since=clock.wall_if_known(known.since), targets=targets)
