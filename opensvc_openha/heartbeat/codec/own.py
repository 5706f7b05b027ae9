"""Convert beats to this package's own small frames and back.

A codec may remember what it needs of earlier frames (names, sequence numbers); it is used by one
thread only.
"""

from __future__ import annotations

from opensvc_openha.core.beat import Beat
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.model import SLOT_BLOCKS, LinkSpec
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.beat_frame import (
    DATAGRAM_BYTES,
    MAX_FRAME_BYTES,
    encode_fields,
    open_frame,
    seal_fields,
)
from opensvc_openha.formats.disk_slot import HEAD_BYTES
from opensvc_openha.formats.frame_seal import link_binding
from opensvc_openha.formats.name_book import NameBook
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.heartbeat.codec.base import Count, Names
from opensvc_openha.links.base import Clock, Received
from opensvc_openha.system import clock

_SLOT_FRAME_BYTES = SLOT_BLOCKS * 512 - HEAD_BYTES


class NewestFields:
    """The fields of the beat that was encoded last; for one thread.

    The links on networks share it: their frames of one beat differ in the tag alone, which covers
    the link.
    """

    def __init__(self) -> None:
        self._of: tuple[Beat, object] | None = None
        self._fields = b""

    def encode(
        self,
        beat: Beat,
        pid: int,
        with_names: bool,
        sizes: tuple[int, int],
        cluster: str,
        is_sealed: bool,
    ) -> bytes:
        """Return the fields; ``sizes`` are the usual and the largest frame of the link."""
        rest = (pid, with_names, sizes, cluster, is_sealed)
        if self._of is None or self._of[0] is not beat or self._of[1] != rest:
            self._fields = encode_fields(
                beat,
                pid=pid,
                interval_s=beat.interval_s,
                with_names=with_names,
                max_bytes=sizes[0],
                limit_bytes=sizes[1],
                cluster=cluster,
                is_sealed=is_sealed,
            )
            self._of = beat, rest
        return self._fields


class OwnCodec:
    """Convert frames of this package's own format."""

    def __init__(
        self,
        link: LinkSpec,
        own_names: Names,
        authentication: Authentication,
        now: Clock = clock.monotonic,
        newest: NewestFields | None = None,
    ) -> None:
        """Share ``newest`` with the links that the same thread serves."""
        self._link = link
        self._now = now
        self._own_names = own_names
        self._authentication = authentication
        self._binding = link_binding(link)
        self._known: tuple[str, ...] = ()
        self._names = NameBook()
        self._newest = newest or NewestFields()
        self._sizes = (
            (_SLOT_FRAME_BYTES, _SLOT_FRAME_BYTES)
            if link.is_disk
            else (DATAGRAM_BYTES, MAX_FRAME_BYTES)
        )

    def encode(self, beat: Beat, pid: int, with_names: bool) -> bytes:
        """Return one frame; on a disk it may fill the slot."""
        cluster, seal = self._authentication.cluster, self._authentication.seal(self._binding)
        fields = self._newest.encode(beat, pid, with_names, self._sizes, cluster, seal is not None)
        return seal_fields(fields, seal)

    def decode(self, received: Received, count: Count) -> BeatReceived:
        """Return the beat; names that a page brings are remembered for the next ones.

        A frame that is refused changes nothing, and its fields are not decoded.
        """
        whole = open_frame(received.data, received.is_checked)
        judgement = self._authentication.judge(whole, self._binding, self._now())
        frame = whole.decode()
        if frame.node != self._link.node:
            raise FrameError(
                "node", f"expected a frame of {self._link.node}, found one of {frame.node}"
            )
        known = self._own_names()
        if known != self._known:
            self._known = known
            self._names.learn_own(known)
        self._names.learn(frame)
        if judgement.remark:
            count(judgement.remark, "accepted a frame that nothing authenticates", 1)
        beat = self._names.resolve(frame)
        return BeatReceived(
            self._link,
            beat,
            received.received_at,
            frame.pid,
            judgement.key_id,
            received.read_at,
        )

    def recall(self, received: Received) -> Beat | None:
        """Return the authentic beat in a frame of any age, with the names that are known."""
        try:
            whole = open_frame(received.data, received.is_checked)
            if not self._authentication.is_authentic(whole, self._binding):
                return None
            frame = whole.decode()
        except FrameError:
            return None
        return self._names.resolve(frame) if frame.node == self._link.node else None
