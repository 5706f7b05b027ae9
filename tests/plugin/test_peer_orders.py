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
from opensvc_openha.plugin.agents import find_agents
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
