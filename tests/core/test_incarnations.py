"""Which lives of an authenticated peer are believed, answered, remembered and suspected, one beat
at a time.
"""

from __future__ import annotations

from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.incarnations import NOBODY, OLD_INCARNATION, UNPROVEN, PeerIncarnations

OWN, FORMER_OWN = BootId(5, 55), BootId(4, 44)
KEY = "aabbccdd"
FIRST, SECOND, THIRD = BootId(1, 11), BootId(2, 22), BootId(3, 33)


def _beat(boot: BootId = FIRST, seq: int = 1, ack: Ack | None = None) -> Beat:
    return Beat("deb2", boot, seq, ack, {})


def _proved(boot: BootId = FIRST, seq: int = 1) -> Beat:
    return _beat(boot, seq, Ack(OWN, 1))


def test_life_counts_from_the_beat_that_acknowledges_this_life_of_ours() -> None:
    """No incarnation, then a former life of ours, then this one.

    Afterwards every beat of that life counts.
    """
    incarnations = PeerIncarnations(OWN, {})
    assert incarnations.rejection(_beat(seq=1), KEY, 0.0) == UNPROVEN
    assert incarnations.rejection(_beat(seq=2, ack=Ack(FORMER_OWN, 9)), KEY, 1.0) == UNPROVEN
    assert not incarnations.has_changed and incarnations.known == ()
    assert incarnations.rejection(_beat(seq=3, ack=Ack(OWN, 1)), KEY, 2.0) == ""
    assert incarnations.has_changed and incarnations.known == ((KEY, FIRST),)
    assert incarnations.rejection(_beat(seq=4), KEY, 3.0) == ""


def test_newest_life_is_answered_whether_proven_or_not() -> None:
    """The answer names the newest beat of the newest life, and agrees to nothing."""
    incarnations = PeerIncarnations(OWN, {})
    assert incarnations.heard is None
    incarnations.rejection(_beat(seq=3), KEY, 0.0)
    assert incarnations.heard == Ack(FIRST, 3, is_taken=False)
    incarnations.rejection(_beat(seq=2), KEY, 0.0)
    assert incarnations.heard == Ack(FIRST, 3, is_taken=False)
    incarnations.rejection(_beat(seq=4), KEY, 0.0)
    assert incarnations.heard == Ack(FIRST, 4, is_taken=False)
    incarnations.rejection(_beat(SECOND, 1), KEY, 0.0)
    assert incarnations.heard == Ack(SECOND, 1, is_taken=False)
    incarnations.rejection(_beat(FIRST, 9), KEY, 0.0)
    assert incarnations.heard == Ack(SECOND, 1, is_taken=False)


def test_life_with_the_same_counter_is_no_newer_one() -> None:
    """A copy of the peer with another random part does not take the answer from the life that was
    heard first.
    """
    incarnations = PeerIncarnations(OWN, {})
    incarnations.rejection(_beat(FIRST, 3), KEY, 0.0)
    incarnations.rejection(_beat(BootId(FIRST.counter, 99), 9), KEY, 0.0)
    assert incarnations.heard == Ack(FIRST, 3, is_taken=False)


def test_refused_old_life_is_answered_while_nothing_newer_was_heard() -> None:
    """It may be a peer that lost its counter, to which this node has lost its own: neither would
    ever acknowledge the other. A newer life takes the answer from it, and keeps it.
    """
    incarnations = PeerIncarnations(OWN, {KEY: SECOND})
    for seq in (1, 2):
        assert incarnations.rejection(_beat(FIRST, seq), KEY, 0.0) == OLD_INCARNATION
        assert (
            incarnations.heard == Ack(FIRST, seq, is_taken=False)
            and not incarnations.has_new_greeting
        )
    incarnations.rejection(_beat(THIRD, 5), KEY, 0.0)
    incarnations.rejection(_beat(FIRST, 9), KEY, 0.0)
    assert incarnations.heard == Ack(THIRD, 5, is_taken=False)


def test_only_a_life_that_was_not_heard_before_is_greeted() -> None:
    """Its first beat is answered at once.

    The next ones, an older life, and one that is refused are not.
    """
    incarnations = PeerIncarnations(OWN, {KEY: FIRST})
    assert not incarnations.has_new_greeting
    incarnations.rejection(_beat(SECOND, 1), KEY, 0.0)
    assert incarnations.has_new_greeting
    incarnations.rejection(_beat(SECOND, 2), KEY, 0.0)
    assert not incarnations.has_new_greeting
    incarnations.rejection(_beat(THIRD, 1), KEY, 0.0)
    assert incarnations.has_new_greeting
    incarnations.rejection(_beat(BootId(0, 7), 1), KEY, 0.0)
    assert not incarnations.has_new_greeting
    incarnations.rejection(_beat(THIRD, 2), KEY, 0.0)
    incarnations.rejection(_beat(SECOND, 3), KEY, 0.0)
    assert not incarnations.has_new_greeting


def test_lower_or_equal_counter_than_one_proved_is_an_old_life() -> None:
    """Under the same key only.

    The life itself is believed again after a restart of ours, once it acknowledges us.
    """
    incarnations = PeerIncarnations(OWN, {KEY: SECOND})
    assert incarnations.rejection(_proved(FIRST), KEY, 0.0) == OLD_INCARNATION
    assert incarnations.rejection(_proved(BootId(SECOND.counter, 99)), KEY, 0.0) == OLD_INCARNATION
    assert incarnations.rejection(_beat(SECOND), KEY, 0.0) == UNPROVEN
    assert incarnations.rejection(_proved(SECOND, 2), KEY, 0.0) == ""
    assert not incarnations.has_changed
    assert incarnations.rejection(_proved(FIRST), "11223344", 0.0) == ""
    assert incarnations.has_changed


def test_known_lives_are_listed_in_the_order_of_their_keys() -> None:
    """What is written down does not change from one run to the next."""
    assert PeerIncarnations(OWN, {"b": FIRST, "a": SECOND}).known == (("a", SECOND), ("b", FIRST))


def test_forgetting_lets_a_lower_counter_prove_itself_and_keeps_that_the_key_was_used() -> None:
    """The reinstalled peer begins at 1: it is greeted, proves itself again, and what is known is
    written down.
    """
    incarnations = PeerIncarnations(OWN, {})
    incarnations.rejection(_proved(THIRD), KEY, 0.0)
    incarnations.rejection(_beat(FIRST, 1, Ack(OWN, 3)), KEY, 0.0)
    incarnations.check_rival(_beat(FIRST, 1, Ack(OWN, 3)), 3, 0.0)
    incarnations.check_rival(_beat(FIRST, 2, Ack(OWN, 5)), 5, 0.0)
    assert incarnations.rival == FIRST
    incarnations.has_changed = False
    incarnations.forget()
    assert incarnations.has_changed and incarnations.known == ((KEY, NOBODY),)
    assert incarnations.heard is None and incarnations.rival is None
    assert incarnations.rejection(_beat(THIRD, 9), KEY, 1.0) == UNPROVEN
    incarnations.forget()
    assert (
        incarnations.rejection(_beat(FIRST, 3), KEY, 1.0) == UNPROVEN
        and incarnations.has_new_greeting
    )
    assert incarnations.rejection(_proved(FIRST, 4), KEY, 2.0) == ""
    assert incarnations.known == ((KEY, FIRST),)


def test_forgetting_forgets_what_was_suspected() -> None:
    """A life that was marked before is marked again: it must acknowledge something sent
    afterwards.
    """
    incarnations = PeerIncarnations(OWN, {KEY: SECOND})
    incarnations.check_rival(_beat(FIRST, 1, Ack(OWN, 3)), 3, 0.0)
    incarnations.forget()
    assert not incarnations.check_rival(_beat(FIRST, 2, Ack(OWN, 5)), 5, 1.0)
    assert incarnations.check_rival(_beat(FIRST, 3, Ack(OWN, 6)), 6, 2.0)


def test_how_long_a_peer_does_not_acknowledge_us_counts_from_the_first_such_beat() -> None:
    """Ten seconds unproven, then proved: the next unproven life begins again."""
    incarnations = PeerIncarnations(OWN, {})
    assert incarnations.unproven_since is None
    for second in (1.0, 6.0, 11.0):
        incarnations.rejection(_beat(seq=int(second)), KEY, second)
    assert (incarnations.unproven_since, incarnations.unproven_at) == (1.0, 11.0)
    incarnations.rejection(_proved(FIRST, 20), KEY, 12.0)
    assert incarnations.unproven_since is None
    incarnations.rejection(_beat(SECOND), KEY, 20.0)
    assert (incarnations.unproven_since, incarnations.unproven_at) == (20.0, 20.0)


def test_old_life_lives_only_if_it_acknowledges_what_was_sent_after_it_was_refused_first() -> None:
    """What it acknowledged before may be recorded, what was not sent yet is invented.

    The alarm is raised once.
    """
    incarnations = PeerIncarnations(OWN, {KEY: SECOND})
    assert not incarnations.check_rival(_beat(FIRST, 1), 10, 0.0)
    assert not incarnations.check_rival(_beat(FIRST, 1, Ack(FORMER_OWN, 99)), 10, 0.0)
    assert not incarnations.check_rival(_beat(FIRST, 1, Ack(OWN, 10)), 10, 0.0)
    assert not incarnations.check_rival(_beat(FIRST, 2, Ack(OWN, 10)), 12, 1.0)
    assert not incarnations.check_rival(_beat(FIRST, 3, Ack(OWN, 13)), 12, 1.0)
    assert incarnations.rival is None
    assert incarnations.check_rival(_beat(FIRST, 4, Ack(OWN, 12)), 12, 2.0)
    assert (incarnations.rival, incarnations.rival_at) == (FIRST, 2.0)
    assert not incarnations.check_rival(_beat(FIRST, 5, Ack(OWN, 13)), 13, 3.0)
    assert incarnations.rival_at == 3.0


def test_former_life_of_ours_is_no_acknowledgement_of_this_one() -> None:
    """An old life that names our former life with a number that would fit is a recording."""
    incarnations = PeerIncarnations(OWN, {KEY: SECOND})
    incarnations.check_rival(_beat(FIRST, 1, Ack(OWN, 3)), 3, 0.0)
    assert not incarnations.check_rival(_beat(FIRST, 2, Ack(FORMER_OWN, 5)), 5, 1.0)


def test_marks_of_old_lives_are_bounded_and_the_oldest_goes_first() -> None:
    """Somebody plays nine recorded lives: the ninth mark replaces the first, which has to prove
    itself again.
    """
    old = [BootId(number, number) for number in range(1, 10)]
    for played, is_first_known in ((8, True), (9, False)):
        incarnations = PeerIncarnations(OWN, {KEY: BootId(99, 99)})
        for boot in old[:played]:
            incarnations.check_rival(_beat(boot, 1, Ack(OWN, 1)), 1, 0.0)
        assert incarnations.check_rival(_beat(old[0], 3, Ack(OWN, 3)), 3, 0.0) is is_first_known
        assert incarnations.check_rival(_beat(old[played - 1], 2, Ack(OWN, 4)), 4, 0.0)
