"""S6: a promise is kept: by the keeper of the watchdog, and by the node as a whole.

Each petting stands for a renewal that began no longer ago than the time for an answer, by the clock
of its node. And a node runs nothing any more once its peer may call it dead: its promised time is
over since the peer's last sight of it, and each medium of the promise was read after that. That is
stated in `lease_ground`, whatever the peer makes of it.

Exceptions:

* a copy that was started by hand, or that the node's daemon cannot know of: nothing was promised
* a machine that was booted since is not the one that promised
"""

from __future__ import annotations

from collections.abc import Mapping

from opensvc_openha.verify.invariants.observations import Petted
from opensvc_openha.verify.invariants.place import ServicePlace
from opensvc_openha.verify.invariants.promise import Promise

S6 = Promise(
    "S6",
    "no watchdog is petted too late for its renewal, and no node runs anything once its promised"
    " time is over",
)
_SLACK_S = 0.001
"""Rounding of a sum of instants."""


def check_pet(seen: Petted) -> None:
    """Check that a petting is not too late for its renewal."""
    late_s = seen.at - seen.renewed_at
    if late_s > seen.answer_s + _SLACK_S:
        S6.fail(
            seen.at,
            seen.node,
            "",
            f"pets its watchdog {late_s:.3f} s after the beginning of a renewal, which is more than"
            f" {seen.answer_s:g} s",
        )


def check_dead(at: float, node: str, peer: str, places: Mapping[str, ServicePlace]) -> None:
    """Check that a node whose peer may call it dead by its promise runs nothing."""
    running = [
        name
        for name, place in places.items()
        if place.is_running and not (place.is_by_hand or place.is_hidden)
    ]
    if running:
        S6.fail(at, node, running[0], f"still runs, though {peer} may call the node dead")
