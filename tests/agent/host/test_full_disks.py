"""An action of the agent where its output, its log or its temporary files have no room: it ends as
it would anyway.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.agent.host.commands import run_command
from opensvc_openha.cli.streams import is_report
from tests.agent.embedded import PACKAGE_ROOT, Agent
from tests.full_disk import FullDisk
from tests.waiting import until


def console(*args: str, **streams: Any) -> int:
    """Exit code of the command as the launchers run it."""
    env = dict(os.environ, PYTHONPATH=PACKAGE_ROOT)
    command = [sys.executable, "-m", "opensvc_openha", *args]
    done: subprocess.CompletedProcess[Any] = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, **streams
    )
    return done.returncode


def app(agent: Agent, body: str = "", name: str = "one") -> str:
    return f"[app#1]\nscript = {agent.script(name, body)}\nstart = 1\nstop = 1\ncheck = 1\n"


def test_action_whose_output_cannot_be_written_ends_as_it_would(agent: Agent) -> None:
    """stdout and stderr on a full device: a start that succeeds ends with 0, one that fails with
    its own code.
    """
    agent.write("a", app(agent))
    agent.write("b", app(agent, '[ "$1" != start ] || exit 3', "two"))
    with open("/dev/full", "w") as full:
        for name, code in (("a", 0), ("b", 6)):
            assert console("svcmgr", "-s", name, "start", stdout=full, stderr=full) == code
        assert console("svcmgr", "-s", "a", "stop", stdout=full, stderr=full) == 0
    assert [call for call in agent.calls if not call.endswith("status")] == [
        "one start",
        "two start",
        "two stop",
        "one stop",
    ]


def test_action_whose_reader_has_gone_is_done_to_its_end(agent: Agent) -> None:
    """`svcmgr start 2>&1 | head -1`: the pipe is closed, and the start continues."""
    agent.write("a", app(agent))
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert console("svcmgr", "-s", "a", "start", stdout=writer, stderr=writer) == 0
    finally:
        os.close(writer)
    assert "one start" in agent.calls


def test_report_that_cannot_be_written_is_a_failure(agent: Agent) -> None:
    """A status is there to be read: 7 and not 0 where it cannot be; and never 120."""
    agent.write("a", app(agent))
    with open("/dev/full", "w") as full:
        assert console("svcmgr", "-s", "a", "print", "status", stdout=full, stderr=full) == 7


@pytest.mark.parametrize(
    "args, expected",
    [
        (["service", "-s", "-c"], True),
        (["service", "-A", "web", "start"], False),
        (["service", "-a", "-s", "x"], False),
        (["hb", "-s"], True),
        (["hb", "-a"], False),
        (["svcmgr", "-s", "a", "start"], False),
        (["why", "web"], True),
        (["svcmgr", "--called-as", "/etc/a.cluster", "status"], True),
        (["svcmgr", "--called-as", "/etc/a.stonith", "start"], False),
        (["stop"], False),
        (["stop", "--help"], True),
        (["ezha", "status"], True),
        (["key", "rotate"], False),
        ([], True),
    ],
)
def test_reports_and_actions_are_distinguished(args: list[str], expected: bool) -> None:
    """By the words of the command."""
    assert is_report(args) is expected


@pytest.fixture
def disks(agent: Agent) -> Iterator[list[FullDisk]]:
    """The agent's log and the directory of temporary files are full: needs root."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "mounting a tmpfs needs root"
        )
    found = [FullDisk(agent.root / "log"), FullDisk(agent.root / "tmp")]
    for disk in found:
        disk.fill()
    yield found
    for disk in found:
        disk.close()


@pytest.mark.root
def test_full_log_and_temporary_files_are_in_no_actions_way(
    agent: Agent, disks: list[FullDisk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started and stopped, with an application in Python that would end with 120 if its output had
    no room.
    """
    monkeypatch.setenv("TMPDIR", str(agent.root / "tmp"))
    prints = f"{sys.executable} -c \"print('x' * 5000)\" || exit 9"
    agent.write("a", app(agent, prints) + "pre_start = echo before\n")
    for action in ("start", "stop"):
        assert console("svcmgr", "-s", "a", action) == 0
    assert "one start" in agent.calls and "one stop" in agent.calls


def test_what_an_application_leaves_behind_keeps_a_visible_bounded_file(agent: Agent) -> None:
    """A daemon of a start script prints for ever: to SERVICE.out beside the log, appending, so that
    it can be emptied.
    """
    pids = agent.root / "pid"
    talker = f"(while :; do echo talk; sleep 0.1; done) & echo $! > {pids}; echo begun"
    agent.write("a", app(agent, f'[ "$1" != start ] || {{ {talker}; }}'))
    assert agent.svcmgr("-s", "a", "start").exit_code == 0
    talking = int(pids.read_text())
    try:
        output = Path(os.environ["OSVC_LOG"], "a.out")
        until(lambda: output.exists() and "talk" in output.read_text())
        assert "begun" in output.read_text() and output.stat().st_mode & 0o777 == 0o640
        assert "begun" in Path(os.environ["OSVC_LOG"], "a.log").read_text()
        with open(f"/proc/{talking}/fdinfo/1", encoding="ascii") as file:
            flags = int(file.read().split("flags:")[1].split()[0], 8)
        assert flags & os.O_APPEND
    finally:
        os.kill(talking, signal.SIGKILL)


def test_output_of_a_command_is_its_end(tmp_path: Path) -> None:
    """Much output: the end is kept, up to the limit."""
    result = run_command(
        ["/bin/sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 3"]
    )
    assert (
        result.exit_code == 3
        and result.output.endswith("line 19999\n")
        and len(result.output) <= 65_536
    )
