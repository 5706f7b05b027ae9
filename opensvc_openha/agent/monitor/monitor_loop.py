"""The loop of the resource monitor: check the services, each in a process of its own.

A check that hangs (a file system that does not answer, a check script without end) delays no other
service, and the next check of its service begins only after it has ended. The parent process only
finds out which files have monitored resources, and asks the node daemon once per round which
services run here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from opensvc_openha.agent.config.file_cache import FileReadings
from opensvc_openha.agent.host.background_jobs import BackgroundJobs
from opensvc_openha.agent.monitor.resource_monitor import is_watched
from opensvc_openha.agent.service.loaded_service import Service
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import NotRunningError, OpenhaError


class MonitorRounds:
    """State kept from one round to the next."""

    def __init__(
        self,
        files: Callable[[], Mapping[str, str]],
        load: Callable[[str], Service],
        ask: Callable[[], NodeStatus],
        look: Callable[[str], None],
    ) -> None:
        """Remember the sources.

        ``files`` returns the path of each service's file by service name; ``look`` monitors the
        service of a name once.
        """
        self._load = load
        self._ask = ask
        self._look = look
        self._readings = FileReadings(files, self._cluster_name)
        self._children = BackgroundJobs()

    def run(self) -> None:
        """Begin the checks of one round; return at once."""
        self.reap()
        watched = self._watched()
        if not watched:
            return
        try:
            node = self._ask()
        except NotRunningError:
            return
        busy = self._children.names
        for name, cluster_name in watched.items():
            known = node.service(cluster_name)
            if name not in busy and known is not None and known.own_state is ServiceState.STARTED:
                self._children.begin(name, partial(self._look, name))

    def reap(self) -> None:
        """Drop the checks that have ended."""
        self._children.reap()

    def end(self) -> None:
        """Terminate the running checks; kill those that do not end."""
        self._children.end()

    def _watched(self) -> dict[str, str]:
        """Return the services with monitored resources, and their names in the cluster.

        Files are read again when they change.
        """
        found, _ = self._readings.look()
        return {name: cluster_name for name, cluster_name in found.items() if cluster_name}

    def _cluster_name(self, name: str) -> str | None:
        try:
            service = self._load(name)
        except OpenhaError:
            return None  # Every action on the service reports the errors of its file.
        return service.cluster_name if any(is_watched(res) for res in service.resources) else None
