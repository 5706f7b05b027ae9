"""Off counts when it was read twice in a row, a second apart."""

from __future__ import annotations

import pytest

from opensvc_openha.fence_devices.power_readings import OffTwice, Power, power_of_exit_code

ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN


@pytest.mark.parametrize(
    "readings, is_proved",
    [
        ([], False),
        ([(OFF, 0.0, 0.1)], False),
        ([(OFF, 0.0, 0.1), (OFF, 1.1, 1.2)], True),
        ([(OFF, 0.0, 0.1), (OFF, 1.0, 1.2)], False),
        ([(OFF, 0.0, 0.1), (OFF, 0.5, 0.6), (OFF, 1.1, 1.2)], True),
        ([(OFF, 0.0, 0.1), (ON, 1.1, 1.2), (OFF, 2.2, 2.3)], False),
        ([(OFF, 0.0, 0.1), (UNKNOWN, 1.1, 1.2), (OFF, 2.2, 2.3)], False),
        ([(OFF, 0.0, 0.1), (UNKNOWN, 1.1, 1.2), (OFF, 2.2, 2.3), (OFF, 3.3, 3.4)], True),
        ([(OFF, 0.0, 0.1), (OFF, 1.1, 1.2), (ON, 2.2, 2.3)], False),
        ([(ON, 0.0, 0.1), (ON, 1.1, 1.2)], False),
        ([(UNKNOWN, 0.0, 0.1), (UNKNOWN, 1.1, 1.2)], False),
        # Asked a second after the question, but not after the answer, of the first.
        ([(OFF, 0.0, 0.9), (OFF, 1.0, 1.9)], False),
    ],
)
def test_off_counts_after_two_readings_a_second_apart(
    readings: list[tuple[Power, float, float]], is_proved: bool
) -> None:
    """Counted from the answer of the first to the question of the second."""
    twice = OffTwice()
    for power, asked_at, answered_at in readings:
        twice.take(power, asked_at, answered_at)
    assert twice.is_proved is is_proved
    assert twice.readings == [power for power, _, _ in readings]


@pytest.mark.parametrize(
    "exit_code, power",
    [(0, ON), (2, OFF), (1, UNKNOWN), (3, UNKNOWN), (-9, UNKNOWN), (127, UNKNOWN)],
)
def test_exit_codes_are_those_of_fence_agents(exit_code: int, power: Power) -> None:
    """0 on, 2 off; anything else is unknown, and unknown is not off."""
    assert power_of_exit_code(exit_code) is power
