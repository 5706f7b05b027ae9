"""Start the synchronisations that are due by their schedules, one process per service.

Sends only services that run here, and never while the service is frozen or another action runs on
it. A synchronisation that fails, or is refused, is retried after a while, as long as its hours
last. Time and send function are arguments.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from opensvc_openha.agent.config.file_cache import FileReadings
from opensvc_openha.agent.host.background_jobs import BackgroundJobs
from opensvc_openha.agent.resources.sync import Rsync
from opensvc_openha.agent.service.action_lock import action_lock
from opensvc_openha.agent.service.loaded_service import ResourceSelector, Service
from opensvc_openha.agent.service.sync_actions import synchronise
from opensvc_openha.agent.values.resource_status import ResourceStatus
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import NotRunningError, OpenhaError, RefusedError

RETRY = datetime.timedelta(minutes=10)
AT_ONCE_MAX = 4


@dataclass(frozen=True)
class Scheduled:
    """Scheduled synchronisations of a service, and its name in the cluster, if it has one."""

    resources: tuple[Rsync, ...]
    cluster_name: str | None


class SyncRounds:
    """State kept from one round to the next."""

    def __init__(
        self,
        files: Callable[[], Mapping[str, str]],
        load: Callable[[str], Service],
        ask: Callable[[], NodeStatus],
        send: Callable[[str, tuple[str, ...]], None],
        now: Callable[[], datetime.datetime],
    ) -> None:
        """Remember the sources.

        ``files`` returns the path of each service's file by service name; ``send`` sends these
        resources of the service of a name.
        """
        self._ask = ask
        self._load = load
        self._send = send
        self._now = now
        self._readings = FileReadings(files, self._read)
        self._tried: dict[str, datetime.datetime] = {}
        self._children = BackgroundJobs()

    def run(self) -> None:
        """Begin the synchronisations that are due; return at once."""
        self._children.reap()
        now = self._now()
        node: NodeStatus | None = None
        for name, scheduled in self._scheduled().items():
            busy = self._children.names
            if len(busy) >= AT_ONCE_MAX:
                return  # The other services follow in one of the next rounds.
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
        """Terminate the running synchronisations."""
        self._children.end()

    def reap(self) -> None:
        """Drop the synchronisations that have ended."""
        self._children.reap()

    @property
    def is_idle(self) -> bool:
        """Return whether no synchronisation runs."""
        return not self._children.names

    def _was_just_tried(self, name: str, now: datetime.datetime) -> bool:
        # A clock that was set back must not delay the retry for long.
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
            return None  # Every action on the service reports the errors of its file.
        syncs = tuple(
            res
            for res in service.resources
            if isinstance(res, Rsync) and not res.spec.is_left_alone
        )
        resources = tuple(res for res in syncs if res.has_schedule())
        return Scheduled(resources, service.cluster_name) if resources else None


class SendOutcome(enum.Enum):
    """What became of a send that was due."""

    SENT = "sent"
    NOT_NOW = "not now"
    FAILED = "failed"


@dataclass(frozen=True)
class SendResult:
    """``reason`` is why nothing was sent, or how the send failed."""

    outcome: SendOutcome
    reason: str = ""


_SENT = SendResult(SendOutcome.SENT)


def send_due(service: Service, rids: tuple[str, ...]) -> SendResult:
    """Send these resources if the service runs here and no condition forbids it."""
    reason = _why_not_now(service)
    if reason:
        return SendResult(SendOutcome.NOT_NOW, reason)
    try:
        with action_lock(service.var_dir, "sync", 0):
            # No other action runs. The lock is not held during the copy: it may take long and must
            # not block other actions.
            pass
        code = synchronise(service, ResourceSelector(rids=rids), ("nodes", "drpnodes"), False, 0)
    except RefusedError as error:
        return SendResult(SendOutcome.NOT_NOW, str(error))
    return SendResult(SendOutcome.FAILED, f"ended with {code}") if code else _SENT


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
