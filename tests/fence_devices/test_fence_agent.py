"""Fence agents: real programs of our own that are honest, lie, hang, fail, come late, or talk
nonsense; and Debian's own dummy.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opensvc_openha.fence_devices.fence_agent import FenceAgent
from opensvc_openha.fence_devices.power_device import PowerDevice, device_of
from opensvc_openha.fence_devices.power_readings import Power
from opensvc_openha.system.processes import wait_for_end
from tests.fence_devices.agents import HONEST, OwnAgent, needs_agents, secret_file
from tests.fence_devices.watch_commands import watched_commands
from tests.waiting import LIMIT_S, until

ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN
LONG_S = 120.0
"""Limit on a busy machine."""


@pytest.fixture
def agent(tmp_path: Path) -> OwnAgent:
    """An honest agent."""
    return OwnAgent(tmp_path / "agent")


def device(agent: OwnAgent, **options: str) -> PowerDevice:
    """The agent's device."""
    return device_of("mine", agent.path, {"ip": "10.0.0.1", **options}, "deb1")


def test_power_is_looked_at_and_cut(agent: OwnAgent) -> None:
    """By the actions status and off alone."""
    assert device(agent).look(LONG_S).power is ON
    report = device(agent).cut(LONG_S)
    assert report.is_proved and report.readings == (ON, OFF, OFF) and report.hints == ()
    assert report.text.startswith("off, then OFF twice in ")
    assert agent.actions == ["status", "status", "off", "status", "status"]
    again = device(agent).cut(LONG_S)
    assert again.is_proved and again.hints == ("mine said OFF before it was told to switch off",)


def test_options_are_lines_of_standard_input(agent: OwnAgent, tmp_path: Path) -> None:
    """With limits of ours, and with the secret from its file; nothing on the command line."""
    secret = secret_file(tmp_path, ' "s3cr3t=word" ')
    with watched_commands() as commands:
        device(agent, plug="7", password_file=secret, shell_timeout="5").look(LONG_S)
    assert sorted(agent.input) == [
        "action=status",
        "ip=10.0.0.1",
        "login_timeout=3",
        'password=" "s3cr3t=word" "',
        "plug=7",
        "power_timeout=10",
        "shell_timeout=5",
    ]
    assert not any("s3cr3t" in line for line in commands.seen)


@pytest.mark.parametrize(
    "answer",
    [
        'echo "Status: ON"; exit 2',
        'echo "Status: OFF"; exit 0',
        'echo "Status: OFF"; exit 1',
        "exit 2",
        "exit 0",
        "echo \"/usr/bin/python3: can't open file 'fence_off'\"; exit 2",
        'echo "Status: OFF"; echo "Status: ON"; exit 2',
        'echo "Status: OFFLINE"; exit 2',
        "echo \"Parse error: Ignoring unknown option 'plugg=7'\"; echo Status: OFF; exit 2",
        'echo "Status: OFF"; kill -9 $$',
        "head -c 300000 /dev/urandom; exit 2",
        "yes 'Status: OFF'; exit 2",
    ],
)
def test_nonsense_is_unknown_and_never_off(agent: OwnAgent, answer: str) -> None:
    """Exit code and words must agree: an interpreter that finds no script exits with 2, too."""
    agent.rewrite(f"case $action in status) {answer} ;; esac\n")
    assert device(agent).look(LONG_S).power is UNKNOWN
    report = device(agent).cut(1.0)
    assert not report.is_proved and OFF not in report.readings


def test_ignored_option_is_named(agent: OwnAgent) -> None:
    """The agent warns, and would cut another machine; our own limits are no option of it."""
    agent.rewrite("echo \"Parse error: Ignoring unknown option 'plugg=7'\"\n" + HONEST)
    look = device(agent, plugg="7").look(LONG_S)
    assert (look.power, look.text) == (UNKNOWN, "the agent ignores the option plugg: correct it")
    answer = FenceAgent(agent.path, {"plugg": "7"}).off(LONG_S)
    assert not answer.is_accepted and "plugg" in answer.text
    agent.rewrite("echo \"Parse error: Ignoring unknown option 'login_timeout=3'\"\n" + HONEST)
    assert device(agent).look(LONG_S).power in (ON, OFF)


def test_agent_that_lies_about_its_order_is_found_out(agent: OwnAgent) -> None:
    """It reports "Powered OFF" and does nothing."""
    agent.rewrite('case $action in off) echo "Success: Powered OFF"; exit 0 ;; esac\n' + HONEST)
    report = device(agent).cut(4.0)
    assert not report.is_proved and OFF not in report.readings and agent.power == "ON"
    assert "off was accepted, but not read twice" in report.text
    assert report.text.endswith("it says ON")


def test_agent_that_fails_is_tried_once_more_and_then_given_up(agent: OwnAgent) -> None:
    """With its reason, without the stamp of its log."""
    agent.rewrite(
        'case $action in off) echo "2026-11-29 04:00:00,1 ERROR: Unable to connect/login to fencing'
        ' device"; exit 1 ;; esac\n' + HONEST
    )
    report = device(agent).cut(20.0)
    assert not report.is_proved and report.readings == (ON,)
    assert agent.actions == ["status", "off", "off"]
    assert report.text.endswith(": exit code 1: Unable to connect/login to fencing device")


def test_agent_that_comes_late_is_waited_for(agent: OwnAgent) -> None:
    """The device needs some questions until it reports off."""
    agent.rewrite(
        """
        case $action in
        off) touch "$here/ordered"; echo "Success: Powered OFF"; exit 0 ;;
        esac
        if [ -e "$here/ordered" ]; then
            echo >> "$here/asked"
            [ "$(wc -l < "$here/asked")" -ge 3 ] && { echo "Status: OFF"; exit 2; }
        fi
        echo "Status: ON"
        """
    )
    report = device(agent).cut(LONG_S)
    assert report.is_proved and report.readings == (ON, ON, ON, OFF, OFF)


@pytest.mark.parametrize("action", ["status", "off"])
def test_agent_that_hangs_is_killed_with_all_its_children(agent: OwnAgent, action: str) -> None:
    """What it left would act on, and hold the sessions of the device."""
    agent.rewrite(
        f'if [ $action = {action} ]; then sleep 1000 & echo $! >> "$here/children"; wait; fi\n'
        + HONEST
    )
    report = device(agent).cut(2.0)
    assert not report.is_proved
    children = agent.folder / "children"
    if children.exists():  # A busy machine may not have begun them.
        assert wait_for_end([int(word) for word in children.read_text().split()], LIMIT_S) == []
    if action == "status":
        assert device(agent).look(0.3).text == "no answer in 0.3 s, killed"


def test_what_an_agent_leaves_behind_ends_with_it(agent: OwnAgent) -> None:
    """It answers, and its child would go on, with the output still open."""
    agent.rewrite('sleep 1000 & echo $! > "$here/child"\n' + HONEST)
    assert device(agent).look(LONG_S).power is ON
    assert wait_for_end([int((agent.folder / "child").read_text())], LIMIT_S) == []


def test_agent_dies_with_the_process_that_runs_it(agent: OwnAgent) -> None:
    """The daemon kills the program that asked: the agent does not act on alone."""
    agent.rewrite('echo $$ > "$here/pid.new"; mv "$here/pid.new" "$here/pid"; sleep 1000\n')
    pid = os.fork()
    if pid == 0:
        try:
            device(agent).look(LONG_S)
        finally:
            os._exit(0)
    file = agent.folder / "pid"
    until(file.exists, what="the agent runs")
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    assert wait_for_end([int(file.read_text())], LIMIT_S) == []


def test_secrets_are_in_no_text(agent: OwnAgent, tmp_path: Path) -> None:
    """Even if the agent prints them."""
    secret = secret_file(tmp_path, "s3cr3t-word")
    agent.rewrite("echo cannot log in with $(sed -n 's/^password=//p' $here/input); exit 1\n")
    texts = [
        device(agent, password_file=secret).look(LONG_S).text,
        device(agent, password_file=secret).cut(LONG_S).text,
    ]
    assert all("cannot log in" in text and "s3cr3t" not in text for text in texts), texts


def test_text_is_one_line_of_bounded_length(agent: OwnAgent) -> None:
    """It is shown in statuses and logs."""
    agent.rewrite("printf 'bad\\033[2J%2000d\\n' 7; exit 1\n")
    text = device(agent).look(LONG_S).text
    assert text.isprintable() and len(text) < 300


@pytest.mark.parametrize(
    "message, is_refused",
    [
        ("Failed: 401 Unauthorized", True),
        ("ERROR: Permission denied, please try again", True),
        ("Unable to connect/login to fencing device", False),
        ("Connection timed out", False),
    ],
)
def test_refused_login_is_known_by_the_words_of_the_agent(
    agent: OwnAgent, message: str, is_refused: bool
) -> None:
    """Three of those end the standing check: devices lock accounts."""
    agent.rewrite(f'echo "{message}"; exit 1\n')
    assert device(agent).look(LONG_S).is_refused is is_refused
    device(agent).cut(LONG_S)
    assert agent.actions.count("off") == 1, "an unknown look, and one order"


def test_options_that_are_refused_reach_no_agent(agent: OwnAgent) -> None:
    """Also where nothing could check them, for the agent was absent when they were read."""
    for name in ("missing_as_off", "missing-as-off", "ssl_insecure", "delay", "action"):
        look = device(agent, **{name: "1"}).look(LONG_S)
        assert look.power is UNKNOWN and look.text.startswith(f"{name} is refused: "), look
    assert agent.actions == []


def test_absent_agent_is_reported() -> None:
    """With the package that holds it."""
    missing = FenceAgent("fence_nowhere", {})
    text = "there is no program fence_nowhere: install the package fence-agents"
    assert missing.status(LONG_S).text == missing.off(LONG_S).text == text
    assert not missing.off(LONG_S).is_accepted


def test_agent_that_cannot_be_run_is_reported(agent: OwnAgent) -> None:
    """Its interpreter is gone."""
    Path(agent.path).write_text("#!/usr/bin/nothing\n")
    assert "cannot be run: " in device(agent).look(LONG_S).text


def test_environment_is_the_same_from_a_shell_and_from_the_daemon(
    agent: OwnAgent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A look by hand must not succeed by a proxy that the daemon does not have."""
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    agent.rewrite('env > "$here/environment"\n' + HONEST)
    device(agent, ca_file="/etc/openha/bmc.pem").look(LONG_S)
    names = dict(
        line.split("=", 1) for line in (agent.folder / "environment").read_text().splitlines()
    )
    assert not {"https_proxy", "PYTHONPATH"} & names.keys()
    assert names["REQUESTS_CA_BUNDLE"] == "/etc/openha/bmc.pem" and names["LC_ALL"] == "C"
    assert not any(line.startswith("ca_file") for line in agent.input)


def test_output_without_end_ends_the_agent(agent: OwnAgent) -> None:
    """It would fill the memory until its limit."""
    agent.rewrite("exec yes")
    assert device(agent).look(LONG_S).text.startswith("killed by signal 25")


@needs_agents
def test_dummy_of_debian_is_switched_off(tmp_path: Path) -> None:
    """A real agent of the package, with its library's way to read options and to answer."""
    state = tmp_path / "status"
    state.write_text("on")
    dummy = device_of("dummy", "fence_dummy", {"type": "file", "status_file": str(state)}, "deb1")
    assert dummy.look(LONG_S).power is ON
    report = dummy.cut(LONG_S)
    assert report.is_proved and report.readings == (ON, OFF, OFF)
    assert state.read_text() == "off"
    state.write_text("neither")
    assert dummy.look(LONG_S).power is UNKNOWN


@needs_agents
@pytest.mark.parametrize("secret", ["plain", " with blanks ", '"quoted"', 'a"b', '"', "a=b#c"])
def test_agents_of_debian_read_a_secret_as_it_is(tmp_path: Path, secret: str) -> None:
    """Their library strips blanks and quotes: its own reader gets back what the file holds."""
    given = tmp_path / "given"
    reader = tmp_path / "fence_reader"
    reader.write_text(
        "#!/usr/bin/python3 -W ignore\n"
        "import sys\nsys.path.append('/usr/share/fence')\n"
        "from fencing import process_input\n"
        "options = process_input(['passwd', 'ipaddr'])\n"
        f"open({str(given)!r}, 'w').write(options['--password'])\n"
    )
    reader.chmod(0o755)
    file = secret_file(tmp_path, secret)
    FenceAgent(str(reader), {"ip": "10.0.0.1", "password_file": file}).status(LONG_S)
    assert given.read_text() == secret
