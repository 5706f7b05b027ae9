"""Details of the listeners that a pair of engines seldom meets: replays, bounds, deadlines, waits,
disks.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.beat import LEGACY_INCARNATION, BootId
from opensvc_openha.core.link_monitor import LinkMonitor
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.timing import (
    BEAT_INTERVAL_S,
    PATIENCE_BEATS,
    START_READY_DELAY_S,
    SUSPICION_S,
)
from tests.core.pair import links

FIRST, SECOND = [link for link in links(10.0) if link.node == "deb2"]
SLOW = replace(SECOND, timeout_s=30.0)
LIFE, NEXT_LIFE = BootId(1, 11), BootId(2, 22)


def _heard_each_second(monitor: LinkMonitor, last: int) -> None:
    for seq in range(1, last + 1):
        assert monitor.first_heard(LIFE, seq, 100.0 + seq) == 100.0 + seq


@pytest.mark.parametrize("last", [5, 60])
def test_repeated_beat_proves_only_its_first_hearing(last: int) -> None:
    """One beat a second; within the longest timeout the instant is exact, before it is old enough
    to prove nothing.
    """
    monitor = LinkMonitor([FIRST, SLOW], 100.0)
    _heard_each_second(monitor, last)
    now = 100.0 + last + 0.5
    for seq in range(1, last + 1):
        found = monitor.first_heard(LIFE, seq, now)
        if 100.0 + seq >= 100.0 + last - 30.0:
            assert found == 100.0 + seq
        else:
            assert found <= 100.0 + last - 30.0


def test_repeated_beat_with_an_earlier_stamp_counts_for_that() -> None:
    """Two threads stamp the same beat: the earlier reception is the first one."""
    monitor = LinkMonitor([FIRST], 100.0)
    _heard_each_second(monitor, 3)
    assert monitor.first_heard(LIFE, 2, 101.5) == 101.5


def test_next_life_is_heard_for_the_first_time() -> None:
    """Its numbers begin again, and what the former life reported is no measure."""
    monitor = LinkMonitor([FIRST], 100.0)
    _heard_each_second(monitor, 9)
    assert monitor.first_heard(NEXT_LIFE, 1, 120.0) == 120.0
    assert monitor.first_heard(NEXT_LIFE, 1, 121.0) == 120.0


def test_memory_of_arrivals_is_bounded_by_the_longest_timeout() -> None:
    """An hour of beats keeps those of the timeout, and one entry for all before."""
    monitor = LinkMonitor([FIRST], 0.0)
    for seq in range(1, 3600):
        monitor.first_heard(LIFE, seq, float(seq))
    kept = monitor._arrivals._seqs
    assert len(kept) == len(monitor._arrivals._times) == 12 and kept[-1] == 3599


def test_flood_of_beats_is_remembered_less_precisely_but_never_forgotten() -> None:
    """25,000 beats within one timeout: at most 10,000 entries, and each beat counts for nearly when
    it came.
    """
    monitor = LinkMonitor([FIRST], 0.0)
    for seq in range(1, 25_001):
        monitor.first_heard(LIFE, seq, seq / 10_000)
    assert 5_000 <= len(monitor._arrivals._seqs) <= 10_000
    for seq in (1, 2, 777, 12_345, 24_999, 25_000):
        assert seq / 10_000 <= monitor.first_heard(LIFE, seq, 3.0) <= seq / 10_000 + 0.001


def test_what_is_kept_of_a_flood_keeps_its_own_instant() -> None:
    """One beat above the limit: every second one is forgotten, and each that is kept counts for
    exactly when it came.
    """
    monitor = LinkMonitor([FIRST], 0.0)
    for seq in range(1, 10_002):
        monitor.first_heard(LIFE, seq, seq / 10_000)
    exact = [seq for seq in range(1, 10_002) if monitor.first_heard(LIFE, seq, 3.0) == seq / 10_000]
    assert exact == list(range(1, 10_002, 2))


def test_node_without_listeners_remembers_no_more_than_one_arrival() -> None:
    """There is no timeout for which anything would have to be remembered."""
    monitor = LinkMonitor([], 0.0)
    for seq in range(1, 50):
        monitor.first_heard(LIFE, seq, float(seq))
    assert len(monitor._arrivals._seqs) <= 2
    assert (
        monitor.shortest_timeout_s is None
        and monitor.next_deadline(0.0) is None
        and monitor.all_heard_at == 0.0
    )


def test_refusals_are_counted_by_link_and_reason_and_reported_once() -> None:
    """The first of each reason on each link is news."""
    monitor = LinkMonitor([FIRST, SECOND], 100.0)
    assert monitor.refuse(FIRST, "replayed", 0.0)
    assert not monitor.refuse(FIRST, "replayed", 0.0)
    assert monitor.refuse(FIRST, "old life", 0.0)
    assert monitor.refuse(SECOND, "replayed", 0.0)
    assert monitor.counts(FIRST) == {"replayed": 2, "old life": 1}
    assert monitor.counts(SECOND) == {"replayed": 1}
    assert monitor.refused_lately(FIRST, SUSPICION_S - 1) == ["old life", "replayed"]
    assert monitor.refused_lately(FIRST, SUSPICION_S) == []


def test_shortest_and_longest_timeouts_are_those_of_the_links() -> None:
    """10 s and 30 s: a stall is measured against the shorter, a full hearing takes the longer."""
    monitor = LinkMonitor([FIRST, SLOW], 100.0)
    assert monitor.shortest_timeout_s == 10.0
    assert monitor.all_heard_at == 130.0
    monitor.hold(200.0)
    assert monitor.all_heard_at == 230.0


def test_peer_is_silent_only_after_the_longest_timeout() -> None:
    """Two links of 10 and 30 s that were never heard: silent at 30 s, and next looked at when each
    passes.
    """
    monitor = LinkMonitor([FIRST, SLOW], 100.0)
    assert monitor.next_deadline(100.0) == 110.0
    assert monitor.silent_since(129.9) is None
    assert monitor.next_deadline(115.0) == 130.0
    assert monitor.silent_since(130.0) == 130.0
    assert monitor.next_deadline(130.0) is None


def test_silence_begins_when_it_is_found_and_lasts_until_a_beat() -> None:
    """Found late, it is as young as that; a beat ends it, and the next silence is a new one."""
    monitor = LinkMonitor([FIRST], 100.0)
    assert monitor.silent_since(113.0) == 113.0
    assert monitor.silent_since(150.0) == 113.0
    monitor.record_beat(FIRST, LIFE, 1, 150.0, 7)
    assert monitor.silent_since(150.0) is None
    assert monitor.expire(160.0) == [FIRST]
    assert monitor.silent_since(160.0) == 160.0


def test_wait_for_what_is_in_the_inbox_puts_off_new_verdicts_only() -> None:
    """A slow disk held the engine: no link goes down and no peer falls silent before the backlog
    was taken.
    """
    monitor = LinkMonitor([FIRST, SECOND], 100.0)
    monitor.record_beat(FIRST, LIFE, 1, 101.0, 7)
    monitor.wait_until(115.0)
    assert monitor.expire(114.9) == []
    assert monitor.next_deadline(112.0) == 115.0
    assert monitor.expire(115.0) == [FIRST]
    assert monitor.silent_since(115.0) == 115.0
    monitor.wait_until(118.0)
    assert monitor.silent_since(117.0) == 115.0


def test_first_silence_waits_for_the_inbox_too() -> None:
    """Links that were never heard are down already.

    That the peer is silent is found after the wait.
    """
    monitor = LinkMonitor([FIRST], 100.0)
    monitor.wait_until(112.0)
    assert monitor.silent_since(111.0) is None
    assert monitor.next_deadline(111.0) == 112.0
    assert monitor.silent_since(112.0) == 112.0
    assert monitor.next_deadline(112.0) is None


def test_end_of_the_wait_is_no_deadline_while_the_peer_is_heard() -> None:
    """Work that ended at 103 puts off verdicts that would be due before.

    There are none, so the engine does not look then.
    """
    monitor = LinkMonitor([FIRST], 100.0)
    monitor.record_beat(FIRST, LIFE, 1, 101.0, 7)
    monitor.wait_until(103.0)
    assert monitor.next_deadline(102.0) == 111.0


def test_new_listener_may_pass_its_verdict_as_soon_as_it_was_listened_to() -> None:
    """Nothing waits at the start: the wait ends when the monitor begins."""
    monitor = LinkMonitor([replace(FIRST, timeout_s=0.0)], 100.0)
    assert monitor.silent_since(100.0 + PATIENCE_BEATS * BEAT_INTERVAL_S - 0.01) is None
    assert monitor.silent_since(100.0 + PATIENCE_BEATS * BEAT_INTERVAL_S) is not None


@pytest.mark.parametrize(
    ("interval_s", "patience_s"), [(1.0, 2.0), (0.1, 0.3), (0.2, 0.4), (9.0, 2.0)]
)
def test_link_is_not_down_before_two_of_the_intervals_that_its_beats_announce(
    interval_s: float, patience_s: float
) -> None:
    """A timeout of 0.3 s: longer for a peer that beats slower, and an interval of 9 s is not
    believed.
    """
    monitor = LinkMonitor([replace(FIRST, timeout_s=0.3)], 100.0)
    monitor.record_beat(replace(FIRST, timeout_s=0.3), LIFE, 1, 200.0, 7, interval_s)
    assert monitor.expire(200.0 + patience_s - 0.01) == []
    assert len(monitor.expire(200.0 + patience_s + 0.0001)) == 1


def test_peer_that_announces_no_pace_is_given_the_slowest() -> None:
    """A beat without an interval, on a link of 0.3 s: one a second is expected, and the link goes
    down after two.
    """
    quick = replace(FIRST, timeout_s=0.3)
    monitor = LinkMonitor([quick], 100.0)
    monitor.record_beat(quick, LIFE, 1, 200.0, 7)
    assert monitor.expire(201.99) == [] and monitor.expire(202.0) == [quick]


def test_links_keep_their_threads_and_lives_apart() -> None:
    """What one link has delivered shows nothing of the other."""
    monitor = LinkMonitor([FIRST, SECOND], 100.0)
    assert not monitor.is_any_up and not monitor.is_own_heard
    assert monitor.record_beat(FIRST, LIFE, 5, 101.0, 7)
    assert monitor.is_any_up and monitor.is_own_heard
    assert monitor.view(FIRST) == (True, 101.0, 7) and monitor.view(SECOND) == (False, None, 0)
    assert FIRST in monitor and SLOW not in monitor
    monitor.record_beat(FIRST, LEGACY_INCARNATION, 5, 102.0, 8)
    assert not monitor.is_own_heard
    assert monitor.take_down() == [FIRST] and monitor.take_down() == []


def test_never_heard_link_takes_any_beat_as_fresh() -> None:
    """Sequence 0 included."""
    monitor = LinkMonitor([FIRST], 100.0)
    assert monitor.is_fresh(FIRST, LIFE, 0)
    monitor.record_beat(FIRST, LIFE, 0, 101.0, 7)
    assert not monitor.is_fresh(FIRST, LIFE, 0) and monitor.is_fresh(FIRST, LIFE, 1)


def test_delay_of_a_c_openha_follows_the_quickest_disk_that_is_up() -> None:
    """Disks of 1, 4 and 30 s: never less than 5 s, 6 s with the second, 32 s with the third alone,
    5 s with a network.
    """
    quickest = LinkSpec("deb2", "dio", "/dev/sdd", "", 0, 19, 1.0)
    quick = LinkSpec("deb2", "dio", "/dev/sdb", "", 0, 19, 4.0)
    slow = LinkSpec("deb2", "disk", "/dev/sdc", "", 0, 19, 30.0)
    monitor = LinkMonitor([FIRST, quickest, quick, slow], 100.0)
    assert monitor.legacy_delay_s == START_READY_DELAY_S
    monitor.record_beat(slow, LEGACY_INCARNATION, 1, 101.0, 1)
    assert monitor.legacy_delay_s == 32.0
    monitor.record_beat(quick, LEGACY_INCARNATION, 1, 101.0, 1)
    assert monitor.legacy_delay_s == 6.0
    monitor.record_beat(quickest, LEGACY_INCARNATION, 1, 101.0, 1)
    assert monitor.legacy_delay_s == START_READY_DELAY_S
    monitor.take_down()
    monitor.record_beat(quick, LEGACY_INCARNATION, 2, 102.0, 1)
    assert monitor.legacy_delay_s == 6.0
    monitor.record_beat(FIRST, LEGACY_INCARNATION, 1, 101.0, 1)
    assert monitor.legacy_delay_s == START_READY_DELAY_S


def test_peer_is_not_silent_before_its_links_are_taken_down() -> None:
    """The timeout has passed, and the link was not looked at yet: it is up, so the peer is
    heard.
    """
    monitor = LinkMonitor([FIRST], 100.0)
    monitor.record_beat(FIRST, LIFE, 1, 101.0, 7)
    assert monitor.silent_since(115.0) is None
    monitor.expire(115.0)
    assert monitor.silent_since(115.0) == 115.0
