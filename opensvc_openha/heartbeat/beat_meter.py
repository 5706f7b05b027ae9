"""Measure how regularly beats come in on one link, for operators: no decision depends on it.

Only beats that the engine was given are measured, in memory of a fixed size. A number that is
missing was lost on the way, or overtaken at the sender by the next one, as when a service changes
its state twice in a moment.
"""

from __future__ import annotations

from bisect import bisect_left

from opensvc_openha.core.announcer import NUMBERS_OF_BEAT
from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.core.status import GAP_BOUNDS_S, BeatTiming

_SMOOTHED_OVER = 16
"""Beats over which jitter is smoothed, as in RFC 3550."""
_LOST_AT_ONCE = 1_000
"""More missing numbers than this between two beats are no loss: somebody invents numbers."""


class BeatMeter:
    """The beats of one listener; recorded by its thread, read by any."""

    def __init__(self, link: LinkSpec) -> None:
        self._has_numbers = link.wire is Wire.OWN
        self._boot: BootId | None = None
        self._seq = 0
        self._heard_at = 0.0
        self._beats = 0
        self._lost: int | None = 0 if self._has_numbers and not link.is_disk else None
        self._jitter_s = 0.0
        self._gaps = [0] * (len(GAP_BOUNDS_S) + 1)
        self._gaps_s = 0.0
        self._longest_gap_s = 0.0

    def record(self, beat: Beat, received_at: float) -> None:
        """Record a beat; one that came in late, behind a newer one, only counts."""
        self._beats += 1
        is_first, missing = beat.boot != self._boot, _missing(self._seq, beat.seq)
        if self._has_numbers and not is_first and missing < 0:
            return
        gap_s = received_at - self._heard_at
        self._boot, self._seq, self._heard_at = beat.boot, beat.seq, received_at
        if is_first or gap_s < 0:
            return
        self._gaps[bisect_left(GAP_BOUNDS_S, gap_s)] += 1
        self._gaps_s += gap_s
        self._longest_gap_s = max(self._longest_gap_s, gap_s)
        if self._has_numbers and missing:
            if self._lost is not None and missing <= _LOST_AT_ONCE:
                self._lost += missing
            return
        # A beat before its time announces a change: it is early on purpose.
        late_s = max(0.0, gap_s - beat.interval_s)
        self._jitter_s += (late_s - self._jitter_s) / _SMOOTHED_OVER

    @property
    def timing(self) -> BeatTiming:
        """What was measured until now."""
        return BeatTiming(
            self._beats,
            self._lost,
            self._jitter_s,
            tuple(self._gaps),
            self._gaps_s,
            self._longest_gap_s,
        )


def _missing(former: int, seq: int) -> int:
    """Return how many beats are missing between two numbers; below 0 if the second is not newer.

    Each beat has a block of numbers, of which it takes the others only for repeats. Those of an
    older version count one by one.
    """
    blocks = seq // NUMBERS_OF_BEAT - former // NUMBERS_OF_BEAT
    return (blocks if blocks else seq - former) - 1
