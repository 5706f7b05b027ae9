"""Whether a node could run its services: real scripts, and the embedded agent's own validation."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.daemon.readiness import Readiness

ENV = """\
[DEFAULT]
nodes = {node} peer1

[app#1]
script = /bin/true
start = 1
stop = 1
check = 1

[hb#0]
type = OpenHA
name = web
"""
FENCE = "\n[stonith#1]\ntype = callout\ncmd = /bin/true\n"


def readiness() -> Readiness:
    """One that is only asked."""
    return Readiness(lambda: (), lambda found, tells: None, {})


def service(script: str, check: str = "/bin/sh") -> ServiceSpec:
    """A service of this node."""
    return ServiceSpec("web", script, os.uname().nodename, "peer1", check)


def script(path: Path, text: str = "#!/bin/sh\n", mode: int = 0o755) -> str:
    """A script."""
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_scripts_must_be_there_and_be_programs(tmp_path: Path) -> None:
    """Missing, not executable, without an interpreter; the start script and the check-up script."""
    good = script(tmp_path / "good")
    assert readiness().look(service(good, good)) == ""
    for bad, text in (
        (str(tmp_path / "none"), "there is no file"),
        (script(tmp_path / "plain", mode=0o644), "is not executable"),
        (script(tmp_path / "lost", "#!/nowhere/sh\n"), "/nowhere/sh"),
    ):
        assert text in readiness().look(service(bad, good))
        assert text in readiness().look(service(good, bad))


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An embedded agent with its wrappers for the service `web`; its directory of service files."""
    for name in ("etc", "var", "log", "bin"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"OSVC_{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("EZ", str(tmp_path / "no-openha"))
    (tmp_path / "etc" / "web.env").write_text(ENV.format(node=os.uname().nodename))
    done = subprocess.run(
        [sys.executable, "-m", "opensvc_openha.cli.svcmgr", "-s", "web", "print", "status"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert (tmp_path / "etc" / "web.cluster").exists(), done.stdout
    return tmp_path / "etc"


def test_service_file_that_the_agent_finds_wrong_is_reported_until_it_is_corrected(
    agent: Path,
) -> None:
    """The first error with its line.

    The validation is done again when the file is another one, and only then.
    """
    look = readiness()
    wrapper = service(str(agent / "web.cluster"))
    assert look.look(wrapper) == ""
    good = (agent / "web.env").read_text()
    (agent / "web.env").write_text(good + "no keyword\n")
    problem = look.look(wrapper)
    assert "no keyword" in problem and "web.env" in problem
    (agent / "web.env").write_text(good)
    assert look.look(wrapper) == ""


def test_generated_fence_without_a_section_that_says_how_is_reported(agent: Path) -> None:
    """It would refuse every start beside a silent peer."""
    wrapper = service(str(agent / "web.cluster"), str(agent / "web.stonith"))
    assert "[stonith#N]" in readiness().look(wrapper)
    with open(agent / "web.env", "a", encoding="ascii") as file:
        file.write(FENCE)
    assert readiness().look(wrapper) == ""


def test_changes_are_reported_from_its_own_thread_and_only_they(tmp_path: Path) -> None:
    """A script goes and comes back: one report each, at the next look."""
    path = tmp_path / "web"
    script(path)
    reports: queue.Queue[Mapping[str, str]] = queue.Queue()
    look = Readiness(
        lambda: (service(str(path), str(path)),), lambda found, tells: reports.put(found), {}
    )
    path.chmod(0o644)
    look.start()
    assert "is not executable" in reports.get(timeout=60)["web"]
    path.chmod(0o755)
    look.look_soon()
    assert reports.get(timeout=60) == {}
    look.look_soon()
    look.stop()
    assert reports.empty()
