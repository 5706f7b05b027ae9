"""Beat frames: round trips, sizes, damage of every kind, and names learned page by page."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies._internal.random import ArtificialRandom

from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.errors import FrameError
from opensvc_openha.formats import beat_frame
from opensvc_openha.formats.beat_frame import (
    MAX_FRAME_BYTES,
    Frame,
    encode_beat,
    names_digest,
    open_frame,
    peek_number,
)
from opensvc_openha.formats.frame_seal import Key, Seal
from opensvc_openha.formats.name_book import NameBook
from opensvc_openha.formats.state_list import PLAIN_MAX, pack_states, unpack_deflated
from tests.decoding import decode_frame

KEY = Key(bytes(range(32)))
SEAL = Seal(KEY, KEY.key_id, b"net 239.131.50.10 5010")
REASONS = {"blank", "alien", "version", "truncated", "oversized", "checksum", "malformed"}
NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
U64 = st.integers(0, 2**64 - 1)
BOOT = st.builds(BootId, st.integers(0, 2**32 - 1), U64)
BEATS = st.builds(
    Beat,
    node=st.sampled_from(["a", "deb1.opensvc.com", "x" * 63 + "." + "y" * 63]),
    boot=BOOT,
    seq=U64,
    ack=st.none() | st.builds(Ack, BOOT, U64),
    states=st.dictionaries(NAME, st.sampled_from(list(S)), max_size=40),
    goodbye=st.sampled_from(list(Goodbye)),
    wants_ack=st.booleans(),
    sent_at=st.integers(0, 2**40).map(lambda ms: ms / 1000),
    mute=st.frozensets(st.binary(min_size=8, max_size=8), max_size=64),
)


def a_beat(states: dict[str, S] | None = None, seq: int = 1, **changes: Any) -> Beat:
    values = dict(node="deb1", boot=BootId(3, 7), seq=seq, ack=None, states=states or {})
    return Beat(**{**values, **changes})


def encoded(beat: Beat, **values: Any) -> bytes:
    data = encode_beat(beat, **values)
    assert data is not None, "the beat fits in a frame"
    return data


def a_frame(beat: Beat, **changes: Any) -> bytes:
    values = dict(pid=11, interval_s=1.0, with_names=False)
    return encoded(beat, **{**values, **changes})


def many(count: int, length: int = 20) -> dict[str, S]:
    """States of ``count`` services with names of ``length`` characters."""
    return {f"svc{index:05d}".ljust(length, "x"): list(S)[index % len(S)] for index in range(count)}


def reason_of(data: bytes) -> str:
    with pytest.raises(FrameError) as caught:
        decode_frame(data)
    return caught.value.reason


def resealed(data: bytes) -> bytes:
    """The bytes with length and checksum made right again: only the meaning is wrong."""
    data = data[:8] + struct.pack(">H", len(data)) + data[10:-4]
    return data + struct.pack(">I", zlib.crc32(data))


@given(BEATS, st.integers(0, 2**32 - 1), st.booleans())
def test_beat_survives_the_wire(beat: Beat, pid: int, with_names: bool) -> None:
    """Any beat, sent to a node with the same services: it arrives equal and complete."""
    frame = decode_frame(encoded(beat, pid=pid, interval_s=0.25, with_names=with_names))
    book = NameBook()
    book.learn_own(beat.states)
    assert book.resolve(frame) == replace(beat, interval_s=0.25)
    assert (frame.node, frame.pid, frame.interval_s) == (beat.node, pid, 0.25)


def test_thousand_services_fit_in_one_datagram() -> None:
    """1,000 services, a node name of the longest kind: at most 1,200 bytes with and without
    names.
    """
    beat = Beat("n" * 63 + "." + "m" * 63, BootId(1, 2), 5, Ack(BootId(3, 4), 5), many(1000, 63))
    assert len(a_frame(beat)) < 800
    assert 1100 < len(a_frame(beat, with_names=True)) <= 1200


HEAD = struct.Struct(">4sBBHHBIQQIQQQII")


def with_crc(data: bytes) -> bytes:
    return data + struct.pack(">I", zlib.crc32(data))


def test_frame_is_laid_out_as_every_version_reads_it() -> None:
    """Field by field, with an acknowledgement and without one, where these fields are zero."""
    rest = b"\x04deb1" + names_digest(("db", "web")) + b"\0\x02" + b"\x26"
    beat = a_beat({"web": S.FROZEN_STOP, "db": S.STARTED}, seq=9, sent_at=1.5)
    length = HEAD.size + len(rest) + 4
    bare = HEAD.pack(b"\x89EZB", 1, 0, 0, length, 0, 3, 7, 9, 0, 0, 0, 1500, 11, 250) + rest
    assert a_frame(beat, interval_s=0.25) == with_crc(bare)
    answer = replace(beat, ack=Ack(BootId(4, 5), 6), wants_ack=True)
    acknowledging = (
        HEAD.pack(b"\x89EZB", 1, 0, 3, length, 0, 3, 7, 9, 4, 5, 6, 1500, 11, 250) + rest
    )
    assert a_frame(answer, interval_s=0.25) == with_crc(acknowledging)


def test_number_of_a_frame_is_seen_before_anything_else() -> None:
    """Of a whole frame and of its head alone; nothing of what is shorter or no frame of ours."""
    data = a_frame(a_beat(many(3), seq=2**64 - 1))
    assert peek_number(data) == peek_number(data[: HEAD.size]) == (BootId(3, 7), 2**64 - 1)
    for other in (b"", data[: HEAD.size - 1], b"\0" + data[1:], bytes(len(data)), data[:4]):
        assert peek_number(other) is None


def test_shortest_beat_interval_is_a_millisecond() -> None:
    """It arrives; anything that would be none is not sent."""
    assert decode_frame(a_frame(a_beat(), interval_s=0.001)).interval_s == 0.001
    with pytest.raises(ValueError, match="below one millisecond"):
        a_frame(a_beat(), interval_s=0.0004)


def names_of(total: int) -> dict[str, S]:
    """Service names whose page takes that many bytes, head included: the last one first in the
    alphabet's order.
    """
    room = total - 4
    found: list[str] = []
    while room:
        # No entry of one byte may be left over.
        size = min(64, room) if room - min(64, room) != 1 else 60
        found.append(
            f"{len(found):05d}".ljust(size - 1, "x")[: size - 1] if size > 6 else "z" * (size - 1)
        )
        room -= size
    return {name: S.STARTED for name in found}


@pytest.mark.parametrize("room", [68, 69, 73, 512])
def test_page_of_names_fills_its_room_to_the_last_byte(room: int) -> None:
    """All names in one page where they fit exactly, in two where the room is a byte smaller."""
    states = names_of(room)
    bare = len(a_frame(a_beat(states)))
    whole = decode_frame(a_frame(a_beat(states), with_names=True, max_bytes=bare + room))
    assert whole.page_names == tuple(sorted(states))
    cut = a_frame(
        a_beat(states), with_names=True, max_bytes=bare + room - 1, limit_bytes=bare + room - 1
    )
    assert len(decode_frame(cut).page_names) < len(states)


def test_usual_datagram_and_largest_frame_are_filled_to_the_last_byte() -> None:
    """1,200 bytes by default, and at most 65,000, which are read, too."""
    for max_bytes, options in ((1200, {}), (65_000, {"max_bytes": 65_000})):
        states = many(2)
        for _ in range(3):
            # The nibbles of as many services as it takes come off the room.
            states = names_of(max_bytes - len(a_frame(a_beat(states))))
        data = a_frame(a_beat(states), with_names=True, **options)
        assert len(data) == max_bytes and decode_frame(data).page_names == tuple(sorted(states))
        more = names_of(max_bytes + 1 - len(a_frame(a_beat(states))))
        assert len(
            decode_frame(a_frame(a_beat(more), with_names=True, **options)).page_names
        ) < len(more)


def test_room_for_names_beside_states_that_fill_the_frame_ends_at_512_bytes() -> None:
    """Whatever the limit allows: a page of 512 bytes is sent whole, one of 513 in two."""
    for size in (512, 513):
        states = names_of(size)
        bare = len(a_frame(a_beat(states)))
        page = decode_frame(a_frame(a_beat(states), with_names=True, max_bytes=bare)).page_names
        assert (page == tuple(sorted(states))) is (size == 512)


@pytest.mark.parametrize(
    ("room", "limit", "page"),
    [
        (67, 67, 0),
        (68, 68, 68),
        (68, 2000, 68),
        (67, 100, 68),
        (67, 68, 68),
        (0, 512, 512),
        (0, 2000, 512),
        (-50, 67, 0),
    ],
)
def test_names_get_some_room_where_the_states_leave_none(room: int, limit: int, page: int) -> None:
    """From the longest name up to 512 bytes, and never more than the limit."""
    states = {name: S.STARTED for name in list(names_of(68 * 64 + 4))}
    states.update({f"a{size:02d}".ljust(size, "a"): S.STARTED for size in range(3, 60)})
    bare = len(a_frame(a_beat(states)))
    for seq in range(40):
        data = a_frame(
            a_beat(states, seq=seq),
            with_names=True,
            max_bytes=bare + room,
            limit_bytes=bare + limit,
        )
        assert (
            len(data) - bare <= max(page, 0) if page in (0, 512) else 0 < len(data) - bare <= limit
        )
        assert len(data) - bare <= max(room, min(limit, 512)) and bool(
            decode_frame(data).page_names
        ) is bool(page)


def motley(count: int, length: int = 20) -> dict[str, S]:
    """Services in states that follow no rule: the hardest to pack."""
    dice = random.Random(count)
    return {name: dice.choice(list(S)) for name in many(count, length)}


def test_states_that_fill_the_datagram_still_let_names_through() -> None:
    """3,000 services in states without a rule do not fit 1,200 bytes: a larger frame has every
    state and some names.
    """
    states = motley(3000)
    data = a_frame(a_beat(states), with_names=True)
    frame = decode_frame(data)
    assert 1200 < len(data) < 2400
    assert (
        frame.states == tuple(states[name] for name in sorted(states))
        and len(frame.page_names) > 10
    )


def test_ten_thousand_services_in_usual_states_fit_in_one_datagram() -> None:
    """10,000 services, most started here, some frozen: one datagram of 1,200 bytes, names included,
    arrives equal.
    """
    states = {
        name: S.STARTED if index % 50 else S.FROZEN_STOP for index, name in enumerate(many(10_000))
    }
    data = a_frame(a_beat(states), with_names=True)
    book = NameBook()
    book.learn_own(states)
    assert len(data) <= 1200
    assert book.resolve(decode_frame(data)) == a_beat(states)


def test_ten_thousand_services_in_the_worst_states_fit_in_a_slot() -> None:
    """10,000 services in states that follow no rule: within the 5,108 bytes of a slot of ten
    blocks, names only if they fit.
    """
    states = motley(10_000, 63)
    data = a_frame(
        a_beat(states), with_names=True, max_bytes=5108, limit_bytes=5108, cluster="x", seal=SEAL
    )
    assert 4000 < len(data) <= 5108
    assert decode_frame(data).states == tuple(states[name] for name in sorted(states))


def test_names_of_thousands_of_services_are_learned_though_states_change() -> None:
    """A receiver that knows no name, a sender whose states change with every beat: complete within
    200 beats.
    """
    names, book = list(many(4000)), NameBook()
    for seq in range(1, 200):
        beat = a_beat(
            {
                name: S.STARTED if index % (seq + 20) else S.STOPPED
                for index, name in enumerate(names)
            },
            seq=seq,
        )
        frame = decode_frame(a_frame(beat, with_names=True))
        book.learn(frame)
        if book.resolve(frame).is_complete:
            return
    pytest.fail("never complete")


@pytest.mark.parametrize("seed", range(5))
def test_states_of_more_services_than_a_thousand_take_less_than_nibbles(seed: int) -> None:
    """Up to 1,024 services a nibble each.

    More of them are deflated, and take less even where they follow no rule.
    """
    dice = random.Random(seed)
    states = [dice.choice(list(S)) for _ in range(PLAIN_MAX + 1)]
    plain, is_deflated = pack_states(states[:-1])
    assert PLAIN_MAX == 1024 and (len(plain), is_deflated) == (512, False)
    packed, is_deflated = pack_states(states)
    assert (
        is_deflated and len(packed) < 513 and unpack_deflated(packed, len(states)) == tuple(states)
    )


@pytest.mark.parametrize("damage", ["short", "long", "bomb", "garbage"])
def test_deflated_states_that_are_not_as_many_as_announced_are_refused(damage: str) -> None:
    """Deflated states that unpack to fewer, more, a million or nothing: ValueError, and no memory
    is filled.
    """
    count = 2000
    data = {
        "short": zlib.compress(bytes(count - 1)),
        "long": zlib.compress(bytes(count + 1)),
        "bomb": zlib.compress(bytes(50_000_000)),
        "garbage": b"\x78\x9cnothing of the kind",
    }[damage]
    with pytest.raises(ValueError):
        unpack_deflated(data, count)


@pytest.mark.parametrize("max_bytes", [1200, 5108])
def test_names_are_learned_from_successive_beats(max_bytes: int) -> None:
    """A receiver that knows no name hears one beat after the other: incomplete until the last page,
    then equal.
    """
    states = many(1000)
    book, complete_at = NameBook(), None
    for seq in range(1, 200):
        beat = a_beat(states, seq=seq)
        data = a_frame(beat, with_names=True, max_bytes=max_bytes)
        assert len(data) <= max_bytes
        frame = decode_frame(data)
        book.learn(frame)
        got = book.resolve(frame)
        assert got.states.items() <= states.items() and got.states
        assert got.is_complete == (len(got.states) == 1000)
        if got.is_complete:
            assert got == beat
            complete_at = seq
            break
    assert complete_at and complete_at <= 1 + 1000 // len(frame.page_names) + 1
    assert book.resolve(decode_frame(a_frame(a_beat(states, seq=500)))).is_complete


def test_states_that_are_as_before_are_the_same_object_whatever_else_is_new() -> None:
    """Not those of other services in the same states, nor others of the same services."""
    book, own = NameBook(), many(300)
    book.learn_own(own)
    book.learn_own([*own, "zz"])

    def states(of: dict[str, S], seq: int) -> Mapping[str, S]:
        found = book.resolve(decode_frame(a_frame(replace(a_beat(of), seq=seq))))
        assert found.is_complete and found.seq == seq and found.states == of
        return found.states

    first = states(dict.fromkeys(own, S.STARTED), 1)
    assert states(dict.fromkeys(own, S.STARTED), 2) is first
    names = [*own][1:] + ["zz"]
    book.learn_own(own)
    book.learn_own(names)
    assert states(dict.fromkeys(own, S.STARTED), 3) == dict.fromkeys(own, S.STARTED)
    assert states(dict.fromkeys(names, S.STARTED), 3).keys() == set(names)
    assert states(dict.fromkeys(own, S.STARTED) | {names[0]: S.STOPPED}, 4) is not first


def test_names_that_are_in_use_are_kept_when_others_are_learned() -> None:
    """More sets of names than the book holds: the one that was looked up last stays."""
    book = NameBook()
    frames = [
        decode_frame(a_frame(a_beat({f"web{number}": S.STARTED}), with_names=True))
        for number in range(book.MAX_DIGESTS + 1)
    ]
    for frame in frames[:-1]:
        book.learn(frame)
    assert book.resolve(frames[0]).is_complete
    book.learn(frames[-1])
    known = [book.resolve(frame).is_complete for frame in frames]
    assert known == [True, False] + [True] * (book.MAX_DIGESTS - 1)


def test_names_of_another_number_of_services_are_not_those_of_a_frame() -> None:
    """The digest is the same, the number of states is not: no state gets a name."""
    book = NameBook()
    frame = decode_frame(a_frame(a_beat({"a": S.STARTED, "b": S.STOPPED}), with_names=True))
    book.learn(frame)
    longer = replace(frame, states=(*frame.states, S.STARTED))
    assert book.resolve(frame).is_complete
    assert (book.resolve(longer).states, book.resolve(longer).is_complete) == ({}, False)


def test_unknown_names_give_an_empty_incomplete_beat() -> None:
    """States whose names never came: the beat is there, has no state and is not complete."""
    got = NameBook().resolve(decode_frame(a_frame(a_beat({"web": S.STARTED}))))
    assert (got.states, got.is_complete) == ({}, False)


def test_beat_without_services_is_complete_at_once() -> None:
    """A peer with no service configured: complete, nothing to learn."""
    assert NameBook().resolve(decode_frame(a_frame(a_beat()))) == a_beat()


@pytest.mark.parametrize(
    "changed", [["web"], ["web", "db", "mail"], []], ids=["removed", "added", "all removed"]
)
def test_the_peers_states_are_known_on_when_services_change_here_first(changed: list[str]) -> None:
    """A service is removed or added here only: the peer still reports the former ones, and none of
    its states is lost.
    """
    book = NameBook()
    book.learn_own(["web", "db"])
    frame = decode_frame(a_frame(a_beat({"web": S.STARTED, "db": S.STOPPED})))
    book.learn_own(changed)
    beat = book.resolve(frame)
    assert (beat.states, beat.is_complete) == ({"web": S.STARTED, "db": S.STOPPED}, True)


def test_former_services_stay_known_while_nothing_changes() -> None:
    """Three former sets, and the present one read again and again: the peer may still have the
    oldest.
    """
    book = NameBook()
    for names in (["a"], ["a", "b"], ["a", "b", "c"], ["d"], ["d"], ["d"]):
        book.learn_own(names)
    assert book.resolve(decode_frame(a_frame(a_beat({"a": S.STARTED})))).is_complete


def test_own_names_take_no_place_of_learned_ones() -> None:
    """A page of the names that are configured here brings nothing new, and pushes nothing out."""
    book = NameBook()
    book.learn_own(["web"])
    for index in range(4):
        book.learn(forged([f"n{index}"]))
    book.learn(forged(["web"]))
    assert all(
        book.resolve(forged([], names_digest((f"n{index}",)), count=1)).is_complete
        for index in range(4)
    )


def test_former_services_are_not_kept_for_ever() -> None:
    """After some more changes the peer's frame is no longer covered, and has to bring its names."""
    book = NameBook()
    book.learn_own(["web"])
    frame = decode_frame(a_frame(a_beat({"web": S.STARTED})))
    for count in range(NameBook.MAX_FORMER + 1):
        assert book.resolve(frame).is_complete
        book.learn_own(["web", *(f"db{number}" for number in range(count + 1))])
    assert not book.resolve(frame).is_complete
    book.learn_own([])
    assert book.resolve(decode_frame(a_frame(a_beat({})))).is_complete


def forged(
    names: list[str] | tuple[str, ...],
    digest: bytes | None = None,
    first: int = 0,
    count: int | None = None,
) -> Frame:
    """A frame as decode_frame could give it, with names that need not fit its digest."""
    states = (S.STOPPED,) * (len(names) if count is None else count)
    digest = digest or names_digest(tuple(names))
    return Frame(
        "deb1",
        BootId(1, 1),
        1,
        None,
        Goodbye.NONE,
        False,
        0.0,
        1,
        1.0,
        digest,
        states,
        first,
        tuple(names),
    )


def test_names_that_do_not_give_the_digest_are_forgotten() -> None:
    """All pages came but one name is wrong: nothing of it is kept, and the right pages complete it
    later.
    """
    digest = names_digest(("db", "web"))
    book = NameBook()
    book.learn(forged(["db", "wrong"], digest))
    assert book.resolve(forged([], digest, count=2)).states == {}
    book.learn(forged(["db", "web"], digest))
    assert book.resolve(forged([], digest, count=2)).is_complete
    book.learn(forged(["xx"], digest, first=1, count=2))
    assert set(book.resolve(forged([], digest, count=2)).states) == {"db", "web"}


@pytest.mark.parametrize("names", [["../evil"], ["b", "a"], ["a", "a"], [""], ["x" * 64]])
def test_page_of_things_that_are_no_names_is_never_believed(names: list[str]) -> None:
    """Names that are unsafe, unsorted or double, with their very digest: never complete, unsafe
    ones never shown.
    """
    book = NameBook()
    book.learn(forged(names))
    got = book.resolve(forged([], names_digest(tuple(names)), count=len(names)))
    assert (got.states, got.is_complete) == ({}, False)


def test_frames_without_names_push_out_none_that_are_known() -> None:
    """Most beats have no page of names: whatever list they speak of, the known ones stay."""
    book = NameBook()
    for index in range(4):
        book.learn(forged([f"n{index}"]))
    for index in range(4):
        book.learn(forged([], names_digest((f"m{index}",)), count=1))
    assert all(
        book.resolve(forged([], names_digest((f"n{index}",)), count=1)).is_complete
        for index in range(4)
    )


def test_names_of_more_services_than_are_kept_are_not_begun() -> None:
    """20,000 services are learned, of one list or of two; nothing of a list of 20,001."""
    book = NameBook()
    for count, known in ((20_001, {}), (20_000, {"a": S.STOPPED})):
        digest = names_digest((f"{count}",))
        book.learn(forged(["a"], digest, count=count))
        assert book.resolve(forged([], digest, count=count)).states == known
    lists = [tuple(f"{letter}{index:05}" for index in range(10_000)) for letter in "ab"]
    book = NameBook()
    for names in lists:
        book.learn(forged(names))
    assert all(
        book.resolve(forged([], names_digest(names), count=10_000)).is_complete for names in lists
    )


def test_list_of_another_length_under_the_same_digest_begins_again() -> None:
    """A forged frame came first: the right pages complete the list all the same."""
    digest, book = names_digest(("db", "web")), NameBook()
    book.learn(forged(["zz"], digest, first=2, count=3))
    book.learn(forged(["db", "web"], digest))
    assert book.resolve(forged([], digest, count=2)).is_complete


def test_invented_names_do_not_fill_the_memory() -> None:
    """Frames with ever new names: four sets and 20,000 names are kept, the newest, and our own
    stay.
    """
    book = NameBook()
    book.learn_own(["web"])
    for index in range(10):
        book.learn(forged([f"n{index}"]))
    kept = [
        index
        for index in range(10)
        if book.resolve(forged([], names_digest((f"n{index}",)), count=1)).is_complete
    ]
    assert kept == [6, 7, 8, 9]
    for letter in "abc":
        book.learn(forged(sorted(f"{letter}{index}" for index in range(9000))))
    assert sum(len(item.names) for item in book._page_sets.values()) <= 20_000
    assert book.resolve(decode_frame(a_frame(a_beat({"web": S.STARTED})))).is_complete


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda data: b"", "blank"),
        (lambda data: bytes(512), "blank"),
        (lambda data: b"x", "alien"),
        (lambda data: b"deb1.opensvc.com".ljust(9384, b"\0"), "alien"),
        (lambda data: data[:3], "truncated"),
        (lambda data: data[:20], "truncated"),
        (lambda data: data[: HEAD.size - 1], "truncated"),
        (lambda data: data[: HEAD.size + 3], "truncated"),
        (lambda data: resealed(data[: HEAD.size] + bytes(4)), "malformed"),
        (lambda data: resealed(data[:5] + b"\1" + data[6 : HEAD.size] + bytes(4)), "malformed"),
        (lambda data: resealed(data[:6] + b"\0\x10" + data[8 : HEAD.size] + bytes(7)), "malformed"),
        (lambda data: data[:-1], "truncated"),
        (lambda data: data + b"\0", "oversized"),
        (lambda data: data[:8] + b"\xff\xff" + data[10:].ljust(65525, b"\0"), "oversized"),
        (lambda data: data[:4] + b"\2" + data[5:], "version"),
        (lambda data: data[:5] + b"\2" + data[6:], "version"),
        (lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], "checksum"),
        (lambda data: resealed(data[:6] + b"\x80\0" + data[8:]), "malformed"),
        (lambda data: resealed(data[:10] + b"\3" + data[11:]), "malformed"),
        (
            lambda data: resealed(data[: HEAD.size - 4] + bytes(4) + data[HEAD.size :]),
            "malformed",
        ),
        (lambda data: resealed(data[:-6] + b"\xb0" + data[-5:]), "malformed"),
        (lambda data: resealed(data[:-5] + b"\0" + data[-5:]), "malformed"),
        (lambda data: resealed(data.replace(b"\x04deb1", b"\x04../x")), "malformed"),
        (lambda data: resealed(data.replace(b"\x04deb1", b"\xffdeb1")), "malformed"),
    ],
)
def test_bad_frame_is_filed_under_its_reason(spoil: Callable[..., Any], reason: str) -> None:
    """A frame spoiled in one way: FrameError with the counter it belongs to."""
    data = spoil(a_frame(a_beat(many(3))))
    assert reason_of(data) == reason


def test_checksum_that_the_carrier_has_checked_is_not_checked_again() -> None:
    """A wrong checksum: refused, except where the bytes come from a slot that was found whole."""
    data = a_frame(a_beat(many(3)))
    damaged = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(FrameError) as caught:
        open_frame(damaged)
    assert caught.value.reason == "checksum"
    assert open_frame(damaged, is_checked=True).decode() == open_frame(data).decode()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.replace(b"\x04deb1", b"\x04../x"),
        lambda data: data.replace(b"\x04deb1", b"\xffdeb1"),
        lambda data: data[: HEAD.size] + b"\x09deb1" + bytes(4),
        lambda data: data[: HEAD.size] + bytes(4),
        lambda data: data[:5] + b"\1" + data[6 : HEAD.size] + bytes(4),
        lambda data: data[:6] + b"\0\x10" + data[8 : HEAD.size] + bytes(7),
    ],
)
def test_claim_of_what_cannot_be_a_node_is_malformed(spoil: Callable[..., Any]) -> None:
    """A whole frame with a right checksum whose sender has no name, or one that is none: not even a
    claim.
    """
    data = a_frame(a_beat(many(3)))
    assert open_frame(data).node == "deb1"
    with pytest.raises(FrameError) as caught:
        open_frame(resealed(spoil(data)))
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("name", [b"\x03a/b", b"\x03..\xff", b"\x03-ab", b"\x09abc", b"\x00abc"])
def test_page_with_a_name_that_is_none_is_malformed(name: bytes) -> None:
    """A right checksum around a service name that is none: malformed, the whole frame is
    refused.
    """
    data = a_frame(a_beat({"abc": S.STARTED}), with_names=True)
    assert data.count(b"\x03abc") == 1
    assert reason_of(resealed(data.replace(b"\x03abc", name))) == "malformed"


def test_page_without_names_is_malformed_and_no_page_begins_at_none() -> None:
    data = a_frame(a_beat({"abc": S.STARTED}), with_names=True)
    assert reason_of(resealed(data.replace(b"\0\0\0\1\x03abc", bytes(4)))) == "malformed"
    frame = decode_frame(a_frame(a_beat({"abc": S.STARTED})))
    assert (frame.page_first, frame.page_names) == (0, ())


def test_room_for_names_is_taken_in_steps_from_the_least_on() -> None:
    assert beat_frame._room(68, 9000, 1) == 68
    assert beat_frame._room(600, 9000, 256) == 512


@pytest.mark.parametrize("page", [(0, 0), (1, 1), (0, 2), (65535, 1)])
def test_page_outside_the_services_is_malformed(page: tuple[int, int]) -> None:
    """A page that claims indexes that do not exist: malformed."""
    data = a_frame(a_beat({"abc": S.STARTED}), with_names=True)
    assert (
        reason_of(
            resealed(data.replace(b"\0\0\0\1\x03abc", struct.pack(">HH", *page) + b"\x03abc"))
        )
        == "malformed"
    )


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_give_a_frame_error(data: bytes, has_magic: bool) -> None:
    """Arbitrary bytes, with or without our magic: a FrameError with a known reason, nothing
    else.
    """
    assert reason_of(b"\x89EZB" * has_magic + data) in REASONS


@given(BEATS, st.booleans(), st.randoms(use_true_random=False), st.booleans())
def test_any_mutation_is_a_frame_or_a_frame_error(
    beat: Beat, with_names: bool, dice: ArtificialRandom, is_resealed: bool
) -> None:
    """A valid frame with bytes changed, cut, doubled, with or without a right checksum: a Frame or
    a FrameError.
    """
    data = bytearray(a_frame(beat, with_names=with_names))
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(data))
        change = dice.choice(["flip", "set", "cut", "double"])
        if change == "flip":
            data[place] ^= 1 << dice.randrange(8)
        elif change == "set":
            data[place] = dice.choice([0, 1, 127, 255])
        elif change == "cut":
            del data[place : place + dice.randint(1, 8)]
        else:
            data[place:place] = data[place : place + dice.randint(1, 8)]
        if len(data) < 15:
            break
    mutant = bytes(data)
    if is_resealed and len(mutant) > 14:
        mutant = resealed(mutant)
    try:
        frame = decode_frame(mutant)
    except FrameError as error:
        assert error.reason in REASONS
    else:
        assert len(NameBook().resolve(frame).states) <= len(frame.states)


def test_single_flipped_bit_is_never_taken_for_a_beat() -> None:
    """Each bit of a frame flipped in turn: always refused, so damage never changes what a peer is
    believed to report.
    """
    data = a_frame(a_beat({"web": S.STARTED}))
    for place in range(len(data) * 8):
        mutant = bytearray(data)
        mutant[place // 8] ^= 1 << place % 8
        assert reason_of(bytes(mutant)) in REASONS


@pytest.mark.parametrize(
    "change",
    [
        dict(seq=2**64),
        dict(seq=-1),
        dict(sent_at=float("nan")),
        dict(sent_at=float("inf")),
        dict(sent_at=-1.0),
        dict(states={"../evil": S.STARTED}, with_names=True),
        dict(states={f"s{index}": S.STOPPED for index in range(65_536)}),
        dict(node="../x"),
        dict(pid=2**32),
        dict(interval_s=0),
    ],
)
def test_beat_that_no_frame_can_hold_is_a_value_error(change: dict[str, Any]) -> None:
    """A number or a list beyond its field: ValueError before anything is sent."""
    options = {
        key: value for key, value in change.items() if key in ("pid", "interval_s", "with_names")
    }
    values = {key: value for key, value in change.items() if key not in options}
    with pytest.raises(ValueError):
        a_frame(a_beat(**values), **options)


def notice(count: int, states: dict[str, S] | None = None) -> Beat:
    """A beat that reports that so many links are mute."""
    return a_beat(states, mute=frozenset(struct.pack(">Q", number + 1) for number in range(count)))


def test_ordinary_beat_has_the_flags_of_former_versions_only() -> None:
    """An older version refuses flags it does not know: none of the newer ones is in a beat that is
    no notice.
    """
    everything = a_beat(many(2000), wants_ack=True)
    flags = struct.unpack_from(
        ">H", a_frame(everything, with_names=True, cluster="paris", seal=SEAL), 6
    )[0]
    assert flags & ~63 == 0
    assert struct.unpack_from(">H", a_frame(notice(1)), 6)[0] == 64
    assert len(a_frame(notice(3))) == len(a_frame(a_beat())) + 1 + 3 * 8


def test_more_mute_links_than_a_frame_holds_are_left_out() -> None:
    """100 links are down: 64 are named.

    In a slot that the states fill, as many as there is room for, or none.
    """
    assert len(decode_frame(a_frame(notice(100))).mute) == 64
    states = motley(10_000, 63)
    bare = len(a_frame(a_beat(states)))
    for room, named in ((0, 0), (8, 0), (9, 1), (30, 3)):
        data = a_frame(notice(5, states), limit_bytes=bare + room)
        assert len(decode_frame(data).mute) == named and len(data) <= bare + room


@pytest.mark.parametrize(
    "marks",
    [
        b"\0",
        b"\1" + bytes(7),
        b"\2" + bytes(16),
        b"\2" + b"b" * 8 + b"a" * 8,
        b"\x41" + b"".join(b"%08d" % n for n in range(65)),
    ],
)
def test_mute_links_that_are_none_too_many_doubled_or_unsorted_are_malformed(marks: bytes) -> None:
    """There is one way to write a set of mute links; anything else is refused."""
    data = a_frame(notice(1))
    assert reason_of(resealed(data[:-13] + marks + data[-4:])) == "malformed"


def test_largest_cluster_stays_within_the_frame_limit() -> None:
    """65,535 services with a page of names that could fill a datagram: the frame is allowed up to
    65,000 bytes only.
    """
    states = many(65_535, 8)
    assert len(a_frame(a_beat(states))) < MAX_FRAME_BYTES
    with pytest.raises(ValueError, match="more than 65000"):
        a_frame(a_beat(states), with_names=True, max_bytes=70_000)


def test_order_of_the_states_mapping_does_not_matter() -> None:
    """The same services in another order: the same bytes."""
    states = list(many(50).items())
    shuffled = states[:]
    random.Random(1).shuffle(shuffled)
    assert a_frame(a_beat(dict(states)), with_names=True) == a_frame(
        a_beat(dict(shuffled)), with_names=True
    )
