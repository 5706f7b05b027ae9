"""Whether what the peer said last holds when a start script may begin: every word, and every beat
that waits for the engine.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest

from opensvc_openha.core.beat import LEGACY_INCARNATION, Beat, BootId, Goodbye
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.peer_word import PeerWord
from opensvc_openha.core.states import PEER_OUT, ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import (
    LEGACY_FRESH_S,
    WORD_LIFE_MAX_S,
)

LINK = LinkSpec("deb2", "net", "eth1", "239.131.50.10", 5010, 0, 2.0)
BOOT, NEXT_BOOT = BootId(1, 11), BootId(2, 22)
HEARD = (PeerStanding.LIVE, PeerStanding.DEPARTED)
PATIENCE_S = 2.0
CAME_AT = 100.0
OLD, NEW = CAME_AT + 10.0, CAME_AT + 1.0
OUT = ServiceState.STOPPED


def _beat(state: ServiceState | None = OUT, seq: int = 5, boot: BootId = BOOT) -> Beat:
    return Beat("deb2", boot, seq, None, {} if state is None else {"web": state})


def _word(beat: Beat | None = None, standing: PeerStanding = PeerStanding.LIVE) -> PeerWord:
    return PeerWord(standing, beat or _beat(), CAME_AT, patience_s=PATIENCE_S)


def _came(beat: Beat, at: float = OLD, key_id: str = "") -> BeatReceived:
    return BeatReceived(LINK, beat, at, key_id=key_id)


@pytest.mark.parametrize("standing", list(PeerStanding))
def test_word_holds_while_it_is_new_and_says_that_the_peer_is_out(standing: PeerStanding) -> None:
    """That of a peer which left in order does not age, but it may be doubted after a stall. What is
    over by the word itself does not wait for another.
    """
    for state, is_doubted, now in product([None, *ServiceState], [False, True], [NEW, OLD]):
        word = replace(_word(_beat(state), standing), is_departure_doubted=is_doubted)
        is_departed = standing is PeerStanding.DEPARTED
        is_said = standing in HEARD and state in PEER_OUT and not (is_departed and is_doubted)
        doubt = word.doubt("web", (), now)
        assert (doubt is None) is (is_said and (is_departed or now == NEW)), (state, is_doubted)
        assert doubt is None or doubt.is_final is not is_said


def _news() -> list[tuple[str, Beat, bool]]:
    """Beats that may wait: which, and whether each says what the word says."""
    later = _beat(seq=6)
    return [
        *(
            (f"later, {state and state.name}", _beat(state, 6), state in PEER_OUT)
            for state in (None, *ServiceState)
        ),
        ("goodbye", replace(later, goodbye=Goodbye.LEFT), False),
        ("restart", replace(later, goodbye=Goodbye.RESTART), False),
        ("names unknown", replace(later, is_complete=False), False),
        ("other incarnation", _beat(boot=NEXT_BOOT, seq=1), False),
    ]


_NO_NEWS = {
    "the same": _beat(ServiceState.STARTED, 5),
    "earlier": _beat(ServiceState.STARTED, 4),
    "of another node": replace(_beat(ServiceState.STARTED, 6), node="deb3"),
    "in the format of the original": _beat(ServiceState.STARTED, 6, LEGACY_INCARNATION),
}


def test_beat_that_waits_is_the_peers_word_unless_it_says_anything_else() -> None:
    """Of every two that wait, both count; what says anything else is left to the engine, and may
    come to nothing: it is waited for.
    """
    instants = OLD, OLD + PATIENCE_S - 0.001, OLD + PATIENCE_S
    for first, second, now in product(_news(), _news(), instants):
        waiting = [_came(first[1]), _came(replace(second[1], seq=7))]
        doubt = _word().doubt("web", waiting, now)
        is_same = first[2] and second[2]
        assert (doubt is None) is (is_same and now < OLD + PATIENCE_S), (first[0], second[0])
        assert doubt is None or not doubt.is_final
        assert doubt is None or ("not handled yet" in doubt.text) is not is_same


@pytest.mark.parametrize("beat", _NO_NEWS.values(), ids=_NO_NEWS)
def test_beat_that_says_nothing_new_makes_no_word_newer_and_none_doubtful(beat: Beat) -> None:
    """Whatever it says."""
    assert _word().doubt("web", [_came(beat)], NEW) is None
    assert _word().doubt("web", [_came(beat)], OLD) is not None


@pytest.mark.parametrize("is_authentic", [False, True])
@pytest.mark.parametrize("key_id", ["", "k1"])
def test_beat_that_waits_counts_only_if_it_is_as_authentic_as_the_word(
    is_authentic: bool, key_id: str
) -> None:
    """Anybody can send one without a key; one with a key ends a peer that has none."""
    word = replace(_word(), is_authentic=is_authentic)
    doubt = word.doubt("web", [_came(_beat(seq=6), key_id=key_id)], OLD)
    assert (doubt is None) is (bool(key_id) is is_authentic)


def test_beat_that_is_repeated_makes_no_word_newer() -> None:
    """Nor does one from before it that comes later: what the peer said last is as old as it was."""
    word, now = _word(), OLD + 3.5
    assert word.doubt("web", [_came(_beat(seq=8), now - 0.1)], now) is None
    later = [_came(_beat(seq=8), OLD), _came(_beat(seq=8), now - 0.1), _came(_beat(seq=7), now)]
    doubt = word.doubt("web", later, now)
    assert doubt is not None and "was not heard for" in doubt.text


def test_beat_that_comes_late_makes_no_word_older() -> None:
    """It came in on a slow link, or with a stamp from before."""
    assert _word().doubt("web", [_came(_beat(seq=6), at=CAME_AT - 50.0)], NEW) is None


@pytest.mark.parametrize(
    "patience_s, boot, life_s",
    [
        (2.0, BOOT, 2.0),
        (15.0, BOOT, WORD_LIFE_MAX_S),
        (math.inf, BOOT, WORD_LIFE_MAX_S),
        (2.0, LEGACY_INCARNATION, 2.0),
        (15.0, LEGACY_INCARNATION, LEGACY_FRESH_S),
    ],
)
def test_word_holds_for_the_peers_patience_and_no_longer_than_its_last_call(
    patience_s: float, boot: BootId, life_s: float
) -> None:
    """By then it may have called this node silent, or have waited for nearly the whole delay."""
    word = replace(_word(_beat(boot=boot)), patience_s=patience_s)
    assert word.doubt("web", (), CAME_AT + life_s - 0.001) is None
    doubt = word.doubt("web", (), CAME_AT + life_s)
    assert doubt is not None and f"was not heard for {life_s:.1f} s" in doubt.text


def test_each_beat_of_an_original_counts_though_its_clock_stands_still() -> None:
    """It counts whole seconds."""
    word = _word(_beat(boot=LEGACY_INCARNATION))
    assert word.doubt("web", [_came(_beat(boot=LEGACY_INCARNATION))], OLD) is None
    up = _beat(ServiceState.STARTED, boot=LEGACY_INCARNATION)
    assert word.doubt("web", [_came(up)], NEW) is not None
    assert word.doubt("web", [_came(replace(up, seq=4))], NEW) is None


def test_copies_of_a_goodbye_leave_it_as_it_was() -> None:
    """The engine refuses what follows it of that incarnation, and not what another one sends."""
    left = replace(_beat(), goodbye=Goodbye.LEFT)
    word = _word(left, PeerStanding.DEPARTED)
    assert word.doubt("web", [_came(replace(left, seq=6))], OLD) is None
    assert word.doubt("web", [_came(_beat(boot=NEXT_BOOT))], OLD) is not None


def test_view_hands_out_what_it_heard_and_when_that_came_in() -> None:
    """Not when the engine took it; what an older beat adds later changes nothing. Nothing is
    handed out before the verdict on the links.
    """
    view = PeerView(BootId(5, 55))
    assert view.word.doubt("web", (), 0.0) is not None
    view.ack_limit_s = PATIENCE_S
    view.take(_beat(seq=5), 103.0, is_authentic=True, received_at=CAME_AT)
    assert view.word.beat is None
    view.judge(True, None, 103.0)
    expected = PeerWord(PeerStanding.LIVE, _beat(), CAME_AT, True, False, PATIENCE_S)
    assert view.word == expected
    view.take(_beat(ServiceState.STARTED, seq=4), 103.0, received_at=102.0)
    view.judge(True, None, 103.0)
    assert view.word == expected
    view.take(_beat(seq=6), 104.0)
    view.judge(True, None, 104.0)
    assert view.word == replace(expected, beat=_beat(seq=6), came_in_at=104.0, is_authentic=False)
    view.doubt_goodbye(200.0)
    view.take(replace(_beat(seq=7), goodbye=Goodbye.LEFT), 105.0)
    view.judge(False, None, 105.0)
    assert view.word.standing is PeerStanding.DEPARTED and view.word.is_departure_doubted
