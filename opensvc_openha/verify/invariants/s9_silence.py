"""S9: an array that is frozen for both nodes resets nobody.

A node that falls silent on purpose is reset by its watchdog, or fenced. It may do that only for a
service whose disks have been frozen for it for the least time that can be configured, and which its
peer has read since, as far as that one can know by now: what a node last saw, and what its beats
last said, takes some seconds to grow old.
"""

from __future__ import annotations

from opensvc_openha.core import timing
from opensvc_openha.verify.invariants.observations import FellSilent
from opensvc_openha.verify.invariants.promise import Promise

S9 = Promise(
    "S9",
    "a node falls silent on purpose only for disks that are frozen for it, and not for its peer",
)
_RATES = 1.1
"""Clocks of both nodes may differ by so much."""
_OLD_S = (
    timing.DISK_ANSWER_S
    + timing.DISK_LOOK_OLD_S
    + timing.DISK_FACTS_OLD_S
    + timing.BEAT_INTERVAL_S
    + timing.DISK_LOOK_S
)


def check_silence(seen: FellSilent) -> None:
    """Check why a node falls silent."""
    least_s = timing.FROZEN_AFTER_LEAST_S / _RATES - timing.DISK_ANSWER_S
    if not any(
        held_s >= least_s and seen.peer_frozen_s.get(name, 0.0) <= _OLD_S * _RATES
        for name, held_s in seen.frozen_s.items()
    ):
        text = f"falls silent: frozen here {seen.frozen_s}, for the peer {seen.peer_frozen_s}"
        S9.fail(seen.at, seen.node, "", text)
