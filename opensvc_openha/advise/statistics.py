"""Conclude from a sample how often something may happen; pure.

Nothing is fitted: what was seen is counted, and the bound is the exact one for events that come
independently of each other. What was never seen in T seconds happens, with 95 % confidence, less
often than three times in T seconds (the rule of three).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from opensvc_openha.core.status import GAP_BOUNDS_S

CONFIDENCE = 0.95
_STEPS = 60


def most_likely_events(seen: int) -> float:
    """Return the number of events to expect at most in as long a time, with 95 % confidence.

    The upper limit of a Poisson mean of which ``seen`` were counted: 3.0 for none, 4.7 for one.
    """
    low, high = float(seen), 2.0 * seen + 10.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _at_most(seen, middle) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def _at_most(seen: int, mean: float) -> float:
    """Return the probability of at most ``seen`` events; in logarithms, for large means."""
    logs = [number * math.log(mean) - mean - math.lgamma(number + 1) for number in range(seen + 1)]
    return math.fsum(math.exp(log) for log in logs)


def rate_bound(seen: int, sample_s: float) -> float | None:
    """Return the events per second at most, with 95 % confidence; None without a sample."""
    return most_likely_events(seen) / sample_s if sample_s > 0 else None


@dataclass(frozen=True)
class Gaps:
    """Gaps between two beats on one link: how many there were up to each of ``GAP_BOUNDS_S``."""

    counts: tuple[int, ...]
    sample_s: float
    longest_s: float

    @property
    def number(self) -> int:
        """Number of gaps."""
        return sum(self.counts)

    def quantile_s(self, part: float) -> float:
        """Return a bound that this part of the gaps do not exceed: that of their class."""
        wanted, seen = part * self.number, 0
        for count, high in zip(self.counts, (*GAP_BOUNDS_S, math.inf)):
            seen += count
            if seen >= wanted:
                return min(high, self.longest_s)
        return self.longest_s

    def longer_than(self, seconds: float) -> int:
        """Return how many may have been that long: those of a class that is not wholly below."""
        if self.longest_s < seconds:
            return 0
        lowest = (0.0, *GAP_BOUNDS_S)
        highest = (*GAP_BOUNDS_S, math.inf)
        return sum(
            count
            for count, low, high in zip(self.counts, lowest, highest)
            if high > seconds or low >= seconds
        )
