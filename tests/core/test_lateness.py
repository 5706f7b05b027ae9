"""When a step is late, and what of that is no stall of the node."""

from __future__ import annotations

import pytest

from opensvc_openha.core.lateness import Lateness


@pytest.mark.parametrize(
    "expected_at, busy_until, received_at, late_s",
    [
        (100.0, None, None, 3.0),
        (104.0, None, None, -1.0),
        (100.0, 102.0, None, 1.0),
        (100.0, 90.0, None, 3.0),
        (104.0, None, 101.0, 2.0),
        (100.0, None, 102.5, 3.0),
        (104.0, 102.0, 101.0, 1.0),
    ],
    ids=[
        "late",
        "early",
        "busy until a second ago",
        "busy long ago",
        "a beat waited",
        "later than its beat",
        "a beat waited for the node's own work",
    ],
)
def test_lateness_counts_from_what_was_due_and_from_the_end_of_own_work(
    expected_at: float, busy_until: float | None, received_at: float | None, late_s: float
) -> None:
    """A step at 103, with or without a beat; only positive lateness is shown."""
    lateness = Lateness(50.0)
    lateness.expected_at = expected_at
    if busy_until is not None:
        lateness.mark_busy_until(busy_until)
    assert lateness.record(103.0, received_at) == late_s
    assert lateness.late_s == max(0.0, late_s)


def test_stall_is_news_unless_another_one_was_a_moment_ago() -> None:
    """A node that keeps standing still is reported once for each time of quiet."""
    lateness = Lateness(0.0)
    found = [lateness.record_stall(now, quiet_s=2.0) for now in (10.0, 11.0, 13.0, 15.5)]
    assert found == [True, False, False, True]
