"""Facts in a frame: what is packed comes back, what is not known is skipped, what is malformed is
refused.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.facts import Facts, Turn
from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.beat_frame import HAS_FACTS, encode_beat
from opensvc_openha.formats.facts_block import pack_facts, unpack_facts
from opensvc_openha.formats.name_book import NameBook
from tests.decoding import decode_frame

NAMES = tuple(f"svc{number:02d}" for number in range(11))
DURATIONS = st.none() | st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000)


@given(
    st.booleans(),
    st.booleans(),
    st.sampled_from(Turn),
    st.integers(0, 2**32 - 1),
    DURATIONS,
    DURATIONS,
    st.frozensets(st.sampled_from(NAMES)),
)
def test_facts_come_back_as_they_were_packed(
    booting: bool,
    defends: bool,
    turn: Turn,
    priority: int,
    fence_s: float | None,
    silent_s: float | None,
    unready: frozenset[str],
) -> None:
    """Every value, to the millisecond, and every set of services."""
    facts = Facts(booting, defends, turn, priority, fence_s, silent_s, unready)
    assert (
        unpack_facts(pack_facts(facts, NAMES), len(NAMES)).resolve(dict(enumerate(NAMES))) == facts
    )


def test_an_unknown_entry_is_skipped_and_a_longer_known_one_is_read() -> None:
    """What a later version adds does no harm."""
    facts = Facts(turn=Turn.HELD, priority=7)
    packed = pack_facts(facts, NAMES)
    longer = bytes([packed[0]]) + struct.pack(">H", len(packed) - 3 + 5) + packed[3:] + b"later"
    assert unpack_facts(b"\xfa\x00\x03abc" + longer, len(NAMES)).facts == facts


@pytest.mark.parametrize(
    "data",
    [
        b"\x01",
        b"\x01\x00\x05abc",
        b"\x01\x00\x02ab",
        pack_facts(Facts(), ()) * 2,
        b"\x02\x00\x01\x00",
        b"\x01\x00\x0e\x00\x09" + bytes(12),
    ],
)
def test_malformed_entries_are_refused(data: bytes) -> None:
    """Cut off, too short, repeated, a set of another size, an unknown turn."""
    with pytest.raises(ValueError):
        unpack_facts(data, 20)


def _beat(facts: Facts | None) -> Beat:
    states = {name: ServiceState.STARTED for name in NAMES}
    return Beat("deb1", BootId(3, 4), 5, None, states, facts=facts)


def test_facts_travel_in_a_frame_with_the_names_of_their_services() -> None:
    """A beat with facts is the same beat after a frame."""
    beat = _beat(Facts(is_booting=True, fence_s=2.5, unready=frozenset({NAMES[3]})))
    book = NameBook()
    book.learn_own(NAMES)
    frame = decode_frame(encode_beat(beat, pid=1, interval_s=1.0, with_names=False))
    assert book.resolve(frame) == beat


def test_a_beat_without_facts_has_no_flag_of_them() -> None:
    """A peer of an older version, which refuses unknown flags, understands it."""
    with_facts, without = (
        encode_beat(_beat(facts), pid=1, interval_s=1.0, with_names=False)
        for facts in (Facts(), None)
    )
    assert int.from_bytes(with_facts[6:8], "big") & HAS_FACTS
    assert not int.from_bytes(without[6:8], "big") & HAS_FACTS


def test_where_there_is_no_room_the_states_go_without_facts() -> None:
    """States come first."""
    beat = _beat(Facts())
    plain = encode_beat(_beat(None), pid=1, interval_s=1.0, with_names=False)
    assert (
        decode_frame(
            encode_beat(beat, pid=1, interval_s=1.0, with_names=False, limit_bytes=len(plain) + 5)
        ).facts
        is None
    )
    packed = len(pack_facts(Facts(), NAMES)) + 2
    for room, is_there in ((packed, True), (packed - 1, False)):
        data = encode_beat(
            beat, pid=1, interval_s=1.0, with_names=False, limit_bytes=len(plain) + room
        )
        assert (decode_frame(data).facts is not None) is is_there and len(data) <= len(plain) + room
