"""Encode and decode heartbeats: a compact frame of our own, big-endian, for network and disk.

::

    magic 4 | version 1 | scheme 1 | flags 2 | length 2 | goodbye 1
    boot 4+8 | seq 8 | ack boot 4+8 | ack seq 8
    sent at, ms 8 | sender thread 4 | beat interval, ms 4
    [cluster mark 8] | node name 1+n | digest of the service names 8 | service count 2
    one nibble per service, in sorted name order; or, deflated: length 2 | bytes
    [first index 2 | count 2 | (1+n) per name]      page of names, in some beats
    [count 1 | mark 8 each, ascending]              links that the sender cannot send on: only in
                                                    beats beside the usual ones
    [length 2 | entries]                            facts, see facts_block: only for a peer that
                                                    has sent some, or in beats beside the usual ones
    [key id 4 | newest key id 4 | tag 32]           scheme 1: authenticated, see frame_seal
    CRC-32 4

1,000 services fit in 1,200 bytes because their names travel only a page at a time; a NameBook puts
the pages together. The CRC finds damage, not forgery. Nothing in a frame is true before its tag was
found right, if tags are asked for. A frame with a flag that is not known is refused: a beat that a
peer of an older version must understand has none of the newer ones.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from hashlib import blake2b

from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.model import MARK_BYTES
from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.facts_block import (
    RawFacts,
    least_facts,
    pack_facts,
    unpack_facts,
)
from opensvc_openha.formats.frame_seal import (
    CLUSTER_BYTES,
    ID_BYTES,
    TAG_BYTES,
    Key,
    Seal,
    cluster_mark,
    is_tag_right,
    tag_of,
)
from opensvc_openha.formats.nodes_file import check_node_name
from opensvc_openha.formats.services_file import check_service_name
from opensvc_openha.formats.state_list import (
    pack_states,
    plain_bytes,
    unpack_deflated,
    unpack_plain,
)
from opensvc_openha.records import dataclass

MAGIC = b"\x89EZB"
"""No host name begins with these bytes, so frames of a C OpenHA and of this program are never
confused.
"""
VERSION = 1
MAX_FRAME_BYTES = 65_000
DATAGRAM_BYTES = 1_200
"""A frame of this size passes every usual network unfragmented."""
MIN_PAGE_BYTES = 512
"""Room for a page of names if the states alone fill the frame.

Names must get through eventually.
"""

_HEAD = struct.Struct(">4sBBHHBIQQIQQQII")
_NAMES = struct.Struct(">8sH")
_PAGE = struct.Struct(">HH")
_CRC = struct.Struct(">I")
_SEAL = struct.Struct(f">{ID_BYTES}s{ID_BYTES}s{TAG_BYTES}s")
_DEFLATED_LENGTH = struct.Struct(">H")
_FACTS_LENGTH = struct.Struct(">H")
_SCHEME_CRC, _SCHEME_HMAC = 0, 1
_TRAILER_BYTES = {_SCHEME_CRC: _CRC.size, _SCHEME_HMAC: _SEAL.size + _CRC.size}
_WANTS_ACK, _HAS_ACK, _HAS_PAGE, _ACK_NOT_TAKEN, _HAS_CLUSTER, _IS_DEFLATED, HAS_MUTE, HAS_FACTS = (
    1,
    2,
    4,
    8,
    16,
    32,
    64,
    128,
)
_ALL_FLAGS = (
    _WANTS_ACK
    | _HAS_ACK
    | _HAS_PAGE
    | _ACK_NOT_TAKEN
    | _HAS_CLUSTER
    | _IS_DEFLATED
    | HAS_MUTE
    | HAS_FACTS
)
MUTE_MAX = 64
"""Most mute links named in one beat: for others the peer waits for their timeouts."""
_ROOM_MIN, _ROOM_STEP = _PAGE.size + 64, 256
_GOODBYES = {goodbye.value: goodbye for goodbye in Goodbye}


@dataclass(frozen=True)
class Frame:
    """Content of one frame. ``states`` are in the order of the sender's sorted service names."""

    node: str
    boot: BootId
    seq: int
    ack: Ack | None
    goodbye: Goodbye
    wants_ack: bool
    sent_at: float
    pid: int
    interval_s: float
    digest: bytes
    states: tuple[ServiceState, ...]
    page_first: int = 0
    page_names: tuple[str, ...] = ()
    mute: tuple[bytes, ...] = ()
    facts: RawFacts | None = None


@dataclass(frozen=True)
class WholeFrame:
    """A whole, undamaged frame, and what it claims before its authenticity is checked.

    ``key_id`` is empty without a tag; the fields end at ``fields_end``.
    """

    data: bytes
    fields_end: int
    node: str
    boot: BootId
    cluster: bytes
    key_id: str
    newest_id: str

    def is_authentic(self, key: Key, binding: bytes) -> bool:
        """Return True if the tag of a scheme 1 frame matches the key and the link's binding."""
        tag_at = len(self.data) - _CRC.size - TAG_BYTES
        return is_tag_right(
            key, binding, self.data[:tag_at], self.data[tag_at : tag_at + TAG_BYTES]
        )

    def decode(self) -> Frame:
        """Return all fields; raise FrameError if they contradict each other."""
        try:
            return _decode_fields(self.data[: self.fields_end])
        except (ValueError, struct.error, IndexError) as error:
            # The checksum is correct, so the sender encodes frames differently.
            raise FrameError("malformed", f"the frame cannot be understood: {error}") from None


@lru_cache(maxsize=16)
def names_digest(names: tuple[str, ...]) -> bytes:
    """Return eight bytes that identify a sorted list of service names."""
    return blake2b("\0".join(names).encode("utf-8"), digest_size=8).digest()


@lru_cache(maxsize=16)
def _name_pages(names: tuple[str, ...], room: int) -> tuple[tuple[int, bytes], ...]:
    """Cut the names into pages of at most ``room`` bytes.

    Returns the index of each page's first name, and the encoded page.
    """
    pages = []
    first, encoded, count = 0, b"", 0
    for index, name in enumerate(names):
        check_service_name(name)
        entry = bytes([len(name)]) + name.encode("ascii")
        # Any room that is given holds the longest name.
        if _PAGE.size + len(encoded) + len(entry) > room:
            pages.append((first, _PAGE.pack(first, count) + encoded))
            first, encoded, count = index, b"", 0
        encoded += entry
        count += 1
    if count:
        pages.append((first, _PAGE.pack(first, count) + encoded))
    return tuple(pages)


def encode_beat(
    beat: Beat,
    *,
    pid: int,
    interval_s: float,
    with_names: bool,
    max_bytes: int = DATAGRAM_BYTES,
    limit_bytes: int = MAX_FRAME_BYTES,
    cluster: str = "",
    seal: Seal | None = None,
) -> bytes:
    """Return the frame of ``beat``; raise ValueError if it does not fit into a frame.

    With ``with_names`` a page of names is added within ``max_bytes``. ``beat.seq`` chooses it, so
    that successive beats go through all pages. States are never left out: if they alone need it,
    the frame is larger than that, with a small page of names as long as ``limit_bytes`` allows one.
    """
    fields = encode_fields(
        beat,
        pid=pid,
        interval_s=interval_s,
        with_names=with_names,
        max_bytes=max_bytes,
        limit_bytes=limit_bytes,
        cluster=cluster,
        is_sealed=seal is not None,
    )
    return seal_fields(fields, seal)


def encode_fields(
    beat: Beat,
    *,
    pid: int,
    interval_s: float,
    with_names: bool,
    max_bytes: int,
    limit_bytes: int,
    cluster: str,
    is_sealed: bool,
) -> bytes:
    """Return a frame up to its trailer, which depends on no link; as ``encode_beat``."""
    names = tuple(sorted(beat.states))
    check_node_name(beat.node)
    if len(names) > 0xFFFF:
        raise ValueError(f"{len(names)} services are more than a heartbeat can hold")
    scheme = _SCHEME_HMAC if is_sealed else _SCHEME_CRC
    mark = cluster_mark(cluster)
    packed, is_deflated = pack_states([beat.states[name] for name in names])
    body = (
        mark
        + bytes([len(beat.node)])
        + beat.node.encode("ascii")
        + _NAMES.pack(names_digest(names), len(names))
    )
    body += (_DEFLATED_LENGTH.pack(len(packed)) if is_deflated else b"") + packed
    flags = (_HAS_CLUSTER if mark else 0) | (_IS_DEFLATED if is_deflated else 0)
    fixed = _HEAD.size + len(body) + _TRAILER_BYTES[scheme]
    mute = _pack_mute(beat.mute, limit_bytes - fixed)
    fixed += len(mute)
    facts = _pack_facts(beat, names, limit_bytes - fixed)
    fixed += len(facts)
    # Deflated states vary slightly in length, and pages must be cut alike from beat to beat.
    step = _ROOM_STEP if is_deflated else 1
    room = _room(max_bytes - fixed, limit_bytes - fixed, step) if with_names else 0
    pages = _name_pages(names, room) if room else ()
    page = pages[beat.seq % len(pages)][1] if pages else b""
    body += page + mute + facts
    flags |= (_HAS_PAGE if page else 0) | (HAS_MUTE if mute else 0) | (HAS_FACTS if facts else 0)
    length = fixed + len(page)
    if length > MAX_FRAME_BYTES:
        raise ValueError(
            f"a heartbeat of {len(names)} services takes {length} bytes, more than"
            f" {MAX_FRAME_BYTES}"
        )
    return _encode_head(beat, scheme, flags, length, pid, interval_s) + body


def seal_fields(frame: bytes, seal: Seal | None) -> bytes:
    """Return the whole frame; the seal, which binds it to one link, is as its fields declare."""
    if seal is not None:
        frame += bytes.fromhex(seal.key.key_id) + bytes.fromhex(seal.newest_id)
        frame += tag_of(seal.key, seal.binding, frame)
    return frame + _CRC.pack(zlib.crc32(frame))


def _pack_mute(marks: frozenset[bytes], room: int) -> bytes:
    """Encode as many marks as fit: states come first."""
    count = max(0, min(len(marks), MUTE_MAX, (room - 1) // MARK_BYTES))
    return bytes([count]) + b"".join(sorted(marks)[:count]) if count else b""


def _pack_facts(beat: Beat, names: tuple[str, ...], room: int) -> bytes:
    """Encode the facts if they fit: states come first.

    If not all of them do, those without which a promise could not be withdrawn.
    """
    if beat.facts is None:
        return b""
    for facts in (beat.facts, least_facts(beat.facts)):
        packed = pack_facts(facts, names)
        if _FACTS_LENGTH.size + len(packed) <= room:
            return _FACTS_LENGTH.pack(len(packed)) + packed
    return b""


def _room(wanted: int, limit: int, step: int) -> int:
    """Return the bytes that a page of names may take, 0 for none."""
    room = wanted if wanted >= _ROOM_MIN else min(MIN_PAGE_BYTES, limit)
    room -= room % step
    return room if room >= _ROOM_MIN else 0


def _encode_head(
    beat: Beat, scheme: int, flags: int, length: int, pid: int, interval_s: float
) -> bytes:
    ack = beat.ack or Ack(BootId(0, 0), 0)
    flags |= (
        (_WANTS_ACK if beat.wants_ack else 0)
        | (_HAS_ACK if beat.ack else 0)
        | (0 if ack.is_taken else _ACK_NOT_TAKEN)
    )
    try:
        interval_ms = round(interval_s * 1000)
        if interval_ms < 1:
            raise ValueError(f"a beat interval of {interval_s} s is below one millisecond")
        return _HEAD.pack(
            MAGIC,
            VERSION,
            scheme,
            flags,
            length,
            beat.goodbye.value,
            beat.boot.counter,
            beat.boot.nonce,
            beat.seq,
            ack.boot.counter,
            ack.boot.nonce,
            ack.seq,
            round(beat.sent_at * 1000),
            pid,
            interval_ms,
        )
    except (struct.error, OverflowError) as error:
        raise ValueError(f"a number of this beat does not fit its field: {error}") from None


def open_frame(data: bytes, is_checked: bool = False) -> WholeFrame:
    """Return a frame with its claims; raise only FrameError for bytes that are no whole frame.

    ``is_checked`` if a checksum over all of these bytes was found right before.
    """
    end = _check_envelope(data, is_checked)
    _, _, scheme, flags, _, _, counter, nonce = _HEAD.unpack_from(data)[:8]
    try:
        cluster, offset = _take_cluster(data, flags)
        node, _ = _take_text(data[:end], offset)
        check_node_name(node)
    except (ValueError, IndexError) as error:
        raise FrameError("malformed", f"the frame cannot be understood: {error}") from None
    key_id, newest_id = _SEAL.unpack_from(data, end)[:2] if scheme == _SCHEME_HMAC else (b"", b"")
    boot = BootId(counter, nonce)
    return WholeFrame(data, end, node, boot, cluster, key_id.hex(), newest_id.hex())


def peek_number(data: bytes) -> tuple[BootId, int] | None:
    """Return the claimed incarnation and sequence number before any check; None for no frame."""
    if len(data) < _HEAD.size or not data.startswith(MAGIC):
        return None
    counter, nonce, seq = _HEAD.unpack_from(data)[6:9]
    return BootId(counter, nonce), seq


def carries_facts(frame: bytes) -> bool:
    """Return True if a frame of this package's own format has facts of its sender."""
    return bool(_HEAD.unpack_from(frame)[3] & HAS_FACTS)


def _check_envelope(data: bytes, is_checked: bool) -> int:
    """Check a frame's envelope; return where its fields end.

    The frame is then known to be ours, whole, undamaged and of a version that we read. A frame too
    short for the trailer of its scheme has no fields: they end before they begin.
    """
    if not data.strip(b"\0"):
        raise FrameError("blank", "nothing was ever written here")
    if not data.startswith(MAGIC):
        if MAGIC.startswith(data):
            raise FrameError("truncated", f"only {len(data)} bytes of a frame")
        raise FrameError("alien", "not a heartbeat of this program")
    if len(data) < _HEAD.size + _CRC.size:
        raise FrameError("truncated", f"only {len(data)} bytes of a frame")
    _, version, scheme, _, length = _HEAD.unpack_from(data)[:5]
    if version != VERSION or scheme not in _TRAILER_BYTES:
        raise FrameError(
            "version",
            f"frame version {version} with authentication scheme {scheme} is not known here",
        )
    if length > MAX_FRAME_BYTES or len(data) > length:
        raise FrameError(
            "oversized",
            f"{len(data)} bytes, where the frame declares {length} of at most {MAX_FRAME_BYTES}",
        )
    if len(data) < length:
        raise FrameError("truncated", f"only {len(data)} of {length} bytes of a frame")
    crc = _CRC.unpack_from(data, length - _CRC.size)[0]
    if not is_checked and zlib.crc32(data[: length - _CRC.size]) != crc:
        raise FrameError("checksum", "the frame is damaged: its checksum does not match")
    return int(length) - _TRAILER_BYTES[scheme]


@lru_cache(maxsize=4)
def _decode_fields(data: bytes) -> Frame:
    """Decode all fields of a frame without its trailer.

    Raises ValueError if they contradict each other. On networks a beat comes in with the same
    fields on each link.
    """
    end = len(data)
    _, _, _, flags, _, goodbye, counter, nonce, seq, *ack, sent_ms, pid, interval_ms = (
        _HEAD.unpack_from(data)
    )
    if flags & ~_ALL_FLAGS:
        raise ValueError(f"unknown flags {flags:#06x}")
    if goodbye not in _GOODBYES:
        raise ValueError(f"unknown goodbye {goodbye}")
    if interval_ms < 1:
        raise ValueError("beat interval of 0")
    _, offset = _take_cluster(data, flags)
    node, offset = _take_text(data, offset)
    check_node_name(node)
    digest, count = _NAMES.unpack_from(data, offset)
    states, offset = _take_states(data, offset + _NAMES.size, count, bool(flags & _IS_DEFLATED))
    first, names, offset = (
        _decode_page(data, offset, count) if flags & _HAS_PAGE else (0, (), offset)
    )
    mute, offset = _take_mute(data, offset) if flags & HAS_MUTE else ((), offset)
    facts, offset = _take_facts(data, offset, count) if flags & HAS_FACTS else (None, offset)
    if offset != end:
        raise ValueError(f"{end - offset} bytes too many")
    return Frame(
        node=node,
        boot=BootId(counter, nonce),
        seq=seq,
        ack=(
            Ack(BootId(ack[0], ack[1]), ack[2], not flags & _ACK_NOT_TAKEN)
            if flags & _HAS_ACK
            else None
        ),
        goodbye=_GOODBYES[goodbye],
        wants_ack=bool(flags & _WANTS_ACK),
        sent_at=sent_ms / 1000,
        pid=pid,
        interval_s=interval_ms / 1000,
        digest=digest,
        states=states,
        page_first=first,
        page_names=names,
        mute=mute,
        facts=facts,
    )


def _take_cluster(data: bytes, flags: int) -> tuple[bytes, int]:
    """Return the cluster's mark, empty if there is none, and its end; the node name follows."""
    end = _HEAD.size + (CLUSTER_BYTES if flags & _HAS_CLUSTER else 0)
    return data[_HEAD.size : end], end


def _take_text(data: bytes, offset: int) -> tuple[str, int]:
    """Return a text of one length byte and that many ASCII bytes, and its end."""
    end = offset + 1 + data[offset]
    if end > len(data):
        raise ValueError("a name runs over the end")
    return data[offset + 1 : end].decode("ascii"), end


def _take_states(
    data: bytes, offset: int, count: int, is_deflated: bool
) -> tuple[tuple[ServiceState, ...], int]:
    """Return the states of ``count`` services, and their end."""
    if not is_deflated:
        end = offset + plain_bytes(count)
        return unpack_plain(data[offset:end], count), end
    (length,) = _DEFLATED_LENGTH.unpack_from(data, offset)
    offset += _DEFLATED_LENGTH.size
    if offset + length > len(data):
        raise ValueError("the states run over the end")
    return unpack_deflated(data[offset : offset + length], count), offset + length


def _decode_page(data: bytes, offset: int, services: int) -> tuple[int, tuple[str, ...], int]:
    """Return a page of names: index of the first, the names, and the end of the page."""
    first, count = _PAGE.unpack_from(data, offset)
    if not count or first + count > services:
        raise ValueError(f"a page of names {first}-{first + count} of {services}")
    offset += _PAGE.size
    names = []
    for _ in range(count):
        name, offset = _take_text(data, offset)
        check_service_name(name)
        names.append(name)
    return first, tuple(names), offset


def _take_mute(data: bytes, offset: int) -> tuple[tuple[bytes, ...], int]:
    """Return the marks of mute links, and their end."""
    count = data[offset]
    end = offset + 1 + count * MARK_BYTES
    if not 0 < count <= MUTE_MAX or end > len(data):
        raise ValueError(f"{count} mute links")
    marks = [data[at : at + MARK_BYTES] for at in range(offset + 1, end, MARK_BYTES)]
    if any(later <= earlier for earlier, later in zip(marks, marks[1:])):
        raise ValueError("mute links out of order")
    return tuple(marks), end


def _take_facts(data: bytes, offset: int, services: int) -> tuple[RawFacts, int]:
    """Return the facts, and their end."""
    (length,) = _FACTS_LENGTH.unpack_from(data, offset)
    offset += _FACTS_LENGTH.size
    end = offset + length
    if end > len(data):
        raise ValueError("the facts run over the end")
    return unpack_facts(data[offset:end], services), end
