"""The rounds of the resource monitor: which services are looked at now, each in a process of its
own.

A look that hangs (a file system that does not answer, a check without end) delays no other service,
and its service is not looked at again before it is over. The parent only reads which files name
something to watch, and asks the node daemon, once a round, which services run here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from opensvc_openha.agent.config.file_cache import FileReadings
from opensvc_openha.agent.host.background_jobs import Children
from opensvc_openha.agent.monitor.resource_monitor import is_watched
from opensvc_openha.agent.service.service import Service
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import NotRunningError, OpenhaError


class MonitorRounds:
    """What is known from one round to the next."""

    def __init__(
        self,
        files: Callable[[], Mapping[str, str]],
        load: Callable[[str], Service],
        ask: Callable[[], NodeStatus],
        look: Callable[[str], None],
    ) -> None:
        """``files`` gives each service's name and path, ``look`` monitors a service of that name
        once.
        """
        self._load = load
        self._ask = ask
        self._look = look
        self._readings = FileReadings(files, self._cluster_name)
        self._children = Children()

    def run(self) -> None:
        """Begin the looks of one round; returns at once."""
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
        """Forget the looks that are over."""
        self._children.reap()

    def end(self) -> None:
        """End the looks under way; one that does not end is killed."""
        self._children.end()

    def _watched(self) -> dict[str, str]:
        """Services that have something to watch, and their names in the cluster.

        Files are read again when they change.
        """
        found, _ = self._readings.look()
        return {name: cluster_name for name, cluster_name in found.items() if cluster_name}

    def _cluster_name(self, name: str) -> str | None:
        try:
            service = self._load(name)
        except OpenhaError:
            return None  # Whoever acts on the service is told what is wrong with its file.
        return service.cluster_name if any(is_watched(res) for res in service.resources) else None
