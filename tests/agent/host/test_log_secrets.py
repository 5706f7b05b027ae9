"""The agent's files under any umask, and what its logs keep to themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.agent.host.commands import run_or_fail
from opensvc_openha.agent.values.action_log import open_log
from opensvc_openha.errors import ActionError
from tests.agent.embedded import Agent
from tests.file_modes import wrong_modes


@pytest.fixture(params=[0, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """An umask that closes nothing, and one that closes all."""
    former = os.umask(request.param)
    yield request.param
    os.umask(former)


def test_agent_directories_have_their_modes_under_any_umask(agent: Agent, umask: int) -> None:
    """Actions, a freeze and a directory resource: locks 0600, logs 0640, the rest readable for all
    and writable for root.
    """
    script = agent.script("app.sh")
    agent.write(
        "a",
        f"[app#1]\nscript = {script}\nstart = 1\nstop = 1\ncheck = 1\n"
        f"[fs#2]\ntype = directory\npath = {agent.root}/deep/er\n",
    )
    for path in agent.root.rglob("*"):
        path.chmod(0o755)
    for action in ("start", "freeze", "stop"):
        agent.svcmgr("-s", "a", action)
    for path in (*agent.root.glob("app.sh*"), agent.root / "calls"):
        if path.exists():
            path.chmod(0o755)
    assert wrong_modes(agent.root, {".lock": 0o600, ".log": 0o640, ".out": 0o640}) == {}
    assert {"action.lock", "a.log", "er"} <= {path.name for path in agent.root.rglob("*")}


def test_lock_of_an_older_version_is_closed(agent: Agent) -> None:
    """An action.lock of 0644, which any user could hold so that a takeover ended in START_FAILED:
    closed with the next action.
    """
    script = agent.script("app.sh")
    agent.write("a", f"[app#1]\nscript = {script}\nstart = 1\nstop = 1\ncheck = 1\n")
    lock = agent.root / "var" / "a" / "action.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    lock.chmod(0o644)
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    assert lock.stat().st_mode & 0o777 == 0o600


def test_passwords_of_commands_are_in_no_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fence that fails and prints its password: masked on the screen, in the file of 0640 and in
    the error.
    """
    with open_log(str(tmp_path), "a") as log, pytest.raises(ActionError) as failed:
        run_or_fail(
            log,
            [
                "/bin/sh",
                "-c",
                "echo login with password=s3cr3t; false # ipmitool -U admin -P Pa55w0rd power off",
            ],
        )
    text = (tmp_path / "a.log").read_text() + capsys.readouterr().err + str(failed.value)
    assert "s3cr3t" not in text and "Pa55w0rd" not in text
    assert "password=***" in text and "-P ***" in text
    assert (tmp_path / "a.log").stat().st_mode & 0o777 == 0o640


def test_fence_is_logged_without_its_password(agent: Agent) -> None:
    """`svcmgr stonith` with a password on the command line of [stonith#1]: the log shows the
    command without it.
    """
    agent.write(
        "a",
        "[stonith#1]\ntype = callout\ncmd = /bin/echo fence_ipmilan -l admin -p s3cr3tPa55 -o"
        " off\n",
    )
    outcome = agent.svcmgr("-s", "a", "stonith")
    log = (agent.root / "log" / "a.log").read_text()
    assert "fence_ipmilan -l admin -p ***" in log + outcome.err
    assert "s3cr3tPa55" not in log + outcome.err
