"""A listener's thread in front of the engine: recorded frames that are played by the thousand do
not reach it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.formats.beat_frame import WholeFrame, encode_beat
from opensvc_openha.formats.frame_seal import Key, Seal, link_binding
from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.legacy_frame import LegacyRecord, encode_record
from opensvc_openha.formats.options_file import HeartbeatOptions
from opensvc_openha.formats.options_schema import AuthMode
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.heartbeat.beat_intake import BeatIntake, Origin
from opensvc_openha.heartbeat.codec.legacy import LegacyCodec
from opensvc_openha.heartbeat.codec.own import OwnCodec
from opensvc_openha.heartbeat.link_workers import ListenerThread
from opensvc_openha.heartbeat.repeat_filter import KNOWN_FRAMES, REPEAT_SAMPLE_S, RepeatFilter
from opensvc_openha.links.base import Received

PEER = "deb1"
LINK = LinkSpec(PEER, "net", "eth1", "239.131.50.10", 5010, 0, 10)
KEY = Key(bytes([7] * 32))
FOR_S = 5.0


def frame(seq: int, key: Key | None) -> bytes:
    """A beat of the peer."""
    seal = None if key is None else Seal(key, key.key_id, link_binding(LINK))
    return encode_beat(
        Beat(PEER, BootId(1, 1), seq, None, {}, sent_at=0.0),
        pid=1,
        interval_s=1.0,
        with_names=False,
        seal=seal,
    )


def listener(key: Key | None, taken: list[BeatReceived]) -> ListenerThread:
    """The thread, not started, which hands what it takes to a list in the place of the engine."""
    authentication = Authentication("deb2", BootId(9, 9))
    mode = AuthMode.OFF if key is None else AuthMode.ENFORCED
    authentication.update(HeartbeatOptions(mode, ""), None if key is None else KeyRing(key), {})

    def deliver(event: BeatReceived) -> bool:
        taken.append(event)
        return True

    codec = OwnCodec(LINK, tuple, authentication)
    return ListenerThread(
        LINK, codec, deliver, lambda tried: None, lambda link, is_fault, text: None
    )


@pytest.mark.parametrize("key", [None, KEY], ids=["off", "enforced"])
def test_replayed_flood_is_counted_and_the_engine_hears_of_some_of_it_only(key: Key | None) -> None:
    """A hundred recorded frames, played a thousand a second among new ones: each new one is handed
    on, all others counted.
    """
    taken: list[BeatReceived] = []
    thread = listener(key, taken)
    tape = [frame(seq, key) for seq in range(1, 101)]
    fresh = [frame(seq, key) for seq in range(101, 106)]
    for data in tape:
        thread._intake.take(Received(data, 0.0, PEER))
    del taken[:]
    played = int(1000 * FOR_S)
    for number in range(played):
        thread._intake.take(Received(tape[number % len(tape)], number / 1000, PEER))
        if number % 1000 == 500:
            thread._intake.take(Received(fresh[number // 1000], number / 1000, PEER))
    assert [event.beat.seq for event in taken if event.beat.seq > 100] == [101, 102, 103, 104, 105]
    reported = len(taken) - len(fresh)
    assert 1 <= reported <= FOR_S / REPEAT_SAMPLE_S + 1
    assert thread.counts == {"replayed": played - reported}


def test_frames_are_forgotten_in_the_order_in_which_they_came() -> None:
    """More frames than a listener remembers: memory is bounded, and the oldest is an ordinary frame
    again.
    """
    taken: list[BeatReceived] = []
    thread = listener(None, taken)
    for seq in range(1, KNOWN_FRAMES + 2):
        thread._intake.take(Received(frame(seq, None), 0.0, PEER))
    del taken[:]
    for seq in (2, 2, 1, 1):
        thread._intake.take(Received(frame(seq, None), 0.0, PEER))
    assert [event.beat.seq for event in taken] == [2, 1]


def test_recording_longer_than_any_memory_costs_no_tag_when_it_is_played_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More authentic frames than were ever kept, in turn, ten thousand a second: the tag of few is
    worked out, none is new.

    A beat of the living peer among them is handed on, and so is the first one of its next life.
    """
    taken: list[BeatReceived] = []
    thread = listener(KEY, taken)
    tape = [frame(seq, KEY) for seq in range(1, 2 * KNOWN_FRAMES)]
    for data in tape:
        thread._intake.take(Received(data, 0.0, PEER))
    del taken[:]
    tags = []
    is_authentic = WholeFrame.is_authentic
    monkeypatch.setattr(
        WholeFrame, "is_authentic", lambda *args: tags.append(args) or is_authentic(*args)
    )
    for number, data in enumerate(tape * 3):
        thread._intake.take(Received(data, number / 10_000, PEER))
    seconds = 3 * len(tape) / 10_000
    assert len(tags) <= seconds / REPEAT_SAMPLE_S + 1
    del taken[:]
    thread._intake.take(Received(frame(len(tape) + 1, KEY), seconds, PEER))
    assert [event.beat.seq for event in taken] == [len(tape) + 1]


def test_number_that_was_never_authentic_keeps_no_beat_out() -> None:
    """A forged frame claims the highest number: refused, and the true beats below it are handed
    on.
    """
    taken: list[BeatReceived] = []
    thread = listener(KEY, taken)
    for data in (frame(2**64 - 1, Key(bytes(32))), frame(2**64 - 1, None), frame(5, KEY)):
        thread._intake.take(Received(data, 0.0, PEER))
    assert [event.beat.seq for event in taken] == [5]
    assert thread.counts == {"unknown key": 1, "unauthenticated": 1}


@pytest.mark.parametrize(
    ("address", "source", "is_taken"),
    [
        ("10.11.1.2", "10.11.1.2:5010", True),
        ("10.11.1.2", "10.11.1.9:5010", False),
        ("", "10.11.1.9:5010", True),
        ("fe80::1", "[fe80::1%eth1]:5010", True),
        ("fe80::1", "[fe80::2%eth1]:5010", False),
        ("10.11.1.2", "[10.11.1.2]:9", True),
    ],
)
def test_link_listens_to_its_configured_address_only(
    address: str, source: str, is_taken: bool
) -> None:
    """Without a key, too: a frame from elsewhere is counted and not looked into, whatever it
    reports.
    """
    taken: list[BeatReceived] = []
    counted: list[str] = []
    link = replace(LINK, peer_address=address)
    intake = BeatIntake(
        link,
        OwnCodec(link, tuple, Authentication("deb2", BootId(9, 9))),
        lambda event: not taken.append(event),
        lambda reason, what, number: counted.append(reason),
    )
    intake.take(Received(frame(1, None), 0.0, source))
    assert (len(taken), counted) == ((1, []) if is_taken else (0, ["source"]))


@pytest.mark.parametrize("is_checked", [False, True])
def test_checksum_is_checked_once_by_the_slot_or_by_the_frame(is_checked: bool) -> None:
    """A damaged datagram is counted; bytes that a slot was found to hold whole are believed."""
    taken: list[BeatReceived] = []
    thread = listener(None, taken)
    data = frame(1, None)
    damaged = data[:-1] + bytes([data[-1] ^ 1])
    thread._intake.take(Received(damaged, 0.0, PEER, is_checked))
    assert (len(taken), thread.counts) == ((1, {}) if is_checked else (0, {"checksum": 1}))


def test_record_from_a_wrong_source_does_not_keep_the_genuine_one_out() -> None:
    """The original's record of the next second is easily guessed: sent first, from elsewhere, it is
    not remembered.
    """
    taken: list[BeatReceived] = []
    counted: list[str] = []
    link = replace(LINK, wire=Wire.LEGACY, peer_address="10.11.1.2")
    intake = BeatIntake(
        link,
        LegacyCodec(link, tuple),
        lambda event: not taken.append(event),
        lambda reason, what, number: counted.append(reason),
    )
    record = encode_record(LegacyRecord(PEER, (), 1_800_000_000, 5, 1, 5010, "239.131.50.10"))
    for source in ("10.11.1.9:5010", "10.11.1.2:5010", "10.11.1.2:5010"):
        intake.take(Received(record, 0.0, source))
    assert (len(taken), counted) == (1, ["source", "repeated"])


@pytest.mark.parametrize("wire", list(Wire))
def test_frame_that_the_engine_had_no_room_for_counts_when_it_comes_again(wire: Wire) -> None:
    """The queue was full: nothing is remembered of it, on no kind of link."""
    link = replace(LINK, wire=wire)
    codec = (
        LegacyCodec(link, tuple)
        if wire is Wire.LEGACY
        else OwnCodec(link, tuple, Authentication("deb2", BootId(9, 9)))
    )
    data = (
        encode_record(LegacyRecord(PEER, (), 1_800_000_000))
        if wire is Wire.LEGACY
        else frame(1, None)
    )
    room = iter((False, True))
    taken: list[bool] = []
    counted: list[str] = []

    def deliver(event: BeatReceived) -> bool:
        taken.append(next(room))
        return taken[-1]

    intake = BeatIntake(link, codec, deliver, lambda reason, what, number: counted.append(reason))
    for _ in range(2):
        intake.take(Received(data, 0.0, "10.11.1.2:5010"))
    assert (taken, counted) == ([False, True], ["overload"])


def test_repeated_frames_are_passed_on_ten_times_a_second() -> None:
    """Of an unauthenticated frame that came before, and of any sender's."""
    known = RepeatFilter(LINK)
    known.record(Received(b"a", 0.0, ""), BeatReceived(LINK, _beat(1), 0.0))
    times = (0.0, 0.0625, 0.09, 0.1, 0.15, 0.25)
    passed = [at for at in times if not known.rejection(Received(b"a", at, ""))]
    assert passed == [0.0, 0.1, 0.25]


@pytest.mark.parametrize(("frames", "is_known"), [(2048, True), (2049, False)])
def test_two_thousand_unauthenticated_frames_are_known(frames: int, is_known: bool) -> None:
    """A frame that comes again takes no place of another one."""
    known = RepeatFilter(LINK)
    for number in (0, 0, *range(frames)):
        data = number.to_bytes(4, "big")
        known.record(Received(data, 0.0, ""), BeatReceived(LINK, _beat(1), 0.0))
    assert _is_known(known, bytes(4)) is is_known and _is_known(known, b"\0\0\0\1")


@pytest.mark.parametrize(("lives", "is_known"), [(64, True), (65, False)])
def test_newest_number_of_64_incarnations_is_known(lives: int, is_known: bool) -> None:
    """The one heard longest ago is dropped for another one, not one that is heard again."""
    known = RepeatFilter(LINK)
    for counter in (2, 1, 2, *range(3, lives + 1)):
        event = BeatReceived(LINK, _beat(counter), 0.0, key_id=KEY.key_id)
        known.record(Received(b"", 0.0, ""), event)
    frames = [
        encode_beat(_beat(counter), pid=1, interval_s=1.0, with_names=False)
        for counter in (1, 2, lives)
    ]
    assert [_is_known(known, data) for data in frames] == [is_known, True, True]


def _beat(counter: int) -> Beat:
    return Beat(PEER, BootId(counter, 1), 1, None, {}, sent_at=0.0)


def _is_known(known: RepeatFilter, data: bytes) -> bool:
    """Asked twice within one sample."""
    return [known.rejection(Received(data, 9e9, "")) for _ in range(2)][1] != ""


@pytest.mark.parametrize(
    ("data", "source", "has_room", "reason"),
    [
        (frame(1, None), "10.11.1.9:5010", True, "source"),
        (b"x", "10.11.1.2:5010", True, "alien"),
        (frame(1, None), "10.11.1.2:5010", False, "overload"),
    ],
)
def test_each_dropped_frame_is_counted_once(
    data: bytes, source: str, has_room: bool, reason: str
) -> None:
    """With the text of its first one for the log."""
    counted: list[tuple[str, str, int]] = []
    link = replace(LINK, peer_address="10.11.1.2")
    codec = OwnCodec(link, tuple, Authentication("deb2", BootId(9, 9)))
    intake = BeatIntake(link, codec, lambda _: has_room, lambda *count: counted.append(count))
    intake.take(Received(data, 0.0, source))
    assert counted == [(reason, "dropped a frame", 1)]


def test_repeated_record_of_the_original_is_counted_each_time() -> None:
    """Under its own reason: it is no sign of a recording, only of a record that was read again."""
    link = replace(LINK, wire=Wire.LEGACY)
    counted: list[tuple[str, str, int]] = []
    intake = BeatIntake(
        link, LegacyCodec(link, tuple), lambda _: True, lambda *count: counted.append(count)
    )
    data = encode_record(LegacyRecord(PEER, (), 1_800_000_000))
    for _ in range(3):
        intake.take(Received(data, 0.0, ""))
    assert counted == [("repeated", "dropped a frame", 1)] * 2


def test_original_is_believed_from_the_address_that_its_first_record_came_from() -> None:
    """Also a disk, and a link of our own format without a peer's address, believe all sources."""
    record = LegacyRecord(PEER, (), 1_800_000_000, 5, 1, 5010, "239.131.50.10")
    legacy = replace(LINK, wire=Wire.LEGACY)
    counted: list[str] = []
    intake = BeatIntake(
        legacy, LegacyCodec(legacy, tuple), lambda _: True, lambda *count: counted.append(count[0])
    )
    for number, source in enumerate(("10.11.1.2:1", "10.11.1.9:1", "10.11.1.2:2")):
        data = encode_record(replace(record, clock_s=record.clock_s + number))
        intake.take(Received(data, float(number), source))
    assert counted == ["source"]
    for link in (LINK, replace(legacy, address="", device="/dev/sdb", port=0)):
        origin = Origin(link)
        origin.record("first:0", 1.0)
        assert origin.admits("second:0", 1.0)


def test_source_that_is_not_known_or_no_address_is_compared_as_it_is() -> None:
    """A link that does not say where a frame came from has looked at that itself."""
    origin = Origin(replace(LINK, peer_address="10.11.1.2"))
    assert origin.admits("", 0.0)
    origin = Origin(replace(LINK, wire=Wire.LEGACY))
    origin.record("deb2:5010", 0.0)
    assert origin.admits("deb2:7", 1.0) and not origin.admits("deb3:5010", 1.0)
