"""The program that the daemon runs for a look or a cut: JSON in, JSON out, killed as a group."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from opensvc_openha.errors import UsageError
from opensvc_openha.fence_devices import power_program
from opensvc_openha.fence_devices.run import HANDLERS, answer_to
from opensvc_openha.fence_devices.run import main as run_main
from opensvc_openha.system.processes import wait_for_end
from tests.fence_devices.agents import OwnAgent, secret_file
from tests.fence_devices.watch_commands import watched_commands
from tests.waiting import LIMIT_S, until

ARGV = [sys.executable, "-m", "opensvc_openha.fence_devices.run"]


def request(agent: OwnAgent, do: str, **changes: Any) -> dict[str, Any]:
    """A request about the agent's device."""
    options = {"agent": agent.path, "ip": "10.0.0.1"}
    return {
        **{"do": do, "path": "mine", "peer": "deb1", "limit_s": 120.0, "options": options},
        **changes,
    }


def run(text: str) -> subprocess.CompletedProcess[str]:
    """The program, with this on its standard input."""
    return subprocess.run(ARGV, input=text, capture_output=True, text=True, timeout=LIMIT_S)


def answer(wanted: dict[str, Any]) -> dict[str, Any]:
    """What it answers."""
    done = run(json.dumps(wanted))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_look_and_cut_are_answered(tmp_path: Path) -> None:
    """With everything that the daemon passes on; the secret stays off all command lines."""
    agent = OwnAgent(tmp_path / "agent")
    secret = secret_file(tmp_path)
    options = {"agent": agent.path, "ip": "10.0.0.1", "password_file": secret}
    with watched_commands() as commands:
        look = answer(request(agent, "look", options=options))
        cut = answer(request(agent, "cut", options=options))
        again = answer(request(agent, "cut", options=options))
    took_s = look.pop("took_s")
    assert isinstance(took_s, float) and look == {"power": "on", "text": "ON", "is_refused": False}
    assert cut.pop("took_s") > 1.0
    assert cut.pop("text").startswith("off, then OFF twice in ")
    readings = ["on", "off", "off"]
    assert cut == {"is_proved": True, "readings": readings, "hints": [], "covers": None}
    assert again["hints"] == ["mine said OFF before it was told to switch off"]
    assert "password=s3cr3t-word" in agent.input
    assert any("fence_devices.run" in line for line in commands.seen)
    assert not any("s3cr3t" in line for line in commands.seen)


def test_failed_cut_is_an_answer_too(tmp_path: Path) -> None:
    """The exit code reports only that there is one."""
    agent = OwnAgent(tmp_path, "exit 1\n")
    found = answer(request(agent, "cut"))
    assert not found["is_proved"] and found["readings"] == ["unknown"]
    assert "not switched off" in found["text"]


def test_answer_comes_before_the_limit_at_which_the_daemon_kills(tmp_path: Path) -> None:
    """An agent that hangs has a part of the limit less."""
    for limit_s, expected in ((2.0, 1.8), (100.0, 99.5)):
        assert power_program._limit({"limit_s": limit_s}, 10.0) == pytest.approx(expected)
    agent = OwnAgent(tmp_path, "sleep 1000\n")
    limit_s = 8.0
    found = answer(request(agent, "look", limit_s=limit_s))
    assert re.fullmatch(r"no answer in [0-7][.0-9]* s, killed", found["text"]), found


def test_limit_counts_from_the_start_of_the_program() -> None:
    """A busy machine takes a part of it before anything is asked."""
    seen: list[Mapping[str, object]] = []

    def answered(limit_s: object, age_s: float) -> int:
        text = io.StringIO(json.dumps({"do": "look", "limit_s": limit_s, "options": {}}))
        return run_main(text, io.StringIO(), lambda: age_s)

    with mock.patch.object(power_program, "answer", lambda wanted: seen.append(wanted) or {}):
        assert answered(10.0, 1.5) == 0 and answered(10, 0.0) == 0
        assert answered(10.0, 999.0) == 0, "not all of it is lost to a clock that is wrong"
        assert answered("10", 1.0) == 0, "whoever answers says what is wrong"
    assert [wanted["limit_s"] for wanted in seen] == [8.5, 10.0, 5.0, "10"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "the request is no JSON"),
        ("[]", "the request is no JSON object"),
        ("[" * 100_000, "the request is no JSON"),
        ('{"do": "reboot"}', "no request is named 'reboot'"),
        ('{"do": "lok"}', "did you mean look?"),
        ('{"do": "look"}', "the request has no options"),
        ('{"do": "cut", "options": {}}', "the request names no agent"),
        ('{"do": "look", "limit_s": 0, "options": {"agent": "fence_x"}}', "limit_s: expected"),
        ('{"do": "cut", "limit_s": true, "options": {"agent": "fence_x"}}', "limit_s: expected"),
        ('{"do": "cut", "limit_s": "9", "options": {"agent": "fence_x"}}', "limit_s: expected"),
    ],
)
def test_request_that_cannot_be_used_is_refused(text: str, message: str) -> None:
    """One line, and no answer that could be taken for one."""
    done = run(text)
    assert done.returncode == UsageError.exit_code and done.stdout == ""
    assert message in done.stderr and len(done.stderr.splitlines()) == 1


def test_every_handler_is_there() -> None:
    """Modules are imported only when they are asked."""
    for do, module in HANDLERS.items():
        assert callable(import_module(module).answer), do
    with pytest.raises(UsageError):
        answer_to({"do": "look", "limit_s": 0, "options": {"agent": "fence_x"}})


def test_nothing_runs_on_after_the_daemon_killed_the_program(tmp_path: Path) -> None:
    """Its group is killed; the agent, in a group of its own, dies with it."""
    agent = OwnAgent(
        tmp_path, 'echo $$ > "$here/pid.new"; mv "$here/pid.new" "$here/pid"; sleep 99\n'
    )
    process = subprocess.Popen(
        ARGV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdin is not None and process.stdout is not None
    with process.stdin, process.stdout:
        process.stdin.write(json.dumps(request(agent, "cut")))
        process.stdin.close()
        file = agent.folder / "pid"
        until(file.exists, what="the agent runs")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(LIMIT_S)
        assert process.stdout.read() == ""
    assert wait_for_end([int(file.read_text())], LIMIT_S) == []
