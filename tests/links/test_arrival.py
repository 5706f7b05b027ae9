"""When a datagram came in: the kernel's stamp on a wall clock that may be set at any moment."""

from __future__ import annotations

import random

import pytest

from opensvc_openha.links.arrival import SET_S, ArrivalTimes


class Clocks:
    """A monotonic clock, and a wall clock that is ahead of it."""

    def __init__(self) -> None:
        self.now, self.ahead_s = 1_000.0, 1.8e9
        self.times = ArrivalTimes(lambda: self.now, self.wall)

    def wall(self) -> float:
        return self.now + self.ahead_s

    def empty(self) -> None:
        self.times.begin_read()
        self.times.record_empty()

    def arrival(self, stamp_s: float | None) -> float:
        self.times.begin_read()
        received_at, read_at = self.times.of_read(stamp_s)
        assert read_at == self.now
        return received_at


def test_datagram_counts_from_its_stamp() -> None:
    """Read half a second after it came in."""
    clocks = Clocks()
    clocks.now += 2.0
    stamp = clocks.wall()
    clocks.now += 0.5
    assert clocks.arrival(stamp) == pytest.approx(1_002.0, abs=1e-5)


def test_without_a_stamp_the_read_counts() -> None:
    """As it does for a listener that has no wall clock."""
    clocks = Clocks()
    clocks.now += 0.5
    assert clocks.arrival(None) == clocks.now
    times = ArrivalTimes(lambda: clocks.now, None)
    assert times.of_read(clocks.wall() - 0.1) == (clocks.now, clocks.now)


@pytest.mark.parametrize("age_s", [-5.0, 5.0, 1e12])
def test_stamp_is_believed_within_what_is_known_without_it(age_s: float) -> None:
    """Not after the read, and not before the socket was seen empty."""
    clocks = Clocks()
    clocks.now += 1.0
    clocks.empty()
    clocks.now += 0.25
    assert clocks.arrival(clocks.wall() - age_s) == (1_001.0 if age_s > 0 else 1_001.25)


@pytest.mark.parametrize("step_s", [-3_600.0, -0.2, -0.011, 0.011, 0.2, 3_600.0])
def test_clock_that_was_set_leaves_the_instant_of_the_read(step_s: float) -> None:
    """Between the arrival and the read, and before the arrival: a beat interval would be too old
    otherwise, on all links at once. Once the socket was empty again, stamps count.
    """
    clocks = Clocks()
    for is_before in (False, True):
        clocks.empty()
        clocks.now += 0.5
        clocks.ahead_s += step_s * is_before
        stamp = clocks.wall()
        clocks.now += 0.3
        clocks.ahead_s += step_s * (not is_before)
        assert clocks.arrival(stamp) == clocks.now
    clocks.empty()
    clocks.now += 0.5
    stamp = clocks.wall()
    clocks.now += 0.3
    assert clocks.arrival(stamp) == pytest.approx(clocks.now - 0.3, abs=1e-5)


def test_no_history_of_clocks_leads_out_of_what_is_known_without_stamps() -> None:
    """Random steps and slews at any moment: not after the read, not before the socket was empty.

    A beat is younger than it is only by a clock that was set, and older by no more than a slew can
    hide.
    """
    dice = random.Random(5)
    for _ in range(3_000):
        clocks = Clocks()
        clocks.now += dice.uniform(0.0, 1.0)
        clocks.empty()
        empty_at = clocks.now
        shifts = [dice.choice((0.0, 0.0, 0.003, -0.003, 0.008, -0.008, 0.5, -9.0)) for _ in "ab"]
        clocks.now += dice.uniform(0.0, 1.0)
        clocks.ahead_s += shifts[0]
        came_at, stamp = clocks.now, clocks.wall()
        clocks.now += dice.uniform(0.0, 1.0)
        clocks.ahead_s += shifts[1]
        found = clocks.arrival(stamp)
        assert empty_at <= found <= clocks.now
        was_set = any(abs(shift) > SET_S for shift in (*shifts, sum(shifts)))
        is_one_way = shifts[0] * shifts[1] >= 0
        if not was_set and is_one_way:
            assert found <= came_at + 1e-5 and found >= came_at - 2 * SET_S - 1e-5
