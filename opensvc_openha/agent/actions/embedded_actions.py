"""Run the cluster actions as the embedded agent: its log, lock, frozen flag, way to the peer."""

from __future__ import annotations

import re

from opensvc_openha.agent.actions.cluster_actions import ClusterActions, Snapshot
from opensvc_openha.agent.host.commands import CommandResult, run_command
from opensvc_openha.agent.host.signals import interruptible
from opensvc_openha.agent.host.ssh import SSH_FAILED, agent_command, remote_shell, why_unreachable
from opensvc_openha.agent.service.action_lock import action_lock
from opensvc_openha.agent.service.loaded_service import Service, write_frozen_flag
from opensvc_openha.core.events import Command
from opensvc_openha.core.states import FROZEN, UP, ServiceState
from opensvc_openha.errors import (
    ActionError,
    InterruptedAction,
    NotRunningError,
    RefusedError,
)

REMOTE_LIMIT_S = 3600.0
REMOTE_WAIT_LOCK_S = 60
LOCK_NAME = "cluster.lock"

_NOT_FOUND = 127
_LOG_HEAD = re.compile(r"\d\d:\d\d:\d\d (?:INFO|WARNING|ERROR) +\S+ +")
_S = ServiceState


class EmbeddedActions(ClusterActions):
    """The cluster actions of the embedded agent.

    The operator's command on the other node holds the lock if ``is_remote``.
    """

    def __init__(self, service: Service, is_remote: bool, to_node: str = "") -> None:
        super().__init__(service.cluster_name or service.name, service.cluster, is_remote)
        self._service = service
        self._to_node = to_node.lower()

    def run(self, action: str, wait_lock_s: float) -> int:
        """Run one action and return exit code 0; raise an OpenhaError if it cannot be completed."""
        try:
            with interruptible():
                if self._is_remote:
                    nothing_to_do = self._perform(action)
                else:
                    with action_lock(self._service.var_dir, action, wait_lock_s, LOCK_NAME):
                        nothing_to_do = self._perform(action)
        except InterruptedAction as error:
            text = f"{error}: what the node daemons were asked for continues, see `service -s -c`"
            raise InterruptedAction(text, error.signal_number) from error
        if nothing_to_do:
            self._log(nothing_to_do)
        return 0

    def _switch(self) -> str:
        seen = self._idle()
        node, peer = seen.node.node, seen.node.peer
        if self._to_node and self._to_node not in (node.lower(), peer.lower()):
            raise RefusedError(f"--to {self._to_node}: {self._name} runs on {node} or {peer} only")
        owner = node if seen.own in UP else peer if seen.peer in UP else ""
        if not owner:
            raise RefusedError(
                f"cannot switch in current state: {seen.own.name} here, {seen.peer.name} on {peer}"
            )
        if owner.lower() == self._to_node:
            return f"{self._name} runs on {owner} already"
        if not seen.is_peer_there:
            raise RefusedError(f"cannot switch: the peer {peer} is {seen.node.peer_standing.value}")
        if owner == node:
            self._hand_over(seen)
        else:
            self._take(seen)
        return ""

    def _hand_over(self, seen: Snapshot) -> None:
        if seen.peer is not _S.STOPPED or seen.own is not _S.STARTED:
            raise RefusedError(self._cannot_switch(seen))
        self._act(Command.STOP)
        if self._is_remote:
            return
        seen = self._wait_for_start(of_peer=True)
        if seen.peer is _S.START_FAILED:
            raise ActionError(
                f"{self._name} is START_FAILED on {seen.node.peer}, and is not started here while"
                " that may have left parts of it there: stop, then start it where it works"
            )
        self._report_state(seen.peer, seen.node.peer)

    def _take(self, seen: Snapshot) -> None:
        if seen.own is not _S.STOPPED or seen.peer is not _S.STARTED:
            raise RefusedError(self._cannot_switch(seen))
        self._on_peer("switch")
        seen = self._wait_for_start()
        if seen.own is _S.START_FAILED:
            raise ActionError(
                f"{self._name} is START_FAILED on this node:"
                f" {seen.service.reason or 'see its log'}; stop, then start it where it works"
            )
        self._report_state(seen.own, "this node")

    def _cannot_switch(self, seen: Snapshot) -> str:
        return (
            f"cannot switch in current state: {seen.own.name} here, {seen.peer.name} on"
            f" {seen.node.peer}{': thaw it first' if FROZEN & {seen.own, seen.peer} else ''}"
        )

    def _log(self, text: str) -> None:
        self._service.log.info(text)

    def _warn(self, text: str) -> None:
        self._service.log.warning(text)

    def _report_state(self, state: ServiceState, where: str) -> None:
        self._log(f"{self._name} is {state.name} on {where}")

    def _on_peer(self, action: str) -> None:
        peer = self._cluster.node_status().peer

        def show(line: str) -> None:
            self._log(f"{peer}: {_LOG_HEAD.sub('', line)}")

        end = self._over_link(peer, self._service.name, action, show)
        result = (
            self._over_ssh(peer, action)
            if end is None
            else CommandResult(end.code, "\n".join(end.lines))
        )
        if result.exit_code != 0:
            by_hand = {"thaw": "unfreeze", "switch": "stop"}.get(action, "freeze-stop")
            raise RefusedError(
                f"{self._why_failed(peer, action, result)}; the same can be done by hand on {peer}:"
                f" service -A {self._name} {by_hand}"
            )

    def _over_ssh(self, peer: str, action: str) -> CommandResult:
        words = ["--waitlock", str(REMOTE_WAIT_LOCK_S), action, "--remote"]
        command = agent_command(self._service.layout, self._service.name, words)
        self._log(f"exec '{' '.join(command)}' on node {peer}")
        result = run_command(remote_shell(peer, command), REMOTE_LIMIT_S)
        for line in result.output.strip().splitlines():
            # The time and service name of the peer's log lines would repeat ours.
            self._log(f"{peer}: {_LOG_HEAD.sub('', line)}")
        return result

    def _why_failed(self, peer: str, action: str, result: CommandResult) -> str:
        if result.exit_code == SSH_FAILED:
            return why_unreachable(peer, result)
        if result.exit_code == _NOT_FOUND:
            return f"{peer}: there is no svcmgr, on it run: openha install --embedded-agent"
        return f"{peer}: '{action} --remote' {result.verdict}"

    def _release_lock(self) -> None:
        """Do nothing: the lock of a cluster action is another one."""

    def _mark_frozen(self, is_frozen: bool) -> None:
        write_frozen_flag(self._service, is_frozen)

    def _expect_freezable(self, seen: Snapshot) -> None:
        """Do nothing: the daemon refuses what it cannot freeze."""

    def _how_to_add(self) -> str:
        wrapper = self._service.layout.cluster_wrapper(self._service.name)
        return f": service -a {self._name} {wrapper} ..."

    def _peer_runs_it(self, seen: Snapshot) -> str:
        return (
            f"{self._name} is already {seen.peer.name} on the peer {seen.node.peer}: switch"
            " moves it here"
        )

    def _peer_is_in_trouble(self, seen: Snapshot) -> str:
        return (
            f"{self._name} is {seen.peer.name} on the peer {seen.node.peer}: find out why, stop"
            " it there, then start it here"
        )

    def _cannot_start_here(self, seen: Snapshot) -> str:
        return (
            f"{self._name} is {seen.own.name} on this node and cannot be started now: stop it first"
        )


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
