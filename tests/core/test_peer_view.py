"""What beats of the peer prove, and which of them are believed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from opensvc_openha.core.beat import LEGACY_INCARNATION, Ack, Beat, BootId, Goodbye
from opensvc_openha.core.facts import Connectivity, DiskAnswer, Facts, Reach
from opensvc_openha.core.peer_view import Age, Evidence, PeerView
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import (
    DISK_FACTS_OLD_S,
    LEGACY_ECHO_S,
    LEGACY_FRESH_S,
    LEGACY_STRAGGLER_S,
    RESTART_HOLD_S,
    START_READY_DELAY_S,
)

OWN, OLD_OWN = BootId(5, 55), BootId(4, 44)
LIFE, NEXT_LIFE = BootId(1, 11), BootId(2, 22)


def _beat(state: ServiceState = ServiceState.STOPPED, seq: int = 1, ack: Ack | None = None) -> Beat:
    return Beat("deb2", LIFE, seq, ack, {"registry": state})


def _live(*beats: Beat) -> PeerView:
    view = PeerView(OWN)
    for beat in beats:
        view.take(beat, 100.0)
    view.judge(True, None, 100.0)
    return view


@pytest.mark.parametrize(
    ("announced", "proved"),
    [
        (ServiceState.STOPPED, Evidence.OUT),
        (ServiceState.FROZEN_STOP, Evidence.OUT),
        (ServiceState.START_READY, Evidence.READY),
        (ServiceState.STARTING, Evidence.RUNS),
        (ServiceState.STARTED, Evidence.RUNS),
        (ServiceState.FROZEN_START, Evidence.RUNS),
        (ServiceState.STOPPING, Evidence.BUSY),
        (ServiceState.START_FAILED, Evidence.BUSY),
        (ServiceState.STOP_FAILED, Evidence.BUSY),
        (ServiceState.UNKNOWN, Evidence.BUSY),
        (ServiceState.FORCE_STOP, Evidence.BUSY),
    ],
)
def test_each_state_of_a_live_peer_proves_what_it_states_and_no_more(
    announced: ServiceState, proved: Evidence
) -> None:
    """Only STOPPED and FROZEN_STOP are out; everything unclear may be in use there."""
    assert _live(_beat(announced)).evidence("registry", None) is proved


def test_service_the_peer_does_not_speak_of_proves_nothing() -> None:
    """Live, but the name is not in its beat."""
    view = _live(_beat())
    assert view.evidence("busybox", 1) is Evidence.UNHEARD
    assert view.state_of("busybox") is ServiceState.UNKNOWN


def test_acknowledgement_counts_from_the_very_beat_that_announced_start_ready() -> None:
    """An acknowledgement of an earlier beat is none."""
    view = _live(_beat(seq=1, ack=Ack(OWN, 6)))
    assert view.evidence("registry", 7) is Evidence.OUT
    view.take(_beat(seq=2, ack=Ack(OWN, 7)), 101.0)
    assert view.evidence("registry", 7) is Evidence.OUT_ACKED


def test_answer_to_a_beat_that_was_not_taken_acknowledges_nothing() -> None:
    """It was heard, and refused."""
    view = _live(_beat(seq=1, ack=Ack(OWN, 7, is_taken=False)))
    assert view.evidence("registry", 7) is Evidence.OUT and view.newest_acked_seq == -1


def test_acknowledgement_is_old_once_the_peer_may_call_this_node_silent() -> None:
    """Its patience is 10 s: after them it may have taken the service, so what it acknowledged
    before proves nothing.
    """
    view = _live(_beat(ack=Ack(OWN, 7)))
    view.ack_limit_s = 10.0
    for now, proved in ((109.99, Evidence.OUT_ACKED), (110.0, Evidence.OUT)):
        view.advance(now)
        assert view.evidence("registry", 7) is proved


def test_acknowledgement_of_an_earlier_life_of_ours_is_none() -> None:
    """The peer still acknowledges the daemon that ran here before."""
    assert _live(_beat(ack=Ack(OLD_OWN, 99))).evidence("registry", 7) is Evidence.OUT


def test_acknowledgement_of_the_peers_earlier_life_is_forgotten() -> None:
    """The peer's daemon was restarted: what its old life had heard, the new one has not."""
    view = _live(_beat(ack=Ack(OWN, 7)), replace(_beat(), boot=NEXT_LIFE))
    assert view.evidence("registry", 7) is Evidence.OUT


def test_older_beat_of_the_same_life_changes_nothing() -> None:
    """Beats overtake each other on different links: the newest one stands."""
    view = _live(_beat(ServiceState.STARTED, seq=5))
    assert not view.take(_beat(ServiceState.STOPPED, seq=4), 101.0)
    assert not view.take(_beat(ServiceState.STOPPED, seq=5), 101.0)
    assert view.state_of("registry") is ServiceState.STARTED


def test_earlier_life_is_not_believed_while_the_newer_one_is_heard() -> None:
    """A frame that lingered somewhere from before the peer's restart is dropped."""
    view = _live(replace(_beat(), boot=NEXT_LIFE))
    assert not view.admits(_beat(seq=99))
    assert view.admits(replace(_beat(), boot=BootId(3, 33)))


def test_life_that_was_followed_by_another_never_comes_back() -> None:
    """The peer lost its counter: a goodbye of the life before, 20 s late, has the higher one and is
    still refused.
    """
    earlier = BootId(9, 99)
    view = _live(replace(_beat(), boot=earlier))
    view.judge(False, 120.0, 120.0)
    view.take(_beat(), 121.0)
    view.judge(True, None, 121.0)
    assert not view.admits(
        replace(_beat(seq=50, ack=Ack(OWN, 1)), boot=earlier, goodbye=Goodbye.LEFT)
    )


def test_life_with_a_lost_counter_is_believed_once_the_other_is_silent() -> None:
    """The peer was reinstalled, its counter begins again: it is heard as soon as the old life is
    not.
    """
    view = _live(replace(_beat(), boot=NEXT_LIFE))
    view.judge(False, 120.0, 120.0)
    assert view.admits(_beat())


def test_silence_makes_every_state_unknown() -> None:
    """All ten states become UNKNOWN, frozen ones too."""
    view = _live(_beat(ServiceState.FROZEN_STOP, ack=Ack(OWN, 9)))
    view.judge(False, 120.0, 120.0)
    assert view.state_of("registry") is ServiceState.UNKNOWN
    assert view.evidence("registry", 7) is Evidence.SILENT


def test_links_down_without_a_verdict_prove_nothing() -> None:
    """After a stall of ours: not live, not silent."""
    view = _live(_beat())
    view.judge(False, None, 120.0)
    assert view.standing is PeerStanding.UNKNOWN
    assert view.evidence("registry", 1) is Evidence.UNHEARD


def test_goodbye_ends_its_life_for_good() -> None:
    """Beats of the same life that arrive behind the goodbye are dropped, a new life is heard."""
    view = _live(_beat(), replace(_beat(seq=2, ack=Ack(OWN, 1)), goodbye=Goodbye.LEFT))
    assert view.standing is PeerStanding.DEPARTED
    assert not view.admits(_beat(seq=3))
    assert view.admits(replace(_beat(), boot=NEXT_LIFE))


def test_goodbye_of_a_stopped_service_is_evidence_at_once_and_lasts() -> None:
    """What left as stopped stays stopped until a new life is heard."""
    view = _live(replace(_beat(), goodbye=Goodbye.LEFT))
    assert view.evidence("registry", None) is Evidence.DEPARTED_STOPPED
    view.judge(False, 110.0, 100.0 + 10 * RESTART_HOLD_S)
    assert view.evidence("registry", None) is Evidence.DEPARTED_STOPPED


def test_goodbye_that_is_not_meant_for_our_present_life_is_not_believed() -> None:
    """A late or replayed goodbye of an earlier life: it would let us start what the newer life runs
    behind a cut.
    """
    goodbye = replace(_beat(seq=9), goodbye=Goodbye.LEFT)
    fresh = PeerView(OWN)
    assert not fresh.admits(goodbye)
    assert not fresh.admits(replace(goodbye, ack=Ack(OLD_OWN, 1)))
    assert fresh.admits(replace(goodbye, ack=Ack(OWN, 1)))
    newer = _live(replace(_beat(), boot=NEXT_LIFE))
    newer.judge(False, 120.0, 120.0)
    assert not newer.admits(replace(goodbye, ack=Ack(OWN, 1)))


def test_frozen_service_left_running_is_not_taken_however_long() -> None:
    """freeze-start, then the end of the daemon: the operator works there, no node starts it
    elsewhere.
    """
    view = _live(replace(_beat(ServiceState.FROZEN_START), goodbye=Goodbye.RESTART))
    view.judge(False, 110.0, 100.0 + 100 * RESTART_HOLD_S)
    assert view.evidence("registry", None) is Evidence.RUNS


def test_scripts_get_the_last_word_of_a_peer_that_left() -> None:
    """A fence must not be asked for a peer that stopped the service and reported it.

    For a silent one it must.
    """
    left = _live(replace(_beat(ServiceState.STOPPED), goodbye=Goodbye.LEFT))
    assert left.for_script("registry") == (ServiceState.STOPPED, PeerStanding.DEPARTED)
    gone = _live(replace(_beat(ServiceState.STARTED), goodbye=Goodbye.RESTART))
    assert gone.for_script("registry") == (ServiceState.STARTED, PeerStanding.DEPARTED)
    gone.judge(False, 110.0, 100.0 + RESTART_HOLD_S)
    assert gone.for_script("registry") == (ServiceState.UNKNOWN, PeerStanding.SILENT)


def test_goodbye_with_a_running_service_protects_it_for_the_hold_only() -> None:
    """A daemon that is restarted keeps its service.

    One that does not come back is silent after the hold.
    """
    view = _live(replace(_beat(ServiceState.STARTED), goodbye=Goodbye.RESTART))
    view.judge(False, 110.0, 100.0 + RESTART_HOLD_S - 0.1)
    assert view.evidence("registry", None) is Evidence.UNHEARD
    assert view.next_deadline(110.0) == 100.0 + RESTART_HOLD_S
    view.judge(False, 110.0, 100.0 + RESTART_HOLD_S)
    assert view.evidence("registry", None) is Evidence.SILENT
    assert view.silent_since == 100.0 + RESTART_HOLD_S
    assert view.next_deadline(100.0 + RESTART_HOLD_S) is None


def test_peer_that_left_is_judged_again_when_the_doubt_and_the_hold_of_its_goodbye_end() -> None:
    """This node was stalled after the goodbye and listens again until 110: then the goodbye counts,
    at 130 the hold is over.
    """
    view = _live(replace(_beat(ServiceState.STARTED), goodbye=Goodbye.RESTART))
    view.doubt_goodbye(110.0)
    assert [view.next_deadline(now) for now in (101.0, 110.0)] == [110.0, 100.0 + RESTART_HOLD_S]


def test_stray_beat_of_a_former_life_does_not_lock_the_living_peer_out() -> None:
    """Silent for a while, then one late beat of its former life: the living one is believed once it
    has heard us since.
    """
    view = PeerView(OWN)
    view.own_seq = 7
    view.take(replace(_beat(ServiceState.STARTED), boot=NEXT_LIFE, seq=30, ack=Ack(OWN, 6)), 100.0)
    view.judge(False, 110.0, 110.0)
    stray = _beat(seq=900, ack=Ack(OWN, 3))
    assert view.admits(stray) and view.take(stray, 111.0)
    view.judge(True, None, 111.0)
    living = replace(_beat(ServiceState.STARTED), boot=NEXT_LIFE, seq=31, ack=Ack(OWN, 7))
    assert not view.admits(living)
    view.own_seq = 8
    living = replace(living, seq=32, ack=Ack(OWN, 8))
    assert view.admits(living) and view.take(living, 112.0)
    assert view.evidence("registry", None) is Evidence.RUNS
    assert not view.admits(replace(stray, seq=901))
    assert view.admits(replace(living, seq=33)), (
        "what came back is the peer's present life like any other"
    )


def _restarted(ack: Ack | None = None) -> PeerView:
    """LIFE was heard, then NEXT_LIFE, with that acknowledgement; beat 7 is our newest."""
    view = PeerView(OWN)
    view.own_seq = 7
    view.take(_beat(), 100.0)
    view.take(replace(_beat(ack=ack), boot=NEXT_LIFE), 101.0)
    view.judge(True, None, 101.0)
    view.own_seq = 8
    return view


def test_former_life_does_not_come_back_for_what_it_heard_of_the_daemon_before_this_one() -> None:
    """Its recorded beat acknowledges a higher number, of our own former life: that proves nothing
    of today.
    """
    assert not _restarted().admits(_beat(seq=9, ack=Ack(OLD_OWN, 99)))
    assert _restarted().admits(_beat(seq=9, ack=Ack(OWN, 8)))


def test_former_life_that_lives_is_believed_once_the_one_that_followed_it_is_silent() -> None:
    """Both have answered since, so the later one was believed.

    It is heard no more, and the former one still answers.
    """
    view = _restarted()
    view.take(replace(_beat(seq=2, ack=Ack(OWN, 8)), boot=NEXT_LIFE), 102.0)
    living = _beat(seq=9, ack=Ack(OWN, 8))
    assert not view.admits(living)
    view.judge(False, 112.0, 112.0)
    assert view.admits(living)


def test_life_that_has_answered_nothing_is_no_reason_against_one_that_has() -> None:
    """Its one beat acknowledges our newest of then, so it may be a recording.

    The life before has heard what was sent since.
    """
    assert _restarted(ack=Ack(OWN, 7)).admits(_beat(seq=9, ack=Ack(OWN, 8)))


def test_life_that_was_heard_through_a_c_openhas_beats_for_a_while_is_still_the_same() -> None:
    """Its own format is cut, the original's comes through, then its own again: no proof is asked
    for, nothing followed it.
    """
    view = _live(_beat(), replace(_beat(), boot=LEGACY_INCARNATION))
    assert view.admits(_beat(seq=2))


def test_life_that_answers_is_not_given_up_for_one_that_answers_too() -> None:
    """Two nodes of one name, both alive: the one believed stays the one believed."""
    view = PeerView(OWN)
    view.take(_beat(seq=1, ack=Ack(OWN, 1)), 100.0)
    view.own_seq = 5
    view.take(replace(_beat(seq=1), boot=NEXT_LIFE), 101.0)
    view.judge(True, None, 101.0)
    view.own_seq = 6
    view.take(replace(_beat(seq=2, ack=Ack(OWN, 6)), boot=NEXT_LIFE), 102.0)
    assert not view.admits(_beat(seq=2, ack=Ack(OWN, 6)))


def test_sixteen_former_lives_are_remembered_and_no_more() -> None:
    """A peer that is started again and again: what is kept of its past is bounded, and the newest
    of it is kept.
    """
    view = PeerView(OWN)
    for counter in range(1, 41):
        view.take(replace(_beat(), boot=BootId(counter, counter)), 100.0 + counter)
    view.judge(False, 200.0, 200.0)
    believed = [
        counter
        for counter in range(1, 41)
        if view.admits(replace(_beat(), boot=BootId(counter, counter)))
    ]
    assert believed == [*range(1, 24), 40]


def test_original_is_heard_beside_a_life_that_came_back_soon_after_its_goodbye() -> None:
    """What the original's links still brought of the goodbye is distinguished from what they bring
    of the life that followed it.
    """
    view = _live(_beat(), replace(_beat(seq=2, ack=Ack(OWN, 1)), goodbye=Goodbye.RESTART))
    old = replace(_beat(), boot=LEGACY_INCARNATION)
    assert not view.admits(old, 100.5)
    assert view.take(replace(_beat(), boot=NEXT_LIFE), 100.5)
    assert view.admits(old, 100.6)


def test_other_life_with_the_same_counter_is_not_believed_beside_the_living_one() -> None:
    """Two machines restored from one image: the one that was heard first stays the one that is
    heard.
    """
    view = _live(_beat())
    assert not view.admits(replace(_beat(), boot=BootId(LIFE.counter, 99)))
    view.judge(False, 110.0, 110.0)
    assert view.admits(replace(_beat(), boot=BootId(LIFE.counter, 99)))


def test_life_that_is_believed_instead_of_another_proves_by_what_it_hears_from_then_on() -> None:
    """Its first beats may have been held back somewhere: only an acknowledgement of what was sent
    afterwards counts.
    """
    from opensvc_openha.core.beat import Ack, Beat, BootId

    own, life = BootId(1, 1), BootId(2, 2)
    view = PeerView(own)
    view.own_seq = 9
    view.take(Beat("deb2", life, 500, None, {}), 0.0)
    view.displace(life)
    view.take(Beat("deb2", life, 5, Ack(own, 9), {}), 1.0)
    assert view.acked_seq == -1
    view.take(Beat("deb2", life, 6, Ack(own, 10), {}), 2.0)
    assert view.acked_seq == 10


# --- what each part of the view reports -----------------------------------------------------------

STOPPED, STARTED = ServiceState.STOPPED, ServiceState.STARTED
THIRD_LIFE = BootId(3, 33)
FACTS = Facts(answering=frozenset({"registry"}), unready=frozenset({"registry"}))


def test_nothing_is_known_before_the_first_beat() -> None:
    """Neither an incarnation, nor facts, nor an acknowledgement."""
    view = PeerView(OWN)
    assert (view.newest, view.facts, view.held_back) == (None, None, "")
    assert (view.acked_seq, view.newest_acked_seq) == (-1, -1)
    assert (view.facts_seq, view.facts_acked_seq) == (-1, -1)
    assert not view.are_facts_authentic and not view.takes_facts and not view.hears_this_node
    assert not view.is_unauthenticated and not view.can_be_displaced(1e9, 0.0)
    assert view.age_of(_beat(), 100.0) is Age.NEWER and not view.is_return(_beat())
    assert not view.is_watched_out("registry", 0.0, 100.0)
    assert view.judge(True, None, 100.0) is PeerStanding.UNKNOWN
    assert view.judge(False, 90.0, 101.0) is PeerStanding.LIVE
    assert not view.is_unready("registry")


@pytest.mark.parametrize(
    "ack, facts, seq",
    [
        (Ack(OWN, 1), Facts(), 1),
        (Ack(OWN, 7, is_taken=False), Facts(), -1),
        (Ack(OLD_OWN, 7), Facts(), -1),
        (Ack(OWN, 7), None, -1),
        (None, Facts(), -1),
    ],
)
def test_newest_acknowledgement_is_that_of_a_beat_with_facts(
    ack: Ack | None, facts: Facts | None, seq: int
) -> None:
    """Of this incarnation of ours, and taken; the first beat of all counts as well."""
    beat = replace(_beat(ack=ack), facts=facts)
    view = _live(beat)
    assert view.newest_acked_seq == seq and view.newest is beat
    assert view.acked_seq == (ack.seq if ack in (Ack(OWN, 1), Ack(OWN, 7)) and ack else -1)
    assert view.takes_facts is view.hears_this_node is (facts is not None)


def test_facts_keep_the_numbers_of_their_beat() -> None:
    """Until other facts come, or another incarnation."""
    view = _live(replace(_beat(seq=3, ack=Ack(OWN, 7)), facts=FACTS))
    view.take(_beat(seq=4, ack=Ack(OWN, 8)), 101.0)
    assert (view.facts_seq, view.facts_acked_seq, view.acked_seq) == (3, 7, 8)
    view.take(replace(_beat(seq=5), facts=FACTS), 102.0)
    assert (view.facts_seq, view.facts_acked_seq) == (5, 8)
    view.take(replace(_beat(), boot=NEXT_LIFE), 103.0)
    assert (view.facts_seq, view.facts_acked_seq, view.acked_seq) == (-1, -1, -1)


def test_displaced_incarnation_leaves_nothing_behind() -> None:
    """And the one that comes back is none of the past any more."""
    view = _live(
        *(replace(_beat(), boot=boot) for boot in (LIFE, NEXT_LIFE)),
        replace(_beat(ack=Ack(OWN, 7)), boot=THIRD_LIFE, facts=FACTS),
    )
    assert [view.is_past(boot) for boot in (LIFE, NEXT_LIFE, THIRD_LIFE)] == [True] * 3
    assert not view.is_past(OWN)
    view.displace(LIFE)
    assert [view.is_past(boot) for boot in (LIFE, NEXT_LIFE)] == [False, True]
    assert (view.facts_seq, view.facts_acked_seq, view.acked_seq) == (-1, -1, -1)
    assert view.facts is None and view.newest is None


def test_beat_of_an_incarnation_that_was_replaced_is_a_return() -> None:
    """Not one of the present, nor of a new one."""
    view = _live(*(replace(_beat(), boot=boot) for boot in (LIFE, NEXT_LIFE)))
    found = [view.is_return(replace(_beat(), boot=boot)) for boot in (LIFE, NEXT_LIFE, THIRD_LIFE)]
    assert found == [True, False, False]


@pytest.mark.parametrize(
    "is_authentic, now, can_be",
    [(False, 109.9, False), (False, 110.0, True), (True, 999.0, False)],
)
def test_incarnation_without_a_key_is_displaced_once_it_brings_nothing_new(
    is_authentic: bool, now: float, can_be: bool
) -> None:
    """For the given time."""
    view = PeerView(OWN)
    view.take(_beat(), 100.0, is_authentic)
    assert view.can_be_displaced(now, 10.0) is can_be
    assert view.is_unauthenticated is not is_authentic


@pytest.mark.parametrize(
    "first, second, are_authentic",
    [(True, True, True), (True, False, False), (False, True, False), (None, True, False)],
)
def test_facts_are_authentic_with_their_beat_and_the_newest(
    first: bool | None, second: bool, are_authentic: bool
) -> None:
    """None: the first beat has no facts."""
    view = PeerView(OWN)
    view.take(replace(_beat(), facts=None if first is None else FACTS), 100.0, bool(first))
    view.take(_beat(seq=2), 101.0, second)
    view.judge(True, None, 101.0)
    assert view.are_facts_authentic is are_authentic
    expected = DiskAnswer.ANSWERS if are_authentic else DiskAnswer.UNKNOWN
    assert view.disks_of("registry", 101.0) is expected
    view.take(replace(_beat(), boot=NEXT_LIFE), 102.0, is_authentic=True)
    assert view.disks_of("registry", 102.0) is DiskAnswer.UNKNOWN


def test_peer_is_unready_while_it_is_heard() -> None:
    """By its facts."""
    view = _live(replace(_beat(), facts=FACTS))
    assert view.is_unready("registry") and not view.is_unready("busybox")
    assert not _live(_beat()).is_unready("registry")
    view.judge(False, 110.0, 110.0)
    assert not view.is_unready("registry")


def test_goodbye_is_doubted_until_an_instant_and_only_while_the_peer_is_away() -> None:
    """This node stood still."""
    gone = replace(_beat(seq=2, ack=Ack(OWN, 1)), goodbye=Goodbye.LEFT)
    view = _live(_beat(), gone)
    view.doubt_goodbye(120.0)
    for now, proved in ((119.9, Evidence.UNHEARD), (120.0, Evidence.DEPARTED_STOPPED)):
        view.judge(False, None, now)
        assert view.evidence("registry", None) is proved
        assert view.is_departure_doubted is (now < 120.0)
    view.advance(119.0)
    assert view.is_departure_doubted
    back = _live(_beat())
    back.doubt_goodbye(120.0)
    back.advance(110.0)
    assert not back.is_departure_doubted
    assert back.for_script("registry") == (STOPPED, PeerStanding.LIVE)


# --- a C OpenHA -----------------------------------------------------------------------------------


def _old(seq: int, state: ServiceState = STOPPED) -> Beat:
    return Beat("deb2", LEGACY_INCARNATION, seq, None, {"registry": state})


def _watched(*beats: float, state: ServiceState = STOPPED) -> PeerView:
    """A C OpenHA that was heard at these times."""
    view = PeerView(OWN)
    for now in beats:
        view.take(_old(int(now), state), now)
        view.judge(True, None, now)
    return view


SIX = (100.0, 101.0, 102.0, 103.0, 104.0, 105.0)


@pytest.mark.parametrize(
    "beats, state, since, now, is_out",
    [
        (SIX, STOPPED, 0.0, 105.0, True),
        (SIX, STOPPED, 100.0, 105.0, True),
        (SIX, STOPPED, 100.5, 105.0, False),
        (SIX[:5], STOPPED, 0.0, 105.0, False),
        (SIX, STOPPED, 0.0, 105.0 + LEGACY_FRESH_S, True),
        (SIX, STOPPED, 0.0, 105.1 + LEGACY_FRESH_S, False),
        ((100.0, 103.0, 106.0), STOPPED, 0.0, 106.0, True),
        ((100.0, 103.1, 106.1), STOPPED, 0.0, 106.1, False),
        (SIX, ServiceState.FROZEN_STOP, 0.0, 105.0, True),
        (SIX, STARTED, 0.0, 105.0, False),
    ],
)
def test_old_peer_is_out_once_it_was_watched_for_the_delay(
    beats: tuple[float, ...], state: ServiceState, since: float, now: float, is_out: bool
) -> None:
    """Without a gap, in one state, from the given instant on until now."""
    assert (LEGACY_FRESH_S, START_READY_DELAY_S) == (3.0, 5.0)
    view = _watched(*beats, state=state)
    assert view.is_watched_out("registry", since, now) is is_out
    assert not view.is_watched_out("busybox", since, now)


@pytest.mark.parametrize("state", [STARTED, ServiceState.FROZEN_STOP])
def test_each_state_of_an_old_peer_is_watched_from_its_beginning(state: ServiceState) -> None:
    """Even one that proves as much."""
    view = _watched(100.0, 101.0)
    view.take(_old(102, state), 102.0)
    for now in (103.0, 104.0, 105.0, 106.0):
        view.take(_old(int(now)), now)
    assert not view.is_watched_out("registry", 0.0, 106.0)


def test_old_peer_that_fell_silent_or_spoke_our_format_is_watched_anew() -> None:
    """What was before does not count; the longer delay of other links does."""
    view = _watched(100.0)
    view.judge(False, 101.0, 101.0)
    assert not view.is_watched_out("registry", 0.0, 101.0)
    view.take(_old(102), 102.0)
    view.judge(True, None, 102.0)
    view.take(_old(105), 105.0)
    assert not view.is_watched_out("registry", 0.0, 105.0)
    view.take(_beat(), 106.0)
    assert not view.is_watched_out("registry", 0.0, 106.0)
    view.take(_old(107), 107.0)
    view.take(_old(110), 110.0)
    assert not view.is_watched_out("registry", 0.0, 110.0)
    slow = _watched(*SIX)
    slow.legacy_delay_s = 6.0
    assert not slow.is_watched_out("registry", 0.0, 105.0)
    slow.judge(False, 100.0, 105.0)
    slow.legacy_delay_s = 5.0
    assert not slow.is_watched_out("registry", 0.0, 105.0)


@pytest.mark.parametrize(
    "newest, beat, now, age",
    [
        (_beat(seq=5), _beat(seq=6), 100.0, Age.NEWER),
        (_beat(seq=5), _beat(seq=5), 100.0, Age.SAME),
        (_beat(seq=5), _beat(seq=4), 999.0, Age.OLDER),
        (_beat(seq=5), replace(_beat(seq=5), boot=NEXT_LIFE), 100.0, Age.NEWER),
        (_beat(seq=5), _old(5), 100.0, Age.NEWER),
        (_old(100), _old(101), 100.0, Age.NEWER),
        (_old(100), _old(100), 100.0, Age.NEWER),
        (_old(100), _old(99), 99.9 + LEGACY_STRAGGLER_S, Age.OLDER),
        (_old(100), _old(99), 100.0 + LEGACY_STRAGGLER_S, Age.NEWER),
    ],
)
def test_age_of_a_beat_is_by_its_number_and_of_an_old_peer_by_its_clock(
    newest: Beat, beat: Beat, now: float, age: Age
) -> None:
    """Whose clock may be set back."""
    assert _live(newest).age_of(beat, now) is age


def test_old_format_is_believed_some_time_after_a_goodbye_in_ours() -> None:
    """It may be of the daemon that left."""
    view = _live(replace(_beat(ack=Ack(OWN, 1)), goodbye=Goodbye.RESTART))
    ends = 100.0 + LEGACY_ECHO_S
    assert [view.admits(_old(200), now) for now in (ends - 0.1, ends)] == [False, True]
    assert _live(_beat()).admits(_old(200), 100.0)


def test_old_peer_is_watched_for_the_start_ready_delay() -> None:
    """Unless its links have a longer one."""
    assert PeerView(OWN).legacy_delay_s == START_READY_DELAY_S
    assert _watched(*SIX).is_watched_out("registry", 0.0, 105.0)


def test_word_about_disks_grows_old_from_its_reception_on() -> None:
    """It may have waited for the engine; a later arrival of it is none."""
    beat = replace(_beat(), facts=FACTS)
    for received_at, since in ((None, 100.0), (97.0, 97.0), (103.0, 100.0)):
        view = PeerView(OWN)
        view.take(beat, 100.0, True, received_at)
        view.judge(True, None, 100.0)
        ends = since + DISK_FACTS_OLD_S
        assert view.disks_of("registry", ends) is DiskAnswer.ANSWERS
        assert view.disks_of("registry", ends + 0.01) is DiskAnswer.UNKNOWN


def test_facts_without_a_key_stay_so_beside_later_beats_with_one() -> None:
    """And facts with one are not taken back by a beat without facts."""
    view = PeerView(OWN)
    view.take(replace(_beat(), facts=FACTS), 100.0, True)
    view.take(replace(_beat(seq=2), facts=FACTS), 101.0, False)
    view.take(_beat(seq=3), 102.0, True)
    assert not view.are_facts_authentic
    view.take(replace(_beat(seq=4), facts=FACTS), 103.0, True)
    view.take(_beat(seq=5), 104.0, True)
    assert view.are_facts_authentic


def test_incarnation_is_over_once_another_one_was_taken() -> None:
    """Not the present one, nor one that was never taken."""
    view = _live(*(replace(_beat(), boot=boot) for boot in (LIFE, NEXT_LIFE)))
    assert [view.is_over(boot) for boot in (LIFE, NEXT_LIFE, THIRD_LIFE)] == [True, False, False]


@pytest.mark.parametrize("is_authentic", [False, True])
def test_beat_without_a_key_is_known_as_such(is_authentic: bool) -> None:
    """In one word."""
    view = PeerView(OWN)
    view.take(_beat(), 100.0, is_authentic)
    assert view.is_unauthenticated is (not is_authentic)
    assert _live(_beat()).is_unauthenticated, "unless it is known to be authentic"


def test_disks_of_a_peer_that_is_not_heard_are_not_known() -> None:
    """However new its word is."""
    view = PeerView(OWN)
    view.take(replace(_beat(), facts=FACTS), 100.0, True)
    view.judge(True, None, 100.0)
    assert view.disks_of("registry", 100.0) is DiskAnswer.ANSWERS
    view.judge(False, 100.0, 100.0)
    assert view.disks_of("registry", 100.0) is DiskAnswer.UNKNOWN


def test_peer_is_isolated_while_it_is_heard_and_says_so() -> None:
    """By its newest facts, whose reception is known."""
    view = PeerView(OWN)
    assert view.facts_at == -math.inf and not view.is_isolated
    for seq, (connectivity, is_isolated) in enumerate(
        (
            (None, False),
            (Connectivity(), False),
            (Connectivity(Reach.REACHABLE), False),
            (Connectivity(Reach.ISOLATED), True),
        )
    ):
        facts = Facts(connectivity=connectivity)
        view.take(replace(_beat(seq=seq), facts=facts), 100.0 + seq)
        view.judge(True, None, 100.0 + seq)
        assert view.is_isolated is is_isolated and view.facts is facts
        assert view.facts_at == 100.0 + seq
    view.judge(False, 110.0, 110.0)
    assert not view.is_isolated


def test_what_the_peer_says_of_frozen_disks_and_of_this_node() -> None:
    """That they do not answer, and that it does not hear it."""
    view = PeerView(OWN)
    view.take(replace(_beat(), facts=Facts(frozen={"registry": 3}, silent_s=1.0)), 100.0, True)
    view.judge(True, None, 100.0)
    assert view.disks_of("registry", 100.0) is DiskAnswer.FROZEN
    assert not view.hears_this_node and view.takes_facts
