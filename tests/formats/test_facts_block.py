"""Facts in a frame: what is packed comes back, what is not known is skipped, what is malformed is
refused.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.facts import Connectivity, Facts, Reach, Turn
from opensvc_openha.core.model import MARK_BYTES
from opensvc_openha.core.promise import WITNESS_MARK, Promise
from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.beat_frame import HAS_FACTS, carries_facts, encode_beat
from opensvc_openha.formats.facts_block import RawFacts, least_facts, pack_facts, unpack_facts
from opensvc_openha.formats.name_book import NameBook
from tests.decoding import decode_frame

NAMES = tuple(f"svc{number:02d}" for number in range(11))
DURATIONS = st.none() | st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000)
MEDIA = st.just(WITNESS_MARK) | st.binary(min_size=MARK_BYTES, max_size=MARK_BYTES)
PROMISES = st.builds(
    Promise,
    st.integers(1, 10**8).map(lambda milliseconds: milliseconds / 1000),
    st.frozensets(MEDIA, max_size=20),
    st.booleans(),
    st.booleans(),
)


@given(
    st.booleans(),
    st.booleans(),
    st.sampled_from(Turn),
    st.integers(0, 2**32 - 1),
    DURATIONS,
    DURATIONS,
    st.frozensets(st.sampled_from(NAMES)),
    st.none() | PROMISES,
    st.dictionaries(st.sampled_from(NAMES), st.none() | st.integers(0, 65_535)),
    st.frozensets(st.sampled_from(NAMES)),
    st.booleans(),
)
def test_facts_come_back_as_they_were_packed(
    booting: bool,
    defends: bool,
    turn: Turn,
    priority: int,
    fence_s: float | None,
    silent_s: float | None,
    unready: frozenset[str],
    promise: Promise | None,
    disks: dict[str, int | None],
    ordered: frozenset[str],
    knows_fence_time: bool,
) -> None:
    """Every value, to the millisecond, every set of services, every promise, all disks."""
    facts = Facts(
        booting,
        defends,
        turn,
        priority,
        fence_s,
        silent_s,
        unready,
        answering=frozenset(name for name, held in disks.items() if held is None),
        frozen={name: held for name, held in disks.items() if held is not None},
        promise=promise,
        ordered=ordered,
        knows_fence_time=knows_fence_time,
    )
    assert (
        unpack_facts(pack_facts(facts, NAMES), len(NAMES)).resolve(dict(enumerate(NAMES))) == facts
    )


def test_an_unknown_entry_is_skipped_and_a_longer_known_one_is_read() -> None:
    """What a later version adds does no harm."""
    facts = Facts(turn=Turn.HELD, priority=7)
    packed = pack_facts(facts, NAMES)
    longer = bytes([packed[0]]) + struct.pack(">H", len(packed) - 3 + 5) + packed[3:] + b"later"
    assert unpack_facts(b"\xfa\x00\x03abc" + longer, len(NAMES)).facts == facts


@given(st.floats(0.001, 10**6))
def test_a_promise_is_never_shorter_in_a_frame(death_s: float) -> None:
    """It is rounded up to a millisecond."""
    packed = pack_facts(Facts(promise=Promise(death_s, frozenset())), ())
    promise = unpack_facts(packed, 0).facts.promise
    assert promise is not None
    assert death_s - 0.000001 <= promise.death_s <= death_s + 0.001


@given(PROMISES)
def test_what_a_later_version_adds_to_a_promise_is_skipped(promise: Promise) -> None:
    """Flags and bytes that are not known."""
    packed = pack_facts(Facts(), ())
    value = pack_facts(Facts(promise=promise), ())[len(packed) + 3 :]
    value = value[:4] + bytes([value[4] | 0xFC]) + value[5:] + b"later"
    entry = b"\x04" + struct.pack(">H", len(value)) + value
    assert unpack_facts(entry, 0).facts.promise == promise


@pytest.mark.parametrize(
    "value",
    [
        b"",
        bytes.fromhex("00002c88"),
        bytes.fromhex("00002c88 00 01"),
        bytes.fromhex("00002c88 00 02") + bytes(2 * MARK_BYTES - 1),
        bytes.fromhex("00000000 00 00"),
    ],
)
def test_a_malformed_promise_is_refused(value: bytes) -> None:
    """No head, fewer media than it counts, no time."""
    with pytest.raises(ValueError):
        unpack_facts(b"\x04" + struct.pack(">H", len(value)) + value, 0)


@pytest.mark.parametrize("facts", [None, Facts()])
def test_frame_shows_whether_it_carries_facts(facts: Facts | None) -> None:
    """Unread: a promise is renewed by a frame with facts alone."""
    beat = Beat("deb1", BootId(3, 7), 2**64 - 1, None, {}, facts=facts)
    frame = encode_beat(beat, pid=2**32 - 1, interval_s=1.0, with_names=True)
    assert frame is not None and carries_facts(frame) is (facts is not None)


def test_no_look_at_disks_adds_nothing_to_a_frame() -> None:
    """Without the option, and after a time that is too long for its field."""
    assert pack_facts(Facts(), NAMES) == pack_facts(Facts(answering=frozenset()), NAMES)
    packed = pack_facts(Facts(frozen={NAMES[2]: 10**6}), NAMES)
    assert unpack_facts(packed, len(NAMES)).frozen == {2: 65_535}


@pytest.mark.parametrize("value", ["", "80", "80 40 00", "80 80 0001"])
def test_malformed_facts_about_disks_are_refused(value: str) -> None:
    """Sets that are missing, a time that is missing, a service in both."""
    data = bytes.fromhex(value)
    with pytest.raises(ValueError):
        unpack_facts(b"\x05" + struct.pack(">H", len(data)) + data, 3)


@given(st.binary(max_size=12))
def test_any_bytes_about_disks_are_read_or_refused(value: bytes) -> None:
    """No other error; bytes of a later version behind them are skipped."""
    try:
        raw = unpack_facts(b"\x05" + struct.pack(">H", len(value)) + value, 11)
    except ValueError:
        return
    assert raw.answering.isdisjoint(raw.frozen)
    facts = raw.resolve(dict(enumerate(NAMES)))
    assert unpack_facts(pack_facts(facts, NAMES), 11).resolve(dict(enumerate(NAMES))) == facts


@given(st.binary(max_size=60))
def test_any_bytes_of_a_promise_are_read_or_refused(value: bytes) -> None:
    """No other error, and no promise that is no time."""
    try:
        raw = unpack_facts(b"\x04" + struct.pack(">H", len(value)) + value, 0)
    except ValueError:
        return
    promise = raw.facts.promise
    assert promise is not None and promise.death_s > 0
    assert unpack_facts(pack_facts(raw.facts, ()), 0) == raw


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
    # The least of the facts, with which a promise is made or withdrawn, come before all others.
    full = Facts(marks=(bytes(4),), unready=frozenset(NAMES), promise=Promise(11.4, frozenset()))
    least = Facts(promise=full.promise)
    room = len(pack_facts(least, NAMES)) + 2
    data = encode_beat(
        _beat(full), pid=1, interval_s=1.0, with_names=False, limit_bytes=len(plain) + room
    )
    raw = decode_frame(data).facts
    assert raw is not None and raw.facts == least and not raw.unready
    packed = len(pack_facts(Facts(), NAMES)) + 2
    for room, is_there in ((packed, True), (packed - 1, False)):
        data = encode_beat(
            beat, pid=1, interval_s=1.0, with_names=False, limit_bytes=len(plain) + room
        )
        assert (decode_frame(data).facts is not None) is is_there and len(data) <= len(plain) + room


def _again(facts: Facts) -> Facts:
    return unpack_facts(pack_facts(facts, ()), 0).facts


def test_values_beyond_their_field_are_the_largest_or_the_least_that_fits() -> None:
    """None of them is taken for the word for nothing, nor refuses the frame."""
    facts = _again(Facts(priority=2**32 + 5, fence_s=1e10, silent_s=-3.0))
    assert facts.priority == 2**32 - 1
    assert (facts.fence_s, facts.silent_s) == ((2**32 - 2) / 1000, 0.0)
    assert _again(Facts(priority=2**32 - 1, fence_s=0.001)).fence_s == 0.001
    promise = _again(Facts(promise=Promise(1e9, frozenset()))).promise
    assert promise is not None and promise.death_s == (2**32 - 1) / 1000
    packed = pack_facts(Facts(frozen={NAMES[2]: -1}), NAMES)
    assert unpack_facts(packed, len(NAMES)).frozen == {2: 0}


def test_marks_are_read_up_to_their_number() -> None:
    """More of them, or half a one, are none."""
    full = Facts(marks=tuple(bytes([number] * 4) for number in range(32)))
    assert _again(full) == full
    for value in (bytes(33 * 4), bytes(5)):
        with pytest.raises(ValueError, match="marks of the configuration"):
            unpack_facts(b"\x03" + struct.pack(">H", len(value)) + value, 0)


def test_entry_without_a_value_is_the_last_one_that_is_read() -> None:
    """A frame may end with it."""
    assert unpack_facts(b"\xfa\x00\x00", 0).facts == Facts()
    for data in (b"\xfa\x00", b"\xfa\x00\x00\xfb"):
        with pytest.raises(ValueError, match="no head"):
            unpack_facts(data, 0)


def test_services_of_which_the_name_is_not_known_are_left_out() -> None:
    """Of each set."""
    raw = RawFacts(Facts(priority=3), frozenset({0, 5}), frozenset({1, 6}), {2: 7, 7: 8})
    assert raw.resolve({0: "a", 1: "b", 2: "c"}) == Facts(
        priority=3, unready=frozenset("a"), answering=frozenset("b"), frozen={"c": 7}
    )


def test_least_of_the_facts_withdraws_a_promise() -> None:
    """And leaves out what may wait."""
    promise = Promise(5.0, frozenset())
    full = Facts(
        priority=3, unready=frozenset("a"), marks=(bytes(4),), answering=frozenset("b"),
        frozen={"c": 7}, promise=promise,
    )  # fmt: skip
    assert least_facts(full) == Facts(priority=3, promise=promise)


def test_entries_have_the_numbers_and_bytes_that_other_versions_know() -> None:
    """The newest ones, of a daemon that was ordered something and of its targets."""
    plain = len(pack_facts(Facts(), ("a", "b")))
    assert pack_facts(Facts(ordered=frozenset("b")), ("a", "b"))[plain:] == b"\x06\x00\x01\x40"
    for number, reach in enumerate((Reach.UNKNOWN, Reach.REACHABLE, Reach.ISOLATED)):
        packed = pack_facts(Facts(connectivity=Connectivity(reach, 3)), ())[plain:]
        assert packed == b"\x07\x00\x05" + bytes([number]) + b"\x00\x00\x00\x03"
    packed = pack_facts(Facts(held_s=97.5), ())[plain:]
    assert packed == b"\x08\x00\x04\x00\x01\x7c\xdc"
    assert unpack_facts(packed + b"", 0).facts.held_s == 97.5
    assert unpack_facts(b"\x08\x00\x05\x00\x01\x7c\xdcx", 0).facts.held_s == 97.5
    with pytest.raises(ValueError, match="held back takes 3 bytes"):
        unpack_facts(b"\x08\x00\x03\x00\x01\x7c", 0)


def test_order_for_a_service_of_which_the_name_is_not_known_is_left_out() -> None:
    """As the other sets are."""
    assert RawFacts(Facts(), ordered=frozenset({0, 5})).resolve({0: "a"}).ordered == {"a"}
