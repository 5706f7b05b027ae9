"""`openha agent install`, `remove` and `status` on the minimal agents: what is changed, kept,
undone and noticed.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.daemon.check_scripts import find_doubt
from opensvc_openha.formats.layout import fhs_layout, tree_layout
from opensvc_openha.plugin import changes, installer, openha_driver
from opensvc_openha.plugin.agent_1x import LINES as OLD_LINES
from opensvc_openha.plugin.agents import find_agents
from opensvc_openha.plugin.changes import carry_out
from opensvc_openha.plugin.installed_agent import Agent
from opensvc_openha.system.processes import start_of_process
from tests.plugin.minimal_agent import HERE, LINES, PEER, SVC, Host
from tests.waiting import LIMIT_S, until


@pytest.fixture(params=LINES)
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    """The agent of each line; nothing of it is run here, so its Python does not matter."""
    return Host(tmp_path, request.param, "")


def tree_of(folder: Path) -> dict[str, Any]:
    """Every file and link below a directory, with its content."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            found[os.path.relpath(path, folder)] = (
                os.readlink(path) if os.path.islink(path) else open(path, "rb").read()
            )
    return found


def test_each_line_is_distinguished(agent: Host) -> None:
    """The files of an agent: the line is known by them."""
    assert find_agents(str(agent.home))[0].line.name == agent.line


def test_an_install_and_a_remove_leave_the_agent_as_it_was(agent: Host) -> None:
    """Installed, then removed: all files are those from before, but for the wrappers, which are the
    agent's links.
    """
    agent.openha("remove")
    before = tree_of(agent.home)
    agent.openha("install --no-services")
    installed = tree_of(agent.home)
    assert installed["lib/resHbOpenHA.py.stock"] == b"# The stock driver.\n"
    assert b"openha_driver" in installed["lib/resHbOpenHA.py"]
    agent.openha("remove")
    assert tree_of(agent.home) == before
    assert os.readlink(agent.wrapper("cluster")) == f"{agent.home}/bin/svcmgr"


def test_a_second_install_and_a_second_remove_have_nothing_to_do(agent: Host) -> None:
    """Run twice: the second reports that, and changes nothing."""
    before = tree_of(agent.home)
    assert "nothing to do" in agent.openha("install --no-services")
    assert tree_of(agent.home) == before
    agent.openha("remove")
    assert "nothing to do" in agent.openha("remove")
    assert "not installed" in agent.openha("status", 1)


def test_a_dry_run_reports_all_and_does_nothing(agent: Host) -> None:
    """--dry-run of a remove and of an install: the steps as lines, every file as before, no service
    added.
    """
    before = tree_of(agent.home)
    assert "would put" in agent.openha("remove --dry-run")
    assert tree_of(agent.home) == before
    agent.openha("remove")
    before = {**tree_of(agent.home), **tree_of(agent.ez)}
    out = agent.openha("install --dry-run")
    assert (
        "would write" in out
        and f"service -a registry {agent.wrapper('cluster')} {HERE.lower()} {PEER}" in out
    )
    assert {**tree_of(agent.home), **tree_of(agent.ez)} == before


def test_an_upgrade_of_the_agent_is_noticed_and_survived(agent: Host) -> None:
    """The upgrade writes its own driver over ours: status reports it, install keeps the new stock
    one, remove puts that back.
    """
    agent.openha("install")
    assert "installed" in agent.openha("status")
    driver = agent.home / "lib" / "resHbOpenHA.py"
    driver.unlink()
    driver.write_text("# A newer stock driver.\n")
    assert "an upgrade of the agent replaced the driver" in agent.openha("status", 1)
    agent.openha("install --no-services")
    agent.openha("status")
    agent.openha("remove")
    assert driver.read_text() == "# A newer stock driver.\n"


def test_a_remove_after_an_upgrade_keeps_the_newer_driver(agent: Host) -> None:
    """The upgrade's driver is in place, ours is gone: remove leaves it, and drops the older stock
    one.
    """
    driver = agent.home / "lib" / "resHbOpenHA.py"
    driver.write_text("# A newer stock driver.\n")
    agent.openha("remove")
    assert driver.read_text() == "# A newer stock driver.\n"
    assert not os.path.exists(f"{driver}.stock")


def test_a_service_is_added_from_its_file_and_taken_out_again(agent: Host) -> None:
    """A service of the agent: install adds it with its nodes and its wrapper, remove takes it out,
    as it does not run.
    """
    agent.service_file.write_text(
        agent.service_file.read_text() + "\n[stonith#1]\ntype = callout\ncmd = /bin/true\n"
    )
    agent.openha("install")
    services = (agent.ez / "conf" / "services").read_text().split()
    fence_script = agent.ez / "conf" / "fence.d" / SVC
    assert services == ["registry", str(agent.wrapper("cluster")), HERE, PEER, str(fence_script)]
    assert fence_script.read_text() == agent.wrapper("stonith").read_text()
    assert "is in the cluster" in agent.openha("install")
    assert (
        agent.ez / "conf" / "agents"
    ).read_text() == f"drop {agent.home}/var\nadded {agent.home} registry\n"
    agent.openha("remove")
    assert (agent.ez / "conf" / "services").read_text().split() == []
    assert not (agent.ez / "conf" / "agents").exists()
    assert not fence_script.exists()


def test_a_service_that_runs_stays_in_the_cluster_after_a_remove(host18: Host) -> None:
    """The service is STARTED: it is not taken out, and the operator learns how."""
    host18.openha("install")
    (host18.ez / "services" / "registry" / f"STATE.{HERE}").write_bytes(b"2\0")
    assert (
        "the cluster continues to decide about registry: service registry is STARTED"
        in host18.openha("remove")
    )
    assert "registry" in (host18.ez / "conf" / "services").read_text()


def test_a_service_without_two_nodes_is_not_added(host18: Host) -> None:
    """Three nodes in the service file: reported with the file, exit code 5, the driver is
    installed all the same.
    """
    host18.service_file.write_text(host18.service_file.read_text().replace(PEER, f"{PEER} third"))
    out = host18.openha("install", 5)
    assert f"{host18.service_file}: nodes: expected two, found 3" in out
    assert not (host18.ez / "conf" / "services").exists()


def test_without_an_agent_or_a_cluster_the_reason_is_given(host18: Host, tmp_path: Path) -> None:
    """An empty directory, and an agent without an installed cluster: one line each."""
    (tmp_path / "empty").mkdir()
    host18.home = tmp_path / "empty"
    assert "no OpenSVC agent found in" in host18.openha("install", 5)
    host18.home = tmp_path / "agent"
    (host18.ez / "bin" / "service").unlink()
    assert "run `openha install` first" in host18.openha("install", 5)


PROBES = [
    ('{"avail": "up", "overall": "warn"}', "up", 0),
    ('{"avail": "down"}', "down", 1),
    ('{"avail": "n/a"}', "n/a", 3),
    ('pushed ... OK\n{"encap": {"a": {"avail": "up"}}, "avail": "warn"}', "warn", 2),
    ("no such service", "undef", 2),
]


@pytest.mark.parametrize("printed,word,code", PROBES, ids=[probe[1] for probe in PROBES])
def test_the_wrapper_reports_what_the_resources_are(
    host18: Host, printed: str, word: str, code: int
) -> None:
    """`<svc>.cluster status`: the agent's word for the resources alone, and the exit code the
    daemon reads.
    """
    (host18.home / "bin" / "svcmgr").write_text(f"#!/bin/sh\ncat <<'E'\n{printed}\nE\n")
    assert host18.openha(f"probe {SVC}", code).strip() == word


def test_the_wrappers_call_what_they_show(host18: Host) -> None:
    """`.cluster start` runs svcmgr with --cluster and gives its exit code.

    `status` and `.stonith` run openha.
    """
    host18._script(host18.home / "bin" / "svcmgr", 'echo svcmgr "$@"; exit 7')
    host18._script(host18.ez / "bin" / "openha", 'echo openha "$@"; exit 8')
    for kind, word, code, out in (
        ("cluster", "start", 7, f"svcmgr -s {SVC} --cluster start"),
        ("cluster", "status", 8, f"openha agent --agent-root {host18.home} probe {SVC}"),
        ("stonith", "start", 8, f"openha agent --agent-root {host18.home} fence {SVC} start"),
        (
            "stonith",
            "--dry-run",
            8,
            f"openha agent --agent-root {host18.home} fence {SVC} --dry-run",
        ),
    ):
        done = subprocess.run([str(host18.wrapper(kind)), word], capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip()) == (code, out)


def fence(host: Host, *words: Any) -> subprocess.CompletedProcess[str]:
    """What `.stonith` runs."""
    argv = [
        sys.executable,
        "-m",
        "opensvc_openha",
        "agent",
        "--agent-root",
        str(host.home),
        "fence",
        SVC,
        *words,
    ]
    return subprocess.run(
        argv, capture_output=True, text=True, env={**os.environ, "EZ": str(host.ez)}, timeout=30
    )


SILENT = {"OPENHA_PEER_STANDING": "silent", "OPENHA_PEER_STATE": "UNKNOWN"}
FENCES = [
    (SILENT, "callout", "cmd = echo shot", 0, "fenced"),
    (SILENT, "callout", "cmd = /bin/false", 6, "fencing failed: /bin/false exited with 1"),
    (SILENT, "callout", "cmd = sleep 20\ntimeout = 0.2", 6, "did not end within 0.2 s"),
    (
        SILENT,
        "callout",
        "cmd = echo shot\ndisable = true",
        5,
        "no [stonith#N] section defines how to fence it",
    ),
    (
        {"OPENHA_PEER_STANDING": "live", "OPENHA_PEER_STATE": "STOPPED"},
        "callout",
        "cmd = /bin/false",
        0,
        "no fencing needed",
    ),
    (
        {"OPENHA_PEER_STANDING": "live", "OPENHA_PEER_STATE": "STARTED"},
        "callout",
        "cmd = echo shot",
        5,
        "not fencing",
    ),
    (SILENT, "ilo", "name = bmc", 6, "exited with 9"),
]


@pytest.mark.parametrize(
    "env,kind,lines,code,text", FENCES, ids=[f"{f[1]}-{f[2].split()[-1]}-{f[3]}" for f in FENCES]
)
def test_a_check_up_succeeds_only_if_the_peer_is_out_or_was_fenced(
    host18: Host,
    monkeypatch: pytest.MonkeyPatch,
    env: dict[str, str],
    kind: str,
    lines: str,
    code: int,
    text: str,
) -> None:
    """The daemon calls `.stonith`: 0 only for a peer that is out or a fencing command that ended
    with 0.
    """
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    host18._script(host18.home / "bin" / "svcmgr", "exit 9")
    host18.service_file.write_text(
        host18.service_file.read_text() + f"\n[stonith#1]\ntype = {kind}\n{lines}\n"
    )
    done = fence(host18)
    assert done.returncode == code and text in done.stdout + done.stderr, done
    assert ("shot" in done.stdout) == (text == "fenced")


@pytest.mark.parametrize(
    "lines, code, ran",
    [
        (("cmd = {1}; exit 7", "level = 2\ncmd = {2}; exit 0"), 0, "1 2"),
        (("cmd = {1}; exit 0", "level = 2\ncmd = {2}; exit 7"), 0, "1"),
        (("cmd = {1}; exit 7", "cmd = {2}; exit 0", "level = 2\ncmd = {3}; exit 9"), 6, "1 3"),
        (("cmd = {1}; sleep 10000", "level = 2\ncmd = {2}; exit 0"), 0, "1 2"),
        (("cmd = {1}; exit 0", "level = zero\ncmd = {2}; exit 0"), 3, ""),
    ],
)
def test_levels_of_fencing_of_a_real_agents_service(
    host18: Host,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    lines: tuple[str, str, str] | tuple[str, str],
    code: int,
    ran: str,
) -> None:
    """The next level is tried only if one failed, within the limit of the script.

    A wrong level fences nothing.
    """
    monkeypatch.setenv("OPENHA_PEER_STANDING", "silent")
    monkeypatch.setenv("OPENHA_LIMIT_S", "4")
    path = tmp_path / "ran"
    marks = ["", *(f"echo {number} >> {path}" for number in range(1, 4))]
    text = "".join(
        f"\n[stonith#{number}]\ntype = callout\n{line.format(*marks)}\n"
        for number, line in enumerate(lines, 1)
    )
    host18.service_file.write_text(host18.service_file.read_text() + text)
    done = fence(host18)
    assert done.returncode == code, done
    assert (path.read_text().split() if path.exists() else []) == ran.split()


@pytest.mark.parametrize(
    "lines, word, code",
    [
        ("status_cmd = exit 0", "on", 0),
        ("status_cmd = exit 2", "off", 2),
        ("status_cmd = exit 3", "unknown", 1),
        ("", "unknown", 1),
    ],
)
def test_status_of_a_fence_asks_the_device_and_fences_no_node(
    host18: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: str, word: str, code: int
) -> None:
    """`.stonith status`, as the generated script hands it on."""
    monkeypatch.setenv("OPENHA_PEER_STANDING", "silent")
    mark = tmp_path / "fenced"
    text = f"\n[stonith#1]\ntype = callout\ncmd = touch {mark}\n{lines}\n"
    host18.service_file.write_text(host18.service_file.read_text() + text)
    done = fence(host18, "status")
    assert (done.stdout, done.returncode, mark.exists()) == (f"{word}\n", code, False), done


def test_a_fence_that_is_ended_from_without_takes_its_commands_along(
    host18: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SIGTERM, as the daemon sends at its limit: what the fencing command started is gone, too."""
    monkeypatch.setenv("OPENHA_PEER_STANDING", "silent")
    child = tmp_path / "child"
    command = f"sleep 10000 & echo $! > {child}.new; mv {child}.new {child}; wait"
    text = f"\n[stonith#1]\ntype = callout\ncmd = {command}\n"
    host18.service_file.write_text(host18.service_file.read_text() + text)
    argv = [
        sys.executable,
        "-m",
        "opensvc_openha",
        "agent",
        "fence",
        SVC,
        "--agent-root",
        str(host18.home),
    ]
    with subprocess.Popen(argv, env={**os.environ, "EZ": str(host18.ez)}) as process:
        until(child.exists)
        process.terminate()
        assert process.wait(LIMIT_S) == 128 + signal.SIGTERM
    until(lambda: not start_of_process(int(child.read_text())))


def test_a_fencing_type_that_cannot_be_checked_fences_nothing(
    host18: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A [stonith] of type ilo while the stock driver is in place, which drops its exit code:
    refused.
    """
    monkeypatch.setenv("OPENHA_PEER_STANDING", "silent")
    host18.service_file.write_text(
        host18.service_file.read_text() + "\n[stonith#1]\ntype = ilo\nname = bmc\n"
    )
    (host18.home / "lib" / "resHbOpenHA.py").write_text("# The stock driver.\n")
    done = fence(host18)
    assert done.returncode == 5 and "its success cannot be verified here" in done.stderr


def register(host: Host, line: str) -> None:
    """Puts a line into the services file, as an operator or an earlier version wrote it."""
    (host.ez / "conf" / "services").write_text(line)
    (host.ez / "services" / "registry").mkdir(parents=True, exist_ok=True)


def checks_of(host: Host) -> str:
    """The check-up script that the cluster calls."""
    return (host.ez / "conf" / "services").read_text().split()[4]


STONITH = "\n[stonith#1]\ntype = callout\ncmd = /bin/false\n"


def test_a_check_up_script_in_the_agents_place_is_replaced_by_one_of_our_own(agent: Host) -> None:
    """Registered with `<svc>.stonith`, which the agent may make its own again: install registers
    one that no agent writes.
    """
    agent.service_file.write_text(agent.service_file.read_text() + STONITH)
    register(
        agent,
        f"# Kept.\nregistry {agent.wrapper('cluster')} {HERE} {PEER} {agent.wrapper('stonith')}\n",
    )
    fence_script = agent.ez / "conf" / "fence.d" / SVC
    out = agent.openha("install --dry-run")
    assert f"would change the check-up script of service registry to {fence_script}" in out
    assert checks_of(agent) != str(fence_script) and not fence_script.exists()
    agent.openha("install")
    text = (agent.ez / "conf" / "services").read_text()
    assert text.startswith("# Kept.\n") and text.split()[-1] == str(fence_script)
    assert openha_driver.MARK in fence_script.read_text()
    agent.wrapper("stonith").unlink()
    agent.wrapper("stonith").symlink_to(agent.home / "bin" / "svcmgr")
    assert find_doubt(str(fence_script), tree_layout(str(agent.ez))) == ""


def test_a_service_that_stays_after_a_remove_keeps_a_check_up_that_fences(host18: Host) -> None:
    """It runs and was registered with `<svc>.stonith`: that is the agent's link now, the registered
    script is not.
    """
    host18.service_file.write_text(host18.service_file.read_text() + STONITH)
    register(
        host18, f"registry {host18.wrapper('cluster')} {HERE} {PEER} {host18.wrapper('stonith')}\n"
    )
    (host18.ez / "services" / "registry" / f"STATE.{HERE}").write_bytes(b"2\0")
    host18.openha("remove")
    assert os.path.islink(host18.wrapper("stonith"))
    script = Path(checks_of(host18))
    assert script.parent == host18.ez / "conf" / "fence.d" and not script.is_symlink()
    assert fence(host18).returncode != 0
    assert "nothing to do" in host18.openha("remove")
    assert script.exists()


def test_a_check_up_script_that_is_the_agents_is_a_failure_of_the_status(host18: Host) -> None:
    """An upgrade made `<svc>.stonith` the agent's link, and it is still registered: reported, exit
    code 1.
    """
    host18.service_file.write_text(host18.service_file.read_text() + STONITH)
    host18.openha("install")
    register(
        host18, f"registry {host18.wrapper('cluster')} {HERE} {PEER} {host18.wrapper('stonith')}\n"
    )
    host18.wrapper("stonith").unlink()
    host18.wrapper("stonith").symlink_to(host18.home / "bin" / "svcmgr")
    assert "which ends with 0 even if the fencing fails" in host18.openha("status", 1)


def test_a_status_with_a_service_out_of_the_cluster_or_broken_is_no_success(host18: Host) -> None:
    """Not registered, then with three nodes: exit code 1 each time, and what to do."""
    assert "not in the cluster: run `openha agent install` again" in host18.openha("status", 1)
    host18.openha("install")
    assert "in the cluster" in host18.openha("status")
    host18.service_file.write_text(host18.service_file.read_text().replace(PEER, f"{PEER} third"))
    assert "expected two, found 3" in host18.openha("status", 1)
    assert "IN THE CLUSTER as registry" in host18.openha("install", 5)


def test_a_second_section_for_the_cluster_is_refused(agent: Host) -> None:
    """[hb#0] and [hb#1]: which one names the cluster cannot be known.

    The disabled one does not count.
    """
    text = agent.service_file.read_text()
    agent.service_file.write_text(text + "\n[hb#1]\ntype = OpenHA\nname = other\n")
    assert "[hb#0], [hb#1]: only one section may name the service" in agent.openha("install", 5)
    agent.service_file.write_text(text + "\n[hb#1]\ntype = OpenHA\nname = other\ndisable = true\n")
    assert "service -a registry" in agent.openha("install")


def test_two_services_under_one_name_of_the_cluster_are_both_refused(agent: Host) -> None:
    """Two service files with `name = registry`: neither is added, each names the other."""
    other = agent.service_file.with_name(f"web.opensvc.com{agent.service_file.suffix}")
    other.write_text(agent.service_file.read_text())
    out = agent.openha("install", 5)
    assert "registry is also the name of web.opensvc.com" in out
    assert f"registry is also the name of {SVC}" in out
    assert not (agent.ez / "conf" / "services").exists()


def test_the_first_node_is_found_whatever_its_case(host18: Host) -> None:
    """autostart_node in capitals: that node is the primary."""
    text = host18.service_file.read_text().replace(
        "[hb#0]", f"autostart_node = {PEER.upper()}\n\n[hb#0]"
    )
    host18.service_file.write_text(text)
    host18.openha("install")
    assert (host18.ez / "conf" / "services").read_text().split()[2:4] == [PEER, HERE]


def test_a_remove_changes_nothing_while_the_daemon_does_not_answer(host18: Host) -> None:
    """The daemon is stopped by a signal: exit code 4, and a remove after it was continued takes out
    what was added.
    """
    host18.openha("install")
    before = tree_of(host18.home)
    lock = host18.ez / "services" / ".proc" / "nmond.lock"
    daemon = host18.daemon()
    lock.write_text(f"{os.getpid()}\n")
    with open(lock, encoding="ascii") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        daemon.delay_s = 30.0
        assert "nothing is changed" in host18.openha("remove", 4)
    assert tree_of(host18.home) == before and checks_of(host18) == "/bin/true"
    daemon.close()
    host18._daemon = None
    assert "run service -r registry" in host18.openha("remove")
    assert (host18.ez / "conf" / "services").read_text() == ""


def test_a_service_that_stayed_is_taken_out_by_the_next_remove(host18: Host) -> None:
    """It ran at the first remove.

    Stopped since, the second one still knows that the installation had added it.
    """
    host18.openha("install")
    state = host18.ez / "services" / "registry" / f"STATE.{HERE}"
    state.write_bytes(b"2\0")
    assert "the cluster continues to decide about registry" in host18.openha("remove")
    state.write_bytes(b"6\0")
    assert "run service -r registry" in host18.openha("remove")
    assert (host18.ez / "conf" / "services").read_text() == ""
    assert not (host18.ez / "conf" / "agents").exists()


def test_what_an_earlier_version_added_is_still_known(host18: Host) -> None:
    """It kept the list beside the driver: an install takes it over, a remove takes the service
    out.
    """
    host18.openha("install")
    places = host18.home / "lib" / "openha_driver.json"
    places.write_text(json.dumps({**json.loads(places.read_text()), "added": ["registry"]}))
    (host18.ez / "conf" / "agents").write_text(f"drop {host18.home}/var\n")
    host18.openha("install")
    assert f"added {host18.home} registry" in (host18.ez / "conf" / "agents").read_text()
    host18.openha("remove")
    assert (host18.ez / "conf" / "services").read_text() == ""


def test_what_is_left_of_an_agent_whose_package_is_gone_can_be_taken_out(agent: Host) -> None:
    """The package went first and left what is not its own: install and fence report it, remove
    cleans up.
    """
    agent.service_file.write_text(agent.service_file.read_text() + STONITH)
    agent.openha("install")
    for name in os.listdir(agent.home / "lib"):
        if "openha" not in name.lower():
            (agent.home / "lib" / name).unlink()
    for path in (agent.home / "lib" / "resHbOpenHA.py.stock", agent.home / "bin" / "svcmgr"):
        path.unlink()
    assert "the agent is gone" in agent.openha("status", 1)
    assert "is gone" in agent.openha("install", 5)
    assert "is gone" in agent.openha(f"fence {SVC}", 5)
    agent.openha("remove")
    assert os.listdir(agent.home / "lib") == []
    assert not os.path.lexists(agent.wrapper("cluster")) and not os.path.lexists(
        agent.wrapper("stonith")
    )
    assert (agent.ez / "conf" / "services").read_text() == ""
    assert (
        not (agent.ez / "conf" / "agents").exists()
        and os.listdir(agent.ez / "conf" / "fence.d") == []
    )
    assert "no OpenSVC agent found" in agent.openha("remove", 5)


def test_a_dry_run_of_the_check_up_fences_nothing(
    host18: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`<svc>.stonith --dry-run`: prints what it would do."""
    monkeypatch.setenv("OPENHA_PEER_STANDING", "silent")
    host18.service_file.write_text(
        host18.service_file.read_text() + "\n[stonith#1]\ntype = callout\ncmd = touch shot\n"
    )
    assert "would check the peer" in host18.openha(f"fence {SVC} --dry-run")
    assert not os.path.exists("shot")


@pytest.mark.parametrize("is_back", [False, True])
def test_a_diverted_driver_is_there_at_every_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_back: bool
) -> None:
    """dpkg registers it without moving the file itself, by every version of it: between two steps
    the agent finds a driver.
    """
    driver, stock = tmp_path / "resHbOpenHA.py", tmp_path / "resHbOpenHA.py.stock"
    driver.write_text("# Ours.\n" if is_back else "# The stock driver.\n")
    if is_back:
        stock.write_text("# The stock driver.\n")
    tool = tmp_path / "bin" / "dpkg-divert"
    tool.parent.mkdir()
    # As before 1.19.1: it does not know --no-rename. What the path holds while it runs is noted.
    tool.write_text(
        f'#!/bin/sh\ncase "$*" in *rename*) exit 2;; esac\necho "$*" >> {tmp_path}/asked\ncat'
        f" {driver}\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    changes.Move(str(driver), str(stock), is_divert=True, is_back=is_back).carry_out()
    assert driver.read_text() == "# The stock driver.\n"
    assert stock.exists() is not is_back
    words = (tmp_path / "asked").read_text()
    assert ("--remove" in words) is is_back and ("--add" in words) is not is_back


LIMITS = [
    ("1.7", False, True, ""),
    ("1.7", True, False, "/usr/local/cluster/conf"),
    ("1.7", True, True, "/usr/local/cluster/conf"),
    ("1.8", False, True, "/etc/openha"),
    ("1.8", True, True, ""),
    ("1.8", False, False, ""),
]


@pytest.mark.parametrize("line,is_fhs,has_command,place", LIMITS)
def test_a_remove_reports_where_the_stock_driver_looks_in_vain(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    is_fhs: bool,
    has_command: bool,
    place: str,
) -> None:
    """The stock 1.8 takes `openha` on the PATH for the newer layout, the others know the older one
    alone.
    """
    host = Host(tmp_path, line, "")
    command = host._script(tmp_path / "bin" / "openha", "exit 0")
    monkeypatch.setenv("PATH", os.path.dirname(command) if has_command else str(tmp_path / "none"))
    limit = installer.find_stock_limit(
        find_agents(str(host.home))[0], fhs_layout() if is_fhs else tree_layout()
    )
    assert (f"looks for the cluster in {place}" in limit) if place else limit == ""
    monkeypatch.undo()
    assert "note: the agent's own driver looks for the cluster in" in host.openha("remove")


@pytest.mark.parametrize("is_taken", [False, True])
def test_the_stock_driver_of_the_newest_line_finds_the_cluster_in_the_older_layout(
    tmp_path: Path, is_taken: bool
) -> None:
    """Links where it looks, made by a remove and gone with an install.

    What is in these places is left alone, and reported.
    """
    home = tmp_path / "usr/share/opensvc"
    agent = Agent(next(line for line in OLD_LINES if line.name == "1.8"), str(home), str(tmp_path))
    layout = tree_layout(f"{tmp_path}/usr/local/cluster")
    places = [tmp_path / "etc/openha/monitor", tmp_path / "var/lib/openha/services"]
    if is_taken:
        places[0].parent.mkdir(parents=True)
        places[0].write_text("of somebody else")
    for change in installer.plan_stock_links(agent, layout):
        carry_out(change)
    assert [os.path.realpath(place) for place in places[is_taken:]] == [
        layout.monitor_file,
        layout.services_dir,
    ][is_taken:]
    assert installer.plan_stock_links(agent, layout) == []
    assert (installer.find_stock_limit(agent, layout) == "") is not is_taken
    assert installer.plan_stock_links(agent, fhs_layout(str(tmp_path))) == []
    assert not is_taken or places[0].read_text() == "of somebody else"
