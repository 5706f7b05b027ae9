"""Bytes of one heartbeat: a small frame of our own, big-endian, the same on the network and on a disk.

::

    magic 4 | version 1 | scheme 1 | flags 2 | length 2 | goodbye 1 | boot 4+8 | seq 8 | ack boot 4+8 | ack seq 8
    sent at, ms 8 | sender thread 4 | beat interval, ms 4
    node name 1+n | digest of the service names 8 | service count 2 | one nibble per service, in sorted name order
    [first index 2 | count 2 | (1+n) per name]      page of names, in some beats
    trailer: CRC-32 4                               scheme 0; a later scheme may put a key id and a tag here

1,000 services fit in 1,200 bytes because their names travel only a page at a time; NameBook puts the pages together.
The CRC finds damage, not forgery.
"""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Iterable, Mapping, Optional

from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.nodes_file import check_node_name
from opensvc_openha.formats.services_file import check_service_name

MAGIC = b"\x89EZB"
"""No host name begins with these bytes, so a frame of a C OpenHA is never taken for ours, nor ours for one."""
VERSION = 1
MAX_FRAME_BYTES = 65_000
DATAGRAM_BYTES = 1_200
"""A frame of this size crosses every usual network unfragmented."""
MIN_PAGE_BYTES = 512
"""Room given to a page of names where the states alone fill the frame: names must get through at all."""

_HEAD = struct.Struct(">4sBBHHBIQQIQQQII")
_NAMES = struct.Struct(">8sH")
_PAGE = struct.Struct(">HH")
_TRAILER = struct.Struct(">I")
_SCHEME_CRC = 0
_WANTS_ACK, _HAS_ACK, _HAS_PAGE = 1, 2, 4
_ALL_FLAGS = _WANTS_ACK | _HAS_ACK | _HAS_PAGE
_STATES = {state.value: state for state in ServiceState}
_GOODBYES = {goodbye.value: goodbye for goodbye in Goodbye}


@dataclass(frozen=True)
class Frame:
    """What one frame says. ``states`` are in the order of the sender's sorted service names."""

    node: str
    boot: BootId
    seq: int
    ack: Optional[Ack]
    goodbye: Goodbye
    wants_ack: bool
    sent_at: float
    pid: int
    interval_s: float
    digest: bytes
    states: "tuple[ServiceState, ...]"
    page_first: int = 0
    page_names: "tuple[str, ...]" = ()


@lru_cache(maxsize=16)
def names_digest(names: "tuple[str, ...]") -> bytes:
    """Eight bytes that stand for a sorted list of service names."""
    return blake2b("\0".join(names).encode("utf-8"), digest_size=8).digest()


@lru_cache(maxsize=16)
def _name_pages(names: "tuple[str, ...]", room: int) -> "tuple[tuple[int, bytes], ...]":
    """The names cut into pages of at most ``room`` bytes: index of the first name, and the encoded page."""
    pages = []
    first, encoded, count = 0, b"", 0
    for index, name in enumerate(names):
        check_service_name(name)
        entry = bytes([len(name)]) + name.encode("ascii")
        if count and _PAGE.size + len(encoded) + len(entry) > room:
            pages.append((first, _PAGE.pack(first, count) + encoded))
            first, encoded, count = index, b"", 0
        encoded += entry
        count += 1
    if count:
        pages.append((first, _PAGE.pack(first, count) + encoded))
    return tuple(pages)


def encode_beat(beat: Beat, *, pid: int, interval_s: float, with_names: bool, max_bytes: int = DATAGRAM_BYTES) -> bytes:
    """The frame of ``beat``; raises ValueError for a beat that no frame can hold.

    With ``with_names`` a page of names is added within ``max_bytes``. ``beat.seq`` chooses it, so that successive
    beats go through all pages. States are never left out: where they alone need it, the frame is larger than that.
    """
    names = tuple(sorted(beat.states))
    check_node_name(beat.node)
    node = beat.node.encode("ascii")
    if len(names) > 0xFFFF:
        raise ValueError(f"{len(names)} services are more than a heartbeat can hold")
    nibbles = "".join(f"{beat.states[name].value:x}" for name in names) + "0" * (len(names) % 2)
    body = bytes([len(node)]) + node + _NAMES.pack(names_digest(names), len(names)) + bytes.fromhex(nibbles)
    flags = (_WANTS_ACK if beat.wants_ack else 0) | (_HAS_ACK if beat.ack else 0)
    if with_names and names:
        room = max_bytes - _HEAD.size - len(body) - _TRAILER.size
        pages = _name_pages(names, room if room >= _PAGE.size + 64 else MIN_PAGE_BYTES)
        body += pages[beat.seq % len(pages)][1]
        flags |= _HAS_PAGE
    length = _HEAD.size + len(body) + _TRAILER.size
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a heartbeat of {len(names)} services takes {length} bytes, more than {MAX_FRAME_BYTES}")
    frame = _encode_head(beat, flags, length, pid, interval_s) + body
    return frame + _TRAILER.pack(zlib.crc32(frame))


def _encode_head(beat: Beat, flags: int, length: int, pid: int, interval_s: float) -> bytes:
    ack = beat.ack or Ack(BootId(0, 0), 0)
    try:
        interval_ms = round(interval_s * 1000)
        if interval_ms < 1:
            raise ValueError(f"a beat interval of {interval_s} s is below one millisecond")
        return _HEAD.pack(
            MAGIC,
            VERSION,
            _SCHEME_CRC,
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


def decode_frame(data: bytes) -> Frame:
    """What the frame says; raises FrameError, and nothing else, for any bytes that are not a whole valid frame."""
    length = _check_envelope(data)
    if zlib.crc32(data[: length - _TRAILER.size]) != _TRAILER.unpack_from(data, length - _TRAILER.size)[0]:
        raise FrameError("checksum", "the frame is damaged: its checksum does not match")
    try:
        return _decode_fields(data, length - _TRAILER.size)
    except (ValueError, struct.error, IndexError) as error:
        # The checksum is right, so whoever sent this encodes frames in another way than we do.
        raise FrameError("malformed", f"the frame cannot be understood: {error}") from None


def _check_envelope(data: bytes) -> int:
    """Length of the frame, once it is known to be one of ours, whole, and of a version we read."""
    if not data.strip(b"\0"):
        raise FrameError("blank", "nothing was ever written here")
    if not data.startswith(MAGIC):
        if MAGIC.startswith(data):
            raise FrameError("truncated", f"only {len(data)} bytes of a frame")
        raise FrameError("alien", "not a heartbeat of this program")
    if len(data) < _HEAD.size + _TRAILER.size:
        raise FrameError("truncated", f"only {len(data)} bytes of a frame")
    _, version, scheme, _, length = _HEAD.unpack_from(data)[:5]
    if version != VERSION or scheme != _SCHEME_CRC:
        raise FrameError("version", f"frame version {version} with authentication scheme {scheme} is not known here")
    if length > MAX_FRAME_BYTES or len(data) > length:
        raise FrameError("oversized", f"{len(data)} bytes, where the frame says {length} of at most {MAX_FRAME_BYTES}")
    if len(data) < length:
        raise FrameError("truncated", f"only {len(data)} of {length} bytes of a frame")
    return int(length)


def _decode_fields(data: bytes, end: int) -> Frame:
    """All fields of a frame whose last field ends at ``end``; raises ValueError where they contradict each other."""
    _, _, _, flags, _, goodbye, counter, nonce, seq, *ack, sent_ms, pid, interval_ms = _HEAD.unpack_from(data)
    if flags & ~_ALL_FLAGS:
        raise ValueError(f"unknown flags {flags:#06x}")
    if goodbye not in _GOODBYES:
        raise ValueError(f"unknown goodbye {goodbye}")
    if interval_ms < 1:
        raise ValueError("beat interval of 0")
    data = data[:end]
    node, offset = _take_text(data, _HEAD.size)
    check_node_name(node)
    digest, count = _NAMES.unpack_from(data, offset)
    offset += _NAMES.size
    states = _decode_states(data[offset : offset + (count + 1) // 2], count)
    offset += (count + 1) // 2
    first, names, offset = _decode_page(data, offset, count) if flags & _HAS_PAGE else (0, (), offset)
    if offset != end:
        raise ValueError(f"{end - offset} bytes too many")
    return Frame(
        node=node,
        boot=BootId(counter, nonce),
        seq=seq,
        ack=Ack(BootId(ack[0], ack[1]), ack[2]) if flags & _HAS_ACK else None,
        goodbye=_GOODBYES[goodbye],
        wants_ack=bool(flags & _WANTS_ACK),
        sent_at=sent_ms / 1000,
        pid=pid,
        interval_s=interval_ms / 1000,
        digest=digest,
        states=states,
        page_first=first,
        page_names=names,
    )


def _take_text(data: bytes, offset: int) -> "tuple[str, int]":
    """A text of one length byte and that many ASCII bytes, and where it ends."""
    end = offset + 1 + data[offset]
    if end > len(data):
        raise ValueError("a name runs over the end")
    return data[offset + 1 : end].decode("ascii"), end


def _decode_states(data: bytes, count: int) -> "tuple[ServiceState, ...]":
    digits = data.hex()
    if len(digits) != count + count % 2 or digits[count:].strip("0"):
        raise ValueError(f"the states of {count} services do not fit")
    values = [int(digit, 16) for digit in digits[:count]]
    if any(value not in _STATES for value in values):
        raise ValueError(f"unknown service state {max(values)}")
    return tuple(_STATES[value] for value in values)


def _decode_page(data: bytes, offset: int, services: int) -> "tuple[int, tuple[str, ...], int]":
    """A page of names: index of the first, the names, and where the page ends."""
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


@dataclass
class _Learnt:
    """Names behind one digest, as far as pages of it have come in."""

    count: int
    names: "dict[int, str]" = field(default_factory=dict)
    is_verified: bool = False


class NameBook:
    """Names behind the digests that frames carry: our own, and those learnt from the peer's pages.

    A set of names counts as complete only once it gives the digest again. What is learnt is bounded, so that frames
    full of invented names cannot fill the memory.
    """

    MAX_DIGESTS = 4
    MAX_NAMES = 20_000

    def __init__(self) -> None:
        self._own: "dict[bytes, tuple[str, ...]]" = {names_digest(()): ()}
        self._learnt: "OrderedDict[bytes, _Learnt]" = OrderedDict()

    def learn_own(self, names: Iterable[str]) -> None:
        """Takes the services of this node: a peer with the same ones never has to send a name."""
        own = tuple(sorted(set(names)))
        self._own = {names_digest(()): (), names_digest(own): own}

    def learn(self, frame: Frame) -> None:
        """Takes the page of names of a frame, if it has one; a page with anything that is not a name is ignored."""
        if not frame.page_names or frame.digest in self._own or len(frame.states) > self.MAX_NAMES:
            return
        try:
            for name in frame.page_names:
                check_service_name(name)
        except ValueError:
            return
        learnt = self._learnt.pop(frame.digest, None)
        if learnt is None or learnt.count != len(frame.states):
            learnt = _Learnt(len(frame.states))
        if not learnt.is_verified:
            learnt.names.update(enumerate(frame.page_names, frame.page_first))
            if len(learnt.names) == learnt.count:
                names = tuple(name for _, name in sorted(learnt.names.items()))
                if names != tuple(sorted(set(names))) or names_digest(names) != frame.digest:
                    return
                learnt.is_verified = True
        self._learnt[frame.digest] = learnt
        self._forget_the_oldest()

    def _forget_the_oldest(self) -> None:
        while len(self._learnt) > self.MAX_DIGESTS or sum(len(item.names) for item in self._learnt.values()) > self.MAX_NAMES:
            self._learnt.popitem(last=False)

    def resolve(self, frame: Frame) -> Beat:
        """The frame as a beat; while names are missing it has the states of the known ones and is not complete."""
        own = self._own.get(frame.digest)
        learnt = self._learnt.get(frame.digest)
        names: "Mapping[int, str]" = {}
        is_complete = False
        if own is not None and len(own) == len(frame.states):
            names, is_complete = dict(enumerate(own)), True
        elif learnt is not None and learnt.count == len(frame.states):
            self._learnt.move_to_end(frame.digest)
            names, is_complete = learnt.names, learnt.is_verified
        return Beat(
            node=frame.node,
            boot=frame.boot,
            seq=frame.seq,
            ack=frame.ack,
            states={names[index]: state for index, state in enumerate(frame.states) if index in names},
            goodbye=frame.goodbye,
            wants_ack=frame.wants_ack,
            is_complete=is_complete,
            sent_at=frame.sent_at,
        )
