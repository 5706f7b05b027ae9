"""Turn received bytes into a beat for the engine: check source, repetition and content.

The order protects the node. A frame of a wrong source is not parsed, one that was used before costs
no check of a tag, its fields are decoded after the tag, and nothing is stored of a frame before the
engine has it: otherwise a forged frame could keep the genuine one out.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable

from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.core.status import BeatTiming
from opensvc_openha.errors import FrameError
from opensvc_openha.heartbeat.beat_meter import BeatMeter
from opensvc_openha.heartbeat.codec.base import Codec, Count
from opensvc_openha.heartbeat.repeat_filter import RepeatFilter
from opensvc_openha.links.base import Received

_DROPPED = "dropped a frame"


class BeatIntake:
    """Handle the frames of one listener; used by one thread."""

    def __init__(
        self, link: LinkSpec, codec: Codec, deliver: Callable[[BeatReceived], bool], count: Count
    ) -> None:
        self._codec = codec
        self._deliver = deliver
        self._count = count
        self._origin = Origin(link)
        self._repeats = RepeatFilter(link)
        self._meter = BeatMeter(link)

    @property
    def timing(self) -> BeatTiming:
        """How regularly beats come in; for any thread."""
        return self._meter.timing

    def take(self, received: Received) -> None:
        """Pass the beat in a frame to the engine, or count why not."""
        if not self._origin.admits(received.source, received.received_at):
            self._count("source", _DROPPED, 1)
            return

        reason = self._repeats.rejection(received)
        if reason:
            self._count(reason, _DROPPED, 1)
            return
        try:
            event = self._codec.decode(received, self._count)
        except FrameError as error:
            self._count(error.reason, _DROPPED, 1)
            return
        if not self._deliver(event):
            self._count("overload", _DROPPED, 1)
            return
        self._origin.record(received.source, received.received_at)
        self._repeats.record(received, event)
        self._meter.record(event.beat, received.received_at)


class Origin:
    """The address from which a network link accepts frames.

    The configured one. Without one, a legacy link keeps to the first address heard until it is
    down, and a link of our own format accepts all.
    """

    def __init__(self, link: LinkSpec) -> None:
        self._link = link
        self._address = link.peer_address
        self._heard_at = -math.inf
        self._keeps_first = not link.peer_address and link.wire is Wire.LEGACY
        self._is_open = link.is_disk or not (link.peer_address or self._keeps_first)

    def admits(self, source: str, received_at: float) -> bool:
        """Return True if a frame from this source (``host:port``) may be parsed."""
        if self._is_open or not source:
            return True
        if self._keeps_first and received_at >= self._heard_at + self._link.timeout_s:
            return True
        return _host_of(source) == self._address

    def record(self, source: str, received_at: float) -> None:
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
