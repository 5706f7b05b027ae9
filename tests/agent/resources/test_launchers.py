"""Init-style launchers in the service's directory: order, single scripts beside them, what is out
of reach, who runs them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.agent.embedded import Agent


def changes(agent: Agent) -> list[str]:
    return [call for call in agent.calls if not call.endswith(" status")]


@pytest.fixture
def folder(agent: Agent) -> Path:
    """Two scripts with launchers: db starts first and stops last; only web has a check."""
    folder = agent.etc / "a.dir"
    folder.mkdir()
    for name in ("db", "web"):
        agent.script(name)
    for link, name in (
        ("S10db", "db"),
        ("K90db", "db"),
        ("S20web", "web"),
        ("K05web", "web"),
        ("C01web", "web"),
    ):
        (folder / link).symlink_to(agent.root / name)
    return folder


def test_launchers_start_and_stop_in_the_order_of_their_numbers(agent: Agent, folder: Path) -> None:
    """S numbers at start, K numbers at stop, C links make the status with the word status."""
    agent.write("a", "[DEFAULT]\nservice_type = DEV\n")
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    assert changes(agent) == ["db start", "web start"]
    shown = agent.svcmgr("-s", "a", "print", "status").out
    assert "|- app#0          .... n/a      db" in shown
    assert "'- app#1          .... up       web" in shown
    assert agent.svcmgr("-s", "a", "stop").exit_code == 0
    assert changes(agent)[2:] == ["web stop", "db stop"]


def test_script_of_a_section_is_no_launcher_too(agent: Agent, folder: Path) -> None:
    """The file names web itself: its launchers are not run a second time, and numbers in use are
    not given again.
    """
    agent.write("a", f"[app#0]\nscript = {agent.root}/web\nstart = 5\nstop = 95\ncheck = 5\n")
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    assert changes(agent) == ["web start", "db start"]
    assert "app#1          .... n/a      db" in agent.svcmgr("-s", "a", "print", "status").out


def test_section_without_number_speaks_for_all_launchers(agent: Agent, folder: Path) -> None:
    """[app]: another directory, and flags for what is found there."""
    folder.rename(agent.root / "elsewhere")
    agent.write("a", f"[app]\ndir = {agent.root}/elsewhere\noptional = true\nmonitor = true\n")
    assert "app#1          M.O. down     web" in agent.svcmgr("-s", "a", "print", "status").out
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    assert changes(agent) == ["db start", "web start"]


def test_launcher_whose_script_is_out_of_reach_is_reported(agent: Agent, folder: Path) -> None:
    """The file system with the scripts is not there: n/a with the path.

    Start fails and rolls back; stop has nothing to do.
    """
    (agent.root / "web").rename(agent.root / "away")
    agent.write("a", "[DEFAULT]\nservice_type = DEV\n")
    assert (
        f"not evaluated ({agent.root}/web is not here)"
        in agent.svcmgr("-s", "a", "json", "status").out
    )
    outcome = agent.svcmgr("-s", "a", "start")
    assert (outcome.exit_code, f"app#1: script {agent.root}/web does not exist" in outcome.err) == (
        6,
        True,
    )
    assert changes(agent) == ["db start", "db stop"]
    assert agent.svcmgr("-s", "a", "stop").exit_code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_run_as_runs_the_script_as_that_user(agent: Agent) -> None:
    """run_as = nobody: the command line is run by nobody.

    A user that does not exist ends the start.
    """
    agent.write("a", "[app#1]\nstart = echo I am $(id -un)\nrun_as = nobody\n")
    outcome = agent.svcmgr("-s", "a", "start")
    assert (outcome.exit_code, "I am nobody" in outcome.err) == (0, True)
    agent.write("a", "[app#1]\nstart = echo I am $(id -un)\nrun_as = nosuchuser\n")
    outcome = agent.svcmgr("-s", "a", "start")
    assert (outcome.exit_code, "nosuchuser" in outcome.err) == (6, True)
