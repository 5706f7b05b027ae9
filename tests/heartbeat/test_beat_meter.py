"""What is measured of the beats of a listener: gaps, jitter and loss, in memory of a fixed size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.actions import Announce
from opensvc_openha.core.announcer import NUMBERS_OF_BEAT
from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.events import Tick
from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import GAP_BOUNDS_S, BeatTiming
from opensvc_openha.heartbeat.beat_meter import BeatMeter
from tests.core.bench import Bench

pytestmark = pytest.mark.fast

NET = LinkSpec("deb2", "net", "eth1", "239.131.50.10", 5010, 0, 10.0)
DISK = LinkSpec("deb2", "dio", "/dev/hb", "", 0, 10, 10.0)
BEAT = Beat("deb2", BootId(1, 1), 1, None, {})


def measured(link: LinkSpec, *heard: tuple[int, float], boot: int = 1) -> BeatTiming:
    """What a listener measured that heard these numbers at these instants."""
    meter = BeatMeter(link)
    for seq, at in heard:
        meter.record(replace(BEAT, boot=BootId(boot, 1), seq=seq), at)
    return meter.timing


def test_regular_beats_have_neither_jitter_nor_loss() -> None:
    """One beat a second, each counted by the gap before it; the first has none."""
    timing = measured(NET, *((seq, 100.0 + seq) for seq in range(1, 11)))
    assert (timing.beats, timing.lost, timing.jitter_s) == (10, 0, 0.0)
    assert (timing.gaps[GAP_BOUNDS_S.index(1.0)], sum(timing.gaps)) == (9, 9)
    assert (timing.gaps_s, timing.longest_gap_s) == (9.0, 1.0)


def test_late_beats_are_jitter_and_early_ones_are_news() -> None:
    """A beat before its time announces a change."""
    assert measured(NET, (1, 0.0), (2, 0.2), (3, 1.2)).jitter_s == 0.0
    late = measured(NET, (1, 0.0), (2, 1.5))
    assert late.jitter_s == 0.5 / 16
    assert late.gaps[GAP_BOUNDS_S.index(1.5)] == 1


def test_missing_numbers_are_lost_once_and_a_gap_is_no_jitter() -> None:
    """A lost beat makes a long gap, which is counted as that."""
    timing = measured(NET, (1, 0.0), (4, 3.0), (3, 3.1), (5, 4.0))
    assert (timing.beats, timing.lost, timing.jitter_s) == (4, 2, 0.0)
    assert timing.longest_gap_s == 3.0 and sum(timing.gaps) == 2


def test_beats_of_a_real_engine_are_neither_lost_nor_late() -> None:
    """Each takes a block of numbers, for its repeats."""
    bench, meter = Bench(S.FROZEN_STOP), BeatMeter(NET)
    sent = []
    for _ in range(30):
        bench.now = bench.engine.next_deadline()
        at = bench.now
        sent += [(action.beat, at) for action in bench.step(Tick()) if isinstance(action, Announce)]
    assert len(sent) >= 10
    for beat, at in sent:
        meter.record(beat, at)
    assert meter.timing.lost == 0 and meter.timing.beats == len(sent)
    assert meter.timing.jitter_s == pytest.approx(0.0)
    others = BeatMeter(NET)
    for number, (beat, at) in enumerate(sent):
        if number not in (3, 4, 7):
            others.record(beat, at)
    assert others.timing.lost == 3


def test_repeats_are_beats_with_numbers_of_their_own() -> None:
    """What a daemon sends while its states are written; the numbers that it leaves out follow."""
    step = NUMBERS_OF_BEAT
    numbers = (step, step + 1, step + 2, 2 * step, 3 * step, 3 * step + 1, 3 * step + 4, 5 * step)
    timing = measured(NET, *((seq, float(at)) for at, seq in enumerate(numbers)))
    assert timing.lost == 3


def test_gap_longer_than_all_bounds_is_counted_too() -> None:
    """A link that was cut for an hour."""
    assert measured(NET, (1, 0.0), (3600, 3600.0)).gaps[-1] == 1


def test_numbers_that_somebody_invents_are_no_loss() -> None:
    """A forged number far ahead, where nothing is authenticated."""
    assert measured(NET, (1, 0.0), (1 << 60, 1.0)).lost == 0


def test_restart_of_the_peer_is_neither_loss_nor_gap() -> None:
    """The new daemon numbers its beats from the beginning."""
    meter = BeatMeter(NET)
    meter.record(replace(BEAT, seq=500), 0.0)
    meter.record(replace(BEAT, boot=BootId(2, 7), seq=3), 60.0)
    assert (meter.timing.lost, sum(meter.timing.gaps)) == (0, 0)


def test_disk_holds_the_newest_beat_alone() -> None:
    """What was overwritten before it was read is no loss."""
    timing = measured(DISK, (1, 0.0), (3, 2.0))
    assert timing.lost is None and timing.longest_gap_s == 2.0


def test_beats_of_the_original_have_no_numbers() -> None:
    """Its clock stands in their place: gaps and jitter are measured all the same."""
    timing = measured(replace(NET, wire=Wire.LEGACY), (1_400_000_000, 0.0), (1_400_000_002, 1.5))
    assert (timing.lost, timing.jitter_s, timing.longest_gap_s) == (None, 0.5 / 16, 1.5)
