"""The drivers in a real OpenSVC agent, on two nodes: the tutorial's steps, and a daemon that is stopped, killed, started again.

OPENSVC_AGENT_ROOT names the agent's source tree (the directory with `lib` or `opensvc`); its line is found by its files.
No registry has the agent, so nothing of this runs without it.
"""

import os
import re

import pytest
from tests import waiting
from tests.plugin.real_agents import EZ, SVC, AgentNodes, find_python

from opensvc_openha.demo.nodes import TwoNodes
from opensvc_openha.errors import SystemFault
from opensvc_openha.plugin.agents import find_agents

ROOT = os.environ.get("OPENSVC_AGENT_ROOT", "")
PID = f"$(cat {EZ}/services/.proc/nmond.lock)"

pytestmark = [pytest.mark.root, pytest.mark.e2e, pytest.mark.timeout(300),
              pytest.mark.skipif(not ROOT, reason="OPENSVC_AGENT_ROOT names no OpenSVC agent")]


@pytest.fixture
def agents():
    """Both nodes with agent, cluster, driver and service; the daemons run."""
    line = find_agents(ROOT)[0].line.name
    if find_python(line) is None:
        pytest.skip(f"no Python that the agent {line} runs under")
    try:
        nodes = TwoNodes()
    except SystemFault as error:
        pytest.skip(str(error))
    with nodes:
        made = AgentNodes(nodes, ROOT)
        made.add_service()
        for node in nodes:
            made.start_agent(node)
            made.ok(node, "openha agent install")
            made.ok(node, "ezha start")
        yield made


def until(look, wanted):
    """Polls until what is seen is as wanted."""
    return waiting.until(look, wanted if callable(wanted) else lambda seen: seen == wanted, str(wanted))


def states(agents, node):
    """What `service -s -c` shows: primary and secondary state."""
    words = agents.ok(node, "service -s -c").split()
    return words[-3], words[-1]


def hb_lines(agents, node):
    """The hb line of `print status` and its reasons, in one line."""
    refresh = " --refresh" if agents.line == "2.1" else ""
    out = agents.svc(node, f"print status{refresh}").stdout
    assert "Traceback" not in out
    out = re.sub(r"\x1b?\[0*m", "", out)
    return " ".join(out[out.index("hb.openha") - 25:].replace("|", " ").replace("#", " ").split())


def run_on_first(agents):
    """The service runs on the first node, the second stands by."""
    for node in agents.nodes:
        agents.ok(node, "service -A registry unfreeze")
        until(lambda: states(agents, agents.first)[0], "STARTED")
    until(lambda: states(agents, agents.first), ("STARTED", "STOPPED"))


def test_the_hb_status_follows_the_cluster_at_once(agents):
    """Frozen, started, standing by: print status shows each state without being asked to look again."""
    assert "warn hb.openha" in hb_lines(agents, agents.first)
    assert "cluster service status is frozen_stop" in hb_lines(agents, agents.first)
    run_on_first(agents)
    until(lambda: " up hb.openha" in " " + hb_lines(agents, agents.first), True)
    until(lambda: " down hb.openha" in " " + hb_lines(agents, agents.second), True)
    assert agents.first.run(f"/etc/opensvc/{SVC}.cluster status").stdout.strip() in ("up", "n/a")
    assert agents.second.run(f"/etc/opensvc/{SVC}.cluster status").stdout.strip() in ("down", "n/a")


def test_a_stopped_or_dead_daemon_is_told_within_a_second(agents):
    """SIGSTOP, SIGKILL, started again: the reason each time, no traceback, and the service is where it was."""
    run_on_first(agents)
    agents.ok(agents.first, f"kill -STOP {PID}")
    assert "open-ha daemon does not answer, last cluster service status was started" in hb_lines(agents, agents.first)
    agents.ok(agents.first, f"kill -KILL {PID}; kill -CONT {PID} 2>/dev/null; sleep 0.2")
    assert "open-ha daemons are not running" in hb_lines(agents, agents.first)
    agents.ok(agents.first, "ezha start")
    until(lambda: states(agents, agents.first), ("STARTED", "STOPPED"))
    until(lambda: " up hb.openha" in " " + hb_lines(agents, agents.first), True)


def test_the_agents_own_words_move_the_service(agents):
    """switch, freeze, thaw, stop, start of the agent: both nodes are driven. The 1.5 and the 2.1 refuse, and say so."""
    run_on_first(agents)
    if agents.line in ("1.5", "2.1"):
        action = "stop" if agents.line == "1.5" else "stop --local"
        done = agents.svc(agents.first, action)
        assert done.returncode == 1
        assert "managed by" in done.stdout + done.stderr
        return
    steps = (("switch", ("STOPPED", "STARTED")), ("switch", ("STARTED", "STOPPED")),
             ("freeze", ("FROZEN_START", "FROZEN_STOP")), ("thaw", ("STARTED", "STOPPED")),
             ("stop", ("FROZEN_STOP", "FROZEN_STOP")), ("start", ("STARTED", "STOPPED")))
    for action, wanted in steps:
        done = agents.svc(agents.first, action)
        assert done.returncode == 0, f"{action}: {done.stdout}{done.stderr}"
        until(lambda: states(agents, agents.first), wanted)
    done = agents.svc(agents.first, "restart")
    assert done.returncode == 1 and "safety net" in done.stdout + done.stderr
    assert agents.svc(agents.first, "shutdown").returncode == 0


def test_a_dead_node_is_taken_over_and_the_agent_goes_back_without_a_stop(agents):
    """Power failure of the node that runs it: started on the other one; there the driver is removed, and it runs on."""
    run_on_first(agents)
    agents.first.kill()
    until(lambda: states(agents, agents.second), ("UNKNOWN", "STARTED"))
    out = agents.ok(agents.second, "openha agent remove")
    assert "the cluster keeps deciding about registry" in out
    assert states(agents, agents.second) == ("UNKNOWN", "STARTED")
    assert agents.second.run("test -e /run/app.runs").returncode == 0
    agents.ok(agents.second, "openha agent install")
    assert agents.second.run("openha agent status").returncode == 0


def test_a_takeover_waits_for_a_fence_that_succeeds(agents):
    """The node that runs it dies and cannot be fenced: not started here; after the fencing command was mended, it is."""
    if agents.line == "2.1":
        pytest.skip("the 2.1 has its fencing among the options of the node")
    agents.add_service(extra="\n[stonith#1]\ntype = callout\ncmd = /bin/false\n")
    check = f"/etc/opensvc/{SVC}.stonith"
    for node in agents.nodes:
        agents.ok(node, f"service -r registry; service -a registry /etc/opensvc/{SVC}.cluster "
                        f"deb1.opensvc.com deb2.opensvc.com {check}")
    run_on_first(agents)
    agents.first.kill()
    until(lambda: states(agents, agents.second), ("UNKNOWN", "START_FAILED"))
    assert "fencing failed: /bin/false exited with 1" in agents.second.read(f"{EZ}/log/registry.log")
    assert agents.second.run("test -e /run/app.runs").returncode == 1
    agents.ok(agents.second, f"sed -i s:/bin/false:/bin/true: {agents.etc}/{SVC}{agents.suffix}")
    agents.ok(agents.second, "service -A registry freeze-stop; service -A registry unfreeze")
    until(lambda: states(agents, agents.second), ("UNKNOWN", "STARTED"))


def test_a_monitored_resource_that_fails_moves_the_service(agents):
    """The application dies behind the agent's back: monitor_action = freezestop has the other node start it."""
    if agents.line not in ("1.7", "1.8"):
        pytest.skip("needs monitor = true on an app resource, which the 1.7 and the 1.8 have")
    run_on_first(agents)
    agents.ok(agents.first, "rm /run/app.runs; svcmgr resource monitor")
    until(lambda: states(agents, agents.first), ("FROZEN_STOP", "STARTED"))
