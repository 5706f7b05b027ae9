"""The scripts beside a service file: made, repaired, and what they do when the node daemon calls
them.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.agent.config.wrappers import ensure_all_wrappers, ensure_wrappers
from opensvc_openha.formats.layout import AgentLayout, agent_layout
from tests.agent.embedded import PACKAGE_ROOT, Agent
from tests.waiting import LIMIT_S

BARE = {"PATH": "/usr/bin:/bin", "PYTHONPATH": PACKAGE_ROOT}
"""What a node daemon with next to no environment passes on, plus where the package is."""


@pytest.fixture
def layout(agent: Agent) -> AgentLayout:
    return agent_layout("", os.environ)


def run(path: Path, *args: Any, env: dict[str, str] = BARE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(path), *args], env=env, capture_output=True, text=True, timeout=LIMIT_S
    )


def test_wrappers_are_made_once(agent: Agent, layout: AgentLayout) -> None:
    """First run makes the link and both scripts, mode 0755; the second changes nothing."""
    agent.write("a", "[app#1]\ncheck = /bin/true\n")
    made = ensure_all_wrappers(layout)
    assert made == [str(agent.etc / name) for name in ("a", "a.cluster", "a.stonith")]
    assert os.readlink(agent.etc / "a") == str(agent.root / "bin" / "svcmgr")
    assert [os.stat(path).st_mode & 0o777 for path in made[1:]] == [0o755, 0o755]
    assert ensure_all_wrappers(layout) == []
    assert sorted(os.listdir(agent.etc)) == ["a", "a.cluster", "a.env", "a.stonith"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.chmod(0o644),
        lambda path: path.write_text(path.read_text() + "exit 0\n"),
        lambda path: path.write_text(""),
        lambda path: (path.unlink(), path.symlink_to("/bin/true")),
    ],
    ids=["missing", "not executable", "altered", "empty", "link elsewhere"],
)
@pytest.mark.parametrize("name", ["a.cluster", "a.stonith"])
def test_damaged_wrapper_is_repaired_by_the_next_command(
    agent: Agent, layout: AgentLayout, damage: Callable[..., Any], name: str
) -> None:
    """Whatever happened to a wrapper, the next svcmon puts it right, and only it."""
    agent.write("a", "[app#1]\ncheck = /bin/true\n")
    ensure_all_wrappers(layout)
    good = (agent.etc / name).read_text()
    damage(agent.etc / name)
    agent.svcmon()
    assert (agent.etc / name).read_text() == good
    assert os.access(agent.etc / name, os.X_OK) and not (agent.etc / name).is_symlink()


def test_wrapper_somebody_else_wrote_is_kept_beside_the_new_one(
    agent: Agent, layout: AgentLayout, caplog: pytest.LogCaptureFixture
) -> None:
    """A hand-written .stonith is replaced as the agent does, but not lost, and it is reported."""
    (agent.etc / "a.stonith").write_text("#!/bin/sh\nmy own fencing\n")
    with caplog.at_level(logging.WARNING):
        ensure_wrappers(layout, "a", "svcmgr")
    assert "my own fencing" in (agent.etc / "a.stonith.replaced").read_text()
    assert "a.stonith was not generated here" in caplog.text


def test_foreign_file_in_the_place_of_the_command_is_left_alone(
    agent: Agent, layout: AgentLayout, caplog: pytest.LogCaptureFixture
) -> None:
    """A regular file named like the service stays as it is, and it is reported."""
    (agent.etc / "a").write_text("mine")
    with caplog.at_level(logging.WARNING):
        changed = ensure_wrappers(layout, "a", "svcmgr")
    assert (agent.etc / "a").read_text() == "mine"
    assert str(agent.etc / "a") not in changed
    assert "left alone" in caplog.text


def test_wrapper_with_the_usual_directories_carries_no_variables(layout: AgentLayout) -> None:
    """Only directories that differ from the defaults are written into the wrapper."""
    from opensvc_openha.agent.config.wrappers import wrapper_text

    assert "OSVC_" not in wrapper_text("service.cluster", AgentLayout(), "a", "svcmgr")
    assert f"OSVC_ETC={layout.etc_dir}; export OSVC_ETC" in wrapper_text(
        "service.cluster", layout, "a", "svcmgr"
    )


def test_cluster_wrapper_starts_and_stops_with_a_bare_environment(
    agent: Agent, layout: AgentLayout
) -> None:
    """.cluster start, status, stop as the node daemon calls them: local work done, exit codes
    passed on.
    """
    script = agent.script("one")
    agent.write(
        "a", f"[app#1]\nscript = {script}\nstart = 1\nstop = 1\ncheck = 1\n[hb#0]\ntype = OpenHA\n"
    )
    ensure_wrappers(layout, "a", f"{sys.executable} -m opensvc_openha.cli.svcmgr")
    wrapper = agent.etc / "a.cluster"
    ends = [run(wrapper, word) for word in ("status", "start", "status", "stop", "status")]
    assert [end.returncode for end in ends] == [1, 0, 0, 0, 1]
    assert [end.stdout for end in ends] == ["down\n", "", "up\n", "", "down\n"]


def test_stonith_wrapper_passes_on_the_exit_code_of_the_fence(
    agent: Agent, layout: AgentLayout
) -> None:
    """Peer silent: the fencing command runs and its own exit code comes out, as the real agents
    fail to do.
    """
    agent.write("a", "[hb#0]\ntype = OpenHA\n[stonith#1]\ntype = callout\ncmd = exit 23\n")
    ensure_wrappers(layout, "a", f"{sys.executable} -m opensvc_openha.cli.svcmgr")
    silent = dict(BARE, OPENHA_PEER_STANDING="silent", OPENHA_PEER_STATE="UNKNOWN")
    assert run(agent.etc / "a.stonith", "start", env=silent).returncode == 23


@pytest.mark.parametrize(
    ("option", "code", "shown"), [("--help", 0, "Usage: "), ("--dry-run", 2, ""), ("-x", 2, "")]
)
def test_stonith_wrapper_fences_nothing_for_an_option(
    agent: Agent, layout: AgentLayout, option: str, code: int, shown: str
) -> None:
    """Somebody looks for its help while the peer is silent."""
    fired = agent.root / "fired"
    agent.write("a", f"[hb#0]\ntype = OpenHA\n[stonith#1]\ntype = callout\ncmd = touch {fired}\n")
    ensure_wrappers(layout, "a", f"{sys.executable} -m opensvc_openha.cli.svcmgr")
    silent = dict(BARE, OPENHA_PEER_STANDING="silent", OPENHA_PEER_STATE="UNKNOWN")
    done = run(agent.etc / "a.stonith", option, env=silent)
    assert done.returncode == code and done.stdout.startswith(shown)
    assert not fired.exists()
