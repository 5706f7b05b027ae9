"""Facts of a node reach a peer that understands them in every beat, and trouble no other one."""

from __future__ import annotations

from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.states import ServiceState as S
from tests.core.bench import LIFE, OWN, Bench, beats


def _hear(bench: Bench, boot: BootId, seq: int, facts: Facts | None) -> None:
    beat = Beat("deb2", boot, seq, Ack(OWN, bench.engine.seq), {"registry": S.STOPPED}, facts=facts)
    bench.step(BeatReceived(bench.link, beat, bench.now))


def test_facts_are_offered_beside_ordinary_beats_to_a_peer_without_any() -> None:
    """Three beats with facts, an ordinary one after each, then ordinary ones alone: an older peer
    refuses three.
    """
    bench = Bench(S.FROZEN_STOP)
    _hear(bench, LIFE, 1, None)
    sent = [beat.facts is not None for beat in beats(bench.run(5))]
    assert sent.count(True) == 3
    offers = [index for index, has_facts in enumerate(sent) if has_facts]
    assert all(sent[index + 1] is False for index in offers)
    assert len(sent) - offers[-1] > 4


def test_each_beat_has_facts_once_the_peer_has_sent_some() -> None:
    """No offer is needed, and none is made."""
    bench = Bench(S.FROZEN_STOP)
    _hear(bench, LIFE, 1, Facts())
    sent = beats(bench.run(3))
    assert len(sent) <= 4
    assert all(beat.facts is not None for beat in sent)


def test_a_next_life_of_the_peer_is_asked_again() -> None:
    """It may be of another version: ordinary beats until it has sent facts."""
    bench = Bench(S.FROZEN_STOP)
    _hear(bench, LIFE, 1, Facts())
    bench.run(2)
    _hear(bench, BootId(LIFE.counter + 1, 5), 1, None)
    sent = [beat.facts is not None for beat in beats(bench.run(5))]
    assert sent.count(True) == 3 and sent.count(False) > 5
    assert bench.engine.beat().facts is None
