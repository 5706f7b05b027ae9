"""What beats of the peer prove, and which of them are believed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.beat import LEGACY_INCARNATION, Ack, Beat, BootId, Goodbye
from opensvc_openha.core.peer_view import Evidence, PeerView
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import RESTART_HOLD_S

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
