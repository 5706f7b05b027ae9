"""Interface of the codecs: the bytes of one end of one link, and the beat in them."""

from __future__ import annotations

from collections.abc import Callable

from opensvc_openha.core.beat import Beat
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.hints import Protocol
from opensvc_openha.links.base import Received

Names = Callable[[], "tuple[str, ...]"]
Count = Callable[[str, str, int], None]
"""Counts frames under a reason, with the text that the log has for the first."""


class Codec(Protocol):
    """Encoder and decoder of one end of one link."""

    def encode(self, beat: Beat, pid: int, with_names: bool) -> bytes:
        """Return the frame to send.

        ``with_names`` if the peer may not know the services behind the states.
        """

    def decode(self, received: Received, count: Count) -> BeatReceived:
        """Return the beat in a frame; raise FrameError with the counter it is filed under.

        ``count`` is called for a frame that is used despite an error. From here to the decision a
        beat has this one form.
        """

    def recall(self, received: Received) -> Beat | None:
        """Return the authentic beat in a frame of any age; None for all others.

        Nothing is learned from it, and nothing counted.
        """
