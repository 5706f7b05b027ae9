"""Encode and decode the original's heartbeat: 9,384 bytes, little-endian, on network and disk.

::

    node name 128 | up 4 | 0 4 | port 5 | address 15 | 128 names of 64 | 128 states of 4 | 128 zeros
    of 4
    host id 4 | clock, s 4 | sender process 4                       on a disk: padded to 19 blocks

It holds no sequence, no acknowledgement, no checksum and nothing that proves who sent it, so
whatever comes in is checked field by field: a record that a healthy original does not write is
refused as a whole. Only a service whose name cannot be one is left out by itself: the original also
announces a line of its services file that was commented out, and a peer that is heard must not look
dead for that.
"""

from __future__ import annotations

import struct

from opensvc_openha.core.model import LEGACY_SERVICES_MAX, LEGACY_SLOT_BLOCKS, SERVICE_NAME_MAX
from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.disk_slot import BLOCK_BYTES
from opensvc_openha.formats.nodes_file import check_node_name
from opensvc_openha.formats.services_file import check_service_name
from opensvc_openha.records import dataclass

RECORD_BYTES = 9_384
DISK_BYTES = LEGACY_SLOT_BLOCKS * BLOCK_BYTES
"""Bytes that the original writes and reads on a disk.

Behind the record is leftover memory of the sender.
"""

_NAME_BYTES = SERVICE_NAME_MAX + 1
_HEAD = struct.Struct("<128sii5s15s")
_NAMES = struct.Struct(f"<{LEGACY_SERVICES_MAX * _NAME_BYTES}s")
_STATES = struct.Struct(f"<{LEGACY_SERVICES_MAX}i")
_TAIL = struct.Struct("<IIi")
_STATES_AT = _HEAD.size + _NAMES.size
_TAIL_AT = RECORD_BYTES - _TAIL.size
_CLEARED_SLOTS = 16
"""The original leaves this many of the unused states at 0 and the rest at UNKNOWN."""

assert _STATES_AT + 2 * _STATES.size == _TAIL_AT and DISK_BYTES >= RECORD_BYTES


@dataclass(frozen=True)
class LegacyRecord:
    """Content of one record.

    ``states`` keeps the sender's order; ``port`` and ``address`` are 0 and empty on a disk.
    ``refused`` counts services that were skipped for their name: not a service name, or a
    duplicate.
    """

    node: str
    states: tuple[tuple[str, ServiceState], ...]
    clock_s: int
    pid: int = 0
    host_id: int = 0
    port: int = 0
    address: str = ""
    refused: int = 0


def encode_record(record: LegacyRecord) -> bytes:
    """Return the record as in a datagram; raise ValueError if it does not fit."""
    if len(record.states) > LEGACY_SERVICES_MAX:
        raise ValueError(
            f"{len(record.states)} services are more than the original's heartbeat holds"
            f" ({LEGACY_SERVICES_MAX}); a link with wire = legacy cannot carry them"
        )
    check_node_name(record.node)
    names = b""
    for name, _ in record.states:
        check_service_name(name)
        names += name.encode("ascii").ljust(_NAME_BYTES, b"\0")
    unused = [
        0 if slot < _CLEARED_SLOTS else ServiceState.UNKNOWN.digit
        for slot in range(LEGACY_SERVICES_MAX)
    ]
    states = [state.digit for _, state in record.states]
    # On a disk, where the record has no port, the original reports "up" only if it has a service.
    is_up = bool(record.port or record.states)
    port = str(record.port) if record.port else ""
    address = record.address.encode("ascii")
    if len(address) > 15 or record.port > 65_535:
        raise ValueError(
            f"the original's heartbeat holds an IPv4 address only; found {record.address} port"
            f" {record.port}"
        )
    try:
        head = _HEAD.pack(record.node.encode("ascii"), is_up, 0, port.encode("ascii"), address)
        tail = _TAIL.pack(record.host_id, record.clock_s, record.pid)
    except struct.error as error:
        raise ValueError(f"a number of this heartbeat does not fit its field: {error}") from None
    return (
        head
        + _NAMES.pack(names)
        + _STATES.pack(*states, *unused[len(states) :])
        + bytes(_STATES.size)
        + tail
    )


def encode_disk_record(record: LegacyRecord) -> bytes:
    """Return the record as on a disk, in whole blocks."""
    return encode_record(record).ljust(DISK_BYTES, b"\0")


def decode_record(data: bytes) -> LegacyRecord:
    """Decode a datagram; raise only FrameError for any bytes that the original does not send."""
    if len(data) != RECORD_BYTES:
        what = "truncated" if len(data) < RECORD_BYTES else "oversized"
        raise FrameError(
            what, f"{len(data)} bytes, where the original's heartbeat has {RECORD_BYTES}"
        )
    if not data.strip(b"\0"):
        raise FrameError("blank", "nothing was ever written here")
    try:
        return _decode_fields(data)
    except ValueError as error:
        raise FrameError("malformed", f"not a heartbeat of a C OpenHA: {error}") from None


def decode_disk_record(data: bytes) -> LegacyRecord:
    """Decode the record on a disk; raise only FrameError."""
    if len(data) != DISK_BYTES:
        what = "truncated" if len(data) < DISK_BYTES else "oversized"
        raise FrameError(what, f"{len(data)} bytes, where the original writes {DISK_BYTES}")
    return decode_record(data[:RECORD_BYTES])


def _decode_fields(data: bytes) -> LegacyRecord:
    node_field, up, lock, port, address = _HEAD.unpack_from(data)
    node = _text(node_field)
    check_node_name(node)
    if up not in (0, 1) or lock != 0:
        raise ValueError(f"flags {up} and {lock}")
    host_id, clock_s, pid = _TAIL.unpack_from(data, _TAIL_AT)
    announced = _decode_services(data)
    names = [name for name, _ in announced]
    states = tuple(
        (name, state)
        for name, state in announced
        if _is_service_name(name) and names.count(name) == 1
    )
    return LegacyRecord(
        node=node,
        states=states,
        clock_s=clock_s,
        pid=pid,
        host_id=host_id,
        port=_decode_port(port.rstrip(b"\0")),
        # Fifteen characters fill this field completely: the original has no room for their NUL.
        address=address.rstrip(b"\0").decode("ascii"),
        refused=len(announced) - len(states),
    )


def _decode_port(digits: bytes) -> int:
    if digits and not (digits.isdigit() and 0 < int(digits) < 65_536):
        raise ValueError(f"port {digits!r}")
    return int(digits or b"0")


def _decode_services(data: bytes) -> list[tuple[str, ServiceState]]:
    """Return the services up to the first empty name, which ends the list in the original too."""
    digits = _STATES.unpack_from(data, _STATES_AT)
    announced = []
    for slot, digit in enumerate(digits):
        begin = _HEAD.size + slot * _NAME_BYTES
        name = _text(data[begin : begin + _NAME_BYTES])
        if not name:
            break
        announced.append((name, ServiceState.from_digit(digit)))
    return announced


def _is_service_name(name: str) -> bool:
    try:
        check_service_name(name)
    except ValueError:
        return False
    return True


def _text(field: bytes) -> str:
    """Return the text before the first NUL, which must exist."""
    text, end, _ = field.partition(b"\0")
    if not end:
        raise ValueError("a name without an end")
    return text.decode("ascii")
