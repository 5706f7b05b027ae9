"""The key file: what it may hold, what is reported when it is wrong, and how two of them are put
together.
"""

from __future__ import annotations

import pytest

from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.frame_seal import Key
from opensvc_openha.formats.key_file import KeyRing, format_keys, parse_keys

A, B, C = (Key(bytes([number] * 32)) for number in (1, 2, 3))


@pytest.mark.parametrize("ring", [KeyRing(A), KeyRing(A, next=B), KeyRing(B, previous=A)])
def test_what_is_written_is_read_again(ring: KeyRing) -> None:
    """Every stage of a rotation survives the file."""
    assert parse_keys(format_keys(ring), "key") == ring


GOOD = f"current {A.key_id} {A.secret.hex()}\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "no current key"),
        ("# nothing\n", None, "no current key"),
        (f"next {B.key_id} {B.secret.hex()}\n", None, "no current key"),
        (GOOD + GOOD, 2, "second current"),
        (GOOD + f"next {A.key_id} {A.secret.hex()}\n", 2, "twice"),
        (GOOD + f"next {B.key_id}\n", 2, "expected 3 columns"),
        (GOOD + f"other {B.key_id} {B.secret.hex()}\n", 2, "first column"),
        (f"current {A.key_id} {A.secret.hex()[:-1]}\n", 1, "64 hexadecimal digits"),
        (f"current {A.key_id} {A.secret.hex()[:-1]}f\n", 1, "a digit is wrong"),
        (f"current {B.key_id} {A.secret.hex()}\n", 1, "a digit is wrong"),
        (
            GOOD + f"next {B.key_id} {B.secret.hex()}\nprevious {C.key_id} {C.secret.hex()}\n",
            3,
            "two keys",
        ),
        ("current \x00\x01\n", None, "not plain text"),
    ],
)
def test_wrong_file_is_reported_with_its_line_and_without_the_secret(
    text: str, line: int | None, words: str
) -> None:
    """A ConfigError that names the place and never shows a secret."""
    with pytest.raises(ConfigError, match=words) as caught:
        parse_keys(text, "/x/openha.key")
    assert caught.value.line == line
    for key in (A, B, C):
        assert key.secret.hex()[:16] not in str(caught.value)


@pytest.mark.parametrize(
    ("ring", "newest"), [(KeyRing(A), A), (KeyRing(A, next=B), B), (KeyRing(B, previous=A), B)]
)
def test_rotation_leads_to_the_next_key(ring: KeyRing, newest: Key) -> None:
    """What the peer is shown as the newest key, and with that waited for before the other one is
    used.
    """
    assert ring.newest == newest


@pytest.mark.parametrize(
    ("ours", "brought", "result"),
    [
        (KeyRing(A), KeyRing(A), KeyRing(A)),
        (KeyRing(A), KeyRing(A, next=B), KeyRing(A, next=B)),
        (KeyRing(A), KeyRing(B, previous=A), KeyRing(B, previous=A)),
        (KeyRing(A, next=B), KeyRing(A), KeyRing(A, next=B)),
        (KeyRing(A, next=B), KeyRing(A, next=C), KeyRing(A, next=C)),
        (KeyRing(B, previous=A), KeyRing(A, next=B), KeyRing(B, previous=A)),
        (KeyRing(B), KeyRing(A, next=B), KeyRing(A, next=B)),
        (KeyRing(A), KeyRing(B), KeyRing(A, next=B)),
        (KeyRing(A, next=C), KeyRing(B), KeyRing(A, next=B)),
    ],
)
def test_install_never_takes_away_the_key_in_use(
    ours: KeyRing, brought: KeyRing, result: KeyRing
) -> None:
    """Whatever is brought, beats under our current key are understood afterwards.

    Known keys change nothing.
    """
    merged = ours.merged_with(brought)
    assert merged == result
    assert ours.current in merged.keys and brought.current in merged.keys
