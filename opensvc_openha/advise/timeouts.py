"""Advise on link timeouts: how often each would be a false alarm, and what it costs; pure.

A false alarm of a link is a gap between two beats that is longer than its timeout, although the
peer's daemon runs. The peer as a whole is called silent only if all links are, which is no more
frequent than on the best of them: the bound of a node is that of its best link. Nothing is
concluded from the links being independent, since they are not (a stall of the sender silences all).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opensvc_openha.advise.statistics import Gaps, rate_bound
from opensvc_openha.core.model import Profile
from opensvc_openha.core.status import LinkStatus
from opensvc_openha.core.timing import PACES

DAY_S = 86_400.0
ENOUGH_S = DAY_S
"""A shorter timeout is advised only from a sample that long: load has its hours."""
_FACTOR = 2.0
"""A timeout is at least so many times the longest gap that was seen."""
_STALL_FACTOR = 1.5
_BEATS = 3
CANDIDATES_S = (0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0)


@dataclass(frozen=True)
class Stalls:
    """How often this node stood still, by its history of ``sample_s`` seconds."""

    seconds: tuple[float, ...] = ()
    sample_s: float = 0.0

    @property
    def longest_s(self) -> float:
        """The longest one; 0 for none."""
        return max(self.seconds, default=0.0)


@dataclass(frozen=True)
class LinkAdvice:
    """One listener of this node.

    Of 1000 gaps 999 are not longer than ``gap_999_s``; ``exceeded`` were longer than its timeout.
    ``per_day_at_most`` is how often that may happen, with 95 % confidence; None without a sample.
    ``advised_s`` is the timeout that is advised, the present one if there is no reason for another.
    """

    link: str
    timeout_s: float
    sample_s: float
    gaps: int
    gap_999_s: float
    longest_gap_s: float
    jitter_s: float
    lost: int | None
    exceeded: int
    per_day_at_most: float | None
    advised_s: float
    why: str

    @property
    def is_to_change(self) -> bool:
        """True if another timeout is advised."""
        return self.advised_s != self.timeout_s


@dataclass(frozen=True)
class Choice:
    """One timeout for all links: the false alarms about the peer, and the takeover that follows.

    ``takeover_s`` is for how long a service would be away if its node lost its power; None if that
    is not known.
    """

    timeout_s: float
    exceeded: int
    per_day_at_most: float | None
    takeover_s: float | None
    is_present: bool


def gaps_of(link: LinkStatus) -> Gaps:
    """Return what was measured on a listener; empty for a daemon that measures nothing."""
    found = link.timing
    if found is None:
        return Gaps((), 0.0, 0.0)
    return Gaps(tuple(found.gaps), found.gaps_s, found.longest_gap_s)


def least_timeout_s(profile: Profile) -> float:
    """Return the shortest timeout that is ever advised: three beats."""
    pace = PACES[profile]
    return max(round(_BEATS * pace.beat_interval_s, 6), pace.least_timeout_s)


def advise_link(link: LinkStatus, stalls: Stalls, profile: Profile) -> LinkAdvice:
    """Return what the measured gaps of one listener mean for its timeout."""
    gaps, timeout_s = gaps_of(link), link.spec.timeout_s
    exceeded = gaps.longer_than(timeout_s)
    rate = rate_bound(exceeded, gaps.sample_s)
    advised_s, why = _advised(timeout_s, gaps, stalls, least_timeout_s(profile))
    timing = link.timing
    return LinkAdvice(
        link.spec.link_id,
        timeout_s,
        gaps.sample_s,
        gaps.number,
        gaps.quantile_s(0.999),
        gaps.longest_s,
        0.0 if timing is None else timing.jitter_s,
        None if timing is None else timing.lost,
        exceeded,
        None if rate is None else rate * DAY_S,
        advised_s,
        why,
    )


def _advised(timeout_s: float, gaps: Gaps, stalls: Stalls, least_s: float) -> tuple[float, str]:
    if not gaps.number:
        return timeout_s, "nothing was measured yet"
    wanted_s = max(least_s, _FACTOR * gaps.longest_s, _STALL_FACTOR * stalls.longest_s)
    advised_s = next((each for each in CANDIDATES_S if each >= wanted_s), CANDIDATES_S[-1])
    if timeout_s < wanted_s and advised_s > timeout_s:
        if _STALL_FACTOR * stalls.longest_s >= wanted_s:
            return advised_s, (
                f"this node stood still for {stalls.longest_s:.1f} s: its peer did not hear it"
            )
        return advised_s, f"the longest gap was {gaps.longest_s:.2f} s: leave twice that"
    if advised_s < timeout_s:
        if gaps.sample_s < ENOUGH_S:
            return timeout_s, "measured for less than a day: no shorter one is advised"
        return advised_s, f"the longest gap was {gaps.longest_s:.2f} s: twice that is enough"
    return timeout_s, f"the longest gap was {gaps.longest_s:.2f} s"


def choices(
    links: Sequence[LinkStatus],
    profile: Profile,
    takeover_s: Callable[[float], float | None],
) -> tuple[Choice, ...]:
    """Return the false alarms and the takeover for several timeouts, the present ones included."""
    present = {link.spec.timeout_s for link in links}
    least_s = least_timeout_s(profile)
    if not present:
        return ()
    wanted = {each for each in CANDIDATES_S if least_s <= each <= 2 * max(present)} | present
    found = []
    for timeout_s in sorted(wanted):
        measured = [gaps_of(link) for link in links]
        bounds = [
            (rate_bound(gaps.longer_than(timeout_s), gaps.sample_s), gaps.longer_than(timeout_s))
            for gaps in measured
            if gaps.sample_s > 0
        ]
        best = min(((rate, seen) for rate, seen in bounds if rate is not None), default=(None, 0))
        rate, seen = best
        per_day = None if rate is None else rate * DAY_S
        found.append(Choice(timeout_s, seen, per_day, takeover_s(timeout_s), timeout_s in present))
    return tuple(found)
