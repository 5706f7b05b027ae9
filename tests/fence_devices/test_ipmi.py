"""IPMI boards by our own driver: a real ipmitool against a simulated board, well and unwell."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.fence_devices import programs
from opensvc_openha.fence_devices.fence_agent import FenceAgent
from opensvc_openha.fence_devices.ipmi import Ipmi
from opensvc_openha.fence_devices.power_device import PowerDevice, device_of
from opensvc_openha.fence_devices.power_readings import Power
from tests.fence_devices.agents import secret_file
from tests.fence_devices.ipmi_board import PASSWORD, IpmiBoard, needs_board
from tests.fence_devices.watch_commands import watched_commands

pytestmark = needs_board
ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN
LONG_S = 120.0
"""Limit on a busy machine."""


@pytest.fixture
def board(tmp_path: Path) -> Iterator[IpmiBoard]:
    """A board of a machine that runs."""
    made = IpmiBoard(tmp_path / "board")
    yield made
    made.end()


def device(board: IpmiBoard, **options: str) -> PowerDevice:
    """The board, as a section describes it."""
    return device_of("ipmi", "fence_ipmilan", {**board.options, **options}, "deb1")


def test_power_is_looked_at_and_cut(board: IpmiBoard) -> None:
    """On, as it must be while the node is heard; then off, twice."""
    assert (device(board).look(LONG_S).power, board.orders) == (ON, [])
    report = device(board).cut(LONG_S)
    assert report.is_proved and report.readings == (ON, OFF, OFF) and report.hints == ()
    assert report.text.startswith("off, then OFF twice in ")
    assert not board.is_on and len(board.orders) == 1
    assert device(board).look(LONG_S).power is OFF


def test_machine_that_was_off_already_is_a_hint(board: IpmiBoard) -> None:
    """It lost its power, or the address is wrong: the board alone cannot tell which."""
    device(board).cut(LONG_S)
    report = device(board).cut(LONG_S)
    assert report.is_proved and report.readings == (OFF, OFF, OFF)
    assert report.hints == ("ipmi said OFF before it was told to switch off",)


def test_power_that_goes_late_is_waited_for(board: IpmiBoard) -> None:
    """The board accepts at once; the machine goes off 3 s later."""
    board.misbehave("late", "3")
    report = device(board).cut(LONG_S)
    assert report.is_proved and report.readings[-3:] == (ON, OFF, OFF)


def test_deaf_board_is_not_believed(board: IpmiBoard) -> None:
    """It accepts and does nothing."""
    board.misbehave("deaf")
    report = device(board).cut(6.0)
    assert not report.is_proved and OFF not in report.readings and board.is_on
    assert "not read twice" in report.text


def test_board_that_answers_nonsense_is_unknown(board: IpmiBoard) -> None:
    """Its own controller is broken."""
    board.misbehave("lie", "power:maybe\n")
    assert device(board).look(LONG_S).power is not OFF


def test_refused_login_is_reported_as_such(board: IpmiBoard, tmp_path: Path) -> None:
    """Three of those end the standing check: boards lock accounts. The password is not shown."""
    wrong = device(board, password_file=secret_file(tmp_path, "wr0ng-word"))
    look = wrong.look(LONG_S)
    assert (look.power, look.is_refused) == (UNKNOWN, True)
    assert "RAKP 2 HMAC is invalid" in look.text and "wr0ng" not in look.text
    assert device(board, username="nobody").look(LONG_S).is_refused
    report = wrong.cut(15.0)
    assert not report.is_proved and "not switched off" in report.text and board.orders == []


def test_dead_board_is_unknown_and_is_not_a_refusal(board: IpmiBoard) -> None:
    """Nothing answers on its port."""
    board.end()
    look = device(board).look(LONG_S)
    assert (look.power, look.is_refused) == (UNKNOWN, False)
    assert "Unable to establish IPMI v2" in look.text
    report = device(board).cut(1.0)
    assert not report.is_proved and report.readings == (UNKNOWN,)


def test_board_that_is_dead_answers_within_the_limit(board: IpmiBoard) -> None:
    """ipmitool is killed at the limit of the look."""
    board.end()
    look = device(board, login_timeout="60").look(0.5)
    assert look.power is UNKNOWN and "no answer in 0.5 s, killed" in look.text


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o700])
def test_secret_that_others_may_read_is_refused(
    board: IpmiBoard, tmp_path: Path, mode: int
) -> None:
    """Nothing is sent; the message reports what to do."""
    exposed = secret_file(tmp_path, PASSWORD, mode)
    look = device(board, password_file=exposed).look(LONG_S)
    if mode == 0o700:
        assert look.power is ON, "its owner alone"
        return
    assert (look.power, look.text) == (
        UNKNOWN,
        f"the secret {exposed} has mode {mode:04o}, others may use it: chmod 600 {exposed}",
    )


def test_password_is_on_no_command_line(board: IpmiBoard) -> None:
    """During a look and a cut, of all processes that they begin."""
    with watched_commands() as commands:
        for _ in range(5):
            assert device(board).look(LONG_S).power is ON
        assert device(board).cut(LONG_S).is_proved
    assert any("ipmitool" in line and "-E" in line for line in commands.seen), commands.seen
    assert not any(PASSWORD in line for line in commands.seen)


@pytest.mark.skipif(shutil.which("fence_ipmilan") is None, reason="needs fence-agents")
def test_agent_of_the_board_would_show_the_password(board: IpmiBoard) -> None:
    """Why our own driver serves this type, and that the watch would find a password."""
    agent = FenceAgent("fence_ipmilan", board.options)
    with watched_commands() as commands:
        for _ in range(5):
            assert agent.status(LONG_S).power is ON
    assert any(PASSWORD in line for line in commands.seen)


@pytest.mark.parametrize(
    "agent, options, interface",
    [
        ("fence_ipmilan", {}, "lan"),
        *(("fence_ipmilan", {"lanplus": word}, "lanplus") for word in ("1", "yes", "on", "True")),
        ("fence_ilo4", {}, "lanplus"),
        ("fence_ilo4", {"lanplus": "0"}, "lan"),
        ("/usr/sbin/fence_ilo5", {}, "lanplus"),
        ("fence_idrac", {}, "lan"),
    ],
)
def test_interface_is_that_of_the_agent(
    agent: str, options: dict[str, str], interface: str, tmp_path: Path
) -> None:
    """Each name of fence_ipmilan has its own default."""
    options = {"ip": "127.0.0.1", "ipport": "9", **options}
    with watched_commands() as commands:
        for _ in range(5):
            Ipmi(agent, options).status(0.3)
    assert any(f"-I {interface} -H 127.0.0.1 -p 9" in line for line in commands.seen)


def test_board_that_refuses_to_switch_off_what_is_off_has_taken_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some boards answer so; whether the power is off is read all the same. Any other refusal is
    one.
    """
    tool = tmp_path / "ipmitool"
    monkeypatch.setattr(programs, "PATH", f"{tmp_path}:/usr/bin:/bin")
    board = Ipmi("fence_ipmilan", {"ip": "127.0.0.1"})
    for message, expected in (
        ("Set Chassis Power Control to Down/Off failed: Command not supported in present state", 1),
        ("Set Chassis Power Control to Down/Off failed: Node busy", 0),
    ):
        tool.write_text(f"#!/bin/sh\necho '{message}' >&2\nexit 1\n")
        tool.chmod(0o755)
        assert board.off(LONG_S).is_accepted is bool(expected)


def test_missing_tool_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setattr(programs, "PATH", str(tmp_path))
    board = Ipmi("fence_ipmilan", {"ip": "127.0.0.1"})
    text = "there is no program ipmitool: install that package"
    assert (board.status(LONG_S).text, board.off(LONG_S).text) == (text, text)
    assert board.status(LONG_S).power is UNKNOWN and not board.off(LONG_S).is_accepted
