"""The original's frame: captured ones byte for byte, and everything that must not be taken for
one.
"""

from __future__ import annotations

import pathlib
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.legacy_frame import (
    DISK_BYTES,
    RECORD_BYTES,
    LegacyRecord,
    decode_disk_record,
    decode_record,
    encode_disk_record,
    encode_record,
)

SAMPLES = pathlib.Path(__file__).parent / "legacy"
NAMES_AT, STATES_AT = 156, 8348


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.bin").read_bytes()


STARTED = sample("udp_registry_started_deb1_eth1")


@pytest.mark.parametrize(
    "name, expected",
    [
        (
            "udp_registry_started_deb1_eth1",
            LegacyRecord(
                "deb1.opensvc.com",
                (("registry", S.STARTED), ("busybox", S.FROZEN_STOP)),
                1795338842,
                43,
                0x0B0A0101,
                5010,
                "239.131.50.10",
            ),
        ),
        (
            "udp_2svc_frozen_stop_deb2_eth1",
            LegacyRecord(
                "deb2.opensvc.com",
                (("registry", S.FROZEN_STOP), ("busybox", S.FROZEN_STOP)),
                1795338830,
                49,
                0x0B0A0201,
                5012,
                "239.131.50.12",
            ),
        ),
        (
            "udp_emptyservices_deb1_eth1",
            LegacyRecord("deb1.opensvc.com", (), 1795338823, 43, 0x0B0A0101, 5010, "239.131.50.10"),
        ),
        (
            "udp_noservice_deb1_eth1",
            LegacyRecord("deb1.opensvc.com", (), 1795338820, 43, 0x0B0A0101, 5010, "239.131.50.10"),
        ),
        (
            "disk_registry_starting_deb1_block0",
            LegacyRecord(
                "deb1.opensvc.com",
                (("registry", S.STARTING), ("busybox", S.FROZEN_STOP)),
                1795338837,
                55,
                0x0B0A0101,
            ),
        ),
        (
            "disk_noservice_deb1_block0",
            LegacyRecord("deb1.opensvc.com", (), 1795338819, 55, 0x0B0A0101),
        ),
    ],
)
def test_captured_heartbeat_holds_what_was_going_on(name: str, expected: LegacyRecord) -> None:
    """Datagrams and disk records of the C programs: node, services in order, states, clock,
    process, address.
    """
    decode = decode_disk_record if name.startswith("disk") else decode_record
    assert decode(sample(name)) == expected


@pytest.mark.parametrize(
    "name",
    [
        "udp_registry_started_deb1_eth1",
        "udp_2svc_frozen_stop_deb2_eth1",
        "udp_emptyservices_deb1_eth1",
        "udp_128svc_states0to9_deb1_eth1",
        "udp_name63_deb1_eth1",
    ],
)
def test_captured_datagram_is_written_again_byte_for_byte(name: str) -> None:
    """What was decoded, encoded again: the very bytes of the C programs, unused slots included."""
    assert encode_record(decode_record(sample(name))) == sample(name)


def test_captured_disk_record_is_written_again_but_for_the_leak() -> None:
    """On a disk too, except that zeros follow instead of the sender's memory."""
    data = sample("disk_registry_starting_deb1_block0")
    ours = encode_disk_record(decode_disk_record(data))
    assert len(data) == len(ours) == DISK_BYTES
    assert ours[:RECORD_BYTES] == data[:RECORD_BYTES] and data[RECORD_BYTES:].strip(b"\0")
    assert not ours[RECORD_BYTES:].strip(b"\0")


def test_node_without_services_writes_a_disk_record_that_is_not_up() -> None:
    """As the original: the up flag of a disk record is 0 without a service.

    (It also leaves all unused states at 0.)
    """
    data = sample("disk_noservice_deb1_block0")
    assert encode_disk_record(decode_disk_record(data))[:STATES_AT] == data[:STATES_AT]


def test_all_digits_and_the_full_128_services_are_read() -> None:
    """svc001 to svc010 carry 0 to 9, the other 118 FROZEN_STOP."""
    states = decode_record(sample("udp_128svc_states0to9_deb1_eth1")).states
    assert [name for name, _ in states] == [f"svc{number:03}" for number in range(1, 129)]
    assert [state.digit for _, state in states] == [*range(10), *[6] * 118]


def test_frozen_start_is_written_as_start_ready() -> None:
    """The original has one digit for both: 7 goes out, START_READY comes in."""
    record = LegacyRecord("deb1", (("registry", S.FROZEN_START),), 1)
    assert decode_record(encode_record(record)).states == (("registry", S.START_READY),)


def test_name_of_63_characters_is_the_longest() -> None:
    """The captured one has 63; one more is refused before anything is written."""
    record = decode_record(sample("udp_name63_deb1_eth1"))
    ((name, state),) = record.states
    assert len(name) == 63
    with pytest.raises(ValueError, match="service name is too long. 64 out of 63"):
        encode_record(replace(record, states=((name + "x", state),)))


def test_more_than_128_services_are_refused() -> None:
    """The 129th would be written over the states, as it is by the original."""
    states = tuple((f"svc{number}", S.STOPPED) for number in range(129))
    with pytest.raises(
        ValueError, match=r"129 services are more than the original's heartbeat holds \(128\)"
    ):
        encode_record(LegacyRecord("deb1", states, 1))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"address": "fe80::aff:fe32:101"}, "holds an IPv4 address only"),
        ({"address": "1239.131.150.100"}, "holds an IPv4 address only"),
        ({"port": 65_536}, "holds an IPv4 address only"),
        ({"node": "../etc"}, "is not a host name"),
        ({"clock_s": -1}, "does not fit its field"),
        ({"clock_s": 2**32}, "does not fit its field"),
    ],
)
def test_what_the_frame_cannot_hold_is_refused(
    change: dict[str, int] | dict[str, str], message: str
) -> None:
    """An address, name or number without room: a ValueError, no cut-off bytes."""
    with pytest.raises(ValueError, match=message):
        encode_record(replace(LegacyRecord("deb1", (), 1), **change))


def patched(offset: int, data: bytes, base: bytes = STARTED) -> bytes:
    return base[:offset] + data + base[offset + len(data) :]


def state(slot: int, value: int) -> bytes:
    return patched(STATES_AT + 4 * slot, struct.pack("<i", value))


BAD = {
    "one byte": (b"x", "truncated"),
    "empty": (b"", "truncated"),
    "a byte short": (STARTED[:-1], "truncated"),
    "a byte long": (STARTED + b"\0", "oversized"),
    "a whole disk record": (STARTED.ljust(DISK_BYTES, b"\0"), "oversized"),
    "zeros": (bytes(RECORD_BYTES), "blank"),
    "state 10": (state(0, 10), "malformed"),
    "state -1": (state(1, -1), "malformed"),
    "state of 129 services in the original": (state(0, 828601971), "malformed"),
    "no node": (patched(0, bytes(128)), "malformed"),
    "node without an end": (patched(0, b"d" * 128), "malformed"),
    "node that is a path": (patched(0, b"../../etc/passwd\0"), "malformed"),
    "node that is no ASCII": (patched(0, b"\xff\xfe"), "malformed"),
    "service name without an end": (patched(NAMES_AT, b"r" * 64), "malformed"),
    "service name that is no ASCII": (patched(NAMES_AT, b"\xff"), "malformed"),
    "up is 2": (patched(128, b"\2"), "malformed"),
    "locked": (patched(132, b"\1"), "malformed"),
    "port that is no number": (patched(136, b"50x0\0"), "malformed"),
    "port 99999": (patched(136, b"99999"), "malformed"),
    "port 65536": (patched(136, b"65536"), "malformed"),
    "port 0": (patched(136, b"0\0\0\0\0"), "malformed"),
    "port with a sign": (patched(136, b"+5010"), "malformed"),
    "port with a space": (patched(136, b" 5010"), "malformed"),
    "port with an underscore": (patched(136, b"50_10"), "malformed"),
}


@pytest.mark.parametrize("name", BAD)
def test_record_the_original_does_not_send_is_refused(name: str) -> None:
    """Each deviation alone, in an otherwise genuine datagram: FrameError with the counter it is
    filed under.
    """
    data, reason = BAD[name]
    with pytest.raises(FrameError) as caught:
        decode_record(data)
    assert caught.value.reason == reason


def test_disk_record_must_have_its_19_blocks() -> None:
    """A datagram's length on a disk: truncated; one byte more: oversized."""
    for data, reason in (
        (STARTED, "truncated"),
        (STARTED.ljust(DISK_BYTES + 1, b"\0"), "oversized"),
    ):
        with pytest.raises(FrameError) as caught:
            decode_disk_record(data)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    "name", ["#registry", "../../../../vt", "/etc/passwd", "..", "a b", "-x", "a\nb"]
)
def test_service_that_cannot_be_one_is_left_out_and_counted(name: str) -> None:
    """A commented-out line of the C node's services file, or a path: that entry is nothing, the
    rest of the beat counts.
    """
    record = decode_record(patched(NAMES_AT, name.encode().ljust(64, b"\0")))
    assert record.states == (("busybox", S.FROZEN_STOP),)
    assert record.refused == 1


def test_service_that_is_there_twice_is_left_out() -> None:
    """Two lines of one name on the C node: it is not known which counts, so neither does."""
    record = decode_record(patched(NAMES_AT, b"busybox\0"))
    assert record.states == () and record.refused == 2


def test_list_ends_at_the_first_empty_name() -> None:
    """What lies behind it, states included, is not looked at."""
    assert decode_record(patched(NAMES_AT, b"\0")).states == ()
    assert decode_record(state(2, 77)).states == decode_record(STARTED).states


@pytest.mark.parametrize("port", [1, 65_535])
def test_first_and_last_port_go_both_ways(port: int) -> None:
    """They have no use, and they are ports."""
    record = replace(decode_record(STARTED), port=port)
    assert decode_record(encode_record(record)) == record


def test_address_of_15_characters_fills_its_field() -> None:
    """239.131.150.100 leaves no room for a NUL."""
    record = replace(decode_record(STARTED), address="239.131.150.100", port=50100)
    assert decode_record(encode_record(record)) == record


SERVICES = st.dictionaries(
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True),
    st.sampled_from([state for state in S if state is not S.FROZEN_START]),
    max_size=128,
)
RECORDS = st.builds(
    LegacyRecord,
    node=st.just("deb1.opensvc.com"),
    states=SERVICES.map(lambda states: tuple(states.items())),
    clock_s=st.integers(0, 2**32 - 1),
    pid=st.integers(0, 2**31 - 1),
    host_id=st.integers(0, 2**32 - 1),
)


@given(RECORDS)
def test_every_record_survives_the_wire_and_the_disk(record: LegacyRecord) -> None:
    """Encoded and decoded: the same."""
    assert decode_record(encode_record(record)) == record
    assert decode_disk_record(encode_disk_record(record)) == record


@given(st.lists(st.tuples(st.integers(0, RECORD_BYTES - 1), st.integers(0, 255)), max_size=20))
def test_damaged_record_is_a_record_or_a_frame_error(changes: list[tuple[int, int]]) -> None:
    """Any bytes changed: a record with valid names and states, or a FrameError; nothing else."""
    data = bytearray(STARTED)
    for offset, value in changes:
        data[offset] = value
    try:
        record = decode_record(bytes(data))
    except FrameError:
        return
    encode_record(record)
