"""fence_redfish of Debian against Redfish services: an emulator, and one that misbehaves."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.fence_devices.agent_metadata import metadata_of, mistakes_in
from opensvc_openha.fence_devices.power_device import PowerDevice, device_of
from opensvc_openha.fence_devices.power_readings import Power
from tests.fence_devices.agents import secret_file
from tests.fence_devices.redfish_board import (
    Certificate,
    RedfishBoard,
    SushyEmulator,
    needs_redfish,
    needs_sushy,
)
from tests.fence_devices.watch_commands import watched_commands

pytestmark = needs_redfish
ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN
LONG_S = 200.0
"""Limit on a busy machine."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """One for all services."""
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def board(certificate: Certificate) -> Iterator[RedfishBoard]:
    """A service of a machine that runs."""
    made = RedfishBoard(certificate)
    yield made
    made.close()


def device(board: RedfishBoard | SushyEmulator, folder: Path, **options: str) -> PowerDevice:
    """The service, as a section describes it."""
    given = {**board.options, "password_file": secret_file(folder), **options}
    return device_of("redfish", "fence_redfish", given, "deb1")


def test_power_is_looked_at_and_cut(board: RedfishBoard, tmp_path: Path) -> None:
    """ForceOff, and only Off is off; the password reached the service, and no command line."""
    with watched_commands() as commands:
        assert device(board, tmp_path).look(LONG_S).power is ON
        report = device(board, tmp_path).cut(LONG_S)
    assert report.is_proved and report.readings == (ON, OFF, OFF)
    assert board.orders == ["ForceOff"]
    login = base64.b64encode(b"admin:s3cr3t-word").decode()
    assert board.authorizations == {f"Basic {login}"}
    assert any("fence_redfish" in line for line in commands.seen)
    assert not any("s3cr3t" in line for line in commands.seen)


def test_machine_that_is_powering_off_is_on(board: RedfishBoard, tmp_path: Path) -> None:
    """PoweringOff may last, and may fail: it is no proof."""
    board.state = "PoweringOff"
    assert device(board, tmp_path).look(LONG_S).power is ON
    board.after_off = ["PoweringOff"]
    report = device(board, tmp_path).cut(8.0)
    assert not report.is_proved and OFF not in report.readings


@pytest.mark.parametrize("state", ["Paused", "Unknown", "off", ""])
def test_no_other_state_is_off(board: RedfishBoard, tmp_path: Path, state: str) -> None:
    """Whatever a service may report."""
    board.state = state
    assert device(board, tmp_path).look(LONG_S).power is not OFF


def test_service_without_the_right_certificate_is_not_believed(
    board: RedfishBoard, tmp_path: Path
) -> None:
    """Anybody on the network could answer Off."""
    board.state = "Off"
    stranger = device(board, tmp_path, ca_file="/etc/hostname").look(LONG_S)
    assert stranger.power is UNKNOWN
    assert board.authorizations == set(), "nor is the password given to it"


def test_service_that_hangs_is_given_up_at_the_limit(board: RedfishBoard, tmp_path: Path) -> None:
    """The agent has no limit of its own for that."""
    board.is_hanging.set()
    look = device(board, tmp_path).look(3.0)
    assert (look.power, look.text) == (UNKNOWN, "no answer in 3 s, killed")


def test_service_that_refuses_the_login_is_unknown(board: RedfishBoard, tmp_path: Path) -> None:
    """It answers 401 without a state; the agent does not report why it found none."""
    board.status = 401
    board.answers["/redfish/v1/Systems/1"] = {"error": "no such user"}
    look = device(board, tmp_path).look(LONG_S)
    assert look.power is UNKNOWN and "Unable to get PowerState" in look.text


def test_options_are_checked_by_the_agent_s_own_metadata(board: RedfishBoard) -> None:
    """Those of the package: right, misspelt, refused."""
    metadata = metadata_of("fence_redfish")
    right = {**board.options, "password_file": "/x"}
    assert list(mistakes_in(metadata, right)) == []
    wrong = {**right, "systems_url": "/x", "ssl_insecure": "1", "ssl": "0"}
    texts = {mistake.option: mistake.text for mistake in mistakes_in(metadata, wrong)}
    assert texts.keys() == {"systems_url", "ssl_insecure", "ssl"}
    assert texts["systems_url"].endswith("did you mean systems_uri?")


@needs_sushy
def test_emulator_that_takes_seconds_is_switched_off(
    tmp_path: Path, certificate: Certificate
) -> None:
    """It answers at once, and the power goes up to eleven seconds later; the agent finds the
    system by itself.
    """
    emulator = SushyEmulator(tmp_path, certificate)
    try:
        assert device(emulator, tmp_path).look(LONG_S).power is ON
        report = device(emulator, tmp_path).cut(LONG_S)
        assert report.is_proved and report.readings[-2:] == (OFF, OFF), report
        assert device(emulator, tmp_path).look(LONG_S).power is OFF
    finally:
        emulator.close()
