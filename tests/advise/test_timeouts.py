"""What is concluded from measured gaps: counts, bounds, and the timeout that is advised."""

from __future__ import annotations

import pytest

from opensvc_openha.advise.statistics import Gaps, most_likely_events, rate_bound
from opensvc_openha.advise.timeouts import (
    DAY_S,
    ENOUGH_S,
    Stalls,
    advise_link,
    choices,
    least_timeout_s,
)
from opensvc_openha.core.model import LinkSpec, Profile
from opensvc_openha.core.status import GAP_BOUNDS_S, BeatTiming, LinkStatus

NO_STALLS = Stalls((), 10 * DAY_S)
WEEK_S = 7 * DAY_S


def counts(**of_class: int) -> tuple[int, ...]:
    """Return the number of gaps by the upper bounds of their classes, `up_to_1_1=3`."""
    found = [0] * (len(GAP_BOUNDS_S) + 1)
    for name, number in of_class.items():
        bound = float(name.removeprefix("up_to_").replace("_", "."))
        found[GAP_BOUNDS_S.index(bound)] = number
    return tuple(found)


def listener(
    timeout_s: float, longest_s: float, sample_s: float = WEEK_S, **of_class: int
) -> LinkStatus:
    """Return a listener on which these gaps were measured."""
    spec = LinkSpec("deb1", "net", "eth1", "239.131.50.10", 5010, 0, timeout_s)
    gaps = counts(**(of_class or {"up_to_1_1": 1000}))
    timing = BeatTiming(1000, 0, 0.001, gaps, sample_s, longest_s)
    return LinkStatus(spec, False, True, timing=timing)


@pytest.mark.parametrize(
    ("seen", "limit"),
    [(0, 2.996), (1, 4.744), (2, 6.296), (5, 10.513), (10, 16.962), (100, 118.08)],
)
def test_the_bound_is_the_exact_one_of_a_poisson_mean(seen: int, limit: float) -> None:
    """The one-sided 95 % limits that statistical tables have; that of nothing is the rule of
    three.
    """
    assert most_likely_events(seen) == pytest.approx(limit, abs=0.01)


def test_a_long_sample_lowers_the_bound_and_none_gives_none() -> None:
    """Ten hours without an event: at most one in 3.3 hours."""
    ten_hours = rate_bound(0, 36_000)
    assert ten_hours is not None and 1 / ten_hours == pytest.approx(36_000 / 2.996, rel=0.001)
    assert rate_bound(0, 0.0) is None


def test_a_class_that_contains_the_timeout_counts_as_longer() -> None:
    """Whether the gaps between 1.1 and 1.25 s were longer than 1.2 s is not known."""
    gaps = Gaps(counts(up_to_1_1=100, up_to_1_25=3, up_to_3_0=1), 1000.0, 2.4)
    assert gaps.longer_than(1.2) == 4
    assert gaps.longer_than(1.25) == 1
    assert gaps.longer_than(2.4) == 1
    assert gaps.longer_than(2.5) == 0, "the longest one is known exactly"
    assert (gaps.quantile_s(0.5), gaps.quantile_s(1.0)) == (1.1, 2.4)


def test_a_timeout_that_gaps_have_exceeded_is_to_be_longer() -> None:
    """A gap of 2.4 s with a timeout of 2 s: 5 s are advised, and the odds are given."""
    found = advise_link(
        listener(2.0, 2.4, up_to_1_1=1000, up_to_3_0=2), NO_STALLS, Profile.TUTORIAL
    )
    assert (found.exceeded, found.advised_s) == (2, 5.0)
    assert found.per_day_at_most == pytest.approx(6.296 / 7, abs=0.01)
    assert "2.40 s" in found.why


def test_a_timeout_without_need_may_be_shorter_after_a_day_only() -> None:
    """10 s where the longest gap was 1.1 s: three beats are enough, by a long sample."""
    long, short = listener(10.0, 1.1), listener(10.0, 1.1, sample_s=ENOUGH_S / 2)
    assert advise_link(long, NO_STALLS, Profile.TUTORIAL).advised_s == 3.0
    kept = advise_link(short, NO_STALLS, Profile.TUTORIAL)
    assert kept.advised_s == 10.0 and "less than a day" in kept.why


def test_a_stall_of_this_node_counts_since_its_peer_did_not_hear_it() -> None:
    """4 s without a beat from here: a timeout of 3 s is too short for the peer."""
    found = advise_link(listener(3.0, 1.1), Stalls((0.6, 4.0), WEEK_S), Profile.TUTORIAL)
    assert found.advised_s == 10.0 and "stood still for 4.0 s" in found.why


@pytest.mark.parametrize("timing", [None, BeatTiming()])
def test_nothing_is_advised_where_nothing_was_measured(timing: BeatTiming | None) -> None:
    """A daemon of an older version, or one that has just begun."""
    spec = LinkSpec("deb1", "net", "eth1", "239.131.50.10", 5010, 0, 10.0)
    found = advise_link(LinkStatus(spec, False, True, timing=timing), NO_STALLS, Profile.TUTORIAL)
    assert (found.advised_s, found.per_day_at_most) == (10.0, None)


def test_the_node_is_as_good_as_its_best_link() -> None:
    """One link loses beats, the other none: the peer is silent only if both are."""
    bad = listener(3.0, 4.0, up_to_1_1=1000, up_to_5_0=50)
    found = choices([bad, listener(3.0, 1.1)], Profile.TUTORIAL, lambda timeout_s: 5 + timeout_s)
    assert [choice.timeout_s for choice in found] == [3.0, 5.0]
    assert [choice.takeover_s for choice in found] == [8.0, 10.0]
    assert [choice.is_present for choice in found] == [True, False]
    assert found[0].exceeded == 0
    assert found[0].per_day_at_most == pytest.approx(2.996 / 7, abs=0.01)


def test_no_timeout_is_shorter_than_three_beats() -> None:
    """The least of each profile."""
    assert [least_timeout_s(profile) for profile in Profile] == [3.0, 1.0, 0.3]
