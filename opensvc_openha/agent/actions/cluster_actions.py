"""Run an operator's start, stop, switch, freeze and thaw of a service through its cluster.

    stop     freeze the peer stopped, so that it does not take over; then stop and freeze this node
    start    freeze a standby peer; thaw this node and start; then thaw the peer
    switch   stop the owner; the other node takes the service over
    freeze   both nodes, the one that could take the service over first; thaw is the reverse

ClusterActions orchestrates them for every agent. A subclass knows its agent: how the peer's part is
called, which states allow what, and the texts: `embedded_actions` for the embedded agent,
`plugin.agent_actions` for real ones. The peer's part is called with --remote. No resource is
touched here: the node daemons call the wrapper of the service for that. Each step waits until the
state has changed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Set
from dataclasses import dataclass

from opensvc_openha.agent.values.cluster_client import ClusterAnswer, ClusterView
from opensvc_openha.core.events import Command
from opensvc_openha.core.states import FROZEN, SCRIPT_RUNS, START_ENDED, UP, ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.errors import (
    ActionError,
    NoPeerLinkError,
    NotRunningError,
    OpenhaError,
    RefusedError,
    UnknownOutcomeError,
)
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.system.clock import monotonic, pause

if TYPE_CHECKING:
    from opensvc_openha.peer_link.client import JobEnd

CHANGE_LIMIT_S = 20.0
"""Seconds for a node to begin a request.

A running script may take as long as its own limit.
"""
REPORT_EVERY_S = 10.0

_POLL_S = 0.2
_S = ServiceState


@dataclass(frozen=True)
class Snapshot:
    """The service in the cluster, as this node's daemon sees it: its states here and on the peer.

    The peer's is UNKNOWN if the daemon does not know it.
    """

    node: NodeStatus
    service: ServiceStatus
    own: ServiceState
    peer: ServiceState

    @property
    def is_peer_there(self) -> bool:
        """Return whether this node hears the peer's daemon."""
        return self.node.peer_standing is PeerStanding.LIVE

    def state(self, of_peer: bool) -> ServiceState:
        """Return the state of one node."""
        return self.peer if of_peer else self.own


class ClusterActions(ABC):
    """The cluster actions of one service, called ``name`` in the cluster.

    ``is_remote``: called by the agent of the peer, which handles its own node itself.
    """

    service_command = "service"
    """The command of the cluster, as the log names it."""
    up_already: Set[ServiceState] = UP
    """Own states in which a start has nothing to do."""
    startable: Set[ServiceState] = frozenset({_S.STOPPED, _S.FROZEN_STOP, _S.START_READY})
    startable_beside: Set[ServiceState] = startable | {_S.UNKNOWN}
    """States of a peer that is heard, beside which a start may be asked for."""
    frozen_on_peer: Set[ServiceState] = FROZEN
    in_progress: Set[ServiceState] = SCRIPT_RUNS
    """States that are waited for without a limit: the daemon limits them."""

    def __init__(self, name: str, cluster: ClusterView, is_remote: bool) -> None:
        self._name = name
        self._cluster = cluster
        self._is_remote = is_remote

    def _perform(self, action: str) -> str:
        """Run one action; return why there was nothing to do, empty if there was.

        Raises an OpenhaError if it cannot be completed.
        """
        actions: dict[str, Callable[[], str]] = {
            "start": self._start,
            "stop": self._stop,
            "switch": self._switch,
            "freeze": self._freeze,
            "thaw": self._thaw,
        }
        return actions[action]()

    # --- actions ----------------------------------------------------------------------------------

    def _start(self) -> str:
        seen = self._idle()
        if seen.own in self.up_already and seen.peer not in UP:
            return f"already started{' and frozen' if seen.own is _S.FROZEN_START else ''}"
        self._expect_startable(seen)
        if seen.peer is _S.STOPPED and seen.is_peer_there and not self._is_remote:
            self._on_peer("freeze")
            seen = self._read_status()

        self._release_lock()
        if seen.own in FROZEN:
            self._act(Command.UNFREEZE)
        self._mark_frozen(False)
        if self._read_status().own is _S.STOPPED:
            self._ask_to_start()
        return self._end_start(self._wait_for_start())

    def _expect_startable(self, seen: Snapshot) -> None:
        if seen.peer in UP:
            raise RefusedError(self._peer_runs_it(seen))
        if seen.is_peer_there and seen.peer not in self.startable_beside:
            raise RefusedError(self._peer_is_in_trouble(seen))
        if seen.own not in self.startable:
            raise RefusedError(self._cannot_start_here(seen))

    def _ask_to_start(self) -> None:
        """Request a start from a standby node.

        It starts by itself as soon as it may; the request skips the rest of a hold.
        """
        try:
            self._act(Command.START, is_logged=False)
        except (RefusedError, ActionError) as error:
            # A start that failed is seen in the state.
            if self._read_status().own is _S.STOPPED:
                self._log(str(error))

    def _end_start(self, seen: Snapshot) -> str:
        if seen.own is _S.START_FAILED:
            # The peer stays frozen: parts of the service may be up here.
            raise ActionError(
                f"{self._name} is START_FAILED on this node:"
                f" {seen.service.reason or 'see its log'}; when it is repaired: stop, then start"
            )
        self._report_state(seen.own, "this node")
        if not self._is_remote and seen.is_peer_there and seen.peer in FROZEN:
            self._on_peer("thaw")
        return ""

    def _stop(self) -> str:
        seen = self._read_status()
        # A standby node would take over a service that is stopped on the peer.
        is_standby = seen.own in (_S.STOPPED, _S.START_READY)
        if is_standby:
            # The daemon runs the stop script if it finds the service up here all the same.
            self._release_lock()
            self._act(Command.FREEZE_STOP)
        if not self._is_remote:
            self._stop_peer(seen)
        if is_standby:
            self._report_state(_S.FROZEN_STOP, "this node")
            return ""

        seen = self._idle()
        if seen.own is _S.FROZEN_STOP:
            return "already frozen stop"
        self._release_lock()
        if seen.own is _S.FROZEN_START:
            self._act(Command.UNFREEZE)
        self._act(Command.FREEZE_STOP)
        seen = self._wait({_S.FROZEN_STOP, _S.STOP_FAILED})
        if seen.own is _S.STOP_FAILED:
            raise ActionError(
                f"{self._name} is STOP_FAILED on this node: {seen.service.reason or 'see its log'}"
            )
        self._report_state(seen.own, "this node")
        return ""

    def _stop_peer(self, seen: Snapshot) -> None:
        """Freeze the peer stopped first, so that it does not take over what stops here.

        A peer that is not heard may be unreachable.
        """
        if seen.peer is _S.FROZEN_STOP:
            return
        try:
            self._on_peer("stop")
        except OpenhaError as error:
            if seen.is_peer_there:
                raise
            self._warn(
                f"the peer {seen.node.peer} is {seen.node.peer_standing.value}, it is not frozen: "
                f"when it is back it may start {self._name} ({error})"
            )

    @abstractmethod
    def _switch(self) -> str:
        """Move the service to the other node."""

    def _freeze(self) -> str:
        seen = self._idle()
        self._expect_freezable(seen)
        # The node that could take the service over goes first.
        is_own_first = seen.own is _S.STOPPED
        problem = None if is_own_first else self._try_on_peer("freeze", seen)
        if seen.own in FROZEN:
            self._log("local already frozen")
        else:
            self._act(Command.FREEZE_START if seen.own is _S.STARTED else Command.FREEZE_STOP)
        self._mark_frozen(True)
        problem = self._try_on_peer("freeze", seen) if is_own_first else problem
        if problem is not None:
            raise RefusedError(f"frozen on this node only: {problem}")
        return ""

    def _thaw(self) -> str:
        seen = self._idle()
        # Thaw the owner first: a thawed standby node may take the service over.
        is_peer_first = seen.peer in self.frozen_on_peer - {_S.FROZEN_STOP}
        problem = self._try_on_peer("thaw", seen) if is_peer_first else None
        if problem is not None and seen.is_peer_there:
            raise problem
        self._mark_frozen(False)
        if seen.own in FROZEN:
            self._act(Command.UNFREEZE)
        else:
            self._log("local already unfrozen")
        problem = problem if is_peer_first else self._try_on_peer("thaw", seen)
        if problem is not None:
            raise RefusedError(f"thawed on this node only: {problem}")
        return ""

    def _try_on_peer(self, action: str, seen: Snapshot) -> OpenhaError | None:
        """Run the peer's part of freeze and thaw; return the error if that failed.

        A failure on the peer must not prevent the local part.
        """
        if self._is_remote:
            return None
        if (seen.peer in self.frozen_on_peer) is (action == "freeze"):
            self._log(f"remote already {'frozen' if action == 'freeze' else 'unfrozen'}")
            return None
        if not seen.is_peer_there:
            return self._reach_unheard_peer(action, seen)
        try:
            self._on_peer(action)
        except OpenhaError as error:
            return error
        return None

    # --- means ------------------------------------------------------------------------------------

    def _over_link(
        self, peer: str, service: str, action: str, show: Callable[[str], None]
    ) -> JobEnd | None:
        """Run the peer's part over the peer link; None if it was surely not run there.

        ``show`` is called with each line that is printed there.
        """
        if self._cluster.order_peer is None:
            return None
        try:
            end = self._cluster.order_peer(service, action, show)
        except UnknownOutcomeError as error:
            # Asking once more, by ssh, could stop or start what the first request has not yet.
            raise ActionError(
                f"whether {peer} did '{action} --remote' is not known: {error}; look at"
                f" `service -s -c`, then run {action} again if it is still to be done"
            ) from error
        except OpenhaError as error:
            if not isinstance(error, NoPeerLinkError) or error.reason != "OFF":
                self._log(f"{error}, so ssh is used")
            return None
        self._log(f"'{action} --remote' on node {peer} over the peer link: exit code {end.code}")
        return end

    def _read_status(self) -> Snapshot:
        """Return the current states; raise if the daemon does not know them."""
        node = self._cluster.node_status_now()
        service = node.service(self._name)
        if service is None or service.own_state is None:
            raise RefusedError(
                f"the cluster does not know the service {self._name} on this node"
                f"{self._how_to_add()}"
            )
        return Snapshot(node, service, service.own_state, service.peer_state or _S.UNKNOWN)

    def _idle(self) -> Snapshot:
        """Wait until this node runs no script of the service; return the states then."""
        seen = self._read_status()
        if seen.own not in SCRIPT_RUNS:
            return seen
        return self._wait(frozenset(ServiceState) - SCRIPT_RUNS)

    def _act(self, command: Command, is_logged: bool = True) -> None:
        """Send a command to this node's daemon; return when it is completed."""
        typed = f"{self.service_command} -A {self._name} {command.value}"
        if is_logged:
            self._log(typed)
        problems = []
        for answer in self._cluster.act(command, self._name):
            if not answer.is_ok:
                problems.append(answer)
            elif is_logged:
                self._log(answer.line)
        if problems:
            raise self._failure(typed, problems)

    def _failure(self, typed: str, problems: list[ClusterAnswer]) -> OpenhaError:
        """Return the error of a command that the daemon refused, or that failed."""
        is_refused = all(answer.is_refused for answer in problems)
        kind = RefusedError if is_refused else ActionError
        return kind("; ".join(answer.line for answer in problems))

    def _wait_for_start(self, of_peer: bool = False) -> Snapshot:
        return self._wait(START_ENDED, of_peer)

    def _wait(self, wanted: Set[ServiceState], of_peer: bool = False, names: str = "") -> Snapshot:
        """Wait for one of the ``wanted`` states; return the states then.

        With ``names`` of them the wait is logged in any case. Gives up CHANGE_LIMIT_S after the
        last script ended, or the last answer of the daemon.
        """
        whose = "remote" if of_peer else "local"
        is_logged = bool(names)
        names = names or " or ".join(
            state.name.lower() for state in sorted(wanted, key=lambda state: state.value)
        )
        seen = self._read_status()
        if is_logged or seen.state(of_peer) not in wanted:
            self._log(f"waiting for {whose} state to become either {names}")
        began = changing_at = reported_at = monotonic()
        problem = ""
        while seen.state(of_peer) not in wanted:
            now = monotonic()
            state = seen.state(of_peer)
            is_current = not problem and (seen.is_peer_there or not of_peer)
            if state in self.in_progress and is_current:
                changing_at = now
            if now - changing_at > CHANGE_LIMIT_S:
                raise ActionError(
                    f"waited {now - began:.0f} seconds for {whose} state to become either {names}, "
                    f"it is {state.name}: {problem or seen.service.reason or 'see service -s -v'}"
                )
            if now - reported_at > REPORT_EVERY_S:
                reported_at = now
                self._log(f"{self._name} is {state.name}, for {now - began:.0f} s now")
            pause(_POLL_S)
            try:
                seen, problem = self._read_status(), ""
            except NotRunningError as error:
                problem = str(error)  # It is busy, or restarts.
        return seen

    # --- what differs between agents --------------------------------------------------------------

    @abstractmethod
    def _log(self, text: str) -> None:
        """Log a step."""

    def _warn(self, text: str) -> None:
        """Log a problem that does not end the action."""
        self._log(text)

    @abstractmethod
    def _report_state(self, state: ServiceState, where: str) -> None:
        """Log the outcome, unless the agent does it."""

    @abstractmethod
    def _on_peer(self, action: str) -> None:
        """Run an action through the peer's agent; return when it is completed there."""

    def _reach_unheard_peer(self, action: str, seen: Snapshot) -> OpenhaError | None:
        """Run a freeze or thaw on a peer that is not heard; return why that was not done."""
        return RefusedError(f"the peer {seen.node.peer} is {seen.node.peer_standing.value}")

    @abstractmethod
    def _release_lock(self) -> None:
        """Release the lock that the cluster's call of the agent needs, if this action holds it."""

    @abstractmethod
    def _mark_frozen(self, is_frozen: bool) -> None:
        """Set the agent's own mark of a frozen service, unless the agent does it."""

    @abstractmethod
    def _expect_freezable(self, seen: Snapshot) -> None:
        """Raise RefusedError for a state that the agent does not freeze."""

    @abstractmethod
    def _how_to_add(self) -> str:
        """Return how a service is added to the cluster, as the end of a line."""

    @abstractmethod
    def _peer_runs_it(self, seen: Snapshot) -> str:
        """Return why nothing is started beside a peer that runs the service."""

    @abstractmethod
    def _peer_is_in_trouble(self, seen: Snapshot) -> str:
        """Return why nothing is started beside a peer that may run parts of the service."""

    @abstractmethod
    def _cannot_start_here(self, seen: Snapshot) -> str:
        """Return why the own state allows no start."""
