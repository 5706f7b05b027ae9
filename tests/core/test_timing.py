"""Durations: those that are documented are those that are used, and each profile has its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from opensvc_openha.core import timing
from opensvc_openha.core.model import Profile

_TEXT = (Path(__file__).parents[2] / "docs" / "takeover.md").read_text(encoding="utf-8")
_TABLE = _TEXT.partition("## Every duration")[2].partition("\n## ")[0]
_ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in _TABLE.splitlines()
    if "`" in line and "_" in line
]


def _names(row: list[str]) -> list[str]:
    return re.findall(r"`([A-Z_]+)`", row[2])


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: _names(row)[0])
def test_documented_durations_are_those_that_are_used(row: list[str]) -> None:
    """Each row of the table names constants and their values, in order: an operator plans with
    them.
    """
    values = [float(number) for number in re.findall(r"[0-9.]+", row[1])]
    names = _names(row)
    assert [float(getattr(timing, name)) for name in names] == values[: len(names)]


def test_table_of_durations_has_every_one_that_decides() -> None:
    """Each number of timing.py that other decision code names is in it, and the limits that only
    scripts and files meet.
    """
    core = Path(timing.__file__).parent
    others = [path for path in core.glob("*.py") if path.name not in ("timing.py", "invariants.py")]
    code = "".join(path.read_text(encoding="utf-8") for path in others)
    numbers = {
        name
        for name, value in vars(timing).items()
        if isinstance(value, (int, float)) and not name.startswith("_")
    }
    reported = {name for row in _ROWS for name in _names(row)}
    assert {name for name in numbers if re.search(rf"\b{name}\b", code)} <= reported <= numbers


def test_each_profile_has_the_durations_of_its_own() -> None:
    """Beats and start-ready delay; a service without a fence waits longer in `balanced`."""
    paces = {
        profile: (
            pace.beat_interval_s,
            pace.start_ready_delay_s,
            pace.unfenced_delay_s,
            pace.least_timeout_s,
        )
        for profile, pace in timing.PACES.items()
    }
    assert paces == {
        Profile.TUTORIAL: (1.0, 5.0, 5.0, 0.0),
        Profile.BALANCED: (0.25, 0.5, 5.0, 1.0),
        Profile.FAST: (0.1, 0.2, 0.2, 0.3),
    }


@pytest.mark.parametrize(
    ("interval_s", "delay_s", "is_sound"), [(1.0, 2.0, True), (1.0, 1.99, False)]
)
def test_pace_leaves_a_returning_peer_time_to_be_heard(
    interval_s: float, delay_s: float, is_sound: bool
) -> None:
    """Two beats must fit into the start-ready delay; a profile that is shorter cannot be made."""
    if is_sound:
        timing.Pace(interval_s, delay_s, 2.0, 5.0)
    else:
        with pytest.raises(AssertionError):
            timing.Pace(interval_s, delay_s, 2.0, 5.0)
