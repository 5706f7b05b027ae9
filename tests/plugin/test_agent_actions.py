"""What the driver of a real agent is asked to do, word by word, on a cluster of two modelled
daemons.

The real drivers, agents and daemons are in test_contract.py.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.agent.actions import cluster_actions
from opensvc_openha.agent.values.cluster_client import ClusterAnswer, ClusterView
from opensvc_openha.core.events import Command
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.errors import (
    NoPeerLinkError,
    NotAnsweringError,
    NotRunningError,
    OpenhaError,
    RefusedError,
    UnknownOutcomeError,
)
from opensvc_openha.formats.layout import AgentLayout
from opensvc_openha.peer_link.client import JobEnd
from opensvc_openha.plugin.agent_actions import ACTIONS, AgentActions, Request
from tests.agent.actions.modelled_cluster import Model


class Driven(Model):
    """Each node's agent is a real one, and its driver answers for the peer."""

    def __init__(self, root: Path, first: S, second: S) -> None:
        super().__init__(root, first, second)
        self.printed: list[str] = []
        self.nodes: Sequence[str] = ("deb1", "deb2")
        self.is_dry_run = False
        self.peer_code = ""
        """What the peer is made to have answered, though it was not asked."""
        self.peer_answers = ""
        """Its answer after it did what it was asked for."""
        self.to = ""
        self.is_peer_thawing = True
        self.is_lost = False
        """The daemon ends when it is asked for something."""
        self.down: NotRunningError | None = None

    def _agent(self, node: str, layout: AgentLayout) -> Callable[[str, bool, str], int]:
        def run(action: str, is_remote: bool, to_node: str = "") -> int:
            printed = [] if is_remote else self.printed
            codes: list[str] = []

            def send(word: str, text: str) -> None:
                printed.append(f"{word} {text}")
                if word == "peer":
                    codes.append(self.peer_code or self._ask_peer(text))

            def fetch() -> object:
                if self.down is not None:
                    raise self.down
                return self._status(node)

            view = ClusterView(
                fetch,  # type: ignore[arg-type]
                act=lambda command, *_names: self._act_or_fail(node, command),
                order_peer=None if self.link_error is None else partial(self._over_link, node),
            )
            request = Request(action, node, self.nodes, is_remote, self.is_dry_run, to_node)
            return AgentActions(
                "webha", view, "/opt/service", request, send, lambda: codes.pop() + "\n"
            ).run()

        return run

    def _act_or_fail(self, node: str, command: Command) -> list[ClusterAnswer]:
        if self.is_lost:
            raise NotRunningError("nmond is not running")
        return self._act(node, command)

    def _over_link(
        self, node: str, service: str, action: str, on_line: Callable[[str], None]
    ) -> JobEnd:
        """The peer's agent does its part, asked over the peer link; or the link's error."""
        assert service == "webha"
        peer = "deb2" if node == "deb1" else "deb1"
        self.done.append(f"link to {peer}: {action}")
        if isinstance(self.link_error, OpenhaError):
            raise self.link_error
        code = int(self.peer_code or self._agents[peer](action, True, ""))
        on_line(f"{action} was seen there")
        return JobEnd(code, (f"{action} was seen there",))

    def _ask_peer(self, text: str) -> str:
        node, action, remote = text.split()
        assert remote == "--remote"
        if node == "deb1" and not self.is_peer_thawing:
            return "0"
        code = self._agents[node.lower()](action, True, "")
        return self.peer_answers or str(code)


Make = Callable[[S, S], Driven]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes the cluster in a state."""

    def made(first: S, second: S) -> Driven:
        model = Driven(tmp_path, first, second)
        monkeypatch.setattr(cluster_actions, "pause", model.pass_time)
        monkeypatch.setattr(cluster_actions, "monotonic", lambda: model.now)
        return model

    yield made


def cases() -> list[str]:
    """Returns the blocks of agent_actions.txt."""
    text = Path(__file__).with_name("agent_actions.txt").read_text(encoding="utf-8")
    return [f"$ {block}".rstrip() for block in text.split("\n$ ")[1:]]


def set_up(model: Driven, option: str) -> None:
    """Sets one option of a case, as in ``is_dry_run=yes``."""
    name, value = option.split("=")
    values: dict[str, Any] = {
        "yes": True,
        "no": False,
        "off": NoPeerLinkError("this node has no peer link", "OFF"),
        "withdrawn": NoPeerLinkError("the request did not reach deb2", "WITHDRAWN"),
        "refused": RefusedError("deb2: the OpenSVC agent here is a 1.7"),
        "unknown": UnknownOutcomeError("deb2 cannot be asked"),
        "not-running": NotRunningError("nmond is not running"),
        "not-answering": NotAnsweringError("nmond does not answer"),
    }
    assert hasattr(model, name), name
    setattr(
        model,
        name,
        [node for node in value.split(",") if node]
        if name == "nodes"
        else values.get(value, value),
    )


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.split("\n")[0][2:])
def test_driver_and_daemons_are_asked_for_each_step(make: Make, case: str) -> None:
    head = case.split("\n")[0]
    action, states, *options = shlex.split(head[2:])
    own, peer = states.split("/")
    model = make(S[own], S[peer])
    for option in options:
        set_up(model, option)
    code = model.ask(action, model.to)
    assert [
        head,
        *(f"  {line}".rstrip() for line in model.printed),
        f"  daemons: {', '.join(model.done) or 'nothing'}",
        f"  exit {code}",
    ] == case.split("\n")


def test_each_action_of_a_driver_is_tried() -> None:
    assert {case.split()[1] for case in cases()} == set(ACTIONS)
