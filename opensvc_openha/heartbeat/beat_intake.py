"""From the bytes that a link brought to a beat for the engine: where they come from, whether they
are new, what they say.

The order is the protection. A frame of a wrong source is not looked into, one whose number came
before costs no tag, and nothing is remembered of a frame before the engine has it: otherwise a
forged frame could keep the genuine one out.
"""

from __future__ import annotations

import collections
import ipaddress
import math
from collections.abc import Callable

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.beat_filter import REPLAYED
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.beat_frame import peek_number
from opensvc_openha.heartbeat.codec.base import Codec
from opensvc_openha.links.base import Received

KNOWN_FRAMES = 2_048
"""Frames that nothing authenticates are known again when they are replayed: half an hour of
beats."""
KNOWN_LIVES = 64
"""Lives of the peer whose newest authentic beat on a link is known."""
REPEATS_TOLD_S = 0.1
"""So often the engine hears of a frame that came before; the others are only counted."""

Count = Callable[[str, str, int], None]
"""Counts frames under a reason, with what the log says of the first."""

_DROPPED = "dropped a frame"


class BeatIntake:
    """What one listener does with its frames. Used by one thread."""

    def __init__(
        self, link: LinkSpec, codec: Codec, deliver: Callable[[BeatReceived], bool], count: Count
    ) -> None:
        self._link = link
        self._codec = codec
        self._deliver = deliver
        self._count = count
        self._origin = Origin(link)
        self._frames = KnownFrames()
        self._numbers = KnownNumbers()
        self._told_at = -math.inf

    def take(self, received: Received) -> None:
        """Hands the beat in a frame to the engine, or counts why not."""
        data = received.data
        if not self._origin.admits(received.source, received.received_at):
            self._count("source", _DROPPED, 1)
            return

        # A flood of recorded frames must not cost a tag and a step of the engine each: it hears of
        # some.
        if self._link.wire is Wire.OWN and (self._numbers.has(data) or self._frames.has(data)):
            if received.received_at - self._told_at < REPEATS_TOLD_S:
                self._count(REPLAYED, _DROPPED, 1)
                return
            self._told_at = received.received_at

        try:
            decoded = self._codec.decode(data)
        except FrameError as error:
            self._count(error.reason, _DROPPED, 1)
            return
        if decoded.refused:
            self._count("name", "left out a service", decoded.refused)
        if decoded.remark:
            self._count(decoded.remark, "accepted a frame that nothing authenticates", 1)
        if not self._deliver(
            BeatReceived(
                self._link, decoded.beat, received.received_at, decoded.pid, decoded.key_id
            )
        ):
            self._count("overload", _DROPPED, 1)
            return

        self._origin.note(received.source, received.received_at)
        self._codec.keep(data)
        if decoded.key_id:
            self._numbers.add(decoded.beat.boot, decoded.beat.seq)
        else:
            self._frames.add(data)


class Origin:
    """The address that a network link listens to.

    It is the configured one. Where none is, a legacy link keeps to the first one heard until it is
    down, and a link of our own format listens to all.
    """

    def __init__(self, link: LinkSpec) -> None:
        self._link = link
        self._address = link.peer_address
        self._heard_at = -math.inf
        self._is_learnt = not link.peer_address and link.wire is Wire.LEGACY
        self._is_open = link.kind.is_disk or not (link.peer_address or self._is_learnt)

    def admits(self, source: str, received_at: float) -> bool:
        """True if a frame from this source (``host:port``) may be looked into."""
        if self._is_open or not source:
            return True
        if self._is_learnt and received_at >= self._heard_at + self._link.timeout_s:
            return True
        return _host_of(source) == self._address

    def note(self, source: str, received_at: float) -> None:
        """A frame from there was taken."""
        if not self._is_open:
            self._address, self._heard_at = _host_of(source), received_at


def _host_of(source: str) -> str:
    """The address alone, in the one spelling that can be compared."""
    host = source.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


class KnownNumbers:
    """The newest authentic beat of each life: what is not newer came before, and its tag need not
    be worked out.
    """

    def __init__(self) -> None:
        self._newest: collections.OrderedDict[BootId, int] = collections.OrderedDict()

    def add(self, boot: BootId, seq: int) -> None:
        """Remembers an authentic beat, and forgets the life heard longest ago where there are too
        many.
        """
        self._newest[boot] = max(seq, self._newest.pop(boot, seq))
        if len(self._newest) > KNOWN_LIVES:
            self._newest.popitem(last=False)

    def has(self, frame: bytes) -> bool:
        """True for a frame that claims to be no newer than one that was authentic."""
        number = peek_number(frame)
        return number is not None and number[1] <= self._newest.get(number[0], -1)


class KnownFrames:
    """The last frames of a link that nothing authenticates: the same bytes say nothing new, for
    each beat has its number.
    """

    def __init__(self) -> None:
        self._marks: collections.deque[int] = collections.deque()
        self._known: set[int] = set()

    def add(self, frame: bytes) -> None:
        """Remembers a frame, and forgets the oldest where there are too many."""
        mark = hash(frame)
        if mark in self._known:
            return
        self._known.add(mark)
        self._marks.append(mark)
        if len(self._marks) > KNOWN_FRAMES:
            self._known.discard(self._marks.popleft())

    def has(self, frame: bytes) -> bool:
        """True for a frame that came before."""
        return hash(frame) in self._known
