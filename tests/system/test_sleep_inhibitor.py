"""A lock against suspending the machine; the program that holds it is played."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opensvc_openha.system.sleep_inhibitor import SleepInhibitor
from tests.waiting import until


def _inhibitor(script: str, is_there: bool = True) -> SleepInhibitor:
    return SleepInhibitor(("sh", "-c", script), lambda: is_there)


def _until_shown(inhibitor: SleepInhibitor, text: str) -> None:
    def is_shown() -> bool:
        inhibitor.hold()
        return inhibitor.why_not == text

    until(is_shown, story=lambda: inhibitor.why_not)


def test_lock_is_held_until_it_is_released(tmp_path: Path) -> None:
    """The child ends then; the next one is another child."""
    pids = tmp_path / "pids"
    inhibitor = _inhibitor(f"echo $$ >>{pids}; echo held; exec cat")
    assert inhibitor.why_not == "logind has not answered yet"
    for count in (1, 2):
        _until_shown(inhibitor, "")
        inhibitor.hold()
        numbers = pids.read_text().split()
        assert len(numbers) == count and os.path.exists(f"/proc/{numbers[-1]}")
        inhibitor.release()
        until(lambda: not os.path.exists(f"/proc/{pids.read_text().split()[-1]}"))


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo Failed to inhibit: no bus >&2; exit 1", "sh: Failed to inhibit: no bus"),
        ("exit 3", "sh: it has ended (3)"),
        ("echo held; exit 3", "sh: it has ended (3)"),
    ],
)
def test_program_that_ends_holds_nothing(script: str, text: str) -> None:
    """With its words; it is tried once more after a release alone."""
    inhibitor = _inhibitor(script)
    _until_shown(inhibitor, text)
    inhibitor.hold()
    assert inhibitor.why_not == text
    inhibitor.release()
    assert inhibitor.why_not == "logind has not answered yet"


def test_machine_without_systemd_and_one_without_the_program() -> None:
    """Nothing is tried; why is shown."""
    inhibitor = _inhibitor("exit 9", is_there=False)
    inhibitor.hold()
    assert inhibitor.why_not == "systemd does not run here"
    inhibitor = SleepInhibitor(("/no/such/program",), lambda: True)
    inhibitor.hold()
    assert inhibitor.why_not == "/no/such/program: No such file or directory"
    inhibitor.release()
