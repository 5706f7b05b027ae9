"""Frames of one end of a link: their length, the node they must come from, the names they need."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.beat_frame import encode_fields
from opensvc_openha.formats.frame_seal import Key
from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.options_file import HeartbeatOptions
from opensvc_openha.formats.options_schema import AuthMode
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.heartbeat.codec import own
from opensvc_openha.heartbeat.codec.own import NewestFields, OwnCodec
from opensvc_openha.links.base import Received
from tests.decoding import heard

NET = LinkSpec("deb2", "net", "eth1", "239.131.50.10", 5010, 0, 10.0)
DISK = LinkSpec("deb2", "dio", "/dev/sdb", "", 0, 0, 10.0)
SLOT_BYTES = 5108
"""Ten blocks without the head and the checksum of the slot."""


def codec(link: LinkSpec, own_names: tuple[str, ...] = ()) -> OwnCodec:
    return OwnCodec(link, lambda: own_names, Authentication("deb1", BootId(9, 9)))


def frame(link: LinkSpec, beat: Beat, with_names: bool = False) -> bytes:
    return codec(link).encode(beat, 1, with_names)


def said(**states: S) -> Beat:
    return Beat("deb2", BootId(1, 1), 1, None, states, sent_at=0.0)


def beats_with_pages() -> Iterator[Beat]:
    """More names than a page holds, with one of each length."""
    for length in range(1, 64):
        names = ["a" * length, *(f"s{number:03}{'x' * 50}" for number in range(120))]
        for seq in range(4):
            yield Beat("deb2", BootId(1, 1), seq, None, dict.fromkeys(names, S.STOPPED))


@pytest.mark.parametrize(("link", "length"), [(NET, 1200), (DISK, SLOT_BYTES)])
def test_page_of_names_fills_a_datagram_or_a_slot_and_not_a_byte_more(
    link: LinkSpec, length: int
) -> None:
    """An unfragmented datagram on a network; on a disk what is read anyway."""
    assert max(len(frame(link, beat, with_names=True)) for beat in beats_with_pages()) == length


def test_slot_has_no_room_for_what_a_long_datagram_still_carries() -> None:
    """States of 11,030 services come first: the facts beside them are left out on the disk only."""
    choose = random.Random(1).choice
    states = {f"s{number:05}": choose(list(S)) for number in range(11_030)}
    beat = Beat("deb2", BootId(1, 1), 1, None, states, facts=Facts())
    on_disk, on_net = (heard(codec(link), frame(link, beat)).beat for link in (DISK, NET))
    assert (on_disk.facts, on_net.facts) == (None, Facts())
    assert len(frame(DISK, beat)) <= SLOT_BYTES < len(frame(NET, beat))


@pytest.mark.parametrize("key", [None, Key(bytes(range(32)))], ids=["off", "enforced"])
def test_links_of_one_thread_share_the_fields_of_a_beat_and_nothing_else(
    key: Key | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoded once for each beat, key mode and thread; each frame is bound to its own link."""
    encoded: list[int] = []

    def encode(beat: Beat, **given: Any) -> bytes:
        encoded.append(beat.seq)
        return encode_fields(beat, **given)

    authentication = Authentication("deb2", BootId(1, 1))
    ring = None if key is None else KeyRing(key)
    authentication.update(HeartbeatOptions(), ring, {})
    newest, links = NewestFields(), (NET, replace(NET, address="239.131.50.11"))
    alone = [OwnCodec(link, tuple, authentication) for link in links]
    shared = [OwnCodec(link, tuple, authentication, newest=newest) for link in links]
    first, second = said(a=S.STARTED), replace(said(a=S.STOPPED), seq=2)
    expected = [[each.encode(beat, 7, True) for each in alone] for beat in (first, second)]
    assert (expected[0][0] == expected[0][1]) is (key is None)
    monkeypatch.setattr(own, "encode_fields", encode)
    found = [[each.encode(beat, 7, True) for each in shared] for beat in (first, second)]
    assert found == expected and encoded == [1, 2]
    shared[0].encode(second, 7, False)
    shared[0].encode(second, 8, False)
    authentication.update(HeartbeatOptions(AuthMode.OFF, "other"), ring, {})
    assert shared[0].encode(second, 8, False) == alone[0].encode(second, 8, False)
    assert encoded == [1, 2, 2, 2, 2, 2]


def test_frame_of_another_node_is_refused() -> None:
    """It is not the node of this link; one that bears this node's own name is refused before."""
    with pytest.raises(FrameError, match="a frame of deb2, found one of deb3") as caught:
        heard(codec(NET), frame(NET, replace(said(), node="deb3")))
    assert caught.value.reason == "node"
    with pytest.raises(FrameError, match="bears our name"):
        heard(codec(NET), frame(NET, replace(said(), node="deb1")))


def test_states_have_the_names_of_the_own_services_which_may_change() -> None:
    """The peer sends no name as long as both nodes have the same services."""
    own = ["mail", "web"]
    end = OwnCodec(NET, lambda: tuple(own), Authentication("deb1", BootId(9, 9)))
    both = {"mail": S.STARTED, "web": S.STOPPED}
    assert heard(end, frame(NET, said(**both))).beat.states == both
    own.append("db")
    three = {"db": S.STARTING, **both}
    assert heard(end, frame(NET, said(**three))).beat.states == three
    assert heard(end, frame(NET, said(**both))).beat.states == both


def test_names_that_the_peer_has_sent_once_are_known() -> None:
    """Services that this node does not have: without a name its states are those of nothing."""
    end, states = codec(NET), {"other": S.STARTED}
    assert heard(end, frame(NET, said(**states))).beat.states == {}
    assert heard(end, frame(NET, said(**states), with_names=True)).beat.states == states
    assert heard(end, frame(NET, said(**states))).beat.states == states


def test_frame_that_is_accepted_without_a_tag_is_counted_once() -> None:
    """This node has a key and is permissive, the peer has none yet."""
    authentication = Authentication("deb1", BootId(9, 9))
    ring = KeyRing(Key(bytes([7] * 32)))
    authentication.update(HeartbeatOptions(AuthMode.PERMISSIVE, ""), ring, {})
    counted: list[tuple[str, str, int]] = []
    OwnCodec(NET, tuple, authentication).decode(
        Received(frame(NET, said()), 0.0, ""), lambda *count: counted.append(count)
    )
    assert counted == [("unauthenticated", "accepted a frame that nothing authenticates", 1)]
