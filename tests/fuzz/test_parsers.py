"""Arbitrary and slightly wrong input for every parser: it is read or refused with the documented
error, nothing else.
"""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensvc_openha.errors import ConfigError, FrameError
from opensvc_openha.formats import state_file
from opensvc_openha.formats.disk_slot import decode_slot, encode_slot
from opensvc_openha.formats.key_file import KeyRing, format_keys, parse_keys
from opensvc_openha.formats.legacy_frame import (
    DISK_BYTES,
    RECORD_BYTES,
    LegacyRecord,
    decode_disk_record,
    decode_record,
)
from opensvc_openha.formats.options_file import Options, parse_options
from opensvc_openha.peer_link.channel import Refusal
from tests.fuzz.disk_answers import GENUINE, take_answer
from tests.fuzz.intruder import (
    DISK,
    NET,
    OLD_NET,
    PEER,
    PEER_LIFE,
    PEER_SENDS,
    RECORDED,
    RECORDS,
    TEXTS,
    WRONG_KEY,
    Intruder,
    Target,
    Touched,
    beat_of,
    patched,
    read_text,
    repaired,
    sealed,
    seeds,
)
from tests.fuzz.local import REQUESTS
from tests.fuzz.peer_wire import (
    ANSWER,
    HELLO,
    PEER_REQUESTS,
    take_answer_of_peer,
    take_hello,
    take_peer_request,
)

PIECES = [
    "[",
    "]",
    "[[",
    "]]",
    "=",
    "\n",
    '"',
    "'",
    "'''",
    ",",
    "#",
    "%(x)s",
    "\x00",
    "\ufeff",
    "heartbeat",
    "wire",
    "own",
    "legacy",
    "timing",
    "profile",
    "fast",
    "fence_time",
    "scripts",
    "parallel",
    "policy",
    "on_dual_run",
    "authentication",
    "off",
    "cluster",
    "peer_address",
    "10.0.0.1",
    "current",
    "next",
    "previous",
    "0" * 64,
    "deb1",
    "deb2",
    "net",
    "dio",
    "disk",
    "/dev/x",
    "eth1",
    "239.1.1.1",
    "ff02::1",
    "5010",
    "1e9",
    " ",
    "\t",
    "\r",
    "é",
]
TEXT = st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join))
PATCHES = st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 255)), max_size=20).map(
    lambda found: b"".join(place.to_bytes(2, "big") + bytes([value]) for place, value in found)
)


def is_read_or_refused(kind: str, text: str) -> None:
    """Parses; any exception that is not documented comes out, and a result has the documented
    type.
    """
    found = read_text(kind, text)
    if found is not None:
        assert isinstance(found, {"key": KeyRing, "options": Options}.get(kind, tuple))


@pytest.mark.parametrize("kind", sorted(TEXTS))
@given(text=TEXT)
def test_any_text_is_read_or_refused(kind: str, text: str) -> None:
    """Arbitrary text, and words of the formats in any order: a value or a ConfigError."""
    is_read_or_refused(kind, text)


@pytest.mark.parametrize("kind", sorted(TEXTS))
@given(patches=PATCHES)
def test_valid_text_with_changed_bytes_is_read_or_refused(kind: str, patches: bytes) -> None:
    """A right file with some bytes replaced: a value or a ConfigError."""
    is_read_or_refused(
        kind, patched(TEXTS[kind].encode("utf-8"), patches).decode("utf-8", "replace")
    )


@pytest.mark.parametrize("kind", sorted(TEXTS))
def test_texts_to_begin_with_are_right(kind: str) -> None:
    """The files that are changed above are read as they are: otherwise the tests above would prove
    little.
    """
    assert read_text(kind, TEXTS[kind]) is not None


@given(text=TEXT)
def test_key_file_that_is_read_is_written_alike(text: str) -> None:
    """Whatever a key file holds, what is read from it survives being written."""
    try:
        ring = parse_keys(text, "F")
    except ConfigError:
        return
    assert parse_keys(format_keys(ring), "F") == ring


@pytest.mark.parametrize(
    "text", ["[heartbeat]\n[[wire]]\n", "[heartbeat]\n[[net eth1:239.1.1.1]]\n[[[wire]]]\n"]
)
def test_section_named_like_an_option_is_refused(text: str) -> None:
    """A section where the value of ``wire`` is expected: a ConfigError, not a crash."""
    with pytest.raises(ConfigError):
        parse_options(text, "F")


@given(st.one_of(st.binary(), st.binary(max_size=12).map(lambda tail: b"7\0" + tail)))
def test_any_state_file_is_a_state_or_a_value_error(data: bytes) -> None:
    """Arbitrary bytes, and a right beginning with any tail: a state that can be written again, or a
    ValueError.
    """
    try:
        stored = state_file.decode(data)
    except ValueError:
        return
    assert state_file.decode(state_file.encode(stored)) == stored


@given(st.binary(max_size=400), st.sampled_from([RECORD_BYTES, DISK_BYTES, RECORD_BYTES - 1]))
def test_any_legacy_record_is_a_record_or_a_frame_error(data: bytes, size: int) -> None:
    """Arbitrary bytes padded to the size of a record, on a network and on a disk: a record or a
    FrameError.
    """
    for decode in (decode_record, decode_disk_record):
        with contextlib.suppress(FrameError):
            assert isinstance(decode(data.ljust(size, b"\0")), LegacyRecord)


@given(PATCHES)
def test_slot_with_changed_bytes_is_its_frame_or_a_frame_error(patches: bytes) -> None:
    """A right slot with bytes replaced: the very frame that was written, or a FrameError."""
    try:
        frame = decode_slot(patched(encode_slot(RECORDED[0], 5_120), patches))
    except FrameError:
        return
    assert frame == RECORDED[0]


@given(genuine=st.sampled_from(GENUINE), patches=PATCHES)
def test_answer_of_a_disk_with_changed_bytes_is_read_or_refused(
    genuine: bytes, patches: bytes
) -> None:
    """A recorded one with some bytes replaced: no key is read that is not in it."""
    assert take_answer(genuine) or genuine[0] & 0x7F in (0x70, 0x72)
    take_answer(patched(genuine, patches))


# the whole node


@pytest.fixture(scope="module")
def intruder() -> Intruder:
    """One node under attack for all examples."""
    return Intruder()


@given(data=st.binary(max_size=300))
def test_any_input_moves_nothing(intruder: Intruder, data: bytes) -> None:
    """Arbitrary input as the fuzzer makes it: nothing but counters moves, on the node and
    outside.
    """
    intruder.take(data)


def test_attacks_to_begin_with_move_nothing_and_reach_every_check(intruder: Intruder) -> None:
    """Replays, forgeries, frames of other keys, links and lives: all are refused, each for its
    reason.
    """
    intruder.target.counts.clear()
    for seed in seeds():
        intruder.take(seed)
    reasons = {
        "blank",
        "alien",
        "truncated",
        "oversized",
        "checksum",
        "malformed",
        "version",
        "unauthenticated",
        "unknown key",
        "forged",
        "own",
        "node",
        "repeated",
        "decoded",
    }
    for frame in (RECORDED[0][:4] + b"\x09" + RECORDED[0][5:], patched(RECORDED[0], b"\0\x50\x01")):
        intruder.target.hear(NET[1], frame)
    for record in (RECORDS[0], RECORDS[0]):
        intruder.target.hear(OLD_NET, record)
    intruder.target.hear(OLD_NET, RECORDS[0].replace(PEER.encode(), b"deb9", 1))
    assert reasons <= set(intruder.target.counts)


@given(
    data=st.one_of(st.binary(max_size=300), st.sampled_from(REQUESTS)), choice=st.integers(0, 255)
)
def test_any_request_is_one_with_right_types_or_refused(
    intruder: Intruder, data: bytes, choice: int
) -> None:
    """A line over the control socket, arbitrary or nearly right: checked values that an engine
    takes, or an error of one line.
    """
    intruder.take(bytes([16, choice]) + data)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["stop", "mail", "keep"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=300)
@given(
    what=st.sampled_from(["act", "note", "leave", "reload", "history"]),
    values=st.fixed_dictionaries(
        {},
        optional={
            "command": st.sampled_from(["stop", "start", "force-stop"]) | _JSON,
            "services": st.lists(_JSON, max_size=3) | _JSON,
            "service": st.just("mail") | _JSON,
            "word": _JSON,
            "reason": _JSON,
            "is_alarm": _JSON,
            "how": st.just("stop") | _JSON,
        },
    ),
)
def test_request_with_values_of_any_type_is_checked(
    intruder: Intruder, what: str, values: dict[str, object]
) -> None:
    """The right names with values of every type at every depth: no TypeError, neither there nor in
    the engine.
    """
    intruder.take(b"\x10\0" + json.dumps({"do": what, **values}).encode())


def test_requests_to_begin_with_are_all_understood(intruder: Intruder) -> None:
    """Each kind of request is reached, and so is the refusal."""
    intruder.requests.clear()
    for seed in seeds():
        intruder.take(seed)
    assert set(intruder.requests) == {
        "refused",
        "StatusRequest",
        "HistoryRequest",
        "ActRequest",
        "ReloadRequest",
        "NoteRequest",
        "ForgetPeerRequest",
        "LeaveRequest",
    }


@given(patches=PATCHES | st.binary(max_size=40), choice=st.integers(0, 2))
def test_damaged_history_is_read_or_refused_and_written_again(
    intruder: Intruder, patches: bytes, choice: int
) -> None:
    """A whole file of the history with bytes replaced, and arbitrary bytes: entries or a
    SystemFault, and a file to continue in.
    """
    intruder.take(bytes([17, choice]) + patches)


@given(
    data=st.binary(max_size=60) | _JSON.map(lambda found: b"\0" + json.dumps(found).encode()),
    column=st.integers(0, 255),
)
def test_history_with_wrong_values_is_read_or_refused(
    intruder: Intruder, data: bytes, column: int
) -> None:
    """Values of any type in any column, and any JSON as what was seen: entries that can be shown,
    or a SystemFault.
    """
    intruder.take(bytes([18, column]) + data)


def test_fresh_genuine_beat_is_noticed() -> None:
    """The peer itself speaks: the check that nothing moved must fail, or it would prove nothing."""
    target = Target()
    with pytest.raises(AssertionError):
        target.hear(NET[1], sealed(beat_of(PEER_LIFE, 1_000, PEER_SENDS), NET[1]))


def test_opened_file_is_noticed(intruder: Intruder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that opens a file: the watch must stop it, or it would prove nothing."""
    monkeypatch.setattr(intruder, "_state_file", lambda payload: open("/dev/null"))
    with pytest.raises(Touched):
        intruder.take(b"\x08\0x")


def test_repaired_frame_passes_the_envelope() -> None:
    """A frame cut and repaired is refused for what is in it, no longer for its length or
    checksum.
    """
    target = Target()
    cut = repaired(sealed(beat_of(PEER_LIFE, 1_000, PEER_SENDS), DISK[1], WRONG_KEY)[:-8])
    assert target.hear(DISK[1], cut) not in ("truncated", "oversized", "checksum")


@given(data=st.one_of(st.binary(max_size=600), st.just(HELLO)), patches=PATCHES)
def test_hello_without_the_key_is_refused_and_with_it_is_read(data: bytes, patches: bytes) -> None:
    """A stranger opens no channel with whatever he sends; the owner of the key breaks nothing."""
    assert take_hello(HELLO, is_proven=True) is Refusal.NONE
    assert take_answer_of_peer(ANSWER, is_proven=True) == ""
    for each in (data, patched(HELLO, patches), patched(ANSWER, patches)):
        assert take_hello(each, is_proven=False) is Refusal.PROOF
        assert take_answer_of_peer(each, is_proven=False)
        take_hello(each, is_proven=True)
        take_answer_of_peer(each, is_proven=True)


@given(data=st.binary(max_size=300), genuine=st.sampled_from(PEER_REQUESTS), patches=PATCHES)
def test_request_of_the_peer_is_one_of_the_protocol_or_refused(
    data: bytes, genuine: bytes, patches: bytes
) -> None:
    """A genuine one is read; damaged it is another one or refused with the documented error."""
    assert take_peer_request(genuine).endswith("Request")
    take_peer_request(data)
    take_peer_request(patched(genuine, patches))
