"""Authenticated frames: round trips, every kind of forgery, and a decoder that never fails
otherwise.
"""

from __future__ import annotations

import hashlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.beat_frame import encode_beat, open_frame
from opensvc_openha.formats.frame_seal import (
    Key,
    Seal,
    cluster_mark,
    is_tag_right,
    link_binding,
    tag_of,
)
from opensvc_openha.formats.name_book import NameBook
from tests.decoding import decode_frame

KEY, OTHER = Key(bytes(range(32))), Key(bytes(range(1, 33)))
BINDING = b"net 239.131.50.10 5010"
REASONS = {"blank", "alien", "version", "truncated", "oversized", "checksum", "malformed"}
BEAT = Beat("deb1", BootId(3, 7), 9, Ack(BootId(1, 2), 3), {"web": S.STARTED, "db": S.STOPPED})


def sealed(beat: Beat = BEAT, key: Key = KEY, **changes: object) -> bytes:
    seal = Seal(key, KEY.key_id, BINDING)
    values = {
        "pid": 1,
        "interval_s": 1.0,
        "with_names": True,
        "seal": seal,
        "cluster": "paris",
        **changes,
    }
    return encode_beat(beat, **values)  # type: ignore[arg-type]


def repaired(data: bytes) -> bytes:
    """With the length and the CRC made right, as an attacker would."""
    data = data[:8] + struct.pack(">H", len(data)) + data[10:-4]
    return data + struct.pack(">I", zlib.crc32(data))


def test_sealed_frame_holds_what_the_beat_held() -> None:
    """Sender and receiver share the key and the link: authentic, and the very same beat."""
    data = sealed()
    frame = open_frame(data)
    assert frame.is_authentic(KEY, BINDING)
    assert (frame.node, frame.boot, frame.key_id, frame.newest_id) == (
        "deb1",
        BootId(3, 7),
        KEY.key_id,
        KEY.key_id,
    )
    assert frame.cluster == cluster_mark("paris")
    book = NameBook()
    book.learn_own(BEAT.states)
    assert book.resolve(frame.decode()) == BEAT


def test_greeting_keeps_its_meaning_on_the_wire() -> None:
    """An acknowledgement that is only a greeting arrives as one."""
    from dataclasses import replace

    beat = replace(BEAT, ack=Ack(BootId(1, 2), 3, is_taken=False))
    assert decode_frame(sealed(beat)).ack == beat.ack


def test_every_changed_bit_is_noticed_even_with_a_right_checksum() -> None:
    """Each bit flipped in turn and the CRC repaired: never authentic, so no field can be
    altered.
    """
    data = sealed()
    for place in range(len(data) * 8 - 32):
        mutant = bytearray(data)
        mutant[place // 8] ^= 1 << place % 8
        mutated = repaired(bytes(mutant))
        if mutated == data:
            continue  # The length was repaired to what it was.
        try:
            frame = open_frame(mutated)
        except FrameError:
            continue
        assert not frame.key_id or not frame.is_authentic(KEY, BINDING)


@pytest.mark.parametrize(
    "binding", [b"", b"net 239.131.50.10 5011", b"net 239.131.50.1 05010", b"dio 0"]
)
def test_frame_of_another_link_is_not_authentic(binding: bytes) -> None:
    """The right key on another link: no."""
    assert not open_frame(sealed()).is_authentic(KEY, binding)


def test_frame_under_another_key_is_not_authentic_whatever_id_it_claims() -> None:
    """A wrong key, with its own id and with ours written over it: no."""
    data = sealed(key=OTHER)
    frame = open_frame(data)
    assert frame.key_id == OTHER.key_id and not frame.is_authentic(KEY, BINDING)
    relabelled = open_frame(
        repaired(data.replace(bytes.fromhex(OTHER.key_id), bytes.fromhex(KEY.key_id)))
    )
    assert relabelled.key_id == KEY.key_id and not relabelled.is_authentic(KEY, BINDING)


def test_binding_names_a_link_alike_on_both_nodes() -> None:
    """Another interface or device name, another spelling of an address: the same.

    Another place: another.
    """

    def net(device: str, address: str, port: int = 5010) -> bytes:
        return link_binding(LinkSpec("deb1", "net", device, address, port, 0, 10))

    def dio(device: str, offset: int) -> bytes:
        return link_binding(LinkSpec("deb1", "dio", device, "", 0, offset, 10))

    assert net("eth1", "ff02::1") == net("ens3", "FF02:0:0::1")
    assert dio("/dev/sda", 0) == dio("/dev/sdb", 0)
    assert (
        len(
            {
                net("e", "ff02::1"),
                net("e", "ff02::2"),
                net("e", "ff02::1", 5011),
                dio("/d", 0),
                dio("/d", 10),
            }
        )
        == 5
    )


@pytest.mark.parametrize("length", [1, 241, 242, 243, 253, 300])
def test_host_name_of_any_length_can_be_sealed_and_names_its_link(length: int) -> None:
    """The name is part of what the tag covers: two long ones that differ in their last letter are
    two links.
    """
    one, two = (
        LinkSpec("deb1", "unicast", "eth1", "a" * (length - 1) + end, 65535, 0, 10.0)
        for end in "bc"
    )
    key = Key(bytes(32))
    tag = tag_of(key, link_binding(one), b"frame")
    assert is_tag_right(key, link_binding(one), b"frame", tag)
    assert not is_tag_right(key, link_binding(two), b"frame", tag)


def test_binding_is_the_name_itself_as_long_as_its_length_is_one_byte() -> None:
    """What goes into the tag is part of the wire: nodes of two versions must make the same of
    it.
    """
    longest, longer = (
        LinkSpec("deb1", "unicast", "eth1", "a" * length, 65535, 0, 10.0) for length in (241, 242)
    )
    assert (
        link_binding(longest) == b"unicast " + b"a" * 241 + b" 65535"
        and len(link_binding(longest)) == 255
    )
    assert link_binding(longer) == hashlib.sha256(b"unicast " + b"a" * 242 + b" 65535").digest()


def test_what_names_a_cluster_and_a_key_on_the_wire_is_fixed() -> None:
    """Another length or another digest would make nodes of two versions strangers."""
    assert cluster_mark("paris").hex() == "916f67f3bcf8ff16" and cluster_mark("") == b""
    assert KEY.key_id == "67df173c"
    assert (
        tag_of(KEY, BINDING, b"frame").hex()
        == "57b13f19ba4ead415784262dd2da00f427eea9b95acba4983e2cddb9c19497da"
    )


@pytest.mark.parametrize("length", [0, 31, 33])
def test_key_of_another_length_is_refused(length: int) -> None:
    """A short key would be weak, and be taken for one of this cluster: it cannot be made."""
    with pytest.raises(ValueError, match=f"a key has 32 bytes; found {length}"):
        Key(bytes(length))


def test_thousand_services_with_tag_and_cluster_fit_in_one_datagram() -> None:
    """1,000 services, the longest node name, names, tag and cluster: at most 1,200 bytes."""
    states = {f"svc{number:04d}".ljust(63, "x"): list(S)[number % len(S)] for number in range(1000)}
    beat = Beat("n" * 63 + "." + "m" * 63, BootId(1, 2), 5, Ack(BootId(3, 4), 5), states)
    assert 1100 < len(sealed(beat)) <= 1200


def test_id_of_a_key_reveals_nothing_and_differs() -> None:
    """Eight digits, not those of the secret; the secret is in no text that might be logged."""
    assert (
        len(KEY.key_id) == 8 and KEY.key_id not in KEY.secret.hex() and KEY.key_id != OTHER.key_id
    )
    assert KEY.secret.hex() not in repr(KEY) and repr(KEY.secret) not in repr(Seal(KEY, "", b""))


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 40), st.booleans())
def test_any_damage_to_a_sealed_frame_is_a_frame_error_or_not_authentic(
    noise: bytes, place: int, cut: int, is_repaired: bool
) -> None:
    """Bytes replaced, inserted and cut out anywhere, with or without a right CRC: an error with its
    reason, or no tag.
    """
    data = sealed()
    place %= len(data)
    mutant = data[:place] + noise + data[place + cut :]
    if is_repaired and len(mutant) > 14:
        mutant = repaired(mutant)
    try:
        frame = open_frame(mutant)
        frame.decode()
    except FrameError as error:
        assert error.reason in REASONS
        return
    assert mutant == data or not frame.key_id or not frame.is_authentic(KEY, BINDING)


@given(st.binary(max_size=400), st.integers(0, 2))
def test_any_bytes_give_a_claim_or_a_frame_error(data: bytes, scheme: int) -> None:
    """Noise behind our magic, with a right length and CRC, under each scheme: a claim or a
    FrameError, nothing else.
    """
    data = b"\x89EZB\x01" + bytes([scheme]) + data + bytes(20)
    for read in (open_frame, decode_frame):
        try:
            read(repaired(data))
        except FrameError as error:
            assert error.reason in REASONS
