"""Which synchronisations are due now, as their schedules say.

Each service is sent in a process of its own.

Only what runs here is sent, never while the service is frozen or somebody acts on it. One that
fails, or may not be sent, is tried again after a while, as long as its hours last. The time is
given, and so is what sends.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from opensvc_openha.agent.config.file_cache import FileReadings
from opensvc_openha.agent.host.background_jobs import Children
from opensvc_openha.agent.resources.sync import Rsync
from opensvc_openha.agent.service.action_lock import action_lock
from opensvc_openha.agent.service.service import ResourceSelector, Service
from opensvc_openha.agent.service.sync import synchronise
from opensvc_openha.agent.values.status import ResourceStatus
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import NotRunningError, OpenhaError, RefusedError

RETRY = datetime.timedelta(minutes=10)
AT_ONCE_MAX = 4


@dataclass(frozen=True)
class Scheduled:
    """What a service sends by itself, and its name in the cluster, if one decides about it."""

    resources: tuple[Rsync, ...]
    cluster_name: str | None


class SyncRounds:
    """What is known from one round to the next."""

    def __init__(
        self,
        files: Callable[[], Mapping[str, str]],
        load: Callable[[str], Service],
        ask: Callable[[], NodeStatus],
        send: Callable[[str, tuple[str, ...]], None],
        now: Callable[[], datetime.datetime],
    ) -> None:
        """``files`` gives each service's name and path, ``send`` sends these resources of a service
        of that name.
        """
        self._ask = ask
        self._load = load
        self._send = send
        self._now = now
        self._readings = FileReadings(files, self._read)
        self._tried: dict[str, datetime.datetime] = {}
        self._children = Children()

    def run(self) -> None:
        """Begin what is due; returns at once."""
        self._children.reap()
        now = self._now()
        node: NodeStatus | None = None
        for name, scheduled in self._scheduled().items():
            busy = self._children.names
            if len(busy) >= AT_ONCE_MAX:
                return  # The others have their turn in one of the next rounds.
            if name in busy or self._was_just_tried(name, now):
                continue
            due = tuple(res.spec.rid for res in scheduled.resources if res.is_due(now))
            if due and scheduled.cluster_name is not None:
                node = node or self._node()
                if node is None or not _is_started(node, scheduled.cluster_name):
                    continue
            if due:
                self._tried[name] = now
                self._children.begin(name, partial(self._send, name, due))

    def end(self) -> None:
        """End what is under way."""
        self._children.end()

    def reap(self) -> None:
        """Forget what is over."""
        self._children.reap()

    @property
    def is_idle(self) -> bool:
        """Is nothing under way?"""
        return not self._children.names

    def _was_just_tried(self, name: str, now: datetime.datetime) -> bool:
        # A clock that was set back must not put it off for long.
        tried = self._tried.get(name)
        return tried is not None and tried <= now < tried + RETRY

    def _node(self) -> NodeStatus | None:
        try:
            return self._ask()
        except NotRunningError:
            return None

    def _scheduled(self) -> dict[str, Scheduled]:
        found, new = self._readings.look()
        for name in new:
            self._tried.pop(name, None)
        return {name: scheduled for name, scheduled in found.items() if scheduled is not None}

    def _read(self, name: str) -> Scheduled | None:
        try:
            service = self._load(name)
        except OpenhaError:
            return None  # Whoever acts on the service is told what is wrong with its file.
        syncs = tuple(
            res
            for res in service.resources
            if isinstance(res, Rsync) and not res.spec.is_left_alone
        )
        resources = tuple(res for res in syncs if res.has_schedule())
        return Scheduled(resources, service.cluster_name) if resources else None


def send_due(service: Service, rids: tuple[str, ...]) -> str:
    """Send these resources if the service runs here and nothing speaks against it.

    Why not, or an empty text.
    """
    reason = _why_not_now(service)
    if reason:
        return reason
    try:
        with action_lock(service.var_dir, "sync", 0):
            # Nobody acts on the service. A long copy must not keep anybody from it, so it is not
            # held.
            pass
        code = synchronise(service, ResourceSelector(rids=rids), ("nodes", "drpnodes"), False, 0)
    except RefusedError as error:
        return str(error)
    return f"ended with {code}" if code else ""


def _why_not_now(service: Service) -> str:
    if service.is_frozen:
        return "the service is frozen"
    if service.node in service.file.drp_nodes:
        return "a drp node does not send"
    status = service.view.data_status()
    return "" if status is ResourceStatus.UP else f"the service is {status.value} here"


def _is_started(node: NodeStatus, cluster_name: str) -> bool:
    known = node.service(cluster_name)
    return known is not None and known.own_state is ServiceState.STARTED
