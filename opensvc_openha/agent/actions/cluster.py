"""Run an operator's start, stop, switch, freeze and thaw of a service through its cluster.

    stop     freeze the peer stopped, so that it does not take over; then stop and freeze this node
    start    freeze a standby peer; thaw this node and start; then thaw the peer
    switch   stop the owner; the other node takes the service over
    freeze   both nodes, the one that could take the service over first; thaw is the reverse

The peer is reached by ssh, as agents do, and its part is called with --remote. This module acts on
no resource itself: the node daemons call the wrapper of the service for that. Each step waits until
the state has changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from opensvc_openha.agent.host.commands import CommandResult, run_command
from opensvc_openha.agent.host.signals import interruptible
from opensvc_openha.agent.host.ssh import SSH_FAILED, agent_command, remote_shell, why_unreachable
from opensvc_openha.agent.service.action_lock import action_lock
from opensvc_openha.agent.service.service import Service, write_frozen_flag
from opensvc_openha.core.events import Command
from opensvc_openha.core.states import FROZEN, SCRIPT_RUNS, START_ENDED, UP, ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.errors import (
    ActionError,
    InterruptedAction,
    NotAnsweringError,
    NotRunningError,
    OpenhaError,
    RefusedError,
)
from opensvc_openha.system.clock import monotonic, pause

CHANGE_LIMIT_S = 20.0
"""Seconds for a node to begin a request.

A running script may take as long as its own limit.
"""
TELL_EVERY_S = 10.0
REMOTE_LIMIT_S = 3600.0
REMOTE_WAIT_LOCK_S = 60
LOCK_NAME = "cluster.lock"

_POLL_S = 0.2
_NOT_FOUND = 127
_LOG_HEAD = re.compile(r"\d\d:\d\d:\d\d (?:INFO|WARNING|ERROR) +\S+ +")
_S = ServiceState


@dataclass(frozen=True)
class Sight:
    """Snapshot of the service in the cluster."""

    node: NodeStatus
    service: ServiceStatus
    own: ServiceState
    """State on this node."""

    @property
    def peer(self) -> ServiceState:
        """State on the peer; UNKNOWN if the daemon does not know it."""
        return self.service.peer_state or ServiceState.UNKNOWN

    @property
    def is_peer_there(self) -> bool:
        """Return whether this node hears the peer's daemon."""
        return self.node.peer_standing is PeerStanding.LIVE


class ClusterActions:
    """The cluster actions of one service.

    ``is_remote``: called by the agent of the peer, which handles its own node itself.
    """

    def __init__(self, service: Service, is_remote: bool, to_node: str = "") -> None:
        self._service = service
        self._log = service.log
        self._name = service.cluster_name or service.name
        self._is_remote = is_remote
        self._to_node = to_node.lower()

    def run(self, action: str, wait_lock_s: float) -> int:
        """Run one action and return exit code 0; raise an OpenhaError if it cannot be completed."""
        steps: dict[str, Callable[[], None]] = {
            "start": self._start,
            "stop": self._stop,
            "switch": self._switch,
            "freeze": self._freeze,
            "thaw": self._thaw,
        }
        try:
            with interruptible():
                if self._is_remote:
                    # The operator's command on the other node holds the lock there.
                    steps[action]()
                else:
                    with action_lock(self._service.var_dir, action, wait_lock_s, LOCK_NAME):
                        steps[action]()
        except InterruptedAction as error:
            text = f"{error}: what the node daemons were asked for goes on, see `service -s -c`"
            raise InterruptedAction(text, error.signal_number) from error
        return 0

    # --- actions ----------------------------------------------------------------------------------

    def _start(self) -> None:
        seen = self._idle()
        if seen.own in UP:
            self._log.info(f"already started{' and frozen' if seen.own is _S.FROZEN_START else ''}")
            return
        self._expect_startable(seen)
        if seen.peer is _S.STOPPED and seen.is_peer_there and not self._is_remote:
            self._on_peer("freeze")
        seen = self._sight()
        if seen.own is _S.FROZEN_STOP:
            self._act(Command.UNFREEZE)
        write_frozen_flag(self._service, False)
        if self._sight().own is _S.STOPPED:
            self._ask_to_start()
        seen = self._wait("local", lambda now: now.own, START_ENDED)
        if seen.own is _S.START_FAILED:
            raise ActionError(
                f"{self._name} is START_FAILED on this node:"
                f" {seen.service.reason or 'see its log'}; when it is repaired: stop, then start"
            )
        self._log.info(f"{self._name} is {seen.own.name} on this node")
        if not self._is_remote and seen.is_peer_there and seen.peer in FROZEN:
            self._on_peer("thaw")

    def _expect_startable(self, seen: Sight) -> None:
        if seen.peer in UP:
            raise RefusedError(
                f"{self._name} is already {seen.peer.name} on the peer {seen.node.peer}: switch"
                " moves it here"
            )
        if seen.is_peer_there and seen.peer not in (
            _S.STOPPED,
            _S.FROZEN_STOP,
            _S.UNKNOWN,
            _S.START_READY,
        ):
            raise RefusedError(
                f"{self._name} is {seen.peer.name} on the peer {seen.node.peer}: find out why, stop"
                " it there, then start it here"
            )
        if seen.own not in (_S.STOPPED, _S.FROZEN_STOP, _S.START_READY):
            raise RefusedError(
                f"{self._name} is {seen.own.name} on this node and cannot be started now: stop it"
                " first"
            )

    def _ask_to_start(self) -> None:
        """Request a start from a standby node.

        It starts by itself as soon as it may; the request skips the rest of a hold.
        """
        try:
            self._act(Command.START, is_logged=False)
        except RefusedError as error:
            if self._sight().own is _S.STOPPED:
                self._log.info(str(error))

    def _stop(self) -> None:
        seen = self._sight()
        if not self._is_remote:
            if seen.own in (_S.STOPPED, _S.START_READY):
                self._act(
                    Command.FREEZE_STOP
                )  # A standby node would take over a service that is stopped on the peer.
            self._stop_peer(seen)
        seen = self._idle()
        if seen.own is _S.FROZEN_STOP:
            self._log.info("already frozen stop")
            return
        if seen.own is _S.FROZEN_START:
            self._act(Command.UNFREEZE)
        self._act(Command.FREEZE_STOP)
        seen = self._wait("local", lambda now: now.own, {_S.FROZEN_STOP, _S.STOP_FAILED})
        if seen.own is _S.STOP_FAILED:
            raise ActionError(
                f"{self._name} is STOP_FAILED on this node: {seen.service.reason or 'see its log'}"
            )
        self._log.info(f"{self._name} is {seen.own.name} on this node")

    def _stop_peer(self, seen: Sight) -> None:
        """Freeze the peer stopped first, so that it does not take over what stops here.

        A peer that is not heard may be unreachable.
        """
        if seen.is_peer_there and seen.peer is _S.FROZEN_STOP:
            return
        try:
            self._on_peer("stop")
        except OpenhaError as error:
            if seen.is_peer_there:
                raise
            self._log.warning(
                f"the peer {seen.node.peer} is {seen.node.peer_standing.value}, it is not frozen: "
                f"when it is back it may start {self._name} ({error})"
            )

    def _switch(self) -> None:
        seen = self._idle()
        node, peer = seen.node.node, seen.node.peer
        if self._to_node and self._to_node not in (node.lower(), peer.lower()):
            raise RefusedError(f"--to {self._to_node}: {self._name} runs on {node} or {peer} only")
        owner = node if seen.own in UP else peer if seen.peer in UP else ""
        if not owner:
            raise RefusedError(
                f"cannot switch in current state: {seen.own.name} here, {seen.peer.name} on {peer}"
            )
        if self._to_node and owner.lower() != self._to_node and not seen.is_peer_there:
            raise RefusedError(f"cannot switch: the peer {peer} is {seen.node.peer_standing.value}")
        if owner.lower() == self._to_node:
            self._log.info(f"{self._name} runs on {owner} already")
        elif owner == node:
            self._hand_over(seen)
        else:
            self._take(seen)

    def _hand_over(self, seen: Sight) -> None:
        if not seen.is_peer_there:
            raise RefusedError(
                f"cannot switch: the peer {seen.node.peer} is {seen.node.peer_standing.value}"
            )
        if seen.peer is not _S.STOPPED or seen.own is not _S.STARTED:
            raise RefusedError(
                f"cannot switch in current state: {seen.own.name} here, {seen.peer.name} on"
                f" {seen.node.peer}{': thaw it first' if FROZEN & {seen.own, seen.peer} else ''}"
            )
        self._act(Command.STOP)
        if self._is_remote:
            return
        seen = self._wait("remote", lambda now: now.peer, START_ENDED)
        if seen.peer is _S.START_FAILED:
            raise ActionError(
                f"{self._name} is START_FAILED on {seen.node.peer}, and is not started here while"
                " that may have left parts of it there: stop, then start it where it works"
            )
        self._log.info(f"{self._name} is {seen.peer.name} on {seen.node.peer}")

    def _take(self, seen: Sight) -> None:
        if seen.own is not _S.STOPPED or seen.peer is not _S.STARTED:
            raise RefusedError(
                f"cannot switch in current state: {seen.own.name} here, {seen.peer.name} on"
                f" {seen.node.peer}{': thaw it first' if FROZEN & {seen.own, seen.peer} else ''}"
            )
        self._on_peer("switch")
        seen = self._wait("local", lambda now: now.own, START_ENDED)
        if seen.own is _S.START_FAILED:
            raise ActionError(
                f"{self._name} is START_FAILED on this node:"
                f" {seen.service.reason or 'see its log'}; stop, then start it where it works"
            )
        self._log.info(f"{self._name} is {seen.own.name} on this node")

    def _freeze(self) -> None:
        seen = self._idle()
        # The node that could take the service over goes first.
        problem = self._tell_peer("freeze", seen)
        if seen.own in FROZEN:
            self._log.info("local already frozen")
        else:
            self._act(Command.FREEZE_START if seen.own is _S.STARTED else Command.FREEZE_STOP)
        write_frozen_flag(self._service, True)
        if problem is not None:
            raise RefusedError(f"frozen on this node only: {problem}")

    def _thaw(self) -> None:
        seen = self._idle()
        write_frozen_flag(self._service, False)
        # Thaw the owner first: a thawed standby node may take the service over.
        is_peer_first = seen.peer is _S.FROZEN_START
        problem = self._tell_peer("thaw", seen) if is_peer_first else None
        if seen.own in FROZEN:
            self._act(Command.UNFREEZE)
        else:
            self._log.info("local already unfrozen")
        problem = problem if is_peer_first else self._tell_peer("thaw", seen)
        if problem is not None:
            raise RefusedError(f"thawed on this node only: {problem}")

    # --- means ------------------------------------------------------------------------------------

    def _tell_peer(self, action: str, seen: Sight) -> OpenhaError | None:
        """Run the peer's part of freeze and thaw; return the error if that failed.

        A failure on the peer must not prevent the local part.
        """
        if self._is_remote:
            return None
        if (seen.peer in FROZEN) is (action == "freeze"):
            self._log.info(f"remote already {'frozen' if action == 'freeze' else 'unfrozen'}")
            return None
        if not seen.is_peer_there:
            return RefusedError(f"the peer {seen.node.peer} is {seen.node.peer_standing.value}")
        try:
            self._on_peer(action)
        except OpenhaError as error:
            return error
        return None

    def _sight(self) -> Sight:
        """Return the current states; raise if the daemon does not know them."""
        node = self._service.cluster.node_status_now()
        service = node.service(self._name)
        if service is None or service.own_state is None:
            raise RefusedError(
                f"the cluster does not know the service {self._name} on this node: service -a"
                f" {self._name} {self._service.layout.cluster_wrapper(self._service.name)} ..."
            )
        return Sight(node, service, service.own_state)

    def _idle(self) -> Sight:
        """Wait until this node runs no script of the service; return the states then."""
        seen = self._sight()
        if seen.own not in SCRIPT_RUNS:
            return seen
        return self._wait("local", lambda now: now.own, frozenset(ServiceState) - SCRIPT_RUNS)

    def _act(self, command: Command, is_logged: bool = True) -> None:
        """Send a command to this node's daemon; return when it is completed."""
        if is_logged:
            self._log.info(f"service -A {self._name} {command.value}")
        problems = []
        for answer in self._service.cluster.act(command, self._name):
            if not answer.is_ok:
                problems.append(answer)
            elif is_logged:
                self._log.info(answer.line)
        if problems:
            is_refused = all(answer.is_refused for answer in problems)
            raise (RefusedError if is_refused else ActionError)(
                "; ".join(answer.line for answer in problems)
            )

    def _on_peer(self, action: str) -> None:
        """Run an action through the peer's agent; return when it is completed."""
        peer = self._service.cluster.node_status().peer
        words = ["--waitlock", str(REMOTE_WAIT_LOCK_S), action, "--remote"]
        command = agent_command(self._service.layout, self._service.name, words)
        self._log.info(f"exec '{' '.join(command)}' on node {peer}")
        result = run_command(remote_shell(peer, command), REMOTE_LIMIT_S)
        for line in result.output.strip().splitlines():
            # The time and service name of the peer's log lines would repeat ours.
            self._log.info(f"{peer}: {_LOG_HEAD.sub('', line)}")
        if result.exit_code != 0:
            reason = self._why_failed(peer, action, result)
            raise RefusedError(
                f"{reason}; the same can be done by hand on {peer}: {self._by_hand(action)}"
            )

    def _why_failed(self, peer: str, action: str, result: CommandResult) -> str:
        if result.exit_code == SSH_FAILED:
            return why_unreachable(peer, result)
        if result.exit_code == _NOT_FOUND:
            return f"{peer}: there is no svcmgr, on it run: openha install --embedded-agent"
        return f"{peer}: '{action} --remote' {result.verdict}"

    def _by_hand(self, action: str) -> str:
        commands = {
            "freeze": "freeze-stop",
            "stop": "freeze-stop",
            "thaw": "unfreeze",
            "switch": "stop",
        }
        return f"service -A {self._name} {commands[action]}"

    def _wait(
        self,
        whose: str,
        state_of: Callable[[Sight], ServiceState],
        wanted: Collection[ServiceState],
    ) -> Sight:
        """Wait for one of the ``wanted`` states and return it.

        Gives up CHANGE_LIMIT_S after the last script ended.
        """
        names = " or ".join(
            state.name.lower() for state in sorted(wanted, key=lambda state: state.value)
        )
        seen = self._sight()
        if state_of(seen) not in wanted:
            self._log.info(f"waiting for {whose} state to become either {names}")
        began = idle_since = told_at = monotonic()
        while state_of(seen) not in wanted:
            now = monotonic()
            if state_of(seen) in SCRIPT_RUNS:
                idle_since = now
            if now - idle_since > CHANGE_LIMIT_S:
                raise ActionError(
                    f"waited {now - began:.0f} seconds for {whose} state to become either {names}, "
                    f"it is {state_of(seen).name}: {seen.service.reason or 'see service -s -v'}"
                )
            if now - told_at > TELL_EVERY_S:
                told_at = now
                self._log.info(
                    f"{self._name} is {state_of(seen).name}, for {now - began:.0f} s now"
                )
            pause(_POLL_S)
            seen = self._patient_sight(seen)
        return seen

    def _patient_sight(self, last: Sight) -> Sight:
        """Return the states, or ``last`` while the daemon is too busy to answer."""
        try:
            return self._sight()
        except NotAnsweringError:
            return last


def why_not_driven(service: Service) -> str:
    """Return why an operator's action cannot go through the cluster; empty if it can."""
    if service.cluster_name is None:
        return "its heartbeat is not OpenHA"
    if not service.cluster.is_installed:
        return "open-ha is not installed"
    try:
        service.cluster.node_status_now()
    except NotRunningError as error:
        return str(error)
    return ""
