"""What the site driver and the start-up hook of the 2.1 must do, against the minimal host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.plugin import installer
from opensvc_openha.plugin.agents import find_agents
from opensvc_openha.plugin.changes import carry_out
from tests.plugin.host_2_1.make_home import make_home
from tests.plugin.minimal_agent import HERE, PEER, Host, pipes
from tests.plugin.status_table import STATUS_OF

APP = {"app#hb": {"type": "openha", "name": "registry"}}
HB = {"hb#0": {"type": "OpenHA", "name": "registry"}}
PYTHON = getattr(sys, "_base_executable", sys.executable)
"""Not that of a virtual environment, which never loads a usercustomize."""
SERVE = str(Path(__file__).parent / "host_2_1" / "serve_2_1.py")


class Host21(Host):
    """The agent 2.1, under this Python."""

    has_hook = False

    def __init__(self, root: Path) -> None:
        super().__init__(root, "2.1", sys.executable)

    def _lay_out(self) -> None:
        make_home(self.home)
        for folder in (self.home / "etc", self.ez / "bin", self.ez / "conf"):
            folder.mkdir(parents=True)
        (self.home / "etc" / "kept").write_text("0")
        (self.ez / "conf" / "nodes").write_text(f"{HERE}\n{PEER}\n")
        self._script(self.ez / "bin" / "service", "exit 0")
        self.service_file = self.home / "etc" / "registry.conf"
        self.service_file.write_text(
            f"[DEFAULT]\nnodes = {HERE} {PEER}\norchestrate = no\n\n[app#hb]\ntype = openha\n"
        )

    def install(self) -> None:
        """With the hook if it is asked for."""
        for change in installer.plan_install(
            find_agents(str(self.home))[0], tree_layout(str(self.ez)), self.has_hook
        ):
            carry_out(change)

    def ask(self, what: str, **options: Any) -> Any:
        """One request; `om` alone puts the agent's directory on the path, so the hook is found
        there.
        """
        if self._process is None:
            env = {**os.environ, "PYTHONPATH": str(self.home), "HOST_ETC": str(self.home / "etc")}
            self._process = subprocess.Popen(
                [PYTHON, SERVE, str(self.home), f"{HERE.lower()} {PEER}"],
                text=True,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        stdin, stdout, stderr = pipes(self._process)
        stdin.write(json.dumps({"do": what, **{"sections": APP, **options}}) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, stderr.read()
        return json.loads(line)


@pytest.fixture
def host21(tmp_path: Path) -> Iterator[Host21]:
    """The agent with the site driver."""
    made = Host21(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("state", STATUS_OF)
def test_each_state_is_shown_live_as_in_the_other_lines(host21: Host21, state: str) -> None:
    """The agent keeps `up`, the daemon reports another state: that one shows, with the reason of
    the reference.
    """
    host21.daemon()
    host21.set_states(state, "stopped")
    answer = host21.ask("status")
    assert (answer["statuses"], answer["lines"]) == ([STATUS_OF[state][0]], STATUS_OF[state][1])
    assert answer["types"] == ["app.openha"]


def test_a_missing_or_silent_daemon_is_reported(host21: Host21) -> None:
    """No daemon, then one that does not answer: the same lines as in the other lines."""
    assert host21.ask("status")["lines"] == ["open-ha daemons are not running"]
    host21.daemon().delay_s = 3600.0
    host21.write_state_files(b"2\0", b"0\0")
    import time

    time.sleep(0.4)
    assert host21.ask("status")["lines"] == [
        "open-ha daemon does not answer, last cluster service status was started"
    ]


@pytest.mark.parametrize(
    "options,vetoed",
    [
        ({}, True),
        ({"by_cluster": "start"}, False),
        ({"force": True}, False),
        ({"by_cluster": "start", "orchestrate": "ha"}, True),
    ],
)
def test_only_the_cluster_starts_the_service(
    host21: Host21, options: dict[str, bool] | dict[str, str], vetoed: bool
) -> None:
    """A start by hand, by the cluster, with --force, and while the agent's own daemon decides
    too.
    """
    answer = host21.ask("start", **options)
    assert answer["vetoed"] == vetoed
    assert bool(answer["log"]) == vetoed
    if "orchestrate" in options:
        assert "set orchestrate = no" in answer["log"][0]


@pytest.mark.parametrize(
    "options,stopped", [({}, False), ({"by_cluster": "stop"}, True), ({"force": True}, True)]
)
def test_only_the_cluster_stops_the_service(
    host21: Host21, options: dict[str, bool] | dict[str, str], stopped: bool
) -> None:
    """A stop by hand, by the cluster, and with --force: the error ends the action, though the
    resource is optional.
    """
    answer = host21.ask("stop", **options)
    assert answer["stopped"] == stopped
    assert ("a direct stop is disabled" in answer.get("error", "")) != stopped


def test_an_agent_that_decides_itself_is_refused_clearly(host21: Host21) -> None:
    """orchestrate = ha: the status warns with the reason, and the installer does not add the
    service.
    """
    host21.daemon()
    host21.set_states("started", "stopped")
    assert "set orchestrate = no" in host21.ask("status", orchestrate="ha")["lines"][0]
    host21.service_file.write_text(host21.service_file.read_text().replace("= no", "= ha"))
    assert "orchestrate must be no" in host21.openha("install", 5)


def test_an_hb_section_is_read_with_the_hook_only(tmp_path: Path) -> None:
    """[hb#0] type = OpenHA: ignored by the agent.

    With the hook it shows, and vetoes a stop by hand.
    """
    made = Host21(tmp_path)
    try:
        assert made.ask("status", sections=HB)["rids"] == []
        made.close()
        made._process = None
        assert "usercustomize.py" in made.openha("install --no-services --hb-section")
        made.daemon()
        made.set_states("stopped", "started")
        answer = made.ask("status", sections={**HB})
        assert (answer["types"], answer["statuses"], answer["errors"]) == (["hb.openha"], [1], 0)
        assert made.ask("stop", sections=HB)["stopped"] is False
        assert made.ask("stop", sections=HB, by_cluster="stop")["stopped"] is True
    finally:
        made.close()


def test_a_remove_leaves_no_file_behind(host21: Host21) -> None:
    """Installed with the hook, loaded once, removed: only the agent's files and the scripts of the
    service are left.
    """
    host21.openha("install --no-services --hb-section")
    host21.openha("remove")
    left = sorted(path.name for path in host21.home.rglob("*") if path.is_file())
    assert not [name for name in left if "openha" in name or "usercustomize" in name]
    assert not (host21.home / "site_opensvc").exists()


HB_FILE = (
    "[DEFAULT]\nnodes = {here} {peer}\norchestrate = no\n\n[hb#0]\ntype = OpenHA\nname = registry\n"
)


def om_that_sees(host: Host, *sections: str) -> None:
    """The agent's command, whose status shows these resources."""
    shown = json.dumps({"avail": "down", "resources": {section: {} for section in sections}})
    host._script(host.home / "bin" / "om", f"echo '{shown}'")


def test_a_section_that_the_agent_ignores_is_refused_with_what_to_write(host21: Host21) -> None:
    """[hb#0] without the hook: the agent would start the service on both nodes, so it is not put
    under the cluster.
    """
    host21.service_file.write_text(HB_FILE.format(here=HERE, peer=PEER))
    out = host21.openha("install", 5)
    assert "[hb#0] is ignored by the agent 2.1" in out
    assert (
        "write [app#hb] with type = openha, name = registry instead, or install with --hb-section"
        in out
    )
    assert not (host21.ez / "conf" / "services").exists()
    assert "[hb#0] is ignored" in host21.openha("status", 1)


def test_a_section_for_the_hook_is_refused_where_the_agent_does_not_load_it(host21: Host21) -> None:
    """--hb-section, and a Python that loads no usercustomize: found by asking the agent, before and
    after it was added.
    """
    host21.service_file.write_text(HB_FILE.format(here=HERE, peer=PEER))
    om_that_sees(host21)
    assert "the agent does not see [hb#0]" in host21.openha("install --hb-section", 5)
    assert not (host21.ez / "conf" / "services").exists()
    om_that_sees(host21, "hb#0")
    host21.openha("install --hb-section")
    assert (host21.ez / "conf" / "services").read_text().startswith("registry\t")
    host21.openha("status")
    om_that_sees(host21)
    assert "the agent does not see [hb#0]" in host21.openha("status", 1)


def test_a_service_in_a_namespace_has_wrappers_of_its_own(host21: Host21) -> None:
    """One name in the root and in a namespace: each wrapper calls its own service, and each stands
    beside its own file.
    """
    folder = host21.home / "etc" / "namespaces" / "test" / "svc"
    folder.mkdir(parents=True)
    text = host21.service_file.read_text()
    (folder / "registry.conf").write_text(
        text.replace("type = openha", "type = openha\nname = testregistry")
    )
    host21.openha("install")
    wrappers = {
        line.split()[0]: line.split()[1]
        for line in (host21.ez / "conf" / "services").read_text().splitlines()
    }
    assert wrappers == {
        "registry": str(host21.service_file.with_suffix(".cluster")),
        "testregistry": str(folder / "registry.cluster"),
    }
    om = host21._script(host21.home / "bin" / "om", 'echo om "$@"')
    for name, svc in (("registry", "registry"), ("testregistry", "test/svc/registry")):
        done = subprocess.run(
            [wrappers[name], "start", "--dry-run"], capture_output=True, text=True
        )
        assert (done.stdout, done.stderr) == (f"om {svc} start --dry-run --local\n", "")
    assert om.startswith(str(host21.home))
    (folder / "registry.cluster").unlink()
    before = host21.service_file.with_suffix(".cluster").read_text()
    host21.ask("status", namespace="test")
    assert " test/svc/registry " in (folder / "registry.cluster").read_text()
    assert host21.service_file.with_suffix(".cluster").read_text() == before


def test_a_state_of_a_service_in_a_namespace_is_asked_under_its_plain_name(host21: Host21) -> None:
    """The section gives no name: the cluster's name is that of the service without its namespace,
    as it was added.
    """
    host21.daemon()
    host21.set_states("started", "stopped")
    sections = {"app#hb": {"type": "openha"}}
    assert host21.ask("status", namespace="test", sections=sections)["statuses"] == [0]


@pytest.mark.parametrize("sections", [APP, HB], ids=["app", "hb"])
@pytest.mark.parametrize("text", [None, "def broken(:\n"], ids=["missing", "torn"])
def test_without_the_shared_file_no_node_starts_the_service_by_hand(
    tmp_path: Path, sections: dict[str, dict[str, str]], text: str | None
) -> None:
    """site_opensvc/openha_driver.py is gone or torn: a warning, a start or stop by hand is refused,
    the cluster's own is not.
    """
    made = Host21(tmp_path)
    try:
        made.openha("install --no-services --hb-section")
        shared = made.home / "site_opensvc" / "openha_driver.py"
        shared.unlink()
        if text is not None:
            shared.write_text(text)
        answer = made.ask("status", sections=sections)
        assert answer["statuses"] == [2] and "run `openha agent install`" in answer["lines"][0]
        assert made.ask("start", sections=sections)["vetoed"] is True
        assert made.ask("start", sections=sections, by_cluster="start")["vetoed"] is False
        assert made.ask("stop", sections=sections)["stopped"] is False
        assert made.ask("stop", sections=sections, by_cluster="stop")["stopped"] is True
    finally:
        made.close()


def test_a_hook_without_its_driver_refuses_the_start(tmp_path: Path) -> None:
    """The driver of the section is gone, the hook is there: no start by hand, with the reason."""
    made = Host21(tmp_path)
    try:
        made.openha("install --no-services --hb-section")
        (made.home / "site_opensvc" / "drivers" / "resource" / "app" / "openha.py").unlink()
        answer = made.ask("do_start", sections=HB)
        assert answer["started"] is False and "cannot be loaded" in answer["error"]
        assert made.ask("do_start", sections=HB, by_cluster="start")["started"] is True
    finally:
        made.close()
