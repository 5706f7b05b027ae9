"""Whom the beats of one node acknowledge where more than one life of its peer is about, and what a
C OpenHA is reported.
"""

from __future__ import annotations

from dataclasses import replace

from opensvc_openha.core.beat import LEGACY_INCARNATION, Ack, Beat, BootId
from opensvc_openha.core.events import BeatReceived, PeerForgotten, Tick
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import PeerStanding
from tests.core.bench import KEY, LIFE, OWN, Bench, beats
from tests.core.pair import TIMEOUT_S

NEXT, TWIN = BootId(2, 22), BootId(LIFE.counter, 99)


def _hear(
    bench: Bench, boot: BootId, seq: int, ack: Ack | None = None, key_id: str = KEY
) -> list[Beat]:
    """A beat of some life of the peer; returns what is sent to it within the same instant."""
    beat = Beat("deb2", boot, seq, ack, {"registry": S.STOPPED})
    return beats(bench.step(BeatReceived(bench.link, beat, bench.now, key_id=key_id)))


def _acks(bench: Bench, count: int) -> list[Ack | None]:
    """Whom the next ordinary beats acknowledge, one a second."""
    found = []
    for _ in range(count):
        bench.now = bench.engine._announcer.beat_at + 1.0
        found += [beat.ack for beat in beats(bench.step(Tick()))]
    return found


def test_peer_that_is_not_heard_any_more_learns_which_of_its_beats_was_taken_last() -> None:
    """Nothing of deb2 comes in, but it may hear this node: each beat agrees to what was taken, none
    only greets.
    """
    bench = Bench(S.FROZEN_STOP)
    _hear(bench, LIFE, 1, Ack(OWN, bench.engine.seq))
    bench.run(TIMEOUT_S + 1)
    assert bench.engine.snapshot(bench.now).peer_standing is PeerStanding.SILENT
    assert _acks(bench, 3) == [Ack(LIFE, 1)] * 3


def test_living_peer_and_its_next_life_are_answered_in_turns() -> None:
    """Somebody reports that deb2 was started again, and proves nothing: every second beat is still
    an agreement with deb2.
    """
    bench = Bench(S.FROZEN_STOP)
    _hear(bench, LIFE, 1, Ack(OWN, bench.engine.seq))
    bench.now += 0.1
    _hear(bench, NEXT, 1)
    bench.run(0.1)
    found = _acks(bench, 6)
    taken, heard = Ack(LIFE, 1), Ack(NEXT, 1, is_taken=False)
    assert found in ([taken, heard] * 3, [heard, taken] * 3)


def test_life_that_is_no_later_than_the_living_one_gets_no_answer_of_its_own() -> None:
    """Two machines named deb2 with one counter: that with the key was heard first, the other one is
    taken, and acknowledged.
    """
    bench = Bench(S.FROZEN_STOP)
    _hear(bench, TWIN, 1)
    bench.now += 0.1
    _hear(bench, LIFE, 1, Ack(OWN, bench.engine.seq), key_id="")
    assert bench.engine.snapshot(bench.now).peer_standing is PeerStanding.LIVE
    assert _acks(bench, 4) == [Ack(LIFE, 1)] * 4


def test_reinstalled_peer_is_greeted_though_its_counter_is_lower_than_before() -> None:
    """deb2 had counter 2, is silent, was forgotten by an operator, and comes back with 1: it can
    prove itself at once.
    """
    bench = Bench(S.FROZEN_STOP)
    _hear(bench, NEXT, 1, Ack(OWN, bench.engine.seq))
    bench.run(TIMEOUT_S + 1)
    bench.step(PeerForgotten())
    bench.now += 0.1
    assert [beat.ack for beat in _hear(bench, LIFE, 1)] == [Ack(LIFE, 1, is_taken=False)]
    bench.now += 0.1
    _hear(bench, LIFE, 2, Ack(OWN, bench.engine.seq))
    assert bench.engine.snapshot(bench.now).peer_standing is PeerStanding.LIVE


def test_each_beat_answers_the_new_daemon_beside_a_c_openha_that_is_still_heard() -> None:
    """deb2 is being migrated: what C reports is never acknowledged, so no turn is left to it."""
    bench = Bench(S.FROZEN_STOP)
    _hear(bench, LEGACY_INCARNATION, 1, key_id="")
    bench.now += 0.1
    _hear(bench, LIFE, 1)
    bench.run(0.1)
    assert _acks(bench, 4) == [Ack(LIFE, 1, is_taken=False)] * 4


def test_c_openha_receives_started_of_a_service_in_doubt() -> None:
    """A restarted daemon waits for a word that C never gives: UNKNOWN would only have it think that
    no node runs the service.
    """
    bench = Bench(S.STARTED)
    _hear(bench, LEGACY_INCARNATION, 1, key_id="")
    assert bench.engine._services["registry"].is_ownership_unconfirmed
    assert bench.engine.beat().states == {"registry": S.STARTED} and bench.engine.beat().wants_ack


def test_recording_of_the_life_before_is_not_believed_for_what_it_heard_earlier() -> None:
    """deb2 was restarted and has acknowledged nothing yet: its former life comes back only with
    news of what was sent since.
    """
    bench = Bench(S.FROZEN_STOP)
    bench.run(3)
    recorded = Ack(OWN, bench.engine.seq)
    _hear(bench, LIFE, 1, recorded, key_id="")
    bench.run(3)
    _hear(bench, NEXT, 1, key_id="")
    for ack, counted, newest in (
        (recorded, 1, NEXT),
        (replace(recorded, seq=bench.engine.seq + 1), 1, LIFE),
    ):
        bench.run(1.1)
        bench.seq += 1
        _hear(bench, LIFE, 10 + bench.seq, ack, key_id="")
        assert bench.engine.snapshot(bench.now).links[0].counts == {"old life": counted}
        ack_now = bench.engine.beat().ack
        assert ack_now is not None and ack_now.boot == newest
