"""Starts of resources by hand on the node whose peer runs the service."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from opensvc_openha.agent.actions.action_options import ActionOptions
from opensvc_openha.agent.actions.dispatch import perform
from opensvc_openha.agent.service.loaded_service import ResourceSelector, load_service
from opensvc_openha.agent.values.action_log import open_log
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.core.states import MAY_RUN
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.errors import NotRunningError, RefusedError
from opensvc_openha.formats.layout import AgentLayout
from opensvc_openha.system.identity import node_name
from tests.agent.embedded import Agent

REFUSED = RefusedError.exit_code
BY_RID = ActionOptions(ResourceSelector(rids=("app#1",)))
IN_CLUSTER = ActionOptions(is_cluster=True)


def service_file(agent: Agent) -> None:
    """One script, and a heartbeat."""
    agent.write(
        "web",
        f"""
        [DEFAULT]
        nodes = {node_name()} peer1

        [app#1]
        script = {agent.script("web.sh")}
        start = 1
        stop = 1
        check = 1

        [hb#0]
        type = OpenHA
        name = web
    """,
    )


def view(
    state: S, standing: PeerStanding = PeerStanding.LIVE, own_only: tuple[str, ...] = ()
) -> ClusterView:
    """A daemon that reports this of the peer."""
    service = ServiceStatus("web", node_name(), "peer1", S.STOPPED, state, S.STOPPED, state)
    node = NodeStatus(node_name(), "peer1", 1, standing, "", (), (service,), own_only=own_only)
    return ClusterView(lambda: node)


def run(agent: Agent, cluster: ClusterView, action: str, options: ActionOptions) -> int:
    """The action on the service of this node."""
    service_file(agent)
    layout = AgentLayout(*(str(agent.root / name) for name in ("etc", "var", "log", "bin")))
    with open_log(layout.log_dir, "web") as log:
        return perform(load_service(layout, "web", log, cluster), action, options)


@pytest.mark.parametrize("state", sorted(MAY_RUN, key=str))
@pytest.mark.parametrize(
    "action, options",
    [
        ("start", BY_RID),
        ("start", IN_CLUSTER),
        ("restart", BY_RID),
        ("restart", IN_CLUSTER),
        ("startapp", IN_CLUSTER),
    ],
    ids=lambda value: (
        value if isinstance(value, str) else "by rid" if value is BY_RID else "with --cluster"
    ),
)
def test_start_by_hand_is_refused_where_the_peer_may_run_the_service(
    agent: Agent, state: S, action: str, options: ActionOptions
) -> None:
    """Exit code 5, the peer and its state are named, and no script was called: neither started nor
    stopped.
    """
    assert run(agent, view(state), action, options) == REFUSED
    assert agent.calls == []
    err = agent.capture.readouterr().err
    assert state.name in err and "peer1" in err and "--force" in err


@pytest.mark.parametrize("state", [S.STOPPED, S.FROZEN_STOP, S.START_READY])
def test_start_by_hand_is_done_where_the_peer_is_out(agent: Agent, state: S) -> None:
    """Maintenance with the cluster frozen: that is what --cluster is for."""
    assert run(agent, view(state), "start", IN_CLUSTER) == 0
    assert "web.sh start" in agent.calls


@pytest.mark.parametrize(
    "cluster",
    [
        pytest.param(view(S.UNKNOWN, PeerStanding.SILENT), id="peer silent"),
        pytest.param(view(S.UNKNOWN, own_only=("web",)), id="peer does not have the service"),
    ],
)
def test_start_by_hand_is_done_where_the_daemon_knows_nothing_of_the_peer(
    agent: Agent, cluster: ClusterView
) -> None:
    """Then the operator knows better."""
    assert run(agent, cluster, "start", IN_CLUSTER) == 0
    assert "web.sh start" in agent.calls


def test_start_by_hand_is_done_without_a_daemon(agent: Agent) -> None:
    """No daemon can be asked."""

    def fetch() -> NodeStatus:
        raise NotRunningError("nmond is not running on this node")

    assert run(agent, ClusterView(fetch), "start", IN_CLUSTER) == 0
    assert "web.sh start" in agent.calls


def test_force_starts_beside_the_peer(agent: Agent) -> None:
    """--force is the operator's word."""
    assert run(agent, view(S.STARTED), "start", ActionOptions(is_cluster=True, is_forced=True)) == 0
    assert "web.sh start" in agent.calls


def test_stop_by_hand_is_never_refused_for_the_peer(agent: Agent) -> None:
    """It is how a second copy is ended."""
    assert run(agent, view(S.STARTED), "stop", IN_CLUSTER) == 0


def test_dry_run_is_refused_as_the_action_would_be(agent: Agent) -> None:
    """It promises nothing that would not be done."""
    assert (
        run(agent, view(S.STARTED), "start", ActionOptions(is_cluster=True, is_dry_run=True))
        == REFUSED
    )


def test_start_that_the_daemon_calls_is_done(agent: Agent, tmp_path: Path) -> None:
    """The daemon has decided it: the process that runs the wrapper descends from it.

    Its environment alone is no proof.
    """
    code = (
        "import os, sys\n"
        "from opensvc_openha.agent.values.cluster_client import ClusterView\n"
        "print(ClusterView(lambda: None, daemon_pid=lambda: int(sys.argv[1])).is_daemons_call())\n"
    )

    def reports(pid: int, **environment: str) -> str:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("OPENHA_")}
        shell = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", code, str(pid)]
        return subprocess.run(
            shell, env={**clean, **environment}, stdout=subprocess.PIPE, text=True, check=True
        ).stdout.strip()

    assert reports(os.getpid(), OPENHA_ACTION="start") == "True"
    assert reports(os.getpid()) == "False"
    assert reports(2_000_000_000, OPENHA_ACTION="start") == "False"
    assert reports(0, OPENHA_ACTION="start") == "False"
