"""Map the cluster's view of a service to the agent's: the one place that maps service states.

For a status the node daemon is asked once per command, whatever the number of services; actions
that drive the cluster ask again each time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping

from opensvc_openha.agent.values.resource_status import Finding, ResourceStatus
from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import NotAnsweringError, NotRunningError
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.named_tuples import NamedTuple
from opensvc_openha.system.processes import descends_from

if TYPE_CHECKING:  # Not needed by a status command that asks no daemon.
    from opensvc_openha.core.events import Command
    from opensvc_openha.core.status import NodeStatus
    from opensvc_openha.peer_link.client import JobEnd


class ClusterAnswer(NamedTuple):
    """One answer line of a command, as the cluster's own commands print it, with its success."""

    line: str
    is_ok: bool = True
    is_refused: bool = False
    """Nothing was tried: the state of the service or the configuration does not allow it."""


Answers = Iterable[ClusterAnswer]

_PLAIN = {ServiceState.STARTED: ResourceStatus.UP, ServiceState.STOPPED: ResourceStatus.DOWN}

NOT_INSTALLED = "open-ha is not installed"
NOT_RUNNING = "open-ha daemons are not running"
NOT_ANSWERING = "open-ha daemon does not answer"
NO_STATE = "unable to determine cluster service state"


class ClusterView:
    """The node daemon's status, fetched at the first call and kept for the rest of the command."""

    def __init__(
        self,
        fetch: Callable[[], NodeStatus],
        is_installed: bool = True,
        act: Callable[[Command, str, str], Answers] | None = None,
        note: Callable[[str, str, str, bool], None] | None = None,
        daemon_pid: Callable[[], int] = lambda: 0,
        order_peer: Callable[[str, str, Callable[[str], None]], JobEnd] | None = None,
        fetch_states: Callable[[], Mapping[str, ServiceState | None]] | None = None,
    ) -> None:
        """Remember how to reach the daemon.

        ``act`` runs a command on the service of that cluster name, on behalf of the caller named
        third. ``note`` records in the history of a service: name, word, reason, whether it is an
        alarm. ``daemon_pid`` is the process of this node's daemon, 0 for none. ``order_peer`` has
        the other node run its part of an action over the peer link: service, action, what is called
        with each line that is printed there; None where there is only ssh. ``fetch_states`` returns
        of the status only the states of services on this node, which is quicker.
        """
        self._fetch = fetch
        self.is_installed = is_installed
        self._act = act
        self._note = note
        self._daemon_pid = daemon_pid
        self.order_peer = order_peer
        self._fetch_states = fetch_states
        self._answer: None | NodeStatus | NotRunningError = None
        self._states: None | Mapping[str, ServiceState | None] = None
        self._asking = threading.Lock()

    def node_status(self) -> NodeStatus:
        """Return the daemon's snapshot; raises NotRunningError or NotAnsweringError."""
        with self._asking:
            if self._answer is None:
                self._ask()
        return self._answered()

    def _answered(self) -> NodeStatus:
        if isinstance(self._answer, NotRunningError):
            raise self._answer
        assert self._answer is not None
        return self._answer

    def node_status_now(self) -> NodeStatus:
        """Return a new snapshot of the daemon."""
        self._answer = self._states = None
        return self.node_status()

    def _own_state(self, cluster_name: str) -> ServiceState | None:
        """Return the state of a service on this node, with as little of the status as is needed."""
        with self._asking:
            if self._answer is None and self._states is None:
                self._ask_states()
            if self._states is not None:
                return self._states.get(cluster_name)
        service = self._answered().service(cluster_name)
        return None if service is None else service.own_state

    def _ask_states(self) -> None:
        if self._fetch_states is None:
            self._ask()
            return
        try:
            self._states = self._fetch_states()
        except NotRunningError as error:
            self._answer = error

    def is_daemons_call(self) -> bool:
        """Return whether this node's daemon runs this command, directly or through a script."""
        pid = self._daemon_pid() if "OPENHA_ACTION" in os.environ else 0
        return pid > 0 and descends_from(pid)

    def _ask(self) -> None:
        try:
            self._answer = self._fetch()
        except NotRunningError as error:
            self._answer = error

    def act(self, command: Command, cluster_name: str, by: str = "") -> Answers:
        """Have the daemon run a command; return its answer lines as they arrive.

        Raises NotRunningError or NotAnsweringError.
        """
        if self._act is None:
            raise NotRunningError(NOT_RUNNING)
        return self._act(command, cluster_name, by)

    def noter(self, cluster_name: str) -> Callable[[str, str, bool], None]:
        """Return a function that records (word, reason, is_alarm) in the history of a service.

        It does nothing where there is no history.
        """

        def note(word: str, reason: str, is_alarm: bool) -> None:
            if self._note is not None:
                self._note(cluster_name, word, reason, is_alarm)

        return note

    def hb_finding(self, cluster_name: str) -> Finding:
        """Return the status of the hb resource of this service."""
        if not self.is_installed:
            return _warn(NOT_INSTALLED)
        try:
            state = self._own_state(cluster_name)
        except NotAnsweringError:
            return _warn(NOT_ANSWERING)
        except NotRunningError:
            return _warn(NOT_RUNNING)
        return finding_of_state(state)


def finding_of_state(state: ServiceState | None) -> Finding:
    """Return up for STARTED, down for STOPPED, a warning with the reason for any other state."""
    if state is None or state is ServiceState.UNKNOWN:
        return _warn(NO_STATE)
    if state in _PLAIN:
        return Finding(_PLAIN[state])
    return _warn(f"cluster service status is {state.name.lower()}")


def _warn(line: str) -> Finding:
    return Finding(ResourceStatus.WARN, (line,))
