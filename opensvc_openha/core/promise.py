"""Define the promise of a node to be dead soon after its last sign of life.

A node whose watchdog is armed pets it only for a *renewal*: a sign of life that is confirmed to
have reached a place where the peer looks. So it is dead ``death_s`` after its peer has last seen
one. The durations from which that follows are related here, in one place for both nodes: the owner
of the watchdog counts it, and the peer believes what the owner announces.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from hashlib import blake2b

from opensvc_openha.core.model import MARK_BYTES, LinkSpec, Wire
from opensvc_openha.records import dataclass

WITNESS_MARK = b"witness."
"""Mark of the witness among the media of a promise: as long as the mark of a link."""

CLOCK_RATIO = 1.2
"""Bound of the rates of two clocks.

The clocks of both nodes may be slewed by 8.3 % in opposite directions (the default limit of chrony
is 83,333 ppm): 1.0833 / 0.9167 = 1.182.
"""

MARGIN_S = 0.5
FAST_MARGIN_S = 0.2
"""Added to every promise, for what is not counted elsewhere; the second one in profile `fast`."""

STOP_MARGIN_S = 1.0
"""Time between the end of the last stop of a node that is cut off, and its watchdog."""

_TINY_S = 1e-9
"""More than the rounding of sums and products of such durations."""

assert len(WITNESS_MARK) == MARK_BYTES, "a mark like any other"
assert CLOCK_RATIO > 1.0833 / 0.9167, "clocks at the extremes"


@dataclass(frozen=True)
class Promise:
    """What a node promises of itself, as its beats carry it.

    It executes nothing any more, or none of its services, ``death_s`` seconds after its peer has
    received its last sign of life. ``media`` are the marks of the disk links, and of the witness,
    by which it can show that it lives without its peer, see ``media_of``: a peer that cannot read
    one of them can conclude nothing.
    """

    death_s: float
    media: frozenset[bytes]
    is_virtual: bool = False
    """It is a virtual machine: one that is paused does not notice it, nor does its watchdog."""
    may_stop: bool = False
    """It may have stopped its services in place of dying: then it lives, and runs none."""


def media_of(links: Iterable[LinkSpec]) -> dict[LinkSpec, bytes]:
    """Return the mark of each of ``links`` that is a medium: its disk links in our own format.

    ``links`` are those on which one node sends, or listens, in the order of the configuration. Two
    disks with the same offset have the same mark as links, since a device may have another name on
    each node; as media they are told apart by their number, so that a promise shows how many there
    are.
    """
    media: dict[LinkSpec, bytes] = {}
    for link in links:
        if link.is_disk and link.wire is Wire.OWN:
            number = sum(each.mark == link.mark for each in media)
            media[link] = _numbered(link.mark, number) if number else link.mark
    return media


def _numbered(mark: bytes, number: int) -> bytes:
    return blake2b(mark + number.to_bytes(4, "big"), digest_size=MARK_BYTES).digest()


def death_after_s(
    answer_s: float, timeout_s: float, holders: int, granularity_s: float, margin_s: float
) -> float:
    """Return the seconds from the last sign of life received to certain death, rounded up to ms.

    ``answer_s`` is the longest time from the beginning of a renewal to the petting that stands for
    it, ``timeout_s`` that of the watchdog as read back from its driver, ``granularity_s`` how late
    it may act beside that, each time: a process that dies just before the watchdog acts may die
    that late. ``holders`` is how many timeouts must be counted: the kernel pets the watchdog by
    itself when its last open file is closed, which the death of a process does, unless a second
    process holds it open.
    """
    seconds = CLOCK_RATIO * (answer_s + holders * (timeout_s + granularity_s)) + margin_s
    return math.ceil(seconds * 1000 - _TINY_S) / 1000


def patience_s(interval_s: float, answer_s: float) -> float:
    """Return how long after a renewal a single one that is lost means nothing.

    ``interval_s`` is the time between two renewals: the beat interval.
    """
    return 2 * (interval_s + answer_s)


def cut_off_after_s(
    interval_s: float, answer_s: float, timeout_s: float, stop_s: float | None
) -> float:
    """Return how long after its last renewal a node is cut off, and begins to stop its services.

    As late as the stops allow, in time before a watchdog of ``timeout_s``, so that a longer one
    bears longer failures; and no earlier than one lost renewal takes. With `least_timeout_s` both
    is possible: what is left is no less than the stops take, and the margin.
    """
    patience = patience_s(interval_s, answer_s)
    if stop_s is None:
        return patience
    after_s = max(patience, timeout_s - stop_s - STOP_MARGIN_S)
    is_in_time = after_s + stop_s + STOP_MARGIN_S <= timeout_s + _TINY_S
    assert is_in_time or timeout_s < least_timeout_s(interval_s, answer_s, stop_s)
    return after_s


def least_timeout_s(interval_s: float, answer_s: float, stop_s: float | None = None) -> int:
    """Return the least timeout of a watchdog, in whole seconds, with which nobody is reset early.

    With ``stop_s`` all services must have been stopped by then, with a margin, after the node has
    found that nothing confirms any more.
    """
    seconds = patience_s(interval_s, answer_s)
    if stop_s is not None:
        seconds += stop_s + STOP_MARGIN_S
    return math.ceil(seconds - _TINY_S)
