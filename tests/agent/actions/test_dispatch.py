"""Actions on services made of scripts: order, idempotence, rollback, freeze, safety net, locks,
signals, time limits.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from opensvc_openha.agent.actions.service_actions import FROZEN, SAFETY_NET
from opensvc_openha.agent.host import commands
from opensvc_openha.agent.host.commands import run_command
from opensvc_openha.agent.host.parallel_jobs import Job, run_in_parallel
from opensvc_openha.agent.host.signals import interruptible
from opensvc_openha.agent.service.action_lock import action_lock
from opensvc_openha.errors import InterruptedAction, RefusedError, SystemFault
from tests.agent.embedded import PACKAGE_ROOT, Agent
from tests.waiting import LIMIT_S, until

APP = "[app#{number}]\nscript = {script}\nstart = {number}\nstop = {stop}\ncheck = {number}\n"


def three_apps(agent: Agent, second_start: str = "") -> str:
    bodies = {"one": "", "two": second_start, "three": ""}
    text = "[DEFAULT]\nservice_type = DEV\n"
    for number, (name, body) in enumerate(bodies.items(), 1):
        script = agent.script(name, f'if [ "$1" = start ]; then {body or ":"}; fi')
        text += APP.format(number=number, script=script, stop=10 - number)
    return text


def changes(agent: Agent) -> list[str]:
    return [call for call in agent.calls if not call.endswith(" status")]


def test_start_then_stop_runs_the_scripts_in_their_order(agent: Agent) -> None:
    """Start numbers count up at start, stop numbers at stop.

    Status follows with exit codes 1, 0, 1.
    """
    agent.write("a", three_apps(agent))
    assert agent.svcmgr("-s", "a", "status").exit_code == 1
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    assert changes(agent) == ["one start", "two start", "three start"]
    assert agent.svcmgr("-s", "a", "status").exit_code == 0
    assert agent.svcmgr("-s", "a", "stop").exit_code == 0
    assert changes(agent)[3:] == ["three stop", "two stop", "one stop"]
    assert agent.svcmgr("-s", "a", "status").exit_code == 1


def test_second_start_and_second_stop_change_nothing(agent: Agent) -> None:
    """What is up is not started again, what is down not stopped again."""
    agent.write("a", three_apps(agent))
    for action in ("start", "start", "stop", "stop"):
        assert agent.svcmgr("-s", "a", action).exit_code == 0
    assert len(changes(agent)) == 6


def test_restart_stops_then_starts(agent: Agent) -> None:
    """restart of a running service: all stops, then all starts."""
    agent.write("a", three_apps(agent))
    agent.svcmgr("-s", "a", "start")
    assert agent.svcmgr("-s", "a", "restart").exit_code == 0
    assert changes(agent)[3:] == [
        "three stop",
        "two stop",
        "one stop",
        "one start",
        "two start",
        "three start",
    ]


def test_failed_start_is_rolled_back_the_last_first(agent: Agent) -> None:
    """The second app fails: the third is never started, and what was begun is stopped.

    The exit code reports failure.
    """
    agent.write("a", three_apps(agent, "exit 7"))
    outcome = agent.svcmgr("-s", "a", "start")
    assert outcome.exit_code == 6
    assert "ended with exit code 7" in outcome.err
    assert changes(agent) == ["one start", "two start", "two stop", "one stop"]


def test_rollback_leaves_what_was_up_before(agent: Agent) -> None:
    """The first app ran before the start that failed: it continues running."""
    agent.write("a", three_apps(agent, "exit 7"))
    agent.svcmgr("-s", "a", "start", "--rid", "app#1")
    agent.svcmgr("-s", "a", "start")
    assert "one stop" not in agent.calls


def test_disable_rollback_leaves_all_as_it_is(agent: Agent) -> None:
    """With --disable-rollback a failed start stops nothing."""
    agent.write("a", three_apps(agent, "exit 7"))
    assert agent.svcmgr("-s", "a", "start", "--disable-rollback").exit_code == 6
    assert changes(agent) == ["one start", "two start"]


def test_optional_resource_that_fails_does_not_end_the_start(agent: Agent) -> None:
    """The failing app is optional: the others start, the exit code is 0, a warning reports why."""
    agent.write(
        "a", three_apps(agent, "exit 7").replace("start = 2\n", "start = 2\noptional = true\n")
    )
    outcome = agent.svcmgr("-s", "a", "start")
    assert outcome.exit_code == 0
    assert "app#2 is optional" in outcome.err
    assert "three start" in agent.calls


def test_disabled_resource_is_not_started_and_shows_na(agent: Agent) -> None:
    """A disabled app takes no part, and the service is up without it."""
    agent.write("a", three_apps(agent).replace("start = 2\n", "start = 2\ndisable = true\n"))
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    assert changes(agent) == ["one start", "three start"]
    assert "|- app#2          .D.. n/a      two" in agent.svcmgr("-s", "a", "print", "status").out
    assert agent.svcmgr("-s", "a", "status").exit_code == 0


def test_command_lines_serve_as_start_stop_and_check(agent: Agent) -> None:
    """start, stop and check as full shell commands, without any script."""
    flag = agent.root / "flag"
    agent.write("a", f"[app#1]\nstart = touch {flag}\nstop = rm {flag}\ncheck = test -e {flag}\n")
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    assert flag.exists()
    assert agent.svcmgr("-s", "a", "status").exit_code == 0
    assert agent.svcmgr("-s", "a", "stop").exit_code == 0
    assert not flag.exists()


def test_check_with_another_exit_code_is_a_warning(agent: Agent) -> None:
    """A check that ends with 3 is neither up nor down: status exits with 2 and reports why."""
    agent.write("a", "[app#1]\ncheck = exit 3\n")
    assert agent.svcmgr("-s", "a", "status").exit_code == 2
    assert "# check ended with exit code 3" in agent.svcmgr("-s", "a", "print", "status").out


def test_check_that_hangs_is_killed_and_a_warning(agent: Agent) -> None:
    """A check past its limit does not hang the status."""
    agent.write("a", "[app#1]\ncheck = sleep 10000\ncheck_timeout = 0.2\n")
    assert agent.svcmgr("-s", "a", "status").out == "warn\n"


def test_service_without_anything_to_look_at_is_na(agent: Agent) -> None:
    """Only an app without check: status exits with 3."""
    agent.write("a", "[app#1]\nstart = /bin/true\n")
    outcome = agent.svcmgr("-s", "a", "status")
    assert (outcome.exit_code, outcome.out) == (3, "n/a\n")


@pytest.mark.parametrize("action", ["start", "stop", "restart"])
def test_direct_action_under_a_cluster_is_refused(agent: Agent, action: str) -> None:
    """With an hb resource and no --cluster: the agent's sentence in the agent's format, exit 1,
    nothing run.
    """
    agent.write("registry.opensvc.com", three_apps(agent) + "[hb#0]\ntype = OpenHA\n")
    outcome = agent.svcmgr(action, called_as="registry.opensvc.com")
    assert outcome.exit_code == 1
    assert outcome.err[8:] == f" ERROR   REGISTRY.OPENSVC.COM         {SAFETY_NET}\n"
    assert agent.calls == []


def test_cluster_option_does_the_local_work(agent: Agent) -> None:
    """start --cluster, -c, and the name .cluster start the local resources of a clustered
    service.
    """
    agent.write("a", three_apps(agent) + "[hb#0]\ntype = OpenHA\n")
    assert agent.svcmgr("-s", "a", "start", "--cluster").exit_code == 0
    assert agent.svcmgr("-s", "a", "-c", "stop").exit_code == 0
    assert agent.svcmgr("start", called_as="a.cluster").exit_code == 0
    assert len(changes(agent)) == 9
    assert agent.svcmgr("status", called_as="a.cluster").exit_code == 0


def test_frozen_service_refuses_until_thawed_or_forced(agent: Agent) -> None:
    """freeze: start is aborted with the agent's words.

    --force and thaw let it through; svcmon shows True.
    """
    agent.write("a", three_apps(agent))
    assert agent.svcmgr("-s", "a", "freeze").exit_code == 0
    assert agent.svcmgr("-s", "a", "frozen").out == "True\n"
    refused = agent.svcmgr("-s", "a", "start")
    assert (refused.exit_code, FROZEN in refused.err, agent.calls) == (1, True, [])
    assert agent.svcmon().out.splitlines()[3].endswith("True  ")
    assert agent.svcmgr("-s", "a", "start", "--force").exit_code == 0
    assert agent.svcmgr("-s", "a", "thaw").exit_code == 0
    assert agent.svcmgr("-s", "a", "stop").exit_code == 0
    assert agent.svcmon().out.splitlines()[3].endswith("False ")


def test_boot_starts_only_on_autostart_node(agent: Agent) -> None:
    """boot: nothing on a node that is not named, nothing under a cluster, a start on the named
    node.
    """
    here = os.uname().nodename
    text = three_apps(agent)
    agent.write("a", text.replace("DEV\n", "DEV\nautostart_node = elsewhere\n"))
    assert (agent.svcmgr("-s", "a", "boot").exit_code, agent.calls) == (0, [])
    autostarted = text.replace("DEV\n", f"DEV\nautostart_node = {here}\n")
    agent.write("a", autostarted + "[hb#0]\ntype = OpenHA\n")
    assert (agent.svcmgr("-s", "a", "boot").exit_code, agent.calls) == (0, [])
    agent.write("a", autostarted)
    assert agent.svcmgr("-s", "a", "boot").exit_code == 0
    assert changes(agent) == ["one start", "two start", "three start"]


def test_start_of_a_resource_that_cannot_be_run_is_refused_before_anything_is_touched(
    agent: Agent,
) -> None:
    """A container in the file: start reports why and starts nothing.

    With the container disabled it starts.
    """
    agent.write("a", three_apps(agent) + "[container#1]\ntype = lxc\nname = x\n")
    outcome = agent.svcmgr("-s", "a", "start")
    assert (outcome.exit_code, agent.calls) == (6, [])
    assert "container#1: container type lxc is not handled by the embedded agent yet" in outcome.err
    agent.write("a", three_apps(agent) + "[container#1]\ntype = lxc\nname = x\ndisable = true\n")
    assert agent.svcmgr("-s", "a", "start").exit_code == 0


def test_restart_that_could_not_start_again_stops_nothing(agent: Agent) -> None:
    """The service runs, and a container was added to its file meanwhile."""
    agent.write("a", three_apps(agent))
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    agent.write("a", three_apps(agent) + "[container#1]\ntype = lxc\nname = x\n")
    assert agent.svcmgr("-s", "a", "restart").exit_code == 6
    assert changes(agent) == ["one start", "two start", "three start"]


def test_switch_of_a_service_without_a_cluster_is_refused(agent: Agent) -> None:
    """It has no other node to go to; --cluster makes no difference."""
    agent.write("a", three_apps(agent))
    for words in (("switch",), ("switch", "--cluster")):
        outcome = agent.svcmgr("-s", "a", *words)
        assert outcome.exit_code == 5
        assert "switch is for services that a cluster decides about" in outcome.err
    assert agent.calls == []


def test_shutdown_is_the_clusters_own_where_there_is_one(agent: Agent) -> None:
    """Nothing is stopped, and that is no error; its own call and a service without it do stop."""
    heartbeat = "[hb#0]\ntype = OpenHA\n"
    agent.write("a", three_apps(agent) + heartbeat)
    assert agent.svcmgr("-s", "a", "start", "--cluster").exit_code == 0
    assert agent.svcmgr("-s", "a", "shutdown").exit_code == 0
    assert changes(agent) == ["one start", "two start", "three start"]
    assert agent.svcmgr("-s", "a", "shutdown", "--cluster").exit_code == 0
    assert changes(agent)[3:] == ["three stop", "two stop", "one stop"]
    agent.write("a", three_apps(agent))
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    assert agent.svcmgr("-s", "a", "shutdown").exit_code == 0
    assert len(changes(agent)) == 12


def test_rid_restricts_and_unknown_rid_is_refused(agent: Agent) -> None:
    """--rid app#2 touches only that.

    --rid fs#1, which is not there, is a usage error that names what is.
    """
    agent.write("a", three_apps(agent))
    assert agent.svcmgr("-s", "a", "start", "--rid=app#2").exit_code == 0
    assert changes(agent) == ["two start"]
    outcome = agent.svcmgr("-s", "a", "start", "--rid=fs#1")
    assert (outcome.exit_code, "expected one of app#1, app#2, app#3" in outcome.err) == (2, True)


def test_start_script_that_leaves_a_daemon_behind_does_not_hang_us(agent: Agent) -> None:
    """The daemon keeps stdout open; start returns at once and the daemon continues."""
    pid_file = agent.root / "pid"
    agent.write("a", f"[app#1]\nstart = sleep 10000 & echo $! > {pid_file}\n")
    try:
        assert agent.svcmgr("-s", "a", "start").exit_code == 0
        assert Path(f"/proc/{pid_file.read_text().strip()}").exists()
    finally:
        os.kill(int(pid_file.read_text()), signal.SIGKILL)


def test_lock_that_is_held_names_its_holder(tmp_path: Path) -> None:
    """A second action waits its time, then reports which process does what."""
    with action_lock(str(tmp_path), "start"):
        with pytest.raises(RefusedError, match=rf"pid {os.getpid()} \(start\).*waited 0.2 s"):
            with action_lock(str(tmp_path), "stop", wait_s=0.2):
                pass
    with action_lock(str(tmp_path), "stop", wait_s=0):
        pass


def test_lock_is_taken_as_soon_as_the_holder_lets_go(tmp_path: Path) -> None:
    """Waiting ends with the other action, not with the limit."""
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with action_lock(str(tmp_path), "start"):
            entered.set()
            leave.wait(LIMIT_S)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(LIMIT_S)
    threading.Timer(0.2, leave.set).start()
    with action_lock(str(tmp_path), "stop", wait_s=10 * LIMIT_S):
        assert leave.is_set()
    thread.join()


def test_action_during_another_one_is_refused_with_its_pid(agent: Agent) -> None:
    """Through the command line: --waitlock=0 while a start is under way."""
    agent.write("a", three_apps(agent))
    with action_lock(str(agent.root / "var" / "a"), "start"):
        outcome = agent.svcmgr("-s", "a", "stop", "--waitlock=0")
    assert (outcome.exit_code, agent.calls) == (5, [])
    assert f"pid {os.getpid()} (start) is acting on this service" in outcome.err


def test_interrupted_start_is_rolled_back(agent: Agent) -> None:
    """SIGTERM while the second app starts: its command is killed, both are stopped, exit code
    143.
    """
    agent.write("a", three_apps(agent, "touch $0.began; sleep 60"))
    process = subprocess.Popen(
        [sys.executable, "-m", "opensvc_openha.cli.svcmgr", "-s", "a", "start"],
        env=dict(os.environ, PYTHONPATH=PACKAGE_ROOT),
        stderr=subprocess.PIPE,
        text=True,
    )
    until((agent.root / "two.began").exists)
    process.terminate()
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 143
    assert "interrupted by SIGTERM: rolling back" in err
    assert changes(agent) == ["one start", "two start", "two stop", "one stop"]


def test_command_past_its_limit_is_killed_with_its_children(tmp_path: Path) -> None:
    """The whole process group goes, not only the shell."""
    pid_file = tmp_path / "pid"
    result = run_command(["/bin/sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"], timeout_s=0.5)
    assert result.is_timed_out and result.verdict == "did not end in time and was killed"
    until(lambda: not Path(f"/proc/{pid_file.read_text().strip()}").exists())


def test_command_that_is_not_there_is_a_system_fault() -> None:
    """A command that cannot be run is no exit code."""
    with pytest.raises(SystemFault, match="cannot run /nowhere/x"):
        run_command(["/nowhere/x"])


def test_action_writes_the_log_file_of_the_service(agent: Agent) -> None:
    """What was run stands in the service's log file, with the date and the resource."""
    agent.write("a", three_apps(agent))
    agent.svcmgr("-s", "a", "start")
    lines = (agent.root / "log" / "a.log").read_text().splitlines()
    assert f"{agent.root}/one start" in lines[0]
    assert "INFO    A.APP#1 " in lines[0]


def test_group_actions_touch_their_group_only(agent: Agent, tmp_path: Path) -> None:
    """startapp and stopapp, startfs where there is none, startloop: the resources of that name, and
    nothing else.
    """
    agent.write("a", three_apps(agent) + f"[fs#1]\ntype = directory\npath = {tmp_path}/made\n")
    assert agent.svcmgr("-s", "a", "startfs").exit_code == 0
    assert ((tmp_path / "made").is_dir(), changes(agent)) == (True, [])
    assert agent.svcmgr("-s", "a", "startapp").exit_code == 0
    started = len(changes(agent))
    assert started == 3
    nothing = agent.svcmgr("-s", "a", "stopip")
    assert (
        nothing.exit_code,
        "the service has no such resource" in nothing.err,
        len(changes(agent)),
    ) == (0, True, started)
    assert agent.svcmgr("-s", "a", "stopapp").exit_code == 0
    assert len(changes(agent)) == 2 * started
    assert agent.svcmgr("-s", "a", "startnothing").exit_code == 2


def test_long_command_is_reported_as_running(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start script that takes long: the operator is informed now and then that it still runs."""
    monkeypatch.setattr(commands, "REPORT_EVERY_S", 0.1)
    agent.script("slow", "[ $1 = start ] && sleep 0.5")
    agent.write("a", f"[app#1]\nscript = {agent.root}/slow\nstart = 1\n")
    outcome = agent.svcmgr("-s", "a", "start")
    assert (outcome.exit_code, outcome.err.count("slow runs for 0 s now") >= 2) == (0, True)


def test_frozen_for_the_agent_does_not_keep_the_cluster_from_its_work(agent: Agent) -> None:
    """The agent's flag is left over from a freeze that the cluster knows nothing of: the wrapper's
    start and stop are done.
    """
    agent.write("a", three_apps(agent) + "[hb#0]\ntype = OpenHA\n")
    agent.svcmgr("-s", "a", "freeze", "--cluster")
    for action in ("start", "stop"):
        outcome = agent.svcmgr(action, called_as="a.cluster")
        assert (outcome.exit_code, "it is the cluster that asks" in outcome.err) == (0, True)
    assert len(changes(agent)) == 6


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "#!/no/such/interpreter\n",
            "names the interpreter /no/such/interpreter in its first line, which does not exist",
        ),
        ("#!/bin/sh\r\nexit 0\r\n", "has the line ends of DOS (CR LF)"),
        ("exit 0\n", "its first line names no interpreter, such as #!/bin/sh"),
    ],
)
def test_script_that_the_system_cannot_run_is_reported_with_the_reason(
    agent: Agent, text: str, message: str
) -> None:
    """A wrong first line, carriage returns, none at all: not "no such file" for a file that is
    there.
    """
    script = agent.script("broken")
    script.write_bytes(text.encode())
    agent.write("a", f"[app#1]\nscript = {script}\nstart = 1\n")
    outcome = agent.svcmgr("-s", "a", "start")
    assert outcome.exit_code == 7
    assert f"cannot run {script}: " in outcome.err and message in outcome.err


def test_signal_while_a_command_is_being_started_ends_that_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM between the fork and the moment its pid is known: the command is killed, and does not
    act later on.
    """
    pids = tmp_path / "pid"

    def signal_parent() -> None:
        pids.write_text(str(os.getpid()))
        os.kill(os.getppid(), signal.SIGTERM)

    monkeypatch.setattr(commands, "_die_with_parent", signal_parent)
    with interruptible(), pytest.raises(InterruptedAction):
        run_command(["/bin/sleep", "60"])
    assert_is_reaped(int(pids.read_text()))


def test_signal_during_a_fork_of_parallel_jobs_ends_the_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGTERM before the child is noted: it is ended as the others are, and does nothing
    afterwards.
    """
    pids = []
    fork = os.fork

    def fork_and_be_interrupted() -> int:
        pids.append(fork())
        if pids[-1]:
            # To this thread: the test runner has others, which do not block it as the only one of a
            # command does.
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        return pids[-1]

    monkeypatch.setattr(os, "fork", fork_and_be_interrupted)
    with interruptible(), pytest.raises(InterruptedAction):
        run_in_parallel([Job("one", lambda: time.sleep(60))])
    assert_is_reaped(pids[0])


def assert_is_reaped(pid: int) -> None:
    """It was a child of this process, has ended, and was waited for."""
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
