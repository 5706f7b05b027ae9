"""S7: no write of an ejected or dead incarnation lands after the barrier of its successor.

A service whose disks carry a reservation may be started while a copy of it runs on the peer only if
the peer cannot write there any more; a copy that was started by hand, that its own daemon cannot
know of, or that was forced, is of nobody's incarnation. What a node without reservations must not
do is of S1.

What a node had written before it was ejected, or lost its power, may land later: either the disk
aborts it, or the successor has waited for it before it uses the disk.
"""

from __future__ import annotations

from opensvc_openha.verify.invariants.observations import ScriptBegan, WriteLanded
from opensvc_openha.verify.invariants.place import ServicePlace
from opensvc_openha.verify.invariants.promise import Promise

S7 = Promise(
    "S7",
    "no write of an ejected or dead incarnation lands after the barrier of its successor",
)


def check_start(seen: ScriptBegan, own: ServicePlace, other: ServicePlace, peer: str) -> None:
    """Check that a copy which runs on the peer cannot write any more."""
    # A fence that lied is of S1; the start takes the disks all the same.
    is_known = not (own.is_check_lie or other.is_hidden or other.is_by_hand or other.is_forced)
    if other.is_running and other.is_reserved and not other.is_barred and is_known:
        text = f"started while {peer} runs it and can still write to its disks"
        S7.fail(seen.at, seen.node, seen.service, text)


def check_write(seen: WriteLanded, other: ServicePlace, peer: str) -> None:
    """Check that a write which was on its way has landed before the peer relies on its barrier."""
    if other.has_barrier:
        text = f"what it had written lands after {peer} has taken its disks"
        S7.fail(seen.at, seen.node, seen.service, text)
