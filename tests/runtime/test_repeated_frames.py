"""A listener's thread in front of the engine: recorded frames that are played by the thousand do not reach it."""

from __future__ import annotations

from typing import Optional

import pytest

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.model import LinkKind, LinkSpec
from opensvc_openha.formats.beat_frame import encode_beat
from opensvc_openha.formats.frame_seal import Key, Seal, link_binding
from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.options_file import AuthMode, HeartbeatOptions
from opensvc_openha.links.base import Received
from opensvc_openha.runtime.authentication import Authentication
from opensvc_openha.runtime.codec import OwnCodec
from opensvc_openha.runtime.link_threads import KNOWN_FRAMES, REPEATS_TOLD_S, ListenerThread

PEER = "deb1"
LINK = LinkSpec(PEER, LinkKind.NET, "eth1", "239.131.50.10", 5010, 0, 10)
KEY = Key(bytes([7] * 32))
FOR_S = 5.0


def frame(seq: int, key: Optional[Key]) -> bytes:
    """A beat of the peer."""
    seal = None if key is None else Seal(key, key.key_id, link_binding(LINK))
    return encode_beat(Beat(PEER, BootId(1, 1), seq, None, {}, sent_at=0.0), pid=1, interval_s=1.0, with_names=False, seal=seal)


def listener(key: Optional[Key], taken: "list[BeatReceived]") -> ListenerThread:
    """The thread, not started, which hands what it takes to a list in the place of the engine."""
    authentication = Authentication("deb2", BootId(9, 9))
    mode = AuthMode.OFF if key is None else AuthMode.ENFORCED
    authentication.update(HeartbeatOptions(mode, ""), None if key is None else KeyRing(key), {})

    def deliver(event: BeatReceived) -> bool:
        taken.append(event)
        return True

    codec = OwnCodec(LINK, tuple, authentication)
    return ListenerThread(LINK, codec, deliver, lambda tried: None, lambda link, is_fault, text: None)


@pytest.mark.parametrize("key", [None, KEY], ids=["off", "enforced"])
def test_replayed_flood_is_counted_and_the_engine_hears_of_some_of_it_only(key: Optional[Key]) -> None:
    """A hundred recorded frames, played a thousand a second among new ones: each new one is handed on, all others counted."""
    taken: "list[BeatReceived]" = []
    thread = listener(key, taken)
    tape = [frame(seq, key) for seq in range(1, 101)]
    fresh = [frame(seq, key) for seq in range(101, 106)]
    for data in tape:
        thread._take(Received(data, 0.0, PEER))
    del taken[:]
    played = int(1000 * FOR_S)
    for number in range(played):
        thread._take(Received(tape[number % len(tape)], number / 1000, PEER))
        if number % 1000 == 500:
            thread._take(Received(fresh[number // 1000], number / 1000, PEER))
    assert [event.beat.seq for event in taken if event.beat.seq > 100] == [101, 102, 103, 104, 105]
    told = len(taken) - len(fresh)
    assert 1 <= told <= FOR_S / REPEATS_TOLD_S + 1
    assert thread.counts == {"replayed": played - told}


def test_frames_are_forgotten_in_the_order_in_which_they_came() -> None:
    """More frames than a listener remembers: memory is bounded, and the oldest is an ordinary frame again."""
    taken: "list[BeatReceived]" = []
    thread = listener(None, taken)
    for seq in range(1, KNOWN_FRAMES + 2):
        thread._take(Received(frame(seq, None), 0.0, PEER))
    del taken[:]
    for seq in (2, 2, 1, 1):
        thread._take(Received(frame(seq, None), 0.0, PEER))
    assert [event.beat.seq for event in taken] == [2, 1]
