"""Turn received bytes into a beat for the engine: check source, freshness and content.

The order protects the node. A frame of a wrong source is not parsed, one with a known number costs
no check of a tag, and nothing is stored of a frame before the engine has it: otherwise a forged
frame could keep the genuine one out.
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
"""Unauthenticated frames kept to recognize replays: half an hour of beats."""
KNOWN_LIVES = 64
"""Incarnations of the peer whose newest authentic beat on a link is known."""
REPEATS_TOLD_S = 0.1
"""Seconds between repeated frames passed to the engine; the others are only counted."""

Count = Callable[[str, str, int], None]
"""Counts frames under a reason, with the text that the log has for the first."""

_DROPPED = "dropped a frame"


class BeatIntake:
    """Handle the frames of one listener; used by one thread."""

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
        """Pass the beat in a frame to the engine, or count why not."""
        data = received.data
        if not self._origin.admits(received.source, received.received_at):
            self._count("source", _DROPPED, 1)
            return

        # A flood of recorded frames must not cost a tag and a step of the engine each: the engine
        # gets a sample.
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
    """The address from which a network link accepts frames.

    The configured one. Without one, a legacy link keeps to the first address heard until it is
    down, and a link of our own format accepts all.
    """

    def __init__(self, link: LinkSpec) -> None:
        self._link = link
        self._address = link.peer_address
        self._heard_at = -math.inf
        self._is_learnt = not link.peer_address and link.wire is Wire.LEGACY
        self._is_open = link.kind.is_disk or not (link.peer_address or self._is_learnt)

    def admits(self, source: str, received_at: float) -> bool:
        """Return True if a frame from this source (``host:port``) may be parsed."""
        if self._is_open or not source:
            return True
        if self._is_learnt and received_at >= self._heard_at + self._link.timeout_s:
            return True
        return _host_of(source) == self._address

    def note(self, source: str, received_at: float) -> None:
        """Record an accepted frame's source."""
        if not self._is_open:
            self._address, self._heard_at = _host_of(source), received_at


def _host_of(source: str) -> str:
    """Return the address alone, in a canonical form for comparing."""
    host = source.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


class KnownNumbers:
    """The newest authentic beat of each incarnation.

    A beat that is not newer is a repetition, so its tag need not be checked.
    """

    def __init__(self) -> None:
        self._newest: collections.OrderedDict[BootId, int] = collections.OrderedDict()

    def add(self, boot: BootId, seq: int) -> None:
        """Add an authentic beat; drop the incarnation heard longest ago above the limit."""
        self._newest[boot] = max(seq, self._newest.pop(boot, seq))
        if len(self._newest) > KNOWN_LIVES:
            self._newest.popitem(last=False)

    def has(self, frame: bytes) -> bool:
        """Return True for a frame that claims to be no newer than an authentic one."""
        number = peek_number(frame)
        return number is not None and number[1] <= self._newest.get(number[0], -1)


class KnownFrames:
    """The last unauthenticated frames of a link.

    The same bytes are a repetition, since each beat has its number.
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
        """Return True for a frame received before."""
        return hash(frame) in self._known
