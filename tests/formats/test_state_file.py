"""STATE files: what is written, what the original writes, and what is refused."""

from __future__ import annotations

import pytest

from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.stay import ORDERED, Stay
from opensvc_openha.formats.state_file import StoredState, decode, encode

ENDINGS = [
    (StoredState(S.STOPPING, S.FROZEN_STOP), b"1\0then FROZEN_STOP\n"),
    (StoredState(S.STOPPED, S.FROZEN_STOP), b"0\0then FROZEN_STOP\n"),
    (StoredState(S.STARTING, S.FROZEN_START), b"3\0then FROZEN_START\n"),
    (StoredState(S.START_READY, S.FROZEN_START), b"7\0then FROZEN_START\n"),
    (StoredState(S.FROZEN_START), b"7\0FROZEN_START\n"),
]
STAYS = [
    (StoredState(S.STARTED, stay=ORDERED), b"2\0by order\n"),
    (StoredState(S.STOPPED, stay=ORDERED), b"0\0by order\n"),
    (StoredState(S.FROZEN_STOP, stay=ORDERED), b"6\0by order\n"),
    (StoredState(S.STARTED, stay=Stay(returned_at=1234.5)), b"2\0returned 1234.500\n"),
    (StoredState(S.START_READY, stay=Stay(returned_at=0.0)), b"7\0returned 0.000\n"),
]


@pytest.mark.parametrize("state", [state for state in S if state is not S.FROZEN_START])
def test_state_with_a_digit_is_the_two_bytes_of_the_original(state: S) -> None:
    """A state that the original knows: the file is its digit and a NUL, nothing else, and reads
    back.
    """
    data = encode(StoredState(state))
    assert data == b"%d\0" % state.value
    assert decode(data) == StoredState(state)


@pytest.mark.parametrize("stored, data", [*ENDINGS, *STAYS])
def test_what_a_digit_would_lose_is_kept_in_a_tail(stored: StoredState, data: bytes) -> None:
    """A frozen start, or a step towards a frozen state: the first two bytes stay the original's, a
    tail reports the rest.
    """
    assert encode(stored) == data
    assert decode(data) == stored


@pytest.mark.parametrize("_, data", ENDINGS)
def test_digit_rewritten_in_place_makes_the_old_tail_void(_: StoredState, data: bytes) -> None:
    """A C OpenHA writes STARTED over the first two bytes: the state is STARTED and nothing
    follows.
    """
    assert decode(b"2\0" + data[2:]) == StoredState(S.STARTED)


@pytest.mark.parametrize(
    "data",
    [
        b"2\0by orders\n",
        b"2\0returned 1\n",
        b"2\0returned -1.000\n",
        b"2\0returned nan\n",
        b"7\0FROZEN_STAR",
        b"7\0then FROZEN_STOP\n",
        b"1\0FROZEN_START\n",
        b"6\0anything",
        b"6\0\0",
    ],
)
def test_tail_that_is_not_ours_is_ignored(data: bytes) -> None:
    """A tail that does not belong to its digit: the digit alone counts."""
    assert decode(data) == StoredState(S(int(data[:1])))


@pytest.mark.parametrize("data", [b"6\n", b"6"])
def test_digit_of_the_init_script_is_accepted(data: bytes) -> None:
    """The original's init script writes `6` and a newline: FROZEN_STOP."""
    assert decode(data) == StoredState(S.FROZEN_STOP)


@pytest.mark.parametrize(
    "data",
    [b"", b"x\n", b"99", b"-1", b" 2", b"\0\0", b"2x", b"6\n\n", b"\xb2\0", b"2 \0", b"S" * 5000],
)
def test_damaged_file_is_refused_with_what_was_found(data: bytes) -> None:
    """A file that the original would read as some state: a ValueError that shows the content."""
    with pytest.raises(ValueError, match="expected a digit 0-9 and a NUL byte; found"):
        decode(data)


@pytest.mark.parametrize(
    "data, shown",
    [
        (b"", "an empty file"),
        (b"x" * 16, repr(b"x" * 16)),
        (b"x" * 16 + b"y", "17 bytes that begin with " + repr(b"x" * 16)),
    ],
)
def test_damaged_file_is_shown_in_a_short_line(data: bytes, shown: str) -> None:
    """Whatever the file has become: the whole of a short content, the beginning of a long one."""
    with pytest.raises(ValueError) as caught:
        decode(data)
    assert str(caught.value).endswith(f"; found {shown}")


def test_ending_that_makes_no_sense_cannot_be_stored() -> None:
    """STARTED on its way to FROZEN_STOP does not exist: it cannot be built, so never written."""
    with pytest.raises(ValueError, match="STARTED cannot be followed by FROZEN_STOP"):
        StoredState(S.STARTED, S.FROZEN_STOP)


@pytest.mark.parametrize(("state", "target"), [(S.FROZEN_START, None), (S.STOPPING, S.FROZEN_STOP)])
def test_frozen_state_has_no_room_for_why_a_service_stays(state: S, target: S | None) -> None:
    """An older version would take the longer tail for none, and the state for another one."""
    with pytest.raises(ValueError, match="has no room for why the service stays"):
        StoredState(state, target, ORDERED)
