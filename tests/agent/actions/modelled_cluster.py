"""A cluster of two modelled daemons, for the agents' cluster actions.

The model knows the commands of the daemons and what they lead to; the peer's agent is reached by a
modelled ssh, which runs the same code as the peer's own. Time passes when the agent pauses.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from opensvc_openha.agent.actions.cluster_actions import CHANGE_LIMIT_S
from opensvc_openha.agent.actions.embedded_actions import EmbeddedActions
from opensvc_openha.agent.host.commands import CommandResult
from opensvc_openha.agent.service.loaded_service import load_service
from opensvc_openha.agent.values.action_log import open_log
from opensvc_openha.agent.values.cluster_client import ClusterAnswer, ClusterView
from opensvc_openha.core.events import Command
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.errors import ActionError, NotAnsweringError, OpenhaError, RefusedError
from opensvc_openha.formats.layout import AgentLayout, agent_layout
from opensvc_openha.peer_link.client import JobEnd


class Model:
    """Two daemons: a command changes a state at once or, where a script runs, at the next pause."""

    def __init__(self, root: Path, first: S, second: S) -> None:
        self.states = {"deb1": first, "deb2": second}
        self.done: list[str] = []
        self.is_peer_heard = True
        self.has_peer_left = False
        self.is_ssh_there = True
        self.link_error: OpenhaError | bool | None = None
        """What the peer link raises; True if it works, None if there is none."""
        self.is_start_failing = False
        self.is_start_awaited = False
        self.is_slow = False
        self.is_stop_failing = False
        self.refusal = ""
        self.unanswered = 0
        self.now = 0.0
        self._due: dict[str, S] = {}
        self._holding = ""
        """What this node stopped is the other's to take."""
        self._agents: dict[str, Callable[[str, bool, str], int]] = {}
        for node in self.states:
            layout = agent_layout(
                "",
                {
                    f"OSVC_{word}": str(root / node / word.lower())
                    for word in ("ETC", "VAR", "LOG", "BIN")
                },
            )
            for folder in (layout.etc_dir, layout.var_dir, layout.log_dir):
                Path(folder).mkdir(parents=True)
            Path(layout.etc_dir, "web.env").write_text("[hb#0]\ntype = OpenHA\nname = webha\n")
            self._agents[node] = self._agent(node, layout)

    def _agent(self, node: str, layout: AgentLayout) -> Callable[[str, bool, str], int]:
        def run(action: str, is_remote: bool, to_node: str = "") -> int:
            with open_log(layout.log_dir, "web") as log:
                view = ClusterView(
                    lambda: self._status(node),
                    act=lambda command, *_names: self._act(node, command),
                    order_peer=None if self.link_error is None else self.order_peer,
                )
                self.service = load_service(layout, "web", log, view)
                return EmbeddedActions(self.service, is_remote, to_node).run(action, 1.0)

        return run

    def ask(self, action: str, to_node: str = "") -> int:
        """A person's action on deb1."""
        return self._agents["deb1"](action, False, to_node)

    def _status(self, node: str) -> NodeStatus:
        if self.unanswered:
            self.unanswered -= 1
            raise NotAnsweringError("nmond does not answer")
        peer = "deb2" if node == "deb1" else "deb1"
        states = dict(self.states) if self.is_peer_heard else {**self.states, peer: S.UNKNOWN}
        service = ServiceStatus(
            "webha",
            "deb1",
            "deb2",
            states["deb1"],
            states["deb2"],
            states[node],
            states[peer],
            "so it is",
        )
        standing = (
            PeerStanding.DEPARTED
            if self.has_peer_left
            else PeerStanding.LIVE
            if self.is_peer_heard
            else PeerStanding.SILENT
        )
        return NodeStatus(node, peer, 1, standing, "", (), (service,))

    def _act(self, node: str, command: Command) -> list[ClusterAnswer]:
        self.done.append(f"{node} {command.value}")
        state = self.states[node]
        if command is Command.FREEZE_STOP:
            if state in (S.STOPPED, S.START_READY):
                self.states[node] = S.FROZEN_STOP
            elif state is S.STARTED:
                self.states[node] = S.STOPPING
                self._due[node] = S.STOP_FAILED if self.is_stop_failing else S.FROZEN_STOP
            else:
                return [ClusterAnswer(f"Cannot freeze-stop: {state.name}", False, is_refused=True)]
        elif command is Command.FREEZE_START:
            self.states[node] = S.FROZEN_START
        elif command is Command.UNFREEZE:
            self.states[node] = {S.FROZEN_STOP: S.STOPPED, S.FROZEN_START: S.STARTED}[state]
        elif command is Command.STOP:
            self.states[node], self._due[node] = S.STOPPING, S.STOPPED
            self._holding = node
        else:
            assert command is Command.START
            if self.refusal:
                return [ClusterAnswer(self.refusal, False, is_refused=True)]
            if state is S.STOPPED:
                self._begin(node)
            if self.is_start_awaited:
                self.states[node] = self._due.pop(node)
                is_ok = self.states[node] is S.STARTED
                return [ClusterAnswer("done" if is_ok else "start failed", is_ok)]
        return [ClusterAnswer("done")]

    def _begin(self, node: str) -> None:
        self.states[node], self._due[node] = (
            S.STARTING,
            S.START_FAILED if self.is_start_failing else S.STARTED,
        )

    def pass_time(self, seconds: float) -> None:
        """What was begun is over, and a node that is standby takes what no node runs."""
        self.now += seconds
        if self.is_slow and self.now < 10 * CHANGE_LIMIT_S:
            return
        for node, state in self._due.items():
            self.states[node] = state
        self._due = {}
        runs = [
            node for node, state in self.states.items() if state not in (S.STOPPED, S.FROZEN_STOP)
        ]
        waiting = [
            node
            for node, state in self.states.items()
            if state is S.STOPPED and node != self._holding
        ]
        if not runs and waiting:
            self._begin(waiting[0])

    def order_peer(self, service: str, action: str, on_line: Callable[[str], None]) -> JobEnd:
        """The peer's agent does its part, asked over the peer link; or the link's error."""
        assert service == "web"
        self.done.append(f"link: {action}")
        if isinstance(self.link_error, OpenhaError):
            raise self.link_error
        local = self.service
        try:
            code, line = self._agents["deb2"](action, True, ""), "09:10:11 INFO   web done there"
        except (RefusedError, ActionError) as error:
            code, line = error.exit_code, str(error)
        finally:
            self.service = local
        on_line(line)
        return JobEnd(code, (line,))

    def ssh(self, command: list[str], limit_s: float) -> CommandResult:
        """The peer's agent does its part."""
        words = command[-1].split()
        action = words[words.index("--remote") - 1]
        self.done.append(f"deb2's agent: {action}")
        assert command[-3] == "root@deb2" and "-s web --waitlock" in command[-1]
        assert limit_s == 3600, "the script of a service may take that long"
        if not self.is_ssh_there:
            return CommandResult(255, "Permission denied (publickey).")
        service = self.service
        try:
            return CommandResult(
                self._agents["deb2"](action, True, ""), "09:10:11 INFO   web done there\n"
            )
        except (RefusedError, ActionError) as error:
            return CommandResult(error.exit_code, str(error))
        finally:
            self.service = service
