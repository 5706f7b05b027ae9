"""Interfaces that go down while other links work: who is informed of what and when, and what the
informed one does with it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core import timing
from opensvc_openha.core.actions import Announce, Record, RecordKind
from opensvc_openha.core.beat import LEGACY_INCARNATION, Beat, BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    BeatReceived,
    ConfigChanged,
    Event,
    LeaveRequested,
    Leaving,
    SendersMuted,
    Tick,
)
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.link_down_notice import LinkDownNotice
from opensvc_openha.core.link_monitor import LinkMonitor
from opensvc_openha.core.model import ClusterSpec, LinkSpec, Wire
from opensvc_openha.verify.invariants import InvariantChecker
from opensvc_openha.verify.simulated_node import NODES
from tests.core.pair import Host, Pair, links, services

OURS = tuple(link for link in links(10.0) if link.node == "deb1")
FIRST, SECOND = [link for link in links(10.0) if link.node == "deb2"]
QUICK = replace(SECOND, timeout_s=2.0)
DISK = LinkSpec("deb2", "dio", "/dev/sdb", "", 0, 10, 10.0)
LIFE, NEXT_LIFE = BootId(1, 11), BootId(2, 22)
NOTHING: frozenset[LinkSpec] = frozenset()


def _heard(*listeners: LinkSpec, seq: int = 1, at: float = 101.0) -> LinkMonitor:
    monitor = LinkMonitor(listeners, 100.0)
    for link in listeners:
        monitor.record_beat(link, LIFE, seq, at, 7)
    return monitor


def _marks(*named: LinkSpec) -> frozenset[bytes]:
    return frozenset(link.mark for link in named)


# --- the listener ---------------------------------------------------------------------------------


def test_mute_link_is_down_at_once_and_its_timeout_is_not_waited_for() -> None:
    """10 s on eth1, 2 s on eth2: eth1 is mute, so the peer is silent 2 s after its last beat on
    eth2, not 10.
    """
    monitor = _heard(FIRST, QUICK)
    monitor.record_beat(QUICK, LIFE, 2, 102.0, 7)
    assert monitor.mute(_marks(FIRST), LIFE, 2) == [FIRST]
    assert not monitor.view(FIRST)[0] and monitor.is_mute(FIRST) and monitor.is_any_up
    assert monitor.next_deadline(102.0) == 104.0
    assert monitor.expire(103.9) == [] and monitor.silent_since(103.9) is None
    assert monitor.expire(104.0) == [QUICK]
    assert monitor.silent_since(104.0) == 104.0
    assert [sight.is_mute for sight in monitor.sights(104.0)] == [True, False]


def test_link_that_brought_the_notice_is_listened_to_for_its_whole_timeout() -> None:
    """Whatever a notice reports, the peer is silent no sooner than a whole timeout after the beat
    it was in.
    """
    monitor = _heard(FIRST, SECOND)
    monitor.record_beat(SECOND, LIFE, 5, 105.0, 7)
    monitor.mute(_marks(FIRST), LIFE, 5)
    monitor.expire(115.0 - 0.001)
    assert monitor.silent_since(115.0 - 0.001) is None
    monitor.expire(115.0)
    assert monitor.silent_since(115.0) == 115.0


def test_beat_no_older_than_the_notice_brings_the_link_back() -> None:
    """What was on its way when the interface went down changes nothing.

    A later beat, or the notice itself, does.
    """
    monitor = _heard(FIRST, SECOND, seq=5)
    monitor.record_beat(SECOND, LIFE, 9, 109.0, 7)
    monitor.mute(_marks(FIRST), LIFE, 9)
    assert not monitor.record_beat(FIRST, LIFE, 8, 109.1, 7)
    assert monitor.is_mute(FIRST) and not monitor.view(FIRST)[0]
    assert monitor.record_beat(FIRST, LIFE, 9, 109.2, 7)
    assert not monitor.is_mute(FIRST) and monitor.view(FIRST)[0]


def test_notice_overtaken_by_a_beat_on_the_link_it_names_is_no_news() -> None:
    """eth1 has brought beat 10 already: that it was down at beat 9 is over."""
    monitor = _heard(FIRST, SECOND, seq=10)
    assert monitor.mute(_marks(FIRST), LIFE, 9) == []
    assert monitor.view(FIRST)[0] and not monitor.is_mute(FIRST)


def test_notice_that_came_in_on_the_very_link_that_it_names_is_no_news() -> None:
    """eth1 has brought beat 10, and beat 10 reports that eth1 is down: it works for all that is
    known here.
    """
    monitor = _heard(FIRST, SECOND, seq=10)
    assert monitor.mute(_marks(FIRST), LIFE, 10) == []
    assert monitor.view(FIRST)[0] and not monitor.is_mute(FIRST)


def test_notice_of_a_new_life_is_believed_though_the_former_one_had_come_further() -> None:
    """eth1 has brought beat 50 of the daemon before.

    The new one reports in its third beat that eth1 is down.
    """
    monitor = _heard(FIRST, SECOND, seq=50)
    monitor.record_beat(SECOND, NEXT_LIFE, 3, 102.0, 7)
    assert monitor.mute(_marks(FIRST), NEXT_LIFE, 3) == [FIRST]
    assert monitor.is_mute(FIRST) and not monitor.view(FIRST)[0]


def test_beat_of_a_c_openha_ends_the_mute_of_its_link_whatever_its_clock_shows() -> None:
    """eth1 was mute since beat 50.

    A C daemon is heard on it, whose number is a clock and not a count of ours.
    """
    monitor = _heard(FIRST, SECOND, seq=50)
    monitor.mute(_marks(FIRST), LIFE, 51)
    assert monitor.record_beat(FIRST, LEGACY_INCARNATION, 3, 102.0, 7) and not monitor.is_mute(
        FIRST
    )


def test_next_notice_replaces_the_former() -> None:
    """First eth1 is down, then only eth3: eth1 is waited for again, though it is down until it is
    heard.
    """
    third = replace(FIRST, device="eth3", address="239.131.50.99")
    monitor = _heard(FIRST, SECOND, third)
    monitor.record_beat(SECOND, LIFE, 2, 102.0, 7)
    assert monitor.mute(_marks(FIRST), LIFE, 2) == [FIRST]
    monitor.record_beat(SECOND, LIFE, 3, 103.0, 7)
    assert monitor.mute(_marks(third), LIFE, 3) == [third]
    assert [monitor.is_mute(link) for link in (FIRST, SECOND, third)] == [False, False, True]
    assert not monitor.view(FIRST)[0]


def test_notice_that_names_every_link_is_refused() -> None:
    """It came in on one of them: nothing of it is believed."""
    monitor = _heard(FIRST, SECOND)
    assert monitor.mute(_marks(FIRST, SECOND), LIFE, 2) is None
    assert monitor.view(FIRST)[0] and monitor.view(SECOND)[0] and not monitor.is_mute(FIRST)


def test_unknown_ambiguous_and_disk_marks_are_left_out() -> None:
    """Two listeners that bear the same name, a disk, and a mark of nothing: nothing goes down."""
    twin = replace(FIRST, device="eth7")
    monitor = _heard(FIRST, twin, SECOND, DISK)
    assert FIRST.mark == twin.mark
    assert monitor.mute(_marks(FIRST, DISK) | {b"whatever"}, LIFE, 2) == []
    assert all(
        monitor.view(link)[0] and not monitor.is_mute(link) for link in (FIRST, twin, SECOND, DISK)
    )


@pytest.mark.parametrize("event", ["stall", "new life", "configuration"])
def test_mute_is_forgotten(event: str) -> None:
    """After a stall, a new life of the peer or an edited monitor file, whole timeouts are waited
    for on every link.
    """
    monitor = _heard(FIRST, QUICK)
    monitor.record_beat(QUICK, LIFE, 2, 102.0, 7)
    monitor.mute(_marks(FIRST), LIFE, 2)
    if event == "stall":
        monitor.hold(102.0)
    elif event == "new life":
        monitor.record_beat(QUICK, NEXT_LIFE, 1, 102.0, 7)
    else:
        monitor.update([FIRST, QUICK], 102.0)
    assert not monitor.is_mute(FIRST)
    monitor.expire(104.0)
    assert monitor.silent_since(104.0) is None and monitor.next_deadline(104.0) in (111.0, 112.0)


def test_original_heard_beside_us_does_not_end_a_mute_elsewhere_but_on_its_own_link() -> None:
    """A record of a C OpenHA names no life: eth1 stays mute, and a mute link that brings one is
    up.
    """
    monitor = _heard(FIRST, SECOND)
    monitor.record_beat(SECOND, LIFE, 2, 102.0, 7)
    monitor.mute(_marks(FIRST), LIFE, 2)
    monitor.record_beat(SECOND, LEGACY_INCARNATION, 5, 102.5, 7)
    assert monitor.is_mute(FIRST)
    assert monitor.record_beat(FIRST, LEGACY_INCARNATION, 6, 103.0, 7) and not monitor.is_mute(
        FIRST
    )


def test_only_link_left_by_a_new_configuration_is_waited_for() -> None:
    """The operator removes the link that works: the mute one counts again, and somebody is listened
    to.
    """
    monitor = _heard(FIRST, SECOND)
    monitor.record_beat(SECOND, LIFE, 2, 102.0, 7)
    monitor.mute(_marks(FIRST), LIFE, 2)
    monitor.update([FIRST], 103.0)
    assert monitor.silent_since(110.9) is None and monitor.silent_since(111.0) == 111.0


# --- what is announced ----------------------------------------------------------------------------


def _engine(own: tuple[LinkSpec, ...] = OURS) -> Engine:
    engine = Engine(
        ClusterSpec("deb1", "deb2", (*own, FIRST, SECOND), services()), BootId(1, 1), {}, 100.0
    )
    engine.step(Tick(), 100.0)
    return engine


def _sent(engine: Engine, event: Event, now: float) -> list[tuple[float, Beat]]:
    """Beats sent because of an event and within 0.9 s after it."""
    sent = []
    end = now + 0.9
    for _ in range(100):
        if now > end:
            break
        sent += [
            (now, action.beat) for action in engine.step(event, now) if isinstance(action, Announce)
        ]
        event, now = Tick(), max(now, engine.next_deadline())
    return sent


def test_notice_goes_out_at_once_and_in_turns_with_ordinary_beats() -> None:
    """eth1 goes down: three notices 0.1 s apart from the first moment, each followed by an ordinary
    beat, then quiet.
    """
    engine = _engine()
    sent = _sent(engine, SendersMuted(frozenset({OURS[0]})), 100.5)
    assert [bool(beat.mute) for _, beat in sent] == [True, False] * 3
    assert sent[0][0] == 100.5 and all(
        beat.mute in (frozenset(), _marks(OURS[0])) for _, beat in sent
    )
    assert [round(at - 100.5, 3) for at, _ in sent] == pytest.approx(
        [0.05 * number for number in range(6)]
    )
    assert [beat.seq for _, beat in sent] == list(range(2, 8))


@pytest.mark.parametrize(("timeout_s", "stays_s"), [(10.0, 0.3), (1.0, 0.12), (0.3, 0.06)])
def test_notice_stays_in_a_disk_slot_until_it_must_have_been_read(
    timeout_s: float, stays_s: float
) -> None:
    """With a disk among the links, notices and ordinary beats take turns so that each is there for
    more than one read.
    """
    engine = _engine((*OURS, replace(DISK, node="deb1", offset=0, timeout_s=timeout_s)))
    sent = _sent(engine, SendersMuted(frozenset({OURS[0]})), 100.05)[:4]
    assert [round(at - 100.05, 3) for at, _ in sent] == pytest.approx(
        [0.0, stays_s, 2 * stays_s, 3 * stays_s]
    )
    assert [bool(beat.mute) for _, beat in sent] == [True, False, True, False]


def test_ordinary_beat_just_posted_is_not_overtaken_by_the_notice() -> None:
    """A beat was sent this very moment: the senders get the time to take it before the notice
    replaces it.
    """
    engine = _engine()
    sent = _sent(engine, SendersMuted(frozenset({OURS[0]})), 100.001)
    assert [bool(beat.mute) for _, beat in sent[:2]] == [True, False]
    assert 100.0 + timing.ACK_GAP_S <= sent[0][0] < 100.05


def test_notice_comes_one_answers_gap_after_an_ordinary_beat_and_one_beat_after_it() -> None:
    """The last beat was at 100: the notice at 100.02, an ordinary beat 50 ms after it, none once
    that one was sent.
    """
    notice = LinkDownNotice()
    assert notice.take(OURS[:1], OURS) == [OURS[0]]
    assert notice.due_at(100.0) == 100.0 + timing.ACK_GAP_S and notice.beat_due_at(100.0) is None
    notice.record_sent(100.02)
    assert notice.beat_due_at(100.0) == 100.02 + timing.GOODBYE_GAP_S
    assert notice.beat_due_at(100.02) is None, "it was sent right behind the notice"


def test_notice_stays_for_the_slowest_of_several_disks() -> None:
    """Slots of 0.5 and of 10 s are read every 50 and 250 ms: the notice stays 1.2 times the
    latter.
    """
    disks = tuple(
        replace(DISK, node="deb1", device=device, timeout_s=timeout_s)
        for device, timeout_s in (("/dev/sdb", 0.5), ("/dev/sdc", 10.0))
    )
    notice = LinkDownNotice()
    notice.take(OURS[:1], OURS + disks)
    notice.record_sent(100.0)
    assert notice.beat_due_at(99.0) == pytest.approx(100.0 + 1.2 * 0.25)


def test_ordinary_beats_keep_their_pace_beside_notices() -> None:
    """Without the notices, what is left is never more than a beat interval apart."""
    engine = _engine()
    sent = _sent(engine, SendersMuted(frozenset({OURS[0]})), 100.97)
    usual = [100.0] + [at for at, beat in sent if not beat.mute]
    assert (
        max(later - earlier for earlier, later in zip(usual, usual[1:]))
        <= timing.BEAT_INTERVAL_S + 0.06
    )


def test_second_interface_is_announced_at_once_and_the_first_again() -> None:
    """eth2 of three goes down while eth1 is being announced: both are named from then on."""
    third = replace(OURS[0], device="eth3", address="239.131.50.99")
    engine = _engine((*OURS, third))
    engine.step(SendersMuted(frozenset({OURS[0]})), 100.5)
    sent = _sent(engine, SendersMuted(frozenset(OURS)), 100.52)
    notices = [(at, beat.mute) for at, beat in sent if beat.mute]
    assert (
        notices[0][0] <= 100.61
        and {mute for _, mute in notices} == {_marks(*OURS)}
        and len(notices) == 3
    )


def test_recovery_ends_the_notice() -> None:
    """eth1 is up again after two notices: no further one, its own beats show it."""
    engine = _engine()
    engine.step(SendersMuted(frozenset({OURS[0]})), 100.5)
    sent = [beat for _, beat in _sent(engine, SendersMuted(NOTHING), 100.52)]
    assert not any(beat.mute for beat in sent)
    assert len(sent) == 1, (
        "the ordinary beat after the notice that was sent, and none in the place of another notice"
    )


@pytest.mark.parametrize("case", ["all down", "rest is legacy", "not ours", "nothing"])
def test_nothing_is_announced_where_no_peer_could_hear_it(case: str) -> None:
    """Every link is down, the others speak the original's format, or the link is not one of ours:
    no beat, no record.
    """
    own = (OURS[0], replace(OURS[1], wire=Wire.LEGACY)) if case == "rest is legacy" else OURS
    engine = _engine(own)
    mute = {
        "all down": set(own),
        "rest is legacy": {own[0]},
        "not ours": {FIRST},
        "nothing": set(),
    }[case]
    assert engine.step(SendersMuted(frozenset(mute)), 100.5) == []
    assert [at for at, _ in _sent(engine, Tick(), 100.5)] == [101.0]


def test_node_that_leaves_says_goodbye_and_nothing_else() -> None:
    """A notice is due, but the daemon ends: three goodbyes, no notice among them."""
    engine = _engine()
    engine.step(SendersMuted(frozenset({OURS[0]})), 100.5)
    sent = _sent(engine, LeaveRequested(Leaving.KEEP_SERVICES), 100.51)
    assert len(sent) == timing.GOODBYE_REPEATS and not any(beat.mute for _, beat in sent)


def test_new_life_of_the_peer_learns_what_the_former_one_knew() -> None:
    """eth1 was down before the peer's daemon started: it is reported as soon as it is heard."""
    engine = _engine()
    _sent(engine, SendersMuted(frozenset({OURS[0]})), 100.5)
    hello = Beat("deb2", LIFE, 1, None, {})
    assert any(beat.mute for _, beat in _sent(engine, BeatReceived(SECOND, hello, 102.0), 102.0))


def test_new_life_with_facts_gets_every_repeat_of_the_notice() -> None:
    """Its first beat has facts, which end the offers of ours: the notice has its own repeats."""
    engine = _engine()
    _sent(engine, SendersMuted(frozenset({OURS[0]})), 100.5)
    hello = Beat("deb2", LIFE, 1, None, {}, facts=Facts())
    sent = _sent(engine, BeatReceived(SECOND, hello, 102.0), 102.0)
    assert sum(bool(beat.mute) for _, beat in sent) == timing.MUTE_REPEATS


def test_link_taken_out_of_the_monitor_file_is_no_longer_announced() -> None:
    """The mute link is removed while it is announced: no further notice."""
    engine = _engine()
    engine.step(SendersMuted(frozenset({OURS[0]})), 100.5)
    spec = ClusterSpec("deb1", "deb2", (OURS[1], FIRST, SECOND), services())
    assert not any(beat.mute for _, beat in _sent(engine, ConfigChanged(spec), 100.51))


def test_senders_that_stay_mute_are_no_news() -> None:
    """The same set again: what was begun is repeated as of the first one."""
    notice = LinkDownNotice()
    assert notice.take({OURS[0]}, OURS) == [OURS[0]]
    assert notice.take({OURS[0]}, OURS) == []


# --- both -----------------------------------------------------------------------------------------


def _down(pair: Pair, host: Host, device: str | None) -> None:
    """An interface of a node goes down, and its kernel reports it; None restores all."""
    dead = [link for link in pair.links if link.device == device]
    pair.cut = {(link.node, link) for link in dead}
    host.handle(host.life, SendersMuted(frozenset(link for link in dead if link.node == host.name)))


def _link_records(host: Host) -> list[tuple[str, str, str]]:
    return [
        (item.name, item.new, item.reason) for item in host.records if item.kind is RecordKind.LINK
    ]


@pytest.mark.parametrize("key_id", ["", "k"])
def test_interface_down_is_seen_by_the_peer_at_once_and_nothing_moves(key_id: str) -> None:
    """deb1's eth1 goes down and comes back: deb2 reports why within 50 ms, and up again.

    The service stays where it is.
    """
    pair = Pair()
    pair.key_id = key_id
    deb1, deb2 = pair.start_on_deb1()
    link = next(link for link in pair.links if link.node == "deb1" and link.device == "eth1")
    before = len(deb2.records)
    _down(pair, deb1, "eth1")
    pair.run(0.05)
    seen = [item.reason for item in deb2.records[before:]]
    assert seen == ["the peer reports that its eth1 is down"]
    assert deb2.engine is not None and deb2.engine.sight.links[0].is_mute
    shown = next(item for item in deb2.engine.snapshot(pair.now).links if item.spec == link)
    assert (shown.is_up, shown.reason) == (False, "the peer reports that its eth1 is down")
    pair.run(30)
    _down(pair, deb1, None)
    pair.run(2)
    assert [item.new for item in deb2.records[before:]] == ["DOWN", "UP"]
    assert deb1.shown == deb2.shown == ("STARTED", "STOPPED") and len(pair.starts()) == 1


def test_owner_that_dies_after_its_notice_is_silent_after_the_timeout_of_the_other_link() -> None:
    """eth1 has 30 s, eth2 3 s: with eth1 known to be down, the peer's death is acted on after 3 s
    and the usual delay.
    """
    pair = Pair()
    pair.links = tuple(
        replace(link, timeout_s=30.0 if link.device == "eth1" else 3.0) for link in pair.links
    )
    pair.invariants = InvariantChecker(NODES, 3.0, 30.0)
    deb1, _ = pair.start_on_deb1()
    _down(pair, deb1, "eth1")
    pair.run(5)
    deb1.crash()
    died_at = pair.now
    pair.run(20)
    assert len(pair.starts()) == 2
    assert 7.0 - 0.001 <= pair.starts()[-1][0] - died_at <= 3.0 + timing.START_READY_DELAY_S + 0.1


def test_contradiction_is_counted_and_changes_nothing() -> None:
    """A beat of the peer that names all its links: up they stay, counted and reported once.

    The beat itself counts.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    assert deb1.engine is not None and deb2.engine is not None
    theirs = [link for link in pair.links if link.node == "deb1"]
    for seq in (1001, 1002):
        beat = replace(deb1.engine.beat(), seq=seq, mute=_marks(*theirs))
        deb2.handle(deb2.life, BeatReceived(theirs[0], beat, pair.now))
    status = deb2.engine.snapshot(pair.now).links
    assert all(link.is_up for link in status)
    assert [dict(link.counts) for link in status] == [{"contradiction": 2}, {}]
    assert len([item for item in _link_records(deb2) if "none of its links works" in item[2]]) == 1


def test_replayed_notice_does_nothing() -> None:
    """A notice of an hour ago, played again on every link after eth1 came back: links stay up."""
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    assert deb1.engine is not None and deb2.engine is not None
    theirs = [link for link in pair.links if link.node == "deb1"]
    old = replace(deb1.engine.beat(), mute=_marks(theirs[0]))
    pair.run(5)
    before = len(deb2.records)
    for link in theirs:
        deb2.handle(deb2.life, BeatReceived(link, old, pair.now))
    assert all(link.is_up for link in deb2.engine.snapshot(pair.now).links)
    assert not [item for item in deb2.records[before:] if item.new == "DOWN"]


def test_report_of_mute_links_is_an_alarm_at_its_first_occurrence() -> None:
    """eth1, which was up, goes down by a notice.

    Then the peer reports twice that none of its links works: reported once.
    """
    engine = _engine()
    reported = []
    for seq, link, named in (
        (1, FIRST, ()),
        (2, SECOND, (FIRST,)),
        (3, SECOND, (FIRST, SECOND)),
        (4, SECOND, (FIRST, SECOND)),
    ):
        beat = Beat("deb2", LIFE, seq, None, {}, mute=_marks(*named))
        done = engine.step(BeatReceived(link, beat, 100.0 + seq), 100.0 + seq)
        records = [
            item for item in done if isinstance(item, Record) and item.new in ("DOWN", "REFUSED")
        ]
        reported += [(seq, item.new, item.is_alarm) for item in records]
    assert reported == [(2, "DOWN", True), (3, "REFUSED", True)]
