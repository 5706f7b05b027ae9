"""Reservations as bytes: what was recorded from two targets, and any other bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.formats import reservation_key, scsi_pr
from opensvc_openha.formats.scsi_pr import (
    Capabilities,
    InAction,
    OutAction,
    Registrant,
    Registrations,
    Reservation,
    Sense,
    Status,
)

RECORDED = Path(__file__).parent / "scsi"
KEYS = st.integers(1, 2**64 - 1)
A, B = 0xDEB1, 0xDEB2


@dataclass(frozen=True)
class Exchange:
    """One command to a real target, and its answer."""

    step: str
    by: str
    command: bytes
    sent: bytes
    status: int
    sense: bytes
    data: bytes


def exchanges(target: str) -> list[Exchange]:
    """All of one file, in their order."""
    found = []
    for line in (RECORDED / f"{target}.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        step, by, *words, length, data = line.split(" | ")
        command, sent, status, sense = (bytes.fromhex(word.strip("-")) for word in words)
        padded = bytes.fromhex(data.strip("-")).ljust(int(length), b"\0")
        found.append(Exchange(step, by, command, sent, status[0], sense, padded))
    return found


def answers(target: str, step: str) -> list[Exchange]:
    """Those of one step; one more where a unit attention came first."""
    return [exchange for exchange in exchanges(target) if exchange.step == step]


def answer(target: str, step: str, number: int = -1) -> bytes:
    """The data of the last command of a step."""
    return answers(target, step)[number].data


TARGETS = ("lio", "tgt")


@pytest.mark.parametrize("target", TARGETS)
def test_commands_are_those_that_were_recorded(target: str) -> None:
    """Every command of the recording is made again from its meaning, byte for byte."""
    made = {
        "a register wrong old key": (OutAction.REGISTER, 0x77, A),
        "a register_anyway": (OutAction.REGISTER_AND_IGNORE, 0, A),
        "a register own own": (OutAction.REGISTER, A, A),
        "a reserve": (OutAction.RESERVE, A, 0),
        "b preempt with wrong own key": (OutAction.PREEMPT, 0x99, A),
        "b preempt_and_abort a": (OutAction.PREEMPT_AND_ABORT, B, A),
        "a clear": (OutAction.CLEAR, A, 0),
        "b unregister": (OutAction.REGISTER, B, 0),
    }
    for step, words in made.items():
        exchange = answers(target, step)[-1]
        assert scsi_pr.encode_out(*words) == (exchange.command, exchange.sent), step
    kept = answers(target, "b register aptpl")[0]
    made_kept = scsi_pr.encode_out(OutAction.REGISTER_AND_IGNORE, 0, B, is_kept=True)
    assert made_kept == (kept.command, kept.sent)
    reads = {"a keys": 0, "a reservation": 1, "b full": 3}
    for step, action in reads.items():
        made_read = scsi_pr.encode_in(InAction(action), scsi_pr.LIST_BYTES)
        assert made_read == answers(target, step)[-1].command
    assert scsi_pr.encode_empty_write() == answers(target, "a may_write")[-1].command
    assert [exchange.command for exchange in answers(target, "a name")] == [
        scsi_pr.encode_serial_inquiry(252),
        scsi_pr.encode_identification_inquiry(252),
    ]


def test_reservation_names_type_and_scope() -> None:
    """Type 5, of the whole unit, in the commands that have one; none in the others."""
    for action in OutAction:
        command, parameters = scsi_pr.encode_out(action, A, B)
        is_typed = "RESERVE" in action.name or "RELEASE" in action.name or "PREEMPT" in action.name
        assert command[:3] == bytes([0x5F, action, 5 if is_typed else 0])
        assert struct.unpack(">QQ", parameters[:16]) == (A, B) and len(parameters) == 24
    with pytest.raises(ValueError, match="PREEMPT cannot ask for registrations to be kept"):
        scsi_pr.encode_out(OutAction.PREEMPT, A, B, is_kept=True)


@pytest.mark.parametrize("target", TARGETS)
def test_recorded_answers_are_read(target: str) -> None:
    """Registrations, holder, capabilities, names of both targets."""
    keys = scsi_pr.decode_registrations(answers(target, "b keys")[0].data)
    assert keys == Registrations(5, (A, B))
    held = scsi_pr.decode_reservation(answers(target, "a reservation")[0].data)
    assert held == Reservation(A, 5) and str(held) == "0xdeb1 (write exclusive, registrants only)"
    assert scsi_pr.decode_reservation(answer(target, "a reservation")) is None
    capabilities = scsi_pr.decode_capabilities(answer(target, "a capabilities"))
    types = frozenset({1, 3, 5, 6, 7, 8})
    assert capabilities == Capabilities(target == "lio", types)
    assert capabilities.has_write_exclusive_registrants


def test_names_of_units_are_read() -> None:
    """Serial number, the identifier of the unit itself and not of its port, vendor."""
    serial, identifier = answers("lio", "a name")
    assert scsi_pr.decode_serial(serial.data) == "serial0"
    assert scsi_pr.decode_identifier(identifier.data).startswith("6001405ea0000000")
    assert scsi_pr.decode_vendor(answer("lio", "a vendor")) == ("LIO-ORG", "IBLOCK")
    serial, identifier = answers("tgt", "a name")
    assert scsi_pr.decode_serial(serial.data) == "beaf11"
    assert scsi_pr.decode_identifier(identifier.data) == "3000000100000001"
    assert scsi_pr.decode_vendor(answer("tgt", "a vendor")) == ("IET", "VIRTUAL-DISK")


def test_name_of_a_port_is_none_of_the_unit() -> None:
    """It differs between the paths; the best of the unit's own names is taken."""
    port = [1, 0x13, 0, 2, 0xAA, 0xAA]
    unit = [1, 0x02, 0, 2, 0xBB, 0xBB]
    vendor = [2, 0x01, 0, 2, 0xCC, 0xCC]
    body = bytes(port + vendor + unit)
    assert scsi_pr.decode_identifier(bytes([0, 0x83, 0, len(body)]) + body) == "bbbb"
    only_port = bytes([0, 0x83, 0, len(port), *port])
    assert scsi_pr.decode_identifier(only_port) == ""


def test_full_status_names_the_initiators() -> None:
    """LIO lists each connection with the name of its node; the holder is one of them."""
    generation, found = scsi_pr.decode_full_status(answer("lio", "b full"))
    name = "iqn.2026-11.feas:deb1"
    assert generation == 5
    assert found == (Registrant(A, True, 5, 1, name), Registrant(B, False, 0, 1, name))


def test_unit_attention_is_distinguished_from_refusals() -> None:
    """Of all recorded sense data: which one is repeated, which one means "not supported"."""
    seen = {
        (target, exchange.step, str(scsi_pr.decode_sense(exchange.sense)))
        for target in TARGETS
        for exchange in exchanges(target)
        if exchange.status == Status.CHECK_CONDITION
    }
    preempted = "unit attention 2a/05 (registrations preempted)"
    unknown = "illegal request 24/00 (invalid field in the command)"
    failed = "not ready 08/00 (not registered, or no connection)"
    assert ("lio", "b reserve unregistered", failed) in seen
    assert ("tgt", "b preempt_and_abort a", unknown) in seen
    assert ("tgt", "b full", unknown) in seen
    assert any(text == preempted for _, _, text in seen)
    for target in TARGETS:
        for exchange in exchanges(target):
            sense = scsi_pr.decode_sense(exchange.sense)
            if sense is not None:
                assert sense.is_unit_attention == str(sense).startswith("unit attention")
                assert sense.is_unsupported == (str(sense) == unknown)


def test_both_formats_of_sense_data_are_read() -> None:
    """Fixed and descriptor format, current and deferred; nothing is read into other bytes."""
    expected = Sense(6, 0x2A, 5)
    fixed = bytes([0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2A, 5])
    assert scsi_pr.decode_sense(fixed) == expected
    assert scsi_pr.decode_sense(b"\xf1" + fixed[1:]) == expected
    assert scsi_pr.decode_sense(bytes([0x72, 6, 0x2A, 5])) == expected
    assert scsi_pr.decode_sense(bytes([0x73, 1, 0, 0])) == Sense(1, 0, 0)
    for data in (b"", fixed[:13], b"\x72\x06\x2a", b"\x00" * 18):
        assert scsi_pr.decode_sense(data) is None


@given(st.binary(max_size=32))
def test_any_sense_data_is_read_or_none(data: bytes) -> None:
    """Never an exception, and a text that fits into a line."""
    assert "\n" not in str(scsi_pr.decode_sense(data))


@given(st.integers(0, 2**32 - 1), st.lists(KEYS, max_size=12))
def test_keys_are_read_whole_or_refused(generation: int, keys: list[int]) -> None:
    """A list that is shorter than its head reports is refused: the missing key may be the
    peer's.
    """
    body = b"".join(struct.pack(">Q", key) for key in keys)
    data = struct.pack(">II", generation, len(body)) + body
    assert scsi_pr.decode_registrations(data) == Registrations(generation, tuple(keys))
    assert scsi_pr.decode_registrations(data + bytes(9)).keys == tuple(keys)
    assert scsi_pr.list_bytes(data) == len(data)
    for end in range(len(data)):
        with pytest.raises(ValueError, match="cut short"):
            scsi_pr.decode_registrations(data[:end])


def test_malformed_answers_are_refused() -> None:
    """A list of half a key, capabilities without a body, a page of another kind."""
    with pytest.raises(ValueError, match="has 12 bytes, expected eight for each key"):
        scsi_pr.decode_registrations(struct.pack(">II", 1, 12) + bytes(12))
    with pytest.raises(ValueError, match="the reservation is cut short: 8 of 16 bytes"):
        scsi_pr.decode_reservation(struct.pack(">II", 1, 8) + bytes(8))
    with pytest.raises(ValueError, match="length below 8"):
        scsi_pr.decode_capabilities(bytes(8))
    with pytest.raises(ValueError, match="page 0x83, expected 0x80"):
        scsi_pr.decode_serial(answers("lio", "a name")[1].data)
    with pytest.raises(ValueError, match="the page is cut short"):
        scsi_pr.decode_identifier(answer("lio", "a name")[:20])
    with pytest.raises(ValueError, match="an identifier is cut short"):
        scsi_pr.decode_identifier(bytes([0, 0x83, 0, 4, 1, 3, 0, 9]))


@pytest.mark.parametrize(
    "decode",
    [
        scsi_pr.decode_registrations,
        scsi_pr.decode_reservation,
        scsi_pr.decode_capabilities,
        scsi_pr.decode_full_status,
        scsi_pr.decode_serial,
        scsi_pr.decode_identifier,
        scsi_pr.decode_vendor,
        scsi_pr.list_bytes,
    ],
)
@given(data=st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(decode: object, data: bytes) -> None:
    """ValueError is the only way out for what cannot be read."""
    assert callable(decode)
    try:
        decode(data)
    except ValueError:
        return


def test_capabilities_without_a_list_of_types_offer_any() -> None:
    """The device does not report which types it has: it is asked by using it."""
    found = scsi_pr.decode_capabilities(bytes([0, 8, 0, 0, 0, 0, 0, 0]))
    assert found.types is None and found.has_write_exclusive_registrants
    without = scsi_pr.decode_capabilities(bytes([0, 8, 0, 0x80, 0x02, 0, 0, 0]))
    assert without.types == {1} and not without.has_write_exclusive_registrants


@given(KEYS)
def test_a_key_is_read_as_it_is_printed(key: int) -> None:
    """Also with leading zeros and in capitals: numbers are compared, not texts."""
    assert reservation_key.parse_key(reservation_key.key_text(key)) == key
    assert reservation_key.parse_key(f"0x{key:016X}") == key


@pytest.mark.parametrize("text", ["", "deb1", "0x", "0x12345678901234567", "0xdeb1 ", "0X1", "0xg"])
def test_bad_keys_are_refused_in_the_words_of_agents(text: str) -> None:
    """At most 16 hexadecimal digits behind 0x."""
    with pytest.raises(ValueError, match="must have 16 significant hex digits max"):
        reservation_key.parse_key(text)


def test_zero_is_no_key() -> None:
    """To register it means to be registered no longer."""
    with pytest.raises(ValueError, match="expected a key other than zero"):
        reservation_key.parse_key("0x0000")


def test_device_names_cannot_move_the_cursor() -> None:
    """A vendor of control characters is shown without them."""
    assert scsi_pr.decode_vendor(bytes(8) + b"EVIL\x1b[2J" + b"x" * 16) == ("EVIL?[2J", "x" * 16)


def test_longest_answer_is_of_whole_registrations_and_fits_into_a_command() -> None:
    """One more of them does not."""
    longest = scsi_pr.LIST_BYTES_MAX
    assert longest % 8 == 0
    assert scsi_pr.encode_in(InAction.READ_KEYS, longest)[7:9] == struct.pack(">H", longest)
    with pytest.raises(struct.error):
        scsi_pr.encode_in(InAction.READ_KEYS, longest + 8)


def test_codes_of_sense_data_have_the_words_of_the_standard() -> None:
    """As T10 numbers them, in the words of this package."""
    known = {
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
    for code in range(256):
        for qualifier in (0, 1, 3, 4, 5, 7, 14, 15):
            words = known.get((code, qualifier))
            text = f"illegal request {code:02x}/{qualifier:02x}" + (f" ({words})" if words else "")
            assert str(Sense(5, code, qualifier)) == text


def test_key_of_sense_data_says_what_became_of_the_command() -> None:
    """Executed all the same, not executed, or not known to the device."""
    assert [key for key in range(16) if Sense(key, 0x20, 0).is_recovered] == [1]
    assert [key for key in range(16) if Sense(key, 0x20, 0).is_unit_attention] == [6]
    assert [key for key in range(16) if Sense(key, 0x20, 0).is_unsupported] == [5]
    codes = [code for code in range(256) if Sense(5, code, 0).is_unsupported]
    assert codes == [0x20, 0x24, 0x26]


def test_types_of_reservations_have_the_words_of_the_standard() -> None:
    """Another one has its number."""
    words = {
        1: "write exclusive",
        3: "exclusive access",
        5: "write exclusive, registrants only",
        6: "exclusive access, registrants only",
        7: "write exclusive, all registrants",
        8: "exclusive access, all registrants",
    }
    for kind in range(16):
        assert str(Reservation(A, kind)) == f"0xdeb1 ({words.get(kind, f'type {kind}')})"


def test_unit_is_named_by_its_serial_number_first() -> None:
    """By its identifier where it has none."""
    names = scsi_pr.UnitName("s1", "i1"), scsi_pr.UnitName("", "i1"), scsi_pr.UnitName("s1", "")
    assert [str(name) for name in names] == ["s1", "i1", "s1"]
    assert not any(name.is_empty for name in names) and scsi_pr.UnitName("", "").is_empty


def test_commands_without_their_options() -> None:
    """No key to register, no page; both registrations may be kept."""
    assert scsi_pr.encode_out(OutAction.CLEAR, A)[1] == struct.pack(">QQ", A, 0) + bytes(8)
    for action in (OutAction.REGISTER, OutAction.REGISTER_AND_IGNORE):
        assert scsi_pr.encode_out(action, A, B, is_kept=True)[1][20] == 1
    assert scsi_pr.encode_inquiry(96) == bytes([0x12, 0, 0, 0, 96, 0])
    assert scsi_pr.encode_inquiry(96, 0x80) == bytes([0x12, 1, 0x80, 0, 96, 0])


def test_types_are_listed_where_the_device_says_so() -> None:
    """In one bit of the byte."""
    assert scsi_pr.decode_capabilities(bytes([0, 8, 0, 0x7F, 0xFF, 0xFF, 0, 0])).types is None
    listed = scsi_pr.decode_capabilities(bytes([0, 8, 0, 0x80, 0xFF, 0xFF, 0, 0])).types
    assert listed == frozenset(range(16))


@pytest.mark.parametrize(
    ("decode", "data", "message"),
    [
        (scsi_pr.decode_full_status, struct.pack(">II", 1, 23) + bytes(23), "a registration"),
        (
            scsi_pr.decode_full_status,
            struct.pack(">II", 1, 24) + bytes(20) + struct.pack(">I", 1),
            "a registration is cut short: 24 of 25",
        ),
        (scsi_pr.decode_vendor, bytes(31), "the inquiry is cut short: 31 of 32"),
        (scsi_pr.decode_identifier, bytes([0, 0x83, 0, 3, 1, 3, 0]), "an identifier is cut short"),
    ],
)
def test_part_that_is_cut_short_is_refused(
    decode: Callable[[bytes], object], data: bytes, message: str
) -> None:
    """And not read into what follows."""
    with pytest.raises(ValueError, match=message):
        decode(data)


def test_identifier_may_be_empty_or_of_the_last_kind() -> None:
    """T10 is better than none."""
    assert scsi_pr.decode_identifier(bytes([0, 0x83, 0, 4, 1, 3, 0, 0])) == ""
    assert scsi_pr.decode_identifier(bytes([0, 0x83, 0, 5, 1, 1, 0, 1, 0xCC])) == "cc"


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        (b"\x05\x00\x00\x10iqn.2026-11:a,i,0x1\x00", "iqn.2026-11:a"),
        (b"\x45\x00\x00\x01a", "a"),
        (b"\x05\x00\x00\x00", "05000000"),
        (b"\x06\x00\x00\x01a", "0600000161"),
        (b"", ""),
    ],
)
def test_initiator_is_named_by_iscsi_alone(identifier: bytes, name: str) -> None:
    """Another one is shown as its bytes."""
    body = struct.pack(">Q4xBB4xHI", A, 0, 0, 1, len(identifier)) + identifier
    _, [found] = scsi_pr.decode_full_status(struct.pack(">II", 1, len(body)) + body)
    assert found.initiator == name


def test_page_may_be_empty() -> None:
    """A unit without a serial number."""
    assert scsi_pr.decode_serial(bytes([0, 0x80, 0, 0])) == ""
