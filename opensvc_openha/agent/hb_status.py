"""What the cluster's word on a service means for the agent: the one place where service states become hb statuses.

The node daemon is asked once per command, whatever the number of services.
"""

from __future__ import annotations

from typing import Callable, Optional, Union

from opensvc_openha.agent.status import Finding, ResourceStatus
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import NotAnsweringError, NotRunningError

_PLAIN = {ServiceState.STARTED: ResourceStatus.UP, ServiceState.STOPPED: ResourceStatus.DOWN}

NOT_INSTALLED = "open-ha is not installed"
NOT_RUNNING = "open-ha daemons are not running"
NOT_ANSWERING = "open-ha daemon does not answer"
NO_STATE = "unable to determine cluster service state"


class ClusterView:
    """The node daemon's status, fetched at the first question and kept for the rest of the command."""

    def __init__(self, fetch: Callable[[], NodeStatus], is_installed: bool = True) -> None:
        self._fetch = fetch
        self._is_installed = is_installed
        self._answer: Union[None, NodeStatus, NotRunningError] = None

    def node_status(self) -> NodeStatus:
        """The daemon's snapshot; raises NotRunningError or NotAnsweringError."""
        if self._answer is None:
            try:
                self._answer = self._fetch()
            except NotRunningError as exc:
                self._answer = exc
        if isinstance(self._answer, NotRunningError):
            raise self._answer
        return self._answer

    def hb_finding(self, cluster_name: str) -> Finding:
        """Status of the hb resource whose service the cluster knows as ``cluster_name``."""
        if not self._is_installed:
            return _warn(NOT_INSTALLED)
        try:
            service = self.node_status().service(cluster_name)
        except NotAnsweringError:
            return _warn(NOT_ANSWERING)
        except NotRunningError:
            return _warn(NOT_RUNNING)
        return finding_of_state(None if service is None else service.own_state)


def finding_of_state(state: Optional[ServiceState]) -> Finding:
    """up for STARTED, down for STOPPED, a warning that says why for everything else."""
    if state is None or state is ServiceState.UNKNOWN:
        return _warn(NO_STATE)
    if state in _PLAIN:
        return Finding(_PLAIN[state])
    return _warn(f"cluster service status is {state.name.lower()}")


def _warn(line: str) -> Finding:
    return Finding(ResourceStatus.WARN, (line,))
