"""The time after which a node is dead, and the slack that one lost renewal needs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.core.model import MARK_BYTES, LinkSpec, Wire
from opensvc_openha.core.promise import (
    CLOCK_RATIO,
    FAST_MARGIN_S,
    MARGIN_S,
    WITNESS_MARK,
    cut_off_after_s,
    death_after_s,
    least_timeout_s,
    media_of,
)

FASTEST, SLOWEST = 1.0833, 0.9167


@pytest.mark.parametrize(
    ("answer_s", "timeout_s", "holders", "margin_s", "death_s"),
    [
        (1.0, 4.0, 2, MARGIN_S, 11.42),
        (0.5, 3.0, 2, MARGIN_S, 8.42),
        (0.3, 1.0, 2, FAST_MARGIN_S, 3.08),
        (0.3, 1.0, 1, FAST_MARGIN_S, 1.82),
    ],
)
def test_the_usual_promises(
    answer_s: float, timeout_s: float, holders: int, margin_s: float, death_s: float
) -> None:
    """Of both profiles, with a watchdog that acts 0.05 s late."""
    assert death_after_s(answer_s, timeout_s, holders, 0.05, margin_s) == death_s


@given(
    st.floats(0.01, 10),
    st.floats(1, 300),
    st.sampled_from([1, 2]),
    st.floats(0, 1),
    st.sampled_from([FASTEST, 1.0, SLOWEST]),
    st.sampled_from([FASTEST, 1.0, SLOWEST]),
)
def test_the_watchdog_has_bitten_when_the_promise_ends_whatever_the_clocks_do(
    answer_s: float,
    timeout_s: float,
    holders: int,
    granularity_s: float,
    owner_rate: float,
    peer_rate: float,
) -> None:
    """Both are slewed to their limits: the owner's clock is slow, the peer's fast, or reversed.

    The watchdog is late by its granularity each time, and its keeper dies just before it bites.
    """
    death_s = death_after_s(answer_s, timeout_s, holders, granularity_s, FAST_MARGIN_S)
    bitten_after_s = (answer_s + holders * (timeout_s + granularity_s)) / owner_rate
    assert bitten_after_s < death_s / peer_rate
    assert death_s * 1000 == pytest.approx(round(death_s * 1000), abs=1e-6)


def test_the_margins_of_both_profiles() -> None:
    """Peers of all versions count with them."""
    assert (MARGIN_S, FAST_MARGIN_S) == (0.5, 0.2)


def test_the_mark_of_a_second_disk_is_the_same_in_all_versions() -> None:
    """The peer computes it as well."""
    disks = [LinkSpec("deb1", "dio", f"/dev/sd{letter}", "", 0, 10, 10.0) for letter in "abc"]
    assert [mark.hex() for mark in media_of(disks).values()] == [
        "3487d1aad5516764",
        "8c14f863455fff14",
        "7600168e787c3574",
    ]


def test_the_bound_of_the_rates_is_the_one_of_both_extremes() -> None:
    """Not of one clock alone."""
    assert FASTEST / SLOWEST < CLOCK_RATIO < 1.21


@pytest.mark.parametrize(
    ("interval_s", "answer_s", "stop_s", "timeout_s"),
    [
        (1.0, 1.0, None, 4),
        (1.0, 0.5, None, 3),
        (0.1, 0.3, None, 1),
        (1.0, 1.01, None, 5),
        (1.0, 1.0, 20.0, 25),
        (1.0, 1.0, 20.5, 26),
        (0.1, 0.3, 2.2, 4),
    ],
)
def test_one_lost_renewal_resets_nobody(
    interval_s: float, answer_s: float, stop_s: float | None, timeout_s: int
) -> None:
    """The watchdog waits for two intervals and two answers, and then for all stops."""
    assert least_timeout_s(interval_s, answer_s, stop_s) == timeout_s


def test_the_witness_has_a_mark_as_links_have() -> None:
    """So that a promise lists them alike."""
    assert len(WITNESS_MARK) == MARK_BYTES


def test_media_are_the_disk_links_in_our_own_format() -> None:
    """Each has a mark of its own, also if two disks have the same offset."""
    disks = [LinkSpec("deb1", "dio", f"/dev/sd{letter}", "", 0, 10, 10.0) for letter in "abc"]
    other = LinkSpec("deb1", "dio", "/dev/sdb", "", 0, 40, 10.0)
    net = LinkSpec("deb1", "net", "eth1", "239.131.50.10", 5000, 0, 10.0)
    original = LinkSpec("deb1", "dio", "/dev/sdd", "", 0, 10, 10.0, wire=Wire.LEGACY)
    media = media_of([original, net, disks[0], other, *disks[1:]])
    assert set(media) == {*disks, other}
    assert len(set(media.values())) == 4
    assert media[disks[0]] == disks[0].mark and media[other] == other.mark
    # Fewer of them have a part of the marks, whatever the devices are called.
    assert set(media_of(disks[1:]).values()) == {media[disks[0]], media[disks[1]]}
    assert WITNESS_MARK not in media.values() and all(
        len(mark) == MARK_BYTES for mark in media.values()
    )


@pytest.mark.parametrize(
    ("timeout_s", "stop_s", "after_s"),
    [(15.0, None, 4.0), (15.0, 5.0, 9.0), (60.0, 5.0, 54.0), (10.0, 5.0, 4.0), (9.0, 5.0, 4.0)],
)
def test_node_is_cut_off_as_late_as_its_stops_allow(
    timeout_s: float, stop_s: float | None, after_s: float
) -> None:
    """And no earlier than one lost renewal takes, whatever time is left then."""
    assert cut_off_after_s(1.0, 1.0, timeout_s, stop_s) == after_s
