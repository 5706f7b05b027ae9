"""How beats become the bytes of a link and back: one codec per wire format, one object per end of a link.

A codec may remember what it needs of earlier frames (names, sequence numbers); it is used by one thread only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Protocol

from opensvc_openha.core.beat import Beat
from opensvc_openha.core.model import SLOT_BLOCKS, LinkSpec, Wire
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.beat_frame import DATAGRAM_BYTES, MAX_FRAME_BYTES, decode_frame, encode_beat, read_claim
from opensvc_openha.formats.disk_slot import HEAD_BYTES
from opensvc_openha.formats.frame_seal import link_binding
from opensvc_openha.formats.name_book import NameBook
from opensvc_openha.links.base import Clock
from opensvc_openha.runtime import clock
from opensvc_openha.runtime.authentication import Authentication

_SLOT_FRAME_BYTES = SLOT_BLOCKS * 512 - HEAD_BYTES
Names = Callable[[], "tuple[str, ...]"]


@dataclass(frozen=True)
class Decoded:
    """One frame understood: the beat, the thread that sent it, and the key that authenticates it.

    ``remark`` is a counter for a frame that is used although something is wrong with it, ``refused`` how many services
    were left out for their names.
    """

    beat: Beat
    pid: int
    key_id: str = ""
    remark: str = ""
    refused: int = 0


class Codec(Protocol):
    """Bytes of one end of one link."""

    def encode(self, beat: Beat, pid: int, with_names: bool) -> bytes:
        """The frame to send; ``with_names`` if the peer may not know the services behind the states."""

    def decode(self, data: bytes) -> Decoded:
        """The beat in a frame; raises FrameError with the counter it is filed under."""

    def keep(self, data: bytes) -> None:
        """Told of each frame whose beat was handed on: only that may be remembered of it."""


class OwnCodec:
    """This package's own small frame."""

    def __init__(self, link: LinkSpec, own_names: Names, authentication: Authentication,
                 now: Clock = clock.monotonic) -> None:
        self._link = link
        self._now = now
        self._own_names = own_names
        self._authentication = authentication
        self._binding = link_binding(link)
        self._known: "tuple[str, ...]" = ()
        self._names = NameBook()
        self._max_bytes = _SLOT_FRAME_BYTES if link.kind.is_disk else DATAGRAM_BYTES
        self._limit_bytes = _SLOT_FRAME_BYTES if link.kind.is_disk else MAX_FRAME_BYTES

    def encode(self, beat: Beat, pid: int, with_names: bool) -> bytes:
        """One frame; on a disk it may fill the slot."""
        return encode_beat(beat, pid=pid, interval_s=beat.interval_s, with_names=with_names, max_bytes=self._max_bytes,
                           limit_bytes=self._limit_bytes, cluster=self._authentication.cluster,
                           seal=self._authentication.seal(self._binding))

    def decode(self, data: bytes) -> Decoded:
        """The beat; names that a page brings are remembered for the next ones. Nothing is learnt from a frame not used."""
        judgement = self._authentication.judge(data, read_claim(data), self._binding, self._now())
        frame = decode_frame(data)
        if frame.node != self._link.node:
            raise FrameError("node", f"expected a frame of {self._link.node}, found one of {frame.node}")
        known = self._own_names()
        if known != self._known:
            self._known = known
            self._names.learn_own(known)
        self._names.learn(frame)
        return Decoded(self._names.resolve(frame), frame.pid, judgement.key_id, judgement.remark)

    def keep(self, data: bytes) -> None:
        """Nothing: beats in this format have numbers, which are the engine's to compare."""


def codec_for(link: LinkSpec, own_names: Names, authentication: Authentication) -> Codec:
    """The codec of one end of a link."""
    if link.wire is Wire.LEGACY:
        from opensvc_openha.runtime.legacy_codec import LegacyCodec  # Here, because it builds on this module.

        return LegacyCodec(link, own_names)
    return OwnCodec(link, own_names, authentication)
