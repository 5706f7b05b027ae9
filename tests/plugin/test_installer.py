"""`openha agent install`, `remove` and `status` on the minimal agents: what is changed, kept, undone and noticed."""

import os
import subprocess
import sys

import pytest
from tests.plugin.conftest import HERE, LINES, PEER, SVC, Host

from opensvc_openha.plugin.agents import find_agents


@pytest.fixture(params=LINES)
def agent(request, tmp_path):
    """The agent of each line; nothing of it is run here, so its Python does not matter."""
    return Host(tmp_path, request.param, "")


def tree_of(folder):
    """Every file and link below a directory, with its content."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            found[os.path.relpath(path, folder)] = os.readlink(path) if os.path.islink(path) else open(path, "rb").read()
    return found


def test_each_line_is_told_apart(agent):
    """The files of an agent: the line is known by them."""
    assert find_agents(str(agent.home))[0].line.name == agent.line


def test_an_install_and_a_remove_leave_the_agent_as_it_was(agent):
    """Installed, then removed: all files are those from before, but for the wrappers, which are the agent's links."""
    agent.openha("remove")
    before = tree_of(agent.home)
    agent.openha("install --no-services")
    installed = tree_of(agent.home)
    assert installed["lib/resHbOpenHA.py.stock"] == b"# The stock driver.\n"
    assert b"openha_driver" in installed["lib/resHbOpenHA.py"]
    agent.openha("remove")
    assert tree_of(agent.home) == before
    assert os.readlink(agent.wrapper("cluster")) == f"{agent.home}/bin/svcmgr"


def test_a_second_install_and_a_second_remove_have_nothing_to_do(agent):
    """Run twice: the second says so, and changes nothing."""
    before = tree_of(agent.home)
    assert "nothing to do" in agent.openha("install --no-services")
    assert tree_of(agent.home) == before
    agent.openha("remove")
    assert "nothing to do" in agent.openha("remove")
    assert "not installed" in agent.openha("status", 1)


def test_a_dry_run_says_all_and_does_nothing(agent):
    """--dry-run of a remove and of an install: the steps as lines, every file as before, no service added."""
    before = tree_of(agent.home)
    assert "would put" in agent.openha("remove --dry-run")
    assert tree_of(agent.home) == before
    agent.openha("remove")
    before = {**tree_of(agent.home), **tree_of(agent.ez)}
    out = agent.openha("install --dry-run")
    assert "would write" in out and f"service -a registry {agent.wrapper('cluster')} {HERE.lower()} {PEER}" in out
    assert {**tree_of(agent.home), **tree_of(agent.ez)} == before


def test_an_upgrade_of_the_agent_is_noticed_and_survived(agent):
    """The upgrade writes its own driver over ours: status tells, install keeps the new stock one, remove puts that back."""
    assert "installed" in agent.openha("status")
    driver = agent.home / "lib" / "resHbOpenHA.py"
    driver.unlink()
    driver.write_text("# A newer stock driver.\n")
    assert "an upgrade of the agent replaced the driver" in agent.openha("status", 1)
    agent.openha("install --no-services")
    agent.openha("status")
    agent.openha("remove")
    assert driver.read_text() == "# A newer stock driver.\n"


def test_a_remove_after_an_upgrade_keeps_the_newer_driver(agent):
    """The upgrade's driver is in place, ours is gone: remove leaves it, and drops the older stock one."""
    driver = agent.home / "lib" / "resHbOpenHA.py"
    driver.write_text("# A newer stock driver.\n")
    agent.openha("remove")
    assert driver.read_text() == "# A newer stock driver.\n"
    assert not os.path.exists(f"{driver}.stock")


def test_a_service_is_added_from_its_file_and_taken_out_again(agent):
    """A service of the agent: install adds it with its nodes and its wrapper, remove takes it out, as it does not run."""
    agent.service_file.write_text(agent.service_file.read_text() + "\n[stonith#1]\ntype = callout\ncmd = /bin/true\n")
    agent.openha("install")
    services = (agent.ez / "conf" / "services").read_text().split()
    assert services == ["registry", str(agent.wrapper("cluster")), HERE, PEER, str(agent.wrapper("stonith"))]
    assert "is in the cluster" in agent.openha("install")
    assert (agent.ez / "conf" / "agents").read_text() == f"drop {agent.home}/var\n"
    agent.openha("remove")
    assert (agent.ez / "conf" / "services").read_text().split() == []
    assert not (agent.ez / "conf" / "agents").exists()


def test_a_service_that_runs_stays_in_the_cluster_after_a_remove(host18):
    """The service is STARTED: it is not taken out, and the operator is told how."""
    host18.openha("install")
    (host18.ez / "services" / "registry" / f"STATE.{HERE}").write_bytes(b"2\0")
    assert "the cluster keeps deciding about registry: service registry is STARTED" in host18.openha("remove")
    assert "registry" in (host18.ez / "conf" / "services").read_text()


def test_a_service_without_two_nodes_is_not_added(host18):
    """Three nodes in the service file: said with the file, exit code 5, the driver is installed all the same."""
    host18.service_file.write_text(host18.service_file.read_text().replace(PEER, f"{PEER} third"))
    out = host18.openha("install", 5)
    assert f"{host18.service_file}: nodes: expected two, found 3" in out
    assert not (host18.ez / "conf" / "services").exists()


def test_without_an_agent_or_a_cluster_the_reason_is_given(host18, tmp_path):
    """An empty directory, and an agent without an installed cluster: one line each."""
    (tmp_path / "empty").mkdir()
    host18.home = tmp_path / "empty"
    assert "no OpenSVC agent found in" in host18.openha("install", 5)
    host18.home = tmp_path / "agent"
    (host18.ez / "bin" / "service").unlink()
    assert "run `openha install` first" in host18.openha("install", 5)


PROBES = [('{"avail": "up", "overall": "warn"}', "up", 0), ('{"avail": "down"}', "down", 1), ('{"avail": "n/a"}', "n/a", 3),
          ('pushed ... OK\n{"encap": {"a": {"avail": "up"}}, "avail": "warn"}', "warn", 2), ("no such service", "undef", 2)]


@pytest.mark.parametrize("printed,word,code", PROBES, ids=[probe[1] for probe in PROBES])
def test_the_wrapper_tells_what_the_resources_are(host18, printed, word, code):
    """`<svc>.cluster status`: the agent's word for the resources alone, and the exit code the daemon reads."""
    (host18.home / "bin" / "svcmgr").write_text(f"#!/bin/sh\ncat <<'E'\n{printed}\nE\n")
    assert host18.openha(f"probe {SVC}", code).strip() == word


def test_the_wrappers_call_what_they_say(host18):
    """`.cluster start` runs svcmgr with --cluster and gives its exit code; `status` and `.stonith` run openha."""
    host18._script(host18.home / "bin" / "svcmgr", 'echo svcmgr "$@"; exit 7')
    host18._script(host18.ez / "bin" / "openha", 'echo openha "$@"; exit 8')
    for kind, word, code, out in (("cluster", "start", 7, f"svcmgr -s {SVC} --cluster start"),
                                  ("cluster", "status", 8, f"openha agent --agent-root {host18.home} probe {SVC}"),
                                  ("stonith", "start", 8, f"openha agent --agent-root {host18.home} fence {SVC}")):
        done = subprocess.run([str(host18.wrapper(kind)), word], capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip()) == (code, out)


def fence(host):
    """What `.stonith` runs."""
    return subprocess.run([sys.executable, "-m", "opensvc_openha", "agent", "fence", SVC, "--agent-root", str(host.home)],
                          capture_output=True, text=True, env={**os.environ, "EZ": str(host.ez)}, timeout=30)


SILENT = {"OPENHA_PEER_STANDING": "silent", "OPENHA_PEER_STATE": "UNKNOWN"}
FENCES = [
    (SILENT, "callout", "cmd = echo shot", 0, "fenced"),
    (SILENT, "callout", "cmd = /bin/false", 6, "fencing failed: /bin/false exited with 1"),
    (SILENT, "callout", "cmd = sleep 20\ntimeout = 0.2", 6, "did not end within 0.2 s"),
    (SILENT, "callout", "cmd = echo shot\ndisable = true", 5, "no [stonith#N] section says how to fence it"),
    ({"OPENHA_PEER_STANDING": "live", "OPENHA_PEER_STATE": "STOPPED"}, "callout", "cmd = /bin/false", 0, "no fencing needed"),
    ({"OPENHA_PEER_STANDING": "live", "OPENHA_PEER_STATE": "STARTED"}, "callout", "cmd = echo shot", 5, "not fencing"),
    (SILENT, "ilo", "name = bmc", 6, "exited with 9"),
]


@pytest.mark.parametrize("env,kind,lines,code,text", FENCES, ids=[f"{f[1]}-{f[2].split()[-1]}-{f[3]}" for f in FENCES])
def test_a_check_up_succeeds_only_if_the_peer_is_out_or_was_fenced(host18, monkeypatch, env, kind, lines, code, text):
    """The daemon calls `.stonith`: 0 only for a peer that is out or a fencing command that ended with 0."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    host18._script(host18.home / "bin" / "svcmgr", "exit 9")
    host18.service_file.write_text(host18.service_file.read_text() + f"\n[stonith#1]\ntype = {kind}\n{lines}\n")
    done = fence(host18)
    assert done.returncode == code and text in done.stdout + done.stderr, done
    assert ("shot" in done.stdout) == (text == "fenced")


def test_a_fencing_type_that_cannot_be_checked_fences_nothing(host18, monkeypatch):
    """A [stonith] of type ilo while the stock driver is in place, which drops its exit code: refused."""
    monkeypatch.setenv("OPENHA_PEER_STANDING", "silent")
    host18.service_file.write_text(host18.service_file.read_text() + "\n[stonith#1]\ntype = ilo\nname = bmc\n")
    (host18.home / "lib" / "resHbOpenHA.py").write_text("# The stock driver.\n")
    done = fence(host18)
    assert done.returncode == 5 and "nothing here tells whether it succeeded" in done.stderr
