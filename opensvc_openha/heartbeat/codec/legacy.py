"""Convert beats to the original's records and back, for links with ``wire = legacy``.

A record is accepted from the peer's name only, and for services of this node only. Further checks
are in core, which knows that such a beat acknowledges nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from opensvc_openha.core.beat import LEGACY_INCARNATION, Beat
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import ConfigError, FrameError
from opensvc_openha.formats.legacy_frame import (
    LegacyRecord,
    decode_disk_record,
    decode_record,
    encode_disk_record,
    encode_record,
)
from opensvc_openha.heartbeat.codec.base import Count
from opensvc_openha.links.base import Received

_SPOKEN = {ServiceState.UNKNOWN: ServiceState.STOP_FAILED}
"""To a C OpenHA a peer in state UNKNOWN is dead and may be taken over.

A running node that is unsure sends a state that is never taken over and requires an operator.
"""


class LegacyCodec:
    """Convert records of the original on one end of a link."""

    def __init__(self, link: LinkSpec, own_names: Callable[[], tuple[str, ...]]) -> None:
        self._link = link
        self._own_names = own_names

    def encode(self, beat: Beat, pid: int, with_names: bool) -> bytes:
        """Return one record; the original always sends the names."""
        record = LegacyRecord(
            node=beat.node,
            states=tuple((name, _SPOKEN.get(state, state)) for name, state in beat.states.items()),
            clock_s=int(beat.sent_at),
            pid=pid,
            # The original puts gethostid() here and never reads it.
            host_id=zlib.crc32(beat.node.encode("ascii")),
            port=self._link.port,
            # The original never reads it, and it is too short for a host name.
            address=self._link.address[:15],
        )
        try:
            return encode_disk_record(record) if self._link.is_disk else encode_record(record)
        except ValueError as error:
            raise ConfigError(f"link {self._link.link_id}: {error}") from None

    def decode(self, received: Received, count: Count) -> BeatReceived:
        """Return the beat in a record.

        ``seq`` is the sender's clock, since nothing else orders the records.
        """
        is_disk = self._link.is_disk
        record = decode_disk_record(received.data) if is_disk else decode_record(received.data)
        if record.node != self._link.node:
            raise FrameError(
                "node", f"expected a record of {self._link.node}, found one of {record.node}"
            )
        if record.refused:
            count("name", "left out a service", record.refused)
        own = set(self._own_names())
        beat = Beat(
            node=record.node,
            boot=LEGACY_INCARNATION,
            # A disk is read later than it was written: within the same second the network is newer.
            seq=2 * record.clock_s + (0 if is_disk else 1),
            ack=None,
            states={name: state for name, state in record.states if name in own},
            sent_at=float(record.clock_s),
        )
        return BeatReceived(self._link, beat, received.received_at, record.pid)

    def recall(self, received: Received) -> Beat | None:
        """Return None: nothing authenticates a record."""
        return None
