"""What an order of the other node's real agent runs on this one: the words of the agent here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from opensvc_openha.errors import RefusedError
from opensvc_openha.peer_link.client import JobEnd, new_job_id
from opensvc_openha.peer_link.protocol import AgentKind, JobRequest, OrderRequest
from opensvc_openha.peer_link.server import Program
from opensvc_openha.plugin import agent_1x, peer_orders
from opensvc_openha.plugin.agent_services import AgentService
from opensvc_openha.plugin.agents import find_agents
from opensvc_openha.plugin.installed_agent import Agent
from opensvc_openha.plugin.peer_orders import ACTIONS, order_command
from tests.peer_link.test_requests import Serving
from tests.plugin.minimal_agent import LINES, PEER, SVC, Host

WORDS = dict.fromkeys(("1.6", "1.7", "1.8"), "--waitlock 60 ")
"""What the `remote_action` of each line puts before the action, as the agents' logs show it."""


def with_command(root: Path, line: str) -> Host:
    """Return an agent whose service has the command that agents call by ssh: it prints itself."""
    host = Host(root, line, "")
    host._script(host.home / "etc" / SVC, 'echo "$0 $*"; exit 6')
    return host


def ordered(host: Host, action: str = "stop", service: str = "registry", line: str = "") -> str:
    """Return the command line of an order to this agent, without the agent's directory."""
    command = order_command(find_agents(str(host.home)), service, action, line or host.line)
    return " ".join(command).removeprefix(f"{host.home}/")


@pytest.mark.parametrize("line", sorted(WORDS))
@pytest.mark.parametrize("action", ACTIONS)
def test_command_line_is_the_one_that_the_agents_ssh_would_run(
    tmp_path: Path, line: str, action: str
) -> None:
    """The service by its name in the agent, the words of the line."""
    assert ordered(with_command(tmp_path, line), action) == (
        f"etc/{SVC} {WORDS[line]}{action} --remote"
    )


def test_each_line_that_asks_a_driver_takes_orders() -> None:
    """The 1.5 refuses actions before it asks one."""
    assert sorted(WORDS) == sorted(set(LINES) - {"1.5"})


def test_order_over_a_link_runs_the_agents_command(tmp_path: Path) -> None:
    """From the request of a proven peer to the command, its output and its exit code."""
    host = with_command(tmp_path, "1.8")
    serving = Serving(tmp_path)

    def program(request: JobRequest) -> Program:
        assert isinstance(request, OrderRequest) and request.agent is AgentKind.REAL
        agents = find_agents(str(host.home))
        return Program(order_command(agents, request.service, request.action, request.line))

    serving.node.program = program  # type: ignore[method-assign]  # as cli.peer_node does
    with serving:
        peer = serving.peer()
        asked = OrderRequest(new_job_id(), "registry", "stop", AgentKind.REAL, "1.8")
        assert peer.execute(asked) == JobEnd(
            6, (f"{host.home}/etc/{SVC} {WORDS['1.8']}stop --remote",)
        )
        other = OrderRequest(new_job_id(), "registry", "stop", AgentKind.REAL, "1.7")
        with pytest.raises(RefusedError, match=r"node2: the OpenSVC agent here is a 1\.8, the one"):
            peer.execute(other)
    assert len(os.listdir(serving.folder / "requests")) == 1


def add_namesake(host: Host) -> None:
    """Give another service the same name in the cluster."""
    shutil.copy(host.service_file, host.home / "etc" / "other.conf")


def break_nodes(host: Host) -> None:
    """Leave one node in the service file."""
    host.service_file.write_text(host.service_file.read_text().replace(f" {PEER}", ""))


def hide_agent(host: Host) -> None:
    """Remove the agent, and leave this package's files."""
    (host.home / "lib" / "resHb.py").unlink()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (add_namesake, "more than one service here: .*other.conf and .*"),
        (break_nodes, "expected two, found 1"),
        (hide_agent, "no OpenSVC agent is installed here"),
        (lambda host: (host.home / "etc" / SVC).unlink(), f"etc/{SVC}: no command that can be run"),
        (lambda host: (host.home / "etc" / SVC).chmod(0o644), "no command that can be run"),
        (
            lambda host: host.service_file.unlink(),
            "no service of the OpenSVC agent here is registry for the cluster",
        ),
    ],
    ids=["two of that name", "one node", "removed agent", "no command", "mode", "no service"],
)
def test_order_that_would_not_be_what_ssh_runs_is_refused(
    tmp_path: Path, spoil: Callable[[Host], None], why: str
) -> None:
    """Refused before anything runs, so that ssh may still be used."""
    host = with_command(tmp_path, "1.8")
    spoil(host)
    with pytest.raises(RefusedError, match=why):
        ordered(host)


@pytest.mark.parametrize(
    ("line", "asked", "why"),
    [
        ("1.7", "1.8", "the OpenSVC agent here is a 1.7, the one that asks is a 1.8"),
        ("1.8", "1.7", "here is a 1.8, the one that asks is a 1.7"),
        ("1.8", "", "the one that asks has no known version"),
        ("1.5", "1.5", "the OpenSVC agent 1.5 takes no orders"),
    ],
)
def test_order_of_another_line_of_agents_is_refused(
    tmp_path: Path, line: str, asked: str, why: str
) -> None:
    """Their words differ; and the 1.5 would take the order for its own."""
    agents = find_agents(str(with_command(tmp_path, line).home))
    with pytest.raises(RefusedError, match=why):
        order_command(agents, "registry", "stop", asked)


def test_switch_is_no_order_of_a_real_agent(tmp_path: Path) -> None:
    """It would move the service back."""
    with pytest.raises(RefusedError, match="'switch --remote' is nothing that an OpenSVC agent"):
        ordered(with_command(tmp_path, "1.8"), "switch")


# --- with agents in memory ------------------------------------------------------------------------


LINE_OF = {line.name: line for line in agent_1x.LINES}


def installed(tmp_path: Path, line: str = "1.8", is_gone: bool = False) -> Agent:
    """An agent of a line, whose command for the service can be run."""
    made = Agent(LINE_OF[line], str(tmp_path / line), is_gone=is_gone)
    command = Path(made.service_command(SVC))
    command.parent.mkdir(parents=True, exist_ok=True)
    command.touch(0o755)
    return made


def a_service(name: str = "registry", problem: str = "", file: str = "a.conf") -> AgentService:
    return AgentService(SVC, name, ("a", "b"), True, file, problem)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[AgentService]]:
    """The services of each line of agents."""
    found: dict[str, list[AgentService]] = {"1.8": [a_service()]}
    monkeypatch.setattr(peer_orders, "read_services", lambda agent: found.get(agent.line.name, []))
    return found


Services = dict[str, list[AgentService]]


@pytest.mark.parametrize("action", ["start", "stop", "freeze", "thaw"])
def test_order_is_the_line_of_the_one_agent_with_the_service(
    tmp_path: Path, services: Services, action: str
) -> None:
    """One that was removed, or does not know it, is passed over."""
    agents = [
        installed(tmp_path, "1.8", is_gone=True),
        installed(tmp_path, "1.7"),
        installed(tmp_path, "1.8"),
    ]
    services["1.8"].append(a_service("other"))
    assert order_command(agents, "registry", action, "1.8") == [
        agents[2].service_command(SVC),
        *("--waitlock", "60", action, "--remote"),
    ]


@pytest.mark.parametrize(
    ("action", "line", "found", "why"),
    [
        ("switch", "1.8", [a_service()], "'switch --remote' is nothing that"),
        ("stop", "1.7", [a_service()], "here is a 1.8, the one that asks is a 1.7"),
        ("stop", "", [a_service()], "here is a 1.8, the one that asks has no known version"),
        ("stop", "1.8", [], "no service of the OpenSVC agent here is registry for the cluster"),
        ("stop", "1.8", [a_service("other")], "here is registry for the cluster"),
        ("stop", "1.8", [a_service(problem="one node only")], "^one node only$"),
        (
            "stop", "1.8", [a_service(), a_service(file="b.conf")],
            r"registry is the name of more than one service here: a\.conf and b\.conf",
        ),
    ],
)  # fmt: skip
def test_order_that_is_not_clear_is_refused(
    tmp_path: Path,
    services: Services,
    action: str,
    line: str,
    found: list[AgentService],
    why: str,
) -> None:
    """Before anything runs."""
    services["1.8"] = found
    with pytest.raises(RefusedError, match=why):
        order_command([installed(tmp_path)], "registry", action, line)


def test_agent_that_takes_no_orders_or_is_not_there_is_named(
    tmp_path: Path, services: Services
) -> None:
    """And a command that is a directory, or cannot be run."""
    services["1.5"] = [a_service()]
    with pytest.raises(RefusedError, match=r"agent 1\.5 takes no orders"):
        order_command([installed(tmp_path, "1.5")], "registry", "stop", "1.5")
    for agents in ([], [installed(tmp_path, is_gone=True)]):
        with pytest.raises(RefusedError, match="no OpenSVC agent is installed here"):
            order_command(agents, "registry", "stop", "1.8")
    agent = installed(tmp_path)
    command = Path(agent.service_command(SVC))
    command.chmod(0o644)
    with pytest.raises(RefusedError, match="no command that can be run"):
        order_command([agent], "registry", "stop", "1.8")
    command.unlink()
    command.mkdir()
    with pytest.raises(RefusedError, match="no command that can be run"):
        order_command([agent], "registry", "stop", "1.8")


def test_peer_is_asked_with_the_line_of_this_nodes_agent(
    tmp_path: Path, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason of the order; what it prints is passed on, and how it ended returned."""
    asked: list[object] = []

    class Peer:
        def execute(self, *words: object) -> JobEnd:
            asked.extend(words)
            return JobEnd(0, ("done",))

    def find(home: str | None) -> list[Agent]:
        assert home is None
        return [installed(tmp_path)]

    layout = object()
    monkeypatch.setattr(peer_orders, "find_peer", lambda each: Peer() if each is layout else None)
    monkeypatch.setattr(peer_orders, "find_agents", find)
    monkeypatch.setenv("OPENHA_REASON", "CHG-12")
    end = peer_orders.ask_peer(layout, "registry", "stop", print)  # type: ignore[arg-type]
    [request, on_line] = asked
    assert end == JobEnd(0, ("done",)) and on_line is print
    assert isinstance(request, OrderRequest) and request.job_id
    assert (request.service, request.action, request.line) == ("registry", "stop", "1.8")
    assert request.agent is AgentKind.REAL and request.order_reason == "CHG-12"


def test_without_a_peer_link_no_agent_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no other reason for ssh to log."""

    def refuse(_: object) -> None:
        raise RefusedError("no link")

    monkeypatch.setattr(peer_orders, "find_peer", refuse)
    monkeypatch.setattr(peer_orders, "find_agents", lambda _: pytest.fail("it was looked for"))
    with pytest.raises(RefusedError, match="no link"):
        peer_orders.ask_peer(None, "registry", "stop", print)  # type: ignore[arg-type]
