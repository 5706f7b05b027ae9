"""The token of `openha join`: what was encoded is decoded, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.errors import UsageError
from opensvc_openha.formats.join_token import ADDRESSES_MAX, SECRET_BYTES, JoinToken, decode, encode

SECRET = bytes(range(200, 200 + SECRET_BYTES))
TOKEN = JoinToken(("10.50.0.1", "10.50.1.1"), 5430, SECRET, 1_800_000_000)


@given(
    addresses=st.lists(st.ip_addresses(v=4), min_size=1, max_size=ADDRESSES_MAX),
    port=st.integers(1, 65_535),
    secret=st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES),
    expires_at=st.integers(0, 2**32 - 1),
)
def test_every_token_comes_back(
    addresses: list[object], port: int, secret: bytes, expires_at: int
) -> None:
    token = JoinToken(tuple(str(each) for each in addresses), port, secret, expires_at)
    word = encode(token)
    assert word.isalnum() and word == word.lower()
    assert decode(word) == token


def test_a_token_that_was_wrapped_or_shouted_is_the_same() -> None:
    word = encode(TOKEN)
    assert decode(f" {word[:20]}\n  {word[20:].upper()}\r\n") == TOKEN


def test_each_mistyped_or_missing_character_is_found() -> None:
    word = encode(TOKEN)
    for place in range(len(word)):
        for changed in (
            word[:place] + ("a" if word[place] != "a" else "b") + word[place + 1 :],
            word[:place] + word[place + 1 :],
            word[:place],
        ):
            # The bits beyond the last byte carry nothing.
            if place < len(word) - 1:
                with pytest.raises(UsageError):
                    decode(changed)


@pytest.mark.parametrize("word", ["", "abc", "-", "0189", "é" * 60, "a" * 10_000, "deb2"])
def test_what_is_no_token_is_refused_with_what_to_do(word: str) -> None:
    with pytest.raises(UsageError, match="openha setup"):
        decode(word)


def test_a_token_of_a_later_version_says_so() -> None:
    import base64
    import zlib

    body = b"\x02\x01later"
    data = body + zlib.crc32(body).to_bytes(4, "big")
    with pytest.raises(UsageError, match="the same version"):
        decode(base64.b32encode(data).decode())


def test_neither_its_text_nor_an_error_shows_the_secret() -> None:
    """Tokens end up in tracebacks and logs by their repr, and errors on terminals."""
    word = encode(TOKEN)
    assert repr(SECRET)[2:-1] not in repr(TOKEN)
    with pytest.raises(UsageError) as caught:
        decode(word[:-9])
    assert word[10:20] not in str(caught.value)
