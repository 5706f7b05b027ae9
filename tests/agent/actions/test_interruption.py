"""Ctrl-C and SIGTERM end the whole command: neither the next service, resource, node nor fallback
is begun after them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from opensvc_openha.errors import ActionError, InterruptedAction, OpenhaError
from opensvc_openha.system.identity import node_name
from tests.agent.embedded import PACKAGE_ROOT, Agent
from tests.waiting import until

SLOW = "touch $0.began; sleep 60"
INTERRUPTIONS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])


def app(agent: Agent, index: int, name: str, body: str = "", more: str = "") -> str:
    script = agent.script(name, f'[ "$1" = start ] && {{ {body or ":"}; }}')
    return (
        f"[app#{index}]\nscript = {script}\nstart = {index}\nstop = {index}\ncheck ="
        f" {index}\n{more}\n"
    )


def changes(agent: Agent) -> list[str]:
    return [call for call in agent.calls if not call.endswith("status")]


def interrupt(agent: Agent, number: int, began: str, *args: str, path: str = "") -> tuple[int, str]:
    """Runs a command until a file shows that it is at it, then sends it a signal.

    Its exit code and stderr.
    """
    env = dict(
        os.environ,
        PYTHONPATH=PACKAGE_ROOT,
        PATH=f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"],
    )
    command = [sys.executable, "-m", "opensvc_openha.cli.svcmgr", *args]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    until((agent.root / began).exists)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_an_interruption_is_no_error() -> None:
    """What handles errors, and continues after them, cannot take it for one."""
    assert not issubclass(InterruptedAction, (OpenhaError, Exception))


@INTERRUPTIONS
def test_the_next_service_is_not_touched(agent: Agent, number: signal.Signals) -> None:
    """Two services in one command: the first is rolled back, the second is not begun, and named."""
    agent.write("a", app(agent, 1, "one", SLOW))
    agent.write("b", app(agent, 1, "two"))
    code, err = interrupt(agent, number, "one.began", "-s", "a,b", "start")
    assert code == 128 + number and "rolling back" in err and "start was not run for b" in err, err
    assert changes(agent) == ["one start", "one stop"]


@INTERRUPTIONS
def test_boot_does_not_fall_back_to_the_standby_resources(
    agent: Agent, number: signal.Signals
) -> None:
    """The machine goes down again while it boots its services: nothing is started after the
    rollback, here or elsewhere.
    """
    text = f"[DEFAULT]\nautostart_node = {node_name()}\n"
    standby = app(agent, 1, "standby", more=f"always_on = {node_name()}").replace(
        "start = 1", "start = 9"
    )
    agent.write("a", text + standby + app(agent, 2, "one", SLOW))
    agent.write("b", text + app(agent, 1, "two"))
    code, err = interrupt(agent, number, "one.began", "boot")
    assert code == 128 + number and "standby resources only" not in err, err
    assert changes(agent) == ["one start", "one stop"]


@INTERRUPTIONS
def test_the_next_node_is_not_sent_to(agent: Agent, number: signal.Signals) -> None:
    """A copy to the first of two nodes is interrupted: the second gets none."""
    tools = agent.root / "tools"
    tools.mkdir()
    (tools / "rsync").write_text(
        f"#!/bin/sh\necho rsync >> {agent.root}/calls\ntouch {agent.root}/rsync.began\nsleep 60\n"
    )
    (tools / "rsync").chmod(0o755)
    data = agent.root / "data"
    data.mkdir()
    nodes = f"[DEFAULT]\nnodes = {node_name()} second.opensvc.com third.opensvc.com\n"
    agent.write("a", nodes + app(agent, 1, "one") + f"[sync#1]\nsrc = {data}\ndst = /srv\n")
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    code, err = interrupt(
        agent, number, "rsync.began", "-s", "a", "--rid=sync#1", "syncnodes", path=str(tools)
    )
    assert code == 128 + number, err
    assert agent.calls.count("rsync") == 1


@INTERRUPTIONS
def test_a_stop_does_not_go_on_with_the_other_resources(
    agent: Agent, number: signal.Signals
) -> None:
    """An application that stops badly does not keep the rest up, but an interruption in it does."""
    agent.write("a", app(agent, 1, "one") + app(agent, 2, "two"))
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    first = agent.root / "one"
    first.write_text(
        first.read_text().replace(
            "#!/bin/sh\n", "#!/bin/sh\n[ $1 != stop ] || { touch $0.began; sleep 60; }\n"
        )
    )
    code, err = interrupt(agent, number, "one.began", "-s", "a", "stop")
    assert code == 128 + number and "continuing" not in err, err
    assert "two stop" not in agent.calls


def test_an_error_still_lets_the_next_service_be_acted_on(agent: Agent) -> None:
    """The counterpart: a start that fails by itself keeps no other service from being started."""
    agent.write("a", app(agent, 1, "one", "exit 1"))
    agent.write("b", app(agent, 1, "two"))
    assert agent.svcmgr("-s", "a,b", "start").exit_code == ActionError.exit_code
    assert "two start" in agent.calls
