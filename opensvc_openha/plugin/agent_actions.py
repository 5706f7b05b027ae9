"""The cluster actions of the real agents, for their drivers: `openha cluster-action`.

    agent --> resHbOpenHA.py --> openha_driver.py --> openha cluster-action --> control socket
                                       ^                     |
                                       +-- log, peer, unlock, end

The driver runs in the agent's Python, with its log, its lock and its way to the peer. So this
process prints what the driver has to do, a word and a text on each line:

    log TEXT       write it to the agent's log
    peer ACTION    have the peer's agent do it by ssh, and answer with a line: its exit code
    unlock         release the agent's lock, which the cluster's own call of the agent needs
    end TEXT       the action is complete, and the agent has nothing left to do
    error TEXT     the action is refused, or has failed

The peer's part goes over the peer link where that is possible, without the driver, else by ssh.

Without ``end`` and with exit code 0 the agent does its own part too: it marks a frozen service. The
peer may have another version of this package, or the agent's own driver: what it is asked for is
start, stop, freeze and thaw, which all of them know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace

from opensvc_openha.agent.actions.cluster_actions import ClusterActions, Snapshot
from opensvc_openha.agent.host.ssh import SSH_FAILED
from opensvc_openha.agent.values.cluster_client import (
    NOT_ANSWERING,
    NOT_RUNNING,
    ClusterAnswer,
    ClusterView,
)
from opensvc_openha.core.events import Command
from opensvc_openha.core.states import FROZEN, SCRIPT_RUNS, START_ENDED, ServiceState
from opensvc_openha.errors import (
    ActionError,
    NotAnsweringError,
    NotRunningError,
    OpenhaError,
    RefusedError,
)

ACTIONS = ("start", "stop", "switch", "freeze", "thaw")
DONE = "heartbeat actions done"
DRY_RUN_DONE = "dry run: nothing was done"

_S = ServiceState
_STOP_ENDED = (_S.STOPPED, _S.STOP_FAILED, _S.FROZEN_STOP)


@dataclass(frozen=True)
class Request:
    """What the agent was asked for: the action and its options.

    ``node`` and ``nodes`` are this node and those of the service, as the agent spells them.
    """

    action: str
    node: str
    nodes: Sequence[str]
    is_remote: bool = False
    is_dry_run: bool = False
    to_node: str = ""


class AgentActions(ClusterActions):
    """The cluster actions of a real agent.

    ``send`` writes a word and a text for its driver, ``receive`` reads the driver's answer.
    """

    up_already = frozenset({_S.STARTED})
    startable = ClusterActions.startable | {_S.FROZEN_START, _S.STARTING}
    startable_beside = frozenset({_S.STOPPED, _S.FROZEN_STOP, _S.UNKNOWN, _S.FORCE_STOP})
    frozen_on_peer = FROZEN | {_S.START_READY}
    """A C OpenHA writes start_ready for a service that runs frozen."""
    in_progress = SCRIPT_RUNS | {_S.START_READY}

    def __init__(
        self,
        name: str,
        cluster: ClusterView,
        service_command: str,
        request: Request,
        send: Callable[[str, str], None],
        receive: Callable[[], str],
    ) -> None:
        super().__init__(name, cluster, request.is_remote)
        self.service_command = service_command
        self._request = request
        self._is_dry_run = request.is_dry_run
        self._send = send
        self._receive = receive
        self._peer = ""
        self._holds_lock = True

    def run(self) -> int:
        """Run the action; return its exit code."""
        try:
            end = self._perform(self._request.action)
        except OpenhaError as error:
            text = str(error)
            if isinstance(error, NotRunningError):
                is_silent = isinstance(error, NotAnsweringError)
                text = NOT_ANSWERING if is_silent else NOT_RUNNING
            self._send("error", text)
            return error.exit_code
        is_whole = self._request.action not in ("freeze", "thaw")
        if self._is_dry_run:
            # The agent would run its own part of the action for real.
            self._send("end", end or DRY_RUN_DONE)
        elif is_whole:
            self._send("end", end or DONE)
        return 0

    # --- actions ----------------------------------------------------------------------------------

    def _perform(self, action: str) -> str:
        self._peer = self._find_peer()
        if action == "start" and self._destination() == self._peer:
            raise RefusedError(
                f"start --to {self._peer}: start the service there, or move it with switch --to"
            )
        return super()._perform(action)

    def _end_start(self, seen: Snapshot) -> str:
        # Also if the peer's agent is the caller, and if the start failed: the peer does not start a
        # service that failed here.
        self._thaw_at_end(seen)
        if seen.own is not _S.STARTED:
            reason = seen.service.reason or "see the log of the service"
            raise ActionError(f"{seen.own.name.lower()} on local node: {reason}")
        return ""

    def _switch(self) -> str:
        seen = self._read_status()
        to = self._destination()
        if to and (seen.peer if to == self._peer else seen.own) is _S.STARTED:
            return f"already started on node {to}"
        if seen.own is _S.STARTED:
            return self._hand_over(seen)
        if seen.peer is _S.STARTED:
            return self._take()
        raise RefusedError(self._cannot_switch(seen))

    def _hand_over(self, seen: Snapshot) -> str:
        if seen.peer is _S.FROZEN_STOP:
            raise RefusedError("remote state is frozen_stop, can't relocate service")
        if seen.peer not in (_S.STOPPED, _S.START_FAILED, _S.STOP_FAILED):
            raise RefusedError(self._cannot_switch(seen))
        if not seen.is_peer_there:
            # It would be stopped here, and could not be started there.
            standing = seen.node.peer_standing.value
            raise RefusedError(f"cannot switch: the peer {self._peer} is {standing}")
        self._stop()
        if self._wait_for_stop().own is _S.STOP_FAILED:
            raise ActionError("local state is stop_failed")
        if not self._is_remote:
            self._on_peer("start")
        seen = self._wait_for_start(of_peer=True)
        if seen.peer is not _S.STARTED:
            raise ActionError(
                f"{seen.peer.name.lower()} on peer node: see the log of the service there"
            )
        self._thaw_at_end(seen)
        return ""

    def _take(self) -> str:
        if not self._is_remote:
            self._on_peer("stop")
        if self._wait_for_stop(of_peer=True).peer is _S.STOP_FAILED:
            raise ActionError("remote state is stop_failed")
        if self._is_dry_run:
            # The states are from before the stop, and would not allow a start.
            self._log(f"would start service {self._name} here")
            return ""
        self._start()
        return ""

    def _thaw_at_end(self, seen: Snapshot) -> None:
        """Thaw both nodes at the end of a start or switch."""
        if seen.own in FROZEN and not self._is_dry_run:
            self._act(Command.UNFREEZE)
        else:
            self._log("local already unfrozen")
        if seen.peer not in self.frozen_on_peer:
            self._log("remote already unfrozen")
            return
        try:
            self._on_peer("thaw")
        except (RefusedError, ActionError) as error:
            self._tolerate(seen, error)

    # --- means ------------------------------------------------------------------------------------

    def _find_peer(self) -> str:
        """Return the peer, as the agent spells it; RefusedError if there is not one other node."""
        own = self._request.node.lower()
        others = [node for node in self._request.nodes if node.lower() != own]
        if len(self._request.nodes) != 2 or len(others) != 1:
            raise RefusedError(
                "an openha service has two nodes, this node is one of them; found:"
                f" {' '.join(sorted(self._request.nodes)) or 'none'}"
            )
        return others[0]

    def _destination(self) -> str:
        """Return the node of --to as the service spells it; empty without it."""
        to = self._request.to_node
        found = [node for node in self._request.nodes if node.lower() == to.lower()]
        if to and not found:
            raise RefusedError(
                f"--to {to}: not a node of the service, which has"
                f" {' and '.join(sorted(self._request.nodes))}"
            )
        return found[0] if to else ""

    def _idle(self) -> Snapshot:
        # The agent holds its lock, which the script that runs may need.
        return self._read_status()

    def _act(self, command: Command, is_logged: bool = True) -> None:
        if self._is_dry_run:
            self._log(f"would run {self.service_command} -A {self._name} {command.value}")
            return
        try:
            super()._act(command, is_logged)
        except NotRunningError as error:
            raise ActionError(f"{command.value} is not confirmed: {error}") from error

    def _failure(self, typed: str, problems: list[ClusterAnswer]) -> OpenhaError:
        for answer in problems:
            self._log(answer.line)
        error = super()._failure(typed, problems)
        return type(error)(f"{typed} failed with exit code {error.exit_code}")

    def _wait_for_start(self, of_peer: bool = False) -> Snapshot:
        return self._wait(START_ENDED, of_peer, "started or starting or start_failed")

    def _wait_for_stop(self, of_peer: bool = False) -> Snapshot:
        names = " or ".join(state.name.lower() for state in _STOP_ENDED)
        return self._wait(frozenset(_STOP_ENDED), of_peer, names)

    def _wait(self, wanted: Set[ServiceState], of_peer: bool = False, names: str = "") -> Snapshot:
        if not self._is_dry_run:
            return super()._wait(wanted, of_peer, names)
        reached = _S.STARTED if _S.STARTED in wanted else _S.FROZEN_STOP
        seen = self._read_status()
        return replace(seen, peer=reached) if of_peer else replace(seen, own=reached)

    def _log(self, text: str) -> None:
        for line in text.splitlines():
            self._send("log", line)

    def _on_peer(self, action: str) -> None:
        if self._is_dry_run:
            self._log(f"would ask node {self._peer} to {action} --remote")
            return

        def show(line: str) -> None:
            self._log(f"{self._peer}: {line}")

        end = self._over_link(self._peer, self._name, action, show)
        if end is not None:
            code = str(end.code)
        else:
            self._send("peer", f"{self._peer} {action} --remote")
            code = self._receive().strip()
            if code == str(SSH_FAILED):
                raise RefusedError(
                    f"ssh to node {self._peer} failed: '{action} --remote' was not done there"
                )
        if code != "0":
            raise RefusedError(
                f"'{action} --remote' failed on node {self._peer} with exit code {code}"
            )

    def _reach_unheard_peer(self, action: str, seen: Snapshot) -> OpenhaError | None:
        # Silent, it may be reached by peer link or ssh, and freeze as well.
        try:
            self._on_peer(action)
        except (RefusedError, ActionError) as error:
            self._tolerate(seen, error)
        return None

    def _tolerate(self, seen: Snapshot, error: OpenhaError) -> None:
        """Continue without a peer that is not heard; raise the error if it is heard."""
        if seen.is_peer_there:
            raise error
        self._log(f"the peer is {seen.node.peer_standing.value}, continuing without it: {error}")

    def _report_state(self, state: ServiceState, where: str) -> None:
        """Do nothing: the agent logs the end of the action."""

    def _mark_frozen(self, is_frozen: bool) -> None:
        """Do nothing: the agent does it after this part."""

    def _release_lock(self) -> None:
        if self._holds_lock and not self._is_dry_run:
            self._send("unlock", "")
        self._holds_lock = False

    # --- texts of the agents' own driver ----------------------------------------------------------

    def _expect_freezable(self, seen: Snapshot) -> None:
        allowed = FROZEN | {_S.STOPPED, _S.START_FAILED, _S.STOP_FAILED, _S.STARTED}
        if seen.own not in allowed:
            raise RefusedError(f"{seen.own.name.lower()} on local node: cannot be frozen now")

    def _how_to_add(self) -> str:
        return ", `openha agent install` adds it"

    def _peer_runs_it(self, seen: Snapshot) -> str:
        if seen.peer is _S.STARTED:
            return "already started on peer node"
        return f"{seen.peer.name.lower()} on peer node. stop the service there before a start here."

    def _peer_is_in_trouble(self, seen: Snapshot) -> str:
        state = seen.peer.name.lower()
        if seen.peer is _S.START_FAILED:
            return (
                f"{state} on peer node. find out why and freeze-stop the service there before a"
                " start here."
            )
        if seen.peer is _S.START_READY:
            return f"{state} on peer node. stop the service there before a start here."
        return f"{state} on peer node"

    def _cannot_start_here(self, seen: Snapshot) -> str:
        state = seen.own.name.lower()
        if seen.own is _S.START_FAILED:
            return (
                f"{state} on local node. find out why and freeze-stop the service before a start."
            )
        return f"{state} on local node: cannot be started now"

    def _cannot_switch(self, seen: Snapshot) -> str:
        return f"cannot switch in current state: {seen.own.name.lower()}/{seen.peer.name.lower()}"
