"""Interface of the codecs: the bytes of one end of one link, and the beat in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from opensvc_openha.core.beat import Beat

Names = Callable[[], "tuple[str, ...]"]


@dataclass(frozen=True)
class Decoded:
    """One decoded frame: the beat, the thread that sent it, and the key that authenticates it.

    ``remark`` is a counter for a frame that is used despite an error, ``refused`` how many services
    were left out for their names.
    """

    beat: Beat
    pid: int
    key_id: str = ""
    remark: str = ""
    refused: int = 0


class Codec(Protocol):
    """Encoder and decoder of one end of one link."""

    def encode(self, beat: Beat, pid: int, with_names: bool) -> bytes:
        """Return the frame to send.

        ``with_names`` if the peer may not know the services behind the states.
        """

    def decode(self, data: bytes) -> Decoded:
        """Return the beat in a frame; raise FrameError with the counter it is filed under."""

    def keep(self, data: bytes) -> None:
        """Remember a frame whose beat was passed on: no other frame may be remembered."""
