"""--dry-run: what an action would do is reported in its order, and nothing is done."""

from __future__ import annotations

import os

import pytest

from opensvc_openha.agent.actions.service_actions import FROZEN, SAFETY_NET
from tests.agent.embedded import Agent

NODE = os.uname().nodename.lower()


@pytest.fixture
def service(agent: Agent) -> Agent:
    """Two applications, one with triggers, and one that is only optional and always on."""
    one, two, three = (agent.script(name) for name in ("one", "two", "three"))
    agent.write(
        "a",
        f"[app#1]\nscript = {one}\nstart = 10\nstop = 20\ncheck = 1\npre_start = echo"
        f" first\nblocking_post_start = echo last\n[app#2]\nscript = {two}\nstart = 20\nstop ="
        f" 10\ncheck = 1\n[app#3]\nscript = {three}\nstart = 30\nstop = 30\ncheck = 1\nalways_on ="
        f" {NODE}\noptional = true\n",
    )
    return agent


def changes(agent: Agent) -> list[str]:
    return [call for call in agent.calls if not call.endswith(" status")]


def test_start_is_listed_in_its_order_and_not_done(service: Agent) -> None:
    """Triggers around their resource, one resource that is up already: all reported, no script
    called but to look.
    """
    service.svcmgr("-s", "a", "start", "--rid", "app#2")
    outcome = service.svcmgr("-s", "a", "start", "--dry-run")
    assert (outcome.exit_code, outcome.out.splitlines()) == (
        0,
        [
            f"a: dry run of start on {NODE}, nothing is done",
            "  run pre_start of app#1: echo first",
            "  start app#1 (one): is down",
            "  run blocking_post_start of app#1: echo last",
            "  leave app#2 (two): is up",
            "  start app#3 (three, optional): is down",
        ],
    )
    assert changes(service) == ["two start"]


def test_stop_and_restart_are_listed_in_their_order(service: Agent) -> None:
    """The reverse, standby left unless forced.

    After the stop of a restart everything else is to be started.
    """
    service.svcmgr("-s", "a", "start")
    before = changes(service)
    stop = service.svcmgr("-s", "a", "stop", "--dry-run").out.splitlines()[1:]
    assert stop == [
        "  stop app#2 (two): is up",
        "  stop app#1 (one): is up",
        "  leave app#3 (three, optional): a standby resource (--force stops it)",
    ]
    forced = service.svcmgr("-s", "a", "stop", "--dry-run", "--force").out
    assert "  stop app#3 (three, optional): is up" in forced
    restart = service.svcmgr("-s", "a", "restart", "--dry-run").out.splitlines()
    assert restart[1:4] == stop
    assert [line for line in restart[5:] if "app#" in line and "run " not in line] == [
        "  start app#1 (one): is down",
        "  start app#2 (two): is down",
        "  leave app#3 (three, optional): is up",
    ]
    assert changes(service) == before


def test_choice_and_groups_count(service: Agent) -> None:
    """--rid, startapp and a group without resources."""
    assert "app#2" not in service.svcmgr("-s", "a", "start", "--rid", "app#1", "--dry-run").out
    assert "app#2" in service.svcmgr("-s", "a", "startapp", "--dry-run").out
    assert "no such resource" in service.svcmgr("-s", "a", "startip", "--dry-run").err
    assert changes(service) == []


@pytest.mark.parametrize(
    "more, action, exit_code, message",
    [
        ("[container#1]\ntype = lxc\n", "start", 6, "start refused: container#1"),
        ("[hb#0]\ntype = OpenHA\n", "start", 1, SAFETY_NET),
        ("[DEFAULT]\nnodes = elsewhere\n", "start", 5, "is none of the nodes of a"),
        ("", "docker ps", 2, "--dry-run is not for docker"),
        ("", "syncnodes", 0, ""),
    ],
)
def test_what_refuses_the_action_refuses_its_dry_run(
    service: Agent, more: str, action: str, exit_code: int, message: str
) -> None:
    """A resource that cannot be started, a cluster that decides, a foreign node, a command that is
    not ours: the same exit codes.
    """
    path = service.etc / "a.env"
    path.write_text(path.read_text() + more)
    outcome = service.svcmgr("-s", "a", "--dry-run", *action.split())
    assert outcome.exit_code == exit_code
    assert message in outcome.err
    assert changes(service) == []


def test_freeze_is_listed_and_not_done(service: Agent) -> None:
    """freeze --dry-run leaves it as it is; of a frozen service a start is refused."""
    assert "would be frozen" in service.svcmgr("-s", "a", "freeze", "--dry-run").out
    assert service.svcmgr("-s", "a", "frozen").out == "False\n"
    service.svcmgr("-s", "a", "freeze")
    outcome = service.svcmgr("-s", "a", "start", "--dry-run")
    assert (outcome.exit_code, FROZEN in outcome.err) == (1, True)
