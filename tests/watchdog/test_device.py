"""What is known of a watchdog without opening it, and who has it open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opensvc_openha.watchdog.device import (
    facts_in,
    granularity_s,
    look_at,
    processes_with,
    user_text,
)

SOFTDOG = {
    "identity": "Software Watchdog\n",
    "state": "inactive\n",
    "nowayout": "0\n",
    "timeout": "60\n",
    "min_timeout": "1\n",
    "max_timeout": "65535\n",
    "options": "0x8380\n",
}
"""As in /sys/class/watchdog/watchdog0 of softdog, which reports no time left."""


def _directory(root: Path, changes: dict[str, str]) -> str:
    for name, text in (SOFTDOG | changes).items():
        (root / name).write_text(text, encoding="ascii")
    return str(root)


def test_softdog_is_recognized_by_its_identity(tmp_path: Path) -> None:
    facts = facts_in(_directory(tmp_path, {}), "/dev/watchdog0")
    assert (facts.name, facts.problem, facts.left_s) == ("softdog", "", None)
    assert (facts.is_running, facts.is_nowayout, facts.has_magic_close) == (False, False, True)
    assert (facts.timeout_s, facts.least_timeout_s, facts.most_timeout_s) == (60, 1, 65535)
    assert granularity_s(facts.identity) == 0.05


def test_hardware_is_named_after_its_driver_and_counts_seconds(tmp_path: Path) -> None:
    (tmp_path / "iTCO_wdt").mkdir()
    (tmp_path / "device").mkdir()
    (tmp_path / "device/driver").symlink_to(tmp_path / "iTCO_wdt")
    changes = {"identity": "iTCO_wdt\n", "state": "active\n", "nowayout": "1\n", "timeleft": "28\n"}
    facts = facts_in(_directory(tmp_path, changes), "/dev/watchdog0")
    assert (facts.name, facts.is_running, facts.is_nowayout) == ("iTCO_wdt", True, True)
    assert facts.left_s == 28
    assert granularity_s(facts.identity) == 1.0


def test_a_device_that_a_close_stops_is_a_problem_unless_nothing_stops_it(tmp_path: Path) -> None:
    changes = {"options": "0x8280\n"}
    facts = facts_in(_directory(tmp_path, changes), "/dev/watchdog0")
    assert facts.has_magic_close is False
    assert "nowayout=1, or use another watchdog" in facts.problem
    assert not facts_in(_directory(tmp_path, {"nowayout": "1\n"} | changes), "/dev/w").problem


def test_a_kernel_that_reports_nothing_leaves_all_open(tmp_path: Path) -> None:
    facts = facts_in(str(tmp_path / "missing"), "/dev/watchdog0")
    assert (facts.problem, facts.is_running, facts.is_nowayout) == ("", None, None)


def test_a_path_that_is_no_device_is_a_problem_with_what_to_do(tmp_path: Path) -> None:
    assert "modprobe softdog" in look_at(str(tmp_path / "watchdog7")).problem
    (tmp_path / "file").touch()
    assert "is no device: see `ls /dev/watchdog*`" in look_at(str(tmp_path / "file")).problem
    assert look_at("/dev/null").problem == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="a file of another process is seen by root alone")
def test_the_process_that_has_a_device_open_is_found_and_named() -> None:
    with open("/dev/full", "rb"):
        users = processes_with("/dev/full")
    assert os.getpid() in users
    assert f"(pid {os.getpid()})" in user_text([os.getpid()])
    assert "has it open: stop that" in user_text([os.getpid()])


def test_systemd_is_named_with_its_option() -> None:
    text = user_text([1])
    assert text.startswith("systemd has it open: take RuntimeWatchdogSec= out of")
    assert user_text([]) == ""
