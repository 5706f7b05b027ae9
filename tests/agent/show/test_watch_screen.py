"""The live view: what fits where, and a real terminal that is as it was before, however the command
ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator

import pytest

from opensvc_openha.agent.show.watch_screen import View, chosen_service, screen
from opensvc_openha.agent.values.resource_status import (
    Group,
    ResourceReport,
    ResourceStatus,
    ServiceReport,
)
from tests.agent.embedded import PACKAGE_ROOT, Agent
from tests.terminal import Terminal
from tests.waiting import LIMIT_S

UP, DOWN = ResourceStatus.UP, ResourceStatus.DOWN


def report(name: str, status: ResourceStatus = UP) -> ServiceReport:
    return ServiceReport(name, "DEV", False, (ResourceReport("app#1", Group.APP, "init", status),))


@pytest.mark.parametrize("width, height", [(80, 24), (40, 10), (200, 50), (10, 3), (1, 1)])
@pytest.mark.parametrize("view", [View(), View(chosen=55), View(shown="svc07", first_line=9)])
def test_screen_never_exceeds_its_terminal(width: int, height: int, view: View) -> None:
    """Many services, one with a long name, a problem, terminals of any size: no line too long, none
    too many.
    """
    reports = [report(f"svc{number:02}") for number in range(60)] + [report("x" * 70)]
    lines = screen(reports, view, width, height, "now", ["a problem " * 30])
    assert len(lines) <= height
    assert max(len(line.text) for line in lines) <= max(0, width - 1)


def test_narrow_terminal_keeps_what_matters_and_the_chosen_row_in_sight() -> None:
    """80x24: name, avail, overall, hb and frozen are there, the row that was chosen is shown and
    marked, the keys are below.
    """
    reports = [
        report(f"svc{number:02}.opensvc.com", DOWN if number == 41 else UP) for number in range(60)
    ]
    lines = screen(reports, View(chosen=41), 80, 24, "now")
    assert lines[1].text.split() == ["service", "app", "hb", "sync", "avail", "overall", "frozen"]
    chosen = [line.text.split() for line in lines if line.is_chosen]
    assert chosen == [["svc41.opensvc.com", "down", "n/a", "n/a", "down", "down", "False"]]
    assert lines[-1].text.startswith("q quit") and len(lines) == 24
    assert chosen_service(reports, View(chosen=41)) == "svc41.opensvc.com"
    wide = screen(reports, View(), 200, 24, "now")
    assert wide[1].text.split()[:4] == ["service", "service", "container", "container"]


@pytest.fixture
def terminal(agent: Agent) -> Iterator[Terminal]:
    """`svcmon --watch` with two services on an xterm."""
    agent.write("good", "[DEFAULT]\nservice_type = DEV\n[app#1]\ncheck = /bin/true\n")
    agent.write("other", "[DEFAULT]\nservice_type = DEV\n[app#1]\ncheck = /bin/false\n")
    env = dict(os.environ, TERM="xterm", PYTHONPATH=PACKAGE_ROOT)
    opened = Terminal([sys.executable, "-m", "opensvc_openha", "svcmon", "--watch"], env)
    try:
        yield opened
    finally:
        opened.close()


def test_watch_shows_a_service_and_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    """The table, down and enter for the second service, escape, q: exit 0, the terminal's modes and
    screen are back.
    """
    terminal.until(b"other")
    terminal.press(b"j\r")
    terminal.until(b"app#1")
    terminal.press(b"\x1b")
    terminal.until(b"good")
    terminal.press(b"q")
    assert terminal.process.wait(LIMIT_S) == 0
    terminal.until(b"\x1b[?1049l")
    assert termios.tcgetattr(terminal.slave) == terminal.before


@pytest.mark.parametrize(
    "number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 0)]
)
def test_a_signal_ends_the_watch_and_the_terminal_is_put_back(
    terminal: Terminal, number: signal.Signals, code: int
) -> None:
    """Ended by a signal: the terminal is as it was."""
    terminal.until(b"other")
    os.kill(terminal.process.pid, number)
    assert terminal.process.wait(LIMIT_S) == code
    terminal.until(b"\x1b[?1049l")
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_watch_without_a_terminal_is_refused(agent: Agent) -> None:
    """Its output is a file: one line and exit 2, not an endless stream of screens."""
    done = subprocess.run(
        [sys.executable, "-m", "opensvc_openha", "svcmon", "-w"],
        stdin=subprocess.DEVNULL,
        text=True,
        capture_output=True,
        timeout=LIMIT_S,
        env=dict(os.environ, PYTHONPATH=PACKAGE_ROOT),
    )
    assert (done.returncode, done.stderr) == (
        2,
        "svcmon: --watch needs a terminal; to a file or pipe: svcmon\n",
    )
