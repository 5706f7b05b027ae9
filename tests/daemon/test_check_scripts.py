"""A check-up script that ends with 0 whatever became of the fencing is not believed: not run, and
reported everywhere.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.daemon import check_scripts
from opensvc_openha.daemon.check_scripts import CheckScripts, find_doubt, holds, reports_status
from opensvc_openha.daemon.issues import ActiveIssues
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.plugin import openha_driver
from opensvc_openha.system import clock
from tests.cluster_dir import ClusterDir


def agent_command(root: Path, name: str = "svcmgr", text: str = "exit 0") -> Path:
    """A command as an agent has it; it always succeeds."""
    path = root / "agent" / "bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho called >> {root}/agent.calls\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_mark_of_the_driver_is_the_one_the_daemon_looks_for() -> None:
    """The driver is loaded without the package and has a constant of its own."""
    assert openha_driver.MARK.encode() == check_scripts.MARK


@pytest.mark.parametrize("name", ["svcmgr", "opensvc", "om"])
def test_a_link_to_a_command_of_an_agent_is_doubted(tmp_path: Path, name: str) -> None:
    """`<svc>.stonith` as the agent makes it, directly or through another link: the reason names
    link and command.
    """
    layout = tree_layout(str(tmp_path))
    command = agent_command(tmp_path, name)
    link = tmp_path / "web.stonith"
    link.symlink_to(command)
    assert f"{link} leads to {command} of the OpenSVC agent" in find_doubt(str(link), layout)
    other = tmp_path / "other.stonith"
    other.symlink_to(link)
    assert "of the OpenSVC agent" in find_doubt(str(other), layout)
    renamed = tmp_path / "agent" / "bin" / "renamed"
    command.rename(renamed)
    command.symlink_to(renamed)
    assert "of the OpenSVC agent" in find_doubt(str(link), layout)


def test_scripts_that_may_fence_are_not_doubted(tmp_path: Path) -> None:
    """A script of an operator, a link to one, the embedded agent's command, a generated script: all
    are believed.
    """
    layout = tree_layout(str(tmp_path))
    own = agent_command(tmp_path, "fence")
    link = tmp_path / "web.stonith"
    link.symlink_to(own)
    embedded = tmp_path / "embedded.stonith"
    embedded.symlink_to(agent_command(tmp_path, "svcmgr", "exec python3 -m opensvc_openha"))
    generated = Path(layout.fence_dir) / "web"
    generated.parent.mkdir(parents=True)
    generated.write_text(f"#!/bin/sh\n# {openha_driver.MARK} for the service web.\n")
    for path in (
        "/bin/true",
        str(own),
        str(link),
        str(embedded),
        str(generated),
        str(tmp_path / "missing"),
    ):
        assert find_doubt(path, layout) == "", path


def test_a_generated_script_that_lost_its_mark_is_doubted(tmp_path: Path) -> None:
    """Something else stands where `openha agent install` wrote its script."""
    layout = tree_layout(str(tmp_path))
    generated = Path(layout.fence_dir) / "web"
    generated.parent.mkdir(parents=True)
    generated.write_text("#!/bin/sh\nexit 0\n")
    assert "is not the script that `openha agent install` wrote" in find_doubt(
        str(generated), layout
    )


def test_an_agents_own_stonith_starts_nothing_and_is_reported_everywhere(
    cluster_dir: ClusterDir,
) -> None:
    """The peer is silent and the check-up is the agent's link: START_FAILED, not run, reported by
    status, log and `why`.
    """
    link = cluster_dir.root / "web.stonith"
    link.symlink_to(agent_command(cluster_dir.root))
    cluster_dir.add("registry", check=str(link))
    cluster_dir.ok("ezha start")
    warning = (
        f"check-up script not believed, so a silent peer is not taken over: registry: {link}"
        " leads to"
    )
    cluster_dir.wait(lambda: warning in cluster_dir.ok("service -s -v"), "the warning")
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait_state("registry", "START_FAILED")
    assert cluster_dir.calls("registry.sh") == []
    assert not os.path.exists(cluster_dir.root / "agent.calls")
    for command in ("service -s -v", "openha why registry"):
        assert f"not run: {link} leads to" in cluster_dir.ok(command), command
    assert warning in cluster_dir.log()


def test_the_warning_ends_when_the_script_is_another_one(cluster_dir: ClusterDir) -> None:
    """The link is replaced by a script while the daemon runs: no warning after some seconds, and
    the script is run.
    """
    link = cluster_dir.root / "web.stonith"
    link.symlink_to(agent_command(cluster_dir.root))
    cluster_dir.add("registry", check=str(link))
    # A fence that was never measured would wait minutes for its turn.
    cluster_dir.path("conf/openha.conf").write_text("[timing]\nfence_time = 1\n")
    cluster_dir.ok("ezha start")
    cluster_dir.wait(lambda: "not believed" in cluster_dir.ok("service -s -v"), "the warning")
    link.unlink()
    cluster_dir.script("web.stonith", "exit 0")
    cluster_dir.wait(
        lambda: "not believed" not in cluster_dir.ok("service -s -v"), "no warning any more"
    )
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait_state("registry", "STARTED")


def test_link_to_a_command_that_is_not_there_is_no_doubt(tmp_path: Path) -> None:
    """It cannot be run, which is reported elsewhere."""
    link = tmp_path / "web.stonith"
    link.symlink_to(tmp_path / "svcmgr")
    layout = tree_layout(str(tmp_path))
    assert find_doubt(str(link), layout) == ""
    assert find_doubt(f"{layout.fence_dir}/web", layout) == ""


def test_text_is_found_in_the_first_bytes_only(tmp_path: Path) -> None:
    """To the last of them; a file that cannot be read holds nothing."""
    path = tmp_path / "file"
    path.write_bytes(bytes(4092) + b"mark")
    assert holds(str(path), b"mark") and not holds(str(path), b"mark", 4095)
    path.write_bytes(bytes(4093) + b"mark")
    assert not holds(str(path), b"mark") and holds(str(path), b"mark", 5000)
    assert not holds(str(tmp_path), b"") and not holds(str(tmp_path / "none"), b"")


def test_agent_that_keeps_its_last_status_reports_it(tmp_path: Path) -> None:
    """The link of an agent whose source does so; not a command itself, another one, or an agent
    whose status ends with 0 whatever runs.
    """
    command = agent_command(tmp_path)
    source = tmp_path / "agent" / "lib" / "resources.py"
    source.parent.mkdir()
    source.write_text("#" * 500_000 + "\ndef load_status_last(): pass\n")
    link, other = tmp_path / "web.stonith", tmp_path / "other.stonith"
    link.symlink_to(command)
    other.symlink_to(agent_command(tmp_path, "fence"))
    assert reports_status(str(link))
    assert not reports_status(str(command)) and not reports_status(str(other))
    source.write_text("def load_status(): pass\n")
    assert not reports_status(str(link))


class Watched:
    """Check scripts of services that a test names, at times that it chooses."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)
        self.command = agent_command(root)
        self._problems = ActiveIssues("deb1", logging.getLogger("test"))
        self._scripts = CheckScripts(tree_layout(str(root)), self._problems)
        self._root = root

    def link(self, name: str) -> str:
        """A link of an agent."""
        path = self._root / f"{name}.stonith"
        path.symlink_to(self.command)
        return str(path)

    def look(self, **checks: str) -> str:
        """What is reported after a look."""
        services = [ServiceSpec(name, "/x", "deb1", "deb2", path) for name, path in checks.items()]
        self._scripts.check(services)
        return "".join(self._problems.texts)


def test_scripts_are_looked_at_again_after_a_while_or_when_the_services_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once when the first look is taken, even right after the machine was started."""
    watched = Watched(tmp_path, monkeypatch)
    watched.now = 0.0
    assert watched.look() == ""
    link = watched.link("web")
    assert f"web: {link} leads to" in watched.look(web=link)
    os.unlink(link)
    watched.now += 9.0
    assert "leads to" in watched.look(web=link)
    assert watched.look(web=link, db="/bin/true") == ""
    os.symlink(watched.command, link)
    assert watched.look(web=link, db="/bin/true") == ""
    watched.now += 10.0
    assert "leads to" in watched.look(web=link, db="/bin/true")
    os.unlink(link)
    watched.now += 9.0
    assert "leads to" in watched.look(web=link, db="/bin/true")
    watched.now += 1.0
    assert watched.look(web=link, db="/bin/true") == ""


def test_five_services_are_named_and_the_others_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report stays readable."""
    watched = Watched(tmp_path, monkeypatch)
    links = {name: watched.link(name) for name in ("a", "b", "c", "d", "e", "f")}
    warning = watched.look(**links)
    assert warning.endswith("; and 1 more services") and warning.count("leads to") == 5
    del links["f"]
    warning = watched.look(**links)
    assert "more services" not in warning and warning.count("leads to") == 5
