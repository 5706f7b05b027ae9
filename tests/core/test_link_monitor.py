"""Links: fresh beats, timeouts, and what counts as silence."""

from __future__ import annotations

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.link_monitor import LinkMonitor
from tests.core.pair import links

FIRST, SECOND = [link for link in links(10.0) if link.node == "deb2"]
LIFE, NEXT_LIFE = BootId(1, 11), BootId(2, 22)


def _monitor() -> LinkMonitor:
    return LinkMonitor([FIRST, SECOND], 100.0)


def test_link_that_was_never_heard_is_down_but_not_silent_before_its_timeout() -> None:
    """Just started: down at once, as the tutorial shows, and silent only after the whole
    timeout.
    """
    monitor = _monitor()
    assert not monitor.is_any_up
    assert monitor.silent_since(109.9) is None
    assert monitor.silent_since(110.0) == 110.0
    assert monitor.silent_since(500.0) == 110.0


def test_beat_brings_a_link_up_once_and_its_timeout_takes_it_down() -> None:
    """Up at the first fresh beat, down exactly one timeout after the last."""
    monitor = _monitor()
    assert monitor.record_beat(FIRST, LIFE, 1, 101.0, 7)
    assert not monitor.record_beat(FIRST, LIFE, 2, 102.0, 7)
    assert monitor.view(FIRST) == (True, 102.0, 7)
    assert monitor.next_deadline(102.0) == 110.0
    assert monitor.expire(111.9) == []
    assert monitor.expire(112.0) == [FIRST]
    assert monitor.expire(113.0) == []


def test_verdict_is_due_while_it_can_still_be_passed() -> None:
    """On a link that is up; of a peer that is heard nowhere, until it is silent."""
    monitor = _monitor()
    assert [monitor.is_verdict_due(at) for at in (109.9, 110.0)] == [False, True]
    monitor.record_beat(FIRST, LIFE, 1, 105.0, 7)
    assert [monitor.is_verdict_due(at) for at in (114.9, 115.0)] == [False, True]
    monitor.record_unread(True)
    assert monitor.expire(115.04) == [] and monitor.next_deadline(115.0) == 115.05
    assert monitor.expire(115.05) == [FIRST] and monitor.silent_since(115.05) == 115.05
    assert not monitor.is_verdict_due(116.0)


def test_one_link_up_is_not_silence() -> None:
    """eth1 was lost long ago, eth2 is heard: the peer is not silent."""
    monitor = _monitor()
    monitor.record_beat(SECOND, LIFE, 1, 200.0, 7)
    assert monitor.silent_since(205.0) is None
    monitor.expire(210.0)
    assert monitor.silent_since(210.0) == 210.0


def test_repeated_or_older_beat_of_a_life_is_not_fresh_on_its_link() -> None:
    """A replayed or duplicated frame does not keep a link up; a new life starts again."""
    monitor = _monitor()
    monitor.record_beat(FIRST, LIFE, 5, 101.0, 7)
    assert not monitor.is_fresh(FIRST, LIFE, 5)
    assert not monitor.is_fresh(FIRST, LIFE, 4)
    assert monitor.is_fresh(FIRST, LIFE, 6)
    assert monitor.is_fresh(FIRST, NEXT_LIFE, 1)
    assert monitor.is_fresh(SECOND, LIFE, 5)


def test_own_stall_postpones_every_verdict_by_a_full_timeout() -> None:
    """After a stall a link that is up stays up, and silence is no verdict, until a timeout has been
    listened to.
    """
    monitor = _monitor()
    monitor.record_beat(FIRST, LIFE, 1, 101.0, 7)
    monitor.hold(150.0)
    assert monitor.expire(159.9) == []
    assert monitor.expire(160.0) == [FIRST]
    monitor.hold(170.0)
    assert monitor.silent_since(175.0) is None
    assert monitor.silent_since(180.0) == 180.0


def test_late_stamp_never_moves_a_link_back_in_time() -> None:
    """Two threads deliver out of order: the later reception counts."""
    monitor = _monitor()
    monitor.record_beat(FIRST, LIFE, 1, 105.0, 7)
    monitor.record_beat(FIRST, LIFE, 2, 104.0, 7)
    assert monitor.view(FIRST)[1] == 105.0


def test_goodbye_takes_all_links_down_at_once() -> None:
    """No timeout is waited for."""
    monitor = _monitor()
    monitor.record_beat(FIRST, LIFE, 1, 101.0, 7)
    assert monitor.take_down() == [FIRST]
    assert not monitor.is_any_up


def test_links_that_stay_keep_what_was_heard_when_the_configuration_changes() -> None:
    """A new link is listened to for its timeout before its silence counts; the old one stays up."""
    monitor = LinkMonitor([FIRST], 100.0)
    monitor.record_beat(FIRST, LIFE, 1, 101.0, 7)
    monitor.update([FIRST, SECOND], 105.0)
    assert monitor.view(FIRST) == (True, 101.0, 7)
    assert monitor.view(SECOND) == (False, None, 0)
    monitor.expire(111.0)
    assert monitor.silent_since(114.0) is None
    assert monitor.silent_since(115.0) == 115.0


def test_node_without_listeners_never_calls_its_peer_silent() -> None:
    """Nothing is listened to: nothing is proved."""
    assert LinkMonitor([], 100.0).silent_since(1e9) is None
