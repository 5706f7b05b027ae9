"""Encode and decode SCSI persistent reservations (SPC-4): commands, parameters, sense data, names.

::

    PERSISTENT RESERVE IN   0x5e | action | 0 0 0 0 0 | allocation length 2 | 0
    PERSISTENT RESERVE OUT  0x5f | action | scope, type | 0 0 | parameter length 4 | 0
    its parameters          key 8 | service action key 8 | 0 0 0 0 | flags | 0 0 0

A list that the device cut short is refused, never taken for the whole: the key that is missing
would be the peer's.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from opensvc_openha.formats.reservation_key import key_text

LIST_BYTES = 8192
"""Bytes to ask for at first: a thousand registrations."""
LIST_BYTES_MAX = 65_528
"""Most bytes that one answer can have."""

_LIST_HEAD = struct.Struct(">II")
_PARAMETERS = struct.Struct(">QQ4xB3x")
_OUT_CDB = struct.Struct(">BBB2xIx")
_IN_CDB = struct.Struct(">BB5xHx")
_HOLDER = struct.Struct(">Q4xxB2x")
_FULL_STATUS = struct.Struct(">Q4xBB4xHI")
_IN, _OUT, _INQUIRY, _WRITE_10 = 0x5E, 0x5F, 0x12, 0x2A
_APTPL = 0x01
_SERIAL_PAGE, _IDENTIFICATION_PAGE = 0x80, 0x83


class InAction(enum.IntEnum):
    """Service actions of PERSISTENT RESERVE IN."""

    READ_KEYS = 0
    READ_RESERVATION = 1
    REPORT_CAPABILITIES = 2
    READ_FULL_STATUS = 3


class OutAction(enum.IntEnum):
    """Service actions of PERSISTENT RESERVE OUT."""

    REGISTER = 0
    RESERVE = 1
    RELEASE = 2
    CLEAR = 3
    PREEMPT = 4
    PREEMPT_AND_ABORT = 5
    REGISTER_AND_IGNORE = 6


_TYPED = frozenset(
    {OutAction.RESERVE, OutAction.RELEASE, OutAction.PREEMPT, OutAction.PREEMPT_AND_ABORT}
)
"""Actions whose command names a type of reservation."""

WRITE_EXCLUSIVE_REGISTRANTS = 5
"""Type of the reservations of OpenSVC agents: registered initiators write, all others read."""

TYPE_NAMES = {
    1: "write exclusive",
    3: "exclusive access",
    5: "write exclusive, registrants only",
    6: "exclusive access, registrants only",
    7: "write exclusive, all registrants",
    8: "exclusive access, all registrants",
}


class Status(enum.IntEnum):
    """Status byte of a completed command; other values are reserved."""

    GOOD = 0x00
    CHECK_CONDITION = 0x02
    BUSY = 0x08
    RESERVATION_CONFLICT = 0x18
    TASK_SET_FULL = 0x28
    TASK_ABORTED = 0x40


_SENSE_KEYS = (
    *("no sense", "recovered error", "not ready", "medium error", "hardware error"),
    *("illegal request", "unit attention", "data protect", "blank check", "vendor specific"),
    *("copy aborted", "aborted command", "reserved", "volume overflow", "miscompare", "completed"),
)
_SENSE_CODES = {
    (0x04, 0x01): "becoming ready",
    (0x08, 0x00): "not registered, or no connection",
    (0x20, 0x00): "invalid command",
    (0x24, 0x00): "invalid field in the command",
    (0x25, 0x00): "no such logical unit",
    (0x26, 0x00): "invalid field in the parameters",
    (0x26, 0x04): "invalid release of a reservation",
    (0x29, 0x00): "power on or reset",
    (0x29, 0x07): "connection lost",
    (0x2A, 0x03): "reservations preempted",
    (0x2A, 0x04): "reservations released",
    (0x2A, 0x05): "registrations preempted",
    (0x2F, 0x00): "commands cleared by another node",
    (0x3F, 0x0E): "list of logical units has changed",
    (0x55, 0x04): "no room for another registration",
}


@dataclass(frozen=True)
class Sense:
    """Why a command ended with CHECK CONDITION."""

    key: int
    code: int
    qualifier: int

    @property
    def is_unit_attention(self) -> bool:
        """Return whether the command was not executed, but can be repeated at once."""
        return self.key == 0x06

    @property
    def is_recovered(self) -> bool:
        """Return whether the command succeeded all the same."""
        return self.key == 0x01

    @property
    def is_unsupported(self) -> bool:
        """Return whether the device does not know the command, its action, or a field of it."""
        return self.key == 0x05 and self.code in (0x20, 0x24, 0x26)

    def __str__(self) -> str:
        known = _SENSE_CODES.get((self.code, self.qualifier), "")
        return (
            f"{_SENSE_KEYS[self.key]} {self.code:02x}/{self.qualifier:02x}"
            f"{f' ({known})' if known else ''}"
        )


@dataclass(frozen=True)
class Registrations:
    """Result of READ KEYS: one key for each connection that is registered, repeated where it is."""

    generation: int
    """Counter of changes; reservations and releases do not count."""
    keys: tuple[int, ...]


@dataclass(frozen=True)
class Reservation:
    """Who holds the reservation. The key is 0 where all registered connections hold it."""

    key: int
    type: int

    def __str__(self) -> str:
        return f"{key_text(self.key)} ({TYPE_NAMES.get(self.type, f'type {self.type}')})"


@dataclass(frozen=True)
class Capabilities:
    """What the device can do. ``types`` is None where it does not list them."""

    keeps_over_power_loss: bool
    """It can keep registrations over a loss of its own power, if a registration asks for it."""
    types: frozenset[int] | None

    @property
    def has_write_exclusive_registrants(self) -> bool:
        """Return whether the type of the agents is offered, or may be."""
        return self.types is None or WRITE_EXCLUSIVE_REGISTRANTS in self.types


@dataclass(frozen=True)
class Registrant:
    """One registered connection, by READ FULL STATUS."""

    key: int
    is_holder: bool
    type: int
    target_port: int
    initiator: str


@dataclass(frozen=True)
class UnitName:
    """What identifies a logical unit on every node: serial number and identifier."""

    serial: str
    identifier: str

    @property
    def is_empty(self) -> bool:
        """Return whether the device gave no name at all."""
        return not (self.serial or self.identifier)

    def __str__(self) -> str:
        return self.serial or self.identifier


# Commands ----------------------------------------------------------------------------------------


def encode_in(action: InAction, wanted_bytes: int) -> bytes:
    """Return the command that reads registrations, reservation or capabilities."""
    return _IN_CDB.pack(_IN, action, wanted_bytes)


def encode_out(
    action: OutAction, key: int, action_key: int = 0, is_kept: bool = False
) -> tuple[bytes, bytes]:
    """Return the command that changes registrations or the reservation, and its parameters.

    ``key`` is the one under which this node is registered, 0 if it is not. ``action_key`` is the
    key to register (0: no longer), or that of the node to preempt. ``is_kept`` asks the device to
    keep registrations over a loss of its power; registrations only.
    """
    if is_kept and action not in (OutAction.REGISTER, OutAction.REGISTER_AND_IGNORE):
        raise ValueError(f"{action.name} cannot ask for registrations to be kept")
    scope_and_type = WRITE_EXCLUSIVE_REGISTRANTS if action in _TYPED else 0
    parameters = _PARAMETERS.pack(key, action_key, _APTPL if is_kept else 0)
    return _OUT_CDB.pack(_OUT, action, scope_and_type, len(parameters)), parameters


def encode_inquiry(wanted_bytes: int, page: int | None = None) -> bytes:
    """Return the command that asks for vendor and model, or for a page of vital product data."""
    return struct.pack(
        ">BBBHB", _INQUIRY, 0 if page is None else 1, 0 if page is None else page, wanted_bytes, 0
    )


def encode_serial_inquiry(wanted_bytes: int) -> bytes:
    """Return the command that asks for the serial number of the unit."""
    return encode_inquiry(wanted_bytes, _SERIAL_PAGE)


def encode_identification_inquiry(wanted_bytes: int) -> bytes:
    """Return the command that asks for the identifiers of the unit."""
    return encode_inquiry(wanted_bytes, _IDENTIFICATION_PAGE)


def encode_empty_write() -> bytes:
    """Return a WRITE(10) of no block: it changes nothing, but is refused where writes are."""
    return bytes([_WRITE_10]).ljust(10, b"\0")


# Answers -----------------------------------------------------------------------------------------


def decode_sense(data: bytes) -> Sense | None:
    """Return the sense data of either format; None if there is none, or it is of another kind."""
    if not data:
        return None
    kind = data[0] & 0x7F
    if kind in (0x70, 0x71) and len(data) >= 14:
        return Sense(data[2] & 0x0F, data[12], data[13])
    if kind in (0x72, 0x73) and len(data) >= 4:
        return Sense(data[1] & 0x0F, data[2], data[3])
    return None


def list_bytes(data: bytes) -> int:
    """Return how long the whole answer to READ KEYS, RESERVATION or FULL STATUS is."""
    _expect(data, _LIST_HEAD.size, "the answer")
    return _LIST_HEAD.size + int(_LIST_HEAD.unpack_from(data)[1])


def decode_registrations(data: bytes) -> Registrations:
    """Decode the answer to READ KEYS; ValueError if it is cut short or malformed."""
    generation, body = _list_of(data, "the list of keys")
    if len(body) % 8:
        raise ValueError(f"the list of keys has {len(body)} bytes, expected eight for each key")
    return Registrations(generation, tuple(key for (key,) in struct.iter_unpack(">Q", body)))


def decode_reservation(data: bytes) -> Reservation | None:
    """Decode the answer to READ RESERVATION; None if nobody holds one. Raises ValueError."""
    _, body = _list_of(data, "the reservation")
    if not body:
        return None
    _expect(body, _HOLDER.size, "the reservation")
    key, scope_and_type = _HOLDER.unpack_from(body)
    return Reservation(key, scope_and_type & 0x0F)


def decode_capabilities(data: bytes) -> Capabilities:
    """Decode the answer to REPORT CAPABILITIES; ValueError if it is cut short."""
    _expect(data, 8, "the capabilities")
    if struct.unpack_from(">H", data)[0] < 8:
        raise ValueError("the capabilities name a length below 8 bytes")
    types = None
    if data[3] & 0x80:
        mask = data[4] | data[5] << 8
        types = frozenset(kind for kind in range(16) if mask & 1 << kind)
    return Capabilities(bool(data[2] & 0x01), types)


def decode_full_status(data: bytes) -> tuple[int, tuple[Registrant, ...]]:
    """Decode the answer to READ FULL STATUS: generation, registered connections.

    Raises ValueError if it is cut short or malformed.
    """
    generation, body = _list_of(data, "the full status")
    found = []
    while body:
        _expect(body, _FULL_STATUS.size, "a registration")
        key, flags, scope_and_type, port, length = _FULL_STATUS.unpack_from(body)
        end = _FULL_STATUS.size + length
        _expect(body, end, "a registration")
        initiator = _initiator(body[_FULL_STATUS.size : end])
        is_holder = bool(flags & 0x01)
        kind = scope_and_type & 0x0F if is_holder else 0
        found.append(Registrant(key, is_holder, kind, port, initiator))
        body = body[end:]
    return generation, tuple(found)


def decode_vendor(data: bytes) -> tuple[str, str]:
    """Decode a standard INQUIRY: vendor and model; ValueError if it is cut short."""
    _expect(data, 32, "the inquiry")
    return _text(data[8:16]), _text(data[16:32])


def decode_serial(data: bytes) -> str:
    """Decode page 0x80: the serial number of the unit; ValueError if it is another page."""
    return _text(_page(data, _SERIAL_PAGE))


def decode_identifier(data: bytes) -> str:
    """Decode page 0x83: the best identifier of the unit itself, in hexadecimal; empty if none.

    NAA before EUI-64 before T10. Raises ValueError if it is another page or cut short.
    """
    body = _page(data, _IDENTIFICATION_PAGE)
    found: dict[int, str] = {}
    while body:
        _expect(body, 4, "an identifier")
        association, kind, end = body[1] >> 4 & 0x03, body[1] & 0x0F, 4 + body[3]
        _expect(body, end, "an identifier")
        if association == 0:
            found.setdefault(kind, body[4:end].hex())
        body = body[end:]
    return next((f"{found[kind]}" for kind in (3, 2, 1) if found.get(kind)), "")


def _list_of(data: bytes, what: str) -> tuple[int, bytes]:
    """Return generation and body of an answer with the common head; ValueError if cut short."""
    end = list_bytes(data)
    _expect(data, end, what)
    return int(_LIST_HEAD.unpack_from(data)[0]), data[_LIST_HEAD.size : end]


def _page(data: bytes, page: int) -> bytes:
    _expect(data, 4, "the page")
    if data[1] != page:
        raise ValueError(f"the device answered with page {data[1]:#04x}, expected {page:#04x}")
    end = 4 + int(struct.unpack_from(">H", data, 2)[0])
    _expect(data, end, "the page")
    return data[4:end]


def _initiator(identifier: bytes) -> str:
    """Return the name in a TransportID: that of an iSCSI initiator, else its bytes."""
    if len(identifier) > 4 and identifier[0] & 0x0F == 0x05:
        return _text(identifier[4:].partition(b",i,")[0])
    return identifier.hex()


def _text(data: bytes) -> str:
    """Return printable text: what a device calls itself ends up in logs."""
    words = data.rstrip(b"\0").decode("ascii", "replace").strip()
    return "".join(character if character.isprintable() else "?" for character in words)


def _expect(data: bytes, length: int, what: str) -> None:
    if len(data) < length:
        raise ValueError(f"{what} is cut short: {len(data)} of {length} bytes")
