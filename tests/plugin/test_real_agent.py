"""The drivers in a real OpenSVC agent, on two nodes: the tutorial's steps, and a daemon that is
stopped, killed, started again.

OPENSVC_AGENT_ROOTS=DIR:DIR... names source trees of agents (the directory with `lib` or `opensvc`),
OPENSVC_AGENT_ROOT one; the line of each is found by its files. No registry has the agent, so
nothing of this runs without it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.errors import SystemFault
from opensvc_openha.plugin.agents import find_agents
from tests import waiting
from tests.plugin.real_agents import EZ, SVC, AgentNodes, find_python

ROOTS = [
    root
    for name in ("OPENSVC_AGENT_ROOTS", "OPENSVC_AGENT_ROOT")
    for root in os.environ.get(name, "").split(":")
    if root
]
PID = f"$(cat {EZ}/services/.proc/nmond.lock)"

pytestmark = [
    pytest.mark.root,
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not ROOTS, reason="OPENSVC_AGENT_ROOTS names no OpenSVC agent"),
]


@pytest.fixture(params=ROOTS, ids=[os.path.basename(root.rstrip("/")) for root in ROOTS])
def bare(request: pytest.FixtureRequest) -> Iterator[AgentNodes]:
    """Both nodes with agent, cluster and service; no driver, no daemon."""
    found = find_agents(request.param)
    assert found, f"{request.param}: no OpenSVC agent of a line that is known"
    line = found[0].line.name
    if find_python(line) is None:
        pytest.skip(f"no Python that the agent {line} runs under")
    try:
        nodes = TwoNodes()
    except SystemFault as error:
        pytest.skip(str(error))
    with nodes:
        made = AgentNodes(nodes, request.param)
        made.add_service()
        yield made


@pytest.fixture
def agents(bare: AgentNodes) -> AgentNodes:
    """The driver is installed on both nodes, and the daemons run."""
    for node in bare.nodes:
        bare.start_agent(node)
        bare.ok(node, "openha agent install")
        bare.ok(node, "ezha start")
    return bare


def until(look: Callable[[], Any], wanted: Any) -> Any:
    """Polls until what is seen is as wanted."""
    return waiting.until(
        look, wanted if callable(wanted) else lambda seen: seen == wanted, str(wanted)
    )


def states(agents: AgentNodes, node: Node) -> tuple[str, str]:
    """What `service -s -c` shows: primary and secondary state."""
    words = agents.ok(node, "service -s -c").split()
    return words[-3], words[-1]


def hb_lines(agents: AgentNodes, node: Node) -> str:
    """The hb line of `print status` and its reasons, in one line."""
    refresh = " --refresh" if agents.line == "2.1" else ""
    out = agents.svc(node, f"print status{refresh}").stdout
    assert "Traceback" not in out
    out = re.sub(r"\x1b?\[0*m", "", out)
    return " ".join(out[out.index("hb.openha") - 25 :].replace("|", " ").replace("#", " ").split())


def compact(text: str) -> str:
    """Without blanks and lines of a tree: the 2.1 breaks words where its column ends."""
    return re.sub(r"\W+", "", text)


def run_on_first(agents: AgentNodes) -> None:
    """The service runs on the first node, the second is its standby."""
    for node in agents.nodes:
        agents.ok(node, "service -A registry unfreeze")
        until(lambda: states(agents, agents.first)[0], "STARTED")
    until(lambda: states(agents, agents.first), ("STARTED", "STOPPED"))


def test_the_hb_status_follows_the_cluster_at_once(agents: AgentNodes) -> None:
    """Frozen, started, standby: print status shows each state without being asked to look
    again.
    """
    assert "warn hb.openha" in hb_lines(agents, agents.first)
    assert "cluster service status is frozen_stop" in hb_lines(agents, agents.first)
    run_on_first(agents)
    until(lambda: " up hb.openha" in " " + hb_lines(agents, agents.first), True)
    until(lambda: " down hb.openha" in " " + hb_lines(agents, agents.second), True)
    assert agents.first.run(f"/etc/opensvc/{SVC}.cluster status").stdout.strip() in ("up", "n/a")
    assert agents.second.run(f"/etc/opensvc/{SVC}.cluster status").stdout.strip() in ("down", "n/a")


def test_a_stopped_or_dead_daemon_is_reported(agents: AgentNodes) -> None:
    """SIGSTOP, SIGKILL, started again: the reason each time, no traceback, and the service is where
    it was.
    """
    run_on_first(agents)
    # However long the agent takes to look, the second node does not take the service over.
    agents.ok(agents.second, "service -A registry freeze-stop")
    agents.ok(agents.first, f"kill -STOP {PID}")
    assert "open-ha daemon does not answer, last cluster service status was started" in hb_lines(
        agents, agents.first
    )
    agents.ok(agents.first, f"kill -KILL {PID}; kill -CONT {PID} 2>/dev/null; sleep 0.2")
    assert "open-ha daemons are not running" in hb_lines(agents, agents.first)
    agents.ok(agents.first, "ezha start")
    until(lambda: states(agents, agents.first), ("STARTED", "FROZEN_STOP"))
    until(lambda: " up hb.openha" in " " + hb_lines(agents, agents.first), True)


WORDS = (
    ("switch", ("STOPPED", "STARTED")),
    ("switch", ("STARTED", "STOPPED")),
    ("freeze", ("FROZEN_START", "FROZEN_STOP")),
    ("thaw", ("STARTED", "STOPPED")),
    ("stop", ("FROZEN_STOP", "FROZEN_STOP")),
    ("start", ("STARTED", "STOPPED")),
)
"""The agent's words, and the states after each."""


def use_words(agents: AgentNodes) -> str:
    """Uses each word on the first node; returns what the agent prints."""
    printed = []
    for action, wanted in WORDS:
        done = agents.svc(agents.first, action)
        printed += [done.stdout, done.stderr]
        assert done.returncode == 0, f"{action}: {done.stdout}{done.stderr}"
        until(lambda: states(agents, agents.first), wanted)
    return "".join(printed)


def test_the_agents_own_words_move_the_service(agents: AgentNodes) -> None:
    """switch, freeze, thaw, stop, start of the agent: both nodes are driven.

    The 1.5 and the 2.1 refuse, and report it.
    """
    run_on_first(agents)
    if agents.line in ("1.5", "2.1"):
        action = "stop" if agents.line == "1.5" else "stop --local"
        done = agents.svc(agents.first, action)
        assert done.returncode == 1
        assert "managed by" in done.stdout + done.stderr
        return
    use_words(agents)
    done = agents.svc(agents.first, "restart")
    assert done.returncode == 1 and "safety net" in done.stdout + done.stderr
    assert agents.svc(agents.first, "shutdown").returncode == 0


def test_the_agents_own_words_need_no_ssh_where_there_is_a_key(bare: AgentNodes) -> None:
    """No node takes the other one's ssh: each word's part of the other node goes over the peer
    link, once, and the agent's log has what was printed there.
    """
    needs(bare, DRIVEN, "the others' words ask no driver")
    bare.ok(bare.first, "openha key generate")
    key = bare.ok(bare.first, f"cat {EZ}/conf/openha.key")
    bare.second.write(f"{EZ}/conf/openha.key", key, 0o600)
    log = f"{EZ}/log/peer-link.log"
    for node in bare.nodes:
        bare.ok(node, "rm /root/.ssh/authorized_keys; openha agent install && ezha start")
        until(lambda: "serving on port" in node.run(f"cat {log}").stdout, True)
    assert bare.first.run(f"ssh -o BatchMode=yes {bare.second.name} true").returncode == 255
    run_on_first(bare)
    printed = use_words(bare)
    assert "ssh is used" not in printed and "over the peer link: exit code 0" in printed
    asked = re.findall(r"request \w+: (\w+) registry$", bare.second.read(log), re.MULTILINE)
    switches = ["stop", "start"] + ["stop", "thaw"]
    assert asked == [*switches, "freeze", "thaw", "stop", "thaw"]  # A start thaws the peer.
    back = re.findall(r"request \w+: (\w+) registry$", bare.first.read(log), re.MULTILINE)
    assert back == ["thaw"]


def test_a_dead_node_is_taken_over_and_the_agent_goes_back_without_a_stop(
    agents: AgentNodes,
) -> None:
    """Power failure of the node that runs it: started on the other one.

    There the driver is removed, and it runs on.
    """
    run_on_first(agents)
    agents.first.kill()
    until(lambda: states(agents, agents.second), ("UNKNOWN", "STARTED"))
    out = agents.ok(agents.second, "openha agent remove")
    assert "the cluster continues to decide about registry" in out
    assert states(agents, agents.second) == ("UNKNOWN", "STARTED")
    assert agents.second.run("test -e /run/app.runs").returncode == 0
    agents.ok(agents.second, "openha agent install")
    assert agents.second.run("openha agent status").returncode == 0


def test_a_takeover_waits_for_a_fence_that_succeeds(agents: AgentNodes) -> None:
    """The node that runs it dies and cannot be fenced: not started here.

    After the fencing command was fixed, it is.
    """
    if agents.line == "2.1":
        pytest.skip("the 2.1 has its fencing among the options of the node")
    agents.add_service(extra="\n[stonith#1]\ntype = callout\ncmd = /bin/false\n")
    check = f"/etc/opensvc/{SVC}.stonith"
    for node in agents.nodes:
        agents.ok(
            node,
            f"service -r registry; service -a registry /etc/opensvc/{SVC}.cluster "
            f"deb1.opensvc.com deb2.opensvc.com {check}",
        )
    run_on_first(agents)
    agents.first.kill()
    until(lambda: states(agents, agents.second), ("UNKNOWN", "START_FAILED"))
    assert "fencing failed: /bin/false exited with 1" in agents.second.read(
        f"{EZ}/log/registry.log"
    )
    assert agents.second.run("test -e /run/app.runs").returncode == 1
    agents.ok(agents.second, f"sed -i s:/bin/false:/bin/true: {agents.etc}/{SVC}{agents.suffix}")
    agents.ok(agents.second, "service -A registry freeze-stop; service -A registry unfreeze")
    until(lambda: states(agents, agents.second), ("UNKNOWN", "STARTED"))


def test_a_monitored_resource_that_fails_moves_the_service(agents: AgentNodes) -> None:
    """The application dies behind the agent's back: monitor_action = freezestop has the other node
    start it.
    """
    if agents.line not in ("1.7", "1.8"):
        pytest.skip("needs monitor = true on an app resource, which the 1.7 and the 1.8 have")
    run_on_first(agents)
    agents.ok(agents.first, "rm /run/app.runs; svcmgr resource monitor")
    until(lambda: states(agents, agents.first), ("FROZEN_STOP", "STARTED"))


DRIVEN = ("1.6", "1.7", "1.8")
"""The lines whose words drive the cluster."""


def needs(agents: AgentNodes, lines: tuple[str, ...], why: str) -> None:
    """Skips the test for other lines."""
    if agents.line not in lines:
        pytest.skip(f"needs the {' or the '.join(lines)}: {why}")


def board(agents: AgentNodes, node: Node) -> Any:
    """What the agent shows of all services."""
    command = (
        "om mon"
        if agents.line == "2.1"
        else "svcmon --refresh"
        if agents.line == "1.7"
        else "svcmon"
    )
    return agents.ok(node, command)


def test_the_tutorial(agents: AgentNodes) -> None:
    """Unfrozen, started, standby, moved, taken over, and the node that lost its power back:
    each agent shows each step.
    """
    first, second = agents.nodes
    assert "warn hb.openha" in hb_lines(agents, first)
    run_on_first(agents)
    until(lambda: " up hb.openha" in " " + hb_lines(agents, first), True)
    until(lambda: " down hb.openha" in " " + hb_lines(agents, second), True)
    for node in agents.nodes:
        assert SVC in board(agents, node)
    agents.ok(first, "service -A registry freeze-stop")
    until(lambda: states(agents, first), ("FROZEN_STOP", "STARTED"))
    assert (
        second.run("test -e /run/app.runs").returncode == 0
        and first.run("test -e /run/app.runs").returncode == 1
    )
    agents.ok(first, "service -A registry unfreeze")
    until(lambda: states(agents, first), ("STOPPED", "STARTED"))
    agents.ok(second, "service -A registry freeze-stop")
    until(lambda: states(agents, first), ("STARTED", "FROZEN_STOP"))
    agents.ok(second, "service -A registry unfreeze")
    until(lambda: states(agents, first), ("STARTED", "STOPPED"))
    agents.svc(first, "print status")  # The agent keeps what it sees now.
    first.kill()
    until(lambda: states(agents, second), ("UNKNOWN", "STARTED"))
    until(lambda: " up hb.openha" in " " + hb_lines(agents, second), True)
    first.boot()
    agents.start_agent(first)
    agents.ok(first, "ezha start")
    until(lambda: states(agents, first), ("STOPPED", "STARTED"))
    until(lambda: " down hb.openha" in " " + hb_lines(agents, first), True)
    # What ran before the power failure is not shown as running, though the agent had kept it.
    shown = agents.svc(first, "print status").stdout
    avail = [line.split() for line in shown.splitlines() if re.search(r"\bapp#1\b", line)]
    assert not [words for words in avail if "up" in words], shown


def test_a_takeover_does_not_believe_the_agents_own_stonith(agents: AgentNodes) -> None:
    """An upgrade outside of dpkg: the agent's driver and its `.stonith` are back.

    No takeover goes unfenced.
    """
    needs(agents, ("1.5", "1.6", "1.7", "1.8"), "the 2.1 makes no such link")
    agents.add_service(extra="\n[stonith#1]\ntype = callout\ncmd = /bin/false\n")
    link = f"{agents.etc}/{SVC}.stonith"
    for node in agents.nodes:
        agents.ok(node, "service -r registry; openha agent install")
        assert f"{EZ}/conf/fence.d/{SVC}" in node.read(f"{EZ}/conf/services")
    run_on_first(agents)
    second = agents.second
    agents.ok(
        second,
        f"cp -a {agents.home}/lib/resHbOpenHA.py.stock {agents.home}/lib/resHbOpenHA.py; "
        f"rm -f {agents.home}/lib/resHbOpenHA.pyc; rm -rf {agents.home}/lib/__pycache__; rm {link}",
    )
    agents.ok(
        second, f"rm -f {agents.var}/{SVC}/resource.status.last.hb* {agents.var}/{SVC}/status.json"
    )
    agents.svc(second, "print status")
    assert second.run(f"test -L {link}").returncode == 0, "the agent makes its own link again"
    assert second.run(link).returncode == 0, "which succeeds, whatever the fencing command does"
    assert second.run("openha agent status").returncode == 1
    agents.first.kill()
    until(lambda: states(agents, second), ("UNKNOWN", "START_FAILED"))
    assert "fencing failed: /bin/false exited with 1" in second.read(f"{EZ}/log/registry.log")
    # The same with the link registered, as an earlier version did.
    agents.ok(
        second,
        f"service -A registry freeze-stop; sed -i s:{EZ}/conf/fence.d/{SVC}:{link}:"
        f" {EZ}/conf/services",
    )
    until(
        lambda: agents.ok(second, "service -s -v"),
        lambda text: "check-up script not believed" in text,
    )
    agents.ok(second, "service -A registry unfreeze")
    until(lambda: states(agents, second), ("UNKNOWN", "START_FAILED"))
    assert second.run("test -e /run/app.runs").returncode == 1
    assert f"not run: {link} leads to" in agents.ok(second, "openha why registry")


def test_a_start_that_fails_is_a_failure_of_the_agents_word(agents: AgentNodes) -> None:
    """The application does not start: `start` and `switch` of the agent end with 1 and the agent's
    own error.
    """
    needs(agents, DRIVEN, "the others refuse these words")
    first, second = agents.nodes
    agents.ok(first, "touch /shared/app.fails")
    done = agents.svc(first, "start")
    assert (
        done.returncode == 1
        and "start_failed on local node: start script failed" in done.stdout + done.stderr
    )
    assert "(skip rollback" not in agents.ok(first, "service -s -v")
    assert "ERROR" in agents.ok(first, "service -s -v")
    agents.ok(first, "rm /shared/app.fails; service -A registry freeze-stop")
    until(lambda: states(agents, first), ("FROZEN_STOP", "STARTED"))
    agents.ok(first, "service -A registry unfreeze; touch /shared/app.fails")
    until(lambda: states(agents, first), ("STOPPED", "STARTED"))
    done = agents.svc(second, "switch")
    assert (
        done.returncode == 1
        and "'start --remote' failed on node deb1.opensvc.com" in done.stdout + done.stderr
    )


def test_a_dry_run_changes_nothing(agents: AgentNodes) -> None:
    """`--dry-run` with each word: both nodes as before, and the script that fences does not
    fence.
    """
    needs(agents, DRIVEN, "the others refuse these words")
    run_on_first(agents)
    for node in agents.nodes:
        for action in ("stop", "switch", "switch --to deb2.opensvc.com", "freeze", "start"):
            agents.svc(node, f"{action} --dry-run")
            assert states(agents, node) == ("STARTED", "STOPPED"), action
    assert agents.first.run("test -e /run/app.runs").returncode == 0
    assert agents.svc(agents.first, "thaw").returncode == 0


def test_a_switch_goes_to_the_node_that_is_named(agents: AgentNodes) -> None:
    """`switch --to`: nothing where it runs, moved otherwise, an error for a node it does not
    have.
    """
    needs(agents, DRIVEN, "the others refuse these words")
    run_on_first(agents)
    assert agents.svc(agents.first, "switch --to deb1.opensvc.com").returncode == 0
    assert states(agents, agents.first) == ("STARTED", "STOPPED")
    assert agents.svc(agents.first, "switch --to deb2.opensvc.com").returncode == 0
    until(lambda: states(agents, agents.first), ("STOPPED", "STARTED"))
    done = agents.svc(agents.first, "switch --to other.opensvc.com")
    assert done.returncode == 1 and "not a node of the service" in done.stdout + done.stderr


def test_without_the_shared_file_the_agent_refuses(agents: AgentNodes) -> None:
    """The file that all drivers share is gone: a warning in the status, no start and no stop by
    hand, the cluster's own goes.
    """
    run_on_first(agents)
    shared = (
        f"{agents.home}/site_opensvc/openha_driver.py"
        if agents.line == "2.1"
        else f"{agents.home}/lib/openha_driver.py"
    )
    agents.ok(agents.first, f"rm -rf {shared} {shared}c {os.path.dirname(shared)}/__pycache__")
    if agents.line == "2.1":
        until(
            lambda: compact(agents.svc(agents.first, "print status --refresh").stdout),
            lambda text: "cannotbeloaded" in text,
        )
    else:
        assert "cannot be loaded" in hb_lines(agents, agents.first)
    for action in (
        ("stop --local", "start --local") if agents.line == "2.1" else ("stop", "start", "switch")
    ):
        assert agents.svc(agents.first, action).returncode == 1, action
    assert states(agents, agents.first) == ("STARTED", "STOPPED")
    agents.ok(agents.first, "service -A registry freeze-stop")
    until(lambda: states(agents, agents.first), ("FROZEN_STOP", "STARTED"))


def test_a_dead_peer_does_not_stop_a_freeze(agents: AgentNodes) -> None:
    """The other node has no power: freeze and thaw of the agent do this node."""
    needs(agents, DRIVEN, "the others do not ask the driver")
    run_on_first(agents)
    agents.second.kill()
    until(lambda: states(agents, agents.first), ("STARTED", "UNKNOWN"))
    done = agents.svc(agents.first, "freeze")
    assert (
        done.returncode == 0 and "ssh to node deb2.opensvc.com failed" in done.stdout + done.stderr
    )
    assert states(agents, agents.first) == ("FROZEN_START", "UNKNOWN")
    assert agents.svc(agents.first, "thaw").returncode == 0
    assert states(agents, agents.first) == ("STARTED", "UNKNOWN")


def hide_command(agents: AgentNodes, node: Node) -> None:
    """The stock 1.8 takes another layout for granted where `openha` is on its path."""
    node.environment["PATH"] = ":".join(
        part for part in node.environment["PATH"].split(":") if part != f"{EZ}/bin"
    )
    agents.ok(node, "rm -f /usr/local/bin/openha")


def test_the_stock_driver_shows_and_drives_the_cluster(bare: AgentNodes) -> None:
    """No driver of ours: the agent's own finds the processes it looks for, with nothing kept, and
    its words work.
    """
    needs(bare, ("1.5", "1.6", "1.7", "1.8"), "the 2.1 has no driver")
    first, second = bare.nodes
    hide_command(bare, second)  # On the first node the stock 1.8 looks into the other layout.
    for node in bare.nodes:
        bare.svc(node, "print status")
        bare.ok(
            node,
            f"{EZ}/bin/service -a registry {bare.etc}/{SVC}.cluster deb1.opensvc.com"
            " deb2.opensvc.com /bin/true",
        )
        bare.ok(node, f"{EZ}/ezha start")
    drop = f"rm -f {bare.var}/{SVC}/resource.status.last* {bare.var}/{SVC}/status.json"

    def hb(node: Node) -> str:
        bare.ok(node, drop)
        return " " + hb_lines(bare, node)

    def both() -> Any:
        words = bare.ok(first, f"{EZ}/bin/service -s -c").split()
        return words[-3], words[-1]

    assert "cluster service status is frozen_stop" in hb(first)
    for node in bare.nodes:
        bare.ok(node, f"{EZ}/bin/service -A registry unfreeze")
        until(lambda: both()[0], "STARTED")
    until(both, ("STARTED", "STOPPED"))
    assert " up hb.openha" in hb(first) and " down hb.openha" in hb(second)
    if bare.line != "1.5":
        assert bare.svc(first, "switch").returncode == 0
        until(both, ("STOPPED", "STARTED"))
    bare.ok(first, f"kill -KILL {PID}")
    until(lambda: "open-ha daemons are not running" in hb(first), True)


def test_a_remove_hands_a_running_service_back_to_the_stock_driver(agents: AgentNodes) -> None:
    """The driver is taken out while the service runs: the agent's own shows it, with nothing
    kept.
    """
    needs(agents, ("1.6", "1.7", "1.8"), "the stock driver of the others is another matter")
    run_on_first(agents)
    first = agents.first
    out = agents.ok(first, "openha agent remove")
    assert "the cluster continues to decide about registry" in out
    assert ("link /etc/openha/monitor to" in out) == (
        agents.line == "1.8"
    ) and "looks for the cluster in" not in out
    drop = f"rm -f {agents.var}/{SVC}/resource.status.last* {agents.var}/{SVC}/status.json"
    until(
        lambda: agents.ok(first, drop) + hb_lines(agents, first),
        lambda text: " up hb.openha" in " " + text,
    )


def test_a_section_that_the_agent_ignores_is_refused_and_with_the_hook_it_guards(
    bare: AgentNodes,
) -> None:
    """[hb#0] in the 2.1: not put under the cluster without the hook.

    With it, a start by hand is refused.
    """
    needs(bare, ("2.1",), "the others know the section")
    bare.add_service(hb_section=True)
    first = bare.first
    for node in bare.nodes:
        bare.start_agent(node)
        done = node.run("openha agent install")
        assert done.returncode == 5 and "[hb#0] is ignored by the agent 2.1" in done.stdout
        assert node.run(f"grep registry {EZ}/conf/services").stdout == ""
        bare.ok(node, "openha agent install --hb-section")
        bare.ok(node, "openha agent status")
        bare.ok(node, "ezha start")
    run_on_first(bare)
    done = bare.svc(bare.second, "start --local")
    assert done.returncode == 1 and "managed by OpenHA" in done.stdout + done.stderr
    # An interpreter that loads no usercustomize: found by asking the agent.
    bare.ok(
        first, f"sed -i 's:^OSVC_PYTHON=.*:OSVC_PYTHON=\"{bare.python} -s\":' /etc/default/opensvc"
    )
    done = first.run("openha agent status")
    assert done.returncode == 1 and "the agent does not see [hb#0]" in done.stdout


def test_a_service_in_a_namespace_is_the_clusters(bare: AgentNodes) -> None:
    """The 2.1 has a service of the same name in a namespace: added under its own name, and started
    by its own wrapper.
    """
    needs(bare, ("2.1",), "the others have no namespaces")
    text = bare.first.read(f"{bare.etc}/{SVC}.conf").replace("name = registry", "name = nsregistry")
    for node in bare.nodes:
        node.write(
            f"{bare.etc}/namespaces/test/svc/{SVC}.conf", text.replace("id = 5be6", "id = 6be6")
        )
        bare.start_agent(node)
        bare.ok(node, "openha agent install")
        bare.ok(node, "ezha start")
    first = bare.first
    assert f"nsregistry\t{bare.etc}/namespaces/test/svc/{SVC}.cluster" in first.read(
        f"{EZ}/conf/services"
    )
    bare.ok(first, "service -A nsregistry unfreeze")
    until(
        lambda: [
            line.split()[2]
            for line in bare.ok(first, "service -s -c").splitlines()
            if "nsregistry" in line
        ],
        ["STARTED"],
    )
    shown = first.run(f"om test/svc/{SVC} print status --refresh").stdout
    assert re.search(r"app#hb\b.*\bup\b", shown), shown
    assert states(bare, first) == ("FROZEN_STOP", "FROZEN_STOP") or "FROZEN_STOP" in bare.ok(
        first, "service -s -c"
    )


def test_a_daemon_that_is_back_is_shown_without_asking(agents: AgentNodes) -> None:
    """The 2.1 keeps statuses in its own daemon: it looks again when ours ends and when it is
    back.
    """
    needs(agents, ("2.1",), "the others keep files, which are dropped")
    run_on_first(agents)

    def kept() -> Any:
        return agents.svc(agents.first, "print status").stdout

    until(kept, lambda text: re.search(r"app#hb\b.*\bup\b", text))
    agents.ok(agents.first, "service -A registry freeze-start; ezha stop")
    until(kept, lambda text: "openhadaemonsarenotrunning" in compact(text))
    agents.ok(agents.first, "ezha start")
    until(kept, lambda text: "clusterservicestatusisfrozen_start" in compact(text))
