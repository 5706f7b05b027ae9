"""Recognize frames that a listener has used before, before their tag costs anything.

The one place of this room that asks whether a frame is new; on a disk links.slot_link has asked
before whether the slot has changed since its last read. What is dropped here holds nothing that the
engine does not know. Whether a beat is new for a decision (order, incarnation, first arrival on any
link) is decided in core.beat_filter alone.

Nothing is noted of a frame before the engine has its beat: otherwise a forged frame, or one for
which there was no room, would keep the genuine one out.
"""

from __future__ import annotations

import collections
import math

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.beat_filter import REPLAYED
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.formats.beat_frame import peek_number
from opensvc_openha.links.base import Received

KNOWN_FRAMES = 2_048
"""Unauthenticated frames kept to recognize repetitions: half an hour of beats."""
KNOWN_INCARNATIONS = 64
"""Incarnations of the peer whose newest authentic beat on a link is known."""
REPEAT_SAMPLE_S = 0.1
"""Seconds between repeated frames passed to the engine; the others are only counted."""
_REPEATED = "repeated"


class RepeatFilter:
    """What one listener has used; for one thread."""

    def __init__(self, link: LinkSpec) -> None:
        self._is_legacy = link.wire is Wire.LEGACY
        self._record = b""
        self._frames = _KnownFrames()
        self._numbers = _KnownNumbers()
        self._passed_at = -math.inf

    def rejection(self, received: Received) -> str:
        """Return the counter under which a repeated frame is dropped; empty for all others.

        The very same record of the original again is no sign of life: nothing else orders records.
        A repeated frame of our own format is one to the engine, which counts it and may warn of it:
        it gets a sample, so that a flood of recorded frames does not cost a tag and a step each.
        """
        if self._is_legacy:
            return _REPEATED if received.data == self._record else ""
        if not (self._numbers.has(received.data) or self._frames.has(received.data)):
            return ""
        if received.received_at - self._passed_at < REPEAT_SAMPLE_S:
            return REPLAYED
        self._passed_at = received.received_at
        return ""

    def record(self, received: Received, event: BeatReceived) -> None:
        """Record a frame whose beat the engine has."""
        if self._is_legacy:
            self._record = received.data
        elif event.key_id:
            self._numbers.add(event.beat.boot, event.beat.seq)
        else:
            self._frames.add(received.data)


class _KnownNumbers:
    """The newest authentic beat of each incarnation.

    A frame that claims to be no newer is a repetition, or forged: its tag need not be checked.
    """

    def __init__(self) -> None:
        self._newest: collections.OrderedDict[BootId, int] = collections.OrderedDict()

    def add(self, boot: BootId, seq: int) -> None:
        """Add an authentic beat; drop the incarnation heard longest ago above the limit."""
        self._newest[boot] = max(seq, self._newest.pop(boot, seq))
        if len(self._newest) > KNOWN_INCARNATIONS:
            self._newest.popitem(last=False)

    def has(self, frame: bytes) -> bool:
        number = peek_number(frame)
        return number is not None and number[1] <= self._newest.get(number[0], -1)


class _KnownFrames:
    """The last unauthenticated frames: the same bytes are a repetition, as each beat has a number.

    Their numbers prove nothing: a forged one would keep out all genuine frames below it.
    """

    def __init__(self) -> None:
        self._marks: collections.deque[int] = collections.deque()
        self._known: set[int] = set()

    def add(self, frame: bytes) -> None:
        """Add a frame; drop the oldest above the limit."""
        mark = hash(frame)
        if mark in self._known:
            return
        self._known.add(mark)
        self._marks.append(mark)
        if len(self._marks) > KNOWN_FRAMES:
            self._known.discard(self._marks.popleft())

    def has(self, frame: bytes) -> bool:
        return hash(frame) in self._known
