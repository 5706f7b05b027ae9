"""Which beats of the peer one engine takes, answers at once, counts and reports, where replays and
old lives are about.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.actions import Record, RememberIncarnations
from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.beat_filter import BeatFilter, Verdict
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.incarnations import PeerIncarnations
from opensvc_openha.core.link_monitor import LinkMonitor
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import PeerStanding
from tests.core.bench import KEY, OWN, Bench, beats
from tests.core.bench import LIFE as BENCH_LIFE
from tests.core.pair import TIMEOUT_S, links

FIRST, SECOND = [link for link in links(10.0) if link.node == "deb2"]
OLD, LIFE, NEXT = BootId(1, 11), BootId(2, 22), BootId(3, 33)


class _Hearing(Bench):
    """deb1, and what comes in under the cluster key: how many beats it sends within a tenth of a
    second of each.
    """

    def announced(self, boot: BootId, seq: int, ack: Ack | None = None) -> int:
        self.now += 0.15
        self.run(0.0)
        beat = Beat("deb2", boot, seq, ack, {"registry": S.STOPPED}, facts=Facts())
        done = self.step(BeatReceived(self.link, beat, self.now, key_id=KEY))
        self.now += 0.0001
        return len(beats(done + self.run(0.1)))


def test_unproven_life_is_answered_at_once_when_it_is_heard_first_and_not_again() -> None:
    """The greeting is answered.

    What else comes of that life, new or repeated, waits for the next beat: a flood is no lever.
    """
    bench = _Hearing(S.FROZEN_STOP)
    assert [bench.announced(LIFE, seq) for seq in (1, 2, 2, 3)] == [1, 0, 0, 0]
    assert bench.announced(NEXT, 1) == 1


def test_beat_of_an_old_life_is_not_answered_though_a_greeting_was_answered_before() -> None:
    """The living peer is believed, its next life greets.

    Then comes a beat of a life before: no answer to that one.
    """
    bench = _Hearing(S.FROZEN_STOP)
    bench.announced(LIFE, 1, Ack(OWN, bench.engine.seq))
    assert bench.announced(NEXT, 1) == 1
    assert bench.announced(OLD, 90) == 0


def test_life_that_was_proved_is_written_down_once() -> None:
    """The first beat that proves it has it remembered, the next ones do not."""
    bench = _Hearing(S.FROZEN_STOP)
    for seq in (1, 2, 3):
        bench.announced(LIFE, seq, Ack(OWN, bench.engine.seq))
    kept = [action for action in bench.done if isinstance(action, RememberIncarnations)]
    assert kept == [RememberIncarnations(((KEY, LIFE),))]


def test_refused_beats_and_a_living_rival_are_alarms() -> None:
    """A beat repeated, and an old life that acknowledges what was sent after it: an operator must
    look at both.
    """
    bench = _Hearing(S.FROZEN_STOP, known_incarnations={KEY: LIFE})
    for seq in (1, 2):
        bench.announced(LIFE, seq, Ack(OWN, bench.engine.seq))
    bench.announced(LIFE, 2, Ack(OWN, 1))
    for seq in (1, 2, 3):
        bench.run(1.1)
        bench.announced(OLD, seq, Ack(OWN, bench.engine.seq))
    reported = [
        (action.new, action.is_alarm)
        for action in bench.done
        if isinstance(action, Record) and action.new in ("REFUSED", "SUSPECT")
    ]
    assert reported == [("REFUSED", True), ("REFUSED", True), ("SUSPECT", True)]


@pytest.mark.parametrize(
    ("later_s", "reason", "heard_at"), [(9.5, "", 100.0), (10.0, "replayed", 100.0)]
)
def test_beat_that_comes_in_again_elsewhere_proves_only_its_first_hearing(
    later_s: float, reason: str, heard_at: float
) -> None:
    """On a link of 10 s that has not seen it: within the timeout it counts for when it was first
    heard, then not at all.
    """
    monitor, view = LinkMonitor([FIRST, SECOND], 90.0), PeerView(OWN)
    admission = BeatFilter("deb2", monitor, view, PeerIncarnations(OWN, {}))
    event = BeatReceived(FIRST, Beat("deb2", LIFE, 1, Ack(OWN, 1), {}), 100.0, key_id=KEY)
    assert admission.judge(event, 100.0) == Verdict("", 100.0)
    again = replace(event, link=SECOND, received_at=100.0 + later_s)
    assert admission.judge(again, 100.0 + later_s) == Verdict(reason, heard_at)


@pytest.mark.parametrize("key_id", ["", KEY])
def test_beat_counts_for_when_it_was_received(key_id: str) -> None:
    """It waited for two seconds before it was handled: it proves that the peer was there two
    seconds ago.
    """
    admission = BeatFilter(
        "deb2", LinkMonitor([FIRST], 90.0), PeerView(OWN), PeerIncarnations(OWN, {})
    )
    event = BeatReceived(FIRST, Beat("deb2", LIFE, 1, Ack(OWN, 1), {}), 100.0, key_id=key_id)
    assert admission.judge(event, 102.0) == Verdict("", 100.0)


@pytest.mark.parametrize("ack", [None, Ack(BootId(4, 44), 9)])
def test_goodbye_that_is_the_first_thing_heard_and_meant_for_somebody_else_is_refused(
    ack: Ack | None,
) -> None:
    """It was reported before this daemon was started, by a peer that may long be back: nothing is
    started on it.
    """
    bench = Bench()
    beat = Beat("deb2", LIFE, 50, ack, {"registry": S.STOPPED}, Goodbye.LEFT)
    bench.step(BeatReceived(bench.link, beat, bench.now))
    bench.run(1)
    assert (
        bench.engine.snapshot(bench.now).peer_standing is PeerStanding.UNKNOWN
        and bench.state is S.STOPPED
    )


def _asking(bench: _Hearing, seq: int) -> BeatReceived:
    beat = Beat(
        "deb2",
        LIFE,
        seq,
        Ack(OWN, bench.engine.seq),
        {"registry": S.START_READY},
        wants_ack=True,
        facts=Facts(),
    )
    return BeatReceived(bench.link, beat, bench.now, key_id=KEY)


def _just_answered(bench: _Hearing) -> None:
    """An answer was given this very moment, so that the next one waits for its gap."""
    bench.announced(LIFE, 1, Ack(OWN, bench.engine.seq))
    bench.run(0.5)
    assert [beat.ack for beat in beats(bench.step(_asking(bench, 2)))] == [Ack(LIFE, 2)]


@pytest.mark.parametrize("earlier", [0, 1])
def test_greeting_is_answered_to_the_new_life_though_its_next_beat_comes_before_the_answer(
    earlier: int,
) -> None:
    """The living peer is acknowledged in turns with it.

    The first answer is the new life's, whichever turn it is.
    """
    bench = _Hearing(S.FROZEN_STOP)
    bench.run(1.05 * earlier)
    _just_answered(bench)
    done = []
    for seq in (1, 2):
        bench.now += 0.002
        beat = Beat("deb2", NEXT, seq, None, {"registry": S.STOPPED}, facts=Facts())
        done += bench.step(BeatReceived(bench.link, beat, bench.now, key_id=KEY))
    assert beats(done) == []
    assert [beat.ack for beat in beats(bench.run(0.1))] == [Ack(NEXT, 2, is_taken=False)]


def test_answer_that_is_due_is_not_forgotten_for_a_beat_that_is_refused() -> None:
    """The peer asks for an acknowledgement, and a beat repeated comes in before it is given."""
    bench = _Hearing(S.FROZEN_STOP)
    _just_answered(bench)
    done = []
    for _ in range(2):
        bench.now += 0.002
        done += bench.step(_asking(bench, 3))
    assert beats(done) == []
    assert [beat.ack for beat in beats(bench.run(0.1))] == [Ack(LIFE, 3)]


def test_answers_are_20_ms_apart_however_often_they_are_asked_for() -> None:
    """The peer asks at each millisecond: one answer, 20 ms after the last one, to the newest of
    its beats.
    """
    bench = _Hearing(S.FROZEN_STOP)
    _just_answered(bench)
    answered_at, announced = bench.now, []
    for seq in range(3, 31):
        bench.now = answered_at + (seq - 3) / 1000
        announced += [bench.now for _ in beats(bench.engine.step(_asking(bench, seq), bench.now))]
    assert [round(at - answered_at, 3) for at in announced] in ([0.02], [0.021])


def _contend(bench: Bench, seconds: float, gap_s: float, goodbye: Goodbye = Goodbye.NONE) -> None:
    """An earlier incarnation of the peer beats every ``gap_s`` seconds, the accepted one never."""
    for number in range(1, int(seconds / gap_s) + 1):
        bench.run(gap_s)
        beat = Beat(bench.peer, BootId(0, 7), 100 + number, None, {"registry": S.STOPPED}, goodbye)
        bench.step(BeatReceived(bench.link, beat, bench.now))


def _standing(bench: Bench) -> PeerStanding:
    return bench.engine.snapshot(bench.now).peer_standing


def _live() -> Bench:
    bench = Bench(S.FROZEN_STOP)
    bench.hear(S.STOPPED)
    assert _standing(bench) is PeerStanding.LIVE
    return bench


def test_acknowledgement_of_what_was_not_sent_starts_nothing() -> None:
    """The service waits for the peer's acknowledgement of START_READY: a number ahead is none."""
    bench = Bench()
    bench.hear(S.STOPPED, is_acked=False)
    for ahead in (1, 5, 2**40):
        bench.seq += 1
        ack = Ack(OWN, bench.engine.seq + ahead)
        beat = Beat(bench.peer, BENCH_LIFE, bench.seq, ack, {"registry": S.STOPPED}, facts=Facts())
        bench.step(BeatReceived(bench.link, beat, bench.now))
        assert bench.state is S.START_READY, ahead


def test_goodbyes_of_an_earlier_incarnation_put_off_no_verdict() -> None:
    """A goodbye announces that no beats follow: many of them are no sign of life."""
    bench = _live()
    _contend(bench, TIMEOUT_S + 1, 0.5, Goodbye.LEFT)
    assert _standing(bench) is PeerStanding.SILENT


def _replaced() -> Bench:
    """The incarnation that is to contend was accepted first, and a single beat of another one has
    replaced it.
    """
    bench = Bench(S.FROZEN_STOP)
    beat = Beat(bench.peer, BootId(0, 7), 100, None, {"registry": S.STOPPED})
    bench.step(BeatReceived(bench.link, beat, bench.now))
    bench.hear(S.STOPPED)
    return bench


@pytest.mark.parametrize(
    ("seconds", "standing"), [(10.0, PeerStanding.UNKNOWN), (10.5, PeerStanding.LIVE)]
)
def test_replaced_incarnation_is_believed_once_it_has_continued_for_a_whole_timeout(
    seconds: float, standing: PeerStanding
) -> None:
    """It begins just before the one that replaced it, heard no more, would be silent."""
    bench = _replaced()
    bench.run(TIMEOUT_S - 1.5)
    _contend(bench, seconds, 0.5)
    assert _standing(bench) is standing


def test_recording_that_is_replayed_at_a_quarter_of_its_rate_is_not_believed() -> None:
    """It may come a little late at first: later on it neither displaces the incarnation accepted
    nor puts off the verdict of silence.
    """
    bench = _replaced()
    _contend(bench, 3 * TIMEOUT_S, 4.0)
    assert _standing(bench) is PeerStanding.SILENT
